"""How many requests wait for each agent: one that hangs must leave room for callers of others."""

from gateway.domain.errors import Code, Denied


class Waiting:
    """`most`: of requests to one agent whose answers have not begun."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.of: dict[str, int] = {}

    def begin(self, place: str) -> "Wait":
        """One more for the agent at `place`; Denied(busy) where as many wait as may."""
        if self.of.get(place, 0) >= self.most:
            raise Denied(
                Code.BUSY,
                "Too many requests wait for this agent. Try again in a second.",
                retry_after=1,
            )
        return Wait(self, place)


class Wait:
    """Of one request, until its `end`."""

    __slots__ = ("_place", "_waiting")

    def __init__(self, waiting: Waiting, place: str) -> None:
        self._waiting: Waiting | None = waiting
        self._place = place
        waiting.of[place] = waiting.of.get(place, 0) + 1

    def end(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        left = waiting.of.pop(self._place) - 1
        if left:
            # Agents come and go with the policies.
            waiting.of[self._place] = left
