"""Nobody wins the bench by not checking."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.checks import CheatError, check
from bench.keys import new_key
from bench.machine import Cores
from bench.site import Running, Site

KEY = new_key().text


class Lenient(BaseHTTPRequestHandler):
    """Lets everybody in."""

    def is_welcome(self) -> bool:
        return True

    def do_GET(self) -> None:
        self.send_response(200 if self.is_welcome() else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Credulous(Lenient):
    """Asks for a key and takes any."""

    def is_welcome(self) -> bool:
        return "Authorization" in self.headers


class Strict(Lenient):
    def is_welcome(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {KEY}"


class Closed(Lenient):
    def is_welcome(self) -> bool:
        return False


@contextmanager
def running(handler: type[Lenient]) -> Iterator[Running]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Running("haproxy", 0, f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
        thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, tmp_path, Cores(None, None), ExitStack(), key=KEY)


@pytest.mark.parametrize(
    ("handler", "what"),
    [(Lenient, "200 to no key"), (Credulous, "200 to a wrong secret"), (Closed, "401 to a right")],
)
def test_a_peer_that_does_not_check_or_does_not_answer_is_named(
    site: Site, handler: type[Lenient], what: str
) -> None:
    with running(handler) as peer, pytest.raises(CheatError, match=f"haproxy answers {what}"):
        check(site, [peer])


def test_a_peer_that_takes_its_key_and_no_other_may_take_part(site: Site) -> None:
    with running(Strict) as peer:
        check(site, [peer])


def test_a_peer_that_is_said_to_check_nothing_is_not_asked_to(site: Site) -> None:
    with running(Lenient) as peer:
        check(site, [Running("passthrough", 0, peer.base)])
