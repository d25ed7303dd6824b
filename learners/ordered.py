"""Sets that are walked in the order in which their members came.

River walks sets of labels and of categories. Their order hangs on the hash seed and, where hashes
collide, changes when a learner goes through a pickle; the order of probabilities, ties between
votes and ties between splits hang on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from river import dummy, forest, multiclass


class Ordered(dict[Any, None]):
    """A set whose members keep their order, with what River asks of its sets.

    Examples
    --------
    >>> members = Ordered()
    >>> for member in ("zebra", "ape", "zebra"):
    ...     members.add(member)
    >>> list(members), members - {"ape"}
    (['zebra', 'ape'], ['zebra'])

    """

    def add(self, member: Any) -> None:
        """Add a member, last; one that is there stays where it is."""
        self[member] = None

    def __sub__(self, others: Iterable[Any]) -> list[Any]:
        return [member for member in self if member not in others]


class NoChangeClassifier(dummy.NoChangeClassifier):
    """Predicts the label that was learned last."""

    def __init__(self) -> None:
        super().__init__()
        own: Any = self
        own.classes = Ordered()


class AMFClassifier(forest.AMFClassifier):
    """Aggregated Mondrian forest for classification."""

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        own: Any = self
        if not isinstance(own._classes, Ordered):
            own._classes = Ordered(dict.fromkeys(own._classes))
        super().learn_one(x, y)  # type: ignore[no-untyped-call]


class OneVsOneClassifier(multiclass.OneVsOneClassifier):
    """Tells labels apart by a binary classifier for each pair of them."""

    def __init__(self, classifier: Any):
        super().__init__(classifier)  # type: ignore[no-untyped-call]
        own: Any = self
        own.classes = Ordered()
