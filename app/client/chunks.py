"""Many items as lines of JSON: what is sent at once, and what came of each item.

    items ─▶ chunk ─▶ POST, a line each ─▶ a line of the answer for each, in order
                ▲                               │
                └── unanswered, 503 or 429 ◀────┘   only these, under the ids that they had

The answer may be cut anywhere. The lines that came stand; the rest is sent again. Every item has an
id from the start, so what was taken before the cut is taken once.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from operator import length_hint
from typing import Any, Generic, NamedTuple

import msgspec

from app.client.answers import Feedback, Prediction
from app.client.calls import Answer, Seen, encode, new_id, path_of
from app.client.failures import PASSING, UNREAD, ServiceUnreachable, Transient, problem, unreadable
from app.errors import HeadraceError

ITEMS_MAX = 1_000
"""How many items are sent at once, unless told otherwise."""

BYTES_MAX = 1_048_576
"""How large a chunk grows before it is sent. A larger item is sent alone."""

LINE_BYTES_MAX = 16 * 1_048_576
"""How long a line of an answer may be. No service writes one that is nearly as long."""

HEADERS = {"content-type": "application/x-ndjson", "accept": "application/x-ndjson"}

Item = Mapping[str, Any]


class Chunk(Generic[Answer]):
    """Items that are sent at once, and the outcome of each: an answer, an error, or none yet."""

    def __init__(self, batch: "Batch[Answer]") -> None:
        self.path = batch.path
        self._batch = batch
        self._lines: list[bytes] = []
        self._bytes = 0
        self._outcomes: list[Answer | HeadraceError | None] = []
        self._asked: list[int] = []
        self._answered = 0
        self._rest = bytearray()
        """The last line that came, as far as it came."""

    def add(self, item: Item) -> bool:
        """Take an item in, under its id or a new one; whether the chunk is full."""
        id = item.get("id")
        sent = {**self._batch.known(), **item, "id": new_id() if id is None else id}
        line = encode(sent) + b"\n"
        self._lines.append(line)
        self._outcomes.append(None)
        self._bytes += len(line)
        return len(self._lines) >= self._batch.items_max or self._bytes >= BYTES_MAX

    def __len__(self) -> int:
        return len(self._lines)

    def body(self) -> bytes:
        """The lines of the items that have no outcome that stands, to be sent now."""
        self._asked = [n for n, outcome in enumerate(self._outcomes) if _is_open(outcome)]
        self._answered = 0
        self._rest = bytearray()
        return b"".join(self._lines[n] for n in self._asked)

    def read(self, data: bytes) -> None:
        """Take in a part of the answer, which may end within a line."""
        # Not `splitlines`: JSON may hold characters that it takes for the end of a line.
        first, *others = data.split(b"\n")
        self._grow(first)
        for other in others:
            self._take(bytes(self._rest))
            self._rest = bytearray()
            self._grow(other)

    def end(self) -> None:
        """The answer is over. Raises `Transient` if there are items to be sent again."""
        self.read(b"\n")
        if self._answered < len(self._asked):
            raise _passing(ServiceUnreachable("The answer ended early. Send the rest again."))
        for outcome in self._outcomes:
            if isinstance(outcome, PASSING):
                raise _passing(outcome)

    def outcomes(self) -> list[Answer | HeadraceError]:
        """What came of the items, in order, up to the first of which nothing is known."""
        known: list[Answer | HeadraceError] = []
        for outcome in self._outcomes:
            if outcome is None:
                break
            known.append(outcome)
        return known

    def explains(self, failure: HeadraceError) -> bool:
        """Whether a failure to settle all items is only that of items, whose outcomes tell it."""
        return isinstance(failure, PASSING) and None not in self._outcomes

    def _grow(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > LINE_BYTES_MAX:
            raise HeadraceError(
                f"A line of the answer is over {LINE_BYTES_MAX} bytes, so what answered is not "
                "Headrace. Mend the address, or look at the proxy before it."
            )

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        if self._answered == len(self._asked):
            raise HeadraceError("More lines were answered than were sent. Update the client.")
        self._outcomes[self._asked[self._answered]] = self._outcome(line)
        self._answered += 1

    def _outcome(self, line: bytes) -> Answer | HeadraceError:
        try:
            answer = msgspec.json.decode(line, type=self._batch.answer)
        except UNREAD as unread:
            try:
                return problem(line)
            except UNREAD:
                raise unreadable(unread) from unread
        return self._batch.note(answer)


class Batch(NamedTuple, Generic[Answer]):
    """Any number of items for one path, each answered alike.

    `known` is what each item is to know besides, `note` is called with each answer.
    """

    path: str
    answer: type[Answer]
    items_max: int
    known: Callable[[], Mapping[str, Any]]
    note: Callable[[Answer], Answer]

    def chunks(self, items: Iterable[Item]) -> Iterator[Chunk[Answer]]:
        """The items in chunks; no more than one of them is held."""
        chunk = Chunk(self)
        for item in items:
            if chunk.add(item):
                yield chunk
                chunk = Chunk(self)
        if chunk:
            yield chunk

    async def chunks_of_any(
        self, items: Iterable[Item] | AsyncIterable[Item]
    ) -> AsyncIterator[Chunk[Answer]]:
        """The same, of items that may have to be awaited."""
        if not isinstance(items, AsyncIterable):
            for chunk in self.chunks(items):
                yield chunk
            return
        chunk = Chunk(self)
        async for item in items:
            if chunk.add(item):
                yield chunk
                chunk = Chunk(self)
        if chunk:
            yield chunk


def predict(model: str, items_max: int, seen: Seen) -> Batch[Prediction]:
    """Ask for any number of predictions."""
    path, note = path_of(model, "predict", "batch"), partial(seen.note, model)
    return Batch(path, Prediction, items_max, partial(seen.of, model), note)


def feedback(model: str, items_max: int, seen: Seen) -> Batch[Feedback]:
    """Send any number of labels."""
    path, note = path_of(model, "feedback", "batch"), partial(seen.note, model)
    return Batch(path, Feedback, items_max, dict, note)


@contextmanager
def bar(items: object, is_shown: bool) -> Iterator[Callable[[int], object]]:
    """A bar of the progress, if it is wanted: call it with how many items more are done."""
    if not is_shown:
        yield lambda done: None
        return
    from tqdm import tqdm  # type: ignore[import-untyped]

    with tqdm(total=length_hint(items) or None, unit="item") as shown:
        yield shown.update


def _is_open(outcome: object) -> bool:
    return outcome is None or isinstance(outcome, PASSING)


def _passing(error: HeadraceError) -> Transient:
    return Transient(error, 0.0, is_ambiguous=True)
