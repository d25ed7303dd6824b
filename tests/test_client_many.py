"""Many items by one call: their order, their errors, what is held and what is sent again."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from itertools import chain, repeat
from typing import Any

import pytest

from app import errors
from app.client import (
    AsyncClient,
    Client,
    Feedback,
    HeadraceError,
    InvalidFeatures,
    InvalidLabel,
    Prediction,
    ServiceUnreachable,
    Unavailable,
    UnknownModel,
    UnknownPrediction,
)
from app.client.calls import Seen
from app.client.chunks import BYTES_MAX, LINE_BYTES_MAX, Chunk, predict
from tests.process import LINEAR
from tests.stranger import PREDICTED, Slow, Stranger, problem


def test_all_pages_are_read(caller: Client) -> None:
    items = ({"features": {"x": n}, "label": True} for n in range(2_100))
    offsets = [r.offset for r in caller.feedback_many("m", items) if isinstance(r, Feedback)]
    assert [entry.offset for entry in caller.log("m")] == [1, *offsets]
    assert [entry.offset for entry in caller.log("m", after=2_099)] == [2_100, 2_101]


def test_a_label_may_hold_what_python_takes_for_the_end_of_a_line(caller: Client) -> None:
    label = "a\u2028b\x85c"
    caller.create_model("words", "multiclass", "naive_bayes.GaussianNB")
    caller.feedback("words", label, features={"x": 1.0})
    [answer] = caller.predict_many("words", [{"features": {"x": 1.0}}])
    assert isinstance(answer, Prediction) and answer.prediction == label


def test_many_yields_an_error_in_its_place_and_goes_on(caller: Client) -> None:
    caller.create_model("hasty", "binary", LINEAR, labels={"early_seconds": 0.0})
    items: list[dict[str, Any]] = [
        {"features": {"x": 1}, "label": True, "id": "a"},
        {"features": {"x": "one"}, "label": True},
        {"prediction_id": "never", "label": True},
        {"features": {"x": 1}, "label": "yes"},
        {"features": {"x": 2}, "label": 0, "nonsense": 1},
        {"features": {"x": 2}, "label": False, "id": "b"},
        {"features": {"x": 2}, "label": False, "id": "a"},
    ]
    kinds = [Feedback, InvalidFeatures, UnknownPrediction, InvalidLabel, errors.InvalidBody]
    results = list(caller.feedback_many("hasty", items, chunk=2))
    assert [type(result) for result in results] == [*kinds, Feedback, Feedback]
    first, last = results[0], results[-1]
    assert isinstance(first, Feedback) and isinstance(last, Feedback)
    assert (last.offset, last.duplicate) == (first.offset, True)


def test_many_raises_what_concerns_all(caller: Client) -> None:
    large = [{"features": {f"x{n}": n for n in range(2_000)}} for _ in range(100)]
    with pytest.raises(UnknownModel):
        list(caller.predict_many("none", large))
    assert list(caller.predict_many("none", [])) == []


def test_many_holds_no_more_than_a_chunk(caller: Client) -> None:
    taken = 0

    def source() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"features": {"x": taken}}

    results = caller.predict_many("m", source(), chunk=10)
    for count in range(1, 101):
        assert isinstance(next(results), Prediction)
        assert taken <= count + 10


def test_a_chunk_is_bounded_in_bytes() -> None:
    batch = predict("m", 1_000, Seen(False))
    sizes = [len(chunk) for chunk in batch.chunks([{"text": "x" * (BYTES_MAX // 4)}] * 9)]
    assert sizes == [4, 4, 1]


def test_many_sends_only_what_failed_for_a_while_again() -> None:
    _, _, busy = problem(errors.Overloaded("A queue is full. Send it again."))
    _, _, wrong = problem(errors.InvalidFeatures("No. Send others."))
    answers = [b"\n".join([PREDICTED, busy, wrong, busy]), b"\n".join([PREDICTED, PREDICTED])]
    with Stranger(*((200, {}, body + b"\n") for body in answers)).serving() as stranger:
        with Client(stranger.url) as client:
            results = list(client.predict_many("m", [{"features": {"x": n}} for n in range(4)]))
    assert [type(r) for r in results] == [Prediction, Prediction, InvalidFeatures, Prediction]
    first, second = (
        [json.loads(line) for line in body.splitlines()] for *_, body in stranger.asked
    )
    assert second == [first[1], first[3]], "under the ids that they had"


def test_when_tries_are_spent_items_yield_their_own_error_and_the_rest_goes_on() -> None:
    _, _, busy = problem(errors.Overloaded("A queue is full. Send it again."))
    with Stranger((200, {}, busy + b"\n")).serving() as stranger:
        with Client(stranger.url, retries=1) as client:
            results = list(client.predict_many("m", [{"features": {}}] * 2, chunk=1))
    assert [type(result) for result in results] == [errors.Overloaded, errors.Overloaded]
    assert len(stranger.asked) == 4


def test_when_the_answer_ends_early_what_came_is_yielded_before_the_error() -> None:
    with Stranger((200, {}, PREDICTED + b"\n")).serving() as stranger:
        with Client(stranger.url, retries=0) as client:
            results = client.predict_many("m", [{"features": {}}] * 3)
            assert isinstance(next(results), Prediction)
            with pytest.raises(ServiceUnreachable, match="ended early"):
                next(results)


def test_a_bar_shows_how_many_are_done(caller: Client, capsys: pytest.CaptureFixture[str]) -> None:
    items = [{"features": {"x": n}} for n in range(30)]
    assert len(list(caller.predict_many("m", items, progress=True, chunk=10))) == 30
    assert "30/30" in capsys.readouterr().err


def test_a_generator_that_is_left_early_leaves_nothing_open(caller: Client, url: str) -> None:
    async def source() -> AsyncIterator[dict[str, Any]]:
        for n in range(100):
            yield {"features": {"x": n}}

    async def run() -> None:
        async with AsyncClient(url) as client:
            results = client.predict_many("m", source(), chunk=5)
            async for result in results:
                assert isinstance(result, Prediction)
                break
            await results.aclose()

    asyncio.run(run())
    next(iter(caller.predict_many("m", [{"features": {"x": 1}}] * 10, chunk=5)))


def test_many_go_on_for_as_long_as_something_comes() -> None:
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    lines = (PREDICTED + b"\n") * 2
    parts = [head, *(lines[start : start + 8] for start in range(0, len(lines), 8))]
    with Slow(lambda: parts, 0.05).serving() as slow:
        with Client(slow.url, timeout=0.5, retries=0) as client:
            begun = time.monotonic()
            results = list(client.predict_many("m", [{"features": {}}] * 2))
            assert time.monotonic() - begun > 0.5, "longer than one call may take"
    assert [type(result) for result in results] == [Prediction, Prediction]


def test_a_line_that_does_not_end_is_not_held() -> None:
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + PREDICTED + b"\n"
    with Slow(lambda: chain([head], repeat(b"x" * 1_048_576)), 0).serving() as slow:
        with Client(slow.url) as client:
            results = client.predict_many("m", [{"features": {}}] * 2)
            assert isinstance(next(results), Prediction), "what came before stands"
            with pytest.raises(HeadraceError, match="A line of the answer is over") as raised:
                next(results)
    assert not isinstance(raised.value, Unavailable)
    assert slow.connections == 1, "it is not tried again"


def test_a_long_line_is_read_in_linear_time() -> None:
    chunk = Chunk(predict("m", 1, Seen(False)))
    chunk.add({"features": {}})
    chunk.body()
    begun = time.process_time()
    for _ in range(LINE_BYTES_MAX // 128):
        chunk.read(b" " * 128)
    assert time.process_time() - begun < 2
    # The end of one line and the start of the next come in one part.
    chunk.read(b"\n" + PREDICTED[:9])
    chunk.read(PREDICTED[9:])
    chunk.end()
    assert [type(outcome) for outcome in chunk.outcomes()] == [Prediction]


def test_a_line_that_is_not_utf_8_is_an_error_behind_what_came() -> None:
    body = PREDICTED + b'\n{"id": "\xff", "model": "m", "version": 0, "offset": 1}\n'
    with Stranger((200, {}, body)).serving() as stranger, Client(stranger.url) as client:
        results = client.predict_many("m", [{"features": {}}] * 2)
        assert isinstance(next(results), Prediction)
        with pytest.raises(HeadraceError, match="not one that this client reads"):
            next(results)
    assert len(stranger.asked) == 1
