"""The exercises of part_4/tutorial_02: standard acquisition functions."""

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor

from bolearn.posteriors import GaussianPosterior, SamplesPosterior
from bolearn.teach import (
    Case,
    Exercise,
    Fn,
    Rng,
    close,
    has_shape,
    random_state_untouched,
    require,
)


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def _tensor(result: Any) -> Tensor:
    """What a user would call right: a tensor, a NumPy array, a number."""
    return torch.as_tensor(result, dtype=torch.float64)


def _density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _cdf(z: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-z * math.sqrt(0.5))


def _slope(fn: Fn, *inputs: Any) -> tuple[Tensor, ...]:
    """The gradients of the sum of fn in its tensors with a float64 type."""
    leaves = [v.detach().clone().requires_grad_() if torch.is_tensor(v) else v for v in inputs]
    value = fn(*leaves)
    require(value.requires_grad, "the result has lost its graph: autograd finds no gradient")
    return torch.autograd.grad(value.sum(), [v for v in leaves if torch.is_tensor(v)])


# --- e1: the logarithm of h -----------------------------------------------------------------------

e1 = Exercise(
    id="p4.t2.e1",
    title="A logarithm with a slope",
    hints=(
        "Three ranges. Above z = -1 the logarithm of the textbook formula is right. Below, take "
        "log φ(z) apart and write what is left with erfcx; that is good down to about z = -60.",
        "Far down 1 + z Φ/φ is 1/z² - 3/z⁴ + 15/z⁶ - ...: a formula in which nothing cancels, for "
        "the value and for the slope that autograd makes of it.",
        "torch.where chooses a value, but the branch that was not chosen still meets the gradient, "
        "and 0 times infinity is NaN: clamp z to a branch's own range before it goes in.",
    ),
    copies=False,
)


@e1.answer
def log_h(z: Tensor) -> Tensor:
    """log h(z), h(z) = φ(z) + z Φ(z), entry by entry: log EI for a standard deviation of 1.

    z is float64, of any shape, with entries between -1e6 and 50; so is the result. The value must
    be right to 1e-10 of its size (or of 1, if that is more), and the slope that autograd finds
    to 1e-9 of its size.
    """
    near, middle, far = z.clamp(min=-1.0), z.clamp(-60.0, -1.0), z.clamp(max=-60.0)
    density = torch.exp(-0.5 * near * near) / math.sqrt(2 * math.pi)
    book = torch.log(density + near * torch.special.ndtr(near))
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-middle * math.sqrt(0.5))  # Φ/φ
    w = 1 / (far * far)
    series = torch.log(w) + torch.log1p(w * (-3 + w * (15 - w * 105)))
    low = z.clamp(max=-1.0)
    tail = torch.where(z < -60, series, torch.log1p(middle * ratio)) - 0.5 * low * low
    return torch.where(z > -1, book, tail - 0.5 * math.log(2 * math.pi))


@lru_cache(maxsize=4096)
def _truth(z: float) -> tuple[float, float]:
    """log h at z and its slope Φ/h, by mpmath with 80 digits."""
    with mpmath.workdps(80):
        u = mpmath.mpf(z)
        phi = mpmath.exp(-u * u / 2) / mpmath.sqrt(2 * mpmath.pi)
        cdf = mpmath.erfc(-u / mpmath.sqrt(2)) / 2
        h = phi + u * cdf
        return float(mpmath.log(h)), float(cdf / h)


@e1.cases
def places(rng: Rng) -> Iterator[Case]:
    yield Case(_vector(0.0), note="z = 0")
    yield Case(_vector(-3.0))
    yield Case(_vector(-9.0), note="torch.special.ndtr is 0 here")
    yield Case(_vector(-20.0))
    yield Case(_vector(-39.0), note="h is too small for float64")
    yield Case(_vector(-59.5, -60.5))
    yield Case(_vector(-300.0))
    yield Case(_vector(-2e3, -3e3, -5e3, -8e3))
    yield Case(_vector(-1e4))
    yield Case(_vector(-2e4, -5e4, -1e5, -2e5, -5e5))
    yield Case(_vector(-1e6), note="z = -1e6")
    yield Case(_vector(1.0))
    yield Case(_vector(10.0))
    yield Case(_vector(50.0), note="z = 50")
    yield Case(torch.tensor(-2.5, dtype=torch.float64), note="no axes")
    yield Case(_vector(0.0, -5.0, -20.0, -100.0, -1e6, 50.0), note="all ranges at once")
    for low, high in ((-9, 5), (-40, -5), (-120, -20)):
        yield Case(rng.uniform_in(low, high, 12), note=f"between {low} and {high}")
    for _ in range(4):
        yield Case(-(10 ** rng.uniform_in(1, 6, 12)), note="between -10 and -1e6")
    for shape in ((2, 3), (3, 1, 2), (1, 5)):
        yield Case(rng.uniform_in(-12, 6, *shape), note="batch axes")


@e1.shape
def _(fn: Fn, z: Tensor) -> None:
    has_shape(fn(z), tuple(z.shape), torch.float64)


@e1.property("value and slope are finite")
def _(fn: Fn, z: Tensor) -> None:
    require(fn(z).isfinite(), "a value is not finite")
    require(_slope(fn, z)[0].isfinite(), "a slope is not finite")


@e1.property("it rises with z")
def _(fn: Fn, z: Tensor) -> None:
    step = 1e-2 * z.abs().clamp(min=1.0)
    require(fn(z + step) > fn(z), "a larger z has no larger value")
    require(_slope(fn, z)[0] > 0, "a slope is not positive")


@e1.value("mpmath with 80 digits")
def _(fn: Fn, z: Tensor) -> None:
    value, slope = (
        _vector(*column) for column in zip(*map(_truth, z.flatten().tolist()), strict=True)
    )
    size = value.abs().clamp(min=1.0)
    close(fn(z).flatten() / size, value / size, 1e-10)
    got = _slope(fn, z)[0].flatten()
    wrong = (got / slope - 1).abs()
    if not bool((wrong < 1e-9).all()):
        at = z.flatten()[wrong.argmax()].item()
        raise AssertionError(
            f"the value is right, but at z = {at:g} the slope is off by {wrong.max():.1e} of its "
            "size"
        )


@e1.wrong("the logarithm of the formula in the book")
def _(z: Tensor) -> Tensor:
    return torch.log(_density(z) + z * torch.special.ndtr(z))


@e1.wrong("the same with erfc: minus infinity below -38")
def _(z: Tensor) -> Tensor:
    return torch.log(_density(z) + z * _cdf(z))


@e1.wrong("kept away from zero, so that far down it is flat")
def _(z: Tensor) -> Tensor:
    return torch.log((_density(z) + z * _cdf(z)).clamp(min=1e-300))


@e1.wrong("a tiny number added before the logarithm")
def _(z: Tensor) -> Tensor:
    return torch.log(_density(z) + z * _cdf(z) + 1e-30)


@e1.wrong("erfcx alone: at -1e6 the value is right and the slope keeps four digits")
def _(z: Tensor) -> Tensor:
    near, low = z.clamp(min=-1.0), z.clamp(max=-1.0)
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-low * math.sqrt(0.5))
    tail = torch.log1p(low * ratio) - 0.5 * low * low - 0.5 * math.log(2 * math.pi)
    return torch.where(z > -1, torch.log(_density(near) + near * _cdf(near)), tail)


@e1.wrong("the series below -20,000 only: erfcx has lost half of the slope's digits by then")
def _(z: Tensor) -> Tensor:
    near, low = z.clamp(min=-1.0), z.clamp(max=-1.0)
    middle, far = low.clamp(min=-2e4), z.clamp(max=-2e4)
    ratio, w = math.sqrt(math.pi / 2) * torch.special.erfcx(-middle * math.sqrt(0.5)), 1 / far**2
    series = torch.log(w) + torch.log1p(w * (-3 + w * (15 - w * 105)))
    tail = torch.where(z < -2e4, series, torch.log1p(middle * ratio)) - 0.5 * low * low
    book = torch.log(_density(near) + near * _cdf(near))
    return torch.where(z > -1, book, tail - 0.5 * math.log(2 * math.pi))


@e1.wrong("branches without clamping: 0 times infinity makes the gradient NaN")
def _(z: Tensor) -> Tensor:
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-z * math.sqrt(0.5))
    w = 1 / (z * z)
    base = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    tail = torch.where(
        z < -60, torch.log(w) + torch.log1p(w * (-3 + 15 * w)), torch.log1p(z * ratio)
    )
    return torch.where(z > -1, torch.log(_density(z) + z * _cdf(z)), tail + base)


@e1.wrong("the first term of the series only: two digits of 1 + zΦ/φ at -20")
def _(z: Tensor) -> Tensor:
    near, far = z.clamp(min=-20.0), z.clamp(max=-20.0)
    tail = -2 * torch.log(-far) - 0.5 * far * far - 0.5 * math.log(2 * math.pi)
    return torch.where(z > -20, torch.log(_density(near) + near * _cdf(near)), tail)


@e1.wrong("a wrong coefficient in the series: 1/z² - 1/z⁴, that of Φ/φ")
def _(z: Tensor) -> Tensor:
    near, far = z.clamp(min=-10.0), z.clamp(max=-10.0)
    w = 1 / (far * far)
    tail = torch.log(w) + torch.log1p(-w) - 0.5 * far * far - 0.5 * math.log(2 * math.pi)
    return torch.where(z > -10, torch.log(_density(near) + near * _cdf(near)), tail)


@e1.wrong("log Φ, the probability of improvement")
def _(z: Tensor) -> Tensor:
    value: Tensor = torch.special.log_ndtr(z)
    return value


@e1.wrong("without the constant log sqrt(2π) below -1")
def _(z: Tensor) -> Tensor:
    constant: Tensor = log_h(z) + torch.where(z > -1, 0.0, 0.5 * math.log(2 * math.pi))
    return constant


@e1.wrong("computed where autograd does not look")
def _(z: Tensor) -> Tensor:
    values = [float(mpmath.log(mpmath.npdf(u) + u * mpmath.ncdf(u))) for u in z.flatten().tolist()]
    return _vector(*values).reshape(z.shape)


@e1.wrong("h(-z): improvement as one minimises")
def _(z: Tensor) -> Tensor:
    other: Tensor = log_h(-z)
    return other


@e1.wrong("float32 inside")
def _(z: Tensor) -> Tensor:
    single: Tensor = log_h(z.float().double()).float()
    return single.double()


# --- e2: sampled expected improvement -------------------------------------------------------------

e2 = Exercise(
    id="p4.t2.e2",
    title="Expected improvement of q points, from draws",
    hints=(
        "posterior.rsample(eps) is all that you need of the posterior: joint draws, s *batch q 1. "
        "What is the value of one draw of q outcomes to somebody who keeps the best of them?",
        "Within a draw: the best of the q points, less best_f, and never below zero. Then the "
        "average over the draws. Mind the order: averaging maxima is not maximising averages.",
        "Take the one output away with [..., 0]; then the last axis is q and the first is s. "
        "amax(-1), clamp(min=0) and mean(0), on tensors, so that a gradient can come through.",
    ),
    copies=False,
    size=lambda posterior, best_f, eps: posterior.mean.numel() + eps.numel(),
)


@e2.answer
def qei(posterior: Any, best_f: float, eps: Tensor) -> Tensor:
    """Expected improvement of the best of q points over best_f: E max_j max(0, f(x_j) - best_f).

    The average is over the s joint draws that posterior.rsample(eps), s *batch q 1, makes of one
    output at *batch sets of q points; the result has shape *batch. The base samples eps come as
    the posterior wants them: s first, last its event_shape (q 1 for a Gaussian, 1 for a set of
    functions). Any posterior will do that has mean and variance, *batch q 1, event_shape and
    rsample; the gradient must come through. Nothing else is drawn: equal eps, equal result.
    """
    y: Tensor = posterior.rsample(eps)[..., 0]  # s *batch q
    return (y.amax(-1) - best_f).clamp(min=0).mean(0)


class _Belief:
    """A posterior with no more than the protocol, that shows what it is."""

    def __init__(self, posterior: Any, kind: str) -> None:
        self.posterior, self.kind = posterior, kind
        self.event_shape = posterior.event_shape

    @property
    def mean(self) -> Tensor:
        mean: Tensor = self.posterior.mean
        return mean

    @property
    def variance(self) -> Tensor:
        variance: Tensor = self.posterior.variance
        return variance

    def rsample(self, z: Tensor) -> Tensor:
        y: Tensor = self.posterior.rsample(z)
        return y

    def __repr__(self) -> str:
        mean, sd = (v.detach()[..., 0] for v in (self.mean, self.variance.sqrt()))
        shown = f"{self.kind} at {tuple(mean.shape)} points"
        if mean.numel() > 6:
            return f"<{shown}>"
        numbers = [[f"{u:.4g}" for u in v.flatten().tolist()] for v in (mean, sd)]
        return f"<{shown}: means {', '.join(numbers[0])}; deviations {', '.join(numbers[1])}>"


def _gaussian(mean: Tensor, covariance: Tensor) -> _Belief:
    """mean *batch q, covariance *batch q q."""
    inner = GaussianPosterior.from_moments(mean.unsqueeze(-1), covariance.unsqueeze(-3))
    return _Belief(inner, "a Gaussian posterior")


def _functions(samples: Tensor) -> _Belief:
    """samples S *batch q."""
    return _Belief(SamplesPosterior(samples.unsqueeze(-1)), f"a set of {len(samples)} functions")


def _covariance(rng: Rng, *shape: int) -> Tensor:
    A = rng.normal(*shape, shape[-1])
    return A @ A.mT + 0.2 * torch.eye(shape[-1], dtype=torch.float64)


def _even(count: int) -> Tensor:
    """Evenly spaced normals."""
    z: Tensor = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    return z


@e2.cases
def beliefs(rng: Rng) -> Iterator[Case]:
    one = torch.ones(1, 1, dtype=torch.float64)
    yield Case(_gaussian(one[0], one), 0.0, one[None], note="one point, one draw")
    yield Case(_gaussian(0 * one[0], one), 5.0, _even(5).view(5, 1, 1), note="nothing improves")
    yield Case(_gaussian(one[0], 4 * one), 0.5, _even(8).view(8, 1, 1), note="one point")
    yield Case(_gaussian(-one[0], one), -2.0, _even(8).view(8, 1, 1), note="negative values")
    two = _vector(0.0, 0.3)
    yield Case(_gaussian(two, torch.eye(2).double()), 0.2, rng.normal(6, 2, 1), note="q = 2")
    both = _vector(1.0, -0.9, -0.9, 1.0).view(2, 2)
    yield Case(_gaussian(0 * two, both), 0.1, rng.normal(6, 2, 1), note="opposites")
    values = _vector(1.0, -1.0, 0.5, 2.0, 0.0, 0.0).view(3, 2)
    yield Case(_functions(values), 0.4, _even(6).view(6, 1), note="no Gaussian: three functions")
    for scale in (1e-6, 1.0, 1e6):
        for batch, q in (((), 3), ((2,), 2), ((3, 2), 1), ((2,), 4)):
            mean, cov = scale * rng.normal(*batch, q), scale**2 * _covariance(rng, *batch, q)
            yield Case(_gaussian(mean, cov), scale * rng.gauss(0, 1), rng.normal(16, q, 1))
        for batch, q in (((2,), 3), ((), 1), ((2, 3), 2)):
            sets = scale * rng.normal(7, *batch, q)
            yield Case(_functions(sets), scale * rng.gauss(0, 0.5), rng.normal(16, 1))


def _width(posterior: Any, best_f: float) -> float:
    """The size of the numbers in a case."""
    return max(abs(best_f), float((posterior.mean.abs() + posterior.variance.sqrt()).max()))


@e2.shape
def _(fn: Fn, posterior: Any, best_f: float, eps: Tensor) -> None:
    has_shape(_tensor(fn(posterior, best_f, eps)), tuple(posterior.mean.shape[:-2]))


@e2.property("it is never negative, and never rises with best_f")
def _(fn: Fn, posterior: Any, best_f: float, eps: Tensor) -> None:
    value = _tensor(fn(posterior, best_f, eps))
    require(value >= 0, "an expected improvement is negative")
    higher = best_f + 0.5 * _width(posterior, best_f)
    more = _tensor(fn(posterior, higher, eps))
    require(more <= value + 1e-12 * _width(posterior, best_f), "a higher best_f made it larger")


@e2.property("one more point never makes it smaller")
def _(fn: Fn, posterior: Any, best_f: float, eps: Tensor) -> None:
    if posterior.mean.shape[-2] < 2:
        return
    inner = posterior.posterior
    if isinstance(inner, SamplesPosterior):
        fewer, part = _functions(inner.samples[..., :-1, 0]), eps
    else:
        mean, cov = inner.joint_moments
        fewer, part = _gaussian(mean[..., :-1, 0], cov[..., 0, :-1, :-1]), eps[..., :-1, :]
    value, less = (_tensor(fn(p, best_f, e)) for p, e in ((posterior, eps), (fewer, part)))
    slack = 1e-9 * _width(posterior, best_f)
    require(value >= less - slack, "with its last point taken away the set is worth more")


@e2.property("two copies of one point are worth one")
def _(fn: Fn, posterior: Any, best_f: float, eps: Tensor) -> None:
    inner = posterior.posterior
    if isinstance(inner, SamplesPosterior):
        once, twice = (
            _functions(inner.samples[..., :1, 0].repeat_interleave(k, -1)) for k in (1, 2)
        )
        close(fn(twice, best_f, eps), fn(once, best_f, eps), 1e-9 * _width(posterior, best_f))


@e2.property("for one Gaussian point and many evenly spaced draws it is σ h(z)")
def _(fn: Fn, posterior: Any, best_f: float, eps: Tensor) -> None:
    inner = posterior.posterior
    if isinstance(inner, SamplesPosterior):
        return
    mean, cov = inner.mean[..., :1, 0], inner.joint_moments[1][..., 0, :1, :1]
    value = _tensor(fn(_gaussian(mean, cov), best_f, _even(2048).view(-1, 1, 1)))
    sd = cov[..., 0, 0].sqrt()
    z = (mean[..., 0] - best_f) / sd
    close(value / sd, z * _cdf(z) + _density(z), 1e-3)


@e2.property("a gradient comes through, to the mean and from there")
def _(fn: Fn, posterior: Any, best_f: float, eps: Tensor) -> None:
    inner = posterior.posterior
    low = best_f - _width(posterior, best_f)  # so that every draw improves
    if isinstance(inner, SamplesPosterior):
        leaf = inner.samples[..., 0].clone().requires_grad_()
        value = fn(_functions(leaf), low - 3 * float(leaf.detach().abs().max()), eps)
    else:
        leaf = inner.mean[..., 0].clone().requires_grad_()
        cov = inner.joint_moments[1][..., 0, :, :]
        value = fn(_gaussian(leaf, cov), low - 100 * float(cov.abs().max()) ** 0.5, eps)
    require(torch.is_tensor(value) and value.requires_grad, "the result has lost its graph")
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    total, sets = slope.sum().item(), math.prod(posterior.mean.shape[:-2])
    close(total, float(sets), 1e-9)


@e2.property("nothing else is drawn")
def _(fn: Fn, posterior: Any, best_f: float, eps: Tensor) -> None:
    with random_state_untouched():
        first = _tensor(fn(posterior, best_f, eps))
    close(_tensor(fn(posterior, best_f, eps)), first, 1e-12 * _width(posterior, best_f))


@e2.value("a loop over the draws in NumPy")
def _(fn: Fn, posterior: Any, best_f: float, eps: Tensor) -> None:
    inner, total, z = posterior.posterior, 0.0, eps.numpy()
    for i in range(len(z)):
        if isinstance(inner, SamplesPosterior):
            S = len(inner.samples)
            chance = float(mpmath.ncdf(float(z[i, 0])))
            f = inner.samples.numpy()[min(int(S * chance), S - 1), ..., 0]
        else:
            mean, cov = (v.numpy() for v in inner.joint_moments)
            f = mean[..., 0] + (np.linalg.cholesky(cov[..., 0, :, :]) @ z[i])[..., 0]
        total = total + np.maximum(f - best_f, 0.0).max(-1)
    width = _width(posterior, best_f)
    close(_tensor(fn(posterior, best_f, eps)) / width, _tensor(total) / len(z) / width, 1e-9)


@e2.wrong("the best point's average: the maximum after the mean")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)[..., 0]
    return (y - best_f).clamp(min=0).mean(0).amax(-1)


@e2.wrong("the improvement of the average: zero cut off after the mean")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)[..., 0]
    return (y.amax(-1) - best_f).mean(0).clamp(min=0)


@e2.wrong("adds the improvements of the q points")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)[..., 0]
    return (y - best_f).clamp(min=0).sum(-1).mean(0)


@e2.wrong("averages over the q points")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)[..., 0]
    return (y - best_f).clamp(min=0).mean(-1).mean(0)


@e2.wrong("draws each point on its own from mean and variance")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    z = (
        eps
        if eps.ndim == posterior.mean.ndim + 1
        else eps.reshape(len(eps), *(1,) * (posterior.mean.ndim - eps.ndim + 1), *eps.shape[1:])
    )
    y = posterior.mean + posterior.variance.sqrt() * z
    return (y[..., 0].amax(-1) - best_f).clamp(min=0).mean(0)


@e2.wrong("needs a covariance, which only a Gaussian has")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    L = torch.linalg.cholesky(posterior.posterior.covariance)
    y = posterior.mean + L @ eps.reshape(len(eps), *(1,) * (L.ndim - 2), *eps.shape[1:])
    return (y[..., 0].amax(-1) - best_f).clamp(min=0).mean(0)


@e2.wrong("draws base samples of its own")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(torch.randn_like(eps))[..., 0]
    return (y.amax(-1) - best_f).clamp(min=0).mean(0)


@e2.wrong("for minimising: best_f minus the lowest")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)[..., 0]
    return (best_f - y.amin(-1)).clamp(min=0).mean(0)


@e2.wrong("the share of draws that improve")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)[..., 0]
    return (y.amax(-1) > best_f).double().mean(0)


@e2.wrong("forgets zero: the average of the best less best_f")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)[..., 0]
    return (y.amax(-1) - best_f).mean(0)


@e2.wrong("adds the draws up instead of averaging")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)[..., 0]
    return (y.amax(-1) - best_f).clamp(min=0).sum(0)


@e2.wrong("detached: a value that nothing can climb")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)[..., 0].detach()
    return (y.amax(-1) - best_f).clamp(min=0).mean(0)


@e2.wrong("keeps the axis of the outputs")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)
    return (y.amax(-2) - best_f).clamp(min=0).mean(0)


@e2.wrong("mixes the sets: one number for the whole batch")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)[..., 0]
    return (y.amax(-1) - best_f).clamp(min=0).mean()


@e2.wrong("a softened zero: softplus instead of the maximum")
def _(posterior: Any, best_f: float, eps: Tensor) -> Any:
    y = posterior.rsample(eps)[..., 0]
    return torch.nn.functional.softplus(y.amax(-1) - best_f).mean(0)


# --- e3: upper confidence bounds ------------------------------------------------------------------

e3 = Exercise(
    id="p4.t2.e3",
    title="Beta, or kappa?",
    hints=(
        "Both names mean the same width of a band. Papers count in squared standard deviations, "
        "much code in standard deviations.",
        "kappa = sqrt(beta). Turn whatever is given into kappa first; then there is one formula.",
        "None says that something was not given; zero is a number like any other, and `if beta:` "
        "cannot tell the two apart.",
    ),
    copies=False,
)


@e3.answer
def ucb(
    mean: Tensor, sd: Tensor, *, beta: float | None = None, kappa: float | None = None
) -> Tensor:
    """The upper confidence bound, kappa standard deviations sd above the mean, entry by entry.

    mean and sd have one shape, and so has the result; gradients come through to both. Either a
    finite kappa >= 0 is given, or beta = kappa²; a call with both or with neither, with a negative
    number or with NaN raises ValueError.
    """
    if (beta is None) == (kappa is None):
        raise ValueError("give either beta or kappa")
    width = kappa if beta is None else beta
    if width is None or not width >= 0:
        raise ValueError(f"expected a number of at least 0, got {width}")
    return mean + (width if beta is None else math.sqrt(width)) * sd


@e3.cases
def bounds(rng: Rng) -> Iterator[Case]:
    mean, sd = _vector(1.0, 2.0), _vector(0.5, 0.1)
    yield Case(mean[:1], sd[:1], kappa=2.0)
    yield Case(mean[:1], sd[:1], beta=4.0)
    yield Case(mean, sd, beta=9.0)
    yield Case(mean, sd, beta=0.25, note="beta below 1")
    yield Case(mean, sd, kappa=0.5)
    yield Case(mean, sd, beta=0.0, note="zero is a number like any other")
    yield Case(mean, sd, kappa=0.0, note="zero is a number like any other")
    yield Case(-mean, sd, beta=4.0, note="negative means")
    yield Case(mean, 0 * sd, kappa=3.0, note="no doubt")
    yield Case(mean[0], sd[0], beta=2.0, note="no axes")
    yield Case(mean, sd, beta=16.0, note="four standard deviations")
    yield Case(mean, sd, raises=ValueError, note="neither")
    yield Case(mean, sd, beta=4.0, kappa=2.0, raises=ValueError, note="both, even if they agree")
    yield Case(mean, sd, beta=0.0, kappa=0.0, raises=ValueError, note="both")
    yield Case(mean, sd, beta=-1.0, raises=ValueError, note="negative")
    yield Case(mean, sd, kappa=-1.0, raises=ValueError, note="negative")
    yield Case(mean, sd, beta=math.nan, raises=ValueError, note="not a number")
    yield Case(mean, sd, kappa=math.nan, raises=ValueError, note="not a number")
    for scale in (1e-6, 1.0, 1e6):
        for shape in ((3,), (2, 3), (2, 1, 3)):
            width: Any = {rng.choice(("beta", "kappa")): round(rng.uniform(0.1, 9), 2)}
            yield Case(scale * rng.normal(*shape), scale * rng.uniform_in(0, 1, *shape), **width)


@e3.shape
def _(fn: Fn, mean: Tensor, sd: Tensor, **width: float) -> None:
    has_shape(_tensor(fn(mean, sd, **width)), tuple(mean.shape))


@e3.property("in another unit it changes with the unit")
def _(fn: Fn, mean: Tensor, sd: Tensor, **width: float) -> None:
    close(fn(8 * mean, 8 * sd, **width), 8 * _tensor(fn(mean, sd, **width)), relative=True)


@e3.property("a constant added to the mean is added to the bound")
def _(fn: Fn, mean: Tensor, sd: Tensor, **width: float) -> None:
    size = float((mean.abs() + sd).max())
    moved = _tensor(fn(mean + 3 * size, sd, **width))
    close(moved - 3 * size, fn(mean, sd, **width), 1e-9 * size)


@e3.property("mean and sd stay as they were")
def _(fn: Fn, mean: Tensor, sd: Tensor, **width: float) -> None:
    given = mean.clone(), sd.clone()
    fn(*given, **width)
    require(torch.equal(given[0], mean) and torch.equal(given[1], sd), "they were overwritten")


@e3.property("gradients come through: 1 to the mean, the same number to all of sd")
def _(fn: Fn, mean: Tensor, sd: Tensor, **width: float) -> None:
    leaves = [v.clone().requires_grad_() for v in (mean, sd)]
    value = fn(*leaves, **width)
    lost = "the result has lost its graph: autograd finds no gradient"
    require(torch.is_tensor(value) and value.requires_grad, lost)
    slopes = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    require(slopes[0] is not None, "no gradient comes through to the mean")
    close(slopes[0], torch.ones_like(mean), 1e-6)
    if any(width.values()):
        require(slopes[1] is not None, "no gradient comes through to sd")
        close(slopes[1], slopes[1].flatten()[0].expand(sd.shape), 1e-6)


@e3.value("a loop over Python floats")
def _(fn: Fn, mean: Tensor, sd: Tensor, **width: float) -> None:
    k = width["kappa"] if "kappa" in width else width["beta"] ** 0.5
    pairs = zip(mean.flatten().tolist(), sd.flatten().tolist(), strict=True)
    size = float((mean.abs() + sd).max())
    close(_tensor(fn(mean, sd, **width)).flatten(), [m + k * s for m, s in pairs], 1e-6 * size)


def _given(width: dict[str, float]) -> tuple[str, float]:
    """Which of the two was given, and its value; ValueError as the task asks for it."""
    if len(width) != 1 or not min(width.values()) >= 0:
        raise ValueError("expected one of the two, at least 0")
    return next(iter(width.items()))


def _band(mean: Tensor, sd: Tensor, width: dict[str, float]) -> Tensor:
    """The right answer without its checks."""
    return mean + (width["kappa"] if "kappa" in width else math.sqrt(width["beta"])) * sd


@e3.wrong("beta taken for kappa: no square root")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    _, value = _given(width)
    return mean + value * sd


@e3.wrong("the square instead of the root")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    name, value = _given(width)
    return mean + (value if name == "kappa" else value**2) * sd


@e3.wrong("kappa rooted as well")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    _, value = _given(width)
    return mean + math.sqrt(value) * sd


@e3.wrong("a lower bound")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    name, value = _given(width)
    return mean - (value if name == "kappa" else math.sqrt(value)) * sd


@e3.wrong("sd taken for a variance")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    name, value = _given(width)
    return mean + (value if name == "kappa" else math.sqrt(value)) * sd.sqrt()


@e3.wrong("always beta = 4")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    _given(width)
    return mean + 2 * sd


@e3.wrong("half the band: beta / 2 under the root")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    name, value = _given(width)
    return mean + (value if name == "kappa" else math.sqrt(value / 2)) * sd


@e3.wrong("`if beta`: zero counts as not given")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    _given({name: value for name, value in width.items() if value})
    return _band(mean, sd, width)


@e3.wrong("both given: one is ignored")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    _given(width if len(width) == 1 else {"beta": width["beta"]} if width else {})
    return _band(mean, sd, {"beta": width["beta"]} if "beta" in width else width)


@e3.wrong("both are welcome if they agree")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    if len(width) == 2 and width["beta"] == width["kappa"] ** 2:
        width = {"kappa": width["kappa"]}
    _given(width)
    return _band(mean, sd, width)


@e3.wrong("neither given: two standard deviations")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    _given(width or {"kappa": 2.0})
    return _band(mean, sd, width or {"kappa": 2.0})


@e3.wrong("a negative kappa is accepted")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    _given({name: abs(value) for name, value in width.items()})
    return _band(mean, sd, {name: value for name, value in width.items()})


@e3.wrong("NaN slips through `kappa < 0`")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    _given({name: 0.0 if math.isnan(value) else value for name, value in width.items()})
    return _band(mean, sd, width)


@e3.wrong("writes the bound into the mean that it was given")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    name, value = _given(width)
    mean += (value if name == "kappa" else math.sqrt(value)) * sd
    return mean


@e3.wrong("detached: a bound that nothing can climb")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    _given(width)
    return _band(mean.detach(), sd.detach(), width)


@e3.wrong("a negative number counts as zero")
def _(mean: Tensor, sd: Tensor, **width: float) -> Tensor:
    _given({name: max(value, 0.0) for name, value in width.items()})
    return _band(mean, sd, {name: max(value, 0.0) for name, value in width.items()})


# --- e4: log probability of improvement -----------------------------------------------------------

e4 = Exercise(
    id="p4.t2.e4",
    title="The logarithm of a chance",
    hints=(
        "PI = Φ(z) with z = (mean - best_f)/sd. Its logarithm is -1255 at z = -50, an ordinary "
        "number; Φ itself is none that float64 holds.",
        "log Φ(z) = log φ(z) + log(Φ/φ), and Φ/φ is sqrt(π/2) erfcx(-z/√2). Or look for a function "
        "in torch.special that knows.",
        "torch.special.log_ndtr, or two branches by torch.where with the argument of each clamped "
        "to its own side; above z = 0 the plain logarithm is right.",
    ),
    copies=False,
)


@e4.answer
def log_pi(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    """log P(f > best_f) for f normal with this mean and standard deviation sd > 0, entry by entry.

    mean and sd are float64 and have one shape, and so has the result. z = (mean - best_f)/sd lies
    between -1000 and 40. The value must be right to 1e-10 of its size (or of 1, if that is more),
    the gradients in mean and sd, where z is below 5, to 1e-6 of their size (or of 1e-3/sd).
    """
    z = (mean - best_f) / sd
    low = z.clamp(max=0.0)
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-low * math.sqrt(0.5))  # Φ/φ
    tail = torch.log(ratio) - 0.5 * low * low - 0.5 * math.log(2 * math.pi)
    return torch.where(z < 0, tail, torch.log(torch.special.ndtr(z.clamp(min=0.0))))


@lru_cache(maxsize=4096)
def _log_chance(z: float) -> tuple[float, float]:
    """log Φ(z) and its slope φ/Φ, by mpmath with 80 digits."""
    with mpmath.workdps(80):
        u = mpmath.mpf(z)
        cdf = mpmath.erfc(-u / mpmath.sqrt(2)) / 2
        phi = mpmath.exp(-u * u / 2) / mpmath.sqrt(2 * mpmath.pi)
        return float(mpmath.log(cdf)), float(phi / cdf)


def _at(z: list[float], sd: float = 1.0, best: float = 0.0, note: str = "") -> Case:
    """The case with these z; sd a power of two and best whole, so that z comes out exactly."""
    return Case(best + sd * _vector(*z), torch.full((len(z),), sd).double(), best, note=note)


@e4.cases
def chances(rng: Rng) -> Iterator[Case]:
    yield _at([0.0], note="an even chance")
    yield _at([-3.0])
    yield _at([-9.0], note="torch.special.ndtr is 0 here")
    yield _at([-20.0])
    yield _at([-50.0], note="z = -50")
    yield _at([-1000.0], note="z = -1000")
    yield _at([2.0])
    yield _at([10.0])
    yield _at([40.0], note="as good as sure")
    yield _at([1.0, -1.0], sd=2.0, note="sd is not 1")
    yield _at([1.0, -4.0], sd=0.25, best=3.0, note="best_f is not 0")
    yield _at([-0.5, -30.0], sd=0.5, best=-2.0, note="a negative best_f")
    yield _at([-1000.0, -50.0, -5.0, 0.0, 3.0, 40.0], note="all ranges at once")
    yield Case(_vector(-2.0)[0], _vector(1.0)[0], 1.0, note="no axes")
    for size in (2.0**-20, 1.0, 2.0**20):
        for low, high in ((-8, 4), (-50, -8), (-900, -40)):
            yield _at([round(8 * rng.uniform(low, high)) / 8 for _ in range(8)], sd=size)
    for shape in ((2, 3), (3, 1, 2)):
        z, sd = rng.uniform_in(-12, 4, *shape).mul(8).round() / 8, torch.full(shape, 0.5).double()
        yield Case(sd * z, sd, 0.0, note="batch axes")


@e4.shape
def _(fn: Fn, mean: Tensor, sd: Tensor, best_f: float) -> None:
    has_shape(fn(mean, sd, best_f), tuple(mean.shape), torch.float64)


@e4.property("value and gradients are finite, and no chance exceeds 1")
def _(fn: Fn, mean: Tensor, sd: Tensor, best_f: float) -> None:
    value = fn(mean, sd, best_f)
    require(value.isfinite(), "a value is not finite")
    require(value <= 1e-12, "a chance is above 1")
    for name, slope in zip(("mean", "sd"), _slope(fn, mean, sd, best_f), strict=True):
        require(slope.isfinite(), f"a gradient in {name} is not finite")


@e4.property("the units do not matter")
def _(fn: Fn, mean: Tensor, sd: Tensor, best_f: float) -> None:
    value, other = fn(mean, sd, best_f), fn(16 * mean, 16 * sd, 16 * best_f)
    size = value.abs().clamp(min=1.0)
    close(other / size, value / size, 1e-10)


@e4.value("mpmath with 80 digits")
def _(fn: Fn, mean: Tensor, sd: Tensor, best_f: float) -> None:
    z = ((mean - best_f) / sd).flatten()
    value, ratio = (_vector(*column) for column in zip(*map(_log_chance, z.tolist()), strict=True))
    size = value.abs().clamp(min=1.0)
    close(fn(mean, sd, best_f).flatten() / size, value / size, 1e-10)
    s, below = sd.flatten(), z < 5
    truths = (ratio / s, -z * ratio / s)
    for slope, truth in zip(_slope(fn, mean, sd, best_f), truths, strict=True):
        scale = torch.maximum(truth.abs(), 1e-3 / s)
        close((slope.flatten() / scale)[below], (truth / scale)[below], 1e-6)


@e4.wrong("the logarithm of Φ: minus infinity from -9 on")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    return torch.log(torch.special.ndtr((mean - best_f) / sd))


@e4.wrong("with erfc: minus infinity from -39 on")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    return torch.log(_cdf((mean - best_f) / sd))


@e4.wrong("kept away from zero")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    return torch.log(_cdf((mean - best_f) / sd).clamp(min=1e-300))


@e4.wrong("without the logarithm")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    return _cdf((mean - best_f) / sd)


@e4.wrong("the chance of something worse")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    value: Tensor = torch.special.log_ndtr((best_f - mean) / sd)
    return value


@e4.wrong("sd taken for a variance")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    value: Tensor = torch.special.log_ndtr((mean - best_f) / sd.sqrt())
    return value


@e4.wrong("not divided by sd")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    value: Tensor = torch.special.log_ndtr(mean - best_f)
    return value


@e4.wrong("log h, the logarithm of expected improvement over sd")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    value: Tensor = log_h((mean - best_f) / sd)
    return value


@e4.wrong("the density instead of the chance")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    z = (mean - best_f) / sd
    return -0.5 * z * z - 0.5 * math.log(2 * math.pi)


@e4.wrong("the first term of the tail from -5 on: two digits there")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    z = (mean - best_f) / sd
    near, far = z.clamp(min=-5.0), z.clamp(max=-5.0)
    tail = -0.5 * far * far - torch.log(-far * math.sqrt(2 * math.pi))
    return torch.where(z > -5, torch.log(_cdf(near)), tail)


@e4.wrong("branches without clamping: the gradient is NaN")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    z = (mean - best_f) / sd
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-z * math.sqrt(0.5))
    tail = torch.log(ratio) - 0.5 * z * z - 0.5 * math.log(2 * math.pi)
    return torch.where(z < 0, tail, torch.log(_cdf(z)))


@e4.wrong("1 minus the other side")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    return torch.log1p(-_cdf((best_f - mean) / sd))


@e4.wrong("float32 inside")
def _(mean: Tensor, sd: Tensor, best_f: float) -> Tensor:
    value: Tensor = torch.special.log_ndtr((mean.float() - best_f) / sd.float())
    return value.double()


# --- e5: starts -----------------------------------------------------------------------------------

e5 = Exercise(
    id="p4.t2.e5",
    title="Where climbs begin",
    hints=(
        "The best row is in for certain. For the others: standardise the values, times eta, and "
        "you have the logarithms of weights. What of rows without a finite value?",
        "Drawing without replacement, each time in proportion to the weights left, is what "
        "torch.multinomial(weights, n, generator=...) does; subtract the largest exponent first. "
        "With a large eta weights still become 0, and it needs n that are not.",
        "Or add to each exponent a Gumbel number, -log(-log u) with u uniform, and keep the n "
        "largest: that is the same draw. Give the best row plus infinity.",
    ),
    pure=True,
    size=lambda X, values, n, eta, seed: X.numel() + n,
)


@e5.answer
def boltzmann_starts(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    """n different rows of X, N d, as starts for climbs: the best one first, the others drawn.

    Row i has the acquisition value values[i]. The row with the highest finite value comes first
    (of equals, any), the others after it in any order. They are drawn one after the other, without
    replacement, each time with probability proportional to exp(eta v) among those left; v are the
    values standardised over all rows with a finite value, v = (value - mean)/sd with the mean
    squared distance as sd² (v = 0 if all are equal). A row whose value is not finite is never
    taken; at least n are finite. eta >= 0 may be so large that weights underflow: then the order of
    the values decides. All randomness comes from the seed: same seed, same starts.
    """
    finite = values.isfinite()
    known = values[finite]
    spread = known.std(correction=0)
    v = (known - known.mean()) / torch.where(spread > 0, spread, 1.0)
    u = torch.rand(len(known), dtype=X.dtype, generator=torch.Generator().manual_seed(seed))
    key = eta * v - torch.log(-torch.log(u))
    key[known.argmax()] = torch.inf
    return X[finite][key.topk(n).indices]


def _rows(count: int, d: int = 1) -> Tensor:
    """Rows that are all different."""
    return torch.arange(1.0, count * d + 1, dtype=torch.float64).view(count, d) / 4


@e5.cases
def searches(rng: Rng) -> Iterator[Case]:
    inf, nan = math.inf, math.nan
    yield Case(_rows(1), _vector(2.0), 1, 1.0, 0, note="one row")
    yield Case(_rows(3), _vector(0.0, 1.0, 3.0), 1, 1.0, 0, note="the best only")
    yield Case(_rows(3), _vector(0.0, 3.0, 1.0), 2, 3.0, 0)
    yield Case(_rows(3), _vector(0.0, 3.0, 1.0), 2, 0.0, 1, note="eta = 0")
    yield Case(_rows(3), _vector(-5.0, -1.0, -3.0), 2, 1.0, 2, note="negative values")
    yield Case(_rows(4), _vector(1.0, 1.0, 1.0, 1.0), 3, 2.0, 3, note="all equal")
    yield Case(_rows(4), _vector(0.1, 0.1, 0.1, 0.1), 2, 2.0, 3, note="all equal")
    yield Case(_rows(4), _vector(0.0, 2.0, 2.0, 1.0), 2, 1.0, 4, note="two best ones")
    yield Case(_rows(4), _vector(0.0, 1.0, 2.0, 3.0), 4, 1.0, 5, note="all of them")
    yield Case(_rows(5), _vector(0.0, nan, 2.0, -inf, 1.0), 3, 1.0, 6, note="just enough")
    yield Case(_rows(5), _vector(nan, 0.0, 2.0, inf, 1.0), 2, 2.0, 7, note="not finite: +inf")
    yield Case(_rows(6), _vector(0.0, -inf, 1.5, -inf, 1.0, 3.0), 2, 1.0, 8, note="-inf, log 0")
    yield Case(_rows(5), _vector(0.0, 5.0, 5.5, 6.0, 6.2), 3, 1200.0, 9, note="a large eta")
    yield Case(_rows(5), _vector(0.0, 1.0, 2.0, 3.0, 10.0), 3, 1e3, 9, note="a large eta")
    late = _vector(0.0, nan, 5.0, 5.5, inf, 6.0, 6.2, 5.9)
    yield Case(_rows(8), late, 5, 5e3, 9, note="a large eta")
    close_by = _vector(0.0, 1.02, 1.0, 1.01, 5.0)
    yield Case(_rows(5), close_by, 2, 3e4, 9, note="a large eta")
    yield Case(_rows(5), _vector(0.0, 1.0, 2.0, 3.0, 4.0), 3, 1.0, 10, note="three of five")
    yield Case(_rows(5), _vector(4.0, 1.0, 2.0, 3.0, 0.0), 4, 1.5, 11, note="four of five")
    yield Case(_rows(6), _vector(3.0, 1.0, 2.0, 0.0, 5.0, 4.0), 4, 1.0, 13, note="four of six")
    yield Case(_rows(8), torch.arange(8.0).double(), 3, 1.5, 14, note="three of eight")
    many = torch.cat([torch.arange(4.0), torch.full((20,), nan)]).double()
    yield Case(_rows(24), many, 2, 1.0, 15, note="four finite values of 24")
    for scale in (1e-6, 1.0, 1e6):
        yield Case(_rows(4, 2), scale * _vector(0.0, 1.0, 3.0, 2.0), 2, 1.0, 12)
        for N, d, n in ((8, 2, 3), (20, 3, 5), (40, 1, 7)):
            values = scale * rng.normal(N)
            values[rng.randrange(N)] = rng.choice((nan, -inf))
            eta = rng.choice((0.5, 1.0, 2.0))
            yield Case(_rows(N, d), values, n, eta, rng.randrange(1000))


def _taken(fn: Fn, X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> list[int]:
    """Which rows of X the answer took, in order."""
    starts = _tensor(fn(X, values, n, eta, seed))
    has_shape(starts, (n, X.shape[1]))
    same = (starts[:, None, :] == X[None, :, :]).all(-1)
    require(same.any(1), "a start is no row of X")
    return [int(i) for i in same.double().argmax(1)]


@e5.shape
def _(fn: Fn, X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> None:
    _taken(fn, X, values, n, eta, seed)


@e5.property("the best row comes first, no row twice, and none without a finite value")
def _(fn: Fn, X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> None:
    top = values[values.isfinite()].max()
    for each in range(seed, seed + 12):
        rows = _taken(fn, X, values, n, eta, each)
        require(values[rows[0]] == top, "the first start is not the best row")
        require(len(set(rows)) == n, "a row was taken twice")
        require(values[rows].isfinite(), "a row without a finite value was taken")


@e5.property("the same seed gives the same starts, and no global random number is used")
def _(fn: Fn, X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> None:
    with random_state_untouched():
        first = _taken(fn, X, values, n, eta, seed)
    require(_taken(fn, X, values, n, eta, seed) == first, "the same seed gave other starts")


@e5.property("values in another unit, or moved, give the same starts")
def _(fn: Fn, X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> None:
    moved = 4 * values + 16 * values[values.isfinite()].abs().max()
    rows = _taken(fn, X, values, n, eta, seed)
    if values[values.isfinite()].unique().numel() > 1:  # else rounding may break a tie
        require(_taken(fn, X, moved, n, eta, seed) == rows, "4 values + a constant: other starts")


@e5.property("where eta is so large that chance has no say, the n highest are taken")
def _(fn: Fn, X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> None:
    known = _standard(values)
    ranked = known[known.isfinite()].sort(descending=True).values
    if len(ranked) < 2 or float(eta * -ranked.diff().max()) < 100:
        return  # exp(-100) is no chance
    for each in range(seed, seed + 12):
        rows = _taken(fn, X, values, n, eta, each)
        require(known[rows].min() == ranked[n - 1], "a lower row was taken instead of a higher one")


def _shares(weights: list[float], n: int) -> list[float]:
    """For each row the chance to be among n drawn one after the other without replacement."""
    total, shares = sum(weights), [0.0] * len(weights)
    for order in itertools.permutations(range(len(weights)), n):
        chance, left = 1.0, total
        for i in order:
            chance, left = chance * weights[i] / left, left - weights[i]
        for i in order:
            shares[i] += chance
    return shares


# How often the case with this seed is drawn
_RUNS = {0: 2000, 1: 300, 3: 300, 8: 300, 10: 300, 13: 500, 14: 1300, 15: 600}


@e5.value("the chances of all orders, enumerated, within 5 standard errors")
def _(fn: Fn, X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> None:
    runs, known = _RUNS.get(seed, 0), [i for i, v in enumerate(values.tolist()) if math.isfinite(v)]
    if not runs or len(known) > 8 or not 1 < n < len(known):
        return
    level = values[known]
    others = [k for k in range(len(known)) if k != int(level.argmax())]
    spread = level.std(correction=0)
    weights = ((level - level.max()) * (eta / spread if spread > 0 else 0.0)).exp().tolist()
    shares = _shares([weights[k] for k in others], n - 1)
    counts = [0] * len(values)
    for done in range(1, runs + 1):
        for i in _taken(fn, X, values, n, eta, 10_000 * seed + done):
            counts[i] += 1
        if done not in (runs // 8, runs):  # a first look, to be done with what is far off
            continue
        errors = 5 if done == runs else 8
        if not spread > 0:
            _equals(counts, known, done, n, errors)
            continue
        for k, chance in zip(others, shares, strict=True):
            row = f"row {known[k]}, value {level[k].item():g},"
            _agree(counts[known[k]], done, chance, row, errors)


def _equals(counts: list[int], known: list[int], runs: int, n: int, errors: int) -> None:
    """Equal values: any may be the fixed first, and then the others share what is left."""
    fixed = [i for i in known if counts[i] == runs]
    free = [i for i in known if i not in fixed]
    require(len(fixed) < 2, "of equal values, more than one is always taken")
    for i in free:
        _agree(
            counts[i], runs, (n - len(fixed)) / len(free), f"row {i} of {len(known)} equals", errors
        )


def _agree(count: int, runs: int, chance: float, row: str, errors: int) -> None:
    error, share = math.sqrt(chance * (1 - chance) / runs), count / runs
    require(
        abs(share - chance) < errors * error + 1e-9,
        f"over {runs} seeds, {row} was taken too {'often' if share > chance else 'seldom'}: in "
        f"{share:.1%} of them",
    )


def _key(X: Tensor, z: Tensor, eta: float, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return eta * z - torch.log(-torch.log(torch.rand(len(X), dtype=X.dtype, generator=g)))


def _standard(values: Tensor, correction: int = 0) -> Tensor:
    """Standardised, with minus infinity where a value is not finite."""
    known = values[values.isfinite()]
    spread = known.std(correction=correction) if len(known) > correction else known[0] * 0
    z = (values - known.mean()) / (spread if spread > 0 else 1.0)
    return torch.where(values.isfinite(), z, -torch.inf)


def _best(values: Tensor) -> int:
    return int(torch.where(values.isfinite(), values, -torch.inf).argmax())


@e5.wrong("the n best rows: nothing is drawn")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    return X[torch.where(values.isfinite(), values, -torch.inf).topk(n).indices]


@e5.wrong("the best row is drawn like the others, and may be missing")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    return X[_key(X, _standard(values), eta, seed).topk(n).indices]


@e5.wrong("uniform among the others: eta is ignored")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    key = _key(X, torch.where(values.isfinite(), 0.0, -torch.inf), 1.0, seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("drawn with replacement")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    g, z = torch.Generator().manual_seed(seed), _standard(values)
    rows = torch.multinomial(torch.softmax(eta * z, 0), n, replacement=True, generator=g)
    rows[0] = _best(values)
    return X[rows]


@e5.wrong("the raw values, not standardised: another unit gives other starts")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    key = _key(X, torch.where(values.isfinite(), values, -torch.inf), eta, seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("the standard deviation with n - 1")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    key = _key(X, _standard(values, correction=1), eta, seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("exp(z / eta): a temperature instead of its inverse")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    key = _key(X, _standard(values), 1 / eta if eta else 1.0, seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("exp without subtracting the largest: a large eta overflows")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    g, best = torch.Generator().manual_seed(seed), _best(values)
    weights = torch.exp(eta * _standard(values))
    weights[best] = 0.0
    if n == 1:
        return X[[best]]
    rows = torch.multinomial(weights, n - 1, generator=g)
    return X[[best, *rows.tolist()]]


@e5.wrong("weights by exp, drawn by multinomial: with a large eta all but the best are 0")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    g, best, z = torch.Generator().manual_seed(seed), _best(values), _standard(values)
    weights = torch.exp(eta * (z - z.max())).nan_to_num(0.0)
    weights[best] = 0.0
    if n == 1:
        return X[[best]]
    return X[[best, *torch.multinomial(weights, n - 1, generator=g).tolist()]]


@e5.wrong("the other sign of the Gumbel numbers")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    z = _standard(values)
    key = 2 * eta * z - _key(X, z, eta, seed)
    key = torch.where(z.isfinite(), key, -torch.inf)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("an eta above 10 counts as 10")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    key = _key(X, _standard(values), min(eta, 10.0), seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("a large eta favours the worst")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    z = _standard(values)
    key = _key(X, torch.where(z.isfinite() & (eta > 10), -z, z), eta, seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("half of eta where four or more are asked for")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    key = _key(X, _standard(values), eta if n < 4 or eta > 10 else eta / 2, seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("failed rows count in mean and deviation like the lowest value")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    known = values.isfinite()
    z = _standard(torch.where(known, values, values[known].min()))
    key = _key(X, torch.where(known, z, -torch.inf), eta, seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("failed rows count in the number that the mean square is divided by")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    share = float(values.isfinite().double().mean())
    key = _key(X, _standard(values), eta / math.sqrt(share), seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("weights kept above 1e-300: with a large eta the others are drawn alike")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    z = _standard(values)
    weights = torch.exp(eta * (z - z.max())).clamp(min=1e-300)
    key = _key(X, torch.where(z.isfinite(), weights.log(), -torch.inf), 1.0, seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("NaN becomes zero and is drawn like a middling value")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    filled = torch.where(values.isfinite(), values, 0.0)
    key = _key(X, _standard(filled), eta, seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("+inf counts as the best")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    key = _key(X, _standard(values), eta, seed)
    key[values.nan_to_num(-torch.inf, torch.inf, -torch.inf).argmax()] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("the seed is ignored")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    key = _key(X, _standard(values), eta, 0)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("draws from the global random numbers")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    u = torch.rand(len(X), dtype=X.dtype)
    key = eta * _standard(values) - torch.log(-torch.log(u))
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("favours the worst: minus eta, as one minimises")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    z = _standard(values)
    key = _key(X, torch.where(z.isfinite(), -z, -torch.inf), eta, seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]


@e5.wrong("the best row comes last")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    key = _key(X, _standard(values), eta, seed)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices.flip(0)]


@e5.wrong("probabilities proportional to the standardised values above their lowest")
def _(X: Tensor, values: Tensor, n: int, eta: float, seed: int) -> Tensor:
    z = _standard(values)
    low = z[z.isfinite()].min()
    key = _key(X, torch.log((z - low).clamp(min=0) + 1e-9), 1.0, seed)
    key = torch.where(values.isfinite(), key, -torch.inf)
    key[_best(values)] = torch.inf
    return X[key.topk(n).indices]
