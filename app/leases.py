"""Leases: who may do what only one process may.

    take ──▶ token n, until now + 8 s ──take again and again──▶ until later ──release──▶ free
                     └─ the holder dies: the time passes ──▶ another takes it, with token n + 1

A clock alone keeps nobody from writing who was asleep while another took the lease. So every write
that only the holder may do calls `check` inside its own transaction: with an outdated token it
raises, and nothing of that transaction is kept.
"""

from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.database import Database
from app.tables import leases

LEASE_SECONDS = 8
"""How long a lease holds that is not renewed."""

LEASE_US = LEASE_SECONDS * 1_000_000


class LeaseLost(Exception):
    """Another process holds the lease by now: what this one was about to write is refused."""


class Held(NamedTuple):
    """Who holds a lease, by which token, and until when (microseconds) if not for longer."""

    holder: str
    token: int
    until: int


class Lease:
    """A lease as one process sees it. `clock` gives microseconds since 1970.

    `token` is what it was taken with, and 0 while this process does not hold it.
    """

    def __init__(
        self, database: Database, name: str, holder: str, clock: Callable[[], int]
    ) -> None:
        self.name = name
        self.holder = holder
        self.token = 0
        self._database = database
        self._clock = clock

    async def take(self) -> bool:
        """Take it if it is free, or hold it for longer; whether this process holds it now.

        May raise `LogUnavailable`: what was held before still is, until its time is over.
        """
        # Who stands by asks all the time, and does not write for it.
        found = await self._database.read(lambda c: held(c, self.name))
        if found is None or self._may_take(found, self._clock()):
            self.token = await self._database.write(self._taken)
        else:
            self.token = 0
        return self.token > 0

    async def release(self) -> None:
        """Let go of it, so that another may take it at once. May raise `LogUnavailable`."""
        token, self.token = self.token, 0
        query = _named(sa.update(leases), self.name).where(leases.c.token == token).values(until=0)
        if token:
            await self._database.write(lambda connection: connection.execute(query))

    def check(self, connection: Connection) -> None:
        """Raises `LeaseLost` inside a transaction that only the holder may commit."""
        check(connection, self.name, self.token)

    def _taken(self, connection: Connection) -> int:
        found, now = held(connection, self.name), self._clock()
        row = {"holder": self.holder, "until": now + LEASE_US}
        if found is None:
            connection.execute(sa.insert(leases), {"name": self.name, "token": 1, **row})
            return 1
        if not self._may_take(found, now):
            return 0
        # Only what was taken and never lost since is simply held for longer.
        token = found.token if found.token == self.token else found.token + 1
        connection.execute(_named(sa.update(leases), self.name).values(token=token, **row))
        return token

    def _may_take(self, row: Held, now: int) -> bool:
        return row.holder == self.holder or not _is_current(row.until, now)


def check(connection: Connection, name: str, token: int) -> None:
    """Raises `LeaseLost` unless the lease was taken with this token, and by nobody since."""
    found = held(connection, name)
    if found is None or found.token != token:
        raise LeaseLost(f"the lease {name!r} was taken by another process")


def held(connection: Connection, name: str) -> Held | None:
    """Who last held a lease, and until when; it may be over by now."""
    query = sa.select(*_COLUMNS).where(leases.c.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else Held(*row)


_COLUMNS = tuple(leases.c[name] for name in Held._fields)


def _is_current(until: int, now: int) -> bool:
    # One that seems to hold for ages was taken before the clock was set back.
    return now < until <= now + 2 * LEASE_US


def _named(statement: sa.Update, name: str) -> sa.Update:
    return statement.where(leases.c.name == name)
