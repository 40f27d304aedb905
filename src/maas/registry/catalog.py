"""`Registry`: the catalogue of what exists and what is wanted. One process uses it, any thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from sqlalchemy import select

from maas.core.errors import MaasError, invalid
from maas.core.identity import check_name, check_publish_name
from maas.core.ports import Artifact
from maas.core.records import KeyRecord, ModelRecord, Page, Role, VersionPatch, VersionRecord
from maas.registry import changes, keys, promotions, views
from maas.registry import served as served_names
from maas.registry.artifacts import ArtifactStore
from maas.registry.database import Database
from maas.registry.disk import clear_disk_errors, make_private
from maas.registry.drafts import VersionDraft, check_draft, check_options, check_patch
from maas.registry.migrate import migrate
from maas.registry.tables import VersionRow

MAX_PAGE = 1000
"""Models of one page."""


class Registry:
    """Models, versions, aliases, promotions and keys, and the files of the versions.

    Made by `open`. Every method may be called from any thread and is one transaction; names are
    normalised to Unicode NFC and then compared exactly. Besides what each method says, any of
    them raises MaasError: INVALID_ARGUMENT for what cannot be a name, RESOURCE_EXHAUSTED for a
    full disk, FAILED_PRECONDITION for a read-only one, UNAVAILABLE where another process holds
    the database; then nothing was changed.
    """

    def __init__(
        self, database: Database, artifacts: ArtifactStore, now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._now = now
        # Between a folder reaching its address and the row that refers to it, no sweep.
        self._placing = threading.Lock()

    @classmethod
    def open(cls, home: Path, now: Callable[[], datetime]) -> Registry:
        """Opens the registry of a data folder, making what is missing.

        Migrates the database (a copy of it stays beside it) and sweeps what an earlier process
        left: staged folders, and stored ones that no version refers to.

        Args:
            home: the data folder; made 0700. No other process may have it open.
            now: the clock, timezone-aware.

        Raises:
            MaasError: FAILED_PRECONDITION where the schema is newer than this code or the
                folder cannot be written.
        """
        with clear_disk_errors():
            make_private(home)
        file = home / "registry.db"
        database = Database(file)
        try:
            migrate(file, now)
            registry = cls(database, ArtifactStore(home), now)
            registry._artifacts.empty_staging()
            registry.sweep()
        except BaseException:
            database.close()
            raise
        return registry

    def close(self) -> None:
        """Closes the database. Nothing may be called afterwards."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Publishing

    def stage(self) -> Path:
        """Makes a 0700 folder for a publish.

        The files to serve go to the folder `artifact` in it, what was published to `original`.
        """
        return self._artifacts.stage()

    def discard(self, staged: Path) -> None:
        """Removes a staged folder with all it holds; it may be gone already."""
        self._artifacts.discard(staged)

    def find(self, name: str, fingerprint: str) -> VersionRecord | None:
        """The newest version that was published with this fingerprint, or None."""
        name = check_name(name)
        with self._database.read() as session:
            row = session.scalars(
                select(VersionRow)
                .where(VersionRow.name == name, VersionRow.fingerprint == fingerprint)
                .order_by(VersionRow.version.desc())
                .limit(1)
            ).first()
            if row is None:
                return None
            return views.version_record(row, views.aliases_of(session, name, row.version))

    def numbered(self, name: str, n: int, digest: str) -> VersionRecord | None:
        """The version of this number where it holds this content; None where it is free.

        Raises:
            MaasError: ALREADY_EXISTS where the number means other content, or did before it was
                deleted.
        """
        name = check_name(name)
        with self._database.read() as session:
            row = changes.numbered(session, name, n, digest)
            if row is None:
                return None
            return views.version_record(row, views.aliases_of(session, name, n))

    def check_served(self, name: str, served: Sequence[str]) -> None:
        """Checks that a model's name and served names are nobody else's; `commit` does so again.

        Raises:
            MaasError: ALREADY_EXISTS, naming the model that has the name.
        """
        name = check_name(name)
        with self._database.read() as session:
            served_names.check_served(session, name, served)

    def commit(self, staged: Path, draft: VersionDraft) -> VersionRecord:
        """Stores a staged folder and makes a version of the model from it.

        When this returns, the version is on the disk. If it fails, or the process ends at any
        moment before, there is no version. Either way the staged folder is gone.

        Raises:
            MaasError: INVALID_ARGUMENT for a name that cannot be published under, or options
                that `check_options` refuses; ALREADY_EXISTS for a number given in the options
                that means other content, and for names that another model has.
        """
        try:
            name = check_publish_name(draft.name)
            check_options(draft.options)
            check_draft(draft)
            address = self._artifacts.seal(staged, draft.entry)
            with self._placing:
                is_new = self._artifacts.place(staged, address)
                try:
                    with self._database.write() as session:
                        row = changes.add_version(session, name, address, draft, self._now())
                        aliases = views.aliases_of(session, name, row.version)
                        return views.version_record(row, aliases)
                except BaseException:
                    if is_new:
                        self._withdraw(address)
                    raise
        finally:
            self._artifacts.discard(staged)

    # Reading

    def model(self, name: str) -> ModelRecord:
        """One model.

        Raises:
            MaasError: NOT_FOUND.
        """
        name = check_name(name)
        with self._database.read() as session:
            return views.model_record(session, name)

    def models(self, limit: int = 100, cursor: str | None = None) -> Page:
        """A page of models, in the order of their names.

        Args:
            limit: how many, 1 to 1000.
            cursor: the page before's; None to begin.

        Raises:
            MaasError: INVALID_ARGUMENT for a limit out of range or what is not a cursor.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise invalid(f"limit is {limit}; expected 1 to {MAX_PAGE}")
        after = "" if cursor is None else check_name(cursor)
        with self._database.read() as session:
            names = views.model_names(session, limit + 1, after)
            page = names[:limit]
            return Page(
                models=views.model_records(session, page),
                cursor=page[-1] if len(names) > limit else None,
            )

    def snapshot(self) -> tuple[ModelRecord, ...]:
        """Every model, all of one moment."""
        with self._database.read() as session:
            return views.model_records(session)

    def version(self, name: str, n: int) -> VersionRecord:
        """One version.

        Raises:
            MaasError: NOT_FOUND.
        """
        name = check_name(name)
        with self._database.read() as session:
            row = views.find_version(session, name, n)
            return views.version_record(row, views.aliases_of(session, name, n))

    def artifact(self, name: str, n: int) -> Artifact:
        """The files of one version, with their absolute path.

        Raises:
            MaasError: NOT_FOUND.
        """
        name = check_name(name)
        with self._database.read() as session:
            row = views.find_version(session, name, n)
            return Artifact(
                path=str(self._artifacts.served(row.artifact).absolute()),
                entry=row.entry,
                format=row.format,
                signatures=row.signatures,
                generative=row.report.generative,
            )

    # Changing

    def promote(self, name: str, n: int) -> ModelRecord:
        """Makes a version the default.

        Raises:
            MaasError: NOT_FOUND.
        """
        name = check_name(name)
        with self._database.write() as session:
            views.find_version(session, name, n)
            promotions.promote(session, name, n, self._now())
            return views.model_record(session, name)

    def rollback(self, name: str) -> ModelRecord:
        """Makes the version that was the default before the default again; repeatable.

        Raises:
            MaasError: NOT_FOUND; FAILED_PRECONDITION where there is nothing to go back to.
        """
        name = check_name(name)
        with self._database.write() as session:
            views.find_model(session, name)
            promotions.rollback(session, name, self._now())
            return views.model_record(session, name)

    def unload(self, name: str) -> ModelRecord:
        """Says that a model is to be kept out of memory; it stays published as it is.

        `load`, a promotion and a roll-back end that. Doing it again changes nothing.

        Raises:
            MaasError: NOT_FOUND.
        """
        name = check_name(name)
        with self._database.write() as session:
            changes.unload(session, name, self._now())
            return views.model_record(session, name)

    def load(self, name: str) -> ModelRecord:
        """Undoes `unload`; nothing happens where there was none.

        Raises:
            MaasError: NOT_FOUND.
        """
        name = check_name(name)
        with self._database.write() as session:
            views.find_model(session, name)
            promotions.load(session, name)
            return views.model_record(session, name)

    def set_alias(self, name: str, alias: str, n: int) -> ModelRecord:
        """Sets or moves an alias.

        Raises:
            MaasError: NOT_FOUND; INVALID_ARGUMENT where it cannot be an alias.
        """
        name = check_name(name)
        with self._database.write() as session:
            changes.set_alias(session, name, alias, n)
            return views.model_record(session, name)

    def delete_alias(self, name: str, alias: str) -> ModelRecord:
        """Removes an alias; the version stays.

        Raises:
            MaasError: NOT_FOUND.
        """
        name = check_name(name)
        with self._database.write() as session:
            changes.delete_alias(session, name, alias)
            return views.model_record(session, name)

    def patch(self, name: str, n: int, patch: VersionPatch) -> VersionRecord:
        """Changes a version's description, accuracy, metrics or tags; what is absent stays.

        Raises:
            MaasError: NOT_FOUND; INVALID_ARGUMENT, as `check_options`.
        """
        name = check_name(name)
        check_patch(patch)
        with self._database.write() as session:
            row = changes.patch_version(session, name, n, patch)
            return views.version_record(row, views.aliases_of(session, name, n))

    def delete_version(self, name: str, n: int) -> None:
        """Removes a version from the catalogue; its files go with the next `sweep`.

        Where it was the default, the default falls back to the promotion before.

        Raises:
            MaasError: NOT_FOUND; FAILED_PRECONDITION where it has aliases.
        """
        name = check_name(name)
        with self._database.write() as session:
            changes.delete_version(session, name, n)

    def delete_model(self, name: str) -> None:
        """Removes a model from the catalogue; its files go with the next `sweep`.

        Raises:
            MaasError: NOT_FOUND.
        """
        name = check_name(name)
        with self._database.write() as session:
            changes.delete_model(session, name, self._now())

    def sweep(self) -> int:
        """Removes the files that no version refers to. Nothing may be serving them.

        Returns:
            How many folders.
        """
        with self._placing:
            return self._artifacts.sweep(self._addresses())

    def _withdraw(self, address: str) -> None:
        # Only where no row refers to it: a commit can fail after it reached the disk. And
        # where even this fails, the next start sweeps it.
        with contextlib.suppress(MaasError, OSError):
            if address not in self._addresses():
                self._artifacts.remove(address)

    def _addresses(self) -> set[str]:
        with self._database.read() as session:
            return set(session.scalars(select(VersionRow.artifact).distinct()))

    # Keys

    def create_key(self, name: str, role: Role, key: str) -> KeyRecord:
        """Adds a key, of which only the SHA-256 is stored.

        Raises:
            MaasError: INVALID_ARGUMENT; ALREADY_EXISTS where this very key is known.
        """
        with self._database.write() as session:
            return keys.create_key(session, name, role, key, self._now())

    def keys(self) -> tuple[KeyRecord, ...]:
        """Every key, revoked ones too, oldest first."""
        with self._database.read() as session:
            return keys.list_keys(session)

    def revoke_key(self, key_id: str) -> KeyRecord:
        """Revokes a key; revoking it again changes nothing.

        Raises:
            MaasError: NOT_FOUND.
        """
        with self._database.write() as session:
            return keys.revoke_key(session, key_id, self._now())

    def active_keys(self) -> tuple[tuple[bytes, KeyRecord], ...]:
        """Every key that is not revoked, each with its SHA-256, 32 bytes."""
        with self._database.read() as session:
            return keys.active_keys(session)
