"""What a model's entries say of its labels and of what was answered. Pure.

All is a fold over the entries, so that every process, and every replay, says the same.
"""

import math
from collections import deque
from statistics import quantiles

from app.entries import Example, Label, Task

WINDOW = 1_000
"""Over how many of the newest examples delays are told."""


class Monitor:
    """Counts, the labels so far, and how late they came."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.examples = 0
        self.labelled = 0
        self.unlearnable = 0
        self.unanswered = 0
        self.fallbacks = 0
        self.labels: dict[Label, int] = {}
        self.mean = 0.0
        self.delays: deque[float] = deque(maxlen=WINDOW)

    def observe(self, example: Example, at: int) -> None:
        """Count an example that was taken in at the instant `at`, in microseconds."""
        self.examples += 1
        served = example.served
        if served is not None:
            if example.label is not None:
                self.labelled += 1
                self.delays.append((at - served.at) / 1e6)
            self.fallbacks += served.fallback
            self.unanswered += served.prediction is None
        label = example.label
        if label is None:
            return
        if self.task == "regression":
            self.mean += (label - self.mean) / self.examples  # type: ignore[operator]
        else:
            self.labels[label] = self.labels.get(label, 0) + 1

    def prior(self) -> tuple[Label | None, list[tuple[Label, float]] | None]:
        """What the labels so far make most likely, with their shares; for regression their mean.

        Nothing at all before the first label. Of labels as frequent, the first seen is meant.
        """
        if self.task == "regression":
            known = self.examples > 0 and math.isfinite(self.mean)
            return (self.mean if known else None), None
        if not self.labels:
            return None, None
        total = sum(self.labels.values())
        likeliest = max(self.labels, key=lambda label: self.labels[label])
        return likeliest, [(label, n / total) for label, n in self.labels.items()]

    def delay_seconds(self) -> dict[str, float] | None:
        """How late the newest labels of predictions came: percentiles, and the latest."""
        if not self.delays:
            return None
        delays = sorted(self.delays)
        if len(delays) == 1:
            delays *= 2
        cuts = quantiles(delays, n=100, method="inclusive")
        return {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": delays[-1]}
