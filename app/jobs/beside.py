"""A process of jobs beside the server: begun once the models serve, begun again if it dies.

It hangs on the server by its standard input: when the server is gone, however it went, it ends too.
"""

import asyncio
import logging
import os
import sys

from app.runtime import Runtime
from app.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

AGAIN_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""How long it is waited before it is begun again: each time longer, unless it had lived a while."""

LIVED_SECONDS = 60.0
RESTORED_SECONDS = 0.1
"""How often it is looked whether the models serve."""

GRACE_SECONDS = 5.0
"""For how long the process may outlive the time that it gives itself to stop."""


class Beside:
    """Keeps a process of jobs beside the one that serves."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._is_stopping = False

    def open(self) -> None:
        """Begin it, once the models serve: it needs what they need."""
        self._task = asyncio.create_task(self._keep(), name="jobs beside")

    async def close(self) -> None:
        """Let it finish, but not for ever."""
        self._is_stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()
            seconds = self._runtime.settings.stop_seconds_max + GRACE_SECONDS
            try:
                await asyncio.wait_for(process.wait(), seconds)
            except TimeoutError:
                logger.warning("the process of the jobs did not stop in time, and is killed")
                process.kill()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while not self._runtime.is_restored():
            await asyncio.sleep(RESTORED_SECONDS)
        loop, deaths = asyncio.get_running_loop(), 0
        while not self._is_stopping:
            began = loop.time()
            ended = await self._live()
            if self._is_stopping:
                return
            deaths = 0 if loop.time() - began > LIVED_SECONDS else deaths + 1
            seconds = AGAIN_SECONDS[min(max(deaths, 1), len(AGAIN_SECONDS)) - 1]
            logger.warning("the process of the jobs %s; it begins again in %g s", ended, seconds)
            await asyncio.sleep(seconds)

    async def _live(self) -> str:
        """Begin the process, and wait for its end: how that was."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app", "jobs", "--beside"),
                stdin=asyncio.subprocess.PIPE,
                env={**os.environ, **_environment(self._runtime.settings)},
                # An interrupt at the terminal is the server's, which then stops this one.
                start_new_session=True,
            )
        except OSError as error:
            return f"cannot be begun: {error}"
        return f"ended with status {await self._process.wait()}"


def _environment(settings: Settings) -> dict[str, str]:
    """Settings as another process reads them."""
    given = settings.model_dump()
    if settings.secret is not None:
        given["secret"] = settings.secret.get_secret_value()
    return {PREFIX + name.upper(): str(v) for name, v in given.items() if v is not None}
