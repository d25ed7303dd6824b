"""Versions: kept as they were to the last bit, and read back only if they are whole and ours."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import zstandard
from msgspec.structs import replace

from app import retention, versions
from app.errors import UnknownVersion, UnloadableVersion
from app.replica import Replica
from app.retention import DAY_US, Kept, surplus
from app.runtime import Runtime
from app.settings import Settings
from app.snapshots import is_due, snapshot
from app.tables import entries, version_states
from app.tables import versions as table
from app.versions import Newest, Version
from tests import databases
from tests.inside import Clock, answers, create, in_loop, opened, replayed, settings_in
from tests.process import LINEAR
from tests.teaching import PROBES, teach_some

pytestmark = pytest.mark.usefixtures("backend")

LEARNERS: dict[str, tuple[str, Any]] = {
    "linear": ("binary", LINEAR),
    "forest": ("binary", {"forest.ARFClassifier": {"n_models": 3, "grace_period": 10}}),
    "tree": ("binary", "tree.HoeffdingAdaptiveTreeClassifier"),
    "anomaly": ("anomaly", ["preprocessing.MinMaxScaler", "anomaly.HalfSpaceTrees"]),
    "neighbours": ("binary", ["preprocessing.StandardScaler", "neighbors.KNNClassifier"]),
}


async def taken(runtime: Runtime, replica: Replica) -> Version:
    """A version of the model as it is."""
    return await snapshot(runtime, replica, "person", lambda _: None)


async def change(runtime: Runtime, statement: sa.Executable) -> None:
    """Change what stands in the database."""
    await runtime.database.write(lambda connection: connection.execute(statement))


async def load(runtime: Runtime, version: Version) -> Any:
    """The live model of a version as it is stored now."""
    secret = runtime.database.secret
    return await runtime.database.read(
        lambda c: versions.load(c, secret, versions.get(c, version.model_id, version.number))
    )


@pytest.mark.parametrize("name", LEARNERS)
def test_a_version_is_the_model_at_its_offset(tmp_path: Path, name: str) -> None:
    async def work() -> None:
        async with opened(settings_in(tmp_path)) as runtime:
            replica = await create(runtime, "m", *LEARNERS[name])
            offset = await teach_some(runtime, 120)
            then = answers(replica.model, PROBES)
            version = await taken(runtime, replica)
            assert (version.number, version.offset) == (1, offset)
            await teach_some(runtime, 80, seed=1)
            live = await load(runtime, version)
            assert answers(live, PROBES) == then
            assert version.body is not None and len(version.body.golden) == 32
            figures = live.learner.scores.figures()
            assert (version.body.metrics, version.body.examples) == (figures, 120)

    asyncio.run(work())


@pytest.mark.parametrize("name", LEARNERS)
def test_a_restart_goes_on_from_the_newest_version(tmp_path: Path, name: str) -> None:
    async def work() -> None:
        chosen = settings_in(tmp_path)
        async with opened(chosen) as runtime:
            replica = await create(runtime, "m", *LEARNERS[name])
            await teach_some(runtime, 100)
            await taken(runtime, replica)
            await teach_some(runtime, 30, seed=1)
            live = replica.model
            then = answers(live, PROBES), live.learner and live.learner.scores.figures()
            counts = vars(live.monitor)
            # The log before the version is out of reach: only the version can have told.
            mine = entries.c.offset.between(2, 101)
            await change(runtime, sa.delete(entries).where(mine))
        async with opened(chosen) as runtime:
            live = runtime.replica("m").model
            assert (answers(live, PROBES), live.learner and live.learner.scores.figures()) == then
            assert vars(live.monitor) == counts
            await teach_some(runtime, 5, seed=2)

    asyncio.run(work())


def flip(state: bytes) -> bytes:
    middle = len(state) // 2
    return state[:middle] + bytes([state[middle] ^ 1]) + state[middle + 1 :]


def foreign(_state: bytes) -> bytes:
    return zstandard.compress(b"cos\nsystem\n(S'true'\ntR.")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "one bit": flip,
    "cut": lambda state: state[:-100],
    "empty": lambda _: b"",
    "another class": foreign,
}


@pytest.mark.parametrize("how", DAMAGE)
@in_loop
async def test_a_damaged_state_is_refused_and_an_older_version_serves(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = settings_in(tmp_path)
    async with opened(chosen) as runtime:
        replica = await create(runtime)
        await teach_some(runtime, 40)
        await taken(runtime, replica)
        await teach_some(runtime, 40, seed=1)
        version = await taken(runtime, replica)
        then = answers(replica.model, PROBES)
        mine = version_states.c.state_id == version.state_id
        query = sa.select(version_states.c.state).where(mine)
        state = await runtime.database.read(lambda c: c.execute(query).scalar_one())
        await change(
            runtime, sa.update(version_states).where(mine).values(state=DAMAGE[how](state))
        )
        with pytest.raises(UnloadableVersion, match=r"Version 2 .*damaged.* Take another"):
            await load(runtime, version)
        await change(runtime, sa.delete(entries).where(entries.c.offset.between(2, 41)))
    with caplog.at_level(logging.WARNING):
        async with opened(chosen) as runtime:
            assert answers(runtime.replica("m").model, PROBES) == then
    assert "Version 2" in caplog.text


@in_loop
async def test_what_was_signed_elsewhere_or_changed_is_refused(tmp_path: Path) -> None:
    chosen = settings_in(tmp_path, secret="of this installation")
    async with opened(chosen) as runtime:
        replica = await create(runtime)
        await teach_some(runtime, 40)
        version = await taken(runtime, replica)
        then = answers(replica.model, PROBES)
    async with opened(settings_in_place(tmp_path, "of another installation")) as runtime:
        with pytest.raises(UnloadableVersion, match="signature is not this installation's"):
            await load(runtime, version)
        # The log tells it all the same.
        assert answers(runtime.replica("m").model, PROBES) == then
    async with opened(chosen) as runtime:
        body = await runtime.database.read(lambda c: c.execute(sa.select(table.c.body)).scalar())
        assert body is not None
        for changed in (
            flip(body),
            body[:20],
            b"",
            body.replace(b'"examples":40', b'"examples":41'),
        ):
            await change(runtime, sa.update(table).values(body=changed))
            with pytest.raises(UnloadableVersion, match="signature"):
                await load(runtime, version)
            known = await runtime.database.read(lambda c: versions.page(c, replica.id))
            assert [v.number for v in known] == [1]


def settings_in_place(folder: Path, secret: str) -> Settings:
    """Settings of the database that is in a folder, with another secret."""
    return Settings(database_url=databases.at(folder), secret=secret)


@in_loop
async def test_other_releases_and_other_answers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(settings_in(tmp_path)) as runtime:
        replica = await create(runtime)
        await teach_some(runtime, 40)
        version = await taken(runtime, replica)
        with monkeypatch.context() as patched:
            patched.setattr(versions, "installed", lambda name: f"0.0 of {name}")
            with pytest.raises(
                UnloadableVersion, match=r"made with river 0\.26\.1, and this is 0\.0"
            ):
                await load(runtime, version)
        body = version.body
        assert body is not None
        wrong = body.golden[7]
        golden = [
            *body.golden[:7],
            replace(wrong, prediction=not wrong.prediction),
            *body.golden[8:],
        ]
        async with runtime.applier.holding(replica) as live:
            again = versions.take(live, "person", None)
        lying = again._replace(body=replace(again.body, golden=golden))
        second = await versions.save(runtime.database, replica.id, lying, runtime.clock())
        with pytest.raises(UnloadableVersion, match="1 of its 32 golden predictions"):
            await load(runtime, second)
        with pytest.raises(UnknownVersion, match="no version 9"):
            await runtime.database.read(lambda c: versions.get(c, replica.id, 9))


@in_loop
async def test_a_large_state_stands_in_parts_and_comes_back_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "PART_BYTES", 1_000)
    async with opened(settings_in(tmp_path)) as runtime:
        replica = await create(runtime, "m", *LEARNERS["forest"])
        await teach_some(runtime, 300)
        version = await taken(runtime, replica)
        query = sa.select(sa.func.count()).select_from(version_states)
        parts = await runtime.database.read(lambda c: c.execute(query).scalar_one())
        assert version.body is not None
        assert parts == -(-version.body.size.stored_bytes // 1_000) > 3
        assert answers(await load(runtime, version), PROBES) == answers(replica.model, PROBES)


@in_loop
async def test_versions_are_due_by_count_or_by_time_and_only_if_something_was_learned(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with opened(settings_in(tmp_path), clock) as runtime:
        replica = await create(runtime)

        def due(newest: Version | None) -> str | None:
            known = newest and Newest(newest.number, newest.at, newest.body.examples)  # type: ignore[union-attr]
            return is_due(replica, known, clock())

        clock.advance(10_000)
        assert not due(None)
        await teach_some(runtime, 1)
        assert due(None) == "schedule"
        first = await taken(runtime, replica)
        clock.advance(599)
        assert not due(first)
        await teach_some(runtime, 999)
        assert not due(first)
        await teach_some(runtime, 1)
        assert due(first) == "threshold"
        second = await taken(runtime, replica)
        clock.advance(601)
        assert not due(second)
        await teach_some(runtime, 1)
        assert due(second) == "schedule"


def test_which_versions_keep_their_states() -> None:
    now = 20_000 * DAY_US
    hourly = [Kept(n, now - (2_000 - n) * DAY_US // 24, "new", False) for n in range(2_000, 0, -1)]
    dropped = set(surplus(hourly, now))
    kept = [known for known in hourly if known.number not in dropped]
    assert [known.number for known in kept[:20]] == list(range(2_000, 1_980, -1))
    # Behind them the last of each of the days before; of the day on which all were, none besides.
    days = [known.at // DAY_US for known in kept[20:]]
    assert days == sorted(set(days), reverse=True)
    assert now // DAY_US - days[-1] == 29
    pinned = [known._replace(pinned=known.number == 3) for known in hourly]
    assert 3 not in surplus(pinned, now) and 2 in surplus(pinned, now)
    valid = [known._replace(status="valid" if known.number < 9 else "new") for known in hourly]
    assert {8, 7, 6} & set(surplus(valid, now)) == set() and 5 in surplus(valid, now)
    assert surplus([], now) == []


@in_loop
async def test_a_state_that_is_no_longer_kept_is_gone_and_its_row_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "NEWEST_KEPT", 2)
    monkeypatch.setattr(retention, "DAYS_KEPT", 0)
    async with opened(settings_in(tmp_path)) as runtime:
        replica = await create(runtime)
        made = []
        for seed in range(4):
            await teach_some(runtime, 10, seed=seed)
            made.append(await taken(runtime, replica))
        known = await runtime.database.read(lambda c: versions.page(c, replica.id))
        assert [(v.number, v.state_id is None) for v in known] == [
            *((4, False), (3, False)),
            *((2, True), (1, True)),
        ]
        with pytest.raises(UnloadableVersion, match="its state is no longer kept"):
            await load(runtime, made[0])
        query = sa.select(sa.func.count()).select_from(version_states)
        assert await runtime.database.read(lambda c: c.execute(query).scalar()) == 2
        page = await runtime.database.read(
            lambda c: versions.page(c, replica.id, before=3, limit=1)
        )
        assert [version.number for version in page] == [2]


@in_loop
async def test_parts_without_a_version_are_swept_once_they_are_old(tmp_path: Path) -> None:
    async with opened(settings_in(tmp_path)) as runtime:
        replica = await create(runtime)
        await teach_some(runtime, 10)
        await taken(runtime, replica)
        now = runtime.clock()
        row = {"state_id": "torn", "part": 0, "model_id": replica.id, "at": now, "state": b"x"}
        await change(runtime, sa.insert(version_states).values(row))
        swept = await runtime.database.write(lambda c: versions.sweep(c, now))
        later = await runtime.database.write(lambda c: versions.sweep(c, now + 2 * DAY_US))
        assert (swept, later) == (0, 1)
        assert answers(replayed(runtime), PROBES) == answers(replica.model, PROBES)
