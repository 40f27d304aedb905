"""Versions of what reads models here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def read_with(*distributions: str) -> dict[str, str]:
    """The installed versions of these distributions; those that are missing are left out."""
    found: dict[str, str] = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
