"""The commands about versions and jobs, on a real service; and the client's calls behind them."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from app.client import AsyncClient, Client, UnknownRun, UnknownVersion
from app.client.operating import AsyncOperating, Operating
from tests.commands import ask
from tests.process import Headrace


def taught(service: Headrace, model: str, count: int = 60) -> None:
    """A model that has learned."""
    service.create(model)
    connection = service.connect()
    for n in range(count):
        body = {"features": {"a": n % 7, "b": -n % 5}, "label": n % 7 > 3}
        assert connection.post(f"/v1/models/{model}/feedback", body).status == 200
    connection.close()


def eventually(holds: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What holds, once it does."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_from_a_version_to_a_rollback_and_back(lasting: Headrace) -> None:
    taught(lasting, "cli")
    assert "There is no version yet" in ask(lasting, "versions", "cli").stderr
    eventually(lambda: lasting.get("/v1/schedule").body["holder"])
    made = json.loads(ask(lasting, "versions", "cli", "--new", "--json").stdout)
    assert (made["number"], made["offset"]) == (1, 61)
    asked = ask(lasting, "rollback", "cli", "1", "--yes", "--reason", "a try").stdout
    assert asked == "cli goes on from version 1, as of offset 62.\n"
    shown = ask(lasting, "versions", "cli", "1").stdout
    assert "serving" in shown and "rolled_back at offset 62 by person: a try" in shown
    listed = ask(lasting, "versions", "cli").stdout
    assert "VERSION" in listed and "serving" in listed
    frozen = ask(lasting, "freeze", "cli", "--reason", "odd").stdout
    assert "frozen: odd" in frozen
    assert "goes on from version 1" in ask(lasting, "unfreeze", "cli", "--learn").stdout
    swapped = json.loads(ask(lasting, "swap", "cli", "1", "--yes", "--json").stdout)
    assert (swapped["model"], swapped["version"]) == ("cli", 1)


def test_runs_and_the_schedule(lasting: Headrace) -> None:
    taught(lasting, "runs", 5)
    eventually(lambda: lasting.get("/v1/schedule").body["holder"])
    ran = ask(lasting, "schedule", "snapshot", "--now", "--model", "runs").stdout
    assert "version 1" in ran and "done" in ran
    found = json.loads(ask(lasting, "jobs", "list", "--job", "snapshot", "--json").stdout)
    id = str(next(run["id"] for run in found if run["model"] == "runs"))
    assert "version 1" in ask(lasting, "jobs", "show", id, "--wait").stdout
    assert "done" in ask(lasting, "jobs", "cancel", id).stdout
    paused = ask(lasting, "schedule", "sweep_deleted", "--pause", "--every", "77").stdout
    assert "77 s" in paused and "true" in paused.lower()
    assert "settle_labels" in ask(lasting, "schedule").stdout
    assert "JOB" in ask(lasting, "jobs", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["rollback", "cli", "999", "--yes"], 1, "There is no version 999"),
        (["rollback", "nobody", "--yes"], 1, "There is no model named 'nobody'"),
        (["rollback", "cli", "0"], 2, "0 is not in the range"),
        (["rollback", "cli", "1"], 2, "--yes"),
        (["swap", "cli"], 2, "Missing argument"),
        (["unfreeze", "cli"], 2, "--learn"),
        (["versions", "cli", "999"], 1, "There is no version 999"),
        (["jobs", "show", "999999"], 1, "There is no run 999999"),
        (["schedule", "--now"], 2, "which one?"),
        (["schedule", "nothing"], 2, "There is no job named 'nothing'"),
        (["schedule", "nothing", "--pause"], 1, "There is no job named 'nothing'"),
    ],
)
def test_what_cannot_be_is_said(
    lasting: Headrace, arguments: list[str], status: int, said: str
) -> None:
    if not any(m["name"] == "cli" for m in lasting.get("/v1/models").body["models"]):
        taught(lasting, "cli")
    done = ask(lasting, *arguments, status=status)
    assert said in done.stderr, done.stderr


def test_every_call_of_the_client(lasting: Headrace, url: str) -> None:
    taught(lasting, "called")
    eventually(lambda: lasting.get("/v1/schedule").body["holder"])
    with Client(url) as client:
        made = client.snapshot("called")
        assert client.version("called", made.number).offset == made.offset == 61
        run = client.validate("called", made.number)
        eventually(lambda: client.run(run.id).ended_at)
        checked = client.version("called", made.number)
        assert checked.status == "valid" and checked.checks is not None
        assert client.rollback("called", reason="because").version == made.number
        assert client.swap("called", made.number).version == made.number
        assert client.freeze("called", "wait").frozen == "wait"
        assert client.unfreeze("called", learn=False).frozen is None
        pinned = client.change_version("called", made.number, pinned=True, note="good")
        assert (pinned.pinned, pinned.note) == (True, "good")
        changed = client.change_model("called", description="new", budget={"bytes": 10_000_000})
        assert changed.description == "new" and changed.budget is not None
        assert [version.number for version in client.versions("called")] == [made.number]
        runs = list(client.runs(job="snapshot", model="called"))
        assert [one.did for one in runs] == ["version 1"]
        assert client.cancel(runs[0].id) == runs[0]
        assert client.schedule().holder
        assert client.change_schedule("sweep_deleted", paused=False).paused is False
        asked = client.run_job("expire_predictions")
        assert eventually(lambda: client.run(asked.id).ended_at)
        with pytest.raises(UnknownVersion):
            client.version("called", 99)
        with pytest.raises(UnknownRun):
            client.run(10**9)


def test_from_asyncio_the_same(lasting: Headrace, url: str) -> None:
    def public(kind: type[Any]) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(Operating) == public(AsyncOperating)
    taught(lasting, "async")
    eventually(lambda: lasting.get("/v1/schedule").body["holder"])

    async def work() -> None:
        async with AsyncClient(url) as client:
            made = await client.snapshot("async")
            assert (await client.rollback("async", made.number)).version == made.number
            assert [v.number async for v in client.versions("async")] == [made.number]
            assert [r.did async for r in client.runs(model="async", job="snapshot")] == [
                "version 1"
            ]
            assert (await client.schedule()).jobs

    asyncio.run(work())
