"""Two processes that hold a model for each combination of rules, held against references."""

import asyncio
import functools
import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from itertools import permutations, product
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
)

from app.api.models import metrics_answer
from app.calls import Prediction
from app.entries import LabelRules
from app.errors import HeadraceError
from app.labels import text_of
from app.log import Row
from app.runtime import Runtime
from app.settings import Settings
from tests.inside import (
    Clock,
    label,
    opened,
    settings_in,
    until,
    wanted,
)
from tests.label_reference import Reference, Said, Told, decided, plain, said_by
from tests.process import LINEAR

WAITS, KEEPS = (10, 60), (30, 100)
EARLY_SECONDS = 1.0
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


class LabelledService(RuleBasedStateMachine):
    """Two runtimes on one file, and a reference for each model."""

    wait_seconds: int
    labels: list[Any]
    keep_us: int
    settings: Settings

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

        began = time.monotonic()
        answers = self._at_all(sends, between=between)
        # On a machine that is this slow, some may have given up waiting.
        is_slow = early and time.monotonic() - began > EARLY_SECONDS
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
            self._explain(model, prediction_id, told, rows[name], is_slow)
        if check:
            self._check()

    def _explain(
        self,
        model: Reference,
        id: str,
        told: list[tuple[Said, Any]],
        rows: list[Row],
        is_slow: bool,
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
            for new, answer in order:
                if not is_known or (is_slow and shown(answer, offsets) == "unknown_prediction"):
                    expected.append("unknown_prediction")
                    continue
                some, decision = decided(model.rules, before + added, new)
                added += some
                expected.append(decision)
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
