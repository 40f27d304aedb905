"""Which version is the default: the history of promotions, read as a stack.

A promotion is laid on top. Rolling back marks as undone what lies above the version that served
before, so that rolling back again goes further back; deleting a version takes its promotions
out. Undone rows stay as history and count for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from maas.core.errors import ErrorKind, MaasError
from maas.registry.tables import ModelRow, PromotionRow


class Standing(Struct, frozen=True):
    """What a stack of promotions means: the default version, and what a rollback restores."""

    default: int | None
    previous: int | None


def standing(stack: Sequence[int]) -> Standing:
    """Reads a stack of promoted versions, newest first.

    Neighbours can be equal where a version between them was deleted: the previous version is
    the nearest that differs from the default.
    """
    if not stack:
        return Standing(None, None)
    return Standing(stack[0], next((v for v in stack if v != stack[0]), None))


def promote(session: Session, name: str, version: int, now: datetime) -> None:
    """Makes a version the default, of a model that is to be loaded."""
    load(session, name)
    stack = _stack(session, name)
    if not stack or stack[0].version != version:
        session.add(PromotionRow(name=name, version=version, promoted_at=now))


def rollback(session: Session, name: str, now: datetime) -> None:
    """Makes the version that served before the default again.

    Raises:
        MaasError: FAILED_PRECONDITION where there was none.
    """
    stack = _stack(session, name)
    previous = standing([row.version for row in stack]).previous
    if previous is None:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"{name} has no earlier default version to go back to; promote the version you want",
        )
    load(session, name)
    for row in stack:
        if row.version == previous:
            return
        row.undone_at = now


def load(session: Session, name: str) -> None:
    """Says that a model is to be loaded again."""
    session.execute(update(ModelRow).where(ModelRow.name == name).values(unloaded_at=None))


def _stack(session: Session, name: str) -> Sequence[PromotionRow]:
    return session.scalars(
        select(PromotionRow)
        .where(PromotionRow.name == name, PromotionRow.undone_at.is_(None))
        .order_by(PromotionRow.id.desc())
    ).all()
