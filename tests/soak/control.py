"""A process that does nothing but see how late it wakes, on each core: what it sees is the
machine's doing. It tells of it on stdout, as lines of when and for how long, until stdin ends."""

import os
import sys
import threading
import time

BEAT_SECONDS = 0.02
# Of less there is some at any time.
TOLD_FROM = 0.01


def watch(core: int) -> None:
    # Of this thread alone: a host may stop one core and not the others.
    os.sched_setaffinity(0, {core})
    while True:
        due = time.monotonic() + BEAT_SECONDS
        time.sleep(BEAT_SECONDS)
        late = time.monotonic() - due
        if late > TOLD_FROM:
            print(f"{due} {late}\n", end="", flush=True)


if __name__ == "__main__":
    for core in os.sched_getaffinity(0):
        threading.Thread(target=watch, args=(core,), daemon=True).start()
    sys.stdin.read()
