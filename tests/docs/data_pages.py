"""Reference pages of what the gateway says and reads: errors, metrics, policies."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from gateway.domain.errors import DENIALS
from gateway.protocol.policy.models import json_schema
from gateway.services.telemetry.traffic import Traffic
from tests.docs.markdown import code, table

Schema = Mapping[str, Any]

ERRORS = """\
What a refused caller gets, on the data listener:

```json
{"type": "error", "error": {"type": "permission_error", "code": "scope_denied", "message": "…",
 "param": null, "required_scope": "agents/support:chat"}, "request_id": "…"}
```

To callers of tools it is a JSON-RPC error with the same object in `data`; the admin listener
answers `application/problem+json`. The message of a refusal may say more than the sentence here. A
caller without the right secret gets `key_invalid`, whatever else is wrong with the key. If a retry
within a minute cannot succeed, the answer carries `x-should-retry: false`. Once an answer has
begun, a failure cuts the connection: a cut answer never looks whole.

"""
METRICS = """\
`/metrics` on the admin listener, for Prometheus: the sum over all workers, whichever answers. No
label holds what a caller sent. `process_…` describe one process; only a single worker has them.
`gateway_tasks` and `gateway_policies_revision` are told of each of several workers (`pid`, from 0).

"""
POLICIES = """\
Every `*.yaml` in the policies directory, merged. `policies/schema.json` is the same for editors;
[policies](../policies.md) explains with examples.

"""


def errors() -> str:
    rows = [
        (code(row.name), str(row.status), row.message, "yes" if row.retry else "no")
        for row in DENIALS.values()
    ]
    return ERRORS + table(("code", "status", "what happened, and what helps", "retry"), rows)


def metrics() -> str:
    rows = []
    for collector in Traffic()._registry._collector_to_names:
        if not isinstance(collector, MetricWrapperBase):
            continue
        for metric in collector.describe():
            name = metric.name + ("_total" if metric.type == "counter" else "")
            labels = ", ".join(map(code, collector._labelnames))
            rows.append((code(name), metric.type, labels, metric.documentation))
    return METRICS + table(("name", "type", "labels", "meaning"), sorted(rows))


def policies() -> str:
    whole = json_schema()
    text = POLICIES + _fields(whole)
    for name in dict.fromkeys(_refs(whole, whole)):
        section = whole["$defs"][name]
        if "properties" in section:
            told = f"{section['description']}\n\n" if "description" in section else ""
            text += f"\n## {_title(name)}\n\n{told}{_fields(section)}"
    return text


def _refs(schema: Any, whole: Schema) -> Iterator[str]:
    """The sections in the order in which a reader meets them."""
    if isinstance(schema, Mapping):
        if ref := schema.get("$ref"):
            name = str(ref).rpartition("/")[2]
            yield name
            yield from _refs(whole["$defs"][name], whole)
        for key, value in schema.items():
            if key != "$defs":
                yield from _refs(value, whole)
    elif isinstance(schema, list):
        for item in schema:
            yield from _refs(item, whole)


def _fields(section: Schema) -> str:
    required = section.get("required", ())
    rows = [
        (code(name), _type(field), "needed" if name in required else _default(field), _told(field))
        for name, field in section["properties"].items()
    ]
    return table(("field", "takes, such as", "default", "meaning"), rows)


def _type(schema: Schema) -> str:
    if ref := schema.get("$ref"):
        name = str(ref).rpartition("/")[2]
        section = json_schema()["$defs"][name]
        return f"[{_title(name)}](#{_title(name)})" if "properties" in section else _type(section)
    if several := schema.get("anyOf"):
        return " or ".join(_type(one) for one in several if one.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(code(one) for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    if isinstance(values[0], Mapping):
        return f"mapping: name to {_type(values[0])}"
    examples = [str(one) for one in schema.get("examples", ())]
    return " or ".join(map(code, examples[:2])) or str(schema.get("type", "anything"))


def _default(field: Schema) -> str:
    """Numbers are told in `meaning`, with their units."""
    default = field.get("default")
    return code(str(default).lower()) if isinstance(default, bool | str) else ""


def _told(field: Schema) -> str:
    return str(field.get("description", ""))


def _title(name: str) -> str:
    return name.removesuffix("Section").lower()
