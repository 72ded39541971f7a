"""What Redis says of a key's record, one answer of many: a value, nothing, or an error."""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from gateway.domain.records import KeyRecord, field_names, from_fields
from gateway.store.failures import translated


def as_answer(answer: Any) -> Any:
    """StoreError where it is an error: not knowing must not look like a key that is gone."""
    if not isinstance(answer, Exception):
        return answer
    with translated():
        raise answer


def value_or_none(answer: Any) -> Any:
    """None where the name holds something that is no record."""
    if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
        return None
    return as_answer(answer)


def record_or_none(key_id: str, answer: Sequence[bytes | None] | Exception) -> KeyRecord | None:
    """None where there is no record, or something that is none."""
    values = value_or_none(answer)
    return None if values is None else read_record(key_id, values)


def read_record(key_id: str, values: Sequence[bytes | None]) -> KeyRecord | None:
    texts = {
        name: value.decode(errors="replace")
        for name, value in zip(field_names(), values, strict=True)
        if value is not None
    }
    return from_fields(key_id, texts) if texts else None
