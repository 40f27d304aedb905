"""What changes the catalogue, each within the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from maas.core.errors import ErrorKind, MaasError, not_found
from maas.core.records import VersionPatch
from maas.registry.drafts import VersionDraft
from maas.registry.names import alias_name, listing
from maas.registry.promotions import promote
from maas.registry.served import check_served
from maas.registry.tables import AliasRow, ModelRow, PromotionRow, RetiredRow, VersionRow
from maas.registry.views import aliases_of, find_model, find_version


def add_version(
    session: Session, name: str, artifact: str, draft: VersionDraft, now: datetime
) -> VersionRow:
    """Adds a version, with its aliases and its promotion.

    Its number is the one that its options give, else one above the highest that the name ever
    had, also before it was deleted.

    Raises:
        MaasError: ALREADY_EXISTS where the number is taken, or was, by other content, and where
            the name or a served name is another model's.
    """
    check_served(session, name, draft.options.served_names)
    given = draft.options.version
    if given is not None and numbered(session, name, given, draft.digest) is not None:
        raise MaasError(
            ErrorKind.ALREADY_EXISTS, f"{name}:{given} was published by somebody else just now"
        )
    model = session.get(ModelRow, name)
    if model is None:
        model = ModelRow(name=name, created_at=now, next_version=1)
        session.add(model)
    elif model.deleted_at is not None:
        model.created_at = now
        model.deleted_at = None
    options = draft.options
    number = model.next_version if given is None else given
    row = VersionRow(
        name=name,
        version=number,
        digest=draft.digest,
        fingerprint=draft.fingerprint,
        artifact=artifact,
        entry=draft.entry,
        format=draft.format,
        signatures=draft.signatures,
        report=draft.report,
        description=options.description,
        accuracy=options.accuracy,
        metrics=options.metrics,
        tags=options.tags,
        created_at=now,
        created_by=draft.created_by,
    )
    model.next_version = max(model.next_version, number + 1)
    # The rows below refer to those above, which SQLAlchemy does not order without being told.
    session.flush()
    session.add(row)
    session.execute(delete(RetiredRow).where(RetiredRow.name == name, RetiredRow.version == number))
    session.flush()
    for alias in options.alias:
        set_alias(session, name, alias, row.version)
    if options.promote:
        promote(session, name, row.version, now)
    session.flush()
    return row


def numbered(session: Session, name: str, number: int, digest: str) -> VersionRow | None:
    """The version of this number where it holds this content; None where the number is free.

    Raises:
        MaasError: ALREADY_EXISTS where the number means other content, or did before it was
            deleted.
    """
    row = session.get(VersionRow, (name, number))
    if row is not None and row.digest == digest:
        return row
    retired = session.get(RetiredRow, (name, number))
    if row is None and (retired is None or retired.digest == digest):
        return None
    there = "exists with other content" if row is not None else "was other content before"
    raise MaasError(
        ErrorKind.ALREADY_EXISTS,
        f"{name}:{number} {there}; a version number always means the same model: give what has "
        "changed a number that was never used",
    )


def unload(session: Session, name: str, now: datetime) -> None:
    """Says that a model is to be kept out of memory; `promotions.load` undoes it.

    Raises:
        MaasError: NOT_FOUND.
    """
    row = find_model(session, name)
    row.unloaded_at = row.unloaded_at or now


def set_alias(session: Session, name: str, alias: str, version: int) -> None:
    """Sets or moves an alias.

    Raises:
        MaasError: NOT_FOUND, or INVALID_ARGUMENT where it cannot be an alias.
    """
    find_version(session, name, version)
    session.merge(AliasRow(name=name, alias=alias_name(alias), version=version))


def delete_alias(session: Session, name: str, alias: str) -> None:
    """Removes an alias.

    Raises:
        MaasError: NOT_FOUND, naming the aliases there are.
    """
    find_model(session, name)
    row = session.get(AliasRow, (name, alias_name(alias)))
    if row is None:
        aliases = session.scalars(
            select(AliasRow.alias).where(AliasRow.name == name).order_by(AliasRow.alias)
        ).all()
        there_are = f"there are {listing(aliases)}" if aliases else "it has none"
        raise not_found(f"{name} has no alias {alias!r}; {there_are}")
    session.delete(row)


def patch_version(session: Session, name: str, version: int, patch: VersionPatch) -> VersionRow:
    """Changes a version's description and figures; what is absent stays.

    Raises:
        MaasError: NOT_FOUND.
    """
    row = find_version(session, name, version)
    if patch.description is not None:
        row.description = patch.description
    if patch.accuracy is not None:
        row.accuracy = patch.accuracy
    if patch.metrics is not None:
        row.metrics = patch.metrics
    if patch.tags is not None:
        row.tags = patch.tags
    return row


def delete_version(session: Session, name: str, version: int) -> None:
    """Removes a version. The default falls back to the promotion before, where there is one.

    Raises:
        MaasError: NOT_FOUND; FAILED_PRECONDITION where it has aliases.
    """
    row = find_version(session, name, version)
    aliases = aliases_of(session, name, version)
    if aliases:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"{name}:{version} has the alias {listing(aliases)}; move or delete "
            f"{'it' if len(aliases) == 1 else 'them'} first",
        )
    session.add(RetiredRow(name=name, version=version, digest=row.digest))
    session.delete(row)


def delete_model(session: Session, name: str, now: datetime) -> None:
    """Removes a model with its versions, aliases and promotions; its numbers stay used.

    Raises:
        MaasError: NOT_FOUND.
    """
    model = find_model(session, name)
    gone = select(VersionRow.name, VersionRow.version, VersionRow.digest).where(
        VersionRow.name == name
    )
    session.execute(insert(RetiredRow).from_select(["name", "version", "digest"], gone))
    for table in (AliasRow, PromotionRow, VersionRow):
        session.execute(delete(table).where(table.name == name))
    model.deleted_at = now
    model.unloaded_at = None
