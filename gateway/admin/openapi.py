"""The OpenAPI 3.1 description, generated from the routes."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from gateway.admin.routing import PREFIX, Route, adapter

_SCHEMAS = "#/components/schemas/"
_PROBLEM = {
    "type": "object",
    "required": ["title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "required_scope": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def openapi(routes: Sequence[Route], version: str) -> dict[str, Any]:
    kinds = {kind: None for route in routes for kind in (route.answer, route.body) if kind}
    references, schema = TypeAdapter.json_schemas(
        [(kind, "serialization", adapter(kind)) for kind in kinds],
        ref_template=_SCHEMAS + "{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(
            route, {kind: found for (kind, _), found in references.items()}
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Agent credential gateway: admin API", "version": version},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": {**schema.get("$defs", {}), "Problem": _PROBLEM},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, references: Mapping[type, Any]) -> dict[str, Any]:
    powers = " or ".join(f"`gateway/{power}`" for power in (*route.powers, "admin"))
    answer = {route.media: {"schema": references[route.answer]}}
    success = {"description": "Done", "content": answer}
    problem = {
        "description": "Refused, or failed",
        "content": {"application/problem+json": {"schema": {"$ref": _SCHEMAS + "Problem"}}},
    }
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{route.path.replace('/', '_')}",
        "summary": route.summary,
        "description": f"For keys with {powers}.",
        "parameters": [*_parameters(route)],
        "responses": {str(route.status): success, "default": problem},
    }
    if route.body is not None:
        content = {"application/json": {"schema": references[route.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.parameters
    ]
    for name, schema in route.query.model_json_schema().get("properties", {}).items():
        found.append({"name": name, "in": "query", "required": False, "schema": schema})
    found += (
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        for name in route.headers
    )
    return found
