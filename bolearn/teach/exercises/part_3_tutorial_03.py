"""The exercises of part_3/tutorial_03: Gaussian processes as surrogate models."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor
from torch.autograd import gradcheck

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require

Kernel = Callable[[Tensor, Tensor], Tensor]


def _vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _grid(rng: Rng, *shape: int) -> Tensor:
    """Numbers in [-2, 2] with one decimal."""
    return (rng.uniform_in(-2.0, 2.0, *shape) * 10).round() / 10


def _eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def _named(name: str, k: Kernel) -> Kernel:
    k.__name__ = name
    return k


def _r2(A: Tensor, B: Tensor) -> Tensor:
    return (A.unsqueeze(-2) - B.unsqueeze(-3)).square().sum(-1)


def _rbf(ell: float = 1.0, var: float = 1.0) -> Kernel:
    return _named(
        f"RBF, lengthscale {ell:g}, variance {var:g}",
        lambda A, B: var * torch.exp(-0.5 * _r2(A, B) / ell**2),
    )


def _rough(ell: float = 1.0) -> Kernel:
    return _named(
        f"Matérn-1/2, lengthscale {ell:g}", lambda A, B: torch.exp(-_r2(A, B).sqrt() / ell)
    )


def _lines() -> Kernel:
    return _named("straight lines, 1 + x·z", lambda A, B: 1 + A @ B.mT)


# --- e1: the posterior ------------------------------------------------------------------------

e1 = Exercise(
    id="p3.t3.e1",
    title="All maps that agree with the drills",
    pure=True,
    size=lambda k, X, y, Xs, noise: X.numel() + y.numel() + Xs.numel(),
    hints=(
        "Start with one strip and n = 1: K is a single number. Which of the three kernel matrices "
        "has one row for each drill and one column for each place? What changes if noise holds a "
        "number for each drill?",
        "With K + noise = L Lᵀ, solve twice by L: A from the kernel matrix of drills and places, w "
        "from y. Mean and covariance are products of A with w and with itself. A product over the "
        "last two axes works for any axes in front, `.T` does not.",
        "`torch.linalg.solve_triangular(L, ..., upper=False)` wants y as a column. diag_embed "
        "makes a diagonal matrix from noise that was expanded to the shape of y. Nothing here "
        "needs n to be positive.",
    ),
)


@e1.answer
def gp_posterior(
    k: Callable[[Tensor, Tensor], Tensor],
    X: Tensor,
    y: Tensor,
    Xs: Tensor,
    noise: Tensor | float,
) -> tuple[Tensor, Tensor]:
    """Mean `... m` and covariance `... m m` of the ground f at the places Xs, given drills.

    The prior has mean 0 and kernel k, which takes points `... a d` and `... b d` to `... a b`. The
    drills are X, `... n d`, and y, `... n`, and Xs is `... m d`, all with the same axes in front
    (independent strips). noise is the variance of the drills' noise: a number, or one for each
    drill, `n` or `... n`. Before the first drill, n = 0, the result is the prior.
    """
    spread = torch.as_tensor(noise, dtype=y.dtype).expand(y.shape)
    L = torch.linalg.cholesky(k(X, X) + torch.diag_embed(spread))
    A = torch.linalg.solve_triangular(L, k(X, Xs), upper=False)
    w = torch.linalg.solve_triangular(L, y.unsqueeze(-1), upper=False)
    return (A.mT @ w).squeeze(-1), k(Xs, Xs) - A.mT @ A


@e1.cases
def drills(rng: Rng) -> Iterator[Case]:
    none = torch.zeros(0, 1, dtype=torch.float64)
    one = _vector(0.0).reshape(1, 1)
    yield Case(_rbf(), none, _vector(), _grid(rng, 2, 1), 0.1, note="no drill yet")
    yield Case(_rbf(), none.expand(3, 0, 1), _grid(rng, 3, 0), _grid(rng, 3, 2, 1), 0.1, note="n=0")
    yield Case(_rbf(), one, _vector(1.0), one, 1.0, note="one drill, and the same place")
    yield Case(_rbf(), one, _vector(1.0), one + 1, 0.5, note="one drill, one place")
    yield Case(_lines(), one + 1, _vector(1.0), one + 2, 0.5, note="another kernel")
    yield Case(_rbf(), one.expand(2, 1), _vector(1.0, 3.0), one, 0.5, note="one place, two drills")
    yield Case(_rbf(), _vector(0.0, 1.0)[:, None], _vector(0.0, 1.0), one + 0.5, _vector(0.1, 2.0))
    yield Case(_rough(), _vector(-1.0, 0.0, 1.0)[:, None], _vector(1.0, 0.0, 1.0), one, 1e-8)
    yield Case(_rbf(), _grid(rng, 3, 1), _grid(rng, 3), _grid(rng, 3, 1), 0.1, note="n = m")
    yield Case(_rbf(0.5), _grid(rng, 5, 2), _grid(rng, 5), _grid(rng, 2, 2), 0.1, note="d = 2")
    for scale in (1e-6, 1e6):
        k = _rbf(scale, scale**2)
        X, y, Xs = (scale * _grid(rng, *shape) for shape in ((4, 1), (4,), (2, 1)))
        yield Case(k, X, y, Xs, 0.1 * scale**2, note=f"numbers of size {scale:g}")
    for shape in ((1,), (2,), (2, 3)):
        X, y, Xs = _grid(rng, *shape, 3, 1), _grid(rng, *shape, 3), _grid(rng, *shape, 2, 1)
        yield Case(_rbf(), X, y, Xs, 0.2, note=f"strips {shape}")
        yield Case(_lines(), X, y, Xs, rng.uniform_in(0.1, 1.0, 3), note="noise for each drill")
        each = rng.uniform_in(0.1, 1.0, *shape, 3)
        yield Case(_rough(), X, y, Xs, each, note="noise for each strip and drill")
    for n, m, d in ((2, 2, 2), (3, 3, 3), (6, 2, 1), (4, 5, 2)):
        yield Case(_rbf(1.5), _grid(rng, n, d), _grid(rng, n), _grid(rng, m, d), 0.05)
        yield Case(_lines(), _grid(rng, n, d), _grid(rng, n), _grid(rng, m, d), 0.3)


def _size(k: Kernel, Xs: Tensor) -> float:
    return float(k(Xs, Xs).abs().max())


@e1.shape
def _(fn: Fn, k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> None:
    result = fn(k, X, y, Xs, noise)
    require(isinstance(result, tuple) and len(result) == 2, "expected a tuple (mean, covariance)")
    has_shape(result[0], Xs.shape[:-1], torch.float64)
    has_shape(result[1], (*Xs.shape[:-1], Xs.shape[-2]), torch.float64)


@e1.property("before the first drill, mean and covariance are the prior's")
def _(fn: Fn, k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> None:
    mean, cov = fn(k, X[..., :0, :], y[..., :0], Xs, 0.1)
    close(mean, torch.zeros_like(mean), 0)
    close(cov, k(Xs, Xs), 1e-12 * _size(k, Xs))


@e1.property("the order of the drills does not matter")
def _(fn: Fn, k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> None:
    each = torch.as_tensor(noise, dtype=y.dtype).expand(y.shape)
    mean, cov = fn(k, X, y, Xs, each)
    back = fn(k, X.flip(-2), y.flip(-1), Xs, each.flip(-1))
    close(back[0], mean, 1e-6 * max(_size(k, Xs) ** 0.5, float(mean.abs().max())))
    close(back[1], cov, 1e-7 * _size(k, Xs))


@e1.property("twice the outcomes: twice the mean, and the same covariance")
def _(fn: Fn, k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> None:
    mean, cov = fn(k, X, y, Xs, noise)
    twice = fn(k, X, 2 * y, Xs, noise)
    close(twice[0], 2 * mean, 1e-9, relative=True)
    close(twice[1], cov, 1e-12 * _size(k, Xs))


@e1.property("two drills at one place count as their mean, with half the noise")
def _(fn: Fn, k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> None:
    each = torch.as_tensor(noise, dtype=y.dtype).expand(y.shape)
    if y.shape[-1] and bool((each > 1e-6 * _size(k, Xs)).all()):
        gap = y[..., :1].abs() + each[..., :1].sqrt()
        X2 = torch.cat([X, X[..., :1, :]], dim=-2)
        y2 = torch.cat([y[..., :1] - gap, y[..., 1:], y[..., :1] + gap], dim=-1)
        doubled = fn(k, X2, y2, Xs, torch.cat([each, each[..., :1]], dim=-1))
        halved = torch.cat([each[..., :1] / 2, each[..., 1:]], dim=-1)
        mean, cov = fn(k, X, y, Xs, halved)
        close(doubled[0], mean, 1e-8 * max(_size(k, Xs) ** 0.5, float(y2.abs().max())))
        close(doubled[1], cov, 1e-8 * _size(k, Xs))


@e1.property("no variance is larger than before the drills, or negative")
def _(fn: Fn, k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> None:
    variance = fn(k, X, y, Xs, noise)[1].diagonal(dim1=-2, dim2=-1)
    prior, slack = k(Xs, Xs).diagonal(dim1=-2, dim2=-1), 1e-9 * _size(k, Xs)
    require(variance <= prior + slack, "a variance has grown")
    require(variance >= -slack, "a variance is negative")


@e1.value("conditioning on one drill after another, strip by strip")
def _(fn: Fn, k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> None:
    mean, cov = fn(k, X, y, Xs, noise)
    n, m, d = y.shape[-1], Xs.shape[-2], X.shape[-1]
    strips = math.prod(y.shape[:-1])
    each = torch.as_tensor(noise, dtype=y.dtype).expand(y.shape).reshape(strips, n)
    rows = (X.reshape(strips, n, d), y.reshape(strips, n), Xs.reshape(strips, m, d))
    means, covs = mean.reshape(strips, m), cov.reshape(strips, m, m)
    size = max(_size(k, Xs) ** 0.5, float(y.abs().max()) if y.numel() else 0.0)
    for b, (x, values, places) in enumerate(zip(*rows, strict=True)):
        points = torch.cat([places, x])
        mu, C = torch.zeros(m + n, dtype=torch.float64), k(points, points)
        for i in range(n):
            column = C[:, m + i]
            gain = column / (column[m + i] + each[b, i])
            mu, C = mu + gain * (values[i] - mu[m + i]), C - gain.outer(column)
        close(means[b], mu[:m], 1e-7 * size)
        close(covs[b], C[:m, :m], 1e-7 * _size(k, Xs))


@e1.wrong("forgets the noise, but for a jitter")
def _(k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> Any:
    return gp_posterior(k, X, y, Xs, 1e-9 * _size(k, Xs))


@e1.wrong("predicts the next drill: adds the noise to the covariance")
def _(k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> Any:
    mean, cov = gp_posterior(k, X, y, Xs, noise)
    return mean, cov + float(torch.as_tensor(noise).mean()) * _eye(Xs.shape[-2])


@e1.wrong("noise is a standard deviation there, and gets squared")
def _(k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> Any:
    return gp_posterior(k, X, y, Xs, noise**2)


@e1.wrong("adds the noise to every entry, not to the diagonal")
def _(k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> Any:
    A = k(X, X) + torch.as_tensor(noise, dtype=y.dtype).expand(y.shape).unsqueeze(-1)
    solved = torch.linalg.solve(A + 1e-9 * _eye(y.shape[-1]), k(X, Xs))
    return (solved.mT @ y.unsqueeze(-1)).squeeze(-1), k(Xs, Xs) - solved.mT @ k(X, Xs)


@e1.wrong("fits the deviations from the drills' mean")
def _(k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> Any:
    shift = y.mean(-1, keepdim=True) if y.shape[-1] else torch.zeros_like(y[..., :1])
    mean, cov = gp_posterior(k, X, y - shift, Xs, noise)
    return mean + shift, cov


@e1.wrong("takes the prior variance for 1")
def _(k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> Any:
    mean, cov = gp_posterior(k, X, y, Xs, noise)
    return mean, cov + torch.diag_embed(1 - k(Xs, Xs).diagonal(dim1=-2, dim2=-1))


@e1.wrong("a safety jitter of a thousandth on top of the noise")
def _(k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> Any:
    return gp_posterior(k, X, y, Xs, noise + 1e-3 * _size(k, Xs))


@e1.wrong("one strip only: .T instead of .mT")
def _(k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> Any:
    spread = torch.as_tensor(noise, dtype=y.dtype).expand(y.shape)
    solved = torch.linalg.solve(k(X, X) + torch.diag_embed(spread), k(X, Xs))
    flipped = solved.permute(*range(solved.ndim - 1, -1, -1))
    return (flipped @ y.unsqueeze(-1)).squeeze(-1), k(Xs, Xs) - flipped @ k(X, Xs)


@e1.wrong("variances without covariances, on a diagonal")
def _(k: Kernel, X: Tensor, y: Tensor, Xs: Tensor, noise: Any) -> Any:
    mean, cov = gp_posterior(k, X, y, Xs, noise)
    return mean, torch.diag_embed(cov.diagonal(dim1=-2, dim2=-1))


# --- e2: the Matérn family --------------------------------------------------------------------

e2 = Exercise(
    id="p3.t3.e2",
    title="The Matérn family",
    copies=False,
    size=lambda x, z, nu, ls: x.numel() + z.numel(),
    hints=(
        "Try x = z = 0, and look at the gradient of your kernel in x. Which operation on the way "
        "has no finite slope there, although the kernel itself is flat?",
        "The square root has the slope infinity at 0, and infinity times 0 is NaN. Part 1, "
        "tutorial 2, exercise 3 had a square root that is safe to differentiate. A square root of "
        "r² plus a tiny number is not: it moves k(x, x) away from 1.",
        "Let `torch.where` put a harmless 1 under the square root wherever r² is 0, and afterwards "
        "a 0 (or a kernel value of 1) there. Divide by ls before you subtract, or after: but "
        "subtract before you square.",
    ),
)


@e2.answer
def matern(x: Tensor, z: Tensor, nu: float, ls: Tensor | float) -> Tensor:
    """Matérn kernel of all pairs of points x, `... n d`, and z, `... m d`: `... n m`.

    ls is the lengthscale, a number, or one for each input, `d`. With the distance r of two points
    in lengthscales and s = √(2 nu) r, the kernel is e^-s for nu = 0.5, (1 + s) e^-s for nu = 1.5
    and (1 + s + s²/3) e^-s for nu = 2.5. Gradients in x, z and ls must be finite, where two points
    coincide too; for nu = 1.5 and 2.5 a coincident pair has the slope 0.
    """
    difference = (x.unsqueeze(-2) - z.unsqueeze(-3)) / ls
    r2 = difference.square().sum(-1)
    apart = r2 > 0
    s = torch.where(apart, (2 * nu * torch.where(apart, r2, 1.0)).sqrt(), 0.0)
    if nu == 0.5:
        return torch.exp(-s)
    if nu == 1.5:
        return (1 + s) * torch.exp(-s)
    return (1 + s + s.square() / 3) * torch.exp(-s)


@e2.cases
def pairs_of_points(rng: Rng) -> Iterator[Case]:
    origin = _vector(0.0)[None]
    for nu in (0.5, 1.5, 2.5):
        yield Case(origin, origin, nu, 1.0, note="the same point")
        yield Case(origin, origin + 1, nu, 1.0)
        yield Case(origin, origin + 1, nu, 2.0, note="a longer lengthscale")
        yield Case(origin, origin + 60, nu, 1.0, note="far apart")
        shared = _grid(rng, 3, 2)
        yield Case(shared, shared, nu, _vector(0.5, 2.0), note="all points with themselves")
        yield Case(_grid(rng, 2, 3), _grid(rng, 4, 3), nu, _vector(0.5, 1.0, 3.0))
        yield Case(_grid(rng, 2, 3, 1), _grid(rng, 2, 2, 1), nu, 0.7, note="two sets at once")
        for scale in (1e-6, 1e6):
            yield Case(scale * _grid(rng, 3, 1), scale * _grid(rng, 2, 1), nu, 0.8 * scale)
    for nu, shape in itertools.product((0.5, 1.5, 2.5), ((2, 2), (5, 1))):
        yield Case(_grid(rng, *shape), _grid(rng, *shape), nu, float(rng.randint(1, 4)) / 2)


@e2.shape
def _(fn: Fn, x: Tensor, z: Tensor, nu: float, ls: Any) -> None:
    has_shape(fn(x, z, nu, ls), (*x.shape[:-1], z.shape[-2]), torch.float64)


@e2.property("points and lengthscales a thousand times larger give the same kernel matrix")
def _(fn: Fn, x: Tensor, z: Tensor, nu: float, ls: Any) -> None:
    close(fn(1000 * x, 1000 * z, nu, 1000 * ls), fn(x, z, nu, ls), 1e-10)


@e2.property("all points moved by 10,000 lengthscales give the same kernel matrix")
def _(fn: Fn, x: Tensor, z: Tensor, nu: float, ls: Any) -> None:
    close(fn(x + 1e4 * ls, z + 1e4 * ls, nu, ls), fn(x, z, nu, ls), 1e-10)


@e2.property(
    "the kernel matrix of a set with itself is symmetric, with ones on the diagonal, and "
    "no eigenvalue is negative"
)
def _(fn: Fn, x: Tensor, z: Tensor, nu: float, ls: Any) -> None:
    K = fn(z, z, nu, ls)
    close(K, K.mT, 1e-12)
    ones = K.diagonal(dim1=-2, dim2=-1)
    close(ones, torch.ones_like(ones), 1e-12)
    require(torch.linalg.eigvalsh(K) >= -1e-12, "an eigenvalue is negative")


@e2.property(
    "the gradients in x, z and ls are finite, coincident points included, and those of a "
    "coincident pair are 0 for nu = 1.5 and 2.5"
)
def _(fn: Fn, x: Tensor, z: Tensor, nu: float, ls: Any) -> None:
    for other in (z, x):
        leaves = [x.clone(), other.clone(), torch.as_tensor(ls, dtype=torch.float64).clone()]
        for leaf in leaves:
            leaf.requires_grad_()
        K = fn(leaves[0], leaves[1], nu, leaves[2])
        slopes = torch.autograd.grad(K.sum(), leaves, materialize_grads=True)
        require(all(bool(slope.isfinite().all()) for slope in slopes), "a slope is not finite")
    if nu > 1:
        point = x[..., :1, :].clone().requires_grad_()
        (slope,) = torch.autograd.grad(fn(point, point.detach(), nu, ls).sum(), point)
        close(slope, torch.zeros_like(slope), 1e-12)


@e2.property("gradients agree with small changes where points are apart (torch.autograd.gradcheck)")
def _(fn: Fn, x: Tensor, z: Tensor, nu: float, ls: Any) -> None:
    unit = torch.as_tensor(ls, dtype=torch.float64)
    a, b = x / unit, z / unit
    if float(_r2(a, b).min()) > 0.01 and float(_r2(a, b).max()) < 100:
        leaves = a.clone().requires_grad_(), b.clone().requires_grad_()
        one = torch.ones_like(unit).requires_grad_()
        right = gradcheck(
            lambda p, q, ell: fn(p, q, nu, ell), (*leaves, one), raise_exception=False
        )
        require(right, "they do not")


@e2.value("the definition by Bessel functions, pair by pair")
def _(fn: Fn, x: Tensor, z: Tensor, nu: float, ls: Any) -> None:
    K = fn(x, z, nu, ls).detach()
    difference = (x.unsqueeze(-2) - z.unsqueeze(-3)).numpy() / np.asarray(ls)
    s = math.sqrt(2 * nu) * np.sqrt((difference**2).sum(-1))
    safe = np.where(s > 0, s, 1.0)
    bessel = 2 ** (1 - nu) / special.gamma(nu) * safe**nu * special.kv(nu, safe)
    close(K, np.where(s > 0, bessel, 1.0), 1e-10)


def _matern(s: Tensor, nu: float) -> Tensor:
    factor = {0.5: torch.ones_like(s), 1.5: 1 + s, 2.5: 1 + s + s.square() / 3}[nu]
    return factor * torch.exp(-s)


@e2.wrong("a plain square root: the gradient is NaN where points coincide")
def _(x: Tensor, z: Tensor, nu: float, ls: Any) -> Tensor:
    return _matern((2 * nu * _r2(x / ls, z / ls)).sqrt(), nu)


@e2.wrong("a square root of r² plus a little")
def _(x: Tensor, z: Tensor, nu: float, ls: Any) -> Tensor:
    return _matern((2 * nu * (_r2(x / ls, z / ls) + 1e-6)).sqrt(), nu)


@e2.wrong("forgets the factor √(2 nu)")
def _(x: Tensor, z: Tensor, nu: float, ls: Any) -> Tensor:
    return _matern((_r2(x / ls, z / ls) + 1e-300).sqrt(), nu)


@e2.wrong("divides the squared distance by the lengthscale once")
def _(x: Tensor, z: Tensor, nu: float, ls: Any) -> Tensor:
    return matern(x, z, nu, torch.as_tensor(ls, dtype=torch.float64).sqrt())


@e2.wrong("one lengthscale for all inputs")
def _(x: Tensor, z: Tensor, nu: float, ls: Any) -> Tensor:
    return matern(x, z, nu, torch.as_tensor(ls, dtype=torch.float64).mean())


@e2.wrong("the square expanded: inaccurate far from the origin")
def _(x: Tensor, z: Tensor, nu: float, ls: Any) -> Tensor:
    a, b = x / ls, z / ls
    squares = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
    r2 = (squares - 2 * a @ b.mT).clamp(min=0.0)
    apart = r2 > 0
    return _matern((2 * nu * torch.where(apart, r2, 1.0)).sqrt() * apart, nu)


@e2.wrong("s² without the third")
def _(x: Tensor, z: Tensor, nu: float, ls: Any) -> Tensor:
    r2 = _r2(x / ls, z / ls)
    s = (2 * nu * torch.where(r2 > 0, r2, 1.0)).sqrt() * (r2 > 0)
    return matern(x, z, nu, ls) + (s.square() * 2 / 3 * torch.exp(-s) if nu == 2.5 else 0.0)


@e2.wrong("Matérn-3/2 for every nu")
def _(x: Tensor, z: Tensor, nu: float, ls: Any) -> Tensor:
    return matern(x, z, 1.5, ls)


# --- e3: the evidence -------------------------------------------------------------------------

e3 = Exercise(
    id="p3.t3.e3",
    title="The evidence, with a lengthscale for each input",
    copies=False,
    size=lambda theta, X, y: theta.numel() + X.numel(),
    hints=(
        "One drill, n = 1: its variance is σ_f² + σₙ², and log p(y) is the log density of a "
        "normal number. Which of the three terms do you get wrong there?",
        "Split theta along its last axis: the first d entries are logarithms of lengthscales. "
        "Divide the points by them before you subtract. For several rows of theta, the "
        "lengthscales need one more axis before they meet X.",
        "log det A is twice the sum of the logarithms of L's diagonal, and the first term is the "
        "squared length of L⁻¹ y. A determinant, instead, is 0 or infinite for 200 drills.",
    ),
)


@e3.answer
def log_marginal(theta: Tensor, X: Tensor, y: Tensor) -> Tensor:
    """log p(y) of drills X, `n d`, and y, `n`, for an RBF kernel and mean 0.

    theta, `... d+2`, holds log ℓ for each input (distances are measured in these lengthscales), log
    σ_f² and log σₙ². Return shape `...`: one value for each row of theta. The result must be
    differentiable in theta, and finite for 200 drills.
    """
    d, n = X.shape[-1], len(y)
    Z = X / theta[..., None, :d].exp()
    r2 = (Z.unsqueeze(-2) - Z.unsqueeze(-3)).square().sum(-1)
    var, noise = theta[..., d].exp(), theta[..., d + 1].exp()
    A = var[..., None, None] * torch.exp(-0.5 * r2)
    A = A + torch.diag_embed(noise.unsqueeze(-1).expand(*noise.shape, n))
    L = torch.linalg.cholesky(A)
    column = y.unsqueeze(-1).expand(*A.shape[:-1], 1)
    w: Tensor = torch.linalg.solve_triangular(L, column, upper=False).squeeze(-1)
    half_log_det: Tensor = L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * w.square().sum(-1) - half_log_det - 0.5 * n * math.log(2 * math.pi)


def _logs(rng: Rng, *shape: int) -> Tensor:
    """Logarithms of scales: lengthscales and variances about 1, noise variances about 0.1."""
    theta = _grid(rng, *shape) / 2
    theta[..., -1] = theta[..., -1] - 2
    return theta


@e3.cases
def votes(rng: Rng) -> Iterator[Case]:
    zero = torch.zeros(1, 1, dtype=torch.float64)
    yield Case(_vector(0.0, 0.0, 0.0), zero, _vector(0.0), note="one drill, nothing found")
    yield Case(_vector(0.0, 0.0, -1.0), zero, _vector(2.0), note="one drill")
    yield Case(_vector(0.0, 0.0, 0.0), zero.expand(2, 1), _vector(1.0, -1.0), note="one place")
    yield Case(_vector(0.5, 0.0, -2.0), _vector(0.0, 1.0)[:, None], _vector(1.0, 1.0))
    yield Case(_logs(rng, 1, 3), _grid(rng, 2, 1), _grid(rng, 2), note="a row of theta")
    yield Case(_logs(rng, 4, 3), _grid(rng, 3, 1), _grid(rng, 3), note="four rows of theta")
    yield Case(_logs(rng, 2, 3, 4), _grid(rng, 4, 2), _grid(rng, 4), note="a table of theta")
    yield Case(_vector(0.0, 2.0, 0.0, -2.0), _grid(rng, 4, 2), _grid(rng, 4), note="d = 2")
    yield Case(_vector(0.0, 9.0, 0.0, -2.0), _grid(rng, 5, 2), _grid(rng, 5), note="an idle input")
    yield Case(_vector(0.0, 0.0, -9.0), torch.arange(4).double()[:, None], _grid(rng, 4))
    for scale in (1e-6, 1e6):
        shift = math.log(scale)
        theta = _vector(shift, 2 * shift, 2 * shift - 1)
        yield Case(theta, scale * _grid(rng, 4, 1), scale * _grid(rng, 4), note=f"size {scale:g}")
        theta = _vector(0.0, 2 * shift, 2 * shift - 1)
        yield Case(theta, _grid(rng, 200, 1), scale * _grid(rng, 200), note="200 drills")
    for n, d in ((2, 2), (3, 1), (3, 3), (5, 1), (5, 2), (6, 3), (8, 2)):
        yield Case(_logs(rng, d + 2), _grid(rng, n, d), _grid(rng, n))


@e3.shape
def _(fn: Fn, theta: Tensor, X: Tensor, y: Tensor) -> None:
    has_shape(fn(theta, X, y), theta.shape[:-1], torch.float64)


@e3.property("in other units of gold, y c, σ_f² c², σₙ² c², it changes by -n log c")
def _(fn: Fn, theta: Tensor, X: Tensor, y: Tensor) -> None:
    other = theta.clone()
    other[..., -2:] += 2 * math.log(3)
    close(fn(other, X, 3 * y), fn(theta, X, y) - len(y) * math.log(3), 1e-8 * len(y))


@e3.property("in other units of one input, X and its lengthscale times 3, nothing changes")
def _(fn: Fn, theta: Tensor, X: Tensor, y: Tensor) -> None:
    other, moved = theta.clone(), X.clone()
    other[..., 0] += math.log(3)
    moved[:, 0] *= 3
    close(fn(other, moved, y), fn(theta, X, y), 1e-8 * len(y))


@e3.property("drills in reverse order, and moved by 100, have the same evidence")
def _(fn: Fn, theta: Tensor, X: Tensor, y: Tensor) -> None:
    if float(X.abs().max()) > 1e-3:
        close(fn(theta, X.flip(0) + 100, y.flip(0)), fn(theta, X, y), 1e-7 * len(y))


@e3.property("the gradient agrees with small changes of theta (torch.autograd.gradcheck)")
def _(fn: Fn, theta: Tensor, X: Tensor, y: Tensor) -> None:
    if len(y) < 10:
        leaf = theta.clone().requires_grad_()
        right = gradcheck(lambda t: fn(t, X, y), leaf, atol=1e-4, raise_exception=False)
        require(right, "it does not")


@e3.value("SciPy's density of a multivariate normal, row by row")
def _(fn: Fn, theta: Tensor, X: Tensor, y: Tensor) -> None:
    values, d = fn(theta, X, y).detach().reshape(-1), X.shape[-1]
    for row, value in zip(theta.reshape(-1, d + 2).numpy(), values, strict=True):
        A = _covariance(row, X.numpy()) + math.exp(row[d + 1]) * np.eye(len(y))
        unit = math.exp(row[d] / 2)  # SciPy calls small covariances singular
        density = stats.multivariate_normal(cov=A / unit**2).logpdf(y.numpy() / unit)
        close(value, float(density) - len(y) * math.log(unit), 1e-7 * len(y))


def _covariance(row: np.ndarray, X: np.ndarray) -> np.ndarray:
    d = X.shape[-1]
    gaps = (X[:, None] - X[None]) / np.exp(row[:d])
    covariance: np.ndarray = np.exp(row[d] - 0.5 * (gaps**2).sum(-1))
    return covariance


@e3.wrong("without the constant")
def _(theta: Tensor, X: Tensor, y: Tensor) -> Tensor:
    return log_marginal(theta, X, y) + 0.5 * len(y) * math.log(2 * math.pi)


@e3.wrong("theta read as logarithms of standard deviations")
def _(theta: Tensor, X: Tensor, y: Tensor) -> Tensor:
    d = X.shape[-1]
    return log_marginal(torch.cat([theta[..., :d], 2 * theta[..., d:]], -1), X, y)


@e3.wrong("the first lengthscale for all inputs")
def _(theta: Tensor, X: Tensor, y: Tensor) -> Tensor:
    d = X.shape[-1]
    shared = theta[..., :1].expand(*theta.shape[:-1], d)
    return log_marginal(torch.cat([shared, theta[..., d:]], -1), X, y)


def _parts(theta: Tensor, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A and the fit y·α, for a row or more of theta."""
    d, n = X.shape[-1], len(y)
    Z = X / theta[..., None, :d].exp()
    A = theta[..., d, None, None].exp() * torch.exp(-0.5 * _r2(Z, Z))
    A = A + theta[..., d + 1, None, None].exp() * _eye(n)
    return A, (y * torch.linalg.solve(A, y.expand(*A.shape[:-1]).unsqueeze(-1))[..., 0]).sum(-1)


@e3.wrong("the logarithm of the determinant, which is 0 or infinite for many drills")
def _(theta: Tensor, X: Tensor, y: Tensor) -> Tensor:
    A, fit = _parts(theta, X, y)
    log_det: Tensor = torch.linalg.det(A).log()
    return -0.5 * (fit + log_det + len(y) * math.log(2 * math.pi))


@e3.wrong("the half of log det twice: sums the logarithms of L's diagonal, and halves them")
def _(theta: Tensor, X: Tensor, y: Tensor) -> Tensor:
    A, _ = _parts(theta, X, y)
    return log_marginal(theta, X, y) + 0.25 * torch.logdet(A)


@e3.wrong("the fit alone: no price for wide beliefs")
def _(theta: Tensor, X: Tensor, y: Tensor) -> Tensor:
    return -0.5 * _parts(theta, X, y)[1]


@e3.wrong("around the drills' mean")
def _(theta: Tensor, X: Tensor, y: Tensor) -> Tensor:
    return log_marginal(theta, X, y - y.mean())


@e3.wrong("per drill")
def _(theta: Tensor, X: Tensor, y: Tensor) -> Tensor:
    return log_marginal(theta, X, y) / len(y) if len(y) > 1 else log_marginal(theta, X, y)


@e3.wrong("no way for a gradient: the scales are taken out of the graph")
def _(theta: Tensor, X: Tensor, y: Tensor) -> Tensor:
    return log_marginal(theta.detach(), X, y)


# --- e4: leaving out --------------------------------------------------------------------------

e4 = Exercise(
    id="p3.t3.e4",
    title="Leave out a day",
    pure=True,
    size=lambda K, y, day: len(y),
    hints=(
        "First let every drill have a day of its own: the tutorial's formula holds. Then two "
        "drills on one day, and no others: with nothing left, what is the prediction?",
        "Write P for the inverse of K, and split it by the drills left out (g) and those kept. The "
        "inverse of a block of P is a covariance: of what, given what? For a single drill that "
        "block is a number.",
        "The misses of the day's drills are the inverse of P's block of that day times α of that "
        "day; their covariance is that inverse. Only its diagonal is asked for. Days may be "
        "scattered: `day == d` is a mask.",
    ),
)


@e4.answer
def loo(K: Tensor, y: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each drill, predicted from the drills of all other days: `n` and `n`.

    K, `n n`, is the prior covariance of the drills, noise included; their mean is 0. y, `n`, is
    what they brought up, day, `n`, integers. Drills of one day share the weather, so that leaving
    out one alone would be too easy a test. If all are of one day, the prior is left.

    Find all n answers from one inverse of K (or one Cholesky factor), without refitting the rest.
    """
    P = torch.cholesky_inverse(torch.linalg.cholesky(K))
    alpha = P @ y
    mean, variance = torch.empty_like(y), torch.empty_like(y)
    for d in day.unique():
        g = day == d
        block = torch.linalg.inv(P[g][:, g])
        mean[g] = y[g] - block @ alpha[g]
        variance[g] = block.diagonal()
    return mean, variance


def _drilled(rng: Rng, n: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """A covariance of n drills, noise included, and what they brought up.

    No two variances are equal: ground and noise are not the same everywhere.
    """
    X, sizes = _grid(rng, n, 1), rng.uniform_in(0.5, 2.0, n)
    noise = torch.diag(0.05 + rng.uniform_in(0.0, 1.0, n))
    K = sizes[:, None] * torch.exp(-0.5 * _r2(X, X)) * sizes + noise
    return scale**2 * K, scale * _grid(rng, n)


def _days(*days: int) -> Tensor:
    return torch.tensor(days)


@e4.cases
def campaigns(rng: Rng) -> Iterator[Case]:
    half = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    yield Case(_vector(2.0).reshape(1, 1), _vector(1.0), _days(0), note="one drill")
    yield Case(half, _vector(1.0, -1.0), _days(0, 1), note="two drills, two days")
    yield Case(half, _vector(1.0, -1.0), _days(3, 3), note="two drills, one day")
    yield Case(half, _vector(1.0, 1.0), _days(7, -2), note="days have any number")
    yield Case(_eye(3), _vector(1.0, 2.0, 3.0), _days(0, 1, 1), note="unrelated drills")
    uneven = torch.diag(_vector(1.0, 4.0, 9.0)) + 0.5
    yield Case(uneven, _vector(1.0, 2.0, 3.0), _days(1, 1, 1), note="one day, unequal variances")
    yield Case(uneven, _vector(1.0, 2.0, 3.0), _days(2, 1, 2), note="unequal variances")
    for n in (2, 3, 4, 6, 9):
        yield Case(*_drilled(rng, n), torch.arange(n), note="a day for each drill")
        yield Case(*_drilled(rng, n), torch.arange(n) // 2, note="two drills a day")
        yield Case(*_drilled(rng, n), torch.arange(n) % 2, note="two days in turn")
        yield Case(*_drilled(rng, n), torch.tensor([rng.randint(0, n // 2) for _ in range(n)]))
    for scale in (1e-6, 1e6):
        yield Case(
            *_drilled(rng, 5, scale), _days(1, 0, 0, 1, 2), note=f"numbers of size {scale:g}"
        )


@e4.shape
def _(fn: Fn, K: Tensor, y: Tensor, day: Tensor) -> None:
    result = fn(K, y, day)
    require(isinstance(result, tuple) and len(result) == 2, "expected a tuple (mean, variance)")
    has_shape(result[0], y.shape, torch.float64)
    has_shape(result[1], y.shape, torch.float64)


@e4.property("the prediction of a day does not depend on what that day brought up")
def _(fn: Fn, K: Tensor, y: Tensor, day: Tensor) -> None:
    here = day == day[0]
    other = torch.where(here, y + 3 * K[0, 0].sqrt(), y)
    mean, size = fn(K, y, day)[0], float(K[0, 0].sqrt() + y.abs().max())
    close(fn(K, other, day)[0][here], mean[here], 1e-9 * size)


@e4.property("all drills of one day: mean 0 and the prior's variances")
def _(fn: Fn, K: Tensor, y: Tensor, day: Tensor) -> None:
    mean, variance = fn(K, y, torch.zeros_like(day))
    close(mean, torch.zeros_like(y), 1e-9 * float(K[0, 0].sqrt() + y.abs().max()))
    close(variance, K.diagonal(), 1e-9, relative=True)


@e4.property("the numbers and the order of the days do not matter")
def _(fn: Fn, K: Tensor, y: Tensor, day: Tensor) -> None:
    mean, variance = fn(K, y, day)
    back = fn(K.flip(0, 1), y.flip(0), 5 - 2 * day.flip(0))
    close(back[0].flip(0), mean, 1e-9 * float(K[0, 0].sqrt() + y.abs().max()))
    close(back[1].flip(0), variance, 1e-9, relative=True)


@e4.property("no variance is above the prior's")
def _(fn: Fn, K: Tensor, y: Tensor, day: Tensor) -> None:
    require(fn(K, y, day)[1] <= K.diagonal() * (1 + 1e-9), "a variance has grown")


def _refit(K: Tensor, y: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
    mean, variance = torch.zeros_like(y), K.diagonal().clone()
    for i in range(len(y)):
        rest = day != day[i]
        if bool(rest.any()):
            solved = torch.linalg.solve(K[rest][:, rest], K[rest, i])
            mean[i], variance[i] = solved @ y[rest], K[i, i] - solved @ K[rest, i]
    return mean, variance


@e4.value("refits without the day, drill by drill")
def _(fn: Fn, K: Tensor, y: Tensor, day: Tensor) -> None:
    mean, variance = _refit(K, y, day)
    result = fn(K, y, day)
    close(result[0], mean, 1e-9 * float(K[0, 0].sqrt() + y.abs().max()))
    close(result[1], variance, 1e-9, relative=True)


@e4.wrong("leaves out single drills, whatever the day")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    return loo(K, y, torch.arange(len(y)))


@e4.wrong("the variance of each drill alone, from the diagonal of the inverse")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    return loo(K, y, day)[0], 1 / torch.linalg.inv(K).diagonal()


@e4.wrong("divides by the diagonal only: right means for single drills")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    P = torch.linalg.inv(K)
    return y - P @ y / P.diagonal(), loo(K, y, day)[1]


@e4.wrong("the other sign of the miss")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    mean, variance = loo(K, y, day)
    return 2 * y - mean, variance


@e4.wrong("returns the misses")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    mean, variance = loo(K, y, day)
    return y - mean, variance


@e4.wrong("standard deviations for variances")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    mean, variance = loo(K, y, day)
    return mean, variance.sqrt()


@e4.wrong("the inverse of K's block instead of the block of K's inverse")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    alpha, mean, variance = torch.linalg.solve(K, y), y.clone(), y.clone()
    for d in day.unique():
        g = day == d
        mean[g], variance[g] = y[g] - K[g][:, g] @ alpha[g], K.diagonal()[g]
    return mean, variance


@e4.wrong("the mean of the diagonal: one variance for all drills of a day")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    mean, variance = loo(K, y, day)
    for d in day.unique():
        variance[day == d] = variance[day == d].mean()
    return mean, variance


@e4.wrong("if no other day is left, the mean of the prior's variances")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    mean, variance = loo(K, y, day)
    return mean, variance if len(day.unique()) > 1 else K.diagonal().mean().expand(len(y)).clone()


@e4.wrong("takes the first drill's variance for the prior's")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    mean, variance = loo(K / K[0, 0] * K.diagonal().mean(), y, day)
    return mean, variance


@e4.wrong("a small jitter on top of the noise")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    return loo(K + 1e-6 * K.diagonal().mean() * torch.eye(len(y), dtype=K.dtype), y, day)


@e4.wrong("takes neighbouring rows for a day")
def _(K: Tensor, y: Tensor, day: Tensor) -> Any:
    changes = torch.cat([torch.zeros(1), (day.diff() != 0).double()])
    return loo(K, y, changes.cumsum(0).long())


# --- e5: where the ground changes -------------------------------------------------------------

e5 = Exercise(
    id="p3.t3.e5",
    title="Where the ground changes",
    size=lambda a, b, k1, k2, at, width: a.numel() + b.numel(),
    pure=True,
    hints=(
        "At one place x the ground is (1 - s(x)) f1(x) + s(x) f2(x). What is its variance? And its "
        "covariance with the ground at another place z, if f1 and f2 have nothing to do with each "
        "other?",
        "Multiply out the product of two such sums: four terms, of which two have mean 0. Each of "
        "the others is a kernel times a weight of x times a weight of z: a column times a row.",
        "A kernel that is multiplied by w(x) w(z) is the covariance of w f, and sums of "
        "covariances are covariances. If you find yourself averaging s(x) and s(z), that argument "
        "is lost.",
    ),
)


@e5.answer
def changepoint(
    a: Tensor,
    b: Tensor,
    k1: Callable[[Tensor, Tensor], Tensor],
    k2: Callable[[Tensor, Tensor], Tensor],
    at: float,
    width: float,
) -> Tensor:
    """Kernel matrix, `... n m`, for ground of kind k1 on the left of `at`, of kind k2 on the right.

    The ground is f(x) = (1 - s(x)) f1(x) + s(x) f2(x) with s(x) = sigmoid((x - at) / width) and f1
    and f2 independent, with mean 0 and kernels k1 and k2. These take places a, `... n`, and b,
    `... m`, to a matrix `... n m`. The matrix of a set with itself must have no negative
    eigenvalue.
    """
    s, t = torch.sigmoid((a - at) / width), torch.sigmoid((b - at) / width)
    left = (1 - s).unsqueeze(-1) * (1 - t).unsqueeze(-2)
    right = s.unsqueeze(-1) * t.unsqueeze(-2)
    return left * k1(a, b) + right * k2(a, b)


def _on_a_line(k: Kernel) -> Kernel:
    return _named(k.__name__, lambda A, B: k(A.unsqueeze(-1), B.unsqueeze(-1)))


@e5.cases
def strips(rng: Rng) -> Iterator[Case]:
    calm, lively = _on_a_line(_rbf(2.0)), _on_a_line(_rbf(0.3, 4.0))
    rough, line = _on_a_line(_rough(0.5)), _on_a_line(_lines())
    zero, pair = _vector(0.0), _vector(-1.0, 1.0)
    yield Case(zero, zero, calm, lively, 0.0, 1.0, note="at the border")
    yield Case(zero, zero + 1, calm, lively, 0.0, 1.0, note="two places")
    yield Case(pair, pair, calm, lively, 0.0, 1.0, note="across the border")
    yield Case(pair, zero, calm, lively, 0.5, 0.01, note="a sharp border")
    yield Case(pair, pair, calm, calm, 0.0, 1.0, note="the same kind on both sides")
    yield Case(_vector(-1.0, -1.0, 2.0), zero, line, rough, 0.0, 0.5, note="a place twice")
    yield Case(1e6 * pair, 1e6 * _grid(rng, 3), calm, rough, 0.0, 1e6, note="size 1e6")
    yield Case(1e-6 * pair, 1e-6 * _grid(rng, 3), calm, rough, 0.0, 1e-6, note="size 1e-6")
    kinds: Sequence[Kernel] = (calm, lively, rough, line)
    for first, second in itertools.permutations(kinds, 2):
        at, width = float(_grid(rng, 1)), rng.choice([0.1, 0.5, 1.0])
        yield Case(_grid(rng, 4), _grid(rng, 3), first, second, at, width)
    for shape in ((2, 3), (3, 2), (2, 2, 3)):
        places = _grid(rng, *shape)
        yield Case(places, places, calm, rough, 0.2, 0.5, note=f"sets of shape {shape}")
    yield Case(_grid(rng, 20), _grid(rng, 2), calm, rough, 0.0, 1.0, note="20 places")


@e5.shape
def _(fn: Fn, a: Tensor, b: Tensor, k1: Kernel, k2: Kernel, at: float, width: float) -> None:
    has_shape(fn(a, b, k1, k2, at, width), (*a.shape, b.shape[-1]), torch.float64)


@e5.property(
    "the matrix of a set with itself is symmetric, and no eigenvalue is negative (ten sets)"
)
def _(fn: Fn, a: Tensor, b: Tensor, k1: Kernel, k2: Kernel, at: float, width: float) -> None:
    span, steps = torch.linspace(-6, 6, 10).double(), torch.arange(10).double()
    around = [at + width * (span + 0.9 * torch.sin(steps * i)) for i in range(1, 10)]
    for places in (a, *around):
        K = fn(places, places, k1, k2, at, width)
        size = float(k1(places, places).abs().max() + k2(places, places).abs().max())
        close(K, K.mT, 1e-12 * size)
        require(torch.linalg.eigvalsh(K) >= -1e-11 * size, "an eigenvalue is negative")


@e5.property("far to the left it is k1, far to the right k2, and across the border 0")
def _(fn: Fn, a: Tensor, b: Tensor, k1: Kernel, k2: Kernel, at: float, width: float) -> None:
    near = torch.linspace(0, 1, 3).double()
    left, right = at - 60 * width - near, at + 60 * width + near
    close(fn(left, left, k1, k2, at, width), k1(left, left), 1e-12, relative=True)
    close(fn(right, right, k1, k2, at, width), k2(right, right), 1e-12, relative=True)
    size = float(k1(left, left).abs().max() + k2(right, right).abs().max())
    close(fn(left, right, k1, k2, at, width), torch.zeros(3, 3).double(), 1e-12 * size)


@e5.value("the covariance of (1 - s) f1 + s f2, as a product of three matrices")
def _(fn: Fn, a: Tensor, b: Tensor, k1: Kernel, k2: Kernel, at: float, width: float) -> None:
    K, n, m = fn(a, b, k1, k2, at, width), a.shape[-1], b.shape[-1]
    both = torch.cat([a, b], dim=-1).reshape(-1, n + m)
    for matrix, x in zip(K.reshape(-1, n, m), both, strict=True):
        s = 1 / (1 + torch.exp(-(x - at) / width))
        W = torch.cat([torch.diag(1 - s), torch.diag(s)], dim=-1)  # f = W (f1, f2)
        size = float(k1(x, x).abs().max() + k2(x, x).abs().max())
        whole = W @ torch.block_diag(k1(x, x), k2(x, x)) @ W.T
        close(matrix, whole[:n, n:], 1e-11 * size)


def _weights(a: Tensor, b: Tensor, at: float, width: float) -> tuple[Tensor, Tensor]:
    s, t = torch.sigmoid((a - at) / width), torch.sigmoid((b - at) / width)
    return s.unsqueeze(-1), t.unsqueeze(-2)


@e5.wrong("the weight of the first place only: not symmetric")
def _(a: Tensor, b: Tensor, k1: Kernel, k2: Kernel, at: float, width: float) -> Tensor:
    s, _ = _weights(a, b, at, width)
    return (1 - s) * k1(a, b) + s * k2(a, b)


@e5.wrong("the mean of the two weights: negative eigenvalues")
def _(a: Tensor, b: Tensor, k1: Kernel, k2: Kernel, at: float, width: float) -> Tensor:
    s, t = _weights(a, b, at, width)
    return (1 - (s + t) / 2) * k1(a, b) + (s + t) / 2 * k2(a, b)


@e5.wrong("square roots of the weights, so that the variance stays: another ground")
def _(a: Tensor, b: Tensor, k1: Kernel, k2: Kernel, at: float, width: float) -> Tensor:
    s, t = _weights(a, b, at, width)
    return ((1 - s) * (1 - t)).sqrt() * k1(a, b) + (s * t).sqrt() * k2(a, b)


@e5.wrong("k1 and k2 exchanged")
def _(a: Tensor, b: Tensor, k1: Kernel, k2: Kernel, at: float, width: float) -> Tensor:
    return changepoint(a, b, k2, k1, at, width)


@e5.wrong("a hard border")
def _(a: Tensor, b: Tensor, k1: Kernel, k2: Kernel, at: float, width: float) -> Tensor:
    s, t = (a > at).double().unsqueeze(-1), (b > at).double().unsqueeze(-2)
    return (1 - s) * (1 - t) * k1(a, b) + s * t * k2(a, b)


@e5.wrong("f1 and f2 from the same draw: mixed terms with the mean of the kernels")
def _(a: Tensor, b: Tensor, k1: Kernel, k2: Kernel, at: float, width: float) -> Tensor:
    s, t = _weights(a, b, at, width)
    mixed = ((1 - s) * t + s * (1 - t)) * (k1(a, b) + k2(a, b)) / 2
    return (1 - s) * (1 - t) * k1(a, b) + s * t * k2(a, b) + mixed


@e5.wrong("multiplies by the width instead of dividing")
def _(a: Tensor, b: Tensor, k1: Kernel, k2: Kernel, at: float, width: float) -> Tensor:
    return changepoint(a, b, k1, k2, at, 2.0 if width == 1.0 else 1 / width)
