"""The documents say what the code does: all of it, nothing that is not, and their commands run."""

import json
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import pytest

import app
from app.cli import main
from app.settings import ELSEWHERE, Settings
from learners import catalogue
from learners.scores import DEFAULTS
from learners.spec import InvalidSpec, build, complete, complete_metrics
from learners.substitutes import SUBSTITUTES
from tests.pages import (
    API,
    EACH_PAGE,
    LEARNERS,
    OPERATIONS,
    PAGES,
    ROOT,
    blocks,
    code_spans,
    table,
)
from tests.process import Headrace

VOLATILE = (
    (re.compile(r'"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"'), '"UUID"'),
    (re.compile(r'"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)"'), '"INSTANT"'),
    (re.compile(r'"at": \d{16}'), '"at": "INSTANT"'),
    (re.compile(r'"delay_seconds": [\d.e-]+'), '"delay_seconds": "SECONDS"'),
    (re.compile(r'"stamps": \{[^}]*\}'), '"stamps": "STAMPS"'),
    (re.compile(r'"(p50|p90|p99|max)": [\d.e-]+'), r'"\1": "SECONDS"'),
)
"""What differs from run to run in an answer, and what stands for it when answers are compared."""


def comparable(answer: Any) -> str:
    """An answer as text, without what differs from run to run."""
    text = json.dumps(answer)
    for pattern, stand_in in VOLATILE:
        text = pattern.sub(stand_in, text)
    return text


def shell(command: str, service: Headrace) -> str:
    """Run what a page tells to run, against a service on another port; what was printed."""
    script = command.replace("localhost:8000", f"localhost:{service.port}")
    script = f'curl() {{ command curl --silent --show-error "$@"; }}\n{script}'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def test_the_readmes_commands_run_and_are_answered_as_it_says(service: Headrace) -> None:
    [commands] = [text for _, text in blocks(PAGES["README.md"], "sh") if "curl" in text]
    assert len(commands.strip().splitlines()) <= 16, "it is meant to be read at a glance"
    for command in commands.strip().split("\n\n"):
        lines = command.splitlines()
        said = [line.removeprefix("# ") for line in lines if line.startswith("#")]
        answer = json.loads(shell(command, service))
        assert "code" not in answer, answer
        for text in said:
            assert json.dumps(answer) == json.dumps(json.loads(text)), command


def test_the_apis_examples_run_and_are_answered_as_it_says(service: Headrace) -> None:
    answer: Any = None
    for language, text in blocks(API, "sh", "json"):
        if language == "sh":
            printed = shell(text, service)
            answer = json.loads(printed) if printed else None
        else:
            said = comparable(json.loads(text))
            lists = answer.values() if isinstance(answer, dict) else ()
            items = [item for found in lists if isinstance(found, list) for item in found]
            one_of_them = said in map(comparable, items)
            assert said == comparable(answer) or one_of_them, f"{said}\n\n{comparable(answer)}"


def test_every_spec_of_the_learners_page_can_be_used() -> None:
    stored: Any = None
    count = 0
    for _, text in blocks(LEARNERS, "json"):
        found = json.loads(text)
        if "task" not in found:
            assert json.dumps(found) == json.dumps(stored), "the stored form of the spec before"
            continue
        stored = complete(found["learner"], found["task"], seed=1)
        metrics = complete_metrics(found.get("metrics"), found["task"], build(stored))
        assert metrics
        count += 1
    assert count > 10


def test_the_learners_page_shows_a_refusal_as_it_is() -> None:
    [(_, said)] = blocks(LEARNERS, "text")
    with pytest.raises(InvalidSpec) as refused:
        complete(
            ["preprocessing.StandardScaler", "linear_model.LogisticRegresion"], "binary", seed=1
        )
    assert str(refused.value).startswith(said.strip().removesuffix("…"))


def test_the_learners_page_names_the_metrics_of_each_task() -> None:
    said = {row[0].strip("`"): tuple(re.findall(r"`(\w+)`", row[1])) for row in metrics_table()}
    assert said == {task: tuple(names) for task, names in DEFAULTS.items()}


def metrics_table() -> list[list[str]]:
    """The defaults of each task."""
    return table(LEARNERS[LEARNERS.index("Left out, they are") :], "task | metrics")


def test_what_the_learners_page_names_exists() -> None:
    known = {entry.name for entry in catalogue.catalogue()} | catalogue.REFUSED.keys()
    families = {name.partition(".")[0] for name in known}
    for span in code_spans(LEARNERS):
        if re.fullmatch(r"[a-z_]+(\.[a-z]+)?\.[A-Z]\w+", span) and span.split(".")[0] in families:
            assert span in known, span


def test_every_class_of_ours_under_a_name_of_rivers_is_documented() -> None:
    said = {
        span
        for row in table(LEARNERS, "name | is otherwise in that")
        for span in code_spans(row[0])
    }
    wanting = {name for name in SUBSTITUTES if not any(fnmatch(name, span) for span in said)}
    assert not wanting
    assert all(any(fnmatch(name, span) for name in SUBSTITUTES) for span in said)


@EACH_PAGE
def test_every_variable_that_a_page_names_is_a_setting(page: str) -> None:
    known = {f"HEADRACE_{name.upper()}" for name in Settings.model_fields} | ELSEWHERE
    assert set(re.findall(r"HEADRACE_[A-Z][A-Z_]*", PAGES[page])) <= known


@EACH_PAGE
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert found.exists(), f"{page}: {target}"
        if anchor:
            text = found.read_text()
            anchors = {slug(head) for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
            anchors |= set(re.findall(r'<a id="([\w-]+)">', text))
            assert anchor in anchors, f"{page}: {target}"


def slug(head: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")


@EACH_PAGE
def test_every_target_of_make_that_a_page_names_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [*code_spans(PAGES[page]), *(text for _, text in blocks(PAGES[page], "sh"))]
    named = {name for text in commands for name in re.findall(r"\bmake ([a-z-]+)", text)}
    assert named <= targets


@EACH_PAGE
def test_every_command_of_headrace_that_a_page_names_exists(page: str) -> None:
    commands = [*code_spans(PAGES[page]), *(text for _, text in blocks(PAGES[page], "sh"))]
    named = {name for text in commands for name in re.findall(r"\bheadrace ([a-z]+)", text)}
    assert named <= main.commands.keys()


@EACH_PAGE
def test_every_file_and_module_that_a_page_names_exists(page: str) -> None:
    for span in code_spans(PAGES[page]):
        if re.fullmatch(r"(app|learners|tests|migrations|benchmarks|docs)/[\w/.-]*", span):
            assert (ROOT / span).exists(), f"{page}: {span}"
    for name in re.findall(r"python -m (benchmarks\.\w+)", PAGES[page]):
        assert (ROOT / f"{name.replace('.', '/')}.py").exists(), f"{page}: {name}"


@EACH_PAGE
def test_every_figure_that_was_measured_names_the_command_that_measures_it(page: str) -> None:
    figure = re.compile(
        r"\d[\d,.]*\s*(/s\b|ms\b|µs\b|\w+ (a|per) second|times (as fast|faster|slower))"
    )
    limits = re.compile(r"every 50 ms")
    for paragraph in re.split(r"\n\n+", PAGES[page]):
        if figure.search(limits.sub("", paragraph)):
            assert re.search(r"(python -m benchmarks\.\w+|make \w+)", paragraph), paragraph


def test_the_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", PAGES["CHANGELOG.md"], re.MULTILINE)
    assert newest is not None
    assert app.__version__ == version == newest[1]


def test_every_command_shows_an_example_in_its_help() -> None:
    assert isinstance(main, click.Group)
    for name, command in {"": main, **main.commands}.items():
        help_text = command.get_help(click.Context(command, info_name=f"headrace {name}".strip()))
        assert re.search(r"Examples?:\n +.*headrace", help_text), name


def test_a_backup_taken_while_serving_serves(service: Headrace, tmp_path: Path) -> None:
    service.create("kept")
    feedback = {"id": "one", "features": {"a": 1.5}, "label": True}
    assert service.post("/v1/models/kept/feedback", feedback).status == 200
    [command] = [text for _, text in blocks(OPERATIONS, "sh") if "VACUUM INTO" in text]
    command = command.replace(".venv/bin/python", sys.executable)
    subprocess.run(["bash", "-euc", command], cwd=service.folder, check=True, timeout=60)
    question = {"features": {"a": 1.5}}
    before = service.post("/v1/models/kept/predict", question).body
    service.kill()
    for old in service.folder.glob("headrace.db*"):
        old.unlink()
    os.rename(service.folder / "backup.db", service.database)
    service.start()
    after = service.post("/v1/models/kept/predict", question).body
    assert {**after, "id": ""} == {**before, "id": ""}
