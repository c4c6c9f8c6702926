"""An exercise in one file: the task, its cases, what must be true, and believable mistakes.

    e1 = Exercise(id="p1.t1.e1", title="...", hints=("...", "...", "..."))

    @e1.answer                      # the model answer; its docstring states the task
    def double(x: float) -> float: ...

    @e1.cases                       # at least 20, the edge cases first
    def cases(rng: Rng) -> Iterator[Case]:
        yield Case(0.0)

    @e1.shape                       # three layers of checks, tested in this order: shape,
    def number(fn, x): return isinstance(fn(x), float)

    @e1.property("doubling twice is multiplying by four")            # property,
    def twice(fn, x): close(fn(fn(x)), 4 * x)

    @e1.value("an addition")        # value; each takes the learner's function and the inputs
    def added(fn, x): close(fn(x), x + x)

    @e1.wrong("squares instead")    # at least three, which the checks must reject
    def squares(x): return x * x

A check returns nothing or True when all is well; it returns False or a message, or raises
`Violation` (through `require`, `close`, `has_shape` or a plain `assert`) when it is not. A learner
sees the statement and the message: put nothing into a message that gives the answer away.
`docs/writing_exercises.md` is the guide.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from bolearn.teach.describe import describe, size_of
from bolearn.teach.errors import ExerciseError, Violation
from bolearn.teach.limits import CALL_SECONDS, CHECK_SECONDS

Fn = Callable[..., Any]
Layer = Literal["shape", "property", "value"]
LAYERS: tuple[Layer, ...] = ("shape", "property", "value")
_F = TypeVar("_F", bound=Fn)


class Rng(random.Random):
    """Python's `random.Random` with two tensor methods; all draws follow one seed.

    Example:
        >>> rng = Rng("a seed")
        >>> rng.randint(1, 6) in range(1, 7), rng.normal(2, 3).shape
        (True, torch.Size([2, 3]))
    """

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.getrandbits(62))

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float64 values."""
        return torch.randn(*shape, generator=self._generator(), dtype=torch.float64)

    def uniform_in(self, low: float | int, high: float | int, *shape: int) -> Tensor:
        """Uniform float64 values between `low` and `high`."""
        draw = torch.rand(*shape, generator=self._generator(), dtype=torch.float64)
        return low + (high - low) * draw


class Case:
    """One call of the learner's function: its arguments, and the error it must raise, if any.

    Example:
        >>> Case((2, 3), (4,), raises=ValueError).args
        ((2, 3), (4,))
    """

    def __init__(
        self, *args: Any, raises: type[Exception] | None = None, note: str = "", **kwargs: Any
    ) -> None:
        self.args, self.kwargs, self.raises, self.note = args, kwargs, raises, note

    def size(self) -> float:
        """The number of entries in all inputs; the smallest failing case is the one shown."""
        return size_of([*self.args, *self.kwargs.values()])


@dataclass(frozen=True)
class Check:
    """One statement about the learner's function, tested on every case."""

    layer: Layer
    statement: str
    fn: Fn


@dataclass(frozen=True)
class Wrong:
    """A believable mistake that the checks must reject."""

    why: str
    fn: Fn


@dataclass
class Exercise:
    """A task with its model answer, cases, checks, hints and wrong answers.

    Args:
        id: such as "p1.t1.e1" (part, tutorial, exercise), written out as a literal.
        title: a few words.
        hints: three, from a nudge to nearly the whole idea.
        none_ok: None is a possible result, not a forgotten `return`.
        pure: report a function that changes its inputs (otherwise it works on copies unnoticed).
        copies: give every call its own copy of the inputs; switch off where identity matters.
        size: how big a case is, from its inputs; the number of entries if not given.
        call_seconds: what one call of the learner's function may take.
        check_seconds: what the whole check may take.

    Raises:
        ExerciseError: the id is not of that form, or there are not three hints.
    """

    id: str
    title: str
    hints: Sequence[str]
    none_ok: bool = False
    pure: bool = False
    copies: bool = True
    size: Fn | None = None
    call_seconds: float = CALL_SECONDS
    check_seconds: float = CHECK_SECONDS
    checks: list[Check] = field(default_factory=list, init=False, repr=False)
    wrongs: list[Wrong] = field(default_factory=list, init=False, repr=False)
    _answer: Fn | None = field(default=None, init=False, repr=False)
    _cases: Callable[[Rng], Iterator[Case]] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", self.id):
            raise ExerciseError(
                f'expected an id such as "p1.t1.e1" or "homework.e1", got {self.id!r}'
            )
        if isinstance(self.hints, str) or len(self.hints) != 3:
            raise ExerciseError(f"{self.id}: expected three hints, got {self.hints!r}")

    def answer(self, fn: _F) -> _F:
        """Decorator: the model answer, a function or a class with a docstring."""
        self._answer = fn
        return fn

    def cases(self, fn: Callable[[Rng], Iterator[Case]]) -> Callable[[Rng], Iterator[Case]]:
        """Decorator: the generator of cases, which takes an `Rng`."""
        self._cases = fn
        return fn

    def shape(self, fn: _F) -> _F:
        """Decorator: a check of the result's type and shape."""
        self.checks.append(Check("shape", "the result has the right type and shape", fn))
        return fn

    def property(self, statement: str) -> Callable[[_F], _F]:
        """Decorator: a check of something that must be true, stated in words."""
        return self._check("property", statement)

    def value(self, route: str) -> Callable[[_F], _F]:
        """Decorator: a check of the value by an independent route, named in words."""
        return self._check("value", f"the value agrees with {route}")

    def wrong(self, why: str) -> Callable[[_F], _F]:
        """Decorator: a believable mistake, and why one might make it."""

        def register(fn: _F) -> _F:
            self.wrongs.append(Wrong(why, fn))
            return fn

        return register

    def _check(self, layer: Layer, statement: str) -> Callable[[_F], _F]:
        def register(fn: _F) -> _F:
            self.checks.append(Check(layer, statement, fn))
            return fn

        return register

    @builtins.property
    def model_answer(self) -> Fn:
        """The decorated answer.

        Raises:
            ExerciseError: there is none.
        """
        if self._answer is None:
            raise ExerciseError(f"{self.id}: no model answer; decorate one with @e.answer")
        return self._answer

    @builtins.property
    def name(self) -> str:
        """The name of the function or class that a learner writes."""
        return str(self.model_answer.__name__)

    def make_cases(self, seed: int) -> list[Case]:
        """All cases of a seed; the same seed gives the same cases.

        Raises:
            ExerciseError: there is no generator, or it yields something else than `Case`.
        """
        if self._cases is None:
            raise ExerciseError(f"{self.id}: no cases; decorate a generator with @e.cases")
        made = list(self._cases(Rng(f"{self.id}/{seed}")))
        for case in made:
            if not isinstance(case, Case):
                raise ExerciseError(f"{self.id}: expected yield Case(...), got {case!r}")
        return made

    def case_size(self, case: Case) -> float:
        """How big a case is, by the exercise's own measure if it has one."""
        return float(self.size(*case.args, **case.kwargs)) if self.size else case.size()


def require(condition: object, message: str = "") -> None:
    """Raise `Violation` unless the condition holds (a bool, or a tensor or array of bools).

    Example:
        >>> require(torch.tensor([True, True]))
        >>> require(1 > 2, "one is not above two")
        Traceback (most recent call last):
        bolearn.teach.errors.Violation: one is not above two
    """
    if not bool(torch.as_tensor(condition).all()):
        raise Violation(message)


def has_shape(result: object, shape: Sequence[int], dtype: torch.dtype | None = None) -> None:
    """Raise `Violation` unless the result is a tensor of this shape (and dtype).

    Example:
        >>> has_shape(torch.zeros(3), (3, 1))
        Traceback (most recent call last):
        bolearn.teach.errors.Violation: expected shape (3, 1), got (3,)
    """
    if not isinstance(result, Tensor):
        raise Violation(f"expected a tensor, got {_kind(result)}")
    if tuple(result.shape) != tuple(shape):
        raise Violation(f"expected shape {tuple(shape)}, got {tuple(result.shape)}")
    if dtype is not None and result.dtype != dtype:
        raise Violation(f"expected dtype {dtype}, got {result.dtype}")


def close(
    actual: object,
    expected: object,
    tolerance: float | int = 1e-9,
    *,
    relative: bool = False,
    reveal: bool = False,
) -> None:
    """Raise `Violation` unless all entries differ by at most `tolerance`; NaN never passes.

    Numbers, tensors, arrays, and tuples or lists of these. With `relative` the tolerance is a
    fraction of the largest expected entry. The message says where and by how much the values
    differ, to one digit; it shows the expected values only with `reveal`.

    Example:
        >>> close(torch.tensor([1.0, 2.0]), [1.0, 2.0])
        >>> close(1.5, 1.0, 1e-3)
        Traceback (most recent call last):
        bolearn.teach.errors.Violation: off by about 0.5, allowed 0.001
    """
    if isinstance(expected, (tuple, list)) and not _numeric(expected):
        if not isinstance(actual, (tuple, list)) or len(actual) != len(expected):
            raise Violation(f"expected {len(expected)} values, got {_kind(actual)}")
        for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
            try:
                close(one, other, tolerance, relative=relative, reveal=reveal)
            except Violation as error:
                raise Violation(f"value {index}: {error}") from None
        return
    if not _numeric(actual):
        raise Violation(f"expected numbers, got {_kind(actual)}")
    a = torch.as_tensor(actual, dtype=torch.float64).detach()
    e = torch.as_tensor(expected, dtype=torch.float64).detach()
    if a.shape != e.shape:
        raise Violation(f"expected shape {tuple(e.shape)}, got {tuple(a.shape)}")
    if e.numel() == 0:
        return
    gap = torch.where(a == e, 0.0, (a - e).abs())  # equal infinities agree
    finite = e[e.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 1.0
    allowed = tolerance * (scale if relative else 1.0)
    bad = ~(gap <= allowed)
    if not bool(bad.any()):
        return
    worst = int(torch.where(gap.isnan(), torch.inf, gap).argmax())
    size = float(gap.flatten()[worst])
    text = f"off by about {size:.1g}, allowed {allowed:.1g}" if size < torch.inf else "not finite"
    if a.ndim:
        where = tuple(int(axis[0]) for axis in np.unravel_index([worst], gap.shape))
        text += f" (at index {where}, where yours is {describe(float(a[where]))})"
    raise Violation(text + (f"; expected {describe(expected)}" if reveal else ""))


def _numeric(value: object) -> bool:
    try:
        return not torch.as_tensor(value).dtype.is_complex
    except (TypeError, ValueError, RuntimeError):
        return False


def _kind(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


@contextlib.contextmanager
def random_state_untouched() -> Iterator[None]:
    """Raise `Violation` if what runs inside uses torch's or NumPy's global random generator.

    The generators are put into a state first that nobody can have come to by seeding them, so that
    code which seeds them is found whatever its seed is.

    Example:
        >>> with random_state_untouched():
        ...     _ = torch.manual_seed(0)
        Traceback (most recent call last):
        bolearn.teach.errors.Violation: torch's global random state was used; draw from a ...
    """
    kept = torch.get_rng_state(), np.random.get_state()
    mixer = random.Random(os.urandom(16))
    torch.default_generator.manual_seed(mixer.getrandbits(62))
    np.random.seed(mixer.getrandbits(32))
    before = _random_states()
    try:
        yield
        for name, state in _random_states().items():
            if state != before[name]:
                raise Violation(
                    f"{name}'s global random state was used; draw from a generator of your own"
                )
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])


def _random_states() -> dict[str, object]:
    numpy: Any = np.random.get_state()
    tensor = torch.get_rng_state().numpy().tobytes()
    return {"torch": tensor, "NumPy": (numpy[1].tobytes(), *numpy[2:])}
