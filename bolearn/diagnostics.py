"""Is the model to be trusted? Predict each observation from the others, and look at the errors.

A fit looks good at its own data whatever it is worth. Leaving one observation out asks the model
something it has not seen, and for a Gaussian process the answer for all n observations costs no
more than one: it stands in the inverse of the covariance.

Errors are judged against the uncertainty that was stated for them: standardised residuals,
`calibration` (do 90 % intervals hold 90 % of the values?), and two scores that reward being right
and sure at once, `negative_log_predictive_density` and `crps`. `plotting.model_report` draws them.

Taught in part_3/tutorial_05 and part_4/tutorial_01.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import DataError, ShapeError
from .models.exact import ExactGP, check_exact
from .shapes import check_rank, check_tensor, is_number

_LEVELS = tuple(k / 20 for k in range(1, 20))


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

    Raises:
        UnsupportedError: a model that is no `ExactGP`.

    Example:
        >>> X = torch.linspace(0, 1, 6, dtype=torch.float64).unsqueeze(-1)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> leave_one_out(ExactGP(X, X.sin(), box)).z.shape
        torch.Size([6, 1])

    Source: Rasmussen & Williams 2006, equations 5.10 to 5.12 (Sundararajan & Keerthi 2001).
    """
    check_exact(model, "leave_one_out")
    factor = model.factor()
    shape = (*model.batch_shape, model.num_outputs, model.X.shape[-2])
    scale = model.outcome.scale.mT  # *r m 1
    # The factor holds s L^-1 and s K^-1 r, with s the output scale.
    precision = factor.inverse.square().sum(-2).view(shape) / scale.square()  # [K^-1]_ii
    observed = model.observed.unsqueeze(-2)
    precision = torch.where(observed, precision, torch.nan)
    residual = factor.weights.view(shape) / precision  # y_i - mean_i, user units
    variance = scale.square() / precision
    z = residual / variance.sqrt()
    return LeaveOneOut((model.Y.mT - residual).mT, variance.mT, z.mT)


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often central intervals held the value, beside how often they promised to.

    Attributes:
        levels: probabilities promised, ``k``.
        coverage: fractions found, ``*r m k``.
        count: how many values they were found from, ``*r m``.
    """

    levels: Float[Tensor, "k"]
    coverage: Float[Tensor, "*r m k"]
    count: Float[Tensor, "*r m"]

    @property
    def error(self) -> Float[Tensor, "*r m"]:
        """Largest distance of found from promised over the levels."""
        return (self.coverage - self.levels).abs().amax(-1)


def calibration(z: Float[Tensor, "*r n m"], levels: Sequence[float] = _LEVELS) -> Calibration:
    """Coverage of central intervals: the share of |z| below the normal quantile of each level.

    Above the diagonal the model is too cautious, below it too sure. The share found from n values
    has a standard error of about sqrt(level (1 - level) / n); leave-one-out residuals depend on
    each other, which makes it somewhat larger.

    Args:
        z: standardised residuals, for example ``leave_one_out(model).z``; NaN counts as missing.
        levels: probabilities between 0 and 1.

    Raises:
        DataError: a level outside (0, 1), nothing to count, or z no float64 tensor.
        ShapeError: z without an axis of outputs.

    Example:
        >>> z = torch.tensor([[-0.1], [0.5], [-2.0], [0.9]], dtype=torch.float64)
        >>> calibration(z, [0.5, 0.9]).coverage
        tensor([[0.5000, 0.7500]], dtype=torch.float64)

    Source: Kuleshov, Fenner & Ermon, "Accurate uncertainties for deep learning using calibrated
    regression", ICML 2018, arXiv:1807.00263, section 3 (there for quantiles, here for intervals).
    """
    check_rank("z", check_tensor("z", z, finite=False), 2, "*r n m")
    if not isinstance(levels, Sequence) or not levels or not all(map(_is_probability, levels)):
        raise DataError(
            f"levels: expected probabilities between 0 and 1, such as [0.5, 0.9], got {levels!r}"
        )
    seen = ~z.isnan()
    count = seen.sum(-2)
    if not count.all():
        raise DataError("z: expected at least one residual for each output, got only NaN")
    promised = torch.tensor(list(levels), dtype=z.dtype, device=z.device)
    width = torch.special.ndtri(0.5 + promised / 2)
    inside = (z.abs().unsqueeze(-1) <= width) & seen.unsqueeze(-1)  # *r n m k
    coverage = inside.sum(-3).to(z) / count.unsqueeze(-1)
    return Calibration(promised, coverage, count.to(z))


def negative_log_predictive_density(
    y: Float[Tensor, "..."], mean: Float[Tensor, "..."], variance: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """-log N(y; mean, variance), in nats per value: small if a prediction was right and sure.

    In other units of y it moves by the logarithm of their ratio: compare models, not problems.

    Args:
        y: what was observed.
        mean: what was predicted.
        variance: with which variance, noise included; above 0.

    Raises:
        DataError: no float64 tensors, or a variance that is not positive.
        ShapeError: shapes that differ.

    Source: Rasmussen & Williams 2006, equation 2.34.
    """
    _check_scored(y, mean, variance)
    if (variance == 0).any():
        raise DataError("variance: expected positive numbers, got 0: no density there; use crps")
    return 0.5 * ((y - mean).square() / variance + variance.log() + math.log(2 * math.pi))


def crps(
    y: Float[Tensor, "..."], mean: Float[Tensor, "..."], variance: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Continuous ranked probability score of Gaussian predictions, in the units of y.

    The integral of (F(t) - 1{y <= t})^2 over t, with F the predicted distribution function: the
    absolute error if the prediction is a single number, and less hard on outliers than the density.
    With w = (y - mean) / sigma,

        CRPS = sigma [ w (2 Phi(w) - 1) + 2 phi(w) - 1 / sqrt(pi) ].

    Args:
        y: what was observed.
        mean: what was predicted.
        variance: with which variance, noise included.

    Raises:
        DataError: no float64 tensors, or a negative variance.
        ShapeError: shapes that differ.

    Example:
        >>> zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        >>> round(crps(zero, zero, one).item(), 4)
        0.2337

    Source: Gneiting & Raftery, "Strictly proper scoring rules, prediction, and estimation", J. Am.
    Stat. Assoc. 102, 2007, equation 21 (there with the opposite sign).
    """
    _check_scored(y, mean, variance)
    certain = variance == 0
    sigma = torch.where(certain, 1.0, variance).sqrt()
    w = (y - mean) / sigma
    density = torch.exp(-0.5 * w.square()) / math.sqrt(2 * math.pi)
    # 2 Phi(w) - 1 = erf(w / sqrt 2), without cancellation
    score = sigma * (w * torch.erf(w / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))
    return torch.where(certain, (y - mean).abs(), score)


def _check_scored(y: Tensor, mean: Tensor, variance: Tensor) -> None:
    """Equal shapes: broadcasting would score every value against every prediction."""
    for name, x in (("y", y), ("mean", mean), ("variance", variance)):
        check_tensor(name, x, finite=False)
    if not y.shape == mean.shape == variance.shape:
        raise ShapeError(
            f"y, mean, variance: expected one shape, got {tuple(y.shape)}, {tuple(mean.shape)} and "
            f"{tuple(variance.shape)}; use unsqueeze or expand_as"
        )
    if (variance < 0).any():
        raise DataError(f"variance: expected numbers >= 0, got {variance.min().item():g}")


def _is_probability(level: object) -> bool:
    return is_number(level) and 0 < level < 1
