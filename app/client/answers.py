"""What the calls answer: frozen, and read leniently.

A field that this client does not know is passed over, and one that an older service does not send
has a default, so client and service need not be of the same release.
"""

from datetime import datetime
from typing import Any

import msgspec

Label = bool | int | float | str
Scalar = bool | int | float | str | None


class Warned(msgspec.Struct, frozen=True):
    """Something about an answer that its reader should know; `docs/api.md` lists the codes."""

    code: str
    detail: str


class Prediction(msgspec.Struct, frozen=True):
    """What a model says. `prediction` is None, with a warning, if it has no answer yet.

    `id` is what to send as `prediction_id` with the label; `probabilities` are by the label as
    text; `score` says how anomalous the features are.
    """

    id: str
    model: str
    version: int
    offset: int
    prediction: Label | None
    probabilities: dict[str, float] | None = None
    score: float | None = None
    warnings: list[Warned] | None = None


class Feedback(msgspec.Struct, frozen=True):
    """A label that is durable and learned, and where it stands in the model's log.

    `duplicate` says that this id had been taken before: by an earlier call, or by an earlier try of
    this one whose answer was lost.
    """

    id: str
    offset: int
    duplicate: bool
    warnings: list[Warned] | None = None


class Counts(msgspec.Struct, frozen=True):
    """How many examples were learned, and of what kinds."""

    examples: int = 0
    labelled: int = 0
    scored: int = 0
    unanswered: int = 0
    fallbacks: int = 0
    unlearnable: int = 0


class LabelPolicy(msgspec.Struct, frozen=True):
    """How long a model waits for labels, and what becomes of those that are late or come again."""

    wait_seconds: float | None = None
    default: Label | None = None
    late: str | None = None
    duplicates: str | None = None
    early_seconds: float | None = None


class ModelBrief(msgspec.Struct, frozen=True):
    """A model, in a list. `offset` is how far the answering process has learned its log."""

    name: str
    task: str
    description: str
    state: str
    offset: int
    created_at: datetime


class Model(msgspec.Struct, frozen=True):
    """A model, with its full stored spec and its metrics since the beginning."""

    name: str
    task: str
    description: str
    state: str
    offset: int
    created_at: datetime
    version: int
    learner: Any
    metrics: dict[str, float | None]
    metric_specs: list[Any]
    features: dict[str, str]
    fallback: str
    counts: Counts
    labels: LabelPolicy | None = None
    versions: dict[str, Any] | None = None
    budget: dict[str, Any] | None = None
    frozen: str | None = None


class Delays(msgspec.Struct, frozen=True):
    """How late the newest labels of predictions came, in seconds."""

    p50: float
    p90: float
    p99: float
    max: float


class LabelCounts(msgspec.Struct, frozen=True):
    """How many labels came, and how."""

    given: int = 0
    default: int = 0
    corrected: int = 0
    late: int = 0
    recorded: int = 0
    early: int = 0
    dangling: int = 0
    expired: int = 0


class Bucket(msgspec.Struct, frozen=True):
    """How many labels came within `le` seconds; None is any time."""

    le: float | None
    count: int


class Metrics(msgspec.Struct, frozen=True):
    """A model's quality: each example was predicted before it was learned.

    `last_1000` is over the newest scored examples; `labelled_share` is None before the first
    prediction, and `label_delay_seconds` before the first label of one.
    """

    model: str
    offset: int
    since_start: dict[str, float | None]
    last_1000: dict[str, float | None]
    counts: Counts
    predictions: int
    labelled_share: float | None = None
    label_delay_seconds: Delays | None = None
    labels: LabelCounts | None = None
    label_delay_histogram: list[Bucket] | None = None


class RememberedPrediction(msgspec.Struct, frozen=True):
    """What was asked and answered, and its label if it is known."""

    id: str
    model: str
    at: datetime
    features: dict[str, Scalar]
    answer: Prediction
    label: Label | None = None
    labelled: bool = False
    feedback_id: str | None = None
    feedback_offset: int | None = None


class Reproduction(msgspec.Struct, frozen=True):
    """What was answered, and what the state that answered it says `again`; of a linear model each
    feature's part in its sum, of a tree the path.
    """

    equal: bool
    answer: Prediction
    again: Prediction
    stamps: dict[str, str]
    contributions: dict[str, float] | None = None
    intercept: float | None = None
    path: list[str] | None = None


class LogEntry(msgspec.Struct, frozen=True):
    """An entry of a model's log. `fields` is what it holds besides, by its `kind`."""

    offset: int
    kind: str
    id: str
    at: datetime
    fields: dict[str, Any] = {}

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "LogEntry":
        """The entry that a page of the log shows so."""
        return msgspec.convert({**entry, "fields": _besides(entry)}, cls)


def _besides(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in _IN_EVERY_ENTRY}


_IN_EVERY_ENTRY = {"offset", "kind", "id", "at"}


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of something that can be named in a spec."""

    name: str
    type: str
    default: Any = None
    required: bool = False


class Learner(msgspec.Struct, frozen=True):
    """Something that can be named in a spec."""

    name: str
    kind: str
    tasks: list[str]
    sentence: str
    parameters: list[Parameter]


class Learners(msgspec.Struct, frozen=True):
    """All that can be named in a spec, and why what River has besides is `refused`."""

    learners: list[Learner]
    refused: dict[str, str]


class Check(msgspec.Struct, frozen=True):
    """One check of a version, with a sentence and its figures."""

    name: str
    passed: bool
    detail: str
    figures: dict[str, Any] = {}


class Turn(msgspec.Struct, frozen=True):
    """When a version came to answer, by whom, and why."""

    offset: int
    at: datetime
    kind: str
    version: int
    reason: str
    by: str


class Size(msgspec.Struct, frozen=True):
    """What a version's learner takes; `growth` is in bytes of memory per 1,000 examples."""

    memory_bytes: int
    state_bytes: int
    stored_bytes: int
    predict_ms: float
    growth: float | None = None


class Version(msgspec.Struct, frozen=True):
    """What a model was at an offset. What a list does not show is None, or empty."""

    model: str
    number: int
    offset: int
    at: datetime
    status: str
    pinned: bool
    note: str
    kept: bool
    source: str | None = None
    parent: int | None = None
    examples: int | None = None
    metrics: dict[str, float | None] | None = None
    recent_metrics: dict[str, float | None] | None = None
    learner: Any = None
    stamps: dict[str, str] | None = None
    size: Size | None = None
    golden: int | None = None
    checks: list[Check] | None = None
    turns: list[Turn] = []


class Worker(msgspec.Struct, frozen=True):
    """What a process that serves said of a model."""

    worker: str
    version: int
    obeys: bool


class Turned(msgspec.Struct, frozen=True):
    """What a model goes on with, from the entry at `offset` on, and what each worker says."""

    model: str
    offset: int
    version: int
    frozen: str | None = None
    workers: list[Worker] = []


class Run(msgspec.Struct, frozen=True):
    """A run of a job; `did` says what it did, or why it failed."""

    id: int
    job: str
    cause: str
    state: str
    asked_at: datetime
    did: str
    model: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: float | None = None


class ScheduledJob(msgspec.Struct, frozen=True):
    """A job, and when it runs; `every_seconds` is None if only when wanted."""

    job: str
    says: str
    paused: bool
    every_seconds: int | None = None
    last: Run | None = None


class Schedule(msgspec.Struct, frozen=True):
    """The jobs, and the process that runs them; None if none does."""

    jobs: list[ScheduledJob]
    holder: str | None = None


class VersionPage(msgspec.Struct, frozen=True):
    """Versions, newest first; `next` is the number before which to go on, or None."""

    versions: list[Version]
    next: int | None = None


class RunPage(msgspec.Struct, frozen=True):
    """Runs, newest first; `next` is the run before which to go on, or None."""

    jobs: list[Run]
    next: int | None = None


class ModelPage(msgspec.Struct, frozen=True):
    """Models by name; `next` is the name behind which to go on, or None."""

    models: list[ModelBrief]
    next: str | None = None


class LogPage(msgspec.Struct, frozen=True):
    """Entries as they were sent; `next` is the offset behind which to go on, or None."""

    entries: list[dict[str, Any]]
    next: int | None = None


class Empty(msgspec.Struct, frozen=True):
    """An answer of which only the status matters."""
