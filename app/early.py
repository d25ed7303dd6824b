"""Labels that came before their predictions: they wait a little, and only so many at once."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from app.errors import Overloaded

Key = tuple[int, str]
Record = TypeVar("Record")

POLL_SECONDS = 0.1
"""How often is looked for a prediction that another process made."""


class Early(Generic[Record]):
    """Who waits in this process. Keys are (model id, prediction id).

    `recall` gives what was predicted here, `find_many` what any process did. `places_max` requests
    wait for one model, and twice as many in all.
    """

    def __init__(
        self,
        recall: Callable[[int, str], Record | None],
        find_many: Callable[[int, Iterable[str]], Awaitable[dict[str, Record]]],
        places_max: int,
    ) -> None:
        self._recall = recall
        self._find_many = find_many
        self._places_max = places_max
        self._places: Counter[int] = Counter()
        self._awaited: dict[Key, list[asyncio.Future[None]]] = {}

    def tell(self, key: Key) -> None:
        """Wake who waits for this prediction, which is there now."""
        for future in self._awaited.pop(key, ()):
            if not future.done():
                future.set_result(None)

    async def wait(self, model_id: int, ids: Iterable[str], seconds: float) -> dict[str, Record]:
        """Those of predictions that are not there yet that any process makes within so long.

        Labels of predictions that never come must not keep out the others: of one model's requests
        not all places are taken. Raises `Overloaded`, `LogUnavailable`.
        """
        missing = dict.fromkeys(ids)
        if not missing or seconds <= 0:
            return {}
        is_full = self._places[model_id] >= self._places_max
        if is_full or self._places.total() >= 2 * self._places_max:
            raise Overloaded(
                "Too many labels wait for predictions that are not there yet. Send it again after "
                "the time that Retry-After says, and a label after its prediction."
            )
        self._places[model_id] += 1
        try:
            return await self._wait(model_id, missing, seconds)
        finally:
            self._places[model_id] -= 1

    async def _wait(
        self, model_id: int, missing: dict[str, None], seconds: float
    ) -> dict[str, Record]:
        """What of the missing ones comes: from here it is told, from other processes it is read."""
        found: dict[str, Record] = {}
        now = time.monotonic()
        deadline, read_at = now + seconds, now + POLL_SECONDS
        while missing and now < deadline:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            for id in missing:
                self._awaited.setdefault((model_id, id), []).append(future)
            try:
                await asyncio.wait([future], timeout=min(deadline, read_at) - now)
            finally:
                for id in missing:
                    self._forget((model_id, id), future)
            now = time.monotonic()
            if now >= read_at or now >= deadline:
                came = await self._find_many(model_id, missing)
                read_at = now + POLL_SECONDS
            else:
                recalled = {id: self._recall(model_id, id) for id in missing}
                came = {id: record for id, record in recalled.items() if record is not None}
            found |= came
            for id in came:
                del missing[id]
        return found

    def _forget(self, key: Key, future: asyncio.Future[None]) -> None:
        waiting = self._awaited.get(key, [])
        if future in waiting:
            waiting.remove(future)
            if not waiting:
                del self._awaited[key]
