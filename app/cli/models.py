"""Commands that look at models and delete them."""

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from app.cli.group import REFUSED, fail
from app.cli.options import (
    TASKS,
    confirm,
    connect,
    json_option,
    model_argument,
    url_option,
    yes_option,
)
from app.cli.output import layout, plain, print_fields, print_json, print_table, text

if TYPE_CHECKING:
    from app.client import Learners


SHOWN = {
    "example_offset": "of",
    "previous": "previous",
    "label": "label",
    "reason": "reason",
    "features": "features",
}
"""The fields of an entry that are shown on its line, and what they are called there."""


@click.command()
@url_option
@json_option
def models(url: str, as_json: bool) -> None:
    """List the models.

    \b
    Examples:
      headrace models
      headrace models --json
    """
    with connect(url) as client:
        found = list(client.models())
    if as_json:
        print_json(found)
    elif not found:
        click.echo("There are no models yet. Create one: headrace create --help")
    else:
        head = ("NAME", "TASK", "STATE", "OFFSET", "DESCRIPTION")
        print_table(head, [(m.name, m.task, m.state, m.offset, m.description) for m in found])


@click.command(short_help="Show a model.")
@model_argument
@url_option
@json_option
def show(model: str, url: str, as_json: bool) -> None:
    """Show a model: its learner, its features, how far it has learned.

    \b
    Examples:
      headrace show phishing
      headrace show phishing --json
    """
    with connect(url) as client:
        found = client.model(model)
    if as_json:
        print_json(found)
    else:
        print_model(plain(found))


def print_model(found: dict[str, Any]) -> None:
    """A model for people."""
    print_fields(
        {
            "name": found["name"],
            "task": found["task"],
            "description": found["description"] or None,
            "state": found["state"],
            "offset": found["offset"],
            "created": found["created_at"],
            "examples": found["counts"]["examples"],
            "metrics": ", ".join(f"{n} {text(v)}" for n, v in found["metrics"].items()),
            "fallback": found["fallback"],
            "features": ", ".join(f"{n} {t}" for n, t in found["features"].items()) or None,
            "labels": ", ".join(f"{n} {json.dumps(v)}" for n, v in (found["labels"] or {}).items()),
        }
    )
    click.echo(click.style("learner", bold=True))
    click.echo(layout(found["learner"]))


@click.command(short_help="Show how well a model does.")
@model_argument
@url_option
@json_option
def metrics(model: str, url: str, as_json: bool) -> None:
    """Show how well a model does: each example was predicted before it was learned.

    \b
    Examples:
      headrace metrics phishing
      headrace metrics phishing --json
    """
    with connect(url) as client:
        found = client.metrics(model)
    if as_json:
        print_json(found)
        return
    names = found.since_start
    rows = [(name, names[name], found.last_1000.get(name)) for name in names]
    print_table(("METRIC", "SINCE START", "LAST 1000"), rows)
    click.echo()
    shown = {**plain(found.counts), "predictions": found.predictions}
    if found.labelled_share is not None:
        shown["labelled share"] = found.labelled_share
    for group, data in (
        ("label delay", found.label_delay_seconds),
        ("labels", found.labels),
    ):
        parts = plain(data) or {}
        unit = " s" if group == "label delay" else ""
        told = ", ".join(f"{name} {text(value)}{unit}" for name, value in parts.items() if value)
        if told:
            shown[group] = told
    print_fields(shown)


@click.command(short_help="Show what a model has learned from.")
@model_argument
@click.option("--after", default=0, type=click.IntRange(0), help="The offset to go on behind.")
@click.option("--limit", type=click.IntRange(1), help="How many entries at most; all if left out.")
@url_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one entry per line.")
def log(model: str, after: int, limit: int | None, url: str, as_json: bool) -> None:
    """Show a model's log: everything that it has learned from, oldest first.

    \b
    Examples:
      headrace log phishing --after 1000 --limit 20
      headrace log phishing --json > phishing.ndjson
    """
    with connect(url) as client:
        for entry in islice(client.log(model, after), limit):
            fields = plain(entry.fields)
            head = {name: plain(getattr(entry, name)) for name in ("offset", "kind", "id", "at")}
            if as_json:
                print_json({**head, **fields}, indent=None)
                continue
            shown = [f"{entry.offset:>9,}", entry.kind.ljust(11), head["at"], entry.id]
            shown += ["not learned"] if fields.get("learned") is False else []
            shown += [
                f"{title}={json.dumps(fields[name], ensure_ascii=False)}"
                for name, title in SHOWN.items()
                if name in fields
            ]
            line = "  ".join(shown)
            click.echo(line if len(line) <= 160 else f"{line[:160]}…")


@click.command(short_help="List what a learner may be made of.")
@click.argument("word", default="")
@click.option("--task", type=click.Choice(TASKS), help="Only what this task takes.")
@url_option
@json_option
def learners(word: str, task: str | None, url: str, as_json: bool) -> None:
    """List what a learner may be made of; only names that hold a WORD, if one is given.

    \b
    Examples:
      headrace learners --task regression
      headrace learners Hoeffding
      headrace learners linear_model.LogisticRegression --json
    """
    with connect(url) as client:
        known = client.learners()
    found = [
        learner
        for learner in known.learners
        if word.lower() in learner.name.lower()
        and (task is None or task in learner.tasks or not learner.tasks)
    ]
    if not found:
        fail(_none_of(word, task, known), REFUSED)
    if as_json:
        print_json(found)
    else:
        print_table(("NAME", "KIND", "SAYS"), [(f.name, f.kind, f.sentence) for f in found])


def _none_of(word: str, task: str | None, known: "Learners") -> str:
    """Why no learner is listed."""
    from app.tabular import nearest

    for name, reason in known.refused.items():
        if word.lower() in (name.lower(), name.lower().rpartition(".")[2]):
            return f"{name} cannot be named: {reason}."
    names = [learner.name for learner in known.learners]
    if any(word.lower() in name.lower() for name in names):
        return f"The task {task} takes nothing whose name holds {word!r}."
    short = {name.rpartition(".")[2]: name for name in names}
    hint = nearest(word, names if "." in word else short)
    return f"No name holds {word!r}; {hint} headrace learners lists all."


@click.command(short_help="Delete a model.")
@model_argument
@yes_option
@url_option
@json_option
def delete(model: str, yes: bool, url: str, as_json: bool) -> None:
    """Delete a model with its log and its predictions. It cannot be had back.

    \b
    Examples:
      headrace delete phishing
      headrace delete phishing --yes
    """
    with connect(url) as client:
        found = client.model(model)
        learned = f"It has learned {found.counts.examples:,} examples."
        confirm(f"Delete {model}, its log and its predictions? {learned}", yes)
        client.delete_model(model)
    if as_json:
        print_json({"name": model, "deleted": True})
    else:
        click.echo(f"{model} is deleted.")
