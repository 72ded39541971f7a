"""`gateway policy show` and `schema`."""

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import click

from gateway.cli.command import command
from gateway.cli.keys.facts import limit_facts
from gateway.cli.options import (
    json_already_option,
    json_option,
    policies_option,
)
from gateway.cli.output import print_json, print_table
from gateway.cli.policies.loaded import loaded_policies
from gateway.domain.policies.cors import Cors
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.snapshot import Agent, Callee, Model, Policies, Service, ToolServer
from gateway.protocol.policy.models import json_schema

Row = tuple[str, ...]

_AGENT_COLUMNS = ("AGENT", "UPSTREAM", "HOSTS", "ROUTES", "WRITTEN AT")
_TOOLS_COLUMNS = ("TOOLS", "TRANSPORT", "REACHED AT", "CREDENTIALS", "WRITTEN AT")
_PLAN_COLUMNS = ("PLAN", "LIMITS", "AT SINGLE AGENTS", "WRITTEN AT")


@command("gateway policy show --json")
@json_option
@policies_option
def show(policies: Path, as_json: bool) -> None:
    """Show the merged policies, and where each entry is written."""
    found = loaded_policies(policies)
    if as_json:
        print_json(_whole(found))
        return
    tables = [(columns, list(rows)) for columns, rows in _tables(found)]
    for number, (columns, rows) in enumerate(table for table in tables if table[1]):
        if number:
            click.echo()
        print_table(columns, rows)


@command("gateway policy schema > policies/schema.json")
@json_already_option
def schema() -> None:
    """Print the JSON Schema of a policy file, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))


def _whole(found: Policies) -> dict[str, object]:
    return {
        "revision": found.revision,
        "agents": [_agent(found, agent) for agent in found.agents.values()],
        "services": [_service(found, service) for service in found.services.values()],
        "models": [_model(found, model) for model in found.models.values()],
        "tools": [_tools(found, tools) for tools in found.tools.values()],
        "plans": [
            {
                "name": plan.name,
                **limit_facts(plan.limits),
                "agents": {name: limit_facts(own) for name, own in plan.agents.items()},
                "enforce": plan.enforced,
                "origin": _origin(found, "plans", plan.name),
            }
            for plan in found.plans.values()
        ],
        "trusted_proxies": [str(network) for network in found.trusted_proxies],
    }


def _agent(found: Policies, agent: Agent) -> dict[str, object]:
    routes = None if agent.routes is None else [str(route) for route in agent.routes]
    return {
        **_facts(agent, hosts=list(agent.hosts), routes=routes),
        "preserve_host": agent.preserve_host,
        "allowed_oddities": sorted(agent.allowed_oddities),
        "origin": _origin(found, agent.kind, agent.name),
        "cors": _cors(agent.cors),
    }


def _facts(callee: Callee, **own: object) -> dict[str, object]:
    return {
        "name": callee.name,
        "upstreams": [str(upstream) for upstream in callee.upstreams],
        **own,
        "timeouts": asdict(callee.timeouts),
        "max_body": callee.max_body,
    }


def _cors(cors: Cors | None) -> dict[str, object] | None:
    if cors is None:
        return None
    return {
        "origins": sorted(origin.decode() for origin in cors.origins),
        "headers": list(cors.headers),
        "credentials": cors.credentials,
        "max_age": cors.max_age,
    }


def _tables(found: Policies) -> Iterator[tuple[Row, Iterable[Row]]]:
    """Yield the columns and the rows of each table."""
    yield _AGENT_COLUMNS, (_agent_row(found, agent) for agent in found.agents.values())
    for title, outbound in (("SERVICE", found.services), ("MODEL", found.models)):
        columns = (title, "UPSTREAM", "CREDENTIALS", "WRITTEN AT")
        yield columns, (_outbound_row(found, one) for one in outbound.values())
    yield _TOOLS_COLUMNS, (_tools_row(found, one) for one in found.tools.values())
    yield _PLAN_COLUMNS, (_plan_row(found, plan) for plan in found.plans.values())


def _agent_row(found: Policies, agent: Agent) -> Row:
    upstreams, hosts = " ".join(map(str, agent.upstreams)), " ".join(agent.hosts)
    return agent.name, upstreams, hosts, _routes(agent), _origin(found, "agents", agent.name)


def _plan_row(found: Policies, plan: Plan) -> Row:
    limits = (str(plan.limits) or "none") + ("" if plan.enforced else " (not enforced)")
    own = "; ".join(f"{name}: {there}" for name, there in plan.agents.items())
    return plan.name, limits, own, _origin(found, "plans", plan.name)


def _outbound_row(found: Policies, one: Service | Model) -> Row:
    upstreams = " ".join(map(str, one.upstreams))
    return one.name, upstreams, " ".join(_needed(one)), _origin(found, one.kind, one.name)


def _service(found: Policies, service: Service) -> dict[str, object]:
    inject = service.inject
    return {
        **_facts(service),
        "allowed_oddities": sorted(service.allowed_oddities),
        "origin": _origin(found, service.kind, service.name),
        "credentials": _needed(service),
        "inject": _names(headers=inject.headers, query=inject.query, body=inject.body),
        "sign": inject.sign.scheme.value if inject.sign else None,
    }


def _model(found: Policies, model: Model) -> dict[str, object]:
    return {
        **_facts(model),
        "origin": _origin(found, model.kind, model.name),
        "credentials": _needed(model),
        "dialect": model.dialect.value,
        "fallback": list(model.fallback),
    }


def _tools_row(found: Policies, one: ToolServer) -> Row:
    needed, origin = " ".join(_needed(one)), _origin(found, "tools", one.name)
    return one.name, one.tools.transport.value, _reached(one), needed, origin


def _reached(one: ToolServer) -> str:
    """Return the URL, the command line of the server, or the names of the tools."""
    if one.upstreams:
        return " ".join(map(str, one.upstreams))
    return shlex.join(one.tools.command) or " ".join(tool.name for tool in one.tools.tools)


def _tools(found: Policies, one: ToolServer) -> dict[str, object]:
    inject, tools = one.inject, one.tools
    return {
        **_facts(one),
        "origin": _origin(found, one.kind, one.name),
        "transport": tools.transport.value,
        "command": list(tools.command),
        "tools": [{"name": tool.name, "argv": list(tool.argv)} for tool in tools.tools],
        "credentials": _needed(one),
        "inject": _names(
            headers=inject.headers,
            query=inject.query,
            arguments=inject.arguments,
            env=inject.env,
        ),
        "hooks": {"before": list(tools.hooks.before), "after": list(tools.hooks.after)},
        "origins": sorted(origin.decode() for origin in tools.origins),
    }


def _names(**injected: Iterable[tuple[str, object]]) -> dict[str, list[str]]:
    """Return the names of what is injected, never the values."""
    return {where: [name for name, _ in pairs] for where, pairs in injected.items()}


def _needed(one: Service | Model | ToolServer) -> list[str]:
    """Return the credential references as they are written."""
    return [str(reference) for reference in one.inject.references]


def _routes(agent: Agent) -> str:
    if agent.routes is None:
        return "every path"
    return "; ".join(str(route) for route in agent.routes)


def _origin(found: Policies, section: str, name: str) -> str:
    return str(found.origins.get(f"{section}/{name}", ""))
