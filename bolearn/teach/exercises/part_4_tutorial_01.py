"""The exercises of part_4/tutorial_01: from Gaussian processes to surrogate models."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats as scipy_stats
from torch import Tensor

from bolearn.models.exact import ExactGP
from bolearn.posteriors import GaussianPosterior
from bolearn.protocols import Surrogate
from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require

Untransform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _tensor(value: Any) -> Any:
    """What NumPy or Python returned, as a tensor; anything else as it came."""
    if isinstance(value, (np.ndarray, np.generic, float, int)):
        return torch.as_tensor(value)
    return value


def _pair(result: Any, names: str) -> tuple[Any, Any]:
    ok = isinstance(result, (tuple, list)) and len(result) == 2
    require(ok, f"expected a pair ({names})")
    return _tensor(result[0]), _tensor(result[1])


# --- e1: standardise, and the way back ----------------------------------------------------------

e1 = Exercise(
    id="p4.t1.e1",
    title="Standardise, and the way back",
    pure=True,
    size=lambda y: y.numel(),
    hints=(
        "Shift and scale of a row are two numbers. Which of them does a mean need on its way back, "
        "and which a variance? Try y = (1, 3) by hand: z is about (-0.7, 0.7).",
        "Failed readings: count the others, put 0 in place of NaN for the sums, and divide by the "
        "count. `torch.where(seen, y, 0.0)` does not spread NaN; a product with a mask does.",
        "The mean of three times 0.1 is not 0.1, so the standard deviation of a constant row is "
        "tiny instead of 0. Compare its largest with its smallest value instead, and take scale 1.",
    ),
)


@e1.answer
def standardize(y: Tensor) -> tuple[Tensor, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """Outcomes with mean 0 and variance 1 in each row, and the way back for a belief.

    y is (..., n), a row for each replicate or output (the package's Y, n m, goes in as Y.mT); NaN
    is a failed reading, and every row has at least one that did not fail. z = (y - shift) / scale,
    with the mean of the row's readings and their standard deviation (n - 1 in it) as shift and
    scale; failed ones do not count and stay NaN. Where all readings of a row are equal, or there is
    only one, the scale is 1.

    Returns z and a function untransform(mean, variance), which takes moments (..., q) of a belief
    about z to those of the same belief about y, for any q.
    """
    seen = ~y.isnan()
    count = seen.sum(-1, keepdim=True)
    shift = torch.where(seen, y, 0.0).sum(-1, keepdim=True) / count
    spread = torch.where(seen, y - shift, 0.0).square().sum(-1, keepdim=True)
    scale = (spread / (count - 1).clamp(min=1)).sqrt()
    largest = torch.where(seen, y, -torch.inf).amax(-1, keepdim=True)
    smallest = torch.where(seen, y, torch.inf).amin(-1, keepdim=True)
    scale = torch.where(largest == smallest, 1.0, scale)

    def untransform(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        return shift + scale * mean, scale.square() * variance

    return (y - shift) / scale, untransform


@e1.cases
def readings(rng: Rng) -> Iterator[Case]:
    nan = math.nan
    yield Case(_vector(1.0, 3.0), note="two readings")
    yield Case(_vector(5.0), note="a single reading")
    yield Case(_vector(2.0, 2.0, 2.0), note="all readings equal")
    yield Case(_vector(0.1, 0.1, 0.1), note="all readings equal")
    yield Case(_vector(0.7, 0.7, 0.7, 0.7, 0.7, 0.7), note="all readings equal")
    yield Case(_vector(1.0, nan, 3.0), note="a failed reading")
    yield Case(_vector(nan, 4.0), note="a single reading, and a failed one")
    yield Case(_vector(0.1, nan, 0.1, 0.1), note="a failed reading, the others equal")
    yield Case(_vector(0.0, 0.0, 1.0), note="ties")
    yield Case(1e-12 * _vector(1.0, 2.0, 4.0), note="small numbers, not constant")
    yield Case(1e4 + 1e-3 * _vector(1.0, 2.0, 4.0), note="a small spread, not constant")
    rows = torch.stack([_vector(1.0, 3.0, 5.0), _vector(0.1, 0.1, 0.1), _vector(nan, 2.0, 4.0)])
    yield Case(rows, note="three replicates: usual, constant, with a failure")
    for scale in (1e-6, 1.0, 1e6):
        for shape in ((3,), (6,), (2, 4), (3, 2), (2, 2, 3)):
            y = scale * (rng.normal(*shape) + rng.choice((0.0, 3.0)))
            if rng.random() < 0.4 and shape[-1] > 2:
                y[..., rng.randrange(shape[-1])] = nan
            yield Case(y, note=f"numbers of size {scale:g}")


@e1.shape
def _(fn: Fn, y: Tensor) -> None:
    z, back = _pair(fn(y), "z, untransform")
    has_shape(z, y.shape, torch.float64)
    require(callable(back), "the second result is no function")
    for q in (1, 4):
        mean = torch.zeros(*y.shape[:-1], q, dtype=torch.float64)
        moments = _pair(back(mean, mean + 1), "mean, variance")
        for moment in moments:
            has_shape(moment, mean.shape, torch.float64)


@e1.property("failed readings stay NaN, and no other becomes it")
def _(fn: Fn, y: Tensor) -> None:
    require(torch.as_tensor(fn(y)[0]).isnan() == y.isnan())


def _equal_rows(y: Tensor) -> Tensor:
    """Which rows hold a single value, (...)."""
    known = [row[~row.isnan()] for row in y.reshape(-1, y.shape[-1])]
    return torch.tensor([bool((row == row[0]).all()) for row in known]).reshape(y.shape[:-1])


@e1.property("every row has mean 0, and variance 1 unless all its readings are equal")
def _(fn: Fn, y: Tensor) -> None:
    z = torch.as_tensor(fn(y)[0])
    spread = np.nanmax(np.abs(y.numpy())) / max(float(np.nanstd(y.numpy())), 1e-300)
    for row, same in zip(z.reshape(-1, y.shape[-1]), _equal_rows(y).reshape(-1), strict=True):
        known = row[~row.isnan()]
        if same:
            close(known, torch.zeros_like(known), 1e-9 * max(1.0, float(np.nanmax(np.abs(y)))))
        else:
            close(known.mean(), 0.0, 1e-12 * max(1e3, float(spread)))
            close(known.var(), 1.0, 1e-7)


@e1.property("untransform takes z back to y, and a variance of 0 to 0")
def _(fn: Fn, y: Tensor) -> None:
    z, back = fn(y)
    z = torch.as_tensor(z)
    seen = ~y.isnan()
    mean, variance = _pair(back(torch.where(seen, z, 0.0), torch.zeros_like(z)), "mean, variance")
    close(mean[seen], y[seen], 1e-12, relative=True)
    close(variance, torch.zeros_like(y), 0.0)


@e1.property("a belief does not depend on unit and zero: 3 y + 7 has three times its deviations")
def _(fn: Fn, y: Tensor) -> None:
    unit = float(y[~y.isnan()].abs().max()) or 1.0
    other = 3 * y + 7 * unit
    z, back = fn(y)
    z2, back2 = fn(other)
    usual = ~_equal_rows(y).unsqueeze(-1) & ~y.isnan()
    spread = float(y[~y.isnan()].std()) if (~y.isnan()).sum() > 1 else unit
    slack = 1e-12 * max(1e3, unit / max(spread, 1e-300))
    close(torch.as_tensor(z2)[usual], torch.as_tensor(z)[usual], slack)
    ask = torch.ones(*y.shape[:-1], 2, dtype=torch.float64)
    variances = _tensor(back(ask, 4 * ask)[1]), _tensor(back2(ask, 4 * ask)[1])
    rows = ~_equal_rows(y)
    close(variances[1][rows], 9 * variances[0][rows], 1e-7, relative=True)


@e1.property("what came later does not change an untransform that was handed out before")
def _(fn: Fn, y: Tensor) -> None:
    back = fn(y)[1]
    ask = torch.ones(*y.shape[:-1], 2, dtype=torch.float64)
    before = [_tensor(v).clone() for v in back(ask, ask)]
    fn(5 * y + 1)
    after = [_tensor(v) for v in back(ask, ask)]
    close(after, before, 0.0)


@e1.value("NumPy's nanmean and nanstd, row by row")
def _(fn: Fn, y: Tensor) -> None:
    z, back = fn(y)
    n = y.shape[-1]
    mean = torch.linspace(-2, 3, 3, dtype=torch.float64).expand(*y.shape[:-1], 3)
    mu, var = (_tensor(v).reshape(-1, 3) for v in back(mean, mean.square() + 0.5))
    same = _equal_rows(y).reshape(-1)
    for k, row in enumerate(y.reshape(-1, n).numpy()):
        shift = np.nanmean(row)
        scale = 1.0 if same[k] else np.nanstd(row, ddof=1)
        seen = ~np.isnan(row)
        size = max(1.0, abs(shift) / scale)
        own = torch.as_tensor(z).reshape(-1, n)[k][torch.from_numpy(seen)]
        close(own, torch.from_numpy((row[seen] - shift) / scale), 1e-11 * size)
        expected = mean.reshape(-1, 3)[k]
        close(mu[k], shift + scale * expected, 1e-9, relative=True)
        close(var[k], scale**2 * (expected.square() + 0.5), 1e-7, relative=True)


def _affine(
    y: Tensor,
    *,
    correction: int = 1,
    constant: float = 0.0,
    power: float = 2.0,
    shifted: bool = False,
    shift_back: bool = True,
    together: bool = False,
    fill: float | None = None,
    median: bool = False,
    root: bool = False,
    centred: bool = True,
) -> tuple[Tensor, Untransform]:
    """The answer with a mistake."""
    rows = y.reshape(1, -1) if together else y
    rows = rows if fill is None else torch.where(rows.isnan(), fill, rows)
    seen = ~rows.isnan()
    count = seen.sum(-1, keepdim=True)
    shift = torch.where(seen, rows, 0.0).sum(-1, keepdim=True) / count
    shift = rows.nanmedian(-1, keepdim=True).values if median else shift
    spread = torch.where(seen, rows - shift, 0.0).square().sum(-1, keepdim=True)
    scale = (spread / (count - correction).clamp(min=1)).sqrt()
    scale = scale.square() if root else scale
    scale = torch.where(scale <= constant, 1.0, scale)
    if together:
        shift, scale = (v.reshape(*(1,) * y.ndim) for v in (shift, scale))
    shift = shift if centred else torch.zeros_like(shift)

    def back(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        moved = scale * mean + (shift if shift_back else 0.0)
        wide = scale**power * variance + (shift if shifted else 0.0)
        return moved.expand(mean.shape), wide.expand(mean.shape)

    return (y - shift) / scale, back


_RELATIVE = 1e-13  # so that constant rows are found in the mistakes that are about something else


def _sound(y: Tensor, **mistake: Any) -> tuple[Tensor, Untransform]:
    """A mistake in an answer that treats constant rows of these sizes rightly."""
    size = float(y[~y.isnan()].abs().max())
    return _affine(y, constant=min(_RELATIVE * size, 1e-13), **mistake)


@e1.wrong("divides by n: the variance is (n - 1)/n")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _sound(y, correction=0)


@e1.wrong("a constant row is divided by 0")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _affine(y, constant=-1.0)


@e1.wrong("asks whether the deviation is exactly 0, which rounding prevents")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _affine(y, constant=0.0)


@e1.wrong("calls every spread below 1e-8 constant, whatever the unit")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _affine(y, constant=1e-8)


@e1.wrong("calls every spread below a millionth of the readings constant")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _affine(y, constant=1e-6 * float(y[~y.isnan()].abs().max()))


@e1.wrong("failed readings do not count in the sums, but in n")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    z, back = _sound(y)
    seen = (~y.isnan()).sum(-1, keepdim=True)
    factor = ((seen - 1).clamp(min=1) / max(y.shape[-1] - 1, 1)).sqrt()
    return z / factor, lambda m, v: back(factor * m, factor.square() * v)


@e1.wrong("adds 1e-6 to the deviation")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    shift = y.nanmean(-1, keepdim=True)
    seen = ~y.isnan()
    spread = torch.where(seen, y - shift, 0.0).square().sum(-1, keepdim=True)
    scale = (spread / (seen.sum(-1, keepdim=True) - 1).clamp(min=1)).sqrt() + 1e-6
    return (y - shift) / scale, lambda m, v: (shift + scale * m, scale.square() * v)


@e1.wrong("the variance goes back with the scale, not its square")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _sound(y, power=1.0)


@e1.wrong("the variance is left as it was")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _sound(y, power=0.0)


@e1.wrong("the variance is shifted too")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _sound(y, shifted=True)


@e1.wrong("the mean comes back without its shift")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _sound(y, shift_back=False)


@e1.wrong("one shift and one scale for all replicates")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _sound(y, together=True)


@e1.wrong("a failed reading counts as 0")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    z, back = _sound(y, fill=0.0)
    return z, back


@e1.wrong("a failure spoils its row")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    shift = y.mean(-1, keepdim=True)
    scale = (y - shift).square().sum(-1, keepdim=True).div(max(y.shape[-1] - 1, 1)).sqrt()
    scale = torch.where(scale < 1e-15, 1.0, scale)
    return (y - shift) / scale, lambda m, v: (shift + scale * m, scale.square() * v)


@e1.wrong("the median for the mean")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _sound(y, median=True)


@e1.wrong("divides by the variance")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _sound(y, root=True)


@e1.wrong("scales without shifting")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    return _sound(y, centred=False)


@e1.wrong("the way back is the way there")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    z, back = _sound(y)
    zero = torch.zeros(*y.shape[:-1], 1, dtype=torch.float64)
    shift, square = back(zero, zero + 1)
    return z, lambda m, v: ((m - shift) / square.sqrt(), v / square)


_latest: dict[str, Untransform] = {}


@e1.wrong("keeps shift and scale in a global place: the next call overwrites them")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    z, _latest["back"] = _sound(y)
    return z, lambda m, v: _latest["back"](m, v)


@e1.wrong("failed readings become 0, the mean")
def _(y: Tensor) -> tuple[Tensor, Untransform]:
    z, back = _sound(y)
    return z.nan_to_num(), back


# --- e2: leave one out, for all replicates ------------------------------------------------------

e2 = Exercise(
    id="p4.t1.e2",
    title="Leave one out, for all replicates",
    pure=True,
    size=lambda K, y: y.numel(),
    hints=(
        "With one reading nothing is left to predict it from: the answer is the prior, mean 0 and "
        "variance K. Which entry of the inverse of K gives that variance?",
        "Write P for the inverse of K. The miss of reading i is [P y]_i / P_ii, and the variance "
        "of that miss 1 / P_ii. A miss is observed minus predicted.",
        "For batches: `diagonal(dim1=-2, dim2=-1)`, and P y as (P @ y.unsqueeze(-1)).squeeze(-1). "
        "`y @ P` mixes replicates as soon as y has two axes.",
    ),
)


@e2.answer
def loo(K: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each reading, predicted from all others of its replicate.

    K, (..., n, n), is the prior covariance of the readings, noise included; their prior mean is 0.
    y, (..., n), is what they were. Both results are (..., n); the variance is that of a reading,
    noise included. Neither hyperparameters nor units change when a reading is left out. A single
    reading is predicted by the prior. One inverse is enough for all n, though refits pass, too.
    """
    P = torch.cholesky_inverse(torch.linalg.cholesky(K))
    precision = P.diagonal(dim1=-2, dim2=-1)
    miss = (P @ y.unsqueeze(-1)).squeeze(-1) / precision
    return y - miss, 1 / precision


def _readings(rng: Rng, *shape: int) -> tuple[Tensor, Tensor]:
    """Covariances with unequal diagonals, and readings, for a shape (..., n)."""
    X, sizes = rng.normal(*shape, 2), rng.uniform_in(0.5, 2.0, *shape)
    r2 = (X.unsqueeze(-2) - X.unsqueeze(-3)).square().sum(-1)
    noise = torch.diag_embed(rng.uniform_in(0.05, 1.0, *shape))
    K = sizes.unsqueeze(-1) * torch.exp(-0.5 * r2) * sizes.unsqueeze(-2) + noise
    return K, rng.normal(*shape)


@e2.cases
def replicates(rng: Rng) -> Iterator[Case]:
    half = torch.stack([_vector(1.0, 0.5), _vector(0.5, 1.0)])
    yield Case(_vector(2.0).reshape(1, 1), _vector(3.0), note="one reading")
    yield Case(half, _vector(1.0, -1.0), note="two readings")
    yield Case(half, _vector(0.0, 2.0), note="the first was 0")
    yield Case(torch.diag(_vector(1.0, 4.0, 9.0)), _vector(1.0, 2.0, 3.0), note="unrelated")
    yield Case(torch.diag(_vector(1.0, 4.0, 9.0)) + 0.5, _vector(1.0, 2.0, 3.0), note="unequal")
    yield Case(torch.ones(3, 3).double() + 1e-4 * torch.eye(3), _vector(1.0, 1.01, 0.99))
    yield Case(half.expand(3, 2, 2), rng.normal(3, 2), note="three replicates, one covariance")
    yield Case(torch.full((4, 1, 1), 2.0).double(), rng.normal(4, 1), note="four single readings")
    for shape in ((2,), (3,), (5,), (8,), (2, 3), (3, 2), (3, 3), (2, 2, 4), (4, 4, 4)):
        yield Case(*_readings(rng, *shape), note=f"readings of shape {shape}")
    for scale in (1e-6, 1e6):
        for shape in ((4,), (2, 3)):
            K, y = _readings(rng, *shape)
            yield Case(scale**2 * K, scale * y, note=f"numbers of size {scale:g}")


@e2.shape
def _(fn: Fn, K: Tensor, y: Tensor) -> None:
    for moment in _pair(fn(K, y), "mean, variance"):
        has_shape(moment, y.shape, torch.float64)


def _unit(K: Tensor, y: Tensor) -> float:
    return float(K.abs().max().sqrt() + y.abs().max())


@e2.property("the prediction of a reading does not depend on what that reading was")
def _(fn: Fn, K: Tensor, y: Tensor) -> None:
    other = y.clone()
    other[..., 0] += 3 * _unit(K, y)
    before, after = (_pair(fn(K, v), "mean, variance")[0] for v in (y, other))
    close(after[..., 0], before[..., 0], 1e-7 * _unit(K, y))


@e2.property("no reading changes a variance, and none is above the prior's")
def _(fn: Fn, K: Tensor, y: Tensor) -> None:
    before, after = (_pair(fn(K, v), "mean, variance")[1] for v in (y, y.flip(-1) - 1))
    close(after, before, 1e-12, relative=True)
    prior = K.diagonal(dim1=-2, dim2=-1)
    require((before > 0) & (before <= prior * (1 + 1e-9)), "a variance is above the prior's or 0")


@e2.property("each replicate is predicted by itself")
def _(fn: Fn, K: Tensor, y: Tensor) -> None:
    n = y.shape[-1]
    mean, variance = (v.reshape(-1, n) for v in _pair(fn(K, y), "mean, variance"))
    for k, (A, row) in enumerate(zip(K.reshape(-1, n, n), y.reshape(-1, n), strict=True)):
        own = _pair(fn(A.clone(), row), "mean, variance")
        close(mean[k], own[0], 1e-9 * _unit(K, y))
        close(variance[k], own[1], 1e-9, relative=True)


@e2.property("the order of the readings does not matter")
def _(fn: Fn, K: Tensor, y: Tensor) -> None:
    mean, variance = _pair(fn(K, y), "mean, variance")
    back = _pair(fn(K.flip(-1, -2), y.flip(-1)), "mean, variance")
    close(back[0].flip(-1), mean, 1e-9 * _unit(K, y))
    close(back[1].flip(-1), variance, 1e-9, relative=True)


@e2.value("n refits, each without one reading")
def _(fn: Fn, K: Tensor, y: Tensor) -> None:
    n = y.shape[-1]
    mean, variance = (v.reshape(-1, n) for v in _pair(fn(K, y), "mean, variance"))
    for k, (A, row) in enumerate(zip(K.reshape(-1, n, n), y.reshape(-1, n), strict=True)):
        for i in range(n):
            rest = [j for j in range(n) if j != i]
            w: Any = np.linalg.solve(A[rest][:, rest].numpy(), A[rest, i].numpy()) if rest else []
            expected = float(np.dot(w, row[rest].numpy())) if rest else 0.0
            left = float(A[i, i]) - (float(np.dot(w, A[rest, i].numpy())) if rest else 0.0)
            close(mean[k, i], expected, 1e-8 * _unit(A, row))
            close(variance[k, i], left, 1e-8 * float(A[i, i]))


Moments = tuple[Tensor, Tensor]


@e2.wrong("the other sign of the miss")
def _(K: Tensor, y: Tensor) -> Moments:
    mean, variance = loo(K, y)
    return 2 * y - mean, variance


@e2.wrong("returns the misses")
def _(K: Tensor, y: Tensor) -> Moments:
    mean, variance = loo(K, y)
    return y - mean, variance


@e2.wrong("standard deviations for variances")
def _(K: Tensor, y: Tensor) -> Moments:
    mean, variance = loo(K, y)
    return mean, variance.sqrt()


@e2.wrong("precisions for variances")
def _(K: Tensor, y: Tensor) -> Moments:
    mean, variance = loo(K, y)
    return mean, 1 / variance


@e2.wrong("does not divide by the diagonal of the inverse")
def _(K: Tensor, y: Tensor) -> Moments:
    mean, variance = loo(K, y)
    return y - (y - mean) / variance, variance


@e2.wrong("the diagonal of K instead of that of its inverse")
def _(K: Tensor, y: Tensor) -> Moments:
    alpha = torch.linalg.solve(K, y.unsqueeze(-1)).squeeze(-1)
    prior = K.diagonal(dim1=-2, dim2=-1)
    return y - alpha * prior, prior.clone()


@e2.wrong("leaves nothing out: predicts each reading from all of them")
def _(K: Tensor, y: Tensor) -> Moments:
    quiet = K - 0.05 * torch.diag_embed(K.diagonal(dim1=-2, dim2=-1))
    weights = torch.linalg.solve(K, quiet)
    mean = (weights.mT @ y.unsqueeze(-1)).squeeze(-1)
    return mean, (K - quiet @ weights).diagonal(dim1=-2, dim2=-1).clone()


@e2.wrong("y @ P, which mixes replicates")
def _(K: Tensor, y: Tensor) -> Moments:
    P = torch.linalg.inv(K)
    flat = y.reshape(-1, y.shape[-1])
    miss = (flat @ P.reshape(-1, *K.shape[-2:])[0]).reshape(y.shape)
    precision = P.diagonal(dim1=-2, dim2=-1)
    return y - miss / precision, 1 / precision


@e2.wrong("the mean of the other readings for their prediction")
def _(K: Tensor, y: Tensor) -> Moments:
    n = y.shape[-1]
    mean = (y.sum(-1, keepdim=True) - y) / max(n - 1, 1)
    return mean, loo(K, y)[1]


@e2.wrong("centres the readings first, though their mean is known to be 0")
def _(K: Tensor, y: Tensor) -> Moments:
    shift = y.mean(-1, keepdim=True)
    mean, variance = loo(K, y - shift)
    return mean + shift, variance


@e2.wrong("standardises the readings first and forgets the way back")
def _(K: Tensor, y: Tensor) -> Moments:
    scale = y.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-9)
    mean, variance = loo(K, y / scale)
    return mean, variance


@e2.wrong("a jitter of a thousandth on top of the noise")
def _(K: Tensor, y: Tensor) -> Moments:
    own = K.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    return loo(K + 1e-3 * own * torch.eye(K.shape[-1], dtype=K.dtype), y)


@e2.wrong("takes a noise off the variance, for f instead of the reading")
def _(K: Tensor, y: Tensor) -> Moments:
    mean, variance = loo(K, y)
    return mean, variance - 0.05 * K.diagonal(dim1=-2, dim2=-1)


@e2.wrong("predicts each reading from those before it only")
def _(K: Tensor, y: Tensor) -> Moments:
    mean, variance = torch.zeros_like(y), K.diagonal(dim1=-2, dim2=-1).clone()
    for i in range(1, y.shape[-1]):
        w = torch.linalg.solve(K[..., :i, :i], K[..., :i, i])
        mean[..., i] = (w * y[..., :i]).sum(-1)
        variance[..., i] -= (w * K[..., :i, i]).sum(-1)
    return mean, variance


@e2.wrong("one variance for all readings of a replicate")
def _(K: Tensor, y: Tensor) -> Moments:
    mean, variance = loo(K, y)
    return mean, variance.mean(-1, keepdim=True).expand(y.shape).clone()


# --- e3: take new readings in -------------------------------------------------------------------

e3 = Exercise(
    id="p4.t1.e3",
    title="Take new readings in",
    pure=True,
    size=lambda L, K_star, k_ss, noise: L.numel() + k_ss.numel(),
    hints=(
        "Write the new factor in four blocks and multiply it by its transpose. Three equations "
        "come out; the first says that the old block stays as it is.",
        "The second is L B^T = K_star, a triangular system. The third says what is left for the "
        "last block: D D^T = k_ss + noise - B B^T, where noise goes on the diagonal.",
        "torch.linalg.solve_triangular(L, K_star, upper=False) is B^T. A Cholesky factor of a p x "
        "p matrix is D; for one reading a square root. Zeros fill the upper right block. And "
        "torch.eye(p) alone is float32: 0.3 times that is wrong in the eighth digit.",
    ),
)


@e3.answer
def condition(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    """The Cholesky factor of n readings and p new ones, from that of the n.

    L, (n, n), is the lower triangular factor of the covariance of n readings, noise included.
    K_star, (n, p), is the kernel between their places and the new ones, k_ss, (p, p), that among
    the new ones, both without noise; every new reading has the noise variance `noise` (0 is
    allowed), independent of all others. The result, (n + p, n + p), is the lower triangular factor,
    with a positive diagonal, of the covariance of all readings, the new ones last. n may be 0.
    Nothing is added for safety: what comes back has to reconstruct that covariance to 1e-10.
    """
    n, p = K_star.shape
    B = torch.linalg.solve_triangular(L, K_star, upper=False).mT  # p n
    left = k_ss + noise * torch.eye(p, dtype=L.dtype) - B @ B.mT
    D = torch.linalg.cholesky(left)
    top = torch.cat([L, torch.zeros(n, p, dtype=L.dtype)], dim=1)
    return torch.cat([top, torch.cat([B, D], dim=1)])


def _covariance(X: Tensor, size: float) -> Tensor:
    r = (X.unsqueeze(-2) - X.unsqueeze(-3)).norm(dim=-1)
    return size * torch.exp(-r)  # Matern-1/2: well conditioned


def _grown(X: Tensor, p: int, noise: float, old_noise: float, size: float, note: str = "") -> Case:
    """n readings that are known, with noise of their own, and p new ones."""
    n, K = len(X) - p, _covariance(X, size)
    A = K[:n, :n] + old_noise * torch.eye(n, dtype=torch.float64)
    return Case(torch.linalg.cholesky(A), K[:n, n:].clone(), K[n:, n:].clone(), noise, note=note)


@e3.cases
def factors(rng: Rng) -> Iterator[Case]:
    line = torch.linspace(0, 2, 5, dtype=torch.float64).unsqueeze(-1)
    yield _grown(line[:1], 1, 0.5, 0.5, 1.0, "no reading before")
    yield _grown(line[:2], 2, 0.5, 0.5, 1.0, "no reading before, two new")
    yield _grown(line[:2], 1, 0.25, 0.25, 1.0, "one and one")
    yield _grown(line[:2], 1, 0.0, 0.25, 1.0, "a new reading without noise")
    yield _grown(line[[0, 0]], 1, 0.3, 0.1, 1.0, "the same place again")
    yield _grown(line[[0, 1, 1]], 2, 0.3, 0.1, 1.0, "the same place twice, both new")
    yield _grown(line[[0, 4]] * 50, 1, 0.3, 0.1, 2.0, "far away: unrelated")
    yield _grown(line, 3, 0.0, 0.1, 1.0, "three new readings without noise")
    yield _grown(line, 1, 0.2, 0.05, 3.0)
    for n, p in ((1, 2), (2, 1), (2, 2), (3, 1), (4, 3), (6, 2), (8, 4)):
        X = rng.normal(n + p, 2)
        yield _grown(X, p, rng.choice((0.0, 0.1, 1.0)), rng.choice((0.01, 0.5)), rng.random() + 0.5)
    for size in (1e-6, 1e6):
        for p in (1, 3):
            X = rng.normal(3 + p, 2)
            yield _grown(X, p, 0.3 * size, 0.2 * size, size, f"variances of size {size:g}")
    yield _grown(rng.normal(42, 3), 2, 0.1, 0.1, 1.0, "forty readings before")


@e3.shape
def _(fn: Fn, L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> None:
    N = len(L) + len(k_ss)
    has_shape(_tensor(fn(L, K_star, k_ss, noise)), (N, N), torch.float64)


@e3.property("it is lower triangular, with a positive diagonal")
def _(fn: Fn, L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> None:
    new = _tensor(fn(L, K_star, k_ss, noise))
    close(new.triu(1), torch.zeros_like(new), 1e-12 * float(new.abs().max()))
    require(new.diagonal() > 0, "an entry of the diagonal is not positive")


@e3.property("the first n readings keep their factor")
def _(fn: Fn, L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> None:
    n = len(L)
    close(_tensor(fn(L, K_star, k_ss, noise))[:n, :n], L, 1e-11 * float(k_ss.max().sqrt()))


@e3.property("two readings at once are one after the other")
def _(fn: Fn, L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> None:
    new = _tensor(fn(L, K_star, k_ss, noise))
    for j in range(len(k_ss)):
        column = torch.cat([K_star[:, j : j + 1], k_ss[:j, j : j + 1]])
        L = _tensor(fn(L, column, k_ss[j : j + 1, j : j + 1], noise))
    close(L, new, 1e-9, relative=True)


@e3.value("the covariance of all readings, reconstructed and factorised by NumPy")
def _(fn: Fn, L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> None:
    new = _tensor(fn(L, K_star, k_ss, noise))
    A, K, k = (v.numpy() for v in (L @ L.mT, K_star, k_ss))
    whole = np.block([[A, K], [K.T, k + noise * np.eye(len(k))]])
    close(new @ new.mT, torch.from_numpy(whole), 1e-10, relative=True)
    close(new, torch.from_numpy(np.linalg.cholesky(whole)), 1e-8, relative=True)


def _blocks(
    L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float, *, jitter: float = 0.0, keep: float = 1.0
) -> Tensor:
    """The answer from its blocks, with a mistake."""
    n, p = K_star.shape
    B = torch.linalg.solve_triangular(L, K_star, upper=False).mT
    eye = torch.eye(p, dtype=L.dtype)
    D = torch.linalg.cholesky(k_ss + (noise + jitter) * eye - keep * B @ B.mT)
    top = torch.cat([L, torch.zeros(n, p, dtype=L.dtype)], dim=1)
    return torch.cat([top, torch.cat([B, D], dim=1)])


def _whole(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    return torch.cat([torch.cat([L @ L.mT, K_star], 1), torch.cat([K_star.mT, k_ss], 1)])


@e3.wrong("forgets the noise of the new readings")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    return _blocks(L, K_star, k_ss, 0.0, jitter=1e-12 * float(k_ss.max()))


@e3.wrong("a jitter for safety")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    return _blocks(L, K_star, k_ss, noise, jitter=1e-6 * float(k_ss.max()))


@e3.wrong("takes the noise for a standard deviation")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    return _blocks(L, K_star, k_ss, noise**2, jitter=1e-12 * float(k_ss.max()))


@e3.wrong("noise on all entries of the new block, as if new readings shared it")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    return _blocks(L, K_star, k_ss + noise, 0.0, jitter=1e-12 * float(k_ss.max()))


@e3.wrong("does not subtract what the old readings say")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    return _blocks(L, K_star, k_ss, noise, keep=0.0)


@e3.wrong("puts the kernel itself beside the factor")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    new = _blocks(L, K_star, k_ss, noise)
    new[len(L) :, : len(L)] = K_star.mT
    return new


@e3.wrong("solves with the covariance instead of its factor")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    new = _blocks(L, K_star, k_ss, noise)
    new[len(L) :, : len(L)] = torch.cholesky_solve(K_star, L).mT
    return new


@e3.wrong("solves with the transposed factor")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    new = _blocks(L, K_star, k_ss, noise)
    new[len(L) :, : len(L)] = torch.linalg.solve_triangular(L.mT, K_star, upper=True).mT
    return new


@e3.wrong("an upper triangular factor")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    return _blocks(L, K_star, k_ss, noise).mT.clone()


@e3.wrong("returns the covariance")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    new = _blocks(L, K_star, k_ss, noise)
    return new @ new.mT


@e3.wrong("the new readings first")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    p = len(k_ss)
    A = _whole(L, K_star, k_ss + noise * torch.eye(p, dtype=L.dtype), noise)
    order = [*range(len(L), len(A)), *range(len(L))]
    factor: Tensor = torch.linalg.cholesky(A[order][:, order])
    return factor


@e3.wrong("a diagonal block: the new readings do not know of each other")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    alone = torch.diag(k_ss.diagonal())
    B = torch.linalg.solve_triangular(L, K_star, upper=False).mT
    left = (alone + noise * torch.eye(len(k_ss)) - B @ B.mT).diagonal().clamp(min=1e-12)
    top = torch.cat([L, torch.zeros_like(K_star)], dim=1)
    return torch.cat([top, torch.cat([B, torch.diag(left.sqrt())], dim=1)])


@e3.wrong("takes in the first new reading only")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    return _blocks(L, K_star[:, :1], k_ss[:1, :1], noise)


@e3.wrong("no square root for the last block")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    new = _blocks(L, K_star, k_ss, noise)
    D = new[len(L) :, len(L) :]
    new[len(L) :, len(L) :] = D @ D.mT
    return new


@e3.wrong("adds the noise to the old readings again")
def _(L: Tensor, K_star: Tensor, k_ss: Tensor, noise: float) -> Tensor:
    A = _whole(L, K_star, k_ss, noise)
    factor: Tensor = torch.linalg.cholesky(A + noise * torch.eye(len(A), dtype=A.dtype) + 0.0)
    return factor


# --- e4: coverage -------------------------------------------------------------------------------

e4 = Exercise(
    id="p4.t1.e4",
    title="What share is in the bands?",
    size=lambda model, X, Y, level: Y.numel(),
    hints=(
        "A band that promises 0.9 leaves 0.05 on either side. How many standard deviations is "
        "that? And whose standard deviation: that of f, or that of a reading?",
        "`model.posterior(X, observation_noise=True)` has mean and variance of the readings, in "
        "the shape of Y. `torch.special.ndtri` is the normal quantile.",
        "Count |Y - mean| <= c sd, with c the quantile of (1 + level)/2. NaN is in no band and "
        "should not be in the denominator either; sum over the axis of points, -2.",
    ),
)


@e4.answer
def coverage(model: Surrogate, X: Tensor, Y: Tensor, level: float) -> Tensor:
    """The share of readings that lie in their central intervals of probability `level`.

    model offers `posterior(X, observation_noise=...)`, with normal beliefs. X, (*r, n, d), holds
    places that it may never have seen, Y, (*r, n, m), what was read there; NaN is a failed reading,
    which does not count at all. The result, (*r, m), has a share for each replicate and output,
    each of which has at least one reading. A level that is not between 0 and 1, ends excluded,
    raises ValueError, and so does NaN.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level}")
    belief = model.posterior(X, observation_noise=True)
    half = torch.special.ndtri(torch.tensor(0.5 + level / 2, dtype=torch.float64))
    seen = ~Y.isnan()
    inside = ((Y - belief.mean).abs() <= half * belief.variance.sqrt()) & seen
    share: Tensor = inside.sum(-2) / seen.sum(-2).double()
    return share


@dataclass(frozen=True, eq=False)
class Stated:
    """A surrogate whose belief is written down: mean |x|, variance of f, variance of the noise."""

    f_var: float
    noise_var: float
    num_outputs: int = 1
    batch_shape: tuple[int, ...] = ()

    def posterior(self, X: Tensor, *, observation_noise: bool = False) -> GaussianPosterior:
        size = X.norm(dim=-1, keepdim=True)
        mean = torch.cat([(k + 1) * size for k in range(self.num_outputs)], dim=-1)
        var = self.f_var + (self.noise_var if observation_noise else 0.0)
        sizes = torch.arange(1.0, self.num_outputs + 1, dtype=torch.float64).square()
        variance = (var * sizes).expand(mean.shape)
        return GaussianPosterior(
            mean.shape, lambda: (mean, variance), lambda: (mean, torch.diag_embed(variance.mT))
        )


def _drawn(rng: Rng, model: Stated, n: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Places, and readings that the model itself would give."""
    X = scale * rng.uniform_in(-1, 1, *model.batch_shape, n, 2)
    belief = model.posterior(X, observation_noise=True)
    eps = rng.normal(*model.batch_shape, n, model.num_outputs)
    return X, belief.mean + belief.variance.sqrt() * eps


def _gp(rng: Rng, *r: int, m: int = 1) -> ExactGP:
    X = rng.uniform_in(0, 1, *r, 6, 2)
    box = torch.stack([torch.zeros(2), torch.ones(2)]).double()
    Y = torch.cat([(5 * X.sum(-1, keepdim=True) + k).sin() for k in range(m)], dim=-1)
    return ExactGP(X, 10 * Y + rng.normal(*Y.shape), box)


@e4.cases
def promises(rng: Rng) -> Iterator[Case]:
    one, zero = Stated(0.5, 0.5), torch.zeros(1, 2).double()
    nan = math.nan
    yield Case(one, zero, _vector(0.3).reshape(1, 1), 0.5, note="one reading, inside")
    yield Case(one, zero, _vector(-3.0).reshape(1, 1), 0.95, note="one reading, outside")
    yield Case(one, zero.expand(3, 2), _vector(0.8, nan, -1.5).reshape(3, 1), 0.8, note="a failure")
    yield Case(one, zero.expand(4, 2), _vector(-1.2, 1.2, -1.7, 1.7).reshape(4, 1), 0.9)
    yield Case(Stated(1.0, 3.0), zero, _vector(2.5).reshape(1, 1), 0.9, note="inside with noise")
    yield Case(Stated(0.01, 0.0), zero, _vector(0.15).reshape(1, 1), 0.8, note="no noise")
    for level in (0.0, 1.0, -0.1, 1.5, nan):
        yield Case(one, zero, zero[:, :1], level, raises=ValueError, note="no probability")
    for level, n in ((0.5, 300), (0.8, 300), (0.95, 300), (0.99, 500), (0.1, 300)):
        model = Stated(rng.uniform(0.2, 2.0), rng.uniform(0.2, 2.0))
        yield Case(model, *_drawn(rng, model, n), level, note="readings from the model itself")
    for r, m in (((3,), 1), ((), 2), ((2,), 3), ((2, 2), 2)):
        model = Stated(0.3, 0.6, m, r)
        X, Y = _drawn(rng, model, 40)
        if m > 1:
            Y[..., rng.randrange(40), 0] = nan
        yield Case(model, X, Y, rng.choice((0.6, 0.9)), note=f"replicates {r}, {m} outputs")
    for scale in (1e-6, 1e6):
        model = Stated(0.4 * scale**2, 0.8 * scale**2)
        X, Y = _drawn(rng, model, 60, scale)
        yield Case(model, X, Y, 0.75, note=f"numbers of size {scale:g}")
    for r, m in (((), 1), ((2,), 1), ((), 2)):
        gp = _gp(rng, *r, m=m)
        X = rng.uniform_in(0, 1, *r, 25, 2)
        Y = 10 * (5 * X.sum(-1, keepdim=True)).sin() + 2 * rng.normal(*r, 25, m)
        yield Case(gp, X, Y, rng.choice((0.5, 0.9)), note="a Gaussian process")


def _share(fn: Fn, model: Any, X: Tensor, Y: Tensor, level: float) -> Any:
    """The result as a tensor; a number, too, where there is one output and no replicate."""
    result = _tensor(fn(model, X, Y, level))
    if isinstance(result, Tensor) and result.ndim == 0 and Y.shape[-1] == 1 and Y.ndim == 2:
        return result.reshape(1)
    return result


@e4.shape
def _(fn: Fn, model: Any, X: Tensor, Y: Tensor, level: float) -> None:
    share = _share(fn, model, X, Y, level)
    has_shape(share, (*Y.shape[:-2], Y.shape[-1]))
    require((share >= 0) & (share <= 1), "a share is outside 0 to 1, or NaN")


@e4.property("a higher level never holds less")
def _(fn: Fn, model: Any, X: Tensor, Y: Tensor, level: float) -> None:
    shares = [_share(fn, model, X, Y, v) for v in (level / 2, level, (1 + level) / 2)]
    require((shares[1] >= shares[0]) & (shares[2] >= shares[1]), "a wider band holds less")


@e4.property("readings at the mean are all inside, readings far off all outside")
def _(fn: Fn, model: Any, X: Tensor, Y: Tensor, level: float) -> None:
    belief = model.posterior(X, observation_noise=True)
    far = belief.mean + 40 * belief.variance.sqrt()
    for readings, expected in ((belief.mean, 1.0), (far, 0.0)):
        share = _share(fn, model, X, readings.detach(), level)
        close(share, torch.full((*Y.shape[:-2], Y.shape[-1]), expected).double(), 1e-12)


@e4.property("a failed reading changes nothing, wherever it stands")
def _(fn: Fn, model: Any, X: Tensor, Y: Tensor, level: float) -> None:
    if isinstance(model, ExactGP):
        return
    wide = torch.cat([X[..., :1, :], X], dim=-2)
    more = torch.cat([torch.full_like(Y[..., :1, :], torch.nan), Y], dim=-2)
    close(_share(fn, model, wide, more, level), _share(fn, model, X, Y, level), 1e-12)


@e4.property("readings from the model itself: the level, within 5 standard errors")
def _(fn: Fn, model: Any, X: Tensor, Y: Tensor, level: float) -> None:
    if not isinstance(model, Stated) or Y.ndim > 2 or len(Y) < 300:
        return
    error = math.sqrt(level * (1 - level) / Y.shape[-2])
    close(_share(fn, model, X, Y, level), _vector(level), 5 * error)


@e4.value("SciPy's intervals, reading by reading")
def _(fn: Fn, model: Any, X: Tensor, Y: Tensor, level: float) -> None:
    belief = model.posterior(X, observation_noise=True)
    mean, sd = (v.detach().numpy() for v in (belief.mean, belief.variance.sqrt()))
    low, high = scipy_stats.norm.interval(level, mean, sd)
    y = Y.numpy()
    inside, known = (y >= low) & (y <= high), ~np.isnan(y)
    expected = torch.from_numpy(inside.sum(-2) / known.sum(-2))
    close(_share(fn, model, X, Y, level), expected, 1e-6)


def _covered(
    model: Any,
    X: Tensor,
    Y: Tensor,
    level: float,
    *,
    noise: bool = True,
    half: float | None = None,
    axis: Any = -2,
    count: bool = True,
    power: float = 0.5,
    one_sided: bool = False,
    checked: bool = True,
) -> Tensor:
    """The answer with a mistake."""
    if checked and not 0 < level < 1:
        raise ValueError("level")
    belief = model.posterior(X, observation_noise=noise)
    c = half if half is not None else float(scipy_stats.norm.ppf(0.5 + level / 2))
    gap = (Y - belief.mean) / belief.variance**power
    inside = (gap if one_sided else gap.abs()) <= c
    seen = ~Y.isnan() if count else torch.ones_like(inside)
    shares: Tensor = (inside & ~Y.isnan()).sum(axis) / seen.sum(axis).double()
    return shares


@e4.wrong("a level of NaN slips through `level <= 0 or level >= 1`")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    if level <= 0 or level >= 1:
        raise ValueError("level")
    return _covered(model, X, Y, level, checked=False)


@e4.wrong("the band of f, not that of a reading")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    return _covered(model, X, Y, level, noise=False)


@e4.wrong("1.96 whatever the level")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    return _covered(model, X, Y, level, half=1.96)


@e4.wrong("the quantile of the level: the whole rest on one side")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    if not 0 < level < 1:
        raise ValueError("level")
    return _covered(model, X, Y, level, half=max(float(scipy_stats.norm.ppf(level)), 0.0))


@e4.wrong("only the upper end counts")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    return _covered(model, X, Y, level, one_sided=True)


@e4.wrong("variances for standard deviations")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    return _covered(model, X, Y, level, power=1.0)


@e4.wrong("failed readings stay in the denominator")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    return _covered(model, X, Y, level, count=False)


@e4.wrong("failed readings count as 0")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    return _covered(model, X, Y.nan_to_num(), level)


@e4.wrong("one share for all outputs")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    share = _covered(model, X, Y, level).mean(-1, keepdim=True)
    return share.expand(*Y.shape[:-2], Y.shape[-1])


@e4.wrong("one share for all replicates")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    share = _covered(model, X, Y, level)
    return share.reshape(-1, Y.shape[-1]).mean(0).expand(share.shape)


@e4.wrong("sums over the outputs instead of the points")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    return _covered(model, X, Y, level, axis=-1)


@e4.wrong("the share outside")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    return 1 - _covered(model, X, Y, level)


@e4.wrong("the number inside, not the share")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    return _covered(model, X, Y, level) * Y.shape[-2]


@e4.wrong("takes any level")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    return _covered(model, X, Y, level, checked=False)


@e4.wrong("refuses only what is outside, not 0 and 1 themselves")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    if not 0 <= level <= 1:
        raise ValueError("level")
    return _covered(model, X, Y, level, checked=False)


@e4.wrong("adds the noise twice")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    f, reading = (model.posterior(X, observation_noise=noise) for noise in (False, True))
    if not 0 < level < 1:
        raise ValueError("level")
    c = float(scipy_stats.norm.ppf(0.5 + level / 2))
    sd = (2 * reading.variance - f.variance).sqrt()
    inside = (Y - reading.mean).abs() <= c * sd
    share: Tensor = inside.sum(-2) / (~Y.isnan()).sum(-2).double()
    return share


@e4.wrong("adds standard deviations of f and noise")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    f, reading = (model.posterior(X, observation_noise=noise) for noise in (False, True))
    if not 0 < level < 1:
        raise ValueError("level")
    c = float(scipy_stats.norm.ppf(0.5 + level / 2))
    sd = f.variance.sqrt() + (reading.variance - f.variance).clamp(min=0).sqrt()
    inside = (Y - reading.mean).abs() <= c * sd
    share: Tensor = inside.sum(-2) / (~Y.isnan()).sum(-2).double()
    return share


@e4.wrong("three standard deviations at every level")
def _(model: Any, X: Tensor, Y: Tensor, level: float) -> Tensor:
    return _covered(model, X, Y, level, half=3.0)
