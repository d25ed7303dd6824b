"""The hot path: predict and feedback, each one sentence.

predict: validate → choose the lane → predict → remember the prediction → answer.
feedback: validate → append → (applier) apply in offset order → answer.

Whatever can be refused is refused before anything is appended or remembered.
"""

from typing import Any

import msgspec
from uuid_utils import uuid7

from app.applier import Replica
from app.entries import Example, FeatureType, Label, Served, encode
from app.errors import (
    InvalidBody,
    InvalidFeatures,
    InvalidLabel,
    LogUnavailable,
    NotReady,
    Problem,
    Unanswerable,
    UnknownPrediction,
)
from app.features import Limits, check_cost, check_features, check_known
from app.labels import check_label, text_of
from app.live import LiveModel, Reply, served_of
from app.log import Draft, already_labelled
from app.predictions import Remembered
from app.runtime import RESERVED, Runtime

ID_MAX = 200
"""The longest id of a prediction or a feedback, in characters."""

WARNINGS = {
    "no_answer_yet": "The learner has no answer before it has learned from feedback.",
    "degraded": "Nothing can be made durable now: feedback is refused until it can be again.",
    "not_remembered": "This prediction is not remembered: send its features with its label.",
}
Warned = tuple[str, str]


class PredictRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of predict."""

    features: Any
    id: Any = None


class FeedbackRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of feedback: `prediction_id` or `features`, and the label."""

    prediction_id: Any = None
    features: Any = None
    label: Any = msgspec.UNSET
    id: Any = None


class Warning_(msgspec.Struct, frozen=True):
    """Something about an answer that its reader should know."""

    code: str
    detail: str


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of predict. `probabilities` are keyed by the label as text."""

    id: str
    model: str
    version: int
    offset: int
    prediction: Any
    probabilities: dict[str, float] | None = None
    score: float | None = None
    warnings: list[Warning_] | None = None


class Feedback(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of feedback, once its entry is durable and applied."""

    id: str
    offset: int
    duplicate: bool
    warnings: list[Warning_] | None = None


class Serving:
    """The two hot calls of one process, over what its runtime holds."""

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self._log = runtime.log
        self._predictions = runtime.predictions
        self._clock = runtime.clock
        self._classes_max = settings.classes_max
        self._seconds_max = settings.feedback_seconds_max
        self._limits = Limits(
            settings.features_max, settings.features_known_max, settings.number_magnitude_max
        )

    async def predict(self, model: str, request: PredictRequest) -> Prediction:
        """Answer features, and remember both for the label; an id that was answered answers again.

        Raises `UnknownModel`, `InvalidBody`, `InvalidFeatures`, `Unanswerable`, `NotReady`.
        """
        replica = self._runtime.replica(model)
        id = _checked_id(request.id, "id")
        given = id is not None
        if id is not None:
            remembered = self._predictions.recall(replica.id, id) or await self._find(replica, id)
            if remembered is not None:
                return prediction_of(replica.name, id, remembered)
        live = replica.model
        check_features(request.features, live.types, self._limits)
        check_cost(request.features, live.features_max, live.words_max)
        reply = live.reply(request.features)
        warnings = self._warnings(replica, reply)
        id = id if given and id is not None else str(uuid7())
        served = served_of(reply, self._clock())
        record = Remembered(request.features, served, 0, live.offset_applied, warnings)
        if not self._predictions.remember(replica.id, id, record):
            warnings.append(("not_remembered", WARNINGS["not_remembered"]))
        return prediction_of(replica.name, id, record)

    async def feedback(self, model: str, request: FeedbackRequest) -> Feedback:
        """Learn a label, once; return when it is durable and this process has learned it.

        Raises `UnknownModel`, `InvalidBody`, `InvalidFeatures`, `InvalidLabel`,
        `UnknownPrediction`, `AlreadyLabelled`; and `NotReady`, `Overloaded` or `LogUnavailable`,
        after which the same request may be sent again.
        """
        replica = self._runtime.replica(model)
        prediction_id = _checked_id(request.prediction_id, "prediction_id")
        id = _checked_id(request.id, "id")
        if (prediction_id is None) == (request.features is None):
            sent = "both were" if prediction_id is not None else "neither was"
            raise InvalidBody(
                "Send prediction_id, for a label of a prediction that was asked for, or features, "
                f"for an example of its own; one of the two, and {sent} sent.",
                [Problem("prediction_id", f"or features is needed, and {sent} sent")],
            )
        live = replica.model
        label = self._label(live, request.label)
        features, served = request.features, None
        if prediction_id is not None:
            found = await self._predictions.find(replica.id, prediction_id)
            if found is None:
                return await self._answered_before(replica, prediction_id, id)
            features, served = found.features, found.served
        fresh = self._fresh(replica, features, label)
        replica.claim(*fresh)
        try:
            return await self._append(replica, id, prediction_id, Example(features, label, served))
        finally:
            replica.settle(*fresh)

    def _label(self, live: LiveModel, label: Any) -> Label | None:
        task = live.created.task
        if label is not msgspec.UNSET:
            return check_label(task, label, live.monitor.labels)
        if task == "anomaly":
            return None
        raise InvalidLabel(
            "label is missing. Send what was true, as the field label.",
            [Problem("label", "is missing")],
        )

    async def _append(
        self, replica: Replica, id: str | None, prediction_id: str | None, example: Example
    ) -> Feedback:
        id = id or str(uuid7())
        body = encode(example)
        draft = Draft(replica.id, "example", id, prediction_id, self._clock(), body)
        receipt = await self._log.append(draft)
        await replica.applied(receipt.offset, self._seconds_max)
        return _feedback(replica, id, receipt.offset, receipt.duplicate)

    async def _answered_before(
        self, replica: Replica, prediction_id: str, id: str | None
    ) -> Feedback:
        """Feedback sent again, when its prediction has expired, is answered as it was."""
        row = await self._log.find_label(replica.id, prediction_id)
        if row is not None and row.id == id:
            await replica.applied(row.offset, self._seconds_max)
            return _feedback(replica, row.id, row.offset, True)
        if row is not None:
            raise already_labelled(prediction_id, row.offset)
        raise unknown_prediction(replica.name, prediction_id)

    def _fresh(
        self, replica: Replica, features: Any, label: Any
    ) -> tuple[dict[str, FeatureType], list[Label]]:
        """The types and labels that the model does not know yet.

        Refuses what contradicts its schema, or what other feedback on its way is fixing.
        """
        live = replica.model
        fresh = check_features(features, live.types, self._limits)
        check_cost(features, live.features_max, live.words_max)
        if fresh:
            check_known({*live.types, *replica.types_claimed, *fresh}, self._limits)
        for name, kind in fresh.items():
            claimed = replica.types_claimed.get(name, kind)
            if claimed != kind:
                place = f"features.{name}"
                raise InvalidFeatures(
                    f"{place} is a {kind}, and other feedback is fixing it as a {claimed}.",
                    [Problem(place, f"is a {kind}, not a {claimed}")],
                )
        if live.created.task == "multiclass" and label not in live.monitor.labels:
            taken = {*live.monitor.labels, *replica.labels_claimed}
            check_label("multiclass", label, taken)
            known = len(taken - {label})
            if known >= self._classes_max:
                raise InvalidLabel(
                    f"The model knows {known:,} labels, and this would be one more than it may. "
                    "Check what is sent as the label, or raise HEADRACE_CLASSES_MAX.",
                    [Problem("label", "is one label too many")],
                )
            return fresh, [label]
        return fresh, []

    async def _find(self, replica: Replica, id: str) -> Remembered | None:
        """What was answered under this id; with the database gone, only memory can tell."""
        try:
            return await self._predictions.find(replica.id, id)
        except LogUnavailable:
            return None

    def _warnings(self, replica: Replica, reply: Reply) -> list[Warned]:
        warnings: list[Warned] = []
        if reply.broke is not None:
            if replica.created.fallback == "error":
                if replica.state == "rebuilding":
                    raise NotReady(f"The learner of {replica.name!r} is being rebuilt. Ask again.")
                raise Unanswerable(
                    f"The learner has no answer to these features: {reply.broke}. Check them "
                    'against what it takes, or create the model with `fallback: "prior"`.'
                )
            said = "nothing, for there is no label yet"
            if reply.answer.prediction is not None:
                said = "what the labels so far make most likely"
            detail = f"The learner broke, and the fallback answered {said}: {reply.broke}."
            warnings.append(("fallback", detail))
        elif reply.answer.prediction is None:
            warnings.append(("no_answer_yet", WARNINGS["no_answer_yet"]))
        if not self._runtime.database.is_writable:
            warnings.append(("degraded", WARNINGS["degraded"]))
        return warnings


def _checked_id(id: Any, place: str) -> str | None:
    if id is None:
        return None
    if type(id) is str and 0 < len(id) <= ID_MAX and id.isprintable():
        if not id.startswith(RESERVED):
            return id
        raise InvalidBody(
            f"{place} begins with {RESERVED!r}, as only ids of the service's own entries do. Take "
            "another, or leave it out to have one made.",
            [Problem(place, f"begins with {RESERVED!r}")],
        )
    raise InvalidBody(
        f"{place} must be a string of 1 to {ID_MAX} printable characters. Leave it out to have one "
        "made.",
        [Problem(place, f"is no string of 1 to {ID_MAX} printable characters")],
    )


def unknown_prediction(model: str, id: str) -> UnknownPrediction:
    """What is answered of a prediction that is not remembered."""
    return UnknownPrediction(
        f"The model {model!r} remembers no prediction {id!r}: it was never made, or it has "
        "expired. Send its features with the label instead."
    )


def prediction_of(model: str, id: str, record: Remembered) -> Prediction:
    """The answer that was given, as it was given."""
    served: Served = record.served
    pairs = served.probabilities
    return Prediction(
        id,
        model,
        record.version,
        record.offset,
        served.prediction,
        None if pairs is None else {text_of(label): share for label, share in pairs},
        served.score,
        [Warning_(*warned) for warned in record.warnings] or None,
    )


def _feedback(replica: Replica, id: str, offset: int, duplicate: bool) -> Feedback:
    reason = replica.model.dropped.get(offset)
    if reason is None:
        return Feedback(id, offset, duplicate)
    detail = f"The example is in the log, and the learner goes on without it: {reason}."
    return Feedback(id, offset, duplicate, [Warning_("unlearnable", detail)])
