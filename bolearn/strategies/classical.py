"""Classical design of experiments as strategies, which Bayesian optimisation has to be better than.

Each plays a fixed design first, then measures where a polynomial fitted by least squares is
highest, and fits it again after every round. They know boxes and `bolearn.Space` of numbers and
ordered categories. The order of runs is random within a block, as it should be at the bench, and
which fraction is taken, too: replicates differ in nothing else. Few such designs are different, so
that a standard error over replicates says less than it does for random starts.

Taught in part_4/tutorial_04.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import UnsupportedError
from ..search.multi_start import optimize_acqf
from ..seeds import Seed, derive, derive_each, replicate_seeds, uniform
from ..shapes import check_count
from ..space.parameters import Categorical, Real
from ..space.space import Space
from . import designs
from .baselines import random
from .designs import Terms, linear, quadratic, scheffe
from .protocol import StudyData

_SAME = 1e-6  # of a column: how close two codes are that are one run
_LISTED = 20_000  # legal points among which the nearest is looked for
_RANK = 1e-9  # singular values below this share of the largest say nothing


@dataclass(frozen=True)
class FractionalFactorial:
    """A fraction of a two-level factorial, then the best point of a linear model.

    The highest and the lowest level of every input, in 2^(d - halvings) runs whose main effects are
    not confounded with each other. `designs.resolution` says with what they are: for a half
    fraction of d inputs it is d. Which of the fractions is drawn for each replicate.

    Args:
        halvings: 0 for all 2^d runs, 1 for half of them.

    Example:
        >>> import bolearn as bl
        >>> half = {"half fraction": bl.strategies.fractional_factorial}
        >>> table = bl.problems.Suzuki()
        >>> result = bl.study(table, half, n_init=1, n_iter=9, replicates=2)
        >>> result.regret("half fraction")[:, -1].tolist()
        [0.0, 0.0]

    Source:
        Box, Hunter & Hunter, Statistics for Experimenters, 2nd ed., Wiley 2005, chapter 6.
    """

    halvings: int = 1
    batched: ClassVar[bool] = True

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """The next runs of the design, then where the linear model is highest."""
        _check_axes(data, "fractional_factorial")
        start, streams, d = _streams(data, seed)
        return _play(data, q, seed, start, _fraction(streams, d, self.halvings), linear)


@dataclass(frozen=True)
class CentralComposite:
    """A factorial, the centre and the middles of the faces, then the best of a quadratic model.

    The face-centred composite, which needs nothing outside the box: 2^(d - halvings) + 1 + 2 d
    runs, in these three blocks. With a resolution of at least V every coefficient of the quadratic
    can be estimated; below it those that are confounded share what was seen (the least-squares
    solution of least norm).

    Args:
        halvings: of the factorial part; None: as many as leave resolution V.

    Source:
        Box & Wilson, "On the experimental attainment of optimum conditions", J. Roy. Statist. Soc.
        B 13 (1951); Myers, Montgomery & Anderson-Cook, Response Surface Methodology, 4th ed.,
        Wiley 2016, chapter 8.
    """

    halvings: int | None = None
    batched: ClassVar[bool] = True

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """The next runs of the design, then where the quadratic model is highest."""
        _check_axes(data, "central_composite")
        start, streams, d = _streams(data, seed)
        halvings = designs.least_fraction(d) if self.halvings is None else self.halvings
        faces = designs.face_centered(d).expand(len(streams), -1, -1)
        axial = _shuffled(faces[:, 1:], streams, "faces")
        parts = [_fraction(streams, d, halvings), faces[:, :1], axial]
        return _play(data, q, seed, start, torch.cat(parts, dim=1), quadratic)


@dataclass(frozen=True)
class SimplexLattice:
    """Pure components, blends in steps of 1 / degree and the equal blend, then Scheffé's quadratic.

    For a space whose parameters are fractions of one total: ``"a + b + c == 1"``. Where components
    have a least amount, the lattice is laid into what is left above it.

    Args:
        degree: of the lattice: 2 has the pure components and the half-and-half blends.

    Example:
        >>> import bolearn as bl
        >>> space = bl.Space([bl.Real(n, 0, 1) for n in "abc"], constraints=["a + b + c == 1"])
        >>> paint = bl.problems.SpaceProblem(lambda p: p["a"] * p["b"] + p["c"] / 8, space)
        >>> arm = {"lattice": bl.strategies.simplex_lattice}
        >>> result = bl.study(paint, arm, n_init=1, n_iter=8, replicates=2)
        >>> round(result.values["lattice"].max().item(), 4)
        0.25

    Source:
        Scheffé, "Experiments with mixtures", J. Roy. Statist. Soc. B 20 (1958).
    """

    degree: int = 2
    batched: ClassVar[bool] = True

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """The next runs of the lattice, then where the quadratic of Scheffé is highest."""
        low, room, scale = _mixture(data)
        start, streams, d = _streams(data, seed)
        blends = designs.lattice_of_fractions(d, self.degree).to(low)
        rows = _shuffled(blends.expand(len(streams), -1, -1), streams, "lattice")
        codes = (rows * room) / scale  # above the least amounts, in units of each range

        def terms(X: Tensor) -> Tensor:
            return scheffe(X * scale / room)

        return _play(data, q, seed, start, 2.0 * codes - 1.0, lambda U: terms((U + 1.0) / 2.0))


@dataclass(frozen=True)
class OneFactorAtATime:
    """Vary one input, keep its best level, go on to the next: what most people do by hand.

    Starts at the best point of the initial design, takes the inputs in a random order and tries
    every level of one before the next. After the last input it begins again from the best run so
    far; when a whole round has nothing left to try, the next point is drawn at random. Categories
    are inputs like others.

    Args:
        levels: of a number: all where it has no more, else this many, evenly spaced.
    """

    levels: int = 5
    batched: ClassVar[bool] = False

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "q d"], object]:
        """The next runs of one replicate; the state is its seed."""
        start = seed if data.state is None else data.state
        assert isinstance(start, int)  # batched = False: one replicate at a time
        values = torch.where(data.observed, data.Y[:, 0], -torch.inf)
        factors, n = _factors(data, self.levels), data.n_init
        base = data.X[values[:n].argmax()]
        for turn in range(len(data.X)):
            order = uniform([derive(start, "order", turn)], (len(factors),))[0].argsort().tolist()
            for i in order:
                line = _line(data, base, *factors[i])
                new = line[~_among(line, data.X)]
                if len(new):
                    return _filled(data, new[:q], q, seed), start
                here = _among(data.X, line)
                base = data.X[torch.where(here, values, -torch.inf).argmax()]
            if torch.equal(base, data.X[values.argmax()]):
                break
            base = data.X[values.argmax()]
        return _filled(data, data.X[:0], q, seed), start


one_factor_at_a_time = OneFactorAtATime()
"""`OneFactorAtATime` with its defaults."""

fractional_factorial = FractionalFactorial()
"""`FractionalFactorial` with its defaults: half of the two-level factorial, then a line."""

central_composite = CentralComposite()
"""`CentralComposite` with its defaults."""

simplex_lattice = SimplexLattice()
"""`SimplexLattice` with its defaults."""


# ---------------------------------------------------------------- the play


def _streams(data: StudyData, seed: Seed) -> tuple[Seed, list[int], int]:
    """The seed of the first round, one int for each replicate, and the columns of a code."""
    start: Seed = seed if data.state is None else data.state  # type: ignore[assignment]
    return start, replicate_seeds(start, data.X.shape[:-2]), data.X.shape[-1]


def _play(
    data: StudyData, q: int, seed: Seed, start: Seed, rows: Float[Tensor, "b n d"], terms: Terms
) -> tuple[Float[Tensor, "*r q d"], object]:
    """The next q runs of the design that were not made yet; after the last, the surface's best.

    Args:
        rows: the design of each replicate in coordinates -1 to 1.
    """
    X = data.X if data.X.ndim == 3 else data.X.unsqueeze(0)
    design = _legal(data, rows.to(X), replicate_seeds(start, data.X.shape[:-2]))
    earlier = torch.tril(_same(design, design), diagonal=-1).any(-1)
    made = _same(design, X).any(-1) | earlier  # b n
    order = made.byte().argsort(dim=-1, stable=True)[:, :q]
    next_runs = design.gather(1, order.unsqueeze(-1).expand(-1, -1, X.shape[-1]))
    missing = made.gather(1, order)
    if missing.any() or order.shape[1] < q:
        best = _best_of_surface(data, terms, next_runs, q, seed)
        pad = q - order.shape[1]
        missing = torch.nn.functional.pad(missing, (0, pad), value=True)
        next_runs = torch.nn.functional.pad(next_runs, (0, 0, 0, pad))
        which = (missing.cumsum(-1) - 1).clamp(min=0)  # the first free place takes the best
        fill = best.gather(1, which.unsqueeze(-1).expand_as(best))
        next_runs = torch.where(missing.unsqueeze(-1), fill, next_runs)
    return next_runs.reshape(*data.X.shape[:-2], q, X.shape[-1]), start


def _best_of_surface(
    data: StudyData, terms: Terms, taken: Float[Tensor, "b n d"], q: int, seed: Seed
) -> Float[Tensor, "b q d"]:
    """Where the fitted polynomial is highest: in a space the q best, in a box the best and others.

    A polynomial has one maximum: in a box, where nothing else says what to do with a whole batch,
    the other points are drawn at random.

    Args:
        taken: runs that are in this batch already.
    """
    r = data.X.shape[:-2]
    lower, upper = data.bounds[0], data.bounds[1]
    coefficients = _fitted(data, terms)

    def surface(X: Float[Tensor, "*batch 1 d"]) -> Float[Tensor, "*batch"]:
        U = 2.0 * (X[..., 0, :] - lower) / (upper - lower) - 1.0
        return (terms(U) * coefficients).sum(-1)

    if data.space is None:
        first = optimize_acqf(surface, data.bounds, batch_shape=r, seed=seed).x
        others = random(data, data.bounds, q, derive_each(seed, "others"))[..., 1:, :]
        return torch.cat([first, others], dim=-2).reshape(-1, q, data.X.shape[-1])
    if data.left is not None:
        left = data.left.reshape(len(taken), -1, data.X.shape[-1])
        value = surface(left.reshape(*r, *left.shape[-2:]).movedim(-2, 0).unsqueeze(-2))
        value = value.reshape(-1, len(taken)).T
        if q > 1:
            value = torch.where(_same(left, taken).any(-1), -torch.inf, value)
        index = value.topk(q, dim=1).indices.unsqueeze(-1)
        return left.gather(1, index.expand(-1, -1, left.shape[-1]))
    found = [] if q == 1 else [taken.reshape(*r, *taken.shape[-2:])]
    gone = data.excluded
    for _ in range(q):
        known = ([] if gone is None else [gone.expand(*r, *gone.shape[-2:])]) + found
        exclude = torch.cat(known, dim=-2) if known else None
        found.append(
            optimize_acqf(surface, space=data.space, exclude=exclude, batch_shape=r, seed=seed).x
        )
    return torch.cat(found[-q:], dim=-2).reshape(-1, q, data.X.shape[-1])


def _fitted(data: StudyData, terms: Terms) -> Float[Tensor, "*r p"]:
    """Least squares over the evaluations that succeeded; of all solutions the shortest.

    Only where the surface is highest matters, so that values may be standardised, which makes the
    shortest solution independent of their units.
    """
    U = 2.0 * (data.X - data.bounds[0]) / (data.bounds[1] - data.bounds[0]) - 1.0
    seen = data.observed.to(U)
    y = torch.where(data.observed, data.Y[..., 0], 0.0)
    count = seen.sum(-1, keepdim=True).clamp(min=1.0)
    y = (y - y.sum(-1, keepdim=True) / count) * seen
    size = y.abs().amax(-1, keepdim=True)
    y = y / torch.where(size > 0, size, 1.0)
    A = terms(U) * seen.unsqueeze(-1)
    inverse: Tensor = torch.linalg.pinv(A, rtol=_RANK)
    return (inverse @ y.unsqueeze(-1)).squeeze(-1)


def _fraction(streams: list[int], d: int, halvings: int) -> Float[Tensor, "b n d"]:
    """One of the 2^halvings fractions for each replicate, its runs in random order."""
    rows = designs.two_level_factorial(d, halvings).expand(len(streams), -1, -1)
    if halvings:
        coins = uniform([derive(s, "fraction") for s in streams], (1, halvings)) < 0.5
        made = rows[..., d - halvings :]
        rows = torch.cat([rows[..., : d - halvings], torch.where(coins, -made, made)], dim=-1)
    return _shuffled(rows, streams, "runs")


def _shuffled(
    rows: Float[Tensor, "b n d"], streams: list[int], name: str
) -> Float[Tensor, "b n d"]:
    """The same runs in an order of each replicate's own."""
    n = rows.shape[1]
    order = uniform([derive(s, name) for s in streams], (n,)).argsort(-1).to(rows.device)
    return rows.gather(1, order.unsqueeze(-1).expand_as(rows))


# ---------------------------------------------------------------- legal runs


def _legal(
    data: StudyData, rows: Float[Tensor, "b n d"], streams: list[int]
) -> Float[Tensor, "b n d"]:
    """The legal run nearest to each row, ties by lot: tables have gaps, dials have steps."""
    code = (rows + 1.0) / 2.0
    if data.space is None:
        return data.bounds[0] + (data.bounds[1] - data.bounds[0]) * code
    if data.entries is not None:
        choices = data.entries.to(code)
    elif not data.space.lattice.discrete.all() or data.space.num_designs > _LISTED:
        return data.space.round(code)
    else:
        choices = data.space.designs().to(code)
    if data.unavailable is not None and len(data.unavailable):
        choices = choices[~_among(choices, data.unavailable)]
    lot = 1e-9 * uniform([derive(s, "ties") for s in streams], (len(choices),)).to(code)
    nearest = (torch.cdist(code, choices) + lot.unsqueeze(1)).argmin(-1)
    return choices[nearest]


def _same(A: Float[Tensor, "b n d"], B: Float[Tensor, "b k d"]) -> Bool[Tensor, "b n k"]:
    """Which rows are one run."""
    return torch.cdist(A, B, p=torch.inf) <= _SAME


def _among(A: Float[Tensor, "n d"], B: Float[Tensor, "k d"]) -> Bool[Tensor, " n"]:
    """Which rows of A are rows of B."""
    return _same(A.unsqueeze(0), B.unsqueeze(0))[0].any(-1)


def _factors(data: StudyData, levels: int) -> list[tuple[list[int], Tensor]]:
    """For each input its columns and its levels ``l c``, as codes."""
    levels = check_count("levels", levels, least=2)
    like = data.bounds
    if data.space is None:
        grid = torch.linspace(0.0, 1.0, levels).to(like)
        width = like[1] - like[0]
        return [([i], (like[0, i] + width[i] * grid).unsqueeze(-1)) for i in range(like.shape[-1])]
    found = []
    for p, columns in zip(data.space.parameters, data.space.columns.values(), strict=True):
        if len(columns) > 1:
            found.append((columns, torch.eye(len(columns)).to(like)))
            continue
        wanted = p.levels if isinstance(p, Categorical) else min(levels, p.levels or levels)
        assert wanted is not None  # a category has levels
        found.append((columns, torch.linspace(0.0, 1.0, wanted).to(like).unsqueeze(-1)))
    if data.space.constraints:
        return found  # `_line` rounds whole points
    return [(c, _on_their_steps(data.space, data.X[0], c, grid)) for c, grid in found]


def _on_their_steps(space: Space, like: Tensor, columns: list[int], grid: Tensor) -> Tensor:
    """The legal levels nearest to a grid ``l c``, for an input that is in no constraint."""
    rows = like.repeat(len(grid), 1)
    rows[:, columns] = grid
    levels: Tensor = space.round(rows)[:, columns].unique(dim=0)
    return levels


def _line(
    data: StudyData, base: Float[Tensor, " d"], columns: list[int], levels: Float[Tensor, "l c"]
) -> Float[Tensor, "n d"]:
    """The runs that differ from `base` in one input; those that are not legal are left out."""
    line = base.repeat(len(levels), 1)
    line[:, columns] = levels
    if data.space is None:
        return line
    if data.space.constraints:
        rounded = data.space.round(line)
        others = [i for i in range(len(base)) if i not in columns]
        line = rounded[((rounded - base)[:, others].abs() <= _SAME).all(-1)]
    if data.entries is not None:
        line = line[_among(line, data.entries)]
    if data.unavailable is not None and len(data.unavailable):
        line = line[~_among(line, data.unavailable)]
    return line


def _filled(data: StudyData, runs: Tensor, q: int, seed: Seed) -> Float[Tensor, "q d"]:
    """The runs, and random ones up to q."""
    if len(runs) == q:
        return runs
    made = replace(data, X=torch.cat([data.X, runs]))
    return torch.cat([runs, random(made, data.bounds, q - len(runs), seed)])


# ---------------------------------------------------------------- what a space has to be


def _check_axes(data: StudyData, name: str) -> None:
    """Factorial designs need inputs with a low and a high end.

    Raises:
        UnsupportedError: labels without an order.
    """
    if data.space is None:
        return
    for p in data.space.parameters:
        if isinstance(p, Categorical) and not p.ordered:
            raise UnsupportedError(
                f"{name}: expected numbers and ordered categories, got {p.name!r}, whose labels "
                "have no order; use one_factor_at_a_time, or say ordered=True"
            )


def _mixture(data: StudyData) -> tuple[Tensor, float, Tensor]:
    """Least amounts, what is left of the total above them, and the range of each component.

    Raises:
        UnsupportedError: a space that is not one total of all its parameters.
    """
    space = data.space
    if space is not None:
        for c in space.constraints:
            sizes = {k for _, k in c.coefficients}
            numbers = [p for p in space.parameters if isinstance(p, Real) and not p.log]
            if c.equality and len(sizes) == 1 and len(c.names) == len(numbers) == len(space):
                low = torch.tensor([float(p.low) for p in numbers]).to(data.bounds)
                high = torch.tensor([float(p.high) for p in numbers]).to(data.bounds)
                assert c.low is not None
                return low, float(c.low / sizes.pop()) - low.sum().item(), high - low
    raise UnsupportedError(
        "simplex_lattice: expected a space of fractions of one total, such as "
        "Space([Real('a', 0, 1), Real('b', 0, 1)], constraints=['a + b == 1']), got "
        + ("a box" if space is None else "\n" + repr(space))
    )
