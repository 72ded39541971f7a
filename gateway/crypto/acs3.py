"""Alibaba Cloud's signature version 3 (ACS3-HMAC-SHA256), by its published specification."""

import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256

from gateway.crypto.to_sign import ToSign, spelled
from gateway.protocol.http.request import Header

ALGORITHM = "ACS3-HMAC-SHA256"


def signed(fields: Mapping[str, str], request: ToSign, now: datetime, nonce: str) -> list[Header]:
    """Return the headers to add."""
    body_hash = request.body_hash
    ours = {
        "x-acs-content-sha256": body_hash,
        "x-acs-date": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": nonce,
    }
    if fields.get("security_token"):
        ours["x-acs-security-token"] = fields["security_token"]
    named = {"host": request.authority, **_signed_of(request.headers), **ours}
    names = ";".join(sorted(named))
    canonical = "\n".join(
        (
            request.method,
            spelled(request.path, "/"),
            "&".join(map("=".join, sorted(request.parameters))),
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
