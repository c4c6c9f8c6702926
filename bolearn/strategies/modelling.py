"""The model in a strategy: how it is built, fitted, and told of evaluations that failed.

Taught in part_4/tutorial_03.
"""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..acquisition.analytic import incumbent
from ..models.exact import ExactGP
from ..models.fit import fit_mll
from ..models.priors import matern_kernel
from .protocol import StudyData

BuildModel = Callable[[Tensor, Tensor, Tensor, Tensor | None], ExactGP]
"""Maps X, Y, bounds and observed to a model that is not yet fitted."""


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


def built(build: BuildModel, data: StudyData, seen: Tensor) -> ExactGP:
    """The model of some rows of the data, not fitted."""
    return build(data.X, data.Y, data.bounds, None if bool(seen.all()) else seen)


def fitted(
    build: BuildModel, data: StudyData, start: object, observed: Tensor | None = None
) -> ExactGP:
    """The model of the data (of some rows), fitted from the last round's hyperparameters."""
    model = built(build, data, data.observed if observed is None else observed)
    return fit_mll(model, start=cast("dict[str, Tensor] | None", start))


def with_lies(model: ExactGP, data: StudyData, failed: Tensor) -> ExactGP:
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


def best_evaluated(build: BuildModel, data: StudyData, last: object) -> Float[Tensor, "*r d"]:
    """The evaluated point with the best posterior mean, under the last round's hyperparameters."""
    if last is None:
        return incumbent(fitted(build, data, None), data.X).x
    model = built(build, data, data.observed)
    model = model.with_hyperparameters(**cast("dict[str, Tensor]", last))
    return incumbent(model, data.X).x
