"""What commands print: tables that fit the terminal, plain lines where nobody looks, and bars."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from beautyspot.readable import one_line

as_json = click.option("--json", "as_json", is_flag=True, help="As JSON, one object a line.")


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: At its top.
        right: Whether it is flush right.
        gives: Whether it gives way where the terminal is too narrow.
    """

    name: str
    right: bool = False
    gives: bool = False


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], total: Sequence[str] | None = None) -> None:
    """Print a table that fits the terminal; where the output goes elsewhere, whole cells between tabs."""
    if not sys.stdout.isatty():
        for row in ([column.name for column in columns], *rows):
            click.echo("\t".join(map(one_line, row)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=total is not None, footer_style="bold")
    for i, column in enumerate(columns):
        options: dict[str, Any] = {"ratio": 1} if column.gives else {}
        footer = Text(total[i]) if total is not None else ""
        justify: Any = "right" if column.right else "left"
        table.add_column(column.name, footer, justify=justify, no_wrap=True, overflow="ellipsis", **options)
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    Console(highlight=False).print(table)


def print_json(thing: Any) -> None:
    """Print one line of JSON; halves of characters, which UTF-8 has not got, are escaped."""
    click.echo(json.dumps(thing, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def tail_of(name: str, length: int = 28) -> str:
    """A function's name as a table has it: not the script's ``__main__``, and its end where it is long."""
    name = name.removeprefix("__main__.")
    return name if len(name) <= length or not sys.stdout.isatty() else f"…{name[1 - length :]}"


@contextmanager
def bar(unit: str, total: int | None = None) -> Iterator[Callable[[int], object]]:
    """A bar where someone looks, to be told how much was done since it was told last."""
    from tqdm import tqdm

    with tqdm(unit=f" {unit}", total=total, disable=None, file=sys.stderr, leave=False) as shown:
        yield shown.update
