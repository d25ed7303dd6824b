"""The commands about versions: list them, make one, go back to one."""

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from app.cli.group import say
from app.cli.options import confirm, connect, json_option, model_argument, url_option, yes_option
from app.cli.output import print_fields, print_json, print_table, text

if TYPE_CHECKING:
    from app.client import Turned, Version
    from app.client.acts import Replay

reason_option = click.option("--reason", default="", help="Why. It is kept in the log.")


@click.command(short_help="List a model's versions, or show one.")
@model_argument
@click.argument("number", type=click.IntRange(1), required=False)
@click.option("--new", is_flag=True, help="Make a version first.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="At most.")
@url_option
@json_option
def versions(
    model: str, number: int | None, new: bool, limit: int, url: str, as_json: bool
) -> None:
    """List a model's versions, newest first, or show one with its checks.

    \b
    Examples:
      headrace versions phishing
      headrace versions phishing 7
      headrace versions phishing --new
    """
    with connect(url) as client:
        if new:
            number = client.snapshot(model).number
        if number is not None:
            found = client.version(model, number)
        else:
            listed = list(islice(client.versions(model), limit))
    if number is None:
        _print_list(listed, as_json)
    elif as_json:
        print_json(found)
    else:
        _print_version(found)


@click.command(short_help="Let a model continue from a version.")
@model_argument
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--since", is_flag=True, help="Learn again what came after that version.")
@reason_option
@yes_option
@url_option
@json_option
def rollback(model: str, version: int | None, url: str, as_json: bool, **options: Any) -> None:
    """Let a model continue from a version: from the last valid one, if none is named.

    \b
    Examples:
      headrace rollback phishing --reason "flipped labels since noon"
      headrace rollback phishing 7 --since
    """
    with connect(url) as client:
        known = client.model(model)
        to = "its last valid version" if version is None else f"version {version}"
        confirm(f"Let {model}, at offset {known.offset:,}, continue from {to}?", options["yes"])
        replay: Replay = "since" if options["since"] else "none"
        turned = client.rollback(model, version, replay=replay, reason=options["reason"])
    _print_turned(turned, as_json)


@click.command(short_help="Make a version the champion.")
@model_argument
@click.argument("version", type=click.IntRange(1))
@reason_option
@yes_option
@url_option
@json_option
def swap(model: str, version: int, reason: str, yes: bool, url: str, as_json: bool) -> None:
    """Make a version the champion: it answers from then on.

    \b
    Example:
      headrace swap phishing 7 --reason "better on weekends"
    """
    with connect(url) as client:
        confirm(f"Let version {version} of {model} answer?", yes)
        turned = client.swap(model, version, reason)
    _print_turned(turned, as_json)


@click.command(short_help="Stop a model's learning.")
@model_argument
@reason_option
@url_option
@json_option
def freeze(model: str, reason: str, url: str, as_json: bool) -> None:
    """Stop learning: feedback is scored and kept, and not learned.

    \b
    Example:
      headrace freeze phishing --reason "odd labels since noon"
    """
    with connect(url) as client:
        turned = client.freeze(model, reason)
    _print_turned(turned, as_json)


@click.command(short_help="Resume a model's learning.")
@model_argument
@click.option("--learn/--skip", required=True, help="Learn what came meanwhile, or skip it.")
@reason_option
@url_option
@json_option
def unfreeze(model: str, learn: bool, reason: str, url: str, as_json: bool) -> None:
    """Learn again, with or without what came meanwhile.

    \b
    Examples:
      headrace unfreeze phishing --learn
      headrace unfreeze phishing --skip
    """
    with connect(url) as client:
        turned = client.unfreeze(model, learn=learn, reason=reason)
    _print_turned(turned, as_json)


def _print_turned(turned: "Turned", as_json: bool) -> None:
    if as_json:
        print_json(turned)
        return
    goes = f"goes on from version {turned.version}" if turned.version else "goes on"
    frozen = "" if turned.frozen is None else f", frozen: {turned.frozen or 'no reason given'}"
    click.echo(f"{turned.model} {goes}{frozen}, as of offset {turned.offset:,}.")
    for worker in turned.workers:
        if not worker.obeys:
            say(f"{worker.worker} did not say so in time; it serves version {worker.version}.")


def _print_list(listed: "list[Version]", as_json: bool) -> None:
    if as_json:
        print_json(listed)
    elif not listed:
        click.echo("There is no version yet. headrace versions MODEL --new makes one.", err=True)
    else:
        head = ("VERSION", "OFFSET", "STATUS", "EXAMPLES", "MADE", "BY", "METRICS", "NOTE")
        rows = [
            (
                version.number,
                version.offset,
                version.status + ("" if version.kept else ", gone"),
                version.examples,
                version.at.isoformat(" ", "seconds").removesuffix("+00:00"),
                version.source,
                _figures(version),
                ("pinned " if version.pinned else "") + version.note,
            )
            for version in listed
        ]
        print_table(head, rows)


def _print_version(version: "Version") -> None:
    size = version.size
    print_fields(
        {
            "version": version.number,
            "offset": version.offset,
            "made": f"{version.at.isoformat(' ', 'seconds')} by {version.source}",
            "status": version.status,
            "parent": version.parent,
            "examples": version.examples,
            "metrics": _figures(version),
            "memory": None if size is None else f"{size.memory_bytes:,} bytes",
            "an answer": None if size is None else f"{size.predict_ms:.3f} ms",
            "made with": ", ".join(f"{n} {v}" for n, v in (version.stamps or {}).items()) or None,
            "pinned": version.pinned,
            "note": version.note or None,
        }
    )
    for check in version.checks or ():
        mark = (
            click.style("passed", fg="green") if check.passed else click.style("FAILED", fg="red")
        )
        click.echo(f"  {mark}  {check.name}: {check.detail}")
    for turn in version.turns:
        why = f": {turn.reason}" if turn.reason else ""
        click.echo(f"  {turn.kind} at offset {turn.offset:,} by {turn.by}{why}")


def _figures(version: "Version") -> str:
    return ", ".join(f"{name} {text(value)}" for name, value in (version.metrics or {}).items())
