"""The command line. What is heavy to import is imported by the command that needs it."""

import gc
import os
import socket
import sys
from importlib.metadata import version

import click

from app import __version__
from app.cli.calls import feedback, predict
from app.cli.create import create
from app.cli.group import REFUSED, Commands
from app.cli.jobs import cancel_run, list_runs, schedule, show_run
from app.cli.load import load
from app.cli.models import delete, learners, log, metrics, models, show
from app.cli.versions import freeze, rollback, swap, unfreeze, versions


def _versions(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from app.backends import sqlite_version

    click.echo(f"headrace {__version__}")
    click.echo(f"  Python {sys.version.split()[0]}")
    for package in ("river", "numpy", "fastapi", "sqlalchemy"):
        click.echo(f"  {package} {version(package)}")
    click.echo(f"  SQLite {sqlite_version()}")
    context.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_versions,
    help="Show the versions of Headrace and of what it stands on.",
)
def main() -> None:
    """Online learning, served: models that learn from feedback over a durable log.

    \b
    Examples:
      headrace serve
      headrace create wine --from wine.csv --label quality
      headrace load wine wine.csv --label quality
      headrace predict wine acidity=0.7 color=red
      headrace metrics wine

    All but serve, jobs, migrate and demo talk to the service at --url, or HEADRACE_URL. Settings
    come from HEADRACE_… variables or a .env file; docs/operations.md lists them.
    """


@main.command(short_help="Serve models over HTTP.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port to listen on.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 256),
    help="How many processes serve; all hold all models.",
)
@click.option("--no-jobs", is_flag=True, help="Run no jobs: another process does, or nobody.")
@click.option("--socket", "descriptor", type=int, hidden=True, help="Serve on this open socket.")
@click.option("--ready", type=int, hidden=True, help="Say in this open pipe when it serves.")
def serve(
    host: str, port: int, workers: int, no_jobs: bool, descriptor: int | None, ready: int | None
) -> None:
    """Serve predict, feedback and the rest over HTTP, with the jobs in a process beside.

    \b
    Examples:
      headrace serve
      headrace serve --port 9000
      headrace serve --workers 4
      headrace serve --no-jobs
    """
    gc.disable()
    if no_jobs:
        os.environ["HEADRACE_JOBS"] = "none"
    from app.settings import load_settings, unknown_variables
    from app.telemetry import configure_logging

    settings = load_settings()
    configure_logging(settings.log_level)
    _with_hash_seed(_hash_seed())
    for name, nearest in unknown_variables().items():
        hint = f"; did you mean {nearest}?" if nearest else ""
        click.echo(f"headrace: {name} is no setting, and has no effect{hint}", err=True)
    from app.listening import listen

    if workers > 1:
        from app.supervisor import Supervisor

        Supervisor(settings, listen(host, port), workers).run()
        return
    listening = listen(host, port) if descriptor is None else socket.socket(fileno=descriptor)
    from app.server import run

    run(settings, listening, ready)


@main.group(short_help="Run the jobs, and no server; or see them.", invoke_without_command=True)
@click.option("--beside", is_flag=True, hidden=True, help="End with the standard input.")
@click.pass_context
def jobs(context: click.Context, beside: bool) -> None:
    """Run the jobs: snapshots, default labels, clean-up. One process does, others stand by.

    `headrace serve` does it too. The commands below see to the jobs of a service instead.

    \b
    Examples:
      HEADRACE_DATABASE_URL=sqlite:////var/lib/headrace.db headrace jobs
      headrace jobs list
      headrace jobs show 12 --wait
    """
    if context.invoked_subcommand is not None:
        return
    from app.settings import load_settings
    from app.telemetry import configure_logging

    settings = load_settings()
    configure_logging(settings.log_level)
    _with_hash_seed(_hash_seed())
    from app.jobs.process import run

    run(settings, beside)


@main.command(short_help="Bring the database to this schema.")
def migrate() -> None:
    """Bring the database to this release's schema; `serve` does it too.

    \b
    Example:
      HEADRACE_DATABASE_URL=sqlite:////var/lib/headrace.db headrace migrate
    """
    _hash_seed()
    from app.database import SCHEMA

    click.echo(f"The database has schema {SCHEMA}.")


@main.command(short_help="Drive a service with real streams.")
@click.option(
    "--flights",
    type=click.IntRange(min=1),
    help="How many of the 336,776 flights; all of them if left out.",
)
def demo(flights: int | None) -> None:
    """Drive a service over HTTP with real streams, beside the bare River loop.

    Needs the extra: pip install 'headrace[demo]'. Exit status 1 if anything differs.

    \b
    Examples:
      headrace demo
      headrace demo --flights 20000
    """
    from app.demo import run

    if not run(flights):
        sys.exit(REFUSED)


@main.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which a shell completes commands, options and the names of models.

    \b
    Examples:
      eval "$(headrace completion bash)"      in ~/.bashrc
      eval "$(headrace completion zsh)"       in ~/.zshrc
      headrace completion fish | source       in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is not None:
        click.echo(made(main, {}, "headrace", "_HEADRACE_COMPLETE").source())


for command in (create, models, show, predict, feedback, load, log, metrics, learners, delete):
    main.add_command(command)
for command in (versions, rollback, swap, freeze, unfreeze, schedule):
    main.add_command(command)
for command in (list_runs, show_run, cancel_run):
    jobs.add_command(command)


def _hash_seed() -> int:
    """Open the database, which migrates it, and read the installation's hash seed."""
    from app.database import Database
    from app.settings import load_settings

    database = Database(load_settings())
    try:
        return database.hash_seed
    finally:
        database.close()


def _with_hash_seed(seed: int) -> None:
    """Start this process anew with the installation's hash seed, if it has another one."""
    if os.environ.get("PYTHONHASHSEED") != str(seed):
        os.environ["PYTHONHASHSEED"] = str(seed)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, "-m", "app", *sys.argv[1:]])
