"""Records in bulk, as `gateway keys create` makes them, but under hashes that are cheap to make."""

from argon2 import PasswordHasher, Type
from redis.asyncio import Redis

from gateway.crypto.draw import draw
from gateway.crypto.tags import Peppers
from gateway.domain.keys.fields import KeyFields
from gateway.domain.keys.key import ID_LENGTH, SECRET_LENGTH, Key, compose
from gateway.domain.keys.record import ALWAYS_WRITTEN
from gateway.store.keys import KeyStore, NewSecret

BATCH = 500
EMPTY = ("label", "plan", "limits", "users", "expires_at")
# The cheapest that argon2id takes: it is counted like the dearest.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.ID)


async def many_keys(
    client: Redis, count: int, peppers: Peppers | None = None, **fields: str
) -> list[Key]:
    """So many live keys; with tags only if there are `peppers`."""
    keys = [compose("live", draw(ID_LENGTH), draw(SECRET_LENGTH)) for _ in range(count)]
    for start in range(0, count, BATCH):
        pipeline = client.pipeline(transaction=False)
        for key in keys[start : start + BATCH]:
            pipeline.hset(f"gw:key:{{{key.id}}}", mapping=record(key, peppers) | fields)
        await pipeline.execute()
    return keys


async def cheap_key(keys: KeyStore, peppers: Peppers, wanted: KeyFields) -> Key:
    """One live key with a tag, which decides: how dear its hash is shows nowhere."""
    key = compose("live", draw(ID_LENGTH), draw(SECRET_LENGTH))
    phc = CHEAP.hash(key.text)
    secret = NewSecret(phc, peppers.make(key.text, phc), key.last4)
    empty = {name: "" for name in ALWAYS_WRITTEN if name != "status"}
    told = {**empty, **wanted.values(), "env": "live", "created_by": "test"}
    assert (await keys.create(key.id, secret, told))[0] == "made"
    return key


def record(key: Key, peppers: Peppers | None = None) -> dict[str, str]:
    phc = CHEAP.hash(key.text)
    return dict.fromkeys(EMPTY, "") | {
        "hash": phc,
        "tag": peppers.make(key.text, phc) if peppers else "",
        "status": "active",
        "consumer": "sales",
        "scopes": "agents/*",
        "env": "live",
        "last4": key.last4,
    }
