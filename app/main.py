"""The application: FastAPI, its lifespan, its routes."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app import __version__
from app.api import health, hot, learners, models, schemas
from app.api.bounds import Bounds
from app.api.errors import install
from app.jobs import Jobs
from app.runtime import Runtime
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
        app.state.runtime = runtime
        jobs = Jobs(runtime)
        await runtime.open()
        jobs.open()
        try:
            yield
        finally:
            jobs.close()
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
    for surface in (models, learners, health):
        app.include_router(surface.router)
    app.add_middleware(Bounds, settings=chosen)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """OpenAPI with the bodies of the hot calls, which FastAPI does not see."""
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        found = app.openapi_schema["components"]["schemas"]
        for body in (schemas.PredictRequest, schemas.FeedbackRequest):
            found[body.__name__] = body.model_json_schema()
    return app.openapi_schema
