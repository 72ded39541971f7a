"""Exponential backoff between retries."""


def pause_after(failures: int, first: float, longest: float) -> float:
    """Return the seconds to wait after this many consecutive failures: `first`, then doubled each
    time, up to `longest`."""
    if failures == 0:
        return 0.0
    # The exponent is bounded first: after a thousand failures the result would overflow a float.
    return min(first * 2.0 ** min(failures - 1, 16), longest)
