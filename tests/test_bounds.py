"""Over a limit the answer is clear, and what a client can make the process hold is bounded.

Requests are sent as bytes, because an HTTP client would not send most of them.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import FULL
from tests.faults.ledger import log_of
from tests.faults.lock import held
from tests.process import Headrace, Reply, headrace

KEEP_ALIVE_SECONDS = 2
CONNECTIONS = 24
REQUESTS = 8
BODY = b'{"features": {"a": 1.5, "b": 2}}'
HEAD = b"POST /v1/models/m/predict HTTP/1.1\r\nhost: h\r\n"
REQUEST = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
ALIVE = b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n"


class Problem(NamedTuple):
    """What was answered on a connection that the service then closed."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headrace]:
    """A service whose limits are low."""
    limits = {
        "HEADRACE_KEEP_ALIVE_SECONDS": str(KEEP_ALIVE_SECONDS),
        "HEADRACE_BODY_SECONDS_MAX": "1.5",
        "HEADRACE_BODY_BYTES_MAX": "1000000",
        "HEADRACE_BODIES_BYTES_MAX": "2000000",
        "HEADRACE_CONNECTIONS_MAX": str(CONNECTIONS),
        "HEADRACE_REQUESTS_MAX": str(REQUESTS),
        "HEADRACE_MODELS_MAX": "2",
    }
    with headrace(tmp_path_factory.mktemp("bounded"), **limits) as service:
        service.create("m")
        yield service


def opened(service: Headrace) -> socket.socket:
    """A bare connection."""
    return socket.create_connection(("127.0.0.1", service.port), timeout=20)


def spoken(service: Headrace, *parts: bytes) -> bytes:
    """Send parts, as far as they are taken, and read until the service closes the connection."""
    with opened(service) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except OSError:
            # The service has answered and closed before the end, which it may.
            pass
        return rest_of(connection)


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    found = b""
    try:
        while got := connection.recv(65_536):
            found += got
    except ConnectionError:
        # Closed with something unread.
        pass
    return found


def parsed(answer: bytes) -> Problem:
    """An answer that must be a problem."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["content-type"] == "application/problem+json", answer
    found = Problem(int(line.split()[1]), headers, json.loads(body))
    assert found.body["status"] == found.status
    return found


def refused(answer: bytes, status: int, code: str) -> Problem:
    """An answer that must be this problem, and say when to come back if it passes."""
    found = parsed(answer)
    assert (found.status, found.body["code"]) == (status, code), answer
    assert ("retry-after" in found.headers) == (status in (429, 503))
    assert found.headers["connection"] == "close"
    return found


def test_body_over_the_limit_is_413(bounded: Headrace) -> None:
    size = 3_000_000
    answer = spoken(bounded, HEAD + b"content-length: %d\r\n\r\n" % size, b"x" * size)
    refused(answer, 413, "body_too_large")


def test_chunked_body_over_the_limit_is_413_though_its_length_was_not_said(
    bounded: Headrace,
) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer = spoken(bounded, HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 40)
    refused(answer, 413, "body_too_large")


def test_body_that_does_not_arrive_in_time_is_503(bounded: Headrace) -> None:
    began = time.monotonic()
    answer = spoken(bounded, HEAD + b"content-length: 100\r\n\r\n{")
    refused(answer, 503, "body_too_slow")
    assert time.monotonic() - began < 10


def test_bodies_that_are_too_large_together_are_503(bounded: Headrace) -> None:
    part = HEAD + b"content-length: 999999\r\n\r\n" + b" " * 900_000
    with opened(bounded) as first, opened(bounded) as second:
        first.sendall(part)
        second.sendall(part)
        time.sleep(0.3)
        refused(spoken(bounded, part), 503, "overloaded")


CHUNKED = b"transfer-encoding: chunked\r\n"
NDJSON = b"content-type: application/x-ndjson\r\n"
STREAM = HEAD.replace(b"predict", b"feedback/batch") + NDJSON + CHUNKED + b"\r\n3\r\n{}\n\r\n"


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (HEAD + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n", b"x: " + b"a" * 8_000 + b"\r\n"),
        (HEAD + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nx: ", b"a" * 8_000),
        (HEAD + CHUNKED + b"\r\n2;", b"a" * 8_000),
        (STREAM + b"0\r\n", b"x: " + b"a" * 8_000 + b"\r\n"),
        (STREAM + b"0\r\nx: ", b"a" * 8_000),
        (STREAM + b"3;", b"a" * 8_000),
    ],
    ids=["trailers", "trailer", "extension", "in a stream", "one in a stream", "of a line"],
)
def test_what_is_no_body_behind_a_head_is_bounded_like_a_head(
    bounded: Headrace, begin: bytes, part: bytes
) -> None:
    before = rss_kib(bounded)
    with opened(bounded) as connection:
        connection.sendall(begin)
        with suppress(OSError):
            for _ in range(20_000):
                connection.sendall(part)
                assert rss_kib(bounded) - before < 64 * 1_024
        answer = rest_of(connection)
    if not begin.startswith(STREAM[:30]):
        refused(answer, 431, "head_too_large")
    assert rss_kib(bounded) - before < 64 * 1_024


def test_a_head_behind_a_request_that_is_worked_on_is_bounded_too(bounded: Headrace) -> None:
    before = rss_kib(bounded)
    body = b'{"prediction_id": "unknown", "label": true}'
    waits = HEAD.replace(b"predict", b"feedback") + b"content-length: %d\r\n\r\n" % len(body) + body
    with opened(bounded) as connection, suppress(OSError):
        connection.sendall(waits + b"GET /healthz HTTP/1.1\r\nx: ")
        for _ in range(20_000):
            connection.sendall(b"a" * 8_000)
    assert rss_kib(bounded) - before < 64 * 1_024


def test_head_over_the_limit_is_431(bounded: Headrace) -> None:
    answer = spoken(bounded, b"GET /healthz HTTP/1.1\r\nx: ", b"a" * 1_000_000)
    refused(answer, 431, "head_too_large")


@pytest.mark.parametrize("drip", [b"x", b"y: z\r\n", b""])
def test_head_that_never_ends_is_closed_in_time(bounded: Headrace, drip: bytes) -> None:
    began = time.monotonic()
    with opened(bounded) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        connection.settimeout(0.2)
        while True:
            assert time.monotonic() - began < 5 * KEEP_ALIVE_SECONDS
            try:
                connection.sendall(drip)
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert time.monotonic() - began > KEEP_ALIVE_SECONDS / 2


def test_idle_connections_over_the_limit_are_503_and_room_comes_back(bounded: Headrace) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(opened(bounded))
        for _ in range(3 * CONNECTIONS):
            refused(spoken(bounded, ALIVE), 503, "overloaded")
        # The idle ones are closed in time, and later ones work.
        bounded.wait("/healthz", 5 * KEEP_ALIVE_SECONDS)
    assert bounded.get("/healthz").status == 200


def test_requests_over_the_limit_at_once_are_503(bounded: Headrace) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(opened(bounded)) for _ in range(REQUESTS)]
        for connection in slow:
            connection.sendall(REQUEST[:-1])
        time.sleep(0.3)
        refused(spoken(bounded, REQUEST), 503, "overloaded")
        for connection in slow:
            connection.sendall(REQUEST[-1:])
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        assert bounded.post("/v1/models/m/predict", BODY).status == 200


def test_clients_that_leave_in_the_middle_leave_nothing_behind(bounded: Headrace) -> None:
    files = Path(f"/proc/{bounded.pid}/fd")
    before = len(os.listdir(files))
    cuts = (1, 20, len(HEAD), len(REQUEST) - 5, len(REQUEST))
    for _ in range(100):
        for cut in cuts:
            with opened(bounded) as connection:
                connection.sendall(REQUEST[:cut])
    deadline = time.monotonic() + 10
    while len(os.listdir(files)) > before + 1:
        assert time.monotonic() < deadline, os.listdir(files)
        time.sleep(0.05)
    assert bounded.post("/v1/models/m/predict", BODY).status == 200


def test_pipelined_requests_are_all_answered_in_order(bounded: Headrace) -> None:
    bodies = [b'{"features": {"a": %d}, "id": "piped-%d"}' % (n, n) for n in range(200)]
    requests = [HEAD + b"content-length: %d\r\n\r\n" % len(body) + body for body in bodies]
    last = ALIVE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    answers = spoken(bounded, b"".join(requests) + last)
    assert answers.count(b"HTTP/1.1 200") == 201
    places = [answers.index(b'"piped-%d"' % n) for n in range(200)]
    assert places == sorted(places)
    assert answers.endswith(b'{"status":"alive"}')


@pytest.mark.parametrize(
    "request_",
    [
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_400(bounded: Headrace, request_: bytes) -> None:
    refused(spoken(bounded, request_), 400, "bad_request")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/m/predict", "/v1/models/m/feedback"])
@pytest.mark.parametrize("before", [b"", b'{"features":', b'{"learner":', b'{"label":'])
def test_body_nested_without_end_is_422(bounded: Headrace, path: str, before: bytes) -> None:
    for opening in (b"[", b'{"a":'):
        assert bounded.post(path, before + opening * 100_000).status == 422
    closed = before + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert bounded.post(path, closed).status == 422


def test_one_model_too_many_is_429(bounded: Headrace) -> None:
    bounded.create("second")
    third = {"name": "third", "task": "binary", "learner": "linear_model.LogisticRegression"}
    reply = bounded.post("/v1/models", third)
    assert (reply.status, reply.body["code"]) == (429, "too_many_models")
    assert int(reply.headers["retry-after"]) > 0
    assert bounded.call("DELETE", "/v1/models/second").status == 204
    assert bounded.post("/v1/models", third).status == 201


def test_feedback_over_the_queue_is_503_and_nothing_of_it_was_taken(tmp_path: Path) -> None:
    limits = {
        "HEADRACE_APPEND_QUEUE_MAX": "4",
        "HEADRACE_APPEND_BATCH_MAX": "1",
        "HEADRACE_DATABASE_BUSY_MS": "20000",
    }
    with headrace(tmp_path, **limits) as service, ThreadPoolExecutor(16) as pool:
        service.create("m")
        with held(service.database, "BEGIN IMMEDIATE"):
            sent = [pool.submit(labelled, service, n) for n in range(16)]
            deadline = time.monotonic() + 15
            while sum(work.done() for work in sent) < 11:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            # One is being made durable and four wait; the others were answered at once.
            assert sum(work.done() for work in sent) == 11
        replies = [work.result(30) for work in sent]
        for reply in replies:
            assert reply.status == 200 or reply.body["code"] == "overloaded", reply
            assert reply.status == 200 or int(reply.headers["retry-after"]) > 0
        taken = {f"f{n}" for n, reply in enumerate(replies) if reply.status == 200}
        assert len(taken) == 5
        assert {entry["id"] for entry in log_of(service, "m")[1:]} == taken


def labelled(service: Headrace, n: int) -> Reply:
    """Feedback with an id of its own."""
    body = {"features": {"a": n}, "label": True, "id": f"f{n}"}
    return service.post("/v1/models/m/feedback", body)


def test_predictions_stay_within_their_memory_while_nothing_can_be_written(
    tmp_path: Path,
) -> None:
    limits = {
        "HEADRACE_PREDICTIONS_MEMORY_BYTES_MAX": "65536",
        "HEADRACE_DATABASE_BUSY_MS": "100",
    }
    rounds = 80 if FULL else 40
    with headrace(tmp_path, **limits) as service:
        service.create("m")
        with held(service.database, "BEGIN IMMEDIATE"), opened(service) as connection:
            held_kib = []
            for _ in range(rounds):
                forgotten = predicted(connection, 500)
                held_kib.append(rss_kib(service))
            assert forgotten == 500
            # The first rounds fill what is allowed, and warm the allocator up.
            assert max(held_kib) - held_kib[rounds // 4] < 2_048, held_kib
        deadline = time.monotonic() + 10
        while "warnings" in service.post("/v1/models/m/predict", BODY).body:
            assert time.monotonic() < deadline, "predictions are not remembered again"
            time.sleep(0.05)


def predicted(connection: socket.socket, count: int) -> int:
    """Predict many times on one connection; how many answers say that they are forgotten."""
    connection.sendall(REQUEST * count)
    found = b""
    while found.count(b"HTTP/1.1 200") < count or not found.endswith(b"}"):
        got = connection.recv(1 << 20)
        assert got, found[-500:]
        found += got
    return found.count(b'"not_remembered"')


def rss_kib(service: Headrace) -> int:
    """What the process holds in memory now."""
    lines = Path(f"/proc/{service.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
