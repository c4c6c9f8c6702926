"""Designs: legal points, counted, listed, or spread evenly over a space.

Taught in part_5/tutorial_03.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from ..errors import InfeasibleError, UnsupportedError
from ..seeds import derive, normal, uniform
from .codes import NEAR, between
from .lattice import Array, Lattice
from .parameters import Parameter

LISTED = 100_000
"""Most designs that are listed."""

_COUNTED = 20_000_000  # sums of a constraint that counting may visit
_FEW = 20_000  # designs that are listed to draw some, all different
_NEARLY_ALL = 8  # if at least one in this many designs is drawn, they are listed up to a million
_WORKING = 4_000_000  # numbers that listing may hold on its way
_DRAWS = 2**15  # quasi-random points looked at, for those that are feasible
_CHAIN = 200  # most steps of a walk


def blocks(lattice: Lattice) -> list[tuple[list[int], list[int]]]:
    """Parameters that constraints tie together, and those constraints: positions and rows."""
    groups: list[tuple[set[int], list[int]]] = []
    for i, a in enumerate(lattice.A):
        mine, rows = set(np.flatnonzero(a).tolist()), [i]
        for group in [g for g in groups if g[0] & mine]:
            groups.remove(group)
            mine |= group[0]
            rows += group[1]
        groups.append((mine, rows))
    return [(sorted(members), sorted(rows)) for members, rows in groups]


def count(lattice: Lattice) -> int:
    """How many legal points a finite lattice has, without listing them.

    Parameters that no constraint ties multiply; for the others, the sums of the constraints are
    followed from parameter to parameter, as in counting ways to give change.

    Raises:
        UnsupportedError: too many different sums.
    """
    total, free = 1, set(range(len(lattice.lower)))
    for members, rows in blocks(lattice):
        free -= set(members)
        total *= _count_block(lattice.subset(rows), members)
    for k in free:
        total *= int(lattice.upper[k] - lattice.lower[k]) + 1
    return total


def _count_block(lattice: Lattice, members: list[int]) -> int:
    """Ways to meet the rows with these positions."""
    A, work = lattice.A[:, members], 0.0
    least = np.minimum(A * lattice.lower[members], A * lattice.upper[members])
    most = np.maximum(A * lattice.lower[members], A * lattice.upper[members])
    ways = {(0.0,) * len(A): 1}
    for i, k in enumerate(members):
        low = lattice.low - most[:, i + 1 :].sum(-1) - lattice.tolerance
        high = lattice.high - least[:, i + 1 :].sum(-1) + lattice.tolerance
        # sums from which every continuation is fine need not be told apart
        calm_low = lattice.low - least[:, i + 1 :].sum(-1)
        calm_high = lattice.high - most[:, i + 1 :].sum(-1)
        work += len(ways) * (lattice.upper[k] - lattice.lower[k] + 1)
        if work > _COUNTED:
            raise UnsupportedError(
                "num_designs: the constraints allow too many different sums to count the designs; "
                "use larger steps, or do without the number"
            )
        values = np.arange(lattice.lower[k], lattice.upper[k] + 1)
        steps = values[:, None] * A[:, i]
        then: dict[tuple[float, ...], int] = {}
        for sums, number in ways.items():
            new = np.array(sums) + steps
            new = new[((new >= low) & (new <= high)).all(-1)]
            calm = (new >= calm_low) & (new <= calm_high) & (calm_low <= calm_high)
            new = np.where(calm, np.minimum(np.maximum(calm_low, -1e300), 1e300), new)
            for key in map(tuple, new.tolist()):
                then[key] = then.get(key, 0) + number
        ways = then
    return sum(ways.values())


def listed(lattice: Lattice, most: int = LISTED) -> Array:
    """All legal points of a finite lattice, the first parameter changing slowest.

    Raises:
        UnsupportedError: more than ``most``.
    """
    A, p = lattice.A, len(lattice.lower)
    least = np.minimum(A * lattice.lower, A * lattice.upper)
    high = np.maximum(A * lattice.lower, A * lattice.upper)
    points, sums = np.zeros((1, 0)), np.zeros((1, len(A)))
    for k in range(p):
        if len(points) * (lattice.upper[k] - lattice.lower[k] + 1) > _WORKING:
            raise _too_many(most)
        values = np.arange(lattice.lower[k], lattice.upper[k] + 1)
        # what no choice of the others can mend is dropped at once
        low_k = lattice.low - high[:, k + 1 :].sum(-1) - lattice.tolerance
        high_k = lattice.high - least[:, k + 1 :].sum(-1) + lattice.tolerance
        then = sums[:, None] + values[:, None] * A[:, k]
        keep = ((then >= low_k) & (then <= high_k)).all(-1)
        old, new = np.nonzero(keep)
        points = np.column_stack([points[old], values[new]])
        sums = then[keep]
        if len(points) > most and not len(A):
            raise _too_many(most)
        if len(points) > most and points.size > _WORKING:
            raise _too_many(most)
    points = points[lattice.feasible(points)]
    if len(points) > most:
        raise _too_many(most)
    return points


def _too_many(most: int) -> UnsupportedError:
    return UnsupportedError(
        f"designs: expected at most {most:,} legal points to list, got more; draw some with "
        "space.sobol(n, seed=0), or use larger steps"
    )


def spread(
    parameters: Sequence[Parameter], lattice: Lattice, n: int, streams: Sequence[int]
) -> Array:
    """n legal points for each stream, spread over the space: ``R n p``.

    Points of a scrambled Sobol sequence are taken as they are where they are legal. Where
    equalities tie parameters, some of them are computed from the others. Where few points are
    legal even so, walks inside the legal set give the rest. Of a finite space, no point is taken
    twice before all have been.
    """
    everything = _everything(lattice, n)
    draw = _Quasirandom(parameters, lattice)
    found, lacking = [], []
    for i, stream in enumerate(streams):
        if everything is not None:
            points = _from_list(everything, draw, n, stream)
        else:
            points = draw.points(n, stream, distinct=bool(lattice.discrete.all()))
        lacking += [i] if len(points) < n else []
        found.append(points)
    if lacking:
        _walk(parameters, lattice, n, found, lacking, [streams[i] for i in lacking])
    return np.stack(found)


@lru_cache(maxsize=16)
def _few(lattice: Lattice) -> Array | None:
    """All legal points where they are few: remembered, for designs are drawn again and again."""
    try:
        return listed(lattice, _FEW)
    except UnsupportedError:
        return None


def _everything(lattice: Lattice, n: int) -> Array | None:
    """All legal points, if it is worth listing them to draw n."""
    if not lattice.discrete.all():
        return None
    few = _few(lattice)
    if few is not None or n * _NEARLY_ALL < _FEW:
        return few
    try:
        many = count(lattice)
        return listed(lattice, 1_000_000) if n * _NEARLY_ALL >= many else None
    except UnsupportedError:
        return None


class _Quasirandom:
    """Legal points of Sobol sequences: parameters tied by equalities follow from the others."""

    def __init__(self, parameters: Sequence[Parameter], lattice: Lattice) -> None:
        self.parameters, self.lattice = parameters, lattice
        self.rows, self.tied = _pivots(lattice)

    def points(self, n: int, stream: int, distinct: bool, most: int = _DRAWS) -> Array:
        """Up to n legal points, in the order of the sequence."""
        engine = SobolEngine(len(self.parameters), scramble=True, seed=stream)
        found = np.zeros((0, len(self.parameters)))
        size, drawn = max(2 * n, 64) if len(self.lattice.A) else n, 0
        while len(found) < n and drawn < most:
            u = engine.draw(size, dtype=torch.float64).numpy()
            drawn += size
            new = self.mapped(u)
            found = np.concatenate([found, new[self.lattice.feasible(new)]])
            if distinct and len(found):
                _, first = np.unique(found, axis=0, return_index=True)
                found = found[np.sort(first)]
            size = min(4 * size, most)
        return found[:n]

    def mapped(self, u: Array) -> Array:
        """Uniform numbers as positions within the limits; not all of them legal."""
        lattice = self.lattice
        z = np.empty_like(u)
        for k, p in enumerate(self.parameters):
            if lattice.discrete[k] and not getattr(p, "log", False):
                low, levels = lattice.lower[k], lattice.upper[k] - lattice.lower[k] + 1
                z[:, k] = low + np.minimum(np.floor(u[:, k] * levels), levels - 1)
                continue
            z[:, k] = between(p, u[:, k])
        z = lattice.snapped(z)
        if len(self.tied):
            A = lattice.A[self.rows]
            rest = (
                lattice.low[self.rows] - np.delete(z, self.tied, 1) @ np.delete(A, self.tied, 1).T
            )
            tied = np.linalg.solve(A[:, self.tied], rest.T).T
            whole = np.rint(tied)
            near = lattice.discrete[self.tied] & (np.abs(tied - whole) < 1e-6)
            z[:, self.tied] = np.where(near, whole, tied)
            low, high = lattice.lower[self.tied], lattice.upper[self.tied]
            outside = (tied < low - 1e-9 * lattice.width[self.tied]) | (
                tied > high + 1e-9 * lattice.width[self.tied]
            )
            wrong = (outside | (lattice.discrete[self.tied] & ~near)).any(-1)
            z = z[~wrong]
            z[:, self.tied] = np.clip(z[:, self.tied], low, high)
        return z


def _pivots(lattice: Lattice) -> tuple[list[int], list[int]]:
    """Independent equalities, and a parameter for each, which is computed from the others.

    Real numbers first, for they can take any value; then those with the smallest coefficients.
    """
    free = lattice.lower < lattice.upper
    left = lattice.A * lattice.width * free
    rows, chosen = list[int](), list[int]()
    for i in np.flatnonzero(lattice.low == lattice.high).tolist():
        a = np.abs(left[i])
        usable = free & (a > 1e-9 * np.abs(lattice.A[i] * lattice.width).max())
        usable[chosen] = False
        if not usable.any():
            continue
        real = usable & ~lattice.discrete
        size = a if real.any() else -np.abs(lattice.A[i])
        k = int(np.where(real if real.any() else usable, size, -np.inf).argmax())
        others = [j for j in range(len(left)) if j != i]
        left[others] -= np.outer(left[others, k] / left[i, k], left[i])
        rows.append(i)
        chosen.append(k)
    return rows, chosen


def _from_list(everything: Array, draw: _Quasirandom, n: int, stream: int) -> Array:
    """n of all points: those of the sequence first, then others in random order; then again."""
    order = uniform([derive(stream, "order")], (len(everything),))[0].argsort().numpy()
    if n < len(everything):
        first = draw.points(n, stream, distinct=True, most=8 * n)
        place = {tuple(z): i for i, z in enumerate(everything.tolist())}
        taken = [place[tuple(z)] for z in first.tolist()]
        rest = order[~np.isin(order, taken)]
        order = np.concatenate([taken, rest]).astype(int)
    rounds = -(-n // len(everything))
    which = np.concatenate([order] * rounds)[:n]
    return np.asarray(everything[which])


def _walk(
    parameters: Sequence[Parameter],
    lattice: Lattice,
    n: int,
    found: list[Array],
    lacking: list[int],
    streams: list[int],
) -> None:
    """Fill up with the ends of hit-and-run walks in the legal set without its grids.

    Source: Smith, "Efficient Monte Carlo procedures for generating points uniformly distributed
    over bounded regions", Operations Research 32, 1984.
    """
    chain = _Chain(lattice)
    finite = bool(lattice.discrete.all())
    for attempt in range(50):
        count = n if attempt == 0 else 2 * n
        z = chain.ends(count, [derive(s, "walk", attempt) for s in streams])
        for place, i in enumerate(lacking):
            free = np.flatnonzero((lattice.A == 0).all(0)).tolist()
            own = derive(streams[place], "free", attempt)
            u = SobolEngine(len(parameters), scramble=True, seed=own).draw(
                count, dtype=torch.float64
            )
            for k in free:
                z[place, :, k] = between(parameters[k], u[:, k].numpy())
            points = np.concatenate([found[i], lattice.legal(z[place])])
            if finite:
                _, first = np.unique(points, axis=0, return_index=True)
                points = points[np.sort(first)]
            found[i] = points[:n]
        if all(len(found[i]) >= n for i in lacking):
            return
    raise InfeasibleError(
        f"sobol: expected {n} different legal points, found {min(map(len, found))}; the space is "
        "nearly exhausted: ask for fewer"
    )


class _Chain:
    """Random walks in the polytope of the rows and limits, all positions taken as real."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        used = lattice.bound
        self.used = used
        self.low, self.high = lattice.lower[used], lattice.upper[used]
        self.unit = np.maximum(self.high - self.low, 1e-300)
        A = lattice.A[:, used] * np.where(self.low < self.high, self.unit, 0.0)
        norm = np.abs(A).max(-1)
        keep = norm > 0  # the others hold, for all of their parameters are fixed
        A, norm = A[keep], norm[keep]
        shift = lattice.A[keep][:, used] @ self.low
        low, high = (lattice.low[keep] - shift) / norm, (lattice.high[keep] - shift) / norm
        A = A / norm[:, None]
        equal = low == high
        sides = [(A[i], high[i]) for i in np.flatnonzero(~equal & np.isfinite(high))]
        sides += [(-A[i], -low[i]) for i in np.flatnonzero(~equal & np.isfinite(low))]
        sides += [(e, 1.0) for e in np.eye(len(used))] + [(-e, 0.0) for e in np.eye(len(used))]
        self.G = np.array([side[0] for side in sides])
        self.h = np.array([side[1] for side in sides])
        self.E, self.e = A[equal], low[equal]
        self.start, tight = self._inside()
        fixed = np.vstack([self.E, self.G[tight]])
        _, s, vt = np.linalg.svd(fixed if len(fixed) else np.zeros((1, len(used))))
        rank = int((s > 1e-9).sum())
        self.basis = vt[rank:]
        self.G, self.h = self.G[~tight], self.h[~tight]

    def _inside(self) -> tuple[Array, np.ndarray]:
        """A point that no side touches which need not be touched, and the sides that must be."""
        from scipy.optimize import linprog  # slow to load

        points, tight = [], np.zeros(len(self.h), dtype=bool)
        for i in range(len(self.h)):
            answer = linprog(
                self.G[i],
                A_ub=self.G,
                b_ub=self.h,
                A_eq=self.E if len(self.E) else None,
                b_eq=self.e if len(self.e) else None,
                bounds=(None, None),
            )
            if answer.x is None:
                raise InfeasibleError(f"space: the constraints cannot be met ({answer.message})")
            points.append(answer.x)
            tight[i] = self.h[i] - self.G[i] @ answer.x < 1e-8
        return np.mean(points, axis=0), tight

    def ends(self, n: int, streams: Sequence[int]) -> Array:
        """Where n walks of each stream end: positions ``R n p``."""
        lattice, R, dim = self.lattice, len(streams), len(self.basis)
        z = np.broadcast_to(lattice.lower, (R, n, len(lattice.lower))).copy()
        y = np.broadcast_to(self.start, (R, n, len(self.used))).copy()
        for step in range(min(20 + 5 * dim * dim, _CHAIN) if dim else 0):
            own = [derive(s, step) for s in streams]
            v = normal(own, (n, dim)).numpy() @ self.basis
            t = uniform([derive(s, "along") for s in own], (n,)).numpy()
            rate, slack = v @ self.G.T, np.maximum(self.h - y @ self.G.T, 0.0)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = slack / rate
            right = np.where(rate > 1e-12, ratio, np.inf).min(-1)
            left = np.where(rate < -1e-12, ratio, -np.inf).max(-1)
            length = np.where(np.isfinite(right - left), left + (right - left) * t, 0.0)
            y = y + length[..., None] * v
        z[..., self.used] = self.low + y * self.unit
        return np.clip(z, lattice.lower, lattice.upper)


def left_over(X: Tensor, taken: Tensor, n: int, finite: bool) -> Tensor:
    """The first n of points ``R k d`` that are not among others; of a finite space, no repeats.

    Raises:
        InfeasibleError: fewer are left in some replicate.
    """
    free = torch.cdist(X, taken, p=torch.inf).amin(-1) > NEAR
    if finite:
        same = torch.cdist(X, X, p=torch.inf) <= NEAR
        free &= ~same.tril(-1).any(-1)
    if int(free.sum(-1).min()) < n:
        raise InfeasibleError(
            f"sobol: expected {n} legal points that are not excluded, found "
            f"{int(free.sum(-1).min())}; the space is exhausted: ask for fewer"
        )
    first = free.byte().argsort(dim=-1, descending=True, stable=True)[:, :n]
    return X.gather(1, first.unsqueeze(-1).expand(-1, -1, X.shape[-1]))
