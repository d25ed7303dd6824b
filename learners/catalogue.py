"""What a spec may name, described for people and programs; found from River, built once, lazily."""

from __future__ import annotations

import functools
import inspect
from typing import Any, NamedTuple

from river import base, metrics

from learners.parameters import Parameter, parameters_of
from learners.published import kind_of
from learners.refused import NAMEABLE, REFUSED
from learners.shapes import Ungiven


class ParameterEntry(NamedTuple):
    """A parameter: its type in words, and its default, null also where River decides it."""

    name: str
    type: str
    default: Any
    required: bool


class Entry(NamedTuple):
    """Something that a spec may name.

    `tasks` are those that an estimator or metric serves, and empty for everything else.
    """

    name: str
    kind: str
    tasks: tuple[str, ...]
    parameters: tuple[ParameterEntry, ...]
    sentence: str


@functools.cache
def catalogue() -> tuple[Entry, ...]:
    """Everything that a spec may name, by name.

    Examples
    --------
    >>> entry = next(e for e in catalogue() if e.name == "linear_model.PARegressor")
    >>> entry.kind, entry.tasks
    ('estimator', ('regression',))
    >>> entry.parameters[0]
    ParameterEntry(name='C', type='number', default=1.0, required=False)
    >>> entry.sentence
    'Passive-aggressive learning for regression.'

    """
    return tuple(
        Entry(
            name=name,
            kind=kind_of(cls) or "",
            tasks=tasks_of(cls),
            parameters=tuple(
                _parameter(parameter)
                for parameter in parameters_of(name).values()
                if not isinstance(parameter.shape, Ungiven)
            ),
            sentence=_sentence(cls),
        )
        for name, cls in NAMEABLE.items()
    )


def tasks_of(cls: type) -> tuple[str, ...]:
    """The tasks that an estimator or a metric serves.

    Examples
    --------
    >>> from river import linear_model, naive_bayes
    >>> tasks_of(linear_model.LogisticRegression), tasks_of(naive_bayes.GaussianNB)
    (('binary',), ('binary', 'multiclass'))

    """
    if issubclass(cls, base.Classifier):
        return ("binary", "multiclass") if _may_be_multiclass(cls) else ("binary",)
    if issubclass(cls, base.Regressor | metrics.base.RegressionMetric):
        return ("regression",)
    if issubclass(cls, base.AnomalyDetector | base.AnomalyFilter):
        return ("anomaly",)
    if issubclass(cls, metrics.ROCAUC | metrics.RollingROCAUC | metrics.RollingPRAUC):
        return ("binary", "anomaly")
    if issubclass(cls, metrics.base.MultiClassMetric):
        return ("binary", "multiclass")
    return ("binary",) if issubclass(cls, metrics.base.BinaryMetric) else ()


def _may_be_multiclass(cls: type) -> bool:
    """Whether a classifier tells more than two labels apart, if what it wraps does."""
    try:
        return bool(inspect.getattr_static(cls, "_multiclass").fget(object.__new__(cls)))
    except AttributeError:
        return True


def _parameter(parameter: Parameter) -> ParameterEntry:
    default = None if parameter.is_required else parameter.default
    if isinstance(default, tuple | set | frozenset):
        default = list(default)
    return ParameterEntry(parameter.name, str(parameter.shape), default, parameter.is_required)


def _sentence(cls: type) -> str:
    """The first sentence of a docstring, without markup that means nothing outside River."""
    text = inspect.getdoc(cls) or ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    first, stop, _ = paragraph.partition(". ")
    return first + (stop.strip() or "")


__all__ = ["REFUSED", "Entry", "ParameterEntry", "catalogue", "tasks_of"]
