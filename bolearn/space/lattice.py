"""Positions and rows: a space as arrays, and the way of any point to a legal one nearby.

A point is a row of positions (see `parameters`), one for each parameter: whole numbers where a
parameter has a grid or labels, values in its own units where every number is allowed. Constraints
are rows ``low <= A z <= high`` of positions z. A row on grids alone is scaled to whole numbers and
decided exactly; one that holds a real number is met up to 1e-9 of its size.

Taught in part_5/tutorial_03.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..errors import OptimizationError
from .parameters import Categorical, Parameter, exact
from .text import LinearConstraint

Array = npt.NDArray[np.float64]

_TOLERANCE = 1e-9  # of the size of a row that holds a real number
_SETTLED = 2e-15  # the same, where moving real numbers stops
_SWEEPS = 100  # over the rows
_STEPS = 64  # single steps on grids, before a programme with whole numbers is asked
_SECONDS = 20.0  # for such a programme


@dataclass(frozen=True, eq=False)
class Lattice:
    """The legal points of a space: limits of positions, and rows.

    Attributes:
        lower, upper: limits of positions, ``p``.
        discrete: which positions are whole numbers, ``p``.
        A, low, high: rows, ``m p`` and ``m``; infinite where there is no limit.
        whole: rows of whole numbers, which are decided exactly, ``m``.
        width: what a move of each position is measured by, ``p``: the range of its parameter.
        total: the limits ``2 m`` before those of whole rows were moved to whole numbers.
    """

    lower: Array
    upper: Array
    discrete: npt.NDArray[np.bool_]
    A: Array
    low: Array
    high: Array
    whole: npt.NDArray[np.bool_]
    width: Array
    total: Array

    @classmethod
    def of(
        cls, parameters: Sequence[Parameter], constraints: Sequence[LinearConstraint]
    ) -> "Lattice":
        """The lattice of a space."""
        lower, upper, discrete = [], [], []
        for p in parameters:
            gridded = p.levels is not None
            discrete.append(gridded)
            lower.append(0.0 if isinstance(p, Categorical) or gridded else p.low)
            upper.append(float(p.levels - 1) if p.levels is not None else p.high)
        rows = [_row(c, parameters) for c in constraints]
        lower_, upper_ = np.array(lower), np.array(upper)
        return cls(
            lower_,
            upper_,
            np.array(discrete, dtype=bool),
            np.array([row[0] for row in rows]).reshape(len(rows), len(parameters)),
            np.array([row[1] for row in rows], dtype=float),
            np.array([row[2] for row in rows], dtype=float),
            np.array([row[3] for row in rows], dtype=bool),
            np.where(upper_ > lower_, upper_ - lower_, 1.0),
            np.array([[row[4] for row in rows], [row[5] for row in rows]], dtype=float),
        )

    def subset(self, rows: Sequence[int]) -> "Lattice":
        """The same with some of the rows."""
        keep = list(rows)
        return self._with(
            A=self.A[keep],
            low=self.low[keep],
            high=self.high[keep],
            whole=self.whole[keep],
            total=self.total[:, keep],
        )

    def real(self) -> "Lattice":
        """The same with every number between the limits allowed."""
        low, high = self.total
        return self._with(
            discrete=np.zeros_like(self.discrete),
            low=low,
            high=high,
            whole=np.zeros_like(self.whole),
        )

    def limited(self, lower: Array, upper: Array) -> "Lattice":
        """The same within other limits."""
        return self._with(lower=lower, upper=upper)

    def grid(self) -> "Lattice":
        """The discrete positions alone, with rows widened by what real numbers can add."""
        least, most = self._reach
        keep = self.discrete
        return self._with(
            lower=self.lower[keep],
            upper=self.upper[keep],
            discrete=self.discrete[keep],
            width=self.width[keep],
            A=self.A[:, keep],
            low=self.low - most,
            high=self.high - least,
        )

    def _with(self, **changes: npt.NDArray[np.generic]) -> "Lattice":
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Lattice(**{**fields, **changes})

    @cached_property
    def size(self) -> Array:
        """How large the terms of each row can be, ``m``."""
        most = np.maximum(np.abs(self.lower), np.abs(self.upper))
        return np.asarray(np.maximum(np.abs(self.A) @ most, 1e-300))

    @cached_property
    def tolerance(self) -> Array:
        """How far a row may be missed, ``m``: a quarter where the next number is one away."""
        return np.where(self.whole, 0.25, _TOLERANCE * self.size)

    @cached_property
    def bound(self) -> npt.NDArray[np.intp]:
        """The positions that occur in rows."""
        return np.flatnonzero((self.A != 0).any(0))

    @cached_property
    def scaled(self) -> Array:
        """The rows for positions measured by their width, ``m p``."""
        return self.A * self.width

    def residual(self, z: Array) -> Array:
        """How far above (> 0) or below (< 0) its limits each row is, ``k m``."""
        total = z @ self.A.T
        return np.asarray(np.maximum(total - self.high, 0) + np.minimum(total - self.low, 0))

    def feasible(self, z: Array) -> npt.NDArray[np.bool_]:
        """Which points ``k p`` meet all rows."""
        return np.asarray((np.abs(self.residual(z)) <= self.tolerance).all(-1))

    def snapped(self, z: Array) -> Array:
        """The nearest positions that are whole where they have to be, and within the limits."""
        z = np.where(self.discrete, np.rint(z), z)
        return np.clip(z, self.lower, self.upper)

    def legal(self, z: Array) -> Array:
        """Legal points in the place of any ``k p``: near them, and the same where they are legal.

        Grid points are rounded, then corrected in single steps; real numbers move in proportion to
        their range; what is left is the nearest point that a programme with whole numbers finds.

        Raises:
            OptimizationError: such a programme found none in its time.
        """
        found = self.snapped(z)
        bad = np.flatnonzero(~self.feasible(found))
        if not len(bad):
            return found
        relaxed = self.moved(np.clip(z[bad], self.lower, self.upper), np.ones_like(self.discrete))
        tried = self.moved(self.stepped(self.snapped(relaxed), relaxed), ~self.discrete)
        good = self.feasible(tried)
        for i in np.flatnonzero(~good):
            tried[i] = self.nearest(relaxed[i])
        found[bad] = tried
        return found

    def moved(self, z: Array, free: npt.NDArray[np.bool_]) -> Array:
        """Points with their free positions moved until the rows are met, where that is possible.

        Cyclic projections in units of the ranges; what has reached a limit stays there.
        """
        z = z.copy()
        if not self.A.shape[0] or not (self.A[:, free] != 0).any():
            return z
        settled = _SETTLED * self.size
        left = np.arange(len(z))
        for _ in range(_SWEEPS):
            for i in range(len(self.A)):
                a = np.where(free, self.scaled[i], 0.0)
                x = z[left]
                off = self.residual(x)[:, i]
                push = -np.sign(off)[:, None] * a  # the direction in which each position may help
                room = np.where(push > 0, x < self.upper, x > self.lower) & (a != 0)
                slope = np.where(room, a, 0.0)
                norm = (slope**2).sum(-1)
                step = np.divide(off, norm, out=np.zeros_like(off), where=norm > 0)
                z[left] = np.clip(x - step[:, None] * slope * self.width, self.lower, self.upper)
            left = left[(np.abs(self.residual(z[left])) > settled).any(-1)]
            if not len(left):
                break
        return z

    @cached_property
    def _reach(self) -> tuple[Array, Array]:
        """The least and the most that real numbers add to each row, ``m``."""
        a = np.where(self.discrete, 0.0, self.A)
        ends = np.stack([a * self.lower, a * self.upper])
        return ends.min(0).sum(-1), ends.max(0).sum(-1)

    def stepped(self, z: Array, target: Array) -> Array:
        """Grid points moved in single steps until real numbers can do the rest.

        Of the steps that bring a point nearest to the rows, the one that stays nearest to the
        target is taken; a point that no single step improves is left to others.
        """
        moving = np.flatnonzero((self.A != 0).any(0) & self.discrete & (self.lower < self.upper))
        if not len(moving):
            return z
        z = z.copy()
        least, most = self._reach
        low, high = self.low - most, self.high - least
        size = np.where(self.whole, np.abs(self.A).max(-1, initial=1.0), self.size)
        tolerance = self.tolerance / size

        def off(total: Array) -> Array:
            missed = np.maximum(total - high, 0) + np.maximum(low - total, 0)
            return np.asarray(np.where(missed / size <= tolerance, 0.0, missed / size).sum(-1))

        moves = np.concatenate([moving, moving])
        signs = np.repeat([1.0, -1.0], len(moving))
        left = np.arange(len(z))
        for _ in range(_STEPS):
            total = np.where(self.discrete, z[left], 0.0) @ self.A.T
            now = off(total)
            left, total, now = left[now > 0], total[now > 0], now[now > 0]
            if not len(left):
                break
            there = z[left][:, moves] + signs
            allowed = (there >= self.lower[moves]) & (there <= self.upper[moves])
            then = off(total[:, None] + signs[:, None] * self.A[:, moves].T)
            away = np.abs(there - target[left][:, moves]) - np.abs(
                z[left][:, moves] - target[left][:, moves]
            )
            rank = np.where(allowed, then + 1e-6 * now[:, None] * away / self.width[moves], np.inf)
            best = rank.argmin(-1)
            row = np.arange(len(left))
            better = (then[row, best] < now * (1 - 1e-12)) & allowed[row, best]
            left, best = left[better], best[better]
            if not len(left):
                break
            z[left, moves[best]] += signs[best]
        return z

    def nearest(self, target: Array) -> Array:
        """The legal point nearest to a target, the sum of moves in units of the ranges.

        Raises:
            OptimizationError: none was found in time.
        """
        found = self.solved(target=target)
        if found is None:
            raise OptimizationError(
                f"space: expected a legal point within {_SECONDS:g} s of looking, got none; use "
                "larger steps or fewer constraints"
            )
        return found

    def solved(self, target: Array | None = None) -> Array | None:
        """A legal point, the nearest to a target if there is one; None if there is none.

        Args:
            target: positions.

        Raises:
            OptimizationError: undecided in time.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp  # slow to load

        used = self.bound
        k = len(used)
        point = np.where(self.discrete, np.rint((self.lower + self.upper) / 2), self.lower)
        point = self.snapped(point if target is None else target)
        if not k:
            return point
        # unknowns: whole numbers as they are, real ones from 0 to 1; then the sizes of the moves
        grid = self.discrete[used]
        origin = np.where(grid, 0.0, self.lower[used])
        unit = np.where(grid, 1.0, self.width[used])
        weight = np.where(grid, 1 / self.width[used], 1.0)
        A = self.A[:, used] * unit
        shift = self.A[:, used] @ origin
        norm = np.abs(A).max(-1)
        eye = np.eye(k)
        goal = ((point if target is None else target)[used] - origin) / unit
        rows = np.vstack(
            [
                np.hstack([A / norm[:, None], np.zeros((len(A), k))]),
                np.hstack([eye, -eye]),
                np.hstack([eye, eye]),
            ]
        )
        low = np.concatenate([(self.low - shift) / norm, np.full(k, -np.inf), goal])
        high = np.concatenate([(self.high - shift) / norm, goal, np.full(k, np.inf)])
        limits = Bounds(
            np.concatenate([(self.lower[used] - origin) / unit, np.zeros(k)]),
            np.concatenate([(self.upper[used] - origin) / unit, np.full(k, np.inf)]),
        )
        integrality = np.concatenate([grid, np.zeros(k)])
        cost = np.concatenate([np.zeros(k), weight if target is not None else np.zeros(k)])
        answer = milp(
            cost,
            integrality=integrality,
            bounds=limits,
            constraints=LinearConstraint(rows, low, high),
            options={"time_limit": _SECONDS},
        )
        if answer.x is None:
            if answer.status == 2:
                return None
            raise OptimizationError(
                f"space: could not decide within {_SECONDS:g} s whether the constraints can be met "
                f"on these steps ({answer.message}); use larger steps or fewer constraints"
            )
        point[used] = origin + answer.x[:k] * unit
        ends = self.moved(self.snapped(point)[None], ~self.discrete)
        return ends[0] if bool(self.feasible(ends)[0]) else None


def _row(
    constraint: LinearConstraint, parameters: Sequence[Parameter]
) -> tuple[list[float], float, float, bool, float, float]:
    """A constraint as a row on positions: coefficients, limits, whether it is exact, raw limits."""
    coefficients = dict(constraint.coefficients)
    row, constant, gridded = [], Fraction(0), True
    for p in parameters:
        c = coefficients.get(p.name, Fraction(0))
        if c == 0 or isinstance(p, Categorical):
            row.append(Fraction(0))
        elif p.step is None:
            row.append(c)
            gridded = False
        else:
            row.append(c * exact(p.step))
            constant += c * exact(p.low)
    low = None if constraint.low is None else constraint.low - constant
    high = None if constraint.high is None else constraint.high - constant
    if gridded:
        scale = Fraction(math.lcm(*(c.denominator for c in row)))
        scale /= math.gcd(*(int(c * scale) for c in row))
        numbers = [c * scale for c in row]
        levels = [p.levels or 1 for p in parameters]
        reach = sum(abs(c) * n for c, n in zip(numbers, levels, strict=True))
        if reach < 2**52:
            # sums are whole numbers: limits move to the next one inside
            raw = [
                math.copysign(math.inf, side) if b is None else float(b * scale)
                for b, side in ((low, -1), (high, 1))
            ]
            ends = [
                raw[0] if low is None else float(math.ceil(low * scale)),
                raw[1] if high is None else float(math.floor(high * scale)),
            ]
            return [float(c) for c in numbers], ends[0], ends[1], True, raw[0], raw[1]
    ends = [-math.inf if low is None else float(low), math.inf if high is None else float(high)]
    return [float(c) for c in row], ends[0], ends[1], False, ends[0], ends[1]
