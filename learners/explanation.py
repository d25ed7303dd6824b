"""What drove an answer: the parts of a linear model's sum, or the path through a tree.

The sum is the model's own, so it is shown for what it is: before the link function, and of the
features as the steps before the model leave them. A path is that of River's `debug_one` without
the leaf: it tells the shares of the leaf's labels, and often a model of its own answers there.
"""

import math
from typing import Any, NamedTuple

from river import linear_model, tree
from river.tree.base import Leaf

LINEAR = (linear_model.LinearRegression, linear_model.LogisticRegression)
TREES = (tree.HoeffdingTreeClassifier, tree.HoeffdingTreeRegressor)


class Explanation(NamedTuple):
    """Of a linear model `contributions` and `intercept`, if they are finite; of a tree its `path`.

    Of all others, none of them.
    """

    contributions: dict[str, float] | None = None
    intercept: float | None = None
    path: list[str] | None = None


def explain(model: Any, x: dict[str, Any]) -> Explanation:
    """What drives a model's answer to features. The model is not changed."""
    if hasattr(model, "steps"):
        x, model = model._transform_one(x)
    if isinstance(model, LINEAR):
        weights, intercept = model.weights, float(model.intercept)
        parts = {
            str(name): float(weights[name] * value) for name, value in x.items() if name in weights
        }
        is_finite = all(map(math.isfinite, (*parts.values(), intercept)))
        return Explanation(parts, intercept) if is_finite else Explanation()
    if isinstance(model, TREES):
        return Explanation(path=_path(model, x))
    return Explanation()


def _path(model: Any, x: dict[str, Any]) -> list[str]:
    """The branches that the tree's answer passes. What is missing takes the most common one."""
    path: list[str] = []
    node: Any = model._root
    while node is not None and not isinstance(node, Leaf):
        try:
            number, told = node.branch_no(x), ""
        except KeyError:
            number, _ = node.most_common_path()
            told = " (missing)"
        path.append(node.repr_branch(number) + told)
        node = node.children[number]
    return path
