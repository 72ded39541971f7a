"""What the console says where something was not done: the API's own refusals, for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gateway.admin.routing import ApiError, api_error
from gateway.domain.errors import Denied, GatewayError, UsageError

TITLES = MappingProxyType(
    {
        "not_found": "There is nothing here",
        "invalid": "Something is not as it has to be",
        "refused": "This cannot be done as things are",
        "changed": "Somebody else changed this meanwhile",
        "scope_denied": "Your key may not do this",
        "forged": "This form was not taken",
        "busy": "Wait a moment, then try again",
        "store_unavailable": "Redis does not answer",
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`errors`: each bad field with what is wrong with it."""

    status: int
    code: str
    detail: str
    errors: Sequence[Mapping[str, str]] = ()

    @property
    def title(self) -> str:
        return TITLES.get(self.code, "This was refused")

    @property
    def is_of_fields(self) -> bool:
        """Whether `errors` say all that `detail` does."""
        return self.code == "invalid" and bool(self.errors)


def refusal_of(problem: GatewayError) -> Refusal:
    if isinstance(problem, Denied):
        return Refusal(problem.denial.status, problem.denial.name, str(problem))
    if isinstance(problem, UsageError):
        return Refusal(422, "invalid", str(problem))
    told = problem if isinstance(problem, ApiError) else api_error(problem)
    return Refusal(told.status, told.code, str(told), told.errors)
