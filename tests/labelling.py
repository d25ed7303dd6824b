"""A model over HTTP, and what its log says of labels."""

import time
from collections.abc import Callable
from typing import Any

from httpx2 import Response
from starlette.testclient import TestClient

from tests.process import LINEAR

LEARNERS: dict[str, Any] = {
    "binary": LINEAR,
    "multiclass": "naive_bayes.GaussianNB",
    "regression": ["preprocessing.StandardScaler", "linear_model.LinearRegression"],
    "anomaly": "anomaly.HalfSpaceTrees",
}
METRICS = {"binary": ["Accuracy"], "multiclass": ["Accuracy"], "regression": ["MAE"]}
PASSED: dict[str, Any] = {"wait_seconds": 0.001}
"""Rules by which each label is late."""


class Model:
    """A model over HTTP."""

    def __init__(self, client: TestClient, task: str = "binary", **labels: Any) -> None:
        self.client = client
        body: dict[str, Any] = {"name": "m", "task": task, "labels": labels}
        body["learner"] = LEARNERS[task]
        self.created = client.post("/v1/models", json=body | {"metrics": METRICS.get(task)})

    def predict(self, id: str, **features: Any) -> Any:
        """Ask; a moment later each label is late where the wait is short."""
        body = {"id": id, "features": features or {"a": 1.5}}
        reply = self.client.post("/v1/models/m/predict", json=body)
        assert reply.status_code == 200, reply.text
        time.sleep(0.005)
        return reply.json()

    def label(self, prediction_id: str, label: Any, id: str) -> Response:
        """Label a prediction."""
        body = {"prediction_id": prediction_id, "label": label, "id": id}
        return self.client.post("/v1/models/m/feedback", json=body)

    def labelled(self, prediction_id: str, label: Any, id: str) -> Any:
        """Label a prediction, which must be taken."""
        reply = self.label(prediction_id, label, id)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def log(self) -> list[Any]:
        """What stands behind the creation."""
        found = self.client.get("/v1/models/m/log?after=1").json()["entries"]
        assert isinstance(found, list)
        return found

    def metrics(self) -> Any:
        """Quality and counts."""
        return self.client.get("/v1/models/m/metrics").json()

    def counts(self) -> dict[str, int]:
        """The counts of labels that are not zero."""
        return {name: n for name, n in self.metrics()["labels"].items() if n}

    def standing(self, prediction_id: str) -> tuple[Any, str | None, str | None]:
        """Of a prediction its label, whose it is, and by which feedback."""
        found = self.client.get(f"/v1/models/m/predictions/{prediction_id}").json()
        return found["label"], found["label_origin"], found["feedback_id"]

    def settled(self, **counts: int) -> None:
        """Wait until the job has run, and these are the counts."""
        eventually(lambda: self.counts() == counts, self.counts)


def eventually(holds: Callable[[], bool], shown: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, shown()
        time.sleep(0.02)


def flags(entry: Any) -> dict[str, Any]:
    """What an entry of the log says of its label."""
    names = ("kind", "label", "origin", "late", "early", "learned", "replaced", "previous")
    found = {name: entry[name] for name in names if entry.get(name) is not None}
    return found | {"has_features": "features" in entry and entry["features"] is not None}


GIVEN = {"kind": "example", "origin": "given", "learned": True, "has_features": True}
IN_TIME = {**GIVEN, "late": False, "early": False}
LATE = {**GIVEN, "late": True, "early": False}
DEFAULT = {**IN_TIME, "origin": "default"}
CORRECTED = {"kind": "correction", "late": False, "has_features": False, "replaced": "given"}
REPLACED = {"kind": "correction", "late": True, "replaced": "default"}
