"""``export`` and ``import``: results to a table, and from another index."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import Any

import click

from beautyspot._internal.text import counted, one_line
from beautyspot.cli.filters import Wanted, filtered
from beautyspot.cli.import_cache import import_directory
from beautyspot.cli.output import bar
from beautyspot.cli.target import Place, at_index, pairs_of, secret, storage_options
from beautyspot.maintenance.export import FORMATS, Format, table_format
from beautyspot.maintenance.transfer import TransferEndpoint, TransferReport, move
from beautyspot.protocols.index import InDirectory


@click.command()
@at_index("FILE")
@filtered("function", "version", "older_than", "newer_than", "larger", "smaller", "text")
@click.option("--format", "form", type=click.Choice(FORMATS), help="The format.  [default: by the suffix of FILE]")
@click.option("--no-values", is_flag=True, help="Without the values of the results.")
def export(place: Place, file: str, wanted: Wanted, form: Format | None, no_values: bool) -> None:
    """Write the results of DB to FILE, as a table for other programs.

    FILE ends with .jsonl, .csv or .parquet, or --format is given; '-' is the output. To move results with their blobs,
    `beautyspot import` them into an index on a disk, and from there into another one.
    """
    form = form or table_format(file)
    if form is None:
        raise click.UsageError(
            "A table is asked for: FILE ends with .jsonl, .csv or .parquet, or give --format. To move results with "
            "their blobs: beautyspot import FILE.db DB"
        )
    with place.open() as kept:
        selection = wanted.selection(kept)
        if file == "-":
            count = kept.export(sys.stdout.buffer, selection, form=form, values=not no_values)
        else:
            with bar("results", kept.catalog.count(selection)) as advance:
                count = kept.export(file, selection, form=form, values=not no_values, progress=advance)
    click.echo(f"{counted(count, 'result')} written", err=file == "-")


@click.command(name="import")
@at_index("SOURCE")
@storage_options("from-", "SOURCE, if that is an index")
@click.option("--task", metavar="MODULE:TASK", help="The task that gets the results, if SOURCE is of another library.")
@click.option("--name", metavar="NAME", help="The function's name in SOURCE.  [default: that of the task's function]")
@click.option("--allow-pickle", is_flag=True, help="Read the pickles in SOURCE, and so run any code that is in them.")
def import_(
    place: Place,
    source: str,
    from_storage_path: str | None,
    from_s3_opt: tuple[str, ...],
    **others: Any,
) -> None:
    """Import into DB all results, with their blobs, of SOURCE, another index.

    Every result is checked. Those that DB already has stay as they are, so if the command is stopped or killed, the
    same command continues.

    SOURCE may also be the directory of a diskcache or of a joblib.Memory. What it has of the function of --task becomes
    results of that task, whose project stores them in DB. Its entries are pickles, and reading a pickle runs any code
    that is in it: give --allow-pickle only for a directory that nobody else could write to.
    """
    if os.path.isdir(source):
        if place.storage_path or place.s3_opts or from_storage_path or from_s3_opt:
            raise click.UsageError("The project of --task says where the blobs are: leave out the options for that.")
        return import_directory(place, source, **others)
    if any(others.values()):
        raise click.UsageError(
            "--task, --name and --allow-pickle are for a directory of diskcache or joblib as SOURCE."
        )
    index = place.index(must_exist=False)
    target = TransferEndpoint(index, place.storage(index))
    origin = Place(source, from_storage_path, pairs_of(from_s3_opt))
    with closing(target.db), closing(target.storage), origin.open() as kept:
        endpoint = TransferEndpoint(kept.db, kept.storage)
        _check_apart(target, endpoint)
        with bar("results") as advance:
            moved = move(endpoint, target, secret(), advance)
        return _print(moved)


def _check_apart(target: TransferEndpoint, source: TransferEndpoint) -> None:
    """Refuse to put the blobs of two indexes into one directory if `gc` of the one cannot find the other."""
    both = (target.storage, source.storage)
    places = {os.path.realpath(storage.directory) for storage in both if isinstance(storage, InDirectory)}
    beside = all(isinstance(endpoint.db, InDirectory) for endpoint in (target, source))
    if len(places) == 1 and all(isinstance(storage, InDirectory) for storage in both) and not beside:
        raise click.UsageError(
            f"Both indexes would have their blobs in {places.pop()}, and `gc` of one would take those of the other for "
            "garbage: give DB another place with --storage-path."
        )


def _print(moved: TransferReport) -> None:
    """Print what became of the results; exit with 1 if some were left out."""
    click.echo(str(moved))
    for problem in moved.problems:
        click.echo(f"  {one_line(problem)}", err=True)
    if moved.left_out:
        sys.exit(1)
