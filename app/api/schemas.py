"""The bodies of the API, with examples: what OpenAPI says of them.

The hot calls decode theirs into structs of `app.serving`; a test holds the fields equal.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.deps import NAME_PATTERN
from app.api.policies import Budget, LabelRules, Schema, VersionRules
from app.entries import FeatureType
from app.features import NAME_MAX

Scalar = bool | int | float | str | None
FeatureName = Annotated[str, Field(max_length=NAME_MAX)]
Task = Literal["binary", "multiclass", "regression", "anomaly"]


def instant(us: int) -> datetime:
    """Microseconds since 1970 as an instant."""
    return datetime.fromtimestamp(us / 1e6, tz=UTC)


class ModelRequest(Schema):
    """A model to be created."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "phishing",
                "task": "binary",
                "learner": ["preprocessing.StandardScaler", "linear_model.LogisticRegression"],
                "metrics": ["Accuracy", "ROCAUC"],
                "features": {"age_of_domain": "number"},
                "description": "Is this page phishing?",
            }
        },
    )

    name: str = Field(pattern=NAME_PATTERN, description="Letters, digits, `.`, `_` and `-`.")
    task: Task = Field(description="What its labels are.")
    learner: Any = Field(
        description="The spec: a name, a name with parameters, or a list of them for a pipeline. "
        "`GET /v1/learners` lists the names."
    )
    metrics: list[Any] | None = Field(
        None, description="River's names of metrics, at most 20; the task's own if left out."
    )
    features: dict[FeatureName, FeatureType] = Field(
        default_factory=dict,
        description="Types of features; others are fixed by the first example that carries them.",
    )
    fallback: Literal["prior", "error"] = Field(
        "prior",
        description="What answers when the learner breaks: what the labels so far make most "
        "likely, or an error.",
    )
    description: str = Field("", max_length=10_000, description="For people.")
    labels: LabelRules = Field(
        default_factory=LabelRules,
        description="Rules for labels that come late, twice, too early or never.",
    )
    versions: VersionRules = Field(
        default_factory=VersionRules, description="How versions are made, validated and served."
    )
    budget: Budget = Field(default_factory=Budget, description="What the learner may take.")


class Counts(Schema):
    """How many examples were learned, and of what kinds."""

    examples: int = Field(description="Learned.")
    labelled: int = Field(description="Of them, with the label of a prediction that was served.")
    scored: int = Field(description="Of them, scored: there was an answer, and a label.")
    unanswered: int = Field(description="Of the labelled, those whose prediction was null.")
    fallbacks: int = Field(description="Of the labelled, those that the fallback had answered.")
    unlearnable: int = Field(description="In the log, but not learned: the learner broke on them.")


class ModelBrief(Schema):
    """A model, in a list."""

    name: str
    task: Task
    description: str
    state: str = Field(description="`restoring`, `ready`, `rebuilding` or `failed`.")
    offset: int = Field(description="The offset that this process has applied.")
    created_at: datetime


class ModelAnswer(ModelBrief):
    """A model, with its full stored spec."""

    version: int = Field(description="The version that answers; 0 is the log from its start.")
    learner: Any = Field(description="The full stored spec: every parameter, every seed.")
    metrics: dict[str, float | None] = Field(description="Prequential, since the start.")
    metric_specs: list[Any] = Field(description="The metrics' full stored specs.")
    features: dict[str, FeatureType] = Field(description="The schema: declared, or fixed since.")
    fallback: str
    labels: LabelRules
    versions: VersionRules
    budget: Budget
    frozen: str | None = Field(description="Why nothing is learned; null if all is.")
    counts: Counts


class ModelPage(Schema):
    """Models by name; `next` is what to send as `after` for more."""

    models: list[ModelBrief]
    next: str | None


class PredictRequest(Schema):
    """Features to be answered."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"features": {"age_of_domain": 1, "is_ip": False}}},
    )

    features: dict[str, Scalar] = Field(description="A flat object; null is missing.")
    id: str | None = Field(
        None, min_length=1, max_length=200, description="Yours; one is made (UUIDv7) if left out."
    )
    min_offset: int | None = Field(
        None, ge=0, description="What the answer must know at least: an `offset` of feedback."
    )


class Warned(Schema):
    """Something about an answer that its reader should know."""

    code: str = Field(
        description="`no_answer_yet`, `fallback`, `degraded`, `not_remembered`, `unlearnable`, "
        "`frozen` or `first_kept`."
    )
    detail: str


class PredictAnswer(Schema):
    """What the model says."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "id": "01936b2e-5e2c-7a39-b1ae-000000000000",
                "model": "phishing",
                "version": 0,
                "offset": 1251,
                "prediction": True,
                "probabilities": {"false": 0.08, "true": 0.92},
            }
        },
    )

    id: str = Field(description="What to send as `prediction_id` with the label.")
    model: str
    version: int
    offset: int = Field(description="The state that answered.")
    prediction: bool | int | float | str | None = Field(
        description="Null, with a warning, if there is no answer yet."
    )
    probabilities: dict[str, float] | None = Field(None, description="By the label as text.")
    score: float | None = Field(None, description="How anomalous the features are.")
    warnings: list[Warned] | None = None


class FeedbackRequest(Schema):
    """A label, for a prediction or with the features themselves."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"prediction_id": "01936b2e-5e2c-7a39-b1ae-000000000000", "label": True}
        },
    )

    prediction_id: str | None = Field(None, min_length=1, max_length=200)
    features: dict[str, Scalar] | None = Field(None, description="Instead of `prediction_id`.")
    label: bool | int | float | str | None = Field(None, description="What was true.")
    id: str | None = Field(
        None, min_length=1, max_length=200, description="The same id is learned once."
    )


class FeedbackAnswer(Schema):
    """Sent once the label is durable and learned."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "id": "01936b2e-9f10-7c55-9d3e-000000000000",
                "offset": 1252,
                "duplicate": False,
            }
        },
    )

    id: str
    offset: int
    duplicate: bool = Field(description="Whether this id had been learned before.")
    warnings: list[Warned] | None = None


class PredictBatch(Schema):
    """Many features to be answered."""

    items: list[PredictRequest]


class FeedbackBatch(Schema):
    """Many labels, to be learned in this order."""

    items: list[FeedbackRequest]


class ProblemPlace(Schema):
    """Where something is wrong, and why."""

    place: str
    reason: str


class Problem(Schema):
    """Any error: RFC 9457 `application/problem+json`."""

    type: str
    title: str
    status: int
    code: str = Field(description="Stable: what a client should switch on.")
    detail: str = Field(description="What is wrong, and what to do.")
    errors: list[ProblemPlace]


class PredictBatchAnswer(Schema):
    """An answer or a problem for each item, in the same order."""

    items: list[PredictAnswer | Problem]


class FeedbackBatchAnswer(Schema):
    """An answer or a problem for each item, in the same order."""

    items: list[FeedbackAnswer | Problem]


class LabelCounts(Schema):
    """How many labels of each kind a model has had."""

    given: int = Field(description="Said by somebody.")
    default: int = Field(description="Learned because none came in time.")
    corrected: int = Field(description="Given labels that a second one corrected.")
    late: int = Field(description="Of the given, those that came after their wait.")
    recorded: int = Field(description="Scored and not learned.")
    early: int = Field(description="Came before their prediction, and found it.")
    dangling: int = Field(description="For no known prediction.")
    expired: int = Field(description="Predictions whose wait ended without any label.")


class Bucket(Schema):
    """How many labels came within so many seconds; null is all of them."""

    le: float | None
    count: int


class Delays(Schema):
    """How late the newest labels of predictions came, in seconds."""

    p50: float
    p90: float
    p99: float
    max: float


class MetricsAnswer(Schema):
    """A model's quality: each example was predicted before it was learned."""

    model: str
    offset: int
    since_start: dict[str, float | None] = Field(description="By River's names.")
    last_1000: dict[str, float | None] = Field(description="Over the newest scored examples.")
    counts: Counts
    predictions: int = Field(description="Predictions served.")
    labelled_share: float | None = Field(description="Of the predictions, those labelled.")
    label_delay_seconds: Delays | None = Field(description="Over the newest 1,000 labels.")
    label_delay_histogram: list[Bucket] = Field(description="Over all labels of predictions.")
    labels: LabelCounts


class LogEntry(BaseModel):
    """An entry of the log; which fields it has besides depends on its kind."""

    model_config = ConfigDict(extra="allow")

    offset: int
    kind: str
    id: str
    at: datetime


class LogPage(Schema):
    """Entries, oldest first; `next` is what to send as `after` for more."""

    entries: list[LogEntry]
    next: int | None


class PredictionAnswer(Schema):
    """What was asked and answered, and its label if known."""

    id: str
    model: str
    at: datetime
    features: dict[str, Scalar]
    answer: PredictAnswer
    label: bool | int | float | str | None
    labelled: bool
    label_origin: Literal["given", "default", "corrected"] | None
    feedback_id: str | None
    feedback_offset: int | None


class ReproductionAnswer(Schema):
    """A prediction that the state which gave it was asked again, and whether it says the same."""

    equal: bool
    answer: PredictAnswer
    again: PredictAnswer
    stamps: dict[str, str]
    contributions: dict[str, float] | None
    intercept: float | None
    path: list[str] | None


class ParameterAnswer(Schema):
    """A parameter of something that can be named in a spec."""

    name: str
    type: str
    default: Any
    required: bool


class LearnerAnswer(Schema):
    """Something that can be named in a spec."""

    name: str
    kind: str
    tasks: list[str]
    sentence: str
    parameters: list[ParameterAnswer]


class LearnersAnswer(Schema):
    """All that can be named in a spec, and what River has besides, with why it cannot be."""

    learners: list[LearnerAnswer]
    refused: dict[str, str]


class HealthAnswer(Schema):
    """The process is alive."""

    status: Literal["alive"]


class ReadyAnswer(Schema):
    """The process can serve."""

    status: Literal["ready"]
    models: int
    failed: list[str] = Field(description="Models that stopped; the log of operations says why.")
