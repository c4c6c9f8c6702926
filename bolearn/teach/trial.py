"""One trial of an answer: all cases of a seed, through the layers, to the failures.

The learner's function is called through a `Guard`, which copies the inputs, watches the time, and
remembers the calls of the running check, so that a failure shows the call that it is about.
"""

from __future__ import annotations

import dis
import inspect
import linecache
import os
import sys
import time
import traceback
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, UnionType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bolearn.teach.apart import Progress
from bolearn.teach.describe import describe, without_addresses
from bolearn.teach.display import Row
from bolearn.teach.errors import Violation
from bolearn.teach.exercise import LAYERS, Case, Check, Exercise, Fn
from bolearn.teach.limits import Call, Clock, TooSlow

Status = Literal["not attempted", "passed", "failed", "error"]
MAX_CALLS = 2  # other calls of a check that a failure shows


@dataclass(frozen=True)
class Failure:
    """A case that failed: why, in which check, and the rows that show it."""

    case: Case
    status: Status
    statement: str
    message: str
    check: Check | None = None
    shown: tuple[Row, ...] = ()


class Guard:
    """The learner's function as checks see it: every call gets its own copy of the inputs."""

    def __init__(self, fn: Fn, exercise: Exercise, clock: Clock, trial: Trial) -> None:
        self._fn, self._exercise, self._clock, self._trial = fn, exercise, clock, trial
        self._kind = _returned_kind(exercise.model_answer)
        self.calls: list[tuple[Call, Any]] = []  # of the running check, with what they returned

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        del self.calls[1:-MAX_CALLS]  # the first one and the latest are enough to show
        self.calls.append((Call(args, kwargs), Unfinished))
        given, named = args, kwargs
        if self._exercise.copies:
            seen: dict[int, Any] = {}
            given = tuple(_copy(arg, seen) for arg in args)
            named = {name: _copy(arg, seen) for name, arg in kwargs.items()}
        self._clock.start(args, kwargs)
        self._trial.mark(calling=True)
        try:
            result = self._fn(*given, **named)
        finally:
            self._clock.stop()
            self._trial.mark()
        result = plain(result, self._kind)
        self.calls[-1] = (self.calls[-1][0], result)
        if self._exercise.pure and not _same([args, kwargs], [given, named]):
            raise Violation("your function changed its input; work on a copy (x.clone())")
        return result


class Unfinished:
    """What a call that did not end has returned."""


class Trial:
    """An answer on all cases of one seed."""

    def __init__(
        self, exercise: Exercise, fn: Fn, seed: int, clock: Clock, progress: Progress | None
    ) -> None:
        self.exercise, self.fn, self.seed = exercise, fn, seed
        self.is_class = inspect.isclass(fn)
        self._guard = Guard(fn, exercise, clock, self)
        self.guarded: Fn = fn if self.is_class else self._guard
        self.cases = exercise.make_cases(seed)
        self._clock, self._progress = clock, progress
        self._case, self._check = -1, -1

    def layers(self) -> Iterator[Iterator[Failure]]:
        """The failures of each layer, found as they are asked for."""
        if not self.is_class:
            yield (f for i, case in enumerate(self.cases) if (f := self._runs(i, case)) is not None)
        for layer in LAYERS:
            yield (
                f
                for i, case in enumerate(self.cases)
                if case.raises is None
                for j, check in enumerate(self.exercise.checks)
                if check.layer == layer and (f := self._holds(i, j, check, case)) is not None
            )

    def mark(self, *, calling: bool = False) -> None:
        """Tell a watching process where the trial stands."""
        if self._progress is not None:
            began = time.monotonic() if calling else 0.0
            self._progress.at(self._case, self._check, began)

    def slow(self, error: TooSlow) -> Failure:
        """The failure that `TooSlow` stands for: it names the call, and the line at work."""
        case = self.cases[max(self._case, 0)]
        clock, call = self._clock, self._clock.slowest
        frames = self._learner_frames(error, None)
        line = f"\n{_line(frames[-1])}" if frames else ""
        if clock.late == "call":
            statement = f"a call ends within {clock.call_seconds:g} s"
            message = f"the call below was stopped after {clock.call_seconds:g} s{line}"
        else:
            statement = f"all calls of a check together end within {clock.check_seconds:g} s"
            message = f"stopped in call {clock.calls}{line}"
            if call is not None:
                message += f"\nthe slowest call, of {call.seconds:.2g} s, is the one below"
        shown = [Row("input", inputs(self.exercise.model_answer, call or case), code=True)]
        return Failure(case, "error", statement, message, None, tuple(shown))

    def _at(self, case: int, check: int) -> None:
        self._case, self._check = case, check
        self._guard.calls = []
        self.mark()

    def _runs(self, number: int, case: Case) -> Failure | None:
        """Layer 0: the call returns, or raises the error that the case asks for."""
        self._at(number, -1)
        statement = "it runs"
        if case.raises is not None:
            statement = f"it raises {case.raises.__name__} on this input"
        if case.note:
            statement += f" ({case.note})"
        try:
            returned = self.guarded(*case.args, **case.kwargs)
        except Violation as error:
            kept = "the inputs stay as they are"
            return Failure(case, "failed", kept, str(error), None, self._shown(case))
        except (KeyboardInterrupt, TooSlow):
            raise
        except BaseException as error:
            if case.raises is not None and isinstance(error, case.raises):
                return None
            return self._raised(case, error, statement)
        if case.raises is not None:
            shown = self._shown(case)
            return Failure(case, "failed", statement, "it raised nothing", None, shown)
        if returned is Ellipsis:
            return Failure(case, "not attempted", statement, "")
        if returned is None and not self.exercise.none_ok:
            message = "it returned None; is a return statement missing?"
            shown = self._shown(case)
            return Failure(case, "failed", "it returns a result", message, None, shown)
        return None

    def _holds(self, number: int, index: int, check: Check, case: Case) -> Failure | None:
        """One statement on one case."""
        self._at(number, index)
        statement = check.statement + (f" ({case.note})" if case.note else "")
        try:
            verdict = check.fn(self.guarded, *case.args, **case.kwargs)
            if verdict is not None and not isinstance(verdict, str):
                verdict = None if bool(torch.as_tensor(verdict).all()) else False
        except AssertionError as error:
            if not isinstance(error, Violation) and self._learner_frames(error, check):
                return self._raised(case, error, statement, check)
            return self._violated(check, case, statement, str(error))
        except (KeyboardInterrupt, TooSlow):
            raise
        except BaseException as error:
            if self._learner_frames(error, check):
                return self._raised(case, error, statement, check)
            why = f"your result could not be used: {type(error).__name__}: {_brief(error)}"
            return self._violated(check, case, statement, why)
        if verdict is None or verdict == "":
            return None
        return self._violated(check, case, statement, verdict or "")

    def _violated(self, check: Check, case: Case, statement: str, message: str) -> Failure:
        return Failure(case, "failed", statement, message, check, self._shown(case))

    def _shown(self, case: Case) -> tuple[Row, ...]:
        """The case's inputs with what was returned, and other calls that the check has made."""
        answer = self.exercise.model_answer
        rows = [Row("input", inputs(answer, case), code=True)]
        others = []
        for call, returned in self._guard.calls:
            if not _same([call.args, call.kwargs], [case.args, case.kwargs]):
                others.append((call, returned))
            elif len(rows) == 1 and returned is not Unfinished:
                rows.append(Row("returned", describe(returned), code=True))
        for call, returned in others[-MAX_CALLS:]:
            rows.append(Row("called with", inputs(answer, call), code=True))
            if returned is not Unfinished:
                rows.append(Row("returned", describe(returned), code=True))
        return tuple(rows)

    def _raised(
        self, case: Case, error: BaseException, statement: str, check: Check | None = None
    ) -> Failure:
        frames = self._learner_frames(error, check)
        message = f"{type(error).__name__}: {_brief(error)}".rstrip(": ")
        if frames:
            if type(error) is NotImplementedError and _innermost(error) == frames[-1]:
                return Failure(case, "not attempted", statement, message)
            message += f"\n{_line(frames[-1])}"
        return Failure(case, "error", statement, message, check, self._shown(case))

    def _learner_frames(
        self, error: BaseException, check: Check | None
    ) -> list[traceback.FrameSummary]:
        """The frames below this file's and the check's own, libraries left out."""
        own = _code_files(self.fn)
        skipped = _code_files(check.fn) - own if check is not None else set()
        checked = _codes(check.fn) if check is not None else set()
        found: list[traceback.FrameSummary] = []
        for frame, line in traceback.walk_tb(error.__traceback__):
            name = frame.f_code.co_filename
            if name == __file__:
                found = []
            elif (
                frame.f_code not in checked
                and name not in skipped
                and (name in own or not _is_library(name))
            ):
                found.append(traceback.FrameSummary(name, line, frame.f_code.co_name))
        return found


def inputs(answer: Fn, call: Case | Call) -> str:
    """The inputs of a case or a call, one named line each."""
    names: Iterator[str] = iter(())
    if not inspect.isclass(answer):
        names = iter(inspect.signature(answer).parameters)
    lines = [f"{next(names, f'input {i}')} = {describe(a)}" for i, a in enumerate(call.args)]
    lines += [f"{name} = {describe(value)}" for name, value in call.kwargs.items()]
    return "\n".join(lines) or "no inputs"


def is_empty(fn: Fn) -> bool:
    """Whether a function's body is only a docstring, `pass` or `...`."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    if code is None:
        return False
    idle = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "POP_TOP"}
    documented = {getattr(inspect.unwrap(fn), "__doc__", None)}
    return {step.opname for step in dis.get_instructions(code)} <= idle and all(
        constant in (None, ...) for constant in code.co_consts if constant not in documented
    )


def plain(value: Any, kind: Any = None) -> Any:
    """A result with Python's numbers and torch's tensors where NumPy's stand for them.

    Where the model answer says that it returns a tensor, NumPy's arrays and numbers become tensors
    of the same dtype. NumPy numbers become Python numbers everywhere else, and so does a tensor or
    array without axes where it says that it returns a number: right is what has the right value.

    Args:
        value: what a learner's function returned.
        kind: what the model answer returns, as a type hint; None if it says nothing.

    Example:
        >>> plain(np.int64(3)), plain(torch.tensor(2.5), float), plain(torch.tensor(2.5))
        (3, 2.5, tensor(2.5000))
        >>> plain((np.bool_(True), torch.tensor(1)), tuple[bool, int])
        (True, 1)
        >>> plain((np.ones(2), np.float64(0.5)), tuple[Tensor, float])
        (tensor([1., 1.], dtype=torch.float64), 0.5)
    """
    arms = typing.get_args(kind) if _is_union(kind) else (kind,)
    if Tensor in arms and not {bool, int, float} & set(arms):
        value = _as_tensor(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0:
        number = value.item()
        for wanted in (bool, int, float):
            if wanted in arms and type(number) is wanted:
                return number
        if float in arms and type(number) is int:
            return float(number)
        return value
    if float in arms and int not in arms and type(value) is int:
        return float(value)
    if type(value) in (tuple, list):
        kinds = _entry_kinds(arms, len(value))
        return type(value)(plain(v, k) for v, k in zip(value, kinds, strict=True))
    if type(value) is dict:
        of = [typing.get_args(arm)[1] for arm in arms if typing.get_origin(arm) is dict]
        return {key: plain(entry, *of[:1]) for key, entry in value.items()}
    return value


def _as_tensor(value: Any) -> Any:
    """NumPy's arrays and numbers as tensors; what is none of these, or holds no numbers, as it is.

    The tensor shares the array's memory where torch can, so that writing to it shows in both.
    """
    if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind not in "biufc":
        return value
    value = np.asarray(value)
    if not value.flags.writeable or any(step < 0 for step in value.strides):
        value = value.copy()
    return torch.from_numpy(value)


def _entry_kinds(arms: tuple[Any, ...], count: int) -> list[Any]:
    """What the entries of a list or tuple should be, by the hint's alternatives."""
    for arm in arms:
        origin, of = typing.get_origin(arm), typing.get_args(arm)
        if origin is list or (origin is tuple and of[1:] == (Ellipsis,)):
            return [of[0]] * count
        if origin is tuple and len(of) == count:
            return list(of)
    return [None] * count


def _is_union(kind: Any) -> bool:
    return isinstance(kind, UnionType) or typing.get_origin(kind) is typing.Union


def _returned_kind(answer: Fn) -> Any:
    """What the model answer says that it returns; None if it says nothing that can be read."""
    try:
        return typing.get_type_hints(inspect.unwrap(answer)).get("return")
    except (NameError, TypeError, AttributeError):
        return None


def _copy(value: Any, seen: dict[int, Any]) -> Any:
    """A copy with the same memory layout; tensors that share memory still do so afterwards."""
    if type(value) is Tensor and value.layout == torch.strided:
        storage = value.untyped_storage()
        key = storage.data_ptr() or id(value)
        fresh = seen.setdefault(key, storage.clone())
        copied = torch.empty(0, dtype=value.dtype, device=value.device)
        copied.set_(fresh, value.storage_offset(), value.size(), value.stride())
        return copied.requires_grad_(value.requires_grad)
    if isinstance(value, np.ndarray):
        return value.copy(order="K")
    if type(value) in (list, tuple):
        return type(value)(_copy(entry, seen) for entry in value)
    if type(value) is dict:
        return {key: _copy(entry, seen) for key, entry in value.items()}
    return value


def _same(one: Any, other: Any) -> bool:
    """Whether two inputs hold the same values; NaN equals NaN here."""
    if type(one) is not type(other):  # a number in one call, a tensor in another
        return False
    if isinstance(one, (Tensor, np.ndarray)):
        equal = one.shape == other.shape
        return equal and bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, (int, float, complex, str, bytes)):
        return bool(one == other) or (one != one and other != other)
    return True  # objects of the exercise's own: nothing can be said


def _codes(fn: Fn) -> set[CodeType]:
    functions = vars(fn).values() if inspect.isclass(fn) else [fn]
    functions = [getattr(f, "__func__", f) for f in functions]
    plain = [inspect.unwrap(f) for f in functions if callable(f)]
    return {f.__code__ for f in plain if hasattr(f, "__code__")}


def _code_files(fn: Fn) -> set[str]:
    return {code.co_filename for code in _codes(fn)}


def _is_library(filename: str) -> bool:
    if filename.startswith(("<@beartype", "<frozen")):
        return True
    roots = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]))
    return any(os.path.abspath(filename).startswith(root + os.sep) for root in roots)


def _innermost(error: BaseException) -> traceback.FrameSummary:
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name)


def _brief(error: BaseException) -> str:
    lines = without_addresses(str(error)).strip().splitlines()
    return lines[0][:300] if lines else ""


def _line(frame: traceback.FrameSummary) -> str:
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"in {frame.name}, line {frame.lineno}: {line}".rstrip(": ")
