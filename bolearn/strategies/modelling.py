"""The model in a strategy: any surrogate, how it is fitted, and told of evaluations that failed.

A strategy has two fields for it. With ``fit=fit_mll`` (the default) ``model(X, Y, bounds,
observed)`` returns a Gaussian process that is not fitted yet. With ``fit=None`` a model is ready as
soon as it is made: ``model(X, Y, bounds, observed=observed, seed=seed)``, as ``bolearn.SAASGP`` and
``bolearn.DeepEnsemble`` are, or a class of your own with a method ``posterior``.

A third says whether values are exact. With ``noise_free=True`` the model is made with
``noise_free=True`` as a further argument, with ``noise_free=None`` where the problem says so
(`StudyData.noise_free`). The default is False, because what is wrongly called exact is followed
into its noise: ``replace(log_ei, noise_free=None)`` is the choice for simulators.

Taught in part_4/tutorial_03.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from gpytorch.priors import Prior
from jaxtyping import Bool, Float
from torch import Tensor

from ..acquisition.incumbent import Incumbent, incumbent
from ..errors import DataError
from ..models.exact import ExactGP
from ..models.fit import fit_mll
from ..models.noise import NoiseBelief
from ..models.priors import matern_kernel
from ..protocols import Surrogate
from ..seeds import Seed
from .protocol import StudyData

BuildModel = Callable[..., Any]
"""Maps X, Y, bounds and observed to a model: not fitted, or with ``fit=None`` a ready one."""

FitModel = Callable[..., Surrogate]
"""Maps a model to a fitted one; ``start=`` holds the hyperparameters of the last round, or None."""


def matern_gp(
    X: Float[Tensor, "*r n d"],
    Y: Float[Tensor, "*r n m"],
    bounds: Float[Tensor, "2 d"],
    observed: Bool[Tensor, "*r n"] | None = None,
    *,
    noise_prior: str | Prior | NoiseBelief | None = None,
    noise_free: bool = False,
) -> ExactGP:
    """`ExactGP` with a Matern-5/2 kernel under its usual priors: the model of all strategies.

    Chosen by measurement: ``benchmarks/quality.py`` compares it with the RBF kernel.
    """
    kernel = matern_kernel(X.shape[-1], (*X.shape[:-2], Y.shape[-1]))
    noise: dict[str, Any] = {"noise_prior": noise_prior, "noise_free": noise_free}
    return ExactGP(X, Y, bounds, observed=observed, kernel=kernel, **noise)


def rbf_gp(
    X: Float[Tensor, "*r n d"],
    Y: Float[Tensor, "*r n m"],
    bounds: Float[Tensor, "2 d"],
    observed: Bool[Tensor, "*r n"] | None = None,
    *,
    noise_prior: str | Prior | NoiseBelief | None = None,
    noise_free: bool = False,
) -> ExactGP:
    """`ExactGP` with its defaults (RBF), as in BoTorch: ``replace(log_ei, model=rbf_gp)``."""
    noise: dict[str, Any] = {"noise_prior": noise_prior, "noise_free": noise_free}
    return ExactGP(X, Y, bounds, observed=observed, **noise)


@dataclass(frozen=True)
class Recipe:
    """How a strategy gets its surrogate: `build` makes a model of data, `fit` fits it.

    `noise_free`: True, False, or None for what the problem says of its values.

    What a round leaves to the next (`memory`): the hyperparameters, where the model has them; else
    the seed, and the best evaluated point, so that it is not trained again for a recommendation.
    """

    build: BuildModel
    fit: FitModel | None = fit_mll
    noise_free: bool | None = False

    def made(self, data: StudyData, **options: object) -> Any:
        """The surrogate of the data as `build` makes it, told of exact values.

        Raises:
            DataError: values are exact, and `build` has no way to be told.
        """
        exact = data.noise_free if self.noise_free is None else self.noise_free
        if exact:
            _check_can_be_told(self.build)
            options["noise_free"] = True
        observed = None if bool(data.observed.all()) else data.observed
        if self.fit is None:
            return self.build(data.X, data.Y, data.bounds, observed=observed, **options)
        return self.build(data.X, data.Y, data.bounds, observed, **options)

    def fitted(self, data: StudyData, last: object, seed: Seed) -> Any:
        """The surrogate of the data, from the last round's hyperparameters if it has them."""
        if self.fit is None:
            return self.made(data, seed=seed)
        start = None if _remembered(last) else last
        return self.fit(self.made(data), start=start)

    def memory(self, model: Any, data: StudyData, seed: Seed) -> dict[str, Any]:
        """What the next round should know of this one's model; plain types and tensors."""
        known = getattr(model, "hyperparameters", None)
        if self.fit is not None and callable(known):
            return cast("dict[str, Any]", known())
        best = best_evaluated(model, data).x
        return {"remembered": {"seed": seed, "rows": data.X.shape[-2], "best": best}}

    def current(self, data: StudyData, last: object) -> Any:
        """The surrogate of all data, with the hyperparameters of the last round where it has them.

        A model without hyperparameters is made again from that round's seed.
        """
        remembered = _remembered(last)
        if last is None or remembered or self.fit is None:
            return self.fitted(data, last, remembered.get("seed", 0))
        return self.made(data).with_hyperparameters(**cast("dict[str, Any]", last))

    def recommended(self, data: StudyData, last: object) -> Float[Tensor, "*r d"]:
        """The evaluated point with the best posterior mean, under the last round's fit."""
        remembered = _remembered(last)
        if remembered and remembered["rows"] == data.X.shape[-2]:
            return cast(Tensor, remembered["best"])
        return best_evaluated(self.current(data, last), data).x

    def with_lies(
        self, model: Any, data: StudyData, failed: Tensor, seed: Seed, constraints: int = 0
    ) -> Any:
        """The model told that failed rows gave the worst value that it has seen in their replicate.

        A failure tells the model nothing, so that a method without chance would propose the same
        point for ever. A lie keeps it away, constant like that of the source for points that are
        pending. Hyperparameters and output scaling stay those of the successes; without failures
        so does all. A model that cannot be conditioned is made again, of data with the lies in it.
        Of the last ``constraints`` outputs, which are met where <= 0, the worst is the largest.

        Source:
            Ginsbourger, Le Riche & Carraro, "Kriging is well-suited to parallelize optimization",
            in Computational Intelligence in Expensive Optimization Problems, Springer 2010,
            section 3.
        """
        count = int(failed.sum(-1).max())
        if count == 0:
            return model
        seen = data.observed.unsqueeze(-1)
        worst = torch.where(seen, data.Y, torch.inf).amin(-2, keepdim=True)
        if constraints:
            largest = torch.where(seen, data.Y, -torch.inf).amax(-2, keepdim=True)
            k = worst.shape[-1] - constraints
            worst = torch.cat([worst[..., :k], largest[..., k:]], dim=-1)
        if not callable(getattr(model, "condition", None)):
            Y = torch.where(failed.unsqueeze(-1), worst, data.Y)
            told = replace(data, Y=Y, observed=data.observed | failed)
            return self.fitted(told, None, seed)
        rows = failed.byte().argsort(dim=-1, descending=True, stable=True)[..., :count]
        X = data.X.gather(-2, rows.unsqueeze(-1).expand(*rows.shape, data.X.shape[-1]))
        lies = worst.expand(*rows.shape, worst.shape[-1])
        return model.condition(X, lies, observed=failed.gather(-1, rows))


def best_evaluated(model: Surrogate, data: StudyData) -> Incumbent:
    """The evaluated point with the best posterior mean, and that mean; failed ones are passed over.

    Any surrogate will do: in the place of a failed point stands the first that succeeded.
    """
    first = data.observed.byte().argmax(-1, keepdim=True).unsqueeze(-1)
    one = data.X.gather(-2, first.expand(*first.shape[:-1], data.X.shape[-1]))
    return incumbent(model, torch.where(data.observed.unsqueeze(-1), data.X, one))


def _check_can_be_told(build: BuildModel) -> None:
    """Check that a function that makes models takes ``noise_free=True``.

    Raises:
        DataError: it does not.
    """
    try:
        known = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):  # a builtin, which does not say
        return
    if not any(p.name == "noise_free" or p.kind is p.VAR_KEYWORD for p in known):
        name = getattr(build, "__name__", type(build).__name__)
        raise DataError(
            f"noise_free: expected a model that takes noise_free=True, such as matern_gp, got "
            f"{name}; give it that argument, or leave noise_free of the strategy at False"
        )


def _remembered(last: object) -> dict[str, Any]:
    """What was remembered of a model without hyperparameters; nothing of others."""
    found = last.get("remembered") if isinstance(last, dict) else None
    return found if isinstance(found, dict) else {}
