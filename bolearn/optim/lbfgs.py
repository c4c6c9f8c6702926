r"""Many small bounded minimisations as one batch: quasi-Newton, a row for each problem.

Every row keeps its own point, curvature memory, step length and verdict; one call of the objective
advances all of them. A row that is done is frozen by masks and, at the next periodic look, dropped
from the batch, so that the loop never waits for the device in between. A NaN stays in its row.

One iteration of one row, with x in the box [l, u] and gradient g:

    free      = not (at l with g > 0, or at u with g < 0)
    direction = -H g on the free variables; H from the last pairs (s, y) by the two-loop recursion
    trial     = project(x + t * direction);  accept by Armijo's rule, else shorten t
    remember  s = x' - x and y = g' - g, if the curvature s.y is positive

The scale of H is s.y / y.y of the newest pair. That is why the memory is limited even though these
problems have few variables: a dense inverse Hessian keeps, in directions it has not explored, the
scale of the cliff the run may have started on. This module *minimises*.

Taught in part_2/tutorial_05.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DataError, ShapeError

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""``f(x: k D, rows: k) -> (values k, gradients k D)``; rows says which problems are asked."""

RUNNING, GRADIENT, DECREASE, STUCK, LIMIT, BAD_START = range(6)
MESSAGES = (
    "still running",
    "converged: projected gradient below gtol",
    "converged: relative decrease below ftol",
    "stopped: no step along steepest descent improves; the gradient may be wrong or noisy",
    "stopped: iteration limit reached; raise max_iter",
    "failed: value or gradient is not finite at the start",
)

_ARMIJO = 1e-4
_LOOK_EVERY = 4  # iterations between looks at who is done: each one synchronises with the device
_MAX_HALVINGS = 20
_MEMORY = 10


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where each row ended.

    Attributes:
        x: best points ``N D``.
        value: their values ``N``; NaN for a row that could not start.
        gradient: largest entry of the projected gradient ``N``.
        status: codes ``N``; `message` puts them in words.
        iterations: accepted steps ``N``.
        evaluations: calls of the objective (each for all rows still running).
        points: rows evaluated in total.
    """

    x: Float[Tensor, "N D"]
    value: Float[Tensor, "N"]
    gradient: Float[Tensor, "N"]
    status: Int[Tensor, "N"]
    iterations: Int[Tensor, "N"]
    evaluations: int
    points: int

    @property
    def converged(self) -> Tensor:
        """Which rows met a convergence test, ``N``."""
        return (self.status == GRADIENT) | (self.status == DECREASE)

    def message(self, row: int) -> str:
        """The verdict on one row, with what to do about it."""
        return MESSAGES[int(self.status[row])]


@dataclass(eq=False)
class _State:
    """All rows still in the batch, in the *last* axis of every field.

    Sums over the D variables then add up contiguous rows, which is twice as fast as the other way.
    """

    rows: Tensor  # k: which problem
    x: Tensor  # D k
    f: Tensor  # k
    g: Tensor  # D k
    S: Tensor  # memory D k: accepted steps, newest last; zeros where there is none
    Y: Tensor  # memory D k: changes of the gradient along them
    lower: Tensor  # D k
    upper: Tensor  # D k
    p: Tensor  # D k: search direction
    t: Tensor  # k: step length
    fresh: Tensor  # k: no pair in memory yet
    halvings: Tensor  # k: rejected steps since the last accepted one
    flat: Tensor  # k: evidence that steps gain less than ftol; 2 is enough
    iterations: Tensor  # k
    status: Tensor  # k

    def take(self, keep: Tensor) -> "_State":
        """The state of some rows."""
        return _State(*(getattr(self, field.name)[..., keep] for field in fields(self)))


def minimize(
    fun: Objective,
    x0: Float[Tensor, "N D"],
    lower: Float[Tensor, "..."] | None = None,
    upper: Float[Tensor, "..."] | None = None,
    *,
    gtol: float = 1e-5,
    ftol: float = 2.2e-9,
    max_iter: int = 500,
    first_step: float = 0.2,
    max_step: float = 1.0,
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

    Returns:
        The end of each row. A row never ends worse than it started.

    Raises:
        ShapeError: x0 is not ``N D``, or bounds that do not broadcast to it.
        DataError: a lower bound above its upper bound.

    Example:
        >>> target = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
        >>> square = lambda x, rows: ((x - target).square().sum(-1), 2 * (x - target))
        >>> minimize(square, torch.zeros(3, 2, dtype=torch.float64), upper=torch.tensor(1.0)).x[0]
        tensor([0.5000, 1.0000], dtype=torch.float64)

    Source: projected quasi-Newton after Bertsekas, "Projected Newton methods for optimization
    problems with simple constraints", SIAM J. Control Optim. 20, 1982; Nocedal & Wright, "Numerical
    optimization", 2006, algorithms 7.4 and 3.1.
    """
    if x0.ndim != 2 or x0.shape[0] == 0 or x0.shape[1] == 0:
        raise ShapeError(f"x0: expected shape N D with N, D >= 1, got {tuple(x0.shape)}")
    N, D = x0.shape
    low, high = _bound(lower, -torch.inf, x0), _bound(upper, torch.inf, x0)
    if (low > high).any():
        raise DataError("bounds: expected lower <= upper everywhere; swap them where they cross")
    rows = torch.arange(N, device=x0.device)
    x = torch.clamp(x0.detach().T, low, high)
    f, g = _evaluate(fun, x, rows)
    evaluations, points = 1, N
    bad = ~(torch.isfinite(f) & torch.isfinite(g).all(0))
    g = torch.where(bad, 0.0, g)
    memory = x.new_zeros(1, D, N)
    p = _direction(x, g, memory, memory, low, high, max_step)
    zero = torch.zeros_like(f)
    flat = _projected_gradient(x, g, low, high) <= gtol
    state = _State(
        rows=rows,
        x=x,
        f=f,
        g=g,
        S=memory,
        Y=memory,
        lower=low,
        upper=high,
        p=p,
        t=_first_length(p, first_step),
        fresh=torch.ones_like(bad),
        halvings=zero,
        flat=zero,
        iterations=zero.long(),
        status=torch.where(bad, BAD_START, torch.where(flat, GRADIENT, RUNNING)),
    )
    ended: list[_State] = []
    since_look = _LOOK_EVERY
    while True:
        if since_look == _LOOK_EVERY:
            since_look = 0
            running = state.status == RUNNING
            if not running.all():
                ended.append(state.take(~running))
                state = state.take(running)
                if not len(state.rows):
                    break
        since_look += 1
        trial = torch.clamp(state.x + state.t * state.p, state.lower, state.upper)
        f_trial, g_trial = _evaluate(fun, trial, state.rows)
        evaluations, points = evaluations + 1, points + len(state.rows)
        state = _advance(state, trial, f_trial, g_trial, gtol, ftol, max_iter, max_step)
    order = torch.cat([part.rows for part in ended]).argsort()

    def gather(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in ended], dim=-1)[..., order]

    x, g, status = gather("x"), gather("g"), gather("status")
    return Minimum(
        x=x.T.contiguous(),
        value=torch.where(status == BAD_START, torch.nan, gather("f")),
        gradient=_projected_gradient(x, g, low, high),
        status=status,
        iterations=gather("iterations"),
        evaluations=evaluations,
        points=points,
    )


def _evaluate(fun: Objective, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Values ``k`` and gradients ``D k`` at ``x: D k``."""
    f, g = fun(x.T, rows)
    return f, g.T.contiguous()


def _bound(bound: Tensor | None, default: float, x0: Tensor) -> Tensor:
    if bound is None:
        return torch.full_like(x0.T, default)
    try:
        return bound.to(x0).expand_as(x0).T.contiguous()
    except RuntimeError:
        raise ShapeError(
            f"bounds: expected something that broadcasts to {tuple(x0.shape)}, "
            f"got {tuple(bound.shape)}"
        ) from None


def _projected_gradient(x: Tensor, g: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Largest entry of project(x - g) - x: zero exactly at a stationary point of the box."""
    return (torch.clamp(x - g, lower, upper) - x).abs().amax(0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product over the variables."""
    return (a * b).sum(-2)


def _first_length(p: Tensor, first_step: float) -> Tensor:
    longest = p.abs().amax(0).clamp(min=torch.finfo(p.dtype).tiny)
    return (first_step / longest).clamp(max=1.0)


def _direction(
    x: Tensor, g: Tensor, S: Tensor, Y: Tensor, lower: Tensor, upper: Tensor, max_step: float
) -> Tensor:
    """Quasi-Newton direction on the free variables, no entry longer than max_step."""
    at_lower, at_upper = x <= lower, x >= upper
    free = (~((at_lower & (g > 0)) | (at_upper & (g < 0)))).to(x.dtype)
    g_free = g * free
    p = -_two_loops(g_free, S * free, Y * free)
    # The memory may push a variable out of the box that the gradient alone would not: hold it.
    p = torch.where((at_lower & (p < 0)) | (at_upper & (p > 0)), 0.0, p)
    descends = _dot(p, g_free) < -1e-10 * (_dot(p, p) * _dot(g_free, g_free)).sqrt()
    p = torch.where(descends, p, -g_free)
    return p / (p.abs().amax(0) / max_step).clamp(min=1.0)


def _two_loops(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    """H g by the limited-memory BFGS recursion; pairs without positive curvature count as absent.

    Source: Nocedal & Wright 2006, algorithm 7.4.
    """
    sy, yy = _dot(S, Y), _dot(Y, Y)
    usable = sy > 1e-9 * (_dot(S, S) * yy).sqrt()
    rho = torch.where(usable, 1 / sy, 0.0)
    pairs = list(zip(S.unbind(0), Y.unbind(0), rho.unbind(0), strict=True))
    q, alphas = g, []
    for step, change, weight in reversed(pairs):
        alpha = weight * _dot(step, q)
        alphas.append(alpha)
        q = torch.addcmul(q, alpha, change, value=-1)
    r = q * _newest_scale(sy, yy, usable)
    for (step, change, weight), alpha in zip(pairs, reversed(alphas), strict=True):
        r = torch.addcmul(r, alpha - weight * _dot(change, r), step)
    return r


def _newest_scale(sy: Tensor, yy: Tensor, usable: Tensor) -> Tensor:
    """s.y / y.y of the newest usable pair of each row; 1 where there is none."""
    order = torch.arange(1, len(usable) + 1, device=usable.device).unsqueeze(-1)
    newest = (usable * order).argmax(0, keepdim=True)
    ratio = (sy.gather(0, newest) / yy.gather(0, newest)).squeeze(0)
    return torch.where(usable.any(0), ratio, 1.0)


def _push(memory: Tensor, new: Tensor, push: Tensor) -> Tensor:
    """Append to the memory of the rows that ask for it; the memory grows up to its limit."""
    old = memory
    if len(memory) < _MEMORY:
        old = torch.cat([torch.zeros_like(memory[:1]), memory])
    return torch.where(push, torch.cat([old[1:], new.unsqueeze(0)]), old)


def _hit(s: _State) -> Tensor:
    """Step length at which the first variable of each row reaches a bound, ``k``."""
    wall = torch.where(s.p > 0, s.upper, s.lower)
    moving = (s.p != 0) & (wall != s.x)
    return torch.where(moving, (wall - s.x) / s.p, torch.inf).amin(0)


def _advance(
    s: _State,
    trial: Tensor,
    f_trial: Tensor,
    g_trial: Tensor,
    gtol: float,
    ftol: float,
    max_iter: int,
    max_step: float,
) -> _State:
    """Judge the trial points, remember curvature, choose each row's next direction and step."""
    running = s.status == RUNNING
    step = trial - s.x
    slope = _dot(s.g, step)
    # NaN compares false: a trial that is not finite is simply not accepted.
    accepted = (f_trial <= s.f + _ARMIJO * slope) & (slope < 0) & running
    accepted = accepted & torch.isfinite(g_trial).all(0)

    y = g_trial - s.g
    curved = accepted & (_dot(step, y) > 1e-9 * (_dot(step, step) * _dot(y, y)).sqrt())
    S, Y = _push(s.S, step, curved), _push(s.Y, y, curved)

    level = ftol * s.f.abs().clamp(min=1.0)
    small = s.f - f_trial <= level
    # One full step that gains nothing counts, of shortened ones it takes two in a row.
    weight = torch.where(s.t >= 1, 2.0, 1.0)
    flat = torch.where(accepted, torch.where(small, s.flat + weight, 0.0), s.flat)
    # Rejected although it promised less than rounding can show: nothing is left to gain.
    flat = torch.where(~accepted & (slope < 0) & (-slope <= level), 2.0, flat)
    x, g = torch.where(accepted, trial, s.x), torch.where(accepted, g_trial, s.g)
    f = torch.where(accepted, f_trial, s.f)

    # A rejected step: minimise the parabola through f, slope and the trial value.
    shorter = (-slope / (2 * (f_trial - s.f - slope))).nan_to_num(0.1, 0.1, 0.1).clamp(0.1, 0.5)
    shorter = s.t * shorter
    # Projecting may have turned descent into ascent: then step just onto the first bound instead,
    # where the next direction holds that variable.
    shorter = torch.where(slope >= 0, torch.minimum(0.5 * s.t, _hit(s)), shorter)
    t = torch.where(accepted, 1.0, shorter)
    halvings = torch.where(accepted, 0.0, s.halvings + 1)
    # No step works: forget the memory and try steepest descent once before giving up.
    tiny = s.p.abs().amax(0) * t < 1e-14
    stuck = running & ~accepted & ((halvings >= _MAX_HALVINGS) | tiny)
    reset = stuck & ~s.fresh
    S, Y = torch.where(reset, 0.0, S), torch.where(reset, 0.0, Y)
    p = _direction(x, g, S, Y, s.lower, s.upper, max_step)
    p = torch.where(accepted | reset, p, s.p)
    t = torch.where(reset, _first_length(p, 1e-3 * max_step), t)
    # Descent without curvature: nothing says that the step was long enough, so take longer ones.
    longest = max_step / p.abs().amax(0).clamp(min=torch.finfo(p.dtype).tiny)
    longer = torch.minimum(4 * s.t.clamp(min=1.0), longest)
    t = torch.where(accepted & ~curved, longer, t)

    iterations = s.iterations + accepted
    status = torch.where(stuck & ~reset, STUCK, s.status)
    status = torch.where(running & (iterations >= max_iter), LIMIT, status)
    status = torch.where(running & (flat >= 2), DECREASE, status)
    done = _projected_gradient(x, g, s.lower, s.upper) <= gtol
    return _State(
        rows=s.rows,
        x=x,
        f=f,
        g=g,
        S=S,
        Y=Y,
        lower=s.lower,
        upper=s.upper,
        p=p,
        t=t,
        fresh=(s.fresh & ~curved) | reset,
        halvings=torch.where(reset, 0.0, halvings),
        flat=flat,
        iterations=iterations,
        status=torch.where(running & done, GRADIENT, status),
    )
