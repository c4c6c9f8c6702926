"""Strategies that value what an observation tells: knowledge gradient and entropy search.

They do not aim to observe a high value, so what they hand over is the maximum of the posterior mean
over the whole box, observed or not: inference regret is the regret to look at.

Taught in part_4/tutorial_05.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..acquisition.entropy import GIBBON, JointEntropySearch, MaxValueEntropySearch
from ..acquisition.lookahead import qLogKnowledgeGradient
from ..errors import UnsupportedError
from ..models.fit import fit_mll
from ..protocols import Acquisition
from ..search.lookahead import knowledge_gradient_points, optimize_knowledge_gradient
from ..search.multi_start import optimize_acqf
from ..search.optima import Optima, sample_optima
from ..search.recommend import recommend
from ..seeds import Seed, derive, derive_each
from .modelling import BuildModel, FitModel, Recipe, matern_gp
from .protocol import StudyData
from .standard import BuildAcquisition, ModelBased


@dataclass(frozen=True)
class KnowledgeGradient:
    """Where an observation raises the best posterior mean most, on average (q >= 1).

    `optimize_knowledge_gradient`; of q > 1 points each further one is what adds most to those
    chosen, over outcomes imagined there. A failed point counts as in `ModelBased`.

    Args:
        model, fit: as in `ModelBased`; a Gaussian process with a kernel that has paths, unless
            ``num_paths=0``.
        num_restarts, raw_samples, num_paths, rounds: as in `optimize_knowledge_gradient`.
    """

    model: BuildModel = matern_gp
    num_restarts: int = 16
    raw_samples: int = 512
    num_paths: int = 32
    rounds: tuple[int, ...] = (8, 4, 2, 2)
    fit: FitModel | None = fit_mll
    batched: bool = True

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """Fit, maximise the knowledge gradient, return its maxima and what to remember."""
        recipe, own = Recipe(self.model, self.fit), derive_each(seed, "model")
        model = recipe.fitted(data, data.state, own)
        lied_to = recipe.with_lies(model, data, ~data.observed, own)
        points = knowledge_gradient_points(
            lied_to, bounds, num_paths=self.num_paths, seed=derive_each(seed, "set")
        )
        found = optimize_knowledge_gradient(
            lied_to,
            bounds,
            points=points,
            num_restarts=self.num_restarts,
            raw_samples=self.raw_samples,
            rounds=self.rounds,
            seed=seed,
        )
        chosen = [found.x]
        for i in range(1, q):
            acq = qLogKnowledgeGradient(lied_to, points, X_pending=torch.cat(chosen, dim=-2))
            further = optimize_acqf(
                acq,
                bounds,
                num_restarts=self.num_restarts,
                raw_samples=self.raw_samples,
                seed=derive_each(seed, "further", i),
            )
            chosen.append(further.x)
        return torch.cat(chosen, dim=-2), recipe.memory(model, data, own)

    def recommend(self, data: StudyData) -> Float[Tensor, "*r d"]:
        """The maximum of the posterior mean in the box, under the last fit."""
        return _highest_mean(Recipe(self.model, self.fit), data)


@dataclass(frozen=True)
class EntropySearch(ModelBased):
    """An information gain maximised as any acquisition; hands over the maximum of the mean.

    Args: as `ModelBased`, with ``acquisition`` one of the three below.
    """

    def recommend(self, data: StudyData) -> Float[Tensor, "*r d"]:
        """The maximum of the posterior mean in the box, under the last fit."""
        return _highest_mean(Recipe(self.model, self.fit), data)


@dataclass(frozen=True)
class AboutMaximum:
    """Builds an entropy search from samples of the optimum in the model's box.

    Args:
        kind: `MaxValueEntropySearch`, `GIBBON` or `JointEntropySearch`.
        num_samples: of the optimum.
    """

    kind: type[MaxValueEntropySearch] | type[GIBBON] | type[JointEntropySearch]
    num_samples: int = 16

    def __call__(self, model: Any, best_f: Tensor, seed: Seed) -> Acquisition:
        """The acquisition of a fitted model.

        Raises:
            UnsupportedError: a model that has no bounds, or no paths.
        """
        bounds = getattr(model, "bounds", None)
        if bounds is None:
            raise UnsupportedError(
                f"{self.kind.__name__}: expected a model with bounds, in which its optimum is, got "
                f"{type(model).__name__}; use an ExactGP"
            )
        optima: Optima = sample_optima(model, bounds, self.num_samples, seed=seed)
        if issubclass(self.kind, JointEntropySearch):
            return self.kind(model, optima.x, optima.value)
        return self.kind(model, optima.value)


def _highest_mean(recipe: Recipe, data: StudyData) -> Float[Tensor, "*r d"]:
    """Where the model of a strategy's last round, told of all data, is highest."""
    model = recipe.current(data, data.state)
    # no new chance: the same data, the same recommendation
    return recommend(model, data.bounds, seed=derive(0, "recommend")).x


def _entropy_search(acquisition: BuildAcquisition) -> EntropySearch:
    return EntropySearch(acquisition, num_restarts=8, sequential=True)


knowledge_gradient = KnowledgeGradient()
"""`KnowledgeGradient` with its defaults."""

max_value_entropy = _entropy_search(AboutMaximum(MaxValueEntropySearch))
"""Max-value entropy search: information about f*, noise included (q >= 1)."""

gibbon = _entropy_search(AboutMaximum(GIBBON))
"""GIBBON: a lower bound of the same information, cheaper (q >= 1)."""

joint_entropy = _entropy_search(AboutMaximum(JointEntropySearch))
"""Joint entropy search: information about the maximum and its place (q >= 1)."""
