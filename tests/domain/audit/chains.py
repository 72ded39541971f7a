"""Chains of audit records, as writers make them."""

import json
from typing import Any

from gateway.crypto.audit_key import sealed_with
from gateway.domain.audit.record import (
    END,
    AuditEvent,
    Chain,
    Named,
    digest,
)

KEYS = {"signer": b"k" * 32, "": b"unsigned"}


SEALS = {signer: sealed_with(key) for signer, key in KEYS.items()}


def chain(name: str, length: int, *, start: float = 1000.0, end: bool = True) -> list[str]:
    made = Chain(name, SEALS["signer"], "signer")
    events = [
        AuditEvent(
            END if end and seq == length else "credential.read",
            key_id=f"key-{seq}",
            credentials=(Named("crm", seq),),
        )
        for seq in range(1, length + 1)
    ]
    return [made.add(event, start + seq).decode() for seq, event in enumerate(events, 1)]


def interleaved() -> list[str]:
    """Three writers in one stream, in the order of their times."""
    lines = chain("a", 20) + chain("b", 20, start=1000.5) + chain("c", 15, start=1003.2, end=False)
    return sorted(lines, key=lambda line: json.loads(line)["ts"])


def signed_anew(record: dict[str, Any], **changes: Any) -> str:
    record = record | changes
    return json.dumps({**record, "hash": digest(record, KEYS["signer"])})


def unsigned(event: str, **changes: Any) -> str:
    record = json.loads(Chain("a", SEALS[""], "").add(AuditEvent(event), 1.0)) | changes
    return json.dumps({**record, "hash": digest(record, KEYS[""])})
