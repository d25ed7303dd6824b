"""Every SQL table. The log is the truth; the rest says where things are.

- `installation`: one row, made with the database. Its `secret` signs the states of versions.
- `models`: a name, and how far its log reaches.
- `entries`: the logs. `offset` is gapless per model; `body` is JSON, byte for byte as it was taken
  in, because the order of features decides the last bits of what is learned from them.
- `predictions`: what predict saw and answered, until it expires. From `due_at` on its label is
  late, and it waits to be `settled`: its default label learned, or its lack of one counted.
- `label_counts`: what no log says of a model's labels: those that never came, and those of no
  known prediction.
- `versions`: what a model was at an offset. `body` says what it scored and how it came to be,
  `checks` what its validation found. Its state stands in parts, so that no write of it is long.
- `leases`: who may do what only one may. `token` grows each time that another takes it.
- `workers`: the processes that serve, until when each is surely alive, and which turns it obeyed.
- `schedule`: what was changed of the jobs' schedule, and when each job was last begun.
- `runs`: what the jobs were asked to do, are doing, and did.

Instants are integers: microseconds since 1970, UTC.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    cast,
)

metadata = MetaData()

installation = Table(
    "installation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("hash_seed", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("probed_at", BigInteger, nullable=False),
    Column("secret", LargeBinary),
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

versions = Table(
    "versions",
    metadata,
    Column("model_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("note", Text, nullable=False),
    Column("state_id", String(36)),
    Column("body", LargeBinary, nullable=False),
    Column("checks", LargeBinary),
)

version_states = Table(
    "version_states",
    metadata,
    Column("state_id", String(36), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("model_id", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("until", BigInteger, nullable=False),
    Column("told", LargeBinary, nullable=False),
)

schedule = Table(
    "schedule",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("every_seconds", Integer),
    Column("paused", Boolean, nullable=False),
    Column("ran_at", BigInteger, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job", String(64), nullable=False),
    Column("model_id", Integer),
    Column("cause", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("token", BigInteger),
    Column("cancelled", Boolean, nullable=False),
    Column("progress", Float),
    Column("wanted", LargeBinary, nullable=False),
    Column("did", Text, nullable=False),
    Index("runs_by_state", "state", "id"),
    sqlite_autoincrement=True,
)


def named(number: int) -> Any:
    """A number that anybody may have named, to be compared also where no column holds it."""
    return cast(number, BigInteger)
