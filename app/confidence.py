"""Whether one learner is worse than another, by a test that may be looked at again and again. Pure.

The losses of both on the same examples are subtracted, pair by pair. The mean of the differences
has a lower bound that holds for all numbers of pairs at once: an asymptotic confidence sequence, of
Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
confidence sequences", arXiv 2103.06476, section 2 (the Gaussian mixture boundary, one-sided).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

PAIRS_MIN = 50
"""Under so many pairs nothing is said: the sequence holds for large numbers."""


class Verdict(NamedTuple):
    """Of so many pairs: the mean difference of losses, and the highest of its lower bounds.

    A positive difference says that the candidate is worse.
    """

    pairs: int
    difference: float
    bound: float


def judge(differences: Sequence[float], alpha: float) -> Verdict:
    """How much worse a candidate is than its reference, at the least.

    Parameters
    ----------
    differences
        The candidate's loss less the reference's, of each example, in their order.
    alpha
        The chance that the bound is ever over the true mean, however often it is looked at.

    Examples
    --------
    >>> judge([0.0, 1.0] * 200, alpha=0.05).bound > 0.3
    True
    >>> judge([-1.0, 1.0] * 200, alpha=0.05).bound < 0.0
    True

    """
    if not all(map(math.isfinite, differences)):
        raise ValueError("a difference of losses is no finite number")
    mean = squares = 0.0
    highest = -math.inf
    rho2 = mixture(PAIRS_MIN * 4, alpha)
    for n, difference in enumerate(differences, 1):
        # Welford's running mean and variance.
        before = mean
        mean += (difference - mean) / n
        squares += (difference - before) * (difference - mean)
        if n >= PAIRS_MIN:
            highest = max(highest, mean - math.sqrt(squares / n) * radius(n, alpha, rho2))
    return Verdict(len(differences), mean, highest)


def spent(alpha: float, block: int) -> float:
    """What of `alpha` the block of this number, from 1, may spend: all blocks together, `alpha`."""
    return alpha * 6 / (math.pi * block) ** 2


def radius(n: int, alpha: float, rho2: float) -> float:
    """Half the width of the sequence for a variance of 1."""
    m = n * rho2 + 1
    return math.sqrt(2 * m / (n * n * rho2) * math.log1p(math.sqrt(m) / (2 * alpha)))


def mixture(n: int, alpha: float) -> float:
    """The variance of the mixture that makes the sequence about as narrow as can be at `n`."""
    log = -2 * math.log(2 * alpha)
    return (log + math.log(log + 1)) / n
