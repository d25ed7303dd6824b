"""OpenAPI: every call with its errors and examples, the bodies being those that are decoded."""

from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from app.api import policies, schemas
from app.calls import Feedback, FeedbackRequest, Prediction, PredictRequest, Warning_

METHODS = {"get", "post", "put", "patch", "delete"}
CALLS = {
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/v1/learners"),
    ("get", "/v1/models"),
    ("post", "/v1/models"),
    ("get", "/v1/models/{model}"),
    ("delete", "/v1/models/{model}"),
    ("patch", "/v1/models/{model}"),
    ("get", "/v1/models/{model}/versions"),
    ("get", "/v1/models/{model}/versions/{number}"),
    ("patch", "/v1/models/{model}/versions/{number}"),
    ("post", "/v1/models/{model}/swap"),
    ("post", "/v1/models/{model}/rollback"),
    ("post", "/v1/models/{model}/freeze"),
    ("post", "/v1/models/{model}/unfreeze"),
    ("get", "/v1/jobs"),
    ("get", "/v1/jobs/{id}"),
    ("post", "/v1/jobs/{id}/cancel"),
    ("get", "/v1/schedule"),
    ("patch", "/v1/schedule/{job}"),
    ("post", "/v1/schedule/{job}/run"),
    ("get", "/v1/models/{model}/log"),
    ("get", "/v1/models/{model}/metrics"),
    ("get", "/v1/models/{model}/predictions/{id}"),
    ("get", "/v1/models/{model}/predictions/{id}/reproduce"),
    ("post", "/v1/models/{model}/predict"),
    ("post", "/v1/models/{model}/feedback"),
    ("post", "/v1/models/{model}/predict/batch"),
    ("post", "/v1/models/{model}/feedback/batch"),
}


@pytest.fixture
def openapi(client: TestClient) -> dict[str, Any]:
    """The application's own description."""
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def calls(openapi: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The calls, by method and path."""
    return {
        (method, path): call
        for path, item in openapi["paths"].items()
        for method, call in item.items()
        if method in METHODS
    }


def resolved(openapi: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, or the one that it refers to."""
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def test_every_call_is_described_in_a_sentence(openapi: dict[str, Any]) -> None:
    found = calls(openapi)
    assert found.keys() >= CALLS
    for place, call in found.items():
        assert call["description"].split("\n")[0].endswith("."), place
        assert call["tags"], place


def test_every_call_names_the_errors_that_it_may_answer(openapi: dict[str, Any]) -> None:
    for (method, path), call in calls(openapi).items():
        expected = {"404"} if "{model}" in path else set()
        expected |= {"413", "422", "503"} if method == "post" else set()
        assert call["responses"].keys() >= expected, (method, path)
        for status, response in call["responses"].items():
            if int(status) >= 400:
                [content] = response["content"].values()
                assert resolved(openapi, content["schema"])["title"] == "Problem", (path, status)


def test_every_reference_is_to_something(openapi: dict[str, Any]) -> None:
    queue: list[Any] = [openapi]
    while queue:
        part = queue.pop()
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                name = part["$ref"].removeprefix("#/components/schemas/")
                assert name in openapi["components"]["schemas"]
            queue.extend(part.values())
        elif isinstance(part, list):
            queue.extend(part)


@pytest.mark.parametrize(
    ("struct", "schema"),
    [
        (PredictRequest, schemas.PredictRequest),
        (FeedbackRequest, schemas.FeedbackRequest),
        (Prediction, schemas.PredictAnswer),
        (Feedback, schemas.FeedbackAnswer),
        (Warning_, schemas.Warned),
    ],
)
def test_what_is_described_has_the_fields_of_what_is_decoded(
    struct: type[msgspec.Struct], schema: type[policies.Schema]
) -> None:
    fields = {field.name: field.required for field in msgspec.structs.fields(struct)}
    described = {name: field.is_required() for name, field in schema.model_fields.items()}
    assert list(described) == list(fields)
    assert described == fields


@pytest.mark.parametrize("call", ["predict", "feedback"])
def test_the_hot_calls_have_their_bodies_in_the_description(
    openapi: dict[str, Any], call: str
) -> None:
    described = calls(openapi)["post", f"/v1/models/{{model}}/{call}"]
    body = described["requestBody"]
    assert body["required"] is True
    request = resolved(openapi, body["content"]["application/json"]["schema"])
    assert request["title"] == f"{call.title()}Request"
    answer = described["responses"]["200"]["content"]["application/json"]["schema"]
    assert resolved(openapi, answer)["title"] == f"{call.title()}Answer"


def test_the_examples_are_accepted_as_they_stand(
    client: TestClient, openapi: dict[str, Any]
) -> None:
    bodies = openapi["components"]["schemas"]
    examples = {name: body["example"] for name, body in bodies.items() if "example" in body}
    assert examples.keys() >= {"ModelRequest", "PredictRequest", "FeedbackRequest"}
    model = examples["ModelRequest"]["name"]
    assert client.post("/v1/models", json=examples["ModelRequest"]).status_code == 201
    for call, name in (("predict", "PredictRequest"), ("feedback", "FeedbackRequest")):
        body = dict(examples[name])
        if call == "predict":
            body["id"] = examples["FeedbackRequest"]["prediction_id"]
        assert client.post(f"/v1/models/{model}/{call}", json=body).status_code == 200
    schemas.PredictAnswer.model_validate(examples["PredictAnswer"])
    schemas.FeedbackAnswer.model_validate(examples["FeedbackAnswer"])


def test_the_defaults_that_are_described_may_be_sent(client: TestClient) -> None:
    body = {"name": "m", "task": "binary", "learner": "naive_bayes.GaussianNB"}
    defaults: dict[str, Any] = {
        "metrics": None,
        "features": {},
        "fallback": "prior",
        "description": "",
    }
    assert client.post("/v1/models", json=body | defaults).status_code == 201
    predict = {"features": {"a": 1}, "id": None}
    asked = client.post("/v1/models/m/predict", json=predict)
    assert asked.status_code == 200
    told = {"prediction_id": asked.json()["id"], "features": None, "label": True, "id": None}
    assert client.post("/v1/models/m/feedback", json=told).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_description_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
