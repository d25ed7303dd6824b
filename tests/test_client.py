"""The client against real services: every call, every error, many items, several addresses."""

import asyncio
import doctest
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any

import numpy as np
import pytest

from app import client as package
from app import errors
from app.api.errors import STATUS, render
from app.client import (
    AsyncClient,
    Client,
    Feedback,
    HeadraceError,
    InvalidFeatures,
    InvalidLabel,
    ModelExists,
    Prediction,
    ServiceUnreachable,
    Unavailable,
    UnknownModel,
    UnknownPrediction,
)
from app.client.chunks import BYTES_MAX, Batch
from app.client.failures import FAMILIES, Transient, refusal
from tests.process import LINEAR, Headrace, free_port, headrace
from tests.test_docs import ROOT, blocks
from tests.test_errors import SERVED


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headrace]:
    """One service for all of this file."""
    with headrace(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def url(service: Headrace) -> str:
    """Where the service is."""
    return f"http://127.0.0.1:{service.port}"


@pytest.fixture
def caller(url: str) -> Iterator[Client]:
    """A client of a service that has the model `m`, fresh, and no other."""
    with Client(url) as caller:
        for model in caller.models():
            caller.delete_model(model.name)
        caller.create_model("m", "binary", LINEAR)
        yield caller


class Stranger:
    """A server that is not Headrace and answers what it is told to; `asked` is what it heard."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self._answers = list(answers)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("content-length", 0))
                stranger.asked.append((self.command, self.path, self.rfile.read(length)))
                last = len(stranger._answers) == 1
                status, headers, body = stranger._answers[0] if last else stranger._answers.pop(0)
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_DELETE = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler

    @contextmanager
    def serving(self) -> Iterator["Stranger"]:
        """Answer, from a thread."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def problem(error: HeadraceError) -> tuple[int, dict[str, str], bytes]:
    """An error as the service answers it."""
    return render(error)


PREDICTED = json.dumps(
    {"id": "a", "model": "m", "version": 0, "offset": 1, "prediction": 1}
).encode()


def test_the_client_pulls_in_nothing_of_the_service_but_its_errors() -> None:
    code = "import sys, app.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"river", "fastapi", "starlette", "sqlalchemy", "pydantic", "numpy", "tqdm", "learners"}
    assert not loaded & heavy
    ours = {name for name in loaded if re.match(r"app\.(?!client)", name)}
    assert ours == {"app.errors"}


def test_every_error_that_is_served_can_be_caught_by_its_name() -> None:
    assert set(package.__all__) >= {error.__name__ for error in SERVED}
    for name in package.__all__:
        assert getattr(package, name).__doc__, name


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_examples_of_the_docstrings_run(caller: Client, url: str, kind: type[Any]) -> None:
    examples = [test for test in doctest.DocTestFinder().find(kind, kind.__name__) if test.examples]
    assert len(examples) == (14 if kind is Client else 1)
    for test in examples:
        for model in caller.models():
            caller.delete_model(model.name)
        caller.create_model("phishing", "binary", LINEAR)
        test.globs = {"client": caller}
        for example in test.examples:
            example.source = example.source.replace("http://localhost:8000", url)
        said = StringIO()
        failed, _ = doctest.DocTestRunner(verbose=False).run(test, out=said.write)
        assert not failed, said.getvalue()


def test_the_examples_of_the_page_run(caller: Client, url: str) -> None:
    caller.delete_model("m")
    names: dict[str, Any] = {}
    said = StringIO()
    for language, text in blocks((ROOT / "docs" / "client.md").read_text(), "python", "text"):
        if language == "text":
            assert said.getvalue().endswith(text)
            continue
        with redirect_stdout(said):
            exec(
                compile(text.replace("http://localhost:8000", url), "docs/client.md", "exec"), names
            )
    assert "There is no model named 'none'" in said.getvalue()


def test_the_page_names_every_call() -> None:
    page = (ROOT / "docs" / "client.md").read_text()
    calls = {name for name in vars(Client) if not name.startswith("_")} - {"close"}
    assert calls <= set(re.findall(r"`(?:[^`]*\b)?(\w+)\(", page)) | set(
        re.findall(r"(\w+)\(", page)
    )


def test_both_clients_have_the_same_calls() -> None:
    def public(kind: type[Any]) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(Client) - {"close"} == public(AsyncClient) - {"aclose"}


def test_every_call_from_asyncio(caller: Client, url: str) -> None:
    async def run() -> None:
        async with AsyncClient(url) as client:
            assert await client.is_ready()
            made = await client.create_model("n", "binary", LINEAR, description="of a task")
            assert (await client.model("n")) == made
            assert [model.name async for model in client.models()] == ["m", "n"]
            asked = await client.predict("n", {"x": 1})
            taught = await client.feedback("n", True, prediction_id=asked.id)
            assert (await client.prediction("n", asked.id)).feedback_id == taught.id
            assert (await client.metrics("n")).counts.labelled == 1
            assert [entry.kind async for entry in client.log("n")] == ["created", "example"]
            assert (await client.learners()).learners
            with pytest.raises(ModelExists):
                await client.create_model("n", "binary", LINEAR)
            await client.delete_model("n")
            with pytest.raises(UnknownModel):
                await client.delete_model("n")

    asyncio.run(run())


def test_all_pages_are_read(caller: Client) -> None:
    items = ({"features": {"x": n}, "label": True} for n in range(2_100))
    offsets = [r.offset for r in caller.feedback_many("m", items) if isinstance(r, Feedback)]
    assert [entry.offset for entry in caller.log("m")] == [1, *offsets]
    assert [entry.offset for entry in caller.log("m", after=2_099)] == [2_100, 2_101]


def test_zero_false_and_the_empty_string_are_labels(caller: Client) -> None:
    caller.create_model("words", "multiclass", "naive_bayes.GaussianNB")
    caller.create_model("numbers", "regression", "linear_model.LinearRegression")
    for model, label in (("m", False), ("m", 0), ("words", ""), ("words", "a"), ("numbers", 0)):
        caller.feedback(model, label, features={"x": 1.0})
        *_, last = caller.log(model)
        assert last.fields["label"] == label
    with pytest.raises(InvalidLabel):
        caller.feedback("m", features={"x": 1.0})
    with pytest.raises(InvalidLabel):
        caller.feedback("m", None, features={"x": 1.0})


def test_an_anomaly_needs_no_label(caller: Client) -> None:
    caller.create_model("odd", "anomaly", "anomaly.HalfSpaceTrees")
    assert caller.feedback("odd", features={"x": 0.5}).offset == 2
    assert caller.predict("odd", {"x": 0.5}).score is not None


def test_a_label_may_hold_what_python_takes_for_the_end_of_a_line(caller: Client) -> None:
    label = "a\u2028b\x85c"
    caller.create_model("words", "multiclass", "naive_bayes.GaussianNB")
    caller.feedback("words", label, features={"x": 1.0})
    [answer] = caller.predict_many("words", [{"features": {"x": 1.0}}])
    assert isinstance(answer, Prediction) and answer.prediction == label


def test_numbers_of_numpy_are_numbers_and_nan_is_refused(caller: Client) -> None:
    features: dict[str, Any] = {"a": np.float64(1.5), "b": np.int64(3), "c": np.bool_(True)}
    caller.predict("m", features, id="numpy")
    assert caller.prediction("m", "numpy").features == {"a": 1.5, "b": 3, "c": True}
    with pytest.raises(InvalidFeatures) as raised:
        caller.predict("m", {"a": float("nan")})
    assert raised.value.problems[0].place == "features.a"
    with pytest.raises(TypeError, match="JSON does not have"):
        caller.predict("m", {"a": {1, 2}})  # type: ignore[dict-item]


def test_a_name_stays_within_its_path(caller: Client) -> None:
    for name in ("..", "a/b", "m/../m", "?x", "#", "%2F"):
        with pytest.raises(HeadraceError):
            caller.model(name)
    for id in ("..", "a/b", "%2e", "ä"):
        caller.predict("m", {"x": 1}, id=id)
        assert caller.prediction("m", id).id == id
    with pytest.raises(UnknownPrediction):
        caller.prediction("m", ".")


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


def test_a_client_needs_urls() -> None:
    for wrong in ("localhost:8000", [], ["http://a", "ftp://b"]):
        with pytest.raises(ValueError, match="URL"):
            Client(wrong)


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


def test_what_does_not_pass_is_not_tried_again(caller: Client) -> None:
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
    batch = Batch("/", Prediction, 1_000)
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


def test_threads_may_share_a_client(caller: Client) -> None:
    def teach(start: int) -> None:
        for n in range(start, start + 50):
            caller.feedback("m", n % 2 == 0, features={"x": n}, id=f"{n}")

    threads = [threading.Thread(target=teach, args=(50 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(entry.id) for entry in caller.log("m", after=1)) == list(range(200))


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


def test_what_labels_do_is_asked_for_and_shown(caller: Client) -> None:
    made = caller.create_model("late", "binary", LINEAR, labels={"late": "record"})
    assert made.labels is not None
    assert (made.labels.late, made.labels.duplicates) == ("record", "refuse")
    found = caller.metrics("late")
    assert found.labels is not None and found.labels.given == 0
    assert found.label_delay_histogram is not None
