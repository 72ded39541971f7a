"""OpenAPI 3.1, made of the routes themselves."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.admin.routing import PREFIX, Route

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
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def openapi(routes: Sequence[Route[Any]], version: str) -> dict[str, Any]:
    models: dict[type[BaseModel], None] = {}
    for route in routes:
        for model in (route.answer, route.body):
            if model is not None:
                models[model] = None
    names, schema = models_json_schema(
        [(model, "serialization") for model in models],
        ref_template=_SCHEMAS + "{model}",
    )
    references = {model: names[model, "serialization"] for model in models}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(
            route, references
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


def _operation(route: Route[Any], references: dict[type[BaseModel], Any]) -> dict[str, Any]:
    powers = " or ".join(f"`gateway/{power}`" for power in (*route.powers, "admin"))
    told: dict[str, Any] = {"description": "Done"}
    if route.answer is not None:
        told["content"] = {"application/json": {"schema": references[route.answer]}}
    problem = {
        "description": "Refused, or failed",
        "content": {"application/problem+json": {"schema": {"$ref": _SCHEMAS + "Problem"}}},
    }
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{route.path.replace('/', '_')}",
        "summary": route.summary,
        "description": f"For keys with {powers}.",
        "parameters": [*_parameters(route)],
        "responses": {str(route.status): told, "default": problem},
    }
    if route.body is not None:
        content = {"application/json": {"schema": references[route.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(route: Route[Any]) -> list[dict[str, Any]]:
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
