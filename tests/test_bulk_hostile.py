"""Batches and streams that a careless or hostile client sends: each has an answer, memory a bound.

One bad item or line keeps no other from being taken.
"""

import http.client
import json
import os
import random
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import FULL, names
from tests.lines import NDJSON, Stream, asked, codes, example, labels, question
from tests.process import Headrace, headrace
from tests.test_bounds import rss_kib

LINE_BYTES = 65_536
ANSWERS_BYTES = 1_048_576
SECONDS = 4
MIB = 1_048_576
LIMITS = {
    "HEADRACE_STREAM_LINE_BYTES_MAX": str(LINE_BYTES),
    "HEADRACE_STREAM_ANSWERS_BYTES_MAX": str(ANSWERS_BYTES),
    "HEADRACE_BODY_SECONDS_MAX": str(SECONDS),
    "HEADRACE_PREDICTIONS_MEMORY_BYTES_MAX": "1000000",
}
"""Of the service that all tests of this file share."""


DEEP = b'{"features":{"n":' + b"[" * 10_000 + b"]" * 10_000 + b"}}"
LINES = {
    b'{"features": {"n": NaN}}': "invalid_features",
    b'{"features": {"n": -Infinity}}': "invalid_features",
    b'{"features": {"n": 1e400}}': "invalid_features",
    b'{"features": {"n": ' + b"9" * 500 + b"}}": "invalid_features",
    b'{"features": {"n": 1}, "more": 2}': "invalid_body",
    b'{"items": []}': "invalid_body",
    b"{}": "invalid_body",
    b"null": "invalid_body",
    b"7": "invalid_body",
    b"true": "invalid_body",
    b'"text"': "invalid_body",
    b"[]": "invalid_body",
    b'[{"features": {}}]': "invalid_body",
    DEEP: "invalid_body",
}
"""What is JSON, or would be but for a number in it, so that it can stand in a batch as well."""

TORN = [
    *(b"{", b"}", b"no JSON", b'{"features": {"n": 1}', b'{"features": {"n": 1}} {}', b"\\n"),
    *(b"\0" * 1_000, b"\xff\xfe", b'{"features": {"c": "\xff"}}', b'{"features": {"\xc3(": 1}}'),
    *(b'{"features": {"c": "\\ud800"}}', b'\xef\xbb\xbf{"features": {}}', b"[" * 60_000),
    *(b'{"features":' * 5_000, b'{"features": {"n": NaN}', b"data: {}", b"\x1e{}", b"\x80"),
    '{"features": {}}'.encode("utf-16-le").replace(b"\n", b""),
]
"""What is no JSON at all."""


@pytest.mark.parametrize("call", ["predict", "feedback"])
def test_a_bad_line_is_a_problem_and_the_rest_goes_on(
    bulk: Headrace, model: str, call: str
) -> None:
    good = example("f", 1) if call == "feedback" else question("q", 1)
    expected = dict(LINES) | dict.fromkeys(TORN, "invalid_body")
    if call == "feedback":
        # What is wrong with them is first of all that there is no label.
        unlabelled = (line for line, code in LINES.items() if code == "invalid_features")
        expected |= dict.fromkeys(unlabelled, "invalid_label")
    data = b"".join(line + b"\n" + good for line in expected)
    answers = asked(bulk, call, [data], model)
    assert codes(answers[0::2]) == list(expected.values())
    assert codes(answers[1::2]) == [None] * len(expected)


@pytest.mark.parametrize("call", ["predict", "feedback"])
def test_a_bad_item_is_a_problem_and_the_rest_is_taken(
    bulk: Headrace, model: str, call: str
) -> None:
    good = {"predict": question("q", 1), "feedback": example("f", 1)}[call].strip()
    for bad, code in LINES.items():
        if bad == DEEP:
            continue
        body = b'{"items": [' + b",".join([good, bad, good]) + b"]}"
        reply = bulk.post(f"/v1/models/{model}/{call}/batch", body)
        assert reply.status == 200, (bad, reply)
        found = codes(reply.body["items"])
        if call == "feedback" and code == "invalid_features":
            code = "invalid_label"
        assert found == [None, code, None], bad


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"null", b"7", b"[]", b'"items"', b"{}", b'{"items"', b'{"items": [}'),
        *(b'{"items": null}', b'{"items": {}}', b'{"items": 7}', b'{"items": NaN}'),
        *(b'{"items": "abc"}', b'{"items": [], "more": 1}', b'{"Items": []}'),
        *(b'{"items": []} {}', b'{"items": [{"features": {"c": "\xff"}}, {]}'),
        *(b'{"items": ' + b"[" * 10_000, b'{"items": [' + DEEP + b"]}", b"\0" * 1_000),
        b'{"items": [{"features": {"n": NaN}}, {"features": {"c": "\\ud800"}}]}',
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_batch_is_refused_whole(bulk: Headrace, model: str, body: bytes) -> None:
    for call in ("predict", "feedback"):
        reply = bulk.post(f"/v1/models/{model}/{call}/batch", body)
        assert (reply.status, reply.body["code"]) == (422, "invalid_body"), reply
    assert bulk.get(f"/v1/models/{model}").body["offset"] == 1


def test_a_line_over_the_limit_is_a_problem_and_the_rest_goes_on(
    bulk: Headrace, model: str
) -> None:
    def padded(size: int) -> bytes:
        line = question("q", 1).strip()
        return line + b" " * (size - len(line)) + b"\n"

    sizes = [100, LINE_BYTES, LINE_BYTES + 1, 200, 3 * LINE_BYTES, LINE_BYTES]
    expected = [None, None, "body_too_large", None, "body_too_large", None]
    whole = b"".join(padded(size) for size in sizes)
    for step in (1_000, LINE_BYTES, len(whole)):
        chunks = [whole[n : n + step] for n in range(0, len(whole), step)]
        assert codes(asked(bulk, "predict", chunks, model)) == expected
    assert codes(asked(bulk, "predict", [whole, padded(LINE_BYTES * 2).strip(b"\n")], model)) == [
        *expected,
        "body_too_large",
    ]


def test_a_line_of_50_mb_costs_no_memory(bulk: Headrace, model: str) -> None:
    asked(bulk, "feedback", labels(100), model)
    before = rss_kib(bulk)
    for byte in (b"x", b"\0", b" ", b"["):
        stream = Stream(bulk, "feedback", model)
        stream.send(example("before", 1))
        for _ in range(50):
            stream.send(byte * MIB)
            assert rss_kib(bulk) - before < 8 * 1_024
        answers = stream.sent([b"\n", example("behind", 2)])
        assert codes(answers) == [None, "body_too_large", None]


def test_a_million_blank_lines_are_passed_over(bulk: Headrace, model: str) -> None:
    for blank in (b"\n", b"\r\n", b" \t\n"):
        chunks = [blank * 1_000_000, *labels(1), blank * 10]
        assert [one["id"] for one in asked(bulk, "feedback", chunks, model)] == ["f0"]


def test_a_stream_in_which_nothing_comes_is_ended_with_a_problem(
    bulk: Headrace, model: str
) -> None:
    stream = Stream(bulk, "feedback", model)
    stream.send(b"".join(labels(300)) + b'{"features": ')
    began = time.monotonic()
    answers = stream.rest()
    assert time.monotonic() - began > SECONDS / 2
    assert codes(answers) == [None] * 300 + ["body_too_slow"]
    assert bulk.get(f"/v1/models/{model}").body["offset"] == 301
    stream.http.close()


def test_a_stream_in_which_something_comes_now_and_then_goes_on(bulk: Headrace, model: str) -> None:
    stream = Stream(bulk, "feedback", model)
    for n in range(4):
        stream.send(example(f"f{n}", n))
        assert stream.line()["id"] == f"f{n}"
        time.sleep(SECONDS / 2)
    assert stream.sent([]) == []


def test_a_client_that_waits_for_its_answer_is_not_ended_as_too_slow(bulk: Headrace) -> None:
    name = next(names)
    bulk.create(name, labels={"early_seconds": SECONDS + 2})
    stream = Stream(bulk, "feedback", name)
    stream.send(b'{"prediction_id": "unknown", "label": true}\n')
    assert stream.line()["code"] == "unknown_prediction"
    time.sleep(SECONDS / 2)
    stream.send(example("f", 1))
    assert stream.line()["id"] == "f"
    assert stream.sent([]) == []


def test_a_client_that_sends_all_before_it_reads_is_served(tmp_path: Path) -> None:
    size = 200_000 if FULL else 40_000
    with headrace(tmp_path) as service:
        service.create("m")
        for call, line in (("feedback", example), ("predict", question)):
            data = [line(f"f{n}", n) for n in range(size)]
            stream = Stream(service, call, room=65_536)
            answers = stream.sent(b"".join(data[n : n + 500]) for n in range(0, size, 500))
            assert [one["id"] for one in answers] == [f"f{n}" for n in range(size)]
            assert codes(answers) == [None] * size


def test_a_client_that_never_reads_is_not_read_any_further(bulk: Headrace, model: str) -> None:
    stream = Stream(bulk, "predict", model, room=65_536)
    chunk = b"".join(question(f"q{n}", n) for n in range(500))
    sock = stream.http.sock
    assert sock is not None
    sock.settimeout(3)
    with suppress(TimeoutError):
        while True:
            stream.send(chunk)
    held = rss_kib(bulk)
    assert waiting_bytes(bulk) <= ANSWERS_BYTES
    # Others are served as ever, and nothing grows.
    for _ in range(20):
        assert bulk.post(f"/v1/models/{model}/predict", b'{"features": {}}').status == 200
    assert rss_kib(bulk) - held < 4 * 1_024
    # What was answered is there, in its order, once it is read after all.
    found = [json.loads(stream.answer.readline())["id"] for _ in range(4_000)]
    assert found == [f"q{n % 500}" for n in range(4_000)]
    stream.vanish()
    deadline = time.monotonic() + 30
    while waiting_bytes(bulk):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def waiting_bytes(service: Headrace) -> int:
    """How much stands in files that the process has open and that have no name."""
    total = 0
    for path, target in opened(service):
        with suppress(FileNotFoundError):
            if target.endswith("(deleted)"):
                total += os.stat(path).st_size
    return total


def opened(service: Headrace) -> list[tuple[str, str]]:
    """What the process has open: each path below /proc, and what it stands for."""
    found = []
    folder = f"/proc/{service.pid}/fd"
    for number in os.listdir(folder):
        with suppress(FileNotFoundError):
            found.append((f"{folder}/{number}", os.readlink(f"{folder}/{number}")))
    return found


def held_for_clients(service: Headrace) -> list[str]:
    """The connections that the process has open, and the files that have no name.

    Its database may open another connection at any time, and keep it: that is none of them.
    """
    return [
        target
        for _, target in opened(service)
        if target.startswith("socket:") or target.endswith("(deleted)")
    ]


def test_clients_that_vanish_leave_nothing_behind(bulk: Headrace, model: str) -> None:
    asked(bulk, "predict", [question("q", 1)], model)
    chance, before = random.Random(11), len(held_for_clients(bulk))
    data = b"".join(labels(1_000))
    for _ in range(300 if FULL else 60):
        stream = Stream(bulk, chance.choice(("predict", "feedback")), model)
        stream.send(data[: chance.randrange(1, len(data))])
        if chance.random() < 0.5:
            stream.answer.readline()
        stream.vanish()
    deadline = time.monotonic() + 60
    while len(held_for_clients(bulk)) > before + 1:
        assert time.monotonic() < deadline, opened(bulk)
        time.sleep(0.05)
    assert "Traceback" not in bulk.log.read_text()
    assert codes(asked(bulk, "feedback", labels(10, prefix="behind"), model)) == [None] * 10


@pytest.mark.parametrize("torn", [b"zz\r\n", b"-1\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"\0" * 100])
def test_chunks_that_are_none_end_the_stream_and_what_stood_before_is_learned(
    bulk: Headrace, model: str, torn: bytes
) -> None:
    stream = Stream(bulk, "feedback", model)
    stream.send(b"".join(labels(3)))
    assert [stream.line()["id"] for _ in range(3)] == ["f0", "f1", "f2"]
    stream.http.send(torn)
    with suppress(OSError, http.client.HTTPException):
        stream.answer.read()
    stream.http.close()
    assert bulk.get(f"/v1/models/{model}").body["offset"] == 4


def test_a_body_behind_the_end_of_its_stream_is_not_taken_for_a_request(
    bulk: Headrace, model: str
) -> None:
    head = f"POST /v1/models/{model}/feedback/batch HTTP/1.1\r\nhost: h\r\n"
    head += f"content-type: {NDJSON}\r\ntransfer-encoding: chunked\r\n\r\n"
    smuggled = f"DELETE /v1/models/{model} HTTP/1.1\r\nhost: h\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", bulk.port), 60) as client:
        client.sendall(head.encode())
        found = b""
        while not found.endswith(b"0\r\n\r\n"):
            found += client.recv(65_536)
        assert b"body_too_slow" in found
        client.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled))
        client.sendall(b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        behind = b"".join(iter(lambda: client.recv(65_536), b""))
    assert behind.count(b"HTTP/1.1 ") == 1
    assert behind.endswith(b'{"status":"alive"}')
    assert bulk.get(f"/v1/models/{model}").status == 200
