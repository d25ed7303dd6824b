"""The command that creates a model, also by proposing one for a file."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.group import REFUSED, fail, say
from app.cli.models import print_model
from app.cli.options import TASKS, confirm, connect, json_option, url_option, yes_option
from app.cli.output import layout, plain, print_json, print_table

if TYPE_CHECKING:
    from app.loading import Roles
    from app.proposal import Proposal


@dataclass(frozen=True)
class Options:
    """The options of the command."""

    task: str | None
    learner: str | None
    metrics: str | None
    features: str | None
    labels: str | None
    fallback: str | None
    description: str | None
    source: Path | None
    label: str | None
    time: str | None
    drop: tuple[str, ...]
    delimiter: str | None
    yes: bool
    url: str
    as_json: bool


@click.command(short_help="Create a model, also as proposed for a file.")
@click.argument("name")
@click.option("--task", type=click.Choice(TASKS), help="What the labels are.")
@click.option("--learner", help="The spec: JSON, @FILE, or one name.")
@click.option("--metrics", help="Names with commas between, or a JSON list.")
@click.option("--features", help="The types of features: a JSON object.")
@click.option("--labels", help="The rules for labels: a JSON object.")
@click.option("--fallback", type=click.Choice(["prior", "error"]), help="When the learner breaks.")
@click.option("--description", help="For people.")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Propose for this FILE.")
@click.option("--label", help="With --from: the column that holds what was true.")
@click.option("--time", help="With --from: the column of time, which is no feature.")
@click.option("--drop", multiple=True, help="With --from: a column that is no feature.")
@click.option("--delimiter", help="With --from: of the cells of CSV.")
@yes_option
@url_option
@json_option
def create(name: str, **options: Any) -> None:
    """Create a model: of a task and a learner, or as it is proposed for a FILE of examples.

    With --from the columns of a CSV or NDJSON file are looked at, and what fits them is shown and
    created if you agree. What you give besides, such as --task or --learner, stands.

    \b
    Examples:
      headrace create wine --from wine.csv --label quality
      headrace create flights --from flights.csv.gz --label late --time time_hour --yes
      headrace create phishing --task binary --learner @learner.json --metrics Accuracy,F1
      headrace create iris --task multiclass --learner naive_bayes.GaussianNB
    """
    from app.tabular import UnreadableFile

    try:
        _create(name, Options(**options))
    except UnreadableFile as error:
        fail(str(error), REFUSED)


def _create(name: str, options: Options) -> None:
    learner = None if options.learner is None else _spec(options.learner)
    more = _more(options)
    if options.source is None:
        if options.task is None or learner is None:
            raise click.UsageError("Give --task and --learner, or --from FILE for a proposal.")
        task, then = options.task, ""
    else:
        from app.loading import Roles

        roles = Roles(options.label, options.time, None, options.drop)
        proposal = _proposal(options.source, roles, options)
        task, learner = proposal.task, proposal.learner if learner is None else learner
        more.setdefault("features", proposal.features())
        _show(name, proposal, learner)
        confirm(f"Create {name}?", options.yes)
        then = _load_command(name, options, proposal)
    with connect(options.url) as client:
        model = client.create_model(name, task, learner, **more)  # type: ignore[arg-type]
    if options.as_json:
        print_json(model)
    elif options.source is None:
        print_model(plain(model))
    else:
        click.echo(f"{name} is created. Teach it:\n\n  {then}")


def _proposal(source: Path, roles: "Roles", options: Options) -> "Proposal":
    from app.cli.load import delimiter_of
    from app.proposal import propose
    from app.tabular import Table

    table = Table(source, delimiter_of(options.delimiter))
    if options.label is None and options.task != "anomaly" and not table.is_nested:
        raise click.UsageError("--from needs --label: which column holds what was true?")
    if options.label is None and table.is_nested:
        roles = roles.with_label("label")
    return propose(table, roles, options.task)


def _show(name: str, proposal: "Proposal", learner: Any) -> None:
    """Show what is proposed, on the standard error stream: it is no result yet."""
    why = f": {proposal.why}" if proposal.why else ""
    say(f"{name} is to be of the task {proposal.task}{why}. Of its columns:")
    rows = []
    for column, fate in proposal.fates.items():
        rows.append((column, fate.type or "left out", fate.how))
    click.echo(err=True)
    print_table(("COLUMN", "BECOMES", "HOW, OR WHY"), rows, err=True)
    click.echo(f"\nlearner\n{layout(learner)}\n", err=True)


def _load_command(name: str, options: Options, proposal: "Proposal") -> str:
    words = ["headrace", "load", name, str(options.source)]
    words += ["--label", options.label] if options.label else []
    time = options.time or proposal.time
    words += ["--time", time] if time else []
    words += ["--delimiter", options.delimiter] if options.delimiter else []
    for column in (*options.drop, *proposal.dropped()):
        words += ["--drop", column]
    return shlex.join(words)


def _more(options: Options) -> dict[str, Any]:
    """What is said of the model besides its task and learner."""
    given = {
        "metrics": options.metrics and _metrics(options.metrics),
        "features": options.features and _json(options.features, "--features"),
        "labels": options.labels and _json(options.labels, "--labels"),
        "fallback": options.fallback,
        "description": options.description,
    }
    return {name: value for name, value in given.items() if value is not None}


def _spec(given: str) -> Any:
    """A learner: JSON, a file of JSON, or one name."""
    if given.startswith("@"):
        try:
            given = Path(given[1:]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"--learner: {given[1:]} cannot be read: {error}.") from None
        return _json(given, "--learner")
    return _json(given, "--learner") if given.lstrip()[:1] in ("[", "{", '"') else given


def _metrics(given: str) -> Any:
    if given.lstrip()[:1] == "[":
        return _json(given, "--metrics")
    return [name.strip() for name in given.split(",") if name.strip()]


def _json(given: str, place: str) -> Any:
    try:
        return json.loads(given)
    except ValueError as error:
        raise click.UsageError(f"{place} is no JSON: {error}.") from None
