"""What an agent is told of whoever calls: by whom, from where, in which trace."""

from ipaddress import ip_network
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.protocol.http.request import Header, RequestHead, read_head
from gateway.protocol.http.upstream_request import (
    Hop,
    caller_trace,
    client_address,
    forwarding_block,
    identity_block,
    trace_block,
    write_head,
)

TRUSTED = (ip_network("10.0.0.0/8"),)
TRACE, PARENT, OURS = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"
NEW = "0af7651916cd43dd8448eb211c80319c"


def read(*headers: Header) -> RequestHead:
    return read_head("GET", b"/agents/x/y", headers)


def forwarded(head: RequestHead, peer: str) -> list[bytes]:
    return forwarding_block(head, Hop(peer), TRUSTED).splitlines()


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        ("1.1.1.1", "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1", "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("2001:db8::1, 10.0.0.2", "2001:db8::1"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
        ("6.6.6.6, unknown", "10.0.0.1"),
        ("6.6.6.6, 1.1.1.1:50000, 10.0.0.2:80", "1.1.1.1"),
        ("6.6.6.6, [2001:db8::1]:50000", "2001:db8::1"),
        ("6.6.6.6, [2001:db8::1]", "2001:db8::1"),
        ("6.6.6.6, :80", "10.0.0.1"),
        ("6.6.6.6, 1.1.1.1:80x", "10.0.0.1"),
        ("6.6.6.6, [2001:db8::1]x", "10.0.0.1"),
        ("6.6.6.6, []:80", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
def test_a_caller_is_the_nearest_address_that_no_trusted_proxy_has(
    chain: str, address: str
) -> None:
    """What stands to the left of it anybody may have written."""
    head = read((b"X-Forwarded-For", chain.encode()))
    assert client_address(head, "10.0.0.1", TRUSTED) == address


def test_a_caller_that_is_no_trusted_proxy_says_nothing_of_where_it_is() -> None:
    head = read((b"X-Forwarded-For", b"1.1.1.1"))
    assert client_address(head, "9.9.9.9", TRUSTED) == "9.9.9.9"
    assert client_address(head, "no address", TRUSTED) == "no address"
    assert client_address(head, "10.0.0.1", ()) == "10.0.0.1"


def test_an_agent_reads_of_strangers_what_the_gateway_saw_and_of_proxies_what_they_say() -> None:
    head = read((b"X-Forwarded-For", b"6.6.6.6"), (b"X-Forwarded-For", b"1.1.1.1"))
    assert b"X-Forwarded-For: 9.9.9.9" in forwarded(head, "9.9.9.9")
    assert b"X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.1" in forwarded(head, "10.0.0.1")


@pytest.mark.parametrize(
    ("received", "passed_on"),
    [
        (b'for=1.1.1.1;host="a, b"', True),
        (rb'for="\"";host="a\\"', True),
        (b'for="1.1.1.1', False),
        (rb'for="1.1.1.1\"', False),
        (b'for="1.1.1.1";host="', False),
    ],
)
def test_what_a_caller_quotes_never_swallows_what_the_gateway_saw(
    received: bytes, passed_on: bool
) -> None:
    own = b"for=10.0.0.1;proto=http"
    (line,) = [
        line
        for line in forwarded(read((b"Forwarded", received)), "10.0.0.1")
        if line.startswith(b"Forwarded: ")
    ]
    assert line == b"Forwarded: " + (received + b", " + own if passed_on else own)


def test_where_a_request_has_no_host_a_proxys_stands_alone() -> None:
    head = read((b"X-Forwarded-Host", b"a.test"))
    assert b"X-Forwarded-Host: a.test" in forwarded(head, "10.0.0.1")
    assert not [line for line in forwarded(head, "9.9.9.9") if b"Host" in line]


def test_an_address_with_colons_is_told_as_one() -> None:
    assert b'Forwarded: for="[2001:db8::1]";proto=http' in forwarded(read(), "2001:db8::1")


@pytest.mark.parametrize(
    "parent",
    [
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
    ],
)
def test_of_a_trace_that_is_none_nothing_goes_on(parent: str) -> None:
    head = read((b"traceparent", parent.encode()), (b"tracestate", b"a=1"))
    assert trace_block(head, NEW, OURS) == f"traceparent: 00-{NEW}-{OURS}-01\r\n".encode()
    assert caller_trace(head, OURS) is None


def test_two_traces_are_none() -> None:
    """One side would take the first, and another the last."""
    parent = (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())
    assert caller_trace(read(parent, parent), OURS) is None


def test_a_trace_goes_on_from_the_gateway_as_its_caller_wants_it_kept() -> None:
    parent = (b"traceparent", f"00-{TRACE}-{PARENT}-00".encode())
    states = (b"tracestate", b"a=1"), (b"tracestate", b"b=2")
    told = trace_block(read(parent, *states), NEW, OURS)
    assert told == f"traceparent: 00-{TRACE}-{OURS}-00\r\ntracestate: a=1, b=2\r\n".encode()


def test_whatever_a_record_holds_is_one_line_of_a_head() -> None:
    told = identity_block([("X-Gateway-Consumer", "a\r\nX-Evil: 1\x00é\udcff~ \x7f")])
    assert told == b"X-Gateway-Consumer: a%0D%0AX-Evil: 1%00%C3%A9%FF~ %7F\r\n"


@given(st.text())
@example("销售 100%")
@example("%E9%94%80")
@example("%2é%%41")
def test_an_agent_reads_each_consumer_as_it_is(consumer: str) -> None:
    line = identity_block([("X-Gateway-Consumer", consumer)]).decode("ascii")
    assert unquote(line.removeprefix("X-Gateway-Consumer: ").removesuffix("\r\n")) == consumer


def test_what_the_gateway_says_stands_behind_all_that_its_caller_sent() -> None:
    ours = (b"X-Gateway-Key-Id: 1\r\n", b"X-Request-Id: 2\r\n")
    head = write_head("GET", b"/", b"agent", [(b"X-A", b"1"), (b"X-B", b"2")], *ours)
    assert head.endswith(b"X-B: 2\r\n" + b"".join(ours) + b"\r\n")
