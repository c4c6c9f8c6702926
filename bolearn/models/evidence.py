"""The evidence: how probable the data are under a model with given hyperparameters.

Taught in part_3/tutorial_03.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..linalg import psd_cholesky
from .exact import ExactGP, check_exact
from .factor import covariance


def log_marginal_likelihood(model: ExactGP) -> Float[Tensor, "*r"]:
    """log p(y | X, hyperparameters), summed over outputs, in standardised units; differentiable.

    -1/2 y^T K^-1 y - 1/2 log det K - n/2 log 2 pi, with y the standardised outputs minus the mean.
    In user units it is smaller by n log(output_scale). Priors are not included.

    Args:
        model: the Gaussian process.

    Returns:
        One value for each replicate.

    Raises:
        NumericsError: the covariance is not positive definite.
        UnsupportedError: a model that is no `ExactGP`.

    Source: Rasmussen & Williams 2006, equation 2.30.
    """
    check_exact(model, "log_marginal_likelihood")
    model.check_unchanged(thoroughly=True)
    return log_likelihood_by_output(model, lambda A, x: psd_cholesky(A, x).L).sum(-1)


def log_likelihood_by_output(
    model: ExactGP, factor: Callable[[Tensor, Tensor], Tensor]
) -> Float[Tensor, "*r m"]:
    """The terms of `log_marginal_likelihood`, with Cholesky factors L from ``factor(A, X)``."""
    X, observed = model.training_inputs(), model.observed.unsqueeze(-2)
    A = covariance(model)
    L = factor(A, X.expand(*A.shape[:-1], X.shape[-1]))
    y = torch.where(observed, model.training_outputs() - model.mean(X), 0.0)
    # w = L^-1 (y - c); masked rows add log 1 = 0 to the determinant
    w: Tensor = torch.linalg.solve_triangular(L, y.unsqueeze(-1), upper=False).squeeze(-1)
    log_det: Tensor = 2 * L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    count = observed.sum(-1).to(y)
    return -0.5 * (w.square().sum(-1) + log_det + count * math.log(2 * math.pi))
