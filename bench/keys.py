"""Keys in bulk, written as `gateway keys create` writes them, and the policies for them.

Their hashes are argon2id at its lowest cost. This does not affect the results: every record has a
tag that proves the key, so no hash is ever computed.
"""

import secrets
import time
from base64 import b64decode

from argon2 import PasswordHasher, Type
from redis import Redis

from bench.site import Site
from gateway.crypto.tags import Peppers
from gateway.domain.keys import key as grammar
from gateway.store.state_dir import socket_path

AT_ONCE = 500
SCOPE = "agents/bench:ask services/bench tools/bench models/bench"

POLICIES = """\
version: 1
agents:
  bench:
    upstream: http://127.0.0.1:{backend}
    routes:
      - {{path: /health, methods: [GET], public: true}}
      - {{path: /chat, methods: [POST], action: chat}}
      - {{path: /files/**, action: files}}
      - {{path: /*, methods: [GET, POST], action: ask}}
services:
  bench:
    upstream: http://127.0.0.1:{backend}
    inject: {{headers: {{X-Secret: "Bearer ${{credentials.bench.value}}"}}}}
tools:
  bench:
    transport: http
    upstream: http://127.0.0.1:{backend}
    inject: {{headers: {{X-Secret: "Bearer ${{credentials.bench.value}}"}}}}
models:
  - name: bench
    provider: compatible
    upstream: http://127.0.0.1:{backend}
    credential: "${{credentials.bench}}"
plans:
  bench:
    rate: 1000000/s
    burst: 1000000
    quota: [1000000000/d, 1000000000/month]
  spent:
    quota: 1/month
"""
# The same plans for nginx-lua, as the admission script takes them: a rate is its interval in
# microseconds and its burst.
PLANS = {
    "bench": (("rate", "1.0", "1000000"), ("d", "1000000000", ""), ("month", "1000000000", "")),
    "spent": (("month", "1", ""),),
}

_cheap = PasswordHasher(1, 8, 1, type=Type.ID)


def connect(site: Site) -> Redis:
    return Redis(unix_socket_path=str(socket_path(site.state)), decode_responses=True)


def make_keys(
    site: Site, count: int, *, plan: str = "bench", scopes: str = SCOPE, **fields: str
) -> list[str]:
    """Write `count` new keys to the store and return them in plaintext."""
    peppers = Peppers((b64decode(site.pepper.read_text()),))
    made = []
    with connect(site) as store:
        pipe = store.pipeline(transaction=False)
        for number in range(count):
            key = new_key()
            values = _record(key, peppers) | {"plan": plan, "scopes": scopes} | fields
            pipe.hset(f"gw:key:{{{key.id}}}", mapping=values)
            made.append(key.text)
            if number % AT_ONCE == AT_ONCE - 1 or number == count - 1:
                pipe.execute()
    return made


def new_key(key_id: str = "") -> grammar.Key:
    """Return a well-formed key that is in no store. `key_id`: reuse the id of another key."""
    return grammar.compose("live", key_id or _draw(grammar.ID_LENGTH), _draw(grammar.SECRET_LENGTH))


def id_of(text: str) -> str:
    key = grammar.parse(text)
    if key is None:
        raise ValueError("not a key")
    return key.id


def _record(key: grammar.Key, peppers: Peppers) -> dict[str, str]:
    phc = _cheap.hash(key.text)
    empty = dict.fromkeys(("label", "limits", "users", "expires_at"), "")
    return empty | {
        "hash": phc,
        "tag": peppers.make(key.text, phc),
        "last4": key.last4,
        "status": "active",
        "consumer": "bench",
        "created_at": str(int(time.time())),
        "created_by": "bench",
        "env": key.env,
    }


def _draw(length: int) -> str:
    # As random as a real key; one call for each character would dominate the run time.
    number = secrets.randbits(8 * length)
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(grammar.ALPHABET[digit])
    return "".join(digits)
