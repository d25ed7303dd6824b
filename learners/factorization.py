"""Factorization machines whose predictions change nothing.

River's draw the first weights of an unseen feature from a shared generator, and keep them, also
when only asked to predict: two processes that answer different requests would learn differently.
Here a feature's first weights are a function of the seed and the feature's name alone, and only
learning keeps them. They have River's distribution, not River's values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from river import facto
from river.facto.base import BaseFM
from river.optim.initializers import Initializer, Normal

from learners.draws import keyed_seed

DRAWN_MAX = 10_000
"""How many computed weights are held, so as not to compute them again."""


class Weights(dict[Any, Any]):
    """Weights by feature; an absent one is computed from its name and not kept.

    Parameters
    ----------
    initializer
        Gives the first weights. A normal one is drawn anew for each name.
    shape
        How many weights each name has.
    path
        What these weights are for; equal names have other weights under another path.
    is_nested
        Whether each name has weights by a second name.

    Examples
    --------
    >>> from river.optim.initializers import Normal
    >>> weights = Weights(Normal(seed=1), 1, ("linear",))
    >>> bool(weights["a"] == weights["a"]), bool(weights["a"] == weights["b"]), len(weights)
    (True, False, 0)

    """

    def __init__(
        self, initializer: Initializer, shape: int, path: tuple[str, ...], is_nested: bool = False
    ) -> None:
        super().__init__()
        self.initializer = initializer
        self.shape = shape
        self.path = path
        self.is_nested = is_nested
        # Drawing is slow, and each feature is looked up once for every other one.
        self._drawn: dict[Any, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_drawn": {}}

    def __missing__(self, name: Any) -> Any:
        drawn = self._drawn.get(name)
        if drawn is None:
            if len(self._drawn) >= DRAWN_MAX:
                self._drawn.clear()
            drawn = self._drawn[name] = self._draw(name)
        return drawn

    def _draw(self, name: Any) -> Any:
        path = (*self.path, repr(name))
        if self.is_nested:
            return Weights(self.initializer, self.shape, path)
        if not isinstance(self.initializer, Normal):
            return self.initializer(shape=self.shape)
        seed = keyed_seed(self.initializer.seed, *path)
        return Normal(self.initializer.mu, self.initializer.sigma, seed)(shape=self.shape)

    def keep(self, name: Any) -> None:
        """Keep the weights of `name`, computing them if they are absent."""
        self[name] = self[name]


class PureWeights(BaseFM):
    """Gives a factorization machine weights that only learning keeps."""

    has_nested_latents = False

    def _init_latents(self) -> Any:
        weights: Any = Weights(self.weight_initializer, 1, ("weights",))
        self.weights = weights
        return Weights(
            self.latent_initializer, self.n_factors, ("latents",), self.has_nested_latents
        )


class FloatAnswer(BaseFM):
    """Predicts a float; River's regressors raise before they learned an interaction."""

    def predict_one(self, x: dict[Any, Any], **kwargs: Any) -> float:
        own: Any = self
        return float(own._raw_dot(own._ohe_cat_features(x)))


class NestedWeights(PureWeights):
    """The same where each feature has latent weights by a second name."""

    has_nested_latents = True

    def _update_latents(self, x: dict[Any, Any], g_loss: float) -> None:
        latents: Any = self.latents
        for name in x:
            latents.keep(name)
        super()._update_latents(x, g_loss)  # type: ignore[safe-super]


class PureInteractions(PureWeights):
    """The same where each pair of fields has a weight, which is 1 until it is learned."""

    def _interaction_coefficient(self, combination: tuple[str, str]) -> Any:
        own: Any = self
        fields = "".join(own._field(name) for name in combination)
        first, second = (self.latents[name] for name in combination)
        return np.dot(first, second) * own.interaction_weights.get(fields, 1.0)


class FMClassifier(PureWeights, facto.FMClassifier):
    """Factorization machine for binary classification."""


class FMRegressor(FloatAnswer, PureWeights, facto.FMRegressor):
    """Factorization machine for regression."""


class FFMClassifier(NestedWeights, facto.FFMClassifier):
    """Field-aware factorization machine for binary classification."""


class FFMRegressor(FloatAnswer, NestedWeights, facto.FFMRegressor):
    """Field-aware factorization machine for regression."""


class FwFMClassifier(PureInteractions, facto.FwFMClassifier):
    """Field-weighted factorization machine for binary classification."""


class FwFMRegressor(FloatAnswer, PureInteractions, facto.FwFMRegressor):
    """Field-weighted factorization machine for regression."""


class HOFMClassifier(NestedWeights, facto.HOFMClassifier):
    """Higher-order factorization machine for binary classification."""


class HOFMRegressor(FloatAnswer, NestedWeights, facto.HOFMRegressor):
    """Higher-order factorization machine for regression."""
