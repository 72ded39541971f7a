"""Own code around calls of tools, as an operator would write it."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from gateway.hooks import Answer, Call, Refused

seen: list[Call] = []


async def look(call: Call) -> None:
    seen.append(call)


async def only_europe(call: Call) -> dict[str, Any] | None:
    if call.arguments.get("region") == "us":
        raise Refused("Functions are called in Europe only.")
    if "region" in call.arguments:
        return None
    return {**call.arguments, "region": "eu"}


async def broken(call: Call) -> None:
    raise ValueError(str(call.arguments))


async def endless(call: Call) -> None:
    await asyncio.sleep(3600)


async def cancelled(call: Call) -> None:
    raise asyncio.CancelledError


async def exits(call: Call) -> None:
    raise SystemExit(1)


async def interrupts(call: Call) -> None:
    raise KeyboardInterrupt(str(call.arguments))


async def groups(call: Call) -> None:
    raise BaseExceptionGroup(str(call.arguments), [asyncio.CancelledError()])


async def stubborn(call: Call) -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    await asyncio.sleep(3600)


async def stamp(call: Call, answer: Answer) -> Answer | None:
    if answer.result is None:
        return None
    note = {"type": "text", "text": f"stamped {call.tool}"}
    return replace(answer, result={**answer.result, "content": [*answer.result["content"], note]})


async def withhold(call: Call, answer: Answer) -> None:
    raise Refused("This answer is not for you.")


async def break_after(call: Call, answer: Answer) -> None:
    raise KeyError(str(answer.result))


async def no_json(call: Call) -> dict[str, Any]:
    return {"regions": {"eu"}}


async def pairs(call: Call) -> list[tuple[str, str]]:
    return [("region", "eu")]


async def pass_on(call: Call, answer: Answer) -> None:
    return None


async def fail(call: Call, answer: Answer) -> Answer:
    return Answer(error={"code": 7, "message": "Not in Europe."})


async def bare(call: Call, answer: Answer) -> object:
    return answer.result


async def both(call: Call, answer: Answer) -> Answer:
    return replace(answer, error={"code": 7, "message": "Not in Europe."})


async def no_json_after(call: Call, answer: Answer) -> Answer:
    return Answer(result={"content": [{"eu"}]})


def not_async(call: Call) -> None:
    return None
