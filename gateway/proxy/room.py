"""The connections of a listener, and room for new ones where there are as many as there may be."""

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # It holds the room that it is in.
    from gateway.proxy.client import ClientConnection

# Looking at ten thousand takes milliseconds, and whoever floods comes again at once.
FEW, PAUSE_SECONDS = 500, 0.05
# So many half requests of one address, and most of all connections, come about in no other way.
LEAST_CROWD = 64


class Connections(set["ClientConnection"]):
    def __init__(self) -> None:
        super().__init__()
        self._looks_again_at = float("-inf")

    def make_room(self) -> bool:
        """Close one that waits for a request, if there is one, or else a crowd; whether any was."""
        if monotonic() < self._looks_again_at:
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
        self._looks_again_at = monotonic() + PAUSE_SECONDS

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
