"""A JSON object's members, read by name and refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from maas.dialects.openai.errors import ParameterError
from maas.dialects.tensorjson.document import read

SHOWN = 40


class Fields:
    """The members of an object. A null is the same as nothing; unknown members pass.

    Args:
        members: of the object.
        path: of the object, for errors; empty for the body itself.
    """

    __slots__ = ("_members", "_path")

    def __init__(self, members: Mapping[str, Any], path: str = ""):
        self._members = members
        self._path = path

    def path(self, name: str) -> str:
        """What errors call a member."""
        return f"{self._path}.{name}" if self._path else name

    def get(self, name: str) -> Any:
        """A member as it is; None where it is absent."""
        return self._members.get(name)

    def refused(self, name: str, expected: str) -> ParameterError:
        """The error for a member that is not what was expected."""
        param = self.path(name)
        return ParameterError(param, f"{param} is {shown(self.get(name))}; expected {expected}")

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refused(name, "true or false")
        return value

    def whole(self, name: str, low: int, high: int) -> int | None:
        """An integer within bounds; None where it is absent."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.refused(name, f"an integer from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float, default: float) -> float:
        """A number within bounds."""
        value = self.get(name)
        if value is None:
            return default
        if not is_number(value) or not low <= value <= high:
            raise self.refused(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def text(self, name: str, most: int) -> str | None:
        """A text of at most so many characters; None where it is absent."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.refused(name, "a string")
        if len(value) > most:
            param = self.path(name)
            raise ParameterError(
                param, f"{param} has {len(value)} characters; at most {most} are taken"
            )
        return value

    def list(self, name: str, most: int) -> list[Any] | None:
        """A list of at most so many values; None where it is absent."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.refused(name, "a list")
        if len(value) > most:
            param = self.path(name)
            raise ParameterError(
                param, f"{param} holds {len(value)} values; at most {most} are taken"
            )
        return value

    def object(self, name: str) -> dict[str, Any] | None:
        """An object; None where it is absent."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refused(name, "an object")
        return value

    def fields(self, name: str) -> Fields | None:
        """An object's members; None where it is absent."""
        value = self.object(name)
        return None if value is None else Fields(value, self.path(name))


def read_fields(body: bytes) -> Fields:
    """Reads a body.

    Raises:
        MaasError: INVALID_ARGUMENT where it is no JSON object, or is nested too deep; TOO_LARGE.
    """
    document = read(body)
    members: dict[str, Any] = document.python(document.root)
    return Fields(members)


def is_number(value: object) -> bool:
    """Whether a value is a number; NaN lies within no bounds."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """Whether a value is an integer."""
    return isinstance(value, int) and not isinstance(value, bool)


def to_json(value: object, param: str) -> bytes:
    """Writes a part of a request as JSON again.

    Raises:
        MaasError: INVALID_ARGUMENT for an integer beyond 64 bits, which JSON's readers differ on.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        raise ParameterError(
            param, f"{param} holds an integer beyond 64 bits, or is nested too deep"
        ) from None


def shown(value: object) -> str:
    """A value as errors show it."""
    if isinstance(value, str):
        return repr(value) if len(value) <= SHOWN else f"{value[:SHOWN]!r}…"
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)[:SHOWN]
    return "a list" if isinstance(value, list) else "an object"
