"""The learner: predicting changes nothing, what breaks says so, answers are plain and finite."""

from typing import Any

import pytest

from learners.learner import Learner, LearnerBroke
from learners.scoring import Answer
from learners.spec import complete

SCALED = "preprocessing.StandardScaler"
LOGISTIC = [SCALED, "linear_model.LogisticRegression"]
LINEAR = [SCALED, "linear_model.LinearRegression"]
TREE = "tree.HoeffdingTreeClassifier"


def learner_of(spec: Any, task: Any, *metrics: str) -> Learner:
    """A learner without experience."""
    return Learner(complete(spec, task, seed=5), task, list(metrics))


def taught(spec: Any, task: Any, labels: list[Any], *metrics: str) -> Learner:
    """A learner that learned an example for each label."""
    learner = learner_of(spec, task, *metrics)
    for i, y in enumerate(labels):
        x = {"a": i % 5, "b": 0.5 * i}
        learner.learn(x, y)
    return learner


@pytest.mark.parametrize(
    ("spec", "task", "answer"),
    [
        (LOGISTIC, "binary", Answer(False, {False: 0.5, True: 0.5})),
        (TREE, "binary", Answer(None, {})),
        (LINEAR, "regression", Answer(0.0)),
        (TREE, "multiclass", Answer(None, {})),
        ("anomaly.HalfSpaceTrees", "anomaly", Answer(0.0, None, 0.0)),
    ],
)
def test_a_learner_without_experience_says_what_river_says(
    spec: Any, task: Any, answer: Answer
) -> None:
    assert learner_of(spec, task).predict({"a": 1, "b": 2}) == answer


def test_a_classifier_answers_the_likeliest_label_and_all_shares() -> None:
    answer = taught("naive_bayes.GaussianNB", "multiclass", ["x", "y", "z"] * 20).predict(
        {"a": 1, "b": 7.0}
    )
    assert answer.probabilities is not None
    assert answer.prediction == max(answer.probabilities, key=lambda y: answer.probabilities[y])  # type: ignore[index]
    assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_integer_labels_are_answered_as_integers() -> None:
    answer = taught(TREE, "multiclass", [3, 5, 3, 5, 3]).predict({"a": 1, "b": 0.5})
    assert answer.probabilities is not None
    assert type(answer.prediction) is int
    assert {type(label) for label in answer.probabilities} == {int}


def test_a_classifier_without_probabilities_answers_a_label_only() -> None:
    spec = [SCALED, {"multiclass.OneVsRestClassifier": {"classifier": "linear_model.PAClassifier"}}]
    learner = taught([SCALED, "linear_model.PAClassifier"], "binary", [True, False] * 9)
    assert learner.predict({"a": 1, "b": 2}).prediction in (True, False)
    many = taught(spec, "multiclass", ["x", "y", "z"] * 9)
    assert many.predict({"a": 1, "b": 2}).prediction in ("x", "y", "z")


def test_an_anomaly_filter_answers_a_verdict_with_its_score() -> None:
    spec = {
        "anomaly.ThresholdFilter": {"anomaly_detector": "anomaly.HalfSpaceTrees", "threshold": 0.5}
    }
    answer = taught(spec, "anomaly", [None] * 20).predict({"a": 1, "b": 2})
    assert isinstance(answer.prediction, bool)
    assert isinstance(answer.score, float)


def test_numbers_of_numpy_are_answered_as_pythons() -> None:
    spec = [SCALED, "linear_model.BayesianLinearRegression"]
    assert type(taught(spec, "regression", [1.0, 2.0, 3.0]).predict({"a": 1}).prediction) is float


@pytest.mark.parametrize(
    ("spec", "task", "labels"),
    [
        (LOGISTIC, "binary", [True, False] * 20),
        ("forest.ARFClassifier", "multiclass", ["x", "y", "z"] * 20),
        ("neighbors.KNNClassifier", "binary", [True, False] * 20),
        ([SCALED, "facto.FMRegressor"], "regression", [1.0, 2.0] * 20),
        ("anomaly.HalfSpaceTrees", "anomaly", [None] * 40),
    ],
)
def test_predicting_never_changes_a_learner(spec: Any, task: Any, labels: list[Any]) -> None:
    asked, unasked = taught(spec, task, labels), taught(spec, task, labels)
    for i in range(10):
        asked.predict({"a": i, f"new{i}": 1.0, "city": 2})
    for y in labels[:10]:
        asked.learn({"a": 3, "b": 1.0}, y)
        unasked.learn({"a": 3, "b": 1.0}, y)
    for i in range(5):
        assert asked.predict({"a": i, "b": 1.5}) == unasked.predict({"a": i, "b": 1.5})


def test_shares_that_were_answered_are_not_the_learners_own() -> None:
    learner = taught("dummy.PriorClassifier", "binary", [True, False, True])
    first = learner.predict({"a": 1})
    assert first.probabilities
    first.probabilities.clear()
    assert learner.predict({"a": 1}).probabilities == {True: 2 / 3, False: 1 / 3}


@pytest.mark.parametrize(
    ("x", "y"),
    [({"a": "text", "b": 1.0}, 1.0), ({"a": [1], "b": 1.0}, 1.0), ({"a": 1, "b": 1.0}, 1e300)],
)
def test_what_river_raises_while_learning_leaves_as_one_error(x: Any, y: Any) -> None:
    learner = taught([SCALED, "tree.HoeffdingTreeRegressor"], "regression", [1.0, 2.0] * 20)
    with pytest.raises(LearnerBroke, match=r"^(TypeError|OverflowError): "):
        learner.learn(x, y)


def test_what_river_raises_while_predicting_leaves_as_one_error() -> None:
    learner = taught(LINEAR, "regression", [1.0, 2.0])
    with pytest.raises(LearnerBroke, match=r"^TypeError: "):
        learner.predict({"a": "text"})


def test_what_a_metric_raises_leaves_as_one_error() -> None:
    learner = learner_of(LINEAR, "regression", "metrics.MSE")
    with pytest.raises(LearnerBroke, match=r"^OverflowError: "):
        learner.score(1e300, Answer(0.0))


def test_an_answer_that_is_not_finite_is_an_error() -> None:
    binary = taught(["preprocessing.MinMaxScaler", LOGISTIC[1]], "binary", [True, False] * 3)
    regression = taught(["preprocessing.MinMaxScaler", LINEAR[1]], "regression", [1.0, 2.0] * 3)
    for learner in (binary, regression):
        with pytest.raises(LearnerBroke, match=r"^ValueError: the answer is nan"):
            learner.predict({"a": 1, "b": 1, "new": 2})


def test_no_answer_and_no_label_are_not_scored() -> None:
    learner = learner_of(TREE, "binary", "metrics.Accuracy")
    learner.score(True, Answer(None, {}))
    learner.score(None, Answer(True))
    assert learner.scores.scored == 0
    learner.score(False, Answer(False))
    assert learner.scores.figures() == {"Accuracy": 1.0}


def test_an_anomaly_detector_learns_without_labels_and_is_scored_with_them() -> None:
    spec = ["preprocessing.MinMaxScaler", "anomaly.HalfSpaceTrees"]
    learner = taught(spec, "anomaly", [None] * 20, "metrics.ROCAUC")
    for y in (None, True, False, None):
        learner.score(y, learner.predict({"a": 1, "b": 2.0}))
    assert learner.scores.scored == 2


def test_only_a_learner_with_an_imputer_sees_what_is_missing() -> None:
    assert learner_of(["preprocessing.PreviousImputer", *LINEAR], "regression").keeps_null
    assert not learner_of(LINEAR, "regression").keeps_null
