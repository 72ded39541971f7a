"""The events of audit records, each a noun and a verb."""

from typing import Final, Literal, get_args

from gateway.domain.nearest import nearest

Event = Literal[
    "audit.end",
    "canary.credential",
    "canary.key",
    "credential.delete",
    "credential.read",
    "credential.reflected",
    "credential.rewrap",
    "credential.rotate",
    "credential.set",
    "credential.token",
    "credential.use",
    "key.create",
    "key.delete",
    "key.disable",
    "key.enable",
    "key.export",
    "key.import",
    "key.revoke",
    "key.rotate",
    "key.update",
    "log_level.debug",
    "log_level.error",
    "log_level.forget",
    "log_level.info",
    "log_level.warning",
    "policies.reload",
    "request.denied",
    "request.shadow",
    "tool.call",
    "tool.result",
    "user.link",
    "user.unlink",
]
EVENTS: Final[tuple[Event, ...]] = get_args(Event)
# Suffix of an event filter that matches every event with this first word.
ANY = ".*"
EVENT_FILTERS: Final = (*EVENTS, *sorted({one.partition(".")[0] + ANY for one in EVENTS}))


def event_filter(asked: str) -> str:
    """Return `asked`; ValueError if no event can pass this filter."""
    if asked in EVENT_FILTERS:
        return asked
    near = nearest(asked, EVENT_FILTERS)
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(EVENT_FILTERS)}"
    raise ValueError(f"there is no event {asked!r}: {hint}")
