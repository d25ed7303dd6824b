"""Versions with their states, the secret that signs them, and what the jobs share."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("installation", sa.Column("secret", sa.LargeBinary))
    op.get_bind().execute(
        sa.text("UPDATE installation SET secret = :secret"), {"secret": secrets.token_bytes(32)}
    )
    op.create_table(
        "versions",
        sa.Column("model_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("state_id", sa.String(36)),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("checks", sa.LargeBinary),
    )
    op.create_table(
        "version_states",
        sa.Column("state_id", sa.String(36), primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model_id", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("told", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "schedule",
        sa.Column("job", sa.String(64), primary_key=True),
        sa.Column("every_seconds", sa.Integer),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("ran_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("model_id", sa.Integer),
        sa.Column("cause", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("token", sa.BigInteger),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.Column("progress", sa.Float),
        sa.Column("wanted", sa.LargeBinary, nullable=False),
        sa.Column("did", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("runs_by_state", "runs", ["state", "id"])
