"""Many models in one service, and one model with a long log: all come back after a restart.

How fast is measured by `benchmarks/replay.py`; here it is recorded beside the test, and what is
asserted is that the answers are right and that memory does not grow with the log.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from river import linear_model, preprocessing

from benchmarks.replay import FEATURES, MODEL, replay, river_seconds, rows, write_log
from tests.conftest import FULL
from tests.process import Connection, Headrace, headrace

pytestmark = pytest.mark.timeout(3_600 if FULL else 600)

MODELS = 1_000 if FULL else 100
ENTRIES = 1_000_000 if FULL else 30_000
GROWTH_MIB_MAX = 64.0


def test_many_models_in_one_service_come_back_after_a_restart(tmp_path: Path) -> None:
    names = [f"model-{n:04}" for n in range(MODELS)]
    with headrace(tmp_path) as service:
        connection = service.connect()
        for n, name in enumerate(names):
            body = {"name": name, "task": "regression", "learner": "linear_model.LinearRegression"}
            assert connection.post("/v1/models", body).status == 201
            for x in (1.0, 2.0):
                example = {"features": {"x": x}, "label": x * n}
                assert connection.post(f"/v1/models/{name}/feedback", example).status == 200
        before = answers(connection, names)
        connection.close()
        service.kill()
        service.start()
        connection = service.connect()
        assert connection.get("/readyz").body["models"] == MODELS
        assert answers(connection, names) == before
        assert len(set(before)) == MODELS
        assert listed(connection) == names
        connection.close()


def answers(connection: Connection, names: list[str]) -> list[float]:
    """What each model predicts."""
    found = []
    for name in names:
        reply = connection.post(f"/v1/models/{name}/predict", {"features": {"x": 3.0}})
        assert (reply.status, reply.body["offset"]) == (200, 3), reply
        found.append(reply.body["prediction"])
    return found


def listed(connection: Connection) -> list[str]:
    """The names of all models, page by page."""
    found: list[str] = []
    while True:
        after = f"&after={found[-1]}" if found else ""
        page = connection.get(f"/v1/models?limit=33{after}")
        assert page.status == 200, page
        found += [model["name"] for model in page.body["models"]]
        if page.body["next"] is None:
            return found


def test_a_long_log_is_restored_exactly_and_in_bounded_memory(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    services = {}
    for name, count in (("empty", 0), ("short", ENTRIES // 100), ("long", ENTRIES)):
        (tmp_path / name).mkdir()
        services[name] = Headrace(tmp_path / name)
        write_log(services[name], count)
    done = {name: replay(service) for name, service in services.items()}
    rate = ENTRIES / (done["long"].seconds - done["empty"].seconds)
    record_property("replay_entries_per_second", round(rate))
    record_property("river_rows_per_second", round(ENTRIES / river_seconds(ENTRIES)))
    assert done["long"].peak_mib - done["short"].peak_mib < GROWTH_MIB_MAX
    check_answers(services["long"])


def check_answers(service: Headrace) -> None:
    """The restored model answers to the last bit as River does that learned the same rows."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for x, y in rows(ENTRIES):
        model.learn_one(x, y)
    service.start()
    try:
        connection = service.connect()
        for n in range(20):
            probe = {name: n / 7 - place for place, name in enumerate(FEATURES)}
            reply = connection.post(f"/v1/models/{MODEL}/predict", {"features": probe})
            shares = model.predict_proba_one(probe)
            assert reply.body["offset"] == ENTRIES + 1
            assert reply.body["probabilities"] == {"true": shares[True], "false": shares[False]}
        connection.close()
    finally:
        service.kill()
