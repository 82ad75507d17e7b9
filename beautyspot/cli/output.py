"""Output of commands: tables that fit the terminal, tab-separated lines elsewhere, and progress bars."""

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
        name: The title.
        right: Whether the cells are aligned to the right.
        gives: Whether the column may shrink if the terminal is too narrow.
    """

    name: str
    right: bool = False
    gives: bool = False


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], total: Sequence[str] | None = None) -> None:
    """Print a table that fits the terminal; if the output is not a terminal, whole cells between tabs."""
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
    """The width of each column: what its cells need; columns that may shrink share the rest."""
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
    """Print one line of JSON; lone surrogates, which UTF-8 cannot encode, are escaped."""
    click.echo(json.dumps(thing, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def tail_of(name: str, length: int = 28) -> str:
    """A function's name as a table shows it: without a script's ``__main__``, and cut to its end if it is long."""
    name = name.removeprefix("__main__.")
    return name if len(name) <= length or not sys.stdout.isatty() else f"…{name[1 - length :]}"


@contextmanager
def bar(unit: str, total: int | None = None) -> Iterator[Callable[[int], object]]:
    """A progress bar, on a terminal alone; yields a function that advances it by a number."""
    from tqdm import tqdm

    with tqdm(unit=f" {unit}", total=total, disable=None, file=sys.stderr, leave=False) as drawn:
        yield drawn.update
