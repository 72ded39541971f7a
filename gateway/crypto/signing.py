"""Signing requests with an access key and its secret, by the schemes of clouds."""

import importlib
from collections.abc import Mapping
from datetime import UTC, datetime

from gateway.crypto import acs3
from gateway.crypto.draw import draw
from gateway.crypto.to_sign import ToSign
from gateway.domain.policies.services import Scheme, Sign
from gateway.protocol.http.request import Header

# Headers that the caller's own signature may have set.
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
    """Load what signing needs: that takes a while, so no request should wait for it."""
    if scheme is Scheme.AWS4:
        importlib.import_module("gateway.crypto.aws4")


def signed(sign: Sign, fields: Mapping[str, str], request: ToSign) -> list[Header]:
    """Return the headers that sign `request` with the `fields` of an ak_sk credential."""
    if sign.scheme is Scheme.AWS4:
        from gateway.crypto import aws4

        return aws4.signed(sign, fields, request)
    return acs3.signed(fields, request, datetime.now(UTC), draw(32))
