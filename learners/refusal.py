"""What is said when a spec cannot be taken: where, why, and what to do instead.

Every refusal in this package is an `InvalidSpec`; no other exception leaves `complete` or `build`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

NEAREST_MAX = 3


class InvalidSpec(ValueError):
    """A spec that no learner can be built from.

    Parameters
    ----------
    place
        Where in the spec, like `learner[1].optimizer`.
    reason
        What is wrong there, without a full stop.
    nearest
        Valid names close to the one given, best first.
    advice
        What to do, an imperative without a full stop. When left out, it follows from `nearest`.

    Examples
    --------
    >>> error = InvalidSpec("learner.l3", "there is no parameter l3", nearest=("l2", "l1"))
    >>> print(error)
    learner.l3: there is no parameter l3; write l2 or l1 instead.

    """

    def __init__(
        self, place: str, reason: str, nearest: tuple[str, ...] = (), advice: str = ""
    ) -> None:
        if not advice and nearest:
            advice = f"write {' or '.join(nearest)} instead"
        self.place = place
        self.reason = reason
        self.nearest = nearest
        self.advice = advice or "correct this part of the spec"
        super().__init__(f"{place}: {reason}; {self.advice}.")

    def __reduce__(self) -> tuple[type[InvalidSpec], tuple[str, str, tuple[str, ...], str]]:
        return type(self), (self.place, self.reason, self.nearest, self.advice)


def nearest(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names most like `name`, best first; a bare class name finds its qualified one.

    Examples
    --------
    >>> nearest("LogisticRegresion", ["linear_model.LogisticRegression", "dummy.PriorClassifier"])
    ('linear_model.LogisticRegression',)

    """
    spellings: dict[str, list[str]] = {}
    for candidate in names:
        for spelling in {candidate, candidate.rpartition(".")[2]}:
            spellings.setdefault(spelling.lower(), []).append(candidate)
    wanted = name.lower()[:200]
    matches = difflib.get_close_matches(wanted, spellings, n=2 * NEAREST_MAX, cutoff=0.6)
    tail = wanted.rpartition(".")[2]
    matches += difflib.get_close_matches(tail, spellings, n=NEAREST_MAX, cutoff=0.8)
    found = {candidate: None for match in matches for candidate in sorted(spellings[match])}
    return tuple(found)[:NEAREST_MAX]


def shown(value: object) -> str:
    """A value from a spec as it appears in a message: short, whatever it is.

    Examples
    --------
    >>> shown("x" * 100)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."

    """
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
