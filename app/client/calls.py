"""The calls of the API: what each sends and what comes back. Both clients send these."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

import httpx2
import msgspec
from uuid_utils import uuid7

from app.client.answers import (
    Empty,
    Feedback,
    Label,
    Learners,
    LogEntry,
    LogPage,
    Metrics,
    Model,
    ModelPage,
    Prediction,
    RememberedPrediction,
    Scalar,
)
from app.client.failures import UNREAD, Transient, refusal, unreadable

Answer = TypeVar("Answer", bound=msgspec.Struct)
Sent = TypeVar("Sent")
Result = TypeVar("Result")
Task = Literal["binary", "multiclass", "regression", "anomaly"]
FeatureType = Literal["number", "category", "boolean", "text"]
Features = Mapping[str, Scalar]

PAGE_LIMIT = 1_000
HEADERS = {"content-type": "application/json"}


class LabelOptions(TypedDict, total=False):
    """How a model treats labels; `docs/api.md` has the meanings and the defaults."""

    wait_seconds: float
    default: Label | None
    late: Literal["learn", "record", "refuse"]
    duplicates: Literal["refuse", "first", "correct"]
    early_seconds: float


class ModelOptions(TypedDict, total=False):
    """What may be said of a model besides its name, task and learner."""

    metrics: Sequence[Any]
    features: Mapping[str, FeatureType]
    fallback: Literal["prior", "error"]
    description: str
    labels: LabelOptions
    versions: Mapping[str, Any]
    budget: Mapping[str, Any]


class Call(Generic[Answer]):
    """One call, and whether a try of it may have been taken though no answer came."""

    def __init__(self, method: str, path: str, answer: type[Answer], body: Any = None) -> None:
        self.method = method
        self.path = path
        self.answer = answer
        self.content = None if body is None else encode(body)
        self.is_in_doubt = False

    def to(self, url: str) -> dict[str, Any]:
        """The request that is sent to one address."""
        url += self.path
        return {"method": self.method, "url": url, "content": self.content, "headers": HEADERS}

    def read(self, response: httpx2.Response) -> Answer:
        """The answer. Raises the error that was answered, or `Transient` if it may pass."""
        if not response.is_success:
            raise refused(response)
        try:
            return msgspec.json.decode(response.content or b"{}", type=self.answer)
        except UNREAD as error:
            raise unreadable(error) from error

    def failed(self, failure: Transient) -> None:
        """Note how a try failed."""
        self.is_in_doubt = self.is_in_doubt or failure.is_ambiguous


def refused(response: httpx2.Response) -> Exception:
    """What to raise for a response that is no success and was read."""
    return refusal(response.status_code, response.headers.get("retry-after"), response.content)


def create_model(name: str, task: Task, learner: Any, options: ModelOptions) -> Call[Model]:
    """Create a model."""
    body = {"name": name, "task": task, "learner": learner, **options}
    return Call("POST", "/v1/models", Model, body)


def is_as_asked(model: Model, task: Task, options: ModelOptions) -> bool:
    """Whether a model that exists is the one that was asked for, as far as can be told.

    The learner is stored in another form than it is sent in, so it cannot be compared.
    """
    declared = options.get("features", {}).items()
    return (
        model.task == task
        and model.description == options.get("description", "")
        and model.fallback == options.get("fallback", model.fallback)
        and declared <= model.features.items()
    )


def models(after: str | None) -> Call[ModelPage]:
    """A page of the models, behind a name."""
    return Call("GET", f"/v1/models{_query(after)}", ModelPage)


def model(name: str) -> Call[Model]:
    """Show a model."""
    return Call("GET", path_of(name), Model)


def delete_model(name: str) -> Call[Empty]:
    """Delete a model."""
    return Call("DELETE", path_of(name), Empty)


class Seen:
    """The offsets that a client was answered: what a later answer is to know, if it is asked to."""

    def __init__(self, consistent: bool) -> None:
        self._offsets: dict[str, int] | None = {} if consistent else None

    def note(self, model: str, answer: Result) -> Result:
        """Note the offset of an answer."""
        if self._offsets is not None:
            offset = getattr(answer, "offset", 0)
            self._offsets[model] = max(offset, self._offsets.get(model, 0))
        return answer

    def forget(self, model: str) -> None:
        """A model of this name is made anew, or is gone."""
        if self._offsets is not None:
            self._offsets.pop(model, None)

    def of(self, model: str) -> dict[str, int]:
        """What to ask for."""
        offset = self._offsets.get(model, 0) if self._offsets else 0
        return {"min_offset": offset} if offset else {}


def predict(
    model: str, features: Features, id: str | None, known: Mapping[str, int]
) -> Call[Prediction]:
    """Ask for a prediction, under an id in any case. `known` is what it must know."""
    body = {"id": new_id() if id is None else id, "features": features, **known}
    return Call("POST", path_of(model, "predict"), Prediction, body)


def feedback(
    model: str, label: Label | msgspec.UnsetType | None, of: Mapping[str, Any], id: str | None
) -> Call[Feedback]:
    """Send a label, under an id in any case. `of` says what it is the label of."""
    body = {name: value for name, value in of.items() if value is not None}
    if label is not msgspec.UNSET:
        body["label"] = label
    body["id"] = new_id() if id is None else id
    return Call("POST", path_of(model, "feedback"), Feedback, body)


def metrics(model: str) -> Call[Metrics]:
    """A model's quality."""
    return Call("GET", path_of(model, "metrics"), Metrics)


def log(model: str, after: int | None) -> Call[LogPage]:
    """A page of a model's log, behind an offset."""
    return Call("GET", f"{path_of(model, 'log')}{_query(after)}", LogPage)


def entries(page: LogPage) -> Iterator[LogEntry]:
    """The entries of a page of a log."""
    for entry in page.entries:
        try:
            yield LogEntry.of(entry)
        except UNREAD as error:
            raise unreadable(error) from error


def prediction(model: str, id: str) -> Call[RememberedPrediction]:
    """What was asked and answered under an id."""
    return Call("GET", path_of(model, "predictions", id), RememberedPrediction)


def learners() -> Call[Learners]:
    """What a spec may name."""
    return Call("GET", "/v1/learners", Learners)


def ready() -> Call[Empty]:
    """Whether the service can serve."""
    return Call("GET", "/readyz", Empty)


def path_of(model: str, *parts: str) -> str:
    """The path of a model, or of something below it."""
    # A dot is written as %2E, because `..` would be taken as a step up.
    quoted = (quote(part, safe="").replace(".", "%2E") for part in (model, *parts))
    return "/v1/models/" + "/".join(quoted)


def new_id() -> str:
    """An id that nobody else makes; later ones sort behind earlier ones."""
    return str(uuid7())


def encode(value: Any) -> bytes:
    """A value as JSON. NaN is written as such, for the service to refuse by its name."""
    return _encoder.encode(value).encode()


def _plain(value: Any) -> Any:
    """A scalar of NumPy as Python's own, and any mapping as a dict."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} is a {type(value).__name__}, which JSON does not have.")


_encoder = json.JSONEncoder(separators=(",", ":"), default=_plain)


def _query(after: str | int | None) -> str:
    behind = "" if after is None else f"&after={quote(str(after), safe='')}"
    return f"?limit={PAGE_LIMIT}{behind}"
