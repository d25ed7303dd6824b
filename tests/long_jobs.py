"""Jobs that only tests have: they do as they are told by what is wanted of them."""

import os
import sys
import time
from pathlib import Path

from app.jobs.errand import Errand, Job, LongErrand


def count(errand: LongErrand) -> str:
    """Count to `to`, `seconds` a step, and note each beginning in `file`."""
    if "file" in errand.wanted:
        with Path(errand.wanted["file"]).open("a") as file:
            file.write(f"{os.getpid()}\n")
    sys.stdout.write("what a job prints does no harm\n")
    to = errand.wanted.get("to", 1)
    for n in range(to):
        errand.tell(n / to)
        time.sleep(errand.wanted.get("seconds", 0))
    return f"counted to {to}"


def fail(errand: LongErrand) -> str:
    """Fail in the way that is wanted."""
    how = errand.wanted.get("how")
    if how == "raise":
        raise ValueError("it was told to fail")
    if how == "exit":
        sys.stderr.write("the first words\nthe last words\n")
        sys.stderr.flush()
        os._exit(3)
    os._exit(0)


async def echo(errand: Errand) -> str:
    """Say what is wanted, and of whom."""
    if "fault" in errand.wanted:
        raise ValueError(errand.wanted["fault"])
    of = "" if errand.about is None else errand.replica.name
    return f"{errand.cause} {of} {errand.wanted}"


MORE = (
    Job("count", None, "Counts.", long=count),
    Job("fail", None, "Fails.", long=fail),
    Job("echo", None, "Says what is wanted.", echo),
)
