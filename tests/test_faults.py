"""The fault loop: fail the first statement, check; fail the second, check; until none fails.

One script of calls is run against the application for each fault. Whatever fails: nothing
acknowledged is lost or doubled, what was answered 503 is settled by sending it again with the same
id, the service becomes ready again by itself, and a restart shows the same state.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app.errors import StartRefused
from app.main import create_app
from app.settings import Settings
from tests import databases
from tests.conftest import FULL
from tests.faults.driver import KINDS, Fault, Kind, injected
from tests.process import LINEAR

pytestmark = pytest.mark.timeout(3_600 if FULL else 600)

SECONDS = 20.0
"""How long a call is sent again before the service is said not to recover."""

STRIDE = 1 if FULL else 7
"""In the short form every seventh event fails, beginning with another one for each kind."""


class Script:
    """The calls of one run, and what was acknowledged."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.offsets: dict[str, int] = {}
        self.bodies: dict[str, dict[str, Any]] = {}

    def settled(self, method: str, path: str, body: Any = None) -> Response:
        """Send until the answer is another than 503, as the answer itself asks to."""
        deadline = time.monotonic() + SECONDS
        while True:
            reply = self.client.request(method, path, json=body)
            if reply.status_code != 503:
                assert reply.status_code < 500, reply.text
                return reply
            assert reply.headers["retry-after"], reply.headers
            assert time.monotonic() < deadline, f"{method} {path} does not recover: {reply.text}"
            time.sleep(0.02)

    def create(self, name: str) -> None:
        """Create a model; after an unknown outcome it may exist, and be seen a moment later."""
        body = {"name": name, "task": "binary", "learner": LINEAR}
        assert self.settled("POST", "/v1/models", body).status_code in (201, 409)
        deadline = time.monotonic() + SECONDS
        while self.settled("GET", f"/v1/models/{name}").status_code != 200:
            assert time.monotonic() < deadline, f"{name} does not come into sight"
            time.sleep(0.02)

    def predict(self, body: dict[str, Any]) -> str:
        """Predict, which no fault of the database may refuse; the prediction's id."""
        reply = self.client.post("/v1/models/a/predict", json=body)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["id"])

    def feedback(self, id: str, **body: Any) -> None:
        """Send feedback, until it is acknowledged."""
        self.bodies[id] = {"id": id, **body}
        reply = self.settled("POST", "/v1/models/a/feedback", self.bodies[id])
        assert reply.status_code == 200, reply.text
        self.offsets[id] = reply.json()["offset"]

    def check(self) -> None:
        """What was acknowledged is there once, where it was said to be, and answered so again."""
        self.ready()
        shown = self.settled("GET", "/v1/models/a/log?limit=1000").json()["entries"]
        assert [entry["offset"] for entry in shown] == list(range(1, len(shown) + 1))
        examples = {entry["id"]: entry["offset"] for entry in shown if entry["kind"] == "example"}
        assert examples == self.offsets
        assert len(examples) == sum(entry["kind"] == "example" for entry in shown)
        for id, offset in self.offsets.items():
            again = self.settled("POST", "/v1/models/a/feedback", self.bodies[id]).json()
            assert (again["offset"], again["duplicate"]) == (offset, True)

    def ready(self) -> None:
        """Wait until the service says that it is ready, with both models that remain."""
        reply = self.settled("GET", "/readyz")
        assert (reply.status_code, reply.json()["models"]) == (200, 2)

    def state(self) -> Any:
        """What the model says of a few observations, and how it is scored."""
        chance = random.Random(3)
        answers = []
        for _ in range(5):
            reply = self.client.post("/v1/models/a/predict", json={"features": numbers(chance)})
            answers.append(reply.json()["probabilities"])
        metrics = self.settled("GET", "/v1/models/a/metrics").json()
        return answers, metrics["since_start"], metrics["last_1000"], metrics["counts"]


def numbers(chance: random.Random) -> dict[str, float]:
    """Features that the linear learner takes."""
    return {"x": chance.gauss(0, 1), "z": chance.gauss(5, 2)}


@contextmanager
def started(settings: Settings) -> Iterator[TestClient]:
    """The application; a fault may refuse its first start with a clear word, not its second."""
    client = TestClient(create_app(settings), raise_server_exceptions=False)
    try:
        client.__enter__()
    except StartRefused as refused:
        assert "cannot be opened" in refused.message
        client = TestClient(create_app(settings), raise_server_exceptions=False)
        client.__enter__()
    try:
        yield client
    finally:
        client.__exit__(None, None, None)


def run(settings: Settings) -> None:
    """The script: all that is written and read, then the same again after a restart."""
    chance = random.Random(2)
    with started(settings) as client:
        script = Script(client)
        script.create("a")
        for n in range(3):
            script.feedback(f"own-{n}", features=numbers(chance), label=n % 2 == 0)
        script.predict({"features": numbers(chance), "id": "named"})
        made = script.predict({"features": numbers(chance)})
        script.feedback("joined", prediction_id=made, label=True)
        script.feedback("named's", prediction_id="named", label=False)
        script.feedback("breaks", features={"word": "a text"}, label=True)
        contrary = {"id": "contrary", "prediction_id": made, "label": False}
        reply = script.settled("POST", "/v1/models/a/feedback", contrary)
        assert (reply.status_code, reply.json()["code"]) == (409, "already_labelled")
        script.create("c")
        script.create("b")
        assert script.settled("DELETE", "/v1/models/b").status_code in (204, 404)
        script.check()
        noted(script)
        before = script.state()
    with started(settings) as client:
        script.client = client
        script.check()
        noted(script)
        assert script.state() == before
        script.feedback("after", features=numbers(chance), label=True)
        script.check()


def noted(script: Script) -> None:
    """What broke the learner was told to the caller, and the models go on without it."""
    counts = script.settled("GET", "/v1/models/a/metrics").json()["counts"]
    assert counts["unlearnable"] == 1
    assert counts["examples"] == len(script.offsets) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_whichever_call_of_the_database_fails_nothing_is_lost_or_doubled(
    kind: Kind, backend: str, tmp_path: Path
) -> None:
    n = 1 + KINDS.index(kind) % STRIDE
    while True:
        settings = Settings(
            database_url=databases.blank(tmp_path, str(n)),
            tail_poll_seconds=0.05,
            predictions_write_ms=5,
            jobs="inside",
        )
        with injected(Fault(kind, n)) as fault:
            try:
                run(settings)
            except BaseException as error:
                error.add_note(f"with {kind} {n} failed, which was {fault.struck!r}")
                raise
        if not fault.struck:
            break
        n += STRIDE
    assert n > 5
