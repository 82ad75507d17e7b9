"""Keyer: computes the key of a call from its function, version, captured variables and arguments.

A `Keyer` is made once, when a function is decorated; afterwards a key costs one binding (done by the
interpreter itself), one encoding and one digest. No file is touched, except by the policies of `KeyGen`
that read files.
"""

from __future__ import annotations

import functools
import hashlib
import re
import types
import weakref
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from beautyspot._internal.fork_safety import computed_once
from beautyspot._internal.names import full_name, is_interactive
from beautyspot._internal.signatures import asker, binder, signature_of
from beautyspot.errors import ConfigurationError, UnkeyableError
from beautyspot.keys import captured, notices
from beautyspot.keys.assignments import Assignments, assignments_of, constant_names
from beautyspot.keys.definitions import held_by, layers_of
from beautyspot.keys.dependencies import NOTHING, Deps, followed
from beautyspot.keys.encoding import Encoder, Partly, encode, pack, traversed
from beautyspot.keys.fingerprints import fingerprint, is_ambiguous, pin_source
from beautyspot.keys.policies import Policy
from beautyspot.keys.roots import AnyPart, ConstantPart, parts_of

__all__ = ["KeyedCall", "Keyer"]

# Types that are packed as they are, except for integers of more than 64 bits.
_SCALARS = frozenset({type(None), bool, int, float, str})
CODE_SIZE = 8  # bytes of a fingerprint that results remember
_FIRST = "1"  # the version of a task without one

# The functions of this process by name, with their code: redefinitions are distinguished by their code.
_defined: dict[str, tuple[Any, bytes]] = {}


class Fingerprint(bytes):
    """Four bytes that stand for a part of a call whose key was computed elsewhere."""


class KeyedCall(NamedTuple):
    """A call, and what identifies it.

    Attributes:
        key: The key, 16 bytes.
        parts: The encodings that make up the key: one for each argument, captured variable and constant.
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
        ignore: Names of arguments, captured variables or constants that do not identify the call.
        written: The name of the serializer, if it is not the built-in one: the bytes of one serializer may be
            another value to the next.
        deps: The code that the version ``"auto"`` follows besides the function.
        name: The function's identity in its index, in place of its module and name.

    Raises:
        ConfigurationError: If an ignored name is none of these, or the function has no signature.
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
        name: str | None = None,
    ) -> None:
        self.function = function
        self.name = name
        self._adopted: captured.NoRun | None = None
        self._deps = deps
        self._written = written
        self.version = _FIRST if version is None else str(version)
        self.has_version = version is not None and version != "auto"
        policy = key if isinstance(key, Policy) else Policy((), None)
        left_out = {ignore} if isinstance(ignore, str) else set(ignore)
        if policy.reading is None:
            left_out |= set(policy.names)
        *_, self._core = layers_of(function)
        code = getattr(self._core, "__code__", None)
        if isinstance(code, types.CodeType):
            pin_source(code)
        self.signature = signature_of(function)
        parameters = self.signature.parameters
        ignored = self._checked_names({*left_out, *policy.names}, code)
        self._ignored = frozenset(ignored - set(parameters))
        self._left_out = frozenset(left_out)
        self.names = tuple(name for name in parameters if name not in left_out)
        self._readings = [
            (i, policy.reading) for i, name in enumerate(self.names) if policy.reading and name in policy.names
        ]
        for i, argument in enumerate(self.names):
            below = frozenset(path for path in self._ignored if path.startswith((f"{argument}.", f"{argument}[")))
            if below and argument != "self":
                self._readings.append((i, functools.partial(_partly, argument, below)))
        own_name = self._core.__qualname__
        self._custom = asker(key, self.signature, own_name) if callable(key) else None
        self._bind = binder(own_name, self.signature, self.names, self._left_out)
        self.is_method = self.names[:1] == ("self",) and "." in own_name and not own_name.endswith("<lambda>")
        self._parts: list[AnyPart] = list(
            parts_of(function, self._ignored, self.has_version, lambda name: name in ignored)
        )
        self._held()  # what cannot be part of a key is an error when the task is made
        self._captured_by_deps()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Keyer cannot be pickled; make one from its function")

    def _checked_names(self, names: set[str], code: Any) -> set[str]:
        """The ignored names, those of variables that helpers captured as paths.

        Raises:
            ConfigurationError: If a name is no argument, captured variable or constant.
        """
        if not names:
            return names
        parameters = self.signature.parameters
        variables = code.co_freevars if isinstance(code, types.CodeType) else ()
        constants = constant_names(code) if isinstance(code, types.CodeType) else ()
        inner = dict(self._captured_by_helpers(variables))
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        known = {*parameters, *variables, *constants}
        resolved: set[str] = set()
        for name in sorted(names):
            paths = [path for path in inner if path == name or path.endswith(f".{name}")]
            root = re.split(r"[.\[]", name, maxsplit=1)[0]
            if name in known or open_ended or (root != name and root in {*known, "self"}):
                resolved.add(name)
            elif len(paths) == 1:
                resolved.add(paths[0])
            else:
                kinds = {
                    "arguments": list(parameters),
                    "captured variables": [*variables, *inner],
                    "constants": list(constants),
                }
                has = "; ".join(f"{kind}: {', '.join(found)}" for kind, found in kinds.items() if found) or "nothing"
                raise ConfigurationError(
                    f"{full_name(self._core)} has no argument, captured variable or constant {name!r}; it has {has}"
                )
        return resolved

    def _captured_by_helpers(self, variables: Iterable[str]) -> Iterable[tuple[str, Any]]:
        """The paths of variables that captured functions captured, such as ``helper.calls``."""
        for name, cell in zip(variables, getattr(self._core, "__closure__", None) or (), strict=True):
            try:
                *_, helper = layers_of(cell.cell_contents) if callable(cell.cell_contents) else (None,)
            except ValueError:  # not assigned yet
                continue
            if isinstance(helper, types.FunctionType) and helper is not self._core:
                for inner in helper.__code__.co_freevars:
                    yield f"{name}.{inner}", inner

    @computed_once
    def function_name(self) -> str:
        """``module.qualname``, or the name that was given, as viewers show it."""
        return self.name or full_name(self._core)

    @computed_once
    def home(self) -> str:
        """``module.qualname``, where the function is defined."""
        return full_name(self._core)

    @computed_once
    def code(self) -> bytes:
        """A fingerprint of the function's code, 8 bytes; empty for a function without Python code."""
        return fingerprint(self._core)[:CODE_SIZE]

    @computed_once
    def made_by(self) -> bytes:
        """What results remember of the function that made them: its code, and its home where that is not its name."""
        return self.code + (self.home.encode() if self.name else b"")

    @computed_once
    def follows(self) -> bytes:
        """The fingerprint that the version ``"auto"`` stands for; empty for any other version."""
        return followed(self._core, self._deps) + self._captured_by_deps() if self.version == "auto" else b""

    @computed_once
    def identity(self) -> int:
        """The digest of the function's name, as a number: `rename_key` exchanges it for another one."""
        return identity_of(self.function_name)

    @property
    def own_identity(self) -> bytes:
        """The function's name, version and code, as far as they are part of its keys."""
        return self.identity.to_bytes(16, "big") + self.prefix

    @computed_once
    def prefix(self) -> bytes:
        """The part that all keys of this function share besides its name: version, code, argument names."""
        version = self.follows or self.version
        return Encoder().tagged(b"#", version, self._distinguishing_code(), self.names, self._written)

    def _distinguishing_code(self) -> bytes:
        """The code, where the name does not tell the function apart from another one."""
        if self.name:
            return b""
        core = self._core
        code = getattr(core, "__code__", None)
        if not isinstance(code, types.CodeType):
            return b""
        if is_interactive(core.__module__):
            return b"" if self.has_version and "<lambda>" not in core.__qualname__ else fingerprint(core)
        if "<lambda>" in core.__qualname__ or is_ambiguous(code, core.__qualname__):
            return fingerprint(core)  # nothing else distinguishes two functions of that name
        known = _defined.get(self.home)
        earlier = known[0]() if known is not None else None
        if known is None or earlier is None:
            _defined[self.home] = (weakref.ref(core), self.code)
            return b""
        return self.code if known[1] != self.code else b""  # defined a second time in this process, differently

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of ``names`` in this call, with defaults.

        Raises:
            TypeError: If the arguments do not fit, as the function itself would raise it.
        """
        return self._bind(*args, **kwargs)

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
        """The call's key, 16 bytes, and the encodings that make it up.

        Raises:
            UnkeyableError: If an argument cannot be part of a key; names the argument and the path inside it.
            TypeError: If the arguments do not fit, as the function itself would raise it.
        """
        return self.keyed(args, kwargs, self.held())

    def keyed(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], held: list[bytes] | None
    ) -> tuple[bytes, list[bytes]]:
        """The key and the parts of a call, with those of what the function holds."""
        values = self._bind(*args, **kwargs)
        if self._custom or self._readings:
            values = self._read(values, args, kwargs)
        if self.is_method and not self._custom:
            parts = [self.part_of_object(values[0]), *self._encoded(values[1:], 1)]
        else:  # as `_encoded` and `digest`, whose calls would take a tenth of a hit's time
            try:
                parts = [pack(value) if type(value) in _SCALARS else encode(value) for value in values]
            except (OverflowError, UnkeyableError):
                parts = self._encode_named(values, 0)
        if held is not None:
            parts += held
        digest = hashlib.blake2b(self.prefix + b"".join(parts), digest_size=16).digest()
        return (int.from_bytes(digest, "big") ^ self.identity).to_bytes(16, "big"), parts

    def _encoded(self, values: tuple[Any, ...], first: int) -> list[bytes]:
        try:
            return [pack(value) if type(value) in _SCALARS else encode(value) for value in values]
        except (OverflowError, UnkeyableError):
            return self._encode_named(values, first)

    def digest(self, parts: bytes) -> bytes:
        """The key that the parts of a call make up."""
        digest = hashlib.blake2b(self.prefix + parts, digest_size=16).digest()
        return (int.from_bytes(digest, "big") ^ self.identity).to_bytes(16, "big")

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
        before, after = b"".join(parts[:at]), b"".join(parts[at + 1 :])
        keyed = []
        for i, value in enumerate(values):
            try:
                part = encode(value)
            except UnkeyableError as error:
                raise self._named_error(error, f"{name}[{i}]", name) from None
            keyed.append((self.digest(before + part + after), [*parts[:at], part, *parts[at + 1 :]]))
        return keyed

    def sharing(self, names: Collection[str]) -> SharedKeys:
        """The keys of calls that share the arguments *names*, the very same objects: these are encoded once."""
        return SharedKeys(self, frozenset(i for i, name in enumerate(self.names) if name in names))

    def _encode_named(self, values: tuple[Any, ...], first: int) -> list[bytes]:
        parts = []
        names = self.names[first:] if not self._custom else ("key",)
        for name, value in zip(names, values, strict=True):
            try:
                parts.append(encode(value))
            except UnkeyableError as error:
                raise self._named_error(error, name, name) from None
        return parts

    def _named_error(self, error: UnkeyableError, place: str, name: str) -> UnkeyableError:
        """The error, with the place of the value and what to write."""
        return notices.with_cure(error, self.function_name, place, name, is_custom=self._custom is not None)

    def part_of_object(self, instance: Any, watcher: captured.Watcher | None = None) -> bytes:
        """The encoding of a method's object: its attributes are places, as those of what was captured."""
        looking = watcher is None
        watcher = watcher or captured.watcher()
        encoder = Encoder(captured=True, watcher=watcher, path="self", ignored=self._ignored)
        try:
            data = traversed(encoder.as_captured, instance)
        except UnkeyableError as error:
            raise self._named_error(error, "self", "self") from None
        if encoder.unidentified:
            notices.unidentified(self.function_name, encoder.unidentified)
        if looking and watcher is not None:
            self._warn_of_changes(watcher)
        return data

    def held(self) -> list[bytes] | None:
        """The parts of what the function holds now; ``None`` if it holds nothing."""
        return self._held() if self._parts else None

    @property
    def reads_nothing(self) -> bool:
        """Whether keys are made of the arguments as they are, without ``key=``."""
        return not self._custom and not self._readings

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
                raise UnkeyableError(reason, (f"{self.function_name}: {self.names[i]!r}",)) from cause
        return tuple(read)

    def _held(self, watcher: captured.Watcher | None = None) -> list[bytes]:
        """The encodings of what the function holds now: captured variables may have been reassigned.

        Args:
            watcher: Remembers the places of what the function holds; ``None``: they are only looked at.
        """
        found: list[bytes] = []
        looking = watcher is None
        for part in self._counted_parts:
            data = part.known() if looking or not part.is_assigned else None
            if data is None:
                watcher = watcher or captured.watcher()
                encoder = part.encoder(watcher)
                try:
                    data = traversed(part.encode, encoder)
                except UnkeyableError as error:
                    raise self._named_error(error, part.path, part.path) from None
                if encoder.unidentified:
                    notices.unidentified(self.function_name, encoder.unidentified)
            found.append(data)
        if looking and watcher is not None:
            self._warn_of_changes(watcher)
        return found

    @computed_once
    def _counted_parts(self) -> list[AnyPart]:
        """The parts without global names that stand for functions, classes and modules, which never count."""
        return [part for part in self._parts if not isinstance(part, ConstantPart) or not part.is_fixed()]

    @computed_once
    def _has_state(self) -> bool:
        """Whether the function holds what a run could change."""
        return any(part.is_assigned for part in self._counted_parts)

    def _warn_of_changes(self, watcher: captured.Watcher) -> None:
        if watcher.state or watcher.contested:
            notices.changed(self.function_name, self._core, watcher.state, watcher.contested)

    def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], is_async: bool = False) -> captured.NoRun:
        """A context manager for a run of the function: what changes meanwhile may be its own state."""
        given = (*args, *kwargs.values())
        followed = [value for value in given if type(value) not in _SCALARS and _holds_places(value)]
        if self._adopted is not None:
            return self._adopted
        if not followed and not self.is_method and not (self._parts and self._has_state):
            return captured.NO_RUN
        instance = self._bind(*args, **kwargs)[0] if self.is_method else None
        return captured.Run(*self._looks(instance, followed), is_async)

    def adopt(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Take what the function holds as it arrived in this worker: from now on only runs change it.

        The keys of its calls are those of the caller, so it is not looked at for them.

        Args:
            args: The arguments by position that all calls share, the object of a method first.
            kwargs: The arguments by name that all calls share.
        """
        if (self._parts and self._has_state) or (self.is_method and args):
            self._adopted = captured.AdoptedRun(*self._looks(args[0] if self.is_method and args else None, []))

    def remembered(self) -> captured.Remembered:
        """What runs have changed of what the function holds, for the process to which it travels."""
        return captured.remembered(self._held) if self._parts else []

    def _looks(self, instance: Any, followed: list[Any]) -> tuple[captured.Look, Callable[[], Assignments]]:
        """What looks at all that a run may change, and what tells what it may assign."""

        def look(watcher: captured.Watcher) -> None:
            self._held(watcher)
            if instance is not None:
                self.part_of_object(instance, watcher)
            for value in followed:
                traversed(Encoder(watcher=watcher).any, value)

        def assignments() -> Assignments:
            return assignments_of([self.function, self._core, *followed], () if instance is None else (instance,))

        return look, assignments

    def _captured_by_deps(self) -> bytes:
        """The encoding of what the dependencies captured, which distinguishes functions of one factory."""
        held = [held_by(Encoder(captured=True), dep) for dep in self._deps.code if getattr(dep, "__closure__", None)]
        return b"".join(held)

    def digest_of_all(self, more: str) -> bytes:
        """A digest of all that the function's results depend on, 16 bytes.

        Its name and version, its code and that of what it calls in its module, its defaults and what it holds now.

        Args:
            more: What else counts.
        """
        core = self._core
        encoder = Encoder(captured=True, watcher=captured.watcher())
        defaults = encoder.any([getattr(core, "__defaults__", None), getattr(core, "__kwdefaults__", None)])
        layers = encoder.any(len(list(layers_of(self.function))))
        parts = (self.own_identity, self.code, self._calls, defaults, layers, more.encode(), *self._held())
        return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()

    @computed_once
    def _calls(self) -> bytes:
        """The fingerprint of the function and of what it calls in its module."""
        return followed(self._core)

    def fingerprints(self, parts: list[bytes]) -> bytes:
        """Four bytes for each part of a call, by which `explain` compares two calls."""
        return b"".join([part if type(part) is Fingerprint else zlib.crc32(part).to_bytes(4, "big") for part in parts])

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The names of the first parts of a call: those of its arguments, or of what ``key=`` returned."""
        return ("key",) if self._custom else self.names

    def constants(self) -> list[str]:
        """The names of the constants that are part of the keys."""
        return [part.path for part in self._counted_parts if isinstance(part, ConstantPart) and part.counts()]

    def transient_parts(self) -> dict[int, str]:
        """The positions, and the names for ``ignore=``, of parts that hold a value which only this process has."""
        first = len(self.argument_names)
        return {i: part.path for i, part in enumerate(self._counted_parts, first) if part.is_transient()}

    def part_names(self) -> tuple[str, ...]:
        """The names of the parts of a call, for messages."""
        return (*self.argument_names, *(part.name for part in self._counted_parts))


class SharedKeys:
    """The keys of the calls of a map: what they share is encoded once, what the function holds once for a block.

    Args:
        keyer: The keyer of the function.
        shared: Positions of the arguments that all calls share.
    """

    def __init__(self, keyer: Keyer, shared: frozenset[int]) -> None:
        self._keyer = keyer
        self._own = [i for i in range(len(keyer.names)) if i not in shared]
        self._is_plain = bool(shared) and keyer.reads_nothing
        self._shares_object = keyer.is_method and 0 in shared
        self._held: list[bytes] | None = None
        self._first: list[bytes] = []  # the parts of the arguments of the first call
        self._object: Any = None

    def look(self) -> None:
        """Look at what the function holds, and at the object of a method: once for a block of calls."""
        self._held = self._keyer.held()
        if self._first and self._shares_object:
            self._first[0] = self._keyer.part_of_object(self._object)

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
        """The key and the parts of a call, as the keyer gives them."""
        keyer, first = self._keyer, self._first
        if not first or not self._is_plain:
            key, parts = keyer.keyed(args, kwargs, self._held)
            if self._is_plain:
                self._first = parts[: len(keyer.names)]
                self._object = keyer.values(args, kwargs)[0] if self._shares_object else None
            return key, parts
        values = keyer.values(args, kwargs)
        parts = first.copy()
        try:
            for i in self._own:
                value = values[i]
                parts[i] = pack(value) if type(value) in _SCALARS else encode(value)
        except (OverflowError, UnkeyableError):
            return keyer.keyed(args, kwargs, self._held)  # which encodes such integers, or names the argument
        if self._held is not None:
            parts += self._held
        return keyer.digest(b"".join(parts)), parts


def _holds_places(value: Any) -> bool:
    """Whether an argument is a function or stands for one, so that runs may change what it captured."""
    kind = type(value)
    return kind in (types.FunctionType, types.MethodType) or hasattr(kind, "__beautyspot_followed__")


def _partly(name: str, ignored: frozenset[str], value: Any) -> Partly:
    return Partly(value, name, ignored)


def identity_of(name: str) -> int:
    """The digest of a function's name, as a number of 128 bits."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16, person=b"name").digest(), "big")


def renamed(key: bytes, old: str, new: str) -> bytes:
    """The key of the same call of a function that is called *new*."""
    return (int.from_bytes(key, "big") ^ identity_of(old) ^ identity_of(new)).to_bytes(16, "big")


def split_fingerprints(data: bytes) -> list[bytes]:
    """The fingerprints of the parts of a key, four bytes each."""
    return [data[i : i + 4] for i in range(0, len(data), 4)]


def function_name(function: Any) -> str:
    """``module.qualname`` of the innermost function, below all wrappers."""
    *_, core = layers_of(function)
    return full_name(core)
