"""The parameters of a space: real numbers, whole numbers, categories.

A parameter knows its legal values in the units of whoever runs the experiment, and where on an
axis from 0 to 1 a model sees them. Internally a value is a *position*: the number of the grid point
or of the category, counted from 0, or the number itself where every number is allowed. Grid points
are computed in decimals, so that the third step of 0.1 is 0.3 and not 0.30000000000000004.

Taught in part_5/tutorial_03.
"""

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from ..errors import DataError
from ..shapes import is_number

Label = str | bool | int | float
"""What a category may be called."""

Value = str | bool | int | float
"""A value of a parameter: a number, or the label of a category."""

MAX_LEVELS = 2**40  # more are no grid: positions have to survive the way to [0, 1] and back
_ON_GRID = 1e-9  # of a step: how far from a grid point a number may be to mean it
_FORBIDDEN = re.compile(r"[<>=≤≥\x00-\x1f\x7f]")


def plain(value: object) -> object:
    """Python's own number or text for NumPy's; a float32 of 0.1 becomes 0.1, as it is printed."""
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.str_):
        return str(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.float64):
        return float(value)
    if isinstance(value, np.floating):
        return float(str(value))
    return value


def exact(number: float | int) -> Fraction:
    """The decimal that a float is printed as: 1/10 for 0.1."""
    return Fraction(repr(number))


def short(number: float | int) -> str:
    """A number as people write it: 1 for 1.0."""
    return repr(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def close_to(word: object, known: Sequence[object]) -> str:
    """A hint at what was meant, if anything known is alike."""
    folded = {str(k).casefold(): k for k in known}
    alike = difflib.get_close_matches(str(word).casefold(), list(folded), n=1)
    return f"; did you mean {folded[alike[0]]!r}?" if alike else ""


def _check_name(kind: str, name: object) -> str:
    name = plain(name)
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{kind}: expected a name such as 'temperature', got {name!r}")
    if name != name.strip() or _FORBIDDEN.search(name):
        raise DataError(
            f"{kind}: expected a name without spaces at its ends, line breaks or signs <>=, "
            f"got {name!r}; try {_FORBIDDEN.sub('', name).strip()!r}"
        )
    try:
        float(name)
    except ValueError:
        return name
    raise DataError(f"{kind}: expected a name, got {name!r}, which reads as a number")


def _check_unit(name: str, unit: object) -> str | None:
    unit = plain(unit)
    if unit is not None and (not isinstance(unit, str) or not unit.strip()):
        raise DataError(f"{name}: expected a unit such as '°C', or None, got {unit!r}")
    return unit if unit is None else unit.strip()


def _check_flag(name: str, what: str, flag: object) -> bool:
    flag = plain(flag)
    if not isinstance(flag, bool):
        raise DataError(f"{name}: expected {what}=True or False, got {flag!r}")
    return flag


def _not_a_number(name: str, value: object, wanted: str) -> str:
    """What to say of something that is no number."""
    got = f"{value!r}" + ("" if isinstance(value, int | float) else f" ({type(value).__name__})")
    hint = ""
    if isinstance(value, bool):
        hint = "; truth values are no numbers"
    elif isinstance(value, str):
        try:
            float(value.replace(",", "."))
            hint = f"; write {value.replace(',', '.').strip()} without quotes"
        except ValueError:
            hint = ""
    elif value is None or value != value:
        hint = "; leave the trial out, or fill the gap"
    return f"{name}: expected {wanted}, got {got}{hint}"


@dataclass(frozen=True)
class _Number:
    """What real and whole numbers have in common: an axis from low to high, perhaps with steps."""

    name: str
    low: float | int
    high: float | int
    _: KW_ONLY
    unit: str | None = None
    log: bool = False
    step: float | int | None = None

    def _check_axis(self, kind: str) -> None:
        """The limits, the step and the logarithm, each with a way out."""
        name = self.name
        if self.low >= self.high:
            raise DataError(
                f"{name}: expected low < high, got low={short(self.low)}, high={short(self.high)}"
                + ("; swap them" if self.low > self.high else "; a constant is no parameter")
            )
        if not math.isfinite(self.high - self.low):
            raise DataError(
                f"{name}: expected limits whose distance is a finite number, got "
                f"{self.low:g} and {self.high:g}; use another unit, or log=True of a smaller range"
            )
        if self.log and self.low <= 0:
            raise DataError(
                f"{name}: expected low > 0 on a logarithmic axis, got low={short(self.low)}; "
                "start at the smallest value that matters, or leave out log=True"
            )
        if self.log and not math.isfinite(self.high / self.low):
            raise DataError(
                f"{name}: expected high / low below 1e308 on a logarithmic axis, got "
                f"{self.low:g} and {self.high:g}; narrow the range"
            )
        if self.step is None:
            return
        if self.step <= 0:
            raise DataError(
                f"{name}: expected step > 0, got step={short(self.step)}; it is in the units of "
                "low and high, on a logarithmic axis too"
            )
        if exact(self.step) > exact(self.high) - exact(self.low):
            raise DataError(
                f"{name}: expected step <= high - low = {short(self.high - self.low)}, got "
                f"step={short(self.step)}; {kind} would have a single value"
            )
        if self.levels is not None and self.levels > MAX_LEVELS:
            raise DataError(
                f"{name}: expected at most 2**40 grid points, got {self.levels:,}; "
                "use a larger step, or none"
            )

    @cached_property
    def levels(self) -> int | None:
        """Number of legal values; None where every number between the limits is one."""
        if self.step is None:
            return None
        return int((exact(self.high) - exact(self.low)) / exact(self.step)) + 1

    @cached_property
    def _decimals(self) -> tuple[int, int, int]:
        """Integers a, b, c: grid point j is (a + j b) / c, rounded once."""
        low, step = exact(self.low), exact(self.step or 0.0)
        c = math.lcm(low.denominator, step.denominator)
        return int(low * c), int(step * c), c

    @property
    def columns(self) -> int:
        """Columns of the encoding."""
        return 1

    def value(self, position: float | int) -> Value:
        """The legal value at a position."""
        if self.step is None:
            return float(position)
        a, b, c = self._decimals
        return (a + round(position) * b) / c

    def nearest(self, number: float) -> int:
        """The grid point nearest to a number between the limits."""
        assert self.step is not None and self.levels is not None
        j = round((number - self.low) / self.step)
        return min(max(j, 0), self.levels - 1)

    def complaint(self, value: object, outside: bool = False) -> str:
        """What is wrong with a value; empty if nothing is.

        Args:
            value: anything.
            outside: whether numbers beyond the limits and between the steps are right, too.
        """
        value = plain(value)
        whole = isinstance(self, Integer)
        if not is_number(value):
            wanted = "a whole number" if whole else "a finite number"
            return _not_a_number(self.name, value, wanted)
        number, unit = float(value), f" {self.unit}" if self.unit else ""
        if outside:
            positive = number > 0 or not self.log
            return (
                ""
                if positive
                else (
                    f"{self.name}: expected a number > 0 on a logarithmic axis, got {short(number)}"
                )
            )
        if not self.low <= number <= self.high:
            return (
                f"{self.name}: expected {short(self.low)} to {short(self.high)}{unit}, got "
                f"{short(number)}{unit}"
            )
        if self.step is not None:
            legal = float(self.value(self.nearest(number)))
            if abs(legal - number) > _ON_GRID * self.step + 4 * math.ulp(number):
                steps = (
                    "a whole number"
                    if whole and self.step == 1
                    else (f"{short(self.low)} plus a multiple of the step {short(self.step)}")
                )
                return (
                    f"{self.name}: expected {steps}, got {short(number)}{unit}; the nearest is "
                    f"{short(legal)}"
                )
        return ""

    def position(self, value: object) -> float:
        """The position of a number; between whole ones if it is no grid point."""
        number = float(plain(value))  # type: ignore[arg-type]
        if self.step is None:
            return number
        nearest = self.nearest(number)
        near = _ON_GRID * self.step + 4 * math.ulp(number)
        on_grid = abs(float(self.value(nearest)) - number) <= near
        return float(nearest) if on_grid else (number - self.low) / self.step

    def _described(self, kind: str) -> str:
        """Limits, unit, step and axis in words."""
        text = f"{short(self.low)} to {short(self.high)}" + (f" {self.unit}" if self.unit else "")
        if kind == "whole" and self.step == 1:
            text += ", whole"
        elif self.step is not None:
            text += f", step {short(self.step)}"
            last = float(self.value((self.levels or 1) - 1))
            text += "" if last == self.high else f" (up to {short(last)})"
        return text + (", logarithmic" if self.log else "")

    def _written(self, step: float | int | None) -> str:
        """The call that makes this parameter."""
        parts = [repr(self.name), short(self.low), short(self.high)]
        parts += [f"unit={self.unit!r}"] if self.unit else []
        parts += ["log=True"] if self.log else []
        parts += [f"step={short(self.step)}"] if self.step not in (None, step) else []
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, repr=False)
class Real(_Number):
    """A real number between two limits, in the units of the experiment.

    A step makes it a grid: legal are low, low + step, low + 2 step, ... up to high, which need not
    be one of them. The step is in the units of low and high on a logarithmic axis too: a clock
    that can be set to whole seconds can be set so at 1 s and at 600 s. The logarithm says how the
    model sees the axis, and how a design spreads over it.

    Args:
        name: how it is called in trials, tables and constraints; spaces and signs are allowed.
        low: smallest value.
        high: largest value.
        unit: for tables and messages.
        log: whether ratios count, and not differences; needs low > 0.
        step: distance of the grid points; None allows every number.

    Raises:
        DataError: limits, a step or a name that cannot be used; the message says which.

    Example:
        >>> Real("time", 1, 600, unit="s", log=True)
        Real('time', 1, 600, unit='s', log=True)
        >>> [Real("A", 0, 1, step=0.1).value(j) for j in (1, 3)]
        [0.1, 0.3]
    """

    def __post_init__(self) -> None:
        """Check at the border; numbers become Python's."""
        name = _check_name("Real", self.name)
        object.__setattr__(self, "name", name)
        for key in ("low", "high", "step"):
            number = plain(getattr(self, key))
            if key == "step" and number is None:
                continue
            if not is_number(number):
                raise DataError(_not_a_number(name, number, f"a finite number as {key}"))
            object.__setattr__(self, key, float(number) + 0.0)  # no negative zero
        object.__setattr__(self, "unit", _check_unit(name, self.unit))
        object.__setattr__(self, "log", _check_flag(name, "log", self.log))
        self._check_axis("the parameter")

    def describe(self) -> str:
        """Limits, unit, step and axis in words."""
        return self._described("real")

    def __repr__(self) -> str:
        return self._written(None)


@dataclass(frozen=True, repr=False)
class Integer(_Number):
    """A whole number between two limits: cycles, layers, equivalents.

    Args:
        name: how it is called in trials, tables and constraints.
        low: smallest value.
        high: largest value.
        unit: for tables and messages.
        log: whether ratios count, and not differences; needs low > 0.
        step: legal are low, low + step, ...; a whole number, like the limits.

    Raises:
        DataError: limits, a step or a name that cannot be used; the message says which.

    Example:
        >>> Integer("cycles", 1, 8)
        Integer('cycles', 1, 8)
    """

    _: KW_ONLY
    step: float | int | None = 1

    def __post_init__(self) -> None:
        """Check at the border; numbers become Python's."""
        name = _check_name("Integer", self.name)
        object.__setattr__(self, "name", name)
        for key in ("low", "high", "step"):
            number = plain(getattr(self, key))
            if not is_number(number) or number != int(number) or abs(number) > 2**53:
                hint = "; use Real for other numbers" if is_number(number) else ""
                raise DataError(_not_a_number(name, number, f"a whole number as {key}") + hint)
            object.__setattr__(self, key, int(number))
        object.__setattr__(self, "unit", _check_unit(name, self.unit))
        object.__setattr__(self, "log", _check_flag(name, "log", self.log))
        self._check_axis("the parameter")

    def value(self, position: float | int) -> Value:
        """The whole number at a position."""
        a, b, _ = self._decimals
        return a + round(position) * b

    def describe(self) -> str:
        """Limits, unit, step and axis in words."""
        return self._described("whole")

    def __repr__(self) -> str:
        return self._written(1)


@dataclass(frozen=True, repr=False, init=False)
class Categorical:
    """One of several labels: a solvent, a catalyst, on or off.

    A model sees k labels as k columns of which one is 1, so that no label is nearer to one than
    to another, and no order of the list matters. With ``ordered=True`` it sees one column on which
    they are evenly spaced: low, medium, high.

    Args:
        name: how it is called in trials and tables.
        values: the labels: texts, numbers or truth values, all different.
        ordered: whether the list is in an order that means something.

    Raises:
        DataError: no labels, labels twice, or labels that are nothing of that kind.

    Example:
        >>> Categorical("solvent", ["MeOH", "THF", "MeCN"]).columns
        3
    """

    name: str
    values: tuple[Label, ...]
    ordered: bool

    def __init__(self, name: str, values: Iterable[Label], *, ordered: bool = False) -> None:
        """Check at the border; the list becomes a tuple of Python's own values."""
        name = _check_name("Categorical", name)
        object.__setattr__(self, "name", name)
        given: object = values
        if isinstance(given, str) or not hasattr(given, "__iter__"):
            raise DataError(f"{name}: expected a list of labels such as ['MeOH'], got {given!r}")
        if isinstance(given, set | frozenset):
            raise DataError(
                f"{name}: expected a list of labels, got a {type(given).__name__}, which has no "
                "order to write down; use sorted(...)"
            )
        labels = tuple(plain(v) for v in given)
        if not labels:
            raise DataError(f"{name}: expected at least one label, got none")
        for label in labels:
            number = isinstance(label, bool) or is_number(label)
            if not number and not (isinstance(label, str) and "\x00" not in label):
                raise DataError(
                    f"{name}: expected labels that are texts, finite numbers or truth values, got "
                    f"{label!r} ({type(label).__name__}); use its name"
                )
        for i, label in enumerate(labels):
            if label in labels[:i]:
                first = labels[labels.index(label)]
                raise DataError(
                    f"{name}: expected different labels, got {first!r} and {label!r}"
                    + ("" if repr(first) == repr(label) else ", which are equal in Python")
                )
        object.__setattr__(self, "values", labels)
        object.__setattr__(self, "ordered", _check_flag(name, "ordered", ordered))

    @property
    def levels(self) -> int:
        """Number of labels."""
        return len(self.values)

    @property
    def columns(self) -> int:
        """Columns of the encoding: one for each label, or one for all if they are ordered."""
        return 1 if self.ordered else len(self.values)

    def value(self, position: float | int) -> Value:
        """The label at a position."""
        return self.values[round(position)]

    def _index(self, value: object) -> int | None:
        """Which label a value is; a truth value is no number."""
        value = plain(value)
        for i, label in enumerate(self.values):
            same = isinstance(value, bool) == isinstance(label, bool)
            if same and isinstance(value, str | int | float) and value == label:
                return i
        return None

    def complaint(self, value: object, outside: bool = False) -> str:
        """What is wrong with a value; empty if nothing is. A label is never outside."""
        if self._index(value) is not None:
            return ""
        shown = ", ".join(repr(v) for v in self.values[:8]) + (", ..." if self.levels > 8 else "")
        return f"{self.name}: expected one of {shown}, got {plain(value)!r}" + close_to(
            plain(value), self.values
        )

    def position(self, value: object) -> float:
        """The number of a label."""
        index = self._index(value)
        assert index is not None
        return float(index)

    def describe(self) -> str:
        """The labels."""
        between = " < " if self.ordered else " | "
        return between.join(str(v) for v in self.values)

    def __repr__(self) -> str:
        ordered = ", ordered=True" if self.ordered else ""
        return f"Categorical({self.name!r}, {list(self.values)!r}{ordered})"


Parameter = Real | Integer | Categorical
