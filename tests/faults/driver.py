"""Faults of the database's driver: the n-th statement, commit or fetch fails, once.

They are raised by the driver's own connections, beneath SQLAlchemy, as a database would raise them.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import psycopg
from pysqlite3 import dbapi2 as sqlite

Kind = Literal["statement", "commit", "commit done", "fetch"]
KINDS: tuple[Kind, ...] = ("statement", "commit", "commit done", "fetch")
"""`commit done` is the cruel one: the transaction is durable, and an error is told."""


class Fault:
    """Fails the `n`-th event of its kind, counted over all connections and threads."""

    def __init__(self, kind: Kind, n: int) -> None:
        self.kind = kind
        self.n = n
        self.seen = 0
        self.struck = ""
        self._lock = threading.Lock()

    def strikes(self, kind: Kind, what: str) -> bool:
        """Whether this is the event that fails."""
        if kind != self.kind:
            return False
        with self._lock:
            self.seen += 1
            if self.seen != self.n:
                return False
            self.struck = what
        return True


@contextmanager
def injected(fault: Fault) -> Iterator[Fault]:
    """Let every connection opened meanwhile meet the fault."""
    drivers: tuple[Any, ...] = (sqlite, psycopg)
    real = [driver.connect for driver in drivers]
    sqlite.connect = partial(real[0], factory=_sqlite_connection(fault))
    psycopg.connect = partial(real[1], cursor_factory=_cursor(psycopg.Cursor, fault, psycopg))
    try:
        yield fault
    finally:
        for driver, connect in zip(drivers, real, strict=True):
            driver.connect = connect


def _sqlite_connection(fault: Fault) -> Any:
    cursor = _cursor(sqlite.Cursor, fault, sqlite)

    class Connection(sqlite.Connection):  # type: ignore[misc]
        def cursor(self, *_: Any) -> Any:
            return super().cursor(cursor)

    return Connection


def _cursor(base: Any, fault: Fault, driver: Any) -> Any:
    """A driver's cursor that meets the fault."""

    def meet(kind: Kind, what: str) -> None:
        if fault.strikes(kind, what):
            raise driver.OperationalError(f"disk I/O error (injected into {what[:60]!r})")

    class Cursor(base):  # type: ignore[misc]
        def execute(self, statement: Any, *parameters: Any, **named: Any) -> Any:
            return self._run(statement, super().execute, statement, *parameters, **named)

        def executemany(self, statement: Any, *parameters: Any, **named: Any) -> Any:
            return self._run(statement, super().executemany, statement, *parameters, **named)

        def fetchone(self) -> Any:
            meet("fetch", "fetchone")
            return super().fetchone()

        def fetchall(self) -> Any:
            meet("fetch", "fetchall")
            return super().fetchall()

        def _run(self, statement: Any, run: Any, *arguments: Any, **named: Any) -> Any:
            meet("statement", str(statement))
            is_commit = statement == "COMMIT"
            if is_commit:
                meet("commit", statement)
            result = run(*arguments, **named)
            if is_commit:
                meet("commit done", statement)
            return result

    return Cursor
