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

PERSON = "person"
"""Who did what no job did."""


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


class SnapshotRules(msgspec.Struct, frozen=True):
    """When a version is made by itself: whichever comes first, and only if something was learned.

    None is never.
    """

    every_seconds: float | None = 600.0
    every_examples: int | None = 1_000


class VersionRules(msgspec.Struct, frozen=True):
    """How versions of a model are made, validated and served.

    `serve`: answers come from the learner as of the last feedback (`live`), or from the newest
    version that was found valid (`validated`), which takes its place by itself if `auto_swap`.
    `on_invalid` is what is done when the live learner is found worse than a valid version: its last
    `window` scored examples show, by more than `tolerance`, at 95 % confidence.
    """

    snapshot: SnapshotRules = msgspec.field(default_factory=SnapshotRules)
    serve: Literal["live", "validated"] = "live"
    auto_swap: bool = True
    on_invalid: Literal["alert", "freeze", "rollback"] = "alert"
    window: int = 1_000
    tolerance: float = 0.02


class Budget(msgspec.Struct, frozen=True):
    """What a learner may take: bytes of memory, and milliseconds of an answer."""

    bytes: int = 268_435_456
    predict_ms: float = 50.0


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
    versions: VersionRules = msgspec.field(default_factory=VersionRules)
    budget: Budget = msgspec.field(default_factory=Budget)


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


class Changed(msgspec.Struct, frozen=True, tag="changed", tag_field="kind"):
    """What holds of a model from here on: all of it, changed or not."""

    description: str
    versions: VersionRules
    budget: Budget
    reason: str = ""
    by: str = PERSON


class Swapped(msgspec.Struct, frozen=True, tag="swapped", tag_field="kind"):
    """The version of this number, taken at `version_offset`, answers from here
    on.

    Of a model that serves `live` it also learns on from there, as after `RolledBack`.
    """

    version: int
    version_offset: int
    reason: str = ""
    by: str = PERSON


class RolledBack(msgspec.Struct, frozen=True, tag="rolled_back", tag_field="kind"):
    """The model continues from the version of this number, taken at `version_offset`.

    With `replay` of `since` it first learns again what came since that offset.
    """

    version: int
    version_offset: int
    replay: Literal["none", "since"] = "none"
    reason: str = ""
    by: str = PERSON


class Frozen(msgspec.Struct, frozen=True, tag="frozen", tag_field="kind"):
    """Examples are scored and not learned, from here on."""

    reason: str = ""
    by: str = PERSON


class Unfrozen(msgspec.Struct, frozen=True, tag="unfrozen", tag_field="kind"):
    """Examples are learned again; with `learn` first of all those that came since it was frozen."""

    learn: bool
    reason: str = ""
    by: str = PERSON


Entry = (
    Created
    | Example
    | Correction
    | Unlearnable
    | Changed
    | Swapped
    | RolledBack
    | Frozen
    | Unfrozen
)

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
