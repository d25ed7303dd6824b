"""What clients were told of their feedback, and whether the log says the same."""

import random
import threading
import time
from typing import Any

from tests.process import Connection, Headrace, Reply


class Ledger:
    """The feedback that was sent to one model, and where its entries were said to stand."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.sent: dict[str, dict[str, Any]] = {}
        self.acknowledged: dict[str, int] = {}
        self._lock = threading.Lock()

    def send(self, connection: Connection, id: str, **body: Any) -> Reply:
        """Send feedback, or send it again, and note what is answered."""
        with self._lock:
            known = self.sent.setdefault(id, {"id": id, **body})
        reply = connection.post(f"/v1/models/{self.model}/feedback", known)
        if reply.status == 200:
            with self._lock:
                before = self.acknowledged.setdefault(id, reply.body["offset"])
            assert before == reply.body["offset"], (id, before, reply)
        else:
            assert reply.status == 503, reply
            assert reply.headers["retry-after"] == "1"
            assert reply.headers["content-type"] == "application/problem+json"
        return reply

    def settle(self, service: Headrace) -> None:
        """Send again what was not acknowledged, until it is."""
        connection = service.connect()
        deadline = time.monotonic() + 30
        for id in sorted(self.sent.keys() - self.acknowledged.keys()):
            while self.send(connection, id).status != 200:
                assert time.monotonic() < deadline, f"{id} is not taken"
                time.sleep(0.05)
        connection.close()

    def check(self, service: Headrace) -> None:
        """Each acknowledged feedback stands once where it was said to, and no other does twice."""
        shown = log_of(service, self.model)
        assert [entry["offset"] for entry in shown] == list(range(1, len(shown) + 1))
        ids = [entry["id"] for entry in shown[1:]]
        assert len(ids) == len(set(ids))
        places = {entry["id"]: entry["offset"] for entry in shown}
        assert {id: places.get(id) for id in self.acknowledged} == self.acknowledged
        assert set(ids) <= self.sent.keys()


def log_of(service: Headrace, model: str) -> list[dict[str, Any]]:
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


def numbers(chance: random.Random) -> dict[str, float]:
    """Features that a linear learner takes."""
    return {"x": chance.gauss(0, 1), "z": chance.gauss(5, 2)}


def state_of(service: Headrace, model: str) -> Any:
    """What a model answers to a few observations, and how it is scored."""
    chance = random.Random(3)
    connection = service.connect()
    answers = []
    for _ in range(10):
        reply = connection.post(f"/v1/models/{model}/predict", {"features": numbers(chance)})
        assert reply.status == 200, reply
        answers.append((reply.body["offset"], reply.body["probabilities"]))
    metrics = connection.get(f"/v1/models/{model}/metrics").body
    connection.close()
    return answers, metrics["since_start"], metrics["last_1000"], metrics["counts"]
