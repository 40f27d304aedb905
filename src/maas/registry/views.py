"""Rows become the records that the control API shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from maas.core.errors import not_found
from maas.core.records import ModelRecord, VersionRecord
from maas.model.types import rfc3339
from maas.registry.names import listing
from maas.registry.promotions import standing
from maas.registry.tables import AliasRow, ModelRow, PromotionRow, VersionRow

MAX_VERSION = 2**63 - 1
"""The largest integer that SQLite compares."""


def version_record(row: VersionRow, aliases: Sequence[str]) -> VersionRecord:
    """Makes the record of a version; the registry does not know whether it is loaded."""
    return VersionRecord(
        name=row.name,
        version=row.version,
        digest=row.digest,
        created_at=rfc3339(row.created_at),
        created_by=row.created_by,
        signatures=row.signatures,
        report=row.report,
        description=row.description,
        accuracy=row.accuracy,
        metrics=row.metrics,
        tags=row.tags,
        aliases=tuple(aliases),
    )


def model_names(session: Session, limit: int | None = None, after: str = "") -> list[str]:
    """Names of the models there are, in order, those after `after`."""
    return list(
        session.scalars(
            select(ModelRow.name)
            .where(ModelRow.deleted_at.is_(None), ModelRow.name > after)
            .order_by(ModelRow.name)
            .limit(limit)
        )
    )


def model_records(session: Session, names: Sequence[str] | None = None) -> tuple[ModelRecord, ...]:
    """Makes the records of the models of these names (None: of all), in the order of names."""

    def among(column: InstrumentedAttribute[str]) -> ColumnElement[bool]:
        return true() if names is None else column.in_(names)

    models = session.scalars(
        select(ModelRow)
        .where(ModelRow.deleted_at.is_(None), among(ModelRow.name))
        .order_by(ModelRow.name)
    ).all()
    aliases: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for alias in session.scalars(
        select(AliasRow).where(among(AliasRow.name)).order_by(AliasRow.alias)
    ):
        aliases[alias.name][alias.alias] = alias.version
    versions: defaultdict[str, list[VersionRecord]] = defaultdict(list)
    for row in session.scalars(
        select(VersionRow).where(among(VersionRow.name)).order_by(VersionRow.version.desc())
    ):
        own = [alias for alias, number in aliases[row.name].items() if number == row.version]
        versions[row.name].append(version_record(row, own))
    stacks: defaultdict[str, list[int]] = defaultdict(list)
    for promotion in session.scalars(
        select(PromotionRow)
        .where(among(PromotionRow.name), PromotionRow.undone_at.is_(None))
        .order_by(PromotionRow.id.desc())
    ):
        stacks[promotion.name].append(promotion.version)
    records = []
    for model in models:
        now = standing(stacks[model.name])
        records.append(
            ModelRecord(
                name=model.name,
                created_at=rfc3339(model.created_at),
                default_version=now.default,
                serving_version=None,
                previous_version=now.previous,
                aliases=aliases[model.name],
                versions=tuple(versions[model.name]),
                unloaded=model.unloaded_at is not None,
            )
        )
    return tuple(records)


def model_record(session: Session, name: str) -> ModelRecord:
    """Makes the record of one model.

    Raises:
        MaasError: NOT_FOUND.
    """
    find_model(session, name)
    return model_records(session, [name])[0]


def find_model(session: Session, name: str) -> ModelRow:
    """The row of a model.

    Raises:
        MaasError: NOT_FOUND, naming the models there are.
    """
    row = session.get(ModelRow, name)
    if row is None or row.deleted_at is not None:
        names = model_names(session)
        there_are = f"there are {listing(names)}" if names else "nothing has been published yet"
        raise not_found(f"there is no model {name!r}; {there_are}")
    return row


def find_version(session: Session, name: str, version: int) -> VersionRow:
    """The row of a version.

    Raises:
        MaasError: NOT_FOUND, naming the versions there are.
    """
    find_model(session, name)
    row = session.get(VersionRow, (name, version)) if 0 < version <= MAX_VERSION else None
    if row is None:
        versions = session.scalars(
            select(VersionRow.version)
            .where(VersionRow.name == name)
            .order_by(VersionRow.version.desc())
        ).all()
        there_are = f"there are {listing(versions)}" if versions else "it has none left"
        raise not_found(f"{name} has no version {version}; {there_are}")
    return row


def aliases_of(session: Session, name: str, version: int) -> list[str]:
    """The aliases of a version, in order."""
    return list(
        session.scalars(
            select(AliasRow.alias)
            .where(AliasRow.name == name, AliasRow.version == version)
            .order_by(AliasRow.alias)
        )
    )
