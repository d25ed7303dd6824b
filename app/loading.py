"""Sends the rows of a table to a model as examples, each of them once.

    row ─▶ features of the model's types, and a label     does not fit ─▶ refused, with the line
        ─▶ an id made of the row's content
        ─▶ [--predict-first: predict a few rows, then send their labels by prediction_id]
        ─▶ feedback                                       the id is known ─▶ already learned

The id of a row is a digest of the file's header and first row, or of the source that was named; the
row's number; and a digest of the row. Whatever ends a load, the same load again passes over what
was learned and goes on, and a file that has grown since goes on with what is new. Another file with
the same header and first row shares the ids of those rows that are equal and in the same place.

A service that is away is waited for, and sent again what it did not answer, under the same ids.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple, Protocol

from app.client import Client, Feedback, Model, Prediction
from app.columns import (
    SAMPLE_ROWS,
    Convert,
    are_integers,
    converter,
    is_integer,
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

PASSING = (Unavailable, TooMany)
"""What may pass by itself: it is waited for."""

ENDING = (*PASSING, UnknownModel, Internal)
"""What is no fault of a row: the load ends, and can be run again."""

WAIT_SECONDS = 300.0
"""How long a service that is away is waited for, unless told otherwise."""

ASK_SECONDS = 1.0
"""How often it is asked meanwhile."""

LABELS_READ = 1_000
"""How many entries of the log tell whether a model's labels are whole numbers."""


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
    """What became of the rows. `duplicates` had been learned before, `unlearnable` broke it.

    `held_back` is the last row if it has no end yet; it is none of the `rows`.
    """

    rows: int = 0
    learned: int = 0
    duplicates: int = 0
    refused: int = 0
    unlabelled: int = 0
    unlearnable: int = 0
    predicted: int = 0
    held_back: int = 0

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

    def away(self, seconds: float, reason: str) -> None:
        """The service cannot answer now, and is waited for so long."""


class Loader:
    """One load of a table into a model. A service that is away is waited for `wait_seconds`."""

    def __init__(
        self, client: Client, model: Model, table: Table, roles: Roles, watcher: Watcher
    ) -> None:
        self.tally = Tally()
        self.wait_seconds = WAIT_SECONDS
        self.is_sending = False
        """Whether rows are under way, of which nobody knows yet what became."""
        self.known_between = 0
        """How many rows that had been learned before came behind one that had not."""
        self._is_stopping = False
        self._away_since: float | None = None
        self._fault: UnreadableFile | None = None
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
        self._label = label_converter(model.task, self._are_integers(labels))
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
        if predict_first:
            while chunk := list(islice(examples, CHUNK_ROWS)):
                self._ask_and_learn(chunk)
        else:
            self._learn((_with_features(example), example) for example in examples)
        if self._fault is not None:
            raise self._fault
        if self._is_stopping:
            raise KeyboardInterrupt
        self.tally.held_back = int(self._table.is_held_back)

    def stop(self) -> None:
        """Send no further row: `run` raises `KeyboardInterrupt` behind those under way."""
        self._is_stopping = True

    def _are_integers(self, labels: list[Any]) -> bool:
        """Whether labels that are whole numbers are sent as such: as the model knows them."""
        if self._model.task == "multiclass":
            for entry in islice(self._client.log(self._model.name), LABELS_READ):
                label = entry.fields.get("label")
                if type(label) is int or (isinstance(label, str) and is_integer(label)):
                    return type(label) is int
        return are_integers(labels)

    def _examples(self, rows: Iterable[Row], predict_first: bool) -> Iterator[Example]:
        """The rows that can be sent; what becomes of the others is counted here.

        What ends the file before its end is kept, so that the rows before it are sent.
        """
        needs_label = self._model.task != "anomaly" and not predict_first
        remaining = iter(rows)
        while not self._is_stopping:
            try:
                row = next(remaining, None)
            except UnreadableFile as fault:
                self._fault = fault
                return
            if row is None:
                return
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
        labelled = []
        for example, answer in zip(chunk, self._predictions(chunk), strict=True):
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

    def _predictions(self, chunk: list[Example]) -> list[Prediction | HeadraceError]:
        """What is answered to a few rows, when all are answered."""
        questions = [{"id": example.id, "features": example.features} for example in chunk]
        while True:
            try:
                with self._sending():
                    answers = list(self._client.predict_many(self._model.name, questions))
                    failed = next((a for a in answers if isinstance(a, PASSING)), None)
                    if failed is None:
                        self._away_since = None
                        return answers
                    raise failed
            except PASSING as error:
                self._wait(error)

    def _learn(self, sent: Iterable[tuple[dict[str, Any], Example]]) -> list[Example]:
        """Send feedback; the rows whose prediction the service does not remember."""
        remaining = iter(sent)
        waiting: deque[tuple[dict[str, Any], Example]] = deque()
        forgotten: list[Example] = []
        again = 0

        def bodies() -> Iterator[dict[str, Any]]:
            yield from [body for body, _ in waiting]
            for body, example in remaining:
                waiting.append((body, example))
                yield body

        while True:
            try:
                with self._sending():
                    for answer in self._client.feedback_many(self._model.name, bodies()):
                        _, example = waiting[0]
                        if isinstance(answer, UnknownPrediction):
                            forgotten.append(example)
                        else:
                            self._count(example, answer, was_sent=again > 0)
                        waiting.popleft()
                        again, self._away_since = max(again - 1, 0), None
                return forgotten
            except PASSING as error:
                again = len(waiting)
                self._wait(error)

    def _count(self, example: Example, answer: Feedback | HeadraceError, was_sent: bool) -> None:
        if isinstance(answer, HeadraceError):
            self._refuse(example.row, _reason(answer))
        elif answer.duplicate:
            self.known_between += self.tally.learned > 0 and not was_sent
            self._done("duplicates")
        elif any(warned.code == "unlearnable" for warned in answer.warnings or ()):
            self._done("unlearnable")
        else:
            self._done("learned")

    @contextmanager
    def _sending(self) -> Iterator[None]:
        self.is_sending = True
        try:
            yield
        finally:
            self.is_sending = False

    def _wait(self, error: HeadraceError) -> None:
        """Return when it is worth to try again. Raises the error if that takes too long."""
        if self._is_stopping:
            raise KeyboardInterrupt
        if self._away_since is None:
            self._away_since = time.monotonic()
            if self.wait_seconds:
                self._watcher.away(self.wait_seconds, error.message)
        while time.monotonic() - self._away_since < self.wait_seconds:
            time.sleep(ASK_SECONDS)
            if self._client.is_ready():
                return
        raise error

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
