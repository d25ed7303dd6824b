"""Long jobs, each in a process of its own: they delay nothing, and can be killed.

A child hangs on this process by its standard input: when this one dies, however it does, the child
ends too. So an errand that is begun anew is not done twice at once.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import msgspec

from app.jobs.child import Order, Told, name_of
from app.jobs.errand import Job
from app.runs import Run
from app.settings import Settings

TAIL_BYTES = 4_096
"""How much of the end of what a child says of its errors is kept."""

LINE_BYTES_MAX = 1_048_576
"""The longest line that a child may say: what it did."""


class ChildFailed(Exception):
    """The child ended without having done its errand; the message is the last thing it said."""


async def do_in_child(
    job: Job, run: Run, settings: Settings, token: int, tell: Callable[[float], Awaitable[None]]
) -> str:
    """Do a run of a long job, and say what it did. Raises `ChildFailed`.

    Cancelled, it kills the child before it returns.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.jobs.child"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
        # An interrupt at the terminal is for who ends this child in its own time.
        start_new_session=True,
    )
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    if stdin is None or stdout is None or stderr is None:
        raise RuntimeError("a child was begun without its pipes")
    errors = asyncio.create_task(_last_line(stderr))
    try:
        stdin.write(_order(job, run, settings, token))
        did = await _listen(stdout, tell)
        status = await process.wait()
        last = await errors
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        errors.cancel()
        stdin.close()
    if did is None or status != 0:
        raise ChildFailed(last or f"It ended with status {status}, and said nothing.")
    return did


def _order(job: Job, run: Run, settings: Settings, token: int) -> bytes:
    if job.long is None:
        raise RuntimeError(f"{job.name} is no long job")
    given = settings.model_dump()
    given["secret"] = settings.secret.get_secret_value() if settings.secret else None
    wanted = msgspec.json.decode(run.wanted)
    order = Order(name_of(job.long), given, run.model_id, run.cause, wanted, token)
    return msgspec.json.encode(order) + b"\n"


async def _listen(
    stdout: asyncio.StreamReader, tell: Callable[[float], Awaitable[None]]
) -> str | None:
    """Take what a child says, until it says no more."""
    did = None
    while line := await stdout.readline():
        told = msgspec.json.decode(line, type=Told)
        if told.progress is not None:
            await tell(told.progress)
        did = did if told.did is None else told.did
    return did


async def _last_line(stderr: asyncio.StreamReader) -> str:
    """Pass on what a child says of its errors; its last line."""
    tail = b""
    while data := await stderr.read(65_536):
        sys.stderr.buffer.write(data)
        sys.stderr.flush()
        tail = (tail + data)[-TAIL_BYTES:]
    lines = tail.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
