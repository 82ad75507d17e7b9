"""TaskCache: what one task does with its results, whether it is called, awaited or mapped."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from time import perf_counter, time
from typing import Any, Literal
from zlib import crc32

from beautyspot._internal import text as preview
from beautyspot._internal.warn import warn_once
from beautyspot.errors import ChangedCodeWarning, NotKeptWarning, SerializationError
from beautyspot.keys.keyer import KeyedCall, Keyer
from beautyspot.protocols.index import Entry, Failure, FailureLog, MapLog, MapProgress, Record, Summary
from beautyspot.results.codec import Codec, EncodedResult
from beautyspot.results.events import Events, Kind
from beautyspot.results.store import MISSING, Results

OnSaveError = Literal["warn", "raise"]

_HOST = os.uname().nodename
_LONGEST = 20_000  # characters of a noted traceback


def worker() -> str:
    """Who keeps a result: ``host:pid``."""
    return f"{_HOST}:{os.getpid()}"


class TaskCache:
    """Reads and keeps the results of one task.

    Args:
        results: Of the project.
        keyer: Of the task.
        form: How its results are kept and read.
        content_type: How viewers show them.
        ttl: Seconds for which they are kept, or ``None``.
        on_save_error: What to do with a result that cannot be written.
        events: Of the project: what becomes of the calls is told there.
    """

    def __init__(
        self,
        results: Results,
        keyer: Keyer,
        codec: Codec,
        content_type: str | None,
        ttl: float | None,
        on_save_error: OnSaveError,
        events: Events,
    ) -> None:
        self.results = results
        self.codec = codec
        self._loads = codec.serializer.loads
        self._keyer = keyer
        self._content_type = content_type
        self._ttl = ttl
        self._on_save_error = on_save_error
        self._events = events
        self._says_changed = True

    def read(self, entry: Entry, key: bytes | None = None) -> Any:
        """The value of *entry* or ``MISSING``; says once that the code has changed since it was kept.

        Args:
            entry: What is read.
            key: Under which it was found, where giving its value is a hit; ``None``: it is none.
        """
        if entry.code != self._keyer.code and self._says_changed:
            self._changed(entry)
        data = entry.value
        if data is not None and crc32(data).to_bytes(4, "big") == entry.checksum:
            try:
                value = self._loads(data)
            except Exception:  # read once more, where it is reported
                value = self.results.read(entry, self.codec)
        else:
            value = self.results.read(entry, self.codec)
        if self._events.active:
            self._tell_of_hit(entry, key, value)
        return value

    def recall(self, key: bytes) -> Any:
        """The kept result of *key*, or ``MISSING``."""
        entry = self.results.find(key)
        return MISSING if entry is None else self.read(entry, key)

    def holds(self, key: bytes) -> bool:
        """Whether a usable result is kept under *key*: a question, and no hit."""
        entry = self.results.find(key)
        return entry is not None and self.read(entry) is not MISSING

    def begin(self, summary: Summary) -> float:
        """Say that a call was not kept and its function is to run; when that is, by `time.perf_counter`."""
        if self._events.active:
            self._tell("miss", summary)
        return perf_counter()

    def _changed(self, entry: Entry) -> None:
        if not entry.code or not self._keyer.code:
            return
        self._says_changed = False
        name = self._keyer.function_name
        warn_once(
            ("changed", repr(self.results.db), name),
            f"the code of {name} has changed since some of its results were kept, and its version has not: they "
            'are still given. Set version="2" (any new value) to run anew, version="auto" to follow the code from '
            "now on, or forget() what no longer holds",
            ChangedCodeWarning,
        )

    def describe(self, call: KeyedCall) -> Summary:
        """What viewers will list of a call, as far as it is known before it runs."""
        keyer, now = self._keyer, time()
        return Summary(
            call.key,
            keyer.function_name,
            keyer.version,
            preview.of_call(keyer.names, keyer.values(call.args, call.kwargs)),
            keyer.fingerprints(call.parts),
            self._content_type,
            0,
            now,
            None if self._ttl is None else now + self._ttl,
            None,
            worker(),
        )

    def items(self, entry: Entry, key: bytes) -> Any:
        """An iterator over what a stream yielded, or ``MISSING``; see `read`."""
        if entry.code != self._keyer.code and self._says_changed:
            self._changed(entry)
        items = self.results.items(entry, self.codec)
        if self._events.active:
            self._tell_of_hit(entry, key, items)
        return items

    def encode(self, value: Any) -> EncodedResult:
        """*value* serialized; a `SerializationError` carries it."""
        try:
            return self.results.encode(value, self.codec)
        except SerializationError as error:
            raise self._carrying(error, value, "returned") from None
        except Exception as cause:  # a serializer of the user's
            raise self._carrying(self._broken(cause), value, "returned") from cause

    def encode_item(self, value: Any, number: int) -> bytes:
        """What a stream yielded, serialized for itself; a `SerializationError` carries it."""
        try:
            return self.codec.serializer.dumps(value)
        except SerializationError as error:
            raise self._carrying(error.inside(f"[{number}]"), value, "yielded") from None
        except Exception as cause:  # as in `encode`
            raise self._carrying(self._broken(cause).inside(f"[{number}]"), value, "yielded") from cause

    def encode_items(self, items: Sequence[bytes]) -> EncodedResult:
        """The list of what a stream yielded, serialized, of what `encode_item` gave."""
        return self.results.encode_items(items, self.codec)

    def _broken(self, cause: Exception) -> SerializationError:
        kind = type(self.codec.serializer).__name__
        return SerializationError(f"the serializer {kind} gave no bytes for it: {type(cause).__name__}: {cause}")

    def _carrying(self, error: SerializationError, value: Any, came: str) -> SerializationError:
        if error.value is None:
            error = SerializationError(error.reason, error.path, value)
        error.function = self._keyer.function_name
        error.add_note(f"the value was {came} by {self._keyer.function_name} and is at .value of this error")
        return error

    def keep(
        self, summary: Summary, value: Any, seconds: float | None, replaced: str | None = None
    ) -> tuple[Entry | None, EncodedResult]:
        """Keep what a run returned; where it cannot be written, warn or raise as the project says.

        Returns:
            What `write` and `encode` do.

        Raises:
            SerializationError: If *value* cannot be serialized; the error carries it.
        """
        try:
            encoded = self.encode(value)
        except Exception as error:
            self._tell("error", summary, seconds=seconds, error=error)
            raise
        return self.write(summary, encoded, seconds, replaced), encoded

    def write(
        self, summary: Summary, encoded: EncodedResult, seconds: float | None, replaced: str | None
    ) -> Entry | None:
        """Write what `encode` gave; the entry, or ``None`` where it could not be written (said once)."""
        try:
            entry = self._write(summary, encoded, seconds, replaced)
        except Exception as error:
            self._tell("error", summary, seconds=seconds, error=error)
            raise
        if self._events.active:
            self._tell_of_run(summary, encoded, seconds, kept=entry is not None)
        return entry

    def _write(
        self, summary: Summary, encoded: EncodedResult, seconds: float | None, replaced: str | None
    ) -> Entry | None:
        summary = self._complete(summary, encoded, seconds)
        try:
            return self.results.keep(encoded, summary, self._keyer.code, replaced)
        except Exception as error:
            if self._on_save_error == "raise":
                raise
            warn_once(
                ("not kept", repr(self.results.db), repr(self.results.storage), type(error).__name__),
                f"a result of {summary.function} could not be kept and is returned all the same: {error} (further "
                'ones are not reported; on_save_error="raise" makes this an error)',
                NotKeptWarning,
            )
            return None

    def record(self, summary: Summary, encoded: EncodedResult, seconds: float | None) -> Record:
        """The record of a result that lies in the index."""
        summary = self._complete(summary, encoded, seconds)
        entry = Entry(encoded.value, None, encoded.checksum, encoded.size, summary.expires, self._keyer.code)
        return Record(entry, summary)

    def write_together(self, records: Sequence[Record]) -> None:
        """Commit what `record` gave, all or none."""
        self.results.keep_rows(records)
        if self._events.active:
            for entry, summary in records:
                self._tell_of_run(summary, entry, summary.seconds, kept=True)

    def _complete(self, summary: Summary, encoded: EncodedResult, seconds: float | None) -> Summary:
        now = time()
        expires = None if self._ttl is None else now + self._ttl
        # Summary._replace would take ten times as long.
        return Summary(*summary[:6], encoded.size, now, expires, seconds, summary.worker)

    def put(self, summary: Summary, value: Any) -> Entry:
        """Keep a value that was computed elsewhere, or raise."""
        encoded, replaced = self.encode(value), self.results.location(summary.key)
        entry = self.results.keep(encoded, summary._replace(size=encoded.size), self._keyer.code, replaced)
        self._tell("keep", summary, size=entry.size, blob=entry.value is None)
        return entry

    def failed(self, summary: Summary, error: Exception, seconds: float) -> None:
        """Note a failure for viewers; that this does not work must not hide the failure itself."""
        self._note_failure(summary, error, seconds)
        self._tell("error", summary, seconds=seconds, error=error)

    def _note_failure(self, summary: Summary, error: Exception, seconds: float) -> None:
        db = self.results.db
        if not isinstance(db, FailureLog):
            return
        import traceback

        kind = type(error)
        text = "".join(traceback.format_exception(error))
        failure = Failure(
            summary.key,
            summary.function,
            summary.version,
            summary.input,
            f"{kind.__module__}.{kind.__qualname__}",
            str(error)[:1000],
            text if len(text) <= _LONGEST else text[:_LONGEST] + "…",
            time(),
            seconds,
            summary.worker,
        )
        self._note(lambda: db.note_failure(failure))

    def note_map(self, progress: MapProgress) -> None:
        """Note how far a map has come, for viewers."""
        db = self.results.db
        if isinstance(db, MapLog):
            self._note(lambda: db.note_map(progress))

    def _note(self, note: Callable[[], None]) -> None:
        """What is only for viewers must not hold up the job; that it cannot be written is said once."""
        try:
            note()
        except Exception as cause:
            db = repr(self.results.db)
            warn_once(("not noted", db), f"nothing can be noted for viewers in {db}: {cause}", NotKeptWarning)

    def _tell_of_hit(self, entry: Entry, key: bytes | None, value: Any) -> None:
        if key is not None and value is not MISSING:
            blob = entry.location is not None
            self._events.tell("hit", self._keyer.function_name, key, size=entry.size, blob=blob)

    def _tell_of_run(self, summary: Summary, result: EncodedResult | Entry, seconds: float | None, kept: bool) -> None:
        """Tell of a run and of its commit, both when the result is safe."""
        size, blob = result.size, result.value is None
        if seconds is not None:
            self._tell("run", summary, seconds=seconds, size=size)
        if kept:
            self._tell("keep", summary, size=size, blob=blob)

    def _tell(self, kind: Kind, summary: Summary, **more: Any) -> None:
        self._events.tell(kind, summary.function, summary.key, input=summary.input, **more)
