"""What a parameter is given, checked against its shape and made into what River takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from learners.published import EXPORTED
from learners.refusal import InvalidSpec, shown
from learners.scope import Built, Scope
from learners.shapes import Choice, Component, Mapping, Plain, Sequence, Shape, Ungiven, fits

Assemble = Callable[[object, Component, Scope], Built]
"""Builds a component; passed, as components hold values and values hold components."""


def valued(value: object, shape: Shape, scope: Scope, assemble: Assemble) -> Built:
    """Build what a parameter of this shape is given.

    Examples
    --------
    >>> shape = Mapping("label", Plain("number"))
    >>> scope = Scope("learner", seed=1, is_binary=True)
    >>> valued({"true": 0.5}, shape, scope, lambda *_: Built(None, None))
    Built(spec=[[True, 0.5]], value={True: 0.5})

    """
    if isinstance(shape, Component):
        return assemble(value, shape, scope)
    if isinstance(shape, Sequence):
        return _sequence(value, shape, scope, assemble)
    if isinstance(shape, Mapping):
        return _mapping(value, shape, scope, assemble)
    if isinstance(shape, Choice):
        return valued(value, _chosen(value, shape), scope, assemble)
    if isinstance(shape, Ungiven):
        raise InvalidSpec(scope.place, shape.reason, advice="leave it out")
    wrong = fits(value, shape)
    if wrong is not None:
        raise InvalidSpec(scope.place, f"{wrong}, not {shown(value)}", advice="correct its type")
    return Built(value, value)


def _chosen(value: object, shape: Choice) -> Shape:
    """The option that `value` looks like; what it does not fit is said of that one."""
    plains = [option for option in shape.options if isinstance(option, Plain)]
    composed = {type(option): option for option in shape.options if not isinstance(option, Plain)}
    component = composed.get(Component)
    if isinstance(value, str) and component is not None:
        is_text = any(plain.type in ("string", "label") for plain in plains)
        if not is_text or value in EXPORTED:
            return component
    if isinstance(value, list | dict):
        likeliest = (Sequence, Mapping) if isinstance(value, list) else (Mapping, Sequence)
        first = composed.get(likeliest[0]) or component or composed.get(likeliest[1])
        return first or plains[0]
    if isinstance(value, int) and not isinstance(value, bool):
        whole = next((plain for plain in plains if plain.type == "integer"), None)
        if whole is not None:
            return whole
    fitting = next((plain for plain in plains if fits(value, plain) is None), None)
    sayable = [plain for plain in plains if plain.type != "null"]
    return fitting or component or [*sayable, *composed.values(), *plains][0]


def _sequence(value: object, shape: Sequence, scope: Scope, assemble: Assemble) -> Built:
    if not isinstance(value, list) or shape.length not in (None, len(value)):
        raise InvalidSpec(
            scope.place, f"a {shape} is due, not {shown(value)}", advice="write a list"
        )
    items = [valued(v, shape.item, scope.at(f"[{i}]"), assemble) for i, v in enumerate(value)]
    return Built([item.spec for item in items], shape.container(item.value for item in items))


def _mapping(value: object, shape: Mapping, scope: Scope, assemble: Assemble) -> Built:
    """An object by name; or by label, stored as pairs so that labels keep their type."""
    if isinstance(value, dict):
        pairs = [[_label(key, shape, scope), item] for key, item in value.items()]
    elif isinstance(value, list) and shape.keys == "label":
        pairs = value
    else:
        raise InvalidSpec(
            scope.place, f"an object of {shape} is due, not {shown(value)}", advice="write one"
        )
    built: dict[Any, Built] = {}
    for i, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2 or fits(pair[0], Plain("label")):
            reason = f"a pair of a label and {shape.item} is due, not {shown(pair)}"
            raise InvalidSpec(f"{scope.place}[{i}]", reason, advice="write one")
        built[pair[0]] = valued(pair[1], shape.item, scope.at(f".{str(pair[0])[:40]}"), assemble)
    objects = {key: item.value for key, item in built.items()}
    if shape.keys == "name":
        return Built({key: item.spec for key, item in built.items()}, objects)
    return Built([[key, item.spec] for key, item in built.items()], objects)


def _label(key: str, shape: Mapping, scope: Scope) -> Any:
    is_boolean = shape.keys == "label" and scope.is_binary and key in ("true", "false")
    return key == "true" if is_boolean else key
