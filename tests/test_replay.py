"""Live equals replay: the log makes the model again, from any offset, here and in another process.

Predictions are compared to the last bit, with the order and the types of labels, and the metrics,
the schema and the counts with them.
"""

import asyncio
import hashlib
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import entries
from app.live import LiveModel, keep, revive
from app.log import Row
from app.replica import Replica
from app.settings import Settings
from tests.conftest import FULL
from tests.inside import answers, create, label, log_of, opened, predict, settings_in, teach

pytestmark = pytest.mark.usefixtures("backend")

SCALED = "preprocessing.StandardScaler"
CITIES = ["oslo", "rome", "lima"]
NUMBERS: list[Any] = [
    {"a": 0.5, "b": 1},
    {"b": -2.25, "a": 3},
    {"a": 1.5, "b": None},
    {"new": 1, "b": 9.75},
    {},
]
CATEGORIES: list[Any] = [{"city": "rome", "a": 1}, {"a": 0.5, "city": "oslo"}, {"city": "new"}]


class Kind(NamedTuple):
    """A learner, the labels of its task, and whether it takes categories."""

    task: str
    learner: Any
    labels: list[Any]
    categories: bool = False

    @property
    def probes(self) -> list[Any]:
        return NUMBERS + CATEGORIES if self.categories else NUMBERS


FOREST = {"forest.ARFClassifier": {"n_models": 3, "grace_period": 10}}
TREE = {"tree.HoeffdingTreeClassifier": {"grace_period": 5, "delta": 0.1}}
ADAPTIVE = {"tree.HoeffdingAdaptiveTreeClassifier": {"grace_period": 5}}
KINDS = {
    "linear": Kind("binary", [SCALED, "linear_model.LogisticRegression"], [True, False]),
    "tree": Kind("binary", TREE, [True, False], categories=True),
    "adaptive-tree": Kind("multiclass", ADAPTIVE, ["x", "y", "z"], categories=True),
    "forest": Kind("multiclass", FOREST, ["x", "y", ""], categories=True),
    "naive-bayes": Kind("multiclass", "naive_bayes.GaussianNB", [0, 1, 7]),
    "softmax": Kind("multiclass", [SCALED, "linear_model.SoftmaxRegression"], ["x", "y", "z"]),
    "anomaly": Kind(
        "anomaly", ["preprocessing.MinMaxScaler", "anomaly.HalfSpaceTrees"], [None, True, False]
    ),
    "regression-tree": Kind(
        "regression", [SCALED, "tree.HoeffdingTreeRegressor"], [0, 1.5, -2, 7.25, 1e300]
    ),
    "neighbours": Kind("binary", [SCALED, "neighbors.KNNClassifier"], [True, False]),
    "factorization": Kind("regression", [SCALED, "facto.FMRegressor"], [0, 1.5, -2]),
    "bagging": Kind(
        "binary",
        {"ensemble.BaggingClassifier": {"model": "naive_bayes.GaussianNB", "n_models": 3}},
        [True, False],
    ),
}


class Step(NamedTuple):
    """Feedback with its features; or, `asked` before, a label that comes `late` steps later."""

    features: dict[str, Any]
    label: Any
    late: int | None


@st.composite
def observations(draw: st.DrawFn, categories: bool) -> dict[str, Any]:
    """Numbers, some missing or rare, in any order, and categories if the learner takes them."""
    numbers = st.one_of(st.integers(-9, 9), st.floats(-100, 100, width=32), st.none())
    found: dict[str, Any] = {name: draw(numbers) for name in ("a", "b", "c")}
    if draw(st.integers(0, 9)) == 0:
        found[f"rare {draw(st.integers(0, 3))}"] = draw(numbers)
    if categories:
        found["city"] = draw(st.sampled_from(CITIES))
    names = draw(st.permutations(list(found)))
    return {name: found[name] for name in names}


def steps(kind: Kind) -> st.SearchStrategy[list[Step]]:
    """Sequences of feedback, some of it late."""
    late = st.one_of(st.none(), st.integers(0, 8))
    one = st.builds(Step, observations(kind.categories), st.sampled_from(kind.labels), late)
    return st.lists(one, min_size=5, max_size=60)


def state_of(live: LiveModel, kind: Kind) -> str:
    """All that can be told of a model's state but its offset."""
    assert live.learner is not None
    monitor = live.monitor
    return repr(
        [
            answers(live, kind.probes),
            live.learner.scores.figures(),
            live.learner.scores.recent_figures(),
            live.types,
            [monitor.examples, monitor.labelled, monitor.unlearnable, monitor.fallbacks],
            [list(monitor.labels.items()), monitor.mean, monitor.delay_seconds()],
        ]
    )


async def drive(
    chosen: Settings, kind: Kind, sequence: list[Step], name: str, every: int
) -> dict[int, str]:
    """Live through a sequence; the state at the offsets that were seen every so many steps."""
    async with opened(chosen) as runtime:
        replica = await create(runtime, name, kind.task, kind.learner)
        states = {1: state_of(replica.model, kind)}
        waiting: list[tuple[int, str, Any]] = []
        for now, step in enumerate(sequence):
            if step.late is None:
                await teach(runtime, step.features, step.label, model=name)
            else:
                asked = await predict(runtime, step.features, model=name)
                waiting.append((now + step.late, asked.id, step.label))
            for due in [one for one in waiting if one[0] <= now]:
                waiting.remove(due)
                await label(runtime, due[1], due[2], model=name)
            if now % every == 0 or step is sequence[-1]:
                states[replica.model.offset_applied] = state_of(replica.model, kind)
        return states


async def stored(chosen: Settings, name: str) -> tuple[Replica, list[Row]]:
    """A model that was restored from its log, and the log."""
    async with opened(chosen) as runtime:
        return runtime.replica(name), await log_of(runtime, name)


def fold(replica: Replica, rows: list[Row], dropped: Mapping[int, str]) -> LiveModel:
    """A model that applied these entries, its creation being the first."""
    live = LiveModel(replica.created, replica.created_at, dropped)
    for row in rows[1:]:
        live.apply(row.offset, entries.decode(row.body), row.at)
    return live


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@settings(
    max_examples=60 if FULL else 3,
    deadline=None,
    derandomize=not FULL,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_live_equals_replay_at_any_offset(kind: Kind, data: st.DataObject) -> None:
    sequence = data.draw(steps(kind))
    with TemporaryDirectory() as folder:
        chosen = settings_in(Path(folder))
        states = asyncio.run(drive(chosen, kind, sequence, "m", 7))
        replica, rows = asyncio.run(stored(chosen, "m"))
    dropped = replica.model.dropped
    assert len(rows) == rows[-1].offset
    for offset, state in states.items():
        assert state_of(fold(replica, rows[:offset], dropped), kind) == state
    final = state_of(replica.model, kind)
    cut = data.draw(st.integers(1, len(rows)))
    version = fold(replica, rows[:cut], dropped)
    kept = revive(keep(version), version.dropped)
    for row in rows[cut:]:
        kept.apply(row.offset, entries.decode(row.body), row.at)
    assert state_of(kept, kind) == final
    assert state_of(fold(replica, rows, dropped), kind) == final


def seeded(kind: Kind, count: int) -> list[Step]:
    """A long sequence, the same in every run."""
    draw = random.Random(11)
    found = []
    for i in range(count):
        features: dict[str, Any] = {name: round(draw.gauss(0, 9), 2) for name in "abc"}
        if kind.categories:
            features["city"] = draw.choice(CITIES)
        if i % 9 == 4:
            features = dict(reversed(features.items()))
        found.append(Step(features, draw.choice(kind.labels), draw.choice([None, 0, 3])))
    return found


def digests(chosen: Settings) -> dict[str, str]:
    """What each model of a service says, once all are restored."""

    async def states() -> dict[str, str]:
        async with opened(chosen) as runtime:
            return {name: state_of(runtime.replica(name).model, KINDS[name]) for name in KINDS}

    found = asyncio.run(states())
    return {name: hashlib.sha256(state.encode()).hexdigest() for name, state in found.items()}


def test_a_replay_in_another_process_gives_the_same_models(tmp_path: Path) -> None:
    chosen = settings_in(tmp_path)
    live: dict[str, str] = {}
    for name, kind in KINDS.items():
        states = asyncio.run(drive(chosen, kind, seeded(kind, 80), name, 80))
        live[name] = hashlib.sha256(states[max(states)].encode()).hexdigest()
    child = subprocess.run(
        [sys.executable, "-m", "tests.test_replay", chosen.database_url],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    here = digests(chosen)
    told = dict(line.split() for line in child.stdout.splitlines())
    assert told == here == live


if __name__ == "__main__":
    for told in digests(Settings(database_url=sys.argv[1])).items():
        print(*told)  # noqa: T201
