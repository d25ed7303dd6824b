"""The bare loop is River's own evaluation, and its order of questions and answers is River's."""

import copy
import math
import random
from typing import Any

import pytest
from river import evaluate, metrics
from river.stream import simulate_qa

from learners.evaluation import (
    Row,
    Timed,
    asked_at,
    bare_loop,
    known_after,
    questions_and_answers,
    rows,
)
from learners.scoring import Answer
from learners.spec import build, complete

LOGISTIC = complete(
    ["preprocessing.StandardScaler", "linear_model.LogisticRegression"], "binary", seed=1
)
LINEAR = complete(
    ["preprocessing.StandardScaler", "linear_model.LinearRegression"], "regression", seed=1
)
TREE = complete("tree.HoeffdingTreeClassifier", "binary", seed=1)
LABELS = ["metrics.Accuracy", "metrics.F1"]
SHARES = ["metrics.LogLoss", "metrics.ROCAUC"]


def by_river(stream: Any, spec: Any, name: str, delay: int | None) -> float:
    """What River's own function says of a learner."""
    metric = getattr(metrics, name)()
    return float(evaluate.progressive_val_score(stream, build(spec), metric, delay=delay).get())


@pytest.fixture(scope="module")
def phishing() -> list[Row]:
    return rows("Phishing")


@pytest.mark.parametrize("delay", [None, 0, 1, 50])
def test_metrics_are_those_of_progressive_val_score(phishing: list[Row], delay: int | None) -> None:
    names = ("Accuracy", "F1", "LogLoss", "ROCAUC")
    wanted = {name: by_river(phishing, LOGISTIC, name, delay) for name in names}
    assert bare_loop(phishing, LOGISTIC, [*LABELS, *SHARES], delay=delay) == wanted


def test_a_regression_is_scored_as_river_scores_it() -> None:
    stream = rows("TrumpApproval")
    wanted = {"MAE": by_river(stream, LINEAR, "MAE", 50)}
    assert bare_loop(stream, LINEAR, ["metrics.MAE"], delay=50) == wanted


def test_a_metric_is_the_same_alone_and_among_others(phishing: list[Row]) -> None:
    together = bare_loop(phishing, LOGISTIC, [*LABELS, *SHARES], delay=50)
    for spec in (*LABELS, *SHARES):
        alone = bare_loop(phishing, LOGISTIC, [spec], delay=50)
        assert together.items() >= alone.items()


def test_answers_come_with_their_labels_and_in_their_order(phishing: list[Row]) -> None:
    heard: list[Answer] = []
    bare_loop(phishing, LOGISTIC, [*LABELS, *SHARES], each=heard.append)
    model: Any = build(LOGISTIC)
    wanted: list[Answer] = []
    for x, y in phishing:
        wanted.append(Answer(model.predict_one(x), model.predict_proba_one(x)))
        model.learn_one(x, y)
    assert heard == wanted


def test_an_answer_that_a_learner_does_not_have_yet_is_not_scored(phishing: list[Row]) -> None:
    heard: list[Answer] = []
    stream = [(x, True) for x, _ in phishing[:10]]
    figures = bare_loop(stream, TREE, ["metrics.Accuracy"], each=heard.append)
    assert heard[0] == Answer(None) and heard[1:] == [Answer(True)] * 9
    assert figures == {"Accuracy": 1.0}


def test_probabilities_are_told_only_where_a_metric_wants_them(phishing: list[Row]) -> None:
    heard: list[Answer] = []
    bare_loop(phishing[:5], LOGISTIC, LABELS, each=heard.append)
    assert [answer.probabilities for answer in heard] == [None] * 5


def test_a_stream_that_can_be_walked_once_only_is_enough(phishing: list[Row]) -> None:
    figures = bare_loop(phishing, LOGISTIC, [*LABELS, *SHARES])
    assert bare_loop(iter(phishing), LOGISTIC, [*LABELS, *SHARES]) == figures


@pytest.mark.parametrize("delay", [None, 0, 1, 7, 1_000])
def test_the_order_is_that_of_simulate_qa(delay: int | None) -> None:
    stream: list[Any] = [({"a": i}, i % 3 == 0) for i in range(100)]
    wanted = list(simulate_qa(iter(stream), None, delay))
    assert [tuple(turn) for turn in questions_and_answers(stream, delay=delay)] == wanted


def test_a_label_that_never_comes_leaves_the_order_of_the_others_as_it_was() -> None:
    draw = random.Random(3)
    stream: list[tuple[Timed, bool | None]] = []
    for i in range(500):
        labelled = draw.random() < 0.8
        known = i + draw.randint(0, 40) if labelled else None
        stream.append((Timed({"row": i}, asked=i, known=known), i % 2 == 0 if labelled else None))
    labelled_only = [(x, y) for x, y in stream if y is not None]
    among = [
        (turn.x["row"], turn.y)
        for turn in questions_and_answers(stream, asked_at, known_after)
        if stream[turn.row][1] is not None
    ]
    alone = [
        (turn.x["row"], turn.y)
        for turn in questions_and_answers(labelled_only, asked_at, known_after)
    ]
    assert among == alone
    turns = list(questions_and_answers(stream, asked_at, known_after))
    assert len(turns) == len(stream) + len(labelled_only)


def test_due_labels_are_revealed_before_the_question_the_one_due_first_before_others() -> None:
    stream: list[Row] = [
        (Timed({}, asked=0, known=9), True),
        (Timed({}, asked=1, known=5), True),
        (Timed({}, asked=2, known=5), True),
        (Timed({}, asked=9, known=9), True),
    ]
    turns = questions_and_answers(stream, asked_at, known_after)
    told = [f"{turn.row}{'?' if turn.y is None else '!'}" for turn in turns]
    assert told == ["0?", "1?", "2?", "1!", "2!", "0!", "3?", "3!"]


def test_what_is_timed_is_copied_as_plain_features() -> None:
    copied = copy.deepcopy(Timed({"a": 1}, asked=3, known=None))
    assert type(copied) is dict and copied == {"a": 1}
    assert known_after(Timed({}, asked=3, known=None), None) == math.inf


def test_a_data_set_that_would_be_downloaded_is_refused() -> None:
    with pytest.raises(ValueError, match="does not bring Elec2 along"):
        rows("Elec2")
