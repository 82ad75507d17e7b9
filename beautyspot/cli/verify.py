"""``verify``: whether what is kept is whole."""

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

_TOLD = 20  # faults that are listed


@click.command()
@at_index()
@click.option("--fix", is_flag=True, help="Drop results that are of no use, and orphaned blobs; asks first.")
@yes
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="PLACE", help="Go on behind this place.")
def verify(place: Place, fix: bool, yes: bool, after: int) -> None:
    """Check the index of DB, every result and its blob, and look for blobs that nothing refers to.

    Ends with exit code 1 if something is wrong and was not mended. What is unsigned, or of a type that is not known
    here, is told and never dropped.
    """
    health = _looked(place, after)
    _tell(health)
    if not health:
        repaired = _repaired(place, health, after, yes) if fix else 0
        sys.exit(1 if repaired < health.counts.total() else 0)


def _tell(health: Health) -> None:
    for problem in health.problems[:_TOLD]:
        what = f"{problem.key.hex()[:8]} {problem.function}({problem.input}): " if problem.key is not None else ""
        click.echo(f"{click.style(problem.kind, fg='red')}  {one_line(what + problem.text)}")
    if len(health.problems) > _TOLD:
        click.echo(f"… and {health.counts.total() - _TOLD:,} more")
    click.echo(str(health))


def _looked(place: Place, after: int) -> Health:
    """Look at all; where that is ended, tell what was found and from where to go on."""
    so_far, reached = Health(), after
    try:
        with place.open() as kept, bar("results", kept.catalog.count(Selection()) if not after else None) as told:
            seen = 0

            def progress(health: Health) -> None:
                nonlocal so_far, reached, seen
                told(health.checked - seen)
                so_far, reached, seen = health, health.place, health.checked

            return kept.verify(after=after, progress=progress)
    except (KeyboardInterrupt, BeautyspotError):
        if reached > after:
            _tell(so_far)
            click.echo(f"not all was looked at; to go on: --after {reached}", err=True)
        raise


def _repaired(place: Place, health: Health, after: int, yes: bool) -> int:
    rows = sum(health.counts[kind] for kind in UNRECOVERABLE)
    blobs = health.counts["orphaned"]
    if not rows + blobs:
        click.echo("none of it can be mended by dropping it", err=True)
        return 0
    ask(f"Delete {counted(rows, 'result')}, which would run again in any case, and {counted(blobs, 'blob')}?", yes)
    with place.open(to_write=True) as kept, bar("results") as told:
        if health.counts.total() == len(health.problems):
            repaired = kept.repair(health)
        else:  # more than are told one by one
            repaired = kept.verify(fix=True, after=after, progress=lambda _: told(200)).repaired
    click.echo(f"deleted {repaired:,}")
    return repaired
