r"""Default kernel and noise: a prior that stays sensible as the number of inputs grows.

In the unit cube the squared distance of two random points grows like d / 6. A lengthscale prior
that does not know d therefore makes far-away points uncorrelated as d grows, and the model learns
nothing. A log-normal prior whose median grows like sqrt(d) keeps their correlation where it is.

Taught in part_4/tutorial_01 and part_5/tutorial_01.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import MaternKernel, RBFKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.priors import LogNormalPrior, Prior
from torch import Tensor

__all__ = [
    "LENGTHSCALE_FLOOR",
    "NOISE_FLOOR",
    "LogNormalPrior",
    "default_kernel",
    "default_likelihood",
    "lengthscale_mode",
    "lengthscale_prior",
    "log_density_and_slope",
    "matern_kernel",
    "mode",
    "noise_prior",
]

LENGTHSCALE_FLOOR = 0.025
NOISE_FLOOR = 1e-4
NOISE_MODE = math.exp(-4.0 - 1.0**2)  # of `noise_prior`


def lengthscale_prior(d: int) -> LogNormalPrior:
    """LogNormal(sqrt(2) + log(d) / 2, sqrt(3)) for lengthscales in the unit cube.

    Source: Hvarfner, Hellsten & Nardi, "Vanilla Bayesian optimization performs great in high
    dimensions", ICML 2024, arXiv:2402.02229.
    """
    return LogNormalPrior(math.sqrt(2) + 0.5 * math.log(d), math.sqrt(3))


def lengthscale_mode(d: int) -> float:
    """The most probable value under `lengthscale_prior`."""
    return math.exp(math.sqrt(2) + 0.5 * math.log(d) - 3.0)


def noise_prior() -> LogNormalPrior:
    """LogNormal(-4, 1) for the noise variance of standardised outputs."""
    return LogNormalPrior(-4.0, 1.0)


def mode(prior: LogNormalPrior) -> float:
    """Most probable value, exp(loc - scale^2)."""
    return math.exp(float(prior.loc) - float(prior.scale) ** 2)


def default_kernel(d: int, batch_shape: Sequence[int] = ()) -> RBFKernel:
    """RBF kernel with one lengthscale per input, its scaled prior and a floor of 0.025.

    There is no output scale: outputs are standardised.
    """
    return RBFKernel(**_scaled(d, batch_shape)).double()


def matern_kernel(d: int, batch_shape: Sequence[int] = (), nu: float = 2.5) -> MaternKernel:
    """Matern kernel under the priors of `default_kernel`: for functions with some roughness.

    The strategies of studies use it. An RBF kernel believes in infinitely many derivatives, and
    with few data that makes it sure too early.

    Args:
        d: number of inputs.
        batch_shape: of the kernel; replicates and outputs.
        nu: smoothness, 0.5, 1.5 or 2.5.

    Example:
        >>> matern_kernel(6).lengthscale.shape
        torch.Size([1, 6])
    """
    return MaternKernel(nu=nu, **_scaled(d, batch_shape)).double()


def _scaled(d: int, batch_shape: Sequence[int]) -> dict[str, Any]:
    """Lengthscales, one for each input, with their prior, their floor, and the mode to start at."""
    prior = lengthscale_prior(d)
    floor = GreaterThan(LENGTHSCALE_FLOOR, transform=None, initial_value=mode(prior))
    return {
        "ard_num_dims": d,
        "batch_shape": torch.Size(batch_shape),
        "lengthscale_prior": prior,
        "lengthscale_constraint": floor,
    }


def default_likelihood(batch_shape: Sequence[int] = ()) -> GaussianLikelihood:
    """Gaussian noise with its prior and a floor of 1e-4 of the outputs' variance."""
    prior = noise_prior()
    likelihood = GaussianLikelihood(
        noise_prior=prior,
        batch_shape=torch.Size(batch_shape),
        noise_constraint=GreaterThan(NOISE_FLOOR, transform=None, initial_value=mode(prior)),
    )
    return likelihood.double()


def log_density_and_slope(prior: Prior, x: Tensor) -> tuple[Tensor, Tensor]:
    """Log density of each entry of x under a prior, and its derivative, through autograd."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_(True)
        value = prior.log_prob(leaf)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope
