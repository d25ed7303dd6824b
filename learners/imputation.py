"""Imputers that leave a feature out when they cannot fill it.

River's imputers pass `None` on, at which most later steps raise after half-changing themselves.
"""

from __future__ import annotations

from typing import Any

from river import base, stats


class PreviousImputer(base.Transformer):
    """Replaces a missing value by the feature's latest one, or leaves the feature out.

    Examples
    --------
    >>> imputer = PreviousImputer()
    >>> imputer.transform_one({"a": None, "b": 1})
    {'b': 1}
    >>> imputer.learn_one({"a": 2.0})
    >>> imputer.transform_one({"a": None, "b": 1})
    {'a': 2.0, 'b': 1}

    """

    def __init__(self) -> None:
        self._latest: dict[str, Any] = {}

    def learn_one(self, x: dict[Any, Any]) -> None:
        for name, value in x.items():
            if value is not None:
                self._latest[name] = value

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        filled = {n: self._latest.get(n) if value is None else value for n, value in x.items()}
        return {name: value for name, value in filled.items() if value is not None}


class StatImputer(base.Transformer):
    """Replaces a missing value by a running statistic or a constant, or leaves the feature out.

    Features that no imputer is given for pass unchanged, but for missing values, which are left
    out; a feature that an observation does not have at all stays absent.

    Parameters
    ----------
    imputers
        For each feature, the statistic that replaces its missing values, or the constant that does.

    Examples
    --------
    >>> from river import stats
    >>> imputer = StatImputer({"a": stats.Mean(), "b": "none"})
    >>> for a in (1.0, 3.0):
    ...     imputer.learn_one({"a": a, "b": "x"})
    >>> imputer.transform_one({"a": None, "b": None, "c": None})
    {'a': 2.0, 'b': 'none'}

    """

    def __init__(
        self, imputers: dict[str, stats.base.Univariate[Any] | bool | float | str]
    ) -> None:
        self.imputers = imputers
        self._fillers = {
            name: filler.clone() if isinstance(filler, stats.base.Univariate) else filler
            for name, filler in imputers.items()
        }
        self._observed: set[str] = set()

    def learn_one(self, x: dict[Any, Any]) -> None:
        for name, filler in self._fillers.items():
            value = x.get(name)
            if value is not None and isinstance(filler, stats.base.Univariate):
                filler.update(value)
                self._observed.add(name)

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        filled = {n: self._filled(n) if value is None else value for n, value in x.items()}
        return {name: value for name, value in filled.items() if value is not None}

    def _filled(self, name: str) -> Any:
        filler = self._fillers.get(name)
        if not isinstance(filler, stats.base.Univariate):
            return filler
        return filler.get() if name in self._observed else None
