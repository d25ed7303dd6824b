"""What endpoints are given: the runtime of this process, and a model by its name."""

from typing import Annotated

from fastapi import Depends, Path, Request, Response

from app.replica import Replica
from app.runtime import Runtime

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
"""What a model may be named: it stands in paths, as it is."""


def get_runtime(request: Request) -> Runtime:
    """The runtime that the lifespan opened."""
    runtime: Runtime = request.app.state.runtime
    return runtime


RuntimeHere = Annotated[Runtime, Depends(get_runtime)]


LAG = "x-headrace-lag"
"""The header that says how many entries the process that answered has not applied."""


async def get_replica(
    runtime: RuntimeHere,
    model: Annotated[str, Path(description="The model's name.")],
    response: Response,
) -> Replica:
    """This process's replica of the model that the path names. Raises `UnknownModel`."""
    replica = await runtime.find(model)
    if replica.lag:
        response.headers[LAG] = str(replica.lag)
    return replica


ModelHere = Annotated[Replica, Depends(get_replica)]
