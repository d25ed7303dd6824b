"""Where the service is reached, and how often and when a call is tried again.

A call goes to the address that worked last. When that cannot be reached, or answers 503, it goes to
the next at once; after a round through all of them it waits: as long as `Retry-After` says at
least, and a random time from a window that doubles with each round.
"""

import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2
import httpx2
from tenacity import RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from app.client.failures import ServiceUnreachable, Transient, unreadable

WAIT_SECONDS_FIRST = 0.1
WAIT_SECONDS_MAX = 10.0
CONNECT_SECONDS_MAX = 5.0
WRITE_BYTES_MAX = 16_384

_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Addresses:
    """The base URLs of one service; `current` is the one that works, as far as is known."""

    def __init__(self, urls: str | Iterable[str]) -> None:
        every = [urls] if isinstance(urls, str) else urls
        self._urls = tuple(url.rstrip("/") for url in every)
        if not self._urls:
            raise ValueError("A client needs at least one URL.")
        for url in self._urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is no URL of HTTP. Write http://host:port.")
        self.current = self._urls[0]

    def __len__(self) -> int:
        return len(self._urls)

    def leave(self, url: str) -> None:
        """Go on to the next address, unless another call has done so."""
        if url == self.current:
            self.current = self._urls[(self._urls.index(url) + 1) % len(self)]

    @contextmanager
    def reach(self, note: Callable[[Transient], None] | None = None) -> Iterator[str]:
        """One try at the current address. A failure that may pass is raised as `Transient`."""
        url = self.current
        try:
            yield url
        except (httpx2.TransportError, TimeoutError) as error:
            raise self._failed(url, _unreachable(url, error), note) from error
        except httpx2.DecodingError as error:
            raise unreadable(error) from error
        except Transient as failure:
            self._failed(url, failure, note)
            raise

    def policy(self, retries: int) -> dict[str, Any]:
        """What tenacity is told: `retries` more rounds through the addresses after the first."""
        back_off = wait_random_exponential(multiplier=WAIT_SECONDS_FIRST, max=WAIT_SECONDS_MAX)

        def wait(state: RetryCallState) -> float:
            failure = state.outcome.exception() if state.outcome is not None else None
            if not isinstance(failure, Transient):
                return 0.0
            if failure.is_of_the_address and state.attempt_number % len(self):
                return 0.0
            return max(failure.after_seconds, back_off(state))

        return {
            "retry": retry_if_exception_type(Transient),
            "stop": stop_after_attempt((retries + 1) * len(self)),
            "wait": wait,
            "reraise": True,
        }

    def _failed(
        self, url: str, failure: Transient, note: Callable[[Transient], None] | None
    ) -> Transient:
        if failure.is_of_the_address:
            self.leave(url)
        if note is not None:
            note(failure)
        return failure


def timeouts(seconds: float) -> httpx2.Timeout:
    """The limits of each step of a try: connecting takes a moment, or does not work at all."""
    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS_MAX))


class Deadline(float):
    """A limit of seconds for all steps of a try together, which count from now.

    To httpx2 it is a number, the limit of each step. A connection of a client that was told to
    `heed_deadlines` asks it at each step how much is left.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """The limit of the next step, in seconds."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore2.TimeoutException("the time is up")
        return left


def within(seconds: float) -> httpx2.Timeout:
    """The limits of a try that ends so many seconds from now, for a client without tasks."""
    return httpx2.Timeout(Deadline(seconds), connect=min(seconds, CONNECT_SECONDS_MAX))


def heed_deadlines(client: httpx2.Client) -> None:
    """Have all connections of a client end when a `Deadline` does.

    httpx2 limits only how long nothing comes, and takes a network of one's own only together with
    its own reading of the proxies' settings; so the network is put under the pools that it made.
    """
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx2.HTTPTransport):
            transport._pool._network_backend = _Network()


class _Network(httpcore2.SyncBackend):
    def connect_tcp(self, *args: Any, **options: Any) -> httpcore2.NetworkStream:
        return _Connection(super().connect_tcp(*args, **options))


class _Connection(httpcore2.NetworkStream):
    """A connection of which every step asks the deadline."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In parts, because the stream beneath allows the time for each that the network takes.
        for start in range(0, len(buffer), WRITE_BYTES_MAX):
            self._stream.write(buffer[start : start + WRITE_BYTES_MAX], _left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        return _Connection(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(timeout: float | None) -> float | None:
    return timeout.left() if isinstance(timeout, Deadline) else timeout


def _unreachable(url: str, error: Exception) -> Transient:
    reason = str(error) or type(error).__name__
    text = f"{url} did not answer: {reason}. See whether the service runs there, and try again."
    return Transient(ServiceUnreachable(text), 0.0, not isinstance(error, _NEVER_SENT))
