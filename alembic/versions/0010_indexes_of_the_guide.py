"""The three indexes of the guide's table: what it documents can be relied on by who queries it.

Names of indexes are the schema's, not the table's. Where another application that shares the database has
one of these names for a table of its own, ours is left out: it is needed for no answer, only for its speed.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLE = "clm_model_versions"
_INDEXES = {"ix_model_type": "model_type", "ix_status": "status", "ix_version": "version"}


def upgrade() -> None:
    for name, column in _INDEXES.items():
        op.create_index(name, _TABLE, [column], if_not_exists=True)


def downgrade() -> None:
    ours = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(_TABLE)}
    for name in _INDEXES:
        if name in ours:
            op.drop_index(name, _TABLE)
