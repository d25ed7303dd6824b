"""Several workers on one socket: begun again when they die, stopped together, replaced in turn."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.process import Headrace, until

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("backend")]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Headrace]:
    """Two workers, and the jobs."""
    found = Headrace(tmp_path)
    found.arguments = ["--workers", "2"]
    try:
        yield found.start()
    finally:
        found.stop()


def children(pid: int) -> dict[int, str]:
    """The processes that a process began, and that live: what each was called with."""
    found = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if not folder.name.isdecimal():
                continue
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(folder.name)] = command
    return found


def workers(service: Headrace) -> list[int]:
    """The process numbers of the workers."""
    return [pid for pid, command in children(service.pid).items() if " serve " in command]


def taught(service: Headrace, n: int) -> int:
    """Teach the model, sent again while a worker that had the connection dies; the offset."""
    while True:
        with suppress(OSError, HTTPException):
            body = {"features": {"x": n}, "label": n % 2 == 0, "id": f"e{n}"}
            reply = service.post("/v1/models/m/feedback", body)
            assert reply.status == 200, reply
            return int(reply.body["offset"])


def test_a_worker_that_dies_is_begun_again_and_nothing_is_lost(service: Headrace) -> None:
    service.create("m")
    until(lambda: len(workers(service)) == 2)
    offsets = []
    for n in range(60):
        if n in (20, 40):
            os.kill(workers(service)[0], signal.SIGKILL)
        offsets.append(taught(service, n))
    assert sorted(set(offsets)) == list(range(2, 62))
    until(lambda: len(workers(service)) == 2)
    assert sum("jobs --beside" in command for command in children(service.pid).values()) == 1


def test_a_stop_ends_all_of_them_in_peace(service: Headrace) -> None:
    service.create("m")
    last = taught(service, 1)
    until(lambda: len(children(service.pid)) == 3)
    pids = list(children(service.pid))
    assert service.stop() == -signal.SIGTERM
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert "killed" not in service.log.read_text()
    service.start()
    until(lambda: service.get("/v1/models/m").body.get("offset") == last)


def test_when_the_supervisor_is_killed_none_lives_on(service: Headrace) -> None:
    until(lambda: len(children(service.pid)) == 3)
    pids = list(children(service.pid))
    service.kill()
    until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])


def test_workers_are_replaced_one_after_the_other(service: Headrace) -> None:
    service.create("m")
    until(lambda: len(workers(service)) == 2)
    before = set(workers(service))
    os.kill(service.pid, signal.SIGHUP)
    n = 0
    while before & (now := set(workers(service))):
        # One that stops has its successor beside it already.
        assert len(now) >= 2
        taught(service, n)
        n += 1
    service.wait("/readyz")
    shown = service.get("/v1/models/m/log?limit=1000").body["entries"]
    assert [entry["offset"] for entry in shown[:1000]] == list(range(1, min(n + 1, 1_000) + 1))


def test_workers_that_are_replaced_while_they_start_leave_in_peace(service: Headrace) -> None:
    service.stop()
    service.start(ready=False)
    for _ in range(3):
        os.kill(service.pid, signal.SIGHUP)
        time.sleep(0.3)
    until(lambda: len(workers(service)) == 2)
    service.wait("/readyz")
    assert service.stop() == -signal.SIGTERM
    assert "Traceback" not in service.log.read_text()
