"""All that there is stands in the documents: settings, calls, fields, errors, jobs, commands."""

import re
from collections.abc import Iterator
from typing import get_args

import click
import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from app import entries, errors, serving
from app.api import job_schemas, policies, schemas, version_schemas
from app.api.errors import STATUS, status_of
from app.cli import group, main
from app.errors import HeadraceError, StartRefused, code_of
from app.jobs import SCHEDULE
from app.settings import Settings
from tests.pages import API, LEARNERS, OPERATIONS, PAGES, code_spans, table


def subclasses(error: type[HeadraceError]) -> Iterator[type[HeadraceError]]:
    """Every error of the service below this one; the client has one of its own."""
    for below in error.__subclasses__():
        if below.__module__ == errors.__name__:
            yield below
            yield from subclasses(below)


def test_every_setting_is_documented_with_its_default_and_sentence() -> None:
    wanted = [
        [f"`HEADRACE_{name.upper()}`", f"`{field.default}`", str(field.description)]
        for name, field in Settings.model_fields.items()
    ]
    assert table(OPERATIONS, "setting | default") == wanted


def test_every_call_is_documented(client: TestClient) -> None:
    calls = {
        f"{method.upper()} {path}"
        for path, methods in client.get("/openapi.json").json()["paths"].items()
        for method in methods
    }
    assert calls
    assert calls - code_spans(API) == set()
    said = {span for span in code_spans(API) if re.match(r"(GET|POST|PUT|PATCH|DELETE) /", span)}
    assert said - calls == set(), "no call is promised that is not there"


@pytest.mark.parametrize(
    "schema",
    [
        schemas.ModelRequest,
        schemas.ModelAnswer,
        schemas.PredictRequest,
        schemas.PredictAnswer,
        schemas.FeedbackRequest,
        schemas.FeedbackAnswer,
        policies.LabelRules,
        version_schemas.VersionAnswer,
        version_schemas.SwapRequest,
        version_schemas.RollbackRequest,
        version_schemas.UnfreezeRequest,
        version_schemas.ModelChange,
        version_schemas.TurnAnswer,
        version_schemas.Worker,
        job_schemas.RunAnswer,
        job_schemas.ScheduleAnswer,
        job_schemas.ScheduledJob,
        job_schemas.ScheduleChange,
        job_schemas.RunRequest,
        schemas.MetricsAnswer,
        schemas.PredictionAnswer,
        schemas.ReproductionAnswer,
        schemas.LearnerAnswer,
        schemas.ParameterAnswer,
        schemas.LearnersAnswer,
        schemas.LogEntry,
        schemas.Problem,
        schemas.ProblemPlace,
        schemas.Warned,
        schemas.Delays,
    ],
)
def test_every_field_is_documented(schema: type[BaseModel]) -> None:
    assert schema.model_fields.keys() - code_spans(API) == set()


def test_every_rule_of_versions_is_documented() -> None:
    page = PAGES["docs/versions.md"]
    said = {
        span for row in table(page, "field of `versions` | default") for span in code_spans(row[0])
    }
    fields = policies.VersionRules.model_fields.keys() - {"snapshot"}
    assert said == fields | {f"snapshot.{n}" for n in policies.SnapshotRules.model_fields}
    budget = {row[0].strip("`") for row in table(page, "field of `budget` | default")}
    assert budget == policies.Budget.model_fields.keys()


def test_every_count_is_documented() -> None:
    assert {f"counts.{name}" for name in schemas.Counts.model_fields} <= code_spans(API)
    assert {f"labels.{name}" for name in schemas.LabelCounts.model_fields} <= code_spans(API)


def test_every_error_is_documented_with_its_status() -> None:
    said = {row[0].strip("`"): int(row[1]) for row in table(API, "code | status")}
    families = set(STATUS)
    wanted = {
        code_of(error): status_of(error(""))
        for error in subclasses(HeadraceError)
        if error not in families or not error.__subclasses__()
        if not issubclass(error, StartRefused)
    }
    assert said == wanted


def test_the_table_of_families_is_the_codes() -> None:
    said = {row[0]: int(row[1]) for row in table(API, "family | status")}
    assert said == {family.__name__: status for family, status in STATUS.items()}


def test_the_tree_of_errors_is_drawn_whole() -> None:
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    assert sorted(drawn) == sorted(error.__name__ for error in subclasses(HeadraceError))


def test_every_warning_is_documented() -> None:
    said = {row[0].strip("`") for row in table(API, "code | on")}
    described = str(schemas.Warned.model_fields["code"].description)
    assert said == set(re.findall(r"`(\w+)`", described))
    assert serving.WARNINGS.keys() <= said


def test_every_job_is_documented_with_its_turn() -> None:
    said = [row[:2] for row in table(OPERATIONS, "job | every")]
    turns = [
        (j.name, f"{j.every_seconds} s" if j.every_seconds else "on request") for j in SCHEDULE
    ]
    assert said == [[f"`{name}`", turn] for name, turn in turns]


def test_every_task_is_documented() -> None:
    tasks = {f"`{task}`" for task in get_args(entries.Task)}
    assert {row[0] for row in table(API, "task | labels")} == tasks
    assert {row[0] for row in table(LEARNERS, "task | the last step is")} == tasks


def test_every_kind_of_entry_is_documented_with_its_fields() -> None:
    said = {row[0].strip("`"): row[1] for row in table(API, "kind | fields")}
    kinds = {
        str(kind.__struct_config__.tag): kind.__struct_fields__ for kind in get_args(entries.Entry)
    }
    assert said.keys() == kinds.keys()
    renamed = {"offset": "example_offset"}
    for kind, fields in kinds.items():
        assert {renamed.get(field, field) for field in fields} <= code_spans(said[kind])
    assert set(entries.Served.__struct_fields__) <= code_spans(said["example"])


def test_every_type_of_a_feature_and_every_fallback_is_documented() -> None:
    assert {*get_args(entries.FeatureType), *get_args(entries.Fallback)} <= code_spans(API)


def test_every_command_and_exit_status_is_documented() -> None:
    page = PAGES["docs/cli.md"]
    said = [row[0].strip("`").removeprefix("headrace ") for row in table(page, "command | does")]
    assert said == list(main.commands)
    statuses = {int(row[0]) for row in table(page, "exit status | means")}
    known = {value for name, value in vars(group).items() if name.isupper()}
    assert statuses == {0, *known}
    load = {o.opts[0] for o in main.commands["load"].params if isinstance(o, click.Option)}
    assert {row[0].strip("`") for row in table(page, "option | means")} == load - {
        "--url",
        "--json",
    }
