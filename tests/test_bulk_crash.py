"""A long stream of labels over a service that is killed again and again: each row is learned once.

    rows ─▶ unanswered ─▶ the stream ─▶ an answer: no longer unanswered
                │              ✂ kill -9, restart
                └◀─────────────┘ (what is unanswered is sent again, with its ids, before the rest)

Neither side holds more than what is on its way.
"""

import http.client
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest
from river import linear_model, preprocessing

from app import entries, log
from app.database import Database
from app.settings import Settings
from benchmarks.replay import FEATURES, rows
from tests.conftest import FULL
from tests.lines import Stream
from tests.process import Headrace, headrace
from tests.test_bounds import rss_kib

pytestmark = pytest.mark.timeout(3_600 if FULL else 600)

ROWS = 1_000_000 if FULL else 20_000
KILLS = 5 if FULL else 2
CHUNK = 100
"""Lines in a chunk."""

SAMPLES = 100
GROWTH_KIB_MAX = 65_536
PAGE = 10_000


class Held(NamedTuple):
    """What both sides held in memory when so many rows were answered, in KiB."""

    rows: int
    service: int
    client: int


class Client:
    """Streams rows over one connection after the other, until all are answered."""

    def __init__(self, service: Headrace) -> None:
        self.service = service
        self.answered = self.duplicates = self.unanswered_max = 0
        self.seconds = 0.0
        self.held: list[Held] = []
        self._unanswered: deque[bytes] = deque()
        self._rows = lines()

    def stream(self, until: int) -> None:
        """Go on where it was cut off, and kill the service once so many rows are answered."""
        began = time.monotonic()
        stream = Stream(self.service, "feedback", room=65_536)
        again = list(self._unanswered)
        sender = threading.Thread(target=self._send, args=(stream, again))
        sender.start()
        try:
            for line in stream.lines():
                self._take(line)
                if until <= self.answered < ROWS and self.service.is_running():
                    self.service.kill()
        except (OSError, http.client.HTTPException):
            # Cut off by the kill.
            assert until < ROWS
        finally:
            sender.join(120)
            stream.http.close()
        self.seconds += time.monotonic() - began

    def _send(self, stream: Stream, again: list[bytes]) -> None:
        try:
            for begin in range(0, len(again), CHUNK):
                stream.send(b"".join(again[begin : begin + CHUNK]))
            while chunk := list(islice(self._rows, CHUNK)):
                # Noted before they are sent: whatever becomes of them, they are not lost.
                self._unanswered.extend(chunk)
                stream.send(b"".join(chunk))
            stream.end()
        except OSError:
            pass

    def _take(self, line: bytes) -> None:
        answer = json.loads(line)
        # There is no other client: a row has one offset, whether it is sent once or twice.
        expected = {"id": f"r{self.answered}", "offset": self.answered + 2}
        assert {name: answer.get(name) for name in expected} == expected, answer
        self.answered += 1
        self.duplicates += answer["duplicate"]
        self.unanswered_max = max(self.unanswered_max, len(self._unanswered))
        self._unanswered.popleft()
        if self.answered % (ROWS // SAMPLES) == 0 and self.service.is_running():
            self.held.append(Held(self.answered, rss_kib(self.service), own_kib()))


def lines() -> Iterator[bytes]:
    """All rows as lines of feedback, the same ones every time."""
    for n, (x, y) in enumerate(rows(ROWS)):
        yield json.dumps({"id": f"r{n}", "features": x, "label": y}).encode() + b"\n"


def own_kib() -> int:
    """What this process holds in memory now."""
    text = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in text if line.startswith("VmRSS:"))


def test_however_often_it_is_killed_each_row_of_a_stream_is_learned_exactly_once(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with headrace(tmp_path, PYTHONHASHSEED=os.environ["PYTHONHASHSEED"]) as service:
        service.create("m")
        client = Client(service)
        for kill in range(1, KILLS + 1):
            client.stream(ROWS * kill // (KILLS + 1))
            assert client.answered < ROWS
            service.start()
        client.stream(ROWS)
        assert client.answered == ROWS
        record_property("rows_per_second", round(ROWS / client.seconds))
        record_property("sent_again_and_known", client.duplicates)
        record_property("unanswered_max", client.unanswered_max)
        record_property("held_kib", str(client.held[-1:]))
        check_memory(client.held)
        check_log_and_answers(service)


def check_memory(held: list[Held]) -> None:
    """From the first tenth on, neither side grows by more than an allowance."""
    early = [sample for sample in held if sample.rows <= ROWS // 10]
    for side in ("service", "client"):
        before = max(getattr(sample, side) for sample in early)
        after = max(getattr(sample, side) for sample in held)
        assert after - before < GROWTH_KIB_MAX, (side, held)


def check_log_and_answers(service: Headrace) -> None:
    """The log holds each row once, in order; the model is what River makes of the same rows."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    expected = enumerate(rows(ROWS))
    for row in log_rows(service):
        n, (x, y) = next(expected)
        example = entries.decode(row.body)
        assert isinstance(example, entries.Example)
        assert (row.offset, row.id, example.features, example.label) == (n + 2, f"r{n}", x, y)
        model.learn_one(x, y)
    assert next(expected, None) is None
    connection = service.connect()
    for n in range(20):
        probe = {name: n / 7 - place for place, name in enumerate(FEATURES)}
        reply = connection.post("/v1/models/m/predict", {"features": probe})
        shares = model.predict_proba_one(probe)
        assert reply.body["offset"] == ROWS + 1
        assert reply.body["probabilities"] == {"true": shares[True], "false": shares[False]}
    assert connection.get("/v1/models/m/metrics").body["counts"]["examples"] == ROWS
    connection.close()


def log_rows(service: Headrace) -> Iterator[log.Row]:
    """The log behind the model's creation, read from the file."""
    database = Database(Settings(database_url=service.url))
    try:
        after = 1
        while True:
            with database.snapshot() as connection:
                found = log.read(connection, 1, after, PAGE)
            if not found:
                return
            yield from found
            after = found[-1].offset
    finally:
        database.close()
