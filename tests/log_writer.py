"""A process that appends to a log beside others, once it is told to: a test runs some of these.

    python -m tests.log_writer URL MODEL_ID NAME COUNT

It says `ready`, waits for a line, and appends COUNT entries of its own and COUNT that every writer
appends under the same ids; then it tells what each was answered, as JSON.
"""

import asyncio
import json
import sys
from typing import Any

from app.database import Database
from app.log import Draft, Log
from app.settings import Settings

AT_ONCE = 5


async def write(url: str, model_id: int, name: str, count: int) -> list[Any]:
    """Append, some at once; the id, the offset and whether it was a duplicate, of each."""
    settings = Settings(database_url=url, database_busy_ms=60_000)
    database = Database(settings)
    log = Log(database, settings)
    log.open(lambda rows: None)
    print("ready", flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.readline)
    ids = [id for i in range(count) for id in (f"{name}-{i}", f"shared-{i}")]
    told: list[Any] = []
    for i in range(0, len(ids), AT_ONCE):
        some = ids[i : i + AT_ONCE]
        drafts = [Draft(model_id, "example", id, None, 0, b"{}") for id in some]
        receipts = await asyncio.gather(*(log.append(draft) for draft in drafts))
        told += [(id, *receipt) for id, receipt in zip(some, receipts, strict=True)]
    await log.close()
    database.close()
    return told


if __name__ == "__main__":
    _, url, model_id, name, count = sys.argv
    print(json.dumps(asyncio.run(write(url, int(model_id), name, int(count)))))  # noqa: T201
