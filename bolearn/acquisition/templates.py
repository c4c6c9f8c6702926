r"""Two templates for averages over joint samples, with the same two hooks: `utility` and `draw`.

With fixed standard normals z, f = mean(X) + L(X) z is a smooth function of the candidates, and so
is the average of a utility over the samples: it can be maximised by the same deterministic method
as a closed form (sample average approximation).

`LogMonteCarloAcquisition` averages a positive utility and returns the logarithm;
`MonteCarloAcquisition` averages one that may be negative. `utility` is of one line; few need to
touch `draw`.

Taught in part_4/tutorial_02 and part_5/tutorial_02.
"""

import copy
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, ShapeError
from ..numerics import fatmax, logmeanexp
from ..protocols import Surrogate
from ..sampling import Sampler
from ..shapes import check_points, check_same_device
from .checks import check_level, check_model
from .objectives import (
    Constraint,
    Objective,
    check_objective,
    check_outcome_constraints,
    evaluate,
    log_feasibility,
    output,
    scale_of,
)


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


# -- what the templates share --------------------------------------------------------------------

_Sampled = TypeVar("_Sampled", bound=LogMonteCarloAcquisition | MonteCarloAcquisition)
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


def utilities(
    acq: LogMonteCarloAcquisition | MonteCarloAcquisition, y: Float[Tensor, "s *batch q m"]
) -> Float[Tensor, "s *batch q"]:
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
    check_sampler(acq.sampler)
    if acq.X_pending is not None:
        check_pending(acq.X_pending, acq.model)
        object.__setattr__(acq, "X_pending", acq.X_pending.clone())


def check_sampler(sampler: object) -> None:
    """Check a source of base samples.

    Raises:
        DataError: something else.
    """
    if not isinstance(sampler, Sampler):
        raise DataError(
            f"sampler: expected bolearn.Sampler(128, seed=0), got {type(sampler).__name__}"
        )


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
