"""`/admin/v1/log-level`: change how much the running workers log."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.admin.backend import Backend
from gateway.admin.fields import Span
from gateway.admin.routing import Answer, Call, Input, Routes
from gateway.domain.audit.events import Event
from gateway.domain.units import span

Level = Literal["debug", "info", "warning", "error"]
# A level raised to look into a problem is easily forgotten afterwards.
LONGEST = 30 * 86_400.0
ROUTES = Routes()
_EVENTS: Mapping[Level | None, Event] = MappingProxyType(
    {
        "debug": "log_level.debug",
        "info": "log_level.info",
        "warning": "log_level.warning",
        "error": "log_level.error",
        None: "log_level.forget",
    }
)


class LevelShape(BaseModel):
    """`level`: the level of the worker that answers; the others follow within a few seconds. `own`:
    the level it was started with."""

    level: str
    own: str


class LevelBody(Input):
    """`level`: null for the level that each worker was started with. `span`: how long it holds,
    such as `15m`; null: until the next change."""

    level: Level | None
    span: Annotated[Span, Field(max_length=20)] | None = None


def _shape(backend: Backend) -> Answer:
    return Answer(LevelShape(level=backend.log_level.current, own=backend.log_level.own))


@ROUTES.add("GET", "/log-level", ("read",), LevelShape)
async def show(backend: Backend, _: Call) -> Answer:
    """Show the log level."""
    return _shape(backend)


@ROUTES.add("PUT", "/log-level", (), LevelShape, LevelBody)
async def change(backend: Backend, call: Call) -> Answer:
    """Change the log level."""
    body: LevelBody = call.body
    await backend.acts(call.caller.actor).record(_EVENTS[body.level])
    if body.level is None:
        await backend.log_level.reset()
    else:
        seconds = None if body.span is None else int(min(max(span(body.span), 1.0), LONGEST))
        await backend.log_level.set(body.level, seconds)
    return _shape(backend)
