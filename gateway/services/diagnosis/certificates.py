"""Certificates of the listener, and those that the gateway presents to upstreams."""

from collections.abc import Iterator
from pathlib import Path

from gateway.crypto.certificates import validity
from gateway.domain.errors import OperationError
from gateway.domain.policies.snapshot import Policies
from gateway.domain.units import DAY
from gateway.services.diagnosis.findings import Finding, Level
from gateway.services.diagnosis.private_files import private_file

SOON_DAYS = 30


def listener_found(cert: str, key: str, now: float) -> Iterator[Finding]:
    yield Finding("tls", *_judged(cert, key, "The listener's certificate", now))
    yield private_file(Path(key), "The listener's key")


def upstreams_certificates_found(policies: Policies, now: float) -> Iterator[Finding]:
    """Check each pair of files once, however many upstreams use it."""
    pairs = {
        (upstream.tls.cert, upstream.tls.key): f"The certificate for {upstream}"
        for agent in policies.everyone
        for upstream in agent.upstreams
        if upstream.tls.cert
    }
    for (cert, key), what in pairs.items():
        yield Finding("tls", *_judged(cert, key, what, now))
        yield private_file(Path(key), f"{what}: its key")


def _judged(cert: str, key: str, what: str, now: float) -> tuple[Level, str]:
    try:
        begins, ends = validity(cert, key)
    except OperationError as problem:
        return (
            Level.WRONG,
            f"{what} cannot be used: {problem}. Give a certificate and its key in PEM.",
        )
    days = int(abs(ends - now) // DAY)
    advice = "renew it; it is taken without a restart."
    if now >= ends:
        return Level.WRONG, f"{what}, {cert}, expired {days} days ago: {advice}"
    if now < begins:
        return (
            Level.WRONG,
            f"{what}, {cert}, is not valid yet: look at the clocks, or at who made it.",
        )
    if days < SOON_DAYS:
        return Level.WARN, f"{what}, {cert}, expires in {days} days: {advice}"
    return Level.OK, f"{what}, {cert}, is good for {days} days."
