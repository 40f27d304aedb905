"""Brings the database file to the schema of this code, keeping a copy of what was there."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from maas.core.errors import ErrorKind, MaasError
from maas.registry.database import clear_database_errors, make_engine
from maas.registry.disk import clear_disk_errors, sync_folder

SCRIPTS = Path(__file__).parent / "migrations"
HEAD = "0003"
"""The newest revision in `SCRIPTS`. Written here so that Alembic is imported only to migrate."""


def migrate(
    file: Path, now: Callable[[], datetime], *, scripts: Path = SCRIPTS, head: str = HEAD
) -> Path | None:
    """Migrates a database file to the newest schema, in one transaction.

    Args:
        file: the database; empty or missing for a new registry. Nobody else may be using it.
        now: the clock, timezone-aware, for the name of the copy.
        scripts: the folder of Alembic's environment.
        head: the newest revision there.

    Returns:
        The copy made of the database as it was, or None where there was nothing to migrate.

    Raises:
        MaasError: FAILED_PRECONDITION where the schema is newer than this code or the file is
            somebody else's; RESOURCE_EXHAUSTED where the disk is full. The file is unchanged.
    """
    with clear_disk_errors(), clear_database_errors():
        revision = _revision(file)
        if revision == head:
            return None
        if revision is not None and revision not in _known(scripts):
            raise MaasError(
                ErrorKind.FAILED_PRECONDITION,
                f"the registry has schema {revision[:40]!r}, which is newer than this program, "
                f"whose newest is {head!r}; install the maas-server that wrote it, or choose "
                "another data folder",
            )
        copy = None if revision is None else _copy(file, revision, now())
        _upgrade(file, scripts)
        return copy


def _revision(file: Path) -> str | None:
    """The schema's revision; None for a file that holds nothing yet."""
    if not file.exists() or file.stat().st_size == 0:
        return None
    with closing(sqlite3.connect(file)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if not tables:
            return None
        if "alembic_version" in tables:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            if row is not None:
                return str(row[0])
    raise MaasError(
        ErrorKind.FAILED_PRECONDITION,
        "the database in the data folder was not made by this program; choose another data folder",
    )


def _known(scripts: Path) -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory(str(scripts)).walk_revisions()}


def _copy(file: Path, revision: str, moment: datetime) -> Path:
    """Copies the database, what stands in its write-ahead log included."""
    stamp = moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    copy = file.with_name(f"{file.stem}.{revision}.{stamp}{file.suffix}")
    unfinished = copy.with_suffix(".part")
    os.close(os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    try:
        with (
            closing(sqlite3.connect(file)) as source,
            closing(sqlite3.connect(unfinished)) as target,
        ):
            source.backup(target)
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.rename(copy)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(copy.parent)
    return copy


def _upgrade(file: Path, scripts: Path) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    engine = make_engine(file, foreign_keys=False)
    try:
        with engine.execution_options(immediate=True).begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise MaasError(
                    ErrorKind.INTERNAL,
                    f"migrating the registry would leave {len(broken)} rows of "
                    f"{broken[0][0]} without what they refer to; nothing was changed",
                )
    finally:
        engine.dispose()
