"""Smooth landscapes with formulas for everything: what Part 2 sends its descents through.

Named by their losses, which Part 2 minimises: ``problem.loss(X)``. As problems they are maximised
like all others.

Taught in part_2/tutorial_01 and part_2/tutorial_04.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, ShapeError
from ..shapes import check_tensor
from .core import Problem, cube, table


def _bowl(X: Tensor, H: Tensor, c: Tensor) -> Tensor:
    away = X - c.to(X.device)
    return -0.5 * ((away @ H.to(X.device)) * away).sum(-1)


class Quadratic(Problem):
    """The bowl with a chosen Hessian: loss 1/2 (x - c)^T H (x - c).

    Args:
        H: the Hessian ``d d``, symmetric, or only its diagonal ``d``, the eigenvalues.
        center: c, the stationary point; by default 0.
        noise_std: as for every problem.

    The box reaches from c - 2 to c + 2. With a negative eigenvalue c is a saddle or a maximum of
    the loss, and the problem states no optimum.

    Raises:
        ShapeError: an H that is neither ``d`` nor ``d d``, or a center that does not fit.
        DataError: an H that is not symmetric.

    Example:
        >>> bowl = Quadratic([10.0, 1.0])
        >>> bowl.loss(torch.ones(2, dtype=torch.float64))
        tensor(5.5000, dtype=torch.float64)
    """

    H: Float[Tensor, "d d"]
    center: Float[Tensor, " d"]

    def __init__(
        self,
        H: Float[Tensor, "..."] | Sequence[float] | Sequence[Sequence[float]],
        center: Float[Tensor, " d"] | Sequence[float] | None = None,
        noise_std: float = 0.0,
    ) -> None:
        given = check_tensor(
            "H", H if isinstance(H, Tensor) else torch.as_tensor(H, dtype=torch.float64)
        )
        hessian = torch.diag(given) if given.ndim == 1 else given.clone()
        if hessian.ndim != 2 or hessian.shape[0] != hessian.shape[1] or not len(hessian):
            raise ShapeError(f"H: expected shape d d, or d eigenvalues, got {tuple(given.shape)}")
        if not torch.equal(hessian, hessian.T):
            gap = (hessian - hessian.T).abs().max().item()
            raise DataError(
                f"H: expected a symmetric matrix, got one that differs from its transpose by up to "
                f"{gap:g}; use (H + H.T) / 2"
            )
        d = len(hessian)
        c = torch.zeros_like(hessian[0]) if center is None else center
        c = check_tensor(
            "center", c if isinstance(c, Tensor) else torch.as_tensor(c, dtype=torch.float64)
        )
        c = c.clone()
        if c.shape != (d,):
            raise ShapeError(f"center: expected shape ({d},), got {tuple(c.shape)}")
        object.__setattr__(self, "H", hessian)
        object.__setattr__(self, "center", c)
        bowl = bool(torch.linalg.eigvalsh(hessian).min() >= 0)
        super().__init__(
            partial(_bowl, H=hessian, c=c),
            torch.stack([c - 2, c + 2]),
            optimal_value=0.0 if bowl else None,
            optimal_points=c.unsqueeze(0) if bowl else None,
            noise_std=noise_std,
            how="closed form: the center" if bowl else "none: H has a negative eigenvalue",
            name="quadratic",
        )


def _double_well(X: Tensor) -> Tensor:
    return (X**2 / 2 - X**4 / 4)[..., 0]


class DoubleWell(Problem):
    """Two equal wells and a hill between them: loss x^4/4 - x^2/2 on [-2, 2].

    Minima -1/4 at -1 and 1, where the curvature is 2; a maximum 0 at 0, where it is -1.

    Example:
        >>> DoubleWell().loss(torch.tensor([1.0], dtype=torch.float64))
        tensor(-0.2500, dtype=torch.float64)
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _double_well,
            cube(-2.0, 2.0, 1),
            optimal_value=0.25,
            optimal_points=table([-1.0], [1.0]),
            noise_std=noise_std,
            how="closed form: x^2 = 1",
            name="double well",
            inputs=("x",),
        )


def _four_wells(X: Tensor) -> Tensor:
    return (X**2 - 0.2 * X**4).sum(-1) - 0.3 * X.prod(-1)


class FourWell(Problem):
    """Four wells of two depths: loss 0.2 (x^4 + y^4) - (x^2 + y^2) + 0.3 x y on [-3, 3]^2.

    Nine critical points: the deep wells at ±(a, -a) with a^2 = 2.875 and loss -3.30625, the shallow
    ones at ±(b, b) with b^2 = 2.125 and loss -1.80625, four saddles of loss -1.19375, and a maximum
    of loss 0 in the middle. The barrier out of a shallow well is 0.6125.

    Example:
        >>> FourWell().optimal_value
        3.30625
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        a = math.sqrt(2.875)
        super().__init__(
            _four_wells,
            cube(-3.0, 3.0, 2),
            optimal_value=3.30625,
            optimal_points=table([a, -a], [-a, a]),
            noise_std=noise_std,
            how="closed form: x^2 = 2.875 on the diagonal y = -x",
            name="four wells",
            inputs=("x", "y"),
        )
