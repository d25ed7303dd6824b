"""Every SQL table. The log is the truth; the rest says where things are.

- `installation`: one row, made with the database.
- `models`: a name, and how far its log reaches.
- `entries`: the logs. `offset` is gapless per model; `body` is JSON, byte for byte as it was taken
  in, because the order of features decides the last bits of what is learned from them.
- `predictions`: what predict saw and answered, until it expires. From `due_at` on its label is
  late, and it waits to be `settled`: its default label learned, or its lack of one counted.
- `label_counts`: what no log says of a model's labels: those that never came, and those of no
  known prediction.

Instants are integers: microseconds since 1970, UTC.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

metadata = MetaData()

installation = Table(
    "installation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("hash_seed", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("probed_at", BigInteger, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("head", BigInteger, nullable=False),
    Column("predictions", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

entries = Table(
    "entries",
    metadata,
    Column("model_id", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("id", String(200), nullable=False),
    Column("prediction_id", String(200)),
    Column("at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("entries_by_id", "model_id", "id", unique=True),
    sqlite_with_rowid=False,
)

Index(
    "entries_by_prediction",
    entries.c.model_id,
    entries.c.prediction_id,
    sqlite_where=entries.c.prediction_id.is_not(None),
    postgresql_where=entries.c.prediction_id.is_not(None),
)

Index(
    "entries_unlearnable",
    entries.c.model_id,
    sqlite_where=entries.c.kind == "unlearnable",
    postgresql_where=entries.c.kind == "unlearnable",
)

predictions = Table(
    "predictions",
    metadata,
    Column("model_id", Integer, primary_key=True, autoincrement=False),
    Column("id", String(200), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("settled", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("predictions_by_due", "settled", "due_at"),
)

label_counts = Table(
    "label_counts",
    metadata,
    Column("model_id", Integer, primary_key=True, autoincrement=False),
    Column("expired", BigInteger, nullable=False),
    Column("dangling", BigInteger, nullable=False),
)
