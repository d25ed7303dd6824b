"""A Runtime inside the test's own event loop, on a real file, with a clock that is set by hand."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any, ParamSpec

from app.calls import Feedback, FeedbackRequest, Prediction, PredictRequest
from app.database import now_us
from app.entries import Created
from app.live import LiveModel
from app.log import Row
from app.replay import Source, replay
from app.replica import Replica
from app.runtime import Runtime
from app.serving import Serving
from app.settings import Settings
from learners.scoring import Answer
from tests.databases import blank
from tests.process import LINEAR

P = ParamSpec("P")


class Clock:
    """Microseconds since 1970, as the test says."""

    def __init__(self, us: int = 1_800_000_000_000_000) -> None:
        self.us = us

    def __call__(self) -> int:
        return self.us

    def advance(self, seconds: float) -> None:
        """Let time pass; a negative number sets the clock back."""
        self.us += round(seconds * 1_000_000)


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def opened(settings: Settings, clock: Callable[[], int] = now_us) -> AsyncIterator[Runtime]:
    """A runtime whose models are all restored, closed at the end."""
    runtime = Runtime(settings, clock)
    await runtime.open()
    try:
        await until(runtime.is_restored)
        yield runtime
    finally:
        await runtime.close()


@asynccontextmanager
async def both(settings: Settings) -> AsyncIterator[tuple[Runtime, Runtime]]:
    """Two runtimes on one database, as two processes have."""
    async with opened(settings) as one, opened(settings) as other:
        yield one, other


async def knows(runtime: Runtime) -> None:
    """Wait until a runtime serves the one model that another created."""
    await until(lambda: [replica.state for replica in runtime.replicas()] == ["ready"])


async def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.002)


def settings_in(folder: Path, **more: Any) -> Settings:
    """Settings with a blank database, in a folder if it is a file."""
    return Settings(**{"database_url": blank(folder), "jobs": "inside", **more})


async def crash(runtime: Runtime) -> None:
    """Leave a runtime as a kill would: nothing that waits is written, nobody is told."""
    tasks = [*runtime._tasks, runtime.log._committer, runtime.predictions._writer]
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await runtime.applier.close()
    runtime.hints.close()
    runtime.database.close()


def wanted(name: str, task: Any = "binary", learner: Any = LINEAR, **more: Any) -> Created:
    """A model as it is asked for."""
    fields = {"metrics": [], "features": {}, "fallback": "prior", "description": "", **more}
    return Created(name=name, task=task, learner=learner, **fields)


async def create(
    runtime: Runtime, name: str = "m", task: Any = "binary", learner: Any = LINEAR, **more: Any
) -> Replica:
    """Create a model, scored by its task's metrics."""
    return await runtime.create(wanted(name, task, learner, **more), None)


async def predict(runtime: Runtime, features: Any, id: Any = None, model: str = "m") -> Prediction:
    """Ask a model."""
    request = PredictRequest(features, id)
    return await Serving(runtime).predict(model, request)


async def label(
    runtime: Runtime, prediction_id: Any, label: Any, id: Any = None, model: str = "m"
) -> Feedback:
    """Label a prediction."""
    request = FeedbackRequest(prediction_id=prediction_id, label=label, id=id)
    return await Serving(runtime).feedback(model, request)


async def teach(
    runtime: Runtime, features: Any, label: Any, id: Any = None, model: str = "m"
) -> Feedback:
    """Send an example of its own."""
    request = FeedbackRequest(features=features, label=label, id=id)
    return await Serving(runtime).feedback(model, request)


async def log_of(runtime: Runtime, model: str = "m") -> list[Row]:
    """A model's whole log."""
    return await runtime.log.read(runtime.replica(model).id, 0, 1_000_000)


def replayed(runtime: Runtime, model: str = "m") -> LiveModel:
    """The model built anew from its log."""
    registered = runtime.replica(model).registered
    return replay(Source(runtime.database, registered, Event())).live


def answers(live: LiveModel, probes: list[Any]) -> list[Answer]:
    """What a live model says of probes, without remembering it."""
    return [live.reply(probe).answer for probe in probes]
