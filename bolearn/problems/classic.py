"""Classical test functions with a fixed number of inputs.

They are known by the losses of the literature; here they are maximised, so their signs are flipped.
Most stand, with pictures, in Surjanovic & Bingham, "Virtual library of simulation experiments",
https://www.sfu.ca/~ssurjano/optimization.html.

Taught in part_4/tutorial_03.
"""

import math
from functools import partial

import torch
from torch import Tensor

from ..errors import DataError
from .core import Problem, cube, root, table


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


def branin(X: Tensor) -> Tensor:
    """Branin's function, negated."""
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
            branin,
            torch.tensor([[-5.0, 0.0], [10.0, 15.0]], dtype=torch.float64),
            optimal_value=-10 / (8 * math.pi),
            optimal_points=torch.tensor([[x, _branin_valley(x)] for x in xs], dtype=torch.float64),
            noise_std=noise_std,
            how="closed form: the square is zero and -cos x is one at x = -pi, pi, 3 pi",
            name="Branin",
        )


def _uneven(X: Tensor) -> Tensor:
    u, v = (X[..., 0] + 5) / 15, X[..., 1] / 15
    return 0.1 + 1.9 * (1 - u) * v


class UnevenBranin(Problem):
    """Branin with noise that rises towards the upper left corner, where one of three optima lies.

    With the position (u, v) in the box, both from 0 to 1, the noise is 0.1 + 1.9 (1 - u) v times
    `noise_std`: 1.46 times at the left optimum, 0.23 and 0.11 times at the others.

    Example:
        >>> problem = UnevenBranin(noise_std=2.0)
        >>> [round(sd, 2) for sd in problem.noise_sd(problem.optimal_points)[:, 0].tolist()]
        [2.92, 0.46, 0.22]
    """

    def __init__(self, noise_std: float = 1.0) -> None:
        plain = Branin()
        super().__init__(
            branin,
            plain.bounds,
            optimal_value=plain.optimal_value,
            optimal_points=plain.optimal_points,
            noise_std=noise_std,
            how=plain.how,
            name="Branin with uneven noise",
            noise_scale=_uneven,
        )


Rows = tuple[tuple[float, ...], ...]

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


def _hartmann(X: Tensor, A: Rows, P: Rows) -> Tensor:
    bumps = torch.exp(-(X.new_tensor(A) * (X.unsqueeze(-2) - X.new_tensor(P)) ** 2).sum(-1))  # n 4
    return (X.new_tensor(_HARTMANN_ALPHA) * bumps).sum(-1)


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
            partial(_hartmann, A=_HARTMANN_A, P=_HARTMANN_P),
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


def _six_hump_camel(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    return -((4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + 4 * (y**2 - 1) * y**2)


class SixHumpCamel(Problem):
    """Six minima, two of them the best, on [-3, 3] x [-2, 2].

    loss(x, y) = (4 - 2.1 x^2 + x^4/3) x^2 + x y + 4 (y^2 - 1) y^2, which does not change under
    (x, y) -> (-x, -y).

    Source: Dixon & Szegö, "The global optimization problem: an introduction" (1978).
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        x, y = 0.08984201310031806, -0.7126564030207396
        super().__init__(
            _six_hump_camel,
            table([-3.0, -2.0], [3.0, 2.0]),
            optimal_value=1.03162845348987735,
            optimal_points=table([x, y], [-x, -y]),
            noise_std=noise_std,
            how="Newton's method from the best of many starts",
            name="six-hump camel",
        )


def _three_hump_camel(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    return -(2 * x**2 - 1.05 * x**4 + x**6 / 6 + x * y + y**2)


class ThreeHumpCamel(Problem):
    """Three minima, the best in the middle: loss 2 x^2 - 1.05 x^4 + x^6/6 + x y + y^2, [-5, 5]^2.

    Source: Dixon & Szegö (1978).
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _three_hump_camel,
            cube(-5.0, 5.0, 2),
            optimal_value=0.0,
            optimal_points=table([0.0, 0.0]),
            noise_std=noise_std,
            how="closed form: (x/2 + y)^2 + x^2 (7/4 - 1.05 x^2 + x^4/6), the last factor positive",
            name="three-hump camel",
        )


def _himmelblau(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    return -((x**2 + y - 11) ** 2) - (x + y**2 - 7) ** 2


class Himmelblau(Problem):
    """Four equally good minima: loss (x^2 + y - 11)^2 + (x + y^2 - 7)^2 on [-5, 5]^2.

    Source: Himmelblau, "Applied nonlinear programming" (1972).
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _himmelblau,
            cube(-5.0, 5.0, 2),
            optimal_value=0.0,
            optimal_points=table(
                [3.0, 2.0],
                [-2.805118086952744853, 3.131312518250572966],
                [-3.779310253377746892, -3.283185991286169412],
                [3.584428340330491745, -1.848126526964403554],
            ),
            noise_std=noise_std,
            how="closed form: the four common points of two parabolas",
            name="Himmelblau",
        )


def _goldstein_price(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    a = 1 + (x + y + 1) ** 2 * (19 - 14 * x + 3 * x**2 - 14 * y + 6 * x * y + 3 * y**2)
    b = 30 + (2 * x - 3 * y) ** 2 * (18 - 32 * x + 12 * x**2 + 48 * y - 36 * x * y + 27 * y**2)
    return -a * b


def _log_goldstein_price(X: Tensor) -> Tensor:
    return -torch.log(-_goldstein_price(X))


class GoldsteinPrice(Problem):
    """Values from 3 to a million, on [-2, 2]^2: a case for modelling the logarithm.

    loss(x, y) = (1 + (x + y + 1)^2 (19 - 14 x + 3 x^2 - 14 y + 6 x y + 3 y^2))
    (30 + (2 x - 3 y)^2 (18 - 32 x + 12 x^2 + 48 y - 36 x y + 27 y^2)), or its natural logarithm.

    Args:
        log: whether the loss is the logarithm; noise is added to it then.
        noise_std: as for every problem.

    Source: Goldstein & Price, "On descent from local minima", Mathematics of Computation 25 (1971),
        https://doi.org/10.1090/S0025-5718-1971-0312365-X.
    """

    def __init__(self, log: bool = False, noise_std: float = 0.0) -> None:
        super().__init__(
            _log_goldstein_price if log else _goldstein_price,
            cube(-2.0, 2.0, 2),
            optimal_value=-math.log(3.0) if log else -3.0,
            optimal_points=table([0.0, -1.0]),
            noise_std=noise_std,
            how="exact at (0, -1): 1 times 3; no better among the ends of many descents",
            name="log Goldstein-Price" if log else "Goldstein-Price",
        )


def _beale(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    return -((1.5 - x + x * y) ** 2) - (2.25 - x + x * y**2) ** 2 - (2.625 - x + x * y**3) ** 2


class Beale(Problem):
    """A flat cross with peaks at the corners, on [-4.5, 4.5]^2; its best point is (3, 1/2).

    loss(x, y) = (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2.

    Source: Beale, "On an iterative method for finding a local minimum of a function of more than
        one variable" (1958).
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _beale,
            cube(-4.5, 4.5, 2),
            optimal_value=0.0,
            optimal_points=table([3.0, 0.5]),
            noise_std=noise_std,
            how="closed form: a sum of squares that are all zero",
            name="Beale",
        )


def _bukin(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    return -100 * root(y - 0.01 * x**2) - 0.01 * (x + 10).abs()


class Bukin(Problem):
    """A knife's edge along a parabola (Bukin's number 6), on [-15, -5] x [-3, 3].

    loss(x, y) = 100 sqrt|y - x^2/100| + |x + 10|/100: the slope beside the edge is infinite, along
    it 1/100. A smooth model cannot follow it.

    Source: Mishra, "Some new test functions for global optimization and performance of repulsive
        particle swarm method" (2006), https://doi.org/10.2139/ssrn.926132.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _bukin,
            table([-15.0, -3.0], [-5.0, 3.0]),
            optimal_value=0.0,
            optimal_points=table([-10.0, 1.0]),
            noise_std=noise_std,
            how="closed form: both terms are zero",
            name="Bukin",
        )


def _drop_wave(X: Tensor) -> Tensor:
    radius = torch.linalg.vector_norm(X, dim=-1)
    value: Tensor = (1 + torch.cos(12 * radius)) / (2 + radius**2 / 2)
    return value


class DropWave(Problem):
    """Rings around a drop, on [-5.12, 5.12]^2: every ring is a valley of its own.

    loss(x) = -(1 + cos 12 r) / (2 + r^2/2), where r is the distance from 0.

    Source: Surjanovic & Bingham, "Virtual library of simulation experiments".
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _drop_wave,
            cube(-5.12, 5.12, 2),
            optimal_value=1.0,
            optimal_points=table([0.0, 0.0]),
            noise_std=noise_std,
            how="closed form: numerator at most 2, denominator at least 2",
            name="drop wave",
        )


def _egg_holder(X: Tensor) -> Tensor:
    x, y = X[..., 0], X[..., 1] + 47
    return y * torch.sin(root(y + x / 2)) + x * torch.sin(root(x - y))


class EggHolder(Problem):
    """Hundreds of deep hollows; the best lies on the edge of [-512, 512]^2.

    loss(x, y) = -(y + 47) sin sqrt|y + x/2 + 47| - x sin sqrt|x - y - 47|.

    Source: Whitley et al., "Evaluating evolutionary algorithms", Artificial Intelligence 85 (1996),
        https://doi.org/10.1016/0004-3702(95)00124-7.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _egg_holder,
            cube(-512.0, 512.0, 2),
            optimal_value=959.6406627208508028,
            optimal_points=table([512.0, 404.2318051137578109]),
            noise_std=noise_std,
            how="Newton's method along the edge x = 512, from the best of many starts",
            name="egg holder",
        )


_HARTMANN3_A = ((3.0, 10.0, 30.0), (0.1, 10.0, 35.0)) * 2
_HARTMANN3_P = (
    (0.3689, 0.1170, 0.2673),
    (0.4699, 0.4387, 0.7470),
    (0.1091, 0.8732, 0.5547),
    (0.0381, 0.5743, 0.8828),
)


class Hartmann3(Problem):
    """Three inputs, four overlapping bumps on the unit cube; the small sister of Hartmann-6.

    Source: Hartman (1973); sign flipped. The centres have four digits, as in the virtual library;
        with 0.03815 for 0.0381, as in Dixon & Szegö (1978), the optimum is 3.862782.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            partial(_hartmann, A=_HARTMANN3_A, P=_HARTMANN3_P),
            cube(0.0, 1.0, 3),
            optimal_value=3.862779787332662523,
            optimal_points=table(
                [0.1145888766550689684, 0.5556488946169300448, 0.8525469846866774376]
            ),
            noise_std=noise_std,
            how="Newton's method from the best of many starts",
            name="Hartmann-3",
        )


_SHEKEL_BETA = (1.0, 2.0, 2.0, 4.0, 4.0, 6.0, 3.0, 7.0, 5.0, 5.0)
_SHEKEL_C = (
    (4.0, 4.0, 4.0, 4.0),
    (1.0, 1.0, 1.0, 1.0),
    (8.0, 8.0, 8.0, 8.0),
    (6.0, 6.0, 6.0, 6.0),
    (3.0, 7.0, 3.0, 7.0),
    (2.0, 9.0, 2.0, 9.0),
    (5.0, 3.0, 5.0, 3.0),
    (8.0, 1.0, 8.0, 1.0),
    (6.0, 2.0, 6.0, 2.0),
    (7.0, 3.6, 7.0, 3.6),
)
_SHEKEL_OPTIMA = {  # holes: value, odd coordinates, even coordinates
    5: (10.15319967905822746, 4.000037152819676231, 4.000133276591560090),
    7: (10.40291533677774347, 4.000572819251117157, 3.999606209609688911),
    10: (10.53644315348352787, 4.000746868270634388, 3.999509480085773558),
}


def _shekel(X: Tensor, m: int) -> Tensor:
    beta, centres = X.new_tensor(_SHEKEL_BETA[:m]), X.new_tensor(_SHEKEL_C[:m])
    return (1 / (((X.unsqueeze(-2) - centres) ** 2).sum(-1) + 0.1 * beta)).sum(-1)


class Shekel(Problem):
    """Foxholes: m narrow holes of different depth in a plain, four inputs, [0, 10]^4.

    loss(x) = -sum_i 1 / (|x - c_i|^2 + beta_i / 10), i = 1 .. m.

    Args:
        m: number of holes, 5, 7 or 10.
        noise_std: as for every problem.

    Raises:
        DataError: another m.

    Source: Shekel (1971), with the centres of the virtual library, whose seventh is (5, 3, 5, 3);
        Dixon & Szegö (1978) have (5, 5, 3, 3). Sign flipped.
    """

    def __init__(self, m: int = 10, noise_std: float = 0.0) -> None:
        if m not in _SHEKEL_OPTIMA:
            raise DataError(f"m: expected 5, 7 or 10 holes, got {m!r}")
        value, odd, even = _SHEKEL_OPTIMA[m]
        super().__init__(
            partial(_shekel, m=m),
            cube(0.0, 10.0, 4),
            optimal_value=value,
            optimal_points=table([odd, even, odd, even]),
            noise_std=noise_std,
            how="Newton's method from the best of many starts",
            name=f"Shekel-{m}",
        )


def _cosine(X: Tensor) -> Tensor:
    return (0.1 * torch.cos(5 * math.pi * X) - X**2).sum(-1)


class Cosine8(Problem):
    """Ripples on a bowl with eight inputs: value sum_i cos(5 pi x_i)/10 - x_i^2 on [-1, 1]^8.

    Source: Breiman & Cutler, "A deterministic algorithm for global optimization", Mathematical
        Programming 58 (1993), https://doi.org/10.1007/BF01581266.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _cosine,
            cube(-1.0, 1.0, 8),
            optimal_value=0.8,
            optimal_points=torch.zeros(1, 8, dtype=torch.float64),
            noise_std=noise_std,
            how="closed form: every term is at its best at 0",
            name="cosine-8",
        )
