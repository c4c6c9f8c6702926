"""The exercises of part_1/tutorial_06: gradients through randomness."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require

Cost = Callable[[Tensor], Tensor]


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _grid(rng: Rng, *shape: int) -> Tensor:
    """Numbers in [-2, 2] with one decimal."""
    return (rng.uniform_in(-2.0, 2.0, *shape) * 10).round() / 10


# --- e1: normals of any mean and covariance ---------------------------------------------------

e1 = Exercise(
    id="p1.t6.e1",
    title="Gusts from every side",
    copies=False,
    size=lambda mu, L, eps: mu.numel() + L.numel() + eps.numel(),
    hints=(
        "Take a single arrow: L is a matrix, and eps a vector of d numbers. Which product moves "
        "it? Which entry of L tells how far the second number of eps moves the first coordinate?",
        "One arrow is mu + L @ eps: coordinate i is mu_i plus the sum over j of L_ij eps_j. Now "
        "eps has samples in front. Watch out for `eps @ L`, which sums over the other index of L.",
        "`torch.einsum` with the indices ij and j, and `...` in front of both, keeps every other "
        "axis in its place. Or make eps a column, with `unsqueeze(-1)`, and `squeeze` it again.",
    ),
)


@e1.answer
def reparam_normal(mu: Tensor, L: Tensor, eps: Tensor) -> Tensor:
    """Normals with means mu and covariances L Lᵀ, made from standard normals eps.

    mu has shape `... d` and L has shape `... d d`, lower triangular, with the same axes in front.
    eps has shape `s ... d`: samples first; its axes in the middle are those of mu, or 1, which
    means that all problems share their gusts. Return shape `s ... d`. Gradients must reach mu and
    L.
    """
    return mu + torch.einsum("...ij,...j->...i", L, eps)


def _lower(rng: Rng, *shape: int) -> Tensor:
    """Lower triangular matrices with a positive diagonal, one decimal each."""
    matrix = _grid(rng, *shape, shape[-1]).tril()
    return matrix - matrix.diagonal(dim1=-2, dim2=-1).diag_embed() + torch.eye(shape[-1]).double()


@e1.cases
def arrows(rng: Rng) -> Iterator[Case]:
    yield Case(_tensor([2.0]), _tensor([[3.0]]), _tensor([[1.0]]), note="one input, one sample")
    yield Case(
        _tensor([1.0, 2.0]), torch.eye(2).double(), _grid(rng, 1, 2), note="L is the identity"
    )
    yield Case(_tensor([0.0, 0.0]), _tensor([[1.0, 0.0], [2.0, 1.0]]), _grid(rng, 3, 2))
    yield Case(_grid(rng, 2), _tensor([[1.0, 0.0], [1.0, 0.0]]), _grid(rng, 3, 2), note="rank 1")
    yield Case(_grid(rng, 3), _lower(rng, 3), 0 * _grid(rng, 2, 3), note="no wind")
    yield Case(_grid(rng, 2), 0 * _lower(rng, 2), _grid(rng, 2, 2), note="L is zero")
    for scale in (1e-6, 1e6):
        yield Case(scale * _grid(rng, 2), scale * _lower(rng, 2), _grid(rng, 3, 2))
        yield Case(_grid(rng, 2), scale * _lower(rng, 2), _grid(rng, 3, 2), note=f"{scale:g} L")
    yield Case(_grid(rng, 2, 2), _lower(rng, 2, 2), _grid(rng, 2, 2, 2), note="all sizes are 2")
    yield Case(_grid(rng, 1, 2), _lower(rng, 1, 2), _grid(rng, 4, 1, 2), note="a batch of one")
    yield Case(_grid(rng, 3, 2), _lower(rng, 3, 2), _grid(rng, 4, 1, 2), note="shared gusts")
    yield Case(_grid(rng, 2, 3, 2), _lower(rng, 2, 3, 2), _grid(rng, 5, 1, 1, 2), note="shared")
    yield Case(
        _grid(rng, 2, 3, 2), _lower(rng, 2, 3, 2), _grid(rng, 5, 2, 1, 2), note="half shared"
    )
    for d, s in ((1, 4), (2, 1), (2, 5), (3, 2), (3, 3), (4, 2)):
        yield Case(_grid(rng, d), _lower(rng, d), _grid(rng, s, d))
        yield Case(_grid(rng, 3, d), _lower(rng, 3, d), _grid(rng, s, 3, d))


@e1.shape
def _(fn: Fn, mu: Tensor, L: Tensor, eps: Tensor) -> None:
    has_shape(fn(mu, L, eps), (len(eps), *mu.shape), torch.float64)


@e1.property("without wind, eps = 0, every arrow lands at mu")
def _(fn: Fn, mu: Tensor, L: Tensor, eps: Tensor) -> None:
    close(fn(mu, L, 0 * eps), mu.expand(len(eps), *mu.shape), 0)


@e1.property("opposite gusts land at opposite sides of mu")
def _(fn: Fn, mu: Tensor, L: Tensor, eps: Tensor) -> None:
    size = float(mu.abs().max() + L.abs().max() * eps.abs().max())
    both = fn(mu, L, eps) + fn(mu, L, -eps)
    close(both, (2 * mu).expand_as(both), 1e-12 * size)


@e1.property("gusts with mean 0 and covariance I give arrows with mean mu and covariance L Lᵀ")
def _(fn: Fn, mu: Tensor, L: Tensor, eps: Tensor) -> None:
    d = mu.shape[-1]
    even = math.sqrt(d) * torch.cat([torch.eye(d), -torch.eye(d)]).double()  # covariance I exactly
    x = fn(mu, L, even.reshape(2 * d, *(1,) * (mu.ndim - 1), d))
    has_shape(x, (2 * d, *mu.shape))
    away = x - mu
    size = max(float((L @ L.mT).abs().max()), float(mu.abs().max()) ** 2)
    close(x.mean(0), mu, 1e-12 * (size**0.5 + 1e-300))
    close(torch.einsum("s...i,s...j->...ij", away, away) / (2 * d), L @ L.mT, 1e-12 * size)


@e1.property("the inputs stay as they are")
def _(fn: Fn, mu: Tensor, L: Tensor, eps: Tensor) -> None:
    kept = mu.clone(), L.clone(), eps.clone()
    fn(mu, L, eps)
    require(all(map(torch.equal, kept, (mu, L, eps))), "an input has changed")


@e1.property("gradients reach mu and L: of a weighted sum, the weights and weights times gusts")
def _(fn: Fn, mu: Tensor, L: Tensor, eps: Tensor) -> None:
    leaves = mu.clone().requires_grad_(), L.clone().requires_grad_()
    x = fn(*leaves, eps)
    require(x.requires_grad, "the result does not depend on mu or L")
    weights = torch.arange(1.0, x.numel() + 1).double().cos().reshape(x.shape)
    slopes = torch.autograd.grad((weights * x).sum(), leaves, materialize_grads=True)
    expected = torch.einsum("s...i,s...j->...ij", weights, eps.expand(x.shape))
    close(slopes[0], weights.sum(0), 1e-10)
    close(slopes[1].tril(), expected.tril(), 1e-10 * max(1.0, float(expected.abs().max())))


@e1.value("a loop over the samples, the problems and the entries of L")
def _(fn: Fn, mu: Tensor, L: Tensor, eps: Tensor) -> None:
    d = mu.shape[-1]
    full = eps.expand(len(eps), *mu.shape).reshape(len(eps), -1, d)
    means, factors = mu.reshape(-1, d), L.reshape(-1, d, d)
    x = torch.zeros_like(full)
    for k in range(len(means)):
        for i in range(d):
            x[:, k, i] = means[k, i]
            for j in range(i + 1):
                x[:, k, i] += factors[k, i, j] * full[:, k, j]
    size = float(mu.abs().max() + L.abs().max() * eps.abs().max())
    close(fn(mu, L, eps), x.reshape(len(eps), *mu.shape), 1e-12 * max(size, 1e-300))


@e1.wrong("eps @ L: the transpose of L")
def _(mu: Tensor, L: Tensor, eps: Tensor) -> Tensor:
    return mu + torch.einsum("...ji,...j->...i", L, eps)


@e1.wrong("eps @ L.T, which mixes up the axes of a stack")
def _(mu: Tensor, L: Tensor, eps: Tensor) -> Tensor:
    return mu + eps @ L.mT


@e1.wrong("multiplies by the covariance instead of its root")
def _(mu: Tensor, L: Tensor, eps: Tensor) -> Tensor:
    return mu + torch.einsum("...ij,...j->...i", L @ L.mT, eps)


@e1.wrong("the diagonal of L only: every coordinate has a wind of its own")
def _(mu: Tensor, L: Tensor, eps: Tensor) -> Tensor:
    return mu + L.diagonal(dim1=-2, dim2=-1) * eps


@e1.wrong("standard deviations from the rows of L: the right spreads without their correlation")
def _(mu: Tensor, L: Tensor, eps: Tensor) -> Tensor:
    return mu + L.square().sum(-1).sqrt() * eps


@e1.wrong("draws from torch.distributions with sample instead of rsample: no way for a gradient")
def _(mu: Tensor, L: Tensor, eps: Tensor) -> Tensor:
    with torch.no_grad():
        return mu + torch.einsum("...ij,...j->...i", L, eps)


@e1.wrong("multiplies mu by L as well")
def _(mu: Tensor, L: Tensor, eps: Tensor) -> Tensor:
    return torch.einsum("...ij,...j->...i", L, mu + eps)


# --- e2: a gradient from values alone ---------------------------------------------------------

e2 = Exercise(
    id="p1.t6.e2",
    title="A gradient from values alone",
    size=lambda f, mu, n, seed: len(mu) + n,
    hints=(
        "Draw n gusts from a generator with this seed and let the arrows land. f gives each arrow "
        "a number. By what do you multiply it, before you take the average?",
        "With a spread of 1 the derivative of log p in mu is x - mu: for each arrow a vector of d "
        "numbers, just its gust. The estimate is the average of f(x) times the gust.",
        "`eps` of shape `n d` from torch.randn with the generator `torch.Generator()."
        "manual_seed(seed)`; f(mu + eps) has shape `n`, so it needs `unsqueeze(-1)` before it "
        "can multiply eps; then the mean over the arrows.",
    ),
)


@e2.answer
def score_grad(f: Callable[[Tensor], Tensor], mu: Tensor, n: int, seed: int) -> Tensor:
    """An unbiased estimate of the gradient of E f(x) in mu, for x = mu + eps, from n arrows.

    eps is standard normal, drawn from a generator of your own with the given seed. mu has shape
    `d`, like the result. f maps points `n d` to values `n`; it may jump, and torch may be unable to
    differentiate it: use its values only. Unbiased: right on average over the seeds, for n = 1 too.
    """
    g = torch.Generator().manual_seed(seed)
    eps = torch.randn(n, len(mu), generator=g, dtype=torch.float64)
    return (f(mu + eps).unsqueeze(-1) * eps).mean(0)


def _named(name: str, fn: Cost) -> Cost:
    def cost(x: Tensor) -> Tensor:
        return fn(x.detach())  # values only

    cost.__name__ = name
    return cost


def _scaled(f: Cost, factor: float) -> Cost:
    return _named(f"{factor:g} * ({f.__name__})", lambda x: factor * f(x))


MANY = 3000  # arrows of the cases that average over so many seeds that a bias of 5 % shows


@e2.cases
def costs(rng: Rng) -> Iterator[Case]:
    square = _named("x -> x[:, 0] ** 2", lambda x: x[:, 0] ** 2)
    norm = _named("x -> (x ** 2).sum(-1)", lambda x: x.square().sum(-1))
    hit = _named("x -> 1 where x[:, 0] < 1, else 0", lambda x: (x[:, 0] < 1.0).double())
    product = _named("x -> x[:, 0] * x[:, 1]", lambda x: x[:, 0] * x[:, 1])
    sine = _named("x -> sin(x).sum(-1)", lambda x: x.sin().sum(-1))
    rounded = _named("x -> round(x[:, 0])", lambda x: x[:, 0].round())
    best = _named("x -> x.amax(-1)", lambda x: x.amax(-1))
    constant = _named("x -> 1", lambda x: torch.ones(len(x), dtype=torch.float64))
    yield Case(square, _tensor([3.0]), MANY, rng.randrange(1000), note="many seeds")
    yield Case(hit, _tensor([1.0]), MANY, rng.randrange(1000), note="many seeds, f jumps")
    yield Case(sine, _tensor([0.2]), MANY, rng.randrange(1000), note="many seeds")
    yield Case(square, _tensor([3.0]), 1, rng.randrange(1000), note="one arrow")
    yield Case(square, _tensor([3.0]), 2, rng.randrange(1000), note="two arrows")
    yield Case(norm, _tensor([1.0, -2.0]), 3, rng.randrange(1000), note="three arrows")
    yield Case(hit, _tensor([0.5]), 400, rng.randrange(1000), note="f jumps")
    yield Case(hit, _tensor([0.5, 2.0]), 400, rng.randrange(1000), note="f ignores x[:, 1]")
    yield Case(rounded, _tensor([0.3]), 400, rng.randrange(1000), note="f jumps")
    yield Case(constant, _tensor([0.7]), 400, rng.randrange(1000), note="the gradient is 0")
    for scale in (1e-6, 1e6):
        scaled = _scaled(sine, scale)
        yield Case(scaled, _grid(rng, 2), 300, rng.randrange(1000), note=f"f of size {scale:g}")
    for f in (square, norm, hit, sine, rounded):
        for n in (100, 1000):
            yield Case(f, _grid(rng, 1), n, rng.randrange(1000))
    for f in (norm, product, sine, best):
        yield Case(f, _grid(rng, 2), rng.choice((200, 500)), rng.randrange(1000))


@functools.lru_cache(maxsize=64)
def _truth(f: Cost, at: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """The gradient of E f, and the spread of f(x) eps, by a midpoint rule on a fine grid."""
    mu, d = _tensor(at), len(at)
    cells = 20_000 if d == 1 else 300
    line = (torch.arange(cells).double() + 0.5) * (18.0 / cells) - 9.0
    eps = torch.cartesian_prod(*[line] * d).reshape(-1, d)
    weight = torch.exp(-0.5 * eps.square().sum(-1))
    terms = f(mu + eps).unsqueeze(-1) * eps
    weight = (weight / weight.sum()).unsqueeze(-1)
    mean = (weight * terms).sum(0)
    return mean, (weight * (terms - mean).square()).sum(0).sqrt()


@e2.shape
def _(fn: Fn, f: Cost, mu: Tensor, n: int, seed: int) -> None:
    has_shape(fn(f, mu, n, seed), tuple(mu.shape), torch.float64)


@e2.property("the same seed gives the same estimate")
def _(fn: Fn, f: Cost, mu: Tensor, n: int, seed: int) -> None:
    close(fn(f, mu, n, seed), fn(f, mu, n, seed), 0)


@e2.property("torch's own generator is left alone")
def _(fn: Fn, f: Cost, mu: Tensor, n: int, seed: int) -> None:
    torch.default_generator.manual_seed(seed + 1)
    before = torch.get_rng_state()
    fn(f, mu, n, seed)
    require(torch.equal(before, torch.get_rng_state()), "the global random state has changed")


@e2.property("three times f gives three times the estimate")
def _(fn: Fn, f: Cost, mu: Tensor, n: int, seed: int) -> None:
    spread = _truth(f, tuple(mu.tolist()))[1]
    size = float(spread.max())  # not the estimate: with mirrored gusts that may be 0
    close(fn(_scaled(f, 3.0), mu, n, seed), 3 * fn(f, mu, n, seed), 1e-9 * size)


@e2.property("on average over the seeds it is the gradient, within 5 standard errors")
def _(fn: Fn, f: Cost, mu: Tensor, n: int, seed: int) -> None:
    calls = 20 if n == MANY else min(800, math.ceil(8000 / n))
    mean = torch.stack([fn(f, mu, n, 10_000 * seed + k) for k in range(calls)]).mean(0)
    gradient, spread = _truth(f, tuple(mu.tolist()))
    slack = 2e-3 * float(spread.max())  # the grid's error where f jumps
    away = (mean - gradient) / (spread / math.sqrt(calls * n) + 0.2 * slack + 1e-300)
    worst = int(away.abs().argmax())
    side = "above" if away[worst] > 0 else "below"
    require(
        away.abs() <= 5,
        f"entry {worst} of the average over {calls} seeds is {float(away[worst].abs()):.0f} "
        f"standard errors {side} the gradient",
    )


@e2.wrong("multiplies by the arrow instead of the gust")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    x = mu + torch.randn(n, len(mu), generator=g, dtype=torch.float64)
    return (f(x).unsqueeze(-1) * x).mean(0)


@e2.wrong("the other sign: mu - x")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    x = mu + torch.randn(n, len(mu), generator=g, dtype=torch.float64)
    return (f(x).unsqueeze(-1) * (mu - x)).mean(0)


@e2.wrong("divides by n - 1, as a variance does")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    eps = torch.randn(n, len(mu), generator=g, dtype=torch.float64)
    return (f(mu + eps).unsqueeze(-1) * eps).sum(0) / max(n - 1, 1)


@e2.wrong("cuts off gusts beyond 2, against outliers")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    eps = torch.randn(n, len(mu), generator=g, dtype=torch.float64).clamp(-2.0, 2.0)
    return (f(mu + eps).unsqueeze(-1) * eps).mean(0)


@e2.wrong("a difference of averages over half a unit: a little too flat")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    eps = torch.randn(n, len(mu), generator=g, dtype=torch.float64)
    steps = 0.5 * torch.eye(len(mu), dtype=torch.float64)
    return torch.stack([f(mu + e + eps).mean() - f(mu - e + eps).mean() for e in steps])


@e2.wrong("six per cent too much")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    return 1.06 * score_grad(f, mu, n, seed)


@e2.wrong("adds up instead of averaging")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    eps = torch.randn(n, len(mu), generator=g, dtype=torch.float64)
    return (f(mu + eps).unsqueeze(-1) * eps).sum(0)


@e2.wrong("the same gusts for every seed")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    eps = torch.randn(n, len(mu), generator=g, dtype=torch.float64)
    return (f(mu + eps).unsqueeze(-1) * eps).mean(0)


@e2.wrong("torch.manual_seed, which reseeds everybody's generator")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    eps = torch.randn(n, len(mu), dtype=torch.float64)
    return (f(mu + eps).unsqueeze(-1) * eps).mean(0)


@e2.wrong("subtracts the mean of the same values first: too small by the factor (n - 1) / n")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    eps = torch.randn(n, len(mu), generator=g, dtype=torch.float64)
    value = f(mu + eps)
    return ((value - value.mean()).unsqueeze(-1) * eps).mean(0)


@e2.wrong("the pathwise gradient, which needs a derivative of f")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    eps = torch.randn(n, len(mu), generator=g, dtype=torch.float64)
    leaf = mu.clone().requires_grad_()
    return torch.autograd.grad(f(leaf + eps).mean(), leaf)[0]


@e2.wrong("a difference of two averages with the same gusts and a tiny step")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    eps, h = torch.randn(n, len(mu), generator=g, dtype=torch.float64), 1e-6
    steps = h * torch.eye(len(mu), dtype=torch.float64)
    return torch.stack([(f(mu + e + eps) - f(mu - e + eps)).mean() / (2 * h) for e in steps])


@e2.wrong("one number for each gust, shared by its coordinates")
def _(f: Cost, mu: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    eps = torch.randn(n, 1, generator=g, dtype=torch.float64).expand(n, len(mu))
    return (f(mu + eps).unsqueeze(-1) * eps).mean(0)


# --- e3: the expected improvement as an average -----------------------------------------------

e3 = Exercise(
    id="p1.t6.e3",
    title="Expected improvement as an average",
    copies=False,
    size=lambda mu, sigma, best, eps: mu.numel() + eps.numel(),
    hints=(
        "A value above `best` improves nothing; it does not make the average worse. What does one "
        "gust contribute, and where must max(0, ·) stand: inside the average or around it?",
        "Every gust is used for every mean: values of shape `s ...`, with the samples in front. "
        "The improvements are best minus values, and zero where that is negative.",
        "Give eps as many axes of size 1 behind its own as mu has. `clamp(min=0)` cuts off the "
        "losses and lets a gradient pass where there is a gain. Then the mean over axis 0.",
    ),
)


@e3.answer
def mc_ei(mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> Tensor:
    """The average of max(0, best - x) for x = mu + sigma eps, over the gusts eps.

    Small values are good. mu and sigma have the same shape `...`, any number of axes, none
    included; sigma >= 0. eps has shape `s`, and every pair of mu and sigma meets all of it. Return
    shape `...`. Gradients must reach mu and sigma.
    """
    x = mu + sigma * eps.reshape(-1, *[1] * mu.ndim)
    return (best - x).clamp(min=0).mean(0)


def _normals(u: Tensor) -> Tensor:
    z: Tensor = torch.special.ndtri(u)
    return z


def _spreads(rng: Rng, *shape: int) -> Tensor:
    return (rng.uniform_in(0.2, 2.0, *shape) * 10).round() / 10


@e3.cases
def beliefs(rng: Rng) -> Iterator[Case]:
    one = _tensor(1.0)
    yield Case(_tensor(2.0), one, 1.5, _tensor([-1.0]), note="one gust, no axes")
    yield Case(_tensor(2.0), one, 0.5, _tensor([1.0, 0.5]), note="no gust improves")
    yield Case(_tensor([0.0]), _tensor([0.0]), 1.0, _tensor([-1.0, 1.0]), note="sigma is 0")
    yield Case(_tensor([2.0]), _tensor([0.0]), 1.0, _tensor([-1.0, 1.0]), note="sigma is 0")
    yield Case(_tensor([0.0, 0.0]), _tensor([1.0, 2.0]), 0.0, _grid(rng, 2) + 0.05, note="s = 2")
    yield Case(_grid(rng, 3), _spreads(rng, 3), 0.5, rng.normal(3), note="as many gusts as means")
    for scale in (1e-6, 1e6):
        yield Case(scale * _grid(rng, 2), scale * _spreads(rng, 2), 0.3 * scale, rng.normal(5))
    yield Case(_grid(rng, 3), _spreads(rng, 3), 30.0, rng.normal(4), note="every gust improves")
    yield Case(_grid(rng, 2, 3), _spreads(rng, 2, 3), 0.4, rng.normal(5), note="two axes")
    yield Case(_grid(rng, 2, 2), _spreads(rng, 2, 2), 0.4, rng.normal(2), note="all sizes are 2")
    yield Case(_grid(rng, 2, 1, 3), _spreads(rng, 2, 1, 3), 0.1, rng.normal(4), note="three axes")
    for _ in range(4):
        yield Case(_grid(rng, 2), _spreads(rng, 2), round(rng.uniform(-1, 1), 2), rng.normal(4))
    for s in (200, 1000):
        for _ in range(3):  # nowhere are improvements rare, so that standard errors can be trusted
            yield Case(_grid(rng, 2) / 2, 1 + _spreads(rng, 2), 0.25, rng.normal(s))
        yield Case(
            _grid(rng, 2) / 2,
            1 + _spreads(rng, 2),
            0.25,
            _normals((torch.arange(s).double() + 0.5) / s),
            note="even",
        )


def _improvements(mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> Tensor:
    """`... s`, the samples last, so as to come by another way."""
    return torch.relu(best - mu.unsqueeze(-1) - sigma.unsqueeze(-1) * eps)


@e3.shape
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> None:
    has_shape(fn(mu, sigma, best, eps), tuple(mu.shape), torch.float64)


@e3.property("it is never negative, and at least the improvement of the average value")
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> None:
    value = fn(mu, sigma, best, eps)
    require(value >= 0, "a negative expected improvement")
    size = abs(best) + float(mu.abs().max() + sigma.abs().max() * eps.abs().max())
    floor = best - mu - sigma * eps.mean()
    require(value >= floor - 1e-12 * size, "too small")


@e3.property("in units a thousand times as small, all values are a thousand times as large")
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> None:
    size = abs(best) + float(mu.abs().max() + sigma.abs().max() * eps.abs().max())
    scaled = fn(1000 * mu, 1000 * sigma, 1000 * best, eps)
    close(scaled, 1000 * fn(mu, sigma, best, eps), 1e-9 * size)


@e3.property("gains minus losses: subtracting the mirrored problem leaves best minus the mean of x")
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> None:
    size = abs(best) + float(mu.abs().max() + sigma.abs().max() * eps.abs().max())
    difference = fn(mu, sigma, best, eps) - fn(-mu, sigma, -best, -eps)
    close(difference, best - mu - sigma * eps.mean(), 1e-11 * size)


@e3.property("the inputs stay as they are")
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> None:
    kept = mu.clone(), sigma.clone(), eps.clone()
    fn(mu, sigma, best, eps)
    require(all(map(torch.equal, kept, (mu, sigma, eps))), "an input has changed")


@e3.property("its slopes in mu and sigma are the averages of the slopes of single gusts")
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> None:
    gains = best - mu.unsqueeze(-1) - sigma.unsqueeze(-1) * eps
    if bool((gains == 0).any()):
        return  # at the kink there is no slope
    leaves = mu.clone().requires_grad_(), sigma.clone().requires_grad_()
    value = fn(*leaves, best, eps)
    require(value.requires_grad, "no gradient reaches mu and sigma")
    slopes = torch.autograd.grad(value.sum(), leaves, materialize_grads=True)
    gained = (gains > 0).double()
    close(slopes[0], -gained.mean(-1), 1e-12)
    close(slopes[1], -(gained * eps).mean(-1), 1e-12)


@e3.value("a loop over the means and the gusts")
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> None:
    pairs = zip(mu.flatten().tolist(), sigma.flatten().tolist(), strict=True)
    gusts = eps.tolist()
    values = [
        math.fsum(max(0.0, best - (center + spread * gust)) for gust in gusts) / len(gusts)
        for center, spread in pairs
    ]
    size = abs(best) + float(mu.abs().max() + sigma.abs().max() * eps.abs().max())
    close(fn(mu, sigma, best, eps), _tensor(values).reshape(mu.shape), 1e-12 * size)


@e3.value("the closed form, within 5 standard errors, where there are 200 gusts or more")
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> None:
    if len(eps) < 200:
        return
    z = (best - mu) / sigma
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    expected = sigma * (z * torch.special.ndtr(z) + density)
    second = sigma.square() * ((1 + z.square()) * torch.special.ndtr(z) + z * density)
    error = ((second - expected.square()).clamp(min=0) / len(eps)).sqrt()
    require((fn(mu, sigma, best, eps) - expected).abs() <= 5 * error, "too far away")


@e3.wrong("the improvement of the average instead of the average improvement")
def _(mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> Tensor:
    return (best - mu - sigma * eps.mean()).clamp(min=0)


@e3.wrong("maximises: max(0, x - best)")
def _(mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> Tensor:
    return _improvements(-mu, sigma, -best, -eps).mean(-1)


@e3.wrong("takes sigma for a variance")
def _(mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> Tensor:
    return _improvements(mu, (sigma + 1e-300).sqrt(), best, eps).mean(-1)


@e3.wrong("counts improvements instead of measuring them")
def _(mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> Tensor:
    return (_improvements(mu, sigma, best, eps) > 0).double().mean(-1)


@e3.wrong("averages over the gusts that improve only")
def _(mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> Tensor:
    gains = _improvements(mu, sigma, best, eps)
    return gains.sum(-1) / (gains > 0).double().sum(-1).clamp(min=1)


@e3.wrong("without max: gains and losses cancel")
def _(mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> Tensor:
    return best - mu - sigma * eps.mean()


@e3.wrong("the closed form, which does not ask for the gusts")
def _(mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> Tensor:
    z = (best - mu) / sigma.clamp(min=1e-12)
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    result: Tensor = sigma * density + (best - mu) * torch.special.ndtr(z)
    return result


@e3.wrong("relies on broadcasting: the samples meet the last axis of mu")
def _(mu: Tensor, sigma: Tensor, best: float, eps: Tensor) -> Tensor:
    return (best - mu - sigma * eps).clamp(min=0).mean(-1) + 0 * mu


# --- e4: even normals -------------------------------------------------------------------------

e4 = Exercise(
    id="p1.t6.e4",
    title="Even gusts",
    size=lambda n, d, seed: n * d,
    hints=(
        "Two steps: evenly spread points in the unit cube, then the function that turns evenly "
        "spread numbers into normal ones. What does it make of 0?",
        "`torch.quasirandom.SobolEngine(d, scramble=True, seed=seed)` draws the points, "
        "`torch.special.ndtri` is the inverse of Φ. The points are multiples of 2⁻³⁰, and 0 may be "
        "among them, scrambled or not.",
        "Ask `draw` for float64. Move the points into the open interval, by so little that it does "
        "not matter: `clamp` them between 1e-12 and 1 - 1e-12, or add half of 2⁻³⁰.",
    ),
)


@e4.answer
def sobol_normal(n: int, d: int, seed: int) -> Tensor:
    """n standard normal points in d dimensions, `n d`, spread evenly: scrambled Sobol points.

    The seed chooses the scrambling; more points with the same seed begin with the same points.
    Every value is float64, finite, and not further than 8 from 0, for every seed.
    """
    u = SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64)
    z: Tensor = torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12))
    return z


@e4.cases
def sizes(rng: Rng) -> Iterator[Case]:
    yield Case(1, 1, 0, note="one number")
    yield Case(1, 3, rng.randrange(1000), note="one point")
    yield Case(3, 2, rng.randrange(1000), note="not a power of two")
    yield Case(100, 4, rng.randrange(1000), note="not a power of two")
    yield Case(64, 20, rng.randrange(1000), note="20 dimensions")
    # torch's scrambling with this seed has a coordinate that is exactly 0, in point 539
    yield Case(1024, 2, 1939, note="a rare case")
    yield Case(2**14, 2, rng.randrange(1000), note="many points")
    for d in (1, 2, 3, 5):
        for n in (2, 8, 16, 256, 1024):
            yield Case(n, d, rng.randrange(100_000))


@e4.shape
def _(fn: Fn, n: int, d: int, seed: int) -> None:
    has_shape(fn(n, d, seed), (n, d), torch.float64)


@e4.property("every value is finite")
def _(fn: Fn, n: int, d: int, seed: int) -> None:
    require(fn(n, d, seed).isfinite(), "infinite, or not a number")


@e4.property("no value is further than 8 from 0")
def _(fn: Fn, n: int, d: int, seed: int) -> None:
    require(fn(n, d, seed).abs() <= 8, "a value is further out")


@e4.property("the same seed gives the same points, another seed other points")
def _(fn: Fn, n: int, d: int, seed: int) -> None:
    z = fn(n, d, seed)
    close(fn(n, d, seed), z, 0)
    require(not torch.equal(fn(n, d, seed + 1), z), "two seeds give the same points")


@e4.property("torch's own generator is left alone")
def _(fn: Fn, n: int, d: int, seed: int) -> None:
    torch.default_generator.manual_seed(seed + 1)
    before = torch.get_rng_state()
    fn(n, d, seed)
    require(torch.equal(before, torch.get_rng_state()), "the global random state has changed")


@e4.property("twice as many points begin with the same points")
def _(fn: Fn, n: int, d: int, seed: int) -> None:
    close(fn(2 * n, d, seed)[:n], fn(n, d, seed), 0)


@e4.property("from 256 points on, means are near 0 and covariances near those of the identity")
def _(fn: Fn, n: int, d: int, seed: int) -> None:
    if n < 256:
        return
    z = fn(n, d, seed)
    require(z.mean(0).abs() <= 0.05, "a mean is too far from 0")
    gap = (z.mT @ z / n - torch.eye(d, dtype=torch.float64)).abs()
    require(gap <= 0.15, "a variance or covariance is off")


@e4.property(
    "cut the line into 2, 4, 8, ... pieces of equal probability: each holds the same number of "
    "the first 2, 4, 8, ... points, in every coordinate"
)
def _(fn: Fn, n: int, d: int, seed: int) -> None:
    u = torch.special.ndtr(fn(n, d, seed))
    for k in range(1, n.bit_length()):
        piece = (u[: 2**k] * 2**k).floor()
        even = torch.arange(2.0**k, dtype=torch.float64).unsqueeze(-1).expand_as(piece)
        require(torch.equal(piece.sort(dim=0).values, even), f"the first {2**k} points are uneven")


@e4.property("cut the plane of the first two coordinates into boxes instead: the same holds")
def _(fn: Fn, n: int, d: int, seed: int) -> None:
    if d < 2:
        return
    u = torch.special.ndtr(fn(n, d, seed))
    k = n.bit_length() - 1
    for a in range(k + 1):
        boxes = (u[: 2**k, 0] * 2**a).floor() * 2 ** (k - a) + (u[: 2**k, 1] * 2 ** (k - a)).floor()
        require(len(boxes.unique()) == 2**k, f"a box is empty, {2**a} by {2 ** (k - a)} boxes")


@e4.wrong("ordinary normals, as uneven as any")
def _(n: int, d: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=torch.float64)


@e4.wrong("no scrambling: the first point is 0, its normal minus infinity")
def _(n: int, d: int, seed: int) -> Tensor:
    return _normals(SobolEngine(d, scramble=False).draw(n, dtype=torch.float64))


@e4.wrong("forgets that even a scrambled point may be 0")
def _(n: int, d: int, seed: int) -> Tensor:
    u = SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64)
    return _normals(u)


@e4.wrong("skips the first point, which breaks the balance")
def _(n: int, d: int, seed: int) -> Tensor:
    u = SobolEngine(d, scramble=True, seed=seed).draw(n + 1, dtype=torch.float64)[1:]
    return _normals(u.clamp(1e-12, 1 - 1e-12))


@e4.wrong("forgets the inverse distribution function: even, and uniform")
def _(n: int, d: int, seed: int) -> Tensor:
    return SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64)


@e4.wrong("one long sequence on the line, cut into rows of d numbers")
def _(n: int, d: int, seed: int) -> Tensor:
    u = SobolEngine(1, scramble=True, seed=seed).draw(n * d, dtype=torch.float64)
    return _normals(u.clamp(1e-12, 1 - 1e-12)).reshape(n, d)


@e4.wrong("the same sequence in every coordinate")
def _(n: int, d: int, seed: int) -> Tensor:
    u = SobolEngine(1, scramble=True, seed=seed).draw(n, dtype=torch.float64)
    return _normals(u.clamp(1e-12, 1 - 1e-12)).expand(n, d).clone()


@e4.wrong("cuts off the tails by a ten-thousandth, which many points notice")
def _(n: int, d: int, seed: int) -> Tensor:
    u = SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64)
    return _normals(u.clamp(1e-4, 1 - 1e-4))


@e4.wrong("clamps to the smallest number there is, 37 standard deviations out")
def _(n: int, d: int, seed: int) -> Tensor:
    u = SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64)
    return _normals(u.clamp(min=torch.finfo(torch.float64).tiny))


@e4.wrong("a Sobol sequence of one dimension for each coordinate: even on the lines only")
def _(n: int, d: int, seed: int) -> Tensor:
    columns = [SobolEngine(1, scramble=True, seed=seed + k) for k in range(d)]
    u = torch.cat([column.draw(n, dtype=torch.float64) for column in columns], dim=-1)
    return _normals(u.clamp(1e-12, 1 - 1e-12))


@e4.wrong("cuts off the tails: every point at least one per cent from the border")
def _(n: int, d: int, seed: int) -> Tensor:
    u = SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64)
    return _normals(u.clamp(0.01, 0.99))


@e4.wrong("scales by hand: mean 0, variance 1, and more points no longer begin with the same ones")
def _(n: int, d: int, seed: int) -> Tensor:
    u = SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64)
    z = _normals(u.clamp(1e-12, 1 - 1e-12))
    return (z - z.mean(0)) / z.std(0, correction=0).clamp(min=1e-12)
