"""Problems with a cheap version: the last input is a fidelity in [0, 1], and 1 is the truth.

`optimal_value` is the best value at fidelity 1, which is what counts; lower fidelities may promise
more. What an evaluation costs is not the problem's affair: see `AffineCost`.

Taught in part_6/tutorial_03.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .classic import Branin, Hartmann6
from .core import Problem, table


def _augmented_branin(X: Tensor) -> Tensor:
    x, y, s = X.unbind(-1)
    valley = y - (5.1 / (4 * math.pi**2) - 0.1 * (1 - s)) * x**2 + 5 / math.pi * x - 6
    return -(valley**2) - 10 * (1 - 1 / (8 * math.pi)) * torch.cos(x) - 10


class AugmentedBranin(Problem):
    """Branin whose parabola is bent at low fidelity: b - (1 - s)/10 in place of b.

    The best value is the same at every fidelity, its place is not: the cheap version misleads about
    where to look.

    Source: Wu, Toscano-Palmerin, Frazier & Wilson, "Practical multi-fidelity Bayesian optimization
        for hyperparameter tuning", UAI 2019, arXiv:1903.04703; sign flipped.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        branin = Branin()
        assert branin.optimal_points is not None
        super().__init__(
            _augmented_branin,
            _with_fidelity(branin.bounds),
            optimal_value=branin.optimal_value,
            optimal_points=_at_target(branin.optimal_points),
            noise_std=noise_std,
            how="closed form: Branin at fidelity 1",
            name="augmented Branin",
            inputs=("x", "y", "fidelity"),
            fidelity=2,
        )


def _augmented_hartmann(X: Tensor, truth: Callable[[Tensor], Tensor]) -> Tensor:
    x, s = X[..., :-1], X[..., -1]
    # The first bump has the weight 1: what is missing is (1 - s)/10 of it.
    centre = X.new_tensor([0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886])
    steep = X.new_tensor([10.0, 3.0, 17.0, 3.5, 1.7, 8.0])
    first = torch.exp(-(steep * (x - centre) ** 2).sum(-1))
    return truth(x) - 0.1 * (1 - s) * first


class AugmentedHartmann6(Problem):
    """Hartmann-6 whose first bump is lower at low fidelity: alpha_1 - (1 - s)/10.

    The cheap version is nearly the truth.

    Source: Wu et al. (2019), as for `AugmentedBranin`; sign flipped.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        truth = Hartmann6()
        assert truth.optimal_points is not None
        super().__init__(
            partial(_augmented_hartmann, truth=truth.f),
            _with_fidelity(truth.bounds),
            optimal_value=truth.optimal_value,
            optimal_points=_at_target(truth.optimal_points),
            noise_std=noise_std,
            how="that of Hartmann-6, at fidelity 1",
            name="augmented Hartmann-6",
            inputs=(*truth.inputs, "fidelity"),
            fidelity=6,
        )


def currin(x: Tensor, y: Tensor) -> Tensor:
    """Currin's exponential function, with its limit at y = 0."""
    flat = y <= 0
    fade = torch.where(flat, 1.0, -torch.expm1(-0.5 / torch.where(flat, 1.0, y)))
    cubic = 2300 * x**3 + 1900 * x**2 + 2092 * x + 60
    return fade * cubic / (100 * x**3 + 500 * x**2 + 4 * x + 20)


def _currin_levels(X: Tensor) -> Tensor:
    x, y, s = X.unbind(-1)
    up, down = y + 0.05, (y - 0.05).clamp(min=0.0)
    left, right = x - 0.05, x + 0.05
    corners = currin(right, up) + currin(right, down) + currin(left, up) + currin(left, down)
    return s * currin(x, y) + (1 - s) * corners / 4


class Currin(Problem):
    """Currin's exponential function, blurred at low fidelity, on the unit square.

    f(x, y) = (1 - exp(-1/(2y))) (2300 x^3 + 1900 x^2 + 2092 x + 60) / (100 x^3 + 500 x^2 + 4 x +
    20); at fidelity 0 the mean of f at (x ± 0.05, y ± 0.05), y not below 0, in between a mixture.
    Best on the edge y = 0.

    Source: Currin, Mitchell, Morris & Ylvisaker (1988); the two levels: Xiong, Qian & Wu,
        "Sequential design and analysis of high-accuracy and low-accuracy computer codes",
        Technometrics 55 (2013), https://doi.org/10.1080/00401706.2012.723572.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _currin_levels,
            table([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
            optimal_value=13.798722044728434,
            optimal_points=table([13 / 60, 0.0, 1.0]),
            noise_std=noise_std,
            how="closed form: on the edge y = 0 the derivative vanishes at x = 13/60",
            name="Currin",
            inputs=("x", "y", "fidelity"),
            fidelity=2,
        )


def _borehole(X: Tensor) -> Tensor:
    rw, r, Tu, Hu, Tl, Hl, L, Kw, s = X.unbind(-1)
    spread = torch.log(r / rw)
    leak = 2 * L * Tu / (spread * rw**2 * Kw)
    truth = 2 * math.pi * Tu * (Hu - Hl) / (spread * (1 + leak + Tu / Tl))
    cheap = 5 * Tu * (Hu - Hl) / (spread * (1.5 + leak + Tu / Tl))
    return s * truth + (1 - s) * cheap


class Borehole(Problem):
    """Water through a borehole between two aquifers, in m^3 a year; the cheap version is a misfit.

    Truth 2 pi Tu (Hu - Hl) / (ln(r/rw) (1 + 2 L Tu/(ln(r/rw) rw^2 Kw) + Tu/Tl)); at fidelity 0 with
    5 for 2 pi and 1.5 for 1, in between a mixture. Eight inputs: radii rw and r of the borehole and
    its influence (m), transmissivities Tu and Tl (m^2 a year) and heads Hu and Hl (m) of the upper
    and the lower aquifer, length L (m), conductivity Kw (m a year). The flow is monotone in all of
    them, so the best point is a corner.

    Source: Harper & Gupta (1983); the two levels: Xiong, Qian & Wu (2013), as for `Currin`.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        low = (0.05, 100.0, 63_070.0, 990.0, 63.1, 700.0, 1120.0, 9855.0)
        high = (0.15, 50_000.0, 115_600.0, 1110.0, 116.0, 820.0, 1680.0, 12_045.0)
        best = table([0.15, 100.0, 115_600.0, 1110.0, 116.0, 700.0, 1120.0, 12_045.0, 1.0])
        names = (
            "rw (m)",
            "r (m)",
            "Tu (m2/a)",
            "Hu (m)",
            "Tl (m2/a)",
            "Hl (m)",
            "L (m)",
            "Kw (m/a)",
        )
        super().__init__(
            _borehole,
            table([*low, 0.0], [*high, 1.0]),
            optimal_value=_borehole(best).item(),
            optimal_points=best,
            noise_std=noise_std,
            how="enumerated: monotone in every input, the best of all corners",
            name="borehole",
            inputs=(*names, "fidelity"),
            output="flow (m3/a)",
            fidelity=8,
        )


def _with_fidelity(bounds: Tensor) -> Tensor:
    return torch.cat([bounds, table([0.0], [1.0])], dim=-1)


def _at_target(points: Tensor) -> Tensor:
    return torch.cat([points, torch.ones_like(points[:, :1])], dim=-1)
