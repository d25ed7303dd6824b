"""Files of rows: what is read of them, what is said of those at fault, and the order of time."""

import gzip
import os
import random
import time
from pathlib import Path

import pytest
import zstandard

from app.columns import SAMPLE_ROWS, converter, label_converter, profile, types_of, value_of
from app.ordering import RUN_ROWS, in_order
from app.tabular import LINE_CHARS_MAX, REST_SECONDS, Table, UnreadableFile

CSV = "age,name,zip\n1,ann,01234\n2,bob,99999\n"
ROWS = [{"age": "1", "name": "ann", "zip": "01234"}, {"age": "2", "name": "bob", "zip": "99999"}]


class Quiet:
    """Is told of a reading, and keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.total = 0

    def say(self, sentence: str) -> None:
        """Keep a sentence."""
        self.said.append(sentence)

    def reading(self, count: int) -> None:
        """Pass over it."""

    def expect(self, total: int) -> None:
        """Keep the total."""
        self.total = total


def table(folder: Path, content: str | bytes, name: str = "t.csv") -> Table:
    """A table of this content, that nobody writes to any more."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = time.time() - 2 * REST_SECONDS
    os.utime(file, (before, before))
    return Table(file)


def values(found: Table) -> list[dict[str, object]]:
    """The values of a table's rows."""
    return [row.values for row in found.rows()]


@pytest.mark.parametrize(
    "content",
    [
        CSV,
        "\ufeff" + CSV,
        CSV.replace("\n", "\r\n"),
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        CSV.replace(",", "|"),
        CSV.replace(",", ", "),
        CSV.rstrip("\n"),
        CSV.replace("\n", "\n\n"),
        CSV.replace("ann", '"ann"'),
    ],
    ids=["plain", "bom", "crlf", "semicolon", "tab", "bar", "spaces", "no end", "blank", "quotes"],
)
def test_csv_as_it_is_written_here_and_there_is_read_alike(tmp_path: Path, content: str) -> None:
    assert values(table(tmp_path, content)) == ROWS


def test_compressed_files_are_read_as_plain_ones_and_have_the_same_ids(tmp_path: Path) -> None:
    plain = table(tmp_path, CSV)
    half = len(CSV) // 2
    frames = [zstandard.compress(part.encode()) for part in (CSV[:half], CSV[half:])]
    for name, content in (
        ("t.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("t.csv.zst", b"".join(frames)),
    ):
        packed = table(tmp_path, content, name)
        assert values(packed) == ROWS
        assert packed.digest == plain.digest
    assert table(tmp_path, CSV + "3,cid,1\n").digest == plain.digest
    assert table(tmp_path, CSV.replace("ann", "eve")).digest != plain.digest


def test_a_quote_may_hold_delimiters_and_the_ends_of_lines(tmp_path: Path) -> None:
    found = table(tmp_path, 'a,b\n"x, ""y""\nz",1\nq,2\n')
    assert values(found) == [{"a": 'x, "y"\nz', "b": "1"}, {"a": "q", "b": "2"}]
    assert [(row.number, row.line) for row in found.rows()] == [(1, 2), (2, 4)]


def test_a_row_at_fault_says_so_and_the_others_are_read(tmp_path: Path) -> None:
    found = list(table(tmp_path, 'a,b\n1,2\n1\n1,2,3\nx"y,2\n3,4\n"open,5\n').rows())
    faults = {row.line: row.fault for row in found if row.fault is not None}
    assert faults[3] == "has 1 cell, and the header has 2"
    assert faults[4] == "has 3 cells, and the header has 2"
    assert faults[7] == "opens a quote that is never closed"
    assert [row.number for row in found if row.fault is None] == [1, 4, 5]
    assert faults.keys() == {3, 4, 7}


@pytest.mark.parametrize(
    "cell",
    ['"say "hi"\n9,9\n"', '"x"y,"\n9,9\n"', '"' + "x" * LINE_CHARS_MAX + '\n9,9\n"'],
    ids=["a quote not doubled", "text behind a quote", "a cell that is too long"],
)
def test_what_is_inside_a_cell_is_never_read_as_a_row(tmp_path: Path, cell: str) -> None:
    found: list[dict[str, object]] = []
    with pytest.raises(UnreadableFile, match=r"line 3 .*Mend the row's quotes|line 3 has over"):
        found.extend(row.values for row in table(tmp_path, f"a,b\n1,2\n{cell},5\n7,8\n").rows())
    assert found == [{"a": "1", "b": "2"}]


def test_a_long_cell_is_read_whole(tmp_path: Path) -> None:
    text = "x" * 200_000 + "\n" + "1,forged\n" * 10
    [row] = table(tmp_path, f'a,b\n"{text}",2\n').rows()
    assert row.values == {"a": text.strip(), "b": "2"}


def test_a_last_row_without_its_end_waits_until_the_file_is_at_rest(tmp_path: Path) -> None:
    whole = "a,b\n1,10\n2,20\n"
    for cut in ("2,2", "2", '2,"20\n3,30\n'):
        file = tmp_path / "growing.csv"
        file.write_text("a,b\n1,10\n" + cut)
        growing = Table(file)
        assert [row.values for row in growing.rows()] == [{"a": "1", "b": "10"}]
        assert (growing.is_held_back, growing.open_line) == (True, 3)
        digest = growing.digest
        file.write_text(whole)
        assert [row.values["b"] for row in growing.rows()] == ["10", "20"]
        assert not growing.is_held_back and growing.open_line is None
        assert Table(file).digest == digest
    rested = table(tmp_path, whole.strip())
    assert [row.values["b"] for row in rested.rows()] == ["10", "20"]
    assert (rested.is_held_back, rested.open_line) == (False, 3)


def test_a_first_row_without_its_end_is_no_file_yet(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,1")
    with pytest.raises(UnreadableFile, match="line 2 has no end yet, and may be still being"):
        Table(file)


def test_a_last_line_of_json_has_its_end_in_itself(tmp_path: Path) -> None:
    file = tmp_path / "t.ndjson"
    file.write_text('{"a": 1}\n{"a": 2}')
    assert values(Table(file)) == [{"a": 1}, {"a": 2}]
    file.write_text('{"a": 1}\n{"a": 2')
    growing = Table(file)
    assert values(growing) == [{"a": 1}] and growing.is_held_back


def test_a_source_takes_the_place_of_what_a_file_begins_with(tmp_path: Path) -> None:
    one = table(tmp_path, CSV)
    first, second = (Table(one.path, source=name) for name in ("monday", "tuesday"))
    assert len({one.digest, first.digest, second.digest}) == 3
    other = table(tmp_path, CSV.replace("ann", "eve"))
    assert Table(other.path, source="monday").digest == first.digest


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for stream in (pipe, Path("-")):
        with pytest.raises(UnreadableFile, match="is a stream, and the rows are read more than"):
            Table(stream)
    with pytest.raises(UnreadableFile, match="Is a directory"):
        Table(tmp_path)


@pytest.mark.parametrize("levels", [40, 100_000])
def test_a_line_that_is_nested_too_deeply_is_a_row_at_fault(tmp_path: Path, levels: int) -> None:
    deep = '{"a": ' + "[" * levels + "]" * levels + "}"
    found = table(tmp_path, f'{{"a": 1}}\n{deep}\n{{"a": 2}}\n', "t.ndjson")
    assert [row.fault for row in found.rows()] == [None, "is nested too deeply", None]


def test_ndjson_is_flat_or_nested_and_says_which_lines_are_neither(tmp_path: Path) -> None:
    flat = table(tmp_path, '{"a": 1, "y": true}\n\n{"a":\n[1]\n{"a": 2.5}\r\n', "t.ndjson")
    assert [(row.line, row.values) for row in flat.rows() if row.fault is None] == [
        (1, {"a": 1, "y": True}),
        (5, {"a": 2.5}),
    ]
    assert [row.line for row in flat.rows() if row.fault is not None] == [3, 4]
    nested = table(tmp_path, '{"features": {"a": 1}, "label": 2, "at": 3}\n{"a": 1}\n', "t.jsonl")
    first, second = nested.rows()
    assert (first.values, first.cell("label"), first.cell("a")) == ({"a": 1}, 2, 1)
    assert second.fault == "has no object `features`, as line 1 has"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"\n\n", "is empty"),
        ("t.csv", b"a,b\n", "no row that can be read but its header"),
        ("t.csv", b"a,b\n1\n", "line 2 has 1 cell"),
        ("t.csv", b"a,b,a\n1,2,3\n", "names the column 'a' twice"),
        ("t.csv", "näme\nä\n".encode("latin1"), "is not UTF-8"),
        ("t.csv", b"a\n" + b"1\n" * 90_000 + b"\xff\n", "is not UTF-8"),
        ("t.csv.gz", gzip.compress(CSV.encode() * 9, mtime=0)[:-12], "ends in the middle"),
        ("t.csv.gz", b"not gzip at all", "is damaged, or not compressed so"),
        ("t.csv.zst", zstandard.compress(CSV.encode() * 9)[:-9], "ends in the"),
        ("t.csv.zst", b"not zstandard", "is damaged, or not compressed so"),
        ("t.ndjson", b"", "has no row"),
        ("t.ndjson", b"[]\n", "line 1 is not a JSON object"),
        ("t.json", b'[{"a": 1}]', "jq -c"),
    ],
)
def test_a_file_at_fault_is_refused_in_a_sentence(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(UnreadableFile, match=said) as refused:
        list(table(tmp_path, content, name).rows())
    assert str(tmp_path / name) in str(refused.value)


def test_a_file_that_is_not_there_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        Table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("cells", "type"),
    [
        (["1", "-2.5", "+3e-4", ".5", ""], "number"),
        (["0", "10"], "number"),
        (["1", "NA", "nan"], "number"),
        (["01234", "99999"], "category"),
        (["1", "inf"], "category"),
        (["nan"], "category"),
        (["1_000"], "category"),
        (["1e400"], "category"),
        (["1000000000000001"], "category"),
        (["1", "x"], "category"),
        (["TRUE", "false", "null"], "boolean"),
        (["true", "1"], "category"),
        (["", ""], None),
    ],
)
def test_the_type_of_a_column_is_what_all_its_cells_are(
    tmp_path: Path, cells: list[str], type: str | None
) -> None:
    found = table(tmp_path, "a,b\n" + "".join(f"{cell},0\n" for cell in cells))
    assert profile(found.sample(SAMPLE_ROWS), True)["a"].type == type


def test_a_type_that_the_model_knows_wins(tmp_path: Path) -> None:
    found = table(tmp_path, "a,b,c\n1,true,x\n")
    known = {"a": "category", "b": "category", "z": "number"}
    assert types_of(found, known) == {"a": "category", "b": "category", "c": "category"}


def test_cells_become_values_of_their_type_or_say_why_not() -> None:
    number, boolean, category = (converter("a", t) for t in ("number", "boolean", "category"))
    assert [number(cell) for cell in ("1", "-1.50", "", "NA")] == [1, -1.5, None, None]
    assert isinstance(number("1"), int) and isinstance(number("1.0"), float)
    assert [boolean(cell) for cell in ("True", "FALSE", "1", "0", "")] == [
        True,
        False,
        True,
        False,
        None,
    ]
    assert [category(cell) for cell in ("NA", "01", "")] == ["NA", "01", None]
    for convert, cell in ((number, "x"), (number, "inf"), (boolean, "2")):
        with pytest.raises(ValueError, match=f"a is '{cell}', and this column holds"):
            convert(cell)


def test_labels_are_read_by_the_task() -> None:
    binary = label_converter("binary", False)
    assert [binary(cell) for cell in ("TRUE", "0", "1.0", "", "NA", True)] == [
        True, False, True, None, None, True,
    ]  # fmt: skip
    classes, texts = label_converter("multiclass", True), label_converter("multiclass", False)
    assert [classes(cell) for cell in ("7", "-7", "spam", "NA", "")] == [7, -7, "spam", "NA", None]
    assert texts("7") == "7"
    regression = label_converter("regression", False)
    assert [regression(cell) for cell in ("7", "1e3", "nan", "")] == [7, 1000.0, None, None]
    for convert, cell in ((binary, "yes"), (regression, "x")):
        with pytest.raises(ValueError, match="the label is"):
            convert(cell)


def test_a_word_of_the_command_line_is_what_it_looks_like() -> None:
    words = ["1", "1.5", "true", "x", "", "01234", "1e16"]
    assert [value_of(word) for word in words] == [1, 1.5, True, "x", None, "01234", "1e16"]
    assert value_of("1", "category") == "1"


def test_rows_in_order_are_not_sorted_and_others_are_by_their_instants(tmp_path: Path) -> None:
    days = ["2024-01-02T00:00:00Z", "2024-01-01T23:30:00-05:00", "2024-01-03", "2024-01-01"]
    rows = "".join(f"{day},{n}\n" for n, day in enumerate(days))
    shuffled = table(tmp_path, "day,n\n" + rows)
    quiet = Quiet()
    assert [row.values["n"] for row in in_order(shuffled, "day", quiet)] == ["3", "0", "1", "2"]
    assert "is not in the order of day" in quiet.said[0] and quiet.total == 4
    ordered = table(tmp_path, "t,n\n1,a\n9,b\n9,c\n10,d\n")
    quiet = Quiet()
    assert [row.values["n"] for row in in_order(ordered, "t", quiet)] == ["a", "b", "c", "d"]
    assert quiet.said == []


def test_a_large_file_is_sorted_in_pieces_and_stably(tmp_path: Path) -> None:
    count = 2 * RUN_ROWS + 10
    times = [random.Random(n).randrange(1_000) for n in range(count)]
    found = table(tmp_path, "t,n\n" + "".join(f"{t},{n}\n" for n, t in enumerate(times)))
    sorted_rows = [int(row.values["n"]) for row in in_order(found, "t", Quiet())]
    assert sorted_rows == sorted(range(count), key=lambda n: (times[n], n))


@pytest.mark.parametrize("time", ["", "yesterday", "31.12.2024"])
def test_a_row_without_a_time_refuses_the_file(tmp_path: Path, time: str) -> None:
    found = table(tmp_path, f"t,n\n2024-01-01,1\n{time},2\n")
    with pytest.raises(UnreadableFile, match=r"line 3: the time t is .* say --drop t instead"):
        list(in_order(found, "t", Quiet()))


def test_times_are_all_as_the_first_one_is(tmp_path: Path) -> None:
    found = table(tmp_path, "t,n\n20240101,1\n2024-01-02,2\n")
    with pytest.raises(UnreadableFile, match="The first row's time is a number, so all are to be"):
        list(in_order(found, "t", Quiet()))


def test_a_file_that_grows_is_ordered_by_its_whole_rows(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("n,t\n1,2024-01-02\n2,2024-01-01\n3,202")
    found = Table(file)
    assert [row.values["n"] for row in in_order(found, "t", Quiet())] == ["2", "1"]
    assert found.is_held_back
