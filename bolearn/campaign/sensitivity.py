"""Which parameters matter: Sobol indices of what a campaign's model expects.

With f the posterior mean and the parameters independent and uniform on their own scales, the first
index of a parameter is the share Var E[f | x_i] / Var f that it explains alone, the total index
E Var[f | x_-i] / Var f the share that would be left if all others were known. Both by Jansen's
estimators with pick-freeze; the intervals are a bootstrap over the base samples, and say nothing of
how wrong the model may be. Constraints between parameters are ignored.

Source: Jansen, "Analysis of variance designs for model output", Computer Physics Communications
117, 1999; Saltelli et al., Computer Physics Communications 181, 2010, table 2.
Taught in part_5/tutorial_04.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..sampling import sobol_points
from ..seeds import derive
from ..shapes import check_count
from ..space.parameters import Categorical, Parameter, Value
from .campaign import Campaign

_CHUNK = 512
_RESAMPLED = 200


@dataclass(frozen=True)
class Sensitivity:
    """Sobol indices of one parameter.

    Attributes:
        first: what it explains alone.
        total: what it has a part in.
        first_interval, total_interval: 95 % each, of the sampling error alone.
    """

    first: float
    total: float
    first_interval: tuple[float, float]
    total_interval: tuple[float, float]


def at_share(parameter: Parameter, share: float) -> Value:
    """The legal value at a share of a parameter's own scale, from 0 at one end to 1 at the other.

    Example:
        >>> import bolearn as bl
        >>> at_share(bl.Real("time", 1, 100, log=True), 0.5), at_share(bl.Integer("n", 1, 4), 0.99)
        (10.0, 4)
    """
    if isinstance(parameter, Categorical):
        return parameter.value(min(int(share * parameter.levels), parameter.levels - 1))
    low, high = float(parameter.low), float(parameter.high)
    number = low * (high / low) ** share if parameter.log else low + share * (high - low)
    number = min(max(number, low), high)
    if parameter.step is None:
        return parameter.value(number)
    return parameter.value(parameter.nearest(number))


def sobol_indices(
    campaign: Campaign, outcome: str, *, samples: int = 512, seed: int = 0
) -> dict[str, Sensitivity] | None:
    """Indices of each parameter; None without a model, or where it expects the same everywhere.

    Args:
        campaign: which.
        outcome: one of its goals'.
        samples: base samples; the model is asked (parameters + 2) times as often.
        seed: of the samples.
    """
    n, view = check_count("samples", samples, least=16), campaign._view()
    beliefs = campaign._beliefs(view)
    if beliefs is None:
        return None
    i, space = beliefs.outcomes.index(outcome), view.revision.space
    k = len(space)
    unit = torch.tensor([[0.0], [1.0]], dtype=torch.float64).repeat(1, 2 * k)
    U = sobol_points(unit, n=n, seed=derive(seed, "sensitivity"))

    def codes(part: Float[Tensor, "n k"]) -> Float[Tensor, "n d"]:
        points: list[dict[str, Value]] = []
        for row in part.tolist():
            point = {p.name: at_share(p, u) for p, u in zip(space, row, strict=True)}
            points.append(point)
        X: Tensor = space.encode(points, allow_outside=True)
        return X

    def f(X: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        with torch.no_grad():
            return torch.cat([beliefs.model.posterior(x).mean[:, i] for x in X.split(_CHUNK)])

    A, B = codes(U[:, :k]), codes(U[:, k:])
    at_A, at_B = f(A), f(B)
    mixed = []
    for p in space:
        columns = space.columns[p.name]
        X = A.clone()
        X[:, columns] = B[:, columns]
        mixed.append(f(X))
    return _indices(space.names, at_A, at_B, torch.stack(mixed), derive(seed, "bootstrap"))


def _indices(
    names: tuple[str, ...],
    at_A: Float[Tensor, "n"],
    at_B: Float[Tensor, "n"],
    mixed: Float[Tensor, "k n"],
    seed: int,
) -> dict[str, Sensitivity] | None:
    """Jansen's estimators, and what they give for resampled rows."""
    n = len(at_A)
    rows = torch.randint(0, n, (_RESAMPLED, n), generator=torch.Generator().manual_seed(seed))
    rows = torch.cat([torch.arange(n).unsqueeze(0), rows])  # the first: the sample itself
    variance = torch.cat([at_A[rows], at_B[rows]], dim=-1).var(-1)
    if variance[0] <= 1e-18 * max(1.0, at_A.square().mean().item()):
        return None
    alone = (at_B - mixed).square()[:, rows].mean(-1) / (2 * variance)
    total = ((at_A - mixed).square()[:, rows].mean(-1) / (2 * variance)).clamp(0, 1)
    first = (1 - alone).clamp(0, 1)
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    found = {}
    for j, name in enumerate(names):
        a, b = first[j, 1:].quantile(ends).tolist()
        c, d = total[j, 1:].quantile(ends).tolist()
        found[name] = Sensitivity(first[j, 0].item(), total[j, 0].item(), (a, b), (c, d))
    return found
