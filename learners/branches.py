"""The declarative forms of choosing features: `{"select": ...}` and `{"discard": ...}`.

They are written as a list of names, `["a", "b"]`; as a prefix, `{"prefix": "geo_"}`; or as a type,
`{"type": "number"}`; several prefixes or types are a list. Their stored form is the same with
lists throughout.
"""

from __future__ import annotations

from typing import Any

from learners.refusal import InvalidSpec, nearest, shown
from learners.selection import VALUE_TYPES, Discard, Select, Selection

SELECTIONS: dict[str, type[Selection]] = {"select": Select, "discard": Discard}

CRITERIA = {"type": "types", "prefix": "prefixes"}

ADVICE = 'write a list of names, {"prefix": "..."} or {"type": "number"}'


def selection(form: str, content: object, place: str) -> tuple[dict[str, Any], Selection]:
    """The stored form of a selection, and what it stands for.

    Examples
    --------
    >>> spec, _ = selection("select", {"type": "number"}, "learner")
    >>> spec
    {'select': {'type': ['number']}}

    """
    inside = f"{place}.{form}"
    if isinstance(content, list):
        names = _strings(content, inside)
        return {form: names}, SELECTIONS[form](names=names)
    if not isinstance(content, dict) or len(content) != 1 or not set(content) <= set(CRITERIA):
        raise InvalidSpec(inside, f"{shown(content)} does not choose features", advice=ADVICE)
    [(criterion, wanted)] = content.items()
    values = _strings(wanted if isinstance(wanted, list) else [wanted], f"{inside}.{criterion}")
    if criterion == "type":
        for value in values:
            if value not in VALUE_TYPES:
                close = nearest(value, VALUE_TYPES) or tuple(VALUE_TYPES)
                raise InvalidSpec(f"{inside}.type", f"there is no type {shown(value)}", close)
    return {form: {criterion: values}}, SELECTIONS[form](**{CRITERIA[criterion]: values})


def _strings(values: list[Any], place: str) -> list[str]:
    if not values or not all(isinstance(value, str) for value in values):
        raise InvalidSpec(place, "names are due, at least one", advice=ADVICE)
    return list(dict.fromkeys(values))
