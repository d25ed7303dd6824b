"""Scores and dispatch that cost less than River's must equal River's, to the last bit."""

import pickle
import random
from typing import Any

import pytest
from river import base, linear_model, metrics, naive_bayes, preprocessing

from learners.learner import Learner
from learners.scoring import Answer, Scoreboard
from learners.spec import InvalidSpec, Task, build, build_metric, complete, complete_metrics

LEARNERS: dict[Task, base.Classifier] = {
    "binary": linear_model.LogisticRegression(),
    "multiclass": naive_bayes.GaussianNB(),  # type: ignore[no-untyped-call]
}
LABELS: dict[Task, list[Any]] = {"binary": [True, False], "multiclass": ["a", "b", "", "c"]}
EDGES = [0.0, 1.0, 0.5, 1 / 9, 2 / 9, 1e-16, 1 - 1e-16]


def scored_by(task: Task) -> list[Any]:
    """Every metric that a learner of the task may be scored by, in its stored form."""
    found: list[Any] = []
    for name in metrics.__all__:
        try:
            found += complete_metrics([name], task, LEARNERS[task])
        except InvalidSpec:
            continue
    return found


@pytest.mark.parametrize("count", [1, 2, 50, 1_500])
@pytest.mark.parametrize("task", list(LEARNERS))
def test_figures_equal_rivers_metrics_fed_one_by_one(task: Task, count: int) -> None:
    specs = scored_by(task)
    assert len(specs) > 20
    chance = random.Random(count)
    board, rivers = Scoreboard(specs), [build_metric(spec) for spec in specs]
    for _ in range(count):
        y = chance.choice(LABELS[task])
        shares = {label: chance.choice([chance.random(), *EDGES]) for label in LABELS[task]}
        likeliest = max(shares, key=shares.__getitem__)
        board.update(y, Answer(likeliest, shares))
        for metric in rivers:
            wants_shares = not getattr(metric, "requires_labels", True)
            metric.update(y, shares if wants_shares else likeliest)
    for metric in rivers:
        figure, value = board.figures()[type(metric).__name__], float(metric.get())
        assert figure == value or (figure is None and value != value), metric


def test_dispatch_resolved_once_equals_rivers_pipeline() -> None:
    spec = complete(
        ["preprocessing.StandardScaler", "linear_model.LogisticRegression"], "binary", seed=1
    )
    chance = random.Random(3)
    ours = Learner(spec, "binary", [])
    river = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for _ in range(2_000):
        x: dict[str, Any] = {
            f"f{i}": chance.choice([chance.gauss(0, 1e3), chance.randint(-5, 5), True, 1e15, -0.0])
            for i in range(8)
            if chance.random() < 0.8
        }
        y = chance.random() < 0.5
        shares = ours.predict(dict(x)).probabilities
        expected = river.predict_proba_one(dict(x))
        assert shares is not None
        assert list(shares.items()) == list(expected.items())
        ours.learn(dict(x), y)
        river.learn_one(dict(x), y)


LINEAR: dict[Task, list[Any]] = {
    "binary": [
        "linear_model.LogisticRegression",
        {"linear_model.LogisticRegression": {"l2": 0.1, "intercept_lr": 0.0, "clip_gradient": 0.3}},
        {"linear_model.LogisticRegression": {"l1": 0.01}},
        {"linear_model.LogisticRegression": {"optimizer": {"optim.Adam": {"lr": 0.05}}}},
        {"linear_model.LogisticRegression": {"optimizer": "optim.NesterovMomentum"}},
        {"linear_model.LogisticRegression": {"loss": "optim.losses.Hinge"}},
        {"linear_model.LogisticRegression": {"initializer": {"optim.initializers.Normal": {}}}},
        {
            "linear_model.LogisticRegression": {
                "optimizer": {
                    "optim.SGD": {"lr": {"optim.schedulers.InverseScaling": {"learning_rate": 0.1}}}
                },
                "intercept_lr": {"optim.schedulers.Optimal": {"loss": "optim.losses.Log"}},
            }
        },
    ],
    "regression": [
        "linear_model.LinearRegression",
        {"linear_model.LinearRegression": {"l2": 1, "loss": "optim.losses.Huber"}},
        {"linear_model.LinearRegression": {"optimizer": "optim.AdaGrad"}},
    ],
}


@pytest.mark.parametrize(
    ("task", "final"), [(task, final) for task, finals in LINEAR.items() for final in finals]
)
def test_linear_learning_in_one_call_equals_rivers(task: Task, final: Any) -> None:
    spec = complete(["preprocessing.StandardScaler", final], task, seed=1)
    chance = random.Random(4)
    ours = Learner(spec, task, [])
    river: Any = build(spec)
    for _ in range(500):
        x = {f"f{i}": chance.gauss(0, 10) for i in range(6) if chance.random() < 0.8}
        y: Any = chance.random() < 0.5 if task == "binary" else chance.gauss(0, 5)
        answer = ours.predict(dict(x))
        if task == "binary":
            assert answer.probabilities == river.predict_proba_one(dict(x))
            assert answer.prediction is river.predict_one(dict(x))
        else:
            assert answer.prediction == river.predict_one(dict(x))
        ours.learn(dict(x), y)
        river.learn_one(dict(x), y)
    ours, river = pickle.loads(pickle.dumps((ours, river)))
    assert ours.predict({"f1": 1.5}).prediction == river.predict_one({"f1": 1.5})
