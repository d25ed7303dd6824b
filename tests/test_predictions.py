"""Remembered predictions: until they expire, by any process, within bounds, one answer an id."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa

from app.database import Database
from app.entries import LabelRules, Served
from app.errors import AlreadyLabelled, UnknownPrediction
from app.joining import Joining
from app.predictions import Predictions, Remembered
from app.runtime import Runtime
from app.settings import Settings
from app.tables import models, predictions
from tests.faults.driver import Fault, injected
from tests.inside import Clock, crash, create, in_loop, label, log_of, opened, predict, teach, until

pytestmark = pytest.mark.usefixtures("backend")

MODEL = 7
KEEP_SECONDS = 100
AT_ONCE = LabelRules(wait_seconds=0.001, early_seconds=0)
"""Each label is late, so that a prediction is kept for `KEEP_SECONDS` and no longer."""


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@asynccontextmanager
async def memory(
    settings: Settings, clock: Clock, **more: int
) -> AsyncIterator[tuple[Predictions, Database]]:
    """The memory of one process, and its database, closed at the end."""
    chosen = settings.model_copy(update={"predictions_keep_seconds": KEEP_SECONDS, **more})
    database = Database(chosen)
    found = Predictions(database, chosen, clock)
    found.open()
    try:
        yield found, database
    finally:
        await found.close()
        database.close()


def record(clock: Clock, size: int = 1, value: float = 0.1) -> Remembered:
    """A prediction made now, of a number of features."""
    features = {f"feature {i}": value for i in range(size)}
    return Remembered(dict(features), Served(True, clock(), [(True, 0.9)]), 0, 3, [("a", "b")])


async def rows_in(database: Database) -> int:
    """How many predictions stand in the table."""
    query = sa.select(sa.func.count()).select_from(predictions)
    return await database.read(lambda connection: connection.execute(query).scalar_one())


@in_loop
async def test_what_was_remembered_is_found_as_it_was(settings: Settings, clock: Clock) -> None:
    made = Remembered(
        {"z": 1, "a": 1.0, "n": None, "t": False, "": "\0"},
        Served(2, clock(), [("2", 0.5), (2, 0.5)], 0.25, True),
        4,
        9,
        [("fallback", "why")],
    )
    async with memory(settings, clock) as (found, _):
        assert found.remember(MODEL, "a", made, clock())
        assert repr(await found.find(MODEL, "a")) == repr(made)
        assert await found.find(MODEL, "b") is None
        assert await found.find(MODEL + 1, "a") is None
    async with memory(settings, clock) as (found, _):
        assert found.recall(MODEL, "a") is None
        assert repr(await found.find(MODEL, "a")) == repr(made)


@in_loop
async def test_another_process_reads_a_prediction_within_a_tenth_of_a_second(
    settings: Settings, clock: Clock
) -> None:
    async with memory(settings, clock) as (mine, _), memory(settings, clock) as (other, _):
        mine.remember(MODEL, "warm", record(clock), clock())
        await asyncio.sleep(0.2)
        late: list[float] = []
        for i in range(10):
            made = time.monotonic()
            mine.remember(MODEL, f"p{i}", record(clock), clock())
            while await other.find(MODEL, f"p{i}") is None:
                await asyncio.sleep(0.001)
            late.append(time.monotonic() - made)
        # Half of them, because a machine that does other things besides has hiccups.
        assert sorted(late)[5] < 0.1, late


@in_loop
async def test_a_prediction_is_forgotten_after_its_time(settings: Settings, clock: Clock) -> None:
    async with memory(settings, clock) as (found, database):
        found.remember(MODEL, "old", record(clock), clock())
        clock.advance(60)
        found.remember(MODEL, "new", record(clock), clock())
        clock.advance(KEEP_SECONDS - 60)
        assert await found.find(MODEL, "old") is not None
        clock.advance(1e-6)
        assert await found.find(MODEL, "old") is None
        assert await found.find(MODEL, "new") is not None
        await asyncio.sleep(0.2)
        assert (await rows_in(database), await found.expire()) == (2, 0), "its label is not settled"
        await found.settle([(MODEL, "old")], [])
        assert (await rows_in(database), await found.expire(), await rows_in(database)) == (2, 1, 1)
    async with memory(settings, clock) as (found, _):
        assert await found.find(MODEL, "old") is None
        assert await found.find(MODEL, "new") is not None


@in_loop
async def test_the_id_of_an_expired_prediction_may_be_used_again(
    settings: Settings, clock: Clock
) -> None:
    async with memory(settings, clock) as (found, _):
        found.remember(MODEL, "a", record(clock, value=1.5), clock())
        await asyncio.sleep(0.2)
        clock.advance(KEEP_SECONDS + 1)
        found.remember(MODEL, "a", record(clock, value=2.5), clock())
    async with memory(settings, clock) as (found, _):
        again = await found.find(MODEL, "a")
        assert again is not None
        assert again.features == {"feature 0": 2.5}


@in_loop
async def test_of_two_processes_the_first_to_write_an_id_keeps_it(
    settings: Settings, clock: Clock
) -> None:
    async with memory(settings, clock) as (first, _):
        first.remember(MODEL, "a", record(clock, value=1.5), clock())
    async with memory(settings, clock) as (second, _):
        second.remember(MODEL, "a", record(clock, value=2.5), clock())
    async with memory(settings, clock) as (third, _):
        kept = await third.find(MODEL, "a")
        assert kept is not None
        assert kept.features == {"feature 0": 1.5}


@in_loop
async def test_memory_is_bounded_and_what_leaves_it_is_in_the_table(
    settings: Settings, clock: Clock
) -> None:
    bound = {"predictions_memory_bytes_max": 65_536, "predictions_write_ms": 1}
    async with memory(settings, clock, **bound) as (found, _):
        for i in range(100):
            assert found.remember(MODEL, f"p{i}", record(clock, size=100), clock())
            assert found._bytes <= 65_536
            await until(lambda: not found._unwritten)
        held = [i for i in range(100) if found.recall(MODEL, f"p{i}") is not None]
        assert 0 < len(held) < 50
        assert held == list(range(100 - len(held), 100))
        assert all([await found.find(MODEL, f"p{i}") is not None for i in range(100)])


@in_loop
async def test_memory_is_counted_right_when_ids_are_used_again(
    settings: Settings, clock: Clock
) -> None:
    async with memory(settings, clock, predictions_write_ms=1) as (found, _):
        for _ in range(5):
            found.remember(MODEL, "a", record(clock), clock())
            await until(lambda: not found._unwritten)
            clock.advance(KEEP_SECONDS + 1)
        assert found._bytes == sum(held.size for held in found._written.values())


@in_loop
async def test_a_prediction_that_cannot_be_held_is_not_remembered(
    settings: Settings, clock: Clock
) -> None:
    async with memory(settings, clock, predictions_memory_bytes_max=65_536) as (found, _):
        assert not found.remember(MODEL, "large", record(clock, size=5_000), clock())
        assert found.remember(MODEL, "small", record(clock), clock())
        assert await found.find(MODEL, "large") is None


@in_loop
async def test_predictions_are_counted_with_those_that_expired(
    settings: Settings, clock: Clock
) -> None:
    keep = settings.model_copy(update={"predictions_keep_seconds": KEEP_SECONDS})
    async with opened(keep, clock) as runtime:
        model = (await create(runtime, labels=AT_ONCE)).id
        for i in range(3):
            await predict(runtime, {"a": i})
        assert await runtime.predictions.count(model) == 3
        clock.advance(KEEP_SECONDS + 1)
        await asyncio.sleep(0.2)
        assert await Joining(runtime).settle_due() == 3
        assert await runtime.predictions.expire() == 3
        await predict(runtime, {"a": 1})
        assert await runtime.predictions.count(model) == 4
        assert await runtime.predictions.count(model + 1) == 0
    async with opened(keep, clock) as runtime:
        assert await runtime.predictions.count(model) == 4
        query = sa.select(models.c.predictions)
        assert await runtime.database.read(lambda c: c.execute(query).scalar_one()) == 4


@in_loop
async def test_the_same_id_is_answered_the_same_whatever_was_learned_since(
    settings: Settings,
) -> None:
    async with opened(settings) as runtime:
        await create(runtime)
        first = await predict(runtime, {"a": 1}, "mine")
        for i in range(9):
            await teach(runtime, {"a": i}, i > 4)
        assert await predict(runtime, {"a": 1}, "mine") == first
        assert await predict(runtime, {"b": "another question"}, "mine") == first
        assert (await predict(runtime, {"a": 1}, "other")).probabilities != first.probabilities
    async with opened(settings) as runtime:
        assert await predict(runtime, {"a": 1}, "mine") == first


@in_loop
async def test_of_requests_with_one_id_at_once_all_are_answered_the_same(
    settings: Settings,
) -> None:
    async with opened(settings) as runtime:
        await create(runtime)
        for i in range(9):
            await teach(runtime, {"a": i}, i > 4)
        asked = (predict(runtime, {"a": i}, "mine") for i in range(20))
        answered = await asyncio.gather(*asked)
        assert all(answer == answered[0] for answer in answered)
        assert await runtime.predictions.count(runtime.replica("m").id) == 1


@in_loop
async def test_a_crash_forgets_what_was_not_written_and_its_label_is_unknown(
    settings: Settings,
) -> None:
    slow = settings.model_copy(update={"predictions_write_ms": 100})
    runtime = Runtime(slow)
    await runtime.open()
    await create(runtime)
    await predict(runtime, {"a": 1}, "written")
    await until(lambda: bool(runtime.predictions._written))
    await predict(runtime, {"a": 2}, "unwritten")
    await crash(runtime)
    async with opened(slow) as runtime:
        assert (await label(runtime, "written", True)).offset == 2
        with pytest.raises(UnknownPrediction):
            await label(runtime, "unwritten", True)


@in_loop
async def test_a_label_of_an_expired_prediction_is_answered_by_what_stands_in_the_log(
    settings: Settings, clock: Clock
) -> None:
    keep = settings.model_copy(update={"predictions_keep_seconds": KEEP_SECONDS})
    async with opened(keep, clock) as runtime:
        await create(runtime, labels=AT_ONCE)
        await predict(runtime, {"a": 1}, "labelled")
        await predict(runtime, {"a": 1}, "unlabelled")
        first = await label(runtime, "labelled", True, "mine")
        clock.advance(KEEP_SECONDS + 1)
        again = await label(runtime, "labelled", True, "mine")
        assert (again.offset, again.duplicate) == (first.offset, True)
        with pytest.raises(AlreadyLabelled):
            await label(runtime, "labelled", True, "another")
        with pytest.raises(AlreadyLabelled):
            await label(runtime, "labelled", True)
        with pytest.raises(UnknownPrediction):
            await label(runtime, "unlabelled", True)
        assert len(await log_of(runtime)) == 2


@in_loop
async def test_predictions_whose_write_was_durable_and_told_as_failed_are_counted_once(
    settings: Settings,
) -> None:
    async with opened(settings) as runtime:
        model = (await create(runtime)).id
    fault = Fault("commit done", 0)
    with injected(fault):
        async with opened(settings) as runtime:
            fault.n = fault.seen + 1
            for i in range(3):
                await predict(runtime, {"a": i})
            await until(lambda: not runtime.predictions._unwritten)
            assert fault.struck
            assert await runtime.predictions.count(model) == 3
    async with opened(settings) as runtime:
        assert await runtime.predictions.count(model) == 3


@in_loop
async def test_a_passing_failure_at_the_stop_loses_no_prediction(settings: Settings) -> None:
    slow = settings.model_copy(update={"predictions_write_ms": 100})
    async with opened(slow) as runtime:
        await create(runtime)
    fault = Fault("commit", 0)
    with injected(fault):
        async with opened(slow) as runtime:
            fault.n = fault.seen + 1
            await predict(runtime, {"a": 1}, "last")
    assert fault.struck
    async with opened(slow) as runtime:
        assert (await label(runtime, "last", True)).offset == 2
