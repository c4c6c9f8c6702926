"""A value computed together with its gradient: the last step of every fused acquisition.

The moments that it starts from are those of `models.algebra`.

Taught in part_4/tutorial_02.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def pull_cholesky(
    L: Float[Tensor, "*b q q"], g_L: Float[Tensor, "*b q q"]
) -> Float[Tensor, "*b q q"]:
    """Gradient in a symmetric matrix from that in its Cholesky factor.

    L^-T tril(L^T g_L) L^-1 with the diagonal halved; its symmetric part is the gradient.

    Source: Murray, "Differentiation of the Cholesky decomposition", 2016, arXiv:1602.07527,
    equation 10.
    """
    if L.shape[-1] == 1:
        return g_L / (2 * L)
    P = (L.mT @ g_L.tril()).tril_()
    P.diagonal(dim1=-2, dim2=-1).mul_(0.5)
    P = torch.linalg.solve_triangular(L.mT, P, upper=True)
    g: Tensor = torch.linalg.solve_triangular(L, P, upper=False, left=False)
    return g


class ValueWithGradient(torch.autograd.Function):
    """A value computed together with its gradient in X; the reference gives second derivatives."""

    @staticmethod
    def forward(
        ctx: Any,
        X: Tensor,
        fused: Callable[[Tensor, bool], tuple[Tensor, Tensor | None]],
        reference: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """``fused(X, wanted)`` gives values ``*batch`` and, if wanted, d value / d X."""
        value, gradient = fused(X, ctx.needs_input_grad[0])
        ctx.reference = reference
        ctx.save_for_backward(X, gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        X, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: differentiate the reference
            value = ctx.reference(X)
            (slow,) = torch.autograd.grad(value, X, grads, create_graph=True)
            return slow, None, None
        return grads[0][..., None, None] * gradient, None, None
