"""Moments of a belief: in closed form for plain kernels, through autograd for any other.

With K = k(x, X) between points and data, mean = c + K a and covariance k(x, x') - V V^T with
V = K L^-T. The references ask kernel and mean as gpytorch has them; everything else is in the
`Factor`. Where there is a closed form (`algebra`), it has to equal them.

Taught in part_3/tutorial_03.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import NumericsError
from ..linalg import gram, stationary_gram
from .algebra import ClosedForm
from .factor import GP

# What rounding may take from a prior variance, as a share of it: as much as jitter may add.
_EXPLAINED = 1e-4


def _to_rows(model: GP, X: Float[Tensor, "*batch q d"]) -> Float[Tensor, "b t q d"]:
    """Points by rows b = replicates x outputs; t counts the leading part of ``*batch``."""
    rows = X.reshape(-1, model.batch_shape.numel(), *X.shape[-2:]).transpose(0, 1)
    return rows if model.num_outputs == 1 else rows.repeat_interleave(model.num_outputs, dim=0)


def _from_rows(model: GP, v: Tensor, batch: torch.Size) -> Tensor:
    """``b t ...`` -> ``*batch m ...``."""
    v = v.reshape(model.batch_shape.numel(), model.num_outputs, *v.shape[1:])
    return v.movedim(2, 0).reshape(*batch, model.num_outputs, *v.shape[3:])


def _gram(model: GP, A: Tensor, B: Tensor) -> Tensor:
    """k(A, B); of plain kernels by their definition if a gradient is wanted, perhaps twice."""
    plain = model.stationary() if torch.is_grad_enabled() and A.requires_grad else None
    return gram(model.kernel, A, B) if plain is None else stationary_gram(plain, A, B)


def moments_reference(model: GP, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points for the kernel ``t *r m q d``, user-unit mean and V = k s L^-T, both ``b t q ...``."""
    factor, rows = model.factor(), _to_rows(model, X)
    model.check_unchanged(thoroughly=True)
    lead, (b, t, q, d) = (*model.batch_shape, model.num_outputs), rows.shape
    # gpytorch wants its own batch axes last among the batch axes: t goes in front of them
    points = rows.transpose(0, 1).reshape(t, *model.batch_shape, model.num_outputs, q, d)
    box = model.bounds.unsqueeze(-3)
    points = (points - box[..., :1, :]) / (box[..., 1:, :] - box[..., :1, :])
    K = _gram(model, points, model.training_inputs()).expand(t, *lead, q, -1)
    K = K.reshape(t, b, q, K.shape[-1]).transpose(0, 1)
    prior_mean = model.mean(points).expand(t, *lead, q).reshape(t, b, q).transpose(0, 1)
    scale, shift = (v.reshape(b, 1, 1) for v in (model.outcome.scale, model.outcome.shift))
    mean = prior_mean * scale + shift + (K @ factor.weights[:, None, :, None]).squeeze(-1)
    return points, mean, K @ factor.inverse_t.unsqueeze(1)


def _check_variance(model: GP, variance: Tensor, prior: Tensor) -> None:
    """Check that data have not explained more variance than there was.

    Raises:
        NumericsError: they have, by more than rounding.
    """
    if not (variance >= -_EXPLAINED * prior.abs()).all():
        raise NumericsError(
            f"kernel: expected a covariance function, got one from {type(model.kernel).__name__} "
            f"that makes a posterior variance {variance.min().item():.3g}, where the prior "
            f"variance is {prior.min().item():.3g} or more; it is not positive semi-definite"
        )


def marginal_reference(
    model: GP, X: Float[Tensor, "*batch q d"]
) -> tuple[Float[Tensor, "*batch q m"], Float[Tensor, "*batch q m"]]:
    """Mean and variance for any kernel, through autograd; the closed form's oracle."""
    points, mean, V = moments_reference(model, X)
    b, t, q = mean.shape
    scale = model.outcome.scale.reshape(b, 1, 1).square()
    prior = model.kernel(points, diag=True).expand(points.shape[:-1]).reshape(t, b, q)
    variance = prior.transpose(0, 1) * scale - V.square().sum(-1)
    prior = prior.transpose(0, 1) * scale
    _check_variance(model, variance, prior)
    variance = torch.maximum(variance, model.factor().floor.unsqueeze(-1))
    return _from_rows(model, mean, X.shape[:-2]).mT, _from_rows(model, variance, X.shape[:-2]).mT


def joint_reference(
    model: GP, X: Float[Tensor, "*batch q d"]
) -> tuple[Float[Tensor, "*batch q m"], Float[Tensor, "*batch m q q"]]:
    """Mean and covariances for any kernel, through autograd; the closed form's oracle."""
    points, mean, V = moments_reference(model, X)
    b, t, q = mean.shape
    scale = model.outcome.scale.reshape(b, 1, 1, 1).square()
    prior = _gram(model, points, points).expand(*points.shape[:-1], q).reshape(t, b, q, q)
    prior = prior.transpose(0, 1) * scale
    covariance = prior - V @ V.mT
    _check_variance(model, *(v.diagonal(dim1=-2, dim2=-1) for v in (covariance, prior)))
    return _from_rows(model, mean, X.shape[:-2]).mT, _from_rows(model, covariance, X.shape[:-2])


def marginal(
    model: GP, X: Float[Tensor, "*batch q d"], observation_noise: bool
) -> tuple[Float[Tensor, "*batch q m"], Float[Tensor, "*batch q m"]]:
    """Mean and variance of f, or of a new observation, in user units."""
    algebra = model.algebra()
    with _gradients_of(X):
        if algebra is not None:
            each = X.movedim(-2, 0).unsqueeze(-2)  # q sets of one point
            reference = partial(_reference_of_each, model)
            mean, _, variance = ClosedForm.apply(each, algebra, reference)  # type: ignore[no-untyped-call]
            mean, variance = (v.squeeze(-2).movedim(0, -2) for v in (mean, variance.squeeze(-1).mT))
        else:
            mean, variance = marginal_reference(model, X)
        return mean, variance + model.new_noise() if observation_noise else variance


def joint(
    model: GP, X: Float[Tensor, "*batch q d"], observation_noise: bool
) -> tuple[Float[Tensor, "*batch q m"], Float[Tensor, "*batch m q q"]]:
    """Mean and the covariance of each output, of f or of new observations, in user units."""
    algebra = model.algebra()
    with _gradients_of(X):
        if algebra is not None:
            reference = partial(_reference_of_all, model)
            mean, _, covariance = ClosedForm.apply(X, algebra, reference)  # type: ignore[no-untyped-call]
        else:
            mean, covariance = joint_reference(model, X)
        if observation_noise:
            noise = model.new_noise().mT  # *r m 1
            noise = noise.expand(*noise.shape[:-1], X.shape[-2])
            covariance = covariance + torch.diag_embed(noise)
        return mean, covariance


def _gradients_of(X: Tensor) -> torch.set_grad_enabled:
    """Derivatives in X and in nothing else: without X's wish there are none."""
    return torch.set_grad_enabled(torch.is_grad_enabled() and X.requires_grad)


def _reference_of_each(model: GP, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The reference's moments in the form of `ClosedForm`, for sets of one point."""
    mean, variance = marginal_reference(model, X)
    return mean, mean.mT.unsqueeze(-1)[..., :0], variance.mT.unsqueeze(-1)


def _reference_of_all(model: GP, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same for points judged jointly."""
    mean, covariance = joint_reference(model, X)
    return mean, covariance[..., :0], covariance
