"""Redis URLs, as people write them."""

import pytest
from redis.asyncio import SSLConnection

from gateway.domain.errors import UsageError
from gateway.store.connections.urls import Kind, read_url


def test_sentinels_a_master_and_what_its_connections_need() -> None:
    url = read_url("redis+sentinel://joe:p%40ss@one:26380,two,[::1]:3/main?db=2")
    assert url.kind is Kind.SENTINEL
    assert url.nodes == (("one", 26380), ("two", 26379), ("::1", 3))
    assert url.master == "main"
    assert url.options == {"username": "joe", "password": "p@ss", "db": 2}
    assert not url.tls


def test_sentinels_may_ask_for_a_login_of_their_own() -> None:
    url = read_url("redis+sentinel://:pw@one/main?sentinel_username=s&sentinel_password=x%20y")
    assert url.login == {"username": "s", "password": "x y"}
    assert url.options == {"username": "default", "password": "pw"}


def test_some_nodes_of_a_cluster() -> None:
    url = read_url("redis+cluster://joe:pw@one:7000,two")
    assert url.kind is Kind.CLUSTER
    assert url.nodes == (("one", 7000), ("two", 6379))
    assert url.options == {"username": "joe", "password": "pw"}


@pytest.mark.parametrize("url", ["rediss+sentinel://one/main", "rediss+cluster://one"])
def test_both_may_speak_tls(url: str) -> None:
    assert read_url(url).tls
    assert read_url(f"{url}?ssl_ca_certs=/ca.pem").options == {"ssl_ca_certs": "/ca.pem"}


def test_one_node_is_read_as_redis_py_reads_it() -> None:
    assert read_url("redis://h:1/3").options == {"host": "h", "port": 1, "db": 3}
    assert read_url("unix:///a/b?db=1").options["path"] == "/a/b"
    assert read_url("rediss://h").options["connection_class"] is SSLConnection


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://localhost",
        "redis://",
        "redis://:secret@",
        "redis://h:0",
        "redis://h:x",
        "redis://h/main",
        "redis://h/0/1",
        "unix://",
        "redis+sentinel://",
        "redis+sentinel://one",
        "redis+sentinel://one/",
        "redis+sentinel://one/main/2",
        "redis+sentinel:///main",
        "redis+sentinel://one,,two/main",
        "redis+sentinel://one:x/main",
        "redis+cluster",
        "redis+cluster://",
        "redis+cluster://:secret@one:0",
        "redis+cluster://one/1",
        "redis+cluster://one?db=1",
        "redis+other://one",
        "unix+cluster:///a",
        "redis+://one",
        "+cluster://one",
    ],
)
def test_what_is_none_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(UsageError, match="The Redis URL is not one") as refused:
        read_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@h?max_connections=5",
        "redis://:secret@h?single_connection_client=true",
        "redis://h?ssl_ca_certs=/ca.pem",
        "rediss://:secret@h?ssl_cert_reqs=perhaps",
        "redis://:secret@h?sentinel_password=secret",
        "redis+sentinel://:secret@one/main?secret=1",
        "redis+cluster://:secret@one?max_connections=5",
        "unix:///a?secret=b",
    ],
)
def test_an_option_that_no_connection_takes_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="Behind '\\?' in the Redis URL") as refused:
        read_url(url)
    assert "secret" not in str(refused.value)
