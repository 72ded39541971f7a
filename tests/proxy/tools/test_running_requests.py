"""A call is cancelled by whoever made it, and by nobody else."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from gateway.domain.errors import Code, Denied
from gateway.domain.policies.services import Inject
from gateway.domain.policies.snapshot import Timeouts, ToolServer
from gateway.domain.policies.tools import Toolset, Transport
from gateway.protocol.mcp.rpc import Message
from gateway.protocol.secrets import Secrets
from gateway.proxy.tools.program_request import ProgramRequest
from gateway.proxy.tools.running_requests import RunningRequests


def call(
    message: dict[str, Any], key_id: str = "k1", user: str = "u1", server: str = "fc"
) -> ProgramRequest:
    tools = ToolServer(server, (), Timeouts(), 0, None, Inject(), Toolset(Transport.STDIO))
    unheard: set[bytes] = set()
    told = tools, message, key_id, user, "", (), Secrets(), (), "req_1"
    return ProgramRequest(*told, unheard.update)


def asked(request_id: object, **whose: str) -> ProgramRequest:
    return call({"jsonrpc": "2.0", "id": request_id, "method": "tools/call"}, **whose)


def back(request_id: object, **whose: str) -> ProgramRequest:
    params = {"requestId": request_id}
    return call({"method": "notifications/cancelled", "params": params}, **whose)


class Program:
    """Says one thing, then nothing until it is ended."""

    def __init__(self) -> None:
        self.ended = False

    async def says(self) -> AsyncGenerator[Message, None]:
        try:
            yield {"method": "notifications/message"}
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def all_of(messages: AsyncGenerator[Message, None]) -> list[Message]:
    async with aclosing(messages):
        return [message async for message in messages]


async def test_only_its_maker_takes_a_call_back() -> None:
    under_way, program = RunningRequests(), Program()
    waiting = asyncio.create_task(all_of(under_way.track(asked(1), program.says())))
    await asyncio.sleep(0)
    others = (back(1, key_id="k2"), back(1, user="u2"), back(1, server="other"))
    for stranger in (*others, back("1"), back(None), back([1])):
        under_way.cancel(stranger)
    under_way.cancel(call({"method": "notifications/cancelled"}))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    under_way.cancel(back(1))
    said = await waiting
    assert said[-1]["id"] == 1 and said[-1]["error"]["code"] == 499 and program.ended


async def test_of_two_calls_with_one_id_neither_is_taken_back() -> None:
    under_way = RunningRequests()
    programs = Program(), Program()
    waiting = [
        asyncio.create_task(all_of(under_way.track(asked(1), one.says()))) for one in programs
    ]
    await asyncio.sleep(0.05)
    under_way.cancel(back(1))
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    assert programs[0].ended and not programs[1].ended
    under_way.cancel(back(1))
    assert (await waiting[1])[-1]["error"]


async def test_whoever_stops_reading_has_ended_the_program() -> None:
    under_way, program = RunningRequests(), Program()
    told = under_way.track(asked(1), program.says())
    await anext(told)
    assert not program.ended
    await told.aclose()
    assert program.ended


async def test_calls_that_are_over_and_ids_of_none_leave_nothing_behind() -> None:
    async def says() -> AsyncGenerator[Message, None]:
        yield {}

    under_way, before = RunningRequests(), asyncio.all_tasks()
    for request_id in range(3):
        await all_of(under_way.track(asked(request_id), says()))
        under_way.cancel(back(request_id))
    await asyncio.sleep(0)
    assert not under_way._running
    assert asyncio.all_tasks() == before


async def test_what_a_program_fails_with_as_it_is_ended_is_told_to_nobody() -> None:
    """Not to the log either: it may hold what it was given."""

    async def fails() -> AsyncGenerator[Message, None]:
        try:
            await asyncio.Event().wait()
            yield {}
        finally:
            raise RuntimeError("a secret")

    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: said.append(about))
    under_way = RunningRequests()
    waiting = asyncio.create_task(all_of(under_way.track(asked(1), fails())))
    await asyncio.sleep(0)
    under_way.cancel(back(1))
    assert (await waiting)[-1]["error"]["code"] == 499
    gc.collect()
    await asyncio.sleep(0)
    assert said == []


async def test_what_fails_before_anything_was_said_is_a_refusal() -> None:
    async def fails() -> AsyncGenerator[Message, None]:
        raise Denied(Code.BUSY)
        yield {}

    with pytest.raises(Denied) as refused:
        await all_of(RunningRequests().track(asked("a"), fails()))
    assert refused.value.code is Code.BUSY


async def test_what_fails_later_is_the_response() -> None:
    async def fails() -> AsyncGenerator[Message, None]:
        yield {"method": "notifications/message"}
        raise Denied(Code.UPSTREAM_TIMEOUT, "It was late.")

    _, said = await all_of(RunningRequests().track(asked("a"), fails()))
    assert (said["id"], said["error"]["code"], said["error"]["message"]) == (
        "a",
        504,
        "It was late.",
    )
    assert said["error"]["data"]["error"]["code"] == "upstream_timeout"


async def test_a_cancellation_while_a_call_is_taken_back_is_not_lost() -> None:
    ended = asyncio.Event()

    async def slow_to_end() -> AsyncGenerator[Message, None]:
        try:
            await asyncio.Event().wait()
            yield {}
        finally:
            await ended.wait()

    under_way = RunningRequests()
    waiting = asyncio.create_task(all_of(under_way.track(asked(1), slow_to_end())))
    await asyncio.sleep(0)
    under_way.cancel(back(1))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.sleep(0.01)
    ended.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_a_program_fails_with_as_its_caller_leaves_is_told_to_nobody() -> None:
    left = asyncio.Event()

    async def fails() -> AsyncGenerator[Message, None]:
        await left.wait()
        raise RuntimeError("a secret")
        yield {}

    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: said.append(about))
    waiting = asyncio.create_task(all_of(RunningRequests().track(asked(1), fails())))
    await asyncio.sleep(0.01)
    left.set()
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    del waiting
    gc.collect()
    assert not said
