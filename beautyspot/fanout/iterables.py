"""What may be given as the inputs of a map, and what to write where something else was given."""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from beautyspot._internal.text import of_value

_LONGEST = 60  # characters of a value that a message repeats, to be pasted
_END: Any = object()
_ENDLESS = (itertools.count, itertools.cycle, itertools.repeat)
_SCALARS = (str, bytes, bytearray, int, float, bool, type(None))


def known_length(iterable: object) -> int | None:
    """The number of items of *iterable*, if it says so."""
    try:
        return len(iterable)  # type: ignore[arg-type]
    except TypeError:
        return None


def expected_length(iterable: object) -> int | None:
    """The number of items that *iterable* says or expects to have left, for a progress bar."""
    expected = operator.length_hint(iterable, -1)
    return None if expected < 0 else expected


def check_lengths(iterables: Sequence[Iterable[Any]], names: Sequence[str]) -> int | None:
    """The number of calls of a map, if it is known or expected.

    Raises:
        ValueError: If the known lengths of *iterables* differ.
    """
    lengths = [
        (known, name) for name, each in zip(names, iterables, strict=True) if (known := known_length(each)) is not None
    ]
    if len({count for count, _ in lengths}) > 1:
        listed = " and ".join(f"{count:,} for {name!r}" for count, name in lengths)
        raise ValueError(f"give as many inputs for each argument: there are {listed}")
    return lengths[0][0] if lengths else expected_length(iterables[0])


class InStep:
    """Several iterables, taken in step until the shortest ends.

    Those without end (`itertools.repeat`, `count` and `cycle`) may go on; any other must end with the rest.

    Args:
        iterables: The iterables.
        names: The parameters that they fill, for messages.

    Attributes:
        mismatch: The error to raise once the calls so far are done, if one ended while another went on.
    """

    def __init__(self, iterables: Sequence[Iterable[Any]], names: Sequence[str]) -> None:
        self._iterables = iterables
        self._names = names
        self.mismatch: ValueError | None = None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if len(self._iterables) == 1 or all(known_length(each) is not None for each in self._iterables):
            yield from zip(*self._iterables, strict=False)  # of one length, as was checked
            return
        for count, row in enumerate(itertools.zip_longest(*self._iterables, fillvalue=_END)):
            if any(value is _END for value in row):
                self.mismatch = self._mismatch(row, count)
                return
            yield row

    def _mismatch(self, row: tuple[Any, ...], count: int) -> ValueError | None:
        going_on = [
            name
            for name, each, value in zip(self._names, self._iterables, row, strict=True)
            if value is not _END and not isinstance(each, _ENDLESS)
        ]
        if not going_on:
            return None
        ended = [repr(name) for name, value in zip(self._names, row, strict=True) if value is _END]
        return ValueError(
            f"the inputs for {' and '.join(ended)} ended after {count:,}, and those for "
            f"{' and '.join(map(repr, going_on))} go on: give as many for each argument, or write "
            f"zip({', '.join(self._names)}) with unpack=True to end with the shortest"
        )


def check_iterable(given: object, task: str, parameter: str, alone: bool) -> None:
    """Refuse what is no iterable of inputs, or gives others than was meant.

    Args:
        given: What was given.
        task: Name of the task.
        parameter: The parameter that its items would fill.
        alone: Whether it is the only iterable.

    Raises:
        TypeError: If it is refused; the error says what to write.
    """
    value = _shown(given)
    fixed = f'fixed={{"{parameter}": {value}}} for the same {parameter!r} in all calls'
    word = "text" if isinstance(given, str) else "data" if isinstance(given, bytes | bytearray) else value
    cure = f"write [{word}] for one call, or {fixed}" if alone else f"write {fixed}, or [{word}] for one call"
    kind = type(given).__name__
    if isinstance(given, str | bytes | bytearray):
        each = "character" if isinstance(given, str) else "byte"
        raise TypeError(f"{cure}: the {kind} given for {parameter!r} would be one call of {task} for each {each}")
    if isinstance(given, Mapping):
        cure = f"[{value}] with unpack=True for one call of {task} with these arguments by name" if alone else fixed
        raise TypeError(
            f"write {cure}, or list({value}) for one call with each key: the {kind} given for {parameter!r} would be "
            f"one call for each key"
        )
    if (columns := columns_of(given)) is not None:
        raise TypeError(_of_frame(given, columns, task, (parameter,)))
    if isinstance(given, AsyncIterable):
        raise TypeError(f"write [x async for x in inputs]: the inputs for {parameter!r} are an async iterable")
    if not hasattr(type(given), "__iter__") and not hasattr(type(given), "__getitem__"):
        raise TypeError(f"{cure if alone else f'write {fixed}'}: {value} given for {parameter!r} is not iterable")


def check_rows(given: object, task: str, names: Sequence[str]) -> None:
    """Refuse what is no iterable of rows, for a map with ``unpack=True``.

    Args:
        given: What was given.
        task: Name of the task.
        names: The parameters that rows can fill.

    Raises:
        TypeError: If it is refused; the error says what to write.
    """
    value, kind = _shown(given), type(given).__name__
    if isinstance(given, Mapping):
        if columns_agree(given, names):
            raise TypeError(f"{_rows_of_lists(value)}: a dict of lists is no iterable of rows")
        raise TypeError(f"write [{value}] for one call of {task}: with unpack=True, a list of dicts is expected")
    if (columns := columns_of(given)) is not None:
        raise TypeError(_of_frame(given, columns, task, names, unpack=True))
    if isinstance(given, AsyncIterable):
        raise TypeError("write [row async for row in rows]: the rows are an async iterable")
    if isinstance(given, str | bytes | bytearray) or not (
        hasattr(type(given), "__iter__") or hasattr(type(given), "__getitem__")
    ):
        raise TypeError(
            f"with unpack=True, write a list of dicts or tuples, a call of {task} each: {value} is {_a(kind)}"
        )


def wrong_row(row: object, number: int) -> TypeError:
    """The error for a row that is neither a mapping nor a tuple."""
    return TypeError(
        f"write (tuple(row) for row in rows): with unpack=True the rows are dicts or tuples, and row {number} is "
        f"{_a(type(row).__name__)}"
    )


def check_first_row(row: tuple[Any, ...]) -> None:
    """Refuse rows of pandas that are not what they seem: their first item is the index.

    Raises:
        TypeError: If it is one; the error says what to write.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return
    if getattr(row, "_fields", ("",))[:1] == ("Index",):
        raise TypeError(
            'write frame.to_dict("records"), or frame.itertuples(index=False): itertuples() begins with the index'
        )
    if len(row) == 2 and isinstance(row[1], pandas.Series):
        raise TypeError('write frame.to_dict("records"): iterrows() gives pairs of the index and a row')


def not_enough(
    task: str, missing: Sequence[str], filled: Sequence[str], iterables: Sequence[Iterable[Any]]
) -> TypeError:
    """The error for a map whose calls would lack the required arguments *missing*."""
    (first, *others), names = iterables, [*filled, *missing]
    lacks = f"{task} needs {' and '.join(map(repr, missing))} too"
    if not others and (columns := columns_of(first)) is not None:
        return TypeError(_of_frame(first, columns, task, names))
    if not others and isinstance(first, Mapping):
        return TypeError(
            f"{_rows_of_lists(_shown(first))}: {lacks}, and a dict as an iterable gives its keys"
            if columns_agree(first, names)
            else f"write [{_shown(first)}] with unpack=True for one call with these arguments by name: {lacks}"
        )
    row = None if others or isinstance(first, str | bytes) else next(iter(first), None)
    if isinstance(row, Mapping | tuple):
        kind = "dicts, which are arguments by name" if isinstance(row, Mapping) else "tuples of its arguments"
        return TypeError(f"write unpack=True if the inputs are {kind}: {lacks}")
    return TypeError(
        f'write fixed={{"{missing[0]}": value}} for the same {missing[0]!r} in all calls, or give an iterable of them: '
        f"{lacks}"
    )


def columns_agree(given: Mapping[Any, Any], names: Sequence[str]) -> bool:
    """Whether *given* has a list for each of several parameters."""
    values = list(given.values())
    return (
        all(name in names for name in given)
        and all(isinstance(each, Iterable) and not isinstance(each, str | bytes | Mapping) for each in values)
        and bool(values)
    )


def _rows_of_lists(value: str) -> str:
    name = "inputs" if len(value) > len("inputs") else value
    return f"write [dict(zip({name}, row)) for row in zip(*{name}.values())] with unpack=True"


def columns_of(given: object) -> list[Any] | None:
    """The names of the columns if *given* is a data frame; libraries that are not loaded are not asked."""
    kinds = {"pandas": ("DataFrame",), "polars": ("DataFrame", "LazyFrame"), "pyarrow": ("Table", "RecordBatch")}
    for library, names in kinds.items():
        module = sys.modules.get(library)
        if module is None or not isinstance(given, tuple(getattr(module, name, ()) for name in names)):
            continue
        frame: Any = given
        if library == "pyarrow":
            return list(frame.column_names)
        return list(frame.collect_schema().names() if hasattr(frame, "collect_schema") else frame.columns)
    return None


def _of_frame(frame: object, columns: Sequence[Any], task: str, names: Sequence[str], unpack: bool = False) -> str:
    """What to write in place of a frame: a column for one parameter, or its rows for several."""
    library, kind = type(frame).__module__.partition(".")[0], type(frame).__name__
    rows, column = {
        "polars": ("frame.iter_rows(named=True)", "frame[{}]"),
        "pyarrow": ("frame.to_pylist()", "frame[{}].to_pylist()"),
    }.get(library, ('frame.to_dict("records")', "frame[{}]"))
    if kind == "LazyFrame":
        rows, column = rows.replace("frame", "frame.collect()"), column.replace("frame", "frame.collect()")
    name = next((each for each in names if each in columns), columns[0] if columns else names[0])
    quoted = f'"{name}"' if isinstance(name, str) else repr(name)
    of_rows = f"{rows} with unpack=True for a call of {task} with each row"
    of_column = f"{column.format(quoted)} for a call with each value of that column"
    if unpack:
        return f"write {rows} with unpack=True: {_a(kind)} is no iterable of rows"
    several = [of_rows, of_column] if len(names) > 1 else [of_column, of_rows]
    return f"write {', or '.join(several)}: {_a(kind)} is no iterable of inputs"


def _shown(value: object) -> str:
    """A value as it would be written, or a word for it if that is long."""
    if isinstance(value, str | bytes | bytearray):
        text = (
            f'"{value}"'
            if isinstance(value, str) and value.isprintable() and not {'"', "\\"} & {*value}
            else repr(value)
        )
        return text if len(text) <= _LONGEST else "text" if isinstance(value, str) else "data"
    text = of_value(value)
    if isinstance(value, _SCALARS):
        return text if len(text) <= _LONGEST else "value"
    return "inputs" if isinstance(value, Iterable) else "value"


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
