"""The connections of a listener, and how room is made for a new one when there are too many."""

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

from gateway.tasks import Tasks

if TYPE_CHECKING:
    # It holds the room that it is in.
    from gateway.proxy.client import ClientConnection

# A search through 10,000 connections takes milliseconds, and a flooder comes back at once: after
# one that looked at more than FEW, no search is made for PAUSE_SECONDS.
FEW, PAUSE_SECONDS = 500, 0.05
# An attack, and nothing else, has so many half-received requests from one address, and more than
# half of all connections.
LEAST_CROWD = 64


class Connections(set["ClientConnection"]):
    """The open connections. `tasks`: what runs for them, and for callers who have left."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = Tasks()
        self._looks_again_at = float("-inf")

    def make_room(self) -> bool:
        """Close one idle connection, or else those of an address that holds most places with
        half-received requests. Return whether room was made."""
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
        return self._drop_crowd()

    def _pause(self) -> None:
        self._looks_again_at = monotonic() + PAUSE_SECONDS

    def _drop_crowd(self) -> bool:
        """Close the half-received requests of an address that holds more than half of all places
        with them: nobody else could connect any more. Return whether any was closed."""
        coming = [one for one in self if one.receiving_head]
        for address, number in Counter(one.hop.peer for one in coming).most_common(1):
            if number < LEAST_CROWD or 2 * number <= len(self):
                return False
            for one in coming:
                if one.hop.peer == address:
                    self.discard(one)
                    one.abort()
        return bool(coming)
