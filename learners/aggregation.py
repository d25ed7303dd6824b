"""Statistics of groups and windows, where asking for one keeps nothing.

River's aggregates store a fresh statistic for every group that is asked for, also when only
predicting, and raise for an observation without the group's feature. Here only learning stores,
and an observation that lacks a feature is passed over.
"""

from __future__ import annotations

import collections
from typing import Any

from river import base, compose, feature_extraction, stats


class Agg(feature_extraction.Agg):
    """Computes a running statistic of a feature, by group.

    Parameters
    ----------
    on
        The feature whose statistic is computed.
    by
        The features that make the group; everything is one group when null.
    how
        The statistic.

    Examples
    --------
    >>> from river import stats
    >>> agg = Agg(on="price", by="shop", how=stats.Mean())
    >>> agg.learn_one({"shop": "a", "price": 3.0})
    >>> agg.transform_one({"shop": "a"}), agg.transform_one({"price": 1.0})
    ({'price_mean_by_shop': 3.0}, {})

    """

    def __init__(
        self, on: str, by: str | list[str] | None, how: stats.base.Univariate[Any]
    ) -> None:
        super().__init__(on=on, by=by, how=how)

    def _has_group(self, x: dict[Any, Any]) -> bool:
        return all(name in x for name in self.by or ())

    def _group(self, x: dict[Any, Any]) -> Any:
        return self._make_key(x)  # type: ignore[no-untyped-call]

    def learn_one(self, x: dict[Any, Any], t: Any = None) -> None:
        if self.on in x and self._has_group(x):
            self._groups[self._group(x)].update(x[self.on])

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        if not self._has_group(x):
            return {}
        statistic: Any = self._groups.get(self._group(x), self.how)
        return {self._feature_name: statistic.get()}


class TargetAgg(base.SupervisedTransformer, Agg):
    """Computes a running statistic of the label, by group.

    Parameters
    ----------
    by
        The features that make the group; everything is one group when null.
    how
        The statistic.
    target_name
        What the label is called in the result's name.

    Examples
    --------
    >>> from river import stats
    >>> agg = TargetAgg(by="shop", how=stats.Mean())
    >>> agg.learn_one({"shop": "a"}, 4.0)
    >>> agg.transform_one({"shop": "a"})
    {'y_mean_by_shop': 4.0}

    """

    def __init__(
        self,
        by: str | list[str] | None,
        how: stats.base.Univariate[Any],
        target_name: str = "y",
    ) -> None:
        Agg.__init__(self, on=target_name, by=by, how=how)

    @property
    def target_name(self) -> str:
        return self.on

    def learn_one(  # type: ignore[override]
        self, x: dict[Any, Any], y: Any, t: Any = None
    ) -> None:
        if self._has_group(x):
            self._groups[self._group(x)].update(y)


class Grouper(compose.Grouper):
    """Applies a transformer of its own to each group.

    Parameters
    ----------
    transformer
        What is copied for each group.
    by
        The features that make the group.

    Examples
    --------
    >>> from river import preprocessing
    >>> grouper = Grouper(preprocessing.StandardScaler(), by="shop")
    >>> grouper.transform_one({"price": 3.0})
    {}

    """

    def _has_group(self, x: dict[Any, Any]) -> bool:
        return all(name in x for name in self.by)

    def learn_one(self, x: dict[Any, Any]) -> None:
        if self._has_group(x):
            super().learn_one(x)  # type: ignore[no-untyped-call]

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        if not self._has_group(x):
            return {}
        group = self._get_key(x)  # type: ignore[no-untyped-call]
        transformer = self.transformers.get(group, self.transformer)
        return dict(transformer.transform_one(x))


class Rolling(stats.base.Univariate[Any]):
    """A statistic of the latest values only.

    Parameters
    ----------
    statistic
        What is computed; it must be able to take a value back, like a mean, a sum or a variance.
    window_size
        How many values count.

    Examples
    --------
    >>> from river import stats
    >>> rolling = Rolling(stats.Mean(), window_size=2)
    >>> for value in (9.0, 1.0, 3.0):
    ...     rolling.update(value)
    >>> rolling.get(), rolling.name
    (2.0, 'rolling_mean_2')

    """

    def __init__(self, statistic: stats.base.Univariate[Any], window_size: int) -> None:
        if not hasattr(statistic, "revert"):
            raise ValueError(f"{type(statistic).__name__} cannot take a value back")
        self.statistic = statistic
        self.window_size = window_size
        self._current: Any = statistic.clone()
        self._window: collections.deque[Any] = collections.deque(maxlen=window_size)

    @property
    def name(self) -> str:
        return f"rolling_{self.statistic.name}_{self.window_size}"

    def update(self, x: Any) -> None:
        if len(self._window) == self.window_size:
            self._current.revert(self._window[0])
        self._current.update(x)
        self._window.append(x)

    def get(self) -> Any:
        return self._current.get()
