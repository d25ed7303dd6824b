"""A label against its task: what each takes, as what it is learned, and what it is refused with."""

import math
from typing import Any, get_args

import pytest

from app.entries import Label, Task
from app.errors import InvalidLabel
from app.labels import INTEGER_MAX, STRING_MAX, check_label, text_of

pytestmark = pytest.mark.usefixtures("backend")

TAKEN: dict[Task, list[tuple[Any, Label | None]]] = {
    "binary": [(True, True), (False, False), (1, True), (0, False)],
    "multiclass": [
        ("", ""),
        ("spam", "spam"),
        ("3", "3"),
        ("true", "true"),
        ("\0", "\0"),
        ("\U0001f600", "\U0001f600"),
        ("x" * STRING_MAX, "x" * STRING_MAX),
        (0, 0),
        (1, 1),
        (-7, -7),
        (INTEGER_MAX, INTEGER_MAX),
        (-INTEGER_MAX, -INTEGER_MAX),
    ],
    "regression": [
        (0, 0),
        (0.0, 0.0),
        (-0.0, -0.0),
        (1, 1),
        (1e15, 1e15),
        (1e300, 1e300),
        (-1e300, -1e300),
        (10**300, 10**300),
        (2**64, 2**64),
    ],
    "anomaly": [(True, True), (False, False), (None, None)],
}
NESTED: list[Any] = [[], {}, [1], {"a": 1}]
REFUSED: dict[Task, list[Any]] = {
    "binary": [None, 2, -1, 10**400, 0.0, 1.0, -0.0, "true", "True", "1", "", math.nan, *NESTED],
    "multiclass": [
        None,
        True,
        False,
        1.0,
        0.0,
        math.nan,
        math.inf,
        INTEGER_MAX + 1,
        -INTEGER_MAX - 1,
        10**400,
        "x" * (STRING_MAX + 1),
        *NESTED,
    ],
    "regression": [
        None,
        True,
        False,
        "",
        "3",
        math.nan,
        math.inf,
        -math.inf,
        math.nextafter(1e300, math.inf),
        1.7e308,
        10**301,
        10**400,
        *NESTED,
    ],
    "anomaly": [0, 1, 0.0, 1.0, "", "true", math.nan, 10**400, *NESTED],
}


def test_every_task_is_covered() -> None:
    assert set(TAKEN) == set(REFUSED) == set(get_args(Task))


@pytest.mark.parametrize(
    ("task", "sent", "learned"),
    [(task, sent, learned) for task, cases in TAKEN.items() for sent, learned in cases],
    ids=lambda value: str(value)[:20],
)
def test_a_label_that_the_task_takes_is_learned_with_its_type(
    task: Task, sent: Any, learned: Label | None
) -> None:
    found = check_label(task, sent, ())
    assert (found, type(found)) == (learned, type(learned))
    assert repr(found) == repr(learned)


@pytest.mark.parametrize(
    ("task", "sent"),
    [(task, sent) for task, cases in REFUSED.items() for sent in cases],
    ids=lambda value: str(value)[:20],
)
def test_any_other_label_is_refused_with_what_the_task_takes(task: Task, sent: Any) -> None:
    with pytest.raises(InvalidLabel) as caught:
        check_label(task, sent, ())
    [problem] = caught.value.problems
    assert problem.place == "label"
    assert f"the task {task} takes" in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("label", "shown"), [(None, "null"), (True, "true"), (False, "false"), ("3", "'3'")]
)
def test_a_refused_label_is_shown_as_it_was_sent(label: Any, shown: str) -> None:
    with pytest.raises(InvalidLabel, match=f"^label is {shown}, "):
        check_label("regression", label, ())


@pytest.mark.parametrize(
    ("label", "known"), [("7", 7), (7, "7"), ("-1", -1), (0, "0"), (INTEGER_MAX, str(INTEGER_MAX))]
)
def test_the_second_of_two_labels_that_read_alike_is_refused(label: Label, known: Label) -> None:
    with pytest.raises(InvalidLabel, match="reads the same"):
        check_label("multiclass", label, {known})


@pytest.mark.parametrize(
    ("label", "known"),
    [("07", 7), ("7.0", 7), ("+7", 7), (" 7", 7), ("-0", 0), ("\u0667", 7), ("", 0)],
)
def test_labels_that_only_look_alike_are_two(label: Label, known: Label) -> None:
    assert check_label("multiclass", label, {known}) == label


def test_a_label_that_is_known_is_taken_whatever_else_is() -> None:
    both: set[Label] = {7, "7"}
    assert check_label("multiclass", 7, both) == 7
    assert check_label("multiclass", "7", both) == "7"


def test_labels_as_text_tell_truths_from_numbers() -> None:
    assert [text_of(label) for label in (True, False, 1, 0, "spam", "", 2.5)] == [
        *("true", "false", "1", "0", "spam", "", "2.5")
    ]
