r"""Constraints on the inputs themselves: mixtures that add up, budgets, forbidden corners.

What is declared here holds for each of the q points by itself. The feasible set enters the search
three times: start points are moved into it and spread out over it, the climb respects it, and what
is returned is checked.

The climb is an augmented Lagrangian. For inequalities c_i(x) <= 0 it minimises, over the box alone,

    f(x) + sum_i (max(0, lambda_i + rho c_i(x))^2 - lambda_i^2) / (2 rho)

by the batched quasi-Newton method, and then moves lambda_i to max(0, lambda_i + rho c_i(x)), the
slope of that penalty; for equalities the same without the maximum. Where x and lambda no longer
change, x is stationary on the feasible set. So linear and non-linear constraints, one restart or
thousands, are the same few lines around `lbfgs.minimize`.

Residuals are scaled to be distances in the unit cube: c = 0.1 is a tenth of the box from feasible.

Taught in part_5/tutorial_03.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import seeds
from ..errors import DataError, InfeasibleError, ShapeError
from ..optim import lbfgs
from ..sampling import shifted_sobol
from ..shapes import is_number, is_whole
from ..transforms import UnitCube

FEASIBLE = 1e-8
"""Largest residual, as a distance in the unit cube, of a point that counts as feasible."""

_MARGIN = 1e-9  # repaired points end this far inside an inequality, so that rounding cannot undo it
_REPAIRS = 50
_OUTER = 15  # multiplier updates; each gains about a digit
_INNER = 60  # steps between them at most: a row that crawls shall not hold up the others
_STIFFNESS = 100.0  # first rho, in units of the slope at the start
_SETTLED = 1e-7  # residuals and complementarity of a row that is done; repair does the rest
_REDRAWS = 4  # of all candidates of a replicate in which none could be repaired
_CHORDS = 20  # at most this many hit-and-run steps
_SHORTENINGS = 5  # of a chord that a non-linear constraint cuts off somewhere


@dataclass(frozen=True)
class Linear:
    """``at_least <= sum_i c_i x_i <= at_most``, in user units; made by `linear_constraint`."""

    indices: tuple[int, ...]
    coefficients: tuple[float, ...]
    at_least: float
    at_most: float

    @property
    def equality(self) -> bool:
        """Whether both limits coincide."""
        return self.at_least == self.at_most

    def __call__(self, X: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """The sum ``sum_i c_i x_i``."""
        c = torch.tensor(self.coefficients, dtype=X.dtype, device=X.device)
        return X[..., list(self.indices)] @ c

    def __str__(self) -> str:
        terms = " + ".join(
            f"{c:g} x[{i}]" for i, c in zip(self.indices, self.coefficients, strict=True)
        )
        if self.equality:
            return f"{terms} = {self.at_most:g}"
        low = f"{self.at_least:g} <= " if self.at_least > -math.inf else ""
        return low + terms + (f" <= {self.at_most:g}" if self.at_most < math.inf else "")


@dataclass(frozen=True, eq=False)
class Nonlinear:
    """``fn(x) <= 0``; made by `nonlinear_constraint`."""

    fn: Callable[[Tensor], Tensor]

    def __str__(self) -> str:
        return f"{getattr(self.fn, '__name__', type(self.fn).__name__)}(x) <= 0"


InputConstraint = Linear | Nonlinear


def linear_constraint(
    indices: Sequence[int],
    coefficients: Sequence[float | int],
    *,
    at_most: float | int | None = None,
    at_least: float | int | None = None,
    equals: float | int | None = None,
) -> Linear:
    """A weighted sum of inputs is bounded, or has a given value.

    Args:
        indices: which inputs.
        coefficients: their weights, in the same order.
        at_most: upper limit of the sum, in user units.
        at_least: lower limit.
        equals: its value, instead of limits.

    Raises:
        DataError: no limit, contradicting limits, or indices and coefficients that do not match.

    Example:
        >>> print(linear_constraint([0, 2], [1.0, 1.0], at_most=0.8))
        1 x[0] + 1 x[2] <= 0.8
    """
    for name, part in (("indices", indices), ("coefficients", coefficients)):
        if not isinstance(part, Sequence):
            raise DataError(f"{name}: expected a list with an entry for each input, got {part!r}")
    idx, weights = tuple(indices), tuple(coefficients)
    if not idx or len(idx) != len(weights) or len(set(idx)) != len(idx):
        raise DataError(
            f"linear_constraint: expected distinct indices with a coefficient each, got {len(idx)} "
            f"indices {idx} and {len(weights)} coefficients"
        )
    for i in idx:
        if not is_whole(i) or i < 0:
            raise DataError(f"indices: expected ints >= 0, got {i!r}")
    if not all(is_number(w) for w in weights) or not any(weights):
        raise DataError(f"coefficients: expected finite numbers, not all zero, got {weights}")
    given = {"at_most": at_most, "at_least": at_least, "equals": equals}
    for name, value in given.items():
        if value is not None and not is_number(value):
            raise DataError(f"{name}: expected a finite number, got {value!r}")
    if equals is not None:
        if at_most is not None or at_least is not None:
            raise DataError("linear_constraint: expected equals, or at_least and at_most, not both")
        at_least = at_most = equals
    if at_least is None and at_most is None:
        raise DataError("linear_constraint: expected at_most=, at_least= or equals=, got none")
    low = -math.inf if at_least is None else float(at_least)
    high = math.inf if at_most is None else float(at_most)
    if low > high:
        raise DataError(f"linear_constraint: at_least = {low:g} exceeds at_most = {high:g}")
    return Linear(tuple(int(i) for i in idx), tuple(float(w) for w in weights), low, high)


def nonlinear_constraint(fn: Callable[[Tensor], Tensor]) -> Nonlinear:
    """Feasible is where ``fn(x) <= 0``: the convention of outcome constraints.

    Args:
        fn: a differentiable function of single points in user units, ``... d -> ...``; how far
            from feasible a point is, no truth value.

    Raises:
        DataError: not a function.

    Example:
        >>> disc = nonlinear_constraint(lambda x: x.square().sum(-1) - 1)  # inside the unit circle
    """
    if not callable(fn):
        raise DataError(f"fn: expected a function ... d -> ..., got {type(fn).__name__}")
    return Nonlinear(fn)


class Region:
    """The feasible part of a box, as functions of points in the unit cube.

    Points are ``k d`` with the number of their replicate, ``k``: boxes may differ.

    Args:
        constraints: what has to hold.
        cube: the box in user units, with or without replicate axes.
        low: lower limits ``R' d`` in the unit cube (inputs held fixed have equal limits).
        high: upper limits ``R' d``.

    Raises:
        DataError: constraints on inputs that do not exist, or with values that are no floats, such
            as truth values.
        ShapeError: a non-linear constraint that does not return one value for each point.
        InfeasibleError: a single linear constraint that no point of the box satisfies.
    """

    def __init__(
        self,
        constraints: Sequence[InputConstraint],
        cube: UnitCube,
        low: Float[Tensor, "Rb d"],
        high: Float[Tensor, "Rb d"],
    ) -> None:
        d = low.shape[-1]
        self.d, self.low, self.high = d, low, high
        self.lower, self.width = cube.lower.reshape(-1, d), cube.width.reshape(-1, d)
        for c in constraints:
            if isinstance(c, Linear) and max(c.indices) >= d:
                raise DataError(
                    f"input_constraints: {c} names input {max(c.indices)}; there are inputs 0 to "
                    f"{d - 1}"
                )
        # one order in all that follows: linear inequalities, non-linear, equalities
        rows = [row for c in constraints if isinstance(c, Linear) for row in _rows(c, d)]
        rows.sort(key=lambda row: row[2])
        self.m = sum(not equality for *_, equality, _ in rows)  # linear inequalities
        self.functions = [c.fn for c in constraints if isinstance(c, Nonlinear)]
        self.equality = torch.tensor(
            [False] * (self.m + len(self.functions)) + [True] * (len(rows) - self.m),
            device=low.device,
        )
        self.names = [name for *_, name in rows]
        A = low.new_tensor([weights for weights, *_ in rows]).reshape(len(rows), d)
        limit = low.new_tensor([limit for _, limit, *_ in rows])
        # In the unit cube, with rows of unit length: A' u <= b'
        self.A = A * self.width.unsqueeze(1)  # R' m d
        self.b = limit - self.lower @ A.T  # R' m
        norm = self.A.norm(dim=-1)
        self.A, self.b = self.A / norm.unsqueeze(-1), self.b / norm
        self._check_each(norm)
        self.scale = low.new_ones(len(self.functions))
        if self.functions:
            self.scale = self._mean_slopes()

    def _check_each(self, norm: Tensor) -> None:
        """Refuse a constraint that contradicts the box by itself, with numbers in user units."""
        least = torch.minimum(self.A * self.low[:, None], self.A * self.high[:, None]).sum(-1)
        most = torch.maximum(self.A * self.low[:, None], self.A * self.high[:, None]).sum(-1)
        wrong = least > self.b + FEASIBLE
        wrong[:, self.m :] |= most[:, self.m :] < self.b[:, self.m :] - FEASIBLE
        if wrong.any():
            where, i = (int(v) for v in wrong.nonzero()[0])
            over = (torch.maximum(least - self.b, self.b - most) * norm)[where, i]
            raise InfeasibleError(
                f"input_constraints: no point of the box satisfies {self.names[i]}; it is missed "
                f"by at least {over.item():.3g}. Widen the bounds (or free a "
                "fixed input), or loosen the constraint"
            )

    def _mean_slopes(self) -> Tensor:
        """Mean slope of each non-linear constraint in the unit cube, 1 for one without."""
        R = len(self.low)
        u = shifted_sobol([0] * R, 64, self.d, self.low.device)
        P = (self.low.unsqueeze(1) + u * (self.high - self.low).unsqueeze(1)).reshape(-1, self.d)
        replicate = torch.arange(R, device=P.device).repeat_interleave(64)
        _, J = self._with_jacobian(P, replicate)
        slope = J[:, self.m : self.m + len(self.functions)].norm(dim=-1).nan_to_num(0.0, 0.0, 0.0)
        mean = slope.sum(0) / (slope > 0).sum(0).clamp(min=1)
        return torch.where(mean > 0, mean, 1.0)

    def _of(self, table: Tensor, replicate: Int[Tensor, "k"]) -> Tensor:
        """Rows of a table for each point; a table with one row serves all."""
        return table if len(table) == 1 else table[replicate]

    def residuals(
        self, P: Float[Tensor, "k d"], replicate: Int[Tensor, "k"]
    ) -> Float[Tensor, "k m"]:
        """c(x), distances in the unit cube: feasible is <= 0, and = 0 for equalities."""
        A, b = self._of(self.A, replicate), self._of(self.b, replicate)
        linear = (A @ P.unsqueeze(-1)).squeeze(-1) - b
        if not self.functions:
            return linear
        X = self._of(self.lower, replicate) + P * self._of(self.width, replicate)
        curved = []
        for fn, scale in zip(self.functions, self.scale, strict=True):
            value: Any = fn(X)
            if not isinstance(value, Tensor) or value.shape != X.shape[:-1]:
                got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ShapeError(
                    "nonlinear_constraint: expected one value for each point, shape "
                    f"{tuple(X.shape[:-1])} for X of shape {tuple(X.shape)}, got {got}"
                )
            if value.dtype != X.dtype:
                raise DataError(
                    f"nonlinear_constraint: expected values in {X.dtype} that are <= 0 where a "
                    f"point is feasible, got {value.dtype}; give the distance to the limit, such "
                    "as x[..., 0] - 0.5, not a truth value such as x[..., 0] < 0.5"
                )
            curved.append(value / scale)
        return torch.cat([linear[:, : self.m], torch.stack(curved, -1), linear[:, self.m :]], -1)

    def _with_jacobian(self, P: Tensor, replicate: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals ``k m`` and their derivatives ``k m d``."""
        with torch.enable_grad():
            leaf = P.detach().requires_grad_(True)
            c = self.residuals(leaf, replicate)
            slopes = [
                torch.autograd.grad(c[:, i].sum(), leaf, retain_graph=True, allow_unused=True)[0]
                for i in range(c.shape[-1])
            ]
        zero = torch.zeros_like(P)
        return c.detach(), torch.stack([zero if s is None else s for s in slopes], 1)

    @torch.no_grad()
    def violation(self, P: Float[Tensor, "k d"], replicate: Int[Tensor, "k"]) -> Float[Tensor, "k"]:
        """Largest violated residual, 0 where all hold; infinite where one is not a number."""
        c = self.residuals(P, replicate)
        c = torch.where(self.equality, c.abs(), c)
        return c.nan_to_num(torch.inf, torch.inf, -torch.inf).amax(-1).clamp(min=0)

    def _worst(self, x: Float[Tensor, "N qd"], replicate: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
        """The largest violation among the q points of each row."""
        q = x.shape[1] // self.d
        each = self.violation(x.reshape(-1, self.d), replicate.repeat_interleave(q))
        return each.view(len(x), q).amax(-1)

    @torch.no_grad()
    def repair(self, P: Float[Tensor, "k d"], replicate: Int[Tensor, "k"]) -> Float[Tensor, "k d"]:
        """Move points onto the feasible set by shortest steps; some may not get there.

        Gauss-Newton on the violated residuals: the step of least length that zeroes them to first
        order, J^T (J J^T)^+ c, over the coordinates that can still move.
        """
        every_low = self._of(self.low, replicate).expand_as(P)
        every_high = self._of(self.high, replicate).expand_as(P)
        P = torch.minimum(torch.maximum(P, every_low), every_high)
        left = torch.arange(len(P), device=P.device)
        for _ in range(_REPAIRS):
            x, low, high = P[left], every_low[left], every_high[left]
            c, J = self._with_jacobian(x, replicate[left])
            c, J = c.nan_to_num(0.0, 0.0, 0.0), J.nan_to_num(0.0, 0.0, 0.0)
            # An inequality just satisfied is held where it is, else two of them would alternate.
            held = self.equality | (c > -2 * _MARGIN)
            due = torch.where(self.equality, c, (c + _MARGIN).clamp(min=0)) * held
            wrong = (due.abs() > 1e-12).any(-1)
            if not wrong.any():
                break
            left, x, low, high, due = (t[wrong] for t in (left, x, low, high, due))
            J = (J * held.unsqueeze(-1))[wrong]
            free = low < high
            step = torch.zeros_like(x)
            for _ in range(3):  # what a step would push through a wall stands still in the next
                Jf = J * free.unsqueeze(-2)
                y = torch.linalg.pinv(Jf @ Jf.mT, hermitian=True, rtol=1e-10) @ due.unsqueeze(-1)
                step = -(Jf.mT @ y).squeeze(-1)
                free = free & ~(((low >= x) & (step < 0)) | ((high <= x) & (step > 0)))
            P[left] = torch.minimum(torch.maximum(x + step * free, low), high)
        return P

    # -- start points ----------------------------------------------------------------------------

    @torch.no_grad()
    def starts(
        self, raw: Float[Tensor, "R raw q d"], spread: int, streams: list[int]
    ) -> Float[Tensor, "R raw q d"]:
        """Feasible candidates in the place of given ones; those that are feasible stay.

        Infeasible points are repaired, or replaced by a feasible one, and then spread over the
        feasible set by hit-and-run steps: projections alone would all lie on its boundary.

        Args:
            raw: candidates in the unit cube.
            spread: the first ``spread`` of them are spread, the others only repaired.
            streams: a seed for each replicate.

        Raises:
            InfeasibleError: no feasible point was found for some replicate.
        """
        R, count, q, d = raw.shape
        replicate = torch.arange(R, device=raw.device).repeat_interleave(count * q)
        P = raw.reshape(-1, d)
        inside = self.violation(P, replicate) <= 0
        moved = torch.where(inside.unsqueeze(-1), P, self.repair(P, replicate))
        good = self.violation(moved, replicate) <= FEASIBLE
        for attempt in range(_REDRAWS):
            lost = ~good.view(R, -1).any(1)
            if not lost.any():
                break
            own = [
                seeds.derive(streams[i], "feasible", attempt)
                for i in lost.nonzero().flatten().tolist()
            ]
            fresh = shifted_sobol(own, count * q, d, P.device).reshape(-1, d)
            mine = lost[replicate]
            who = replicate[mine]
            low, high = self._of(self.low, who), self._of(self.high, who)
            moved[mine] = self.repair(low + fresh * (high - low), who)
            good[mine] = self.violation(moved[mine], who) <= FEASIBLE
        lost = ~good.view(R, -1).any(1)
        if lost.any():
            self._explain(moved, replicate, int(lost.nonzero()[0]))
        # Points that could not be repaired become copies of some that could.
        each = good.view(R, -1)
        pick = seeds.uniform([seeds.derive(s, "copy") for s in streams], each.shape[1:], P.device)
        order = each.double().argsort(dim=1, descending=True, stable=True)  # feasible ones first
        which = order.gather(1, (pick * each.sum(1, keepdim=True)).long())
        spare = moved.view(R, -1, d).gather(1, which.unsqueeze(-1).expand(-1, -1, d)).reshape(-1, d)
        moved = torch.where(good.unsqueeze(-1), moved, spare)
        among_first = torch.arange(count * q, device=P.device).repeat(R) < spread * q
        walk = (~inside & among_first) | ~good
        return self._hit_and_run(moved, walk, replicate, streams).view(R, count, q, d)

    def _hit_and_run(
        self, everyone: Tensor, walk: Tensor, replicate: Tensor, streams: list[int]
    ) -> Tensor:
        """Some of the points, moved by random steps along random chords of the feasible set.

        Chords of the linear part are known exactly; where a non-linear constraint forbids the new
        point, the chord is shortened towards the old one and tried again.

        Source: Smith, "Efficient Monte Carlo procedures for generating points uniformly
        distributed over bounded regions", Operations Research 32, 1984; shortening after Neal,
        "Slice sampling", Annals of Statistics 31, 2003.
        """
        R, d = len(streams), self.d
        means = everyone.view(R, -1, d).mean(1)
        P, replicate = everyone[walk], replicate[walk]

        def uniform(width: int, *names: int | str) -> Tensor:
            own = [seeds.derive(s, *names) for s in streams]
            shape = (len(everyone) // R, width)
            return seeds.uniform(own, shape, P.device).reshape(-1, width)[walk]

        A, b = self._of(self.A, replicate), self._of(self.b, replicate)
        low, high = self._of(self.low, replicate), self._of(self.high, replicate)
        A, b, E = A[:, : self.m], b[:, : self.m], A[:, self.m :]
        room = (low < high).double()
        E = E * room.unsqueeze(-2)
        back = E.mT @ torch.linalg.pinv(E @ E.mT, hermitian=True, rtol=1e-10)  # k d e
        # In a corner nearly every chord has length zero: leave it towards the mean of the points.
        inwards = P + uniform(1, "inwards") * (means[replicate] - P)
        allowed = self.violation(inwards, replicate) <= FEASIBLE
        P = torch.where(allowed.unsqueeze(-1), inwards, P)
        for step in range(min(4 * d, _CHORDS)):
            u = uniform(d + 6, "chord", step)  # a direction, and where on the chord
            z = torch.special.ndtri(u[:, :d]) * room
            z = z - (back @ (E @ z.unsqueeze(-1))).squeeze(-1)  # stays on the equalities
            z = z / z.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            left, right = _chord(P, z, A, b, low, high)
            here, done = P, torch.zeros(len(P), dtype=torch.bool, device=P.device)
            for shortening in range(_SHORTENINGS if self.functions else 1):
                t = left + (right - left) * u[:, d + shortening]
                there = torch.minimum(torch.maximum(here + t.unsqueeze(-1) * z, low), high)
                allowed = ~done
                if self.functions:
                    allowed = allowed & (self.violation(there, replicate) <= FEASIBLE)
                P = torch.where(allowed.unsqueeze(-1), there, P)
                done = done | allowed
                left, right = torch.where(t < 0, t, left), torch.where(t >= 0, t, right)
        # Thousands of roundings away from an equality: put back, which moves nothing else.
        P = self.repair(P, replicate) if self.m + len(self.functions) < len(self.equality) else P
        moved = everyone.clone()
        moved[walk] = P
        return moved

    def _explain(self, P: Tensor, replicate: Tensor, where: int) -> None:
        """Say why no feasible point was found.

        Raises:
            InfeasibleError: always.
        """
        mine = replicate == where
        closest = self.violation(P[mine], replicate[mine]).min().item()
        who = "" if len(self.low) == 1 else f" of replicate {where}"
        if not self.functions and _contradicts(self, where):
            raise InfeasibleError(
                f"input_constraints: the linear constraints ({'; '.join(self.names)}) contradict "
                f"each other in the box{who}; loosen one, or widen the bounds"
            )
        raise InfeasibleError(
            f"input_constraints: no feasible point found among {(1 + _REDRAWS) * int(mine.sum())} "
            f"repaired candidates{who}; the closest misses by {closest:.3g} of the box. Loosen the "
            "constraints, or narrow the bounds to where they can hold"
        )

    # -- the climb -------------------------------------------------------------------------------

    def minimize(
        self,
        objective: lbfgs.Objective,
        x0: Float[Tensor, "N qd"],
        low: Float[Tensor, "N qd"],
        high: Float[Tensor, "N qd"],
        replicate: Int[Tensor, "N"],
        scale: Float[Tensor, "N"],
    ) -> tuple[lbfgs.Minimum, Float[Tensor, "N"]]:
        """Minimise on the feasible set from feasible starts: the augmented Lagrangian above.

        Args:
            objective: as for `lbfgs.minimize`.
            x0: feasible starts in the unit cube, q points in a row.
            low: lower limits.
            high: upper limits.
            replicate: which replicate each row belongs to.
            scale: how much the objective varies in the box, for each row.

        Returns:
            The ends, which are feasible and no worse than their starts, and their violation.

        Source: Hestenes, "Multiplier and gradient methods", JOTA 4, 1969; Nocedal & Wright,
        "Numerical optimization", 2006, section 17.3.
        """
        N, q = len(x0), x0.shape[1] // self.d
        everyone = torch.arange(N, device=x0.device)
        f0, g0 = objective(x0, everyone)
        slope = g0.nan_to_num(0.0, 0.0, 0.0).norm(dim=-1)
        rho = _STIFFNESS * torch.maximum(slope, scale)
        rho = torch.where(rho > 0, rho, 1.0)
        multipliers = x0.new_zeros(N, q * len(self.equality))
        free = self.equality.repeat(q)  # multipliers of equalities have either sign
        x, status = x0.clone(), torch.full_like(everyone, lbfgs.LIMIT)
        iterations, evaluations, points = torch.zeros_like(everyone), 1, N
        unsettled = x0.new_full((N,), torch.inf)  # largest residual of each row
        gradient = torch.full_like(f0, torch.nan)
        left = everyone
        for _ in range(_OUTER):
            lagrangian = _Lagrangian(self, objective, left, replicate, multipliers, rho, free)
            end = lbfgs.minimize(lagrangian, x[left], low[left], high[left], max_iter=_INNER)
            x[left], status[left], gradient[left] = end.x, end.status, end.gradient
            iterations[left] += end.iterations
            evaluations, points = evaluations + end.evaluations, points + end.points
            with torch.no_grad():
                c = lagrangian.residuals(end.x, left)
            old, stiff = multipliers[left], rho[left].unsqueeze(-1)
            multipliers[left] = torch.where(free, old + stiff * c, (old + stiff * c).clamp(min=0))
            # an inequality is settled when it is active, or inactive with no multiplier left
            off = torch.where(free, c, torch.maximum(c, -old / stiff)).abs().amax(-1)
            rho[left] *= torch.where(off > 0.25 * unsettled[left], 10.0, 1.0)
            unsettled[left] = off
            left = left[(off > _SETTLED) & (end.status != lbfgs.BAD_START) & torch.isfinite(off)]
            if not len(left):
                break
        bad = status == lbfgs.BAD_START
        end_x, value = self._ends(objective, x0, f0, x, replicate)
        minimum = lbfgs.Minimum(
            x=end_x,
            value=torch.where(bad, torch.nan, value),
            gradient=gradient,
            status=torch.where(~bad & (unsettled > 1e-4), lbfgs.LIMIT, status),
            iterations=iterations,
            evaluations=evaluations + 1,
            points=points + N,
        )
        return minimum, self._worst(end_x, replicate)

    def _ends(
        self, objective: lbfgs.Objective, x0: Tensor, f0: Tensor, x: Tensor, replicate: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Repaired ends and their values; the start where an end is infeasible or worse."""
        each = replicate.repeat_interleave(x.shape[1] // self.d)
        end = self.repair(x.reshape(-1, self.d), each).reshape(x.shape)
        f, _ = objective(end, torch.arange(len(x), device=x.device))
        better = (self._worst(end, replicate) <= FEASIBLE) & (f <= f0)
        return torch.where(better.unsqueeze(-1), end, x0), torch.where(better, f, f0)


class _Lagrangian:
    """The augmented Lagrangian of some rows, as an objective for `lbfgs.minimize`."""

    def __init__(
        self,
        region: Region,
        objective: lbfgs.Objective,
        left: Tensor,
        replicate: Tensor,
        multipliers: Tensor,
        rho: Tensor,
        free: Tensor,
    ) -> None:
        self.region, self.objective, self.left = region, objective, left
        self.replicate, self.free = replicate, free
        self.multipliers, self.rho = multipliers[left], rho[left]
        self.last: list[Tensor] = []  # rows asked last, and their numbers among all

    def residuals(self, x: Tensor, rows: Tensor) -> Tensor:
        """c at the points of each row, ``k (q m)``."""
        d = self.region.d
        each = self.replicate[rows].repeat_interleave(x.shape[1] // d)
        return self.region.residuals(x.reshape(-1, d), each).reshape(len(x), -1)

    def __call__(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient."""
        if not self.last or self.last[0] is not rows:
            self.last = [rows, self.left[rows]]
        f, g = self.objective(x, self.last[1])
        lam, rho = self.multipliers[rows], self.rho[rows].unsqueeze(-1)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            push = lam + rho * self.residuals(leaf, self.last[1])
            push = torch.where(self.free, push, push.clamp(min=0))
            penalty = ((push.square() - lam.square()) / (2 * rho)).sum(-1)
            (slope,) = torch.autograd.grad(penalty.sum(), leaf)
        return f + penalty.detach(), g + slope


def _rows(c: Linear, d: int) -> list[tuple[list[float], float, bool, str]]:
    """A constraint as rows ``weights x <= limit`` or, where the flag says so, ``= limit``."""
    weights = [0.0] * d
    for i, w in zip(c.indices, c.coefficients, strict=True):
        weights[i] = w
    rows = []
    if c.at_most < math.inf:
        rows.append((weights, c.at_most, c.equality, str(c)))
    if c.at_least > -math.inf and not c.equality:
        rows.append(([-w for w in weights], -c.at_least, False, str(c)))
    return rows


def _chord(
    P: Float[Tensor, "k d"],
    z: Float[Tensor, "k d"],
    A: Float[Tensor, "#k m d"],
    b: Float[Tensor, "#k m"],
    low: Float[Tensor, "#k d"],
    high: Float[Tensor, "#k d"],
) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"]]:
    """From which to which t all P + t z have A x <= b and low <= x <= high; 0, 0 if unbounded."""
    rate = torch.cat([(A @ z.unsqueeze(-1)).squeeze(-1), z, -z], -1)
    slack = torch.cat([b - (A @ P.unsqueeze(-1)).squeeze(-1), high - P, P - low], -1)
    ends = slack.clamp(min=0) / torch.where(rate.abs() > 1e-12, rate, torch.nan)
    right = torch.where(rate > 1e-12, ends, torch.inf).amin(-1)
    left = torch.where(rate < -1e-12, ends, -torch.inf).amax(-1)
    stuck = ~torch.isfinite(right - left)
    return torch.where(stuck, 0.0, left), torch.where(stuck, 0.0, right)


def _contradicts(region: Region, where: int) -> bool:
    """Whether a linear programme proves that the linear constraints have no common point."""
    from scipy.optimize import linprog  # imported when needed: it is slow to load

    i = where if len(region.A) > 1 else 0
    A, b = region.A[i].cpu().numpy(), region.b[i].cpu().numpy()
    j = where if len(region.low) > 1 else 0
    limits = list(zip(region.low[j].tolist(), region.high[j].tolist(), strict=True))
    m = region.m
    verdict = linprog(
        c=[0.0] * region.d,
        A_ub=A[:m] if m else None,
        b_ub=b[:m] if m else None,
        A_eq=A[m:] if m < len(A) else None,
        b_eq=b[m:] if m < len(A) else None,
        bounds=limits,
    )
    return bool(verdict.status == 2)  # "infeasible"


def check_input_constraints(constraints: object) -> tuple[InputConstraint, ...]:
    """A tuple of constraints.

    Raises:
        DataError: not a sequence, or something in it that is no constraint.
    """
    if isinstance(constraints, Linear | Nonlinear) or not isinstance(constraints, Sequence):
        raise DataError(
            "input_constraints: expected a sequence such as (linear_constraint(...),), "
            f"got {type(constraints).__name__}"
        )
    for c in constraints:
        if not isinstance(c, Linear | Nonlinear):
            raise DataError(
                "input_constraints: expected linear_constraint(...) or nonlinear_constraint(...), "
                f"got {c!r}"
            )
    return tuple(constraints)
