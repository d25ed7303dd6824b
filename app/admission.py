"""What may enter a model: features and labels, against what it knows and what is on its way.

The first example that carries a feature fixes its type. Until it is applied, feedback that waits to
be durable *claims* what it is about to fix, and what contradicts a claim is refused.
"""

from collections.abc import Mapping, Set
from typing import Any

import msgspec

from app.entries import Features, FeatureType, Label
from app.errors import InvalidFeatures, InvalidLabel, Problem
from app.features import Limits, check_cost, check_features, check_known
from app.labels import check_label
from app.live import LiveModel
from app.replica import Replica
from app.settings import Settings

Fresh = tuple[dict[str, FeatureType], list[Label]]
"""Types of features, and labels, that a model does not know yet."""


class Admission:
    """The limits of one process on what its models take."""

    def __init__(self, settings: Settings) -> None:
        self._classes_max = settings.classes_max
        self._limits = Limits(
            settings.features_max, settings.features_known_max, settings.number_magnitude_max
        )

    def check(self, live: LiveModel, features: Any) -> dict[str, FeatureType]:
        """The types of features that the model does not know yet. Raises `InvalidFeatures`."""
        fresh = check_features(features, live.types, self._limits)
        check_cost(features, live.features_max, live.words_max)
        return fresh

    def label(self, live: LiveModel, label: Any) -> Label | None:
        """A label as it is learned; `msgspec.UNSET` if none was sent. Raises `InvalidLabel`."""
        if label is not msgspec.UNSET:
            return check_label(live.created.task, label, live.monitor.labels)
        if live.created.task == "anomaly":
            return None
        raise InvalidLabel(
            "label is missing. Send what was true, as the field label.",
            [Problem("label", "is missing")],
        )

    def fresh(self, replica: Replica, features: Features, label: Label | None) -> Fresh:
        """What an example would fix. Raises `InvalidFeatures`, `InvalidLabel`.

        Refuses what contradicts the model's schema, or what other feedback on its way is fixing.
        """
        types, labels = replica.types_claimed, replica.labels_claimed
        return self._fresh(replica.model, features, label, types, labels)

    def is_passing(self, replica: Replica, features: Features, label: Label | None) -> bool:
        """Whether an example that is refused contradicts only what is on its way.

        That may yet come to nothing, and then the example may enter.
        """
        try:
            self._fresh(replica.model, features, label, {}, set())
        except (InvalidFeatures, InvalidLabel):
            return False
        return True

    def _fresh(
        self,
        live: LiveModel,
        features: Features,
        label: Label | None,
        types_claimed: Mapping[str, FeatureType],
        labels_claimed: Set[Label],
    ) -> Fresh:
        fresh = self.check(live, features)
        if fresh:
            check_known({*live.types, *types_claimed, *fresh}, self._limits)
        for name, kind in fresh.items():
            claimed = types_claimed.get(name, kind)
            if claimed != kind:
                place = f"features.{name}"
                raise InvalidFeatures(
                    f"{place} is a {kind}, and other feedback is fixing it as a {claimed}.",
                    [Problem(place, f"is a {kind}, not a {claimed}")],
                )
        if live.created.task != "multiclass" or label is None or label in live.monitor.labels:
            return fresh, []
        taken = {*live.monitor.labels, *labels_claimed}
        check_label("multiclass", label, taken)
        known = len(taken - {label})
        if known >= self._classes_max:
            raise InvalidLabel(
                f"The model knows {known:,} labels, and this would be one more than it may. "
                "Check what is sent as the label, or raise HEADRACE_CLASSES_MAX.",
                [Problem("label", "is one label too many")],
            )
        return fresh, [label]
