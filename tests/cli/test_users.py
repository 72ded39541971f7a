"""`gateway users`: links for users, and what they have brought."""

import json
import platform
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.crypto.draw import draw
from gateway.domain.keys.key import compose
from gateway.domain.settings import StoreSettings
from gateway.domain.workers import WorkerRecord
from gateway.store.workers import WorkerStore
from tests.cli.commands import Ended, VaultCommands


class Users(VaultCommands):
    def users(self, *words: str) -> Ended:
        return self.gateway("users", *words)


@pytest.fixture
def vault(store: StoreSettings, tmp_path: Path) -> Users:
    return Users(store, tmp_path)


def test_a_link_is_made_listed_and_ended_with_its_user(vault: Users) -> None:
    made = vault.users("link", "alice", "--credentials", "github,aliyun:ak_sk", "--json").json
    assert made["url"].startswith("http://127.0.0.1:8080/connect/")
    assert (made["user"], made["credentials"]) == ("alice", ["github", "aliyun"])
    vault.set("user/alice/github", "a-value-of-alice")
    (row,) = vault.users("list", "--json").json["users"]
    assert (row["user"], row["credentials"]) == ("alice", ["github"])
    assert 0 < row["link_seconds"] <= 900
    assert "alice" in vault.users("list").out
    assert "nothing. Links ended: 0" in vault.users("unlink", "alcie", "--yes").said
    assert "Did you mean 'alice'?" in vault.users("unlink", "alcie", "--yes").said
    # The first time this ends the link, the second time there is nothing to do.
    for _ in range(2):
        assert "Did you" not in vault.users("unlink", "alice", "--yes", "--credentials", "aa").said
    vault.users("link", "alice", "--credentials", "github")
    ended = vault.users("unlink", "alice", "--yes", "--json").json
    assert ended == {"user": "alice", "removed": ["github"], "links_ended": 1}
    assert vault.users("list", "--json").json == {"users": []}
    empty = vault.users("list")
    assert (empty.out, "'gateway users link'" in empty.said) == ("", True)


def test_links_are_ended_before_the_credentials_are_removed_that_came_through_them(
    vault: Users,
) -> None:
    """One that came through a link between the two stayed, and the user was said to be unlinked."""
    vault.set("user/alice/github", "a-value-of-alice")
    vault.users("link", "alice", "--credentials", "github")
    vault.users("unlink", "alice", "--yes")
    told = vault.gateway("audit", "tail", "--json", "--user", "alice").out.splitlines()
    events = [json.loads(line)["event"] for line in told]
    assert events[-2:] == ["user.unlink", "credential.delete"]


def test_links_are_ended_without_the_credentials_that_the_user_has_brought(vault: Users) -> None:
    vault.set("user/alice/github", "a-value-of-alice")
    for user in ("alice", "bob"):
        vault.users("link", user, "--credentials", "github")
    vault.users("link", "carol", "--credentials", "github")
    for words in ((), ("--links-only",)):
        assert "Did you mean 'carol'?" in vault.users("unlink", "carlo", "--yes", *words).said
    vault.users("unlink", "carol", "--yes")
    ended = vault.users("unlink", "alice", "--links-only", "--json").json
    assert ended == {"user": "alice", "removed": [], "links_ended": 1}
    alice, bob = vault.users("list", "--json").json["users"]
    assert (alice["credentials"], alice["link_seconds"]) == (["github"], None)
    assert bob["link_seconds"] > 0
    both = vault.users("unlink", "alice", "--links-only", "--credentials", "github")
    assert both.code == 2 and "leave out --credentials" in both.said


@pytest.mark.parametrize(
    ("listen", "leads_to"),
    [
        ("127.0.0.1:9431", "127.0.0.1:9431"),
        ("0.0.0.0:9431", "127.0.0.1:9431"),
        ("", "127.0.0.1:8080"),
    ],
)
async def test_a_link_leads_to_where_the_gateway_of_this_machine_listens(
    vault: Users, client: Redis, listen: str, leads_to: str
) -> None:
    workers = WorkerStore(client, "gw:")
    await workers.write(WorkerRecord(platform.node(), 1, "", 0, "", listen))
    await workers.write(WorkerRecord("another", 1, "", 0, "", "127.0.0.1:1"))
    made = vault.users("link", "alice", "--credentials", "github").out
    assert made.startswith(f"http://{leads_to}/connect/")
    given = vault.users("link", "alice", "--credentials", "github", "--url", "https://own/").out
    assert given.startswith("https://own/connect/")


@pytest.mark.parametrize(
    "words",
    [
        ("link", "a b", "--credentials", "github"),
        ("link", "alice", "--credentials", "github:nonsense"),
        ("link", "alice", "--credentials", "user/bob/github"),
        ("link", "alice", "--credentials", "trap:canary"),
        ("link", "alice", "--credentials", ","),
        ("link", "alice", "--credentials", "github", "--url", "ftp://x"),
        ("link", "alice", "--credentials", "github", "--url", "https://"),
        ("link", "alice", "--credentials", "github", "--url", "https://own/?a=b"),
        ("link", "alice", "--credentials", "github", "--url", "https://own/#a"),
        ("link", "alice", "--credentials", "github", "--url", "https://me:secret@own"),
        ("link", "alice"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(vault: Users, words: tuple[str, ...]) -> None:
    ended = vault.users(*words)
    assert ended.code == 2
    assert ended.is_one_sentence()


def test_a_key_in_place_of_a_user_is_refused_and_kept_nowhere(vault: Users) -> None:
    key = compose("live", draw(12), draw(32)).text
    for words in (
        ("users", "link", key, "--credentials", "github"),
        ("users", "unlink", key, "--yes"),
        ("credentials", "set", f"user/{key}/github", "--type", "bearer"),
    ):
        ended = vault.gateway(*words, value="a-value-of-nobody")
        assert ended.code == 2
        assert ended.is_one_sentence() and key not in ended.said
    assert vault.gateway("audit", "tail").out == ""


@pytest.mark.parametrize(
    "words", [("link", "alice", "--credentials", "github"), ("unlink", "alice")]
)
def test_without_a_master_key_nothing_is_done_that_no_verify_would_take(
    vault: Users, store: StoreSettings, words: tuple[str, ...]
) -> None:
    bare = Users(store, vault.folder, master="")
    asked = (*words, "--yes") if words[0] == "unlink" else words
    refused = bare.users(*asked)
    assert refused.code == 1 and refused.is_one_sentence()
    assert "set GATEWAY_MASTER_KEY_FILE" in refused.said
    assert bare.users("list", "--json").json == {"users": []}
    assert vault.gateway("audit", "verify").code == 0


def test_nothing_is_removed_unasked(vault: Users) -> None:
    vault.set("user/alice/github", "a-value-of-alice")
    assert vault.users("unlink", "alice").code == 2
    assert vault.users("list", "--json").json["users"][0]["credentials"] == ["github"]
