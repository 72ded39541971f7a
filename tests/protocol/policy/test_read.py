"""Policy files are read strictly, and every mistake is told with its place."""

import json
from ipaddress import ip_network
from pathlib import Path

import jsonschema
import pytest
import yaml

from gateway.domain.keys.limits import Concurrency, Limits, Quota, Rate, Window
from gateway.domain.policies.snapshot import ClientTls, Timeouts
from gateway.protocol.policy.models import json_schema
from gateway.protocol.policy.read import Loaded, read_policies
from tests.protocol.policy.files import told

WHOLE = """\
version: 1
agents:
  support:
    upstream: http://127.0.0.1:9101/base/
    hosts: [Support.example.com, "[::1]"]
    routes:
      - {path: /health, methods: [GET], public: true}
      - {path: /chat, methods: [POST], action: chat}
      - {path: /files/**, action: files}
    timeouts: {connect: 500ms, idle: 10m}
    max_body: 10MB
    preserve_host: true
    paths: {allow: ["//", "%2F"]}
  faq: {upstream: "https://faq.example.com"}
plans:
  standard: &standard
    rate: 10/s
    burst: 20
    quota: [10000/d, 200000/month]
    concurrency: 7
    agents: {support: {rate: 2/m}}
  same: *standard
trusted_proxies: [10.0.0.0/8, "::1"]
"""


def read(text: str, name: str = "p.yaml") -> Loaded:
    return read_policies({name: text.encode()})


def test_everything_that_a_file_can_say_is_understood() -> None:
    policies = read(WHOLE).policies
    assert policies is not None
    support, faq = policies.agents["support"], policies.agents["faq"]
    assert str(support.upstreams[0]) == "http://127.0.0.1:9101/base"
    assert support.hosts == ("support.example.com", "::1")
    assert policies.by_host["support.example.com"] is support
    assert support.routes is not None
    assert [str(route) for route in support.routes] == [
        "GET /health (public)",
        "POST /chat chat",
        "any /files/** files",
    ]
    assert support.timeouts == Timeouts(connect=0.5, first_byte=60, idle=600)
    assert support.max_body == 10_000_000
    assert support.preserve_host
    assert support.allowed_oddities == {"//", "%2F"}
    assert (faq.upstreams[0].port, faq.routes, faq.max_body, faq.timeouts) == (
        443,
        None,
        None,
        Timeouts(2, 60, 300),
    )
    standard = policies.plans["standard"]
    quotas = (Quota(10000, Window.DAY), Quota(200000, Window.MONTH))
    assert standard.limits == Limits(Rate(10, 1), 20, quotas, Concurrency(7))
    assert standard.agents["support"] == Limits(Rate(2, 60))
    assert policies.plans["same"].limits == standard.limits
    assert policies.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert str(policies.origins["agents/faq"]) == "p.yaml:14:3"


def test_a_base_path_is_sent_as_urls_are_spelled() -> None:
    policies = read("version: 1\nagents: {a: {upstream: 'http://x/ä/(b)'}}").policies
    assert policies is not None
    assert policies.agents["a"].upstreams[0].base_path == "/%C3%A4/(b)"


def test_an_agent_may_live_in_several_places() -> None:
    text = (
        "version: 1\n"
        "agents:\n"
        "  a:\n"
        "    upstream:\n"
        "      - http://10.0.0.1:1\n"
        "      - {url: https://b.test/base, ca: ca.pem, cert: /c.pem, key: k.pem}\n"
        "      - {url: http://169.254.1.1, proxy: http://p.test:3128, allow_link_local: true}\n"
    )
    policies = read(text, "/etc/policies/p.yaml").policies
    assert policies is not None
    first, second, third = policies.agents["a"].upstreams
    assert str(first) == "http://10.0.0.1:1"
    assert second.tls == ClientTls("/etc/policies/ca.pem", "/c.pem", "/etc/policies/k.pem")
    assert (third.proxy, third.allow_link_local) == (("p.test", 3128), True)


def test_an_upstream_that_is_read_again_is_the_same_object() -> None:
    # Every request looks it up, and objects that are only equal are compared field by field.
    text = "version: 1\nagents: {a: {upstream: http://127.0.0.1:9101}}\n"
    first, again = (read_policies({name: text.encode()}).policies for name in ("p.yaml", "q.yaml"))
    assert first and again
    assert first.agents["a"].upstreams[0] is again.agents["a"].upstreams[0]


def test_files_are_merged_and_told_apart_by_their_content() -> None:
    agents = "version: 1\nagents: {a: {upstream: 'http://x'}}\n"
    plans = "version: 1\nplans: {p: {rate: 1/s}}\n"
    merged = read_policies({"a.yaml": agents.encode(), "b.yaml": plans.encode()}).policies
    other = read_policies({"a.yaml": agents.encode(), "b.yaml": plans.encode() + b"#"}).policies
    assert merged is not None
    assert other is not None
    assert (set(merged.agents), set(merged.plans)) == ({"a"}, {"p"})
    assert merged.revision != other.revision


def test_the_same_files_have_the_same_revision_in_every_directory() -> None:
    here, there, renamed = (
        read_policies({f"{name}.yaml": b"version: 1\n"}).policies
        for name in ("policies/1", "/etc/gateway/1", "policies/2")
    )
    assert here is not None
    assert there is not None
    assert renamed is not None
    assert here.revision == there.revision != renamed.revision


def test_a_name_that_two_files_define_is_refused_where_it_stands_again() -> None:
    agents = "version: 1\nagents:\n  a: {upstream: 'http://x', hosts: [h.test]}\n"
    other = "version: 1\nagents:\n  b: {upstream: 'http://x', hosts: [H.test]}\n  a: {}\n"
    loaded = read_policies({"1.yaml": agents.encode(), "2.yaml": other.encode()})
    assert [str(problem) for problem in loaded.problems] == [
        "2.yaml:3:37: host h.test is defined already: 1.yaml:3:37",
        "2.yaml:4:3: 'upstream' is missing",
        "2.yaml:4:3: agents/a is defined already: 1.yaml:3:3",
    ]


def test_every_problem_is_told_at_once() -> None:
    assert told(
        "version: 2\n"
        "agents:\n"
        "  a:\n"
        "    upstrem: http://x\n"
        "    routes:\n"
        "      - {path: chat}\n"
        "plans:\n"
        "  p: {rate: 10/x, burst: 0}\n"
        "enforce: []\n"
    ) == [
        "p.yaml:1:10: the version of the format is 1",
        "p.yaml:3:3: 'upstream' is missing",
        "p.yaml:4:5: unknown field 'upstrem': did you mean 'upstream'?",
        "p.yaml:6:16: a route's path begins with '/'",
        "p.yaml:8:13: '10/x' is not a rate such as 10/s, 100/m, 1000/h or 5000/d",
        "p.yaml:8:26: this must be a whole number of at least 1, at most 1000000000",
        (
            "p.yaml:9:1: unknown field 'enforce': there are version, agents, services, models, "
            "tools, plans, trusted_proxies"
        ),
    ]


AGENT = "version: 1\nagents:\n  a:\n    upstream: http://x\n    {}\n"
UPSTREAM = "version: 1\nagents: {{a: {{upstream: {{{}}}}}}}"
SIGNED = "version: 1\nservices: {{s: {{upstream: 'https://s.test', sign: {}}}}}\n"
PLAN = "version: 1\nplans:\n  p: {}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (AGENT.format("timeouts: {connect: 2}"), "'2' is not a duration"),
        (AGENT.format("timeouts: {connect: 0s}"), "give more than 0"),
        (AGENT.format("timeouts: {conect: 1s}"), "did you mean 'connect'?"),
        (AGENT.format("timeouts: [1s]"), "must be a mapping"),
        (AGENT.format("max_body: 10 bananas"), "is not a size"),
        (AGENT.format("max_body: true"), "is not a size"),
        (AGENT.format("preserve_host: 'yes'"), "must be true or false, without quotes"),
        (AGENT.format("hosts: a.test"), "must be a list, such as [one, two]"),
        (AGENT.format("hosts: ['a.test:80']"), "is not a host name without a port"),
        (AGENT.format("hosts: ['*.test']"), "no '*' is read, so name each host"),
        (AGENT.format("hosts: [a.test, A.test]"), "host a.test is defined already"),
        (AGENT.format("paths: {allow: ['..']}"), "is not one of // ;"),
        (AGENT.format("routes: [{path: /a/../b}]"), "dot segments"),
        (AGENT.format("routes: [{path: /a*}]"), "'*' stands for a whole segment"),
        (AGENT.format("routes: [{path: /a//b}]"), "empty segments"),
        (AGENT.format("routes: [{path: /a%20b}]"), "write the path as it reads"),
        (AGENT.format(r'routes: [{path: "/a\tb"}]'), "write the path as it reads"),
        (AGENT.format("routes: [{path: '/a/{id}/b'}]"), "write '*' for one segment"),
        (AGENT.format("routes: [{path: /a/:id}]"), "write '*' for one segment"),
        (AGENT.format("routes: [{path: /a, methods: [get]}]"), "'get' is not one of"),
        (AGENT.format("routes: [{path: /a, methods: [TRACE]}]"), "'TRACE' is not one of"),
        (AGENT.format("routes: [{path: /a, methods: []}]"), "needs at least one item"),
        (AGENT.format("routes: [{path: /a, action: 'a b'}]"), "is not a name"),
        (AGENT.format("routes: [{method: GET, path: /a}]"), "did you mean 'methods'?"),
        (AGENT.format("routes: [{path: /ä, public: true}]"), "no request spells this"),
        (AGENT.format("routes: [{path: /a b, public: true}]"), "no request spells this"),
        ("version: 1\nagents: {'a/b': {upstream: 'http://x'}}", "'a/b' is not a name"),
        ("version: 1\nagents: {a: {upstream: 'ftp://x'}}", "is not a URL"),
        ("version: 1\nagents: {a: {upstream: 'http://x:0'}}", "is not a URL"),
        ("version: 1\nagents: {a: {upstream: 'http://x:99999'}}", "is not a URL"),
        ("version: 1\nagents: {a: {upstream: 'http://x..y'}}", "is not a URL"),
        ("version: 1\nagents: {a: {upstream: 'http://" + "x" * 64 + ".test'}}", "is not a URL"),
        ("version: 1\nagents: {a: {upstream: 'http://u:hush@x'}}", "no user, password"),
        ("version: 1\nagents: {a: {upstream: 'http://x?q'}}", "no user, password, query"),
        ("version: 1\nagents: {a: {upstream: 'http://x/a/../b'}}", "dot segments"),
        ("version: 1\nagents: {a: {upstream: 'http://x/*/b'}}", "as it stands, without '*'"),
        ("version: 1\nagents: {a: {upstream: []}}", "needs at least one item"),
        ("version: 1\nagents: {a: {upstream: [[http://x]]}}", "must be a mapping"),
        ("version: 1\nagents: {a: {upstream: {}}}", "'url' is missing"),
        ("version: 1\nagents: {a: {upstream: http://169.254.169.254/x}}", "allow_link_local"),
        ("version: 1\nagents: {a: {upstream: 'http://[::ffff:169.254.1.1]'}}", "allow_link_local"),
        ('version: 1\nagents: {a: {upstream: "http://x\\ty"}}', "is not a URL"),
        ('version: 1\nagents: {a: {upstream: "http://x/\\n"}}', "is not a URL"),
        ("version: 1\nagents: {a: {upstream: ' http://x'}}", "is not a URL"),
        (UPSTREAM.format("url: http://x, ca: ca.pem"), "for an upstream with https"),
        (UPSTREAM.format("url: https://x, cert: c.pem"), "belong together"),
        (UPSTREAM.format("url: http://x, proxy: https://p:1"), "http://host:port"),
        (UPSTREAM.format("url: http://x, prox: http://p:1"), "did you mean 'proxy'?"),
        (UPSTREAM.format("url: https://x, proxy: http://p:1, public: true"), "looks the name up"),
        ("version: 1\nagents: [name: a]", "'NAME: …', without '- ' before it"),
        (PLAN.format("{burst: 2}"), "'burst' means nothing without 'rate'"),
        (PLAN.format("{quota: [1/d, 2/d]}"), "two quotas for the same window"),
        (PLAN.format("{quota: 1/w}"), "is not a quota"),
        (PLAN.format("{quota: -1/d}"), "is not an amount per time"),
        (PLAN.format("{rate: 10}"), "is not an amount per time"),
        (PLAN.format("{rate: 1.5/s}"), "is not an amount per time"),
        (PLAN.format("{rate: 99999999999/s}"), "is not an amount per time"),
        (PLAN.format("{rate: 1/s, burst: 1.5}"), "a whole number of at least 1"),
        (PLAN.format("{rate: %s/s}" % ("9" * 5000)), "9' is not an amount per time"),
        (PLAN.format("{concurrency: 0}"), "this must be a whole number of at least 1"),
        (PLAN.format("{concurrency: 1000000001}"), "at most 1000000000"),
        (PLAN.format("{concurrency: 5/s}"), "a whole number of at least 1"),
        (PLAN.format("{concurrency: '5'}"), "at most 1000000000, without quotes"),
        ("version: 1\ntrusted_proxies: [10.0.0.1/8]", "has host bits set"),
        ("version: 1\ntrusted_proxies: [everyone]", "is not a network"),
        ("agents: {}", "'version' is missing"),
        ("version: '1'", "the version of the format is 1, without quotes"),
        ("version: 1.0", "the version of the format is 1"),
        ("version: true", "the version of the format is 1"),
        ("version: 1\nmodels: [{name: m, provider: no-one}]", "this must be 'openai', 'anth"),
        ("version: 1\nmodels: [{name: 'qwen:8b'}]", "name goes into 'upstream_model'"),
        (SIGNED.format("{scheme: aws, credential: '${credentials.aws}'}"), "this must be 'aws4'"),
        ("- 1", "must be a mapping"),
        ("hello", "must be a mapping"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(text: str, problem: str) -> None:
    problems = told(text)
    assert len(problems) == 1, problems
    assert problem in problems[0]
    assert "hush" not in problems[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        ("\n# only a comment\n", "the file is empty"),
        ("version: 1\nagents:\n", "nothing is written here"),
        (AGENT.format("routes:"), "nothing is written here"),
        (AGENT.format("max_body: ~"), "nothing is written here"),
        ("version: 1\nversion: 1", "'version' is there twice: first in line 1"),
        (AGENT.format("upstream: http://y"), "'upstream' is there twice"),
        ("version: 1\nagents: {on: {upstream: 'http://x'}}", "'on' is a boolean"),
        ("version: 1\nagents: {1.10: {upstream: 'http://x'}}", "'1.10' is a number"),
        ("version: 1\nagents: {1e3: {upstream: 'http://x'}}", "'1e3' is a number"),
        ("version: 1\nagents: {0o17: {upstream: 'http://x'}}", "'0o17' is a number"),
        ("version: 1\nagents: {08: {upstream: 'http://x'}}", "'08' is a number"),
        ("version: 1\nagents: {22:22: {upstream: 'http://x'}}", "'22:22' is a number"),
        ("version: 1\nagents: {2026-01-01: {upstream: 'http://x'}}", "is a date"),
        ("version: 1\nagents: {true: {upstream: 'http://x'}}", "'true' is a boolean"),
        (AGENT.format("preserve_host: yes"), "write true or false"),
        (PLAN.format("{rate: 1/s, burst: 017}"), "'017' is a number to some readers"),
        (PLAN.format("{rate: 1/s, burst: 1_000}"), "'1_000' is a number to some readers"),
        ("version: !!int 1", "tags such as"),
        ("!!str version: 1", "tags such as"),
        ("version: !!python/object/apply:os.system ['true']", "tags such as"),
        ("base: &b {version: 1}\n<<: *b", "merge keys"),
        ("version: 1\n---\nversion: 1", "a second document"),
        ("version: *nothing", "stands for nothing before it"),
        ("a: &a [*a]", "stands for nothing before it"),
        ("? [a]\n: 1", "a key must be plain text"),
        ("version: 1\n\tagents: {}", "this is not YAML"),
        ("version: 1\nagents:\n\tone: {}", "tabs do not indent"),
        ("version: @x", "begins with @"),
        ("version: 'x", "this is not YAML"),
        ("version: 1\nagents:\n  a: {}\n b: {}\n", "look at the indentation"),
        ("version: 1\nmodels: [{name: a, credential: ${credentials.k}}]", 'wants quotes: "${cred'),
        ("version: 1\nmodels: [{credential: '${credentials.k}' name: a}]", "look at the"),
        ("version: \x00", "this is not YAML"),
    ],
)
def test_what_readers_of_yaml_take_differently_is_refused(text: str, problem: str) -> None:
    assert any(problem in line for line in told(text)), told(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    loaded = read_policies({"p.yaml": b"version: 1\nagents: \xff"})
    assert [str(problem) for problem in loaded.problems] == ["p.yaml:2:1: this is not UTF-8 text"]


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (ALIASES.encode(), "aliases expanded"),
        # Some builds of libyaml have a bound of their own, with a sentence of their own.
        (b"[" * 100_000, "nest"),
        (b"".join(b" " * i + b"a:\n" for i in range(100)), "nested deeper"),
        (b"a: b\n" * 200_000, "larger than 512 KiB"),
        (b"".join(b"k%d: 1\n" % i for i in range(40_000)), "more than 50000 values"),
    ],
)
def test_a_file_that_would_cost_too_much_is_refused_before_it_does(
    content: bytes, problem: str
) -> None:
    loaded = read_policies({"p.yaml": content})
    assert loaded.policies is None
    assert problem in str(loaded.problems[-1])


def test_a_limit_at_an_agent_that_nobody_defines_is_warned_of() -> None:
    loaded = read(PLAN.format("{agents: {suport: {rate: 1/s}}}"))
    assert loaded.policies is not None
    assert [str(warning) for warning in loaded.warnings] == [
        "p.yaml:3:16: no agent is called 'suport', so this limit binds nobody"
    ]


def test_rules_that_are_tried_out_are_warned_of_for_they_protect_nothing() -> None:
    loaded = read(
        AGENT.format("routes: [{path: /x, enforce: true}, {path: /y, enforce: false}]")
        + "plans:\n  a: {rate: 1/s, enforce: false}\n  b: {enforce: true}\n"
    )
    assert loaded.policies is not None
    assert [route.enforced for route in loaded.policies.agents["a"].routes or ()] == [True, False]
    assert [plan.enforced for plan in loaded.policies.plans.values()] == [False, True]
    assert [warning.message.partition(" is not enforced")[0] for warning in loaded.warnings] == [
        "this plan",
        "this route",
    ]
    assert str(loaded.warnings[0].place) == "p.yaml:7:18"


def test_a_public_route_cannot_be_tried_out() -> None:
    loaded = read(AGENT.format("routes: [{path: /x, public: true, enforce: false}]"))
    assert loaded.policies is None
    assert "nothing to try out" in loaded.problems[0].message


def test_the_schema_for_editors_is_the_one_of_the_code() -> None:
    stored = Path(__file__).parents[3] / "policies" / "schema.json"
    assert json.loads(stored.read_text()) == json_schema(), "run: gateway policy schema"


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        UPSTREAM.format("url: HTTPS://X, proxy: HTTP://p.test"),
        AGENT.format("cors: {origins: [HTTPS://App.example.com]}"),
        PLAN.format("{quota: [], tokens: []}"),
    ],
)
def test_the_schema_takes_what_the_code_takes(text: str) -> None:
    assert read(text).policies is not None
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        AGENT.format("upstrem: x"),
        AGENT.format("routes: [{path: chat}]"),
        AGENT.format("timeouts: {connect: 2}"),
        PLAN.format("{rate: 10/x}"),
        PLAN.format("{quota: 5/w}"),
        "agents: {}",
        "version: 2",
    ],
)
def test_the_schema_refuses_what_the_code_refuses(text: str) -> None:
    assert told(text)
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(yaml.safe_load(text))


@pytest.mark.parametrize("reference", ["${credentials.a.b}", "${user.a}", "${a", "$${a}"])
@pytest.mark.parametrize(
    "section",
    [
        "agents: {a: {upstream: '%s'}}",
        "models: [{name: gpt-4, upstream: '%s'}]",
        "services: {a: {upstream: '%s'}}",
        "services: {a: {upstream: [{url: '%s'}]}}",
        "tools: {a: {transport: http, upstream: '%s'}}",
    ],
)
def test_a_reference_is_never_sent_on_in_the_path_of_an_upstream(
    section: str, reference: str
) -> None:
    problems = told("version: 1\n" + section % f"http://127.0.0.1:1/{reference}/x")
    column = section.index("'") + 1
    sentence = "no reference is resolved in a URL: 'inject' says where credentials go"
    assert f"p.yaml:2:{column}: {sentence}" in problems
