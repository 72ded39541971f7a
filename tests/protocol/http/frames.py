"""WebSocket frames, as bytes."""

TEXT, BINARY, MORE, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


KEY = b"\x01\x02\x03\x04"


def frame(
    code: int, payload: bytes = b"", *, fin: bool = True, bits: int = 0, masked: bool = True
) -> bytes:
    first = bytes([code | bits | (0x80 if fin else 0)])
    mark, size = 0x80 if masked else 0, len(payload)
    if size < 126:
        length = bytes([mark | size])
    elif size < 65536:
        length = bytes([mark | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([mark | 127]) + size.to_bytes(8, "big")
    return first + length + (KEY if masked else b"") + payload
