"""What predict and feedback take and answer."""

from typing import Any

import msgspec

from app.errors import InvalidBody, Problem

ID_MAX = 200
"""The longest id of a prediction or a feedback, in characters."""

OFFSET_MAX = 2**63 - 1
"""The largest offset that a log may reach."""

RESERVED = "headrace:"
"""How the ids of our own entries begin; a caller's may not."""


class PredictRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of predict. `min_offset`: what the answer must know of the log, at least."""

    features: Any
    id: Any = None
    min_offset: Any = None


class FeedbackRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of feedback: `prediction_id` or `features`, and the label."""

    prediction_id: Any = None
    features: Any = None
    label: Any = msgspec.UNSET
    id: Any = None


class Warning_(msgspec.Struct, frozen=True):
    """Something about an answer that its reader should know."""

    code: str
    detail: str


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of predict. `probabilities` are keyed by the label as text."""

    id: str
    model: str
    version: int
    offset: int
    prediction: Any
    probabilities: dict[str, float] | None = None
    score: float | None = None
    warnings: list[Warning_] | None = None


class Feedback(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of feedback, once its entry is durable and applied."""

    id: str
    offset: int
    duplicate: bool
    warnings: list[Warning_] | None = None


def checked_id(id: Any, place: str) -> str | None:
    """An id that a caller gave, or None if it gave none. Raises `InvalidBody`."""
    if id is None:
        return None
    if type(id) is str and 0 < len(id) <= ID_MAX and id.isprintable():
        if not id.startswith(RESERVED):
            return id
        raise InvalidBody(
            f"{place} begins with {RESERVED!r}, as only ids of the service's own entries do. Take "
            "another, or leave it out to have one made.",
            [Problem(place, f"begins with {RESERVED!r}")],
        )
    raise InvalidBody(
        f"{place} must be a string of 1 to {ID_MAX} printable characters. Leave it out to have one "
        "made.",
        [Problem(place, f"is no string of 1 to {ID_MAX} printable characters")],
    )


def checked_offset(offset: Any) -> int:
    """The offset that an answer must know, 0 if it need not know any. Raises `InvalidBody`."""
    if offset is None:
        return 0
    if type(offset) is int and 0 <= offset <= OFFSET_MAX:
        return offset
    raise InvalidBody(
        "min_offset must be an offset: the `offset` that feedback was answered. Leave it out to "
        "be answered from what this process knows.",
        [Problem("min_offset", "is no offset")],
    )
