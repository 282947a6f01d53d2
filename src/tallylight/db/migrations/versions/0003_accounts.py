"""Users, their sessions and tokens; owner, visibility and playback key of streams; keys that once opened something."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(32), nullable=False, unique=True),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("last_seen_at", sa.DateTime, nullable=True),
    )
    op.create_table(
        "web_sessions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("renewed_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
    )
    op.create_index("web_sessions_of_user", "web_sessions", ["user_id"])
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("last_used_at", sa.DateTime, nullable=True),
        sa.Column("expires_at", sa.DateTime, nullable=True),
    )
    op.create_index("api_tokens_of_user", "api_tokens", ["user_id"])
    op.create_table(
        "retired_keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key_hash", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("stream", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("retired_at", sa.DateTime, nullable=False),
    )
    op.create_index("retired_keys_of_stream", "retired_keys", ["stream", "retired_at"])
    _extend_streams()


def _extend_streams() -> None:
    with op.batch_alter_table("streams") as streams:
        streams.add_column(sa.Column("owner_id", sa.Integer, nullable=True))
        streams.add_column(sa.Column("visibility", sa.String(16), nullable=False, server_default="public"))
        streams.add_column(sa.Column("description", sa.String(2000), nullable=False, server_default=""))
        streams.add_column(sa.Column("playback_key", sa.LargeBinary(32), nullable=True))
    table = sa.table("streams", sa.column("id", sa.Integer), sa.column("playback_key", sa.LargeBinary))
    connection = op.get_bind()
    for (stream_id,) in connection.execute(sa.select(table.c.id)).all():
        connection.execute(sa.update(table).where(table.c.id == stream_id).values(playback_key=secrets.token_bytes(32)))
    with op.batch_alter_table("streams") as streams:
        streams.alter_column("visibility", existing_type=sa.String(16), existing_nullable=False, server_default=None)
        streams.alter_column("description", existing_type=sa.String(2000), existing_nullable=False, server_default=None)
        streams.alter_column("playback_key", existing_type=sa.LargeBinary(32), nullable=False)
        streams.create_foreign_key("streams_owner", "users", ["owner_id"], ["id"], ondelete="SET NULL")
        streams.create_index("streams_of_owner", ["owner_id"])


def downgrade() -> None:
    with op.batch_alter_table("streams") as streams:
        streams.drop_index("streams_of_owner")
        streams.drop_constraint("streams_owner", type_="foreignkey")
        for column in ("owner_id", "visibility", "description", "playback_key"):
            streams.drop_column(column)
    for table in ("retired_keys", "api_tokens", "web_sessions", "users"):
        op.drop_table(table)
