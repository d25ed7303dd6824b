"""What becomes of labels: the rules in a few lines, and the reference that follows from them."""

from itertools import product
from typing import Any, NamedTuple

from app import entries
from app.entries import Correction, Created, Example, LabelRules
from app.log import Row
from learners.scores import build_metric
from learners.spec import build


class Said(NamedTuple):
    """A label of a prediction, as it stands in the log."""

    kind: str
    id: str | None
    y: Any
    origin: str
    learned: bool
    late: bool = False
    early: bool = False


Told = str | tuple[str | None, bool, str | None]
"""An answer: the code of an error; or the id it is given for, whether that is old, a warning."""


def decided(
    rules: LabelRules, before: tuple[Said, ...], new: Said
) -> tuple[tuple[Said, ...], Told]:
    """The rules: what a label adds to those that its prediction has, and what is answered."""
    if new.late and not before and rules.default is not None:
        default = Said("example", None, rules.default, "default", learned=True)
        added, told = decided(rules, (default,), new)
        return (default, *added), told
    standing = before[-1] if before else None
    if standing is None or standing.origin == "default":
        if new.late and rules.late == "refuse":
            return (), "label_too_late"
        is_right = standing is not None and standing.y == new.y
        learned = not new.late or (rules.late == "learn" and not is_right)
        kind = "correction" if standing else "example"
        return (new._replace(kind=kind, learned=learned),), (new.id, False, None)
    if rules.duplicates == "refuse":
        return (), "already_labelled"
    if standing.y == new.y or rules.duplicates == "first":
        return (), (standing.id, True, None if standing.y == new.y else "first_kept")
    return (Said("correction", new.id, new.y, "given", False),), (new.id, False, None)


class Asked(NamedTuple):
    """Features, the answer to them, and when their label is due."""

    x: dict[str, Any]
    prediction: Any
    shares: dict[Any, float] | None
    due: int


class Reference:
    """What one model must be: the labels of each prediction, and what follows from them."""

    def __init__(self, created: Created) -> None:
        self.name, self.task, self.rules = created.name, created.task, created.labels
        self.metrics = created.metrics
        self.bare: Any = build(created.learner)
        self.asked: dict[str, Asked] = {}
        self.said: dict[str, tuple[Said, ...]] = {}
        self.settled: set[str] = set()
        self.examples: dict[str, Asked] = {}
        self.offsets: dict[str, int] = {}
        self.rows: list[tuple[str, Said]] = []
        self.expired = self.dangling = 0

    def answer(self, x: dict[str, Any], due: int = 0) -> Asked:
        """What the bare learner says."""
        shares = None if self.task == "regression" else self.bare.predict_proba_one(dict(x))
        return Asked(x, self.bare.predict_one(dict(x)), shares, due)

    def is_known(self, id: str, forgotten_before: int) -> bool:
        """Whether a label finds its prediction, or the labels of it."""
        return id in self.said or (id in self.asked and self.asked[id].due >= forgotten_before)

    def settle(self, now: int) -> None:
        """Every prediction that is due has its default label, or is counted, once."""
        for id, asked in self.asked.items():
            if asked.due <= now and id not in self.settled:
                self.settled.add(id)
                if id not in self.said and self.rules.default is None:
                    self.expired += 1
                elif id not in self.said:
                    default = Said("example", None, self.rules.default, "default", True)
                    self.said[id] = (default,)

    def take(self, rows: list[Row]) -> list[tuple[str, Said]]:
        """Take in what is new in the log, as (prediction, label); its own examples have no id."""
        fresh = []
        for row in rows:
            assert row.offset == len(self.rows) + 2, "the log has a gap"
            key = row.prediction_id or row.id
            self.offsets[row.id] = row.offset
            fresh.append((key, said_by(row)))
            self.rows.append(fresh[-1])
        return fresh

    def learn(self, fresh: list[tuple[str, Said]]) -> None:
        """Learn what is new in the log, where it says so."""
        for key, said in fresh:
            if key not in self.asked and key not in self.examples:
                raise AssertionError(f"{key} stands in the log, and was never asked")
            x = (self.asked.get(key) or self.examples[key]).x
            if key in self.examples:
                self.examples[key] = self.answer(x)
            if said.learned:
                self.bare.learn_one(dict(x), said.y)

    def logged(self) -> dict[str, tuple[Said, ...]]:
        """The labels that stand in the log, by prediction."""
        found: dict[str, tuple[Said, ...]] = {}
        for key, said in self.rows:
            found[key] = (*found.get(key, ()), said)
        return found

    def standing(self) -> list[tuple[Any, Asked]]:
        """The label that stands of each prediction that had an answer, in the log's order."""
        found = {
            key: (said.y, self.asked.get(key) or self.examples.get(key)) for key, said in self.rows
        }
        return [(y, asked) for y, asked in found.values() if asked and asked.prediction is not None]

    def figures(self) -> dict[str, float]:
        """River's metrics, fed one by one with the labels that stand."""
        metrics = [build_metric(spec) for spec in self.metrics]
        for metric, (y, asked) in product(metrics, self.standing()):
            wants_shares = not getattr(metric, "requires_labels", True)
            metric.update(y, asked.shares if wants_shares else asked.prediction)
        return {type(metric).__name__: float(metric.get()) for metric in metrics}

    def counts(self) -> dict[str, int]:
        """How many labels of each kind there were."""
        firsts, corrected, recorded = 0, 0, 0
        for labels in self.logged().values():
            given = [said for said in labels if said.origin == "given"]
            firsts += bool(given)
            corrected += max(0, len(given) - 1)
            right = bool(given) and labels[0].origin == "default" and labels[0].y == given[0].y
            recorded += bool(given) and not given[0].learned and not right
        labels_of_all = [said for _, said in self.rows]
        return {
            "given": firsts,
            "default": sum(said.origin == "default" for said in labels_of_all),
            "corrected": corrected,
            "late": sum(said.late for said in labels_of_all),
            "recorded": recorded,
            "early": sum(said.early for said in labels_of_all),
            "dangling": self.dangling,
            "expired": self.expired,
        }


def said_by(row: Row) -> Said:
    """A row of the log as the label that it is."""
    entry = entries.decode(row.body)
    if isinstance(entry, Example):
        id = row.id if entry.origin == "given" else None
        assert (id is None) == row.id.startswith("headrace:default:")
        return Said(row.kind, id, entry.label, entry.origin, entry.learned, entry.late, entry.early)
    assert isinstance(entry, Correction)
    return Said(row.kind, row.id, entry.label, "given", entry.features is not None, entry.late)


def plain(task: str, y: Any) -> Any:
    """A label as it is learned: 0 is false where labels are true or false."""
    return bool(y) if task == "binary" else y
