"""A problem: a function to maximise over a box, its noise, and what is known about its optimum.

Taught in part_4/tutorial_03.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsFloat

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import DataError, ShapeError
from ..seeds import Seed, normal, replicate_seeds
from ..shapes import check_bounds, check_count, check_number, check_points, check_tensor

_EXCESS = 1e-8  # how far f at an optimal point may exceed the optimal value, relative
_SHORTFALL = 1e-3  # how far it may fall short, where points are known to a few digits, relative
_ROUNDING = 1e-9  # how far outside its box, relative to the width, a point may fall by rounding


@dataclass(frozen=True, eq=False)
class Problem:
    """A function to maximise over a box: ``problem(X, seed=0)`` measures it.

    Args:
        f: maps a table of points ``n d`` to ``n`` or ``n m`` values. With ``vectorized=False`` it
            maps one point ``d`` to a float or to ``m`` values and is called point by point.
        bounds: ``2 d``, the box.
        optimal_value: the best noise-free value of output 0, if it is known; with constraints the
            best feasible one, with a fidelity the best one at fidelity 1.
        noise_std: standard deviation of the Gaussian noise added to each measurement.
        optimal_points: ``k d``, points that attain the optimal value.
        how: how the optimum is known.
        name: for tables and figures.
        inputs: one label for each input, with its unit.
        output: what is maximised, with its unit.
        num_outputs: m, objectives first, then constraints.
        vectorized: whether ``f`` takes all points at once.
        num_constraints: how many of the last outputs are constraints, feasible where <= 0.
        ref_point: for several objectives, the worst values that still count.
        optimal_hypervolume: what the feasible front dominates above ``ref_point``.
        fidelity: the index of an input in [0, 1] that trades truth for price; 1 is the truth.
        noise_scale: maps ``n d`` to ``n`` or ``n m`` factors >= 0 of ``noise_std`` (or to one
            number), if the noise depends on the place or the output.
        noise_free: whether values are exact, so that a model may interpolate them. Default: without
            noise of the problem's own (``noise_std == 0``) they are. Say False of a function that
            repeats itself and yet holds noise, such as a table of measurements.

    Tensors are copied. Where both are given, f is evaluated at the optimal points once.

    Raises:
        DataError: bad bounds, a negative noise level, noise in exact values, labels or optimal
            points that do not fit, an optimal value that is not that of f at the optimal points.

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
    num_constraints: int = 0
    ref_point: Float[Tensor, " m"] | None = None
    optimal_hypervolume: float | None = None
    fidelity: int | None = None
    noise_scale: Callable[[Tensor], Any] | None = None
    noise_free: bool | None = None

    def __post_init__(self) -> None:
        """Check at the border, before anything is measured."""
        if not callable(self.f):
            raise DataError(
                f"f: expected a function of X: *b d, such as lambda X: -X.square().sum(-1), got "
                f"{type(self.f).__name__}"
            )
        if self.noise_scale is not None and not callable(self.noise_scale):
            raise DataError(
                f"noise_scale: expected a function of X: n d that gives factors of noise_std, got "
                f"{self.noise_scale!r}; a constant factor belongs into noise_std"
            )
        if check_bounds(self.bounds).ndim != 2:
            raise ShapeError(f"bounds: expected shape 2 d, got {tuple(self.bounds.shape)}")
        for name in ("bounds", "optimal_points", "ref_point"):
            if isinstance(getattr(self, name), Tensor):  # its owner may write into it later
                object.__setattr__(self, name, getattr(self, name).detach().clone())
        noise = check_number("noise_std", self.noise_std, least=0.0)
        object.__setattr__(self, "noise_std", noise)
        object.__setattr__(self, "noise_free", self._exact())
        best = self.optimal_value
        if best is not None:
            # 0-d tensors and NumPy numbers are numbers too, texts are not
            if isinstance(best, bool) or not isinstance(best, SupportsFloat) or not _finite(best):
                raise DataError(f"optimal_value: expected a finite number, got {best!r}")
            object.__setattr__(self, "optimal_value", float(best))
        if self.optimal_points is not None:
            points = check_points(self.optimal_points, self.d, name="optimal_points")
            if points.ndim != 2:
                raise ShapeError(f"optimal_points: expected shape k d, got {tuple(points.shape)}")
            self._inside(points, "optimal_points")
        if not self.inputs:
            object.__setattr__(self, "inputs", tuple(f"x{i + 1}" for i in range(self.d)))
        if len(self.inputs) != self.d:
            raise DataError(f"inputs: expected {self.d} labels, got {self.inputs!r}")
        for name, least in (("num_outputs", 1), ("num_constraints", 0)):
            object.__setattr__(self, name, check_count(name, getattr(self, name), least=least))
        if self.num_constraints >= self.num_outputs:
            raise DataError(
                f"num_constraints: expected fewer than num_outputs = {self.num_outputs}, got "
                f"{self.num_constraints}; the first output is always an objective"
            )
        if self.ref_point is not None and self.ref_point.shape != (self.num_objectives,):
            raise ShapeError(
                f"ref_point: expected one value for each of {self.num_objectives} objectives, got "
                f"shape {tuple(self.ref_point.shape)}"
            )
        if self.optimal_value is not None and self.optimal_points is not None:
            self._check_optimum(self.optimal_value, self.optimal_points)

    def _exact(self) -> bool:
        """What is said of the noise, or what follows from its level."""
        said = self.noise_free
        if said is None:
            return self.noise_std == 0
        if not isinstance(said, bool):
            raise DataError(f"noise_free: expected True, False or None, got {said!r}")
        if said and self.noise_std > 0:
            raise DataError(
                f"noise_free: expected noise_std = 0 where values are exact, got "
                f"{self.noise_std:g}; leave out one of them (in dataclasses.replace, pass "
                "noise_free=None)"
            )
        return said

    def _check_optimum(self, best: float, points: Tensor) -> None:
        """Whether f attains the optimal value at the optimal points, and not more.

        What falls short may be the rounding of published points; what exceeds the optimum would be
        a negative regret. A function with noise of its own is not judged.
        """
        values = self._evaluate(points)[:, 0]
        above = (values - best).amax().item()
        short = (best - values).amax().item()
        size = max(1.0, abs(best))
        if above <= _EXCESS * size and short <= _SHORTFALL * size:
            return  # NaN goes on: it compares false
        if torch.equal(values, self._evaluate(points)[:, 0]) or values.isnan().any():
            i = int((values - best).abs().nan_to_num(nan=torch.inf).argmax())
            raise DataError(
                f"optimal_value: expected the value of f at optimal_points, which is "
                f"{values[i].item():.12g} at {points[i].tolist()}, got {best:.12g}; correct one of "
                "them, or leave out what is not known"
            )

    @property
    def d(self) -> int:
        """Number of inputs."""
        return self.bounds.shape[-1]

    @property
    def num_objectives(self) -> int:
        """Number of outputs that are to be maximised."""
        return self.num_outputs - self.num_constraints

    def feasible(self, Y: Float[Tensor, "*r n m"]) -> Bool[Tensor, "*r n"]:
        """Whether measured values meet all constraints; everywhere true if there are none."""
        return (check_tensor("Y", Y, finite=False)[..., self.num_objectives :] <= 0).all(-1)

    def noise_sd(self, X: Float[Tensor, "*r n d"]) -> Float[Tensor, "*r n m"]:
        """Standard deviation of the noise of each output at X."""
        points = self._inside(check_points(X, self.d), "X")
        level = points.new_full((*points.shape[:-1], self.num_outputs), self.noise_std)
        if self.noise_scale is None:
            return level
        table = points.reshape(-1, self.d)
        factor = self._factors(self.noise_scale(table), len(table)).to(points.device)
        return level * factor.reshape(level.shape)

    def _factors(self, factor: object, n: int) -> Float[Tensor, "n m"]:
        """What `noise_scale` returned, checked: a number, ``n`` or ``n m`` factors."""
        if not isinstance(factor, Tensor):
            try:
                factor = torch.as_tensor(factor, dtype=torch.float64)
            except (TypeError, ValueError, RuntimeError) as error:
                raise DataError(
                    f"noise_scale(X): expected a tensor or numbers, got {type(factor).__name__} "
                    f"({error})"
                ) from error
        wide = factor.unsqueeze(-1) if factor.shape == (n,) else factor
        if wide.shape not in ((), (n, 1), (n, self.num_outputs)):
            raise ShapeError(
                f"noise_scale(X): expected one factor for each of {n} points, {(n,)}, or for each "
                f"output of each, {(n, self.num_outputs)}, got shape {tuple(factor.shape)}"
            )
        bad = ~((wide >= 0) & wide.isfinite())
        if bad.any():
            raise DataError(
                "noise_scale(X): expected finite factors >= 0 of the standard deviation, got "
                f"{wide[bad][0].item():g}"
            )
        return wide.double().expand(n, self.num_outputs)

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
        return values + self.noise_sd(X) * noise.reshape(values.shape)

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

        Unlike a measurement it may be asked outside the bounds, for a gradient step may leave the
        box, and at infinity or NaN, where a descent that diverges ends.
        """
        points = check_tensor("X", X, finite=False)
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
            try:
                answer = torch.as_tensor(answer, dtype=torch.float64, device=table.device)
            except (TypeError, ValueError, RuntimeError) as error:
                raise DataError(
                    f"f(X): expected a tensor or numbers, got {type(answer).__name__} ({error}); "
                    "return the values"
                ) from error
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


class Budget:
    """A problem with a meter: it counts the points measured and refuses more than were paid for.

    What a method is given instead of the problem, so that every method gets the same; the truth
    (`optimal_value`, `noiseless`) stays with the problem. With replicates each has the same budget,
    and all are charged together.

    Args:
        problem: what is measured.
        calls: how many points may be measured (in each replicate).

    Raises:
        DataError: calls is no count.

    Example:
        >>> parabola = Problem(lambda X: -(X**2).sum(-1), torch.tensor([[-1.0], [2.0]]).double())
        >>> meter = Budget(parabola, calls=3)
        >>> _ = meter(torch.zeros(2, 1, dtype=torch.float64))
        >>> meter.spent, meter.left
        (2, 1)
    """

    def __init__(self, problem: Problem, calls: int) -> None:
        self._problem = problem
        self._replicates: torch.Size | None = None
        self.calls = check_count("calls", calls)
        self.spent = 0
        self.bounds, self.d, self.noise_std = problem.bounds, problem.d, problem.noise_std
        self.noise_free = problem.noise_free
        self.inputs, self.output, self.name = problem.inputs, problem.output, problem.name

    @property
    def left(self) -> int:
        """How many points may still be measured."""
        return self.calls - self.spent

    def __call__(
        self, X: Float[Tensor, "*r n d"], seed: Seed | None = None
    ) -> Float[Tensor, "*r n m"]:
        """Measure at X, as the problem does, and charge for each row.

        A refused call measures nothing and costs nothing; so does one that the problem refuses.

        Raises:
            DataError: more rows than are left.
            ShapeError: other replicates than in the first call.
        """
        points = check_points(X, self.d)
        n, replicates = points.shape[-2], points.shape[:-2]
        if self._replicates not in (None, replicates):
            raise ShapeError(
                f"X: expected the replicates of the first call, {tuple(self._replicates or ())}, "
                f"got {tuple(replicates)}; give another run a Budget of its own"
            )
        if n > self.left:
            raise DataError(
                f"budget: expected at most {self.left} more points (of {self.calls}; {self.spent} "
                f"are spent), got {n}; stop, or ask for fewer"
            )
        values = self._problem(X, seed)
        self._replicates = replicates
        self.spent += n
        return values


def _finite(x: SupportsFloat) -> bool:
    try:
        return math.isfinite(float(x))
    except (TypeError, ValueError, RuntimeError, OverflowError):  # more than one number
        return False


def table(*rows: Sequence[float]) -> Float[Tensor, "k d"]:
    """Rows of numbers as a float64 table: bounds, optimal points, constants."""
    return torch.tensor(rows, dtype=torch.float64)


def cube(low: float, high: float, d: int) -> Float[Tensor, "2 d"]:
    """Bounds with the same side for each of d inputs."""
    return table([low] * check_count("d", d), [high] * d)


def root(u: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """The square root of |u|, with the gradient 0 at 0, where the true one is infinite."""
    flat = u == 0
    return torch.where(flat, 0.0, torch.where(flat, 1.0, u.abs()).sqrt())
