"""`kill -9` of a real process while it learns under load, and again, all on one database file.

After each restart: what was acknowledged is in the log exactly once, what was not is there at most
once, offsets have no gap, sending again is answered as the first time, and the models answer and
score to the last bit as a replay of their logs by hand does.
"""

import http.client
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app import entries, log
from app.database import Database
from app.live import LiveModel
from app.settings import Settings
from tests.conftest import FULL
from tests.process import LINEAR, Connection, Headrace

KILLS = 50 if FULL else 5
pytestmark = [pytest.mark.timeout(3_600 if FULL else 600), pytest.mark.usefixtures("backend")]
WRITERS = 16
SEED = 20_261_123
MODELS = {"linear": LINEAR, "tree": ["tree.HoeffdingTreeClassifier"]}
COLOURS = ("red", "green", "blue", "")


class Sent(NamedTuple):
    """A feedback as it was sent."""

    model: str
    body: dict[str, Any]


class Writer:
    """One client with ids of its own, which remembers what it was told of each."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.chance = random.Random(SEED + number)
        self.sent: dict[str, Sent] = {}
        self.acknowledged: dict[str, int] = {}
        self.refused: set[str] = set()

    def work(self, service: Headrace) -> None:
        """Send what was never answered once more, then go on until cut off."""
        connection = service.connect(10)
        try:
            if self.number == 0:
                self.breaks(connection)
            for id in sorted(self.sent.keys() - self.acknowledged.keys() - self.refused):
                if self.send(connection, id) == 404:
                    # Its prediction was among the last before the kill, and no label of it kept.
                    self.refused.add(id)
            while True:
                assert self.label(connection) != 404
        except (OSError, http.client.HTTPException):
            # Killed: what was on its way stays unacknowledged.
            return
        finally:
            connection.close()

    def breaks(self, connection: Connection) -> None:
        """Send what the scaler cannot learn: its model is built again beside the others' calls."""
        id = f"{self.number}/{len(self.sent)}"
        self.sent[id] = Sent("linear", {"id": id, "label": True, "features": {"a": 1.0, "b": "x"}})
        self.send(connection, id)

    def label(self, connection: Connection) -> int:
        """Send feedback for a prediction, or with features of its own."""
        model = self.chance.choice(list(MODELS))
        id = f"{self.number}/{len(self.sent)}"
        features = observation(self.chance, model)
        body: dict[str, Any] = {"id": id, "label": features["a"] > self.chance.gauss(0, 1)}
        if self.chance.random() < 0.5:
            reply = connection.post(f"/v1/models/{model}/predict", {"features": features})
            assert reply.status == 200, reply
            body["prediction_id"] = reply.body["id"]
        else:
            body["features"] = features
        self.sent[id] = Sent(model, body)
        return self.send(connection, id)

    def send(self, connection: Connection, id: str) -> int:
        """Send a feedback, and keep what is answered; the status."""
        model, body = self.sent[id]
        reply = connection.post(f"/v1/models/{model}/feedback", body)
        if reply.status == 200:
            before = self.acknowledged.setdefault(id, reply.body["offset"])
            assert before == reply.body["offset"], (id, reply)
        else:
            assert reply.body["code"] in ("unknown_prediction", "log_unavailable"), reply
        return reply.status


def observation(chance: random.Random, model: str) -> dict[str, Any]:
    """Features of each type that the model's learner takes, one of them missing at times."""
    found: dict[str, Any] = {
        "a": chance.gauss(0, 1),
        "n": chance.choice((None, -5, 0, 1, 7)),
        "flag": chance.random() < 0.5,
    }
    if model == "tree":
        found["colour"] = chance.choice(COLOURS)
    return found


class Truth:
    """What the logs say, read from the file."""

    def __init__(self, service: Headrace) -> None:
        self.settings = Settings(database_url=service.url)
        self.rows: dict[str, list[log.Row]] = {model: [] for model in MODELS}

    def read(self) -> None:
        """Read the logs anew: what stood there stands there still, and more may follow."""
        database = Database(self.settings)
        try:
            with database.snapshot() as connection:
                for model_id, model in enumerate(MODELS, start=1):
                    rows = log.read(connection, model_id, 0, 10_000_000)
                    assert rows[: len(self.rows[model])] == self.rows[model]
                    self.rows[model] = rows
        finally:
            database.close()


def replay(rows: list[log.Row]) -> LiveModel:
    """What a fresh model makes of a log that says which entries cannot be learned."""
    found = [entries.decode(row.body) for row in rows]
    dropped = {e.offset: e.reason for e in found if isinstance(e, entries.Unlearnable)}
    assert isinstance(found[0], entries.Created)
    live = LiveModel(found[0], rows[0].at, dropped)
    for row, entry in zip(rows[1:], found[1:], strict=True):
        live.apply(row.offset, entry, row.at)
    return live


def test_whatever_moment_it_is_killed_at_nothing_acknowledged_is_lost_or_doubled(
    tmp_path: Path,
) -> None:
    # With the hash seed of this process, its replay by hand is the same computation.
    service = Headrace(tmp_path, {"PYTHONHASHSEED": os.environ["PYTHONHASHSEED"]}).start()
    try:
        for model, learner in MODELS.items():
            service.create(model, learner=learner)
        writers = [Writer(number) for number in range(WRITERS)]
        chance, truth = random.Random(SEED), Truth(service)
        for kill in range(KILLS):
            learn_until_killed(service, writers, chance)
            if kill % 5 == 4:
                kill_while_starting(service, chance)
            service.start()
            wait_for_notes(service)
            check_log(service, writers, truth)
            check_sent_again(service, writers, chance)
            check_answers(service, truth)
        unanswered = sum(len(w.sent.keys() - w.acknowledged.keys() - w.refused) for w in writers)
        assert sum(len(w.acknowledged) for w in writers) > 50 * KILLS
        assert unanswered > 0, "no kill caught anything on its way"
    finally:
        service.kill()


def learn_until_killed(service: Headrace, writers: list[Writer], chance: random.Random) -> None:
    """Let all writers write at once, and kill the process at a random moment."""
    with ThreadPoolExecutor(WRITERS) as pool:
        working = [pool.submit(writer.work, service) for writer in writers]
        time.sleep(chance.uniform(0.05, 1.5))
        service.kill()
        for work in working:
            work.result(30)


def kill_while_starting(service: Headrace, chance: random.Random) -> None:
    """Kill the process once more before it is ready."""
    command = [sys.executable, "-m", "app", "serve", "--port", str(service.port)]
    with service.log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=service.folder, env=service.environment, stdout=out, stderr=out
        )
    time.sleep(chance.uniform(0, 3))
    process.kill()
    process.wait(30)


def wait_for_notes(service: Headrace) -> None:
    """Wait until all that broke a learner is noted in the logs, and nothing more is appended."""
    deadline = time.monotonic() + 30
    for model in MODELS:
        while True:
            dropped = service.get(f"/v1/models/{model}/metrics").body["counts"]["unlearnable"]
            if sum(entry["kind"] == "unlearnable" for entry in paged(service, model)) == dropped:
                break
            assert time.monotonic() < deadline, "what broke a learner was not noted"
            time.sleep(0.1)


def check_log(service: Headrace, writers: list[Writer], truth: Truth) -> None:
    """Each acknowledged feedback stands where it was said to, each other at most once."""
    truth.read()
    sent = {id: item for writer in writers for id, item in writer.sent.items()}
    acknowledged = {id: at for writer in writers for id, at in writer.acknowledged.items()}
    refused = {id for writer in writers for id in writer.refused}
    places: dict[str, int] = {}
    for model, rows in truth.rows.items():
        shown = paged(service, model)
        assert [entry["offset"] for entry in shown] == list(range(1, len(shown) + 1))
        assert [(entry["offset"], entry["id"]) for entry in shown] == [
            (row.offset, row.id) for row in rows
        ]
        for entry in shown:
            id = entry["id"]
            if entry["kind"] != "example":
                continue
            assert id not in places, f"{id} stands in the log twice"
            places[id] = entry["offset"]
            item = sent[id]
            assert item.model == model
            assert entry["label"] == item.body["label"]
            assert entry.get("prediction_id") == item.body.get("prediction_id")
            if "features" in item.body:
                assert list(entry["features"].items()) == list(item.body["features"].items())
    assert {id: places.get(id) for id in acknowledged} == acknowledged
    assert not refused & places.keys()


def paged(service: Headrace, model: str) -> list[dict[str, Any]]:
    """The whole log of a model, as the API gives it."""
    connection = service.connect()
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = connection.get(f"/v1/models/{model}/log?after={after}&limit=1000")
        assert page.status == 200, page
        found += page.body["entries"]
        after = page.body["next"]
    connection.close()
    return found


def check_sent_again(service: Headrace, writers: list[Writer], chance: random.Random) -> None:
    """Acknowledged feedback that is sent again is answered with its first offset."""
    connection = service.connect()
    for writer in writers:
        known = list(writer.acknowledged)
        for id in chance.sample(known, min(8, len(known))):
            model, body = writer.sent[id]
            reply = connection.post(f"/v1/models/{model}/feedback", body)
            assert reply.status == 200, reply
            assert reply.body["duplicate"] is True
            assert reply.body["offset"] == writer.acknowledged[id]
    connection.close()


def check_answers(service: Headrace, truth: Truth) -> None:
    """The service predicts and scores to the last bit as a replay by hand."""
    connection = service.connect()
    for model, rows in truth.rows.items():
        live, chance = replay(rows), random.Random(SEED)
        for _ in range(25):
            features = observation(chance, model)
            reply = connection.post(f"/v1/models/{model}/predict", {"features": features})
            expected = live.reply(features).answer
            shares = expected.probabilities or {}
            assert reply.body["offset"] == live.offset_applied
            assert reply.body["prediction"] == expected.prediction
            assert reply.body["probabilities"] == {str(y).lower(): p for y, p in shares.items()}
        metrics = connection.get(f"/v1/models/{model}/metrics").body
        assert live.learner is not None
        assert metrics["since_start"] == live.learner.scores.figures()
        assert metrics["last_1000"] == live.learner.scores.recent_figures()
        assert metrics["counts"]["examples"] == live.monitor.examples
        assert metrics["counts"]["labelled"] == live.monitor.labelled
        assert metrics["counts"]["unlearnable"] == live.monitor.unlearnable
    connection.close()
