"""Streams and what is around them: a stop, clients that fetch nothing, the room that all share."""

import asyncio
import json
import os
import random
import select
import signal
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from starlette.types import Message

from app.api.room import Room
from app.api.streams import SEGMENT_BYTES, Outbox, Pulse
from tests.inside import in_loop
from tests.lines import Stream, asked, codes, example, labels
from tests.process import headrace
from tests.test_bounds import rss_kib

MIB = 1_048_576


def test_a_stop_ends_streams_behind_what_was_read_and_answers_that(tmp_path: Path) -> None:
    with headrace(tmp_path, HEADRACE_STOP_SECONDS_MAX="60") as service:
        service.create("m")
        idle, stream = Stream(service), Stream(service)
        idle.send(b'{"features"')
        for line in labels(300):
            stream.send(line)
        stream.send(example("half", 0)[:-5])
        assert stream.line()["id"] == "f0"
        began = time.monotonic()
        os.kill(service.pid, signal.SIGTERM)
        answers = stream.rest()
        assert [answer["id"] for answer in answers] == [f"f{n}" for n in range(1, 300)]
        assert set(codes(answers)) == {None}
        service.stop()
        assert time.monotonic() - began < 30
        assert "Traceback" not in service.log.read_text()
        stream.http.close()
        idle.http.close()
        service.start()
        again = asked(service, "feedback", [*labels(300), example("half", 0)])
        assert [answer["duplicate"] for answer in again] == [True] * 300 + [False]


def test_a_client_that_sends_nothing_and_fetches_nothing_is_left(tmp_path: Path) -> None:
    limits = {
        "HEADRACE_BODY_SECONDS_MAX": "1.5",
        "HEADRACE_STREAM_ANSWERS_BYTES_MAX": "65536",
        "HEADRACE_REQUESTS_MAX": "1",
    }
    with headrace(tmp_path, **limits) as service:
        service.create("m")
        stream = Stream(service, room=4_096)
        assert stream.http.sock is not None
        stream.http.sock.settimeout(3)
        with pytest.raises((TimeoutError, ConnectionError)):
            # Far more than the buffers on the way and the file hold.
            for begin in range(0, 300_000, 1_000):
                stream.send(b"".join(labels(1_000, begin)))
        deadline = time.monotonic() + 30
        while service.get("/v1/models").status != 200:
            assert time.monotonic() < deadline, "its place among the requests is taken for ever"
            time.sleep(0.2)
        log = service.log.read_text()
        assert "Traceback" not in log, log
        stream.http.close()


def test_a_slow_reader_that_still_sends_is_not_left(tmp_path: Path) -> None:
    with headrace(tmp_path, HEADRACE_BODY_SECONDS_MAX="1") as service:
        service.create("m")
        stream = Stream(service, room=4_096)
        for begin in range(0, 60_000, 2_000):
            stream.send(b"".join(labels(2_000, begin)))
            time.sleep(0.1)
        stream.end()
        assert len(stream.rest()) == 60_000
        stream.http.close()


def test_unfinished_lines_of_all_streams_share_a_room_and_keep_out_no_call(tmp_path: Path) -> None:
    with headrace(tmp_path, HEADRACE_BODIES_BYTES_MAX=str(4 * MIB)) as service:
        service.create("m")
        before = rss_kib(service)
        streams = [Stream(service) for _ in range(24)]
        refused = 0
        for stream in streams:
            stream.send(b'{"features": {"a": "' + b"x" * 900_000)
        for stream in streams:
            assert stream.http.sock is not None
            stream.http.sock.settimeout(3)
            try:
                refused += stream.line()["code"] == "overloaded"
            except TimeoutError:
                pass
        assert service.post("/v1/models/m/predict", b'{"features": {}}').status == 200
        assert 15 <= refused <= 21
        assert (rss_kib(service) - before) / 1024 < 120
        for stream in streams:
            stream.http.close()
        assert codes(asked(service, "feedback", labels(10))) == [None] * 10


def test_lines_wait_for_room_and_are_all_taken(tmp_path: Path) -> None:
    with headrace(tmp_path, HEADRACE_BODIES_BYTES_MAX="1024") as service:
        service.create("m")
        assert codes(asked(service, "feedback", [b"".join(labels(5_000))])) == [None] * 5_000
        with socket.create_connection(("127.0.0.1", service.port), timeout=20):
            assert service.get("/healthz").status == 200


def test_streams_are_counted_by_themselves_and_keep_out_no_call(tmp_path: Path) -> None:
    limits = {"HEADRACE_REQUESTS_MAX": "2", "HEADRACE_STREAMS_MAX": "4"}
    with headrace(tmp_path, **limits) as service, ExitStack() as open_ones:
        service.create("m")
        streams = [Stream(service) for _ in range(4)]
        for n, stream in enumerate(streams):
            open_ones.callback(stream.http.close)
            stream.send(example(f"f{n}", n))
            assert stream.line()["id"] == f"f{n}"
        refused = Stream(service)
        open_ones.callback(refused.http.close)
        assert refused.answer.status == 503
        assert json.loads(refused.answer.read())["code"] == "overloaded"
        assert service.post("/v1/models/m/predict", b'{"features": {}}').status == 200
        assert service.get("/readyz").status == 200
        assert streams[0].sent([]) == []
        assert codes(asked(service, "feedback", labels(10))) == [None] * 10


def test_blank_lines_and_half_ones_keep_no_stream_open(tmp_path: Path) -> None:
    with headrace(tmp_path, HEADRACE_BODY_SECONDS_MAX="1.5") as service:
        service.create("m")
        for part in (b"\n", b" "):
            stream, began = Stream(service), time.monotonic()
            with suppress(OSError):
                while time.monotonic() - began < 10:
                    stream.send(part)
                    time.sleep(0.3)
                    if select.select([stream.http.sock], [], [], 0)[0]:
                        break
            assert stream.line()["code"] == "body_too_slow"
            assert time.monotonic() - began < 10
            stream.http.close()


@in_loop
async def test_answers_that_wait_come_in_order_and_their_files_do_not_grow() -> None:
    chance, room = random.Random(7), 200_000
    sent = bytearray()

    async def send(message: Message) -> None:
        # The slower side, now and then, so that the file is never empty for long.
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        sent.extend(message.get("body", b""))

    outbox = Outbox(send, room, Room(0))
    whole = bytearray()
    running = asyncio.create_task(outbox.run(Pulse(60)))
    for _ in range(2_000):
        data = chance.randbytes(chance.choice((1, 100, 10_000, 65_536, 3 * room)) // 2 + 1)
        whole += data
        await outbox.put(data)
        assert sum(one.written for one in outbox._segments) <= room
    outbox.close()
    await running
    outbox.discard()
    assert sent == whole


@in_loop
async def test_answers_that_wait_share_a_room_beyond_the_first_file_of_each() -> None:
    room = Room(3 * SEGMENT_BYTES)
    fetch = asyncio.Event()

    async def send(message: Message) -> None:
        await fetch.wait()

    outboxes = [Outbox(send, 100 * SEGMENT_BYTES, room) for _ in range(3)]
    running = [asyncio.create_task(outbox.run(Pulse(60))) for outbox in outboxes]
    whole = bytes(5 * SEGMENT_BYTES)
    putting = [asyncio.create_task(outbox.put(whole)) for outbox in outboxes]
    await asyncio.wait(putting, timeout=1)
    assert not any(task.done() for task in putting)
    assert sum(len(outbox._segments) for outbox in outboxes) == 3 + 3
    # Who leaves makes room for the others, and who fetches gets on without.
    for task in (putting[0], running[0]):
        task.cancel()
    await asyncio.wait((putting[0], running[0]))
    outboxes[0].discard()
    fetch.set()
    await asyncio.gather(*putting[1:])
    for outbox in outboxes[1:]:
        outbox.close()
    await asyncio.gather(*running[1:])
    for outbox in outboxes[1:]:
        outbox.discard()
    assert room._held == 0
