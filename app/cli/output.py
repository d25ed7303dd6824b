"""How data is printed: JSON for scripts, aligned text for people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

WIDTH = 96
"""How long a line of JSON for people may get."""


def print_json(data: Any, indent: int | None = 2) -> None:
    """Print data of the client as one JSON document, on one line if `indent` is None."""
    click.echo(json.dumps(plain(data), indent=indent, ensure_ascii=False))


def plain(data: Any) -> Any:
    """Structs as dicts, times as text."""
    from msgspec import to_builtins

    return to_builtins(data)


def layout(data: Any, indent: int = 0) -> str:
    """JSON for people: what fits on a line stands on one."""
    short = json.dumps(data, ensure_ascii=False)
    if len(short) + indent <= WIDTH or not isinstance(data, dict | list) or not data:
        return short
    inner, end = "\n" + " " * (indent + 2), "\n" + " " * indent
    if isinstance(data, list):
        return "[" + ",".join(inner + layout(item, indent + 2) for item in data) + end + "]"
    lines = (
        f"{inner}{json.dumps(name, ensure_ascii=False)}: {layout(value, indent + 2)}"
        for name, value in data.items()
    )
    return "{" + ",".join(lines) + end + "}"


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values in two columns."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {text(value)}")


def print_table(head: Sequence[str], rows: Iterable[Sequence[Any]], err: bool = False) -> None:
    """Print a table: numbers to the right, everything else to the left."""
    cells = [[text(cell) for cell in row] for row in rows]
    given = [*zip(*cells, strict=True)] or [()] * len(head)
    widths = [max([len(name), *map(len, column)]) for name, column in zip(head, given, strict=True)]
    right = [bool(column) and all(map(_is_number, column)) for column in given]
    for line in (head, *cells):
        padded = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ]
        shown = "  ".join(padded).rstrip()
        click.echo(click.style(shown, bold=True) if line is head else shown, err=err)


def text(value: Any) -> str:
    """A value for people."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 1e9 else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").replace(".", "").lstrip("-").isdigit()
