"""TaskCache: what one task does with its results, whether it is called, awaited or mapped."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from time import perf_counter, time
from typing import Any, Literal

from beautyspot._internal.text import of_call
from beautyspot._internal.warn import warn_once
from beautyspot.errors import CapturedWarning, ChangedCodeWarning, NotKeptWarning, SerializationError
from beautyspot.keys.keyer import CODE_SIZE, KeyedCall, Keyer, split_fingerprints
from beautyspot.protocols.index import Entry, Failure, FailureLog, MapLog, MapProgress, Record, Summary
from beautyspot.results.codec import Codec, EncodedResult
from beautyspot.results.events import Events, Kind
from beautyspot.results.store import MISSING, Results

OnSaveError = Literal["warn", "raise"]

_HOST = os.uname().nodename
_MOST_COMPARED = 500  # kept calls, newest first, that a first miss is compared with
_MAX_TRACEBACK = 20_000  # characters of a traceback in the index


def worker() -> str:
    """This process, as viewers list it: ``host:pid``."""
    return f"{_HOST}:{os.getpid()}"


class TaskCache:
    """Reads and writes the results of one task.

    Args:
        results: The results of the project.
        keyer: The keyer of the task.
        codec: The codec of the task.
        content_type: The content type of the results, by which viewers show them.
        ttl: Seconds until a result expires, or ``None``.
        on_save_error: ``"warn"`` or ``"raise"``, for a result that cannot be written.
        events: The events of the project.
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
        self._warns_of_changed_code = True
        self._has_missed = False

    def read(self, entry: Entry, key: bytes | None = None) -> Any:
        """The value of *entry*, or ``MISSING``; warns once if the code has changed since the result was stored.

        Args:
            entry: The entry to read.
            key: The key under which the entry was found; ``None``: the read does not count as a hit, and emits no
                event.
        """
        if entry.code != self._keyer.made_by and self._warns_of_changed_code:
            self._warn_of_changed_code(entry)
        if entry.value is not None and entry.is_intact():
            try:
                value = self._loads(entry.value)
            except Exception:  # read once more by `Results`, which reports it
                value = self.results.read(entry, self.codec)
        else:
            value = self.results.read(entry, self.codec)
        if self._events.active:
            self._emit_hit(entry, key, value)
        return value

    def read_items(self, entry: Entry, key: bytes) -> Any:
        """An iterator over the items of a cached stream, or ``MISSING``; see `read`."""
        if entry.code != self._keyer.made_by and self._warns_of_changed_code:
            self._warn_of_changed_code(entry)
        items = self.results.read_items(entry, self.codec)
        if self._events.active:
            self._emit_hit(entry, key, items)
        return items

    def find(self, key: bytes) -> Any:
        """The cached result of *key*, or ``MISSING``."""
        entry = self.results.find(key)
        return MISSING if entry is None else self.read(entry, key)

    def has(self, key: bytes) -> bool:
        """Whether a usable result of *key* is cached; this does not count as a hit."""
        entry = self.results.find(key)
        return entry is not None and self.read(entry) is not MISSING

    def makes_a_value(self, entry: Entry) -> bool:
        """Whether a result in the index can be decoded; nothing is said. A blob is not opened, and counts as one."""
        if entry.value is None:
            return True
        try:
            self.codec.decode(entry.value)
        except Exception:  # a decoder may raise anything, and a call that reads the result says so
            return False
        return entry.is_intact()

    def returned(self, value: Any, entry: Entry | None) -> Any:
        """What a call returns whose *value* was stored: with ``mmap`` the mapped blob, as every hit after it."""
        if not self.codec.mmap or entry is None or entry.location is None:
            return value
        mapped = self.results.read_back(entry, self.codec)
        return value if mapped is MISSING else mapped

    def _warn_of_changed_code(self, entry: Entry) -> None:
        keyer = self._keyer
        code, home = entry.code[:CODE_SIZE], entry.code[CODE_SIZE:].decode(errors="replace")
        if not code or not keyer.code or code == keyer.code:
            return
        if home and home != keyer.home:
            text = (
                f"results that are kept for {keyer.name!r} were made by {home}, whose code was another one than "
                f'that of {keyer.home}, and are still returned. Set version="2" (any new value) to run anew, or give '
                "one of the two another name="
            )
        elif keyer.has_version:
            return
        else:
            # With a version constants do not count, so that calls which counted them would run once more.
            still = "" if keyer.constants() else 'version="1" to say that they still hold, '
            text = (
                f"the code of {keyer.function_name} has changed since some of its results were kept, and its version "
                f'has not: they are still returned. Set {still}version="2" to run anew, version="auto" to follow the '
                "code from now on, or forget() results that no longer hold"
            )
        self._warns_of_changed_code = False
        warn_once(("changed", repr(self.results.db), keyer.function_name), text, ChangedCodeWarning)

    def describe(self, call: KeyedCall) -> Summary:
        """What viewers list about a call, as far as it is known before the function runs."""
        keyer, now = self._keyer, time()
        return Summary(
            call.key,
            keyer.function_name,
            keyer.version,
            of_call(keyer.names, keyer.values(call.args, call.kwargs)),
            keyer.fingerprints(call.parts),
            self._content_type,
            0,
            now,
            None if self._ttl is None else now + self._ttl,
            None,
            worker(),
        )

    def encode(self, value: Any) -> EncodedResult:
        """Serialize a result.

        Raises:
            SerializationError: If that is impossible; the error carries *value*.
        """
        try:
            return self.codec.encode(value)
        except SerializationError as error:
            raise self._with_value(error, value, "returned") from None
        except Exception as cause:  # from a serializer of the user's own
            raise self._with_value(self._serializer_error(cause), value, "returned") from cause

    def encode_item(self, value: Any, number: int) -> bytes:
        """Serialize one item of a stream.

        Raises:
            SerializationError: If that is impossible; the error carries *value*.
        """
        try:
            return self.codec.serializer.dumps(value)
        except SerializationError as error:
            raise self._with_value(error.inside(f"[{number}]"), value, "yielded") from None
        except Exception as cause:  # as in `encode`
            raise self._with_value(self._serializer_error(cause).inside(f"[{number}]"), value, "yielded") from cause

    def _serializer_error(self, cause: Exception) -> SerializationError:
        kind = type(self.codec.serializer).__name__
        return SerializationError(f"the serializer {kind} gave no bytes for it: {type(cause).__name__}: {cause}")

    def _with_value(self, error: SerializationError, value: Any, how: str) -> SerializationError:
        if error.value is None:
            error = SerializationError(error.reason, error.path, value)
        error.function = self._keyer.function_name
        error.add_note(f"the value was {how} by {self._keyer.function_name} and is at .value of this error")
        return error

    def store(
        self, summary: Summary, value: Any, seconds: float | None, replaced: str | None = None
    ) -> tuple[Entry | None, EncodedResult]:
        """Serialize and write what the function returned: see `encode` and `write`.

        Args:
            summary: The call, from `describe`.
            value: What the function returned.
            seconds: How long the function ran; ``None`` if that is unknown.
            replaced: The location of the blob that this result replaces.

        Raises:
            SerializationError: If *value* cannot be serialized; the error carries it.
        """
        try:
            encoded = self.encode(value)
        except Exception as error:
            self._emit("error", summary, seconds=seconds, error=error)
            raise
        return self.write(summary, encoded, seconds, replaced), encoded

    def write(
        self, summary: Summary, encoded: EncodedResult, seconds: float | None, replaced: str | None
    ) -> Entry | None:
        """Write a serialized result.

        Returns:
            Its entry; ``None`` if it cannot be written and the project only warns (once).
        """
        try:
            entry = self._write(summary, encoded, seconds, replaced)
        except Exception as error:
            self._emit("error", summary, seconds=seconds, error=error)
            raise
        if self._events.active:
            self._emit_run(summary, encoded, seconds, stored=entry is not None)
        return entry

    def _write(
        self, summary: Summary, encoded: EncodedResult, seconds: float | None, replaced: str | None
    ) -> Entry | None:
        summary = self._complete(summary, encoded, seconds)
        try:
            return self.results.write(encoded, summary, self._keyer.made_by, replaced)
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
        """The record of a result that is stored in the index."""
        summary = self._complete(summary, encoded, seconds)
        entry = Entry(encoded.value, None, encoded.checksum, encoded.size, summary.expires, self._keyer.made_by)
        return Record(entry, summary)

    def try_write_group(self, records: Sequence[Record]) -> bool:
        """Commit records from `record` in one transaction; returns whether that succeeded.

        If it did not, the caller writes each result by itself: one of them may be the reason, and `write` reports it.
        """
        try:
            if records:
                self.results.write_records(records)
        except Exception:
            return False
        if self._events.active:
            for entry, summary in records:
                self._emit_run(summary, entry, summary.seconds, stored=True)
        return True

    def _complete(self, summary: Summary, encoded: EncodedResult, seconds: float | None) -> Summary:
        now = time()
        expires = None if self._ttl is None else now + self._ttl
        # Summary._replace would take ten times as long.
        return Summary(*summary[:6], encoded.size, now, expires, seconds, summary.worker)

    def put(self, summary: Summary, value: Any) -> Entry:
        """Store a value that was computed elsewhere, or raise."""
        encoded, replaced = self.encode(value), self.results.location(summary.key)
        entry = self.results.write(encoded, summary._replace(size=encoded.size), self._keyer.made_by, replaced)
        self._emit("keep", summary, size=entry.size, blob=entry.value is None)
        return entry

    def on_miss(self, summary: Summary) -> float:
        """Emit ``miss``, since the function is about to run; returns the time by `time.perf_counter`."""
        if self._events.active:
            self._emit("miss", summary)
        if not self._has_missed:
            self._has_missed = True
            if transient := self._keyer.transient_parts():
                self._warn_of_transient_parts(summary, transient)
        return perf_counter()

    def _warn_of_transient_parts(self, summary: Summary, transient: dict[int, str]) -> None:
        """Warn if the call was kept but for values that only this process has: each process would run it again."""
        wanted = split_fingerprints(summary.arguments)
        try:
            others = list(itertools.islice(self.results.db.summaries(summary.function), _MOST_COMPARED))
        except Exception:  # an index that cannot be read has its own warning
            return
        for other in others:
            found = split_fingerprints(other.arguments)
            different = [i for i, pair in enumerate(zip(wanted, found, strict=False)) if pair[0] != pair[1]]
            if len(found) == len(wanted) and different and transient.keys() >= set(different):
                names = [transient[i] for i in different]
                warn_once(
                    ("transient", summary.function),
                    f"{summary.function} runs again in each process: {', '.join(map(repr, names))} holds a value that "
                    "only one process has (a time, a temporary path, a random name), and nothing else differs from a "
                    f"call that is kept. Write @project.task(ignore={names[0] if len(names) == 1 else tuple(names)!r})",
                    CapturedWarning,
                )
                return

    def on_wait(self, summary: Summary, seconds: float) -> None:
        """The call waited *seconds* for another run of its key: emit ``wait``."""
        if seconds:
            self._emit("wait", summary, seconds=seconds)

    def on_failure(self, summary: Summary, error: Exception, seconds: float) -> None:
        """The function raised: record the failure for viewers and emit ``error``; neither hides the exception."""
        self._record_failure(summary, error, seconds)
        self._emit("error", summary, seconds=seconds, error=error)

    def _record_failure(self, summary: Summary, error: Exception, seconds: float) -> None:
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
            text if len(text) <= _MAX_TRACEBACK else text[:_MAX_TRACEBACK] + "…",
            time(),
            seconds,
            summary.worker,
        )
        self._try_to_record(lambda: db.note_failure(failure))

    def record_map(self, progress: MapProgress) -> None:
        """Record for viewers how far a map has come."""
        db = self.results.db
        if isinstance(db, MapLog):
            self._try_to_record(lambda: db.note_map(progress))

    def _try_to_record(self, write: Callable[[], None]) -> None:
        """Write what only viewers need; if that fails, the job goes on, and one warning says so."""
        try:
            write()
        except Exception as cause:
            db = repr(self.results.db)
            warn_once(("not noted", db), f"nothing can be recorded for viewers in {db}: {cause}", NotKeptWarning)

    def _emit_hit(self, entry: Entry, key: bytes | None, value: Any) -> None:
        if key is not None and value is not MISSING:
            blob = entry.location is not None
            self._events.emit("hit", self._keyer.function_name, key, size=entry.size, blob=blob)

    def _emit_run(self, summary: Summary, result: EncodedResult | Entry, seconds: float | None, stored: bool) -> None:
        """Emit ``run`` and ``keep``, both once the result is committed."""
        size, blob = result.size, result.value is None
        if seconds is not None:
            self._emit("run", summary, seconds=seconds, size=size)
        if stored:
            self._emit("keep", summary, size=size, blob=blob)

    def _emit(self, kind: Kind, summary: Summary, **more: Any) -> None:
        self._events.emit(kind, summary.function, summary.key, input=summary.input, **more)
