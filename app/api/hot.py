"""The hot calls, one or many at a time: plain ASGI inside the FastAPI application.

A route of this kind stands in the same table, has the same path, errors and OpenAPI as any other;
only FastAPI's own work on request and answer is left out, which is two thirds of a small call.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import schemas
from app.api.bodies import decode, decode_item, decode_items, encode
from app.api.bounds import answer, is_stream
from app.api.deps import LAG
from app.api.errors import internal
from app.api.streams import Answers, Connection, Held, Line, shown, stream
from app.calls import Feedback, FeedbackRequest, Prediction, PredictRequest
from app.errors import HeadraceError, TooManyItems
from app.joining import Patience
from app.serving import Serving

Call = Callable[[Serving, str, bytes], Awaitable[object]]

_predict_decoder = msgspec.json.Decoder(PredictRequest)
_feedback_decoder = msgspec.json.Decoder(FeedbackRequest)


async def predict(serving: Serving, model: str, body: bytes) -> Prediction:
    """Answer features by the model as of its last feedback.

    What was asked and answered is remembered, so that the label can come later by the answer's
    `id`. The same `id` again gives the same answer. A process that has not applied all that it
    knows of says so in the header `X-Headrace-Lag`.
    """
    return await serving.predict(model, decode(body, _predict_decoder))


async def feedback(serving: Serving, model: str, body: bytes) -> Feedback:
    """Learn a label, once, and answer when it is durable and learned.

    Send it again with the same `id` after an error or a lost answer: it is learned once.
    """
    return await serving.feedback(model, decode(body, _feedback_decoder))


async def predict_batch(serving: Serving, model: str, body: bytes) -> dict[str, Any]:
    """Answer many features: an answer or a problem for each, in the same order.

    As `application/x-ndjson` it takes a line for each instead, any number of them, and answers a
    line for each while they come.
    """
    requests = decode_items(body, _predict_decoder)
    return {"items": _shown(await serving.predict_many(model, _checked(serving, requests)))}


async def feedback_batch(serving: Serving, model: str, body: bytes) -> dict[str, Any]:
    """Learn many labels, in their order: an answer or a problem for each, in the same order.

    As `application/x-ndjson` it takes a line for each instead, any number of them, and answers a
    line for each while they come: what is answered is durable and learned. When a stream breaks,
    send what was not answered again, with the same ids.
    """
    requests = decode_items(body, _feedback_decoder)
    return {"items": _shown(await serving.feedback_many(model, _checked(serving, requests)))}


def predict_stream(serving: Serving, model: str) -> Callable[[list[Line]], Awaitable[Any]]:
    """What takes the parts of a stream of features in, one after the other.

    Of two lines of one id the first is to stand, so no part may overtake the one before it.
    """

    async def take(lines: list[Line]) -> Awaitable[Answers]:
        requests = [_item(line, _predict_decoder) for line in lines]
        answers: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        answers.set_result(await serving.predict_many(model, requests))
        return answers

    return take


def feedback_stream(serving: Serving, model: str) -> Callable[[list[Line]], Awaitable[Any]]:
    """What takes the parts of a stream of labels in."""
    patience = Patience()

    async def take(lines: list[Line]) -> Awaitable[Answers]:
        requests = [_item(line, _feedback_decoder) for line in lines]
        return serving.answer_feedback(await serving.take_feedback(model, requests, patience))

    return take


def _item(line: Line, decoder: msgspec.json.Decoder[Any]) -> Any:
    return line if isinstance(line, HeadraceError) else decode_item(line, decoder)


def _checked(serving: Serving, requests: list[Any]) -> list[Any]:
    most = serving.settings.batch_items_max
    if len(requests) > most:
        raise TooManyItems(
            f"The batch has {len(requests):,} items, and {most:,} are taken at once. Send fewer, "
            "raise HEADRACE_BATCH_ITEMS_MAX, or send them as lines of application/x-ndjson."
        )
    return requests


def _shown(answers: list[Any]) -> list[Any]:
    return [shown(one) for one in answers]


class HotRoute(APIRoute):
    """A route that a plain ASGI application answers; OpenAPI is told by its schemas."""

    def __init__(
        self,
        call: Call,
        request: Any,
        response: Any,
        codes: list[int],
        streams: Callable[[Serving, str], Any] | None = None,
    ) -> None:
        async def documented(model: str) -> None:
            """Say to OpenAPI what the path holds; the plain application answers instead."""

        schema = {"$ref": f"#/components/schemas/{request.__name__}"}
        content = {"application/json": {"schema": schema}}
        if streams is not None:
            content["application/x-ndjson"] = {"schema": {"type": "string"}}
        super().__init__(
            f"/v1/models/{{model}}/{call.__name__.replace('_', '/')}",
            documented,
            methods=["POST"],
            name=call.__name__,
            response_model=response,
            summary=(call.__doc__ or "").split("\n", 1)[0],
            description=call.__doc__,
            tags=["serving"],
            responses={code: {"model": schemas.Problem} for code in codes},
            openapi_extra={"requestBody": {"required": True, "content": content}},
        )
        self.app = _plain(call) if streams is None else _either(_plain(call), streams)


def routes() -> list[HotRoute]:
    """The routes of the hot calls."""
    asks, labels = [404, 413, 422, 503], [404, 409, 413, 422, 503]
    batch, answers = schemas.PredictBatch, schemas.PredictBatchAnswer
    return [
        HotRoute(predict, schemas.PredictRequest, schemas.PredictAnswer, asks),
        HotRoute(feedback, schemas.FeedbackRequest, schemas.FeedbackAnswer, labels),
        HotRoute(predict_batch, batch, answers, asks, predict_stream),
        HotRoute(
            feedback_batch,
            schemas.FeedbackBatch,
            schemas.FeedbackBatchAnswer,
            [404, 413, 422, 503],
            feedback_stream,
        ),
    ]


def _plain(call: Call) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = (await receive())["body"]
            serving: Serving = scope["app"].state.serving
            model = scope["path_params"]["model"]
            content = encode(await call(serving, model, body))
            lag = serving.lag(model)
        except HeadraceError as error:
            await answer(send, error)
        except Exception as error:
            await answer(send, internal(error))
        else:
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(content)).encode()),
            ]
            if lag:
                headers.append((LAG.encode(), str(lag).encode()))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": content})

    return app


def _either(plain: ASGIApp, streams: Callable[[Serving, str], Any]) -> ASGIApp:
    """A batch as one body, or as a stream of lines."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if not is_stream(scope):
            await plain(scope, receive, send)
            return
        serving: Serving = scope["app"].state.serving
        model: str = scope["path_params"]["model"]
        try:
            await serving.check_model(model)
        except HeadraceError as error:
            await answer(send, error, close=True)
        else:
            connection = scope.get("headrace.connection") or Connection()
            held = Held(connection, serving.settings, scope["app"].state.rooms)
            await stream(receive, send, held, streams(serving, model))

    return app
