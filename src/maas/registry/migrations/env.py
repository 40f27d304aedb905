"""What Alembic runs: the migrations, on the connection it is given, in that one's transaction."""

from __future__ import annotations

from alembic import context

from maas.registry.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    # SQLite alters a table by rebuilding it, which Alembic calls a batch.
    render_as_batch=True,
    # SQLite's DDL is transactional; Alembic thinks of the driver's old habit of committing first.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
