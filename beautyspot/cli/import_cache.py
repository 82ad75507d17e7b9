"""``import`` from a directory of another library."""

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
from beautyspot.maintenance.cache_import import PICKLES, ImportReport, import_cache
from beautyspot.protocols.index import TaskDB
from beautyspot.tasks import AsyncTask, Task

_LISTED = 10  # functions that a note lists


def import_directory(place: Place, source: str, task: str | None, name: str | None, allow_pickle: bool) -> None:
    """Import what a directory has of the function of a task."""
    if not allow_pickle:
        raise click.UsageError(
            f"{source} is a directory of another library: {PICKLES}: --allow-pickle. Nothing was read."
        )
    if task is None:
        raise click.UsageError("Say which task gets the results: --task mypackage.jobs:embed")
    found = _task_of(task)
    _check_index(place, found)
    with found.project, bar("entries") as advance:
        report = import_cache(source, found, allow_pickle=True, name=name, progress=advance)
    _print(report)


def _task_of(words: str) -> Task[..., Any] | AsyncTask[..., Any]:
    """The task of ``module:name``; the current directory is searched too.

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
    raise ConfigurationError(f"{path!r} in {module} is not a task: a function under @project.task is one")


def _check_index(place: Place, task: Task[..., Any] | AsyncTask[..., Any]) -> None:
    named, its = place.index(must_exist=False), task.project.db
    if _identity(named) != _identity(its):
        raise ConfigurationError(
            f"the results of the task {task.function_name} are in {its!r}, and DB is {named!r}: write the index of its "
            "project as DB"
        )


def _identity(db: TaskDB) -> str:
    return os.path.realpath(db.path) if isinstance(db, SQLiteTaskDB) else repr(db)


def _print(report: ImportReport) -> None:
    """Print what became of the entries; exit with 1 if some were left out, or there was none."""
    click.echo(str(report))
    for reason, count in report.left_out.most_common():
        click.echo(f"  {count:,} left out: {one_line(reason)}", err=True)
    any_entry = report.taken or report.already or report.expired or report.left_out
    if not any_entry:
        names = [f"{one_line(name)} ({count:,})" for name, count in report.others.items()]
        listed = ", ".join(names[:_LISTED]) + ", …" * (len(names) > _LISTED)
        click.echo(
            f"  there is no entry of {report.name}; there are those of {listed or 'no function'}: see --name",
            err=True,
        )
    if report.left_out or not any_entry:
        sys.exit(1)
