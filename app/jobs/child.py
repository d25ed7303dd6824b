"""The other side of a long job: a process that does one errand, and says what it did.

    standard input   one line of JSON: the errand; its end, whenever it comes, ends this process
    standard output  lines of JSON: {"progress": 0.4}, again and again, and last {"did": "…"}

What the job itself prints goes to the standard error stream, of which the last line says why it
failed, if it did.
"""

import importlib
import os
import threading
from typing import Any

import msgspec

from app.jobs.errand import Long, LongErrand
from app.settings import Settings
from app.telemetry import configure_logging


class Told(msgspec.Struct, omit_defaults=True):
    """What a child says."""

    progress: float | None = None
    did: str | None = None


class Order(msgspec.Struct):
    """What a child is to do: which function, with what."""

    function: str
    settings: dict[str, Any]
    model_id: int | None
    cause: str
    wanted: dict[str, Any]
    token: int


def main() -> None:
    """Do what the standard input says."""
    # Unbuffered: a thread that waits in a buffer would disturb the end of this process.
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        order = msgspec.json.decode(stdin.readline(), type=Order)
    threading.Thread(target=_end_when_orphaned, daemon=True).start()
    # Whatever the job prints must not stand between what this process says.
    said = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    settings = Settings(**order.settings)
    configure_logging(settings.log_level)
    errand = LongErrand(
        settings,
        order.model_id,
        order.cause,  # type: ignore[arg-type]
        order.wanted,
        order.token,
        lambda progress: _say(said, Told(progress=progress)),
    )
    _say(said, Told(did=_named(order.function)(errand)))


def name_of(function: Long) -> str:
    """Where a function is found again: `module:name`."""
    return f"{function.__module__}:{function.__qualname__}"


def _named(name: str) -> Long:
    module, _, function = name.partition(":")
    found: Long = getattr(importlib.import_module(module), function)
    return found


def _say(said: Any, told: Told) -> None:
    said.write(msgspec.json.encode(told) + b"\n")


def _end_when_orphaned() -> None:
    while os.read(0, 65_536):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
