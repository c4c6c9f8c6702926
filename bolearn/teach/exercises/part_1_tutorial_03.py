"""The exercises of part_1/tutorial_03: a minimal learning problem."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require


def _table(rng: Rng, n: int, d: int) -> Tensor:
    """n points with d coordinates in [-2, 2], with one decimal."""
    return (rng.uniform_in(-2.0, 2.0, n, d) * 10).round() / 10


def _augmented(X: Tensor) -> Tensor:
    """X with a column of ones, n d+1."""
    return torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], dim=-1)


# --- e1: the gradient of the cross-entropy ----------------------------------------------------

e1 = Exercise(
    id="p1.t3.e1",
    title="The gradient of the cross-entropy",
    pure=True,
    hints=(
        "Start with one point. How does its loss softplus(z) - y z change with its score z?",
        "The derivative of softplus is the probability that belongs to the score, so a point "
        "contributes a probability minus a label. The chain rule then brings in what multiplies "
        "each parameter in the score: a column of X for a weight, 1 for b.",
        "With r = probability - label, the gradients are the mean over the points of r times "
        "the row of X, and the mean of r. Which torch function gives a probability at a score of "
        "800 without computing exp(800)?",
    ),
)


@e1.answer
def bce_grad(X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the mean cross-entropy in w and in b, without NaN at any score.

    X has shape `n d`, the labels y (0.0 or 1.0) shape `n`, w shape `d`; b is a single number. The
    score of a point is its row of X times w, plus b. Return (gw, gb), of the shapes of w and b.
    By hand or by autograd, as you like; scores of 800 and of -800 occur.
    """
    r = torch.sigmoid(X @ w + b) - y  # n: probability minus label
    return X.mT @ r / len(y), r.mean()


@e1.cases
def labelled_points(rng: Rng) -> Iterator[Case]:
    one = torch.tensor(1.0, dtype=torch.float64)
    yield Case(one.reshape(1, 1), one.reshape(1), 0 * one.reshape(1), 0 * one, note="one point")
    X, y = _table(rng, 3, 2), torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    yield Case(X, y, torch.zeros(2).double(), 0 * one, note="all parameters zero")
    yield Case(X, torch.ones(3).double(), rng.normal(2), one, note="only ones as labels")
    signs = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    labels = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    for size in (40.0, 800.0, 1e6):
        note = f"scores of {size:g} and -{size:g}"
        yield Case(signs, labels, size * one.reshape(1), 0 * one, note=note)
        yield Case(0 * signs, labels, one.reshape(1), size * one, note=f"b = {size:g}")
    for scale in (1e-6, 1e6):
        yield Case(scale * X, y, rng.normal(2) / scale, one, note=f"X of size {scale:g}")
    mixed = torch.tensor([1e-6, 1e6], dtype=torch.float64)
    yield Case(X * mixed, y, rng.normal(2) / mixed, one, note="columns of different size")
    for _ in range(16):
        n, d = rng.randint(1, 5), rng.randint(1, 4)
        y = torch.tensor([float(rng.random() < 0.5) for _ in range(n)], dtype=torch.float64)
        b = torch.tensor(round(rng.uniform(-2, 2), 1), dtype=torch.float64)
        yield Case(_table(rng, n, d), y, (rng.normal(d) * 10).round() / 10, b)


@e1.shape
def _(fn: Fn, X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> None:
    result = fn(X, y, w, b)
    require(isinstance(result, (tuple, list)) and len(result) == 2, "expected (gw, gb)")
    has_shape(result[0], w.shape, torch.float64)
    has_shape(torch.as_tensor(result[1], dtype=torch.float64), ())


def _joined(gradient: tuple[Tensor, Tensor], X: Tensor) -> Tensor:
    """Both parts in one row, in units in which an entry of each column of X is at most 1."""
    size = X.abs().amax(0).clamp(min=1e-300)
    return torch.cat([gradient[0] / size, torch.as_tensor(gradient[1]).double().reshape(1)])


@e1.property("no entry is NaN or infinite")
def _(fn: Fn, X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> None:
    require(torch.isfinite(_joined(fn(X, y, w, b), X)), "an entry is NaN or infinite")


@e1.property("the same points twice have the same mean loss, hence the same gradient")
def _(fn: Fn, X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> None:
    doubled = fn(torch.cat([X, X]), torch.cat([y, y]), w, b)
    close(_joined(doubled, X), _joined(fn(X, y, w, b), X), 1e-12)


@e1.property("swapping the labels and the signs of w and b turns the gradient round")
def _(fn: Fn, X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> None:
    close(_joined(fn(X, 1 - y, -w, -b), X), -_joined(fn(X, y, w, b), X), 1e-12)


@e1.value("Python's arithmetic, one point at a time")
def _(fn: Fn, X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> None:
    rows, labels, weights = X.tolist(), y.tolist(), w.tolist()
    sums = [0.0] * (len(weights) + 1)
    for row, label in zip(rows, labels, strict=True):
        z = math.fsum(x * v for x, v in zip(row, weights, strict=True)) + b.item()
        small = math.exp(-abs(z))
        probability = (1.0 if z > 0 else small) / (1.0 + small)
        for j, entry in enumerate([*row, 1.0]):
            sums[j] += (probability - label) * entry / len(rows)
    expected = torch.tensor(sums, dtype=torch.float64)
    close(_joined(fn(X, y, w, b), X), _joined((expected[:-1], expected[-1]), X), 1e-9)


@e1.wrong("writes the probability as exp(z) / (1 + exp(z)), which is inf / inf at z = 800")
def _(X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    odds = torch.exp(X @ w + b)
    r = odds / (1 + odds) - y
    return X.mT @ r / len(y), r.mean()


@e1.wrong("sums over the points instead of averaging")
def _(X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    r = torch.sigmoid(X @ w + b) - y
    return X.mT @ r, r.sum()


@e1.wrong("forgets b in the score")
def _(X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    r = torch.sigmoid(X @ w) - y
    return X.mT @ r / len(y), r.mean()


@e1.wrong("cuts the scores at 20, where the probability is not yet 1")
def _(X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    r = torch.sigmoid((X @ w + b).clamp(-20.0, 20.0)) - y
    return X.mT @ r / len(y), r.mean()


@e1.wrong("a decision instead of a probability")
def _(X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    r = (X @ w + b > 0).double() - y
    return X.mT @ r / len(y), r.mean()


@e1.wrong("label minus probability: the direction downhill, not the gradient")
def _(X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    r = y - torch.sigmoid(X @ w + b)
    return X.mT @ r / len(y), r.mean()


@e1.wrong("autograd through the logarithm of the probability, which is log 0 at extreme scores")
def _(X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    w, b = w.clone().requires_grad_(), b.clone().requires_grad_()
    p = torch.sigmoid(X @ w + b)
    (-(y * p.log() + (1 - y) * (1 - p).log()).mean()).backward()
    return w.grad, b.grad  # type: ignore[return-value]


@e1.wrong("keeps the probability away from 0 and 1, and with it the gradient at extreme scores")
def _(X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    w, b = w.clone().requires_grad_(), b.clone().requires_grad_()
    p = torch.sigmoid(X @ w + b).clamp(1e-12, 1 - 1e-12)
    (-(y * p.log() + (1 - y) * (1 - p).log()).mean()).backward()
    return w.grad, b.grad  # type: ignore[return-value]


@e1.wrong("the gradient of the squared error of the probability: a factor p (1 - p) too much")
def _(X: Tensor, y: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    p = torch.sigmoid(X @ w + b)
    r = (p - y) * p * (1 - p)
    return X.mT @ r / len(y), r.mean()


# --- e2: the whole loop -----------------------------------------------------------------------

e2 = Exercise(
    id="p1.t3.e2",
    title="The whole loop",
    pure=True,
    hints=(
        "Write the loop's five lines in words first: forward, loss, clear, backward, step. Where "
        "in this order does an entry of history belong so that there are steps + 1?",
        "Append the loss before each step, and once more after the last. Both gradients must come "
        "from the same w and b: compute them both before you change either.",
        "By hand, with r = X @ w + b - y, the gradients are X.mT @ r / n and r.mean(). With "
        "autograd, two leaves with `requires_grad=True`, steps under `torch.no_grad()`, and both "
        "`.grad` set back to None in every round.",
    ),
)


@e2.answer
def fit_linear(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor, list[float]]:
    """Gradient descent on the half mean squared error of X @ w + b, from w = 0 and b = 0.

    X has shape `n d`, y shape `n`. Take `steps` steps with the learning rate `lr`. Return w (shape
    `d`), b (a tensor without axes) and history: the loss at the start and after each step, that
    is, steps + 1 numbers.
    """
    w, b = torch.zeros(X.shape[-1], dtype=X.dtype), torch.zeros((), dtype=X.dtype)
    history = []
    for step in range(steps + 1):
        r = X @ w + b - y  # n
        history.append(0.5 * r.square().mean().item())
        if step < steps:
            w, b = w - lr * X.mT @ r / len(y), b - lr * r.mean()
    return w, b, history


def _largest_curvature(X: Tensor) -> float:
    A = _augmented(X)
    return float(torch.linalg.svdvals(A)[0] ** 2 / len(A))


@e2.cases
def problems(rng: Rng) -> Iterator[Case]:
    def case(X: Tensor, y: Tensor, fraction: float, steps: int, note: str = "") -> Case:
        return Case(X, y, fraction / _largest_curvature(X), steps, note=note)

    one = torch.ones(1, 1, dtype=torch.float64)
    yield case(one, 2 * one[0], 0.5, 1, note="one point, one step")
    yield case(one, 2 * one[0], 0.5, 0, note="no step at all")
    yield case(_table(rng, 2, 1), _table(rng, 2, 1)[:, 0], 0.5, 2, note="two points, two steps")
    yield case(_table(rng, 3, 2), torch.zeros(3).double(), 0.5, 3, note="y is zero")
    yield case(torch.ones(3, 1).double(), torch.ones(3).double(), 1.0, 3, note="constant column")
    yield case(_table(rng, 2, 4), _table(rng, 2, 1)[:, 0], 1.0, 5, note="fewer points than weights")
    for scale in (1e-6, 1e6):
        yield case(scale * _table(rng, 3, 1), _table(rng, 3, 1)[:, 0], 0.9, 4, note=f"{scale:g} X")
        yield case(_table(rng, 3, 2), scale * _table(rng, 3, 1)[:, 0], 0.9, 4, note=f"{scale:g} y")
    for fraction in (0.1, 0.5, 0.9, 1.0):
        for steps in (1, 2, 3, 20):
            n, d = rng.randint(2, 6), rng.randint(1, 3)
            yield case(_table(rng, n, d), 1.0 + _table(rng, n, 1)[:, 0], fraction, steps)


@e2.shape
def _(fn: Fn, X: Tensor, y: Tensor, lr: float, steps: int) -> None:
    result = fn(X, y, lr, steps)
    require(isinstance(result, (tuple, list)) and len(result) == 3, "expected (w, b, history)")
    has_shape(result[0], (X.shape[-1],), torch.float64)
    has_shape(torch.as_tensor(result[1], dtype=torch.float64), ())
    count = len(result[2])
    require(count == steps + 1, f"expected {steps + 1} numbers in history, got {count}")


def _history(values: object) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64).detach()


@e2.property("with lr <= 1/L no step makes the loss larger")
def _(fn: Fn, X: Tensor, y: Tensor, lr: float, steps: int) -> None:
    history = _history(fn(X, y, lr, steps)[2])
    grown = history[1:] > history[:-1] + 1e-12 * history[0]
    require(~grown, "history grows although lr is at most 1/L")


@e2.property("the order of the rows does not matter")
def _(fn: Fn, X: Tensor, y: Tensor, lr: float, steps: int) -> None:
    w, b, _history = fn(X, y, lr, steps)
    again = fn(X.flip(0), y.flip(0), lr, steps)
    close(again[0], w, 1e-9, relative=True)
    close(again[1], b, 1e-9 * max(1.0, float(y.abs().max())))


@e2.property("every row twice changes nothing")
def _(fn: Fn, X: Tensor, y: Tensor, lr: float, steps: int) -> None:
    once = fn(X, y, lr, steps)
    twice = fn(torch.cat([X, X]), torch.cat([y, y]), lr, steps)
    close(twice[0], once[0], 1e-9, relative=True)


@e2.property("the last number of history is the loss of the w and b returned")
def _(fn: Fn, X: Tensor, y: Tensor, lr: float, steps: int) -> None:
    w, b, history = fn(X, y, lr, steps)
    loss = 0.5 * (X @ w.detach() + torch.as_tensor(b).detach() - y).square().mean()
    size = float(y.square().mean()) + 1e-300
    close(_history(history)[-1] / size, loss / size, 1e-6)


@e2.value("the closed form of the iterates, from the singular values of X with a column of ones")
def _(fn: Fn, X: Tensor, y: Tensor, lr: float, steps: int) -> None:
    A = _augmented(X)
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    # After k steps: lr times the sum of (1 - lr c)^j over j < k, times the gradient at zero, for
    # each singular direction with its curvature c.
    factor = 1 - lr * S.square() / len(A)
    powers = factor ** torch.arange(steps, dtype=torch.float64).unsqueeze(-1)  # steps modes
    sums = torch.cat([torch.zeros(1, len(S), dtype=torch.float64), powers.cumsum(0)])
    theta = (lr * sums * S / len(A) * (U.mT @ y)) @ Vh  # steps+1 d+1: every iterate
    w, b, history = fn(X, y, lr, steps)
    size = float(y.abs().max()) or 1.0
    scale = X.abs().amax(0).clamp(min=1e-300) / size
    close(w * scale, theta[-1, :-1] * scale, 1e-9)
    close(b / size, theta[-1, -1] / size, 1e-9)
    losses = 0.5 * (theta @ A.mT - y).square().mean(-1)
    close(_history(history) / size**2, losses / size**2, 1e-6)


@e2.wrong("never clears the gradients, so that they add up")
def _(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor, list[float]]:
    w = torch.zeros(X.shape[-1], dtype=X.dtype, requires_grad=True)
    b = torch.zeros((), dtype=X.dtype, requires_grad=True)
    history = [float(0.5 * y.square().mean())]
    for _ in range(steps):
        (0.5 * (X @ w + b - y).square().mean()).backward()
        with torch.no_grad():
            w -= lr * w.grad  # type: ignore[operator]
            b -= lr * b.grad  # type: ignore[operator]
            history.append(float(0.5 * (X @ w + b - y).square().mean()))
    return w.detach(), b.detach(), history


@e2.wrong("a column of targets: every prediction is compared with every target")
def _(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor, list[float]]:
    w, b, history = torch.zeros(X.shape[-1]).double(), torch.zeros(()).double(), []
    column = y.unsqueeze(-1)
    for step in range(steps + 1):
        r = X @ w + b - column  # n n
        history.append(float(0.5 * r.square().mean()))
        if step < steps:
            w, b = w - lr * X.mT @ r.mean(0) / len(y), b - lr * r.mean()
    return w, b, history


@e2.wrong("the gradient of the mean squared error without the half: steps twice as long")
def _(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor, list[float]]:
    w, b, history = torch.zeros(X.shape[-1]).double(), torch.zeros(()).double(), []
    for step in range(steps + 1):
        r = X @ w + b - y
        history.append(float(0.5 * r.square().mean()))
        if step < steps:
            w, b = w - lr * 2 * X.mT @ r / len(y), b - lr * 2 * r.mean()
    return w, b, history


@e2.wrong("updates w first and computes b's gradient with the new w")
def _(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor, list[float]]:
    w, b, history = torch.zeros(X.shape[-1]).double(), torch.zeros(()).double(), []
    for step in range(steps + 1):
        history.append(float(0.5 * (X @ w + b - y).square().mean()))
        if step < steps:
            w = w - lr * X.mT @ (X @ w + b - y) / len(y)
            b = b - lr * (X @ w + b - y).mean()
    return w, b, history


@e2.wrong("records the loss before each step only")
def _(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor, list[float]]:
    w, b, history = torch.zeros(X.shape[-1]).double(), torch.zeros(()).double(), []
    for _ in range(steps):
        r = X @ w + b - y
        history.append(float(0.5 * r.square().mean()))
        w, b = w - lr * X.mT @ r / len(y), b - lr * r.mean()
    return w, b, history


@e2.wrong("records the mean squared error of every step but the last without the half")
def _(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor, list[float]]:
    w, b, history = torch.zeros(X.shape[-1]).double(), torch.zeros(()).double(), []
    for _ in range(steps):
        r = X @ w + b - y
        history.append(float(r.square().mean()))
        w, b = w - lr * X.mT @ r / len(y), b - lr * r.mean()
    return w, b, [*history, float(0.5 * (X @ w + b - y).square().mean())]


@e2.wrong("solves for the minimum at once, which gradient descent has not reached yet")
def _(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor, list[float]]:
    A = torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], dim=-1)
    theta = torch.linalg.lstsq(A, y, driver="gelsd").solution
    final = float(0.5 * (A @ theta - y).square().mean())
    return theta[:-1], theta[-1], [float(0.5 * y.square().mean())] + [final] * steps


# --- e3: the largest learning rate ------------------------------------------------------------

e3 = Exercise(
    id="p1.t3.e3",
    title="The critical learning rate",
    pure=True,
    hints=(
        "Neither w nor y appears in the signature. Why can the answer do without them?",
        "Write the predictions as one matrix times one vector of all parameters, the bias "
        "included. What is the Hessian of the half mean squared error?",
        "Append a column of ones to X, form the Hessian of section 6, and take the largest of "
        "`torch.linalg.eigvalsh`. The bound is 2 divided by it.",
    ),
)


@e3.answer
def critical_lr(X: Tensor) -> float:
    """The learning rate below which gradient descent on X @ w + b converges, and above diverges.

    X has shape `n d`; the loss is the half mean squared error, and both w and b are learned. Return
    a number (a float, say) that is right to six digits.
    """
    A = torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], dim=-1)
    largest = torch.linalg.eigvalsh(A.mT @ A / len(A))[-1]
    return float(2 / largest)


@e3.cases
def designs(rng: Rng) -> Iterator[Case]:
    yield Case(torch.zeros(1, 1).double(), note="one point at zero")
    yield Case(torch.full((1, 1), 3.0).double(), note="one point")
    yield Case(torch.zeros(4, 2).double(), note="all zeros")
    yield Case(torch.tensor([[1.0], [-1.0]]).double(), note="a column of mean zero")
    yield Case(torch.ones(5, 1).double(), note="a constant column")
    column = _table(rng, 4, 1)
    yield Case(torch.cat([column, column], dim=-1), note="the same column twice")
    yield Case(_table(rng, 2, 5), note="more columns than points")
    for scale in (1e-6, 1e-3, 1e3, 1e6):
        yield Case(scale * _table(rng, 4, 2), note=f"scale {scale:g}")
    yield Case(_table(rng, 5, 2) * torch.tensor([1e-3, 1e3]), note="mixed scales")
    yield Case(10.0 + _table(rng, 6, 2), note="far from zero")
    for _ in range(12):
        yield Case(_table(rng, rng.randint(2, 7), rng.randint(1, 4)))


@e3.shape
def _(fn: Fn, X: Tensor) -> None:
    rate = fn(X)
    single = isinstance(rate, (Tensor, np.ndarray)) and rate.ndim == 0
    require(single or isinstance(rate, (float, np.floating)), "expected a single number")


def _growth(X: Tensor, lr: Any) -> float:
    """By how much 2048 steps with this learning rate stretch a start in no special direction."""
    A, lr = _augmented(X), float(lr)
    step = torch.eye(A.shape[-1], dtype=torch.float64) - lr * A.mT @ A / len(A)
    start = torch.cos(torch.arange(1.0, A.shape[-1] + 1, dtype=torch.float64))
    moved = torch.linalg.matrix_power(step, 2048) @ start
    return float(moved.norm() / start.norm())


@e3.property("one per cent below it, gradient descent does not run away")
def _(fn: Fn, X: Tensor) -> None:
    require(_growth(X, 0.99 * fn(X)) <= 1.0 + 1e-9, "0.99 times your rate diverges")


@e3.property("one per cent above it, gradient descent diverges")
def _(fn: Fn, X: Tensor) -> None:
    require(not _growth(X, 1.01 * fn(X)) < 10.0, "1.01 times your rate does not diverge")


@e3.property("every row twice changes nothing")
def _(fn: Fn, X: Tensor) -> None:
    close(fn(torch.cat([X, X])), fn(X), 1e-6, relative=True)


@e3.value("singular values")
def _(fn: Fn, X: Tensor) -> None:
    close(fn(X), 2 / _largest_curvature(X), 1e-6, relative=True)


@e3.wrong("forgets that the bias is a parameter too")
def _(X: Tensor) -> float:
    return float(2 / torch.linalg.eigvalsh(X.mT @ X / len(X))[-1])


@e3.wrong("1/L, which is safe but not critical")
def _(X: Tensor) -> float:
    A = torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], dim=-1)
    return float(1 / torch.linalg.eigvalsh(A.mT @ A / len(A))[-1])


@e3.wrong("forgets that the loss is a mean: no division by n")
def _(X: Tensor) -> float:
    A = torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], dim=-1)
    return float(2 / torch.linalg.eigvalsh(A.mT @ A)[-1])


@e3.wrong("the Hessian's largest diagonal entry instead of its largest eigenvalue")
def _(X: Tensor) -> float:
    A = torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], dim=-1)
    return float(2 / A.square().mean(0).max())


@e3.wrong("the trace: the sum of all eigenvalues instead of the largest")
def _(X: Tensor) -> float:
    return float(2 / (X.square().sum() / len(X) + 1))


@e3.wrong("the smallest eigenvalue instead of the largest")
def _(X: Tensor) -> float:
    A = torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], dim=-1)
    return float(2 / torch.linalg.eigvalsh(A.mT @ A / len(A))[0].clamp(min=1e-12))


# --- e4: which loops are broken? --------------------------------------------------------------

Train = Callable[[Tensor, Tensor, float, int], tuple[Tensor, Tensor]]

e4 = Exercise(
    id="p1.t3.e4",
    title="Which loops are broken?",
    hints=(
        "You cannot read the loops, but you can run them, with any learning rate and any number "
        "of steps. For which numbers of steps do you know the right answer?",
        "Compute the first few iterates yourself from the gradient formula. One step is not "
        "enough: which bug of section 7 shows only from the second on?",
        "For steps = 1, 2, 3 compare w and b with your own, each with a small tolerance such as "
        "1e-9. A falling loss proves nothing, and neither does agreement among the loops.",
    ),
)


@e4.answer
def broken_loops(
    loops: dict[str, Callable[[Tensor, Tensor, float, int], tuple[Tensor, Tensor]]],
    X: Tensor,
    y: Tensor,
) -> set[str]:
    """The names of the loops that do not do what they say.

    Each `train(X, y, lr, steps)` says: from w = 0 and b = 0 take `steps` steps of gradient descent
    on the half mean squared error of X @ w + b, and return (w, b). X has shape `n d` with n >= 2,
    y shape `n`; entries are of size 1 or so. Judge by what a loop returns, not by its code.
    """
    lr = 0.1
    broken = set()
    for name, train in loops.items():
        w, b = torch.zeros(X.shape[-1], dtype=X.dtype), torch.zeros((), dtype=X.dtype)
        for steps in range(1, 5):
            r = X @ w + b - y
            w, b = w - lr * X.mT @ r / len(y), b - lr * r.mean()
            got_w, got_b = train(X, y, lr, steps)
            if not (torch.allclose(got_w, w, atol=1e-9) and torch.allclose(got_b, b, atol=1e-9)):
                broken.add(name)
    return broken


def _leaves(X: Tensor) -> tuple[Tensor, Tensor]:
    w = torch.zeros(X.shape[-1], dtype=X.dtype, requires_grad=True)
    return w, torch.zeros((), dtype=X.dtype, requires_grad=True)


def _loop(
    X: Tensor,
    y: Tensor,
    lr: float,
    steps: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    clear: bool = True,
    momentum: float = 0.0,
) -> tuple[Tensor, Tensor]:
    leaves = _leaves(X)
    moves = [torch.zeros_like(leaf) for leaf in leaves]
    sums = [torch.zeros_like(leaf) for leaf in leaves]
    for _ in range(steps):
        gradients = torch.autograd.grad(loss(*leaves), leaves, allow_unused=True)
        for leaf, gradient, total, move in zip(leaves, gradients, sums, moves, strict=True):
            if gradient is not None:
                total.copy_(gradient if clear else total + gradient)
                move.copy_(momentum * move + total)
                leaf.data -= lr * move
    return leaves[0].detach(), leaves[1].detach()


def _by_formula(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    w, b = (leaf.detach() for leaf in _leaves(X))
    for _ in range(steps):
        r = X @ w + b - y
        w, b = w - lr * X.mT @ r / len(y), b - lr * r.mean()
    return w, b


def _by_autograd(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    return _loop(X, y, lr, steps, lambda w, b: 0.5 * (X @ w + b - y).square().mean())


def _by_columns(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    def loss(w: Tensor, b: Tensor) -> Tensor:
        return 0.5 * (X @ w.unsqueeze(-1) + b - y.unsqueeze(-1)).square().mean()

    return _loop(X, y, lr, steps, loss)


def _never_clears(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    return _loop(X, y, lr, steps, lambda w, b: 0.5 * (X @ w + b - y).square().mean(), clear=False)


def _column_of_targets(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    return _loop(X, y, lr, steps, lambda w, b: 0.5 * (X @ w + b - y.unsqueeze(-1)).square().mean())


def _detached(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    return _loop(X, y, lr, steps, lambda w, b: 0.5 * (X @ w.detach() + b - y).square().mean())


def _forgets_bias(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    return _loop(X, y, lr, steps, lambda w, b: 0.5 * (X @ w + b.detach() - y).square().mean())


def _without_half(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    return _loop(X, y, lr, steps, lambda w, b: (X @ w + b - y).square().mean())


def _without_lr(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    return _by_formula(X, y, 0.01, steps)


def _late_bias(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    return _by_formula(X, y, lr, steps)[0], _by_formula(X, y, lr, max(steps - 1, 0))[1]


def _late_weights(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    return _by_formula(X, y, lr, max(steps - 1, 0))[0], _by_formula(X, y, lr, steps)[1]


def _one_after_the_other(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    w, b = (leaf.detach() for leaf in _leaves(X))
    for _ in range(steps):
        w = w - lr * X.mT @ (X @ w + b - y) / len(y)
        b = b - lr * (X @ w + b - y).mean()
    return w, b


def _with_momentum(X: Tensor, y: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    def loss(w: Tensor, b: Tensor) -> Tensor:
        return 0.5 * (X @ w + b - y).square().mean()

    return _loop(X, y, lr, steps, loss, momentum=0.5)


_SOUND: tuple[Train, ...] = (_by_formula, _by_autograd, _by_columns)
_BROKEN: dict[Train, str] = {
    _never_clears: "never clears its gradients",
    _column_of_targets: "compares every prediction with every target",
    _detached: "cuts w off from the gradient",
    _forgets_bias: "cuts b off from the gradient",
    _without_half: "minimises the mean squared error without the half",
    _with_momentum: "keeps a part of its last step",
    _without_lr: "takes a learning rate of its own",
    _late_bias: "returns the b of one step before",
    _late_weights: "returns the w of one step before",
    _one_after_the_other: "computes the gradient in b with the new w",
}


def _known(loops: dict[str, Train]) -> dict[str, str]:
    """What is wrong with the broken ones, by name."""
    return {name: _BROKEN[train] for name, train in loops.items() if train in _BROKEN}


@e4.cases
def loops_and_data(rng: Rng) -> Iterator[Case]:
    def data(n: int, d: int) -> tuple[Tensor, Tensor]:
        # the last column grows with the row, so that no bug can hide behind a symmetric table
        X = _table(rng, n, d)
        X[:, -1] += torch.arange(n, dtype=torch.float64)
        return X, 1.0 + X.sum(-1) + rng.normal(n).round(decimals=1)

    yield Case({}, *data(3, 1), note="no loops at all")
    for sound in _SOUND:
        yield Case({"a": sound}, *data(3, 2), note="one loop")
    for broken in _BROKEN:
        yield Case({"a": broken}, *data(3, 2), note="one loop")
    yield Case({"a": _by_autograd, "b": _never_clears}, *data(2, 1), note="two points")
    everything = [*_SOUND, *_BROKEN]
    yield Case(dict(zip("abcdefghijkl", _BROKEN, strict=False)), *data(4, 2), note="all broken")
    for _ in range(14):
        chosen = rng.sample(everything, rng.randint(2, 4))
        n, d = rng.randint(2, 6), rng.randint(1, 3)
        yield Case(dict(zip("abcd", chosen, strict=False)), *data(n, d))


@e4.shape
def _(fn: Fn, loops: dict[str, Train], X: Tensor, y: Tensor) -> None:
    result = fn(loops, X, y)
    require(isinstance(result, (set, frozenset, list, tuple)), "expected a set of names")
    require(set(result) <= set(loops), "expected names of the given loops only")


@e4.property("the order of the loops does not matter")
def _(fn: Fn, loops: dict[str, Train], X: Tensor, y: Tensor) -> None:
    turned = dict(reversed(loops.items()))
    same = set(fn(turned, X, y)) == set(fn(loops, X, y))
    require(same, "turning the order round changes the verdict")


@e4.property("a loop that is judged alone gets the same verdict")
def _(fn: Fn, loops: dict[str, Train], X: Tensor, y: Tensor) -> None:
    verdict = fn(loops, X, y)
    for name, train in loops.items():
        alone = name in fn({name: train}, X, y)
        require(alone == (name in verdict), f"{name!r} is judged differently when it is alone")


@e4.value("how the loops were made")
def _(fn: Fn, loops: dict[str, Train], X: Tensor, y: Tensor) -> None:
    verdict, known = fn(loops, X, y), _known(loops)
    for name, reason in known.items():
        require(name in verdict, f"you let {name!r} pass; it {reason}")
    for name in verdict:
        require(name in known, f"{name!r} is sound")


@e4.wrong("one step only, after which gradients that are never cleared do not show")
def _(loops: dict[str, Train], X: Tensor, y: Tensor) -> set[str]:
    w, b = 0.1 * X.mT @ y / len(y), 0.1 * y.mean()
    found = set()
    for name, train in loops.items():
        got = train(X, y, 0.1, 1)
        if not (torch.allclose(got[0], w) and torch.allclose(got[1], b)):
            found.add(name)
    return found


@e4.wrong("trusts every loop whose loss falls")
def _(loops: dict[str, Train], X: Tensor, y: Tensor) -> set[str]:
    found = set()
    for name, train in loops.items():
        w, b = train(X, y, 0.01, 20)
        if not (X @ w + b - y).square().mean() < y.square().mean():
            found.add(name)
    return found


@e4.wrong("compares w only")
def _(loops: dict[str, Train], X: Tensor, y: Tensor) -> set[str]:
    w, b = torch.zeros(X.shape[-1]).double(), torch.zeros(()).double()
    found = set()
    for steps in (1, 2, 3):
        r = X @ w + b - y
        w, b = w - 0.1 * X.mT @ r / len(y), b - 0.1 * r.mean()
        found |= {
            name
            for name, train in loops.items()
            if not torch.allclose(train(X, y, 0.1, steps)[0], w)
        }
    return found


@e4.wrong("compares b only")
def _(loops: dict[str, Train], X: Tensor, y: Tensor) -> set[str]:
    w, b = torch.zeros(X.shape[-1]).double(), torch.zeros(()).double()
    found = set()
    for steps in (1, 2, 3):
        r = X @ w + b - y
        w, b = w - 0.1 * X.mT @ r / len(y), b - 0.1 * r.mean()
        found |= {
            name
            for name, train in loops.items()
            if not torch.allclose(train(X, y, 0.1, steps)[1], b)
        }
    return found


@e4.wrong("looks at w only, so that a forgotten b can slip through")
def _(loops: dict[str, Train], X: Tensor, y: Tensor) -> set[str]:
    w = 0.1 * X.mT @ y / len(y)
    r = X @ w + 0.0 * y.mean() - y
    without_bias = w - 0.1 * X.mT @ r / len(y)
    r = X @ w + 0.1 * y.mean() - y
    both = w - 0.1 * X.mT @ r / len(y)
    found = set()
    for name, train in loops.items():
        got = train(X, y, 0.1, 2)[0]
        if not (torch.allclose(got, both) or torch.allclose(got, without_bias)):
            found.add(name)
    return found


@e4.wrong("asks whether the loop arrives at the minimum: momentum arrives there too")
def _(loops: dict[str, Train], X: Tensor, y: Tensor) -> set[str]:
    A = torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], dim=-1)
    rate = 0.5 / torch.linalg.matrix_norm(A, ord=2).item() ** 2 * len(A)
    found = set()
    for name, train in loops.items():
        w, b = train(X, y, rate, 30)
        gradient = A.mT @ (X @ w + b - y) / len(A)
        if not gradient.norm() < 0.1 * (A.mT @ y / len(A)).norm():
            found.add(name)
    return found


@e4.wrong("takes the first loop for the right one and compares the others with it")
def _(loops: dict[str, Train], X: Tensor, y: Tensor) -> set[str]:
    found: set[str] = set()
    results = {name: train(X, y, 0.1, 3) for name, train in loops.items()}
    for name, (w, b) in results.items():
        first = next(iter(results.values()))
        if not (torch.allclose(w, first[0]) and torch.allclose(b, first[1])):
            found.add(name)
    return found
