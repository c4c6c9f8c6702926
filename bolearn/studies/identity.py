"""What a strategy is: its code and every value that its code can see, as lines to compare.

Two functions with one name need not do the same. `describe` reads bytecode, constants, closures,
defaults, the globals that are mentioned, attributes and tensors, and writes a line for each, so
that a difference has a name. Code of installed packages is taken by name and version. Where a
function stands (file, line, module, process) makes no difference.

Taught in part_4/tutorial_03.
"""

import enum
import hashlib
import inspect
import logging
import random
import sys
import types
from collections.abc import Iterator
from functools import cached_property, partial
from importlib import metadata
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .bytecode import changes, mentioned

Lines = dict[str, str]
"""Place -> what stands there; equal for equal things."""

_WORDS = (type(None), bool, int, float, complex, str, bytes, range, slice, type(...), PurePath)
_NAMED = (torch.dtype, torch.device, torch.Size, torch.layout, np.dtype, np.ufunc)
_WRITTEN = (types.GenericAlias, types.UnionType)
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_CONTAINERS = (list, dict, set, bytearray, Tensor, np.ndarray)
# fmt: off
_SAME_IN_EVERY_CLASS = (
    "__module__", "__dict__", "__weakref__", "__doc__", "__qualname__", "__annotations__",
    "__annotate__", "__annotate_func__", "__annotations_cache__", "__slots__", "__match_args__",
    "__firstlineno__", "__static_attributes__", "__dataclass_fields__", "__dataclass_params__",
    "__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__", "__subclasshook__",
    "__protocol_attrs__", "__non_callable_proto_members__", "_is_protocol", "_is_runtime_protocol",
    "__slotnames__",
)
_GENERATED = (  # by @dataclass, of the fields
    "__init__", "__repr__", "__eq__", "__hash__", "__lt__", "__le__", "__gt__", "__ge__",
    "__setattr__", "__delattr__", "__replace__",
)
# fmt: on
_STARTING = ("__init__", "__post_init__", "__new__", "__setstate__")
_CALLED_FLAGS = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x80 | 0x200  # kinds of arguments and of functions
_MANY_LINES = 20_000


class NotComparable(Exception):
    """Something whose value cannot be read: a lock, an open file, an iterator."""


def describe(x: object, *, measuring: bool = False) -> Lines:
    """What x is made of: one line for each part, the same for the same code and values.

    Whatever has an attribute ``checkpoint_version`` (a number or a text) is taken at its word: it
    is the same as long as its name and that version are.

    Args:
        x: a strategy or a problem.
        measuring: x is what measures. Then random generators and whatever its own code changes
            (counters, logs) are passed over: they say what was done, not what is measured.

    Raises:
        NotComparable: something in it has no value that could be read.
    """
    reader = _Reader(measuring)
    reader.read(x, "")
    if any(place.endswith("bytecode") for place in reader.lines):
        # another Python has other bytecode for the same text: say that first
        return {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", **reader.lines}
    return reader.lines


def difference(there: Lines, here: Lines, most: int = 3) -> str:
    """The first few lines that differ, as a sentence; "" if none does."""
    places = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    parts = []
    for key in places[:most]:
        old, new = (_shortened(lines.get(key, "nothing")) for lines in (there, here))
        what = key.strip(" .:>") or "it"
        same = key.endswith("bytecode") and key in there and key in here
        parts.append(f"{what} differs" if same else f"{what} is {old} there and {new} here")
    more = len(places) - most
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


class _Reader:
    """Walks through an object and writes lines."""

    def __init__(self, measuring: bool) -> None:
        self.measuring = measuring
        self.lines: Lines = {}
        self.known: dict[int, str] = {}  # functions and classes: written once
        self.kept: list[object] = []  # keeps alive what `known` names by its address
        self.above: dict[int, str] = {}  # what is being read: an object may hold itself

    def write(self, where: str, text: str) -> None:
        if len(self.lines) > _MANY_LINES:
            raise NotComparable(f"{where}: more than {_MANY_LINES} parts")
        self.lines[where] = text

    def read(self, x: object, where: str) -> None:
        """Any value."""
        word = _word(x)
        if word is not None:
            return self.write(where, word)
        if self.measuring and (isinstance(x, _GENERATORS) or _is_iterator(x)):
            return self.write(where, f"a {type(x).__name__}")
        if id(x) in self.above:
            return self.write(where, f"itself, {self.above[id(x)] or 'the whole'}")
        version = inspect.getattr_static(x, "checkpoint_version", None)
        if type(version) in (int, float, str):
            name = getattr(x, "__name__", type(x).__name__)
            return self.write(where, f"{name}, checkpoint_version {version!r}")
        self.above[id(x)] = where
        try:
            self._kinds(x, where)
        finally:
            del self.above[id(x)]

    def _kinds(self, x: Any, where: str) -> None:
        """Containers, code, and everything else by its state."""
        if isinstance(x, MethodType):
            self.read(x.__func__, f"{where}.{x.__name__}")
            self.read(x.__self__, where)
        elif isinstance(x, FunctionType | type | ModuleType):
            self._code_or_name(x, where)
        elif type(x) in (list, tuple):
            self._sequence(x, where)
        elif type(x) is dict:
            self._mapping(x, where)
        elif type(x) in (set, frozenset):
            self.write(where, f"{type(x).__name__} {sorted(self._digest(entry) for entry in x)}")
        elif isinstance(x, types.BuiltinFunctionType | types.MethodDescriptorType):
            self._builtin(x, where)
        elif isinstance(x, types.WrapperDescriptorType | types.MethodWrapperType):
            self.write(where, repr(x.__qualname__))
        elif isinstance(x, partial):
            self.read(x.func, f"{where}.func")
            self._sequence(x.args, f"{where}.args")
            self._mapping(x.keywords, f"{where}.keywords")
        elif callable(x) and inspect.getattr_static(x, "__wrapped__", None) is not None:
            self.write(where, type(x).__name__)  # a cache, for example
            self.read(x.__wrapped__, f"{where}.__wrapped__")
        else:
            self._instance(x, where)

    # --- data -----------------------------------------------------------------------------------

    def _sequence(self, x: list[Any] | tuple[Any, ...], where: str) -> None:
        words = [_word(entry) for entry in x]
        if all(word is not None for word in words):
            return self.write(where, _text(f"{type(x).__name__} [{', '.join(map(str, words))}]"))
        self.write(where, f"{type(x).__name__} of {len(x)}")
        for i, entry in enumerate(x):
            self.read(entry, f"{where}[{i}]")

    def _mapping(self, x: dict[Any, Any], where: str) -> None:
        self.write(where, f"{type(x).__name__} of {len(x)}")
        for key, entry in x.items():
            word = _word(key)
            self.read(entry, f"{where}[{self._digest(key) if word is None else word}]")

    def _digest(self, x: object) -> str:
        """One word for a value whose place has no name: an entry of a set, a key."""
        inside = _Reader(self.measuring)
        inside.read(x, "")
        lines = inside.lines
        return lines[""] if len(lines) == 1 else _hash(repr(sorted(lines.items())).encode())

    def _instance(self, x: Any, where: str) -> None:
        """Anything else: its class, and the state that a pickle of it would hold."""
        kind = type(x)
        if isinstance(x, logging.Logger):
            return self.write(where, f"logger {x.name!r}")
        try:
            parts = x.__reduce_ex__(2)
        except Exception as error:
            raise NotComparable(f"{where.strip(' .>') or 'it'}: {kind.__name__}") from error
        if isinstance(parts, str):
            return self.write(where, f"{kind.__module__}.{parts}")
        build, arguments, state, items, pairs = (*parts, None, None, None)[:5]
        if any(entry is kind for entry in arguments[:1]) or _package(kind.__module__):
            self.read(kind, f"{where}: class" if where else "class")
        else:
            self.read(build, f"{where}: made by")
        for i, entry in enumerate(arguments):
            if entry is not kind:
                self.read(entry, f"{where}({i})")
        passed = self._passed_over(kind)
        states = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in states:
            if isinstance(part, dict) and all(isinstance(key, str) for key in part):
                for key, entry in part.items():
                    # torch counts hooks over the whole process: only their order says something
                    hooks = isinstance(x, torch.nn.Module) and "hooks" in key
                    if key not in passed:
                        self.read(list(entry.values()) if hooks else entry, f"{where}.{key}")
            elif part is not None:
                self.read(part, f"{where}: state")
        if items is not None:
            self._sequence(list(items), f"{where}: items")
        if pairs is not None:
            self._mapping(dict(pairs), f"{where}: entries")

    def _passed_over(self, kind: type) -> set[str]:
        """Attributes that say nothing: caches, and for what measures those that it changes."""
        names, own = set(), [c for c in kind.__mro__ if not _package(c.__module__)]
        for name, member in ((n, m) for c in own for n, m in vars(c).items()):
            if isinstance(member, cached_property):
                names.add(name)
            elif self.measuring and isinstance(member, FunctionType) and name not in _STARTING:
                names |= changes(member.__code__).attributes
        return names

    # --- code -----------------------------------------------------------------------------------

    def _code_or_name(self, x: Any, where: str) -> None:
        """Functions and classes of one's own are read once, those of packages are named."""
        x = _bare(x) if isinstance(x, FunctionType) else x
        module = x.__name__ if isinstance(x, ModuleType) else x.__module__
        package = _package(module)
        if id(x) in self.known:
            return self.write(where, f"as {self.known[id(x)] or 'the whole'}")
        self.known[id(x)] = where
        self.kept.append(x)
        if isinstance(x, ModuleType):
            source = None if package else _source(x)
            self.write(where, f"module {package or module}" + (f" {source}" if source else ""))
        elif package:
            self.write(where, f"{module}.{x.__qualname__} of {package}")
            if isinstance(x, FunctionType) and "<locals>" in x.__qualname__:
                self._values_of(inspect.unwrap(x), where)
        elif isinstance(x, type):
            self._class(x, where)
        else:
            self.write(where, "a function")
            self._code(x.__code__, where)
            self._values_of(x, where)
            self._globals_of(x, where)

    def _builtin(self, x: Any, where: str) -> None:
        owner = getattr(x, "__self__", None)
        if owner is None or isinstance(owner, ModuleType | type):
            return self.write(where, f"builtin {x.__qualname__}")
        self.write(where, f"builtin {x.__qualname__}")
        self.read(owner, f"{where}.__self__")

    def _class(self, x: type, where: str) -> None:
        """Its own members and those of its bases, as far as they are no package's."""
        self.write(where, f"class {x.__name__}")
        for base in x.__mro__[1:]:
            if base is not object and _package(base.__module__) != "python":
                self.read(base, f"{where} > {base.__name__}")
        passed = self._passed_over(x)
        for name, member in sorted(vars(x).items()):
            slot = isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType)
            if slot or name in _SAME_IN_EVERY_CLASS:
                continue
            for part in _functions_of(member):
                function = isinstance(part, FunctionType)
                if function and name in _GENERATED and _is_generated(part):
                    continue
                if function or name not in passed:
                    self.read(part, f"{where}.{name}")

    def _code(self, code: CodeType, where: str) -> None:
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        table = getattr(code, "co_exceptiontable", b"")
        flags = code.co_flags & _CALLED_FLAGS
        self.write(f"{where}: names", _text(repr((names, arguments, flags))))
        constants: list[str] = []
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._code(constant, f"{where} > {constant.co_name} {len(constants)}")
                constants.append("code")
            else:
                constants.append(self._digest(constant))
        self.write(f"{where}: constants", _text(f"({', '.join(constants)})"))
        self.write(f"{where}: bytecode", _hash(code.co_code + table))

    def _values_of(self, f: FunctionType, where: str) -> None:
        """Closure, defaults and attributes."""
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not bound yet
                self.write(f"{where} > {name}", "not bound")
                continue
            self._seen(f, name, value, f"{where} > {name}")
        for i, value in enumerate(f.__defaults__ or ()):
            self.read(value, f"{where}: default {i}")
        for name, value in (f.__kwdefaults__ or {}).items():
            self.read(value, f"{where}: default of {name}")
        for name, value in vars(f).items():
            if name != "__wrapped__":
                self.read(value, f"{where}.{name}")

    def _globals_of(self, f: FunctionType, where: str) -> None:
        """Globals that the code mentions, through modules of one's own to what they hold."""
        for chain in dict.fromkeys(mentioned(f.__code__)):
            if chain[0] not in f.__globals__:
                continue
            value, place = f.__globals__[chain[0]], chain[0]
            for name in chain[1:]:
                if not isinstance(value, ModuleType) or _package(value.__name__):
                    break
                value, place = getattr(value, name, None), f"{place}.{name}"
            if f"{where} > {place}" not in self.lines:
                self._seen(f, chain[0], value, f"{where} > {place}")

    def _seen(self, f: FunctionType, name: str, value: object, where: str) -> None:
        """A variable that f sees; in what measures, one that f changes is not compared."""
        if self.measuring and not isinstance(value, FunctionType | type | ModuleType):
            found = changes(f.__code__)
            written = found.writes and isinstance(value, _CONTAINERS)
            if name in found.variables or written:
                return self.write(where, "changed by the code itself")
        self.read(value, where)


def _word(x: object) -> str | None:
    """A value that fits into a word; None for all others."""
    if isinstance(x, enum.Enum):
        return f"{type(x).__name__}.{x.name} = {_word(x.value) or '...'}"
    if isinstance(x, _WORDS):
        return _text(repr(x)) if type(x) in _WORDS or isinstance(x, PurePath) else None
    if isinstance(x, np.generic) and not isinstance(x, np.void):
        return f"{x.dtype} {x.item()!r}"
    if isinstance(x, Tensor):
        numbers = x.detach().cpu().to_dense().contiguous().reshape(-1).view(torch.uint8)
        shown = f" {x.item()!r}" if x.numel() == 1 else f" {_hash(numbers.numpy().tobytes())}"
        return f"{x.dtype} {tuple(x.shape)}{shown}"
    if type(x) is np.ndarray and not x.dtype.hasobject:
        shown = f" {x.item()!r}" if x.size == 1 else f" {_hash(np.ascontiguousarray(x).tobytes())}"
        return f"{x.dtype} {x.shape}{shown}"
    written = isinstance(x, _WRITTEN) or type(x).__module__ == "typing"
    return _text(repr(x)) if written or isinstance(x, _NAMED) else None


def _text(written: str) -> str:
    """A long text by its beginning and its hash."""
    return written if len(written) <= 200 else f"{written[:60]}... {_hash(written.encode())}"


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def _is_iterator(x: object) -> bool:
    return isinstance(x, Iterator)


def _package(module: str | None) -> str:
    """The installed package of a module with its version; "" for code of one's own."""
    top = (module or "builtins").partition(".")[0]
    if top in ("__main__", "__mp_main__"):
        return ""
    if top in sys.stdlib_module_names:
        return "python"
    found = sys.modules.get(top)
    file = getattr(found, "__file__", None) or ""
    if top != "bolearn" and not {"site-packages", "dist-packages"} & set(PurePath(file).parts):
        return ""
    version = getattr(found, "__version__", None)
    if not isinstance(version, str):
        try:
            version = metadata.version(top)
        except metadata.PackageNotFoundError:
            version = "without a version"
    return f"{top} {version.partition('+')[0]}"


def _bare(f: Any) -> Any:
    """A function without the wrappers that only check its annotations."""
    while isinstance(f, FunctionType) and hasattr(f, "__wrapped__"):
        checks = str(f.__globals__.get("__name__")).startswith(("jaxtyping", "beartype"))
        if not checks and not f.__code__.co_filename.startswith("<@beartype"):
            break
        f = f.__wrapped__
    return f


def _is_generated(f: FunctionType) -> bool:
    return bool(inspect.unwrap(f).__code__.co_filename == "<string>")


def _source(module: ModuleType) -> str:
    """The text of a module of one's own, which is passed about as a whole."""
    try:
        return _hash(inspect.getsource(module).encode())
    except (OSError, TypeError) as error:
        raise NotComparable(f"module {module.__name__}, whose text is not there") from error


def _functions_of(member: Any) -> Iterator[Any]:
    """The functions behind a member of a class."""
    if isinstance(member, staticmethod | classmethod):
        yield _bare(member.__func__)
    elif isinstance(member, property):
        yield from (f for f in (member.fget, member.fset, member.fdel) if f is not None)
    elif isinstance(member, cached_property):
        yield member.func
    else:
        yield member
