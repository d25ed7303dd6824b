"""What happens while a stream goes on: other clients, other labels, outages, deletions, stops."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from threading import Event
from typing import Any

import pytest

from app import entries
from app.log import Draft, Receipt
from tests.conftest import FULL, names
from tests.faults.ledger import log_of
from tests.faults.lock import held
from tests.inside import create, in_loop, opened, settings_in
from tests.lines import Stream, asked, codes, example, labels, question, reading
from tests.process import Headrace, headrace

LIMITS = {"HEADRACE_DATABASE_BUSY_MS": "300"}
"""Of the service that all tests of this file share."""


def lines_of(*bodies: dict[str, Any]) -> list[bytes]:
    """Each body as a line."""
    return [json.dumps(body).encode() + b"\n" for body in bodies]


def both(service: Headrace, call: str, model: str, bodies: list[Any]) -> Iterator[list[Any]]:
    """The answers to one JSON body, then to the same things as lines."""
    reply = service.post(f"/v1/models/{model}/{call}/batch", {"items": bodies})
    assert reply.status == 200, reply
    yield reply.body["items"]
    yield asked(service, call, [b"".join(lines_of(*bodies))], model)


def ids_of(service: Headrace, model: str) -> list[str]:
    """The ids of a model's examples, in the order of its log."""
    return [entry["id"] for entry in log_of(service, model)[1:]]


def test_an_id_that_comes_twice_is_learned_once(bulk: Headrace, model: str) -> None:
    bodies = [json.loads(example("same", n)) for n in range(3)]
    first, again = both(bulk, "feedback", model, bodies)
    assert [(one["offset"], one["duplicate"]) for one in first] == [(2, False)] + [(2, True)] * 2
    assert [(one["offset"], one["duplicate"]) for one in again] == [(2, True)] * 3
    assert ids_of(bulk, model) == ["same"]


def test_a_question_that_comes_twice_is_answered_as_the_first_time(
    bulk: Headrace, model: str
) -> None:
    bodies = [{"features": {"a": n}, "id": "same"} for n in (1, -1)]
    answers = [one for some in both(bulk, "predict", model, bodies) for one in some]
    assert all(one == answers[0] for one in answers)
    shown = bulk.get(f"/v1/models/{model}/predictions/same").body
    assert shown["features"] == {"a": 1}


def test_the_first_of_two_questions_of_one_id_stands_however_far_apart(
    bulk: Headrace, model: str
) -> None:
    for turn in range(20):
        bodies: list[dict[str, Any]] = [
            {"features": {"filled": n}, "id": f"{turn} {n}"} for n in range(255)
        ]
        for place in ("first", "second", "third"):
            bodies.append({"features": {place: 1}, "id": f"same {turn}"})
        asked(bulk, "predict", [b"".join(lines_of(*bodies))], model)
        shown = bulk.get(f"/v1/models/{model}/predictions/same%20{turn}").body
        assert shown["features"] == {"first": 1}, turn


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("refuse", [None, "already_labelled", "already_labelled"]),
        ("first", [None, None, None]),
        ("correct", [None, None, None]),
    ],
)
def test_labels_of_one_prediction_follow_the_rules_in_their_order(
    bulk: Headrace, rule: str, expected: list[str | None]
) -> None:
    name = next(names)
    bulk.create(name, labels={"duplicates": rule})
    for turn, send in enumerate(("batch", "stream")):
        id = f"p{turn}"
        bulk.post(f"/v1/models/{name}/predict", {"features": {"a": 1}, "id": id})
        bodies = [
            {"prediction_id": id, "label": label, "id": f"{id} {n}"}
            for n, label in enumerate((True, False, True))
        ]
        if send == "batch":
            path = f"/v1/models/{name}/feedback/batch"
            answers = bulk.post(path, {"items": bodies}).body["items"]
        else:
            answers = asked(bulk, "feedback", lines_of(*bodies), name)
        assert codes(answers) == expected
        shown = bulk.get(f"/v1/models/{name}/predictions/{id}").body
        assert shown["label"] is True
        entries = [entry for entry in log_of(bulk, name) if entry["id"].startswith(f"{id} ")]
        assert len(entries) == (3 if rule == "correct" else 1)


def test_features_that_contradict_those_of_an_item_before_are_refused(
    bulk: Headrace, model: str
) -> None:
    bodies = [{"features": {"a": a}, "label": True} for a in (1, "one", 2.5, False)]
    expected = [None, "invalid_features", None, "invalid_features"]
    for answers in both(bulk, "feedback", model, bodies):
        assert codes(answers) == expected
    assert [entry["features"]["a"] for entry in log_of(bulk, model)[1:]] == [1, 2.5] * 2


def test_labels_of_unknown_predictions_wait_once_in_all(bulk: Headrace) -> None:
    name = next(names)
    bulk.create(name, labels={"early_seconds": 1.5})
    unknown = lines_of(*({"prediction_id": f"p{n}", "label": True} for n in range(1_000)))
    lines = [*labels(300), *unknown, *labels(300, 300)]
    began = time.monotonic()
    answers = asked(bulk, "feedback", [b"".join(lines)], name)
    assert codes(answers) == [None] * 300 + ["unknown_prediction"] * 1_000 + [None] * 300
    assert time.monotonic() - began < 60
    assert ids_of(bulk, name) == [f"f{n}" for n in range(600)]
    dangling = bulk.get(f"/v1/models/{name}/metrics").body["labels"]["dangling"]
    assert dangling == 1_000


def test_a_label_that_came_early_finds_its_prediction(bulk: Headrace, model: str) -> None:
    stream = Stream(bulk, "feedback", model)
    stream.send(b"".join(lines_of({"prediction_id": "p", "label": True, "id": "early"})))
    time.sleep(0.5)
    bulk.post(f"/v1/models/{model}/predict", {"features": {"a": 1}, "id": "p"})
    assert stream.line() == {"id": "early", "offset": 2, "duplicate": False}
    stream.http.close()


def test_streams_of_several_clients_are_each_in_order(bulk: Headrace, model: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        sent = [
            pool.submit(asked, bulk, "feedback", labels(2_000, prefix=f"{who} "), model)
            for who in range(4)
        ]
        answers = [work.result(120) for work in sent]
    for who, some in enumerate(answers):
        assert [one["id"] for one in some] == [f"{who} {n}" for n in range(2_000)]
        offsets = [one["offset"] for one in some]
        assert offsets == sorted(offsets)
    assert len(ids_of(bulk, model)) == 8_000


def test_a_stream_of_questions_knows_what_a_stream_of_labels_was_answered(
    bulk: Headrace, model: str
) -> None:
    teaching = Stream(bulk, "feedback", model)
    asking = Stream(bulk, "predict", model)
    for n in range(100):
        teaching.send(example(f"f{n}", n))
        learned = teaching.line()["offset"]
        asking.send(question(f"q{n}", n))
        assert asking.line()["offset"] == learned == n + 2
    for stream in (teaching, asking):
        assert stream.sent([]) == []


def test_lines_to_a_model_that_is_deleted_meanwhile_are_404(bulk: Headrace, model: str) -> None:
    stream = Stream(bulk, "feedback", model)
    stream.send(b"".join(labels(300)))
    assert [stream.line()["offset"] for _ in range(300)] == list(range(2, 302))
    assert bulk.call("DELETE", f"/v1/models/{model}").status == 204
    stream.send(b"".join(labels(300, 300)))
    assert codes(stream.line() for _ in range(300)) == ["unknown_model"] * 300
    bulk.create(model)
    assert [one["offset"] for one in stream.sent(labels(300))] == list(range(2, 302))


def test_lines_are_503_while_nothing_can_be_written_and_are_learned_once_when_sent_again(
    bulk: Headrace, model: str
) -> None:
    stream, answers = Stream(bulk, "feedback", model), list[Any]()
    lines = labels(6_000)
    with reading(stream, answers):
        stream.send(b"".join(lines[:2_000]))
        with held(bulk.database, "BEGIN IMMEDIATE"):
            stream.send(b"".join(lines[2_000:4_000]))
            deadline = time.monotonic() + 60
            while "log_unavailable" not in codes(answers):
                assert time.monotonic() < deadline, answers[-1:]
                time.sleep(0.02)
        # Writing is possible again, and the same stream goes on.
        time.sleep(1)
        stream.send(b"".join(lines[4_000:]))
        stream.end()
    stream.http.close()
    assert len(answers) == 6_000
    assert set(codes(answers)) == {None, "log_unavailable"}
    assert codes(answers)[-1] is None
    again = [line for line, code in zip(lines, codes(answers), strict=True) if code]
    assert codes(asked(bulk, "feedback", again, model)) == [None] * len(again)
    assert sorted(ids_of(bulk, model)) == sorted(f"f{n}" for n in range(6_000))
    known = {entry["id"]: entry["offset"] for entry in log_of(bulk, model)}
    assert all(known[one["id"]] == one["offset"] for one in answers if "id" in one)


def test_what_was_taken_in_is_finished_when_the_client_leaves(bulk: Headrace, model: str) -> None:
    for turn in range(5):
        stream = Stream(bulk, "feedback", model)
        lines = labels(3_000, prefix=f"{turn} ")
        for begin in range(0, 3_000, 100):
            stream.send(b"".join(lines[begin : begin + 100]))
        stream.vanish()
        settled(bulk, model)
        answers = asked(bulk, "feedback", [b"".join(lines)], model)
        assert [one["id"] for one in answers] == [f"{turn} {n}" for n in range(3_000)]
        # What was taken in is a beginning of what was sent, in its order.
        offsets = [one["offset"] for one in answers]
        assert offsets == list(range(offsets[0], offsets[0] + 3_000))
        duplicates = [one["duplicate"] for one in answers]
        assert duplicates == sorted(duplicates, reverse=True)
    assert len(ids_of(bulk, model)) == 15_000


def settled(service: Headrace, model: str) -> int:
    """How far the model has learned, once it goes no further."""
    before = -1
    while True:
        now = int(service.get(f"/v1/models/{model}").body["offset"])
        if now == before:
            return now
        before = now
        time.sleep(0.3)


def test_half_a_line_of_a_client_that_leaves_is_not_taken(bulk: Headrace, model: str) -> None:
    stream = Stream(bulk, "feedback", model)
    stream.send(example("whole", 1) + example("half", 2).strip())
    assert stream.line()["id"] == "whole"
    stream.vanish()
    assert settled(bulk, model) == 2
    assert ids_of(bulk, model) == ["whole"]


def test_other_requests_are_answered_during_a_stream(
    bulk: Headrace, model: str, record_property: Callable[[str, object], None]
) -> None:
    size = 200_000 if FULL else 30_000
    calls: dict[str, Any] = {
        "predict": {"features": {"a": 1.5, "b": 2}},
        "feedback": {"features": {"a": 1.5, "b": 2}, "label": True},
    }
    for streamed in ("predict", "feedback"):
        lines = (labels if streamed == "feedback" else _questions)(size)
        over = Event()
        with ThreadPoolExecutor(2) as pool:
            singles = [pool.submit(timed, bulk, model, c, calls[c], over) for c in calls]
            time.sleep(0.5)
            began = time.monotonic()
            chunks = (b"".join(lines[n : n + 200]) for n in range(0, size, 200))
            assert codes(asked(bulk, streamed, chunks, model)) == [None] * size
            record_property(f"{streamed}_rows_per_second", size / (time.monotonic() - began))
            over.set()
            for call, work in zip(calls, singles, strict=True):
                record_property(f"{call}_during_{streamed}_ms", work.result(60))


def _questions(size: int) -> list[bytes]:
    return [question(f"q{n}", n) for n in range(size)]


def timed(
    service: Headrace, model: str, call: str, body: Any, over: Event
) -> dict[str, float | int]:
    """How long single requests took until it was over, in milliseconds."""
    connection, took = service.connect(), list[float]()
    while not over.is_set() or len(took) < 10:
        began = time.monotonic()
        assert connection.post(f"/v1/models/{model}/{call}", body).status == 200
        took.append((time.monotonic() - began) * 1_000)
    connection.close()
    cuts = quantiles(took, n=100)
    found = {"p50": median(took), "p90": cuts[89], "p99": cuts[98], "max": max(took)}
    return {"count": len(took)} | {name: round(ms, 1) for name, ms in found.items()}


def test_a_stop_keeps_what_was_answered_and_does_not_wait_for_a_stream_for_ever(
    tmp_path: Path,
) -> None:
    with headrace(tmp_path, HEADRACE_STOP_SECONDS_MAX="2") as service:
        service.create("m")
        stream = Stream(service)
        stream.send(b"".join(labels(500)))
        answers = [stream.line() for _ in range(500)]
        began = time.monotonic()
        service.stop()
        assert time.monotonic() - began < 20
        stream.http.close()
        service.start()
        assert ids_of(service, "m") == [one["id"] for one in answers]


@in_loop
async def test_who_waits_for_room_in_the_queue_is_not_refused_however_small_it_is(
    tmp_path: Path,
) -> None:
    async with opened(settings_in(tmp_path, append_queue_max=256)) as runtime:
        replica = await create(runtime)
        body = entries.encode(entries.Example({"a": 1.0}, True))
        drafts = [
            Draft(replica.id, "example", f"f{n}", None, runtime.clock(), body) for n in range(456)
        ]
        parts = (drafts[:100], drafts[100:356], drafts[356:])
        futures = [await runtime.log.enqueue(part, waits=True) for part in parts]
        outcomes = [one for future in futures for one in await runtime.log.durable(future)]
        assert outcomes == [Receipt(n + 2, duplicate=False) for n in range(456)]
