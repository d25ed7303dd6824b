"""Each rule for labels that are late, twice, early, wrong or never, as a caller meets it."""

import asyncio
import json
import math
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app import entries
from app.api import schemas
from app.entries import Correction, Example, LabelRules, Served
from app.errors import InvalidFeatures
from app.joining import Joining
from app.settings import Settings
from tests.conftest import problem
from tests.inside import Clock, create, in_loop, label, opened, predict, teach, until
from tests.process import LINEAR, Headrace, headrace
from tests.test_docs import PAGES, blocks, shell, table
from tests.test_live import FRAGILE, created, live_of

LEARNERS: dict[str, Any] = {
    "binary": LINEAR,
    "multiclass": "naive_bayes.GaussianNB",
    "regression": ["preprocessing.StandardScaler", "linear_model.LinearRegression"],
    "anomaly": "anomaly.HalfSpaceTrees",
}
METRICS = {"binary": ["Accuracy"], "multiclass": ["Accuracy"], "regression": ["MAE"]}
PASSED: dict[str, Any] = {"wait_seconds": 0.001}
"""Rules by which each label is late."""


class Model:
    """A model over HTTP."""

    def __init__(self, client: TestClient, task: str = "binary", **labels: Any) -> None:
        self.client = client
        body: dict[str, Any] = {"name": "m", "task": task, "labels": labels}
        body["learner"] = LEARNERS[task]
        self.created = client.post("/v1/models", json=body | {"metrics": METRICS.get(task)})

    def predict(self, id: str, **features: Any) -> Any:
        """Ask; a moment later each label is late where the wait is short."""
        body = {"id": id, "features": features or {"a": 1.5}}
        reply = self.client.post("/v1/models/m/predict", json=body)
        assert reply.status_code == 200, reply.text
        time.sleep(0.005)
        return reply.json()

    def label(self, prediction_id: str, label: Any, id: str) -> Response:
        """Label a prediction."""
        body = {"prediction_id": prediction_id, "label": label, "id": id}
        return self.client.post("/v1/models/m/feedback", json=body)

    def labelled(self, prediction_id: str, label: Any, id: str) -> Any:
        """Label a prediction, which must be taken."""
        reply = self.label(prediction_id, label, id)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def log(self) -> list[Any]:
        """What stands behind the creation."""
        found = self.client.get("/v1/models/m/log?after=1").json()["entries"]
        assert isinstance(found, list)
        return found

    def metrics(self) -> Any:
        """Quality and counts."""
        return self.client.get("/v1/models/m/metrics").json()

    def counts(self) -> dict[str, int]:
        """The counts of labels that are not zero."""
        return {name: n for name, n in self.metrics()["labels"].items() if n}

    def standing(self, prediction_id: str) -> tuple[Any, str | None, str | None]:
        """Of a prediction its label, whose it is, and by which feedback."""
        found = self.client.get(f"/v1/models/m/predictions/{prediction_id}").json()
        return found["label"], found["label_origin"], found["feedback_id"]

    def settled(self, **counts: int) -> None:
        """Wait until the job has run, and these are the counts."""
        eventually(lambda: self.counts() == counts, self.counts)


def eventually(holds: Callable[[], bool], shown: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, shown()
        time.sleep(0.02)


def flags(entry: Any) -> dict[str, Any]:
    """What an entry of the log says of its label."""
    names = ("kind", "label", "origin", "late", "early", "learned", "replaced", "previous")
    found = {name: entry[name] for name in names if entry.get(name) is not None}
    return found | {"has_features": "features" in entry and entry["features"] is not None}


GIVEN = {"kind": "example", "origin": "given", "learned": True, "has_features": True}
IN_TIME = {**GIVEN, "late": False, "early": False}
LATE = {**GIVEN, "late": True, "early": False}
DEFAULT = {**IN_TIME, "origin": "default"}
CORRECTED = {"kind": "correction", "late": False, "has_features": False, "replaced": "given"}
REPLACED = {"kind": "correction", "late": True, "replaced": "default"}


# In time, and first.


def test_a_label_in_time_is_learned_and_scored_on_what_was_served(client: TestClient) -> None:
    model = Model(client)
    served = model.predict("p")["prediction"]
    assert model.labelled("p", served, "l") == {"id": "l", "offset": 2, "duplicate": False}
    [entry] = model.log()
    assert flags(entry) == IN_TIME | {"label": served}
    assert entry["served"]["prediction"] == served
    assert model.metrics()["since_start"] == {"Accuracy": 1.0}
    assert model.counts() == {"given": 1}
    assert model.standing("p") == (served, "given", "l")


# Never.


@pytest.mark.parametrize(
    ("task", "default"),
    [
        ("binary", False),
        ("binary", True),
        ("multiclass", ""),
        ("multiclass", 0),
        ("regression", 0),
        ("regression", 0.0),
    ],
)
def test_a_label_that_never_comes_is_learned_as_the_default(
    client: TestClient, task: str, default: Any
) -> None:
    model = Model(client, task, default=default, **PASSED)
    model.predict("p")
    model.settled(default=1)
    [entry] = model.log()
    assert repr(entry["label"]) == repr(default)
    assert flags(entry) == DEFAULT | {"label": default}
    assert model.metrics()["counts"]["examples"] == 1
    assert model.standing("p")[:2] == (default, "default")


def test_a_label_that_never_comes_is_counted_where_there_is_no_default(client: TestClient) -> None:
    model = Model(client, **PASSED)
    model.predict("p")
    model.predict("q")
    model.settled(expired=2)
    time.sleep(1.5)
    assert (model.counts(), model.log()) == ({"expired": 2}, [])
    assert model.metrics()["since_start"] == {"Accuracy": None}


def test_a_prediction_that_has_its_label_gets_no_default(client: TestClient) -> None:
    model = Model(client, default=False, wait_seconds=0.5)
    model.predict("p")
    model.predict("q")
    model.labelled("p", True, "l")
    model.settled(given=1, default=1)
    time.sleep(1.2)
    assert [(entry["prediction_id"], entry["label"]) for entry in model.log()] == [
        ("p", True),
        ("q", False),
    ]


def test_an_anomalys_default_is_scored_and_its_features_are_learned(client: TestClient) -> None:
    model = Model(client, "anomaly", default=False, **PASSED)
    model.predict("p")
    model.settled(default=1)
    assert model.metrics()["counts"]["scored"] == model.metrics()["counts"]["examples"] == 1


# Late, and first.


def test_a_late_label_is_learned(client: TestClient) -> None:
    model = Model(client, late="learn", **PASSED)
    model.predict("p")
    model.labelled("p", True, "l")
    assert [flags(entry) for entry in model.log()] == [LATE | {"label": True}]
    assert model.counts().items() >= {"given": 1, "late": 1}.items()
    assert model.metrics()["counts"]["examples"] == 1


def test_a_late_label_is_recorded_scored_and_not_learned(client: TestClient) -> None:
    model = Model(client, late="record", **PASSED)
    before = model.predict("p")
    model.labelled("p", not before["prediction"], "l")
    [entry] = model.log()
    assert flags(entry) == LATE | {"label": not before["prediction"], "learned": False}
    assert model.counts().items() >= {"given": 1, "late": 1, "recorded": 1}.items()
    told = model.metrics()
    assert (told["counts"]["examples"], told["counts"]["scored"]) == (0, 1)
    assert told["since_start"] == {"Accuracy": 0.0}
    assert model.predict("q")["probabilities"] == before["probabilities"]


def test_a_late_label_is_refused(client: TestClient) -> None:
    model = Model(client, late="refuse", **PASSED)
    model.predict("p")
    refused = model.label("p", True, "l")
    assert (refused.status_code, problem(refused)) == (409, "label_too_late")
    assert model.log() == []
    model.settled(expired=1)
    assert problem(model.label("p", True, "l")) == "label_too_late"


# Late, behind a default: whether or not the job has run.

WHEN = pytest.mark.parametrize("job_ran", [False, True])


def behind_a_default(client: TestClient, job_ran: bool, **labels: Any) -> Model:
    """A model whose prediction p is due, and perhaps has its default label, false."""
    model = Model(client, default=False, **PASSED, **labels)
    model.predict("p")
    if job_ran:
        model.settled(default=1)
    return model


@WHEN
def test_a_late_label_takes_the_place_of_the_default_and_is_learned(
    client: TestClient, job_ran: bool
) -> None:
    model = behind_a_default(client, job_ran, late="learn")
    assert model.labelled("p", True, "l") == {"id": "l", "offset": 3, "duplicate": False}
    default, correction = model.log()
    assert flags(default) == DEFAULT | {"label": False}
    assert flags(correction) == REPLACED | {"label": True, "previous": False, "has_features": True}
    assert correction["example_offset"] == 2
    told = model.metrics()
    assert (told["counts"]["examples"], told["counts"]["scored"]) == (2, 1)
    right = default["served"]["prediction"] is True
    assert told["since_start"] == told["last_1000"] == {"Accuracy": float(right)}
    assert model.counts() == {"given": 1, "default": 1, "late": 1}
    assert model.standing("p") == (True, "given", "l")


@WHEN
def test_a_default_that_was_right_is_not_learned_again(client: TestClient, job_ran: bool) -> None:
    model = behind_a_default(client, job_ran, late="learn")
    model.labelled("p", False, "l")
    assert flags(model.log()[1]) == REPLACED | {
        "label": False,
        "previous": False,
        "has_features": False,
    }
    told = model.metrics()["counts"]
    assert (told["examples"], told["scored"], told["labelled"]) == (1, 1, 1)
    assert model.counts() == {"given": 1, "default": 1, "late": 1}
    assert model.standing("p") == (False, "given", "l")


@WHEN
def test_a_late_label_takes_the_place_of_the_default_and_is_only_recorded(
    client: TestClient, job_ran: bool
) -> None:
    model = behind_a_default(client, job_ran, late="record")
    model.labelled("p", True, "l")
    default, correction = model.log()
    assert flags(correction) == REPLACED | {"label": True, "previous": False, "has_features": False}
    told = model.metrics()
    assert (told["counts"]["examples"], told["counts"]["scored"]) == (1, 1)
    assert told["since_start"] == {"Accuracy": float(default["served"]["prediction"] is True)}
    assert model.counts() == {"given": 1, "default": 1, "late": 1, "recorded": 1}


@WHEN
def test_a_late_label_is_refused_and_the_default_stands(client: TestClient, job_ran: bool) -> None:
    model = behind_a_default(client, job_ran, late="refuse")
    refused = model.label("p", True, "l")
    assert (refused.status_code, problem(refused)) == (409, "label_too_late")
    assert [flags(entry) for entry in model.log()] == [DEFAULT | {"label": False}]
    assert model.standing("p")[:2] == (False, "default")


def test_a_label_behind_a_default_is_the_first_that_was_given(client: TestClient) -> None:
    model = behind_a_default(client, True, late="learn", duplicates="correct")
    model.labelled("p", True, "first")
    model.labelled("p", False, "second")
    assert [flags(entry) for entry in model.log()[1:]] == [
        REPLACED | {"label": True, "previous": False, "has_features": True},
        CORRECTED | {"label": False, "previous": True},
    ]
    assert model.counts() == {"given": 1, "default": 1, "late": 1, "corrected": 1}
    assert model.standing("p") == (False, "corrected", "second")


# Twice, in time or late.

AT_ANY_TIME = pytest.mark.parametrize("wait_seconds", [0.001, 604_800])


@AT_ANY_TIME
@pytest.mark.parametrize("second", [True, False])
def test_a_second_label_is_refused_whatever_it_says(
    client: TestClient, wait_seconds: float, second: bool
) -> None:
    model = Model(client, wait_seconds=wait_seconds, duplicates="refuse")
    model.predict("p")
    model.labelled("p", True, "first")
    refused = model.label("p", second, "second")
    assert (refused.status_code, problem(refused)) == (409, "already_labelled")
    assert len(model.log()) == 1


@AT_ANY_TIME
def test_the_first_label_is_kept_and_a_second_is_told_so(
    client: TestClient, wait_seconds: float
) -> None:
    model = Model(client, wait_seconds=wait_seconds, duplicates="first")
    model.predict("p")
    model.labelled("p", True, "first")
    same = model.labelled("p", True, "second")
    assert same == {"id": "first", "offset": 2, "duplicate": True}
    for _ in range(2):
        other = model.labelled("p", False, "third")
        assert [warning["code"] for warning in other.pop("warnings")] == ["first_kept"]
        assert other == {"id": "first", "offset": 2, "duplicate": True}
    assert len(model.log()) == 1
    assert model.standing("p") == (True, "given", "first")


@AT_ANY_TIME
def test_a_second_label_corrects_the_first_and_a_third_the_second(
    client: TestClient, wait_seconds: float
) -> None:
    model = Model(client, wait_seconds=wait_seconds, duplicates="correct")
    served = model.predict("p")["prediction"]
    model.labelled("p", served, "first")
    after_one = model.predict("q")["probabilities"]
    assert model.labelled("p", served, "same") == {"id": "first", "offset": 2, "duplicate": True}
    assert model.labelled("p", not served, "other") == {
        "id": "other",
        "offset": 3,
        "duplicate": False,
    }
    assert model.metrics()["since_start"] == model.metrics()["last_1000"] == {"Accuracy": 0.0}
    again = {"id": "other", "offset": 3, "duplicate": True}
    assert model.labelled("p", not served, "same again") == again
    assert model.labelled("p", served, "back") == {"id": "back", "offset": 4, "duplicate": False}
    assert [flags(entry) for entry in model.log()[1:]] == [
        CORRECTED | {"label": not served, "previous": served},
        CORRECTED | {"label": served, "previous": not served},
    ]
    assert [entry["example_offset"] for entry in model.log()[1:]] == [2, 2]
    assert model.metrics()["since_start"] == {"Accuracy": 1.0}
    assert model.counts().items() >= {"given": 1, "corrected": 2}.items()
    told = model.metrics()["counts"]
    assert (told["examples"], told["scored"], told["labelled"]) == (1, 1, 1)
    assert model.predict("r")["probabilities"] == after_one
    assert model.standing("p") == (served, "corrected", "back")


@pytest.mark.parametrize(
    ("task", "first", "second"),
    [
        ("binary", True, 0),
        ("binary", False, 1),
        ("multiclass", "spam", ""),
        ("multiclass", "", "spam"),
        ("multiclass", 0, 1),
        ("regression", 0, 1.5),
        ("regression", 1.5, 0),
    ],
)
def test_false_zero_and_the_empty_string_correct_and_are_corrected(
    client: TestClient, task: str, first: Any, second: Any
) -> None:
    model = Model(client, task, duplicates="correct")
    model.predict("p")
    model.labelled("p", first, "first")
    assert not model.labelled("p", second, "second")["duplicate"]
    assert model.standing("p") == (second, "corrected", "second")
    assert model.labelled("p", second, "third")["id"] == "second"


def test_a_label_is_answered_the_same_under_the_same_id(client: TestClient) -> None:
    model = Model(client, duplicates="correct")
    model.predict("p")
    first = model.labelled("p", True, "first")
    second = model.labelled("p", False, "second")
    for sent in (True, False):
        assert model.labelled("p", sent, "first") == first | {"duplicate": True}
        assert model.labelled("p", sent, "second") == second | {"duplicate": True}
    assert len(model.log()) == 2


def test_an_id_that_was_refused_may_be_used_again(client: TestClient) -> None:
    model = Model(client)
    model.predict("p")
    model.predict("q")
    model.labelled("p", True, "first")
    assert problem(model.label("p", False, "second")) == "already_labelled"
    assert not model.labelled("q", False, "second")["duplicate"]


def test_labels_of_one_batch_are_decided_in_their_order(client: TestClient) -> None:
    model = Model(client, duplicates="correct")
    model.predict("p")
    items = [{"prediction_id": "p", "label": n % 2 == 0, "id": f"l{n}"} for n in range(6)]
    reply = client.post("/v1/models/m/feedback/batch", json={"items": items})
    told = [(item["id"], item["offset"], item["duplicate"]) for item in reply.json()["items"]]
    assert told == [(f"l{n}", n + 2, False) for n in range(6)]
    assert model.counts() == {"given": 1, "corrected": 5}


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


# The rules themselves.


def test_rules_that_are_left_out_are_shown(client: TestClient) -> None:
    expected = {
        "wait_seconds": 604_800.0,
        "default": None,
        "late": "learn",
        "duplicates": "refuse",
        "early_seconds": 5.0,
    }
    assert Model(client).created.json()["labels"] == expected
    assert client.get("/v1/models/m").json()["labels"] == expected


@pytest.mark.parametrize(
    ("task", "default", "taken"),
    [
        ("binary", 0, False),
        ("binary", 1, True),
        ("binary", False, False),
        ("multiclass", "", ""),
        ("multiclass", 0, 0),
        ("multiclass", "0", "0"),
        ("regression", 0, 0),
        ("regression", -1.5, -1.5),
        ("regression", 10**18, 10**18),
        ("anomaly", False, False),
        ("anomaly", True, True),
    ],
)
def test_a_default_is_a_label_of_the_task(
    client: TestClient, task: str, default: Any, taken: Any
) -> None:
    model = Model(client, task, default=default)
    assert model.created.status_code == 201, model.created.text
    assert repr(model.created.json()["labels"]["default"]) == repr(taken)
    created = client.get("/v1/models/m/log").json()["entries"][0]
    assert repr(created["labels"]["default"]) == repr(taken)


@pytest.mark.parametrize(
    ("task", "default"),
    [
        ("binary", "false"),
        ("binary", 2),
        ("binary", 0.0),
        ("binary", ""),
        ("multiclass", True),
        ("multiclass", 1.5),
        ("multiclass", "x" * 1_001),
        ("regression", "0"),
        ("regression", False),
        ("regression", 10**301),
        ("anomaly", 0),
        ("anomaly", "false"),
    ],
)
def test_a_default_that_is_no_label_of_the_task_is_refused(
    client: TestClient, task: str, default: Any
) -> None:
    refused = Model(client, task, default=default).created
    assert (refused.status_code, problem(refused)) == (422, "invalid_label")
    assert [error["place"] for error in refused.json()["errors"]] == ["labels.default"]
    assert client.get("/v1/models/m").status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("wait_seconds", -1),
        ("wait_seconds", 0),
        ("wait_seconds", 315_360_001),
        ("wait_seconds", "soon"),
        ("wait_seconds", None),
        ("early_seconds", -0.1),
        ("early_seconds", 61),
        ("late", "ignore"),
        ("late", None),
        ("duplicates", "last"),
        ("default", []),
        ("default", {"label": True}),
        ("defualt", False),
    ],
)
def test_a_rule_that_cannot_be_is_refused(client: TestClient, field: str, value: Any) -> None:
    refused = Model(client, **{field: value}).created
    assert (refused.status_code, problem(refused)) == (422, "invalid_body")
    assert all(e["place"].startswith(f"labels.{field}") for e in refused.json()["errors"])
    assert client.get("/v1/models/m").status_code == 404


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
def test_a_default_that_is_no_finite_number_is_refused(client: TestClient, number: bytes) -> None:
    body = b'{"name": "m", "task": "regression", "learner": "linear_model.LinearRegression", '
    body += b'"labels": {"default": ' + number + b"}}"
    assert client.post("/v1/models", content=body).status_code == 422


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


# The page.


def test_the_example_of_the_page_runs_and_is_answered_as_it_says(service: Headrace) -> None:
    printed = ""
    for language, text in blocks(PAGES["docs/labels.md"], "sh", "json", "text"):
        if language == "sh":
            headrace_here = (
                f"headrace() {{ {shlex.quote(sys.executable)} -m app "
                f'"$1" --url http://localhost:{service.port} "${{@:2}}"; }}\n'
            )
            printed = shell(headrace_here + text, service)
            assert '"code"' not in printed
        elif language == "json":
            assert json.loads(printed) == json.loads(text)
        else:
            for line in text.splitlines():
                assert line in printed, printed


def test_the_page_says_what_each_rule_is_when_it_is_left_out() -> None:
    page = PAGES["docs/labels.md"]
    said = {row[0].strip("`"): row[1].strip("`") for row in table(page, "rule | as it is left out")}
    found = entries.plain(LabelRules())
    assert said.keys() == found.keys()
    for name, default in found.items():
        shown = "null" if default is None else json.dumps(default).removesuffix(".0")
        assert said[name].startswith(shown), name


def test_the_page_has_every_choice_and_every_count() -> None:
    page = PAGES["docs/labels.md"]
    for choice in (*get_args(LabelRules.__annotations__["late"]), "refuse", "first", "correct"):
        assert f'`"{choice}"`' in page
    counts = {row[0].strip("`") for row in table(page, "count | of")}
    assert counts == set(schemas.LabelCounts.model_fields)
