"""Labels late, twice, early, corrected or never, in any process and order, under all rules at once.

The service holds one model for each combination of rules, and each step is done to all of them. It
is held against `decided`, which says the rules in a few lines: what stands in each log, what each
call is answered, what is counted, metrics scored anew from the labels that stand, and a bare River
learner that learned what was to be learned, in the order of the log.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    rule,
    run_state_machine_as_test,
)

from app.calls import Feedback
from app.joining import Joining
from tests.conftest import FULL
from tests.inside import (
    crash,
    label,
    predict,
    settings_in,
    teach,
    until,
)
from tests.label_reference import Asked, Reference, Said, plain
from tests.labelled_service import (
    EARLY_SECONDS,
    HERE,
    KEEPS,
    OBSERVATIONS,
    PICK,
    TASKS,
    WAITS,
    LabelledService,
    gathered,
    prepared,
    steps_taken,
)

EXAMPLES, STEPS = (110, 50) if FULL else (10, 25)
pytestmark = pytest.mark.timeout(7_200 if FULL else 600)


class Service(LabelledService):
    """What may come, in any order."""

    @initialize(
        task=st.sampled_from(sorted(TASKS)),
        wait_seconds=st.sampled_from(WAITS),
        keep_seconds=st.sampled_from(KEEPS),
    )
    def open(self, task: str, wait_seconds: int, keep_seconds: int) -> None:
        """Begin with a model of each combination of rules, in both processes."""
        self.wait_seconds = wait_seconds
        self.labels, self.keep_us = TASKS[task][2], keep_seconds * 1_000_000
        self.settings = settings_in(
            self.folder,
            predictions_keep_seconds=keep_seconds,
            predictions_write_ms=1,
            tail_poll_seconds=0.01,
        )
        (self.folder / "headrace.db").write_bytes(prepared(task, wait_seconds))
        self.runtimes = [self.runner.run(self._opened()) for _ in range(2)]
        self.models = {r.name: Reference(r.created) for r in self.runtimes[0].replicas()}
        self.predict(0, {"a": 1})

    @rule(here=HERE, features=OBSERVATIONS)
    def predict(self, here: int, features: dict[str, Any]) -> None:
        """Ask."""
        id = self._new("p")
        answers = self._at_all(lambda name: predict(self.runtimes[here], features, id, name))
        self._asked(id, features, answers)
        self._check()

    @rule(here=HERE, features=OBSERVATIONS, truth=PICK)
    def teach(self, here: int, features: dict[str, Any], truth: int) -> None:
        """Send an example of its own: the rules have no say in it."""
        id, y = self._new("e"), self.labels[truth % len(self.labels)]
        self._at_all(lambda name: teach(self.runtimes[here], features, y, id, name))
        for model in self.models.values():
            model.examples[id] = Asked(features, None, None, 0)
            model.said[id] = (Said("example", id, plain(model.task, y), "given", True),)
        self._check()

    @rule(here=HERE, which=PICK, truth=PICK)
    def label(self, here: int, which: int, truth: int) -> None:
        """Label any prediction, under an id of its own: the first time, late, or once more."""
        if self.asked:
            self._label(self._one(which), [(here, truth)])

    @rule(heres=st.permutations([0, 1, 0]), which=PICK, truths=st.tuples(PICK, PICK, PICK))
    def label_at_once(self, heres: Sequence[int], which: int, truths: tuple[int, ...]) -> None:
        """Label a prediction three times at once: as if it were one after the other."""
        if self.asked:
            self._label(self._one(which), list(zip(heres, truths, strict=True)))

    @rule(here=HERE, which=PICK, truth=PICK)
    def label_again(self, here: int, which: int, truth: int) -> None:
        """Send a label again under its id: it is answered as it was, whatever it says now."""
        if not self.asked:
            return
        prediction_id, y = self._one(which), self.labels[truth % len(self.labels)]
        ids = {
            name: [said.id for said in model.said.get(prediction_id, ()) if said.id]
            for name, model in self.models.items()
        }
        again = {name: found[which % len(found)] for name, found in ids.items() if found}
        answers = self._at_all(
            lambda name: label(self.runtimes[here], prediction_id, y, again[name], name), again
        )
        for name, answer in answers.items():
            offset = self.models[name].offsets[again[name]]
            assert answer == Feedback(again[name], offset, True), name
        self._check()

    @rule(
        heres=st.tuples(HERE, HERE),
        features=OBSERVATIONS,
        truths=st.lists(PICK, min_size=1, max_size=2),
    )
    def label_early(
        self, heres: tuple[int, int], features: dict[str, Any], truths: list[int]
    ) -> None:
        """Label a prediction before it is made, there or in the other process."""
        id = self._new("p")
        here, there = heres

        async def between() -> None:
            places = self.runtimes[here].predictions.early._places
            awaited, deadline = len(truths) * len(self.models), time.monotonic() + EARLY_SECONDS
            await until(lambda: places.total() == awaited or time.monotonic() > deadline)
            asks = (predict(self.runtimes[there], features, id, name) for name in self.models)
            answers = dict(zip(self.models, await asyncio.gather(*asks), strict=True))
            self._asked(id, features, answers)

        self._label(id, [(here, truth) for truth in truths], between, early=True)

    @rule(here=HERE)
    def label_what_was_never_asked(self, here: int) -> None:
        """Label a prediction that is not made: it waits, and is refused."""
        self._label(self._new("never"), [(here, 0)])

    @rule(seconds=st.sampled_from([1, 9, 45, 61, 120]), expires=st.booleans())
    def let_time_pass(self, seconds: int, expires: bool) -> None:
        """Let labels become due, and perhaps delete what is forgotten."""
        self.clock.advance(seconds)
        if expires:
            self.runner.run(self.runtimes[0].predictions.expire())
        self._check()

    @rule(
        here=HERE,
        features=OBSERVATIONS,
        truths=st.lists(PICK, min_size=1, max_size=3),
        settles=st.booleans(),
    )
    def label_late(
        self, here: int, features: dict[str, Any], truths: list[int], settles: bool
    ) -> None:
        """Ask, and label when it is due, once or more; perhaps the job has run."""
        self.predict(here, features)
        self.clock.advance(self.wait_seconds)
        if settles:
            self.settle((here,))
        for truth in truths:
            self.label(1 - here, 0, truth)

    @rule(heres=st.sampled_from([(0,), (1,), (0, 1)]))
    def settle(self, heres: tuple[int, ...]) -> None:
        """Run the job, in one process or in both at once."""
        self.runner.run(gathered(Joining(self.runtimes[here]).settle_due() for here in heres))
        for model in self.models.values():
            model.settle(self.clock())
        self._check()

    @rule(here=HERE, which=PICK, truth=PICK)
    def settle_while_labelling(self, here: int, which: int, truth: int) -> None:
        """Run the job while a label comes: it makes no difference which of the two is first."""
        id = self._one(which) if self.asked else None
        if id is None or any(
            m.is_known(id, 0) != m.is_known(id, self._forgotten()) for m in self.models.values()
        ):
            return

        async def between() -> None:
            await Joining(self.runtimes[1 - here]).settle_due()

        unsettled = [m for m in self.models.values() if id not in m.settled | m.said.keys()]
        self._label(id, [(here, truth)], between, check=False)
        for model in self.models.values():
            model.settle(self.clock())
        # Only whether it counts as expired, before its late label came, is a matter of time.
        for model in unsettled:
            if id in model.settled and model.rules.default is None and id in model.said:
                counted = self.runtimes[here].predictions.label_counts
                replica = self.runtimes[here].replica(model.name)
                expired, _ = self.runner.run(counted(replica.id))
                assert expired - model.expired in (0, 1)
                model.expired = expired
        self._check()

    @rule(here=HERE)
    def restart(self, here: int) -> None:
        """Stop one process as one should, and start it again."""
        self.runner.run(self.runtimes[here].close())
        self.runtimes[here] = self.runner.run(self._opened())
        self._check()

    @rule(here=HERE, features=st.lists(OBSERVATIONS, max_size=3))
    def crash(self, here: int, features: list[dict[str, Any]]) -> None:
        """Ask, and crash at once: predictions that were not written are gone."""
        for x in features:
            id = self._new("p")
            runtime = self.runtimes[here]
            self._asked(id, x, self._at_all(lambda name: predict(runtime, x, id, name)))  # noqa: B023
        self.runner.run(crash(self.runtimes[here]))
        self.runtimes[here] = self.runner.run(self._opened())
        for name, model in self.models.items():
            replica = self.runtimes[here].replica(name)
            ids = [id for id in model.asked if model.asked[id].due >= self._forgotten()]
            found = self.runner.run(self.runtimes[here].predictions.find_many(replica.id, ids))
            for id in ids:
                if id not in found and id not in model.said:
                    del model.asked[id]
        self._check()


def test_labels_are_taken_by_the_rules_whatever_comes_in_whatever_order() -> None:
    run_state_machine_as_test(
        Service,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            # To shrink takes many times as long as to find, and a step names what it found.
            phases=[Phase.generate],
            deadline=None,
            derandomize=not FULL,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert steps_taken["steps"] > (5_000 if FULL else 200), steps_taken
