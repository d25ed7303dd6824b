"""`headrace load` while its service goes away, comes back, or the load is interrupted."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.process import Headrace
from tests.test_load import HEAD, MANY, TREE, entries, fruit, loaded, started, write


def learned_of(service: Headrace, model: str) -> int:
    """How many entries a model has learned."""
    return int(service.get(f"/v1/models/{model}").body["offset"]) - 1


def begun(service: Headrace, model: str, file: Path, *more: str) -> "subprocess.Popen[str]":
    """A load that has learned some rows."""
    process = started(service, model, str(file), "--label", "is_big", *more)
    while learned_of(service, model) < 500:
        assert process.poll() is None
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("more", [[], ["--predict-first"]], ids=["feedback", "predict first"])
def test_a_service_that_comes_back_is_waited_for(
    service: Headrace, tmp_path: Path, more: list[str]
) -> None:
    count = MANY if not more else MANY // 4
    file = write(tmp_path / "f.csv", HEAD, fruit(count))
    service.create("back", learner=TREE)
    process = begun(service, "back", file, *more)
    service.kill()
    assert process.stderr is not None
    said = iter(process.stderr.readline, "")
    line = next(line for line in said if "waiting" in line)
    assert f"waiting for the service at http://127.0.0.1:{service.port}, up to 300 s" in line
    service.start()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert f"{count:,} rows: " in out and "0 refused" in out
    log = entries(service, "back")
    assert sorted(e["features"]["size"] for e in log) == sorted(row[0] for row in fruit(count))
    if not more:
        assert [e["features"]["size"] for e in log] == [row[0] for row in fruit(count)]


def test_an_interrupted_load_counts_every_row_that_was_learned(
    service: Headrace, tmp_path: Path
) -> None:
    file = write(tmp_path / "f.csv", HEAD, fruit(MANY))
    service.create("counted", learner=TREE)
    process = begun(service, "counted", file)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    [told] = re.findall(r"^([\d,]+) rows: \1 learned, 0 refused$", said, re.MULTILINE)
    assert 500 <= int(told.replace(",", "")) == learned_of(service, "counted") < MANY
    assert loaded(service, "counted", str(file), "--label", "is_big")["learned"] > 0


def test_a_load_that_waits_is_interrupted_at_once(service: Headrace, tmp_path: Path) -> None:
    file = write(tmp_path / "f.csv", HEAD, fruit(MANY))
    service.create("waits", learner=TREE)
    process = begun(service, "waits", file)
    service.kill()
    assert process.stderr is not None
    assert any("waiting" in line for line in iter(process.stderr.readline, ""))
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and time.monotonic() - began < 5
    assert "The same command again goes on" in said
