"""The two hot calls: plain ASGI inside the FastAPI application.

A route of this kind stands in the same table, has the same path, errors and OpenAPI as any other;
only FastAPI's own work on request and answer is left out, which is two thirds of a small call.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import schemas
from app.api.bodies import decode, encode
from app.api.bounds import answer
from app.api.errors import internal
from app.errors import HeadraceError
from app.serving import Feedback, FeedbackRequest, Prediction, PredictRequest, Serving

Call = Callable[[Serving, str, bytes], Awaitable[object]]

_predict_decoder = msgspec.json.Decoder(PredictRequest)
_feedback_decoder = msgspec.json.Decoder(FeedbackRequest)


async def predict(serving: Serving, model: str, body: bytes) -> Prediction:
    """Answer features by the model as of its last feedback.

    What was asked and answered is remembered, so that the label can come later by the answer's
    `id`. The same `id` again gives the same answer.
    """
    return await serving.predict(model, decode(body, _predict_decoder))


async def feedback(serving: Serving, model: str, body: bytes) -> Feedback:
    """Learn a label, once, and answer when it is durable and learned.

    Send it again with the same `id` after an error or a lost answer: it is learned once.
    """
    return await serving.feedback(model, decode(body, _feedback_decoder))


class HotRoute(APIRoute):
    """A route that a plain ASGI application answers; OpenAPI is told by its schemas."""

    def __init__(
        self, path: str, call: Call, request: Any, response: Any, codes: list[int]
    ) -> None:
        async def documented(model: str) -> None:
            """Say to OpenAPI what the path holds; the plain application answers instead."""

        schema = {"$ref": f"#/components/schemas/{request.__name__}"}
        super().__init__(
            path,
            documented,
            methods=["POST"],
            name=call.__name__,
            response_model=response,
            summary=(call.__doc__ or "").split("\n", 1)[0],
            description=call.__doc__,
            tags=["serving"],
            responses={code: {"model": schemas.Problem} for code in codes},
            openapi_extra={
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": schema}},
                }
            },
        )
        self.app = _plain(call)


def routes() -> list[HotRoute]:
    """The routes of the two hot calls."""
    return [
        HotRoute(
            "/v1/models/{model}/predict",
            predict,
            schemas.PredictRequest,
            schemas.PredictAnswer,
            [404, 413, 422, 503],
        ),
        HotRoute(
            "/v1/models/{model}/feedback",
            feedback,
            schemas.FeedbackRequest,
            schemas.FeedbackAnswer,
            [404, 409, 413, 422, 503],
        ),
    ]


def _plain(call: Call) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = (await receive())["body"]
            serving = scope["app"].state.serving
            content = encode(await call(serving, scope["path_params"]["model"], body))
        except HeadraceError as error:
            await answer(send, error)
        except Exception as error:
            await answer(send, internal(error))
        else:
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(content)).encode()),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": content})

    return app
