r"""Many small bounded minimisations as one batch, with second derivatives: projected Newton.

Where Hessians are to be had in closed form, a row needs a third of the steps of `lbfgs`. One
iteration of one row, in the box [l, u]:

    free      = not (at l with g > 0, or at u with g < 0)
    direction = -(H + E)^-1 g on the free variables: E makes the pivots of H = L D L^T positive
    trial     = project(x + t * direction);  accept by Armijo's rule, else shorten t

The pivots of an indefinite H are taken by their size, so a direction always descends and goes the
further the flatter a valley or a ridge is. What the race says and what a verdict means is as in
`lbfgs`.

Taught in part_2/tutorial_05.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .arrays import Array, clip, dot, largest, longest
from .minimum import BAD_START, DECREASE, GRADIENT, LIMIT, RUNNING, STUCK, Minimum
from .race import LOOK_EVERY, Race

ValueToHessian = Callable[[Array, Array], tuple[Array, Array, Array]]
"""``f(x: k D, rows: k) -> (values k, gradients k D, Hessians k D D)``, all NumPy arrays."""

_ARMIJO = 1e-4
_PIVOT = 1e-6  # least pivot, relative to the largest entry of the diagonal
_SHORTEST = 1e-10  # step length at which a row is stuck


@dataclass(eq=False)
class _Rows:
    """The rows still in the batch, in the last axis of every field."""

    rows: Array  # k: which problem
    x: Array  # D k
    f: Array  # k
    g: Array  # D k
    H: Array  # D D k
    lower: Array  # D k
    upper: Array  # D k
    p: Array  # D k: search direction
    t: Array  # k: step length
    moved: Array  # k: whether x is new, and p is not made for it
    flat: Array  # k: evidence that steps gain less than ftol; 2 is enough
    iterations: Array  # k
    status: Array  # k

    def take(self, keep: Array) -> "_Rows":
        """Some of the rows."""
        return _Rows(*(getattr(self, field.name)[..., keep] for field in fields(self)))


def minimize(
    fun: ValueToHessian,
    x0: Float[Tensor, "N D"],
    lower: Float[Tensor, "..."],
    upper: Float[Tensor, "..."],
    *,
    gtol: float = 1e-5,
    ftol: float = 2.2e-9,
    max_iter: int = 200,
    max_step: float = 0.3,
    rivals: Int[Tensor, "N"] | None = None,
) -> Minimum:
    """Minimise N independent functions of D variables in boxes, as one batch on the CPU.

    Args:
        fun: values, gradients and Hessians of the rows asked for; must treat rows independently.
        x0: start points in their boxes.
        lower: lower bounds, broadcast against ``N D``.
        upper: upper bounds, likewise.
        gtol, ftol, max_iter, max_step, rivals: as for `lbfgs.minimize`.

    Returns:
        The end of each row. A row never ends worse than it started.

    Source: Bertsekas, "Projected Newton methods for optimization problems with simple constraints",
    SIAM J. Control Optim. 20, 1982; Gill & Murray, "Newton-type methods for unconstrained and
    linearly constrained optimization", Math. Programming 7, 1974 (pivots).
    """
    s = _begin(fun, x0, lower, upper)
    race = None if rivals is None else Race(rivals, s.f, s.x, max_step)
    ended: list[_Rows] = []
    evaluations, points = 1, len(s.rows)
    for iteration in range(max_iter + 1):
        steepest = largest(clip(s.x - s.g, s.lower, s.upper) - s.x)
        running = s.status == RUNNING
        s.status = np.where(running & (steepest <= gtol), GRADIENT, s.status)
        if iteration == max_iter:
            s.status = np.where(s.status == RUNNING, LIMIT, s.status)
        if race is not None and iteration % LOOK_EVERY == 0:
            s.status = race.judge(s.rows, s.x, s.f, s.g, s.status, gtol, iteration)
        running = s.status == RUNNING
        if not running.all():
            ended.append(s.take(~running))
            s = s.take(running)
        if not len(s.rows):
            break
        _aim(s, max_step)
        trial = clip(s.x + s.t * s.p, s.lower, s.upper)
        f, g, H = fun(trial.T, s.rows)
        evaluations, points = evaluations + 1, points + len(s.rows)
        _advance(s, trial, f, g.T, H.transpose(1, 2, 0), ftol)
    return _minimum(ended, evaluations, points)


def _begin(fun: ValueToHessian, x0: Tensor, lower: Tensor, upper: Tensor) -> _Rows:
    """All rows at their starts."""
    low, high = (np.ascontiguousarray(v.expand_as(x0).numpy().T) for v in (lower, upper))
    rows = np.arange(len(x0))
    x = clip(np.ascontiguousarray(x0.detach().numpy().T), low, high)
    f, g, H = fun(x.T, rows)
    sound = np.isfinite(f) & np.isfinite(g).all(1) & np.isfinite(H).all((1, 2))
    return _Rows(
        rows=rows,
        x=x,
        f=f,
        g=np.ascontiguousarray(np.where(sound[:, None], g, 0.0).T),
        H=np.ascontiguousarray(np.where(sound[:, None, None], H, 0.0).transpose(1, 2, 0)),
        lower=low,
        upper=high,
        p=np.zeros_like(x),
        t=np.ones_like(f),
        moved=sound,
        flat=np.zeros_like(f),
        iterations=np.zeros(len(rows), dtype=np.int64),
        status=np.where(sound, RUNNING, BAD_START),
    )


def _aim(s: _Rows, max_step: float) -> None:
    """Newton's direction where x is new, no entry longer than max_step."""
    new = np.flatnonzero(s.moved)
    if not len(new):
        return
    x, g, H, low, high = (v[..., new] for v in (s.x, s.g, s.H, s.lower, s.upper))
    at_low, at_high = x <= low, x >= high
    free = ~((at_low & (g > 0)) | (at_high & (g < 0)))
    p = _descent(H, g, free)
    # The other variables may push one out of the box that the gradient alone would not: hold it.
    out = free & ((at_low & (p < 0)) | (at_high & (p > 0)))
    if out.any():
        free = free & ~out
        p = _descent(H, g, free)
    p = np.where(dot(p, g) < 0, p, -g * free)
    s.p[:, new] = p / (longest(p) / max_step).clip(1.0)
    s.t[new] = 1.0


def _descent(H: Array, g: Array, free: Array) -> Array:
    """Solve (H + E) p = -g for the free variables by L D L^T, all rows at once."""
    D = len(g)
    A, i = H * (free[:, None] & free[None]), np.arange(D)
    A[i, i] += ~free
    b = -g * free
    least = np.maximum(_PIVOT * largest(A[i, i]), 1e-8)
    pivots = []
    for j in range(D):
        pivots.append(np.maximum(abs(A[j, j]), least))
        if j + 1 < D:
            multiplier = A[j + 1 :, j] / pivots[j]
            b[j + 1 :] -= multiplier * b[j]
            A[j + 1 :, j + 1 :] -= multiplier[:, None] * A[None, j, j + 1 :]
            A[j + 1 :, j] = multiplier
    p = b / np.stack(pivots)
    for j in range(D - 1, 0, -1):
        p[:j] -= A[j, :j] * p[j]
    return p


def _advance(s: _Rows, trial: Array, f: Array, g: Array, H: Array, ftol: float) -> None:
    """Judge the trial points, and choose the next step length of each row."""
    slope = dot(s.g, trial - s.x)
    sound = np.isfinite(f) & np.isfinite(g).all(0) & np.isfinite(H).all((0, 1))
    accepted = sound & (f <= s.f + _ARMIJO * slope) & (slope < 0)
    level = ftol * abs(s.f).clip(1.0)
    # One full step that gains nothing counts, of shortened ones it takes two in a row.
    small = s.f - f <= level
    s.flat = np.where(accepted, np.where(small, s.flat + 1 + (s.t >= 1), 0.0), s.flat)
    # Rejected, and even the full step promised less than rounding can show: nothing left to gain.
    done = (s.flat >= 2) | (~accepted & (-slope <= level * s.t) & (slope <= 0))
    s.status = np.where(done, DECREASE, s.status)
    # The minimum of the parabola through f, slope and the trial value.
    rise = np.where(sound, f - s.f - slope, np.inf)
    shorter = (-slope / (2 * np.where(rise > 0, rise, np.inf))).clip(0.1, 0.5)
    t = s.t * np.where(slope < 0, shorter, 0.5)
    s.status = np.where(~done & ~accepted & (t < _SHORTEST), STUCK, s.status)
    s.t, s.moved = np.where(accepted, 1.0, t), accepted
    s.x, s.g = np.where(accepted, trial, s.x), np.where(accepted, g, s.g)
    s.f, s.H = np.where(accepted, f, s.f), np.where(accepted, H, s.H)
    s.iterations = s.iterations + accepted


def _minimum(ended: list[_Rows], evaluations: int, points: int) -> Minimum:
    """Where all rows ended, in the order in which they came."""
    order = np.concatenate([part.rows for part in ended]).argsort()

    def gather(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in ended], axis=-1)[..., order]

    x, status = gather("x"), gather("status")
    steepest = largest(clip(x - gather("g"), gather("lower"), gather("upper")) - x)
    return Minimum(
        x=torch.from_numpy(np.ascontiguousarray(x.T)),
        value=torch.from_numpy(np.where(status == BAD_START, np.nan, gather("f"))),
        gradient=torch.from_numpy(steepest),
        status=torch.from_numpy(status),
        iterations=torch.from_numpy(gather("iterations")),
        evaluations=evaluations,
        points=points,
    )
