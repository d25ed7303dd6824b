"""The process that runs the jobs, or stands by: replicas of its own, and no HTTP.

It ends by SIGTERM or SIGINT, and beside a server also with its standard input. Before it ends it
makes versions of what was learned, and lets another process go on at once.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from app.errors import LogUnavailable
from app.jobs import SCHEDULE, keep_what_was_learned
from app.jobs.errand import Job
from app.jobs.running import Jobs
from app.runtime import Runtime
from app.settings import Settings

logger = logging.getLogger(__name__)

NICENESS = 10
"""By how much it gives way to the server beside it."""


def run(settings: Settings, is_beside: bool, schedule: Sequence[Job] = SCHEDULE) -> None:
    """Run the jobs until it is told to stop; `is_beside` until the standard input ends, too."""
    if is_beside:
        os.nice(NICENESS)
    asyncio.run(_run(settings, is_beside, schedule))


async def _run(settings: Settings, is_beside: bool, schedule: Sequence[Job]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if is_beside:
        await loop.connect_read_pipe(lambda: _Leash(stop), sys.stdin)
    runtime = Runtime(settings)
    jobs = Jobs(runtime, schedule)
    await runtime.open()
    jobs.open()
    await stop.wait()
    # Whoever waits for the end of this process waits no longer than this.
    end = threading.Timer(settings.stop_seconds_max, os._exit, (1,))
    end.daemon = True
    end.start()
    try:
        await keep_and_close(runtime, jobs)
    finally:
        await runtime.close()
    end.cancel()


async def keep_and_close(runtime: Runtime, jobs: Jobs) -> None:
    """Stop running the jobs, with versions made of what was learned."""
    if jobs.leads:
        with suppress(LogUnavailable):
            await runtime.follow()
        await keep_what_was_learned(runtime, jobs.lease.check)
    await jobs.close()


class _Leash(asyncio.Protocol):
    """Sees the end of the standard input: whoever began this process is gone, or says stop."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop.set()
