"""Feasible candidates to climb from, spread over the whole feasible set.

Taught in part_5/tutorial_03.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from .. import seeds
from ..errors import InfeasibleError
from ..sampling import shifted_sobol
from .region import FEASIBLE, Region

_REDRAWS = 4  # of all candidates of a replicate in which none could be repaired
_CHORDS = 20  # at most this many hit-and-run steps
_SHORTENINGS = 5  # of a chord that a non-linear constraint cuts off somewhere


@torch.no_grad()
def feasible_candidates(
    region: Region, raw: Float[Tensor, "R raw q d"], spread: int, streams: list[int]
) -> Float[Tensor, "R raw q d"]:
    """Feasible candidates in the place of given ones; those that are feasible stay.

    Infeasible points are repaired, or replaced by a feasible one, and then spread over the
    feasible set by hit-and-run steps: projections alone would all lie on its boundary.

    Args:
        raw: candidates in the unit cube.
        spread: the first ``spread`` of them are spread, the others only repaired.
        streams: a seed for each replicate.

    Raises:
        InfeasibleError: no feasible point was found for some replicate.
    """
    R, count, q, d = raw.shape
    replicate = torch.arange(R, device=raw.device).repeat_interleave(count * q)
    P = raw.reshape(-1, d)
    inside = region.violation(P, replicate) <= 0
    moved = torch.where(inside.unsqueeze(-1), P, region.repair(P, replicate))
    good = region.violation(moved, replicate) <= FEASIBLE
    for attempt in range(_REDRAWS):
        lost = ~good.view(R, -1).any(1)
        if not lost.any():
            break
        own = [
            seeds.derive(streams[i], "feasible", attempt) for i in lost.nonzero().flatten().tolist()
        ]
        fresh = shifted_sobol(own, count * q, d, P.device).reshape(-1, d)
        mine = lost[replicate]
        who = replicate[mine]
        low, high = region.of(region.low, who), region.of(region.high, who)
        moved[mine] = region.repair(low + fresh * (high - low), who)
        good[mine] = region.violation(moved[mine], who) <= FEASIBLE
    lost = ~good.view(R, -1).any(1)
    if lost.any():
        _explain(region, moved, replicate, int(lost.nonzero()[0]))
    # Points that could not be repaired become copies of some that could.
    each = good.view(R, -1)
    pick = seeds.uniform([seeds.derive(s, "copy") for s in streams], each.shape[1:], P.device)
    order = each.double().argsort(dim=1, descending=True, stable=True)  # feasible ones first
    which = order.gather(1, (pick * each.sum(1, keepdim=True)).long())
    spare = moved.view(R, -1, d).gather(1, which.unsqueeze(-1).expand(-1, -1, d)).reshape(-1, d)
    moved = torch.where(good.unsqueeze(-1), moved, spare)
    among_first = torch.arange(count * q, device=P.device).repeat(R) < spread * q
    walk = (~inside & among_first) | ~good
    return _hit_and_run(region, moved, walk, replicate, streams).view(R, count, q, d)


def _hit_and_run(
    region: Region, everyone: Tensor, walk: Tensor, replicate: Tensor, streams: list[int]
) -> Tensor:
    """Some of the points, moved by random steps along random chords of the feasible set.

    Chords of the linear part are known exactly; where a non-linear constraint forbids the new
    point, the chord is shortened towards the old one and tried again.

    Source: Smith, "Efficient Monte Carlo procedures for generating points uniformly
    distributed over bounded regions", Operations Research 32, 1984; shortening after Neal,
    "Slice sampling", Annals of Statistics 31, 2003.
    """
    R, d = len(streams), region.d
    means = everyone.view(R, -1, d).mean(1)
    P, replicate = everyone[walk], replicate[walk]

    def uniform(width: int, *names: int | str) -> Tensor:
        own = [seeds.derive(s, *names) for s in streams]
        shape = (len(everyone) // R, width)
        return seeds.uniform(own, shape, P.device).reshape(-1, width)[walk]

    A, b = region.of(region.A, replicate), region.of(region.b, replicate)
    low, high = region.of(region.low, replicate), region.of(region.high, replicate)
    A, b, E = A[:, : region.m], b[:, : region.m], A[:, region.m :]
    room = (low < high).double()
    E = E * room.unsqueeze(-2)
    back = E.mT @ torch.linalg.pinv(E @ E.mT, hermitian=True, rtol=1e-10)  # k d e
    # In a corner nearly every chord has length zero: leave it towards the mean of the points.
    inwards = P + uniform(1, "inwards") * (means[replicate] - P)
    allowed = region.violation(inwards, replicate) <= FEASIBLE
    P = torch.where(allowed.unsqueeze(-1), inwards, P)
    for step in range(min(4 * d, _CHORDS)):
        u = uniform(d + 6, "chord", step)  # a direction, and where on the chord
        z = torch.special.ndtri(u[:, :d]) * room
        z = z - (back @ (E @ z.unsqueeze(-1))).squeeze(-1)  # stays on the equalities
        z = z / z.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        left, right = _chord(P, z, A, b, low, high)
        here, done = P, torch.zeros(len(P), dtype=torch.bool, device=P.device)
        for shortening in range(_SHORTENINGS if region.functions else 1):
            t = left + (right - left) * u[:, d + shortening]
            there = torch.minimum(torch.maximum(here + t.unsqueeze(-1) * z, low), high)
            allowed = ~done
            if region.functions:
                allowed = allowed & (region.violation(there, replicate) <= FEASIBLE)
            P = torch.where(allowed.unsqueeze(-1), there, P)
            done = done | allowed
            left, right = torch.where(t < 0, t, left), torch.where(t >= 0, t, right)
    # Thousands of roundings away from an equality: put back, which moves nothing else.
    if region.equality.any():
        P = region.repair(P, replicate)
    moved = everyone.clone()
    moved[walk] = P
    return moved


def _explain(region: Region, P: Tensor, replicate: Tensor, where: int) -> None:
    """Say why no feasible point was found.

    Raises:
        InfeasibleError: always.
    """
    mine = replicate == where
    closest = region.violation(P[mine], replicate[mine]).min().item()
    who = "" if len(region.low) == 1 else f" of replicate {where}"
    if not region.functions and _contradicts(region, where):
        raise InfeasibleError(
            f"input_constraints: the linear constraints ({'; '.join(region.names)}) contradict "
            f"each other in the box{who}; loosen one, or widen the bounds"
        )
    raise InfeasibleError(
        f"input_constraints: no feasible point found among {(1 + _REDRAWS) * int(mine.sum())} "
        f"repaired candidates{who}; the closest misses by {closest:.3g} of the box. Loosen the "
        "constraints, or narrow the bounds to where they can hold"
    )


def _chord(
    P: Float[Tensor, "k d"],
    z: Float[Tensor, "k d"],
    A: Float[Tensor, "#k m d"],
    b: Float[Tensor, "#k m"],
    low: Float[Tensor, "#k d"],
    high: Float[Tensor, "#k d"],
) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"]]:
    """From which to which t all P + t z have A x <= b and low <= x <= high; 0, 0 if unbounded."""
    rate = torch.cat([(A @ z.unsqueeze(-1)).squeeze(-1), z, -z], -1)
    slack = torch.cat([b - (A @ P.unsqueeze(-1)).squeeze(-1), high - P, P - low], -1)
    ends = slack.clamp(min=0) / torch.where(rate.abs() > 1e-12, rate, torch.nan)
    right = torch.where(rate > 1e-12, ends, torch.inf).amin(-1)
    left = torch.where(rate < -1e-12, ends, -torch.inf).amax(-1)
    stuck = ~torch.isfinite(right - left)
    return torch.where(stuck, 0.0, left), torch.where(stuck, 0.0, right)


def _contradicts(region: Region, where: int) -> bool:
    """Whether a linear programme proves that the linear constraints have no common point."""
    from scipy.optimize import linprog  # imported when needed: it is slow to load

    i = where if len(region.A) > 1 else 0
    A, b = region.A[i].cpu().numpy(), region.b[i].cpu().numpy()
    j = where if len(region.low) > 1 else 0
    limits = list(zip(region.low[j].tolist(), region.high[j].tolist(), strict=True))
    m = region.m
    verdict = linprog(
        c=[0.0] * region.d,
        A_ub=A[:m] if m else None,
        b_ub=b[:m] if m else None,
        A_eq=A[m:] if m < len(A) else None,
        b_eq=b[m:] if m < len(A) else None,
        bounds=limits,
    )
    return bool(verdict.status == 2)  # "infeasible"
