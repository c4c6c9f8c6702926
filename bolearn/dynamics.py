"""What repeated steps do: an optimiser as a map that is applied again and again.

Plain functions that minimise and keep everything they saw, for looking at an optimiser rather than
for using one. Axes in front of the last one are independent descents: many starts, or many learning
rates, cost one loop.

Taught in part_1/tutorial_03 (gradient descent), part_2/tutorial_01 (power iteration),
part_2/tutorial_02 (Newton) and part_2/tutorial_03 (momentum).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import DataError, NumericsError, ShapeError
from .seeds import normal
from .shapes import check_count, check_rank, check_tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """Every point of a descent with what was known there; row 0 is the start.

    Attributes:
        points: where the descent was.
        values: the loss there.
        gradients: the gradient of the loss there.
    """

    points: Float[Tensor, "t *batch d"]
    values: Float[Tensor, "t *batch"]
    gradients: Float[Tensor, "t *batch d"]


@dataclass(frozen=True, eq=False)
class MomentumTrace(Trace):
    """A descent with a memory.

    Attributes:
        velocities: the running sum v of gradients; zero in row 0.
    """

    velocities: Float[Tensor, "t *batch d"]


@dataclass(frozen=True, eq=False)
class NewtonTrace(Trace):
    """A descent that looks at the curvature.

    Attributes:
        hessians: the Hessian of the loss at each point, without the damping.
    """

    hessians: Float[Tensor, "t *batch d d"]


@dataclass(frozen=True, eq=False)
class Eigenpair:
    """An eigenvalue, its eigenvector of length 1, and the length of H v - value v."""

    value: float
    vector: Float[Tensor, " d"]
    residual: float


def trace_gd(
    loss: Callable[[Float[Tensor, "*batch d"]], Float[Tensor, "*batch"]],
    start: Float[Tensor, "*batch d"],
    lr: float | int | Float[Tensor, "..."],
    steps: int,
) -> Trace:
    r"""Gradient descent with a fixed learning rate: x ← x − lr ∇loss(x), `steps` times.

    A descent that diverges runs on, through infinities to NaN, and disturbs no other.

    Args:
        loss: maps `*batch d` to `*batch`, each row by itself, through torch operations.
        start: where the descents begin.
        lr: the learning rate, one for all or a tensor that broadcasts against `*batch`.
        steps: how many steps.

    Returns:
        The `steps + 1` points from the start to the end, with their losses and gradients.

    Raises:
        DataError: a start that is not finite float64, a negative number of steps, or a loss through
            which torch cannot differentiate.
        ShapeError: a loss, or learning rates, of another shape than `*batch`.

    Example:
        >>> def bowl(x):
        ...     return 0.5 * (x.square() * torch.tensor([10.0, 1.0])).sum(-1)
        >>> trace = trace_gd(bowl, torch.ones(2, dtype=torch.float64), lr=0.1, steps=2)
        >>> trace.points.shape, trace.values.shape
        (torch.Size([3, 2]), torch.Size([3]))
        >>> trace.points[-1]  # the factors 1 - 0.1 * 10 and 1 - 0.1 * 1, squared
        tensor([0.0000, 0.8100], dtype=torch.float64)
    """
    x = _check_start(start, steps)
    rate = _per_row("lr", lr, x)
    points, values, gradients = [], [], []
    for t in range(steps + 1):
        value, gradient = _value_and_gradient(loss, x)
        points.append(x)
        values.append(value)
        gradients.append(gradient)
        if t < steps:
            x = x - rate * gradient
    return Trace(torch.stack(points), torch.stack(values), torch.stack(gradients))


def trace_momentum(
    loss: Callable[[Float[Tensor, "*batch d"]], Float[Tensor, "*batch"]],
    start: Float[Tensor, "*batch d"],
    lr: float | int | Float[Tensor, "..."],
    momentum: float | int | Float[Tensor, "..."],
    steps: int,
    kind: Literal["heavy_ball", "nesterov"] = "heavy_ball",
) -> MomentumTrace:
    r"""Gradient descent with momentum β: v ← β v + ∇loss(x), from v = 0, then a step.

    The heavy ball steps x ← x − lr v. Nesterov's method looks one step of the memory further,
    x ← x − lr (∇loss(x) + β v); its points here are those where gradients are taken. Both are what
    `torch.optim.SGD` computes with `momentum=` and `nesterov=`. With β = 0 both are `trace_gd`;
    with β = 1 the heavy ball is a loop that forgot `zero_grad()`.

    Args:
        loss, start, lr, steps: as for `trace_gd`.
        momentum: β, one for all or a tensor that broadcasts against `*batch`.
        kind: which of the two.

    Raises:
        DataError, ShapeError: as for `trace_gd`; DataError also for another kind.

    Example:
        >>> def bowl(x):
        ...     return 0.5 * x.square().sum(-1)
        >>> trace = trace_momentum(bowl, torch.ones(1, dtype=torch.float64), 0.5, 0.5, steps=2)
        >>> trace.velocities[:, 0].tolist(), trace.points[:, 0].tolist()
        ([0.0, 1.0, 1.0], [1.0, 0.5, 0.0])

    Source:
        Polyak, "Some methods of speeding up the convergence of iteration methods", USSR
        Computational Mathematics and Mathematical Physics 4 (1964),
        https://doi.org/10.1016/0041-5553(64)90137-5; Sutskever, Martens, Dahl & Hinton, "On the
        importance of initialization and momentum in deep learning", ICML 2013.
    """
    if kind not in ("heavy_ball", "nesterov"):
        raise DataError(f"kind: expected 'heavy_ball' or 'nesterov', got {kind!r}")
    x = _check_start(start, steps)
    rate, beta = _per_row("lr", lr, x), _per_row("momentum", momentum, x)
    v = torch.zeros_like(x)
    rows = []
    for _ in range(steps + 1):
        value, gradient = _value_and_gradient(loss, x)
        rows.append((x, value, gradient, v))
        v = beta * v + gradient
        x = x - rate * (v if kind == "heavy_ball" else gradient + beta * v)
    return MomentumTrace(*(torch.stack(column) for column in zip(*rows, strict=True)))


def trace_newton(
    loss: Callable[[Float[Tensor, "*batch d"]], Float[Tensor, "*batch"]],
    start: Float[Tensor, "*batch d"],
    steps: int,
    damping: float | int | Float[Tensor, "..."] = 0.0,
) -> NewtonTrace:
    r"""Newton's method: x ← x − (H + damping I)⁻¹ ∇loss(x), H the Hessian by autograd.

    Without damping it goes to whatever stationary point is near, saddles and maxima included, and
    may jump far where H is nearly singular. Damping above −λ_min(H) makes the step a descent
    direction; large damping makes it a short gradient step. A singular matrix sends its own row to
    NaN and disturbs no other.

    Args:
        loss, start, steps: as for `trace_gd`; the loss must be twice differentiable.
        damping: what is added to the diagonal of every Hessian, one for all or a tensor that
            broadcasts against `*batch`.

    Raises:
        DataError, ShapeError: as for `trace_gd`.

    Example:
        >>> def bowl(x):
        ...     return (x.square() * torch.tensor([10.0, 1.0])).sum(-1)
        >>> trace_newton(bowl, torch.ones(2, dtype=torch.float64), steps=1).points[-1]
        tensor([0., 0.], dtype=torch.float64)

    Source:
        Levenberg, "A method for the solution of certain non-linear problems in least squares",
        Quarterly of Applied Mathematics 2 (1944), https://doi.org/10.1090/qam/10666 (the damping);
        Nocedal & Wright, Numerical Optimization (2006), section 3.3.
    """
    x = _check_start(start, steps)
    shift = _per_row("damping", damping, x).unsqueeze(-1)
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    rows = []
    for _ in range(steps + 1):
        value, gradient, hessian = _up_to_hessian(loss, x)
        rows.append((x, value, gradient, hessian))
        step, info = torch.linalg.solve_ex(hessian + shift * eye, gradient.unsqueeze(-1))
        singular = (info != 0).unsqueeze(-1)
        x = x - torch.where(singular, torch.nan, step.squeeze(-1))
    return NewtonTrace(*(torch.stack(column) for column in zip(*rows, strict=True)))


def power_iteration(
    hvp: Callable[[Float[Tensor, " d"]], Float[Tensor, " d"]],
    d: int,
    *,
    tol: float = 1e-6,
    max_steps: int = 10_000,
    seed: int = 0,
) -> Eigenpair:
    r"""The eigenvalue of a symmetric matrix that is largest in size, by products with it only.

    v ← H v / |H v|, from a random start; the value is the Rayleigh quotient vᵀ H v, which has the
    eigenvalue's sign. An eigenvalue lies within the residual |H v − value v| of the value. In each
    step the vector's error falls by the ratio of the two largest sizes, the value's by its square:
    slowly when they are close, and never when they are equal and of opposite signs.

    Args:
        hvp: maps v to H v; H must be symmetric.
        d: the length of v.
        tol: how small the residual has to be, relative to the value.
        max_steps: when to give up.
        seed: of the start.

    Raises:
        NumericsError: not reached in `max_steps`; the message holds the value and its residual.
        ShapeError: a product of another shape than v.

    Example:
        >>> H = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
        >>> round(power_iteration(lambda v: H @ v, d=2).value, 9)
        3.0

    Source:
        von Mises & Pollaczek-Geiringer, "Praktische Verfahren der Gleichungsauflösung", ZAMM 9
        (1929), https://doi.org/10.1002/zamm.19290090206; Golub & Van Loan, Matrix Computations
        (2013), section 8.2.
    """
    check_count("d", d)
    check_count("max_steps", max_steps)
    v = normal([seed], [d])[0]
    v = v / v.norm()
    for _ in range(max_steps):
        product = check_tensor("hvp(v)", hvp(v)).detach()
        if product.shape != v.shape:
            raise ShapeError(f"hvp(v): expected shape ({d},), got {tuple(product.shape)}")
        value = torch.dot(v, product)
        residual = (product - value * v).norm()
        if residual <= tol * value.abs():
            return Eigenpair(value.item(), v, residual.item())
        v = product / product.norm()
    raise NumericsError(
        f"power_iteration: expected a residual of at most {tol:g} of the eigenvalue, got "
        f"{residual.item():.3g} at {value.item():.9g} after {max_steps} steps; the next eigenvalue "
        "is close in size: raise tol (the value is better than the vector) or max_steps, or, if "
        "its sign is the opposite one, shift the matrix: hvp(v) + s * v"
    )


def _check_start(start: Tensor, steps: int) -> Tensor:
    x = check_tensor("start", start).detach()
    check_rank("start", x, 1, "*batch d")
    check_count("steps", steps, least=0)
    return x


def _per_row(name: str, given: float | int | Tensor, x: Tensor) -> Tensor:
    """A number, or one for each row of ``x: *batch d``, ready to be multiplied with x."""
    rate = torch.as_tensor(given, dtype=x.dtype, device=x.device).unsqueeze(-1)
    if rate.ndim > x.ndim or any(
        size not in (1, own) for size, own in zip(rate.shape[::-1], x.shape[::-1], strict=False)
    ):
        raise ShapeError(
            f"{name}: expected a number or a tensor that broadcasts against {tuple(x.shape[:-1])}, "
            f"got shape {tuple(rate.shape[:-1])}; give start one row for each value of {name}"
        )
    return rate


def _value_and_gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each row and its gradient; a row's loss must depend on that row alone."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = _checked_loss(loss, x)
        # Each row's loss depends on that row only, so the gradient of the sum holds all of them.
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def _up_to_hessian(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of each row, its gradient and its Hessian."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = _checked_loss(loss, x)
        (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        rows = [
            torch.autograd.grad(
                g.sum(), x, retain_graph=True, materialize_grads=True, allow_unused=True
            )[0]
            if g.requires_grad
            else torch.zeros_like(x)  # a loss that is linear in x
            for g in gradient.unbind(-1)
        ]
    return value.detach(), gradient.detach(), torch.stack(rows, dim=-2)


def _checked_loss(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The loss, known to be one number for each row and to have a graph."""
    value = loss(x)
    if value.shape != x.shape[:-1]:
        raise ShapeError(
            f"loss: expected shape {tuple(x.shape[:-1])} for points {tuple(x.shape)}, got "
            f"{tuple(value.shape)}; reduce the last axis only, and look for silent broadcasting"
        )
    if not value.requires_grad:
        raise DataError(
            "loss: expected a value that torch can differentiate, got one that does not "
            "depend on x; look for detach(), .data, .item() or torch.no_grad() inside"
        )
    return value
