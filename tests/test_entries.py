"""Entries: what stands in the log is what was taken in, with its types and its order."""

from typing import Any

import msgspec
import pytest

from app.entries import Created, Entry, Example, Served, Unlearnable, decode, encode, kind_of, plain

CREATED = Created(
    name="m",
    task="binary",
    learner=[{"preprocessing.StandardScaler": {"with_std": True}}],
    metrics=["metrics.Accuracy"],
    features={"b": "number", "a": "text"},
    fallback="prior",
    description="",
)


@pytest.mark.parametrize(
    "value",
    [
        *(0, 1, -1, 2**53, 2**63, 2**64, 10**300, -(10**300)),
        *(0.0, -0.0, 1.0, 0.1, 1e15, 1e300, 5e-324, 1.7976931348623157e308),
        *(True, False, None, "", "3", "1.0", "\0", "é", "\U0001f600"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_value_comes_back_to_the_last_bit_and_of_its_type(value: Any) -> None:
    served = Served(value, 7, [(value, 0.1)] if value is not None else None, 0.1, True)
    entry = Example({"x": value}, value, served)
    found = decode(encode(entry))
    assert isinstance(found, Example)
    assert repr(found) == repr(entry)
    assert type(found.features["x"]) is type(value)
    assert type(found.label) is type(value)


def test_features_keep_their_order() -> None:
    names = ["z", "a", "", "m", "B", "é", "10", "9"]
    found = decode(encode(Example({name: i for i, name in enumerate(names)}, True)))
    assert isinstance(found, Example)
    assert list(found.features) == names


def test_probabilities_keep_the_types_and_the_order_of_their_labels() -> None:
    pairs: list[tuple[Any, float]] = [("1", 0.5), (1, 0.25), (True, 0.125), (1.5, 0.125)]
    found = decode(encode(Example({}, "a", Served("1", 0, pairs))))
    assert isinstance(found, Example) and found.served is not None
    assert repr(found.served.probabilities) == repr(pairs)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [(CREATED, "created"), (Example({}, None), "example"), (Unlearnable(7, "why"), "unlearnable")],
)
def test_each_kind_comes_back_as_itself_and_says_its_kind(entry: Entry, kind: str) -> None:
    assert decode(encode(entry)) == entry
    assert kind_of(entry) == kind
    assert plain(entry)["kind"] == kind


def test_entries_of_this_release_are_read_for_ever() -> None:
    assert decode(b'{"kind":"example","features":{"a":1},"label":true}') == Example({"a": 1}, True)
    assert decode(
        b'{"kind":"example","features":{"a":1.0,"b":null},"label":0,"served":{"prediction":null,'
        b'"at":5}}'
    ) == Example({"a": 1.0, "b": None}, 0, Served(None, 5))
    assert decode(b'{"kind":"unlearnable","offset":3,"reason":"r"}') == Unlearnable(3, "r")
    assert (
        decode(
            b'{"kind":"created","name":"m","task":"binary","learner":[{'
            b'"preprocessing.StandardScaler":{"with_std":true}}],"metrics":["metrics.Accuracy"],'
            b'"features":{"b":"number","a":"text"},"fallback":"prior","description":""}'
        )
        == CREATED
    )


def test_a_field_that_a_later_release_adds_is_passed_over() -> None:
    assert decode(b'{"kind":"unlearnable","offset":3,"reason":"r","new":1}') == Unlearnable(3, "r")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"kind":"forgotten"}',
        b'{"kind":"example","features":{"a":[1]},"label":true}',
        b'{"kind":"example","label":true}',
        b"[]",
    ],
)
def test_what_is_no_entry_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(body)
