"""What can happen to a model: the kinds of entries of its log, frozen and versioned.

An entry is JSON, tagged by its kind. A kind, once released, is read for ever: a field may be added
with a default, none may change its meaning (that takes another kind). Decoding gives exactly what
was taken in: features keep their order, `1` stays an integer and `1.0` a float.
"""

from typing import Any, Literal

import msgspec

Scalar = bool | int | float | str | None
"""A feature's value; null is *missing*."""

Label = bool | int | float | str
Features = dict[str, Scalar]
FeatureType = Literal["number", "category", "boolean", "text"]
Fallback = Literal["prior", "error"]
Task = Literal["binary", "multiclass", "regression", "anomaly"]


class Created(msgspec.Struct, frozen=True, tag="created", tag_field="kind"):
    """A model begins: offset 1 of every log. The specs are in their full stored form."""

    name: str
    task: Task
    learner: Any
    metrics: list[Any]
    features: dict[str, FeatureType]
    fallback: Fallback
    description: str


class Served(msgspec.Struct, frozen=True, omit_defaults=True):
    """What predict answered: what the label is scored on.

    `probabilities` are pairs, so that a label keeps its type; `at` is in microseconds.
    """

    prediction: Label | None
    at: int
    probabilities: list[tuple[Label, float]] | None = None
    score: float | None = None
    fallback: bool = False


class Example(msgspec.Struct, frozen=True, omit_defaults=True, tag="example", tag_field="kind"):
    """Features with their label; `served` if they come from a prediction that was answered."""

    features: Features
    label: Label | None
    served: Served | None = None


class Unlearnable(msgspec.Struct, frozen=True, tag="unlearnable", tag_field="kind"):
    """The learner broke on the example at `offset`, and every process goes on without it."""

    offset: int
    reason: str


Entry = Created | Example | Unlearnable

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """The entry as it stands in the log."""
    return _encoder.encode(entry)


def decode(body: bytes) -> Entry:
    """The entry that stands in the log. Raises `msgspec.ValidationError` if it is none."""
    return _decoder.decode(body)


def kind_of(entry: Entry) -> str:
    """The entry's tag, as in the column `kind`."""
    return str(type(entry).__struct_config__.tag)


def plain(struct: msgspec.Struct) -> dict[str, Any]:
    """A struct as what JSON would make of it."""
    found: dict[str, Any] = msgspec.to_builtins(struct)
    return found
