r"""Many small bounded minimisations as one batch: quasi-Newton, a row for each problem.

Every row keeps its own point, inverse-Hessian estimate, step length and verdict; one call of the
objective advances all of them. A row that is done is frozen by masks and, at the next periodic
look, dropped from the batch, so that the loop never waits for the device in between. A NaN stays
in its row.

One iteration of one row, with x in the box [l, u], gradient g and inverse-Hessian estimate H:

    free      = not (at l with g > 0, or at u with g < 0)
    direction = -H g on the free variables (steepest descent if that does not descend)
    trial     = project(x + t * direction);  accept by Armijo's rule, else shorten t
    update    H by BFGS from s = x' - x and y = g' - g on the free variables

H is dense: problems here have tens of variables, where its D^2 numbers cost less than the many
small operations of the limited-memory recursion; the update is BFGS's own. This module *minimises*.

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
    """All rows still in the batch; every field has them first."""

    rows: Tensor  # k: which problem
    x: Tensor  # k D
    f: Tensor  # k
    g: Tensor  # k D
    H: Tensor  # k D D
    lower: Tensor  # k D
    upper: Tensor  # k D
    p: Tensor  # k D: search direction
    free: Tensor  # k D: 1.0 for variables that may move, else 0.0
    t: Tensor  # k: step length
    fresh: Tensor  # k: H is still a multiple of the identity
    halvings: Tensor  # k: rejected steps since the last accepted one
    flat: Tensor  # k: accepted steps in a row with a decrease below ftol
    iterations: Tensor  # k
    status: Tensor  # k

    def take(self, keep: Tensor) -> "_State":
        return _State(*(getattr(self, field.name)[keep] for field in fields(self)))


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
        ftol: ... or after two steps in a row that gain less than ``ftol max(|f|, 1)``.
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

    Source: projected BFGS after Bertsekas, "Projected Newton methods for optimization problems
    with simple constraints", SIAM J. Control Optim. 20, 1982; Nocedal & Wright, "Numerical
    optimization", 2006, algorithm 6.1 and section 3.1.
    """
    if x0.ndim != 2 or x0.shape[0] == 0 or x0.shape[1] == 0:
        raise ShapeError(f"x0: expected shape N D with N, D >= 1, got {tuple(x0.shape)}")
    N, D = x0.shape
    low, high = _bound(lower, -torch.inf, x0), _bound(upper, torch.inf, x0)
    if (low > high).any():
        raise DataError("bounds: expected lower <= upper everywhere; swap them where they cross")
    rows = torch.arange(N, device=x0.device)
    x = torch.clamp(x0.detach(), low, high)
    f, g = fun(x, rows)
    evaluations, points = 1, N
    bad = ~(torch.isfinite(f) & torch.isfinite(g).all(-1))
    zero = torch.zeros_like(f)
    state = _State(
        rows=rows,
        x=x,
        f=f,
        g=torch.where(bad.unsqueeze(-1), 0.0, g),
        H=torch.eye(D, dtype=x.dtype, device=x.device).repeat(N, 1, 1),
        lower=low,
        upper=high,
        p=x,
        free=x,
        t=zero,
        fresh=torch.ones_like(bad),
        halvings=zero,
        flat=zero,
        iterations=zero.long(),
        status=torch.where(bad, BAD_START, RUNNING),
    )
    state.free, state.p = _direction(state.x, state.g, state.H, low, high, max_step)
    state.t = _first_length(state.p, first_step)
    state.status = torch.where(
        (state.status == RUNNING) & (_projected_gradient(state) <= gtol), GRADIENT, state.status
    )
    final = state
    ended: list[_State] = []
    since_look = _LOOK_EVERY - 1
    while True:
        since_look += 1
        if since_look >= _LOOK_EVERY:
            since_look = 0
            running = state.status == RUNNING
            if not running.all():
                ended.append(state.take(~running))
                state = state.take(running)
                if not len(state.rows):
                    break
        trial = torch.clamp(state.x + state.t.unsqueeze(-1) * state.p, state.lower, state.upper)
        f_trial, g_trial = fun(trial, state.rows)
        evaluations, points = evaluations + 1, points + len(state.rows)
        state = _advance(state, trial, f_trial, g_trial, gtol, ftol, max_iter, max_step)
    final = _State(
        *(torch.cat([getattr(part, field.name) for part in ended]) for field in fields(_State))
    ).take(torch.cat([part.rows for part in ended]).argsort())
    return Minimum(
        x=final.x,
        value=torch.where(final.status == BAD_START, torch.nan, final.f),
        gradient=_projected_gradient(final),
        status=final.status,
        iterations=final.iterations,
        evaluations=evaluations,
        points=points,
    )


def _bound(bound: Tensor | None, default: float, x0: Tensor) -> Tensor:
    if bound is None:
        return torch.full_like(x0, default)
    try:
        return bound.to(x0).expand_as(x0)
    except RuntimeError:
        raise ShapeError(
            f"bounds: expected something that broadcasts to {tuple(x0.shape)}, "
            f"got {tuple(bound.shape)}"
        ) from None


def _projected_gradient(s: _State) -> Tensor:
    """Largest entry of project(x - g) - x: zero exactly at a stationary point of the box."""
    return (torch.clamp(s.x - s.g, s.lower, s.upper) - s.x).abs().amax(-1)


def _first_length(p: Tensor, first_step: float) -> Tensor:
    longest = p.abs().amax(-1).clamp(min=torch.finfo(p.dtype).tiny)
    return (first_step / longest).clamp(max=1.0)


def _direction(
    x: Tensor, g: Tensor, H: Tensor, lower: Tensor, upper: Tensor, max_step: float
) -> tuple[Tensor, Tensor]:
    """Which variables may move (1.0 or 0.0), and the quasi-Newton direction on them."""
    at_lower, at_upper = x <= lower, x >= upper
    free = (~((at_lower & (g > 0)) | (at_upper & (g < 0)))).to(x.dtype)
    p = -torch.bmm(H, (g * free).unsqueeze(-1)).squeeze(-1)
    # H may push a variable out of the box that the gradient alone would not: hold it, too.
    free = free * (~((at_lower & (p < 0)) | (at_upper & (p > 0)))).to(x.dtype)
    g_free = g * free
    p = -torch.bmm(H, g_free.unsqueeze(-1)).squeeze(-1) * free
    slope = (p * g_free).sum(-1, keepdim=True)
    size = (p.square().sum(-1, keepdim=True) * g_free.square().sum(-1, keepdim=True)).sqrt()
    p = torch.where(slope < -1e-10 * size, p, -g_free)
    return free, p / (p.abs().amax(-1, keepdim=True) / max_step).clamp(min=1.0)


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
    """Judge the trial points, update H, choose the next direction and step of every row."""
    running = s.status == RUNNING
    step = trial - s.x
    slope = (s.g * step).sum(-1)
    # NaN compares false: a trial that is not finite is simply not accepted.
    accepted = (f_trial <= s.f + _ARMIJO * slope) & (slope < 0) & running
    accepted = accepted & torch.isfinite(g_trial).all(-1)
    took = accepted.unsqueeze(-1)

    # BFGS on the free variables: H' = (I - rho s y^T) H (I - rho y s^T) + rho s s^T
    y = torch.where(took, (g_trial - s.g) * s.free, 0.0)
    sy = (step * y).sum(-1)
    yy, ss = y.square().sum(-1), step.square().sum(-1)
    curved = accepted & (sy > 1e-9 * (ss * yy).sqrt())
    # The first pair sets the scale of H; a step without curvature says: go further next time.
    rescale = torch.where(curved & s.fresh, sy / yy, 1.0)
    rescale = torch.where(accepted & ~curved, 4.0, rescale)
    H = s.H * rescale[:, None, None]
    Hy = torch.bmm(H, y.unsqueeze(-1)).squeeze(-1)
    rho = torch.where(curved, 1 / sy, 0.0)
    weight = rho * (1 + rho * (y * Hy).sum(-1))
    half = (0.5 * weight.unsqueeze(-1) * step - rho.unsqueeze(-1) * Hy).unsqueeze(-1)
    half = half * torch.where(curved.unsqueeze(-1), step, 0.0).unsqueeze(-2)
    H = H + half + half.mT
    fresh = s.fresh & ~curved

    gain = s.f - f_trial
    small = gain <= ftol * torch.maximum(s.f.abs(), f_trial.abs()).clamp(min=1.0)
    flat = torch.where(accepted, torch.where(small, s.flat + 1, 0.0), s.flat)
    # A rejected step: minimise the parabola through f, slope and the trial value.
    shorter = (-slope / (2 * (f_trial - s.f - slope))).nan_to_num(0.1, 0.1, 0.1).clamp(0.1, 0.5)

    x, g = torch.where(took, trial, s.x), torch.where(took, g_trial, s.g)
    f = torch.where(accepted, f_trial, s.f)
    halvings = torch.where(accepted, 0.0, s.halvings + 1)
    t = torch.where(accepted, 1.0, s.t * shorter)
    # No step works: forget H and try steepest descent once before giving up.
    stuck = running & ~accepted & ((halvings >= _MAX_HALVINGS) | (_longest(s.p) * t < 1e-14))
    reset = stuck & ~s.fresh
    eye = torch.eye(H.shape[-1], dtype=H.dtype, device=H.device)
    H = torch.where(reset[:, None, None], eye, H)
    fresh = fresh | reset
    free, p = _direction(x, g, H, s.lower, s.upper, max_step)
    t = torch.where(reset, _first_length(p, 1e-3 * max_step), t)
    halvings = torch.where(reset, 0.0, halvings)
    new = (accepted | reset).unsqueeze(-1)
    free, p = torch.where(new, free, s.free), torch.where(new, p, s.p)

    iterations = s.iterations + accepted
    nxt = _State(
        s.rows, x, f, g, H, s.lower, s.upper, p, free, t, fresh, halvings, flat, iterations,
        s.status,
    )  # fmt: skip
    status = torch.where(stuck & ~reset, STUCK, s.status)
    status = torch.where(running & (iterations >= max_iter), LIMIT, status)
    status = torch.where(running & (flat >= 2), DECREASE, status)
    nxt.status = torch.where(running & (_projected_gradient(nxt) <= gtol), GRADIENT, status)
    return nxt


def _longest(p: Tensor) -> Tensor:
    return p.abs().amax(-1)
