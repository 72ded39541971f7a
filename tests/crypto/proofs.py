"""What a check of a secret costs, in calls instead of time."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def proofs(look: Callable[[], object]) -> list[str]:
    """What of OpenSSL's a look at a tag runs over secrets."""
    run: list[str] = []

    def note(_frame: FrameType, _event: str, called: Any) -> None:
        name = getattr(called, "__name__", "")
        if name in ("hmac_digest", "compare_digest"):
            run.append(name)

    sys.setprofile(note)
    try:
        look()
    finally:
        sys.setprofile(None)
    return run
