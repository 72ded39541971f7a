"""The values of policy files: how each is written, checked, and described to editors."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from gateway.domain import units
from gateway.domain.keys import limits, scopes
from gateway.domain.policies.references import (
    NO_VARIABLE,
    Reference,
    Template,
    is_variable,
    read,
)
from gateway.domain.policies.references import parse as parse_template
from gateway.domain.policies.routes import pattern_problem
from gateway.domain.policies.snapshot import PATH_ODDITIES
from gateway.protocol.http.header_names import is_reserved
from gateway.protocol.http.methods import METHODS
from gateway.protocol.policy.annotations import matching, one_of, written

NAME_PATTERN = f"^{scopes.NAME}$"
_DURATION_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h|d|w)$"
_AMOUNT_PATTERN = r"^[1-9][0-9]{0,9}/"
_PARAMETER = re.compile(r"(?<!\$)\{|/:")


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _name(text: str) -> str:
    if not scopes.is_name(text):
        raise ValueError(
            f"{text[:40]!r} is not a name: letters, digits and . _ -, the first a letter or digit"
        )
    return text


def _model_name(text: str) -> str:
    try:
        return _name(text)
    except ValueError as problem:
        advice = "the provider's own name goes into 'upstream_model'"
        raise ValueError(f"{problem}; {advice}") from None


def _duration(text: str) -> float:
    seconds = units.duration(text)
    if seconds <= 0:
        raise ValueError("a time of nothing would refuse everything: give more than 0")
    return seconds


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("this is not a size such as 1000, 512KB, 10MB or 1GiB")
    return units.size(str(value))


def _route_path(text: str) -> str:
    problem = pattern_problem(text)
    if problem:
        raise ValueError(problem)
    if _PARAMETER.search(text):
        # Taken as letters it would match nothing, and leave its requests to the lines below.
        raise ValueError("no parameters such as {id} or :id are read: write '*' for one segment")
    return text


_HEADER = r"[A-Za-z0-9!#$%&'+.^_`|~-]{1,128}"
_header = matching(
    _HEADER, "this is not the name of a header: name each one, '*' does not cover Authorization"
)
_plain_header = matching(
    _HEADER, "this is not the name of a header, such as Authorization or X-Api-Key"
)


def _injected_header(text: str) -> str:
    name = _plain_header(text)
    if is_reserved(name):
        raise ValueError(f"{name!r} is between the gateway and the service: it is set by itself")
    return name


def _header_template(text: str) -> Template:
    if not (text.isprintable() and text.isascii()):
        raise ValueError("this cannot be sent in a header: write it in printable ASCII")
    return parse_template(text)


def _whole_credential(text: str) -> Reference:
    template = parse_template(text)
    if len(template.parts) != 1 or not template.references or template.references[0].field:
        if is_variable(text):
            raise ValueError(NO_VARIABLE)
        raise ValueError("this names a whole credential, such as ${credentials.aws}")
    return template.references[0]


def _literal(value: Any) -> Any:
    """Return `value` with `$${` as the `${` that it stands for, in texts at any depth."""
    if isinstance(value, dict):
        return {name: _literal(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_literal(one) for one in value]
    if not isinstance(value, str):
        return value
    # What is wrong with a text is told of all texts in one place.
    template, _ = read(value)
    if template.references:
        raise ValueError(
            "no reference is resolved here: 'inject' and 'credential' say where credentials go; a "
            "literal '${' is '$${'"
        )
    return template.render(str)


def _argument(text: str) -> str:
    template = parse_template(text)
    if template.references:
        raise ValueError(
            "a command line is shown in the list of processes: put the value into 'inject', 'env'"
        )
    if "\0" in text or not text:
        raise ValueError("this cannot stand in a command line")
    return template.render(str)


_env_name = matching(
    r"[A-Za-z_][A-Za-z0-9_]{0,127}", "this is not the name of a variable: letters, digits and _"
)
_hook = matching(
    r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*",
    "own code is named as module:function, such as company.hooks:check",
)
_part_of_scope = matching(r"[a-z0-9][a-z0-9-]{0,63}", "this is a name such as eu-central-1 or s3")
_file = matching(r"[^\0]+", "this is not the path of a file")


def _whole_path(text: str) -> str:
    if not text.startswith("/") or "\0" in text or ".." in text.split("/"):
        raise ValueError("this is not a whole path such as /srv/tools")
    return text


def _quoted(value: Any) -> str:
    return ", without quotes" if isinstance(value, str) else ""


def _version(value: Any) -> Any:
    # In Python, true and 1.0 equal 1 as well.
    if type(value) is not int or value != 1:
        raise ValueError(f"the version of the format is 1{_quoted(value)}")
    return value


def _count(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= value <= limits.MAX_AMOUNT:
        raise ValueError(
            f"this must be a whole number of at least 1, at most {limits.MAX_AMOUNT}"
            + _quoted(value)
        )
    return value


Version = Annotated[Literal[1], BeforeValidator(_version)]
Name = Annotated[str, *written(_name, NAME_PATTERN, "support")]
ModelName = Annotated[str, *written(_model_name, NAME_PATTERN, "gpt-4")]
Duration = Annotated[float, *written(_duration, _DURATION_PATTERN, "2s", "10m")]
MaxAge = Annotated[float, *written(units.duration, _DURATION_PATTERN, "10m", "0s")]
HeaderName = Annotated[str, *written(_header, "", "Content-Type")]
InjectedHeader = Annotated[str, *written(_injected_header, "", "Authorization")]
HeaderText = Annotated[Template, *written(_header_template, "", "Bearer ${credentials.crm}")]
TemplateText = Annotated[Template, *written(parse_template, "", "${credentials.crm}")]
WholeCredential = Annotated[
    Reference, *written(_whole_credential, r"^\$\{(credentials|user)\.", "${credentials.aws}")
]
PartOfScope = Annotated[str, *written(_part_of_scope, "^[a-z0-9][a-z0-9-]*$", "eu-central-1")]
LiteralText = Annotated[str, AfterValidator(_literal)]
LiteralObject = Annotated[dict[str, Any], AfterValidator(_literal)]
ArgumentText = Annotated[str, *written(_argument, "", "--region", "{region}")]
EnvName = Annotated[str, *written(_env_name, "^[A-Za-z_][A-Za-z0-9_]*$", "GITHUB_TOKEN")]
HookName = Annotated[str, *written(_hook, "^[^:]+:[^:]+$", "company.hooks:check")]
FieldName = Annotated[str, Field(min_length=1, max_length=128)]
Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["10MB", "512KiB", 1000]}),
]
FilePath = Annotated[str, *written(_file, "", "certs/agent-ca.pem")]
WholePath = Annotated[str, *written(_whole_path, "^/", "/srv/tools")]
RoutePathText = Annotated[str, *written(_route_path, "^/", "/chat", "/files/**")]
Method = Annotated[str, *one_of(sorted(METHODS), ", ")]
Oddity = Annotated[str, *one_of(PATH_ODDITIES, " ")]
RateText = Annotated[limits.Rate, *written(limits.parse_rate, f"{_AMOUNT_PATTERN}[smhd]$", "10/s")]
QuotaText = Annotated[
    limits.Quota,
    *written(limits.parse_quota, f"{_AMOUNT_PATTERN}([smhd]|month)$", "10000/d", "200000/month"),
]
TokensText = Annotated[
    limits.Tokens, *written(limits.parse_tokens, f"{_AMOUNT_PATTERN}([smhd]|month)$", "100000/d")
]
Count = Annotated[
    int,
    BeforeValidator(_count),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": limits.MAX_AMOUNT}),
]
_one_or_more_quotas = (
    BeforeValidator(_one_or_more),
    AfterValidator(limits.one_a_window),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"{_AMOUNT_PATTERN}([smhd]|month)$"},
                {"type": "array", "items": {"type": "string"}},
            ],
            "examples": ["10000/d", ["10000/d", "200000/month"]],
        }
    ),
)
Quotas = Annotated[Sequence[QuotaText], *_one_or_more_quotas]
TokenQuotas = Annotated[Sequence[TokensText], *_one_or_more_quotas]
