"""Labels late, twice, early, corrected or never, in any process and order, under all rules at once.

The service holds one model for each combination of rules, and each step is done to all of them. It
is held against `decided`, which says the rules in a few lines: what stands in each log, what each
call is answered, what is counted, metrics scored anew from the labels that stand, and a bare River
learner that learned what was to be learned, in the order of the log.
"""

import asyncio
import functools
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from app import entries
from app.api.models import metrics_answer
from app.calls import Feedback, Prediction
from app.entries import Correction, Created, Example, LabelRules
from app.errors import HeadraceError
from app.joining import Joining
from app.labels import text_of
from app.log import Row
from app.runtime import Runtime
from learners.scores import build_metric
from learners.spec import build
from tests.conftest import FULL
from tests.inside import (
    Clock,
    crash,
    label,
    opened,
    predict,
    settings_in,
    teach,
    until,
    wanted,
)
from tests.process import LINEAR

EXAMPLES, STEPS = (110, 50) if FULL else (10, 25)
pytestmark = pytest.mark.timeout(7_200 if FULL else 600)

WAITS, KEEPS = (10, 60), (30, 100)
EARLY_SECONDS = 0.4
"""Real time: so long a label waits whose prediction never comes."""

TASKS: dict[str, tuple[Any, list[Any], list[Any], list[Any]]] = {
    "binary": (LINEAR, ["Accuracy", "LogLoss", "ROCAUC"], [True, False, 0], [None, False, True]),
    "regression": (
        ["preprocessing.StandardScaler", "linear_model.LinearRegression"],
        ["MAE", "RMSE"],
        [0, 1.5, -2],
        [None, 0, 1.5],
    ),
    "multiclass": ("naive_bayes.GaussianNB", ["Accuracy", "MacroF1"], ["spam", "", 7], [None, ""]),
}
"""Learner, metrics, labels and default labels of each task."""

OBSERVATIONS = st.fixed_dictionaries(
    {"a": st.integers(-3, 3)}, optional={"b": st.sampled_from([0.5, -1.25])}
)
PICK, HERE = st.integers(0, 59), st.integers(0, 1)
"""Which of those that there are; and in which of the two processes."""

PROBES: list[dict[str, Any]] = [{"a": 1}, {"b": 0.5, "a": -2}, {}]
steps_taken: Counter[str] = Counter()


class Said(NamedTuple):
    """A label of a prediction, as it stands in the log."""

    kind: str
    id: str | None
    y: Any
    origin: str
    learned: bool
    late: bool = False
    early: bool = False


Told = str | tuple[str | None, bool, str | None]
"""An answer: the code of an error; or the id it is given for, whether that is old, a warning."""


def decided(
    rules: LabelRules, before: tuple[Said, ...], new: Said
) -> tuple[tuple[Said, ...], Told]:
    """The rules: what a label adds to those that its prediction has, and what is answered."""
    if new.late and not before and rules.default is not None:
        default = Said("example", None, rules.default, "default", learned=True)
        added, told = decided(rules, (default,), new)
        return (default, *added), told
    standing = before[-1] if before else None
    if standing is None or standing.origin == "default":
        if new.late and rules.late == "refuse":
            return (), "label_too_late"
        is_right = standing is not None and standing.y == new.y
        learned = not new.late or (rules.late == "learn" and not is_right)
        kind = "correction" if standing else "example"
        return (new._replace(kind=kind, learned=learned),), (new.id, False, None)
    if rules.duplicates == "refuse":
        return (), "already_labelled"
    if standing.y == new.y or rules.duplicates == "first":
        return (), (standing.id, True, None if standing.y == new.y else "first_kept")
    return (Said("correction", new.id, new.y, "given", False),), (new.id, False, None)


class Asked(NamedTuple):
    """Features, the answer to them, and when their label is due."""

    x: dict[str, Any]
    prediction: Any
    shares: dict[Any, float] | None
    due: int


class Reference:
    """What one model must be: the labels of each prediction, and what follows from them."""

    def __init__(self, created: Created) -> None:
        self.name, self.task, self.rules = created.name, created.task, created.labels
        self.metrics = created.metrics
        self.bare: Any = build(created.learner)
        self.asked: dict[str, Asked] = {}
        self.said: dict[str, tuple[Said, ...]] = {}
        self.settled: set[str] = set()
        self.examples: dict[str, Asked] = {}
        self.offsets: dict[str, int] = {}
        self.rows: list[tuple[str, Said]] = []
        self.expired = self.dangling = 0

    def answer(self, x: dict[str, Any], due: int = 0) -> Asked:
        """What the bare learner says."""
        shares = None if self.task == "regression" else self.bare.predict_proba_one(dict(x))
        return Asked(x, self.bare.predict_one(dict(x)), shares, due)

    def is_known(self, id: str, forgotten_before: int) -> bool:
        """Whether a label finds its prediction, or the labels of it."""
        return id in self.said or (id in self.asked and self.asked[id].due >= forgotten_before)

    def settle(self, now: int) -> None:
        """Every prediction that is due has its default label, or is counted, once."""
        for id, asked in self.asked.items():
            if asked.due <= now and id not in self.settled:
                self.settled.add(id)
                if id not in self.said and self.rules.default is None:
                    self.expired += 1
                elif id not in self.said:
                    default = Said("example", None, self.rules.default, "default", True)
                    self.said[id] = (default,)

    def take(self, rows: list[Row]) -> list[tuple[str, Said]]:
        """Take in what is new in the log, as (prediction, label); its own examples have no id."""
        fresh = []
        for row in rows:
            assert row.offset == len(self.rows) + 2, "the log has a gap"
            key = row.prediction_id or row.id
            self.offsets[row.id] = row.offset
            fresh.append((key, said_by(row)))
            self.rows.append(fresh[-1])
        return fresh

    def learn(self, fresh: list[tuple[str, Said]]) -> None:
        """Learn what is new in the log, where it says so."""
        for key, said in fresh:
            if key not in self.asked and key not in self.examples:
                raise AssertionError(f"{key} stands in the log, and was never asked")
            x = (self.asked.get(key) or self.examples[key]).x
            if key in self.examples:
                self.examples[key] = self.answer(x)
            if said.learned:
                self.bare.learn_one(dict(x), said.y)

    def logged(self) -> dict[str, tuple[Said, ...]]:
        """The labels that stand in the log, by prediction."""
        found: dict[str, tuple[Said, ...]] = {}
        for key, said in self.rows:
            found[key] = (*found.get(key, ()), said)
        return found

    def standing(self) -> list[tuple[Any, Asked]]:
        """The label that stands of each prediction that had an answer, in the log's order."""
        found = {
            key: (said.y, self.asked.get(key) or self.examples.get(key)) for key, said in self.rows
        }
        return [(y, asked) for y, asked in found.values() if asked and asked.prediction is not None]

    def figures(self) -> dict[str, float]:
        """River's metrics, fed one by one with the labels that stand."""
        metrics = [build_metric(spec) for spec in self.metrics]
        for metric, (y, asked) in product(metrics, self.standing()):
            wants_shares = not getattr(metric, "requires_labels", True)
            metric.update(y, asked.shares if wants_shares else asked.prediction)
        return {type(metric).__name__: float(metric.get()) for metric in metrics}

    def counts(self) -> dict[str, int]:
        """How many labels of each kind there were."""
        firsts, corrected, recorded = 0, 0, 0
        for labels in self.logged().values():
            given = [said for said in labels if said.origin == "given"]
            firsts += bool(given)
            corrected += max(0, len(given) - 1)
            right = bool(given) and labels[0].origin == "default" and labels[0].y == given[0].y
            recorded += bool(given) and not given[0].learned and not right
        labels_of_all = [said for _, said in self.rows]
        return {
            "given": firsts,
            "default": sum(said.origin == "default" for said in labels_of_all),
            "corrected": corrected,
            "late": sum(said.late for said in labels_of_all),
            "recorded": recorded,
            "early": sum(said.early for said in labels_of_all),
            "dangling": self.dangling,
            "expired": self.expired,
        }


def said_by(row: Row) -> Said:
    """A row of the log as the label that it is."""
    entry = entries.decode(row.body)
    if isinstance(entry, Example):
        id = row.id if entry.origin == "given" else None
        assert (id is None) == row.id.startswith("headrace:default:")
        return Said(row.kind, id, entry.label, entry.origin, entry.learned, entry.late, entry.early)
    assert isinstance(entry, Correction)
    return Said(row.kind, row.id, entry.label, "given", entry.features is not None, entry.late)


@functools.cache
def prepared(task: str, wait_seconds: int) -> bytes:
    """A database with one model for each combination of rules, made once."""
    learner, metrics, _, defaults = TASKS[task]
    late, duplicates = ("learn", "record", "refuse"), ("refuse", "first", "correct")

    async def make(folder: Path) -> bytes:
        async with opened(settings_in(folder)) as runtime:
            for combination in product(late, duplicates, defaults):
                rules = LabelRules(wait_seconds, combination[2], *combination[:2], EARLY_SECONDS)  # type: ignore[arg-type]
                name = "-".join(map(str, combination)).replace("--", "-empty-").rstrip("-")
                await runtime.create(wanted(name, task, learner, labels=rules), metrics)
        return (folder / "headrace.db").read_bytes()

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(make(Path(folder)))


class Service(RuleBasedStateMachine):
    """Two runtimes on one file, and a reference for each model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.runtimes: list[Runtime] = []
        self.models: dict[str, Reference] = {}
        self.asked: list[str] = []
        self.made = 0
        self.checked: dict[tuple[Runtime, str], Any] = {}

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
            runtime = self.runtimes[here]
            awaited = len(truths) * len(self.models)
            await until(lambda: runtime.predictions.early._places.total() == awaited)
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

    def teardown(self) -> None:
        """Let go of everything."""
        for runtime in self.runtimes:
            self.runner.run(runtime.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def _label(
        self,
        prediction_id: str,
        labels: list[tuple[int, int]],
        between: Callable[[], Coroutine[Any, Any, None]] | None = None,
        early: bool = False,
        check: bool = True,
    ) -> None:
        """Label a prediction in all models, at once; the rules must explain each answer."""
        sent = [
            (here, self._new("l"), self.labels[truth % len(self.labels)]) for here, truth in labels
        ]

        def sends(name: str) -> Coroutine[Any, Any, list[Any]]:
            some = (label(self.runtimes[h], prediction_id, y, id, name) for h, id, y in sent)
            return gathered(some)

        answers = self._at_all(sends, between=between)
        rows = self.runner.run(self._rows())
        for name, model in self.models.items():
            is_late = prediction_id in model.asked and (
                model.asked[prediction_id].due <= self.clock()
            )
            new = [
                Said("", id, plain(model.task, y), "given", True, is_late, early)
                for _, id, y in sent
            ]
            told = list(zip(new, answers[name], strict=True))
            self._explain(model, prediction_id, told, rows[name])
        if check:
            self._check()

    def _explain(
        self, model: Reference, id: str, told: list[tuple[Said, Any]], rows: list[Row]
    ) -> None:
        """Some order of these labels leads by the rules to the log and to all the answers."""
        fresh = [said_by(row) for row in rows if row.prediction_id == id]
        offsets = {**model.offsets, **{row.id: row.offset for row in rows}}
        before = model.said.get(id, ())
        is_known = model.is_known(id, self._forgotten())
        tried = []
        for order in permutations(told):
            added: tuple[Said, ...] = ()
            expected: list[Told] = []
            for new, _ in order:
                if not is_known:
                    expected.append("unknown_prediction")
                    continue
                some, answer = decided(model.rules, before + added, new)
                added += some
                expected.append(answer)
            tried.append((list(added), expected, [shown(a, offsets) for _, a in order]))
            if list(added) == fresh and tried[-1][1] == tried[-1][2]:
                if before + added:
                    model.said[id] = before + added
                model.dangling += expected.count("unknown_prediction")
                return
        raise AssertionError(f"{model.name}: before {before}\nlog {fresh}\nnone of {tried}")

    def _at_all(
        self,
        call: Callable[[str], Coroutine[Any, Any, Any]],
        names: Iterable[str] | None = None,
        between: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> dict[str, Any]:
        """Do one thing to all models at once, and perhaps another meanwhile."""
        names = list(self.models if names is None else names)

        async def run() -> list[Any]:
            calls = asyncio.gather(*map(call, names))
            if between is not None:
                await asyncio.gather(calls, between())
            return await calls

        return dict(zip(names, self.runner.run(run()), strict=True))

    def _asked(self, id: str, features: dict[str, Any], answers: dict[str, Prediction]) -> None:
        """Note what was asked: the bare learner must say the same."""
        self.asked.append(id)
        for name, model in self.models.items():
            due = self.clock() + round(model.rules.wait_seconds * 1_000_000)
            asked = model.asked[id] = model.answer(features, due)
            shares = asked.shares
            assert repr(answers[name].prediction) == repr(asked.prediction)
            assert answers[name].probabilities == (
                None if shares is None else {text_of(y): share for y, share in shares.items()}
            )

    def _check(self) -> None:
        """Hold all models, in both processes, against their references."""
        steps_taken["steps"] += 1
        for name, rows in self.runner.run(self._rows()).items():
            model = self.models[name]
            fresh = model.take(rows)
            assert model.logged() == {k: s for k, s in model.said.items() if s}, name
            model.learn(fresh)
        for (runtime, name), counted in self.runner.run(self._counted()).items():
            self._check_model(runtime, self.models[name], counted)

    def _check_model(self, runtime: Runtime, model: Reference, counted: tuple[int, int]) -> None:
        replica = runtime.replica(model.name)
        state = (len(model.rows), model.expired, model.dangling, counted)
        if self.checked.get((runtime, model.name)) == state:
            return
        self.checked[runtime, model.name] = state
        told = metrics_answer(replica, 0, counted)
        assert told.labels.model_dump() == model.counts(), model.name
        standing = model.standing()
        given = {key for key, said in model.rows if said.origin == "given"} & model.asked.keys()
        learned = sum(said.learned for _, said in model.rows)
        counts = told.counts
        assert (counts.scored, counts.labelled, counts.examples, counts.unlearnable) == (
            (len(standing), len(given), learned, 0)
        ), model.name
        figures = model.figures() if standing else {}
        for found in (told.since_start, told.last_1000):
            for metric, figure in figures.items():
                value = found[metric]
                assert value is not None, (model.name, metric)
                exact = metric in ("Accuracy", "ROCAUC", "MacroF1")
                assert value == figure if exact else math.isclose(value, figure, abs_tol=1e-7), (
                    model.name,
                    metric,
                    value,
                    figure,
                )
        for probe in PROBES:
            asked, answer = model.answer(probe), replica.learner.predict(probe)
            assert (answer.prediction, answer.probabilities) == (asked.prediction, asked.shares)

    async def _rows(self) -> dict[str, list[Row]]:
        """What is new in each model's log, once all predictions are written."""
        predictions = [runtime.predictions for runtime in self.runtimes]
        await until(lambda: not any(p._unwritten or p._dangling for p in predictions))
        found = {}
        for name, model in self.models.items():
            id = self.runtimes[0].replica(name).id
            found[name] = await self.runtimes[0].log.read(id, len(model.rows) + 1, 1_000_000)
        return found

    async def _counted(self) -> dict[tuple[Runtime, str], tuple[int, int]]:
        """Labels that did not come, and that did not fit, once all that was logged is applied."""
        found = {}
        for runtime, (name, model) in product(self.runtimes, self.models.items()):
            replica, end = runtime.replica(name), len(model.rows) + 1
            await until(lambda: replica.model.offset_applied == end)  # noqa: B023
            found[runtime, name] = await runtime.predictions.label_counts(replica.id)
        return found

    async def _opened(self) -> Runtime:
        runtime = Runtime(self.settings, self.clock)
        await runtime.open()
        await until(runtime.is_restored)
        return runtime

    def _forgotten(self) -> int:
        """What was due before is forgotten."""
        return self.clock() - self.keep_us

    def _one(self, which: int) -> str:
        return self.asked[-1 - which % len(self.asked)]

    def _new(self, prefix: str) -> str:
        self.made += 1
        return f"{prefix}{self.made}"


async def gathered(calls: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """What all of them give, or the refusals that they raise."""
    found = await asyncio.gather(*calls, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, HeadraceError):
            raise one
    return found


def shown(answer: Any, offsets: dict[str, int]) -> Any:
    """An answer as `decided` says it; its offset must be that of its id."""
    if isinstance(answer, HeadraceError):
        return answer.code
    assert answer.offset == offsets[answer.id], answer
    warned = [warning.code for warning in answer.warnings or ()]
    assert len(warned) <= 1
    return answer.id, answer.duplicate, warned[0] if warned else None


def plain(task: str, y: Any) -> Any:
    """A label as it is learned: 0 is false where labels are true or false."""
    return bool(y) if task == "binary" else y


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
