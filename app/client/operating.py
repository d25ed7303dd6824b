"""What both clients do with versions and jobs: one class for threads, one for asyncio."""

from collections.abc import AsyncGenerator, Iterator
from typing import Unpack

from app.client import acts
from app.client.acts import ModelChanges, Replay, RunFilter
from app.client.answers import Model, Reproduction, Run, Schedule, ScheduledJob, Turned, Version
from app.client.calls import Answer, Call


class Operating:
    """The calls about versions and jobs, from threads."""

    def _call(self, call: Call[Answer]) -> Answer:
        raise NotImplementedError

    def versions(self, model: str) -> Iterator[Version]:
        """All versions of a model, newest first, read page by page."""
        before: int | None = None
        while True:
            page = self._call(acts.versions(model, before))
            yield from page.versions
            if (before := page.next) is None:
                return

    def version(self, model: str, number: int) -> Version:
        """A version with its checks, its metrics and its lineage."""
        return self._call(acts.version(model, number))

    def snapshot(self, model: str) -> Version:
        """Make a version of a model as it is now."""
        return self._call(acts.snapshot(model))

    def validate(self, model: str, number: int) -> Run:
        """Have a version validated; `run` says when it is done."""
        return self._call(acts.validate(model, number))

    def change_version(
        self, model: str, number: int, *, pinned: bool | None = None, note: str | None = None
    ) -> Version:
        """Pin or unpin a version, or write a note on it."""
        return self._call(acts.change_version(model, number, pinned, note))

    def swap(self, model: str, version: int, reason: str = "") -> Turned:
        """Make a version the champion."""
        return self._call(acts.swap(model, version, reason))

    def rollback(
        self, model: str, version: int | None = None, *, replay: Replay = "none", reason: str = ""
    ) -> Turned:
        """Let a model continue from a version: from the last valid one, if none is named."""
        return self._call(acts.rollback(model, version, replay, reason))

    def freeze(self, model: str, reason: str = "") -> Turned:
        """Stop learning: feedback is scored and kept, and not learned."""
        return self._call(acts.freeze(model, reason))

    def unfreeze(self, model: str, *, learn: bool, reason: str = "") -> Turned:
        """Learn again; with `learn` first of all what came meanwhile."""
        return self._call(acts.unfreeze(model, learn, reason))

    def change_model(self, model: str, **changes: Unpack[ModelChanges]) -> Model:
        """Change a model's description, its rules for versions, or its budget."""
        return self._call(acts.change_model(model, changes))

    def reproduce(self, model: str, id: str) -> Reproduction:
        """Ask the very state that gave an answer again, made from the log."""
        return self._call(acts.reproduce(model, id))

    def runs(self, **where: Unpack[RunFilter]) -> Iterator[Run]:
        """The runs of jobs, newest first, read page by page."""
        before: int | None = None
        while True:
            page = self._call(acts.runs(where, before))
            yield from page.jobs
            if (before := page.next) is None:
                return

    def run(self, id: int) -> Run:
        """A run of a job: how far it is, what it did."""
        return self._call(acts.run(id))

    def cancel(self, id: int) -> Run:
        """Have a run end as soon as it can."""
        return self._call(acts.cancel(id))

    def schedule(self) -> Schedule:
        """When each job runs, and which process runs them."""
        return self._call(acts.schedule())

    def change_schedule(
        self, job: str, *, every_seconds: int | None = None, paused: bool | None = None
    ) -> ScheduledJob:
        """Change how often a job runs, or pause it."""
        return self._call(acts.change_schedule(job, every_seconds, paused))

    def run_job(self, job: str, model: str | None = None) -> Run:
        """Run a job now, for a model if it is about one."""
        return self._call(acts.run_job(job, model))


class AsyncOperating:
    """The same from asyncio."""

    async def _call(self, call: Call[Answer]) -> Answer:
        raise NotImplementedError

    async def versions(self, model: str) -> AsyncGenerator[Version, None]:
        """All versions of a model, newest first, read page by page."""
        before: int | None = None
        while True:
            page = await self._call(acts.versions(model, before))
            for version in page.versions:
                yield version
            if (before := page.next) is None:
                return

    async def version(self, model: str, number: int) -> Version:
        """A version with its checks, its metrics and its lineage."""
        return await self._call(acts.version(model, number))

    async def snapshot(self, model: str) -> Version:
        """Make a version of a model as it is now."""
        return await self._call(acts.snapshot(model))

    async def validate(self, model: str, number: int) -> Run:
        """Have a version validated; `run` says when it is done."""
        return await self._call(acts.validate(model, number))

    async def change_version(
        self, model: str, number: int, *, pinned: bool | None = None, note: str | None = None
    ) -> Version:
        """Pin or unpin a version, or write a note on it."""
        return await self._call(acts.change_version(model, number, pinned, note))

    async def swap(self, model: str, version: int, reason: str = "") -> Turned:
        """Make a version the champion."""
        return await self._call(acts.swap(model, version, reason))

    async def rollback(
        self, model: str, version: int | None = None, *, replay: Replay = "none", reason: str = ""
    ) -> Turned:
        """Let a model continue from a version: from the last valid one, if none is named."""
        return await self._call(acts.rollback(model, version, replay, reason))

    async def freeze(self, model: str, reason: str = "") -> Turned:
        """Stop learning: feedback is scored and kept, and not learned."""
        return await self._call(acts.freeze(model, reason))

    async def unfreeze(self, model: str, *, learn: bool, reason: str = "") -> Turned:
        """Learn again; with `learn` first of all what came meanwhile."""
        return await self._call(acts.unfreeze(model, learn, reason))

    async def change_model(self, model: str, **changes: Unpack[ModelChanges]) -> Model:
        """Change a model's description, its rules for versions, or its budget."""
        return await self._call(acts.change_model(model, changes))

    async def reproduce(self, model: str, id: str) -> Reproduction:
        """Ask the very state that gave an answer again, made from the log."""
        return await self._call(acts.reproduce(model, id))

    async def runs(self, **where: Unpack[RunFilter]) -> AsyncGenerator[Run, None]:
        """The runs of jobs, newest first, read page by page."""
        before: int | None = None
        while True:
            page = await self._call(acts.runs(where, before))
            for run in page.jobs:
                yield run
            if (before := page.next) is None:
                return

    async def run(self, id: int) -> Run:
        """A run of a job: how far it is, what it did."""
        return await self._call(acts.run(id))

    async def cancel(self, id: int) -> Run:
        """Have a run end as soon as it can."""
        return await self._call(acts.cancel(id))

    async def schedule(self) -> Schedule:
        """When each job runs, and which process runs them."""
        return await self._call(acts.schedule())

    async def change_schedule(
        self, job: str, *, every_seconds: int | None = None, paused: bool | None = None
    ) -> ScheduledJob:
        """Change how often a job runs, or pause it."""
        return await self._call(acts.change_schedule(job, every_seconds, paused))

    async def run_job(self, job: str, model: str | None = None) -> Run:
        """Run a job now, for a model if it is about one."""
        return await self._call(acts.run_job(job, model))
