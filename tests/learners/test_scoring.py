"""Scores and dispatch that cost less than River's must equal River's, to the last bit."""

import random
from typing import Any

import pytest
from river import base, linear_model, metrics, naive_bayes, preprocessing

from learners.learner import Learner
from learners.scoring import Answer, Scoreboard
from learners.spec import InvalidSpec, Task, build_metric, complete, complete_metrics

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
