"""The two databases: SQLite in a file, PostgreSQL on a server. All that differs is here.

Connections are in autocommit, so that transactions begin where the code says BEGIN, and not where
a driver guesses. What a backend does not give (a write-ahead log, durable commits, UTF-8) is
refused at the start, with what to do.
"""

import fcntl
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from app.errors import InvalidSettings, UnsafeDatabase

SQLITE_SAFE = (3, 51, 3)
"""The first SQLite without the WAL-reset bug, by which two processes could corrupt the file."""

READERS = 4
"""How many reads a process does at once."""

CONNECT_SECONDS = 5
"""How long a server may take to accept a connection, and to acknowledge what was sent to it."""

ALONE = 4_829_517
"""The advisory lock of PostgreSQL under which only one process writes what is not a log."""


class Backend(ABC):
    """A database as `app.database` sees it. `error` is what its driver raises."""

    error: type[Exception]
    begin_read: str
    advice: str
    """What to do when the database cannot be opened."""

    def __init__(self, url: URL, busy_ms: int) -> None:
        self.url = url
        self.shown = url.render_as_string(hide_password=True)
        self._busy_ms = busy_ms

    @abstractmethod
    def engine(self) -> Engine:
        """Connections, in autocommit."""

    @abstractmethod
    def writing(self, connection: Connection, alone: bool) -> Any:
        """Begin a write transaction, and end it with the context; `alone` keeps all others out."""

    def check(self, connection: Connection) -> None:  # noqa: B027
        """Raises `UnsafeDatabase` if what is committed may be lost."""

    def close(self) -> None:  # noqa: B027
        """Let go of what no engine holds."""


class SQLite(Backend):
    """A file, which one process writes at a time: whoever wants to waits in a queue."""

    error = sqlite.Error
    begin_read = "BEGIN"
    advice = (
        "Check that HEADRACE_DATABASE_URL names an SQLite file that this user may write, or a new "
        "one."
    )

    def __init__(self, url: URL, busy_ms: int) -> None:
        super().__init__(url, busy_ms)
        if not url.database or url.database == ":memory:":
            raise InvalidSettings(
                f"HEADRACE_DATABASE_URL is {url}, which names no file: what is in memory only is "
                "lost. Write it like sqlite:///headrace.db."
            )
        if sqlite.sqlite_version_info < SQLITE_SAFE:
            raise UnsafeDatabase(
                f"SQLite {sqlite.sqlite_version} can corrupt a file that two connections write and "
                "checkpoint at once. Install the package pysqlite3 in the version that "
                "requirements.lock names."
            )
        self._turnstile = Turnstile(Path(f"{url.database}-turn"))

    def engine(self) -> Engine:
        """Connections with a write-ahead log that is on disk at each commit."""
        engine = sa.create_engine(
            self.url, module=sqlite, poolclass=QueuePool, pool_size=READERS + 1, max_overflow=2
        )
        sa.event.listen(engine, "connect", self._connected)
        return engine

    @contextmanager
    def writing(self, connection: Connection, alone: bool) -> Iterator[None]:
        """It holds the write lock from its first moment to its commit: all are alone."""
        seconds = self._busy_ms / 1_000
        with self._turnstile.passed(seconds):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield
            connection.exec_driver_sql("COMMIT")

    def close(self) -> None:
        """Close the file of the queue."""
        self._turnstile.close()

    def _connected(self, connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {self._busy_ms}")
        mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise UnsafeDatabase(
                f"The file system of {self.url.database} gives SQLite no write-ahead log (it says "
                f"{mode}). Put the file on a local disk."
            )
        for pragma in ("synchronous = FULL", "fullfsync = 1", "checkpoint_fullfsync = 1"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


class PostgreSQL(Backend):
    """A server, which any number of processes on any number of machines write at once."""

    begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    advice = (
        "Check that HEADRACE_DATABASE_URL names a database of a PostgreSQL server that runs, and "
        "that this user may write it."
    )

    def __init__(self, url: URL, busy_ms: int) -> None:
        import psycopg

        self.error = psycopg.Error
        self._driver = psycopg
        super().__init__(url.set(drivername="postgresql+psycopg"), busy_ms)

    def engine(self) -> Engine:
        """Connections that notice within seconds that the server is gone."""
        engine = sa.create_engine(
            self.url,
            poolclass=QueuePool,
            pool_size=READERS + 1,
            max_overflow=2,
            isolation_level="AUTOCOMMIT",
            connect_args=self.connect_args(),
        )
        sa.event.listen(engine, "connect", self._connected)
        return engine

    def connect_args(self) -> dict[str, Any]:
        """What a connection of its own is made with, besides the address."""
        return {
            "application_name": "headrace",
            "client_encoding": "utf8",
            # A plan that was made while a table was empty would be kept when it no longer is.
            "prepare_threshold": None,
            "connect_timeout": CONNECT_SECONDS,
            "keepalives_idle": CONNECT_SECONDS,
            "keepalives_interval": 2,
            "keepalives_count": 2,
            "tcp_user_timeout": 1_000 * CONNECT_SECONDS,
        }

    def connect(self) -> Any:
        """A connection of its own, in autocommit: psycopg's, and no engine's."""
        address = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return self._driver.connect(address, autocommit=True, **self.connect_args())

    @contextmanager
    def writing(self, connection: Connection, alone: bool) -> Iterator[None]:
        """Entries are appended under the locks of their models' rows, all else alone."""
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL READ COMMITTED")
        if alone:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ALONE})")
        yield
        connection.exec_driver_sql("COMMIT")

    def check(self, connection: Connection) -> None:
        """Refuse a server that loses what it committed, or cannot hold every text."""
        if connection.exec_driver_sql("SHOW fsync").scalar() != "on":
            raise UnsafeDatabase(
                "The PostgreSQL server has fsync off: what it commits may be lost when its machine "
                "stops. Set fsync = on in postgresql.conf and restart it."
            )
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise UnsafeDatabase(
                f"The database's encoding is {encoding}, which cannot hold every text. Make one "
                "with it: CREATE DATABASE headrace ENCODING 'UTF8' TEMPLATE template0."
            )

    def _connected(self, connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {self._busy_ms}")
            cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
            if cursor.execute("SHOW synchronous_commit").fetchone()[0] == "off":
                cursor.execute("SET synchronous_commit = on")


def backend_of(text: str, busy_ms: int) -> Backend:
    """The backend that a URL names. Raises `InvalidSettings`, `UnsafeDatabase`."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise InvalidSettings(
            f"HEADRACE_DATABASE_URL is {text!r}, which is no database URL. Write it like "
            "sqlite:///headrace.db or postgresql://user@host/database."
        ) from None
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return PostgreSQL(url, busy_ms)
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return SQLite(url, busy_ms)
    shown = url.render_as_string(hide_password=True)
    raise InvalidSettings(
        f"HEADRACE_DATABASE_URL is {shown}, and only SQLite and PostgreSQL are served. Write it "
        "like sqlite:///headrace.db or postgresql://user@host/database."
    )


def insert_many(connection: Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns; into PostgreSQL from an array for each column.

    That takes it a fifth of the time that a statement for each row takes.
    """
    if connection.dialect.name != "postgresql":
        connection.execute(sa.insert(table), rows)
        return
    columns = [table.c[name] for name in rows[0]]
    types = [sa.ARRAY(column.type) for column in columns]
    arrays = [
        sa.cast(sa.bindparam(None, [row[column.name] for row in rows], kind), kind)
        for column, kind in zip(columns, types, strict=True)
    ]
    names = [column.name for column in columns]
    given = sa.func.unnest(*arrays).table_valued(*names).render_derived()
    connection.execute(sa.insert(table).from_select(names, sa.select(given)))


def find_pairs(
    connection: Connection,
    columns: tuple[sa.Column[Any], sa.Column[Any]],
    keys: Iterable[tuple[Any, Any]],
    wanted: sa.Column[Any],
) -> Sequence[Any]:
    """The rows that have one of these pairs in two columns of an index: the pair, and `wanted`."""
    first, second = columns
    if connection.dialect.name != "postgresql":
        # `IS NOT NULL` says nothing new, but without it SQLite does not take a partial index.
        pairs = sa.tuple_(first, second).in_(sorted(keys))
        return connection.execute(
            sa.select(first, second, wanted).where(pairs, second.is_not(None))
        ).all()
    # Each pair by itself, behind a fence: before its first statistics the planner would rather
    # read a whole log, and goes on to.
    kinds = [sa.ARRAY(column.type) for column in columns]
    arrays = [
        sa.cast(sa.bindparam(None, list(values), kind), kind)
        for values, kind in zip(zip(*sorted(keys), strict=True), kinds, strict=True)
    ]
    given = sa.func.unnest(*arrays).table_valued("first", "second").render_derived()
    one = sa.select(wanted.label("wanted")).where(
        first == given.c.first, second == given.c.second, second.is_not(None)
    )
    fenced = one.offset(0).lateral()
    query = sa.select(given.c.first, given.c.second, fenced.c.wanted)
    return connection.execute(query.select_from(given.join(fenced, sa.true()))).all()


def sqlite_version() -> str:
    """The version of the SQLite that Headrace brings, and whether it is one to be trusted."""
    safe = sqlite.sqlite_version_info >= SQLITE_SAFE
    return f"{sqlite.sqlite_version} ({'without' if safe else 'WITH'} the WAL-reset bug)"


class Turnstile:
    """A queue of those who want to write a file: a lock that the kernel hands on in turn.

    SQLite's own waiting lets the unlucky starve, because they sleep longer and longer while others
    come and go. Whoever holds the lock and does not let go is waited for no longer than is said.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._mine = threading.Lock()
        self._changed = threading.Condition()
        self._is_asked = self._is_held = self._is_wanted = False

    @contextmanager
    def passed(self, seconds: float) -> Iterator[None]:
        """Wait for one's turn, at most so long; then go on all the same, as SQLite allows."""
        is_mine = self._mine.acquire(timeout=seconds)
        try:
            held = is_mine and self._take(seconds)
            try:
                yield
            finally:
                if held:
                    self._release()
        finally:
            if is_mine:
                self._mine.release()

    def close(self) -> None:
        """Close the file, unless a thread waits with it."""
        with self._changed:
            if self._file is not None and not self._is_asked:
                os.close(self._file)
                self._file = None

    def _take(self, seconds: float) -> bool:
        with self._changed:
            if not self._is_asked:
                try:
                    self._lock(fcntl.LOCK_NB)
                except BlockingIOError:
                    # A thread of its own waits for it, because such a wait has no end.
                    self._is_asked = True
                    threading.Thread(target=self._wait, daemon=True).start()
                except OSError:
                    # A folder that cannot be written: SQLite says it better.
                    return False
                else:
                    return True
            self._is_wanted = True
            self._changed.wait_for(lambda: self._is_held, seconds)
            self._is_wanted = False
            return self._is_held

    def _wait(self) -> None:
        self._lock()
        with self._changed:
            self._is_asked = False
            if self._is_wanted:
                self._is_held = True
                self._changed.notify_all()
            else:
                self._unlock()

    def _release(self) -> None:
        with self._changed:
            self._is_held = False
            self._unlock()

    def _lock(self, how: int = 0) -> None:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX | how)

    def _unlock(self) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
