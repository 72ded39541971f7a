"""Keys that end, and secrets that change, while everybody calls."""

import asyncio
import time

from gateway.domain.keys import key as grammar
from gateway.domain.keys.key import Key
from tests.chaos.calls import OK, outcomes, within
from tests.chaos.report import Report
from tests.chaos.site import Gateway, Site
from tests.cli.serving import Connection

CALLERS = 16
AFTER = 300
STREAMS = 100
CUT_WITHIN = 2.0
GRACE = 4

ENDS = (
    (("HSET", "{}", "status", "revoked"), "key_revoked"),
    (("DEL", "{}"), "key_invalid"),
    (("HSET", "{}", "status", "disabled"), "key_disabled"),
    (("EXPIRE", "{}", "0"), "key_invalid"),
    (("HSET", "{}", "expires_at", "1"), "key_expired"),
    (("HSET", "{}", "scopes", "agents/b"), "scope_denied"),
)


async def revocations(site: Site) -> Report:
    """After redis-cli has returned, nothing that is sent is admitted."""
    report, after = Report("revocation under load"), 0
    for number in range(site.times(18)):
        words, code = ENDS[number % len(ENDS)]
        (key,) = await site.keys()
        async with site.load([key]).running(CALLERS) as load:
            await load.further(10 * CALLERS)
            await site.redis_cli(*(word.format(f"gw:key:{{{key.id}}}") for word in words))
            returned = time.monotonic()
            await load.further(AFTER + CALLERS)
        late = outcomes(within(load.calls, returned))
        report.wrong += late.pop(OK, 0)
        report.must(set(late) == {code}, f"{code} expected, {late} answered")
        after += late[code]
        report.count(load.calls)
    report.remarks.append(f"{after} requests were sent after redis-cli had returned")
    return report


async def streams(site: Site) -> Report:
    """Every open stream of a key is cut within two seconds, in all workers."""
    report = Report("open streams cut")
    for words, _ in ENDS[: site.times(3)]:
        (key,) = await site.keys()
        opened = [await _stream(site.gateways[i % 2], key) for i in range(STREAMS)]
        await site.redis_cli(*(word.format(f"gw:key:{{{key.id}}}") for word in words))
        returned = time.monotonic()
        ends = await asyncio.gather(*(_end_of(one) for one in opened))
        report.sent += STREAMS
        report.admitted += STREAMS
        report.recovered(max(end for end, _ in ends) - returned, CUT_WITHIN)
        told = sum(b"event: error" in said for _, said in ends)
        report.must(told == STREAMS, f"only {told} of {STREAMS} were told why")
    return report


async def _stream(gateway: Gateway, key: Key) -> Connection:
    connection = Connection(*await asyncio.open_connection(*gateway.address))
    connection.send("/agents/a/ticks", key.text)
    await connection.reader.readuntil(b"data: tick")
    return connection


async def _end_of(connection: Connection) -> tuple[float, bytes]:
    said = b""
    try:
        async with asyncio.timeout(10):
            while piece := await connection.reader.read(65536):
                said += piece
    except (OSError, TimeoutError):
        pass
    connection.writer.close()
    return time.monotonic(), said


async def rotation(site: Site) -> Report:
    """Nobody is refused during a grace; after it, and without one, the old secret is dead."""
    report = Report("rotation under load")
    for _ in range(site.times(2)):
        (old,) = await site.keys()
        async with site.load([old]).running(CALLERS // 2) as olds:
            await olds.further(100)
            new = await rotated(site, old, f"{GRACE}s")
            record = f"gw:key:{{{old.id}}}"
            ends = int(await site.store.client.hget(record, "previous_expires_at") or 0)
            end = time.monotonic() + ends - time.time()
            async with site.load([new]).running(CALLERS // 2) as news:
                await asyncio.sleep(max(0.0, end - time.monotonic()))
                await olds.further(300)
                begun = time.monotonic()
                newest = await rotated(site, new, "0")
                returned = time.monotonic()
                await news.further(300)
                async with site.load([newest]).running(2) as last:
                    await last.further(100)
        for load, since in ((olds, end), (news, returned)):
            report.wrong += outcomes(within(load.calls, since))[OK]
            before = outcomes(within(load.calls, 0.0, end if load is olds else begun))
            report.must(set(before) == {OK}, f"before its end a secret was answered {before}")
        report.must(set(outcomes(last.calls)) == {OK}, "the newest secret was refused")
        for load in (olds, news, last):
            report.count(load.calls)
    report.expect("key_invalid")
    return report


async def rotated(site: Site, key: Key, grace: str) -> Key:
    """The same key with a new secret, by command."""
    told = await site.command("keys", "rotate", key.id, "--grace", grace)
    new = grammar.parse(told["key"])
    assert new is not None
    return new
