"""What comes back of a value, and what its library can see of it."""

from collections.abc import Callable
from typing import Any

from beautyspot.serialization import MsgpackSerializer, blob_format


def both_ways(value: Any, serializer: MsgpackSerializer | None = None) -> list[Any]:
    """The value from a row, and from a blob."""
    serializer = serializer or MsgpackSerializer()
    row = serializer.dumps(value)
    blob = b"".join(blob_format.join(*serializer.dump_parts(value)))
    return [serializer.loads(row), serializer.load_parts(*blob_format.split(bytearray(blob)))]


def check(value: Any, seen: Callable[[Any], Any]) -> None:
    """Check that what comes back of *value* is the same by all that *seen* finds."""
    for back in both_ways(value):
        assert type(back) is type(value)
        assert repr(seen(back)) == repr(seen(value))
