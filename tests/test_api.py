"""The API's calls: every answer and every error, as a client meets them."""

from datetime import datetime
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from tests.conftest import problem
from tests.process import LINEAR, Headrace

REGRESSION = ["preprocessing.StandardScaler", "linear_model.LinearRegression"]


def create(client: TestClient, name: str = "m", **more: Any) -> dict[str, Any]:
    """Create a model, which must succeed."""
    reply = client.post(
        "/v1/models", json={"name": name, "task": "binary", "learner": LINEAR} | more
    )
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()
    return found


def predict(client: TestClient, features: Any, model: str = "m", **more: Any) -> dict[str, Any]:
    """Ask, which must succeed."""
    reply = client.post(f"/v1/models/{model}/predict", json={"features": features} | more)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def feedback(client: TestClient, model: str = "m", **body: Any) -> Response:
    """Send feedback."""
    return client.post(f"/v1/models/{model}/feedback", json=body)


def learned(client: TestClient, model: str = "m", **body: Any) -> dict[str, Any]:
    """Send feedback, which must succeed."""
    reply = feedback(client, model, **body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def refused(reply: Response, status: int, code: str) -> dict[str, Any]:
    """A problem, which must be this one; its body."""
    assert (reply.status_code, problem(reply)) == (status, code), reply.text
    body: dict[str, Any] = reply.json()
    assert body.keys() == {"type", "title", "status", "code", "detail", "errors"}
    assert (body["type"], body["status"]) == (f"urn:headrace:error:{code}", status)
    assert body["title"] and body["detail"].endswith(".")
    assert ("retry-after" in reply.headers) == (status in (429, 503))
    return body


def test_the_very_next_prediction_knows_the_label(client: TestClient) -> None:
    create(client)
    first = predict(client, {"a": 1})
    assert (first["prediction"], first["offset"], first["version"]) == (False, 1, 0)
    assert first["probabilities"] == {"false": 0.5, "true": 0.5}
    told = learned(client, prediction_id=first["id"], label=True)
    assert (told["offset"], told["duplicate"]) == (2, False)
    second = predict(client, {"a": 1})
    assert (second["prediction"], second["offset"]) == (True, 2)


def test_a_created_model_is_answered_in_full(client: TestClient) -> None:
    body = create(client, features={"b": "number", "a": "text"}, description="why")
    assert (body["name"], body["task"], body["state"]) == ("m", "binary", "ready")
    assert (body["offset"], body["version"], body["fallback"]) == (1, 0, "prior")
    assert list(body["features"].items()) == [("b", "number"), ("a", "text")]
    assert body["counts"] == dict.fromkeys(
        ("examples", "labelled", "scored", "unanswered", "fallbacks", "unlearnable"), 0
    )
    assert body["metrics"].keys() == {"Accuracy", "F1", "LogLoss", "ROCAUC"}
    assert datetime.fromisoformat(body["created_at"]).tzinfo is not None
    assert client.get("/v1/models/m").json() == body


def test_the_stored_spec_is_accepted_again_and_gives_an_equal_model(client: TestClient) -> None:
    learner = {"forest.ARFClassifier": {"n_models": 3}}
    first = create(client, learner=learner, metrics=["Accuracy", {"FBeta": {"beta": 2}}])
    more = {"learner": first["learner"], "metrics": first["metric_specs"]}
    second = create(client, "again", **more)
    assert second["learner"] == first["learner"]
    assert second["metric_specs"] == first["metric_specs"]
    for i in range(40):
        for name in ("m", "again"):
            learned(client, name, features={"a": i % 7, "b": 0.5 * i}, label=i % 3 == 0)
    for i in range(7):
        one, other = (predict(client, {"a": i, "b": 2.5}, name) for name in ("m", "again"))
        assert one["probabilities"] == other["probabilities"]
    assert (
        client.get("/v1/models/m").json()["metrics"]
        == (client.get("/v1/models/again").json()["metrics"])
    )


def test_a_model_of_a_name_that_is_taken_is_409(client: TestClient) -> None:
    create(client)
    body = {"name": "m", "task": "binary", "learner": LINEAR}
    refused(client.post("/v1/models", json=body), 409, "model_exists")


def test_models_are_listed_by_name_a_page_at_a_time(client: TestClient) -> None:
    assert client.get("/v1/models").json() == {"models": [], "next": None}
    for name in ("c", "a", "B", "b", "10"):
        create(client, name)
    pages: list[list[str]] = []
    after: str | None = ""
    while after is not None:
        page = client.get("/v1/models", params={"after": after, "limit": 2}).json()
        pages.append([model["name"] for model in page["models"]])
        after = page["next"]
    assert pages == [["10", "B"], ["a", "b"], ["c"]]
    assert client.get("/v1/models", params={"after": "zzz"}).json()["models"] == []
    for limit in ("0", "1001", "-1", "many", "1.5"):
        reply = client.get("/v1/models", params={"limit": limit})
        refused(reply, 422, "invalid_parameter")


def test_the_log_is_shown_a_page_at_a_time(client: TestClient) -> None:
    create(client)
    asked = predict(client, {"a": 1.0, "b": None})
    learned(client, prediction_id=asked["id"], label=True, id="first")
    learned(client, features={"a": 1}, label=False, id="second")
    page = client.get("/v1/models/m/log", params={"limit": 2}).json()
    created, first = page["entries"]
    assert (created["kind"], created["name"], page["next"]) == ("created", "m", 2)
    assert (first["id"], first["prediction_id"]) == ("first", asked["id"])
    assert repr(first["features"]) == "{'a': 1.0, 'b': None}"
    assert first["served"]["prediction"] is False
    rest = client.get("/v1/models/m/log", params={"after": 2}).json()
    assert [entry["id"] for entry in rest["entries"]] == ["second"]
    assert rest["next"] is None
    assert client.get("/v1/models/m/log", params={"after": 2**63 - 1}).json()["entries"] == []
    for after in ("-1", str(2**63), "1" + "0" * 30, "x"):
        reply = client.get("/v1/models/m/log", params={"after": after})
        refused(reply, 422, "invalid_parameter")


def test_an_entry_about_another_one_names_it(client: TestClient) -> None:
    create(client)
    told = learned(client, features={"city": "rome"}, label=True, id="bad")
    assert [warning["code"] for warning in told["warnings"]] == ["unlearnable"]
    learned(client, features={"a": 1}, label=True)
    entries = client.get("/v1/models/m/log").json()["entries"]
    [about] = [entry for entry in entries if entry["kind"] == "unlearnable"]
    assert about["example_offset"] == told["offset"]
    assert about["offset"] > told["offset"]
    assert about["reason"].startswith("TypeError")


def test_a_prediction_is_shown_with_its_label_once_it_has_one(client: TestClient) -> None:
    create(client)
    asked = predict(client, {"b": 1, "a": 1.0, "c": None}, id="mine")
    shown = client.get("/v1/models/m/predictions/mine").json()
    assert shown["answer"] == asked | {"score": None, "warnings": None}
    assert repr(shown["features"]) == "{'b': 1, 'a': 1.0, 'c': None}"
    assert (shown["labelled"], shown["label"], shown["feedback_id"]) == (False, None, None)
    told = learned(client, prediction_id="mine", label=False)
    shown = client.get("/v1/models/m/predictions/mine").json()
    assert (shown["labelled"], shown["label"]) == (True, False)
    assert (shown["feedback_id"], shown["feedback_offset"]) == (told["id"], told["offset"])
    refused(client.get("/v1/models/m/predictions/other"), 404, "unknown_prediction")


def test_a_deleted_model_is_unknown_to_every_call(client: TestClient) -> None:
    create(client)
    predict(client, {"a": 1}, id="p")
    assert client.delete("/v1/models/m").status_code == 204
    for reply in (
        client.get("/v1/models/m"),
        client.delete("/v1/models/m"),
        client.get("/v1/models/m/metrics"),
        client.get("/v1/models/m/log"),
        client.get("/v1/models/m/predictions/p"),
        client.post("/v1/models/m/predict", json={"features": {}}),
        feedback(client, features={}, label=True),
    ):
        refused(reply, 404, "unknown_model")


def test_feedback_with_the_same_id_is_learned_once(client: TestClient) -> None:
    create(client)
    first = learned(client, features={"a": 1}, label=True, id="f")
    before = predict(client, {"a": 1})
    for label, features in ((True, {"a": 1}), (False, {"a": 9, "b": 2})):
        again = learned(client, features=features, label=label, id="f")
        assert again == first | {"duplicate": True}
    assert predict(client, {"a": 1})["probabilities"] == before["probabilities"]
    assert client.get("/v1/models/m").json()["counts"]["examples"] == 1


def test_a_second_label_under_another_id_is_409(client: TestClient) -> None:
    create(client)
    predict(client, {"a": 1}, id="p")
    learned(client, prediction_id="p", label=True, id="f")
    body = refused(feedback(client, prediction_id="p", label=True), 409, "already_labelled")
    assert "offset 2" in body["detail"]
    assert learned(client, prediction_id="p", label=True, id="f")["duplicate"] is True


def test_feedback_for_an_unknown_prediction_is_404(client: TestClient) -> None:
    create(client)
    create(client, "other")
    predict(client, {"a": 1}, "other", id="p")
    refused(feedback(client, prediction_id="p", label=True), 404, "unknown_prediction")


def test_a_types_first_example_fixes_it_and_a_prediction_does_not(client: TestClient) -> None:
    create(client, learner="tree.HoeffdingTreeClassifier")
    predict(client, {"a": "text"})
    asked = predict(client, {"a": "text"})
    learned(client, features={"a": 1}, label=True)
    body = refused(feedback(client, prediction_id=asked["id"], label=True), 422, "invalid_features")
    assert [one["place"] for one in body["errors"]] == ["features.a"]
    assert client.get("/v1/models/m").json()["features"] == {"a": "number"}


def test_one_model_knows_a_bounded_number_of_labels_and_no_two_that_read_alike(
    client: TestClient,
) -> None:
    create(client, task="multiclass", learner="naive_bayes.GaussianNB")
    learned(client, features={"a": 1}, label=7)
    body = refused(feedback(client, features={"a": 1}, label="7"), 422, "invalid_label")
    assert "reads the same" in body["detail"]
    assert predict(client, {"a": 1})["probabilities"] == {"7": 1.0}


def test_an_answer_that_is_not_there_yet_is_null_with_a_warning(client: TestClient) -> None:
    create(client, learner="tree.HoeffdingTreeClassifier")
    answer = predict(client, {"a": 1})
    assert (answer["prediction"], answer["probabilities"]) == (None, {})
    assert [warning["code"] for warning in answer["warnings"]] == ["no_answer_yet"]
    learned(client, prediction_id=answer["id"], label=True)
    counts = client.get("/v1/models/m").json()["counts"]
    assert (counts["unanswered"], counts["scored"], counts["labelled"]) == (1, 0, 1)


def test_a_learner_that_has_no_answer_is_422_where_no_guess_is_wanted(client: TestClient) -> None:
    learner = ["preprocessing.MinMaxScaler", "linear_model.LogisticRegression"]
    create(client, learner=learner, fallback="error")
    for i in range(3):
        learned(client, features={"a": i}, label=True)
    reply = client.post("/v1/models/m/predict", json={"features": {"a": 1, "new": 2.5}})
    refused(reply, 422, "unanswerable")


def test_metrics_tell_quality_and_how_labels_come(client: TestClient) -> None:
    create(client, task="regression", learner=REGRESSION)
    empty = client.get("/v1/models/m/metrics").json()
    assert (empty["labelled_share"], empty["label_delay_seconds"]) == (None, None)
    asked = [predict(client, {"a": i}) for i in range(4)]
    for one in asked[:3]:
        learned(client, prediction_id=one["id"], label=2)
    learned(client, features={"a": 1}, label=4)
    told = client.get("/v1/models/m/metrics").json()
    assert (told["model"], told["offset"], told["predictions"]) == ("m", 5, 4)
    assert told["labelled_share"] == 0.75
    assert told["counts"]["examples"] == 4
    assert told["counts"]["labelled"] == 3
    assert told["since_start"].keys() == {"MAE", "RMSE", "R2"}
    assert told["since_start"] == told["last_1000"]
    assert 1.5 < told["since_start"]["MAE"] < 3.0
    delays = told["label_delay_seconds"]
    assert 0 <= delays["p50"] <= delays["p90"] <= delays["p99"] <= delays["max"] < 60


def test_a_metric_that_is_not_finite_is_null(client: TestClient) -> None:
    create(client, task="regression", learner=REGRESSION, metrics=["MAPE", "R2", "MAE"])
    shown = client.get("/v1/models/m/metrics").json()
    assert set(shown["since_start"]) == {"MAPE", "R2", "MAE"}
    assert all(value is None or value == 0 for value in shown["since_start"].values())


def test_a_body_is_json_whatever_it_says_that_it_is(client: TestClient) -> None:
    raw = b'{"name":"m","task":"binary","learner":"naive_bayes.GaussianNB"}'
    kinds = ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""]
    for i, kind in enumerate(kinds):
        headers = {"content-type": kind} if kind else {}
        named = raw.replace(b'"m"', b'"m%d"' % i)
        assert client.post("/v1/models", content=named, headers=headers).status_code == 201
        for path, body in (
            ("predict", b'{"features":{}}'),
            ("feedback", b'{"features":{},"label":1}'),
        ):
            reply = client.post(f"/v1/models/m{i}/{path}", content=body, headers=headers)
            assert reply.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/models"),
        ("DELETE", "/v1/models"),
        ("POST", "/v1/models/m"),
        ("PUT", "/v1/models/m"),
        ("GET", "/v1/models/m/predict"),
        ("GET", "/v1/models/m/feedback"),
        ("DELETE", "/v1/models/m/log"),
        ("POST", "/v1/models/m/predictions/p"),
        ("POST", "/v1/learners"),
        ("POST", "/healthz"),
        ("OPTIONS", "/v1/models"),
    ],
)
def test_a_method_that_a_path_has_not_is_405(client: TestClient, method: str, path: str) -> None:
    refused(client.request(method, path), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v2/models", "/v1/models/m/x", "/v1/models/a/b/predict", "/favicon.ico", "/%00"],
)
def test_a_path_that_there_is_not_is_404(client: TestClient, path: str) -> None:
    refused(client.get(path), 404, "unknown_path")
    refused(client.post(path, json={}), 404, "unknown_path")


@pytest.mark.parametrize("name", ["nobody", "%ED%A0%80", "%00", "a%20b", "..%2e", "x" * 5_000])
def test_a_model_that_there_is_not_is_404(client: TestClient, name: str) -> None:
    refused(client.get(f"/v1/models/{name}"), 404, "unknown_model")
    reply = client.post(f"/v1/models/{name}/predict", json={"features": {}})
    refused(reply, 404, "unknown_model")


def test_learners_are_listed_with_what_is_refused_and_why(client: TestClient) -> None:
    told = client.get("/v1/learners").json()
    names = {learner["name"]: learner for learner in told["learners"]}
    assert names["linear_model.LogisticRegression"]["tasks"] == ["binary"]
    assert len(names) > 200
    assert not names.keys() & told["refused"].keys()
    assert all(told["refused"].values())


def test_health_says_alive_and_ready(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    create(client)
    ready = client.get("/readyz").json()
    assert (ready["status"], ready["models"]) == ("ready", 1)


def test_a_model_that_is_being_restored_is_503_and_then_what_it_was(service: Headrace) -> None:
    service.create("m", "multiclass", {"forest.ARFClassifier": {"n_models": 10}})
    connection = service.connect()
    for i in range(80):
        body = {"features": {"a": i % 7, "b": 0.3 * i}, "label": f"l{i % 5}"}
        assert connection.post("/v1/models/m/feedback", body).status == 200
    probe = {"features": {"a": 3, "b": 2.5}}
    before = connection.post("/v1/models/m/predict", probe).body
    connection.close()
    service.kill()
    service.start(ready=False)
    reply = service.post("/v1/models/m/predict", probe)
    while reply.status != 200:
        assert (reply.status, reply.body["code"]) == (503, "not_ready")
        assert int(reply.headers["retry-after"]) >= 1
        reply = service.post("/v1/models/m/predict", probe)
    assert reply.body["probabilities"] == before["probabilities"]
