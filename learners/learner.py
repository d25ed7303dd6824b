"""The learner: a River pipeline built from a spec, with its prequential metrics.

Predicting never changes it. Whatever River raises, or answers that is no finite number, leaves
here as `LearnerBroke`; after one from `learn` the learner is half-changed and must be thrown away.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from river import base

from learners.explanation import Explanation, explain
from learners.scoring import Answer, Label, Scoreboard
from learners.spec import Spec, Task, build, gives_probabilities, keeps_null
from learners.straight import calls_of

Features = dict[str, Any]

PLAIN = frozenset([bool, int, float, str])
"""The types of labels that need no conversion."""


class LearnerBroke(Exception):
    """River raised, or answered something that is no finite number."""


class Learner:
    """A learner with no experience.

    Parameters
    ----------
    spec
        In its stored form, as `learners.spec.complete` gives it.
    task
        What kind of labels it learns.
    metrics
        In their stored form, as `learners.spec.complete_metrics` gives them.

    Examples
    --------
    >>> from learners.spec import complete
    >>> spec = complete(["preprocessing.StandardScaler", "linear_model.LinearRegression"],
    ...                 "regression", seed=1)
    >>> learner = Learner(spec, "regression", ["metrics.MAE"])
    >>> for i in range(1000):
    ...     x, y = {"x": i % 10}, 2 * (i % 10)
    ...     learner.score(y, learner.predict(x))
    ...     learner.learn(x, y)
    >>> round(learner.predict({"x": 4}).prediction)
    8

    """

    def __init__(self, spec: Spec, task: Task, metrics: Sequence[Spec]) -> None:
        self.keeps_null = keeps_null(spec)
        self._model: Any = build(spec)
        self._task = task
        self._is_supervised = task != "anomaly"
        self.scores = Scoreboard(metrics)
        self._gives_probabilities = task in ("binary", "multiclass") and gives_probabilities(
            self._model
        )
        steps = getattr(self._model, "steps", None)
        final: Any = list(steps.values())[-1] if steps else self._model
        # The likeliest label is River's own default for a classifier's prediction.
        self._takes_likeliest = (
            self._gives_probabilities
            and _method(final, "predict_one") is base.Classifier.predict_one
        )
        self._classifies = isinstance(final, base.AnomalyFilter)
        self._resolve()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _RESOLVED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._resolve()

    def _resolve(self) -> None:
        self._calls = calls_of(self._model)
        self._share_of_true = getattr(self._calls, "share_of_true", None)

    def memory_bytes(self) -> int:
        """About how much memory the learner takes, by River's own count."""
        return int(self._model._raw_memory_usage)

    def parts(self) -> Iterator[None]:
        """Take a learner that is of no more use apart: a member, or a tree's leaf, at a time."""
        steps = getattr(self._model, "steps", None)
        for step in [self._model] if steps is None else list(steps.values()):
            yield from _parts(step)

    def predict(self, x: Features) -> Answer:
        """Answer features; they are not kept, nor is the learner changed."""
        try:
            answer = self._predict(x)
        except Exception as error:
            raise LearnerBroke(f"{type(error).__name__}: {error}") from error
        except BaseException as error:
            raise _panic(error) from error
        return answer

    def explain(self, x: Features) -> Explanation:
        """What drives the answer to features; nothing where the learner cannot tell."""
        try:
            return explain(self._model, x)
        except Exception:
            # An answer is not worth less because what drove it cannot be shown.
            return Explanation()

    def score(self, y: Label | None, answer: Answer, number: int = 0) -> None:
        """Count what was answered against the label. No answer, or no label, is not scored.

        By its `number` the answer is found again, should its label be corrected.
        """
        if y is None or answer.prediction is None:
            return
        try:
            self.scores.update(y, answer, number)
        except Exception as error:
            raise LearnerBroke(f"{type(error).__name__}: {error}") from error

    def rescore(
        self, y: Label | None, corrected: Label | None, answer: Answer, number: int
    ) -> None:
        """Count the answer of this number against the corrected label, and no longer against `y`.

        What was learned stays as it is.
        """
        if answer.prediction is None:
            return
        try:
            self.scores.correct(y, corrected, answer, number)
        except Exception as error:
            raise LearnerBroke(f"{type(error).__name__}: {error}") from error

    def learn(self, x: Features, y: Label | None) -> None:
        """Learn an example. After `LearnerBroke` the learner is half-changed."""
        try:
            if self._is_supervised:
                self._calls.learn_one(x, y)
            else:
                self._calls.learn_one(x)
        except Exception as error:
            raise LearnerBroke(f"{type(error).__name__}: {error}") from error
        except BaseException as error:
            raise _panic(error) from error

    def _predict(self, x: Features) -> Answer:
        if self._share_of_true is not None:
            share = _finite(self._share_of_true(x))
            rest = 1.0 - share
            return Answer(share > rest, {False: rest, True: share})
        model = self._calls
        if self._task == "anomaly":
            score = _finite(float(model.score_one(x)))
            return Answer(bool(model.classify(score)) if self._classifies else score, None, score)
        if self._task == "regression":
            value = model.predict_one(x)
            return Answer(None if value is None else _finite(float(value)))
        if not self._gives_probabilities:
            return Answer(_plain(model.predict_one(x)))
        shares = _plain_shares(model.predict_proba_one(x))
        if self._takes_likeliest:
            return Answer(_likeliest(shares), shares)
        return Answer(_plain(model.predict_one(x)), shares)


_RESOLVED = frozenset(("_calls", "_share_of_true"))
"""What is no part of a learner's state: it is found from the model."""


def _parts(model: Any) -> Iterator[None]:
    members = getattr(model, "data", None)
    while isinstance(members, list) and members:
        yield from _parts(members.pop())
        yield
    nodes: list[Any] = [getattr(model, "_root", None)]
    while nodes:
        node = nodes.pop()
        if getattr(node, "children", None):
            nodes += node.children
            node.children = []
        del node
        yield


def _method(model: object, name: str) -> object:
    """The function behind a method of a model's class."""
    return getattr(type(model), name, None)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"the answer is {value}")
    return value


def _plain_shares(given: dict[Any, Any]) -> dict[Label, float]:
    """A learner's probabilities, its own no longer, as Python's own types."""
    total = 0.0
    for label, share in given.items():
        if type(share) is not float or type(label) not in PLAIN:
            given = {_plain(name): float(part) for name, part in given.items()}
            total = sum(given.values())
            break
        total += share
    _finite(total)
    return dict(given)


def _likeliest(shares: dict[Label, float]) -> Label | None:
    """The first of the labels with the largest share, as River's classifiers choose it."""
    likeliest, largest = None, -math.inf
    for label, share in shares.items():
        if share > largest:
            likeliest, largest = label, share
    return likeliest


def _plain(label: Any) -> Any:
    """A label as Python's own type, where a learner gives one of NumPy's."""
    return label.item() if hasattr(label, "item") else label


def _panic(error: BaseException) -> BaseException:
    """A panic of River's Rust core, which is no `Exception`; anything else passes as it is."""
    if type(error).__name__ == "PanicException":
        return LearnerBroke(f"PanicException: {error}")
    return error
