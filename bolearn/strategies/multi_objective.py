"""Strategies for several objectives: hypervolume improvement, and ParEGO's random scalarisations.

They maximise the first outputs, as many as the reference point has entries, under the constraints
that the problem has. Nothing is recommended: what they hand over is all they have evaluated.

Taught in part_6/tutorial_02.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..acquisition.hypervolume_analytic import LogNoisyExpectedHypervolumeImprovement
from ..acquisition.monte_carlo import qLogNoisyExpectedImprovement
from ..acquisition.multi_objective import (
    qLogExpectedHypervolumeImprovement,
    qLogNoisyExpectedHypervolumeImprovement,
)
from ..acquisition.objectives import Chebyshev, Constraint, at_most
from ..errors import UnsupportedError
from ..models.fit import fit_mll
from ..pareto import infer_reference_point, non_dominated
from ..posteriors import GaussianPosterior
from ..protocols import Acquisition
from ..sampling import Sampler
from ..search.multi_start import optimize_acqf
from ..seeds import Seed, derive, derive_each, replicate_seeds, uniform
from .modelling import BuildModel, FitModel, Recipe, matern_gp
from .protocol import StudyData


@dataclass(frozen=True, eq=False)
class Goal:
    """What is wanted of the outputs: several maximised, the last ones <= 0.

    ``feasible`` says which of the model's rows meet the constraints and count at all.
    """

    ref_point: Float[Tensor, "*r k"]
    limits: Sequence[Constraint]
    feasible: Bool[Tensor, "*r n"]

    @staticmethod
    def of(data: StudyData) -> "Goal":
        """The goal of a study; without a reference point of its own, one from the initial design.

        Raises:
            UnsupportedError: fewer than two objectives.
        """
        m, constraints = data.Y.shape[-1], data.num_constraints
        k = m - constraints
        if k < 2:
            raise UnsupportedError(
                f"strategies for several objectives: expected a problem with at least two, got {k} "
                f"(of {m} outputs, {constraints} are constraints); use strategies.q_log_nei"
            )
        met = data.observed & (data.Y[..., k:] <= 0).all(-1)
        ref = data.ref_point
        if ref is None:
            start, seen = data.Y[..., : data.n_init, :k], data.observed[..., : data.n_init]
            first = met[..., : data.n_init]
            ref = infer_reference_point(
                start, torch.where(first.any(-1, keepdim=True), first, seen)
            )
        limits = tuple(at_most(i, 0.0) for i in range(k, m))
        return Goal(ref.expand(*data.Y.shape[:-2], k), limits, met)


BuildForGoal = Callable[[Any, Goal, Seed], Acquisition]
"""Maps the fitted model, the goal and a seed to an acquisition."""


@dataclass(frozen=True)
class MultiObjective:
    """Fit, build an acquisition for the goal, maximise it; q points one after the other.

    Failed evaluations count as in `ModelBased`: the model that the acquisition gets is told the
    worst value of every output there.

    Args:
        acquisition: ``(model, goal, seed) -> acquisition``; with ``anew=True`` one for each of q
            points, which is told of those before by ``with_pending``.
        model, fit, noise_free, num_restarts, raw_samples: as in `ModelBased`.
        sequential: False: all q points jointly, where they share an acquisition.
        anew: whether every one of q points has an acquisition of its own.
    """

    acquisition: BuildForGoal
    model: BuildModel = matern_gp
    num_restarts: int = 8
    raw_samples: int = 256
    sequential: bool = True
    anew: bool = False
    fit: FitModel | None = fit_mll
    noise_free: bool | None = None
    batched: bool = True

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """Fit, maximise the acquisition, return its best points and what to remember of the fit."""
        recipe, own = Recipe(self.model, self.fit, self.noise_free), derive_each(seed, "model")
        model = recipe.fitted(data, data.state, own)
        told = recipe.with_lies(model, data, ~data.observed, own, data.num_constraints)
        goal = Goal.of(data)
        if not self.anew:
            acq = self.acquisition(told, goal, derive_each(seed, "acquisition"))
            x = self._maximised(acq, data, bounds, q, derive_each(seed, "optimize"))
            return x, _memory(recipe, model)
        chosen: list[Tensor] = []
        for i in range(q):
            acq = self.acquisition(told, goal, derive_each(seed, "acquisition", i))
            given: Any = acq
            acq = given.with_pending(torch.cat(chosen, dim=-2)) if chosen else acq
            chosen.append(self._maximised(acq, data, bounds, 1, derive_each(seed, "optimize", i)))
        return torch.cat(chosen, dim=-2), _memory(recipe, model)

    def _maximised(
        self, acq: Acquisition, data: StudyData, bounds: Tensor, q: int, seed: Seed
    ) -> Float[Tensor, "*r q d"]:
        """Where the acquisition is highest: in the box, or among the legal points of a space."""
        options: dict[str, Any] = {
            "num_restarts": self.num_restarts,
            "raw_samples": self.raw_samples,
            "batch_shape": data.X.shape[:-2],
            "seed": seed,
        }
        if data.space is not None:
            return optimize_acqf(acq, q=q, space=data.space, exclude=data.excluded, **options).x
        return optimize_acqf(acq, bounds, q, sequential=self.sequential and q > 1, **options).x


def _memory(recipe: Recipe, model: Any) -> object:
    """What the next round should know of this one's model: hyperparameters, if it has any."""
    known = getattr(model, "hyperparameters", None)
    return known() if recipe.fit is not None and callable(known) else None


def _log_nehvi(model: Any, goal: Goal, seed: Seed) -> Acquisition:
    """In closed form given the front, where the belief is Gaussian: 32 fronts are enough then."""
    if not isinstance(model.posterior(model.X[..., :1, :]), GaussianPosterior):
        return _q_log_nehvi(model, goal, seed)
    return LogNoisyExpectedHypervolumeImprovement(
        model,
        goal.ref_point,
        model.X,
        outcome_constraints=goal.limits,
        sampler=Sampler(32, seed=seed),
    )


def _q_log_nehvi(model: Any, goal: Goal, seed: Seed) -> Acquisition:
    return qLogNoisyExpectedHypervolumeImprovement(
        model,
        goal.ref_point,
        model.X,
        outcome_constraints=goal.limits,
        sampler=Sampler(64, seed=seed),
    )


def _log_ehvi(model: Any, goal: Goal, seed: Seed) -> Acquisition:
    """Over the front of the posterior means, infeasible points left out."""
    ref = goal.ref_point
    k = ref.shape[-1]
    means = model.posterior(model.X).mean.detach()
    counts = model.observed & (means[..., k:] <= 0).all(-1)
    front = torch.where(counts.unsqueeze(-1), means[..., :k], ref.unsqueeze(-2))
    return qLogExpectedHypervolumeImprovement(
        model, ref, front, outcome_constraints=goal.limits, sampler=Sampler(64, seed=seed)
    )


def _parego(model: Any, goal: Goal, seed: Seed) -> Acquisition:
    """Noisy expected improvement of one random scalarisation of the objectives."""
    k = goal.ref_point.shape[-1]
    Y, counts = model.Y[..., :k], model.observed
    met = torch.zeros_like(counts)
    met[..., : goal.feasible.shape[-1]] = goal.feasible[..., : counts.shape[-1]]
    counts = torch.where(met.any(-1, keepdim=True), met, counts)
    on_front = non_dominated(torch.where(counts.unsqueeze(-1), Y, 0.0), counts, False)
    ideal = torch.where(on_front.unsqueeze(-1), Y, -torch.inf).amax(-2)
    nadir = torch.where(on_front.unsqueeze(-1), Y, torch.inf).amin(-2)
    # a front that does not vary in an objective: a thousandth of what the data vary
    seen = model.observed.unsqueeze(-1)
    worst = torch.where(seen, Y, torch.inf).amin(-2)
    width = torch.where(seen, Y, -torch.inf).amax(-2) - worst
    least = ideal - 1e-3 * torch.where(width > 0, width, ideal.abs().clamp(min=1e-9))
    low = torch.minimum(torch.maximum(nadir, goal.ref_point), least)
    batch = tuple(model.batch_shape)
    streams = [derive(one, "weights") for one in replicate_seeds(seed, batch)]
    e = -uniform(streams, (k,), Y.device).log()  # uniform on the simplex
    weights = (e / e.sum(-1, keepdim=True)).reshape(*batch, k)
    return qLogNoisyExpectedImprovement(
        model,
        model.X,
        objective=Chebyshev(weights, low, ideal),
        outcome_constraints=goal.limits,
        sampler=Sampler(128, seed=derive_each(seed, "draws")),
    )


log_nehvi = MultiObjective(_log_nehvi)
"""Log noisy expected hypervolume improvement (q >= 1), chosen one after the other."""

q_log_nehvi = MultiObjective(_q_log_nehvi, sequential=False)
"""The same for q points chosen jointly, with sampled outcomes."""

log_ehvi = MultiObjective(_log_ehvi)
"""Log expected hypervolume improvement over the front of the posterior means (q >= 1)."""

parego = MultiObjective(_parego, anew=True)
"""ParEGO: every point maximises the improvement of an augmented Chebyshev scalarisation with
weights of its own, drawn uniformly (q >= 1).

Source: Knowles, "ParEGO: a hybrid algorithm with on-line landscape approximation for expensive
multiobjective optimization problems", IEEE Trans. Evolutionary Computation 10, 2006; with a model
of each objective instead of their scalarisation as in Daulton et al. 2020, arXiv:2006.05078."""
