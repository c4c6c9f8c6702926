"""One minimiser, two engines: SciPy's compiled one for few rows on a CPU, else the batched one.

`lbfgs.minimize` advances all rows by array operations, a hundred to an iteration. SciPy's L-BFGS-B
core does the same work for one row in a few microseconds, and makes a search with few rows faster.
It works by reverse communication: it returns wherever it wants to know a value. So here each row
has a core of its own, all are run to their next question, and the questions are asked as one batch.

The core is not part of SciPy's public interface. Where it is missing or takes other arguments than
expected, or where nothing holds BLAS to one thread (neither threadpoolctl nor OMP_NUM_THREADS=1),
the batched engine does everything.

Taught in part_2/tutorial_05.
"""

import importlib
import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from . import lbfgs
from .minimum import (
    BAD_START,
    DECREASE,
    GRADIENT,
    LIMIT,
    RUNNING,
    Minimum,
    ValueAndGradient,
)
from .race import LOOK_EVERY, Race

_SIGNATURE = "setulb(m,x,l,u,nbd,f,g,factr,pgtol,wa,iwa,task,lsave,isave,dsave,maxls,ln_task)"
_ROWS, _NUMBERS = 32, 640  # beyond so many rows, or numbers in all of them, batching is as fast
_MEMORY, _MAX_LINE_SEARCH = 10, 20
_NEW_X, _EVALUATE, _CONVERGED = 1, 3, 4  # what the core says in task[0]


@cache
def _core() -> Any:
    """SciPy's core, or None if it is not there, or not as expected."""
    try:
        from scipy.optimize import _lbfgsb
    except ImportError:
        return None
    setulb = getattr(_lbfgsb, "setulb", None)
    return setulb if (getattr(setulb, "__doc__", None) or "").startswith(_SIGNATURE) else None


@cache
def _controller() -> Any:
    """The controller of BLAS threads, or None if threadpoolctl is not installed."""
    try:
        return importlib.import_module("threadpoolctl").ThreadpoolController()
    except ImportError:
        return None


def _one_thread() -> AbstractContextManager[Any]:
    """Let BLAS use one thread: on matrices of twenty rows two of them wait for each other."""
    controller = _controller()
    return nullcontext() if controller is None else controller.limit(limits=1, user_api="blas")


def compiled_suits(x0: Float[Tensor, "N D"]) -> bool:
    """Whether SciPy's core is there and pays for these rows."""
    few = x0.device.type == "cpu" and len(x0) <= _ROWS and x0.numel() <= _NUMBERS
    if not few or _core() is None:
        return False
    named = (os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"))
    return _controller() is not None or "1" in named


def minimize(
    fun: ValueAndGradient,
    x0: Float[Tensor, "N D"],
    lower: Float[Tensor, "N D"],
    upper: Float[Tensor, "N D"],
    *,
    gtol: float = 1e-5,
    ftol: float = 2.2e-9,
    max_iter: int = 500,
    rivals: Int[Tensor, "N"] | None = None,
) -> Minimum:
    """Minimise N independent functions in boxes, by the engine that is faster.

    Args and returns as `lbfgs.minimize`; all bounds finite.

    Source: Byrd, Lu, Nocedal & Zhu, "A limited memory algorithm for bound constrained
    optimization", SIAM J. Scientific Computing 16, 1995; Zhu, Byrd, Lu & Nocedal, "Algorithm 778:
    L-BFGS-B", ACM Trans. Mathematical Software 23, 1997.
    """
    options: dict[str, Any] = {"gtol": gtol, "ftol": ftol, "max_iter": max_iter, "rivals": rivals}
    if not compiled_suits(x0):
        return lbfgs.minimize(fun, x0, lower, upper, **options)
    end = _Rows(fun, x0, lower, upper).run(**options)
    odd = end.status == BAD_START  # not a number somewhere on the way, or no step that helps
    if not odd.any():
        return end
    # The core does not expect values that are not numbers; the batched engine steps around them.
    which = odd.nonzero().flatten()
    options["rivals"] = None
    again = lbfgs.minimize(
        lambda x, rows: fun(x, which[rows]), end.x[which], lower[which], upper[which], **options
    )
    for name in ("x", "value", "gradient", "status", "iterations"):
        getattr(end, name)[which] = getattr(again, name)
    return Minimum(
        end.x,
        end.value,
        end.gradient,
        end.status,
        end.iterations,
        evaluations=end.evaluations + again.evaluations,
        points=end.points + again.points,
    )


class _Rows:
    """A core for each row, and the best that each has seen."""

    def __init__(self, fun: ValueAndGradient, x0: Tensor, lower: Tensor, upper: Tensor) -> None:
        N, D = x0.shape
        self.fun = fun
        self.low, self.high = (v.expand_as(x0).contiguous().numpy() for v in (lower, upper))
        self.x = np.clip(x0.detach().numpy(), self.low, self.high)
        self.f, self.g = np.zeros(N), np.zeros((N, D))
        self.best_x, self.best_f = self.x.copy(), np.full(N, np.inf)
        self.best_g = np.zeros((N, D))
        self.value = [np.zeros(()) for _ in range(N)]  # what the core reads
        self.kind = np.full(D, 2, dtype=np.int32)  # bounds on both sides
        m = _MEMORY
        self.work = [
            (
                np.zeros(2 * m * D + 5 * D + 11 * m * m + 8 * m),
                np.zeros(3 * D, dtype=np.int32),
                np.zeros(2, dtype=np.int32),  # task
                np.zeros(4, dtype=np.int32),
                np.zeros(44, dtype=np.int32),
                np.zeros(29),
                np.zeros(2, dtype=np.int32),
            )
            for _ in range(N)
        ]
        self.iterations = np.zeros(N, dtype=np.int64)
        self.status = np.full(N, RUNNING)

    def advance(self, i: int, gtol: float, ftol: float, max_iter: int) -> bool:
        """Run the core of row i to its next question; False if it has none any more."""
        wa, iwa, task, lsave, isave, dsave, ln_task = self.work[i]
        setulb, factr = _core(), ftol / np.finfo(float).eps
        self.value[i][...] = self.f[i]
        while True:
            setulb(
                _MEMORY, self.x[i], self.low[i], self.high[i], self.kind, self.value[i], self.g[i],
                factr, gtol, wa, iwa, task, lsave, isave, dsave, _MAX_LINE_SEARCH, ln_task,
            )  # fmt: skip
            if task[0] == _EVALUATE:
                return True
            if task[0] != _NEW_X:
                self.status[i] = DECREASE if task[0] == _CONVERGED else BAD_START
                return False
            self.iterations[i] += 1
            if self.iterations[i] >= max_iter:
                self.status[i] = LIMIT
                return False

    def run(self, gtol: float, ftol: float, max_iter: int, rivals: Tensor | None) -> Minimum:
        """Advance all rows, question by question."""
        live = list(range(len(self.x)))
        asked, rows, race = live, torch.arange(len(self.x)), None
        evaluations = points = 0
        with _one_thread():
            while True:
                asking = [i for i in live if self.advance(i, gtol, ftol, max_iter)]
                if race is not None and asking and evaluations % LOOK_EVERY == 0:
                    self._look(race, live, gtol, evaluations)
                    asking = [i for i in asking if self.status[i] == RUNNING]
                if not asking:
                    break
                if asking != asked:
                    asked, rows = asking, torch.tensor(asking)
                live = asked
                f, g = self.fun(torch.from_numpy(self.x[live]), rows)
                evaluations, points = evaluations + 1, points + len(live)
                self.f[live], self.g[live] = f.detach().numpy(), g.detach().numpy()
                if race is None and rivals is not None:
                    race = Race(rivals, self.f, self.x.T)
                live = self._note(live)
        x, g = torch.from_numpy(self.best_x), torch.from_numpy(self.best_g)
        low, high = torch.from_numpy(self.low), torch.from_numpy(self.high)
        steepest = (torch.minimum(torch.maximum(x - g, low), high) - x).abs().amax(-1)
        status = torch.from_numpy(self.status)
        status = torch.where((status == DECREASE) & (steepest <= gtol), GRADIENT, status)
        return Minimum(
            x=x,
            value=torch.from_numpy(self.best_f),
            gradient=steepest,
            status=status,
            iterations=torch.from_numpy(self.iterations),
            evaluations=evaluations,
            points=points,
        )

    def _look(self, race: Race, live: list[int], gtol: float, evaluations: int) -> None:
        """Give up the rows that need not go on."""
        x, f, g = self.best_x[live].T, self.best_f[live], self.best_g[live].T
        self.status[live] = race.judge(live, x, f, g, self.status[live], gtol, evaluations)

    def _note(self, asked: list[int]) -> list[int]:
        """Remember the best of each row; rows with a value that is no number are set aside."""
        at = np.array(asked)
        sound = np.isfinite(self.f[at]) & np.isfinite(self.g[at]).all(1)
        self.status[at[~sound]] = BAD_START
        at = at[sound]
        at_best = at[self.f[at] <= self.best_f[at]]
        for best, now in ((self.best_x, self.x), (self.best_f, self.f), (self.best_g, self.g)):
            best[at_best] = now[at_best]
        return at.tolist()  # type: ignore[no-any-return]
