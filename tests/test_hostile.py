"""Bodies that a careless or hostile client sends: each has an answer that names the place."""

import json
import math
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app.calls import ID_MAX
from app.main import create_app
from tests.conftest import problem
from tests.inside import settings_in
from tests.process import LINEAR, Headrace

LEARNERS: dict[str, Any] = {
    "binary": LINEAR,
    "multiclass": "naive_bayes.GaussianNB",
    "regression": ["preprocessing.StandardScaler", "linear_model.LinearRegression"],
    "anomaly": "anomaly.HalfSpaceTrees",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One application with a model for each task, that knows a feature of each type."""
    settings = settings_in(tmp_path_factory.mktemp("hostile"))
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        create_models(client)
        yield client


def create_models(client: TestClient) -> None:
    """A model for each task, with its name."""
    for task, learner in LEARNERS.items():
        types = {"n": "number", "c": "category", "b": "boolean", "t": "text"}
        body = {"name": task, "task": task, "learner": learner, "features": types}
        assert client.post("/v1/models", json=body).status_code == 201


def offset(client: TestClient, model: str = "binary") -> int:
    """How far a model has learned."""
    return int(client.get(f"/v1/models/{model}").json()["offset"])


def newest(client: TestClient, before: int, model: str = "binary") -> list[dict[str, Any]]:
    """The entries behind an offset."""
    found: list[dict[str, Any]] = client.get(f"/v1/models/{model}/log?after={before}").json()[
        "entries"
    ]
    return found


def predict(client: TestClient, raw: bytes, model: str = "binary") -> Response:
    """Ask with a body as it stands."""
    return client.post(f"/v1/models/{model}/predict", content=raw)


def feedback(client: TestClient, raw: bytes, model: str = "binary") -> Response:
    """Send feedback with a body as it stands."""
    return client.post(f"/v1/models/{model}/feedback", content=raw)


def places(reply: Response) -> list[str]:
    """What an answer says is wrong."""
    return [one["place"] for one in reply.json()["errors"]]


@pytest.mark.parametrize(
    "literal",
    [
        *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 500, "-" + "9" * 30),
        *("1e300", "1000000000000000.2", "1000000000000001", "18446744073709551616"),
        *('"3"', '"\\u0000"', "true", "false", "[]", "{}", '{"x":1}', "[NaN]", '""'),
    ],
)
def test_a_number_that_is_none_is_refused_by_its_name(models: TestClient, literal: str) -> None:
    before = offset(models)
    for body in (f'{{"features":{{"n":{literal}}}}}', f'{{"features":{{"ok":1,"n":{literal}}}}}'):
        reply = predict(models, body.encode())
        assert (reply.status_code, problem(reply)) == (422, "invalid_features")
        assert places(reply) == ["features.n"]
        labelled = f'{body[:-1]},"label":true}}'.encode()
        assert places(feedback(models, labelled)) == ["features.n"]
    assert offset(models) == before


@pytest.mark.parametrize(
    "literal",
    ["0", "0.0", "-0.0", "-0", "1", "1.0", "1e15", "-1e15", "1000000000000000", "5e-324", "null"],
)
def test_a_number_comes_back_as_it_was_sent(models: TestClient, literal: str) -> None:
    before = offset(models)
    body = f'{{"features":{{"n":{literal}}},"label":true}}'
    assert feedback(models, body.encode()).status_code == 200
    asked = predict(models, f'{{"features":{{"n":{literal}}},"id":"as {literal}"}}'.encode())
    assert asked.status_code == 200
    [entry] = newest(models, before)
    sent = json.loads(literal)
    sent = 0 if literal == "-0" else sent
    remembered = models.get(f"/v1/models/binary/predictions/as {literal}").json()
    for found in (entry, remembered):
        assert repr(found["features"]["n"]) == repr(sent)


def test_features_keep_their_order_and_the_last_of_two_of_a_name(models: TestClient) -> None:
    before = offset(models)
    body = b'{"features":{"z":1,"a":2,"M":3,"z":4.0,"10":5,"9":6},"label":true}'
    assert feedback(models, body).status_code == 200
    [entry] = newest(models, before)
    expected = {"z": 4.0, "a": 2, "M": 3, "10": 5, "9": 6}
    assert repr(entry["features"]) == repr(expected)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"null",
        b"{",
        b"[]",
        b"3",
        b'"text"',
        b"{'features': {}}",
        b'{"features":{"n":1}',
        b'{"features":{"n":1}} {}',
        b'{"features":{"n":01}}',
        b'{"features":{"n":1.}}',
        b'{"features":{"n":+1}}',
        b'{"features":{"n":0x10}}',
        b'\xef\xbb\xbf{"features":{"n":1}}',
        b'\xef\xbb\xbf{"features":{"n":NaN}}',
        '{"features":{"n":NaN}}'.encode("utf-16"),
        b'{"features":{"c":"\xff"}}',
        b'{"features":{"\xc3\x28":1}}',
        b'{"features":{"c":"\\ud800"}}',
        b'{"features":{"\\ud800":1}}',
        b'{"features":{"\\ud800":NaN}}',
        b'{"features":{"c":"\\udc00","n":NaN}}',
        b'{"features":{"c":"a\nb"}}',
        b'{"features":' * 3_000,
        b"[" * 100_000,
        b'{"features":{"n":' + b"[" * 100_000,
        b"features=1&id=2",
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_what_is_no_json_object_is_refused(models: TestClient, raw: bytes) -> None:
    for reply in (predict(models, raw), feedback(models, raw)):
        assert (reply.status_code, problem(reply)) == (422, "invalid_body")
    reply = models.post("/v1/models", content=raw)
    assert (reply.status_code, problem(reply)) == (422, "invalid_body")


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"{}", "body"),
        (b'{"features":{},"unknown":1}', "body"),
        (b'{"Features":{}}', "body"),
        (b'{"features":null}', "features"),
        (b'{"features":[]}', "features"),
        (b'{"features":"n"}', "features"),
        (b'{"features":0}', "features"),
        (b'{"features":NaN}', "features"),
        (b'{"features":{"n":1},"id":""}', "id"),
        (b'{"features":{"n":1},"id":7}', "id"),
        (b'{"features":{"n":1},"id":false}', "id"),
        (b'{"features":{"n":1},"id":["a"]}', "id"),
        (b'{"features":{"n":1},"id":{}}', "id"),
        (b'{"features":{"n":1},"id":"a\\u0000b"}', "id"),
        (b'{"features":{"n":1},"id":"a\\nb"}', "id"),
        (b'{"features":{"n":1},"id":"' + b"x" * 201 + b'"}', "id"),
        (b'{"features":{"c":1}}', "features.c"),
        (b'{"features":{"b":1}}', "features.b"),
        (b'{"features":{"b":"true"}}', "features.b"),
        (b'{"features":{"t":true}}', "features.t"),
    ],
)
def test_a_mistaken_question_is_refused_with_its_place(
    models: TestClient, raw: bytes, place: str
) -> None:
    reply = predict(models, raw)
    assert reply.status_code == 422
    assert places(reply) == [place]


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"{}", "prediction_id"),
        (b'{"label":true}', "prediction_id"),
        (b'{"prediction_id":"p","features":{"n":1},"label":true}', "prediction_id"),
        (b'{"prediction_id":null,"features":null,"label":true}', "prediction_id"),
        (b'{"prediction_id":"","label":true}', "prediction_id"),
        (b'{"prediction_id":7,"label":true}', "prediction_id"),
        (b'{"prediction_id":"' + b"x" * 201 + b'","label":true}', "prediction_id"),
        (b'{"features":{"n":1},"label":true,"id":""}', "id"),
        (b'{"features":[],"label":true}', "features"),
        (b'{"features":{"n":1}}', "label"),
        (b'{"features":{"n":1},"label":null}', "label"),
        (b'{"features":{"n":1},"label":NaN}', "label"),
        (b'{"features":{"n":1},"label":1e400}', "label"),
        (b'{"features":{"n":1},"label":"true"}', "label"),
        (b'{"features":{"n":1},"label":[true]}', "label"),
        (b'{"features":{"n":1},"label":true,"y":1}', "body"),
    ],
)
def test_mistaken_feedback_is_refused_with_its_place(
    models: TestClient, raw: bytes, place: str
) -> None:
    before = offset(models)
    reply = feedback(models, raw)
    assert reply.status_code == 422
    assert places(reply) == [place]
    assert offset(models) == before


TAKEN = {
    "binary": ["true", "false", "0", "1"],
    "multiclass": ['""', '"3"', '"\\u0000"', "0", "-7", "9223372036854775807"],
    "regression": ["0", "0.0", "-0.0", "3", "1e15", "18446744073709551616", "1" + "0" * 40],
    "anomaly": ["true", "false", "null"],
}


@pytest.mark.parametrize("task", TAKEN)
def test_a_label_comes_back_with_its_type(models: TestClient, task: str) -> None:
    before = offset(models, task)
    for literal in TAKEN[task]:
        body = f'{{"features":{{"n":1.5}},"label":{literal}}}'
        reply = feedback(models, body.encode(), task)
        assert reply.status_code == 200, (literal, reply.text)
    entries = newest(models, before, task)
    labels = [json.loads(literal) for literal in TAKEN[task]]
    expected = [bool(label) for label in labels] if task == "binary" else labels
    assert repr([e["label"] for e in entries if e["kind"] == "example"]) == repr(expected)


@pytest.mark.parametrize("task", TAKEN)
def test_a_label_of_another_task_is_refused(models: TestClient, task: str) -> None:
    wrong = {
        "binary": ["2", "0.0", '""', '"0"', "1e300", "NaN", "{}"],
        "multiclass": ["true", "1.0", "9223372036854775808", "Infinity", "[]", f'"{"x" * 1001}"'],
        "regression": ["false", '""', '"3"', "-Infinity", "1e301", "1" + "0" * 301, "1" * 500],
        "anomaly": ["0", "1", '"true"', "0.5", "NaN"],
    }
    for literal in wrong[task]:
        body = f'{{"features":{{"n":1.5}},"label":{literal}}}'
        reply = feedback(models, body.encode(), task)
        assert (reply.status_code, problem(reply)) == (422, "invalid_label"), literal
        assert places(reply) == ["label"]


IDS = [
    *(
        "a",
        " ",
        "0",
        "null",
        "a/b",
        "/",
        "//",
        "a%2Fb",
        "%",
        "%25",
        "?x=1&y",
        "#",
        ".",
        "..",
        "a b",
    ),
    *(
        "é",
        "\U0001f600",
        "\u6c34",
        '"quoted"',
        "\\",
        "x" * ID_MAX,
        "\U0001f600" * ID_MAX,
        "a.b;c,d+",
    ),
]


def test_any_printable_id_is_an_id_in_a_body_and_in_a_path(service: Headrace) -> None:
    service.create("m")
    connection = service.connect()
    for id in IDS:
        asked = connection.post("/v1/models/m/predict", {"features": {"n": 1}, "id": id})
        assert (asked.status, asked.body["id"]) == (200, id)
        shown = connection.get(f"/v1/models/m/predictions/{quote(id, safe='')}")
        assert (shown.status, shown.body["id"]) == (200, id)
        told = connection.post(
            "/v1/models/m/feedback", {"prediction_id": id, "label": True, "id": id}
        )
        assert (told.status, told.body["id"]) == (200, id)
    connection.close()


def test_numbers_of_features_are_bounded(models: TestClient) -> None:
    for count, status in ((9_999, 200), (10_000, 422), (10_001, 422)):
        features = {f"f{i}": i for i in range(count)}
        reply = predict(models, json.dumps({"features": features}).encode())
        assert reply.status_code == status
        assert status == 200 or places(reply) == ["features"]


def test_a_name_that_is_too_long_is_refused(models: TestClient) -> None:
    for value in ("1", "NaN", "[]"):
        body = f'{{"features":{{"{"n" * 300_000}":{value}}}}}'
        reply = predict(models, body.encode())
        assert places(reply) == [f"features.{'n' * 32}…"]
        assert len(reply.content) < 1_000


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("name", "", "name"),
        ("name", "a/b", "name"),
        ("name", "a\n", "name"),
        ("name", "x" * 129, "name"),
        ("name", ".hidden", "name"),
        ("name", 7, "name"),
        ("name", None, "name"),
        ("task", "ranking", "task"),
        ("task", None, "task"),
        ("learner", None, "learner"),
        ("learner", 7, "learner"),
        ("learner", "os.system", "learner"),
        ("learner", {"linear_model.LogisticRegression": {"l3": 1}}, "learner.l3"),
        ("learner", {"linear_model.LogisticRegression": {"l2": math.nan}}, "learner.l2"),
        ("learner", {"\ud800": 1}, "learner"),
        ("metrics", "Accuracy", "metrics"),
        ("metrics", ["Accuracy", "MAE"], "metrics[1]"),
        ("features", [], "features"),
        ("features", {"a": "numbers"}, "features.a"),
        ("features", {"x" * 257: "number"}, f"features.{'x' * 257}.[key]"),
        ("fallback", "guess", "fallback"),
        ("description", "\ud800", "description"),
        ("description", "x" * 10_001, "description"),
        ("unknown", 1, "unknown"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_mistaken_model_is_refused_with_its_place(
    models: TestClient, field: str, value: Any, place: str
) -> None:
    body = {"name": "m", "task": "binary", "learner": LINEAR, field: value}
    reply = models.post("/v1/models", content=json.dumps(body).encode())
    assert reply.status_code == 422, reply.text
    assert problem(reply) in ("invalid_body", "invalid_spec")
    assert places(reply)[0] == place
    assert len(models.get("/v1/models").json()["models"]) == len(LEARNERS)


def test_half_a_surrogate_pair_as_a_declared_feature_is_refused(models: TestClient) -> None:
    body = {"name": "m", "task": "binary", "learner": LINEAR, "features": {"\ud800": "number"}}
    reply = models.post("/v1/models", content=json.dumps(body).encode())
    assert (reply.status_code, problem(reply)) == (422, "invalid_body")
