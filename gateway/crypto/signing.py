"""Signing requests with an access key and its secret, as clouds ask for it."""

import importlib
from collections.abc import Mapping
from datetime import UTC, datetime

from gateway.crypto import acs3
from gateway.crypto.draw import draw
from gateway.crypto.to_sign import ToSign
from gateway.domain.policies.services import Scheme, Sign
from gateway.protocol.http.request import Header

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


def prepare(scheme: Scheme) -> None:
    """Load what signing needs: it takes a while, so not while a request waits."""
    if scheme is Scheme.AWS4:
        importlib.import_module("gateway.crypto.aws4")


def signed(sign: Sign, fields: Mapping[str, str], request: ToSign) -> list[Header]:
    """The headers that sign `request` with the `fields` of a credential of type ak_sk."""
    if sign.scheme is Scheme.AWS4:
        from gateway.crypto import aws4

        return aws4.signed(sign, fields, request)
    return acs3.signed(fields, request, datetime.now(UTC), draw(32))
