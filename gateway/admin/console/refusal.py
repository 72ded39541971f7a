"""What the console says where something was not done: the API's own refusals, for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gateway.admin.routing import ApiError
from gateway.domain.errors import (
    ChangedError,
    Denied,
    GatewayError,
    MissingError,
    OperationError,
    StoreError,
    UsageError,
)

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
_KINDS: tuple[tuple[type[GatewayError], int, str], ...] = (
    (UsageError, 422, "invalid"),
    (MissingError, 404, "not_found"),
    (ChangedError, 412, "changed"),
    (OperationError, 409, "refused"),
    (StoreError, 503, "store_unavailable"),
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


def refusal_of(problem: GatewayError) -> Refusal:
    if isinstance(problem, ApiError):
        return Refusal(problem.status, problem.code, str(problem), problem.errors)
    if isinstance(problem, Denied):
        return Refusal(problem.denial.status, problem.denial.name, str(problem))
    for kind, status, code in _KINDS:
        if isinstance(problem, kind):
            return Refusal(status, code, str(problem))
    raise problem
