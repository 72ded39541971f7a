"""Redis: whether it keeps what it is told, accepts writes, and is near."""

from collections.abc import Iterator

from gateway.services.diagnosis.findings import Finding, Level
from gateway.store.health import EVERYBODY, StoreHealth

# Every request waits for one round trip.
SLOW_SECONDS = 0.01
# Keys expire by Redis' clock, and people set the expiry by their own.
CLOCK_SECONDS = 2.0
FULL_SHARE = 0.9

# The level, and the sentence.
_Judgement = tuple[Level, str]


def redis_found(nodes: list[StoreHealth]) -> Iterator[Finding]:
    for node in nodes:
        for level, sentence in (
            _summary(node),
            *_durability(node),
            *_latency(node),
            *_access(node),
        ):
            yield Finding("redis", level, f"{node.node}: {sentence}" if node.node else sentence)


def _summary(redis: StoreHealth) -> _Judgement:
    kept = "append-only file" if redis.append_only else "no append-only file"
    return Level.OK, (
        f"{redis.server} answers: {redis.latency * 1000:.1f} ms a round trip, {kept}, "
        f"maxmemory-policy {redis.eviction}."
    )


def _durability(redis: StoreHealth) -> Iterator[_Judgement]:
    for warning in redis.warnings:
        yield Level.WRONG, warning
    if redis.is_replica:
        sentence = "This Redis is a replica and takes no writes: give the address of its primary."
        yield Level.WRONG, sentence
    if redis.memory_share > FULL_SHARE:
        sentence = (
            f"Redis uses {redis.memory_share:.0%} of its maxmemory, and full it takes no writes: "
            "requests under limits are refused then. Raise maxmemory."
        )
        yield Level.WARN, sentence


def _latency(redis: StoreHealth) -> Iterator[_Judgement]:
    if redis.latency > SLOW_SECONDS:
        sentence = (
            f"A round trip to Redis takes {redis.latency * 1000:.0f} ms, and every request waits "
            "for one: bring it nearer, or look for what keeps it busy with SLOWLOG GET."
        )
        yield Level.WRONG, sentence
    if abs(redis.clock_ahead) > CLOCK_SECONDS:
        how = "ahead of" if redis.clock_ahead > 0 else "behind"
        sentence = (
            f"Redis' clock is {abs(redis.clock_ahead):.0f} s {how} this machine's, and keys expire "
            "by it: let both follow the same time server."
        )
        yield Level.WRONG, sentence


def _access(redis: StoreHealth) -> Iterator[_Judgement]:
    if redis.user == EVERYBODY and redis.over_network:
        sentence = (
            "The gateway is Redis' user 'default', which may do everything: give it one of its "
            "own, as deploy/redis/users.acl does."
        )
        yield Level.WARN, sentence
