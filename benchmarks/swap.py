"""What swapping versions, and making them, costs the requests that go on meanwhile.

    python -m benchmarks.swap --swaps 200
    python -m benchmarks.swap --swaps 40 --free-core

One model, two versions: a young one, and an adaptive random forest whose plain pickle has 50 MB or
more. A process of its own asks for predictions and sends feedback at steady rates. Phases in which
nothing else happens, with swaps, and with snapshots take turns in one run, because a latency means
little without the others on the same machine at the same time. Every answer must be of one of the
two versions, and none may fail.

With `--free-core` the jobs have the last core for themselves, and all others share the rest: what a
snapshot costs while a core is free. There are then also phases in which that core has work that has
nothing to do with the service: cores share caches and memory, and what that costs no program saves.
"""

import json
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles
from threading import Thread
from typing import Any, NamedTuple

import click

from learners.spec import build, complete
from tests.process import Connection as Http
from tests.process import Headrace

MODEL = "forest"
LEARNER = {"forest.ARFClassifier": {"n_models": 10, "grace_period": 20}}
NUMBERS = [f"n{i}" for i in range(8)]
PLAIN_BYTES_MIN = 50_000_000
BATCH = 500
PHASE_SECONDS = 5.0
BUSY = """
import pickle, zstandard
things = [{n: [float(n)] * 5} for n in range(100_000)]
while True:
    zstandard.compress(pickle.dumps(things, protocol=5), 1)
"""
ASK_SECONDS = 0.5
"""How often it is asked whether a snapshot is done; asking costs what is measured."""


class Asked(NamedTuple):
    """A request: when it was sent, how long it took in ms, its status, which version answered."""

    at: float
    ms: float
    status: int
    version: int


class Phase(NamedTuple):
    """When something happened."""

    name: str
    begins: float
    ends: float


def example(draw: random.Random) -> tuple[dict[str, float], bool]:
    """An observation with its label, which a forest learns with many leaves."""
    x = {name: draw.gauss(0, 1) for name in NUMBERS}
    y = (x["n0"] * x["n1"] > 0) != (x["n2"] > 0.5) != (draw.random() < 0.2)
    return x, y


def teach(service: Headrace, count: int, seed: int) -> None:
    """Teach the model so many examples."""
    draw, http = random.Random(seed), service.connect(600)
    for _ in range(0, count, BATCH):
        items = [dict(zip(("features", "label"), example(draw), strict=True)) for _ in range(BATCH)]
        reply = http.post(f"/v1/models/{MODEL}/feedback/batch", {"items": items})
        assert reply.status == 200, reply
    http.close()


def load(port: int, rates: dict[str, float], pipe: Connection) -> None:
    """Send requests at steady rates until told to stop; then tell of each."""
    stop: list[bool] = []
    found: dict[str, list[Asked]] = {call: [] for call in rates}

    def send(call: str, rate: float, seed: int) -> None:
        draw, http, due = random.Random(seed), Http(port), time.monotonic()
        while not stop:
            x, y = example(draw)
            body: dict[str, Any] = (
                {"features": x} if call == "predict" else {"features": x, "label": y}
            )
            began = time.monotonic()
            reply = http.post(f"/v1/models/{MODEL}/{call}", body)
            ended = time.monotonic()
            version = reply.body.get("version", 0) if isinstance(reply.body, dict) else 0
            found[call].append(Asked(began, 1_000 * (ended - began), reply.status, version))
            due = max(due + 1 / rate, ended - 1)
            time.sleep(max(0.0, due - time.monotonic()))
        http.close()

    threads = [
        Thread(target=send, args=(call, rate / 2, seed))
        for call, rate in rates.items()
        for seed in range(2)
    ]
    for thread in threads:
        thread.start()
    pipe.recv()
    stop.append(True)
    for thread in threads:
        thread.join()
    pipe.send(found)


def snapshot(service: Headrace) -> int:
    """A version of the model as it is; the jobs may first have to learn what it learned."""
    while service.get("/v1/schedule").body["holder"] is None:
        time.sleep(0.1)
    id = service.post("/v1/schedule/snapshot/run", {"model": MODEL}).body["id"]
    while (run := service.get(f"/v1/jobs/{id}").body)["ended_at"] is None:
        time.sleep(ASK_SECONDS)
    assert run["state"] == "done", run
    return int(service.get(f"/v1/models/{MODEL}/versions?limit=1").body["versions"][0]["number"])


@contextmanager
def busy(core: int) -> Iterator[None]:
    """Meanwhile a core pickles and compresses, for nobody."""
    process = subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def plain_bytes(examples: int) -> int:
    """How large the plain pickle of the forest is: of one that learned the same, as River made it.

    What is loaded from a version is far smaller, for it carries no random generators of its own.
    """
    learner = build(complete(LEARNER, "binary", 1))
    for seed, count in ((0, BATCH), (1, examples)):
        draw = random.Random(seed)
        for _ in range(count):
            learner.learn_one(*example(draw))
    return len(pickle.dumps(learner, protocol=5))


def shown(name: str, asked: list[Asked]) -> str:
    """Latencies in a line."""
    cuts = quantiles([a.ms for a in asked], n=1_000)
    worst = max(a.ms for a in asked)
    return (
        f"{name:28} {len(asked):7,} requests   p50 {cuts[499]:7.2f}   p99 {cuts[989]:7.2f}   "
        f"max {worst:7.2f} ms"
    )


@click.command()
@click.option("--swaps", default=200, show_default=True, help="How many swaps in all.")
@click.option("--predicts", default=300.0, show_default=True, help="Predictions a second.")
@click.option("--feedbacks", default=20.0, show_default=True, help="Feedbacks a second.")
@click.option("--examples", default=12_000, show_default=True, help="What the forest learns.")
@click.option("--free-core", is_flag=True, help="Give the jobs a core of their own.")
def main(swaps: int, predicts: float, feedbacks: float, examples: int, free_core: bool) -> None:
    """Run it."""
    with tempfile.TemporaryDirectory() as folder:
        cores = sorted(os.sched_getaffinity(0))
        if free_core:
            assert len(cores) > 1, "there is but one core"
            os.sched_setaffinity(0, cores[:-1])
        service = Headrace(Path(folder), {"HEADRACE_JOBS": "none" if free_core else "beside"})
        jobs = None
        try:
            service.start()
            if free_core:
                jobs = jobs_on(cores[-1], service)
            rates = {"predict": predicts, "feedback": feedbacks}
            run(service, swaps, rates, examples, cores[-1] if free_core else None)
        finally:
            service.kill()
            if jobs is not None:
                jobs.kill()


def jobs_on(core: int, service: Headrace) -> subprocess.Popen[bytes]:
    """The jobs of a service, in a process that has a core for itself."""
    with service.log.open("ab") as log:
        return subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-m", "app", "jobs"],
            cwd=service.folder,
            env=service.environment,
            stdout=log,
            stderr=log,
        )


def run(
    service: Headrace, swaps: int, rates: dict[str, float], examples: int, free: int | None
) -> None:
    """Make the versions, then swap them under load."""
    rules = {"snapshot": {"every_seconds": None, "every_examples": None}}
    service.create(MODEL, learner=LEARNER, versions=rules)
    teach(service, BATCH, 0)
    made = [snapshot(service)]
    teach(service, examples, 1)
    made.append(snapshot(service))
    for number in made:
        # More versions are made than keep their states.
        path = f"/v1/models/{MODEL}/versions/{number}"
        assert service.call("PATCH", path, {"pinned": True}).status == 200
    size = plain_bytes(examples)
    click.echo(f"the forest's plain pickle has {size:,} bytes")
    assert size >= PLAIN_BYTES_MIN, "teach it more: --examples"
    ours, theirs = multiprocessing.Pipe()
    client = multiprocessing.get_context("spawn").Process(
        target=load, args=(service.port, rates, theirs)
    )
    client.start()
    time.sleep(3)
    http = service.connect(120)
    phases: list[Phase] = []
    took: list[float] = []
    while len(took) < swaps:
        with phase("nothing else", phases):
            time.sleep(PHASE_SECONDS)
        with phase("swaps", phases):
            for _ in range(min(20, swaps - len(took))):
                sent = time.monotonic()
                number = made[len(took) % 2]
                reply = http.post(f"/v1/models/{MODEL}/swap", {"version": number})
                assert reply.status == 200, reply
                took.append(1_000 * (time.monotonic() - sent))
                time.sleep(0.05)
        with phase("snapshots", phases):
            until = time.monotonic() + PHASE_SECONDS
            while time.monotonic() < until:
                snapshot(service)
        if free is not None:
            with busy(free), phase("foreign work", phases):
                time.sleep(PHASE_SECONDS)
    ours.send("stop")
    found = ours.recv()
    client.join()
    http.close()
    report(found, phases, took, made)


@contextmanager
def phase(name: str, phases: list[Phase]) -> Iterator[None]:
    """A time in which something happens."""
    began = time.monotonic()
    yield
    phases.append(Phase(name, began, time.monotonic()))


def report(
    found: dict[str, list[Asked]], phases: list[Phase], took: list[float], made: list[int]
) -> None:
    """Print what was measured, and check what must hold."""
    for call, asked in found.items():
        for name in dict.fromkeys(one.name for one in phases):
            mine = [one for one in phases if one.name == name]
            inside = [a for a in asked if any(one.begins <= a.at < one.ends for one in mine)]
            click.echo(shown(f"{call}, {name}", inside))
    click.echo(f"{len(took)} swaps, each {min(took):.0f} to {max(took):.0f} ms")
    every = [a for asked in found.values() for a in asked]
    failed = [a for a in every if a.status != 200]
    answered = {a.version for a in found["predict"] if a.at > phases[1].begins + 1}
    click.echo(json.dumps({"failed": len(failed), "versions that answered": sorted(answered)}))
    assert not failed and answered <= {*made}


if __name__ == "__main__":
    main()
