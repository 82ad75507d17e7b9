"""The SQL statements of a PostgreSQL index, and the conversion of records to its columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from beautyspot.protocols.index import Entry, Failure, MapProgress, Record, Summary

PAGE = 1000  # rows of a list at a time
WHOLE = 200  # rows of a list at a time, with their values
LAST = (1 << 63) - 1  # the greatest possible id

ENTRY = ", ".join(Entry._fields)
SUMMARY = ", ".join(("uuid_send(key)", *Summary._fields[1:]))
FAILURE = ", ".join(("uuid_send(key)", *Failure._fields[1:]))

# The columns of a cached result, with their types.
_COLUMNS = {
    "key": "uuid",
    **dict.fromkeys(("value", "checksum", "code", "arguments"), "bytea"),
    **dict.fromkeys(("location", "function", "version", "input", "content_type", "worker"), "text"),
    **dict.fromkeys(("expires", "created", "seconds"), "float8"),
    "size": "bigint",
}
_ROW = ("key", *Entry._fields, *(name for name in Summary._fields[1:] if name not in Entry._fields))

# Rows of one function, newest first. For `function = %s ORDER BY id`, the planner would read all ids, including those
# of every other function.
_OF_FUNCTION = "(function, id) < (%s, %s) AND (function, id) >= (%s, 0) ORDER BY function DESC, id DESC"

_OF_ANY = "(%s::text IS NULL OR function = %s::text)"  # rows of one function, or of all


class Statements(NamedTuple):
    """The statements for the tables of one schema, except for those of `page_of`."""

    get: str
    lookup: str
    kept: str
    records: str
    keep: str
    keep_many: str
    delete: str
    failed: str
    note_failure: str
    note_map: str
    maps: str
    mean_seconds: str
    forget_failures: str
    forget_maps: str

    @classmethod
    def of(cls, schema: str) -> Statements:
        """The statements for a schema of this name."""
        columns = _ROW
        unresolved = f"NOT EXISTS (SELECT 1 FROM {schema}.results WHERE results.key = failures.key)"
        values = ", ".join(f"%s::{_COLUMNS[name]}" for name in columns)
        arrays = ", ".join(f"%s::{_COLUMNS[name]}[]" for name in columns)
        # Numbered in the given order, and written in the order of their keys: otherwise two writers of the same keys
        # could each lock a row that the other needs.
        numbered = f"SELECT *, nextval('{schema}.results_id_seq') FROM unnest({arrays}) OFFSET 0"
        return cls(
            # The plan for one key is made once; the plan for many keys depends on their number and is made each time.
            get=f"SELECT uuid_send(key), {ENTRY} FROM {schema}.results WHERE key = %s::uuid",
            # Key by key, each through the database index, however many there are.
            lookup=f"SELECT found.* FROM unnest(%s::uuid[]) AS wanted, LATERAL (SELECT uuid_send(key), {ENTRY} "
            f"FROM {schema}.results WHERE key = wanted OFFSET 0) AS found",
            kept=f"SELECT uuid_send(key) FROM {schema}.results WHERE key = ANY (%s::uuid[])",
            records=f"SELECT id, {ENTRY}, {SUMMARY} FROM {schema}.results WHERE id > %s ORDER BY id LIMIT {WHOLE}",
            keep=_upsert(f"{schema}.results", columns, f"VALUES ({values})"),
            keep_many=_upsert(f"{schema}.results", (*columns, "id"), f"SELECT * FROM ({numbered}) AS given ORDER BY 1"),
            delete=f"WITH unused AS (DELETE FROM {schema}.uses WHERE key = ANY (%s::uuid[])) "
            f"DELETE FROM {schema}.results WHERE key = ANY (%s::uuid[])",
            failed=f"SELECT {FAILURE} FROM {schema}.failures WHERE key = ANY (%s::uuid[]) AND {unresolved}",
            note_failure=_upsert(f"{schema}.failures", Failure._fields, f"VALUES ({_marks(Failure._fields)})"),
            note_map=_upsert(f"{schema}.maps", MapProgress._fields, f"VALUES ({_marks(MapProgress._fields)})", False),
            maps=f"SELECT {', '.join(MapProgress._fields)} FROM {schema}.maps ORDER BY started DESC",
            forget_failures=f"DELETE FROM {schema}.failures WHERE created < %s AND {_OF_ANY}",
            forget_maps=f"DELETE FROM {schema}.maps WHERE (ended IS NOT NULL OR updated < %s) "
            f"AND updated < %s AND {_OF_ANY}",
            mean_seconds="SELECT avg(seconds) FROM (SELECT seconds FROM "
            f"{schema}.results WHERE {_OF_FUNCTION} LIMIT 200) AS latest",
        )


def page_of(schema: str, table: str, columns: str, function: str | None) -> str:
    """The statement for a page of a table, newest first: the rows before an id, of one function or of all."""
    before = "id < %s ORDER BY id DESC" if function is None else _OF_FUNCTION
    return f"SELECT id, {columns} FROM {schema}.{table} WHERE {before} LIMIT {PAGE}"


def _upsert(table: str, columns: Sequence[str], rows: str, newest: bool = True) -> str:
    """A statement that writes rows, replacing those with the same first column; they become the newest."""
    changed = dict.fromkeys((*columns[1:], *["id"] * newest))
    changes = ", ".join(f"{name} = excluded.{name}" for name in changed)
    return f"INSERT INTO {table} ({', '.join(columns)}) {rows} ON CONFLICT ({columns[0]}) DO UPDATE SET {changes}"


def _marks(columns: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(columns))


def row_of(record: Record) -> tuple[Any, ...]:
    """The values of the columns for a record."""
    entry, (key, function, version, text, arguments, content_type, _, created, _, seconds, worker) = record
    rest = map(plain, (function, version, text, arguments, content_type, created, seconds, worker))
    return (key.hex(), *entry, *rest)


def plain(value: Any) -> Any:
    """*value* without NUL characters and lone surrogates, which texts of PostgreSQL cannot contain."""
    if type(value) is str and not value.isascii():
        value = value.encode("utf-8", "replace").decode()
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if type(value) is str else value


def array_of(keys: Sequence[bytes]) -> str:
    """Keys as the text of a PostgreSQL array, which is faster to make than thousands of values."""
    return "{" + ",".join([key.hex() for key in keys]) + "}"
