"""The parameters of what River publishes: their shapes, defaults, and how much they multiply.

Shapes come from type hints, else from `DECLARED`, else from the default's type. The tables here
hold only what River's signatures do not say.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from dataclasses import dataclass, replace
from typing import Any

from river import api, base, optim, stats
from river.optim import losses
from river.stats.base import Univariate

from learners.published import EXPORTED
from learners.shapes import (
    INTEGER_MAX,
    Choice,
    Component,
    Mapping,
    Plain,
    Sequence,
    Shape,
    Ungiven,
    shape_of,
    shape_of_default,
)

SEED_MAX = 2**32 - 1

MULTIPLYING_MAX = 1_000

MULTIPLYING: dict[str, int] = {
    "n_models": 1,
    "n_estimators": 1,
    "n_trees": 1,
    "code_size": 1,
    "n_thresholds": 10,
    "n_splits": 64,
    "n_bins": 256,
    "n_components": 100,
    "n_factors": 100,
    "n_random_cuts": 100,
}
"""Parameters that multiply a learner's size, and how many count as one."""

COSTLY: dict[str, int] = {
    "ensemble.LeveragingBaggingClassifier.w": 100,
    "facto.HOFMClassifier.degree": 4,
    "facto.HOFMRegressor.degree": 4,
    "feature_extraction.PolynomialExtender.degree": 3,
    "lam": 100,
    "lambda_value": 100,
    "max_buckets": 1_000,
    "max_iter_e_step": 1_000,
    "ngram_range": 10,
    "resampling_rate": 100,
    "sampling_rate": 100,
}
"""Parameters, some of one class only, that make an example cost very much, and their maximum."""

COUNTS = frozenset("budget code_size degree graph_k height k maxlen size".split())
"""Parameters that count something, beside those called `n_...` and `...window_size`."""

CLASSIFIER = Component((base.Classifier,))
REGRESSOR = Component((base.Regressor,))
NULL = Plain("null")
FIXED = Ungiven("it is only for River's own use")

DECLARED: dict[str, Shape] = {
    "anomaly_detector": Component((base.AnomalyDetector,)),
    "betas": Mapping("label", Plain("number")),
    "cm": FIXED,
    "desired_dist": Mapping("label", Plain("number", 0.001, 1.0)),
    "class_weight": Choice((Mapping("label", Plain("number")), NULL)),
    "dtype": FIXED,
    "nominal_attributes": Choice((Sequence(Plain("string")), NULL)),
    "pos_val": Plain("label"),
    "reward_obj": FIXED,
    "reward_scaler": FIXED,
    "seed": Choice((Plain("integer", 0, SEED_MAX), NULL)),
    "verbose": FIXED,
    "window": FIXED,
    "anomaly.GaussianScorer.window_size": Choice((Plain("integer"), NULL)),
    "conf.RegressionJackknife.regressor": REGRESSOR,
    "ensemble.SRPClassifier.model": Choice((CLASSIFIER, NULL)),
    "feature_selection.VarianceThreshold.threshold": Plain("number"),
    "linear_model.ALMAClassifier.p": Plain("number"),
    "linear_model.BayesianLinearRegression.alpha": Plain("number"),
    "linear_model.BayesianLinearRegression.beta": Plain("number"),
    "linear_model.SoftmaxRegression.l2": Plain("number"),
    "metrics.MacroFBeta.beta": Plain("number"),
    "metrics.MultiFBeta.weights": Mapping("label", Plain("number")),
    "metrics.WeightedFBeta.beta": Plain("number"),
    "misc.ZstdClassifier.window": Plain("integer"),
    "model_selection.BanditClassifier.models": Sequence(CLASSIFIER),
    "model_selection.BanditRegressor.models": Sequence(REGRESSOR),
    "model_selection.SuccessiveHalvingClassifier.models": Sequence(CLASSIFIER),
    "model_selection.SuccessiveHalvingRegressor.models": Sequence(REGRESSOR),
    "multiclass.OneVsOneClassifier.classifier": CLASSIFIER,
    "optim.schedulers.Optimal.loss": Component((optim.base.Loss,)),
    "proba.Multinomial.events": FIXED,
    "preprocessing.OneHotEncoder.categories": Choice(
        (Mapping("name", Sequence(Plain("label"))), NULL)
    ),
    "tree.splitter.StaticQuantizer.buckets": Choice((Sequence(Plain("number")), NULL)),
    "utils.Rolling.statistic": Component((Univariate,)),
}
"""Shapes by parameter, or by class and parameter, where River does not say or says too much."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a constructor. `default` is `inspect.Parameter.empty` when it is required."""

    name: str
    shape: Shape
    default: Any

    @property
    def is_required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def is_nullable(self) -> bool:
        if self.default is None or self.shape in (NULL, Plain("any")):
            return True
        return isinstance(self.shape, Choice) and NULL in self.shape.options


@functools.cache
def parameters_of(name: str) -> dict[str, Parameter]:
    """The parameters of a published class that a spec can tell of, in the constructor's order.

    Examples
    --------
    >>> {p.name: str(p.shape) for p in parameters_of("optim.SGD").values()}
    {'lr': 'scheduler or integer or number'}

    """
    cls = EXPORTED[name]
    if cls.__init__ is object.__init__:  # type: ignore[misc]
        return {}
    parameters = {}
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:  # type: ignore[misc]
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        shape = _shape(name, cls, parameter)
        parameters[parameter.name] = Parameter(parameter.name, shape, parameter.default)
    return parameters


def _shape(name: str, cls: type, parameter: inspect.Parameter) -> Shape:
    declared = DECLARED.get(f"{name}.{parameter.name}") or DECLARED.get(parameter.name)
    if declared is not None:
        return declared
    shape = _hinted(cls, parameter)
    if shape == Plain("integer") and isinstance(parameter.default, int):
        shape = Plain("integer", maximum=max(INTEGER_MAX, parameter.default))
    is_count = parameter.name.startswith("n_") or parameter.name.endswith("window_size")
    return _counted(shape) if is_count or parameter.name in COUNTS else shape


def _hinted(cls: type, parameter: inspect.Parameter) -> Shape:
    if parameter.annotation is inspect.Parameter.empty:
        return shape_of_default(parameter.default)
    return shape_of(_evaluated(cls, parameter.annotation))


def _counted(shape: Shape) -> Shape:
    """The same shape, of which an integer is at least one."""
    if isinstance(shape, Choice):
        return Choice(tuple(_counted(option) for option in shape.options))
    if isinstance(shape, Plain) and shape.type == "integer":
        return replace(shape, minimum=1)
    return shape


def _evaluated(cls: type, annotation: Any) -> Any:
    """A type hint's value, also of one that names what its module imports for typing only."""
    if not isinstance(annotation, str):
        return annotation
    for owner in cls.__mro__:
        module = sys.modules[owner.__module__]
        names = {**vars(api), **_known_names(), **vars(module)}
        try:
            return eval(annotation, names)
        except (NameError, AttributeError, TypeError):
            continue
    return None if annotation == "None" else object


@functools.cache
def _known_names() -> dict[str, Any]:
    known = [*vars(api.metrics.base).values(), *vars(losses).values(), *vars(stats.base).values()]
    known += [api.tree.splitter.Splitter, api.neighbors.base.BaseNN]
    return {value.__name__: value for value in known if inspect.isclass(value)}


def size_factor(values: dict[str, Any]) -> float:
    """By how much these parameter values multiply what is nested in them or held for each.

    Examples
    --------
    >>> size_factor({"n_models": 10}), size_factor({"n_trees": 10, "height": 12})
    (10.0, 160.0)

    """
    factor = 1.0
    for name, counted_as_one in MULTIPLYING.items():
        value = values.get(name)
        if isinstance(value, int):
            factor *= max(1.0, min(value, 10**9) / counted_as_one)
    height = values.get("height")
    if isinstance(height, int):
        factor *= 2.0 ** min(max(0, height - 8), 64)
    return factor if math.isfinite(factor) else MULTIPLYING_MAX + 1.0


def too_large(name: str, values: dict[str, Any]) -> tuple[str, str] | None:
    """A parameter by which one example costs too much, and what is allowed; or None.

    Examples
    --------
    >>> too_large("forest.ARFClassifier", {"lambda_value": 6})
    >>> too_large("forest.ARFClassifier", {"lambda_value": 1_000})
    ('lambda_value', 'a number of at most 100')

    """
    for key, value in values.items():
        maximum = COSTLY.get(f"{name}.{key}", COSTLY.get(key))
        numbers = value if isinstance(value, list) else [value]
        if maximum and any(isinstance(n, int | float) and n > maximum for n in numbers):
            return key, f"a number of at most {maximum}"
    code_size = values.get("code_size")
    if values.get("coding_method") == "exact" and isinstance(code_size, int) and code_size > 12:
        return "code_size", "an integer of at most 12 for exact codes"
    return None
