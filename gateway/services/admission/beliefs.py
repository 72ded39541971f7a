"""The beliefs about all keys that a process has seen: a bounded memory, oldest dropped first."""

from collections import OrderedDict

from gateway.services.admission.belief import Belief, Door
from gateway.services.admission.locate import Located
from gateway.store.admission import Admission

# A belief with one door takes 2 KB, each further door 1.1 KB: 130 MB in all.
MOST_DOORS = 65_536


class Beliefs:
    """Beliefs by the token's digest. Each has a door, so the bound on doors bounds them too."""

    def __init__(self, admission: Admission, most_doors: int = MOST_DOORS) -> None:
        self._admission = admission
        self._most_doors = most_doors
        self._kept: OrderedDict[bytes, Belief] = OrderedDict()
        # Doors opened since the last count, including those that are gone by now.
        self._opened = 0

    def get(self, digest: bytes) -> Belief | None:
        return self._kept.get(digest)

    def keep(self, digest: bytes, belief: Belief) -> Belief:
        self._kept[digest] = belief
        return belief

    def door(self, belief: Belief, located: Located) -> Door:
        """Return what `belief` says about requests like this one."""
        door = belief.doors.get(located.place)
        if door is None:
            self._opened += 1
            if self._opened > self._most_doors:
                self._make_room()
            door = belief.open(located, self._admission)
        return door

    def _make_room(self) -> None:
        """Shrink to three quarters, so that the count of all doors is seldom needed."""
        doors = sum(max(1, len(belief.doors)) for belief in self._kept.values())
        while doors > self._most_doors * 3 // 4 and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            doors -= max(1, len(oldest.doors))
        self._opened = doors
