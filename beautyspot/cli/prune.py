"""``prune``, ``clear`` and ``gc``: deleting cached results."""

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
@click.option("--expired", "status", flag_value="expired", help="Only expired results.")
@click.option("--failed", "status", flag_value="failed", help="Recorded failures, and no results.")
@dry_run
@yes
def prune(place: Place, wanted: Wanted, status: Literal["expired", "failed"] | None, dry_run: bool, yes: bool) -> None:
    """Delete the results of DB that match all given options.

    By age and function alone, recorded failures and ended maps go with them. If killed, run the same command again.
    """
    if not wanted and status is None:
        raise click.UsageError(
            "Give at least one option that says what to delete. `beautyspot clear` deletes everything."
        )
    with place.open() as kept:
        selection = wanted.selection(kept)._replace(status=status or "kept")
    _delete(place, selection, dry_run, yes)


@click.command()
@at_index()
@dry_run
@yes
def clear(place: Place, dry_run: bool, yes: bool) -> None:
    """Delete every result of DB with its blob, and all recorded failures and ended maps."""
    _delete(place, Selection(), dry_run, yes)


def _rules(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> dict[str, str | None]:
    """The rules of a retention, written PATTERN=TIME; ``never`` stands for no time."""
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
    help="Evict results of functions that match PATTERN and are older than TIME, and all whose own ttl has expired: "
    "'scrape.*=30d', '*=1y', 'models.*=never'. The first match applies.",
)
@click.option("--max-bytes", metavar="SIZE", help="Evict the least recently used results above this size: 10GB.")
@click.option("--grace", type=duration, default="1h", show_default=True, help="The least age of a blob to delete.")
@click.option("--compact", is_flag=True, help="Return the space of deleted rows to the disk; writers wait meanwhile.")
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
    """Delete blobs that no result of DB refers to, which killed writers left. With rules, evict results first.

    Blobs of other SQLite indexes beside DB, or beside the blobs, stay, and so do those of running calls.
    """
    retention = Retention(rules, max_bytes)
    with place.open() as kept, bar("rows") as advance:
        found = kept.gc(grace=grace, dry_run=True, retention=retention, progress=advance)
    if retention:
        click.echo(_evicted(found.evicted))
    young = f"; {found.young:,} younger or in use stay" if found.young else ""
    click.echo(f"{counted(found.blobs, 'blob')} without a result, {size_text(found.size)}{young}")
    if dry_run or not (found.blobs or found.evicted.results or compact):
        return
    if found.blobs or found.evicted.results:
        ask(f"Delete {found}?", yes)
    with place.open(to_write=True) as kept, bar("rows") as advance:
        deleted = kept.gc(grace=grace, compact=compact, retention=retention, progress=advance)
    click.echo(f"deleted {deleted}, {size_text(deleted.size + deleted.evicted.size)}")


def _evicted(evicted: EvictionReport) -> str:
    """What a retention evicts, in words, with its bytes."""
    left = f"; {counted(evicted.oversized, 'result')} larger than that left" if evicted.oversized else ""
    return f"{evicted}, {size_text(evicted.size)}{left}"


def _delete(place: Place, selection: Selection, dry_run: bool, yes: bool) -> None:
    with place.open() as kept:
        found = kept.prune(selection, dry_run=True)
    click.echo(f"{found}, {size_text(found.size)}")
    if dry_run or not (found.results or found.failures):
        return
    ask(f"Delete {found}?", yes)
    with place.open(to_write=True) as kept, bar("results checked") as advance:
        deleted = kept.prune(selection, progress=advance)
    click.echo(f"deleted {deleted}")
