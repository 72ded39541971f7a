"""The values of policy files: how each is written, checked, and described to editors."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from gateway.domain import units
from gateway.domain.keys import limits, scopes
from gateway.domain.policies.cors import ANY_ORIGIN
from gateway.domain.policies.references import (
    NO_VARIABLE,
    OPEN,
    Reference,
    Template,
    is_variable,
    read,
)
from gateway.domain.policies.references import parse as parse_template
from gateway.domain.policies.routes import pattern_problem
from gateway.domain.policies.snapshot import PATH_ODDITIES, Upstream
from gateway.protocol.http.authority import parse_host
from gateway.protocol.http.header_names import is_reserved
from gateway.protocol.http.methods import METHODS
from gateway.protocol.policy.annotations import matching, one_of, written

NAME_PATTERN = f"^{scopes.NAME}$"
_DURATION_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h|d|w)$"
_AMOUNT_PATTERN = r"^[1-9][0-9]{0,9}/"
URL_PATTERN = "^[Hh][Tt][Tt][Pp][Ss]?://"
_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_PARAMETER = re.compile(r"(?<!\$)\{|/:")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
# The longest part of a DNS name between two dots.
_LONGEST_LABEL = 63
_DEFAULT_PORTS = {"http": 80, "https": 443}
# The message does not repeat what was written: a mistyped URL may hold a password.
_NO_URL = "this is not a URL such as http://127.0.0.1:9101 or https://agent.example.com/base"


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


def _upstream(text: str) -> Upstream:
    scheme, host, port, path = _url(text)
    bare = path.rstrip("/")
    if bare and (problem := pattern_problem(bare)):
        raise ValueError(f"the path of the upstream's URL: {problem}")
    if "*" in path or " " in path:
        raise ValueError("the path of the upstream's URL is taken as it stands, without '*'")
    return Upstream("https" if scheme == "https" else "http", host, port, quote(path, safe=_ASCII))


def _url(text: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path."""
    if OPEN in text:
        raise ValueError("no reference is resolved in a URL: 'inject' says where credentials go")
    # `urlsplit` drops control characters and leading blanks, which could lead to another host.
    if not text.isprintable() or text.startswith(" "):
        raise ValueError(_NO_URL)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(_NO_URL) from None
    authority = parts.netloc.rpartition("@")[2].encode("utf-8", "replace")
    if parts.scheme not in _DEFAULT_PORTS or port == 0 or parse_host(authority) is None:
        raise ValueError(_NO_URL)
    labels = (parts.hostname or "").removesuffix(".").split(".")
    if not all(0 < len(label) <= _LONGEST_LABEL for label in labels):
        raise ValueError(_NO_URL)
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError("this URL has no user, password, query or fragment")
    port = port or _DEFAULT_PORTS[parts.scheme]
    return parts.scheme, parts.hostname or "", port, parts.path


def _proxy(text: str) -> tuple[str, int]:
    scheme, host, port, path = _url(text)
    if scheme != "http" or path.strip("/"):
        raise ValueError("a proxy is written as http://host:port")
    return host, port


def _host(text: str) -> str:
    host = parse_host(text.encode("utf-8", "replace"))
    if "*" in text:
        raise ValueError(f"{text[:80]!r} is not a host name: no '*' is read, so name each host")
    if host is None or host != text.lower().strip("[]") or text.endswith("."):
        raise ValueError(f"{text[:80]!r} is not a host name without a port")
    return host


def _route_path(text: str) -> str:
    problem = pattern_problem(text)
    if problem:
        raise ValueError(problem)
    if _PARAMETER.search(text):
        # Taken as letters it would match nothing, and leave its requests to the lines below.
        raise ValueError("no parameters such as {id} or :id are read: write '*' for one segment")
    return text


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as problem:
        raise ValueError(f"{text[:60]!r} is not a network such as 10.0.0.0/8: {problem}") from None


def _origin(text: str) -> bytes:
    if text == "*":
        return ANY_ORIGIN
    scheme, mark, authority = text.lower().partition("://")
    host = authority.encode("ascii", "replace")
    if not (mark and _SCHEME.fullmatch(scheme)) or parse_host(host) is None:
        raise ValueError(
            "this is not an origin such as https://app.example.com or http://localhost:3000 "
            "(no path, no slash at the end), and not '*'"
        )
    # Browsers leave out the scheme's default port.
    default = f":{_DEFAULT_PORTS.get(scheme)}"
    return f"{scheme}://{authority.removesuffix(default)}".encode("ascii")


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
OriginText = Annotated[
    bytes, *written(_origin, r"^(\*|[A-Za-z][A-Za-z0-9+.-]*://[^/]+)$", "https://app.example.com")
]
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
UpstreamUrl = Annotated[Upstream, *written(_upstream, URL_PATTERN, "http://127.0.0.1:9101")]
ProxyUrl = Annotated[
    tuple[str, int], *written(_proxy, "^[Hh][Tt][Tt][Pp]://", "http://proxy.example.com:3128")
]
FilePath = Annotated[str, *written(_file, "", "certs/agent-ca.pem")]
WholePath = Annotated[str, *written(_whole_path, "^/", "/srv/tools")]
HostName = Annotated[str, *written(_host, "", "support.example.com")]
RoutePathText = Annotated[str, *written(_route_path, "^/", "/chat", "/files/**")]
Method = Annotated[str, *one_of(sorted(METHODS), ", ")]
NetworkText = Annotated[IPv4Network | IPv6Network, *written(_network, "", "10.0.0.0/8")]
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
