"""Whether commands that policies declare as tools are described as MCP requires."""

from importlib import import_module

from gateway.domain.policies.problems import Problem
from gateway.domain.policies.snapshot import Policies

_NO_EXTRA = (
    "tools that are commands need a package that is not installed: "
    "pip install 'agent-credential-gateway[tools]'"
)


def unusable_commands(policies: Policies) -> tuple[Problem, ...]:
    """Return commands whose arguments have no valid JSON Schema, or that cannot be served."""
    servers = [one for one in policies.tools.values() if one.tools.tools]
    if not servers:
        return ()
    try:
        # Imported late: it takes a second, and is an extra. The first call finds it imported.
        import_module("gateway.services.tools.command_server")
        from gateway.services.tools.argument_schemas import schema_mistake
    except ImportError:
        return tuple(policies.problem(server, _NO_EXTRA) for server in servers)
    return tuple(
        policies.problem(server, f"{tool.name}: {mistake}")
        for server in servers
        for tool in server.tools.tools
        if (mistake := schema_mistake(tool.input))
    )
