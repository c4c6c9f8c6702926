"""The exercises of part_3/tutorial_01: why model an unknown function."""

import decimal
import fractions
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mpmath
import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require

Map = Callable[[Tensor], Tensor]
Method = Callable[..., object]


def _named(name: str, fn: Fn) -> Any:
    fn.__name__ = name
    return fn


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


# --- e1: what random drills guarantee ---------------------------------------------------------

e1 = Exercise(
    id="p3.t1.e1",
    title="How many drills at random?",
    hints=(
        "What is the chance that all of n drills miss the good places? Without repeats the second "
        "drill has one place less to fall on, and so has each one after it.",
        "Any place at all: (1 - q)ⁿ. With N places of which K are good: the product of "
        "(N - K - i) / (N - i) over i = 0, ..., n - 1. It is 0 once only good places are left.",
        "A loop that multiplies one factor at a time until the product is at most "
        "(1 - confidence)(1 + 1e-9) is enough for N places; for q = 1e-6 take logarithms instead. "
        "Treat confidence = 1 and q = 1 first, and count K with a little generosity.",
    ),
)


@e1.answer
def random_search_budget(q: float, confidence: float, places: int | None = None) -> int | float:
    """The least number of random drills of which one hits the best share q of the ground.

    q in (0, 1] is the share that counts as good; confidence, from 1e-6 to 0.999999 or exactly 1, is
    the wanted chance of at least one hit. If places is None, drills fall anywhere, independently,
    each of them good with probability q. Otherwise there are N = places <= 10,000 places, nobody
    drills the same one twice, all choices are equally likely, and the K best of them are good: K is
    the largest whole number not above qN (by up to 1e-9 above counts as not above). Return an int,
    or math.inf if no number is enough. A chance of failure above 1 - confidence by a fraction of at
    most 1e-9 counts as reached.
    """
    allowed = (1 - confidence) * (1 + 1e-9)
    if places is not None:
        good, n, miss = math.floor(q * places + 1e-9), 0, 1.0
        if good == 0:
            return math.inf
        if confidence == 1:
            return places - good + 1
        while miss > allowed:
            miss *= (places - good - n) / (places - n)
            n += 1
        return n
    if q == 1:
        return 1
    return math.ceil(math.log(allowed) / math.log1p(-q)) if allowed else math.inf


@e1.cases
def searches(rng: Rng) -> Iterator[Case]:
    yield Case(0.05, 0.95, note="the best twentieth")
    yield Case(1.0, 0.95, note="all is good")
    yield Case(1.0, 1.0, note="all is good")
    yield Case(0.5, 1.0, note="certainty, anywhere")
    yield Case(1.0, 1.0, 1, note="one place, and it is good")
    yield Case(0.5, 0.9, 1, note="one place, and it is not good")
    yield Case(0.05, 0.95, 20, note="one good place of 20")
    yield Case(0.05, 1.0, 20, note="certainty, 20 places")
    yield Case(0.5, 1.0, 4, note="certainty, 4 places")
    yield Case(0.5, 0.9, 4)
    yield Case(0.29, 0.9, 100, note="29 of 100 are good, whatever rounding says")
    yield Case(0.06, 0.9, 100)
    yield Case(0.0049, 0.9, 100, note="no good place")
    yield Case(0.058, 0.5, 100, note="five good places, not six")
    yield Case(0.05, 0.95, 241)
    yield Case(0.05, 0.95, 10_000, note="many places")
    yield Case(0.05, 1.0, 10_000, note="certainty, many places")
    for q, confidence in ((0.5, 0.75), (0.1, 0.19), (0.2, 0.488), (0.25, 0.25)):
        yield Case(q, confidence, note="just reached")
    yield Case(0.5, 0.751, note="just missed")
    yield Case(0.1, 0.9, 10, note="just reached")
    yield Case(0.2, 1e-6, note="hardly any confidence")
    yield Case(0.2, 1e-6, 30, note="hardly any confidence")
    for q in (1e-6, 1e-15):
        yield Case(q, 0.99, note="a needle")
    yield Case(1 - 1e-12, 0.999999, note="almost all is good")
    for _ in range(8):
        q, confidence = round(rng.uniform(0.02, 0.6), 2), rng.choice((0.5, 0.8, 0.95, 0.99))
        yield Case(q, confidence)
        yield Case(q, confidence, rng.randint(5, 60))


def _good(q: float, places: int) -> int:
    return math.floor(q * places + 1e-9)


def _misses(q: float, n: int, confidence: float, places: int | None, slack: str) -> bool:
    """Whether n drills fail too often, exactly or to many digits; the slack is a fraction."""
    if places is not None:
        bad = places - _good(q, places)
        miss = fractions.Fraction(math.comb(bad, n), math.comb(places, n))
        allowed = (1 - fractions.Fraction(confidence)) * (1 + fractions.Fraction(slack))
        return miss > allowed
    with decimal.localcontext(prec=80):
        if q == 1 or confidence == 1:
            return not (q == 1 and n > 0)
        limit = (1 - decimal.Decimal(confidence)) * (1 + decimal.Decimal(slack))
        return n * (1 - decimal.Decimal(q)).ln() > limit.ln()


@e1.shape
def _(fn: Fn, q: float, confidence: float, places: int | None = None) -> None:
    n = fn(q, confidence, places)
    whole = isinstance(n, int) and not isinstance(n, bool)
    require(whole or n == math.inf, "expected an int, or math.inf")
    require(n >= 1, "no hit without a drill")
    if math.isfinite(n):
        require(places is None or n <= places, "more drills than there are places")


@e1.property("so many drills are enough")
def _(fn: Fn, q: float, confidence: float, places: int | None = None) -> None:
    n = fn(q, confidence, places)
    if math.isfinite(n):
        require(not _misses(q, n, confidence, places, "1.1e-9"), "all of them miss too often")


@e1.property("one fewer would not be enough")
def _(fn: Fn, q: float, confidence: float, places: int | None = None) -> None:
    n = fn(q, confidence, places)
    if math.isinf(n):
        hopeless = _good(q, places) == 0 if places is not None else confidence == 1 and q < 1
        require(hopeless, "some number is enough here")
    elif n < 1 << 50:  # beyond, a float cannot tell n from n - 1
        require(_misses(q, n - 1, confidence, places, "0.9e-9"), "one fewer would do")


@e1.property("certainty, confidence = 1, takes one drill more than there are bad places")
def _(fn: Fn, q: float, confidence: float, places: int | None = None) -> None:
    if places is not None and _good(q, places):
        most = places - _good(q, places) + 1
        require(fn(q, confidence, places) <= most, f"even certainty takes no more than {most}")
        sure = fn(q, 1.0, places)
        message = (
            f"random_search_budget({q:g}, 1.0, {places}) gave {sure}, for {most - 1} bad places"
        )
        require(sure == most, message)


@e1.property("who never drills twice at one place needs no more than who may")
def _(fn: Fn, q: float, confidence: float, places: int | None = None) -> None:
    if places is not None and _good(q, places):
        share = _good(q, places) / places
        anywhere = fn(share, confidence)
        message = f"remembering costs drills: random_search_budget({share:g}, {confidence:g}) gave"
        require(fn(q, confidence, places) <= anywhere, f"{message} {anywhere}")


@e1.value("exact fractions, or 80 digits, and bisection")
def _(fn: Fn, q: float, confidence: float, places: int | None = None) -> None:
    n = fn(q, confidence, places)
    if math.isinf(n):
        return
    low, high = 0, 1
    while _misses(q, high, confidence, places, "1e-9"):
        low, high = high, 2 * high if places is None else min(2 * high, places)
    while high - low > max(1, high >> 60):
        middle = (low + high) // 2
        missed = _misses(q, middle, confidence, places, "1e-9")
        low, high = (middle, high) if missed else (low, middle)
    close(float(n), float(high), 0 if high < 1 << 50 else 1e-9 * high)


def _anywhere(q: float, confidence: float) -> int | float:
    if confidence == 1 or q == 1:
        return 1 if q == 1 else math.inf
    return math.ceil(math.log((1 - confidence) * (1 + 1e-9)) / math.log1p(-q))


def _without_repeats(good: int, places: int, allowed: float) -> int | float:
    n, miss = 0, 1.0
    while miss > allowed:
        miss *= (places - good - n) / (places - n)
        n += 1
    return n


@e1.wrong("forgets that no place is drilled twice")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    if places is None:
        return _anywhere(q, confidence)
    good = _good(q, places)
    return min(_anywhere(good / places, confidence), places) if good else math.inf


@e1.wrong("1/q drills, which hit once on average")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    return math.ceil(1 / q) if places is None else max(1, min(math.ceil(1 / q), places))


@e1.wrong("rounds to the nearest whole number")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    if places is not None or confidence == 1 or q == 1:
        return random_search_budget(q, confidence, places)
    return max(1, round(math.log(1 - confidence) / math.log1p(-q)))


@e1.wrong("rounds the number of good places up")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    if places is None:
        return _anywhere(q, confidence)
    allowed = (1 - confidence) * (1 + 1e-9)
    return _without_repeats(math.ceil(q * places - 1e-9), places, allowed)


@e1.wrong("truncates the number of good places after rounding errors: 28 of 100 instead of 29")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    if places is None:
        return _anywhere(q, confidence)
    good = int(q * places)
    allowed = (1 - confidence) * (1 + 1e-9)
    return _without_repeats(good, places, allowed) if good else math.inf


@e1.wrong("log(1 - q) instead of log1p(-q): a tiny q is rounded")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    if places is not None or confidence == 1 or q == 1:
        return random_search_budget(q, confidence, places)
    return math.ceil(math.log((1 - confidence) * (1 + 1e-9)) / math.log(1 - q))


@e1.wrong("multiplies for certainty too, until the product is too small for a float")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    if places is not None and confidence == 1 and _good(q, places):
        return _without_repeats(_good(q, places), places, 0.0)
    return random_search_budget(q, confidence, places)


@e1.wrong("certainty takes all places")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    if places is not None and confidence == 1 and _good(q, places):
        return places
    return random_search_budget(q, confidence, places)


@e1.wrong("floors the logarithms' quotient")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    if places is not None or confidence == 1 or q == 1:
        return random_search_budget(q, confidence, places)
    return max(1, math.floor(math.log(1 - confidence) / math.log1p(-q)))


@e1.wrong("no generosity: one drill more where the confidence is just reached")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    if confidence == 1 or q == 1:
        return random_search_budget(q, confidence, places)
    if places is None:
        return math.ceil(math.log(1 - confidence) / math.log1p(-q) + 1e-12)
    good = _good(q, places)
    return _without_repeats(good, places, (1 - confidence) * (1 - 1e-12)) if good else math.inf


@e1.wrong("confidence and chance of failure exchanged")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    return random_search_budget(q, max(1e-6, min(1 - confidence, 0.999999)), places)


@e1.wrong("never hopeless: a good place where there is none")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    if places is not None and _good(q, places) == 0:
        return places
    return random_search_budget(q, confidence, places)


@e1.wrong("one drill less than needed: stops one factor too early")
def _(q: float, confidence: float, places: int | None = None) -> int | float:
    n = random_search_budget(q, confidence, places)
    return max(1, n - 1) if math.isfinite(n) else n


# --- e2: a map from features ------------------------------------------------------------------

e2 = Exercise(
    id="p3.t1.e2",
    title="A map from features",
    pure=True,
    hints=(
        "A ridge is nothing new: it asks for p more drills, each of which says that one weight is "
        "zero. What do their rows look like, and how strongly must they speak?",
        "Least squares with a free constant is least squares without one, after the mean of y and "
        "the mean of each feature have been taken away. Put the rows of the ridge below that.",
        "`torch.linalg.qr` of the table with sqrt(ridge) times the identity below it, then "
        "`torch.linalg.solve_triangular`. Psiᵀ Psi would square the condition number. A map of "
        "other places takes away the means of the *drills'* features.",
    ),
)


@e2.answer
def fit_features(
    X: Tensor, y: Tensor, psi: Callable[[Tensor], Tensor], ridge: float
) -> Callable[[Tensor], Tensor]:
    """Fit y = c + psi(x) · w + rest to drills, and return the map, a function of places.

    X is `... n d`, y is `... n`; psi maps `... n d` to features `... n p`, none of them constant.
    The constant c and the weights w make |y - c - psi(X) w|² + ridge |w|² as small as possible; the
    constant is not in the second term. ridge is at least 0; where it is 0, the drills determine c
    and w. The map takes places `... k d` to `... k`. Axes in front are strips of their own. Feature
    tables with condition numbers up to 1e7 come up; the map must stay right to seven digits.
    """
    Psi = psi(X)
    p = Psi.shape[-1]
    center, usual = Psi.mean(-2, keepdim=True), y.mean(-1, keepdim=True)
    pull = ridge**0.5 * torch.eye(p, dtype=y.dtype).expand(*Psi.shape[:-2], p, p)
    Q, R = torch.linalg.qr(torch.cat([Psi - center, pull], dim=-2))
    known = Q[..., : y.shape[-1], :].mT @ (y - usual).unsqueeze(-1)
    w = torch.linalg.solve_triangular(R, known, upper=True)
    return lambda places: ((psi(places) - center) @ w).squeeze(-1) + usual


def _powers(degree: int, scale: float = 1.0) -> Any:
    """x, x², ... of one coordinate, for x of this size."""

    def psi(X: Tensor) -> Tensor:
        return (X[..., :1] / scale) ** torch.arange(1, degree + 1)

    return _named(f"powers 1 to {degree} of x" + (f"/{scale:g}" if scale != 1 else ""), psi)


def _bumps(count: int, width: float) -> Any:
    """Bumps on [-1, 1]."""
    centers = torch.linspace(-1, 1, count, dtype=torch.float64)

    def psi(X: Tensor) -> Tensor:
        return torch.exp(-0.5 * ((X[..., :1] - centers) / width) ** 2)

    return _named(f"{count} bumps of width {width:g} on [-1, 1]", psi)


def _itself(X: Tensor) -> Tensor:
    return X


@e2.cases
def fits(rng: Rng) -> Iterator[Case]:
    x = _vector(-1.0, 0.0, 1.0).reshape(3, 1)
    yield Case(x[:1], _vector(2.0), _itself, 1.0, note="one drill")
    yield Case(x[:2], _vector(1.0, 2.0), _itself, 0.0, note="a line through two")
    yield Case(x, _vector(1.0, 2.0, 4.0), _itself, 0.0, note="a line")
    yield Case(x, _vector(1.0, 2.0, 4.0), _itself, 2.0, note="a line with a ridge")
    yield Case(x, _vector(3.0, 3.0, 3.0), _powers(3), 0.5, note="all alike")
    yield Case(x[[0, 0, 2]], _vector(1.0, 2.0, 0.0), _itself, 0.1, note="one place twice")
    yield Case(x, _vector(1.0, 2.0, 4.0), _powers(2), 0.0, note="as many unknowns as drills")
    yield Case(x, _vector(1.0, 2.0, 4.0), _bumps(6, 0.5), 1e-12, note="more features than drills")
    yield Case(x, _vector(1.0, 2.0, 4.0), _powers(2), 1e12, note="an enormous ridge")
    for scale in (1e-6, 1e6):
        yield Case(x, scale * _vector(1.0, 2.0, 4.0), _itself, 0.5, note=f"gold of size {scale:g}")
        yield Case(scale * x, _vector(1.0, 2.0, 4.0), _powers(1, scale), 0.5)
    for n, degree in ((5, 2), (6, 3), (9, 4)):
        for ridge in (0.0, 0.01, 1.0):
            X = rng.uniform_in(-1, 1, n, 1).round(decimals=2)
            yield Case(X, rng.normal(n).round(decimals=1), _powers(degree), ridge)
    for n in (4, 8):
        X = rng.uniform_in(-1, 1, n, 2).round(decimals=2)
        yield Case(X, rng.normal(n), _itself, 0.3, note="two inputs")
    for front in ((2,), (3, 2)):
        X = rng.uniform_in(-1, 1, *front, 5, 1)
        yield Case(X, rng.normal(*front, 5), _powers(2), 0.1, note="many strips")
    yield Case(rng.uniform_in(-1, 1, 2, 2, 2), rng.normal(2, 2), _itself, 0.3, note="all twos")
    even = torch.linspace(-1, 1, 24, dtype=torch.float64).unsqueeze(-1)
    for degree in (15, 18):
        wave = torch.sin(3 * even[:, 0]) + 0.1 * rng.normal(24)
        yield Case(even, wave, _powers(degree), 0.0, note="nearly dependent features")


_ASK = torch.linspace(-0.9, 0.9, 7, dtype=torch.float64)


def _places(X: Tensor) -> Tensor:
    """Seven other places, in the unit of the drills and with their axes in front."""
    size = 10.0 ** math.floor(math.log10(max(float(X.abs().max()), 1e-300)) + 0.5)
    line = (size * _ASK).unsqueeze(-1) * _vector(1.0, -0.5)[: X.shape[-1]]
    return line.expand(*X.shape[:-2], *line.shape)


def _condition(X: Tensor, psi: Map) -> float:
    Psi = psi(X)
    return float(torch.linalg.cond(Psi - Psi.mean(-2, keepdim=True)).max())


@e2.shape
def _(fn: Fn, X: Tensor, y: Tensor, psi: Map, ridge: float) -> None:
    drawn = fn(X, y, psi, ridge)
    require(callable(drawn), "expected a function of places")
    has_shape(drawn(_places(X)), (*y.shape[:-1], len(_ASK)), torch.float64)


@e2.property("the order of the drills does not matter")
def _(fn: Fn, X: Tensor, y: Tensor, psi: Map, ridge: float) -> None:
    size = float(y.abs().max())
    one, other = fn(X, y, psi, ridge)(X), fn(X.flip(-2), y.flip(-1), psi, ridge)(X)
    close(other / size, one / size, 1e-7)


@e2.property("three ounces more in every drill lift the map by three, whatever the ridge")
def _(fn: Fn, X: Tensor, y: Tensor, psi: Map, ridge: float) -> None:
    lift = 3 * float(y.abs().max())
    places = _places(X)
    gain = (fn(X, y + lift, psi, ridge)(places) - fn(X, y, psi, ridge)(places)) / lift
    close(gain, torch.ones_like(gain), 1e-6)


@e2.property("the misses at the drills sum to zero: nothing pulls at the constant")
def _(fn: Fn, X: Tensor, y: Tensor, psi: Map, ridge: float) -> None:
    misses = (y - fn(X, y, psi, ridge)(X)).mean(-1)
    close(misses / float(y.abs().max()), torch.zeros_like(misses), 1e-8)


@e2.property("twice the gold, twice the map")
def _(fn: Fn, X: Tensor, y: Tensor, psi: Map, ridge: float) -> None:
    places, size = _places(X), float(y.abs().max())
    one, double = fn(X, y, psi, ridge)(places), fn(X, 2 * y, psi, ridge)(places)
    close(double / size, 2 * one / size, 1e-6)


@e2.property("with as many unknowns as drills, and no ridge to speak of, the map meets each drill")
def _(fn: Fn, X: Tensor, y: Tensor, psi: Map, ridge: float) -> None:
    apart = X.shape[-2] == 1 or float(torch.pdist(X.reshape(-1, X.shape[-1])).min()) > 0
    if ridge < 1e-9 and y.shape[-1] <= psi(X).shape[-1] + 1 and apart:
        close(fn(X, y, psi, ridge)(X) / float(y.abs().max()), y / float(y.abs().max()), 1e-6)


@e2.property("an enormous ridge leaves a flat map at the mean of y")
def _(fn: Fn, X: Tensor, y: Tensor, psi: Map, ridge: float) -> None:
    flat = fn(X, y, psi, 1e16)(_places(X))
    size = float(y.abs().max())
    close(flat / size, y.mean(-1, keepdim=True).expand_as(flat) / size, 1e-6)


@e2.value("the same least squares with 50 digits")
def _(fn: Fn, X: Tensor, y: Tensor, psi: Map, ridge: float) -> None:
    places = _places(X)
    n, p, size = y.shape[-1], psi(X).shape[-1], float(y.abs().max())
    shape = (-1, len(_ASK))
    maps = fn(X, y, psi, ridge)(places).reshape(shape)
    tables = zip(
        psi(X).reshape(-1, n, p), y.reshape(-1, n), psi(places).reshape(-1, len(_ASK), p), maps,
        strict=True,
    )  # fmt: skip
    for Psi, gold, asked, found in tables:
        with mpmath.workdps(50):
            A = mpmath.matrix([[1, *map(mpmath.mpf, row)] for row in Psi.tolist()])
            pull = ridge * mpmath.eye(p + 1)
            pull[0, 0] = 0
            w = mpmath.lu_solve(A.T * A + pull, A.T * mpmath.matrix(gold.tolist()))
            rows = mpmath.matrix([[1, *map(mpmath.mpf, row)] for row in asked.tolist()])
            expected = _vector(*(float(value) for value in rows * w))
        close(found / size, expected / size, 1e-7)


def _with(table: Tensor, y: Tensor, pull: Tensor) -> Tensor:
    """Weights of least squares with further rows, whose targets are zero."""
    Q, R = torch.linalg.qr(torch.cat([table, pull], dim=-2))
    known = Q[..., : y.shape[-1], :].mT @ y.unsqueeze(-1)
    w: Tensor = torch.linalg.solve_triangular(R, known, upper=True)
    return w


def _eye(Psi: Tensor) -> Tensor:
    p = Psi.shape[-1]
    return torch.eye(p, dtype=Psi.dtype).expand(*Psi.shape[:-2], p, p)


def _ones(Psi: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(Psi[..., :1]), Psi], dim=-1)


@e2.wrong("the ridge pulls at the constant too")
def _(X: Tensor, y: Tensor, psi: Map, ridge: float) -> Map:
    Psi = _ones(psi(X))
    w = _with(Psi, y, ridge**0.5 * _eye(Psi))
    return lambda places: (_ones(psi(places)) @ w).squeeze(-1)


@e2.wrong("normal equations: the condition number squared")
def _(X: Tensor, y: Tensor, psi: Map, ridge: float) -> Map:
    Psi = _ones(psi(X))
    pull = ridge * _eye(Psi).clone()
    pull[..., 0, 0] = 0
    w = torch.linalg.solve(Psi.mT @ Psi + pull, Psi.mT @ y.unsqueeze(-1))
    return lambda places: (_ones(psi(places)) @ w).squeeze(-1)


def _centered(X: Tensor, y: Tensor, psi: Map, ridge: float, forget: bool = False) -> Map:
    Psi = psi(X)
    center, usual = Psi.mean(-2, keepdim=True), y.mean(-1, keepdim=True)
    w = _with(Psi - center, y - usual, ridge**0.5 * _eye(Psi))
    if forget:
        center = 0 * center
    return lambda places: ((psi(places) - center) @ w).squeeze(-1) + usual


@e2.wrong("rows of strength ridge instead of its square root: ridge² |w|²")
def _(X: Tensor, y: Tensor, psi: Map, ridge: float) -> Map:
    return _centered(X, y, psi, ridge**2)


@e2.wrong("the mean of the squared misses instead of their sum: n times the ridge")
def _(X: Tensor, y: Tensor, psi: Map, ridge: float) -> Map:
    return _centered(X, y, psi, ridge * y.shape[-1])


@e2.wrong("no constant at all")
def _(X: Tensor, y: Tensor, psi: Map, ridge: float) -> Map:
    w = _with(psi(X), y, ridge**0.5 * _eye(psi(X)))
    return lambda places: (psi(places) @ w).squeeze(-1)


@e2.wrong("adds the mean of y, and forgets that the features had a mean too")
def _(X: Tensor, y: Tensor, psi: Map, ridge: float) -> Map:
    return _centered(X, y, psi, ridge, forget=True)


@e2.wrong("takes away the mean features of the places asked, not those of the drills")
def _(X: Tensor, y: Tensor, psi: Map, ridge: float) -> Map:
    Psi, usual = psi(X), y.mean(-1, keepdim=True)
    w = _with(Psi - Psi.mean(-2, keepdim=True), y - usual, ridge**0.5 * _eye(Psi))

    def drawn(places: Tensor) -> Tensor:
        asked = psi(places)
        return ((asked - asked.mean(-2, keepdim=True)) @ w).squeeze(-1) + usual

    return drawn


@e2.wrong("ignores the ridge where the drills are enough")
def _(X: Tensor, y: Tensor, psi: Map, ridge: float) -> Map:
    Psi = psi(X)
    enough = Psi.shape[-2] > Psi.shape[-1] + 1 and _condition(X, psi) < 1e9
    return _centered(X, y, psi, 0.0 if enough else ridge)


@e2.wrong("one constant for all strips")
def _(X: Tensor, y: Tensor, psi: Map, ridge: float) -> Map:
    drawn = _centered(X, y, psi, ridge)
    shift = y.mean() - y.mean(-1, keepdim=True)
    return lambda places: drawn(places) + shift


# --- e3: the greedy step ----------------------------------------------------------------------

e3 = Exercise(
    id="p3.t1.e3",
    title="The greedy step",
    pure=True,
    hints=(
        "What would your function do if the map were negative everywhere? If it were flat? If it "
        "were minus infinity at every place that is left?",
        "Work with the numbers of the unseen places: `(~seen).nonzero().flatten()`. Then nothing "
        "that is seen can be chosen, whatever the map says; but the result must be the number of a "
        "candidate, not its rank among the unseen.",
        "Keep those of the unseen whose map equals the maximum; of these keep those whose distance "
        "to the nearest seen candidate (`torch.cdist(...).amin(-1)`) is the largest; the first of "
        "them it is. Without any seen candidate skip the second step.",
    ),
)


@e3.answer
def greedy_step(model: Callable[[Tensor], Tensor], candidates: Tensor, seen: Tensor) -> int:
    """The number of the candidate to drill next: the unseen one where the map is highest.

    model maps candidates `N d` to their heights `N`; seen, `N` bools, marks those that have been
    drilled. Of several unseen candidates with the same greatest height take the one farthest (in
    Euclidean distance) from the nearest seen candidate; if these distances agree to a fraction of
    1e-9, or nothing is seen yet, take the first. Heights may be infinite. Raise ValueError if all
    candidates are seen, or if the height of an unseen one is NaN.
    """
    free = (~seen).nonzero().flatten()
    heights = model(candidates)[free]
    if len(free) == 0 or bool(heights.isnan().any()):
        raise ValueError("no candidate is left, or the map is not a number")
    best = free[heights == heights.max()]
    if bool(seen.any()):
        mode = "donot_use_mm_for_euclid_dist"
        away = torch.cdist(candidates[best], candidates[seen], compute_mode=mode).amin(-1)
        best = best[away >= (1 - 1e-9) * away.max()]
    return int(best[0])


def _heights(*values: float) -> Any:
    """A map that is a table: one height for each candidate."""
    table = _vector(*values)
    shown = ", ".join(f"{value:g}" for value in values[:12])
    more = ", ..." if len(values) > 12 else ""

    def model(X: Tensor) -> Tensor:
        require(len(X) == len(table), "the map expects all candidates at once")
        return table.clone()

    return _named(f"heights {shown}{more}", model)


def _line(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.float64).unsqueeze(-1)


def _seen(n: int, *which: int) -> Tensor:
    mask = torch.zeros(n, dtype=torch.bool)
    mask[list(which)] = True
    return mask


@e3.cases
def steps(rng: Rng) -> Iterator[Case]:
    yield Case(_heights(1.0), _line(1), _seen(1), note="one candidate")
    yield Case(_heights(1.0), _line(1), _seen(1, 0), raises=ValueError, note="none is left")
    yield Case(_heights(1.0, 2.0), _line(2), _seen(2, 0, 1), raises=ValueError, note="none left")
    nan = math.nan
    yield Case(_heights(1.0, nan, 0.0), _line(3), _seen(3), raises=ValueError, note="a broken map")
    yield Case(_heights(1.0, nan, 0.0), _line(3), _seen(3, 2), raises=ValueError, note="broken")
    yield Case(_heights(1.0, nan, 0.0), _line(3), _seen(3, 1), note="NaN where it does not matter")
    yield Case(_heights(1.0, 3.0, 2.0), _line(3), _seen(3), note="nothing seen")
    yield Case(_heights(1.0, 3.0, 2.0), _line(3), _seen(3, 1), note="the best is seen")
    yield Case(_heights(-3.0, -1.0, -2.0), _line(3), _seen(3, 1), note="a map below zero")
    yield Case(_heights(-3.0, -1.0, -2.0), _line(3), _seen(3, 0, 1), note="a map below zero")
    yield Case(_heights(0.0, 0.0, 0.0, 0.0, 0.0), _line(5), _seen(5), note="flat, nothing seen")
    yield Case(_heights(*[0.0] * 5), _line(5), _seen(5, 0), note="flat")
    yield Case(_heights(*[0.0] * 7), _line(7), _seen(7, 0, 6), note="flat, both ends seen")
    yield Case(_heights(*[0.0] * 5), _line(5), _seen(5, 2), note="flat, the middle seen: a tie")
    yield Case(_heights(5.0, 1.0, 1.0, 1.0, 0.0), _line(5), _seen(5, 0), note="a plateau")
    low = -math.inf
    yield Case(_heights(1.0, low, 2.0, low), _line(4), _seen(4, 0, 2), note="all left are -inf")
    yield Case(_heights(math.inf, 1.0, math.inf, 0.0), _line(4), _seen(4, 0), note="infinite")
    square = torch.cartesian_prod(*[torch.arange(3.0).double()] * 2)
    yield Case(_heights(*[1.0] * 9), square, _seen(9, 0), note="flat, two inputs")
    yield Case(_heights(*[1.0] * 9), square, _seen(9, 0, 8), note="flat, two inputs")
    yield Case(_heights(*[1.0] * 4), _line(4) * 1e-6, _seen(4, 0), note="tiny distances")
    yield Case(_heights(*[1.0] * 4), _line(4) * 1e6, _seen(4, 3), note="large distances")
    corner = _vector(0.0, 0.0, 3.0, 0.0, 2.0, 2.0, 1.0, 1.0).reshape(4, 2)
    yield Case(
        _heights(*[1.0] * 4), corner, _seen(4, 0), note="flat, two inputs: as the crow flies"
    )
    yield Case(_heights(*[1.0] * 4), corner[[0, 2, 1, 3]], _seen(4, 0), note="flat, two inputs")
    long = torch.cat([corner, _vector(0.0, 2.9).reshape(1, 2)])
    yield Case(_heights(*[1.0] * 5), long, _seen(5, 0, 3), note="flat, two inputs")
    for size in (1e-10, 1e-3, 1e7):
        tenths = 0.1 * (1 + _line(5)).flip(0) * size  # gaps that differ in their last digit
        yield Case(_heights(*[1.0] * 5), tenths, _seen(5, 2), note=f"flat, gaps of {size / 10:g}")
        yield Case(_heights(*[1.0] * 5), tenths, _seen(5, 0), note=f"flat, gaps of {size / 10:g}")
    apart = _vector(0.0, 1.0, -1.0 - 1e-7).unsqueeze(-1)
    yield Case(_heights(*[1.0] * 3), apart, _seen(3, 0), note="nearly a tie, and none")
    yield Case(_heights(1.0, 1.0 + 1e-12, 1.0), _line(3), _seen(3, 0), note="nearly equal heights")
    for n in (4, 6, 9):
        for scale in (1.0, 1e-6, 1e6):
            values = [scale * rng.randint(-3, 3) for _ in range(n)]
            which = rng.sample(range(n), rng.randint(1, n - 1))
            yield Case(_heights(*values), _line(n), _seen(n, *which))
    shuffled = _line(40)[torch.tensor(rng.sample(range(40), 40))]
    yield Case(_heights(*[2.0] * 40), shuffled, _seen(40, 3, 17), note="flat, in disorder")


@e3.shape
def _(fn: Fn, model: Map, candidates: Tensor, seen: Tensor) -> None:
    i = fn(model, candidates, seen)
    require(isinstance(i, int) and not isinstance(i, bool), "expected an int")
    require(0 <= i < len(candidates), "not the number of a candidate")


@e3.property("what has been seen is not drilled again")
def _(fn: Fn, model: Map, candidates: Tensor, seen: Tensor) -> None:
    require(not bool(seen[fn(model, candidates, seen)]), "this candidate has been drilled before")


@e3.property("no unseen candidate is higher on the map")
def _(fn: Fn, model: Map, candidates: Tensor, seen: Tensor) -> None:
    heights, i = model(candidates), fn(model, candidates, seen)
    require(bool((heights[~seen] <= heights[i]).all()), "a higher one is left")


@e3.property("the numbers of the candidates decide nothing but ties: backwards, the same place")
def _(fn: Fn, model: Map, candidates: Tensor, seen: Tensor) -> None:
    i = fn(model, candidates, seen)
    back = _named(
        f"{getattr(model, '__name__', 'a map')}, backwards", lambda X: model(X.flip(0)).flip(0)
    )
    j = len(seen) - 1 - fn(back, candidates.flip(0), seen.flip(0))
    heights = model(candidates)
    close(heights[j], heights[i], 0)
    if bool(seen.any()):
        gaps = (candidates.unsqueeze(1) - candidates[seen]).square().sum(-1).sqrt().amin(-1)
        close(gaps[j], gaps[i], 1e-9, relative=True)


@e3.value("a loop over the candidates")
def _(fn: Fn, model: Map, candidates: Tensor, seen: Tensor) -> None:
    heights, best, key = model(candidates).tolist(), -1, 0.0
    done = [x for x, gone in zip(candidates.tolist(), seen.tolist(), strict=True) if gone]
    top = max((h for h, gone in zip(heights, seen.tolist(), strict=True) if not gone), default=0.0)
    for i, x in enumerate(candidates.tolist()):
        if bool(seen[i]) or heights[i] != top:
            continue
        gap = min((math.dist(x, other) for other in done), default=0.0)
        if best < 0 or gap > key * (1 + 1e-9):
            best, key = i, gap
    require(fn(model, candidates, seen) == best, "another candidate is the right one")


def _check(heights: Tensor, seen: Tensor) -> None:
    if bool(seen.all()) or bool(heights[~seen].isnan().any()):
        raise ValueError("no candidate is left, or the map is not a number")


@e3.wrong("drills where the map is highest, seen or not")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    _check(model(candidates), seen)
    return int(model(candidates).nan_to_num(nan=-math.inf).argmax())


@e3.wrong("multiplies the map by the mask: zero is not low where all else is negative")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    _check(model(candidates), seen)
    return int((model(candidates).nan_to_num() * (~seen)).argmax())


@e3.wrong("minus infinity for what is seen, and the first of equals")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    _check(model(candidates), seen)
    return int(model(candidates).masked_fill(seen, -math.inf).argmax())


@e3.wrong("returns the rank among the unseen candidates")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    _check(model(candidates), seen)
    return int(model(candidates)[~seen].argmax())


@e3.wrong("minimises")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    return greedy_step(lambda X: -model(X), candidates, seen)


def _by_distance(
    model: Map, candidates: Tensor, seen: Tensor, sign: float = 1.0, **how: float
) -> int:
    """The step with another distance (p), or an absolute slack instead of a fraction."""
    heights = model(candidates)
    _check(heights, seen)
    free = (~seen).nonzero().flatten()
    best = free[heights[free] >= heights[free].max() - how.get("blur", 0.0)]
    if bool(seen.any()):
        gaps = (candidates[best].unsqueeze(1) - candidates[seen]).abs()
        away = sign * torch.linalg.vector_norm(gaps, how.get("p", 2.0), dim=-1).amin(-1)
        best = best[away >= away.max() - how.get("slack", 0.0)]
    return int(best[0])


@e3.wrong("distances along the axes (Manhattan)")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    return _by_distance(model, candidates, seen, p=1.0)


@e3.wrong("the largest difference of a coordinate for the distance")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    return _by_distance(model, candidates, seen, p=math.inf)


@e3.wrong("an absolute tolerance for distances: all are equal where they are tiny")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    return _by_distance(model, candidates, seen, slack=1e-9)


@e3.wrong("distances that must agree to the last digit")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    return _by_distance(model, candidates, seen)


@e3.wrong("a tolerance for heights, of which the statement knows nothing")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    return _by_distance(model, candidates, seen, slack=1e-9, blur=1e-9)


@e3.wrong("the distance in the first input only")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    first = torch.nn.functional.pad(candidates[:, :1], (0, candidates.shape[-1] - 1))
    return greedy_step(lambda X: model(candidates), first, seen)


@e3.wrong("of equals the one nearest to what is seen")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    return _by_distance(model, candidates, seen, -1.0)


@e3.wrong("farthest from the mean of the seen places instead of from the nearest of them")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    heights = model(candidates)
    _check(heights, seen)
    free = (~seen).nonzero().flatten()
    best = free[heights[free] == heights[free].max()]
    if bool(seen.any()):
        away = (candidates[best] - candidates[seen].mean(0)).square().sum(-1)
        return int(best[away.argmax()])
    return int(best[0])


@e3.wrong("does not notice a map that is not a number")
def _(model: Map, candidates: Tensor, seen: Tensor) -> int:
    if bool(seen.all()):
        raise ValueError("no candidate is left")
    return greedy_step(lambda X: model(X).nan_to_num(nan=-math.inf), candidates, seen)


# --- e4: a fair comparison --------------------------------------------------------------------

e4 = Exercise(
    id="p3.t1.e4",
    title="A fair comparison",
    hints=(
        "Write a function that drills and keeps the books, and give a method that function and "
        "nothing else. Which three things must it write down?",
        "One set of books for each method and each seed. Note a refusal when it happens: a method "
        "may catch your error and say nothing. Note values when they are measured, and hand out "
        "copies: a method may change what it gets.",
        "In a helper run(method, seed): the number of drills left, a list of values, a flag. If "
        "the rows asked exceed what is left, set the flag, measure nothing and raise. Swallow the "
        "error outside only if the flag is set; then nothing is left, for who kept the drill. Read "
        "the flags when all have run. `cummax`, after padding with minus infinity, gives the row.",
    ),
)


@e4.answer
def fair_compare(
    methods: dict[str, Callable[..., object]],
    f: Callable[[Tensor], Tensor],
    bounds: Tensor,
    budget: int,
    seeds: Sequence[int],
) -> dict[str, Tensor | None]:
    """Run each method once under each seed, with `budget` drills, and report the best value so far.

    f maps places `n d` within bounds, `2 d`, to values `n`, without noise. A method is called as
    method(drill, bounds, budget, seed) and calls drill, a function from `n d` to `n`, as often as
    it likes; each row counts as one drill. Its own return value does not matter. If the rows of a
    call exceed what is left, drill measures none of them and raises an error; after its run nothing
    is left of a drill that a method has kept. A method that makes a call for more than is left,
    under any seed, is disqualified, also if it catches the error and goes on. Return for
    each name None if it is disqualified; otherwise a float64 table (len(seeds), budget) whose entry
    [i, k] is the best value among the first k + 1 drills under seeds[i]: minus infinity before the
    first, unchanged after the last. Methods are not to be trusted: what one does, to its own copies
    of values and bounds for example, must change neither the books nor another run.
    """

    def run(method: Callable[..., object], seed: int) -> tuple[Tensor, list[bool]]:
        left, refused = budget, [False]  # refused may still change after the run
        values: list[Tensor] = []

        def drill(X: Tensor) -> Tensor:
            nonlocal left
            if len(X) > left:
                refused[0] = True
                raise RuntimeError(f"{len(X)} drills asked for, {left} left")
            left -= len(X)
            values.append(f(X.clone()).clone())
            return values[-1].clone()

        try:
            method(drill, bounds.clone(), budget, seed)
        except RuntimeError:
            if not refused[0]:
                raise
        left = 0
        best = torch.full((budget,), -math.inf, dtype=torch.float64)
        if values:
            y = torch.cat(values)
            best[: len(y)] = y
        return best.cummax(0).values, refused

    runs = {name: [run(method, seed) for seed in seeds] for name, method in methods.items()}
    fair = {name: not any(flag[0] for _, flag in rows) for name, rows in runs.items()}
    return {
        name: torch.stack([row for row, _ in rows]) if fair[name] else None
        for name, rows in runs.items()
    }


def _hill(X: Tensor) -> Tensor:
    return -(X - 0.3).square().sum(-1)


def _ripples(X: Tensor) -> Tensor:
    return (torch.sin(9 * X) - X).sum(-1)


def _ledge(X: Tensor) -> Tensor:
    return (X > 0.5).double().sum(-1)


def _draws(n: int, bounds: Tensor, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    u = torch.rand(n, bounds.shape[-1], generator=g, dtype=torch.float64)
    return bounds[0] + u * (bounds[1] - bounds[0])


def _at_once(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """All drills in one call."""
    drill(_draws(budget, bounds, seed))


def _one_by_one(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Drills one at a time, each around the best so far."""
    best, top = _draws(1, bounds, seed), -math.inf
    for k in range(budget):
        x = _draws(1, bounds, 1000 * seed + k)
        x = x if k == 0 else 0.5 * (x + best)
        value = float(drill(x))
        best, top = (x, value) if value > top else (best, top)


def _lazy(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Stops after half of the budget."""
    drill(_draws((budget + 1) // 2, bounds, seed))


def _idle(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Drills nothing."""


def _boaster(drill: Map, bounds: Tensor, budget: int, seed: int) -> Tensor:
    """Returns values that it never found."""
    drill(_draws(budget, bounds, seed))
    return torch.full((budget,), 1e6, dtype=torch.float64)


def _embellisher(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Changes the values that it was given."""
    for x in _draws(budget, bounds, seed):
        drill(x.unsqueeze(0)).add_(100.0)


def _fence_mover(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Changes the bounds that it was given."""
    drill(_draws(budget, bounds, seed))
    bounds[1] = bounds[0] + 0.25 * (bounds[1] - bounds[0])


def _glutton(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Asks for more than it may, in one call."""
    drill(_draws(budget + 3, bounds, seed))


def _one_more(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Uses its budget and asks for one more."""
    _at_once(drill, bounds, budget, seed)
    drill(_draws(1, bounds, seed + 1))


def _quiet_peeker(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Asks for more, catches the refusal, and goes on within its budget."""
    try:
        drill(_draws(50 * budget, bounds, seed))
    except Exception:
        _at_once(drill, bounds, budget, seed)


def _late_peeker(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Uses its budget, then tries for more and says nothing about the refusal."""
    _at_once(drill, bounds, budget, seed)
    for k in range(3):
        try:
            drill(_draws(1, bounds, seed + k))
        except Exception:
            continue


def _sometimes(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Peeks under odd seeds only."""
    (_late_peeker if seed % 2 else _at_once)(drill, bounds, budget, seed)


def _saver(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Drills nothing under even seeds, and twice its budget under odd ones."""
    if seed % 2:
        drill(_draws(2 * budget, bounds, seed))


_KEPT: list[Map] = []


def _hoarder(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Drills little under even seeds, and goes on with that drill under the next odd one."""
    drill(_draws(budget if seed % 2 else 1, bounds, seed))
    if seed % 2 == 0:
        _KEPT[:] = [drill]
    for old in _KEPT if seed % 2 else ():
        try:
            old(_draws(1, bounds, seed + 1))
        except Exception:
            continue
    if seed % 2:
        _KEPT.clear()


def _failing(drill: Map, bounds: Tensor, budget: int, seed: int) -> None:
    """Asks for too much in its last call, and does not catch the refusal."""
    drill(_draws(budget - 1, bounds, seed))
    drill(_draws(2, bounds, seed + 1))


_HONEST: dict[str, Method] = {
    "at once": _at_once,
    "one by one": _one_by_one,
    "lazy": _lazy,
    "idle": _idle,
    "boaster": _boaster,
    "embellisher": _embellisher,
    "fence mover": _fence_mover,
}
_PEEKERS: dict[str, Method] = {
    "glutton": _glutton,
    "one more": _one_more,
    "quiet peeker": _quiet_peeker,
    "late peeker": _late_peeker,
    "method that fails": _failing,
}
_UNDER_ODD_SEEDS: dict[str, Method] = {
    "sometimes": _sometimes,
    "saver": _saver,
    "hoarder": _hoarder,
}


def _field(*names: str) -> dict[str, Method]:
    return {name: (_HONEST | _PEEKERS | _UNDER_ODD_SEEDS)[name] for name in names}


def _box(d: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    return torch.tensor([[low] * d, [high] * d], dtype=torch.float64)


@e4.cases
def races(rng: Rng) -> Iterator[Case]:
    yield Case(_field("at once"), _hill, _box(1), 1, [0], note="one method, one drill, one seed")
    for name in _HONEST:
        yield Case(_field(name), _hill, _box(1), 3, [0, 1], note=name)
    for name in _PEEKERS:
        yield Case(_field(name), _hill, _box(1), 3, [0, 1], note=name)
    yield Case(_field("sometimes"), _hill, _box(1), 2, [0, 2], note="peeks under odd seeds")
    yield Case(_field("sometimes"), _hill, _box(1), 2, [0, 1, 2], note="peeks under odd seeds")
    yield Case(_field("saver"), _hill, _box(1), 2, [0, 1], note="saves for another run")
    yield Case(_field("hoarder"), _hill, _box(1), 3, [0, 1], note="keeps another seed's drill")
    yield Case(_field("hoarder", "lazy"), _hill, _box(1), 4, [2, 1], note="keeps a drill")
    yield Case(_field("fence mover", "at once"), _hill, _box(1), 4, [3, 3], note="in company")
    yield Case(_field("late peeker", "one by one"), _ripples, _box(2), 4, [5, 2], note="in company")
    yield Case(_field("embellisher", "boaster"), _ripples, _box(2), 4, [7], note="in company")
    yield Case(_field("at once", "lazy"), _ledge, _box(1), 5, [1, 0, 4], note="ties")
    for scale in (1e-6, 1e6):
        stretched = _named(f"{scale:g} times ripples", lambda X, s=scale: s * _ripples(X))
        yield Case(_field("one by one", "at once"), stretched, _box(1), 5, [0, 1])
    yield Case(_field("at once"), _hill, _box(3, -1e6, 1e6), 4, [0], note="a wide box")
    for _ in range(5):
        names = [*rng.sample(sorted(_HONEST), 2), rng.choice(sorted(_PEEKERS))]
        rng.shuffle(names)
        seeds = [rng.randint(0, 99) for _ in range(rng.randint(1, 3))]
        f = rng.choice((_hill, _ripples, _ledge))
        yield Case(_field(*names), f, _box(rng.randint(1, 2)), rng.randint(2, 6), seeds)


def _peeks(method: Method, seeds: Sequence[int]) -> bool:
    odd = any(seed % 2 for seed in seeds)
    return method in _PEEKERS.values() or (odd and method in _UNDER_ODD_SEEDS.values())


Args = tuple[dict[str, Method], Map, Tensor, int, Sequence[int]]


@e4.shape
def _(fn: Fn, *args: Any) -> None:
    methods, _, _, budget, seeds = args
    result = fn(*args)
    require(isinstance(result, dict), "expected a dict")
    require(list(result) == list(methods), "expected one entry for each method, in their order")
    for table in result.values():
        if table is not None:
            has_shape(table, (len(seeds), budget), torch.float64)


@e4.property("a method that asked for more than its budget is disqualified, even if it kept quiet")
def _(fn: Fn, *args: Any) -> None:
    methods, *_, seeds = args
    result = fn(*args)
    for name, method in methods.items():
        if _peeks(method, seeds):
            require(result[name] is None, f"{name!r} peeked and was not flagged")


@e4.property("a method that kept to its budget is not disqualified")
def _(fn: Fn, *args: Any) -> None:
    methods, *_, seeds = args
    result = fn(*args)
    for name, method in methods.items():
        if not _peeks(method, seeds):
            require(result[name] is not None, f"{name!r} was flagged and is innocent")


@e4.property("f is asked for no more places than the budgets of all runs together")
def _(fn: Fn, *args: Any) -> None:
    methods, f, bounds, budget, seeds = args
    asked: list[int] = []

    def counting(X: Tensor) -> Tensor:
        asked.append(len(X))
        values: Tensor = f(X)
        return values

    fn(methods, _named(f.__name__, counting), bounds, budget, seeds)
    require(sum(asked) <= budget * len(seeds) * len(methods), "more was measured than was paid for")
    if set(methods) <= {"at once", "one by one", "boaster", "embellisher", "fence mover"}:
        require(sum(asked) == budget * len(seeds) * len(methods), "not all that was asked for")


@e4.property("of a call that asks for more than is left nothing is measured")
def _(fn: Fn, *args: Any) -> None:
    methods, f, bounds, budget, seeds = args
    too_much = [False]

    def watched(X: Tensor) -> Tensor:
        require(not too_much[0], "a call for more than was left has measured something")
        values: Tensor = f(X)
        return values

    def spied(method: Method) -> Method:
        def spy(drill: Map, box: Tensor, allowed: int, seed: int) -> None:
            left = [allowed]

            def counted(X: Tensor) -> Tensor:
                too_much[0] = len(X) > left[0]
                try:
                    values = drill(X)
                finally:
                    too_much[0] = False
                left[0] -= len(X)
                return values

            method(counted, box, allowed, seed)

        return spy

    honest = {name: spied(method) for name, method in methods.items() if method is not _hoarder}
    if honest:
        fn(honest, _named(f.__name__, watched), bounds, budget, seeds)


@e4.property("each method does as well in company as alone, and the order does not matter")
def _(fn: Fn, *args: Any) -> None:
    methods, *rest = args
    together = fn(methods, *[r.clone() if isinstance(r, Tensor) else r for r in rest])
    for name in reversed(list(methods)):
        alone = fn({name: methods[name]}, *rest)[name]
        if alone is None or together[name] is None:
            require(alone is together[name] is None, f"{name!r} is flagged in company only")
        else:
            close(together[name], alone, 0)


@e4.property("rows never fall, and the bounds that came in are left alone")
def _(fn: Fn, *args: Any) -> None:
    bounds = args[2].clone()
    for table in fn(*args).values():
        if table is not None:
            require(bool((table[:, 1:] >= table[:, :-1]).all()), "a best value that falls")
    close(args[2], bounds, 0)


@e4.value("a replay of what each method drills")
def _(fn: Fn, *args: Any) -> None:
    methods, f, bounds, budget, seeds = args
    result = fn(methods, f, bounds.clone(), budget, seeds)
    for name, method in methods.items():
        if _peeks(method, seeds):
            continue
        for i, seed in enumerate(seeds):
            drilled: list[float] = []

            def drill(X: Tensor, drilled: list[float] = drilled) -> Tensor:
                values: Tensor = f(X)
                drilled.extend(values.tolist())
                return values

            method(drill, bounds.clone(), budget, seed)
            best = [max(drilled[: k + 1], default=-math.inf) for k in range(budget)]
            close(result[name][i], _vector(*best), 1e-12, relative=True)


def _judge(
    args: Args,
    *,
    flags: bool = True,
    copies: bool = True,
    shared: bool = False,
    trusts: bool = False,
    measures: bool = False,
    running: bool = True,
    lenient: bool = False,
    same_seed: bool = False,
    part: bool = False,
    closes: bool = True,
) -> dict[str, Tensor | None]:
    """A comparison with one flaw."""
    methods, f, bounds, budget, seeds = args
    results: dict[str, Tensor | None] = {}
    for name, method in methods.items():
        rows, fair, purse = [], [], [budget * len(seeds)]
        for seed in seeds:
            left = purse if shared else [budget]
            values: list[Tensor] = []
            honest = [True]

            def drill(
                X: Tensor,
                values: list[Tensor] = values,
                left: list[int] = left,
                honest: list[bool] = honest,
            ) -> Tensor:
                if len(X) > left[0]:
                    honest[0] = False
                    if part:
                        f(X[: left[0]])
                    if not measures:
                        raise RuntimeError("the budget is spent")
                left[0] -= len(X)
                values.append(f(X))
                return values[-1].clone() if copies else values[-1]

            told, raised = None, False
            try:
                told = method(
                    drill, bounds.clone() if copies else bounds, budget,
                    seeds[0] if same_seed else seed,
                )  # fmt: skip
            except RuntimeError:
                raised = True
            if closes and not shared:
                left[0] = 0
            if trusts and isinstance(told, Tensor):
                values[:] = [told]
            y = torch.cat([*values, _vector()])[:budget]
            pad = torch.full((budget - len(y),), -math.inf, dtype=torch.float64)
            row = torch.cat([y, pad])
            rows.append(row.cummax(0).values if running else row)
            fair.append([not raised] if not flags else honest)
        kept = any(ok[0] for ok in fair) if lenient else all(ok[0] for ok in fair)
        results[name] = torch.stack(rows) if kept else None
    return results


@e4.wrong("measures what is left of a call that asks for more")
def _(*args: Any) -> dict[str, Tensor | None]:
    return _judge(args, part=True)


@e4.wrong("a drill that was kept still works under the next seed")
def _(*args: Any) -> dict[str, Tensor | None]:
    return _judge(args, closes=False)


@e4.wrong("flags a method only if the refusal reaches the referee")
def _(*args: Any) -> dict[str, Tensor | None]:
    return _judge(args, flags=False)


@e4.wrong("measures what is beyond the budget and only leaves it out of the table")
def _(*args: Any) -> dict[str, Tensor | None]:
    return _judge(args, flags=False, measures=True)


@e4.wrong("measures first and disqualifies afterwards: the peeker has seen what it wanted")
def _(*args: Any) -> dict[str, Tensor | None]:
    return _judge(args, measures=True)


@e4.wrong("one purse for all seeds")
def _(*args: Any) -> dict[str, Tensor | None]:
    return _judge(args, shared=True)


@e4.wrong("hands out the books themselves, to be embellished, and the fence, to be moved")
def _(*args: Any) -> dict[str, Tensor | None]:
    return _judge(args, copies=False)


@e4.wrong("believes what a method reports")
def _(*args: Any) -> dict[str, Tensor | None]:
    return _judge(args, trusts=True)


@e4.wrong("values in the order of drilling instead of the best so far")
def _(*args: Any) -> dict[str, Tensor | None]:
    return _judge(args, running=False)


@e4.wrong("forgives a method that was honest under one seed")
def _(*args: Any) -> dict[str, Tensor | None]:
    return _judge(args, lenient=True)


@e4.wrong("the first seed for all runs")
def _(*args: Any) -> dict[str, Tensor | None]:
    return _judge(args, same_seed=True)
