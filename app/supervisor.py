"""The supervisor of several workers: one socket, a process for each worker, one for the jobs.

    supervisor ──▶ worker 1 … n   (the same listening socket: whoever is free takes a connection)
               └─▶ jobs           (unless they run elsewhere)

A process that dies is begun again, sooner or later, and the others serve on meanwhile. All hang on
the supervisor by their standard input: when it is gone, however it went, they stop too.
SIGTERM and SIGINT stop all; SIGHUP replaces one worker after the other, each by one that serves.
"""

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from app.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

JOIN = f"{PREFIX}JOIN_SECONDS_MAX"

AGAIN_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""How long it is waited before a process is begun again: each time longer, unless it had lived."""

JOIN_SECONDS = 10.0
"""How long a worker may take to hold all models while the others take its connections."""

LIVED_SECONDS = 30.0
LOOK_SECONDS = 0.1

GRACE_SECONDS = 5.0
"""For how long a process may outlive the time that it gives itself to stop."""


class Child:
    """One process, begun again and again. `command` is what the `headrace` command is given."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._command = [sys.executable, "-m", "app", *command]
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._again_at = float("-inf")
        self._deaths = 0

    def keep(self) -> None:
        """Begin it, if it is time; note that it died, if it did."""
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            lived = time.monotonic() - self._began
            self._deaths = 0 if lived > LIVED_SECONDS else self._deaths + 1
            seconds = AGAIN_SECONDS[min(self._deaths, len(AGAIN_SECONDS) - 1)]
            logger.warning(
                "%s ended with status %s; it begins again in %g s", self.name, status, seconds
            )
            _let_go(self._process)
            self._process = None
            self._again_at = time.monotonic() + seconds
        elif time.monotonic() >= self._again_at:
            self._process = self._begun()

    def stop(self) -> None:
        """Tell it to stop."""
        if self._process is not None:
            self._process.terminate()

    def ended(self, seconds_max: float) -> None:
        """Wait for its end, but not for ever."""
        if self._process is not None:
            try:
                self._process.wait(max(0.0, seconds_max))
            except subprocess.TimeoutExpired:
                logger.warning("%s did not stop in time, and is killed", self.name)
                self._process.kill()
                self._process.wait()
            _let_go(self._process)
            self._process = None

    def _begun(self, *more: str, files: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        self._began = time.monotonic()
        return subprocess.Popen(
            [*self._command, *more],
            stdin=subprocess.PIPE,
            env={JOIN: str(JOIN_SECONDS), **os.environ},
            pass_fds=files,
            # An interrupt at the terminal is the supervisor's, which then stops this one.
            start_new_session=True,
        )


class Worker(Child):
    """A process that serves on a socket, and says when it takes connections."""

    def __init__(self, name: str, listening: socket.socket) -> None:
        super().__init__(name, ("serve", "--no-jobs", "--socket", str(listening.fileno())))
        self._socket = listening.fileno()
        self._says = -1

    def replace(self, seconds_max: float, is_wanted: Callable[[], bool]) -> None:
        """Let another take its place, which serves before this one stops; or none, if it cannot."""
        before, self._process = self._process, self._begun()
        joins = float(os.environ.get(JOIN, JOIN_SECONDS))
        deadline = time.monotonic() + joins + seconds_max
        while is_wanted() and self._process.poll() is None and time.monotonic() < deadline:
            if select.select([self._says], [], [], LOOK_SECONDS)[0] and os.read(self._says, 1):
                self._process, after = before, self._process
                self.stop()
                self.ended(seconds_max)
                self._process = after
                return
        if is_wanted():
            logger.error("%s is not replaced: what was to take its place does not serve", self.name)
        self._process.kill()
        self._process.wait()
        _let_go(self._process)
        self._process = before

    def _begun(self, *more: str, files: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        if self._says >= 0:
            os.close(self._says)
        self._says, said = os.pipe()
        try:
            return super()._begun("--ready", str(said), *more, files=(self._socket, said, *files))
        finally:
            os.close(said)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Let go of a process that has ended."""
    if process.stdin is not None:
        process.stdin.close()


class Supervisor:
    """Keeps `count` workers on one socket, and the jobs beside them."""

    def __init__(self, settings: Settings, listening: socket.socket, count: int) -> None:
        self._listening = listening
        self._seconds_max = settings.stop_seconds_max + GRACE_SECONDS
        self._workers = [Worker(f"worker {n}", listening) for n in range(1, count + 1)]
        jobs = [Child("the process of the jobs", ("jobs", "--beside"))]
        self._jobs = jobs if settings.jobs != "none" else []
        self._is_replacing = False
        self._stopped_by: int | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._replace)
        logger.info("%d workers serve, kept by process %d", len(self._workers), os.getpid())
        while self._stopped_by is None:
            for child in (*self._workers, *self._jobs):
                child.keep()
            if self._is_replacing:
                self._is_replacing = False
                self._replace_all()
            time.sleep(LOOK_SECONDS)
        # The workers first: what they learn last, the jobs may still make versions of.
        for children in (self._workers, self._jobs):
            deadline = time.monotonic() + self._seconds_max
            for child in children:
                child.stop()
            for child in children:
                child.ended(deadline - time.monotonic())
        if self._stopped_by == signal.SIGTERM:
            # It ends as one process does that is stopped so.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)

    def _replace_all(self) -> None:
        for worker in self._workers:
            if self._stopped_by is None:
                worker.replace(self._seconds_max, lambda: self._stopped_by is None)

    def _stop(self, number: int, _: object) -> None:
        self._stopped_by = number

    def _replace(self, *_: object) -> None:
        self._is_replacing = True
