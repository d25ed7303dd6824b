"""The command that teaches a model from a file."""

import json
import time
from contextlib import ExitStack
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
    with ExitStack() as open_things:
        client = open_things.enter_context(connect(options.url))
        model = client.model(name)
        table = Table(file, delimiter_of(options.delimiter))
        if options.label is None and table.is_nested:
            roles = roles.with_label("label")
        elif options.label is None and model.task != "anomaly":
            raise click.UsageError("Missing option '--label': which column holds what was true?")
        try:
            rejects = options.rejects and open_things.enter_context(options.rejects.open("w"))
        except OSError as error:
            reason = error.strerror or str(error)
            raise click.UsageError(f"--rejects {options.rejects}: {reason}.") from None
        progress = Progress(name, "rows")
        watch = _Watch(client, name, table, progress, rejects or None)
        loader = Loader(client, model, table, roles, watch)
        say(f"learning {file} into {name}: label {roles.label or '-'}{_features(loader)}")
        began = time.monotonic()
        try:
            loader.run(options.predict_first)
        except (HeadraceError, KeyboardInterrupt, UnreadableFile) as error:
            progress.close()
            _print_tally(loader.tally, err=True)
            say("stopped before the end. The same command again goes on, and learns no row twice.")
            if isinstance(error, KeyboardInterrupt):
                raise click.exceptions.Exit(INTERRUPTED) from None
            raise
        seconds = time.monotonic() - began
        figures = client.metrics(name).since_start
        progress.tell(figures)
        progress.close()
    _print(loader.tally, figures, seconds, options.as_json)
    if loader.tally.refused:
        raise click.exceptions.Exit(REFUSED)


class _Watch:
    """Tells the progress and what was refused."""

    def __init__(
        self,
        client: "Client",
        model: str,
        table: "Table",
        progress: "Progress",
        rejects: TextIO | None,
    ) -> None:
        self._client, self._model, self._table = client, model, table
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
        self._progress.tell(self._client.metrics(self._model).since_start)
        self._next = time.monotonic() + METRICS_SECONDS

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
    return f", {len(kinds)} features ({counted})"


def _print(tally: "Tally", figures: dict[str, float | None], seconds: float, as_json: bool) -> None:
    if as_json:
        print_json({**tally.plain(), "seconds": round(seconds, 3), "metrics": figures})
        return
    _print_tally(tally)
    shown = ", ".join(f"{name} {text(value)}" for name, value in figures.items())
    click.echo(f"{shown}, since the model's start")


def _print_tally(tally: "Tally", err: bool = False) -> None:
    said = {
        "learned": tally.learned,
        "already learned": tally.duplicates,
        "predicted": tally.predicted,
        "without a label": tally.unlabelled,
        "that the learner broke on": tally.unlearnable,
        "refused": tally.refused,
    }
    parts = [f"{n:,} {what}" for what, n in said.items() if n or what in ("learned", "refused")]
    click.echo(f"{tally.rows:,} rows: {', '.join(parts)}", err=err)
