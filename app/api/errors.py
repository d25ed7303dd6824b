"""Families of errors to status, once; and every error as RFC 9457 `application/problem+json`."""

import logging

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app import errors

logger = logging.getLogger(__name__)

STATUS: dict[type[errors.HeadraceError], int] = {
    errors.BadRequest: 400,
    errors.Invalid: 422,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.HeadTooLarge: 431,
    errors.TooMany: 429,
    errors.Unavailable: 503,
    errors.Internal: 500,
}

TITLES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

MEDIA_TYPE = "application/problem+json"


def status_of(error: errors.HeadraceError) -> int:
    """The HTTP status of an error: its family's."""
    for family in type(error).__mro__:
        if family in STATUS:
            return STATUS[family]
    return 500


def render(error: errors.HeadraceError) -> tuple[int, dict[str, str], bytes]:
    """An error as status, headers and body."""
    status = status_of(error)
    headers = {"content-type": MEDIA_TYPE}
    if isinstance(error, errors.Unavailable | errors.TooMany):
        headers["retry-after"] = str(getattr(error, "retry_after_seconds", 60))
    return status, headers, msgspec.json.encode(problem_of(error))


def problem_of(error: errors.HeadraceError) -> dict[str, object]:
    """An error as a problem: the body of an answer, or an item of one."""
    status = status_of(error)
    return {
        "type": f"urn:headrace:error:{error.code}",
        "title": TITLES[status],
        "status": status,
        "code": error.code,
        "detail": error.message,
        "errors": [problem._asdict() for problem in error.problems],
    }


def internal(error: BaseException) -> errors.Internal:
    """What the caller is told of a bug of ours; the log of operations is told the rest."""
    logger.error("a request failed, which is a bug", exc_info=error)
    return errors.Internal(
        "This is a bug of ours, and nothing was kept. Send it again, or report it."
    )


def install(app: FastAPI) -> None:
    """Let every error of the application leave as a problem."""

    async def known(_: Request, error: Exception) -> Response:
        return _response(error if isinstance(error, errors.HeadraceError) else internal(error))

    async def invalid(_: Request, error: Exception) -> Response:
        found = error.errors() if isinstance(error, RequestValidationError) else []
        problems = [errors.Problem(_place(item["loc"]), item["msg"]) for item in found]
        first = f"{problems[0].place}: {problems[0].reason}. " if problems else ""
        detail = f"{first}See /docs for what this call takes."
        in_body = all(item["loc"][:1] == ("body",) for item in found)
        kind = errors.InvalidBody if in_body else errors.InvalidParameter
        return _response(kind(detail, problems))

    async def http(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 405:
            response = _response(errors.MethodNotAllowed("The path has no such method. See /docs."))
            response.headers.update(getattr(error, "headers", None) or {})
            return response
        if status == 404:
            return _response(
                errors.UnknownPath("There is no such path. See /docs for those there are.")
            )
        if status < 500:
            return _response(
                errors.InvalidBody("The body is not JSON. Send one JSON object in UTF-8.")
            )
        return _response(internal(error))

    app.add_exception_handler(errors.HeadraceError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, known)


def _response(error: errors.HeadraceError) -> Response:
    status, headers, body = render(error)
    return Response(body, status, headers)


def _place(location: tuple[int | str, ...]) -> str:
    """Pydantic's location as a path: `('body', 'features', 'a')` is `features.a`."""
    parts = location[1:] if location and location[0] in ("body", "query", "path") else location
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "body"
