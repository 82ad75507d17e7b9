"""The contract of an engine."""

from __future__ import annotations

from beautyspot.errors import EngineLost
from beautyspot.fanout.engines import Engine
from beautyspot.fanout.worker import run_chunk


class EngineContract:
    """The contract of an `Engine`. Needs the fixture ``engine``: an engine object."""

    def test_every_chunk_comes_back_once(self, engine: Engine) -> None:
        for number in range(20):
            engine.submit(number, b"not a task", b"")
        numbers: list[int] = []
        while len(numbers) < 20:
            for number, data in engine.finished():
                numbers.append(number)
                # A failure inside a chunk is a reply, not a failure of the engine.
                assert data == run_chunk(b"not a task", b"") or isinstance(data, bytes)
        assert sorted(numbers) == list(range(20))

    def test_a_cancelled_chunk_does_not_come_back(self, engine: Engine) -> None:
        for number in range(50):
            engine.submit(number, b"not a task", b"")
        left = set(range(50)) - set(engine.cancel())
        while left:
            left -= {number for number, data in engine.finished() if not isinstance(data, EngineLost)}

    def test_it_has_a_width(self, engine: Engine) -> None:
        assert engine.width >= 1
        assert engine.ahead >= 0
