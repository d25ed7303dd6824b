"""Prequential scores: River's metrics, fed one answer at a time, at a third of the cost.

The figures equal those of River's metrics fed one by one, to the last bit:

- metrics that only count label against prediction share one confusion matrix, which is brought up
  to date when a figure is asked for;
- the logarithmic loss keeps its running mean itself;
- the area under the ROC curve counts how many thresholds each answer lies above, once, where
  River's own updates a confusion matrix for every threshold.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from river import metrics as river_metrics

from learners.scores import build_metric

Label = bool | int | float | str

metrics: Any = river_metrics
"""River's metrics, whose signatures say no types."""

WINDOW = 1_000
"""Over how many of the newest scored examples the recent figures are told."""


SHARE_MIN, SHARE_MAX = 1e-15, 1 - 1e-15
"""Shares are taken to be at least this far from 0 and 1, so that their logarithms are finite."""


class Answer(NamedTuple):
    """What a learner says of features. `prediction` is None before it can say anything.

    `probabilities` has a share for each label that the learner gives one; `score` is an anomaly's.
    """

    prediction: Label | None
    probabilities: dict[Label, float] | None = None
    score: float | None = None


class Scoreboard:
    """The metrics of one learner.

    Parameters
    ----------
    specs
        In their stored form, as `learners.spec.complete_metrics` gives them.

    Examples
    --------
    >>> board = Scoreboard(["metrics.Accuracy", "metrics.F1"])
    >>> board.update(True, Answer(True))
    >>> board.update(False, Answer(True))
    >>> board.figures()
    {'Accuracy': 0.5, 'F1': 0.6666666666666666}

    """

    def __init__(self, specs: Sequence[Any]) -> None:
        self._specs = list(specs)
        self._metrics: list[Any] = []
        self._on_labels: list[Any] = []
        self._on_shares: list[Any] = []
        self._matrix = metrics.ConfusionMatrix()
        self._counts_labels = False
        self._uncounted: dict[tuple[Label, Label | None], int] = {}
        self._recent: deque[tuple[int, Label, Answer]] = deque(maxlen=WINDOW)
        self.scored = 0
        for spec in self._specs:
            self._add(build_metric(spec))

    def update(self, y: Label, answer: Answer, number: int = 0) -> None:
        """Score an answer as River's own evaluation does: on the label, or on the shares.

        By its `number` it is found again, should its label be corrected.
        """
        self._score(y, answer)
        self._recent.append((number, y, answer))

    def correct(
        self, y: Label | None, corrected: Label | None, answer: Answer, number: int
    ) -> None:
        """Score the answer of this number on another label; None is no label, and no score."""
        # In this order, because some of River's metrics cannot take back the only answer.
        if corrected is not None:
            self._score(corrected, answer)
        if y is not None:
            self._take_back(y, answer)
        place = next((i for i, scored in enumerate(self._recent) if scored[0] == number), None)
        if place is not None and corrected is not None:
            self._recent[place] = (number, corrected, answer)
        elif place is not None:
            del self._recent[place]
        elif y is None and corrected is not None:
            self._recent.append((number, corrected, answer))

    def _score(self, y: Label, answer: Answer) -> None:
        prediction, shares, _ = answer
        if self._counts_labels:
            pair = y, prediction
            self._uncounted[pair] = self._uncounted.get(pair, 0) + 1
        for metric in self._on_labels:
            metric.update(y, prediction)
        if shares != {}:
            for metric in self._on_shares:
                metric.update(y, prediction if shares is None else shares)
        self.scored += 1

    def _take_back(self, y: Label, answer: Answer) -> None:
        prediction, shares, _ = answer
        if self._counts_labels:
            pair = y, prediction
            self._uncounted[pair] = self._uncounted.get(pair, 0) - 1
        for metric in self._on_labels:
            _revert(metric, y, prediction)
        if shares != {}:
            for metric in self._on_shares:
                metric.revert(y, prediction if shares is None else shares)
        self.scored -= 1

    def figures(self) -> dict[str, float | None]:
        """The metrics since the start, by River's names.

        None where one is not finite, and everywhere before anything was scored.
        """
        self._count()
        return {_name(m): _figure(m) if self.scored else None for m in self._metrics}

    def recent_figures(self) -> dict[str, float | None]:
        """The metrics over the newest scored examples, at most `WINDOW`."""
        board = Scoreboard(self._specs)
        for number, y, answer in self._recent:
            board.update(y, answer, number)
        return board.figures()

    def _count(self) -> None:
        """Bring the matrix up to date: counts in one go are as exact as one by one, and cheaper."""
        for (y, prediction), n in self._uncounted.items():
            self._matrix.update(y, prediction, n)
            self._matrix.n_samples += n - 1
        self._uncounted.clear()

    def _add(self, metric: Any) -> None:
        kept = metric
        if type(metric) is metrics.LogLoss:
            kept = Loss()
            self._on_shares.append(kept)
        elif type(metric) is metrics.ROCAUC:
            kept = Curve(metric.n_thresholds, metric.pos_val)
            self._on_shares.append(kept)
        elif isinstance(metric, metrics.base.ClassificationMetric) and not metric.requires_labels:
            self._on_shares.append(metric)
        elif _only_counts(metric):
            _share(metric, self._matrix)
            self._counts_labels = True
        else:
            self._on_labels.append(metric)
        self._metrics.append(kept)


class Loss:
    """The logarithmic loss, as `metrics.LogLoss` has it, without its calls within calls."""

    name = "LogLoss"

    def __init__(self) -> None:
        self._n = 0.0
        self._mean = 0.0

    def update(self, y_true: Any, y_pred: Any) -> None:
        """Count an answer: the share of True, by the running mean's own arithmetic."""
        self._n += 1.0
        self._mean += (1.0 / self._n) * (_loss(y_true, y_pred) - self._mean)

    def revert(self, y_true: Any, y_pred: Any) -> None:
        """Take an answer back that was counted."""
        self._n -= 1.0
        if self._n:
            self._mean -= (1.0 / self._n) * (_loss(y_true, y_pred) - self._mean)
        else:
            self._mean = 0.0

    def get(self) -> float:
        """The mean loss."""
        return self._mean


def _loss(y_true: Any, y_pred: Any) -> float:
    share = y_pred.get(True, 0.0) if isinstance(y_pred, dict) else y_pred
    if not SHARE_MIN <= share <= SHARE_MAX:
        share = min(max(share, SHARE_MIN), SHARE_MAX)
    return -math.log(share) if y_true else -math.log(1 - share)


class Curve:
    """The area under the ROC curve, as `metrics.ROCAUC` has it.

    Parameters
    ----------
    n_thresholds
        How many thresholds the curve is drawn through.
    pos_val
        The label that is meant by positive.

    """

    name = "ROCAUC"

    def __init__(self, n_thresholds: int, pos_val: Any) -> None:
        self._n_thresholds = n_thresholds
        self._pos_val = pos_val
        self._thresholds: list[float] = metrics.ROCAUC(n_thresholds, pos_val).thresholds
        # How many positives, and others, lie above exactly so many thresholds.
        self._above: dict[bool, list[int]] = {
            positive: [0] * (n_thresholds + 1) for positive in (True, False)
        }

    def update(self, y_true: Any, y_pred: Any, n: int = 1) -> None:
        """Count an answer: the share of True, or a score."""
        share = y_pred.get(True, 0.0) if isinstance(y_pred, dict) else y_pred
        self._above[y_true == self._pos_val][bisect_left(self._thresholds, share)] += n

    def revert(self, y_true: Any, y_pred: Any) -> None:
        """Take an answer back that was counted."""
        self.update(y_true, y_pred, -1)

    def get(self) -> float:
        """The area, from a metric of River's that is given the counts."""
        metric = metrics.ROCAUC(self._n_thresholds, self._pos_val)
        for i, matrix in enumerate(metric.cms):
            for positive, counts in self._above.items():
                above, below = sum(counts[i + 1 :]), sum(counts[: i + 1])
                if above:
                    matrix.update(positive, True, above)
                if below:
                    matrix.update(positive, False, below)
        return float(metric.get())


def _only_counts(metric: Any) -> bool:
    """Whether a metric does no more than count labels against predictions.

    One with another positive value than True counts other labels, and keeps its own matrix.
    """
    if not isinstance(metric, metrics.base.ClassificationMetric):
        return False
    plain = type(metric).update in (
        metrics.base.ClassificationMetric.update,
        metrics.base.BinaryMetric.update,
    )
    return plain and getattr(metric, "pos_val", True) is True


def _share(metric: Any, matrix: Any) -> None:
    """Let a metric, and those that it is made of, read from one matrix."""
    metric.cm = matrix
    for part in vars(metric).values():
        if getattr(part, "cm", matrix) is not matrix:
            _share(part, matrix)


def _revert(metric: Any, y: Any, prediction: Any) -> None:
    """Take an answer back; of River's own RMSLE as it was counted, by the logarithms."""
    if type(metric) is metrics.RMSLE:
        y, prediction = math.log(y + 1), math.log(prediction + 1)
    metric.revert(y, prediction)


def _name(metric: Any) -> str:
    return metric.name if isinstance(metric, Curve | Loss) else type(metric).__name__


def _figure(metric: Any) -> float | None:
    found = metric.get()
    # The root of a mean that corrections brought a rounding error below zero.
    found = found.real if isinstance(found, complex) else found
    # River's area under a curve without area is -0.0; adding zero takes the sign off.
    value = float(found) + 0.0
    return value if math.isfinite(value) else None
