"""A replica: what one process holds of one model, and who waits for it."""

import asyncio
import heapq
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Literal

import msgspec

from app import entries
from app.errors import HeadraceError, NotReady, UnknownModel
from app.live import LiveModel, Prepared, Turn
from app.log import Row
from app.registry import Registered
from app.replay import SafePoint
from learners.learner import Learner

DIGEST_EVERY = 1_000
"""At which offsets, multiples of it, processes compare what they answer."""

DIGESTS_MAX = 4
"""At how many of the newest of these offsets."""

WITNESSES = 8
"""How many of the newest observations are asked about."""


State = Literal["restoring", "ready", "rebuilding", "failed", "deleted"]
Types = Mapping[str, entries.FeatureType]


class Replica:
    """What this process holds of one model: its live state, and what waits for it."""

    def __init__(self, registered: Registered) -> None:
        self.registered = registered
        self.id = registered.id
        self.name = registered.name
        self.created = registered.created
        self.created_at = registered.created_at
        self.state: State = "restoring"
        self.live: LiveModel | None = None
        self.inbox: deque[Row] = deque()
        self.head = registered.head
        """How far its log reaches, as far as this process knows."""
        self.safe_point: SafePoint | None = None
        self.ahead: dict[Turn, Prepared] = {}
        """Learners of entries that are about to be appended."""
        self.digests: dict[int, str] = {}
        """What it answered at the newest agreed offsets, in short."""
        self.is_in_doubt = False
        """Whether it answered otherwise than other processes, and is being restored for it."""
        self.holds = 0
        """How many hold its entries back: they wait in the inbox, and the model does not change."""
        self.compared = 0
        """How many scored examples its learner had when it was last compared with its versions."""
        self.reported: frozenset[int] = frozenset()
        """The versions than which it was last found worse."""
        self.types_claimed: dict[str, entries.FeatureType] = {}
        self.labels_claimed: set[entries.Label] = set()
        self._claims: Counter[str | tuple[entries.Label]] = Counter()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waited = 0

    @property
    def model(self) -> LiveModel:
        """The live model. Raises `NotReady` while there is none that its log explains."""
        if self.state == "deleted":
            raise UnknownModel(f"The model {self.name!r} was deleted meanwhile.")
        if self.state == "failed":
            raise NotReady(
                f"The model {self.name!r} stopped: its state is not what its log says. The log of "
                "operations says more; a restart restores it."
            )
        if self.live is None:
            raise NotReady(
                f"The model {self.name!r} is being restored from its log. GET /readyz says when it "
                "is done."
            )
        return self.live

    @property
    def learner(self) -> Learner:
        """The learner. Raises `NotReady` also while it is being rebuilt."""
        learner = self.model.learner
        if learner is None:
            raise NotReady(
                f"The learner of {self.name!r} is being rebuilt from its log. Ask again."
            )
        return learner

    @property
    def lag(self) -> int:
        """How many entries this process knows of and has not applied."""
        return max(0, self.head - self.live.offset_applied) if self.live is not None else self.head

    def note_digest(self) -> None:
        """Keep what the model answers now, to be compared with what it does elsewhere."""
        live = self.live
        if live is not None and live.learner is not None:
            self.digests[live.offset_applied] = _digest(live)
            while len(self.digests) > DIGESTS_MAX:
                del self.digests[min(self.digests)]

    def is_behind(self, head: int) -> bool:
        """Whether the log reaches further than what was applied or delivered."""
        self.head = max(self.head, head)
        return self.live is not None and not self.inbox and self.live.offset_applied < head

    async def applied(self, offset: int, seconds_max: float | None) -> None:
        """Wait until this process has applied the entry at `offset`. Raises `NotReady`.

        None waits as long as it takes.
        """
        if not await self._reaches(offset, seconds_max):
            raise NotReady(
                f"The feedback is durable at offset {offset:,}, and the model {self.name!r} has "
                "not learned it yet. Send it again with the same id to know when it has."
            )

    async def reached(self, offset: int, seconds_max: float) -> None:
        """Wait until this process has applied what another may have appended. `NotReady`."""
        if not await self._reaches(offset, seconds_max):
            raise NotReady(
                f"This process knows the model {self.name!r} up to offset "
                f"{self.model.offset_applied:,}, and min_offset is {offset:,}. Ask again after the "
                "time that Retry-After says; if it never gets there, no such entry was appended."
            )

    async def _reaches(self, offset: int, seconds_max: float | None) -> bool:
        """Whether the entry at `offset` is applied, or is in time."""
        if self.model.offset_applied >= offset:
            return True
        self._waited += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (offset, self._waited, future))
        try:
            async with asyncio.timeout(seconds_max):
                await future
        except TimeoutError:
            return False
        return True

    def answer_waiters(self, error: HeadraceError | None = None) -> None:
        """Let go whoever waits for an offset that is applied; with an error, everybody."""
        reached = self.live.offset_applied if self.live is not None else 0
        while self._waiters and (error is not None or self._waiters[0][0] <= reached):
            future = heapq.heappop(self._waiters)[2]
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def claim(self, types: Types, labels: Sequence[entries.Label]) -> None:
        """Note what feedback on its way fixes once it is applied: types of features, a label."""
        self.types_claimed.update(types)
        self.labels_claimed.update(labels)
        self._claims.update([*types, *((label,) for label in labels)])

    def settle(self, types: Types, labels: Sequence[entries.Label]) -> None:
        """Such feedback was applied, or came to nothing: it claims nothing more."""
        for name in types:
            self._claims[name] -= 1
            if not self._claims[name]:
                del self._claims[name], self.types_claimed[name]
        for label in labels:
            self._claims[label,] -= 1
            if not self._claims[label,]:
                del self._claims[label,]
                self.labels_claimed.discard(label)


def _digest(live: LiveModel) -> str:
    """What a model answers to its newest observations, in short."""
    answers = [live.own_answer(features) for features in list(live.observations)[-WITNESSES:]]
    told = [(a.prediction, list((a.probabilities or {}).items()), a.score) for a in answers]
    return blake2b(msgspec.json.encode(told), digest_size=16).hexdigest()
