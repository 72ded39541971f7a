"""Scopes: `<kind>/<name>:<action>`, what a key may do.

`*` stands for a whole name or a whole action, never for a kind or part of a word. A missing action
means `:*`. `*` alone is everything except `gateway/…`, which must always be named in full.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from gateway.domain.keys.record import words

KINDS = ("agents", "models", "services", "tools", "gateway")
# The names that `gateway/…` scopes may have.
POWERS = ("admin", "keys", "credentials", "credentials-write", "audit", "read")
ANY = "*"
# As a required action: any action will do. No granted scope is spelled like this.
SOME = ""
# The action at callees without routes.
DEFAULT_ACTION = "invoke"

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_SCOPE = re.compile(rf"({'|'.join(KINDS)})/({NAME}|\*)(?::({NAME}|\*))?", re.ASCII)
_WORD = re.compile(NAME, re.ASCII)


@dataclass(frozen=True, slots=True)
class Scope:
    """One granted or required scope; `kind` is `*` only for the scope `*`."""

    kind: str
    name: str
    action: str

    def __str__(self) -> str:
        if self.kind == ANY:
            return ANY
        return f"{self.kind}/{self.name}" + (f":{self.action}" if self.action else "")

    def grants(self, required: "Scope") -> bool:
        """Whether holding this scope is enough for `required`. If that asks for the wildcard
        action, no single action is enough."""
        if required.kind == "gateway":
            # `gateway/*` and `*` grant nothing here: power over the gateway is named in full.
            return (
                self.kind == "gateway"
                and self.name == required.name
                and self.action in (ANY, required.action)
            )
        return (
            self.kind in (ANY, required.kind)
            and self.name in (ANY, required.name)
            and (self.action in (ANY, required.action) or required.action == SOME)
        )


def is_name(text: str) -> bool:
    """Whether `text` may name an agent, model, service, tool or action."""
    return _WORD.fullmatch(text) is not None


def parse(text: str) -> Scope | None:
    """Return the scope that `text` spells, or None."""
    if text == ANY:
        return Scope(ANY, ANY, ANY)
    match = _SCOPE.fullmatch(text)
    if match is None:
        return None
    kind, name, action = match.groups()
    return Scope(kind, name, action or ANY)


@dataclass(frozen=True, slots=True)
class Grants:
    """The scopes of one key. `unparsed` items grant nothing and are logged as a warning."""

    scopes: tuple[Scope, ...]
    unparsed: tuple[str, ...] = ()

    def allow(self, required: Scope) -> bool:
        return any(scope.grants(required) for scope in self.scopes)


# Among a hundred thousand keys there are hardly a hundred different values.
@lru_cache(maxsize=1024)
def parse_all(text: str) -> Grants:
    """Return the grants of a record's `scopes` field: space-separated, invalid items left out."""
    return from_items(words(text))


def from_items(items: Iterable[str]) -> Grants:
    parsed = [(item, parse(item)) for item in items]
    return Grants(
        tuple(scope for _, scope in parsed if scope is not None),
        tuple(item for item, scope in parsed if scope is None),
    )
