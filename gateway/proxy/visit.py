"""What is noted of a request while it is served."""

from gateway.domain.errors import Denied
from gateway.domain.traffic import Handled
from gateway.proxy.exchange import Exchange


class Visit:
    """`began` in monotonic seconds. `unseen`: a health check, which nobody wants to count."""

    __slots__ = ("admitted", "agent", "began", "code", "consumer", "key_id", "request_id", "unseen")

    def __init__(self, request_id: str, began: float) -> None:
        self.request_id = request_id
        self.began = began
        self.admitted: float | None = None
        self.agent = ""
        self.key_id = ""
        self.consumer = ""
        self.code = ""
        self.unseen = False

    def refused(self, denied: Denied) -> None:
        self.code = denied.denial.name
        if denied.key_id:
            self.key_id, self.consumer = denied.key_id, denied.consumer

    def handled(self, exchange: Exchange, now: float, at: float) -> Handled:
        """All that is known at its end: `now` in monotonic, `at` in Unix seconds."""
        answered = exchange.answered_at
        return Handled(
            at,
            self.request_id,
            exchange.method,
            exchange.message.path.partition("?")[0],
            self.agent,
            self.key_id,
            self.consumer,
            exchange.status,
            self.code,
            exchange.cut,
            exchange.received,
            exchange.sent,
            None if self.admitted is None else self.admitted - self.began,
            None if answered is None else answered - self.began,
            now - self.began,
        )


def unreadable(request_id: str, denied: Denied, *, sent: int, at: float) -> Handled:
    """Of what was no request: nothing but how it was refused."""
    row = denied.denial
    return Handled(
        at=at,
        request_id=request_id,
        method="",
        path="",
        agent="",
        key_id="",
        consumer="",
        status=row.status,
        code=row.name,
        cut=False,
        received=0,
        sent=sent,
        admission=None,
        first_byte=None,
        total=0.0,
    )
