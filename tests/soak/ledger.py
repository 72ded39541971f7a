"""What is known of each key and when, and so what each call should have come to."""

import random
from collections import Counter
from dataclasses import dataclass, field
from math import inf

from gateway.domain.keys.key import Key
from tests.chaos.calls import LOST, OK, Call
from tests.soak.kinds import CUT, DENIED

ENDED = frozenset({"key_invalid", "key_revoked", "key_disabled", "scope_denied"})
AWAY = frozenset({"store_unavailable", "audit_unavailable"})
# After a fault, for those who were under way or had to connect anew.
AFTERMATH = 5.0


@dataclass
class Held:
    """A secret in use, with monotonic times: from `dying` on it may be refused, from `dead` on it
    must be. `few`: its plan has a place for two calls at a time."""

    key: Key
    few: bool = False
    dying: float = inf
    dead: float = inf


@dataclass
class Tally:
    """Of one kind of call. `limited`: by the key's own limit; `ended`: refused or cut because the
    key had ended; `denied`: as it should be."""

    sent: int = 0
    ok: int = 0
    denied: int = 0
    ended: int = 0
    limited: int = 0


@dataclass
class Ledger:
    """`away`: when Redis was killed, and when it answered again."""

    live: list[Held] = field(default_factory=list)
    dead: list[Held] = field(default_factory=list)
    away: list[tuple[float, float]] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    wrongly_admitted: Counter[str] = field(default_factory=Counter)
    wrongly_refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def pick(self) -> Held:
        """Mostly a live one; one in ten has ended."""
        if self.dead and random.random() < 0.1:  # noqa: S311
            return random.choice(self.dead[-50:])  # noqa: S311
        return random.choice(self.live)  # noqa: S311

    def drop(self, held: Held) -> None:
        self.live.remove(held)
        self.dead.append(held)

    def judge(self, kind: str, held: Held, call: Call) -> None:
        tally = self.tallies.setdefault(kind, Tally())
        tally.sent += 1
        outcome = call.outcome
        if outcome == OK and (kind in DENIED or held.dead <= call.began):
            self.wrongly_admitted[kind] += 1
        elif outcome == OK:
            tally.ok += 1
        elif outcome in DENIED.get(kind, ()):
            tally.denied += 1
        elif outcome in (*ENDED, CUT) and held.dying <= call.ended:
            tally.ended += 1
        elif outcome == "concurrency_limited" and held.few:
            tally.limited += 1
        elif outcome in (*AWAY, LOST, CUT):
            self.failed[f"{outcome}, {self._why(call)}"] += 1
        else:
            self.wrongly_refused[f"{kind}: {outcome}"] += 1

    def _why(self, call: Call) -> str:
        near = any(
            killed <= call.ended and call.began <= back + AFTERMATH for killed, back in self.away
        )
        return "Redis restarting" if near else "for no reason"

    @property
    def unexplained(self) -> int:
        return sum(number for cause, number in self.failed.items() if "no reason" in cause)
