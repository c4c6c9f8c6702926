"""Strategies without a model, which every method has to beat: random, Sobol, Nelder-Mead.

Taught in part_4/tutorial_03.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UnsupportedError
from ..sampling import sobol_points
from ..seeds import Seed, derive, replicate_seeds, uniform
from .protocol import StudyData


def random(
    data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
) -> Float[Tensor, "*r q d"]:
    """Uniform random search: the baseline that every method has to beat.

    Example:
        >>> bounds = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
        >>> X = torch.zeros(3, 1, 2, dtype=torch.float64)
        >>> seen = torch.ones(3, 1, dtype=torch.bool)
        >>> data = StudyData(X, X[..., :1], seen, bounds, None, round=0, n_init=1)
        >>> random(data, bounds, 4, (7, 8, 9)).shape
        torch.Size([3, 4, 2])
    """
    if data.space is not None:
        return _legal(data, q, seed)
    replicates, d = data.X.shape[:-2], data.X.shape[-1]
    u = uniform(replicate_seeds(seed, replicates), (q, d), bounds.device)
    return (bounds[0] + (bounds[1] - bounds[0]) * u).reshape(*replicates, q, d)


def sobol(
    data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
) -> tuple[Float[Tensor, "*r q d"], object]:
    """Quasi-random search: one scrambled Sobol sequence for each replicate, continued every round.

    The state is (seed of the sequence, points already drawn).

    Source:
        Sobol', USSR Comp. Math. 7 (1967); scrambling: Owen, J. Complexity 14 (1998).
    """
    start, drawn = cast("tuple[Seed, int]", data.state or (seed, 0))
    if data.space is not None and data.excluded is not None:
        return _legal(data, q, start), (start, 0)  # the sequence, without what was run already
    replicates = data.X.shape[0] if data.X.ndim == 3 else None
    if data.space is not None:
        points = data.space.sobol(drawn + q, start, replicates)
    else:
        points = sobol_points(bounds, drawn + q, seed=start, replicates=replicates)
    return points[..., drawn:, :], (start, drawn + q)


def _legal(data: StudyData, q: int, seed: Seed) -> Float[Tensor, "*r q d"]:
    """q legal points of a Sobol sequence that are not excluded; of a list of entries, any."""
    assert data.space is not None
    replicates = data.X.shape[0] if data.X.ndim == 3 else None
    if data.left is not None:
        return drawn(data.left, q, replicate_seeds(seed, data.X.shape[:-2]))
    return data.space.sobol(q, seed, replicates, exclude=data.excluded).to(data.X.device)


def drawn(choices: Float[Tensor, "*r k d"], q: int, streams: list[int]) -> Float[Tensor, "*r q d"]:
    """q of a list of points at random, without repeats."""
    order = uniform(streams, (choices.shape[-2],), choices.device).argsort(-1)[:, :q]
    order = order.reshape(*choices.shape[:-2], q, 1)
    return choices.gather(-2, order.expand(*order.shape[:-1], choices.shape[-1]))


class _Ask(Exception):
    """Carries the point at which a replayed optimiser wants its next value."""

    def __init__(self, point: Any) -> None:
        super().__init__()
        self.point = point


@dataclass(frozen=True)
class NelderMead:
    """Nelder and Mead's simplex search with restarts: a baseline without a model (q = 1).

    The first simplex stands at the best point of the initial design, later ones at random points,
    each time the old simplex has become smaller than `tolerance`. SciPy's method wants to call a
    function; here it is replayed on the recorded values and stopped where it asks for a new one.

    Args:
        step: edge of a new simplex, as a fraction of the box.
        tolerance: size of the simplex at which to restart, as a fraction of the box.

    Source:
        Nelder & Mead, Computer J. 7 (1965); Gao & Han, Comput. Optim. Appl. 51 (2012).
    """

    step: float = 0.2
    tolerance: float = 1e-3
    batched: ClassVar[bool] = False

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "1 d"], object]:
        """The next point of the simplex search for one replicate; the state is its seed."""
        import numpy as np
        from scipy.optimize import minimize

        if q != 1:
            raise UnsupportedError(f"nelder_mead proposes one point at a time, got q={q}; use q=1")
        if data.space is not None:
            raise UnsupportedError(
                "nelder_mead moves in boxes, got a space; use random, sobol or log_ei"
            )
        start = seed if data.state is None else data.state
        assert isinstance(start, int)  # batched = False: one replicate at a time
        lower, width = bounds[0], bounds[1] - bounds[0]
        # SciPy minimises; a failed evaluation is worse than anything, yet finite
        loss = torch.where(data.observed, -data.Y[:, 0], 1e300)
        recorded = iter(loss[data.n_init :].tolist())

        def replay(u: Any) -> float:
            for value in recorded:
                return float(value)
            raise _Ask(u.copy())

        d, restart = len(lower), 0
        while True:
            if restart == 0:
                corner = ((data.X[loss[: data.n_init].argmin()] - lower) / width).cpu().numpy()
            else:
                corner = uniform([derive(start, "restart", restart)], (d,))[0].numpy()
            edges = np.diag(np.where(corner > 0.5, -self.step, self.step))
            simplex = np.clip(np.vstack([corner, corner + edges]), 0.0, 1.0)
            options = {
                "initial_simplex": simplex,
                "xatol": self.tolerance,
                "fatol": np.inf,
                "adaptive": True,
                "maxfev": 10**9,
                "maxiter": 10**9,
            }
            try:
                minimize(
                    replay, corner, method="Nelder-Mead", bounds=[(0.0, 1.0)] * d, options=options
                )
            except _Ask as ask:
                u = torch.from_numpy(ask.point).to(bounds)
                return (lower + width * u).unsqueeze(0), start
            restart += 1


nelder_mead = NelderMead()
"""`NelderMead` with its defaults."""
