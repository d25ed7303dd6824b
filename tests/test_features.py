"""One observation against a schema: what is taken, what is refused, and the place that is named."""

import math
from typing import Any

import pytest

from app.entries import Features, FeatureType
from app.errors import InvalidFeatures, Problem
from app.features import (
    NAME_MAX,
    PROBLEMS_MAX,
    Limits,
    check_cost,
    check_features,
    check_known,
    without_missing,
)

LIMITS = Limits(features=10_000, known=100_000, magnitude=1e15)


def check(
    features: Any, types: dict[str, FeatureType] | None = None, limits: Limits = LIMITS
) -> dict[str, FeatureType]:
    """Check against a schema."""
    return check_features(features, types or {}, limits)


def refusal(
    features: Any, types: dict[str, FeatureType] | None = None, limits: Limits = LIMITS
) -> InvalidFeatures:
    """What an observation is refused with; it must be."""
    with pytest.raises(InvalidFeatures) as caught:
        check(features, types, limits)
    return caught.value


@pytest.mark.parametrize("number", [0, 0.0, -0.0, 1, -1, 3, 0.5, 1e15, -1e15, 10**15, 5e-324])
def test_a_finite_number_within_the_magnitude_is_a_number(number: float) -> None:
    assert check({"a": number}) == {"a": "number"}
    assert check({"a": number}, {"a": "number"}) == {}


@pytest.mark.parametrize(
    "number", [math.nextafter(1e15, math.inf), -1.1e15, 10**15 + 1, 10**400, -(10**400), 1e300]
)
def test_a_number_beyond_the_magnitude_is_refused(number: float) -> None:
    error = refusal({"a": number})
    assert error.problems == (Problem("features.a", "is beyond ±1e+15"),)


def test_nan_and_infinity_are_refused_by_their_names() -> None:
    assert refusal({"a": math.nan}).problems[0].reason.startswith("is NaN")
    assert refusal({"a": math.inf}).problems[0].reason.startswith("is infinite")
    assert refusal({"a": -math.inf}).problems[0].reason.startswith("is infinite")


@pytest.mark.parametrize("text", ["", "3", "true", "a\0b", "naïve", "\U0001f600", "x" * 100_000])
def test_a_string_is_a_category_whatever_it_looks_like(text: str) -> None:
    assert check({"a": text}) == {"a": "category"}


@pytest.mark.parametrize("truth", [True, False])
def test_a_boolean_is_a_boolean(truth: bool) -> None:
    assert check({"a": truth}) == {"a": "boolean"}


def test_null_is_missing_and_fixes_nothing() -> None:
    assert check({"a": None, "b": 1}) == {"b": "number"}
    assert check({"a": None}, {"a": "number"}) == {}


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        ("3", "number", "is a string, and this feature is of type number"),
        (True, "number", "is a boolean, and this feature is of type number"),
        (1, "boolean", "is a number, and this feature is of type boolean"),
        (0.0, "category", "is a number, and this feature is of type category"),
        (False, "category", "is a boolean, and this feature is of type category"),
        (7, "text", "is a number, and this feature is of type text"),
        (True, "text", "is a boolean, and this feature is of type text"),
        ("", "boolean", "is a string, and this feature is of type boolean"),
    ],
)
def test_a_value_of_another_type_than_the_schemas_is_refused(
    value: Any, kind: FeatureType, reason: str
) -> None:
    assert refusal({"a": value}, {"a": kind}).problems == (Problem("features.a", reason),)


def test_a_text_takes_strings() -> None:
    assert check({"a": "some words"}, {"a": "text"}) == {}


@pytest.mark.parametrize(
    ("value", "article"), [({}, "an object"), ({"b": 1}, "an object"), ([], "an array")]
)
def test_a_nested_value_is_refused(value: Any, article: str) -> None:
    [problem] = refusal({"a": value}).problems
    assert problem.place == "features.a"
    assert problem.reason.startswith(f"is {article};")


@pytest.mark.parametrize(
    ("features", "article"),
    [
        (None, "null"),
        (False, "a boolean"),
        (0, "a number"),
        (math.nan, "a number"),
        ("", "a string"),
        ([], "an array"),
        ([{"a": 1}], "an array"),
    ],
)
def test_features_that_are_no_object_are_refused(features: Any, article: str) -> None:
    assert refusal(features).problems == (Problem("features", f"is {article}, not an object"),)


def test_no_features_at_all_are_an_observation() -> None:
    assert check({}) == {}


@pytest.mark.parametrize("name", ["", "\0", "a.b", "a b", "é", "\U0001f600", "n" * NAME_MAX])
def test_any_name_within_the_length_is_taken(name: str) -> None:
    assert check({name: 1}) == {name: "number"}


def test_a_name_that_is_too_long_is_refused_and_not_repeated_whole() -> None:
    long = "n" * (NAME_MAX + 1)
    [problem] = refusal({long: 1}).problems
    assert problem == (f"features.{'n' * 32}…", f"has a name of over {NAME_MAX} characters")
    assert len(refusal({"n" * 500_000: math.nan}).message) < 300


def test_features_are_refused_from_the_limit_on() -> None:
    check({f"f{i}": i for i in range(9_999)})
    for count in (10_000, 10_001):
        error = refusal({f"f{i}": i for i in range(count)})
        assert error.problems == (Problem("features", f"has {count:,} members"),)


def test_a_model_comes_to_know_a_bounded_number_of_names() -> None:
    limits = LIMITS._replace(known=3)
    check_known({"a", "b", "c"}, limits)
    with pytest.raises(InvalidFeatures) as refused:
        check_known({"a", "b", "c", "d"}, limits)
    assert refused.value.problems == (Problem("features", "has feature names too many"),)


def test_what_would_keep_a_learner_busy_for_too_long_is_refused() -> None:
    check_cost({"a": 1, "b": "two words"}, 2, 4)
    with pytest.raises(InvalidFeatures):
        check_cost({"a": 1, "b": 2, "c": 3}, 2, 4)
    with pytest.raises(InvalidFeatures):
        check_cost({"a": "a b c d", "b": "e f"}, 2, 4)


def test_every_wrong_feature_is_named_up_to_a_number() -> None:
    error = refusal({"a": [], "b": 1, "c": {}, "d": math.nan})
    assert [problem.place for problem in error.problems] == [
        "features.a",
        "features.c",
        "features.d",
    ]
    assert "2 more are wrong" in error.message
    many = refusal({f"f{i}": [] for i in range(100)})
    assert len(many.problems) == PROBLEMS_MAX
    assert "99 more are wrong" in many.message


def test_leaving_out_what_is_missing_keeps_order_and_values() -> None:
    features: Features = {"c": 1, "a": None, "b": 0, "d": False, "e": ""}
    assert list(without_missing(features).items()) == [("c", 1), ("b", 0), ("d", False), ("e", "")]
    whole: Features = {"b": 1, "a": 2}
    assert without_missing(whole) is whole
