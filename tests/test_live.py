"""The fold: what entries make of a model, what breaks it, what answers meanwhile."""

import math
from collections.abc import Iterable
from typing import Any

import pytest

from app.entries import Created, Entry, Example, Served, Unlearnable
from app.live import Broke, LiveModel, Reply, served_of, type_of
from app.runtime import completed
from learners.scoring import Answer
from tests.inside import wanted

REGRESSION: list[Any] = ["preprocessing.StandardScaler", "linear_model.LinearRegression"]
FRAGILE: list[Any] = ["preprocessing.StandardScaler", "tree.HoeffdingTreeRegressor"]


def created(task: Any = "regression", learner: Any = REGRESSION, **more: Any) -> Created:
    """A model's creation, in its stored form."""
    return completed(wanted("m", task, learner, **more), None, 7)


def live_of(created: Created, *drafts: Entry, dropped: Iterable[int] = ()) -> LiveModel:
    """A live model that applied these entries."""
    live = LiveModel(created, 0, dict.fromkeys(dropped, "it broke"))
    for offset, entry in enumerate(drafts, 2):
        live.apply(offset, entry, offset)
    return live


def test_a_model_begins_at_the_offset_of_its_creation() -> None:
    live = live_of(created(features={"a": "number"}))
    assert live.offset_applied == 1
    assert live.types == {"a": "number"}
    assert live.reply({"a": 1}) == Reply(Answer(0.0))


def test_each_example_is_answered_scored_and_then_learned() -> None:
    live = live_of(created(), *(Example({"a": i}, i) for i in range(5)))
    assert live.learner is not None
    assert live.offset_applied == 6
    assert live.monitor.examples == 5
    assert live.learner.scores.scored == 5


def test_a_label_of_a_prediction_is_scored_on_what_was_served() -> None:
    live = live_of(created(), Example({"a": 1}, 5.0, Served(2.0, 0)))
    assert live.learner is not None
    assert live.learner.scores.figures()["MAE"] == 3.0
    assert live.monitor.labelled == 1


def test_a_prediction_that_had_no_answer_is_learned_and_not_scored() -> None:
    live = live_of(created(), Example({"a": 1}, 5.0, Served(None, 0)))
    assert live.learner is not None
    assert (live.learner.scores.scored, live.monitor.unanswered) == (0, 1)


@pytest.mark.parametrize("offset", [1, 3, 0])
def test_an_entry_that_is_not_the_next_one_is_a_bug(offset: int) -> None:
    live = live_of(created())
    with pytest.raises(RuntimeError, match="was applied after 1"):
        live.apply(offset, Example({"a": 1}, 1), 0)


def test_a_model_is_created_once() -> None:
    with pytest.raises(RuntimeError, match="created again"):
        live_of(created(), created())


def test_the_first_example_that_carries_a_feature_fixes_its_type() -> None:
    live = live_of(
        created(
            features={"t": "text"}, learner={"tree.HoeffdingTreeClassifier": {}}, task="binary"
        ),
        Example({"a": None, "b": 1, "t": "some words"}, True),
        Example({"a": "x", "c": True}, False),
        Example({"a": None, "b": 2.5}, True),
    )
    assert live.types == {"t": "text", "b": "number", "a": "category", "c": "boolean"}


def test_a_prediction_fixes_nothing_and_changes_nothing() -> None:
    entries = [Example({"a": i % 3}, i) for i in range(20)]
    asked, unasked = live_of(created(), *entries), live_of(created(), *entries)
    for i in range(5):
        asked.reply({"a": i, f"new{i}": 1.0})
    assert asked.types == unasked.types == {"a": "number"}
    assert asked.reply({"a": 0.3}) == unasked.reply({"a": 0.3})


def test_what_was_sent_is_left_as_it_is() -> None:
    features: Any = {"b": 1, "a": None}
    live = live_of(created(), Example(features, 1))
    live.reply(features)
    assert features == {"b": 1, "a": None}


def test_a_learner_that_breaks_is_asked_no_more_and_the_labels_answer() -> None:
    live = live_of(created(learner=FRAGILE), Example({"a": 1}, 1), Example({"a": 2}, 3))
    with pytest.raises(Broke, match="offset 4: OverflowError") as caught:
        live.apply(4, Example({"a": 1}, 1e300), 0)
    assert (caught.value.offset, live.learner, live.offset_applied) == (4, None, 3)
    assert live.reply({"a": 1}) == Reply(Answer(2.0), "the learner is being rebuilt")
    with pytest.raises(RuntimeError, match="a learner that broke"):
        live.apply(4, Example({"a": 1}, 1), 0)


def test_a_dropped_example_is_counted_and_leaves_no_other_trace() -> None:
    bad = Example({"new": 1}, 1e300)
    good = [Example({"a": 1}, 1), Example({"a": 2}, 3)]
    live = live_of(created(learner=FRAGILE), good[0], bad, good[1], dropped=[3])
    bare = live_of(created(learner=FRAGILE), *good)
    assert live.learner is not None and bare.learner is not None
    assert (live.monitor.unlearnable, live.monitor.examples) == (1, 2)
    assert live.types == bare.types == {"a": "number"}
    assert live.reply({"a": 1.5}) == bare.reply({"a": 1.5})
    assert live.learner.scores.figures() == bare.learner.scores.figures()


def test_what_is_said_to_be_unlearnable_must_have_been_dropped() -> None:
    said = Unlearnable(2, "why")
    assert live_of(created(), Example({"a": 1}, 1), said, dropped=[2]).offset_applied == 3
    with pytest.raises(RuntimeError, match="offset 2 is said to be unlearnable, and was learned"):
        live_of(created(), Example({"a": 1}, 1), said)


def test_an_answer_that_is_not_finite_is_the_priors() -> None:
    learner = ["preprocessing.MinMaxScaler", "linear_model.LogisticRegression"]
    examples = [Example({"a": i}, i > 1) for i in range(5)]
    reply = live_of(created("binary", learner), *examples).reply({"a": 1, "new": 3})
    assert reply.answer == Answer(True, {False: 0.4, True: 0.6})
    assert reply.broke is not None and "nan" in reply.broke


def test_missing_values_are_seen_by_an_imputer_only() -> None:
    imputed = [{"preprocessing.StatImputer": {"imputers": {"a": "stats.Mean"}}}, *REGRESSION]
    example = Example({"a": 4.0}, 2.0)
    with_imputer = live_of(created(learner=imputed), *[example] * 9)
    without = live_of(created(), *[example] * 9)
    assert with_imputer.reply({"a": None}) == with_imputer.reply({"a": 4.0})
    assert without.reply({"a": None}) == without.reply({})


def test_what_was_answered_keeps_the_types_of_its_labels() -> None:
    served = served_of(Reply(Answer(1, {1: 0.75, 2: 0.25})), 5)
    assert served == Served(1, 5, [(1, 0.75), (2, 0.25)])
    assert served_of(Reply(Answer(None), "broke"), 5) == Served(None, 5, fallback=True)
    assert served_of(Reply(Answer(0.5, None, 0.5)), 5) == Served(0.5, 5, score=0.5)


def test_types_are_told_from_values() -> None:
    values = [None, True, 0, 0.0, "", "3"]
    kinds = [None, "boolean", "number", "number", "category", "category"]
    assert [type_of(value) for value in values] == kinds
    assert type_of(math.pi) == "number"
