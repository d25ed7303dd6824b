"""The command line: its help, its versions, and starts that are refused in one readable line."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from shutil import which
from urllib.parse import quote

import pytest

from app.cli import main
from app.database import SCHEMA, Database
from app.settings import ELSEWHERE, Settings
from tests.commands import COMMAND, ask, environment_of, run, url_of
from tests.process import Headrace, free_port, headrace


def url(path: Path) -> str:
    """The setting that names a file."""
    return f"sqlite:///{path}"


def test_help_shows_the_commands_with_examples(tmp_path: Path) -> None:
    for option in ("-h", "--help"):
        shown = run(tmp_path, option)
        assert shown.returncode == 0
        assert "Examples:" in shown.stdout
        assert {"serve", "migrate"} <= set(shown.stdout.split())
    assert "--port" in run(tmp_path, "serve", "--help").stdout
    assert list(tmp_path.iterdir()) == []


def test_versions_are_those_of_headrace_and_what_it_stands_on(tmp_path: Path) -> None:
    shown = run(tmp_path, "--version")
    assert shown.returncode == 0
    for name in ("headrace", "Python", "river", "numpy", "fastapi", "sqlalchemy", "SQLite"):
        assert name in shown.stdout
    assert "without the WAL-reset bug" in shown.stdout


@pytest.mark.parametrize("arguments", [["serf"], ["serve", "--port", "65536"], ["serve", "extra"]])
def test_a_mistaken_command_is_refused_with_the_usage(tmp_path: Path, arguments: list[str]) -> None:
    refused = run(tmp_path, *arguments)
    assert refused.returncode == 2
    assert "Usage:" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_migrate_makes_the_database_and_again_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "h.db"
    for _ in range(2):
        done = run(tmp_path, "migrate", HEADRACE_DATABASE_URL=url(file))
        assert (done.returncode, done.stdout) == (0, f"The database has schema {SCHEMA}.\n")
    assert file.stat().st_size > 0


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("HEADRACE_MODELS_MAX", "0", "HEADRACE_MODELS_MAX"),
        ("HEADRACE_DATABASE_URL", "no url", "is no database URL"),
        (
            "HEADRACE_DATABASE_URL",
            "mysql://u:pw@h/d",
            "u:***@h/d, and only SQLite and PostgreSQL",
        ),
        ("HEADRACE_DATABASE_URL", "postgresql://u@127.0.0.1:1/d", "cannot be opened"),
        ("HEADRACE_DATABASE_URL", "sqlite://", "names no file"),
        ("HEADRACE_DATABASE_URL", "sqlite:////nowhere/at/all/h.db", "cannot be opened"),
    ],
)
def test_a_wrong_setting_refuses_the_start_in_one_line(
    tmp_path: Path, setting: str, value: str, said: str
) -> None:
    refused = run(tmp_path, "serve", **{setting: value})
    assert refused.returncode == 2
    [line] = [line for line in refused.stderr.splitlines() if line.startswith("headrace: ")]
    assert said in line
    assert "Traceback" not in refused.stderr


def test_a_file_that_is_no_database_refuses_the_start(tmp_path: Path) -> None:
    file = tmp_path / "h.db"
    file.write_bytes(b"not a database at all" * 100)
    refused = run(tmp_path, "serve", HEADRACE_DATABASE_URL=url(file))
    assert refused.returncode == 2
    assert "cannot be opened" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_database_of_a_newer_headrace_refuses_the_start(tmp_path: Path) -> None:
    file = tmp_path / "h.db"
    database = Database(Settings(database_url=url(file)))
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    refused = run(tmp_path, "serve", HEADRACE_DATABASE_URL=url(file))
    assert refused.returncode == 2
    assert "has schema 9999" in refused.stderr


def test_a_port_that_is_taken_ends_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = run(
            tmp_path, "serve", "--port", port, HEADRACE_DATABASE_URL=url(tmp_path / "h.db")
        )
    assert refused.returncode == 2
    assert f"127.0.0.1:{port}: Address already in use. Stop" in refused.stderr


def test_a_setting_that_is_none_is_told_with_the_nearest(tmp_path: Path) -> None:
    with headrace(tmp_path, HEADRACE_MODEL_MAX="3", HEADRACE_MODELS_MAX="5") as service:
        told = service.log.read_text()
        assert "HEADRACE_MODEL_MAX is no setting, and has no effect; did you mean" in told
        assert "HEADRACE_MODELS_MAX?" in told


def test_serve_hashes_strings_as_its_installation_does_whatever_it_was_given(
    tmp_path: Path,
) -> None:
    migrated = run(tmp_path, "migrate", HEADRACE_DATABASE_URL=url(tmp_path / "headrace.db"))
    assert migrated.returncode == 0
    with headrace(tmp_path, PYTHONHASHSEED="random") as service:
        assert service.get("/readyz").status == 200


def test_help_waits_for_nothing_heavy(tmp_path: Path) -> None:
    heavy = ("httpx2", "msgspec", "sqlalchemy", "fastapi", "pydantic", "river", "tqdm", "zstandard")
    seen = f"import sys, app.cli; print([m for m in {heavy!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
    assert run(tmp_path, "--help").returncode == 0


def test_the_variables_of_the_options_are_no_mistakes() -> None:
    named = {
        option.envvar
        for command in main.commands.values()
        for option in command.params
        if option.envvar is not None
    }
    assert named == ELSEWHERE


def test_a_model_from_its_creation_to_its_end(service: Headrace) -> None:
    learner = '["preprocessing.StandardScaler", "linear_model.LogisticRegression"]'
    (service.folder / "learner.json").write_text(learner)
    made = ["create", "page", "--task", "binary", "--learner", "@learner.json"]
    more = ["--metrics", "Accuracy,F1", "--features", '{"zip": "category"}']
    rules = ["--labels", '{"wait_seconds": 60}', "--description", "Is it phishing?"]
    created = json.loads(ask(service, *made, *more, *rules, "--json").stdout)
    assert created["metrics"] == {"Accuracy": None, "F1": None}
    assert created["labels"]["wait_seconds"] == 60
    assert "Is it phishing?" in ask(service, "models").stdout
    assert json.loads(ask(service, "models", "--json").stdout)[0]["name"] == "page"

    asked = ["predict", "page", "age=1", "is_ip=false", "zip=01234", "--id", "visit", "--json"]
    answer = json.loads(ask(service, *asked).stdout)
    assert answer["prediction"] is False and answer["probabilities"] == {"false": 0.5, "true": 0.5}
    remembered = service.get("/v1/models/page/predictions/visit").body
    assert remembered["features"] == {"age": 1, "is_ip": False, "zip": "01234"}
    taught = ["feedback", "page", "--prediction", "visit", "--label", "TRUE", "--id", "one"]
    # The learner breaks on the zip code: said, and no failure of the command.
    assert "unlearnable" in ask(service, *taught).stderr
    assert "Already taken, at offset 2" in ask(service, *taught).stdout
    fact = ["feedback", "page", "--features", '{"age": 9}', "--label", "0", "--json"]
    assert json.loads(ask(service, *fact).stdout)["duplicate"] is False

    lines = ask(service, "log", "page", "--json", "--after", "1").stdout.splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds.count("example") == 2
    assert "example" in ask(service, "log", "page", "--limit", "3").stdout
    assert "Accuracy" in ask(service, "metrics", "page").stdout
    assert json.loads(ask(service, "metrics", "page", "--json").stdout)["counts"]["examples"] == 1
    assert "StandardScaler" in ask(service, "show", "page").stdout
    assert json.loads(ask(service, "show", "page", "--json").stdout)["name"] == "page"

    assert "--yes" in ask(service, "delete", "page", status=2).stderr
    ask(service, "delete", "page", "--yes")
    assert "There is no model named 'page'" in ask(service, "show", "page", status=1).stderr


def test_what_a_spec_may_name_is_listed(service: Headrace) -> None:
    assert "linear_model.SoftmaxRegression" in ask(service, "learners", "softmax").stdout
    tasks = json.loads(ask(service, "learners", "--task", "regression", "--json").stdout)
    names = {learner["name"] for learner in tasks}
    assert "linear_model.LinearRegression" in names and "preprocessing.StandardScaler" in names
    assert "linear_model.LogisticRegression" not in names


def test_features_come_as_json_as_pairs_or_on_stdin(service: Headrace) -> None:
    service.create("tree", learner="tree.HoeffdingTreeClassifier", features={"zip": "category"})
    there = {"HEADRACE_URL": url_of(service)}
    for words, stdin in (
        (['{"n": 1.5, "b": true, "zip": "01234", "t": "x"}'], ""),
        (["-"], '{"n": 1.5, "b": true, "zip": "01234", "t": "x"}'),
        (["n=1.5", "b=true", "zip=01234", "t=x"], ""),
        (["n=1.5", "b=TRUE", 'zip="01234"', "t=x"], ""),
    ):
        done = subprocess.run(
            [*COMMAND, "predict", "tree", *words, "--id", words[0][:9] + stdin[:3]],
            env=environment_of(**there),
            cwd=service.folder,
            input=stdin,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        path = quote(words[0][:9] + stdin[:3])
        features = service.get(f"/v1/models/tree/predictions/{path}").body["features"]
        assert features == {"n": 1.5, "b": True, "zip": "01234", "t": "x"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "tree"], "Give features"),
        (["predict", "tree", "age"], "'age' is no feature: write name=value, such as age=1"),
        (["predict", "tree", "{age"], "is no JSON"),
        (["predict", "tree", "a=1", "age"], "is no feature: write name=value"),
        (["predict", "tree", "[1]"], "is to be a JSON object"),
        (["feedback", "tree", "--label", "true"], "one of the two"),
        (["feedback", "tree", "--prediction", "p", "--features", "{}"], "one of the two"),
        (["create", "x"], "Give --task and --learner"),
        (["create", "x", "--task", "binary", "--learner", "[1"], "is no JSON"),
        (["create", "x", "--task", "binary", "--learner", "@none.json"], "cannot be read"),
        (["models", "--url", "localhost:8000"], "is no URL of HTTP"),
        (["completion", "tcsh"], "tcsh"),
        (["learners", "--task", "foo"], "'binary', 'multiclass', 'regression', 'anomaly'"),
        (["load", "m", "same.csv", "--rejects", "./same.csv"], "would write over the file itself"),
    ],
)
def test_a_mistaken_call_says_how_it_is_written(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    refused = run(tmp_path, *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr and "Traceback" not in refused.stderr


def test_a_label_is_read_by_the_task(service: Headrace) -> None:
    service.create("number", task="regression", learner="linear_model.LinearRegression")
    service.create("class", task="multiclass", learner="naive_bayes.GaussianNB")
    cases = [("number", "2.5", 2.5), ("class", "7", 7), ("class", "spam", "spam")]
    for model, given, label in cases:
        ask(service, "feedback", model, "--features", '{"a": 1}', "--label", given)
        log = service.get(f"/v1/models/{model}/log?limit=100").body["entries"]
        assert log[-1]["label"] == label
    wrong = ask(service, "feedback", "number", "--prediction", "p", "--label", "x", status=2)
    assert "the label is 'x', and regression takes a number" in wrong.stderr
    twin = ["feedback", "class", "--features", "{}", "--label", '"7"']
    assert "reads the same" in ask(service, *twin, status=1).stderr


def test_a_refusal_names_each_thing_that_is_wrong(service: Headrace) -> None:
    service.create("page", features={"a": "number", "b": "boolean"})
    refused = ask(service, "predict", "page", '{"a": "x", "b": 1}', status=1)
    lines = refused.stderr.splitlines()
    assert lines[0].startswith("headrace: features.a is a string")
    assert lines[1:] == [
        "  features.a is a string, and this feature is of type number",
        "  features.b is a number, and this feature is of type boolean",
    ]


def test_a_service_that_is_not_there_ends_with_3(tmp_path: Path) -> None:
    done = run(tmp_path, "models", "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 3
    assert "did not answer" in done.stderr and done.stderr.startswith("headrace: ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_given_its_completion(tmp_path: Path, shell: str) -> None:
    if shell == "bash" and which("bash") is None:
        pytest.fail("there is no bash here: install it, for example by `apt-get install bash`")
    shown = run(tmp_path, "completion", shell)
    assert shown.returncode == 0
    assert "_HEADRACE_COMPLETE" in shown.stdout


def test_commands_and_models_are_completed(service: Headrace) -> None:
    service.create("flights")
    service.create("phishing")

    def completed(words: str, place: int) -> list[str]:
        settings = {"COMP_WORDS": words, "COMP_CWORD": str(place), "HEADRACE_URL": url_of(service)}
        asked = {"_HEADRACE_COMPLETE": "bash_complete", **settings}
        code = "from app.cli import main; main(prog_name='headrace')"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment_of(**asked),
            capture_output=True,
            text=True,
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines() if line]

    assert "predict" in completed("headrace pre", 1)
    assert completed("headrace show fl", 2) == ["flights"]
    assert completed("headrace predict ", 2) == ["flights", "phishing"]
    service.kill()
    assert completed("headrace show fl", 2) == []
