"""``export`` and ``import``: results to a table, and from another index."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import Any

import click

from beautyspot._internal.text import counted, one_line
from beautyspot.cli.filters import Wanted, filtered
from beautyspot.cli.import_cache import take_over_directory
from beautyspot.cli.output import bar
from beautyspot.cli.target import Place, at_index, pairs_of, secret, storage_options
from beautyspot.maintenance.export import FORMATS, Format, table_format
from beautyspot.maintenance.transfer import TransferEndpoint, TransferReport, move
from beautyspot.protocols.index import InDirectory


@click.command()
@at_index("FILE")
@filtered("function", "version", "older_than", "newer_than", "larger", "smaller", "text")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Of a table.  [default: as FILE's name says]")
@click.option("--no-values", is_flag=True, help="What is known of the results, without their values.")
def export(place: Place, file: str, wanted: Wanted, form: Format | None, no_values: bool) -> None:
    """Write the results of DB to FILE, as a table for other programs.

    FILE ends with .jsonl, .csv or .parquet, or --format says what it becomes; '-' is the output. To carry results with
    their blobs elsewhere, `beautyspot import` them into an index on a disk, and from there into another one.
    """
    form = form or table_format(file)
    if form is None:
        raise click.UsageError(
            "A table is asked for: FILE ends with .jsonl, .csv or .parquet, or say --format. To carry results with "
            "their blobs: beautyspot import FILE.db DB"
        )
    with place.open() as kept:
        selection = wanted.selection(kept)
        if file == "-":
            count = kept.export(sys.stdout.buffer, selection, form=form, values=not no_values)
        else:
            with bar("results", kept.catalog.count(selection)) as told:
                count = kept.export(file, selection, form=form, values=not no_values, progress=told)
    click.echo(f"{counted(count, 'result')} written", err=file == "-")


@click.command(name="import")
@at_index("SOURCE")
@storage_options("from-", "SOURCE, if that is an index")
@click.option("--task", metavar="MODULE:TASK", help="Of SOURCE, a directory of another library: whose results to take.")
@click.option("--name", metavar="NAME", help="Under which SOURCE has them.  [default: that of the task's function]")
@click.option("--allow-pickle", is_flag=True, help="Read the pickles in SOURCE, and so run any code that is in them.")
def import_(
    place: Place,
    source: str,
    from_storage_path: str | None,
    from_s3_opt: tuple[str, ...],
    **others: Any,
) -> None:
    """Take over into DB all results, with their blobs, of SOURCE, another index.

    Every result is checked as it arrives. What DB has already stays as it is, so stopped or killed, the same
    command goes on where it was.

    SOURCE may also be the directory of a diskcache or of a joblib.Memory. What was kept there of the function of
    --task becomes results of that task, whose project keeps them in DB. Its entries are pickles, and reading a pickle
    runs any code that is in it: say --allow-pickle only for a directory that nobody else could write to.
    """
    if os.path.isdir(source):
        if place.storage_path or place.s3_opts or from_storage_path or from_s3_opt:
            raise click.UsageError("Where blobs lie is said by the project of --task, and not by options.")
        return take_over_directory(place, source, **others)
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
        with bar("results") as told:
            moved = move(endpoint, target, secret(), told)
        return _tell(moved)


def _check_apart(target: TransferEndpoint, source: TransferEndpoint) -> None:
    """Refuse to put the blobs of two indexes into one directory, where `gc` of the one cannot ask the other."""
    both = (target.storage, source.storage)
    places = {os.path.realpath(storage.directory) for storage in both if isinstance(storage, InDirectory)}
    beside = all(isinstance(endpoint.db, InDirectory) for endpoint in (target, source))
    if len(places) == 1 and all(isinstance(storage, InDirectory) for storage in both) and not beside:
        raise click.UsageError(
            f"Both indexes would keep their blobs in {places.pop()}, and `gc` of one would take those of the other for "
            "garbage: give DB another place with --storage-path."
        )


def _tell(moved: TransferReport) -> None:
    """Say what became of the results; exit status 1 where some were left out."""
    click.echo(str(moved))
    for problem in moved.problems:
        click.echo(f"  {one_line(problem)}", err=True)
    if moved.left_out:
        sys.exit(1)
