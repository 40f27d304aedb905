from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from maas.core.errors import ErrorKind, MaasError
from maas.registry import Registry
from maas.registry.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "data.db", busy_s=0.05)
    with database.write() as session:
        session.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY, parent REFERENCES t (id))"))
    yield database
    database.close()


def count(database: Database) -> int:
    with database.read() as session:
        return int(session.execute(text("SELECT count(*) FROM t")).scalar_one())


def refused(kind: ErrorKind, call: Callable[[], object]) -> str:
    with pytest.raises(MaasError) as caught:
        call()
    assert caught.value.kind is kind
    return caught.value.message


def insert(database: Database) -> None:
    with database.write() as session:
        session.execute(text("INSERT INTO t (parent) VALUES (NULL)"))


def test_commits_are_durable_and_keys_enforced(database: Database) -> None:
    with database.read() as session:
        values = {
            name: session.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 50,
    }
    assert database.file.stat().st_mode & 0o777 == 0o600


def test_what_fails_in_the_middle_changes_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as session:
            session.execute(text("INSERT INTO t (parent) VALUES (NULL)"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert count(database) == 0
    insert(database)
    assert count(database) == 1


def test_readers_see_one_moment_and_do_not_wait_for_a_writer(database: Database) -> None:
    insert(database)
    with database.read() as before:
        assert before.execute(text("SELECT count(*) FROM t")).scalar_one() == 1
        with database.write() as session:
            session.execute(text("INSERT INTO t (parent) VALUES (NULL)"))
            assert count(database) == 1
        assert before.execute(text("SELECT count(*) FROM t")).scalar_one() == 1
    assert count(database) == 2


def test_writers_of_one_process_wait_for_each_other(database: Database) -> None:
    started = threading.Event()

    def other() -> None:
        started.set()
        insert(database)

    with database.write() as session:
        thread = threading.Thread(target=other)
        thread.start()
        started.wait()
        # Longer than busy_s: without a turn of its own the other writer gives up by now.
        thread.join(0.3)
        assert thread.is_alive()
        session.execute(text("INSERT INTO t (parent) VALUES (NULL)"))
    thread.join()
    assert count(database) == 2


def test_another_process_that_holds_the_file(database: Database) -> None:
    with closing(sqlite3.connect(database.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        message = refused(ErrorKind.UNAVAILABLE, lambda: insert(database))
        other.execute("ROLLBACK")
    assert "another process holds" in message
    insert(database)
    assert count(database) == 1


def test_a_full_disk(database: Database) -> None:
    with database.write() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))

    def fill() -> None:
        with database.write() as session:
            session.execute(text("CREATE TABLE big AS SELECT randomblob(100000)"))

    assert "full" in refused(ErrorKind.RESOURCE_EXHAUSTED, fill)
    insert(database)
    assert count(database) == 1


def test_a_read_only_file(database: Database) -> None:
    with database.read() as session:
        session.execute(text("PRAGMA query_only = ON"))
    message = refused(ErrorKind.FAILED_PRECONDITION, lambda: insert(database))
    assert "cannot be written" in message
    assert str(database.file) not in message


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"\x80\x04 a pickle, say" * 400)
    message = refused(
        ErrorKind.FAILED_PRECONDITION, lambda: Registry.open(tmp_path, lambda: datetime.now(UTC))
    )
    assert "not an SQLite database" in message


def test_a_damaged_database(tmp_path: Path) -> None:
    Registry.open(tmp_path, lambda: datetime.now(UTC)).close()
    file = tmp_path / "registry.db"
    content = bytearray(file.read_bytes())
    content[100:4096] = b"\xff" * 3996
    file.write_bytes(content)
    message = refused(
        ErrorKind.INTERNAL, lambda: Registry.open(tmp_path, lambda: datetime.now(UTC))
    )
    assert "damaged" in message
