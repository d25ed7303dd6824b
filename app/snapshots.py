"""Snapshots: versions taken of the models that this process holds."""

import asyncio
from typing import Any

from app import versions
from app.replica import Replica
from app.runs import Cause
from app.runtime import Runtime
from app.versions import Guard, Newest, Source, Version


async def snapshot(runtime: Runtime, replica: Replica, source: Source, guard: Guard) -> Version:
    """Take and keep a version of a model as it is now; its entries are held back meanwhile.

    Raises `NotReady`, `LogUnavailable`, and `learners.states.StateRefused` if the learner has no
    form as bytes.
    """
    async with runtime.applier.holding(replica) as live:
        parent = await runtime.database.read(lambda c: _parent(c, replica))
        taken = await asyncio.to_thread(versions.take, live, source, parent)
    return await versions.save(runtime.database, replica.id, taken, runtime.clock(), guard)


def is_due(replica: Replica, newest: Newest | None, now: int) -> Cause | None:
    """Why a model is due for a version now, `newest` being its last; None if it is not."""
    live = replica.model
    rules = live.created.versions.snapshot
    since, learned = (newest.at, newest.examples) if newest else (replica.created_at, 0)
    more = live.monitor.examples - learned
    if more <= 0:
        return None
    if rules.every_examples is not None and more >= rules.every_examples:
        return "threshold"
    if rules.every_seconds is not None and now - since >= rules.every_seconds * 1e6:
        return "schedule"
    return None


def _parent(connection: Any, replica: Replica) -> Version | None:
    """The version that the model as it is came from."""
    live = replica.model
    newest = versions.page(connection, replica.id, limit=1)
    if newest and newest[0].offset >= live.continued_at:
        return newest[0]
    return versions.get(connection, replica.id, live.version) if live.version else None
