"""What a model's rules say of a label that is late, or that is not the first. Pure.

| the prediction has | rule | what is appended |
|---|---|---|
| no label, and is due | `late` | the default, if any; then an example, learned or recorded |
| its default | `late` | a correction, learned or not |
| a label that was given | `duplicates` | nothing, or a correction that is not learned |
"""

from typing import Any

from app import entries
from app.admission import Fresh
from app.entries import Correction, Example, Label, LabelRules, Served
from app.errors import AlreadyLabelled, HeadraceError, LabelTooLate
from app.log import Receipt, Row
from app.predictions import Remembered


class Item:
    """A feedback on its way; at the end it has its receipt, or the error that it is answered."""

    def __init__(
        self, id: str, prediction_id: str | None, label: Label | None, features: Any
    ) -> None:
        self.id = id
        self.prediction_id = prediction_id
        self.label = label
        self.features = features
        self.served: Served | None = None
        self.early = False
        self.kept = False
        self.fresh: Fresh = ({}, [])
        self.answer: Receipt | HeadraceError | None = None

    @property
    def is_joined(self) -> bool:
        """Whether it has all that an example needs."""
        return self.prediction_id is None or self.served is not None

    def join(self, record: Remembered | None) -> None:
        """Give it what its prediction saw and answered."""
        if record is not None:
            self.features, self.served = record.features, record.served


def due_at(rules: LabelRules, asked_at: int) -> int:
    """The instant from which on the label of what was asked then is late, in microseconds."""
    return asked_at + round(rules.wait_seconds * 1_000_000)


def late(rules: LabelRules, item: Item) -> Example:
    """What becomes of the first label of a prediction that is due. Raises `LabelTooLate`."""
    _refuse_late(rules, item)
    learned = rules.late == "learn"
    return Example(
        item.features, item.label, item.served, late=True, early=item.early, learned=learned
    )


def second(rules: LabelRules, item: Item, rows: list[Row]) -> Correction | Receipt:
    """What becomes of a label of a prediction that has these; a receipt if nothing does.

    Raises `LabelTooLate` behind a default, `AlreadyLabelled` behind a label that was given.
    """
    first, standing = entries.decode(rows[0].body), entries.decode(rows[-1].body)
    if not isinstance(first, Example) or not isinstance(standing, Example | Correction):
        raise TypeError(f"offset {rows[0].offset} labels a prediction and is no example")
    if first.served is None:
        raise TypeError(f"offset {rows[0].offset} labels a prediction and does not say which")
    is_same = standing.label == item.label
    offset, replaces = rows[0].offset, standing.label
    if isinstance(standing, Example) and standing.origin == "default":
        _refuse_late(rules, item)
        # A default that was right is learned already.
        features = first.features if rules.late == "learn" and not is_same else None
        return Correction(
            offset, item.label, replaces, first.served, "default", features=features, late=True
        )
    if rules.duplicates == "refuse":
        raise AlreadyLabelled(
            f"The prediction {item.prediction_id!r} has its label, at offset {rows[-1].offset}, "
            "from feedback with another id. A prediction is labelled once: keep the first, or "
            'create the model with `labels: {"duplicates": "correct"}`.'
        )
    if rules.duplicates == "correct" and not is_same:
        return Correction(offset, item.label, replaces, first.served)
    item.id, item.kept = rows[-1].id, not is_same
    return Receipt(rows[-1].offset, duplicate=True)


def _refuse_late(rules: LabelRules, item: Item) -> None:
    if rules.late == "refuse":
        raise LabelTooLate(
            f"The label of {item.prediction_id!r} came over {rules.wait_seconds:g} s after its "
            "prediction, and the model refuses late labels. Create it with a longer "
            '`wait_seconds`, or with `labels: {"late": "learn"}`.'
        )
