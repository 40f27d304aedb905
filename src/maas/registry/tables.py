"""The tables of the registry, declared as anyone declares a `Model`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, MetaData
from sqlalchemy.orm import Mapped

from maas.core.records import Report
from maas.core.signature import Signature
from maas.model import Model
from maas.model.fields import (
    DateTimeField,
    FloatField,
    IntegerField,
    MsgspecField,
    StringField,
)


class Table(
    Model,
    metadata=MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    ),
):
    """The family of the registry's tables, apart from those that users declare.

    Constraints have names, since a later migration can only change what has one.
    """


class ModelRow(Table):
    """A name. The row outlives its deletion, so that version numbers are never reused.

    `unloaded_at` is set while its versions stay published and are kept out of memory.
    """

    __tablename__ = "models"

    name = StringField(primary_key=True)
    created_at = DateTimeField(required=True)
    deleted_at: Mapped[datetime | None] = DateTimeField()
    next_version = IntegerField(required=True)
    unloaded_at: Mapped[datetime | None] = DateTimeField()


class VersionRow(Table):
    """A published version. `artifact` is the SHA-256, in hex, of the folder that holds it."""

    __tablename__ = "versions"
    __table_args__ = (Index(None, "name", "fingerprint"),)

    name = StringField(ForeignKey("models.name"), primary_key=True)
    version = IntegerField(primary_key=True)
    digest = StringField(required=True)
    fingerprint = StringField(required=True)
    artifact = StringField(required=True, index=True)
    entry = StringField(required=True)
    format = StringField(required=True)
    signatures = MsgspecField(dict[str, Signature], required=True)
    report = MsgspecField(Report, required=True)
    description = StringField(required=True)
    accuracy: Mapped[float | None] = FloatField()
    metrics = MsgspecField(dict[str, float], required=True)
    tags = MsgspecField(dict[str, str], required=True)
    created_at = DateTimeField(required=True)
    created_by = StringField(required=True)


class RetiredRow(Table):
    """The number of a version that was deleted, and what it meant; empty where nobody knows.

    A number means the same content for ever: only that content may come back under it.
    """

    __tablename__ = "retired"

    name = StringField(ForeignKey("models.name"), primary_key=True)
    version = IntegerField(primary_key=True)
    digest = StringField(required=True)


class AliasRow(Table):
    """A name for one version of a model. A version that has one cannot be deleted."""

    __tablename__ = "aliases"
    __table_args__ = (
        ForeignKeyConstraint(
            ["name", "version"], ["versions.name", "versions.version"], ondelete="RESTRICT"
        ),
    )

    name = StringField(primary_key=True)
    alias = StringField(primary_key=True)
    version = IntegerField(required=True)


class PromotionRow(Table):
    """One promotion of a version to the default; `undone_at` once a rollback went behind it."""

    __tablename__ = "promotions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["name", "version"], ["versions.name", "versions.version"], ondelete="CASCADE"
        ),
        Index(None, "name", "id"),
    )

    id = IntegerField(primary_key=True)
    name = StringField(required=True)
    version = IntegerField(required=True)
    promoted_at = DateTimeField(required=True)
    undone_at: Mapped[datetime | None] = DateTimeField()


class KeyRow(Table):
    """A key, by the hex SHA-256 of it; the key itself is nowhere."""

    __tablename__ = "keys"

    id = StringField(primary_key=True)
    name = StringField(required=True)
    role = StringField(required=True)
    digest = StringField(required=True, unique=True)
    created_at = DateTimeField(required=True)
    revoked_at: Mapped[datetime | None] = DateTimeField()
