"""A route that was found once is found the same again, and never where it does not belong."""

from types import MappingProxyType

import pytest

from gateway.domain.errors import Code
from gateway.domain.policies.routes import Route, parse_path
from gateway.domain.policies.snapshot import PATH_ODDITIES, Agent, Policies, Upstream
from gateway.protocol.http.request import read_head
from gateway.services.admission.locate import MAX_KNOWN, Located, locate


def route(path: str, action: str, *methods: str, public: bool = False) -> Route:
    raw, segments = parse_path(path)
    return Route(raw, segments, action, frozenset(methods), public)


def policies(*routes: Route, names: tuple[str, ...] = ("faq",)) -> Policies:
    upstreams = (Upstream("http", "127.0.0.1", 9000),)
    agents = {name: Agent(name, upstreams, routes=routes) for name in names}
    return Policies("test", MappingProxyType(agents))


def ask(known: Policies, path: str, method: str = "GET") -> Located:
    return locate(read_head(method, path.encode(), ()), known)


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


def test_strangers_cannot_fill_the_memory_with_paths() -> None:
    known = policies(route("/**", "any"))
    for number in range(3 * MAX_KNOWN):
        assert ask(known, f"/agents/faq/{number}").action == "any"
        assert len(known.found) <= MAX_KNOWN
