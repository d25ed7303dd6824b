"""Quality: versions are proven before they serve, and a learner that was ruined is replaced."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from app import runs, versions
from app.entries import Budget, SnapshotRules, VersionRules
from app.jobs import SCHEDULE
from app.jobs.running import Jobs
from app.replica import Replica
from app.runs import Runs
from app.runtime import Runtime
from app.settings import Settings
from app.snapshots import snapshot
from app.tables import version_states
from app.turns import Act, Turns
from app.validation import candidate_of, compare, references
from app.versions import Version
from tests.inside import create, in_loop, opened, settings_in, teach, until

pytestmark = pytest.mark.usefixtures("backend")

BY_COUNT = VersionRules(SnapshotRules(None, 1_000))


def noisy(seed: int, flipped: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """Observations of which a line tells the label in 96 of 100; or tells it wrong."""
    draw = random.Random(seed)
    while True:
        x = {"a": draw.gauss(0, 1), "b": draw.gauss(0, 1)}
        y = (x["a"] + 0.5 * x["b"] > 0) != (draw.random() < 0.04)
        yield x, y != flipped


async def teach_noisy(runtime: Runtime, count: int, seed: int, flipped: bool = False) -> None:
    """Teach so many examples of them."""
    examples = noisy(seed, flipped)
    for n in range(0, count, 100):
        part = [next(examples) for _ in range(min(100, count - n))]
        await asyncio.gather(*(teach(runtime, x, y) for x, y in part))


def accuracy(replica: Replica) -> float:
    """How many of fresh observations it answers rightly."""
    examples = noisy(99)
    asked = [next(examples) for _ in range(1_000)]
    right = [replica.model.reply(x).answer.prediction == y for x, y in asked]
    return sum(right) / len(right)


@asynccontextmanager
async def watched(settings: Settings) -> AsyncIterator[Runtime]:
    """A runtime whose jobs run, and watch every second."""
    async with opened(settings) as runtime:
        for job in ("watch", "find_due"):
            await runtime.database.write(lambda c, j=job: runs.change(c, j, every_seconds=1))  # type: ignore[misc]
        jobs = Jobs(runtime, SCHEDULE)
        jobs.open()
        try:
            await until(lambda: jobs.leads)
            yield runtime
        finally:
            await jobs.close()


async def known(runtime: Runtime, replica: Replica) -> list[Version]:
    """The model's versions, newest first."""
    return await runtime.database.read(lambda c: versions.page(c, replica.id))


async def all_validated(runtime: Runtime, replica: Replica, count: int) -> list[Version]:
    """The versions, once there are so many and each was validated."""
    async with asyncio.timeout(60):
        while True:
            found = await known(runtime, replica)
            if len(found) >= count and all(v.status != "new" for v in found):
                return found
            await asyncio.sleep(0.1)


async def taken(runtime: Runtime, replica: Replica) -> Version:
    """A version of the model as it is, said to be valid."""
    version = await snapshot(runtime, replica, "person", lambda _: None)
    await runtime.database.write(
        lambda c: versions.change(c, replica.id, version.number, status="valid")
    )
    return version._replace(status="valid")


@in_loop
async def test_a_poisoned_model_is_rolled_back_by_itself(tmp_path: Path) -> None:
    rules = replace(BY_COUNT, on_invalid="rollback")
    async with watched(settings_in(tmp_path)) as runtime:
        replica = await create(runtime, versions=rules)
        for seed in range(2):
            await teach_noisy(runtime, 1_000, seed)
            await all_validated(runtime, replica, seed + 1)
        before = accuracy(replica)
        await teach_noisy(runtime, 1_000, 7, flipped=True)
        assert accuracy(replica) < 0.2 < 0.9 < before
        async with asyncio.timeout(60):
            seed = 20
            while not replica.model.turned:
                seed += 1
                await teach_noisy(runtime, 100, seed)
                await asyncio.sleep(0.3)
        turn = replica.model.turned[0]
        assert (turn.kind, turn.by, turn.version in (1, 2)) == ("rolled_back", "validation", True)
        assert "95 % confidence" in turn.reason
        assert accuracy(replica) > before - 0.03
        found = await known(runtime, replica)
        assert {v.status for v in found if v.number > turn.version} <= {"invalid", "new"}
        [run] = await Runs(runtime.database, runtime.clock).page(None, 1, job="watch")
        assert "rolled back to version" in run.did


@pytest.mark.parametrize(("rule", "kind"), [("freeze", "frozen"), ("alert", None)])
@in_loop
async def test_a_poisoned_model_is_frozen_or_only_reported(
    tmp_path: Path, rule: Any, kind: str | None
) -> None:
    rules = replace(VersionRules(SnapshotRules(None, None)), on_invalid=rule)
    async with watched(settings_in(tmp_path)) as runtime:
        replica = await create(runtime, versions=rules)
        await teach_noisy(runtime, 1_000, 1)
        await taken(runtime, replica)
        await teach_noisy(runtime, 1_000, 7, flipped=True)
        await teach_noisy(runtime, 100, 8)
        asked = Runs(runtime.database, runtime.clock)
        async with asyncio.timeout(60):
            while not await asked.page(None, 1, job="watch"):
                await asyncio.sleep(0.1)
        if kind is not None:
            assert [turn.kind for turn in replica.model.turned] == [kind]
            assert replica.model.frozen_why is not None
            assert "than version 1" in replica.model.frozen_why.reason
        else:
            assert not replica.model.turned
            await teach_noisy(runtime, 60, 9)
            await asyncio.sleep(2.5)
            # It is said once, and not again and again.
            assert len(await asked.page(None, 10, job="watch")) == 1


@in_loop
async def test_what_was_found_valid_answers_where_only_that_may(tmp_path: Path) -> None:
    rules = replace(BY_COUNT, serve="validated")
    async with watched(settings_in(tmp_path)) as runtime:
        replica = await create(runtime, versions=rules)
        await teach_noisy(runtime, 1_000, 1)
        await until(lambda: replica.model.version == 1, 60)
        await teach_noisy(runtime, 1_000, 2)
        await until(lambda: replica.model.version == 2, 60)
        # A person's choice stands until something newer is valid.
        await Turns(runtime).roll_back(replica, 1, "none", Act("I know better"))
        await asyncio.sleep(2.5)
        assert replica.model.version == 1
        await Turns(runtime).change(replica, None, replace(rules, auto_swap=False), None, Act())
        await teach_noisy(runtime, 1_000, 3)
        await all_validated(runtime, replica, 3)
        await asyncio.sleep(2.5)
        assert replica.model.version == 1


@in_loop
async def test_each_check_of_a_version_says_what_it_found(tmp_path: Path) -> None:
    async with watched(settings_in(tmp_path)) as runtime:
        replica = await create(runtime, versions=BY_COUNT)
        for seed in range(2):
            await teach_noisy(runtime, 1_000, seed)
            await all_validated(runtime, replica, seed + 1)
        second, first = await known(runtime, replica)
        assert (first.status, second.status) == ("valid", "valid")
        assert second.checks is not None
        names = [check.name for check in second.checks]
        assert names == ["loads", "golden", "finite", "memory", "predict_ms", "quality"]
        assert all(check.passed and check.detail.endswith(".") for check in second.checks)
        assert second.checks[-1].figures["reference"] == 1
        assert second.checks[-1].figures["pairs"] == 1_000


@in_loop
async def test_a_version_that_does_not_load_or_takes_too_much_is_invalid(tmp_path: Path) -> None:
    async with watched(settings_in(tmp_path)) as runtime:
        rules = VersionRules(SnapshotRules(None, None))
        replica = await create(runtime, versions=rules, budget=Budget(1_024, 50.0))
        await teach_noisy(runtime, 100, 1)
        asked = Runs(runtime.database, runtime.clock)
        run = await asked.ended(await asked.ask("snapshot", replica.id), 30)
        assert "of its budget" in run.did
        assert replica.model.frozen_why is not None and replica.model.frozen_why.by == "budget"
        [version] = await all_validated(runtime, replica, 1)
        assert version.status == "invalid" and version.checks is not None
        assert [check.name for check in version.checks if not check.passed] == ["memory"]
        await runtime.database.write(
            lambda c: c.execute(sa.update(version_states).values(state=b"0"))
        )
        run = await asked.ended(await asked.ask("validate", replica.id, number=1), 30)
        [version] = await known(runtime, replica)
        assert version.checks is not None
        assert [(check.name, check.passed) for check in version.checks] == [("loads", False)]
        assert "damaged" in run.did


@in_loop
async def test_clean_runs_see_no_alarm(tmp_path: Path, full: bool) -> None:
    """Every reference, at every look, of runs in which nothing is wrong."""
    async with opened(settings_in(tmp_path)) as runtime:
        for seed in range(200 if full else 4):
            rules = VersionRules(SnapshotRules(None, None))
            replica = await create(runtime, f"m{seed}", versions=rules)
            examples, observed = noisy(seed), {}
            kept: list[tuple[Version, Answers]] = []
            for n in range(1, 3_001):
                x, y = next(examples)
                offset = (await teach(runtime, x, y, model=f"m{seed}")).offset
                observed[offset] = x
                if n % 250 == 0:
                    candidate = candidate_of(replica.model)
                    for version in references([v for v, _ in kept], candidate.total, 1_000):
                        answers = next(a for v, a in kept if v.number == version.number)
                        found = compare(candidate, version, answers(observed, candidate))
                        assert not [c for c in found if c.is_worse(rules.tolerance)]
                if n % 1_000 == 0:
                    version = await taken(runtime, replica)
                    live = await runtime.database.read(
                        lambda c, v=version: versions.load(c, runtime.database.secret, v)  # type: ignore[misc]
                    )
                    kept.insert(0, (version, Answers(live)))


class Answers:
    """What a version answers, asked once."""

    def __init__(self, live: Any) -> None:
        self._live = live
        self._known: dict[int, Any] = {}

    def __call__(self, observed: dict[int, Any], candidate: Any) -> dict[int, Any]:
        for offset, _, _ in candidate.scored:
            if offset not in self._known:
                self._known[offset] = self._live.own_answer(observed[offset]).prediction
        return self._known
