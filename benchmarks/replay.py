"""How fast a long log is replayed at a start, beside a bare River loop over the same rows.

    python -m benchmarks.replay --entries 1000000 --runs 3

Both run in one go, turn by turn, because a rate means little without the other on the same machine
at the same time. The rate of the replay is the number of entries over the time from start to ready,
all of it: two processes (the first one reads the hash seed), every import, and the replay. What it
is without the time of a start with an empty log is told beside it.
"""

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click
from river import linear_model, preprocessing

from app import entries, log
from app.database import Database, now_us
from app.settings import Settings
from tests.process import Headrace

MODEL = "long"
FEATURES = [f"feature_{n}" for n in range(8)]
CHUNK = 10_000
ASK_SECONDS = 0.2


class Replayed(NamedTuple):
    """What a start on a log took, and the most memory that its process held on the way."""

    seconds: float
    peak_mib: float


def rows(count: int) -> Iterator[tuple[dict[str, float], bool]]:
    """Examples of eight numbers each: the same ones every time."""
    chance = random.Random(8)
    for _ in range(count):
        x = {name: chance.gauss(0, 1 + n) for n, name in enumerate(FEATURES)}
        yield x, x["feature_0"] + x["feature_3"] / 4 + chance.gauss(0, 0.5) > 0


def write_log(service: Headrace, count: int) -> None:
    """Create a linear model of `count` examples, its log written straight to the stopped file."""
    try:
        service.start()
        service.create(MODEL)
    finally:
        service.stop()
    database = Database(Settings(database_url=service.url))
    try:
        examples = enumerate(rows(count))
        for begin in range(0, count, CHUNK):
            drafts = [
                log.Draft(1, "example", f"e{n}", None, now_us(), _body(x, y))
                for n, (x, y) in _first(examples, min(CHUNK, count - begin))
            ]
            with database.transaction() as connection:
                log.append(connection, drafts)
    finally:
        database.close()


def replay(service: Headrace) -> Replayed:
    """Start a service, wait until it is ready, and kill it."""
    began = time.perf_counter()
    try:
        service.start(ready=False)
        # Asked seldom, because answering takes time from the replay.
        while service.get("/readyz").status != 200:
            time.sleep(ASK_SECONDS)
        return Replayed(time.perf_counter() - began, peak_mib(service.pid))
    finally:
        service.kill()


def peak_mib(pid: int) -> float:
    """The most memory that a process ever held at once, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1_024 for line in lines if line.startswith("VmHWM:"))


def river_seconds(count: int) -> float:
    """How long River takes to learn the rows, making them not counted."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    seconds = 0.0
    examples = rows(count)
    while chunk := list(_first(examples, CHUNK)):
        began = time.perf_counter()
        for x, y in chunk:
            model.learn_one(x, y)
        seconds += time.perf_counter() - began
    return seconds


def compare(count: int, runs: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Time both, turn by turn: medians of rates in rows a second, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        services = {}
        for name, n in (("empty", 0), ("long", count)):
            place = Path(folder, name)
            place.mkdir()
            services[name] = Headrace(place)
            write_log(services[name], n)
        tell(f"{count:,} entries written; the median of {runs} runs is told")
        river, starts, seconds, peaks = [], [], [], []
        for _ in range(runs):
            river.append(count / river_seconds(count))
            empty = replay(services["empty"])
            full = replay(services["long"])
            starts.append(empty.seconds)
            seconds.append(full.seconds)
            peaks.append(full.peak_mib - empty.peak_mib)
            tell(f"River {river[-1]:,.0f}/s, replay {count / seconds[-1]:,.0f}/s")
    replayed = count / median(seconds)
    without_start = count / (median(seconds) - median(starts))
    return {
        "entries": count,
        "runs": runs,
        "river_rows_per_second": round(median(river)),
        "replay_entries_per_second": round(replayed),
        "ratio": round(replayed / median(river), 3),
        "ratio_without_start": round(without_start / median(river), 3),
        "replay_seconds": round(median(seconds), 2),
        "peak_mib_over_empty": round(median(peaks), 1),
    }


@click.command()
@click.option("--entries", "count", default=1_000_000, show_default=True, help="Entries to replay.")
@click.option("--runs", default=3, show_default=True, help="How often each side runs.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(count: int, runs: int, as_json: bool) -> None:
    """Compare the replay of a long log at a start with a bare River loop over the same rows."""
    figures = compare(count, runs, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, figure in figures.items():
            click.echo(f"{name.replace('_', ' '):26} {figure:>12,}")


def _body(x: dict[str, float], y: bool) -> bytes:
    return entries.encode(entries.Example(dict(x), y))


def _first(found: Iterator[Any], count: int) -> Iterator[Any]:
    """The next rows of an iterator, at most `count`."""
    for _, row in zip(range(count), found, strict=False):
        yield row


if __name__ == "__main__":
    main()
