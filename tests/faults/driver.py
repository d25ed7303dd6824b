"""Faults of the database's driver: the n-th statement, commit or fetch fails, once.

They are raised by the driver's own connections, beneath SQLAlchemy, as SQLite would raise them.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

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

    def meets(self, kind: Kind, what: str) -> None:
        """Raise if this is the event that fails."""
        if kind != self.kind:
            return
        with self._lock:
            self.seen += 1
            if self.seen != self.n:
                return
            self.struck = what
        raise sqlite.OperationalError(f"disk I/O error (injected into {what[:60]!r})")


@contextmanager
def injected(fault: Fault) -> Iterator[Fault]:
    """Let every connection opened meanwhile meet the fault."""
    real = sqlite.connect

    class Cursor(sqlite.Cursor):  # type: ignore[misc]
        def execute(self, statement: str, *parameters: Any) -> Any:
            return self._run(statement, super().execute, statement, *parameters)

        def executemany(self, statement: str, *parameters: Any) -> Any:
            return self._run(statement, super().executemany, statement, *parameters)

        def fetchone(self) -> Any:
            fault.meets("fetch", "fetchone")
            return super().fetchone()

        def fetchall(self) -> Any:
            fault.meets("fetch", "fetchall")
            return super().fetchall()

        def _run(self, statement: str, run: Any, *arguments: Any) -> Any:
            fault.meets("statement", statement)
            is_commit = statement == "COMMIT"
            if is_commit:
                fault.meets("commit", statement)
            result = run(*arguments)
            if is_commit:
                fault.meets("commit done", statement)
            return result

    class Connection(sqlite.Connection):  # type: ignore[misc]
        def cursor(self, *_: Any) -> Any:
            return super().cursor(Cursor)

    def connect(*arguments: Any, **named: Any) -> Any:
        return real(*arguments, **{**named, "factory": Connection})

    sqlite.connect = connect
    try:
        yield fault
    finally:
        sqlite.connect = real
