"""What a model's entries say of its labels and of what was answered. Pure.

All is a fold over the entries, so that every process, and every replay, says the same.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from itertools import accumulate
from statistics import quantiles

from app.entries import Correction, Example, Label, Served, Task

WINDOW = 1_000
"""Over how many of the newest examples delays are told."""

DELAY_BOUNDS = (1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0)
"""The upper bounds of the histogram of delays, in seconds; the last bucket has none."""


class Monitor:
    """Counts, the labels so far, and how late they came."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.examples = 0
        self.labelled = 0
        self.unlearnable = 0
        self.unanswered = 0
        self.fallbacks = 0
        self.given = 0
        self.defaults = 0
        self.corrected = 0
        self.late = 0
        self.early = 0
        self.recorded = 0
        self.labels: dict[Label, int] = {}
        self.mean = 0.0
        self.delays: deque[float] = deque(maxlen=WINDOW)
        self.delay_counts = [0] * (len(DELAY_BOUNDS) + 1)

    def observe(self, example: Example, at: int, is_frozen: bool = False) -> None:
        """Count an example that was taken in at the instant `at`, in microseconds."""
        label = example.label
        if example.served is not None:
            self._observe_served(example, example.served, at)
        if label is not None:
            self.given += example.origin == "given"
            self.late += example.late
        if example.learned and not is_frozen:
            self._learned(label)
            return
        self.recorded += 1
        if label is not None:
            self._know(label)

    def relearn(self, labels: Iterable[Label | None]) -> None:
        """Examples that were only recorded are learned after all."""
        for label in labels:
            self.recorded -= 1
            self._learned(label)

    def correct(self, correction: Correction, at: int, is_frozen: bool = False) -> None:
        """Count a correction. What the prior says is of what was learned, and stays."""
        served, label = correction.served, correction.label
        self.late += correction.late
        if correction.replaced == "default":
            self.given += 1
            self.labelled += 1
            self._observe_delay(served, at)
            # A default that was right is learned already.
            is_learned = correction.features is not None and not is_frozen
            self.recorded += not is_learned and label != correction.previous
        else:
            self.corrected += 1
        if label is None:
            return
        if correction.features is None or is_frozen:
            self._know(label)
        else:
            self._learned(label)

    def _learned(self, label: Label | None) -> None:
        self.examples += 1
        if label is None:
            return
        if self.task == "regression":
            self.mean += (label - self.mean) / self.examples  # type: ignore[operator]
        else:
            self.labels[label] = self.labels.get(label, 0) + 1

    def _know(self, label: Label) -> None:
        """A label that was seen and not learned."""
        if self.task != "regression":
            self.labels.setdefault(label, 0)

    def _observe_served(self, example: Example, served: Served, at: int) -> None:
        self.defaults += example.origin == "default"
        self.early += example.early
        if example.label is not None and example.origin == "given":
            self.labelled += 1
            self._observe_delay(served, at)
        self.fallbacks += served.fallback
        self.unanswered += served.prediction is None

    def _observe_delay(self, served: Served, at: int) -> None:
        seconds = (at - served.at) / 1e6
        self.delays.append(seconds)
        self.delay_counts[bisect_left(DELAY_BOUNDS, seconds)] += 1

    def prior(self) -> tuple[Label | None, list[tuple[Label, float]] | None]:
        """What the labels so far make most likely, with their shares; for regression their mean.

        Nothing at all before the first label. Of labels as frequent, the first seen is meant.
        """
        if self.task == "regression":
            known = self.examples > 0 and math.isfinite(self.mean)
            return (self.mean if known else None), None
        learned = {label: n for label, n in self.labels.items() if n}
        if not learned:
            return None, None
        total = sum(learned.values())
        likeliest = max(learned, key=lambda label: learned[label])
        return likeliest, [(label, n / total) for label, n in learned.items()]

    def delay_seconds(self) -> dict[str, float] | None:
        """How late the newest labels of predictions came: percentiles, and the latest."""
        if not self.delays:
            return None
        delays = sorted(self.delays)
        if len(delays) == 1:
            delays *= 2
        cuts = quantiles(delays, n=100, method="inclusive")
        return {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": delays[-1]}

    def delay_histogram(self) -> list[tuple[float | None, int]]:
        """How many labels came within so many seconds, for each bound; the last is all of them."""
        return list(zip((*DELAY_BOUNDS, None), accumulate(self.delay_counts), strict=True))
