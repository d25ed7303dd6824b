"""Random numbers that are a function of a seed and a name.

What River draws from one generator in the order in which features are first seen is drawn here for
each feature by itself: asking about a feature changes nothing, and neither does the order.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any, Protocol


class Draw(Protocol):
    """Draws what one name needs; a method of what holds the seed, so that it can be pickled."""

    def __call__(self, generator: random.Random) -> Any: ...


def keyed_seed(seed: int | None, *path: object) -> int:
    """A seed of 32 bits for what `path` names, the same in every process.

    Examples
    --------
    >>> keyed_seed(1, "weights", "a") == keyed_seed(1, "weights", "a")
    True
    >>> keyed_seed(1, "weights", "a") == keyed_seed(1, "weights", "b")
    False

    """
    key = repr((seed or 0, *path)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "big")


class Draws(dict[Any, Any]):
    """What was drawn for each name; for an absent one it is drawn and not kept.

    Parameters
    ----------
    seed
        The seed that all of it hangs on.
    draw
        Draws what one name needs.

    Examples
    --------
    >>> draws = Draws(1, random.Random.random)
    >>> draws["a"] == draws["a"], draws["a"] == draws["b"], len(draws)
    (True, False, 0)

    """

    def __init__(self, seed: int | None, draw: Draw) -> None:
        super().__init__()
        self.seed = seed
        self.draw = draw

    def __missing__(self, name: Any) -> Any:
        return self.draw(random.Random(keyed_seed(self.seed, name)))

    def keep(self, names: Any) -> None:
        """Keep what is drawn for these names."""
        for name in names:
            if name not in self:
                self[name] = self[name]
