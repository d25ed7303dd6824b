"""Checks one observation against a model's schema, naming what is wrong. Pure.

A feature's type is declared with the model, or fixed by the first example that carries it; null is
*missing* and fixes nothing. A number is never a boolean or a text that looks like one.
"""

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from app.entries import Features, FeatureType
from app.errors import InvalidFeatures, Problem

PROBLEMS_MAX = 20
"""How many problems one answer names."""

NAME_MAX = 256
"""The longest feature name, in characters."""


class Limits(NamedTuple):
    """How much an observation, and what a model comes to know of names, may hold."""

    features: int
    known: int
    magnitude: float


def check_features(
    features: Any, types: Mapping[str, FeatureType], limits: Limits
) -> dict[str, FeatureType]:
    """The types of the features that the schema does not know yet.

    Raises `InvalidFeatures`, naming each feature that is wrong.
    """
    if type(features) is not dict:
        raise InvalidFeatures(
            f"features is {_article(features)}, and must be an object of feature names and values.",
            [Problem("features", f"is {_article(features)}, not an object")],
        )
    if len(features) >= limits.features:
        raise InvalidFeatures(
            f"There are {len(features):,} features, and {limits.features:,} or more are refused. "
            "Send fewer, or raise HEADRACE_FEATURES_MAX.",
            [Problem("features", f"has {len(features):,} members")],
        )
    fresh: dict[str, FeatureType] = {}
    problems: list[Problem] = []
    magnitude = limits.magnitude
    for name, value in features.items():
        kind = types.get(name)
        type_ = type(value)
        # A NaN compares false with everything, so it fails this as infinity does.
        if (type_ is float or type_ is int) and -magnitude <= value <= magnitude:
            found: FeatureType = "number"
        elif type_ is str:
            found = "category"
        elif type_ is bool:
            found = "boolean"
        elif value is None:
            continue
        else:
            problems.append(Problem(_place(name), _refusal(value, magnitude)))
            continue
        if kind is None:
            fresh[name] = found
        elif kind != found and not (kind == "text" and found == "category"):
            reason = f"is {_article(value)}, and this feature is of type {kind}"
            problems.append(Problem(_place(name), reason))
    for name in fresh:
        if len(name) > NAME_MAX:
            problems.append(Problem(_place(name), f"has a name of over {NAME_MAX} characters"))
    if problems:
        raise _invalid(problems)
    return fresh


def check_known(names: Set[str], limits: Limits) -> None:
    """Refuse what would let a model come to know too many feature names."""
    if len(names) > limits.known:
        raise InvalidFeatures(
            f"With these the model would know {len(names):,} feature names, and it may know "
            f"{limits.known:,}. Hash the names on your side, or raise HEADRACE_FEATURES_KNOWN_MAX.",
            [Problem("features", "has feature names too many")],
        )


def check_cost(features: Features, features_max: int, words_max: int) -> None:
    """Refuse what would keep the learner, and all who wait for it, busy for too long."""
    if len(features) > features_max:
        raise InvalidFeatures(
            f"There are {len(features):,} features, and this model's learner takes at most "
            f"{features_max:,} at once: it would be busy for too long. Send fewer, or create a "
            "model with a simpler learner.",
            [Problem("features", f"has {len(features):,} members")],
        )
    words = sum(len(value) for value in features.values() if type(value) is str) // 2
    if words > words_max:
        raise InvalidFeatures(
            f"The texts may have {words:,} words, and this model's learner takes at most "
            f"{words_max:,} at once: it would be busy for too long. Send less text, or create a "
            "model with a simpler learner.",
            [Problem("features", f"may have {words:,} words")],
        )


def without_missing(features: Features) -> Features:
    """The features that have a value."""
    if None in features.values():
        return {name: value for name, value in features.items() if value is not None}
    return features


def _place(name: str) -> str:
    return f"features.{name}" if len(name) <= NAME_MAX else f"features.{name[:32]}…"


def _invalid(problems: list[Problem]) -> InvalidFeatures:
    first = problems[0]
    more = f" {len(problems) - 1} more are wrong." if len(problems) > 1 else ""
    return InvalidFeatures(
        f"{first.place} {first.reason}.{more} Send null, or leave a feature out, if its value is "
        "missing.",
        problems[:PROBLEMS_MAX],
    )


def _refusal(value: object, magnitude: float) -> str:
    if isinstance(value, float) and value != value:
        return "is NaN, which no learner recovers from"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "is infinite, which no learner recovers from"
    if isinstance(value, int | float):
        return f"is beyond ±{magnitude:g}"
    return f"is {_article(value)}; a value is a number, a string, a boolean or null"


def _article(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")
