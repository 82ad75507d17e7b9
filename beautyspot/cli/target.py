"""The target of a command: the index, its blobs and the secret."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import click

from beautyspot.db import SQLiteTaskDB, open_db
from beautyspot.errors import ConfigurationError
from beautyspot.maintenance.garbage import blobs_beside
from beautyspot.maintenance.maintenance import Maintenance
from beautyspot.protocols.index import InDirectory, TaskDB
from beautyspot.protocols.storage import BlobStorage
from beautyspot.storage import open_storage

Command = Callable[..., Any]

_LISTED = 6  # indexes of a directory that an error lists


@dataclass(frozen=True, slots=True)
class Place:
    """An index with its blobs.

    Attributes:
        db: The path or URL of the index.
        storage_path: The place of the blobs; ``None``: ``blobs`` beside an index in a file, else ``./blobs``.
        s3_opts: The options of a storage in S3.
    """

    db: str
    storage_path: str | None = None
    s3_opts: tuple[tuple[str, str], ...] = ()

    @contextmanager
    def open(self, to_write: bool = False) -> Iterator[Maintenance]:
        """Open it; without *to_write*, an SQLite file is opened read-only and nothing is created."""
        db = self.index(must_exist=True)
        if isinstance(db, SQLiteTaskDB) and not to_write:
            db = SQLiteTaskDB(db.path, read_only=True)
        with closing(Maintenance(db, self.storage(db), secret=secret())) as kept:
            db.lookup([bytes(16)])  # a file that is not an index is an error before anything else
            yield kept

    def index(self, must_exist: bool) -> TaskDB:
        """The index; with *must_exist*, a wrong path is an error and not a new index."""
        db = open_db(self.db)
        if must_exist and isinstance(db, SQLiteTaskDB) and not os.path.isfile(db.path):
            raise ConfigurationError(f"there is no index at {db.path}: give the path of a .db file, or a URL")
        if must_exist and isinstance(db, InDirectory) and not os.path.isdir(db.directory):
            raise ConfigurationError(f"there is no index in {db.directory}: that directory does not exist")
        return db

    def storage(self, db: TaskDB) -> BlobStorage:
        """The storage of the blobs of *db*."""
        return open_storage(self.storage_path or blobs_beside(db), dict(self.s3_opts) or None)


def secret() -> str | None:
    """The secret of the project, from the environment."""
    return os.environ.get("BEAUTYSPOT_SECRET") or None


def at_index(*required: str) -> Callable[[Command], Command]:
    """Give a command the `Place` that its arguments and options name, and the *required* words that follow DB."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(words: tuple[str, ...], storage_path: str | None, s3_opt: tuple[str, ...], **rest: Any) -> Any:
            db, given = _split(words, required)
            place = Place(db or only_index(), storage_path, pairs_of(s3_opt))
            return command(place, *given, **rest)

        metavar = " ".join(("[DB]", *required))
        return click.argument("words", nargs=-1, metavar=metavar)(storage_options("", "the project")(run))

    return decorate


def _split(words: tuple[str, ...], required: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """DB, if it is given, and the words that follow it."""
    if len(words) < len(required):
        raise click.UsageError(f"Missing argument '{required[len(words)]}'.")
    if len(words) > len(required) + 1:
        raise click.UsageError(f"Got unexpected extra argument ({' '.join(words[len(required) + 1 :])})")
    at = len(words) - len(required)
    return (words[0] if at else None), words[at:]


def storage_options(prefix: str, whose: str) -> Callable[[Command], Command]:
    """Options for the place of the blobs of an index."""

    def decorate(command: Command) -> Command:
        command = click.option(
            f"--{prefix}s3-opt",
            multiple=True,
            metavar="NAME=VALUE",
            help=f"One of the s3_opts of {whose}; credentials are better found in the environment.",
        )(command)
        return click.option(
            f"--{prefix}storage-path",
            metavar="PLACE",
            help=f"The storage_path of {whose}: a directory or a URL.  [default: 'blobs' beside an index in a file, "
            "else ./blobs]",
        )(command)

    return decorate


def pairs_of(s3_opt: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Options of S3, written NAME=VALUE."""
    pairs = [option.partition("=") for option in s3_opt]
    if not all(name and equals for name, equals, _ in pairs):
        raise click.BadParameter("an option of S3 is written NAME=VALUE, as in endpoint_url=http://127.0.0.1:9000")
    return tuple((name, value) for name, _, value in pairs)


def only_index() -> str:
    """The one index in this directory.

    Raises:
        ConfigurationError: If there is none, or more than one.
    """
    found = sorted(name for name in os.listdir() if name.endswith(".db") and os.path.isfile(name))
    if len(found) == 1:
        return found[0]
    names = ", ".join(found[:_LISTED]) + ", …" * (len(found) > _LISTED)
    problem = f"more than one index is in this directory ({names})" if found else "no .db file is in this directory"
    raise ConfigurationError(f"{problem}: write its path, or a URL, as DB, after the name of the command")
