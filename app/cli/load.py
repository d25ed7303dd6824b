"""The command that teaches a model from a file."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from app.cli.group import INTERRUPTED, REFUSED, fail, say
from app.cli.options import connect, json_option, model_argument, url_option
from app.cli.output import print_json, text
from app.errors import HeadraceError

if TYPE_CHECKING:
    from app.client import Client
    from app.loading import Loader, Tally
    from app.progress import Progress
    from app.tabular import Row, Table

METRICS_SECONDS = 2.0
"""How often the running metrics are read from the service."""

AGAIN = "The same command again goes on, and learns no row twice."

SHOWN_MAX = 5
"""How many refused rows are shown; --rejects takes all."""


@dataclass(frozen=True)
class Options:
    """The options of the command."""

    url: str
    as_json: bool
    label: str | None
    time: str | None
    id: str | None
    drop: tuple[str, ...]
    predict_first: bool
    delimiter: str | None
    source: str | None
    wait: float
    rejects: Path | None


@click.command(short_help="Teach a model the rows of a file.")
@model_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--label", help="The column that holds what was true.")
@click.option("--time", help="The column to learn in the order of. It is no feature.")
@click.option("--predict-first", is_flag=True, help="Predict each row before its label is sent.")
@click.option("--id", help="The column that names a row. Made of its content if left out.")
@click.option("--drop", multiple=True, help="A column that is no feature. May be repeated.")
@click.option("--delimiter", help="Of the cells of CSV. Found among , ; | and tab if left out.")
@click.option("--source", help="Tells this file from others that begin alike.")
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=300.0,
    show_default=True,
    help="Seconds to wait for a service that is away.",
)
@click.option("--rejects", type=click.Path(path_type=Path), help="Where to write refused rows.")
@url_option
@json_option
def load(model: str, file: Path, **options: Any) -> None:
    """Teach a model the rows of a FILE: CSV or NDJSON, also as .gz or .zst.

    Stop it at any time and run it again: no row is learned twice. Rows without a label are passed
    over, or only predicted with --predict-first. Exit status 1 if a row was refused.

    \b
    Examples:
      headrace load phishing pages.csv --label is_phishing
      headrace load flights flights.csv.gz --label late --time time_hour --drop tailnum
      headrace load phishing pages.ndjson.zst --label y --predict-first --rejects bad.ndjson
    """
    from app.tabular import UnreadableFile

    try:
        _load(model, file, Options(**options))
    except UnreadableFile as error:
        fail(str(error), REFUSED)


def _load(name: str, file: Path, options: Options) -> None:
    from app.loading import Loader, Roles
    from app.progress import Progress
    from app.tabular import Table, UnreadableFile

    roles = Roles(options.label, options.time, options.id, options.drop)
    if options.rejects is not None and options.rejects.resolve() == file.resolve():
        raise click.UsageError("--rejects would write over the file itself. Name another one.")
    with ExitStack() as open_things:
        client = open_things.enter_context(connect(options.url))
        model = client.model(name)
        table = Table(file, delimiter_of(options.delimiter), options.source)
        if options.label is None and table.is_nested:
            roles = roles.with_label("label")
        elif options.label is None and model.task != "anomaly":
            raise click.UsageError("Missing option '--label': which column holds what was true?")
        try:
            rejects = options.rejects and open_things.enter_context(
                options.rejects.open("w", encoding="utf-8")
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise click.UsageError(f"--rejects {options.rejects}: {reason}.") from None
        progress = Progress(name, "rows")
        watch = _Watch(client, options.url, name, table, progress, rejects or None)
        loader = Loader(client, model, table, roles, watch)
        loader.wait_seconds = options.wait
        say(f"learning {file} into {name}: label {roles.label or '-'}{_features(loader)}")
        began = time.monotonic()
        try:
            with _stopped_by_interrupt(loader):
                loader.run(options.predict_first)
        except (HeadraceError, KeyboardInterrupt, UnreadableFile) as error:
            progress.close()
            _print_tally(loader.tally, err=True)
            if not isinstance(error, UnreadableFile):
                say(f"stopped before the end. {AGAIN}")
            elif loader.tally.rows:
                say(f"stopped before the end. When the file is mended: {AGAIN.lower()}")
            if isinstance(error, KeyboardInterrupt):
                raise click.exceptions.Exit(INTERRUPTED) from None
            raise
        seconds = time.monotonic() - began
        figures = watch.figures()
        progress.tell(figures)
        progress.close()
    _print(loader.tally, figures, seconds, options.as_json)
    _tell_apart(table, loader, options)
    if loader.tally.refused:
        raise click.exceptions.Exit(REFUSED)


@contextmanager
def _stopped_by_interrupt(loader: "Loader") -> Iterator[None]:
    """Have the first Ctrl-C wait for what became of the rows under way; the second does not."""

    def interrupt(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not loader.is_sending:
            raise KeyboardInterrupt
        loader.stop()
        # Not by `say`: what it prints through may be in the middle of printing.
        os.write(2, b"\nheadrace: stopping behind the rows under way; Ctrl-C again stops at once\n")

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _tell_apart(table: "Table", loader: "Loader", options: Options) -> None:
    """Say what of the file may be otherwise than its reader thinks."""
    if table.is_held_back:
        say(
            f"line {table.open_line:,}, the last, has no end and may be still being written: it is "
            "not learned yet. Run the same command again in a minute, or give it its line end."
        )
    elif table.open_line is not None:
        say(f"line {table.open_line:,}, the last, has no end: it was taken for whole.")
    if not loader.known_between:
        return
    rows = "row" if loader.known_between == 1 else "rows"
    told = f"{loader.known_between:,} {rows} had been loaded before, between others that had not."
    if options.id is not None:
        say(f"{told} Is {options.id} another one in every row? A row is known by it alone.")
    else:
        say(
            f"{told} If this is another file, which begins like one that was loaded, rows of it "
            "were taken for that one's: give such files a --source NAME, from their first load on."
        )


class _Watch:
    """Tells the progress and what was refused."""

    def __init__(
        self,
        client: "Client",
        url: str,
        model: str,
        table: "Table",
        progress: "Progress",
        rejects: TextIO | None,
    ) -> None:
        self._client, self._url, self._model, self._table = client, url, model, table
        self._progress, self._rejects = progress, rejects
        self._rows = self._refused = 0
        self._is_counted = False
        self._next = time.monotonic() + METRICS_SECONDS / 2

    def done(self) -> None:
        """One row more is done with."""
        self._rows += 1
        self._progress.step()
        if time.monotonic() < self._next:
            return
        if not self._is_counted:
            total = round(self._rows / max(self._table.read_share(), 1e-9))
            self._progress.expect(max(total, self._rows), is_estimate=True)
        self._progress.tell(self.figures())
        self._next = time.monotonic() + METRICS_SECONDS

    def figures(self) -> dict[str, float | None]:
        """The running metrics; none if the service does not say."""
        try:
            return self._client.metrics(self._model).since_start
        except HeadraceError:
            return {}

    def away(self, seconds: float, reason: str) -> None:
        """The service cannot answer now, and is waited for so long."""
        self.say(f"waiting for the service at {self._url}, up to {seconds:,.0f} s. {reason}")

    def reading(self, count: int) -> None:
        """So many rows are read, before any is sent."""
        self._progress.reading(count)

    def expect(self, total: int) -> None:
        """So many rows there are."""
        self._is_counted = True
        self._progress.expect(total)

    def refused(self, row: "Row", reason: str) -> None:
        """Show the first refused rows, and write all of them."""
        self._refused += 1
        if self._refused <= SHOWN_MAX:
            self.say(f"line {row.line:,}: {reason}")
        elif self._refused == SHOWN_MAX + 1:
            self.say("more rows were refused; --rejects FILE takes them all.")
        if self._rejects is not None:
            values = row.cells() or row.content.replace("\x1f", self._table.delimiter)
            line = {"line": row.line, "reason": reason, "row": values}
            self._rejects.write(json.dumps(line, ensure_ascii=False) + "\n")

    def say(self, sentence: str) -> None:
        """Say something beside the bar."""
        self._progress.say(f"headrace: {sentence}")


def delimiter_of(given: str | None) -> str | None:
    """The character that is meant. Raises `click.UsageError` if it is none."""
    found = {"tab": "\t", "\\t": "\t"}.get(given, given) if given is not None else None
    if found is not None and (len(found) != 1 or found in '"\r\n'):
        raise click.UsageError(f"--delimiter is {given!r}, and is to be one character, or tab.")
    return found


def _features(loader: "Loader") -> str:
    kinds = list(loader.types.values())
    if not kinds:
        return ""
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f", {len(kinds)} feature{'s' * (len(kinds) > 1)} ({counted})"


def _print(tally: "Tally", figures: dict[str, float | None], seconds: float, as_json: bool) -> None:
    if as_json:
        print_json({**tally.plain(), "seconds": round(seconds, 3), "metrics": figures})
        return
    _print_tally(tally)
    shown = ", ".join(f"{name} {text(value)}" for name, value in figures.items())
    if shown:
        click.echo(f"{shown}, since the model's start")


def _print_tally(tally: "Tally", err: bool = False) -> None:
    said = {
        "learned": tally.learned,
        "already learned": tally.duplicates,
        "predicted": tally.predicted,
        "without a label": tally.unlabelled,
        "that the learner broke on": tally.unlearnable,
        "refused": tally.refused,
        "held back": tally.held_back,
    }
    parts = [f"{n:,} {what}" for what, n in said.items() if n or what in ("learned", "refused")]
    click.echo(f"{tally.rows:,} rows: {', '.join(parts)}", err=err)
