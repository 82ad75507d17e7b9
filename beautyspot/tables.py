"""Kept results as a table in a file: JSON lines, CSV or Parquet, for people and programs that have no beautyspot.

A file is written under a temporary name and renamed when it is whole. Rows are written as they are read.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from beautyspot.errors import BeautyspotError, ConfigurationError, StorageError
from beautyspot.plain import as_json, to_plain
from beautyspot.protocols import Summary

__all__ = ["FORMATS", "Format", "table_format", "write_table"]

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet")

_PAGE = 1000  # rows of a row group of Parquet
_COLUMNS = ("key", "function", "version", "input", "content_type", "size", "created", "expires", "seconds", "worker")


def table_format(path: str | os.PathLike[str]) -> Format | None:
    """The format of a table that a file's name says; ``None`` if it says none."""
    suffix = Path(path).suffix.lower().lstrip(".")
    return next((name for name in FORMATS if name == suffix), None)


def write_table(
    path: str | os.PathLike[str],
    rows: Iterable[Summary],
    value_of: Callable[[Summary], Any] | None,
    form: Format | None = None,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Write results to a file, whole or not at all.

    Args:
        path: The file; one that is there is replaced.
        rows: What to write.
        value_of: The value of a row; what it raises stands in the column ``problem``. ``None``: without values.
        form: ``"jsonl"``, ``"csv"`` or ``"parquet"``; ``None``: as the file's name says.
        progress: Told how many rows were written since it was told last.

    Returns:
        How many rows there are in it.

    Raises:
        ConfigurationError: If the format is none of these, or pyarrow is missing.
        StorageError: If the file cannot be written.
    """
    form = form or table_format(path)
    if form not in FORMATS:
        raise ConfigurationError(
            f"a table ends with .jsonl, .csv or .parquet; {os.fspath(path)!r} says nothing of these"
        )
    temporary = f"{os.fspath(path)}.part"
    count = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal count
        for row in rows:
            yield _as_dict(row, value_of, form)
            count += 1
            if progress is not None:
                progress(1)

    try:
        _WRITERS[form](temporary, counted(), value_of is not None)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # it may not have been made
            os.unlink(temporary)
        if isinstance(error, OSError) and not isinstance(error, BeautyspotError):
            raise StorageError(f"cannot write {os.fspath(path)}: {error}") from error
        raise
    return count


def _as_dict(row: Summary, value_of: Callable[[Summary], Any] | None, form: Format) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(row, name) for name in _COLUMNS}
    told["key"] = row.key.hex()
    for name in ("created", "expires"):
        if told[name] is not None:
            told[name] = datetime.fromtimestamp(told[name], UTC).isoformat(timespec="milliseconds")
    if value_of is not None:
        told["value"] = told["problem"] = None
        try:
            value = value_of(row)
        except Exception as error:  # one result that cannot be read must not cost the others
            told["problem"] = str(error)
        else:
            told["value"] = to_plain(value) if form == "jsonl" else as_json(value)
    return told


def _names(values: bool) -> list[str]:
    return [*_COLUMNS, *["value", "problem"] * values]


def _jsonl(path: str, rows: Iterable[dict[str, Any]], values: bool) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _csv(path: str, rows: Iterable[dict[str, Any]], values: bool) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, _names(values))
        writer.writeheader()
        writer.writerows(rows)


def _parquet(path: str, rows: Iterable[dict[str, Any]], values: bool) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as missing:
        raise ConfigurationError('a table in Parquet needs pyarrow: pip install "beautyspot[parquet]"') from missing
    numbers = {"size": pyarrow.int64(), "seconds": pyarrow.float64()}
    schema = pyarrow.schema([(name, numbers.get(name, pyarrow.string())) for name in _names(values)])
    remaining = iter(rows)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while page := list(islice(remaining, _PAGE)):
            writer.write_table(pyarrow.Table.from_pylist(page, schema))


_WRITERS: dict[str, Callable[[str, Iterable[dict[str, Any]], bool], None]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
}
