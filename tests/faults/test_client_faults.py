"""Clients behind a network that drops, delays and cuts: nothing is learned twice, nothing is lost.

The service is not told which tries were answered, nor the client which were taken. Only the ids say
it, so the log is what is compared.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from app.client import AsyncClient, Client, Feedback, HeadraceError, Prediction, ServiceUnreachable
from tests.faults.proxy import Fault, Proxy, chances, proxy
from tests.process import Headrace, headrace

TIMEOUT = 0.3
"""How long a client waits for an answer that was dropped, in seconds."""

SINGLE = 400
MANY = 4_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headrace]:
    """One service for all of this file."""
    with headrace(tmp_path_factory.mktemp("service")) as service:
        yield service


def learned(service: Headrace, model: str) -> list[str]:
    """The ids of what a model learned, in order, read past the proxy."""
    with Client(f"http://127.0.0.1:{service.port}") as direct:
        entries = [entry for entry in direct.log(model, after=1) if entry.kind == "example"]
        assert direct.metrics(model).counts.examples == len(entries)
    return [entry.id for entry in entries]


def url_of(between: Proxy) -> str:
    """Where the service is reached through a proxy."""
    return f"http://127.0.0.1:{between.port}"


def check_faults(between: Proxy, least: int) -> None:
    """The network did break answers, in each way."""
    assert min(between.happened[fault] for fault in ("drop", "delay", "cut")) >= least


def test_calls_one_by_one(service: Headrace) -> None:
    service.create("single")
    duplicates = 0
    with proxy(service.port, chances(1)) as between, Client(url_of(between), timeout=TIMEOUT) as c:
        for n in range(SINGLE):
            asked = c.predict("single", {"x": n})
            duplicates += c.feedback(
                "single", n % 3 == 0, prediction_id=asked.id, id=f"{n}"
            ).duplicate
    check_faults(between, 5)
    assert duplicates, "some were taken though their answers were lost"
    assert learned(service, "single") == [f"{n}" for n in range(SINGLE)]


def test_calls_from_many_tasks(service: Headrace) -> None:
    service.create("tasks")

    async def one(client: AsyncClient, n: int) -> None:
        asked = await client.predict("tasks", {"x": n})
        await client.feedback("tasks", n % 3 == 0, prediction_id=asked.id, id=f"{n}")

    async def run() -> None:
        with proxy(service.port, chances(2)) as between:
            async with AsyncClient(url_of(between), timeout=2 * TIMEOUT) as client:
                for start in range(0, SINGLE, 20):
                    await asyncio.gather(*(one(client, n) for n in range(start, start + 20)))
        check_faults(between, 5)

    asyncio.run(run())
    assert sorted(learned(service, "tasks"), key=int) == [f"{n}" for n in range(SINGLE)]


def items(kind: type[Any]) -> Iterator[dict[str, Any]]:
    """Many items without ids; the features say which one it is."""
    for n in range(MANY):
        yield {"features": {"n": n}} | ({"label": n % 3 == 0} if kind is Feedback else {})


def check_many(service: Headrace, model: str, results: list[Feedback | HeadraceError]) -> None:
    """Each item was learned once, in order, and is where its answer says."""
    taken = [result for result in results if isinstance(result, Feedback)]
    assert len(taken) == len(results) == MANY
    assert [result.id for result in taken] == learned(service, model)
    with Client(f"http://127.0.0.1:{service.port}") as direct:
        entries = list(direct.log(model, after=1))
    assert [entry.offset for entry in entries] == [result.offset for result in taken]
    assert [entry.fields["features"]["n"] for entry in entries] == list(range(MANY))


def test_many_items(service: Headrace) -> None:
    service.create("many")
    with proxy(service.port, chances(3, 0.2)) as between:
        with Client(url_of(between), timeout=TIMEOUT) as client:
            asked = list(client.predict_many("many", items(Prediction), chunk=100))
            assert [type(result) for result in asked] == [Prediction] * MANY
            taught = list(client.feedback_many("many", items(Feedback), chunk=100))
    check_faults(between, 3)
    check_many(service, "many", taught)


def test_many_items_from_a_task(service: Headrace) -> None:
    service.create("many-async")

    async def source() -> AsyncIterator[dict[str, Any]]:
        for item in items(Feedback):
            yield item

    async def run() -> list[Feedback | HeadraceError]:
        with proxy(service.port, chances(4, 0.2)) as between:
            async with AsyncClient(url_of(between), timeout=TIMEOUT) as client:
                asked = client.predict_many("many-async", items(Prediction), chunk=100)
                assert [type(r) async for r in asked] == [Prediction] * MANY
                taught = client.feedback_many("many-async", source(), chunk=100)
                results = [result async for result in taught]
        check_faults(between, 3)
        return results

    check_many(service, "many-async", asyncio.run(run()))


def test_errors_are_seen_when_tries_are_spent(service: Headrace) -> None:
    service.create("spent")
    seen = 0
    with proxy(service.port, chances(5)) as between:
        with Client(url_of(between), timeout=TIMEOUT, retries=0) as client:
            for n in range(200):
                try:
                    client.feedback("spent", n % 3 == 0, features={"x": n}, id=f"{n}")
                except ServiceUnreachable:
                    seen += 1
    broken = between.happened["drop"] + between.happened["cut"]
    assert 0 < seen <= broken
    # Every one of them was taken all the same: only the answers were lost.
    assert sorted(learned(service, "spent"), key=int) == [f"{n}" for n in range(200)]


def test_the_error_names_the_address_and_what_happened(service: Headrace) -> None:
    faults: tuple[Fault, ...] = ("cut", "drop")
    for fault in faults:
        with proxy(service.port, repeat(fault)) as between:
            with Client(url_of(between), timeout=TIMEOUT, retries=1) as client:
                with pytest.raises(ServiceUnreachable, match=f"{between.port} did not answer"):
                    client.model("none")
        assert between.happened[fault] >= 2


def test_a_model_whose_creation_was_not_answered_is_found(service: Headrace) -> None:
    learner = "linear_model.LogisticRegression"
    with proxy(service.port, ["cut"]) as between, Client(url_of(between)) as client:
        model = client.create_model("lost", "binary", learner, description="mine")
        assert model.description == "mine"
        assert between.happened["cut"] == 1


def test_a_model_of_somebody_else_is_not_taken_for_it(service: Headrace) -> None:
    learner = "linear_model.LogisticRegression"
    service.create("theirs", description="theirs")
    with proxy(service.port, ["cut"]) as between, Client(url_of(between)) as client:
        with pytest.raises(HeadraceError) as raised:
            client.create_model("theirs", "binary", learner, description="mine")
    assert raised.value.code == "model_exists"


def test_a_model_whose_deletion_was_not_answered_is_deleted(service: Headrace) -> None:
    service.create("gone")
    with proxy(service.port, ["cut"]) as between, Client(url_of(between)) as client:
        client.delete_model("gone")
        assert "gone" not in {model.name for model in client.models()}
        with pytest.raises(HeadraceError) as raised:
            client.delete_model("gone")
    assert raised.value.code == "unknown_model"


def test_creation_and_deletion_are_settled_from_a_task_too(service: Headrace) -> None:
    async def create(url: str) -> None:
        async with AsyncClient(url) as client:
            learner = "linear_model.LogisticRegression"
            assert (await client.create_model("task", "binary", learner)).offset == 1

    async def delete(url: str) -> None:
        async with AsyncClient(url) as client:
            await client.delete_model("task")

    for act in (create, delete):
        with proxy(service.port, ["cut"]) as between:
            asyncio.run(act(url_of(between)))
            assert between.happened["cut"] == 1


def test_a_service_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    with headrace(tmp_path) as service:
        service.create("m")
        with Client(f"http://127.0.0.1:{service.port}", retries=12) as client:
            results = client.feedback_many(
                "m", ({"features": {"n": n}, "label": True} for n in range(600)), chunk=100
            )
            first = [next(results) for _ in range(100)]
            service.kill()
            service.start(ready=False)
            rest = list(results)
        assert [type(result) for result in first + rest] == [Feedback] * 600
        assert learned(service, "m") == [r.id for r in first + rest if isinstance(r, Feedback)]
