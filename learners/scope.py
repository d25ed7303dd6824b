"""What holds at one place of a spec while it is assembled, and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from learners.draws import keyed_seed
from learners.refusal import InvalidSpec


class Built(NamedTuple):
    """A part of a spec in its stored form, and the River object it stands for."""

    spec: Any
    value: Any


@dataclass
class Tally:
    """How many components were met so far."""

    components: int = 0


@dataclass(frozen=True)
class Scope:
    """What holds for everything inside one place of the spec.

    `factor` is by how much what is here is multiplied, `is_multiclass` whether classifiers here
    must tell more than two labels apart, `is_binary` whether labels are true and false.
    """

    place: str
    seed: int
    factor: float = 1.0
    depth: int = 0
    is_multiclass: bool = False
    is_binary: bool = False
    tally: Tally = field(default_factory=Tally)

    def at(self, suffix: str) -> Scope:
        return replace(self, place=f"{self.place}{suffix}")

    def derived_seed(self) -> int:
        """A seed that hangs on the learner's seed and this place only."""
        return keyed_seed(self.seed, self.place) >> 1


@contextmanager
def mapped(place: str, doing: str, advice: str = "") -> Iterator[None]:
    """Whatever River raises in here becomes an `InvalidSpec`, panics of its Rust included.

    Examples
    --------
    >>> try:
    ...     with mapped("learner", "dividing"):
    ...         1 / 0
    ... except InvalidSpec as error:
    ...     error.reason
    'dividing raised ZeroDivisionError (division by zero)'

    """
    try:
        yield
    except (InvalidSpec, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        said = " ".join(str(error).split())[:200].rstrip(".;")
        reason = f"{doing} raised {type(error).__name__}" + (f" ({said})" if said else "")
        raise InvalidSpec(place, reason, advice=advice or "change its parameters") from error
