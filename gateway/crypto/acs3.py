"""Alibaba Cloud's signature version 3 (ACS3-HMAC-SHA256), by its published rules."""

import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote, unquote_to_bytes

Header = tuple[bytes, bytes]

ALGORITHM = "ACS3-HMAC-SHA256"
_UNRESERVED = "-_.~"


def signed(
    fields: Mapping[str, str],
    method: str,
    authority: str,
    path: str,
    query: str,
    headers: Iterable[Header],
    body_hash: str,
    now: datetime,
    nonce: str,
) -> list[Header]:
    """The headers to add; `headers`: what is sent beside them."""
    ours = {
        "x-acs-content-sha256": body_hash,
        "x-acs-date": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": nonce,
    }
    if fields.get("security_token"):
        ours["x-acs-security-token"] = fields["security_token"]
    named = {"host": authority, **_signed_of(headers), **ours}
    names = ";".join(sorted(named))
    canonical = "\n".join(
        (
            method,
            _spelled(path, "/"),
            _canonical_query(query),
            "".join(f"{name}:{named[name]}\n" for name in sorted(named)),
            names,
            body_hash,
        )
    )
    text = f"{ALGORITHM}\n{sha256(canonical.encode()).hexdigest()}"
    secret = fields["access_key_secret"].encode()
    signature = hmac.digest(secret, text.encode(), "sha256").hex()
    who = fields["access_key_id"]
    proof = f"{ALGORITHM} Credential={who},SignedHeaders={names},Signature={signature}"
    return [(n.encode(), v.encode()) for n, v in {**ours, "Authorization": proof}.items()]


def _signed_of(headers: Iterable[Header]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw, value in headers:
        name = raw.decode("ascii").lower()
        if name == "content-type" or name.startswith("x-acs-"):
            text = value.decode("latin-1").strip()
            found[name] = f"{found[name]},{text}" if name in found else text
    return found


def _canonical_query(query: str) -> str:
    """A plus is the space that forms make of one."""
    items = (item.replace("+", " ").partition("=") for item in query.split("&") if item)
    spelled = sorted((_spelled(name), _spelled(value)) for name, _, value in items)
    return "&".join(f"{name}={value}" for name, value in spelled)


def _spelled(text: str, safe: str = "") -> str:
    return quote(unquote_to_bytes(text), safe + _UNRESERVED)
