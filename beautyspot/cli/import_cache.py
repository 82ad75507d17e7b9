"""``import`` of what another library kept in a directory."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from beautyspot._internal.text import one_line
from beautyspot.cli.output import bar
from beautyspot.cli.target import Place
from beautyspot.db import SQLiteTaskDB
from beautyspot.errors import ConfigurationError
from beautyspot.maintenance.import_cache import PICKLES, ImportReport, import_cache
from beautyspot.protocols.index import TaskDB
from beautyspot.tasks import AsyncTask, Task

_NAMED = 10  # functions that a note names


def take_over_directory(place: Place, source: str, task: str | None, name: str | None, allow_pickle: bool) -> None:
    """Take over what a directory has of the function of a task."""
    if not allow_pickle:
        raise click.UsageError(
            f"{source} is a directory of another library: {PICKLES}: --allow-pickle. Nothing was read."
        )
    if task is None:
        raise click.UsageError("Say which task's results these are to become: --task mypackage.jobs:embed")
    found = _task_of(task)
    _check_index(place, found)
    with found.project, bar("entries") as told:
        taken = import_cache(source, found, allow_pickle=True, name=name, progress=told)
    _tell(taken)


def _task_of(words: str) -> Task[..., Any] | AsyncTask[..., Any]:
    """The task of ``module:name``, looked for in this directory too.

    Raises:
        ConfigurationError: If there is none.
    """
    module, colon, path = words.partition(":")
    if not (module and colon and path):
        raise click.BadParameter(f"a task is written module:name, such as mypackage.jobs:embed, not {words!r}")
    sys.path.insert(0, os.getcwd())  # as `python -m` does
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ConfigurationError(f"there is no module {error.name!r}, here or installed: see --task {words}") from error
    for part in path.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Task | AsyncTask):
        return found
    raise ConfigurationError(f"{path!r} in {module} is no task: a function under @project.task is one")


def _check_index(place: Place, task: Task[..., Any] | AsyncTask[..., Any]) -> None:
    named, its = place.index(must_exist=False), task.project.db
    if _identity(named) != _identity(its):
        raise ConfigurationError(
            f"the task {task.function_name} keeps its results in {its!r}, and DB is {named!r}: write the index of its "
            "project as DB"
        )


def _identity(db: TaskDB) -> str:
    return os.path.realpath(db.path) if isinstance(db, SQLiteTaskDB) else repr(db)


def _tell(taken: ImportReport) -> None:
    """Say what became of the entries; exit status 1 where some were left out, or none was there."""
    click.echo(str(taken))
    for reason, count in taken.left_out.most_common():
        click.echo(f"  {count:,} left out: {one_line(reason)}", err=True)
    is_there = taken.taken or taken.already or taken.expired or taken.left_out
    if not is_there:
        names = [f"{one_line(name)} ({count:,})" for name, count in taken.others.items()]
        listed = ", ".join(names[:_NAMED]) + ", …" * (len(names) > _NAMED)
        click.echo(
            f"  nothing is there under {taken.name}; there is {listed or 'nothing at all'}: see --name", err=True
        )
    if taken.left_out or not is_there:
        sys.exit(1)
