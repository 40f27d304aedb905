"""Names as the registry compares them, and how its errors list what exists."""

from __future__ import annotations

from collections.abc import Sequence

from maas.core.errors import invalid
from maas.core.identity import check_name

LISTED = 10
"""How many names an error lists before it only counts the rest."""


def alias_name(text: str) -> str:
    """Returns an alias in the form it is stored.

    Raises:
        MaasError: INVALID_ARGUMENT where it cannot be one; digits alone would read as a version.
    """
    name = check_name(text, "alias")
    if name.isdigit():
        raise invalid(
            f"{name[:40]!r} is not an alias: digits alone are a version number; use a name such "
            "as 'prod'"
        )
    return name


def listing(names: Sequence[object]) -> str:
    """Writes names for an error: `a, b and c`, at most `LISTED` of them."""
    shown = [str(name) for name in names[:LISTED]]
    if len(names) > LISTED:
        shown.append(f"{len(names) - LISTED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
