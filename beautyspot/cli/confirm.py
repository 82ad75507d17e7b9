"""Confirmation before anything is deleted: a question, or ``--yes``."""

from __future__ import annotations

import sys

import click

yes = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be deleted; nothing is written.")


def ask(question: str, yes: bool) -> None:
    """Ask, unless *yes*.

    Raises:
        click.ClickException: If the input is not a terminal.
        click.Abort: If the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.ClickException("nothing was deleted, since the input is not a terminal: add --yes to delete it")
    click.confirm(question, abort=True)
