"""The disk says that a sync failed: the first, the second, … until a round of calls has none left.

What SQLite wrote before the failed sync may turn up again after a crash, so the outcome is unknown
to the caller; sending again with the same id settles it.
"""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FULL
from tests.faults.disk import Disk, on_disk
from tests.faults.ledger import Ledger, numbers, state_of
from tests.process import Headrace

pytestmark = pytest.mark.timeout(3_600 if FULL else 600)

CALLS = 40 if FULL else 6
"""Feedback per round; in the full form they reach into the checkpoints of the write-ahead log."""

STOPPED = (0, -signal.SIGTERM)
"""The server ends by the signal that it was sent, once all is written."""


def test_whichever_sync_fails_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    with on_disk(tmp_path, HEADRACE_TAIL_POLL_SECONDS="0.1") as (service, disk):
        service.start().create("m")
        ledger, n, has_failed = Ledger("m"), 0, True
        while has_failed:
            n += 1
            disk.fail_sync(n)
            label_all(service, ledger, n)
            has_failed = disk.has_failed()
            ledger.settle(service)
            ledger.check(service)
            assert service.get("/readyz").status == 200
            if n % 5 == 0:
                crash_unsettled(service, ledger, disk, n)
        assert n > CALLS / 2
        before = state_of(service, "m")
        assert service.stop() in STOPPED
        service.start()
        ledger.check(service)
        assert state_of(service, "m") == before


def label_all(service: Headrace, ledger: Ledger, n: int) -> None:
    """A round of calls, each sent once, whatever is answered."""
    chance = random.Random(n)
    connection = service.connect()
    for call in range(CALLS):
        features = numbers(chance)
        made = connection.post("/v1/models/m/predict", {"features": features})
        assert made.status == 200, made
        if call % 2:
            body = {"prediction_id": made.body["id"]}
        else:
            body = {"features": features}
        ledger.send(connection, f"{n}/{call}", label=chance.random() < 0.5, **body)
    connection.close()


def crash_unsettled(service: Headrace, ledger: Ledger, disk: Disk, n: int) -> None:
    """Crash right after a sync failed: its entry may turn up again, once, or not."""
    connection = service.connect()
    disk.fail_sync(1)
    for call in range(3):
        features = numbers(random.Random(call))
        ledger.send(connection, f"{n}/last-{call}", features=features, label=True)
        if len(ledger.acknowledged) < len(ledger.sent):
            break
    connection.close()
    service.kill()
    disk.has_failed()
    service.start()
    ledger.check(service)
    ledger.settle(service)
    ledger.check(service)


def test_a_sync_that_fails_at_the_start_refuses_it_clearly_and_the_next_start_works(
    tmp_path: Path,
) -> None:
    with on_disk(tmp_path) as (service, disk):
        n, has_failed = 0, True
        while has_failed and n < (20 if FULL else 2):
            n += 1
            for part in tmp_path.glob("headrace.db*"):
                part.unlink()
            disk.fail_sync(n)
            migrated = subprocess.run(
                [sys.executable, "-m", "app", "migrate"],
                env=service.environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
            )
            has_failed = disk.has_failed()
            assert migrated.returncode in ((0, 2) if has_failed else (0,)), migrated.stderr
            if migrated.returncode:
                assert "cannot be opened" in migrated.stderr
                assert "Traceback" not in migrated.stderr
            service.start().create("m")
            assert service.stop() in STOPPED
