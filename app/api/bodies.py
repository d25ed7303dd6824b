"""Bodies: JSON into typed structs and back, strictly.

`NaN`, `Infinity` and numbers that no double holds are not JSON, but clients send them; such a body
is read leniently once more, only so that the refusal can name the feature.
"""

import json
import math
from typing import NoReturn, TypeVar

import msgspec

from app.errors import InvalidBody, Problem

T = TypeVar("T")
_encoder = msgspec.json.Encoder()

DIGITS_MAX = 400
"""Longer integers are beyond any double; they are not worth converting."""


def encode(answer: object) -> bytes:
    """An answer as JSON."""
    return _encoder.encode(answer)


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """A body as the decoder's struct. Raises `InvalidBody`, naming the field where it can."""
    if not body:
        raise InvalidBody("The body is empty. Send one JSON object.")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        if "out of range" not in str(error):
            _refuse_fields(error)
        return _leniently(body, decoder.type, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _leniently(body, decoder.type, str(error))
    except RecursionError:
        raise InvalidBody("The body is nested too deeply. Send one flat object.") from None


def _leniently(body: bytes, type_: type[T], complaint: str) -> T:
    strange: list[str] = []

    def constant(text: str) -> float:
        strange.append(text)
        return float(text)

    def number(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else constant(text)

    def integer(text: str) -> int | float:
        if len(text) > 18:
            strange.append(text[:20])
        return int(text) if len(text) <= DIGITS_MAX else math.inf

    try:
        found = json.loads(
            body.decode(), parse_constant=constant, parse_float=number, parse_int=integer
        )
        # Half of a surrogate pair is an escape to `json`, and no text to anything else.
        _encoder.encode(found)
    except (ValueError, RecursionError):
        found = None
    if not strange or found is None:
        raise InvalidBody(f"The body is not JSON: {complaint}. Send one JSON object in UTF-8.")
    try:
        return msgspec.convert(found, type_)
    except msgspec.ValidationError as error:
        _refuse_fields(error)


def _refuse_fields(error: msgspec.ValidationError) -> NoReturn:
    reason, _, place = str(error).partition(" - at `$")
    place = place.strip("`.") or "body"
    raise InvalidBody(
        f"{reason}, at {place}. See /docs for the fields of this call.", [Problem(place, reason)]
    ) from None
