"""What an agent that pulls credentials does not have yet, by the revision that it knows."""

import math
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.services.credentials.current import LiveCredentials


@dataclass(frozen=True, slots=True)
class Pulled:
    """`news`: whether there is anything that the agent lacks. `vouched`: whether all of it can be
    vouched for. `versions`: names and versions of the values in `body`. `age`: whole seconds since
    the vault confirmed all this."""

    news: bool
    vouched: bool
    revision: int
    age: int
    versions: tuple[tuple[str, int], ...]
    body: dict[str, Any] = field(repr=False)


def pull(credentials: LiveCredentials, ids: tuple[CredentialId, ...], since: int | None) -> Pulled:
    """Return everything if `since` is None, else what was written or removed after it."""
    after = -1 if since is None else since
    found: list[Credential] = []
    removed: list[str] = []
    unavailable: list[str] = []
    revisions = [0]
    # A credential that cannot be told now must not be skipped later.
    most = math.inf
    for name in ids:
        known = credentials.known.get(name)
        revision = known.revision if known else credentials.gone.get(name, 0)
        broken, usable = name in credentials.broken, credentials.usable(name)
        if broken or (known is not None and not usable):
            unavailable.append(str(name))
            if not usable:
                most = min(most, revision - 1)
                continue
        revisions.append(revision)
        if revision <= after:
            continue
        if known is None:
            removed.append(str(name))
        else:
            found.append(known)
    now = credentials.now()
    revision = max(0, int(min(max(revisions), most)))
    body = {
        "revision": revision,
        "credentials": [_shape(one, now) for one in found],
        "removed": removed,
        "unavailable": unavailable,
    }
    versions = tuple((str(one.id), one.current.number) for one in found)
    news = since is None or bool(found or removed)
    return Pulled(news, not unavailable, revision, math.ceil(credentials.age), versions, body)


def _shape(credential: Credential, now: float) -> dict[str, Any]:
    previous = credential.previous_at(now)
    shape: dict[str, Any] = {
        "name": str(credential.id),
        "type": credential.type,
        **_version(credential.current),
        "previous": _version(previous) if previous else None,
        "expires_at": credential.expires_at,
        "max_stale": credential.max_stale,
        "created_at": credential.created_at,
        "rotated_at": credential.rotated_at,
        "revision": credential.revision,
    }
    main = credential.current.fields.get(credential.main)
    return shape if main is None else {**shape, "value": main}


def _version(version: Version) -> dict[str, Any]:
    return {
        "version": version.number,
        "fields": dict(version.fields),
        "until": version.until,
    }
