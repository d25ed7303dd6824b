"""The command line. What is heavy to import is imported by the command that needs it."""

import gc
import os
import sys
from importlib.metadata import version

import click

from app import __version__
from app.errors import StartRefused


def _versions(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from app.database import sqlite_version

    click.echo(f"headrace {__version__}")
    click.echo(f"  Python {sys.version.split()[0]}")
    for package in ("river", "numpy", "fastapi", "sqlalchemy"):
        click.echo(f"  {package} {version(package)}")
    click.echo(f"  SQLite {sqlite_version()}")
    context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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
      headrace serve --host 0.0.0.0 --port 80
      HEADRACE_DATABASE_URL=sqlite:////var/lib/headrace.db headrace migrate

    Settings come from HEADRACE_… variables or a .env file; docs/operations.md lists them.
    """


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port to listen on.",
)
def serve(host: str, port: int) -> None:
    """Serve predict, feedback and the rest over HTTP.

    \b
    Examples:
      headrace serve
      headrace serve --port 9000
    """
    gc.disable()
    with _refusals():
        from app.settings import load_settings, unknown_variables
        from app.telemetry import configure_logging

        settings = load_settings()
        configure_logging(settings.log_level)
        _with_hash_seed(_hash_seed())
        for name, nearest in unknown_variables().items():
            hint = f"; did you mean {nearest}?" if nearest else ""
            click.echo(f"headrace: {name} is no setting, and has no effect{hint}", err=True)
        from app.server import run

        run(settings, host, port)


@main.command()
def migrate() -> None:
    """Bring the database to this release's schema; `serve` does it too.

    \b
    Example:
      HEADRACE_DATABASE_URL=sqlite:////var/lib/headrace.db headrace migrate
    """
    with _refusals():
        _hash_seed()
        from app.database import SCHEMA

        click.echo(f"The database has schema {SCHEMA}.")


@main.command()
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
    with _refusals():
        from app.demo import run

        if not run(flights):
            sys.exit(1)


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


class _refusals:
    """Turns a refused start into one readable line and exit status 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, StartRefused):
            click.echo(f"headrace: {error.message}", err=True)
            sys.exit(2)
