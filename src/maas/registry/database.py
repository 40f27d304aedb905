"""The SQLite file: one writer at a time, durable commits, errors in plain words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from maas.core.errors import ErrorKind, MaasError
from maas.registry.disk import clear_disk_errors, disk_full, sync_folder, unwritable

BUSY_S = 10.0
"""How long a statement waits for another process that holds the file."""


class Database:
    """The registry's database file. Safe to use from several threads.

    Args:
        file: where it is; made, for its owner alone, where it is missing.
        busy_s: how long a statement waits for another process that holds the file.
    """

    def __init__(self, file: Path, busy_s: float = BUSY_S) -> None:
        self.file = file
        with clear_disk_errors():
            if not file.exists():
                # SQLite gives its -wal and -shm files the permissions of this one.
                os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
                sync_folder(file.parent)
        self._engine = make_engine(file, busy_s)
        self._immediate = self._engine.execution_options(immediate=True)
        # SQLite lets writers of one process starve each other while they poll for its lock.
        self._writing = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session on one consistent snapshot; nothing it changes is kept.

        Raises:
            MaasError: as `clear_database_errors` says.
        """
        with clear_database_errors(), Session(self._engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session in one transaction: committed and on the disk when the block ends well.

        Raises:
            MaasError: as `clear_database_errors` says; then nothing was changed.
        """
        with (
            self._writing,
            clear_database_errors(),
            Session(self._immediate) as session,
            session.begin(),
        ):
            yield session

    def close(self) -> None:
        """Closes every connection; the last one folds the write-ahead log into the file."""
        self._engine.dispose()


def make_engine(file: Path, busy_s: float = BUSY_S, *, foreign_keys: bool = True) -> Engine:
    """Makes an engine whose transactions are SQLite's own, begun when SQLAlchemy says so.

    Args:
        file: the database file.
        busy_s: how long a statement waits for another process that holds the file.
        foreign_keys: whether they are enforced; a migration that rebuilds a table wants not.
    """
    engine = create_engine(
        URL.create("sqlite", database=str(file)), connect_args={"timeout": busy_s}
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: Any) -> None:
        # The driver would begin transactions of its own, and late; `begin` below does instead.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once, without waiting, when
        # somebody else has written in between; IMMEDIATE takes the writer's place at the start.
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


@contextmanager
def clear_database_errors() -> Iterator[None]:
    """Turns SQLite's errors about the file into clear ones.

    Raises:
        MaasError: RESOURCE_EXHAUSTED (disk full), FAILED_PRECONDITION (read-only, not a
            database), UNAVAILABLE (held by another process), INTERNAL (damaged, or the disk
            fails). Any other database error passes as it is.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        original = error.orig if isinstance(error, DBAPIError) else error
        clear = _clear(getattr(original, "sqlite_errorcode", 0))
        if clear is None:
            raise
        raise clear from error


def _clear(code: int) -> MaasError | None:
    match code & 0xFF:  # the low byte is the primary code (https://sqlite.org/rescode.html)
        case sqlite3.SQLITE_FULL:
            return disk_full()
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return unwritable()
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return MaasError(
                ErrorKind.UNAVAILABLE,
                "another process holds the registry's database; nothing was changed: close that "
                "process or try again",
                retry_after_s=1.0,
            )
        case sqlite3.SQLITE_NOTADB:
            return MaasError(
                ErrorKind.FAILED_PRECONDITION,
                "the registry's file in the data folder is not an SQLite database; put back a "
                "copy of it, or choose another data folder",
            )
        case sqlite3.SQLITE_CORRUPT:
            return MaasError(
                ErrorKind.INTERNAL,
                "the registry's database is damaged; put back a copy of it",
            )
        case sqlite3.SQLITE_IOERR:
            return MaasError(
                ErrorKind.INTERNAL,
                "the disk that holds the registry's database fails to read or write; look at "
                "the system's log and at the free space",
            )
    return None
