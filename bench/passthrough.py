"""The yardstick: a reverse proxy made of aiohttp's server and client, which checks nothing.

It is well tuned, so that beating it means something: uvloop, no router, no access log, unlimited
kept-alive connections, no cookies, no redirects, no decompression, no time limit; small answers are
one write, everything else is streamed.
"""

import argparse
import asyncio

import aiohttp
import uvloop
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

SMALL = 65_536
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding"}
)
_NOT_OURS = (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)


class Passthrough:
    """Sends each request to `upstream` and its answer back."""

    def __init__(self, session: aiohttp.ClientSession, upstream: str) -> None:
        self._session = session
        self._upstream = upstream

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = CIMultiDict(
            (name, value)
            for name, value in request.headers.items()
            if name.lower() not in _HOP_BY_HOP and name.lower() != "host"
        )
        async with self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            headers=headers,
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        ) as answer:
            return await _passed_on(request, answer)


async def _passed_on(
    request: web.BaseRequest, answer: aiohttp.ClientResponse
) -> web.StreamResponse:
    headers = CIMultiDict(
        (name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP
    )
    length = answer.content_length
    if length is not None and length <= SMALL:
        body = await answer.read()
        return web.Response(status=answer.status, headers=headers, body=body)
    response = web.StreamResponse(status=answer.status, headers=headers)
    if length is None:
        response.enable_chunked_encoding()
    await response.prepare(request)
    async for piece in answer.content.iter_any():
        await response.write(piece)
    await response.write_eof()
    return response


async def _serve(port: int, upstream: str) -> None:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=_NOT_OURS,
    )
    async with session:
        server = web.Server(Passthrough(session, upstream), access_log=None, auto_decompress=False)
        runner = web.ServerRunner(server)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("upstream")
    given = parser.parse_args()
    uvloop.run(_serve(given.port, given.upstream))
