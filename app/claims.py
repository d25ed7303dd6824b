"""Claims: what feedback on its way fixes, from its draft until it is applied or came to nothing.

The first example that carries a feature fixes its type, and a class label becomes known. What is
drafted meanwhile must not contradict it, though the model does not know it yet.
"""

import asyncio
from collections.abc import Sequence

from app import entries
from app.admission import Admission, Fresh
from app.entries import Correction, Example
from app.log import Draft, Outcome, Receipt
from app.replica import Replica
from app.rules import Item
from app.runtime import Runtime

Pair = tuple[Replica, Item]


class Claims:
    """The claims that the feedback of one process makes."""

    def __init__(self, runtime: Runtime, admission: Admission) -> None:
        self._runtime = runtime
        self._admission = admission
        self._seconds_max = runtime.settings.feedback_seconds_max

    def draft(
        self, replica: Replica, item: Item, entry: Example | Correction, follows: int = 0
    ) -> Draft:
        """A draft of what an item becomes; what it fixes is claimed until the item is settled.

        Raises `InvalidFeatures` or `InvalidLabel` if it contradicts what the model knows.
        """
        # What was sent may be no object at all; only what a correction leaves out is no features.
        features = (
            {} if isinstance(entry, Correction) and entry.features is None else entry.features
        )
        fresh = self._admission.fresh(replica, features, item.label)  # type: ignore[arg-type]
        replica.claim(*fresh)
        item.fresh = fresh
        kind, body = entries.kind_of(entry), entries.encode(entry)
        return Draft(
            replica.id,
            kind,
            item.id,
            item.prediction_id,
            self._runtime.clock(),
            body,
            follows,
            replica.model.offset_applied,
            fixes=any(fresh),
        )

    async def known(
        self, pairs: Sequence[Pair], future: asyncio.Future[list[Outcome]]
    ) -> list[Outcome]:
        """What the log made of these drafts, once that is applied here.

        Until then they claim what they fix: also if this gives up waiting, and raises.
        """
        try:
            outcomes = await self._runtime.log.durable(future)
            await _applied(pairs, outcomes, self._seconds_max)
        except BaseException:
            claims = [(replica, item.fresh) for replica, item in pairs]
            for _, item in pairs:
                item.fresh = ({}, [])
            self._runtime.applier.spawn(_settle_once_applied(pairs, claims, future))
            raise
        self.settle(pairs)
        return outcomes

    def settle(self, pairs: Sequence[Pair]) -> None:
        """These claim nothing more."""
        for replica, item in pairs:
            replica.settle(*item.fresh)
            item.fresh = ({}, [])


async def _applied(
    pairs: Sequence[Pair], outcomes: Sequence[Outcome], seconds_max: float | None
) -> None:
    """Wait until what was appended of these is applied here."""
    offsets: dict[Replica, int] = {}
    for (replica, _), outcome in zip(pairs, outcomes, strict=True):
        if isinstance(outcome, Receipt):
            offsets[replica] = max(outcome.offset, offsets.get(replica, 0))
    for replica, offset in offsets.items():
        await replica.applied(offset, seconds_max)


async def _settle_once_applied(
    pairs: Sequence[Pair],
    claims: Sequence[tuple[Replica, Fresh]],
    future: asyncio.Future[list[Outcome]],
) -> None:
    try:
        await _applied(pairs, await future, None)
    finally:
        for replica, fresh in claims:
            replica.settle(*fresh)
