"""`gateway demo`: a gateway, two agents and a key, to try it with."""

import os
import shlex
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from gateway.cli.command import command
from gateway.cli.logs import configure
from gateway.cli.options import (
    default_state_dir,
    policies_option,
    read_address,
    setting,
    store_options,
)
from gateway.cli.secret_settings import read_peppers
from gateway.cli.vault_settings import read_vault
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.policies.plans import default_plan
from gateway.domain.policies.snapshot import Policies, Upstream
from gateway.domain.settings import LISTEN, Address, Settings, StoreSettings
from gateway.domain.units import DAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.app.foundation import Foundation
    from gateway.domain.keys.key import Key

_DEFAULT = click.core.ParameterSource.DEFAULT
AGENTS = ("echo", "chat")
# The ports that the demo's policies name.
AGENT_PORTS = (9101, 9102)
DRAIN_SECONDS = 2.0
_PACKAGE = Path(__file__).parents[1]
# The demo's own policies, in an installed gateway and in a clone of the repository.
OWN_POLICIES = (_PACKAGE / "demo" / "policies", _PACKAGE.parent / "policies")
NEXT_PORT = 9090

_TEXT = """
The gateway listens on http://{address}, in front of two agents. Your key for the next 24 hours:

export KEY={key}

Call the agent that echoes, and the one that streams:

curl -s http://{address}/agents/echo/hello -H "Authorization: Bearer $KEY"
curl -sN http://{address}/agents/chat/v1/chat/completions -H "Authorization: Bearer $KEY" \
-H 'Content-Type: application/json' -d '{{"model": "demo", "stream": true, \
"messages": [{{"role": "user", "content": "hello"}}]}}'

Revoke the key, with redis-cli or without; the next call is refused with 401 key_revoked:

{redis_cli} {revoke}
{gateway} redis -- {revoke}

Open the console at http://{admin}/console/ or use the admin API, with a key for everything:

export ADMIN_KEY={admin_key}
curl -sS http://{admin}/admin/v1/keys -H "Authorization: Bearer $ADMIN_KEY"

Ctrl-C ends the demo. Keys and revocations are kept in {kept_in}.
"""


@command("gateway demo", "gateway demo --listen 127.0.0.1:9090")
@setting(
    "--listen",
    metavar="ADDRESS",
    default=LISTEN,
    callback=read_address,
    help="Where the gateway listens; loopback only.",
)
@store_options
@policies_option
def demo(listen: Address, store: StoreSettings, policies: Path) -> None:
    """Start a gateway with two small agents and print a key for them."""
    if not listen.is_loopback:
        raise UsageError("The demo is for this machine only: listen on 127.0.0.1.")
    # Imported late: `gateway demo --help` must not pay for it.
    import uvloop

    from gateway.proxy.sockets import AddressTakenError

    configure("auto", "warning")
    settings = Settings(
        listen=listen,
        admin_listen=at_or_elsewhere(listen, listen.port + 1),
        policies=_policies(policies),
        store=store,
        peppers=read_peppers(store),
        vault=read_vault(store, (), lambda _: None, embedded=True),
        drain=DRAIN_SECONDS,
    )
    try:
        uvloop.run(_run(settings))
    except AddressTakenError:
        other = NEXT_PORT if listen.port != NEXT_PORT else NEXT_PORT + 1
        raise OperationError(
            f"Port {listen.port} is taken: choose another one, such as 'make run PORT={other}' "
            f"or 'gateway demo --listen {listen.host}:{other}'."
        ) from None
    click.echo("Stopped.")


def at_or_elsewhere(listen: Address, port: int) -> Address:
    """Return the address with `port`, which the docs name, or with any port if it is taken. If
    `listen` has port 0, so has the result."""
    if not listen.port:
        return listen
    with socket.socket(socket.AF_INET6 if ":" in listen.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, port))
        except (OSError, OverflowError):
            return Address(listen.host, 0)
    return Address(listen.host, port)


def _policies(given: Path) -> Path:
    """Return the demo's own policies if the gateway is tried in a directory without any."""
    is_named = click.get_current_context().get_parameter_source("policies") != _DEFAULT
    own = next((place for place in OWN_POLICIES if (place / "demo.yaml").is_file()), None)
    if is_named or given.is_dir() or own is None:
        return given
    click.echo(f"There is no {given}/ here, so the demo's own policies are used: {own}.", err=True)
    return own


async def _run(settings: Settings) -> None:
    from gateway.app import Gateway, run_gateway
    from gateway.demo.agents import demo_agents

    places = [at_or_elsewhere(settings.listen, port) for port in AGENT_PORTS]
    async with demo_agents(*places) as ports:

        def to_demo_agents(policies: Policies) -> Policies:
            return _with_upstreams(policies, ports)

        async def on_ready(gateway: Gateway, store: StoreSettings) -> None:
            made = await _make_keys(settings, gateway.base)
            addresses = gateway.data.address, gateway.admin.address
            embedded = settings.store.url is None
            click.echo(_explain(made, addresses, store, embedded=embedded))
            sys.stdout.flush()

        await run_gateway(settings, adapt=to_demo_agents, on_ready=on_ready)


def _with_upstreams(policies: Policies, ports: "Mapping[str, int]") -> Policies:
    """Replace the ports of the demo's agents by those on which they really listen."""
    agents = dict(policies.agents)
    for name, port in ports.items():
        if name in agents:
            upstreams = (Upstream("http", "127.0.0.1", port),)
            agents[name] = replace(agents[name], upstreams=upstreams)
    return replace(policies, agents=MappingProxyType(agents))


async def _make_keys(settings: Settings, base: "Foundation") -> "tuple[Key, Key]":
    """Make a key for the two agents and a key for the admin API."""
    from gateway.crypto.draw import draw
    from gateway.crypto.tags import Peppers
    from gateway.domain.keys.fields import KeyFields
    from gateway.services.audit.acts import Acts
    from gateway.services.keys.audited import AuditedKeys
    from gateway.services.keys.issue import Issuer

    acts = Acts(base.audit, "operator:demo")
    keys = AuditedKeys(base.client, settings.store.prefix, acts, lambda _: None)
    ends = await keys.now() + DAY
    fields = KeyFields(
        consumer="demo",
        scopes=tuple(f"agents/{name}" for name in AGENTS),
        plan=default_plan(base.policies().plans),
        expires_at=ends,
    )
    powers = KeyFields(consumer="demo", scopes=("gateway/admin",), plan="", expires_at=ends)
    issuer = Issuer(keys, Peppers(settings.peppers), draw)
    key = (await issuer.create(fields, "live", "demo")).key
    return key, (await issuer.create(powers, "live", "demo")).key


def _explain(
    made: "tuple[Key, Key]",
    addresses: tuple[Address, Address],
    store: StoreSettings,
    *,
    embedded: bool,
) -> str:
    key, admin_key = made
    address, admin = addresses
    return _TEXT.format(
        address=address,
        admin=admin,
        admin_key=admin_key.text,
        key=key.text,
        redis_cli=store.redis_cli,
        gateway=_surroundings(store, embedded=embedded) + _own_command(),
        revoke=f"HSET '{store.prefix}key:{{{key.id}}}' status revoked",
        kept_in=f"the private store in {_shortest(store.state_dir)}" if embedded else "your Redis",
    )


def _surroundings(store: StoreSettings, *, embedded: bool) -> str:
    """The environment variable with which a command in another terminal finds the same store."""
    url = store.url or ""
    if not embedded:
        return f"GATEWAY_REDIS_URL={shlex.quote(url)} " if store.url_is_public else ""
    if store.state_dir == default_state_dir(Path.cwd()):
        return ""
    return f"GATEWAY_STATE_DIR={shlex.quote(str(store.state_dir))} "


def _own_command() -> str:
    """How this program can be called again from the same directory."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m gateway"
    return shlex.quote(_shortest(program))


def _shortest(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
