"""What the bytes of a request show, and the parser below does not tell."""

HEAD_END = b"\r\n\r\n"


def has_single_blanks(received: bytes) -> bool:
    """RFC 9112 section 3: one blank each in a request line. The parser takes more, and other
    readers do not."""
    return received.count(b" ", 0, received.find(b"\r\n")) == 2


def is_one_request(received: bytes, length: str | None) -> bool:
    """Whether `received` is a head, a body of the `length` that it tells, and nothing else."""
    body = len(received) - received.find(HEAD_END) - len(HEAD_END)
    return body == (0 if length is None else int(length))
