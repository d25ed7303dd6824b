"""k-nearest neighbours that search exactly and remember labels in the order they came.

River's default engine draws random numbers while predicting and keeps graph state in a class-wide
set, and its classifier's set of labels is walked in hash order. These answer from the window
alone: predicting changes nothing, and the same examples give the same answers in every process.
"""

from __future__ import annotations

from typing import Any

from river import neighbors

from learners.ordered import Ordered

WINDOW_SIZE = 1_000


class LazySearch(neighbors.LazySearch):
    """An exact search among the latest examples, by Euclidean distance.

    Parameters
    ----------
    window_size
        How many of the latest examples are searched.

    Examples
    --------
    >>> LazySearch(window_size=50).window.maxlen
    50

    """

    def __init__(self, window_size: int = WINDOW_SIZE) -> None:
        super().__init__(window_size=window_size)

    def labels(self) -> Ordered:
        """The labels in the window, oldest first."""
        return Ordered(dict.fromkeys(item[0][1] for item in self.window))


class KNNClassifier(neighbors.KNNClassifier):
    """K-nearest neighbours for classification, over an exact search.

    Parameters
    ----------
    n_neighbors
        The number of nearest neighbours that vote.
    engine
        The search among the latest examples.
    weighted
        Whether a vote counts by its inverse distance.
    cleanup_every
        After how many examples labels that left the window are forgotten; 0 means never.
    softmax
        Whether votes are normalized by a softmax rather than by their sum.

    Examples
    --------
    >>> knn = KNNClassifier(n_neighbors=1)
    >>> knn.learn_one({"a": 0.0}, "low")
    >>> knn.learn_one({"a": 9.0}, "high")
    >>> knn.predict_one({"a": 8.0})
    'high'

    """

    def __init__(
        self,
        n_neighbors: int = 5,
        engine: neighbors.base.BaseNN | None = None,
        weighted: bool = True,
        cleanup_every: int = 0,
        softmax: bool = False,
    ) -> None:
        super().__init__(n_neighbors, engine or LazySearch(), weighted, cleanup_every, softmax)
        own: Any = self
        own.classes = Ordered()

    def clean_up_classes(self) -> None:
        own: Any = self
        own.classes = own._nn.labels()


class KNNRegressor(neighbors.KNNRegressor):
    """K-nearest neighbours for regression, over an exact search.

    Parameters
    ----------
    n_neighbors
        The number of nearest neighbours that are asked.
    engine
        The search among the latest examples.
    aggregation_method
        How their targets are combined: `mean`, `median` or `weighted_mean`.

    Examples
    --------
    >>> knn = KNNRegressor(n_neighbors=1)
    >>> knn.learn_one({"a": 1.0}, 10.0)
    >>> knn.predict_one({"a": 1.5})
    10.0

    """

    def __init__(
        self,
        n_neighbors: int = 5,
        engine: neighbors.base.BaseNN | None = None,
        aggregation_method: str = "mean",
    ) -> None:
        super().__init__(n_neighbors, engine or LazySearch(), aggregation_method)
