"""Learners: what can be named in a spec."""

from functools import cache

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from app.api import schemas
from learners import catalogue as catalogue_of

router = APIRouter(tags=["learners"])


@router.get("/v1/learners", response_model=schemas.LearnersAnswer)
async def list_learners() -> Response:
    """List what can be named in a spec, with parameters, defaults, tasks and a sentence each."""
    return Response(await run_in_threadpool(_encoded), media_type="application/json")


@cache
def _encoded() -> bytes:
    """The answer, made once: it is the same for as long as the process lives."""
    found = catalogue_of.catalogue()
    answer = schemas.LearnersAnswer(
        learners=[schemas.LearnerAnswer.model_validate(e, from_attributes=True) for e in found],
        refused=dict(catalogue_of.REFUSED),
    )
    return answer.model_dump_json().encode()
