"""What the commands say of models, labels and the log, and how they end when there is none."""

import json
import os
import pty
import signal
import subprocess
import time

import pytest

from tests.commands import COMMAND, ask, environment_of, url_of
from tests.process import Headrace


def labelled(service: Headrace, model: str, prediction: str, *labels: str) -> list[str]:
    """What is said of each label of a prediction, in its order."""
    assert service.post(f"/v1/models/{model}/predict", {"id": prediction, "features": {"a": 1}})
    time.sleep(0.02)
    call = ["feedback", model, "--prediction", prediction, "--label"]
    return [ask(service, *call, label, "--id", f"{n}").stdout for n, label in enumerate(labels)]


def test_a_label_that_is_not_learned_is_said_to_be_recorded(lasting: Headrace) -> None:
    rules = {"wait_seconds": 0.001, "late": "record", "duplicates": "correct"}
    lasting.create("recorded", labels=rules)
    first, second = labelled(lasting, "recorded", "p", "true", "false")
    recorded = "Scored and recorded, and not learned, because it came late, at offset 2"
    assert first.startswith(recorded)
    assert "The label at offset 2 is corrected, and the new one not learned" in second
    lasting.create("learned", labels={"wait_seconds": 3_600, "duplicates": "correct"})
    taught = labelled(lasting, "learned", "p", "true")
    assert taught == ["Learned, at offset 2 of learned.\n"]
    [again] = labelled(lasting, "learned", "p", "true")
    assert again == "Already taken, at offset 2 of learned.\n"
    lasting.create("first", labels={"duplicates": "first"})
    _, other = labelled(lasting, "first", "p", "true", "false")
    assert other.startswith("Not learned: another label came first, at offset 2")


def test_a_label_that_takes_the_place_of_a_default_is_said_to_be_learned(lasting: Headrace) -> None:
    lasting.create("default", labels={"wait_seconds": 0.001, "default": False})
    [said] = labelled(lasting, "default", "p", "true")
    assert "The label at offset 2 is corrected, and the new one learned, at offset 3" in said


def test_the_log_shows_words_as_they_are_and_what_is_corrected(lasting: Headrace) -> None:
    lasting.create("shown", labels={"duplicates": "correct"})
    asked = {"id": "p", "features": {"größe": "groß"}}
    lasting.post("/v1/models/shown/predict", asked)
    for label in (True, False):
        sent = {"prediction_id": "p", "label": label}
        assert lasting.post("/v1/models/shown/feedback", sent).status == 200
    lines = ask(lasting, "log", "shown", "--after", "1").stdout.splitlines()
    assert '{"größe": "groß"}' in lines[0]
    corrected = next(line for line in lines if "correction" in line)
    assert "of=2  previous=true  label=false" in corrected
    lasting.create("late", labels={"wait_seconds": 0.001, "late": "record"})
    labelled(lasting, "late", "p", "true")
    assert "not learned" in ask(lasting, "log", "late", "--after", "1").stdout


@pytest.mark.parametrize(
    "call",
    [
        ["show"],
        ["metrics"],
        ["log"],
        ["delete", "--yes"],
        ["predict", "a=1"],
        ["feedback", "--label", "true", "--features", "{}"],
        ["load", "f.csv", "--label", "y"],
    ],
    ids=lambda call: call[0],
)
def test_a_misspelt_model_is_told_the_nearest(service: Headrace, call: list[str]) -> None:
    command, *more = call
    none = ask(service, command, "phising", *more, status=1).stderr
    assert "There is no model named 'phising', nor any other. See headrace create" in none
    service.create("phishing")
    said = ask(service, command, "phising", *more, status=1).stderr
    assert "no model named 'phising'; did you mean 'phishing'? headrace models lists" in said
    assert "GET" not in said


def test_a_learner_that_there_is_not_is_told_the_nearest(lasting: Headrace) -> None:
    for word, said in (
        ("LogisticRegresion", "did you mean 'LogisticRegression'?"),
        ("linear_model.LogisticRegresion", "did you mean 'linear_model.LogisticRegression'?"),
        ("SWINN", "neighbors.SWINN cannot be named: it draws random numbers"),
    ):
        for more in ([], ["--json"]):
            assert said in ask(lasting, "learners", word, *more, status=1).stderr
    other = ["learners", "LogisticRegression", "--task", "regression"]
    assert "The task regression takes nothing whose name" in ask(lasting, *other, status=1).stderr


def test_a_deletion_is_printed_for_scripts_too(lasting: Headrace) -> None:
    lasting.create("gone")
    done = ask(lasting, "delete", "gone", "--yes", "--json")
    assert json.loads(done.stdout) == {"name": "gone", "deleted": True}


def test_an_interrupt_at_a_question_ends_with_130_and_does_nothing(lasting: Headrace) -> None:
    lasting.create("asked")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "delete", "asked"],
        env=environment_of(HEADRACE_URL=url_of(lasting)),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    said = b""
    while b"Delete asked" not in said:
        said += os.read(ours, 1_000)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    os.close(ours)
    os.close(theirs)
    assert lasting.get("/v1/models/asked").status == 200
