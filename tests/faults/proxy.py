"""A TCP proxy before a service that drops, delays and cuts answers, as a network does."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Fault = Literal["pass", "drop", "delay", "cut"]
DELAY_SECONDS = 0.05


def chances(seed: int, share: float = 0.05) -> Iterator[Fault]:
    """What happens to one answer after the other: a fault to this share of them."""
    chance = random.Random(seed)
    while True:
        yield chance.choice(("drop", "delay", "cut")) if chance.random() < share else "pass"


class Proxy:
    """What came of the answers so far, and the port to reach the service by."""

    def __init__(self, target: int, faults: Iterable[Fault]) -> None:
        self.port = 0
        self.happened: Counter[str] = Counter()
        self._target = target
        self._faults = iter(faults)
        self._open: set[asyncio.StreamWriter] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            self._open |= {writer, upstream}
            await asyncio.gather(self._ask(reader, upstream), self._answer(there, writer))
            self._open -= {writer, upstream}

    async def _ask(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                upstream.write(data)
                await upstream.drain()
        upstream.close()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_dropping = False
        with suppress(OSError):
            while data := await there.read(65_536):
                fault = next(self._faults, "pass")
                self.happened[fault] += 1
                is_dropping = is_dropping or fault == "drop"
                if fault == "delay":
                    await asyncio.sleep(DELAY_SECONDS)
                if not is_dropping:
                    writer.write(data[: len(data) // 2] if fault == "cut" else data)
                    await writer.drain()
                if fault == "cut":
                    break
        writer.close()

    async def _run(self, is_up: threading.Event) -> None:
        self._is_over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            is_up.set()
            await self._is_over.wait()
            server.close()
            for writer in self._open:
                writer.close()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._is_over.set)


@contextmanager
def proxy(target: int, faults: Iterable[Fault]) -> Iterator[Proxy]:
    """A proxy in a thread of its own; one fault after the other befalls an answer each."""
    between, is_up = Proxy(target, faults), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(between._run(is_up)))
    thread.start()
    assert is_up.wait(10)
    try:
        yield between
    finally:
        between._end()
        thread.join(10)
