"""A stream that a model can learn, for tests of what is done with the model."""

import random
from collections.abc import Iterator
from typing import Any

from app.runtime import Runtime
from tests.inside import teach

PROBES: list[Any] = [{"a": a, "b": b} for a in (-2.0, -0.5, 0.5, 2.0) for b in (-1.0, 0.0, 1.0)]


def stream(seed: int, flipped: bool = False) -> Iterator[tuple[dict[str, float], bool]]:
    """Observations with the label that a line between them gives, or always the other one."""
    draw = random.Random(seed)
    while True:
        x = {"a": draw.gauss(0, 1), "b": draw.gauss(0, 1)}
        yield x, (x["a"] + 0.5 * x["b"] > 0) != flipped


async def teach_some(
    runtime: Runtime, count: int, seed: int = 0, model: str = "m", flipped: bool = False
) -> int:
    """Teach so many examples; the last one's offset."""
    offset = 0
    examples = stream(seed, flipped)
    for _ in range(count):
        x, y = next(examples)
        offset = (await teach(runtime, x, y, model=model)).offset
    return offset
