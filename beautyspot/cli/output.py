"""What commands print: tables that fit the terminal, plain lines where nobody looks, and bars."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from beautyspot._internal.text import one_line

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

    console = Console(highlight=False)
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = _widths(columns, [*cells, total or []], console.width)
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=total is not None, footer_style="bold")
    for column, width, footer in zip(columns, widths, total or [""] * len(columns), strict=True):
        justify: Any = "right" if column.right else "left"
        table.add_column(column.name, Text(footer), justify=justify, no_wrap=True, overflow="ellipsis", max_width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _widths(columns: Sequence[Column], rows: Iterable[Sequence[str]], available: int) -> list[int]:
    """How wide each column may be: as wide as it wants, but for those that give way, which share what is left."""
    from rich.cells import cell_len

    wanted = [cell_len(column.name) for column in columns]
    for row in rows:
        wanted[: len(row)] = map(max, wanted, map(cell_len, row))
    giving = sorted((i for i, column in enumerate(columns) if column.gives), key=wanted.__getitem__)
    left = available - 2 * (len(columns) - 1) - sum(wanted) + sum(wanted[i] for i in giving)
    for others, i in zip(range(len(giving), 0, -1), giving, strict=True):
        wanted[i] = max(4, min(wanted[i], left // others))
        left -= wanted[i]
    return wanted


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
