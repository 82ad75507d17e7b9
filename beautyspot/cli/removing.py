"""``prune``, ``clear`` and ``gc``: dropping what is kept."""

from __future__ import annotations

from typing import Literal

import click

from beautyspot.cli.asking import ask, dry_run, yes
from beautyspot.cli.filters import Wanted, duration, filtered
from beautyspot.cli.output import bar
from beautyspot.cli.places import Place, at_index
from beautyspot.protocols import Selection
from beautyspot.readable import size_text


@click.command()
@at_index()
@filtered("older_than", "function", "version", "text", "larger")
@click.option("--expired", "status", flag_value="expired", help="Whose time to live is over.")
@click.option("--failed", "status", flag_value="failed", help="Notes of calls that failed, and no results.")
@dry_run
@yes
def prune(place: Place, wanted: Wanted, status: Literal["expired", "failed"] | None, dry_run: bool, yes: bool) -> None:
    """Drop results of DB that meet all that is asked for.

    By age and function alone, notes of failures and of ended maps go with them. Killed, the same command goes on.
    """
    if not wanted and status is None:
        raise click.UsageError("Say what to drop: at least one of the options. `beautyspot clear` drops everything.")
    with place.open() as kept:
        selection = wanted.selection(kept)._replace(status=status or "kept")
    _drop(place, selection, dry_run, yes)


@click.command()
@at_index()
@dry_run
@yes
def clear(place: Place, dry_run: bool, yes: bool) -> None:
    """Drop every result of DB with its blob, and all notes of failures and ended maps."""
    _drop(place, Selection(), dry_run, yes)


@click.command()
@at_index()
@click.option("--grace", type=duration, default="1h", show_default=True, help="How old a blob must be.")
@click.option("--compact", is_flag=True, help="Give the space of dropped rows back; writers wait meanwhile.")
@dry_run
@yes
def gc(place: Place, grace: float, compact: bool, dry_run: bool, yes: bool) -> None:
    """Remove blobs that no result of DB refers to: what killed writers left.

    Blobs of other SQLite indexes beside DB, or beside the blobs, are left alone, and so is what a running call keeps.
    """
    with place.open() as kept, bar("blobs") as told:
        found = kept.gc(grace=grace, dry_run=True, progress=told)
    young = f"; {found.young:,} that may be in the making are left" if found.young else ""
    click.echo(f"{found} without a result, {size_text(found.size)}{young}")
    if dry_run or not (found.blobs or compact):
        return
    if found.blobs:
        ask(f"Remove {found}?", yes)
    with place.open(to_write=True) as kept, bar("blobs") as told:
        removed = kept.gc(grace=grace, compact=compact, progress=told)
    click.echo(f"removed {removed}, {size_text(removed.size)}")


def _drop(place: Place, selection: Selection, dry_run: bool, yes: bool) -> None:
    with place.open() as kept:
        found = kept.prune(selection, dry_run=True)
    click.echo(f"{found}, {size_text(found.size)}")
    if dry_run or not (found.results or found.failures):
        return
    ask(f"Drop {found}?", yes)
    with place.open(to_write=True) as kept, bar("results looked at") as told:
        dropped = kept.prune(selection, progress=told)
    click.echo(f"dropped {dropped}")
