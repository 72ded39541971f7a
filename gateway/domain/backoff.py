"""How long to wait before another try of what has failed."""


def pause_after(failures: int, first: float, longest: float) -> float:
    """Seconds, after so many failures in a row: twice as long each time, from `first` on."""
    if failures == 0:
        return 0.0
    # Bounded before it is computed: after a thousand failures it would be no float any more.
    return min(first * 2.0 ** min(failures - 1, 16), longest)
