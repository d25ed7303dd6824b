"""Streams and what is around them: a stop, clients that fetch nothing, the room that all share."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

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


def test_unfinished_lines_of_all_streams_share_the_room_for_bodies(tmp_path: Path) -> None:
    with headrace(tmp_path, HEADRACE_BODIES_BYTES_MAX=str(4 * MIB)) as service:
        service.create("m")
        before = rss_kib(service)
        streams = [Stream(service) for _ in range(24)]
        refused = 0
        for stream in streams:
            stream.send(b'{"features": {"a": "' + b"x" * 900_000)
        for stream in streams:
            assert stream.http.sock is not None
            stream.http.sock.settimeout(1)
            try:
                refused += stream.line()["code"] == "overloaded"
            except TimeoutError:
                pass
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
