"""What one example costs a learner, estimated from its spec before anything is run.

A learner runs to completion for each example, and nothing else meanwhile. Some specs multiply what
they are given: products and polynomials of features, factorization machines, large ensembles. The
estimate bounds how many features, and how many words of text, a spec may be given at once.

The unit is about a microsecond; the estimate is crude, and errs by a few times either way.
"""

from __future__ import annotations

from math import comb, prod
from typing import Any

BUDGET = 1_000_000.0
"""The most that one example may cost: about a second."""

USUAL_FEATURES = 8
"""What every spec must be able to take."""

FEATURES_MAX = 1_000_000
WORDS_MAX = 1_000_000

REPEATS = ("n_models", "n_trees", "n_estimators", "lambda_value", "w", "n_random_cuts")
"""Parameters that say how often what is inside is done."""


PAIR_PRICES = {"facto.FFM": 200.0, "facto.FwFM": 16.0}
"""What a pair of features costs in factorization machines, where it is not 2."""


def cost(spec: Any, features: float, words: float) -> float:
    """The cost of one example of so many features, whose texts have so many words.

    Examples
    --------
    >>> cost(["preprocessing.StandardScaler", "linear_model.LinearRegression"], 8, 0)
    16.0
    >>> cost({"product": ["preprocessing.StandardScaler"] * 9}, 8, 0) > BUDGET
    True

    """
    return _flow(spec, float(features), float(words))[1]


def widest(spec: Any) -> tuple[int, int]:
    """How many features, and how many words of text, the spec may be given at once.

    Examples
    --------
    >>> widest("linear_model.LinearRegression")
    (1000000, 1000000)

    """
    return (
        _most(lambda n: cost(spec, n, 0), FEATURES_MAX),
        _most(lambda n: cost(spec, USUAL_FEATURES, n), WORDS_MAX),
    )


def _most(of: Any, limit: int) -> int:
    """The largest number up to the limit whose cost is within the budget; costs never fall."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if of(middle) <= BUDGET else (low, middle - 1)
    return low


def _flow(spec: Any, width: float, words: float) -> tuple[float, float]:
    """How many features come out of a part of a spec, and what it costs."""
    if isinstance(spec, list):
        total = 0.0
        for step in spec:
            width, step_cost = _flow(step, width, words)
            total += step_cost
        return width, total
    if not isinstance(spec, dict) or len(spec) != 1:
        return width, width
    [(name, given)] = spec.items()
    if name in ("union", "product"):
        flows = [_flow(branch, width, words) for branch in given]
        join = sum if name == "union" else prod
        out = float(join(flow[0] for flow in flows))
        return out, out + sum(flow[1] for flow in flows)
    if not isinstance(given, dict):
        return width, width
    return _class(name, given, width, words)


def _class(name: str, given: dict[str, Any], width: float, words: float) -> tuple[float, float]:
    if name == "feature_extraction.PolynomialExtender":
        degree = _number(given, "degree", 2)
        out = float(comb(int(width) + int(degree), int(degree)))
        return out, out
    if name in ("feature_extraction.BagOfWords", "feature_extraction.TFIDF"):
        low, high = given.get("ngram_range") or (1, 1)
        out = words * (high - low + 1)
        return out, out * high
    if name.startswith("facto."):
        degree = _number(given, "degree", 3) if ".HOFM" in name else 2.0
        kind = name.removesuffix("Classifier").removesuffix("Regressor")
        each = PAIR_PRICES.get(kind, 2.0)
        return width, each * width**degree * max(1.0, _number(given, "n_factors", 10) / 10)
    if "n_components" in given:
        out = _number(given, "n_components", 1)
        return out, out * max(1.0, width) / 10
    inside = [part for part in given.values() if _is_spec(part)]
    own = width * max(1.0, _number(given, "window_size", 1) / 10)
    nested = sum(_flow(part, width, words)[1] for part in inside)
    repeats = prod(max(1.0, _number(given, key, 1)) for key in REPEATS)
    return width, own * repeats if not nested else own + nested * repeats


def _is_spec(part: Any) -> bool:
    if isinstance(part, list):
        return bool(part) and all(_is_spec(item) for item in part)
    return isinstance(part, dict) and len(part) == 1


def _number(given: dict[str, Any], key: str, otherwise: float) -> float:
    value = given.get(key)
    return float(value) if isinstance(value, int | float) else otherwise
