"""Fixtures: a service in a process of its own, and one inside the test's process."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app.client import Client
from app.main import create_app
from app.settings import Settings
from tests import databases
from tests.process import LINEAR, Headrace, headrace

FULL = os.environ.get("HEADRACE_TEST_FULL") == "1"
"""Whether the long suites run in their full form (`make soak`)."""


names = (f"m{n}" for n in count())
"""Names of models, each another."""


@pytest.fixture(params=databases.KINDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Databases are of this kind: whoever uses it runs over each."""
    with databases.of(request.param):
        yield request.param


@pytest.fixture
def full() -> bool:
    """Whether the long suites run in their full form."""
    return FULL


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a database file of the test's own."""
    return Settings(database_url=databases.blank(tmp_path), jobs="inside")


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """The application in this process, its lifespan running."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Headrace]:
    """A real process."""
    with headrace(tmp_path) as service:
        yield service


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headrace]:
    """A real process for all tests of a file."""
    with headrace(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def bulk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Headrace]:
    """One service for models of the tests' own, under the `LIMITS` of their file."""
    with headrace(tmp_path_factory.mktemp("bulk"), **request.module.LIMITS) as service:
        yield service


@pytest.fixture
def model(bulk: Headrace) -> str:
    """A model of the test's own, in the service of its file."""
    name = next(names)
    bulk.create(name)
    return name


@pytest.fixture
def url(lasting: Headrace) -> str:
    """Where the process of the file is reached."""
    return f"http://127.0.0.1:{lasting.port}"


@pytest.fixture
def caller(url: str) -> Iterator[Client]:
    """The Python client of a service that has the model `m`, fresh, and no other."""
    with Client(url) as caller:
        for model in caller.models():
            caller.delete_model(model.name)
        caller.create_model("m", "binary", LINEAR)
        yield caller


def problem(reply: Response) -> str:
    """The code of an answer that is a problem."""
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    return str(reply.json()["code"])
