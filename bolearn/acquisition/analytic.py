r"""Acquisitions with a closed form: one point, one Gaussian output.

With mean mu, standard deviation sigma and u = (mu - best) / sigma,

    EI = E max(0, f - best) = sigma h(u),    h(u) = phi(u) + u Phi(u),
    UCB = mu + sqrt(beta) sigma.

Taught in part_3/tutorial_04 and part_4/tutorial_02.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, ShapeError, UnsupportedError
from ..numerics import log_h
from ..protocols import HasTrainingData, Surrogate
from ..shapes import check_same_device, check_tensor
from .objectives import Objective


def log_expected_improvement(
    mean: Float[Tensor, "*b"], std: Float[Tensor, "*b"], best_f: Float[Tensor, "..."] | float
) -> Float[Tensor, "*b"]:
    """log E max(0, f - best_f) for f ~ N(mean, std^2), accurate however small it is.

    Source: Ament et al. 2023, equation 9, arXiv:2310.20708.
    """
    return log_h((mean - best_f) / std) + std.log()


@dataclass(frozen=True, eq=False)
class LogExpectedImprovement:
    """Logarithm of expected improvement: the same maximiser as EI, a gradient that never vanishes.

    Args:
        model: a surrogate with one output and Gaussian posteriors.
        best_f: value to improve on, in user units; a number or one for each replicate.

    Raises:
        DataError: best_f is not finite, or does not fit the replicates.
        UnsupportedError: the model has several outputs.

    Source: Ament et al., "Unexpected improvements to expected improvement for Bayesian
    optimization", NeurIPS 2023, arXiv:2310.20708.
    """

    model: Surrogate
    best_f: float | Tensor

    def __post_init__(self) -> None:
        check_single_output(self.model, type(self).__name__)
        object.__setattr__(self, "best_f", check_level("best_f", self.best_f, self.model))

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The logarithm of the expected improvement at each point, in log user units."""
        mean, std = moments(self.model, X, type(self).__name__)
        return log_expected_improvement(mean, std, self.best_f)


@dataclass(frozen=True, eq=False)
class ExpectedImprovement:
    """Expected improvement E max(0, f - best_f), in user units.

    Its value and gradient underflow to zero far below the incumbent: optimise
    `LogExpectedImprovement` instead.

    Args:
        model: a surrogate with one output and Gaussian posteriors.
        best_f: value to improve on; a number or one for each replicate.

    Raises:
        DataError: best_f is not finite, or does not fit the replicates.
        UnsupportedError: the model has several outputs.

    Source: Jones, Schonlau & Welch, "Efficient global optimization of expensive black-box
    functions", J. Global Optim. 13, 1998, equation 15.
    """

    model: Surrogate
    best_f: float | Tensor

    def __post_init__(self) -> None:
        check_single_output(self.model, type(self).__name__)
        object.__setattr__(self, "best_f", check_level("best_f", self.best_f, self.model))

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The expected improvement at each point."""
        mean, std = moments(self.model, X, type(self).__name__)
        return log_expected_improvement(mean, std, self.best_f).exp()


@dataclass(frozen=True, eq=False)
class UpperConfidenceBound:
    """Optimism: mean + sqrt(beta) * standard deviation, in user units.

    Args:
        model: a surrogate with one output and Gaussian posteriors.
        beta: square of the number of standard deviations; a number or one for each replicate.

    Raises:
        DataError: beta is negative or not finite, or does not fit the replicates.
        UnsupportedError: the model has several outputs.

    Source: Srinivas et al., "Gaussian process optimization in the bandit setting", ICML 2010,
    arXiv:0912.3995, algorithm 1.
    """

    model: Surrogate
    beta: float | Tensor

    def __post_init__(self) -> None:
        check_single_output(self.model, type(self).__name__)
        beta = check_level("beta", self.beta, self.model)
        if (torch.as_tensor(beta) < 0).any():
            raise DataError(f"beta: expected a number >= 0 (the square of kappa), got {self.beta}")
        object.__setattr__(self, "beta", beta)

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The upper confidence bound at each point."""
        mean, std = moments(self.model, X, type(self).__name__)
        return mean + torch.as_tensor(self.beta, dtype=X.dtype, device=X.device).sqrt() * std


@dataclass(frozen=True, eq=False)
class PosteriorMean:
    """The posterior mean: where to go when nothing is left to learn.

    Args:
        model: a surrogate with one output.

    Raises:
        UnsupportedError: the model has several outputs.
    """

    model: Surrogate

    def __post_init__(self) -> None:
        check_single_output(self.model, type(self).__name__)

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The posterior mean at each point."""
        return moments(self.model, X, type(self).__name__)[0]


@dataclass(frozen=True, eq=False)
class Incumbent:
    """The point believed best: ``x`` (``*r d``) and its believed ``value`` (``*r``)."""

    x: Float[Tensor, "*r d"]
    value: Float[Tensor, "*r"]


def incumbent(
    model: Surrogate, X: Float[Tensor, "*r n d"], objective: Objective | None = None
) -> Incumbent:
    """The point of X with the highest posterior mean: best by belief, not by one lucky noise draw.

    Args:
        model: a surrogate.
        X: candidate points, usually those observed. If they have the shape of the model's own
            inputs, rows that the model masks out are passed over.
        objective: combines several outputs, applied to the mean; needed if there are several.

    Raises:
        UnsupportedError: several outputs and no objective.

    Example:
        >>> from bolearn import ExactGP
        >>> X = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
        >>> model = ExactGP(X, X * (1 - X), torch.tensor([[0.0], [1.0]], dtype=torch.float64))
        >>> incumbent(model, X).x.item()
        0.5
    """
    mask = None
    X = check_tensor("X", X, finite=False)
    if isinstance(model, HasTrainingData) and X.shape == model.X.shape:
        mask = model.observed
        X = torch.where(mask.unsqueeze(-1), X, model.X)
    if objective is None:
        check_single_output(model, "incumbent without an objective")
    mean = model.posterior(X).mean.detach()
    value = mean.squeeze(-1) if objective is None else objective(mean)
    if mask is not None:
        value = torch.where(mask, value, -torch.inf)
    best = value.argmax(-1, keepdim=True)
    X = X.expand(*value.shape, X.shape[-1])
    x = X.gather(-2, best.unsqueeze(-1).expand(*best.shape, X.shape[-1])).squeeze(-2)
    return Incumbent(x.detach(), value.gather(-1, best).squeeze(-1))


# -- checks and moments shared by acquisitions ---------------------------------------------------


def check_single_output(model: Surrogate, who: str) -> None:
    """Check that the model has one output.

    Raises:
        UnsupportedError: it has several; the message names the way out.
    """
    if model.num_outputs != 1:
        raise UnsupportedError(
            f"{who}: expected a model with one output, got {model.num_outputs}; use a Monte-Carlo "
            "acquisition with objective=bolearn.output(i), or model that output alone"
        )


def check_level(name: str, value: object, model: Surrogate) -> Tensor:
    """Check a level such as best_f: a finite number, or a tensor that fits the replicates ``*r``.

    Raises:
        DataError: not a finite number.
        ShapeError: does not broadcast to the replicates, or would add axes to them.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
        raise DataError(f"{name}: expected a number or a tensor, got {type(value).__name__}")
    level = value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
    if level.dtype != torch.float64:
        raise DataError(f"{name}: expected float64, got {level.dtype}; use {name}.double()")
    if not torch.isfinite(level).all():
        raise DataError(
            f"{name}: expected finite numbers, got {level.flatten()[:4].tolist()}; "
            "use bolearn.incumbent(model, X).value"
        )
    r = tuple(model.batch_shape)
    if tuple(level.shape) not in ((), r):
        raise ShapeError(
            f"{name}: expected a number or shape {r} (one for each replicate), "
            f"got {tuple(level.shape)}"
        )
    if level.ndim and isinstance(model, HasTrainingData):
        check_same_device(**{name: level, "model": model.X})
    return level.detach()


def moments(model: Surrogate, X: Tensor, who: str) -> tuple[Tensor, Tensor]:
    """Posterior mean and standard deviation at single points, each ``*batch``.

    Raises:
        UnsupportedError: q > 1.
    """
    if X.ndim >= 2 and X.shape[-2] != 1:
        raise UnsupportedError(
            f"{who}: judges one point at a time (X: *batch 1 d), got q = {X.shape[-2]}; use "
            "X.unsqueeze(-2) for separate points, or qLogExpectedImprovement for a batch"
        )
    posterior = model.posterior(X)
    mean, variance = posterior.mean, posterior.variance
    batch = mean.shape[:-2]
    return mean.reshape(batch), variance.reshape(batch).sqrt()
