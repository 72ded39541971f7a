"""References: `${credentials.NAME[.FIELD]}` and `${user.NAME[.FIELD]}`; `$${` is a literal `${`."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from gateway.domain.credentials import TYPES, CredentialId, is_credential_name, is_field_name
from gateway.domain.errors import Code, Denied

OPEN = "${"
_ESCAPED = "$${"
_OURS = re.compile(r"\$\{(?:credentials|user)(?=[.}]|\Z)", re.ASCII)
# As shells and other gateways write what they replace, alone or behind a scheme such as Bearer.
_VARIABLE = re.compile(
    r"(\S+ )?(os\.environ/\S+|\$[A-Z_][A-Z0-9_]*|\$\{[A-Z_][A-Z0-9_]*\})", re.ASCII
)
NO_VARIABLE = (
    "no environment variable is read here: put its value into the vault, and write "
    "${credentials.NAME}"
)
_SHAPE = "write ${credentials.NAME}, ${credentials.NAME.FIELD} or ${user.NAME.FIELD}"


@dataclass(frozen=True, slots=True)
class Reference:
    """`field` empty: the main value. `of_user`: the calling user's own credential."""

    name: str
    field: str = ""
    of_user: bool = False

    def __str__(self) -> str:
        kind = "user" if self.of_user else "credentials"
        return f"${{{kind}.{self.name}{'.' + self.field if self.field else ''}}}"


@dataclass(frozen=True, slots=True)
class Template:
    """A text with references, as its pieces."""

    parts: tuple[str | Reference, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        return tuple(part for part in self.parts if isinstance(part, Reference))

    def render(self, value: Callable[[Reference], str]) -> str:
        return "".join(part if isinstance(part, str) else value(part) for part in self.parts)

    def __str__(self) -> str:
        """Return the text as it would be written."""
        return "".join(
            part.replace(OPEN, _ESCAPED) if isinstance(part, str) else str(part)
            for part in self.parts
        )


def parse(text: str, *, strict: bool = True) -> Template:
    """Return the pieces of `text`; ValueError says what is wrong with the first invalid one.

    `strict` False, for files that other programs read too: a `${…}` that is not ours is literal.
    """
    template, wrong = read(text, strict=strict)
    if wrong:
        raise ValueError(wrong[0])
    return template


def read(text: str, *, strict: bool = True) -> tuple[Template, list[str]]:
    """Return the valid pieces of `text`, and what is wrong with each invalid one."""
    parts: list[str | Reference] = []
    wrong: list[str] = []
    literal, at, count = "", 0, 0
    while (found := text.find("$", at)) >= 0:
        literal, at = literal + text[at:found], found
        if text.startswith(_ESCAPED, at):
            literal, at = literal + OPEN, at + len(_ESCAPED)
        elif text.startswith(OPEN, at) and (strict or _OURS.match(text, at)):
            begin, at, count = at, text.find("}", at) + 1 or len(text), count + 1
            try:
                reference = _reference(text[begin:at])
            except ValueError as problem:
                wrong.append(_sentence(problem, count, text))
                continue
            parts += [literal, reference] if literal else [reference]
            literal = ""
        else:
            literal, at = literal + "$", at + 1
    literal += text[at:]
    return Template((*parts, literal) if literal else tuple(parts)), wrong


def is_variable(text: str) -> bool:
    """Whether `text` looks like an environment variable that is to be replaced by its value."""
    return _VARIABLE.fullmatch(text) is not None


def _sentence(problem: ValueError, count: int, text: str) -> str:
    # If there are several, tell the mistake by its number: its text may be a secret value.
    several = text.find(OPEN) != text.rfind(OPEN)
    return f"reference {count} in this text: {problem}" if several else str(problem)


def _reference(written: str) -> Reference:
    if not written.endswith("}"):
        raise ValueError(f"a reference is not closed by '}}': {_SHAPE}; a literal '${{' is '$${{'")
    if is_variable(written):
        raise ValueError(f"{NO_VARIABLE}; a literal '${{' is '$${{'")
    kind, *names = written[len(OPEN) : -1].split(".", 2)
    if kind not in ("credentials", "user") or not names:
        raise ValueError(f"this is no reference: {_SHAPE}; a literal '${{' is '$${{'")
    name, field = names[0], names[1] if len(names) > 1 else ""
    if not is_credential_name(name):
        raise ValueError(
            "a reference names a credential: 2 to 63 of the characters a-z 0-9 _, "
            "beginning with a letter"
        )
    if len(names) > 1 and not is_field_name(field):
        raise ValueError("a reference's field is 1 to 128 letters, digits and . _ -")
    return Reference(name, field, kind == "user")


def id_of(reference: Reference, user: str | None) -> CredentialId:
    """Return the id of the credential; Denied if it is the user's own and no user is named."""
    if not reference.of_user:
        return CredentialId(reference.name)
    if not user:
        raise Denied(
            Code.CREDENTIAL_UNAVAILABLE,
            f"This needs the credential {reference.name!r} of a user: name the user in X-User-Id.",
            headers=(("x-should-retry", "false"),),
        )
    return CredentialId(reference.name, user)


def missing(reference: Reference) -> str:
    name = reference.name
    return f"there is no credential {name!r}: 'gateway credentials set {name}' makes one"


def mistake(
    reference: Reference, type_name: str, fields: tuple[str, ...], types: tuple[str, ...] = ()
) -> str:
    """Return why a reference cannot mean a credential of this type with these fields; empty if it
    can.

    `types`: the reference means the whole credential, which must be of one of these types.
    """
    kind = TYPES[type_name]
    if kind.decoy:
        # Only operators read this, who see a credential's type in `credentials list` too.
        return f"the credential {reference.name!r} is a decoy and put into no call: name another"
    if kind.pull_only:
        return (
            f"the credential {reference.name!r} of type {type_name} is pulled by agents, and put "
            "into no call"
        )
    if types:
        wrong = type_name not in types
        return f"a credential of type {type_name} cannot be sent as a whole" if wrong else ""
    if reference.field and reference.field not in fields:
        return f"the credential {reference.name!r} has no field {reference.field!r}"
    if not reference.field and not kind.fetched and kind.main not in fields:
        example = Reference(reference.name, fields[0])
        return (
            f"the credential {reference.name!r} of type {type_name} has no main value: "
            f"name a field, such as {example}"
        )
    return ""
