"""What the commands that talk to a service have in common: where it is, and which model."""

import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from app.cli.group import MISUSED, fail

if TYPE_CHECKING:
    from app.client import Client

URL = "http://127.0.0.1:8000"
URL_VARIABLE = "HEADRACE_URL"

url_option = click.option(
    "--url",
    default=URL,
    envvar=URL_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="Where the service is.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def connect(url: str, retries: int = 5) -> "Client":
    """A client of the service. Raises `click.UsageError` if the URL is none."""
    from app.client import Client

    try:
        return Client(url.split(",") if "," in url else url, retries=retries)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def confirm(question: str, is_sure: bool) -> None:
    """Ask, unless it was said beforehand; without a terminal nobody can be asked."""
    if is_sure:
        return
    if not sys.stdin.isatty():
        fail(f"{question} There is no terminal to ask at: add --yes to do it.", MISUSED)
    if not click.confirm(question):
        fail("Nothing was done.", MISUSED)


def _models(context: click.Context, _parameter: click.Parameter, begun: str) -> list[Any]:
    """The models that the word begun may become; none if the service does not say so at once."""
    from app.client import Client
    from app.errors import HeadraceError

    try:
        with Client(context.params.get("url") or URL, timeout=1.0, retries=0) as client:
            names = [(model.name, model.task) for model in client.models()]
    except (HeadraceError, ValueError):
        return []
    return [CompletionItem(name, help=task) for name, task in names if name.startswith(begun)]


model_argument = click.argument("model", shell_complete=_models)
