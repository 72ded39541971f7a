"""The model that a request asks for, and the dialect it is asked in."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from gateway.domain.errors import bad_request
from gateway.domain.keys.scopes import is_name
from gateway.domain.policies.services import Dialect
from gateway.protocol import strict_json
from gateway.protocol.http.form import boundary_of, field
from gateway.protocol.http.request import Header, values_of
from gateway.protocol.http.target import parameter_names
from gateway.protocol.strict_json import RepeatedNameError, TooManyValuesError, look_alike

MODELS_PREFIX = b"/models/"
_ANTHROPIC = b"/models/anthropic"
_LIST = b"/v1/models"
# Paths at which the body's model decides, by POST alone. At other paths a provider lets the same
# credential start batches for other models, train new ones and make keys, whatever the body says.
_CALLS = frozenset(
    {
        b"/chat/completions",
        b"/completions",
        b"/responses",
        b"/responses/compact",
        b"/responses/input_tokens",
        b"/embeddings",
        b"/moderations",
        b"/rerank",
        b"/score",
        b"/images/generations",
        b"/images/edits",
        b"/images/variations",
        b"/audio/speech",
        b"/audio/transcriptions",
        b"/audio/translations",
        b"/v1/messages",
        b"/v1/messages/count_tokens",
    }
)
_MODEL = frozenset({"model"})
_NO_MODEL = (
    "The body has to be a JSON object, or a form, whose 'model' names a model of the gateway."
)
_COMPRESSED = (
    "The body has a Content-Encoding, and the gateway decompresses nothing: send it uncompressed."
)
MOST_BESIDE = 8
_NO_NAME = (
    "What the body names beside 'model', to answer in its place or for tools to ask, has to be "
    f"models by their names, {MOST_BESIDE} at most: each needs its scope."
)
_NOT_IN_QUERY = "The model is named in the body alone: leave 'model' out of the query."


@dataclass(frozen=True, slots=True)
class ModelPath:
    """`path`: the path at the provider. `listed`: a model to be looked up in the list, or empty for
    the whole list; None: a model is called."""

    dialect: Dialect
    path: bytes
    listed: str | None = None

    @property
    def is_call(self) -> bool:
        """Whether it is a path that models are known to be called at."""
        return self.path.removesuffix(b"/") in _CALLS


@dataclass(frozen=True, slots=True)
class Prompt:
    """The body of a call to a model. `members`: of the JSON object; none if the body is a form.
    `beside`: further models that it names."""

    model: str
    members: Mapping[str, Any]
    beside: tuple[str, ...] = ()


def read_path(path: bytes) -> ModelPath:
    """Return what a path under `/models/` asks for."""
    if path.startswith(_ANTHROPIC + b"/"):
        rest, dialect = path[len(_ANTHROPIC) :], Dialect.ANTHROPIC
    else:
        rest, dialect = path[len(MODELS_PREFIX) - 1 :], Dialect.OPENAI
    if rest == _LIST or rest.startswith(_LIST + b"/"):
        return ModelPath(dialect, rest, unquote(rest[len(_LIST) + 1 :].decode("ascii")))
    if dialect is Dialect.OPENAI and (rest + b"/").startswith(b"/v1/"):
        # The provider's own URL ends in /v1.
        rest = rest[len(b"/v1") :] or b"/"
    return ModelPath(dialect, rest)


def check_query(query: bytes) -> None:
    """Raise Denied(bad_request) if the query names a model too: some providers use that one."""
    if any(_MODEL & parameter_names(item) for item in re.split(b"[&;]", query[1:])):
        raise bad_request(_NOT_IN_QUERY)


def read_prompt(body: bytes, headers: Iterable[Header] = ()) -> Prompt:
    """Return what the body asks for; raise Denied(bad_request) if it names no model."""
    headers = tuple(headers)
    # Neither the beginning of a JSON object nor that of a form. If it is one of them, it is read:
    # some clients name an encoding that they do not apply.
    if body.lstrip()[:1] not in b"{-" and values_of(headers, b"content-encoding"):
        raise bad_request(_COMPRESSED)
    boundary = boundary_of(headers)
    members: Mapping[str, Any] = _in_json(body) if boundary is None else {}
    name = members.get("model") if boundary is None else field(body, boundary, "model")
    if not isinstance(name, str) or not is_name(name):
        raise bad_request(_NO_MODEL)
    return Prompt(name, members, _other_models(members))


def sent_as_read(headers: Iterable[Header]) -> list[Header]:
    """Return headers that say how the body was read: uncompressed, and, if it is no form, as JSON
    in UTF-8. A provider that went by another type or charset could find another model in it."""
    headers = [header for header in headers if header[0].lower() != b"content-encoding"]
    if boundary_of(headers) is not None:
        return headers
    others = [header for header in headers if header[0].lower() != b"content-type"]
    return [*others, (b"Content-Type", b"application/json")]


def _other_models(members: Mapping[str, Any]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in _names_of_others(members):
        if name is None:
            continue
        if not isinstance(name, str) or not is_name(name) or len(found) == MOST_BESIDE:
            raise bad_request(_NO_NAME)
        found[name] = None
    return tuple(found)


def _names_of_others(members: Mapping[str, Any]) -> Iterator[object]:
    """Yield the models that may answer in place of `model`, at Anthropic and at routers, and those
    that the provider's own tools ask."""
    for name, value in members.items():
        kind = name.casefold()
        if kind == "tools" and isinstance(value, list):
            yield from (one for tool in value for one in _models_in(tool))
        elif isinstance(value, bool | int | float):
            # `disable_fallbacks` and `max_fallbacks` name no model.
            continue
        elif kind == "models" or kind.endswith("fallbacks"):
            for one in value if isinstance(value, list) else (value,):
                yield from _fallbacks_in(one) if isinstance(one, dict) else (one,)
        elif kind.endswith("fallback_dict") and isinstance(value, dict):
            yield from value.values()


def _fallbacks_in(entry: Mapping[str, Any]) -> Iterator[object]:
    """Yield the models that an entry of fallbacks names: `{"model": "b"}`, perhaps with settings
    such as `stop`, or LiteLLM's `{"a": ["b"]}`, which means "b" where "a" fails; LiteLLM reads the
    first member alone."""
    asked = tuple(_models_in(entry))
    yield from asked
    for position, value in enumerate(entry.values()):
        for one in value if isinstance(value, list) else ():
            if isinstance(one, dict):
                yield from _models_in(one)
            elif position == 0 or not asked:
                yield one


def _models_in(entry: object) -> Iterator[object]:
    if isinstance(entry, dict):
        yield from (value for name, value in entry.items() if name.casefold() in _MODEL)


def _in_json(body: bytes) -> dict[str, Any]:
    try:
        found: Any = strict_json.read(body)
    except RepeatedNameError:
        raise bad_request("The body has an object with a name twice. Send each once.") from None
    except TooManyValuesError as problem:
        raise bad_request(str(problem)) from None
    except ValueError:
        raise bad_request(_NO_MODEL) from None
    if not isinstance(found, dict):
        raise bad_request(_NO_MODEL)
    if look_alike(found, _MODEL) is not None:
        # A reader that ignores case could find another model than the one that was admitted.
        raise bad_request("A name in the body differs from 'model' in case alone. Leave it out.")
    return found


def catalogue(names: list[str], dialect: Dialect) -> dict[str, Any]:
    """Return the list of models as the official clients read it."""
    entries = [entry(name, dialect) for name in names]
    if dialect is Dialect.OPENAI:
        return {"object": "list", "data": entries}
    ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
    return {"data": entries, "has_more": False, **ends}


def entry(name: str, dialect: Dialect) -> dict[str, Any]:
    if dialect is Dialect.OPENAI:
        return {"id": name, "object": "model", "created": 0, "owned_by": "gateway"}
    born = "1970-01-01T00:00:00Z"
    return {"type": "model", "id": name, "display_name": name, "created_at": born}
