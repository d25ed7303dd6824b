"""The bounds of requests: how many at once, how large, how slow. Over one, nothing is taken in.

The outermost layer of the application. It reads a body whole, within the bounds, before anything
else sees the request.
"""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import render
from app.api.room import Room
from app.errors import BadRequest, BodyTooLarge, BodyTooSlow, HeadraceError, Overloaded
from app.settings import Settings

STREAMS = (b"application/x-ndjson", b"application/ndjson", b"application/jsonl")
"""Types of bodies that are read line by line, by the calls that take such: they are not held."""

ALIVE = "/healthz"
"""Answered also when too much is asked at once: a busy process is not a dead one."""


class Bounds:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, settings: Settings, room: Room) -> None:
        self._app = app
        self._room = room
        self._requests_max = settings.requests_max
        self._streams_max = settings.streams_max
        self._body_bytes_max = settings.body_bytes_max
        self._body_seconds_max = settings.body_seconds_max
        self._requests = 0
        self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if is_stream(scope):
            await self._stream(scope, receive, send)
        else:
            await self._request(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams may stay for hours: they are counted by themselves, and keep out no call."""
        self._streams += 1
        try:
            self._check_streams()
            _check_chunks(scope)
        except HeadraceError as error:
            await answer(send, error, close=True)
        else:
            await self._app(scope, receive, send)
        finally:
            self._streams -= 1

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._requests += 1
        held = 0
        try:
            try:
                self._check_requests(scope)
                body = await self._bounded(scope, receive)
                held = len(body)
                receive = _replay(body, receive)
                _take_as_json(scope)
            except HeadraceError as error:
                await answer(send, error, close=True)
            else:
                await self._app(scope, receive, send)
        finally:
            self._requests -= 1
            self._room.give(held)

    def _check_streams(self) -> None:
        if self._streams > self._streams_max:
            raise Overloaded(
                f"{self._streams_max:,} streams are open, as many as there may be. Send it again "
                "after the time that Retry-After says, or raise HEADRACE_STREAMS_MAX."
            )

    def _check_requests(self, scope: Scope) -> None:
        if self._requests > self._requests_max and scope["path"] != ALIVE:
            raise Overloaded(
                f"{self._requests_max:,} requests are being worked on, as many as there may be. "
                "Send it again after the time that Retry-After says."
            )

    async def _bounded(self, scope: Scope, receive: Receive) -> bytes:
        if scope["method"] in ("GET", "HEAD"):
            return b""
        try:
            async with asyncio.timeout(self._body_seconds_max):
                return await self._read(receive)
        except TimeoutError:
            raise BodyTooSlow(
                f"The body did not arrive within {self._body_seconds_max:g} s. Send it again."
            ) from None

    async def _read(self, receive: Receive) -> bytes:
        """The whole body, counted among those being worked on."""
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BodyTooSlow("The connection ended before the body did. Send it again.")
                chunk = message.get("body", b"")
                self._check(size + len(chunk))
                self._room.take(len(chunk))
                size += len(chunk)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
        except BaseException:
            self._room.give(size)
            raise

    def _check(self, size: int) -> None:
        if size > self._body_bytes_max:
            raise BodyTooLarge(
                f"The body is over {self._body_bytes_max:,} bytes. Send less at once, or raise "
                "HEADRACE_BODY_BYTES_MAX."
            )


def is_stream(scope: Scope) -> bool:
    """Whether a request's body is lines of JSON, to a call that takes such."""
    if not scope["path"].endswith("/batch"):
        return False
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    return bool(types) and types[0].partition(b";")[0].strip().lower() in STREAMS


def _check_chunks(scope: Scope) -> None:
    if scope["http_version"] == "1.0":
        raise BadRequest(
            "The answer to a stream comes in chunks, which HTTP/1.0 does not know. Send it by "
            "HTTP/1.1, or as one JSON body."
        )


def _take_as_json(scope: Scope) -> None:
    """Every body is JSON, whatever it says: `curl -d` says that it is a form."""
    kept = [header for header in scope["headers"] if header[0] != b"content-type"]
    scope["headers"] = [*kept, (b"content-type", b"application/json")]


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then waits for the end of the connection."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def answer(send: Send, error: HeadraceError, close: bool = False) -> None:
    """Send an error, and close the connection if the rest of the request was not read."""
    status, headers, body = render(error)
    if close:
        headers["connection"] = "close"
    raw: list[Any] = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
