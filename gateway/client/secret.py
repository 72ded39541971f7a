"""A secret that does not show by itself: not in logs, not in tracebacks, not in JSON."""

from collections.abc import Callable
from typing import NoReturn

from gateway.client.sync import UnavailableError
from gateway.domain.credentials import Credential

MASK = "********"


class Secret:
    """One credential by its name, always the newest: each call looks it up.

    `str`, `repr` and formatting are masked; it cannot be pickled, copied or compared.
    """

    __slots__ = ("_find", "_name")

    def __init__(self, name: str, find: Callable[[], Credential]) -> None:
        self._name = name
        self._find = find

    @property
    def name(self) -> str:
        return self._name

    @property
    def type(self) -> str:
        return self._find().type

    @property
    def version(self) -> int:
        """A number that grows with every rotation."""
        return self._find().current.number

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of its fields."""
        return tuple(self._find().current.fields)

    def reveal(self) -> str:
        """Return the main value; UnavailableError if it cannot be had now, or there is none."""
        credential = self._find()
        value = credential.current.fields.get(credential.main)
        if value is None:
            raise UnavailableError(
                f"Credential '{self._name}' of type {credential.type} has no main value: name one "
                f"of its fields, {', '.join(credential.current.fields)}."
            )
        return value

    def field(self, name: str) -> str:
        """Return a field, such as `access_key_id`; UnavailableError if there is no such field."""
        fields = self._find().current.fields
        if name not in fields:
            raise UnavailableError(
                f"Credential '{self._name}' has no field {name!r}: there are {', '.join(fields)}."
            )
        return fields[name]

    def __repr__(self) -> str:
        return f"Secret({self._name!r}, {MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Secret is not copied or pickled: pass its name on.")
