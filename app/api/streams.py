"""Streams: lines of JSON in, a line of answer for each out, in order, in bounded memory.

    receive ─▶ parts of some hundred lines ─▶ taken in, in order ─▶ answered ─▶ Outbox ─▶ send
                  ▲                                │ (a few parts on their way, no more)
                  └── not read while that is full ◀┘

Answers go out while lines come in. A client that sends all before it reads anything would block
both sides for ever; so answers that are not fetched wait in a temporary file, up to a limit.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from tempfile import SpooledTemporaryFile
from typing import Any

from starlette.types import Receive, Send

from app.api.bodies import encode
from app.api.errors import internal, problem_of
from app.errors import BodyTooLarge, BodyTooSlow, HeadraceError, Internal
from app.settings import Settings

PART_LINES = 256
"""How many lines are taken in at once."""

PARTS_MAX = 4
"""How many parts of a stream are on their way at once."""

HELD_BYTES = 1_048_576
"""Answers that wait in memory; more of them wait on disk."""

SEND_BYTES = 65_536

Line = bytes | HeadraceError
Answers = list[Any]
Take = Callable[[list[Line]], Awaitable[Awaitable[Answers]]]
"""Takes a part of a stream in, in order; what it returns gives the answers."""


class Gone(Exception):
    """The client left before its stream ended."""


async def stream(receive: Receive, send: Send, settings: Settings, take: Take) -> None:
    """Answer a stream line by line. What was taken in when the client leaves is finished."""
    outbox = Outbox(send, settings.stream_answers_bytes_max)
    parts: asyncio.Queue[asyncio.Task[Answers] | None] = asyncio.Queue(PARTS_MAX)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outbox.run())
        tasks.create_task(_answer(parts, outbox))
        try:
            async for lines in parts_of(receive, settings):
                answers = await _answers(take(lines), len(lines))
                await parts.put(tasks.create_task(answers))
        except Gone:
            pass
        await parts.put(None)


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


async def parts_of(receive: Receive, settings: Settings) -> AsyncIterator[list[Line]]:
    """A body's lines, some at a time, as soon as there are any; blank ones are passed over.

    A line that is too long stands there as its error. Raises `Gone` if the client leaves.
    """
    rest, is_skipping, more = b"", False, True
    while more:
        try:
            async with asyncio.timeout(settings.body_seconds_max):
                message = await receive()
        except TimeoutError:
            yield [
                BodyTooSlow(
                    f"Nothing came for {settings.body_seconds_max:g} s, and the stream was ended. "
                    "Send what is left, with the same ids."
                )
            ]
            return
        if message["type"] == "http.disconnect":
            raise Gone
        more = message.get("more_body", False)
        first, *others = (rest + message.get("body", b"")).split(b"\n")
        lines: list[Line] = []
        for line, ended in zip((first, *others), [True] * len(others) + [not more], strict=True):
            if not ended:
                # Of a line that is too long nothing is held: its end is waited for.
                is_skipping = is_skipping or len(line) > settings.stream_line_bytes_max
                rest = b"" if is_skipping else line
            elif is_skipping or len(line) > settings.stream_line_bytes_max:
                is_skipping = False
                lines.append(_too_long(settings))
            elif line.strip():
                lines.append(line)
        for begin in range(0, len(lines), PART_LINES):
            yield lines[begin : begin + PART_LINES]


class Outbox:
    """Answers on their way to a client, in order; what it does not fetch waits in a file."""

    def __init__(self, send: Send, bytes_max: int) -> None:
        self._send = send
        self._bytes_max = bytes_max
        self._file = SpooledTemporaryFile(HELD_BYTES)
        self._put_at = self._taken_at = 0
        self._is_closed = False
        self._changed = asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Add answers; wait while too many are not fetched."""
        while self._put_at - self._taken_at > self._bytes_max:
            self._changed.clear()
            await self._changed.wait()
        self._file.seek(self._put_at)
        self._file.write(data)
        self._put_at += len(data)
        self._changed.set()

    def close(self) -> None:
        """Nothing more is put."""
        self._is_closed = True
        self._changed.set()

    async def run(self) -> None:
        """Send what is put until the end of it."""
        headers = [(b"content-type", b"application/x-ndjson")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        with self._file:
            while True:
                data = self._take()
                if data:
                    await self._send(
                        {"type": "http.response.body", "body": data, "more_body": True}
                    )
                elif self._is_closed:
                    await self._send({"type": "http.response.body", "body": b""})
                    return
                else:
                    self._changed.clear()
                    await self._changed.wait()

    def _take(self) -> bytes:
        if self._taken_at == self._put_at:
            self._file.seek(0)
            self._file.truncate()
            self._taken_at = self._put_at = 0
            return b""
        self._file.seek(self._taken_at)
        data: bytes = self._file.read(min(SEND_BYTES, self._put_at - self._taken_at))
        self._taken_at += len(data)
        self._changed.set()
        return data


async def _answer(parts: asyncio.Queue[asyncio.Task[Answers] | None], outbox: Outbox) -> None:
    """Put the answers of each part, in the order of the parts."""
    while (part := await parts.get()) is not None:
        lines = [encode(shown(answer)) for answer in await part]
        await outbox.put(b"\n".join(lines) + b"\n")
    outbox.close()


def shown(answer: object) -> object:
    """An answer as it is, an error as its problem."""
    return problem_of(answer) if isinstance(answer, HeadraceError) else answer


def _too_long(settings: Settings) -> BodyTooLarge:
    return BodyTooLarge(
        f"The line is over {settings.stream_line_bytes_max:,} bytes. Send less in one, or raise "
        "HEADRACE_STREAM_LINE_BYTES_MAX."
    )
