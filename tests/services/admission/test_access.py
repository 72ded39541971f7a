"""What one key is told at one place, before its limits: anything that is not certain is refused."""

from types import MappingProxyType

from gateway.domain.errors import Code, Denied
from gateway.domain.keys.key import compose
from gateway.domain.keys.record import KeyRecord
from gateway.domain.keys.scopes import Scope
from gateway.domain.policies.services import Inject
from gateway.domain.policies.snapshot import Agent, Policies, Service, Timeouts, Upstream
from gateway.protocol.http.request import Header, read_head
from gateway.services.admission.authenticate import Candidate, Slot
from gateway.services.admission.cached_key import MAX_ACCESSES, CachedKey, cached_key
from gateway.services.admission.locate import Located
from gateway.store.admission import Admission

AGENT = Agent("faq", (Upstream("http", "127.0.0.1", 9000),), max_body=10)
POLICIES = Policies("test", MappingProxyType({"faq": AGENT}))
WHOLE_KEY = compose("live", "4xT9mQ2LrB7c", "s" * 32)


def cached(**fields: str) -> CachedKey:
    fields = {"scopes": "agents/faq:ask", "status": "active", **fields}
    record = KeyRecord("abcdefghijkl", hash="h", **fields)
    return cached_key(record, Candidate(Slot.CURRENT, "h", ""), POLICIES)


def denial(
    found: CachedKey, admission: Admission, located: Located, *headers: Header
) -> Denied | None:
    head = read_head("POST", b"/agents/faq/x", headers)
    return found.denial(found.add_access(located, admission), located, head)


def code(found: CachedKey, admission: Admission, located: Located, *headers: Header) -> Code | None:
    denied = denial(found, admission, located, *headers)
    return denied.code if denied is not None else None


async def test_reasons_are_told_in_the_order_of_the_contract(admission: Admission) -> None:
    """What is wrong with the place, the scope, the user, and then the size of what is sent."""
    other, body = (b"X-User-Id", b"eve"), (b"Content-Length", b"11")
    gone = Denied(Code.NOT_FOUND)
    key = cached(users="ann")
    assert code(key, admission, Located(AGENT, b"", "x", denied=gone), other, body) is gone.code
    assert code(key, admission, Located(AGENT, b"", "x"), other, body) is Code.SCOPE_DENIED
    asked = Located(AGENT, b"", "ask")
    assert code(key, admission, asked, other, body) is Code.USER_DENIED
    assert code(key, admission, asked, (b"X-User-Id", b"ann"), body) is Code.BODY_TOO_LARGE
    assert code(key, admission, asked, (b"Content-Length", b"10")) is None


async def test_where_no_scope_is_known_none_is_enough(admission: Admission) -> None:
    for scopes in ("*", "agents/faq", "gateway/admin"):
        assert code(cached(scopes=scopes), admission, Located(AGENT, b"")) is Code.SCOPE_DENIED


async def test_of_several_scopes_each_is_needed_and_the_first_that_lacks_is_told(
    admission: Admission,
) -> None:
    one, two, three = (Scope("gateway", "credentials", name) for name in ("a", "b", "c"))
    located = Located(None, b"", required=one, also=(two, three))
    key = cached(scopes=f"{one} {three}")
    denied = denial(key, admission, located)
    assert denied is not None and denied.fields == {"required_scope": str(two)}
    assert denial(key, admission, Located(None, b"", required=one, also=(three,))) is None


async def test_a_key_that_stands_in_a_scope_is_told_to_nobody(admission: Admission) -> None:
    """Somebody put it into a record, or called a tool by it."""
    key = cached(scopes=f"agents/faq:ask agents/{WHOLE_KEY.text}")
    access = key.add_access(Located(AGENT, b"", "ask"), admission)
    assert WHOLE_KEY.id.encode() in access.identity
    assert WHOLE_KEY.text.encode() not in access.identity
    denied = denial(key, admission, Located(AGENT, b"", WHOLE_KEY.text))
    assert denied is not None
    assert WHOLE_KEY.text not in f"{denied} {denied.fields}"


async def test_a_service_is_no_agent_though_it_has_the_name_of_one(admission: Admission) -> None:
    """A plan's limits at single agents are for agents, and so is what an agent is told."""
    service = Service(AGENT.name, AGENT.upstreams, Timeouts(), None, frozenset(), Inject())
    key = cached(scopes="*")
    for place, told in ((AGENT, b"faq"), (service, b"")):
        access = key.add_access(Located(place, b"", "ask"), admission)
        assert b"X-Gateway-Agent: %b\r\n" % told in access.identity


async def test_a_key_that_calls_at_many_places_fills_no_memory(admission: Admission) -> None:
    key = cached(scopes="*")
    for number in range(3 * MAX_ACCESSES):
        key.add_access(Located(AGENT, b"", f"a{number}"), admission)
        assert len(key.accesses) <= MAX_ACCESSES
