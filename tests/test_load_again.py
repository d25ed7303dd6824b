"""`headrace load`, run again: on a file that has grown, was mended, or is another one."""

import json
import os
import random
import re
import shlex
import time
from pathlib import Path
from typing import Any

from app.tabular import REST_SECONDS
from tests.commands import ask
from tests.process import Headrace
from tests.test_load import HEAD, TREE, entries, fruit, loaded, write


def at_rest(file: Path) -> None:
    """The file was last written to a while ago."""
    before = time.time() - 2 * REST_SECONDS
    os.utime(file, (before, before))


def test_a_file_that_is_being_written_is_learned_row_by_whole_row(
    lasting: Headrace, tmp_path: Path
) -> None:
    whole = write(tmp_path / "whole.csv", HEAD, fruit(40)).read_bytes()
    lasting.create("growing", learner=TREE)
    file = tmp_path / "f.csv"
    draw = random.Random(1)
    cuts = sorted({draw.randrange(120, len(whole)) for _ in range(6)})
    for cut in (*cuts, len(whole)):
        file.write_bytes(whole[:cut])
        done = ask(lasting, "load", "growing", str(file), "--label", "is_big")
        assert ("has no end and may be still being written" in done.stderr) == (
            whole[cut - 1 : cut] != b"\n"
        )
    learned = [(entry["features"]["size"], entry["label"]) for entry in entries(lasting, "growing")]
    assert learned == [(row[0], row[3] == 1) for row in fruit(40)]


def test_a_file_at_rest_is_learned_to_its_end_and_that_is_said(
    lasting: Headrace, tmp_path: Path
) -> None:
    file = tmp_path / "f.csv"
    file.write_text("a,y\n1,true\n2,false")
    lasting.create("rest", learner=TREE)
    said = loaded(lasting, "rest", str(file), "--label", "y")
    assert (said["rows"], said["learned"], said["held_back"]) == (1, 1, 1)
    at_rest(file)
    done = ask(lasting, "load", "rest", str(file), "--label", "y")
    assert "2 rows: 1 learned, 1 already learned, 0 refused" in done.stdout
    assert "line 3, the last, has no end: it was taken for whole" in done.stderr


def test_a_cell_in_which_rows_are_written_teaches_none_of_them(
    lasting: Headrace, tmp_path: Path
) -> None:
    rows = [f"{n},x,{n % 2}\n" for n in range(12_000)]
    bad, good = '12000,"say "hi"\n1,forged,1\n",1\n', '12000,"say ""hi""\n1,forged,1\n",1\n'
    file = tmp_path / "f.csv"
    file.write_text("n,c,y\n" + "".join(rows) + bad + "12001,x,0\n")
    lasting.create("forged", learner=TREE)
    done = ask(lasting, "load", "forged", str(file), "--label", "y", status=1)
    assert "line 12,002 cannot be read" in done.stderr and "Mend the row's quotes" in done.stderr
    assert "When the file is mended: the same command again goes on" in done.stderr
    assert "12,000 rows: 12,000 learned, 0 refused" in done.stderr
    file.write_text("n,c,y\n" + "".join(rows) + good + "12001,x,0\n")
    said = loaded(lasting, "forged", str(file), "--label", "y")
    assert (said["learned"], said["duplicates"]) == (2, 12_000)
    learned = [entry["features"]["n"] for entry in entries(lasting, "forged")]
    assert learned == list(range(12_002))


def test_a_long_text_is_learned_as_one_cell(lasting: Headrace, tmp_path: Path) -> None:
    text = "word " * 40_000 + "\n" + "1,forged,1\n" * 3
    file = write(tmp_path / "f.csv", ["n", "c", "y"], [[1, "x", 1], [2, text, 0], [3, "x", 1]])
    lasting.create("long", learner=TREE, features={"c": "text"})
    done = ask(lasting, "load", "long", str(file), "--label", "y")
    assert "3 rows: 3 learned" in done.stdout
    assert [e["features"]["n"] for e in entries(lasting, "long")] == [1, 2, 3]


def test_a_mended_row_is_learned_and_no_other_again(lasting: Headrace, tmp_path: Path) -> None:
    rows: list[list[Any]] = [[n, n % 2] for n in range(10)]
    rows[4][1] = "maybe"
    file = write(tmp_path / "f.csv", ["n", "y"], rows)
    lasting.create("mended", learner=TREE)
    ask(lasting, "load", "mended", str(file), "--label", "y", status=1)
    rows[4][1] = 0
    write(file, ["n", "y"], rows)
    said = loaded(lasting, "mended", str(file), "--label", "y")
    assert (said["learned"], said["duplicates"]) == (1, 9)


def test_files_that_begin_alike_are_told_apart_by_their_source(
    lasting: Headrace, tmp_path: Path
) -> None:
    days = [[["a", 1], ["b", 0], ["a", 1]], [["a", 1], ["b", 1], ["a", 1]]]
    files = [write(tmp_path / f"{n}.csv", ["c", "y"], rows) for n, rows in enumerate(days)]
    lasting.create("alike", learner=TREE)
    for file in files:
        done = ask(lasting, "load", "alike", str(file), "--label", "y")
    assert "1 row had been loaded before, between others that had not" in done.stderr
    assert "give such files a --source NAME, from their first load on" in done.stderr
    lasting.create("apart", learner=TREE)
    for _ in range(2):
        for file in files:
            source = ["--source", file.stem]
            done = ask(lasting, "load", "apart", str(file), "--label", "y", *source)
            assert "had been loaded before" not in done.stderr
    learned = [entry["label"] for entry in entries(lasting, "apart")]
    assert learned == [bool(row[1]) for rows in days for row in rows]


def test_ids_that_come_twice_in_a_file_are_told(lasting: Headrace, tmp_path: Path) -> None:
    rows = [["ann", 1, 1], ["bob", 2, 0], ["ann", 3, 1]]
    file = write(tmp_path / "f.csv", ["user", "n", "y"], rows)
    lasting.create("users", learner=TREE)
    done = ask(lasting, "load", "users", str(file), "--label", "y", "--id", "user")
    assert "Is user another one in every row? A row is known by it alone." in done.stderr


def test_labels_stay_of_the_type_that_the_model_knows(lasting: Headrace, tmp_path: Path) -> None:
    rows: list[list[Any]] = [[n, n % 3] for n in range(30)]
    file = write(tmp_path / "f.csv", ["n", "y"], rows)
    lasting.create("numbers", task="multiclass", learner=TREE)
    assert loaded(lasting, "numbers", str(file), "--label", "y")["learned"] == 30
    write(file, ["n", "y"], [*rows, [30, "other"], [31, 2]])
    said = loaded(lasting, "numbers", str(file), "--label", "y")
    assert (said["learned"], said["duplicates"], said["refused"]) == (2, 30, 0)
    assert [entry["label"] for entry in entries(lasting, "numbers")][-2:] == ["other", 2]
    lasting.create("texts", task="multiclass", learner=TREE)
    taught = {"features": {"n": 1}, "label": "7"}
    assert lasting.post("/v1/models/texts/feedback", taught).status == 200
    assert loaded(lasting, "texts", str(file), "--label", "y", "--source", "s")["refused"] == 0
    assert {type(entry["label"]) for entry in entries(lasting, "texts")} == {str}


def test_the_only_time_of_a_file_is_what_it_is_learned_in_the_order_of(
    lasting: Headrace, tmp_path: Path
) -> None:
    days = [f"2024-01-{(7 * n) % 28 + 1:02}" for n in range(28)]
    file = write(tmp_path / "f.csv", ["day", "n", "y"], [[d, n % 5, 1] for n, d in enumerate(days)])
    given = ["--from", str(file), "--label", "y", "--task", "regression", "--yes"]
    done = ask(lasting, "create", "timely", *given)
    assert "the rows are learned in its order, by --time" in done.stderr
    [command] = re.findall(r"^  headrace (load .*)$", done.stdout, re.MULTILINE)
    assert "--time day" in command and "--drop" not in command
    assert json.loads(ask(lasting, *shlex.split(command), "--json").stdout)["learned"] == 28
    learned = [entry["features"]["n"] for entry in entries(lasting, "timely")]
    assert learned == [n % 5 for _, n in sorted((day, n) for n, day in enumerate(days))]
