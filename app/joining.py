"""Labels joined with their predictions, by the rules of their models.

    feedback ─▶ checked ─▶ its prediction is known, and in time ─▶ appended as the first label
                    │                                                  │ (it has one)
                    ├─▶ it is late ─────────▶ the rules decide ◀───────┘
                    └─▶ its prediction is unknown ─▶ waits a little ─▶ 404
    a wait that is over ─▶ the default label is appended, or the lack of one is counted

Between any two labels of a prediction stands the log: each follows the one before it, at the offset
that was read, or it is not appended and the rules decide again. So a default and a label that meet,
or two corrections, in one process or in several, are taken in one order that all see.
"""

import asyncio
import time
from collections.abc import Sequence

from uuid_utils import uuid7

from app.admission import Admission
from app.calls import RESERVED, Feedback, FeedbackRequest, Warning_, checked_id
from app.claims import Claims, Pair
from app.early import Key
from app.entries import Example
from app.errors import (
    AlreadyLabelled,
    HeadraceError,
    InvalidBody,
    InvalidFeatures,
    InvalidLabel,
    LogUnavailable,
    NotReady,
    Overloaded,
    Problem,
    UnknownModel,
    UnknownPrediction,
)
from app.log import Draft, Outcome, Outdated, Receipt, Row
from app.replica import Replica
from app.rules import Item, due_at, late, second
from app.runtime import Runtime

TRIES = 16
"""How often the rules decide anew, while other labels of the same prediction come in between."""


class Patience:
    """How long one request waits for predictions that are not there yet: in all, not for each."""

    def __init__(self) -> None:
        self._deadline: float | None = None

    def left(self, seconds: float) -> float:
        """How long may still be waited, of so many seconds from the first wait on."""
        if self._deadline is None:
            self._deadline = time.monotonic() + seconds
        return self._deadline - time.monotonic()


class Taken:
    """Feedback that was taken in: what waits to be durable, and what the rules must decide."""

    def __init__(self, replica: Replica, items: list[Item], patience: Patience) -> None:
        self.replica = replica
        self.items = items
        self.patience = patience
        self.appended: list[Item] = []
        self.future: asyncio.Future[list[Outcome]] | None = None


class Joining:
    """Takes feedback in, by the rules of its model, over what its runtime holds."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._log = runtime.log
        self._predictions = runtime.predictions
        self._clock = runtime.clock
        self._admission = Admission(runtime.settings)
        self._claims = Claims(runtime, self._admission)
        self._seconds_max = runtime.settings.feedback_seconds_max

    async def take(
        self,
        replica: Replica,
        requests: Sequence[FeedbackRequest | HeadraceError],
        patience: Patience,
        waits: bool = False,
    ) -> Taken:
        """Take feedback in, in its order; what cannot be is left to `answers` to say.

        Once this returns, whatever is taken next stands behind it in the log. Who `waits` is not
        refused when the log's queue is full.
        """
        items = [self._item(replica, request) for request in requests]
        taken = Taken(replica, items, patience)
        await self._join(replica, items)
        drafts = []
        for item in items:
            if item.answer is None and item.is_joined and not self._is_late(replica, item):
                try:
                    drafts.append(self._first(replica, item))
                    taken.appended.append(item)
                except HeadraceError as error:
                    item.answer = error
        try:
            taken.future = await self._log.enqueue(drafts, waits)
        except BaseException as error:
            self._claims.settle([(replica, item) for item in taken.appended])
            if not isinstance(error, HeadraceError):
                raise
            for item in taken.appended:
                item.answer = error
        return taken

    async def answers(self, taken: Taken) -> list[Feedback | HeadraceError]:
        """What each feedback is answered, once it is durable and applied here."""
        replica, items = taken.replica, taken.items
        if taken.future is not None:
            outcomes: Sequence[Outcome]
            try:
                pairs = [(replica, item) for item in taken.appended]
                outcomes = await self._claims.known(pairs, taken.future)
            except HeadraceError as error:
                outcomes = [error] * len(taken.appended)
            for item, outcome in zip(taken.appended, outcomes, strict=True):
                item.answer = outcome
        for item in taken.appended:
            if isinstance(item.answer, Outdated):
                await self._anew(replica, item)
        await self._join_early(taken)
        await self._decide(taken)
        return [self._answer(replica, item) for item in items]

    async def settle_due(self) -> int:
        """Learn the default labels of what is due, and count what stays without one; how many.

        Models that this process does not serve now wait for their turn, and so do those of which
        other feedback on its way contradicts a default.
        """
        total, others = 0, set[int]()
        while due := await self._predictions.due(others):
            ready = {r.id: r for r in self._runtime.replicas() if r.state == "ready"}
            others |= {found.model_id for found in due} - ready.keys()
            keys = [(f.model_id, f.id) for f in due if f.model_id in ready]
            labelled = await self._log.labelled(keys)
            items: list[Pair] = []
            for model_id, id, record in due:
                if model_id in ready and (model_id, id) not in labelled:
                    default = ready[model_id].created.labels.default
                    item = Item(f"{RESERVED}default:{uuid7()}", id, default, None)
                    item.join(record)
                    items.append((ready[model_id], item))
            unlabelled, waiting = await self._learn_defaults(items)
            others |= {model_id for model_id, _ in waiting}
            settled = [key for key in keys if key not in waiting]
            await self._predictions.settle(settled, unlabelled)
            total += len(settled)
        return total

    async def _learn_defaults(self, items: list[Pair]) -> tuple[list[Key], set[Key]]:
        """Append the default labels: which predictions stay without a label, and which must wait.

        One stays without whose features contradict by now what the model knows. If they contradict
        only what other feedback is fixing, that may yet come to nothing.
        """
        drafts, drafted = [], []
        unlabelled, waiting = [], set()
        try:
            for replica, item in items:
                key = (replica.id, item.prediction_id or "")
                try:
                    if item.label is None:
                        unlabelled.append(key)
                    else:
                        drafts.append(self._default(replica, item))
                        drafted.append((replica, item))
                except (InvalidFeatures, InvalidLabel):
                    if self._admission.is_passing(replica, item.features, item.label):
                        waiting.add(key)
                    else:
                        unlabelled.append(key)
            future = await self._log.enqueue(drafts, waits=True)
        except BaseException:
            self._claims.settle(drafted)
            raise
        outcomes = await self._claims.known(drafted, future)
        for (replica, item), outcome in zip(drafted, outcomes, strict=True):
            if isinstance(outcome, LogUnavailable):
                raise outcome
            if isinstance(outcome, Outdated):
                waiting.add((replica.id, item.prediction_id or ""))
        return unlabelled, waiting

    def _item(self, replica: Replica, request: FeedbackRequest | HeadraceError) -> Item:
        try:
            if isinstance(request, HeadraceError):
                raise request
            prediction_id = checked_id(request.prediction_id, "prediction_id")
            id = checked_id(request.id, "id") or str(uuid7())
            if (prediction_id is None) == (request.features is None):
                sent = "both were" if prediction_id is not None else "neither was"
                raise InvalidBody(
                    "Send prediction_id, for a label of a prediction that was asked for, or "
                    f"features, for an example of its own; one of the two, and {sent} sent.",
                    [Problem("prediction_id", f"or features is needed, and {sent} sent")],
                )
            label = self._admission.label(replica.model, request.label)
            return Item(id, prediction_id, label, request.features)
        except HeadraceError as error:
            refused = Item("", None, None, None)
            refused.answer = error
            return refused

    async def _join(self, replica: Replica, items: list[Item]) -> None:
        """Give labels of predictions what those saw, where it is remembered."""
        asked = {item.prediction_id for item in items if item.answer is None} - {None}
        if not asked:
            return
        try:
            ids = [item.prediction_id for item in items if item.prediction_id is not None]
            found = await self._predictions.find_many(replica.id, ids)
        except LogUnavailable as error:
            for item in items:
                if item.prediction_id is not None and item.answer is None:
                    item.answer = error
        else:
            for item in items:
                item.join(found.get(item.prediction_id or ""))

    def _first(self, replica: Replica, item: Item) -> Draft:
        """The first label of a prediction that is in time, or an example of its own."""
        example = Example(item.features, item.label, item.served, early=item.early)
        return self._claims.draft(replica, item, example)

    async def _anew(self, replica: Replica, item: Item) -> None:
        """Check an item again, and append it, once what others appended before it is known."""
        for _ in range(TRIES):
            try:
                await self._runtime.applier.catch_up(replica)
                future = await self._log.enqueue([self._first(replica, item)])
                [item.answer] = await self._claims.known([(replica, item)], future)
            except HeadraceError as error:
                item.answer = error
            finally:
                self._claims.settle([(replica, item)])
            if not isinstance(item.answer, Outdated):
                return
        item.answer = _crowded(f"the model {replica.name!r}")

    def _default(self, replica: Replica, item: Item) -> Draft:
        example = Example(item.features, item.label, item.served, origin="default")
        return self._claims.draft(replica, item, example)

    async def _join_early(self, taken: Taken) -> None:
        """Wait a little, once for all, for predictions that are not there yet."""
        replica = taken.replica
        items = [item for item in taken.items if item.answer is None and not item.is_joined]
        if not items:
            return
        ids = {item.prediction_id or "" for item in items}
        try:
            labelled = await self._log.labelled((replica.id, id) for id in ids)
            ids -= {id for _, id in labelled if id is not None}
            seconds = taken.patience.left(replica.created.labels.early_seconds)
            found = await self._predictions.early.wait(replica.id, ids, seconds)
        except HeadraceError as error:
            for item in items:
                item.answer = error if item.prediction_id in ids else None
        else:
            for item in items:
                item.join(found.get(item.prediction_id or ""))
                item.early = item.is_joined

    async def _decide(self, taken: Taken) -> None:
        """Let the rules decide what was not simply appended; of one prediction in order."""
        chains: dict[str, list[Item]] = {}
        for item in taken.items:
            if item.prediction_id is not None and (
                item.answer is None or isinstance(item.answer, AlreadyLabelled)
            ):
                chains.setdefault(item.prediction_id, []).append(item)
        if chains:
            replica = taken.replica
            await asyncio.gather(*(self._decide_chain(replica, chain) for chain in chains.values()))

    async def _decide_chain(self, replica: Replica, chain: list[Item]) -> None:
        for item in chain:
            try:
                item.answer = await self._by_the_rules(replica, item)
                await replica.applied(item.answer.offset, self._seconds_max)
            except HeadraceError as error:
                item.answer = error
            finally:
                self._claims.settle([(replica, item)])

    async def _by_the_rules(self, replica: Replica, item: Item) -> Receipt:
        prediction_id = item.prediction_id or ""
        for _ in range(TRIES):
            rows = await self._log.labels_of(replica.id, prediction_id)
            again = next((row for row in rows if row.id == item.id), None)
            if again is not None:
                return Receipt(again.offset, duplicate=True)
            following: Draft | Receipt | None
            if rows:
                following = self._second(replica, item, rows)
            elif item.is_joined:
                following = await self._late(replica, item)
            else:
                self._predictions.count_dangling(replica.id)
                raise unknown_prediction(replica.name, prediction_id)
            if isinstance(following, Receipt):
                return following
            if following is not None:
                future = await self._log.enqueue([following])
                [outcome] = await self._claims.known([(replica, item)], future)
                if isinstance(outcome, Receipt):
                    return outcome
                if isinstance(outcome, Outdated):
                    await self._runtime.applier.catch_up(replica)
                elif not isinstance(outcome, AlreadyLabelled):
                    raise outcome
        raise _crowded(f"the prediction {prediction_id!r}")

    async def _late(self, replica: Replica, item: Item) -> Draft | None:
        """The first label of a prediction, if it is late: behind the default, if there is one."""
        rules = replica.created.labels
        if not self._is_late(replica, item):
            return self._first(replica, item)
        if rules.default is not None:
            # Whatever comes of it, or of another process's, is seen when the rules decide anew.
            before = Item(
                f"{RESERVED}default:{uuid7()}", item.prediction_id, rules.default, item.features
            )
            before.served = item.served
            unlabelled, waiting = await self._learn_defaults([(replica, before)])
            if waiting:
                raise Overloaded(
                    "Other feedback is fixing what the default label would contradict. Send it "
                    "again after the time that Retry-After says."
                )
            if not unlabelled:
                return None
        return self._claims.draft(replica, item, late(rules, item))

    def _second(self, replica: Replica, item: Item, rows: list[Row]) -> Draft | Receipt:
        """A label of a prediction that has one: its default, or one that was given."""
        following = second(replica.created.labels, item, rows)
        if isinstance(following, Receipt):
            return following
        return self._claims.draft(replica, item, following, follows=rows[-1].offset)

    def _is_late(self, replica: Replica, item: Item) -> bool:
        served = item.served
        return served is not None and self._clock() >= due_at(replica.created.labels, served.at)

    def _answer(self, replica: Replica, item: Item) -> Feedback | HeadraceError:
        answer = item.answer
        if isinstance(answer, Receipt):
            try:
                return self._feedback(replica, item, answer)
            except (NotReady, UnknownModel) as error:
                return error
        return answer or Overloaded("This was not taken. Send it again.")

    def _feedback(self, replica: Replica, item: Item, receipt: Receipt) -> Feedback:
        warnings = []
        reason = replica.model.dropped.get(receipt.offset)
        if reason is not None:
            detail = f"The example is in the log, and the learner goes on without it: {reason}."
            warnings.append(Warning_("unlearnable", detail))
        frozen_at = replica.model.frozen_at
        if frozen_at is not None and receipt.offset > frozen_at:
            detail = "The model is frozen: this was scored and kept, and is not learned."
            warnings.append(Warning_("frozen", detail))
        if item.kept:
            detail = "The prediction has another label, which came first: it is kept."
            warnings.append(Warning_("first_kept", detail))
        return Feedback(item.id, receipt.offset, receipt.duplicate, warnings or None)


def _crowded(of: str) -> Overloaded:
    return Overloaded(f"Too many labels of {of} come at once. Send it again.")


def unknown_prediction(model: str, id: str) -> UnknownPrediction:
    """What is answered of a prediction that is not remembered."""
    return UnknownPrediction(
        f"The model {model!r} remembers no prediction {id!r}: it was never made, or it has "
        "expired. Send its features with the label instead."
    )
