"""The fields of a `Model`. Each is a SQLAlchemy mapped column with its type chosen.

Every field takes, besides its own arguments, `primary_key`, `required` and `unique`, the
constraints of SQLAlchemy that stand in a column (such as `ForeignKey("models.name")`), and the
further options of `sqlalchemy.Column` (`default`, `index`, `server_default`, …).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import JSON, Boolean, Float, Integer, String
from sqlalchemy.orm import MappedColumn
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from maas.model.types import MsgspecJson, UtcDateTime

T = TypeVar("T")


class Field(MappedColumn[T]):
    """What all fields share.

    Args:
        column_type: the SQLAlchemy type.
        *constraints: constraints of the column.
        primary_key: whether it is (part of) the primary key; then it is also required, except
            for a single integer key, which the database numbers.
        required: NOT NULL in the table, and a ValueError at construction where it is missing.
        unique: whether no two rows may hold the same value.
        **options: further options of `sqlalchemy.Column`.
    """

    def __init__(
        self,
        column_type: TypeEngine[Any],
        *constraints: SchemaItem,
        primary_key: bool = False,
        required: bool = False,
        unique: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            column_type,
            *constraints,
            primary_key=primary_key,
            nullable=not (required or primary_key),
            # None, not False: Column reads False as a decision against its `index` being unique.
            unique=unique or None,
            **options,
        )


class StringField(Field[str]):
    """Text of any length, or of at most `length` characters where the database enforces it."""

    def __init__(self, *constraints: SchemaItem, length: int | None = None, **options: Any) -> None:
        super().__init__(String(length), *constraints, **options)


class IntegerField(Field[int]):
    """A whole number of 64 bits (on SQLite)."""

    def __init__(self, *constraints: SchemaItem, **options: Any) -> None:
        super().__init__(Integer(), *constraints, **options)


class FloatField(Field[float]):
    """A floating-point number of 64 bits."""

    def __init__(self, *constraints: SchemaItem, **options: Any) -> None:
        super().__init__(Float(), *constraints, **options)


class BooleanField(Field[bool]):
    """True or false."""

    def __init__(self, *constraints: SchemaItem, **options: Any) -> None:
        super().__init__(Boolean(), *constraints, **options)


class DateTimeField(Field[datetime]):
    """An instant: takes timezone-aware datetimes, stores RFC 3339 text, gives datetimes in UTC.

    A datetime without a time zone is refused with a ValueError when it is stored.
    """

    def __init__(self, *constraints: SchemaItem, **options: Any) -> None:
        super().__init__(UtcDateTime(), *constraints, **options)


class JSONField(Field[Any]):
    """Any JSON value. Assign a new value to change it: changes inside it are not noticed."""

    def __init__(self, *constraints: SchemaItem, **options: Any) -> None:
        super().__init__(JSON(none_as_null=True), *constraints, **options)


class MsgspecField(Field[T]):
    """A value of a type that msgspec knows, stored as JSON and checked when it is read.

    Args:
        value_type: a Struct, or a type such as `dict[str, float]`.
        *constraints: constraints of the column.
        **options: as for every field.
    """

    def __init__(self, value_type: type[T], *constraints: SchemaItem, **options: Any) -> None:
        super().__init__(MsgspecJson(value_type), *constraints, **options)
