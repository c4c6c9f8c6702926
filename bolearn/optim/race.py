"""Which rows of a race need not go on: many starts, of which only the best end matters.

Taught in part_2/tutorial_05.
"""

import numpy as np
from jaxtyping import Int
from torch import Tensor

from .arrays import Array, dot, largest, namespace
from .minimum import BAD_START, BEHIND, DECREASE, GRADIENT, RUNNING, SAME_END

LOOK_EVERY = 2  # iterations between looks at who is done or need not go on ...
SELDOM = 4  # ... twice as many on a device, which a look waits for, and for who is behind
_FIRST_LOOKS = 4  # before these nobody is behind: the memory is not filled yet
_ALMOST = 100  # times gtol: a gradient (not the projected one) so small says that the end is near
_PATIENCE = 50  # further looks' worth of progress that a row behind its rivals is credited with
_NEAR = 0.1  # of max_step: the distance from which a row can be seen to share a rival's end
_PARABOLA = 0.1  # relative error allowed to the parabola that says so


class Race:
    """Which rows need not go on: out of reach of the best of their rivals, or on its heels.

    Works on torch tensors or on NumPy arrays, variables first as in `_State`. ``f`` and ``gain``
    have an entry for each row; ``best``, ``end_x`` and ``end_f`` one for each group, in front of
    as many entries as there are rows.
    """

    def __init__(self, rivals: Int[Tensor, "N"], f: Array, x: Array, max_step: float = 1.0) -> None:
        _, group = rivals.unique(return_inverse=True)
        xp = namespace(f)
        self.group = group.numpy() if xp is np else group
        self.best = xp.full_like(f, np.inf)  # value seen in each group so far
        self.f = f + 0.0  # of all rows, at the last look
        self.gain = xp.zeros_like(f)  # progress between looks, forgotten by halves
        self.looks = 0
        self.end_x = xp.zeros_like(x)  # D N, of each group: its best (nearly) ended row so far ...
        self.end_f = xp.full_like(f, np.inf)  # ... and the value there
        self.near = _NEAR * max_step

    def judge(
        self,
        rows: Array,
        x: Array,
        f: Array,
        g: Array,
        status: Array,
        gtol: float,
        iteration: int,
    ) -> Array:
        """The status of each row ``k`` after a look at where all of them are.

        ``iteration`` counts evaluations; who is behind is asked at every fourth.
        """
        f = namespace(f).where(status == BAD_START, np.inf, f)
        xp, group, running = namespace(f), self.group[rows], status == RUNNING
        with np.errstate(all="ignore"):  # infinities are values
            if iteration % SELDOM == 0:
                status = xp.where(running & self._behind(rows, group, f), BEHIND, status)
            ended = (status == GRADIENT) | (status == DECREASE) | (largest(g) <= _ALMOST * gtol)
            return xp.where(running & self._same_end(group, x, f, g, ended), SAME_END, status)

    def _behind(self, rows: Array, group: Array, f: Array) -> Array:
        """Which rows cannot catch up with the best of their group any more, at their pace."""
        xp = namespace(f)
        gain = xp.maximum(self.f[rows] - f, self.gain[rows] / 2)
        self.f[rows], self.gain[rows] = f, gain
        _lower(self.best, group, xp.where(xp.isnan(f), np.inf, f))
        self.looks += 1
        return (f - _PATIENCE * gain > self.best[group]) & (self.looks > _FIRST_LOOKS)

    def _same_end(self, group: Array, x: Array, f: Array, g: Array, ended: Array) -> Array:
        """Which rows are in the valley of the best end of their group.

        On the line from a row to that end, value and slope at the row and the value at the end
        define a parabola. In a valley its lowest point is the end: slope = -2 drop.
        """
        _lower(self.end_f, group, namespace(f).where(ended, f, np.inf))
        new = ended & (f == self.end_f[group])
        self.end_x[:, group[new]] = x[:, new]
        line, drop = self.end_x[:, group] - x, f - self.end_f[group]
        parabola = abs(dot(g, line) + 2 * drop) <= _PARABOLA * 2 * drop
        return parabola & (drop > 0) & (largest(line) <= self.near)


def _lower(least: Array, group: Array, f: Array) -> None:
    """Lower the least value of each group by those of some rows, in place."""
    if isinstance(f, np.ndarray):
        np.minimum.at(least, group, f)
    else:
        least.scatter_reduce_(0, group, f, "amin")
