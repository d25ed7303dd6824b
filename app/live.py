"""The fold: a live model is what its log's entries make of it, one after the other. Pure.

`apply` is the only thing that changes a live model, and the entries decide all: the same entries
give the same model, to the last bit, in any process. Three things may happen while applying:

- the learner breaks on an example: `Broke` is raised, the learner is half-changed and no longer
  asked, and whoever applies builds the model again with this offset among `dropped`;
- the entry says to go on with another learner: `Unprepared` is raised and nothing is changed;
  whoever applies makes that learner, hands it over by `prepared`, and applies the entry again;
- anything else is raised: a bug, and the model must stop answering.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from app.entries import (
    Budget,
    Changed,
    Correction,
    Created,
    Entry,
    Example,
    Features,
    FeatureType,
    Frozen,
    Label,
    LabelRules,
    RolledBack,
    Served,
    SnapshotRules,
    Swapped,
    Unfrozen,
    Unlearnable,
    VersionRules,
    kind_of,
)
from app.features import without_missing
from app.monitoring import Monitor
from learners.cost import widest
from learners.learner import Learner, LearnerBroke
from learners.scoring import Answer
from learners.states import StateRefused, dump, load

GOLDEN = 32
"""How many of the newest observations a version keeps, with what it answers to them."""

SCORED = 2_000
"""Of how many of the newest scored examples it is known what the learner said of them."""

TURNED = 1_000
"""How many of the newest turns are told."""

Turn = Swapped | RolledBack | Unfrozen
"""What lets a model go on with another learner than the one that it has."""


class Broke(Exception):
    """The learner broke on the example at `offset`."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class Unprepared(Exception):
    """The entry at `offset` needs a learner that is not at hand."""

    def __init__(self, offset: int, entry: Turn) -> None:
        super().__init__(f"offset {offset}: the learner of {entry} is not prepared")
        self.offset = offset
        self.entry = entry


class Prepared(NamedTuple):
    """The learner with which a model goes on; none if only what answers is another one.

    `champion` is the version's learner, for a model that answers from versions only. `relearned`
    are the labels of the examples that were learned at last.
    """

    learner: Learner | None
    champion: Learner | None = None
    relearned: Sequence[Label | None] = ()


class Turned(NamedTuple):
    """What was told to a model and is no label; `version` is the one that answered from then on."""

    offset: int
    at: int
    kind: str
    version: int
    reason: str
    by: str


class Scored(NamedTuple):
    """A scored example: what was true, and what the learner said before it knew.

    A live model keeps them as plain tuples, which are made in a fifth of the time.
    """

    offset: int
    label: Label
    prediction: Label


class Reply(NamedTuple):
    """What a model says of features. `broke` is why its fallback answered, if it did."""

    answer: Answer
    broke: str | None = None


class LiveModel:
    """A model's state at `offset_applied`; at 1 it has learned nothing.

    `dropped` are the offsets known to be unlearnable, and why: they are passed over. `prepared` are
    the learners that entries will need, by their offsets. `champion` answers in the learner's place
    where a model serves versions only; `version` is the number of the one that answers, or that the
    learner continues from, since `continued_at`. `frozen_at` is since when nothing is learned. What
    is `left` are learners of no more use, for whoever applies to free.
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
        self.champion: Learner | None = None
        self.prepared: dict[int, Prepared] = {}
        self.left: list[Learner] = []
        self.frozen_at: int | None = None
        self.frozen_why: Frozen | None = None
        self.turned: deque[Turned] = deque(maxlen=TURNED)
        self.continued_at = 1
        self._continues = self._answers = 0
        self.observations: deque[Features] = deque(maxlen=GOLDEN)
        self.scored: deque[tuple[int, Label, Label]] = deque(maxlen=SCORED)
        self.scored_total = 0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _NOT_KEPT}

    @property
    def version(self) -> int:
        """The number of the version that answers, or that the learner continues from; 0 is none."""
        return self._continues if self.champion is None else self._answers

    def reply(self, features: Features) -> Reply:
        """Answer features, by the learner or, where it breaks, by what the labels say."""
        learner = self.learner if self.champion is None else self.champion
        if learner is None:
            return self.fallback()
        # A copy: what is remembered of a prediction is what was sent.
        x = dict(features if learner.keeps_null else without_missing(features))
        try:
            return Reply(learner.predict(x))
        except LearnerBroke as error:
            return Reply(self._prior(), f"{error}{_hint(features)}")

    def fallback(self) -> Reply:
        """What is answered while the learner is being rebuilt."""
        return Reply(self._prior(), "the learner is being rebuilt")

    def own_answer(self, features: Features) -> Answer:
        """What the learner itself says, also of a model that answers from another version."""
        learner = self._unbroken()
        return self._answer(
            learner, dict(features if learner.keeps_null else without_missing(features))
        )

    def apply(self, offset: int, entry: Entry, at: int) -> None:
        """Take the next entry, taken in at the instant `at` (microseconds).

        May raise `Broke` or `Unprepared`.
        """
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
        elif isinstance(entry, Unlearnable):
            if entry.offset not in self.dropped:
                said = f"offset {entry.offset} is said to be unlearnable"
                raise RuntimeError(f"{said}, and was learned")
        else:
            self._turn(offset, entry)
            turned = Turned(offset, at, kind_of(entry), self.version, entry.reason, entry.by)
            self.turned.append(turned)
        self.offset_applied = offset

    def _turn(self, offset: int, entry: Changed | Turn | Frozen) -> None:
        """Take an entry that is no label."""
        if isinstance(entry, Swapped | RolledBack):
            prepared = self._prepared(offset, entry)
            if prepared.learner is not None:
                self._continue_from(prepared.learner, entry.version, offset)
            self._leave(self.champion)
            self.champion, self._answers = prepared.champion, entry.version
        elif isinstance(entry, Frozen):
            if self.frozen_at is None:
                self.frozen_at, self.frozen_why = offset, entry
        elif isinstance(entry, Unfrozen):
            if entry.learn and self.frozen_at is not None:
                prepared = self._prepared(offset, entry)
                self.monitor.relearn(prepared.relearned)
                self._take_over(prepared.learner)
            self.frozen_at = self.frozen_why = None
        else:
            self.created = msgspec.structs.replace(
                self.created,
                description=entry.description,
                versions=entry.versions,
                budget=entry.budget,
            )
            if entry.versions.serve == "live":
                self._leave(self.champion)
                self.champion = None

    def _leave(self, learner: Learner | None) -> None:
        if learner is not None:
            self.left.append(learner)

    def _prepared(self, offset: int, entry: Turn) -> Prepared:
        prepared = self.prepared.pop(offset, None)
        if prepared is None:
            raise Unprepared(offset, entry)
        return prepared

    def _continue_from(self, learner: Learner, version: int, offset: int) -> None:
        self._take_over(learner)
        self._continues, self.continued_at = version, offset
        # What the learner before it said is no measure of this one.
        self.scored.clear()
        if self.frozen_at is not None:
            self.frozen_at = offset

    def _take_over(self, learner: Learner | None) -> None:
        """Let another learner learn; the scores are the model's, and go on."""
        if learner is None:
            raise RuntimeError("a model was to go on without a learner")
        before = self._unbroken()
        learner.scores = before.scores
        self._leave(before)
        self.learner = learner

    def _learn(self, offset: int, example: Example, at: int) -> None:
        learner = self._unbroken()
        features, y = example.features, example.label
        x = features if learner.keeps_null else without_missing(features)
        try:
            answer = _answer_of(example.served) if example.served else self._answer(learner, x)
            learner.score(y, answer, offset)
            own = answer if self.champion is None else self._answer(learner, x)
            if example.learned and self.frozen_at is None:
                learner.learn(x, y)
        except LearnerBroke as error:
            raise self._broke(offset, error, features) from error
        if not features.keys() <= self.types.keys():
            self._fix_types(features)
        if y is not None and own.prediction is not None:
            self.scored.append((offset, y, own.prediction))
            self.scored_total += 1
        self.observations.append(features)
        self.monitor.observe(example, at, is_frozen=self.frozen_at is not None)

    def _correct(self, offset: int, correction: Correction, at: int) -> None:
        """Score an answer on another label; what broke the learner at first was never scored."""
        learner = self._unbroken()
        features, y = correction.features, correction.label
        answer = _answer_of(correction.served)
        try:
            if correction.offset not in self.dropped:
                previous = self._scored_on.pop(correction.offset, correction.previous)
                learner.rescore(previous, y, answer, correction.offset)
            if features is not None and self.frozen_at is None:
                learner.learn(features if learner.keeps_null else without_missing(features), y)
        except LearnerBroke as error:
            raise self._broke(offset, error, features or {}) from error
        if features is not None and not features.keys() <= self.types.keys():
            self._fix_types(features)
        self._correct_scored(correction)
        self.monitor.correct(correction, at, is_frozen=self.frozen_at is not None)

    def _correct_scored(self, correction: Correction) -> None:
        for place, (offset, _, prediction) in enumerate(self.scored):
            if offset == correction.offset:
                if correction.label is None:
                    del self.scored[place]
                else:
                    self.scored[place] = (offset, correction.label, prediction)
                return

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


def keep(live: LiveModel) -> bytes:
    """A live model's state. Raises `learners.states.StateRefused` if it has no form as bytes."""
    return dump(live)


def revive(
    state: bytes, dropped: Mapping[int, str], rest: Callable[[], None] | None = None
) -> LiveModel:
    """The live model whose state was kept. Raises `learners.states.StateRefused`.

    `rest` is called again and again while it is read.
    """
    live = load(state, _OWN, rest)
    if not isinstance(live, LiveModel):
        raise StateRefused("it is no state of a model")
    live.dropped, live.prepared, live.left = dropped, {}, []
    return live


_OWN = (
    LiveModel,
    Monitor,
    Turned,
    *(Created, LabelRules, VersionRules, SnapshotRules, Budget, Frozen),
)
"""What a live model's state is made of, besides its learner's."""

_NOT_KEPT = frozenset(("dropped", "prepared", "left"))
"""What is no part of a model's state: it is known from the log."""


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
