"""What a process believes of all keys that it has seen: a bounded memory, the oldest go first."""

from collections import OrderedDict

from gateway.services.admission.belief import Belief, Door
from gateway.services.admission.locate import Located
from gateway.store.admission import Admission

# A belief with one door takes 2 KB, each further door 1.1 KB: 130 MB in all.
MOST_DOORS = 65_536


class Beliefs:
    """By the digest of what a request carries. Each belief has at least one door that was asked
    for, so that a bound on doors is one on beliefs too."""

    def __init__(self, admission: Admission, most_doors: int = MOST_DOORS) -> None:
        self._admission = admission
        self._most_doors = most_doors
        self._kept: OrderedDict[bytes, Belief] = OrderedDict()
        # Since they were last counted; what has been forgotten is still among them.
        self._opened = 0

    def get(self, digest: bytes) -> Belief | None:
        return self._kept.get(digest)

    def keep(self, digest: bytes, belief: Belief) -> Belief:
        self._kept[digest] = belief
        return belief

    def door(self, belief: Belief, located: Located) -> Door:
        """What `belief` says of requests like this one."""
        door = belief.doors.get(located.place)
        if door is None:
            self._opened += 1
            if self._opened > self._most_doors:
                self._make_room()
            door = belief.open(located, self._admission)
        return door

    def _make_room(self) -> None:
        """Down to three quarters, so that it is seldom done: all are counted anew."""
        doors = sum(max(1, len(belief.doors)) for belief in self._kept.values())
        while doors > self._most_doors * 3 // 4 and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            doors -= max(1, len(oldest.doors))
        self._opened = doors
