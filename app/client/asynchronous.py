"""The client for asyncio: each call as that of `Client`, awaited."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from types import TracebackType
from typing import Any, Unpack

import httpx2
import msgspec
from tenacity import AsyncRetrying

from app.client import calls, chunks
from app.client.addresses import Addresses, timeouts
from app.client.answers import (
    Feedback,
    Label,
    Learners,
    LogEntry,
    Metrics,
    Model,
    ModelBrief,
    Prediction,
    RememberedPrediction,
)
from app.client.calls import Answer, Call, Features, ModelOptions, Result, Sent, Task, refused
from app.client.chunks import ITEMS_MAX, Chunk, Item
from app.client.failures import Transient
from app.client.operating import AsyncOperating
from app.errors import HeadraceError, ModelExists, UnknownModel


class AsyncClient(AsyncOperating):
    """A service, reached from asyncio. Tasks may share one client; `Client` documents the calls.

    Connections are kept open between calls; close the client, or use it as a context.

    Parameters
    ----------
    url, timeout, retries
        As for `Client`.

    Examples
    --------
    >>> import asyncio
    >>> from app.client import AsyncClient
    >>> async def main():
    ...     async with AsyncClient("http://localhost:8000") as client:
    ...         ages = [client.predict("phishing", {"age": age}) for age in range(3)]
    ...         return [asked.prediction for asked in await asyncio.gather(*ages)]
    >>> asyncio.run(main())
    [False, False, False]
    """

    def __init__(
        self,
        url: str | Iterable[str] = "http://127.0.0.1:8000",
        *,
        timeout: float = 60.0,
        retries: int = 8,
        consistent: bool = False,
    ) -> None:
        self._addresses = Addresses(url)
        self._seen = calls.Seen(consistent)
        self._policy = self._addresses.policy(retries)
        self._timeout = timeout
        self._http = httpx2.AsyncClient(timeout=timeouts(timeout))

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def is_ready(self) -> bool:
        """Whether the service can serve now. Asked once, without trying again."""
        try:
            await self._try(calls.ready())
        except (Transient, HeadraceError):
            return False
        return True

    async def create_model(
        self, name: str, task: Task, learner: Any, **options: Unpack[ModelOptions]
    ) -> Model:
        """Create a model, which answers from the next call on."""
        call = calls.create_model(name, task, learner, options)
        self._seen.forget(name)
        try:
            return await self._call(call)
        except ModelExists:
            if call.is_in_doubt:
                found = await self.model(name)
                if calls.is_as_asked(found, task, options):
                    return found
            raise

    async def models(self) -> AsyncGenerator[ModelBrief, None]:
        """All models by name, read page by page."""
        after: str | None = None
        while True:
            page = await self._call(calls.models(after))
            for model in page.models:
                yield model
            if (after := page.next) is None:
                return

    async def model(self, name: str) -> Model:
        """One model, with its full stored spec."""
        return await self._call(calls.model(name))

    async def delete_model(self, name: str) -> None:
        """Delete a model with its log and its predictions. It cannot be had back."""
        call = calls.delete_model(name)
        try:
            await self._call(call)
        except UnknownModel:
            if not call.is_in_doubt:
                raise

    async def predict(self, model: str, features: Features, id: str | None = None) -> Prediction:
        """Answer features by the model as of its last feedback."""
        call = calls.predict(model, features, id, self._seen.of(model))
        return self._seen.note(model, await self._call(call))

    async def feedback(
        self,
        model: str,
        label: Label | msgspec.UnsetType | None = msgspec.UNSET,
        *,
        prediction_id: str | None = None,
        features: Features | None = None,
        id: str | None = None,
    ) -> Feedback:
        """Teach a model a label; it is durable and learned when this returns."""
        of = {"prediction_id": prediction_id, "features": features}
        return self._seen.note(model, await self._call(calls.feedback(model, label, of, id)))

    async def predict_many(
        self,
        model: str,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        progress: bool = False,
        chunk: int = ITEMS_MAX,
    ) -> AsyncGenerator[Prediction | HeadraceError, None]:
        """Predict for any number of items: one result for each, in order."""
        batch = chunks.predict(model, chunk, self._seen)
        with chunks.bar(items, progress) as done:
            async for result in self._many(batch.chunks_of_any(items), done):
                yield result

    async def feedback_many(
        self,
        model: str,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        progress: bool = False,
        chunk: int = ITEMS_MAX,
    ) -> AsyncGenerator[Feedback | HeadraceError, None]:
        """Teach any number of labels: one result for each, in order."""
        batch = chunks.feedback(model, chunk, self._seen)
        with chunks.bar(items, progress) as done:
            async for result in self._many(batch.chunks_of_any(items), done):
                yield result

    async def metrics(self, model: str) -> Metrics:
        """How well a model does: each example was predicted before it was learned."""
        return await self._call(calls.metrics(model))

    async def log(self, model: str, after: int = 0) -> AsyncGenerator[LogEntry, None]:
        """The entries of a model's log behind an offset, oldest first, read page by page."""
        behind: int | None = after
        while behind is not None:
            page = await self._call(calls.log(model, behind))
            for entry in calls.entries(page):
                yield entry
            behind = page.next

    async def prediction(self, model: str, id: str) -> RememberedPrediction:
        """What was asked and answered under an id, and its label if it is known."""
        return await self._call(calls.prediction(model, id))

    async def learners(self) -> Learners:
        """All that a spec may name."""
        return await self._call(calls.learners())

    async def _call(self, call: Call[Answer]) -> Answer:
        return await self._retry(self._try, call)

    async def _many(
        self, every: AsyncIterator[Chunk[Answer]], done: Callable[[int], object]
    ) -> AsyncGenerator[Answer | HeadraceError, None]:
        async for chunk in every:
            failure: HeadraceError | None = None
            try:
                await self._retry(self._try_chunk, chunk)
            except HeadraceError as error:
                failure = error
            known = chunk.outcomes()
            done(len(known))
            for outcome in known:
                yield outcome
            if failure is not None and not chunk.explains(failure):
                raise failure

    async def _retry(self, send: Callable[[Sent], Awaitable[Result]], sent: Sent) -> Result:
        try:
            return await AsyncRetrying(**self._policy)(send, sent)
        except Transient as failure:
            raise failure.error from failure.__cause__

    async def _try(self, call: Call[Answer]) -> Answer:
        with self._addresses.reach(call.failed) as url:
            async with asyncio.timeout(self._timeout):
                response = await self._http.request(**call.to(url))
            return call.read(response)

    async def _try_chunk(self, chunk: Chunk[Answer]) -> None:
        with self._addresses.reach() as url:
            async with self._http.stream(
                "POST", url + chunk.path, content=chunk.body(), headers=chunks.HEADERS
            ) as response:
                if not response.is_success:
                    await response.aread()
                    raise refused(response)
                async for data in response.aiter_bytes():
                    chunk.read(data)
            chunk.end()
