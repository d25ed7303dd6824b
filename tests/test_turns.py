"""Turns: swaps, rollbacks, freezes and changes are entries, and every replay obeys them alike."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from app import entries
from app.entries import Budget, SnapshotRules, VersionRules
from app.errors import UnknownVersion, UnloadableVersion
from app.live import LiveModel
from app.replica import Replica
from app.runs import Runs
from app.runtime import Runtime
from app.snapshots import snapshot
from app.turns import Act, Turns
from app.versions import Version
from tests.conftest import FULL
from tests.inside import answers, create, in_loop, label, log_of, opened, predict, replayed, teach
from tests.inside import settings_in as settings_of
from tests.process import LINEAR
from tests.teaching import PROBES, stream, teach_some

pytestmark = pytest.mark.usefixtures("backend")

VALIDATED = VersionRules(serve="validated")
FOREST = {"forest.ARFClassifier": {"n_models": 3, "grace_period": 10}}


async def taken(runtime: Runtime, replica: Replica) -> Version:
    """A version of the model as it is."""
    return await snapshot(runtime, replica, "person", lambda _: None)


async def forget_states(runtime: Runtime) -> None:
    """As if no version had kept its state: only the log can tell."""
    await runtime.database.write(
        lambda c: c.execute(sa.text("UPDATE versions SET state_id = NULL"))
    )


def told(live: LiveModel) -> Any:
    """All that can be told of a live model."""
    assert live.learner is not None
    own = [live.own_answer(probe) for probe in PROBES]
    return repr(
        [
            *(answers(live, PROBES), own, live.learner.scores.figures(), vars(live.monitor)),
            *(live.version, live.frozen_at, live.created, list(live.turned), list(live.scored)),
        ]
    )


async def equals_its_replays(runtime: Runtime, model: str = "m") -> None:
    """The model is what its log says, with the versions' states and without them."""
    live = runtime.replica(model).model
    assert told(replayed(runtime, model)) == told(live)
    await forget_states(runtime)
    assert told(replayed(runtime, model)) == told(live)


@pytest.mark.parametrize("learner", [LINEAR, FOREST], ids=["linear", "forest"])
@in_loop
async def test_a_rollback_continues_as_if_what_came_since_had_not(
    tmp_path: Path, learner: Any
) -> None:
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime, learner=learner)
        await create(runtime, "clean", learner=replica.created.learner)
        await teach_some(runtime, 100)
        version = await taken(runtime, replica)
        then = answers(replica.model, PROBES)
        await teach_some(runtime, 100, seed=1, flipped=True)
        assert answers(replica.model, PROBES) != then
        done = await Turns(runtime).roll_back(replica, 1, "none", Act("poisoned"))
        assert (replica.model.version, done.offset) == (version.number, 202)
        assert answers(replica.model, PROBES) == then
        await teach_some(runtime, 50, seed=2)
        await teach_some(runtime, 100, model="clean")
        await teach_some(runtime, 50, seed=2, model="clean")
        assert answers(replica.model, PROBES) == answers(runtime.replica("clean").model, PROBES)
        asked = await predict(runtime, PROBES[0])
        assert asked.version == 1
        turned = replica.model.turned[-1]
        assert (turned.kind, turned.version, turned.reason) == ("rolled_back", 1, "poisoned")
        row = (await log_of(runtime))[201]
        assert entries.decode(row.body) == entries.RolledBack(1, 101, "none", "poisoned", "person")
        await equals_its_replays(runtime)


@pytest.mark.parametrize("learner", [LINEAR, FOREST], ids=["linear", "forest"])
@in_loop
async def test_a_rollback_with_replay_learns_again_what_came_since(
    tmp_path: Path, learner: Any
) -> None:
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime, learner=learner)
        await teach_some(runtime, 60)
        await taken(runtime, replica)
        await teach_some(runtime, 60, seed=1)
        then = answers(replica.model, PROBES)
        await Turns(runtime).roll_back(replica, 1, "since", Act())
        # Nothing was wrong with what came since, so all is as it was.
        assert answers(replica.model, PROBES) == then
        await teach_some(runtime, 20, seed=2)
        await equals_its_replays(runtime)


@in_loop
async def test_a_replay_learns_labels_as_they_were_corrected(tmp_path: Path) -> None:
    rules = entries.LabelRules(duplicates="correct")
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime, labels=rules)
        clean = await create(runtime, "clean", learner=replica.created.learner)
        await teach_some(runtime, 20)
        await teach_some(runtime, 20, model="clean")
        await taken(runtime, replica)
        examples = stream(5)
        asked: list[tuple[str, bool]] = []
        for n in range(30):
            x, y = next(examples)
            asked.append(((await predict(runtime, x)).id, y))
            # Every third label is wrong at first.
            await label(runtime, asked[-1][0], y != (n % 3 == 0))
            await teach(runtime, x, y, model="clean")
        for n, (id, y) in enumerate(asked):
            if n % 3 == 0:
                await label(runtime, id, y)
        assert answers(replica.model, PROBES) != answers(clean.model, PROBES)
        await Turns(runtime).roll_back(replica, 1, "since", Act())
        assert answers(replica.model, PROBES) == answers(clean.model, PROBES)
        await equals_its_replays(runtime)


@in_loop
async def test_what_breaks_a_learner_while_it_learns_again_is_left_out(tmp_path: Path) -> None:
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime)
        await teach_some(runtime, 20)
        await taken(runtime, replica)
        await teach_some(runtime, 5, seed=1)
        broke = await teach(runtime, {"c": "a text"}, True)
        assert broke.warnings is not None and broke.warnings[0].code == "unlearnable"
        await teach_some(runtime, 5, seed=2)
        then = answers(replica.model, PROBES)
        await Turns(runtime).roll_back(replica, 1, "since", Act())
        assert answers(replica.model, PROBES) == then
        await equals_its_replays(runtime)


@in_loop
async def test_frozen_a_model_scores_and_does_not_learn(tmp_path: Path) -> None:
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime)
        await teach_some(runtime, 50)
        then = answers(replica.model, PROBES)
        await Turns(runtime).freeze(replica, Act("it looks odd", "person"))
        # Twice is as once.
        await Turns(runtime).freeze(replica, Act("again"))
        await teach_some(runtime, 29, seed=1)
        told_so = (await teach(runtime, {"a": 1.0, "b": 1.0}, True)).warnings or []
        assert [warned.code for warned in told_so] == ["frozen"]
        live = replica.model
        assert answers(live, PROBES) == then
        assert live.learner is not None and live.learner.scores.scored == 80
        assert (live.monitor.examples, live.monitor.recorded) == (50, 30)
        assert live.frozen_why is not None and live.frozen_why.reason == "it looks odd"
        await equals_its_replays(runtime)
        await Turns(runtime).unfreeze(replica, False, Act())
        assert answers(replica.model, PROBES) == then
        await teach_some(runtime, 5, seed=2)
        assert answers(replica.model, PROBES) != then
        await equals_its_replays(runtime)


@in_loop
async def test_unfrozen_a_model_learns_what_came_meanwhile_if_told(tmp_path: Path) -> None:
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime)
        clean = await create(runtime, "clean", learner=replica.created.learner)
        for seed, model in ((0, "m"), (0, "clean"), (1, "clean")):
            await teach_some(runtime, 50, seed, model)
        await Turns(runtime).freeze(replica, Act())
        await teach_some(runtime, 50, seed=1)
        await Turns(runtime).unfreeze(replica, True, Act())
        assert answers(replica.model, PROBES) == answers(clean.model, PROBES)
        monitor = replica.model.monitor
        assert (monitor.examples, monitor.recorded) == (100, 0)
        assert monitor.labels == clean.model.monitor.labels
        # Of what is not frozen there is nothing to be caught up.
        await Turns(runtime).unfreeze(replica, True, Act())
        assert answers(replica.model, PROBES) == answers(clean.model, PROBES)
        await teach_some(runtime, 5, seed=2)
        await equals_its_replays(runtime)


@in_loop
async def test_a_model_that_serves_versions_learns_behind_them(tmp_path: Path) -> None:
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime, versions=VALIDATED)
        await teach_some(runtime, 50)
        await taken(runtime, replica)
        then = answers(replica.model, PROBES)
        await Turns(runtime).swap(replica, 1, Act("good"))
        await teach_some(runtime, 50, seed=1)
        live = replica.model
        assert answers(live, PROBES) == then
        assert [live.own_answer(probe) for probe in PROBES] != then
        await taken(runtime, replica)
        ahead = [live.own_answer(probe) for probe in PROBES]
        await Turns(runtime).swap(replica, 2, Act())
        assert answers(live, PROBES) == ahead
        # Back to the first: what answers, and what learns on.
        await Turns(runtime).roll_back(replica, 1, "none", Act())
        assert answers(live, PROBES) == then == [live.own_answer(probe) for probe in PROBES]
        await teach_some(runtime, 10, seed=3)
        assert answers(live, PROBES) == then != [live.own_answer(probe) for probe in PROBES]
        await equals_its_replays(runtime)
        rules = replace(VALIDATED, serve="live")
        await Turns(runtime).change(replica, "now live", rules, None, Act())
        assert answers(live, PROBES) == [live.own_answer(probe) for probe in PROBES] != then
        assert live.created.description == "now live"
        await equals_its_replays(runtime)


@in_loop
async def test_a_change_keeps_what_it_does_not_name(tmp_path: Path) -> None:
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime, description="first")
        await Turns(runtime).change(replica, None, None, Budget(5_000, 1.0), Act("small"))
        rules = VersionRules(SnapshotRules(None, 7), on_invalid="rollback")
        await Turns(runtime).change(replica, "", rules, None, Act())
        created = replica.model.created
        assert (created.description, created.versions, created.budget) == (
            *("", rules),
            Budget(5_000, 1.0),
        )
        assert created.name == "m"
        await equals_its_replays(runtime)


@in_loop
async def test_what_cannot_be_gone_back_to_leaves_all_as_it_is(tmp_path: Path) -> None:
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime)
        await teach_some(runtime, 20)
        turns = Turns(runtime)
        with pytest.raises(UnknownVersion, match="no valid version"):
            await turns.roll_back(replica, None, "none", Act())
        for number in (0, -1, 7, 2**40):
            with pytest.raises(UnknownVersion):
                await turns.swap(replica, number, Act())
        await taken(runtime, replica)
        await teach_some(runtime, 20, seed=1)
        then = told(replica.model)
        await runtime.database.write(
            lambda c: c.execute(sa.text("UPDATE version_states SET state = substr(state, 2)"))
        )
        for attempt in (turns.swap(replica, 1, Act()), turns.roll_back(replica, 1, "since", Act())):
            with pytest.raises(UnloadableVersion, match="damaged"):
                await attempt
        assert told(replica.model) == then and replica.ahead == {}
        failed = await Runs(runtime.database, runtime.clock).page(None, 10, state="failed")
        assert [run.job for run in failed] == ["rollback", "swap"]
        assert all("damaged" in run.did for run in failed)
        assert len(await log_of(runtime)) == 41


@in_loop
async def test_the_last_valid_version_is_gone_back_to_by_default(tmp_path: Path) -> None:
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime)
        for status in ("valid", "valid", "invalid", "new"):
            await teach_some(runtime, 10)
            number = (await taken(runtime, replica)).number
            text = sa.text(f"UPDATE versions SET status = '{status}' WHERE number = {number}")
            await runtime.database.write(lambda c, t=text: c.execute(t))  # type: ignore[misc]
        await Turns(runtime).roll_back(replica, None, "none", Act())
        assert replica.model.version == 2


@in_loop
async def test_feedback_goes_on_while_versions_are_swapped(tmp_path: Path) -> None:
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime)
        await teach_some(runtime, 30)
        await taken(runtime, replica)
        await teach_some(runtime, 30, seed=1)
        await taken(runtime, replica)
        turns = Turns(runtime)

        async def swaps() -> None:
            for n in range(10):
                await turns.swap(replica, 1 + n % 2, Act())
                await turns.roll_back(replica, 1, "since", Act())

        await asyncio.gather(swaps(), *(teach_some(runtime, 40, seed=n) for n in range(4)))
        assert len(await log_of(runtime)) == 1 + 60 + 20 + 160
        await equals_its_replays(runtime)


@pytest.mark.parametrize("seed", range(40 if FULL else 8))
@in_loop
async def test_any_turns_in_any_order_are_replayed_alike(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    rules = draw.choice([VersionRules(), VALIDATED])
    async with opened(settings_of(tmp_path)) as runtime:
        replica = await create(runtime, versions=rules, learner=draw.choice([LINEAR, FOREST]))
        turns, made = Turns(runtime), 0
        for step in range(40):
            what = draw.randrange(8)
            if what == 0:
                await taken(runtime, replica)
                made += 1
            elif what == 1 and made:
                await turns.swap(replica, draw.randint(1, made), Act())
            elif what == 2 and made:
                how = draw.choice(("none", "since"))
                await turns.roll_back(replica, draw.randint(1, made), how, Act())  # type: ignore[arg-type]
            elif what == 3:
                await turns.freeze(replica, Act())
            elif what == 4:
                await turns.unfreeze(replica, draw.random() < 0.5, Act())
            elif what == 5:
                serve: Any = draw.choice(("live", "validated"))
                await turns.change(replica, None, replace(rules, serve=serve), None, Act())
            elif what == 6:
                await teach(runtime, {"c": draw.choice(["text", None])}, draw.random() < 0.5)
            await teach_some(runtime, draw.randrange(12), seed=step)
        await equals_its_replays(runtime)
