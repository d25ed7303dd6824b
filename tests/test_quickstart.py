"""The quick start, run as it is read: its commands in order, against a real service."""

import re
import subprocess
import sys

from tests.commands import environment_of, url_of
from tests.pages import PAGES, blocks
from tests.process import Headrace

PAGE = PAGES["docs/quickstart.md"]
ELSEWHERE = ("make serve", ". .venv/bin/activate")
"""What the page runs to come to where this test begins."""


def test_the_quick_starts_commands_run_and_print_what_it_says(service: Headrace) -> None:
    printed, compared = "", 0
    for language, text in blocks(PAGE, "sh", "text"):
        if text.strip() in ELSEWHERE:
            continue
        if language == "text":
            assert text.strip() in printed, f"{text}\n\nis not in\n\n{printed}"
            compared += 1
            continue
        script = f'headrace() {{ "{sys.executable}" -m app "$@"; }}\n{text}'
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=service.folder,
            env=environment_of(HEADRACE_URL=url_of(service)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        printed = done.stdout + done.stderr
        for share in re.findall(r"^Accuracy +([\d.]+)", done.stdout, re.MULTILINE):
            assert float(share) > 0.8
    assert compared >= 5
    assert service.get("/v1/models").body["models"] == []
