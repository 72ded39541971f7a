"""What the tests of key records share."""

from gateway.domain.keys.record import KeyRecord
from gateway.store.keys import KeyStore, NewSecret

ID, OTHER_ID = "4xT9mQ2LrB7c", "9zZ9zZ9zZ9zZ"
NAME = f"gw:key:{{{ID}}}"
FIELDS = {"consumer": "sales", "scopes": "agents/support:chat", "label": ""}
HOUR = 3600


def secret(number: int, marker: str = "", request: str = "r") -> NewSecret:
    return NewSecret(f"hash-{number}", f"tag-{number}", f"{number:04d}", marker, request)


def tag(pid: str, number: int = 0) -> str:
    return f"{pid}:{number:016x}:{number:064x}"


async def present(keys: KeyStore, key_id: str = ID) -> KeyRecord:
    record = await keys.get(key_id)
    assert record is not None
    return record
