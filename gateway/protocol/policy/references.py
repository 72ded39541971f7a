"""References in policy files: where each stands, and problems of those that make no sense."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from gateway.domain.policies.problems import Problem
from gateway.domain.policies.references import OPEN, Reference, read
from gateway.domain.policies.services import SENT_WHOLE, SIGNING_FIELDS
from gateway.domain.policies.snapshot import Mention
from gateway.protocol.policy.tree import Path, Tree


def mentions(trees: Iterable[Tree]) -> tuple[tuple[Mention, ...], list[Problem]]:
    """Return every reference in any text of these files, and problems of malformed ones."""
    found: list[Mention] = []
    problems: list[Problem] = []
    for tree in trees:
        for path, text in _texts(tree.data, ()):
            place = tree.place(path)
            types = SENT_WHOLE if path[-2:] == ("inject", "credential") else ()
            template, wrong = read(text)
            found += [Mention(place, one, types) for one in _expanded(path, template.references)]
            problems += [Problem(place, sentence) for sentence in wrong]
    return tuple(found), problems


def _expanded(path: Path, references: Iterable[Reference]) -> Iterator[Reference]:
    """Yield the references that these stand for: a signing credential stands for its fields, since
    its type has no main value."""
    for reference in references:
        if path[-2:] == ("sign", "credential"):
            yield from (replace(reference, field=name) for name in SIGNING_FIELDS)
        else:
            yield reference


def _texts(data: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(data, str):
        if OPEN in data:
            yield path, data
    elif isinstance(data, dict):
        for name, value in data.items():
            yield from _texts(value, (*path, name))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _texts(value, (*path, number))
