"""Room: how many bytes are being worked on at once, in bodies and in lines of streams."""

import asyncio

from app.errors import Overloaded
from app.settings import Settings


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


class Rooms:
    """The rooms of a process. What waits in one keeps nothing out of another.

    What is worked on ends by itself, whatever waits for the ends of lines or for who reads late.
    """

    def __init__(self, settings: Settings) -> None:
        self.bodies = Room(settings.bodies_bytes_max)
        """Whole bodies."""
        self.lines = Room(settings.bodies_bytes_max)
        """Lines of streams whose ends have not come."""
        self.parts = Room(settings.bodies_bytes_max)
        """Lines of streams that are worked on."""
        self.answers = Room(settings.streams_answers_bytes_max)
        """Answers of streams that wait on disk."""
