r"""Acquisitions with a closed form: one point, one Gaussian output.

With mean mu, standard deviation sigma and u = (mu - best) / sigma,

    EI = E max(0, f - best) = sigma h(u),    h(u) = phi(u) + u Phi(u),
    PI = P(f > best) = Phi(u),    UCB = mu + sqrt(beta) sigma.

An expectation under a mixture (`SAASGP`) is the average over its members: EI and PI are, and their
logarithms are the log of that average. The UCB of a mixture takes the mixture's own mean and
deviation.

Taught in part_3/tutorial_04 and part_4/tutorial_02.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import DataError, InfeasibleError, ShapeError, UnsupportedError
from ..models.exact import algebra_of
from ..numerics import log_h, log_h_and_slope, log_ndtr, log_ndtr_between, logmeanexp
from ..posteriors import gaussian_members
from ..protocols import Surrogate, has_training_data
from ..shapes import check_same_device, check_tensor, is_whole
from ..transforms import UnitCube
from .objectives import (
    Constraint,
    LowerLimit,
    Objective,
    Output,
    UpperLimit,
    check_objective,
    check_outcome_constraints,
    evaluate,
    output,
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
class LogConstrainedExpectedImprovement:
    """log EI of one output plus the log probabilities that the others keep their limits.

    log( E max(0, f_i - best_f) x prod_j P(low_j <= f_j <= high_j) ): exact for independent outputs.

    Args:
        model: a surrogate with independent outputs, Gaussian or a mixture of Gaussians.
        best_f: value to improve on: the best feasible one, a number or one for each replicate.
        objective: `output` ``i``, which is maximised.
        outcome_constraints: `at_most` and `at_least` limits of other outputs.

    Raises:
        DataError: best_f is not finite or does not fit; no constraint.
        InfeasibleError: limits of an output that exclude each other.
        UnsupportedError: other kinds of objectives or constraints, or limits of the objective.

    Source: Gardner et al., "Bayesian optimization with inequality constraints", ICML 2014,
    equation 5; in log space Ament et al. 2023, arXiv:2310.20708.
    """

    model: Surrogate
    best_f: float | Tensor
    _: KW_ONLY
    objective: Output = output(0)  # noqa: RUF009  frozen, hence safe to share
    outcome_constraints: Sequence[UpperLimit | LowerLimit]

    def __post_init__(self) -> None:
        check_model(self.model, type(self).__name__)
        object.__setattr__(self, "best_f", check_level("best_f", self.best_f, self.model))
        check_outcome_constraints(self.outcome_constraints, self.model)
        limits_by_output(self.objective, self.outcome_constraints, self.model.num_outputs)

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The logarithm of the constrained expected improvement at each point."""
        means, stds = member_moments(self.model, X, type(self).__name__)
        m, i = self.model.num_outputs, self.objective.index
        value = log_expected_improvement(means[..., i], stds[..., i], self.best_f)
        for j, limits in limits_by_output(self.objective, self.outcome_constraints, m).items():
            value = value + log_probability_between(means[..., j], stds[..., j], *limits)
        return logmeanexp(value, 0)


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


@dataclass(frozen=True, eq=False)
class Incumbent:
    """The point believed best: ``x`` (``*r d``) and its believed ``value`` (``*r``)."""

    x: Float[Tensor, "*r d"]
    value: Float[Tensor, "*r"]


def incumbent(
    model: Surrogate,
    X: Float[Tensor, "*r n d"],
    objective: Objective | None = None,
    outcome_constraints: Sequence[Constraint] = (),
) -> Incumbent:
    """The point of X with the highest posterior mean: best by belief, not by one lucky noise draw.

    With constraints, the best of the points whose posterior mean is feasible. A replicate without
    such a point is an error, also among others that have one: any level that one could make up
    for it would be a choice about that run which nobody made.

    Args:
        model: a surrogate.
        X: candidate points, usually those observed. If they have the shape of the model's own
            inputs, rows that the model masks out are passed over.
        objective: combines several outputs, applied to the mean; needed if there are several.
        outcome_constraints: functions of the outcomes, feasible where <= 0, applied to the mean.

    Raises:
        InfeasibleError: no point is feasible in some replicate.
        ShapeError: an objective or constraint that gives not one number for each point.
        UnsupportedError: several outputs and no objective.

    Example:
        >>> from bolearn import ExactGP
        >>> X = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
        >>> model = ExactGP(X, X * (1 - X), torch.tensor([[0.0], [1.0]], dtype=torch.float64))
        >>> incumbent(model, X).x.item()
        0.5
    """
    mask = None
    check_model(model, "incumbent")
    constraints = check_outcome_constraints(outcome_constraints, model)
    X = check_tensor("X", X, finite=False)
    if has_training_data(model) and X.shape == model.X.shape:
        mask = model.observed
        X = torch.where(mask.unsqueeze(-1), X, model.X)
    if objective is None:
        check_single_output(model, "incumbent without an objective")
    else:
        check_objective(objective, model)
    mean = model.posterior(X).mean.detach()
    value = mean.squeeze(-1) if objective is None else evaluate(objective, mean)
    if mask is not None:
        value = torch.where(mask, value, -torch.inf)
    for constraint in constraints:
        excess = evaluate(constraint, mean, "outcome_constraints")
        value = torch.where(excess <= 0, value, -torch.inf)
    if constraints:
        check_any_feasible(value > -torch.inf)
    best = value.argmax(-1, keepdim=True)
    X = X.expand(*value.shape, X.shape[-1])
    x = X.gather(-2, best.unsqueeze(-1).expand(*best.shape, X.shape[-1])).squeeze(-2)
    return Incumbent(x.detach(), value.gather(-1, best).squeeze(-1))


def check_any_feasible(feasible: Bool[Tensor, "*r n"]) -> None:
    """Check that every replicate has a feasible point.

    Raises:
        InfeasibleError: one has none; the message says how to go on without.
    """
    missing = (~feasible.any(-1)).nonzero()
    if len(missing):
        where = tuple(int(i) for i in missing[0])
        which = f" in {len(missing)} replicates, the first {where}" if where else ""
        raise InfeasibleError(
            f"outcome_constraints: expected a point whose posterior mean is feasible, got none "
            f"among {feasible.shape[-1]}{which}; use qLogNoisyExpectedImprovement, which needs no "
            "incumbent, or look for a feasible point by qLogProbabilityOfFeasibility"
        )


# -- checks and moments shared by acquisitions ---------------------------------------------------


def check_model(model: object, who: str) -> None:
    """Check that something is a surrogate.

    Raises:
        DataError: it is not.
    """
    missing = [x for x in ("posterior", "num_outputs", "batch_shape") if not hasattr(model, x)]
    if missing:
        raise DataError(
            f"{who}: expected a model with posterior(X), num_outputs and batch_shape first, got "
            f"{type(model).__name__} without {', '.join(missing)}; fit one with "
            "bolearn.fit_mll(bolearn.ExactGP(X, Y, bounds))"
        )


def check_single_output(model: Surrogate, who: str) -> None:
    """Check that the model has one output.

    Raises:
        DataError: it is no model.
        UnsupportedError: it has several; the message names the way out.
    """
    check_model(model, who)
    if model.num_outputs != 1:
        raise UnsupportedError(
            f"{who}: expected a model with one output, got {model.num_outputs}; use a Monte-Carlo "
            "acquisition with objective=bolearn.output(i), or model that output alone"
        )


def check_level(
    name: str,
    value: object,
    model: Surrogate,
    advice: str = "use bolearn.incumbent(model, X).value",
) -> Tensor:
    """Check a level such as best_f: a finite number, or a tensor that fits the replicates ``*r``.

    ``advice`` is what to do about one that is not finite.

    Raises:
        DataError: not a finite number.
        ShapeError: does not broadcast to the replicates, or would add axes to them.
    """
    if isinstance(value, Tensor):
        level = value
    elif is_whole(value) or isinstance(value, float | np.floating):
        level = torch.tensor(float(value), dtype=torch.float64)
    else:
        raise DataError(f"{name}: expected a number or a tensor, got {type(value).__name__}")
    if level.dtype != torch.float64:
        raise DataError(f"{name}: expected float64, got {level.dtype}; use {name}.double()")
    if not torch.isfinite(level).all():
        raise DataError(
            f"{name}: expected finite numbers, got {level.flatten()[:4].tolist()}; {advice}"
        )
    r = tuple(model.batch_shape)
    if tuple(level.shape) not in ((), r):
        raise ShapeError(
            f"{name}: expected a number or shape {r} (one for each replicate), "
            f"got {tuple(level.shape)}"
        )
    if level.ndim and has_training_data(model):
        check_same_device(**{name: level, "model": model.X})
    return level.detach().clone()  # the caller may change his own


def check_beta(value: object, model: Surrogate) -> Tensor:
    """Check the weight of a confidence bound: not negative.

    Raises:
        DataError: negative or not finite.
        ShapeError: does not fit the replicates.
    """
    advice = "use a number >= 0 such as 4.0, for two standard deviations"
    beta = check_level("beta", value, model, advice)
    if (beta < 0).any():
        raise DataError(f"beta: expected a number >= 0 (the square of kappa), got {value}")
    return beta


def moments(model: Surrogate, X: Tensor, who: str) -> tuple[Tensor, Tensor]:
    """Posterior mean and standard deviation at single points, each ``*batch``.

    Raises:
        UnsupportedError: q > 1.
    """
    check_single_point(X, who)
    posterior = model.posterior(X)
    return posterior.mean[..., 0, 0], posterior.variance[..., 0, 0].sqrt()


def member_moments(model: Surrogate, X: Tensor, who: str) -> tuple[Tensor, Tensor]:
    """Means and standard deviations ``k *batch m`` at single points, of a mixture's k Gaussians.

    Raises:
        UnsupportedError: q > 1, or a posterior that is no mixture of Gaussians.
    """
    check_single_point(X, who)
    mean, variance = gaussian_members(model.posterior(X))
    return mean.squeeze(-2), variance.squeeze(-2).sqrt()


def check_single_point(X: Tensor, who: str) -> None:
    """Check that points are judged one at a time.

    Raises:
        DataError: X is no float64 tensor.
        UnsupportedError: q > 1.
    """
    check_tensor("X", X, finite=False)
    if X.ndim >= 2 and X.shape[-2] != 1:
        raise UnsupportedError(
            f"{who}: judges one point at a time (X: *batch 1 d), got q = {X.shape[-2]}; use "
            "X.unsqueeze(-2) for separate points, or qLogExpectedImprovement for a batch"
        )


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


# -- limits of outcomes --------------------------------------------------------------------------


def limits_by_output(
    objective: Objective, constraints: Sequence[Constraint], num_outputs: int
) -> dict[int, tuple[float, float]]:
    """Lower and upper limit of each constrained output; infinite where there is none.

    Raises:
        DataError: no constraint.
        InfeasibleError: limits that exclude each other.
        ShapeError: the model has no such output.
        UnsupportedError: other kinds of objectives or constraints, or limits of the objective.
    """
    way_out = "use qLogExpectedImprovement(..., outcome_constraints=...), which samples"
    if not isinstance(objective, Output):
        raise UnsupportedError(f"objective: expected bolearn.output(i), got {objective}; {way_out}")
    if not constraints:
        raise DataError(
            "outcome_constraints: expected at least one, for example (bolearn.at_most(1, 5.0),), "
            "got none; without constraints use LogExpectedImprovement"
        )
    limits: dict[int, tuple[float, float]] = {}
    for c in constraints:
        if not isinstance(c, UpperLimit | LowerLimit):
            raise UnsupportedError(f"expected at_most and at_least, got {c}; {way_out}")
        for index in (objective.index, c.index):
            if not -num_outputs <= index < num_outputs:
                raise ShapeError(f"output {index}: the model has {num_outputs} outputs")
        j = c.index % num_outputs
        if j == objective.index % num_outputs:
            raise UnsupportedError(
                f"{c} limits the objective's own output, which is not independent of it; {way_out}"
            )
        low, high = limits.get(j, (-torch.inf, torch.inf))
        if isinstance(c, UpperLimit):
            high = min(high, c.bound)
        else:
            low = max(low, c.bound)
        if low >= high:
            raise InfeasibleError(
                f"output {j}: expected a lower limit below the upper one, got {low:g} and {high:g}"
            )
        limits[j] = (low, high)
    return limits


def log_probability_between(
    mean: Float[Tensor, "*b"], std: Float[Tensor, "*b"], low: float, high: float
) -> Float[Tensor, "*b"]:
    """log P(low <= f <= high) for f ~ N(mean, std^2); either limit may be infinite."""
    if low == -torch.inf:
        return log_ndtr((high - mean) / std)
    if high == torch.inf:
        return log_ndtr((mean - low) / std)
    return log_ndtr_between((low - mean) / std, (high - mean) / std, (high - low) / std)
