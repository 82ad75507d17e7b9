"""``show`` and ``explain``: one result."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from beautyspot._internal.text import full_time, one_line, printable, seconds_text, size_text
from beautyspot.cli.list import print_failure
from beautyspot.cli.output import as_json, print_json
from beautyspot.cli.target import Place, at_index
from beautyspot.errors import BeautyspotError, ConfigurationError
from beautyspot.maintenance.export import as_dict
from beautyspot.protocols.index import Failure, Summary
from beautyspot.serialization.inspector import UnknownObject
from beautyspot.serialization.to_json import as_payload, library_kind, to_plain

_LONGEST = 20_000  # characters of a value that are shown
_ITEMS = 30  # items of a list, a dict or a set
_STRING = 2000  # characters of a text inside a value
_DEEPEST = 50  # levels
_CUT = re.compile(r"\.\.\.|['\"]\+\d+")  # where rich left something out


@click.command()
@at_index("KEY")
@click.option(
    "--raw",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write the value to FILE ('-': to the output): bytes and texts as they are, arrays as .npy, frames as CSV, "
    "images as PNG, all else as JSON.",
)
@as_json
def show(place: Place, key: str, raw: str | None, as_json: bool) -> None:
    """Show the result of DB whose key begins with KEY: its input, its record and its value.

    For a failed call, show its traceback.
    """
    with place.open() as kept:
        row = kept.one(key)
        if isinstance(row, Failure):
            if raw is not None:
                raise ConfigurationError(f"{row.key.hex()} failed and has no value: {row.error}: {row.message}")
            print_json(as_dict(row)) if as_json else print_failure(row)
        elif raw is not None:
            _write(kept.value(row.key), row.content_type, raw)
        elif as_json:
            _print_as_json(row, kept.value)
        else:
            _print_head(row)
            click.echo(_pretty(kept.value(row.key)))


@click.command()
@at_index("KEY")
def explain(place: Place, key: str) -> None:
    """Show the state of a KEY of DB, and the nearest other cached call of its function."""
    with place.open() as kept:
        row = kept.one(key)
        click.echo(printable(f"{row.function}({row.input})\n{kept.explain(row)}"))


def _write(value: Any, content_type: str | None, target: str) -> None:
    payload = as_payload(value, content_type)
    with click.open_file(target, "wb") as file:
        file.write(payload.content)
    if target != "-":
        click.echo(f"{target}: {size_text(len(payload.content))} of {payload.content_type}", err=True)


def _print_as_json(row: Summary, value_of: Callable[[bytes], Any]) -> None:
    record: dict[str, Any] = {**as_dict(row), "value": None, "problem": None}
    try:
        record["value"] = to_plain(value_of(row.key))
    except BeautyspotError as error:
        record["problem"] = str(error)
    print_json(record)


def _print_head(row: Summary) -> None:
    head = {
        "key": row.key.hex(),
        "function": row.function,
        "version": row.version,
        "input": row.input,
        "kept": full_time(row.created),
        "expires": "" if row.expires is None else full_time(row.expires),
        "took": seconds_text(row.seconds),
        "size": size_text(row.size),
        "type": row.content_type or "",
        "worker": row.worker,
    }
    for name, text in head.items():
        if text:
            click.echo(click.style(f"{name:<9} ", bold=True) + one_line(text))
    click.echo()


def _pretty(value: Any) -> str:
    """A value as Python shows it, cut if it is large; a text as it is."""
    if isinstance(value, str):
        text, is_cut = value, False
    elif isinstance(value, bytes | bytearray | memoryview):
        text, is_cut = repr(bytes(value[:64])), len(value) > 64
        text += f"… ({len(value):,} bytes)" * is_cut
    elif library_kind(value) == "image":
        text, is_cut = f"image of {value.width} × {value.height} pixels, {value.mode}", True
    else:
        from rich.pretty import pretty_repr

        text = pretty_repr(_shown(value), max_length=_ITEMS, max_string=_STRING, max_depth=_DEEPEST)
        is_cut = _CUT.search(text) is not None
    is_cut = is_cut or len(text) > _LONGEST
    note = "\n" + click.style("… --raw FILE writes all of it", dim=True) if is_cut else ""
    return printable(text[:_LONGEST]) + note


def _shown(value: Any) -> Any:
    """A value in which each `UnknownObject` prints as its object would."""
    if isinstance(value, UnknownObject):
        return _StandIn(value)
    if type(value) is dict:
        return {key: _shown(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_shown, value))
    return value


class _StandIn:
    """Stands for an object of an unknown class; rich prints it as ``Name(field=…)``."""

    def __new__(cls, value: UnknownObject) -> _StandIn:
        return object.__new__(type(one_line(value.kind), (cls,), {}))

    def __init__(self, value: UnknownObject) -> None:
        self._content = _shown(value.content)

    def __rich_repr__(self) -> Any:
        if isinstance(self._content, dict):
            yield from ((str(name), item) for name, item in self._content.items())
        elif isinstance(self._content, list):
            yield from self._content
        else:
            yield self._content
