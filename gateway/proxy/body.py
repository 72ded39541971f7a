"""The readers of bodies, of requests and of answers."""

from typing import Protocol


class Body(Protocol):
    """The part of aiohttp's StreamReader that passing a body on takes."""

    def is_eof(self) -> bool: ...

    def at_eof(self) -> bool: ...

    def exception(self) -> BaseException | None: ...

    def set_exception(self, error: BaseException, /) -> None: ...

    def read_nowait(self) -> bytes: ...

    async def readany(self) -> bytes: ...


class BodyWrapper:
    """A reader that changes what it reads from the reader `_inner`."""

    _inner: Body

    def is_eof(self) -> bool:
        return self._inner.is_eof()

    def exception(self) -> BaseException | None:
        return self._inner.exception()

    def set_exception(self, error: BaseException, /) -> None:
        self._inner.set_exception(error)


class BufferingWrapper(BodyWrapper):
    """A wrapper that holds received bytes back until it has worked through them.

    Until it has `_ended` the answer can be cut, though all its bytes may have been received.
    """

    _ended = False
    _cut: BaseException | None = None

    def is_eof(self) -> bool:
        return self._ended

    def at_eof(self) -> bool:
        return self._ended

    def set_exception(self, error: BaseException, /) -> None:
        """End the body now, whatever is held back."""
        self._cut = error
        super().set_exception(error)


class WholeBody:
    """A body that has been received whole."""

    __slots__ = ("_text",)

    def __init__(self, text: bytes) -> None:
        self._text = text

    def is_eof(self) -> bool:
        return True

    def at_eof(self) -> bool:
        return not self._text

    def exception(self) -> BaseException | None:
        return None

    def set_exception(self, error: BaseException, /) -> None:
        """Do nothing: the body cannot be cut any more."""

    def read_nowait(self) -> bytes:
        text, self._text = self._text, b""
        return text

    async def readany(self) -> bytes:
        return self.read_nowait()
