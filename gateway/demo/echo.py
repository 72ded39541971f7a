"""An agent that answers with the request it received, to show what the gateway let through."""

from aiohttp import StreamReader, web

MOST_ECHOED = 65_536


def agent() -> web.Application:
    made = web.Application()
    made.router.add_get("/health", _health)
    made.router.add_route("*", "/{path:.*}", _echo)
    return made


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _echo(request: web.Request) -> web.Response:
    path, _, query = request.raw_path.partition("?")
    body, length = await _read(request.content)
    return web.json_response(
        {
            "agent": "echo",
            "method": request.method,
            "path": path,
            "query": query,
            "headers": _headers(request),
            "body": body.decode("utf-8", "backslashreplace"),
            "body_bytes": length,
        }
    )


async def _read(content: StreamReader) -> tuple[bytes, int]:
    """Return the beginning of a body and its total length; only the beginning is kept in memory."""
    begun, length = b"", 0
    async for piece in content.iter_any():
        length += len(piece)
        begun += piece[: MOST_ECHOED - len(begun)]
    return begun, length


def _headers(request: web.Request) -> dict[str, str]:
    """Return the headers; values of a repeated name are joined with commas (RFC 9110 5.3)."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
