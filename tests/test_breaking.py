"""What breaks a learner: refused before it is appended, or dropped alike by every process.

The lines of the table of what River does with values that a JSON body can carry each have a test:
refused where a type or a magnitude tells; where River still raises, the model goes on as if the
example had never been, to the last bit; where it answers nothing finite, the fallback answers.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from app import entries
from app.calls import Feedback
from app.entries import Example
from app.errors import Invalid, NotReady, Unanswerable
from app.replica import Replica
from app.runtime import Runtime
from app.settings import Settings
from learners.learner import Learner
from tests.inside import create, in_loop, label, log_of, opened, predict, teach, until
from tests.process import LINEAR

SCALED = "preprocessing.StandardScaler"
REGRESSION: list[Any] = [SCALED, "linear_model.LinearRegression"]
TREE: list[Any] = [SCALED, "tree.HoeffdingTreeRegressor"]
MINMAX: list[Any] = ["preprocessing.MinMaxScaler", "linear_model.LogisticRegression"]
PROBES: list[Any] = [{"a": 0.5, "b": 1}, {"a": 7}, {"b": -3.25, "a": 2}, {}]

Pair = tuple[dict[str, Any], Any]


class Case(NamedTuple):
    """A learner, and an example that breaks it."""

    task: str
    learner: Any
    bad: Pair


CASES = {
    "a label that a tree cannot square": Case("regression", TREE, ({"a": 1, "b": 2}, 1e300)),
    "a label that a metric cannot square": Case("regression", REGRESSION, ({"a": 1}, -1e300)),
    "an integer label that no tree can": Case("regression", TREE, ({"a": 1}, 10**300)),
    "a category in a linear model": Case("binary", LINEAR, ({"a": 1, "city": "rome"}, True)),
    "a category in a linear regression": Case("regression", REGRESSION, ({"city": "rome"}, 1.5)),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def good(case: Case, count: int, first: int = 0) -> list[Pair]:
    """Examples that the case's learner learns."""
    numbers = range(first, first + count)
    return [
        ({"a": i % 7, "b": 0.1 * i}, i % 3 == 0 if case.task == "binary" else 0.5 * i)
        for i in numbers
    ]


def assert_as_if_never_seen(replica: Replica, pairs: Sequence[Pair]) -> None:
    """The model answers and scores as a bare learner of these examples only."""
    created = replica.created
    bare = Learner(created.learner, created.task, created.metrics)
    for x, y in pairs:
        bare.score(y, bare.predict(x))
        bare.learn(x, y)
    assert [replica.learner.predict(x) for x in PROBES] == [bare.predict(x) for x in PROBES]
    assert replica.learner.scores.figures() == bare.scores.figures()
    assert replica.learner.scores.recent_figures() == bare.scores.recent_figures()
    assert replica.model.monitor.examples == len(pairs)
    assert set(replica.model.types) == {name for x, _ in pairs for name in x}


def codes(answer: Any) -> list[str]:
    """The codes of an answer's warnings."""
    return [warning.code for warning in answer.warnings or ()]


async def unlearnable(runtime: Runtime) -> list[int]:
    """The offsets that the log says are unlearnable."""
    found = [entries.decode(row.body) for row in await log_of(runtime)]
    return [entry.offset for entry in found if isinstance(entry, entries.Unlearnable)]


async def until_recorded(runtime: Runtime, count: int) -> None:
    """Wait until the log says of so many entries that they are unlearnable."""
    async with asyncio.timeout(20):
        while len(await unlearnable(runtime)) < count:
            await asyncio.sleep(0.005)


@in_loop
async def test_a_value_that_would_break_a_numeric_feature_is_refused(settings: Settings) -> None:
    values: list[Any] = ["text", "3", "", [], [1], {}, {"b": 1}, True]
    values += [math.nan, math.inf, -math.inf, 1e300, 10**309]
    async with opened(settings) as runtime:
        await create(runtime)
        await teach(runtime, {"a": 1}, True)
        for value in values:
            for refused in (predict(runtime, {"a": value}), teach(runtime, {"a": value}, True)):
                with pytest.raises(Invalid, match=r"features\.a is "):
                    await refused
        assert len(await log_of(runtime)) == 2


@pytest.mark.parametrize(
    ("task", "learner", "values"),
    [
        ("binary", LINEAR, [2, 1e300, "True", None, math.nan, 10**400]),
        ("multiclass", "naive_bayes.GaussianNB", [True, 1.0, None, math.nan]),
        ("regression", TREE, [math.nan, math.inf, True, None, "3", 10**400]),
    ],
)
@in_loop
async def test_a_label_that_would_break_a_learner_is_refused(
    settings: Settings, task: str, learner: Any, values: list[Any]
) -> None:
    async with opened(settings) as runtime:
        await create(runtime, task=task, learner=learner)
        for value in values:
            with pytest.raises(Invalid, match="label is "):
                await teach(runtime, {"a": 1}, value)
        assert len(await log_of(runtime)) == 1


@each_case
@in_loop
async def test_what_breaks_a_learner_leaves_no_trace_but_in_the_log(
    settings: Settings, case: Case
) -> None:
    before, after = good(case, 30), good(case, 30, 30)
    async with opened(settings) as runtime:
        replica = await create(runtime, task=case.task, learner=case.learner)
        for x, y in before:
            await teach(runtime, x, y)
        told = await teach(runtime, *case.bad, "bad")
        assert (told.offset, codes(told)) == (32, ["unlearnable"])
        assert_as_if_never_seen(replica, before)
        for x, y in after:
            assert codes(await teach(runtime, x, y)) == []
        assert_as_if_never_seen(replica, before + after)
        assert replica.model.monitor.unlearnable == 1
        await until_recorded(runtime, 1)
        assert await unlearnable(runtime) == [32]
        again = await teach(runtime, *case.bad, "bad")
        assert again == Feedback("bad", 32, True, told.warnings)
    async with opened(settings) as runtime:
        assert_as_if_never_seen(runtime.replica("m"), before + after)
        assert await teach(runtime, *case.bad, "bad") == again
        assert await unlearnable(runtime) == [32]


@in_loop
async def test_a_label_of_a_prediction_may_break_a_learner_too(settings: Settings) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime, task="regression", learner=TREE)
        await teach(runtime, {"a": 1}, 2.0)
        asked = await predict(runtime, {"a": 1, "b": 2})
        assert codes(await label(runtime, asked.id, 1e300)) == ["unlearnable"]
        assert_as_if_never_seen(replica, [({"a": 1}, 2.0)])


@each_case
@in_loop
async def test_many_that_break_it_in_a_row_leave_no_trace(settings: Settings, case: Case) -> None:
    pairs = good(case, 20)
    async with opened(settings) as runtime:
        replica = await create(runtime, task=case.task, learner=case.learner)
        assert codes(await teach(runtime, *case.bad)) == ["unlearnable"]
        for x, y in pairs:
            await teach(runtime, x, y)
        for _ in range(8):
            assert codes(await teach(runtime, *case.bad)) == ["unlearnable"]
        assert_as_if_never_seen(replica, pairs)
        await until_recorded(runtime, 9)
    async with opened(settings) as runtime:
        assert_as_if_never_seen(runtime.replica("m"), pairs)


@each_case
@in_loop
async def test_good_feedback_on_its_way_beside_bad_is_learned(
    settings: Settings, case: Case
) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime, task=case.task, learner=case.learner)
        pairs = good(case, 60)
        told = await asyncio.gather(
            *(
                teach(runtime, *(case.bad if i % 6 == 5 else pairs[i]), f"{i}")
                for i in range(len(pairs))
            )
        )
        assert [codes(one) == ["unlearnable"] for one in told] == [i % 6 == 5 for i in range(60)]
        in_order = sorted((one.offset, int(one.id)) for one in told if not one.warnings)
        assert_as_if_never_seen(replica, [pairs[i] for _, i in in_order])
        await until_recorded(runtime, 10)
        learned = [pairs[i] for _, i in in_order]
    async with opened(settings) as runtime:
        assert_as_if_never_seen(runtime.replica("m"), learned)


@in_loop
async def test_every_process_drops_it_alike_and_says_so(settings: Settings) -> None:
    case = CASES["a label that a tree cannot square"]
    quick = settings.model_copy(update={"tail_poll_seconds": 0.01})
    async with opened(quick) as one, opened(quick) as other:
        await create(one, task=case.task, learner=case.learner)
        await until(lambda: len(other.replicas()) == 1 and other.is_restored())
        pairs = good(case, 10)
        for i, (x, y) in enumerate(pairs):
            await teach((one, other)[i % 2], x, y)
        assert codes(await teach(one, *case.bad, "bad")) == ["unlearnable"]
        assert codes(await teach(other, *case.bad, "bad")) == ["unlearnable"]
        assert codes(await teach(other, *case.bad, "worse")) == ["unlearnable"]
        await until_recorded(one, 2)
        for runtime in (one, other):
            await until(lambda r=runtime: r.replica("m").model.offset_applied == 15)  # type: ignore[misc]
            assert_as_if_never_seen(runtime.replica("m"), pairs)


async def answered_while_rebuilding(runtime: Runtime, case: Case) -> list[Any]:
    """What is answered, or raised, from the moment that a learner breaks to its rebuilding."""
    replica = runtime.replica("m")
    bad = asyncio.create_task(teach(runtime, *case.bad))
    await until(lambda: replica.state == "rebuilding")
    heard: list[Any] = []
    while not bad.done():
        heard += await asyncio.gather(predict(runtime, {"a": 1}), return_exceptions=True)
        await asyncio.sleep(0)
    assert codes(await bad) == ["unlearnable"]
    return heard


@in_loop
async def test_a_model_goes_on_answering_by_its_labels_while_it_is_rebuilt(
    settings: Settings,
) -> None:
    case = CASES["a label that a tree cannot square"]
    async with opened(settings) as runtime:
        await create(runtime, task=case.task, learner=case.learner)
        await asyncio.gather(*(teach(runtime, {"a": i}, 3.0) for i in range(300)))
        first, *_ = heard = await answered_while_rebuilding(runtime, case)
        assert (first.prediction, codes(first)) == (3.0, ["fallback"])
        assert "is being rebuilt" in first.warnings[0].detail
        assert not [answer for answer in heard if isinstance(answer, BaseException)]
        assert codes(await predict(runtime, {"a": 1})) == []


@in_loop
async def test_a_model_without_fallback_says_to_ask_again_while_it_is_rebuilt(
    settings: Settings,
) -> None:
    case = CASES["a label that a tree cannot square"]
    async with opened(settings) as runtime:
        await create(runtime, task=case.task, learner=case.learner, fallback="error")
        await asyncio.gather(*(teach(runtime, {"a": i}, 3.0) for i in range(300)))
        heard = await answered_while_rebuilding(runtime, case)
        assert isinstance(heard[0], NotReady)
        assert codes(await predict(runtime, {"a": 1})) == []


@in_loop
async def test_what_is_sent_while_it_is_rebuilt_is_learned_after(settings: Settings) -> None:
    case = CASES["a label that a tree cannot square"]
    async with opened(settings) as runtime:
        replica = await create(runtime, task=case.task, learner=case.learner)
        pairs = good(case, 200)
        for x, y in pairs[:150]:
            await teach(runtime, x, y)
        bad = asyncio.create_task(teach(runtime, *case.bad))
        await until(lambda: replica.state == "rebuilding")
        for x, y in pairs[150:]:
            assert codes(await teach(runtime, x, y)) == []
        assert codes(await bad) == ["unlearnable"]
        assert_as_if_never_seen(replica, pairs)


@in_loop
async def test_a_feature_that_only_a_dropped_example_had_has_no_type(settings: Settings) -> None:
    async with opened(settings) as runtime:
        await create(runtime)
        assert codes(await teach(runtime, {"city": "rome"}, True)) == ["unlearnable"]
        assert codes(await teach(runtime, {"city": 1.5}, True)) == []
        assert runtime.replica("m").model.types == {"city": "number"}


@pytest.mark.parametrize(
    ("task", "learner", "labels", "prior", "shares"),
    [
        ("binary", MINMAX, [True, False, False], False, {"true": 1 / 3, "false": 2 / 3}),
        ("regression", [MINMAX[0], REGRESSION[1]], [1, 2.0, 6], 3.0, None),
        ("binary", MINMAX, [], None, None),
    ],
)
@in_loop
async def test_an_answer_that_is_not_finite_is_the_fallbacks_and_is_counted(
    settings: Settings, task: str, learner: Any, labels: list[Any], prior: Any, shares: Any
) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime, task=task, learner=learner)
        for i, y in enumerate(labels):
            await teach(runtime, {"a": i}, y)
        answer = await predict(runtime, {"a": 1, "new": 2.5})
        assert (answer.prediction, answer.probabilities) == (prior, shares)
        assert codes(answer)[0] == "fallback"
        await label(runtime, answer.id, True if task == "binary" else 1.5)
        assert replica.model.monitor.fallbacks == 1


@in_loop
async def test_a_prediction_that_raises_is_the_fallbacks(settings: Settings) -> None:
    async with opened(settings) as runtime:
        await create(runtime, learner="linear_model.LogisticRegression")
        await teach(runtime, {"a": 1}, True)
        answer = await predict(runtime, {"a": 1, "city": "rome"})
        assert (answer.prediction, answer.probabilities) == (True, {"true": 1.0})
        assert codes(answer) == ["fallback"]
        assert runtime.replica("m").model.types == {"a": "number"}


@in_loop
async def test_a_model_without_fallback_answers_no_guess(settings: Settings) -> None:
    async with opened(settings) as runtime:
        await create(runtime, learner=MINMAX, fallback="error")
        for i in range(5):
            await teach(runtime, {"a": i}, True)
        for features in ({"a": 1, "new": 2.5}, {"city": "rome"}):
            with pytest.raises(Unanswerable, match="The learner has no answer"):
                await predict(runtime, features, "mine")
        assert (await predict(runtime, {"a": 1}, "mine")).prediction is True
        assert await runtime.predictions.count(runtime.replica("m").id) == 1


@in_loop
async def test_an_answer_by_the_fallback_is_scored_as_it_was_served(settings: Settings) -> None:
    async with opened(settings) as runtime:
        replica = await create(runtime, learner=MINMAX)
        for i in range(4):
            await teach(runtime, {"a": i}, True)
        asked = await predict(runtime, {"a": 1, "new": 2.5})
        await label(runtime, asked.id, False)
        expected = [entry for entry in await log_of(runtime) if entry.prediction_id == asked.id]
        served = entries.decode(expected[0].body)
        assert isinstance(served, Example) and served.served is not None
        assert (served.served.prediction, served.served.fallback) == (True, True)
        figures = replica.learner.scores.figures()
    async with opened(settings) as runtime:
        assert runtime.replica("m").learner.scores.figures() == figures
