"""``prune``, ``clear`` and ``gc``: dropping what is kept."""

from __future__ import annotations

from typing import Literal

import click

from beautyspot._internal.text import counted, size_text
from beautyspot.cli.confirm import ask, dry_run, yes
from beautyspot.cli.filters import Wanted, duration, filtered
from beautyspot.cli.output import bar
from beautyspot.cli.target import Place, at_index
from beautyspot.maintenance.eviction import EvictionReport
from beautyspot.maintenance.retention import Retention
from beautyspot.protocols.index import Selection


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
    _delete(place, selection, dry_run, yes)


@click.command()
@at_index()
@dry_run
@yes
def clear(place: Place, dry_run: bool, yes: bool) -> None:
    """Drop every result of DB with its blob, and all notes of failures and ended maps."""
    _delete(place, Selection(), dry_run, yes)


def _rules(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> dict[str, str | None]:
    """Rules of a retention as they are written, PATTERN=TIME; ``never`` is no time at all."""
    pairs = [word.rpartition("=") for word in words]
    if not all(pattern and equals for pattern, equals, _ in pairs):
        raise click.BadParameter("a rule is written PATTERN=TIME, as in '*=1y' or 'scrape.*=30d'")
    return {pattern: None if ttl == "never" else ttl for pattern, _, ttl in pairs}


@click.command()
@at_index()
@click.option(
    "--ttl",
    "rules",
    multiple=True,
    metavar="PATTERN=TIME",
    callback=_rules,
    help="Drop results of functions that PATTERN fits once they are so old, and all whose own ttl is over: "
    "'scrape.*=30d', '*=1y', 'models.*=never'. The first that fits holds.",
)
@click.option("--max-bytes", metavar="SIZE", help="Drop the longest unused results above so many bytes: 10GB.")
@click.option("--grace", type=duration, default="1h", show_default=True, help="How old a blob must be.")
@click.option("--compact", is_flag=True, help="Give the space of dropped rows back; writers wait meanwhile.")
@dry_run
@yes
def gc(
    place: Place,
    rules: dict[str, str | None],
    max_bytes: str | None,
    grace: float,
    compact: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove blobs that no result of DB refers to: what killed writers left. With rules, drop results first.

    Blobs of other SQLite indexes beside DB, or beside the blobs, are left alone, and so is what a running call keeps.
    """
    retention = Retention(rules, max_bytes)
    with place.open() as kept, bar("rows") as told:
        found = kept.gc(grace=grace, dry_run=True, retention=retention, progress=told)
    if retention:
        click.echo(_evicted(found.evicted))
    young = f"; {found.young:,} that may be in the making are left" if found.young else ""
    click.echo(f"{counted(found.blobs, 'blob')} without a result, {size_text(found.size)}{young}")
    if dry_run or not (found.blobs or found.evicted.results or compact):
        return
    if found.blobs or found.evicted.results:
        ask(f"Delete {found}?", yes)
    with place.open(to_write=True) as kept, bar("rows") as told:
        deleted = kept.gc(grace=grace, compact=compact, retention=retention, progress=told)
    click.echo(f"deleted {deleted}, {size_text(deleted.size + deleted.evicted.size)}")


def _evicted(evicted: EvictionReport) -> str:
    """What a retention drops, in words, with its bytes."""
    left = f"; {counted(evicted.oversized, 'result')} larger than that left" if evicted.oversized else ""
    return f"{evicted}, {size_text(evicted.size)}{left}"


def _delete(place: Place, selection: Selection, dry_run: bool, yes: bool) -> None:
    with place.open() as kept:
        found = kept.prune(selection, dry_run=True)
    click.echo(f"{found}, {size_text(found.size)}")
    if dry_run or not (found.results or found.failures):
        return
    ask(f"Delete {found}?", yes)
    with place.open(to_write=True) as kept, bar("results looked at") as told:
        deleted = kept.prune(selection, progress=told)
    click.echo(f"deleted {deleted}")
