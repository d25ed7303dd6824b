"""Two hosts, one PostgreSQL server: one is cut off from it for a while, under everything at once.

What is cut off cannot acknowledge feedback, answers predictions from memory and says so, leaves the
pool, and comes back by itself with all that it missed.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import fleet
from tests.conftest import FULL
from tests.databases import Server
from tests.hosts import Host
from tests.process import Headrace, until

pytestmark = pytest.mark.timeout(1_800 if FULL else 300)

SECONDS = 600.0 if FULL else 25.0
CUT_SECONDS = 30.0 if FULL else 12.0


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Two hosts."""
    with ExitStack() as stack:
        found = []
        for _ in range(2):
            found.append(Host())
            stack.callback(found[-1].remove)
        yield found


@pytest.fixture
def servers(hosts: list[Host], tmp_path: Path) -> Iterator[list[Headrace]]:
    """A service on each host, on the one database of this machine."""
    with ExitStack() as stack:
        database = Server(",".join(host.database.near for host in hosts))
        stack.callback(database.remove)
        database.start()
        found = []
        for n, host in enumerate(hosts):
            url = f"postgresql://headrace@{host.database.near}:{database.port}/postgres"
            jobs = "none" if n else "beside"
            server = Headrace(tmp_path, {"HEADRACE_DATABASE_URL": url, "HEADRACE_JOBS": jobs})
            server.url = database.url.render_as_string(hide_password=False)
            server.address, server.before = host.clients.far, host.before
            server.arguments = ["--host", "0.0.0.0"]
            stack.callback(server.kill)
            found.append(server.start())
        yield found


def test_who_is_cut_off_refuses_feedback_and_catches_up(
    hosts: list[Host], servers: list[Headrace]
) -> None:
    here, there = servers
    with fleet.busy(servers, [here], SECONDS):
        time.sleep(3)
        hosts[1].database.cut()
        began = time.monotonic()
        reply = there.post("/v1/models/linear/feedback", {"features": {"a": 1}, "label": True})
        assert reply.status == 503 and reply.headers["retry-after"], reply
        assert time.monotonic() - began < 20, "who waits is told soon"
        until(lambda: "degraded" in warned(there) and not is_ready(there), 20)
        while time.monotonic() - began < CUT_SECONDS:
            assert "degraded" in warned(there) and not is_ready(there)
            time.sleep(0.1)
        hosts[1].database.mend()
        until(lambda: "degraded" not in warned(there) and is_ready(there), 60)


def warned(server: Headrace) -> list[str]:
    """What is warned of in an answer, which must be one."""
    reply = server.post("/v1/models/linear/predict", {"features": {"a": 1}})
    assert reply.status == 200, reply
    return [warning["code"] for warning in reply.body.get("warnings", [])]


def is_ready(server: Headrace) -> bool:
    """Whether it says that it is."""
    return server.get("/readyz").status == 200
