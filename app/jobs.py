"""Jobs: what is done by the clock, off the hot path. `SCHEDULE` is the one table of when."""

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from app.errors import LogUnavailable, Overloaded
from app.joining import Joining
from app.runtime import Runtime

logger = logging.getLogger(__name__)


class Job(NamedTuple):
    """What is run, and how often."""

    name: str
    every_seconds: int
    run: Callable[[Runtime], Awaitable[int]]


async def expire_predictions(runtime: Runtime) -> int:
    """Forget predictions that are older than they are kept."""
    return await runtime.predictions.expire()


async def settle_labels(runtime: Runtime) -> int:
    """Learn the default labels of predictions that got none in time, or count that none came."""
    return await Joining(runtime).settle_due()


async def sweep_deleted(runtime: Runtime) -> int:
    """Remove what deleted models left behind, if the process that deleted them could not."""
    return await runtime.registry.sweep()


SCHEDULE = (
    Job("settle_labels", 1, settle_labels),
    Job("expire_predictions", 60, expire_predictions),
    Job("sweep_deleted", 600, sweep_deleted),
)


class Jobs:
    """Runs the schedule in this process's event loop; a run that fails waits for its next turn."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._scheduler = AsyncIOScheduler(timezone="UTC")

    def open(self) -> None:
        """Begin the schedule."""
        for job in SCHEDULE:
            self._scheduler.add_job(
                self._run, "interval", args=[job], seconds=job.every_seconds, coalesce=True
            )
        self._scheduler.start()

    def close(self) -> None:
        """Begin nothing more."""
        self._scheduler.shutdown(wait=False)

    async def _run(self, job: Job) -> None:
        try:
            done = await job.run(self._runtime)
        except (LogUnavailable, Overloaded):
            logger.warning("%s: the database is unavailable; it runs again later", job.name)
        except Exception:
            logger.exception("%s failed, which is a bug", job.name)
        else:
            if done:
                logger.info("%s: %s rows", job.name, f"{done:,}")
