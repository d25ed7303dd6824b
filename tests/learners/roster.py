"""Every estimator and transformer that a spec may name, each in a spec that makes it work.

A test that runs over the roster names the component that fails. What River requires and gives no
default for is filled in by the parameter's name, or else by its shape.
"""

import hashlib
import json
import random
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from river import base

from learners.assembly import BINARY_INSIDE
from learners.catalogue import catalogue
from learners.parameters import parameters_of
from learners.rehearsal import answer, learn
from learners.shapes import Component, Sequence
from learners.spec import Task, build, complete
from learners.states import dump, lean, load

TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression", "anomaly")

CLASSIFIER = ["preprocessing.StandardScaler", "linear_model.LogisticRegression"]
REGRESSOR = ["preprocessing.StandardScaler", "linear_model.LinearRegression"]

BY_NAME: dict[str, Any] = {
    "budget": 100,
    "by": "city",
    "code_size": 6,
    "how": "stats.Mean",
    "imputers": {"a": "stats.Mean"},
    "mapping": {"a": "z"},
    "on": "a",
    "p": 0.5,
    "policy": {"bandit.EpsilonGreedy": {"epsilon": 0.1}},
    "prefix": "p_",
    "q": 0.9,
    "similarity": "stats.PearsonCorr",
    "size": 20,
    "suffix": "_s",
    "threshold": 0.5,
    "transformer": [{"select": {"type": "number"}}, "preprocessing.StandardScaler"],
    "y_max": 9.0,
    "y_min": -9.0,
}

BY_TASK: dict[str, dict[str, Any]] = {
    "binary": {
        "desired_dist": [[True, 0.5], [False, 0.5]],
        "metric": "metrics.Accuracy",
        "classifier": CLASSIFIER,
    },
    "multiclass": {
        "desired_dist": [["red", 0.3], ["green", 0.3], ["blue", 0.4]],
        "metric": "metrics.Accuracy",
        "classifier": ["preprocessing.StandardScaler", "linear_model.SoftmaxRegression"],
    },
    "regression": {"metric": "metrics.MAE", "classifier": CLASSIFIER},
    "anomaly": {"classifier": CLASSIFIER},
}

ROWS_OF: dict[str, str] = {
    **dict.fromkeys(
        (
            "forest.ARFClassifier",
            "tree.ExtremelyFastDecisionTreeClassifier",
            "tree.HoeffdingAdaptiveTreeClassifier",
            "tree.HoeffdingTreeClassifier",
            "tree.LASTClassifier",
        ),
        "grouped",
    ),
    "compose.Grouper": "grouped",
    "feature_extraction.Agg": "grouped",
    "feature_extraction.BagOfWords": "text",
    "feature_extraction.TFIDF": "text",
    "feature_extraction.TargetAgg": "grouped",
    "preprocessing.FeatureHasher": "categories",
    "preprocessing.GapEncoder": "text",
    "preprocessing.OneHotEncoder": "categories",
    "preprocessing.OrdinalEncoder": "categories",
}


class Case(NamedTuple):
    """A component of River's at work: its name, a spec around it, the task and kind of examples."""

    name: str
    task: Task
    spec: Any
    rows: str

    @property
    def id(self) -> str:
        return f"{self.name}-{self.task}"


def _required(name: str, task: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for parameter in parameters_of(name).values():
        if not parameter.is_required:
            continue
        key, shape = parameter.name, parameter.shape
        if key in BY_TASK[task] and key != "classifier":
            given[key] = BY_TASK[task][key]
        elif key in BY_NAME:
            given[key] = BY_NAME[key]
        else:
            given[key] = _component(shape, "binary" if name in BINARY_INSIDE else task)
    return given


def _component(shape: Any, task: str) -> Any:
    if isinstance(shape, Sequence):
        one = _component(shape.item, task)
        other = "tree.HoeffdingTreeClassifier"
        if shape.item == Component((base.Regressor,)):
            other = "tree.HoeffdingTreeRegressor"
        return [one, other]
    if shape == Component((base.Classifier,)):
        return BY_TASK[task]["classifier"]
    if shape == Component((base.Regressor,)):
        return REGRESSOR
    if shape == Component((base.AnomalyDetector,)):
        return "anomaly.HalfSpaceTrees"
    return "stats.Mean"


def _spec(name: str, task: str) -> dict[str, Any]:
    given = _required(name, task)
    return {name: {**given, "on": "text"} if ROWS_OF.get(name) == "text" else given}


def estimators() -> list[Case]:
    """Every estimator, for every task that it can serve."""
    return [
        Case(entry.name, task, _spec(entry.name, task), ROWS_OF.get(entry.name, "numbers"))
        for entry in catalogue()
        if entry.kind == "estimator"
        for task in TASKS
        if task in entry.tasks
    ]


def transformers() -> list[Case]:
    """Every transformer, in front of a regression."""
    return [
        Case(
            entry.name,
            "regression",
            [_spec(entry.name, "regression"), "linear_model.PARegressor"],
            ROWS_OF.get(entry.name, "numbers"),
        )
        for entry in catalogue()
        if entry.kind == "transformer"
    ]


def all_cases() -> list[Case]:
    return [*estimators(), *transformers()]


def stream(rows: str, task: str, n: int, seed: int = 7) -> Iterator[tuple[dict[str, Any], Any]]:
    """A seeded stream: positive numbers, with what the kind of rows adds or has instead."""
    generator = random.Random(seed)
    words = ["good", "bad", "cheap", "dear", "fast", "slow", "red", "blue"]
    for i in range(n):
        numbers = {name: generator.random() for name in "abcde"}
        signal = numbers["a"] + numbers["b"] - numbers["c"] + (0.5 if i > n // 2 else 0.0)
        text = " ".join(generator.choices(words, k=5))
        city = generator.choice(["oslo", "rome", "lima"])
        x: dict[str, Any] = dict(numbers)
        if rows == "text":
            x = {"text": text}
        elif rows == "categories":
            x = {"city": city, "word": generator.choice(words)}
        elif rows == "grouped":
            x = {**numbers, "city": city}
        if i % 17 == 3:
            x = dict(reversed(x.items()))
        if i % 13 == 5 and rows == "numbers" and i > 50:
            x[f"rare{i % 3}"] = generator.random()
        yield x, _label(signal, task)


def _label(signal: float, task: str) -> Any:
    if task == "binary":
        return signal > 0.6
    if task == "multiclass":
        return "red" if signal < 0.3 else "green" if signal < 0.9 else "blue"
    return None if task == "anomaly" else signal


WAYS = ("plain", "kept", "asked", "unasked")
SLOW = ("ensemble.", "facto.FFM", "facto.HOFM", "forest.ARF", "anomaly.QuantileFilter")


def digest(case: Case, way: str) -> str:
    """What a case's learner answers over the last quarter of a stream, run in one of four ways.

    `plain`; `kept` as bytes in the middle; `asked` much more in between; `unasked` until then.
    """
    learner: Any = build(complete(case.spec, case.task, seed=3))
    n = 80 if case.name.startswith(SLOW) else 240
    said = hashlib.sha256()
    for i, (x, y) in enumerate(stream(case.rows, case.task, n)):
        if way == "kept" and i == n // 2:
            learner = load(lean(dump(learner)))
        if way == "asked" and i % 7 == 0:
            ask(learner, case, i)
        if way != "unasked" or i >= 3 * n // 4:
            answered = repr(said_of(learner, x, case.task))
            if i >= 3 * n // 4:
                said.update(answered.encode())
        learn(learner, x, y, case.task)
    return said.hexdigest()


def said_of(learner: Any, x: dict[str, Any], task: str) -> Any:
    """A prediction and, from a classifier that gives them, the probabilities in their order."""
    said = answer(learner, x, task)
    if task in ("binary", "multiclass"):
        try:
            return said, list(learner.predict_proba_one(x).items())
        except NotImplementedError:
            pass
    return said


def ask(learner: Any, case: Case, i: int) -> None:
    """Predict on other observations, some with features that were never learned."""
    for x, _ in stream(case.rows, case.task, 3, seed=i):
        said_of(learner, x, case.task)
        if case.rows == "numbers":
            said_of(learner, {**x, f"unseen{i}": 1.0}, case.task)


if __name__ == "__main__":
    # Run by the tests in a process of its own: the digests of every case, for the ways named.
    digests = {case.id: [digest(case, way) for way in sys.argv[1:]] for case in all_cases()}
    sys.stdout.write(json.dumps(digests))
