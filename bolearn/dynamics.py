"""What repeated steps do: an optimiser as a map that is applied again and again.

Plain functions that minimise and keep everything they saw, for looking at an optimiser rather than
for using one. Axes in front of the last one are independent descents: many starts, or many learning
rates, cost one loop.

Taught in part_1/tutorial_03.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import DataError, ShapeError
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
    x = check_tensor("start", start).detach()
    check_rank("start", x, 1, "*batch d")
    check_count("steps", steps, least=0)
    rate = torch.as_tensor(lr, dtype=x.dtype, device=x.device).unsqueeze(-1)
    if rate.ndim > x.ndim or any(
        size not in (1, own) for size, own in zip(rate.shape[::-1], x.shape[::-1], strict=False)
    ):
        raise ShapeError(
            f"lr: expected a number or a tensor that broadcasts against {tuple(x.shape[:-1])}, "
            f"got shape {tuple(rate.shape[:-1])}; give start one row for each learning rate"
        )
    points, values, gradients = [], [], []
    for t in range(steps + 1):
        value, gradient = _value_and_gradient(loss, x)
        points.append(x)
        values.append(value)
        gradients.append(gradient)
        if t < steps:
            x = x - rate * gradient
    return Trace(torch.stack(points), torch.stack(values), torch.stack(gradients))


def _value_and_gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each row and its gradient; a row's loss must depend on that row alone."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
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
        # Each row's loss depends on that row only, so the gradient of the sum holds all of them.
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient
