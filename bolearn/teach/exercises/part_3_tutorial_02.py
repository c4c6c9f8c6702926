"""The exercises of part_3/tutorial_02: prediction, uncertainty and confidence."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from scipy import integrate, stats
from torch import Tensor

from bolearn.diagnostics import calibration
from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


# --- e1: Bayesian linear regression -----------------------------------------------------------

e1 = Exercise(
    id="p3.t2.e1",
    title="What the drills say about the weights",
    pure=True,
    hints=(
        "Precisions add: that of the prior, and what each drill contributes. A drill with features "
        "psi and noise variance v contributes the matrix psi psiᵀ / v.",
        "Divide each row of Psi by its drill's noise variance first; one product with the "
        "undivided Psi gives all contributions at once, one with y the right-hand side.",
        "`torch.linalg.cholesky`, then `torch.cholesky_solve` for the mean and "
        "`torch.cholesky_inverse` for the covariance work with axes in front. `.mT` transposes "
        "the last two axes only, and a division by infinity is zero, as it should be.",
    ),
)


@e1.answer
def blr_posterior(
    Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the weights in y = Psi w + noise, after the drills.

    Psi is `... n p`, a row of features for each drill; y is `... n`. Before the drills, w is normal
    with mean 0 and the precision (inverse covariance) prior_prec, `p p` or `... p p`, symmetric and
    positive definite. noise_var is the noise's variance, one number for all drills or one for each,
    `... n`; a drill of infinite variance says nothing. n may be 0. Axes in front are strips of
    their own. Return the mean, `... p`, and the covariance, `... p p`.
    """
    noise = torch.as_tensor(noise_var, dtype=y.dtype).expand(y.shape)
    weighted = Psi / noise.unsqueeze(-1)
    L = torch.linalg.cholesky(prior_prec + Psi.mT @ weighted)
    mean = torch.cholesky_solve(weighted.mT @ y.unsqueeze(-1), L)
    return mean.squeeze(-1), torch.cholesky_inverse(L)


def _precision(rng: Rng, *shape: int) -> Tensor:
    """A random positive definite matrix with eigenvalues of about 0.2 to 3."""
    A = rng.normal(*shape, shape[-1])
    return A @ A.mT / shape[-1] + 0.2 * torch.eye(shape[-1], dtype=A.dtype)


@e1.cases
def drills(rng: Rng) -> Iterator[Case]:
    one = torch.eye(1, dtype=torch.float64)
    yield Case(_vector(1.0).reshape(1, 1), _vector(2.0), one, 1.0, note="one drill, one weight")
    yield Case(torch.zeros(0, 2).double(), _vector(), _precision(rng, 2), 0.5, note="no drill")
    yield Case(
        torch.zeros(3, 0, 2).double(), torch.zeros(3, 0).double(), _precision(rng, 2), 0.5,
        note="no drill on three strips",
    )  # fmt: skip
    line = torch.stack([torch.ones(3), torch.tensor([-1.0, 0.0, 1.0])], -1).double()
    yield Case(line, _vector(1.0, 2.0, 4.0), 0.25 * torch.eye(2).double(), 0.09, note="a line")
    yield Case(line[:1], _vector(1.0), _precision(rng, 2), 0.09, note="more weights than drills")
    yield Case(line[[0, 0]], _vector(1.0, 2.0), _precision(rng, 2), 0.09, note="one place twice")
    yield Case(line, _vector(1.0, 2.0, 4.0), _precision(rng, 2), _vector(0.01, 1.0, 4.0))
    infinite = _vector(0.5, math.inf, 2.0)
    yield Case(line, _vector(1.0, 2.0, 4.0), _precision(rng, 2), infinite, note="one says nothing")
    for scale in (1e-6, 1e6):
        prior = _precision(rng, 3) / scale**2
        yield Case(rng.normal(4, 3), scale * rng.normal(4), prior, 0.3 * scale**2)
        yield Case(scale * rng.normal(4, 3), rng.normal(4), scale**2 * _precision(rng, 3), 0.3)
    yield Case(rng.normal(6, 3), rng.normal(6), _precision(rng, 3), 1e-4, note="sharp drills")
    yield Case(rng.normal(6, 3), rng.normal(6), _precision(rng, 3), 1e4, note="useless drills")
    for n, p in ((2, 2), (5, 3), (8, 4), (3, 5)):
        yield Case(rng.normal(n, p), rng.normal(n), _precision(rng, p), rng.uniform(0.1, 2.0))
        yield Case(rng.normal(n, p), rng.normal(n), _precision(rng, p), rng.uniform_in(0.1, 2, n))
    for front in ((3,), (2, 3)):
        Psi, y = rng.normal(*front, 4, 2), rng.normal(*front, 4)
        yield Case(Psi, y, _precision(rng, 2), 0.5, note="many strips")
        yield Case(Psi, y, _precision(rng, *front, 2), rng.uniform_in(0.2, 2.0, *front, 4))
    yield Case(rng.normal(2, 2, 2), rng.normal(2, 2), _precision(rng, 2, 2), 0.5, note="all twos")


def _noise(y: Tensor, noise_var: float | Tensor) -> Tensor:
    return torch.as_tensor(noise_var, dtype=y.dtype).expand(y.shape)


@e1.shape
def _(fn: Fn, Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: Any) -> None:
    result = fn(Psi, y, prior_prec, noise_var)
    require(isinstance(result, tuple) and len(result) == 2, "expected a mean and a covariance")
    shape = (*y.shape[:-1], Psi.shape[-1])
    has_shape(result[0], shape, torch.float64)
    covariance = result[1].expand(*shape, shape[-1]) if not y.shape[-1] else result[1]
    has_shape(covariance, (*shape, shape[-1]), torch.float64)


@e1.property("without drills the answer is the prior: mean 0, and the inverse of its precision")
def _(fn: Fn, Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: Any) -> None:
    none = _noise(y, noise_var)[..., :0]
    mean, S = fn(Psi[..., :0, :], y[..., :0], prior_prec, none)
    close(mean, torch.zeros_like(mean), 0)
    eye = torch.eye(Psi.shape[-1], dtype=y.dtype)
    close(prior_prec @ S, eye.expand_as(prior_prec @ S), 1e-7)


@e1.property("the covariance is symmetric and positive, and no larger than the prior's")
def _(fn: Fn, Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: Any) -> None:
    _, S = fn(Psi, y, prior_prec, noise_var)
    size = float(S.abs().max())
    close(S / size, S.mT / size, 1e-9)
    require(torch.linalg.eigvalsh(S) > 0, "a direction without variance, or with a negative one")
    gain = torch.linalg.inv(prior_prec) - S
    require(torch.linalg.eigvalsh(gain + gain.mT) > -1e-7 * size, "wider than before the drills")


@e1.property("the order of the drills does not matter")
def _(fn: Fn, Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: Any) -> None:
    noise = _noise(y, noise_var)
    mean, S = fn(Psi, y, prior_prec, noise_var)
    other = fn(Psi.flip(-2), y.flip(-1), prior_prec, noise.flip(-1))
    close(other, (mean, S), 1e-7, relative=True)


@e1.property("two drills at one place are one with their average and half the noise variance")
def _(fn: Fn, Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: Any) -> None:
    noise = _noise(y, noise_var)
    away = 0.3 * noise.sqrt().nan_to_num(posinf=0.0)
    pair = (torch.cat([Psi, Psi], -2), torch.cat([y - away, y + away], -1))
    twice = fn(*pair, prior_prec, torch.cat([noise, noise], -1))
    close(twice, fn(Psi, y, prior_prec, noise / 2), 1e-6, relative=True)


@e1.property("a drill of infinite noise variance may as well be left out")
def _(fn: Fn, Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: Any) -> None:
    noise = _noise(y, noise_var)
    more = torch.cat([noise, torch.full_like(noise, math.inf)], -1)
    ignored = fn(torch.cat([Psi, 1 + Psi], -2), torch.cat([y, 7 + y], -1), prior_prec, more)
    close(ignored, fn(Psi, y, prior_prec, noise), 1e-7, relative=True)


@e1.property("drill by drill, each posterior the next prior, or all at once: the same")
def _(fn: Fn, Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: Any) -> None:
    noise = _noise(y, noise_var)
    S = torch.linalg.inv(prior_prec).expand(*y.shape[:-1], *prior_prec.shape[-2:])
    mean = torch.zeros_like(S[..., 0])
    for i in range(y.shape[-1]):
        row = Psi[..., i : i + 1, :]
        # With a prior mean, the weights that are asked for are those beyond it.
        left = y[..., i : i + 1] - (row @ mean.unsqueeze(-1)).squeeze(-1)
        step, S = fn(row, left, torch.linalg.inv(S), noise[..., i : i + 1])
        mean = mean + step
    close((mean, S), fn(Psi, y, prior_prec, noise_var), 1e-5, relative=True)


@e1.property("each strip gets what it would get alone")
def _(fn: Fn, Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: Any) -> None:
    if y.ndim == 1 or not y.shape[-1]:
        return
    mean, S = (part.flatten(0, y.ndim - 2) for part in fn(Psi, y, prior_prec, noise_var))
    priors = prior_prec.expand(*y.shape[:-1], *prior_prec.shape[-2:]).flatten(0, y.ndim - 2)
    noise = _noise(y, noise_var).flatten(0, y.ndim - 2)
    strips = zip(Psi.flatten(0, y.ndim - 2), y.flatten(0, y.ndim - 2), priors, noise, strict=True)
    for i, strip in enumerate(strips):
        close((mean[i], S[i]), fn(*strip), 1e-8, relative=True)


@e1.value("the joint normal of weights and drills, conditioned on what came up")
def _(fn: Fn, Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: Any) -> None:
    noise = _noise(y, noise_var)
    if not y.shape[-1] or bool(noise.isinf().any()):
        return
    prior = torch.linalg.inv(prior_prec)
    with_y = prior @ Psi.mT  # covariance of w and y
    of_y = Psi @ with_y + torch.diag_embed(noise)
    gain = torch.linalg.solve(of_y, with_y.mT).mT
    expected = (gain @ y.unsqueeze(-1)).squeeze(-1), prior - gain @ with_y.mT
    size = float(prior.abs().max())
    mean, S = fn(Psi, y, prior_prec, noise_var)
    close(mean, expected[0], 1e-6, relative=True)
    close(S / size, expected[1] / size, 1e-7)


def _solve(Psi: Tensor, y: Tensor, H: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    S = torch.linalg.inv(H)
    known = Psi.mT @ (y / noise).unsqueeze(-1)
    return (S @ known).squeeze(-1), S


@e1.wrong("takes the prior's precision for its covariance")
def _(
    Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: float | Tensor
) -> tuple[Tensor, Tensor]:
    return blr_posterior(Psi, y, torch.linalg.inv(prior_prec), noise_var)


@e1.wrong("returns the precision instead of the covariance")
def _(
    Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: float | Tensor
) -> tuple[Tensor, Tensor]:
    mean, S = blr_posterior(Psi, y, prior_prec, noise_var)
    return mean, torch.linalg.inv(S)


@e1.wrong("ridge regression without the noise: all drills as if of variance 1")
def _(
    Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: float | Tensor
) -> tuple[Tensor, Tensor]:
    return blr_posterior(Psi, y, prior_prec, 1.0)


@e1.wrong("divides by the noise's standard deviation instead of its variance")
def _(
    Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: float | Tensor
) -> tuple[Tensor, Tensor]:
    return blr_posterior(Psi, y, prior_prec, _noise(y, noise_var).sqrt())


@e1.wrong("forgets the noise on the right-hand side")
def _(
    Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: float | Tensor
) -> tuple[Tensor, Tensor]:
    _, S = blr_posterior(Psi, y, prior_prec, noise_var)
    return (S @ (Psi.mT @ y.unsqueeze(-1))).squeeze(-1), S


@e1.wrong("scales the covariance by the noise once more, as least squares does")
def _(
    Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: float | Tensor
) -> tuple[Tensor, Tensor]:
    mean, S = blr_posterior(Psi, y, prior_prec, noise_var)
    level = _noise(y, noise_var).mean(-1) if y.shape[-1] else torch.ones(y.shape[:-1]).double()
    return mean, level.reshape(*y.shape[:-1], 1, 1) * S


@e1.wrong("gives all drills their average noise")
def _(
    Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: float | Tensor
) -> tuple[Tensor, Tensor]:
    noise = _noise(y, noise_var)
    noise = noise.mean(-1, keepdim=True).expand_as(noise) if y.shape[-1] else noise
    return blr_posterior(Psi, y, prior_prec, noise)


@e1.wrong("conditions the joint normal instead, where an infinite variance becomes NaN")
def _(
    Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: float | Tensor
) -> tuple[Tensor, Tensor]:
    prior = torch.linalg.inv(prior_prec)
    with_y = prior @ Psi.mT
    gain = with_y @ torch.linalg.inv(Psi @ with_y + torch.diag_embed(_noise(y, noise_var)))
    return (gain @ y.unsqueeze(-1)).squeeze(-1), prior - gain @ with_y.mT


@e1.wrong("adds up the drills of all strips")
def _(
    Psi: Tensor, y: Tensor, prior_prec: Tensor, noise_var: float | Tensor
) -> tuple[Tensor, Tensor]:
    noise = _noise(y, noise_var)
    one = (Psi.mT @ (Psi / noise.unsqueeze(-1))).reshape(-1, Psi.shape[-1], Psi.shape[-1]).sum(0)
    return _solve(Psi, y, (prior_prec + one).expand(*y.shape[:-1], *one.shape), noise)


# --- e2: coverage -----------------------------------------------------------------------------

e2 = Exercise(
    id="p3.t2.e2",
    title="Is the promise kept?",
    pure=True,
    hints=(
        "A central interval at level 95 % leaves out 2.5 % on each side. Which quantile of the "
        "standard normal is its half-width?",
        "Count, for each strip, the values inside and the values that there are; NaN compares "
        "false with everything.",
        "The half-width is `torch.special.ndtri` of ½ + level/2, times sd. `y.isnan()` says which "
        "values are missing; 0 / 0 is NaN, which is what a strip without values should get.",
    ),
)


@e2.answer
def coverage(mu: Tensor, sd: Tensor, y: Tensor, level: float) -> Tensor:
    """Share of the values that the central intervals at this level hold, for each strip.

    y is `... n`, axes in front are strips; mu and sd (>= 0) have the shape of y or broadcast to it.
    The interval at a place is the central one of a normal distribution with mean mu and standard
    deviation sd that has the probability level, 0 < level < 1; its ends belong to it. A value that
    is NaN is missing and does not count. Return `...`; NaN for a strip without values.
    """
    half: Tensor = torch.special.ndtri(torch.tensor(0.5 + level / 2, dtype=y.dtype)) * sd
    inside = ((y - mu).abs() <= half).sum(-1)
    return inside.to(y) / (~y.isnan()).sum(-1)


@e2.cases
def predictions(rng: Rng) -> Iterator[Case]:
    zero, one = _vector(0.0), _vector(1.0)
    yield Case(zero, one, _vector(0.5), 0.95, note="one value, inside")
    yield Case(zero, one, _vector(-3.0), 0.95, note="one value, outside")
    yield Case(zero, one, _vector(1.8), 0.95, note="between the one-sided quantile and the other")
    yield Case(zero, one, _vector(math.nan), 0.95, note="nothing measured")
    yield Case(_vector(1.0, 2.0), 0 * one, _vector(1.0, 2.5), 0.5, note="no doubt: sd = 0")
    yield Case(zero, one, _vector(0.5, math.nan, 3.0, math.nan), 0.9, note="two missing")
    yield Case(zero, 2 * one, _vector(-3.0, 1.0, 3.5, 5.0), 0.9, note="one map, four values")
    for level in (1e-6, 0.05, 0.5, 0.6827, 0.999999):
        yield Case(rng.normal(12), rng.uniform_in(0.5, 2.0, 12), rng.normal(12), level)
    for scale in (1e-6, 1e6):
        mu, sd = scale * rng.normal(10), scale * rng.uniform_in(0.5, 2.0, 10)
        yield Case(mu, sd, mu + 1.3 * sd * rng.normal(10), 0.8, note=f"of size {scale:g}")
    for front in ((1,), (3,), (2, 3)):
        mu, sd = rng.normal(*front, 8), rng.uniform_in(0.5, 2.0, *front, 8)
        y = mu + 1.5 * sd * rng.normal(*front, 8)
        yield Case(mu, sd, y, rng.choice((0.5, 0.9, 0.95)), note="many strips")
        y = torch.where(rng.uniform_in(0, 1, *front, 8) < 0.3, math.nan, y)
        yield Case(mu, sd, y, 0.9, note="gaps")
        yield Case(mu[..., :1, :1], sd, y, 0.7, note="mu broadcasts")
    y = rng.normal(2, 5)
    y[1] = math.nan
    yield Case(0 * y[0], 1 + 0 * y[0], y, 0.8, note="one strip without values")


@e2.shape
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor, level: float) -> None:
    has_shape(fn(mu, sd, y, level), tuple(y.shape[:-1]), torch.float64)


def _measured(mu: Tensor, sd: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return mu.expand(y.shape), sd.expand(y.shape), y


def _agree(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    require(actual.isnan() == expected.isnan(), "NaN for a strip without values, and only there")
    close(actual.nan_to_num(-1.0), expected.nan_to_num(-1.0), tolerance)


@e2.property("a share: between 0 and 1, NaN for a strip without values and for no other")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor, level: float) -> None:
    share = fn(mu, sd, y, level)
    require(share.isnan() == y.isnan().all(-1), "NaN for a strip without values, and only there")
    seen = share[~share.isnan()]
    require((seen >= 0) & (seen <= 1), "a share below 0 or above 1")


@e2.property("a missing value may as well be left out")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor, level: float) -> None:
    more = torch.cat([y, torch.full_like(y, math.nan)], -1)
    mu, sd, _ = _measured(mu, sd, y)
    wider = fn(torch.cat([mu, mu], -1), torch.cat([sd, sd], -1), more, level)
    _agree(wider, fn(mu, sd, y, level))


@e2.property("in other units, and from another zero, the share is the same")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor, level: float) -> None:
    _agree(fn(4 * mu, 4 * sd, 4 * y, level), fn(mu, sd, y, level))
    _agree(fn(-mu, sd, -y, level), fn(mu, sd, y, level))


@e2.property("a value at the best guess is held, whatever sd, and a higher level holds no less")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor, level: float) -> None:
    mu, sd, _ = _measured(mu, sd, y)
    close(fn(mu, sd, mu, level), torch.ones(y.shape[:-1]).double(), 0)
    higher, share = fn(mu, sd, y, 0.5 + level / 2), fn(mu, sd, y, level)
    require((higher >= share) | share.isnan(), "a higher level holds fewer values")


@e2.property("of a thousand evenly spread quantiles of the prediction it holds the level")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor, level: float) -> None:
    z = torch.special.ndtri((torch.arange(1000, dtype=torch.float64) + 0.5) / 1000)
    center, spread = float(mu.flatten()[0]), float(sd.flatten()[0])
    if spread > 0:
        m, s = (torch.full((1000,), value, dtype=torch.float64) for value in (center, spread))
        close(float(fn(m, s, m + s * z, level)), level, 2e-3)


@e2.value("SciPy's intervals, value by value")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor, level: float) -> None:
    rows = zip(*(part.reshape(-1, y.shape[-1]) for part in _measured(mu, sd, y)), strict=True)
    shares = []
    for m, s, values in rows:
        held = []
        for center, spread, value in zip(m.tolist(), s.tolist(), values.tolist(), strict=True):
            if not math.isnan(value):
                low, high = stats.norm.interval(level)
                held.append(center + low * spread <= value <= center + high * spread)
        shares.append(sum(held) / len(held) if held else math.nan)
    _agree(fn(mu, sd, y, level), _vector(*shares).reshape(y.shape[:-1]))


@e2.value("bolearn.diagnostics.calibration")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor, level: float) -> None:
    mu, sd, _ = _measured(mu, sd, y)
    if bool((sd > 0).all()) and not bool(y.isnan().all(-1).any()):
        found = calibration(((y - mu) / sd).unsqueeze(-1), [level]).coverage[..., 0, 0]
        close(fn(mu, sd, y, level), found, 1e-6)


def _counted(
    mu: Tensor, sd: Tensor, y: Tensor, quantile: float, hold: Callable[..., Tensor] = torch.le
) -> Tensor:
    half: Tensor = torch.special.ndtri(torch.tensor(quantile, dtype=torch.float64)) * sd
    return hold((y - mu).abs(), half).sum(-1).to(y) / (~y.isnan()).sum(-1)


@e2.wrong("takes the quantile of the level itself: 90 % where 95 % is meant")
def _(mu: Tensor, sd: Tensor, y: Tensor, level: float) -> Tensor:
    return _counted(mu, sd, y, max(level, 0.5))


@e2.wrong("always two standard deviations")
def _(mu: Tensor, sd: Tensor, y: Tensor, level: float) -> Tensor:
    return ((y - mu).abs() <= 2 * sd).sum(-1).to(y) / (~y.isnan()).sum(-1)


@e2.wrong("counts missing values as misses")
def _(mu: Tensor, sd: Tensor, y: Tensor, level: float) -> Tensor:
    half: Tensor = torch.special.ndtri(torch.tensor(0.5 + level / 2, dtype=y.dtype)) * sd
    return ((y - mu).abs() <= half).double().mean(-1)


@e2.wrong("counts missing values as hits")
def _(mu: Tensor, sd: Tensor, y: Tensor, level: float) -> Tensor:
    half: Tensor = torch.special.ndtri(torch.tensor(0.5 + level / 2, dtype=y.dtype)) * sd
    return (~((y - mu).abs() > half)).double().mean(-1)


@e2.wrong("calls a strip without values 0")
def _(mu: Tensor, sd: Tensor, y: Tensor, level: float) -> Tensor:
    return coverage(mu, sd, y, level).nan_to_num(0.0)


@e2.wrong("leaves the ends out: a prediction without doubt never holds")
def _(mu: Tensor, sd: Tensor, y: Tensor, level: float) -> Tensor:
    return _counted(mu, sd, y, 0.5 + level / 2, torch.lt)


@e2.wrong("takes sd for a variance")
def _(mu: Tensor, sd: Tensor, y: Tensor, level: float) -> Tensor:
    return coverage(mu, sd.sqrt(), y, level)


@e2.wrong("one share for all strips together")
def _(mu: Tensor, sd: Tensor, y: Tensor, level: float) -> Tensor:
    mu, sd, y = _measured(mu, sd, y)
    share = coverage(mu.flatten(), sd.flatten(), y.flatten(), level)
    return share.expand(y.shape[:-1])


@e2.wrong("counts values below the upper end only")
def _(mu: Tensor, sd: Tensor, y: Tensor, level: float) -> Tensor:
    half: Tensor = torch.special.ndtri(torch.tensor(0.5 + level / 2, dtype=y.dtype)) * sd
    return (y <= mu + half).sum(-1).to(y) / (~y.isnan()).sum(-1)


# --- e3: the continuous ranked probability score ----------------------------------------------

e3 = Exercise(
    id="p3.t2.e3",
    title="A score in ounces",
    hints=(
        "Split the integral at y, and measure in standard deviations from mu: with z = (y - mu)/sd "
        "it is sd times a function of z alone.",
        "Integrate by parts: the derivative of t Φ(t)² is Φ² + 2 t φ Φ, and t φ(t) is minus the "
        "derivative of φ(t). At the end stand z (2 Φ(z) - 1), 2 φ(z) and a constant.",
        "The constant is -1/√π. 2 Φ(z) - 1 is `torch.erf(z / √2)`. Where sd is 0, divide by 1 "
        "instead and choose the absolute error by `torch.where` at the end.",
    ),
)


@e3.answer
def crps_gaussian(mu: Tensor, sd: Tensor, y: Tensor) -> Tensor:
    """The continuous ranked probability score of normal predictions, value by value.

    For a prediction with distribution function F it is the integral of (F(t) - 1{t >= y})² over all
    t. mu, sd and y have the same shape, or broadcast to it; sd >= 0, and sd = 0 is a prediction
    without doubt, whose F is a step. In closed form: no integration, no sampling, right to 1e-9 of
    the larger of sd and |y - mu|.
    """
    error = (y - mu).abs()
    z = error / torch.where(sd > 0, sd, 1.0)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    score = sd * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))
    return torch.where(sd > 0, score, error)


@e3.cases
def forecasts(rng: Rng) -> Iterator[Case]:
    zero, one = _vector(0.0), _vector(1.0)
    yield Case(zero, one, zero, note="the best guess comes up")
    yield Case(zero, one, one, note="one deviation above")
    yield Case(zero, one, -one, note="one deviation below")
    yield Case(zero, 2 * one, 3 * one)
    yield Case(zero, 0 * one, 3 * one, note="no doubt, and wrong")
    yield Case(zero, 0 * one, zero, note="no doubt, and right")
    yield Case(zero, one, 50 * one, note="a surprise")
    yield Case(zero, 1e-3 * one, -20 * one, note="20,000 deviations below")
    yield Case(zero, 1e3 * one, one, note="far too careful")
    yield Case(_vector(1.0, 2.0), _vector(0.0, 0.5), _vector(1.5, 1.5), note="one without doubt")
    for scale in (1e-6, 1e6):
        yield Case(scale * rng.normal(4), scale * rng.uniform_in(0.3, 2, 4), scale * rng.normal(4))
    for shape in ((3,), (5,), (2, 3), (3, 2), (2, 3, 2)):
        yield Case(rng.normal(*shape), rng.uniform_in(0.2, 2.0, *shape), 2 * rng.normal(*shape))
    yield Case(rng.normal(3, 1), rng.uniform_in(0.2, 2.0, 1, 2), rng.normal(3, 2), note="broadcast")
    yield Case(rng.normal(1), rng.uniform_in(0.2, 2.0, 4), rng.normal(4), note="one best guess")
    for _ in range(3):
        yield Case(100 + rng.normal(3), rng.uniform_in(0.1, 0.5, 3), 100 + rng.normal(3))


@e3.shape
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor) -> None:
    has_shape(fn(mu, sd, y), torch.broadcast_shapes(mu.shape, sd.shape, y.shape), torch.float64)


@e3.property("it is positive, and 0 only for a prediction without doubt that was right")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor) -> None:
    score = fn(mu, sd, y)
    perfect = (sd == 0) & (y == mu)
    require((score > 0) | perfect, "a score of 0 or below")
    require((score == 0) | ~perfect, "a perfect prediction with a score above 0")


@e3.property("without doubt it is the absolute error")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor) -> None:
    error = (y - mu).abs() + 0 * sd
    close(fn(mu, 0 * sd, y), error, 1e-12, relative=True)


@e3.property("as much above as below, and in other units as many times as much")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor) -> None:
    score = fn(mu, sd, y)
    close(fn(y, sd, mu), score, 1e-9, relative=True)
    close(fn(8 * mu, 8 * sd, 8 * y), 8 * score, 1e-9, relative=True)


@e3.property("on average over what a normal brings up, no other sd scores better than its own")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor) -> None:
    center, spread = float(mu.flatten()[0]), float(sd.flatten()[0])
    if spread > 0:
        z = torch.special.ndtri((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000)
        m, s = (torch.full((2000,), value, dtype=torch.float64) for value in (center, spread))
        best = fn(m, s, m + s * z).mean()
        for factor in (0.5, 0.8, 1.25, 2.0):
            require(fn(m, factor * s, m + s * z).mean() > best, "another sd scores better")


@e3.value("the integral that defines it")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor) -> None:
    score = fn(mu, sd, y)
    means, deviations, values = (part.expand_as(score).flatten() for part in (mu, sd, y))
    for i in range(min(6, score.numel())):
        m, s, v = (float(part[i]) for part in (means, deviations, values))
        if s == 0:
            continue
        z = abs(v - m) / s
        if z > 40:
            expected = z - 1 / math.sqrt(math.pi)
        else:
            # In deviations, split where the integrand bends: at the value and at the centre.
            below = integrate.quad(lambda t: stats.norm.cdf(t) ** 2, -40, 0, epsabs=1e-13)[0]
            between = integrate.quad(lambda t: stats.norm.cdf(t) ** 2, 0, z, epsabs=1e-13)[0]
            above = integrate.quad(lambda t: stats.norm.sf(t) ** 2, z, z + 40, epsabs=1e-13)[0]
            expected = below + between + above
        close(float(score.flatten()[i]) / s, expected, 1e-9 * max(1.0, z))


@e3.value("the mean distance to y less half the mean distance between two draws")
def _(fn: Fn, mu: Tensor, sd: Tensor, y: Tensor) -> None:
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    draws = torch.special.ndtri(u)
    score = fn(mu, sd, y)
    means, deviations, values = (part.expand_as(score).flatten() for part in (mu, sd, y))
    for i in range(min(3, score.numel())):
        m, s, v = (float(part[i]) for part in (means, deviations, values))
        expected = float((m + s * draws - v).abs().mean()) - s / math.sqrt(math.pi)
        close(float(score.flatten()[i]), expected, 1e-3 * (s + abs(v - m)))


def _parts(mu: Tensor, sd: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    z = (y - mu) / torch.where(sd > 0, sd, 1.0)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return z, torch.special.ndtr(z), density


@e3.wrong("the opposite sign: larger is better")
def _(mu: Tensor, sd: Tensor, y: Tensor) -> Tensor:
    return -crps_gaussian(mu, sd, y)


@e3.wrong("forgets the constant")
def _(mu: Tensor, sd: Tensor, y: Tensor) -> Tensor:
    return crps_gaussian(mu, sd, y) + sd / math.sqrt(math.pi)


@e3.wrong("Φ instead of 2 Φ - 1")
def _(mu: Tensor, sd: Tensor, y: Tensor) -> Tensor:
    z, Phi, phi = _parts(mu, sd, y)
    score = sd * (z * Phi + 2 * phi - 1 / math.sqrt(math.pi))
    return torch.where(sd > 0, score, (y - mu).abs())


@e3.wrong("one density too few")
def _(mu: Tensor, sd: Tensor, y: Tensor) -> Tensor:
    z, Phi, phi = _parts(mu, sd, y)
    score = sd * (z * (2 * Phi - 1) + phi - 1 / math.sqrt(math.pi))
    return torch.where(sd > 0, score, (y - mu).abs())


@e3.wrong("takes sd for a variance")
def _(mu: Tensor, sd: Tensor, y: Tensor) -> Tensor:
    return crps_gaussian(mu, sd.sqrt(), y)


@e3.wrong("in standard deviations instead of ounces")
def _(mu: Tensor, sd: Tensor, y: Tensor) -> Tensor:
    return crps_gaussian(mu, sd, y) / torch.where(sd > 0, sd, 1.0)


@e3.wrong("no thought for sd = 0: infinity times zero")
def _(mu: Tensor, sd: Tensor, y: Tensor) -> Tensor:
    z = (y - mu) / sd
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return sd * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


@e3.wrong("keeps sd = 0 finite by a small number, which is not small for small values")
def _(mu: Tensor, sd: Tensor, y: Tensor) -> Tensor:
    return crps_gaussian(mu, sd + 1e-6, y)


@e3.wrong("the mean distance to y alone: rewards too little doubt")
def _(mu: Tensor, sd: Tensor, y: Tensor) -> Tensor:
    z, _, phi = _parts(mu, sd, y)
    score = sd * (z * torch.erf(z / math.sqrt(2)) + 2 * phi)
    return torch.where(sd > 0, score, (y - mu).abs())


# --- e4: a band that deceives -----------------------------------------------------------------

e4 = Exercise(
    id="p3.t2.e4",
    title="A map that deceives",
    pure=True,
    hints=(
        "A band that holds its own drills proves nothing: let the best guess go through them, in "
        "whichever way you like.",
        "What can only fall when a drill is added, at every place, and does fall at the drill's "
        "own place? The mapmaker's formula holds it; what spoilt it was the division.",
        "The distance to the nearest drill, not divided by anything, and small beside what the "
        "ground does over that distance. It is 0 at a drill, where sd must not be.",
    ),
)


@e4.answer
def bad_band(X: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """A best guess and an error bar at the places x that look honest and are not: mu, sd, both `k`.

    X and y are `n`, n >= 1: different places of drills without noise, from 0 to 6 km, and what they
    brought up; x is `k` places. Of gold changing smoothly, by about an ounce over a kilometre, the
    band mu ± 1.96 sd, sold as a 95 % band, is to hold less than half. And yet: (a) what is said
    about a place does not depend on the other places in x; (b) one more drill, whatever it brings
    up, raises sd nowhere, and lowers it at its own place; and the band holds all its drills. sd is
    positive everywhere.
    """
    distance, nearest = (x.unsqueeze(-1) - X).abs().min(-1)
    return y[nearest], 0.02 * distance + 1e-6


@e4.cases
def strips(rng: Rng) -> Iterator[Case]:
    grid = torch.linspace(0.0, 6.0, 61, dtype=torch.float64)
    yield Case(_vector(3.0), _vector(1.0), grid, note="one drill")
    yield Case(_vector(0.0), _vector(-2.0), grid, note="one drill, at the edge")
    yield Case(_vector(1.0, 5.0), _vector(1.0, 1.0), grid, note="two drills, a tie")
    yield Case(_vector(2.0, 2.1), _vector(-1.0, 1.0), grid, note="two drills close together")
    yield Case(_vector(0.0, 6.0, 3.0), _vector(0.0, 0.0, 0.0), grid, note="nothing found")
    yield Case(_vector(1.0, 4.0), _vector(0.5, -1.5), _vector(2.5), note="one place asked about")
    yield Case(_vector(1.0, 4.0), _vector(0.5, -1.5), _vector(4.0, 1.0), note="asked at the drills")
    for n in (2, 3, 4, 5, 6, 8, 10):
        for _ in range(2):
            X = 0.05 * torch.tensor(rng.sample(range(121), n), dtype=torch.float64)
            yield Case(X, (2 * rng.normal(n)).round(decimals=1), grid)


@e4.shape
def _(fn: Fn, X: Tensor, y: Tensor, x: Tensor) -> None:
    result = fn(X, y, x)
    require(isinstance(result, tuple) and len(result) == 2, "expected a best guess and error bars")
    has_shape(result[0], tuple(x.shape), torch.float64)
    has_shape(result[1], tuple(x.shape), torch.float64)
    require(result[1] > 0, "an error bar that is not positive")


@e4.property("(a) what is said about a place does not depend on what else is asked")
def _(fn: Fn, X: Tensor, y: Tensor, x: Tensor) -> None:
    mu, sd = fn(X, y, x)
    close(fn(X, y, x.flip(0)), (mu.flip(0), sd.flip(0)), 1e-9)
    close(fn(X, y, x[::3]), (mu[::3], sd[::3]), 1e-9)
    for i in range(0, len(x), 7):
        close(fn(X, y, x[i : i + 1]), (mu[i : i + 1], sd[i : i + 1]), 1e-9)


@e4.property("the band holds every drill")
def _(fn: Fn, X: Tensor, y: Tensor, x: Tensor) -> None:
    mu, sd = fn(X, y, X)
    require((y - mu).abs() <= 1.96 * sd * (1 + 1e-9), "a drill outside the band")


@e4.property("(b) one more drill, whatever it brings up, raises sd nowhere, and lowers it there")
def _(fn: Fn, X: Tensor, y: Tensor, x: Tensor) -> None:
    _, sd = fn(X, y, x)
    places = _vector(0.35, 2.35, 3.37, 5.95)
    for place in places[((places.unsqueeze(-1) - X).abs() > 0.02).all(-1)].split(1):
        for brought in (-30.0, 0.0, 1.0, 30.0):
            more = torch.cat([X, place]), torch.cat([y, _vector(brought)])
            require(fn(*more, x)[1] <= sd * (1 + 1e-9), "sd is larger somewhere after a drill")
            before, after = fn(X, y, place)[1], fn(*more, place)[1]
            require(after < 0.999 * before, "sd is not smaller at the place of the new drill")


@e4.property("(c) of smooth strips it holds less than half, though 95 % were promised")
def _(fn: Fn, X: Tensor, y: Tensor, x: Tensor) -> None:
    grid = torch.linspace(0.0, 6.0, 121, dtype=torch.float64)
    away = grid[((grid.unsqueeze(-1) - X).abs() > 0.02).all(-1)]
    held = []
    for k in range(12):
        length, shift = 3.0 + 0.5 * (k % 5), 1.7 * k

        def gold(t: Tensor, length: float = length, shift: float = shift) -> Tensor:
            return 1.5 * torch.sin(2 * math.pi * t / length + shift) + 0.3 * t

        mu, sd = fn(X, gold(X), away)
        held.append(((gold(away) - mu).abs() <= 1.96 * sd).double().mean())
    require(torch.stack(held).mean() < 0.5, "on twelve strips it holds half of the ground or more")


@e4.wrong("the first mapmaker: his error bar depends on the places asked about")
def _(X: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    distance, nearest = (x.unsqueeze(-1) - X).abs().min(-1)
    return y[nearest], 0.02 * distance / distance.max().clamp(min=1e-9) + 1e-6


@e4.wrong("the same small error bar everywhere: no drill ever lowers it")
def _(X: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    nearest = (x.unsqueeze(-1) - X).abs().argmin(-1)
    return y[nearest], torch.full_like(x, 1e-3)


@e4.wrong("error bars as wide as the distance: far too wide to be wrong")
def _(X: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    distance, nearest = (x.unsqueeze(-1) - X).abs().min(-1)
    return y[nearest], 3 * distance + 1e-6


@e4.wrong("in units of the spread of the drills: a surprise makes it wider")
def _(X: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    distance, nearest = (x.unsqueeze(-1) - X).abs().min(-1)
    return y[nearest], 0.02 * (1e-3 + y.std(correction=0)) * (distance + 1e-3)


@e4.wrong("the average of all drills: some of them lie outside the band")
def _(X: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    distance = (x.unsqueeze(-1) - X).abs().amin(-1)
    return y.mean().expand(x.shape), 0.02 * distance + 1e-6


@e4.wrong("no doubt at all at the drills: sd = 0 there")
def _(X: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    distance, nearest = (x.unsqueeze(-1) - X).abs().min(-1)
    return y[nearest], 0.02 * distance


@e4.wrong("the mean distance to all drills: one more far away raises it")
def _(X: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    gap = (x.unsqueeze(-1) - X).abs()
    return y[gap.argmin(-1)], 0.02 * gap.mean(-1) + 1e-6


@e4.wrong("an honest band: hills of the right width, and Bayes' rule")
def _(X: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    def hills(t: Tensor) -> Tensor:
        centers = torch.arange(-2, 9, dtype=torch.float64)
        return torch.exp(-((t.unsqueeze(-1) - centers) ** 2) / 2)

    mean, S = blr_posterior(hills(X), y, torch.eye(11, dtype=y.dtype) / 4, 1e-6)
    mu, variance = hills(x) @ mean, ((hills(x) @ S) * hills(x)).sum(-1)
    return mu, (variance + 1e-6).sqrt()
