"""What went wrong, as an error of the tree, and whether to try again.

A problem of the service becomes the class of `app.errors` with its `code`. A code that is newer
than this client becomes the nearest family, by the status.
"""

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import ceil

import msgspec

from app import errors
from app.errors import HeadraceError, Problem, Unavailable, code_of

RETRY_AFTER_SECONDS_MAX = 30.0
"""The longest that a call waits because the service asks it to; over it the error is raised."""

RETRY_AFTER_SECONDS_TOLD_MAX = 86_400.0
"""The longest that the error then tells its reader to wait, whatever the service said."""

UNREAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading an answer raises that is not JSON, not UTF-8, nested too deep or of other fields."""

FAMILIES: dict[int, type[HeadraceError]] = {
    400: errors.BadRequest,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.Invalid,
    429: errors.TooMany,
    431: errors.HeadTooLarge,
    500: errors.Internal,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
}

PASSING = (errors.Unavailable, errors.TooMany)
"""What may pass by itself."""

UNTAKEN = (errors.BodyTooSlow, errors.Overloaded, errors.TooMany)
"""What says that nothing of the request was taken."""


class ServiceUnreachable(Unavailable):
    """No whole answer came: the connection was refused or cut, or the time ran out."""

    retry_after_seconds = 0


class Transient(Exception):
    """A try failed in a way that may pass; `error` is what to raise when tries are spent."""

    def __init__(self, error: HeadraceError, after_seconds: float, is_ambiguous: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.after_seconds = after_seconds
        """The soonest to try again."""
        self.is_ambiguous = is_ambiguous
        """Whether the service may have taken the call all the same."""
        self.is_of_the_address = not isinstance(error, errors.TooMany)
        """Whether another address may do better."""


class Said(msgspec.Struct, frozen=True):
    """A problem as the service sends it."""

    code: str
    status: int
    detail: str = ""
    errors: list[dict[str, str]] = []

    def error(self) -> HeadraceError:
        """The problem as an error of the tree."""
        places = [Problem(item.get("place", ""), item.get("reason", "")) for item in self.errors]
        known = _CODES.get(self.code)
        if known is not None:
            return known(self.detail, places)
        error = FAMILIES.get(self.status, HeadraceError)(self.detail, places)
        error.add_note(f"The service's code is `{self.code}`, which this client does not know.")
        return error


_CODES: dict[str, type[HeadraceError]] = {
    code_of(error): error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, HeadraceError)
}

_said = msgspec.json.Decoder(Said)


def problem(line: bytes) -> HeadraceError:
    """The problem in an answer. Raises one of `UNREAD` if it is none."""
    return _said.decode(line).error()


def refusal(status: int, retry_after: str | None, content: bytes) -> HeadraceError | Transient:
    """What an answer that is no success means."""
    try:
        error = problem(content)
    except UNREAD:
        text = content[:200].decode(errors="replace").strip()
        error = FAMILIES.get(status, HeadraceError)(
            f"What answered, with status {status}, is not Headrace: {text!r}. Mend the address, or "
            "look at the proxy before it."
        )
    if not isinstance(error, PASSING) and status not in (429, 502, 503, 504):
        return error
    after = _seconds_of(retry_after or "")
    if isinstance(error, Unavailable):
        error.retry_after_seconds = ceil(after)
    if after > RETRY_AFTER_SECONDS_MAX:
        return error
    return Transient(error, after, is_ambiguous=not isinstance(error, UNTAKEN))


def unreadable(error: Exception) -> HeadraceError:
    """The error for an answer that came, but is not what this client reads."""
    return HeadraceError(
        f"The answer is not one that this client reads: {error}. Mend the address, or update it."
    )


def _seconds_of(retry_after: str) -> float:
    """How long a `Retry-After` asks to wait: so many seconds, or until a date.

    What is neither (`-1`, `nan`, `1.5`) and a date that is over count as 0: nothing was asked.
    """
    if retry_after.isascii() and retry_after.isdecimal():
        return min(float(retry_after), RETRY_AFTER_SECONDS_TOLD_MAX)
    try:
        # A date of HTTP is one of Greenwich, always.
        until = parsedate_to_datetime(retry_after).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, until - time.time()), RETRY_AFTER_SECONDS_TOLD_MAX)
