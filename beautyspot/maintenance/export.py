"""Export of results as a table: JSON lines, CSV or Parquet, for people and programs without beautyspot.

A file is written under a temporary name and renamed when it is whole. Rows are written as they are read.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

from beautyspot.errors import (
    BeautyspotError,
    ConfigurationError,
    DamagedBlobError,
    IndexUnavailableError,
    MissingBlobError,
    StorageError,
)
from beautyspot.protocols.index import Failure, Summary
from beautyspot.serialization.to_json import as_json, to_plain

__all__ = ["FORMATS", "Format", "as_dict", "table_format", "write_table"]

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet")

_PAGE = 1000  # rows of a row group of Parquet, at most
_LARGE = 1 << 25  # characters of values after which a row group ends
_COLUMNS = ("key", "function", "version", "input", "content_type", "size", "created", "expires", "seconds", "worker")


def table_format(path: str | os.PathLike[str]) -> Format | None:
    """The format of a table by its file's suffix; ``None`` for any other suffix."""
    suffix = Path(path).suffix.lower().lstrip(".")
    return next((name for name in FORMATS if name == suffix), None)


def write_table(
    target: str | os.PathLike[str] | IO[bytes],
    rows: Iterable[Summary],
    value_of: Callable[[Summary], Any] | None,
    form: Format | None = None,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Write results to a file, all or nothing.

    Args:
        target: The path of the file, which replaces an existing one; or a file that is open for writing.
        rows: The summaries of the results.
        value_of: Reads the value of a row; an error it raises is written to the column ``problem``. ``None``: the table
            has no values.
        form: ``"jsonl"``, ``"csv"`` or ``"parquet"``; ``None``: by the file's suffix.
        progress: Called with the number of rows that were written since its last call.

    Returns:
        The number of rows.

    Raises:
        ConfigurationError: If the format is another one, or pyarrow is missing.
        StorageError: If the file cannot be written.
    """
    path = os.fspath(target) if isinstance(target, str | os.PathLike) else None
    form = form or (None if path is None else table_format(path))
    if form not in FORMATS:
        raise ConfigurationError(f"a table ends with .jsonl, .csv or .parquet; {path!r} does not")
    count = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal count
        for row in rows:
            yield _with_value(row, value_of, form)
            count += 1
            if progress is not None:
                progress(1)

    with _renamed_when_whole(path) if path is not None else _left_open(target) as file:
        _WRITERS[form](file, counted(), value_of is not None)
    return count


@contextmanager
def _renamed_when_whole(path: str) -> Iterator[IO[bytes]]:
    """A file to write, which gets its name when it is complete."""
    temporary = f"{path}.part"
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # it may not exist yet
            os.unlink(temporary)
        if isinstance(error, OSError) and not isinstance(error, BeautyspotError):
            raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
        raise


@contextmanager
def _left_open(file: Any) -> Iterator[IO[bytes]]:
    yield file
    file.flush()


def as_dict(row: Summary | Failure) -> dict[str, Any]:
    """A row for JSON: its key as hexadecimal digits, times in ISO 8601."""
    record = row._asdict()
    record.pop("arguments", None)  # fingerprints, which mean nothing to a reader
    record["key"] = row.key.hex()
    for name in ("created", "expires"):
        if record.get(name) is not None:
            record[name] = datetime.fromtimestamp(record[name], UTC).isoformat(timespec="milliseconds")
    return record


def _with_value(row: Summary, value_of: Callable[[Summary], Any] | None, form: Format) -> dict[str, Any]:
    record = as_dict(row)
    if value_of is not None:
        record["value"] = record["problem"] = None
        try:
            value = value_of(row)
            record["value"] = to_plain(value) if form == "jsonl" else as_json(value)
        except Exception as error:
            if _is_unreachable(error):
                raise
            record["problem"] = str(error) or type(error).__name__  # one result must not cost the others
    return record


def _is_unreachable(error: Exception) -> bool:
    """Whether the index or the storage does not answer, so that the next result would fail too."""
    of_a_blob = isinstance(error, MissingBlobError | DamagedBlobError)
    return isinstance(error, StorageError | IndexUnavailableError) and not of_a_blob


def _names(values: bool) -> list[str]:
    return [*_COLUMNS, *["value", "problem"] * values]


@contextmanager
def _text(file: IO[bytes]) -> Iterator[io.TextIOWrapper]:
    text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
    try:
        yield text
    finally:
        text.detach()  # the file is not ours to close


def _jsonl(file: IO[bytes], rows: Iterable[dict[str, Any]], values: bool) -> None:
    with _text(file) as text:
        for row in rows:
            text.write(json.dumps(row, ensure_ascii=False) + "\n")


def _csv(file: IO[bytes], rows: Iterable[dict[str, Any]], values: bool) -> None:
    with _text(file) as text:
        writer = csv.DictWriter(text, _names(values))
        writer.writeheader()
        writer.writerows(rows)


def _parquet(file: IO[bytes], rows: Iterable[dict[str, Any]], values: bool) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as missing:
        raise ConfigurationError('a table in Parquet needs pyarrow: pip install "beautyspot[parquet]"') from missing
    numbers = {"size": pyarrow.int64(), "seconds": pyarrow.float64()}
    schema = pyarrow.schema([(name, numbers.get(name, pyarrow.string())) for name in _names(values)])
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for page in _pages(rows):
            writer.write_table(pyarrow.Table.from_pylist(page, schema))


def _pages(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    page: list[dict[str, Any]] = []
    length = 0
    for row in rows:
        page.append({name: _encodable(item) for name, item in row.items()})
        length += len(row.get("value") or "")
        if len(page) >= _PAGE or length >= _LARGE:
            yield page
            page, length = [], 0
    if page:
        yield page


def _encodable(item: Any) -> Any:
    """A text without lone surrogates, which UTF-8 cannot encode."""
    return item.encode("utf-8", "backslashreplace").decode() if isinstance(item, str) else item


_WRITERS: dict[str, Callable[[IO[bytes], Iterable[dict[str, Any]], bool], None]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
}
