"""The rules themselves: what they may be, what they are when left out, and their page."""

import json
import shlex
import sys
from typing import Any, get_args

import pytest
from starlette.testclient import TestClient

from app import entries
from app.api import schemas
from app.entries import LabelRules
from tests.conftest import problem
from tests.labelling import (
    Model,
)
from tests.pages import PAGES, blocks, table
from tests.process import Headrace
from tests.test_docs import shell

# The rules themselves.


def test_rules_that_are_left_out_are_shown(client: TestClient) -> None:
    expected = {
        "wait_seconds": 604_800.0,
        "default": None,
        "late": "learn",
        "duplicates": "refuse",
        "early_seconds": 5.0,
    }
    assert Model(client).created.json()["labels"] == expected
    assert client.get("/v1/models/m").json()["labels"] == expected


@pytest.mark.parametrize(
    ("task", "default", "taken"),
    [
        ("binary", 0, False),
        ("binary", 1, True),
        ("binary", False, False),
        ("multiclass", "", ""),
        ("multiclass", 0, 0),
        ("multiclass", "0", "0"),
        ("regression", 0, 0),
        ("regression", -1.5, -1.5),
        ("regression", 10**18, 10**18),
        ("anomaly", False, False),
        ("anomaly", True, True),
    ],
)
def test_a_default_is_a_label_of_the_task(
    client: TestClient, task: str, default: Any, taken: Any
) -> None:
    model = Model(client, task, default=default)
    assert model.created.status_code == 201, model.created.text
    assert repr(model.created.json()["labels"]["default"]) == repr(taken)
    created = client.get("/v1/models/m/log").json()["entries"][0]
    assert repr(created["labels"]["default"]) == repr(taken)


@pytest.mark.parametrize(
    ("task", "default"),
    [
        ("binary", "false"),
        ("binary", 2),
        ("binary", 0.0),
        ("binary", ""),
        ("multiclass", True),
        ("multiclass", 1.5),
        ("multiclass", "x" * 1_001),
        ("regression", "0"),
        ("regression", False),
        ("regression", 10**301),
        ("anomaly", 0),
        ("anomaly", "false"),
    ],
)
def test_a_default_that_is_no_label_of_the_task_is_refused(
    client: TestClient, task: str, default: Any
) -> None:
    refused = Model(client, task, default=default).created
    assert (refused.status_code, problem(refused)) == (422, "invalid_label")
    assert [error["place"] for error in refused.json()["errors"]] == ["labels.default"]
    assert client.get("/v1/models/m").status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("wait_seconds", -1),
        ("wait_seconds", 0),
        ("wait_seconds", 315_360_001),
        ("wait_seconds", "soon"),
        ("wait_seconds", None),
        ("early_seconds", -0.1),
        ("early_seconds", 61),
        ("late", "ignore"),
        ("late", None),
        ("duplicates", "last"),
        ("default", []),
        ("default", {"label": True}),
        ("defualt", False),
    ],
)
def test_a_rule_that_cannot_be_is_refused(client: TestClient, field: str, value: Any) -> None:
    refused = Model(client, **{field: value}).created
    assert (refused.status_code, problem(refused)) == (422, "invalid_body")
    assert all(e["place"].startswith(f"labels.{field}") for e in refused.json()["errors"])
    assert client.get("/v1/models/m").status_code == 404


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
def test_a_default_that_is_no_finite_number_is_refused(client: TestClient, number: bytes) -> None:
    body = b'{"name": "m", "task": "regression", "learner": "linear_model.LinearRegression", '
    body += b'"labels": {"default": ' + number + b"}}"
    assert client.post("/v1/models", content=body).status_code == 422


# The page.


def test_the_example_of_the_page_runs_and_is_answered_as_it_says(service: Headrace) -> None:
    printed = ""
    for language, text in blocks(PAGES["docs/labels.md"], "sh", "json", "text"):
        if language == "sh":
            headrace_here = (
                f"headrace() {{ {shlex.quote(sys.executable)} -m app "
                f'"$1" --url http://localhost:{service.port} "${{@:2}}"; }}\n'
            )
            printed = shell(headrace_here + text, service)
            assert '"code"' not in printed
        elif language == "json":
            assert json.loads(printed) == json.loads(text)
        else:
            for line in text.splitlines():
                assert line in printed, printed


def test_the_page_says_what_each_rule_is_when_it_is_left_out() -> None:
    page = PAGES["docs/labels.md"]
    said = {row[0].strip("`"): row[1].strip("`") for row in table(page, "rule | as it is left out")}
    found = entries.plain(LabelRules())
    assert said.keys() == found.keys()
    for name, default in found.items():
        shown = "null" if default is None else json.dumps(default).removesuffix(".0")
        assert said[name].startswith(shown), name


def test_the_page_has_every_choice_and_every_count() -> None:
    page = PAGES["docs/labels.md"]
    for choice in (*get_args(LabelRules.__annotations__["late"]), "refuse", "first", "correct"):
        assert f'`"{choice}"`' in page
    counts = {row[0].strip("`") for row in table(page, "count | of")}
    assert counts == set(schemas.LabelCounts.model_fields)
