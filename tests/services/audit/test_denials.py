"""What is refused is on record: each refusal of a key that was proven, floods as counts."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.domain.audit.record import AuditEvent, Named
from gateway.domain.keys.key import compose
from gateway.domain.traffic import Handled
from gateway.services.audit import denials
from gateway.services.audit.denials import DenialAudit, open_denials

KEY, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


class Kept:
    """In place of the queue, of which only `put` is used."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.canaries = 0
        self.denials = DenialAudit(self, self._on_canary)  # type: ignore[arg-type]

    def put(self, events: Sequence[AuditEvent]) -> None:
        self.events += events

    def _on_canary(self) -> None:
        self.canaries += 1

    def taken(self) -> list[tuple[str, str, str, int]]:
        found = [(one.event, one.key_id, one.code, one.count) for one in self.events]
        self.events.clear()
        return found


def handled(code: str, key_id: str = "", **more: Any) -> Handled:
    made = Handled(
        1.0, "r", "GET", "/x", "faq", key_id, "sales", 403, code, False, 0, 0, None, None, 0.0015
    )
    return made._replace(**more)


async def test_each_refusal_of_a_proven_key_is_told_with_all_that_is_known() -> None:
    kept = Kept()
    one = handled("scope_denied", KEY, user="ann", wanted="whoami")
    kept.denials.count([one, one, handled("")])
    first, second = kept.events
    assert (
        first
        == second
        == AuditEvent(
            "request.denied",
            request_id="r",
            key_id=KEY,
            consumer="sales",
            agent="faq",
            tool="whoami",
            user="ann",
            decision="denied",
            code="scope_denied",
            status=403,
            latency_ms=1.5,
        )
    )


async def test_a_key_that_is_called_as_a_tool_is_not_told() -> None:
    kept, key = Kept(), compose("live", KEY, "s" * 32)
    kept.denials.count([handled("scope_denied", KEY, wanted=key.text)])
    assert key.text not in repr(kept.events) and KEY in kept.events[0].tool


async def test_refusals_of_strangers_are_counted_by_code_and_told_of_nobody() -> None:
    kept = Kept()
    kept.denials.count([handled("key_invalid"), handled("key_missing"), handled("key_invalid")])
    assert kept.events == []
    kept.denials.close()
    assert {(one.consumer, one.agent, one.request_id) for one in kept.events} == {("", "", "")}
    assert sorted(kept.taken()) == [
        ("request.denied", "", "key_invalid", 2),
        ("request.denied", "", "key_missing", 1),
    ]
    kept.denials.close()
    assert kept.events == []


@pytest.mark.parametrize("code", ["rate_limited", "concurrency_limited", "quota_exhausted"])
async def test_of_what_a_limit_refuses_the_first_is_told_and_the_rest_counted_by_key(
    code: str,
) -> None:
    kept = Kept()
    kept.denials.count([handled(code, KEY), handled(code, OTHER), handled(code, KEY)])
    assert kept.taken() == [
        ("request.denied", KEY, code, 1),
        ("request.denied", OTHER, code, 1),
    ]
    kept.denials.close()
    assert kept.taken() == [("request.denied", KEY, code, 1)]


async def test_what_would_have_been_refused_is_told_apart_from_what_was() -> None:
    kept = Kept()
    tried = handled("", KEY, shadow="rate_limited", status=200)
    kept.denials.count([tried, handled("rate_limited", KEY), tried])
    assert [(one.event, one.decision, one.code) for one in kept.events] == [
        ("request.shadow", "shadow", "rate_limited"),
        ("request.denied", "denied", "rate_limited"),
    ]
    kept.events.clear()
    kept.denials.close()
    assert [(one.event, one.decision, one.count) for one in kept.events] == [
        ("request.shadow", "shadow", 1)
    ]


async def test_a_decoy_is_told_each_time_and_not_as_a_refusal() -> None:
    kept = Kept()
    used = handled("key_invalid", decoy=f"key:{KEY}"), handled("not_found", KEY, decoy="bait")
    kept.denials.count([*used, *used])
    assert kept.canaries == 4
    assert [one.credentials for one in kept.events] == [(), (Named("bait", 0),)] * 2
    assert [one.event for one in kept.events] == ["canary.key", "canary.credential"] * 2
    kept.events.clear()
    kept.denials.close()
    assert kept.events == []


async def test_a_flood_of_keys_is_counted_without_them_and_fills_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(denials, "MOST_FOLDS", 3)
    kept = Kept()
    keys = [f"{number:012d}" for number in range(10)]
    kept.denials.count([handled("rate_limited", key) for key in keys for _ in range(2)])
    assert len(kept.denials._folds) == 4
    told = kept.taken()
    kept.denials.close()
    counted = kept.taken()
    assert sum(count for *_, count in (*told, *counted)) == 20, "none is left out"
    assert {key for _, key, _, _ in counted} == {"", *keys[:3]}


async def test_what_is_counted_is_told_after_its_minute_or_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(denials, "TICK_SECONDS", 0.001)
    kept = Kept()
    async with open_denials(kept, lambda: None) as audit:  # type: ignore[arg-type]
        audit.count([handled("key_invalid")])
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert kept.taken() == []
        monkeypatch.setattr(denials, "FOLD_SECONDS", 0.0)
        audit.count([handled("key_missing")])
        async with asyncio.timeout(10):
            while not kept.events:
                await asyncio.sleep(0.001)
        assert kept.taken() == [("request.denied", "", "key_missing", 1)]
    assert kept.taken() == [("request.denied", "", "key_invalid", 1)]
