"""Types of fields in request bodies. All fields are checked before anything is done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.domain.audit.events import event_filter
from gateway.domain.credentials import TYPES
from gateway.domain.errors import UsageError
from gateway.domain.keys import expiry, scopes
from gateway.domain.keys.fields import KeyFields
from gateway.domain.keys.key import is_id
from gateway.domain.policies.plans import Plan as PlanLimits
from gateway.domain.units import span

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FieldContext:
    """The plans in force and the time of Redis' clock, against which fields are checked."""

    plans: Mapping[str, PlanLimits] = field(default_factory=lambda: MappingProxyType({}))
    now: int = 0


def context_of(info: ValidationInfo) -> FieldContext:
    return info.context or FieldContext()


def _checked(check: Callable[[T], object]) -> AfterValidator:
    """A validator that runs `check` on the value."""

    def validate(value: T) -> T:
        check_field(lambda: check(value))
        return value

    return AfterValidator(validate)


def check_field(check: Callable[[], object]) -> None:
    """Turn what `check` raises into the field's error, word for word."""
    try:
        check()
    except (UsageError, ValueError) as problem:
        raise field_error(problem) from None


def field_error(problem: Exception) -> PydanticCustomError:
    """Pass the message as data, because it may contain braces."""
    return PydanticCustomError("invalid", "{message}", {"message": str(problem)})


def _expiry(text: str, info: ValidationInfo) -> str:
    check_field(lambda: expiry.parse(text, context_of(info).now))
    return text


def _plan(text: str, info: ValidationInfo) -> str:
    check_field(lambda: KeyFields(plan=text).values())
    if text and text not in context_of(info).plans:
        raise field_error(ValueError(f"The policies have no plan {text!r}."))
    return text


def _scope(text: str) -> None:
    if scopes.parse(text) is None:
        raise ValueError(f"{text!r} is not a scope")


def _key_id(text: str) -> None:
    if text and not is_id(text):
        raise ValueError("The id of a key is the 12 letters and digits after agk_live_.")


def _type(text: str) -> None:
    if text not in TYPES:
        raise ValueError(f"one of {', '.join(TYPES)}")


def _joined(value: Any) -> Any:
    """Join a list of words with commas; return other values unchanged."""
    is_list = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return ",".join(value) if is_list else value


KeyId = Annotated[str, _checked(_key_id)]
Consumer = Annotated[str, _checked(lambda text: KeyFields(consumer=text).values())]
Scopes = Annotated[list[str], _checked(lambda items: KeyFields(scopes=tuple(items)).values())]
OneScope = Annotated[str, _checked(_scope)]
Plan = Annotated[str, AfterValidator(_plan)]
Limits = Annotated[str, _checked(lambda text: KeyFields(limits=text).values())]
Users = Annotated[list[str], _checked(lambda items: KeyFields(users=tuple(items)).values())]
Label = Annotated[str, _checked(lambda text: KeyFields(label=text).values())]
CredentialType = Annotated[str, _checked(_type)]
Wanted = Annotated[
    str,
    BeforeValidator(_joined),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}),
]
# Of an audit record; empty: any.
EventFilter = Annotated[str, _checked(lambda text: text and event_filter(text))]
Expiry = Annotated[str, AfterValidator(_expiry)]
# `24h`; `0` is none.
Span = Annotated[str, _checked(span)]
