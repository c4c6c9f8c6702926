"""The exercises of part_4/tutorial_04: practical modelling choices."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require


def _table(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# --- e1: half of a factorial ---------------------------------------------------------------------

e1 = Exercise(
    id="p4.t4.e1",
    title="Half of all corners",
    hints=(
        "For d = 2 and sign = 1 the two runs are (-1, -1) and (1, 1). Write down the four for "
        "d = 3 by hand: which corners have the product 1?",
        "Either keep those of all 2^d corners whose product is right, or write down all corners of "
        "d - 1 inputs and find the last level of each.",
        "`itertools.product([-1.0, 1.0], repeat=d)` lists all corners; a level is 1 or -1, so that "
        "the last one is the sign times the product of the others.",
    ),
)


@e1.answer
def half_fraction(d: int, sign: int) -> Tensor:
    """Half of a two-level factorial design of d >= 2 inputs.

    Returns 2^(d-1) different runs as rows ``n d`` (float64), each level -1 or 1, in any order. In
    every run the product of all d levels is `sign`, which is 1 or -1.
    """
    corners = torch.cartesian_prod(*(d - 1) * [torch.tensor([-1.0, 1.0], dtype=torch.float64)])
    corners = corners.reshape(-1, d - 1)
    return torch.cat([corners, sign * corners.prod(-1, keepdim=True)], dim=-1)


@e1.cases
def _(rng: Rng) -> Iterator[Case]:
    for d in range(2, 12):
        for sign in (1, -1):
            yield Case(d, sign, note=f"{d} inputs, product {sign}")


@e1.shape
def _(fn: Fn, d: int, sign: int) -> None:
    has_shape(fn(d, sign), (2 ** (d - 1), d), torch.float64)


@e1.property("every level is -1 or 1")
def _(fn: Fn, d: int, sign: int) -> None:
    require(fn(d, sign).abs() == 1.0)


@e1.property("no run comes twice")
def _(fn: Fn, d: int, sign: int) -> None:
    rows = fn(d, sign)
    require(len(rows.unique(dim=0)) == len(rows), "two runs are the same")


@e1.property("in every run the product of all levels is the sign asked for")
def _(fn: Fn, d: int, sign: int) -> None:
    require(fn(d, sign).prod(-1) == sign)


@e1.value("a list of all corners, of which those with another product are struck out")
def _(fn: Fn, d: int, sign: int) -> None:
    wanted = {c for c in itertools.product([-1.0, 1.0], repeat=d) if math.prod(c) == sign}
    require({tuple(row) for row in fn(d, sign).tolist()} == wanted, "these are other corners")


def _corners(d: int) -> Tensor:
    return torch.tensor(list(itertools.product([-1.0, 1.0], repeat=d)), dtype=torch.float64)


@e1.wrong("the first half of the list: the first input never changes")
def _(d: int, sign: int) -> Tensor:
    rows = _corners(d)[: 2 ** (d - 1)]
    return rows * torch.tensor([float(sign), *[1.0] * (d - 1)], dtype=torch.float64)


@e1.wrong("the last column is the product of two others, whatever d is")
def _(d: int, sign: int) -> Tensor:
    rows = _corners(d - 1)
    return torch.cat([rows, sign * rows[:, :2].prod(-1, keepdim=True)], dim=-1)


@e1.wrong("ignores the sign")
def _(d: int, sign: int) -> Tensor:
    return half_fraction(d, 1)


@e1.wrong("turns all levels with the sign, which for even d changes nothing")
def _(d: int, sign: int) -> Tensor:
    return sign * half_fraction(d, 1)


@e1.wrong("levels 0 and 1")
def _(d: int, sign: int) -> Tensor:
    return (half_fraction(d, sign) + 1) / 2


@e1.wrong("every second corner: the last input never changes")
def _(d: int, sign: int) -> Tensor:
    return _corners(d)[(1 if sign > 0 else 0) :: 2]


@e1.wrong("a half that is drawn by lot")
def _(d: int, sign: int) -> Tensor:
    order = torch.randperm(2**d, generator=torch.Generator().manual_seed(d + sign))
    return _corners(d)[order[: 2 ** (d - 1)]]


# --- e2: effects ---------------------------------------------------------------------------------

e2 = Exercise(
    id="p4.t4.e2",
    title="What a choice is worth",
    pure=True,
    size=lambda columns, gain: columns.numel() + gain.numel(),
    hints=(
        "One column (1, 1, -1) and one seed with gains (3, 5, 1): the runs at 1 have the mean 4, "
        "the run at -1 has 1, so the effect is 3.",
        "For each seed and each column you need two sums and two counts; which runs count depends "
        "on the seed, because of failures.",
        "Let high be 1.0 at level 1 and 0.0 at -1, and known the gains with 0 for the failed ones: "
        "`known @ high` sums over the runs at 1; the same product with 1.0 for every run that did "
        "not fail counts them.",
    ),
)


@e2.answer
def effects(columns: Tensor, gain: Tensor) -> Tensor:
    """Mean gain of the runs at level 1 minus that of the runs at level -1.

    columns is ``n c``: a column for each effect, with the level -1 or 1 of each of n runs. (A
    column may also be a product of two: then the effect is an interaction.) gain is ``r n``: what
    each of r seeds gained in each run, NaN where the run failed. Failed runs are left out, for
    their own seed only. In every column both levels have runs that succeeded.

    Returns the effects ``r c``.
    """
    seen = ~gain.isnan()
    known = torch.where(seen, gain, 0.0)
    high, low = ((columns == level).to(gain) for level in (1.0, -1.0))
    share = seen.to(gain)
    return (known @ high) / (share @ high) - (known @ low) / (share @ low)


@e2.cases
def _(rng: Rng) -> Iterator[Case]:
    nan = math.nan
    yield Case(_table((1.0,), (-1.0,)), _table((3.0, 1.0)), note="two runs")
    yield Case(_table((1.0,), (1.0,), (-1.0,)), _table((3.0, 5.0, 1.0)), note="not balanced")
    yield Case(
        _table((1.0,), (1.0,), (-1.0,)), _table((3.0, nan, 1.0), (2.0, 4.0, 9.0)), note="a failure"
    )
    yield Case(_table((1.0, -1.0), (-1.0, 1.0)), _table((0.0, 0.0)), note="no effect")
    yield Case(
        _table((-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)),
        _table((1.0, 2.0, 3.0, nan), (1.0, 1.0, 1.0, 5.0)),
        note="a factorial with a failure",
    )
    for scale in (1e-6, 1.0, 1e6):
        for n, c, r in ((4, 2, 1), (8, 3, 5), (5, 2, 3), (16, 5, 2), (7, 4, 4), (6, 1, 3)):
            columns = torch.ones(n, c, dtype=torch.float64)
            for j in range(c):
                low = rng.sample(range(n), n // 2 if n % 2 == 0 else rng.randrange(2, n - 1))
                columns[low, j] = -1.0
            gain = scale * (rng.normal(r, n) + rng.choice((0.0, 2.0)))
            if n >= 7 and rng.random() < 0.7:
                gain[rng.randrange(r), rng.randrange(n)] = nan
            yield Case(columns, gain, note=f"numbers of size {scale:g}")


@e2.shape
def _(fn: Fn, columns: Tensor, gain: Tensor) -> None:
    has_shape(fn(columns, gain), (gain.shape[0], columns.shape[1]), torch.float64)


def _size(gain: Tensor) -> float:
    return float(gain[~gain.isnan()].abs().max()) or 1.0


@e2.property("what all runs of a seed gain alike is no effect")
def _(fn: Fn, columns: Tensor, gain: Tensor) -> None:
    close(fn(columns, gain + 3 * _size(gain)), fn(columns, gain), 1e-9 * _size(gain))


@e2.property("the other sign of a column gives the other sign of its effect")
def _(fn: Fn, columns: Tensor, gain: Tensor) -> None:
    close(fn(-columns, gain), -torch.as_tensor(fn(columns, gain)), 1e-12 * _size(gain))


@e2.property("a column that adds 2 from -1 to 1 has an effect larger by 2")
def _(fn: Fn, columns: Tensor, gain: Tensor) -> None:
    size = _size(gain)
    for j in range(columns.shape[1]):
        before = torch.as_tensor(fn(columns, gain))[:, j]
        after = torch.as_tensor(fn(columns, gain + size * columns[:, j]))[:, j]
        close(after - before, torch.full_like(before, 2 * size), 1e-9 * size)


@e2.property("each seed has effects of its own")
def _(fn: Fn, columns: Tensor, gain: Tensor) -> None:
    alone = torch.cat([torch.as_tensor(fn(columns, row.unsqueeze(0))) for row in gain])
    close(fn(columns, gain), alone, 1e-12 * _size(gain))


@e2.value("a loop with NumPy's means")
def _(fn: Fn, columns: Tensor, gain: Tensor) -> None:
    answer = torch.as_tensor(fn(columns, gain))
    for i, row in enumerate(gain.numpy()):
        for j, column in enumerate(columns.numpy().T):
            expected = np.nanmean(row[column > 0]) - np.nanmean(row[column < 0])
            close(answer[i, j], float(expected), 1e-9 * _size(gain))


@e2.wrong("the slope per unit of the column: half of the effect")
def _(columns: Tensor, gain: Tensor) -> Tensor:
    return effects(columns, gain) / 2


@e2.wrong("twice the mean of gain times column: right for balanced columns without failures only")
def _(columns: Tensor, gain: Tensor) -> Tensor:
    seen = ~gain.isnan()
    known = torch.where(seen, gain, 0.0)
    return 2 * (known @ columns) / seen.sum(-1, keepdim=True)


@e2.wrong("a failure counts as no gain")
def _(columns: Tensor, gain: Tensor) -> Tensor:
    return effects(columns, gain.nan_to_num(0.0))


@e2.wrong("leaves a run out for all seeds if it failed for one")
def _(columns: Tensor, gain: Tensor) -> Tensor:
    kept = ~gain.isnan().any(0)
    return effects(columns[kept], gain[:, kept])


@e2.wrong("level -1 minus level 1")
def _(columns: Tensor, gain: Tensor) -> Tensor:
    return -effects(columns, gain)


@e2.wrong("averages over the seeds first")
def _(columns: Tensor, gain: Tensor) -> Tensor:
    return effects(columns, gain.nanmean(0, keepdim=True)).expand(len(gain), -1)


@e2.wrong("medians in place of means")
def _(columns: Tensor, gain: Tensor) -> Tensor:
    rows = []
    for column in columns.T:
        high, low = (gain[:, column == s].nanmedian(-1).values for s in (1.0, -1.0))
        rows.append(high - low)
    return torch.stack(rows, dim=-1)


@e2.wrong("against the mean of all runs, not of those at the other level")
def _(columns: Tensor, gain: Tensor) -> Tensor:
    high = torch.stack([gain[:, c > 0].nanmean(-1) for c in columns.T], dim=-1)
    return 2 * (high - gain.nanmean(-1, keepdim=True))


# --- e3: the way back from a bent axis -----------------------------------------------------------

e3 = Exercise(
    id="p4.t4.e3",
    title="The way back from a bent axis",
    pure=True,
    size=lambda w, a, b: w.numel(),
    hints=(
        "Solve w = 1 - (1 - x^a)^b for x on paper first; for a = b = 1 nothing is bent.",
        "For a = b = 8 and x = 0.01, w is 8e-16. How many digits of it does 1 - w still hold? "
        "Work with logarithms of 1 - w.",
        "`torch.log1p(-w)` is log(1 - w) with all its digits, and `-torch.expm1(s)` is 1 - exp(s).",
    ),
)


@e3.answer
def unwarp(w: Tensor, a: float, b: float) -> Tensor:
    """The x in [0, 1] for which 1 - (1 - x^a)^b is w, with all the digits that w determines.

    w is a tensor of any shape with values in [0, 1]; a and b are positive numbers. The relative
    error is below 1e-9, also where w is tiny or close to 1.
    """
    rest = torch.log1p(-w) / b  # log(1 - x^a)
    return (-torch.expm1(rest)).pow(1 / a)


@e3.cases
def _(rng: Rng) -> Iterator[Case]:
    yield Case(_table((0.0, 1.0)), 2.0, 3.0, note="both ends")
    yield Case(_table((0.3,)), 1.0, 1.0, note="nothing is bent")
    yield Case(_table((8e-16, 1e-8, 1e-3)), 8.0, 8.0, note="a flat lower end")
    yield Case(_table((1 - 1e-12, 1 - 1e-6, 0.999)), 0.5, 0.5, note="near the upper end")
    yield Case(_table((1e-100, 1e-30)), 5.0, 0.3, note="tiny values")
    yield Case(_table((1e-100, 1e-30)), 1.0, 1e-3, note="tiny values, a small b")
    for a, b in itertools.product((0.3, 1.0, 2.5, 8.0), (0.4, 1.0, 8.0)):
        yield Case(rng.uniform_in(0.0, 1.0, 4), a, b, note=f"a = {a}, b = {b}")
    yield Case(torch.tensor(0.25, dtype=torch.float64), 2.0, 0.5, note="a single number")
    for shape in ((5,), (2, 3), (1, 2, 2)):
        yield Case(rng.uniform_in(0.0, 1.0, *shape), 2.0, 0.5, note="another shape")


@e3.shape
def _(fn: Fn, w: Tensor, a: float, b: float) -> None:
    has_shape(torch.as_tensor(fn(w, a, b)), tuple(w.shape), torch.float64)


@e3.property("0 stays 0 and 1 stays 1")
def _(fn: Fn, w: Tensor, a: float, b: float) -> None:
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    close(fn(ends, a, b), ends, 0.0)


@e3.property("a larger w has a larger x")
def _(fn: Fn, w: Tensor, a: float, b: float) -> None:
    ordered = w.flatten().sort().values
    require(torch.as_tensor(fn(ordered, a, b)).diff() >= 0)


@e3.value("the formula with 60 digits")
def _(fn: Fn, w: Tensor, a: float, b: float) -> None:
    import mpmath

    with mpmath.workdps(400):  # 1e-100 has to survive 1 - w
        exact = [
            float((1 - (1 - mpmath.mpf(v)) ** (1 / mpmath.mpf(b))) ** (1 / mpmath.mpf(a)))
            for v in w.flatten().tolist()
        ]
    expected = torch.tensor(exact, dtype=torch.float64).reshape(w.shape)
    close(fn(w, a, b), expected, 1e-9, relative=True)


@e3.wrong("the formula as it is written: tiny w are lost in 1 - w")
def _(w: Tensor, a: float, b: float) -> Tensor:
    return (1 - (1 - w).pow(1 / b)).pow(1 / a)


@e3.wrong("half of the cure: log1p inside, but 1 - exp outside")
def _(w: Tensor, a: float, b: float) -> Tensor:
    return (1 - (torch.log1p(-w) / b).exp()).pow(1 / a)


@e3.wrong("a and b exchanged")
def _(w: Tensor, a: float, b: float) -> Tensor:
    return unwarp(w, b, a)


@e3.wrong("the warp itself instead of its inverse")
def _(w: Tensor, a: float, b: float) -> Tensor:
    return -torch.expm1(b * torch.log1p(-w.pow(a)))


@e3.wrong("clamps w away from both ends")
def _(w: Tensor, a: float, b: float) -> Tensor:
    return unwarp(w.clamp(1e-6, 1 - 1e-6), a, b)


@e3.wrong("powers a and b instead of 1/a and 1/b")
def _(w: Tensor, a: float, b: float) -> Tensor:
    return (-torch.expm1(torch.log1p(-w) * b)).pow(a)


# --- e4: discrepancy -----------------------------------------------------------------------------

e4 = Exercise(
    id="p4.t4.e4",
    title="How even a design is",
    pure=True,
    size=lambda U: U.numel(),
    hints=(
        "One point in the middle of the unit interval: z = 0, so that the three terms are 13/12, "
        "-2 and 1: 1/12 in all.",
        "The last term runs over all pairs of points, each with itself included; a product over "
        "the inputs comes before either sum.",
        "`U.unsqueeze(-2)` and `U.unsqueeze(-3)` are ... n 1 d and ... 1 n d: all pairs by "
        "broadcasting. Products are `.prod(-1)`.",
    ),
)


@e4.answer
def centered_discrepancy(U: Tensor) -> Tensor:
    """Hickernell's squared centred discrepancy of n points in the unit cube: ``... n d -> ...``.

    With z = u - 1/2, products over the d inputs and sums over points,

        (13/12)^d - 2/n sum_i prod_k (1 + |z_ik|/2 - z_ik^2/2)
            + 1/n^2 sum_i sum_j prod_k (1 + |z_ik|/2 + |z_jk|/2 - |u_ik - u_jk|/2).
    """
    n, d = U.shape[-2:]
    z = (U - 0.5).abs()
    single = (1 + z / 2 - z.square() / 2).prod(-1).sum(-1)
    apart = (U.unsqueeze(-2) - U.unsqueeze(-3)).abs()
    pairs = (1 + z.unsqueeze(-2) / 2 + z.unsqueeze(-3) / 2 - apart / 2).prod(-1).sum((-2, -1))
    return (13 / 12) ** d - 2 / n * single + pairs / n**2


@e4.cases
def _(rng: Rng) -> Iterator[Case]:
    yield Case(_table((0.5,)), note="one point in the middle")
    yield Case(_table((0.0,)), note="one point at the edge")
    yield Case(_table((0.25,), (0.75,)), note="two points")
    yield Case(_table((0.5, 0.5), (0.5, 0.5)), note="one point twice")
    yield Case(_table((0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)), note="the corners")
    for n, d in itertools.product((1, 3, 8), (1, 2, 5)):
        yield Case(rng.uniform_in(0.0, 1.0, n, d), note=f"{n} points, {d} inputs")
    for shape in ((2, 4, 2), (3, 2, 1), (2, 2, 3, 3), (1, 5, 2)):
        yield Case(rng.uniform_in(0.0, 1.0, *shape), note="several designs at once")
    for d in (10, 20):
        yield Case(rng.uniform_in(0.0, 1.0, 6, d), note=f"{d} inputs")


@e4.shape
def _(fn: Fn, U: Tensor) -> None:
    has_shape(torch.as_tensor(fn(U)), tuple(U.shape[:-2]), torch.float64)


@e4.property("the order of points and inputs does not matter, nor which end is called 0")
def _(fn: Fn, U: Tensor) -> None:
    before = torch.as_tensor(fn(U))
    for other in (U.flip(-2), U.flip(-1), 1 - U):
        close(fn(other), before, 1e-11, relative=True)


@e4.property("every point twice is the same design")
def _(fn: Fn, U: Tensor) -> None:
    close(fn(torch.cat([U, U], dim=-2)), fn(U), 1e-10, relative=True)


@e4.value("SciPy")
def _(fn: Fn, U: Tensor) -> None:
    from scipy.stats import qmc

    answers = torch.as_tensor(fn(U)).reshape(-1)
    for answer, points in zip(answers, U.reshape(-1, *U.shape[-2:]).numpy(), strict=True):
        close(answer, float(qmc.discrepancy(points, method="CD")), 1e-9, relative=True)


def _discrepancy(U: Tensor, **mistake: bool) -> Tensor:
    """The answer with a mistake."""
    n, d = U.shape[-2:]
    z = (U - 0.5).abs() if not mistake.get("signed") else U - 0.5
    one = 1 + z / 2 - z.square() / 2
    two = 1 + z.unsqueeze(-2) / 2 + z.unsqueeze(-3) / 2
    two = two - (U.unsqueeze(-2) - U.unsqueeze(-3)).abs() / (1 if mistake.get("whole") else 2)
    if mistake.get("no_self"):
        two = two * (1 - torch.eye(n, dtype=torch.float64)).unsqueeze(-1)
    first = one.sum(-1).sum(-1) if mistake.get("sums") else one.prod(-1).sum(-1)
    value = (13 / 12) ** d - (1 if mistake.get("once") else 2) / n * first
    return value + two.prod(-1).sum((-2, -1)) / (n if mistake.get("n") else n**2)


@e4.wrong("its square root")
def _(U: Tensor) -> Tensor:
    return _discrepancy(U).clamp(min=0).sqrt()


@e4.wrong("once the middle term instead of twice")
def _(U: Tensor) -> Tensor:
    return _discrepancy(U, once=True)


@e4.wrong("pairs of a point with itself left out")
def _(U: Tensor) -> Tensor:
    return _discrepancy(U, no_self=True)


@e4.wrong("the last sum divided by n, not by n squared")
def _(U: Tensor) -> Tensor:
    return _discrepancy(U, n=True)


@e4.wrong("z without its absolute value")
def _(U: Tensor) -> Tensor:
    return _discrepancy(U, signed=True)


@e4.wrong("the whole distance between points instead of half of it")
def _(U: Tensor) -> Tensor:
    return _discrepancy(U, whole=True)


@e4.wrong("sums over the inputs where products belong")
def _(U: Tensor) -> Tensor:
    return _discrepancy(U, sums=True)


@e4.wrong("mixes all designs of a batch into one")
def _(U: Tensor) -> Tensor:
    return _discrepancy(U.reshape(-1, U.shape[-1])).expand(U.shape[:-2])
