"""Limits of the system: open files, processes, and core dumps."""

from gateway.domain.workers import crowding, most_workers
from gateway.services.diagnosis.findings import Finding, Level

# Files for Redis, listeners, logs, and the runtime itself.
OTHER_FILES = 100
_UNLIMITED = -1


def connections_for(files: int, wished: int) -> int:
    """Return how many of the wished-for connections the open files allow: each call takes one for
    its caller and one for its agent."""
    if files == _UNLIMITED:
        return wished
    return min(wished, max(files // 4, (files - OTHER_FILES) // 2))


def files_found(most: int, max_connections: int) -> Finding:
    """`most`: how many files a process may have open."""
    needed = 2 * max_connections + OTHER_FILES
    if most == _UNLIMITED or most >= needed:
        sentence = f"{most if most >= 0 else 'Any number of'} files may be open at once."
        return Finding("machine", Level.OK, sentence)
    return Finding(
        "machine",
        Level.WARN,
        f"Only {most} files may be open at once, and {max_connections} connections with their "
        f"agents take up to {needed}: no more than {connections_for(most, max_connections)} are "
        f"let in. Raise it (ulimit -n {needed}, LimitNOFILE={needed}), or lower --max-connections.",
    )


def processes_found(workers: int, cores: int) -> Finding:
    """`workers`: how many 'serve' will start."""
    crowded = crowding(workers, cores)
    if not crowded:
        return Finding("machine", Level.OK, f"Workers: {workers}, cores: {cores}.")
    refused = workers > most_workers(cores)
    return Finding("machine", Level.WRONG if refused else Level.WARN, crowded)


def memory_found(*, private: bool) -> Finding:
    """`private`: whether disabling core dumps, as 'serve' does, works here."""
    if private:
        sentence = "A process that holds secrets leaves no dump of its memory."
        return Finding("machine", Level.OK, sentence)
    return Finding(
        "machine",
        Level.WRONG,
        "The system would write the memory of a process that holds secrets to a file if it "
        "crashed: set the limit of core dumps to 0 (ulimit -c 0, LimitCORE=0).",
    )
