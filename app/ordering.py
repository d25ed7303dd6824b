"""The rows of a table in the order of a time column, in bounded memory.

The file is read once to see whether it is in order already, as most are. If it is not, pieces of it
are sorted in memory, written to temporary files, and merged: an external sort. Rows of one instant
keep the order of the file.
"""

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import IO, Any, Protocol

import msgspec

from app.columns import instant_of, number_of, shown
from app.tabular import Row, Table, UnreadableFile

RUN_ROWS = 100_000
"""How many rows are sorted in memory at a time."""

TOLD_ROWS = 1_000
"""How often a reading that sends nothing yet tells how far it is."""

Timed = tuple[float, Row]


class Reading(Protocol):
    """Who is told of a reading that has to come before anything is sent."""

    def say(self, sentence: str) -> None:
        """Something that its reader should know."""

    def reading(self, count: int) -> None:
        """So many rows are read."""

    def expect(self, total: int) -> None:
        """So many rows there are."""


def in_order(table: Table, column: str, reading: Reading) -> Iterable[Row]:
    """The rows that have no fault in the order of time; those that have one come first.

    Raises `UnreadableFile` if a row has no time.
    """
    before = float("-inf")
    for time, _ in _timed(table, column, reading):
        if time < before:
            size = table.path.stat().st_size / 1_000_000
            reading.say(
                f"{table.path} is not in the order of {column}: it is sorted first, in "
                f"{tempfile.gettempdir()}. That takes as much space there as the rows do; the "
                f"file has {size:,.1f} MB."
            )
            return _sorted(table, column, reading)
        before = time
    return table.rows()


def _sorted(table: Table, column: str, reading: Reading) -> Iterator[Row]:
    yield from (row for row in table.rows() if row.fault is not None)
    timed, total = _timed(table, column, reading), 0
    with ExitStack() as files:
        runs = []
        while run := sorted(map(_packed, islice(timed, RUN_ROWS))):
            file = files.enter_context(tempfile.TemporaryFile(prefix="headrace-"))
            file.writelines(line for _, _, line in run)
            file.seek(0)
            runs.append(_read(file))
            total += len(run)
        reading.expect(total)
        yield from (row for _, row in heapq.merge(*runs, key=_key))


def _read(file: IO[bytes]) -> Iterator[Timed]:
    decoder = msgspec.json.Decoder(tuple[float, Row])
    return map(decoder.decode, file)


def _timed(table: Table, column: str, reading: Reading) -> Iterator[Timed]:
    for time, row in times(table.rows(), table, column):
        if row.number % TOLD_ROWS == 0:
            reading.reading(row.number)
        yield time, row


def times(rows: Iterable[Row], table: Table, column: str) -> Iterator[Timed]:
    """Each row that has no fault, with its time. All times are read as the first one is.

    Raises `UnreadableFile` if a row has no time.
    """
    read: Callable[[str], float | None] | None = None
    for row in rows:
        if row.fault is not None:
            continue
        cell: Any = row.cell(column)
        text = str(cell) if cell is not None else ""
        wanted = "Times are numbers, or ISO 8601 like 2013-01-31T10:00:00Z, and every row has one."
        if read is None:
            read = instant_of if number_of(text) is None else number_of
        elif read is number_of:
            wanted = "The first row's time is a number, so all are to be."
        time = read(text)
        if time is None:
            raise UnreadableFile(
                f"{table.path}, line {row.line}: the time {column} is {shown(text)}. {wanted} Mend "
                f"the column, or say --drop {column} instead of --time: then the rows are learned "
                "in the order of the file."
            )
        yield float(time), row


def _packed(entry: Timed) -> tuple[float, int, bytes]:
    """What is sorted in memory: a row as bytes takes a tenth of what its values take."""
    return *_key(entry), msgspec.json.encode(entry) + b"\n"


def _key(entry: Timed) -> tuple[float, int]:
    return entry[0], entry[1].number
