"""The signals that end a process that serves, and what ends it if it does not end by itself."""

import asyncio
import math
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.log import log
from gateway.tasks import Tasks

# One request to stop may arrive twice within this time: by a process group, or from `timeout`.
REPEAT_SECONDS = 1.0
# For Python's own shutdown, after a second signal.
AT_ONCE_SECONDS = 2.0

EndsBy = Callable[[float], object]


def end_by(seconds: float) -> None:
    """End the process after `seconds`, whatever still runs: Python waits for every thread, and one
    that a disk or a hook holds up cannot be stopped."""
    timer = threading.Timer(seconds, _end_unfinished)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:
        # The system has no thread left, and the drain must go on: let the kernel end the process,
        # without a log line.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _end_unfinished() -> None:
    log.error("ended_unfinished", threads=threading.active_count())
    os._exit(1)


def stop_signals(
    reload: Callable[[], Coroutine[Any, Any, object]],
    ends_by: EndsBy = lambda _: None,
    *,
    delay: float = 0.0,
    announce_end: Callable[[], None] = lambda: None,
) -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets: at once, or after `delay`, which a second signal
    cuts short. A further signal ends the process. SIGHUP calls `reload`.

    `announce_end` is called when a delay begins, `ends_by` with the seconds until the process has
    to be over.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    signalled_at = -math.inf
    reloads = Tasks()

    def stop() -> None:
        nonlocal signalled_at
        first = signalled_at == -math.inf
        if loop.time() - signalled_at < REPEAT_SECONDS:
            return
        signalled_at = loop.time()
        if first and delay:
            log.info("shutdown_delayed", seconds=delay)
            announce_end()
            loop.call_later(delay, stopped.set)
        elif first or not stopped.is_set():
            stopped.set()
        else:
            # A further signal means: do not wait for the drain.
            ends_by(AT_ONCE_SECONDS)
            raise SystemExit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: reloads.begin(reload()))
    return stopped
