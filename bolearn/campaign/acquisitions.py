"""What a proposal maximises: the improvement that the goals ask for, and the chance to get it.

Taught in part_5/tutorial_04.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..acquisition.monte_carlo import qLogNoisyExpectedImprovement
from ..acquisition.multi_objective import qLogNoisyExpectedHypervolumeImprovement
from ..acquisition.objectives import Constraint, Objective, at_least, at_most, output
from ..pareto import infer_reference_point
from ..sampling import Sampler
from ..seeds import derive, uniform
from .beliefs import Beliefs, counted
from .goals import Goals
from .trial import Trial

_SAMPLES = 128
_AUGMENTED = 0.05  # weight of the sum beside the worst objective, as in ParEGO
_FRONTS = 3  # objectives up to which hypervolumes are cheap enough to wait for
_JOINTLY = 9  # pending points that a hypervolume is judged jointly with


def by_hypervolume(goals: Goals, pending: int) -> bool:
    """Whether several objectives are met by hypervolumes, not by scalarising them."""
    return 1 < len(goals.objectives) <= _FRONTS and pending <= _JOINTLY


def acquisition(
    goals: Goals, trials: Sequence[Trial], beliefs: Beliefs, pending: Sequence[Tensor], seed: int
) -> Any:
    """What the next point is to maximise.

    Args:
        goals: of the campaign.
        trials: all of them.
        beliefs: models of the outcomes of the goals, objectives first.
        pending: codes on their way.
        seed: of the proposal.
    """
    sampler = Sampler(_SAMPLES, seed=derive(seed, "samples"))
    aims, limits = goals.objectives, _constraints(goals, trials)
    found: Any
    if by_hypervolume(goals, len(pending)):
        found = qLogNoisyExpectedHypervolumeImprovement(
            beliefs.model,
            X_baseline=beliefs.baseline_X,
            ref_point=infer_reference_point(_signed(goals, trials)),
            objectives=tuple(Signed(i, aim.sign) for i, aim in enumerate(aims)),
            outcome_constraints=limits,
            sampler=sampler,
        )
    else:
        found = qLogNoisyExpectedImprovement(
            beliefs.model,
            X_baseline=beliefs.baseline_X,
            objective=_objective(goals, trials, seed),
            outcome_constraints=limits,
            sampler=sampler,
        )
    if beliefs.success is not None:
        found = Promising(found, beliefs)
    return found.with_pending(torch.stack(list(pending))) if pending else found


def _signed(goals: Goals, trials: Sequence[Trial]) -> Float[Tensor, "n k"]:
    """Objectives to maximise of trials that have them all; of those that keep limits, if any do."""
    base, aims = baseline_of(trials), goals.objectives
    told = [{k: m.mean for k, m in counted(t).items()} for t in trials]
    whole = [v for v in told if all(o.outcome in v for o in aims)]
    good = [v for v in whole if not goals.broken(v, base)] or whole
    if not good:  # no trial has all: each objective by its own
        parts = [[o.sign * v[o.outcome] for v in told if o.outcome in v] for o in aims]
        return torch.tensor([[min(p) for p in parts], [max(p) for p in parts]], dtype=torch.float64)
    return torch.tensor([[o.sign * v[o.outcome] for o in aims] for v in good], dtype=torch.float64)


def _objective(goals: Goals, trials: Sequence[Trial], seed: int) -> Objective:
    """The goals as one number to maximise."""
    aims = goals.objectives
    if len(aims) == 1:
        return output(0) if aims[0].maximize else Signed(0, -1.0)
    raw = -uniform([derive(seed, "weights")], (len(aims),))[0].log()  # uniform on the simplex
    weights = (raw / raw.sum()).tolist()
    lowest, width = [], []
    for aim in aims:
        seen = [aim.sign * m.mean for t in trials if (m := counted(t).get(aim.outcome))]
        lowest.append(min(seen))
        width.append((max(seen) - min(seen)) or 1.0)
    signs = tuple(aim.sign for aim in aims)
    return Chebyshev(signs, tuple(weights), tuple(lowest), tuple(width))


def _constraints(goals: Goals, trials: Sequence[Trial]) -> tuple[Constraint, ...]:
    """The limits as constraints of the model's outputs."""
    found: list[Constraint] = []
    base = baseline_of(trials)
    for limit in goals.limits:
        index = goals.outcomes.index(limit.outcome)
        bound = limit.bound(base.get(limit.outcome))
        found.append(at_most(index, bound) if limit.upper else at_least(index, bound))
    return tuple(found)


def baseline_of(trials: Sequence[Trial]) -> dict[str, float]:
    """Mean of each outcome over all measurements of the baseline."""
    found: dict[str, list[float]] = {}
    for trial in trials:
        if trial.baseline:
            for name, m in counted(trial).items():
                found.setdefault(name, []).extend(m.values)
    return {name: math.fsum(v) / len(v) for name, v in found.items()}


@dataclass(frozen=True, eq=False)
class Promising:
    """An acquisition plus log P(success): points that will probably fail promise little."""

    acquisition: Any
    beliefs: Beliefs

    @property
    def model(self) -> Any:
        """What searches look at for starts."""
        return self.acquisition.model

    def __call__(self, X: Float[Tensor, "*batch q d"]) -> Float[Tensor, "*batch"]:
        value = self.acquisition(X)
        return value + self.beliefs.log_success(X)  # type: ignore[no-any-return]

    def with_pending(self, X: Float[Tensor, "p d"]) -> "Promising":
        """The same, given further points on their way."""
        return Promising(self.acquisition.with_pending(X), self.beliefs)


@dataclass(frozen=True)
class Signed:
    """The objective "sign times output i"."""

    index: int
    sign: float

    def __call__(self, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        return self.sign * y[..., self.index]

    def scale(self, output_scale: Float[Tensor, "*r m"]) -> Float[Tensor, "*r"]:
        """The output's own."""
        return output_scale[..., self.index]


@dataclass(frozen=True)
class Chebyshev:
    """min_i w_i u_i + 0.05 sum_i w_i u_i of objectives u, each scaled by the values seen to 0...1.

    Args:
        signs: +1 or -1 for each output that is an objective, the first outputs.
        weights: positive, sum 1.
        lowest, width: of the signed values seen.
    """

    signs: tuple[float, ...]
    weights: tuple[float, ...]
    lowest: tuple[float, ...]
    width: tuple[float, ...]

    def __call__(self, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        signs, w, low, width = (
            torch.tensor(v, dtype=y.dtype)
            for v in (self.signs, self.weights, self.lowest, self.width)
        )
        u = w * (signs * y[..., : len(self.signs)] - low) / width
        return u.amin(-1) + _AUGMENTED * u.sum(-1)
