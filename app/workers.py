"""Workers: which processes serve, and what each of them serves and answers.

Each writes now and then that it is alive, and at once which turn it obeyed last, of each model: so
who tells a model to go back can say when all do. It writes too what it answered at agreed offsets,
in short: one that answers otherwise than most is wrong, because all applied the same entries.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.database import Database
from app.replica import Replica
from app.tables import workers

ALIVE_SECONDS = 8.0
"""How long a process is taken to be alive since it last said so."""

BEAT_SECONDS = 2.5
"""How often it says so."""

LOOK_SECONDS = 0.1
"""How often it is looked whether the others obeyed."""

Obeyed = dict[int, tuple[int, int]]
"""Of a model, by its number: the offset of the last turn, and the version that serves since."""


class Told(msgspec.Struct):
    """What a worker tells: the turns that it obeyed, and digests of answers by model and offset."""

    obeyed: Obeyed = {}
    digests: dict[int, dict[int, str]] = {}


class Serving(NamedTuple):
    """What a worker said: since which offset it serves which version; 0 is none, and no turn."""

    worker: str
    offset: int
    version: int


class Workers:
    """This process among those that serve. `clock` gives microseconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self.name = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.serves = False
        self._database = database
        self._clock = clock
        self._told = Told()
        self._beat_at = float("-inf")

    async def beat(self, replicas: Iterable[Replica]) -> None:
        """Say that this process serves, if it does, and what. May raise `LogUnavailable`."""
        if not self.serves:
            return
        obeyed = {
            replica.id: (replica.live.turned[-1].offset, replica.live.version)
            for replica in replicas
            if replica.live is not None and replica.live.turned
        }
        digests = {replica.id: dict(replica.digests) for replica in replicas if replica.digests}
        told, now = Told(obeyed, digests), time.monotonic()
        if told == self._told and now - self._beat_at < BEAT_SECONDS:
            return
        row = {"until": self._clock() + round(ALIVE_SECONDS * 1e6)}
        await self._database.write(lambda c: _write(c, self.name, told, **row))
        self._told, self._beat_at = told, now

    async def outvoted(self, replicas: Iterable[Replica]) -> list[Replica]:
        """The models that answer here otherwise than in most processes, or than in half of them."""
        others = await self._database.read(self._all_told)
        found = []
        for replica in replicas:
            told = [digests for _, one in others if (digests := one.digests.get(replica.id))]
            for offset, mine in replica.digests.items():
                # Who has not come so far, or not told it yet, has a voice too.
                if any(max(digests) < offset for digests in told):
                    continue
                said = [digests[offset] for digests in told if offset in digests]
                # Of two that differ neither knows who is right: both ask the log.
                if 2 * (1 + said.count(mine)) <= 1 + len(said):
                    found.append(replica)
                    break
        return found

    async def leave(self) -> None:
        """Serve no more."""
        if self.serves:
            self.serves = False
            mine = sa.delete(workers).where(workers.c.name == self.name)
            await self._database.write(lambda connection: connection.execute(mine))

    async def obeying(self, model_id: int, offset: int, seconds_max: float) -> list[Serving]:
        """What each other worker serves, once all obey the turn at `offset`, or time is over."""
        deadline = time.monotonic() + seconds_max
        while True:
            found = await self._database.read(lambda c: self._others(c, model_id))
            if all(one.offset >= offset for one in found) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(LOOK_SECONDS)

    def _others(self, connection: Connection, model_id: int) -> list[Serving]:
        return [
            Serving(name, *told.obeyed.get(model_id, (0, 0)))
            for name, told in self._all_told(connection)
        ]

    def _all_told(self, connection: Connection) -> list[tuple[str, Told]]:
        """What each of the others told."""
        alive = (workers.c.until > self._clock(), workers.c.name != self.name)
        query = sa.select(workers.c.name, workers.c.told).where(*alive).order_by(workers.c.name)
        rows = connection.execute(query)
        return [(name, msgspec.json.decode(told, type=Told)) for name, told in rows]


def _write(connection: Connection, name: str, told: Told, until: int) -> None:
    row = {"name": name, "until": until, "told": msgspec.json.encode(told)}
    mine = workers.c.name == name
    if not connection.execute(sa.update(workers).where(mine).values(row)).rowcount:
        connection.execute(sa.insert(workers), row)
    connection.execute(sa.delete(workers).where(workers.c.until < until - 86_400_000_000))
