"""The core: installation, models, their logs, remembered predictions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash_seed", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("probed_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(128), nullable=False, unique=True),
        sa.Column("head", sa.BigInteger, nullable=False),
        sa.Column("predictions", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "entries",
        sa.Column("model_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("offset", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("prediction_id", sa.String(200)),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("entries_by_id", "entries", ["model_id", "id"], unique=True)
    labelled = sa.text("prediction_id IS NOT NULL")
    op.create_index(
        "entries_by_prediction",
        "entries",
        ["model_id", "prediction_id"],
        unique=True,
        sqlite_where=labelled,
        postgresql_where=labelled,
    )
    unlearnable = sa.text("kind = 'unlearnable'")
    op.create_index(
        "entries_unlearnable",
        "entries",
        ["model_id"],
        sqlite_where=unlearnable,
        postgresql_where=unlearnable,
    )
    op.create_table(
        "predictions",
        sa.Column("model_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("predictions_by_at", "predictions", ["at"])
