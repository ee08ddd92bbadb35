"""What a version forecast of some rows when it was made, to be asked again wherever its file is read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clm_model_versions", sa.Column("known_answer_json", sa.JSON))


def downgrade() -> None:
    op.drop_column("clm_model_versions", "known_answer_json")
