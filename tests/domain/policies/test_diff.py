"""Who gains and who loses by other policies: in sentences of the routes, scopes and limits."""

from itertools import product
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.keys.record import KeyRecord
from gateway.domain.keys.scopes import Grants, parse_all
from gateway.domain.policies.diff import UNCHANGED, Comparison, KeyDiff
from gateway.domain.policies.snapshot import Policies
from gateway.protocol.http.request import read_head
from gateway.protocol.policy.read import read_policies
from gateway.services.admission.locate import locate

AGENT = "agents: {a: {upstream: 'http://127.0.0.1:1'%s}}\n"
PLAN = "plans: {p: {%s}}\n"
TOOLS = "tools: {t: {transport: command, tools: [%s]}}\n"
TOOL = "{name: %s, description: x, input: {type: object}, argv: [x]}"
HTTP_TOOLS = "tools: {t: {transport: http, upstream: 'http://127.0.0.1:1/mcp'}}\n"


def policies(text: str) -> Policies:
    loaded = read_policies({"a.yaml": b"version: 1\n" + text.encode()})
    assert loaded.policies is not None, loaded.problems
    return loaded.policies


def routes(*lines: str, more: str = "") -> str:
    return AGENT % f", routes: [{', '.join(lines)}]{more}"


def key(scopes: str = "*", plan: str = "", limits: str = "") -> KeyRecord:
    return KeyRecord("4xT9mQ2LrB7c", status="active", scopes=scopes, plan=plan, limits=limits)


def change(before: str, after: str, record: KeyRecord | None = None) -> KeyDiff:
    return Comparison(policies(before), policies(after)).of(record or key())


@pytest.mark.parametrize(
    ("before", "after", "lost", "gained"),
    [
        (AGENT % "", "", "agents/a:invoke", ""),
        ("", routes("{path: /x, action: x}", "{path: /y, action: x}"), "", "agents/a:x"),
        (routes("{path: /x}", "{path: /y}"), routes("{path: /x}"), "agents/a any /y", ""),
        (
            routes("{path: /x, methods: [GET, POST]}"),
            routes("{path: /x, methods: [GET]}"),
            "agents/a POST /x",
            "",
        ),
        (
            routes("{path: /x}"),
            routes("{path: /x, methods: [GET]}"),
            "agents/a any other /x",
            "",
        ),
        (routes("{path: /f/**}"), routes("{path: '/f/*'}"), "agents/a any /f/**", ""),
        (routes("{path: '/f/*'}"), routes("{path: /f/**}"), "", "agents/a any /f/**"),
        (AGENT % "", routes("{path: /**}"), "agents/a any /", ""),
        (AGENT % "", routes("{path: /x}"), "agents/a any /|agents/a any every other path", ""),
        # A public route takes one spelling and needs no key: who had the scope loses nothing.
        (routes("{path: /x}"), routes("{path: /x, public: true}"), "", ""),
        (AGENT % ", hosts: [a.test]", AGENT % "", "agents/a as a.test", ""),
        (TOOLS % (TOOL % "one"), TOOLS % (TOOL % "two"), "tools/t:one", "tools/t:two"),
        (TOOLS % (TOOL % "one"), HTTP_TOOLS, "", ""),
        (HTTP_TOOLS, "", "tools/t", ""),
    ],
)
def test_a_key_that_may_do_everything_loses_and_gains_what_is_gone_and_new(
    before: str, after: str, lost: str, gained: str
) -> None:
    told = change(before, after)
    assert "|".join(told.lost) == lost
    assert "|".join(told.gained) == gained
    turned = change(after, before)
    assert (turned.lost, turned.gained) == (told.gained, told.lost)


def test_who_has_no_scope_for_it_neither_gains_nor_loses() -> None:
    before, after = routes("{path: /x, action: x}"), routes("{path: /x, action: y}")
    assert change(before, after, key("agents/a:x")).lost == ("agents/a any /x",)
    assert change(before, after, key("agents/a:y")).gained == ("agents/a any /x",)
    for scopes in ("agents/a", "agents/b:x", "services/a:x", ""):
        assert change(before, after, key(scopes)) == UNCHANGED


def test_a_line_that_now_stands_before_another_is_seen_where_they_meet() -> None:
    lines = "{path: '/*/b', action: x}", "{path: '/a/*', action: y}"
    told = change(routes(*lines), routes(*reversed(lines)), key("agents/a:x"))
    assert told.lost == ("agents/a any /a/b",)


def test_one_line_of_many_with_wildcards_is_compared_in_a_moment() -> None:
    lines = [f"{{path: '/**/a{i}/**/b{i}/**', action: x}}" for i in range(80)]
    before, after = policies(routes(*lines)), policies(routes(*lines[:-1]))
    began = process_time()
    told = Comparison(before, after).of(key())
    assert process_time() - began < 3
    assert "agents/a any /**/a79/**/b79/**" in told.lost


def test_a_line_that_is_tried_out_takes_nothing_until_it_is_enforced() -> None:
    lines = "{path: /x, action: y%s}", "{path: '/*', action: x}"
    alone, tried = routes(lines[1]), routes(lines[0] % ", enforce: false", lines[1])
    enforced = routes(lines[0] % "", lines[1])
    only = key("agents/a:x")
    assert change(alone, tried, only) == UNCHANGED
    assert change(tried, enforced, only).lost == ("agents/a any /x",)
    assert change(tried, enforced, key("agents/a:y")).gained == ("agents/a any /x",)
    # Where nothing stands below it, any key of the agent is let in.
    new = routes("{path: /x, action: y, enforce: false}")
    assert change("", new, key("agents/a:other")).gained == ("agents/a any /x",)
    assert change("", new, key("agents/b")) == UNCHANGED


def test_strangers_gain_what_becomes_public_and_lose_what_no_longer_is() -> None:
    closed, public = routes("{path: /x}"), routes("{path: /x, public: true, methods: [GET]}")
    opened = Comparison(policies(closed), policies(public)).strangers()
    assert (opened.gained, opened.loses) == (("agents/a GET /x (public)",), False)
    shut = Comparison(policies(public), policies(closed)).strangers()
    assert (shut.lost, shut.loses) == (("agents/a GET /x (public)",), True)
    # One method of a path alone.
    apart = routes("{path: /x, methods: [GET], public: true}", "{path: /x, action: y}")
    assert change(routes("{path: /x, action: x}"), apart, key("agents/a:y")).gained == (
        "agents/a GET /x (public)",
        "agents/a any other /x",
    )
    new = Comparison(policies(""), policies(public)).strangers()
    gone = Comparison(policies(public), policies("")).strangers()
    assert new.gained == gone.lost == ("agents/a GET /x (public)",)
    # In its own spelling, capitals included.
    capital = routes("{path: /Docs/**, public: true}")
    assert Comparison(policies(closed), policies(capital)).strangers().gained == (
        "agents/a any /Docs/** (public)",
    )


SHAPES = ["a", "B", "*", "**", "a/b", "a/*", "B/**", "*/b", "**/B", "B/*/a", "a/**/b"]
LINES = st.builds(
    "{{path: '/{}', action: {}, methods: [{}]{}}}".format,
    st.sampled_from(SHAPES),
    st.sampled_from(["x", "y", "invoke"]),
    st.sampled_from(["GET", "GET, POST", "PUT"]),
    st.sampled_from(["", "", ", public: true", ", enforce: false"]),
)
AGENTS = st.lists(LINES, max_size=4).map(lambda lines: routes(*lines)) | st.just(AGENT % "")
PATHS = ["/" + "/".join(p) for n in range(4) for p in product(("a", "b", "c"), repeat=n)]


@settings(max_examples=150)
@given(before=AGENTS, after=AGENTS)
def test_whatever_somebody_may_do_under_one_set_alone_is_told(before: str, after: str) -> None:
    old, new = policies(before), policies(after)
    compared = Comparison(old, new)
    for scopes in (None, "agents/a:x", "agents/a:invoke", "*", "agents/b"):
        told = compared.strangers() if scopes is None else compared.of(key(scopes))
        grants = None if scopes is None else parse_all(scopes)
        for path, method in product((*PATHS, "/B", "/a/B", "/B/a"), ("GET", "POST", "PUT")):
            if grants is not None and path != path.lower():
                continue
            was, now = (may(one, method, path, grants) for one in (old, new))
            assert not (was and not now) or told.lost, (scopes, method, path)
            assert not (now and not was) or told.gained, (scopes, method, path)


def may(known: Policies, method: str, path: str, grants: Grants | None) -> bool:
    found = locate(read_head(method, f"/agents/a{path}".encode(), ()), known)
    if found.denied is not None or found.public:
        return found.public
    return grants is not None and all(map(grants.allow, found.scopes))


@pytest.mark.parametrize(
    ("before", "after", "told", "loses"),
    [
        ("rate: 10/s", "rate: 5/s, burst: 10", "rate 10/s → 5/s", True),
        ("rate: 10/s", "rate: 10/s, burst: 20", "burst 10 → 20", False),
        ("rate: 1/s, burst: 60", "rate: 60/m", "", False),
        ("quota: 10/d", "quota: [10/d, 5/h]", "hour none → 5/h", True),
        ("tokens: 10/d", "tokens: 20/d", "tokens-day 10/d → 20/d", False),
        ("concurrency: 5", "rate: 1/s", "concurrency 5 at a time → none|rate none → 1/s", True),
        ("agents: {a: {rate: 2/s}}", "agents: {a: {rate: 1/s, burst: 2}}", "a: rate 2/s → 1/s", 1),
        ("agents: {a: {quota: 1/d}}", "", "a: day 1/d → none", False),
        # What is only tried out refuses nobody.
        ("rate: 1/s, enforce: false", "rate: 1/s", "rate none → 1/s", True),
        ("rate: 1/s", "rate: 2/s, enforce: false", "rate 1/s → none", False),
        ("enforce: false", "agents: {a: {rate: 1/s}}, enforce: false", "", False),
    ],
)
def test_limits_are_stricter_or_looser_item_by_item(
    before: str, after: str, told: str, loses: bool
) -> None:
    agent = AGENT % ""
    found = change(agent + PLAN % before, agent + PLAN % after, key("agents/a", "p"))
    assert "|".join(map(str, found.limits)) == told
    assert found.loses is bool(loses)


def test_what_a_key_sets_itself_is_not_changed_by_its_plan() -> None:
    own = key("*", "p", "rate=1/s")
    assert change(PLAN % "rate: 9/s", PLAN % "rate: 5/s", own) == UNCHANGED
    elsewhere = key("services/x", "p")
    at = AGENT % "" + PLAN % "agents: {a: {rate: 2/s}}"
    assert change(at, AGENT % "" + PLAN % "", elsewhere) == UNCHANGED


def test_a_key_whose_plan_is_gone_would_be_refused_and_one_whose_plan_is_new_is_let_in() -> None:
    found = change(AGENT % "" + PLAN % "rate: 1/s", "", key("*", "p"))
    assert found == KeyDiff(refused="plan p is gone")
    assert found.loses
    back = change("", PLAN % "rate: 1/s", key("*", "p"))
    assert (back.accepted, back.loses) == ("plan p is gone", False)
    assert change(AGENT % "", "", key("*", "elsewhere")) == UNCHANGED


def test_the_structure_names_what_differs_and_no_value() -> None:
    service = (
        "services: {s: {upstream: 'http://127.0.0.1:1',"
        " inject: {headers: {X: 'TOP-SECRET ${credentials.key}'}}}}\n"
    )
    before = policies(AGENT % "" + PLAN % "rate: 1/s" + service)
    after = policies(
        AGENT % ", max_body: 1MB"
        + "plans: {q: {}}\ntrusted_proxies: [10.0.0.0/8]\n"
        + service.replace("TOP-SECRET", "OTHER-SECRET")
    )
    told = Comparison(before, after).structure
    assert told.added == ("plans/q",)
    assert told.removed == ("plans/p",)
    assert told.changed == {
        "agents/a": ("max_body",),
        "services/s": ("inject",),
        "trusted_proxies": (),
    }
    assert "SECRET" not in repr(told)
