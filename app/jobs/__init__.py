"""Jobs: what is done off the hot path, by the clock or because somebody asked.

`SCHEDULE` is the one table of them. Of all processes that could, one runs them: the one that holds
the lease. What is asked for is a row of the table `runs`; what the clock begins becomes one if it
did something, or failed.
"""

import logging
import time

from app import versions
from app.errors import HeadraceError, LogUnavailable, UnknownJob
from app.jobs import quality
from app.jobs.errand import Errand, Job
from app.joining import Joining
from app.leases import LeaseLost
from app.replica import Replica
from app.runtime import Runtime
from app.snapshots import is_due, snapshot
from app.turns import Act, Turns
from app.versions import Guard, Version
from learners.states import StateRefused

logger = logging.getLogger(__name__)

WARNED_SHARE = 0.8
"""From which share of its budget on it is said how much a learner takes."""

STOP_SECONDS = 10.0
"""How long a stop may take to make versions of what was learned since the last ones."""


async def expire_predictions(errand: Errand) -> str:
    """Forget predictions that are older than they are kept."""
    return _rows(await errand.runtime.predictions.expire())


async def settle_labels(errand: Errand) -> str:
    """Learn the default labels of predictions that got none in time, or count that none came."""
    return _rows(await Joining(errand.runtime).settle_due())


async def sweep_deleted(errand: Errand) -> str:
    """Remove what deleted models left behind, and states whose version was never written."""
    runtime = errand.runtime
    parts = await runtime.database.write(lambda c: versions.sweep(c, runtime.clock()))
    return _rows(await runtime.registry.sweep() + parts)


async def find_due(errand: Errand) -> str:
    """Begin a snapshot of each model whose rules want a version of it now."""
    runtime = errand.runtime
    newest = await runtime.database.read(versions.newest)
    for replica in runtime.replicas():
        if replica.state != "ready":
            continue
        cause = is_due(replica, newest.get(replica.id), runtime.clock())
        if cause is not None:
            await errand.begin("snapshot", replica, cause)
    return ""


async def take_snapshot(errand: Errand) -> str:
    """Make a version of a model as it is."""
    replica, runtime = errand.replica, errand.runtime
    offset = errand.wanted.get("offset", 0)
    if replica.model.offset_applied < offset:
        await runtime.follow()
        await replica.applied(offset, runtime.settings.feedback_seconds_max)
    version = await snapshot(runtime, replica, errand.cause, errand.guard)
    await errand.ask("validate", replica, errand.cause)
    return f"version {version.number}{await _within_budget(runtime, replica, version)}"


async def _within_budget(runtime: Runtime, replica: Replica, version: Version) -> str:
    """Freeze a model whose learner takes more memory than it may; what there is to be said."""
    live = replica.model
    taken = version.body.size.memory_bytes if version.body else 0
    share = taken / live.created.budget.bytes
    if share < WARNED_SHARE:
        return ""
    said = f"Its learner takes {taken:,} bytes, {share:.0%} of its budget."
    logger.warning("model %r: %s", replica.name, said)
    if share > 1 and live.frozen_at is None:
        await Turns(runtime).freeze(replica, Act(f"{said} Raise it, then unfreeze.", "budget"))
    return f". {said}"


SCHEDULE = (
    Job("settle_labels", 1, "Learns default labels that are due.", settle_labels),
    Job("find_due", 5, "Begins a snapshot of each model that is due for one.", find_due),
    Job("snapshot", None, "Makes a version of a model.", take_snapshot, about_model=True),
    Job("watch", 10, "Compares live learners with their versions, and acts.", quality.watch),
    Job("validate", None, "Validates new versions.", long=quality.validate, about_model=True),
    Job("expire_predictions", 60, "Forgets predictions that are too old.", expire_predictions),
    Job("sweep_deleted", 600, "Removes what deleted models left behind.", sweep_deleted),
)
JOBS = {job.name: job for job in SCHEDULE}


def job_named(name: str) -> Job:
    """A job by its name. Raises `UnknownJob`."""
    if name not in JOBS:
        raise UnknownJob(f"There is no job named {name!r}. GET /v1/schedule lists them.")
    return JOBS[name]


async def keep_what_was_learned(runtime: Runtime, guard: Guard) -> None:
    """At a clean stop: a version of each model that learned since its last one, in time."""
    deadline = time.monotonic() + STOP_SECONDS
    try:
        newest = await runtime.database.read(versions.newest)
        for replica in runtime.replicas():
            known = newest.get(replica.id)
            learned = known.examples if known else 0
            if replica.state == "ready" and replica.model.monitor.examples > learned:
                try:
                    await snapshot(runtime, replica, "stop", guard)
                except (StateRefused, HeadraceError) as error:
                    logger.warning("model %r: no version was made: %s", replica.name, error)
            if time.monotonic() > deadline:
                return
    except (LogUnavailable, LeaseLost):
        logger.warning("no versions are made at this stop: the database, or the lease, is gone")


def _rows(count: int) -> str:
    return f"{count:,} rows" if count else ""
