"""AWS Signature Version 4, by botocore's signer. Importing it takes a third of a second."""

import logging
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.crypto.to_sign import ToSign
from gateway.domain.policies.services import Sign
from gateway.protocol.http.request import Header

# It tells its debug log what it signs, session tokens included.
logging.getLogger("botocore.auth").disabled = True

_ADDED = ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "Authorization")


class _AsItStands(SigV4Auth):  # type: ignore[misc]
    """S3 takes the path as it is sent; all others escape it once more."""

    def _normalize_url_path(self, path: str) -> str:
        return path


def signed(sign: Sign, fields: Mapping[str, str], request: ToSign) -> list[Header]:
    """The headers to add."""
    keys = Credentials(
        fields["access_key_id"], fields["access_key_secret"], fields.get("security_token")
    )
    kind = _AsItStands if sign.service.startswith("s3") else SigV4Auth
    scheme = "https" if request.https else "http"
    query = f"?{request.query}" if request.query else ""
    prepared = AWSRequest(
        method=request.method, url=f"{scheme}://{request.authority}{request.path}{query}"
    )
    prepared.headers["host"] = request.authority
    prepared.headers["x-amz-content-sha256"] = request.body_hash
    for raw, value in request.headers:
        name = raw.decode("ascii").lower()
        if name in ("content-type", "content-md5") or name.startswith("x-amz-"):
            prepared.headers[name] = value.decode("latin-1")
    kind(keys, sign.service, sign.region).add_auth(prepared)
    found = ((name, prepared.headers.get(name)) for name in _ADDED)
    return [(name.encode(), value.encode()) for name, value in found if value is not None]
