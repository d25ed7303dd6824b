"""Past predictions: the state that answered is made again, and says the same to the last bit."""

import asyncio
import math
import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.json import encode
from msgspec.structs import replace
from starlette.testclient import TestClient

from app.entries import VersionRules
from app.errors import UnknownModel, UnknownPrediction
from app.reproduction import Reproduced, reproduce
from app.runtime import Runtime
from app.snapshots import snapshot
from app.tables import predictions
from app.turns import Act, Turns
from learners.explanation import explain
from learners.spec import build, complete
from tests.conftest import FULL
from tests.inside import both, create, in_loop, opened, predict, settings_in, teach, until
from tests.process import LINEAR
from tests.teaching import stream, teach_some

pytestmark = [pytest.mark.timeout(1_800 if FULL else 240), pytest.mark.usefixtures("backend")]

STEPS = 4_000 if FULL else 400
FOREST = {"forest.ARFClassifier": {"n_models": 3, "grace_period": 10}}
MODELS: dict[str, tuple[Any, VersionRules]] = {
    "linear": (LINEAR, VersionRules()),
    "tree": ({"tree.HoeffdingTreeClassifier": {"grace_period": 20}}, VersionRules()),
    "forest": (FOREST, VersionRules(serve="validated")),
}


async def again(runtime: Runtime, id: str, model: str = "m") -> Reproduced:
    """What the state that answered says."""
    return await reproduce(runtime, runtime.replica(model), id)


@in_loop
async def test_all_that_was_answered_is_answered_again(tmp_path: Path) -> None:
    settings, chance, asked = settings_in(tmp_path), random.Random(20_261_125), []
    examples = stream(1)
    async with both(settings) as runtimes:
        for name, (learner, rules) in MODELS.items():
            await create(runtimes[0], name, learner=learner, versions=rules)
        await until(lambda: len(runtimes[1].replicas()) == 3 and runtimes[1].is_restored())
        for n in range(STEPS):
            runtime, name = chance.choice(runtimes), chance.choice(list(MODELS))
            x, y = next(examples)
            if chance.random() < 0.4:
                asked.append((name, (await predict(runtime, x, f"p{n}", name)).id))
            elif chance.random() < 0.95:
                await teach(runtime, x, y, model=name)
            else:
                await turn(runtime, name, chance)
        for name, id in chance.sample(asked, 500 if FULL else 60):
            found = await again(chance.choice(runtimes), id, name)
            assert found.equal, (name, id, found)
    # After a restart, and where the versions' states are gone, too.
    async with opened(settings) as runtime:
        await runtime.database.write(
            lambda c: c.execute(sa.text("UPDATE versions SET state_id = NULL"))
        )
        for name, id in chance.sample(asked, 100 if FULL else 15):
            assert (await again(runtime, id, name)).equal


async def turn(runtime: Runtime, name: str, chance: random.Random) -> None:
    """Make a version, or go back to one, or let one answer, or freeze and go on."""
    replica, turns = runtime.replica(name), Turns(runtime)
    made = await snapshot(runtime, replica, "person", lambda _: None)
    number = chance.randint(1, made.number)
    how = chance.choice(("none", "since", "swap", "freeze", "nothing"))
    if how == "swap":
        await turns.swap(replica, number, Act())
    elif how == "freeze":
        await turns.freeze(replica, Act())
        x, y = next(stream(chance.randrange(100)))
        await teach(runtime, x, y, model=name)
        await turns.unfreeze(replica, chance.random() < 0.5, Act())
    elif how != "nothing":
        await turns.roll_back(replica, number, how, Act())  # type: ignore[arg-type]


@in_loop
async def test_what_the_fallback_answered_is_answered_again(tmp_path: Path) -> None:
    async with opened(settings_in(tmp_path)) as runtime:
        await create(runtime)
        for x in ({"x": 1}, {"x": "a text"}, {"x": 2}):
            before = await predict(runtime, {"y": "another text"})
            broken = teach(runtime, x, True)
            meanwhile = [await predict(runtime, {"x": 3}) for _ in range(3)]
            await asyncio.gather(broken, return_exceptions=True)
            meanwhile.append(await predict(runtime, {"x": 3}))
            for asked in (before, *meanwhile):
                assert (await again(runtime, asked.id)).equal


@in_loop
async def test_what_differs_is_said(tmp_path: Path) -> None:
    async with opened(settings_in(tmp_path)) as runtime:
        await create(runtime)
        asked = await predict(runtime, {"x": 1}, "p")
        await until(lambda: not runtime.predictions._unwritten)
        kept = await runtime.predictions.find(1, "p")
        assert kept is not None
        wrong = replace(
            kept, served=replace(kept.served, probabilities=[(False, 0.4), (True, 0.6)])
        )
        runtime.predictions._written.clear()
        await runtime.predictions._database.write(
            lambda c: c.execute(sa.update(predictions).values(body=encode(wrong)))
        )
        found = await again(runtime, asked.id)
        assert not found.equal
        assert found.again.served.probabilities == [(False, 0.5), (True, 0.5)]
        for unknown in ("", "q", "a\0b", "p" * 10_000):
            with pytest.raises(UnknownPrediction):
                await again(runtime, unknown)


def test_what_drove_an_answer_is_told(client: TestClient) -> None:
    learners = {
        "linear": LINEAR,
        "tree": {"tree.HoeffdingTreeClassifier": {"grace_period": 20}},
        "forest": FOREST,
    }
    told = {}
    for name, learner in learners.items():
        body = {"name": name, "task": "binary", "learner": learner}
        assert client.post("/v1/models", json=body).status_code == 201
        examples = stream(2)
        items = [{"features": x, "label": y} for x, y in (next(examples) for _ in range(500))]
        assert client.post(f"/v1/models/{name}/feedback/batch", json={"items": items}).is_success
        asked = {"features": {"a": 1.5, "b": 0, "new": 3}, "id": "visits/1 ü"}
        answer = client.post(f"/v1/models/{name}/predict", json=asked).json()
        reply = client.get(f"/v1/models/{name}/predictions/visits%2F1%20%C3%BC/reproduce")
        told[name] = reply.json()
        assert told[name]["equal"] is True
        assert told[name]["answer"] == told[name]["again"]
        assert told[name]["answer"]["probabilities"] == answer["probabilities"]
        assert told[name]["stamps"]["river"]
    parts, intercept = told["linear"]["contributions"], told["linear"]["intercept"]
    # A feature that was never learned has no part.
    assert parts.keys() == {"a", "b"} and parts["a"] > abs(parts["b"])
    assert math.exp(sum(parts.values()) + intercept) == pytest.approx(
        told["linear"]["answer"]["probabilities"]["true"]
        / told["linear"]["answer"]["probabilities"]["false"]
    )
    assert (
        told["tree"]["path"][0].startswith(("a ", "b ")) and told["tree"]["contributions"] is None
    )
    assert told["forest"]["path"] is told["forest"]["contributions"] is None
    reply = client.get("/v1/models/linear/predictions/nobody/reproduce")
    assert (reply.status_code, reply.json()["code"]) == (404, "unknown_prediction")


def test_a_path_has_the_branches_that_the_answer_passes() -> None:
    spec = complete({"tree.HoeffdingTreeClassifier": {"grace_period": 20}}, "binary", seed=1)
    assert explain(build(spec), {"a": 1}).path == []
    learner: Any = build(spec)
    examples = stream(3)
    for x, y in (next(examples) for _ in range(2_000)):
        learner.learn_one(x, y)
    for x, _ in (next(examples) for _ in range(50)):
        told = learner.debug_one(x).splitlines()
        path = explain(learner, x).path
        assert path and path == told[: len(path)] and "Class" in told[len(path)]
    path = explain(learner, {}).path
    assert path and all(each.endswith(" (missing)") for each in path)


@in_loop
async def test_a_model_that_is_deleted_meanwhile_answers_nothing(tmp_path: Path) -> None:
    async with opened(settings_in(tmp_path)) as runtime:
        replica = await create(runtime)
        await teach_some(runtime, 200)
        ids = [(await predict(runtime, {"a": n})).id for n in range(8)]
        asked = [asyncio.create_task(reproduce(runtime, replica, id)) for id in ids]
        await asyncio.sleep(0.02)
        await runtime.delete("m")
        for each in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(each, UnknownModel | UnknownPrediction) or each.equal  # type: ignore[union-attr]


def test_labels_of_mixed_types_are_explained_or_not_but_always_reproduced(
    client: TestClient,
) -> None:
    learner = {"tree.HoeffdingAdaptiveTreeClassifier": {"grace_period": 20, "delta": 0.3}}
    body = {"name": "mixed", "task": "multiclass", "learner": learner}
    assert client.post("/v1/models", json=body).status_code == 201
    labels, examples = ["a", 7, "c/d"], stream(4)
    items = [{"features": next(examples)[0], "label": labels[n % 3]} for n in range(300)]
    assert client.post("/v1/models/mixed/feedback/batch", json={"items": items}).is_success
    for n in range(20):
        sent = {"id": f"p{n}", "features": next(examples)[0]}
        assert client.post("/v1/models/mixed/predict", json=sent).is_success
        assert client.get(f"/v1/models/mixed/predictions/p{n}/reproduce").json()["equal"] is True
