"""The exercises of part_2/tutorial_05: curvature-aware and batched optimisers."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require

Loss = Callable[[Tensor], Tensor]


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def _named(name: str, fn: Loss) -> Loss:
    fn.__name__ = name
    return fn


def _grid(rng: Rng, *shape: int) -> Tensor:
    """Numbers in [-2, 2] with one decimal, none of them zero."""
    x = (rng.uniform_in(-2.0, 2.0, *shape) * 10).round() / 10
    return torch.where(x == 0, 0.1, x)


# --- e1: two loops ----------------------------------------------------------------------------

e1 = Exercise(
    id="p2.t5.e1",
    title="P times a vector, without P",
    pure=True,
    hints=(
        "Write down what the recursion of section 3 does for two pairs, line by line. In which "
        "order does it meet the pairs on the way in, and in which on the way out?",
        "On the way in, from the newest pair to the oldest, keep each a = (s · q)/(s · y) and take "
        "a y off q. Scale by γ. On the way out, from the oldest to the newest, add (a - b) s, "
        "where b = (y · r)/(s · y).",
        "For rows all products are sums over the last axis, kept as an axis of size 1. Let "
        "c = 1/(s · y) where that is usable and 0 elsewhere: with c in front of both corrections "
        "an absent pair changes nothing. γ is chosen row by row while you walk through the pairs.",
    ),
)


@e1.answer
def two_loop(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    """P g for many rows at once, P the BFGS matrix of each row's own pairs, without building P.

    g has shape `... d`; S and Y hold the pairs (s, y), `k ... d`, the oldest first, and k may be 0.
    Before the first pair P is γ I, with γ = s·y / y·y of the newest pair that is usable. A pair is
    usable in a row if s·y > 1e-10 |s| |y| there; for that row other pairs count as absent. A row
    without usable pairs has γ = 1. Return `... d`.
    """
    sy = (S * Y).sum(-1, keepdim=True)
    yy = Y.square().sum(-1, keepdim=True)
    usable = sy > 1e-10 * (S.square().sum(-1, keepdim=True) * yy).sqrt()
    c = torch.where(usable, 1 / torch.where(usable, sy, 1.0), 0.0)
    gamma = torch.ones_like(g[..., :1])
    for i in range(len(S)):
        gamma = torch.where(usable[i], sy[i] / torch.where(usable[i], yy[i], 1.0), gamma)
    q, kept = g, []
    for i in reversed(range(len(S))):
        kept.append(c[i] * (S[i] * q).sum(-1, keepdim=True))
        q = q - kept[-1] * Y[i]
    r = gamma * q
    for i in range(len(S)):
        b = c[i] * (Y[i] * r).sum(-1, keepdim=True)
        r = r + (kept[len(S) - 1 - i] - b) * S[i]
    return r


def _pairs(rng: Rng, k: int, *shape: int) -> tuple[Tensor, Tensor]:
    """Pairs from one bowl for each row, so that all are usable."""
    d = shape[-1]
    root = rng.normal(*shape[:-1], d, d)
    H = root @ root.mT + torch.eye(d, dtype=torch.float64)
    S = _grid(rng, k, *shape)
    return S, (H @ S.unsqueeze(-1)).squeeze(-1)


@e1.cases
def memories(rng: Rng) -> Iterator[Case]:
    yield Case(_vector(3.0), torch.zeros(0, 1).double(), torch.zeros(0, 1).double(), note="k = 0")
    one, bent = _vector(1.0, 0.0), _vector(2.0, 1.0)
    yield Case(_vector(4.0), _vector(1.0)[None], _vector(2.0)[None], note="d = 1")
    yield Case(_vector(1.0, 1.0), one[None], bent[None], note="one pair")
    yield Case(bent, one[None], bent[None], note="g is the only y")
    yield Case(_vector(1.0, 2.0), one[None], -bent[None], note="s·y is negative: absent")
    yield Case(_vector(1.0, 2.0), 0 * one[None], 0 * bent[None], note="s = y = 0: absent")
    yield Case(_vector(1.0, 2.0), one[None], _vector(0.0, 1.0)[None], note="s·y = 0: absent")
    yield Case(_vector(1.0, 2.0), one[None], _vector(1e-8, 1.0)[None], note="cosine 1e-8: usable")
    yield Case(_vector(1.0, 2.0), one[None], _vector(1e-12, 1.0)[None], note="cosine 1e-12: absent")
    turned = _vector(1.0, 3.0)
    mixed = torch.stack([one, _vector(0.0, 1.0)]), torch.stack([bent, -turned])
    yield Case(_vector(1.0, 2.0), *mixed, note="the newest pair is absent")
    yield Case(_vector(1.0, 2.0), mixed[0].flip(0), mixed[1].flip(0), note="the oldest is absent")
    S, Y = _pairs(rng, 3, 3, 2)
    Y[1, 0], Y[2, 1], S[0, 2] = -Y[1, 0], 0.0, 0.0
    yield Case(_grid(rng, 3, 2), S, Y, note="absent pairs differ from row to row")
    for scale in (1e-6, 1e6):
        S, Y = _pairs(rng, 2, 2)
        yield Case(_grid(rng, 2), scale * S, Y, note=f"steps of size {scale:g}")
        yield Case(_grid(rng, 2), S, scale * Y, note=f"gradients of size {scale:g}")
    for k, d in ((1, 2), (2, 2), (2, 3), (3, 3), (4, 2), (10, 4)):
        yield Case(_grid(rng, d), *_pairs(rng, k, d))
    for k, *shape in ((1, 2, 2), (2, 3, 2), (3, 2, 3), (2, 2, 2, 3), (2, 3, 3)):
        yield Case(_grid(rng, *shape), *_pairs(rng, k, *shape), note="several rows")


def _good(s: Tensor, y: Tensor) -> bool:
    return bool(s @ y > 1e-10 * s.norm() * y.norm())


def _explicit(S: Tensor, Y: Tensor) -> Tensor:
    """P of one row: S and Y are `k d`."""
    pairs = [(s, y) for s, y in zip(S, Y, strict=True) if _good(s, y)]
    eye = torch.eye(S.shape[-1], dtype=torch.float64)
    gamma = float(pairs[-1][0] @ pairs[-1][1] / pairs[-1][1].square().sum()) if pairs else 1.0
    P = gamma * eye
    for s, y in pairs:
        V = eye - torch.outer(y, s) / (s @ y)
        P = V.T @ P @ V + torch.outer(s, s) / (s @ y)
    return P


def _rows(g: Tensor, S: Tensor, Y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    d = g.shape[-1]
    n = g.numel() // d
    flat = g.reshape(n, d), S.reshape(len(S), n, d), Y.reshape(len(Y), n, d)
    for i in range(n):
        yield flat[0][i], flat[1][:, i], flat[2][:, i]


@e1.shape
def _(fn: Fn, g: Tensor, S: Tensor, Y: Tensor) -> None:
    has_shape(fn(g, S, Y), tuple(g.shape), torch.float64)


@e1.property("the secant condition: P takes the newest usable y to its s")
def _(fn: Fn, g: Tensor, S: Tensor, Y: Tensor) -> None:
    for _, s, y in _rows(g, S, Y):
        good = [i for i in range(len(s)) if _good(s[i], y[i])]
        if good:
            close(fn(y[good[-1]], s, y), s[good[-1]], 1e-8, relative=True)


@e1.property("P is symmetric: a · (P b) = b · (P a)")
def _(fn: Fn, g: Tensor, S: Tensor, Y: Tensor) -> None:
    other = g.flip(-1) + torch.arange(g.shape[-1], dtype=g.dtype)
    one, two = (g * fn(other, S, Y)).sum(-1), (other * fn(g, S, Y)).sum(-1)
    size = float(one.abs().max()) + float((g * fn(g, S, Y)).sum(-1).abs().max())
    close(one / size, two / size, 1e-8)


@e1.property("downhill: g · (P g) > 0 wherever g is not zero")
def _(fn: Fn, g: Tensor, S: Tensor, Y: Tensor) -> None:
    require((g * fn(g, S, Y)).sum(-1) > 0, "g · (P g) is not positive in some row")


@e1.value("the explicit matrix, row by row")
def _(fn: Fn, g: Tensor, S: Tensor, Y: Tensor) -> None:
    result = fn(g, S, Y).reshape(-1, g.shape[-1])
    for row, (v, s, y) in zip(result, _rows(g, S, Y), strict=True):
        close(row, _explicit(s, y) @ v, 1e-8, relative=True)


def _loops(
    g: Tensor, S: Tensor, Y: Tensor, *, first: str = "newest", scale: str = "newest", sign: int = 1
) -> Tensor:
    """The recursion with one part of it exchanged."""
    sy = (S * Y).sum(-1, keepdim=True)
    order = list(range(len(S)))
    if first == "newest":
        order.reverse()
    q, a = g, {}
    for i in order:
        a[i] = (S[i] * q).sum(-1, keepdim=True) / sy[i]
        q = q - a[i] * Y[i]
    if len(S) and scale != "none":
        k = -1 if scale == "newest" else 0
        q = q * sy[k] / Y[k].square().sum(-1, keepdim=True)
    for i in reversed(order):
        q = q + (a[i] - sign * (Y[i] * q).sum(-1, keepdim=True) / sy[i]) * S[i]
    return q


@e1.wrong("divides by s·y wherever it is not usable")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    return _loops(g, S, Y)


@e1.wrong("the oldest pair first on the way in")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    return _loops(g, S, Y, first="oldest")


@e1.wrong("no γ: starts from the identity")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    return _loops(g, S, Y, scale="none")


@e1.wrong("γ from the oldest pair")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    return _loops(g, S, Y, scale="oldest")


@e1.wrong("the second correction with the wrong sign")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    return _loops(g, S, Y, sign=-1)


@e1.wrong("s and y exchanged: an estimate of H, not of its inverse")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    return two_loop(g, Y, S)


@e1.wrong("a pair that is absent in one row is dropped for all rows")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    good = (S * Y).sum(-1) > 1e-10 * S.norm(dim=-1) * Y.norm(dim=-1)
    keep = good.reshape(len(S), g.numel() // g.shape[-1]).all(-1)
    return two_loop(g, S[keep], Y[keep])


@e1.wrong("sums over all rows: one memory for everybody")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    return two_loop(g.flatten(), S.flatten(1), Y.flatten(1)).reshape(g.shape)


def _with_threshold(g: Tensor, S: Tensor, Y: Tensor, least: float) -> Tensor:
    """The model answer, but a pair is usable from another cosine on."""
    cosine = (S * Y).sum(-1, keepdim=True) / (S.norm(dim=-1) * Y.norm(dim=-1)).unsqueeze(-1)
    keep = cosine > least
    return two_loop(g, torch.where(keep, S, 0.0), torch.where(keep, Y, 0.0))


@e1.wrong("usable from a cosine of 1e-6 on")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    return _with_threshold(g, S, Y, 1e-6)


@e1.wrong("usable wherever s·y is positive")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    usable = (S * Y).sum(-1) > 0
    rows = [_explicit_of(s[good], y[good]) @ v for v, s, y, good in _masked(g, S, Y, usable)]
    return torch.stack(rows).reshape(g.shape)


def _masked(
    g: Tensor, S: Tensor, Y: Tensor, usable: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    flat = usable.reshape(len(S), -1)
    for i, (v, s, y) in enumerate(_rows(g, S, Y)):
        yield v, s, y, flat[:, i]


def _explicit_of(S: Tensor, Y: Tensor) -> Tensor:
    """P of one row from all of its pairs."""
    eye = torch.eye(S.shape[-1], dtype=torch.float64)
    P = eye * (S[-1] @ Y[-1] / Y[-1].square().sum()) if len(S) else eye
    for s, y in zip(S, Y, strict=True):
        V = eye - torch.outer(y, s) / (s @ y)
        P = V.T @ P @ V + torch.outer(s, s) / (s @ y)
    return P


@e1.wrong("s·y compared with 1e-10, whatever the units")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    keep = (S * Y).sum(-1, keepdim=True) > 1e-4
    return two_loop(g, torch.where(keep, S, 0.0), torch.where(keep, Y, 0.0))


@e1.wrong("γ = s·s / s·y")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    factor = torch.ones_like(g[..., :1])
    if len(S):
        sy = (S[-1] * Y[-1]).sum(-1, keepdim=True)
        ratio = S[-1].square().sum(-1, keepdim=True) * Y[-1].square().sum(-1, keepdim=True) / sy**2
        factor = torch.where(sy > 0, ratio, 1.0)
    return factor * two_loop(g, S, Y)


@e1.wrong("only the newest pair")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    return two_loop(g, S[-1:], Y[-1:])


@e1.wrong("the sign of a step: downhill")
def _(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    return -two_loop(g, S, Y)


# --- e2: Armijo's rule ------------------------------------------------------------------------

e2 = Exercise(
    id="p2.t5.e2",
    title="Not too far, for everybody",
    pure=True,
    hints=(
        "Each row has a length of its own. What changes it, and what must not?",
        "Compute f(x) and the derivative ∇f · p along the step of each row once. Then try all rows "
        "at their own lengths, and halve the lengths of those that fail, at most thirty times.",
        "Write the test so that NaN fails it: `value <= bound` is False for NaN. Rows that still "
        "fail after 2^-30 get 0, and so do rows whose g · p is not negative. And minus infinity?",
    ),
)


@e2.answer
def armijo(f: Callable[[Tensor], Tensor], x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    """For each row the largest η of 1, 1/2, 1/4, ..., 2^-30 that Armijo's condition allows.

    f maps points `... d` to losses `...`, each row by itself; x, its gradients g and the
    directions p have shape `... d`. The condition is f(x + η p) <= f(x) + 1e-4 η (g · p). Return
    `...`. A row gets 0 where g · p is not negative, or no such η is allowed; a loss that is NaN
    or infinite is not allowed.
    """
    before, slope = f(x), (g * p).sum(-1)
    eta, done = torch.ones_like(before), torch.zeros_like(before, dtype=torch.bool)
    for _ in range(31):
        there = f(x + eta.unsqueeze(-1) * p)
        done = done | (there.isfinite() & (there <= before + 1e-4 * eta * slope))
        eta = torch.where(done, eta, eta / 2)
    return torch.where(done & (slope < 0), eta, 0.0)


def _square() -> Loss:
    return _named("x·x", lambda x: x.square().sum(-1))


def _quartic() -> Loss:
    return _named("the sum of x^4", lambda x: (x**4).sum(-1))


def _bent() -> Loss:
    return _named(
        "100 (x2 - x1^2)^2 + (1 - x1)^2",
        lambda x: 100 * (x[..., 1] - x[..., 0] ** 2) ** 2 + (1 - x[..., 0]) ** 2,
    )


def _bottomless() -> Loss:
    return _named("the sum of x + ln |x|, -inf at 0", lambda x: (x + x.abs().log()).sum(-1))


def _logarithm() -> Loss:
    return _named("the sum of x - ln x, NaN for x < 0", lambda x: (x - x.log()).sum(-1))


def _search(f: Loss, x: Tensor, P: float | Tensor = 1.0, p: Tensor | None = None) -> Case:
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(f(z).sum(), z)
    return Case(f, x, g, -P * g if p is None else p)


def _noted(case: Case, note: str) -> Case:
    return Case(*case.args, note=note)


@e2.cases
def searches(rng: Rng) -> Iterator[Case]:
    f, one = _square(), _vector(1.0)
    yield _noted(_search(f, one, 0.5), "the whole step arrives")
    yield _noted(_search(f, one, 0.9999999), "falls, but by too little of what was promised")
    yield _noted(_search(f, one, 1.0), "lands as high as it started")
    yield _noted(_search(f, one, 8.0), "much too long")
    yield _noted(_search(f, one, -0.5), "uphill")
    yield _noted(_search(f, one, 1e-3), "a short step: no lengthening")
    yield _noted(_search(f, one, p=_vector(0.0)), "no direction")
    yield _noted(_search(f, _vector(0.0)), "at the bottom")
    yield _noted(_search(f, one, 2.0**40), "too long even by 2^30")
    yield _noted(_search(f, one, 0.75 * 2.0**30), "the last length, 2^-30")
    yield _noted(_search(f, one, 0.75 * 2.0**31), "2^-31 would do, and is not asked for")
    yield _noted(_search(_bottomless(), one, p=_vector(-1.0)), "the whole step leads to -inf")
    rows = _vector(1.0, 1.0, 1.0, 1.0).unsqueeze(-1)
    sizes = _vector(0.5, 8.0, -0.5, 100.0).unsqueeze(-1)
    yield _noted(_search(f, rows, sizes), "four rows, four lengths")
    logarithm = _logarithm()
    yield _noted(_search(logarithm, _vector(4.0), 8.0), "the whole step leads to NaN")
    yield _noted(_search(logarithm, _vector(3.0, 4.0).unsqueeze(-1), 7.0), "NaN in the rows")
    off = _search(f, rows, sizes)
    off.args[1][1] = torch.nan
    yield _noted(off, "one row starts at NaN")
    for scale in (1e-6, 1e6):
        yield _noted(_search(f, scale * one, 3.0), f"x of size {scale:g}")
    for d in (1, 2, 3):
        yield _search(_quartic(), _grid(rng, d), 1.0)
    for shape in ((2, 2), (3, 2), (4, 2), (2, 3, 2)):
        yield _noted(_search(_bent(), _grid(rng, *shape), 1.0), "rows in a curved valley")
    for shape in ((3, 2), (2, 4)):
        x = _grid(rng, *shape)
        yield _noted(_search(_quartic(), x, p=_grid(rng, *shape)), "any direction")


def _try(f: Loss, x: Tensor, g: Tensor, p: Tensor, eta: Tensor) -> Tensor:
    """Whether Armijo's condition allows eta in each row."""
    there = f(x + eta.unsqueeze(-1) * p)
    fits: Tensor = there.isfinite() & (there <= f(x) + 1e-4 * eta * (g * p).sum(-1))
    return fits


@e2.shape
def _(fn: Fn, f: Loss, x: Tensor, g: Tensor, p: Tensor) -> None:
    eta = fn(f, x, g, p)
    has_shape(eta, tuple(x.shape[:-1]), torch.float64)
    require((eta == 0) | (eta.log2() == eta.log2().round()), "an entry is no power of 1/2")
    require((eta >= 0) & (eta <= 1), "an entry is not between 0 and 1")


@e2.property("every length that is not 0 satisfies the condition, on a slope that leads down")
def _(fn: Fn, f: Loss, x: Tensor, g: Tensor, p: Tensor) -> None:
    eta = fn(f, x, g, p)
    fits = _try(f, x, g, p, eta) & ((g * p).sum(-1) < 0)
    require(fits | (eta == 0), "in some row your length is not allowed")


@e2.property("twice the length is not allowed, unless the length is 1")
def _(fn: Fn, f: Loss, x: Tensor, g: Tensor, p: Tensor) -> None:
    eta = fn(f, x, g, p)
    short = (eta > 0) & (eta < 1)
    require(~(short & _try(f, x, g, p, 2 * eta)), "in some row twice your length is allowed")


@e2.property("a row alone gets what it gets in company")
def _(fn: Fn, f: Loss, x: Tensor, g: Tensor, p: Tensor) -> None:
    together, d = fn(f, x, g, p).flatten(), x.shape[-1]
    flat = [part.reshape(-1, d) for part in (x, g, p)]
    for i, eta in enumerate(together):
        close(fn(f, *(part[i] for part in flat)), eta, 0)


@e2.value("trying all 31 lengths")
def _(fn: Fn, f: Loss, x: Tensor, g: Tensor, p: Tensor) -> None:
    best = torch.zeros(x.shape[:-1], dtype=torch.float64)
    for k in reversed(range(31)):
        eta = torch.full_like(best, 2.0**-k)
        best = torch.where(_try(f, x, g, p, eta) & ((g * p).sum(-1) < 0), eta, best)
    close(fn(f, x, g, p), best, 0)


def _halving(f: Loss, x: Tensor, g: Tensor, p: Tensor, bound: Fn, lengths: int = 31) -> Tensor:
    slope = (g * p).sum(-1)
    eta, done = torch.ones_like(slope), torch.zeros_like(slope, dtype=torch.bool)
    for _ in range(lengths):
        done = done | (f(x + eta.unsqueeze(-1) * p) <= bound(f(x), eta, slope))
        eta = torch.where(done, eta, eta / 2)
    return torch.where(done & (slope < 0), eta, 0.0)


@e2.wrong("asks only that the loss falls")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    return _halving(f, x, g, p, lambda before, eta, slope: before * (1 - 1e-15))


@e2.wrong("asks for half of what the slope promised")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    return _halving(f, x, g, p, lambda before, eta, slope: before + 0.5 * eta * slope)


@e2.wrong("g · g for the promise, whatever the direction")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    promise = 1e4 * g.square().sum(-1)
    return _halving(f, x, g, p, lambda before, eta, slope: before - 1e-4 * eta * promise)


@e2.wrong("one length for all rows, halved until everybody is content")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    eta = torch.ones(x.shape[:-1], dtype=torch.float64)
    for _ in range(31):
        if _try(f, x, g, p, eta).all():
            break
        eta = eta / 2
    return eta


@e2.wrong("goes on halving rows that are content already")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    eta = torch.ones(x.shape[:-1], dtype=torch.float64)
    for _ in range(30):
        if not _try(f, x, g, p, eta).all():
            eta = eta / 2
    return torch.where(_try(f, x, g, p, eta) & ((g * p).sum(-1) < 0), eta, 0.0)


@e2.wrong("lets NaN pass: 'not above' instead of 'at most'")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    slope = (g * p).sum(-1)
    eta = torch.ones_like(slope)
    for _ in range(31):
        high = f(x + eta.unsqueeze(-1) * p) > f(x) + 1e-4 * eta * slope
        eta = torch.where(high, eta / 2, eta)
    return torch.where((eta >= 2.0**-30) & (slope < 0), eta, 0.0)


@e2.wrong("the last length tried, where none is allowed")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    eta = torch.ones(x.shape[:-1], dtype=torch.float64)
    for _ in range(30):
        eta = torch.where(_try(f, x, g, p, eta), eta, eta / 2)
    return eta


def _armijos(before: Tensor, eta: Tensor, slope: Tensor) -> Tensor:
    return before + 1e-4 * eta * slope


@e2.wrong("minus infinity is the lowest of all losses")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    return _halving(f, x, g, p, _armijos)


@e2.wrong("thirty lengths, the last of them 2^-29")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    eta = armijo(f, x, g, p)
    return torch.where(eta < 2.0**-29, 0.0, eta)


@e2.wrong("one length too many, 2^-31")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    eta = armijo(f, x, g, p)
    half = armijo(f, x, g, p / 2) / 2
    return torch.where(eta == 0, half, eta)


@e2.wrong("the first length that fails, not the last that is allowed")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    eta = armijo(f, x, g, p)
    return torch.where(eta < 1, 2 * eta, eta)


@e2.wrong("one half at least, without a look at the whole step")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    return armijo(f, x, g, p / 2) / 2


@e2.wrong("searches uphill directions as well")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    down = torch.where(((g * p).sum(-1) < 0).unsqueeze(-1), p, -p)
    return armijo(f, x, g, down)


@e2.wrong("a hundredth of what the derivative promised, 1e-2 for 1e-4")
def _(f: Loss, x: Tensor, g: Tensor, p: Tensor) -> Tensor:
    return _halving(f, x, g, p, lambda before, eta, slope: before + 1e-2 * eta * slope)


# --- e3: back into the box --------------------------------------------------------------------

e3 = Exercise(
    id="p2.t5.e3",
    title="Back into the box",
    pure=True,
    hints=(
        "Distances in a box: the squared distance is a sum over coordinates. Which coordinate "
        "can be chosen without looking at the others?",
        "Each coordinate for itself: below lo it goes to lo, above hi to hi, else it stays.",
        "`torch.minimum` and `torch.maximum` broadcast, and take infinite bounds; `Tensor.clamp` "
        "takes tensors, too.",
    ),
)


@e3.answer
def project_box(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    """The point of the box lo <= z <= hi that is nearest to x, for each row.

    x has shape `... d`; lo and hi, at most hi everywhere, broadcast against it and may be infinite.
    """
    return torch.minimum(torch.maximum(x, lo), hi)


@e3.cases
def boxes(rng: Rng) -> Iterator[Case]:
    inf = math.inf
    lo, hi = _vector(-1.0, 0.0), _vector(1.0, 3.0)
    yield Case(_vector(0.5), _vector(0.0), _vector(1.0), note="inside")
    yield Case(_vector(1.5), _vector(0.0), _vector(1.0), note="beyond the upper end")
    yield Case(_vector(-0.2), _vector(0.0), _vector(1.0), note="below the lower end")
    yield Case(_vector(7.0), _vector(2.0), _vector(2.0), note="a box of one point")
    yield Case(_vector(1.0, 0.0), lo, hi, note="at a corner")
    yield Case(_vector(5.0, 1.0), lo, hi, note="one coordinate outside")
    yield Case(_vector(5.0, -4.0), lo, hi, note="both outside")
    yield Case(_vector(2.0, 1.0), _vector(2.0, -inf), _vector(inf, inf), note="no end")
    yield Case(_vector(-7.0, 1.0), _vector(2.0, -inf), _vector(inf, inf), note="one wall only")
    yield Case(_vector(-7.0, 9.0), _vector(-inf, -inf), _vector(inf, inf), note="no walls")
    for scale in (1e-6, 1e6):
        yield Case(scale * _vector(5.0, 1.0), scale * lo, scale * hi, note=f"size {scale:g}")
    for shape in ((1, 2), (4, 2), (3, 2), (2, 3, 2)):
        yield Case(3 * _grid(rng, *shape), lo, hi, note="rows, one box for all")
    for shape in ((2, 3), (4, 1), (3, 3)):
        low = _grid(rng, *shape)
        yield Case(3 * _grid(rng, *shape), low, low + 0.5, note="a box for each row")
    yield Case(3 * _grid(rng, 3, 2), torch.tensor(-1.0).double(), torch.tensor(0.5).double())
    for d in (1, 2, 3, 4):
        low = _grid(rng, d)
        yield Case(3 * _grid(rng, d), low, low + 1)


@e3.shape
def _(fn: Fn, x: Tensor, lo: Tensor, hi: Tensor) -> None:
    has_shape(fn(x, lo, hi), tuple(x.shape), torch.float64)
    require(~fn(x, lo, hi).isnan(), "an entry is NaN")


@e3.property("the result is in the box")
def _(fn: Fn, x: Tensor, lo: Tensor, hi: Tensor) -> None:
    z = fn(x, lo, hi)
    require((z >= lo) & (z <= hi), "an entry is outside its bounds")


@e3.property("once is enough: a second time changes nothing")
def _(fn: Fn, x: Tensor, lo: Tensor, hi: Tensor) -> None:
    close(fn(fn(x, lo, hi), lo, hi), fn(x, lo, hi), 0)


@e3.property("no two points move apart")
def _(fn: Fn, x: Tensor, lo: Tensor, hi: Tensor) -> None:
    for step in (0.3, -2.0, 50.0):
        other = x + step * (1 + torch.arange(x.shape[-1], dtype=x.dtype)) * (1 + x.abs())
        after = (fn(other, lo, hi) - fn(x, lo, hi)).norm(dim=-1)
        require(after <= (other - x).norm(dim=-1) * (1 + 1e-12), "two points have moved apart")


@e3.property("no corner of the box, and no other point of it, is nearer")
def _(fn: Fn, x: Tensor, lo: Tensor, hi: Tensor) -> None:
    z = fn(x, lo, hi)
    size = 1 + x.abs().amax() if not bool(x.any()) else x.abs().amax()
    low = torch.maximum(lo.expand_as(x), -9 * size - hi.abs().nan_to_num(0.0, 0.0, 0.0))
    high = torch.minimum(hi.expand_as(x), 9 * size + lo.abs().nan_to_num(0.0, 0.0, 0.0))
    for share in (0.0, 0.01, 0.3, 0.5, 0.9, 1.0):
        away = (low + share * (high - low) - x).norm(dim=-1)
        require((z - x).norm(dim=-1) <= away * (1 + 1e-12), "another point is nearer to x")


@e3.value("a loop over entries")
def _(fn: Fn, x: Tensor, lo: Tensor, hi: Tensor) -> None:
    flat = zip(x.flatten(), lo.expand_as(x).flatten(), hi.expand_as(x).flatten(), strict=True)
    expected = [float(low if v < low else high if v > high else v) for v, low, high in flat]
    close(fn(x, lo, hi).flatten(), expected, 0)


@e3.wrong("reflects at the wall, as light does")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    return torch.where(x < lo, 2 * lo - x, torch.where(x > hi, 2 * hi - x, x))


@e3.wrong("comes in again from the other side")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    return torch.where((x < lo) | (x > hi), lo + torch.remainder(x - lo, hi - lo), x)


@e3.wrong("shrinks the way from the middle until it fits: the direction is kept, not the distance")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    middle, half = (lo + hi) / 2, (hi - lo) / 2
    over = ((x - middle).abs() / half).amax(-1, keepdim=True).clamp(min=1.0)
    return middle + (x - middle) / over


@e3.wrong("a point that is outside anywhere goes to the nearest corner")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    outside = ((x < lo) | (x > hi)).any(-1, keepdim=True)
    return torch.where(outside, torch.where(x > (lo + hi) / 2, hi, lo), x)


@e3.wrong("lower ends only")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    return torch.maximum(x, lo)


@e3.wrong("one pair of bounds for all coordinates")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    return x.clamp(float(lo.min()), float(hi.max()))


@e3.wrong("squeezed smoothly into the box: what was inside moves, too")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    return lo + (hi - lo) * torch.sigmoid(x)


@e3.wrong("relative to the box, and back: infinite bounds make NaN")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    return lo + (hi - lo) * ((x - lo) / (hi - lo)).clamp(0.0, 1.0)


@e3.wrong("upper ends only")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    return torch.minimum(x, hi)


@e3.wrong("what is outside goes to the middle")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    return torch.where((x < lo) | (x > hi), (lo + hi).nan_to_num() / 2, x)


@e3.wrong("a hair inside the bounds")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, lo + 1e-9), hi - 1e-9)


@e3.wrong("the ends exchanged")
def _(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    return torch.where(x < lo, hi, torch.where(x > hi, lo, x))


# --- e4: many starts, a box, and a NaN -------------------------------------------------------

_CALLS = 2000

e4 = Exercise(
    id="p2.t5.e4",
    title="Many descents as one batch",
    pure=True,
    hints=(
        "Stage 1, masks. Keep for each row a point, a loss, a gradient and a length, with -g for "
        "the direction. In each round ask the loss once for all rows; then decide for every row by "
        "`torch.where`: what happens in a row that accepts, in one that refuses (half the length), "
        "in one that has arrived, and in one that is NaN?",
        "Stage 2, the box. A coordinate is held if it stands at its lower end with a positive "
        "entry of the gradient or at its upper end with a negative one. Build the direction from "
        "the other coordinates only, put the trial back into the box, and ask Armijo for the step "
        "that is left: f(trial) <= f(x) + 1e-4 g · (trial - x).",
        "Stage 3, curvature. With few coordinates, B, an estimate of H itself, is simplest: "
        "B - B s sᵀ B/(s·B s) + y yᵀ/(s·y) where s·y > 0, from (y·y/s·y) I at the first pair. "
        "Replace rows and columns of held coordinates by those of the identity, and solve. After "
        "many halvings, or if the direction does not lead down, start again from B = I.",
    ),
)


@e4.answer
def batched_minimise(f: Callable[[Tensor], Tensor], X0: Tensor, bounds: Tensor) -> Tensor:
    """Minimise f over a box from every row of X0, as one batch; return the ends, `N d`.

    Build it in three stages; the notes of the cases say which of them a failing one needs: gradient
    steps with masks, then the box, then curvature.

    f maps points `k d` to losses `k`, each row by itself, through torch operations. bounds is
    `2 d`: lower and upper ends; starts outside are put back first. A row that comes back must be in
    the box, no higher than its start, and satisfy project(x - ∇f) = x to 1e-4 of the largest entry
    of the gradient at its start, or better. A row whose loss is NaN at its start, once it is put
    back, comes back as it was put back. No row may depend on another: a row that has arrived stays,
    so that it ends in company where it ends alone, to 1e-5. At most 2,000 calls of f, each for as
    many rows as you like.
    """
    lower, upper = bounds
    N, d = X0.shape
    eye = torch.eye(d, dtype=X0.dtype).expand(N, d, d)

    def ask(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        values = f(x)
        (gradients,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), gradients

    def direction(x: Tensor, g: Tensor, B: Tensor) -> Tensor:
        held = ((x <= lower) & (g > 0)) | ((x >= upper) & (g < 0))
        free = (~held).to(x.dtype)
        B = B * free[:, :, None] * free[:, None, :] + torch.diag_embed(1 - free)
        p = -torch.linalg.solve(B, (g * free).unsqueeze(-1)).squeeze(-1)
        leaves = ((x <= lower) & (p < 0)) | ((x >= upper) & (p > 0))
        p = torch.where(leaves, 0.0, p)
        down = (p * g).sum(-1, keepdim=True) < -1e-8 * p.norm(dim=-1, keepdim=True) * g.norm(
            dim=-1, keepdim=True
        )
        return torch.where(down, p, -g * free)

    x = X0.clamp(lower, upper)
    value, g = ask(x)
    live = value.isfinite() & g.isfinite().all(-1)
    g = torch.where(live[:, None], g, 0.0)
    unit = g.abs().amax(-1).clamp(min=1e-300)  # the gradient at the start
    B, fresh, halvings = eye * unit[:, None, None], live.clone(), torch.zeros(N)
    eta, p = torch.ones(N, dtype=x.dtype), direction(x, g, B)
    for _ in range(1500):
        left = (x - (x - g / unit[:, None]).clamp(lower, upper)).abs().amax(-1)
        running = live & (left > 1e-9) & (halvings < 80)
        if not running.any():
            break
        trial = torch.where(running[:, None], (x + eta[:, None] * p).clamp(lower, upper), x)
        v, h = ask(trial)
        step = trial - x
        slope = (g * step).sum(-1)
        accepted = running & (v <= value + 1e-4 * slope) & (slope < 0) & h.isfinite().all(-1)
        s, y = step[:, :, None], torch.where(accepted[:, None], h - g, 0.0)[:, :, None]
        sy, ss, yy = (s * y).sum((1, 2)), (s * s).sum((1, 2)), (y * y).sum((1, 2))
        curved = accepted & (sy > 1e-9 * (ss * yy).sqrt())
        safe = torch.where(curved, sy, 1.0)[:, None, None]
        B = torch.where((curved & fresh)[:, None, None], eye * (yy[:, None, None] / safe), B)
        Bs = B @ s
        sBs = torch.where(curved, (s * Bs).sum((1, 2)), 1.0)[:, None, None]
        B = torch.where(curved[:, None, None], B - Bs @ Bs.mT / sBs + y @ y.mT / safe, B)
        fresh = fresh & ~curved
        x = torch.where(accepted[:, None], trial, x)
        g = torch.where(accepted[:, None], h, g)
        value = torch.where(accepted, v, value)
        halvings = torch.where(accepted, 0, halvings + 1)
        reset = halvings == 40
        B = torch.where(reset[:, None, None], eye * unit[:, None, None], B)
        fresh = fresh | reset
        p = torch.where((accepted | reset)[:, None], direction(x, g, B), p)
        eta = torch.where(accepted | reset, 1.0, eta / 2)
    return x


def _tilted(a: float, *center: float) -> Loss:
    """A bowl of curvatures 1 + a and 1 - a along the diagonals."""
    c = _vector(*center)

    def f(x: Tensor) -> Tensor:
        z = x - c
        return 0.5 * z.square().sum(-1) + a * z[..., 0] * z[..., 1]

    return _named(f"a bowl with the slant {a:g}, bottom at {center}", f)


def _ellipse(*eigenvalues: float) -> Loss:
    lam = _vector(*eigenvalues)
    return _named(f"a bowl of curvatures {eigenvalues}", lambda x: 0.5 * (lam * x.square()).sum(-1))


def _valley(scale: float = 1.0) -> Loss:
    f = _bent()
    return _named(f"{scale:g} times Rosenbrock's function", lambda x: scale * f(x))


def _holey() -> Loss:
    """A bowl that is NaN on the far left."""
    return _named(
        "x·x, and NaN where x1 < -3", lambda x: x.square().sum(-1) + 0 * (x[..., 0] + 3).sqrt()
    )


def _soft() -> Loss:
    return _named("the sum of ln cosh 3x", lambda x: torch.cosh(3 * x).log().sum(-1))


def _four() -> Loss:
    def f(x: Tensor) -> Tensor:
        u, v = x.unbind(-1)
        return (u * u + v - 11) ** 2 + (u + v * v - 7) ** 2

    return _named("Himmelblau's function, four bottoms", f)


def _box(d: int, low: float = -2.0, high: float = 2.0) -> Tensor:
    return _vector(low, high).unsqueeze(-1).expand(2, d).clone()


@e4.cases
def trips(rng: Rng) -> Iterator[Case]:
    one = _box(1)
    yield Case(_ellipse(1.0), _vector(1.5)[None], one, note="stage 1: d = 1, one row")
    yield Case(
        _ellipse(1.0),
        _vector(1.5)[None],
        _box(1, 0.5, 2.0),
        note="stage 2: the end is on the boundary",
    )
    yield Case(_ellipse(1.0), _vector(0.0)[None], one, note="stage 1: starts at the bottom")
    yield Case(_ellipse(1.0), _vector(9.0)[None], one, note="stage 2: starts outside")
    yield Case(
        _ellipse(1.0), _vector(1.0)[None], _box(1, 1.0, 1.0), note="stage 2: a box of one point"
    )
    yield Case(
        _holey(), _vector(-4.0, 1.0).reshape(2, 1), _box(1, -5.0, 5.0), note="stage 1: a NaN row"
    )
    yield Case(
        _holey(), _vector(-9.0)[None], one, note="stage 2: NaN until it is put back into the box"
    )
    outside = _vector(-9.0, 1.0, 0.5, 7.0).reshape(2, 2)
    yield Case(_holey(), outside, _box(2), note="stage 2: both rows start outside, one at NaN")
    fence = torch.stack([_vector(2.0, -3.0), _vector(5.0, 3.0)])
    slanted = _tilted(-0.9, 0.0, 0.0)
    yield Case(slanted, _vector(2.0, 1.0)[None], fence, note="stage 2: starts on the boundary")
    yield Case(slanted, _vector(4.0, -2.0, 2.0, 1.0).reshape(2, 2), fence, note="stage 2: two rows")
    yield Case(
        _tilted(0.95, 3.0, 3.0), _grid(rng, 3, 2), _box(2), note="stage 2: the end is in a corner"
    )
    yield Case(_ellipse(1.0, 1000.0), _grid(rng, 2, 2), _box(2), note="stage 3: a long valley")
    yield Case(_valley(), _vector(-1.2, 1.0)[None], _box(2), note="stage 3: Rosenbrock's own start")
    yield Case(_valley(), _grid(rng, 4, 2), _box(2), note="stage 3: four rows in the curved valley")
    cut = torch.stack([_vector(-2.0, -2.0), _vector(0.5, 2.0)])
    yield Case(
        _valley(),
        _grid(rng, 3, 2).clamp(max=0.5),
        cut,
        note="stage 3: a boundary across the valley",
    )
    for scale in (1e-6, 1e6):
        yield Case(
            _valley(scale), _grid(rng, 2, 2), _box(2), note=f"stage 3: losses of size {scale:g}"
        )
    hole = torch.cat([_grid(rng, 3, 2), _vector(-4.0, 1.0)[None]])
    yield Case(_holey(), hole, _box(2, -5.0, 5.0), note="stage 1: one row of four starts at NaN")
    yield Case(_holey(), hole.flip(0), _box(2, -5.0, 5.0), note="stage 1: the first of four is NaN")
    yield Case(_soft(), _grid(rng, 3, 2), _box(2), note="stage 1: flat far out")
    yield Case(_soft(), _grid(rng, 2, 3), _box(3, 0.1, 2.0), note="stage 2: all on the boundary")
    yield Case(_four(), 2 * _grid(rng, 4, 2), _box(2, -5.0, 5.0), note="stage 3: four bottoms")
    yield Case(
        _ellipse(1.0, 5.0, 30.0), _grid(rng, 2, 3), _box(3), note="stage 3: three curvatures"
    )
    yield Case(
        _ellipse(0.1, 1.0, 10.0, 100.0), _grid(rng, 3, 4), _box(4, -1.0, 2.0), note="stage 3"
    )


def _asked(fn: Fn, f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    """The answer, with an eye on how often f is called."""
    count = 0

    def counted(x: Tensor) -> Tensor:
        nonlocal count
        count += 1
        require(count <= _CALLS, f"more than {_CALLS} calls of f")
        return f(x)

    ends: Tensor = fn(_named(f.__name__, counted), X0, bounds)
    return ends


def _gradient(f: Loss, x: Tensor) -> Tensor:
    z = x.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(f(z).sum(), z)
    return g


@e4.shape
def _(fn: Fn, f: Loss, X0: Tensor, bounds: Tensor) -> None:
    ends = _asked(fn, f, X0, bounds)
    has_shape(ends, tuple(X0.shape), torch.float64)
    require((ends >= bounds[0]) & (ends <= bounds[1]), "an end is outside the box")


@e4.property("a row without a loss comes back as it was; no other ends higher than it started")
def _(fn: Fn, f: Loss, X0: Tensor, bounds: Tensor) -> None:
    start = X0.clamp(bounds[0], bounds[1])
    ends, before = _asked(fn, f, X0, bounds), f(start)
    odd = before.isnan()
    close(ends[odd], start[odd], 0)
    after = f(ends)[~odd]
    require(after <= before[~odd] + 1e-12 * before[~odd].abs(), "a row ends higher than it started")


@e4.property("a row alone ends where it ends in company")
def _(fn: Fn, f: Loss, X0: Tensor, bounds: Tensor) -> None:
    together = _asked(fn, f, X0, bounds)
    for i in range(len(X0) if len(X0) > 1 else 0):
        close(_asked(fn, f, X0[i : i + 1], bounds)[0], together[i], 1e-5)


@e4.property("project(x - ∇f) = x at every end, to 1e-4 of the gradient at the start")
def _(fn: Fn, f: Loss, X0: Tensor, bounds: Tensor) -> None:
    lower, upper = bounds
    ends, start = _asked(fn, f, X0, bounds), X0.clamp(lower, upper)
    size = _gradient(f, start).abs().amax(-1, keepdim=True)
    known = ~f(start).isnan() & (size[:, 0] > 0)
    x, g = ends[known], (_gradient(f, ends) / size)[known]
    left = (x - (x - g).clamp(lower, upper)).abs()
    require(left <= 1e-4, "a row has stopped where the loss still falls within the box")


@e4.value("SciPy's L-BFGS-B, row by row, where there is only one bottom")
def _(fn: Fn, f: Loss, X0: Tensor, bounds: Tensor) -> None:
    if "four bottoms" in f.__name__:
        return
    ends, start = _asked(fn, f, X0, bounds), X0.clamp(bounds[0], bounds[1])
    size = float(_gradient(f, start).nan_to_num(0.0).abs().max()) or 1.0

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        z = torch.tensor(x)
        return float(f(z)) / size, (_gradient(f, z) / size).numpy()

    for row, end in zip(start, ends, strict=True):
        if not bool(f(row).isnan()):
            found = optimize.minimize(
                loss, row.numpy(), jac=True, method="L-BFGS-B", bounds=bounds.T.numpy()
            )
            require(float(f(end)) / size <= found.fun + 1e-5, "SciPy has found a lower place")


def _plain(f: Loss, X0: Tensor, bounds: Tensor, steps: int, rate: float) -> Tensor:
    x = X0.clamp(bounds[0], bounds[1])
    for _ in range(steps):
        g = _gradient(f, x)
        new = (x - rate * g).clamp(bounds[0], bounds[1])
        x = torch.where(f(new).unsqueeze(-1) <= f(x).unsqueeze(-1), new, x)
    return x


@e4.wrong("plain descent at one rate")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    return _plain(f, X0, bounds, 60, 1e-3)


@e4.wrong("minimises without the box and moves the ends into the box")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    wide = torch.stack([bounds[0] - 1e3, bounds[1] + 1e3])
    return batched_minimise(f, X0, wide).clamp(bounds[0], bounds[1])


@e4.wrong("stops when the largest slope of all rows is small: never if one of them is NaN")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    x = X0.clamp(bounds[0], bounds[1])
    if not bool(_gradient(f, x).abs().max() > 0):
        return x
    return batched_minimise(f, X0, bounds)


@e4.wrong("drops the rows that are NaN: too few ends")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    keep = ~f(X0.clamp(bounds[0], bounds[1])).isnan()
    return batched_minimise(f, X0[keep], bounds)


@e4.wrong("one vector for all rows: the sum of their losses, by SciPy")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    start = X0.clamp(bounds[0], bounds[1])

    def total(x: np.ndarray) -> tuple[float, np.ndarray]:
        z = torch.tensor(x).reshape(X0.shape)
        return float(f(z).sum()), _gradient(f, z).flatten().numpy()

    box = bounds.T.repeat(len(X0), 1).numpy()
    found = optimize.minimize(
        total, start.flatten().numpy(), jac=True, method="L-BFGS-B", bounds=box
    )
    return torch.from_numpy(found.x).reshape(X0.shape)


@e4.wrong("Newton's step put back into the box, with nothing held")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    x = X0.clamp(bounds[0], bounds[1])
    eye = torch.eye(X0.shape[-1], dtype=torch.float64)
    for _ in range(8):
        H = torch.func.vmap(torch.func.hessian(lambda z: f(z[None])[0]))(x)
        shift = (1e-9 - torch.linalg.eigvalsh(H.nan_to_num(0.0))[:, :1, None]).clamp(min=0.0)
        H = H.nan_to_num(0.0) + shift * eye + 1e-9 * eye
        p = -torch.linalg.solve(H, _gradient(f, x).nan_to_num(0.0).unsqueeze(-1)).squeeze(-1)
        for eta in (1.0, 0.2):
            new = (x + eta * p).clamp(bounds[0], bounds[1])
            x = torch.where((f(new) < f(x)).unsqueeze(-1), new, x)
    return x


@e4.wrong("everybody stops when the first row has arrived")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    if len(X0) == 1:
        return batched_minimise(f, X0, bounds)
    start = X0.clamp(bounds[0], bounds[1])
    slopes = _gradient(f, start).abs().amax(-1)
    nearest = int(slopes.nan_to_num(math.inf).argmin())
    ends = start.clone()
    ends[nearest] = batched_minimise(f, X0[nearest : nearest + 1], bounds)[0]
    return ends


@e4.wrong("asks for the loss before the starts are put back into the box")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    live = f(X0).isfinite()
    ends = X0.clamp(bounds[0], bounds[1])
    if bool(live.any()):
        ends[live] = batched_minimise(f, X0[live], bounds)
    return ends


@e4.wrong("stage 1 only: gradient steps with masks, put back into the box, and no curvature")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    x = X0.clamp(bounds[0], bounds[1])
    eta = torch.ones(len(x), 1, dtype=torch.float64)
    for _ in range(60):
        trial = (x - eta * _gradient(f, x).nan_to_num(0.0)).clamp(bounds[0], bounds[1])
        lower = (f(trial) < f(x)).unsqueeze(-1)
        x, eta = torch.where(lower, trial, x), torch.where(lower, 2 * eta, eta / 2)
    return x


@e4.wrong("a tolerance of one thousandth of the gradient at the start")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    ends = batched_minimise(f, X0, bounds)
    start = X0.clamp(bounds[0], bounds[1])
    near = ends + 1e-2 * (start - ends)
    return torch.where((f(near) <= f(start)).unsqueeze(-1), near, ends)


@e4.wrong("NaN rows come back as NaN")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    odd = f(X0.clamp(bounds[0], bounds[1])).isnan().unsqueeze(-1)
    return torch.where(odd, torch.nan, batched_minimise(f, X0, bounds))


@e4.wrong("a row that is NaN is moved to the middle of the box first")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    odd = f(X0.clamp(bounds[0], bounds[1])).isnan().unsqueeze(-1)
    return batched_minimise(f, torch.where(odd, bounds.mean(0), X0), bounds)


@e4.wrong("the best end for every row")
def _(f: Loss, X0: Tensor, bounds: Tensor) -> Tensor:
    ends = batched_minimise(f, X0, bounds)
    return ends[f(ends).nan_to_num(math.inf).argmin()].expand_as(ends).clone()
