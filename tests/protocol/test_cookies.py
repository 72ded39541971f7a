"""Cookies are read at once, whatever stands in them."""

import time

import pytest

from gateway.admin.console import console, session
from gateway.protocol import connect_page
from gateway.protocol.cookies import of_others, read_cookies


@pytest.mark.parametrize(
    ("header", "read"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a=1; b=x=y ;c=", {"a": "1", "b": "x=y", "c": ""}),
        ("a=1; a=2", {"a": "2"}),
        ("junk; a=1;;", {"a": "1"}),
    ],
)
def test_cookies_are_told_by_name(header: str, read: dict[str, str]) -> None:
    assert read_cookies(header) == read


@pytest.mark.parametrize("own", [session.COOKIE, console.LANGUAGE, connect_page.COOKIE])
def test_those_of_the_gateways_own_pages_are_nobody_elses(own: str) -> None:
    assert of_others(f"{own}=x".encode()) == b""
    assert of_others(f"a=1;{own}=x; b = 2;  {own} =y".encode()) == b"a=1; b = 2"
    for kept in (f"a={own}; x_{own}=1;;b; {own}ion=c".encode(), b"", b" a=1 ;"):
        assert of_others(kept) == kept


@pytest.mark.parametrize("junk", ["\\a", "\\", '\\"', '"', ";", "=;", "a=b; "])
def test_what_is_no_cookie_costs_nothing(junk: str) -> None:
    began = time.process_time()
    for _ in range(10):
        read_cookies('a="' + junk * (8000 // len(junk)) + '"')
    assert time.process_time() - began < 0.2
