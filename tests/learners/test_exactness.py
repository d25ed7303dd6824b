"""Every component that a spec may name learns exactly the same, wherever and however it is run."""

import json
import os
import subprocess
import sys

import pytest

from tests.learners.roster import WAYS, Case, all_cases

CASES = [pytest.param(case, id=case.id) for case in all_cases()]


@pytest.fixture(scope="module")
def digests() -> dict[str, dict[str, list[str]]]:
    """The digests of three processes: two under one hash seed, one under another."""
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.learners.roster", *ways],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, hash_seed, ways in (
            ("here", "11", WAYS),
            ("elsewhere", "11", ("plain",)),
            ("other hash seed", "12", ("plain",)),
        )
    }
    return {name: json.loads(process.communicate()[0]) for name, process in processes.items()}


@pytest.mark.parametrize("case", CASES)
def test_another_process_answers_the_same(
    case: Case, digests: dict[str, dict[str, list[str]]]
) -> None:
    assert digests["elsewhere"][case.id][0] == digests["here"][case.id][0]


@pytest.mark.parametrize("case", CASES)
def test_another_hash_seed_answers_the_same(
    case: Case, digests: dict[str, dict[str, list[str]]]
) -> None:
    assert digests["other hash seed"][case.id][0] == digests["here"][case.id][0]


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("case", CASES)
def test_neither_being_kept_as_bytes_nor_predictions_change_later_answers(
    case: Case, way: str, digests: dict[str, dict[str, list[str]]]
) -> None:
    plain, *others = digests["here"][case.id]
    assert others[WAYS.index(way) - 1] == plain
