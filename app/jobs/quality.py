"""The jobs that see to quality: each version is validated, and the live learner is watched.

a new version ─▶ validate, in a process of its own ─▶ valid ─▶ [serve: validated] it is swapped in
                                                   └▶ invalid
the live learner ─▶ compared with valid versions ─▶ worse ─▶ alert, freeze or roll back
"""

import asyncio
import logging
from collections.abc import Sequence

from sqlalchemy.engine import Connection

from app import validation, versions
from app.database import Database
from app.errors import UnloadableVersion
from app.jobs.errand import Errand, LongErrand
from app.live import LiveModel
from app.replica import Replica
from app.runtime import Runtime
from app.turns import Act, Turns
from app.validation import Candidate, Comparison
from app.versions import Check, Version

logger = logging.getLogger(__name__)

BY = "validation"
"""Who does what no person does."""

FRESH = 50
"""How many more scored examples make it worth to compare again."""

VALIDATED_MAX = 20
"""How many versions one run validates."""


def validate(errand: LongErrand) -> str:
    """Validate a version of a model, or those that nobody has validated yet."""
    database = Database(errand.settings)
    try:
        return _validate(database, errand)
    finally:
        database.close()


def _validate(database: Database, errand: LongErrand) -> str:
    model_id = errand.model_id or 0
    number = errand.wanted.get("number")
    with database.snapshot() as connection:
        known = versions.page(connection, model_id)
    # The oldest first, because each may be a reference for the next.
    fresh = [v.number for v in reversed(known) if v.status == "new" and v.state_id is not None]
    numbers = [number] if number is not None else fresh[-VALIDATED_MAX:]
    said = []
    for done, each in enumerate(numbers):
        errand.tell(done / len(numbers))
        with database.snapshot() as connection:
            checks = validation.validate(connection, database.secret, model_id, each)
        said.append(_note(database, errand, each, checks))
    return "; ".join(said)


def _note(database: Database, errand: LongErrand, number: int, checks: list[Check]) -> str:
    failed = [check for check in checks if not check.passed]
    status = "invalid" if failed else "valid"
    with database.transaction() as connection:
        errand.guard(connection)
        versions.change(connection, errand.model_id or 0, number, status=status, checks=checks)
    why = "".join(f": {check.detail}" for check in failed)
    return f"version {number} is {status}{why}"


async def watch(errand: Errand) -> str:
    """Have new versions validated, swap in what is valid, and compare the live learners."""
    said = []
    for replica in errand.runtime.replicas():
        if replica.state == "ready" and replica.model.learner is not None:
            said += await _watch_one(errand, replica)
    return " ".join(said)


async def _watch_one(errand: Errand, replica: Replica) -> list[str]:
    runtime, live = errand.runtime, replica.model
    known = await runtime.database.read(lambda c: versions.page(c, replica.id, limit=200))
    if any(v.status == "new" and v.state_id is not None for v in known):
        await errand.ask("validate", replica, "schedule")
    rules = live.created.versions
    if rules.serve == "validated":
        return await _promote(runtime, replica, known) if rules.auto_swap else []
    fresh = live.scored_total - replica.compared
    if live.frozen_at is not None or 0 <= fresh < FRESH or live.created.task == "anomaly":
        return []
    replica.compared = live.scored_total
    candidate = validation.candidate_of(live)
    chosen = validation.references(known, candidate.total, rules.window)
    worst = await asyncio.to_thread(_worst, runtime.database, candidate, chosen)
    if worst is None or live.continued_at > candidate.scored[-1].offset:
        replica.reported = frozenset()
        return []
    return await _act(errand, replica, candidate, worst)


def _worst(
    database: Database, candidate: Candidate, chosen: Sequence[Version]
) -> Comparison | None:
    with database.snapshot() as connection:
        return validation.worst(connection, database.secret, candidate, chosen)[1]


async def _promote(runtime: Runtime, replica: Replica, known: Sequence[Version]) -> list[str]:
    """Let the newest valid version answer, unless somebody chose another one since."""
    live = replica.model
    valid = [v for v in known if v.status == "valid" and v.state_id is not None]
    if not valid or valid[0].number == live.version or valid[0].offset < _chosen_at(live):
        return []
    number, before = valid[0].number, live.version
    try:
        await Turns(runtime).swap(replica, number, Act("It was found valid.", BY))
    except UnloadableVersion as error:
        return [f"{replica.name}: {error.message}"]
    return [f"{replica.name}: version {number} answers, after {before}."]


def _chosen_at(live: LiveModel) -> int:
    """Where the last version stands that a person made the champion, or went back to."""
    chosen = [turn.offset for turn in live.turned if turn.kind in ("swapped", "rolled_back")]
    return chosen[-1] if chosen else 0


async def _act(
    errand: Errand, replica: Replica, candidate: Candidate, worst: Comparison
) -> list[str]:
    """Do what the model's rules say of a live learner that is worse than a version."""
    rules, turns = candidate.rules, Turns(errand.runtime)
    why = validation.sentence(worst, rules)
    if rules.on_invalid == "freeze":
        await turns.freeze(replica, Act(why, BY))
        return [f"{replica.name}: frozen. {why}"]
    if rules.on_invalid == "rollback":
        await turns.roll_back(replica, worst.reference, "none", Act(why, BY))
        await errand.runtime.database.write(lambda c: _disown(c, errand, replica, worst, why))
        return [f"{replica.name}: rolled back to version {worst.reference}. {why}"]
    if worst.reference in replica.reported:
        return []
    replica.reported |= {worst.reference}
    logger.warning("model %r: %s", replica.name, why)
    return [f"{replica.name}: {why}"]


def _disown(
    connection: Connection, errand: Errand, replica: Replica, worst: Comparison, why: str
) -> None:
    """The versions that came behind the one that was gone back to have learned what it has not."""
    errand.guard(connection)
    for version in versions.page(connection, replica.id):
        if version.number > worst.reference and version.status == "valid":
            said = f"The model was rolled back behind it, to version {worst.reference}. {why}"
            checks = [*(version.checks or []), Check("rolled_back", False, said, worst.figures())]
            versions.change(connection, replica.id, version.number, status="invalid", checks=checks)
