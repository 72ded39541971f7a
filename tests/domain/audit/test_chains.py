"""Audit records: a chain that was touched anywhere is found out, and the first bad record named."""

import json
import math
import random
from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.audit.chains import Chains
from gateway.domain.audit.record import (
    END,
    GENESIS,
    AuditEvent,
    Chain,
    Named,
    digest,
)
from tests.domain.audit.chains import KEYS, SEALS, chain, interleaved, signed_anew, unsigned


def first_bad(lines: list[str], **how: Any) -> tuple[int, str] | None:
    chains = Chains(
        how.pop("keys", KEYS),
        signed=how.pop("signed", True),
        gone_before=how.pop("gone_before", -math.inf),
        **how,
    )
    for number, line in enumerate(lines):
        problem = chains.problem(line)
        if problem:
            return number, problem
    return None


def test_chains_as_they_were_written_are_good() -> None:
    chains = Chains(KEYS, signed=True, gone_before=-math.inf)
    assert not any(map(chains.problem, interleaved()))
    assert (chains.records, chains.count, chains.open) == (55, 3, 1)


def test_every_single_byte_that_is_changed_is_found() -> None:
    lines = chain("a", 3)
    for number, line in enumerate(lines):
        for at in range(len(line)):
            edited = line[:at] + chr(ord(line[at]) ^ 1) + line[at + 1 :]
            if edited in ("", line) or _means_the_same(edited, line):
                continue
            found = first_bad([*lines[:number], edited, *lines[number + 1 :]])
            assert found is not None, (at, edited)


def _means_the_same(edited: str, line: str) -> bool:
    try:
        return bool(json.loads(edited) == json.loads(line))
    except ValueError:
        return False


def test_a_record_that_is_dropped_from_the_midst_is_found_at_its_successor() -> None:
    lines = interleaved()
    for number in range(12, 40):
        chain_name = json.loads(lines[number])["chain"]
        rest = lines[:number] + lines[number + 1 :]
        after = [i for i in range(number, len(rest)) if json.loads(rest[i])["chain"] == chain_name]
        found = first_bad(rest)
        assert found is not None and found[0] == after[0]
        assert "number" in found[1]


def test_records_that_are_reordered_or_repeated_are_found() -> None:
    lines = chain("a", 10)
    for at in range(8):
        swapped = [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
        assert first_bad(swapped) is not None
        assert first_bad([*lines[: at + 1], lines[at], *lines[at + 1 :]]) is not None


def test_a_stream_that_was_trimmed_at_its_start_is_good_and_one_with_a_hole_there_is_not() -> None:
    lines = interleaved()
    for cut in range(len(lines)):
        assert first_bad(lines[cut:], gone_before=math.inf) is None
    # The first twelve records of one writer, while all others of that time are still there.
    holed = [line for line in lines if json.loads(line)["chain"] != "a"
             or json.loads(line)["seq"] > 12]  # fmt: skip
    found = first_bad(holed, gone_before=math.inf)
    assert found is not None and "missing" in found[1]
    # Where nothing can have been trimmed yet, nothing may be missing.
    assert first_bad(lines[1:]) is not None


def test_a_record_follows_another_by_its_number_and_by_its_hash() -> None:
    """Whoever signs it: a writer that goes on from another state has lost what came between."""
    one, two, *_ = chain("a", 5)
    other = json.loads(chain("a", 5, start=2000.0)[2])
    found = first_bad([one, two, json.dumps(other)])
    assert found == (2, "it is number 3 of its chain and follows number 2")
    last = json.loads(two)["hash"]
    assert first_bad([one, two, signed_anew(other, prev=last)]) is None
    assert first_bad([one, two, signed_anew(other, prev=last, seq=4)]) is not None


def test_only_the_first_record_of_a_chain_follows_none() -> None:
    first, second = (json.loads(line) for line in chain("a", 2, end=False))
    for begun in (signed_anew(first, prev=second["prev"]), signed_anew(second, prev=GENESIS)):
        found = first_bad([begun])
        assert found is not None and "missing" in found[1]


def test_each_record_says_when_the_one_before_it_was_made() -> None:
    records = [json.loads(line) for line in chain("a", 4)]
    assert [one["prev_ts"] for one in records] == [0.0, *(one["ts"] for one in records[:-1])]


def test_clocks_of_hosts_that_differ_by_seconds_are_no_hole() -> None:
    """The stream drops in its own order, and the oldest left may be of a clock that is behind."""
    for behind, good in ((4.0, True), (6.0, False)):
        late = chain("a", 2)[1]
        lines = [*chain("b", 2, start=1000.0 - behind), late]
        assert (first_bad(lines, gone_before=math.inf) is None) is good


def test_a_chain_is_as_old_as_what_was_dropped_of_it_however_late_it_goes_on() -> None:
    """Its writer may have had nothing to say for a day."""
    later = signed_anew(json.loads(chain("a", 2)[1]), ts=90_000.0)
    lines = [*chain("b", 2, start=80_000.0), later]
    assert first_bad(lines, gone_before=50_000.0) is None
    assert first_bad(lines, gone_before=100.0) is not None


def test_a_record_that_anybody_can_make_excuses_no_gap() -> None:
    """Acts on keys may be unsigned; one that claims a late time must not make others old."""
    forged = unsigned("key.update", chain="z", ts=9e12)
    lines = chain("b", 5) + chain("a", 20)
    holed = [forged, *lines[:5], *lines[17:]]
    found = first_bad(holed, gone_before=math.inf)
    assert found is not None and "missing" in found[1]


@pytest.mark.parametrize("event", [END, "key.update"])
def test_a_chain_that_is_signed_has_no_unsigned_end(event: str) -> None:
    lines = chain("a", 5)[:3]
    last = json.loads(lines[-1])["hash"]
    found = first_bad([*lines, unsigned(event, seq=4, prev=last, ts=2000.0)])
    assert found is not None and found[0] == 3


def test_a_record_that_was_torn_anywhere_is_counted_where_that_is_allowed() -> None:
    line = chain("a", 1, end=False)[0]
    for length in range(1, len(line)):
        chains = Chains(KEYS, signed=True, gone_before=math.inf, may_be_torn=True)
        assert chains.problem(line[:length]) == "", length
        assert chains.torn == 1
    whole = line.replace("credential.read", 'credential"read')
    assert Chains(KEYS, signed=True, gone_before=math.inf, may_be_torn=True).problem(whole)


@pytest.mark.parametrize("name", ["ts", "chain", "seq", "event", "signer", "prev", "hash"])
def test_a_record_that_was_edited_to_make_no_sense_is_not_taken_for_a_torn_one(name: str) -> None:
    """It may be the last of its chain, where nothing that follows would miss it."""
    record = json.loads(chain("a", 1, end=False)[0])
    without = {one: value for one, value in record.items() if one != name}
    for edited in (record | {name: None}, record | {name: []}, without):
        for spaces in ((",", ":"), (", ", ": ")):
            chains = Chains(KEYS, signed=True, gone_before=math.inf, may_be_torn=True)
            found = chains.problem(json.dumps(edited, separators=spaces))
            assert found == "it is no audit record"


def test_whoever_has_not_the_key_can_make_no_record() -> None:
    lines = chain("a", 5)
    record = json.loads(lines[2])
    record["consumer"] = "somebody else"
    for key, signer in ((b"x" * 32, "signer"), (KEYS[""], ""), (b"x" * 32, "unheard of")):
        record["signer"] = signer
        record["hash"] = digest(record, key)
        found = first_bad([*lines[:2], json.dumps(record), *lines[3:]])
        assert found is not None and found[0] == 2


def test_only_acts_on_keys_may_be_unsigned_where_there_is_a_master_key() -> None:
    """`gateway keys` runs where no master key is; a use of a credential never does."""
    events = {"key.create": True, "credential.use": False, "credential.key.use": False, END: False}
    for event, good in events.items():
        chains = Chains(KEYS, signed=True, gone_before=-math.inf)
        assert (chains.problem(unsigned(event)) == "") is good
        assert chains.unsigned == int(good)


def test_a_chain_of_operators_without_a_master_key_ends_as_any_other() -> None:
    chains = Chains(KEYS, signed=True, gone_before=-math.inf)
    act = unsigned("key.create")
    end = unsigned(END, seq=2, prev=json.loads(act)["hash"], prev_ts=1.0, ts=2.0)
    assert [chains.problem(act), chains.problem(end)] == ["", ""]
    assert (chains.unsigned, chains.open) == (2, 0)


@pytest.mark.parametrize(("event", "good"), [("key.update", True), ("credential.use", False)])
def test_an_unsigned_act_on_a_key_opens_its_chain_to_no_other_event(event: str, good: bool) -> None:
    """Its hash is made with a public key: anybody could go on from it."""
    act = unsigned("key.create")
    then = unsigned(event, seq=2, prev=json.loads(act)["hash"], prev_ts=1.0, ts=2.0)
    assert (first_bad([act, then]) is None) is good


def test_where_the_first_unsigned_record_is_found_is_kept() -> None:
    chains = Chains(KEYS, signed=True, gone_before=-math.inf)
    for number, line in enumerate(chain("b", 2)):
        assert chains.problem(line, f"line {number}") == ""
    for name in ("x", "y"):
        assert chains.problem(unsigned("key.create", chain=name), f"line {name}") == ""
    assert (chains.unsigned, chains.first_unsigned) == (2, "line x")


def test_without_a_master_key_unsigned_records_are_read_and_signed_ones_are_not() -> None:
    assert first_bad(chain("a", 3), keys={"": b"unsigned"}, signed=False) is not None
    assert first_bad([unsigned("x")], keys={"": b"unsigned"}, signed=False) is None


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", "x", '{"hash": 1}', "[" * 50_000, '{"ts": true}']
)
def test_what_is_no_record_is_said_to_be_none(text: str) -> None:
    assert first_bad([text]) == (0, "it is no audit record")


@pytest.mark.parametrize("changes", [{"hash": "\u00e9" * 64}, {"more": "DEEP"}])
def test_a_record_of_what_no_record_holds_is_none(changes: dict[str, str]) -> None:
    record = json.dumps(json.loads(chain("a", 1)[0]) | changes, separators=(",", ":"))
    text = record.replace('"DEEP"', "[" * 500 + "]" * 500)
    assert first_bad([text]) == (0, "it is no audit record")


@pytest.mark.parametrize(
    ("real", "smuggled"),
    [
        ('{"actor"', '{"key_id":"key-9","actor"'),
        ('{"actor"', '{ "event":"key.delete", "actor"'),
        ('{"name":"crm"', '{"name":"other","name":"crm"'),
    ],
)
def test_a_name_that_is_there_twice_is_found_though_the_hash_is_of_the_last(
    real: str, smuggled: str
) -> None:
    """Readers that take the first would be shown what nobody signed."""
    lines = chain("a", 3)
    assert real in lines[1]
    lines[1] = lines[1].replace(real, smuggled, 1)
    assert first_bad(lines) == (1, "it is no audit record")


@pytest.mark.parametrize("name", ["actor", "consumer", "tool"])
def test_what_strangers_write_is_on_record_whatever_bytes_it_holds(name: str) -> None:
    """A login name, a field of a key's record, a tool that somebody asks for."""
    event = AuditEvent("x", **{name: "\udcff\ud800\u00e4"})
    line = Chain("a", SEALS["signer"], "signer").add(event, 1.0).decode()
    assert json.loads(line)[name] == "??\u00e4"
    assert first_bad([line]) is None


def test_a_record_that_was_spaced_anew_is_as_it_was_written() -> None:
    assert first_bad([json.dumps(json.loads(line)) for line in chain("a", 3)]) is None


def test_ten_thousand_random_edits_are_all_found() -> None:
    draw = random.Random(7)  # noqa: S311
    lines = interleaved()
    chains = Chains(KEYS, signed=True, gone_before=-math.inf)
    before = []
    for line in lines:
        before.append(deepcopy(chains))
        assert not chains.problem(line)
    for _ in range(10_000):
        number = draw.randrange(len(lines))
        line = lines[number]
        at = draw.randrange(len(line))
        edited = line[:at] + draw.choice('0123456789abcdef"{}:,') + line[at + 1 :]
        if edited == line or _means_the_same(edited, line):
            continue
        assert deepcopy(before[number]).problem(edited), edited


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(
    texts=st.lists(TEXTS, min_size=10, max_size=10),
    names=st.lists(st.tuples(TEXTS, st.integers(0, 2**53)), max_size=3),
    numbers=st.tuples(*[st.integers(0, 2**31)] * 2),
    times=st.tuples(*[st.floats(0, 1e12)] * 3),
)
def test_a_record_is_spelled_as_its_hash_has_it_whatever_is_in_it(
    texts: list[str],
    names: list[tuple[str, int]],
    numbers: tuple[int, int],
    times: tuple[float, float, float],
) -> None:
    credentials = tuple(Named(name, version) for name, version in names)
    event = AuditEvent(*texts[:7], credentials, *texts[7:9], numbers[0], times[0], texts[9])
    event.count = numbers[1]  # type: ignore[misc]
    made = Chain("a", SEALS["signer"], "signer")
    chains = Chains(KEYS, signed=True, gone_before=-math.inf)
    for ts in times[1:]:
        record = made.add(event, ts)
        assert chains.problem(record.decode()) == ""
        rest = json.loads(record)
        del rest["hash"]
        assert (
            orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)[:-1] == record.rpartition(b',"hash"')[0]
        )
        assert rest["credentials"] == [{"name": n, "version": v} for n, v in names]
        assert (rest["user"], rest["consumer"], rest["ts"]) == (texts[6], texts[3], ts)
