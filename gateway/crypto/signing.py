"""Signing requests with an access key and its secret, as clouds ask for it."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

from gateway.crypto import acs3
from gateway.crypto.draw import draw
from gateway.domain.services import Scheme, Sign
from gateway.protocol.request import Header

UNSIGNED = "UNSIGNED-PAYLOAD"
# What a caller's own signing would have put there.
OURS = {
    Scheme.AWS4: frozenset({b"x-amz-date", b"x-amz-security-token", b"x-amz-content-sha256"}),
    Scheme.ACS3: frozenset(
        {
            b"x-acs-date",
            b"x-acs-signature-nonce",
            b"x-acs-content-sha256",
            b"x-acs-security-token",
            b"x-acs-credentials-provider",
        }
    ),
}


@dataclass(frozen=True, slots=True)
class ToSign:
    """A request as it is sent. `path` and `query` byte for byte, the query without its `?`.

    `body` None: it streams, and is not part of what is signed.
    """

    method: str
    https: bool
    authority: str
    path: str
    query: str = field(repr=False)
    headers: Sequence[Header] = field(repr=False)
    body: bytes | None = field(repr=False)

    @property
    def body_hash(self) -> str:
        return UNSIGNED if self.body is None else sha256(self.body).hexdigest()


def prepare(scheme: Scheme) -> None:
    """Load what signing needs: it takes a while, so not while a request waits."""
    if scheme is Scheme.AWS4:
        importlib.import_module("gateway.crypto.aws4")


def signed(sign: Sign, fields: Mapping[str, str], request: ToSign) -> list[Header]:
    """The headers that sign `request` with the `fields` of a credential of type ak_sk."""
    if sign.scheme is Scheme.AWS4:
        from gateway.crypto import aws4

        return aws4.signed(sign, fields, request)
    return acs3.signed(
        fields,
        request.method,
        request.authority,
        request.path,
        request.query,
        request.headers,
        request.body_hash,
        datetime.now(UTC),
        draw(32),
    )
