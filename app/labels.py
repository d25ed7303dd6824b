"""Checks a label against a model's task. Pure.

`0`, `false` and `""` are labels like any other; what a label may be depends on the task alone:

| task | labels |
|---|---|
| binary | `true`, `false`, `1`, `0`: the first two and the last two are the same |
| multiclass | strings and integers |
| regression | numbers within ±1e300 |
| anomaly | none, or `true` and `false` |
"""

from collections.abc import Container
from typing import Any

import msgspec

from app.entries import Label, LabelRules, Task
from app.errors import InvalidLabel, Problem

STRING_MAX = 1_000
"""The longest label, in characters."""

INTEGER_MAX = 2**63 - 1
"""The largest label of a class, in magnitude."""

NUMBER_MAX = 1e300
"""The largest label of a regression, in magnitude: the mean of such labels is finite."""

_WANTED = {
    "binary": "true or false (or 1 or 0)",
    "multiclass": "a string or an integer",
    "regression": "a number within ±1e300",
    "anomaly": "true or false, or none at all",
}


def check_label(task: Task, label: Any, known: Container[Label]) -> Label | None:
    """The label as it is learned, of a model that knows the labels `known`.

    Raises `InvalidLabel`, saying what this task takes.
    """
    if task == "binary":
        if label is True or label is False:
            return bool(label)
        if type(label) is int and label in (0, 1):
            return label == 1
    elif task == "multiclass":
        if type(label) is str and len(label) <= STRING_MAX:
            return _distinct(label, _integer(label), known)
        if type(label) is int and -INTEGER_MAX <= label <= INTEGER_MAX:
            return _distinct(label, str(label), known)
    elif task == "regression":
        if type(label) in (float, int) and -NUMBER_MAX <= label <= NUMBER_MAX:
            return label  # type: ignore[no-any-return]
    elif label is None or type(label) is bool:
        return label
    raise _invalid(task, label)


def check_rules(task: Task, rules: LabelRules) -> LabelRules:
    """The rules with their default as it is learned. Raises `InvalidLabel` if it is no label."""
    if rules.default is None:
        return rules
    try:
        return msgspec.structs.replace(rules, default=check_label(task, rules.default, ()))
    except InvalidLabel as error:
        problems = [Problem("labels.default", problem.reason) for problem in error.problems]
        raise InvalidLabel(f"labels.default: {error.message}", problems) from None


def text_of(label: Label) -> str:
    """A label as the key of `probabilities`: `true`, `7`, `spam`."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)


def _integer(text: str) -> Label | None:
    """The integer that reads like this text, if one does."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 20 and str(int(text)) == text:
        return int(text)
    return None


def _distinct(label: Label, twin: Label | None, known: Container[Label]) -> Label:
    """Refuses the second of two labels that read alike: they would be one key of the answer."""
    if twin is not None and twin in known and label not in known:
        raise InvalidLabel(
            f"label is {label!r}, and the model knows {twin!r}, which reads the same. "
            "Send all labels of a model as strings, or all as integers.",
            [Problem("label", f"is {label!r} where {twin!r} is known")],
        )
    return label


def _invalid(task: Task, label: object) -> InvalidLabel:
    shown = {True: "true", False: "false", None: "null"}.get(label) if _plain(label) else None  # type: ignore[call-overload]
    text = shown or repr(label)
    text = text if len(text) <= 60 else f"{text[:60]}…"
    return InvalidLabel(
        f"label is {text}, and the task {task} takes {_WANTED[task]}. Send it as such.",
        [Problem("label", f"is {text}, not {_WANTED[task]}")],
    )


def _plain(label: object) -> bool:
    return label is None or isinstance(label, bool)
