"""The keys that a process has seen: a bounded cache, whose oldest entries are dropped first."""

from collections import OrderedDict

from gateway.services.admission.cached_key import Access, CachedKey
from gateway.services.admission.locate import Located
from gateway.store.admission import Admission

# A key with one access takes 2 KB, each further access 1.1 KB: 130 MB in all.
MOST_ACCESSES = 65_536


class KeyCache:
    """Keys by the token's digest. Each has an access, so the bound on accesses bounds keys too."""

    def __init__(self, admission: Admission, most_accesses: int = MOST_ACCESSES) -> None:
        self._admission = admission
        self._most_accesses = most_accesses
        self._kept: OrderedDict[bytes, CachedKey] = OrderedDict()
        # Accesses added since the last count, including those that are gone by now.
        self._added = 0

    def get(self, digest: bytes) -> CachedKey | None:
        return self._kept.get(digest)

    def keep(self, digest: bytes, cached: CachedKey) -> CachedKey:
        self._kept[digest] = cached
        return cached

    def access(self, cached: CachedKey, located: Located) -> Access:
        """Return the access of the key to the place of this request."""
        access = cached.accesses.get(located.place)
        if access is None:
            self._added += 1
            if self._added > self._most_accesses:
                self._make_room()
            access = cached.add_access(located, self._admission)
        return access

    def _make_room(self) -> None:
        """Shrink to three quarters, so that all accesses are seldom counted."""
        accesses = sum(max(1, len(cached.accesses)) for cached in self._kept.values())
        while accesses > self._most_accesses * 3 // 4 and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            accesses -= max(1, len(oldest.accesses))
        self._added = accesses
