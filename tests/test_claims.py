"""What feedback on its way fixes is claimed until it is applied, whoever waits for that."""

import asyncio
from typing import Any

import pytest

from app.entries import LabelRules
from app.errors import InvalidFeatures, InvalidLabel, NotReady, Overloaded
from app.joining import Joining
from app.replica import Replica
from app.runtime import Runtime
from app.settings import Settings
from tests.inside import (
    Clock,
    create,
    in_loop,
    label,
    log_of,
    opened,
    predict,
    settings_in,
    teach,
    until,
)

pytestmark = pytest.mark.usefixtures("backend")

BAYES = "naive_bayes.GaussianNB"


def held_up(replica: Replica) -> None:
    """Let nothing be applied."""
    replica.state = "rebuilding"


def going_on(runtime: Runtime, replica: Replica) -> None:
    """Let everything be applied that waits."""
    replica.state = "ready"
    runtime.applier._busy.append(replica)
    runtime.applier.deliver(())


@in_loop
async def test_a_default_waits_while_other_feedback_may_come_to_nothing(settings: Settings) -> None:
    clock = Clock()
    async with opened(settings, clock) as runtime:
        replica = await create(runtime, labels=LabelRules(wait_seconds=10, default=False))
        other = await create(runtime, "other", labels=LabelRules(wait_seconds=10, default=False))
        await predict(runtime, {"new": 1}, "p")
        await predict(runtime, {"new": 1}, "p", model="other")
        await until(lambda: not runtime.predictions._unwritten)
        clock.advance(11)
        replica.claim({"new": "text"}, [])
        assert await Joining(runtime).settle_due() == 1
        assert other.model.monitor.defaults == 1
        with pytest.raises(Overloaded):
            await label(runtime, "p", True, "late")
        assert replica.model.monitor.defaults == 0
        assert (await runtime.predictions.label_counts(replica.id)) == (0, 0)
        # What claimed it was never appended.
        replica.settle({"new": "text"}, [])
        assert await Joining(runtime).settle_due() == 1
        assert replica.model.monitor.defaults == 1
        assert await Joining(runtime).settle_due() == 0


@in_loop
async def test_a_default_that_contradicts_what_is_known_stays_without(settings: Settings) -> None:
    clock = Clock()
    async with opened(settings, clock) as runtime:
        replica = await create(runtime, labels=LabelRules(wait_seconds=10, default=False))
        await predict(runtime, {"new": 1}, "p")
        await teach(runtime, {"new": True}, True)
        await until(lambda: not runtime.predictions._unwritten)
        clock.advance(11)
        assert await Joining(runtime).settle_due() == 1
        assert replica.model.monitor.defaults == 0
        assert (await runtime.predictions.label_counts(replica.id)) == (1, 0)


@pytest.mark.parametrize("how", ["in time", "by the rules"])
def test_who_gives_up_waiting_still_claims(tmp_path: Any, how: str) -> None:
    settings = settings_in(tmp_path, feedback_seconds_max=0.2)
    clock = Clock()

    @in_loop
    async def run() -> None:
        async with opened(settings, clock) as runtime:
            rules = LabelRules(wait_seconds=10)
            replica = await create(runtime, "m", "multiclass", BAYES, labels=rules)
            await predict(runtime, {"new": 1}, "p")
            clock.advance(0 if how == "in time" else 11)
            held_up(replica)
            with pytest.raises(NotReady):
                await label(runtime, "p", 7)
            with pytest.raises(InvalidFeatures):
                await teach(runtime, {"new": "text"}, 7)
            with pytest.raises(InvalidLabel):
                await teach(runtime, {}, "7")
            going_on(runtime, replica)
            await asyncio.sleep(0.01)
            assert len(await log_of(runtime)) == 2
            assert not replica.types_claimed
            assert not replica.labels_claimed
            assert not replica._claims
            assert replica.model.types == {"new": "number"}

    run()


@in_loop
async def test_unknown_predictions_take_one_place_a_request_and_not_all(settings: Settings) -> None:
    async with opened(settings.model_copy(update={"requests_max": 16})) as runtime:
        early = runtime.predictions.early
        many = [str(n) for n in range(1_000)]
        waiting = [asyncio.create_task(early.wait(1, many, 5)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await early.wait(1, ["p"], 5)
        assert await early.wait(1, ["p"], 0) == {}
        waiting += [asyncio.create_task(early.wait(2, many, 0.3)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await early.wait(3, ["p"], 5)
        assert await asyncio.gather(*waiting[2:]) == [{}, {}]
        assert await early.wait(3, ["p"], 0.01) == {}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert not early._awaited
        assert not early._places.total()
