"""What operators and jobs tell a model to do: each is an entry of its log, and so is its reason.

A version that is to answer is loaded before anything is appended: one that cannot be loaded leaves
all as it is. What was loaded is handed to the applier, which then only changes a pointer.
"""

import logging
from typing import Literal, NamedTuple

from uuid_utils import uuid7

from app import entries, versions
from app.calls import RESERVED
from app.entries import PERSON, Budget, VersionRules
from app.errors import UnknownVersion, UnloadableVersion
from app.live import Turn
from app.log import Draft, Receipt
from app.replica import Replica
from app.runs import Runs
from app.runtime import Runtime
from app.versions import Version
from app.workers import Serving

logger = logging.getLogger(__name__)


class Done(NamedTuple):
    """A turn that this process obeys: where it stands, and what each other worker serves."""

    offset: int
    others: list[Serving]


class Act(NamedTuple):
    """Who does something, and why."""

    reason: str = ""
    by: str = PERSON


class Turns:
    """Swaps, rolls back, freezes and changes the models of one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def swap(self, replica: Replica, number: int, act: Act) -> Done:
        """Make a version the champion.

        Raises `UnknownVersion`, `UnloadableVersion`, `LogUnavailable`.
        """
        version = await self._version(replica, number)
        return await self._turn(replica, entries.Swapped(number, version.offset, *act))

    async def roll_back(
        self, replica: Replica, number: int | None, replay: Literal["none", "since"], act: Act
    ) -> Done:
        """Continue from a version, or from the last valid one.

        Raises `UnknownVersion`, `UnloadableVersion`, `LogUnavailable`.
        """
        if number is None:
            version = await self._last_valid(replica)
        else:
            version = await self._version(replica, number)
        entry = entries.RolledBack(version.number, version.offset, replay, *act)
        return await self._turn(replica, entry)

    async def freeze(self, replica: Replica, act: Act) -> Done:
        """Learn nothing more."""
        return await self._tell(replica, entries.Frozen(*act))

    async def unfreeze(self, replica: Replica, learn: bool, act: Act) -> Done:
        """Learn again, if told so with what came meanwhile."""
        return await self._tell(replica, entries.Unfrozen(learn, *act))

    async def change(
        self,
        replica: Replica,
        description: str | None,
        rules: VersionRules | None,
        budget: Budget | None,
        act: Act,
    ) -> Done:
        """Change what holds of a model; None leaves it."""
        now = replica.model.created
        entry = entries.Changed(
            now.description if description is None else description,
            rules or now.versions,
            budget or now.budget,
            *act,
        )
        return await self._tell(replica, entry)

    async def _turn(self, replica: Replica, entry: Turn) -> Done:
        try:
            await self._runtime.applier.prepare_ahead(replica, entry)
        except UnloadableVersion as error:
            job = "swap" if isinstance(entry, entries.Swapped) else "rollback"
            runs = Runs(self._runtime.database, self._runtime.clock)
            await runs.failed(job, replica.id, error.message)
            raise
        try:
            return await self._tell(replica, entry)
        finally:
            replica.ahead.pop(entry, None)

    async def _tell(self, replica: Replica, entry: entries.Entry) -> Done:
        """Append an entry, and wait until every worker has applied it."""
        _ = replica.model
        body, kind = entries.encode(entry), entries.kind_of(entry)
        id = f"{RESERVED}{kind}:{uuid7()}"
        runtime = self._runtime
        draft = Draft(replica.id, kind, id, None, runtime.clock(), body)
        receipt: Receipt = await runtime.log.append(draft)
        await replica.applied(receipt.offset, runtime.settings.feedback_seconds_max)
        logger.info("model %r: %s", replica.name, entry)
        seconds = runtime.settings.feedback_seconds_max
        return Done(
            receipt.offset, await runtime.workers.obeying(replica.id, receipt.offset, seconds)
        )

    async def _version(self, replica: Replica, number: int) -> Version:
        return await self._runtime.database.read(
            lambda connection: versions.get(connection, replica.id, number)
        )

    async def _last_valid(self, replica: Replica) -> Version:
        known = await self._runtime.database.read(
            lambda connection: versions.page(connection, replica.id)
        )
        for version in known:
            if version.status == "valid" and version.state_id is not None:
                return version
        raise UnknownVersion(
            f"The model {replica.name!r} has no valid version that keeps its state. Name the "
            "version to go back to, or make one by POST /v1/models/…/versions."
        )
