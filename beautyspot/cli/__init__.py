"""The command line: one module a command, loaded when it is asked for.

`list`, `show`, `verify`, `rename`, `prune`, `transfer`, `import_cache` and `ui` are the commands. `target` opens what
DB names, `filters` has the options that select results, `confirm` asks before anything is deleted, `output` prints.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from beautyspot._internal.text import one_line
from beautyspot.errors import BeautyspotError

COMMANDS = {
    "ui": ("beautyspot.cli.ui:ui", "Open the results app."),
    "list": ("beautyspot.cli.list:list_", "List cached results, newest first."),
    "show": ("beautyspot.cli.show:show", "Show one result: its input and its value."),
    "stats": ("beautyspot.cli.list:stats", "Sum up the results of each function."),
    "failures": ("beautyspot.cli.list:failures", "List calls that failed, with tracebacks."),
    "explain": ("beautyspot.cli.show:explain", "Say which other call is nearest to a result."),
    "verify": ("beautyspot.cli.verify:verify", "Check the index, every result and its blob."),
    "rename": ("beautyspot.cli.rename:rename", "Give the results of a function another name."),
    "prune": ("beautyspot.cli.prune:prune", "Delete results by age, function, size or input."),
    "clear": ("beautyspot.cli.prune:clear", "Delete everything in the cache."),
    "gc": ("beautyspot.cli.prune:gc", "Delete blobs that no result refers to."),
    "export": ("beautyspot.cli.transfer:export", "Write results to a table."),
    "import": ("beautyspot.cli.transfer:import_", "Import results of another index."),
}


class _Commands(click.Group):
    """Commands that load when they are called, and whose errors are one line without a traceback."""

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
        except BrokenPipeError:  # the reader of our output has closed it; click ends quietly then
            raise
        except (BeautyspotError, OSError) as error:
            raise click.ClickException(one_line(str(error))) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="beautyspot")
def main() -> None:
    """See, check, delete and move the results that beautyspot has cached.

    DB is a path (my.db) or a URL (postgresql://...); by default the one .db file here.
    """
