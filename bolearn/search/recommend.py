"""What to hand over in the end: where the belief is highest, observed or not.

Taught in part_4/tutorial_05.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from .. import seeds
from ..acquisition.analytic import PosteriorMean
from ..acquisition.checks import check_single_output
from ..acquisition.incumbent import Incumbent
from ..acquisition.lookahead import observed_points
from ..optim import backends
from ..optim.minimum import Minimum
from ..protocols import Surrogate
from ..sampling import shifted_sobol
from ..shapes import check_bounds, check_count
from .arguments import Search, check_search
from .batches import UnitAcquisition, level_and_spread

_RAW = 256  # Sobol points among which climbs begin


def recommend(
    model: Surrogate, bounds: Float[Tensor, "*b 2 d"], *, num_restarts: int = 16, seed: seeds.Seed
) -> Incumbent:
    """The point of a box where the posterior mean is highest, and that mean.

    Knowledge gradient and entropy search spend observations on what they tell, so that the best
    point may be one that was never observed; `incumbent` looks at given points only.

    Args:
        model: a surrogate with one output.
        bounds: the box, ``2 d`` or ``*r 2 d``.
        num_restarts: climbs of the mean, half of them from the best observed points.
        seed: an int, or one for each replicate.

    Returns:
        ``x`` ``*r d`` and ``value`` ``*r``; no observed point of the box has a higher mean.

    Raises:
        DataError, ShapeError: bad bounds, count or seed.
        UnsupportedError: several outputs.

    Example:
        >>> from bolearn import ExactGP
        >>> X = torch.tensor([[0.0], [0.4], [1.0]], dtype=torch.float64)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> recommend(ExactGP(X, X * (1 - X), box), box, seed=0).x.shape
        torch.Size([1])
    """
    check_single_output(model, "recommend")
    count = check_count("num_restarts", num_restarts, least=2)
    ends = mean_maxima(model, check_bounds(bounds), count, seed)
    with torch.no_grad():
        mean = model.posterior(ends).mean.squeeze(-1)
    best = mean.argmax(-1, keepdim=True)
    x = ends.gather(-2, best.unsqueeze(-1).expand(*best.shape, ends.shape[-1])).squeeze(-2)
    return Incumbent(x, mean.gather(-1, best).squeeze(-1))


def mean_maxima(
    model: Surrogate, box: Tensor, count: int, seed: seeds.Seed
) -> Float[Tensor, "*r count d"]:
    """Ends of climbs of the posterior mean, half of them from the best observed points."""
    r, d = tuple(model.batch_shape), box.shape[-1]
    search = check_search(PosteriorMean(model), box, 1, count, count, None, (), None, seed)
    on_cube = UnitAcquisition(PosteriorMean(model), search.cube, 1, r)
    R = on_cube.R
    raw = shifted_sobol(search.streams, max(_RAW, count), d, box.device)
    groups, known = [raw], observed_points(model)
    if known is not None:
        groups.append(search.cube.encode(known).reshape(R, -1, d).clamp(0, 1))
    starts, scale, left = [], [], count
    for U in reversed(groups):
        values = on_cube.values(U)
        take = min(U.shape[1], left if U is raw else count // 2)
        best = values.topk(take, dim=1).indices
        starts.append(U.gather(1, best.unsqueeze(-1).expand(*best.shape, d)))
        scale.append(values)
        left -= take
    X = on_cube.decode(torch.cat(starts, dim=1).transpose(0, 1))
    ends, _, _ = climbed(on_cube, search, X, torch.cat(scale, dim=1).T)
    return ends.squeeze(-2).movedim(0, -2)


def climbed(
    on_cube: UnitAcquisition, search: Search, X: Float[Tensor, "b *r 1 d"], known: Tensor
) -> tuple[Tensor, Tensor, Minimum]:
    """Climbs from X: ends, values there and the report; ``known`` values ``k R`` set the scale."""
    b, R, d = len(X), on_cube.R, on_cube.d
    u0 = on_cube.cube.encode(X).reshape(b * R, d).clamp(0, 1)
    level, spread = level_and_spread(known.T)
    size = spread.clamp(max=1)
    rivals = torch.arange(R, device=u0.device).repeat(b)
    end = backends.minimize(
        on_cube.objective(level, size), u0, torch.zeros_like(u0), torch.ones_like(u0), rivals=rivals
    )
    reached = level - end.value.view(b, R) * size
    reached = torch.where(reached.isfinite(), reached, -torch.inf).view(b, *search.r)
    return on_cube.decode(end.x.view(b, R, d)), reached, end
