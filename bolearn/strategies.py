"""Strategies for studies: functions that look at the data and say where to evaluate next.

A strategy is any callable ``(data, bounds, q, seed) -> X`` or ``-> (X, state)``; your own method
joins a study in five lines. `data` is a `StudyData` with a leading replicate axis, `seed` holds one
int for each replicate and is already specific to the round. Three optional attributes:

    batched          True: trusted with all replicates at once; False: called replicate by
                     replicate with ``X: n d``, ``seed: int`` and returns ``q d``; absent: found out
    recommend(data)  the point ``R d`` it would hand over now; gives inference regret
    state            what it returns beside X comes back as ``data.state`` in the next round

Taught in part_4/tutorial_03.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .acquisition.analytic import LogExpectedImprovement, UpperConfidenceBound, incumbent
from .acquisition.monte_carlo import qLogExpectedImprovement
from .errors import UnsupportedError
from .models.exact import ExactGP
from .models.fit import fit_mll
from .optim.multi_start import optimize_acqf
from .protocols import Acquisition
from .sampling import Sampler, sobol_points
from .seeds import Seed, derive, derive_each, replicate_seeds, uniform


@dataclass(frozen=True, eq=False)
class StudyData:
    """What a strategy may look at in one round.

    `Y` is NaN where `observed` is False: that evaluation failed. `X_pending` holds points that are
    being evaluated elsewhere; in a study nothing is pending and it is None. `round` counts from 0,
    the first `n_init` points are the shared initial design.
    """

    X: Float[Tensor, "*r n d"]
    Y: Float[Tensor, "*r n m"]
    observed: Bool[Tensor, "*r n"]
    bounds: Float[Tensor, "2 d"]
    X_pending: Float[Tensor, "*r p d"] | None
    round: int
    n_init: int
    state: object = None


@runtime_checkable
class Strategy(Protocol):
    """Proposes q points for each replicate, with or without a new state."""

    def __call__(
        self, data: StudyData, bounds: Tensor, q: int, seed: Seed, /
    ) -> Tensor | tuple[Tensor, object]:
        """Return ``R q d`` points inside the bounds, or those and a state."""


def random(
    data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
) -> Float[Tensor, "*r q d"]:
    """Uniform random search: the baseline that every method has to beat.

    Example:
        >>> bounds = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
        >>> X = torch.zeros(3, 1, 2, dtype=torch.float64)
        >>> seen = torch.ones(3, 1, dtype=torch.bool)
        >>> data = StudyData(X, X[..., :1], seen, bounds, None, round=0, n_init=1)
        >>> random(data, bounds, 4, (7, 8, 9)).shape
        torch.Size([3, 4, 2])
    """
    replicates, d = data.X.shape[:-2], data.X.shape[-1]
    u = uniform(replicate_seeds(seed, replicates), (q, d), bounds.device)
    return (bounds[0] + (bounds[1] - bounds[0]) * u).reshape(*replicates, q, d)


def sobol(
    data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
) -> tuple[Float[Tensor, "*r q d"], object]:
    """Quasi-random search: one scrambled Sobol sequence for each replicate, continued every round.

    The state is (seed of the sequence, points already drawn).

    Source:
        Sobol', USSR Comp. Math. 7 (1967); scrambling: Owen, J. Complexity 14 (1998).
    """
    start, drawn = cast("tuple[Seed, int]", data.state or (seed, 0))
    replicates = data.X.shape[0] if data.X.ndim == 3 else None
    points = sobol_points(bounds, drawn + q, seed=start, replicates=replicates)
    return points[..., drawn:, :], (start, drawn + q)


BuildModel = Callable[[Tensor, Tensor, Tensor, Tensor | None], ExactGP]
"""Maps X, Y, bounds and observed to a model that is not yet fitted."""

BuildAcquisition = Callable[[ExactGP, Tensor, Seed], Acquisition]
"""Maps the fitted model, the best posterior mean so far (``*r``) and a seed to an acquisition."""


def _exact_gp(X: Tensor, Y: Tensor, bounds: Tensor, observed: Tensor | None) -> ExactGP:
    return ExactGP(X, Y, bounds, observed=observed)


@dataclass(frozen=True)
class ModelBased:
    """The loop of Bayesian optimisation as a strategy: fit, build an acquisition, maximise it.

    Fits are warm-started: the hyper-parameters of the last round are the state, and join the usual
    starts. The recommendation is the evaluated point with the best posterior mean.

    Args:
        acquisition: ``(model, best_f, seed) -> acquisition``.
        model: ``(X, Y, bounds, observed) -> model``; default: `ExactGP` with its defaults.
        num_restarts, raw_samples, sequential: as in `optimize_acqf`.

    Example:
        >>> import bolearn as bl
        >>> greedy = ModelBased(lambda model, best_f, seed: bl.UpperConfidenceBound(model, 0.0))
        >>> greedy.num_restarts
        16
    """

    acquisition: BuildAcquisition
    model: BuildModel = _exact_gp
    num_restarts: int = 16
    raw_samples: int = 512
    sequential: bool = False
    batched: ClassVar[bool] = True

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """Fit, maximise the acquisition, return its best points and the hyper-parameters."""
        model = self._model(data)
        model = fit_mll(model, start=cast("dict[str, Tensor] | None", data.state))
        best_f = incumbent(model, data.X).value
        x, _ = optimize_acqf(
            self.acquisition(model, best_f, derive_each(seed, "acquisition")),
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
        model = self._model(data)
        if data.state is None:
            model = fit_mll(model)
        else:
            model = model.with_hyperparameters(**cast("dict[str, Tensor]", data.state))
        return incumbent(model, data.X).x

    def _model(self, data: StudyData) -> ExactGP:
        observed = None if bool(data.observed.all()) else data.observed
        return self.model(data.X, data.Y, data.bounds, observed)


def _log_ei(model: ExactGP, best_f: Tensor, seed: Seed) -> Acquisition:
    return LogExpectedImprovement(model, best_f=best_f)


def _q_log_ei(model: ExactGP, best_f: Tensor, seed: Seed) -> Acquisition:
    return qLogExpectedImprovement(model, best_f=best_f, sampler=Sampler(128, seed=seed))


log_ei = ModelBased(_log_ei)
"""Log expected improvement over the best posterior mean, one point at a time (q = 1)."""

q_log_ei = ModelBased(_q_log_ei, sequential=True)
"""Monte-Carlo log expected improvement for batches (q >= 1), chosen one after the other."""


def ucb(beta: float = 4.0) -> ModelBased:
    """Upper confidence bound mean + sqrt(beta) * std, one point at a time (q = 1).

    Source:
        Srinivas et al., "Gaussian process optimization in the bandit setting", ICML 2010,
        arXiv:0912.3995.
    """
    return ModelBased(lambda model, best_f, seed: UpperConfidenceBound(model, beta))


class _Ask(Exception):
    """Carries the point at which a replayed optimiser wants its next value."""

    def __init__(self, point: Any) -> None:
        super().__init__()
        self.point = point


@dataclass(frozen=True)
class NelderMead:
    """Nelder and Mead's simplex search with restarts: a baseline without a model (q = 1).

    The first simplex stands at the best point of the initial design, later ones at random points,
    each time the old simplex has become smaller than `tolerance`. SciPy's method wants to call a
    function; here it is replayed on the recorded values and stopped where it asks for a new one.

    Args:
        step: edge of a new simplex, as a fraction of the box.
        tolerance: size of the simplex at which to restart, as a fraction of the box.

    Source:
        Nelder & Mead, Computer J. 7 (1965); Gao & Han, Comput. Optim. Appl. 51 (2012).
    """

    step: float = 0.2
    tolerance: float = 1e-3
    batched: ClassVar[bool] = False

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "1 d"], object]:
        """The next point of the simplex search for one replicate; the state is its seed."""
        import numpy as np
        from scipy.optimize import minimize

        if q != 1:
            raise UnsupportedError(f"nelder_mead proposes one point at a time, got q={q}; use q=1")
        start = seed if data.state is None else data.state
        assert isinstance(start, int)  # batched = False: one replicate at a time
        lower, width = bounds[0], bounds[1] - bounds[0]
        # SciPy minimises; a failed evaluation is worse than anything, yet finite
        loss = torch.where(data.observed, -data.Y[:, 0], 1e300)
        recorded = iter(loss[data.n_init :].tolist())

        def replay(u: Any) -> float:
            for value in recorded:
                return float(value)
            raise _Ask(u.copy())

        d, restart = len(lower), 0
        while True:
            if restart == 0:
                corner = ((data.X[loss[: data.n_init].argmin()] - lower) / width).cpu().numpy()
            else:
                corner = uniform([derive(start, "restart", restart)], (d,))[0].numpy()
            edges = np.diag(np.where(corner > 0.5, -self.step, self.step))
            simplex = np.clip(np.vstack([corner, corner + edges]), 0.0, 1.0)
            options = {
                "initial_simplex": simplex,
                "xatol": self.tolerance,
                "fatol": np.inf,
                "adaptive": True,
                "maxfev": 10**9,
                "maxiter": 10**9,
            }
            try:
                minimize(
                    replay, corner, method="Nelder-Mead", bounds=[(0.0, 1.0)] * d, options=options
                )
            except _Ask as ask:
                u = torch.from_numpy(ask.point).to(bounds)
                return (lower + width * u).unsqueeze(0), start
            restart += 1


nelder_mead = NelderMead()
"""`NelderMead` with its defaults."""
