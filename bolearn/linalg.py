"""Kernel matrices and their Cholesky factors: the only two pieces of linear algebra a GP needs.

`gram` is the single door to a kernel. Calling ``kernel.forward`` directly would silently skip its
``active_dims``; the door goes through ``kernel(A, B)`` with lazy evaluation switched off.

Taught in part_3/tutorial_03.
"""

import operator
from dataclasses import dataclass
from functools import reduce

import gpytorch
import torch
from gpytorch.kernels import (
    AdditiveKernel,
    Kernel,
    MaternKernel,
    ProductKernel,
    RBFKernel,
    ScaleKernel,
)
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .errors import NumericsError, ShapeError

# Relative jitter tried in turn by psd_cholesky; beyond the last the matrix is not a rounded
# positive definite one but a wrong one.
_JITTERS = (1e-10, 1e-8, 1e-6, 1e-5, 1e-4)


def squared_distances_reference(
    x: Float[Tensor, "*b p d"], z: Float[Tensor, "*b n d"]
) -> Float[Tensor, "*b p n"]:
    """|x_i - z_j|^2 by the definition; needs a ``p n d`` tensor."""
    return (x.unsqueeze(-2) - z.unsqueeze(-3)).square().sum(-1)


def squared_distances(
    x: Float[Tensor, "*b p d"], z: Float[Tensor, "*b n d"]
) -> Float[Tensor, "*b p n"]:
    """|x_i - z_j|^2 = |x_i|^2 + |z_j|^2 - 2 x_i . z_j, by one matrix product.

    Both sets are moved to the centre of ``z`` first: the distance does not change, but the squares
    that cancel against each other get small (part_1/tutorial_01 shows what happens otherwise).

    Args:
        x: points.
        z: other points, with the same (or broadcastable) leading axes.

    Returns:
        Squared distances, never negative.

    Raises:
        ShapeError: a different number of coordinates.

    Example:
        >>> a = torch.tensor([[0.0], [3.0]], dtype=torch.float64) + 1e3
        >>> squared_distances(a, a)
        tensor([[0., 9.],
                [9., 0.]], dtype=torch.float64)
    """
    if x.ndim < 2 or z.ndim < 2 or x.shape[-1] != z.shape[-1]:
        raise ShapeError(
            "x and z: expected *b p d and *b n d with one number of coordinates d, "
            f"got {tuple(x.shape)} and {tuple(z.shape)}"
        )
    centre = z.mean(-2, keepdim=True)
    a, b = x - centre, z - centre
    squares = a.square().sum(-1, keepdim=True) + b.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * a @ b.mT).clamp(min=0)


@dataclass(frozen=True, eq=False)
class Stationary:
    """A plain RBF or Matern kernel, as numbers: what the closed-form fast paths need.

    ``kind`` is "rbf", "matern52" or "matern32"; lengthscale ``*b d``; outputscale ``*b`` or None.
    """

    kind: str
    lengthscale: Tensor
    outputscale: Tensor | None

    @staticmethod
    def of(kernel: Kernel, d: int) -> "Stationary | None":
        """The plain kernel that ``kernel`` is, or None if it is anything else.

        Types are compared exactly: a subclass may compute something different.
        """
        scale = None
        base = kernel
        if type(kernel) is ScaleKernel and kernel.active_dims is None:
            base, scale = kernel.base_kernel, kernel.outputscale
        kind = stationary_kind(base)
        if kind is None:
            return None
        lengthscale = base.lengthscale.squeeze(-2)
        if scale is not None and scale.shape != lengthscale.shape[:-1]:
            return None
        return Stationary(kind, lengthscale.expand(*lengthscale.shape[:-1], d), scale)


def stationary_kind(kernel: Kernel) -> str | None:
    """ "rbf", "matern52", "matern32", or None for a kernel without a closed-form fast path."""
    if kernel.active_dims is not None or not kernel.has_lengthscale:
        return None
    if type(kernel) is RBFKernel:
        return "rbf"
    if type(kernel) is MaternKernel:
        return {2.5: "matern52", 1.5: "matern32"}.get(kernel.nu)
    return None


def correlation(kind: str, r2: Tensor) -> tuple[Tensor, Tensor]:
    """Correlation k(r^2) of a stationary kernel, and H = -2 dk / d(r^2).

    H is what every derivative needs: dk/dx = -H (x - x') / l^2. ``r2`` may be overwritten.
    """
    if kind == "rbf":
        k = r2.mul_(-0.5).exp_()
        return k, k
    if kind == "matern52":
        s = (5 * r2).sqrt_()
        e = torch.exp(-s)
        h = (1 + s).mul_(e).mul_(5 / 3)
        return h.mul(3 / 5).addcmul_(r2, e, value=5 / 3), h
    s = (3 * r2).sqrt_()
    e = torch.exp(-s)
    return (1 + s).mul_(e), e.mul(3)


def correlation_reference(kind: str, r2: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The correlation by its definition; differentiable twice in the points, at r = 0 too.

    The square root has no slope at zero, but k as a function of r^2 has one there, -H(0) / 2.
    """
    if kind == "rbf":
        return torch.exp(-0.5 * r2)
    c, slope = (5.0, 5 / 3) if kind == "matern52" else (3.0, 3.0)
    apart = r2 > 0
    s = (c * torch.where(apart, r2, 1.0)).sqrt()
    k = (1 + s + s.square() / 3 if kind == "matern52" else 1 + s) * torch.exp(-s)
    return torch.where(apart, k, 1 - 0.5 * slope * r2)


def stationary_gram(
    plain: Stationary, A: Float[Tensor, "*b p d"], B: Float[Tensor, "*c n d"]
) -> Float[Tensor, "*e p n"]:
    """Kernel matrix of a plain kernel, by the definition; differentiable twice.

    gpytorch's Matern kernels are differentiable once. Needs a ``p n d`` tensor.
    """
    ell = plain.lengthscale.unsqueeze(-2)
    r2 = ((A / ell).unsqueeze(-2) - (B / ell).unsqueeze(-3)).square().sum(-1)
    k = correlation_reference(plain.kind, r2)
    return k if plain.outputscale is None else k * plain.outputscale[..., None, None]


def gram(
    kernel: Kernel, A: Float[Tensor, "*b p d"], B: Float[Tensor, "*c n d"] | None = None
) -> Float[Tensor, "*e p n"]:
    """Kernel matrix k(A, B), differentiable; the single door to a gpytorch kernel.

    Args:
        kernel: any gpytorch kernel, with batch axes that broadcast against those of A and B.
        A: points.
        B: other points; default A.

    Returns:
        The dense matrix.
    """
    B = A if B is None else B
    if kernel.active_dims is None:
        # Compositions part by part. gpytorch's own sum factorises its other terms when one is a
        # LinearKernel: a Cholesky factor that nobody needs, and a warning where they are singular.
        if type(kernel) in (AdditiveKernel, ProductKernel):
            combine = operator.add if type(kernel) is AdditiveKernel else operator.mul
            return reduce(combine, [gram(part, A, B) for part in kernel.kernels])
        if type(kernel) is ScaleKernel:
            scale: Tensor = kernel.outputscale[..., None, None]
            return gram(kernel.base_kernel, A, B) * scale
    with gpytorch.settings.lazily_evaluate_kernels(False):
        K: Tensor = kernel(A, B).to_dense()
        own = kernel.has_lengthscale and type(kernel).__module__.startswith("gpytorch.")
        if B is A and K.requires_grad and own:
            # gpytorch leaves the rounding of |x - x|^2 = 0 where a gradient is wanted: at tiny
            # lengthscales it is anything
            K = K.diagonal_scatter(kernel(A, diag=True).expand(K.shape[:-1]), dim1=-2, dim2=-1)
        return K


@dataclass(frozen=True, eq=False)
class Cholesky:
    """Lower factor L, with the relative jitter that was added to each matrix to get it."""

    L: Float[Tensor, "*b n n"]
    jitter: Float[Tensor, "*b"]


def psd_cholesky(
    A: Float[Tensor, "*b n n"],
    points: Float[Tensor, "*b n d"] | None = None,
    *,
    floor: Float[Tensor, "..."] | None = None,
) -> Cholesky:
    """Cholesky factor of positive semi-definite matrices, each with as little jitter as it needs.

    Matrices that factorise as they are stay untouched; the others get 1e-10, ..., 1e-4 times their
    mean diagonal added to the diagonal.

    Args:
        A: symmetric matrices.
        points: where the rows belong to, for the error message.
        floor: least variance that jitter is relative to, broadcast to ``*b``. For differences of
            larger matrices, whose own diagonal may be nothing but rounding: their variance.

    Returns:
        The factors and the jitter; ``A = L L^T - jitter * max(mean(diag A), floor) * I``.

    Raises:
        NumericsError: a matrix is not positive definite even with jitter 1e-4.
    """
    L, info = torch.linalg.cholesky_ex(A)
    jitter = torch.zeros_like(A[..., 0, 0])
    if not info.any():
        return Cholesky(L, jitter)
    scale = A.diagonal(dim1=-2, dim2=-1).mean(-1).abs().clamp(min=torch.finfo(A.dtype).tiny)
    if floor is not None:
        scale = torch.maximum(scale, floor.to(A))
    for attempt in _JITTERS:
        jitter = torch.where(info > 0, attempt, jitter)
        # Sound matrices are factorised again with zero jitter: the same factor, and one graph.
        L, info = torch.linalg.cholesky_ex(
            A + torch.diag_embed((jitter * scale)[..., None].expand(A.shape[:-1]))
        )
        if not info.any():
            return Cholesky(L, jitter)
    raise NumericsError(_explain_singular(A, info, points))


def _explain_singular(A: Tensor, info: Int[Tensor, "*b"], points: Tensor | None) -> str:
    where = tuple(int(i) for i in (info > 0).nonzero()[0])
    matrix = A[where]
    text = (
        f"matrix {where}: expected a positive semi-definite matrix, got one that is not, even with "
        f"{_JITTERS[-1]:g} of its mean diagonal added"
    )
    if not torch.isfinite(matrix).all():
        return text + "; it has NaN or infinite entries: look at the kernel's parameters"
    if points is None or len(matrix) < 2:
        return text + "; raise the noise variance or check that the kernel is a valid one"
    p = points.expand(*A.shape[:-1], points.shape[-1])[where]
    gaps = squared_distances(p, p).sqrt() + torch.diag(torch.full_like(p[:, 0], torch.inf))
    i, j = divmod(int(gaps.argmin()), len(p))
    return text + (
        f"; the two closest points are rows {i} and {j}, {gaps[i, j].item():.3g} apart: merge them "
        "or raise the noise variance"
    )


@dataclass(frozen=True, eq=False)
class Extension:
    """The new rows of a Cholesky factor, and the inverse of the whole factor.

    ``failed`` marks matrices that are not positive definite; their numbers mean nothing.
    """

    cross: Float[Tensor, "*b p n"]
    corner: Float[Tensor, "*b p p"]
    inverse: Float[Tensor, "*b np np"]
    failed: Bool[Tensor, "*b"]


def extend_cholesky(
    inverse: Float[Tensor, "*b n n"],
    cross: Float[Tensor, "*b p n"],
    corner: Float[Tensor, "*b p p"],
) -> Extension:
    r"""Factor of a matrix that has got p more rows, from the inverse factor of the old one.

    With A = L L^T, the factor of [[A, C^T], [C, D]] is [[L, 0], [B, M]], where

        B = C L^-T,    M M^T = D - B B^T,

    and its inverse is [[L^-1, 0], [-M^-1 B L^-1, M^-1]]: O(n^2 p) instead of O((n + p)^3).

    Args:
        inverse: L^-1.
        cross: C, the new rows' entries with the old ones.
        corner: D, the new rows' entries with each other.

    Returns:
        B, M, the extended inverse and which matrices failed; no jitter is added.

    Example:
        >>> A = torch.tensor([[4.0, 2.0], [2.0, 5.0]], dtype=torch.float64)
        >>> extend_cholesky(A[:1, :1].sqrt().inverse(), A[1:, :1], A[1:, 1:]).corner
        tensor([[2.]], dtype=torch.float64)

    Source: Golub & Van Loan, "Matrix computations", 4th edition 2013, section 4.2 (the block form
    of the factorisation).
    """
    B = cross @ inverse.mT
    return extend_by_schur(inverse, B, corner - B @ B.mT)


def extend_by_schur(
    inverse: Float[Tensor, "*b n n"], B: Float[Tensor, "*b p n"], schur: Float[Tensor, "*b p p"]
) -> Extension:
    """`extend_cholesky` when B = C L^-T and D - B B^T are known: a posterior has both at hand."""
    p = B.shape[-2]
    M, info = torch.linalg.cholesky_ex(schur)
    eye = torch.eye(p, dtype=M.dtype, device=M.device).expand_as(M)
    M_inv = torch.linalg.solve_triangular(M, eye, upper=False)
    top = torch.cat([inverse, torch.zeros_like(B).mT], dim=-1)
    below = torch.cat([-M_inv @ (B @ inverse), M_inv], dim=-1)
    return Extension(B, M, torch.cat([top, below], dim=-2), info > 0)
