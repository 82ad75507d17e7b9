"""Keyer: computes the key of a call from its function, version, captured variables and arguments.

A `Keyer` is made once, when a function is decorated; afterwards a key costs one binding (done by the
interpreter itself), one encoding and one digest. No file is touched, except by the policies of `KeyGen`
that read files.
"""

from __future__ import annotations

import functools
import hashlib
import types
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from beautyspot._internal.fork_safety import computed_once
from beautyspot._internal.names import full_name, is_interactive, module_name
from beautyspot._internal.pricing import is_limited
from beautyspot._internal.signatures import asker, binder, signature_of
from beautyspot.errors import ConfigurationError, UnkeyableError
from beautyspot.keys.dependencies import NOTHING, Deps, followed
from beautyspot.keys.encoding import captured, encode, pack, tagged
from beautyspot.keys.fingerprints import fingerprint
from beautyspot.keys.policies import Policy

__all__ = ["KeyedCall", "Keyer"]

# Types that are packed as they are, except for integers of more than 64 bits.
_SCALARS = frozenset({type(None), bool, int, float, str})
_CAPTURED = "captured variables"

# The code of the functions of this process, by identity: redefinitions are distinguished by their code.
_defined: dict[bytes, bytes] = {}


class KeyedCall(NamedTuple):
    """A call, and what identifies it.

    Attributes:
        key: The key, 16 bytes.
        parts: The encodings that make up the key: one for each argument, and one for captured variables.
        args: The arguments by position.
        kwargs: The arguments by name.
    """

    key: bytes
    parts: list[bytes]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Keyer:
    """Computes the keys of one function's calls.

    Args:
        function: The function.
        version: A part of every key, or ``"auto"`` for the function's own code.
        key: A callable of the call's arguments, or a policy of `KeyGen`.
        ignore: Names of arguments, or of captured variables, that do not identify the call.
        written: The name of the serializer, if it is not the built-in one: the bytes of one serializer may be
            another value to the next.
        deps: The code that the version ``"auto"`` follows besides the function.

    Raises:
        ConfigurationError: If a name is not an argument, or the function has no signature.
        UnkeyableError: If the function captured something that cannot be part of a key.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        version: str | int | None = None,
        key: Callable[..., Any] | Policy | None = None,
        ignore: Iterable[str] = (),
        written: str = "",
        deps: Deps = NOTHING,
    ) -> None:
        self.function = function
        self._deps = deps
        self._written = written
        self.version = "" if version is None else str(version)
        policy = key if isinstance(key, Policy) else Policy((), None)
        left_out = {ignore} if isinstance(ignore, str) else set(ignore)
        if policy.reading is None:
            left_out |= set(policy.names)
        *_, self._core = _layers(function)
        self.signature = signature_of(function)
        variables = getattr(getattr(self._core, "__code__", None), "co_freevars", ())
        self._check_names({*left_out, *policy.names}, variables)
        self._left_out = frozenset(left_out)
        self.names = tuple(name for name in self.signature.parameters if name not in left_out)
        self._readings = [
            (i, policy.reading) for i, name in enumerate(self.names) if policy.reading and name in policy.names
        ]
        name = self._core.__qualname__
        self._custom = asker(key, self.signature, name) if callable(key) else None
        self._bind = binder(name, self.signature, self.names, self._left_out)
        self._holders = list(_holders(function, self._left_out))
        self._captured()  # an unkeyable captured value is an error when the task is made
        self._captured_by_deps()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Keyer cannot be pickled; make one from its function")

    def _check_names(self, names: Iterable[str], variables: Iterable[str]) -> None:
        parameters = self.signature.parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for name in sorted(names):
            if name not in parameters and name not in variables and not open_ended:
                raise ConfigurationError(
                    f"{full_name(self._core)} has no argument {name!r}; it has {', '.join(parameters) or 'none'}"
                )

    @computed_once
    def function_name(self) -> str:
        """``module.qualname``, as viewers show it."""
        return full_name(self._core)

    @computed_once
    def code(self) -> bytes:
        """A fingerprint of the function's code, 8 bytes; empty for a function without Python code."""
        return fingerprint(self._core)[:8]

    @computed_once
    def follows(self) -> bytes:
        """The fingerprint that the version ``"auto"`` stands for; empty for any other version."""
        return followed(self._core, self._deps) + self._captured_by_deps() if self.version == "auto" else b""

    @computed_once
    def prefix(self) -> bytes:
        """The part that all keys of this function share: its identity, version and argument names."""
        core = self._core
        name = tagged(b"#", module_name(getattr(core, "__module__", None)), full_name(core))
        version = self.follows or self.version
        code = b""
        if "<" in full_name(core) or is_interactive(getattr(core, "__module__", None)):
            code = fingerprint(core)  # nothing else distinguishes two functions of that name
        elif _defined.setdefault(name, self.code) != self.code:
            code = self.code  # defined a second time in this process, differently
        return name + tagged(b"#", version, code, self.names, self._written)

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of ``names`` in this call, with defaults.

        Raises:
            TypeError: If the arguments do not fit, as the function itself would raise it.
        """
        return self._bind(*args, **kwargs)

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
        """The call's key, 16 bytes, and the encodings that make it up, one per argument.

        Raises:
            UnkeyableError: If an argument cannot be part of a key; names the argument and the path inside it.
            TypeError: If the arguments do not fit, as the function itself would raise it.
        """
        values = self._bind(*args, **kwargs)
        if self._custom or self._readings:
            values = self._read(values, args, kwargs)
        try:
            parts = [pack(value) if type(value) in _SCALARS else encode(value) for value in values]
        except (OverflowError, UnkeyableError):
            parts = self._encode_named(values)
        if self._holders:
            parts.append(self._captured())
        return hashlib.blake2b(self.prefix + b"".join(parts), digest_size=16).digest(), parts

    def each(
        self, name: str, values: Iterable[Any], call: Callable[[Any], tuple[tuple[Any, ...], Mapping[str, Any]]]
    ) -> list[tuple[bytes, list[bytes]]]:
        """The keys and encodings of many calls that differ in one argument: all others are encoded once.

        Args:
            name: The name of that argument.
            values: The values of that argument.
            call: A function that returns the arguments of a whole call for one of the values.
        """
        if self._custom or self._readings:
            return [self(*call(value)) for value in values]
        _, parts = self(*call(None))
        at = self.names.index(name)
        before, after = self.prefix + b"".join(parts[:at]), b"".join(parts[at + 1 :])
        keyed = []
        for i, value in enumerate(values):
            try:
                part = encode(value)
            except UnkeyableError as error:
                raise error.inside(f"{self.function_name}, argument {name!r}[{i}]") from None
            key = hashlib.blake2b(before + part + after, digest_size=16).digest()
            keyed.append((key, [*parts[:at], part, *parts[at + 1 :]]))
        return keyed

    def sharing(
        self, names: Collection[str]
    ) -> Callable[[tuple[Any, ...], Mapping[str, Any]], tuple[bytes, list[bytes]]]:
        """This keyer for calls that share the arguments *names*, the very same objects: these are encoded once."""
        shared = {i for i, name in enumerate(self.names) if name in names}
        if not shared or self._custom or any(i not in shared for i, _ in self._readings):
            return self
        own = [i for i in range(len(self.names)) if i not in shared]
        first: list[bytes] = []  # the parts of the first call

        def keyed(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
            if not first:
                key, parts = self(args, kwargs)
                first[:] = parts
                return key, parts
            values = self._bind(*args, **kwargs)
            parts = first.copy()
            try:
                for i in own:
                    value = values[i]
                    parts[i] = pack(value) if type(value) in _SCALARS else encode(value)
            except (OverflowError, UnkeyableError):
                return self(args, kwargs)  # which encodes such integers, or names the argument
            if self._holders:
                parts[-1] = self._captured()
            return hashlib.blake2b(self.prefix + b"".join(parts), digest_size=16).digest(), parts

        return keyed

    def _encode_named(self, values: tuple[Any, ...]) -> list[bytes]:
        parts = []
        for name, value in zip(self.names if not self._custom else ("key",), values, strict=True):
            try:
                parts.append(encode(value))
            except UnkeyableError as error:
                raise error.inside(f"{self.function_name}, argument {name!r}") from None
        return parts

    def _read(self, values: tuple[Any, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values that identify the call, by the ``key`` option."""
        if self._custom:
            return (self._custom(*args, **kwargs),)
        read = list(values)
        for i, reading in self._readings:
            try:
                read[i] = reading(values[i])
            except OSError as cause:
                reason = f"its file identifies the call and cannot be read: {cause}"
                raise UnkeyableError(reason, (f"{self.function_name}, argument {self.names[i]!r}",)) from cause
        return tuple(read)

    def _captured(self) -> bytes:
        """The encoding of what the function holds now: captured variables may have been reassigned."""
        try:
            return encode([held() for held in self._holders])
        except UnkeyableError as error:
            raise error.inside(f"{self.function_name}, ") from None

    def _captured_by_deps(self) -> bytes:
        """The encoding of what the dependencies captured, which distinguishes functions of one factory."""
        held = [captured(dep) for dep in self._deps.code if getattr(dep, "__closure__", None)]
        return encode(held) if held else b""

    def captured_digest(self) -> bytes:
        """A digest of what the function holds now, 8 bytes; empty if it holds nothing."""
        return hashlib.blake2b(self._captured(), digest_size=8).digest() if self._holders else b""

    def fingerprints(self, parts: list[bytes]) -> bytes:
        """Four bytes for each part of a call, by which `explain` compares two calls."""
        return b"".join([zlib.crc32(part).to_bytes(4, "big") for part in parts])

    def part_names(self) -> tuple[str, ...]:
        """The names of the parts of a call, for messages."""
        return (*(("key",) if self._custom else self.names), _CAPTURED)


def function_name(function: Any) -> str:
    """``module.qualname`` of the innermost function, below all wrappers."""
    *_, core = _layers(function)
    return full_name(core)


def _layers(function: Any) -> Iterator[Any]:
    """*function*, what it wraps, and so on down to the innermost function."""
    while True:
        if not hasattr(function, "__qualname__") and not isinstance(function, functools.partial):
            function = types.MethodType(type(function).__call__, function)  # a callable object
        yield function
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return


def _holders(function: Any, left_out: frozenset[str]) -> Iterator[Callable[[], Any]]:
    """Functions that return the values a function holds: variables, arguments of partials, the object of a method."""
    for layer in _layers(function):
        if isinstance(layer, functools.partial):
            yield functools.partial(list, (layer.args, layer.keywords))
        elif isinstance(layer, types.MethodType):
            yield functools.partial(getattr, layer, "__self__")
        elif hasattr(layer, "__wrapped__"):
            if not is_limited(layer):  # a rate limit does not affect results
                yield functools.partial(list, list(_keyable(layer)))
        elif getattr(layer, "__closure__", None):
            yield functools.partial(captured, layer, left_out)


def _keyable(wrapper: Any) -> Iterator[bytes]:
    """The encodings of what a decorator has captured now.

    Unkeyable values (a lock, a retry object) are machinery of the decorator and do not identify the call.
    """
    for cell in getattr(wrapper, "__closure__", None) or ():
        try:
            if cell.cell_contents is not wrapper.__wrapped__:
                yield encode(cell.cell_contents)
        except (UnkeyableError, ValueError):
            continue
