"""What drove an answer: the parts of a linear model's sum, or the path through a tree.

The sum is the model's own, so it is shown for what it is: before the link function, and of the
features as the steps before the model leave them. A path is as River's `debug_one` tells it.
"""

import math
from typing import Any, NamedTuple

from river import linear_model, tree

INTERCEPT = "(intercept)"
LINEAR = (linear_model.LinearRegression, linear_model.LogisticRegression)
TREES = (tree.HoeffdingTreeClassifier, tree.HoeffdingTreeRegressor)


class Explanation(NamedTuple):
    """Of a linear model `contributions`, if they are finite; of a tree its `path`; else neither."""

    contributions: dict[str, float] | None = None
    path: list[str] | None = None


def explain(model: Any, x: dict[str, Any]) -> Explanation:
    """What drives a model's answer to features. The model is not changed."""
    if hasattr(model, "steps"):
        x, model = model._transform_one(x)
    if isinstance(model, LINEAR):
        weights = model.weights
        parts = {
            str(name): float(weights[name] * value) for name, value in x.items() if name in weights
        }
        parts[INTERCEPT] = float(model.intercept)
        return Explanation(parts) if all(map(math.isfinite, parts.values())) else Explanation()
    if isinstance(model, TREES):
        told = model.debug_one(x) or ""
        return Explanation(None, [line.strip() for line in told.splitlines() if line.strip()])
    return Explanation()
