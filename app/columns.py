"""What the columns of a table hold: their types, and text turned into values of a type. Pure.

| type | of a column of text |
|---|---|
| number | every cell is a finite number within ±1e15, without leading zeros: `01234` is a name |
| boolean | every cell is true or false, in any case |
| category | everything else |

An empty cell is missing, and so is one like `NA` or `nan` in a column of numbers or booleans.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from app.tabular import Row, Table

SAMPLE_ROWS = 10_000
"""How many rows tell the types of the columns."""

MAGNITUDE_MAX = 1e15
"""Beyond it whole numbers are names: a float would round them, and the service refuses them."""

NEARLY_SHARE = 0.9
"""A category of which this share of the cells are numbers was meant as one of numbers, perhaps."""

MISSING = frozenset({"na", "n/a", "nan", "null", "none"})
"""What stands for a missing value where numbers or booleans are wanted, in any case."""

DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
BOOLEANS = {"true": True, "false": False}
TRUTHS = {**BOOLEANS, "1": True, "0": False, "1.0": True, "0.0": False}

Convert = Callable[[Any], Any]
"""From a cell to its value, None if it is missing. Raises `ValueError`, saying why not."""


class Column(NamedTuple):
    """What the sampled rows say of a column; `type` is None if all its cells are missing.

    `is_counter` says that its whole numbers go up by one from row to row, `are_instants` that all
    its cells are dates or times, `words` how many words a cell has on average. `odd` says what of a
    category keeps it from being numbers, if that is little.
    """

    name: str
    type: str | None
    rows: int
    missing: int
    distinct: int
    is_integer: bool
    is_counter: bool
    are_instants: bool
    words: float
    odd: str | None = None


def profile(rows: list[Row], is_text: bool) -> dict[str, Column]:
    """The columns of a sample, in the order in which they first came."""
    cells: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.cells().items():
            present = cells.setdefault(name, [])
            if value is not None and value != "":
                present.append(value)
    return {name: _column(name, found, len(rows), is_text) for name, found in cells.items()}


def types_of(table: Table, known: dict[str, str]) -> dict[str, str]:
    """The type of each column of a table of text: what a model knows, else what the rows say."""
    found = profile(table.sample(SAMPLE_ROWS), table.is_text)
    return {name: known.get(name) or found[name].type or "category" for name in found}


def converter(name: str, type: str) -> Convert:
    """How text becomes a value of a feature of this type."""
    if type == "number":

        def number(cell: str) -> Any:
            found = number_of(cell)
            if found is None and cell and cell.lower() not in MISSING:
                raise ValueError(f"{name} is {shown(cell)}, and this column holds numbers")
            return found

        return number
    if type == "boolean":

        def boolean(cell: str) -> Any:
            found = TRUTHS.get(cell.lower())
            if found is None and cell and cell.lower() not in MISSING:
                raise ValueError(f"{name} is {shown(cell)}, and this column holds true and false")
            return found

        return boolean
    return lambda cell: cell or None


def label_converter(task: str, labels_are_integers: bool) -> Convert:
    """How a cell becomes a label of this task. Values that have a type already keep it."""

    def label(cell: Any) -> Any:
        if not isinstance(cell, str):
            return cell
        if not cell or (task != "multiclass" and cell.lower() in MISSING):
            return None
        if task == "multiclass":
            return int(cell) if labels_are_integers and is_integer(cell) else cell
        found = number_of(cell) if task == "regression" else TRUTHS.get(cell.lower())
        if found is None:
            wanted = "a number" if task == "regression" else "true or false, or 1 or 0"
            raise ValueError(f"the label is {shown(cell)}, and {task} takes {wanted}")
        return found

    return label


def value_of(text: str, type: str | None = None) -> Any:
    """A word of the command line as a feature's value: of its type, or of what it looks like."""
    if type is not None:
        return converter("it", type)(text)
    if text.lower() in BOOLEANS:
        return BOOLEANS[text.lower()]
    return plain_number(text) if plain_number(text) is not None else text or None


def number_of(text: str) -> int | float | None:
    """The finite number that a text says, if it says one."""
    if not NUMBER.fullmatch(text) or abs(float(text)) == float("inf"):
        return None
    return int(text) if text.lstrip("+-").isdigit() and len(text) < 20 else float(text)


def is_integer(text: str) -> bool:
    """Whether a text is a whole number as one writes it: no plus, no leading zeros."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and (digits[0] != "0" or text == "0")


def are_integers(cells: Iterable[Any]) -> bool:
    """Whether there are labels, and all of them are whole numbers."""
    found = [cell for cell in cells if cell is not None and cell != ""]
    return bool(found) and all(
        is_integer(cell) and len(cell) < 19 if isinstance(cell, str) else type(cell) is int
        for cell in found
    )


def instant_of(text: str) -> float | None:
    """The seconds since 1970 of an ISO 8601 date or time, in UTC unless it says another zone."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def shown(cell: object) -> str:
    """A cell for a sentence, cut short."""
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:60]}…"


def plain_number(text: str) -> int | float | None:
    """A number that a person would not take for a name: no leading zeros, within ±1e15."""
    found = number_of(text)
    digits = text.lstrip("+-")
    named = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    return found if found is not None and not named and abs(found) <= MAGNITUDE_MAX else None


def _type(cells: list[Any], is_text: bool) -> str | None:
    if not is_text:
        kinds = {"boolean" if type(cell) is bool else _json_type(cell) for cell in cells}
        return kinds.pop() if len(kinds) == 1 else "category" if kinds else None
    present = [cell for cell in cells if cell.lower() not in MISSING]
    if present and all(cell.lower() in BOOLEANS for cell in present):
        return "boolean"
    if present and all(plain_number(cell) is not None for cell in present):
        return "number"
    return "category" if cells else None


def _json_type(cell: Any) -> str:
    return "number" if isinstance(cell, int | float) else "category"


def _column(name: str, cells: list[Any], rows: int, is_text: bool) -> Column:
    type = _type(cells, is_text)
    if type in ("number", "boolean") and is_text:
        cells = [cell for cell in cells if cell.lower() not in MISSING]
    texts = [cell for cell in cells if isinstance(cell, str)]
    whole = type == "number" and are_integers(cells)
    steps = [int(cell) for cell in cells] if whole and len(cells) == rows > 1 else []
    return Column(
        name=name,
        type=type,
        rows=rows,
        missing=rows - len(cells),
        distinct=len({str(cell) for cell in cells}),
        is_integer=whole,
        is_counter=bool(steps) and steps == [*range(steps[0], steps[0] + rows)],
        are_instants=type == "category" and all(instant_of(text) is not None for text in texts),
        words=sum(len(text.split()) for text in texts) / max(len(texts), 1),
        odd=_odd(cells) if type == "category" and is_text else None,
    )


def _odd(cells: list[str]) -> str | None:
    present = [cell for cell in cells if cell.lower() not in MISSING]
    others = [cell for cell in present if plain_number(cell) is None]
    if any(number_of(cell) is not None for cell in others):
        return None  # Names like the zip code 01234, of which some look like numbers.
    enough = NEARLY_SHARE * len(present)
    if len(present) - len(others) >= enough:
        if not others:
            return None
        return f"all but {len(others):,} of {len(present):,} are numbers: {shown(others[0])} is not"
    commas = [cell for cell in others if DECIMAL_COMMA.fullmatch(cell)]
    if len(present) - len(others) + len(commas) >= enough:
        return f"{shown(commas[0])} is no number: write it with a point"
    return None
