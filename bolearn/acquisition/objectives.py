"""From outcomes to one number: what is to be maximised, and what has to be met.

An objective maps outcomes to a value, a constraint maps them to a number that is <= 0 where they
are feasible. Any callable will do that judges each outcome by itself; one that has a number of its
own for every replicate gives it an axis for the points, ``lambda y: y[..., 1] - limit[..., None]``.
Smoothing must not depend on the units of Y: those here know their scale in the units of the model,
and that of any other is estimated from the observed values.

Taught in part_4/tutorial_02 and part_5/tutorial_02.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import BolearnError, DataError, ShapeError
from ..numerics import log_fatstep
from ..protocols import Surrogate, has_training_data
from ..shapes import check_number, check_tensor, is_number, is_whole
from ..transforms import Standardize

Objective = Callable[[Tensor], Tensor]
"""Maps outcomes ``... m`` to values ``...``."""
Constraint = Callable[[Tensor], Tensor]
"""Maps outcomes ``... m`` to ``...``: feasible where <= 0."""


@dataclass(frozen=True)
class Output:
    """One of the model's outputs."""

    index: int

    def __call__(self, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        """Pick the output.

        Raises:
            ShapeError: the model has no such output.
        """
        if not -y.shape[-1] <= self.index < y.shape[-1]:
            raise ShapeError(f"output({self.index}): the model has {y.shape[-1]} outputs")
        return y[..., self.index]

    def scale(self, output_scale: Float[Tensor, "*r m"]) -> Float[Tensor, "*r"]:
        """Typical size of the objective's variation, in user units."""
        return self(output_scale)


@dataclass(frozen=True)
class WeightedSum:
    """A fixed linear combination of the outputs."""

    weights: tuple[float, ...]

    def __call__(self, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        """The combination.

        Raises:
            ShapeError: not one weight for each output.
        """
        if y.shape[-1] != len(self.weights):
            raise ShapeError(
                f"weighted_sum: expected one weight for each of {y.shape[-1]} outputs, "
                f"got {len(self.weights)}"
            )
        return y @ torch.tensor(self.weights, dtype=y.dtype, device=y.device)

    def scale(self, output_scale: Float[Tensor, "*r m"]) -> Float[Tensor, "*r"]:
        """Root sum of squares of the weighted scales."""
        w = torch.tensor(self.weights, dtype=output_scale.dtype, device=output_scale.device)
        return (output_scale * w).square().sum(-1).sqrt()


def output(index: int) -> Output:
    """The objective "output number ``index``".

    Example:
        >>> output(1)(torch.tensor([3.0, 5.0], dtype=torch.float64)).item()
        5.0
    """
    if not is_whole(index):
        raise DataError(f"index: expected an int, got {index!r}")
    return Output(int(index))


def weighted_sum(*weights: float | int) -> WeightedSum:
    """The objective "sum of weight times output".

    Example:
        >>> weighted_sum(1.0, -2.0)(torch.tensor([3.0, 5.0], dtype=torch.float64)).item()
        -7.0
    """
    if not weights or not all(is_number(w) for w in weights):
        raise DataError(f"weights: expected finite numbers, got {weights}")
    if not any(weights):
        raise DataError("weights: expected at least one that is not zero")
    return WeightedSum(tuple(float(w) for w in weights))


@dataclass(frozen=True, eq=False)
class Chebyshev:
    """Several objectives as one: the worst of them, weighted, and a little of their sum.

    min_k w_k z_k + rho sum_k w_k z_k with z_k = (y_k - high_k) / (high_k - low_k): for every point
    of the front, concave parts included, there are weights that make it the maximum. The sum
    (rho > 0) leaves out points that are only weakly on the front.

    Args:
        weights: ``k`` or ``*r k``, one for each of the first k outputs; positive.
        low, high: ends of the ranges ``k`` or ``*r k``, usually nadir and ideal of the front.
        rho: weight of the sum.
    """

    weights: Tensor
    low: Tensor
    high: Tensor
    rho: float = 0.05

    def __post_init__(self) -> None:
        w, low, high = (
            check_tensor(name, getattr(self, name)) for name in ("weights", "low", "high")
        )
        if w.ndim == 0 or not w.shape[-1:] == low.shape[-1:] == high.shape[-1:]:
            raise ShapeError(
                "Chebyshev: expected weights, low and high with one number for each objective, "
                f"got shapes {tuple(w.shape)}, {tuple(low.shape)} and {tuple(high.shape)}"
            )
        if (w < 0).any() or not (w > 0).any(-1).all() or (low >= high).any():
            raise DataError("Chebyshev: expected weights >= 0, not all 0, and low < high")
        check_number("rho", self.rho, least=0.0)

    def __call__(self, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        """The scalarised value, 0 where all objectives are at ``high``."""
        w, low, high = (
            v.unsqueeze(-2) if v.ndim > 1 else v for v in (self.weights, self.low, self.high)
        )
        part = w * (y[..., : w.shape[-1]] - high) / (high - low)
        return part.amin(-1) + self.rho * part.sum(-1)


@dataclass(frozen=True)
class UpperLimit:
    """An upper limit for one outcome: y_i - bound <= 0."""

    index: int
    bound: float

    def __call__(self, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        """By how much the limit is exceeded."""
        return Output(self.index)(y) - self.bound

    def scale(self, output_scale: Float[Tensor, "*r m"]) -> Float[Tensor, "*r"]:
        """The outcome's output scale."""
        return Output(self.index)(output_scale)


@dataclass(frozen=True)
class LowerLimit:
    """A lower limit for one outcome: bound - y_i <= 0."""

    index: int
    bound: float

    def __call__(self, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        """By how much the limit is missed."""
        return self.bound - Output(self.index)(y)

    def scale(self, output_scale: Float[Tensor, "*r m"]) -> Float[Tensor, "*r"]:
        """The outcome's output scale."""
        return Output(self.index)(output_scale)


def at_most(index: int, bound: float | int) -> UpperLimit:
    """The constraint "output number ``index`` is at most ``bound``" (user units).

    Raises:
        DataError: index is not an int, or bound is not a finite number. (For limits that differ
            between replicates, write the function: ``lambda y: y[..., 1] - limit[..., None]``.)

    Example:
        >>> at_most(1, 4.0)(torch.tensor([3.0, 5.0], dtype=torch.float64)).item()
        1.0
    """
    return UpperLimit(output(index).index, _check_bound(index, bound))


def at_least(index: int, bound: float | int) -> LowerLimit:
    """The constraint "output number ``index`` is at least ``bound``" (user units).

    Raises:
        DataError: index is not an int, or bound is not a finite number.

    Example:
        >>> at_least(1, 4.0)(torch.tensor([3.0, 5.0], dtype=torch.float64)).item()
        -1.0
    """
    return LowerLimit(output(index).index, _check_bound(index, bound))


def _check_bound(index: int, bound: object) -> float:
    if isinstance(bound, Tensor) and bound.ndim:
        raise DataError(
            f"bound: expected a number, got a tensor of shape {tuple(bound.shape)}; for a limit of "
            f"its own in every replicate use lambda y: y[..., {index}] - limit[..., None]"
        )
    return check_number("bound", bound)


def check_objective(objective: object, model: Surrogate) -> Objective:
    """Check an objective: a function that judges each outcome by itself.

    Raises:
        DataError: no function, or one whose values are no floats.
        ShapeError: a function that gives anything but one number for each outcome.
    """
    if not callable(objective):
        raise DataError(
            "objective: expected a function of outcomes such as bolearn.output(0), got "
            f"{objective!r}"
        )
    _try(objective, model, "objective")
    return objective


def check_outcome_constraints(constraints: object, model: Surrogate) -> tuple[Constraint, ...]:
    """Check outcome constraints: a sequence of functions that judge each outcome by itself.

    Raises:
        DataError: something else, for example a single constraint or one that gives truth values.
        ShapeError: a function that gives anything but one number for each outcome.
    """
    if not isinstance(constraints, tuple | list) or not all(map(callable, constraints)):
        raise DataError(
            "outcome_constraints: expected a tuple of functions such as "
            f"(bolearn.at_most(1, 5.0),), got {constraints!r}"
        )
    for constraint in constraints:
        _try(constraint, model, "outcome_constraints")
    return tuple(constraints)


def _try(f: Objective, model: Surrogate, who: str) -> None:
    """See what a function makes of outcomes ``2 *r k m`` of the model, the sizes unlike each other.

    A number of each replicate that lacks the axis of the points does not fit such a k. Among
    outcomes whose k happens to be the number of replicates, it would be paired with the points.
    """
    r, m = tuple(model.batch_shape), model.num_outputs
    y = torch.zeros(*r, m, dtype=torch.float64)
    if has_training_data(model) and model.Y.shape[:-2] == r and model.Y.shape[-1] == m:
        first = model.observed.int().argmax(-1, keepdim=True).unsqueeze(-1)
        y = model.Y.detach().gather(-2, first.expand(*first.shape[:-1], m)).squeeze(-2)
    k = max(2, m, *r) + 1
    y = y.nan_to_num().unsqueeze(-2).expand(2, *r, k, m)
    try:
        with torch.no_grad():
            evaluate(f, y, who)
    except BolearnError:
        raise
    except (RuntimeError, IndexError) as error:
        raise ShapeError(
            f"{who}: expected a function of outcomes ... m with values ..., got {error} for "
            f"outcomes {tuple(y.shape)}; a number of its own for every replicate needs an axis for "
            "the points, as in lambda y: y[..., 0] - limit[..., None]"
        ) from error


def of_replicate(f: Objective, i: int, replicates: Sequence[int], m: int) -> Objective:
    """An objective or constraint as a function of the outcomes ``s k m`` of replicate i alone."""
    r = tuple(replicates)
    k = 1 + max(2, m, *r)
    y = torch.zeros(k + 1, k, m, dtype=torch.float64)  # no axis looks like that of the replicates
    try:
        with torch.no_grad():
            alone = f(y).shape == y.shape[:-1]
    except (RuntimeError, IndexError):  # it has numbers of its own for every replicate
        alone = False
    if alone:
        return f

    def own(y: Tensor) -> Tensor:
        everywhere = y.reshape(len(y), *(1,) * len(r), *y.shape[1:]).expand(-1, *r, -1, -1)
        return f(everywhere).flatten(1, len(r))[:, i]

    return own


def evaluate(f: Objective, y: Float[Tensor, "*s m"], who: str = "objective") -> Float[Tensor, "*s"]:
    """An objective or constraint of the outcomes, checked to give one number for each.

    Raises:
        DataError: values of another dtype than the outcomes', such as truth values.
        ShapeError: it gives anything else, such as one number for each output.
    """
    value = f(y)
    if not isinstance(value, Tensor) or value.shape != y.shape[:-1]:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError(
            f"{who}: expected a function of outcomes ... m with values ..., here "
            f"{tuple(y.shape)} -> {tuple(y.shape[:-1])}, got {got}; for one output use "
            "bolearn.output(i), for a combination sum over the last axis"
        )
    if value.dtype != y.dtype:
        raise DataError(
            f"{who}: expected values in {y.dtype}, got {value.dtype}; use .to({y.dtype}), and give "
            "a limit as a number that is <= 0 where it is met, such as y[..., 0] - 1.0, not as a "
            "truth value such as y[..., 0] <= 1.0"
        )
    return value


def scale_of(f: Objective, model: Surrogate) -> Float[Tensor, "*r"]:
    """Unit in which an objective's or constraint's differences are small or large.

    That of the model's outputs for objectives and constraints with a ``scale`` method and models
    with an ``output_scale``; otherwise the standard deviation of f over the observed values, as
    outputs are standardised; 1 for a model without data and where f does not vary.
    """
    output_scale = getattr(model, "output_scale", None)
    scale = getattr(f, "scale", None)
    if output_scale is not None and scale is not None:
        return scale(output_scale)  # type: ignore[no-any-return]
    if not has_training_data(model):
        return torch.ones(model.batch_shape, dtype=torch.float64)
    with torch.no_grad():
        values = f(model.Y)
        like = model.Y[..., 0]
        fits = isinstance(values, Tensor) and values.shape == like.shape
        if not fits or values.dtype != like.dtype:
            return torch.ones_like(like[..., 0])  # `evaluate` will refuse what f gives
        spread = Standardize.fit(values.unsqueeze(-1), model.observed).scale[..., 0, 0]
    return torch.where(torch.isfinite(spread), spread, 1.0)


def log_feasibility(
    y: Float[Tensor, "*s m"], constraints: Sequence[Constraint], scales: Sequence[Tensor]
) -> Float[Tensor, "*s"]:
    """log of a smooth indicator that all constraints hold, for each sampled outcome.

    Args:
        y: outcomes.
        constraints: functions of the outcomes, feasible where <= 0.
        scales: that of each (`scale_of`), which broadcasts to the leading axes of y. The step
            from infeasible to feasible is smoothed over a thousandth of it.

    Source: Ament et al. 2023, appendix A.4, arXiv:2310.20708.
    """
    total = torch.zeros_like(y[..., 0])
    for constraint, scale in zip(constraints, scales, strict=True):
        excess = evaluate(constraint, y, "outcome_constraints")
        total = total + log_fatstep(-excess / scale.to(y.device))
    return total
