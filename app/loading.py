"""Sends the rows of a table to a model as examples, each of them once.

    row ─▶ features of the model's types, and a label     does not fit ─▶ refused, with the line
        ─▶ an id made of the row's content
        ─▶ [--predict-first: predict a few rows, then send their labels by prediction_id]
        ─▶ feedback                                       the id is known ─▶ already learned

The id of a row is a digest of the file's header and first row, the row's number, and a digest of
the row. Whatever ends a load, the same load again passes over what was learned and goes on; a file
that has grown since goes on with what is new; and another file has other ids.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple, Protocol

from app.client import Client, Model
from app.columns import (
    SAMPLE_ROWS,
    Convert,
    are_integers,
    converter,
    label_converter,
    types_of,
)
from app.errors import (
    HeadraceError,
    Internal,
    TooMany,
    Unanswerable,
    Unavailable,
    UnknownModel,
    UnknownPrediction,
)
from app.ordering import Reading, in_order
from app.tabular import Row, Table, UnreadableFile, nearest

CHUNK_ROWS = 100
"""How many rows are predicted before the first of them is labelled: the delay of their labels."""

ENDING = (Unavailable, TooMany, UnknownModel, Internal)
"""What is no fault of a row: the load ends, and can be run again."""


@dataclass(frozen=True)
class Roles:
    """Which columns are no features, and what they are."""

    label: str | None = None
    time: str | None = None
    id: str | None = None
    drop: tuple[str, ...] = ()

    def with_label(self, label: str) -> "Roles":
        """The same, with another label."""
        return replace(self, label=label)

    def named(self) -> list[str]:
        """The columns that were named."""
        return [name for name in (self.label, self.time, self.id, *self.drop) if name is not None]

    def check(self, columns: Iterable[str], table: Table) -> None:
        """Raises `UnreadableFile`, with the nearest name, if the table lacks one of them."""
        known = list(columns)
        for name in self.named():
            if name not in known:
                raise UnreadableFile(f"{table.path} has no column {name!r}; {nearest(name, known)}")


@dataclass
class Tally:
    """What became of the rows. `duplicates` had been learned before, `unlearnable` broke it."""

    rows: int = 0
    learned: int = 0
    duplicates: int = 0
    refused: int = 0
    unlabelled: int = 0
    unlearnable: int = 0
    predicted: int = 0

    def plain(self) -> dict[str, int]:
        """The counts by their names."""
        return asdict(self)


class Example(NamedTuple):
    """A row as it is sent. A label of None is none."""

    row: Row
    id: str
    features: dict[str, Any]
    label: Any


class Watcher(Reading, Protocol):
    """Who is told of each row: that it is done with, and before that if it was refused."""

    def done(self) -> None:
        """One row more is done with."""

    def refused(self, row: Row, reason: str) -> None:
        """A row was refused."""


class Loader:
    """One load of a table into a model."""

    def __init__(
        self, client: Client, model: Model, table: Table, roles: Roles, watcher: Watcher
    ) -> None:
        self.tally = Tally()
        self._client, self._model, self._table = client, model, table
        self._roles, self._watcher = roles, watcher
        sample = table.sample(SAMPLE_ROWS)
        columns = [*table.columns, *(name for row in sample for name in row.cells())]
        roles.check(dict.fromkeys(columns), table)
        known = model.features.keys()
        if known and known.isdisjoint(set(columns) - set(roles.named())):
            raise UnreadableFile(
                f"{table.path} has none of the features that {model.name} knows, such as "
                f"{', '.join(list(known)[:3])}. Is it the right file, and the right model?"
            )
        labels = [row.cell(roles.label) for row in sample] if roles.label else []
        self._label = label_converter(model.task, are_integers(labels))
        self._converters: dict[str, Convert] = {}
        if table.is_text:
            types = types_of(table, model.features)
            self.types = {name: type for name, type in types.items() if name not in roles.named()}
            self._converters = {name: converter(name, type) for name, type in self.types.items()}
        else:
            self.types = {}

    def run(self, predict_first: bool) -> None:
        """Send all rows. Raises what ends a load: it can be run again."""
        rows: Iterable[Row] = self._table.rows()
        if self._roles.time is not None:
            rows = in_order(self._table, self._roles.time, self._watcher)
        examples = self._examples(rows, predict_first)
        if not predict_first:
            self._learn((_with_features(example), example) for example in examples)
            return
        while chunk := list(islice(examples, CHUNK_ROWS)):
            self._ask_and_learn(chunk)

    def _examples(self, rows: Iterable[Row], predict_first: bool) -> Iterator[Example]:
        """The rows that can be sent; what becomes of the others is counted here."""
        needs_label = self._model.task != "anomaly" and not predict_first
        for row in rows:
            if row.fault is not None:
                self._refuse(row, row.fault)
                continue
            try:
                example = self._example(row)
            except ValueError as error:
                self._refuse(row, str(error))
                continue
            if example.label is None and needs_label:
                self._done("unlabelled")
            else:
                yield example

    def _example(self, row: Row) -> Example:
        """Raises `ValueError`, saying what of the row does not fit."""
        roles = self._roles
        if self._converters:
            cells = row.values
            features = {name: read(cells[name]) for name, read in self._converters.items()}
        else:
            named = roles.named()
            features = {name: cell for name, cell in row.values.items() if name not in named}
        label = None if roles.label is None else self._label(row.cell(roles.label))
        if roles.id is None:
            digest = blake2b(row.content.encode("utf-8", "surrogatepass"), digest_size=8)
            return Example(
                row,
                f"load:{self._table.digest}:{row.number}:{digest.hexdigest()}",
                features,
                label,
            )
        id = row.cell(roles.id)
        if id is None or id == "":
            raise ValueError(f"{roles.id} is empty, and is to be the id")
        return Example(row, str(id), features, label)

    def _ask_and_learn(self, chunk: list[Example]) -> None:
        """Predict a few rows, then send the labels of those predictions."""
        questions = [{"id": example.id, "features": example.features} for example in chunk]
        answers = list(self._client.predict_many(self._model.name, questions))
        labelled = []
        for example, answer in zip(chunk, answers, strict=True):
            body = {**_body(example), "prediction_id": example.id}
            if isinstance(answer, Unanswerable):
                body = _with_features(example)
            elif isinstance(answer, HeadraceError):
                self._refuse(example.row, _reason(answer))
                continue
            else:
                self.tally.predicted += 1
            if example.label is None and self._model.task != "anomaly":
                self._done("unlabelled")
            else:
                labelled.append((body, example))
        forgotten = self._learn(labelled)
        # A crash forgets the newest predictions; their rows are here, and can be learned without.
        self._learn((_with_features(example), example) for example in forgotten)

    def _learn(self, sent: Iterable[tuple[dict[str, Any], Example]]) -> list[Example]:
        """Send feedback; the rows whose prediction the service does not remember."""
        waiting: deque[Example] = deque()
        forgotten = []

        def bodies() -> Iterator[dict[str, Any]]:
            for body, example in sent:
                waiting.append(example)
                yield body

        for answer in self._client.feedback_many(self._model.name, bodies()):
            example = waiting.popleft()
            if isinstance(answer, UnknownPrediction):
                forgotten.append(example)
            elif isinstance(answer, HeadraceError):
                self._refuse(example.row, _reason(answer))
            elif answer.duplicate:
                self._done("duplicates")
            elif any(warned.code == "unlearnable" for warned in answer.warnings or ()):
                self._done("unlearnable")
            else:
                self._done("learned")
        return forgotten

    def _refuse(self, row: Row, reason: str) -> None:
        self._watcher.refused(row, reason)
        self._done("refused")

    def _done(self, how: str) -> None:
        self.tally.rows += 1
        setattr(self.tally, how, getattr(self.tally, how) + 1)
        self._watcher.done()


def _body(example: Example) -> dict[str, Any]:
    """What feedback always says. A missing label is left out, as only anomalies have it."""
    return {"id": example.id} | ({} if example.label is None else {"label": example.label})


def _with_features(example: Example) -> dict[str, Any]:
    return {**_body(example), "features": example.features}


def _reason(error: HeadraceError) -> str:
    """Why a row was refused. Raises the error if it is no fault of the row."""
    if isinstance(error, ENDING):
        raise error
    return error.message
