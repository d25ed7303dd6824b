"""Learners: what can be named in a spec."""

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from app.api import schemas
from learners import catalogue as catalogue_of

router = APIRouter(tags=["learners"])


@router.get("/v1/learners")
async def list_learners() -> schemas.LearnersAnswer:
    """List what can be named in a spec, with parameters, defaults, tasks and a sentence each."""
    found = await run_in_threadpool(catalogue_of.catalogue)
    return schemas.LearnersAnswer(
        learners=[schemas.LearnerAnswer.model_validate(e, from_attributes=True) for e in found],
        refused=dict(catalogue_of.REFUSED),
    )
