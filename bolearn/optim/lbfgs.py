r"""Many small bounded minimisations as one batch: quasi-Newton, a row for each problem.

Every row keeps its own point, curvature memory, step length and verdict; one call of the objective
advances all of them. A row that is done is frozen by masks and, at the next periodic look, dropped
from the batch, so that the loop never waits for the device in between. A NaN stays in its row.

One iteration of one row, with x in the box [l, u] and gradient g:

    free      = not (at l with g > 0, or at u with g < 0)
    direction = -H g on the free variables; H from the pairs (s, y) of past steps
    trial     = project(x + t * direction);  accept by Armijo's rule, else shorten t
    remember  s = x' - x and y = g' - g, if the curvature s.y is positive

H is BFGS's inverse Hessian, which `curvature` keeps. Which of many starts need not be finished is
for `race` to say. This module *minimises*, on torch tensors or on NumPy arrays (`arrays`).

Taught in part_2/tutorial_05.
"""

import itertools
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DataError, ShapeError
from ..shapes import check_count, check_number, check_tensor
from .arrays import Array, all_agree, clip, dot, largest, longest, namespace, tensor
from .curvature import nothing_known, product, remember
from .minimum import (
    BAD_START,
    DECREASE,
    GRADIENT,
    LIMIT,
    RUNNING,
    STUCK,
    Minimum,
    ValueAndGradient,
)
from .race import LOOK_EVERY, SELDOM, Race

_ARMIJO = 1e-4
_MAX_HALVINGS = 20

Objective = ValueAndGradient


@dataclass(eq=False)
class _State:
    """All rows still in the batch, in the *last* axis of every field.

    Sums over the D variables then add up contiguous rows, which is twice as fast as the other way.
    """

    rows: Array  # k: which problem
    x: Array  # D k
    f: Array  # k
    g: Array  # D k
    memory: Array  # 2 D D k or 2 m D k: what past steps tell of H, see `curvature`
    scale: Array  # k: that of H where they tell nothing
    lower: Array  # D k
    upper: Array  # D k
    p: Array  # D k: search direction
    t: Array  # k: step length
    fresh: Array  # k: no pair in memory yet
    halvings: Array  # k: rejected steps since the last accepted one
    flat: Array  # k: evidence that steps gain less than ftol; 2 is enough
    iterations: Array  # k
    status: Array  # k

    def take(self, keep: Array) -> "_State":
        """The state of some rows."""
        return _State(*(getattr(self, field.name)[..., keep] for field in fields(self)))


def minimize(
    fun: ValueAndGradient,
    x0: Float[Tensor, "N D"],
    lower: Float[Tensor, "..."] | float | None = None,
    upper: Float[Tensor, "..."] | float | None = None,
    *,
    gtol: float = 1e-5,
    ftol: float = 2.2e-9,
    max_iter: int = 500,
    first_step: float = 0.2,
    max_step: float = 1.0,
    rivals: Int[Tensor, "N"] | None = None,
    arrays: Literal["auto", "numpy", "torch"] = "auto",
) -> Minimum:
    """Minimise N independent functions of D variables in a box, as one batch.

    Scale the variables so that a change of 1 is large: a step moves no variable by more than
    ``max_step``.

    Args:
        fun: values and gradients of the rows asked for; must treat rows independently.
        x0: start points; projected into the box.
        lower: lower bounds, broadcast against ``N D``; default none.
        upper: upper bounds, likewise.
        gtol: a row is done when no entry of its projected gradient exceeds this ...
        ftol: ... or when a full step, or two shortened ones, gain less than ``ftol max(|f|, 1)``.
        max_iter: accepted steps at most.
        first_step: length (largest entry) of the very first step.
        max_step: largest move of one variable in one step.
        rivals: a number for each row; of rows with equal numbers only the best end matters, so one
            that falls hopelessly behind, or is close to the best end that a rival has reached and
            on its way there, is given up. Default: every row is finished.
        arrays: what the method itself computes with; "auto" is NumPy for tensors on the CPU.

    Returns:
        The end of each row. A row never ends worse than it started.

    Raises:
        ShapeError: x0 is not ``N D``, bounds that do not broadcast to it, or a function that does
            not answer with values ``k`` and gradients ``k D``.
        DataError: not float64, a lower bound above its upper bound, or settings out of range.

    Example:
        >>> target = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
        >>> square = lambda x, rows: ((x - target).square().sum(-1), 2 * (x - target))
        >>> minimize(square, torch.zeros(3, 2, dtype=torch.float64), upper=torch.tensor(1.0)).x[0]
        tensor([0.5000, 1.0000], dtype=torch.float64)

    Source: projected quasi-Newton after Bertsekas, "Projected Newton methods for optimization
    problems with simple constraints", SIAM J. Control Optim. 20, 1982; Nocedal & Wright, "Numerical
    optimization", 2006, algorithms 6.1 (few variables), 7.4 and 3.1.
    """
    settings = _Settings(gtol, ftol, max_iter, first_step, max_step)
    _check(x0, rivals, arrays, settings)
    numpy = arrays == "numpy" or (arrays == "auto" and x0.device.type == "cpu")
    ask = _Asked(fun, numpy)
    low, high = (
        ask.to_arrays(_bound(bound, default, x0))
        for bound, default in ((lower, -torch.inf), (upper, torch.inf))
    )
    if not (low <= high).all():  # NaN is not
        raise DataError("bounds: expected lower <= upper everywhere; swap them where they cross")
    rows = torch.arange(len(x0), device=x0.device)
    state = _begin(ask, x0, rows, low, high, settings)
    ended: list[_State] = []
    race = None if rivals is None else Race(rivals, state.f, state.x, max_step)
    # NumPy never waits for a device: looks are cheap, and the last row's end is seen at once.
    look_every = LOOK_EVERY if numpy else SELDOM
    for iteration in itertools.count():
        if iteration % look_every == 0 or all_agree(state.status != RUNNING):
            if race is not None:
                now = (state.rows, state.x, state.f, state.g, state.status)
                state = replace(state, status=race.judge(*now, gtol, iteration))
            running = state.status == RUNNING
            if not running.all():
                ended.append(state.take(~running))
                state = state.take(running)
                if not len(state.rows):
                    break
                rows = tensor(state.rows)
        trial = clip(state.x + state.t * state.p, state.lower, state.upper)
        f_trial, g_trial = ask(trial, rows)
        with np.errstate(all="ignore"):  # like torch: NaN and infinities are values of a row
            state = _advance(state, trial, f_trial, g_trial, settings)
    return _minimum(ended, ask)


@dataclass(frozen=True)
class _Settings:
    """The arguments of `minimize` that say how far rows go, and when they are done."""

    gtol: float
    ftol: float
    max_iter: int
    first_step: float
    max_step: float


def _begin(
    ask: "_Asked", x0: Tensor, rows: Tensor, low: Array, high: Array, settings: _Settings
) -> _State:
    """All rows at their starts, with the step that each tries first."""
    x = clip(ask.to_arrays(x0.detach().T), low, high)
    f, g = ask(x, rows)
    xp = namespace(x)
    bad = ~(xp.isfinite(f) & xp.isfinite(g).all(0))
    g = xp.where(bad, 0.0, g)
    memory, zero, one = nothing_known(x), xp.zeros_like(f), xp.ones_like(f)
    p = _direction(x, g, memory, one, low, high, settings.max_step)
    there = _projected_gradient(x, g, low, high) <= settings.gtol
    status = xp.where(there, GRADIENT, RUNNING if settings.max_iter else LIMIT)
    return _State(
        rows=ask.to_arrays(rows),
        x=x,
        f=f,
        g=g,
        memory=memory,
        scale=one,
        lower=low,
        upper=high,
        p=p,
        t=_first_length(p, settings.first_step),
        fresh=xp.ones_like(bad),
        halvings=zero,
        flat=zero,
        iterations=zero,
        status=xp.where(bad, BAD_START, status),
    )


def _minimum(ended: list[_State], ask: "_Asked") -> Minimum:
    """Where all rows ended, in the order in which they came."""
    order = torch.cat([tensor(part.rows) for part in ended]).argsort()

    def gather(name: str) -> Tensor:
        parts = [tensor(getattr(part, name)) for part in ended]
        return torch.cat(parts, dim=-1)[..., order]

    x, status = gather("x"), gather("status")
    return Minimum(
        x=x.T.contiguous(),
        value=torch.where(status == BAD_START, torch.nan, gather("f")),
        gradient=_projected_gradient(x, gather("g"), gather("lower"), gather("upper")),
        status=status,
        iterations=gather("iterations").long(),
        evaluations=ask.evaluations,
        points=ask.points,
    )


class _Asked:
    """The objective on arrays ``D k``, with a count of what was asked of it."""

    def __init__(self, fun: ValueAndGradient, numpy: bool) -> None:
        self.fun, self.numpy = fun, numpy
        self.evaluations = self.points = 0

    def to_arrays(self, a: Tensor) -> Array:
        """The tensor, or a NumPy view of it; `tensor` undoes it."""
        a = a.detach().contiguous()
        return a.numpy() if self.numpy else a

    def __call__(self, x: Array, rows: Tensor) -> tuple[Array, Array]:
        """Values ``k`` and gradients ``D k`` at ``x: D k``."""
        self.evaluations, self.points = self.evaluations + 1, self.points + len(rows)
        f, g = self.fun(tensor(x).T, rows)
        D, k = x.shape
        for name, part, shape in (("values", f, (k,)), ("gradients", g, (k, D))):
            if not isinstance(part, Tensor) or part.shape != shape or part.dtype != torch.float64:
                got = (
                    f"{part.dtype} of shape {tuple(part.shape)}"
                    if isinstance(part, Tensor)
                    else part
                )
                raise ShapeError(
                    f"fun: expected {name} as a float64 tensor of shape {shape} for x of shape "
                    f"{(k, D)}, got {got!r}"
                )
        # Copies: the function may write its next answer into the same memory.
        return self.to_arrays(f.clone()), self.to_arrays(
            g.T.clone(memory_format=torch.contiguous_format)
        )


def _check(x0: Tensor, rivals: Tensor | None, arrays: str, settings: _Settings) -> None:
    """Refuse arguments that cannot be meant."""
    check_tensor("x0", x0, finite=False)
    if x0.ndim != 2 or 0 in x0.shape:
        raise ShapeError(f"x0: expected shape N D with N, D >= 1, got {tuple(x0.shape)}")
    if rivals is not None and (not isinstance(rivals, Tensor) or rivals.shape != x0.shape[:1]):
        got = tuple(rivals.shape) if isinstance(rivals, Tensor) else type(rivals).__name__
        raise ShapeError(
            f"rivals: expected a tensor with a number for each of {len(x0)} rows, got {got}"
        )
    check_count("max_iter", settings.max_iter, least=0)
    if arrays not in ("auto", "numpy", "torch"):
        raise DataError(f"arrays: expected 'auto', 'numpy' or 'torch', got {arrays!r}")
    for name in ("gtol", "ftol"):
        check_number(name, getattr(settings, name), least=0.0)
    for name in ("first_step", "max_step"):
        check_number(name, getattr(settings, name), above=0.0)


def _bound(bound: Tensor | float | None, default: float, x0: Tensor) -> Tensor:
    """A bound as ``D N``."""
    if not isinstance(bound, Tensor | float | int | None):
        raise DataError(f"bounds: expected a number or a tensor, got {type(bound).__name__}")
    if not isinstance(bound, Tensor):
        return torch.full_like(x0.T, default if bound is None else float(bound))
    try:
        return bound.to(x0).expand_as(x0).T
    except RuntimeError:
        raise ShapeError(
            f"bounds: expected something that broadcasts to {tuple(x0.shape)}, "
            f"got {tuple(bound.shape)}"
        ) from None


# -- the method, on torch tensors or NumPy arrays ------------------------------------------------


def _projected_gradient(x: Array, g: Array, lower: Array, upper: Array) -> Array:
    """Largest entry of project(x - g) - x: zero exactly at a stationary point of the box."""
    return largest(clip(x - g, lower, upper) - x)


def _first_length(p: Array, first_step: float) -> Array:
    return (first_step / longest(p)).clip(None, 1.0)


def _direction(
    x: Array, g: Array, memory: Array, scale: Array, lower: Array, upper: Array, max_step: float
) -> Array:
    """Quasi-Newton direction on the free variables, no entry longer than max_step."""
    xp = namespace(x)
    at_lower, at_upper = x <= lower, x >= upper
    if all_agree(~(at_lower | at_upper)):
        g_free, p = g, -product(memory, scale, g)
    else:
        free = ~((at_lower & (g > 0)) | (at_upper & (g < 0)))
        g_free = g * free
        p = -product(memory, scale, g_free, free)
        # The memory may push a variable out of the box that the gradient alone would not: hold it.
        p = xp.where((at_lower & (p < 0)) | (at_upper & (p > 0)), 0.0, p)
    descends = dot(p, g_free) < -1e-10 * (dot(p, p) * dot(g_free, g_free)) ** 0.5
    p = xp.where(descends, p, -g_free)
    return p / (longest(p) / max_step).clip(1.0)


def _hit(s: _State) -> Array:
    """Step length at which the first variable of each row reaches a bound, ``k``."""
    xp = namespace(s.p)
    wall = xp.where(s.p > 0, s.upper, s.lower)
    moving = (s.p != 0) & (wall != s.x)
    return xp.amin(xp.where(moving, (wall - s.x) / xp.where(moving, s.p, 1.0), np.inf), 0)


def _shortened(s: _State, f_trial: Array, slope: Array) -> Array:
    """The next step length after a rejection, ``k``."""
    xp = namespace(slope)
    # The minimum of the parabola through f, slope and the trial value.
    rise = xp.where(xp.isfinite(f_trial), f_trial - s.f - slope, np.inf)
    shorter = s.t * (-slope / (2 * xp.where(rise > 0, rise, np.inf))).clip(0.1, 0.5)
    # Projecting may have turned descent into ascent: then step just onto the first bound instead,
    # where the next direction holds that variable.
    return xp.where(slope >= 0, xp.minimum(0.5 * s.t, _hit(s)), shorter)


def _flatness(s: _State, f_trial: Array, slope: Array, accepted: Array, ftol: float) -> Array:
    """Evidence that steps gain less than ftol, ``k``; 2 is enough."""
    xp = namespace(slope)
    level = ftol * abs(s.f).clip(1.0)
    # One full step that gains nothing counts, of shortened ones it takes two in a row.
    small = (s.f - f_trial <= level) * (1.0 + (s.t >= 1))
    flat = xp.where(accepted, xp.where(small > 0, s.flat + small, 0.0), s.flat)
    # Rejected, and even the full step promised less than rounding can show: nothing left to gain.
    return xp.where(~accepted & (slope < 0) & (-slope <= level * s.t), 2.0, flat)


def _advance(
    s: _State, trial: Array, f_trial: Array, g_trial: Array, settings: _Settings
) -> _State:
    """Judge the trial points, remember curvature, choose each row's next direction and step."""
    xp, max_step = namespace(trial), settings.max_step
    running = s.status == RUNNING
    step = trial - s.x
    slope = dot(s.g, step)
    # NaN compares false: a trial that is not finite is simply not accepted.
    accepted = (f_trial <= s.f + _ARMIJO * slope) & (slope < 0) & running
    accepted = accepted & xp.isfinite(g_trial).all(0)
    all_accepted = all_agree(accepted)

    y = xp.where(accepted, g_trial - s.g, 0.0)
    curved = accepted & (dot(step, y) > 1e-9 * (dot(step, step) * dot(y, y)) ** 0.5)
    memory, scale = remember(s.memory, s.scale, step, y, curved)
    flat = _flatness(s, f_trial, slope, accepted, settings.ftol)
    x, g = xp.where(accepted, trial, s.x), xp.where(accepted, g_trial, s.g)
    f = xp.where(accepted, f_trial, s.f)

    t, halvings, stuck = xp.ones_like(s.t), xp.zeros_like(s.t), ~accepted
    reset = stuck
    if not all_accepted:
        t = xp.where(accepted, 1.0, _shortened(s, f_trial, slope))
        halvings = xp.where(accepted, 0.0, s.halvings + 1)
        # No step works: forget the memory and try steepest descent once before giving up.
        tiny = longest(s.p) * t < 1e-14
        stuck = running & ~accepted & ((halvings >= _MAX_HALVINGS) | tiny)
        reset = stuck & ~s.fresh
        if not all_agree(~reset):
            memory = xp.where(reset, nothing_known(x), memory)
            scale = xp.where(reset, 1.0, scale)
    p = _direction(x, g, memory, scale, s.lower, s.upper, max_step)
    if not all_accepted:
        p = xp.where(accepted | reset, p, s.p)
        t = xp.where(reset, _first_length(p, 1e-3 * max_step), t)
    if not all_agree(curved):
        # Descent without curvature: nothing says that the step was long enough, take longer ones.
        longer = xp.minimum(4 * s.t.clip(1.0), max_step / longest(p))
        t = xp.where(accepted & ~curved, longer, t)

    iterations = s.iterations + accepted
    gradient = _projected_gradient(x, g, s.lower, s.upper)
    return _State(
        rows=s.rows,
        x=x,
        f=f,
        g=g,
        memory=memory,
        scale=scale,
        lower=s.lower,
        upper=s.upper,
        p=p,
        t=t,
        fresh=(s.fresh & ~curved) | reset,
        halvings=xp.where(reset, 0.0, halvings),
        flat=flat,
        iterations=iterations,
        status=_verdict(s, stuck & ~reset, iterations, flat, gradient, settings),
    )


def _verdict(
    s: _State, stuck: Array, iterations: Array, flat: Array, gradient: Array, settings: _Settings
) -> Array:
    """The status of each row ``k``; where several hold, the last one counts."""
    xp, running = namespace(flat), s.status == RUNNING
    status = xp.where(stuck, STUCK, s.status)
    status = xp.where(running & (iterations >= settings.max_iter), LIMIT, status)
    status = xp.where(running & (flat >= 2), DECREASE, status)
    return xp.where(running & (gradient <= settings.gtol), GRADIENT, status)
