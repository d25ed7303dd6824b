"""Read your writes anywhere: what one process was told, another knows before it answers."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from app.api.health import ready
from app.calls import PredictRequest
from app.client import Client
from app.errors import InvalidBody, InvalidFeatures, InvalidLabel, NotReady
from app.runtime import Runtime
from app.serving import Serving
from tests.inside import both, create, in_loop, knows, label, opened, predict, settings_in, teach
from tests.process import Headrace, headrace

pytestmark = pytest.mark.usefixtures("backend")


@in_loop
async def test_a_prediction_knows_what_it_is_to_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path, tail_poll_seconds=60)
    async with both(settings) as (one, other):
        await create(one)
        await knows(other)
        # No hint comes: asking for the offset is what makes the other look.
        monkeypatch.setattr(one.hints, "tell", lambda _: None)
        for n in range(5):
            receipt = await teach(one, {"x": n}, n % 2 == 0)
            assert other.replica("m").model.offset_applied < receipt.offset
            request = PredictRequest({"x": n}, min_offset=receipt.offset)
            answer = await Serving(other).predict("m", request)
            assert answer.offset == receipt.offset
            again = await Serving(one).predict("m", request)
            assert (again.probabilities, again.offset) == (answer.probabilities, answer.offset)


@in_loop
async def test_what_never_comes_is_waited_for_a_little(tmp_path: Path) -> None:
    async with opened(settings_in(tmp_path, min_offset_seconds_max=0.1)) as runtime:
        await create(runtime)
        serving, began = Serving(runtime), time.monotonic()
        with pytest.raises(NotReady, match="up to offset 1, and min_offset is 99"):
            await serving.predict("m", PredictRequest({"x": 1}, min_offset=99))
        many = [PredictRequest({"x": 1}, min_offset=99) for _ in range(1_000)]
        refused = await serving.predict_many("m", many)
        assert {type(each) for each in refused} == {NotReady}
        assert time.monotonic() - began < 30, "a thousand wait no longer than one"
        for fine in (None, 0, 1):
            await serving.predict("m", PredictRequest({"x": 1}, min_offset=fine))
        answers = await serving.predict_many(
            "m", [PredictRequest({"x": 1}, min_offset=offset) for offset in (1, 99, None)]
        )
        assert [type(answer).__name__ for answer in answers] == [
            "Prediction",
            "NotReady",
            "Prediction",
        ]


@pytest.mark.parametrize("wrong", [-1, True, "1", 1.0, 2**63, [1]])
@in_loop
async def test_what_is_no_offset_is_refused(wrong: Any, tmp_path: Path) -> None:
    async with opened(settings_in(tmp_path)) as runtime:
        await create(runtime)
        with pytest.raises(InvalidBody, match="min_offset"):
            await Serving(runtime).predict("m", PredictRequest({"x": 1}, min_offset=wrong))


@in_loop
async def test_what_one_process_predicted_another_labels(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with both(settings) as (one, other):
        await create(one)
        await knows(other)
        for n in range(20):
            asked = await predict(one, {"x": n})
            receipt = await label(other, asked.id, n % 2 == 0)
            await one.replica("m").applied(receipt.offset, 5)
        served = [r.replica("m").model.monitor.labelled for r in (one, other)]
        assert served == [20, 20]


def test_the_client_knows_what_it_was_told(tmp_path: Path) -> None:
    with headrace(tmp_path) as one, headrace(tmp_path) as other:
        one.create("m")
        other.wait("/readyz")
        with Client(one.url_http) as writer:
            while not serves(other, "m"):
                time.sleep(0.02)
            # One client of both: it labels at one, and asks at the other.
            with Client(other.url_http, consistent=True) as reader:
                for n in range(50):
                    receipt = writer.feedback("m", n % 2 == 0, features={"x": n})
                    reader._seen.note("m", receipt)
                    assert reader.predict("m", {"x": n}).offset >= receipt.offset
                [answer] = reader.predict_many("m", [{"features": {"x": 1}}])
                assert getattr(answer, "offset", 0) >= receipt.offset


def serves(service: Headrace, model: str) -> bool:
    """Whether a service serves a model."""
    return service.get(f"/v1/models/{model}").status == 200


@in_loop
async def test_who_is_behind_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(tmp_path, tail_poll_seconds=60, ready_lag_max=2)
    async with both(settings) as (one, other):
        await create(one)
        await knows(other)
        replica = other.replica("m")
        async with other.applier.holding(replica):
            for n in range(3):
                await teach(one, {"x": n}, True)
            await asyncio.sleep(0.2)
            await other.follow()
            assert Serving(other).lag("m") == 3
            with pytest.raises(NotReady, match="3 entries of the model 'm' still to apply"):
                await ready(other)
        await replica.applied(4, 5)
        assert Serving(other).lag("m") == 0
        assert (await ready(other)).status == "ready"


@in_loop
async def test_what_another_process_fixed_is_not_contradicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path, tail_poll_seconds=60)
    async with both(settings) as (one, other):
        for runtime in (one, other):
            monkeypatch.setattr(runtime.hints, "tell", lambda _: None)
        await create(one, "m", "multiclass", ["naive_bayes.GaussianNB"])
        await other.follow()
        await teach(one, {"x": 1, "y": 2}, "7")
        for features, label_, wrong in (
            ({"x": "a text"}, "7", InvalidFeatures),
            ({"x": True, "z": 1}, "7", InvalidFeatures),
            ({"x": 1}, 7, InvalidLabel),
        ):
            with pytest.raises(wrong):
                await teach(other, features, label_)
        asked = await predict(one, {"x": 1, "w": 1})
        await label(one, asked.id, "new")
        with pytest.raises(InvalidFeatures):
            await teach(other, {"w": "a text"}, "7")
        # What fixes something that nobody fixed before is taken, wherever it comes.
        for runtime, name in ((other, "v"), (one, "u"), (other, "t"), (other, "s"), (one, "r")):
            await teach(runtime, {name: 1}, name)
        for runtime in (one, other):
            await runtime.follow()
            assert runtime.replica("m").model.types == dict.fromkeys("xywvutsr", "number")


@in_loop
async def test_processes_that_fix_the_same_at_once_agree(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with both(settings) as (one, other):
        await create(one)
        await other.follow()
        values: list[Any] = [1, "a text", True]

        async def send(runtime: Runtime, n: int, value: Any) -> bool:
            try:
                await teach(runtime, {f"f{n}": value}, True)
            except InvalidFeatures:
                return False
            return True

        for n in range(30):
            pairs = [(runtime, value) for value in values for runtime in (one, other)]
            taken = await asyncio.gather(*(send(r, n, value) for r, value in pairs))
            kinds = {type(v) for (_, v), ok in zip(pairs, taken, strict=True) if ok}
            assert len(kinds) == 1, "one of them is the type, and whatever is another is refused"
        for runtime in (one, other):
            await runtime.follow()
        types = [runtime.replica("m").model.types for runtime in (one, other)]
        assert types[0] == types[1] and len(types[0]) == 30


@in_loop
async def test_what_another_process_has_just_answered_is_found(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, predictions_write_ms=100)
    async with both(settings) as (one, other):
        await create(one)
        await knows(other)
        for n in range(5):
            asked = await predict(one, {"x": n})
            assert await other.predictions.find(1, asked.id) is not None


@in_loop
async def test_a_model_that_another_process_has_just_created_is_served(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with both(settings) as (one, other):
        for n in range(20):
            await create(one, f"m{n}")
            await asyncio.sleep(n / 5_000)
            await Serving(other).predict(f"m{n}", PredictRequest({"x": 1}))
