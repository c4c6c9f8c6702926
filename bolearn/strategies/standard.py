"""Strategies with a model: an acquisition maximised, or paths of the model maximised.

They are frozen dataclasses: `dataclasses.replace(log_ei, model=build)` is the same strategy with
another model, ``replace(log_ei, model=make, fit=None)`` one with a model that needs no fit.

Taught in part_4/tutorial_03.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..acquisition.analytic import LogExpectedImprovement, UpperConfidenceBound
from ..acquisition.monte_carlo import qLogExpectedImprovement, qLogNoisyExpectedImprovement
from ..errors import UnsupportedError
from ..models.fit import fit_mll
from ..protocols import Acquisition, Surrogate
from ..sampling import Sampler, sobol_points
from ..search.multi_start import optimize_acqf
from ..search.thompson import thompson as sample_maxima
from ..seeds import Seed, derive_each
from ..shapes import check_count, check_number
from .modelling import BuildModel, FitModel, Recipe, best_evaluated, matern_gp
from .protocol import StudyData

_CHOICES = 1024  # legal points of a space among which a path is maximised

BuildAcquisition = Callable[[Any, Tensor, Seed], Acquisition]
"""Maps the fitted model, the best posterior mean so far (``*r``) and a seed to an acquisition."""


@dataclass(frozen=True)
class ModelBased:
    """The loop of Bayesian optimisation as a strategy: fit, build an acquisition, maximise it.

    Any surrogate takes part (`bolearn.strategies.modelling`): ``replace(log_ei, model=build)`` for
    another Gaussian process, ``replace(log_ei, model=bolearn.SAASGP, fit=None)`` for a model that
    is ready when it is made. Where the model has hyperparameters, fits are warm-started: those of
    the last round are the state, and join the usual starts. The recommendation is the evaluated
    point with the best posterior mean.

    Failed evaluations are left out of the fit, of `best_f` and of the recommendation. The model
    that the acquisition gets holds them, as additional rows, with the worst value observed so far
    in the replicate: a lie that keeps it from proposing them again (the constant liar of
    Ginsbourger, Le Riche & Carraro 2010).

    Args:
        acquisition: ``(model, best_f, seed) -> acquisition``.
        model: ``(X, Y, bounds, observed) -> model``; default `matern_gp`.
        fit: ``fit(model, start=...) -> model``; None for models that are ready when made, by
            ``model(X, Y, bounds, observed=..., seed=...)``.
        num_restarts, raw_samples, sequential: as in `optimize_acqf`.
        fixed: inputs held at a value, by index, as in `optimize_acqf`.
        choices: None: climb the acquisition from many starts, which needs derivatives. A tensor
            ``n d``: choose among these points. A number: among that many points of the box, a
            Sobol sequence for each round, for models without derivatives such as a forest.
        batched: False for a model that knows no replicates: called for one at a time, ``X: n d``.
        noise_free: True: values are exact, and the model is told so (``noise_free=True``); None:
            where the problem says so; False: the model learns its noise.

    Example:
        >>> import bolearn as bl
        >>> greedy = ModelBased(lambda model, best_f, seed: bl.UpperConfidenceBound(model, 0.0))
        >>> greedy.num_restarts
        16
    """

    acquisition: BuildAcquisition
    model: BuildModel = matern_gp
    num_restarts: int = 16
    raw_samples: int = 512
    sequential: bool = False
    fit: FitModel | None = fit_mll
    fixed: dict[int, float | Tensor] | None = None
    choices: Tensor | int | None = None
    batched: bool = True
    noise_free: bool | None = False

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """Fit, maximise the acquisition, return its best points and what to remember of the fit."""
        recipe, own = Recipe(self.model, self.fit, self.noise_free), derive_each(seed, "model")
        model = recipe.fitted(data, data.state, own)
        best_f = best_evaluated(model, data).value
        lied_to = recipe.with_lies(model, data, ~data.observed, own)
        acq = self.acquisition(lied_to, best_f, derive_each(seed, "acquisition"))
        look = derive_each(seed, "optimize")
        if data.space is not None:
            x = self._legal(acq, data, q, model.batch_shape, look)
        else:
            x = self._maximised(acq, bounds, q, model.batch_shape, look)
        return x, recipe.memory(model, data, own)

    def _legal(
        self, acq: Acquisition, data: StudyData, q: int, r: torch.Size, seed: Seed
    ) -> Float[Tensor, "*r q d"]:
        """Where the acquisition is highest among the legal points of a space that are left."""
        if self.choices is not None or self.fixed is not None:
            raise UnsupportedError(
                "choices and fixed belong to boxes, got a space beside them; leave them out, and "
                "give the space fewer labels instead"
            )
        if data.left is not None:
            return optimize_acqf(acq, choices=data.left, q=q, batch_shape=r).x
        x, _ = optimize_acqf(
            acq,
            q=q,
            space=data.space,
            exclude=data.excluded,
            num_restarts=self.num_restarts,
            raw_samples=self.raw_samples,
            batch_shape=r,
            seed=seed,
        )
        return x

    def _maximised(
        self, acq: Acquisition, bounds: Tensor, q: int, r: torch.Size, seed: Seed
    ) -> Float[Tensor, "*r q d"]:
        """Where the acquisition is highest: in the box, or among the choices."""
        if self.choices is not None:
            choices = self.choices
            if not isinstance(choices, Tensor):
                count = check_count("choices", choices, least=q)
                choices = sobol_points(bounds, count, seed=seed, replicates=r[0] if r else None)
            return optimize_acqf(acq, choices=choices, q=q, batch_shape=r).x
        x, _ = optimize_acqf(
            acq,
            bounds,
            q,
            num_restarts=self.num_restarts,
            raw_samples=self.raw_samples,
            sequential=self.sequential and q > 1,
            fixed=self.fixed,
            batch_shape=r,
            seed=seed,
        )
        return x

    def recommend(self, data: StudyData) -> Float[Tensor, "*r d"]:
        """The evaluated point with the best posterior mean, under the last fit."""
        return Recipe(self.model, self.fit, self.noise_free).recommended(data, data.state)


def _log_ei(model: Surrogate, best_f: Tensor, seed: Seed) -> Acquisition:
    return LogExpectedImprovement(model, best_f=best_f)


def _q_log_ei(model: Surrogate, best_f: Tensor, seed: Seed) -> Acquisition:
    return qLogExpectedImprovement(model, best_f=best_f, sampler=Sampler(128, seed=seed))


def _q_log_nei(model: Any, best_f: Tensor, seed: Seed) -> Acquisition:
    return qLogNoisyExpectedImprovement(model, X_baseline=model.X, sampler=Sampler(256, seed=seed))


log_ei = ModelBased(_log_ei)
"""Log expected improvement over the best posterior mean, one point at a time (q = 1).

Where values are noisy, `q_log_nei` is the safer choice: over six functions the two are undecided,
on a deceptive one this strategy is behind (`bolearn.incumbent` has the numbers)."""

q_log_ei = ModelBased(_q_log_ei, sequential=True)
"""Monte-Carlo log expected improvement for batches (q >= 1), chosen one after the other."""

q_log_nei = ModelBased(_q_log_nei, sequential=True)
"""Monte-Carlo log expected improvement over the evaluated points as the model believes them to be:
for noisy problems (q >= 1), chosen one after the other."""


@dataclass(frozen=True)
class _UpperConfidenceBound:
    beta: float

    def __call__(self, model: Surrogate, best_f: Tensor, seed: Seed) -> Acquisition:
        return UpperConfidenceBound(model, self.beta)


def ucb(
    beta: float = 4.0, *, model: BuildModel = matern_gp, fit: FitModel | None = fit_mll
) -> ModelBased:
    """Upper confidence bound mean + sqrt(beta) * std, one point at a time (q = 1).

    Raises:
        DataError: beta is negative or not finite.

    Source:
        Srinivas et al., "Gaussian process optimization in the bandit setting", ICML 2010,
        arXiv:0912.3995.
    """
    beta = check_number("beta", beta, least=0.0)
    return ModelBased(_UpperConfidenceBound(beta), model, fit=fit)


@dataclass(frozen=True)
class Thompson:
    """Thompson sampling: the maxima of q paths of the fitted model (`bolearn.thompson`), q >= 1.

    The paths believe that failed points gave the worst value observed, as in `ModelBased`.

    Args:
        model, fit, noise_free: as in `ModelBased`; with a kernel that has paths, or a method
            ``draw_paths``.
        num_restarts, raw_samples: for each path, as in `optimize_acqf`.
        num_features: as in `draw_paths`.
    """

    model: BuildModel = matern_gp
    num_restarts: int = 8
    raw_samples: int = 512
    num_features: int = 1024
    fit: FitModel | None = fit_mll
    batched: bool = True
    noise_free: bool | None = False

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """Fit, draw q paths for each replicate, return their maxima and what to remember."""
        recipe, own = Recipe(self.model, self.fit, self.noise_free), derive_each(seed, "model")
        model = recipe.fitted(data, data.state, own)
        told = recipe.with_lies(model, data, ~data.observed, own)
        if data.space is not None:
            r = data.X.shape[0] if data.X.ndim == 3 else None
            choices = _choices(data, max(q, _CHOICES), derive_each(seed, "choices"), r)
            x, _ = sample_maxima(
                told, choices=choices, q=q, num_features=self.num_features, seed=seed
            )
            return x, recipe.memory(model, data, own)
        x, _ = sample_maxima(
            told,
            bounds,
            q,
            num_restarts=self.num_restarts,
            raw_samples=self.raw_samples,
            num_features=self.num_features,
            seed=seed,
        )
        return x, recipe.memory(model, data, own)

    def recommend(self, data: StudyData) -> Float[Tensor, "*r d"]:
        """The evaluated point with the best posterior mean, under the last fit."""
        return Recipe(self.model, self.fit, self.noise_free).recommended(data, data.state)


def _choices(
    data: StudyData, most: int, seed: Seed, replicates: int | None
) -> Float[Tensor, "*r n d"]:
    """Legal points of a space that are left: all of them where they are few."""
    assert data.space is not None
    if data.left is not None:
        return data.left
    gone, count = data.excluded, most
    if data.space.lattice.discrete.all():
        excluded = 0 if gone is None else gone.shape[-2]
        try:
            count = min(most, int(data.space.num_designs) - excluded)
        except UnsupportedError:
            count = most
    design = data.space.sobol(max(count, 1), seed, replicates, exclude=gone)
    return design.to(data.X.device)


thompson = Thompson()
"""`Thompson` with its defaults."""
