"""The learner: a River pipeline built from a spec, with its prequential metrics.

Predicting never changes it. Whatever River raises, or answers that is no finite number, leaves
here as `LearnerBroke`; after one from `learn` the learner is half-changed and must be thrown away.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from river import base, compose, linear_model, preprocessing
from river.utils import VectorDict

from learners.scoring import Answer, Label, Scoreboard
from learners.spec import Spec, Task, build, gives_probabilities, keeps_null

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
        self._calls = _calls(self._model)
        steps = getattr(self._model, "steps", None)
        final: Any = list(steps.values())[-1] if steps else self._model
        # The likeliest label is River's own default for a classifier's prediction.
        self._takes_likeliest = (
            self._gives_probabilities
            and _method(final, "predict_one") is base.Classifier.predict_one
        )
        self._classifies = isinstance(final, base.AnomalyFilter)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_calls"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._calls = _calls(self._model)

    def memory_bytes(self) -> int:
        """About how much memory the learner takes, by River's own count."""
        return int(self._model._raw_memory_usage)

    def parts(self) -> Iterator[None]:
        """Take a learner that is of no more use apart: a member of each ensemble at a time."""
        steps = getattr(self._model, "steps", None)
        for step in [self._model] if steps is None else list(steps.values()):
            members = getattr(step, "data", None)
            while isinstance(members, list) and members:
                members.pop()
                yield

    def predict(self, x: Features) -> Answer:
        """Answer features; they are not kept, nor is the learner changed."""
        try:
            answer = self._predict(x)
        except Exception as error:
            raise LearnerBroke(f"{type(error).__name__}: {error}") from error
        except BaseException as error:
            raise _panic(error) from error
        return answer

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


class Straight:
    """A pipeline of plain transformers and a final estimator, its dispatch resolved once.

    It does the same in the same order as `compose.Pipeline`, so that nothing differs but the time:
    two fifths less for a scaler and a linear model.
    """

    def __init__(self, pipeline: Any) -> None:
        *transformers, final = pipeline.steps.values()
        self._transforms = [step.transform_one for step in transformers]
        self._learns = [
            (None, _fused_scaler(step), False)
            if _is_plain_scaler(step)
            else (step.learn_one, step.transform_one, step._supervised)
            for step in transformers
        ]
        self._learn: Any = _fused_linear(final) if _is_plain_linear(final) else final.learn_one
        self._is_supervised = final._supervised
        self.predict_one = self._after_transforms(getattr(final, "predict_one", None))
        self.predict_proba_one = self._after_transforms(getattr(final, "predict_proba_one", None))
        self.score_one = self._after_transforms(getattr(final, "score_one", None))
        self.classify = getattr(final, "classify", None)

    def learn_one(self, x: Features, y: Label | None = None) -> None:
        """Learn an example, each transformer before what comes after it."""
        for learn, transform, is_supervised in self._learns:
            if learn is None:
                x = transform(x)
            elif is_supervised:
                before, x = x, transform(x)
                learn(before, y)
            else:
                learn(x)
                x = transform(x)
        if self._is_supervised:
            self._learn(x, y)
        else:
            self._learn(x)

    def _after_transforms(self, answer: Any) -> Any:
        transforms = self._transforms
        if len(transforms) == 1:
            transform = transforms[0]

            def once(x: Features) -> Any:
                return answer(transform(x))

            return once

        def call(x: Features) -> Any:
            for transform in transforms:
                x = transform(x)
            return answer(x)

        return call


def _is_plain_scaler(step: Any) -> bool:
    return type(step) is preprocessing.StandardScaler and step.with_std and step.window_size is None


def _fused_scaler(scaler: Any) -> Callable[[Features], Features]:
    """A scaler's learning and transforming in one pass, by River's own arithmetic."""
    counts, means, variances = scaler.counts, scaler.means, scaler.vars

    def learned(x: Features) -> Features:
        scaled = {}
        for name, value in x.items():
            counts[name] = n = counts[name] + 1
            before = means[name]
            means[name] = mean = before + (value - before) / n
            old = variances[name]
            new = old + ((value - before) * (value - mean) - old) / n
            variances[name] = new
            scaled[name] = (value - mean) / new**0.5 if new else 0.0
        return scaled

    return learned


def _is_plain_linear(final: Any) -> bool:
    plain = (linear_model.LogisticRegression, linear_model.LinearRegression)
    return type(final) in plain and final.l1 == 0


def _fused_linear(final: Any) -> Callable[[Features, Any], None]:
    """A linear model's learning in one call, by River's own arithmetic."""
    optimizer, gradient_of, lr_of = final.optimizer, final.loss.gradient, final.intercept_lr.get
    look_ahead, step = optimizer.look_ahead, optimizer.step
    initializer, l2, clip = final.initializer, final.l2, final.clip_gradient

    def learn(x: Features, y: Any) -> None:
        weights: Any = VectorDict(final._weights, initializer, x)
        look_ahead(w=weights)
        slope = gradient_of(y, weights.dot(x) + final.intercept)
        slope = float(max(min(slope, clip), -clip))
        gradient = VectorDict.from_scaled(x, slope)
        if l2:
            gradient.iadd_scaled(weights, l2)
        final.intercept -= lr_of(optimizer.n_iterations) * slope
        step(w=weights, g=gradient)

    return learn


def _method(model: object, name: str) -> object:
    """The function behind a method of a model's class."""
    return getattr(type(model), name, None)


def _calls(model: Any) -> Any:
    """What a learner's calls go to: the model itself, or its dispatch resolved once."""
    return Straight(model) if _is_straight(model) else model


def _is_straight(model: object) -> bool:
    """Whether a model is a pipeline without branches and filters."""
    if type(model) is not compose.Pipeline:
        return False
    *transformers, final = model.steps.values()
    return all(
        isinstance(step, base.Transformer)
        and not isinstance(step, compose.TransformerUnion | compose.TransformerProduct)
        for step in transformers
    ) and not isinstance(final, base.Transformer | compose.Pipeline)


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
