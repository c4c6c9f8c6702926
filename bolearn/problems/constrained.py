"""Problems with constraints that are measured along with the objective.

Output 0 is maximised, the outputs after it are constraints, feasible where <= 0:
``outcome_constraints=[bl.at_most(i, 0.0) for i in range(1, problem.num_outputs)]``, and
``problem.feasible(Y)``. The literature's costs are minimised: signs are flipped here, once.

Taught in part_5/tutorial_03.
"""

import math

import torch
from torch import Tensor

from .classic import Branin, branin
from .core import Problem, cube, table


def _branin_in_a_disc(X: Tensor) -> Tensor:
    disc = (X[..., 0] - 2.5) ** 2 + (X[..., 1] - 7.5) ** 2 - 50
    return torch.stack([branin(X), disc], dim=-1)


class ConstrainedBranin(Problem):
    """Branin in a disc that leaves one of its three optima: (x - 2.5)^2 + (y - 7.5)^2 <= 50.

    Source: Gelbart, Snoek & Adams, "Bayesian optimization with unknown constraints", UAI 2014,
        arXiv:1403.5607.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        plain = Branin()
        assert plain.optimal_points is not None
        super().__init__(
            _branin_in_a_disc,
            plain.bounds,
            optimal_value=plain.optimal_value,
            optimal_points=plain.optimal_points[1:2],
            noise_std=noise_std,
            how="closed form: the only optimum of Branin inside the disc",
            name="Branin in a disc",
            num_outputs=2,
            num_constraints=1,
        )


def _gardner(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    return torch.stack([-torch.sin(x) - y, torch.sin(x) * torch.sin(y) + 0.95], dim=-1)


class Gardner(Problem):
    """Small islands of feasible points: cost sin x + y where sin x sin y <= -0.95, on [0, 6]^2.

    About 2 % of the box is feasible.

    Source: Gardner et al., "Bayesian optimization with inequality constraints", ICML 2014, section
        4.1, second simulation.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _gardner,
            cube(0.0, 6.0, 2),
            optimal_value=1 - math.asin(0.95),
            optimal_points=table([1.5 * math.pi, math.asin(0.95) + 1e-15]),
            noise_std=noise_std,
            how="closed form: sin x = -1 and sin y = 0.95; the best of many starts",
            name="Gardner",
            num_outputs=2,
            num_constraints=1,
        )


def _gramacy(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    wave = 1.5 - x - 2 * y - 0.5 * torch.sin(2 * math.pi * (x**2 - 2 * y))
    return torch.stack([-x - y, wave, x**2 + y**2 - 1.5], dim=-1)


class Gramacy(Problem):
    """A plain objective behind a winding border: cost x + y on the unit square.

    Feasible where 3/2 <= x + 2 y + sin(2 pi (x^2 - 2 y))/2 and x^2 + y^2 <= 3/2; the first
    constraint is active at the optimum.

    Source: Gramacy et al., "Modeling an augmented Lagrangian for blackbox constrained
        optimization", Technometrics 58 (2016), https://doi.org/10.1080/00401706.2015.1014065.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _gramacy,
            cube(0.0, 1.0, 2),
            optimal_value=-0.5997880520100676,
            optimal_points=table([0.1951226834720717, 0.4046653685379960]),
            noise_std=noise_std,
            how="the conditions of Karush, Kuhn and Tucker by Newton's method, best of many starts",
            name="Gramacy",
            num_outputs=3,
            num_constraints=2,
        )


def _townsend(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    value = torch.cos((x - 0.1) * y) ** 2 + x * torch.sin(3 * x + y)
    t = torch.atan2(x, y)
    bulge = 2 * torch.cos(t) - torch.cos(2 * t) / 2 - torch.cos(3 * t) / 4 - torch.cos(4 * t) / 8
    return torch.stack([value, x**2 + y**2 - bulge**2 - (2 * torch.sin(t)) ** 2], dim=-1)


class Townsend(Problem):
    """A wavy objective inside a heart: cost -cos^2((x - 0.1) y) - x sin(3 x + y).

    On [-2.25, 2.5] x [-2.5, 1.75]; feasible where x^2 + y^2 <= (2 cos t - cos(2t)/2 - cos(3t)/4 -
    cos(4t)/8)^2 + (2 sin t)^2 with t = atan2(x, y).

    Source: Townsend, "Constrained optimization in Chebfun" (2014), www.chebfun.org.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _townsend,
            table([-2.25, -2.5], [2.5, 1.75]),
            optimal_value=2.023988362325764,
            optimal_points=table([2.0052927155540175, 1.1944528838793391]),
            noise_std=noise_std,
            how="the conditions of Karush, Kuhn and Tucker by Newton's method, best of many starts",
            name="Townsend",
            num_outputs=2,
            num_constraints=1,
        )


def _pressure_vessel(X: Tensor) -> Tensor:
    shell, head, R, L = X.unbind(-1)
    shell, head = 0.0625 * shell.round(), 0.0625 * head.round()
    cost = 0.6224 * shell * R * L + 1.7781 * head * R**2 + 3.1661 * shell**2 * L
    cost = cost + 19.84 * shell**2 * R
    volume = math.pi * R**2 * L + 4 / 3 * math.pi * R**3
    limits = (0.0193 * R - shell, 0.00954 * R - head, 1 - volume / 1_296_000)
    return torch.stack([-cost, *limits], dim=-1)


class PressureVessel(Problem):
    """The cheapest vessel for 750 cubic feet of air: plates come in sixteenths of an inch.

    Inputs: thickness of shell and head in 1/16 inch, 1 .. 99 each, rounded to whole numbers inside;
    inner radius R and length L in inches, 10 .. 200. Maximised is minus the cost in dollars.
    Constraints: shell >= 0.0193 R, head >= 0.00954 R, and the volume, as a share of what is wanted.

    Source: Sandgren, "Nonlinear integer and discrete programming in mechanical design
        optimization", J. Mechanical Design 112 (1990), https://doi.org/10.1115/1.2912596; Coello
        Coello (2002).
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        # Shell and volume constraints are active: the radius is the largest for 13/16 inch.
        radius = 13 * 0.0625 / 0.0193
        length = (1_296_000 - 4 / 3 * math.pi * radius**3) / (math.pi * radius**2)
        super().__init__(
            _pressure_vessel,
            table([1.0, 1.0, 10.0, 10.0], [99.0, 99.0, 200.0, 200.0]),
            optimal_value=-6059.7143350484357,
            optimal_points=table([13.0, 7.0, radius, length]),
            noise_std=noise_std,
            how="enumerated: every pair of thicknesses, radius and length in closed form for each",
            name="pressure vessel",
            inputs=("shell (1/16 in)", "head (1/16 in)", "radius (in)", "length (in)"),
            output="minus cost (dollars)",
            num_outputs=4,
            num_constraints=3,
        )


def _welded_beam(X: Tensor) -> Tensor:
    h, length, t, b = X.unbind(-1)
    load, span, E, G = 6000.0, 14.0, 30e6, 12e6  # lb, in, psi, psi
    cost = 1.10471 * h**2 * length + 0.04811 * t * b * (14 + length)
    R = ((length**2 + (h + t) ** 2) / 4).sqrt()
    J = math.sqrt(2) * h * length * (length**2 / 6 + (h + t) ** 2 / 2)
    direct = load / (math.sqrt(2) * h * length)
    twist = load * (span + length / 2) * R / J
    shear = (direct**2 + direct * twist * length / R + twist**2).sqrt()
    bending = 6 * load * span / (b * t**2)
    deflection = 4 * load * span**3 / (E * t**3 * b)
    buckling = 4.013 * E * t * b**3 / (6 * span**2) * (1 - t / (2 * span) * math.sqrt(E / (4 * G)))
    limits = (
        shear / 13_600 - 1,
        bending / 30_000 - 1,
        (h - b) / 10,
        (0.10471 * h**2 + 0.04811 * t * b * (14 + length)) / 5 - 1,
        deflection / 0.25 - 1,
        1 - buckling / load,
    )
    return torch.stack([-cost, *limits], dim=-1)


class WeldedBeam(Problem):
    """The cheapest welded cantilever that holds 6000 pounds.

    Inputs in inches: weld thickness h 0.125 .. 5, weld length 0.1 .. 10, height t 0.1 .. 10 and
    thickness b 0.1 .. 5 of the beam. Maximised is minus the cost. Constraints, each as a share of
    its limit: shear stress in the weld, bending stress, h <= b, material, deflection, buckling.

    Source: Ragsdell & Phillips (1976), in the form of Coello Coello, "Use of a self-adaptive
        penalty approach for engineering optimization problems", Computers in Industry 41 (2000),
        https://doi.org/10.1016/S0166-3615(99)00046-9.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _welded_beam,
            table([0.125, 0.1, 0.1, 0.1], [5.0, 10.0, 10.0, 5.0]),
            optimal_value=-1.7248523085973648,
            optimal_points=table(
                [
                    0.205729639786079449,
                    3.47048866562800161,
                    9.0366239103576359,
                    0.205729639786079455,
                ]
            ),
            noise_std=noise_std,
            how="four active constraints solved by Newton's method, best of many starts",
            name="welded beam",
            inputs=("weld (in)", "weld length (in)", "height (in)", "thickness (in)"),
            output="minus cost",
            num_outputs=7,
            num_constraints=6,
        )


def _spring(X: Tensor) -> Tensor:
    d, D, N = X.unbind(-1)
    limits = (
        1 - D**3 * N / (71_785 * d**4),
        (4 * D**2 - d * D) / (12_566 * (D * d**3 - d**4)) + 1 / (5_108 * d**2) - 1,
        1 - 140.45 * d / (D**2 * N),
        (d + D) / 1.5 - 1,
    )
    return torch.stack([-(N + 2) * D * d**2, *limits], dim=-1)


class Spring(Problem):
    """The lightest coil spring: wire diameter d, coil diameter D, N active coils.

    Inputs: d in 0.05 .. 0.2 inch, D in 0.25 .. 1.3 inch, N in 2 .. 15. Maximised is minus the
    volume of the wire, (N + 2) D d^2. Constraints: deflection, shear, surge frequency, outer
    diameter.

    Source: Arora, "Introduction to optimum design" (1989); Coello Coello (2000), as above.
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _spring,
            table([0.05, 0.25, 2.0], [0.2, 1.3, 15.0]),
            optimal_value=-0.01266523278831942,
            optimal_points=table([0.05168906108276346, 0.35671773979944085, 11.288965751613345]),
            noise_std=noise_std,
            how="the conditions of Karush, Kuhn and Tucker by Newton's method, best of many starts",
            name="spring",
            inputs=("wire (in)", "coil (in)", "active coils"),
            output="minus volume",
            num_outputs=5,
            num_constraints=4,
        )
