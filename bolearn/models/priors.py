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
from gpytorch.priors import LogNormalPrior, Prior
from torch import Tensor

from ..errors import DataError

__all__ = [
    "EXACT_FLOOR",
    "EXACT_NOISE",
    "LENGTHSCALE_FLOOR",
    "NOISE_FLOOR",
    "NOISE_MODE",
    "LogNormalPrior",
    "default_kernel",
    "lengthscale_mode",
    "common_range",
    "lengthscale_prior",
    "log_density",
    "log_density_and_slope",
    "matern_kernel",
    "mode",
    "noise_prior",
    "prior_of",
    "support",
]

LENGTHSCALE_FLOOR = 0.025
NOISE_FLOOR = 1e-4
NOISE_MODE = math.exp(-4.0 - 1.0**2)  # of `noise_prior`
EXACT_FLOOR = 1e-8  # of noise-free data: below it, kernels of smooth functions are singular
EXACT_NOISE = 1e-6  # where a model of noise-free data starts


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


def log_density(prior: Prior, x: Tensor, rows: int) -> Tensor:
    """Log density of each of some rows of x: the sum over its entries, or that of a joint prior.

    Most priors have a density for each number; some (`MultivariateNormalPrior`,
    `SmoothedBoxPrior`) have one for a whole vector, in the last axis.
    """
    if len(prior.event_shape) and x.numel() == rows:  # one number in each row
        x = x.reshape(rows, 1)
    return prior.log_prob(x).reshape(rows, -1).sum(-1)  # type: ignore[no-any-return]


def log_density_and_slope(prior: Prior, x: Tensor) -> tuple[Tensor, Tensor]:
    """Log density of each row of x ``k p``, and its derivative ``k p``, through autograd."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_(True)
        value = log_density(prior, leaf, len(leaf))
        if not value.requires_grad:  # uniform: the same everywhere
            return value, torch.zeros_like(leaf)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope


def support(prior: Prior | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest value that a prior allows, a hair inside; infinite where it has none.

    A hair, because the logarithm of an end does not come back exactly, and a density may be zero
    at the end itself.
    """
    try:
        own = None if prior is None or prior._transform is not None else prior.support
    except NotImplementedError:  # a prior of the user's, which does not say
        own = None
    low, high = (
        torch.as_tensor(getattr(own, name, free)).to(like)
        for name, free in (("lower_bound", -torch.inf), ("upper_bound", torch.inf))
    )
    hair = 1e-10 * torch.where(torch.isfinite(high - low), high - low, 0.0)
    return low + hair, high - hair


def prior_of(module: Any, parameter: str) -> Prior | None:
    """The prior of a gpytorch module's parameter, such as ``raw_lengthscale``, if it has one."""
    name = parameter.removeprefix("raw_")
    name = "mean" if name == "constant" else name
    return getattr(module, f"{name}_prior", None)


def common_range(
    name: str, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """What lies within both of two ranges.

    Raises:
        DataError: nothing does.
    """
    low, high = torch.maximum(first[0], second[0]), torch.minimum(first[1], second[1])
    if (low > high).any():
        (a, b), (c, d) = ((x.min().item(), y.max().item()) for x, y in (first, second))
        raise DataError(
            f"{name}: expected a prior with some support within the constraint {a:g} to {b:g}, "
            f"got one on {c:g} to {d:g}; change the prior or the constraint"
        )
    return low, high
