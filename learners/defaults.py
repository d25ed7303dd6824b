"""The spec of what River made by itself, read back from the object."""

from __future__ import annotations

import math
from typing import Any

from river import compose, optim

from learners.parameters import parameters_of
from learners.published import NAMES
from learners.refused import NAMEABLE
from learners.shapes import Ungiven


def described(value: object) -> Any:
    """The spec of an object that River made, or None when none can say it.

    Examples
    --------
    >>> described(optim.SGD(0.1))
    {'optim.SGD': {'lr': 0.1}}

    """
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, optim.schedulers.Constant):
        return value.learning_rate
    if isinstance(value, compose.Pipeline):
        steps = [described(step) for step in value.steps.values()]
        return None if None in steps else steps
    name = NAMES.get(type(value))
    if name is None or name not in NAMEABLE:
        return None
    parameters = parameters_of(name)
    sayable = [key for key, p in parameters.items() if not isinstance(p.shape, Ungiven)]
    held = {key: described(getattr(value, key, None)) for key in sayable}
    return {name: {key: spec for key, spec in held.items() if spec is not None}}
