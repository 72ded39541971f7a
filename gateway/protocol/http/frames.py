"""WebSocket frames on their way through: violations of RFC 6455 are found, nothing is changed."""

from collections.abc import Callable

GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
POLICY_VIOLATION = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011

# Frames without data a second: far more than any keep-alive sends, far fewer than hurt.
MAX_IDLE_FRAMES = 1000
DEFLATE_BIT = 0x40
ALL_BITS = 0x70

_FIN = 0x80
_MASK = 0x80
_CONTINUATION = 0
_CONTROL = 8
_CLOSE = 8
_LAST_DATA = 2
_LAST_CONTROL = 10


class FrameWatcher:
    """Watches one direction of a WebSocket, whose bytes it is fed.

    `masked`: it is the client's (section 5.1). `first_bits` and `later_bits`: reserved bits that
    an extension uses, on the first frame of a message and on all others. `clock`: monotonic
    seconds. `fault`: 0, or the close code for the sender of a violation. Nothing passes after a
    fault, or after a close frame (`closed`).
    """

    __slots__ = (
        "_clock",
        "_first_bits",
        "_held",
        "_idle_frames",
        "_later_bits",
        "_left",
        "_masked",
        "_max_message",
        "_message",
        "_second",
        "_unfinished",
        "closed",
        "fault",
    )

    def __init__(
        self,
        *,
        masked: bool,
        max_message: int,
        clock: Callable[[], float],
        first_bits: int = 0,
        later_bits: int = 0,
    ) -> None:
        self._masked = _MASK if masked else 0
        self._max_message = max_message
        self._clock = clock
        self._first_bits = first_bits
        self._later_bits = later_bits
        self._held = b""
        self._left = 0
        self._message = 0
        self._unfinished = False
        self._second = float("-inf")
        self._idle_frames = 0
        self.closed = False
        self.fault = 0

    @property
    def takes_close(self) -> bool:
        """Whether a close frame may follow what has passed."""
        return self._left == 0 and not self.closed

    def feed(self, data: bytes) -> bytes | memoryview:
        """Return the bytes of `data`, and of those held back before, that may pass."""
        if self._held:
            # Data is copied here alone: when a read ended within the head of a frame.
            data, self._held = self._held + data, b""
        size = len(data)
        if size <= self._left and not self.fault:
            self._left -= size
            return data
        at = self._left
        self._left = 0
        while at < size and not self.fault and not self.closed:
            head, payload = self._measure(data, at, size)
            if not head:
                if not self.fault:
                    self._held = data[at:]
                break
            at += head + payload
        if at <= size:
            return data if at == size else memoryview(data)[:at]
        self._left = at - size
        return data

    def _measure(self, data: bytes, at: int, size: int) -> tuple[int, int]:
        """Return the length of the head of the frame at `at`, without its mask, and the length of
        mask and payload. The first is 0 if the head is incomplete or a violation.
        """
        if size - at < 2:
            return 0, 0
        first, second = data[at], data[at + 1]
        code = first & 0x0F
        if second & _MASK != self._masked or not self._is_allowed_now(first, code, second & 0x7F):
            self.fault = PROTOCOL_ERROR
            return 0, 0
        head, length = 2, second & 0x7F
        if length > 125:
            head, least = (4, 126) if length == 126 else (10, 65536)
            if size - at < head:
                return 0, 0
            length = int.from_bytes(data[at + 2 : at + head], "big")
            # Section 5.2: the length in its shortest form, the highest bit zero.
            if length < least or length >> 63:
                self.fault = PROTOCOL_ERROR
                return 0, 0
        self._enter(first & _FIN, code, length)
        return (0 if self.fault else head), length + (4 if self._masked else 0)

    def _is_allowed_now(self, first: int, code: int, length: int) -> bool:
        """Whether such a frame is allowed now (sections 5.2, 5.4 and 5.5)."""
        reserved = first & ALL_BITS
        if code >= _CONTROL:
            whole = first & _FIN and length <= 125 and (code != _CLOSE or length != 1)
            return bool(whole) and code <= _LAST_CONTROL and not reserved & ~self._later_bits
        begins = code != _CONTINUATION
        allowed = self._first_bits if begins else self._later_bits
        return code <= _LAST_DATA and begins != self._unfinished and not reserved & ~allowed

    def _enter(self, fin: int, code: int, length: int) -> None:
        if code >= _CONTROL or not length:
            self._count_idle()
        if code >= _CONTROL:
            self.closed = self.closed or (code == _CLOSE and not self.fault)
            return
        self._message = length if code != _CONTINUATION else self._message + length
        self._unfinished = not fin
        if self._message > self._max_message:
            self.fault = TOO_BIG

    def _count_idle(self) -> None:
        now = self._clock()
        if now - self._second >= 1.0:
            self._second, self._idle_frames = now, 0
        self._idle_frames += 1
        if self._idle_frames > MAX_IDLE_FRAMES:
            self.fault = PROTOCOL_ERROR


def close_frame(code: int, mask: bytes = b"") -> bytes:
    """Return the close frame of a server or, with a `mask` of four random bytes, of a client."""
    payload = code.to_bytes(2, "big")
    if not mask:
        return b"\x88\x02" + payload
    return b"\x88\x82" + mask + bytes(a ^ b for a, b in zip(payload, mask, strict=False))
