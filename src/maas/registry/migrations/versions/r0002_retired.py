"""Numbers of deleted versions, and what they meant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table, and fills in the numbers that were used: until now there were no gaps."""
    op.create_table(
        "retired",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_retired"),
        sa.ForeignKeyConstraint(["name"], ["models.name"], name="fk_retired_name"),
    )
    op.execute(
        "WITH RECURSIVE used(name, version) AS ("
        " SELECT name, next_version - 1 FROM models WHERE next_version > 1"
        " UNION ALL SELECT name, version - 1 FROM used WHERE version > 1)"
        " INSERT INTO retired SELECT name, version, '' FROM used"
        " WHERE (name, version) NOT IN (SELECT name, version FROM versions)"
    )
