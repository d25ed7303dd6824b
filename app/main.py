"""The application: FastAPI, its lifespan, its routes."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app import __version__
from app.api import health, hot, jobs, learners, models, schemas, versions
from app.api.bounds import Bounds
from app.api.errors import MEDIA_TYPE, install
from app.api.room import Rooms
from app.jobs import SCHEDULE
from app.jobs.beside import Beside
from app.jobs.process import keep_and_close
from app.jobs.running import Jobs
from app.runtime import Runtime
from app.serving import Serving
from app.settings import Settings, load_settings
from app.telemetry import configure_logging

logger = logging.getLogger(__name__)

DESCRIPTION = """Online learning, served: models that learn from feedback over a durable log.

Create a model, ask it to `predict`, post the label as `feedback` when it is known: the very next
prediction knows it. Every error is `application/problem+json` with a stable `code`."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application of one process. Settings come from the environment if none are given.

    Raises a `StartRefused` at once if a setting is wrong, and at its start if the database is.
    """
    chosen = settings or load_settings()
    configure_logging(chosen.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        runtime = Runtime(chosen)
        app.state.runtime, app.state.serving = runtime, Serving(runtime)
        runtime.workers.serves = True
        await runtime.open()
        await runtime.join(chosen.join_seconds_max)
        try:
            async with _jobs(runtime):
                yield
        finally:
            await runtime.close()

    app = FastAPI(
        title="Headrace",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        strict_content_type=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    install(app)
    app.router.routes.extend(hot.routes())
    for surface in (models, versions, jobs, learners, health):
        app.include_router(surface.router)
    app.state.rooms = Rooms(chosen)
    app.add_middleware(Bounds, settings=chosen, room=app.state.rooms.bodies)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _jobs(runtime: Runtime) -> AsyncIterator[None]:
    """Where the settings say that the jobs of this process run."""
    where = runtime.settings.jobs
    if where == "inside":
        inside = Jobs(runtime, SCHEDULE)
        inside.open()
        try:
            yield
        finally:
            await keep_and_close(runtime, inside)
    elif where == "beside":
        beside = Beside(runtime)
        beside.open()
        try:
            yield
        finally:
            await beside.close()
    else:
        yield


def _openapi(app: FastAPI) -> dict[str, Any]:
    """OpenAPI with what FastAPI does not see: the bodies of the hot calls, and our own problems."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        parts = found["components"]["schemas"]
        bodies = (schemas.PredictBatch, schemas.FeedbackBatch)
        for body in bodies:
            whole = body.model_json_schema(ref_template="#/components/schemas/{model}")
            parts.update(whole.pop("$defs"))
            parts[body.__name__] = whole
        for name in ("HTTPValidationError", "ValidationError"):
            parts.pop(name, None)
        for path in found["paths"].values():
            for call in path.values():
                _name_problems(call["responses"])
        app.openapi_schema = found
    return app.openapi_schema


def _name_problems(responses: dict[str, Any]) -> None:
    """Every error is a problem, in its own media type; a bug of ours may befall any call."""
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    responses.setdefault("500", {"description": "Internal Server Error"})
    for status, response in responses.items():
        if int(status) >= 400:
            response["content"] = {MEDIA_TYPE: problem}
