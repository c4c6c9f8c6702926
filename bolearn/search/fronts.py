"""Decisions from draws of the front: which points are on it, and which one to take.

Noise hides the front. Joint samples of the outcomes at the evaluated points are fronts that might
be true; averages over them answer what a decision maker asks: how sure is it that this point is on
the front, how much is dominated, which point is best under my preferences, and what may be lost by
taking it?

Taught in part_6/tutorial_02.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..acquisition.baseline import Baseline, is_feasible
from ..acquisition.objectives import (
    Constraint,
    Objective,
    check_objective,
    check_outcome_constraints,
    evaluate,
    output,
)
from ..errors import DataError, InfeasibleError
from ..pareto import hypervolume, non_dominated
from ..protocols import Surrogate
from ..sampling import Sampler
from ..shapes import check_number


@dataclass(frozen=True, eq=False)
class Decision:
    """A point to take: ``index`` (``*r``) among those asked about, and what is expected of it.

    ``value`` is its expected utility, ``regret`` how much better the best point of each draw is on
    average: what full knowledge would be worth.
    """

    index: Int[Tensor, "*r"]
    value: Float[Tensor, "*r"]
    regret: Float[Tensor, "*r"]


@dataclass(frozen=True, eq=False)
class FrontDraws:
    """Outcomes that n points might have, in s joint samples of the model's belief.

    ``values`` are the objectives, ``counts`` which points are feasible in a draw, ``on_front``
    which of those no other feasible one dominates.
    """

    values: Float[Tensor, "s *r n k"]
    counts: Bool[Tensor, "s *r n"]
    on_front: Bool[Tensor, "s *r n"]

    @property
    def probability(self) -> Float[Tensor, "*r n"]:
        """How sure it is that each point is on the front."""
        return self.on_front.to(self.values.dtype).mean(0)

    def hypervolume(self, ref_point: Float[Tensor, "..."]) -> Float[Tensor, "s *r"]:
        """The hypervolume of each draw's front above a reference point, ``k`` or ``*r k``."""
        if ref_point.ndim > 1:
            ref_point = ref_point.expand(len(self.values), *ref_point.shape)
        return hypervolume(self.values, ref_point, self.counts)

    def decide(self, utility: Callable[[Tensor], Tensor], *, sure: float = 0.5) -> Decision:
        """The point with the highest expected utility among those that are feasible enough.

        Args:
            utility: of objectives ``... k`` -> ``...``, such as ``lambda y: y.amin(-1)``.
            sure: in what share of the draws a point has to be feasible.

        Raises:
            DataError: a share outside 0 to 1.
            InfeasibleError: no point is feasible so often in some replicate.
            ShapeError: a utility that gives not one number for each outcome.
        """
        if check_number("sure", sure, least=0.0) > 1:
            raise DataError(f"sure: expected a share between 0 and 1, got {sure!r}")
        fit = self.counts.to(self.values.dtype).mean(0) >= sure
        if not fit.any(-1).all():
            raise InfeasibleError(
                f"no point is feasible in {sure:g} of the draws, in some replicate; ask with a "
                "lower sure=, or evaluate where qLogProbabilityOfFeasibility is high"
            )
        u = evaluate(utility, self.values, "utility")
        best = torch.where(fit, u.mean(0), -torch.inf).max(-1)
        known = torch.where(fit, u, -torch.inf).amax(-1).mean(0)
        return Decision(best.indices, best.values, known - best.values)


def draw_fronts(
    model: Surrogate,
    X: Float[Tensor, "*r n d"],
    *,
    objectives: Sequence[Objective] | None = None,
    outcome_constraints: Sequence[Constraint] = (),
    sampler: Sampler = Sampler(256, seed=0),  # noqa: B008  frozen, hence safe to share
) -> FrontDraws:
    """Joint samples of the outcomes at X, and which points are on the front of each.

    Args:
        model: a surrogate.
        X: points to decide between, usually those evaluated. If they have the shape of the model's
            own inputs, rows that the model masks out count in no draw; the others keep their place.
        objectives: outcome to scalar; default all outputs that no constraint of `at_most` or
            `at_least` is about.
        outcome_constraints: functions of the outcomes, feasible where <= 0.
        sampler: where the base samples come from.

    Raises:
        DataError, ShapeError: points, objectives or constraints that do not fit the model.

    Example:
        >>> import bolearn as bl
        >>> X = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
        >>> Y = torch.cat([X, 1 - X**2], dim=-1)
        >>> model = bl.ExactGP(X, Y, torch.tensor([[0.0], [1.0]], dtype=torch.float64))
        >>> fronts = draw_fronts(model, X)
        >>> fronts.probability.shape, fronts.decide(lambda y: y.amin(-1)).index.item()
        (torch.Size([3]), 1)
    """
    limits = check_outcome_constraints(outcome_constraints, model)
    if objectives is None:
        limited = {getattr(f, "index", None) for f in limits}
        m = model.num_outputs
        objectives = [output(i) for i in range(m) if not limited & {i, i - m}]
    for objective in objectives:
        check_objective(objective, model)
    with torch.no_grad():
        base = Baseline.of(model, X, sampler, output(0), (), False)
        y = base.draw_alone()
        values = torch.stack([evaluate(f, y) for f in objectives], dim=-1)
        counts = base.mask & is_feasible(y, limits)
        draws = zip(values, counts, strict=True)
        on_front = torch.stack([non_dominated(v, c, deduplicate=False) for v, c in draws])
    n = X.shape[-2]
    if base.points.shape[-2] == n and bool(base.mask.all()):
        return FrontDraws(values, counts, on_front)
    return _in_place(X, base, values, counts, on_front)


def _in_place(
    X: Tensor, base: Baseline, values: Tensor, counts: Tensor, on_front: Tensor
) -> FrontDraws:
    """The draws with every point where it stood in X; masked rows count in none."""
    seen = base.model.observed.expand(X.shape[:-1])  # type: ignore[attr-defined]
    place = (seen.long().cumsum(-1) - 1).clamp(min=0)  # *r n: which packed row a point is
    place = place.expand(len(values), *place.shape)
    at = place.unsqueeze(-1).expand(*place.shape, values.shape[-1])
    return FrontDraws(
        values.gather(-2, at), counts.gather(-1, place) & seen, on_front.gather(-1, place) & seen
    )
