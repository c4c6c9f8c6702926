"""Where climbs begin: raw candidates, some of them near the best observations, and a draw.

Taught in part_4/tutorial_02.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import seeds
from ..acquisition.objectives import evaluate, scale_of
from ..errors import OptimizationError
from ..protocols import Acquisition, has_training_data
from ..sampling import shifted_sobol
from ..transforms import UnitCube
from .arguments import Search
from .batches import UnitAcquisition
from .feasible import feasible_candidates
from .region import Region

_TEMPERATURE = 2.0
_NEAR_SHARE = 8  # one in this many raw candidates is an incumbent, perturbed
_NEAR_WIDTH = 0.1
_REDRAWS = 3  # of raw candidates that all have one value


def candidates(
    on_cube: UnitAcquisition, region: Region | None, search: Search, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, int]:
    """Feasible raw candidates ``R raw qd``, their values, and how often they were redrawn."""

    def draw(streams: list[int]) -> Tensor:
        raw, sobol = raw_candidates(
            on_cube.acq, on_cube.cube, on_cube.q, on_cube.r, search.raw_samples, streams
        )
        points = raw.view(on_cube.R, search.raw_samples, on_cube.q, on_cube.d)
        points = torch.minimum(torch.maximum(points, low[:, None, None]), high[:, None, None])
        if region is not None:
            points = feasible_candidates(region, points, sobol, streams)
        return points.reshape(raw.shape)

    raw, redrawn = draw(search.streams), 0
    values = on_cube.values(raw)
    while is_flat(values).any() and redrawn < _REDRAWS:
        redrawn += 1
        again = draw([seeds.derive(s, "redraw", redrawn) for s in search.streams])
        raw = torch.where(is_flat(values)[:, None, None], again, raw)  # the others keep theirs
        values = on_cube.values(raw)
    return raw, values, redrawn


def pick(
    on_cube: UnitAcquisition, search: Search, raw: Tensor, values: Tensor, head_start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Starts ``R restarts qd``, the head start as the last if there is one; and their values.

    The values are ``restarts R``, like all that is known of the climbs.
    """
    picked = pick_starts(values, search.num_restarts, search.streams)
    starts = raw.gather(1, picked.unsqueeze(-1).expand(-1, -1, raw.shape[-1]))
    start_values = values.gather(1, picked)
    if head_start is not None:
        own = on_cube.cube.encode(head_start).reshape(on_cube.R, 1, -1)
        starts = torch.cat([starts[:, :-1], own], dim=1)
        start_values = torch.cat([start_values[:, :-1], on_cube.values(own)], dim=1)
    return starts, start_values.mT


def raw_candidates(
    acq: Acquisition, cube: UnitCube, q: int, r: tuple[int, ...], count: int, streams: list[int]
) -> tuple[Float[Tensor, "R count qd"], int]:
    """Sobol points in the unit cube, the last of them replaced by perturbed best observations.

    The best are the highest four of output 0, or what ``acq.on_front`` (``*r n``) says they are.

    In d dimensions the chance that a uniform candidate falls close to an incumbent vanishes, and
    with it the chance of refining one. Each copy perturbs a random subset of its coordinates.

    Returns:
        The candidates (which may lie outside the cube), and how many are Sobol points.
    """
    d = cube.bounds.shape[-1]
    raw = shifted_sobol(streams, count, q * d, cube.bounds.device)
    model: Any = getattr(acq, "model", None)
    near = count // _NEAR_SHARE
    if not has_training_data(model) or not near:
        return raw, count
    R, n = len(streams), model.X.shape[-2]
    # searches beyond the model's own replicates share its data
    counts = model.observed.expand(*r, n).reshape(R, n)
    on_front = getattr(acq, "on_front", None)
    if on_front is not None:  # several objectives: no observation is best, a whole front is
        counts = counts & on_front.expand(*r, n).reshape(R, n)
        top = torch.argsort(~counts, dim=-1, stable=True)[:, : int(counts.sum(-1).max())]
    else:
        level = _promise(acq, model).expand(*r, n).reshape(R, n)
        level = torch.where(counts, level, -torch.inf)
        top = level.topk(min(4, n), dim=-1).indices  # R top
    seen = cube.encode(model.X).expand(*r, n, d).reshape(R, n, d)
    best = seen.gather(1, top[..., None].expand(-1, -1, d))
    u = seeds.uniform([seeds.derive(s, "near") for s in streams], (near, q, d, 2), raw.device)
    # Replicates with fewer observations than that go round those they have.
    known = counts.gather(1, top).sum(1, keepdim=True)
    which = torch.arange(near * q, device=raw.device) % known  # R (near q)
    centre = best.gather(1, which[..., None].expand(-1, -1, d)).view(R, near, q, d)
    move = torch.special.ndtri(u[..., 0]) * _NEAR_WIDTH
    # all coordinates move up to d = 20, and 20 of them on average beyond
    move = torch.where(u[..., 1] < min(1.0, 20 / d), move, 0.0)
    copies = (centre + move).reshape(R, near, q * d)
    return torch.cat([raw[:, : count - near], copies], dim=1), count - near


def _promise(acq: Acquisition, model: Any) -> Float[Tensor, "*r n"]:
    """How good each observation was: by the objective, and the less feasible, the lower.

    Points that break a constraint stand below all others, those that break it most last.
    """
    Y, constraints = model.Y, getattr(acq, "outcome_constraints", ())
    objective = getattr(acq, "objective", None)
    with torch.no_grad():
        level: Tensor = Y[..., 0]
        value = None if objective is None else objective(Y)
        if isinstance(value, Tensor) and value.shape == level.shape:
            level = value
        broken = torch.zeros_like(level)
        for c in constraints:
            excess = evaluate(c, Y, "outcome_constraints").clamp(min=0)
            broken = broken + excess / scale_of(c, model).unsqueeze(-1)
        lowest = torch.where(model.observed, level, torch.inf).amin(-1, keepdim=True)
        return torch.where(broken > 0, lowest - broken, level)


def is_flat(values: Float[Tensor, "R raw"]) -> Tensor:
    """Replicates whose candidates all have one value: they say nothing about where to climb."""
    return values.amax(1) <= values.amin(1)  # NaN compares false


def pick_starts(
    values: Float[Tensor, "R raw"], count: int, streams: list[int]
) -> Int[Tensor, "R count"]:
    """The best candidate and count - 1 others, drawn without replacement by exp(eta z).

    z are the standardised values. Drawing by adding Gumbel noise and keeping the largest is exact
    (Efraimidis & Spirakis 2006) and is one operation for all replicates.

    Raises:
        OptimizationError: no candidate of some replicate has a finite value.
    """
    finite = torch.isfinite(values)
    if not finite.any(1).all():
        where = int((~finite.any(1)).nonzero()[0])
        raise OptimizationError(
            f"the acquisition is not finite at any of {values.shape[1]} candidates of replicate "
            f"{where}; look at the model's posterior there, or at best_f"
        )
    # -inf is a legal value (log 0); NaN is not, and ranks with it
    floor = torch.where(finite, values, torch.inf).amin(1, keepdim=True)
    level = torch.where(finite, values, floor)
    spread = level.std(1, keepdim=True, correction=0)
    z = (level - level.mean(1, keepdim=True)) / torch.where(spread > 0, spread, 1.0)
    u = seeds.uniform(
        [seeds.derive(s, "boltzmann") for s in streams], values.shape[1:], values.device
    )
    key = _TEMPERATURE * z - torch.log(-torch.log(u))
    key = torch.where(finite, key, key.amin(1, keepdim=True) - 1)
    best = torch.where(finite, values, -torch.inf).argmax(1, keepdim=True)
    key = key.scatter(1, best, torch.inf)
    return key.topk(count, dim=1).indices
