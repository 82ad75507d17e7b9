"""What stands before anything is dropped: a count, and a question or ``--yes``."""

from __future__ import annotations

import sys

import click

yes = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be dropped; nothing is written.")


def ask(question: str, yes: bool) -> None:
    """Go on only if that is wanted.

    Raises:
        click.ClickException: If there is nobody who could be asked.
        click.Abort: If it is not wanted.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.ClickException("nothing was dropped, since nobody can be asked here: add --yes to drop it")
    click.confirm(question, abort=True)
