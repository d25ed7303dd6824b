"""Leases: one holder at a time, whatever the clocks say, and no write by one that was replaced."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.database import Database
from app.leases import LEASE_SECONDS, Lease, LeaseLost, held
from app.tables import schedule
from tests.inside import Clock, in_loop, settings_in

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[list[Database]]:
    """The same file, opened as five processes would."""
    settings = settings_in(tmp_path)
    opened = [Database(settings) for _ in range(5)]
    yield opened
    for database in opened:
        database.close()


def leases(databases: list[Database], clock: Clock) -> list[Lease]:
    """The lease as each of them sees it."""
    return [Lease(each, "jobs", f"holder {n}", clock) for n, each in enumerate(databases)]


def note(connection: Connection) -> None:
    """A write that only the holder may do."""
    row = {"job": "x", "every_seconds": None, "paused": False, "ran_at": 0}
    connection.execute(sa.insert(schedule), row)


async def rows(database: Database) -> int:
    """How many such writes were kept."""
    query = sa.select(sa.func.count()).select_from(schedule)
    return await database.read(lambda c: c.execute(query).scalar_one())


@in_loop
async def test_of_many_who_want_it_at_once_one_has_it(databases: list[Database]) -> None:
    clock = Clock()
    many = leases(databases, clock)
    last, token = None, 0
    for _ in range(5):
        taken = await asyncio.gather(*(lease.take() for lease in many))
        assert sum(taken) == 1
        [winner] = [lease for lease in many if lease.token]
        # Who has it again, and nobody had it meanwhile, simply holds it for longer.
        token += winner is not last
        last = winner
        assert winner.token == token
        clock.advance(LEASE_SECONDS + 1)


@in_loop
async def test_it_is_held_for_longer_with_the_same_token(databases: list[Database]) -> None:
    clock = Clock()
    first, second, *_ = leases(databases, clock)
    for _ in range(5):
        assert await first.take()
        assert not await second.take()
        assert (first.token, second.token) == (1, 0)
        clock.advance(LEASE_SECONDS - 1)
    # Nobody took it meanwhile: late, and still his.
    clock.advance(LEASE_SECONDS)
    assert await first.take()
    assert first.token == 1


@in_loop
async def test_what_is_not_held_for_longer_is_taken_by_another(databases: list[Database]) -> None:
    clock = Clock()
    first, second, *_ = leases(databases, clock)
    assert await first.take()
    clock.advance(LEASE_SECONDS - 0.001)
    assert not await second.take()
    clock.advance(0.001)
    assert await second.take()
    assert second.token == 2
    assert not await first.take()
    assert first.token == 0


@in_loop
async def test_what_is_released_is_free_at_once(databases: list[Database]) -> None:
    clock = Clock()
    first, second, *_ = leases(databases, clock)
    assert await first.take()
    await first.release()
    assert await second.take()
    # Who holds it no longer cannot release what another holds.
    await first.release()
    assert not await first.take()


@in_loop
async def test_who_was_replaced_writes_nothing(databases: list[Database]) -> None:
    clock = Clock()
    first, second, *_ = leases(databases, clock)
    assert await first.take()
    clock.advance(LEASE_SECONDS)
    assert await second.take()

    def outdated(connection: Connection) -> None:
        note(connection)
        first.check(connection)

    with pytest.raises(LeaseLost):
        await databases[0].write(outdated)
    assert await rows(databases[0]) == 0

    def current(connection: Connection) -> None:
        second.check(connection)
        note(connection)

    await databases[1].write(current)
    assert await rows(databases[0]) == 1


@in_loop
async def test_who_has_never_held_it_writes_nothing(databases: list[Database]) -> None:
    lease, *_ = leases(databases, Clock())
    with pytest.raises(LeaseLost):
        await databases[0].write(lease.check)


@in_loop
async def test_a_clock_that_was_set_back_keeps_nobody_out(databases: list[Database]) -> None:
    clock = Clock()
    first, second, *_ = leases(databases, clock)
    assert await first.take()
    clock.advance(-3_600)
    assert await second.take()
    with pytest.raises(LeaseLost):
        await databases[0].write(first.check)


@in_loop
async def test_it_is_told_who_holds_it(databases: list[Database]) -> None:
    clock = Clock()
    lease, *_ = leases(databases, clock)
    assert await databases[1].read(lambda c: held(c, "jobs")) is None
    assert await lease.take()
    found = await databases[1].read(lambda c: held(c, "jobs"))
    assert found == ("holder 0", 1, clock() + LEASE_SECONDS * 1_000_000)


@in_loop
async def test_leases_of_other_names_are_others(databases: list[Database]) -> None:
    clock = Clock()
    one = Lease(databases[0], "one", "a", clock)
    other = Lease(databases[1], "other", "b", clock)
    assert await one.take()
    assert await other.take()
