"""The exercises of part_4/tutorial_06: a bridge to BoTorch and Ax."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require

# --- e1: hyperparameters in the units of the data -----------------------------------------------

e1 = Exercise(
    id="p4.t6.e1",
    title="The same Gaussian process in other units",
    hints=(
        "Write y = shift + scale · z and x = low + (high - low) · u. Which of the four numbers are "
        "lengths of x, which are values of y, which are variances of y?",
        "A lengthscale is a distance between two inputs, so the lower bounds do not matter to it. "
        "A variance of z becomes a variance of y when it is multiplied by the scale squared.",
        "torch.std divides by n - 1 unless told otherwise. A constant output has scale 1; the "
        "prior variance of z is 1, because the kernel has no output scale.",
    ),
)


@e1.answer
def in_user_units(
    lengthscale: Tensor, mean: Tensor, noise_var: Tensor, bounds: Tensor, Y: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(lengthscale, prior variance, mean, noise variance) of the same model in the data's units.

    The model lives on the unit cube (bounds: 2 d) and on standardised outputs (Y: n): mean 0,
    standard deviation 1 with n - 1 in it, or scale 1 if all entries of Y are equal. There its RBF
    kernel has lengthscales (d) and variance 1. Returned: d lengthscales and three numbers without
    axes.
    """
    scale = Y.std() if len(Y) > 1 and bool((Y - Y[0]).any()) else torch.ones((), dtype=Y.dtype)
    width = bounds[1] - bounds[0]
    return lengthscale * width, scale**2, Y.mean() + scale * mean, noise_var * scale**2


def _e1_case(rng: Rng, d: int, n: int, scale: float, shift: float) -> Case:
    low = rng.normal(d) * 10
    bounds = torch.stack([low, low + rng.uniform_in(0.1, 20.0, d)])
    Y = shift + scale * rng.normal(n)
    return Case(
        rng.uniform_in(0.1, 2.0, d),
        rng.normal(1)[0],
        rng.uniform_in(1e-4, 0.5, 1)[0],
        bounds,
        Y,
    )


@e1.cases
def models(rng: Rng) -> Iterator[Case]:
    cube = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    small = torch.tensor(0.01, dtype=torch.float64)
    flat = torch.full((4,), 3.0, dtype=torch.float64)
    yield Case(one, zero, small, cube, flat, note="a constant output")
    yield Case(one, zero, small, cube, flat[:1], note="one observation")
    yield Case(one, zero, small, 5 + 2 * cube, torch.tensor([1.0, 3.0], dtype=torch.float64))
    for scale in (1.0, 1e-6, 1e6):
        for d in (1, 2, 3):
            for n in (2, 5):
                yield _e1_case(rng, d, n, scale, rng.choice((0.0, 7.0, -300.0)))
    yield _e1_case(rng, 2, 3, 0.5, 100.0)


@e1.shape
def _(
    fn: Fn, lengthscale: Tensor, mean: Tensor, noise_var: Tensor, bounds: Tensor, Y: Tensor
) -> None:
    found = fn(lengthscale, mean, noise_var, bounds, Y)
    require(isinstance(found, tuple) and len(found) == 4, "expected a tuple of four")
    has_shape(found[0], tuple(lengthscale.shape), torch.float64)
    for value in found[1:]:
        has_shape(value, (), torch.float64)


@e1.property("a constant added to Y moves the mean and nothing else")
def _(
    fn: Fn, lengthscale: Tensor, mean: Tensor, noise_var: Tensor, bounds: Tensor, Y: Tensor
) -> None:
    a, b = (fn(lengthscale, mean, noise_var, bounds, y) for y in (Y, Y + 1.0))
    s = float(Y.abs().max()) + 1
    close(b[2] - a[2], torch.ones((), dtype=torch.float64), 1e-9 * s)
    for i in (0, 1, 3):
        close(b[i] / (1 + a[i].abs()), a[i] / (1 + a[i].abs()), 1e-6)


@e1.property("moving the box changes nothing")
def _(
    fn: Fn, lengthscale: Tensor, mean: Tensor, noise_var: Tensor, bounds: Tensor, Y: Tensor
) -> None:
    a, b = (fn(lengthscale, mean, noise_var, box, Y) for box in (bounds, bounds + 2.5))
    for i in range(4):
        close(a[i], b[i], 1e-9, relative=True)


Numbers = tuple[Tensor, Tensor, Tensor, Tensor]


def _belief(numbers: Numbers, X: Tensor, Y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance at x of a Gaussian process in whatever units its numbers are in."""
    lengthscale, s2, c, v = numbers

    def k(A: Tensor, B: Tensor) -> Tensor:
        gap = (A.unsqueeze(-2) - B.unsqueeze(-3)) / lengthscale
        return s2 * torch.exp(-0.5 * gap.square().sum(-1))

    K = k(X, X) + v * torch.eye(len(X), dtype=X.dtype)
    weights = torch.linalg.solve(K, k(X, x))
    return c + weights.mT @ (Y - c), k(x, x).diagonal() - (weights * k(X, x)).sum(0)


@e1.value("predictions of both models, each computed in its own units")
def _(
    fn: Fn, lengthscale: Tensor, mean: Tensor, noise_var: Tensor, bounds: Tensor, Y: Tensor
) -> None:
    n, d = len(Y), bounds.shape[1]
    U = torch.linspace(0.05, 0.95, n * d, dtype=torch.float64).reshape(n, d)
    x = torch.linspace(0.2, 0.7, 2 * d, dtype=torch.float64).reshape(2, d)
    shift, spread = float(Y.mean()), float(Y.std()) if n > 1 else 0.0
    scale = spread if spread > 0 else 1.0
    one = torch.ones((), dtype=torch.float64)
    m, v = _belief((lengthscale, one, mean, noise_var), U, (Y - shift) / scale, x)
    width = bounds[1] - bounds[0]
    ours = _belief(
        fn(lengthscale, mean, noise_var, bounds, Y),
        bounds[0] + width * U,
        Y,
        bounds[0] + width * x,
    )
    close((ours[0] - shift) / scale, m, 1e-6)
    close(ours[1] / scale**2, v, 1e-6)


@e1.wrong("n in the standard deviation")
def _(lengthscale: Tensor, mean: Tensor, noise_var: Tensor, bounds: Tensor, Y: Tensor) -> Numbers:
    s = Y.std(correction=0)
    s = s if s > 0 else torch.ones_like(s)
    return lengthscale * (bounds[1] - bounds[0]), s**2, Y.mean() + s * mean, noise_var * s**2


@e1.wrong("the noise scaled like a standard deviation")
def _(lengthscale: Tensor, mean: Tensor, noise_var: Tensor, bounds: Tensor, Y: Tensor) -> Numbers:
    s = Y.std() if len(Y) > 1 and Y.std() > 0 else torch.ones((), dtype=Y.dtype)
    return lengthscale * (bounds[1] - bounds[0]), s**2, Y.mean() + s * mean, noise_var * s


@e1.wrong("the lower bound added to a length")
def _(lengthscale: Tensor, mean: Tensor, noise_var: Tensor, bounds: Tensor, Y: Tensor) -> Numbers:
    s = Y.std() if len(Y) > 1 and Y.std() > 0 else torch.ones((), dtype=Y.dtype)
    return (
        bounds[0] + lengthscale * (bounds[1] - bounds[0]),
        s**2,
        Y.mean() + s * mean,
        noise_var * s**2,
    )


@e1.wrong("the mean without the shift")
def _(lengthscale: Tensor, mean: Tensor, noise_var: Tensor, bounds: Tensor, Y: Tensor) -> Numbers:
    s = Y.std() if len(Y) > 1 and Y.std() > 0 else torch.ones((), dtype=Y.dtype)
    return lengthscale * (bounds[1] - bounds[0]), s**2, s * mean, noise_var * s**2


@e1.wrong("a constant output gets scale 0")
def _(lengthscale: Tensor, mean: Tensor, noise_var: Tensor, bounds: Tensor, Y: Tensor) -> Numbers:
    s = Y.std(correction=min(1, len(Y) - 1))
    return lengthscale * (bounds[1] - bounds[0]), s**2, Y.mean() + s * mean, noise_var * s**2


# --- e2: what a fit maximises -------------------------------------------------------------------

e2 = Exercise(
    id="p4.t6.e2",
    title="The number that the other library maximises",
    hints=(
        "A log-normal density with parameters m and s has its own factor 1/x: "
        "log p(x) = -log x - log s - log(2 pi)/2 - (log x - m)^2 / (2 s^2).",
        "Priors are densities of the lengthscales and of the noise variance themselves. Add their "
        "logarithms to the log likelihood; there is one factor for each lengthscale.",
        "Divide the sum by n, the priors included.",
    ),
)


@e2.answer
def per_datum(log_likelihood: Tensor, lengthscale: Tensor, noise_var: Tensor, n: int) -> Tensor:
    """(log likelihood + log priors) / n, the objective of a fit in gpytorch and BoTorch.

    Priors: each of the d lengthscales LogNormal(sqrt(2) + log(d) / 2, sqrt(3)), the noise variance
    LogNormal(-4, 1); both are densities of the value itself, not of its logarithm.
    """
    d = len(lengthscale)

    def log_density(x: Tensor, m: float, s: float) -> Tensor:
        z = (x.log() - m) / s
        return -x.log() - math.log(s) - math.log(2 * math.pi) / 2 - z**2 / 2

    of_lengths = log_density(lengthscale, math.sqrt(2) + math.log(d) / 2, math.sqrt(3)).sum()
    return (log_likelihood + of_lengths + log_density(noise_var, -4.0, 1.0)) / n


@e2.cases
def fits(rng: Rng) -> Iterator[Case]:
    one = torch.ones(1, dtype=torch.float64)
    yield Case(-one[0], one, 0.01 * one[0], 1, note="one datum, one input")
    yield Case(0 * one[0], one, math.exp(-4) * one[0], 10, note="the likelihood is 1")
    for d in (1, 2, 3, 6, 20):
        for size in (1.0, 1e-3, 1e3):
            for n in (2, 50):
                yield Case(
                    50 * rng.normal(1)[0],
                    size * rng.uniform_in(0.2, 2.0, d),
                    rng.uniform_in(1e-4, 1.0, 1)[0],
                    n,
                )


@e2.shape
def _(fn: Fn, log_likelihood: Tensor, lengthscale: Tensor, noise_var: Tensor, n: int) -> None:
    has_shape(fn(log_likelihood, lengthscale, noise_var, n), (), torch.float64)


@e2.property("a nat more of likelihood is worth 1/n")
def _(fn: Fn, log_likelihood: Tensor, lengthscale: Tensor, noise_var: Tensor, n: int) -> None:
    more = fn(log_likelihood + 1, lengthscale, noise_var, n)
    close(
        more - fn(log_likelihood, lengthscale, noise_var, n),
        torch.tensor(1 / n, dtype=torch.float64),
        1e-9,
    )


@e2.property("the order of the inputs does not matter")
def _(fn: Fn, log_likelihood: Tensor, lengthscale: Tensor, noise_var: Tensor, n: int) -> None:
    a, b = (fn(log_likelihood, v, noise_var, n) for v in (lengthscale, lengthscale.flip(0)))
    close(a, b, 1e-9)


@e2.value("SciPy's log-normal densities")
def _(fn: Fn, log_likelihood: Tensor, lengthscale: Tensor, noise_var: Tensor, n: int) -> None:
    from scipy.stats import lognorm

    d = len(lengthscale)
    scale = math.exp(math.sqrt(2) + math.log(d) / 2)
    total = float(log_likelihood) + lognorm.logpdf(lengthscale, math.sqrt(3), scale=scale).sum()
    total += lognorm.logpdf(float(noise_var), 1.0, scale=math.exp(-4))
    expected = torch.tensor(total / n, dtype=torch.float64)
    close(fn(log_likelihood, lengthscale, noise_var, n), expected, 1e-9 * (1 + abs(total)))


def _normal(x: Tensor, m: float, s: float) -> Tensor:
    return -((x.log() - m) ** 2) / (2 * s**2) - math.log(s) - math.log(2 * math.pi) / 2


@e2.wrong("densities of the logarithms: a Jacobian that the libraries leave out")
def _(log_likelihood: Tensor, lengthscale: Tensor, noise_var: Tensor, n: int) -> Tensor:
    m = math.sqrt(2) + math.log(len(lengthscale)) / 2
    prior = _normal(lengthscale, m, math.sqrt(3)).sum() + _normal(noise_var, -4.0, 1.0)
    return (log_likelihood + prior) / n


@e2.wrong("only the likelihood divided by n")
def _(log_likelihood: Tensor, lengthscale: Tensor, noise_var: Tensor, n: int) -> Tensor:
    m = math.sqrt(2) + math.log(len(lengthscale)) / 2
    prior = (_normal(lengthscale, m, math.sqrt(3)) - lengthscale.log()).sum()
    return log_likelihood / n + prior + _normal(noise_var, -4.0, 1.0) - noise_var.log()


@e2.wrong("the mean over the lengthscales, not the sum")
def _(log_likelihood: Tensor, lengthscale: Tensor, noise_var: Tensor, n: int) -> Tensor:
    m = math.sqrt(2) + math.log(len(lengthscale)) / 2
    prior = (_normal(lengthscale, m, math.sqrt(3)) - lengthscale.log()).mean()
    return (log_likelihood + prior + _normal(noise_var, -4.0, 1.0) - noise_var.log()) / n


@e2.wrong("a prior that does not grow with the number of inputs")
def _(log_likelihood: Tensor, lengthscale: Tensor, noise_var: Tensor, n: int) -> Tensor:
    prior = (_normal(lengthscale, math.sqrt(2), math.sqrt(3)) - lengthscale.log()).sum()
    return (log_likelihood + prior + _normal(noise_var, -4.0, 1.0) - noise_var.log()) / n


@e2.wrong("the noise's prior forgotten")
def _(log_likelihood: Tensor, lengthscale: Tensor, noise_var: Tensor, n: int) -> Tensor:
    m = math.sqrt(2) + math.log(len(lengthscale)) / 2
    prior = (_normal(lengthscale, m, math.sqrt(3)) - lengthscale.log()).sum()
    return (log_likelihood + prior) / n


# --- e3: the tail that a library means ----------------------------------------------------------

e3 = Exercise(
    id="p4.t6.e3",
    title="Conditional value at risk, as BoTorch has it",
    hints=(
        "Everything is maximised, so the worst values are the smallest ones. Sort them.",
        "With n = 10 and alpha = 0.8 three values count: the two worst, and that at the quantile.",
        "Sorted from large to small, the tail begins at index ceil(alpha · n) - 1, to the end.",
    ),
)


@e3.answer
def cvar(values: Tensor, alpha: float) -> Tensor:
    """The mean of the worst share 1 - alpha of n values, BoTorch's convention: (..., n) -> (...).

    The worst are the smallest. Sorted from the largest to the smallest, the value at place
    ceil(alpha n), counted from 1, is the alpha-quantile, and it counts as one of the worst.
    0 < alpha <= 1.
    """
    n = values.shape[-1]
    first = math.ceil(alpha * n) - 1
    return values.sort(dim=-1, descending=True).values[..., first:].mean(-1)


@e3.cases
def tails(rng: Rng) -> Iterator[Case]:
    ten = torch.arange(10.0, dtype=torch.float64)
    yield Case(ten, 0.8, note="n = 10")
    yield Case(ten[:1], 0.5, note="one value")
    yield Case(ten, 1.0, note="the worst value alone")
    yield Case(ten, 0.05, note="all values")
    yield Case(torch.zeros(5, dtype=torch.float64), 0.7, note="ties")
    yield Case(ten.flip(0), 0.75, note="alpha n is not whole")
    for scale in (1.0, 1e-6, 1e6):
        for shape in ((4,), (8,), (16,), (3, 8), (2, 3, 4)):
            yield Case(scale * rng.normal(*shape), rng.choice((0.25, 0.5, 0.75, 0.9, 0.3)))


@e3.shape
def _(fn: Fn, values: Tensor, alpha: float) -> None:
    has_shape(fn(values, alpha), tuple(values.shape[:-1]), torch.float64)


@e3.property("the order of the values does not matter")
def _(fn: Fn, values: Tensor, alpha: float) -> None:
    close(fn(values.flip(-1), alpha), fn(values, alpha), 1e-9, relative=True)


@e3.property("it is no larger than the mean, and no smaller than the worst")
def _(fn: Fn, values: Tensor, alpha: float) -> None:
    found, slack = fn(values, alpha), 1e-9 * values.abs().max()
    require(bool((found <= values.mean(-1) + slack).all()), "larger than the mean of all values")
    require(bool((found >= values.amin(-1) - slack).all()), "smaller than the worst value")


@e3.property("a larger share is no worse")
def _(fn: Fn, values: Tensor, alpha: float) -> None:
    slack = 1e-9 * values.abs().max()
    require(bool((fn(values, alpha / 2) >= fn(values, alpha) - slack).all()))


@e3.value("a loop that takes away the best values one by one")
def _(fn: Fn, values: Tensor, alpha: float) -> None:
    rows = values.reshape(-1, values.shape[-1])
    expected = []
    for row in rows.tolist():
        left = sorted(row)
        while len(row) - len(left) + 1 < alpha * len(row):
            left.pop()
        expected.append(sum(left) / len(left))
    close(
        fn(values, alpha),
        torch.tensor(expected, dtype=torch.float64).reshape(values.shape[:-1]),
        1e-9,
        relative=True,
    )


@e3.wrong("alpha as the share of the worst")
def _(values: Tensor, alpha: float) -> Tensor:
    count = max(1, math.floor(alpha * values.shape[-1]))
    return values.sort(dim=-1).values[..., :count].mean(-1)


@e3.wrong("without the value at the quantile")
def _(values: Tensor, alpha: float) -> Tensor:
    n = values.shape[-1]
    first = min(math.ceil(alpha * n), n - 1)
    return values.sort(dim=-1, descending=True).values[..., first:].mean(-1)


@e3.wrong("the best, not the worst")
def _(values: Tensor, alpha: float) -> Tensor:
    first = math.ceil(alpha * values.shape[-1]) - 1
    return values.sort(dim=-1).values[..., first:].mean(-1)


@e3.wrong("the quantile itself: value at risk")
def _(values: Tensor, alpha: float) -> Tensor:
    first = math.ceil(alpha * values.shape[-1]) - 1
    return values.sort(dim=-1, descending=True).values[..., first]


@e3.wrong("rounded down")
def _(values: Tensor, alpha: float) -> Tensor:
    first = max(math.floor(alpha * values.shape[-1]) - 1, 0)
    return values.sort(dim=-1, descending=True).values[..., first:].mean(-1)
