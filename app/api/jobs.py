"""Jobs: their runs, and their schedule."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query

from app import runs
from app.api import job_schemas
from app.api.deps import RuntimeHere
from app.api.models import responses
from app.api.schemas import instant
from app.errors import InvalidBody, Problem
from app.jobs import SCHEDULE, job_named
from app.jobs.errand import Job
from app.leases import Held
from app.runs import Change, Run, Runs
from app.runtime import Runtime

router = APIRouter(prefix="/v1", tags=["jobs"])
RunId = Annotated[int, Path(ge=1, lt=2**63, description="The run's number.")]
JobName = Annotated[str, Path(description="The job's name.")]
State = Literal["asked", "running", "done", "failed", "cancelled", "lost"]


@router.get("/jobs", responses=responses(404, 422, 503))
async def list_runs(
    runtime: RuntimeHere,
    job: str | None = None,
    model: str | None = None,
    state: State | None = None,
    before: Annotated[
        int | None, Query(ge=1, lt=2**63, description="The run behind which to go on.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> job_schemas.RunPage:
    """List the runs of jobs, newest first."""
    model_id = None if model is None else (await runtime.find(model)).id
    name = None if job is None else job_named(job).name
    where = {"job": name, "model_id": model_id, "state": state}
    found = await Runs(runtime.database, runtime.clock).page(before, limit + 1, **where)
    page = found[:limit]
    following = page[-1].id if len(found) > limit else None
    return job_schemas.RunPage(jobs=[run_answer(runtime, run) for run in page], next=following)


@router.get("/jobs/{id}", responses=responses(404, 422, 503))
async def show_run(id: RunId, runtime: RuntimeHere) -> job_schemas.RunAnswer:
    """Show a run of a job: how far it is, what it did."""
    return run_answer(runtime, await Runs(runtime.database, runtime.clock).show(id))


@router.post("/jobs/{id}/cancel", responses=responses(404, 413, 422, 503))
async def cancel_run(id: RunId, runtime: RuntimeHere) -> job_schemas.RunAnswer:
    """Have a run end as soon as it can; one that has ended stays as it is."""
    return run_answer(runtime, await Runs(runtime.database, runtime.clock).cancel(id))


@router.get("/schedule", responses=responses(503))
async def show_schedule(runtime: RuntimeHere) -> job_schemas.ScheduleAnswer:
    """Show when each job runs, and which process runs them."""
    running, found = await _running(runtime)
    jobs = [
        await _scheduled(runtime, job, found.get(job.name, Change()), running) for job in SCHEDULE
    ]
    return job_schemas.ScheduleAnswer(
        holder=None if running is None else running.holder,
        until=None if running is None else instant(running.until),
        jobs=jobs,
    )


@router.patch("/schedule/{job}", responses=responses(404, 413, 422, 503))
async def change_schedule(
    job: JobName, request: job_schemas.ScheduleChange, runtime: RuntimeHere
) -> job_schemas.ScheduledJob:
    """Change how often a job runs, or pause it. It holds within a few seconds."""
    wanted = job_named(job)
    if wanted.every_seconds is None:
        raise InvalidBody(
            f"The job {job!r} runs only when it is wanted, so there is no schedule to change.",
            [Problem("every_seconds", "is not for this job")],
        )
    values = request.model_dump(exclude_none=True)
    await runtime.database.write(lambda c: runs.change(c, job, **values))
    running, found = await _running(runtime)
    return await _scheduled(runtime, wanted, found.get(job, Change()), running)


@router.post("/schedule/{job}/run", status_code=202, responses=responses(404, 413, 422, 503))
async def run_job(
    job: JobName, request: job_schemas.RunRequest, runtime: RuntimeHere
) -> job_schemas.RunAnswer:
    """Run a job now, out of turn. `GET /v1/jobs/{id}` says what becomes of it."""
    wanted = job_named(job)
    if wanted.about_model != (request.model is not None):
        reason = "is missing" if wanted.about_model else "is not for this job"
        raise InvalidBody(f"`model` {reason}.", [Problem("model", reason)])
    more: dict[str, Any] = {}
    model_id = None
    if request.model is not None:
        replica = await runtime.find(request.model)
        model_id, more = replica.id, {"offset": replica.model.offset_applied}
    asked = Runs(runtime.database, runtime.clock)
    return run_answer(runtime, await asked.show(await asked.ask(job, model_id, **more)))


def run_answer(runtime: Runtime, run: Run) -> job_schemas.RunAnswer:
    """A run as the API shows it."""
    replica = None if run.model_id is None else runtime.applier.replicas.get(run.model_id)
    return job_schemas.RunAnswer(
        id=run.id,
        job=run.job,
        model=replica.name if replica else None,
        cause=run.cause,
        state=run.state,
        asked_at=instant(run.asked_at),
        started_at=_instant(run.started_at),
        ended_at=_instant(run.ended_at),
        progress=run.progress,
        did=run.did,
    )


async def _running(runtime: Runtime) -> tuple[Held | None, dict[str, Change]]:
    """Which process runs the jobs, if any does, and what was changed of their schedule."""
    now = runtime.clock()
    return await runtime.database.read(lambda c: (runs.holder(c, now), runs.changes(c)))


async def _scheduled(
    runtime: Runtime, job: Job, change: Change, running: Held | None
) -> job_schemas.ScheduledJob:
    last = await Runs(runtime.database, runtime.clock).page(None, 1, job=job.name)
    every = change.every_seconds or job.every_seconds
    ran_at = change.ran_at or None
    following = None
    if every is not None and ran_at is not None and running is not None and not change.paused:
        following = max(ran_at + every * 1_000_000, runtime.clock())
    return job_schemas.ScheduledJob(
        job=job.name,
        says=job.says,
        every_seconds=every,
        paused=change.paused,
        ran_at=_instant(ran_at),
        next_at=_instant(following),
        last=run_answer(runtime, last[0]) if last else None,
    )


def _instant(us: int | None) -> datetime | None:
    return None if us is None else instant(us)
