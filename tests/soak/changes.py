"""What happens to a gateway in a day, in minutes: keys come and go, secrets and policies change,
Redis restarts. One after the other, so that each is told from the others."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count

from tests.chaos.secrets import rotated
from tests.chaos.site import Site
from tests.soak.backend import CREDENTIAL, FIRST_VALUE, POLICIES, Backend
from tests.soak.ledger import Held, Ledger

SCOPES = f"agents/a models/m services/s tools/t gateway/credentials:{CREDENTIAL}"
GRACE = 4
# A record says in whole seconds when a grace ends, and two clocks have read the time.
UNSURE = 1.5
AWAY_SECONDS = 2.0
ENDS = (("status", "revoked"), ("status", "disabled"), ("scopes", "agents/nothing"), None)


class Changes:
    """`done`: how often each was made."""

    def __init__(self, site: Site, backend: Backend, ledger: Ledger) -> None:
        self._site = site
        self._backend = backend
        self._ledger = ledger
        self._turns = count(1)
        self.done: Counter[str] = Counter()

    async def new_key(self) -> None:
        few = random.random() < 0.2  # noqa: S311
        (key,) = await self._site.keys(scopes=SCOPES, plan="few" if few else "")
        self._ledger.live.append(Held(key, few))
        self.done["keys made"] += 1

    async def revoke(self) -> None:
        """By redis-cli, and by command now and then."""
        held, number = self._ledger.live[0], self.done["keys ended"]
        record = f"gw:key:{{{held.key.id}}}"
        held.dying = time.monotonic()
        end = ENDS[number % len(ENDS)]
        if number % 8 == 7:
            await self._site.command("keys", "revoke", held.key.id, "--yes")
        elif end is None:
            await self._site.redis_cli("DEL", record)
        else:
            await self._site.redis_cli("HSET", record, *end)
        held.dead = time.monotonic()
        self._ledger.drop(held)
        self.done["keys ended"] += 1
        await self.new_key()

    async def rotate_key(self) -> None:
        held = random.choice(self._ledger.live)  # noqa: S311
        began = time.monotonic()
        held.dying = began + GRACE - UNSURE
        new = await rotated(self._site, held.key, f"{GRACE}s")
        held.dead = time.monotonic() + GRACE + UNSURE
        self._ledger.drop(held)
        self._ledger.live.append(Held(new, held.few))
        self.done["keys rotated"] += 1

    async def rotate_credential(self) -> None:
        value = f"soak-secret-{next(self._turns)}"
        self._backend.valid.add(value)
        words = ("credentials", "rotate", CREDENTIAL, "--grace", "20s")
        await self._site.command(*words, said=value)
        self.done["credentials rotated"] += 1

    async def reload(self) -> None:
        """Each third set is no good: then the one before goes on."""
        turn = next(self._turns)
        write(self._site, turn, "nonsense: [\n" if turn % 3 == 0 else "")
        self.done["policies changed"] += 1
        await asyncio.sleep(0.5)

    async def restart_redis(self) -> None:
        killed = time.monotonic()
        # Judged as away from now on, until it is known when it came back.
        self._ledger.away.append((killed, killed + 60))
        await asyncio.to_thread(self._site.store.kill)
        await asyncio.sleep(AWAY_SECONDS)
        await self._site.store.start()
        self._ledger.away[-1] = (killed, time.monotonic())
        self.done["Redis restarted"] += 1
        await asyncio.sleep(AWAY_SECONDS)

    async def go_on(self, seconds: float) -> None:
        """All of them in turns, for so long; Redis restarts at most eight times, evenly spread."""
        began = time.monotonic()
        turns: tuple[Callable[[], Awaitable[None]], ...] = (
            *(self.revoke, self.revoke, self.reload),
            *(self.rotate_credential, self.revoke, self.rotate_key),
        )
        every, restarts = max(6.0, seconds / 8), 0
        for number in count():
            passed = time.monotonic() - began
            if passed >= seconds:
                return
            if passed > (restarts + 0.5) * every:
                restarts += 1
                await self.restart_redis()
            await turns[number % len(turns)]()
            await asyncio.sleep(min(1.0, seconds / 60))


def write(site: Site, turn: int, more: str = "") -> None:
    """The policies of this turn: whole under another name, then renamed."""
    path = site.folder / "policies" / "a.yaml"
    draft = path.with_suffix(".draft")
    draft.write_text(POLICIES.format(url=f"http://127.0.0.1:{site.port}", turn=turn) + more)
    draft.rename(path)


async def prepare(site: Site) -> None:
    """The credential, and the policies that name it."""
    words = ("credentials", "set", CREDENTIAL, "--type", "api_key")
    await site.command(*words, said=FIRST_VALUE)
    write(site, 1)
