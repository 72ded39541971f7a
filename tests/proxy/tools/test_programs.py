"""What a program says is read until whoever reads it is cancelled, and no further."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from typing import cast

import pytest

from gateway.domain.errors import Code, Denied
from gateway.protocol.mcp.rpc import Message
from gateway.proxy.tools import programs
from gateway.proxy.tools.mcp_exchange import McpExchange
from gateway.proxy.tools.programs import ProgramBody
from gateway.proxy.upstream.connection import CutError
from tests.stalling import stall


async def slow_to_end(ended: asyncio.Event) -> AsyncGenerator[Message, None]:
    try:
        await asyncio.Event().wait()
        yield {}
    finally:
        await ended.wait()


async def test_who_waits_for_a_program_that_says_nothing_is_given_signs_of_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(programs, "PING_SECONDS", 0.01)
    ended = asyncio.Event()

    async def silent() -> AsyncGenerator[Message, None]:
        await ended.wait()
        return
        yield

    body = ProgramBody(silent(), cast(McpExchange, None))
    for _ in range(3):
        assert await body.readany() == b": ping\n\n"
    assert not body.is_eof()
    ended.set()
    while await body.readany():
        pass
    assert body.at_eof()
    await body.close()


async def test_what_a_program_said_while_this_process_stalled_is_in_time() -> None:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    waiting = asyncio.Event()

    async def talking() -> AsyncGenerator[Message, None]:
        waiting.set()
        yield {"said": str(await reader.read(1))}

    body = ProgramBody(talking(), cast(McpExchange, None))
    with theirs:
        asked = asyncio.create_task(body.next_message(0.1))
        await waiting.wait()
        await stall(0.3, lambda: theirs.send(b"!"))
        assert await asked == {"said": "b'!'"}
        await body.close()
        writer.close()


async def test_what_is_ended_between_two_reads_says_nothing_more() -> None:
    async def talking() -> AsyncGenerator[Message, None]:
        yield {}

    body = ProgramBody(talking(), cast(McpExchange, None))
    body.refuse(Denied(Code.KEY_REVOKED))
    with pytest.raises(CutError):
        await body.readany()
    await body.close()


async def test_a_cancellation_while_a_program_is_ended_is_not_lost() -> None:
    ended = asyncio.Event()
    body = ProgramBody(slow_to_end(ended), cast(McpExchange, None))
    with pytest.raises(Denied):
        await body.next_message(0.01)
    closing = asyncio.create_task(body.close())
    await asyncio.sleep(0.01)
    closing.cancel()
    await asyncio.sleep(0.01)
    ended.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
