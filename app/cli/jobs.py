"""The commands about jobs: their runs, and their schedule."""

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from app.cli.options import connect, json_option, url_option
from app.cli.output import print_fields, print_json, print_table, text

if TYPE_CHECKING:
    from app.client import Run, Schedule


@click.command("list", short_help="List what the jobs did.")
@click.option("--job", help="Only runs of this job.")
@click.option("--model", help="Only runs about this model.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="At most.")
@url_option
@json_option
def list_runs(job: str | None, model: str | None, limit: int, url: str, as_json: bool) -> None:
    """List what the jobs were asked to do, are doing and did, newest first.

    \b
    Examples:
      headrace jobs list
      headrace jobs list --job watch --model phishing
    """
    where: Any = {name: value for name, value in (("job", job), ("model", model)) if value}
    with connect(url) as client:
        found = list(islice(client.runs(**where), limit))
    if as_json:
        print_json(found)
    else:
        head = ("RUN", "JOB", "MODEL", "CAUSE", "STATE", "ASKED", "DID")
        rows = [(r.id, r.job, r.model, r.cause, _state(r), _at(r), r.did) for r in found]
        print_table(head, rows)


@click.command("show", short_help="Show a run of a job.")
@click.argument("run", type=click.IntRange(1))
@click.option("--wait", is_flag=True, help="Until it has ended, with a bar.")
@url_option
@json_option
def show_run(run: int, wait: bool, url: str, as_json: bool) -> None:
    """Show a run of a job: how far it is, what it did.

    \b
    Examples:
      headrace jobs show 12
      headrace jobs show 12 --wait
    """
    with connect(url) as client:
        found = _ended(client, run) if wait else client.run(run)
    _print_run(found, as_json)


@click.command("cancel", short_help="Have a run end.")
@click.argument("run", type=click.IntRange(1))
@url_option
@json_option
def cancel_run(run: int, url: str, as_json: bool) -> None:
    """Have a run end as soon as it can.

    \b
    Example:
      headrace jobs cancel 12
    """
    with connect(url) as client:
        found = client.cancel(run)
    _print_run(found, as_json)


@click.command(short_help="Show or change when jobs run.")
@click.argument("job", required=False)
@click.option("--every", type=click.IntRange(1), help="Run it every so many seconds.")
@click.option("--pause/--resume", default=None, help="Let it not run, or run again.")
@click.option("--now", is_flag=True, help="Run it now, and wait for its end.")
@click.option("--model", help="The model that a run by --now is about.")
@url_option
@json_option
def schedule(job: str | None, url: str, as_json: bool, **options: Any) -> None:
    """Show when each job runs; change that of one; run one now.

    \b
    Examples:
      headrace schedule
      headrace schedule watch --every 60
      headrace schedule sweep_deleted --pause
      headrace schedule snapshot --now --model phishing
    """
    every, pause = options["every"], options["pause"]
    is_change = every is not None or pause is not None
    if job is None and (is_change or options["now"]):
        raise click.UsageError("Missing argument 'JOB': which one?")
    with connect(url) as client:
        if job is not None and is_change:
            client.change_schedule(job, every_seconds=every, paused=pause)
        if job is not None and options["now"]:
            _print_run(_ended(client, client.run_job(job, options["model"]).id), as_json)
            return
        found = client.schedule()
    _print_schedule(found, job, as_json)


def _print_schedule(found: "Schedule", job: str | None, as_json: bool) -> None:
    shown = [one for one in found.jobs if job in (None, one.job)]
    if job is not None and not shown:
        known = ", ".join(one.job for one in found.jobs)
        raise click.UsageError(f"There is no job named {job!r}. There are {known}.")
    if as_json:
        print_json(found if job is None else shown[0])
        return
    head = ("JOB", "EVERY", "PAUSED", "LAST", "SAYS")
    rows = []
    for one in shown:
        often = "when wanted" if one.every_seconds is None else f"{one.every_seconds} s"
        last = None if one.last is None else f"{_at(one.last)}, {one.last.state}"
        rows.append((one.job, often, one.paused, last, one.says))
    print_table(head, rows)
    click.echo(f"They run in {found.holder}." if found.holder else "No process runs them now.")


def _ended(client: Any, id: int) -> "Run":
    """A run once it has ended, with a bar meanwhile."""
    import time

    from app.progress import Progress

    progress = Progress(f"run {id}", "%")
    progress.expect(100)
    done = 0
    try:
        while True:
            run: Run = client.run(id)
            share = round(100 * (run.progress or 0))
            for _ in range(share - done):
                progress.step()
            done = share
            if run.ended_at is not None:
                return run
            time.sleep(0.2)
    finally:
        progress.close()


def _print_run(run: "Run", as_json: bool) -> None:
    if as_json:
        print_json(run)
        return
    print_fields(
        {
            "run": run.id,
            "job": run.job,
            "model": run.model,
            "cause": run.cause,
            "state": _state(run),
            "asked": _at(run),
            "did": run.did or None,
        }
    )


def _state(run: "Run") -> str:
    is_part = run.state == "running" and run.progress is not None
    return f"{run.state}, {run.progress:.0%}" if is_part else run.state


def _at(run: "Run") -> str:
    return text(run.asked_at.isoformat(" ", "seconds").removesuffix("+00:00"))
