"""Hints: what a process tells the others right after it committed, so that they look at once.

    commit ──▶ tell(model) ──▶ SQLite: a datagram to each socket beside the file's name
                               PostgreSQL: NOTIFY ──▶ heard(model) ──▶ read the log

A hint may be lost, doubled or late, and says nothing that is relied on: whoever hears one reads the
log. The slow poll finds what no hint told.
"""

import asyncio
import hashlib
import logging
import os
import secrets
import select
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from app.backends import Backend, PostgreSQL

logger = logging.getLogger(__name__)

Heard = Callable[[int], None]
"""Called with the number of a model that changed, or with `ANY`."""

ANY = 0
"""Stands for models that came or went."""

CHANNEL = "headrace"
BYTES_MAX = 64
AGAIN_SECONDS = 1.0
"""How long it is waited before a server is listened to again, after the connection broke."""


class Hints(Protocol):
    """How one process hears of the others, and tells them."""

    def open(self, heard: Heard) -> None:
        """Call `heard` in this event loop for what others tell."""

    def tell(self, model_ids: Iterable[int]) -> None:
        """Tell the others that these models changed; returns at once."""

    def close(self) -> None:
        """Neither hear nor tell any more."""


def hints_of(backend: Backend) -> Hints:
    """The hints of a database."""
    if isinstance(backend, PostgreSQL):
        return Notifications(backend)
    return Datagrams(backend.url.database or "")


class Datagrams:
    """Processes on one machine, each with a socket in a folder that only their user may enter."""

    def __init__(self, database: str) -> None:
        name = hashlib.sha256(os.path.realpath(database).encode()).hexdigest()[:16]
        self._folder = Path(tempfile.gettempdir()) / f"headrace-{os.geteuid()}-{name}"
        self._path = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._socket: socket.socket | None = None
        self._heard: Heard = lambda _: None

    def open(self, heard: Heard) -> None:
        """Bind a socket; where that cannot be, the slow poll is all there is."""
        self._heard = heard
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            try:
                self._bind(self._socket)
            except FileNotFoundError:
                # Whoever was the last in it removed the folder in between.
                self._bind(self._socket)
        except OSError as error:
            logger.warning("no hints are heard in %s: %s", self._folder, error)
            self.close()
            return
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def tell(self, model_ids: Iterable[int]) -> None:
        """Send each of the others a datagram; one whose buffer is full has hints enough."""
        if self._socket is None:
            return
        said = " ".join(map(str, model_ids)).encode()
        if len(said) > BYTES_MAX:
            said = b"0"
        with suppress(OSError):
            for name in os.listdir(self._folder):
                path = str(self._folder / name)
                if path == str(self._path):
                    continue
                try:
                    self._socket.sendto(said, path)
                except (ConnectionRefusedError, FileNotFoundError):
                    # Whoever bound it is gone.
                    with suppress(OSError):
                        os.unlink(path)
                except OSError:
                    # Its buffer is full, or the machine's: the slow poll finds it.
                    continue

    def close(self) -> None:
        """Unbind."""
        if self._socket is not None:
            with suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            with suppress(OSError):
                self._path.unlink()
            # It stays while others are in it.
            with suppress(OSError):
                self._folder.rmdir()

    def _bind(self, bound: socket.socket) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = self._folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError("it belongs to somebody else")
        bound.bind(str(self._path))

    def _readable(self) -> None:
        while self._socket is not None:
            try:
                said = self._socket.recv(BYTES_MAX)
            except OSError:
                return
            for model_id in _numbers(said.decode(errors="replace")):
                self._heard(model_id)


class Notifications:
    """Processes on any machines: NOTIFY, sent by one thread, and heard by another."""

    def __init__(self, backend: PostgreSQL) -> None:
        self._backend = backend
        self._told: set[int] = set()
        self._lock = threading.Lock()
        self._teller = ThreadPoolExecutor(1, "notify")
        self._telling: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard: Heard = lambda _: None
        self._stop = threading.Event()
        self._wake = os.pipe()
        self._listener = threading.Thread(target=self._listen, name="listen", daemon=True)

    def open(self, heard: Heard) -> None:
        """Listen."""
        self._loop, self._heard = asyncio.get_running_loop(), heard
        self._listener.start()

    def tell(self, model_ids: Iterable[int]) -> None:
        """Notify, in a thread; what is told while it does goes with the next."""
        with self._lock:
            is_due = not self._told
            self._told.update(model_ids)
        if is_due:
            with suppress(RuntimeError):
                self._teller.submit(self._notify)

    def close(self) -> None:
        """Let the threads end."""
        self._stop.set()
        os.write(self._wake[1], b"x")
        self._teller.shutdown(wait=True)
        if self._listener.is_alive():
            self._listener.join(timeout=AGAIN_SECONDS)
        if not self._listener.is_alive():
            for end in self._wake:
                os.close(end)
        if self._telling is not None:
            self._telling.close()

    def _notify(self) -> None:
        with self._lock:
            told, self._told = self._told, set()
        try:
            if self._telling is None or self._telling.closed:
                self._telling = self._backend.connect()
            said = " ".join(map(str, sorted(told)))
            if len(said) > BYTES_MAX:
                said = "0"
            self._telling.execute("SELECT pg_notify(%s, %s)", (CHANNEL, said))
        except self._backend.error as error:
            logger.debug("the others were not notified: %s", error)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with self._backend.connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._say(ANY)
                    self._hear(connection)
            except self._backend.error as error:
                logger.debug("notifications are not heard: %s", error)
                self._stop.wait(AGAIN_SECONDS)

    def _hear(self, connection: Any) -> None:
        while not self._stop.is_set():
            select.select([connection.fileno(), self._wake[0]], [], [])
            for notification in connection.notifies(timeout=0):
                for model_id in _numbers(notification.payload):
                    self._say(model_id)

    def _say(self, model_id: int) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._heard, model_id)


def _numbers(said: str) -> list[int]:
    """The numbers of models; what is none stands for any."""
    return [int(word) if word.isdecimal() else ANY for word in said.split()]
