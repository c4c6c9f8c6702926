r"""Expected improvement under limits of other outputs, in closed form for independent ones.

Taught in part_5/tutorial_03.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, InfeasibleError, ShapeError, UnsupportedError
from ..numerics import log_ndtr, log_ndtr_between, logmeanexp
from ..protocols import Surrogate
from .analytic import log_expected_improvement
from .checks import check_level, check_model, member_moments
from .objectives import (
    Constraint,
    LowerLimit,
    Objective,
    Output,
    UpperLimit,
    check_outcome_constraints,
    output,
)


@dataclass(frozen=True, eq=False)
class LogConstrainedExpectedImprovement:
    """log EI of one output plus the log probabilities that the others keep their limits.

    log( E max(0, f_i - best_f) x prod_j P(low_j <= f_j <= high_j) ): exact for independent outputs.

    Args:
        model: a surrogate with independent outputs, Gaussian or a mixture of Gaussians.
        best_f: value to improve on: the best feasible one, a number or one for each replicate.
            Minus infinity where nothing is feasible yet: any value would improve on that by the
            same, and the log probability alone is left.
        objective: `output` ``i``, which is maximised.
        outcome_constraints: `at_most` and `at_least` limits of other outputs.

    Raises:
        DataError: best_f is NaN or infinity or does not fit; no constraint.
        InfeasibleError: limits of an output that exclude each other.
        UnsupportedError: other kinds of objectives or constraints, or limits of the objective.

    Source: Gardner et al., "Bayesian optimization with inequality constraints", ICML 2014,
    equation 5; in log space Ament et al. 2023, arXiv:2310.20708.
    """

    model: Surrogate
    best_f: float | Tensor
    _: KW_ONLY
    objective: Output = output(0)  # noqa: RUF009  frozen, hence safe to share
    outcome_constraints: Sequence[Constraint]

    def __post_init__(self) -> None:
        check_model(self.model, type(self).__name__)
        object.__setattr__(self, "best_f", _check_best(self.best_f, self.model))
        check_outcome_constraints(self.outcome_constraints, self.model)
        limits_by_output(self.objective, self.outcome_constraints, self.model.num_outputs)

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The logarithm of the constrained expected improvement at each point."""
        means, stds = member_moments(self.model, X, type(self).__name__)
        m, i = self.model.num_outputs, self.objective.index
        known = torch.as_tensor(self.best_f) > -torch.inf
        level = torch.where(known, self.best_f, 0.0)
        value = log_expected_improvement(means[..., i], stds[..., i], level)
        value = torch.where(known, value, 0.0)
        for j, limits in limits_by_output(self.objective, self.outcome_constraints, m).items():
            value = value + log_probability_between(means[..., j], stds[..., j], *limits)
        return logmeanexp(value, 0)


def _check_best(best_f: object, model: Surrogate) -> Tensor:
    """Check a level, which may be minus infinity.

    Raises:
        DataError, ShapeError: as `check_level`.
    """
    level = best_f if isinstance(best_f, Tensor) else None
    nothing = level == -torch.inf if level is not None else best_f == -torch.inf
    if not torch.as_tensor(nothing).any():
        return check_level("best_f", best_f, model)
    if level is None:
        return torch.tensor(-torch.inf, dtype=torch.float64)
    checked = check_level("best_f", torch.where(level == -torch.inf, 0.0, level), model)
    return torch.where(level == -torch.inf, -torch.inf, checked)


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
