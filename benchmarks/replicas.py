"""What it takes for one process to know what another committed, and what many writers carry.

    python -m benchmarks.replicas
    python -m benchmarks.replicas --database postgresql://user@host/an_empty_database

- *heard*: from the moment at which one process was told that its entry is durable to the moment at
  which another has applied it, under light load; and what the other takes of a core while idle.
- *writers*: entries a second that one process appends to one model, and that several do together.
- *workers*: predictions a second of one worker and of two, as wrk asks for them (apt install wrk).
  It takes a share of a core too, so on two cores this says what was left.
"""

import asyncio
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from statistics import quantiles

import click

from app.database import Database
from app.entries import Created, Example, encode
from app.log import Draft, Log
from app.runtime import Runtime, completed
from app.settings import Settings
from tests.process import LINEAR, Connection, free_port

spawn = multiprocessing.get_context("spawn")
BATCH = 64
POST = """
wrk.method = "POST"
wrk.body = '{"features":{"x":1.5,"y":2.5}}'
"""


def created(name: str) -> Created:
    """A linear model."""
    wanted = Created(name, "binary", LINEAR, [], {}, "prior", "")
    return completed(wanted, None, 1)


async def opened(url: str) -> Runtime:
    """A runtime that holds all models."""
    runtime = Runtime(Settings(database_url=url))
    await runtime.open()
    await runtime.join(60)
    return runtime


def hear(url: str, count: int, pipe: Pipe) -> None:
    """Tell when each entry was applied here, and what an idle time took of a core."""

    async def work() -> None:
        runtime = await opened(url)
        used, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        await asyncio.sleep(5)
        now = resource.getrusage(resource.RUSAGE_SELF)
        cpu = now.ru_utime - used.ru_utime + now.ru_stime - used.ru_stime
        pipe.send(cpu / (time.monotonic() - began))
        replica, moments = runtime.replica("m"), []
        for offset in range(2, count + 2):
            await replica.applied(offset, 60)
            moments.append(time.monotonic())
        pipe.send(moments)
        await runtime.close()

    asyncio.run(work())


def heard(url: str, count: int) -> tuple[list[float], float]:
    """Milliseconds from one process to the other, for each entry; the idle share of a core."""
    ours, theirs = spawn.Pipe()

    async def work() -> tuple[list[float], float]:
        runtime = await opened(url)
        replica = await runtime.create(created("m"), None)
        other = spawn.Process(target=hear, args=(url, count, theirs))
        other.start()
        idle = await asyncio.to_thread(ours.recv)
        sent = []
        for n in range(count):
            body = encode(Example({"x": n}, n % 2 == 0))
            await runtime.log.append(Draft(replica.id, "example", f"e{n}", None, 0, body))
            sent.append(time.monotonic())
            await asyncio.sleep(0.01)
        moments = await asyncio.to_thread(ours.recv)
        other.join()
        await runtime.close()
        return [1_000 * (b - a) for a, b in zip(sent, moments, strict=True)], idle

    return asyncio.run(work())


def append(url: str, model_id: int, name: str, count: int, pipe: Pipe) -> None:
    """Append entries in batches, once told to."""

    async def work() -> None:
        settings = Settings(database_url=url, database_busy_ms=60_000)
        database = Database(settings)
        log = Log(database, settings)
        log.open(lambda _: None)
        body = encode(Example({f"n{i}": i / 7 for i in range(8)}, True))
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        for begin in range(0, count, BATCH):
            ids = range(begin, min(begin + BATCH, count))
            drafts = [Draft(model_id, "example", f"{name}{i}", None, 0, body) for i in ids]
            await log.durable(await log.enqueue(drafts))
        await log.close()
        database.close()
        pipe.send("done")

    asyncio.run(work())


def written(url: str, model_id: int, writers: int, count: int) -> float:
    """Entries a second that so many processes append to one model."""
    pipes = []
    for n in range(writers):
        ours, theirs = spawn.Pipe()
        spawn.Process(
            target=append, args=(url, model_id, f"w{writers}-{n}-", count // writers, theirs)
        ).start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    began = time.monotonic()
    for pipe in pipes:
        pipe.send("go")
    for pipe in pipes:
        pipe.recv()
    return count / (time.monotonic() - began)


def ask(port: int, connections: int, seconds: int) -> float:
    """Ask for predictions, one at a time on each connection; how many were answered a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(POST)
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script.name]
        url = f"http://127.0.0.1:{port}/v1/models/p/predict"
        said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    return float(said.split("Requests/sec:")[1].split()[0])


def asked(url: str, workers: int) -> float:
    """Predictions a second of so many workers."""
    port = free_port()
    with open(os.devnull, "wb") as nowhere:
        options = ["--no-jobs", "--port", str(port), "--workers", str(workers)]
        service = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", *options],
            env={**os.environ, "HEADRACE_DATABASE_URL": url},
            stderr=nowhere,
        )
    try:
        while not _is_ready(port):
            time.sleep(0.1)
        time.sleep(3)
        connection = Connection(port)
        body = {"name": "p", "task": "binary", "learner": LINEAR}
        assert connection.post("/v1/models", body).status in (201, 409)
        return ask(port, 32, 8)
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(30)


def _is_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return Connection(port).get("/readyz").status == 200
    except OSError:
        return False


@click.command()
@click.option("--database", "url", help="An empty database; an SQLite file of its own if left out.")
@click.option("--count", default=1_000, show_default=True, help="Entries that are listened for.")
@click.option("--entries", default=40_000, show_default=True, help="Entries that are written.")
def main(url: str | None, count: int, entries: int) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = url or f"sqlite:///{Path(folder)}/headrace.db"
        database = Database(Settings(database_url=chosen))
        seed = database.hash_seed
        database.close()
        if os.environ.get("PYTHONHASHSEED") != str(seed):
            os.environ["PYTHONHASHSEED"] = str(seed)
            again = [sys.executable, "-m", "benchmarks.replicas", "--database", chosen]
            options = ["--count", str(count), "--entries", str(entries)]
            sys.exit(subprocess.run([*again, *options], check=False).returncode)
        run(chosen, count, entries, click.echo)


def run(url: str, count: int, entries: int, tell: Callable[[str], None]) -> None:
    """Measure, and tell each figure."""
    found, idle = heard(url, count)
    cuts = quantiles(found, n=100)
    tell(f"heard:   p50 {cuts[49]:.2f} ms   p99 {cuts[98]:.2f} ms   max {max(found):.2f} ms")
    tell(f"idle:    {idle:.2%} of a core")
    single = written(url, 1, 1, entries)
    for writers in (2, 4, 8):
        many = written(url, 1, writers, entries)
        tell(f"writers: {writers} {many:,.0f}/s, one {single:,.0f}/s: {many / single:.2f}")
    for _ in range(3):
        one, two = asked(url, 1), asked(url, 2)
        tell(f"workers: 2 {two:,.0f}/s, one {one:,.0f}/s: {two / one:.2f}")


if __name__ == "__main__":
    main()
