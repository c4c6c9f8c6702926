"""The incumbent: the point believed best, which improvements are measured from.

Taught in part_3/tutorial_04.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InfeasibleError
from ..protocols import Surrogate, has_training_data
from ..shapes import check_tensor
from .checks import check_model, check_single_output
from .objectives import (
    Constraint,
    Objective,
    check_objective,
    check_outcome_constraints,
    evaluate,
)


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

    Under noise, which level an improvement has to beat is a choice, too. Measured
    (``benchmarks/incumbent.py``: six functions, noise with 5 % and 30 % of their spread, 64 paired
    runs): against the highest observation, and against `qLogNoisyExpectedImprovement`, which leaves
    the level open, this one is *undecided* over all (their final regrets are lower by 0.05 of the
    spread, 2.2 and 2.1 standard errors; about 220 runs would decide), and behind both on the
    deceptive `GoldMine1d` at 30 % (by 0.18, 4.6 and 4.5 standard errors in 128 runs). To evaluate
    the point believed best a second time first is worse (by 0.12, 4.9 standard errors).

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
