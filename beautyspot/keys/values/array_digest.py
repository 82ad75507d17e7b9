"""Digests of arrays of numbers: one for equal arrays, whatever their layout, the sign of a NaN or their padding."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from beautyspot._internal.digests import digest_of, hasher

# Bytes that are looked through and digested at a time: they are read from memory once, and then from the cache of the
# processor. Smaller blocks do not occupy all cores.
_BLOCK = 1 << 21


def digest_of_array(array: Any) -> bytes:
    """The 128-bit digest of the elements of a plain array, in C order.

    Blocks whose bytes are canonical are digested in place; others are copied.
    """
    size = array.nbytes
    if not size:
        return bytes(16)
    canonical = _CANONICAL.get(array.dtype.char)
    if (canonical is None or size <= _BLOCK) and array.flags.c_contiguous:
        flat = array.reshape(-1)
        return digest_of(_bytes(canonical(flat) if canonical else flat))
    digest = hasher(size)
    for block in _blocks(array, size):
        digest.update(_bytes(canonical(block) if canonical else block))
    content: bytes = digest.digest(16)
    return content


def _blocks(array: Any, size: int) -> Iterator[Any]:
    """One-dimensional pieces of *array* in C order, which are copies only where it lies in another order."""
    if array.flags.c_contiguous:
        array = array.reshape(-1)
        step = max(1, _BLOCK // array.itemsize)
    else:
        # Of another order, larger blocks are copied faster.
        step = max(1, 2 * _BLOCK * len(array) // size)
    for start in range(0, len(array), step):
        yield array[start : start + step].ravel()


def _bytes(array: Any) -> Any:
    numpy: Any = sys.modules["numpy"]
    return array.reshape(-1).view(numpy.uint8)


def _floats(block: Any) -> Any:
    """*block*, or a copy with one NaN for all."""
    numpy: Any = sys.modules["numpy"]
    low = numpy.minimum.reduce(block)  # is NaN if one of them is, and costs a fraction of `isnan`
    return block if low == low else _with_one_nan(block)  # noqa: PLR0124  # NaN is not itself


def _with_one_nan(block: Any) -> Any:
    numpy: Any = sys.modules["numpy"]
    copy = block.copy()
    copy[numpy.isnan(copy)] = numpy.nan
    return copy


def _complex(block: Any) -> Any:
    return _floats(block.view(block.real.dtype))


def _short(block: Any) -> Any:
    """As `_floats`, for halves, whose minimum is slow: a NaN is larger than infinity without its sign."""
    numpy: Any = sys.modules["numpy"]
    whole = block.view(block.dtype.str.replace("f", "u"))
    return block if numpy.maximum.reduce(whole & 0x7FFF) <= 0x7C00 else _with_one_nan(block)


def _truths(block: Any) -> Any:
    """Truths as 0 and 1: memory that is seen as truths may hold others."""
    numpy: Any = sys.modules["numpy"]
    whole = block.view(numpy.uint8)
    return block if numpy.maximum.reduce(whole) <= 1 else whole != 0


def _long(block: Any) -> Any:
    """A copy with one NaN for all; where 80 bits lie in 16 bytes, the others are 0."""
    numpy: Any = sys.modules["numpy"]
    numbers = block.view(block.real.dtype).astype("=g")
    numbers[numpy.isnan(numbers)] = numpy.nan
    if numpy.finfo("g").nmant == 63:
        raw = numbers.view(numpy.uint8).reshape(len(numbers), -1)
        raw[:, 10:] = 0
    return numbers


# What gives equal elements equal bytes, by the code of their dtype; elements of other dtypes have them.
_CANONICAL: dict[str, Callable[[Any], Any]] = {
    "?": _truths,
    "e": _short,
    "f": _floats,
    "d": _floats,
    "F": _complex,
    "D": _complex,
    "g": _long,
    "G": _long,
}
