from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from maas.core.errors import ErrorKind, MaasError
from maas.registry import Registry
from maas.registry.database import make_engine
from maas.registry.migrate import HEAD, SCRIPTS, migrate
from maas.registry.tables import Table

NEXT = '''
"""A later schema."""
import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("keys") as batch:
        batch.add_column(sa.Column("tenant", sa.String(), nullable=False, server_default="all"))
    with op.batch_alter_table("models", recreate="always") as batch:
        batch.alter_column("next_version", type_=sa.BigInteger())
'''


def clock() -> datetime:
    return datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def later_scripts(tmp_path: Path, more: str = "") -> Path:
    scripts = tmp_path / "scripts 100%"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "r0004_tenants.py").write_text(NEXT + more)
    return scripts


def revision(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_the_migrations_make_the_declared_tables(tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    assert migrate(file, clock) is None
    engine = make_engine(file)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()
    assert ScriptDirectory(str(SCRIPTS)).get_current_head() == HEAD == revision(file)


def test_a_comparison_would_notice_a_difference(tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    migrate(file, clock)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP INDEX ix_versions_artifact")
        connection.execute("ALTER TABLE keys ADD COLUMN tenant VARCHAR")
    engine = make_engine(file)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Table.metadata)
    engine.dispose()
    assert len(differences) == 2


def test_migrating_keeps_a_copy_of_what_was_there(
    registry: Registry, publish: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    publish(alias=("prod",))
    file = home / "registry.db"
    with closing(sqlite3.connect(file)) as reader:
        # Another connection keeps the last commits in the write-ahead log.
        reader.execute("SELECT * FROM models").fetchall()
        registry.close()
        assert (home / "registry.db-wal").stat().st_size > 0
        copy = migrate(file, clock, scripts=later_scripts(tmp_path), head="0004")
    assert copy == home / "registry.0003.20260131T120000000000Z.db"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert (revision(copy), revision(file)) == ("0003", "0004")
    for path in (copy, file):
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT name, alias, version FROM aliases").fetchall()
            assert rows == [("iris", "prod", 1)]
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(sqlite3.connect(file)) as connection:
        assert "tenant" in str(connection.execute("PRAGMA table_info(keys)").fetchall())
    assert not list(home.glob("*.part"))


def test_nothing_is_copied_where_nothing_is_migrated(home: Path) -> None:
    for _ in range(2):
        Registry.open(home, clock).close()
    assert sorted(path.name for path in home.iterdir()) == ["artifacts", "registry.db", "staging"]


def test_numbers_that_were_used_before_there_was_a_table_of_them(
    registry: Registry, publish: Callable[..., Any], home: Path
) -> None:
    for number in range(4):
        publish(content=b"%d" % number, fingerprint=str(number))
    publish("kept")
    registry.delete_version("iris", 2)
    registry.close()
    with closing(sqlite3.connect(home / "registry.db")) as connection, connection:
        connection.execute("DROP TABLE retired")
        connection.execute("ALTER TABLE models DROP COLUMN unloaded_at")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    with Registry.open(home, clock) as again:
        with pytest.raises(MaasError, match="iris:2 was other content before"):
            again.numbered("iris", 2, "sha256:" + "0" * 64)
        for free in (("iris", 5), ("kept", 2), ("new", 1)):
            assert again.numbered(*free, "sha256:" + "1" * 64) is None


def test_a_failing_migration_changes_nothing(
    registry: Registry, publish: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    publish()
    registry.close()
    scripts = later_scripts(tmp_path, "    op.drop_table('no_such_table')\n")
    with pytest.raises(Exception, match="no such table"):
        migrate(home / "registry.db", clock, scripts=scripts, head="0004")
    with Registry.open(home, clock) as again:
        assert again.version("iris", 1).version == 1
    with closing(sqlite3.connect(home / "registry.db")) as connection:
        assert "tenant" not in str(connection.execute("PRAGMA table_info(keys)").fetchall())


def test_a_migration_that_would_orphan_rows_is_undone(
    registry: Registry, publish: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    publish()
    registry.close()
    scripts = later_scripts(tmp_path, "    op.execute('DELETE FROM models')\n")
    with pytest.raises(MaasError, match="1 rows of versions") as caught:
        migrate(home / "registry.db", clock, scripts=scripts, head="0004")
    assert caught.value.kind is ErrorKind.INTERNAL
    with Registry.open(home, clock) as again:
        assert again.model("iris").default_version == 1


def test_a_newer_schema_is_refused(
    registry: Registry, publish: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    publish()
    registry.close()
    migrate(home / "registry.db", clock, scripts=later_scripts(tmp_path), head="0004")
    before = (home / "registry.db").read_bytes()
    with pytest.raises(MaasError, match="newer than this program") as caught:
        Registry.open(home, clock)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert "'0004'" in caught.value.message
    assert (home / "registry.db").read_bytes() == before
    assert len(list(home.glob("*/*/*"))) == 1


def test_somebody_elses_database_is_refused(home: Path) -> None:
    home.mkdir()
    with closing(sqlite3.connect(home / "registry.db")) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(MaasError, match="not made by this program"):
        Registry.open(home, clock)
    with closing(sqlite3.connect(home / "registry.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema").fetchall()
    assert tables == [("songs",)]


def test_an_empty_file_is_a_new_registry(home: Path) -> None:
    home.mkdir()
    (home / "registry.db").touch()
    with Registry.open(home, clock) as registry:
        assert registry.snapshot() == ()
