"""Learners from JSON: the grammar, its stored form, and the only door to construction.

A spec is

- a name, as River publishes it: `"tree.HoeffdingTreeClassifier"`;
- a name with parameters: `{"linear_model.LogisticRegression": {"l2": 0.1}}`, where a parameter
  that takes a component is a spec again;
- a list, which is a pipeline: `["preprocessing.StandardScaler", "linear_model.LinearRegression"]`;
- `{"union": [...]}`, transformers side by side, or `{"product": [...]}`, their outputs multiplied;
- `{"select": [...]}` or `{"discard": [...]}` with names of features, or with `{"type": "number"}`
  (`number`, `boolean`, `category`, `text`; the last two are both strings) or `{"prefix": "geo_"}`.

Only these River cannot say in JSON itself: `preprocessing.StatImputer` takes
`{"imputers": {"age": "stats.Mean", "city": "unknown"}}`, `utils.Rolling` takes
`{"statistic": "stats.Mean", "window_size": 7}`, and what is by label (`desired_dist`) is a list of
pairs, `[[true, 0.5], [false, 0.5]]`.

The stored form writes every parameter and seed out, so that it means the same in every process and
under another release. A stored form is its own stored form.
"""

from __future__ import annotations

import json
from typing import Any, Literal, TypeAlias

from river import base
from river.base import Estimator

from learners.assembly import assemble
from learners.cost import BUDGET, USUAL_FEATURES, cost
from learners.refusal import InvalidSpec, shown
from learners.rehearsal import rehearse
from learners.scope import Built, Scope
from learners.scores import build_metric, complete_metrics, gives_probabilities
from learners.shapes import Component

Task = Literal["binary", "multiclass", "regression", "anomaly"]
Spec: TypeAlias = Any

TEXT_BYTES_MAX = 64 * 1024
NESTING_MAX = 100

DUE: dict[str, Component] = {
    "binary": Component((base.Classifier,)),
    "multiclass": Component((base.Classifier,)),
    "regression": Component((base.Regressor,)),
    "anomaly": Component((base.AnomalyDetector, base.AnomalyFilter)),
}
LEARNER = Component((base.Classifier, base.Regressor, base.AnomalyDetector, base.AnomalyFilter))

IMPUTERS = frozenset(["preprocessing.PreviousImputer", "preprocessing.StatImputer"])


def complete(spec: object, task: Task, seed: int) -> Spec:
    """The stored form of a spec: checked, and with every parameter and seed written out.

    Parameters
    ----------
    spec
        JSON, from anyone.
    task
        What the learner is for.
    seed
        From which the seeds that the spec leaves out are derived, each by its place.

    Raises
    ------
    InvalidSpec
        When no learner for the task can be built from it, whatever the reason.

    Examples
    --------
    >>> complete({"linear_model.PARegressor": {"C": 0.5}}, "regression", seed=1)
    {'linear_model.PARegressor': {'C': 0.5, 'mode': 1, 'eps': 0.1, 'learn_intercept': True}}
    >>> try:
    ...     complete({"linear_model.PARegressor": {"c": 0.5}}, "regression", seed=1)
    ... except InvalidSpec as error:
    ...     error.place, error.nearest
    ('learner.c', ('C',))

    """
    check_json(spec, "learner")
    stored = _assembled(spec, task, seed).spec
    check_json(stored, "learner")
    if cost(stored, USUAL_FEATURES, USUAL_FEATURES) > BUDGET:
        reason = f"one example of {USUAL_FEATURES} features would keep it busy for too long"
        raise InvalidSpec("learner", reason, advice="take fewer models, branches or factors")
    rehearse(lambda: _assembled(stored, task, seed).value, stored, task)
    return stored


def build(spec: Spec) -> Estimator:
    """The learner, without experience, that a stored spec stands for.

    Examples
    --------
    >>> build({"linear_model.PARegressor": {"C": 0.5}}).C
    0.5

    """
    check_json(spec, "learner")
    learner: Estimator = assemble(spec, LEARNER, Scope("learner", seed=0)).value
    return learner


def _assembled(spec: object, task: Task, seed: int) -> Built:
    scope = Scope("learner", seed, is_multiclass=task == "multiclass", is_binary=task == "binary")
    return assemble(spec, DUE[task], scope)


def keeps_null(spec: Spec) -> bool:
    """Whether the spec names an imputer, which wants null passed on to it.

    Examples
    --------
    >>> keeps_null(["preprocessing.PreviousImputer", "linear_model.LinearRegression"])
    True
    >>> keeps_null("linear_model.LinearRegression")
    False

    """
    if isinstance(spec, str):
        return spec in IMPUTERS
    if isinstance(spec, dict):
        return any(key in IMPUTERS or keeps_null(value) for key, value in spec.items())
    return isinstance(spec, list) and any(keeps_null(part) for part in spec)


def check_json(spec: object, place: str) -> None:
    """Refuse what is no JSON, is nested absurdly, or is too long to keep."""
    queue: list[tuple[object, int]] = [(spec, 0)]
    count = 0
    while queue:
        part, nesting = queue.pop()
        count += 1
        if nesting > NESTING_MAX:
            raise InvalidSpec(place, "the spec is nested too deeply", advice="nest less")
        if count > TEXT_BYTES_MAX:
            break
        if isinstance(part, dict):
            if not all(isinstance(key, str) for key in part):
                raise InvalidSpec(place, "an object's keys are strings", advice="write JSON")
            queue.extend((value, nesting + 1) for value in part.values())
        elif isinstance(part, list):
            queue.extend((value, nesting + 1) for value in part)
        elif isinstance(part, int) and part.bit_length() > 1_024:
            raise InvalidSpec(place, f"{shown(part)} is too large", advice="write a smaller one")
        elif not isinstance(part, str | int | float | None):
            raise InvalidSpec(place, f"{shown(part)} is no JSON", advice="write JSON")
    try:
        size = TEXT_BYTES_MAX + 1 if queue else len(json.dumps(spec, ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        raise InvalidSpec(place, "a string is no Unicode text", advice="mend it") from error
    if size > TEXT_BYTES_MAX:
        reason = f"the spec takes more than {TEXT_BYTES_MAX:,} bytes, defaults included"
        raise InvalidSpec(place, reason, advice="name fewer components")


__all__ = [
    "InvalidSpec",
    "Spec",
    "Task",
    "build",
    "build_metric",
    "complete",
    "complete_metrics",
    "gives_probabilities",
    "keeps_null",
]
