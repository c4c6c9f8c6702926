"""The classical test functions of optimisation, each with its verified optimum.

They are known by the losses of the literature; here they are maximised, so their signs are flipped.

Taught in part_2/tutorial_04 and part_4/tutorial_03.
"""

import math

import torch
from torch import Tensor

from ..shapes import check_count
from .core import Problem, cube


def _forrester(X: Tensor) -> Tensor:
    x = X[..., 0]
    return -((6 * x - 2) ** 2) * torch.sin(12 * x - 4)


class Forrester(Problem):
    """One input, two hills: -(6 x - 2)^2 sin(12 x - 4) on [0, 1].

    No units. It leaves out what makes real curves hard: noise, drift, a flat region.

    Source: Forrester, Sobester & Keane, "Engineering Design via Surrogate Modelling" (2008),
        appendix; sign flipped.

    Example:
        >>> round(Forrester().optimal_value, 6)
        6.02074
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _forrester,
            torch.tensor([[0.0], [1.0]], dtype=torch.float64),
            optimal_value=6.0207400557670828,
            optimal_points=torch.tensor([[0.75724875784185587]], dtype=torch.float64),
            noise_std=noise_std,
            how="Newton's method from the best point of a fine grid, to 16 digits",
            name="Forrester",
            inputs=("x",),
        )


def _branin(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    valley = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return -(valley**2) - 10 * (1 - 1 / (8 * math.pi)) * torch.cos(x) - 10


def _branin_valley(x: float) -> float:
    return 5.1 / (4 * math.pi**2) * x**2 - 5 / math.pi * x + 6


class Branin(Problem):
    """Two inputs, three equally good optima: the first test of every optimiser.

    f(x, y) = -(y - b x^2 + c x - 6)^2 - 10 (1 - 1/(8 pi)) cos x - 10, with b = 5.1/(4 pi^2) and
    c = 5/pi, on [-5, 10] x [0, 15]; no units. The square vanishes on a parabola and -cos x is at
    most 1 there at odd multiples of pi, so the maximum is -10/(8 pi) in closed form. It leaves out
    everything but shape: it is smooth, noise-free unless asked, and low-dimensional.

    Source: Branin (1972), in the form of Dixon & Szegö (1978); sign flipped.

    Example:
        >>> round(Branin().optimal_value, 6)
        -0.397887
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        xs = (-math.pi, math.pi, 3 * math.pi)
        super().__init__(
            _branin,
            torch.tensor([[-5.0, 0.0], [10.0, 15.0]], dtype=torch.float64),
            optimal_value=-10 / (8 * math.pi),
            optimal_points=torch.tensor([[x, _branin_valley(x)] for x in xs], dtype=torch.float64),
            noise_std=noise_std,
            how="closed form: the square is zero and -cos x is one at x = -pi, pi, 3 pi",
            name="Branin",
        )


_HARTMANN_ALPHA = (1.0, 1.2, 3.0, 3.2)
_HARTMANN_A = (
    (10.0, 3.0, 17.0, 3.5, 1.7, 8.0),
    (0.05, 10.0, 17.0, 0.1, 8.0, 14.0),
    (3.0, 3.5, 1.7, 10.0, 17.0, 8.0),
    (17.0, 8.0, 0.05, 10.0, 0.1, 14.0),
)
_HARTMANN_P = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def _hartmann6(X: Tensor) -> Tensor:
    alpha, A, P = (X.new_tensor(rows) for rows in (_HARTMANN_ALPHA, _HARTMANN_A, _HARTMANN_P))
    distance = (A * (X.unsqueeze(-2) - P) ** 2).sum(-1)  # n 4
    return (alpha * torch.exp(-distance)).sum(-1)


class Hartmann6(Problem):
    """Six inputs, four overlapping bumps: the standard test of moderate dimension.

    f(x) = sum_i alpha_i exp(-sum_j A_ij (x_j - P_ij)^2) on the unit cube; no units. Most of the
    cube is nearly flat. It leaves out interactions beyond those of four axis-aligned bumps.

    Source: Hartman (1973), in the form of Dixon & Szegö (1978); sign flipped.

    Example:
        >>> round(Hartmann6().optimal_value, 5)
        3.32237
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _hartmann6,
            torch.tensor([[0.0] * 6, [1.0] * 6], dtype=torch.float64),
            optimal_value=3.3223680114155148,
            optimal_points=torch.tensor(
                [
                    [
                        0.201689511006705424,
                        0.150010691823457969,
                        0.476873974221896990,
                        0.275332430494056068,
                        0.311651616600113242,
                        0.657300534065620306,
                    ]
                ],
                dtype=torch.float64,
            ),
            noise_std=noise_std,
            how="Newton's method with 40 digits from the best of many starts",
            name="Hartmann-6",
        )


def _rosenbrock(X: Tensor) -> Tensor:
    x, successor = X[..., :-1], X[..., 1:]
    return -(100 * (successor - x**2) ** 2 + (1 - x) ** 2).sum(-1)


class Rosenbrock(Problem):
    """The curved valley: loss sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2 on [-2.048, 2.048]^d.

    Down into the valley is easy, along its floor to (1, ..., 1) is slow: the Hessian there has the
    condition number 2508 for d = 2. From d = 4 on there is a second local minimum, with x_1 < 0.

    Source: Rosenbrock, "An automatic method for finding the greatest or least value of a function",
        The Computer Journal 3 (1960), https://doi.org/10.1093/comjnl/3.3.175; the box is De Jong's.

    Example:
        >>> Rosenbrock().loss(torch.tensor([-1.2, 1.0], dtype=torch.float64))
        tensor(24.2000, dtype=torch.float64)
    """

    def __init__(self, d: int = 2, noise_std: float = 0.0) -> None:
        super().__init__(
            _rosenbrock,
            cube(-2.048, 2.048, check_count("d", d, least=2)),
            optimal_value=0.0,
            optimal_points=torch.ones(1, d, dtype=torch.float64),
            noise_std=noise_std,
            how="closed form: a sum of squares that are all zero",
            name=f"Rosenbrock-{d}",
        )


class Rastrigin(Problem):
    """A bowl under an egg box: loss sum_i x_i^2 + 10 (1 - cos 2 pi x_i) on [-5.12, 5.12]^d.

    About 11^d local minima, one near each integer point. It is a sum over coordinates, so that a
    search of one coordinate after the other finds the optimum at 0: many dimensions are not what
    makes it hard for such a search, and are for all others.

    Source: Rastrigin, "Systems of extremal control" (1974, in Russian); for any d: Mühlenbein,
        Schomisch & Born, "The parallel genetic algorithm as function optimizer", Parallel Computing
        17 (1991), https://doi.org/10.1016/S0167-8191(05)80052-3.

    Example:
        >>> Rastrigin().loss(torch.ones(2, dtype=torch.float64))
        tensor(2., dtype=torch.float64)
    """

    def __init__(self, d: int = 2, noise_std: float = 0.0) -> None:
        super().__init__(
            # 1 - cos 2 pi x = 2 sin^2 pi x, without cancellation near the integers
            lambda X: -(X**2 + 20 * torch.sin(math.pi * X) ** 2).sum(-1),
            cube(-5.12, 5.12, d),
            optimal_value=0.0,
            optimal_points=torch.zeros(1, d, dtype=torch.float64),
            noise_std=noise_std,
            how="closed form: a sum of squares that are all zero",
            name=f"Rastrigin-{d}",
        )


def _ackley(X: Tensor) -> Tensor:
    radius = torch.linalg.vector_norm(X, dim=-1) / math.sqrt(X.shape[-1])
    ripple = -2 * (torch.sin(math.pi * X) ** 2).mean(-1)  # the mean of cos 2 pi x, minus 1
    return 20 * torch.expm1(-0.2 * radius) + math.e * torch.expm1(ripple)


class Ackley(Problem):
    """A deep hole in a rippled plain, on [-32.768, 32.768]^d.

    loss(x) = 20 - 20 exp(-0.2 |x| / sqrt d) + e - exp(mean_i cos 2 pi x_i). Far out it is flat but
    for the ripples; at the optimum 0 it has a kink: the slope does not fade on arrival, and torch
    reports the gradient 0 at 0 itself.

    Source: Ackley, "A connectionist machine for genetic hillclimbing" (1987); for any d: Bäck,
        "Evolutionary algorithms in theory and practice" (1996).

    Example:
        >>> Ackley().loss(torch.zeros(2, dtype=torch.float64)).abs()
        tensor(0., dtype=torch.float64)
    """

    def __init__(self, d: int = 2, noise_std: float = 0.0) -> None:
        super().__init__(
            _ackley,
            cube(-32.768, 32.768, d),
            optimal_value=0.0,
            optimal_points=torch.zeros(1, d, dtype=torch.float64),
            noise_std=noise_std,
            how="closed form: both terms are at their best at 0",
            name=f"Ackley-{d}",
        )
