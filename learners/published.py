"""What River publishes, found by walking it, and what each class is for.

`PUBLISHED` maps every name to its class: River's own, or ours where `substitutes` has one. A class
is named by the shortest path that exports it, so each has one name and `NAMES` gives it back.
"""

from __future__ import annotations

import inspect
import types
from typing import Any

from river import (
    anomaly,
    api,
    bandit,
    base,
    metrics,
    neighbors,
    optim,
    proba,
    reco,
    stats,
    time_series,
    tree,
)

from learners.substitutes import SUBSTITUTES

KINDS: dict[str, tuple[type, ...]] = {
    "estimator": (base.Classifier, base.Regressor, base.AnomalyDetector, base.AnomalyFilter),
    "transformer": (base.BaseTransformer, base.Transformer),
    "optimizer": (optim.base.Optimizer,),
    "loss": (optim.base.Loss,),
    "scheduler": (optim.base.Scheduler,),
    "initializer": (optim.base.Initializer,),
    "metric": (metrics.base.Metric,),
    "drift detector": (
        base.DriftDetector,
        base.BinaryDriftDetector,
        base.DriftAndWarningDetector,
        base.BinaryDriftAndWarningDetector,
    ),
    "splitter": (tree.splitter.Splitter,),
    "quantizer": (tree.splitter.Quantizer,),
    "statistic": (stats.base.Univariate, stats.base.Bivariate),
    "policy": (bandit.base.Policy,),
    "search engine": (neighbors.base.BaseNN,),
}

OF_OTHER_TASKS: tuple[type, ...] = (
    base.Clusterer,
    base.MultiLabelClassifier,
    base.MultiTargetRegressor,
    base.SupervisedAnomalyDetector,
    bandit.base.ContextualPolicy,
    metrics.base.ClusteringMetric,
    metrics.multioutput.base.MultiOutputMetric,
    proba.base.MultivariateContinuousDistribution,
    reco.base.Ranker,
    time_series.base.Forecaster,
)


def kind_of(cls: type) -> str | None:
    """What a class is, or None when no spec has a use for it.

    Examples
    --------
    >>> from river import optim
    >>> kind_of(optim.SGD)
    'optimizer'

    """
    return next((kind for kind, bases in KINDS.items() if _derives(cls, bases)), None)


def is_of_other_task(cls: type) -> bool:
    """Whether a class serves tasks that learners do not have, like clustering.

    A supervised anomaly detector is one: it scores a label, which is unknown when predicting.

    Examples
    --------
    >>> from river import cluster
    >>> is_of_other_task(cluster.KMeans)
    True

    """
    return _derives(cls, OF_OTHER_TASKS) or cls in (
        anomaly.PredictiveAnomalyDetection,
        metrics.ClassificationReport,
    )


NOUNS: tuple[tuple[type, str], ...] = (
    (base.Classifier, "classifier"),
    (base.Regressor, "regressor"),
    (base.AnomalyDetector, "anomaly detector"),
    (base.AnomalyFilter, "anomaly filter"),
    (base.BinaryDriftDetector, "binary drift detector"),
    (stats.base.Bivariate, "statistic of two values"),
    (optim.losses.BinaryLoss, "binary loss"),
    (optim.losses.MultiClassLoss, "multiclass loss"),
    (optim.losses.RegressionLoss, "regression loss"),
    (metrics.base.RegressionMetric, "regression metric"),
    (metrics.base.ClassificationMetric, "classification metric"),
)


def noun_of(cls: type) -> str:
    """What a class is called in a message, finer than its kind where that tells more.

    Examples
    --------
    >>> from river import drift
    >>> noun_of(drift.binary.DDM), noun_of(drift.ADWIN)
    ('binary drift detector', 'drift detector')

    """
    fine = next((noun for known, noun in NOUNS if _derives(cls, (known,))), None)
    return fine or kind_of(cls) or "component"


def _derives(cls: type, bases: tuple[type, ...]) -> bool:
    """`issubclass`, for bases that River's classes are derived from in the plain way.

    Asked of an abstract class, `issubclass` walks all that is derived from that one: for all of
    River that takes a third of a second.
    """
    return not set(bases).isdisjoint(cls.__mro__)


def _exported(module: types.ModuleType) -> dict[str, Any]:
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name in vars(module) if not name.startswith("_")]
    return {name: vars(module)[name] for name in names if name in vars(module)}


def _walk() -> dict[str, type]:
    """Every class that River exports, by name; breadth first, so that short names win.

    A module's list may name what the module does not have: such names are passed over.
    """
    found: dict[type, str] = {}
    queue: list[tuple[str, types.ModuleType]] = [
        (name, member)
        for name, member in _exported(api).items()
        if isinstance(member, types.ModuleType)
    ]
    seen = {module for _, module in queue}
    while queue:
        path, module = queue.pop(0)
        for name, member in _exported(module).items():
            if isinstance(member, types.ModuleType):
                if member.__name__.startswith("river.") and member not in seen:
                    seen.add(member)
                    queue.append((f"{path}.{name}", member))
            elif inspect.isclass(member) and member.__module__.startswith("river."):
                found.setdefault(member, f"{path}.{name}")
    return {name: cls for cls, name in found.items()}


def _is_concrete(name: str, cls: type) -> bool:
    in_base = name.startswith("base.") or cls.__module__.endswith(".base")
    return not inspect.isabstract(cls) and not in_base


OF_RIVER: dict[str, type] = _walk()

EXPORTED: dict[str, type] = {**OF_RIVER, **SUBSTITUTES}

PUBLISHED: dict[str, type] = {
    name: cls
    for name, cls in sorted(EXPORTED.items())
    if kind_of(cls) is not None and _is_concrete(name, cls)
}

NAMES: dict[type, str] = {
    cls: name for names in (OF_RIVER, PUBLISHED) for name, cls in names.items() if name in PUBLISHED
}
"""The name of each class, of River's own also where ours stands for it."""
