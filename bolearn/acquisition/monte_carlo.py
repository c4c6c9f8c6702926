r"""Sampled acquisitions: improvement, confidence bounds, regret and feasibility for q points.

Each is a `utility` of one line in one of the two `templates`. The improvement family computes value
and gradient in one piece (`improvement`) where the belief has a closed form.

Taught in part_4/tutorial_02 and part_5/tutorial_02.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError
from ..models.algebra import Algebra
from ..models.exact import algebra_of
from ..numerics import log_fatplus
from .baseline import Baseline
from .checks import check_beta, check_level
from .improvement import Threshold, improvement_with_gradient
from .objectives import (
    Output,
    scale_of,
)
from .pullback import ValueWithGradient
from .templates import (
    LogMonteCarloAcquisition,
    MonteCarloAcquisition,
    base_normals,
    check_fields,
    check_infeasible_value,
    join_pending,
)


@dataclass(frozen=True, eq=False)
class qLogExpectedImprovement(LogMonteCarloAcquisition):
    """log E max_j max(0, f(x_j) - best_f): expected improvement of the best of q points.

    The kink of max(0, .) is smoothed on the scale of 1e-6 output standard deviations, so that the
    result does not depend on the units of Y.

    Args:
        model: a surrogate.
        best_f: value of the objective to improve on; a number or one for each replicate.
        sampler, objective, outcome_constraints, X_pending: see `LogMonteCarloAcquisition`.

    Raises:
        DataError: best_f is not finite.
        ShapeError: best_f does not fit the replicates.

    Source: Ament et al. 2023, section 4.2, arXiv:2310.20708; Balandat et al., "BoTorch: a
    framework for efficient Monte-Carlo Bayesian optimization", NeurIPS 2020, arXiv:1910.06403.
    """

    best_f: float | Tensor
    scale: Tensor = field(init=False, repr=False)  # *r: of the objective

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "scale", scale_of(self.objective, self.model))
        object.__setattr__(self, "best_f", check_level("best_f", self.best_f, self.model))

    def utility(self, y: Float[Tensor, "s *batch q"]) -> Float[Tensor, "s *batch q"]:
        """log max(0, y - best_f), smoothed in units of the objective's scale."""
        return log_improvement(y, torch.as_tensor(self.best_f), self.scale)

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The logarithm of the expected improvement of each set of q points, in log user units."""
        if self._closed is None:
            return LogMonteCarloAcquisition.__call__(self, X)
        return fused_improvement(self, join_pending(X, self.X_pending, self.model.batch_shape))

    def value_and_gradient(self, X: Float[Tensor, "*batch q d"]) -> tuple[Tensor, Tensor] | None:
        """Both in one piece for points ``*batch`` of every replicate; None where it has no form."""
        return None if self._closed is None else value_and_gradient(self, X)

    def normals(self, q: int) -> Float[Tensor, "s *r q m"]:
        """Base samples of q points."""
        return base_normals(self.sampler, (q, self.model.num_outputs), self.model)

    @cached_property
    def _closed(self) -> Algebra | None:
        return closed_form(self, algebra_of(self.model), qLogExpectedImprovement)

    @cached_property
    def _rows_of_normals(self) -> dict[int, Tensor]:
        return {}

    @cached_property
    def _threshold(self) -> Threshold:
        return threshold_of(self, torch.as_tensor(self.best_f))


@dataclass(frozen=True, eq=False)
class qLogNoisyExpectedImprovement(LogMonteCarloAcquisition):
    """log E max_j max(0, f(x_j) - max_b f(b)): improvement on the baseline, itself uncertain.

    No incumbent is needed: each sample draws the observed points too, and has its own best one
    (the best feasible one, with constraints). They are drawn once, from the model as it is: after
    another fit, make a new acquisition.

    Args:
        model: a surrogate.
        X_baseline: points to improve on ``*r n d``, usually those observed. If they have the shape
            of the model's own inputs, rows that the model masks out are passed over.
        prune: drop points of the baseline that are best in none of 1024 samples.
        sampler, objective, outcome_constraints, X_pending: see `LogMonteCarloAcquisition`.

    Raises:
        DataError, ShapeError: a baseline that is not finite float64 or does not fit the model.

    Source: Letham et al., "Constrained Bayesian optimization with noisy experiments", Bayesian
    Anal. 14, 2019, arXiv:1706.07094; Ament et al. 2023, arXiv:2310.20708.
    """

    X_baseline: Tensor
    _: KW_ONLY
    prune: bool = True
    baseline: Baseline = field(init=False, repr=False)
    scale: Tensor = field(init=False, repr=False)  # *r: of the objective
    level: Tensor = field(init=False, repr=False)  # *r: where nothing is feasible
    best: Tensor = field(init=False, repr=False)  # s *r: each sample's best baseline point

    def __post_init__(self) -> None:
        check_fields(self)
        how = (self.sampler, self.objective, self.outcome_constraints, self.prune)
        baseline = Baseline.of(self.model, self.X_baseline, *how)
        object.__setattr__(self, "baseline", baseline)
        object.__setattr__(self, "scale", scale_of(self.objective, self.model))
        y = baseline.draw_alone()
        object.__setattr__(self, "level", baseline.level(y, self.objective))
        object.__setattr__(self, "best", self.best_of(y))

    def best_of(self, y: Float[Tensor, "s *batch b m"]) -> Float[Tensor, "s *batch"]:
        """Each sample's best feasible value at the baseline."""
        return self.baseline.best(y, self.objective, self.outcome_constraints, self.level)

    def draw(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "s *batch q m"]:
        """Samples of the outcomes at X, given those at the baseline."""
        return self.baseline.draw(X)[0]

    def utility(self, y: Float[Tensor, "s *batch q"]) -> Float[Tensor, "s *batch q"]:
        """log max(0, y - best of the sample), smoothed in units of the objective's scale."""
        return log_improvement(y, beside_samples(self.best, y, self.model.batch_shape), self.scale)

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The logarithm of the noisy expected improvement of each set of q points."""
        points = join_pending(X, self.X_pending, self.model.batch_shape)
        if not self.baseline.gaussian:  # no fixed part: competitors come with the candidates
            y, competitors = self.baseline.draw(points)
            twin = copy.copy(self)
            object.__setattr__(twin, "best", self.best_of(competitors))
            return twin.average(y)
        if self._closed is None:
            return self.average(self.draw(points))
        return fused_improvement(self, points)

    def value_and_gradient(self, X: Float[Tensor, "*batch q d"]) -> tuple[Tensor, Tensor] | None:
        """Both in one piece for points ``*batch`` of every replicate; None where it has no form."""
        return None if self._closed is None else value_and_gradient(self, X)

    def normals(self, q: int) -> Float[Tensor, "s *r bq m"]:
        """Base samples of the baseline, then of q points."""
        return self.baseline.all_normals(q)

    @cached_property
    def _closed(self) -> Algebra | None:
        return closed_form(self, self.baseline.algebra, qLogNoisyExpectedImprovement)

    @cached_property
    def _rows_of_normals(self) -> dict[int, Tensor]:
        return {}

    @cached_property
    def _threshold(self) -> Threshold:
        return threshold_of(self, self.best)


@dataclass(frozen=True, eq=False)
class qLogProbabilityOfFeasibility(LogMonteCarloAcquisition):
    """log P(at least one of q points meets all constraints): the way to a first feasible point.

    The maximum over the points is smoothed: among q equally good ones the value is too high by up
    to about 1e-2 log q, and may exceed 0 a little.

    Args:
        model: a surrogate.
        outcome_constraints: functions of the outcomes, feasible where <= 0; needed here.
        sampler, objective, X_pending: see `LogMonteCarloAcquisition`; the objective plays no part.

    Raises:
        DataError: no constraint.

    Source: Gardner et al., "Bayesian optimization with inequality constraints", ICML 2014,
    section 3.2; smoothing from Ament et al. 2023, appendix A.4, arXiv:2310.20708.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.outcome_constraints:
            raise DataError(
                "outcome_constraints: expected at least one, for example "
                "(bolearn.at_most(1, 5.0),), got none"
            )

    def utility(self, y: Float[Tensor, "s *batch q"]) -> Float[Tensor, "s *batch q"]:
        """log 1: only feasibility counts."""
        return torch.zeros_like(y)


@dataclass(frozen=True, eq=False)
class qUpperConfidenceBound(MonteCarloAcquisition):
    """E max_j ( mean_j + sqrt(beta pi / 2) |f(x_j) - mean_j| ): optimism for q points at once.

    For q = 1 it is mean + sqrt(beta) std, since E |f - mean| = sqrt(2 / pi) std.

    Args:
        model: a surrogate.
        beta: square of the number of standard deviations; a number or one for each replicate.
        sampler, objective, outcome_constraints, infeasible_value, X_pending: see
            `MonteCarloAcquisition`.

    Raises:
        DataError: beta is negative or not finite, or does not fit the replicates.

    Source: Wilson et al., "The reparameterization trick for acquisition functions", 2017,
    arXiv:1712.00424, appendix A.
    """

    beta: float | Tensor

    def __post_init__(self) -> None:
        check_fields(self)
        check_infeasible_value(self)
        object.__setattr__(self, "beta", check_beta(self.beta, self.model))

    def utility(self, y: Float[Tensor, "s *batch q"]) -> Float[Tensor, "s *batch q"]:
        """Mean plus scaled distance from it; the mean is that of the samples."""
        factor = (torch.as_tensor(self.beta).to(y) * (math.pi / 2)).sqrt()
        mean = y.mean(0)
        return mean + factor * (y - mean).abs()


@dataclass(frozen=True, eq=False)
class qSimpleRegret(MonteCarloAcquisition):
    """E max_j f(x_j): the best outcome that q points promise, when nothing is left to learn.

    For q = 1 it is the posterior mean.

    Args:
        model: a surrogate.
        sampler, objective, outcome_constraints, infeasible_value, X_pending: see
            `MonteCarloAcquisition`.

    Source: Wilson et al., "Maximizing acquisition functions for Bayesian optimization", NeurIPS
    2018, arXiv:1805.10196, table 1.
    """

    def utility(self, y: Float[Tensor, "s *batch q"]) -> Float[Tensor, "s *batch q"]:
        """The objective itself."""
        return y


# -- log improvements: by the template, and in one piece ----------------------------------------


def log_improvement(
    y: Float[Tensor, "s *batch q"], best: Float[Tensor, "..."], scale: Float[Tensor, "..."]
) -> Float[Tensor, "*out"]:
    """log max(0, y - best), smoothed in units of ``scale``; both broadcast against y."""
    scale = scale.to(y.device)
    return log_fatplus((y - best.to(y.device)) / scale) + scale.log()


def beside_samples(
    v: Float[Tensor, "s *b"], y: Float[Tensor, "s *batch q"], replicates: Sequence[int]
) -> Tensor:
    """A value for each sample, ``s *r`` or ``s *batch``, with the axes that it lacks beside y."""
    if v.ndim < y.ndim - 1:
        v = v.unsqueeze(-1 - len(replicates))
    return v.reshape(len(v), *(1,) * (y.ndim - 1 - v.ndim), *v.shape[1:], 1)


def closed_form(
    acq: LogMonteCarloAcquisition, algebra: Algebra | None, kind: type
) -> Algebra | None:
    """The closed form of the objective's output, where the fused path says what the template says.

    It knows one output as the objective and no outcome constraints; and it knows the hooks of
    ``kind`` itself: a subclass may compute something different.
    """
    plain = type(acq) is kind and not acq.outcome_constraints
    if algebra is None or not plain or not isinstance(acq.objective, Output):
        return None
    return algebra.only(acq.objective.index)


def fused_improvement(
    acq: "qLogExpectedImprovement | qLogNoisyExpectedImprovement", X: Float[Tensor, "*#batch q d"]
) -> Float[Tensor, "*batch"]:
    """``acq.average(acq.draw(X))``, in one piece with its gradient."""
    assert acq._closed is not None
    return ValueWithGradient.apply(  # type: ignore[no-any-return, no-untyped-call]
        acq._closed.check(X),
        lambda X, wanted: _in_one_piece(acq, X, wanted),
        lambda X: acq.average(acq.draw(X)),
    )


def value_and_gradient(
    acq: "qLogExpectedImprovement | qLogNoisyExpectedImprovement", X: Float[Tensor, "*batch q d"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch q d"]]:
    """The same without a graph, for searches: sound points that have all replicate axes."""
    value, gradient = _in_one_piece(
        acq, join_pending(X, acq.X_pending, acq.model.batch_shape), True
    )
    assert gradient is not None
    return value, gradient[..., : X.shape[-2], :]


def _in_one_piece(
    acq: "qLogExpectedImprovement | qLogNoisyExpectedImprovement", X: Tensor, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """`improvement_with_gradient` at checked points; the normals are put in order once."""
    assert acq._closed is not None
    q, known = X.shape[-2], acq._rows_of_normals
    if q not in known:
        z, R = acq.normals(q), acq.model.batch_shape.numel()
        z = acq.objective(z).reshape(len(z), R, -1).permute(1, 2, 0)
        known[q] = z.contiguous().to(X.device)
    return improvement_with_gradient(acq._closed, X, known[q], acq._threshold, wanted)


def threshold_of(
    acq: "qLogExpectedImprovement | qLogNoisyExpectedImprovement", best: Float[Tensor, "..."]
) -> Threshold:
    """What ``acq`` improves on, by replicate; best is a number, ``*r`` or ``s *r``."""
    scale = acq.scale
    best = best.expand(scale.shape) if best.ndim < scale.ndim else best
    return Threshold.of(best.reshape(-1, scale.numel()).mT.to(scale.device), scale.reshape(-1))
