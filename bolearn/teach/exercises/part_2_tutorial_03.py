"""The exercises of part_2/tutorial_03: momentum as a dynamical system."""

import cmath
import math
import numbers
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require

Map = Callable[[Tensor], Tensor]


def _is_number(value: object) -> bool:
    """A float, or what counts as one: an int, a NumPy number, a tensor without axes."""
    if isinstance(value, Tensor):
        return value.ndim == 0 and value.dtype != torch.bool
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def _named(name: str, fn: Map) -> Map:
    fn.__name__ = name
    return fn


def _bowl(*eigenvalues: float) -> Map:
    """The gradient of a bowl along the axes, with its minimum at 0."""
    values = _vector(*eigenvalues)
    listed = ", ".join(f"{value:g}" for value in eigenvalues)
    return _named(f"gradient of a bowl with eigenvalues {listed}", lambda x: values * x)


# --- e1: what a step leaves -------------------------------------------------------------------

e1 = Exercise(
    id="p2.t3.e1",
    title="What a step of the heavy ball leaves",
    pure=True,
    hints=(
        "The multipliers of a mode solve z² - (1 + β - ηλ) z + β = 0. What is their product, and "
        "what does that say of their size if they are a complex pair?",
        "A complex pair has the size √β, both the same. Two real ones: the larger in size is the "
        "half sum and the root of the discriminant, with the sign that makes them add up.",
        "With s = (1 + β - ηλ) / 2 and D = s² - β: |s| + √D where D ≥ 0, √β elsewhere. "
        "`torch.where` picks; clamp what goes under a root. The slowest mode decides.",
    ),
)


@e1.answer
def hb_spectral_radius(lr: float, beta: float, lams: Tensor) -> Tensor:
    """What the heavy ball leaves of the distance per step, in the long run, on a bowl.

    lams has shape `... n`: the n eigenvalues of the bowl, at least 0, behind any axes in front.
    The result has shape `...`: the modulus of the largest of all the modes' multipliers. lr is
    positive; beta lies between -1 and 1, both included.
    """
    half = (1 + beta - lr * lams) / 2
    D = half.square() - beta
    real = half.abs() + D.clamp(min=0).sqrt()
    return torch.where(D >= 0, real, abs(beta) ** 0.5).amax(-1)


@e1.cases
def settings(rng: Rng) -> Iterator[Case]:
    yield Case(0.5, 0.0, _vector(1.0), note="gradient descent")
    yield Case(1.5, 0.0, _vector(1.0), note="gradient descent that rings")
    yield Case(0.5, 0.5, _vector(1.0), note="one mode, which oscillates")
    yield Case(0.01, 0.5, _vector(1.0), note="one mode, which creeps")
    yield Case(2.8, 0.5, _vector(1.0), note="one mode, which alternates")
    yield Case(3.1, 0.5, _vector(1.0), note="diverges")
    yield Case(0.5, 1.0, _vector(1.0), note="no friction")
    yield Case(0.25, 0.25, _vector(1.0), note="both multipliers equal")
    yield Case(0.3, -0.4, _vector(1.0), note="a memory that opposes")
    yield Case(0.3, -1.0, _vector(1.0), note="β = -1")
    yield Case(0.1, 0.9, _vector(0.0, 1.0), note="a flat direction")
    yield Case(0.1, 0.9, _vector(0.0, 0.0), note="nothing but flat directions")
    yield Case(4 / 9, 1 / 9, _vector(1.0, 4.0), note="tuned for its two eigenvalues")
    for scale in (1e-6, 1e6):
        yield Case(0.2 / scale, 0.5, scale * _vector(1.0, 3.0), note=f"bowls of size {scale:g}")
    yield Case(0.02, 0.8, _vector(10.0, 1.0))
    for shape in ((3,), (2, 3), (4, 1), (2, 3, 4)):
        yield Case(0.3, 0.6, rng.uniform_in(0.1, 4.0, *shape), note="some bowls")
    for _ in range(8):
        lr, beta = round(rng.uniform(0.05, 1.5), 2), round(rng.uniform(-0.9, 0.95), 2)
        yield Case(lr, beta, (rng.uniform_in(0.1, 3.0, 2) * 10).round() / 10)


def _moduli(lr: float, beta: float, lams: Tensor) -> Tensor:
    """By the eigenvalues of the matrix of a step."""
    M = torch.zeros(*lams.shape, 2, 2, dtype=lams.dtype)
    M[..., 0, 0], M[..., 0, 1], M[..., 1, 0] = 1 + beta - lr * lams, -beta, 1.0
    moduli: Tensor = torch.linalg.eigvals(M).abs()
    return moduli.amax((-1, -2))


@e1.shape
def _(fn: Fn, lr: float, beta: float, lams: Tensor) -> None:
    has_shape(fn(lr, beta, lams), tuple(lams.shape[:-1]), torch.float64)


@e1.property("two multipliers with the product β: the larger has at least the size √|β|")
def _(fn: Fn, lr: float, beta: float, lams: Tensor) -> None:
    require(fn(lr, beta, lams) >= abs(beta) ** 0.5 - 1e-9, "smaller than √|β|")


@e1.property("without memory it is gradient descent: the largest |1 - lr λ|")
def _(fn: Fn, lr: float, beta: float, lams: Tensor) -> None:
    close(fn(lr, 0.0, lams), (1 - lr * lams).abs().amax(-1), 1e-9)


@e1.property("twice as steep with half the learning rate is the same, and so is any order")
def _(fn: Fn, lr: float, beta: float, lams: Tensor) -> None:
    close(fn(lr / 2, beta, 2 * lams.flip(-1)), fn(lr, beta, lams), 1e-6)


@e1.value("the eigenvalues of the matrix of one step, for every mode")
def _(fn: Fn, lr: float, beta: float, lams: Tensor) -> None:
    close(fn(lr, beta, lams), _moduli(lr, beta, lams), 1e-6, relative=True)


@e1.wrong("always √β, as if every mode swung")
def _(lr: float, beta: float, lams: Tensor) -> Tensor:
    return torch.full(lams.shape[:-1], abs(beta) ** 0.5, dtype=lams.dtype)


@e1.wrong("the root with the plus sign, which is the smaller one where the half sum is negative")
def _(lr: float, beta: float, lams: Tensor) -> Tensor:
    half = (1 + beta - lr * lams) / 2
    D = half**2 - beta
    return torch.where(D >= 0, (half + D.clamp(min=0).sqrt()).abs(), abs(beta) ** 0.5).amax(-1)


@e1.wrong("NaN under the root where the multipliers are complex")
def _(lr: float, beta: float, lams: Tensor) -> Tensor:
    half = (1 + beta - lr * lams) / 2
    return (half.abs() + (half**2 - beta).sqrt()).amax(-1)


@e1.wrong("the real part of a complex pair instead of its size")
def _(lr: float, beta: float, lams: Tensor) -> Tensor:
    half = (1 + beta - lr * lams) / 2
    return (half.abs() + (half**2 - beta).clamp(min=0).sqrt()).amax(-1)


@e1.wrong("the fastest mode instead of the slowest")
def _(lr: float, beta: float, lams: Tensor) -> Tensor:
    half = (1 + beta - lr * lams) / 2
    D = half**2 - beta
    real = half.abs() + D.clamp(min=0).sqrt()
    return torch.where(D >= 0, real, abs(beta) ** 0.5).amin(-1)


@e1.wrong("the averaged form, v ← β v + (1 - β) g: another learning rate")
def _(lr: float, beta: float, lams: Tensor) -> Tensor:
    half = (1 + beta - (1 - beta) * lr * lams) / 2
    D = half**2 - beta
    real = half.abs() + D.clamp(min=0).sqrt()
    return torch.where(D >= 0, real, abs(beta) ** 0.5).amax(-1)


@e1.wrong("one answer for the whole stack of bowls")
def _(lr: float, beta: float, lams: Tensor) -> Tensor:
    half = (1 + beta - lr * lams) / 2
    D = half**2 - beta
    real = half.abs() + D.clamp(min=0).sqrt()
    return torch.where(D >= 0, real, abs(beta) ** 0.5).amax()


# --- e2: the tuned heavy ball -----------------------------------------------------------------

e2 = Exercise(
    id="p2.t3.e2",
    title="The best heavy ball for a bowl",
    hints=(
        "With a given β, no mode can do better than √β. When do all modes reach that at once?",
        "All must oscillate, or nearly: (1 - √β)² ≤ ηλ ≤ (1 + √β)². The smallest β with which the "
        "flattest and the steepest both just fit makes both of these equalities.",
        "Take roots: √η √μ = 1 - √β and √η √L = 1 + √β. Add the two equations for η; divide one by "
        "the other for √β.",
    ),
)


@e2.answer
def tune_heavy_ball(L: float, mu: float) -> tuple[float, float]:
    """The (lr, beta) with which the heavy ball comes to rest fastest on a bowl.

    All that is known of the bowl is that its eigenvalues lie between mu and L, 0 < mu ≤ L, and
    that both of these occur. Fastest: what a step leaves in the long run, in the slowest mode, is
    as small as it can be; 2 % more steps than necessary are allowed. Return two numbers.
    """
    a, b = L**0.5, mu**0.5
    return 4 / (a + b) ** 2, ((a - b) / (a + b)) ** 2


@e2.cases
def curvatures(rng: Rng) -> Iterator[Case]:
    yield Case(1.0, 1.0, note="a round bowl")
    yield Case(1.0 + 1e-6, 1.0, note="an almost round bowl")
    for L, mu in ((2.0, 1.0), (4.0, 1.0), (10.0, 1.0), (9.0, 4.0), (25.0, 1.0), (100.0, 1.0)):
        yield Case(L, mu)
    for L, mu in ((1.0, 0.01), (0.5, 0.1), (1000.0, 1.0), (1e4, 1.0), (1e3, 1e-3)):
        yield Case(L, mu)
    for scale in (1e-6, 1e6):
        yield Case(scale, scale, note=f"round, of size {scale:g}")
        yield Case(4 * scale, scale, note=f"of size {scale:g}")
        yield Case(50 * scale, scale, note=f"of size {scale:g}")
    for _ in range(8):
        mu = round(rng.uniform(0.1, 3.0), 1)
        yield Case(round(mu * rng.uniform(1.5, 80.0), 1), mu)


def _pair(answer: Any) -> tuple[float, float]:
    lr, beta = answer
    return float(lr), float(beta)


def _left(L: float, mu: float, lr: float, beta: float) -> float:
    """What a step leaves, over a bowl with many eigenvalues."""
    return float(_moduli(lr, beta, torch.linspace(mu, L, 60, dtype=torch.float64)).max())


@e2.shape
def _(fn: Fn, L: float, mu: float) -> None:
    answer = fn(L, mu)
    pair = isinstance(answer, (tuple, list)) and len(answer) == 2
    require(pair, "expected a pair (lr, beta)")
    require(all(_is_number(entry) for entry in answer), "expected two numbers")


@e2.property("the ball comes to rest in every mode between the flattest and the steepest")
def _(fn: Fn, L: float, mu: float) -> None:
    lr, beta = _pair(fn(L, mu))
    require(_left(L, mu, lr, beta) < 1, "some mode does not come to rest")


@e2.property("a bowl three times as steep: the same β, a third of the learning rate")
def _(fn: Fn, L: float, mu: float) -> None:
    (lr, beta), (lr3, beta3) = _pair(fn(L, mu)), _pair(fn(3 * L, 3 * mu))
    close(3 * lr3 / lr, 1.0, 2e-2)
    close(beta3, beta, 2e-2)


@e2.property("none of two hundred settings nearby is faster by more than 2 %")
def _(fn: Fn, L: float, mu: float) -> None:
    lr, beta = _pair(fn(L, mu))
    own = -math.log(max(_left(L, mu, lr, beta), 1e-6))
    g = torch.Generator().manual_seed(0)
    ends = _vector(mu, L)
    for size in (0.3, 0.03):
        nudges = (size * torch.randn(100, 2, generator=g, dtype=torch.float64)).tolist()
        for a, b in nudges:
            other_lr, other_beta = lr * math.exp(a), 1 - (1 - beta) * math.exp(b)
            other = float(_moduli(other_lr, other_beta, ends).max())
            require(-math.log(max(other, 1e-6)) <= 1.02 * own, "another setting is faster")


@e2.value("running it: the distance left after many steps, against the best rate there is")
def _(fn: Fn, L: float, mu: float) -> None:
    lr, beta = _pair(fn(L, mu))
    best = (math.sqrt(L / mu) - 1) / (math.sqrt(L / mu) + 1)
    steps = 400 if best < 0.5 else round(400 / -math.log(best))
    M = torch.tensor(
        [[[1 + beta - lr * lam, -beta], [1.0, 0.0]] for lam in (mu, L)], dtype=torch.float64
    )
    size = torch.linalg.matrix_power(M, steps).abs().amax()
    require(size <= 1e4 * steps * max(best, 0.05) ** (0.98 * steps), "slower than it could be")


@e2.wrong("gradient descent's best: no memory")
def _(L: float, mu: float) -> tuple[float, float]:
    return 2 / (L + mu), 0.0


@e2.wrong("√β where β belongs")
def _(L: float, mu: float) -> tuple[float, float]:
    a, b = L**0.5, mu**0.5
    return 4 / (a + b) ** 2, (a - b) / (a + b)


@e2.wrong("κ where √κ belongs")
def _(L: float, mu: float) -> tuple[float, float]:
    return 4 / (L**0.5 + mu**0.5) ** 2, ((L - mu) / (L + mu)) ** 2


@e2.wrong("the learning rate of gradient descent with the momentum of the tuned ball")
def _(L: float, mu: float) -> tuple[float, float]:
    a, b = L**0.5, mu**0.5
    return 2 / (L + mu), ((a - b) / (a + b)) ** 2


@e2.wrong("β = 0.9, as everybody takes it")
def _(L: float, mu: float) -> tuple[float, float]:
    return 1 / L, 0.9


@e2.wrong("tuned for a mode in the middle")
def _(L: float, mu: float) -> tuple[float, float]:
    middle = (L + mu) / 2
    return 1 / L, (1 - (middle / L) ** 0.5) ** 2


@e2.wrong("Nesterov's setting, which is for another method")
def _(L: float, mu: float) -> tuple[float, float]:
    a, b = L**0.5, mu**0.5
    return 1 / L, (a - b) / (a + b)


@e2.wrong("the critical damping of the flattest mode, at η = 1/L")
def _(L: float, mu: float) -> tuple[float, float]:
    return 1 / L, (1 - (mu / L) ** 0.5) ** 2


@e2.wrong("the pair in the other order")
def _(L: float, mu: float) -> tuple[float, float]:
    lr, beta = tune_heavy_ball(L, mu)
    return beta, lr


@e2.wrong("the stability limit of the steepest mode with the right β")
def _(L: float, mu: float) -> tuple[float, float]:
    _, beta = tune_heavy_ball(L, mu)
    return 2 * (1 + beta) / L, beta


@e2.wrong("η = 1/√(L μ), where the two ends are in balance without memory")
def _(L: float, mu: float) -> tuple[float, float]:
    return (L * mu) ** -0.5, tune_heavy_ball(L, mu)[1]


@e2.wrong("the averaged form's learning rate")
def _(L: float, mu: float) -> tuple[float, float]:
    lr, beta = tune_heavy_ball(L, mu)
    return lr / (1 - beta), beta


# --- e3: look before you leap -----------------------------------------------------------------

e3 = Exercise(
    id="p2.t3.e3",
    title="Look before you leap",
    pure=True,
    hints=(
        "Two sequences: the points x that the method has reached, and the points y a bit further "
        "on, where it takes the gradient.",
        "In every round: take the gradient at y; step from y, against it, to the new x; carry on "
        "from there by beta times the way from the old x to the new one, to the next y.",
        "Before the first round x and y are both x0. Collect each y before its gradient is taken, "
        "and the last one after the last round: steps + 1 in all.",
    ),
)


@e3.answer
def nesterov(
    grad: Callable[[Tensor], Tensor], x0: Tensor, lr: float, beta: float, steps: int
) -> Tensor:
    """The points at which Nesterov's method takes gradients: y_0 = x0, y_1, ..., y_steps.

    x_{t+1} = y_t - lr grad(y_t), then y_{t+1} = x_{t+1} + beta (x_{t+1} - x_t), and x_0 = y_0.
    grad maps a tensor to one of the same shape. The result has shape `steps+1` followed by the
    shape of x0. Call grad exactly `steps` times.
    """
    x, y = x0, x0
    ys = [y]
    for _ in range(steps):
        new = y - lr * grad(y)
        y = new + beta * (new - x)
        x = new
        ys.append(y)
    return torch.stack(ys)


def _quartic() -> Map:
    return _named("gradient of ¼ x⁴ - ½ x²", lambda x: x**3 - x)


def _wave() -> Map:
    return _named("gradient of ½ x² - cos x", lambda x: x + x.sin())


@e3.cases
def leaps(rng: Rng) -> Iterator[Case]:
    yield Case(_bowl(1.0), _vector(1.0), 0.5, 0.5, 0, note="no steps")
    yield Case(_bowl(1.0), _vector(1.0), 0.5, 0.5, 1, note="one step")
    yield Case(_bowl(1.0), _vector(1.0), 0.5, 0.5, 2, note="two steps")
    yield Case(_bowl(1.0), _vector(1.0), 0.5, 0.0, 5, note="no memory")
    yield Case(_bowl(1.0), _vector(1.0), 1.0, 0.5, 4, note="x arrives at once")
    yield Case(_bowl(1.0), _vector(0.0), 0.5, 0.9, 4, note="starts at the minimum")
    yield Case(_bowl(10.0, 1.0), _vector(2.0, 2.0), 0.1, 0.5, 8)
    yield Case(_bowl(10.0, 1.0), _vector(2.0, -1.0), 0.1, 0.9, 20)
    yield Case(_bowl(2.0, -1.0), _vector(1.0, 1.0), 0.2, 0.5, 6, note="a saddle")
    yield Case(_bowl(3.0), _vector(1.0), 1.0, 0.5, 6, note="diverges")
    for scale in (1e-6, 1e6):
        yield Case(_bowl(4.0, 1.0), scale * _vector(1.0, 2.0), 0.2, 0.6, 5, note=f"{scale:g}")
        yield Case(_bowl(4.0 * scale, scale), _vector(1.0, 2.0), 0.2 / scale, 0.6, 5)
    yield Case(_quartic(), _vector(2.0), 0.1, 0.8, 10)
    yield Case(_quartic(), _vector(-0.5, 1.5, 0.1), 0.1, 0.8, 10, note="three descents")
    yield Case(_wave(), _vector(3.0), 0.4, 0.7, 12)
    for shape in ((2, 3), (3, 2), (2, 2, 2)):
        yield Case(_wave(), rng.uniform_in(-2.0, 2.0, *shape), 0.3, 0.6, 4, note="a table")
    for steps in (3, 5, 7, 11):
        x0 = (rng.uniform_in(-2.0, 2.0, 2) * 10).round() / 10
        yield Case(_bowl(3.0, 0.5), x0, 0.3, round(rng.uniform(0.1, 0.9), 1), steps)


@e3.shape
def _(fn: Fn, grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> None:
    has_shape(fn(grad, x0, lr, beta, steps), (steps + 1, *x0.shape), torch.float64)


@e3.property("it begins at x0, and takes `steps` gradients, at the points it returns")
def _(fn: Fn, grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> None:
    asked = []

    def watched(x: Tensor) -> Tensor:
        asked.append(x.detach().clone())
        return grad(x)

    ys = fn(_named(grad.__name__, watched), x0, lr, beta, steps)
    close(ys[0], x0, 0)
    require(len(asked) == steps, f"asked {len(asked)} times in {steps} steps")
    for y, place in zip(ys, asked, strict=False):
        close(place, y, 1e-12, relative=True)


@e3.property("without memory it is gradient descent")
def _(fn: Fn, grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> None:
    x, path = x0, [x0]
    for _ in range(steps):
        x = x - lr * grad(x)
        path.append(x)
    close(fn(grad, x0, lr, 0.0, steps), torch.stack(path), 1e-9, relative=True)


@e3.property("on a bowl every mode obeys z² - (1 + β)(1 - ηλ) z + β (1 - ηλ) = 0")
def _(fn: Fn, grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> None:
    if not grad.__name__.startswith("gradient of a bowl"):
        return
    ys, left = fn(grad, x0, lr, beta, steps), 1 - lr * grad(torch.ones_like(x0))
    size = float(ys.abs().max()) + 1e-300
    rest = ys[2:] - (1 + beta) * left * ys[1:-1] + beta * left * ys[:-2]
    close(rest / size, torch.zeros_like(rest), 1e-9)


@e3.value("torch.optim.SGD with nesterov=True")
def _(fn: Fn, grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> None:
    leaf = x0.clone().requires_grad_()
    optimizer = torch.optim.SGD([leaf], lr=lr, momentum=beta, nesterov=beta > 0)
    path = [x0]
    for _ in range(steps):
        leaf.grad = grad(leaf.detach())
        optimizer.step()
        path.append(leaf.detach().clone())
    close(fn(grad, x0, lr, beta, steps), torch.stack(path), 1e-9, relative=True)


def _ball(
    grad: Map, x0: Tensor, lr: float, beta: float, steps: int, *, ahead: bool, fade: float = 1.0
) -> Tensor:
    x, v, path = x0, torch.zeros_like(x0), [x0]
    for _ in range(steps):
        place = x - lr * beta * v if ahead else x
        v = beta * v + fade * grad(place)
        x = x - lr * v
        path.append(x)
    return torch.stack(path)


@e3.wrong("the heavy ball: takes the gradient where it stands")
def _(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    return _ball(grad, x0, lr, beta, steps, ahead=False)


@e3.wrong("returns the points x that are reached, not those where gradients are taken")
def _(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    return _ball(grad, x0, lr, beta, steps, ahead=True)


@e3.wrong("looks back instead of ahead")
def _(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    x, y, ys = x0, x0, [x0]
    for _ in range(steps):
        new = y - lr * grad(y)
        x, y = new, new - beta * (new - x)
        ys.append(y)
    return torch.stack(ys)


@e3.wrong("forgets to carry the old x on: always compares with x0")
def _(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    y, ys = x0, [x0]
    for _ in range(steps):
        new = y - lr * grad(y)
        y = new + beta * (new - x0)
        ys.append(y)
    return torch.stack(ys)


@e3.wrong("carries on by the way between two y, not between two x")
def _(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    y, before, ys = x0, x0, [x0]
    for _ in range(steps):
        new = y - lr * grad(y)
        before, y = y, new + beta * (y - before)
        ys.append(y)
    return torch.stack(ys)


@e3.wrong("leaves the last point out")
def _(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    return _ball(grad, x0, lr, beta, max(steps - 1, 0), ahead=True)


@e3.wrong("one gradient more than necessary, at the last point")
def _(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    ys = nesterov(grad, x0, lr, beta, steps)
    grad(ys[-1])
    return ys


@e3.wrong("β for the step, too: x ← y - lr β grad")
def _(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    return nesterov(grad, x0, lr * beta, beta, steps)


@e3.wrong("the averaging form: gradients times 1 - β")
def _(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    return nesterov(grad, x0, lr * (1 - beta), beta, steps)


@e3.wrong("β² for β: carries on twice")
def _(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    return nesterov(grad, x0, lr, beta**2, steps)


@e3.wrong("a growing memory k / (k + 3), whatever β is")
def _(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    x, y, ys = x0, x0, [x0]
    for k in range(steps):
        new = y - lr * grad(y)
        x, y = new, new + k / (k + 3) * (new - x)
        ys.append(y)
    return torch.stack(ys)


# --- e4: a memory that knows when to let go ---------------------------------------------------

e4 = Exercise(
    id="p2.t3.e4",
    title="A memory that knows when to let go",
    pure=True,
    copies=False,
    hints=(
        "Without μ the right β is unknown. Let the memory grow step by step, and watch for the "
        "moment when it does harm. What tells you that the last step went uphill?",
        "It went uphill if the gradient points along it: g · (x_{t+1} - x_t) > 0. Then forget: "
        "start again from where you are, as if at rest.",
        "Nesterov's method with lr = 1/L and β = k / (k + 3), k counting the steps since the last "
        "start. After each step to the new x, if the gradient at y and the step have a positive "
        "product, set k to 0, so that the next y is x itself.",
    ),
)


@e4.answer
def momentum_with_restart(
    grad: Callable[[Tensor], Tensor], x0: Tensor, L: float, steps: int
) -> Tensor:
    """Near the minimum of a strongly convex function of which only L is known.

    grad gives the gradient at one point of shape `d`; L bounds the curvature; how flat the
    function can be is not known. Return the point reached after at most `steps` gradients. If
    steps is 40 √κ + 60 or more, where κ is L over the smallest curvature, it must be a million
    times closer to the minimum than x0, on the function of section 9 as well.
    """
    x, y, k = x0, x0, 0
    for _ in range(steps):
        g = grad(y)
        new = y - g / L
        k = 0 if float((g * (new - x)).sum()) > 0 else k + 1
        y = new + k / (k + 3) * (new - x)
        x = new
    return x


def _kinked(L: float, center: float) -> Map:
    """Slope L, but 1 on an interval: for L = 25 and center 0, the function of section 9."""

    def gradient(x: Tensor) -> Tensor:
        u = x - center
        steep = torch.where(u < 1, L * u, L * u - (L - 1))
        return torch.where((u >= 1) & (u < 2), u + (L - 1), steep)

    gradient.__dict__["minimum"] = center
    return _named(f"slope {L:g}, but 1 from {center + 1:g} to {center + 2:g}", gradient)


def _round_steps(kappa: float | int) -> int:
    return round(40 * math.sqrt(kappa)) + 60


@e4.cases
def functions(rng: Rng) -> Iterator[Case]:
    for start in (3.3, 2.5, 5.4, -4.2, -3.0, 1.0, 100.0):
        yield Case(_kinked(25.0, 0.0), _vector(start), 25.0, _round_steps(25), note="section 9")
    for center in (-2.0, 5.0):
        yield Case(_kinked(25.0, center), _vector(center + 3.3), 25.0, _round_steps(25))
        yield Case(_kinked(100.0, center), _vector(center + 2.4), 100.0, _round_steps(100))
    yield Case(_bowl(1.0), _vector(2.0), 1.0, _round_steps(1), note="a round bowl")
    yield Case(_bowl(1.0), _vector(2.0), 4.0, _round_steps(4), note="L too large by 4")
    yield Case(_bowl(10.0, 1.0), _vector(2.0, 2.0), 10.0, _round_steps(10))
    yield Case(_bowl(1.0, 0.1), _vector(-1.0, 3.0), 1.0, _round_steps(10))
    yield Case(_bowl(100.0, 1.0), _vector(1.0, 1.0), 100.0, _round_steps(100))
    yield Case(_bowl(100.0, 10.0, 1.0), _vector(1.0, -1.0, 1.0), 100.0, _round_steps(100))
    yield Case(_bowl(2500.0, 50.0, 1.0), _vector(1.0, 1.0, 1.0), 2500.0, _round_steps(2500))
    for scale in (1e-6, 1e6):
        yield Case(_bowl(10 * scale, scale), _vector(1.0, 2.0), 10 * scale, _round_steps(10))
        yield Case(_bowl(10.0, 1.0), scale * _vector(1.0, 2.0), 10.0, _round_steps(10))
    for _ in range(3):
        values = sorted((round(rng.uniform(1.0, 60.0), 1) for _ in range(4)), reverse=True)
        kappa = values[0] / values[-1]
        yield Case(_bowl(*values), rng.uniform_in(-2.0, 2.0, 4), values[0], _round_steps(kappa))


@e4.shape
def _(fn: Fn, grad: Map, x0: Tensor, L: float, steps: int) -> None:
    has_shape(fn(grad, x0, L, 3), tuple(x0.shape), torch.float64)


def _counted(fn: Fn, grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    """The answer, with an eye on how many gradients it takes, each at one point."""
    asked = 0

    def watched(x: Tensor) -> Tensor:
        nonlocal asked
        asked += 1
        require(asked <= steps, f"more than {steps} gradients")
        require(x.shape == x0.shape, "a gradient at several points at once")
        return grad(x)

    end: Tensor = fn(_named(grad.__name__, watched), x0, L, steps)
    return end


@e4.property("it takes at most `steps` gradients, be they few or many")
def _(fn: Fn, grad: Map, x0: Tensor, L: float, steps: int) -> None:
    for few in (0, 1, 7):
        _counted(fn, grad, x0, L, few)


@e4.value("the minimum, to a millionth of the first distance")
def _(fn: Fn, grad: Map, x0: Tensor, L: float, steps: int) -> None:
    minimum = float(vars(grad).get("minimum", 0.0))
    left = (_counted(fn, grad, x0, L, steps) - minimum).norm() / (x0 - minimum).norm()
    require(left <= 1e-6, f"after {steps} steps {float(left):.1e} of the distance are left")


def _fixed(grad: Map, x0: Tensor, lr: float, beta: float, steps: int) -> Tensor:
    x, y = x0, x0
    for _ in range(steps):
        new = y - lr * grad(y)
        x, y = new, new + beta * (new - x)
    return x


@e4.wrong("gradient descent: no memory, too slow")
def _(grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    return _fixed(grad, x0, 1 / L, 0.0, steps)


@e4.wrong("β = 0.9, as everybody takes it, without a restart")
def _(grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    return _fixed(grad, x0, 1 / L, 0.9, steps)


@e4.wrong("a growing memory that never lets go")
def _(grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    x, y = x0, x0
    for k in range(steps):
        new = y - grad(y) / L
        x, y = new, new + k / (k + 3) * (new - x)
    return x


@e4.wrong("lets go when the step went downhill: the sign")
def _(grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    x, y, k = x0, x0, 0
    for _ in range(steps):
        g: Any = grad(y)
        new = y - g / L
        k = 0 if float((g * (new - x)).sum()) < 0 else k + 1
        x, y = new, new + k / (k + 3) * (new - x)
    return x


@e4.wrong("the heavy ball tuned for κ = 25: in section 9 it cycles")
def _(grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    x, v = x0, torch.zeros_like(x0)
    for _ in range(steps):
        v = 4 / 9 * v + grad(x)
        x = x - 25 / (9 * L) * v
    return x


@e4.wrong("starts again every ten steps, whatever happens")
def _(grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    x, y = x0, x0
    for t in range(steps):
        k = t % 10
        new = y - grad(y) / L
        x, y = new, new + k / (k + 3) * (new - x)
    return x


@e4.wrong("as many gradients as it likes")
def _(grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    return momentum_with_restart(grad, x0, L, steps if steps < 10 else 3 * steps)


@e4.wrong("a second gradient, at the new x, to decide on the restart")
def _(grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    x, y, k = x0, x0, 0
    for _ in range(steps):
        new = y - grad(y) / L
        k = 0 if float((grad(new) * (new - x)).sum()) > 0 else k + 1
        x, y = new, new + k / (k + 3) * (new - x)
    return x


@e4.wrong("forgets L: steps of the length of the gradient")
def _(grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    return momentum_with_restart(grad, x0, 1.0, steps)


@e4.wrong("half the steps")
def _(grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    return momentum_with_restart(grad, x0, L, steps // 4)


@e4.wrong("restarts by going back to the start")
def _(grad: Map, x0: Tensor, L: float, steps: int) -> Tensor:
    x, y, k = x0, x0, 0
    for _ in range(steps):
        g: Any = grad(y)
        new = y - g / L
        if float((g * (new - x)).sum()) > 0:
            x, y, k = x0, x0, 0
        else:
            k += 1
            x, y = new, new + k / (k + 3) * (new - x)
    return x


# --- e5: an oscillation to measure ------------------------------------------------------------

e5 = Exercise(
    id="p2.t3.e5",
    title="An oscillation made to measure",
    hints=(
        "An oscillation of a given length is a complex pair of multipliers. Where in the plane "
        "does the pair lie: what are its size and its angle?",
        "The pair is rate · exp(±i 2π/period). The polynomial z² - (1 + β - ηλ) z + β has the sum "
        "and the product of its roots as coefficients.",
        "The product gives β, the sum 2 · rate · cos(2π/period) gives 1 + β - lr λ; solve for lr.",
    ),
)


@e5.answer
def ringing(lam: float, period: float, rate: float) -> tuple[float, float]:
    """The (lr, beta) that make the heavy ball oscillate to measure on the bowl ½ lam x².

    One full oscillation, back and forth, takes `period` steps, more than 2 and not necessarily a
    whole number; and each step leaves the fraction `rate`, between 0 and 1, of its width.
    """
    beta = rate**2
    return (1 + beta - 2 * rate * math.cos(2 * math.pi / period)) / lam, beta


@e5.cases
def oscillations(rng: Rng) -> Iterator[Case]:
    yield Case(1.0, 4.0, 0.5, note="a quarter turn for each step")
    yield Case(1.0, 3.0, 0.9)
    yield Case(1.0, 2.5, 0.9, note="hardly more than two steps")
    yield Case(1.0, 2.05, 0.8, note="hardly more than two steps")
    yield Case(1.0, 100.0, 0.99, note="slow and long")
    yield Case(1.0, 1000.0, 0.5, note="stops long before an oscillation is over")
    yield Case(1.0, 8.0, 0.01, note="stops almost at once")
    yield Case(1.0, 8.0, 0.9999, note="almost no friction")
    for lam in (1e-6, 1e6):
        yield Case(lam, 6.0, 0.9, note=f"a bowl of size {lam:g}")
        yield Case(lam, 20.0, 0.95, note=f"a bowl of size {lam:g}")
    for lam, period, rate in ((2.0, 6.0, 0.8), (10.0, 12.0, 0.9), (0.1, 5.0, 0.7)):
        yield Case(lam, period, rate)
    for _ in range(9):
        lam, period = round(rng.uniform(0.2, 9.0), 1), round(rng.uniform(2.2, 30.0), 1)
        yield Case(lam, period, round(rng.uniform(0.3, 0.98), 2))


@e5.shape
def _(fn: Fn, lam: float, period: float, rate: float) -> None:
    answer = fn(lam, period, rate)
    pair = isinstance(answer, (tuple, list)) and len(answer) == 2
    require(pair, "expected a pair (lr, beta)")
    require(all(_is_number(entry) for entry in answer), "expected two numbers")


@e5.property("it oscillates, and comes to rest: a complex pair inside the unit circle")
def _(fn: Fn, lam: float, period: float, rate: float) -> None:
    lr, beta = _pair(fn(lam, period, rate))
    half = (1 + beta - lr * lam) / 2
    require(half**2 < beta < 1, "the multipliers are real, or not inside the unit circle")


@e5.property("a bowl three times as steep needs a third of the learning rate, and the same β")
def _(fn: Fn, lam: float, period: float, rate: float) -> None:
    (lr, beta), (lr3, beta3) = _pair(fn(lam, period, rate)), _pair(fn(3 * lam, period, rate))
    close(3 * lr3 / lr, 1.0, 1e-9)
    close(beta3, beta, 1e-9)


@e5.value("the path itself, over ten steps")
def _(fn: Fn, lam: float, period: float, rate: float) -> None:
    lr, beta = _pair(fn(lam, period, rate))
    path, v = [1.0], 0.0
    for _ in range(10):
        v = beta * v + lam * path[-1]
        path.append(path[-1] - lr * v)
    z = rate * cmath.exp(2j * math.pi / period)  # the path is a · zᵗ, its real part
    a = complex(1.0, (path[1] - z.real) / -z.imag)
    close(_vector(*path), _vector(*((a * z**t).real for t in range(11))), 1e-6 * abs(a))


@e5.wrong("β = rate, forgetting that the pair's product is its size squared")
def _(lam: float, period: float, rate: float) -> tuple[float, float]:
    return (1 + rate - 2 * rate**0.5 * math.cos(2 * math.pi / period)) / lam, rate


@e5.wrong("half the angle: takes an oscillation for the way to the other side")
def _(lam: float, period: float, rate: float) -> tuple[float, float]:
    beta = rate**2
    return (1 + beta - 2 * rate * math.cos(math.pi / period)) / lam, beta


@e5.wrong("forgets the size of the pair in its sum")
def _(lam: float, period: float, rate: float) -> tuple[float, float]:
    beta = rate**2
    return (1 + beta - 2 * math.cos(2 * math.pi / period)) / lam, beta


@e5.wrong("the formula of the frictionless ball, ηλ = 2 - 2 cos")
def _(lam: float, period: float, rate: float) -> tuple[float, float]:
    return (2 - 2 * math.cos(2 * math.pi / period)) / lam, rate**2


@e5.wrong("an angle in degrees")
def _(lam: float, period: float, rate: float) -> tuple[float, float]:
    beta = rate**2
    return (1 + beta - 2 * rate * math.cos(360 / period)) / lam, beta


@e5.wrong("forgets the curvature")
def _(lam: float, period: float, rate: float) -> tuple[float, float]:
    beta = rate**2
    return 1 + beta - 2 * rate * math.cos(2 * math.pi / period), beta


@e5.wrong("the pair in the other order")
def _(lam: float, period: float, rate: float) -> tuple[float, float]:
    lr, beta = ringing(lam, period, rate)
    return beta, lr


@e5.wrong("sine for cosine")
def _(lam: float, period: float, rate: float) -> tuple[float, float]:
    beta = rate**2
    return (1 + beta - 2 * rate * math.sin(2 * math.pi / period)) / lam, beta


@e5.wrong("π/period in the size, too: the rate of half an oscillation")
def _(lam: float, period: float, rate: float) -> tuple[float, float]:
    return ringing(lam, period, rate**0.5)


@e5.wrong("the friction, 1 - β, in place of β")
def _(lam: float, period: float, rate: float) -> tuple[float, float]:
    lr, beta = ringing(lam, period, rate)
    return lr, 1 - beta


@e5.wrong("the frequency of the ball's equation: ηλ = (2π/period)²")
def _(lam: float, period: float, rate: float) -> tuple[float, float]:
    return (2 * math.pi / period) ** 2 / lam, rate**2
