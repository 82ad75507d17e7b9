"""The command line: `main`, and where each command lives; a command loads when it is called for.

`places` finds the index and opens it, `filters` says which rows are wanted, `output` prints, `asking` stands before
whatever is dropped. The commands are in `looking`, `showing`, `checking`, `removing`, `moves` and `ui`.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from beautyspot.errors import BeautyspotError
from beautyspot.readable import one_line

COMMANDS = {
    "ui": ("beautyspot.cli.ui:ui", "Open the results app."),
    "list": ("beautyspot.cli.looking:list_", "List what is kept, newest first."),
    "show": ("beautyspot.cli.showing:show", "Show one result: its input and its value."),
    "stats": ("beautyspot.cli.looking:stats", "Sum up what is kept of each function."),
    "failures": ("beautyspot.cli.looking:failures", "List calls that failed, with tracebacks."),
    "explain": ("beautyspot.cli.showing:explain", "Say which other call is nearest to a result."),
    "verify": ("beautyspot.cli.checking:verify", "Check the index, every result and its blob."),
    "prune": ("beautyspot.cli.removing:prune", "Drop results by age, function, size or input."),
    "clear": ("beautyspot.cli.removing:clear", "Drop everything that is kept."),
    "gc": ("beautyspot.cli.removing:gc", "Remove blobs that no result refers to."),
    "export": ("beautyspot.cli.moves:export", "Write results to a table."),
    "import": ("beautyspot.cli.moves:import_", "Take over results of another index."),
}


class _Commands(click.Group):
    """Commands that load when they are called, and whose errors are one line and no traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # who reads our output has seen enough; click ends quietly then
            raise
        except (BeautyspotError, OSError) as error:
            raise click.ClickException(one_line(str(error))) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="beautyspot")
def main() -> None:
    """See, check, drop and move what beautyspot kept.

    DB is a path (my.db) or a URL (postgresql://user@host/name); without it, the one .db file in this directory.
    """
