"""The connections of a listener, and room for new ones where there are as many as there may be."""

from collections import Counter
from collections.abc import Callable
from typing import Protocol, TypeVar

from gateway.protocol.http.upstream_request import Hop

# Looking at ten thousand takes milliseconds, and whoever floods comes again at once.
FEW, PAUSE_SECONDS = 500, 0.05
# So many half requests of one address, and most of all connections, come about in no other way.
LEAST_CROWD = 64


class Guest(Protocol):
    """`busy`: a request is answered on it, or on its way; `arriving`: half a head is there."""

    hop: Hop

    @property
    def busy(self) -> bool: ...

    @property
    def arriving(self) -> bool: ...

    def give_way(self) -> None:
        """Close, and soon."""

    def abort(self) -> None: ...


Who = TypeVar("Who", bound=Guest)


class Connections(set[Who]):
    """`clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._looks_again_at = float("-inf")

    def make_room(self) -> bool:
        """Close one that waits for a request, if there is one, or else a crowd; whether any was."""
        if self._clock() < self._looks_again_at:
            return False
        for looked_at, one in enumerate(self):
            if not one.busy:
                if looked_at > FEW:
                    self._pause()
                self.discard(one)
                one.give_way()
                return True
        self._pause()
        return self._scatter()

    def _pause(self) -> None:
        self._looks_again_at = self._clock() + PAUSE_SECONDS

    def _scatter(self) -> bool:
        """An address that has more than half of all places with half a request in each loses
        those: nobody else would come in any more."""
        coming = [one for one in self if one.arriving]
        for address, number in Counter(one.hop.peer for one in coming).most_common(1):
            if number < LEAST_CROWD or 2 * number <= len(self):
                return False
            for one in coming:
                if one.hop.peer == address:
                    self.discard(one)
                    one.abort()
        return bool(coming)
