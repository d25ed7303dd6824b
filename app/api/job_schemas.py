"""The bodies of the calls about jobs."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.api.policies import Schema


class RunAnswer(Schema):
    """A run of a job."""

    id: int
    job: str
    model: str | None = Field(description="Null if it is about no model, or one that is deleted.")
    cause: Literal["schedule", "threshold", "person"]
    state: Literal["asked", "running", "done", "failed", "cancelled", "lost"]
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress: float | None = Field(description="A share of 1, of what takes long.")
    did: str = Field(description="What it did, or why it failed.")


class RunPage(Schema):
    """Runs, newest first; `next` is what to send as `before` for more."""

    jobs: list[RunAnswer]
    next: int | None


class ScheduledJob(Schema):
    """A job, and when it runs."""

    job: str
    says: str
    every_seconds: int | None = Field(description="Null if it runs only when it is wanted.")
    paused: bool
    ran_at: datetime | None = Field(
        description="When it last ran by the clock, if it does so once a minute or more rarely."
    )
    next_at: datetime | None = Field(description="When it runs next, as far as that is known.")
    last: RunAnswer | None = Field(description="Its newest run that did something, or failed.")


class ScheduleAnswer(Schema):
    """Which process runs the jobs, and when each runs."""

    holder: str | None = Field(description="Null if no process runs them now.")
    until: datetime | None = Field(description="It says so again before then, if it lives.")
    jobs: list[ScheduledJob]


class ScheduleChange(Schema):
    """What is to be changed of a job's schedule."""

    every_seconds: int | None = Field(None, ge=1, le=31_536_000)
    paused: bool | None = None


class RunRequest(Schema):
    """What a run is to be about."""

    model: str | None = None
