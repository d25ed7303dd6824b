"""Random projections whose weights for a feature hang on the seed and the feature's name alone.

River draws them when a feature is first seen, also when it is only asked about, so that two
processes that answer different requests would project differently.
"""

from __future__ import annotations

import math
import random
from typing import Any

from river import base, feature_extraction

from learners.draws import Draws


class Projection(base.Transformer):
    """What the projections share: weights by feature, kept by learning only."""

    _weights: Draws

    def learn_one(self, x: dict[Any, Any]) -> None:
        self._weights.keep(x)


class RBFSampler(Projection):
    """Extracts random features that approximate a radial basis function kernel.

    Parameters
    ----------
    gamma
        Of the kernel exp(-gamma * x ** 2).
    n_components
        How many features are made of each feature.
    seed
        Of the weights.

    Examples
    --------
    >>> sampler = RBFSampler(n_components=2, seed=1)
    >>> sampler.transform_one({"a": 1.0}) == sampler.transform_one({"b": 2.0, "a": 1.0})
    False
    >>> list(sampler.transform_one({"a": 1.0}))
    [('a', 0), ('a', 1)]

    """

    def __init__(self, gamma: float = 1.0, n_components: int = 100, seed: int | None = None):
        self.gamma = gamma
        self.n_components = n_components
        self.seed = seed
        self.offsets: list[float] = feature_extraction.RBFSampler(
            gamma, n_components, seed or 0
        ).offsets
        self._weights = Draws(seed, self._drawn)

    def _drawn(self, generator: random.Random) -> list[float]:
        scale = math.sqrt(2 * self.gamma)
        return [scale * generator.gauss(0.0, 1.0) for _ in range(self.n_components)]

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        return {
            (name, i): math.cos(value * weight + self.offsets[i])
            for name, value in x.items()
            for i, weight in enumerate(self._weights[name])
        }


class GaussianRandomProjector(Projection):
    """Projects features onto few components by normally distributed weights.

    Parameters
    ----------
    n_components
        How many components.
    seed
        Of the weights.

    Examples
    --------
    >>> projector = GaussianRandomProjector(n_components=2, seed=1)
    >>> projector.transform_one({})
    {0: 0.0, 1: 0.0}

    """

    def __init__(self, n_components: int = 10, seed: int | None = None):
        self.n_components = n_components
        self.seed = seed
        self._weights = Draws(seed, self._drawn)

    def _drawn(self, generator: random.Random) -> dict[int, float]:
        sigma = self.n_components**-0.5
        return {i: generator.gauss(0.0, sigma) for i in range(self.n_components)}

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        projected = dict.fromkeys(range(self.n_components), 0.0)
        for name, value in x.items():
            for i, weight in self._weights[name].items():
                projected[i] += weight * value
        return projected


class SparseRandomProjector(GaussianRandomProjector):
    """Projects features onto few components by weights of which most are zero.

    Parameters
    ----------
    n_components
        How many components.
    density
        The share of weights that are not zero.
    seed
        Of the weights.

    Examples
    --------
    >>> projector = SparseRandomProjector(n_components=2, seed=1)
    >>> projector.transform_one({})
    {0: 0.0, 1: 0.0}

    """

    def __init__(self, n_components: int = 10, density: float = 0.1, seed: int | None = None):
        super().__init__(n_components, seed)
        self.density = density

    def _drawn(self, generator: random.Random) -> dict[int, float]:
        weight = (1 / (self.density * self.n_components)) ** 0.5
        return {
            i: generator.choice((weight, -weight))
            for i in range(self.n_components)
            if generator.random() < self.density
        }
