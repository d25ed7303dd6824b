"""Bodies: JSON into typed structs and back, strictly.

`NaN`, `Infinity` and numbers that no double holds are not JSON, but clients send them; such a body
is read leniently once more, only so that the refusal can name the feature.
"""

import json
import math
from typing import Any, NoReturn, TypeVar

import msgspec

from app.errors import HeadraceError, InvalidBody, Problem

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


class _Raws(msgspec.Struct, forbid_unknown_fields=True):
    """A batch whose items are decoded one by one."""

    items: list[msgspec.Raw]


class _Values(msgspec.Struct, forbid_unknown_fields=True):
    """A batch that is no JSON because of a value in it, like NaN."""

    items: list[Any]


_raws = msgspec.json.Decoder(_Raws)
_values = msgspec.json.Decoder(_Values)


def decode_item(line: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """One of many bodies, or the `InvalidBody` that says what is wrong with it."""
    try:
        return decode(line, decoder)
    except HeadraceError as error:
        return error


def decode_items(body: bytes, decoder: msgspec.json.Decoder[Any]) -> list[Any]:
    """The items of a batch, each as `decode_item` has it. Raises `InvalidBody` if it is none."""
    try:
        return [decode_item(bytes(raw), decoder) for raw in _raws.decode(body).items]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [_converted(value, decoder) for value in decode(body, _values).items]


def _converted(value: object, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return msgspec.convert(value, decoder.type)
    except msgspec.ValidationError as error:
        return _refusal_of(error)


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
    raise _refusal_of(error) from None


def _refusal_of(error: msgspec.ValidationError) -> InvalidBody:
    reason, _, place = str(error).partition(" - at `$")
    place = place.strip("`.") or "body"
    return InvalidBody(
        f"{reason}, at {place}. See /docs for the fields of this call.", [Problem(place, reason)]
    )
