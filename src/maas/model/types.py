"""Column types that SQLAlchemy does not have: instants in UTC, msgspec types as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import String, TypeDecorator


def rfc3339(moment: datetime) -> str:
    """Writes an instant as RFC 3339 in UTC, `2026-01-31T12:00:00.000000Z`.

    The width is fixed, so that the order of the texts is the order of the instants.

    Raises:
        ValueError: the datetime has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; use datetime.now(UTC)")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class UtcDateTime(TypeDecorator[datetime]):
    """Timezone-aware datetimes, stored as `rfc3339` text and read back in UTC."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Writes the text."""
        return None if value is None else rfc3339(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Reads the text."""
        return None if value is None else datetime.fromisoformat(value)


class MsgspecJson(TypeDecorator[Any]):
    """Values of one type that msgspec knows (a Struct, `dict[str, float]`, …), stored as JSON.

    Args:
        value_type: the type that is read back. JSON has no NaN and no infinity: they are
            stored as null and do not read back as numbers.
    """

    impl = Text
    cache_ok = True

    def __init__(self, value_type: Any) -> None:
        super().__init__()
        self.value_type = value_type

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> str | None:
        """Writes the JSON."""
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Any | None:
        """Reads the JSON."""
        return None if value is None else msgspec.json.decode(value, type=self.value_type)
