"""Rows of CSV and NDJSON files, plain or compressed, read as a stream.

A file is never held whole. What is wrong with one row is said in the row, and reading goes on; what
is wrong with the file raises `UnreadableFile`, with a sentence that says where and what to do: also
where it cannot be told any more which text is a row and which is inside a cell.

A file may be read while it is written. A last row that has no end yet is held back, unless the file
has been at rest for a while: then it is taken for whole.
"""

import csv
import difflib
import gzip
import io
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import zstandard

SNIFFED_CHARS = 65_536
"""How much of a file is read to find its delimiter."""

LINE_CHARS_MAX = 8_388_608
"""A line that is longer is taken for a file that has no lines, and a cell for a quote left open."""

csv.field_size_limit(LINE_CHARS_MAX)  # Of the whole process; nothing else in it reads CSV.

LEVELS_MAX = 32
"""How deep a line of NDJSON may be nested. A row has two levels at most, so it is at fault."""

REST_SECONDS = 60.0
"""A file that was not written to for so long is taken for finished."""

DELIMITERS = ",;\t|"
CSV_NAMES = (".csv", ".tsv", ".txt")
NDJSON_NAMES = (".ndjson", ".jsonl")
PACKED_NAMES = (".gz", ".zst")

UNCLOSED = "opens a quote that is never closed"


class UnreadableFile(Exception):
    """The file cannot be read as a table; the message says where, and what to do."""


class Row(NamedTuple):
    """One row: its number from 1, the line it begins on, and its cells by their columns.

    `content` is the row as it stands in the file, but for its quotes and line ends. `beside` is
    what a line of NDJSON holds beside its object `features`. A row with a `fault` has no values.
    """

    number: int
    line: int
    content: str
    values: dict[str, Any]
    fault: str | None = None
    beside: dict[str, Any] | None = None

    def cell(self, column: str) -> Any:
        """What the row says of a column that may be no feature; None if nothing."""
        if self.beside is not None and column in self.beside:
            return self.beside[column]
        return self.values.get(column)

    def cells(self) -> dict[str, Any]:
        """All that the row says."""
        return self.values if self.beside is None else {**self.values, **self.beside}


class Table:
    """A file of rows. Its head is read at once, its rows anew by each call of `rows`.

    `is_text` says that the values are text, as in CSV; those of NDJSON have their types. `digest`
    tells files apart by their names of columns and their first row, or by the `source` that is
    given: a file that grows keeps it. `open_line` is where the newest reading met a last row that
    has no end, and `is_held_back` says that this row was not read.
    """

    def __init__(self, path: Path, delimiter: str | None = None, source: str | None = None) -> None:
        if str(path) == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
            raise UnreadableFile(
                f"{path} is a stream, and the rows are read more than once. Write them into a file "
                "first."
            )
        self.path = path
        self.open_line: int | None = None
        self.is_held_back = self._is_open = False
        self.is_text = self._is_csv()
        self.delimiter = delimiter or (self._sniffed() if self.is_text else "")
        self.is_nested = False
        self.columns: list[str] = self._header() if self.is_text else []
        self._raw: BinaryIO | None = None
        first = next((row for row in self.rows() if row.fault is None), None)
        if first is None:
            raise UnreadableFile(f"{path} has no row that can be read{self._why()}.")
        head = msgspec.json.encode([self.columns, first.content])
        if source is not None:
            head = source.encode("utf-8", "surrogatepass")
        self.digest = blake2b(head, digest_size=8).hexdigest()

    def rows(self) -> Iterator[Row]:
        """The rows in the order of the file; what is wrong with one is said in it."""
        self.open_line, self.is_held_back = None, False
        return self._csv_rows() if self.is_text else self._json_rows()

    def sample(self, count: int) -> list[Row]:
        """The first rows that have no fault."""
        return [row for row in islice(self.rows(), count) if row.fault is None]

    def read_share(self) -> float:
        """How much of the file, from 0 to 1, the newest reading has passed."""
        size = self.path.stat().st_size
        if self._raw is None or self._raw.closed or not size:
            return 1.0
        return min(self._raw.tell() / size, 1.0)

    def _is_csv(self) -> bool:
        names = [name.lower() for name in self.path.suffixes[-2:] if name not in PACKED_NAMES]
        if names and names[-1] in (*CSV_NAMES, *NDJSON_NAMES):
            return names[-1] in CSV_NAMES
        head = self._head().lstrip()
        if head.startswith("["):
            raise UnreadableFile(
                f"{self.path} is one JSON array, and one JSON object per line is wanted. "
                f"Convert it: jq -c '.[]' {self.path}"
            )
        return not head.startswith("{")

    def _head(self) -> str:
        with self._text() as text:
            return text.read(SNIFFED_CHARS)

    def _sniffed(self) -> str:
        """The delimiter by which most rows are as wide as the first one, and that one is widest."""
        head = self._head()
        lines = head.splitlines(keepends=True)
        lines = lines[:-1] if len(head) == SNIFFED_CHARS and len(lines) > 1 else lines
        best, found = (0.0, 0), ","
        for delimiter in DELIMITERS:
            try:
                widths = [len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells]
            except csv.Error:
                continue
            if widths and widths[0] > 1:
                score = (Counter(widths)[widths[0]] / len(widths), widths[0])
                if score > best:
                    best, found = score, delimiter
        return found

    def _header(self) -> list[str]:
        with self._text() as text:
            try:
                reader = csv.reader(self._lines(text), delimiter=self.delimiter, strict=True)
                header = next((cells for cells in reader if any(cells)), None)
            except csv.Error as error:
                raise UnreadableFile(f"{self.path}, line 1: {_csv_fault(error)}") from None
        if header is None:
            raise UnreadableFile(f"{self.path} is empty: a line with the columns' names is wanted.")
        names = [name.strip() or f"column_{place}" for place, name in enumerate(header, 1)]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UnreadableFile(
                f"{self.path} names the column {twice[0]!r} twice. Rename one of the two."
            )
        return names

    def _csv_rows(self) -> Iterator[Row]:
        width = len(self.columns)
        with self._text() as text:
            reader = csv.reader(self._lines(text), delimiter=self.delimiter, strict=True)
            number, header_passed = 0, False
            while True:
                line, fault = reader.line_num + 1, None
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    fault = _csv_fault(error)
                    if fault != UNCLOSED:
                        raise self._lost(line, fault) from None
                    cells, self._is_open = [""], True
                if cells is None:
                    return
                if not cells or not header_passed:
                    header_passed = header_passed or any(cells)
                    continue
                if self._is_open and self._holds_back(line):
                    return
                number += 1
                content = "\x1f".join(cells)
                if fault is None and len(cells) != width:
                    fault = f"has {_cells(len(cells))}, and the header has {width}"
                if fault is not None:
                    yield Row(number, line, content, {}, fault)
                    continue
                values = dict(zip(self.columns, map(str.strip, cells), strict=True))
                yield Row(number, line, content, values)

    def _json_rows(self) -> Iterator[Row]:
        number = 0
        with self._text() as text:
            for line, content in enumerate(map(str.strip, self._lines(text)), 1):
                if not content:
                    continue
                number += 1
                try:
                    found = msgspec.json.decode(content)
                except msgspec.DecodeError as error:
                    # An object that is read has its end, with or without that of the line.
                    if self._is_open and self._holds_back(line):
                        return
                    yield Row(number, line, content, {}, f"is not JSON: {error}")
                    continue
                except RecursionError:
                    yield Row(number, line, content, {}, "is nested too deeply")
                    continue
                if not isinstance(found, dict) or _is_deep(found):
                    is_object = isinstance(found, dict)
                    fault = "is nested too deeply" if is_object else "is not a JSON object"
                    yield Row(number, line, content, {}, fault)
                    continue
                if number == 1:
                    self.is_nested = isinstance(found.get("features"), dict)
                if not self.is_nested:
                    yield Row(number, line, content, found)
                    continue
                features = found.pop("features", None)
                if isinstance(features, dict):
                    yield Row(number, line, content, features, None, found)
                else:
                    yield Row(number, line, content, {}, "has no object `features`, as line 1 has")

    def _holds_back(self, line: int) -> bool:
        """Whether a last row without an end is not to be read, because more of it may come."""
        self.open_line = line
        # A compressed file tells by itself that it is cut.
        if self.path.suffix.lower() not in PACKED_NAMES:
            self.is_held_back = time.time() - self.path.stat().st_mtime < REST_SECONDS
        return self.is_held_back

    def _lost(self, line: int, fault: str) -> UnreadableFile:
        """Behind such a fault, text inside a cell might be read as rows."""
        return UnreadableFile(
            f"{self.path}, line {line:,} {fault}. It cannot be told where the next row begins, so "
            "nothing from this line on is read. Mend the row's quotes: a quote inside a quoted "
            "cell is written twice."
        )

    def _lines(self, text: io.TextIOBase) -> Iterator[str]:
        count = 0
        self._is_open = False
        while True:
            try:
                line = text.readline(LINE_CHARS_MAX)
            except UnicodeDecodeError:
                raise UnreadableFile(
                    f"{self.path} is not UTF-8, at or shortly after line {count + 1:,}. Convert "
                    "it, for example: iconv -f latin1 -t utf-8"
                ) from None
            if not line:
                return
            count += 1
            if len(line) == LINE_CHARS_MAX and not line.endswith(("\n", "\r")):
                raise UnreadableFile(
                    f"{self.path}, line {count:,} has over {LINE_CHARS_MAX:,} characters. One row "
                    "per line is wanted."
                )
            self._is_open = not line.endswith(("\n", "\r"))
            yield line

    @contextmanager
    def _text(self) -> Iterator[io.TextIOWrapper]:
        """The file as text, decompressed, without a byte order mark."""
        try:
            with self.path.open("rb") as raw:
                self._raw = raw
                with io.TextIOWrapper(_plain(raw), encoding="utf-8-sig", newline="") as text:
                    yield text
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            cut = isinstance(error, EOFError)
            what = "ends in the middle" if cut else f"is damaged, or not compressed so ({error})"
            raise UnreadableFile(
                f"{self.path} {what}. Copy or compress it anew; what was learned of it stays "
                "learned."
            ) from None
        except UnicodeDecodeError:
            raise UnreadableFile(
                f"{self.path} is not UTF-8. Convert it, for example: iconv -f latin1 -t utf-8"
            ) from None
        except OSError as error:
            raise UnreadableFile(
                f"{self.path} cannot be read: {error.strerror or error}. Check its name."
            ) from None

    def _why(self) -> str:
        row = next(self.rows(), None)
        if self.is_held_back:
            return f": line {self.open_line} has no end yet, and may be still being written"
        if row is None:
            return " but its header" if self.is_text else ""
        return f": line {row.line} {row.fault}"


class _Zstandard(io.RawIOBase):
    """Zstandard frames, decompressed; the library's own reader does not see that one is cut."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: Any = None
        self._rest = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            # A small piece: what it decompresses to may be thousands of times as large.
            piece = self._rest or self._file.read(4_096)
            if not piece and self._frame is not None:
                raise EOFError
            if not piece:
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._ready, self._rest = self._frame.decompress(piece), b""
            if self._frame.eof:
                self._frame, self._rest = None, self._frame.unused_data
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count


def nearest(name: str, names: Iterable[str]) -> str:
    """What to add to a sentence that says that there is no column of this name."""
    known = list(names)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    same = [other for other in known if other.lower() == name.lower()]
    if same or close:
        return f"did you mean {(same or close)[0]!r}?"
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return f"there are {shown}."


def _plain(raw: BinaryIO) -> Any:
    name = str(raw.name).lower()
    if name.endswith(".gz"):
        return gzip.GzipFile(fileobj=raw)
    if name.endswith(".zst"):
        return io.BufferedReader(_Zstandard(raw), SNIFFED_CHARS)
    return raw


def _is_deep(found: Any) -> bool:
    """Whether JSON is nested beyond what is surely read and written again."""
    layer = [found]
    for _ in range(LEVELS_MAX):
        holders = [value for value in layer if isinstance(value, dict | list)]
        if not holders:
            return False
        layer = [
            inner
            for holder in holders
            for inner in (holder.values() if isinstance(holder, dict) else holder)
        ]
    return True


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _csv_fault(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text:
        return UNCLOSED
    if "field larger" in text:
        return f"has a cell of over {LINE_CHARS_MAX:,} characters, as if a quote were left open"
    return f"cannot be read: {text}"
