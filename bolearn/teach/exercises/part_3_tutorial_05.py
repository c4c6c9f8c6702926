"""The exercises of part_3/tutorial_05: is the surrogate lying?"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from gpytorch.kernels import MaternKernel
from scipy import stats as scipy_stats
from torch import Tensor

from bolearn.diagnostics import leave_one_out
from bolearn.models.exact import ExactGP
from bolearn.models.fit import fit_mll
from bolearn.strategies import matern_gp
from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require

BOX = torch.tensor([[0.0], [1.0]], dtype=torch.float64)


def _matern(ell: float) -> MaternKernel:
    kernel = MaternKernel(nu=2.5).double()
    kernel.lengthscale = ell
    return kernel


def _frozen(X: Tensor, Y: Tensor, ell: float, noise_var: float) -> ExactGP:
    return ExactGP(X, Y, BOX, kernel=_matern(ell), noise_var=noise_var, standardize=False)


# --- e1: name the fault ---------------------------------------------------------------------------

KINDS = ("sound", "overconfident", "timid", "outlier", "uneven", "skewed")

e1 = Exercise(
    id="p3.t5.e1",
    title="Name the fault",
    pure=True,
    hints=(
        "Print, for a few sites of each kind (the notebook's `plant` makes them), the largest, the "
        "second largest and the median of |z|. Three of the six answers show in these alone.",
        "An outlier spoils every mean, and a fit then makes all the others look calm: compare with "
        "the median of |z|, which is about 0.7 for a sound map. Heavy tails without one lone drill "
        "are noise that is not the same everywhere: with what does |z| grow?",
        "Ranks are robust: v.argsort().argsort(). The correlation of the ranks of |z| with those "
        "of x speaks for `uneven`, with those of the predicted mean for `skewed`. Tune your "
        "thresholds on sites of your own, not on the hidden ones.",
    ),
    size=lambda x, y, mean, variance: len(x),
)


@e1.answer
def diagnose(x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> str:
    """Name what is wrong with a map, from its leave-one-out predictions alone.

    All four are of shape (n,): the places, what the drills found there, and what the map predicted
    for each from the others, with noise in the variance. The answer is one of

    - "sound": nothing;
    - "overconfident": the bands are too narrow everywhere;
    - "timid": the bands are too wide everywhere;
    - "outlier": a single wrong reading;
    - "uneven": the noise grows along the strip, to the right or to the left;
    - "skewed": errors grow with the amount of gold that was predicted.

    No rule is always right. At least 80 % of 120 hidden sites of 40 drills, 20 of each kind, must
    be. Neither the units of the places and the finds nor the order of the drills may matter.
    """
    z = ((y - mean) / variance.sqrt()).abs()
    largest, second = z.sort(descending=True).values[:2].tolist()
    typical = z.median().item()

    def grows_with(v: Tensor) -> float:
        ranks = torch.stack([z, v]).argsort(-1).argsort(-1).double()
        return torch.corrcoef(ranks)[0, 1].item()

    if typical > 1:
        return "overconfident"
    if largest < 1.5:
        return "timid"
    if largest > max(3.5, 2 * second):
        return "outlier"
    along, upward = abs(grows_with(x)), grows_with(mean)
    if second < 4.4 * typical:  # no heavy tail
        return "skewed" if upward > 0.45 else "sound"
    if max(along, upward) < 0.3:
        return "outlier"
    return "uneven" if along > upward else "skewed"


Site = tuple[Tensor, Tensor, Tensor, Tensor]


@lru_cache(maxsize=64)
def _sites(kind: str, count: int, n: int, seed: int) -> tuple[Site, ...]:
    """Sites with a planted fault, and what their maps predict when a drill is left out."""
    g = torch.Generator().manual_seed(1000 * seed + KINDS.index(kind))
    x = (torch.arange(n) + torch.rand(count, n, generator=g, dtype=torch.float64)) / n
    r = math.sqrt(5) * (x.unsqueeze(-1) - x.unsqueeze(-2)).abs() / 0.25
    K = (1 + r + r**2 / 3) * torch.exp(-r) + 1e-8 * torch.eye(n, dtype=torch.float64)
    h, e = torch.randn(2, count, n, generator=g, dtype=torch.float64)
    h = (torch.linalg.cholesky(K) @ h.unsqueeze(-1))[..., 0]
    y = h + 0.1 * e
    if kind == "skewed":
        y = (1.5 * h + 0.3 * e).exp()
    if kind == "uneven":
        left = torch.rand(count, 1, generator=g) < 0.5
        y = h + 0.7 * torch.where(left, 1 - x, x) ** 3 * e
    if kind == "outlier":
        which = torch.randint(2, n - 2, (count, 1), generator=g)
        size = 4 + 2 * torch.rand(count, 1, generator=g, dtype=torch.float64)
        sign = 2.0 * torch.randint(2, (count, 1), generator=g) - 1
        y = y.scatter_add(1, which, sign * size)
    X, Y = x.unsqueeze(-1), y.unsqueeze(-1)
    if kind in ("overconfident", "timid"):
        model = _frozen(X, Y, 0.25, 0.001 if kind == "overconfident" else 0.3)
    else:
        model = fit_mll(matern_gp(X, Y, BOX))
    loo = leave_one_out(model)
    return tuple(zip(x, y, loo.mean[..., 0], loo.variance[..., 0], strict=True))


@lru_cache(maxsize=8)
def _hidden(seed: int) -> tuple[tuple[str, Site], ...]:
    return tuple((kind, site) for kind in KINDS for site in _sites(kind, 20, 40, seed))


@e1.cases
def maps(rng: Rng) -> Iterator[Case]:
    for kind in KINDS:
        for site in _sites(kind, 3, 24, rng.randrange(1000)):
            yield Case(*site)
    for kind in ("sound", "skewed"):
        yield Case(*_sites(kind, 1, 40, rng.randrange(1000))[0], note="and 120 hidden sites")


@e1.shape
def _(fn: Fn, x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> None:
    answer = fn(x, y, mean, variance)
    require(answer in KINDS, f"expected one of {', '.join(KINDS)}; got {answer!r}")


@e1.property("unit and zero of the finds do not matter")
def _(fn: Fn, x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> None:
    answer = fn(x, y, mean, variance)
    for scale, shift in ((1e-6, 0.0), (1e6, 0.0), (31.1, 500.0), (1.0, -20.0)):
        other = fn(x, scale * y + shift, scale * mean + shift, scale**2 * variance)
        require(other == answer, "the answer changes with the unit or the zero of the finds")


@e1.property("unit and zero of the places do not matter")
def _(fn: Fn, x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> None:
    require(fn(1000 * x - 300, y, mean, variance) == fn(x, y, mean, variance))


@e1.property("the order of the drills does not matter, nor which end of the strip comes first")
def _(fn: Fn, x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> None:
    answer = fn(x, y, mean, variance)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    require(fn(*(v[order] for v in (x, y, mean, variance))) == answer, "the order matters")
    require(fn(1 - x, y, mean, variance) == answer, "seen from the other end it is another fault")


@e1.value("the planted faults on at least 80 % of 120 hidden sites")
def _(fn: Fn, x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> None:
    if len(x) < 40:
        return
    sites = _hidden(int(1e6 * float(x.sum())) % 4)
    right = Counter(kind for kind, site in sites if fn(*site) == kind)
    table = ", ".join(f"{kind} {right[kind]}" for kind in KINDS)
    total = sum(right.values())
    require(total >= 96, f"right on {total} of 120; of 20 each: {table}")


@e1.wrong("looks only at the mean of z², which a fit has already set to about one")
def _(x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> str:
    size = float(((y - mean).square() / variance).mean())
    return "overconfident" if size > 1.3 else "timid" if size < 0.5 else "sound"


@e1.wrong("judges errors in ounces instead of stated deviations")
def _(x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> str:
    return diagnose(x, y, mean, torch.ones_like(variance))


@e1.wrong("forgets the square root of the variance")
def _(x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> str:
    return diagnose(x, y, mean, variance**2)


@e1.wrong("takes any drill beyond three deviations for a wrong reading")
def _(x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> str:
    z = ((y - mean) / variance.sqrt()).abs()
    return "outlier" if float(z.max()) > 3 else diagnose(x, y, mean, variance)


@e1.wrong("sees noise grow to the right only")
def _(x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> str:
    answer = diagnose(x, y, mean, variance)
    z = ((y - mean) / variance.sqrt()).abs()
    rising = float(torch.corrcoef(torch.stack([z, x]))[0, 1]) > 0
    return "sound" if answer == "uneven" and not rising else answer


@e1.wrong("takes the drills to be in order along the strip")
def _(x: Tensor, y: Tensor, mean: Tensor, variance: Tensor) -> str:
    return diagnose(torch.arange(len(x), dtype=x.dtype), y, mean, variance)


# --- e2: bend the scale ---------------------------------------------------------------------------

e2 = Exercise(
    id="p3.t5.e2",
    title="Bend the scale",
    pure=True,
    hints=(
        "Three steps: standardise, bend by a given power, and choose the power. Write the second "
        "first and test it: p = 1 must give back u, and z must rise with u for every p.",
        "The bend for u >= 0 has the exponent p, below 0 it has 2 - p. An exponent of 0 means a "
        "logarithm: ((1 + u)^t - 1) / t is expm1(t log1p(u)) / t, and log1p(u) for t = 0. Use "
        "torch.where with a safe t, or the unused branch gives NaN.",
        "Put the candidate powers on a new first axis: 41 of them between -1 and 3, the best, then "
        "41 between its neighbours, and so on five times. Do not forget the second term of the "
        "likelihood, the slope of the bend: without it the flattest bend wins.",
    ),
    size=lambda y: y.numel(),
)


@e2.answer
def warp_y(y: Tensor) -> tuple[Tensor, Tensor]:
    """Bend finds (..., n) by the likeliest of Yeo and Johnson's powers: z (..., n) and p (...).

    For each row, u = (y - mean) / s with the sample standard deviation s (n - 1 in it), and
    z = ((1 + u)^p - 1) / p for u >= 0, z = -((1 - u)^(2 - p) - 1) / (2 - p) for u < 0, with
    logarithms for an exponent of zero. p is the power in [-1, 3] with the largest
    -n/2 log var(z) + (p - 1) sum sign(u) log(1 + |u|), where var has n in the denominator.
    Within 1e-4 of the largest likelihood will do. n >= 3, and no row is constant.
    """

    def bend(u: Tensor, p: Tensor) -> Tensor:
        side = torch.where(u >= 0, 1.0, -1.0)
        t, grown = torch.where(u >= 0, p, 2 - p), (side * u).log1p()
        safe = torch.where(t == 0, 1.0, t)
        return side * torch.where(t == 0, grown, (safe * grown).expm1() / safe)

    u = (y - y.mean(-1, keepdim=True)) / y.std(-1, keepdim=True)
    slope = (u.sign() * u.abs().log1p()).sum(-1)
    p, width = torch.ones_like(slope), 2.0
    for _ in range(6):
        steps = torch.linspace(-width, width, 41, dtype=y.dtype)
        grid = (p + steps.reshape(-1, *(1,) * p.ndim)).clamp(-1, 3)  # 41 ...
        spread = bend(u, grid.unsqueeze(-1)).var(-1, correction=0)
        likelihood = -0.5 * y.shape[-1] * spread.log() + (grid - 1) * slope
        p = grid.gather(0, likelihood.argmax(0, keepdim=True))[0]
        width /= 20
    return bend(u, p.unsqueeze(-1)), p


@e2.cases
def finds(rng: Rng) -> Iterator[Case]:
    three = torch.tensor([0.0, 1.0, 10.0], dtype=torch.float64)
    yield Case(three, note="three finds")
    yield Case(-three, note="a long lower tail")
    yield Case(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64), note="nothing to bend")
    yield Case(torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64), note="ties")
    for scale in (1e-6, 1.0, 1e6):
        for shape in ((5,), (12,), (2, 6), (3, 15), (2, 2, 8)):
            h = rng.normal(*shape)
            kind = rng.choice(("skewed", "lower tail", "normal"))
            y = h if kind == "normal" else (1.5 * h).exp() * (1 if kind == "skewed" else -1)
            yield Case(scale * (y + rng.choice((0.0, 3.0))), note=kind)
    for shape in ((40,), (2, 30)):
        yield Case((rng.normal(*shape)).exp(), note="logarithms of normals")


@e2.shape
def _(fn: Fn, y: Tensor) -> None:
    result = fn(y)
    require(isinstance(result, tuple) and len(result) == 2, "expected a pair (z, p)")
    has_shape(result[0], y.shape, torch.float64)
    has_shape(result[1], y.shape[:-1], torch.float64)


@e2.property("order is kept: more gold stays more gold")
def _(fn: Fn, y: Tensor) -> None:
    z = fn(y)[0].gather(-1, y.argsort(-1))
    require(z[..., 1:] >= z[..., :-1], "a larger find has the smaller z")


@e2.property("unit and zero of the finds do not matter")
def _(fn: Fn, y: Tensor) -> None:
    z, p = fn(y)
    other, q = fn(3 * y + 2 * float(y.abs().max()))
    close(q, p, 0.02)
    close(other, z, 0.05 * float(z.abs().max()))


@e2.property("upside down, p becomes 2 - p, and z changes its sign")
def _(fn: Fn, y: Tensor) -> None:
    z, p = fn(y)
    other, q = fn(-y)
    close(q, 2 - p, 0.02)
    close(-other, z, 0.05 * float(z.abs().max()))


@e2.property("each row is bent by itself")
def _(fn: Fn, y: Tensor) -> None:
    rows = y.reshape(-1, y.shape[-1])
    each = [fn(row) for row in rows]
    z, p = fn(y)
    close(torch.stack([row[1] for row in each]), p.reshape(-1), 0.02)
    close(torch.stack([row[0] for row in each]), z.reshape(rows.shape), 0.05 * float(z.abs().max()))


@e2.value("SciPy's transformation with that power")
def _(fn: Fn, y: Tensor) -> None:
    z, p = fn(y)
    u = (y - y.mean(-1, keepdim=True)) / y.std(-1, keepdim=True)
    n = y.shape[-1]
    for row, power, bent in zip(u.reshape(-1, n), p.reshape(-1), z.reshape(-1, n), strict=True):
        expected = torch.from_numpy(scipy_stats.yeojohnson(row.numpy(), float(power)))
        close(bent, expected, 1e-8, relative=True)


@e2.value("the likeliest of 4,001 powers, up to 1e-4 in the logarithm")
def _(fn: Fn, y: Tensor) -> None:
    _, p = fn(y)
    require((p >= -1) & (p <= 3), "a power outside [-1, 3]")
    rows = y.reshape(-1, y.shape[-1])
    u = ((rows - rows.mean(-1, keepdim=True)) / rows.std(-1, keepdim=True)).numpy()
    for row, power in zip(u, p.reshape(-1).tolist(), strict=True):
        best = float(_likelihoods(row, np.linspace(-1, 3, 4001)).max())
        mine = float(_likelihoods(row, np.array([power]))[0])
        require(mine >= best - 1e-4, "another power is likelier")


def _likelihoods(u: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """The log-likelihood of each power, by the definition's two powers of 1 + |u|."""
    grown, p = np.log1p(np.abs(u)), powers[:, None]
    t = np.where(u >= 0, p, 2 - p)
    near = np.abs(t) < 1e-8  # there the power is a logarithm, to 15 digits
    size = np.where(near, grown, (np.exp(t * grown) - 1) / np.where(near, 1.0, t))
    spread = np.where(u >= 0, size, -size).var(-1)
    change = (powers - 1) * (np.sign(u) * grown).sum()
    result: np.ndarray = -0.5 * len(u) * np.log(spread) + change
    return result


def _bent(
    y: Tensor,
    *,
    slope: float = 1.0,
    same: bool = False,
    std: int = 1,
    low: float = -1.0,
    high: float = 3.0,
    steps: int = 801,
    fewer: int = 0,
    raw: bool = False,
    sign: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The answer with a mistake."""
    u = (y - y.mean(-1, keepdim=True)) / y.std(-1, keepdim=True, correction=std)
    u = y if raw else u

    def bend(p: Tensor) -> Tensor:
        side = torch.where(u >= 0, 1.0, -1.0)
        t = p.expand_as(side * p) if same else torch.where(u >= 0, p, 2 - p)
        grown = (side * u).log1p()
        safe = torch.where(t.abs() < 1e-9, 1.0, t)
        return side * torch.where(t.abs() < 1e-9, grown, (safe * grown).expm1() / safe)

    grid = torch.linspace(low, high, steps, dtype=y.dtype).reshape(-1, *(1,) * y.ndim)
    change = (u.sign() * u.abs().log1p()).sum(-1, keepdim=True)
    spread = bend(grid).var(-1, correction=0, keepdim=True)
    likelihood = -0.5 * (y.shape[-1] - fewer) * spread.log() + slope * (grid - 1) * change
    best = (sign * likelihood).argmax(0, keepdim=True)
    p = grid.expand_as(likelihood).gather(0, best)[0]
    return bend(p), p[..., 0]


@e2.wrong("forgets the slope of the bend in the likelihood: the flattest bend wins")
def _(y: Tensor) -> tuple[Tensor, Tensor]:
    return _bent(y, slope=0.0)


@e2.wrong("the same exponent on both sides")
def _(y: Tensor) -> tuple[Tensor, Tensor]:
    return _bent(y, same=True)


@e2.wrong("divides by n in the standard deviation")
def _(y: Tensor) -> tuple[Tensor, Tensor]:
    return _bent(y, std=0)


@e2.wrong("always the logarithm: it is only the best for some")
def _(y: Tensor) -> tuple[Tensor, Tensor]:
    u = (y - y.mean(-1, keepdim=True)) / y.std(-1, keepdim=True)
    down = -((1 - u.clamp(max=0)).square() - 1) / 2
    return torch.where(u >= 0, u.clamp(min=0).log1p(), down), 0 * y[..., 0]


@e2.wrong("powers between 0 and 2 only")
def _(y: Tensor) -> tuple[Tensor, Tensor]:
    return _bent(y, low=0.0, high=2.0)


@e2.wrong("a coarse grid: a tenth from power to power")
def _(y: Tensor) -> tuple[Tensor, Tensor]:
    return _bent(y, steps=41)


@e2.wrong("the variance with n - 1 and the density's n: half a nat per bend")
def _(y: Tensor) -> tuple[Tensor, Tensor]:
    return _bent(y, fewer=1)


@e2.wrong("bends the finds themselves, not their standardised form")
def _(y: Tensor) -> tuple[Tensor, Tensor]:
    return _bent(y, raw=True)


@e2.wrong("the least likely power: a lost minus sign")
def _(y: Tensor) -> tuple[Tensor, Tensor]:
    return _bent(y, sign=-1.0)


@e2.wrong("one power for all rows")
def _(y: Tensor) -> tuple[Tensor, Tensor]:
    z, p = _bent(y.reshape(-1))
    return z.reshape(y.shape), p.expand(y.shape[:-1]).clone()


# --- e3: when to stop -----------------------------------------------------------------------------

e3 = Exercise(
    id="p3.t5.e3",
    title="When to stop",
    pure=True,
    hints=(
        "Say it in words first: the first round that is low, together with the patience - 1 rounds "
        "right before it. Low means below the tolerance, and a NaN is not below anything.",
        "Compare once, then count runs: a counter that grows by one at a low round and falls back "
        "to zero at any other. The rule stops where it reaches the patience.",
        "Without a loop: low.unfold(-1, patience, 1).all(-1) says at which rounds a run of that "
        "length begins. It ends patience - 1 rounds later; argmax finds the first True, if any.",
    ),
    size=lambda history, log_tol, patience: history.numel(),
)


@e3.answer
def stop_rule(history: Tensor, log_tol: float, patience: int) -> Tensor:
    """The round at which a search stops: the last of the first `patience` low rounds in a row.

    history (..., T) is the highest log expected improvement of each round; a round is low if that
    is below log_tol. Minus infinity is low; NaN, a round whose fit failed, is not. The result, of
    shape (...) and dtype int64, counts rounds from 0; it is T for a search that never stops.
    patience below 1 raises ValueError.
    """
    if patience < 1:
        raise ValueError(f"patience: expected at least 1, got {patience}")
    rounds = history.shape[-1]
    stop = torch.full(history.shape[:-1], rounds)
    run = torch.zeros(history.shape[:-1], dtype=torch.int64)
    for t in range(rounds):
        run = torch.where(history[..., t] < log_tol, run + 1, 0)
        stop = torch.where((run == patience) & (stop == rounds), t, stop)
    return stop


@e3.cases
def histories(rng: Rng) -> Iterator[Case]:
    row = torch.tensor([-1.0, -8.0, -2.0, -8.0, -9.0, -8.0], dtype=torch.float64)
    nan, inf = math.nan, math.inf
    yield Case(row[:1], -7.0, 1, note="one round, not low")
    yield Case(row[1:2], -7.0, 1, note="one round, low")
    yield Case(row[:1], -7.0, 3, note="more patience than rounds")
    yield Case(row, -7.0, 1)
    yield Case(row, -7.0, 2, note="a lone low round does not count")
    yield Case(row, -7.0, 3)
    yield Case(row, -7.0, 4, note="never")
    yield Case(row, -8.0, 1, note="a tie with the tolerance is not low")
    yield Case(torch.tensor([-9.0, nan, -9.0, -9.0], dtype=torch.float64), -7.0, 2)
    yield Case(torch.tensor([-inf, -inf], dtype=torch.float64), -7.0, 2)
    yield Case(row, -7.0, 0, raises=ValueError, note="no patience at all")
    for shape in ((3,), (8,), (20,), (2, 5), (4, 12), (3, 1), (2, 3, 10)):
        for patience in (1, 2, 3):
            history = 3 * rng.normal(*shape).cumsum(-1) - 5
            if rng.random() < 0.3:
                history[..., rng.randrange(shape[-1])] = nan
            yield Case(history, -7.0, patience)


@e3.shape
def _(fn: Fn, history: Tensor, log_tol: float, patience: int) -> None:
    has_shape(fn(history, log_tol, patience), history.shape[:-1], torch.int64)


@e3.property("what comes after the stop does not change it")
def _(fn: Fn, history: Tensor, log_tol: float, patience: int) -> None:
    stop = fn(history, log_tol, patience)
    longer = torch.cat([history, history.flip(-1)], dim=-1)
    rounds = history.shape[-1]
    require(torch.where(stop < rounds, fn(longer, log_tol, patience) == stop, True))


@e3.property("with more patience it never stops sooner")
def _(fn: Fn, history: Tensor, log_tol: float, patience: int) -> None:
    require(fn(history, log_tol, patience + 1) >= fn(history, log_tol, patience))


@e3.property("a stricter tolerance never stops sooner")
def _(fn: Fn, history: Tensor, log_tol: float, patience: int) -> None:
    require(fn(history, log_tol - 2, patience) >= fn(history, log_tol, patience))


@e3.value("a loop over every search and every window")
def _(fn: Fn, history: Tensor, log_tol: float, patience: int) -> None:
    rounds, expected = history.shape[-1], []
    for row in history.reshape(-1, rounds).tolist():
        ends = [
            t
            for t in range(patience - 1, rounds)
            if all(value < log_tol for value in row[t - patience + 1 : t + 1])
        ]
        expected.append(ends[0] if ends else rounds)
    close(fn(history, log_tol, patience).reshape(-1), expected, 0)


def _guard(patience: int) -> None:
    if patience < 1:
        raise ValueError("patience")


def _first(hit: Tensor, rounds: int) -> Tensor:
    return torch.where(hit.any(-1), hit.int().argmax(-1), rounds)


@e3.wrong("counts low rounds that are not in a row")
def _(history: Tensor, log_tol: float, patience: int) -> Tensor:
    _guard(patience)
    return _first((history < log_tol).cumsum(-1) >= patience, history.shape[-1])


@e3.wrong("gives the first round of the run, which nobody could know then")
def _(history: Tensor, log_tol: float, patience: int) -> Tensor:
    _guard(patience)
    rounds = history.shape[-1]
    if patience > rounds:
        return torch.full(history.shape[:-1], rounds)
    hit = (history < log_tol).unfold(-1, patience, 1).all(-1)
    return _first(hit, rounds)


@e3.wrong("compares with >=, so that a failed fit counts as low")
def _(history: Tensor, log_tol: float, patience: int) -> Tensor:
    _guard(patience)
    return stop_rule(torch.where(history >= log_tol, history, -torch.inf), log_tol, patience)


@e3.wrong("a search that never stops stops at once: argmax of nothing is 0")
def _(history: Tensor, log_tol: float, patience: int) -> Tensor:
    stop = stop_rule(history, log_tol, patience)
    return torch.where(stop == history.shape[-1], 0, stop)


@e3.wrong("counts rounds from one")
def _(history: Tensor, log_tol: float, patience: int) -> Tensor:
    return stop_rule(history, log_tol, patience) + 1


@e3.wrong("takes the tolerance for an expected improvement, not for its logarithm")
def _(history: Tensor, log_tol: float, patience: int) -> Tensor:
    return stop_rule(history, math.exp(log_tol), patience)


# --- e4: fool the test ----------------------------------------------------------------------------

Ground = Callable[[Tensor], Tensor]
BELIEVED = 0.3  # what the map of exercise 4 believes

e4 = Exercise(
    id="p3.t5.e4",
    title="Fool leave-one-out",
    hints=(
        "Leave-one-out asks each drill whether the others can predict it. What kind of drill is "
        "predicted perfectly, however wrong the map is elsewhere?",
        "In section 3 one detail had to be taken care of before the alarm could be trusted. Undo "
        "that care.",
        "Few places, spread so evenly that the map becomes sure between them, and each of them "
        "drilled twice. With an odd number one place gets a third drill.",
    ),
    size=lambda f, n: n,
)


@e4.answer
def fooling_drills(f: Callable[[Tensor], Tensor], n: int) -> Tensor:
    """Places of n >= 12 drills, (n, 1) in [0, 1], that make a wrong map look right.

    f maps places (k, 1) to what is found there, (k, 1). The map is a GP with mean 0, a Matern-5/2
    kernel with variance 1 and lengthscale 0.3, and noise variance 1e-6; the ground is much rougher.
    After your drills no leave-one-out z may exceed 2 in size, and the mean of z² must be at most 1;
    yet of 201 places along the strip less than half may lie in the map's 95 % band.
    """
    places = torch.linspace(0.0, 1.0, n // 2, dtype=torch.float64)
    return torch.cat([places, places, places[: n % 2]]).unsqueeze(-1)


def _ground(seed: int, ell: float) -> Ground:
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(256, generator=g, dtype=torch.float64) / ell
    phase = 2 * math.pi * torch.rand(256, generator=g, dtype=torch.float64)

    def ground(x: Tensor) -> Tensor:
        return math.sqrt(2 / 256) * torch.cos(x * w + phase).sum(-1, keepdim=True)

    ground.__name__ = f"rough ground {seed}"
    return ground


@e4.cases
def rough_grounds(rng: Rng) -> Iterator[Case]:
    for n in (12, 13, 14, 15, 16, 17, 20):
        for ell in (0.04, 0.05, 0.06):
            yield Case(_ground(rng.randrange(10_000), ell), n)


@e4.shape
def _(fn: Fn, f: Ground, n: int) -> None:
    X = fn(f, n)
    has_shape(X, (n, 1), torch.float64)
    require(X.isfinite() & (X >= 0) & (X <= 1), "a place outside the strip [0, 1]")


@e4.property("leave-one-out sees nothing: no |z| above 2, and a mean of z² of at most 1")
def _(fn: Fn, f: Ground, n: int) -> None:
    X = fn(f, n)
    z = leave_one_out(_frozen(X, f(X), BELIEVED, 1e-6)).z
    require(z.abs() <= 2, f"a z of size {float(z.abs().max()):.1f} gives the map away")
    require(z.square().mean() <= 1, f"the mean of z² is {float(z.square().mean()):.1f}")


@e4.property("the map is wrong: less than half of the strip lies in its 95 % band")
def _(fn: Fn, f: Ground, n: int) -> None:
    X, strip = fn(f, n), torch.linspace(0, 1, 201, dtype=torch.float64).unsqueeze(-1)
    with torch.no_grad():
        belief = _frozen(X, f(X), BELIEVED, 1e-6).posterior(strip.unsqueeze(1))
    off = (f(strip) - belief.mean[:, 0]).abs() / belief.variance[:, 0].sqrt()
    share = float((off <= 1.96).double().mean())
    require(share < 0.5, f"{share:.0%} of the strip lies in the band: the map is too honest")


@e4.wrong("evenly spread, once each: every drill contradicts the map")
def _(f: Ground, n: int) -> Tensor:
    return torch.linspace(0.0, 1.0, n, dtype=torch.float64).unsqueeze(-1)


@e4.wrong("all in one place: nothing contradicts, but the map is honest about the rest")
def _(f: Ground, n: int) -> Tensor:
    return torch.full((n, 1), 0.5, dtype=torch.float64)


@e4.wrong("two places only: the band stays wide between them")
def _(f: Ground, n: int) -> Tensor:
    return (torch.arange(n).double() % 2).unsqueeze(-1)


@e4.wrong("twins that are not quite twins: a hundredth of the strip apart")
def _(f: Ground, n: int) -> Tensor:
    places = torch.linspace(0.0, 0.99, n // 2, dtype=torch.float64)
    return torch.cat([places, places + 0.01, places[: n % 2]]).unsqueeze(-1)


@e4.wrong("leaves one drill without a twin when n is odd")
def _(f: Ground, n: int) -> Tensor:
    places = torch.linspace(0.0, 1.0, (n + 1) // 2, dtype=torch.float64)
    return torch.cat([places, places[: n // 2]]).unsqueeze(-1)


@e4.wrong("at random")
def _(f: Ground, n: int) -> Tensor:
    return torch.rand(n, 1, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
