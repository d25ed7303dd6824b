"""What the service answers over HTTP equals a bare River loop over the same stream, exactly.

One service holds a model for each combination of data set, learner and label delay. Every row is
asked by predict and labelled by feedback in the order of River's own evaluation; every answer, and
the metrics at the end, must equal River's with `==` and no tolerance. The delays of a learner are
driven at the same time, each on its own model, as a service's callers are.
"""

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import pytest

from app.labels import text_of
from learners.evaluation import (
    Row,
    Timed,
    asked_at,
    bare_loop,
    known_after,
    questions_and_answers,
    rows,
)
from tests.conftest import FULL
from tests.process import Connection, Headrace, headrace

SCALED = "preprocessing.StandardScaler"
# Trees that split early, so that a short stream grows some.
TREE = {"grace_period": 20, "delta": 0.01, "tau": 0.3}
FOREST = {"n_models": 3, **TREE}

CLASSIFIERS: dict[str, Any] = {
    "naive-bayes": "naive_bayes.GaussianNB",
    "tree": {"tree.HoeffdingTreeClassifier": TREE},
    "adaptive-tree": {"tree.HoeffdingAdaptiveTreeClassifier": TREE},
    "forest": {"forest.ARFClassifier": FOREST},
}
BINARY: dict[str, Any] = {
    "logistic": [SCALED, "linear_model.LogisticRegression"],
    "passive-aggressive": [SCALED, "linear_model.PAClassifier"],
    **CLASSIFIERS,
}
MULTICLASS: dict[str, Any] = {
    "softmax": [SCALED, "linear_model.SoftmaxRegression"],
    "one-vs-rest": [
        SCALED,
        {"multiclass.OneVsRestClassifier": {"classifier": "linear_model.PAClassifier"}},
    ],
    **CLASSIFIERS,
}
REGRESSION: dict[str, Any] = {
    "linear": [SCALED, "linear_model.LinearRegression"],
    "passive-aggressive": [SCALED, "linear_model.PARegressor"],
    "tree": {"tree.HoeffdingTreeRegressor": TREE},
    "adaptive-tree": {"tree.HoeffdingAdaptiveTreeRegressor": TREE},
    "forest": [SCALED, {"forest.ARFRegressor": FOREST}],
}
DATA: dict[str, tuple[str, dict[str, Any]]] = {
    "Phishing": ("binary", BINARY),
    "Bananas": ("binary", BINARY),
    "ImageSegments": ("multiclass", MULTICLASS),
    "TrumpApproval": ("regression", REGRESSION),
    "ChickWeights": ("regression", REGRESSION),
}
DELAYS = ("0", "1", "50", "random")
DELAY_MAX = 80

ROWS = 200
"""How many rows of a data set the short form takes; of a forest or an adaptive tree half of it."""


class Case(NamedTuple):
    """A combination; its name is the model's."""

    data: str
    learner: str
    delay: str

    @property
    def id(self) -> str:
        return f"{self.data}-{self.learner}-delay-{self.delay}"

    @property
    def stream(self) -> list[Row]:
        """The rows; under a random delay each with a label as late as its seed says."""
        count = None if FULL else ROWS // 2 if self.learner in ("forest", "adaptive-tree") else ROWS
        taken = _rows(self.data)[:count]
        if self.delay != "random":
            return taken
        draw = random.Random(self.id)
        return [
            (Timed(x, asked=i, known=i + draw.randint(0, DELAY_MAX)), y)
            for i, (x, y) in enumerate(taken)
        ]

    @property
    def lateness(self) -> dict[str, Any]:
        """The moment and delay by which River evaluates; for 0 each label follows its question."""
        if self.delay == "random":
            return {"moment": asked_at, "delay": known_after}
        return {} if self.delay == "0" else {"delay": int(self.delay)}


@cache
def _rows(data: str) -> list[Row]:
    return rows(data)


CASES = [
    Case(data, learner, delay)
    for data, (_, learners) in DATA.items()
    for learner in learners
    for delay in DELAYS
]


class Heard(NamedTuple):
    """What was answered to one row; probabilities in the order in which they were given."""

    prediction: Any
    probabilities: list[tuple[str, float]] | None


@pytest.fixture(scope="module")
def parity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headrace]:
    """One service for all models, with the hash seed of this process.

    Some learners' answers depend on how Python hashes strings.
    """
    seed = os.environ["PYTHONHASHSEED"]
    with headrace(tmp_path_factory.mktemp("parity"), PYTHONHASHSEED=seed) as service:
        yield service


@pytest.fixture
def connection(parity: Headrace) -> Iterator[Connection]:
    """A connection for the calls of one test."""
    connection = parity.connect()
    yield connection
    connection.close()


Driven = tuple[dict[str, Any], list[Heard]]


@pytest.fixture(scope="module")
def driven(parity: Headrace) -> Iterator[Callable[[Case], Driven]]:
    """Drives a case, and its siblings of other delays beside it: its model, and what was served."""
    begun: dict[Case, Future[Driven]] = {}
    with ThreadPoolExecutor(len(DELAYS)) as pool:

        def outcome(case: Case) -> Driven:
            if case not in begun:
                for delay in DELAYS:
                    sibling = case._replace(delay=delay)
                    begun[sibling] = pool.submit(drive_case, parity, sibling)
            return begun[case].result()

        yield outcome


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_answers_and_metrics_over_http_equal_a_bare_river_loop(
    driven: Callable[[Case], Driven], connection: Connection, case: Case
) -> None:
    model, served = driven(case)
    assert_parity(connection, model, case.stream, case.lateness, served)


@pytest.mark.parametrize("data", DATA)
def test_labels_sent_with_their_features_equal_a_bare_river_loop(
    parity: Headrace, connection: Connection, data: str
) -> None:
    task, learners = DATA[data]
    learner = next(iter(learners))
    model = parity.create(f"{data}-features", task, learners[learner]).body
    stream = Case(data, learner, "0").stream
    served: list[Heard] = []
    for x, y in stream:
        served.append(predict(connection, model["name"], x)[1])
        feedback(connection, model["name"], {"features": x, "label": y})
    assert_parity(connection, model, stream, {}, served)


@pytest.mark.parametrize(
    ("data", "metrics"),
    [
        ("Phishing", "Accuracy BalancedAccuracy Precision Recall F1 FBeta MCC CohenKappa"),
        ("Phishing", "GeometricMean Jaccard LogLoss ROCAUC RollingROCAUC CrossEntropy"),
        ("ImageSegments", "Accuracy MacroF1 MicroF1 WeightedF1 MacroPrecision MacroRecall"),
        ("ImageSegments", "WeightedJaccard BalancedAccuracy CohenKappa GeometricMean CrossEntropy"),
        ("TrumpApproval", "MAE MSE RMSE R2 MAPE SMAPE RMSLE"),
    ],
)
def test_every_metric_equals_rivers(
    parity: Headrace, connection: Connection, data: str, metrics: str
) -> None:
    task, learners = DATA[data]
    learner = next(iter(learners))
    named = [{"FBeta": {"beta": 2}} if name == "FBeta" else name for name in metrics.split()]
    name = f"{data}-{named[0]}"
    model = parity.create(name, task, learners[learner], metrics=named).body
    case = Case(data, learner, "50")
    served = drive(connection, name, case.stream, case.lateness)
    assert_parity(connection, model, case.stream, case.lateness, served)


def test_predictions_whose_labels_never_come_change_nothing(
    parity: Headrace, connection: Connection
) -> None:
    model = parity.create("Phishing-unlabelled", "binary", BINARY["logistic"]).body
    case = Case("Phishing", "logistic", "50")
    stream = case.stream
    asked: dict[int, str] = {}
    for turn in questions_and_answers(stream, **case.lateness):
        if turn.y is None:
            asked[turn.row], _ = predict(connection, model["name"], turn.x)
            predict(connection, model["name"], {**turn.x, "https": 7.5, "popup_window": None})
        else:
            body = {"prediction_id": asked[turn.row], "label": turn.y}
            feedback(connection, model["name"], body)
    assert connection.get(f"/v1/models/{model['name']}").body["metrics"] == bare_loop(
        stream, model["learner"], model["metric_specs"], **case.lateness
    )


def drive_case(parity: Headrace, case: Case) -> Driven:
    """Create the model of a case, and ask and label all its rows on a connection of its own."""
    task, learners = DATA[case.data]
    model = parity.create(case.id, task, learners[case.learner]).body
    connection = parity.connect()
    try:
        return model, drive(connection, case.id, case.stream, case.lateness)
    finally:
        connection.close()


def drive(
    connection: Connection, model: str, stream: list[Row], lateness: dict[str, Any]
) -> list[Heard]:
    """Ask and label every row in River's order; what was answered, in the order of the labels."""
    asked: dict[int, tuple[str, Heard]] = {}
    served: list[Heard] = []
    for turn in questions_and_answers(stream, **lateness):
        if turn.y is None:
            asked[turn.row] = predict(connection, model, turn.x)
        else:
            id, heard = asked.pop(turn.row)
            served.append(heard)
            feedback(connection, model, {"prediction_id": id, "label": turn.y})
    assert not asked
    return served


def predict(connection: Connection, model: str, x: dict[str, Any]) -> tuple[str, Heard]:
    """Ask; the prediction's id, and what was answered."""
    reply = connection.post(f"/v1/models/{model}/predict", {"features": x})
    assert reply.status == 200, reply
    codes = [warning["code"] for warning in reply.body.get("warnings", ())]
    assert set(codes) <= {"no_answer_yet"}, reply
    shares = reply.body.get("probabilities")
    heard = Heard(reply.body["prediction"], None if shares is None else list(shares.items()))
    return reply.body["id"], heard


def feedback(connection: Connection, model: str, body: dict[str, Any]) -> None:
    """Label, which must be learned."""
    reply = connection.post(f"/v1/models/{model}/feedback", body)
    assert reply.status == 200, reply
    assert not reply.body["duplicate"] and "warnings" not in reply.body, reply


def assert_parity(
    connection: Connection,
    model: dict[str, Any],
    stream: list[Row],
    lateness: dict[str, Any],
    served: list[Heard],
) -> None:
    """What was served, and the service's final metrics, are the bare loop's."""
    bare: list[Heard] = []

    def hear(answer: Any) -> None:
        shares = answer.probabilities
        pairs = [(text_of(label), share) for label, share in (shares or {}).items()]
        bare.append(Heard(answer.prediction, None if shares is None else pairs))

    figures = bare_loop(stream, model["learner"], model["metric_specs"], **lateness, each=hear)
    wants_shares = bool(bare) and bare[0].probabilities is not None
    for row, (mine, rivers) in enumerate(zip(served, bare, strict=True)):
        heard = mine if wants_shares else mine._replace(probabilities=None)
        assert heard == rivers, f"label {row} of {len(bare)}"
    final = connection.get(f"/v1/models/{model['name']}/metrics").body
    assert final["since_start"] == figures
    assert final["counts"]["examples"] == len(stream)
    assert final["counts"]["scored"] == sum(heard.prediction is not None for heard in bare)
