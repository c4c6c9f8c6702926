"""Discrete moves in a space: all combinations where they are few, else steps from where one stands.

Taught in part_5/tutorial_03.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..errors import InfeasibleError, UnsupportedError
from ..space.designs import listed, spread
from ..space.lattice import Array, Lattice
from ..space.parameters import Categorical, Value
from ..space.space import Space

_ALL_LEVELS = 16  # numbers with more take steps of 1, 2, 4, ... up and down
_EXCHANGES = 256  # at most this many steps that two parameters take together
_POOL = 2048  # legal points that starts are taken from where constraints tie parameters


def combinations(lattice: Lattice, most: int) -> Array | None:
    """All legal combinations of the discrete positions, ``c k``; None if they are more than most.

    Where real numbers share a constraint, a combination counts if each constraint could be met.
    """
    if not lattice.discrete.any():
        return np.zeros((1, 0))
    try:
        return listed(lattice.grid(), most)
    except UnsupportedError:
        return None


@lru_cache(maxsize=16)
def pool(space: Space, fixed: tuple[tuple[str, Value], ...]) -> Array:
    """Legal points spread over a space with constraints, ``n p``: the same for every search."""
    lattice, count = space.limited(dict(fixed)), _POOL
    while True:
        try:
            return np.asarray(spread(space.parameters, lattice, count, [0])[0])
        except InfeasibleError:  # a finite space with fewer points, too many to list
            count //= 2


class Moves:
    """Single discrete steps from points, and exchanges that keep a constraint.

    A category and a number of few levels go to every other level at once; a number of many goes 1,
    2, 4, ... levels up and down. Two numbers of one constraint also move together so that its sum
    stays, as far as that is possible with whole steps.
    """

    def __init__(self, space: Space, lattice: Lattice) -> None:
        self.lattice = lattice
        free = np.flatnonzero(lattice.discrete & (lattice.lower < lattice.upper)).tolist()
        jumps: list[tuple[int, float]] = []
        steps: list[dict[int, float]] = []
        for k in free:
            low, high = lattice.lower[k], lattice.upper[k]
            if isinstance(space.parameters[k], Categorical) or high - low < _ALL_LEVELS:
                jumps += [(k, float(v)) for v in np.arange(low, high + 1)]
            else:
                steps += [{k: sign * size} for size in _sizes(high - low) for sign in (1.0, -1.0)]
        steps += self._exchanges(free)
        p = len(lattice.lower)
        self.jump = np.array([k for k, _ in jumps], dtype=int)
        self.to = np.array([v for _, v in jumps])
        self.by = np.zeros((len(steps), p))
        for i, step in enumerate(steps):
            for k, size in step.items():
                self.by[i, k] = size
        self.count = len(jumps) + len(steps)

    def _exchanges(self, free: list[int]) -> list[dict[int, float]]:
        """Pairs of steps that leave the sum of a row as it is."""
        lattice, found = self.lattice, list[dict[int, float]]()
        for a, whole in zip(lattice.A, lattice.whole, strict=True):
            mine = [k for k in free if a[k] != 0]
            for i, k in enumerate(mine if whole else []):
                for m in mine[i + 1 :]:
                    common = float(np.gcd(int(a[k]), int(a[m])))
                    one, two = a[m] / common, -a[k] / common
                    most = min(
                        (lattice.upper[k] - lattice.lower[k]) / abs(one),
                        (lattice.upper[m] - lattice.lower[m]) / abs(two),
                    )
                    for size in _sizes(most):
                        found += [{k: s * size * one, m: s * size * two} for s in (1.0, -1.0)]
        if len(found) > _EXCHANGES:
            keep = np.linspace(0, len(found) - 1, _EXCHANGES).astype(int)
            found = [found[i] for i in keep]
        return found

    def __call__(self, z: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Where points ``k p`` may go: ``k c p``, and which of the moves are legal, ``k c``.

        Real numbers that share a constraint follow; illegal moves stay where they were.
        """
        lattice, jumps = self.lattice, len(self.jump)
        new = np.repeat(z[:, None], self.count, axis=1)
        new[:, np.arange(jumps), self.jump] = self.to
        new[:, jumps:] += self.by
        good = ((new >= lattice.lower) & (new <= lattice.upper)).all(-1)
        good &= (new != z[:, None]).any(-1)
        if len(lattice.A):
            flat = new[good]
            flat = lattice.moved(flat, ~lattice.discrete)
            new[good] = flat
            good[good] = lattice.feasible(flat)
        return np.where(good[..., None], new, z[:, None]), good


def _sizes(most: float) -> list[float]:
    """1, 2, 4, ... up to a limit."""
    return [2.0**i for i in range(int(np.log2(most)) + 1)] if most >= 1 else []
