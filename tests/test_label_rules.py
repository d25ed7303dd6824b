"""Each rule for labels that are in time, late, twice or never, as a caller meets it."""

import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.conftest import problem
from tests.labelling import (
    CORRECTED,
    DEFAULT,
    IN_TIME,
    LATE,
    PASSED,
    REPLACED,
    Model,
    flags,
)

pytestmark = pytest.mark.usefixtures("backend")

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
