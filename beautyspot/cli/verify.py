"""``verify``: checks cached results."""

from __future__ import annotations

import sys

import click

from beautyspot._internal.text import counted, one_line
from beautyspot.cli.confirm import ask, yes
from beautyspot.cli.output import bar
from beautyspot.cli.target import Place, at_index
from beautyspot.errors import BeautyspotError
from beautyspot.maintenance.verification import UNRECOVERABLE, Health
from beautyspot.protocols.index import Selection

_LISTED = 20  # problems that are listed


@click.command()
@at_index()
@click.option("--fix", is_flag=True, help="Delete unusable results and orphaned blobs; asks first.")
@yes
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="PLACE", help="Continue after this place.")
def verify(place: Place, fix: bool, yes: bool, after: int) -> None:
    """Check the index of DB, every result and its blob, and find blobs that no result refers to.

    Ends with exit code 1 if there are problems that were not repaired. Unsigned results, and those of types that are
    not known here, are reported and never deleted.
    """
    health = _check(place, after)
    _print(health)
    if not health:
        repaired = _repaired(place, health, after, yes) if fix else 0
        sys.exit(1 if repaired < health.counts.total() else 0)


def _print(health: Health) -> None:
    for problem in health.problems[:_LISTED]:
        what = f"{problem.key.hex()[:8]} {problem.function}({problem.input}): " if problem.key is not None else ""
        click.echo(f"{click.style(problem.kind, fg='red')}  {one_line(what + problem.text)}")
    if len(health.problems) > _LISTED:
        click.echo(f"… and {health.counts.total() - _LISTED:,} more")
    click.echo(str(health))


def _check(place: Place, after: int) -> Health:
    """Check everything; if that is interrupted, print what was found and where to continue."""
    so_far, reached, checked = Health(), after, 0
    try:
        with place.open() as kept, bar("results", kept.catalog.count(Selection()) if not after else None) as advance:

            def progress(health: Health) -> None:
                nonlocal so_far, reached, checked
                advance(health.checked - checked)
                so_far, reached, checked = health, health.place, health.checked

            return kept.verify(after=after, progress=progress)
    except (KeyboardInterrupt, BeautyspotError):
        if reached > after:
            _print(so_far)
            click.echo(f"not everything was checked; to continue: --after {reached}", err=True)
        raise


def _repaired(place: Place, health: Health, after: int, yes: bool) -> int:
    rows = sum(health.counts[kind] for kind in UNRECOVERABLE)
    blobs = health.counts["orphaned"]
    if not rows + blobs:
        click.echo("none of it can be repaired by deleting it", err=True)
        return 0
    ask(f"Delete {counted(rows, 'result')}, which would run again in any case, and {counted(blobs, 'blob')}?", yes)
    with place.open(to_write=True) as kept, bar("results") as advance:
        if health.counts.total() == len(health.problems):
            repaired = kept.repair(health)
        else:  # more than are listed one by one
            repaired = kept.verify(fix=True, after=after, progress=lambda _: advance(200)).repaired
    click.echo(f"deleted {repaired:,}")
    return repaired
