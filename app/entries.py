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
Origin = Literal["given", "default"]
"""Who said a label: somebody, or the model's rule for labels that do not come."""


class LabelRules(msgspec.Struct, frozen=True):
    """What holds of a model's labels that come late, twice, too early or never.

    `wait_seconds` after a prediction its label is late; if none came, `default` is learned, unless
    that is None. `early_seconds` is how long a label waits for a prediction that is not there yet.
    """

    wait_seconds: float = 604_800.0
    default: Label | None = None
    late: Literal["learn", "record", "refuse"] = "learn"
    duplicates: Literal["refuse", "first", "correct"] = "refuse"
    early_seconds: float = 5.0


class Created(msgspec.Struct, frozen=True, tag="created", tag_field="kind"):
    """A model begins: offset 1 of every log. The specs are in their full stored form."""

    name: str
    task: Task
    learner: Any
    metrics: list[Any]
    features: dict[str, FeatureType]
    fallback: Fallback
    description: str
    labels: LabelRules = msgspec.field(default_factory=LabelRules)


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
    """Features with their label; `served` if they come from a prediction that was answered.

    `late`: the label came after its wait. `early`: it came before its prediction, and waited. Not
    `learned`: it is scored and counted, and the learner goes on without it.
    """

    features: Features
    label: Label | None
    served: Served | None = None
    origin: Origin = "given"
    late: bool = False
    early: bool = False
    learned: bool = True


class Correction(
    msgspec.Struct, frozen=True, omit_defaults=True, tag="correction", tag_field="kind"
):
    """The example at `offset` is scored on `label` from here on, and on `previous` no longer.

    `replaced` says whose label `previous` was. `features` if `label` is learned too: only if it
    takes the place of a default.
    """

    offset: int
    label: Label | None
    previous: Label | None
    served: Served
    replaced: Origin = "given"
    features: Features | None = None
    late: bool = False


class Unlearnable(msgspec.Struct, frozen=True, tag="unlearnable", tag_field="kind"):
    """The learner broke on the example at `offset`, and every process goes on without it."""

    offset: int
    reason: str


Entry = Created | Example | Correction | Unlearnable

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
