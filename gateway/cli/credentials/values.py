"""Reading the values of credentials: from stdin, a file or a prompt, never from an argument."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.output import note
from gateway.domain.credentials import TYPES, CredentialId, CredentialType, parse_id
from gateway.domain.errors import UsageError
from gateway.domain.policies.references import is_variable
from gateway.protocol import strict_json

LONGEST = 1_000_000


class CredentialNameType(click.ParamType[CredentialId]):
    """A credential's name. An invalid one is refused and not repeated: it may be a value."""

    name = "name"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> CredentialId:
        try:
            return parse_id(value)
        except ValueError as problem:
            sentence = str(problem)
            raise UsageError(f"{sentence[0].upper()}{sentence[1:]}.") from None


CREDENTIAL = CredentialNameType()

# Catches further arguments, which click would repeat in its error: one may be a value.
extra_argument = click.argument("extra", nargs=-1, metavar="", type=click.UNPROCESSED)

from_file_option = click.option(
    "--from-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read the value from a file; '-' or no option: from stdin.",
)


def refuse_extra(extra: tuple[str, ...]) -> None:
    if extra:
        raise UsageError(
            "A value is never an argument, because others can see arguments: give it on stdin or "
            "with --from-file."
        )


def read_fields(type_name: str, from_file: Path | None) -> dict[str, str]:
    """Return the fields that the operator gave. UsageError, which repeats none of the input, if
    they are not valid."""
    kind = TYPES[type_name]
    if from_file is None and sys.stdin.isatty():
        return _prompted(kind)
    text = _text(from_file)
    if is_variable(text):
        note(
            "This looks like an environment variable, and is kept as it stands: a shell puts in "
            "its value only outside of single quotes."
        )
    return _parsed(kind, text)


def _prompted(kind: CredentialType) -> dict[str, str]:
    names = kind.required or ((kind.main,) if kind.main else ())
    if not names:
        raise UsageError(
            f"A credential of type {kind.name} has fields that you name: give them as a JSON "
            "object on stdin or with --from-file."
        )
    return {name: click.prompt(name, hide_input=True, err=True) for name in names}


def _text(from_file: Path | None) -> str:
    try:
        if from_file is None or str(from_file) == "-":
            raw = sys.stdin.buffer.read(LONGEST + 1)
        else:
            with from_file.open("rb") as file:
                raw = file.read(LONGEST + 1)
    except OSError as problem:
        raise UsageError(f"{from_file} cannot be read: {problem.strerror}.") from None
    if len(raw) > LONGEST:
        raise UsageError(f"A credential is at most {LONGEST} bytes long.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(
            "A value is UTF-8 text; encode anything else, for instance in base64."
        ) from None
    # A final line break comes from echo or an editor, and is not part of the value.
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise UsageError(
            "No value was given: pipe it in, as in 'printf %s \"$VALUE\" | gateway …'."
        )
    return text


def _parsed(kind: CredentialType, text: str) -> dict[str, str]:
    found = _object(text)
    # The URL of a database never begins with a brace: such text is JSON with a mistake in it.
    looks_like_json = text.lstrip().startswith("{")
    if kind.is_single and (found is None or found.keys() != set(kind.required)):
        (name,) = kind.required
        if looks_like_json:
            note(
                f"This is no JSON object with the field '{name}' alone: it is kept whole, as "
                f"'{name}'."
            )
        return {name: text}
    if found is not None:
        return {name: _as_text(kind, value) for name, value in found.items()}
    if kind.main and (kind.free or not looks_like_json):
        if looks_like_json:
            note(f"This is no JSON object with each name once: it is kept whole, as '{kind.main}'.")
        return {kind.main: text}
    names = kind.required or (kind.one_of[-1] if kind.one_of else ("X-Header",))
    spelled = ", ".join(f'"{name}": "…"' for name in names)
    raise UsageError(
        f"A credential of type {kind.name} has several fields: give a JSON object such as "
        f"{{{spelled}}}, with text as values."
    )


def _object(text: str) -> dict[str, Any] | None:
    """Return `text` as a JSON object, or None if it is not one."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        pairs = strict_json.read(text)
    except ValueError:
        return None
    return pairs if isinstance(pairs, dict) else None


def _as_text(kind: CredentialType, value: Any) -> str:
    """Return a JSON value as text: a number or boolean as JSON writes it, a list of words, such as
    scopes, joined with blanks."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return json.dumps(value)
    if isinstance(value, list) and not kind.free and all(isinstance(word, str) for word in value):
        return " ".join(value)
    raise UsageError(
        f"A field of a credential of type {kind.name} is a text, a number, true or false: null, "
        "a list or an object is not allowed."
    )
