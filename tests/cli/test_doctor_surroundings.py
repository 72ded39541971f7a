"""`gateway doctor` on what is around a gateway: policies, upstreams, files, certificates."""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from redis.asyncio import Redis

from gateway.app.upstream_probe import UpstreamProbe
from gateway.cli.privacy import is_private
from gateway.domain.policies.snapshot import ClientTls, Policies, Upstream
from gateway.domain.settings import StoreSettings
from gateway.protocol.policy.read import read_policies
from gateway.services.diagnosis import upstreams
from gateway.services.diagnosis.audit import LITTLE_MIB, audit_file_found
from gateway.services.diagnosis.certificates import listener_found
from gateway.services.diagnosis.findings import Finding, Level
from gateway.services.diagnosis.machine import files_found, memory_found, processes_found
from gateway.services.diagnosis.private_files import private_file, state_found
from gateway.services.diagnosis.upstreams import Unreached, upstreams_found
from tests.cli.commands import PEPPER, Commands, Ended
from tests.flows.upstreams import files, server_side

pytestmark = pytest.mark.asyncio


@dataclass(frozen=True, slots=True)
class Environed(Commands):
    """With more in the environment."""

    more: tuple[tuple[str, str], ...] = ()

    def environment(self) -> dict[str, str]:
        return {**Commands.environment(self), **dict(self.more)}


def write(folder: Path, text: str) -> None:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "a.yaml").write_text(f"version: 1\n{text}")


async def asked(
    store: StoreSettings, folder: Path, *words: str, **more: str
) -> dict[str, list[tuple[str, str]]]:
    """Level and sentence of each finding, by topic."""
    commands = Environed(store, folder, more=tuple(more.items()))
    ended: Ended = await asyncio.to_thread(commands.gateway, "doctor", "--json", *words)
    told: dict[str, list[tuple[str, str]]] = {}
    for finding in ended.json["findings"]:
        told.setdefault(finding["topic"], []).append((finding["level"], finding["sentence"]))
    wrong = any(level == "wrong" for found in told.values() for level, _ in found)
    assert (ended.code, ended.json["ok"]) == (int(wrong), not wrong)
    return told


async def test_policies_are_looked_at_with_the_keys_that_live(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    write(tmp_path, "plans: {gold: {}, tried: {enforce: false}}\n")
    await asyncio.to_thread(Commands(store, tmp_path).create, "--plan", "gold")
    assert [level for level, _ in (await asked(store, tmp_path))["policies"]] == ["warn", "ok"]
    write(tmp_path, "agents: {a: {upstream: 'http://127.0.0.1:1'}}\n")
    told = await asked(store, tmp_path, "--no-upstreams")
    assert told["policies"][1][0] == "wrong"
    assert told["policies"][1][1].startswith("plan gold is gone: 1 key would be refused: bring the")
    assert "upstream" not in told
    write(tmp_path, "agents: {a: 5}\n")
    ((level, sentence),) = (await asked(store, tmp_path))["policies"]
    assert level == "wrong" and "a.yaml:2:13: " in sentence


async def test_files_with_secrets_are_for_their_owner_alone(
    store: StoreSettings, tmp_path: Path
) -> None:
    pepper = tmp_path / "pepper"
    pepper.write_text(PEPPER)
    pepper.chmod(0o644)
    told = await asked(store, tmp_path, GATEWAY_PEPPER_FILE=str(pepper), GATEWAY_PEPPER="")
    ((level, sentence),) = told["secrets"]
    assert level == "wrong"
    assert f"The pepper, {pepper}, is open to other users: chmod 600 {pepper}" in sentence
    pepper.write_text("SECRET-that-is-no-pepper")
    told = await asked(
        store, tmp_path, GATEWAY_PEPPER_FILE=str(pepper), GATEWAY_MASTER_KEY="SECRET-that-is-none"
    )
    assert [level for level, _ in told["secrets"]] == ["wrong", "wrong"]
    assert "SECRET" not in str(told)
    told = await asked(store, tmp_path, GATEWAY_PEPPER="")
    ((level, sentence),) = told["secrets"]
    assert level == "warn" and "openssl rand" in sentence


@pytest.mark.parametrize(
    ("mode", "level"),
    [(0o600, Level.OK), (0o400, Level.OK), (0o640, Level.WARN), (0o660, Level.WRONG),
     (0o604, Level.WRONG), (0o602, Level.WRONG)],
)  # fmt: skip
async def test_a_file_is_judged_by_who_may_read_and_write_it(
    tmp_path: Path, mode: int, level: Level
) -> None:
    path = tmp_path / "key"
    path.touch()
    path.chmod(mode)
    assert private_file(path, "It").level is level
    assert private_file(tmp_path / "none", "It").wrong


async def test_a_file_for_the_audit_has_to_be_writable(
    store: StoreSettings, tmp_path: Path
) -> None:
    async def judged(path: Path) -> tuple[str, str]:
        found = (await asked(store, tmp_path, GATEWAY_AUDIT_FILE=str(path)))["audit"]
        return found[-1]

    path = tmp_path / "audit.jsonl"
    # Not there yet, there, and a device that stores nothing.
    assert await judged(path) == ("ok", f"{path} can be written.")
    path.touch()
    assert await judged(path) == ("ok", f"{path} can be written.")
    assert (await judged(Path("/dev/null")))[0] == "ok"
    level, sentence = await judged(tmp_path / "none" / "audit.jsonl")
    assert level == "wrong" and "its directory is missing" in sentence
    level, sentence = await judged(tmp_path)
    assert level == "wrong" and "is a directory" in sentence
    assert not path.read_text()


@pytest.mark.parametrize(
    ("free", "level"),
    [(LITTLE_MIB, Level.OK), (LITTLE_MIB - 1, Level.WARN), (1, Level.WARN), (0, Level.WRONG)],
)
async def test_the_disk_of_the_audit_needs_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, level: Level
) -> None:
    blocks = free * 256
    disk = os.statvfs_result((4096, 4096, 10**9, blocks, blocks, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    assert audit_file_found(tmp_path / "audit.jsonl").level is level


async def test_a_state_directory_is_judged_before_it_is_put_right(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    assert list(state_found(folder)) == []
    folder.mkdir(mode=0o755)
    (folder / "master-key").touch(mode=0o644)
    assert [finding.level for finding in state_found(folder)] == [Level.WRONG, Level.WRONG]
    folder.chmod(0o700)
    (folder / "master-key").chmod(0o600)
    assert [finding.level for finding in state_found(folder)] == [Level.OK, Level.OK]


async def test_a_gateway_for_strangers_on_a_private_store_is_wrong(
    store: StoreSettings, tmp_path: Path
) -> None:
    embedded = StoreSettings(url=None, state_dir=tmp_path / "state")
    exposed = {"GATEWAY_LISTEN": "0.0.0.0:8080", "GATEWAY_STATE_DIR": str(tmp_path / "state")}
    told = await asked(embedded, tmp_path, **exposed)
    ((level, sentence),) = told["listen"]
    assert level == "wrong" and "0.0.0.0:8080" in sentence
    assert "listen" not in await asked(embedded, tmp_path, **exposed, GATEWAY_EMBEDDED="1")
    told = await asked(store, tmp_path, GATEWAY_LISTEN="nowhere")
    assert told["listen"][0][0] == "wrong"


@pytest.mark.parametrize(
    ("begins", "ends", "level", "said"),
    [
        (-9, 90, Level.OK, "is good for 89 days"),
        (-9, 10, Level.WARN, "expires in 9 days: renew it"),
        (-9, -2, Level.WRONG, "expired 2 days ago: renew it"),
        (2, 90, Level.WRONG, "is not valid yet"),
    ],
)
async def test_a_certificate_is_judged_by_its_days(
    tmp_path: Path, begins: int, ends: int, level: Level, said: str
) -> None:
    now = datetime.now(UTC)
    cert, key = str(tmp_path / "cert"), tmp_path / "key"
    issued = trustme.CA().issue_cert(
        "gateway.test", not_before=now + timedelta(begins), not_after=now + timedelta(ends)
    )
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    certificate, its_key = listener_found(cert, str(key), time.time())
    assert (certificate.level, its_key.level) == (level, Level.OK)
    assert said in certificate.sentence
    other, _ = listener_found(cert, cert, time.time())
    assert other.wrong and "cannot be used" in other.sentence


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def listening(stack: AsyncExitStack, tls: ssl.SSLContext | None) -> tuple[int, list[bytes]]:
    """A port, and all that was sent to it once a connection stood."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0, ssl=tls)
    stack.callback(server.close)
    return server.sockets[0].getsockname()[1], heard


async def test_an_upstream_is_tried_as_a_call_would_and_gets_not_a_byte(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    authority = trustme.CA()
    plain, heard = await listening(stack, None)
    asks, _ = await listening(stack, server_side(authority, "localhost", ask=True))
    strange, _ = await listening(stack, server_side(trustme.CA(), "localhost"))
    tls = files(tmp_path, authority, "gateway")
    probe = UpstreamProbe()

    async def tried(port: int, scheme: str = "https", **fields: object) -> Unreached | None:
        return await probe(Upstream(scheme, "localhost", port, **fields))  # type: ignore[arg-type]

    assert await tried(plain, "http") is None
    async with asyncio.timeout(10):
        while not heard:
            await asyncio.sleep(0.01)
    assert heard == [b""]
    assert await tried(asks, tls=tls) is None
    refused = await tried(asks, tls=ClientTls(ca=tls.ca))
    assert refused is not None and refused.trust
    unbelieved = await tried(strange, tls=ClientTls(ca=tls.ca))
    assert unbelieved is not None and unbelieved.trust
    assert "is not believed" in unbelieved.reason
    assert await tried(1, "http") == Unreached("Connection refused")
    # What a call may not dial is not dialled here either.
    guarded = await probe(Upstream("http", "169.254.169.254", 80))
    assert guarded is not None and "no address that may be called" in guarded.reason


POLICIES = """version: 1
agents:
  a: {upstream: ["http://127.0.0.1:1", "http://127.0.0.1:2"]}
  b: {upstream: "http://127.0.0.1:2"}
services:
  s: {upstream: "https://127.0.0.1:3"}
"""


async def test_upstreams_are_tried_once_each_and_told_with_who_calls_them() -> None:
    policies = read_policies({"a.yaml": POLICIES.encode()}).policies
    assert policies is not None
    tried: list[int] = []

    async def reach(upstream: Upstream) -> Unreached | None:
        tried.append(upstream.port)
        if upstream.port == 1:
            return None
        return Unreached(
            "nobody there" if upstream.port == 2 else "no handshake", upstream.port > 2
        )

    reached, away, untrusted = await upstreams_found(policies, reach)
    assert sorted(tried) == [1, 2, 3]
    assert (reached.level, away.level, untrusted.level) == (Level.OK, Level.WARN, Level.WRONG)
    assert "http://127.0.0.1:2 (of agents/a, agents/b): nobody there" in away.sentence
    assert "'ca', 'cert' and 'key'" in untrusted.sentence
    assert await upstreams_found(Policies(), reach) == []


async def test_upstreams_that_hang_do_not_hang_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "ALL_SECONDS", 0.05)
    policies = read_policies({"a.yaml": POLICIES.encode()}).policies
    assert policies is not None

    async def never(_: Upstream) -> Unreached | None:
        await asyncio.Event().wait()
        return None

    async with asyncio.timeout(20):
        found = await upstreams_found(policies, never)
    assert [finding.level for finding in found] == [Level.WARN] * 3
    assert "there was no time" in found[0].sentence


async def test_limits_of_the_system_are_judged_by_what_a_process_needs() -> None:
    assert files_found(20_100, 10_000).level is Level.OK
    assert files_found(-1, 10_000).level is Level.OK
    few = files_found(1024, 10_000)
    assert few.level is Level.WARN and "LimitNOFILE=20100" in few.sentence
    levels = [processes_found(number, 2).level for number in (2, 8, 9, 64, 65)]
    assert levels == [Level.OK, Level.OK, Level.WARN, Level.WARN, Level.WRONG]
    assert memory_found(private=True) == Finding(
        "machine", Level.OK, "A process that holds secrets leaves no dump of its memory."
    )
    assert memory_found(private=False).wrong
    # Nothing has closed off the process of the tests.
    assert is_private() is False or os.name != "posix"
