"""Problems with several objectives, all maximised, and the hypervolume of their true fronts.

The literature minimises: every objective is minus the one of the source, and `ref_point` holds the
negative numbers that belong to it. `front(n)` gives points on the true front where a formula does.
Constraints, where there are any, are the last outputs, feasible where <= 0.

Taught in part_6/tutorial_02.
"""

import math
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError
from ..shapes import check_count
from .classic import branin
from .core import Problem, cube, root, table
from .fidelity import currin

_ZDT_REF = -11.0  # the usual one, so that published numbers compare


def _zdt(X: Tensor) -> tuple[Tensor, Tensor]:
    """The first input, and the penalty g for being off the front."""
    return X[..., 0], 1 + 9 * X[..., 1:].mean(-1)


def _zdt1(X: Tensor) -> Tensor:
    x, g = _zdt(X)
    return -torch.stack([x, g - root(g * x)], dim=-1)


class ZDT1(Problem):
    """A convex front: f1 = x_1, f2 = g (1 - sqrt(x_1/g)), g = 1 + 9 mean(x_2, ..., x_d), [0, 1]^d.

    The front is f2 = 1 - sqrt f1, where all inputs but the first are 0.

    Source: Zitzler, Deb & Thiele, "Comparison of multiobjective evolutionary algorithms: empirical
        results", Evolutionary Computation 8 (2000), https://doi.org/10.1162/106365600568202.
    """

    def __init__(self, d: int = 4, noise_std: float = 0.0) -> None:
        super().__init__(
            _zdt1,
            cube(0.0, 1.0, check_count("d", d, least=2)),
            noise_std=noise_std,
            how="hypervolume in closed form: 121 - 1/3",
            name=f"ZDT1-{d}",
            num_outputs=2,
            ref_point=table([_ZDT_REF] * 2)[0],
            optimal_hypervolume=121 - 1 / 3,
        )

    @staticmethod
    def front(n: int = 200) -> Float[Tensor, "n 2"]:
        """n points of the true front."""
        x = torch.linspace(0, 1, n, dtype=torch.float64)
        return -torch.stack([x, 1 - x.sqrt()], dim=-1)


def _zdt2(X: Tensor) -> Tensor:
    x, g = _zdt(X)
    return -torch.stack([x, g - x**2 / g], dim=-1)


class ZDT2(Problem):
    """A concave front, which weighted sums miss: as ZDT1, but f2 = g (1 - (x_1/g)^2).

    Source: as for ZDT1.
    """

    def __init__(self, d: int = 4, noise_std: float = 0.0) -> None:
        super().__init__(
            _zdt2,
            cube(0.0, 1.0, check_count("d", d, least=2)),
            noise_std=noise_std,
            how="hypervolume in closed form: 121 - 2/3",
            name=f"ZDT2-{d}",
            num_outputs=2,
            ref_point=table([_ZDT_REF] * 2)[0],
            optimal_hypervolume=121 - 2 / 3,
        )

    @staticmethod
    def front(n: int = 200) -> Float[Tensor, "n 2"]:
        """n points of the true front."""
        x = torch.linspace(0, 1, n, dtype=torch.float64)
        return -torch.stack([x, 1 - x**2], dim=-1)


def _zdt3(X: Tensor) -> Tensor:
    x, g = _zdt(X)
    return -torch.stack([x, g - root(g * x) - x * torch.sin(10 * math.pi * x)], dim=-1)


class ZDT3(Problem):
    """A front in five pieces: as ZDT1, but f2 = g (1 - sqrt(x_1/g) - (x_1/g) sin(10 pi x_1)).

    Source: as for ZDT1.
    """

    def __init__(self, d: int = 4, noise_std: float = 0.0) -> None:
        super().__init__(
            _zdt3,
            cube(0.0, 1.0, check_count("d", d, least=2)),
            noise_std=noise_std,
            how="hypervolume by quadrature between the ends of the pieces, with 40 digits",
            name=f"ZDT3-{d}",
            num_outputs=2,
            ref_point=table([_ZDT_REF] * 2)[0],
            optimal_hypervolume=128.77811613069076,
        )


def _dtlz1(X: Tensor, m: int) -> Tensor:
    z = X[..., m - 1 :] - 0.5
    g = 100 * (z**2 + 2 * torch.sin(10 * math.pi * z) ** 2).sum(-1)  # 1 - cos = 2 sin^2
    rising, falling = X[..., : m - 1], 1 - X[..., : m - 1]
    return -0.5 * (1 + g).unsqueeze(-1) * _products(rising, falling)


class DTLZ1(Problem):
    """A flat front behind very many local ones: sum f_i = 1/2 for m objectives, [0, 1]^d.

    With g = 100 (k + sum (z^2 - cos 20 pi z)), z = x_i - 1/2 over the last k = d - m + 1 inputs:
    f_1 = (1 + g)/2 x_1 ... x_{m-1}, f_2 = (1 + g)/2 x_1 ... (1 - x_{m-1}), and so on.

    Source: Deb, Thiele, Laumanns & Zitzler, "Scalable multi-objective optimization test problems",
        CEC 2002, https://doi.org/10.1109/CEC.2002.1007032.
    """

    def __init__(self, d: int = 6, m: int = 2, noise_std: float = 0.0) -> None:
        _check_dtlz(d, m)
        super().__init__(
            partial(_dtlz1, m=m),
            cube(0.0, 1.0, d),
            noise_std=noise_std,
            how="hypervolume in closed form: box minus simplex",
            name=f"DTLZ1-{d}-{m}",
            num_outputs=m,
            ref_point=table([-400.0] * m)[0],
            optimal_hypervolume=400.0**m - 0.5**m / math.factorial(m),
        )


class DTLZ2(Problem):
    """A front on the unit sphere: m objectives, sum f_i^2 = 1, on [0, 1]^d.

    With g = sum (x_i - 1/2)^2 over the last d - m + 1 inputs: f_1 = (1 + g) cos(pi x_1/2) ...
    cos(pi x_{m-1}/2), f_2 = (1 + g) cos(pi x_1/2) ... sin(pi x_{m-1}/2), and so on.

    Source: Deb et al. (2002), as for DTLZ1.
    """

    def __init__(self, d: int = 4, m: int = 2, noise_std: float = 0.0) -> None:
        _check_dtlz(d, m)
        ball = math.pi ** (m / 2) / math.gamma(m / 2 + 1) / 2**m  # the part of it in one orthant
        super().__init__(
            partial(_dtlz2, m=m),
            cube(0.0, 1.0, d),
            noise_std=noise_std,
            how="hypervolume in closed form: box minus part of the ball",
            name=f"DTLZ2-{d}-{m}",
            num_outputs=m,
            ref_point=table([-1.1] * m)[0],
            optimal_hypervolume=1.1**m - ball,
        )

    def front(self, n: int = 200) -> Float[Tensor, "n 2"]:
        """n points of the true front of two objectives.

        Raises:
            DataError: more than two objectives.
        """
        if self.num_outputs != 2:
            raise DataError(f"front: expected m = 2, got m = {self.num_outputs}")
        t = torch.linspace(0, math.pi / 2, n, dtype=torch.float64)
        return -torch.stack([t.cos(), t.sin()], dim=-1)


def _dtlz2(X: Tensor, m: int) -> Tensor:
    """The values that are maximised: minus the distances of the source."""
    g = ((X[..., m - 1 :] - 0.5) ** 2).sum(-1, keepdim=True)
    angle = math.pi / 2 * X[..., : m - 1]
    return -(1 + g) * _products(torch.cos(angle), torch.sin(angle))


def _products(along: Tensor, across: Tensor) -> Tensor:
    """(a_1 ... a_k, a_1 ... a_{k-1} b_k, ..., b_1) from a and b ``n k``."""
    k = along.shape[-1]
    columns = [along.prod(-1)]
    columns += [along[..., :j].prod(-1) * across[..., j] for j in reversed(range(k))]
    return torch.stack(columns, dim=-1)


def _check_dtlz(d: int, m: int) -> None:
    if check_count("d", d) < check_count("m", m, least=2):
        raise DataError(f"d: expected at least m = {m} inputs, got {d}")


def _c2_dtlz2(X: Tensor) -> Tensor:
    f = -_dtlz2(X, 2)
    corners = ((f - 1) ** 2 + f.flip(-1) ** 2).amin(-1)
    middle = ((f - math.sqrt(0.5)) ** 2).sum(-1)
    patch = torch.minimum(corners, middle) - 0.2**2
    return torch.cat([-f, patch.unsqueeze(-1)], dim=-1)


class C2DTLZ2(Problem):
    """DTLZ2 where only patches of the front are feasible: discs around its corners and middle.

    Feasible within 0.2 of (1, 0), (0, 1) or of (1, 1)/sqrt 2, for two objectives. (Some libraries
    subtract 0.2^2 once for each objective: their middle patch has the radius 0.28.)

    Source: Jain & Deb, "An evolutionary many-objective optimization algorithm using reference-point
        based nondominated sorting approach, part II", IEEE Trans. Evolutionary Computation 18
        (2014), https://doi.org/10.1109/TEVC.2013.2281534.
    """

    def __init__(self, d: int = 4, noise_std: float = 0.0) -> None:
        _check_dtlz(d, 2)

        # The front: arcs of the unit circle between these angles; below each gap a step.
        t, half = 2 * math.asin(0.1), math.pi / 4  # an arc of the angle t has a chord of 0.2
        arcs = [(2 * half, 2 * half - t), (half + t, half - t), (t, 0.0)]
        below = sum(  # the integral of sqrt(1 - x^2) over each arc
            (a - b + math.sin(b) * math.cos(b) - math.sin(a) * math.cos(a)) / 2 for a, b in arcs
        )
        for (_, a), (b, _) in pairwise(arcs):
            below += math.sin(a) * (math.cos(b) - math.cos(a))

        super().__init__(
            _c2_dtlz2,
            cube(0.0, 1.0, d),
            noise_std=noise_std,
            how="hypervolume in closed form: box minus the area below three arcs and two steps",
            name=f"C2-DTLZ2-{d}",
            num_outputs=3,
            num_constraints=1,
            ref_point=table([-1.1] * 2)[0],
            optimal_hypervolume=1.21 - below,
        )


def _branin_currin(X: Tensor) -> Tensor:
    scaled = torch.stack([15 * X[..., 0] - 5, 15 * X[..., 1]], dim=-1)
    return torch.stack([branin(scaled), -currin(X[..., 0], X[..., 1])], dim=-1)


class BraninCurrin(Problem):
    """Branin against Currin's exponential function, on [0, 1]^2.

    f1 = Branin at (15 x - 5, 15 y), f2 = `Currin` at (x, y), each negated to be maximised.

    Source: Belakaria, Deshwal & Doppa, "Max-value entropy search for multi-objective Bayesian
        optimization", NeurIPS 2019.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _branin_currin,
            cube(0.0, 1.0, 2),
            noise_std=noise_std,
            how="hypervolume bracketed by 59.4041 and 59.4064, staircases under and over it",
            name="Branin-Currin",
            num_outputs=2,
            ref_point=table([-18.0, -6.0])[0],
            optimal_hypervolume=59.40525,
        )


def _bnh(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    first, second = 4 * x**2 + 4 * y**2, (x - 5) ** 2 + (y - 5) ** 2
    inner, outer = (x - 5) ** 2 + y**2 - 25, 7.7 - (x - 8) ** 2 - (y + 3) ** 2
    return torch.stack([-first, -second, inner, outer], dim=-1)


class BNH(Problem):
    """Distance to two corners, with two constraints: f1 = 4 |x|^2, f2 = |x - (5, 5)|^2.

    On [0, 5] x [0, 3]; feasible where |x - (5, 0)|^2 <= 25 and |x - (8, -3)|^2 >= 7.7. The front is
    x_1 = x_2 up to 3, then x_2 = 3; the constraints cut away nothing of it.

    Source: Binh & Korn, "MOBES: a multiobjective evolution strategy for constrained optimization
        problems" (1997).
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _bnh,
            table([0.0, 0.0], [5.0, 3.0]),
            noise_std=noise_std,
            how="hypervolume in closed form: 5285 1/3",
            name="BNH",
            num_outputs=4,
            num_constraints=2,
            ref_point=table([-140.0, -50.0])[0],
            optimal_hypervolume=5285 + 1 / 3,
        )

    @staticmethod
    def front(n: int = 200) -> Float[Tensor, "n 2"]:
        """n points of the true front."""
        x = torch.linspace(0, 5, n, dtype=torch.float64)
        return _bnh(torch.stack([x, x.clamp(max=3.0)], dim=-1))[..., :2]


def _vehicle(X: Tensor) -> Tensor:
    a, b, c, d, e = X.unbind(-1)
    mass = 1640.2823 + 2.3573285 * a + 2.3220035 * b + 4.5688768 * c + 7.7213633 * d
    mass = mass + 4.4559504 * e
    acceleration = 6.5856 + 1.15 * a - 1.0427 * b + 0.9738 * c + 0.8364 * d - 0.3695 * a * d
    acceleration = acceleration + 0.0861 * a * e + 0.3628 * b * d - 0.1106 * a**2
    acceleration = acceleration - 0.3437 * c**2 + 0.1764 * d**2
    intrusion = -0.0551 + 0.0181 * a + 0.1024 * b + 0.0421 * c - 0.0073 * a * b + 0.024 * b * c
    intrusion = intrusion - 0.0118 * b * d - 0.0204 * c * d - 0.008 * c * e - 0.0241 * b**2
    intrusion = intrusion + 0.0109 * d**2
    return -torch.stack([mass, acceleration, intrusion], dim=-1)


class VehicleSafety(Problem):
    """A car in a crash: mass (kg), acceleration (m/s^2) and intrusion (m) against plate thickness.

    Five plate thicknesses of 1 .. 3 mm; polynomials fitted to crash simulations. All three outputs
    are minus what is to be small.

    Source: Liao et al., "Multiobjective optimization for crash safety design of vehicles using
        stepwise regression model", Structural and Multidisciplinary Optimization 35 (2008),
        https://doi.org/10.1007/s00158-007-0163-x; Tanabe & Ishibuchi (2020), RE3-5-4 there.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _vehicle,
            cube(1.0, 3.0, 5),
            noise_std=noise_std,
            how="not known",
            name="vehicle safety",
            inputs=tuple(f"plate {i + 1} (mm)" for i in range(5)),
            num_outputs=3,
            ref_point=table([-1864.72022, -11.81993945, -0.2903999384])[0],
        )
