r"""The climb on a feasible set: an augmented Lagrangian around the batched quasi-Newton method.

For inequalities c_i(x) <= 0 it minimises, over the box alone,

    f(x) + sum_i (max(0, lambda_i + rho c_i(x))^2 - lambda_i^2) / (2 rho)

and then moves lambda_i to max(0, lambda_i + rho c_i(x)), the slope of that penalty; for equalities
the same without the maximum. Where x and lambda no longer change, x is stationary on the feasible
set. So linear and non-linear constraints, one restart or thousands, are the same few lines around
`lbfgs.minimize`.

Taught in part_5/tutorial_03.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..optim import lbfgs
from ..optim.minimum import BAD_START, LIMIT, Minimum, ValueAndGradient
from .region import FEASIBLE, Region

_OUTER = 15  # multiplier updates; each gains about a digit
_INNER = 60  # steps between them at most: a row that crawls shall not hold up the others
_STIFFNESS = 100.0  # first rho, in units of the slope at the start
_SETTLED = 1e-7  # residuals and complementarity of a row that is done; repair does the rest


def minimize(
    region: Region,
    objective: ValueAndGradient,
    x0: Float[Tensor, "N qd"],
    low: Float[Tensor, "N qd"],
    high: Float[Tensor, "N qd"],
    replicate: Int[Tensor, "N"],
    scale: Float[Tensor, "N"],
) -> tuple[Minimum, Float[Tensor, "N"]]:
    """Minimise on the feasible set from feasible starts: the augmented Lagrangian above.

    Args:
        region: the feasible part of the box.
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
    N, q = len(x0), x0.shape[1] // region.d
    everyone = torch.arange(N, device=x0.device)
    f0, g0 = objective(x0, everyone)
    slope = g0.nan_to_num(0.0, 0.0, 0.0).norm(dim=-1)
    rho = _STIFFNESS * torch.maximum(slope, scale)
    rho = torch.where(rho > 0, rho, 1.0)
    multipliers = x0.new_zeros(N, q * len(region.equality))
    free = region.equality.repeat(q)  # multipliers of equalities have either sign
    x, status = x0.clone(), torch.full_like(everyone, LIMIT)
    iterations, evaluations, points = torch.zeros_like(everyone), 1, N
    unsettled = x0.new_full((N,), torch.inf)  # largest residual of each row
    gradient = torch.full_like(f0, torch.nan)
    left = everyone
    for _ in range(_OUTER):
        lagrangian = _Lagrangian(region, objective, left, replicate, multipliers, rho, free)
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
        left = left[(off > _SETTLED) & (end.status != BAD_START) & torch.isfinite(off)]
        if not len(left):
            break
    bad = status == BAD_START
    end_x, value = _ends(region, objective, x0, f0, x, replicate)
    minimum = Minimum(
        x=end_x,
        value=torch.where(bad, torch.nan, value),
        gradient=gradient,
        status=torch.where(~bad & (unsettled > 1e-4), LIMIT, status),
        iterations=iterations,
        evaluations=evaluations + 1,
        points=points + N,
    )
    return minimum, region.worst(end_x, replicate)


def _ends(
    region: Region,
    objective: ValueAndGradient,
    x0: Tensor,
    f0: Tensor,
    x: Tensor,
    replicate: Tensor,
) -> tuple[Tensor, Tensor]:
    """Repaired ends and their values; the start where an end is infeasible or worse."""
    each = replicate.repeat_interleave(x.shape[1] // region.d)
    end = region.repair(x.reshape(-1, region.d), each).reshape(x.shape)
    f, _ = objective(end, torch.arange(len(x), device=x.device))
    better = (region.worst(end, replicate) <= FEASIBLE) & (f <= f0)
    return torch.where(better.unsqueeze(-1), end, x0), torch.where(better, f, f0)


class _Lagrangian:
    """The augmented Lagrangian of some rows, as an objective for `lbfgs.minimize`."""

    def __init__(
        self,
        region: Region,
        objective: ValueAndGradient,
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
