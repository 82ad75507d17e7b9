"""A call and its key: which function, which version, what it captured, and what it was given.

A `Keyer` is made once, when a function is decorated; afterwards a key costs one binding (done by the
interpreter itself), one encoding and one digest. Nothing here touches a file, but for the policies of
`KeyGen` that are asked to.
"""

from __future__ import annotations

import functools
import hashlib
import types
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
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

# Types that are packed as they are; int and bytes too, but for their largest values.
_SCALARS = frozenset({type(None), bool, int, float, str})
_CAPTURED = "captured variables"

# Code of the functions that this process has seen, by identity: a redefinition is told apart by its code.
_defined: dict[bytes, bytes] = {}


class KeyedCall(NamedTuple):
    """A call, and what identifies it.

    Attributes:
        key: 16 bytes.
        parts: What it was made of: a part for each argument, and one for what the function captured.
        args: Arguments by position.
        kwargs: Arguments by name.
    """

    key: bytes
    parts: list[bytes]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Keyer:
    """Computes the keys of one function's calls.

    Args:
        function: What is called.
        version: Part of every key, or ``"auto"`` for the function's own code.
        key: A callable of the call's arguments, or a policy of `KeyGen`.
        ignore: Names of arguments, or of captured variables, that do not identify the call.
        written: Who writes the results, where that is not the built-in serializer: what one serializer wrote
            may be another value to the next.
        deps: What the version ``"auto"`` follows beside the function.

    Raises:
        ConfigurationError: If a name is not an argument, or the function cannot be looked into.
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
        self._captured()  # what cannot be keyed is said where the task is made
        self._captured_by_deps()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Keyer is made from its function and does not travel")

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
        """What the version ``"auto"`` stands for; empty for any other."""
        return followed(self._core, self._deps) + self._captured_by_deps() if self.version == "auto" else b""

    @computed_once
    def prefix(self) -> bytes:
        """What all keys of this function have in common: its identity, version and arguments' names."""
        core = self._core
        name = tagged(b"#", module_name(getattr(core, "__module__", None)), full_name(core))
        version = self.follows or self.version
        told = b""
        if "<" in full_name(core) or is_interactive(getattr(core, "__module__", None)):
            told = fingerprint(core)  # nothing else tells two of that name apart
        elif _defined.setdefault(name, self.code) != self.code:
            told = self.code  # defined a second time in this process, differently
        return name + tagged(b"#", version, told, self.names, self._written)

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of ``names`` in this call, defaults filled in.

        Raises:
            TypeError: As the function itself would, where the arguments do not fit.
        """
        return self._bind(*args, **kwargs)

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
        """The call's key, 16 bytes, and the encodings of which it was made, one an argument.

        Raises:
            UnkeyableError: Naming the argument and the place inside it.
            TypeError: As the function itself would, where the arguments do not fit.
        """
        values = self._bind(*args, **kwargs)
        if self._custom or self._readings:
            values = self._read(values, args, kwargs)
        try:
            parts = [pack(value) if type(value) in _SCALARS else encode(value) for value in values]
        except (OverflowError, UnkeyableError):
            parts = self._carefully(values)
        if self._holders:
            parts.append(self._captured())
        return hashlib.blake2b(self.prefix + b"".join(parts), digest_size=16).digest(), parts

    def each(
        self, name: str, values: Iterable[Any], call: Callable[[Any], tuple[tuple[Any, ...], Mapping[str, Any]]]
    ) -> list[tuple[bytes, list[bytes]]]:
        """As a call, for many calls that differ in one argument: all others are encoded once.

        Args:
            name: Of that argument.
            values: Of that argument.
            call: Gives the arguments of a whole call for one of the values.
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

    def _carefully(self, values: tuple[Any, ...]) -> list[bytes]:
        parts = []
        for name, value in zip(self.names if not self._custom else ("key",), values, strict=True):
            try:
                parts.append(encode(value))
            except UnkeyableError as error:
                raise error.inside(f"{self.function_name}, argument {name!r}") from None
        return parts

    def _read(self, values: tuple[Any, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """What the ``key`` option makes of the arguments."""
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
        """What the function holds just now: captured variables may have been assigned anew."""
        try:
            return encode([held() for held in self._holders])
        except UnkeyableError as error:
            raise error.inside(f"{self.function_name}, ") from None

    def _captured_by_deps(self) -> bytes:
        """What the dependencies hold: a function of one factory is another one for each value that it captured."""
        held = [captured(dep) for dep in self._deps.code if getattr(dep, "__closure__", None)]
        return encode(held) if held else b""

    def captured_digest(self) -> bytes:
        """What tells whether the function still holds the same; 8 bytes, empty where it holds nothing."""
        return hashlib.blake2b(self._captured(), digest_size=8).digest() if self._holders else b""

    def fingerprints(self, parts: list[bytes]) -> bytes:
        """Four bytes for each part of a call, by which two calls are compared for people."""
        return b"".join([zlib.crc32(part).to_bytes(4, "big") for part in parts])

    def part_names(self) -> tuple[str, ...]:
        """What the parts of a call are called."""
        return (*(("key",) if self._custom else self.names), _CAPTURED)


def function_name(function: Any) -> str:
    """``module.qualname`` of the function that is meant, whatever wraps it."""
    *_, core = _layers(function)
    return full_name(core)


def _layers(function: Any) -> Iterator[Any]:
    """*function*, what it wraps, what that wraps, down to the function that is meant."""
    while True:
        if not hasattr(function, "__qualname__") and not isinstance(function, functools.partial):
            function = types.MethodType(type(function).__call__, function)  # an object that can be called
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
    """What gives the values that a function holds: variables, arguments of partials, the object of a method."""
    for layer in _layers(function):
        if isinstance(layer, functools.partial):
            yield functools.partial(list, (layer.args, layer.keywords))
        elif isinstance(layer, types.MethodType):
            yield functools.partial(getattr, layer, "__self__")
        elif hasattr(layer, "__wrapped__"):
            if not is_limited(layer):  # what limits a function says nothing of its results
                yield functools.partial(list, list(_keyable(layer)))
        elif getattr(layer, "__closure__", None):
            yield functools.partial(captured, layer, left_out)


def _keyable(wrapper: Any) -> Iterator[bytes]:
    """What a decorator captured, as it stands now.

    What cannot be keyed there (a lock, a retry object) is its machinery and does not identify the call.
    """
    for cell in getattr(wrapper, "__closure__", None) or ():
        try:
            if cell.cell_contents is not wrapper.__wrapped__:
                yield encode(cell.cell_contents)
        except (UnkeyableError, ValueError):
            continue
