"""The log: append, read, tail. Ordered, durable, idempotent; the only truth of the service.

Group commit. Whoever appends puts a draft in the queue and waits; one committer takes all that
waits and makes it durable in one transaction, while the next batch gathers:

    append ──┐
    append ──┼─▶ queue ──▶ committer: BEGIN, lock the models' rows, drop duplicates,
    append ──┘               take offsets, insert, COMMIT ──▶ deliver ──▶ answer the waiting

Offsets are taken from the model's own row inside the transaction that inserts, so they are gapless
and commit order is offset order, with any number of writers. `deliver` is called with what was
committed, in order, before any waiting append is answered.

When a transaction fails, its outcome may be unknown: nothing of it is acknowledged or delivered. An
entry that was durable after all shows as a gap before the next one, and is read from here.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.backends import find_pairs, insert_many
from app.database import Database
from app.errors import AlreadyLabelled, HeadraceError, LogUnavailable, Overloaded, UnknownModel
from app.settings import Settings
from app.tables import entries, models

logger = logging.getLogger(__name__)

PAGE_BYTES_MAX = 8_388_608
"""How many bytes of bodies are read at once."""

FETCH = 64
"""How many rows a replay takes from the cursor at once."""


class Draft(NamedTuple):
    """An entry that has no offset yet. `at` is in microseconds.

    Of a prediction it is the first label, or it `follows` the one at that offset: if another has
    come in between, it is not appended. If it `fixes` what no other may contradict, it is appended
    only behind what its process had `seen`, or appended itself.
    """

    model_id: int
    kind: str
    id: str
    prediction_id: str | None
    at: int
    body: bytes
    follows: int = 0
    seen: int = 0
    fixes: bool = False


class Row(NamedTuple):
    """An entry of the log as it is stored. `at` is in microseconds."""

    model_id: int
    offset: int
    kind: str
    id: str
    prediction_id: str | None
    at: int
    body: bytes


class Receipt(NamedTuple):
    """Where a draft stands in the log; `duplicate` if its id stood there before."""

    offset: int
    duplicate: bool


class Outdated(HeadraceError):
    """Others appended meanwhile what a draft may contradict: it is to be checked anew."""


Outcome = Receipt | HeadraceError
Deliver = Callable[[Sequence[Row]], None]


class _Waiting:
    """Who waits for drafts that were appended together: for one outcome each, in their order."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.size = len(drafts)
        self.outcomes: list[Outcome] = []
        self.future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        if not drafts:
            self.future.set_result([])

    def take(self, outcome: Outcome) -> None:
        """The next draft's outcome."""
        self.outcomes.append(outcome)
        if len(self.outcomes) == self.size and not self.future.done():
            self.future.set_result(self.outcomes)


class Log:
    """Appends in groups, reads and counts. Open it inside the event loop that will use it."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._queue_max = settings.append_queue_max
        self._batch_max = settings.append_batch_max
        self._seconds_max = settings.feedback_seconds_max
        self._queue: deque[tuple[Draft, _Waiting]] = deque()
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._committer: asyncio.Task[None] | None = None
        self._known: dict[int, int] = {}

    def open(self, deliver: Deliver) -> None:
        """Start the committer."""
        self._committer = asyncio.create_task(self._commit_forever(deliver), name="committer")

    async def close(self) -> None:
        """Commit what waits, then stop."""
        if self._committer is not None:
            committer, self._committer = self._committer, None
            self._filled.set()
            await committer

    async def append(self, draft: Draft) -> Receipt:
        """Make an entry durable, and say where it stands.

        The same id again gives the first receipt with `duplicate`. Raises `Overloaded` before
        anything was taken in, `AlreadyLabelled`, `UnknownModel`, and `LogUnavailable`, after which
        the same draft may be appended again: its id keeps it from standing there twice.
        """
        [outcome] = await self.durable(await self.enqueue([draft]))
        if isinstance(outcome, Receipt):
            return outcome
        raise outcome

    async def enqueue(
        self, drafts: Sequence[Draft], waits: bool = False
    ) -> asyncio.Future[list[Outcome]]:
        """Take in drafts, in their order; what comes of them is had by `durable`.

        Raises `Overloaded`, with nothing taken, if there is no room; who `waits` for it leaves half
        of the room to others.
        """
        try:
            async with asyncio.timeout(self._seconds_max):
                while waits and self._is_crowded(len(drafts)):
                    self._drained.clear()
                    await self._drained.wait()
        except TimeoutError:
            raise self._overloaded() from None
        is_full = len(self._queue) + len(drafts) > self._queue_max and len(self._queue) > 0
        if is_full or self._committer is None:
            raise self._overloaded()
        waiting = _Waiting(drafts)
        self._queue.extend((draft, waiting) for draft in drafts)
        self._filled.set()
        return waiting.future

    def _is_crowded(self, count: int) -> bool:
        """Whether so many drafts would leave less than half of the room, or have none."""
        waiting = len(self._queue)
        return waiting > self._queue_max // 2 or 0 < waiting > self._queue_max - count

    async def durable(self, future: asyncio.Future[list[Outcome]]) -> list[Outcome]:
        """Each draft's outcome, in their order; `LogUnavailable` if they take too long."""
        try:
            async with asyncio.timeout(self._seconds_max):
                # Who waits no longer must not take the outcome from who does.
                return await asyncio.shield(future)
        except TimeoutError:
            raise LogUnavailable(
                f"The entry was not made durable within {self._seconds_max:g} s, and may still be. "
                "Send it again, with the same id, so that it is taken once."
            ) from None

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{len(self._queue):,} entries are waiting to be made durable, and this one was not "
            "taken. Send it again after the time that Retry-After says."
        )

    async def read(self, model_id: int, after: int, limit: int) -> list[Row]:
        """The model's entries behind offset `after`, oldest first, at most `limit`."""
        return await self._database.read(lambda c: read(c, model_id, after, limit))

    async def heads(self) -> dict[int, int]:
        """How far each model's log reaches."""
        return await self._database.read(
            lambda connection: {
                row.id: row.head
                for row in connection.execute(sa.select(models.c.id, models.c.head))
            }
        )

    async def labels_of(self, model_id: int, prediction_id: str) -> list[Row]:
        """The entries that labelled this prediction, oldest first: its label, and corrections."""
        where = (entries.c.model_id == model_id, entries.c.prediction_id == prediction_id)
        query = sa.select(*_COLUMNS).where(*where).order_by(entries.c.offset)
        return await self._database.read(lambda c: [Row(*row) for row in c.execute(query)])

    async def labelled(self, keys: Iterable[tuple[int, str]]) -> set[tuple[int, str | None]]:
        """Which of these predictions, (model id, id), have a label."""
        wanted = set(keys)
        found = await self._database.read(
            lambda connection: _existing(connection, entries.c.prediction_id, wanted)
        )
        return set(found)

    async def _commit_forever(self, deliver: Deliver) -> None:
        while True:
            if not self._queue:
                if self._committer is None:
                    return
                self._filled.clear()
                await self._filled.wait()
                continue
            size = min(len(self._queue), self._batch_max)
            batch = [self._queue.popleft() for _ in range(size)]
            self._drained.set()
            drafts = [draft for draft, _ in batch]
            try:
                work = partial(append, drafts=drafts, known=self._known)
                rows, outcomes = await self._database.write(work, alone=False)
            except LogUnavailable as error:
                outcomes = [LogUnavailable(error.message)] * size
            except Exception:
                logger.exception("appending failed, which is a bug")
                outcomes = [
                    LogUnavailable("The log failed. Send it again, with the same id.")
                ] * size
            else:
                self._know(drafts, rows)
                deliver(rows)
            for (_, waiting), outcome in zip(batch, outcomes, strict=True):
                waiting.take(outcome)

    def _know(self, drafts: Sequence[Draft], rows: Sequence[Row]) -> None:
        """Note what was committed, where nothing of others came before it unseen."""
        seen = _seen(drafts, self._known)
        for row in rows:
            if row.offset - 1 <= seen.get(row.model_id, 0):
                seen[row.model_id] = max(row.offset, seen.get(row.model_id, 0))
        self._known = seen


_COLUMNS = tuple(entries.c[name] for name in Row._fields)
_READ = (
    sa.select(*_COLUMNS)
    .where(
        entries.c.model_id == sa.bindparam("model"),
        entries.c.offset > sa.bindparam("after"),
    )
    .order_by(entries.c.offset)
    .limit(sa.bindparam("limit"))
)
_REPLAY = _READ.with_only_columns(entries.c.offset, entries.c.at, entries.c.body)
_ADVANCE = (
    sa.update(models).where(models.c.id == sa.bindparam("model")).values(head=sa.bindparam("to"))
)


def read(connection: Connection, model_id: int, after: int, limit: int) -> list[Row]:
    """The model's entries behind offset `after`, oldest first, at most `limit`.

    They are fewer where their bodies would be over `PAGE_BYTES_MAX` together.
    """
    found: list[Row] = []
    size = 0
    for row in connection.execute(_READ, {"model": model_id, "after": after, "limit": limit}):
        found.append(Row(*row))
        size += len(found[-1].body)
        if size > PAGE_BYTES_MAX:
            break
    return found


def is_end(rows: Sequence[Row], limit: int) -> bool:
    """Whether what was read of a log, at most `limit` entries, goes up to its end."""
    return len(rows) < limit and sum(len(row.body) for row in rows) <= PAGE_BYTES_MAX


def read_bodies(
    connection: Connection, model_id: int, after: int, limit: int
) -> Sequence[tuple[int, int, bytes]]:
    """What a replay needs of the entries behind `after`: offset, instant, body.

    They are fewer where their bodies would be over `PAGE_BYTES_MAX` together.
    """
    query = {"model": model_id, "after": after, "limit": limit}
    # The cursor's own tuples: SQLAlchemy's rows cost as much as decoding the entries.
    cursor = connection.execute(_REPLAY, query).cursor
    found: list[tuple[int, int, bytes]] = []
    size = 0
    while size <= PAGE_BYTES_MAX and (rows := cursor.fetchmany(FETCH)):
        found += rows
        size += sum(len(row[2]) for row in rows)
    return found


def head(connection: Connection, model_id: int) -> int:
    """How far the model's log reaches; 0 if there is no such model."""
    query = sa.select(models.c.head).where(models.c.id == model_id)
    return int(connection.execute(query).scalar() or 0)


def unlearnable_bodies(connection: Connection, model_id: int) -> list[bytes]:
    """The bodies of the model's entries that say what could not be learned."""
    # Two steps, because SQLite takes the partial index only for a query that it covers.
    offsets = sa.select(entries.c.offset).where(
        entries.c.model_id == model_id, entries.c.kind == sa.literal_column("'unlearnable'")
    )
    query = sa.select(entries.c.body).where(
        entries.c.model_id == model_id, entries.c.offset.in_(offsets)
    )
    return list(connection.execute(query).scalars())


def append(
    connection: Connection, drafts: Sequence[Draft], known: Mapping[int, int] | None = None
) -> tuple[list[Row], list[Outcome]]:
    """Append drafts inside a transaction: the rows that are new, and each draft's outcome."""
    heads = _heads(connection, {draft.model_id for draft in drafts})
    seen = _seen(drafts, known or {})
    strange = {model_id for model_id, head in heads.items() if head > seen.get(model_id, 0)}
    ids = _existing(connection, entries.c.id, {(d.model_id, d.id) for d in drafts})
    labelled = _existing(
        connection,
        entries.c.prediction_id,
        {(d.model_id, d.prediction_id) for d in drafts if d.prediction_id is not None},
    )
    rows: list[Row] = []
    outcomes: list[Outcome] = []
    for draft in drafts:
        key = (draft.model_id, draft.id)
        label = (draft.model_id, draft.prediction_id)
        if draft.model_id not in heads:
            outcomes.append(
                UnknownModel("The model was deleted. Create it again, or name another.")
            )
        elif key in ids:
            outcomes.append(Receipt(ids[key], duplicate=True))
        elif labelled.get(label, 0) != draft.follows:
            outcomes.append(
                AlreadyLabelled(
                    f"The prediction {label[1]!r} has its label, at offset "
                    f"{labelled.get(label, 0)}, from feedback with another id. A prediction is "
                    "labelled once: keep the first, or predict again."
                )
            )
        elif draft.fixes and draft.model_id in strange:
            outcomes.append(Outdated("Other processes appended meanwhile. Send it again."))
        else:
            offset = heads[draft.model_id] = heads[draft.model_id] + 1
            ids[key] = offset
            if draft.prediction_id is not None:
                labelled[label] = offset
            rows.append(Row(draft.model_id, offset, *draft[1:6]))
            outcomes.append(Receipt(offset, duplicate=False))
    if rows:
        insert_many(connection, entries, [row._asdict() for row in rows])
        advanced = sorted({row.model_id for row in rows})
        connection.execute(_ADVANCE, [{"model": m, "to": heads[m]} for m in advanced])
    return rows, outcomes


def _seen(drafts: Sequence[Draft], known: Mapping[int, int]) -> dict[int, int]:
    """Up to where these drafts' process had seen, or appended, all entries when it made them."""
    seen = dict(known)
    for draft in drafts:
        seen[draft.model_id] = max(seen.get(draft.model_id, 0), draft.seen)
    return seen


def _heads(connection: Connection, model_ids: Iterable[int]) -> dict[int, int]:
    query = sa.select(models.c.id, models.c.head).where(models.c.id.in_(sorted(model_ids)))
    query = query.order_by(models.c.id).with_for_update()
    return {row.id: row.head for row in connection.execute(query)}


def _existing(
    connection: Connection, column: sa.Column[str], keys: set[tuple[int, str]]
) -> dict[tuple[int, str | None], int]:
    """Which of these (model, value) pairs stand in the log, and at which offsets: the last ones."""
    if not keys:
        return {}
    found: dict[tuple[int, str | None], int] = {}
    rows = find_pairs(connection, (entries.c.model_id, column), keys, entries.c.offset)
    for model_id, value, offset in rows:
        found[model_id, value] = max(offset, found.get((model_id, value), 0))
    return found
