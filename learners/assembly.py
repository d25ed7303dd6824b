"""From a spec to its stored form and to River, in one walk.

Each component is checked, its parameters first, then constructed; what the spec leaves out is read
back from what was constructed, so that the stored form says what River's defaults were. A nested
component is walked like any other, also one that River supplied. Nothing but `InvalidSpec` leaves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from river import base, compose

from learners.branches import SELECTIONS, selection
from learners.defaults import described
from learners.parameters import (
    MULTIPLYING_MAX,
    Parameter,
    parameters_of,
    size_factor,
    too_large,
)
from learners.published import NAMES, noun_of
from learners.refusal import InvalidSpec, nearest, shown
from learners.refused import NAMEABLE, refusal_of
from learners.scope import Built, Scope, mapped
from learners.shapes import Choice, Component, Plain, Ungiven
from learners.values import valued

DEPTH_MAX = 16
COMPONENTS_MAX = 256
MAX_DEPTH = 100
"""How deep a tree may grow unless the spec says; River's own default hangs on the process."""

BINARY_INSIDE = (
    "multiclass.OneVsRestClassifier",
    "multiclass.OneVsOneClassifier",
    "multiclass.OutputCodeClassifier",
)
PARALLEL = {"union": compose.TransformerUnion, "product": compose.TransformerProduct}
TRANSFORMER = Component((base.BaseTransformer, base.Transformer))
STEP = Component((base.BaseTransformer, base.Transformer, base.AnomalyFilter))


def assemble(spec: object, due: Component, scope: Scope) -> Built:
    """Build what `spec` says, which must be what is `due`.

    Examples
    --------
    >>> assemble("preprocessing.MinMaxScaler", TRANSFORMER, Scope("learner", seed=1)).spec
    {'preprocessing.MinMaxScaler': {'window_size': None}}

    """
    scope.tally.components += 1
    if scope.depth > DEPTH_MAX:
        raise InvalidSpec(
            scope.place, f"the spec is more than {DEPTH_MAX} components deep", advice="nest less"
        )
    if scope.tally.components > COMPONENTS_MAX:
        reason = f"the spec has more than {COMPONENTS_MAX} components, defaults included"
        raise InvalidSpec(scope.place, reason, advice="name fewer components")
    inner = replace(scope, depth=scope.depth + 1)
    if isinstance(spec, list):
        return _pipeline(spec, due, inner)
    if isinstance(spec, str):
        return _named(spec, {}, due, inner)
    if not isinstance(spec, dict) or len(spec) != 1:
        raise InvalidSpec(
            scope.place,
            f"{_article(str(due))} is due, and {shown(spec)} is none",
            advice='write a name, {"name": {parameters}}, or a list of steps',
        )
    [(name, content)] = spec.items()
    if name in PARALLEL:
        return _parallel(name, content, due, inner)
    if name in SELECTIONS:
        _check_kind(SELECTIONS[name], due, scope.place, f'"{name}"')
        return Built(*selection(name, content, scope.place))
    if not isinstance(content, dict):
        reason = f"the parameters of {shown(name)} are {shown(content)}"
        raise InvalidSpec(scope.place, reason, advice="write them as an object")
    return _named(name, content, due, inner)


def _check_kind(cls: type, due: Component, place: str, said: str) -> None:
    if not issubclass(cls, due.bases):
        name = NAMES.get(cls)
        known = [other for other, found in NAMEABLE.items() if issubclass(found, due.bases)]
        close = nearest((name or said).rpartition(".")[2], known)
        reason = f"{_article(str(due))} is due, and {said} is {_article(noun_of(cls))}"
        advice = "" if close else f"name {_article(str(due))}"
        raise InvalidSpec(place, reason, close, advice)


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _flattened(steps: list[Any]) -> list[Any]:
    """A pipeline within a pipeline is the longer pipeline."""
    flat: list[Any] = []
    for step in steps:
        flat.extend(_flattened(step) if isinstance(step, list) else [step])
    return flat


def _pipeline(steps: list[Any], due: Component, scope: Scope) -> Built:
    steps = _flattened(steps)
    if not steps:
        raise InvalidSpec(scope.place, "the pipeline is empty", advice="write at least one step")
    built = [
        assemble(step, STEP if i < len(steps) - 1 else due, scope.at(f"[{i}]"))
        for i, step in enumerate(steps)
    ]
    with mapped(scope.place, "putting the steps together"):
        pipeline = compose.Pipeline(*(step.value for step in built))
    return Built([step.spec for step in built], pipeline)


def _parallel(name: str, branches: object, due: Component, scope: Scope) -> Built:
    _check_kind(PARALLEL[name], due, scope.place, f'"{name}"')
    if not isinstance(branches, list) or not branches:
        raise InvalidSpec(
            scope.place, f'the branches of "{name}" are {shown(branches)}', advice="write a list"
        )
    built = [
        assemble(branch, TRANSFORMER, scope.at(f".{name}[{i}]"))
        for i, branch in enumerate(branches)
    ]
    with mapped(scope.place, "putting the branches together"):
        value = PARALLEL[name](*(branch.value for branch in built))
    return Built({name: [branch.spec for branch in built]}, value)


def _class_of(name: str, due: Component, place: str) -> type:
    refusal = refusal_of(name)
    if refusal is not None:
        close = nearest(name, [n for n, c in NAMEABLE.items() if issubclass(c, due.bases)])
        advice = "write it so" if name.startswith("compose.") else "name another"
        raise InvalidSpec(place, f"{name} cannot be used: {refusal}", close, advice)
    if name not in NAMEABLE:
        named = [n for n, c in NAMEABLE.items() if issubclass(c, due.bases)]
        close = nearest(name, named) or nearest(name, NAMEABLE)
        advice = "" if close else "look up the names that can be used"
        raise InvalidSpec(place, f"there is no {shown(name)}", close, advice)
    cls = NAMEABLE[name]
    _check_kind(cls, due, place, name)
    return cls


def _named(name: str, given: dict[str, Any], due: Component, scope: Scope) -> Built:
    """Build the class that is named, with what is given and what River supplies."""
    cls = _class_of(name, due, scope.place)
    parameters = parameters_of(name)
    _check_names(name, given, parameters, scope.place)
    inner = _inner_scope(name, given, parameters, scope)
    parts: dict[str, Built] = {}
    for parameter in parameters.values():
        built = _given(parameter, given, inner.at(f".{parameter.name}"))
        if built is not None:
            parts[parameter.name] = built
    with mapped(scope.place, f"constructing {name}"):
        value = cls(**{key: part.value for key, part in parts.items()})
    supplied = {
        parameter.name: built
        for parameter in parameters.values()
        if parameter.name not in parts
        for built in [_supplied(parameter, value, inner.at(f".{parameter.name}"))]
        if built is not None
    }
    if any(isinstance(part.spec, dict | list) for part in supplied.values()):
        with mapped(scope.place, f"constructing {name}"):
            value = cls(**{key: part.value for key, part in {**supplied, **parts}.items()})
    parts |= supplied
    _check_kept(name, value, parts, scope.place)
    if scope.is_multiclass and isinstance(value, base.Classifier) and not value._multiclass:
        raise InvalidSpec(
            scope.place,
            f"{name} tells only two labels apart, and the task is multiclass",
            advice="wrap it in multiclass.OneVsRestClassifier",
        )
    stored = {key: parts[key].spec for key in parameters if key in parts}
    return Built({name: stored}, value)


def _check_names(
    name: str, given: dict[str, Any], parameters: dict[str, Parameter], place: str
) -> None:
    for key in given:
        parameter = parameters.get(key)
        if parameter is None:
            close = nearest(key, parameters)
            names = ", ".join(n for n, p in parameters.items() if not isinstance(p.shape, Ungiven))
            advice = "" if close else (f"choose among {names}" if names else "leave it out")
            raise InvalidSpec(
                f"{place}.{key[:40]}", f"{name} has no parameter {shown(key)}", close, advice
            )
        if isinstance(parameter.shape, Ungiven) and given[key] is not None:
            reason = f"{key} of {name} cannot be given: {parameter.shape.reason}"
            raise InvalidSpec(f"{place}.{key}", reason, advice="leave it out")
    for parameter in parameters.values():
        if parameter.is_required and parameter.name not in given:
            reason = f"{name} needs {parameter.name} ({parameter.shape})"
            raise InvalidSpec(f"{place}.{parameter.name}", reason, advice="give it")


def _inner_scope(
    name: str, given: dict[str, Any], parameters: dict[str, Parameter], scope: Scope
) -> Scope:
    """The scope of a component's parameters, once its size is known to be bearable."""
    values = {key: given.get(key, p.default) for key, p in parameters.items()}
    excess = too_large(name, values)
    if excess is not None:
        raise InvalidSpec(f"{scope.place}.{excess[0]}", f"{excess[1]} is due", advice="lower it")
    factor = scope.factor * size_factor(values)
    if factor > MULTIPLYING_MAX:
        raise InvalidSpec(
            scope.place,
            f"{name} would hold the size of {factor:,.0f} models, and at most "
            f"{MULTIPLYING_MAX:,} fit, nested ones multiplied",
            advice="ask for fewer",
        )
    is_multiclass = scope.is_multiclass and name not in BINARY_INSIDE
    return replace(scope, factor=factor, is_multiclass=is_multiclass)


def _given(parameter: Parameter, given: dict[str, Any], scope: Scope) -> Built | None:
    """What the spec gives for a parameter, or None when River is to supply it."""
    value = given.get(parameter.name)
    if parameter.name == "seed" and value is None:
        seed = scope.derived_seed()
        return Built(seed, seed)
    if parameter.name == "max_depth" and value is None and parameter.default is None:
        return Built(MAX_DEPTH, MAX_DEPTH)
    if parameter.name not in given or (value is None and parameter.default is None):
        if not parameter.is_required:
            return None
    return valued(value, parameter.shape, scope, assemble)


def _supplied(parameter: Parameter, owner: object, scope: Scope) -> Built | None:
    """What River took for a parameter that the spec leaves out, or None when JSON cannot say it."""
    if isinstance(parameter.shape, Ungiven):
        return None
    default = parameter.default
    if default is None:
        held = getattr(owner, parameter.name, None)
        spec = described(held)
        if spec is None or (isinstance(spec, int | float | str) and not _is_plain_in(parameter)):
            return Built(None, None)
        return valued(spec, parameter.shape, scope, assemble)
    value = list(default) if isinstance(default, tuple | set) else default
    return Built(value, default)


def _is_plain_in(parameter: Parameter) -> bool:
    options = parameter.shape.options if isinstance(parameter.shape, Choice) else ()
    return any(isinstance(o, Plain) and o.type not in ("null", "any") for o in options)


def _check_kept(name: str, value: object, parts: dict[str, Built], place: str) -> None:
    """River sometimes replaces what it does not like without a word: that is refused."""
    for key, part in parts.items():
        held = getattr(value, key, part.value)
        plain = (bool, int, float, str)
        if isinstance(part.value, plain) and isinstance(held, plain) and held != part.value:
            reason = f"{name} would take {shown(held)} instead of {shown(part.value)}"
            raise InvalidSpec(f"{place}.{key}", reason, advice=f"write {shown(held)} or another")
