"""MsgpackSerializer: results to bytes and back, with MessagePack, registered types and built-in types.

All of MessagePack's 128 extension codes for applications belong to users; built-in types have negative codes
(`types`). Nothing that is read is executed, and no module is imported by a name found in data: a class must be loaded
already.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import msgpack
from msgpack import ExtType

from beautyspot._internal.names import full_name, module_name
from beautyspot.errors import ConfigurationError, DeserializationError, SerializationError, UnknownTypeError
from beautyspot.protocols.serializer import Buffer
from beautyspot.serialization.classes import loaded, reference, state_of
from beautyspot.serialization.types.builtin import DECODERS, DISGUISED, ENCODERS, BufferRef, Masked
from beautyspot.serialization.types.codes import Code, Decoder, Encoder
from beautyspot.serialization.types.lookup import decoder_of, family_of

__all__ = ["MsgpackSerializer"]

T = TypeVar("T")

_unpackb: Callable[..., Any] = msgpack.unpackb
_NATIVE = (type(None), bool, int, float, str, bytes, list, dict)
_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
_NESTING = "it is nested more than 500 levels deep (100 of other types than list and dict), or contains itself"
_SHALLOW = 6  # levels of extensions that are decoded on the stack of a thread, which may have 512 kB
_DEEPEST = 100  # levels of extensions that a value may have
BUFFER_SIZE = 1 << 16  # bytes from which on a buffer is separate from the message


class MsgpackSerializer:
    """The serializer of every project that is not given another one."""

    _builtin: ClassVar[dict[int, Decoder]] = dict(DECODERS)

    def __init__(self) -> None:
        self._codes: dict[type, int] = {}
        self._encoders: dict[type, Callable[[Any], bytes]] = {}
        self._decoders: dict[int, Callable[[bytes], Any]] = {}
        self._plain: dict[str, type] = {}  # classes that are kept by their attributes, by name

    def register(
        self,
        type_: type[T],
        code: int | None = None,
        encoder: Callable[[T], bytes] | None = None,
        decoder: Callable[[bytes], T] | None = None,
    ) -> None:
        """Serialize values of *type_* and of its subclasses.

        Args:
            type_: The type. If it has a built-in encoder, register it before it is first used.
            code: Extension code, a number from 0 to 127, one for each type; it is part of the stored data and must not
                change later. Without code, encoder and decoder, a value is stored as what is in its ``__dict__`` and
                its slots.
            encoder: Function that turns a value into bytes.
            decoder: Function that turns these bytes back into a value.

        Raises:
            ConfigurationError: If the code is out of range, or the code or the type is registered already; without a
                code, if the state of the type's values is not in their attributes.
        """
        if not isinstance(type_, type):
            raise ConfigurationError(f"register_type takes a class, not {type_!r}")
        if code is None and encoder is None and decoder is None:
            self._register_plain(type_)
            return
        if code is None or encoder is None or decoder is None:
            raise ConfigurationError(
                f"give code=, encoder= and decoder= for {full_name(type_)}, or none of them: then it is kept by its "
                "attributes"
            )
        if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 127:
            raise ConfigurationError(f"code must be a whole number from 0 to 127, not {code!r}")
        if type_ in _NATIVE:
            raise ConfigurationError(f"MessagePack holds {type_.__name__} as it is; it cannot be registered")
        for other, taken in self._codes.items():
            if (taken == code) != (other is type_):
                raise ConfigurationError(f"{full_name(other)} is registered under code {taken} already")
        self._codes[type_], self._encoders[type_], self._decoders[code] = code, encoder, decoder

    def _register_plain(self, type_: type) -> None:
        from beautyspot.serialization.types.objects import check_plain

        if type_ in ENCODERS or type_ in _NATIVE or family_of(type_) is not None:
            return  # it is kept as it is
        check_plain(type_)
        self._plain[full_name(type_)] = type_

    def dumps(self, value: Any) -> bytes:
        """The bytes of *value*.

        Raises:
            SerializationError: If a type is unknown. The text names the type, its path, and `Project.register_type`.
        """
        return _Dump(self, None).whole(value)

    def dump_parts(self, value: Any) -> tuple[bytes, list[memoryview]]:
        """The bytes of *value* without its large buffers, and these buffers; see `dumps`."""
        if type(value) is bytes and len(value) >= BUFFER_SIZE:
            return _HEAD_OF_BYTES, [memoryview(value)]
        buffers: list[memoryview] = []
        return _Dump(self, buffers).whole(value), buffers

    def loads(self, data: Buffer) -> Any:
        """The value of *data*, as a new object.

        Raises:
            DeserializationError: If this serializer did not write *data*, or a class is not loaded.
        """
        return self._loaded(data, self._decode)

    def load_parts(self, head: Buffer, buffers: Sequence[memoryview]) -> Any:
        """The value that `dump_parts` took apart; its arrays are views of *buffers*. See `loads`."""

        def decode(code: int, data: bytes, depth: int = 0) -> Any:
            if code == Code.BUFFER:
                return buffers[int.from_bytes(data, "big")]
            return self._decode(code, data, depth, decode)

        return self._loaded(head, decode)

    def join_items(self, items: Sequence[bytes]) -> bytes:
        """The bytes of a list whose *items* were serialized by `dumps` one by one."""
        header: bytes = msgpack.Packer().pack_array_header(len(items)) or b""
        return b"".join((header, *items))

    def load_items(self, data: Buffer) -> Iterator[Any]:
        """The items of a list one by one. See `loads`."""
        size = max(1, len(data))
        options: dict[str, Any] = {"strict_map_key": False, "unicode_errors": "surrogatepass"}
        unpacker = msgpack.Unpacker(ext_hook=self._decode, max_buffer_size=size, read_size=size, **options)
        try:
            unpacker.feed(data)
            for _ in range(unpacker.read_array_header()):
                yield unpacker.unpack()
        except DeserializationError:
            raise
        except Exception as cause:  # as in `_loaded`
            raise DeserializationError(f"{type(cause).__name__}: {cause}") from cause

    def _loaded(self, data: Buffer, decode: Callable[..., Any]) -> Any:
        try:
            return _unpackb(data, ext_hook=decode, strict_map_key=False, unicode_errors="surrogatepass")
        except DeserializationError:
            raise
        except Exception as cause:  # a decoder may raise anything for bytes that its encoder did not write
            raise DeserializationError(f"{type(cause).__name__}: {cause}") from cause

    def _decode(self, code: int, data: bytes, depth: int = 0, decode: Callable[..., Any] | None = None) -> Any:
        """The value of an extension, *depth* extensions deep; *decode* decodes the extensions in it."""
        if code >= 0:
            decoder = self._decoders.get(code)
            return self._unknown(code, data) if decoder is None else decoder(data)
        builtin = self._builtin.get(code) or self._found(code)
        unpack = _unpackb if depth < _SHALLOW else _unpack_deep
        hook = partial(decode or self._decode, depth=depth + 1)
        return builtin(unpack(data, ext_hook=hook, strict_map_key=False, unicode_errors="surrogatepass"))

    def _found(self, code: int) -> Decoder:
        """The decoder of a built-in code that was not needed before."""
        if code == Code.OBJECT:
            return self._object
        decoder = decoder_of(code)
        if decoder is None:
            raise UnknownTypeError(f"unknown extension code {code}; a newer beautyspot wrote it")
        self._builtin[code] = decoder
        return decoder

    def _object(self, data: Any) -> Any:
        """An instance of a class that is registered without an encoder, or of its subclass."""
        from beautyspot.serialization.types.objects import made

        (module, qualname), state, declared = data
        cls = self._plain.get(f"{module}.{qualname}") or loaded((module, qualname))
        if not any(base in cls.__mro__ for base in self._plain.values()):
            raise UnknownTypeError(
                f"call project.register_type({qualname}) first: {module}.{qualname} is not registered"
            )
        return made(cls, state, declared)

    def _unknown(self, code: int, data: bytes) -> Any:
        """The value for an unregistered code: an error here; `ClasslessDecoder` returns an `UnknownObject`."""
        raise UnknownTypeError(f"no type is registered under code {code}; call register_type first")


def _unpack_deep(data: bytes, ext_hook: Any, **options: Any) -> Any:
    """Like ``unpackb``, but on the heap: that needs some 50 kB of the thread's stack for each level."""
    if ext_hook.keywords["depth"] > _DEEPEST:
        raise DeserializationError(_NESTING)
    size = max(1, len(data))
    unpacker = msgpack.Unpacker(ext_hook=ext_hook, max_buffer_size=size, read_size=size, **options)
    unpacker.feed(data)
    value = unpacker.unpack()
    if unpacker.tell() != len(data):
        raise DeserializationError("bytes behind the end of a value")
    return value


class _Dump:
    """The serialization of one value."""

    def __init__(self, serializer: MsgpackSerializer, buffers: list[memoryview] | None) -> None:
        self._serializer = serializer
        self._buffers = buffers
        self._depth = 0

    def whole(self, value: Any) -> bytes:
        """The bytes of *value*; an error has it as ``value``, and the path to the part that failed."""
        try:
            return self.pack(value)
        except SerializationError as error:
            found = self._locate(value) or error
            raise SerializationError(found.reason, found.path, value) from error.__cause__
        except (ValueError, RecursionError) as cause:
            reason = _NESTING if "recursion" in str(cause) else str(cause)
            raise SerializationError(reason, (), value) from cause

    def pack(self, value: Any) -> bytes:
        """The bytes of a value or of a part of one."""
        if type(value) not in _ATOMS and not _undisguised(value):
            value = _masked(value)
        packer = msgpack.Packer(default=self._default, strict_types=True, unicode_errors="surrogatepass", buf_size=1024)
        packed: bytes = packer.pack(value)
        return packed

    def _default(self, value: Any) -> ExtType:
        """The extension for a value that MessagePack does not know."""
        if type(value) is Masked:
            value = value.value
        kind: Any = type(value)
        if kind is BufferRef:
            return _ext(Code.BUFFER, value.to_bytes(4, "big"))
        for base in kind.__mro__ if self._serializer._encoders else ():
            if base in self._serializer._encoders:
                return self._registered(value, base)
        found = ENCODERS.get(kind) or family_of(kind) or self._of_plain(kind)
        if found is None:
            raise SerializationError(_how_to_keep(kind))
        code, encoder = found
        self._depth += 1
        if self._depth > _DEEPEST:
            raise SerializationError(_NESTING)
        try:
            return _ext(code, self.pack(encoder(value, self._keep_apart)))
        finally:
            self._depth -= 1

    def _of_plain(self, kind: type) -> tuple[int, Encoder] | None:
        """The code and the encoder of a class that is registered without one, or of its subclass."""
        plain = self._serializer._plain
        if not any(plain.get(full_name(base)) is base for base in kind.__mro__ if plain):
            return None
        from beautyspot.serialization.types.objects import take_apart

        registered = plain.get(full_name(kind)) is kind
        name = [module_name(kind.__module__), kind.__qualname__]
        return Code.OBJECT, lambda v, _: [name if registered else reference(kind), *take_apart(v)]

    def _registered(self, value: Any, base: type) -> ExtType:
        try:
            data = self._serializer._encoders[base](value)
        except Exception as cause:
            raise SerializationError(f"the encoder of {full_name(base)} failed: {cause}") from cause
        if not isinstance(data, bytes):
            raise SerializationError(f"the encoder of {full_name(base)} gave {type(data).__name__} and not bytes")
        return _ext(self._serializer._codes[base], data)

    def _keep_apart(self, buffer: memoryview) -> Any:
        """The bytes of *buffer* if it is small, else a reference to it."""
        if self._buffers is None or buffer.nbytes < BUFFER_SIZE:
            return bytes(buffer)
        self._buffers.append(buffer)
        return BufferRef(len(self._buffers) - 1)

    def _locate(self, value: Any) -> SerializationError | None:
        """The first error in *value*, with the path to the innermost part that causes it."""
        for part, child in _children(value):
            try:
                self.pack(child)
            except SerializationError as error:
                return (self._locate(child) or error).inside(part)
            except (ValueError, RecursionError):
                return None
        return None


def _how_to_keep(kind: type) -> str:
    """What to write for a type that nobody knows."""
    from beautyspot.serialization.types.objects import check_plain

    name = full_name(kind)
    if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
        return (
            f"a {name} is used up when it is read; return a list, or have what it gives kept as it "
            "comes: `yield from` it in the function"
        )
    try:
        check_plain(kind)
    except ConfigurationError:
        return (
            f"a {name} cannot be kept; return plain data instead, or say how with "
            f"project.register_type(type_={kind.__name__}, code=..., encoder=..., decoder=...)"
        )
    return f"write project.register_type({kind.__name__}) to keep it by its attributes: a {name} cannot be kept yet"


def _ext(code: int, data: bytes) -> ExtType:
    # ExtType itself rejects negative codes, which the packer writes and the format allows.
    return tuple.__new__(ExtType, (code, data))


# The head of a blob that is one large bytes object: the first buffer, as bytes.
_HEAD_OF_BYTES: bytes = msgpack.Packer().pack(_ext(Code.BYTES, msgpack.Packer().pack(_ext(Code.BUFFER, b"")))) or b""


_WITH_FIELDS = ("__dataclass_fields__", "model_fields", "__attrs_attrs__", "__struct_fields__")


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"[{key!r}]", item
            yield f" key {key!r}", key
    elif isinstance(value, list | tuple):
        yield from ((f"[{i}]", item) for i, item in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((f" item {item!r}", item) for item in value)
    elif any(hasattr(type(value), mark) for mark in _WITH_FIELDS) or type(value) is types.SimpleNamespace:
        yield from ((f".{name}", item) for name, item in state_of(value).items())


def _undisguised(value: Any) -> bool:
    """Whether no part has a type that MessagePack would silently write as another (bytearray as bytes)."""
    kind = type(value)
    if kind is dict:
        kinds = {*map(type, value), *map(type, value.values())}
        inner: Any = value.values()
    elif kind is list:
        kinds, inner = set(map(type, value)), value
    else:
        return kind not in DISGUISED
    if not DISGUISED.isdisjoint(kinds):
        return False
    if list in kinds or dict in kinds:
        return all(_undisguised(item) for item in inner if type(item) is list or type(item) is dict)
    return True


def _masked(value: Any) -> Any:
    """A copy of *value* in which disguised types are wrapped, so that the packer calls the encoder for them."""
    if type(value) is dict:
        return {key: _masked(item) for key, item in value.items()}
    if type(value) is list:
        return [_masked(item) for item in value]
    return Masked(value) if type(value) in DISGUISED else value
