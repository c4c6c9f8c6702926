"""The exercises of part_3/tutorial_04: choosing where to evaluate next."""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise

import mpmath
import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def _leaves_random_state(call: Callable[[], object]) -> object:
    """The result of a call, before which the global random state is one that no answer left."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(987_654_321)
        torch.rand(7)
        before = torch.get_rng_state()
        result = call()
        same = torch.equal(torch.get_rng_state(), before)
    require(same, "it changes torch's global random state")
    return result


def _cdf(z: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-z * math.sqrt(0.5))


def _density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


# --- e1: the logarithm of expected improvement ------------------------------------------------

e1 = Exercise(
    id="p3.t4.e1",
    title="A logarithm for all of the tail",
    copies=False,
    hints=(
        "Write h(z) = φ(z) + z Φ(z), so that log EI = log σ + log h(z). Where does h lose its "
        "digits? Divide it by φ(z), whose logarithm you know exactly.",
        "h/φ = 1 + z Φ/φ, and Φ/φ at z is sqrt(π/2) times torch.special.erfcx(-z/√2), which "
        "neither under- nor overflows for z < 0. Below z = -60 this, too, cancels: there h/φ is "
        "1/z² - 3/z⁴ + 15/z⁶ - ...",
        "Three branches by torch.where. Clamp the argument of each branch to its own range first, "
        "or the branch that is not taken makes the gradient NaN. Work in float64 inside, and "
        "return what came in.",
    ),
)


@e1.answer
def log_ei(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    """log E max(0, f - best) for f ~ N(mu, sigma^2), entry by entry.

    All three have the same shape and dtype, float64 or float32, and so has the result; sigma > 0.
    With z = (mu - best)/sigma anywhere between -1e8 and 1e3 the value must be right to 1e-10 of
    its size (or of 1, if that is more), in float32 to 1e-5. The gradients in mu and sigma must be
    finite and right to 1e-6 of their size (or of a thousandth of 1/sigma, if that is more), in
    float32 to 1e-3.
    """
    z = ((mu - best) / sigma).double()
    near = z.clamp(min=-1.0)
    plain = torch.log(
        torch.exp(-0.5 * near * near) / math.sqrt(2 * math.pi) + near * torch.special.ndtr(near)
    )
    middle = z.clamp(-60.0, -1.0)
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-middle * math.sqrt(0.5))
    by_ratio = torch.log1p(middle * ratio)
    far = z.clamp(max=-60.0)
    w = 1 / (far * far)
    series = torch.log(w) + torch.log1p(w * (-3 + w * (15 - 105 * w)))
    low = z.clamp(max=-1.0)
    tail = torch.where(z < -60, series, by_ratio) - 0.5 * low * low - 0.5 * math.log(2 * math.pi)
    return (torch.where(z > -1, plain, tail) + sigma.double().log()).to(mu.dtype)


# z: log h, and its slopes Phi/h in mu and phi/h in sigma for sigma = 1; mpmath, 80 digits. Other
# z, drawn at random so that no branch can hide between these, are computed the same way.
_TABLE = {
    1000.0: (6.9077552789821371, 0.001, 0.0),
    100.0: (4.6051701859880914, 0.01, 0.0),
    10.0: (2.3025850929940457, 0.1, 7.6945986267064193e-24),
    3.0: (1.0987396653277078, 0.33284096845179524, 0.0014770946446142933),
    1.0: (0.08002621884930694, 0.77663872520173926, 0.22336127479826074),
    0.5: (-0.35982768374506382, 0.99092271800410996, 0.50453864099794502),
    0.0: (-0.91893853320467274, 1.2533141373155003, 1.0),
    -0.5: (-1.6205162643873199, 1.5598731483480797, 1.7799365741740398),
    -1.0: (-2.4851210257126413, 1.9042712333296918, 2.9042712333296918),
    -2.0: (-4.7687835239171142, 2.679416883955586, 6.358833767911172),
    -3.0: (-7.8696860596030285, 3.5323375176251605, 11.597012552875482),
    -5.0: (-16.74430116266099, 5.3618162412880885, 27.809081206440443),
    -7.875: (-36.100035219553198, 8.1178843302455399, 64.928339100683627),
    -8.25: (-39.212619006712059, 8.4827023705554942, 70.982294557082827),
    -10.0: (-55.553122036122356, 10.194383033412553, 102.94383033412553),
    -13.0: (-90.566234662022043, 13.151222117527371, 171.96588752785582),
    -20.0: (-206.9178385094251, 20.099262811101282, 402.98525622202564),
    -37.5: (-711.29474844751272, 37.553220117980275, 1409.2457544242603),
    -39.0: (-768.7480296928501, 39.051181365766147, 1523.9960732648797),
    -59.5: (-1779.216737719878, 59.533585017583032, 3543.2483085461904),
    -60.5: (-1839.2500440970959, 60.533030808168964, 3663.2483638942223),
    -100.0: (-5010.1295788002498, 100.01999400419587, 10002.999400419587),
    -1000.0: (-500014.73445209116, 1000.001999994, 1000002.999994),
    -1e4: (-50000019.339619307, 10000.000199999994, 100000002.99999994),
    -1e6: (-500000000028.54996, 1000000.000002, 1000000000003.0),
    -1e8: (-5000000000000037.8, 100000000.00000002, 10000000000000003.0),
}


@lru_cache(maxsize=4096)
def _truth(z: float) -> tuple[float, float, float]:
    """log h at z, and its slopes in mu and sigma for sigma = 1, by mpmath with 80 digits."""
    if z in _TABLE:
        return _TABLE[z]
    with mpmath.workdps(80):
        u = mpmath.mpf(z)
        phi = mpmath.exp(-u * u / 2) / mpmath.sqrt(2 * mpmath.pi)
        cdf = mpmath.erfc(-u / mpmath.sqrt(2)) / 2
        h = phi + u * cdf
        return float(mpmath.log(h)), float(cdf / h), float(phi / h)


def _place(z: list[float], sigma: float = 1.0, best: float = 0.0, **options: torch.dtype) -> Case:
    """The case with these z; sigma a power of two, so that (mu - best)/sigma is exact."""
    dtype = options.get("dtype", torch.float64)
    s = torch.full((len(z),), sigma, dtype=dtype)
    b = torch.full((len(z),), best, dtype=dtype)
    return Case(b + s * torch.tensor(z, dtype=dtype), s, b)


def _noted(case: Case, note: str) -> Case:
    return Case(*case.args, note=note)


@e1.cases
def beliefs(rng: Rng) -> Iterator[Case]:
    everywhere = list(_TABLE)
    yield _noted(_place([0.0]), "z = 0")
    yield _noted(_place([-5.0]), "z = -5")
    yield _noted(_place([-8.25]), "z = -8.25")
    yield _noted(_place([-13.0]), "z = -13")
    yield _noted(_place([-39.0]), "z = -39")
    yield _noted(_place([-100.0]), "z = -100")
    yield _noted(_place([-1e4]), "z = -10,000")
    yield _noted(_place([-1e6]), "z = -1e6")
    yield _noted(_place([-1e8]), "z = -1e8")
    yield _noted(_place([10.0]), "z = 10")
    yield _noted(_place([1000.0]), "z = 1000")
    yield _noted(_place([-2.0], sigma=4.0), "sigma is not 1")
    yield _noted(_place([-59.5, -60.5]), "z about -60")
    for dtype in (torch.float32, torch.float64):
        yield _noted(_place([0.0, -5.0], dtype=dtype), str(dtype))
        yield _noted(_place([-20.0, -100.0], sigma=0.5, dtype=dtype), str(dtype))
        yield _noted(_place(everywhere, dtype=dtype), f"all of the tail, {dtype}")
    for size in (2.0**-20, 2.0**20):
        yield _noted(_place([1.0, -1.0, -10.0], sigma=size), f"doubts of {size:.0e}")
    for best in (1.0, -2.0):
        yield _noted(_place([1.0, -3.0], sigma=0.5, best=best), "best is not 0")
    for dtype in (torch.float32, torch.float64):
        usual = [round(8 * rng.uniform(-9, 4)) / 8 for _ in range(24)]
        tail = [-round(8 * 10 ** rng.uniform(0.6, 3)) / 8 for _ in range(40)]
        yield _noted(_place(sorted(usual), dtype=dtype), f"the usual z, {dtype}")
        yield _noted(_place(sorted(tail), dtype=dtype), f"z between -4 and -1000, {dtype}")
    for shape in ((2, 3), (3, 1, 2)):
        z = _vector(*(rng.choice(everywhere) for _ in range(6))).reshape(shape)
        s = _vector(*(rng.choice((0.25, 0.5, 4.0)) for _ in range(6))).reshape(shape)
        yield Case(s * z, s, torch.zeros_like(s), note="batch axes")


def _loose(x: Tensor, single: float, double: float) -> float:
    return single if x.dtype == torch.float32 else double


def _slopes(fn: Fn, mu: Tensor, sigma: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    m, s = mu.clone().requires_grad_(), sigma.clone().requires_grad_()
    grads = torch.autograd.grad(fn(m, s, best).sum(), (m, s))
    return grads[0], grads[1]


@e1.shape
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: Tensor) -> None:
    result = fn(mu, sigma, best)
    has_shape(result, tuple(mu.shape), mu.dtype)
    require(result.isfinite(), "a value is not finite")


@e1.property("the gradients in mu and sigma are finite")
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: Tensor) -> None:
    for name, slope in zip(("mu", "sigma"), _slopes(fn, mu, sigma, best), strict=True):
        require(slope.isfinite(), f"the gradient in {name} is not finite somewhere")


@e1.property("more hope never lowers it, nor does more doubt")
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: Tensor) -> None:
    value = fn(mu, sigma, best)
    slack = 1e-12 * value.abs() if mu.dtype == torch.float64 else 1e-5 * value.abs()
    require(fn(mu + sigma, sigma, best) >= value - slack, "mu + sigma has a lower value than mu")
    require(fn(mu, 2 * sigma, best) >= value - slack, "2 sigma has a lower value than sigma")


@e1.property("in another unit of gold it changes by the logarithm of the unit")
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: Tensor) -> None:
    value, grams = fn(mu, sigma, best), fn(32 * mu, 32 * sigma, 32 * best)
    size = value.abs().clamp(min=1.0)
    close((grams - math.log(32)) / size, value / size, _loose(mu, 1e-5, 1e-12))


@e1.value("mpmath with 80 digits")
def _(fn: Fn, mu: Tensor, sigma: Tensor, best: Tensor) -> None:
    z = ((mu - best) / sigma).flatten().tolist()
    log_h, up, wide = (_vector(*column) for column in zip(*(_truth(u) for u in z), strict=True))
    s = sigma.flatten().double()
    expected = log_h + s.log()
    size = expected.abs().clamp(min=1.0)
    close(fn(mu, sigma, best).flatten().double() / size, expected / size, _loose(mu, 1e-5, 1e-10))
    tolerance = _loose(mu, 1e-3, 1e-6)
    for slope, truth in zip(_slopes(fn, mu, sigma, best), (up / s, wide / s), strict=True):
        scale = torch.maximum(truth.abs(), 1e-3 / s)
        close(slope.flatten().double() / scale, truth / scale, tolerance)


@e1.wrong("the logarithm of the formula, as the book has it")
def _(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    z = (mu - best) / sigma
    return torch.log(sigma * (_density(z) + z * _cdf(z)))


@e1.wrong("the same, kept away from zero")
def _(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    z = (mu - best) / sigma
    return torch.log((sigma * (_density(z) + z * _cdf(z))).clamp(min=1e-30))


@e1.wrong("for minimising: best - mu")
def _(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    return log_ei(best, sigma, mu)


@e1.wrong("the logarithm of the probability of improvement")
def _(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    value: Tensor = torch.special.log_ndtr((mu - best) / sigma)
    return value


@e1.wrong("log h(z) without log sigma")
def _(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    return log_ei((mu - best) / sigma, torch.ones_like(sigma), torch.zeros_like(best))


@e1.wrong("erfcx without a branch for the far tail, where 1 + z Φ/φ cancels")
def _(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    z = (mu - best) / sigma
    low = z.clamp(max=-1.0)
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-low * math.sqrt(0.5))
    tail = torch.log1p(low * ratio) - 0.5 * low * low - 0.5 * math.log(2 * math.pi)
    near = z.clamp(min=-1.0)
    plain = torch.log(_density(near) + near * _cdf(near))
    return torch.where(z > -1, plain, tail) + sigma.log()


@e1.wrong("float32 inside: where 1 + z Φ/φ cancels the gradient keeps two digits")
def _(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    if mu.dtype != torch.float32:
        return log_ei(mu, sigma, best)
    z = (mu - best) / sigma
    near, middle, far = z.clamp(min=-1.0), z.clamp(-300.0, -1.0), z.clamp(max=-300.0)
    plain = torch.log(_density(near) + near * torch.special.ndtr(near))
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-middle * math.sqrt(0.5))
    w = 1 / (far * far)
    series = torch.log(w) + torch.log1p(w * (-3 + 15 * w))
    low = z.clamp(max=-1.0)
    tail = torch.where(z < -300, series, torch.log1p(middle * ratio))
    tail = tail - 0.5 * low * low - 0.5 * math.log(2 * math.pi)
    return torch.where(z > -1, plain, tail) + sigma.log()


@e1.wrong("the asymptotic series from z = -6 on: only four digits there")
def _(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    z = ((mu - best) / sigma).double()
    near, far = z.clamp(min=-6.0), z.clamp(max=-6.0)
    plain = torch.log(_density(near) + near * _cdf(near))
    w = 1 / (far * far)
    series = torch.log(w) + torch.log1p(w * (-3 + w * (15 - 105 * w)))
    tail = series - 0.5 * far * far - 0.5 * math.log(2 * math.pi)
    return (torch.where(z > -6, plain, tail) + sigma.double().log()).to(mu.dtype)


@e1.wrong("branches without clamping: the one not taken makes the gradient NaN")
def _(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    z = ((mu - best) / sigma).double()
    plain = torch.log(_density(z) + z * _cdf(z))
    tail = -2 * torch.log(-z) - 0.5 * z * z - 0.5 * math.log(2 * math.pi)
    return (torch.where(z > -5, plain, tail) + sigma.double().log()).to(mu.dtype)


# --- e2: what a drill tells -------------------------------------------------------------------

e2 = Exercise(
    id="p3.t4.e2",
    title="What a drill tells",
    pure=True,
    hints=(
        "Before the drill you would go to the highest mean. After it, all means have moved, each "
        "as far as its ground is correlated with the drilled one. In which direction, and by how "
        "much for one standard deviation of surprise?",
        "The surprise y - mean[i] is normal with variance cov[i, i] + noise_var. The means become "
        "mean + s Z with a standard normal Z and s = cov[:, i] / sqrt(cov[i, i] + noise_var).",
        "What is left is an average over the one number Z of the highest of n straight lines: a "
        "fine grid of Z from -9 to 9, weights φ(Z), and torch.trapezoid. Mind a place without any "
        "doubt, drilled without noise.",
    ),
)


@e2.answer
def knowledge_value(mean: Tensor, cov: Tensor, noise_var: float, i: int) -> Tensor:
    """How much one drill at place i raises the highest mean of all places, on average.

    mean `n` and cov `n n` are the belief about the ground at n places. A drill at place i brings up
    y = f[i] + noise, with noise of variance noise_var >= 0; then the belief is updated. Return the
    average over y of max_j (new mean[j]), minus max_j mean[j], as a tensor without axes, right to
    1e-5 of the largest standard deviation.
    """
    variance = cov[i, i] + noise_var
    if variance <= 0:
        return torch.zeros((), dtype=mean.dtype)
    s = cov[:, i] / variance.sqrt()
    Z = torch.linspace(-9, 9, 40_001, dtype=mean.dtype)
    highest = (mean[:, None] + s[:, None] * Z).amax(0)
    weights = torch.exp(-0.5 * Z * Z) / math.sqrt(2 * math.pi)
    return torch.trapezoid((highest - mean.max()) * weights, Z)


def _ground(rng: Rng, n: int, size: float = 1.0) -> tuple[Tensor, Tensor]:
    """Means with one decimal and the covariance of a smooth ground around a few random places."""
    x = torch.arange(n, dtype=torch.float64) + rng.uniform_in(-0.3, 0.3, n)
    cov = torch.exp(-0.5 * ((x[:, None] - x) / rng.choice([0.8, 1.5])).square())
    scales = rng.uniform_in(0.3, 1.5, n)
    mean = (10 * rng.normal(n)).round() / 10
    return size * mean, size**2 * scales[:, None] * cov * scales


@e2.cases
def drills(rng: Rng) -> Iterator[Case]:
    two = _vector(0.0, 0.0)
    apart = torch.eye(2, dtype=torch.float64)
    yield Case(_vector(3.0), _vector(4.0)[None], 1.0, 0, note="n = 1: there is no choice")
    yield Case(two, apart, 0.0, 0, note="two independent places, equal means")
    yield Case(two, apart, 1.0, 1, note="with noise")
    yield Case(_vector(1.0, 0.0), apart, 0.0, 0, note="at the place that is best already")
    yield Case(_vector(1.0, 0.0), apart, 0.0, 1, note="at the other one")
    opposite = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    yield Case(two, opposite, 0.0, 0, note="what one place has the other lacks")
    together = torch.ones(2, 2, dtype=torch.float64)
    yield Case(two, together, 0.0, 0, note="two places that are always equal")
    known = torch.diag(_vector(0.0, 1.0))
    yield Case(two, known, 0.0, 0, note="a place without doubt, without noise")
    yield Case(_vector(0.5, 0.0), known, 0.5, 0, note="a place without doubt")
    yield Case(_vector(1.0, 1.0, 0.0), torch.diag(_vector(1.0, 1.0, 4.0)), 0.0, 2, note="a tie")
    for size in (1e-6, 1e6):
        mean, cov = _ground(rng, 3, size)
        yield Case(mean, cov, 0.1 * size**2, 1, note=f"gold of size {size:g}")
    for n, noise_var in ((2, 0.5), (3, 0.0), (3, 0.1), (4, 1.0), (4, 0.01), (5, 0.3), (8, 0.1)):
        mean, cov = _ground(rng, n)
        yield Case(mean, cov, noise_var, rng.randrange(n))
    for n in (3, 5):
        mean, cov = _ground(rng, n)
        yield Case(0 * mean, cov, 0.2, 0, note="equal means")


def _doubt(cov: Tensor) -> float:
    return float(cov.diagonal().max().sqrt())


@e2.shape
def _(fn: Fn, mean: Tensor, cov: Tensor, noise_var: float, i: int) -> None:
    value = fn(mean, cov, noise_var, i)
    has_shape(value, (), torch.float64)
    require(value.isfinite(), "the value is not finite")


@e2.property("a drill is never worth less than nothing")
def _(fn: Fn, mean: Tensor, cov: Tensor, noise_var: float, i: int) -> None:
    require(fn(mean, cov, noise_var, i) >= -1e-5 * _doubt(cov), "the value is negative")


@e2.property("more noise, less worth")
def _(fn: Fn, mean: Tensor, cov: Tensor, noise_var: float, i: int) -> None:
    more = fn(mean, cov, noise_var + float(cov.diagonal().max()), i)
    slack = 2e-5 * _doubt(cov)
    require(more <= fn(mean, cov, noise_var, i) + slack, "with more noise it is worth more")


@e2.property("the same gold added everywhere changes nothing")
def _(fn: Fn, mean: Tensor, cov: Tensor, noise_var: float, i: int) -> None:
    unit = _doubt(cov)
    shifted = fn(mean + 3 * unit, cov, noise_var, i)
    close(shifted / unit, fn(mean, cov, noise_var, i) / unit, 2e-5)


def _exactly(mean: Tensor, cov: Tensor, noise_var: float, i: int) -> float:
    """Sum over the pieces of Z on which one of the lines is the highest."""
    variance = float(cov[i, i]) + noise_var
    if variance <= 0:
        return 0.0
    a, s = mean.tolist(), (cov[:, i] / math.sqrt(variance)).tolist()
    n = len(a)
    cuts = {-40.0, 40.0}
    for j in range(n):
        for k in range(j):
            if s[j] != s[k]:
                cuts.add(min(40.0, max(-40.0, (a[k] - a[j]) / (s[j] - s[k]))))
    total, ends = 0.0, sorted(cuts)
    for low, high in pairwise(ends):
        middle = (low + high) / 2
        j = max(range(n), key=lambda j: a[j] + s[j] * middle)
        at = _vector(low, high)
        mass, tilt = _cdf(at).diff().item(), -_density(at).diff().item()
        total += (a[j] - max(a)) * mass + s[j] * tilt
    return total


@e2.value("an exact sum over the pieces of the highest line")
def _(fn: Fn, mean: Tensor, cov: Tensor, noise_var: float, i: int) -> None:
    unit = _doubt(cov)
    expected = _exactly(mean, cov, noise_var, i)
    close(fn(mean, cov, noise_var, i) / unit, expected / unit, 1.5e-5)


def _average(mean: Tensor, s: Tensor) -> Tensor:
    Z = torch.linspace(-9, 9, 20_001, dtype=mean.dtype)
    highest = (mean[:, None] + s[:, None] * Z).amax(0)
    return torch.trapezoid(highest * _density(Z), Z) - mean.max()


@e2.wrong("expected improvement: only the drilled place moves")
def _(mean: Tensor, cov: Tensor, noise_var: float, i: int) -> Tensor:
    s = torch.zeros_like(mean)
    s[i] = cov[i, i] / (cov[i, i] + noise_var + 1e-300).sqrt()
    return _average(mean, s)


@e2.wrong("the highest ground, not the highest mean: as if all were revealed at that place")
def _(mean: Tensor, cov: Tensor, noise_var: float, i: int) -> Tensor:
    return _average(mean, cov[:, i] / (cov[i, i] + 1e-300).sqrt())


@e2.wrong("divides by the variance of the drill, not by its root")
def _(mean: Tensor, cov: Tensor, noise_var: float, i: int) -> Tensor:
    return _average(mean, cov[:, i] / (cov[i, i] + noise_var + 1e-300))


@e2.wrong("every place as far as its own doubt reaches, all in the same direction")
def _(mean: Tensor, cov: Tensor, noise_var: float, i: int) -> Tensor:
    return _average(mean, cov.diagonal().sqrt())


@e2.wrong("does not take off what one has already")
def _(mean: Tensor, cov: Tensor, noise_var: float, i: int) -> Tensor:
    return knowledge_value(mean, cov, noise_var, i) + mean.max()


@e2.wrong("a row of K instead of a column of the belief: the covariance with place 0")
def _(mean: Tensor, cov: Tensor, noise_var: float, i: int) -> Tensor:
    return _average(mean, cov[:, 0] / (cov[i, i] + noise_var + 1e-300).sqrt())


@e2.wrong("0/0 at a place without doubt")
def _(mean: Tensor, cov: Tensor, noise_var: float, i: int) -> Tensor:
    return _average(mean, cov[:, i] / (cov[i, i] + noise_var).sqrt())


@e2.wrong("a hundred random surprises")
def _(mean: Tensor, cov: Tensor, noise_var: float, i: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    Z = torch.randn(100, generator=g, dtype=mean.dtype)
    s = cov[:, i] / (cov[i, i] + noise_var + 1e-300).sqrt()
    return (mean[:, None] + s[:, None] * Z).amax(0).mean() - mean.max()


# --- e3: Thompson's dream, on places ----------------------------------------------------------

_COUNT = 4000

e3 = Exercise(
    id="p3.t4.e3",
    title="Follow a dream, four thousand times",
    pure=True,
    hints=(
        "A joint draw of the ground is mean + L eps with L L' = cov. Why must neighbouring places "
        "use the same eps?",
        "With eps of shape `count n`, one draw in each row, the ground is mean + eps @ L.T. Then "
        "argmax along the places.",
        "A Cholesky factor needs a positive definite matrix, and places without doubt, or twins, "
        "make it singular. Eigenvectors do not mind: L = V sqrt(lambda), with negative rounding "
        "clamped to 0. Draw from torch.Generator().manual_seed(seed), not from the global state.",
    ),
)


@e3.answer
def thompson_step(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    """Draw the ground `count` times, and say where each draw is highest: int64 indices, `count`.

    mean `n` and cov `n n` are the belief about n places; cov may be singular. Draws are independent
    of each other, and depend on nothing but the arguments: the same seed gives the same, another
    seed something else, and torch's global random state is neither used nor changed.
    """
    g = torch.Generator().manual_seed(seed)
    values, vectors = torch.linalg.eigh(cov)
    L = vectors * values.clamp(min=0).sqrt()
    eps = torch.randn(count, len(mean), generator=g, dtype=mean.dtype)
    highest: Tensor = (mean + eps @ L.T).argmax(-1)
    return highest


@e3.cases
def dreams(rng: Rng) -> Iterator[Case]:
    two, three = _vector(0.0, 0.0), _vector(0.0, 0.0, 0.0)
    eye2, eye3 = torch.eye(2, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    flat = 0 * eye3
    yield Case(_vector(2.0), _vector(1.0)[None], _COUNT, 0, note="n = 1")
    yield Case(_vector(1.0, 3.0, 2.0), flat, _COUNT, 1, note="no doubt at all")
    yield Case(two, eye2, 1, 2, note="one draw")
    yield Case(two, eye2, _COUNT, 3, note="two equal places")
    yield Case(_vector(0.0, 1.0), eye2, _COUNT, 4, note="unequal means")
    yield Case(two, torch.diag(_vector(1.0, 9.0)), _COUNT, 5, note="unequal doubts")
    yield Case(three, torch.diag(_vector(0.25, 1.0, 9.0)), _COUNT, 6, note="unequal doubts")
    close_by = torch.tensor([[1.0, 0.95], [0.95, 1.0]], dtype=torch.float64)
    yield Case(_vector(0.0, 0.3), close_by, _COUNT, 7, note="strongly correlated")
    yield Case(_vector(0.0, 0.3), 2 * eye2 - close_by, _COUNT, 8, note="anticorrelated")
    yield Case(_vector(0.0, 0.5), torch.ones_like(eye2), _COUNT, 9, note="always together")
    yield Case(_vector(0.0, 0.5), torch.diag(_vector(1.0, 0.0)), _COUNT, 10, note="one is known")
    steep = torch.outer(_vector(1.0, 0.0, -2.0), _vector(1.0, 0.0, -2.0))
    yield Case(_vector(0.0, 0.4, 0.0), steep, _COUNT, 11, note="one number decides all")
    bent = torch.tensor([[1.0, 0.9], [0.9, 4.0]], dtype=torch.float64)
    yield Case(_vector(0.2, 0.0), bent, _COUNT, 12, note="correlated, with unequal doubts")
    for size in (1e-6, 1e6):
        yield Case(size * _vector(0.0, 1.0), size**2 * bent, _COUNT, 13, note=f"gold of {size:g}")
    for n, common in ((3, 0.0), (3, 1.0), (4, 3.0), (5, 0.5), (6, 0.0), (4, 0.0)):
        doubts = (10 * rng.uniform_in(0.2, 2.0, n)).round() / 10
        mean = (10 * rng.normal(n)).round() / 20
        yield Case(mean, torch.diag(doubts.square()) + common, _COUNT, rng.randrange(100))


def _chances(mean: Tensor, cov: Tensor) -> Tensor | None:
    """The exact chances of being highest, where there is a short way to them."""
    n = len(mean)
    if not bool(cov.any()):
        return (mean == mean.max()).double()
    if n == 1:
        return _vector(1.0)
    if n == 2:
        spread = float(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])
        gap = float(mean[1] - mean[0])
        if spread <= 1e-12 * float(cov.abs().max()):
            return _vector(float(gap <= 0), float(gap > 0))
        second = _cdf(_vector(gap / math.sqrt(spread)))
        return torch.cat([1 - second, second])
    off = cov - torch.diag(cov.diagonal())
    common = float(off.max())
    doubts = (cov.diagonal() - common).sqrt()
    if torch.equal(off, common * (1 - torch.eye(n, dtype=cov.dtype))) and bool((doubts > 0).all()):
        t = torch.linspace(-15, 15, 30_001, dtype=torch.float64)  # a gift to all changes nothing
        z = (t - mean.unsqueeze(-1)) / doubts.unsqueeze(-1)
        below = _cdf(z)
        others = torch.stack([below[torch.arange(n) != j].prod(0) for j in range(n)])
        return torch.trapezoid(_density(z) / doubts.unsqueeze(-1) * others, t)
    values, vectors = torch.linalg.eigh(cov)
    if float(values[:-1].abs().max()) <= 1e-9 * float(values[-1].abs().clamp(min=1e-300)):
        t = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
        s = vectors[:, -1] * values[-1].sqrt()
        top = (mean.unsqueeze(-1) + s.unsqueeze(-1) * t).argmax(0)
        hits = torch.stack([(top == j).double() for j in range(n)])
        return torch.trapezoid(hits * _density(t), t)
    return None


@e3.shape
def _(fn: Fn, mean: Tensor, cov: Tensor, count: int, seed: int) -> None:
    at = fn(mean, cov, count, seed)
    has_shape(at, (count,), torch.int64)
    require((at >= 0) & (at < len(mean)), "an index that is no place")


@e3.property("the same seed gives the same draws, whatever the global random state")
def _(fn: Fn, mean: Tensor, cov: Tensor, count: int, seed: int) -> None:
    one = _leaves_random_state(lambda: fn(mean, cov, count, seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        again = torch.equal(fn(mean, cov, count, seed), torch.as_tensor(one))
        require(again, "called twice, it differs")


@e3.property("another seed gives other draws, and draws differ from each other")
def _(fn: Fn, mean: Tensor, cov: Tensor, count: int, seed: int) -> None:
    chances = _chances(mean, cov)
    if chances is not None and count >= 100 and float(chances.max()) < 0.95:
        one = fn(mean, cov, count, seed)
        require(not torch.equal(fn(mean, cov, count, seed + 1), one), "two seeds, the same draws")
        require(one.unique().numel() > 1, "all draws are highest at the same place")


@e3.property("gold in another unit, or more of it everywhere, changes no draw's highest place")
def _(fn: Fn, mean: Tensor, cov: Tensor, count: int, seed: int) -> None:
    other = fn(4 * mean + 8 * float(mean.abs().max()), 16 * cov, count, seed)
    same = (other == fn(mean, cov, count, seed)).double().mean()
    require(same >= 0.99, "after a change of unit the draws are highest elsewhere")


@e3.value("the exact chances, within 5 standard errors")
def _(fn: Fn, mean: Tensor, cov: Tensor, count: int, seed: int) -> None:
    chances = _chances(mean, cov)
    if chances is None or count < 100:
        return
    share = torch.bincount(fn(mean, cov, count, seed), minlength=len(mean)).double() / count
    error = (chances * (1 - chances) / count).sqrt()
    for j, gap in enumerate((share - chances).abs() - 5 * error - 2e-3):
        require(gap <= 0, f"place {j} is the highest too often, or not often enough")


def _dream(mean: Tensor, L: Tensor, count: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return mean + torch.randn(count, len(mean), generator=g, dtype=mean.dtype) @ L.T


def _root(cov: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(cov)
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root


@e3.wrong("every place dreams for itself")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    return _dream(mean, torch.diag(cov.diagonal().sqrt()), count, seed).argmax(-1)


@e3.wrong("eps times L, not times L transposed")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    jitter = 1e-10 * float(cov.diagonal().max() + 1e-300)
    L = torch.linalg.cholesky(cov + jitter * torch.eye(len(mean), dtype=cov.dtype))
    return _dream(mean, L.T, count, seed).argmax(-1)


@e3.wrong("the covariance itself for its root")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    return _dream(mean, cov, count, seed).argmax(-1)


@e3.wrong("forgets the mean")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    return _dream(0 * mean, _root(cov), count, seed).argmax(-1)


@e3.wrong("the lowest place")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    return _dream(mean, _root(cov), count, seed).argmin(-1)


@e3.wrong("one dream, count times")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    return _dream(mean, _root(cov), 1, seed).argmax(-1).expand(count).clone()


@e3.wrong("where UCB would go, for ever")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    return (mean + 2 * cov.diagonal().sqrt()).argmax().expand(count).clone()


@e3.wrong("draws from the global random state")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    eps = torch.randn(count, len(mean), dtype=mean.dtype)
    return (mean + eps @ _root(cov).T).argmax(-1)


@e3.wrong("seeds torch's global generator, so that all that follows repeats itself")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    eps = torch.randn(count, len(mean), dtype=mean.dtype)
    return (mean + eps @ _root(cov).T).argmax(-1)


@e3.wrong("the same draws whatever the seed")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    return _dream(mean, _root(cov), count, 0).argmax(-1)


@e3.wrong("a jitter of a thousandth, which is doubt where there is none")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    K = cov + 1e-3 * torch.eye(len(mean), dtype=cov.dtype)
    return _dream(mean, torch.linalg.cholesky(K), count, seed).argmax(-1)


@e3.wrong("the deviations of the draws doubled")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    return _dream(mean, 2 * _root(cov), count, seed).argmax(-1)


@e3.wrong("a Cholesky factor, which a singular covariance does not have")
def _(mean: Tensor, cov: Tensor, count: int, seed: int) -> Tensor:
    return _dream(mean, torch.linalg.cholesky(cov), count, seed).argmax(-1)


# --- e4: the loop -----------------------------------------------------------------------------

Believe = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
Score = Callable[[Tensor, Tensor, Tensor], Tensor]

e4 = Exercise(
    id="p3.t4.e4",
    title="The loop",
    hints=(
        "Keep a list of the indices drilled so far, in order, and the values they brought up. All "
        "else can be computed anew in every round.",
        "In every round: turn the values round if it minimises, standardise them, ask believe, ask "
        "acq, take the highest score among the places that are left, and drill there. Writing "
        "minus infinity over the drilled ones is not enough where others have that score, too.",
        "One value has no deviation, and equal ones have deviation 0: only subtract the mean then. "
        "The first places are torch.randperm(n, generator=g)[:n_init]. Ask f for all of them at "
        "once or one by one, but never twice.",
    ),
)


@e4.answer
def bo_loop(
    f: Callable[[Tensor], Tensor],
    places: Tensor,
    n_init: int,
    n_iter: int,
    believe: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    acq: Callable[[Tensor, Tensor, Tensor], Tensor],
    seed: int,
    maximize: bool = True,
) -> tuple[Tensor, Tensor]:
    """Bayesian optimisation on a strip; return all places drilled, in order, and what they gave.

    f drills: it maps `k` places to `k` values and is paid by the place: n_init + n_iter of them,
    none twice. places `n` are the candidates, all different. The first n_init are random ones,
    drawn from the seed; n_iter more follow, each where the score is highest among places not yet
    drilled (at any of them if several, or all of them with a score of minus infinity, tie). The
    score is acq(mu, sigma, best), where mu, sigma = believe(x, y, places) is the
    belief after drills at x with values y, and best is the highest y. believe and acq want values
    that are good if high and standardised: mean 0 and standard deviation 1 (divided by n - 1);
    where there is no deviation, only shifted.

    With maximize=False low values of f are good. The same seed gives the same drills, and torch's
    global random state is neither used nor changed. Raise ValueError if n_init is less than 1 or
    n_init + n_iter exceeds the number of places. Return (x, y), each `n_init + n_iter`, y as f
    gave it.
    """
    if n_init < 1 or n_init + n_iter > len(places):
        raise ValueError("n_init must be at least 1, and n_init + n_iter at most len(places)")
    g = torch.Generator().manual_seed(seed)
    at = torch.randperm(len(places), generator=g)[:n_init]
    y = f(places[at])
    for _ in range(n_iter):
        good = (y if maximize else -y) - (y.mean() if maximize else -y.mean())
        deviation = good.std() if len(good) > 1 else torch.zeros(())
        if deviation > 0:
            good = good / deviation
        mu, sigma = believe(places[at], good, places)
        score = acq(mu, sigma, good.max())
        free = torch.ones(len(places), dtype=torch.bool).scatter(0, at, False).nonzero()[:, 0]
        at = torch.cat([at, free[score[free].argmax()][None]])
        y = torch.cat([y, f(places[at[-1:]])])
    return places[at], y


def _smooth(ell: float) -> Believe:
    """A Gaussian process for standardised values, with an RBF kernel."""

    def believe(x: Tensor, y: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        def k(a: Tensor, b: Tensor) -> Tensor:
            return torch.exp(-0.5 * ((a[:, None] - b) / ell).square())

        K = k(x, x) + 1e-4 * torch.eye(len(x), dtype=x.dtype)
        weights = torch.linalg.solve(K, k(x, places))
        variance = 1 - (weights * k(x, places)).sum(0)
        return weights.T @ y, variance.clamp(min=1e-9).sqrt()

    return believe


def _gain(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    z = (mu - best) / sigma
    return sigma * (_density(z) + z * _cdf(z))


def _optimism(mu: Tensor, sigma: Tensor, best: Tensor) -> Tensor:
    return mu + 2 * sigma


def _named(name: str, fn: Fn) -> Fn:
    fn.__name__ = name
    return fn


_EI, _UCB = _named("EI", _gain), _named("UCB", _optimism)
_HOPE = _named("mean only", lambda mu, sigma, best: mu + 0 * sigma)
_NOTHING = _named("minus infinity", lambda mu, sigma, best: torch.full_like(mu, -torch.inf))
_DRY = _named("log EI by a formula that is 0 in the tail", lambda *b: _gain(*b).clamp(min=0).log())
_RANK = _named("minus sigma", lambda mu, sigma, best: -sigma)


@e4.cases
def searches(rng: Rng) -> Iterator[Case]:
    strip = torch.linspace(0, 3, 31, dtype=torch.float64)
    map_ = _named("a map", _smooth(0.4))
    wave = _named("sin 3x", lambda x: torch.sin(3 * x))
    slope = _named("x", lambda x: 1.0 * x)
    flat = _named("7 everywhere", lambda x: 0 * x + 7)
    yield Case(slope, strip[:1], 1, 0, map_, _EI, 0, note="one place, no further drill")
    yield Case(slope, strip[:3], 3, 0, map_, _EI, 0, note="no further drills")
    yield Case(slope, strip[:4], 1, 2, map_, _UCB, 1, note="one drill to begin with")
    yield Case(flat, strip[:6], 2, 2, map_, _UCB, 1, note="the same gold everywhere")
    yield Case(slope, strip[:5], 2, 3, map_, _EI, 2, note="as many drills as places")
    yield Case(slope, strip[:3], 2, 2, map_, _EI, 2, raises=ValueError, note="too many drills")
    yield Case(slope, strip[:3], 0, 2, map_, _EI, 2, raises=ValueError, note="nothing to begin")
    yield Case(wave, strip, 2, 5, map_, _HOPE, 3, note="hope only: would drill twice")
    yield Case(wave, strip, 2, 4, map_, _EI, 4, False, note="low is good")
    yield Case(slope, strip[:6], 2, 4, map_, _NOTHING, 3, note="no score is above -inf")
    yield Case(wave, strip, 2, 6, _named("a sure map", _smooth(30.0)), _DRY, 3, note="EI runs dry")
    yield Case(wave, strip, 2, 4, map_, _RANK, 3, note="all scores are negative")
    for size in (1e-6, 1e6):
        big = _named(f"{size:g} sin 3x", lambda x, size=size: size * torch.sin(3 * x))
        yield Case(big, strip, 2, 4, map_, _UCB, 5, note=f"gold of size {size:g}")
        yield Case(big, strip, 2, 4, map_, _EI, 5, False, note=f"gold of size {size:g}")
    far = _named("1000 + sin 3x", lambda x: 1000 + torch.sin(3 * x))
    yield Case(far, strip, 3, 4, map_, _EI, 6, note="much gold everywhere")
    for k, acq in enumerate((_EI, _UCB, _HOPE, _EI, _UCB, _EI)):
        a, b = rng.uniform(1, 4), rng.uniform(0, 6)
        f = _named(f"sin({a:.1f} x + {b:.1f})", lambda x, a=a, b=b: torch.sin(a * x + b))
        yield Case(f, strip, 1 + k % 3, 3 + k, map_, acq, rng.randrange(100), k % 2 == 0)
    shuffled = strip[torch.randperm(31, generator=torch.Generator().manual_seed(0))]
    yield Case(wave, shuffled, 2, 4, map_, _UCB, 8, note="places in no order")


class _Meter:
    """Counts the places that are paid for."""

    def __init__(self, f: Fn) -> None:
        self.f, self.asked = f, torch.zeros(0, dtype=torch.float64)

    def __call__(self, x: Tensor) -> Tensor:
        require(isinstance(x, Tensor) and x.ndim == 1, "f must be asked for a row of places")
        self.asked = torch.cat([self.asked, x])
        values: Tensor = self.f(x)
        return values


def _same(fn: Fn, one: tuple[object, ...], two: tuple[object, ...], message: str) -> None:
    require(torch.equal(fn(*one)[0], fn(*two)[0]), message)


@e4.shape
def _(fn: Fn, f: Fn, places: Tensor, n_init: int, n_iter: int, *rest: object) -> None:
    result = fn(f, places, n_init, n_iter, *rest)
    require(isinstance(result, tuple) and len(result) == 2, "expected two tensors, (x, y)")
    for part in result:
        has_shape(part, (n_init + n_iter,), torch.float64)


@e4.property("exactly n_init + n_iter places are paid for, none of them twice")
def _(fn: Fn, f: Fn, places: Tensor, n_init: int, n_iter: int, *rest: object) -> None:
    meter = _Meter(f)
    x, y = fn(meter, places, n_init, n_iter, *rest)
    require(len(meter.asked) <= n_init + n_iter, "more places were paid for than allowed")
    require(meter.asked.unique().numel() == n_init + n_iter, "a place was drilled twice")
    require(torch.isin(meter.asked, places), "a drill where there is no candidate")
    close(x, meter.asked, 0)
    close(y, f(x), 1e-9, relative=True)


@e4.property("the same seed gives the same drills, whatever the global random state")
def _(fn: Fn, *inputs: object) -> None:
    _leaves_random_state(lambda: fn(*inputs))
    one = fn(*inputs)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(54321)
        require(torch.equal(fn(*inputs)[0], one), "called twice, it drills elsewhere")


@e4.property("the first drills depend on the seed, and not on what f brings up")
def _(fn: Fn, f: Fn, places: Tensor, n_init: int, *rest: object) -> None:
    def start(g: Fn, seed: int) -> Tensor:
        n_iter, believe, acq, _, *tail = rest
        drilled: Tensor = fn(g, places, n_init, n_iter, believe, acq, seed, *tail)[0]
        return drilled[:n_init]

    require(torch.equal(start(f, 5), start(lambda x: x * x, 5)), "they change with f")
    if n_init < len(places):
        starts = {tuple(start(f, seed).tolist()) for seed in range(6)}
        require(len(starts) > 1, "six seeds, and always the same first drills")


@e4.property("the highest of f is the lowest of -f")
def _(fn: Fn, f: Fn, *rest: object) -> None:
    arguments, maximize = rest[:6], rest[6] if len(rest) > 6 else True
    one, two = (f, *arguments, maximize), (lambda x: -f(x), *arguments, not maximize)
    _same(fn, one, two, "with -f and the other direction it drills elsewhere")


@e4.property("gold in another unit, counted from another zero, leads to the same drills")
def _(fn: Fn, f: Fn, *rest: object) -> None:
    size = float(f(rest[0]).abs().max())
    _same(
        fn, (f, *rest), (lambda x: 4 * f(x) + 2 * size, *rest), "with 4 f + c it drills elsewhere"
    )


@e4.property("believe gets values that are good if high, with mean 0 and deviation 1")
def _(
    fn: Fn,
    f: Fn,
    places: Tensor,
    n_init: int,
    n_iter: int,
    believe: Believe,
    acq: Score,
    seed: int,
    maximize: bool = True,
) -> None:
    def watched(x: Tensor, y: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        close(y.mean(), 0.0, 1e-6)
        values = f(x) if maximize else -f(x)
        if len(x) > 1 and float(values.max() - values.min()) > 0:
            close(y.std(), 1.0, 1e-6)
            require(y.argmax() == values.argmax(), "the highest value is not the best one")
        else:
            close(y, torch.zeros_like(y), 1e-6)
        return believe(x, y, at)

    fn(f, places, n_init, n_iter, watched, acq, seed, maximize)


@e4.value("replaying the run: no undrilled place had a higher score")
def _(
    fn: Fn,
    f: Fn,
    places: Tensor,
    n_init: int,
    n_iter: int,
    believe: Believe,
    acq: Score,
    seed: int,
    maximize: bool = True,
) -> None:
    x, _ = fn(f, places, n_init, n_iter, believe, acq, seed, maximize)
    for n in range(n_init, n_init + n_iter):
        values = f(x[:n]) * (1 if maximize else -1)
        centred = values - values.mean()
        spread = float(centred.square().sum() / max(n - 1, 1)) ** 0.5
        y = centred / spread if spread > 1e-12 * float(values.abs().max() + 1e-300) else centred
        mu, sigma = believe(x[:n], y, places)
        score = acq(mu, sigma, y.max())
        free = ~torch.isin(places, x[:n])
        reached = score[places == x[n]].max()
        sizes = score[score.isfinite()].abs()
        slack = 1e-6 * (1 + (sizes.max() if len(sizes) else 0.0))
        require(reached >= score[free].max() - slack, f"drill {n} was not where the score is best")


def _loop(
    f: Fn,
    places: Tensor,
    n_init: int,
    n_iter: int,
    believe: Believe,
    acq: Score,
    seed: int,
    maximize: bool = True,
    *,
    mask: bool = True,
    scale: bool = True,
    raw_best: bool = False,
    flip: bool = True,
    correction: int = 1,
    again: bool = False,
    stale: bool = False,
    zero: bool = False,
    late: bool = False,
) -> tuple[Tensor, Tensor]:
    """The loop with one part of it left out or exchanged."""
    if n_init < 1 or n_init + n_iter > len(places):
        raise ValueError("bad counts")
    g = torch.Generator().manual_seed(seed)
    at = torch.randperm(len(places), generator=g)[:n_init]
    y = f(places[at])
    sign = 1 if maximize or not flip else -1
    for _ in range(n_iter):
        good = sign * (f(places[at]) if again else y)
        if scale:
            seen = good[:n_init] if stale else good
            spread = seen.std(correction=correction) if len(seen) > correction else seen.sum() * 0
            good = (good - seen.mean()) / (spread if spread > 0 else 1.0)
        mu, sigma = believe(places[at], good, places)
        score = acq(mu, sigma, (sign * y).max() if raw_best else good.max()).clone()
        if late:
            score = acq(mu, sigma, good[-1]).clone()
        if mask:
            score[at] = 0.0 if zero else -torch.inf
        at = torch.cat([at, score.argmax()[None]])
        y = torch.cat([y, f(places[at[-1:]])])
    return places[at], y


@e4.wrong("drills where it has drilled before")
def _(*inputs: object) -> tuple[Tensor, Tensor]:
    return _loop(*inputs, mask=False)  # type: ignore[arg-type]


@e4.wrong("minus infinity for old places, which others may have as well")
def _(*inputs: object) -> tuple[Tensor, Tensor]:
    return _loop(*inputs)  # type: ignore[arg-type]


@e4.wrong("a score of 0 for old places, as if no score were below")
def _(*inputs: object) -> tuple[Tensor, Tensor]:
    return _loop(*inputs, zero=True)  # type: ignore[arg-type]


@e4.wrong("the last value for the best one")
def _(*inputs: object) -> tuple[Tensor, Tensor]:
    return _loop(*inputs, late=True)  # type: ignore[arg-type]


@e4.wrong("seeds torch's global generator")
def _(
    f: Fn, places: Tensor, n_init: int, n_iter: int, *rest: object, **options: bool
) -> tuple[Tensor, Tensor]:
    torch.manual_seed(int(rest[2]))  # type: ignore[call-overload]
    return bo_loop(f, places, n_init, n_iter, *rest)  # type: ignore[arg-type]


@e4.wrong("values as they come: the map was made for standardised ones")
def _(*inputs: object) -> tuple[Tensor, Tensor]:
    return _loop(*inputs, scale=False)  # type: ignore[arg-type]


@e4.wrong("the best value in raw units beside a standardised map")
def _(*inputs: object) -> tuple[Tensor, Tensor]:
    return _loop(*inputs, raw_best=True)  # type: ignore[arg-type]


@e4.wrong("maximises whatever it was asked for")
def _(*inputs: object) -> tuple[Tensor, Tensor]:
    return _loop(*inputs, flip=False)  # type: ignore[arg-type]


@e4.wrong("a deviation divided by n")
def _(*inputs: object) -> tuple[Tensor, Tensor]:
    return _loop(*inputs, correction=0)  # type: ignore[arg-type]


@e4.wrong("pays for all old places again in every round")
def _(*inputs: object) -> tuple[Tensor, Tensor]:
    return _loop(*inputs, again=True)  # type: ignore[arg-type]


@e4.wrong("standardises by the first drills for ever")
def _(*inputs: object) -> tuple[Tensor, Tensor]:
    return _loop(*inputs, stale=True)  # type: ignore[arg-type]


@e4.wrong("begins at the first places of the list, whatever the seed")
def _(
    f: Fn, places: Tensor, n_init: int, n_iter: int, *rest: object, **options: bool
) -> tuple[Tensor, Tensor]:
    believe, acq, _, *tail = rest
    return _loop(f, places, n_init, n_iter, believe, acq, 0, *tail)  # type: ignore[arg-type]


@e4.wrong("begins at places from the global random state")
def _(
    f: Fn, places: Tensor, n_init: int, n_iter: int, *rest: object, **options: bool
) -> tuple[Tensor, Tensor]:
    believe, acq, _, *tail = rest
    seed = int(torch.randint(1000, ()))
    return _loop(f, places, n_init, n_iter, believe, acq, seed, *tail)  # type: ignore[arg-type]


# --- e5: a schedule for xi --------------------------------------------------------------------

_STRIPS, _ELL = 512, 0.1

e5 = Exercise(
    id="p3.t4.e5",
    title="Save PI",
    hints=(
        "With ξ = 0 PI digs beside its best drill. When, in the course of a search, is digging "
        "there right, and when is it not? And in which unit do you say how much to ask for?",
        "Ask for a share of the spread, more of it while many drills are left, and less towards "
        "the end.",
        "From about half of the spread, or all of it, straight down to zero with the share of "
        "drills that are left. (A constant of a fifth of the spread does as well here, but who "
        "would have told you to choose a fifth? With twice as much PI solves far less.)",
    ),
)


@e5.answer
def xi_schedule(t: int, n_iter: int, spread: float) -> float:
    """How many ounces more than the best PI asks for in drill t = 0, ..., n_iter - 1.

    spread > 0 is the standard deviation of the gold along the strip, in the unit in which your
    answer counts, too. If there are several drills, the last must ask for less than the first, and
    none for more than the one before. The check lets PI with your schedule and EI search the same
    512 hidden strips from one random drill, with maps that are right, and counts the strips on
    which the best drill comes within a tenth of the spread of the richest place. PI may solve at
    most 8 in 100 fewer than EI. Return a number, 0 or more.
    """
    return 0.8 * spread * (1 - t / n_iter)


@e5.cases
def seasons(rng: Rng) -> Iterator[Case]:
    yield Case(0, 1, 1.0, note="a single drill")
    yield Case(0, 6, 1.0, note="the first of 6 drills")
    yield Case(5, 6, 1.0, note="the last of 6 drills")
    yield Case(0, 8, 1e-6, note="gold of size 1e-6")
    yield Case(0, 8, 1e6, note="gold of size 1e6")
    yield Case(0, 10, 31.1, note="in grams")
    for n_iter in (6, 7, 8, 9):
        yield Case(0, n_iter, 1.0)
    for _ in range(12):
        n_iter = rng.randrange(2, 13)
        yield Case(rng.randrange(1, n_iter), n_iter, rng.choice([0.5, 1.0, 2.0, 10.0]))


@lru_cache(maxsize=1)
def _strips() -> tuple[Tensor, Tensor, Tensor]:
    """Kernel matrix of 101 places, the gold of the hidden strips there, and the first drills."""
    x = torch.linspace(0, 1, 101, dtype=torch.float64)
    r = math.sqrt(5) * (x[:, None] - x).abs() / _ELL
    K = (1 + r + r * r / 3) * torch.exp(-r)
    g = torch.Generator().manual_seed(2026)
    eps = torch.randn(_STRIPS, 101, generator=g, dtype=torch.float64)
    gold = eps @ torch.linalg.cholesky(K + 1e-9 * torch.eye(101, dtype=torch.float64)).T
    return K, gold, torch.randint(101, (_STRIPS, 1), generator=g)


@lru_cache(maxsize=256)
def _solved_by_pi(levels: tuple[float, ...]) -> float:
    return _share_solved(lambda mu, sigma, best, k: (mu - best - levels[k]) / sigma, len(levels))


def _share_solved(score: Callable[[Tensor, Tensor, Tensor, int], Tensor], n_iter: int) -> float:
    K, gold, start = _strips()
    mu, variance = torch.zeros_like(gold), torch.ones_like(gold)
    best = torch.full_like(gold[:, :1], -torch.inf)
    moved: list[Tensor] = []  # how each drill moved the map, in standard deviations of surprise
    at, seen = start, torch.zeros_like(gold, dtype=torch.bool)
    for t in range(n_iter + 1):
        y = gold.gather(1, at)
        covariance = K[at[:, 0]] - sum((v.gather(1, at) * v for v in moved), start=0 * gold)
        spread = (covariance.gather(1, at) + 1e-6).sqrt()
        moved.append(covariance / spread)
        mu = mu + moved[-1] * (y - mu.gather(1, at)) / spread
        variance = variance - moved[-1].square()
        best, seen = torch.maximum(best, y), seen.scatter(1, at, True)
        if t < n_iter:
            values = score(mu, variance.clamp(min=1e-12).sqrt(), best, t)
            at = values.masked_fill(seen, -torch.inf).argmax(1, keepdim=True)
    return float((gold.amax(1) - best[:, 0] < 0.1).double().mean())


@lru_cache(maxsize=32)
def _solved_by_ei(n_iter: int) -> float:
    return _share_solved(lambda mu, sigma, best, t: _gain(mu, sigma, best), n_iter)


@e5.shape
def _(fn: Fn, t: int, n_iter: int, spread: float) -> None:
    xi = fn(t, n_iter, spread)
    number = isinstance(xi, int | float | Tensor) and not isinstance(xi, bool)
    require(number and math.isfinite(float(xi)), "expected one finite number")
    require(float(xi) >= 0, "a negative xi would be content with less than one has")


@e5.property("it is a schedule: it never rises, and the last drill asks for less than the first")
def _(fn: Fn, t: int, n_iter: int, spread: float) -> None:
    levels = [float(fn(k, n_iter, spread)) for k in range(n_iter)]
    require(all(one >= two for one, two in pairwise(levels)), "it rises from one drill to the next")
    require(n_iter == 1 or levels[-1] < levels[0], "the last drill asks for as much as the first")


@e5.property("ξ counts gold: in another unit it is the same amount")
def _(fn: Fn, t: int, n_iter: int, spread: float) -> None:
    xi = float(fn(t, n_iter, spread))
    close(float(fn(t, n_iter, 32 * spread)) / (32 * spread), xi / spread, 1e-9)


@e5.value("a race against EI on 512 hidden strips")
def _(fn: Fn, t: int, n_iter: int, spread: float) -> str | None:
    if t > 0:
        return None  # the whole schedule runs in the case of its first drill
    share = _solved_by_pi(tuple(float(fn(k, n_iter, 1.0)) for k in range(n_iter)))
    if share < _solved_by_ei(n_iter) - 0.08:
        return f"with {n_iter} drills your PI solves {share:.0%}, EI {_solved_by_ei(n_iter):.0%}"
    return None


@e5.wrong("no ξ at all")
def _(t: int, n_iter: int, spread: float) -> float:
    return 0.0


@e5.wrong("a speck of the spread")
def _(t: int, n_iter: int, spread: float) -> float:
    return 0.01 * spread


@e5.wrong("half an ounce, whatever an ounce is worth")
def _(t: int, n_iter: int, spread: float) -> float:
    return 0.5 * (1 - t / n_iter)


@e5.wrong("more and more: modest at first, greedy for the far end")
def _(t: int, n_iter: int, spread: float) -> float:
    return 1.2 * spread * (t + 1) / n_iter


@e5.wrong("the whole spread, to the end")
def _(t: int, n_iter: int, spread: float) -> float:
    return 1.2 * spread


@e5.wrong("a constant: a fifth of the spread, as if ten drills were left to the end")
def _(t: int, n_iter: int, spread: float) -> float:
    return 0.2 * spread


@e5.wrong("falls by the number of the drill alone: after five drills nothing is left, or much")
def _(t: int, n_iter: int, spread: float) -> float:
    return 3.0 * spread / (t + 1)


@e5.wrong("the square of the spread: another unit, another amount")
def _(t: int, n_iter: int, spread: float) -> float:
    return 0.8 * spread**2 * (1 - t / n_iter)


@e5.wrong("one less than what is left: below zero in the last drill")
def _(t: int, n_iter: int, spread: float) -> float:
    return 0.8 * spread * (1 - (t + 2) / n_iter)


@e5.wrong("down through zero: content with less at the end")
def _(t: int, n_iter: int, spread: float) -> float:
    return spread * (0.5 - t / n_iter)
