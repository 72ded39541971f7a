"""Pulling credentials from a gateway: `GET /v1/credentials`."""

import asyncio
import json
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import aiohttp

from gateway.client.changes import Changes, SourceError
from gateway.domain.credentials import TYPES, Credential, CredentialId, Version, parse_id
from gateway.domain.errors import GatewayError

PATH = "/v1/credentials"
ANSWER_SECONDS = 10.0
LONGEST_ANSWER = 64 * 2**20
_FINAL = frozenset({400, 401, 403, 404, 405})


class RefusedError(SourceError):
    """The gateway has understood and refused, so another try does not help."""

    final = True


class PullSource:
    """`names` of shared credentials, and what returns a key whose scopes name them: it is called
    before each fetch, because the key may have been rotated."""

    waits = True

    def __init__(
        self, session: aiohttp.ClientSession, url: str, key: Callable[[], str], names: Sequence[str]
    ) -> None:
        self._session = session
        self._url = url.rstrip("/") + PATH
        self._key = key
        self._names = ",".join(names)
        self._asked = False

    async def until_news(self, since: int, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def fetch(self, since: int, wait: float) -> Changes:
        parameters = {"names": self._names}
        if self._asked:
            parameters |= {"since": str(since), "wait": f"{wait:.1f}"}
        try:
            key = self._key()
        except Exception as problem:  # noqa: BLE001 (the caller's own function may raise anything)
            # The text of an error that is not the gateway's may quote the key, also in a traceback.
            reason = str(problem) if isinstance(problem, GatewayError) else type(problem).__name__
            raise SourceError(f"The key for the gateway cannot be read: {reason}") from None
        timeout = aiohttp.ClientTimeout(total=wait + ANSWER_SECONDS, connect=ANSWER_SECONDS)
        try:
            async with self._session.get(
                self._url,
                params=parameters,
                headers={"Authorization": f"Bearer {key}"},
                timeout=timeout,
                # The key is for this host and for no other.
                allow_redirects=False,
            ) as answer:
                changes = await _changes(answer, since)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
            raise SourceError(
                f"The gateway at {self._url} cannot be asked: {_reason(problem)}."
            ) from None
        self._asked = True
        return changes


async def _changes(answer: aiohttp.ClientResponse, since: int) -> Changes:
    age = float(answer.headers.get("Age", "0"))
    if answer.status == 304:
        return Changes(since, age=age)
    body = await answer.content.read(LONGEST_ANSWER)
    while not answer.content.at_eof() and len(body) < LONGEST_ANSWER:
        body += await answer.content.read(LONGEST_ANSWER - len(body))
    if answer.status != 200:
        raise _refusal(answer.status, body)
    try:
        return _parse(json.loads(body), age)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        raise SourceError(
            "The gateway gave no credentials (what answers at its URL answers as no gateway does)."
        ) from None


def _parse(answer: Any, age: float) -> Changes:
    revision = _int(answer["revision"])
    changed: list[Credential] = []
    broken: dict[CredentialId, str] = {
        CredentialId(str(name)): f"The gateway cannot vouch for credential '{name}' now."
        for name in answer.get("unavailable", [])
    }
    for one in answer["credentials"]:
        name = parse_id(one["name"])
        try:
            changed.append(_credential(name, one))
        except (LookupError, TypeError, AttributeError, ValueError):
            broken[name] = f"The gateway told something of credential '{name}' that makes no sense."
    removed = tuple((parse_id(name), revision) for name in answer["removed"])
    return Changes(revision, tuple(changed), removed, MappingProxyType(broken), age=age)


def _reason(problem: Exception) -> str:
    """Return a reason without the error's text, which may quote what the other side sent; a failed
    connection has sent nothing."""
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    if isinstance(problem, aiohttp.ClientConnectorError):
        return str(problem.os_error.strerror or problem.os_error)
    return type(problem).__name__


def _refusal(status: int, body: bytes) -> SourceError:
    try:
        error = json.loads(body)["error"]
        detail = f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        detail = f"status {status}, and no reason that could be read."
    kind = RefusedError if status in _FINAL else SourceError
    return kind(f"The gateway gave no credentials ({detail})")


def _credential(name: CredentialId, shape: dict[str, Any]) -> Credential:
    previous = shape.get("previous")
    if shape["type"] not in TYPES:
        raise ValueError("a type of a later version")
    return Credential(
        name,
        shape["type"],
        _version(shape),
        _version(previous) if previous else None,
        _int_or_none(shape.get("expires_at")),
        _int_or_none(shape.get("max_stale")),
        created_at=_int(shape.get("created_at", 0)),
        rotated_at=_int_or_none(shape.get("rotated_at")),
        revision=_int(shape.get("revision", 0)),
    )


def _version(shape: dict[str, Any]) -> Version:
    fields = shape["fields"]
    if not all(isinstance(v, str) for v in fields.values()):
        raise ValueError("a value that is no text")
    until = _int_or_none(shape.get("until"))
    return Version(_int(shape["version"]), MappingProxyType(dict(fields)), until)


def _int(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("no number")
    return value


def _int_or_none(value: Any) -> int | None:
    return None if value is None else _int(value)
