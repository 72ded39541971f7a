"""Give a program's user access to the program in a closed directory, mostly somebody's home, and to
nothing beside it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# What an interpreter needs of the directory above its own `bin`.
_BESIDE = ("bin", "sbin", "lib", "lib64", "libexec", "pyvenv.cfg")
MOST_LINKS = 40


@dataclass(slots=True)
class Cover:
    """A closed directory, which is replaced by one that holds only `links`, by path with their
    targets, and `places`."""

    folder: str
    links: dict[str, str] = field(default_factory=dict)
    places: set[str] = field(default_factory=set)

    def holds(self, path: str) -> bool:
        """Whether `path` can be seen in it."""
        return any(Path(path).is_relative_to(place) for place in self.places)


def needed(path: Path, named: Iterable[str]) -> tuple[str, ...]:
    """Return what the program at `path` needs to run: itself, what it was installed with, and the
    files in `named`, the part of its command line that the policy wrote."""
    found: dict[str, None] = {}
    for hop in _hops(path):
        above = hop.parent.parent
        if hop.parent.name in ("bin", "sbin") and above != Path("/"):
            found |= dict.fromkeys(str(above / one) for one in _BESIDE if (above / one).exists())
        else:
            found[str(hop)] = None
    found |= dict.fromkeys(filter(_is_own_file, named))
    return tuple(_outermost(found))


def covers(places: Iterable[str]) -> list[Cover]:
    """Return the closed directories on the way to `places`, for a user who owns nothing there."""
    found: dict[str, Cover] = {}
    for place in places:
        links, path = _followed(Path(place))
        for name, target in links:
            if (closed := _closed(Path(name))) is not None:
                found.setdefault(closed, Cover(closed)).links[name] = target
        if (closed := _closed(path)) is not None:
            found.setdefault(closed, Cover(closed)).places.add(str(path))
    for cover in found.values():
        cover.places = set(_outermost(cover.places))
    return list(found.values())


def _is_own_file(item: str) -> bool:
    """Whether an argument names a file to open up. Not a directory: `/` would open up everything.
    Not a file in /proc: it would be about another process."""
    path = Path(item)
    return path.is_absolute() and path.is_file() and not path.resolve().is_relative_to("/proc")


def _hops(path: Path) -> Iterator[Path]:
    for _ in range(MOST_LINKS):
        yield path
        if not path.is_symlink():
            return
        path = Path(os.path.normpath(path.parent / path.readlink()))


def _followed(path: Path) -> tuple[list[tuple[str, str]], Path]:
    """Return the symbolic links on the way to `path`, and where they lead."""
    links: list[tuple[str, str]] = []
    at, todo = Path("/"), list(path.parts[1:])
    while todo and len(links) < MOST_LINKS:
        step = todo.pop(0)
        at = Path(os.path.normpath(at / step))
        if at.is_symlink():
            target = os.readlink(at)  # noqa: PTH115 (as it was written)
            links.append((str(at), target))
            led = Path(os.path.normpath(at.parent / target))
            at, todo = Path("/"), [*led.parts[1:], *todo]
    return links, at


def _closed(path: Path) -> str | None:
    """Return the outermost directory above `path` that others may not enter."""
    above: Sequence[Path] = list(path.parents)[::-1]
    return next((str(one) for one in above if one.exists() and not one.stat().st_mode & 1), None)


def _outermost(places: Iterable[str]) -> Iterator[str]:
    last = None
    for place in sorted(map(Path, places)):
        if last is None or not place.is_relative_to(last):
            last = place
            yield str(place)
