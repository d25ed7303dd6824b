"""How many rows a second go through one connection: as a stream of lines, in batches, one by one.

    python -m benchmarks.bulk --rows 200000 --runs 3

All run in one go, turn by turn, each into a model of its own, because a rate means little without
the others on the same machine at the same time. The time is all that passes between the first byte
that is sent and the last that is received; making the rows is not counted, reading the answers is.
"""

import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import click

from benchmarks.replay import peak_mib, rows
from tests.lines import Stream
from tests.process import Headrace, headrace

CALLS = ("feedback", "predict")
WAYS = ("stream", "batch", "single")
CHUNK = 200
"""Lines in a chunk of a stream."""

ITEMS = 500
"""Items in a batch."""


def bodies(call: str, count: int) -> list[bytes]:
    """What is sent of each row: labels under ids of their own, questions without."""
    found = []
    for n, (x, y) in enumerate(rows(count)):
        more = {"label": y, "id": f"r{n}"} if call == "feedback" else {}
        found.append(json.dumps({"features": x, **more}).encode())
    return found


def stream(service: Headrace, model: str, call: str, items: list[bytes]) -> int:
    """Send all as lines, and read answers meanwhile; how many were no problem."""
    connection = Stream(service, call, model)

    def send() -> None:
        for begin in range(0, len(items), CHUNK):
            connection.send(b"\n".join(items[begin : begin + CHUNK]) + b"\n")
        connection.end()

    sender = Thread(target=send)
    sender.start()
    taken = _taken(connection.lines())
    sender.join()
    connection.http.close()
    return taken


def batch(service: Headrace, model: str, call: str, items: list[bytes]) -> int:
    """Send batch after batch; how many items were no problem."""
    connection = service.connect()
    taken = 0
    for begin in range(0, len(items), ITEMS):
        body = b'{"items": [' + b",".join(items[begin : begin + ITEMS]) + b"]}"
        reply = connection.post(f"/v1/models/{model}/{call}/batch", body)
        taken += sum("code" not in answer for answer in reply.body["items"])
    connection.close()
    return taken


def single(service: Headrace, model: str, call: str, items: list[bytes]) -> int:
    """Send one request after the other; how many were answered 200."""
    # A bare connection: http.client would take longer than the service does.
    head = f"POST /v1/models/{model}/{call} HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n"
    taken = 0
    with socket.create_connection(("127.0.0.1", service.port), 60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for item in items:
            connection.sendall((head % len(item)).encode() + item)
            answer = connection.recv(65_536)
            while not answer.endswith(b"}"):
                answer += connection.recv(65_536)
            taken += answer.startswith(b"HTTP/1.1 200")
    return taken


def compare(count: int, singles: int, runs: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Time all ways of both calls, turn by turn: medians of rows a second, and their ratios."""
    ways = {"stream": stream, "batch": batch, "single": single}
    rates: dict[tuple[str, str], list[float]] = {(c, w): [] for c in CALLS for w in WAYS}
    items = {call: bodies(call, count) for call in CALLS}
    with tempfile.TemporaryDirectory() as folder, headrace(Path(folder)) as service:
        tell(f"{count:,} rows, {singles:,} of them one by one; the median of {runs} runs is told")
        for run in range(runs):
            for call, way in rates:
                model = f"{call}-{way}-{run}"
                service.create(model)
                sent = items[call][: singles if way == "single" else count]
                began = time.perf_counter()
                taken = ways[way](service, model, call, sent)
                rates[call, way].append(len(sent) / (time.perf_counter() - began))
                if taken != len(sent):
                    raise click.ClickException(f"{len(sent) - taken:,} rows of {model} failed")
                tell(f"{call} by {way}: {rates[call, way][-1]:,.0f} rows/s")
        peak = peak_mib(service.pid)
    return {"rows": count, "runs": runs, **_figures(rates), "peak_mib": round(peak, 1)}


@click.command()
@click.option("--rows", "count", default=200_000, show_default=True, help="Rows of each way.")
@click.option("--singles", default=5_000, show_default=True, help="Rows sent one by one.")
@click.option("--runs", default=3, show_default=True, help="How often each way runs.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(count: int, singles: int, runs: int, as_json: bool) -> None:
    """Compare a stream of lines with batches and with single requests, on one connection each."""
    figures = compare(count, min(singles, count), runs, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, figure in figures.items():
            click.echo(f"{name.replace('_', ' '):34} {figure:>12,}")


def _taken(answers: Iterable[bytes]) -> int:
    """How many lines are no problem; only those have an id at their beginning."""
    return sum(answer.startswith(b'{"id":') for answer in answers)


def _figures(rates: dict[tuple[str, str], list[float]]) -> dict[str, float]:
    middle = {key: median(found) for key, found in rates.items()}
    figures: dict[str, float] = {}
    for call in CALLS:
        for way in WAYS:
            figures[f"{call}_{way}_rows_per_second"] = round(middle[call, way])
        for way in WAYS[:-1]:
            ratio = middle[call, way] / middle[call, "single"]
            figures[f"{call}_{way}_over_single"] = round(ratio, 1)
    return figures


if __name__ == "__main__":
    main()
