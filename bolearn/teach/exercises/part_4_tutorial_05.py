"""The exercises of part_4/tutorial_05: look-ahead and entropy search."""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import torch
from scipy.integrate import quad
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def _tensor(result: Any) -> Tensor:
    """What a user would call right: a tensor, a NumPy array, a number."""
    return torch.as_tensor(result, dtype=torch.float64)


def _density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _cdf(z: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-z * math.sqrt(0.5))


# --- e1: where the means would move ---------------------------------------------------------------

e1 = Exercise(
    id="p4.t5.e1",
    title="What one outcome does to all means",
    hints=(
        "The outcome is y = μ_i + s z, with s the standard deviation of an observation: the doubt "
        "about f_i and the noise together.",
        "Conditioning on y moves mean j by cov_ji / s² times the surprise y - μ_i. How much of s "
        "is left when the surprise is s z?",
        "Each mean is a line in z, with height μ_j and slope cov_ji / s. If s is 0, nothing can "
        "surprise: the slopes are 0, not 0/0.",
    ),
    pure=True,
    size=lambda mu, cov, i, noise_var, z: len(mu) * len(z),
)


@e1.answer
def fantasy_means(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    """The means of M values f after each of s imagined observations of f_i.

    The belief is normal with means mu, M, and covariance cov, M M. An observation of f_i has noise
    of variance noise_var >= 0. Imagined outcome k lies z_k of its own standard deviations above
    what is expected; z is s. Returns s M: row k holds the posterior means after outcome k. If the
    outcome is known beforehand (no doubt and no noise), the means stay.
    """
    s2 = cov[i, i] + noise_var
    slopes = cov[:, i] / s2.sqrt() if s2 > 0 else torch.zeros_like(mu)
    return mu + z.unsqueeze(-1) * slopes


def _spd(rng: Rng, M: int) -> Tensor:
    A = rng.normal(M, M)
    return A @ A.mT + 0.3 * torch.eye(M, dtype=torch.float64)


@e1.cases
def fantasies(rng: Rng) -> Iterator[Case]:
    one, unit = _vector(1.0), torch.ones(1, 1, dtype=torch.float64)
    yield Case(one, unit, 0, 0.0, _vector(2.0), note="one value, no noise")
    yield Case(one, 4 * unit, 0, 5.0, _vector(-1.0, 1.0), note="one value, noise")
    pilot = _vector(1.0, 2.0, 2.0, 4.0).view(2, 2)
    yield Case(_vector(-3.0, 0.0), pilot, 0, 0.0, _vector(1.0), note="a pilot and its product")
    yield Case(_vector(-3.0, 0.0), pilot, 0, 3.0, _vector(1.0, 2.0, 0.5), note="a noisy pilot")
    apart = _vector(4.0, 0.0, 0.0, 1.0).view(2, 2)
    yield Case(_vector(0.0, 5.0), apart, 1, 0.0, _vector(1.5), note="independent values")
    known = _vector(0.0, 0.0, 0.0, 1.0).view(2, 2)
    yield Case(_vector(2.0, 1.0), known, 0, 0.0, _vector(1.0, -1.0), note="an outcome known before")
    yield Case(_vector(2.0, 1.0), known, 0, 0.5, _vector(1.0, -1.0), note="nothing but noise")
    against = _vector(1.0, -0.9, -0.9, 1.0).view(2, 2)
    yield Case(_vector(0.0, 0.0), against, 1, 0.1, _vector(2.0, 0.0), note="opposites")
    for scale in (1e-6, 1.0, 1e6):
        for M, s in ((2, 1), (3, 2), (4, 3), (2, 5), (5, 4)):
            noise = rng.choice((0.0, 0.2, 3.0))
            yield Case(
                scale * rng.normal(M), scale**2 * _spd(rng, M), rng.randrange(M),
                scale**2 * noise, rng.normal(s),
            )  # fmt: skip


def _size(mu: Tensor, cov: Tensor) -> float:
    return float(mu.abs().max() + cov.diagonal().max().sqrt())


@e1.shape
def _(fn: Fn, mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> None:
    has_shape(_tensor(fn(mu, cov, i, noise_var, z)), (len(z), len(mu)))


@e1.property("an outcome as expected, z = 0, moves nothing")
def _(fn: Fn, mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> None:
    stay = _tensor(fn(mu, cov, i, noise_var, torch.zeros_like(z)))
    close(stay / _size(mu, cov), mu.expand_as(stay) / _size(mu, cov), 1e-12)


@e1.property("z and -z average to today's means")
def _(fn: Fn, mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> None:
    both = 0.5 * (_tensor(fn(mu, cov, i, noise_var, z)) + _tensor(fn(mu, cov, i, noise_var, -z)))
    close(both / _size(mu, cov), mu.expand_as(both) / _size(mu, cov), 1e-10)


@e1.property("without noise, the mean of what is observed becomes the outcome")
def _(fn: Fn, mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> None:
    told = _tensor(fn(mu, cov, i, 0.0, z))[:, i]
    close(told / _size(mu, cov), (mu[i] + cov[i, i].sqrt() * z) / _size(mu, cov), 1e-10)


@e1.value("a Cholesky factor of the joint covariance of outcome and values")
def _(fn: Fn, mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> None:
    s2 = float(cov[i, i]) + noise_var
    if s2 == 0:
        slopes = torch.zeros_like(mu)
    else:  # with a little more doubt in the values the first column stays what it is
        joint = torch.zeros(len(mu) + 1, len(mu) + 1, dtype=torch.float64)
        joint[0, 0], joint[0, 1:], joint[1:, 0] = s2, cov[i], cov[i]
        joint[1:, 1:] = cov + 1e-3 * s2 * torch.eye(len(mu), dtype=torch.float64)
        slopes = torch.linalg.cholesky(joint / s2)[1:, 0] * math.sqrt(s2)
    expected = mu + torch.outer(z, slopes)
    close(_tensor(fn(mu, cov, i, noise_var, z)) / _size(mu, cov), expected / _size(mu, cov), 1e-9)


@e1.wrong("the noise is forgotten")
def _(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    return mu + torch.outer(z, cov[:, i] / cov[i, i].sqrt().clamp(min=1e-300))


@e1.wrong("divided by the variance of an observation, not by its standard deviation")
def _(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    return mu + torch.outer(z, cov[:, i] / (cov[i, i] + noise_var).clamp(min=1e-300))


@e1.wrong("the surprise leaves out the noise: z standard deviations of f, not of y")
def _(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    s2 = (cov[i, i] + noise_var).clamp(min=1e-300)
    return mu + torch.outer(z, cov[:, i] * cov[i, i].sqrt() / s2)


@e1.wrong("0/0 where the outcome is known beforehand")
def _(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    return mu + torch.outer(z, cov[:, i] / (cov[i, i] + noise_var).sqrt())


@e1.wrong("only the observed value moves")
def _(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    means = mu.repeat(len(z), 1)
    s2 = (cov[i, i] + noise_var).clamp(min=1e-300)
    means[:, i] += z * cov[i, i] / s2.sqrt()
    return means


@e1.wrong("every value moves by its own standard deviation")
def _(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    return mu + torch.outer(z, cov.diagonal().sqrt())


@e1.wrong("the correlation as the slope")
def _(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    size = (cov.diagonal() * cov[i, i]).sqrt().clamp(min=1e-300)
    return mu + torch.outer(z, cov[:, i] / size)


@e1.wrong("the noise taken for a standard deviation")
def _(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    return mu + torch.outer(z, cov[:, i] / (cov[i, i] + noise_var**2).sqrt().clamp(min=1e-300))


@e1.wrong("the other sign: a good surprise lowers the means")
def _(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    s2 = (cov[i, i] + noise_var).clamp(min=1e-300)
    return mu - torch.outer(z, cov[:, i] / s2.sqrt())


@e1.wrong("values along the first axis")
def _(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    s2 = (cov[i, i] + noise_var).clamp(min=1e-300)
    return (mu + torch.outer(z, cov[:, i] / s2.sqrt())).mT


@e1.wrong("draws of the values: independent of each other")
def _(mu: Tensor, cov: Tensor, i: int, noise_var: float, z: Tensor) -> Tensor:
    scale: Tensor = torch.linalg.eigh(cov).eigenvalues.clamp(min=0).sqrt()
    return mu + torch.outer(z, scale)


# --- e2: the knowledge gradient of lines ----------------------------------------------------------

e2 = Exercise(
    id="p4.t5.e2",
    title="The area under the envelope",
    hints=(
        "At z = 0 the best line is the one of the largest height. Going right, only a steeper line "
        "can take over, and the first to do so is the one that meets the present line first. Going "
        "left is the same with all slopes negated.",
        "At a corner z = c the slope grows by Δb, and all to the right of c gains Δb (z - c): that "
        "is worth Δb E max(0, z - c), which is Δb h(-c) with the h of EI.",
        "If several heights tie for the best, start from the flattest of these lines: the steeper "
        "ones meet it at c = 0. Going left is then right, too. Stop when no line is steeper.",
    ),
    pure=True,
    size=lambda a, b: len(a),
)


@e2.answer
def kg(a: Tensor, b: Tensor) -> Tensor:
    """E max_j (a_j + b_j z) - max_j a_j for a standard normal z, exactly.

    a are the heights of M lines at z = 0 and b their slopes; M >= 1, and both have shape M. The
    result has no axes and is never negative. Heights may tie, lines may be parallel or equal.
    Right to 1e-9 of the largest slope.
    """
    best = a == a.max()
    start = torch.where(best, b, torch.inf).argmin()  # of the best lines that of lowest slope
    total = torch.zeros((), dtype=a.dtype)
    for slope in (b, -b):  # to the right of z = 0, then to the left
        here = start
        while bool((slope > slope[here]).any()):
            gain = slope - slope[here]
            corner = torch.where(gain > 0, (a[here] - a) / gain.clamp(min=1e-300), torch.inf)
            there = corner.argmin()
            c = corner[there]
            density = torch.exp(-0.5 * c * c) / math.sqrt(2 * math.pi)
            total = total + gain[there] * (density - c * 0.5 * torch.erfc(c * math.sqrt(0.5)))
            here = there
    return total.clamp(min=0)


def _by_enumeration(a: Tensor, b: Tensor) -> float:
    """All crossings of two lines cut the axis into pieces, on each of which one line is best."""
    heights, slopes = (a - a.max()).numpy(), b.numpy()
    cuts = []
    for j in range(len(heights)):
        for k in range(j):
            if slopes[j] != slopes[k]:
                cuts.append((heights[k] - heights[j]) / (slopes[j] - slopes[k]))
    ends = sorted({-60.0, *np.clip(cuts, -60, 60).tolist(), 60.0})
    terms = []
    for low, high in pairwise(ends):
        j = int(np.argmax(heights + slopes * 0.5 * (low + high)))
        inside = 0.5 * (math.erfc(low / math.sqrt(2)) - math.erfc(high / math.sqrt(2)))
        if low < 0:
            inside = 0.5 * (math.erfc(-high / math.sqrt(2)) - math.erfc(-low / math.sqrt(2)))
        drop = (math.exp(-0.5 * low * low) - math.exp(-0.5 * high * high)) / math.sqrt(2 * math.pi)
        terms += [heights[j] * inside, slopes[j] * drop]
    return math.fsum(terms)


@e2.cases
def bundles(rng: Rng) -> Iterator[Case]:
    yield Case(_vector(3.0), _vector(2.0), note="one line")
    yield Case(_vector(0.0, 0.0), _vector(0.0, 1.0), note="two lines that tie")
    yield Case(_vector(0.0, 0.0), _vector(-2.0, 2.0), note="a roof")
    yield Case(_vector(1.0, 0.0), _vector(1.0, 1.0), note="parallel")
    yield Case(_vector(1.0, 1.0), _vector(0.5, 0.5), note="equal lines")
    yield Case(_vector(0.0, -3.0, 0.0), _vector(0.0, 1.0, 2.0), note="a pilot and its product")
    yield Case(_vector(0.0, 0.0), _vector(0.0, 0.5), note="arm A")
    yield Case(_vector(0.0, -3.0), _vector(0.0, 0.1), note="hardly anything to gain")
    yield Case(_vector(0.0, -1.0), _vector(0.0, -2.0), note="to the left only")
    yield Case(_vector(0.0, -1.0), _vector(3.0, 0.0), note="the best line is the steep one")
    yield Case(_vector(0.0, -0.2, -2.0), _vector(0.0, 1.0, 2.0), note="three on the right")
    yield Case(_vector(0.0, -1.5, -1.0), _vector(0.0, 1.0, 2.0), note="one line is never best")
    yield Case(_vector(0.0, 0.0, 0.0, -1.0), _vector(-1.0, 0.3, 1.0, 2.0), note="ties")
    yield Case(_vector(0.0, -1.0, -1.0), _vector(0.0, 1.0, 1.0), note="two equal challengers")
    yield Case(_vector(-5.0, -5.5, -7.0), _vector(1.0, -1.0, 3.0), note="negative heights")
    for scale in (1e-6, 1.0, 1e6):
        for M in (2, 3, 5, 9):
            heights, slopes = scale * rng.normal(M), scale * rng.normal(M)
            if M == 5:
                heights[2], slopes[4] = heights[0], slopes[1]
            yield Case(heights, slopes)
    yield Case(_vector(0.0, -0.3, -0.9, -2.0, -4.0, -7.0), _vector(0.0, 0.8, 1.5, 2.4, 3.3, 4.4))
    yield Case(50 + rng.normal(12), 3 * rng.normal(12), note="twelve lines")


def _steepest(b: Tensor) -> float:
    return float(b.abs().max()) or 1.0


@e2.shape
def _(fn: Fn, a: Tensor, b: Tensor) -> None:
    has_shape(_tensor(fn(a, b)), ())


@e2.property("it is finite and never negative")
def _(fn: Fn, a: Tensor, b: Tensor) -> None:
    value = _tensor(fn(a, b))
    require(value.isfinite(), "the result is not finite")
    require(value >= 0, "it is negative")


@e2.property("the same amount added to all heights, or to all slopes, changes nothing")
def _(fn: Fn, a: Tensor, b: Tensor) -> None:
    unit, value = _steepest(b), _tensor(fn(a, b))
    close(_tensor(fn(a + 8 * unit, b)) / unit, value / unit, 1e-9)
    close(_tensor(fn(a, b + 2 * unit)) / unit, value / unit, 1e-9)


@e2.property("the mirror image, with all slopes negated, is worth as much")
def _(fn: Fn, a: Tensor, b: Tensor) -> None:
    close(_tensor(fn(a, -b)) / _steepest(b), _tensor(fn(a, b)) / _steepest(b), 1e-9)


@e2.value("the integral, piece by piece between all crossings")
def _(fn: Fn, a: Tensor, b: Tensor) -> None:
    close(float(_tensor(fn(a, b))) / _steepest(b), _by_enumeration(a, b) / _steepest(b), 1e-9)


def _h(z: Tensor) -> Tensor:
    return _density(z) + z * _cdf(z)


def _pairs(a: Tensor, b: Tensor) -> Tensor:
    """What each line alone is worth beside the best one."""
    best = a.argmax()
    gain = (b - b[best]).abs()
    safe = torch.where(gain > 0, gain, 1.0)
    return torch.where(gain > 0, gain * _h((a - a[best]) / safe), 0.0)


@e2.wrong("the sum of what every line would be worth alone beside the best")
def _(a: Tensor, b: Tensor) -> Tensor:
    return _pairs(a, b).sum()


@e2.wrong("the best single rival")
def _(a: Tensor, b: Tensor) -> Tensor:
    return _pairs(a, b).amax()


@e2.wrong("64 Gauss-Hermite nodes: the corners are missed")
def _(a: Tensor, b: Tensor) -> Tensor:
    z, w = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(64))
    return ((a + z.unsqueeze(-1) * b).amax(-1) * w).sum() / w.sum() - a.amax()


@e2.wrong("a thousand draws")
def _(a: Tensor, b: Tensor) -> Tensor:
    z = torch.randn(1000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return ((a + z * b).amax(-1).mean() - a.amax()).clamp(min=0)


@e2.wrong("the best height is not subtracted")
def _(a: Tensor, b: Tensor) -> Tensor:
    value: Tensor = kg(a, b)
    return (value + a.amax()).clamp(min=0)


@e2.wrong("to the right only")
def _(a: Tensor, b: Tensor) -> Tensor:
    flat = torch.where(a == a.max(), b, torch.inf).min()
    value: Tensor = kg(a, b.clamp(min=flat.item()))
    return value


@e2.wrong("lines that are never best are not passed over: neighbours by slope")
def _(a: Tensor, b: Tensor) -> Tensor:
    order = b.argsort()
    a, b = a[order], b[order]
    gain, drop = b.diff(), -a.diff()
    c = (drop / gain.clamp(min=1e-300)).abs()
    return torch.where(gain > 0, gain * _h(-c), 0.0).sum()


@e2.wrong("among ties any line is started from")
def _(a: Tensor, b: Tensor) -> Tensor:
    total, start = torch.zeros((), dtype=a.dtype), a.argmax()
    for slope in (b, -b):
        here = start
        while bool((slope > slope[here]).any()):
            gain = slope - slope[here]
            ok = (gain > 0) & (a < a[here])
            if not bool(ok.any()):
                break
            corner = torch.where(ok, (a[here] - a) / gain.clamp(min=1e-300), torch.inf)
            there = corner.argmin()
            total = total + gain[there] * _h(-corner[there])
            here = there
    return total


@e2.wrong("h(c) instead of h(-c)")
def _(a: Tensor, b: Tensor) -> Tensor:
    best, top = a.argmax(), b.argmax()
    gain = b[top] - b[best]
    return gain * _h((a[best] - a[top]) / gain) if gain > 0 else torch.zeros((), dtype=a.dtype)


@e2.wrong("the largest mean after z = 1, less today's")
def _(a: Tensor, b: Tensor) -> Tensor:
    return (a + b.abs()).amax() - a.amax()


@e2.wrong("slopes without their sign")
def _(a: Tensor, b: Tensor) -> Tensor:
    value: Tensor = kg(a, b.abs())
    return value


@e2.wrong("each corner's gain weighted by its chance, Φ(-c)")
def _(a: Tensor, b: Tensor) -> Tensor:
    best = a.argmax()
    gain = (b - b[best]).abs()
    return (gain * _cdf((a - a[best]) / gain.clamp(min=1e-300))).amax()


# --- e3: the entropy of a normal that is cut off --------------------------------------------------

e3 = Exercise(
    id="p4.t5.e3",
    title="How much doubt is left below a ceiling",
    hints=(
        "Entropy is -E log p. Below γ the density is φ(f)/Φ(γ), whose logarithm has three terms: "
        "-f²/2, a constant, and -log Φ(γ).",
        "E f² below γ is 1 - γ λ with λ = φ(γ)/Φ(γ), by parts. So the entropy is that of a "
        "standard normal, plus log Φ(γ), minus γ λ / 2.",
        "Far down φ/Φ is 0/0. torch.special.log_ndtr has log Φ to many digits; take λ from "
        "logarithms, too.",
    ),
    copies=False,
)


@e3.answer
def truncated_entropy(gamma: Tensor) -> Tensor:
    """The entropy, in nats, of a standard normal f given f <= gamma, entry by entry.

    gamma is float64, of any shape, with entries between -50 and 50; so is the result. Right to
    1e-8. (The entropy of a density may be negative.)
    """
    log_cdf: Tensor = torch.special.log_ndtr(gamma)
    ratio = torch.exp(-0.5 * gamma * gamma - 0.5 * math.log(2 * math.pi) - log_cdf)  # φ/Φ
    return 0.5 * math.log(2 * math.pi * math.e) + log_cdf - 0.5 * gamma * ratio


@lru_cache(maxsize=4096)
def _entropy(gamma: float) -> float:
    """By mpmath with 60 digits."""
    with mpmath.workdps(60):
        g = mpmath.mpf(gamma)
        cdf = mpmath.erfc(-g / mpmath.sqrt(2)) / 2
        pdf = mpmath.exp(-g * g / 2) / mpmath.sqrt(2 * mpmath.pi)
        return float(mpmath.log(mpmath.sqrt(2 * mpmath.pi * mpmath.e) * cdf) - g * pdf / cdf / 2)


@e3.cases
def ceilings(rng: Rng) -> Iterator[Case]:
    yield Case(_vector(0.0), note="half of it")
    yield Case(_vector(1.0))
    yield Case(_vector(-1.0))
    yield Case(_vector(50.0), note="no ceiling")
    yield Case(_vector(-5.0))
    yield Case(_vector(-9.0), note="torch.special.ndtr is 0 here")
    yield Case(_vector(-20.0), note="γ = -20")
    yield Case(_vector(-39.0), note="Φ is too small for float64")
    yield Case(_vector(-50.0), note="γ = -50")
    yield Case(torch.tensor(0.3, dtype=torch.float64), note="no axes")
    yield Case(_vector(-50.0, -20.0, 0.0, 8.0, 50.0), note="all at once")
    for low, high in ((-3, 3), (-12, -3), (3, 12), (-50, -12)):
        for shape in ((2,), (2, 3), (3, 1, 2)):
            yield Case(rng.uniform_in(low, high, *shape))


@e3.shape
def _(fn: Fn, gamma: Tensor) -> None:
    has_shape(fn(gamma), tuple(gamma.shape), torch.float64)


@e3.property("at most that of a standard normal, and more under a higher ceiling")
def _(fn: Fn, gamma: Tensor) -> None:
    value = fn(gamma)
    require(value.isfinite(), "a value is not finite")
    most = 0.5 * math.log(2 * math.pi * math.e)
    require(value <= most + 1e-8, "larger than without a ceiling")
    require(fn(gamma + 0.05) >= value - 1e-8, "a higher ceiling leaves less doubt")


@e3.value("mpmath with 60 digits")
def _(fn: Fn, gamma: Tensor) -> None:
    close(fn(gamma).flatten(), _vector(*map(_entropy, gamma.flatten().tolist())), 1e-8)


@e3.wrong("what the ceiling takes away, not what it leaves")
def _(gamma: Tensor) -> Tensor:
    value: Tensor = 0.5 * math.log(2 * math.pi * math.e) - truncated_entropy(gamma)
    return value


@e3.wrong("φ/Φ from ndtr: not finite below -8.4")
def _(gamma: Tensor) -> Tensor:
    cdf: Tensor = torch.special.ndtr(gamma)
    return (
        0.5 * math.log(2 * math.pi * math.e)
        + cdf.log()
        - 0.5 * gamma * torch.exp(-0.5 * gamma * gamma) / math.sqrt(2 * math.pi) / cdf
    )


@e3.wrong("Φ kept away from zero")
def _(gamma: Tensor) -> Tensor:
    cdf = _cdf(gamma).clamp(min=1e-12)
    return 0.5 * math.log(2 * math.pi * math.e) + cdf.log() - 0.5 * gamma * _density(gamma) / cdf


@e3.wrong("the other sign of the last term")
def _(gamma: Tensor) -> Tensor:
    log_cdf: Tensor = torch.special.log_ndtr(gamma)
    ratio = torch.exp(-0.5 * gamma * gamma - 0.5 * math.log(2 * math.pi) - log_cdf)
    return 0.5 * math.log(2 * math.pi * math.e) + log_cdf + 0.5 * gamma * ratio


@e3.wrong("without log Φ")
def _(gamma: Tensor) -> Tensor:
    value: Tensor = truncated_entropy(gamma) - torch.special.log_ndtr(gamma)
    return value


@e3.wrong("a floor instead of a ceiling")
def _(gamma: Tensor) -> Tensor:
    value: Tensor = truncated_entropy(-gamma)
    return value


@e3.wrong("the entropy of a normal with the variance that is left")
def _(gamma: Tensor) -> Tensor:
    ratio = torch.exp(
        -0.5 * gamma * gamma - 0.5 * math.log(2 * math.pi) - torch.special.log_ndtr(gamma)
    )
    left = (1 - ratio * (gamma + ratio)).clamp(min=1e-12)
    return 0.5 * torch.log(2 * math.pi * math.e * left)


@e3.wrong("in bits")
def _(gamma: Tensor) -> Tensor:
    value: Tensor = truncated_entropy(gamma) / math.log(2)
    return value


@e3.wrong("γ λ without the half")
def _(gamma: Tensor) -> Tensor:
    log_cdf: Tensor = torch.special.log_ndtr(gamma)
    ratio = torch.exp(-0.5 * gamma * gamma - 0.5 * math.log(2 * math.pi) - log_cdf)
    return 0.5 * math.log(2 * math.pi * math.e) + log_cdf - gamma * ratio


@e3.wrong("log Φ as log(1 - Φ(-γ)): minus infinity far down")
def _(gamma: Tensor) -> Tensor:
    log_cdf = torch.log1p(-_cdf(-gamma))
    ratio = torch.exp(-0.5 * gamma * gamma - 0.5 * math.log(2 * math.pi) - log_cdf)
    return 0.5 * math.log(2 * math.pi * math.e) + log_cdf - 0.5 * gamma * ratio


# --- e4: what a noisy observation tells about the ceiling -----------------------------------------

e4 = Exercise(
    id="p4.t5.e4",
    title="Told through noise",
    hints=(
        "In units of its own standard deviation an observation is v = ρ u + c w: u is f in its "
        "units, w is the noise, ρ² = snr / (1 + snr) and c² = 1 / (1 + snr). Before the ceiling v "
        "is standard normal.",
        "Given u <= γ, Bayes' rule gives the density p(v) = φ(v) P(u <= γ | v) / Φ(γ), and u given "
        "v is normal with mean ρ v and standard deviation c.",
        "The information is the entropy of v before minus after: ½ log 2πe + ∫ p log p. Sum over a "
        "fine grid of v (torch.trapezoid; the integrand is smooth and vanishes at both ends), with "
        "log p made of log_ndtr.",
    ),
    copies=False,
    size=lambda gamma, snr: gamma.numel(),
)


@e4.answer
def noisy_information(gamma: Tensor, snr: Tensor) -> Tensor:
    """What an observation y = f + noise tells about the ceiling f <= f*, in nats, entry by entry.

    f is normal, gamma is (f* - mean)/sd, and snr is the variance of f over that of the noise. The
    result is the entropy of y minus the entropy of y given f <= f*. gamma and snr are float64 and
    of one shape, and so is the result; gamma lies between -6 and 6, snr between 0.01 and 100. Right
    to 1e-8.
    """
    rho, c = (snr / (1 + snr)).sqrt(), (1 / (1 + snr)).sqrt()
    v = torch.linspace(-16.0, 16.0, 4001, dtype=torch.float64)
    g, rho, c = (t.unsqueeze(-1) for t in (gamma, rho, c))
    log_p = -0.5 * v * v - 0.5 * math.log(2 * math.pi)
    log_p = log_p + torch.special.log_ndtr((g - rho * v) / c) - torch.special.log_ndtr(g)
    left = -torch.trapezoid(torch.exp(log_p) * log_p, v)
    return 0.5 * math.log(2 * math.pi * math.e) - left


@lru_cache(maxsize=4096)
def _told(gamma: float, snr: float) -> float:
    """The entropy that y loses, by adaptive quadrature in the user's own units."""
    noise = 1 / math.sqrt(snr)  # f has standard deviation 1
    s = math.hypot(1.0, noise)
    log_cdf = float(torch.special.log_ndtr(_vector(gamma)))

    def log_p(y: float) -> float:
        mean, sd = y / s**2, noise / s
        inside = float(torch.special.log_ndtr(_vector((gamma - mean) / sd)))
        return -0.5 * (y / s) ** 2 - math.log(s * math.sqrt(2 * math.pi)) + inside - log_cdf

    grid = np.linspace(-14 * s, 14 * s, 29)
    pieces = [
        quad(lambda y: math.exp(log_p(y)) * log_p(y), low, high, epsabs=1e-12, epsrel=1e-10)[0]
        for low, high in pairwise(grid.tolist())
    ]
    return 0.5 * math.log(2 * math.pi * math.e * s * s) + math.fsum(pieces)


@e4.cases
def tellings(rng: Rng) -> Iterator[Case]:
    yield Case(_vector(0.0), _vector(1.0), note="as much noise as doubt")
    yield Case(_vector(0.0), _vector(100.0), note="little noise")
    yield Case(_vector(0.0), _vector(0.01), note="nearly all noise")
    yield Case(_vector(2.0), _vector(1.0))
    yield Case(_vector(-2.0), _vector(1.0))
    yield Case(_vector(6.0), _vector(4.0), note="a ceiling that hardly binds")
    yield Case(_vector(-6.0), _vector(4.0), note="a ceiling far below the mean")
    yield Case(_vector(-6.0), _vector(100.0))
    yield Case(_vector(-4.0), _vector(0.05))
    yield Case(_vector(3.0), _vector(100.0))
    yield Case(torch.tensor(0.7, dtype=torch.float64), torch.tensor(2.0).double(), note="no axes")
    yield Case(_vector(-1.0, 1.0), _vector(9.0, 0.25))
    for shape in ((1,), (1,), (2,), (1, 2), (2, 1), (1,), (1,), (1, 1, 1), (2,), (1,)):
        yield Case(rng.uniform_in(-5, 5, *shape), 10 ** rng.uniform_in(-1.5, 1.8, *shape))


@e4.shape
def _(fn: Fn, gamma: Tensor, snr: Tensor) -> None:
    has_shape(fn(gamma, snr), tuple(gamma.shape), torch.float64)


@e4.property("not negative, and at most what y tells about f, half of log(1 + snr)")
def _(fn: Fn, gamma: Tensor, snr: Tensor) -> None:
    value = fn(gamma, snr)
    require(value.isfinite(), "a value is not finite")
    require(value >= -1e-8, "negative information")
    require(value <= 0.5 * torch.log1p(snr) + 1e-8, "y tells more about f* than about f")


@e4.property("more noise tells less")
def _(fn: Fn, gamma: Tensor, snr: Tensor) -> None:
    require(fn(gamma, 0.7 * snr + 0.003) <= fn(gamma, snr) + 1e-8, "more noise, and it tells more")


@e4.value("adaptive quadrature in other units")
def _(fn: Fn, gamma: Tensor, snr: Tensor) -> None:
    pairs = zip(gamma.flatten().tolist(), snr.flatten().tolist(), strict=True)
    close(fn(gamma, snr).flatten(), _vector(*(_told(g, s) for g, s in pairs)), 1e-8)


def _lambda(gamma: Tensor) -> Tensor:
    log_cdf: Tensor = torch.special.log_ndtr(gamma)
    return torch.exp(-0.5 * gamma * gamma - 0.5 * math.log(2 * math.pi) - log_cdf)


def _without_noise(gamma: Tensor) -> Tensor:
    told: Tensor = 0.5 * gamma * _lambda(gamma) - torch.special.log_ndtr(gamma)
    return told


@e4.wrong("the formula for f itself, without noise")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    return _without_noise(gamma) + 0 * snr


@e4.wrong("the same, cut off at what y tells about f")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    return torch.minimum(_without_noise(gamma), 0.5 * torch.log1p(snr))


@e4.wrong("the same times the share of signal")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    return _without_noise(gamma) * snr / (1 + snr)


@e4.wrong("a ceiling for y: gamma with the standard deviation of y")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    return _without_noise(gamma * (snr / (1 + snr)).sqrt())


@e4.wrong("a normal with the variance that is left (GIBBON)")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    ratio = _lambda(gamma)
    return -0.5 * torch.log1p(-ratio * (gamma + ratio) * snr / (1 + snr))


@e4.wrong("what y tells about f")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    return 0.5 * torch.log1p(snr) + 0 * gamma


@e4.wrong("rho and c swapped")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    value: Tensor = noisy_information(gamma, 1 / snr)
    return value


@e4.wrong("snr taken for a ratio of standard deviations")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    value: Tensor = noisy_information(gamma, snr * snr)
    return value


@e4.wrong("in bits")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    value: Tensor = noisy_information(gamma, snr) / math.log(2)
    return value


@e4.wrong("the other sign")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    value: Tensor = -noisy_information(gamma, snr)
    return value


@e4.wrong("a grid from -4 to 4: too narrow")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    v = torch.linspace(-4.0, 4.0, 4001, dtype=torch.float64)
    g, rho, c = (t.unsqueeze(-1) for t in (gamma, (snr / (1 + snr)).sqrt(), (1 / (1 + snr)).sqrt()))
    log_p = -0.5 * v * v - 0.5 * math.log(2 * math.pi)
    log_p = log_p + torch.special.log_ndtr((g - rho * v) / c) - torch.special.log_ndtr(g)
    return 0.5 * math.log(2 * math.pi * math.e) + torch.trapezoid(log_p.exp() * log_p, v)


@e4.wrong("not divided by Φ(γ)")
def _(gamma: Tensor, snr: Tensor) -> Tensor:
    v = torch.linspace(-16.0, 16.0, 4001, dtype=torch.float64)
    g, rho, c = (t.unsqueeze(-1) for t in (gamma, (snr / (1 + snr)).sqrt(), (1 / (1 + snr)).sqrt()))
    log_p = -0.5 * v * v - 0.5 * math.log(2 * math.pi)
    log_p = log_p + torch.special.log_ndtr((g - rho * v) / c)
    return 0.5 * math.log(2 * math.pi * math.e) + torch.trapezoid(log_p.exp() * log_p, v)
