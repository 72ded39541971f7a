"""Requests are signed as clouds check it: their published examples, and botocore's own client."""

import hmac
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote

import pytest

from gateway.crypto import acs3
from gateway.crypto.signing import prepare, signed
from gateway.crypto.to_sign import UNSIGNED, ToSign
from gateway.domain.policies.references import Reference
from gateway.domain.policies.services import Scheme, Sign

KEYS = {"access_key_id": "AKIDEXAMPLE", "access_key_secret": "wJalrXUtnFEMI/K7MDENG+bPxRfiCY"}
NOTHING = sha256(b"").hexdigest()


def headers_of(found: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in found}


def test_acs3_signs_as_the_published_example() -> None:
    keys = {"access_key_id": "YourAccessKeyId", "access_key_secret": "YourAccessKeySecret"}
    query = "RegionId=cn-shanghai&ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd"
    headers = [
        (b"X-Acs-Action", b"RunInstances"),
        (b"x-acs-version", b"2014-05-26"),
        (b"Accept", b"*"),
    ]
    request = ToSign("POST", "ecs.cn-shanghai.aliyuncs.com", "/", query, headers, b"")
    now = datetime(2023, 10, 26, 10, 22, 32, tzinfo=UTC)
    found = acs3.signed(keys, request, now, "3156853299f313e23d1673dc12e1703d")
    assert headers_of(found)["authorization"] == (
        "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;"
        "x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,"
        "Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    )


def test_acs3_signs_the_token_the_type_and_every_request_anew() -> None:
    sign = Sign(Scheme.ACS3, Reference("aliyun"))
    request = ToSign("POST", "cs.aliyuncs.com", "/a%20b/", "", [(b"Content-Type", b"a/b")], b"{}")
    fields = {**KEYS, "security_token": "sts"}
    first, second = (headers_of(signed(sign, fields, request)) for _ in range(2))
    assert first["x-acs-security-token"] == "sts"
    assert first["x-acs-content-sha256"] == sha256(b"{}").hexdigest()
    assert "content-type;host;x-acs-content-sha256;x-acs-date;" in first["authorization"]
    assert first["x-acs-signature-nonce"] != second["x-acs-signature-nonce"]


@pytest.mark.parametrize(
    ("path", "query", "canonical"),
    [
        ("/a%d6%d0", "name=%D6%D0+%2b&b", ("/a%D6%D0", "b=&name=%D6%D0%20%2B")),
        ("/%e4%b8%ad", "n=%FF%2f*", ("/%E4%B8%AD", "n=%FF%2F%2A")),
        ("/", "a-b=1&a=2&a=1", ("/", "a=1&a=2&a-b=1")),
    ],
)
def test_acs3_signs_the_bytes_that_are_meant_whatever_they_spell(
    path: str, query: str, canonical: tuple[str, str]
) -> None:
    """A parameter in GBK is no UTF-8."""
    now = datetime(2023, 10, 26, 10, 22, 32, tzinfo=UTC)
    request = ToSign("GET", "h.aliyuncs.com", path, query, [], b"")
    found = acs3.signed(KEYS, request, now, "n")
    sent = {**headers_of(found), "host": "h.aliyuncs.com"}
    names = ["host", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce"]
    lines = "".join(f"{name}:{sent[name]}\n" for name in names)
    text = "\n".join(("GET", *canonical, lines, ";".join(names), NOTHING))
    checked = f"ACS3-HMAC-SHA256\n{sha256(text.encode()).hexdigest()}"
    secret = KEYS["access_key_secret"].encode()
    expected = hmac.digest(secret, checked.encode(), "sha256").hex()
    assert sent["authorization"].endswith(f"Signature={expected}")


def aws_signature(request: ToSign, sent: dict[str, str], path: str, sign: Sign) -> str:
    """AWS' rules once more, as short as they can be said."""
    given = {n.decode().lower(): v.decode() for n, v in request.headers}
    every = {**given, **sent, "host": request.authority}
    names = sent["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    lines = "".join(f"{name}:{every[name]}\n" for name in names.split(";"))
    query = "&".join(sorted(request.query.split("&")))
    canonical = "\n".join((request.method, path, query, lines, names, sent["x-amz-content-sha256"]))
    day = sent["x-amz-date"][:8]
    scope = f"{day}/{sign.region}/{sign.service}/aws4_request"
    text = "\n".join(
        ("AWS4-HMAC-SHA256", sent["x-amz-date"], scope, sha256(canonical.encode()).hexdigest())
    )
    key = f"AWS4{KEYS['access_key_secret']}".encode()
    for part in (day, sign.region, sign.service, "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


@pytest.mark.parametrize(
    ("service", "path", "canonical"),
    [("s3", "/bucket/a%20b", "/bucket/a%20b"), ("lambda", "/a%20b", "/a%2520b")],
)
@pytest.mark.parametrize("body", [b"{}", None, b""])
@pytest.mark.parametrize("host", ["host.amazonaws.com", "Host.amazonaws.com:443"])
def test_aws4_signs_what_is_sent(
    service: str, path: str, canonical: str, body: bytes | None, host: str
) -> None:
    prepare(Scheme.AWS4)
    sign = Sign(Scheme.AWS4, Reference("aws"), "eu-central-1", service)
    headers = [(b"Content-Type", b"application/json"), (b"X-Amz-Meta-A", b"1"), (b"Accept", b"*")]
    request = ToSign("PUT", host, path, "b=2&a=1", headers, body)
    fields = {**KEYS, "security_token": "sts"}
    sent = headers_of(signed(sign, fields, request))
    expected = UNSIGNED if body is None else sha256(body).hexdigest()
    assert sent["x-amz-content-sha256"] == expected
    assert sent["x-amz-security-token"] == "sts"
    assert (
        "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-a;"
        in (sent["authorization"])
    )
    signature = sent["authorization"].partition("Signature=")[2]
    assert signature == aws_signature(request, sent, canonical, sign)
    assert quote(canonical) != path or service == "s3"


def test_what_is_signed_for_aws_is_logged_at_no_level(caplog: pytest.LogCaptureFixture) -> None:
    """Its signer logs the whole request at the level of debugging, and so the session's token."""
    prepare(Scheme.AWS4)
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", "botocore.auth")
    sign = Sign(Scheme.AWS4, Reference("aws"), "eu-central-1", "s3")
    request = ToSign("GET", "host.amazonaws.com", "/", "", [], b"")
    signed(sign, {**KEYS, "security_token": "of-the-session"}, request)
    assert not caplog.records


@pytest.mark.parametrize(
    ("service", "path", "query", "canonical"),
    [
        ("s3", "/b/day=1/a+b@c:d", "", ("/b/day%3D1/a%2Bb%40c%3Ad", "")),
        ("s3", "/b/%c3%bc%ff~%7e", "", ("/b/%C3%BC%FF~~", "")),
        ("s3express", "/b/a%20b", "", ("/b/a%20b", "")),
        ("s3", "/b", "delimiter=/&prefix=a:b/", ("/b", "delimiter=%2F&prefix=a%3Ab%2F")),
        ("s3", "/b", "acl&prefix=a+b%2f%ff*", ("/b", "acl=&prefix=a%20b%2F%FF%2A")),
        ("lambda", "/a", "t=x/y&a=1", ("/a", "a=1&t=x%2Fy")),
        # Once more than as it came, whatever stands there.
        ("bedrock", "/model/v1:0/invoke", "", ("/model/v1%3A0/invoke", "")),
        ("bedrock", "/model/v1%3A0/invoke", "", ("/model/v1%253A0/invoke", "")),
        ("s3tables", "/tables/arn%3Aaws/x", "", ("/tables/arn%253Aaws/x", "")),
    ],
)
def test_aws4_signs_what_the_cloud_makes_of_a_spelling(
    service: str, path: str, query: str, canonical: tuple[str, str]
) -> None:
    """The URL goes out as the caller spelled it; a cloud checks it in its own spelling."""
    prepare(Scheme.AWS4)
    sign = Sign(Scheme.AWS4, Reference("aws"), "eu-central-1", service)
    request = ToSign("GET", "host.amazonaws.com", path, query, [], b"")
    sent = headers_of(signed(sign, KEYS, request))
    checked = replace(request, path=canonical[0], query=canonical[1])
    signature = sent["authorization"].partition("Signature=")[2]
    assert signature == aws_signature(checked, sent, canonical[0], sign)
