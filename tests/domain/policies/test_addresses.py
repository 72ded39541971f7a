"""Where clouds keep their credentials, in every spelling of an address."""

import pytest

from gateway.domain.policies.addresses import is_guarded, is_public


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "169.254.255.255",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "64:ff9b::a9fe:a9fe",
        "fe80::1",
        "fe80::1%eth0",
        "febf:ffff::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "::ffff:168.63.129.16",
        "fd20:ce::254",
        "fd00:ec2::23",
        "fd00:c1::a9fe:a9fe",
        "fd00:100::100:200",
        "fd00:42::42",
        "fd00:a9fe:a9fe::1",
        "64:ff9b:1::a9fe:a9fe",
        "::169.254.169.254",
        "::ffff:0:169.254.169.254",
    ],
)
def test_guarded(address: str) -> None:
    assert is_guarded(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.253.0.1",
        "169.255.0.1",
        "::1",
        "fd00::1",
        "fec0::1",
        "2600::a9fe:a9fe",
        "a.test",
    ],
)
def test_not_guarded(address: str) -> None:
    assert not is_guarded(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "233.252.0.1",
        "::1",
        "fd00::1",
        "fe80::1%eth0",
        "ff0e::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::e000:1",
        "2002:a00:1::",
        "a.test",
    ],
)
def test_not_public(address: str) -> None:
    """Nor does it become public by being written inside another address."""
    assert not is_public(address)
