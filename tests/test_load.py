"""`headrace load`: real files into a real service, stopped and run again."""

import csv
import gzip
import json
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import COMMAND, ask, environment_of, url_of
from tests.process import Headrace, headrace

TREE = "tree.HoeffdingTreeClassifier"
MANY = 20_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headrace]:
    """One service for this module's models."""
    with headrace(tmp_path_factory.mktemp("load")) as service:
        yield service


def write(path: Path, head: list[str], rows: list[list[Any]]) -> Path:
    """A CSV file."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def fruit(count: int) -> list[list[Any]]:
    """Rows whose label follows from their size; fewer are the first of more."""
    draw = random.Random(7)
    rows: list[list[Any]] = []
    for _ in range(count):
        size, color = round(draw.uniform(0, 10), 3), draw.choice(["red", "green", ""])
        rows.append([size, color, draw.choice(["true", "false"]), int(size > 5)])
    return rows


HEAD = ["size", "color", "fresh", "is_big"]


def entries(service: Headrace, model: str) -> list[dict[str, Any]]:
    """The examples of a model's log."""
    lines = ask(service, "log", model, "--json").stdout.splitlines()
    return [entry for entry in map(json.loads, lines) if entry["kind"] == "example"]


def loaded(service: Headrace, *arguments: str, status: int = 0) -> dict[str, Any]:
    """What a load says of its rows."""
    said: dict[str, Any] = json.loads(
        ask(service, "load", *arguments, "--json", status=status).stdout
    )
    return said


def test_rows_are_learned_in_their_order_with_the_types_of_their_columns(
    service: Headrace, tmp_path: Path
) -> None:
    file = write(tmp_path / "f.csv", HEAD, fruit(1_200))
    service.create("order", learner=TREE)
    said = loaded(service, "order", str(file), "--label", "is_big")
    assert (said["rows"], said["learned"], said["refused"]) == (1_200, 1_200, 0)
    assert said["metrics"]["Accuracy"] > 0.9
    log = entries(service, "order")
    assert [entry["features"]["size"] for entry in log] == [row[0] for row in fruit(1_200)]
    types = service.get("/v1/models/order").body["features"]
    assert types == {"size": "number", "color": "category", "fresh": "boolean"}
    assert {entry["label"] for entry in log} == {True, False}
    assert all("is_big" not in entry["features"] for entry in log)


def test_a_second_load_learns_nothing_and_a_grown_file_what_is_new(
    service: Headrace, tmp_path: Path
) -> None:
    file = write(tmp_path / "f.csv", HEAD, fruit(300))
    service.create("again", learner=TREE)
    call = ("again", str(file), "--label", "is_big")
    assert loaded(service, *call)["learned"] == 300
    said = loaded(service, *call)
    assert (said["learned"], said["duplicates"]) == (0, 300)
    write(file, HEAD, fruit(350))
    packed = tmp_path / "f.csv.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    said = loaded(service, "again", str(packed), "--label", "is_big", "--predict-first")
    assert (said["learned"], said["duplicates"]) == (50, 300)
    write(file, HEAD, fruit(351)[1:])
    assert loaded(service, *call)["learned"] == 350, "another file is another file"


def started(service: Headrace, *arguments: str) -> "subprocess.Popen[str]":
    """A load that runs."""
    return subprocess.Popen(
        [*COMMAND, "load", *arguments],
        env=environment_of(HEADRACE_URL=url_of(service)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("more", [[], ["--predict-first"]], ids=["feedback", "predict first"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_a_load_that_is_stopped_and_run_again_learns_each_row_once(
    service: Headrace, tmp_path: Path, how: signal.Signals, more: list[str]
) -> None:
    count = MANY if not more else MANY // 4
    file = write(tmp_path / "f.csv", HEAD, fruit(count))
    name = f"stopped-{how.name}-{len(more)}"
    service.create(name, learner=TREE)
    process = started(service, name, str(file), "--label", "is_big", *more)
    while service.get(f"/v1/models/{name}").body["offset"] < count // 10:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "The same command again goes on, and learns no row twice" in said
    before = service.get(f"/v1/models/{name}").body["offset"] - 1
    assert count // 10 <= before < count, "it was stopped in the middle"
    again = loaded(service, name, str(file), "--label", "is_big", *more)
    assert again["learned"] + again["duplicates"] == count
    log = entries(service, name)
    assert len(log) == count
    key = [(e["features"]["size"], e["features"]["fresh"], e["label"]) for e in log]
    assert key == [(row[0], row[2] == "true", row[3] == 1) for row in fruit(count)]


def test_rows_that_are_refused_are_told_counted_and_written(
    service: Headrace, tmp_path: Path
) -> None:
    rows: list[list[Any]] = [
        [1, "yes", True],
        ["x", "no", True],
        [2, "no", "maybe"],
        [3],
        [4, "no", ""],
        [5, 1, 0],
    ]
    file = write(tmp_path / "f.csv", ["n", "c", "y"], rows)
    service.create("bad", learner=TREE, features={"n": "number", "c": "category"})
    rejects = tmp_path / "bad.ndjson"
    call = ["load", "bad", str(file), "--label", "y", "--rejects", str(rejects)]
    done = ask(service, *call, status=1)
    assert "line 3: n is 'x', and this column holds numbers" in done.stderr
    assert "line 4: the label is 'maybe', and binary takes true or false" in done.stderr
    assert "line 5: has 1 cell, and the header has 3" in done.stderr
    assert "6 rows: 2 learned, 1 without a label, 3 refused" in done.stdout
    written = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [entry["line"] for entry in written] == [3, 4, 5]
    assert written[0]["row"] == {"n": "x", "c": "no", "y": "True"}


def test_what_the_service_refuses_is_told_with_its_line(service: Headrace, tmp_path: Path) -> None:
    file = tmp_path / "f.ndjson"
    lines: list[dict[str, Any]] = [{"a": n, "y": n % 2} for n in range(20)]
    lines[7]["a"] = "seven"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    service.create("told", learner=TREE, features={"a": "number"})
    for more in ([], ["--predict-first"]):
        done = ask(service, "load", "told", str(file), "--label", "y", *more, status=1)
        assert "line 8: features.a is a string, and this feature is of type number" in done.stderr
    assert len(entries(service, "told")) == 19


def test_rows_are_learned_in_the_order_of_time_which_is_no_feature(
    service: Headrace, tmp_path: Path
) -> None:
    draw = random.Random(3)
    days = [(f"2024-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}", n) for n in range(500)]
    file = write(tmp_path / "f.csv", ["day", "n", "y"], [[*day, 1] for day in days])
    service.create("time", task="regression", learner="linear_model.LinearRegression")
    done = ask(service, "load", "time", str(file), "--label", "y", "--time", "day")
    assert "is not in the order of day" in done.stderr
    log = entries(service, "time")
    assert [e["features"] for e in log] == [{"n": n} for _, n in sorted(days, key=lambda d: d[0])]
    assert loaded(service, "time", str(file), "--label", "y")["duplicates"] == 500


def test_ids_may_be_a_column_and_columns_may_be_dropped(service: Headrace, tmp_path: Path) -> None:
    rows = [[f"order-{n}", n, "x", 1] for n in range(5)] + [["", 9, "x", 1]]
    file = write(tmp_path / "f.csv", ["key", "n", "secret", "y"], rows)
    service.create("ids", learner=TREE)
    call = ["load", "ids", str(file), "--label", "y", "--id", "key", "--drop", "secret"]
    assert "key is empty, and is to be the id" in ask(service, *call, status=1).stderr
    log = entries(service, "ids")
    assert [entry["id"] for entry in log] == [f"order-{n}" for n in range(5)]
    assert all(entry["features"].keys() == {"n"} for entry in log)


def test_predict_first_serves_each_row_before_its_label_and_those_without_one(
    service: Headrace, tmp_path: Path
) -> None:
    rows = fruit(450)
    for row in rows[::10]:
        row[3] = ""
    file = write(tmp_path / "f.csv", HEAD, rows)
    service.create("asked", learner=TREE)
    said = loaded(service, "asked", str(file), "--label", "is_big", "--predict-first")
    assert (said["predicted"], said["learned"], said["unlabelled"]) == (450, 405, 45)
    metrics = service.get("/v1/models/asked/metrics").body
    assert (metrics["predictions"], metrics["counts"]["labelled"]) == (450, 405)
    assert all(entry["prediction_id"] == entry["id"] for entry in entries(service, "asked"))


def test_nested_lines_and_anomalies_need_no_label(service: Headrace, tmp_path: Path) -> None:
    file = tmp_path / "f.ndjson"
    lines = [{"features": {"a": n / 10}, "label": n > 5, "at": n} for n in range(10)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    service.create("nested", learner=TREE)
    assert loaded(service, "nested", str(file), "--time", "at")["learned"] == 10
    assert entries(service, "nested")[6]["features"] == {"a": 0.6}
    plain = write(tmp_path / "f.csv", ["a"], [[n / 10] for n in range(10)])
    service.create("odd", task="anomaly", learner="anomaly.HalfSpaceTrees")
    assert loaded(service, "odd", str(plain))["learned"] == 10


@pytest.mark.parametrize(
    ("content", "options", "status", "said"),
    [
        ("a,label\n1,1\n", ["--label", "lable"], 1, "no column 'lable'; did you mean 'label'?"),
        ("a,y\n1,1\n", ["--label", "y", "--drop", "A"], 1, "did you mean 'a'?"),
        ("a,y\n1,1\n", [], 2, "Missing option '--label'"),
        ("a,y\n1,1\n", ["--label", "y", "--delimiter", "::"], 2, "is to be one character"),
        ("", ["--label", "y"], 1, "is empty"),
        ("a,a\n1,1\n", ["--label", "a"], 1, "names the column 'a' twice"),
        ("t,y\n1,1\n,1\n", ["--label", "y", "--time", "t"], 1, "line 3: the time t is ''"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(
    service: Headrace, tmp_path: Path, content: str, options: list[str], status: int, said: str
) -> None:
    file = tmp_path / "f.csv"
    file.write_text(content)
    if "refused" not in {m["name"] for m in service.get("/v1/models?limit=1000").body["models"]}:
        service.create("refused", learner=TREE)
    done = ask(service, "load", "refused", str(file), *options, status=status)
    assert said in done.stderr
    assert entries(service, "refused") == []


def test_a_file_that_breaks_off_keeps_what_was_learned(service: Headrace, tmp_path: Path) -> None:
    whole = write(tmp_path / "f.csv", HEAD, fruit(14_000)).read_bytes()
    cut = tmp_path / "f.csv.gz"
    cut.write_bytes(gzip.compress(whole)[:-2_000])
    service.create("cut", learner=TREE)
    done = ask(service, "load", "cut", str(cut), "--label", "is_big", status=1)
    assert "ends in the middle" in done.stderr
    learned = len(entries(service, "cut"))
    cut.write_bytes(gzip.compress(whole))
    said = loaded(service, "cut", str(cut), "--label", "is_big")
    assert 0 < learned == said["duplicates"] and said["learned"] == 14_000 - learned


def test_progress_is_told_within_two_seconds(service: Headrace, tmp_path: Path) -> None:
    file = write(tmp_path / "f.csv", HEAD, fruit(60_000))
    service.create("told-soon", learner=TREE)
    process = started(service, "told-soon", str(file), "--label", "is_big")
    assert process.stderr is not None
    first = process.stderr.readline()
    began = time.monotonic()
    second = process.stderr.readline()
    assert "learning" in first
    assert re.match(r"told-soon: [\d,]+ (of about [\d,]+ )?rows, [\d,]+ a second", second), second
    assert time.monotonic() - began < 2
    process.kill()
    process.communicate()


def test_a_service_that_goes_away_ends_the_load_with_3(tmp_path: Path) -> None:
    file = write(tmp_path / "f.csv", HEAD, fruit(MANY))
    with headrace(tmp_path) as service:
        service.create("gone", learner=TREE)
        process = started(service, "gone", str(file), "--label", "is_big", "--wait", "1")
        while service.get("/v1/models/gone").body["offset"] < 500:
            time.sleep(0.02)
        service.kill()
        _, said = process.communicate(timeout=60)
        assert process.returncode == 3, said
        assert (
            "did not answer" in said
            and "up to 1 s" in said
            and "The same command again goes on" in said
        )
        service.start()
        said_again = loaded(service, "gone", str(file), "--label", "is_big")
        assert said_again["learned"] + said_again["duplicates"] == MANY
        assert len(entries(service, "gone")) == MANY


def test_a_file_of_another_model_is_refused(service: Headrace, tmp_path: Path) -> None:
    service.create("m")
    example = {"features": {"age": 1, "spend": 2.5}, "label": True}
    assert service.post("/v1/models/m/feedback", example).status == 200
    other = tmp_path / "other.csv"
    other.write_text("colour,size,y\nred,1,true\nblue,2,false\n")
    done = ask(service, "load", "m", str(other), "--label", "y", status=1)
    assert "none of the features that m knows, such as age, spend" in done.stderr
    assert service.get("/v1/models/m").body["offset"] == 2


def test_a_place_for_rejects_that_cannot_be_written_is_said(
    service: Headrace, tmp_path: Path
) -> None:
    service.create("placeless")
    file = tmp_path / "rows.csv"
    file.write_text("a,y\n1,true\n")
    rejects = str(tmp_path / "no" / "r.ndjson")
    done = ask(
        service, "load", "placeless", str(file), "--label", "y", "--rejects", rejects, status=2
    )
    assert "No such file or directory" in done.stderr
