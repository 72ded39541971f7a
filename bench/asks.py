"""Load that wrk cannot make: at a constant rate, or with each of many keys once.

A program that reads a job on stdin as JSON and writes the result to stdout. It uses plain sockets;
its timing is that of select(2), accurate to some tens of microseconds. A paced request is due at a
time drawn beforehand, as if from many independent callers, and its latency counts from then: if an
answer is late, requests that had to wait for a connection count as late too.
"""

import gc
import json
import random
import re
import select
import socket
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, repeat
from time import perf_counter

SEED = 7
GIVE_UP_SECONDS = 10.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Job:
    """What to request. `rate`: requests a second; 0: each as soon as a connection is free.
    `settle`: seconds at the start that do not count."""

    port: int
    path: str
    keys: list[str] = field(repr=False)
    connections: int = 32
    rate: float = 0.0
    seconds: float = 0.0
    settle: float = 0.0


class AnswerError(Exception):
    """An answer other than a 200, or none."""


class Call:
    """One connection and its current request."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=GIVE_UP_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._left = -1
        self._head = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, request: bytes, due: float) -> None:
        self.due, self._left, self._head = due, -1, b""
        self.socket.sendall(request)

    def is_answered(self) -> bool:
        """Read what has arrived; return whether the answer is complete. AnswerError unless it is a
        200."""
        data = self.socket.recv(65536)
        if not data:
            raise AnswerError("the connection was closed")
        if self._left >= 0:
            self._left -= len(data)
            return self._left == 0
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = _LENGTH.search(self._head, 0, end + 2)
        if not self._head.startswith(b"HTTP/1.1 200 ") or length is None:
            raise AnswerError(self._head[:end].decode("latin-1").partition("\r\n")[0])
        self._left = int(length[1]) - (len(self._head) - end - 4)
        return self._left == 0


class Load:
    """Sends requests that are due on connections that are free."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._idle = [Call(job.port) for _ in range(job.connections)]
        self._busy: set[Call] = set()
        self._waiting: deque[float] = deque()
        self._requests = _requests(job)
        self._times = _times(job)
        self._begun = perf_counter()
        self._coming: float | None = self._begun
        self.sent = 0
        self.taken: list[float] = []

    def run(self) -> float:
        """Send all requests; return the seconds that it took."""
        try:
            while self._coming is not None or self._waiting or self._busy:
                self._arrive()
                self._send()
                self._receive()
            return perf_counter() - self._begun
        finally:
            for call in (*self._idle, *self._busy):
                call.socket.close()

    def _arrive(self) -> None:
        while self._coming is not None and self._coming <= perf_counter():
            self._waiting.append(self._coming)
            after = next(self._times, None)
            self._coming = None if after is None else self._begun + after

    def _send(self) -> None:
        while self._waiting and self._idle:
            due = self._waiting.popleft()
            call = self._idle.pop()
            self._busy.add(call)
            # Without a rate, a request is due as soon as a connection is free.
            call.ask(next(self._requests), due if self._job.rate else perf_counter())
            self.sent += 1

    def _receive(self) -> None:
        wait = GIVE_UP_SECONDS
        if self._coming is not None and self._idle:
            wait = max(0.0, self._coming - perf_counter())
        ready = select.select(self._busy, (), (), wait)[0]
        if not ready and wait == GIVE_UP_SECONDS:
            raise AnswerError("no answer")
        for call in ready:
            if call.is_answered():
                if call.due >= self._begun + self._job.settle:
                    self.taken.append(perf_counter() - call.due)
                self._busy.remove(call)
                self._idle.append(call)


def _requests(job: Job) -> Iterator[bytes]:
    head = f"GET {job.path} HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\nAuthorization: Bearer "
    made = [f"{head}{key}\r\n\r\n".encode() for key in job.keys]
    if not job.rate:
        return iter(made)
    return cycle(made)


def _times(job: Job) -> Iterator[float]:
    """Yield when each request after the first is due, in seconds from the start."""
    if not job.rate:
        yield from repeat(0.0, len(job.keys) - 1)
        return
    draw, at = random.Random(SEED), 0.0  # noqa: S311
    while (at := at + draw.expovariate(job.rate)) < job.seconds + job.settle:
        yield at


def main() -> None:
    job = Job(**json.load(sys.stdin))
    gc.disable()
    load = Load(job)
    try:
        seconds = load.run()
    except (AnswerError, OSError) as problem:
        sys.exit(f"{type(problem).__name__}: {problem}")
    taken = sorted(load.taken)
    p99 = taken[min(len(taken) - 1, int(len(taken) * 0.99))]
    json.dump({"sent": load.sent, "seconds": seconds, "p99_ms": p99 * 1e3}, sys.stdout)


if __name__ == "__main__":
    main()
