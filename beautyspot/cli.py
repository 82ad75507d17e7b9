"""The command line: ``beautyspot export`` and ``beautyspot import``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import click

from beautyspot.archive import Archive, is_archive
from beautyspot.db import open_db
from beautyspot.errors import BeautyspotError
from beautyspot.moving import Moved, Shelf, Sink, Source, move
from beautyspot.storage import open_storage

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class _Commands(click.Group):
    """Commands whose errors, where they are ours, are one line and no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BeautyspotError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="beautyspot")
def main() -> None:
    """See and move what beautyspot kept.

    An index is a path (my.db) or a URL (postgresql://user@host/name). Results signed with a secret are checked with
    the one in the environment variable BEAUTYSPOT_SECRET.
    """


def _places(prefix: str, whose: str) -> Callable[[Any], Any]:
    """Options that say where the blobs of an index lie."""

    def decorate(command: Any) -> Any:
        command = click.option(
            f"--{prefix}s3-opt",
            multiple=True,
            metavar="NAME=VALUE",
            help=f"One of the s3_opts of {whose}; credentials are better found in the environment.",
        )(command)
        return click.option(
            f"--{prefix}storage-path",
            default="./blobs",
            show_default=True,
            metavar="PLACE",
            help=f"The storage_path of {whose}: a directory or a URL.",
        )(command)

    return decorate


@main.command(name="export", short_help="Write results with their blobs to one file.")
@click.argument("db")
@click.argument("archive", type=click.Path(dir_okay=False))
@_places("", "DB")
def export_(db: str, archive: str, storage_path: str, s3_opt: tuple[str, ...]) -> None:
    """Write all results of DB, with their blobs, to the file ARCHIVE.

    Stopped or killed, the same command goes on where it was.
    """
    shelf, file = _existing(db, storage_path, s3_opt), Archive(archive)
    with closing(shelf.db), closing(shelf.storage), closing(file):
        _tell(_moved(shelf, file))


@main.command(name="import", short_help="Take over the results of a file or of another index.")
@click.argument("db")
@click.argument("source")
@_places("", "DB")
@_places("from-", "SOURCE, if that is an index")
def import_(
    db: str,
    source: str,
    storage_path: str,
    s3_opt: tuple[str, ...],
    from_storage_path: str,
    from_s3_opt: tuple[str, ...],
) -> None:
    """Take over into DB all results, with their blobs, of SOURCE: an archive, or another index.

    Every result is checked as it arrives. What DB has already stays as it is, so stopped or killed, the same
    command goes on where it was.
    """
    target = Shelf(open_db(db), _storage(storage_path, s3_opt))
    with closing(target.db), closing(target.storage):
        if is_archive(source):
            _tell(_moved(Archive(source), target))
            return
        shelf = _existing(source, from_storage_path, from_s3_opt)
        with closing(shelf.db), closing(shelf.storage):
            _tell(_moved(shelf, target))


def _existing(db: str, storage_path: str, s3_opt: tuple[str, ...]) -> Shelf:
    """An index that is there; a path that is wrong must not become a new one."""
    if not _URL.match(db) and not os.path.isfile(db):
        raise click.ClickException(f"there is no index at {db}: give the path of a .db file, or a URL")
    return Shelf(open_db(db), _storage(storage_path, s3_opt))


def _storage(path: str, s3_opt: tuple[str, ...]) -> Any:
    pairs = [option.partition("=") for option in s3_opt]
    if not all(name and equals for name, equals, _ in pairs):
        raise click.BadParameter("an option of S3 is written NAME=VALUE, as in endpoint_url=http://127.0.0.1:9000")
    return open_storage(path, {name: value for name, _, value in pairs} or None)


def _moved(source: Source, sink: Sink) -> Moved:
    """Move, with a bar where someone looks."""
    from tqdm import tqdm

    with tqdm(unit=" results", disable=None, file=sys.stderr, leave=False) as bar:
        return move(source, sink, os.environ.get("BEAUTYSPOT_SECRET") or None, bar.update)


def _tell(moved: Moved) -> None:
    """Say what became of the results; exit status 1 where some were left out."""
    click.echo(str(moved))
    for problem in moved.problems:
        click.echo(f"  {problem}", err=True)
    if moved.left_out:
        sys.exit(1)


if __name__ == "__main__":
    main()
