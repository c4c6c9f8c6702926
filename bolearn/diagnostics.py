"""Is the model to be trusted? Predict each observation from the others, and look at the errors.

A fit looks good at its own data whatever it is worth. Leaving one observation out asks the model
something it has not seen, and for a Gaussian process the answer for all n observations costs no
more than one: it stands in the inverse of the covariance.

Taught in part_4/tutorial_01.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .models.exact import ExactGP


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Predictions of each observation from all others; NaN in masked rows.

    Attributes:
        mean: predicted values ``*r n m``, user units.
        variance: their variances, noise included, ``*r n m``.
        z: standardised residuals (observed - mean) / sqrt(variance); about standard normal if the
            model is right.
    """

    mean: Float[Tensor, "*r n m"]
    variance: Float[Tensor, "*r n m"]
    z: Float[Tensor, "*r n m"]


def leave_one_out(model: ExactGP) -> LeaveOneOut:
    """Leave-one-out predictions in closed form, hyperparameters and output scaling held fixed.

    With K the covariance of the observations, noise included, and residuals r = y - c,

        mean_i = y_i - [K^-1 r]_i / [K^-1]_ii,    variance_i = 1 / [K^-1]_ii.

    Args:
        model: the Gaussian process, usually fitted.

    Returns:
        Means, variances and standardised residuals.

    Example:
        >>> X = torch.linspace(0, 1, 6, dtype=torch.float64).unsqueeze(-1)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> leave_one_out(ExactGP(X, X.sin(), box)).z.shape
        torch.Size([6, 1])

    Source: Rasmussen & Williams 2006, equations 5.10 to 5.12 (Sundararajan & Keerthi 2001).
    """
    cache = model.cache()
    shape = (*model.batch_shape, model.num_outputs, model.X.shape[-2])
    scale = model.outcome.scale.mT  # *r m 1
    # The cache holds s L^-1 and s K^-1 r, with s the output scale.
    precision = cache.Linv.square().sum(-2).view(shape) / scale.square()  # [K^-1]_ii
    observed = model.observed.unsqueeze(-2)
    precision = torch.where(observed, precision, torch.nan)
    residual = cache.alpha.view(shape) / precision  # y_i - mean_i, user units
    variance = scale.square() / precision
    z = residual / variance.sqrt()
    return LeaveOneOut((model.Y.mT - residual).mT, variance.mT, z.mT)
