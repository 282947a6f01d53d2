"""Broadcasts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "broadcasts",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("stream", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("stream_type", sa.String(32), nullable=False),
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("last_media_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        sa.Column("ended_at", sa.DateTime, nullable=True),
        sa.Column("end_reason", sa.String(64), nullable=True),
        sa.Column("peak_viewers", sa.Integer, nullable=False),
        sa.Column("average_viewers", sa.Float, nullable=False),
        sa.Column("measured_s", sa.Float, nullable=False),
    )
    open_only = sa.text("status != 'ENDED'")
    op.create_index(
        "broadcasts_open", "broadcasts", ["stream"], unique=True, sqlite_where=open_only, postgresql_where=open_only
    )
    op.create_index("broadcasts_of_stream", "broadcasts", ["stream", "number"])


def downgrade() -> None:
    op.drop_table("broadcasts")
