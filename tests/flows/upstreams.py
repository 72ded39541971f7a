"""Agents behind upstreams, in clear and over TLS."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web

from gateway.domain.policies.snapshot import ClientTls, Upstream
from tests.flows.world import listening

Reply = Callable[[web.Request], Any]


@asynccontextmanager
async def agent_app(reply: Reply, **how: Any) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", reply)
    async with listening(app, **how) as port:
        yield port


def named(name: str, *, kept: bool = True) -> Reply:
    async def reply(request: web.Request) -> web.Response:
        answer = web.Response(text=name)
        if not kept:
            answer.force_close()
        return answer

    return reply


def at(port: int, **fields: Any) -> Upstream:
    return Upstream("http", "127.0.0.1", port, **fields)


def files(folder: Path, authority: trustme.CA, name: str) -> ClientTls:
    """Certificate, key and authority of `name`, as files."""
    issued = authority.issue_cert(name)
    paths = [folder / f"{name}.{kind}.pem" for kind in ("ca", "cert", "key")]
    authority.cert_pem.write_to_path(str(paths[0]))
    issued.cert_chain_pems[0].write_to_path(str(paths[1]))
    issued.private_key_pem.write_to_path(str(paths[2]))
    return ClientTls(*map(str, paths))


def server_side(authority: trustme.CA, name: str, *, ask: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    if ask:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def secure(port: int, **fields: Any) -> Upstream:
    return Upstream("https", "localhost", port, **fields)
