"""Turn pydantic's errors into sentences with a position."""

from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.domain.nearest import nearest
from gateway.domain.policies.problems import Problem
from gateway.protocol.policy.models import PolicyFile
from gateway.protocol.policy.tree import Path, Tree

_SENTENCES = {
    "string_type": "this must be text",
    "bool_type": "this must be true or false, without quotes",
    "int_type": "this must be a whole number",
    "list_type": "this must be a list, such as [one, two]",
    "dict_type": "this must be a mapping of names to values: 'NAME: …', without '- ' before it",
    "model_type": "this must be a mapping of fields to values",
    "model_attributes_type": "this must be a mapping of fields to values",
    "literal_error": "this must be {expected}",
    "enum": "this must be {expected}",
    "too_short": "this needs at least one item",
    "string_too_short": "this must not be empty",
    "string_too_long": "this is longer than {max_length} characters",
}


def problems_of(error: ValidationError, tree: Tree) -> list[Problem]:
    """Return the mistakes that pydantic found in the data of `tree`, one for each place."""
    reported = {problem.place for problem in tree.problems}
    found = [_problem(detail, tree) for detail in error.errors(include_url=False)]
    return [problem for problem in found if problem.place not in reported]


def _problem(detail: ErrorDetails, tree: Tree) -> Problem:
    # pydantic marks an error about a key of a mapping by one more part.
    about_key = detail["loc"][-1:] == ("[key]",)
    path: Path = detail["loc"][:-1] if about_key else detail["loc"]
    match detail["type"]:
        case "extra_forbidden":
            return Problem(tree.place(path, key=True), _unknown(path))
        case "missing":
            return Problem(tree.place(path[:-1], key=True), f"{path[-1]!r} is missing")
        case "value_error":
            context: Any = detail.get("ctx", {})
            return Problem(tree.place(path, key=about_key), str(context["error"]))
        case _:
            return Problem(tree.place(path), _sentence(detail))


def _sentence(detail: ErrorDetails) -> str:
    template = _SENTENCES.get(detail["type"])
    return template.format(**detail.get("ctx", {})) if template else detail["msg"]


def _unknown(path: Path) -> str:
    name = str(path[-1])
    known = _fields_at(path[:-1])
    near = nearest(name, known)
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(known)}"
    return f"unknown field {name[:40]!r}: {hint}"


def _fields_at(path: Path) -> list[str]:
    """Return the fields that the mapping at `path` may have."""
    model: type[BaseModel] = PolicyFile
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            found = _model_in(model.model_fields[part].annotation)
            model = found or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section in a field's type: in a list, in a mapping or by itself."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in reversed(get_args(annotation)))
    return next((model for model in found if model is not None), None)
