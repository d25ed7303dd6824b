"""The metrics that a learner may be scored by, and whether it gives the probabilities they want."""

from __future__ import annotations

from typing import Any

from river import base, metrics

from learners.assembly import assemble
from learners.refusal import InvalidSpec, nearest, shown
from learners.refused import NAMEABLE
from learners.rehearsal import LABELS, final_of, taught
from learners.scope import Built, Scope, mapped
from learners.shapes import Component

METRICS_MAX = 20

METRIC = Component((metrics.base.Metric,))

DEFAULTS: dict[str, tuple[str, ...]] = {
    "binary": ("Accuracy", "F1", "LogLoss", "ROCAUC"),
    "multiclass": ("Accuracy", "MacroF1", "CrossEntropy"),
    "regression": ("MAE", "RMSE", "R2"),
    "anomaly": ("ROCAUC",),
}

OF_TASK: dict[str, tuple[type, ...]] = {
    "binary": (metrics.base.ClassificationMetric,),
    "multiclass": (metrics.base.MultiClassMetric,),
    "regression": (metrics.base.RegressionMetric,),
    "anomaly": (metrics.ROCAUC, metrics.RollingROCAUC, metrics.RollingPRAUC),
}


def gives_probabilities(learner: Any) -> bool:
    """Whether a learner's final estimator says how likely each label is.

    Examples
    --------
    >>> from river import linear_model
    >>> gives_probabilities(linear_model.LogisticRegression())
    True
    >>> gives_probabilities(linear_model.LinearRegression())
    False

    """
    if not isinstance(final_of(learner), base.Classifier):
        return False
    try:
        fresh, x = taught(learner.clone, None, "binary")
        fresh.predict_proba_one(x)
    except (NotImplementedError, AttributeError):
        return False
    except Exception:
        method = type(final_of(learner)).predict_proba_one
        return method is not base.Classifier.predict_proba_one
    return True


def complete_metrics(given: object | None, task: str, learner: Any) -> list[Any]:
    """The stored form of the metrics to score a learner by; the task's own when none are given.

    Examples
    --------
    >>> from river import linear_model
    >>> complete_metrics(None, "regression", linear_model.LinearRegression())
    [{'metrics.MAE': {}}, {'metrics.RMSE': {}}, {'metrics.R2': {}}]
    >>> complete_metrics([{"FBeta": {"beta": 2}}], "binary", linear_model.LogisticRegression())
    [{'metrics.FBeta': {'beta': 2, 'pos_val': True}}]

    """
    has_probabilities = task == "anomaly" or gives_probabilities(learner)
    if given is None:
        built = [_metric(name, "metrics", task) for name in DEFAULTS[task]]
        return [b.spec for b in built if has_probabilities or _wants_labels(b.value)]
    if not isinstance(given, list) or len(given) > METRICS_MAX:
        reason = f"a list of at most {METRICS_MAX} metrics is due, not {shown(given)}"
        raise InvalidSpec("metrics", reason, advice="write one")
    stored: list[Any] = []
    for i, spec in enumerate(given):
        place = f"metrics[{i}]"
        built_one = _metric(spec, place, task)
        if not has_probabilities and not _wants_labels(built_one.value):
            reason = f"{shown(spec)} wants probabilities, and the learner gives none"
            raise InvalidSpec(place, reason, advice="leave it out, or choose another learner")
        if built_one.spec in stored:
            raise InvalidSpec(place, f"{shown(spec)} is there twice", advice="leave one out")
        stored.append(built_one.spec)
    return stored


def build_metric(spec: Any) -> metrics.base.Metric:
    """The metric, without experience, that a stored spec stands for.

    Examples
    --------
    >>> build_metric({"metrics.MAE": {}})
    MAE: 0.

    """
    metric: metrics.base.Metric = assemble(_qualified(spec), METRIC, Scope("metric", seed=0)).value
    return metric


def _wants_labels(metric: Any) -> bool:
    return not isinstance(metric, metrics.base.ClassificationMetric) or metric.requires_labels


def _qualified(spec: Any) -> Any:
    """The same spec with `metrics.` before a bare name."""
    if isinstance(spec, str):
        return spec if "." in spec else f"metrics.{spec}"
    if isinstance(spec, dict) and len(spec) == 1:
        [(name, content)] = spec.items()
        return {name if "." in str(name) else f"metrics.{name}": content}
    return spec


def _metric(spec: Any, place: str, task: str) -> Built:
    scope = Scope(place, seed=0, is_binary=task in ("binary", "anomaly"))
    built = assemble(_qualified(spec), METRIC, scope)
    name = type(built.value).__name__
    if not isinstance(built.value, OF_TASK[task]):
        fitting = [n for n, c in NAMEABLE.items() if issubclass(c, OF_TASK[task])]
        defaults = tuple(f"metrics.{default}" for default in DEFAULTS[task])
        close = nearest(name, fitting) or defaults
        raise InvalidSpec(place, f"{name} is no metric of the task {task}", close)
    with mapped(place, f"scoring by {name}"):
        score = _rehearsed(built.value, task)
    if not isinstance(score, float):
        raise InvalidSpec(place, f"{name} is no single number", advice="choose another metric")
    return built


def _rehearsed(metric: Any, task: str) -> Any:
    """What a metric says after a few predictions."""
    labels = LABELS["binary" if task == "anomaly" else task]
    for y_true, y_pred in zip(labels, reversed(labels), strict=True):
        if task == "anomaly":
            metric.update(y_true, 0.5)
        elif _wants_labels(metric):
            metric.update(y_true, y_pred)
        else:
            metric.update(y_true, {y_pred: 0.75, y_true: 0.25})
    return metric.get()
