r"""Acquisitions with a closed form: one point, one Gaussian output.

With mean mu, standard deviation sigma and u = (mu - best) / sigma,

    EI = E max(0, f - best) = sigma h(u),    h(u) = phi(u) + u Phi(u),
    PI = P(f > best) = Phi(u),    UCB = mu + sqrt(beta) sigma.

An expectation under a mixture (`SAASGP`) is the average over its members: EI and PI are, and their
logarithms are the log of that average. The UCB of a mixture takes the mixture's own mean and
deviation.

Taught in part_3/tutorial_04 and part_4/tutorial_02.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.exact import algebra_of
from ..numerics import log_h, log_h_and_slope, log_ndtr, logmeanexp
from ..protocols import Surrogate
from ..transforms import UnitCube
from .checks import (
    check_beta,
    check_level,
    check_single_output,
    check_single_point,
    member_moments,
    moments,
)
from .pullback import ValueWithGradient
from .rows import ImprovementRows


def log_expected_improvement(
    mean: Float[Tensor, "*b"], std: Float[Tensor, "*b"], best_f: Float[Tensor, "..."] | float
) -> Float[Tensor, "*b"]:
    """log E max(0, f - best_f) for f ~ N(mean, std^2), accurate however small it is.

    Source: Ament et al. 2023, equation 9, arXiv:2310.20708.
    """
    return log_h((mean - best_f) / std) + std.log()


@dataclass(frozen=True, eq=False)
class _AboveLevel:
    """What the four acquisitions share that ask how far f exceeds a level."""

    model: Surrogate
    best_f: float | Tensor

    def __post_init__(self) -> None:
        check_single_output(self.model, type(self).__name__)
        object.__setattr__(self, "best_f", check_level("best_f", self.best_f, self.model))


class LogExpectedImprovement(_AboveLevel):
    """Logarithm of expected improvement: the same maximiser as EI, a gradient that never vanishes.

    Args:
        model: a surrogate with one output and Gaussian posteriors, or mixtures of Gaussians.
        best_f: value to improve on, in user units; a number or one for each replicate.

    Raises:
        DataError: best_f is not finite, or does not fit the replicates.
        UnsupportedError: the model has several outputs.

    Source: Ament et al., "Unexpected improvements to expected improvement for Bayesian
    optimization", NeurIPS 2023, arXiv:2310.20708.
    """

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The logarithm of the expected improvement at each point, in log user units."""
        return _log_improvement(self.model, X, self.best_f, type(self).__name__)

    def on_rows(self, cube: UnitCube) -> ImprovementRows | None:
        """The same for rows of the unit cube, in the closed form of plain kernels."""
        algebra = algebra_of(self.model)
        if algebra is None or type(self) is not LogExpectedImprovement:
            return None
        return ImprovementRows.of(algebra, torch.as_tensor(self.best_f), cube)


class ExpectedImprovement(_AboveLevel):
    """Expected improvement E max(0, f - best_f), in user units.

    Its value and gradient underflow to zero far below the incumbent: optimise
    `LogExpectedImprovement` instead.

    Args:
        model: a surrogate with one output and Gaussian posteriors, or mixtures of Gaussians.
        best_f: value to improve on; a number or one for each replicate.

    Raises:
        DataError: best_f is not finite, or does not fit the replicates.
        UnsupportedError: the model has several outputs.

    Source: Jones, Schonlau & Welch, "Efficient global optimization of expensive black-box
    functions", J. Global Optim. 13, 1998, equation 15.
    """

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The expected improvement at each point."""
        return _log_improvement(self.model, X, self.best_f, type(self).__name__).exp()


class LogProbabilityOfImprovement(_AboveLevel):
    """log P(f > best_f) = log Phi((mean - best_f) / std), with a slope however unlikely it is.

    Indifferent to the size of an improvement, hence greedy: best_f somewhat above the incumbent
    (a target) makes it explore.

    Args:
        model: a surrogate with one output and Gaussian posteriors, or mixtures of Gaussians.
        best_f: value to improve on, in user units; a number or one for each replicate.

    Raises:
        DataError: best_f is not finite, or does not fit the replicates.
        UnsupportedError: the model has several outputs.

    Source: Kushner, "A new method of locating the maximum point of an arbitrary multipeak curve
    in the presence of noise", J. Basic Eng. 86, 1964, doi:10.1115/1.3653121.
    """

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The logarithm of the probability of improvement at each point."""
        return _log_probability(self.model, X, self.best_f, type(self).__name__)


class ProbabilityOfImprovement(_AboveLevel):
    """P(f > best_f) = Phi((mean - best_f) / std).

    Its value and gradient underflow to zero far below the level: optimise
    `LogProbabilityOfImprovement` instead.

    Args:
        model: a surrogate with one output and Gaussian posteriors, or mixtures of Gaussians.
        best_f: value to improve on, in user units; a number or one for each replicate.

    Raises:
        DataError: best_f is not finite, or does not fit the replicates.
        UnsupportedError: the model has several outputs.

    Source: Kushner 1964, doi:10.1115/1.3653121.
    """

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The probability of improvement at each point."""
        return _log_probability(self.model, X, self.best_f, type(self).__name__).exp()


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
        object.__setattr__(self, "beta", check_beta(self.beta, self.model))

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


# -- log EI and log PI ---------------------------------------------------------------------------


def log_improvement_reference(
    model: Surrogate, X: Tensor, best_f: float | Tensor, who: str
) -> Tensor:
    """log EI, through autograd; for a mixture, log of the members' average."""
    mean, std = (v.squeeze(-1) for v in member_moments(model, X, who))
    return logmeanexp(log_expected_improvement(mean, std, best_f), 0)


def _log_improvement(model: Surrogate, X: Tensor, best_f: float | Tensor, who: str) -> Tensor:
    """log EI by the fused path where it applies, else by `log_improvement_reference`."""
    check_single_point(X, who)
    algebra = algebra_of(model)
    if algebra is None:
        return log_improvement_reference(model, X, best_f, who)
    X = algebra.check(X)
    level = torch.as_tensor(best_f)
    level = level.reshape(-1, 1) if level.ndim else level

    def fused(X: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        at = algebra.moments(X)
        mean, variance = at.mean.squeeze(-1), at.second.squeeze(-1)  # R t
        std = variance.sqrt()
        u = (mean - level).div_(std)
        value, slope = log_h_and_slope(u)
        value.add_(std.log())
        if not wanted:
            return value.mT.reshape(X.shape[:-2]), None
        # d/d mean = h'/(h sigma);  d/d variance = (1 - u h'/h) / (2 sigma^2)
        g_variance = (u * slope).sub_(1).div_(variance).mul_(-0.5)
        g = at.pull(slope.div_(std).unsqueeze(-1), g_variance.unsqueeze(-1))
        return value.mT.reshape(X.shape[:-2]), g

    return ValueWithGradient.apply(  # type: ignore[no-any-return, no-untyped-call]
        X, fused, lambda X: log_improvement_reference(model, X, best_f, who)
    )


def _log_probability(model: Surrogate, X: Tensor, best_f: float | Tensor, who: str) -> Tensor:
    """log PI; for a mixture, log of the members' average."""
    mean, std = (v.squeeze(-1) for v in member_moments(model, X, who))
    return logmeanexp(log_ndtr((mean - best_f) / std), 0)
