"""What a serving process takes from the system before it serves: open files and threads."""

import asyncio
import gc
import resource
import socket
from contextlib import suppress
from dataclasses import replace

from gateway.domain.settings import ListenerLimits
from gateway.log import log
from gateway.services.diagnosis.machine import connections_for, files_found
from gateway.tasks import start_threads, threads

# Open files to ask for if the system sets no limit.
MOST_FILES = 2**20
# The share of the wished-for connections that needs no warning: 20,000 files are a usual limit,
# which falls 50 short for 10,000 connections.
TOLERATED_SHARE = 0.9
# Half of them look up names. Idle threads cost next to nothing.
LOOKUP_THREADS = 32


def tune_gc() -> None:
    """Run the garbage collector less often. Requests leave no cycles behind, and connections none
    that hold a body. A collection after every 700 objects took 4 % of a request, and a full one
    over all that is remembered of keys stops the process for milliseconds."""
    gc.set_threshold(20_000, 20, 50)


def raise_file_limit(limits: ListenerLimits) -> ListenerLimits:
    """Raise the limit of open files to what the system allows. Shells and containers start with
    1,024, for programs that use select(): enough for a few hundred calls.

    Return the limits with no more connections than the files allow: when the last file is taken,
    nobody can connect any more, although idle connections could give way.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        # Not every system accepts the limit that it reports.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    fitting = connections_for(files, limits.max_connections)
    if fitting < TOLERATED_SHARE * limits.max_connections:
        log.warning("files_few", reason=files_found(files, limits.max_connections).sentence)
    return replace(limits, max_connections=fitting)


async def start_all_threads() -> None:
    """Start all threads now; OperationError if there are too few: without them nothing that touches
    a file works."""
    start_threads()
    # The event loop starts its own lookup threads at the first lookup, and ends the process if it
    # cannot. These are started and given back just before, so nothing else can take them in
    # between.
    threads(LOOKUP_THREADS, "lookups").shutdown()
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    await asyncio.get_running_loop().getnameinfo(("127.0.0.1", 0), numeric)
