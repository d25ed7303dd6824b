"""Databases for tests: SQLite files, and databases of a real PostgreSQL server.

The server is the one that HEADRACE_TEST_POSTGRES_URL names, or that answers on the local socket, or
one that is installed and started for the tests. Without any of them the tests fail, and say how to
have one: nothing is skipped.
"""

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL, make_url

from app.database import Database
from app.settings import Settings

KINDS = ("sqlite", "postgresql")
VARIABLE = "HEADRACE_TEST_POSTGRES_URL"
SOCKETS = ("/var/run/postgresql", "/tmp")
HOW = f"""The tests need a PostgreSQL server, and found none. Name one by {VARIABLE}, like
postgresql://user@127.0.0.1/postgres, whose user may create databases; or install one, which the
tests start themselves: apt-get install postgresql"""

kind = os.environ.get("HEADRACE_TEST_DATABASE", "sqlite")
"""Of which kind databases are that tests do not choose."""

_numbers = count()
_made: dict[Path, str] = {}


class NoServer(Exception):
    """There is no PostgreSQL server."""


@contextmanager
def of(chosen: str) -> Iterator[None]:
    """Let databases be of this kind meanwhile."""
    global kind
    before, kind = kind, chosen
    try:
        yield
    finally:
        kind = before


def fresh(folder: Path, name: str = "headrace") -> str:
    """The URL of a database that holds nothing, or of the one that was made there before."""
    if kind == "sqlite":
        return f"sqlite:///{folder}/{name}.db"
    if folder / name not in _made:
        _made[folder / name] = _created("template0")
    return _made[folder / name]


def blank(folder: Path, name: str = "headrace") -> str:
    """The URL of a database of this release's schema: migrating takes longer than most tests."""
    if kind == "sqlite":
        (folder / f"{name}.db").write_bytes(_blank_file())
        return f"sqlite:///{folder}/{name}.db"
    made = _made[folder / name] = _created(_blank_database())
    return made


def is_made(folder: Path, name: str = "headrace") -> bool:
    """Whether a database was made there."""
    return folder / name in _made or (folder / f"{name}.db").exists()


def at(folder: Path, name: str = "headrace") -> str:
    """The URL of the database that was made there."""
    return _made.get(folder / name) or f"sqlite:///{folder}/{name}.db"


def psql(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run a statement on its own connection."""
    plain = make_url(url).set(drivername="postgresql")
    with psycopg.connect(
        plain.render_as_string(hide_password=False), autocommit=True
    ) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@cache
def server() -> URL:
    """A PostgreSQL server on which databases may be created. Raises `NoServer`."""
    if named := os.environ.get(VARIABLE):
        return make_url(named).set(drivername="postgresql")
    for folder in SOCKETS:
        url = URL.create("postgresql", database="postgres", query={"host": folder})
        if _answers(url):
            return url
    return _started()


def _answers(url: URL) -> bool:
    try:
        found = psql(str(url), "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = user")
    except psycopg.OperationalError:
        return False
    return found == [(True,)]


class Server:
    """A server of the tests' own, from what is installed. Raises `NoServer` if nothing is.

    It is reached by a socket in its folder, and on the addresses `listen`, on its own port.
    """

    def __init__(self, listen: str = "") -> None:
        self._listen = listen
        with socket.socket() as free:
            free.bind(("", 0))
            self.port = int(free.getsockname()[1])
        found = [shutil.which("initdb"), *Path("/usr/lib/postgresql").glob("*/bin/initdb")]
        programs = [Path(each).parent for each in found if each]
        if not programs:
            raise NoServer(HOW)
        self._programs = programs[-1]
        # The server refuses to be run by root.
        self._user = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-postgres-"))
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "-U", "headrace", "--auth=trust", "-E", "UTF8")
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
        self.url = URL.create(
            "postgresql",
            username="headrace",
            port=self.port,
            database="postgres",
            query={"host": str(self.folder)},
        )

    def start(self) -> None:
        """Start it; return once it takes connections."""
        where = f"-p {self.port} -k {self.folder} -c listen_addresses='{self._listen}'"
        options = f"{where} -c max_connections=300"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Stop it as a crash would."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def remove(self) -> None:
        """Stop it, and remove what it wrote."""
        with suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(
            command,
            check=True,
            user=self._user,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _started() -> URL:
    server = Server()
    atexit.register(server.remove)
    server.start()
    return server.url


def _created(template: str) -> str:
    name = f"headrace_test_{os.getpid()}_{next(_numbers)}"
    psql(str(server()), f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
    atexit.register(drop, name)
    return server().set(database=name).render_as_string(hide_password=False)


def drop(name: str) -> None:
    """Remove a database, whoever uses it."""
    psql(str(server()), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@cache
def _blank_database() -> str:
    url = _created("template0")
    Database(Settings(database_url=url)).close()
    return make_url(url).database or ""


@cache
def _blank_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "blank.db"
        Database(Settings(database_url=f"sqlite:///{file}")).close()
        return file.read_bytes()
