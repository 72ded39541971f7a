"""Read YAML as plain data with positions, without YAML's surprises.

The data is built from libyaml's events in one pass, with size, depth and aliases bounded before
anything is built. PyYAML's own constructors take 17 s for a hostile megabyte (measured), silently
let the last of two equal keys win, and read `no` as false. Texts that YAML readers take differently
are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.resolver import Resolver

from gateway.domain.policies.problems import Place, Problem
from gateway.domain.policies.references import OPEN

MAX_BYTES = 512 * 1024
MAX_NODES = 50_000
MAX_DEPTH = 24
MAX_PROBLEMS = 100

# Part of the path to a second value under one key, which is checked and not kept.
AGAIN = "(again)"

# The keys and indices that lead to a value.
Path = tuple[str | int, ...]

_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,17})?", re.ASCII)
# Numbers in YAML 1.2 that are none in 1.1, such as 1e3 or 08.
_LATER_NUMBER = re.compile(r"0o[0-7]+|[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}
_PLAIN = {"str": "text", "int": "a number", "float": "a number", "bool": "a boolean"}
_READ_AS = {**_PLAIN, "timestamp": "a date", "null": "nothing"}
_TAG = "tag:yaml.org,2002:"


class _Stop(Exception):
    """Nothing after this problem can be trusted."""


@dataclass(slots=True)
class Tree:
    """`data`: dict, list, str, int, float and bool; None if nothing could be read. `values` and
    `keys`: (line, column) of each value, and of the key that names it.
    """

    file: str
    data: Any = None
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Return where the value at `path` is, or its key; else the nearest value around it."""
        marks = self.keys if key else self.values
        while path and path not in marks:
            path, marks = path[:-1], self.values
        return Place(self.file, *marks.get(path, (1, 1)))


def read_tree(file: str, content: bytes) -> Tree:
    """Return `content` of `file` as data; `problems` has what is wrong with it as YAML."""
    tree = Tree(file)
    try:
        _Reader(tree, _decoded(tree, content)).read()
    except _Stop:
        tree.data = None
    except yaml.YAMLError as problem:
        tree.data = None
        tree.problems.append(_syntax(file, problem, content))
    return tree


def _decoded(tree: Tree, content: bytes) -> str:
    start = Place(tree.file, 1, 1)
    if len(content) > MAX_BYTES:
        tree.problems.append(Problem(start, f"the file is larger than {MAX_BYTES // 1024} KiB"))
        raise _Stop
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        tree.problems.append(Problem(Place(tree.file, line, 1), "this is not UTF-8 text"))
        raise _Stop from None
    if not text.strip():
        tree.problems.append(Problem(start, "the file is empty: it begins with 'version: 1'"))
        raise _Stop
    return text


class _Reader:
    def __init__(self, tree: Tree, text: str) -> None:
        self._tree = tree
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._resolver = Resolver()
        self._nodes = 0
        # The value of each anchor, and the number of nodes in it.
        self._anchors: dict[str, tuple[Any, int]] = {}

    def read(self) -> None:
        next(self._events)
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            self._stop(first, "the file is empty: it begins with 'version: 1'")
        self._tree.data = self._node(next(self._events), (), 0)
        next(self._events)
        more = next(self._events)
        if not isinstance(more, yaml.StreamEndEvent):
            self._stop(more, "a second document in one file: put it into a file of its own")

    def _node(self, event: Any, path: Path, depth: int) -> Any:
        self._count(event, 1)
        self._tree.values[path] = _mark(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.tag is not None:
            self._problem(event, f"tags such as '{event.tag[:40]}' have no meaning here")
        if depth > MAX_DEPTH:
            self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
        before = self._nodes
        value = self._value(event, path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._nodes - before + 1)
        return value

    def _value(self, event: Any, path: Path, depth: int) -> Any:
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth)
        return self._scalar(event)

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            self._stop(event, f"the alias '*{event.anchor}' stands for nothing before it")
        value, size = self._anchors[event.anchor]
        self._count(event, size)
        return value

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            below = (*path, key)
            if key in made:
                line, _ = self._tree.keys[below]
                self._problem(event, f"{_short(key)} is there twice: first in line {line}")
                self._node(next(self._events), (*below, AGAIN), depth + 1)
                continue
            self._tree.keys[below] = _mark(event)
            made[key] = self._node(next(self._events), below, depth + 1)
        return made

    def _key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._stop(event, "a key must be plain text")
        self._count(event, 1)
        if event.tag is not None:
            self._problem(event, f"tags such as '{event.tag[:40]}' have no meaning here")
        kind = self._kind(event)
        if kind == "merge":
            self._problem(event, "merge keys ('<<') are not read: repeat what they stand for")
        elif kind != "str":
            self._quote(event, kind)
        return str(event.value)

    def _sequence(self, path: Path, depth: int) -> list[Any]:
        made: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            made.append(self._node(event, (*path, len(made)), depth + 1))
        return made

    def _scalar(self, event: Any) -> Any:
        text, kind = str(event.value), self._kind(event)
        if kind in ("int", "float") and _NUMBER.fullmatch(text):
            return float(text) if "." in text else int(text)
        if kind == "bool" and text in _BOOLEANS:
            return _BOOLEANS[text]
        if kind == "null":
            # Left empty, `routes:` would mean "no routes given", which opens every path.
            self._problem(event, "nothing is written here: give a value, or leave the line out")
        elif kind != "str":
            self._quote(event, kind)
        return text

    def _kind(self, event: Any) -> str:
        """Return the type that YAML gives an unquoted scalar: by its text, not by the schema."""
        if not event.implicit[0]:
            return "str"
        tag = self._resolver.resolve(yaml.ScalarNode, event.value, (True, False))
        kind = str(tag).removeprefix(_TAG)
        return "float" if kind == "str" and _LATER_NUMBER.fullmatch(event.value) else kind

    def _quote(self, event: Any, kind: str) -> None:
        read_as = _READ_AS.get(kind, "something else")
        self._problem(
            event,
            f"{_short(event.value)} is {read_as} to some readers of YAML: put it in quotes"
            + (", or write true or false" if kind == "bool" else ""),
        )

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._stop(event, f"more than {MAX_NODES} values, aliases expanded: split the file")

    def _problem(self, event: Any, message: str) -> None:
        self._tree.problems.append(Problem(Place(self._tree.file, *_mark(event)), message))
        if len(self._tree.problems) >= MAX_PROBLEMS:
            raise _Stop

    def _stop(self, event: Any, message: str) -> None:
        self._problem(event, message)
        raise _Stop


def _mark(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _syntax(file: str, problem: yaml.YAMLError, content: bytes) -> Problem:
    mark = getattr(problem, "problem_mark", None)
    place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
    reason = getattr(problem, "problem", None) or getattr(problem, "reason", None)
    if "cannot start any token" in str(reason):
        reason = "tabs do not indent, and text that begins with @, % or a backtick wants quotes"
    elif "did not find expected" in str(reason):
        reason = "look at the indentation, the quotes and the brackets here and in the lines before"
        line = b"".join(content.splitlines()[place.line - 1 : place.line]).decode(errors="replace")
        # The place is that of the brace, which begins a mapping.
        if line.startswith(OPEN, max(place.column - 2, 0)):
            reason = 'within { } or [ ] a reference wants quotes: "${credentials.NAME}"'
    return Problem(place, f"this is not YAML: {reason or 'it cannot be read'}")
