"""The contract of a serializer."""

from __future__ import annotations

from typing import Any

from beautyspot.protocols.serializer import Serializer


class SerializerContract:
    """The contract of a `Serializer`. Needs the fixture ``serializer``."""

    values: tuple[Any, ...] = (None, True, 0, -1, 2**40, 1.5, "", "text", b"bytes", [1, [2, None]], {"a": {"b": [1.5]}})

    def test_plain_values_come_back_equal(self, serializer: Serializer) -> None:
        for value in self.values:
            back = serializer.loads(serializer.dumps(value))
            assert back == value
            assert type(back) is type(value)

    def test_a_value_comes_back_as_a_fresh_object(self, serializer: Serializer) -> None:
        data = serializer.dumps([[]])
        serializer.loads(data)[0].append("changed")
        assert serializer.loads(data) == [[]]

    def test_a_pickle_is_not_executed(self, serializer: Serializer) -> None:
        try:
            serializer.loads(b"cos\nsystem\n(S'exit 1'\ntR.")
        except Exception:
            return
        raise AssertionError("bytes of another format were read as a value")
