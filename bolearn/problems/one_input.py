"""Curves to look at: few inputs, so that the truth fits in a figure.

Most have one input. They are what Part 3 drills into: two scales at once, a gold mine, a trap, a
needle, a fault line, and draws from the prior itself.

Taught in part_3/tutorial_01 and part_3/tutorial_04.
"""

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError
from ..sampling import Sampler
from ..search.multi_start import optimize_acqf
from ..seeds import derive, normal
from ..shapes import check_count, check_points
from .core import Problem, cube, table

_POLISHED = "Newton's method with 40 digits from the best point of a fine grid"


class TwoScale1d(Problem):
    """A slow wave and a fast one: loss 0.35 sin 2.2x + 0.15 cos 5x + 0.03 (x - 1.5)^2 - 0.25.

    On [-3, 3], no units. Three hills; the best is the one on the right.

    Example:
        >>> round(TwoScale1d().optimal_value, 5)
        0.70553
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _two_scale,
            cube(-3.0, 3.0, 1),
            optimal_value=0.7055347795324824649,
            optimal_points=table([1.959543793732464502]),
            noise_std=noise_std,
            how=_POLISHED,
            name="two scales",
            inputs=("x",),
        )


def _two_scale(X: Tensor) -> Tensor:
    x = X[..., 0]
    waves = 0.35 * torch.sin(2.2 * x) + 0.15 * torch.cos(5 * x)
    return -(waves + 0.03 * (x - 1.5) ** 2 - 0.25)


class GoldMine1d(Problem):
    """Where to drill: gold found at x, 2 (x - 3) sin(x - 3) + 2 + x/2, on [0, 6].

    A vein at each end; the one on the right is richer by two ounces.

    Source: Agnihotri & Batra, "Exploring Bayesian optimization", Distill (2020),
        https://doi.org/10.23915/distill.00026, has a mine of this kind.

    Example:
        >>> round(GoldMine1d().optimal_value, 5)
        8.17647
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _gold,
            cube(0.0, 6.0, 1),
            optimal_value=8.176472486391382109,
            optimal_points=table([5.118696437969206275]),
            noise_std=noise_std,
            how=_POLISHED,
            name="gold mine",
            inputs=("place",),
            output="gold (ounces)",
        )


def _gold(X: Tensor) -> Tensor:
    x = X[..., 0]
    return 2 * (x - 3) * torch.sin(x - 3) + 2 + x / 2


class Hard1d(Problem):
    """A broad hill, and a narrow one that is easily found and only second best, on [-3.5, 3.5].

    loss(x) = 0.035 (x + 2.6)^2 - 0.60 exp(-((x + 1.15)/0.70)^2/2) - 1.10 exp(-((x - 2.15)/0.22)^2
    /2) + 0.11 sin 3.4x + 0.07 cos 7.6x + 0.12; no units.

    Example:
        >>> round(Hard1d().optimal_value, 5)
        0.38799
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _hard,
            cube(-3.5, 3.5, 1),
            optimal_value=0.3879904042880990125,
            optimal_points=table([-1.19402210508714887]),
            noise_std=noise_std,
            how=_POLISHED,
            name="hard",
            inputs=("x",),
        )


def _hard(X: Tensor) -> Tensor:
    x = X[..., 0]
    broad = 0.60 * torch.exp(-(((x + 1.15) / 0.70) ** 2) / 2)
    narrow = 1.10 * torch.exp(-(((x - 2.15) / 0.22) ** 2) / 2)
    waves = 0.11 * torch.sin(3.4 * x) + 0.07 * torch.cos(7.6 * x)
    return broad + narrow - 0.035 * (x + 2.6) ** 2 - waves - 0.12


class Needle1d(Problem):
    """A plateau with a needle: exp(-((x - 0.7157)/0.004)^2/2) on [0, 1].

    Nothing measured off the needle says where it is, so no method finds it but by luck.

    Example:
        >>> needle = Needle1d()
        >>> bool((needle(torch.linspace(0, 1, 16, dtype=torch.float64).unsqueeze(-1)) < 0.01).all())
        True
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _needle,
            cube(0.0, 1.0, 1),
            optimal_value=1.0,
            optimal_points=table([0.7157]),
            noise_std=noise_std,
            how="closed form: the tip of the needle",
            name="needle",
            inputs=("x",),
        )


def _needle(X: Tensor) -> Tensor:
    return torch.exp(-(((X[..., 0] - 0.7157) / 0.004) ** 2) / 2)


class Step1d(Problem):
    """A fault line: sin(8x)/2, and one more from x = 0.55 on, on [0, 1].

    A smooth model either smears the step or distrusts the calm parts.

    Example:
        >>> left, right = Step1d()(torch.tensor([[0.5499999], [0.55]], dtype=torch.float64))
        >>> bool(right > left + 0.99)
        True
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _fault_line,
            cube(0.0, 1.0, 1),
            optimal_value=1.5,
            optimal_points=table([5 * math.pi / 16]),
            noise_std=noise_std,
            how="closed form: the sine is 1 beyond the step at x = 5 pi / 16",
            name="fault line",
            inputs=("x",),
        )


def _fault_line(X: Tensor) -> Tensor:
    x = X[..., 0]
    return torch.sin(8 * x) / 2 + (x >= 0.55).to(X.dtype)


_WELLS = (  # height, width, place in every coordinate
    (1.0, 0.04, 0.25),
    (0.8, 0.15, 0.7),
)


class TwoWells(Problem):
    """A sharp high hill and a broad lower one (wells of the loss), on [0, 1]^d.

    f(x) = sum_j h_j exp(-|x - c_j|^2 / (2 w_j^2)): height 1, width 0.04 around (0.25, ..., 0.25);
    height 0.8, width 0.15 around (0.7, ..., 0.7). The best setting is not the best one that can be
    held only roughly: `expected` is what remains of f when the input is off by a normal error.

    Example:
        >>> problem = TwoWells()
        >>> X = torch.tensor([[0.25], [0.7]], dtype=torch.float64)
        >>> problem(X).argmax().item(), problem.expected(X, 0.1).argmax().item()
        (0, 1)
    """

    def __init__(self, d: int = 1, noise_std: float = 0.0) -> None:
        check_count("d", d)
        (h, w, c), (H, W, C) = _WELLS
        x = c  # on the diagonal: Newton's method for the stationary point near the sharp hill
        for _ in range(10):
            sharp = h * math.exp(-d * (x - c) ** 2 / (2 * w**2)) / w**2
            broad = H * math.exp(-d * (x - C) ** 2 / (2 * W**2)) / W**2
            first = -sharp * (x - c) - broad * (x - C)
            second = sharp * (d * (x - c) ** 2 / w**2 - 1) + broad * (d * (x - C) ** 2 / W**2 - 1)
            x -= first / second
        best = torch.full((1, d), x, dtype=torch.float64)
        super().__init__(
            partial(_hills, std=0.0),
            cube(0.0, 1.0, d),
            optimal_value=_hills(best, 0.0).item(),
            optimal_points=best,
            noise_std=noise_std,
            how="Newton's method from the top of the sharp hill",
            name="two wells",
        )

    def expected(self, X: Float[Tensor, "*r n d"], std: float) -> Float[Tensor, "*r n 1"]:
        """The mean of f(x + e) over normal errors e with this standard deviation, in closed form.

        Each hill becomes broader and lower: width sqrt(w^2 + std^2), height h (w / that)^d.
        """
        return _hills(check_points(X, self.d), std).unsqueeze(-1)


def _hills(X: Tensor, std: float) -> Tensor:
    total = torch.zeros_like(X[..., 0])
    for height, width, place in _WELLS:
        wide = math.sqrt(width**2 + std**2)
        shrunk = height * (width / wide) ** X.shape[-1]
        total = total + shrunk * torch.exp(-((X - place) ** 2).sum(-1) / (2 * wide**2))
    return total


class GPDraw(Problem):
    """A draw from a Gaussian-process prior on [0, 1]^d: the model's own idea of a function.

    f(x) = sum_i (a_i cos w_i x + b_i sin w_i x) / sqrt(k) with normal a_i and b_i; the frequencies
    w_i follow the spectrum of the kernel (RBF: normal; Matérn: Student's t), spread evenly by a
    Sobol sequence, so that the covariance of the draws is the kernel up to 3 %. Mean 0,
    variance 1.

    Args:
        seed: fixes the function.
        d: number of inputs.
        lengthscale: of the kernel, in all inputs.
        nu: smoothness of the Matérn kernel, a multiple of 1/2; None for the RBF kernel.
        noise_std: as for every problem.
        features: k.

    Raises:
        DataError: a lengthscale that is not positive, or another nu.

    Source: Rahimi & Recht, "Random features for large-scale kernel machines", NeurIPS 2007.

    Example:
        >>> problem = GPDraw(seed=0)
        >>> bool(problem(problem.optimal_points) == problem.optimal_value)
        True
    """

    def __init__(
        self,
        seed: int,
        d: int = 1,
        lengthscale: float = 0.2,
        nu: float | None = 2.5,
        noise_std: float = 0.0,
        *,
        features: int = 1024,
    ) -> None:
        check_count("d", d)
        check_count("features", features)
        if not 0 < lengthscale < math.inf:
            raise DataError(f"lengthscale: expected a positive number, got {lengthscale!r}")
        w = frequencies(features, d, nu) / lengthscale  # d k
        a, b = normal([derive(seed, "weights")], (2, features))[0] / math.sqrt(features)
        draw = partial(_waves, w=w, a=a, b=b)
        box = cube(0.0, 1.0, d)
        best, _ = optimize_acqf(
            lambda X: draw(X)[..., 0], box, num_restarts=32, raw_samples=1024 * d, seed=0
        )
        super().__init__(
            draw,
            box,
            optimal_value=draw(best).item(),
            optimal_points=best,
            noise_std=noise_std,
            how="bracketed from below: the best of 32 climbs",
            name=f"draw {seed} from a GP",
        )


def _waves(X: Tensor, w: Tensor, a: Tensor, b: Tensor) -> Tensor:
    angle = X @ w.to(X.device)
    value: Tensor = torch.cos(angle) @ a.to(X.device) + torch.sin(angle) @ b.to(X.device)
    return value


def frequencies(count: int, d: int, nu: float | None) -> Float[Tensor, "d k"]:
    """Evenly spread frequencies of a kernel with lengthscale 1: its spectrum is their distribution.

    Standard normal for the RBF kernel; Student's t with 2 nu degrees of freedom for a Matérn one.

    Raises:
        DataError: nu is not a multiple of 1/2.
    """
    freedom = 0 if nu is None else round(2 * nu)
    if nu is not None and (freedom != 2 * nu or freedom < 1):
        raise DataError(f"nu: expected a positive multiple of 1/2 or None, got {nu!r}")
    z = Sampler(count, seed=0).base_samples((d + freedom,))
    w = z[:, :d]
    if freedom:
        w = w / (z[:, d:] ** 2).mean(-1, keepdim=True).sqrt()
    return w.T
