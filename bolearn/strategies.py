"""Strategies for studies: functions that look at the data and say where to evaluate next.

A strategy is any callable ``(data, bounds, q, seed) -> X`` or ``-> (X, state)``; your own method
joins a study in five lines. `data` is a `StudyData` with a leading replicate axis, `seed` holds one
int for each replicate and is already specific to the round. Three optional attributes:

    batched          True: trusted with all replicates at once; False: called replicate by
                     replicate with ``X: n d``, ``seed: int`` and returns ``q d``; absent: found out
    recommend(data)  the point ``R d`` it would hand over now; gives inference regret
    state            what it returns beside X comes back as ``data.state`` in the next round

Those with a model are frozen dataclasses: `dataclasses.replace(log_ei, model=build)` is the same
strategy with another model, where ``build(X, Y, bounds, observed)`` returns one that is not fitted.

Taught in part_4/tutorial_03.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .acquisition.analytic import LogExpectedImprovement, UpperConfidenceBound, incumbent
from .acquisition.monte_carlo import qLogExpectedImprovement, qLogNoisyExpectedImprovement
from .errors import DataError, UnsupportedError
from .models.exact import ExactGP
from .models.fit import fit_mll
from .models.priors import matern_kernel
from .optim.multi_start import optimize_acqf
from .optim.thompson import thompson as sample_maxima
from .paths import draw_paths
from .protocols import Acquisition
from .sampling import Sampler, shifted_sobol, sobol_points
from .seeds import Seed, derive, derive_each, replicate_seeds, uniform
from .shapes import check_count, check_number
from .transforms import Standardize

_WORTHWHILE = 1e-3  # of the spread of the values: a smaller gain is no success of a trust region
_MOVED = 20  # coordinates in which a trust region's candidate differs from its centre, on average


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


def matern_gp(
    X: Float[Tensor, "*r n d"],
    Y: Float[Tensor, "*r n m"],
    bounds: Float[Tensor, "2 d"],
    observed: Bool[Tensor, "*r n"] | None = None,
) -> ExactGP:
    """`ExactGP` with a Matern-5/2 kernel under its usual priors: the model of all strategies.

    Chosen by measurement: ``benchmarks/quality.py`` compares it with the RBF kernel.
    """
    kernel = matern_kernel(X.shape[-1], (*X.shape[:-2], Y.shape[-1]))
    return ExactGP(X, Y, bounds, observed=observed, kernel=kernel)


def rbf_gp(
    X: Float[Tensor, "*r n d"],
    Y: Float[Tensor, "*r n m"],
    bounds: Float[Tensor, "2 d"],
    observed: Bool[Tensor, "*r n"] | None = None,
) -> ExactGP:
    """`ExactGP` with its defaults (RBF), as in BoTorch: ``replace(log_ei, model=rbf_gp)``."""
    return ExactGP(X, Y, bounds, observed=observed)


def _built(build: BuildModel, data: StudyData, seen: Tensor) -> ExactGP:
    """The model of some rows of the data, not fitted."""
    return build(data.X, data.Y, data.bounds, None if bool(seen.all()) else seen)


def _fit(
    build: BuildModel, data: StudyData, start: object, observed: Tensor | None = None
) -> ExactGP:
    """The model of the data (of some rows), fitted from the last round's hyperparameters."""
    model = _built(build, data, data.observed if observed is None else observed)
    return fit_mll(model, start=cast("dict[str, Tensor] | None", start))


def _with_lies(model: ExactGP, data: StudyData, failed: Tensor) -> ExactGP:
    """The model told that failed rows gave the worst value that it has seen in their replicate.

    A failure tells the model nothing, so that a method without chance would propose the same point
    for ever. A lie keeps it away, constant like that of the source for points that are pending.
    Hyperparameters and output scaling stay those of the successes; without failures so does all.

    Source:
        Ginsbourger, Le Riche & Carraro, "Kriging is well-suited to parallelize optimization", in
        Computational Intelligence in Expensive Optimization Problems, Springer 2010, section 3.
    """
    count = int(failed.sum(-1).max())
    if count == 0:
        return model
    rows = failed.byte().argsort(dim=-1, descending=True, stable=True)[..., :count]
    X = data.X.gather(-2, rows.unsqueeze(-1).expand(*rows.shape, data.X.shape[-1]))
    worst = torch.where(model.observed.unsqueeze(-1), data.Y, torch.inf).amin(-2, keepdim=True)
    lies = worst.expand(*rows.shape, worst.shape[-1])
    return model.condition(X, lies, observed=failed.gather(-1, rows))


def _best_evaluated(build: BuildModel, data: StudyData, last: object) -> Float[Tensor, "*r d"]:
    """The evaluated point with the best posterior mean, under the last round's hyperparameters."""
    if last is None:
        return incumbent(_fit(build, data, None), data.X).x
    model = _built(build, data, data.observed)
    model = model.with_hyperparameters(**cast("dict[str, Tensor]", last))
    return incumbent(model, data.X).x


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
        model = _fit(self.model, data, data.state)
        best_f = incumbent(model, data.X).value
        lied_to = _with_lies(model, data, ~data.observed)
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
        return _best_evaluated(self.model, data, data.state)


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
        model = _fit(self.model, data, data.state)
        x, _ = sample_maxima(
            _with_lies(model, data, ~data.observed),
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
        return _best_evaluated(self.model, data, data.state)


thompson = Thompson()
"""`Thompson` with its defaults."""


@dataclass(frozen=True)
class TuRBO:
    """Trust-region Bayesian optimisation: Thompson sampling near the best point (TuRBO-1, q >= 1).

    A box around the best point, elongated along the model's lengthscales, is the search space. It
    doubles after `successes` improving rounds in a row and halves after `failures` rounds without;
    when it is shorter than `shortest`, the replicate forgets its data and starts anew from a Sobol
    design. Each replicate has a region of its own; all are fitted and searched as one batch.

    An improvement of the best value observed counts if it exceeds 1e-3 standard deviations of the
    region's values (the authors' program takes 1e-3 |best|, which depends on where zero is). The
    paths believe that failed points of the region gave its worst value, as in `ModelBased`.

    Args:
        model: ``(X, Y, bounds, observed) -> model``, with a kernel that has paths.
        length, shortest, longest: first, least and greatest edge of the region, in unit cubes.
        successes, failures: rounds; default failures ceil(max(4, d) / q).
        restart: evaluations of the design after a restart; default: the study's n_init.
        candidates: points among which each path is maximised; default min(100 d, 5000).
        num_features: as in `draw_paths`.

    Raises:
        DataError: lengths other than 0 < shortest <= length <= longest, counts below 1.

    Source:
        Eriksson, Pearce, Gardner, Turner & Poloczek, "Scalable global optimization via local
        Bayesian optimization", NeurIPS 2019, arXiv:1910.01739, section 2 and its supplement.
    """

    model: BuildModel = matern_gp
    length: float = 0.8
    shortest: float = 0.5**7
    longest: float = 1.6
    successes: int = 3
    failures: int | None = None
    restart: int | None = None
    candidates: int | None = None
    num_features: int = 1024
    batched: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check at the border, before a region is made."""
        lengths = (self.shortest, self.length, self.longest)
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in lengths)
        if not numbers or not 0 < lengths[0] <= lengths[1] <= lengths[2] < math.inf:
            raise DataError(
                "TuRBO: expected finite lengths 0 < shortest <= length <= longest, got "
                f"shortest={self.shortest!r}, length={self.length!r}, longest={self.longest!r}"
            )
        check_count("successes", self.successes)
        check_count("num_features", self.num_features)
        for name in ("failures", "restart", "candidates"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """Update the regions, fit, and maximise q paths in each; the state holds the regions."""
        if data.state is None:
            region = self._first(data, seed)
        else:
            region = self._updated(cast("dict[str, Any]", data.state), data, q, seed)
        r, (n, d) = data.X.shape[:-2], data.X.shape[-2:]
        age = n - region["first"]  # evaluations in this region
        inside = torch.arange(n, device=age.device) >= region["first"].unsqueeze(-1)
        own = data.observed & inside
        starting = (age < self._restart(data)) | ~own.any(-1)
        X = torch.zeros(*r, q, d, dtype=data.X.dtype, device=data.X.device)
        if not starting.all():
            # a replicate that starts anew has no data of its own yet: its fit is not used
            seen = torch.where(starting.unsqueeze(-1), data.observed, own)
            model = _fit(self.model, data, region["fit"], seen)
            lied_to = _with_lies(model, data, ~data.observed & inside)
            X = self._maxima(model, lied_to, bounds, q, region["length"], seed)
            region["fit"] = model.hyperparameters()
        if starting.any():
            fresh = _continued(bounds, torch.where(starting, age, 0), q, region["seeds"])
            X = torch.where(starting[..., None, None], fresh, X)
        return X, region

    def recommend(self, data: StudyData) -> Float[Tensor, "*r d"]:
        """The point with the best posterior mean among all evaluated, in whichever region."""
        state = cast("dict[str, Any] | None", data.state)
        return _best_evaluated(self.model, data, None if state is None else state["fit"])

    def _restart(self, data: StudyData) -> int:
        return data.n_init if self.restart is None else self.restart

    def _first(self, data: StudyData, seed: Seed) -> dict[str, Any]:
        """The regions in the first round; ``first`` is the first row of the data they look at."""
        y = torch.where(data.observed, data.Y[..., 0], -torch.inf)
        zero = torch.zeros(data.X.shape[:-2], dtype=torch.long, device=data.X.device)
        return {
            "first": zero,
            "length": torch.full_like(y[..., 0], self.length),
            "wins": zero,
            "losses": zero,
            "best": y.amax(-1),
            "rows": data.X.shape[-2],
            "seeds": seed,
            "fit": None,
        }

    def _updated(self, old: dict[str, Any], data: StudyData, q: int, seed: Seed) -> dict[str, Any]:
        """The regions after the last round's results."""
        n, d = data.X.shape[-2:]
        y = torch.where(data.observed, data.Y[..., 0], -torch.inf)
        best = torch.maximum(old["best"], y[..., old["rows"] :].amax(-1))
        own = data.observed & (torch.arange(n, device=y.device) >= old["first"].unsqueeze(-1))
        scale = Standardize.fit(data.Y[..., :1], own).scale[..., 0, 0]
        better = best > old["best"] + _WORTHWHILE * scale
        counting = old["rows"] - old["first"] >= self._restart(data)
        wins = torch.where(counting & better, old["wins"] + 1, 0)
        losses = torch.where(counting & ~better, old["losses"] + 1, 0)
        patience = math.ceil(max(4, d) / q) if self.failures is None else self.failures
        longer, shorter = wins >= self.successes, losses >= patience
        length = torch.where(longer, (2 * old["length"]).clamp(max=self.longest), old["length"])
        length = torch.where(shorter, length / 2, length)
        over = length < self.shortest
        return {
            "first": torch.where(over, n, old["first"]),
            "length": torch.where(over, self.length, length),
            "wins": torch.where(longer | over, 0, wins),
            "losses": torch.where(shorter | over, 0, losses),
            "best": torch.where(over, -torch.inf, best),
            "rows": n,
            "seeds": _renewed(old["seeds"], seed, over),
            "fit": old["fit"],
        }

    def _maxima(
        self,
        model: ExactGP,
        lied_to: ExactGP,
        bounds: Tensor,
        q: int,
        length: Tensor,
        seed: Seed,
    ) -> Float[Tensor, "*r q d"]:
        """The best of the region's candidates on each of q paths, none of them twice."""
        r, d = model.batch_shape, bounds.shape[-1]
        streams = replicate_seeds(seed, r)
        count = max(q, min(100 * d, 5000)) if self.candidates is None else self.candidates
        if count < q:
            raise DataError(
                f"candidates: expected at least q = {q}, for no candidate is proposed twice, got "
                f"{count}; use more, or leave it out"
            )
        X = _trust_candidates(model, bounds, length, count, streams)
        own = [derive(s, "paths") for s in streams]
        paths = draw_paths(lied_to, q, seed=own if r else own[0], num_features=self.num_features)
        with torch.no_grad():
            values = paths(X)[..., 0]  # q *r count
        picked: list[Tensor] = []
        for value in values:
            for before in picked:
                value = value.scatter(-1, before, -torch.inf)
            picked.append(value.argmax(-1, keepdim=True))
        index = torch.cat(picked, dim=-1).unsqueeze(-1)  # *r q 1
        return X.gather(-2, index.expand(*r, q, d))


def _renewed(old: Seed, new: Seed, over: Tensor) -> Seed:
    """The seeds of the replicates; new ones for those that start again."""
    if not over.any():
        return old
    pairs = zip(replicate_seeds(old, over.shape), replicate_seeds(new, over.shape), strict=True)
    mixed = [
        b if again else a for (a, b), again in zip(pairs, over.flatten().tolist(), strict=True)
    ]
    return tuple(mixed) if over.ndim else mixed[0]


def _continued(bounds: Tensor, drawn: Tensor, q: int, seed: Seed) -> Float[Tensor, "*r q d"]:
    """The next q points of a Sobol design of which each replicate has drawn some, ``*r``."""
    r = drawn.shape
    count, replicates = int(drawn.max()) + q, r[0] if r else None
    design = sobol_points(bounds, count, seed=seed, replicates=replicates)
    which = drawn[..., None, None] + torch.arange(q, device=drawn.device).unsqueeze(-1)
    return design.gather(-2, which.expand(*r, q, bounds.shape[-1]))


def _trust_candidates(
    model: ExactGP, bounds: Tensor, length: Tensor, count: int, streams: list[int]
) -> Float[Tensor, "*r count d"]:
    """Points in the box of a given edge round the best point, stretched along the lengthscales."""
    r, d = model.batch_shape, bounds.shape[-1]
    low, width = bounds[0], bounds[1] - bounds[0]
    centre = (incumbent(model, model.X).x - low) / width  # *r d
    weight = torch.ones_like(centre)
    scales = model.hyperparameters().get("lengthscale")
    if scales is not None:
        weight = scales[..., 0, :].expand_as(centre)
        weight = weight / weight.log().mean(-1, keepdim=True).exp()
    half = 0.5 * weight * length.unsqueeze(-1)
    lower, upper = ((centre + s * half).clamp(0.0, 1.0).unsqueeze(-2) for s in (-1, 1))
    u = shifted_sobol([derive(s, "candidates") for s in streams], count, d, bounds.device)
    moved = lower + (upper - lower) * u.reshape(*r, count, d)
    # move 20 coordinates on average, and at least one: a step in all of many is a step too far
    v = uniform([derive(s, "coordinates") for s in streams], (count, d), bounds.device)
    v = v.reshape(*r, count, d)
    chosen = (v <= min(1.0, _MOVED / d)) | (v == v.amin(-1, keepdim=True))
    return low + width * torch.where(chosen, moved, centre.unsqueeze(-2))


turbo = TuRBO()
"""`TuRBO` with its defaults."""


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
