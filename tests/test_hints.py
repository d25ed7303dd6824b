"""Hints: what one process commits, others apply at once; without any hint a little later."""

import asyncio
import os
from pathlib import Path

import pytest

from app.errors import LogUnavailable
from app.hints import Datagrams
from tests.databases import psql
from tests.inside import both, create, in_loop, knows, opened, settings_in, teach, until

pytestmark = pytest.mark.usefixtures("backend")

NEVER = 60.0
"""A poll so slow that only hints tell."""


@in_loop
async def test_what_one_does_the_other_knows_without_polling(tmp_path: Path) -> None:
    async with both(settings_in(tmp_path, tail_poll_seconds=NEVER)) as (one, other):
        # Whoever listens only now has heard of nothing before.
        await asyncio.sleep(0.3)
        await create(one)
        await knows(other)
        for n in range(20):
            receipt = await teach(one, {"x": n}, n % 2 == 0)
            await other.replica("m").applied(receipt.offset, 5)
            back = await teach(other, {"x": n}, n % 2 == 0)
            await one.replica("m").applied(back.offset, 5)
        await one.delete("m")
        await until(lambda: not other.replicas(), 5)


@in_loop
async def test_without_hints_the_poll_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path, tail_poll_seconds=0.05)
    async with both(settings) as (one, other):
        monkeypatch.setattr(one.hints, "tell", lambda _: None)
        await create(one)
        await knows(other)
        receipt = await teach(one, {"x": 1}, True)
        await other.replica("m").applied(receipt.offset, 5)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@in_loop
async def test_a_socket_whose_process_died_is_removed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with opened(settings) as runtime:
        assert isinstance(runtime.hints, Datagrams)
        folder = runtime.hints._folder
        assert folder.stat().st_mode & 0o077 == 0
        dead = Datagrams(str(tmp_path / "headrace.db"))
        dead.open(lambda _: None)
        assert dead._socket is not None
        asyncio.get_running_loop().remove_reader(dead._socket)
        dead._socket.close()
        assert len(os.listdir(folder)) == 2
        runtime.hints.tell([1])
        assert len(os.listdir(folder)) == 1


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@in_loop
async def test_garbage_and_floods_of_hints_do_no_harm(tmp_path: Path) -> None:
    async with both(settings_in(tmp_path)) as (one, other):
        await create(one)
        await knows(other)
        assert isinstance(one.hints, Datagrams) and isinstance(other.hints, Datagrams)
        assert one.hints._socket is not None
        for said in (b"", b"\xff\xfe", b"x y z", b"-1", b"9" * 64, b"1 1 1"):
            one.hints._socket.sendto(said, str(other.hints._path))
        for _ in range(10_000):
            one.hints.tell(range(100))
        receipt = await teach(one, {"x": 1}, True)
        await other.replica("m").applied(receipt.offset, 5)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@in_loop
async def test_whoever_lost_its_connection_hears_again(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, tail_poll_seconds=NEVER)
    async with both(settings) as (one, other):
        await create(one)
        await knows(other)
        psql(
            settings.database_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        for n in range(3):
            await asyncio.sleep(0.8)
            try:
                receipt = await teach(one, {"x": n}, True)
            except LogUnavailable:
                continue
        await other.replica("m").applied(receipt.offset, 5)


def test_a_folder_that_is_somebody_elses_is_not_used(tmp_path: Path) -> None:
    async def work() -> None:
        hints = Datagrams(str(tmp_path / "x.db"))
        hints._folder.symlink_to(tmp_path)
        hints.open(lambda _: None)
        assert hints._socket is None
        hints.tell([1])
        hints.close()
        hints._folder.unlink()

    asyncio.run(work())
