"""What is read of a body, wherever it comes from."""

from typing import Protocol


class Body(Protocol):
    """What of a reader of a body is needed to pass it on."""

    def is_eof(self) -> bool: ...

    def at_eof(self) -> bool: ...

    def exception(self) -> BaseException | None: ...

    def set_exception(self, error: BaseException, /) -> None: ...

    def read_nowait(self, most: int, /) -> bytes: ...

    async def readany(self) -> bytes: ...


class BodyOver:
    """Stands in for the reader `_inner` of a body, and gives something else of it."""

    _inner: Body

    def is_eof(self) -> bool:
        return self._inner.is_eof()

    def exception(self) -> BaseException | None:
        return self._inner.exception()

    def set_exception(self, error: BaseException, /) -> None:
        self._inner.set_exception(error)


class WholeBody:
    """Stands in for the reader of a body that is here."""

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
        """It cannot be cut any more."""

    def take(self) -> bytes:
        """All of it."""
        text, self._text = self._text, b""
        return text

    def read_nowait(self, most: int, /) -> bytes:
        return self.take()

    async def readany(self) -> bytes:
        return self.take()
