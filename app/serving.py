"""The hot path: predict and feedback, one or many at a time, each one sentence.

predict: validate → choose the lane → predict → remember the prediction → answer.
feedback: validate → append → (applier) apply in offset order → answer.

Whatever can be refused is refused before anything is appended or remembered.
"""

import asyncio
import time
from collections.abc import Sequence

from uuid_utils import uuid7

from app.admission import Admission
from app.calls import (
    Feedback,
    FeedbackRequest,
    Prediction,
    PredictRequest,
    Warning_,
    checked_id,
    checked_offset,
)
from app.entries import Served
from app.errors import HeadraceError, LogUnavailable, NotReady, Unanswerable
from app.joining import Joining, Patience, Taken
from app.labels import text_of
from app.live import Reply, served_of
from app.predictions import Remembered
from app.replica import Replica
from app.rules import due_at
from app.runtime import Runtime

SLICE_SECONDS = 0.005
"""How long many predictions are answered before other requests have their turn."""

WARNINGS = {
    "no_answer_yet": "The learner has no answer before it has learned from feedback.",
    "degraded": "Nothing can be made durable now: feedback is refused until it can be again.",
    "not_remembered": "This prediction is not remembered: send its features with its label.",
}
Warned = tuple[str, str]


class Serving:
    """The two hot calls of one process, over what its runtime holds."""

    def __init__(self, runtime: Runtime) -> None:
        self.settings = runtime.settings
        self._runtime = runtime
        self._predictions = runtime.predictions
        self._clock = runtime.clock
        self._admission = Admission(runtime.settings)
        self._joining = Joining(runtime)

    async def check_model(self, model: str) -> None:
        """Raises `UnknownModel`, or `NotReady` while the model cannot answer."""
        _ = (await self._runtime.find(model)).model

    async def predict(self, model: str, request: PredictRequest) -> Prediction:
        """Answer features, and remember both for the label; an id that was answered answers again.

        Raises `UnknownModel`, `InvalidBody`, `InvalidFeatures`, `Unanswerable`, `NotReady`.
        """
        replica = await self._runtime.find(model)
        id = checked_id(request.id, "id")
        if id is not None:
            remembered = self._predictions.recall(replica.id, id) or await self._find(replica, id)
            if remembered is not None:
                return prediction_of(replica.name, id, remembered)
        await self._reach(replica, checked_offset(request.min_offset), Patience())
        return self._predict(replica, id, request)

    async def predict_many(
        self, model: str, requests: Sequence[PredictRequest | HeadraceError]
    ) -> list[Prediction | HeadraceError]:
        """Answer each of many requests, in their order, or say why it cannot be.

        Raises `UnknownModel`. It takes its time when more is asked than can be remembered.
        """
        replica = await self._runtime.find(model)
        await self._predictions.has_room()
        ids = [request.id for request in requests if isinstance(request, PredictRequest)]
        remembered = await self._find_many(replica, [id for id in ids if type(id) is str])
        answers: list[Prediction | HeadraceError] = []
        patience = Patience()
        pause_at = time.monotonic() + SLICE_SECONDS
        for request in requests:
            try:
                if isinstance(request, HeadraceError):
                    raise request
                id = checked_id(request.id, "id")
                record = remembered.get(id or "")
                if id is not None and record is None:
                    record = self._predictions.recall(replica.id, id)
                if id is not None and record is not None:
                    answers.append(prediction_of(replica.name, id, record))
                else:
                    await self._reach(replica, checked_offset(request.min_offset), patience)
                    answers.append(self._predict(replica, id, request))
            except HeadraceError as error:
                answers.append(error)
            if time.monotonic() > pause_at:
                await asyncio.sleep(0)
                pause_at = time.monotonic() + SLICE_SECONDS
        return answers

    async def feedback(self, model: str, request: FeedbackRequest) -> Feedback:
        """Learn a label, once; return when it is durable and this process has learned it.

        Raises `UnknownModel`, `InvalidBody`, `InvalidFeatures`, `InvalidLabel`,
        `UnknownPrediction`, `AlreadyLabelled`, `LabelTooLate`; and `NotReady`, `Overloaded` or
        `LogUnavailable`, after which the same request may be sent again.
        """
        [answer] = await self.feedback_many(model, [request])
        if isinstance(answer, HeadraceError):
            raise answer
        return answer

    async def feedback_many(
        self, model: str, requests: Sequence[FeedbackRequest | HeadraceError]
    ) -> list[Feedback | HeadraceError]:
        """Learn each of many labels, in their order, or say why it is not. `UnknownModel`."""
        replica = await self._runtime.find(model)
        taken = await self._joining.take(replica, requests, Patience())
        return await self._joining.answers(taken)

    async def take_feedback(
        self, model: str, requests: Sequence[FeedbackRequest | HeadraceError], patience: Patience
    ) -> Taken:
        """Take in a part of a stream of labels: what is taken next stands behind it in the log.

        It waits for room where a single request would be refused. Raises `UnknownModel`.
        """
        return await self._joining.take(
            await self._runtime.find(model), requests, patience, waits=True
        )

    async def answer_feedback(self, taken: Taken) -> list[Feedback | HeadraceError]:
        """What each label of a part of a stream is answered, once it is durable and learned."""
        return await self._joining.answers(taken)

    def _predict(self, replica: Replica, id: str | None, request: PredictRequest) -> Prediction:
        live = replica.model
        self._admission.check(live, request.features)
        reply = live.reply(request.features)
        warnings = self._warnings(replica, reply)
        id = id or str(uuid7())
        served = served_of(reply, self._clock())
        record = Remembered(request.features, served, live.version, live.offset_applied, warnings)
        due = due_at(replica.created.labels, served.at)
        if not self._predictions.remember(replica.id, id, record, due):
            warnings.append(("not_remembered", WARNINGS["not_remembered"]))
        return prediction_of(replica.name, id, record)

    def lag(self, model: str) -> int:
        """How many entries of a model's log this process has not applied, as far as it knows."""
        return self._runtime.replica(model).lag

    async def _reach(self, replica: Replica, offset: int, patience: Patience) -> None:
        """Wait a little until this process has applied what is known of elsewhere. `NotReady`."""
        if replica.model.offset_applied < offset:
            self._runtime.look(replica)
            await replica.reached(offset, patience.left(self.settings.min_offset_seconds_max))

    async def _find(self, replica: Replica, id: str) -> Remembered | None:
        return (await self._find_many(replica, [id])).get(id)

    async def _find_many(self, replica: Replica, ids: list[str]) -> dict[str, Remembered]:
        """What was answered under these ids; with the database gone, only memory can tell."""
        try:
            return await self._predictions.find_many(replica.id, ids)
        except LogUnavailable:
            return {}

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
