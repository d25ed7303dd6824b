"""The registry: models come and go, here and in other processes; a name that is free is new."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from app.database import Database
from app.errors import (
    HeadraceError,
    InvalidSpec,
    ModelExists,
    TooManyModels,
    UnknownModel,
    UnknownPrediction,
)
from app.log import Draft, append
from app.registry import SWEEP_CHUNK, Registry
from app.runtime import Runtime
from app.settings import Settings
from app.tables import entries, predictions
from tests.inside import create, in_loop, label, log_of, opened, predict, teach, until, wanted

pytestmark = pytest.mark.usefixtures("backend")


async def rows_of(database: Database, model_id: int) -> tuple[int, int]:
    """How many entries and predictions of a model stand in the tables."""

    def count(table: sa.Table) -> Any:
        return sa.select(sa.func.count()).where(table.c.model_id == model_id).select_from(table)

    return await database.read(
        lambda c: (
            int(c.execute(count(entries)).scalar_one()),
            int(c.execute(count(predictions)).scalar_one()),
        )
    )


def names(runtime: Runtime) -> list[str]:
    """The models that a process knows."""
    return [replica.name for replica in runtime.replicas()]


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Settings by which processes soon see what others did."""
    return settings.model_copy(update={"tail_poll_seconds": 0.01})


@in_loop
async def test_a_model_is_created_with_the_first_entry_of_its_log(settings: Settings) -> None:
    database = Database(settings)
    registry = Registry(database, 10)
    registered = await registry.create(wanted("m", description="why"), "id", 5)
    assert (registered.name, registered.head, registered.created_at) == ("m", 1, 5)
    assert await registry.list(but=set()) == [registered]
    assert await registry.list(but={registered.id}) == []
    assert await rows_of(database, registered.id) == (1, 0)
    database.close()


@in_loop
async def test_models_are_listed_in_the_order_of_their_creation(settings: Settings) -> None:
    database = Database(settings)
    registry = Registry(database, 10)
    for name in ("c", "a", "b"):
        await registry.create(wanted(name), f"id {name}", 0)
    assert [found.name for found in await registry.list(but=set())] == ["c", "a", "b"]
    database.close()


@in_loop
async def test_a_name_that_is_taken_is_refused(settings: Settings) -> None:
    async with opened(settings) as runtime:
        await create(runtime)
        with pytest.raises(ModelExists):
            await create(runtime)
        at_once = await asyncio.gather(
            *(create(runtime, "n") for _ in range(5)), return_exceptions=True
        )
        assert sum(isinstance(outcome, ModelExists) for outcome in at_once) == 4
        assert names(runtime) == ["m", "n"]


@in_loop
async def test_over_the_number_of_models_none_is_created(settings: Settings) -> None:
    async with opened(settings.model_copy(update={"models_max": 2})) as runtime:
        await create(runtime, "a")
        await create(runtime, "b")
        with pytest.raises(TooManyModels):
            await create(runtime, "c")
        await runtime.delete("a")
        await create(runtime, "c")
        assert names(runtime) == ["b", "c"]


@in_loop
async def test_a_spec_that_cannot_be_built_creates_nothing(settings: Settings) -> None:
    async with opened(settings) as runtime:
        with pytest.raises(InvalidSpec):
            await create(runtime, learner="os.system")
        assert names(runtime) == []
        assert await runtime.log.heads() == {}


@in_loop
async def test_what_is_deleted_is_gone_and_cannot_be_deleted_again(settings: Settings) -> None:
    async with opened(settings) as runtime:
        await create(runtime)
        await runtime.delete("m")
        for _ in range(2):
            with pytest.raises(UnknownModel):
                await runtime.delete("m")
        with pytest.raises(UnknownModel):
            await predict(runtime, {"a": 1})


@in_loop
async def test_a_name_that_is_created_again_begins_anew(settings: Settings) -> None:
    async with opened(settings) as runtime:
        old = await create(runtime)
        await predict(runtime, {"a": 1}, "p")
        await predict(runtime, {"a": 1}, "q")
        await label(runtime, "p", True, "f")
        await teach(runtime, {"b": "text"}, True, "g")
        await runtime.delete("m")
        new = await create(runtime)
        assert new.id > old.id
        assert [row.kind for row in await log_of(runtime)] == ["created"]
        assert new.model.types == {}
        assert await runtime.predictions.count(new.id) == 0
        for id in ("p", "q"):
            with pytest.raises(UnknownPrediction):
                await label(runtime, id, True)
        assert (await teach(runtime, {"b": 1.5}, True, "f")).duplicate is False
        fresh = await predict(runtime, {"b": 2.5}, "p")
        assert fresh.offset == 2
    async with opened(settings) as runtime:
        assert len(await log_of(runtime)) == 2
        assert await predict(runtime, {}, "p") == fresh
        with pytest.raises(UnknownPrediction):
            await label(runtime, "q", True)


@in_loop
async def test_a_large_log_of_a_deleted_model_is_swept_and_no_other(settings: Settings) -> None:
    database = Database(settings)
    registry = Registry(database, 10)
    doomed, kept = [(await registry.create(wanted(name), name, 0)).id for name in ("m", "n")]
    for model in (doomed, kept):
        some = [Draft(model, "example", str(i), None, 0, b"{}") for i in range(SWEEP_CHUNK + 1)]
        await database.write(lambda c, some=some: append(c, some))  # type: ignore[misc]
        row = {"model_id": model, "id": "p", "at": 0, "due_at": 0, "settled": False, "body": b"{}"}
        await database.write(lambda c, row=row: c.execute(sa.insert(predictions), row))  # type: ignore[misc]
    await registry.delete("m")
    assert await rows_of(database, doomed) == (SWEEP_CHUNK + 2, 1)
    assert await registry.sweep() == SWEEP_CHUNK + 3
    assert await rows_of(database, doomed) == (0, 0)
    assert await rows_of(database, kept) == (SWEEP_CHUNK + 2, 1)
    assert await registry.sweep() == 0
    database.close()


@in_loop
async def test_deleting_sweeps_beside_the_requests(settings: Settings) -> None:
    async with opened(settings) as runtime:
        model = (await create(runtime)).id
        for i in range(20):
            await teach(runtime, {"a": i}, True)
        await runtime.delete("m")
        async with asyncio.timeout(10):
            while await rows_of(runtime.database, model) != (0, 0):
                await asyncio.sleep(0.01)


@in_loop
async def test_models_of_another_process_appear_and_disappear(quick: Settings) -> None:
    async with opened(quick) as one, opened(quick) as other:
        await create(one)
        await until(lambda: names(other) == ["m"] and other.is_restored())
        for i in range(5):
            await teach(one, {"a": i}, i > 2)
        await until(lambda: other.replica("m").model.offset_applied == 6)
        mine, theirs = await predict(one, {"a": 3}), await predict(other, {"a": 3})
        assert (mine.probabilities, mine.offset) == (theirs.probabilities, theirs.offset)
        await one.delete("m")
        await until(lambda: names(other) == [])


@in_loop
async def test_a_model_that_another_process_created_again_is_the_new_one(quick: Settings) -> None:
    async with opened(quick) as one, opened(quick) as other:
        await create(one)
        await until(lambda: names(other) == ["m"] and other.is_restored())
        await one.delete("m")
        new = await create(one, task="regression", learner="linear_model.LinearRegression")

        def is_seen() -> bool:
            return names(other) == ["m"] and other.replica("m").id == new.id

        await until(lambda: is_seen() and other.is_restored())
        assert (await predict(other, {"a": 1})).prediction == 0.0


@in_loop
async def test_two_processes_learn_one_model_from_the_feedback_of_both(quick: Settings) -> None:
    async with opened(quick) as one, opened(quick) as other:
        await create(one)
        await until(lambda: names(other) == ["m"] and other.is_restored())
        await asyncio.gather(
            *(teach(one, {"a": i}, i % 3 == 0, f"one {i}") for i in range(30)),
            *(teach(other, {"a": -i}, i % 2 == 0, f"other {i}") for i in range(30)),
            *(teach(process, {"a": 5}, True, "both") for process in (one, other)),
        )
        await until(lambda: one.replica("m").model.offset_applied == 62)
        await until(lambda: other.replica("m").model.offset_applied == 62)
        for probe in ({"a": 1}, {"a": -7}, {"a": 0.5}):
            mine, theirs = await predict(one, probe), await predict(other, probe)
            assert mine.probabilities == theirs.probabilities


@in_loop
async def test_feedback_on_its_way_to_a_model_that_is_deleted_is_told_so(
    settings: Settings,
) -> None:
    async with opened(settings) as runtime:
        await create(runtime)
        replica = runtime.replica("m")
        on_their_way = [asyncio.create_task(teach(runtime, {"a": i}, True)) for i in range(50)]
        await asyncio.sleep(0)
        await runtime.delete("m")
        outcomes = await asyncio.gather(*on_their_way, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert all(isinstance(error, HeadraceError) for error in refused)
        assert replica.types_claimed == {}
