"""Classical test functions for any number of inputs.

Known by the losses of the literature; here they are maximised, so their signs are flipped. Many are
sums over the coordinates: what they say about many dimensions is mild, and their docstrings say so.
Most stand, with pictures, in Surjanovic & Bingham, "Virtual library of simulation experiments",
https://www.sfu.ca/~ssurjano/optimization.html.

Taught in part_2/tutorial_04 and part_5/tutorial_01.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..errors import DataError
from ..seeds import uniform
from ..shapes import check_count
from .classic import Hartmann3, Hartmann6
from .core import Problem, cube, root


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


def _rastrigin(X: Tensor) -> Tensor:
    # 1 - cos 2 pi x = 2 sin^2 pi x, without cancellation near the integers
    return -(X**2 + 20 * torch.sin(math.pi * X) ** 2).sum(-1)


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
            _rastrigin,
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


def _levy(X: Tensor) -> Tensor:
    w = 1 + (X - 1) / 4
    first, body, last = w[..., 0], w[..., :-1], w[..., -1]
    middle = ((body - 1) ** 2 * (1 + 10 * torch.sin(math.pi * body + 1) ** 2)).sum(-1)
    end = (last - 1) ** 2 * (1 + torch.sin(2 * math.pi * last) ** 2)
    # sin^2 pi w = sin^2 pi (w - 1): exactly zero at the optimum
    return -(torch.sin(math.pi * (first - 1)) ** 2) - middle - end


class Levy(Problem):
    """Waves on a bowl, on [-10, 10]^d; its best point is (1, ..., 1).

    With w_i = 1 + (x_i - 1)/4: loss(x) = sin^2(pi w_1) + sum_{i<d} (w_i - 1)^2 (1 + 10 sin^2(pi w_i
    + 1)) + (w_d - 1)^2 (1 + sin^2(2 pi w_d)). A sum over the coordinates.

    Source: Levy & Montalvo, "The tunneling algorithm for the global minimization of functions",
        SIAM J. Sci. Stat. Comput. 6 (1985), https://doi.org/10.1137/0906002; in the form of
        Laguna & Martí, J. Global Optimization 33 (2005).
    """

    def __init__(self, d: int = 2, noise_std: float = 0.0) -> None:
        super().__init__(
            _levy,
            cube(-10.0, 10.0, d),
            optimal_value=0.0,
            optimal_points=torch.ones(1, d, dtype=torch.float64),
            noise_std=noise_std,
            how="closed form: a sum of squares that are all zero",
            name=f"Levy-{d}",
        )


def _griewank(X: Tensor) -> Tensor:
    i = torch.arange(1, X.shape[-1] + 1, dtype=X.dtype, device=X.device)
    return torch.cos(X / i.sqrt()).prod(-1) - 1 - (X**2).sum(-1) / 4000


class Griewank(Problem):
    """A wide bowl with fine ripples: loss sum x_i^2/4000 + 1 - prod cos(x_i/sqrt i), [-600, 600]^d.

    From afar it is a bowl; the ripples matter near the optimum 0, and less the larger d is.

    Source: Griewank, "Generalized descent for global optimization", J. Optimization Theory and
        Applications 34 (1981), https://doi.org/10.1007/BF00933356.
    """

    def __init__(self, d: int = 2, noise_std: float = 0.0) -> None:
        super().__init__(
            _griewank,
            cube(-600.0, 600.0, d),
            optimal_value=0.0,
            optimal_points=torch.zeros(1, d, dtype=torch.float64),
            noise_std=noise_std,
            how="closed form: a product of cosines is at most 1",
            name=f"Griewank-{d}",
        )


def _styblinski_tang(X: Tensor) -> Tensor:
    return -(X**4 - 16 * X**2 + 5 * X).sum(-1) / 2


class StyblinskiTang(Problem):
    """Two wells in each coordinate: loss sum_i (x_i^4 - 16 x_i^2 + 5 x_i)/2 on [-5, 5]^d.

    2^d local minima, one of them the best; a sum over the coordinates.

    Source: Styblinski & Tang, "Experiments in nonconvex optimization: stochastic approximation with
        function smoothing and simulated annealing", Neural Networks 3 (1990),
        https://doi.org/10.1016/0893-6080(90)90029-K.
    """

    def __init__(self, d: int = 2, noise_std: float = 0.0) -> None:
        # The smallest root of x^3 - 8 x + 5/4, half a term's derivative: Viète's formula.
        x = -2 * math.sqrt(8 / 3) * math.cos(math.acos(15 / 64 * math.sqrt(3 / 8)) / 3)
        super().__init__(
            _styblinski_tang,
            cube(-5.0, 5.0, d),
            optimal_value=-d * (x**4 - 16 * x**2 + 5 * x) / 2,
            optimal_points=torch.full((1, d), x, dtype=torch.float64),
            noise_std=noise_std,
            how="closed form: a root of a cubic polynomial",
            name=f"Styblinski-Tang-{d}",
        )


def _michalewicz(X: Tensor) -> Tensor:
    k = torch.arange(1, X.shape[-1] + 1, dtype=X.dtype, device=X.device)
    total: Tensor = (torch.sin(X) * torch.sin(k * X**2 / math.pi) ** 20).sum(-1)
    return total


class Michalewicz(Problem):
    """Steep narrow ditches between plains: loss -sum_i sin x_i sin^20(i x_i^2 / pi) on [0, pi]^d.

    Over most of the box the gradient is next to nothing. A sum over the coordinates, which are
    therefore solved one by one.

    Source: Michalewicz, "Genetic algorithms + data structures = evolution programs" (1992).
    """

    def __init__(self, d: int = 2, noise_std: float = 0.0) -> None:
        i = torch.arange(1, check_count("d", d) + 1, dtype=torch.float64)
        x = torch.stack([self._best(int(k)) for k in i])
        super().__init__(
            _michalewicz,
            cube(0.0, math.pi, d),
            optimal_value=_michalewicz(x).item(),
            optimal_points=x.unsqueeze(0),
            noise_std=noise_std,
            how="each coordinate by Newton's method from every ditch",
            name=f"Michalewicz-{d}",
        )

    @staticmethod
    def _best(i: int) -> Tensor:
        """Where sin x sin^20(i x^2 / pi) is largest: Newton's method on its logarithm."""
        x = math.pi * ((torch.arange(i, dtype=torch.float64) + 0.5) / i).sqrt()  # one per ditch
        for _ in range(30):
            u, slope = i * x**2 / math.pi, 2 * i * x / math.pi
            first = 1 / torch.tan(x) + 20 * slope / torch.tan(u)
            second = (
                -1 / torch.sin(x) ** 2
                + 40 * i / math.pi / torch.tan(u)
                - 20 * slope**2 / torch.sin(u) ** 2
            )
            x = x - first / second
        best: Tensor = x[(torch.sin(x) * torch.sin(i * x**2 / math.pi) ** 20).argmax()]
        return best


def _schwefel(X: Tensor) -> Tensor:
    return (X * torch.sin(root(X))).sum(-1)


class Schwefel(Problem):
    """The second best is far from the best: loss -sum_i x_i sin sqrt|x_i| on [-500, 500]^d.

    In each coordinate the best point, near 421, and the second best, near -303, are at opposite
    ends of the box. A sum over the coordinates.

    Source: Schwefel, "Numerical optimization of computer models" (1981).
    """

    def __init__(self, d: int = 2, noise_std: float = 0.0) -> None:
        s = 20.5  # the root of 2 sin s + s cos s = 0 with x = s^2; Newton's method
        for _ in range(8):
            s -= (2 * math.sin(s) + s * math.cos(s)) / (3 * math.cos(s) - s * math.sin(s))
        super().__init__(
            _schwefel,
            cube(-500.0, 500.0, d),
            optimal_value=d * s**2 * math.sin(s),
            optimal_points=torch.full((1, d), s**2, dtype=torch.float64),
            noise_std=noise_std,
            how="each coordinate by Newton's method",
            name=f"Schwefel-{d}",
        )


def _powell(X: Tensor) -> Tensor:
    a, b, c, d = X.unflatten(-1, (-1, 4)).unbind(-1)
    first = (a + 10 * b) ** 2 + 5 * (c - d) ** 2
    loss: Tensor = (first + (b - 2 * c) ** 4 + 10 * (a - d) ** 4).sum(-1)
    return -loss


class Powell(Problem):
    """A flat bottom: at the optimum 0 the Hessian is singular, so Newton's method is slow there.

    For each four inputs a, b, c, d: loss (a + 10 b)^2 + 5 (c - d)^2 + (b - 2 c)^4 + 10 (a - d)^4,
    on [-4, 5]^d.

    Raises:
        DataError: d is not a multiple of 4.

    Source: Powell, "An iterative method for finding stationary values of a function of several
        variables", The Computer Journal 5 (1962), https://doi.org/10.1093/comjnl/5.2.147.
    """

    def __init__(self, d: int = 4, noise_std: float = 0.0) -> None:
        if check_count("d", d) % 4:
            raise DataError(f"d: expected a multiple of 4, got {d}; use d={d + 4 - d % 4}")
        super().__init__(
            _powell,
            cube(-4.0, 5.0, d),
            optimal_value=0.0,
            optimal_points=torch.zeros(1, d, dtype=torch.float64),
            noise_std=noise_std,
            how="closed form: a sum of even powers that are all zero",
            name=f"Powell-{d}",
        )


def _dixon_price(X: Tensor) -> Tensor:
    i = torch.arange(2, X.shape[-1] + 1, dtype=X.dtype, device=X.device)
    chain = (i * (2 * X[..., 1:] ** 2 - X[..., :-1]) ** 2).sum(-1)
    return -((X[..., 0] - 1) ** 2) - chain


class DixonPrice(Problem):
    """A chain of parabolas: loss (x_1 - 1)^2 + sum_{i>1} i (2 x_i^2 - x_{i-1})^2 on [-10, 10]^d.

    Best where 2 x_i^2 = x_{i-1} all along the chain: x_i = 2^(2^(1-i) - 1), the last with either
    sign. The gradient vanishes at (1/3, 0, ..., 0) too, where the loss is 2/3.

    Source: Dixon & Price, "The truncated Newton method for sparse unconstrained optimisation using
        automatic differentiation", J. Optimization Theory and Applications 60 (1989),
        https://doi.org/10.1007/BF00940007.
    """

    def __init__(self, d: int = 2, noise_std: float = 0.0) -> None:
        i = torch.arange(1, check_count("d", d) + 1, dtype=torch.float64)
        x = 2 ** (2 ** (1 - i) - 1)
        mirror = x.clone()
        mirror[-1] *= -1
        super().__init__(
            _dixon_price,
            cube(-10.0, 10.0, d),
            optimal_value=0.0,
            optimal_points=torch.stack([x, mirror][: min(d, 2)]),
            noise_std=noise_std,
            how="closed form: a sum of squares that are all zero",
            name=f"Dixon-Price-{d}",
        )


def _on_axes(X: Tensor, f: Callable[[Tensor], Tensor], axes: Tensor) -> Tensor:
    return f(X[..., axes.to(X.device)])


class EffectiveDim(Problem):
    """Many inputs, few that matter: a Hartmann function on d_e of the d axes of the unit cube.

    Of constant difficulty: more inputs add nothing but ignorance of which axes count.

    Args:
        d: number of inputs.
        d_e: how many matter, 3 or 6.
        noise_std: as for every problem.
        seed: draws the axes that matter, `active`.

    Raises:
        DataError: another d_e, or fewer inputs than that.

    Example:
        >>> problem = EffectiveDim(20)
        >>> problem.d, len(problem.active), problem.optimal_value == Hartmann3().optimal_value
        (20, 3, True)
    """

    active: tuple[int, ...]

    def __init__(self, d: int = 20, d_e: int = 3, noise_std: float = 0.0, *, seed: int = 0) -> None:
        if d_e not in (3, 6) or check_count("d", d) < d_e:
            raise DataError(f"d_e: expected 3 or 6, and d >= d_e, got d = {d!r}, d_e = {d_e!r}")
        inner = Hartmann3() if d_e == 3 else Hartmann6()
        axes = uniform([seed], [d])[0].argsort()[:d_e].sort().values
        best = torch.full((1, d), 0.5, dtype=torch.float64)
        assert inner.optimal_points is not None
        best[0, axes] = inner.optimal_points[0]
        object.__setattr__(self, "active", tuple(axes.tolist()))
        super().__init__(
            partial(_on_axes, f=inner.f, axes=axes),
            cube(0.0, 1.0, d),
            optimal_value=inner.optimal_value,
            optimal_points=best,
            noise_std=noise_std,
            how=f"that of {inner.name}; the other inputs may have any value",
            name=f"{inner.name} in {d} inputs",
        )
