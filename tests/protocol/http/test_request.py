"""What the gateway takes from a request head, what it passes on, what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import Code, Denied
from gateway.domain.keys.key import compose
from gateway.protocol.http.request import Header, RequestHead, media_type, read_head

KEY = compose("live", "abcdefghijkl", "s" * 32).text.encode()
OTHER = compose("live", "abcdefghijkm", "t" * 32).text.encode()


def read(*headers: Header, method: str = "GET", http10: bool = False) -> RequestHead:
    return read_head(method, b"/agents/x/y", headers, http10=http10)


def code_of(*headers: Header, method: str = "GET", http10: bool = False) -> Code:
    with pytest.raises(Denied) as refused:
        read(*headers, method=method, http10=http10)
    return refused.value.code


@pytest.mark.parametrize(
    "header",
    [
        (b"Authorization", b"Bearer " + KEY),
        (b"authorization", b"bEaReR  " + KEY),
        (b"X-API-Key", KEY),
        (b"api-key", KEY),
        (b"x-goog-api-key", KEY),
    ],
)
def test_a_key_is_found_in_its_four_headers_and_not_passed_on(header: Header) -> None:
    head = read(header)
    assert head.keys == (KEY,)
    assert head.headers == []


@pytest.mark.parametrize(
    "header",
    [
        (b"Authorization", b"Basic " + KEY),
        (b"Authorization", KEY),
        (b"Authorization", b"Bearer sk-other"),
        (b"Authorization", b""),
        (b"X-API-Key", b"sk-other"),
        (b"api-key", b" "),
    ],
)
def test_any_other_credential_is_ignored_and_removed(header: Header) -> None:
    head = read(header)
    assert head.keys == ()
    assert head.other_credential
    assert head.headers == []


def test_official_clients_send_a_second_credential_and_it_does_no_harm() -> None:
    head = read((b"Authorization", b"Bearer " + KEY), (b"x-api-key", b"sk-ant-other"))
    assert head.keys == (KEY,)


def test_the_same_key_twice_in_different_headers_is_one_candidate() -> None:
    assert read((b"Authorization", b"Bearer " + KEY), (b"x-api-key", KEY)).keys == (KEY,)
    assert len(read((b"Authorization", b"Bearer " + KEY), (b"x-api-key", OTHER)).keys) == 2


def test_of_many_candidates_for_a_key_no_more_are_kept_than_tell_that_there_are_several() -> None:
    """A head has room for thousands; each of them was compared with all before it."""
    many = b",".join(b"agk.agk_%d" % n for n in range(1000))
    head = read((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Protocol", many), (b"X-API-Key", KEY))
    assert len(head.keys) == 2
    assert head.headers == []


@pytest.mark.parametrize(
    "name",
    [b"Authorization", b"X-Api-Key", b"api-key", b"x-goog-api-key", b"Host", b"X-User-Id"],
)
def test_a_header_that_decides_something_must_not_come_twice(name: bytes) -> None:
    assert code_of((name, b"a"), (name.lower(), b"a")) is Code.BAD_REQUEST


def test_a_key_in_a_cookie_is_refused_and_other_cookies_pass() -> None:
    for cookie in (KEY, b"k=" + KEY, b"a=1; k=" + KEY + b"_1", b"k=%61gk%5f" + KEY[4:]):
        assert code_of((b"Cookie", cookie)) is Code.BAD_REQUEST
    assert read((b"Cookie", b"a=1")).headers == [(b"Cookie", b"a=1")]


# By these the software of some agent finds out who calls, from where, and what is asked for.
OF_OTHERS = b"""
x-client-ip client-ip proxy-client-ip wl-proxy-client-ip x-remote-ip x-remote-addr
x-appengine-user-ip x-azure-clientip x-azure-socketip fly-client-ip x-forward-for forwarded-for
x-cluster-client-ip x-proxyuser-ip x-original-forwarded-for x-envoy-external-address
x-envoy-original-host cf-connecting-ip cf-connecting-ipv6 fastly-client-ip x-original-uri
x-original-host x-original-method x-http-method x-method-override x-host x-url-scheme x-scheme
front-end-https proxy-connection proxy-authenticate proxy-authentication-info
"""


@pytest.mark.parametrize("name", OF_OTHERS.split())
def test_what_some_agents_would_believe_of_a_caller_is_not_passed_on(name: bytes) -> None:
    assert read((name, b"127.0.0.1"), (name.title(), b"::1")).headers == []
    with pytest.raises(Denied):
        read((name.replace(b"-", b"_"), b"127.0.0.1"))


@pytest.mark.parametrize(
    "name",
    [
        b"X-Gateway-Key-Id",
        b"x-gateway-anything",
        b"X-Forwarded-For",
        b"X-Forwarded-Prefix",
        b"Forwarded",
        b"X-Real-IP",
        b"Client-IP",
        b"X-Forwarded",
        b"X-Forwarded-Proto",
        b"X-Forwarded-Host",
        b"Proxy",
        b"True-Client-IP",
        b"X-Original-URL",
        b"X-Rewrite-URL",
        b"X-HTTP-Method-Override",
        b"X-Originating-IP",
        b"X-Envoy-Original-Path",
        b"X-HTTP-Host-Override",
        b"X-Request-Id",
        b"Request-Id",
        b"traceparent",
        b"tracestate",
        b"X-User-Id",
        b"Connection",
        b"Keep-Alive",
        b"Proxy-Authorization",
        b"TE",
        b"Upgrade",
        b"Trailer",
        b"HTTP2-Settings",
    ],
)
def test_what_a_caller_must_not_say_is_not_passed_on(name: bytes) -> None:
    assert read((name, b"u1"), (b"Accept", b"*/*")).headers == [(b"Accept", b"*/*")]


@pytest.mark.parametrize(
    "name",
    [
        b"X_Gateway_Key_Id",
        b"X-Gateway_Key-Id",
        b"x.gateway.consumer",
        b"X_Forwarded_For",
        b"Content_Length",
        b"Transfer.Encoding",
        b"X_User_Id",
        b"Sec_WebSocket_Key",
        b"Sec_WebSocket_Version",
        b"x_api_key",
        b"X_Real_IP",
        b"X.Original.URL",
        b"X_HTTP_Method_Override",
        b"Content_Type",
        b"Mcp_Session_Id",
        b"Mcp_Protocol_Version",
        b"mcp.method",
        b"Mcp_Name",
    ],
)
@pytest.mark.denial("bad_request")
def test_a_look_alike_of_a_name_that_matters_is_refused(name: bytes) -> None:
    assert code_of((name, b"1")) is Code.BAD_REQUEST


@pytest.mark.parametrize("name", [b"X_Custom", b"x.my.header", b"Accept", b"X-Title"])
def test_any_other_name_passes_with_its_value_byte_for_byte(name: bytes) -> None:
    value = b"caf\xc3\xa9 \xff\ttab"
    assert read((name, value)).headers == [(name, value)]


@pytest.mark.parametrize("byte", [0, 1, 10, 13, 27, 31, 127])
def test_a_control_byte_in_any_value_is_refused(byte: int) -> None:
    assert code_of((b"X-A", b"a" + bytes([byte]) + b"b")) is Code.BAD_REQUEST


def test_what_connection_names_is_removed_but_nothing_of_the_gateways() -> None:
    head = read((b"Connection", b"close, X-Mine"), (b"x-mine", b"1"), (b"X-Other", b"2"))
    assert head.headers == [(b"X-Other", b"2")]


@pytest.mark.parametrize("value", [b"+5", b"-1", b"0x5", b"5_0", b"5, 5", b" ", b"", b"9" * 19])
def test_a_length_is_digits_only(value: bytes) -> None:
    assert code_of((b"Content-Length", value), method="POST") is Code.BAD_REQUEST


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Transfer-Encoding", b"identity")],
        [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"3")],
    ],
)
def test_framing_that_could_be_read_in_two_ways_is_refused(headers: list[Header]) -> None:
    assert code_of(*headers, method="POST") is Code.BAD_REQUEST


def test_http_1_0_knows_no_chunks() -> None:
    chunked = (b"Transfer-Encoding", b"chunked")
    assert code_of(chunked, method="POST", http10=True) is Code.BAD_REQUEST


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "M-SEARCH"])
@pytest.mark.denial("method_not_allowed")
def test_a_method_off_the_list_is_not_passed_on(method: str) -> None:
    assert code_of(method=method) is Code.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("method", ["get", "FOO", "propfind", "", "GET "])
def test_what_is_no_method_is_malformed(method: str) -> None:
    assert code_of(method=method) is Code.BAD_REQUEST


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"a b", b"a/b", b"user:x", b"x@evil/path", b"host:", b"host:0", b"host:65536"),
        *(b"h:1:2", b".host", b".", b"[fe80::1%25eth0]", b"[fe80::1%eth0]:80", b"[::1", b"[]"),
        *(b"[::1]:", b"[::1]:0", b"[::1]:65536", b"[::1]:x", b"[::1]80", b"h:000080", b"h:+80"),
    ],
)
def test_an_odd_host_is_refused(value: bytes) -> None:
    assert code_of((b"Host", value)) is Code.BAD_REQUEST


@pytest.mark.parametrize(
    ("value", "host"),
    [(b"Example.COM", "example.com"), (b"a:80", "a"), (b"[::1]:8080", "::1"), (b"[::1]", "::1")],
)
def test_a_host_is_compared_without_port_and_case(value: bytes, host: str) -> None:
    assert read((b"Host", value)).host == host


@pytest.mark.parametrize("value", [b"", b"a b", b"x" * 129, b"a,b", "ü".encode()])
def test_a_malformed_user_id_is_refused(value: bytes) -> None:
    assert code_of((b"X-User-Id", value)) is Code.BAD_REQUEST


@pytest.mark.parametrize("broken", ["", "x"])
def test_a_key_is_no_user_id_as_it_would_be_on_record(broken: str) -> None:
    key = compose("live", "4xT9mQ2LrB7c", "s" * 32).text
    assert code_of((b"X-User-Id", f"{key[:-1]}{broken or key[-1]}".encode())) is Code.BAD_REQUEST


def test_a_browsers_key_is_taken_from_the_subprotocols_and_removed() -> None:
    upgrade = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    offered = (b"Sec-WebSocket-Protocol", b"agk, agk." + KEY + b", chat")
    head = read(*upgrade, offered)
    assert head.keys == (KEY,)
    assert head.offers_key_subprotocol
    assert head.headers == [(b"Sec-WebSocket-Protocol", b"chat")]
    assert read(offered).keys == (), "only a WebSocket handshake may carry it there"


@pytest.mark.parametrize("item", [KEY, b"agk." + KEY, b"x" + KEY, b"agk.agk_live_mistyped"])
def test_no_subprotocol_with_a_key_in_it_is_passed_on(item: bytes) -> None:
    head = read((b"Sec-WebSocket-Protocol", b"chat, " + item), (b"Upgrade", b"websocket"))
    assert head.headers == [(b"Sec-WebSocket-Protocol", b"chat")]


@pytest.mark.parametrize(
    "offered", [b"agk.sk-another, chat", b",,chat,", b"chat,\tagk\t", b"\tagk." + KEY + b"\t,chat"]
)
def test_of_subprotocols_an_agent_sees_only_what_is_neither_the_gateways_nor_empty(
    offered: bytes,
) -> None:
    head = read((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Protocol", offered))
    assert head.headers == [(b"Sec-WebSocket-Protocol", b"chat")]


def test_a_subprotocol_is_taken_for_a_key_as_a_header_is() -> None:
    upgrade, other = (b"Upgrade", b"websocket"), (b"Sec-WebSocket-Protocol", b"agk.sk-another")
    assert read(upgrade, other).other_credential
    assert read(other).other_credential, "a key that stands where none may is no missing one"


def test_what_a_caller_says_in_two_lines_is_said_as_a_whole() -> None:
    two = read((b"Connection", b"X-A"), (b"Connection", b"x-b"), (b"X-A", b"1"), (b"X-B", b"2"))
    assert two.headers == []
    offered = (b"Sec-WebSocket-Protocol", b"chat"), (b"Sec-WebSocket-Protocol", b"agk." + KEY)
    head = read((b"Upgrade", b"websocket"), *offered)
    assert (head.keys, head.headers) == ((KEY,), [(b"Sec-WebSocket-Protocol", b"chat")])


def test_a_body_of_two_types_is_of_none() -> None:
    kind = (b"Content-Type", b"Application/JSON; charset=utf-8")
    assert media_type([kind]) == b"application/json"
    assert media_type([kind, (b"content-type", b"multipart/form-data")]) == b""


def test_an_unknown_expectation_is_refused() -> None:
    assert code_of((b"Expect", b"magic"), method="POST") is Code.BAD_REQUEST
    assert read((b"Expect", b"100-Continue"), method="POST").headers == []


_TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABC-_.0123456789", min_size=1, max_size=20)


@given(st.lists(st.tuples(_TOKEN.map(str.encode), st.binary(max_size=20)), max_size=8))
def test_any_headers_are_either_passed_on_unchanged_or_refused(headers: list[Header]) -> None:
    try:
        head = read(*headers)
    except Denied:
        return
    assert all(
        header in headers for header in head.headers if header[0] != b"Sec-WebSocket-Protocol"
    )
    names = [name.lower() for name, _ in head.headers]
    assert not any(name.startswith((b"x-gateway-", b"x-forwarded-")) for name in names)


def test_what_a_caller_sent_is_in_no_repr() -> None:
    head = read(
        (b"Authorization", b"Bearer " + KEY), (b"Cookie", b"session=mark"), (b"X-A", b"mark")
    )
    assert "mark" not in repr(head)
    assert KEY.decode() not in repr(head)
