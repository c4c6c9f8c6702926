"""Strategies with a model: an acquisition maximised, or paths of the model maximised.

They are frozen dataclasses: `dataclasses.replace(log_ei, model=build)` is the same strategy with
another model, where ``build(X, Y, bounds, observed)`` returns one that is not fitted.

Taught in part_4/tutorial_03.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ..acquisition.analytic import LogExpectedImprovement, UpperConfidenceBound, incumbent
from ..acquisition.monte_carlo import qLogExpectedImprovement, qLogNoisyExpectedImprovement
from ..models.exact import ExactGP
from ..protocols import Acquisition
from ..sampling import Sampler
from ..search.multi_start import optimize_acqf
from ..search.thompson import thompson as sample_maxima
from ..seeds import Seed, derive_each
from ..shapes import check_number
from .modelling import BuildModel, best_evaluated, fitted, matern_gp, with_lies
from .protocol import StudyData

BuildAcquisition = Callable[[ExactGP, Tensor, Seed], Acquisition]
"""Maps the fitted model, the best posterior mean so far (``*r``) and a seed to an acquisition."""


@dataclass(frozen=True)
class ModelBased:
    """The loop of Bayesian optimisation as a strategy: fit, build an acquisition, maximise it.

    Fits are warm-started: the hyper-parameters of the last round are the state, and join the usual
    starts. The recommendation is the evaluated point with the best posterior mean.

    Failed evaluations are left out of the fit, of `best_f` and of the recommendation. The model
    that the acquisition gets holds them, as additional rows, with the worst value observed so far
    in the replicate: a lie that keeps it from proposing them again (the constant liar of
    Ginsbourger, Le Riche & Carraro 2010).

    Args:
        acquisition: ``(model, best_f, seed) -> acquisition``.
        model: ``(X, Y, bounds, observed) -> model``; default `matern_gp`.
        num_restarts, raw_samples, sequential: as in `optimize_acqf`.

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
    batched: ClassVar[bool] = True

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """Fit, maximise the acquisition, return its best points and the hyper-parameters."""
        model = fitted(self.model, data, data.state)
        best_f = incumbent(model, data.X).value
        lied_to = with_lies(model, data, ~data.observed)
        x, _ = optimize_acqf(
            self.acquisition(lied_to, best_f, derive_each(seed, "acquisition")),
            bounds,
            q,
            num_restarts=self.num_restarts,
            raw_samples=self.raw_samples,
            sequential=self.sequential and q > 1,
            batch_shape=model.batch_shape,
            seed=derive_each(seed, "optimize"),
        )
        return x, model.hyperparameters()

    def recommend(self, data: StudyData) -> Float[Tensor, "*r d"]:
        """The evaluated point with the best posterior mean, under the last fit."""
        return best_evaluated(self.model, data, data.state)


def _log_ei(model: ExactGP, best_f: Tensor, seed: Seed) -> Acquisition:
    return LogExpectedImprovement(model, best_f=best_f)


def _q_log_ei(model: ExactGP, best_f: Tensor, seed: Seed) -> Acquisition:
    return qLogExpectedImprovement(model, best_f=best_f, sampler=Sampler(128, seed=seed))


def _q_log_nei(model: ExactGP, best_f: Tensor, seed: Seed) -> Acquisition:
    return qLogNoisyExpectedImprovement(model, X_baseline=model.X, sampler=Sampler(256, seed=seed))


log_ei = ModelBased(_log_ei)
"""Log expected improvement over the best posterior mean, one point at a time (q = 1)."""

q_log_ei = ModelBased(_q_log_ei, sequential=True)
"""Monte-Carlo log expected improvement for batches (q >= 1), chosen one after the other."""

q_log_nei = ModelBased(_q_log_nei, sequential=True)
"""Monte-Carlo log expected improvement over the evaluated points as the model believes them to be:
for noisy problems (q >= 1), chosen one after the other."""


@dataclass(frozen=True)
class _UpperConfidenceBound:
    beta: float

    def __call__(self, model: ExactGP, best_f: Tensor, seed: Seed) -> Acquisition:
        return UpperConfidenceBound(model, self.beta)


def ucb(beta: float = 4.0, *, model: BuildModel = matern_gp) -> ModelBased:
    """Upper confidence bound mean + sqrt(beta) * std, one point at a time (q = 1).

    Raises:
        DataError: beta is negative or not finite.

    Source:
        Srinivas et al., "Gaussian process optimization in the bandit setting", ICML 2010,
        arXiv:0912.3995.
    """
    check_number("beta", beta, least=0.0)
    return ModelBased(_UpperConfidenceBound(beta), model)


@dataclass(frozen=True)
class Thompson:
    """Thompson sampling: the maxima of q paths of the fitted model (`bolearn.thompson`), q >= 1.

    The paths believe that failed points gave the worst value observed, as in `ModelBased`.

    Args:
        model: ``(X, Y, bounds, observed) -> model``, with a kernel that has paths.
        num_restarts, raw_samples: for each path, as in `optimize_acqf`.
        num_features: as in `draw_paths`.
    """

    model: BuildModel = matern_gp
    num_restarts: int = 8
    raw_samples: int = 512
    num_features: int = 1024
    batched: ClassVar[bool] = True

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """Fit, draw q paths for each replicate, return their maxima and the hyper-parameters."""
        model = fitted(self.model, data, data.state)
        x, _ = sample_maxima(
            with_lies(model, data, ~data.observed),
            bounds,
            q,
            num_restarts=self.num_restarts,
            raw_samples=self.raw_samples,
            num_features=self.num_features,
            seed=seed,
        )
        return x, model.hyperparameters()

    def recommend(self, data: StudyData) -> Float[Tensor, "*r d"]:
        """The evaluated point with the best posterior mean, under the last fit."""
        return best_evaluated(self.model, data, data.state)


thompson = Thompson()
"""`Thompson` with its defaults."""
