"""The calls about versions and jobs: what each sends and what comes back."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict
from urllib.parse import quote, urlencode

from app.client.answers import (
    Model,
    Reproduction,
    Run,
    RunPage,
    Schedule,
    ScheduledJob,
    Turned,
    Version,
    VersionPage,
)
from app.client.calls import PAGE_LIMIT, Call, path_of

Replay = Literal["none", "since"]


class ModelChanges(TypedDict, total=False):
    """What may be changed of a model; `docs/versions.md` has the meanings."""

    description: str
    versions: Mapping[str, Any]
    budget: Mapping[str, Any]
    reason: str


class RunFilter(TypedDict, total=False):
    """Which runs are wanted."""

    job: str
    model: str
    state: str


def versions(model: str, before: int | None) -> Call[VersionPage]:
    """A page of a model's versions."""
    query = _query({"before": before})
    return Call("GET", f"{path_of(model, 'versions')}?{query}", VersionPage)


def version(model: str, number: int) -> Call[Version]:
    """A version in full."""
    return Call("GET", path_of(model, "versions", str(number)), Version)


def snapshot(model: str) -> Call[Version]:
    """Make a version."""
    return Call("POST", path_of(model, "versions"), Version, {})


def validate(model: str, number: int) -> Call[Run]:
    """Validate a version."""
    return Call("POST", path_of(model, "versions", str(number), "validate"), Run, {})


def change_version(model: str, number: int, pinned: bool | None, note: str | None) -> Call[Version]:
    """Change a version."""
    body = _given({"pinned": pinned, "note": note})
    return Call("PATCH", path_of(model, "versions", str(number)), Version, body)


def swap(model: str, version: int, reason: str) -> Call[Turned]:
    """Make a version the champion."""
    return Call("POST", path_of(model, "swap"), Turned, {"version": version, "reason": reason})


def rollback(model: str, version: int | None, replay: Replay, reason: str) -> Call[Turned]:
    """Continue from a version."""
    body = _given({"version": version, "replay": replay, "reason": reason})
    return Call("POST", path_of(model, "rollback"), Turned, body)


def freeze(model: str, reason: str) -> Call[Turned]:
    """Stop learning."""
    return Call("POST", path_of(model, "freeze"), Turned, {"reason": reason})


def unfreeze(model: str, learn: bool, reason: str) -> Call[Turned]:
    """Learn again."""
    return Call("POST", path_of(model, "unfreeze"), Turned, {"learn": learn, "reason": reason})


def change_model(model: str, changes: ModelChanges) -> Call[Model]:
    """Change a model."""
    return Call("PATCH", path_of(model), Model, dict(changes))


def reproduce(model: str, id: str) -> Call[Reproduction]:
    """What the state that answered an id says again."""
    return Call("GET", path_of(model, "predictions", id, "reproduce"), Reproduction)


def runs(where: RunFilter, before: int | None) -> Call[RunPage]:
    """A page of runs."""
    return Call("GET", f"/v1/jobs?{_query({**where, 'before': before})}", RunPage)


def run(id: int) -> Call[Run]:
    """A run."""
    return Call("GET", f"/v1/jobs/{id}", Run)


def cancel(id: int) -> Call[Run]:
    """Cancel a run."""
    return Call("POST", f"/v1/jobs/{id}/cancel", Run, {})


def schedule() -> Call[Schedule]:
    """The schedule."""
    return Call("GET", "/v1/schedule", Schedule)


def change_schedule(job: str, every_seconds: int | None, paused: bool | None) -> Call[ScheduledJob]:
    """Change a job's schedule."""
    body = _given({"every_seconds": every_seconds, "paused": paused})
    return Call("PATCH", f"/v1/schedule/{quote(job, safe='')}", ScheduledJob, body)


def run_job(job: str, model: str | None) -> Call[Run]:
    """Run a job."""
    return Call("POST", f"/v1/schedule/{quote(job, safe='')}/run", Run, _given({"model": model}))


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _query(values: Mapping[str, Any]) -> str:
    return urlencode({"limit": PAGE_LIMIT, **_given(values)})
