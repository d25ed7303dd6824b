"""The two hot calls when many come at once: what is on its way counts as what is there."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from app.api.models import metrics_answer
from app.calls import Feedback, FeedbackRequest
from app.errors import AlreadyLabelled, InvalidBody, InvalidFeatures, InvalidLabel, Overloaded
from app.serving import Serving
from app.settings import Settings
from tests.inside import create, in_loop, label, log_of, opened, predict, teach

pytestmark = pytest.mark.usefixtures("backend")

TREE = "tree.HoeffdingTreeClassifier"
BAYES = "naive_bayes.GaussianNB"


async def at_once(calls: Sequence[Awaitable[Any]]) -> list[Any]:
    """What each was answered, or refused with."""
    return list(await asyncio.gather(*calls, return_exceptions=True))


@in_loop
async def test_of_two_that_fix_a_feature_differently_at_once_the_first_is_taken(
    settings: Settings,
) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime, learner=TREE)
        values = [1, "text", 2, True, 3.5]
        outcomes = await at_once([teach(runtime, {"a": value}, True) for value in values])
        taken = [isinstance(outcome, Feedback) for outcome in outcomes]
        assert taken == [True, False, True, False, True]
        assert isinstance(outcomes[1], InvalidFeatures)
        assert outcomes[1].problems[0] == ("features.a", "is a category, not a number")
        assert replica.model.types == {"a": "number"}
        assert replica.types_claimed == {}
        assert len(await log_of(runtime)) == 4


@in_loop
async def test_labels_that_read_alike_are_refused_also_at_once(settings: Settings) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime, task="multiclass", learner=BAYES)
        outcomes = await at_once([teach(runtime, {"a": 1}, y) for y in (7, "7", 7, "8", 8)])
        taken = [isinstance(outcome, Feedback) for outcome in outcomes]
        assert taken == [True, False, True, True, False]
        assert isinstance(outcomes[1], InvalidLabel)
        assert set(replica.model.monitor.labels) == {7, "8"}
        assert replica.labels_claimed == set()


@in_loop
async def test_a_claim_lasts_no_longer_than_the_feedback_that_made_it(settings: Settings) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime, learner=TREE)
        asked = await predict(runtime, {"new": "text"})
        await label(runtime, (await predict(runtime, {"a": 1})).id, True, "f")
        replica.claim({"busy": "number"}, [])
        # An id that is known: its entry is not appended again, and fixes nothing.
        assert (await label(runtime, asked.id, True, "f")).duplicate
        assert (await teach(runtime, {"new": 1.5}, True)).duplicate is False
        assert replica.types_claimed == {"busy": "number"}
        assert replica.model.types == {"a": "number", "new": "number"}


@in_loop
async def test_labels_on_their_way_count_once_towards_how_many_there_may_be(
    settings: Settings,
) -> None:
    few = settings.model_copy(update={"classes_max": 6})
    async with opened(few) as runtime:
        replica = await create(runtime, task="multiclass", learner=BAYES)
        outcomes = await at_once([teach(runtime, {"a": 1}, f"l{i % 8}") for i in range(16)])
        taken = [isinstance(outcome, Feedback) for outcome in outcomes]
        assert taken == [i % 8 < 6 for i in range(16)]
        assert len(replica.model.monitor.labels) == 6
        with pytest.raises(InvalidLabel, match="one more than it may"):
            await teach(runtime, {"a": 1}, "l7")
        assert (await teach(runtime, {"a": 1}, "l5")).duplicate is False


@in_loop
async def test_of_many_labels_of_one_prediction_at_once_one_is_taken(settings: Settings) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime)
        asked = await predict(runtime, {"a": 1})
        outcomes = await at_once([label(runtime, asked.id, i % 2 == 0) for i in range(20)])
        taken = [outcome for outcome in outcomes if isinstance(outcome, Feedback)]
        assert [one.duplicate for one in taken] == [False]
        assert sum(isinstance(outcome, AlreadyLabelled) for outcome in outcomes) == 19
        assert replica.model.monitor.examples == 1


@in_loop
async def test_feedback_sent_many_times_at_once_is_learned_once(settings: Settings) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime)
        told = await at_once([teach(runtime, {"a": 1}, True, "f") for _ in range(20)])
        assert sorted(one.duplicate for one in told) == [False] + [True] * 19
        assert {one.offset for one in told} == {2}
        assert replica.model.monitor.examples == 1


@in_loop
async def test_what_is_refused_over_a_full_queue_is_taken_when_sent_again(
    settings: Settings,
) -> None:
    small = settings.model_copy(update={"append_queue_max": 8})
    async with opened(small) as runtime:
        replica = await create(runtime)
        waiting = {f"f{i}": i for i in range(40)}
        while waiting:
            ids = list(waiting)
            told = await at_once([teach(runtime, {"a": waiting[id]}, True, id) for id in ids])
            for id, outcome in zip(ids, told, strict=True):
                assert isinstance(outcome, Feedback | Overloaded)
                if isinstance(outcome, Feedback):
                    assert outcome.duplicate is False
                    del waiting[id]
        assert replica.model.monitor.examples == 40
        assert replica.types_claimed == {}


@in_loop
async def test_every_feedback_that_is_answered_is_known_to_the_next_prediction(
    settings: Settings,
) -> None:
    async with opened(settings) as runtime:
        await create(runtime)

        async def told_and_asked(i: int) -> bool:
            told = await teach(runtime, {"a": i}, True)
            return (await predict(runtime, {"a": i})).offset >= told.offset

        assert all(await at_once([told_and_asked(i) for i in range(100)]))


@in_loop
async def test_the_share_of_labelled_predictions_is_never_over_one(settings: Settings) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime)
        for _ in range(3):
            await label(runtime, (await predict(runtime, {"a": 1})).id, True)
        # As after a crash that forgot predictions whose labels were durable.
        told = metrics_answer(replica, 1, (0, 0))
        assert (told.predictions, told.labelled_share) == (3, 1.0)


@in_loop
async def test_ids_of_our_own_entries_are_no_callers_ids(settings: Settings) -> None:
    async with opened(settings) as runtime:
        await create(runtime)
        for id in ("headrace:unlearnable:2", "headrace:"):
            with pytest.raises(InvalidBody):
                await teach(runtime, {"a": 1}, True, id)
            with pytest.raises(InvalidBody):
                await predict(runtime, {"a": 1}, id)
        assert not (await teach(runtime, {"a": 1}, True, "unlearnable:2")).duplicate


@in_loop
async def test_an_observation_too_wide_for_its_learner_is_refused(settings: Settings) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime, task="regression", learner="facto.FMRegressor")
        wide: Any = {f"f{i}": 1.5 for i in range(replica.model.features_max + 1)}
        for call in (predict(runtime, wide), teach(runtime, wide, 1.5)):
            with pytest.raises(InvalidFeatures) as refused:
                await call
            assert "too long" in refused.value.message
        assert len(await log_of(runtime)) == 1


@in_loop
async def test_names_on_their_way_count_towards_how_many_a_model_may_know(
    settings: Settings,
) -> None:
    few = settings.model_copy(update={"features_known_max": 10})
    async with opened(few) as runtime:
        replica = await create(runtime)
        calls = [teach(runtime, {f"f{i}-{j}": 1.0 for j in range(4)}, True) for i in range(6)]
        outcomes = await at_once(calls)
        assert sum(isinstance(outcome, Feedback) for outcome in outcomes) == 2
        assert len(replica.model.types) == 8


@in_loop
async def test_feedback_says_which_of_its_fields_is_wanting(settings: Settings) -> None:
    async with opened(settings) as runtime:
        await create(runtime)
        serving = Serving(runtime)
        with pytest.raises(InvalidBody, match="both were sent"):
            await serving.feedback(
                "m", FeedbackRequest(prediction_id="p", features={"a": 1}, label=True)
            )
        with pytest.raises(InvalidBody, match="neither was sent"):
            await serving.feedback("m", FeedbackRequest(label=True))
        with pytest.raises(InvalidLabel, match="label is missing"):
            await serving.feedback("m", FeedbackRequest(features={"a": 1}))


@in_loop
async def test_a_page_of_the_log_is_bounded_in_bytes(settings: Settings) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime, learner=TREE)
        text = "x" * 900_000
        for n in range(12):
            await teach(runtime, {"n": n, "t": text}, True)
        page = await runtime.log.read(replica.id, 0, 1_000)
        assert 8 <= len(page) < 13
        rest = await runtime.log.read(replica.id, page[-1].offset, 1_000)
        assert [row.offset for row in (*page, *rest)] == list(range(1, 14))
