"""What scopes open under policies, and where a credential may be sent."""

import pytest

from gateway.domain.credentials import parse_id
from gateway.domain.keys.reach import Reachable, places_of, reach
from gateway.domain.keys.scopes import parse_all
from gateway.domain.policies.snapshot import Policies
from gateway.protocol.policy.read import read_policies

FILE = b"""
version: 1
agents:
  open: {upstream: "http://127.0.0.1:9"}
  routed:
    upstream: "http://127.0.0.1:9"
    routes:
      - {path: /health, public: true}
      - {path: /chat, methods: [POST], action: chat}
      - {path: /admin/**, action: manage}
  tried:
    upstream: "http://127.0.0.1:9"
    routes:
      - {path: /new, action: new, enforce: false}
services:
  crm: {upstream: "http://127.0.0.1:9", inject: {headers: {X-Key: "${credentials.crm_key}"}}}
models:
  - name: big
    upstream: "http://127.0.0.1:9"
    provider: openai
    credential: "${credentials.openai_key}"
    fallback: [small]
  - name: small
    upstream: "http://127.0.0.1:9"
    provider: openai
    credential: "${credentials.spare_key}"
tools:
  hub:
    transport: http
    upstream: "http://127.0.0.1:9/mcp"
    inject: {headers: {Authorization: "Bearer ${user.github.value}"}}
"""


@pytest.fixture(scope="module")
def policies() -> Policies:
    loaded = read_policies({"p.yaml": FILE})
    assert loaded.policies is not None, loaded.problems
    return loaded.policies


CHAT = Reachable("agents", "routed", ("chat",), ("POST /chat chat",))
OPEN = Reachable("agents", "open", ("invoke",))
TRIED = Reachable("agents", "tried", ("new",), ("any /new new (shadow)",))
CRM = Reachable("services", "crm", ("invoke",), credentials=("crm_key",))
BIG = Reachable("models", "big", ("invoke",), credentials=("openai_key", "spare_key"))
SMALL = Reachable("models", "small", ("invoke",), credentials=("spare_key",))
HUB = ("user/*/github",)


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        ("", ()),
        ("agents/routed:chat", (CHAT,)),
        ("agents/routed:none-such", ()),
        ("agents/none-such", ()),
        ("agents/open:chat", ()),
        ("agents/open", (OPEN,)),
        # What is not enforced is open to whoever has to do with the agent.
        ("agents/tried:other", (TRIED,)),
        ("models/big", (BIG,)),
        ("services/* models/small:invoke", (SMALL, CRM)),
        ("tools/hub:search", (Reachable("tools", "hub", ("search",), credentials=HUB),)),
        ("tools/*", (Reachable("tools", "hub", ("*",), credentials=HUB),)),
        ("not-a-scope agents/open", (OPEN,)),
        (
            "gateway/credentials:crm_key gateway/read gateway/*",
            (
                Reachable("gateway", "credentials", ("crm_key",), credentials=("crm_key",)),
                Reachable("gateway", "read", ("*",)),
            ),
        ),
    ],
)
def test_a_scope_opens_what_the_policies_have_and_no_more(
    policies: Policies, scopes: str, may: tuple[Reachable, ...]
) -> None:
    assert reach(policies, parse_all(scopes)) == may


def test_everything_is_all_but_the_gateway(policies: Policies) -> None:
    found = {f"{one.kind}/{one.name}" for one in reach(policies, parse_all("*"))}
    places = {"agents/open", "agents/routed", "agents/tried", "models/big", "models/small"}
    assert found == places | {"services/crm", "tools/hub"}


@pytest.mark.parametrize(
    ("credential", "places"),
    [
        ("crm_key", ("services/crm",)),
        ("openai_key", ("models/big",)),
        # The one that stands in may be asked through the first.
        ("spare_key", ("models/big", "models/small")),
        ("user/ann/github", ("tools/hub",)),
        ("github", ()),
    ],
)
def test_a_credential_goes_where_the_policies_name_it(
    policies: Policies, credential: str, places: tuple[str, ...]
) -> None:
    assert places_of(policies, parse_id(credential)) == places
