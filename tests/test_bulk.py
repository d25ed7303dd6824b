"""Many at a time: as one JSON body, or as lines that are answered while they come."""

import json
import socket
import subprocess
import time
from typing import Any

import httpx2
import pytest

from tests.faults.ledger import log_of
from tests.lines import NDJSON, Stream, asked, codes, example, labels, question
from tests.process import Headrace

LINE_BYTES = 65_536
LIMITS = {
    "HEADRACE_BATCH_ITEMS_MAX": "100",
    "HEADRACE_BODY_BYTES_MAX": "20000",
    "HEADRACE_STREAM_LINE_BYTES_MAX": str(LINE_BYTES),
    "HEADRACE_DATABASE_BUSY_MS": "300",
}
"""Of the service that all tests of this file share."""


def batch(service: Headrace, call: str, model: str, items: list[Any]) -> list[Any]:
    """The answers to one JSON body."""
    reply = service.post(f"/v1/models/{model}/{call}/batch", {"items": items})
    assert reply.status == 200, reply
    assert list(reply.body) == ["items"]
    answers: list[Any] = reply.body["items"]
    return answers


def ids_of(service: Headrace, model: str) -> list[str]:
    """The ids of a model's entries, in the order of its log."""
    entries = log_of(service, model)
    assert [entry["offset"] for entry in entries] == list(range(1, len(entries) + 1))
    return [entry["id"] for entry in entries[1:]]


def test_a_batch_has_an_answer_or_a_problem_for_each_item_in_order(
    bulk: Headrace, model: str
) -> None:
    taken = [json.loads(line) for line in labels(3)]
    items = [taken[0], {"features": [], "label": 1}, taken[1], {"label": True}, 7, taken[2]]
    answers = batch(bulk, "feedback", model, items)
    assert codes(answers) == [None, "invalid_features", None, "invalid_body", "invalid_body", None]
    assert [one["offset"] for one in answers if "offset" in one] == [2, 3, 4]
    assert ids_of(bulk, model) == ["f0", "f1", "f2"]
    questions = [{"features": {"a": 1}, "id": "q"}, {"features": {"a": "x"}}, None]
    asked_of = batch(bulk, "predict", model, questions)
    assert codes(asked_of) == [None, "invalid_features", "invalid_body"]
    assert (asked_of[0]["id"], asked_of[0]["offset"]) == ("q", 4)


def test_a_batch_of_no_items_is_answered_with_none(bulk: Headrace, model: str) -> None:
    for call in ("predict", "feedback"):
        assert batch(bulk, call, model, []) == []
        assert asked(bulk, call, [], model) == []


def test_a_batch_over_the_limit_of_items_is_413_and_nothing_of_it_is_learned(
    bulk: Headrace, model: str
) -> None:
    items = [json.loads(line) for line in labels(101)]
    reply = bulk.post(f"/v1/models/{model}/feedback/batch", {"items": items})
    assert (reply.status, reply.body["code"]) == (413, "too_many_items")
    assert ids_of(bulk, model) == []
    assert len(batch(bulk, "feedback", model, items[:100])) == 100


def test_a_batch_over_the_limit_of_a_body_is_413(bulk: Headrace, model: str) -> None:
    reply = bulk.post(f"/v1/models/{model}/predict/batch", b"[" * 20_001)
    assert (reply.status, reply.body["code"]) == (413, "body_too_large")


def test_a_stream_has_no_limit_of_items_or_bytes(bulk: Headrace, model: str) -> None:
    answers = asked(bulk, "feedback", [b"".join(labels(5_000))], model)
    assert [one["offset"] for one in answers] == list(range(2, 5_002))


def test_entries_stand_in_the_log_in_the_order_of_the_lines(bulk: Headrace, model: str) -> None:
    lines = labels(2_000)
    lines[700:700] = [b'{"label": true}\n']
    answers = asked(bulk, "feedback", lines, model)
    assert codes(answers) == [None] * 700 + ["invalid_body"] + [None] * 1_300
    answered = [one["id"] for one in answers if "id" in one]
    assert answered == ids_of(bulk, model) == [f"f{n}" for n in range(2_000)]
    assert [one["offset"] for one in answers if "offset" in one] == list(range(2, 2_002))


def test_a_line_that_is_answered_is_learned(bulk: Headrace, model: str) -> None:
    stream = Stream(bulk, "feedback", model)
    for n in range(50):
        stream.send(example(f"f{n}", n))
        assert stream.line() == {"id": f"f{n}", "offset": n + 2, "duplicate": False}
        reply = bulk.post(f"/v1/models/{model}/predict", {"features": {"a": n}})
        assert reply.body["offset"] == n + 2
    stream.end()
    assert stream.line() is None
    stream.http.close()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n \t\r\n\n"])
@pytest.mark.parametrize("last", [b"", b"\n", b"\r\n\r\n", b"  "])
def test_blank_lines_and_carriage_returns_are_passed_over(
    bulk: Headrace, model: str, end: bytes, last: bytes
) -> None:
    lines = [line.strip() for line in labels(5)]
    answers = asked(bulk, "feedback", [end, end.join(lines) + last], model)
    assert [one["id"] for one in answers] == [f"f{n}" for n in range(5)]


def test_a_line_may_be_cut_anywhere_into_chunks(bulk: Headrace, model: str) -> None:
    word = "wörter 水 \U0001f600"
    body = {"features": {"n": 1.5, word: 2}, "id": word}
    line = json.dumps(body, ensure_ascii=False).encode() + b"\n"
    for cut in range(1, len(line)):
        stream = Stream(bulk, "predict", model)
        stream.send(line[:cut])
        time.sleep(0.002)
        assert [one["id"] for one in stream.sent([line[cut:]])] == [word]


def test_one_byte_in_a_chunk_and_in_a_packet_is_enough(bulk: Headrace, model: str) -> None:
    data = b"".join(labels(8))
    stream = Stream(bulk, "feedback", model)
    assert stream.http.sock is not None
    stream.http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answers = stream.sent(data[n : n + 1] for n in range(len(data)))
    assert [one["id"] for one in answers] == [f"f{n}" for n in range(8)]


def test_a_stream_may_say_its_length_instead_of_chunks(bulk: Headrace, model: str) -> None:
    data = b"".join(labels(1_000))
    path = f"/v1/models/{model}/feedback/batch"
    url = f"http://127.0.0.1:{bulk.port}{path}"
    reply = httpx2.post(url, content=data, headers={"content-type": NDJSON})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == NDJSON
    assert [json.loads(line)["id"] for line in reply.text.splitlines()] == ids_of(bulk, model)


def test_generators_of_an_http_client_stream_both_ways(bulk: Headrace, model: str) -> None:
    url = f"http://127.0.0.1:{bulk.port}/v1/models/{model}/feedback/batch"
    lines = (line for line in labels(3_000))
    with httpx2.stream("POST", url, content=lines, headers={"content-type": NDJSON}) as reply:
        found = [json.loads(line)["id"] for line in reply.iter_lines()]
    assert found == [f"f{n}" for n in range(3_000)]


@pytest.mark.parametrize(
    "options",
    [["-X", "POST", "-T", "-"], ["--data-binary", "@-"], ["--data-binary", "@-", "-H", "Expect:"]],
)
def test_curl_streams(bulk: Headrace, model: str, options: list[str]) -> None:
    url = f"http://127.0.0.1:{bulk.port}/v1/models/{model}/feedback/batch"
    command = ["curl", "-sS", "-N", url, "-H", f"content-type: {NDJSON}", *options]
    data = b"".join(labels(20_000))
    done = subprocess.run(command, input=data, capture_output=True, timeout=120, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["id"] for one in found] == [f"f{n}" for n in range(20_000)]
    assert not done.stderr


def test_a_client_that_expects_100_is_told_to_continue(bulk: Headrace, model: str) -> None:
    data = b"".join(labels(3))
    head = f"POST /v1/models/{model}/feedback/batch HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\n"
    head += f"content-type: {NDJSON}\r\ncontent-length: {len(data)}\r\nconnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", bulk.port), 60) as client:
        client.sendall(head.encode())
        assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(data)
        found = b"".join(iter(lambda: client.recv(65_536), b""))
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert found.count(b'"duplicate":false') == 3


def test_http_1_0_has_no_chunks_and_is_refused_a_stream(bulk: Headrace, model: str) -> None:
    head = f"POST /v1/models/{model}/feedback/batch HTTP/1.0\r\ncontent-length: 1\r\n"
    with socket.create_connection(("127.0.0.1", bulk.port), 60) as client:
        client.sendall(f"{head}content-type: {NDJSON}\r\n\r\n".encode() + b"\n")
        found = b"".join(iter(lambda: client.recv(65_536), b""))
    assert found.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"transfer-encoding" not in found
    assert b'"bad_request"' in found


@pytest.mark.parametrize(
    "type",
    [NDJSON, f"{NDJSON}; charset=utf-8", "APPLICATION/X-NDJSON ;q=1", "application/jsonl"],
)
def test_content_types_of_lines_may_have_parameters(bulk: Headrace, model: str, type: str) -> None:
    answers = Stream(bulk, "feedback", model, type).sent(labels(2))
    assert [one["id"] for one in answers] == ["f0", "f1"]


def test_any_other_content_type_is_one_body(bulk: Headrace, model: str) -> None:
    for type in ("text/plain", "application/x-www-form-urlencoded", "application/x-ndjson-not"):
        url = f"http://127.0.0.1:{bulk.port}/v1/models/{model}"
        body = {"content": b'{"items": [{"features": {}}]}', "headers": {"content-type": type}}
        assert len(httpx2.post(f"{url}/predict/batch", **body).json()["items"]) == 1  # type: ignore[arg-type]
    single = httpx2.post(
        f"{url}/predict", content=b'{"features": {}}', headers={"content-type": NDJSON}
    )
    assert single.status_code == 200
    two = b'{"features": {}}\n{"features": {}}\n'
    refused = httpx2.post(f"{url}/predict", content=two, headers={"content-type": NDJSON})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_body")


def test_an_unknown_model_is_404_before_the_stream_begins(bulk: Headrace) -> None:
    for call in ("predict", "feedback"):
        stream = Stream(bulk, call, "nobody")
        assert stream.answer.status == 404
        assert stream.answer.getheader("content-type") == "application/problem+json"
        assert stream.answer.getheader("connection") == "close"
        assert json.loads(stream.answer.read())["code"] == "unknown_model"
        stream.http.close()


def test_the_connection_of_a_stream_serves_other_requests_behind_it(
    bulk: Headrace, model: str
) -> None:
    stream = Stream(bulk, "feedback", model)
    for chunk in labels(300):
        stream.send(chunk)
    stream.end()
    assert len(stream.rest()) == 300
    sock = stream.http.sock
    for _ in range(3):
        stream.http.request("POST", f"/v1/models/{model}/predict", b'{"features": {"a": 1}}')
        assert json.loads(stream.http.getresponse().read())["offset"] == 301
        stream.http.request(
            "POST", f"/v1/models/{model}/predict/batch", question("q", 1), {"content-type": NDJSON}
        )
        assert json.loads(stream.http.getresponse().read())["id"] == "q"
    assert stream.http.sock is sock
    stream.http.close()
