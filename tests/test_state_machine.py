"""Anything in any order: predict, label late, twice or never, delete, restart, crash, wait.

After each step the service is held against a small reference model: what was accepted, in which
order, what was answered, and a bare learner that learned exactly that.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.calls import Feedback, Prediction
from app.entries import LabelRules
from app.errors import (
    AlreadyLabelled,
    InvalidFeatures,
    ModelExists,
    UnknownModel,
    UnknownPrediction,
)
from app.labels import text_of
from app.runtime import Runtime
from learners.learner import Learner
from learners.scoring import Answer
from tests.conftest import FULL
from tests.inside import Clock, crash, create, label, log_of, predict, settings_in, teach, until
from tests.process import LINEAR

T = TypeVar("T")
WAIT_SECONDS, KEEP_SECONDS = 60, 100
"""After the first a label is late, and is learned all the same; after the second there is none."""

NAMES = ("x", "y")
BREAKING = 1e300
KINDS: dict[str, tuple[str, Any, list[Any]]] = {
    "binary": ("binary", LINEAR, [True, False, 0]),
    "multiclass": ("multiclass", "naive_bayes.GaussianNB", ["spam", "", "7"]),
    "regression": (
        "regression",
        ["preprocessing.StandardScaler", "tree.HoeffdingTreeRegressor"],
        [0, 1.5, -2, BREAKING],
    ),
}
OBSERVATIONS = st.fixed_dictionaries(
    {"a": st.integers(-3, 3)},
    optional={"b": st.sampled_from([0.5, -1.25, None]), "c": st.booleans()},
)


PICK = st.integers(0, 59)
"""Which of those that there are: what is drawn must not depend on what is there."""


def one_of(found: Iterable[T], pick: int) -> T:
    """One of what there is, in its order."""
    among = list(found)
    return among[pick % len(among)]


class Asked:
    """A prediction: what was asked, what was answered, and when."""

    def __init__(self, features: dict[str, Any], answer: Prediction, served: Answer, at: int):
        self.features = features
        self.answer = answer
        self.served = served
        self.at = at


class Reference:
    """What one model must be: what was accepted, and a bare learner of it."""

    def __init__(self, kind: str, created: Any) -> None:
        self.task, _, self.labels = KINDS[kind]
        self.bare = Learner(created.learner, created.task, created.metrics)
        self.accepted: dict[str, int] = {}
        self.labelled: dict[str, str] = {}
        self.asked: dict[str, Asked] = {}
        self.learned = self.unlearnable = self.scored_labels = 0

    def accept(
        self, told: Feedback, features: dict[str, Any], y: Any, prediction_id: str | None
    ) -> None:
        """Take in what the service took in."""
        assert not told.duplicate
        assert told.id not in self.accepted
        self.accepted[told.id] = told.offset
        asked = None if prediction_id is None else self.asked[prediction_id]
        if prediction_id is not None:
            self.labelled[prediction_id] = told.id
        if y == BREAKING:
            assert told.warnings is not None and told.warnings[0].code == "unlearnable"
            self.unlearnable += 1
            return
        assert told.warnings is None
        x = {name: value for name, value in features.items() if value is not None}
        y = bool(y) if self.task == "binary" else y
        self.bare.score(y, self.bare.predict(x) if asked is None else asked.served)
        self.bare.learn(x, y)
        self.learned += 1
        self.scored_labels += asked is not None


class Service(RuleBasedStateMachine):
    """A runtime on a real file, in an event loop of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.settings = settings_in(
            self.folder,
            predictions_keep_seconds=KEEP_SECONDS - WAIT_SECONDS,
            predictions_write_ms=1,
            tail_poll_seconds=0.01,
        )
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.models: dict[str, Reference] = {}
        self.made = 0

    @initialize(kinds=st.tuples(*[st.sampled_from(sorted(KINDS))] * 2))
    def open(self, kinds: tuple[str, ...]) -> None:
        """Begin with a model of each name."""
        self.runner.run(self._open())
        for name, kind in zip(NAMES, kinds, strict=True):
            self.create(name, kind)

    @rule(name=st.sampled_from(NAMES), kind=st.sampled_from(sorted(KINDS)))
    def create(self, name: str, kind: str) -> None:
        """Create a model, anew if one of this name was deleted."""
        task, learner, _ = KINDS[kind]
        if name in self.models:
            with pytest.raises(ModelExists):
                self.runner.run(create(self.runtime, name, task, learner))
            return
        rules = LabelRules(wait_seconds=WAIT_SECONDS, early_seconds=0)
        replica = self.runner.run(create(self.runtime, name, task, learner, labels=rules))
        self.models[name] = Reference(kind, replica.created)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        """Delete a model; everything of it is gone."""
        if name in self.models:
            self.runner.run(self.runtime.delete(name))
            del self.models[name]
        with pytest.raises(UnknownModel):
            self.runner.run(predict(self.runtime, {}, model=name))

    @rule(pick=PICK, features=OBSERVATIONS, own=st.booleans())
    def predict(self, pick: int, features: dict[str, Any], own: bool) -> None:
        """Ask, under an id of one's own or one that is made."""
        if not self.models:
            return
        name = one_of(sorted(self.models), pick)
        model = self.models[name]
        x = {feature: value for feature, value in features.items() if value is not None}
        bare = model.bare.predict(x)
        id = self._new_id() if own else None
        answer = self.runner.run(predict(self.runtime, features, id, name))
        assert id is None or answer.id == id
        assert repr(answer.prediction) == repr(bare.prediction)
        shares = bare.probabilities
        assert answer.probabilities == (
            None if shares is None else {text_of(y): share for y, share in shares.items()}
        )
        model.asked[answer.id] = Asked(features, answer, bare, self.clock())

    @rule(pick=PICK, which=PICK, truth=PICK, own=st.booleans())
    def label(self, pick: int, which: int, truth: int, own: bool) -> None:
        """Label any prediction, at any time: the first time, again, or when it is expired."""
        found = [name for name in sorted(self.models) if self.models[name].asked]
        if not found:
            return
        name = one_of(found, pick)
        model = self.models[name]
        prediction_id = one_of(model.asked, which)
        asked = model.asked[prediction_id]
        y = one_of(model.labels, truth)
        id = self._new_id() if own else None
        send = label(self.runtime, prediction_id, y, id, name)
        if prediction_id in model.labelled:
            with pytest.raises(AlreadyLabelled):
                self.runner.run(send)
        elif self._is_expired(asked):
            with pytest.raises(UnknownPrediction):
                self.runner.run(send)
        else:
            model.accept(self.runner.run(send), asked.features, y, prediction_id)

    @rule(pick=PICK, which=PICK, truth=PICK)
    def label_again(self, pick: int, which: int, truth: int) -> None:
        """Send a label again, with its id: it is answered as the first time."""
        found = [name for name in sorted(self.models) if self.models[name].labelled]
        if not found:
            return
        name = one_of(found, pick)
        model = self.models[name]
        prediction_id = one_of(model.labelled, which)
        id = model.labelled[prediction_id]
        y = one_of(model.labels, truth)
        told = self.runner.run(label(self.runtime, prediction_id, y, id, name))
        assert (told.id, told.offset, told.duplicate) == (id, model.accepted[id], True)

    @rule(pick=PICK, truth=PICK, features=OBSERVATIONS)
    def teach(self, pick: int, truth: int, features: dict[str, Any]) -> None:
        """Send an example of its own, then once more with the same id."""
        if not self.models:
            return
        name = one_of(sorted(self.models), pick)
        model = self.models[name]
        y = one_of(model.labels, truth)
        told = self.runner.run(teach(self.runtime, features, y, self._new_id(), name))
        model.accept(told, features, y, None)
        again = self.runner.run(teach(self.runtime, features, y, told.id, name))
        assert (again.id, again.offset, again.duplicate) == (told.id, told.offset, True)
        assert again.warnings == told.warnings

    @rule(pick=PICK, drafts=st.lists(st.tuples(OBSERVATIONS, PICK), min_size=2, max_size=6))
    def teach_at_once(self, pick: int, drafts: list[tuple[dict[str, Any], int]]) -> None:
        """Send examples at once: they are learned in the order of their offsets."""
        if not self.models:
            return
        name = one_of(sorted(self.models), pick)
        model = self.models[name]
        examples = [(x, one_of(model.labels, which)) for x, which in drafts]

        async def send() -> list[Feedback]:
            sent = (teach(self.runtime, x, y, self._new_id(), name) for x, y in examples)
            return await asyncio.gather(*sent)

        told = zip(self.runner.run(send()), examples, strict=True)
        for feedback, (x, y) in sorted(told, key=lambda one: one[0].offset):
            model.accept(feedback, x, y, None)

    @rule(name=st.sampled_from(NAMES))
    def mistake(self, name: str) -> None:
        """Contradict the schema, and label what was never asked: nothing comes of it."""
        if name not in self.models:
            return
        with pytest.raises(UnknownPrediction):
            labels = self.models[name].labels
            self.runner.run(label(self.runtime, "never asked", labels[0], model=name))
        if self.models[name].learned:
            with pytest.raises(InvalidFeatures):
                self.runner.run(predict(self.runtime, {"a": "text"}, model=name))

    @rule(seconds=st.sampled_from([1, 40, 99, 101]), expires=st.booleans())
    def let_time_pass(self, seconds: int, expires: bool) -> None:
        """Let predictions grow old, and perhaps delete what is expired."""
        self.clock.advance(seconds)
        if expires:
            self.runner.run(self.runtime.predictions.expire())

    @rule()
    def restart(self) -> None:
        """Stop as one should, and start again."""
        self.runner.run(self.runtime.close())
        self.runner.run(self._open())

    @rule()
    def crash(self) -> None:
        """Stop as one should not: what was not yet written of predictions may be gone."""
        self.runner.run(crash(self.runtime))
        self.runner.run(self._open())
        for name, model in self.models.items():
            found = self.runtime.predictions.find
            replica = self.runtime.replica(name)
            for id, asked in list(model.asked.items()):
                is_gone = self.runner.run(found(replica.id, id)) is None
                if is_gone and not self._is_expired(asked) and id not in model.labelled:
                    del model.asked[id]

    @invariant()
    @precondition(lambda self: hasattr(self, "runtime"))
    def every_log_holds_what_was_accepted_once_and_without_a_gap(self) -> None:
        """Offsets are gapless, each accepted feedback stands where it was said to."""
        for name, model in self.models.items():
            rows = self.runner.run(log_of(self.runtime, name))
            assert [row.offset for row in rows] == list(range(1, len(rows) + 1))
            examples = {row.id: row.offset for row in rows if row.kind == "example"}
            assert examples == model.accepted
            labels = {row.prediction_id: row.id for row in rows if row.prediction_id}
            assert labels == model.labelled

    @invariant()
    @precondition(lambda self: hasattr(self, "runtime"))
    def every_model_is_a_bare_learner_of_what_was_accepted(self) -> None:
        """Predictions and metrics are equal to the last bit, and the counts are right."""
        for name, model in self.models.items():
            replica = self.runtime.replica(name)
            for x in ({"a": 1}, {"b": 0.5, "a": -2}, {"c": True}, {}):
                assert repr(replica.learner.predict(x)) == repr(model.bare.predict(x))
            assert replica.learner.scores.figures() == model.bare.scores.figures()
            monitor = replica.model.monitor
            assert (monitor.examples, monitor.unlearnable) == (model.learned, model.unlearnable)
            assert monitor.labelled == model.scored_labels

    @invariant()
    @precondition(lambda self: hasattr(self, "runtime"))
    def every_prediction_that_is_not_expired_is_answered_as_it_was(self) -> None:
        """The same id again gives the same answer, whatever else was asked and learned."""
        for name, model in self.models.items():
            for id, asked in list(model.asked.items())[-6:]:
                if not self._is_expired(asked) and id not in model.labelled:
                    again = self.runner.run(predict(self.runtime, {"a": 9}, id, name))
                    assert again == asked.answer

    def teardown(self) -> None:
        """Let go of everything."""
        if hasattr(self, "runtime"):
            self.runner.run(self.runtime.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    async def _open(self) -> None:
        self.runtime = Runtime(self.settings, self.clock)
        await self.runtime.open()
        await until(self.runtime.is_restored)

    def _is_expired(self, asked: Asked) -> bool:
        return asked.at < self.clock() - KEEP_SECONDS * 1_000_000

    def _new_id(self) -> str:
        self.made += 1
        return f"id {self.made}"


def test_a_service_is_what_its_log_says_whatever_happens_in_whatever_order() -> None:
    run_state_machine_as_test(
        Service,
        settings=settings(
            max_examples=400 if FULL else 8,
            stateful_step_count=60 if FULL else 30,
            deadline=None,
            derandomize=not FULL,
            suppress_health_check=list(HealthCheck),
        ),
    )
