"""Answers: what a worker says of one call, and what its caller makes of that.

A worker that reaches the index and the storage keeps what it computed, and the caller reads it there. Where they
lie on another machine the result comes back as bytes, and the caller keeps it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from beautyspot.calls import Call
from beautyspot.events import Event
from beautyspot.forms import Encoded
from beautyspot.keys import KeyedCall
from beautyspot.protocols import Entry
from beautyspot.results import MISSING


class Answer(NamedTuple):
    """What became of one call.

    Attributes:
        entry: Of the result; ``None`` if there is none.
        blob: The bytes of a large result that is not kept.
        error: The exception, pickled.
        seconds: How long it took.
        away: Whether the worker did not reach the index, so that the caller keeps.
        told: Events of the worker, for those who listen at its caller, each with its exception, pickled.
        under_way: Whether someone else runs it just now, for whom the worker did not wait.
    """

    entry: Entry | None
    blob: bytes | None
    error: bytes | None
    seconds: float
    away: bool = False
    told: tuple[tuple[Event, bytes | None], ...] = ()
    under_way: bool = False


def run(task: Any, key: bytes, args: tuple[Any, ...], away: bool, waits: bool) -> tuple[Entry, bytes | None]:
    """Run a call for a caller in another process: the entry of its result, and the blob where it is not kept.

    Args:
        task: What is called.
        key: Of the call, as its caller computed it.
        args: All arguments, by position.
        away: Whether the index is out of reach.
        waits: Whether someone else who runs it just now is waited for.

    Raises:
        UnderWay: If he is not.
    """
    if away:
        encoded = task._keeper.encode(task._run(*args))
        return _sent(task, encoded)
    entry = task._keeper.results.find(key)
    if entry is not None:  # the caller reads it
        blob = entry.location is not None
        task.project.events.tell("hit", task.function_name, key, size=entry.size, blob=blob)
        return entry, None
    flown = task._fly(KeyedCall(key, task._keyer(args, {})[1], args, {}), wait=waits)
    return (flown.entry, None) if flown.entry is not None else _sent(task, flown.encoded)


def _sent(task: Any, encoded: Encoded) -> tuple[Entry, bytes | None]:
    entry = Entry(encoded.value, None, encoded.checksum, encoded.size, None, task._keyer.code)
    return entry, None if encoded.value is not None else b"".join(encoded.parts)


def value_of(task: Any, call: Call, answer: Answer) -> Any:
    """The result of a call that a worker answered; kept here, where the worker could not."""
    keeper, entry, blob = task._keeper, answer.entry, answer.blob
    faster = keeper.results.find(call.key) if answer.away else None
    if faster is not None:  # someone kept it meanwhile: a hit, as any other
        value = keeper.read(faster, call.key)
    else:
        if answer.away:
            _keep_here(task, call, answer)
        value = keeper.read(entry) if blob is None else keeper.results.from_blob(bytearray(blob), keeper.form)
    return task(*call.args) if value is MISSING else value


def _keep_here(task: Any, call: Call, answer: Answer) -> None:
    keeper, sent = task._keeper, cast("Entry", answer.entry)
    encoded = Encoded(sent.value, () if answer.blob is None else (answer.blob,), sent.checksum, sent.size)
    summary = keeper.describe(call.keyed())
    keeper.begin(summary)
    keeper.write(summary, encoded, answer.seconds, keeper.results.location(call.key))


def note_failure(task: Any, call: Call, answer: Answer, error: BaseException) -> None:
    """Note a failure for viewers, where the worker could not."""
    if answer.away and isinstance(error, Exception):
        keeper = task._keeper
        summary = keeper.describe(call.keyed())
        keeper.begin(summary)
        keeper.failed(summary, error, answer.seconds)
