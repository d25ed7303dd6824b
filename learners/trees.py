"""Hoeffding trees that are the same after a pickle as before it.

River limits a tree's memory by the bytes of its objects. These change when a tree goes through a
pickle, as a dictionary that grew takes more than an equal one that was loaded; a limited tree then
splits otherwise after a restart. Here equal trees have equal sizes, whatever happened to them.
Likewise, River tries splits by categories in a set's order, and takes the first of equal ones: here
they are tried in the order in which they came.
"""

from __future__ import annotations

import inspect
import random
from collections import deque
from typing import Any

import numpy as np
from river import forest, tree
from river.forest.adaptive_random_forest import BaseTreeClassifier, BaseTreeRegressor
from river.forest.online_extra_trees import ETRegressor
from river.tree.nodes import efdtc_nodes
from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif

from learners.ordered import Ordered

CONTAINER_BYTES = 64
ENTRY_BYTES = 24

ATOMS = (bool, int, float, complex, bytes, type(None), type, random.Random)


def size_of(held: object) -> int:
    """The bytes that an object and what it holds would take, a function of their values alone.

    Atoms count each time they are held, everything else once.

    Examples
    --------
    >>> grown = {i: 1.5 for i in range(99)}
    >>> for i in range(1, 99):
    ...     del grown[i]
    >>> size_of(grown) == size_of({0: 1.5})
    True

    """
    size = 0
    seen: set[int] = set()
    queue: deque[object] = deque([held])
    while queue:
        part = queue.popleft()
        if isinstance(part, ATOMS):
            size += ENTRY_BYTES
            continue
        if isinstance(part, str):
            size += CONTAINER_BYTES + len(part)
            continue
        if id(part) in seen:
            continue
        seen.add(id(part))
        size += CONTAINER_BYTES
        if isinstance(part, np.ndarray):
            size += part.nbytes
        elif isinstance(part, dict):
            size += 2 * ENTRY_BYTES * len(part)
            queue.extend(part.keys())
            queue.extend(part.values())
        elif isinstance(part, list | tuple | set | frozenset | deque):
            size += ENTRY_BYTES * len(part)
            queue.extend(part)
        else:
            queue.extend(_attributes(part))
    return size


def _attributes(part: object) -> list[object]:
    """What an object holds: its own dictionary's values, and its slots'."""
    held = list(getattr(part, "__dict__", {}).values())
    for cls in type(part).__mro__:
        names = cls.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__") and hasattr(part, name):
                held.append(getattr(part, name))
    return held


class ValueSized:
    """Gives a Hoeffding tree `size_of` for its memory management; the rest is River's."""

    def _estimate_model_size(self) -> None:
        own: Any = self
        sizes = {True: 0, False: 0}
        for leaf in own._find_leaves():
            sizes[leaf.is_active()] += size_of(leaf)
        if sizes[True] > 0 and own._n_active_leaves > 0:
            own._active_leaf_size_estimate = sizes[True] / own._n_active_leaves
        if sizes[False] > 0 and own._n_inactive_leaves > 0:
            own._inactive_leaf_size_estimate = sizes[False] / own._n_inactive_leaves
        actual = size_of(self)
        estimated = (
            own._n_active_leaves * own._active_leaf_size_estimate
            + own._n_inactive_leaves * own._inactive_leaf_size_estimate
        )
        own._size_estimate_overhead_fraction = actual / estimated if estimated else 1.0
        if actual > own._max_byte_size:
            own._enforce_size_limit()


class NominalSplitter(NominalSplitterClassif):
    """Watches the categories of a feature, and tries splits in the order in which they came."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        own: Any = self
        own._att_values = Ordered()


class OrderedCategories(ValueSized):
    """Gives the leaves of a tree for classification splitters that keep the categories' order."""

    def _new_leaf(self, initial_stats: Any = None, parent: Any = None) -> Any:
        own: Any = super()
        leaf = own._new_leaf(initial_stats, parent)
        leaf.new_nominal_splitter = NominalSplitter
        return leaf


class HoeffdingTreeClassifier(OrderedCategories, tree.HoeffdingTreeClassifier):
    """Hoeffding tree, or very fast decision tree, for classification."""


class HoeffdingTreeRegressor(ValueSized, tree.HoeffdingTreeRegressor):
    """Hoeffding tree for regression."""


class HoeffdingAdaptiveTreeClassifier(OrderedCategories, tree.HoeffdingAdaptiveTreeClassifier):
    """Hoeffding tree for classification that replaces branches whose error drifts."""

    def learn_one(self, x: dict[Any, Any], y: Any, *, w: float = 1.0) -> None:
        own: Any = self
        if not isinstance(own.classes, Ordered):
            own.classes = Ordered(dict.fromkeys(own.classes))
        super().learn_one(x, y, w=w)  # type: ignore[no-untyped-call]


class HoeffdingAdaptiveTreeRegressor(ValueSized, tree.HoeffdingAdaptiveTreeRegressor):
    """Hoeffding tree for regression that replaces branches whose error drifts."""


class NumericBinaryBranch(efdtc_nodes.EFDTNumericBinaryBranch):
    """A branch of an extremely fast tree, whose splitters keep the categories' order."""

    new_nominal_splitter = NominalSplitter


class NumericMultiwayBranch(efdtc_nodes.EFDTNumericMultiwayBranch):
    """The same, with many ways by a number."""

    new_nominal_splitter = NominalSplitter


class NominalBinaryBranch(efdtc_nodes.EFDTNominalBinaryBranch):
    """The same, with two ways by a category."""

    new_nominal_splitter = NominalSplitter


class NominalMultiwayBranch(efdtc_nodes.EFDTNominalMultiwayBranch):
    """The same, with many ways by a category."""

    new_nominal_splitter = NominalSplitter


class ExtremelyFastDecisionTreeClassifier(
    OrderedCategories, tree.ExtremelyFastDecisionTreeClassifier
):
    """Hoeffding tree for classification that splits early and revises its splits."""

    def _branch_selector(self, numerical_feature: bool = True, multiway_split: bool = False) -> Any:
        if numerical_feature:
            return NumericMultiwayBranch if multiway_split else NumericBinaryBranch
        return NominalMultiwayBranch if multiway_split else NominalBinaryBranch


class LASTClassifier(OrderedCategories, tree.LASTClassifier):
    """Local adaptive streaming tree, which splits where a change is detected."""


class ForestTreeClassifier(OrderedCategories, BaseTreeClassifier):
    """A tree of an adaptive random forest for classification."""


class ForestTreeRegressor(ValueSized, BaseTreeRegressor):
    """A tree of an adaptive random forest for regression."""


class ExtraTreeRegressor(ValueSized, ETRegressor):
    """A tree of an online extra trees forest."""


def _value_sized(made: Any, cls: type) -> Any:
    """A tree like `made`, of `cls`: forests name the class of their trees in their own methods."""
    names = list(inspect.signature(type(made)).parameters)
    return cls(**{name: getattr(made, name) for name in names})


class ARFClassifier(forest.ARFClassifier):
    """Adaptive random forest for classification."""

    def _new_base_model(self) -> Any:
        made = super()._new_base_model()  # type: ignore[no-untyped-call]
        return _value_sized(made, ForestTreeClassifier)

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        # River draws its trees here, for the features that happen to be asked about first.
        return super().predict_proba_one(x, **kwargs) if len(self) else {}


class ARFRegressor(forest.ARFRegressor):
    """Adaptive random forest for regression."""

    def _new_base_model(self) -> Any:
        made = super()._new_base_model()  # type: ignore[no-untyped-call]
        return _value_sized(made, ForestTreeRegressor)

    def predict_one(self, x: dict[Any, Any]) -> Any:
        return super().predict_one(x) if len(self) else 0.0


class OXTRegressor(forest.OXTRegressor):
    """Online extra trees for regression."""

    def _new_member(self, max_features: Any, max_depth: Any, seed: Any) -> Any:
        made = super()._new_member(max_features, max_depth, seed)  # type: ignore[no-untyped-call]
        return _value_sized(made, ExtraTreeRegressor)
