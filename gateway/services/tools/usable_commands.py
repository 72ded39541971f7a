"""Whether the commands that policies make tools of are described as tools have to be."""

from gateway.domain.policies.problems import Problem
from gateway.domain.policies.snapshot import Policies

_NO_EXTRA = (
    "tools that are commands need a package that is not installed: "
    "pip install 'agent-credential-gateway[tools]'"
)


def unusable_commands(policies: Policies) -> tuple[Problem, ...]:
    """Commands whose arguments are not described by a JSON Schema, or that nothing can serve."""
    servers = [one for one in policies.tools.values() if one.tools.tools]
    if not servers:
        return ()
    try:
        # Imported late: it takes a second, and is an extra.
        from gateway.services.tools.command_server import schema_mistake
    except ImportError:
        return tuple(policies.problem(server, _NO_EXTRA) for server in servers)
    return tuple(
        policies.problem(server, f"{tool.name}: {mistake}")
        for server in servers
        for tool in server.tools.tools
        if (mistake := schema_mistake(tool.input))
    )
