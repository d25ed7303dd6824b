"""The tree of errors: codes, status, the problem that a caller is sent."""

import inspect
import json
import re

import pytest

from app import errors
from app.api.errors import STATUS, TITLES, render, status_of
from app.errors import HeadraceError, Problem, StartRefused, code_of


def tree(root: type[HeadraceError] = HeadraceError) -> list[type[HeadraceError]]:
    """An error class of the service and all below it; the client has one of its own."""
    below = [child for child in root.__subclasses__() if child.__module__ == errors.__name__]
    return [root, *(found for child in below for found in tree(child))]


SERVED = [error for error in tree() if not issubclass(error, StartRefused)]


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"^ +[│├└─ ]*([A-Z]\w+)", inspect.getdoc(errors) or "", re.MULTILINE)
    assert sorted(drawn) == sorted(error.__name__ for error in tree())


def test_every_error_says_in_a_sentence_what_it_means() -> None:
    for error in tree():
        assert (error.__doc__ or "").rstrip().endswith("."), error


def test_codes_are_stable_and_each_is_one_errors() -> None:
    codes = [code_of(error) for error in tree()]
    assert len(set(codes)) == len(codes)
    assert code_of(errors.UnknownModel) == "unknown_model"
    assert code_of(errors.InvalidSpec) == "invalid_spec"
    assert errors.NotReady("").code == "not_ready"


@pytest.mark.parametrize("family", STATUS)
def test_every_error_has_its_familys_status(family: type[HeadraceError]) -> None:
    for error in tree(family):
        assert status_of(error("")) == STATUS[family]
        assert STATUS[family] in TITLES


def test_every_error_that_is_served_belongs_to_a_family() -> None:
    orphans = [error for error in SERVED if not issubclass(error, tuple(STATUS))]
    assert orphans == [HeadraceError]


@pytest.mark.parametrize("error", SERVED[1:])
def test_an_error_is_rendered_as_a_problem(error: type[HeadraceError]) -> None:
    status, headers, body = render(error("What is wrong. What to do.", [Problem("a.b", "is so")]))
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body) == {
        "type": f"urn:headrace:error:{code_of(error)}",
        "title": TITLES[status],
        "status": status,
        "code": code_of(error),
        "detail": "What is wrong. What to do.",
        "errors": [{"place": "a.b", "reason": "is so"}],
    }


def test_what_passes_by_itself_says_when_to_try_again() -> None:
    for error in SERVED:
        _, headers, _ = render(error(""))
        passes = issubclass(error, errors.Unavailable | errors.TooMany)
        assert ("retry-after" in headers) == passes
        assert not passes or int(headers["retry-after"]) >= 1
