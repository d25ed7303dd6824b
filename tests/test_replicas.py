"""Several processes, one model: killed at random while all write, they agree to the last bit.

Each is a server of its own on one database. Clients send whatever they have to whichever server
they reach, an operator swaps and rolls back, and servers are killed and begun again.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import fleet
from tests.conftest import FULL
from tests.process import Headrace

pytestmark = [pytest.mark.timeout(3_600 if FULL else 300), pytest.mark.usefixtures("backend")]

SERVERS = 4 if FULL else 3
SECONDS = 600.0 if FULL else 15.0


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Headrace]]:
    """Servers on one database, the first with the jobs beside it."""
    with ExitStack() as stack:
        found = [
            Headrace(tmp_path, {"HEADRACE_JOBS": "none" if n else "beside"}) for n in range(SERVERS)
        ]
        for server in found:
            stack.callback(server.kill)
            server.start()
        yield found


def test_killed_at_random_they_agree_and_nothing_is_lost(servers: list[Headrace]) -> None:
    with fleet.busy(servers, servers, SECONDS):
        pass
