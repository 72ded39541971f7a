"""The policies in force follow the files, whole, and outlive bad ones."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from gateway.domain.policies.problems import Place, Problem
from gateway.domain.policies.snapshot import Policies
from gateway.protocol.policy.read import Loaded
from gateway.services.policies import directory, reading, reload
from gateway.services.policies.directory import Listing, list_directory, read_directory
from gateway.services.policies.reload import LivePolicies
from gateway.services.telemetry.traffic import Traffic
from tests.starved import no_more_files
from tests.until import until

PATIENCE = 10.0


def text(port: int, padding: int = 0) -> str:
    line = f"version: 1\nagents: {{a: {{upstream: 'http://127.0.0.1:{port}'}}}}\n"
    return line + "# padding\n" * padding


def replace(path: Path, content: str) -> None:
    """As editors and configuration systems do: whole under another name, then renamed."""
    draft = path.with_suffix(".draft")
    draft.write_text(content)
    draft.rename(path)


def port(live: LivePolicies) -> int:
    return live.current.agents["a"].upstreams[0].port


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    path.write_text(text(1))
    return path


def load(directory: Path) -> LivePolicies:
    listing, loaded = list_directory(directory), read_directory(directory)
    assert loaded.policies is not None
    return LivePolicies(directory, listing, loaded.policies, lambda policies: policies)


@pytest.fixture
async def live(file: Path) -> AsyncIterator[LivePolicies]:
    made = load(file.parent)
    watching = asyncio.create_task(made.watch())
    yield made
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_replaced_file_is_in_force_soon(live: LivePolicies, file: Path) -> None:
    replace(file, text(2))
    await until(lambda: port(live) == 2)


async def test_a_file_written_in_pieces_is_never_seen_half(live: LivePolicies, file: Path) -> None:
    """Each beginning of this file is a policy of its own: one with fewer agents."""
    seen: list[set[str]] = []
    live.after_swap = lambda before, after: seen.append(set(after.agents))
    with file.open("w") as writing:
        writing.write("version: 1\nagents:\n")
        for name in "abcd":
            writing.write(f"  {name}: {{upstream: 'http://127.0.0.1:9'}}\n")
            writing.flush()
            # Once for longer than a file that nobody writes has to rest.
            await asyncio.sleep(1.6 if name == "b" else 0.3)
    await until(lambda: bool(seen))
    assert seen == [set("abcd")]


TOOL = "version: 1\ntools: {{c: {{transport: command, tools: [{{name: t, {}}}]}}}}"
BAD = [
    *("", "version: 1\nagents: {a: {}}", "version: 1\nagents: [", "\x00", "version: 2\n"),
    TOOL.format("argv: [x], input: {properties: 1}"),
    TOOL.format("argv: [x, '{a}'], input: {properties: {a: {}}, required: [{}]}"),
    TOOL.format("argv: [x], input: {$schema: [1]}"),
    TOOL.format("argv: [x], input: {$schema: 'http://[x'}"),
]


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_file_leaves_the_last_good_one_in_force(
    live: LivePolicies, file: Path, bad: str
) -> None:
    before, traffic = live.current, Traffic()
    live.tried = lambda loaded: traffic.policies_tried(taken=loaded.policies is not None)
    with capture_logs() as logs:
        replace(file, bad)
        await until(lambda: bool(live.problems))
    assert live.current is before
    assert b"gateway_policies_refused 1.0" in traffic.exposition()
    places = [event["place"] for event in logs if event["event"] == "policy_problem"]
    assert places
    assert all(place.startswith(f"{file}:") for place in places)
    replace(file, text(3))
    await until(lambda: port(live) == 3)
    assert live.problems == ()
    told = traffic.exposition()
    assert b"gateway_policies_refused 0.0" in told
    for outcome in (b"loaded", b"refused"):
        assert b'gateway_policy_reloads_total{outcome="%b"} 1.0' % outcome in told


async def test_a_file_at_which_the_reader_itself_fails_leaves_the_last_good_one_in_force(
    live: LivePolicies, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise TypeError("secret")

    with monkeypatch.context() as broken:
        broken.setattr(directory, "read_policies", fails)
        replace(file, text(2))
        await until(lambda: bool(live.problems))
    (problem,) = live.problems
    assert "TypeError at" in problem.message and "secret" not in problem.message
    replace(file, text(3))
    await until(lambda: port(live) == 3)


async def test_a_deleted_directory_keeps_the_policies(live: LivePolicies, file: Path) -> None:
    file.unlink()
    file.parent.rmdir()
    await until(lambda: bool(live.problems))
    assert port(live) == 1
    file.parent.mkdir()
    file.write_text(text(4))
    await until(lambda: port(live) == 4)


async def test_a_file_that_is_added_or_removed_counts(live: LivePolicies, file: Path) -> None:
    plan = file.with_name("plans.yaml")
    plan.write_text("version: 1\nplans: {p: {rate: 1/s}}\n")
    await until(lambda: "p" in live.current.plans)
    plan.unlink()
    await until(lambda: "p" not in live.current.plans)


async def test_a_request_to_reload_waits_for_nothing(file: Path) -> None:
    live = load(file.parent)
    file.write_text(text(5))
    assert (await live.reload("SIGHUP")).policies is not None
    assert port(live) == 5
    file.write_text("version: 1\nagents: {a: {}}")
    assert (await live.reload("SIGHUP")).policies is None
    assert port(live) == 5


@pytest.mark.parametrize("watched", [".", "..data"], ids=["as Kubernetes", "the directory"])
async def test_links_that_are_swapped_are_followed_and_never_mixed(
    tmp_path: Path, watched: str
) -> None:
    """Two files behind one link that is swapped again and again: both always of one version."""

    def version(number: int) -> None:
        folder = tmp_path / f"..v{number}"
        folder.mkdir()
        (folder / "a.yaml").write_text(text(number))
        (folder / "b.yaml").write_text(f"version: 1\nplans: {{p: {{rate: {number}/s}}}}\n")
        link = tmp_path / "..data_tmp"
        link.symlink_to(folder.name)
        link.replace(tmp_path / "..data")

    version(1)
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    live = load(tmp_path / watched)
    seen: list[tuple[int, int]] = []

    def note(before: Policies, after: Policies) -> None:
        rate = after.plans["p"].limits.rate
        seen.append((after.agents["a"].upstreams[0].port, rate.count if rate else 0))

    live.after_swap = note
    watching = asyncio.create_task(live.watch())
    try:
        for number in range(2, 200):
            await asyncio.to_thread(version, number)
        await until(lambda: port(live) == 199)
    finally:
        watching.cancel()
    assert seen
    assert all(port == rate for port, rate in seen), seen


def test_files_that_change_while_they_are_read_are_read_anew(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set of files of two moments is one that nobody wrote."""
    really = directory.read_policies

    def slowly(files: Mapping[str, bytes]) -> Loaded:
        monkeypatch.setattr(directory, "read_policies", really)
        replace(file, text(2))
        return really(files)

    monkeypatch.setattr(directory, "read_policies", slowly)
    loaded = read_directory(file.parent).policies
    assert loaded is not None and loaded.agents["a"].upstreams[0].port == 2


def test_a_pipe_among_the_files_is_refused_and_waited_for_by_nobody(file: Path) -> None:
    os.mkfifo(file.with_name("pipe.yaml"))
    loaded = read_directory(file.parent)
    assert loaded.policies is None
    assert "this cannot be read: it is no file" in str(loaded.problems[0])


def test_a_file_with_another_ending_is_warned_of(file: Path) -> None:
    file.with_name("more.yml").write_text("version: 1\n")
    file.with_name(".hidden.yaml").write_text("[")
    loaded = read_directory(file.parent)
    assert [problem.place.file for problem in loaded.warnings] == [str(file.with_name("more.yml"))]


@pytest.mark.parametrize("content", [None, "this is no certificate"])
def test_a_certificate_that_cannot_be_used_is_a_problem_of_the_policies(
    file: Path, content: str | None
) -> None:
    if content is not None:
        file.with_name("ca.pem").write_text(content)
    file.write_text("version: 1\nagents:\n  a: {upstream: {url: 'https://a.test', ca: ca.pem}}\n")
    loaded = read_directory(file.parent)
    assert loaded.policies is None
    (problem,) = loaded.problems
    assert str(problem).startswith(f"{file}:3:3: {file.with_name('ca.pem')}: ")


async def test_a_set_is_taken_once_what_was_missing_is_there(
    file: Path, live: LivePolicies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "AGAIN_SECONDS", 0.1)
    missing = [Problem(Place("a.yaml", 2, 1), "the credential 'crm' is missing")]
    asked = 0

    async def vet(_: Policies) -> tuple[Problem, ...]:
        nonlocal asked
        asked += 1
        return tuple(missing)

    live.vet = vet
    replace(file, text(2))
    await until(lambda: asked > 2)
    assert port(live) == 1
    assert live.problems == tuple(missing)
    missing.clear()
    await until(lambda: port(live) == 2)
    assert live.problems == ()
    before = asked
    replace(file, text(3))
    await until(lambda: port(live) == 3)
    assert asked == before + 1


async def test_a_set_is_taken_once_what_it_names_can_be_read(
    file: Path, live: LivePolicies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a change of the policy files, and without a line in the log each time."""
    monkeypatch.setattr(reload, "AGAIN_SECONDS", 0.1)
    looked = 0

    def listed(directory: Path) -> Listing:
        nonlocal looked
        looked += 1
        return list_directory(directory)

    monkeypatch.setattr(reload, "list_directory", listed)
    authority = file.with_name("ca.pem")
    with capture_logs() as logs:
        url = "{url: 'https://127.0.0.1:2', ca: ca.pem}"
        replace(file, f"version: 1\nagents: {{a: {{upstream: {url}}}}}\n")
        await until(lambda: bool(live.problems))
        looked = 0
        await until(lambda: looked > 5)
        assert port(live) == 1
        assert [event["event"] for event in logs] == ["policies_refused", "policy_problem"]
        replace(authority, trustme.CA().cert_pem.bytes().decode())
        await until(lambda: port(live) == 2)
    assert live.problems == ()


async def test_a_large_set_that_is_read_in_vain_is_read_seldom(
    file: Path, live: LivePolicies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that reads policies keeps the event loop from running."""
    monkeypatch.setattr(reload, "AGAIN_SECONDS", 0.05)
    looked, slow = 0, 0.1
    read = reload.read_listing

    def read_slowly(directory: Path, listing: Listing) -> Loaded | None:
        nonlocal looked
        looked += 1
        time.sleep(slow)
        return read(directory, listing)

    monkeypatch.setattr(reload, "read_listing", read_slowly)
    url = "{url: 'https://127.0.0.1:2', ca: ca.pem}"
    replace(file, f"version: 1\nagents: {{a: {{upstream: {url}}}}}\n")
    await until(lambda: looked == 2)
    await asyncio.sleep(slow / reload.SHARE / 2)
    assert looked == 2


def test_a_directory_that_cannot_be_read_is_not_said_to_be_empty(file: Path) -> None:
    with no_more_files():
        loaded = read_directory(file.parent)
    assert [str(problem) for problem in loaded.problems] == [
        f"{file.parent}:1:1: this cannot be read: Too many open files"
    ]
    assert loaded.passing


async def test_a_set_that_waits_in_its_vet_is_never_put_over_a_newer_one(
    file: Path, live: LivePolicies
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def vet(policies: Policies) -> tuple[Problem, ...]:
        if policies.agents["a"].upstreams[0].port == 2:
            asked.set()
            await go_on.wait()
        return ()

    live.vet = vet
    taken: list[int] = []
    live.after_swap = lambda before, after: taken.append(after.agents["a"].upstreams[0].port)
    replace(file, text(2))
    await asked.wait()
    replace(file, text(3))
    reloading = asyncio.create_task(live.reload("SIGHUP"))
    # Time enough to be taken, were it not waiting for its turn.
    await asyncio.wait({reloading}, timeout=0.3)
    go_on.set()
    await reloading
    await until(lambda: len(taken) >= 2)
    assert taken[:2] == [2, 3]
    assert port(live) == 3


async def test_that_files_give_no_answer_is_told_until_they_do(
    live: LivePolicies, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    live.reading.unread = told.append
    answers = threading.Event()

    def hanging(directory: Path) -> Listing:
        answers.wait(PATIENCE)
        return list_directory(directory)

    monkeypatch.setattr(reading, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(reload, "list_directory", hanging)
    with capture_logs() as logs:
        await until(lambda: told == [True])
        (problem,) = live.problems
        assert problem.place.file == str(file.parent) and "no answer" in problem.message
        replace(file, text(2))
        answers.set()
        await until(lambda: port(live) == 2)
    assert live.problems == () and told[:2] == [True, False]
    assert "policies_unread" in [one["event"] for one in logs]


async def test_a_disk_that_hangs_at_the_look_for_writers_holds_up_nobody_else(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), threading.Event()

    def hanging(path: Path) -> bool:
        asked.set()
        return not answers.wait(PATIENCE)

    monkeypatch.setattr(reload, "is_open_for_writing", hanging)
    live = load(file.parent)
    watching = asyncio.create_task(live.watch())
    try:
        replace(file, text(2))
        await until(asked.is_set)
        assert not answers.is_set() and port(live) == 1
        answers.set()
        await until(lambda: port(live) == 2)
    finally:
        watching.cancel()
