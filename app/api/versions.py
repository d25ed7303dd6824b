"""Versions of a model: list, take, pin; and what is told to a model: swap, roll back, freeze."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from app import entries, versions
from app.api import job_schemas, schemas, version_schemas
from app.api.deps import ModelHere, RuntimeHere
from app.api.jobs import run_answer
from app.api.models import model_answer, responses
from app.api.schemas import instant
from app.errors import SnapshotFailed, UnloadableVersion
from app.live import Turned
from app.replica import Replica
from app.runs import Runs
from app.runtime import Runtime
from app.turns import Act, Done, Turns
from app.versions import Version
from app.workers import Serving

router = APIRouter(prefix="/v1/models/{model}", tags=["versions"])
Number = Annotated[int, Path(ge=1, lt=2**31, description="The version's number.")]
NUMBER_END = 2**31


@router.get("/versions", responses=responses(404, 422, 503))
async def list_versions(
    replica: ModelHere,
    runtime: RuntimeHere,
    before: Annotated[
        int, Query(ge=1, le=NUMBER_END, description="The number behind which to go on.")
    ] = NUMBER_END,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> version_schemas.VersionPage:
    """List a model's versions, newest first."""
    query = (replica.id, before, limit + 1)
    found = await runtime.database.read(lambda c: versions.page(c, *query))
    page = found[:limit]
    following = page[-1].number if len(found) > limit else None
    briefs = [version_schemas.VersionBrief(**_brief(replica, version)) for version in page]
    return version_schemas.VersionPage(versions=briefs, next=following)


@router.post("/versions", status_code=201, responses=responses(404, 409, 413, 422, 503))
async def take_version(replica: ModelHere, runtime: RuntimeHere) -> version_schemas.VersionAnswer:
    """Make a version of the model as it is now."""
    asked = Runs(runtime.database, runtime.clock)
    offset = replica.model.offset_applied
    id = await asked.ask("snapshot", replica.id, offset=offset)
    run = await asked.ended(id, runtime.settings.feedback_seconds_max)
    if run.state != "done":
        raise SnapshotFailed(f"No version of {replica.name!r} was made: {run.did or run.state}.")
    [newest] = await runtime.database.read(lambda c: versions.page(c, replica.id, limit=1))
    return version_answer(replica, newest)


@router.get("/versions/{number}", responses=responses(404, 422, 503))
async def show_version(
    replica: ModelHere, number: Number, runtime: RuntimeHere
) -> version_schemas.VersionAnswer:
    """Show a version: its checks, metrics and lineage; who made it serve, and why."""
    found = await runtime.database.read(lambda c: versions.get(c, replica.id, number))
    return version_answer(replica, found)


@router.post(
    "/versions/{number}/validate", status_code=202, responses=responses(404, 409, 413, 422, 503)
)
async def validate_version(
    replica: ModelHere, number: Number, runtime: RuntimeHere
) -> job_schemas.RunAnswer:
    """Validate a version again. `GET /v1/jobs/{id}` says when it is done."""
    version = await runtime.database.read(lambda c: versions.get(c, replica.id, number))
    if version.state_id is None:
        raise UnloadableVersion(
            f"The state of version {number} is no longer kept, so it stays {version.status}. "
            "Validate another one."
        )
    asked = Runs(runtime.database, runtime.clock)
    id = await asked.ask("validate", replica.id, number=number)
    return run_answer(runtime, await asked.show(id))


@router.patch("/versions/{number}", responses=responses(404, 413, 422, 503))
async def change_version(
    replica: ModelHere,
    number: Number,
    request: version_schemas.VersionChange,
    runtime: RuntimeHere,
) -> version_schemas.VersionAnswer:
    """Pin or unpin a version, or write a note on it."""
    wanted = request.model_dump(exclude_none=True)

    def work(connection: Any) -> Version:
        versions.get(connection, replica.id, number)
        versions.change(connection, replica.id, number, **wanted)
        return versions.get(connection, replica.id, number)

    return version_answer(replica, await runtime.database.write(work))


@router.post("/swap", responses=responses(404, 409, 413, 422, 503))
async def swap(
    replica: ModelHere, request: version_schemas.SwapRequest, runtime: RuntimeHere
) -> version_schemas.TurnAnswer:
    """Make a version the champion."""
    done = await Turns(runtime).swap(replica, request.version, Act(request.reason))
    return turn_answer(runtime, replica, done)


@router.post("/rollback", responses=responses(404, 409, 413, 422, 503))
async def roll_back(
    replica: ModelHere, request: version_schemas.RollbackRequest, runtime: RuntimeHere
) -> version_schemas.TurnAnswer:
    """Let the model continue from a version: the last valid one, if none is named."""
    act = Act(request.reason)
    turns = Turns(runtime)
    done = await turns.roll_back(replica, request.version, request.replay, act)
    return turn_answer(runtime, replica, done)


@router.post("/freeze", responses=responses(404, 413, 422, 503))
async def freeze(
    replica: ModelHere, request: version_schemas.FreezeRequest, runtime: RuntimeHere
) -> version_schemas.TurnAnswer:
    """Stop learning: feedback is scored and recorded, and not learned."""
    done = await Turns(runtime).freeze(replica, Act(request.reason))
    return turn_answer(runtime, replica, done)


@router.post("/unfreeze", responses=responses(404, 413, 422, 503))
async def unfreeze(
    replica: ModelHere, request: version_schemas.UnfreezeRequest, runtime: RuntimeHere
) -> version_schemas.TurnAnswer:
    """Learn again, with or without what came meanwhile."""
    act = Act(request.reason)
    done = await Turns(runtime).unfreeze(replica, request.learn, act)
    return turn_answer(runtime, replica, done)


@router.patch("", responses=responses(404, 413, 422, 503), tags=["models"])
async def change_model(
    replica: ModelHere, request: version_schemas.ModelChange, runtime: RuntimeHere
) -> schemas.ModelAnswer:
    """Change a model's description, its rules for versions, or its budget."""
    rules = None if request.versions is None else request.versions.entry()
    budget = None if request.budget is None else request.budget.entry()
    await Turns(runtime).change(replica, request.description, rules, budget, Act(request.reason))
    return model_answer(replica)


def version_answer(replica: Replica, version: Version) -> version_schemas.VersionAnswer:
    """A version in full."""
    body = version.body
    turns = [turn for turn in replica.model.turned if turn.version == version.number]
    more = {} if body is None else entries.plain(body)
    return version_schemas.VersionAnswer(
        **_brief(replica, version),
        recent_metrics=more.get("recent"),
        learner=more.get("learner"),
        stamps=more.get("stamps"),
        size=more.get("size"),
        golden=None if body is None else len(body.golden),
        checks=None
        if version.checks is None
        else [version_schemas.Check(**entries.plain(check)) for check in version.checks],
        turns=[turn_told(turn) for turn in turns if turn.kind in ("swapped", "rolled_back")],
    )


def turn_told(turn: Turned) -> version_schemas.Turn:
    """A turn as the API shows it."""
    return version_schemas.Turn(**{**turn._asdict(), "at": instant(turn.at)})


def turn_answer(runtime: Runtime, replica: Replica, done: Done) -> version_schemas.TurnAnswer:
    """What a model goes on with, and what each worker says of it."""
    live = replica.model
    frozen = None if live.frozen_why is None else live.frozen_why.reason
    mine = Serving(runtime.workers.name, done.offset, live.version)
    workers = [
        version_schemas.Worker(
            worker=one.worker, version=one.version, obeys=one.offset >= done.offset
        )
        for one in (mine, *done.others)
    ]
    return version_schemas.TurnAnswer(
        model=replica.name,
        offset=done.offset,
        version=live.version,
        frozen=frozen,
        workers=workers,
    )


def _brief(replica: Replica, version: Version) -> dict[str, Any]:
    body, live = version.body, replica.model
    status: str = version.status
    if live.version == version.number:
        status = "serving"
    elif any(turn.version == version.number for turn in live.turned):
        status = "retired"
    return {
        "model": replica.name,
        "number": version.number,
        "offset": version.offset,
        "at": instant(version.at),
        "status": status,
        "pinned": version.pinned,
        "note": version.note,
        "kept": version.state_id is not None,
        "source": None if body is None else body.source,
        "parent": None if body is None else body.parent,
        "examples": None if body is None else body.examples,
        "metrics": None if body is None else body.metrics,
    }
