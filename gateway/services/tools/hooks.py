"""Hooks: the operator's own code around tool calls, found by name and run with a time limit.

A hook that fails or takes too long counts as a refusal: nothing is done, or shown.
"""

import asyncio
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.domain.errors import Code, Denied, OperationError
from gateway.domain.policies.problems import Problem
from gateway.domain.policies.snapshot import Policies
from gateway.domain.policies.tools import Hooks
from gateway.hooks import Answer, Call, Refused
from gateway.log import log
from gateway.protocol import strict_json
from gateway.tasks import retrieve_exception


def find(name: str) -> Any:
    """Return the async function `module:function`; OperationError says why it cannot be used."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - a module may do anything
        reason = type(problem).__name__
        raise OperationError(f"the hook {name!r} cannot be imported: {reason}") from None
    if not inspect.iscoroutinefunction(found):
        raise OperationError(f"the hook {name!r} is no async function")
    return found


def unusable_hooks(policies: Policies) -> tuple[Problem, ...]:
    """Return the hooks that do not exist."""
    problems = []
    for server in policies.tools.values():
        hooks = server.tools.hooks
        for name in (*hooks.before, *hooks.after):
            try:
                find(name)
            except OperationError as problem:
                problems.append(policies.problem(server, str(problem)))
    return tuple(problems)


async def run_before(hooks: Hooks, call: Call) -> Call:
    """Return the call to make, with the arguments that the hooks leave; Denied if one refuses."""
    for name in hooks.before:
        changed = await _run(name, hooks.seconds, call)
        if changed is not None:
            if not isinstance(changed, Mapping):
                raise _failed(name, "it returned no arguments")
            _check_json(name, changed)
            call = replace(call, arguments=dict(changed))
    return call


async def run_after(hooks: Hooks, call: Call, answer: Answer) -> Answer:
    """Return the answer to show; Denied if a hook refuses."""
    for name in hooks.after:
        changed = await _run(name, hooks.seconds, call, answer)
        if changed is not None:
            if not isinstance(changed, Answer) or (changed.result is None) == (
                changed.error is None
            ):
                raise _failed(name, "it returned no answer")
            _check_json(name, changed.result, changed.error)
            answer = changed
    return answer


async def _run(name: str, seconds: float, *given: Call | Answer) -> Any:
    # As a task of its own: otherwise its cancellations would count as the request's and vice versa,
    # and a hook that swallows one would be waited for.
    work = asyncio.create_task(_result(name, given))
    work.add_done_callback(retrieve_exception)
    try:
        await asyncio.wait({work}, timeout=seconds)
        if not work.done():
            raise _failed(name, f"it took longer than {seconds:g} s")
        if work.cancelled():
            raise _failed(name, "it was cancelled")
        return work.result()
    finally:
        work.cancel()


async def _result(name: str, given: tuple[Call | Answer, ...]) -> Any:
    try:
        return await find(name)(*given)
    except Refused as refused:
        raise Denied(Code.HOOK_REFUSED, str(refused)) from None
    except asyncio.CancelledError:
        raise
    except BaseException as problem:  # noqa: BLE001 - own code may raise anything
        # A KeyboardInterrupt that leaves a task ends the gateway. The text of a problem is not
        # told, because it may quote what the call held.
        raise _failed(name, type(problem).__name__) from None


def _check_json(name: str, *returned: Mapping[str, Any] | None) -> None:
    try:
        for one in returned:
            strict_json.encode(one)
    except (TypeError, ValueError, RecursionError):
        raise _failed(name, "what it returned cannot be written as JSON") from None


def _failed(name: str, reason: str) -> Denied:
    log.error("hook_failed", hook=name, reason=reason)
    said = "A rule that this call is subject to failed, so it is refused."
    return Denied(Code.INTERNAL, f"{said} Report the request id to the gateway's operator.")
