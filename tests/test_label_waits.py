"""Labels that come before their predictions, and defaults over restarts and kills."""

import asyncio
import math
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.entries import Correction, Example, LabelRules, Served
from app.errors import InvalidFeatures
from app.joining import Joining
from app.settings import Settings
from tests.conftest import problem
from tests.inside import Clock, create, in_loop, label, opened, predict, teach, until
from tests.labelling import (
    IN_TIME,
    Model,
    eventually,
    flags,
)
from tests.process import Headrace, headrace
from tests.test_live import FRAGILE, created, live_of

pytestmark = pytest.mark.usefixtures("backend")

# Early.


def test_a_label_that_never_finds_its_prediction_is_refused_and_counted(
    client: TestClient,
) -> None:
    model = Model(client, early_seconds=0.3)
    begun = time.monotonic()
    assert problem(model.label("never", True, "l")) == "unknown_prediction"
    assert 0.3 <= time.monotonic() - begun < 3
    assert model.counts() == {"dangling": 1}
    assert model.log() == []


def test_a_request_waits_for_all_its_predictions_together(client: TestClient) -> None:
    model = Model(client, early_seconds=0.5)
    items = [{"prediction_id": f"never {n}", "label": True} for n in range(20)]
    begun = time.monotonic()
    reply = client.post("/v1/models/m/feedback/batch", json={"items": items})
    assert time.monotonic() - begun < 2.5
    assert {item["code"] for item in reply.json()["items"]} == {"unknown_prediction"}
    model.settled(dangling=20)


def test_without_patience_a_label_is_refused_at_once(client: TestClient) -> None:
    model = Model(client, early_seconds=0)
    begun = time.monotonic()
    assert problem(model.label("never", True, "l")) == "unknown_prediction"
    assert time.monotonic() - begun < 1
    assert model.counts() == {"dangling": 1}


def test_a_label_waits_for_its_prediction_in_any_process(tmp_path: Path) -> None:
    with headrace(tmp_path) as one, headrace(tmp_path) as other, ThreadPoolExecutor(2) as threads:
        one.create("m", labels={"early_seconds": 20})
        eventually(lambda: other.get("/v1/models/m").status == 200, other.log.read_text)
        for i, (waits, asks) in enumerate([(one, one), (one, other), (other, one)]):
            body = {"prediction_id": f"p{i}", "label": True, "id": f"l{i}"}
            waiting = threads.submit(waits.post, "/v1/models/m/feedback", body)
            time.sleep(0.5)
            assert not waiting.done()
            asked = {"id": f"p{i}", "features": {"a": i}}
            assert asks.post("/v1/models/m/predict", asked).status == 200
            begun = time.monotonic()
            told = waiting.result(30)
            assert time.monotonic() - begun < 10
            assert told.body == {"id": f"l{i}", "offset": i + 2, "duplicate": False}
        found = one.get("/v1/models/m/log?after=1").body["entries"]
        assert [flags(entry) for entry in found] == [IN_TIME | {"label": True, "early": True}] * 3
        for service in (one, other):
            read = partial(service.get, "/v1/models/m/metrics")
            eventually(lambda: read().body["labels"]["early"] == 3, read)  # noqa: B023


@pytest.mark.parametrize("ids", [1, 200])
def test_early_labels_keep_nobody_out(tmp_path: Path, ids: int) -> None:
    many = 200
    with headrace(tmp_path, HEADRACE_REQUESTS_MAX="64") as service:
        service.create("m", labels={"early_seconds": 6})

        def send(i: int) -> int:
            body = {"prediction_id": f"never {i % ids}", "label": True}
            return service.post("/v1/models/m/feedback", body).status

        with ThreadPoolExecutor(many) as threads:
            early = [threads.submit(send, i) for i in range(many)]
            time.sleep(1.5)
            slowest = 0.0
            for i in range(40):
                begun = time.monotonic()
                asked = {"id": f"p{i}", "features": {"a": i}}
                assert service.post("/v1/models/m/predict", asked).status == 200
                labelled = {"prediction_id": f"p{i}", "label": True}
                assert service.post("/v1/models/m/feedback", labelled).status == 200
                slowest = max(slowest, time.monotonic() - begun)
            waited = sum(not one.done() for one in early)
            assert waited > 0, "they waited meanwhile"
            assert slowest < 3, slowest
            answered = Counter(one.result(60) for one in early)
        assert answered.keys() <= {404, 503}
        counted = service.get("/v1/models/m/metrics").body["labels"]
        eventually(
            lambda: service.get("/v1/models/m/metrics").body["labels"]["dangling"] == answered[404],
            lambda: (answered, counted),
        )


# Several processes, restarts and kills.


def test_each_default_is_learned_once_by_two_processes_over_restarts_and_kills(
    tmp_path: Path,
) -> None:
    with headrace(tmp_path) as one, headrace(tmp_path) as other:
        one.create("m", labels={"wait_seconds": 4, "default": False})
        eventually(lambda: other.get("/v1/models/m").status == 200, other.log.read_text)
        asked = [f"p{i}" for i in range(120)]
        for i, id in enumerate(asked):
            service = (one, other)[i % 2]
            body = {"id": id, "features": {"a": i % 7}}
            assert service.post("/v1/models/m/predict", body).status == 200
            if i % 3 == 0:
                labelled = {"prediction_id": id, "label": True}
                assert service.post("/v1/models/m/feedback", labelled).status == 200
        time.sleep(0.5)
        other.kill()
        other.start()
        # While they fall due, one of the two is killed, and the other one stopped, in turn.
        for service in (one, other, one, other):
            time.sleep(0.7)
            if service is one:
                service.kill()
            else:
                service.stop()
            service.start()

        def counts(service: Headrace) -> Any:
            return service.get("/v1/models/m/metrics").body["labels"]

        eventually(
            lambda: counts(one)["default"] == counts(other)["default"] == 80, one.log.read_text
        )
        time.sleep(1.5)
        found = one.get("/v1/models/m/log?after=1&limit=1000").body["entries"]
        said = Counter((entry["prediction_id"], entry["origin"]) for entry in found)
        wanted = {(id, "default" if i % 3 else "given"): 1 for i, id in enumerate(asked)}
        assert said == wanted
        assert counts(one)["expired"] == 0
        told = [service.get("/v1/models/m/metrics").body for service in (one, other)]
        assert told[0] == told[1]


# What only the inside can show.


@in_loop
async def test_a_default_is_learned_however_long_the_service_was_stopped(
    settings: Settings,
) -> None:
    clock = Clock()
    async with opened(settings, clock) as runtime:
        await create(runtime, labels=LabelRules(wait_seconds=10, default=False))
        await predict(runtime, {"a": 1}, "p")
    clock.advance(10 * settings.predictions_keep_seconds)
    async with opened(settings, clock) as runtime:
        assert await runtime.predictions.expire() == 0
        assert await Joining(runtime).settle_due() == 1
        assert runtime.replica("m").model.monitor.defaults == 1
        assert await runtime.predictions.expire() == 1


@in_loop
async def test_what_a_late_label_fixes_is_claimed_until_it_is_learned(settings: Settings) -> None:
    clock = Clock()
    async with opened(settings, clock) as runtime:
        replica = await create(runtime, labels=LabelRules(wait_seconds=10))
        await predict(runtime, {"new": 1}, "p")
        clock.advance(11)
        replica.state = "rebuilding"
        late = asyncio.create_task(label(runtime, "p", True))
        await until(lambda: len(replica.inbox) > 0)
        await asyncio.sleep(0.05)
        with pytest.raises(InvalidFeatures):
            await teach(runtime, {"new": "text"}, True)
        replica.state = "ready"
        runtime.applier._busy.append(replica)
        runtime.applier.deliver(())
        assert (await late).offset == 2


def test_a_correction_that_broke_the_learner_is_not_scored_nor_taken_back() -> None:
    served = Served(2.0, 0)
    live = live_of(
        created(learner=FRAGILE),
        Example({"a": 1}, 1.0),
        Example({"a": 2}, 3.0, served, origin="default"),
        Correction(3, 1e300, 3.0, served, "default", features={"a": 2}, late=True),
        Correction(3, 6.0, 1e300, served),
        Correction(3, 4.0, 6.0, served),
        dropped=[4],
    )
    bare = live_of(created(learner=FRAGILE), Example({"a": 1}, 1.0), Example({"a": 2}, 4.0, served))
    assert live.learner is not None and bare.learner is not None
    figure = live.learner.scores.figures()["MAE"]
    wanted = bare.learner.scores.figures()["MAE"]
    assert figure is not None and wanted is not None
    assert math.isclose(figure, wanted)
    assert live.learner.scores.scored == bare.learner.scores.scored == 2
    assert live.learner.scores.recent_figures() == bare.learner.scores.recent_figures()
