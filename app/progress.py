"""How far a long command has come: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from shutil import get_terminal_size
from typing import Any

import click
from tqdm import tqdm  # type: ignore[import-untyped]

LINE_SECONDS_FIRST = 0.5
LINE_SECONDS = 5.0
"""How often a line tells the progress where there is no terminal for a bar."""


class Progress:
    """Steps towards a total, their rate, and the running metrics, on the standard error stream."""

    def __init__(self, title: str, unit: str, total: int | None = None) -> None:
        self._title, self._unit = title, unit
        self._steps, self._metrics = 0, ""
        self._began = 0.0
        self._next_line = time.monotonic() + LINE_SECONDS_FIRST
        self._is_terminal = sys.stderr.isatty()
        self._bar: Any = tqdm(
            total=total,
            desc=title,
            unit=f" {unit}",
            # Some terminals do not know their size; tqdm would then show nothing.
            ncols=get_terminal_size().columns,
            nrows=get_terminal_size().lines,
            disable=not self._is_terminal,
        )
        self._total, self._is_estimate = total, False

    def expect(self, total: int, is_estimate: bool = False) -> None:
        """The total is known, or estimated anew."""
        self._total = self._bar.total = total
        self._is_estimate = is_estimate

    def reading(self, count: int) -> None:
        """Nothing can be done yet, but so much was read."""
        if self._is_terminal:
            self._bar.set_postfix_str(f"{count:,} read")
        elif self._is_time():
            click.echo(f"{self._title}: {count:,} {self._unit} read", err=True)

    def step(self) -> None:
        """One more is done."""
        self._steps += 1
        if not self._began:
            self._began = time.monotonic()
            self._next_line = self._began + LINE_SECONDS_FIRST
        if self._is_terminal:
            self._bar.update()
        elif self._is_time():
            rate = self._steps / max(time.monotonic() - self._began, 1e-3)
            total = f" of {'about ' * self._is_estimate}{self._total:,}" if self._total else ""
            done = f"{self._title}: {self._steps:,}{total} {self._unit}"
            click.echo(f"{done}, {rate:,.0f} a second{self._metrics}", err=True)

    def tell(self, figures: dict[str, float | None]) -> None:
        """Show the running metrics."""
        shown = [f"{name} {value:.3f}" for name, value in figures.items() if value is not None]
        self._metrics = "".join(f", {part}" for part in shown)
        self._bar.set_postfix_str(self._metrics.removeprefix(", "))

    def say(self, sentence: str) -> None:
        """Say something in between, without breaking the bar."""
        tqdm.write(sentence, file=sys.stderr)

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now < self._next_line:
            return False
        self._next_line = now + LINE_SECONDS
        return True

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()
