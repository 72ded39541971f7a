"""A service that echoes what was put into the call tells its caller nothing."""

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from tests.flows.raw import exchange as raw_exchange
from tests.flows.services import Backend, backend, keep, put, service
from tests.flows.tools import BOTH, call, tools
from tests.flows.world import World, new_world
from tests.services.vaults import Vault

SECRET = "s/cret+with=every&kind?of%sign"
INJECT = {"headers": {"X-Token": "${credentials.crm.value}"}}
MARKER = b"[redacted:crm]"


@pytest.fixture
async def world(world: World, there: Backend) -> World:
    await keep(world, Vault(world.client), "crm", "api_key", value=SECRET)
    put(world, service(there, inject=INJECT))
    return world


ENCODINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "base64": lambda s: base64.b64encode(f"Bearer {s}!".encode()).decode(),
    "url": lambda s: quote(s, safe=""),
    "hex": lambda s: s.encode().hex(),
    "json": lambda s: json.dumps({"said": s}),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kept", [True, False])
async def test_a_whole_answer_has_the_length_of_what_is_left(
    encoding: str, kept: bool, world: World, there: Backend
) -> None:
    async def echo(request: web.Request, body: bytes) -> web.Response:
        text = ENCODINGS[encoding](request.headers["X-Token"])
        return web.Response(text=f"<{text}>", headers={"X-Echo": text, f"X-{'e' * 9}": "kept"})

    there.answer = echo
    key = await world.issue("services/crm")
    for _ in range(2):
        answer = await world.call(key, "/services/crm/x")
        assert MARKER in answer.body and answer.body.startswith(b"<")
        assert answer.headers["Content-Length"] == str(len(answer.body))
        assert MARKER.decode() in answer.headers["X-Echo"] and answer.headers["X-eeeeeeeee"]
        for form in (SECRET, *(encode(SECRET) for encode in ENCODINGS.values())):
            assert form.encode() not in answer.body and form not in answer.headers["X-Echo"]


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_pair_that_is_sent_in_base64_does_not_come_back_in_another_spelling_of_that(
    encoding: str, world: World, there: Backend
) -> None:
    async def echo(request: web.Request, body: bytes) -> web.Response:
        sent = request.headers["Authorization"].removeprefix("Basic ")
        return web.Response(text=ENCODINGS[encoding](sent))

    there.answer = echo
    await keep(world, Vault(world.client), "pair", "basic", username="tom", password="p4ss:word")
    put(world, service(there, inject={"credential": "${credentials.pair}"}))
    answer = await world.call(await world.issue("services/crm"), "/services/crm/x")
    sent = there.last.headers["authorization"][0].removeprefix("Basic ")
    assert b"[redacted:pair]" in answer.body
    assert ENCODINGS[encoding](sent)[8:-8].encode() not in answer.body


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("length", [True, False])
async def test_a_streamed_answer_is_searched_across_its_pieces(
    size: int, length: bool, world: World, there: Backend
) -> None:
    text = f"begin {SECRET} middle {SECRET.encode().hex()} end".encode() * 3
    expected = text.replace(SECRET.encode(), MARKER).replace(SECRET.encode().hex().encode(), MARKER)

    async def drip(request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        if length:
            response.content_length = len(text)
        await response.prepare(request)
        for at in range(0, len(text), size):
            await response.write(text[at : at + size])
            if at % 10 == 0:
                await asyncio.sleep(0)
        return response

    there.answer = drip
    key = await world.issue("services/crm")
    answer = await world.call(key, "/services/crm/x")
    assert answer.body == expected


async def test_an_echo_is_not_had_in_parts_that_hold_half_a_secret_each(
    world: World, there: Backend
) -> None:
    async def part(request: web.Request, body: bytes) -> web.Response:
        text = f"<{request.headers.get('X-Token', 'a whole text that holds nothing')}>".encode()
        asked = request.http_range
        return web.Response(body=text[asked], status=200 if asked == slice(None, None, 1) else 206)

    there.answer = part
    key = await world.issue("services/crm")
    for half in ("bytes=0-12", "bytes=13-"):
        headers = {"Range": half, "If-Range": '"v1"'}
        answer = await world.call(key, "/services/crm/x", headers=headers)
        assert (answer.status, answer.body) == (200, b"<[redacted:crm]>")
        assert not {"range", "if-range"} & there.last.headers.keys()
    put(world, service(there))
    answer = await world.call(key, "/services/crm/x", headers={"Range": "bytes=1-7"})
    assert (answer.status, answer.body) == (206, b"a whole")


@pytest.mark.parametrize("piece", [40, 10_000])
async def test_what_is_folded_at_some_width_is_found_across_its_lines(
    piece: int, world: World, there: Backend
) -> None:
    text = (
        base64.encodebytes(b"x" * 51 + SECRET.encode())
        + f"{SECRET[:9]}\r\n{SECRET[9:]}.\n".encode()
    )

    async def fold(request: web.Request, body: bytes) -> web.StreamResponse:
        if piece > len(text):
            return web.Response(body=text)
        response = web.StreamResponse()
        await response.prepare(request)
        for at in range(0, len(text), piece):
            await response.write(text[at : at + piece])
            await asyncio.sleep(0.01)
        return response

    there.answer = fold
    answer = await world.call(await world.issue("services/crm"), "/services/crm/x")
    assert answer.body == b"eHh4" * 17 + MARKER + b"\n" + MARKER + b".\n"


async def test_what_holds_no_secret_is_passed_on_byte_for_byte(
    world: World, there: Backend
) -> None:
    text = bytes(range(256)) * 20_000

    async def much(request: web.Request, body: bytes) -> web.Response:
        return web.Response(body=text)

    there.answer = much
    key = await world.issue("services/crm")
    assert (await world.call(key, "/services/crm/x")).body == text
    answer = await world.call(key, "/services/crm/x", "HEAD")
    assert answer.headers["Content-Length"] == str(len(text))


async def test_an_event_is_passed_on_as_soon_as_it_is_there(world: World, there: Backend) -> None:
    go_on = asyncio.Event()

    async def events(request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {SECRET}\n\n".encode())
        await go_on.wait()
        await response.write(b"data: more\n\n")
        return response

    there.answer = events
    key = await world.issue("services/crm")
    headers = {"Authorization": f"Bearer {key.text}"}
    async with world.session.get(f"{world.url}/services/crm/x", headers=headers) as answer:
        async with asyncio.timeout(10):
            first = await answer.content.readuntil(b"\n\n")
        assert first == b"data: [redacted:crm]\n\n"
        go_on.set()
        assert await answer.content.read() == b"data: more\n\n"


async def test_a_stream_and_later_calls_show_no_value_that_a_rotation_parts_from_them(
    world: World, there: Backend
) -> None:
    """The server tells all who listen of each call, and each call of the one before."""
    listeners: list[asyncio.Queue[str]] = []
    told, tool = "nothing", {"jsonrpc": "2.0", "method": "notifications/message"}

    async def remember(request: web.Request, body: bytes) -> web.StreamResponse:
        nonlocal told
        if request.method == "GET":
            queue: asyncio.Queue[str] = asyncio.Queue()
            listeners.append(queue)
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            while True:
                event = json.dumps({**tool, "params": {"data": await queue.get()}})
                await response.write(f"data: {event}\n\n".encode())
        for queue in listeners:
            queue.put_nowait(request.headers["X-Token"])
        before, told = told, request.headers["X-Token"]
        return web.json_response({"jsonrpc": "2.0", "id": 7, "result": {"before": before}})

    there.answer = remember
    put(world, service(there, inject=INJECT) + tools(f"{there.url}/mcp", inject=INJECT)[11:])
    key = await world.issue("services/crm", "tools/fc")
    headers = {"Authorization": f"Bearer {key.text}", "Accept": "text/event-stream"}
    vault = Vault(world.client)
    for path, first in (("/services/crm/x", 2), ("/tools/fc/mcp", 6)):
        listeners.clear()
        async with world.session.get(world.url + path, headers=headers) as stream:
            for number in range(first, first + 4):
                value = f"value-number-{number}-of-crm"
                await keep(world, vault, "crm", "api_key", number, value=value)
                sent = json.dumps(call("x")).encode()
                answer = await world.call(key, path, "POST", BOTH, sent)
                assert answer.json["result"]["before"] in ("[redacted:crm]", "nothing")
                assert there.last.headers["x-token"] == [value]
                async with asyncio.timeout(10):
                    event = await stream.content.readuntil(b"\n\n")
                assert b"[redacted:crm]" in event and b"value" not in event


@pytest.mark.parametrize("path", ["/services/crm/x", "/tools/fc/mcp"])
async def test_a_stream_shows_no_value_that_another_worker_has_put_in_since(
    path: str, store: Any, client: Any
) -> None:
    listener: asyncio.Queue[str] = asyncio.Queue()

    async def tell(request: web.Request, body: bytes) -> web.StreamResponse:
        if request.method == "GET":
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            while True:
                event = {"jsonrpc": "2.0", "method": "x", "params": {"data": await listener.get()}}
                await response.write(f"data: {json.dumps(event)}\n\n".encode())
        listener.put_nowait(request.headers["X-Token"])
        return web.json_response({"jsonrpc": "2.0", "id": 7, "result": {}})

    async with new_world(store, client, gateways=2) as world, backend() as there:
        there.answer, vault = tell, Vault(world.client)
        await keep(world, vault, "crm", "api_key", value="value-number-1")
        put(world, service(there, inject=INJECT) + tools(f"{there.url}/mcp", inject=INJECT)[11:])
        key = await world.issue("services/crm", "tools/fc")
        headers = {"Authorization": f"Bearer {key.text}", "Accept": "text/event-stream"}
        async with world.session.get(world.url + path, headers=headers) as stream:
            await keep(world, vault, "crm", "api_key", 2, value="value-number-2")
            await world.gateways[1].base.credentials.check()
            sent = json.dumps(call("x")).encode()
            assert (await world.call(key, path, "POST", BOTH, sent, gateway=1)).status == 200
            assert there.last.headers["x-token"] == ["value-number-2"]
            async with asyncio.timeout(10):
                event = await stream.content.readuntil(b"\n\n")
            assert b"[redacted:crm]" in event and b"value" not in event


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [3, 100_000])
async def test_what_is_compressed_unasked_is_opened_and_searched(
    coding: str, size: int, world: World, there: Backend
) -> None:
    text = b"x" * 300_000 + SECRET.encode() + b"y" * 300_000

    async def compressed(request: web.Request, body: bytes) -> web.StreamResponse:
        assert request.headers.getall("Accept-Encoding") == ["identity"]
        packed = gzip.compress(text) if coding == "gzip" else zlib.compress(text)
        response = web.StreamResponse(headers={"Content-Encoding": coding})
        await response.prepare(request)
        for at in range(0, len(packed), size):
            await response.write(packed[at : at + size])
        return response

    there.answer = compressed
    key = await world.issue("services/crm")
    answer = await world.call(
        key, "/services/crm/x", headers={"Accept-Encoding": "gzip, br, deflate"}
    )
    assert "Content-Encoding" not in answer.headers
    assert answer.body == text.replace(SECRET.encode(), MARKER)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip"])
async def test_what_cannot_be_opened_is_not_passed_on(
    coding: str, world: World, there: Backend
) -> None:
    async def compressed(request: web.Request, body: bytes) -> web.Response:
        return web.Response(body=b"who knows", headers={"Content-Encoding": coding})

    there.answer = compressed
    answer = await world.call(await world.issue("services/crm"), "/services/crm/x")
    assert (answer.status, answer.code) == (502, "upstream_protocol")


@pytest.mark.parametrize("packed", [gzip.compress(b"z" * 100_000)[:-9], b"no gzip at all" * 9])
async def test_a_compressed_answer_that_is_cut_never_looks_whole(
    packed: bytes, world: World, there: Backend
) -> None:
    async def cut(request: web.Request, body: bytes) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    there.answer = cut
    key = await world.issue("services/crm")
    try:
        answer = await world.call(key, "/services/crm/x")
    except aiohttp.ClientError:
        return
    assert (answer.status, answer.code) == (502, "upstream_protocol")


async def test_a_caller_without_chunks_gets_the_answer_until_its_connection_ends(
    world: World, there: Backend
) -> None:
    async def echo(request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(3):
            await response.write(f"said {SECRET};".encode())
            await asyncio.sleep(0.01)
        return response

    there.answer = echo
    key = await world.issue("services/crm")
    request = f"GET /services/crm/x HTTP/1.0\r\nX-API-Key: {key.text}\r\n\r\n"
    answer = await raw_exchange(world.address, request.encode())
    assert answer.body == b"said [redacted:crm];" * 3
    assert "Transfer-Encoding" not in answer.headers
