"""The database: its schema, and transactions on whichever backend there is.

All writes of a process go through one thread, one transaction at a time, so that group commit
needs no lock; reads go through a few others and never wait for a write (WAL). An exception of the
database leaves here as `LogUnavailable`, with the connection thrown away: what a connection thinks
after a failed commit or fsync is not to be trusted.
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.backends import READERS, backend_of
from app.errors import LogUnavailable, NewerSchema, UnsafeDatabase
from app.settings import Settings
from app.tables import installation

T = TypeVar("T")
Upgrade = Callable[[Connection], None]
logger = logging.getLogger(__name__)

SCHEMA = "0003"
"""The newest migration. A test holds it equal to what `migrations/` says."""

SECRET_BYTES = 32
"""How long the secret is that an installation makes for itself."""

PROBE_SECONDS = 1.0
"""For how long a probe that succeeded is believed."""


def now_us() -> int:
    """This instant, in microseconds since 1970."""
    return time.time_ns() // 1_000


class Database:
    """An open database of this release's schema.

    `hash_seed` is the `PYTHONHASHSEED` of every process of this installation, `secret` what it
    signs its versions with.
    Raises `InvalidSettings`, `UnsafeDatabase` or `NewerSchema` if it cannot be one.
    """

    def __init__(self, settings: Settings) -> None:
        self.backend = backend_of(settings.database_url, settings.database_busy_ms)
        self._engine = self.backend.engine()
        self._writer = ThreadPoolExecutor(1, "write")
        self._readers = ThreadPoolExecutor(READERS, "read")
        self.is_writable = True
        self._probed = float("-inf")
        try:
            self._prepare(settings.secret.get_secret_value() if settings.secret else "")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def transaction(self, alone: bool = True) -> Iterator[Connection]:
        """A write transaction. No other that is `alone` goes on meanwhile, in any process."""
        with self._connection() as connection, self.backend.writing(connection, alone):
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A read transaction: all its statements see one state."""
        with self._connection() as connection:
            connection.exec_driver_sql(self.backend.begin_read)
            yield connection
            connection.exec_driver_sql("ROLLBACK")

    async def write(self, work: Callable[[Connection], T], alone: bool = True) -> T:
        """Run `work` in a write transaction, after those before it. `LogUnavailable` if it fails.

        What locks the rows that it changes, in one order everywhere, need not be `alone`. After
        `LogUnavailable` the outcome is unknown: only reading the database tells.
        """
        try:
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._writer, self._written, work, alone)
        except LogUnavailable as error:
            if self.is_writable:
                logger.warning("nothing can be written: %s", reason_of(error))
            self.is_writable = False
            raise
        if not self.is_writable:
            logger.warning("it can be written again")
        self.is_writable = True
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read transaction. Raises `LogUnavailable` if it fails."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def probe(self) -> None:
        """Write something, at most once a second. `LogUnavailable` if it cannot be made durable."""
        if not self.is_writable or time.monotonic() - self._probed > PROBE_SECONDS:
            await self.write(lambda connection: connection.execute(_PROBE, {"now": now_us()}))
            self._probed = time.monotonic()

    def close(self) -> None:
        """Finish what is being written and let go of the file."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()
        self.backend.close()

    def _written(self, work: Callable[[Connection], T], alone: bool) -> T:
        with self.transaction(alone) as connection:
            return work(connection)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self.snapshot() as connection:
            return work(connection)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            connection = self._engine.connect()
        except SQLAlchemyError as error:
            raise _unavailable() from error
        try:
            yield connection
        except (SQLAlchemyError, self.backend.error) as error:
            connection.invalidate()
            raise _unavailable() from error
        except BaseException:
            connection.invalidate()
            raise
        finally:
            connection.close()

    def _prepare(self, given: str) -> None:
        """Bring the schema to this release's, and make the installation's row."""
        try:
            with self.snapshot() as connection:
                self.backend.check(connection)
                revision = _revision(connection)
            upgrade = None if revision == SCHEMA else _upgrade()
            with self.transaction() as connection:
                self._migrate(connection, upgrade)
                query = sa.select(installation.c.hash_seed, installation.c.secret)
                found = connection.execute(query).one_or_none()
                if found is not None:
                    seed, secret = int(found[0]), bytes(found[1])
                else:
                    seed, secret, now = _hash_seed(), secrets.token_bytes(SECRET_BYTES), now_us()
                    row = {"id": 1, "hash_seed": seed, "created_at": now, "probed_at": now}
                    connection.execute(sa.insert(installation), {**row, "secret": secret})
            self.hash_seed = seed
            self.secret = given.encode() if given else secret
        except LogUnavailable as error:
            reason = reason_of(error)
            advice = self.backend.advice
            if "locked" in reason:
                advice = "Another process is writing it all the while. Start again when it is done."
            raise UnsafeDatabase(
                f"The database {self.backend.shown} cannot be opened: {reason}. {advice}"
            ) from error

    def _migrate(self, connection: Connection, upgrade: Upgrade | None) -> None:
        revision = _revision(connection)
        if revision == SCHEMA or upgrade is None:
            return
        if revision is not None and revision > SCHEMA:
            raise NewerSchema(
                f"The database {self.backend.shown} has schema {revision}, and this Headrace knows "
                f"up to {SCHEMA}. Start the newer Headrace that wrote it, or give another database."
            )
        shown = self.backend.shown
        logger.info("migrating %s from schema %s to %s", shown, revision or "none", SCHEMA)
        upgrade(connection)


def migrations_folder() -> Path:
    """Where the migrations stand: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "migrations"
    return installed if installed.exists() else Path(__file__).parent.parent / "migrations"


_PROBE = sa.update(installation).values(probed_at=sa.bindparam("now"))


def _upgrade() -> Upgrade:
    """Alembic's upgrade, imported before the write lock is taken.

    It takes most of a second to import, and is needed once per release.
    """
    from alembic import command
    from alembic.config import Config

    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(migrations_folder()))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    return upgrade


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if revision is None else str(revision)


def _hash_seed() -> int:
    """What this process was given, so that tests and tools can say; else a secret one.

    It is no known number, or colliding feature names would be an attack.
    """
    given = os.environ.get("PYTHONHASHSEED", "")
    return int(given) if given.isdecimal() else secrets.randbelow(4_294_967_295) + 1


def reason_of(error: LogUnavailable) -> str:
    """What the database said, for the log of operations."""
    cause = error.__cause__
    return str(getattr(cause, "orig", None) or cause)


def _unavailable() -> LogUnavailable:
    return LogUnavailable(
        "Nothing can be made durable now. Send it again after the time that Retry-After says, "
        "with the same id, so that it is taken once."
    )
