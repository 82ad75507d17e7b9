"""``rename``: results that are kept under one name of a function get another."""

from __future__ import annotations

import click

from beautyspot._internal.text import counted
from beautyspot.cli.output import bar
from beautyspot.cli.target import Place, at_index


@click.command()
@at_index("OLD", "NEW")
@click.option(
    "--merge",
    is_flag=True,
    help="NEW may have results already: an earlier rename was interrupted, or both are one function. Where both have a "
    "call, that of NEW stays.",
)
def rename(place: Place, old: str, new: str, merge: bool) -> None:
    """Give the results of the function OLD in DB to the function NEW, so that nothing runs again.

    A function is called module.qualname, or by its name=. To rename or move a function: write name=NEW at its task,
    and rename its results once. If killed, run the same command with --merge.
    """
    with place.open(to_write=True) as kept, bar("results") as advance:
        count = kept.rename(old, new, merge=merge, progress=advance)
    click.echo(f"{counted(count, 'result')} of {old} {'is' if count == 1 else 'are'} now of {new}")
