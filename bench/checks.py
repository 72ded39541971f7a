"""Checks before the measurement: a peer that claims to check keys really does."""

import http.client
from collections.abc import Iterable

from bench.keys import connect, id_of, make_keys, new_key
from bench.peers import PEERS
from bench.site import Running, Site

REFUSED = {401, 403}


class CheatError(Exception):
    """A peer answers what it should refuse, or refuses what it should answer."""


def check(site: Site, peers: Iterable[Running]) -> None:
    """Raise CheatError for the first peer that decides wrongly."""
    for peer in peers:
        kind = PEERS[peer.name]
        _expect(peer, "a right key", "/1k", site.key, {200})
        if kind.static or kind.full:
            _expect(peer, "no key", "/1k", None, REFUSED)
            _expect(peer, "a wrong secret", "/1k", new_key(id_of(site.key)).text, REFUSED)
        if kind.full:
            _check_decisions(site, peer)


def _check_decisions(site: Site, peer: Running) -> None:
    head = _expect(peer, "a right key", "/head", site.key, {200}).decode().lower()
    if f"x-gateway-key-id: {id_of(site.key)}".lower() not in head:
        raise CheatError(f"{peer.name} does not tell the agent whose request it is.")
    if site.key.lower() in head:
        raise CheatError(f"{peer.name} hands the key to the agent.")
    _expect(peer, "an unknown key", "/1k", new_key().text, {401})
    _expect(peer, "a key out of scope", "/files/1k", site.key, {403})
    spent, revoked, expired, ended = (
        *make_keys(site, 1, plan="spent"),
        *make_keys(site, 2),
        *make_keys(site, 1, expires_at="1000000000"),
    )
    _expect(peer, "a key with a quota of one", "/1k", spent, {200})
    _expect(peer, "a quota that is spent", "/1k", spent, {429})
    _expect(peer, "an expired key", "/1k", ended, {401})
    _expect(peer, "a key before its revocation", "/1k", revoked, {200})
    _expect(peer, "a key before it expires", "/1k", expired, {200})
    with connect(site) as store:
        store.hset(f"gw:key:{{{id_of(revoked)}}}", "status", "revoked")
        store.hset(f"gw:key:{{{id_of(expired)}}}", "expires_at", "1000000000")
    _expect(peer, "a revoked key", "/1k", revoked, {401})
    _expect(peer, "a key that has expired since", "/1k", expired, {401})


def _expect(peer: Running, what: str, path: str, key: str | None, wanted: set[int]) -> bytes:
    """Return the body of the answer; CheatError unless its status is one of `wanted`."""
    connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=10)
    base = "/" + "/".join(peer.base.split("/")[3:])
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connection.request("GET", base.rstrip("/") + path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status not in wanted:
        raise CheatError(f"{peer.name} answers {answer.status} to {what}.")
    return body
