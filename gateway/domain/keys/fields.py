"""What an operator may set on a key, checked strictly before it is written.

Reading a record is lenient: what does not parse grants nothing. Writing is strict, because the
operator is there to read the error.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.domain.errors import UsageError
from gateway.domain.keys import limits as limits_grammar
from gateway.domain.keys import scopes as scopes_grammar
from gateway.domain.keys.judgement import ANY_USER, limits_under
from gateway.domain.keys.key import contains_key
from gateway.domain.keys.record import is_user_id
from gateway.domain.policies.plans import Plan

LONGEST_CONSUMER = 128
LONGEST_LABEL = 256


@dataclass(frozen=True, slots=True)
class KeyFields:
    """Fields to write; None: leave the field as it is. `expires_at` in Unix seconds, 0: never."""

    consumer: str | None = None
    scopes: tuple[str, ...] | None = None
    plan: str | None = None
    limits: str | None = None
    users: tuple[str, ...] | None = None
    label: str | None = None
    expires_at: int | None = None

    def values(self) -> dict[str, str]:
        """Return the given fields as Redis stores them; UsageError says what is wrong with the
        first invalid one."""
        given = ((name, getattr(self, name)) for name in _WRITTEN)
        return {name: _WRITTEN[name](value) for name, value in given if value is not None}


def check_limits(plan: str, limits: str, plans: Mapping[str, Plan]) -> None:
    """Raise UsageError if a key's own limits make no sense under its plan, if it has one."""
    own = _limits(limits)
    try:
        limits_under(plans.get(plan), own)
    except ValueError as problem:
        raise UsageError(f"Limits: {problem}.", "limits") from None


def _consumer(text: str) -> str:
    printable = text.isprintable() and text == text.strip()
    if not text or not printable or len(text) > LONGEST_CONSUMER:
        raise UsageError(
            f"A consumer is 1 to {LONGEST_CONSUMER} printable characters, such as 'sales'."
        )
    return _without_key(text, "the consumer")


def _scopes(items: Iterable[str]) -> str:
    unique = list(dict.fromkeys(items))
    if not unique:
        raise UsageError("A key needs at least one scope, such as 'agents/support'.")
    for item in unique:
        _without_key(item, "a scope")
        scope = scopes_grammar.parse(item)
        if scope is None:
            raise UsageError(
                f"{item!r} is not a scope: write KIND/NAME or KIND/NAME:ACTION with a kind of "
                f"{', '.join(scopes_grammar.KINDS)}, such as 'agents/support:chat'."
            )
        if scope.kind == "gateway" and scope.name not in scopes_grammar.POWERS:
            raise UsageError(
                f"{item!r} would grant nothing: power over the gateway is named in full, with one "
                f"of {', '.join(scopes_grammar.POWERS)}, such as 'gateway/admin'."
            )
    return " ".join(unique)


def _plan(text: str) -> str:
    if _without_key(text, "the plan") and not scopes_grammar.is_name(text):
        raise UsageError(f"{text!r} is not a plan's name.")
    return text


def _limits(text: str) -> str:
    try:
        limits_grammar.parse_own(_without_key(text, "the limits"))
    except ValueError as problem:
        raise UsageError(f"Limits: {problem}.") from None
    return " ".join(text.split())


def _users(items: Iterable[str]) -> str:
    unique = list(dict.fromkeys(items))
    for item in unique:
        if _without_key(item, "a user") != ANY_USER and not is_user_id(item):
            raise UsageError(
                f"{item!r} is not a user id: use letters, digits and ._@-, or '*' for any user."
            )
    return " ".join(unique)


def _label(text: str) -> str:
    if len(text) > LONGEST_LABEL or not text.isprintable():
        raise UsageError(f"A label is at most {LONGEST_LABEL} printable characters, on one line.")
    return _without_key(text, "the label")


def _expires_at(second: int) -> str:
    return f"{second:d}" if second else ""


def _without_key(text: str, where: str) -> str:
    if contains_key(text):
        raise UsageError(f"There is a whole key in {where}: keys are kept nowhere in plaintext.")
    return text


# For each field, the function that checks it and returns its text in Redis. The first mistake in
# this order is reported.
_WRITTEN: Mapping[str, Callable[[Any], str]] = {
    "consumer": _consumer,
    "scopes": _scopes,
    "plan": _plan,
    "limits": _limits,
    "users": _users,
    "label": _label,
    "expires_at": _expires_at,
}
