"""The bare River loop: what a learner answers and scores over a stream, by River's own evaluation.

What the service answers is held against this. A stream is rows of features with their label; where
labels come late, rows are asked and answered in the order of `questions_and_answers`, which is that
of River's evaluation:

    at each question, the answers that are due are revealed first, the one due first before others
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from river import base, datasets, evaluate, metrics
from river.stream import simulate_qa

from learners.learner import Features
from learners.scoring import Answer, Label
from learners.spec import Spec, build, build_metric

Row = tuple[Features, Label]
Moment = str | Callable[[Any], Any]
Delay = str | int | timedelta | Callable[[Any, Any], Any]


class Turn(NamedTuple):
    """A question, if `y` is None, or the answer to an earlier one; `row` is its place, from 0."""

    row: int
    x: Features
    y: Label | None


class Timed(dict[str, Any]):
    """Features, with when they are asked about and when their label is known, in one unit.

    Neither is a feature. A label that never comes is known at None.

    Parameters
    ----------
    x
        The features.
    asked
        When the question is put.
    known
        When the label is there, not before `asked`.

    Examples
    --------
    >>> slow, fast = Timed({"a": 1}, asked=0, known=60), Timed({"a": 2}, asked=5, known=20)
    >>> stream = [(slow, True), (fast, False), (Timed({"a": 3}, asked=30, known=None), None)]
    >>> for turn in questions_and_answers(stream, asked_at, known_after):
    ...     print(turn.row, "answer" if turn.y is not None else "question")
    0 question
    1 question
    1 answer
    2 question
    0 answer

    """

    __slots__ = ("asked", "known")

    def __init__(self, x: Features, asked: float, known: float | None) -> None:
        super().__init__(x)
        self.asked = asked
        self.known = known

    def __deepcopy__(self, memo: dict[int, Any]) -> Features:
        """A plain copy: River copies every question, and a value of a feature cannot change."""
        return dict(self)


def asked_at(x: Timed) -> float:
    """When a row is asked about, for `moment`."""
    return x.asked


def known_after(x: Timed, _y: object) -> float:
    """How long after the question a row's label is known, for `delay`; for ever, if never."""
    return math.inf if x.known is None else x.known - x.asked


class _Never:
    """Stands for a label that never comes: River takes None for the question itself."""


NEVER = _Never()


def questions_and_answers(
    stream: Iterable[tuple[Features, Label | None]],
    moment: Moment | None = None,
    delay: Delay | None = None,
) -> Iterator[Turn]:
    """The order in which a stream is asked and answered.

    Parameters
    ----------
    stream
        Features with their label, in the order of the questions; a row whose label is None is
        asked about and never answered.
    moment
        When a row is asked about: a feature's name, or a function of the features; its place in
        the stream, if left out.
    delay
        How long its label takes: a number of rows, a `timedelta`, a feature's name, or a function
        of the features and the label. Left out, each answer follows its question.

    Examples
    --------
    >>> stream = [({"a": 1}, True), ({"a": 2}, False), ({"a": 3}, True)]
    >>> [(turn.row, turn.y) for turn in questions_and_answers(stream, delay=2)]
    [(0, None), (1, None), (0, True), (2, None), (1, False), (2, True)]

    """
    marked: Any = ((x, NEVER if y is None else y) for x, y in stream)
    for row, x, y in simulate_qa(marked, moment, delay, copy=False):
        if y is not NEVER:
            yield Turn(row, x, y)


def bare_loop(
    stream: Iterable[Row],
    spec: Spec,
    metric_specs: Sequence[Spec],
    moment: Moment | None = None,
    delay: Delay | None = None,
    each: Callable[[Answer], None] | None = None,
) -> dict[str, float | None]:
    """River's progressive validation of a learner: the final metrics, by River's names.

    A classifier is run once for the metrics of labels and once, from its beginning, for those of
    probabilities, as River itself would.

    Parameters
    ----------
    stream
        Features with their label, in the order of the questions.
    spec
        The learner, in its stored form.
    metric_specs
        The metrics, in their stored form.
    moment, delay
        As `questions_and_answers` takes them.
    each
        Called with every answer, in the order in which the labels come. Probabilities are told
        only where one of the metrics wants them.

    Returns
    -------
    dict
        The metrics; None for one that is not finite.

    Examples
    --------
    >>> from learners.spec import complete
    >>> spec = complete(["preprocessing.StandardScaler", "linear_model.LogisticRegression"],
    ...                 "binary", seed=1)
    >>> wanted = ["metrics.Accuracy", "metrics.ROCAUC"]
    >>> {name: round(value, 4) for name, value in bare_loop(rows("Phishing"), spec, wanted).items()}
    {'Accuracy': 0.8928, 'ROCAUC': 0.9507}
    >>> late = bare_loop(rows("Phishing"), spec, wanted, delay=50)
    >>> {name: round(value, 4) for name, value in late.items()}
    {'Accuracy': 0.88, 'ROCAUC': 0.9428}

    """
    held = stream if isinstance(stream, Sequence) else list(stream)
    scores = [build_metric(metric) for metric in metric_specs]
    by_label = [score for score in scores if not _wants_probabilities(spec, score)]
    by_probability = [score for score in scores if _wants_probabilities(spec, score)]
    predictions = _answers(held, spec, by_label, moment, delay)
    if by_probability:
        shares = _answers(held, spec, by_probability, moment, delay)
        answers = map(Answer, predictions, shares)
    else:
        answers = map(Answer, predictions)
    for answer in answers:
        if each is not None:
            each(answer)
    return {type(score).__name__: _figure(score) for score in scores}


def rows(name: str) -> list[Row]:
    """The rows of a data set that River brings along.

    Examples
    --------
    >>> len(rows("ChickWeights")), rows("ChickWeights")[0]
    (578, ({'time': 0, 'chick': 1, 'diet': 1}, 42))

    """
    dataset = getattr(datasets, name)()
    if not isinstance(dataset, datasets.base.FileDataset) or isinstance(
        dataset, datasets.base.RemoteDataset
    ):
        raise ValueError(f"River does not bring {name} along: name a data set that it does.")
    return list(dataset)


class _Together(metrics.base.Metrics):
    """Metrics that take the same answers, each as it would alone; some know no weights."""

    def update(self, y_true: Any, y_pred: Any, w: float = 1.0) -> None:
        for score in self:
            score.update(y_true, y_pred)


def _answers(
    stream: Any,
    spec: Spec,
    scores: list[Any],
    moment: Moment | None,
    delay: Delay | None,
) -> Iterator[Any]:
    """One pass of River's evaluation by a new learner: each answer, as its label comes."""
    steps = evaluate.iter_progressive_val_score(
        stream,
        build(spec),
        _Together(scores),  # type: ignore[no-untyped-call]
        moment=moment,
        delay=delay,
        yield_predictions=True,
    )
    return (step["Prediction"] for step in steps)


def _wants_probabilities(spec: Spec, score: Any) -> bool:
    """Whether River scores this learner's probabilities by the metric."""
    return isinstance(build(spec), base.Classifier) and not score.requires_labels


def _figure(score: Any) -> float | None:
    value = float(score.get())
    return value if math.isfinite(value) else None
