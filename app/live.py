"""The fold: a live model is what its log's entries make of it, one after the other. Pure.

`apply` is the only thing that changes a live model, and the entries decide all: the same entries
give the same model, to the last bit, in any process. Two things may happen while applying:

- the learner breaks on an example: `Broke` is raised, the learner is half-changed and no longer
  asked, and whoever applies builds the model again with this offset among `dropped`;
- anything else is raised: a bug, and the model must stop answering.
"""

from collections.abc import Mapping
from typing import NamedTuple

from app.entries import (
    Correction,
    Created,
    Entry,
    Example,
    Features,
    FeatureType,
    Label,
    Served,
    Unlearnable,
)
from app.features import without_missing
from app.monitoring import Monitor
from learners.cost import widest
from learners.learner import Learner, LearnerBroke
from learners.scoring import Answer


class Broke(Exception):
    """The learner broke on the example at `offset`."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class Reply(NamedTuple):
    """What a model says of features. `broke` is why its fallback answered, if it did."""

    answer: Answer
    broke: str | None = None


class LiveModel:
    """A model's state at `offset_applied`; at 1 it has learned nothing.

    `dropped` are the offsets known to be unlearnable, and why: they are passed over.
    """

    def __init__(self, created: Created, created_at: int, dropped: Mapping[int, str]) -> None:
        self.created = created
        self.created_at = created_at
        self.dropped = dropped
        self.offset_applied = 1
        self.types: dict[str, FeatureType] = dict(created.features)
        self.monitor = Monitor(created.task)
        self.features_max, self.words_max = widest(created.learner)
        # What an example is scored on where its last correction, being unlearnable, was not.
        self._scored_on: dict[int, Label | None] = {}
        self.learner: Learner | None = Learner(created.learner, created.task, created.metrics)

    def reply(self, features: Features) -> Reply:
        """Answer features, by the learner or, where it breaks, by what the labels say."""
        if self.learner is None:
            return Reply(self._prior(), "the learner is being rebuilt")
        # A copy: what is remembered of a prediction is what was sent.
        x = dict(features if self.learner.keeps_null else without_missing(features))
        try:
            return Reply(self.learner.predict(x))
        except LearnerBroke as error:
            return Reply(self._prior(), f"{error}{_hint(features)}")

    def apply(self, offset: int, entry: Entry, at: int) -> None:
        """Take the next entry, taken in at the instant `at` (microseconds). May raise `Broke`."""
        if offset != self.offset_applied + 1:
            raise RuntimeError(f"offset {offset} was applied after {self.offset_applied}")
        if isinstance(entry, Example | Correction) and offset in self.dropped:
            self.monitor.unlearnable += 1
            if isinstance(entry, Correction):
                self._scored_on.setdefault(entry.offset, entry.previous)
        elif isinstance(entry, Example):
            self._learn(offset, entry, at)
        elif isinstance(entry, Correction):
            self._correct(offset, entry, at)
        elif isinstance(entry, Created):
            raise RuntimeError(f"a model was created again, at offset {offset}")
        elif isinstance(entry, Unlearnable) and entry.offset not in self.dropped:
            raise RuntimeError(f"offset {entry.offset} is said to be unlearnable, and was learned")
        self.offset_applied = offset

    def _learn(self, offset: int, example: Example, at: int) -> None:
        learner = self._unbroken()
        features, y = example.features, example.label
        x = features if learner.keeps_null else without_missing(features)
        try:
            answer = _answer_of(example.served) if example.served else self._answer(learner, x)
            learner.score(y, answer, offset)
            if example.learned:
                learner.learn(x, y)
        except LearnerBroke as error:
            raise self._broke(offset, error, features) from error
        if not features.keys() <= self.types.keys():
            self._fix_types(features)
        self.monitor.observe(example, at)

    def _correct(self, offset: int, correction: Correction, at: int) -> None:
        """Score an answer on another label; what broke the learner at first was never scored."""
        learner = self._unbroken()
        features, y = correction.features, correction.label
        answer = _answer_of(correction.served)
        try:
            if correction.offset not in self.dropped:
                previous = self._scored_on.pop(correction.offset, correction.previous)
                learner.rescore(previous, y, answer, correction.offset)
            if features is not None:
                learner.learn(features if learner.keeps_null else without_missing(features), y)
        except LearnerBroke as error:
            raise self._broke(offset, error, features or {}) from error
        if features is not None and not features.keys() <= self.types.keys():
            self._fix_types(features)
        self.monitor.correct(correction, at)

    def _unbroken(self) -> Learner:
        if self.learner is None:
            raise RuntimeError("a learner that broke was asked to learn")
        return self.learner

    def _broke(self, offset: int, error: LearnerBroke, features: Features) -> Broke:
        self.learner = None
        return Broke(offset, f"{error}{_hint(features)}")

    def _answer(self, learner: Learner, x: Features) -> Answer:
        try:
            return learner.predict(x)
        except LearnerBroke:
            return self._prior()

    def _fix_types(self, features: Features) -> None:
        """The first example that carries a feature fixes its type."""
        for name, value in features.items():
            kind = type_of(value)
            if kind is not None:
                self.types.setdefault(name, kind)

    def _prior(self) -> Answer:
        prediction, shares = self.monitor.prior()
        return Answer(prediction, None if shares is None else dict(shares))


def _hint(features: Features) -> str:
    """What most often breaks a learner: texts, where it takes numbers."""
    texts = [name for name, value in features.items() if isinstance(value, str)]
    if not texts:
        return ""
    some = ", ".join(texts[:5])
    return f" (if it takes numbers only: encode or discard {some}, see docs/learners.md)"


def type_of(value: bool | int | float | str | None) -> FeatureType | None:
    """The type that a value fixes for its feature; none if it is missing."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "boolean"
    return "category" if isinstance(value, str) else "number"


def served_of(reply: Reply, at: int) -> Served:
    """What was answered, as it stands in the log."""
    prediction, probabilities, score = reply.answer
    pairs: list[tuple[Label, float]] | None = None
    if probabilities is not None:
        pairs = list(probabilities.items())
    return Served(prediction, at, pairs, score, reply.broke is not None)


def _answer_of(served: Served) -> Answer:
    pairs = served.probabilities
    return Answer(served.prediction, None if pairs is None else dict(pairs), served.score)
