"""The command line: its help, its versions, and starts that are refused in one readable line."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.database import Database
from app.settings import Settings
from tests.process import headrace


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a folder and without any setting but those given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONHASHSEED" and not name.startswith("HEADRACE_")
    }
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def url(path: Path) -> str:
    """The setting that names a file."""
    return f"sqlite:///{path}"


def test_help_shows_the_commands_with_examples(tmp_path: Path) -> None:
    for option in ("-h", "--help"):
        shown = run(tmp_path, option)
        assert shown.returncode == 0
        assert "Examples:" in shown.stdout
        assert {"serve", "migrate"} <= set(shown.stdout.split())
    assert "--port" in run(tmp_path, "serve", "--help").stdout
    assert list(tmp_path.iterdir()) == []


def test_versions_are_those_of_headrace_and_what_it_stands_on(tmp_path: Path) -> None:
    shown = run(tmp_path, "--version")
    assert shown.returncode == 0
    for name in ("headrace", "Python", "river", "numpy", "fastapi", "sqlalchemy", "SQLite"):
        assert name in shown.stdout
    assert "without the WAL-reset bug" in shown.stdout


@pytest.mark.parametrize("arguments", [["serf"], ["serve", "--port", "65536"], ["serve", "extra"]])
def test_a_mistaken_command_is_refused_with_the_usage(tmp_path: Path, arguments: list[str]) -> None:
    refused = run(tmp_path, *arguments)
    assert refused.returncode == 2
    assert "Usage:" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_migrate_makes_the_database_and_again_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "h.db"
    for _ in range(2):
        done = run(tmp_path, "migrate", HEADRACE_DATABASE_URL=url(file))
        assert (done.returncode, done.stdout) == (0, "The database has schema 0001.\n")
    assert file.stat().st_size > 0


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("HEADRACE_MODELS_MAX", "0", "HEADRACE_MODELS_MAX"),
        ("HEADRACE_DATABASE_URL", "no url", "is no database URL"),
        ("HEADRACE_DATABASE_URL", "postgresql://h/d", "only SQLite files are served"),
        ("HEADRACE_DATABASE_URL", "sqlite://", "only SQLite files are served"),
        ("HEADRACE_DATABASE_URL", "sqlite:////nowhere/at/all/h.db", "cannot be opened"),
    ],
)
def test_a_wrong_setting_refuses_the_start_in_one_line(
    tmp_path: Path, setting: str, value: str, said: str
) -> None:
    refused = run(tmp_path, "serve", **{setting: value})
    assert refused.returncode == 2
    [line] = [line for line in refused.stderr.splitlines() if line.startswith("headrace: ")]
    assert said in line
    assert "Traceback" not in refused.stderr


def test_a_file_that_is_no_database_refuses_the_start(tmp_path: Path) -> None:
    file = tmp_path / "h.db"
    file.write_bytes(b"not a database at all" * 100)
    refused = run(tmp_path, "serve", HEADRACE_DATABASE_URL=url(file))
    assert refused.returncode == 2
    assert "cannot be opened" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_database_of_a_newer_headrace_refuses_the_start(tmp_path: Path) -> None:
    file = tmp_path / "h.db"
    database = Database(Settings(database_url=url(file)))
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    refused = run(tmp_path, "serve", HEADRACE_DATABASE_URL=url(file))
    assert refused.returncode == 2
    assert "has schema 9999" in refused.stderr


def test_a_port_that_is_taken_ends_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = run(
            tmp_path, "serve", "--port", port, HEADRACE_DATABASE_URL=url(tmp_path / "h.db")
        )
    assert refused.returncode == 2
    assert f"127.0.0.1:{port}: Address already in use. Stop" in refused.stderr


def test_a_setting_that_is_none_is_told_with_the_nearest(tmp_path: Path) -> None:
    with headrace(tmp_path, HEADRACE_MODEL_MAX="3", HEADRACE_MODELS_MAX="5") as service:
        told = service.log.read_text()
        assert "HEADRACE_MODEL_MAX is no setting, and has no effect; did you mean" in told
        assert "HEADRACE_MODELS_MAX?" in told


def test_serve_hashes_strings_as_its_installation_does_whatever_it_was_given(
    tmp_path: Path,
) -> None:
    migrated = run(tmp_path, "migrate", HEADRACE_DATABASE_URL=url(tmp_path / "headrace.db"))
    assert migrated.returncode == 0
    with headrace(tmp_path, PYTHONHASHSEED="random") as service:
        assert service.get("/readyz").status == 200
