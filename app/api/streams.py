"""Streams: lines of JSON in, a line of answer for each out, in order, in bounded memory.

    receive ─▶ parts of some hundred lines ─▶ taken in, in order ─▶ answered ─▶ Outbox ─▶ send
                  ▲                                │ (a few parts on their way, no more)
                  └── not read while that is full ◀┘

Answers go out while lines come in. A client that sends all before it reads anything would block
both sides for ever; so answers that are not fetched wait in temporary files, up to a limit for each
stream and one for all.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple, TypeVar

from starlette.types import Message, Receive, Send

from app.api.bodies import encode
from app.api.errors import internal, problem_of
from app.api.room import Room, Rooms
from app.errors import BodyTooLarge, BodyTooSlow, HeadraceError, Internal, Overloaded
from app.settings import Settings

PART_LINES = 256
"""How many lines are taken in at once."""

PARTS_MAX = 4
"""How many parts of a stream are on their way at once."""

HELD_BYTES = 1_048_576
"""Answers that wait in memory; more of them wait on disk."""

SEGMENT_BYTES = 4_194_304
"""Answers that wait in one file. The first file of a stream is its own, the others share a room."""

SEND_BYTES = 65_536

Done = TypeVar("Done")
Line = bytes | HeadraceError
Answers = list[Any]
Take = Callable[[list[Line]], Awaitable[Awaitable[Answers]]]
"""Takes a part of a stream in, in order; what it returns gives the answers."""


class Gone(Exception):
    """The client left before its stream ended, or was left because nothing was heard of it."""


class Connection:
    """What a stream knows of its connection: that it is about to end, and how to cut it."""

    def __init__(self, abort: Callable[[], None] = lambda: None) -> None:
        self.stopping = asyncio.Event()
        self.abort = abort


class Held(NamedTuple):
    """What a stream holds beside its lines: its connection, the limits, and what all share."""

    connection: Connection
    settings: Settings
    rooms: Rooms


async def stream(receive: Receive, send: Send, held: Held, take: Take) -> None:
    """Answer a stream line by line. What was taken in when the client leaves is finished.

    When the server is about to stop, the stream ends behind the last whole line that was read.
    """
    pulse = Pulse(held.settings.body_seconds_max)
    outbox = Outbox(send, held.settings.stream_answers_bytes_max, held.rooms.answers)
    parts: asyncio.Queue[asyncio.Task[Answers] | None] = asyncio.Queue(PARTS_MAX)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(outbox.run(pulse))
            tasks.create_task(_answer(parts, outbox))
            try:
                async for lines in parts_of(receive, held, pulse):
                    size = sum(len(line) for line in lines if isinstance(line, bytes))
                    await held.rooms.parts.wait(size)
                    try:
                        taking = tasks.create_task(_answers(take(lines), len(lines)))
                        task = tasks.create_task(await pulse.owe(taking))
                    except BaseException:
                        held.rooms.parts.give(size)
                        raise
                    task.add_done_callback(lambda _, size=size: held.rooms.parts.give(size))  # type: ignore[misc]
                    await parts.put(pulse.owe(task))
            except Gone:
                pass
            await parts.put(None)
    except* Gone:
        held.connection.abort()
    finally:
        outbox.discard()


async def _answers(
    taking: Awaitable[Awaitable[Answers]], count: int
) -> Coroutine[Any, Any, Answers]:
    """Take a part in. One that fails as a whole is answered so for each of its lines."""

    async def answered(answers: Awaitable[Answers] | None, error: HeadraceError) -> Answers:
        try:
            return [error] * count if answers is None else await answers
        except HeadraceError as refused:
            return [refused] * count
        except Exception as bug:
            return [internal(bug)] * count

    unknown = Internal("This was not taken. Send it again.")
    try:
        return answered(await taking, unknown)
    except HeadraceError as error:
        return answered(None, error)
    except Exception as bug:
        return answered(None, internal(bug))


class Pulse:
    """When a client was last heard of, and whether it is the client whose turn it is.

    It is heard of when it sends a whole line, when it fetches, and when an answer is made that it
    waited for.
    """

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._owed: set[asyncio.Task[Any]] = set()
        self._at = asyncio.get_running_loop().time()

    def beat(self) -> None:
        """It was heard of."""
        self._at = asyncio.get_running_loop().time()

    def owe(self, task: asyncio.Task[Done]) -> asyncio.Task[Done]:
        """Until the task is done, it is not the client who is slow."""
        self._owed.add(task)
        task.add_done_callback(self._pay)
        return task

    async def wait(self, *futures: asyncio.Future[Any]) -> None:
        """Wait for the first of these. Raises `TimeoutError` if the client is silent too long."""
        while True:
            left = self._at + self._seconds_max - asyncio.get_running_loop().time()
            if left <= 0 and not self._owed:
                raise TimeoutError
            pause = left if left > 0 else self._seconds_max
            done, _ = await asyncio.wait(
                futures, timeout=pause, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return

    def _pay(self, task: asyncio.Task[Any]) -> None:
        self._owed.discard(task)
        self.beat()


async def _next(receive: Receive, held: Held, pulse: Pulse) -> Message | None:
    """What comes next, or None if the server is about to stop. May raise `TimeoutError`."""
    receiving = asyncio.ensure_future(receive())
    stopping = asyncio.ensure_future(held.connection.stopping.wait())
    try:
        await pulse.wait(receiving, stopping)
        return receiving.result() if receiving.done() else None
    finally:
        receiving.cancel()
        stopping.cancel()


async def parts_of(receive: Receive, held: Held, pulse: Pulse) -> AsyncIterator[list[Line]]:
    """A body's lines, some at a time, as soon as there are any; blank ones are passed over.

    A line that is too long stands there as its error; where no more can be read, so does the
    reason. Raises `Gone` if the client leaves.
    """
    unfinished = Unfinished(held.settings.stream_line_bytes_max, held.rooms.lines)
    more = True
    try:
        while more:
            message = await _next(receive, held, pulse)
            if message is None:
                return
            if message["type"] == "http.disconnect":
                raise Gone
            more = message.get("more_body", False)
            lines = unfinished.lines(message.get("body", b""), more)
            if lines:
                pulse.beat()
            for begin in range(0, len(lines), PART_LINES):
                yield lines[begin : begin + PART_LINES]
    except TimeoutError:
        seconds = held.settings.body_seconds_max
        text = f"No whole line came for {seconds:g} s, and the stream was ended. Send what is left"
        yield [BodyTooSlow(f"{text}, with the same ids.")]
    except Overloaded as error:
        yield [error]
    finally:
        unfinished.clear()


class Unfinished:
    """The line whose end has not come yet. Of one that is too long nothing is held."""

    def __init__(self, bytes_max: int, room: Room) -> None:
        self._bytes_max = bytes_max
        self._room = room
        self._held = bytearray()
        self._size = 0

    def lines(self, data: bytes, more: bool) -> list[Line]:
        """The lines that end in this data, or with it. May raise `Overloaded`."""
        *ended, last = data.split(b"\n")
        if not more:
            ended.append(last)
            last = b""
        lines: list[Line] = []
        for line in ended:
            if self._size + len(line) > self._bytes_max:
                lines.append(_too_long(self._bytes_max))
            elif (whole := bytes(self._held) + line if self._held else line).strip():
                lines.append(whole)
            self.clear()
        self._size += len(last)
        if self._size > self._bytes_max:
            self._let_go()
        elif last:
            self._room.take(len(last))
            self._held += last
        return lines

    def clear(self) -> None:
        """The line has ended."""
        self._let_go()
        self._size = 0

    def _let_go(self) -> None:
        if self._held:
            self._room.give(len(self._held))
            self._held.clear()


class _Segment:
    """A file of answers that wait, written at its end and read from its beginning."""

    def __init__(self) -> None:
        self.file = SpooledTemporaryFile(HELD_BYTES)
        self.written = self.read = 0

    def write(self, data: memoryview) -> None:
        self.file.seek(self.written)
        self.file.write(data)
        self.written += len(data)

    def take(self, size: int) -> bytes:
        self.file.seek(self.read)
        data: bytes = self.file.read(size)
        self.read += len(data)
        return data

    def empty(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.written = self.read = 0


class Outbox:
    """Answers on their way to a client, in order; what it does not fetch waits in files."""

    def __init__(self, send: Send, bytes_max: int, room: Room) -> None:
        self._send = send
        self._room = room
        self._segment_bytes = min(SEGMENT_BYTES, bytes_max)
        self._segments_max = bytes_max // self._segment_bytes
        self._segments = deque([_Segment()])
        self._has_begun = False
        self._is_closed = False
        self._changed = asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Add answers; wait while too many are not fetched."""
        left = memoryview(data)
        while left:
            last = self._segments[-1]
            size = min(self._segment_bytes - last.written, len(left))
            if size:
                last.write(left[:size])
                left = left[size:]
                self._has_begun = True
                self._changed.set()
            elif len(self._segments) < self._segments_max:
                await self._grow()
            else:
                await self._change()

    def close(self) -> None:
        """Nothing more is put."""
        self._is_closed = True
        self._changed.set()

    async def run(self, pulse: Pulse) -> None:
        """Send what is put until the end of it. Raises `Gone` if the client does not fetch it."""
        headers = [(b"content-type", b"application/x-ndjson")]
        # Not before there is something to say: a client may wait to be told to go on (100).
        while not self._has_begun and not self._is_closed:
            await self._change()
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        while True:
            data = self._take()
            if data:
                message = {"type": "http.response.body", "body": data, "more_body": True}
                await self._fetched(message, pulse)
            elif self._is_closed:
                await self._send({"type": "http.response.body", "body": b""})
                return
            else:
                await self._change()

    def discard(self) -> None:
        """Let go what waits, once nobody puts or sends any more."""
        while len(self._segments) > 1:
            self._drop()
        self._segments[0].file.close()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _grow(self) -> None:
        """One more file, once there is room for it, unless something was fetched before."""
        taking = asyncio.ensure_future(self._room.wait(self._segment_bytes))
        changing = asyncio.ensure_future(self._change())
        try:
            await asyncio.wait((taking, changing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if taking.done():
                self._segments.append(_Segment())
            taking.cancel()
            changing.cancel()

    async def _fetched(self, message: Message, pulse: Pulse) -> None:
        sending = asyncio.ensure_future(self._send(message))
        try:
            await pulse.wait(sending)
            sending.result()
            pulse.beat()
        except TimeoutError:
            raise Gone from None
        finally:
            sending.cancel()

    def _take(self) -> bytes:
        first = self._segments[0]
        data = first.take(SEND_BYTES)
        if first.read == first.written:
            if len(self._segments) > 1:
                self._drop()
            else:
                first.empty()
        if data:
            self._changed.set()
        return data

    def _drop(self) -> None:
        self._segments.popleft().file.close()
        self._room.give(self._segment_bytes)


async def _answer(parts: asyncio.Queue[asyncio.Task[Answers] | None], outbox: Outbox) -> None:
    """Put the answers of each part, in the order of the parts."""
    while (part := await parts.get()) is not None:
        lines = [encode(shown(answer)) for answer in await part]
        await outbox.put(b"\n".join(lines) + b"\n")
    outbox.close()


def shown(answer: object) -> object:
    """An answer as it is, an error as its problem."""
    return problem_of(answer) if isinstance(answer, HeadraceError) else answer


def _too_long(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The line is over {bytes_max:,} bytes. Send less in one, or raise "
        "HEADRACE_STREAM_LINE_BYTES_MAX."
    )
