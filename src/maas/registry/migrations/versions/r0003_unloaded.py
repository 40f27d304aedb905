"""Models that were taken off the memory and stay published."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the moment at which a model was unloaded; of those that are not, none."""
    op.add_column("models", sa.Column("unloaded_at", sa.String(27)))
