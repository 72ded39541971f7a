"""The API's refusals as the console shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gateway.admin.routing import ApiError, api_error
from gateway.domain.errors import Denied, GatewayError, UsageError

TITLES = MappingProxyType(
    {
        "not_found": "There is nothing here",
        "invalid": "Something is not valid",
        "refused": "This cannot be done at present",
        "changed": "Somebody else changed this meanwhile",
        "scope_denied": "Your key may not do this",
        "forged": "This form was refused",
        "busy": "Wait a moment, then try again",
        "store_unavailable": "Redis does not answer",
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`errors`: each bad field and what is wrong with it."""

    status: int
    code: str
    detail: str
    errors: Sequence[Mapping[str, str]] = ()

    @property
    def title(self) -> str:
        return TITLES.get(self.code, "This was refused")

    @property
    def is_of_fields(self) -> bool:
        """Whether `detail` adds nothing to `errors`."""
        return self.code == "invalid" and bool(self.errors)


def refusal_of(problem: GatewayError) -> Refusal:
    if isinstance(problem, Denied):
        return Refusal(problem.denial.status, problem.denial.name, str(problem))
    if isinstance(problem, UsageError):
        return Refusal(422, "invalid", str(problem))
    error = problem if isinstance(problem, ApiError) else api_error(problem)
    return Refusal(error.status, error.code, str(error), error.errors)
