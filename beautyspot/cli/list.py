"""``list``, ``stats`` and ``failures``: tables of records."""

from __future__ import annotations

from collections.abc import Iterator

import click

from beautyspot._internal.text import counted, printable, seconds_text, size_text, time_text
from beautyspot.cli.filters import Wanted, filtered
from beautyspot.cli.output import Column, as_json, print_json, print_table, tail_of
from beautyspot.cli.target import Place, at_index
from beautyspot.db.scanning import ScanningCatalog
from beautyspot.maintenance.export import as_dict
from beautyspot.maintenance.maintenance import Maintenance
from beautyspot.protocols.index import Failure, FunctionSummary, Order, Selection, Summary

_LIMIT = 50  # rows that are listed by default
_PAGE = 1000
_KEY = 8  # digits of a key that are listed: enough to be told apart among a hundred thousand

_limit = click.option("--limit", type=click.IntRange(min=1), help="The most rows.  [default: 50; all with --json]")


@click.command(name="list")
@at_index()
@filtered("function", "version", "status", "older_than", "newer_than", "larger", "smaller", "text")
@click.option(
    "--order",
    type=click.Choice(["created", "size", "seconds"]),
    default="created",
    show_default=True,
    help="The order.",
)
@click.option("--ascending", is_flag=True, help="The oldest, smallest or quickest first.")
@_limit
@as_json
def list_(place: Place, wanted: Wanted, order: Order, ascending: bool, limit: int | None, as_json: bool) -> None:
    """List the cached results of DB, newest first.

    `beautyspot show` takes the key in the first column.
    """
    with place.open() as kept:
        selection = wanted.selection(kept)
        if as_json:
            for row in _rows(kept, selection, order, ascending, limit):
                print_json(as_dict(row))
            return
        rows = list(_rows(kept, selection, order, ascending, limit or _LIMIT))
        count = kept.catalog.count(selection)
    if selection.status == "failed":
        _print_failures([row for row in rows if isinstance(row, Failure)])
    else:
        _print_results([row for row in rows if isinstance(row, Summary)])
    _print_count(len(rows), count, "failure" if selection.status == "failed" else "result")


@click.command()
@at_index()
@filtered("function", "text")
@click.option("--traceback", is_flag=True, help="With tracebacks; a single failure is shown with its own in any case.")
@_limit
@as_json
def failures(place: Place, wanted: Wanted, traceback: bool, limit: int | None, as_json: bool) -> None:
    """List calls of DB that failed and have not succeeded since, newest first."""
    with place.open() as kept:
        selection = wanted.selection(kept)._replace(status="failed")
        if as_json:
            for row in _rows(kept, selection, "created", False, limit):
                print_json(as_dict(row))
            return
        found = _rows(kept, selection, "created", False, limit or _LIMIT)
        rows = [row for row in found if isinstance(row, Failure)]
        count = kept.catalog.count(selection)
    if traceback or len(rows) == 1:
        for failure in rows:
            print_failure(failure)
    else:
        _print_failures(rows)
    _print_count(len(rows), count, "failure")


@click.command()
@at_index()
@as_json
def stats(place: Place, as_json: bool) -> None:
    """Sum up the results of each version of each function of DB.

    "saved" is how long the results took to compute, which is what hits save.
    """
    with place.open() as kept:
        rows = kept.catalog.functions()
    if as_json:
        for row in rows:
            print_json(row._asdict())
        return
    columns = ("function", "version", "results", "size", "saved", "failures", "latest")
    shown = [Column(name, name not in columns[:2], name == "function") for name in columns]
    total = FunctionSummary(
        "total",
        "",
        sum(row.results for row in rows),
        sum(row.size for row in rows),
        sum(row.seconds for row in rows),
        sum(row.failures for row in rows),
        max((row.latest for row in rows), default=0),
    )
    print_table(shown, map(_summed_up, rows), _summed_up(total) if rows else None)
    if not rows:
        click.echo("there are no results", err=True)


def print_failure(failure: Failure) -> None:
    """Print a failure with its traceback."""
    click.secho(f"{failure.key.hex()[:_KEY]}  {time_text(failure.created)}  {failure.function}", bold=True)
    click.echo(printable(f"({failure.input})"))
    click.echo(printable(failure.traceback.rstrip()) + "\n")


def _rows(
    kept: Maintenance, selection: Selection, order: Order, ascending: bool, limit: int | None
) -> Iterator[Summary | Failure]:
    """Rows of a selection, in bounded memory if all of them are wanted."""
    if limit is None and order == "created" and not ascending:
        yield from ScanningCatalog(kept.db).rows(selection)
        return
    start = 0
    while limit is None or start < limit:
        count = _PAGE if limit is None else min(_PAGE, limit - start)
        page = kept.catalog.select(selection, order, not ascending, start, count)
        yield from page
        start += len(page)
        if len(page) < count:
            return


def _print_results(rows: list[Summary]) -> None:
    columns = [
        Column("key"),
        Column("when"),
        Column("function"),
        Column("input", gives=True),
        Column("size", right=True),
        Column("took", right=True),
    ]
    print_table(columns, ([*_cells(row), size_text(row.size), seconds_text(row.seconds)] for row in rows))


def _print_failures(rows: list[Failure]) -> None:
    columns = [
        Column("key"),
        Column("when"),
        Column("function"),
        Column("input", gives=True),
        Column("error", gives=True),
    ]
    print_table(columns, ([*_cells(row), f"{row.error.removeprefix('builtins.')}: {row.message}"] for row in rows))


def _cells(row: Summary | Failure) -> list[str]:
    return [row.key.hex()[:_KEY], time_text(row.created), tail_of(row.function), row.input]


def _summed_up(row: FunctionSummary) -> list[str]:
    name = tail_of(row.function)
    sums = [f"{row.results:,}", size_text(row.size), seconds_text(row.seconds), f"{row.failures:,}"]
    return [name, row.version, *sums, time_text(row.latest)]


def _print_count(shown: int, count: int, what: str) -> None:
    cut = shown < count
    click.echo(f"{shown:,} of " * cut + counted(count, what) + f"; --limit {count} lists all" * cut, err=True)
