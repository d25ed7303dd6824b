"""The registry: which models there are. What they are stands in their logs, at offset 1."""

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app import entries
from app.database import Database
from app.errors import ModelExists, TooManyModels, UnknownModel
from app.tables import entries as entries_table
from app.tables import label_counts, models, predictions, version_states, versions

SWEEP_CHUNK = 5_000
"""How many rows of deleted models are removed in one transaction."""

SWEEP_PARTS = 20
"""The same of parts of states, each of which has up to a mebibyte."""


class Registered(NamedTuple):
    """A model that exists. `created_at` is in microseconds; `head` is where its log ends."""

    id: int
    name: str
    head: int
    created: entries.Created
    created_at: int


class Registry:
    """Creates, lists and deletes models."""

    def __init__(self, database: Database, models_max: int) -> None:
        self._database = database
        self._models_max = models_max

    async def create(self, created: entries.Created, id: str, at: int) -> Registered:
        """Register a model: its name, and the first entry of its log.

        Raises `ModelExists`, or `TooManyModels`.
        """
        body = entries.encode(created)

        def work(connection: Connection) -> int:
            names = sa.select(models.c.id).where(models.c.name == created.name)
            if connection.execute(names).first() is not None:
                raise ModelExists(
                    f"A model named {created.name!r} exists. Take another name, or delete it first."
                )
            count = connection.execute(sa.select(sa.func.count()).select_from(models)).scalar_one()
            if count >= self._models_max:
                raise TooManyModels(
                    f"There are {count:,} models, as many as there may be. Delete some, or raise "
                    "HEADRACE_MODELS_MAX."
                )
            row = {"name": created.name, "head": 1, "predictions": 0}
            result = connection.execute(sa.insert(models), row)
            model_id = int(result.inserted_primary_key[0])  # type: ignore[index]
            entry = {"model_id": model_id, "offset": 1, "kind": "created", "id": id}
            connection.execute(sa.insert(entries_table), {**entry, "at": at, "body": body})
            return model_id

        model_id = await self._database.write(work)
        return Registered(model_id, created.name, 1, created, at)

    async def delete(self, name: str) -> None:
        """Delete a model: from here on its name is free. Raises `UnknownModel`."""
        query = sa.delete(models).where(models.c.name == name)
        if not await self._database.write(lambda connection: connection.execute(query).rowcount):
            raise UnknownModel(f"There is no model named {name!r}. GET /v1/models lists them.")

    async def list(self, but: set[int]) -> list[Registered]:
        """The models whose ids are not among `but`, in the order of their creation."""

        def work(connection: Connection) -> list[Registered]:
            ids = set(connection.execute(sa.select(models.c.id)).scalars()) - but
            return [_registered(connection, model_id) for model_id in sorted(ids)]

        return await self._database.read(work)

    async def sweep(self) -> int:
        """Remove what deleted models left in the other tables; how many rows that were."""
        total = 0
        for table in (entries_table, predictions, label_counts, versions, version_states):
            while swept := await self._database.write(lambda c, t=table: _sweep(c, t)):  # type: ignore[misc]
                total += swept
        return total


def _registered(connection: Connection, model_id: int) -> Registered:
    table = entries_table
    query = (
        sa.select(models.c.name, models.c.head, table.c.at, table.c.body)
        .join(table, sa.and_(table.c.model_id == models.c.id, table.c.offset == 1))
        .where(models.c.id == model_id)
    )
    name, head, at, body = connection.execute(query).one()
    created = entries.decode(body)
    if not isinstance(created, entries.Created):
        raise TypeError(f"the log of {name!r} does not begin with its creation")
    return Registered(model_id, name, head, created, at)


def _sweep(connection: Connection, table: sa.Table) -> int:
    """Delete a chunk of rows of a model that is gone, found without reading the others."""
    known = set(connection.execute(sa.select(models.c.id)).scalars())
    last = -1
    while True:
        query = sa.select(sa.func.min(table.c.model_id)).where(table.c.model_id > last)
        model_id = connection.execute(query).scalar()
        if model_id is None:
            return 0
        if model_id not in known:
            break
        last = model_id
    columns = list(table.primary_key.columns)
    chunk = SWEEP_PARTS if table is version_states else SWEEP_CHUNK
    keys = sa.select(*columns).where(table.c.model_id == model_id).limit(chunk)
    return connection.execute(sa.delete(table).where(sa.tuple_(*columns).in_(keys))).rowcount
