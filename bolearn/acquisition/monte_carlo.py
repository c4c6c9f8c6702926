r"""Acquisitions as averages over joint samples: any utility, any q, any objective, any constraint.

With fixed standard normals z, f = mean(X) + L(X) z is a smooth function of the candidates, and so
is the average of a utility over the samples: it can be maximised by the same deterministic method
as a closed form (sample average approximation).

Two templates with the same two hooks: `utility`, of one line, and `draw`, which few need to touch.
`LogMonteCarloAcquisition` averages a positive utility and returns the logarithm;
`MonteCarloAcquisition` averages one that may be negative.

Taught in part_4/tutorial_02 and part_5/tutorial_02.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, ShapeError
from ..models.algebra import Algebra
from ..models.exact import algebra_of
from ..numerics import fatmax, log_fatplus, logmeanexp
from ..protocols import Surrogate
from ..sampling import Sampler
from ..shapes import check_points, check_same_device
from .analytic import check_beta, check_level, check_model
from .baseline import Baseline
from .improvement import Threshold, improvement_with_gradient
from .objectives import (
    Constraint,
    Objective,
    Output,
    check_objective,
    check_outcome_constraints,
    evaluate,
    log_feasibility,
    output,
    scale_of,
)
from .pullback import ValueWithGradient


@dataclass(frozen=True, eq=False)
class LogMonteCarloAcquisition:
    """log E_f[ max_j u(f(x_j)) 1{f(x_j) feasible} ], estimated with s fixed base samples.

    Args:
        model: a surrogate.
        sampler: where the base samples come from; independent for each replicate.
        objective: outcome to scalar; default the first output.
        outcome_constraints: functions of the outcomes, feasible where <= 0, such as `at_most`.
        X_pending: points under evaluation ``*r p d``, judged jointly with every candidate.

    Subclasses give `utility`, u >= 0 in log space. Maximum and indicator are smoothed so that every
    point keeps a gradient. A field of a subclass with one number for every replicate, ``*r``,
    stands before `utility` as ``*r 1`` (see `beside_points`): ``y - self.level`` is right for a
    number and for a tensor.
    """

    # The model comes first and positionally everywhere, then what a subclass cannot do without
    # (best_f); the rest by name.
    model: Surrogate
    _: KW_ONLY
    sampler: Sampler = Sampler(128, seed=0)  # noqa: RUF009  frozen, hence safe to share
    objective: Objective = output(0)  # noqa: RUF009
    outcome_constraints: Sequence[Constraint] = ()
    X_pending: Tensor | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def utility(self, y: Float[Tensor, "s *batch q"]) -> Float[Tensor, "s *batch q"]:
        """Log utility of each sampled objective value."""
        raise NotImplementedError(f"{type(self).__name__} needs a method utility(y) -> log utility")

    def draw(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "s *batch q m"]:
        """Joint samples of the outcomes at X."""
        return draw_jointly(self.model, self.sampler, X)

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The acquisition value of each set of q points, in log units of the utility."""
        return self.average(self.draw(join_pending(X, self.X_pending, self.model.batch_shape)))

    def average(self, y: Float[Tensor, "s *batch q m"]) -> Float[Tensor, "*batch"]:
        """From sampled outcomes to the value."""
        log_u = utilities(self, y)
        if self.outcome_constraints:
            log_u = log_u + log_feasibility(y, self.outcome_constraints, self._limit_scales)
        return logmeanexp(fatmax(log_u, dim=-1), dim=0)

    @cached_property
    def _limit_scales(self) -> list[Tensor]:
        with torch.inference_mode(False):
            return [scale_of(c, self.model).unsqueeze(-1) for c in self.outcome_constraints]

    def with_pending(self, X: Float[Tensor, "*r p d"]) -> "LogMonteCarloAcquisition":
        """The same acquisition that counts X as already chosen, beside earlier pending points."""
        return replace_pending(self, X)


@dataclass(frozen=True, eq=False)
class MonteCarloAcquisition:
    """E_f[ max_j u(f(x_j)) ], estimated with s fixed base samples; u may be negative.

    A point that violates a constraint counts as ``infeasible_value`` instead of its utility.

    Args:
        model: a surrogate.
        sampler: where the base samples come from; independent for each replicate.
        objective: outcome to scalar; default the first output.
        outcome_constraints: functions of the outcomes, feasible where <= 0, such as `at_most`.
        infeasible_value: below any utility of a feasible point; needed with constraints.
        X_pending: points under evaluation ``*r p d``, judged jointly with every candidate.

    Subclasses give `utility`, in the units of the result; fields of shape ``*r`` stand before it
    as ``*r 1``, as in `LogMonteCarloAcquisition`.
    """

    model: Surrogate
    _: KW_ONLY
    sampler: Sampler = Sampler(128, seed=0)  # noqa: RUF009
    objective: Objective = output(0)  # noqa: RUF009
    outcome_constraints: Sequence[Constraint] = ()
    infeasible_value: float | Tensor | None = None
    X_pending: Tensor | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_infeasible_value(self)

    def utility(self, y: Float[Tensor, "s *batch q"]) -> Float[Tensor, "s *batch q"]:
        """Utility of each sampled objective value."""
        raise NotImplementedError(f"{type(self).__name__} needs a method utility(y) -> utility")

    def draw(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "s *batch q m"]:
        """Joint samples of the outcomes at X."""
        return draw_jointly(self.model, self.sampler, X)

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The acquisition value of each set of q points, in units of the utility."""
        y = self.draw(join_pending(X, self.X_pending, self.model.batch_shape))
        u = utilities(self, y)
        if self.outcome_constraints:
            weight = log_feasibility(y, self.outcome_constraints, self._limit_scales).exp()
            low = torch.as_tensor(self.infeasible_value, dtype=u.dtype, device=u.device)
            low = low.unsqueeze(-1) if low.ndim else low
            u = low + (u - low) * weight
        return u.amax(-1).mean(0)

    @cached_property
    def _limit_scales(self) -> list[Tensor]:
        with torch.inference_mode(False):
            return [scale_of(c, self.model).unsqueeze(-1) for c in self.outcome_constraints]

    def with_pending(self, X: Float[Tensor, "*r p d"]) -> "MonteCarloAcquisition":
        """The same acquisition that counts X as already chosen, beside earlier pending points."""
        return replace_pending(self, X)


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
    scale: Tensor = field(init=False, repr=False)  # *r: unit of the objective

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
    scale: Tensor = field(init=False, repr=False)  # *r: unit of the objective
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


# -- what the templates share --------------------------------------------------------------------

_Sampled = TypeVar("_Sampled", LogMonteCarloAcquisition, MonteCarloAcquisition)
_TEMPLATES = (LogMonteCarloAcquisition, MonteCarloAcquisition)


@lru_cache(maxsize=16)
def _normals(sampler: Sampler, event: tuple[int, ...], replicates: tuple[int, ...]) -> Tensor:
    with torch.inference_mode(False):  # whoever asks first, others may want derivatives
        return sampler.base_samples(event, replicates)


def base_normals(
    sampler: Sampler, event: Sequence[int], model: Surrogate
) -> Float[Tensor, "s ..."]:
    """Base samples ``s *r *event``, made once for all candidates."""
    return _normals(sampler, tuple(event), tuple(model.batch_shape))


def utilities(acq: _Sampled, y: Float[Tensor, "s *batch q m"]) -> Float[Tensor, "s *batch q"]:
    """The utility of each sampled outcome, checked to be one number for each.

    Raises:
        DataError: ``utility`` gives numbers of another type, such as truth values.
        ShapeError: ``utility`` gives anything but one number for each sampled value.
    """
    r = tuple(acq.model.batch_shape)
    # An axis of its own in front of *r: a field that was given one axis too many would be paired
    # with the restarts there, and shows itself here.
    values = evaluate(acq.objective, y).unsqueeze(-2 - len(r))
    u = beside_points(acq).utility(values)
    rows = torch.broadcast_shapes(values.shape[-1 - len(r) : -1], r)  # replicates may be shared
    full = (*values.shape[: -1 - len(r)], *rows, values.shape[-1])
    if not isinstance(u, Tensor) or u.shape not in (values.shape, full):
        got = tuple(u.shape) if isinstance(u, Tensor) else type(u).__name__
        raise ShapeError(
            f"{type(acq).__name__}.utility: expected one value for each sampled objective value, "
            f"shape s *batch q = {tuple(values.shape)}, got {got}; the template takes the maximum "
            "over q and the average over s, and fields with a number for every replicate, *r = "
            f"{r}, stand before utility as *r 1"
        )
    if u.dtype != values.dtype:
        raise DataError(
            f"{type(acq).__name__}.utility: expected values in {values.dtype}, got {u.dtype}; a "
            "truth value has no slope to climb, use a smooth step such as torch.sigmoid"
        )
    return u.squeeze(-2 - len(r))


def beside_points(acq: _Sampled) -> _Sampled:
    """The acquisition as its ``utility`` sees it: what is ``*r`` stands there as ``*r 1``.

    Sampled values are ``s *batch q``, and *batch ends in the replicates. A field with one number
    for every replicate would be paired with the q points; with an axis behind it, it is not. That
    goes for every tensor that a subclass adds to its template and that has the shape ``*r`` (each
    axis may also be 1). A field of another shape is left as it is: q weights are ``1 q``.

    Raises:
        DataError: a number for every replicate in a NumPy array.
    """
    r = tuple(acq.model.batch_shape)
    template = {field.name for cls in _TEMPLATES for field in fields(cls)}
    own = [name for name in vars(acq) if name not in template and not _is_cached(acq, name)]
    values = {name: getattr(acq, name) for name in own if r}
    values = {name: v for name, v in values.items() if _is_by_replicate(v, r)}
    if not values:
        return acq
    twin = copy.copy(acq)
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise DataError(
                f"{type(acq).__name__}.{name}: expected a tensor with a number for every "
                f"replicate, got {type(value).__name__}; use torch.as_tensor"
            )
        object.__setattr__(twin, name, value.unsqueeze(-1))
    return twin


def _is_by_replicate(value: object, r: tuple[int, ...]) -> bool:
    """Whether something has one number for every replicate ``*r``, or for all along an axis."""
    shape = tuple(value.shape) if isinstance(value, Tensor | np.ndarray) else ()
    return len(shape) == len(r) and all(a in (1, b) for a, b in zip(shape, r, strict=True))


def _is_cached(acq: object, name: str) -> bool:
    return isinstance(getattr(type(acq), name, None), cached_property)


def draw_jointly(
    model: Surrogate, sampler: Sampler, X: Float[Tensor, "*#batch q d"]
) -> Float[Tensor, "s *batch q m"]:
    """Joint samples of the outcomes at X, from base samples that do not depend on X."""
    posterior = model.posterior(X)
    return posterior.rsample(base_normals(sampler, posterior.event_shape, model).to(X.device))


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


def check_fields(acq: LogMonteCarloAcquisition | MonteCarloAcquisition) -> None:
    """Check what every sampled acquisition has, and copy its pending points.

    Raises:
        DataError: a field of another kind, or pending points that are not finite.
        ShapeError: pending points that do not fit the model.
    """
    check_model(acq.model, type(acq).__name__)
    check_objective(acq.objective, acq.model)
    constraints = check_outcome_constraints(acq.outcome_constraints, acq.model)
    object.__setattr__(acq, "outcome_constraints", constraints)
    if not isinstance(acq.sampler, Sampler):
        raise DataError(
            f"sampler: expected bolearn.Sampler(128, seed=0), got {type(acq.sampler).__name__}"
        )
    if acq.X_pending is not None:
        check_pending(acq.X_pending, acq.model)
        object.__setattr__(acq, "X_pending", acq.X_pending.clone())


def check_infeasible_value(acq: MonteCarloAcquisition) -> None:
    """Check ``infeasible_value``: there if there are constraints.

    Raises:
        DataError: missing, not finite, or does not fit the replicates.
    """
    if acq.infeasible_value is not None:
        advice = "use a number below what any feasible point can be worth"
        level = check_level("infeasible_value", acq.infeasible_value, acq.model, advice)
        object.__setattr__(acq, "infeasible_value", level)
    elif acq.outcome_constraints:
        raise DataError(
            f"{type(acq).__name__}: its utility may be negative, so with outcome_constraints it "
            "needs infeasible_value=, a number below what any feasible point can be worth; "
            "or use qLogNoisyExpectedImprovement, which needs none"
        )


def check_pending(X: object, model: Surrogate) -> None:
    """Check pending points ``*r p d``.

    Raises:
        DataError: not finite float64.
        ShapeError: they do not fit the model.
    """
    d = X.shape[-1] if isinstance(X, Tensor) and X.ndim else 0
    check_points(X, d, model.batch_shape, name="X_pending")


def replace_pending(acq: _Sampled, X: Tensor) -> _Sampled:
    """A copy of the acquisition with further pending points; whatever it has drawn is kept."""
    check_pending(X, acq.model)
    twin = copy.copy(acq)
    pending = join_pending(X.clone(), acq.X_pending, acq.model.batch_shape)
    object.__setattr__(twin, "X_pending", pending)
    return twin


def join_pending(
    X: Float[Tensor, "*batch q d"],
    pending: Float[Tensor, "*r p d"] | None,
    replicates: Sequence[int] = (),
) -> Float[Tensor, "*out qp d"]:
    """Candidates followed by the pending points, which are shared by all leading batch axes.

    Raises:
        ShapeError: pending points with another number of inputs or that do not broadcast.
    """
    if pending is None:
        return X
    check_points(pending, X.shape[-1], replicates, name="X_pending")
    check_same_device(X=X, X_pending=pending)
    try:
        batch = torch.broadcast_shapes(X.shape[:-2], pending.shape[:-2])
    except RuntimeError:
        raise ShapeError(
            f"X_pending: expected shape *r p d that fits candidates {tuple(X.shape)}, "
            f"got {tuple(pending.shape)}"
        ) from None
    parts = (points.expand(*batch, *points.shape[-2:]) for points in (X, pending))
    return torch.cat(list(parts), dim=-2)
