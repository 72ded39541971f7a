"""A mistake in a policy file, and its place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        # A name that is not UTF-8 cannot be encoded as JSON.
        file = self.file.encode("utf-8", "backslashreplace").decode()
        return f"{file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake; `str()` is `file:line:col: message`."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"
