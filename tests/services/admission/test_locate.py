"""A route that was found once is found the same again, and never where it does not belong."""

from dataclasses import replace
from types import MappingProxyType

import pytest

from gateway.domain.errors import Code, Denied
from gateway.domain.keys.scopes import SOME, Scope
from gateway.domain.policies.routes import Route, parse_path
from gateway.domain.policies.services import Dialect, Inject
from gateway.domain.policies.snapshot import (
    PATH_ODDITIES,
    Agent,
    Model,
    Policies,
    Timeouts,
    Upstream,
)
from gateway.protocol.http.request import read_head
from gateway.protocol.models.request import read_path
from gateway.protocol.pull import Pulling, read_pull
from gateway.services.admission.locate import (
    MAX_KNOWN,
    Located,
    check_oddities,
    locate,
    locate_model,
    locate_no_model,
    locate_pull,
)


def route(path: str, action: str, *methods: str, public: bool = False) -> Route:
    raw, segments = parse_path(path)
    return Route(raw, segments, action, frozenset(methods), public)


def policies(*routes: Route, names: tuple[str, ...] = ("faq",)) -> Policies:
    upstreams = (Upstream("http", "127.0.0.1", 9000),)
    agents = {name: Agent(name, upstreams, routes=routes) for name in names}
    return Policies("test", MappingProxyType(agents))


def ask(known: Policies, path: str, method: str = "GET", host: str = "any.test") -> Located:
    return locate(read_head(method, path.encode(), ((b"Host", host.encode()),)), known)


def test_asked_again_it_is_the_same_route() -> None:
    known = policies(route("/chat", "chat", "POST"), route("/files/**", "files"))
    for _ in range(3):
        assert ask(known, "/agents/faq/chat", "POST").action == "chat"
        assert ask(known, "/agents/faq/files/a").action == "files"


def test_what_was_found_for_one_method_is_not_there_for_another() -> None:
    known = policies(route("/chat", "chat", "POST"))
    assert ask(known, "/agents/faq/chat", "POST").denied is None
    denied = ask(known, "/agents/faq/chat", "GET").denied
    assert denied is not None and denied.code is Code.METHOD_NOT_ALLOWED


def test_another_spelling_of_a_public_path_is_not_public_though_the_path_is_known() -> None:
    known = policies(route("/health", "", public=True), route("/*", "ask"))
    for _ in range(2):
        assert ask(known, "/agents/faq/health").public
        for spelling in ("/agents/faq/Health", "/agents/faq/health/", "/agents/faq/%68ealth"):
            assert not ask(known, spelling).public


def test_the_query_decides_nothing() -> None:
    known = policies(route("/chat", "chat"))
    assert ask(known, "/agents/faq/chat?a=1").path == b"/chat"
    assert ask(known, "/agents/faq/chat?b=2") is ask(known, "/agents/faq/chat")


def test_one_agents_route_is_not_anothers() -> None:
    upstreams = (Upstream("http", "127.0.0.1", 9000),)
    open_agent = Agent("open", upstreams, routes=(route("/x", "", public=True),))
    closed = Agent("closed", upstreams, routes=(route("/x", "read"),))
    known = Policies("test", MappingProxyType({"open": open_agent, "closed": closed}))
    assert ask(known, "/agents/open/x").public
    assert not ask(known, "/agents/closed/x").public


def hosted() -> Policies:
    """Two agents with hosts of their own, and one without."""
    upstreams = (Upstream("http", "127.0.0.1", 9000),)
    agents = {name: Agent(name, upstreams, hosts=(f"{name}.test",)) for name in ("a", "b")}
    return Policies("test", MappingProxyType(agents | {"c": Agent("c", upstreams)}))


@pytest.mark.parametrize(
    "path", ["/", "/x", "/agents/c/x", "/agents/b/x", "/services/c/x", "/tools/c/mcp"]
)
def test_a_host_is_one_agents_whatever_the_path_and_nothing_is_cut(path: str) -> None:
    known = hosted()
    for name in ("a", "b", "a"):
        found = ask(known, path, host=f"{name}.test")
        assert found.callee is known.agents[name]
        assert found.path == path.encode()


def test_what_was_found_for_one_host_is_not_there_for_another() -> None:
    known = hosted()
    for host, name in (("a.test", "a"), ("c.test", "c"), ("a.test", "a")):
        found = ask(known, "/agents/c/x", host=host)
        assert found.callee is known.agents[name]
    assert ask(known, "/x", host="c.test").callee is None


def test_a_link_of_the_gateways_is_no_agents_on_any_host() -> None:
    assert ask(hosted(), "/connect/token", host="a.test").callee is None


def test_a_refusal_is_of_one_request() -> None:
    """Whose it is is told beside it; kept, it would be told of the next caller too."""
    known = policies(route("/chat", "chat", "POST"))
    for path in ("/agents/faq/chat", "/agents/faq/none", "/agents/none"):
        assert ask(known, path).denied is not ask(known, path).denied


def test_what_needs_other_scopes_is_another_place() -> None:
    """What a key may do at a place is remembered."""
    one, two, three = (Scope("gateway", "credentials", name) for name in ("a", "b", "c"))
    found = [Located(None, b"", required=one, also=also) for also in ((), (two,), (two, three))]
    found += [Located(None, b"", required=two), Located(None, b"", required=one, tried=two)]
    found += [Located(None, b"", "x", required=one)]
    assert len({one.place for one in found}) == len(found)


def pull_of(query: str) -> Pulling:
    return read_pull(read_head("GET", f"/v1/credentials{query}".encode(), ()))


def test_a_pull_needs_a_scope_for_each_name_and_is_never_for_users_own() -> None:
    head = read_head("GET", b"/v1/credentials", ())
    found = locate_pull(head, pull_of("?names=aa,bb"))
    assert [*map(str, found.scopes)] == ["gateway/credentials:aa", "gateway/credentials:bb"]
    assert found.denied is None
    denied = locate_pull(head, pull_of("?names=aa,user/ann/bb")).denied
    assert denied is not None and denied.code is Code.SCOPE_DENIED
    denied = locate_pull(read_head("POST", b"/v1/credentials", ()), pull_of("?names=aa")).denied
    assert denied is not None and denied.code is Code.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    ("path", "name", "fine"),
    [
        ("/models/v1/chat/completions", "m", True),
        ("/models/v1/chat/completions", "none", False),
        ("/models/anthropic/v1/messages", "m", False),
    ],
)
def test_a_model_is_called_in_its_dialect_alone(path: str, name: str, fine: bool) -> None:
    """What is wrong with the place is told to whoever has the scope."""
    upstreams = (Upstream("http", "127.0.0.1", 9000),)
    model = Model("m", upstreams, Timeouts(), 0, Inject(), Dialect.OPENAI)
    known = Policies("test", MappingProxyType({}), models=MappingProxyType({"m": model}))
    found = locate_model(read_path(path.encode()), name, known)
    assert [*map(str, found.scopes)] == [f"models/{name}:invoke"]
    assert (found.denied is None) is fine
    assert found.denied is None or found.denied.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/models/v1/files", Code.NOT_FOUND),
        ("/models/v1/chat/completions", Code.METHOD_NOT_ALLOWED),
    ],
)
def test_what_calls_no_model_is_wrong_by_its_path_or_by_its_method(path: str, code: Code) -> None:
    found = locate_no_model(read_path(path.encode()))
    assert found.denied is not None and found.denied.code is code
    assert found.callee is None and found.scopes == ()


def test_a_line_that_is_tried_out_opens_no_door_to_strangers() -> None:
    tried = replace(route("/x/**", "x"), enforced=False)
    found = ask(policies(tried), "/agents/faq/x/a")
    assert found.scopes == (Scope("agents", "faq", SOME),) and str(found.tried) == "agents/faq:x"
    found = ask(policies(tried, route("/**", "any")), "/agents/faq/x/a")
    assert [*map(str, found.scopes)] == ["agents/faq:any"] and str(found.tried) == "agents/faq:x"
    found = ask(policies(tried, route("/x/*", "", public=True)), "/agents/faq/x/a")
    assert found.public and found.tried is None


def test_other_policies_begin_with_nothing_known() -> None:
    before = policies(route("/chat", "", public=True))
    assert ask(before, "/agents/faq/chat").public
    assert not ask(policies(route("/chat", "chat")), "/agents/faq/chat").public


ANYTHING = frozenset(PATH_ODDITIES)


@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("/files/a/secret", "deep"),
        ("/files/a%2Fsecret", None),
        ("/files/a%5Csecret", None),
        ("/files/a\\secret", None),
        ("/files/a;x/secret", "deep"),
        ("/files/a/secret;x", None),
        ("/files/a/secret%3Fx", None),
        ("/files/a/secret%23", None),
        ("/files//a/secret", None),
        ("/put;x", "missing"),
        ("/pub/a", "public"),
        ("/pub/a%2Fclosed", None),
        ("/pub/a%3Bclosed", "public"),
        ("/files/a%2Fb", None),
        ("/alone/a%2Fb", "alone"),
        ("/files/a;b", "one"),
        ("/tree/a%2Fb;c//d", "tree"),
    ],
)
def test_no_spelling_that_an_agent_allows_is_another_route_to_a_laxer_reader(
    path: str, action: str | None
) -> None:
    routes = (
        route("/files/*", "one"),
        route("/files/*/secret", "deep"),
        route("/files/*/*/*", "three"),
        route("/files/*/*", "two"),
        route("/put", "put", "PUT"),
        route("/alone/*", "alone"),
        route("/pub/*", "public", public=True),
        route("/pub/*/closed", "closed"),
        route("/tree/**", "tree"),
    )
    upstreams = (Upstream("http", "127.0.0.1", 9000),)
    agent = Agent("faq", upstreams, routes=routes, allowed_oddities=ANYTHING)
    known = Policies("test", MappingProxyType({"faq": agent}))
    for _ in range(2):
        found = ask(known, f"/agents/faq{path}")
        if action is None:
            assert found.denied is not None and found.denied.code is Code.BAD_REQUEST
        elif action == "missing":
            assert found.denied is not None and found.denied.code is Code.NOT_FOUND
        else:
            assert (found.action, found.denied) == (action, None)


def test_no_spelling_is_public_to_one_reader_alone_though_the_scope_is_the_same() -> None:
    routes = (route("/pub/*", "a", public=True), route("/pub/*/closed", "a"))
    upstreams = (Upstream("http", "127.0.0.1", 9000),)
    agent = Agent("faq", upstreams, routes=routes, allowed_oddities=ANYTHING)
    known = Policies("test", MappingProxyType({"faq": agent}))
    denied = ask(known, "/agents/faq/pub/a%2Fclosed").denied
    assert denied is not None and denied.code is Code.BAD_REQUEST


@pytest.mark.parametrize(
    ("host", "path", "passes"),
    [
        ("a.test", "/x//y", True),
        ("a.test", "/x;y", False),
        ("a.test", "/connect//y", False),
        ("any.test", "/x//y", False),
        ("any.test", "/agents/a/x//y", True),
        ("any.test", "/services/none/x//y", True),
        ("any.test", "/models//v1/models", False),
        ("any.test", "/tools/a//mcp", False),
    ],
)
def test_an_odd_spelling_gets_as_far_as_agents_that_may_allow_it(
    host: str, path: str, passes: bool
) -> None:
    upstreams = (Upstream("http", "127.0.0.1", 9000),)
    agent = Agent("a", upstreams, hosts=("a.test",), allowed_oddities=frozenset({"//"}))
    known = Policies("test", MappingProxyType({"a": agent}))
    head = read_head("GET", path.encode(), ((b"Host", host.encode()),))
    if passes:
        check_oddities(head, known)
        return
    with pytest.raises(Denied):
        check_oddities(head, known)


def test_strangers_cannot_fill_the_memory_with_paths() -> None:
    known = policies(route("/**", "any"))
    for number in range(3 * MAX_KNOWN):
        assert ask(known, f"/agents/faq/{number}").action == "any"
        assert len(known.found) <= MAX_KNOWN
