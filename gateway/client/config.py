"""Config files with references to credentials, resolved when a value is used."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol, Self, overload

from gateway.client.secret import Secret
from gateway.client.sync import UnavailableError
from gateway.domain.policies.problems import Place, Problem
from gateway.domain.policies.references import OPEN, Reference, Template, parse


class ConfigError(Exception):
    """The mistakes in a config file: `problems`, each as file:line:col: message."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Secrets(Protocol):
    """`Credentials` or `SyncCredentials`."""

    def __getitem__(self, name: str) -> Secret: ...


class _ReadOnly:
    """Cannot be changed, so a copy is the object itself. A pickle would hold the agent's key."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A config with credentials is not pickled: load its file again.")


class Config(_ReadOnly, Mapping[str, Any]):
    """A mapping from the file. Text with references is resolved each time it is read, so it always
    holds the newest values; `repr` shows the references instead."""

    def __init__(self, data: Mapping[str, Any], credentials: Secrets) -> None:
        self._data = data
        self._credentials = credentials

    def __getitem__(self, name: str) -> Any:
        return _shown(self._data[name], self._credentials)

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"Config({_written(self._data)!r})"


class ConfigList(_ReadOnly, Sequence[Any]):
    """A list from the file, which behaves like `Config`."""

    def __init__(self, data: Sequence[Any], credentials: Secrets) -> None:
        self._data = data
        self._credentials = credentials

    @overload
    def __getitem__(self, at: int) -> Any: ...

    @overload
    def __getitem__(self, at: slice) -> "ConfigList": ...

    def __getitem__(self, at: int | slice) -> Any:
        return _shown(self._data[at], self._credentials)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"ConfigList({_written(self._data)!r})"


def load_config(path: str | Path, credentials: Secrets) -> Config:
    """Load the YAML or JSON file at `path`; ConfigError names every reference that means nothing.

    A `${…}` that is no reference of the gateway's stays as it is.
    """
    file = str(path)
    try:
        return _loaded(file, Path(path).read_text(encoding="utf-8-sig"), credentials)
    except UnicodeDecodeError:
        what = "this is not UTF-8"
    except RecursionError:
        what = "this is nested too deeply, or within itself"
    raise ConfigError([Problem(Place(file, 1, 1), what)])


def _loaded(file: str, text: str, credentials: Secrets) -> Config:
    data, marks = _json(file, text) if file.endswith(".json") else _yaml(file, text)
    if not isinstance(data, dict):
        raise ConfigError([Problem(Place(file, 1, 1), "a config file is a mapping of names")])
    problems = [p for written, place in marks for p in _problems(written, place, credentials)]
    if problems:
        raise ConfigError(sorted(set(problems)))
    return Config(_parsed(data), credentials)


def _problems(text: str, place: Place, credentials: Secrets) -> Iterator[Problem]:
    try:
        template = parse(text, strict=False)
    except ValueError as problem:
        yield Problem(place, str(problem))
        return
    for reference in template.references:
        try:
            _value(reference, credentials)
        except LookupError as problem:
            yield Problem(place, str(problem.args[0]))


def _value(reference: Reference, credentials: Secrets) -> str:
    if reference.of_user:
        raise UnavailableError(f"{reference} means nothing here: no user's request is served")
    secret = credentials[reference.name]
    return secret.field(reference.field) if reference.field else secret.reveal()


def _shown(value: Any, credentials: Secrets) -> Any:
    if isinstance(value, Template):
        return value.render(lambda reference: _value(reference, credentials))
    if isinstance(value, dict):
        return Config(value, credentials)
    return ConfigList(value, credentials) if isinstance(value, list) else value


def _parsed(value: Any) -> Any:
    """Return the same data, with a template in place of each text that holds a reference."""
    if isinstance(value, dict):
        return {name: _parsed(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_parsed(below) for below in value]
    if not isinstance(value, str) or OPEN not in value:
        return value
    made = parse(value, strict=False)
    return made if made.references else made.render(str)


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _written(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_written(below) for below in value]
    return str(value) if isinstance(value, Template) else value


Marks = list[tuple[str, Place]]


def _json(file: str, text: str) -> tuple[Any, Marks]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as problem:
        place = Place(file, problem.lineno, problem.colno)
        raise ConfigError([Problem(place, f"this is not JSON: {problem.msg}")]) from None
    return data, [(found, _position(file, text, found)) for found in _texts(data)]


def _position(file: str, text: str, found: str) -> Place:
    at = max(text.find(json.dumps(found, ensure_ascii=False)), text.find(json.dumps(found)), 0)
    return Place(file, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        if OPEN in data:
            yield data
    elif isinstance(data, dict | list):
        for below in data.values() if isinstance(data, dict) else data:
            yield from _texts(below)


def _yaml(file: str, text: str) -> tuple[Any, Marks]:
    # Imported late: programs without YAML files need no parser for it.
    import yaml

    try:
        data, root = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        raise ConfigError([Problem(place, "this is not YAML that can be read")]) from None
    return data, list(_scalars(root, file))


def _scalars(node: Any, file: str) -> Iterator[tuple[str, Place]]:
    value = getattr(node, "value", None)
    if isinstance(value, str):
        if OPEN in value:
            yield value, Place(file, node.start_mark.line + 1, node.start_mark.column + 1)
    elif isinstance(value, list):
        for below in value:
            for one in below if isinstance(below, tuple) else (below,):
                yield from _scalars(one, file)
