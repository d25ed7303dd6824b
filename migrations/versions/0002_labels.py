"""Labels that come late, twice or never: when each is due, and what no log says of them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

WAIT_US = 604_800_000_000
"""The wait of models that were created before they could say one: a week, in microseconds."""


def upgrade() -> None:
    op.drop_index("entries_by_prediction", "entries")
    labelled = sa.text("prediction_id IS NOT NULL")
    op.create_index(
        "entries_by_prediction",
        "entries",
        ["model_id", "prediction_id"],
        sqlite_where=labelled,
        postgresql_where=labelled,
    )
    op.drop_index("predictions_by_at", "predictions")
    op.rename_table("predictions", "predictions_0001")
    if op.get_bind().dialect.name == "postgresql":
        # Its name would be taken when the new table wants it.
        op.execute("ALTER INDEX predictions_pkey RENAME TO predictions_0001_pkey")
    op.create_table(
        "predictions",
        sa.Column("model_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.execute(
        "INSERT INTO predictions (model_id, id, at, due_at, settled, body) "
        f"SELECT model_id, id, at, at + {WAIT_US}, false, body FROM predictions_0001"
    )
    op.drop_table("predictions_0001")
    op.create_index("predictions_by_due", "predictions", ["settled", "due_at"])
    op.create_table(
        "label_counts",
        sa.Column("model_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("expired", sa.BigInteger, nullable=False),
        sa.Column("dangling", sa.BigInteger, nullable=False),
    )
