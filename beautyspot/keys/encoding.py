"""The canonical encoding: equal values give equal bytes everywhere, different values never do.

Plain data is MessagePack, which distinguishes int, float, bool, str and bytes. Everything else begins with
the byte 0xC1, which MessagePack never uses, and a tag; each form contains its own length, so that encodings can
be concatenated. Large contents are replaced by their BLAKE3 digest. Shared references, the order of dicts and
sets, the hash seed and the memory layout of arrays make no difference.

Each object is visited once, so that the work is bounded by the size of a value. An object that is met again below
itself is encoded as its distance. Objects that pickle reduces to parts are encoded by these parts, which are only read
and never called. What was captured may hold what has no identity (a lock, a client of an unknown library): it counts as
far as it can be told apart. As an argument it is an `UnkeyableError` with its path.
"""

from __future__ import annotations

import copyreg
import datetime
import enum
import pathlib
import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgpack

from beautyspot._internal.digests import digest_of
from beautyspot._internal.names import full_name, module_name
from beautyspot.errors import UnkeyableError
from beautyspot.keys import captured, clients, definitions, handles, values
from beautyspot.keys.attributes import attributes_of, has_attributes_only, is_ordered, name_in_modules
from beautyspot.keys.notices import hook_of
from beautyspot.keys.traversal import Kind, Watcher

PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_SHORT = PLAIN - {bytes}  # bytes may be long, and are encoded by their digest then
MOST_ITEMS = 64  # items of a dict that are places of their own
_LARGE = 4096  # bytes from which a content is replaced by its digest
_NEVER = 1 << 30  # the depth of no ancestor

# One packer serves all threads: packing exact plain types runs no Python code, so no other thread comes between.
_packer = msgpack.Packer(strict_types=True, unicode_errors="surrogatepass", buf_size=4096)
pack: Callable[[Any], bytes] = _packer.pack
_header: Callable[[int], bytes] = _packer.pack_array_header
_map_header: Callable[[int], bytes] = _packer.pack_map_header
_pack_pairs: Callable[[Any], bytes] = msgpack.Packer(unicode_errors="surrogatepass", buf_size=4096).pack
_objects: set[type] = set()  # classes whose objects are their attributes
_MOST_OBJECTS = 1024
_ADDRESS = re.compile(r" (?:at|@) 0x[0-9a-fA-F]+|\b0x[0-9a-fA-F]{9,16}\b")


class Partly(NamedTuple):
    """An argument of which a part does not count.

    Attributes:
        value: The argument.
        name: Its name.
        ignored: The paths that do not count, such as ``config['client']``.
    """

    value: Any
    name: str
    ignored: frozenset[str]


class Encoder:
    """One traversal of a value.

    Args:
        captured: Whether the value was captured, so that what has no identity counts by its type.
        watcher: Remembers how places count; ``None``: they count as they are.
        path: Where the value stands, for messages.
        ignored: Paths below the value that do not count.

    Attributes:
        unidentified: Paths of objects that count by their type alone, with the objects.
    """

    __slots__ = ("_active", "_captured", "_depth", "_ignored", "_low", "_memo", "_path", "_watcher", "unidentified")

    def __init__(
        self,
        captured: bool = False,
        watcher: Watcher | None = None,
        path: str = "",
        ignored: frozenset[str] = frozenset(),
    ) -> None:
        self._captured = captured
        self._watcher = watcher
        self._active = watcher if captured else None
        self._path: list[tuple[Kind, str]] = [("variable", path)]
        self._ignored = ignored
        self._memo: dict[int, list[Any]] = {}
        self._depth = 0
        self._low = _NEVER
        self.unidentified: list[tuple[str, Any]] = []

    def any(self, value: Any) -> bytes:
        """The canonical bytes of *value*.

        Raises:
            UnkeyableError: If *value* has no canonical encoding; its path leads to the part that has none.
        """
        kind = type(value)
        encoder = _ENCODERS.get(kind)
        return encoder(self, value) if encoder is not None else self._other(value, kind)

    def tagged(self, tag: bytes, *parts: Any) -> bytes:
        """The encoding of *parts* under a one-byte *tag*."""
        return b"\xc1" + tag + _header(len(parts)) + b"".join(map(self.any, parts))

    def node(self, value: Any, encode_parts: Callable[[Any], bytes]) -> bytes:
        """The encoding of an object that may be met again: below itself, or elsewhere in the same value."""
        known = self._memo.get(id(value))
        if known is not None:
            _, depth, number, data, closed = known
            if data is None:
                self._low = min(self._low, depth)
                return b"\xc1^" + pack(self._depth - depth)
            if closed:
                return bytes(data)
            self._low = 0  # what refers to an ancestor cannot be moved: it is named by the order of visits
            return b"\xc1&" + pack(number)
        outer, self._low = self._low, _NEVER
        self._depth += 1
        mine = self._memo[id(value)] = [value, self._depth, len(self._memo), None, False]
        try:
            data = encode_parts(value)
        finally:
            self._depth -= 1
        data = _shortened(data)
        closed = self._low > self._depth
        mine[3:] = data, closed
        self._low = outer if closed else min(outer, self._low)
        return data

    def named(self, holder: Any, kind: Kind, items: Mapping[str, Any]) -> bytes:
        """The encodings of attributes or items by name; each is a place of its own.

        Args:
            holder: What they belong to.
            kind: ``"attribute"`` or ``"item"``; ``"state"``: they are no places.
            items: The values by name.
        """
        watched = self._active.of(holder, kind) if self._active is not None and kind != "state" else None
        names = sorted(items) if watched is None else sorted({*items, *watched.names()})
        parts: list[bytes] = [b""]  # the header comes last: some may be absent
        steps = self._path
        for name in names:
            steps.append((kind, name))
            if self._ignored and self.is_ignored():
                steps.pop()
                continue
            try:
                if watched is None:
                    data: bytes | None = self.any(items[name])
                else:
                    held = self._place(items[name]) if name in items else (None, 0, False)
                    data = watched.counts(name, held[0], self.path, *held[1:])
            except UnkeyableError as error:
                raise error.inside(_step(kind, name)) from None
            steps.pop()
            if data is not None:
                parts.append(pack(name) + data)
        parts[0] = _map_header(len(parts) - 1)
        return b"".join(parts)

    def variables(self, cells: Mapping[str, Any]) -> bytes:
        """The encodings of captured variables, by name; each is a place."""
        parts: list[bytes] = []
        for name in sorted(cells):
            self._path.append(("variable", name))
            try:
                if not self._ignored or not self.is_ignored():
                    parts.append(pack(name) + self.variable(name, cells[name]))
            except UnkeyableError as error:
                raise error.inside(_step("variable", name)) from None
            self._path.pop()
        return _map_header(len(parts)) + b"".join(parts)

    def variable(self, name: str, cell: Any) -> bytes:
        """The encoding of what a cell holds; of one that is not assigned yet, no bytes."""
        try:
            value = cell.cell_contents
        except ValueError:  # the enclosing function assigns it further down
            held = b"", 0, False
        else:
            before = self._captured, self._active
            self._captured, self._active = True, self._watcher
            try:
                held = self._place(value)
            finally:
                self._captured, self._active = before
        watched = self._watcher.of(cell, "variable") if self._watcher is not None else None
        return held[0] if watched is None else watched.counts(name, held[0], self.path, *held[1:]) or b""

    def _place(self, value: Any) -> tuple[bytes, int, bool]:
        """The encoding of what a place holds, its identity, and whether it refers to what holds it."""
        outer, self._low = self._low, _NEVER
        data = self.any(value)
        refers_upwards = self._low != _NEVER
        self._low = min(outer, self._low)
        return data, id(value), refers_upwards

    def constant(self, scope: dict[str, Any], name: str, data: bytes) -> bytes:
        """The bytes as which a global name counts, whose value has the bytes *data*."""
        watched = self._watcher.of(scope, "constant") if self._watcher is not None else None
        return data if watched is None else watched.counts(name, data, self.path) or b""

    def path(self) -> str:
        """Where the traversal stands, such as ``self.client``."""
        return "".join(_step(kind, name) for kind, name in self._path).lstrip(".")

    def is_ignored(self) -> bool:
        """Whether the place at which the traversal stands is ignored, by its path or by its last name."""
        return self.path() in self._ignored

    def as_captured(self, value: Any) -> bytes:
        """The encoding of a part that was captured, whatever the whole is."""
        before = self._captured, self._active
        self._captured, self._active = True, self._watcher
        try:
            return self.any(value)
        finally:
            self._captured, self._active = before

    def captured_attributes(self, holder: Any, items: Mapping[str, Any]) -> bytes:
        """The encodings of attributes of what was captured, by name, whatever the whole is."""
        before = self._captured, self._active
        self._captured, self._active = True, self._watcher
        try:
            return self.named(holder, "attribute", items)
        finally:
            self._captured, self._active = before

    def _whole(self, value: Any, data: bytes) -> bytes:
        """The bytes as which a collection counts that can change in place."""
        watched = self._active.of(value, "collection") if self._active is not None else None
        counted = data if watched is None else watched.counts("", data, self.path)
        return data if counted is None else counted

    def _int(self, value: int) -> bytes:
        try:
            return pack(value)
        except OverflowError:
            return b"\xc1i" + pack(value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))

    def _plain(self, value: Any) -> bytes:
        return pack(value)

    def _bytes(self, value: Any) -> bytes:
        if len(value) < _LARGE:
            return pack(bytes(value))
        return b"\xc1B" + pack(len(value)) + digest_of(value)

    def _bytearray(self, value: bytearray) -> bytes:
        return self._whole(value, b"\xc1b" + self._bytes(value))

    def items(self, members: Iterable[Any]) -> list[bytes]:
        """The encodings of *members*, in their order."""
        parts: list[bytes] = []
        try:
            for value in members:
                parts.append(self.any(value))
        except UnkeyableError as error:
            raise error.inside(f"[{len(parts)}]") from None
        return parts

    def _sequence(self, value: list[Any] | tuple[Any, ...]) -> bytes:
        if PLAIN.issuperset(map(type, value)):
            try:
                return pack(value if type(value) is list else list(value))
            except OverflowError:  # an integer of more than 64 bits
                pass
        if values.holds_scalars(value):
            return self._sequence(values.plain_items(value))
        return self.node(value, self._nested)

    def _nested(self, value: list[Any] | tuple[Any, ...]) -> bytes:
        return _header(len(value)) + b"".join(self.items(value))

    def _list(self, value: list[Any]) -> bytes:
        return self._whole(value, self._sequence(value))

    def _tuple(self, value: tuple[Any, ...]) -> bytes:
        return b"\xc1t" + self._sequence(value)

    def _members(self, value: Iterable[Any]) -> bytes:
        parts = sorted(self.items(value))
        return _header(len(parts)) + b"".join(parts)

    def _set(self, value: set[Any]) -> bytes:
        return self._whole(value, b"\xc1s" + self.node(value, self._members))

    def _frozenset(self, value: frozenset[Any]) -> bytes:
        return b"\xc1f" + self.node(value, self._members)

    def _dict(self, value: dict[Any, Any]) -> bytes:
        by_text = all(type(key) is str for key in value)
        if by_text and ((len(value) <= MOST_ITEMS and self._active is not None) or self._ignored):
            return self._whole(value, b"\xc1d" + self.node(value, self._text_items))
        if by_text and _SHORT.issuperset(map(type, value.values())):
            try:
                return self._whole(value, b"\xc1d" + _shortened(_pack_pairs(dict(sorted(value.items())))))
            except OverflowError:  # an integer of more than 64 bits
                pass
        if by_text:
            return self._whole(value, b"\xc1d" + self.node(value, self._text_items))
        if values.holds_scalars(value):
            plain = dict(zip(values.plain_items(value), value.values(), strict=True))
            return self._whole(value, self._dict(plain))
        return self._whole(value, b"\xc1D" + self.node(value, self._pairs))

    def _text_items(self, value: dict[str, Any]) -> bytes:
        return self.named(value, "item", value)

    def _pairs(self, value: Mapping[Any, Any]) -> bytes:
        pairs = []
        for key, item in value.items():
            try:
                pairs.append((self.any(key), self.any(item)))
            except UnkeyableError as error:
                raise error.inside(f"[{key!r}]") from None
        return _header(len(pairs)) + b"".join(part for pair in sorted(pairs) for part in pair)

    def _datetime(self, value: Any) -> bytes:
        zone = getattr(value, "tzinfo", None)
        return self.tagged(b"T", type(value).__name__, value.isoformat(), getattr(value, "fold", 0), zone)

    def _path_object(self, value: pathlib.PurePath) -> bytes:
        # To users a concrete path is one type, whether PosixPath or WindowsPath.
        kind = "Path" if isinstance(value, pathlib.Path) else type(value).__name__
        return self.tagged(b"p", kind, value.as_posix())

    def _module(self, value: types.ModuleType) -> bytes:
        return self.tagged(b"M", module_name(value.__name__))

    def _view(self, value: memoryview) -> bytes:
        return self._whole(value, self._made_of((b"v", "memoryview", value.format, value.shape or (), value.tobytes())))

    def _match(self, value: re.Match[Any]) -> bytes:
        return self.tagged(b"v", "match", value.re, value.string, value.pos, value.endpos, value.regs)

    def _partly(self, value: Partly) -> bytes:
        before = self._path, self._ignored
        path: list[tuple[Kind, str]] = [("variable", value.name)]
        self._path, self._ignored = path, value.ignored
        try:
            return self.any(value.value)
        finally:
            self._path, self._ignored = before

    def _enum(self, value: enum.Enum) -> bytes:
        # A combination of flags is no member and may have no name.
        flags = value._value_ if isinstance(value, enum.Flag) else None
        return b"\xc1e" + definitions.name_of(self, type(value)) + self.any(value._name_) + self.any(flags)

    def _other(self, value: Any, kind: type) -> bytes:
        """The encoding of a value whose exact type has no encoder."""
        if kind in _objects:
            return self.node(value, self._attributes)
        hook = getattr(kind, "__beautyspot_key__", None)
        if hook is not None and not isinstance(value, type):
            return b"\xc1k" + definitions.name_of(self, kind) + self.any(hook(value))
        followed = definitions.encoder_of(value, kind)
        if followed is not None:
            return followed(self, value)
        plain = values.plain_of(value, kind)
        if plain is not value:
            return self.any(plain)
        try:
            parts = handles.parts_of(value, kind, self._captured) or values.parts_of(value, kind)
            parts = parts or clients.client_parts(value, kind)
        except UnkeyableError:  # what is closed, or belongs to another thread, cannot be read
            if not self._captured:
                raise
            return self._without_identity(value, kind)
        if parts is not None:
            return self._whole(value, self._made_of(parts))
        if isinstance(value, enum.Enum):
            return self._enum(value)
        if isinstance(value, pathlib.PurePath):
            return self._path_object(value)
        if has_attributes_only(value, kind):
            if not values.has_forms(kind):  # known from here on, by its class alone
                if len(_objects) >= _MOST_OBJECTS:
                    _objects.clear()
                _objects.add(kind)
            return self.node(value, self._attributes)
        return self._whole(value, self.node(value, self._reduced))

    def _made_of(self, parts: tuple[Any, ...]) -> bytes:
        """The encoding of parts that were made for it, which are no places."""
        before, self._active = self._active, None
        try:
            return self.tagged(*parts)
        finally:
            self._active = before

    def _attributes(self, value: Any) -> bytes:
        """The encoding of an object that is its attributes."""
        state = self.named(value, "attribute", attributes_of(value))
        return b"\xc1o" + definitions.name_of(self, type(value)) + state

    def _reduced(self, value: Any) -> bytes:
        """The encoding of the parts to which pickle would reduce *value*."""
        kind = type(value)
        if kind is object:
            return self._sentinel(value)
        # For exceptions some libraries register reducers that add a traceback, once they are loaded.
        reducer = None if isinstance(value, BaseException) else copyreg.dispatch_table.get(kind)
        try:
            parts: Any = reducer(value) if reducer else value.__reduce_ex__(4)
        except Exception:
            return self._without_identity(value, kind)
        if isinstance(parts, str):
            return self.tagged(b"F", module_name(getattr(value, "__module__", None)), parts)
        function, args, state, items, pairs = (*parts, *[None] * 5)[:5]
        whole = [self.any(function), self.any(args), self._state(state)]
        whole.append(b"" if items is None else b"\xc1l" + self._nested(list(items)))
        if pairs is not None:
            # Mappings are equal in any order, except for OrderedDict.
            listed = [list(pair) for pair in pairs]
            whole.append(
                b"\xc1O" + _header(len(listed)) + b"".join(self.items(listed))
                if is_ordered(kind)
                else b"\xc1D" + self._pairs(dict(listed))
            )
        return b"\xc1r" + _header(len(whole)) + b"".join(whole)

    def _sentinel(self, value: object) -> bytes:
        """A bare object: by the name under which a module has it."""
        name = name_in_modules(value)
        return self._without_identity(value, object) if name is None else self.tagged(b"S", name)

    def _state(self, state: Any) -> bytes:
        """The encoding of an object's state, by attribute."""
        if type(state) is dict and all(type(name) is str for name in state):
            # An exception gets an empty state when it is raised, and notes from whoever catches it.
            own = {name: item for name, item in state.items() if name != "__notes__"}
            return b"\xc1a" + self.named(state, "state", own) if own else pack(None)
        return self.any(state)

    def _without_identity(self, value: Any, kind: type) -> bytes:
        """The encoding of an object that cannot be read whole: its class, its attributes, and its ``repr``."""
        if not self._captured:
            cure = handles.AS_LIST if hasattr(kind, "__next__") else "{ignore}" + hook_of(kind)
            raise UnkeyableError(f"({full_name(kind)}) cannot identify a call", (), cure)
        try:
            shown = repr(value)
        except Exception:  # it is shown by its class then
            shown = ""
        text = _ADDRESS.sub("", shown).replace(str(id(value)), "")
        state = self.named(value, "attribute", attributes_of(value))
        if text != shown or not shown:
            self.unidentified.append((self.path(), value))
        return b"\xc1u" + definitions.name_of(self, kind) + pack(text) + state


def _step(kind: Kind, name: str) -> str:
    """A step of a path, as Python code has it."""
    return f"[{name!r}]" if kind == "item" else f".{name}"


def encode(value: Any) -> bytes:
    """The canonical bytes of *value*, an argument.

    Raises:
        UnkeyableError: If *value* has no canonical encoding; its path leads to the part that has none.
    """
    return traversed(Encoder(watcher=captured.watcher()).any, value)


def _shortened(data: bytes) -> bytes:
    """Large encodings are replaced by their digests."""
    return data if len(data) <= _LARGE else b"\xc1Z" + pack(len(data)) + digest_of(data)


def traversed(traverse: Callable[[Any], bytes], value: Any) -> bytes:
    """What *traverse* returns for *value*.

    Raises:
        UnkeyableError: As `encode`.
    """
    try:
        return traverse(value)
    except RecursionError:
        raise UnkeyableError("(nested too deeply) cannot identify a call") from None


_ENCODERS: dict[type, Callable[[Encoder, Any], bytes]] = {
    type(None): Encoder._plain,
    bool: Encoder._plain,
    float: Encoder._plain,
    int: Encoder._int,
    str: Encoder._plain,
    bytes: Encoder._bytes,
    bytearray: Encoder._bytearray,
    list: Encoder._list,
    tuple: Encoder._tuple,
    set: Encoder._set,
    frozenset: Encoder._frozenset,
    dict: Encoder._dict,
    datetime.datetime: Encoder._datetime,
    datetime.date: Encoder._datetime,
    datetime.time: Encoder._datetime,
    types.ModuleType: Encoder._module,
    type({}.keys()): lambda self, value: self._made_of((b"v", "keys", set(value))),
    type({}.values()): lambda self, value: self._made_of((b"v", "values", list(value))),
    type({}.items()): lambda self, value: self._made_of((b"v", "items", dict(value))),
    memoryview: Encoder._view,
    Partly: Encoder._partly,
    re.Match: Encoder._match,
    types.EllipsisType: lambda _, __: b"\xc1.",
    types.NotImplementedType: lambda _, __: b"\xc1!",
}
