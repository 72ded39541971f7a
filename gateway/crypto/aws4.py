"""AWS Signature Version 4, by botocore's signer. Importing this takes a third of a second."""

import logging
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.crypto.to_sign import ToSign, spelled
from gateway.domain.policies.services import Sign
from gateway.protocol.http.request import Header

# It logs at debug level what it signs, including session tokens.
logging.getLogger("botocore.auth").disabled = True

# Services that sign the path as it is; all others escape it a second time.
_ONCE = frozenset({"s3", "s3-object-lambda", "s3-outposts", "s3express"})
_ADDED = ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "Authorization")


class _AsItStands(SigV4Auth):  # type: ignore[misc]
    def _normalize_url_path(self, path: str) -> str:
        return path


def signed(sign: Sign, fields: Mapping[str, str], request: ToSign) -> list[Header]:
    """Return the headers to add. Path and query are signed in the cloud's own spelling."""
    keys = Credentials(
        fields["access_key_id"], fields["access_key_secret"], fields.get("security_token")
    )
    kind, path = SigV4Auth, request.path
    if sign.service in _ONCE:
        kind, path = _AsItStands, spelled(path, "/")
    # The signer sorts the parameters.
    query = "&".join(map("=".join, request.parameters))
    # The scheme is not signed. The host is signed as it is sent, which the signer would shorten.
    prepared = AWSRequest(request.method, f"https://{request.authority}{path}?{query}")
    prepared.headers["host"] = request.authority
    prepared.headers["x-amz-content-sha256"] = request.body_hash
    for raw, value in request.headers:
        name = raw.decode("ascii").lower()
        if name in ("content-type", "content-md5") or name.startswith("x-amz-"):
            prepared.headers[name] = value.decode("latin-1")
    kind(keys, sign.service, sign.region).add_auth(prepared)
    found = ((name, prepared.headers.get(name)) for name in _ADDED)
    return [(name.encode(), value.encode()) for name, value in found if value is not None]
