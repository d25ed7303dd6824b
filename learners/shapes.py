"""The shapes that a parameter's value may have in a spec, read from River's type hints.

A shape says what JSON is accepted; what a component is built from is not decided here.
"""

from __future__ import annotations

import collections.abc
import math
import types
import typing
from dataclasses import dataclass
from typing import Any

from learners.published import kind_of, noun_of

INTEGER_MAX = 1_000_000


@dataclass(frozen=True)
class Plain:
    """A `boolean`, `integer`, `number`, `string`, `null`, `label` (of a class), or `any` of them.

    Bounds are inclusive. An integer without a maximum is bounded by `INTEGER_MAX` in magnitude.
    """

    type: str
    minimum: float | None = None
    maximum: float | None = None

    def __str__(self) -> str:
        return self.type


@dataclass(frozen=True)
class Component:
    """Something of River's: an instance of one of `bases`."""

    bases: tuple[type, ...]

    def __str__(self) -> str:
        return " or ".join(dict.fromkeys(noun_of(base) for base in self.bases))


@dataclass(frozen=True)
class Sequence:
    """A list, handed to River as a `container`."""

    item: Shape
    container: type = list
    length: int | None = None

    def __str__(self) -> str:
        count = "" if self.length is None else f"{self.length} "
        return f"list of {count}{self.item}"


@dataclass(frozen=True)
class Mapping:
    """An object; or, where `keys` are labels, also a list of pairs, as JSON keys are strings."""

    keys: str
    item: Shape

    def __str__(self) -> str:
        return f"{self.item} by {self.keys}"


@dataclass(frozen=True)
class Choice:
    """A value of any of these shapes."""

    options: tuple[Shape, ...]

    def __str__(self) -> str:
        return " or ".join(dict.fromkeys(str(option) for option in self.options))


@dataclass(frozen=True)
class Ungiven:
    """A parameter that JSON cannot say; it keeps River's default."""

    reason: str

    def __str__(self) -> str:
        return "not given"


Shape = Plain | Component | Sequence | Mapping | Choice | Ungiven

CALLABLE = Ungiven("it takes a function, which JSON cannot say")


def shape_of(hint: Any) -> Shape:
    """The shape that a type hint asks for.

    Examples
    --------
    >>> print(shape_of(int | None), "/", shape_of(list[float]), "/", shape_of(dict[str, bool]))
    integer or null / list of number / boolean by name

    """
    plain = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if hint is None or hint is type(None):
        return Plain("null")
    if hint is Any or isinstance(hint, typing.TypeVar):
        return Plain("any")
    if hint in (typing.Hashable, collections.abc.Hashable):
        return Plain("label")
    if isinstance(hint, type) and hint in plain:
        return Plain(plain[hint])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _choice([shape_of(argument) for argument in arguments])
    container = origin or hint
    if container in (list, set, frozenset):
        return Sequence(shape_of(arguments[0]) if arguments else Plain("any"), container)
    if container is tuple:
        return Sequence(shape_of(arguments[0]), tuple, len(arguments))
    if container is dict:
        return _mapping(arguments)
    if isinstance(container, type) and kind_of(container) is not None:
        return Component((container,))
    return CALLABLE


def _mapping(arguments: tuple[Any, ...]) -> Mapping:
    if not arguments:
        return Mapping("label", Plain("number"))
    key = shape_of(arguments[0])
    is_name = key == Plain("string") or key == Plain("label")
    return Mapping("name" if is_name else "label", shape_of(arguments[1]))


def _choice(options: list[Shape]) -> Shape:
    """One shape of several; what JSON cannot say falls away beside what it can."""
    sayable = [option for option in options if not isinstance(option, Ungiven)]
    if not [option for option in sayable if option != Plain("null")]:
        return next((option for option in options if isinstance(option, Ungiven)), Plain("null"))
    bases = [base for option in sayable if isinstance(option, Component) for base in option.bases]
    others = [option for option in sayable if not isinstance(option, Component)]
    components: list[Shape] = [Component(tuple(bases))] if bases else []
    unique = list(dict.fromkeys([*components, *others]))
    labels = {Plain("boolean"), Plain("integer"), Plain("string")}
    if labels <= set(unique) and not bases and Plain("number") not in unique:
        rest = [option for option in unique if option not in labels]
        unique = [Plain("label"), *rest]
    return unique[0] if len(unique) == 1 else Choice(tuple(unique))


def shape_of_default(default: object) -> Shape:
    """The shape of a parameter without a type hint: its default's.

    Examples
    --------
    >>> print(shape_of_default(0.5), "/", shape_of_default((1, 1)), "/", shape_of_default(None))
    number / list of 2 integer / any

    """
    if default is None:
        return Plain("any")
    if isinstance(default, tuple):
        return Sequence(shape_of_default(default[0]), tuple, len(default))
    return shape_of(type(default))


def fits(value: object, plain: Plain) -> str | None:
    """What is wrong with `value` for `plain`, or None when it fits.

    Examples
    --------
    >>> fits(3, Plain("number")), fits(True, Plain("number")), fits(2.5, Plain("integer"))
    (None, 'a number is due, and true and false are none', 'an integer is due')

    """
    if plain.type == "null":
        return None if value is None else "null is due"
    if plain.type == "any" and value is None:
        return None
    if plain.type in ("any", "label"):
        if isinstance(value, bool | str):
            return None
        return _number_wrong(value, plain) and "a string, a number, true or false is due"
    if plain.type == "string":
        return None if isinstance(value, str) else "a string is due"
    if plain.type == "boolean":
        return None if isinstance(value, bool) else "true or false is due"
    return _number_wrong(value, plain)


def _number_wrong(value: object, plain: Plain) -> str | None:
    kind = "an integer" if plain.type == "integer" else "a number"
    if isinstance(value, bool):
        return f"{kind} is due, and true and false are none"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "a finite number is due"
        return f"{kind} is due" if plain.type == "integer" else _out_of_bounds(value, plain, kind)
    if not isinstance(value, int):
        return f"{kind} is due"
    if abs(value).bit_length() > 996:
        return "a number of at most 1e300 is due"
    return _out_of_bounds(value, plain, kind)


def _out_of_bounds(value: float, plain: Plain, kind: str) -> str | None:
    bound = INTEGER_MAX if plain.type == "integer" else math.inf
    maximum = bound if plain.maximum is None else plain.maximum
    minimum = -maximum if plain.minimum is None else plain.minimum
    if value > maximum:
        return f"{kind} of at most {maximum:,} is due"
    return f"{kind} of at least {minimum:,} is due" if value < minimum else None
