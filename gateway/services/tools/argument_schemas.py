"""JSON Schemas of tools' arguments: whether they are ones, and whether arguments fit.

Imported only if a policy has tools that are commands: the packages are an extra.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

import jsonschema
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema_specifications import REGISTRY as SPECIFICATIONS  # type: ignore[import-untyped]
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

LONGEST_REASON = 300
# Each item of an array that does not fit is a mistake: the best one among the first is reported.
MOST_MISTAKES = 64
# Even of `[a-z]+$` the time grows with the square of the length: here, a twentieth of a second.
LONGEST_MATCHED = 4_096
# A `$` that is an anchor, or (group 1) an escape or a class, in which `$` is none.
_ANCHOR = re.compile(r"(\\.|\[\^?\]?(?:\\.|[^\]\\])*\])|\$", re.DOTALL)


def misfit(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Return why `arguments` do not fit `schema`; empty if they do."""
    # With its `$schema`, a reference to the whole schema would be checked by the class it names.
    checked = {name: value for name, value in schema.items() if name != "$schema"}
    # Nothing is fetched, whatever a schema refers to.
    validator = _strict(_validator_for(schema))(checked, registry=Registry())
    try:
        problem = best_match(islice(validator.iter_errors(dict(arguments)), MOST_MISTAKES))
    except Unresolvable as unresolvable:
        return f"their schema refers to {unresolvable.ref!r}, which is not in it"
    except ValidationError as unmatched:
        return unmatched.message
    return "" if problem is None else f"{problem.json_path}: {problem.message[:LONGEST_REASON]}"


@cache
def _strict(kind: type[Validator]) -> type[Validator]:
    """Return `kind` with patterns as JSON Schema means them."""
    strict: type[Validator] = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        kind, {"pattern": _pattern}
    )
    return strict


def _pattern(
    _: Validator, pattern: str, value: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    r"""Yield a mistake if `value` does not match `pattern` as ECMAScript defines it; raise it if
    that is not tried: in a `not`, a mistake would let the text in.

    In Python `$` also matches before a line break at the end, and `\d` matches any digit of
    Unicode: `^[a-z]+$` would let a line break into a command line.

    A text that is too long is not matched: that may take time that grows with the length without
    bound, and holds up the whole process. Beyond `maxLength` it is refused anyway.
    """
    if not isinstance(value, str):
        return
    if len(value) <= schema.get("maxLength", LONGEST_MATCHED):
        ours = _ANCHOR.sub(lambda found: found[1] or r"\Z", pattern)
        if re.search(ours, value, re.ASCII) is None:
            yield ValidationError(f"{value!r} does not match {pattern!r}")
    elif "maxLength" not in schema:
        told = f"{value[:40]!r}… has more than {LONGEST_MATCHED} characters"
        raise ValidationError(f"{told}, the most for a 'pattern' without 'maxLength'")


def schema_mistake(schema: Mapping[str, Any]) -> str:
    """Return why `schema` is no JSON Schema of a tool's arguments; empty if it is one."""
    if schema.get("type") != "object":
        return "'input' describes an object: write 'type: object'"
    try:
        _validator_for(schema).check_schema(dict(schema))
    except SchemaError as problem:
        return f"'input' is no JSON Schema: {problem.json_path}: {problem.message[:LONGEST_REASON]}"
    except (AttributeError, TypeError, ValueError):
        # The package assumes that this is a URI.
        return "'input' is no JSON Schema: $['$schema'] is no URI"
    dialect = _validator_for(schema).META_SCHEMA["$schema"]
    root = specification_with(dialect, default=DRAFT202012).create_resource(schema)
    absent = _absent_reference(SPECIFICATIONS.resolver_with_root(root), root)
    return f"'input' refers to {absent!r}, which is not in it" if absent else ""


def _absent_reference(resolver: Any, schema: Resource[Any]) -> str:
    """Return a reference in `schema` that leads out of it or nowhere; empty if there is none."""
    if isinstance(schema.contents, Mapping):
        given = map(schema.contents.get, ("$ref", "$dynamicRef"))
        for reference in (one for one in given if isinstance(one, str)):
            try:
                resolver.lookup(reference)
            # The package takes each part of a pointer for one of a mapping or a list.
            except (Unresolvable, TypeError, ValueError):
                return reference
    below = (_absent_reference(resolver.in_subresource(one), one) for one in schema.subresources())
    return next(filter(None, below), "")


def _validator_for(schema: Mapping[str, Any]) -> Any:
    return jsonschema.validators.validator_for(dict(schema), jsonschema.Draft202012Validator)
