r"""What the data contribute to every prediction, computed once: L^-1 and K^-1 (y - c).

With K = k(X, X) + noise = L L^T. L^-1 and not K^-1 is kept: the error of the latter grows with the
condition number. New observations are new rows of L^-1 (`extended`), in O(n^2 p).

A kernel without a closed form is somebody's program, so its matrix is checked before it is trusted:
symmetric, finite, positive semi-definite up to the stated jitter.

Taught in part_3/tutorial_03.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import NumericsError
from ..linalg import extend_by_schur, gram, psd_cholesky

GP = Any
"""An `ExactGP`, which stands on this file."""

# Posterior variances are floored here, relative to the prior variance: rounding can make them
# negative, and nothing distinguishes smaller ones from zero.
VARIANCE_FLOOR = 1e-14
# By how much a kernel's matrix may differ from its transpose, relative to its largest entry.
_ASYMMETRY = 1e-8


@dataclass(frozen=True, eq=False)
class Factor:
    """The weights of the data and the inverse Cholesky factor; rows b are replicates x outputs.

    The scale s of the outputs is folded in: predictions are in user units without another pass.
    """

    weights: Float[Tensor, "b n"]  # s K^-1 (y - c)
    inverse: Float[Tensor, "b n n"]  # s L^-1, with the rows of masked observations zeroed
    inverse_t: Float[Tensor, "b n n"]  # its transpose, contiguous
    floor: Float[Tensor, "b 1"]  # no variance is smaller
    jitter: Float[Tensor, "b"]  # relative jitter that K needed


def factorise(model: GP, known: tuple[Tensor, Tensor] | None = None) -> Factor:
    """The factor of a model; ``known`` is L^-1 ``b n n`` with masked rows zeroed, and the jitter.

    Raises:
        NumericsError: the covariance is none; the message says what is wrong with it.
    """
    lead, n = (*model.batch_shape, model.num_outputs), model.X.shape[-2]
    b, X = math.prod(lead), model.training_inputs()
    mask = model.observed.unsqueeze(-2).expand(*lead, n).reshape(b, n)
    scale = model.outcome.scale.reshape(b, 1)
    y = (model.training_outputs() - model.mean(X)).expand(*lead, n).reshape(b, n)
    inverse, jitter = _inverse_factor(model) if known is None else known
    # a = L^-T L^-1 (y - c)
    weights = inverse.mT @ (inverse @ torch.where(mask, y, 0.0).unsqueeze(-1))
    inverse = inverse * scale.unsqueeze(-1)
    return Factor(
        weights=weights.squeeze(-1) * scale,
        inverse=inverse,
        inverse_t=inverse.mT.contiguous(),
        floor=VARIANCE_FLOOR * scale.square(),
        jitter=jitter,
    )


def _inverse_factor(model: GP) -> tuple[Tensor, Tensor]:
    """L^-1 ``b n n`` with masked rows zeroed, and the relative jitter ``b`` that K needed."""
    n, d = model.X.shape[-2:]
    if model.stationary() is None:
        check_kernel(model)
    A = covariance(model)
    points = model.training_inputs().expand(*A.shape[:-1], d).reshape(-1, n, d)
    found = psd_cholesky(A.reshape(-1, n, n), points)
    eye = torch.eye(n, dtype=A.dtype, device=A.device).expand_as(found.L)
    inverse = torch.linalg.solve_triangular(found.L, eye, upper=False)
    counts = model.observed.unsqueeze(-2).expand(A.shape[:-1]).reshape(-1, n, 1)
    return torch.where(counts, inverse, 0.0), found.jitter


def covariance(model: GP) -> Float[Tensor, "*r m n n"]:
    """K of the observations in standardised units, noise included."""
    return mask_covariance(_signal(model), model.noise_variance(), model.observed.unsqueeze(-2))


def _signal(model: GP) -> Float[Tensor, "*r m n n"]:
    """k(X, X) of the observations in standardised units, without noise."""
    n, K = model.X.shape[-2], gram(model.kernel, model.training_inputs())
    return K.expand(*model.batch_shape, model.num_outputs, n, n)


def mask_covariance(
    K: Float[Tensor, "*b n n"], noise: Float[Tensor, "*b n"], observed: Bool[Tensor, "*c n"]
) -> Float[Tensor, "*b n n"]:
    """K + noise for observed rows; a masked row becomes a row of the identity.

    The determinant and every product with observed rows are then those of the smaller matrix.
    """
    pair = observed.unsqueeze(-1) & observed.unsqueeze(-2)
    return torch.where(pair, K, 0.0) + torch.diag_embed(torch.where(observed, noise, 1.0))


def check_kernel(model: GP, *, finite: bool = True) -> None:
    """Check that a kernel is a covariance function, as far as the observed inputs show it.

    Noise can hide that a matrix is none, and a Cholesky factor is made from one triangle: both
    would be believed.

    Args:
        model: the model, with the hyperparameters that it has.
        finite: whether entries that are not finite are an error; else nothing is checked then.

    Raises:
        NumericsError: the matrix is not finite, not symmetric, not positive semi-definite, or its
            diagonal is not what the kernel says with ``diag=True``.
    """
    X, observed = model.training_inputs(), model.observed.unsqueeze(-2)
    K = _signal(model).detach()
    pair = observed.unsqueeze(-1) & observed.unsqueeze(-2)
    K = torch.where(pair, K, 0.0)
    name, largest = type(model.kernel).__name__, K.abs().amax((-2, -1), keepdim=True)
    if not torch.isfinite(K).all():
        if not finite:
            return
        raise NumericsError(
            f"kernel: expected finite covariances of the observed inputs, got NaN or infinite ones "
            f"from {name}; look at its formula and its hyperparameters"
        )
    gap = (K - K.mT).abs()
    if (gap > _ASYMMETRY * largest).any():
        raise NumericsError(
            f"kernel: expected k(x, x') = k(x', x), got a matrix from {name} that differs from its "
            f"transpose by {gap.max().item():.3g}; a covariance is symmetric"
        )
    diagonal = model.kernel(X, diag=True).detach().expand(K.shape[:-1])
    apart = torch.where(observed, (K.diagonal(dim1=-2, dim2=-1) - diagonal).abs(), 0.0)
    if not (apart <= 1e-6 * largest.squeeze(-1)).all():
        raise NumericsError(
            f"kernel: expected the variances k(x, x) of {name} with diag=True to be the diagonal "
            f"of its matrix, got differences up to {apart.max().item():.3g}; return the diagonal "
            "in forward when diag=True"
        )
    noise = torch.where(observed, model.noise_variance().detach(), 1.0)
    try:
        psd_cholesky(mask_covariance(K, torch.zeros_like(noise), observed), floor=noise.mean(-1))
    except NumericsError as cause:
        raise NumericsError(
            f"kernel: expected a covariance function, got one from {name} whose matrix of the "
            f"observed inputs, without noise, is not positive semi-definite: {cause}"
        ) from cause


def extended(
    model: GP, X: Float[Tensor, "*b p d"], twin: GP, new: Bool[Tensor, "*c p"]
) -> tuple[Tensor, Tensor] | None:
    """L^-1 of the twin, which has p more rows, and its jitter; None if it is to be made afresh.

    Args:
        model: the model before.
        X: the new inputs.
        twin: the model with the new rows.
        new: which of them count.
    """
    factor, r, m = model.factor(), model.batch_shape, model.num_outputs
    p, n = X.shape[-2], model.X.shape[-2]
    # More new rows than old gain nothing; and a factor with jitter is that of another matrix,
    # whose jitter the new rows would lack.
    if p > n or factor.jitter.any():
        return None
    # The factor depends on X (``*t *r p d``), noise and mask, not on Y. Along the leading axes
    # that only Y has (``common``) it is the same and computed once, unless rows are masked, or
    # noisier, in some of them only: then X needs them all.
    lead, noise = twin.batch_shape, twin.noise_variance()[..., -p:]
    t, extra = X.shape[: X.ndim - 2 - len(r)], lead[: len(lead) - len(r)]
    common = extra[: len(extra) - len(t)]
    plain = bool(new.all()) and (twin.noise is None or _is_constant(noise, len(common)))
    if not plain or lead[len(common) :] != X.shape[:-2]:
        X, t, common = X.expand(*lead, p, X.shape[-1]), extra, torch.Size()
    first = (0,) * len(common)
    noise, seen, counts = noise[first], new[first].unsqueeze(-2), twin.observed[first]
    scale = model.outcome.scale.mT.unsqueeze(-1)  # *r m 1 1
    shape = (*t, *r, m)
    # The posterior has both pieces: V = s C L^-T and the covariance s^2 (D - B B^T).
    V = model.cross_factor(X).reshape(*shape, p, n)
    B = torch.where(seen.unsqueeze(-1), V / scale, 0.0)
    schur = model.posterior(X).joint_moments[1] / scale.square()
    inverse = (factor.inverse.reshape(*r, m, n, n) / scale).expand(*shape, n, n)
    grown = extend_by_schur(inverse, B, mask_covariance(schur, noise, seen))
    if grown.failed.any():
        return None
    full = torch.where(counts[..., None, :, None], grown.inverse, 0.0)
    full = full.expand(*common, *full.shape).reshape(-1, n + p, n + p)
    return full, torch.zeros_like(full[:, 0, 0])


def _is_constant(x: Tensor, axes: int) -> bool:
    """Whether x does not change along its leading axes."""
    return bool((x == x[(slice(0, 1),) * axes]).all())
