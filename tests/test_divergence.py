"""A process that answers otherwise than the others at the same offset restores itself."""

import logging
from pathlib import Path
from typing import Any

import pytest

from app import applier
from app.api.health import ready
from app.errors import NotReady
from app.runtime import Runtime
from tests.inside import answers, create, in_loop, opened, replayed, settings_in, teach, until

pytestmark = pytest.mark.usefixtures("backend")

PROBES: list[Any] = [{"x": x} for x in (-2.5, 0, 1, 100)]


async def teach_some(runtime: Runtime, begin: int, count: int) -> None:
    """Examples, numbered from `begin`."""
    for n in range(begin, begin + count):
        await teach(runtime, {"x": n % 7 - 3}, n % 7 > 3)


def spoil(runtime: Runtime) -> None:
    """Change a learner behind the back of its log, as a fault of the memory would."""
    learner = runtime.replica("m").learner
    learner._model["LogisticRegression"].intercept += 1.0


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let digests be compared at each tenth offset."""
    monkeypatch.setattr(applier, "DIGEST_EVERY", 10)


@in_loop
async def test_who_answers_otherwise_is_restored_from_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_in(tmp_path, tail_poll_seconds=0.05)
    async with opened(settings) as one, opened(settings) as two, opened(settings) as three:
        all_ = (one, two, three)
        for runtime in all_:
            runtime.workers.serves = True
        await create(one)
        await until(lambda: all(r.replicas() and r.is_restored() for r in all_))
        await teach_some(one, 0, 25)
        for runtime in all_:
            await runtime.replica("m").applied(26, 5)
            await runtime.workers.beat(runtime.replicas())
        assert not [r for r in all_ if await r.workers.outvoted(r.replicas())]
        spoil(two)
        with caplog.at_level(logging.ERROR):
            await teach_some(one, 25, 20)
            await until(lambda: "answers otherwise here" in caplog.text, 10)
            await until(lambda: all(r.replica("m").state == "ready" for r in all_), 10)
        await teach_some(one, 45, 20)
        expected = answers(replayed(one), PROBES)
        for runtime in all_:
            await runtime.replica("m").applied(66, 5)
            assert answers(runtime.replica("m").model, PROBES) == expected
        # Only the one that was wrong was restored.
        assert caplog.text.count("answers otherwise here") == 1


@in_loop
async def test_of_two_that_differ_both_ask_the_log_and_are_not_ready_meanwhile(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path, tail_poll_seconds=60)
    async with opened(settings) as one, opened(settings) as two:
        both = (one, two)
        for runtime in both:
            runtime.workers.serves = True
        await create(one)
        await until(lambda: all(r.replicas() and r.is_restored() for r in both))
        await teach_some(one, 0, 5)
        await two.replica("m").applied(6, 5)
        spoil(two)
        await teach_some(one, 5, 10)
        await two.replica("m").applied(16, 5)
        for runtime in both:
            await runtime.workers.beat(runtime.replicas())
        for runtime in both:
            assert await runtime.workers.outvoted(runtime.replicas()) == runtime.replicas()
            runtime.applier.restore_anew(runtime.replica("m"))
            with pytest.raises(NotReady, match="answered otherwise here"):
                await ready(runtime)
        await until(lambda: all(r.replica("m").state == "ready" for r in both), 10)
        for runtime in both:
            assert (await ready(runtime)).status == "ready"
            assert answers(runtime.replica("m").model, PROBES) == answers(replayed(one), PROBES)
