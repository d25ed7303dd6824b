"""Room: how many bytes are being worked on at once, in bodies and in lines of streams."""

import asyncio

from app.errors import Overloaded


class Room:
    """Bytes that all requests of a process hold together, of so many that they may."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held = 0
        self._changed = asyncio.Event()

    def take(self, size: int) -> None:
        """Hold so many bytes more. Raises `Overloaded`, with nothing held, if there is no room."""
        if self._held + size > self._bytes_max:
            raise Overloaded(
                "The bodies being worked on are as large together as they may be. Send it again "
                "after the time that Retry-After says."
            )
        self._held += size

    async def wait(self, size: int) -> None:
        """Hold so many bytes more once there is room; as the only ones, if they are too many."""
        while self._held and self._held + size > self._bytes_max:
            self._changed.clear()
            await self._changed.wait()
        self._held += size

    def give(self, size: int) -> None:
        """Hold them no longer."""
        self._held -= size
        self._changed.set()
