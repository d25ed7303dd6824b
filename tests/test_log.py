"""The log: ordered, gapless, durable, idempotent; the same suite for every implementation.

The implementations are the databases.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.database import Database
from app.errors import AlreadyLabelled, LogUnavailable, Overloaded, UnknownModel
from app.log import Draft, Log, Receipt, Row
from app.registry import Registry
from app.settings import Settings
from app.tables import models
from tests.databases import blank
from tests.inside import in_loop, until, wanted

WRITERS = ("a", "b", "c")
WRITTEN = 60


@pytest.fixture
def settings(backend: str, tmp_path: Path) -> Settings:
    """Settings with a log of the test's own, for each implementation."""
    return Settings(database_url=blank(tmp_path), database_busy_ms=60_000)


class Opened(Log):
    """An open log, its database, and all that it delivered, batch by batch."""

    def __init__(self, settings: Settings) -> None:
        self.database = Database(settings)
        super().__init__(self.database, settings)
        self.delivered: list[list[Row]] = []

    async def model(self, name: str = "m") -> int:
        """The id of a new model, whose log holds its creation."""
        created = await Registry(self.database, 100).create(wanted(name), f"created {name}", 0)
        return created.id

    async def all(self, model_id: int) -> list[Row]:
        """A model's whole log but its creation."""
        return await self.read(model_id, 1, 1_000_000)


@asynccontextmanager
async def opened(settings: Settings, **more: int) -> AsyncIterator[Opened]:
    """An open log, closed at the end."""
    log = Opened(settings.model_copy(update=more))

    def deliver(rows: Sequence[Row]) -> None:
        log.delivered.append(list(rows))

    log.open(deliver)
    try:
        yield log
    finally:
        await log.close()
        log.database.close()


def draft(model_id: int, id: str, prediction_id: str | None = None, body: bytes = b"{}") -> Draft:
    """An entry to be appended."""
    return Draft(model_id, "example", id, prediction_id, 7, body)


async def append_all(log: Log, drafts: Sequence[Draft]) -> list[Receipt | BaseException]:
    """Append at once; what each was answered, in order."""
    appends = (log.append(one) for one in drafts)
    return await asyncio.gather(*appends, return_exceptions=True)


@in_loop
async def test_entries_stand_one_behind_the_other_from_offset_two(settings: Settings) -> None:
    async with opened(settings) as log:
        model = await log.model()
        receipts = [await log.append(draft(model, f"e{i}")) for i in range(5)]
        assert receipts == [Receipt(offset, False) for offset in range(2, 7)]
        assert [(row.offset, row.id) for row in await log.all(model)] == [
            (offset, f"e{offset - 2}") for offset in range(2, 7)
        ]


@in_loop
async def test_an_entry_is_read_as_it_was_appended(settings: Settings) -> None:
    body = bytes(range(256))
    async with opened(settings) as log:
        model = await log.model()
        await log.append(Draft(model, "some kind", "ï d", "prédiction", 2**60, body))
        [row] = await log.all(model)
        assert row == Row(model, 2, "some kind", "ï d", "prédiction", 2**60, body)
        assert log.delivered == [[row]]


@in_loop
async def test_a_log_is_read_from_any_offset_in_any_portion(settings: Settings) -> None:
    async with opened(settings) as log:
        model = await log.model()
        await append_all(log, [draft(model, f"e{i}") for i in range(9)])
        assert [row.offset for row in await log.read(model, 0, 3)] == [1, 2, 3]
        assert [row.offset for row in await log.read(model, 3, 100)] == list(range(4, 11))
        assert await log.read(model, 10, 100) == []
        assert await log.read(model, 2**62, 1) == []
        assert await log.read(model + 1, 0, 100) == []


@in_loop
async def test_the_same_id_again_is_answered_as_the_first_time(settings: Settings) -> None:
    async with opened(settings) as log:
        model = await log.model()
        assert await log.append(draft(model, "a", body=b"1")) == Receipt(2, False)
        await log.append(draft(model, "b"))
        assert await log.append(draft(model, "a", body=b"2")) == Receipt(2, True)
        assert [row.body for row in await log.all(model)] == [b"1", b"{}"]
    async with opened(settings) as log:
        assert await log.append(draft(model, "a")) == Receipt(2, True)
        assert log.delivered == [[]]


@in_loop
async def test_duplicates_within_one_batch_stand_in_the_log_once(settings: Settings) -> None:
    async with opened(settings) as log:
        model = await log.model()
        receipts = await append_all(log, [draft(model, "a")] * 3 + [draft(model, "b")])
        assert receipts == [
            Receipt(2, False),
            Receipt(2, True),
            Receipt(2, True),
            Receipt(3, False),
        ]
        assert [row.id for row in await log.all(model)] == ["a", "b"]


@in_loop
async def test_a_prediction_is_labelled_once(settings: Settings) -> None:
    async with opened(settings) as log:
        model, other = await log.model(), await log.model("other")
        await log.append(draft(model, "a", "p"))
        with pytest.raises(AlreadyLabelled, match=r"'p' has its label, at offset 2"):
            await log.append(draft(model, "b", "p"))
        assert await log.append(draft(model, "a", "p")) == Receipt(2, True)
        assert await log.append(draft(other, "b", "p")) == Receipt(2, False)
        assert await log.append(draft(model, "c", "q")) == Receipt(3, False)
        [labelled] = await log.labels_of(model, "p")
        assert (labelled.offset, labelled.id) == (2, "a")
        assert await log.labels_of(model, "unknown") == []
        assert await log.labelled([(model, "p"), (other, "x")]) == {(model, "p")}


@in_loop
async def test_a_label_follows_the_one_that_was_read_or_is_not_appended(settings: Settings) -> None:
    async with opened(settings) as log:
        model = await log.model()
        with pytest.raises(AlreadyLabelled):
            await log.append(draft(model, "a", "p")._replace(follows=2))
        await log.append(draft(model, "a", "p"))
        assert await log.append(draft(model, "b", "p")._replace(follows=2)) == Receipt(3, False)
        with pytest.raises(AlreadyLabelled):
            await log.append(draft(model, "c", "p")._replace(follows=2))
        both = [draft(model, id, "p")._replace(follows=3) for id in ("d", "e")]
        first, second = await append_all(log, both)
        assert first == Receipt(4, False)
        assert isinstance(second, AlreadyLabelled)
        assert [row.id for row in await log.labels_of(model, "p")] == ["a", "b", "d"]


@in_loop
async def test_of_two_labels_within_one_batch_the_first_stands(settings: Settings) -> None:
    async with opened(settings) as log:
        model = await log.model()
        drafts = [draft(model, "a", "p"), draft(model, "b", "p"), draft(model, "a", "p")]
        first, second, third = await append_all(log, drafts)
        assert (first, third) == (Receipt(2, False), Receipt(2, True))
        assert isinstance(second, AlreadyLabelled)
        assert [row.id for row in await log.all(model)] == ["a"]


@in_loop
async def test_a_batch_holds_entries_of_many_models(settings: Settings) -> None:
    async with opened(settings) as log:
        models = [await log.model(f"m{i}") for i in range(3)]
        drafts = [draft(models[i % 3], f"e{i}") for i in range(30)]
        receipts = await append_all(log, drafts)
        assert receipts == [Receipt(2 + i // 3, False) for i in range(30)]
        assert await log.heads() == dict.fromkeys(models, 11)
        for k, model in enumerate(models):
            assert [row.id for row in await log.all(model)] == [f"e{i}" for i in range(k, 30, 3)]


@in_loop
async def test_an_unknown_model_is_refused_and_no_other_entry_with_it(settings: Settings) -> None:
    async with opened(settings) as log:
        model = await log.model()
        drafts = [draft(model, "a"), draft(999, "b"), draft(model, "c")]
        first, unknown, third = await append_all(log, drafts)
        assert (first, third) == (Receipt(2, False), Receipt(3, False))
        assert isinstance(unknown, UnknownModel)
        assert await log.read(999, 0, 9) == []


@in_loop
async def test_appends_that_meet_are_made_durable_together(settings: Settings) -> None:
    async with opened(settings) as log:
        model = await log.model()
        await append_all(log, [draft(model, f"e{i}") for i in range(400)])
        assert len(log.delivered) <= 2
        assert [row.offset for batch in log.delivered for row in batch] == list(range(2, 402))


@in_loop
async def test_a_batch_is_no_larger_than_its_setting(settings: Settings) -> None:
    async with opened(settings, append_batch_max=16) as log:
        model = await log.model()
        await append_all(log, [draft(model, f"e{i}") for i in range(100)])
        assert [len(batch) for batch in log.delivered] == [16] * 6 + [4]


@in_loop
async def test_what_is_committed_is_delivered_before_it_is_answered(settings: Settings) -> None:
    async with opened(settings) as log:
        model = await log.model()

        async def appended(id: str) -> bool:
            receipt = await log.append(draft(model, id))
            return receipt.offset in [row.offset for batch in log.delivered for row in batch]

        assert all(await asyncio.gather(*(appended(f"e{i}") for i in range(50))))


@in_loop
async def test_over_a_full_queue_nothing_is_taken(settings: Settings) -> None:
    async with opened(settings, append_queue_max=10) as log:
        model = await log.model()
        outcomes = await append_all(log, [draft(model, f"e{i}") for i in range(30)])
        taken = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
        assert (len(taken), len(refused)) == (10, 20)
        assert len(await log.all(model)) == 10
        assert await log.append(draft(model, "e29")) == Receipt(12, False)


@in_loop
async def test_closing_commits_what_waits_and_takes_nothing_more(settings: Settings) -> None:
    async with opened(settings, append_batch_max=8) as log:
        model = await log.model()
        waiting = [asyncio.create_task(log.append(draft(model, f"e{i}"))) for i in range(50)]
        await asyncio.sleep(0)
        await log.close()
        receipts = await asyncio.gather(*waiting)
        assert [receipt.offset for receipt in receipts] == list(range(2, 52))
        with pytest.raises(Overloaded):
            await log.append(draft(model, "late"))
        assert len(await log.all(model)) == 50


@in_loop
async def test_whoever_no_longer_waits_has_appended_all_the_same(settings: Settings) -> None:
    async with opened(settings) as log:
        model = await log.model()
        gone = asyncio.create_task(log.append(draft(model, "gone")))
        await asyncio.sleep(0)
        gone.cancel()
        assert await log.append(draft(model, "next")) == Receipt(3, False)
        assert [row.id for row in await log.all(model)] == ["gone", "next"]


@in_loop
async def test_who_waits_too_long_is_told_that_the_outcome_is_unknown(settings: Settings) -> None:
    async with opened(settings) as log:
        model = await log.model()
        log._seconds_max = 0.05
        with log.database.transaction() as connection:
            connection.execute(sa.update(models).values(head=models.c.head))
            with pytest.raises(LogUnavailable, match="with the same id"):
                await log.append(draft(model, "a"))
        await until(lambda: bool(log.delivered))
        assert await log.append(draft(model, "a")) == Receipt(2, True)


def start_writer(url: str, model_id: int, name: str) -> subprocess.Popen[str]:
    """A process that writes once it is told to."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.log_writer", url, str(model_id), name, str(WRITTEN)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@in_loop
async def test_competing_writers_leave_no_gap_and_a_reader_that_tails_skips_nothing(
    settings: Settings,
) -> None:
    total = (len(WRITERS) + 1) * WRITTEN
    async with opened(settings) as log:
        model = await log.model()
        writers = [start_writer(settings.database_url, model, name) for name in WRITERS]
        for process in writers:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        for process in writers:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        seen: list[Row] = []
        async with asyncio.timeout(60):
            while len(seen) < total:
                seen += await log.read(model, 1 + len(seen), 100)
        told = [await asyncio.to_thread(process.communicate) for process in writers]
    assert [row.offset for row in seen] == list(range(2, total + 2))
    stands = {row.id: row.offset for row in seen}
    assert len(stands) == total
    answered = [answer for out, _ in told for answer in json.loads(out)]
    assert len(answered) == 2 * len(WRITERS) * WRITTEN
    assert all(stands[id] == offset for id, offset, _ in answered)
    first = [id for id, _, duplicate in answered if not duplicate]
    assert sorted(first) == sorted(stands)
