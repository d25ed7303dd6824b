"""The client against real services: every call, the examples, the labels and the names."""

import asyncio
import doctest
import re
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import pytest

from app.client import (
    AsyncClient,
    Client,
    HeadraceError,
    InvalidFeatures,
    InvalidLabel,
    ModelExists,
    UnknownModel,
    UnknownPrediction,
)
from tests.pages import ROOT, blocks
from tests.process import LINEAR


def test_the_client_pulls_in_nothing_of_the_service_but_its_errors() -> None:
    code = "import sys, app.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"river", "fastapi", "starlette", "sqlalchemy", "pydantic", "numpy", "tqdm", "learners"}
    assert not loaded & heavy
    ours = {name for name in loaded if re.match(r"app\.(?!client)", name)}
    assert ours == {"app.errors"}


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
            assert (await client.reproduce("n", asked.id)).equal
            assert (await client.metrics("n")).counts.labelled == 1
            assert [entry.kind async for entry in client.log("n")] == ["created", "example"]
            assert (await client.learners()).learners
            with pytest.raises(ModelExists):
                await client.create_model("n", "binary", LINEAR)
            await client.delete_model("n")
            with pytest.raises(UnknownModel):
                await client.delete_model("n")

    asyncio.run(run())


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


def test_a_client_needs_urls() -> None:
    for wrong in ("localhost:8000", [], ["http://a", "ftp://b"]):
        with pytest.raises(ValueError, match="URL"):
            Client(wrong)


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


def test_what_labels_do_is_asked_for_and_shown(caller: Client) -> None:
    made = caller.create_model("late", "binary", LINEAR, labels={"late": "record"})
    assert made.labels is not None
    assert (made.labels.late, made.labels.duplicates) == ("record", "refuse")
    found = caller.metrics("late")
    assert found.labels is not None and found.labels.given == 0
    assert found.label_delay_histogram is not None
