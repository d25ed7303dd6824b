"""Health: alive, and ready."""

import asyncio

from fastapi import APIRouter

from app.api import schemas
from app.api.deps import RuntimeHere
from app.errors import LogUnavailable, NotReady

router = APIRouter(tags=["health"])
PROBE_SECONDS_MAX = 2.0


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def alive() -> schemas.HealthAnswer:
    """Tell whether the process is alive; it says nothing of the database."""
    return schemas.HealthAnswer(status="alive")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses={503: {"model": schemas.Problem}})
async def ready(runtime: RuntimeHere) -> schemas.ReadyAnswer:
    """Tell whether all models are restored and the database can be written.

    A model that stopped answers 503 itself, is named here, and keeps no other from serving.
    """
    replicas = runtime.replicas()
    if not runtime.is_restored():
        restored = sum(replica.state != "restoring" for replica in replicas)
        raise NotReady(f"{restored} of {len(replicas)} models are restored. Ask again.")
    for replica in replicas:
        if replica.is_in_doubt:
            raise NotReady(
                f"The model {replica.name!r} answered otherwise here than elsewhere, and is being "
                "restored. Ask again."
            )
        if replica.lag > runtime.settings.ready_lag_max:
            raise NotReady(
                f"This process has {replica.lag:,} entries of the model {replica.name!r} still to "
                "apply. Ask again."
            )
    try:
        await asyncio.wait_for(runtime.database.probe(), PROBE_SECONDS_MAX)
    except TimeoutError:
        raise LogUnavailable("The database takes no writes. Ask again.") from None
    failed = [replica.name for replica in replicas if replica.state == "failed"]
    return schemas.ReadyAnswer(status="ready", models=len(replicas), failed=failed)
