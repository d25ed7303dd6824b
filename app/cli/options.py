"""What the commands that talk to a service have in common: where it is, and which model."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from app.cli.group import MISUSED, REFUSED, fail
from app.errors import UnknownModel

if TYPE_CHECKING:
    from app.client import Client

TASKS = ("binary", "multiclass", "regression", "anomaly")

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


@contextmanager
def connect(url: str) -> Iterator["Client"]:
    """A client of the service, in which a model that there is not ends the command.

    Raises `click.UsageError` if the URL is none.
    """
    from app.client import Client

    try:
        client = Client(url.split(",") if "," in url else url, retries=5)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with client:
        try:
            yield client
        except UnknownModel:
            asked = str(click.get_current_context().params.get("model"))
            fail(_unknown(asked, [model.name for model in client.models()]), REFUSED)


def _unknown(asked: str, names: list[str]) -> str:
    """What to say of a model that there is not."""
    from app.tabular import nearest

    if not names:
        return f"There is no model named {asked!r}, nor any other. See headrace create --help."
    hint = nearest(asked, names)
    return f"There is no model named {asked!r}; {hint} headrace models lists them."


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
