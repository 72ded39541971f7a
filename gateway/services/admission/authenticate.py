"""Whether a key's secret is that of its record: cheap proofs first, argon2 last and bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.crypto.argon2 import Argon2Pool
from gateway.crypto.tags import Peppers, TagVerdict
from gateway.domain.errors import Code, Denied, StoreError
from gateway.domain.keys.judgement import previous_lives
from gateway.domain.keys.key import Key
from gateway.domain.keys.phc import acceptable
from gateway.domain.keys.record import KeyRecord
from gateway.log import log
from gateway.services.admission.throttle import Failures, FailureThrottle
from gateway.tasks import Tasks

# Each writer takes a connection. Under a new pepper, every key's first use writes a tag. A tag that
# finds no room is written when another process first sees the key.
WRITERS, WAITING = 4, 10_000
END_SECONDS = 2.0


class Slot(StrEnum):
    """Which of a record's two secrets."""

    CURRENT = "current"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live hash of a record, and the tag beside it."""

    slot: Slot
    phc: str = field(repr=False)
    tag: str = field(repr=False)


# Takes key id, hash, tag and slot; one script writes the tag if nothing has changed.
WriteTag = Callable[[str, str, str, Slot], Awaitable[None]]


def live_hashes(record: KeyRecord, now: float) -> list[Candidate]:
    """Return the hashes that a secret may match now. The old secret is valid only beside a new one:
    an operator who removes the current hash means the whole key."""
    if not acceptable(record.hash):
        return []
    found = [Candidate(Slot.CURRENT, record.hash, record.tag)]
    if previous_lives(record, now) and acceptable(record.previous_hash):
        found.append(Candidate(Slot.PREVIOUS, record.previous_hash, record.previous_tag))
    return found


class Authenticator:
    """Finds the slot that a key's secret matches, or raises Denied(key_invalid or busy)."""

    def __init__(
        self,
        peppers: Peppers,
        pool: Argon2Pool,
        write_tag: WriteTag,
        clock: Callable[[], float],
    ) -> None:
        self._peppers = peppers
        self._pool = pool
        self._write_tag = write_tag
        self._throttle = FailureThrottle(clock)
        self._failures = Failures(clock)
        self._writing = Tasks()
        self._writers = asyncio.Semaphore(WRITERS)

    async def prove(
        self, key: Key, digest: bytes, record: KeyRecord, now: float, address: str
    ) -> Candidate:
        """Return the live hash that `key` matches. `digest`: its TokenDigest."""
        undecided = []
        candidates = live_hashes(record, now)
        if not candidates:
            # An unknown id does the same work as a wrong secret, and gets the same answer.
            self._peppers.dummy(key.text)
        for candidate in candidates:
            match self._peppers.verdict(candidate.tag, key.text, candidate.phc):
                case TagVerdict.MATCH:
                    if not self._peppers.is_current(candidate.tag):
                        self._tag_later(key, candidate)
                    return candidate
                case TagVerdict.UNUSABLE:
                    undecided.append(candidate)
        for candidate in undecided:
            if await self._matches(key, digest, candidate, address):
                self._tag_later(key, candidate)
                return candidate
        raise Denied(Code.KEY_INVALID)

    async def close(self) -> None:
        await self._writing.finish(END_SECONDS)

    async def _matches(self, key: Key, digest: bytes, candidate: Candidate, address: str) -> bool:
        if self._failures.holds(digest, candidate.phc):
            return False
        if self._throttle.refuses(key.id, address):
            raise Denied(Code.BUSY, retry_after=1)
        if await self._pool.verify(key.text, candidate.phc):
            return True
        self._failures.add(digest, candidate.phc)
        self._throttle.count(key.id, address)
        return False

    def _tag_later(self, key: Key, candidate: Candidate) -> None:
        """Write a tag in the background, which saves every other process the argon2; never over a
        tag of a pepper that is unknown here."""
        if not self._peppers.has_any or len(self._writing) >= WAITING:
            return
        tag = self._peppers.make(key.text, candidate.phc)
        self._writing.begin(self._write(key.id, candidate, tag))

    async def _write(self, key_id: str, candidate: Candidate, tag: str) -> None:
        try:
            async with self._writers:
                await self._write_tag(key_id, candidate.phc, tag, candidate.slot)
        except StoreError as problem:
            log.warning("tag_not_written", key_id=key_id, error=str(problem))
