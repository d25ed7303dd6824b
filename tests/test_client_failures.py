"""What the client makes of failures: which error, whether it is tried again, and when it ends."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain, repeat
from typing import Any

import pytest

from app import client as package
from app import errors
from app.api.errors import STATUS, render
from app.client import (
    AsyncClient,
    Client,
    HeadraceError,
    Prediction,
    ServiceUnreachable,
    Unavailable,
)
from app.client.failures import FAMILIES, Transient, refusal
from tests.process import LINEAR, free_port
from tests.stranger import PREDICTED, Slow, Stranger, problem
from tests.test_errors import SERVED


def test_every_error_that_is_served_can_be_caught_by_its_name() -> None:
    assert set(package.__all__) >= {error.__name__ for error in SERVED}
    for name in package.__all__:
        assert getattr(package, name).__doc__, name


@pytest.mark.parametrize("kind", SERVED[1:])
def test_a_problem_is_raised_as_the_class_that_it_was(kind: type[HeadraceError]) -> None:
    status, headers, body = render(kind("What. What to do.", [errors.Problem("a.b", "is so")]))
    found = refusal(status, headers.get("retry-after"), body)
    error = found.error if isinstance(found, Transient) else found
    assert type(error) is kind
    assert (str(error), error.problems) == ("What. What to do.", (("a.b", "is so"),))
    assert isinstance(found, Transient) == (status == 503)


def test_a_code_that_is_newer_than_the_client_is_its_family() -> None:
    assert {status: family for family, status in STATUS.items()}.items() <= FAMILIES.items()
    body = {"code": "label_too_odd", "status": 409, "detail": "Too odd.", "more": [1]}
    error = refusal(409, None, json.dumps(body).encode())
    assert type(error) is errors.Conflict
    assert error.__notes__ == [
        "The service's code is `label_too_odd`, which this client does not know."
    ]


def test_an_answer_with_more_and_with_less_than_is_known_is_read() -> None:
    shown = {**json.loads(PREDICTED), "colour": "red"}
    with Stranger((200, {}, json.dumps(shown).encode())).serving() as stranger:
        with Client(stranger.url) as client:
            assert client.predict("m", {}) == Prediction("a", "m", 0, 1, 1)


def test_what_is_not_headrace_is_said_to_be_none() -> None:
    page = b"<html>Welcome</html>"
    for status, kind in ((200, HeadraceError), (404, errors.NotFound), (502, Unavailable)):
        with Stranger((status, {}, page)).serving() as stranger:
            with Client(stranger.url, retries=0) as client:
                with pytest.raises(kind, match="Mend the address"):
                    client.predict("m", {})


def test_retry_after_is_honoured_and_the_id_is_kept() -> None:
    refused = problem(errors.Overloaded("Too much. Send it again."))
    with Stranger(refused, refused, (200, {}, PREDICTED)).serving() as stranger:
        with Client(stranger.url) as client:
            start = time.monotonic()
            client.predict("m", {"x": 1})
            assert time.monotonic() - start >= 2
    bodies = [body for _, _, body in stranger.asked]
    assert len(bodies) == 3 and len(set(bodies)) == 1
    assert "id" in json.loads(bodies[0])


def test_a_wait_that_is_too_long_is_left_to_the_caller() -> None:
    full = problem(errors.TooManyModels("Too many. Delete some."))
    assert full[1]["retry-after"] == "60"
    with Stranger(full).serving() as stranger, Client(stranger.url) as client:
        with pytest.raises(errors.TooManyModels):
            client.create_model("m", "binary", LINEAR)
    assert len(stranger.asked) == 1


def test_what_does_not_pass_is_not_tried_again() -> None:
    with Stranger(problem(errors.Internal("A bug."))).serving() as stranger:
        with Client(stranger.url) as client, pytest.raises(errors.Internal):
            client.predict("m", {})
    assert len(stranger.asked) == 1


def test_a_service_that_is_not_there_is_unreachable() -> None:
    with Client(f"http://127.0.0.1:{free_port()}", retries=2) as client:
        assert not client.is_ready()
        with pytest.raises(Unavailable) as raised:
            client.model("m")
        assert type(raised.value) is ServiceUnreachable


def test_the_client_moves_on_from_an_address_that_fails_and_stays_with_one_that_works(
    caller: Client, url: str
) -> None:
    busy = problem(errors.NotReady("Being restored. Try again."))
    dead = f"http://127.0.0.1:{free_port()}"
    with Stranger(busy).serving() as stranger:
        with Client([dead, stranger.url, url], retries=0) as client:
            start = time.monotonic()
            for _ in range(5):
                client.predict("m", {"x": 1})
            assert time.monotonic() - start < 1, "it does not wait before it moves on"
    assert len(stranger.asked) == 1


def test_from_asyncio_it_moves_on_too(caller: Client, url: str) -> None:
    async def run() -> None:
        dead = f"http://127.0.0.1:{free_port()}"
        async with AsyncClient([dead, url], retries=0) as client:
            answers = await asyncio.gather(*(client.predict("m", {"x": n}) for n in range(20)))
            assert len(answers) == 20

    asyncio.run(run())


GARBLED = b'{"id": "\xff\xfe", "model": "m", "version": 0, "offset": 1, "prediction": 1}'
DEEP = b'{"learner":' + b"[" * 100_000
SOMEWHERE = b'{"entries": [{"kind": "created"}], "next": null}'


@pytest.mark.parametrize("body", [GARBLED, DEEP, SOMEWHERE], ids=["utf-8", "deep", "entry"])
def test_an_answer_that_cannot_be_read_is_an_error_of_the_tree(body: bytes) -> None:
    async def from_a_task(url: str) -> None:
        async with AsyncClient(url) as client:
            [_ async for _ in client.log("m")]

    with Stranger((200, {}, body)).serving() as stranger, Client(stranger.url) as client:
        for read in (lambda: client.predict("m", {}), lambda: client.model("m")):
            with pytest.raises(HeadraceError, match="not one that this client reads"):
                read()
        with pytest.raises(HeadraceError, match="not one that this client reads"):
            list(client.log("m"))
        with pytest.raises(HeadraceError, match="not one that this client reads"):
            list(client.predict_many("m", [{"features": {}}]))
        with pytest.raises(HeadraceError, match="not one that this client reads"):
            asyncio.run(from_a_task(stranger.url))
    assert len(stranger.asked) == 5, "it is not tried again"


def test_a_failure_that_cannot_be_read_is_told_by_its_status() -> None:
    garbled = b'{"code": "\xff", "status": 503}'
    with Stranger((503, {}, garbled), (200, {}, PREDICTED)).serving() as stranger:
        with Client(stranger.url) as client:
            assert client.predict("m", {}).id == "a"
    with Stranger((404, {}, garbled)).serving() as stranger, Client(stranger.url) as client:
        with pytest.raises(errors.NotFound, match="not Headrace"):
            client.predict("m", {})


def test_a_broken_encoding_is_an_error_of_the_tree() -> None:
    async def from_a_task(url: str) -> None:
        async with AsyncClient(url) as client:
            await client.predict("m", {})

    broken = (200, {"content-encoding": "gzip"}, PREDICTED)
    with Stranger(broken).serving() as stranger, Client(stranger.url) as client:
        with pytest.raises(HeadraceError, match="not one that this client reads"):
            client.predict("m", {})
        with pytest.raises(HeadraceError, match="not one that this client reads"):
            list(client.predict_many("m", [{"features": {}}]))
        with pytest.raises(HeadraceError, match="not one that this client reads"):
            asyncio.run(from_a_task(stranger.url))
        assert not client.is_ready()
    assert len(stranger.asked) == 4, "it is not tried again"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("9" * 400, 86_400),
        ("86401", 86_400),
        ("31", 31),
        ("in an hour", 3_600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
    ],
)
def test_a_wait_that_is_too_long_is_told_and_not_kept(said: str, told: int) -> None:
    if said == "in an hour":
        said = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    away = (503, {"retry-after": said}, b"{}")
    with Stranger(away).serving() as stranger, Client(stranger.url) as client:
        with pytest.raises(Unavailable) as raised:
            client.predict("m", {})
    assert told - 60 <= raised.value.retry_after_seconds <= told
    assert len(stranger.asked) == 1


@pytest.mark.parametrize(
    "said",
    [
        "nan",
        "inf",
        "-1",
        "-inf",
        "1.5",
        "1e9",
        "soon",
        "\xb2",
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wed, 21 Oct 99999 07:28:00 GMT",
        "Wed, 21 Oct 2015 07:28:00 +9999999999999",
    ],
)
def test_a_wait_that_is_none_is_not_kept(said: str) -> None:
    found = refusal(503, said, b"{}")
    assert isinstance(found, Transient) and isinstance(found.error, Unavailable)
    assert (found.after_seconds, found.error.retry_after_seconds) == (0.0, 0)


def test_a_wait_until_a_date_is_kept() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    found = refusal(503, soon, b"{}")
    assert isinstance(found, Transient)
    assert 15 < found.after_seconds <= 20


def drops(*first: bytes) -> Callable[[], Iterator[bytes]]:
    """The beginning of an answer, which then goes on byte by byte and never ends."""
    return lambda: chain(first, repeat(b"x"))


BEGUN = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n"


@pytest.mark.parametrize("start", [BEGUN + b"\r\n", BEGUN + b"name: ", b""])
def test_an_answer_that_drips_ends_in_time(start: bytes) -> None:
    async def from_a_task(url: str) -> None:
        async with AsyncClient(url, timeout=0.5, retries=1) as client:
            await client.predict("m", {})

    with Slow(drops(start), 0.05).serving() as slow:
        with Client(slow.url, timeout=0.5, retries=1) as client:
            begun = time.monotonic()
            with pytest.raises(ServiceUnreachable, match="did not answer"):
                client.predict("m", {})
            assert 1 <= time.monotonic() - begun < 3
            assert slow.connections == 2, "it is tried again, within a time of its own"
        begun = time.monotonic()
        with pytest.raises(ServiceUnreachable, match="did not answer"):
            asyncio.run(from_a_task(slow.url))
        assert 1 <= time.monotonic() - begun < 3


def test_an_answer_that_drips_through_a_proxy_ends_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Slow(drops(BEGUN + b"\r\n"), 0.05).serving() as slow:
        monkeypatch.setenv("http_proxy", slow.url)
        with Client("http://headrace.invalid", timeout=0.5, retries=0) as client:
            begun = time.monotonic()
            with pytest.raises(ServiceUnreachable, match="did not answer"):
                client.predict("m", {})
            assert time.monotonic() - begun < 2
    assert slow.connections == 1


def test_a_question_that_is_read_slowly_ends_in_time() -> None:
    async def from_a_task(url: str) -> None:
        async with AsyncClient(url, timeout=0.5, retries=0) as client:
            await client.predict("m", large)

    large: dict[str, Any] = {"text": "x" * 32_000_000}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def read() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    while connection.recv(65_536):
                        time.sleep(0.005)

        reading = threading.Thread(target=read)
        reading.start()
        with Client(url, timeout=0.5, retries=0) as client:
            begun = time.monotonic()
            with pytest.raises(ServiceUnreachable, match="did not answer"):
                client.predict("m", large)
            assert time.monotonic() - begun < 2
        begun = time.monotonic()
        with pytest.raises(ServiceUnreachable, match="did not answer"):
            asyncio.run(from_a_task(url))
        assert time.monotonic() - begun < 2
        reading.join()
