"""The `headrace` command, run to its end as a real process."""

import os
import subprocess
import sys
from pathlib import Path

from tests.process import Headrace

COMMAND = [sys.executable, "-m", "app"]

Done = subprocess.CompletedProcess[str]


def run(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run a command in a folder, without a terminal or any setting but those given."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment_of(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def ask(service: Headrace, *arguments: str, status: int = 0) -> Done:
    """Run a command that talks to a service; it must end so."""
    done = run(service.folder, *arguments, HEADRACE_URL=url_of(service))
    assert done.returncode == status, f"{arguments} ended {done.returncode}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def url_of(service: Headrace) -> str:
    """Where a service is."""
    return f"http://127.0.0.1:{service.port}"


def environment_of(**given: str) -> dict[str, str]:
    """This process's environment, with these settings and no others."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONHASHSEED" and not name.startswith("HEADRACE_")
    }
    return {**kept, **given}
