"""The group of commands, where every error becomes one readable line and an exit status.

| status | means |
|---|---|
| 0 | done |
| 1 | refused: by the service, or because an input file is at fault |
| 2 | the command or the start was refused: nothing was done |
| 3 | the service cannot be reached, or cannot answer now |
| 130 | interrupted |
"""

import os
from typing import Any

import click

from app.errors import HeadraceError, StartRefused, Unavailable

REFUSED = 1
MISUSED = 2
UNREACHABLE = 3
INTERRUPTED = 130


class Commands(click.Group):
    """Turns what a command raises into a line on the standard error stream and a status."""

    def list_commands(self, _: click.Context) -> list[str]:
        """The commands in the order in which they are met."""
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        if os.environ.get("NO_COLOR"):
            context.color = False
        try:
            return super().invoke(context)
        except StartRefused as error:
            fail(error.message, MISUSED)
        except Unavailable as error:
            fail(error.message, UNREACHABLE)
        except HeadraceError as error:
            say(error.message, "red")
            for problem in error.problems if len(error.problems) > 1 else ():
                click.echo(f"  {problem.place} {problem.reason}", err=True)
            raise click.exceptions.Exit(REFUSED) from None
        except (KeyboardInterrupt, click.Abort):
            raise click.exceptions.Exit(INTERRUPTED) from None


def fail(sentence: str, status: int) -> None:
    """Say why, and end with this status."""
    say(sentence, "red")
    raise click.exceptions.Exit(status)


def say(sentence: str, color: str | None = None) -> None:
    """A message for people, which is no part of what a command prints."""
    click.echo(f"{click.style('headrace:', fg=color, bold=True)} {sentence}", err=True)
