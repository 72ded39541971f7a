"""`gateway policy …`, as an operator runs it: every problem with its place, every decision with
its reason."""

import asyncio
import json
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.cli.policies.explain import ask
from gateway.cli.policies.loaded import loaded_policies
from gateway.domain.settings import StoreSettings
from gateway.services.admission.question import Question
from gateway.services.admission.steps import About
from tests.cli.commands import REPOSITORY, Commands
from tests.services.vaults import Vault

POLICIES = """\
version: 1
agents:
  support:
    upstream: http://127.0.0.1:9101/base
    hosts: [support.test]
    routes:
      - {path: /health, methods: [GET], public: true}
      - {path: /chat, methods: [POST], action: chat}
      - {path: /admin, action: admin}
plans:
  standard: {rate: 10/s, burst: 2, quota: 3/d, agents: {support: {rate: 5/d}}}
"""


@pytest.fixture
def commands(store: StoreSettings, tmp_path: Path) -> Commands:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text(POLICIES)
    return Commands(store, tmp_path)


@pytest.fixture
async def stocked(client: Redis) -> None:
    """Has the credentials that the policies below name."""
    vault = Vault(client)
    for name in ("ka", "crm", "openai", "user/u1/github"):
        await vault.write(name)


def test_check_says_that_all_is_well(commands: Commands) -> None:
    ended = commands.gateway("policy", "check")
    assert (ended.code, ended.said) == (0, "")
    assert ended.out == f"{commands.folder}/policies: no problems; 1 agent, 1 plan\n"
    (commands.folder / "policies" / "b.yaml").write_text(
        "version: 1\nmodels:\n"
        "  - {name: m, provider: compatible, upstream: 'http://127.0.0.1:1/v1', fallback: [n]}\n"
        "  - {name: n, provider: compatible, upstream: 'http://127.0.0.1:1/v1'}\n"
    )
    more = commands.gateway("policy", "check").out
    assert more.endswith("no problems; 1 agent, 2 models, 1 plan\n")


def test_check_prints_every_problem_with_its_place_and_exits_1(commands: Commands) -> None:
    (commands.folder / "policies" / "b.yaml").write_text(
        "version: 1\nagents:\n  support: {upstream: 'http://x'}\nplans:\n  p: {rat: 1/s}\n"
    )
    ended = commands.gateway("policy", "check", "policies")
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "policies/b.yaml:3:3: agents/support is defined already: policies/a.yaml:3:3",
        "policies/b.yaml:5:7: unknown field 'rat': did you mean 'rate'?",
    ]
    told = commands.gateway("policy", "check", "policies", "--json").json
    assert told["ok"] is False
    assert told["problems"][0]["file"] == "policies/b.yaml"
    assert (told["problems"][1]["line"], told["problems"][1]["column"]) == (5, 7)


def test_check_of_nothing_says_what_is_missing(commands: Commands) -> None:
    ended = commands.gateway("policy", "check", "elsewhere")
    assert ended.code == 1
    assert ended.out == "elsewhere:1:1: there is no such directory: see --policies\n"
    (commands.folder / "one.yaml").write_text("version: 1\n")
    ended = commands.gateway("policy", "check", "one.yaml")
    assert ended.code == 1
    assert ended.out == "one.yaml:1:1: this is no directory: name the one that it is in\n"


async def test_check_warns_of_living_keys_that_would_be_refused(
    commands: Commands, client: Redis
) -> None:
    for _ in range(2):
        commands.create("--plan", "standard")
    dead = commands.create("--plan", "standard")
    await client.hset(f"gw:key:{{{dead.id}}}", "status", "revoked")
    only = commands("create", "--consumer", "x", "--scope", "agents/support:chat", "--quiet")
    assert only.code == 0
    (commands.folder / "policies" / "a.yaml").write_text("version: 1\n")
    ended = commands.gateway("policy", "check")
    assert ended.code == 0
    assert ended.said.splitlines() == [
        "gateway: warning: plan standard is gone: 2 keys would be refused",
        "gateway: warning: agent support is gone: 1 key could not reach it",
    ]


@pytest.fixture
def narrower(commands: Commands) -> str:
    """A directory in which `/admin` is gone and the plan allows less."""
    (commands.folder / "new").mkdir()
    text = POLICIES.replace("      - {path: /admin, action: admin}\n", "")
    (commands.folder / "new" / "a.yaml").write_text(text.replace("rate: 10/s", "rate: 5/s"))
    return "new"


def test_diff_tells_who_loses_what_by_consumer_and_plan(commands: Commands, narrower: str) -> None:
    planned = {commands.create("--plan", "standard").id for _ in range(7)}
    commands.create("--label", "no plan")
    only = ("create", "--consumer", "chatters", "--scope", "agents/support:chat", "--quiet")
    assert commands(*only).code == 0
    ended = commands.gateway("policy", "diff", "policies", narrower)
    assert (ended.code, ended.said) == (0, "")
    for part in ("~ agents/support: routes", "agents/support any /admin", "rate 10/s → 5/s"):
        assert part in ended.out
    assert ended.out.endswith("Active keys: 9; lose something: 8; only gain: 0.\n")
    assert "chatters" not in ended.out
    # Several things in a cell are a list, and nothing that would steer a terminal.
    everything = commands.gateway("policy", "diff", "policies", "-").out
    assert "(public); agents/support" in everything
    assert "\N{REPLACEMENT CHARACTER}" not in everything
    told = commands.gateway("policy", "diff", "policies", narrower, "--json").json
    assert told["loses"] is True
    none, group = told["keys"]["groups"]
    assert (none["plan"], none["count"], none["change"]["limits"]) == ("", 1, [])
    assert (group["consumer"], group["plan"], group["count"]) == ("sales", "standard", 7)
    assert len(group["ids"]) == 5 and set(group["ids"]) <= planned
    assert group["change"]["lost"] == ["agents/support any /admin"]
    assert group["change"]["limits"] == [
        {"limit": "rate", "before": "10/s", "after": "5/s", "stricter": True}
    ]


async def test_diff_fails_on_a_loss_where_that_is_asked_for(
    commands: Commands, narrower: str, client: Redis
) -> None:
    words = ("policy", "diff", "policies", narrower, "--fail-on-loss")
    assert commands.gateway(*words).code == 0
    key = commands.create("--plan", "standard")
    assert commands.gateway(*words).code == 1
    assert commands.gateway("policy", "diff", narrower, "policies", "--fail-on-loss").code == 0
    gone = commands.gateway("policy", "diff", "policies", "-", "--json").json
    (group,) = gone["keys"]["groups"]
    assert group["change"]["refused"] == "plan standard is gone"
    assert gone["strangers"]["lost"] == ["agents/support GET /health (public)"]
    # A dead key loses nothing.
    await client.hset(f"gw:key:{{{key.id}}}", "status", "revoked")
    assert commands.gateway(*words).code == 0


def test_diff_that_is_to_fail_on_a_loss_fails_where_keys_cannot_be_asked(
    commands: Commands, narrower: str
) -> None:
    settings = StoreSettings(url="redis://127.0.0.1:1", state_dir=commands.folder)
    away = Commands(settings, commands.folder)
    words = ("policy", "diff", "policies", "--fail-on-loss")
    ended = away.gateway(*words, narrower)
    assert ended.code == 1
    assert "--fail-on-loss requires it" in ended.said
    assert away.gateway(*words, narrower, "--json").json["keys"] is None
    # Nobody loses anything by what says the same.
    assert away.gateway(*words, "policies").code == 0


def test_diff_does_without_a_store_and_says_so(commands: Commands, narrower: str) -> None:
    away = StoreSettings(url="redis://127.0.0.1:1", state_dir=commands.folder)
    ended = Commands(away, commands.folder).gateway("policy", "diff", "policies", narrower)
    assert ended.code == 0
    assert "The active keys were not checked" in ended.said
    assert "~ plans/standard: limits" in ended.out
    same = commands.gateway("policy", "diff", "policies", "policies")
    assert (
        same.out == "The policies say the same.\nActive keys: 0; lose something: 0; only gain: 0.\n"
    )
    bad = commands.gateway("policy", "diff", "policies", "nowhere")
    assert bad.code == 1 and bad.is_one_sentence()


def test_check_does_without_a_store_that_does_not_answer(commands: Commands) -> None:
    away = StoreSettings(url="redis://127.0.0.1:1", state_dir=commands.folder)
    ended = Commands(away, commands.folder).gateway("policy", "check", "--json")
    assert ended.code == 0
    assert "The active keys were not checked" in ended.said
    assert ended.json["ok"] is True
    assert ended.json["unchecked"] == ["keys"]
    assert commands.gateway("policy", "check", "--json").json["unchecked"] == []


def test_show_tells_what_is_loaded_and_where_it_is_written(commands: Commands) -> None:
    text = commands.gateway("policy", "show").out
    for part in ("support", "http://127.0.0.1:9101/base", "POST /chat chat", "a.yaml:3:3"):
        assert part in text
    told = commands.gateway("policy", "show", "--json").json
    assert told["agents"][0]["routes"][0] == "GET /health (public)"
    assert told["plans"][0]["rate"] == "10/s"
    assert told["plans"][0]["agents"]["support"]["rate"] == "5/d"


def test_show_tells_which_pages_may_call_an_agent(commands: Commands) -> None:
    def told() -> object:
        return commands.gateway("policy", "show", "--json").json["agents"][0]["cors"]

    assert told() is None
    cors = "cors: {origins: [https://app.test], headers: [X-Mine], max_age: 5m}"
    text = POLICIES.replace("  support:\n", f"  support:\n    {cors}\n", 1)
    (commands.folder / "policies" / "a.yaml").write_text(text)
    assert told() == {
        "origins": ["https://app.test"],
        "headers": ["X-Mine"],
        "credentials": False,
        "max_age": 300,
    }


def test_rules_that_are_tried_out_are_shown_and_explained_as_such(commands: Commands) -> None:
    text = POLICIES.replace("{path: /admin, action: admin}", "{path: /admin, enforce: false}")
    text = text.replace("{rate: 10/s, burst: 2, ", "{enforce: false, rate: 10/s, burst: 2, ")
    (commands.folder / "policies" / "a.yaml").write_text(text)
    said = commands.gateway("policy", "check").said
    assert "a.yaml:9:24: this route is not enforced" in said
    assert "this plan is not enforced" in said
    shown = commands.gateway("policy", "show").out
    assert "any /admin invoke (shadow)" in shown and "(not enforced)" in shown
    created = ("create", "--consumer", "x", "--scope", "agents/support:chat", "--quiet")
    key_id = commands(*created, "--plan", "standard").out.split("_")[2]
    words = ("--key", key_id, "--url", "/agents/support/admin")
    told = explain(commands, *words)
    assert (told["decision"], told["shadow"]) == ("allow", "scope_denied")
    steps = {row["step"]: row["found"] for row in told["steps"]}  # type: ignore[attr-defined]
    assert steps["scope"] == "agents/support is granted by agents/support:chat"
    assert steps["tried out"] == "agents/support:invoke is not granted"
    assert steps["rate"] == "10/s: only counted, for the plan is not enforced"
    assert "(a rule with enforce: false would refuse it: scope_denied)" in (
        commands.gateway("policy", "explain", *words).out
    )


def test_show_tells_how_tools_are_reached_and_what_is_put_into_their_calls(
    commands: Commands,
) -> None:
    (commands.folder / "policies" / "a.yaml").write_text(
        "version: 1\ntools:\n  files:\n    transport: stdio\n    command: [server, --all, 'a b']\n"
        "    inject: {env: {TOKEN: '${user.files.value}'}}\n"
    )
    assert "server --all 'a b'" in commands.gateway("policy", "show").out
    (told,) = commands.gateway("policy", "show", "--json").json["tools"]
    assert (told["name"], told["transport"]) == ("files", "stdio")
    assert told["command"] == ["server", "--all", "a b"]
    assert told["credentials"] == ["${user.files.value}"]
    assert told["inject"] == {"headers": [], "query": [], "arguments": [], "env": ["TOKEN"]}


def test_show_of_bad_policies_is_refused_in_one_sentence(commands: Commands) -> None:
    (commands.folder / "policies" / "a.yaml").write_text("version: 3")
    ended = commands.gateway("policy", "show")
    assert ended.code == 1
    assert ended.is_one_sentence()
    assert "a.yaml:1:10" in ended.said


def test_the_schema_is_the_one_in_the_repository(commands: Commands) -> None:
    printed = commands.gateway("policy", "schema").json
    assert printed == json.loads((REPOSITORY / "policies" / "schema.json").read_text())


def explain(commands: Commands, *words: str) -> dict[str, object]:
    told: dict[str, object] = commands.gateway("policy", "explain", "--json", *words).json
    return told


async def test_explain_tells_the_decision_and_charges_nothing(
    commands: Commands, client: Redis
) -> None:
    key = commands.create("--plan", "standard")
    words = ("--key", key.id, "--method", "POST", "--url", "/agents/support/chat?x=1")
    for _ in range(5):
        told = explain(commands, *words)
        assert told["decision"] == "allow"
        assert told["upstream"] == "http://127.0.0.1:9101/base/chat?x=1"
    steps = {row["step"]: row["found"] for row in told["steps"]}  # type: ignore[attr-defined]
    assert steps["scope"] == "agents/support:chat is granted by agents/*:*"
    assert steps["rate"].startswith("10/s: 2 of 2 left")
    assert steps["agent-rate"].startswith("5/d: 5 of 5 left")
    assert await client.keys("gw:quota:*") == []


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (("--url", "/agents/support/chat"), "key_missing", 401),
        (("--url", "/agents/support/health/../chat"), "bad_request", 400),
        (("--key", "AAAAAAAAAAAA", "--url", "/agents/support/chat"), "key_invalid", 401),
        (("--method", "TRACE", "--url", "/agents/support/chat"), "method_not_allowed", 405),
        (("--method", "get", "--url", "/agents/support/chat"), "bad_request", 400),
    ],
)
def test_explain_of_what_needs_no_key_to_be_refused(
    commands: Commands, words: tuple[str, ...], code: str, status: int
) -> None:
    told = explain(commands, *words)
    assert (told["decision"], told["code"], told["status"]) == ("deny", code, status)


async def test_explain_follows_the_order_of_the_decision(commands: Commands, client: Redis) -> None:
    created = ("create", "--consumer", "x", "--scope", "agents/support:chat", "--quiet")
    key_id = commands(*created, "--plan", "standard").out.split("_")[2]
    record = f"gw:key:{{{key_id}}}"

    def code(method: str = "POST", path: str = "chat", *more: str) -> object:
        url = f"/agents/support/{path}"
        return explain(commands, "--key", key_id, "--method", method, "--url", url, *more)["code"]

    assert code() is None
    assert code("GET") == "method_not_allowed"
    assert code("POST", "nowhere") == "not_found"
    assert code("GET", "admin") == "scope_denied"
    assert code("POST", "chat", "--user", "u1") == "user_denied"
    assert code("GET", "health") is None
    seconds, _ = await client.time()
    # A counter is of the day that its end names, a second after the day's.
    ends = (seconds // 86400 + 1) * 86400 * 1000 + 1000
    await client.set(f"gw:quota:{{{key_id}}}:day", 3, pxat=ends)
    assert code() == "quota_exhausted"
    await client.hset(record, "limits", "rate=1/fortnight")
    assert code() == "key_misconfigured"
    await client.hset(record, "status", "revoked")
    assert code() == "key_revoked"


def test_explain_takes_a_url_with_a_host(commands: Commands) -> None:
    key = commands.create()
    told = explain(
        commands, "--key", key.id, "--method", "POST", "--url", "http://support.test/chat"
    )
    assert told["upstream"] == "http://127.0.0.1:9101/base/chat"
    text = commands.gateway("policy", "explain", "--key", key.id, "--url", "/agents/none/x")
    assert text.out.splitlines()[-1].startswith("Refused: 404 not_found.")


def test_explain_tells_which_name_was_meant(commands: Commands) -> None:
    (commands.folder / "policies" / "a.yaml").write_text(
        "version: 1\nagents:\n  support: {upstream: 'http://127.0.0.1:9101', hosts: [a.test]}\n"
        "models: [{name: gpt-4, credential: '${credentials.ka}'}]\n"
        "tools:\n  fc:\n    transport: command\n"
        "    tools: [{name: list, description: d, input: {type: object}, argv: [ls]}]\n"
    )
    key = commands.create("--scope", "*").id
    policies = loaded_policies(commands.folder / "policies")

    def told(url: str, **asked: str) -> dict[str, str]:
        question = Question("POST", url, key, **asked)
        steps = asyncio.run(ask(commands.store, policies, question)).steps
        return {step.about: step.text for step in steps}

    agent = told("/agents/suport/chat")["agent"]
    assert agent == "no policy has agents/suport; did you mean agents/support?"
    model = told("/models/v1/chat/completions", model="gpt4")["model"]
    assert model == "no policy has models/gpt4; did you mean models/gpt-4?"
    tool = told("/tools/fc/mcp", tool="lst")["action"]
    assert tool == "no policy has tools/fc:lst; did you mean tools/fc:list?"
    assert "tools/fc" in told("/tools/fcc/mcp")["tool"]
    # What is there, and paths that name nothing, are told as they are.
    assert "action" not in told("/tools/fc/mcp", tool="list")
    assert "action" not in told("http://a.test/agents/none/x")
    assert told("/nowhere/at/all")["agent"] == "the policies have none at this address"
    words = ("policy", "explain", "--key", key, "--url", "/tools/fcc/mcp", "--tool", "list")
    told_of_none = commands.gateway(*words, "--json").json
    assert (told_of_none["code"], told_of_none["status"]) == ("not_found", 404)
    assert "no policy has tools/fcc; did you mean tools/fc?" in commands.gateway(*words).out
    misplaced = commands.gateway(*words[:-3], "/services/fc/mcp", "--tool", "list")
    assert misplaced.code == 2 and "/tools/NAME/mcp" in misplaced.said


def test_a_whole_key_is_no_id_and_is_not_repeated(commands: Commands) -> None:
    key = commands.create()
    ended = commands.gateway(
        "policy", "explain", "--key", key.text, "--url", "/agents/support/chat"
    )
    assert ended.code == 2
    assert key.text not in ended.said + ended.out


def test_explain_of_a_tool_tells_the_scope_that_it_needs(commands: Commands) -> None:
    (commands.folder / "policies" / "a.yaml").write_text(
        "version: 1\ntools:\n  fc: {transport: http, upstream: 'http://127.0.0.1:9200/mcp'}\n"
        "  files: {transport: stdio, command: [server, --all]}\n"
    )
    key = commands.create("--scope", "tools/fc:list", "--scope", "tools/files", "--users", "u1")
    words = ("--key", key.id, "--url", "/tools/fc/mcp")
    told = explain(commands, *words, "--tool", "list", "--user", "u1")
    assert (told["decision"], told["upstream"]) == ("allow", "http://127.0.0.1:9200/mcp")
    told = explain(commands, *words, "--tool", "delete")
    assert (told["code"], told["required_scope"]) == ("scope_denied", "tools/fc:delete")
    assert explain(commands, *words, "--tool", "list", "--user", "u2")["code"] == "user_denied"
    told = explain(commands, "--key", key.id, "--url", "/tools/files/mcp", "--tool", "x")
    assert told["upstream"] == "server --all"
    refused = commands.gateway("policy", "explain", "--url", "/agents/x", "--tool", "x")
    assert refused.code == 2 and "/tools/NAME/mcp" in refused.said


@pytest.mark.usefixtures("stocked")
def test_explain_of_a_tool_asks_for_the_user_whose_credential_it_needs(commands: Commands) -> None:
    servers = {
        "fc": {
            "transport": "http",
            "upstream": "http://127.0.0.1:9200/mcp",
            "inject": {"headers": {"Authorization": "Bearer ${user.github.value}"}},
        },
        "run": {
            "transport": "command",
            "tools": [{"name": "x", "input": {"type": "object"}, "argv": ["true"]}],
            "inject": {"env": {"TOKEN": "${user.github.value}"}},
        },
    }
    text = json.dumps({"version": 1, "tools": servers})
    (commands.folder / "policies" / "a.yaml").write_text(text)
    key = commands.create("--scope", "tools/*", "--users", "u1")
    for server, words, needs in (
        ("fc", ("--tool", "x"), True),
        ("fc", ("--method", "POST"), True),
        ("run", ("--tool", "x"), True),
        ("run", ("--method", "POST"), False),
    ):
        asked = ("--key", key.id, "--url", f"/tools/{server}/mcp", *words)
        told = explain(commands, *asked)
        assert told["code"] == ("credential_unavailable" if needs else None), asked
        assert explain(commands, *asked, "--user", "u1")["decision"] == "allow"


@pytest.mark.usefixtures("stocked")
def test_explain_of_a_model_tells_its_scope_and_where_it_goes(commands: Commands) -> None:
    (commands.folder / "policies" / "a.yaml").write_text(
        "version: 1\nmodels:\n"
        "  - {name: gpt-4, credential: '${credentials.ka}', upstream: 'http://127.0.0.1:9300/v1'}\n"
        "  - {name: gpt-5, credential: '${credentials.ka}'}\n"
        "plans:\n  few: {tokens: 100/d}\n"
    )
    key = commands.create("--scope", "models/gpt-4", "--plan", "few")
    words = ("--key", key.id, "--url", "/models/v1/chat/completions")
    told = explain(commands, *words, "--model", "gpt-4")
    assert told["decision"] == "allow"
    assert told["upstream"] == "http://127.0.0.1:9300/v1/chat/completions"
    assert "100/d: 100 of 100 left" in str(told["steps"])
    assert explain(commands, *words, "--model", "gpt-5")["code"] == "scope_denied"
    assert explain(commands, *words, "--model", "gpt-9")["code"] == "not_found"
    assert explain(commands, *words, "--model", "a b")["code"] == "bad_request"
    elsewhere = ("--key", key.id, "--url", "/models/anthropic/v1/messages", "--model", "gpt-4")
    assert explain(commands, *elsewhere)["code"] == "not_found"


def test_explain_of_models_says_what_it_has_to_be_told(commands: Commands) -> None:
    def said(*words: str) -> str:
        ended = commands.gateway("policy", "explain", *words)
        assert ended.code == 2
        return ended.said

    url = ("--url", "/models/v1/chat/completions")
    assert "which model the body names" in said(*url)
    assert "calls neither" in said("--url", "/v1/credentials?names=crm", "--tool", "x")
    assert "where models are called" in said("--url", "/agents/support/chat", "--model", "gpt-4")


EVERYWHERE = """version: 1
agents:
  site:
    upstream: http://127.0.0.1:9101
    hosts: [site.test]
    routes: [{path: /admin/v1/keys}, {path: /}]
services:
  crm: {upstream: 'http://127.0.0.1:9102/api', inject: {headers: {X: '${credentials.crm.value}'}}}
models:
  - {name: gpt-4, credential: '${credentials.openai}'}
"""


@pytest.mark.usefixtures("stocked")
def test_explain_tells_of_every_place_that_a_url_can_name(commands: Commands) -> None:
    (commands.folder / "policies" / "a.yaml").write_text(EVERYWHERE)
    powers = ("--scope", "gateway/credentials:crm", "--scope", "gateway/read")
    scopes = ("--scope", "services/crm", "--scope", "models/gpt-4")
    key = commands.create(*powers, *scopes).id
    nobody = commands("create", "--consumer", "x", "--scope", "agents/none", "--quiet")
    other = nobody.out.split("_")[2]
    policies = loaded_policies(commands.folder / "policies")

    def told(
        url: str, who: str = key, method: str = "GET", user: str = ""
    ) -> tuple[object, object]:
        # Not as a process of its own, of which each takes a second.
        question = Question(method, url, who, user)
        found = asyncio.run(ask(commands.store, policies, question))
        return found.denied and found.denied.denial.name, found.upstream or None

    assert told("/services/crm/v1/x") == (None, "http://127.0.0.1:9102/api/v1/x")
    assert told("/services/crm/v1/x", other) == ("scope_denied", None)
    assert told("/v1/credentials?names=crm") == (None, None)
    assert told("/v1/credentials?names=crm,openai") == ("scope_denied", None)
    assert told("/v1/credentials") == ("bad_request", None)
    assert told("/v1/credentials", "") == ("key_missing", None)
    assert told("/v1/credentials?names=crm", method="POST") == ("method_not_allowed", None)
    assert told("/models/v1/models", other) == (None, None)
    listed = asyncio.run(ask(commands.store, policies, Question("GET", "/models/v1/models", key)))
    assert listed.steps[-1].about is About.LIMITS
    assert told("/models/v1/models/gpt-4") == (None, None)
    assert told("/models/v1/models/gpt-4", other) == ("not_found", None)
    assert told("/models/v1/models", "") == ("key_missing", None)
    # Who is not known learns nothing of the place.
    assert told("/models/v1/models", "", method="DELETE") == ("key_missing", None)
    assert told("/models/v1/models/none", "") == ("key_missing", None)
    assert told("/models/v1/models", method="DELETE") == ("method_not_allowed", None)
    assert told("/models/v1/models/none") == ("not_found", None)
    assert told("/models/v1/models", user="u1") == ("user_denied", None)
    assert told("/admin/v1/keys") == (None, None)
    assert told("/admin/v1/keys", method="POST") == ("scope_denied", None)
    assert told("/admin/v1/keys", other) == ("scope_denied", None)
    assert told("/admin/v1/nothing") == ("not_found", None)
    assert told("/admin/v1/nothing", "") == ("key_missing", None)
    assert told("/metrics", other) == ("scope_denied", None)
    # The whole host is the agent's, but for what belongs to no agent.
    assert told("http://site.test/admin/v1/keys") == (None, "http://127.0.0.1:9101/admin/v1/keys")
    assert told("http://site.test?q=1#top") == (None, "http://127.0.0.1:9101/?q=1")
    assert told("http://site.test/livez", "") == (None, None)
    for keyless in ("/livez", "/readyz", "/connect/some-token", "/console/"):
        assert told(keyless, "") == (None, None)
    assert told("/readyz", "", "POST") == ("method_not_allowed", None)
    assert told("/nowhere") == ("not_found", None)
    assert told("/nowhere", "") == ("key_missing", None)
    text = commands.gateway("policy", "explain", "--key", key, "--url", "/metrics").out
    assert "on the admin listener" in text
    assert text.endswith("Answered by the gateway itself\n")
