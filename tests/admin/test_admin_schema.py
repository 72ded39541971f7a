"""The admin API is as its description says: whatever is sent, no bug, and no other answer."""

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from gateway.admin.audit import EVENTS
from gateway.admin.routes import ROUTES
from gateway.domain.keys.key import Key
from tests.flows.world import World

EXAMPLES = 12


# Its own strategies draw at random, which hypothesis says is no way to do it.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
async def test_what_is_sent_as_described_is_answered_as_described(world: World, admin: Key) -> None:
    base = f"http://{world.gateways[0].admin.address}"
    asked = await asyncio.to_thread(ask_all, base, admin.text)
    assert asked == len([route for route in ROUTES if route.media != EVENTS])


def ask_all(base: str, key: str) -> int:
    """How many operations were asked, each in EXAMPLES ways."""
    schema = schemathesis.openapi.from_url(f"{base}/admin/v1/openapi.json")
    # What has no end cannot be asked for twelve times.
    schema = schema.exclude(path="/admin/v1/audit/tail")
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            headers = {"Authorization": f"Bearer {key}"}
            answer = case.call(headers=headers)
            assert answer.status_code != 500, answer.text
            case.validate_response(
                answer,
                checks=[
                    not_a_server_error,
                    response_schema_conformance,
                    content_type_conformance,
                ],
            )

        check()
    return len(operations)
