"""The feasible part of a box: how far from it a point is, and the shortest way into it.

Residuals are scaled to be distances in the unit cube: c = 0.1 is a tenth of the box from feasible.

Taught in part_5/tutorial_03.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DataError, InfeasibleError, ShapeError
from ..sampling import shifted_sobol
from ..transforms import UnitCube
from .constraints import InputConstraint, Linear, Nonlinear

FEASIBLE = 1e-8
"""Largest residual, as a distance in the unit cube, of a point that counts as feasible."""

_MARGIN = 1e-9  # repaired points end this far inside an inequality, so that rounding cannot undo it
_REPAIRS = 50


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
        _, J = self.with_jacobian(P, replicate)
        slope = J[:, self.m : self.m + len(self.functions)].norm(dim=-1).nan_to_num(0.0, 0.0, 0.0)
        mean = slope.sum(0) / (slope > 0).sum(0).clamp(min=1)
        return torch.where(mean > 0, mean, 1.0)

    def of(self, table: Tensor, replicate: Int[Tensor, "k"]) -> Tensor:
        """Rows of a table for each point; a table with one row serves all."""
        return table if len(table) == 1 else table[replicate]

    def residuals(
        self, P: Float[Tensor, "k d"], replicate: Int[Tensor, "k"]
    ) -> Float[Tensor, "k m"]:
        """c(x), distances in the unit cube: feasible is <= 0, and = 0 for equalities."""
        A, b = self.of(self.A, replicate), self.of(self.b, replicate)
        linear = (A @ P.unsqueeze(-1)).squeeze(-1) - b
        if not self.functions:
            return linear
        X = self.of(self.lower, replicate) + P * self.of(self.width, replicate)
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

    def with_jacobian(self, P: Tensor, replicate: Tensor) -> tuple[Tensor, Tensor]:
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

    def worst(self, x: Float[Tensor, "N qd"], replicate: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
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
        every_low = self.of(self.low, replicate).expand_as(P)
        every_high = self.of(self.high, replicate).expand_as(P)
        P = torch.minimum(torch.maximum(P, every_low), every_high)
        left = torch.arange(len(P), device=P.device)
        for _ in range(_REPAIRS):
            x, low, high = P[left], every_low[left], every_high[left]
            c, J = self.with_jacobian(x, replicate[left])
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
