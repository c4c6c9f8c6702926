"""Test problems with a known best value, and how it is known.

A problem is a function to maximise over a box, with its noise. Regret needs the truth, so every
problem here carries the value of its optimum, the points that attain it, and the reason why we
believe both: a closed form, a polish to machine precision, or the enumeration of a table.

Taught in part_4/tutorial_03.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .data import digits_svm
from .errors import DataError, ShapeError, StorageError
from .seeds import Seed, normal, replicate_seeds
from .shapes import check_bounds, check_points, check_tensor

_ROUNDING = 1e-9  # how far outside its box, relative to the width, a point may fall by rounding
_GAS_CONSTANT = 8.314462618e-3  # kJ / (mol K)


@dataclass(frozen=True, eq=False)
class Problem:
    """A function to maximise over a box: ``problem(X, seed=0)`` measures it.

    Args:
        f: maps a table of points ``n d`` to ``n`` or ``n m`` values. With ``vectorized=False`` it
            maps one point ``d`` to a float or to ``m`` values and is called point by point.
        bounds: ``2 d``, the box.
        optimal_value: the best noise-free value of output 0, if it is known.
        noise_std: standard deviation of the Gaussian noise added to each measurement.
        optimal_points: ``k d``, points that attain the optimal value.
        how: how the optimum is known.
        name: for tables and figures.
        inputs: one label for each input, with its unit.
        output: what is maximised, with its unit.
        num_outputs: m.
        vectorized: whether ``f`` takes all points at once.

    Raises:
        DataError: bad bounds, a negative noise level, labels or optimal points that do not fit.

    Example:
        >>> parabola = Problem(lambda X: -(X**2).sum(-1), torch.tensor([[-1.0], [2.0]]).double())
        >>> parabola(torch.tensor([[0.5], [1.0]]).double())
        tensor([[-0.2500],
                [-1.0000]], dtype=torch.float64)
    """

    f: Callable[[Tensor], Any]
    bounds: Float[Tensor, "2 d"]
    optimal_value: float | None = None
    noise_std: float = 0.0
    optimal_points: Float[Tensor, "k d"] | None = None
    how: str = "not stated"
    name: str = "problem"
    inputs: tuple[str, ...] = ()
    output: str = "value"
    num_outputs: int = 1
    vectorized: bool = True

    def __post_init__(self) -> None:
        """Check at the border, before anything is measured."""
        if check_bounds(self.bounds).ndim != 2:
            raise ShapeError(f"bounds: expected shape 2 d, got {tuple(self.bounds.shape)}")
        noise = self.noise_std
        if isinstance(noise, bool) or not isinstance(noise, float | int) or not 0 <= noise < 1e300:
            raise DataError(f"noise_std: expected a finite number >= 0, got {noise!r}")
        if self.optimal_value is not None and not math.isfinite(self.optimal_value):
            raise DataError(f"optimal_value: expected a finite number, got {self.optimal_value!r}")
        if self.optimal_points is not None:
            self._inside(self.optimal_points, "optimal_points")
        if not self.inputs:
            object.__setattr__(self, "inputs", tuple(f"x{i + 1}" for i in range(self.d)))
        if len(self.inputs) != self.d:
            raise DataError(f"inputs: expected {self.d} labels, got {self.inputs!r}")

    @property
    def d(self) -> int:
        """Number of inputs."""
        return self.bounds.shape[-1]

    def __call__(
        self, X: Float[Tensor, "*r n d"], seed: Seed | None = None
    ) -> Float[Tensor, "*r n m"]:
        """Measure at X: the noise-free value plus noise from ``seed``.

        Args:
            X: points inside the bounds (rounding of 1e-9 of the width is forgiven).
            seed: an int, or one for each replicate; needed when the problem is noisy. Replicate i
                of a batch receives the noise it would receive alone.

        Raises:
            DataError: points that are not finite float64 or outside the bounds; no seed.
            ShapeError: points of the wrong shape, or values of the wrong shape from ``f``.
        """
        values = self.noiseless(X)
        if self.noise_std == 0:
            return values
        if seed is None:
            raise DataError(
                f"seed: {self.name} has noise_std = {self.noise_std:g}, so expected an int or one "
                "for each replicate, got None; pass seed=0, another one for each later call"
            )
        streams = replicate_seeds(seed, values.shape[:-2])
        noise = normal(streams, values.shape[-2:], device=values.device)
        return values + self.noise_std * noise.reshape(values.shape)

    def noiseless(self, X: Float[Tensor, "*r n d"]) -> Float[Tensor, "*r n m"]:
        """The value at X without noise: what regret is computed from, never shown to a method.

        Raises:
            DataError: as for a measurement.
            ShapeError: as for a measurement.
        """
        points = self._inside(check_points(X, self.d), "X")
        return self._evaluate(points)

    def loss(self, X: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Output 0 without noise and with its sign flipped, for code that minimises.

        Unlike a measurement it may be asked outside the bounds: a gradient step may leave the box.
        """
        points = check_tensor("X", X)
        if points.ndim == 0 or points.shape[-1] != self.d:
            raise ShapeError(f"X: expected shape *batch {self.d}, got {tuple(points.shape)}")
        values: Tensor = -self._evaluate(points.unsqueeze(-2))[..., 0, 0]
        return values

    def _inside(self, X: Tensor, name: str) -> Tensor:
        """The points, pulled back by at most the forgiven rounding; DataError beyond it."""
        low, high = self.bounds.to(X.device).unbind(-2)
        slack = _ROUNDING * torch.maximum(high - low, torch.maximum(low.abs(), high.abs()))
        bad = ((low - slack > X) | (high + slack < X)).nonzero()
        if len(bad):
            where = tuple(int(i) for i in bad[0])
            i = where[-1]
            raise DataError(
                f"{name}: expected {self.inputs[i] if self.inputs else f'input {i}'} in "
                f"[{low[i].item():g}, {high[i].item():g}], got {X[where].item():.12g} at index "
                f"{where}; clamp the point or widen the bounds"
            )
        return torch.minimum(torch.maximum(X, low), high)

    def _evaluate(self, X: Tensor) -> Tensor:
        """Call f on the points as one table and return ``*r n m``."""
        table = X.reshape(-1, self.d)
        # A function written for one point would answer a square table with the right shape and the
        # wrong numbers, so a square table is never handed over: its first row goes alone.
        square = self.vectorized and 1 < len(table) == self.d
        parts = [table[:1], table[1:]] if square else [table]
        if not self.vectorized:
            parts = [point.unsqueeze(0) for point in table]
        values = torch.cat([self._call(part) for part in parts])
        return values.reshape(*X.shape[:-1], self.num_outputs)

    def _call(self, table: Tensor) -> Tensor:
        """One call of f, its answer as ``n m``."""
        try:
            answer = self.f(table if self.vectorized else table[0])
        except Exception as error:
            if self.vectorized:
                error.add_note(
                    f"{self.name}: f was given {len(table)} points at once, shape "
                    f"{tuple(table.shape)}; if it takes one point, pass vectorized=False"
                )
            raise
        if not isinstance(answer, Tensor):
            answer = torch.as_tensor(answer, dtype=torch.float64, device=table.device)
        values = check_tensor("f(X)", answer, finite=False)
        if not self.vectorized:
            values = values.reshape(1, -1) if values.ndim < 2 else values
        elif values.shape == table.shape[:-1]:
            values = values.unsqueeze(-1)
        if values.shape != (len(table), self.num_outputs):
            raise ShapeError(
                f"f(X): expected shape {(len(table),)} or {(len(table), self.num_outputs)} for "
                f"{len(table)} points, got {tuple(answer.shape)}; if f takes one point at a time, "
                "pass vectorized=False; if it has several outputs, pass num_outputs="
            )
        return values


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
    alpha, A, P = (X.new_tensor(table) for table in (_HARTMANN_ALPHA, _HARTMANN_A, _HARTMANN_P))
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


def batch_concentrations(
    k1: Float[Tensor, "*#b"],
    k2: Float[Tensor, "*#b"],
    feed: Float[Tensor, "*#b"],
    t: Float[Tensor, "*#b"],
) -> Float[Tensor, "*#b 3"]:
    """Concentrations of A, B and C at time t in the batch reaction A -> B -> C, in closed form.

    C_A = c0 exp(-k1 t) and C_B = c0 k1 (exp(-k1 t) - exp(-k2 t)) / (k2 - k1); C_C is the rest.
    The quotient loses its digits when k1 and k2 are close; with a = k1 t, b = k2 t, u = |b - a| it
    is t exp(-min(a, b)) (1 - exp(-u)) / u, which does not.

    Args:
        k1: rate of A -> B in 1/min.
        k2: rate of B -> C in 1/min.
        feed: concentration c0 of A at time 0 in mol/L.
        t: time in min.

    Returns:
        C_A, C_B, C_C in mol/L in the last axis.

    Example:
        >>> one = torch.ones((), dtype=torch.float64)
        >>> batch_concentrations(one, one, one, one)
        tensor([0.3679, 0.3679, 0.2642], dtype=torch.float64)
    """
    a, b = k1 * t, k2 * t
    u = (b - a).abs()
    small = u < 1e-5
    safe = torch.where(small, 1.0, u)
    # (1 - exp(-u)) / u, by its series where the quotient would be 0 / 0
    ratio = torch.where(small, 1 - u / 2 + u**2 / 6, -torch.expm1(-safe) / safe)
    A = feed * torch.exp(-a)
    B = feed * a * torch.exp(-torch.minimum(a, b)) * ratio
    return torch.stack([A, B, feed - A - B], dim=-1)


def batch_concentrations_rk4(
    k1: Float[Tensor, "*#b"],
    k2: Float[Tensor, "*#b"],
    feed: Float[Tensor, "*#b"],
    t: Float[Tensor, "*#b"],
    steps: int = 400,
) -> Float[Tensor, "*#b 3"]:
    """The same concentrations by integrating dA/dt = -k1 A, dB/dt = k1 A - k2 B, dC/dt = k2 B.

    The classical Runge-Kutta method of fourth order: another route to the numbers of
    `batch_concentrations`, and the one that still works when the kinetics have no closed form.

    Args:
        k1: rate of A -> B in 1/min.
        k2: rate of B -> C in 1/min.
        feed: concentration of A at time 0 in mol/L.
        t: time in min.
        steps: number of equal steps.
    """

    def slope(c: Tensor) -> Tensor:
        r1, r2 = k1 * c[..., 0], k2 * c[..., 1]
        return torch.stack([-r1, r1 - r2, r2], dim=-1)

    k1, k2, feed, t = torch.broadcast_tensors(k1, k2, feed, t)
    h = (t / steps).unsqueeze(-1)
    c = torch.stack([feed, torch.zeros_like(feed), torch.zeros_like(feed)], dim=-1)
    for _ in range(steps):
        s1 = slope(c)
        s2 = slope(c + h / 2 * s1)
        s3 = slope(c + h / 2 * s2)
        s4 = slope(c + h * s3)
        c = c + h / 6 * (s1 + 2 * s2 + 2 * s3 + s4)
    return c


def arrhenius(
    T: Float[Tensor, "*b"], rate: float, activation: float, reference: float = 350.0
) -> Float[Tensor, "*b"]:
    """Rate at temperature T: ``rate * exp(-activation / R (1/T - 1/reference))``.

    Args:
        T: temperature in K.
        rate: the rate at the reference temperature in 1/min.
        activation: activation energy in kJ/mol.
        reference: the reference temperature in K.
    """
    return rate * torch.exp(-activation / _GAS_CONSTANT * (1 / T - 1 / reference))


def _batch_reactor(X: Tensor) -> Tensor:
    T, t, feed = X.unbind(-1)
    k1, k2 = BatchReactor.rates(T)
    A, B, C = batch_concentrations(k1, k2, feed, t).unbind(-1)
    cost = 0.1 / feed + 0.1 * (A + C) + 0.0015 * t
    return B / feed - cost


class BatchReactor(Problem):
    """When to stop A -> B -> C, how hot to run it, how concentrated to feed it.

    Both steps are first order and follow Arrhenius; B is the product, C is waste. Maximised is the
    yield of B minus the cost of separating it, both as fractions of the feed's value:

        C_B / c0 - (0.1 mol/L) / c0 - (0.1 L/mol) (C_A + C_C) - (0.0015 / min) t

    solvent to evaporate, impurities to remove, reactor time. Inputs: temperature T in 310 .. 410 K,
    time t in 5 .. 120 min, feed concentration c0 in 0.5 .. 4 mol/L. All constants are synthetic. It
    leaves out heat: a real batch takes time to warm up, and its own reaction heats it further.

    Example:
        >>> reactor = BatchReactor()
        >>> round(reactor.optimal_value, 4)
        0.5827
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _batch_reactor,
            torch.tensor([[310.0, 5.0, 0.5], [410.0, 120.0, 4.0]], dtype=torch.float64),
            optimal_value=0.58274429424767829,
            optimal_points=torch.tensor(
                [[346.428143297538679, 54.2569752332416549, 2.04872969294051394]],
                dtype=torch.float64,
            ),
            noise_std=noise_std,
            how="L-BFGS-B from many starts, the best polished by Newton's method with 40 digits",
            name="batch reactor",
            inputs=("temperature (K)", "time (min)", "feed (mol/L)"),
            output="yield of B minus separation cost",
        )

    @staticmethod
    def rates(T: Float[Tensor, "*b"]) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
        """k1 and k2 in 1/min at temperature T in K; the second step gains more from heat."""
        return arrhenius(T, 0.05, 60.0), arrhenius(T, 0.006, 95.0)


@dataclass(frozen=True, eq=False)
class DigitsTable:
    """The stored cross-validation results: how many of the images each setting gets right."""

    log10_C: Float[Tensor, " rows"]
    log10_gamma: Float[Tensor, " columns"]
    correct: Int[Tensor, "rows columns"]
    images: int
    scheme: str
    command: str
    versions: dict[str, str]

    @property
    def accuracy(self) -> Float[Tensor, "rows columns"]:
        """Share of the images classified correctly when held out."""
        return self.correct.double() / self.images

    @property
    def best(self) -> Bool[Tensor, "rows columns"]:
        """The entries that attain the table's maximum."""
        return self.correct == self.correct.max()

    @property
    def ties_at_optimum(self) -> int:
        """How many entries attain the table's maximum."""
        return int(self.best.sum())

    def points(self, mask: Bool[Tensor, "rows columns"] | None = None) -> Float[Tensor, "k 2"]:
        """(log10 C, log10 gamma) of the entries where the mask is true, by default of all."""
        rows, columns = torch.meshgrid(self.log10_C, self.log10_gamma, indexing="ij")
        chosen = torch.ones_like(self.best) if mask is None else mask
        return torch.stack([rows[chosen], columns[chosen]], dim=-1)


@lru_cache(maxsize=1)
def digits_table(path: Path = digits_svm.TABLE) -> DigitsTable:
    """Read the stored table of `DigitsSVM`.

    Raises:
        StorageError: the file is missing or is not such a table.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return DigitsTable(
            torch.tensor(stored["log10_C"], dtype=torch.float64),
            torch.tensor(stored["log10_gamma"], dtype=torch.float64),
            torch.tensor(stored["correct"]),
            stored["images"],
            stored["scheme"],
            stored["command"],
            stored["versions"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"expected the digits table at {path.name}, got {error!r}; "
            "python -m bolearn.data.digits_svm recomputes it"
        ) from error


class DigitsSVM(Problem):
    """Tuning a real classifier: C and gamma of an RBF support vector machine on handwritten digits.

    Maximised is the share of 1,797 digits (scikit-learn's `load_digits`, 8 x 8 pixels) classified
    correctly in five-fold cross-validation. Inputs: log10 C in -2 .. 3 and log10 gamma in -4 .. 1.
    A call looks its answer up: it rounds each point to the nearest entry of a stored 41 x 41 table
    (an eighth of a decade apart), so that studies over many seeds cost nothing. `live` runs the
    cross-validation itself, about 0.3 s. The table leaves out the luck of the split: other folds
    would move each entry by a few images, so its best entry is the best for these folds only.

    Example:
        >>> problem = DigitsSVM()
        >>> bool(problem(problem.optimal_points).max() == problem.optimal_value)
        True
    """

    def __init__(self) -> None:
        table = digits_table()
        super().__init__(
            lambda X: table.accuracy.to(X.device)[DigitsSVM._entry(X)],
            torch.stack([torch.stack([g[0], g[-1]]) for g in (table.log10_C, table.log10_gamma)]).T,
            optimal_value=float(table.accuracy.max()),
            optimal_points=table.points(table.best),
            how=f"the maximum of the stored table of {table.correct.numel()} entries, attained by "
            f"{table.ties_at_optimum} of them",
            name="digits SVM (table)",
            inputs=("log10 C", "log10 gamma"),
            output="cross-validated accuracy",
        )

    @property
    def table(self) -> DigitsTable:
        """The stored table."""
        return digits_table()

    @staticmethod
    def _entry(X: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column of the nearest entries."""

        def nearest(x: Tensor, grid: Tensor) -> Tensor:
            steps = (x - grid[0].item()) * digits_svm.STEPS_PER_DECADE
            return steps.round().long().clamp(0, len(grid) - 1)

        table = digits_table()
        return nearest(X[..., 0], table.log10_C), nearest(X[..., 1], table.log10_gamma)

    def snap(self, X: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 2"]:
        """The nearest entries of the table: where a looked-up point was really evaluated."""
        rows, columns = self._entry(check_tensor("X", X))
        C, gamma = (g.to(X.device) for g in (self.table.log10_C, self.table.log10_gamma))
        return torch.stack([C[rows], gamma[columns]], dim=-1)

    @staticmethod
    def live(C: float, gamma: float) -> float:
        """Cross-validated accuracy, computed now (needs scikit-learn, about 0.3 s).

        Args:
            C: penalty of margin violations, dimensionless.
            gamma: inverse squared width of the kernel, pixels scaled to [0, 1].

        Raises:
            DataError: C or gamma is not a positive finite number.
        """
        for name, value in (("C", C), ("gamma", gamma)):
            if not 0 < value < math.inf:
                raise DataError(f"{name}: expected a positive finite number, got {value!r}")
        return digits_svm.correct_images(C, gamma) / digits_svm.IMAGES
