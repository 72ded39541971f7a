"""The load that holds a rate does not let a slow server hide how slow it was."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.asks import AnswerError, Job, Load

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Server:
    """Answers every request with `answer`, in pieces; stops once for `pause` at the tenth."""

    def __init__(self, answer: bytes = ANSWER, pause: float = 0.0) -> None:
        self.requests: list[bytes] = []
        self._answer, self._pause = answer, pause
        self._one_at_a_time = threading.Lock()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            # Else the second piece waits for the first one's acknowledgement.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while request := connection.recv(4096):
                with self._one_at_a_time:
                    self.requests.append(request)
                    if len(self.requests) == 10:
                        time.sleep(self._pause)
                connection.sendall(self._answer[:20])
                connection.sendall(self._answer[20:])


@contextmanager
def listening(server: Server) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=server.serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_each_key_is_asked_with_exactly_once() -> None:
    server = Server()
    keys = [f"key{number}" for number in range(100)]
    with listening(server) as port:
        load = Load(Job(port, "/1k", keys, connections=4))
        load.run()
    sent = sorted(request.split(b"Bearer ")[1].strip().decode() for request in server.requests)
    assert sent == sorted(keys)
    assert len(load.taken) == load.sent == 100


def test_as_many_are_sent_as_the_rate_says() -> None:
    with listening(Server()) as port:
        load = Load(Job(port, "/1k", ["key"], connections=8, rate=300, seconds=1.0))
        seconds = load.run()
    assert load.sent == pytest.approx(300, rel=0.2)
    assert seconds >= 0.9


def test_what_was_due_while_the_server_stood_still_counts_as_late() -> None:
    # Two connections: a load that only counts from sending would see two late answers.
    with listening(Server(pause=0.5)) as port:
        load = Load(Job(port, "/1k", ["key"], connections=2, rate=200, seconds=1.0))
        load.run()
    late = [taken for taken in load.taken if taken > 0.1]
    assert len(late) > 40
    assert max(late) >= 0.4


def test_an_answer_that_is_no_200_ends_it() -> None:
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    with listening(Server(refusal)) as port:
        load = Load(Job(port, "/1k", ["key"], connections=1))
        with pytest.raises(AnswerError, match="401"):
            load.run()
