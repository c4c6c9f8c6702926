"""The exercises of part_2/tutorial_01: gradient descent as a dynamical system."""

import itertools
import math
import numbers
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bolearn.teach import Case, Exercise, Fn, Rng, Violation, close, has_shape, require

Map = Callable[[Tensor], Tensor]


def _named(name: str, fn: Map) -> Map:
    fn.__name__ = name
    return fn


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def _is_number(value: object) -> bool:
    """A float, or what counts as one: an int, a NumPy number, a tensor without axes."""
    if isinstance(value, Tensor):
        return value.ndim == 0 and value.dtype != torch.bool
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _grid(rng: Rng, *shape: int) -> Tensor:
    """Numbers in [-2, 2] with one decimal, none of them zero."""
    x = (rng.uniform_in(-2.0, 2.0, *shape) * 10).round() / 10
    return torch.where(x == 0, 0.1, x)


def _with_eigenvalues(rng: Rng, values: Tensor) -> Tensor:
    """A random symmetric matrix with these eigenvalues."""
    n = len(values)
    Q: Tensor = torch.linalg.qr(rng.normal(n, n)).Q
    A = (Q * values) @ Q.mT
    return (A + A.mT) / 2


# --- e1: every iterate in closed form ---------------------------------------------------------


class _FewOperations(TorchFunctionMode):
    """Stops a loop over the steps before it takes minutes."""

    limit = 5_000

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if self.count > self.limit:
            raise Violation(f"more than {self.limit} torch operations in one call")
        return func(*args, **(kwargs or {}))


def _iterate(fn: Fn, A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    with _FewOperations():
        x: Tensor = fn(A, x0, lr, t)
    return x


e1 = Exercise(
    id="p2.t1.e1",
    title="A million steps in one",
    pure=True,
    hints=(
        "Along an eigenvector of A the iterate is multiplied by the same number at every step. "
        "By which one?",
        "Change to the coordinates z = Qᵀ x of the eigenvectors, where each entry goes its own "
        "way; raise each factor to the power t; change back.",
        "`torch.linalg.eigh(A)` returns the eigenvalues and Q, with eigenvectors as columns. For "
        "a stack of starts `... d`, `x0 @ Q` is Qᵀ x for each row, and `z @ Q.mT` goes back.",
    ),
)


@e1.answer
def gd_iterate(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    """Where gradient descent on ½ xᵀ A x stands after t steps from x0, without taking them.

    A is symmetric, `d d`; x0 has shape `... d`, a stack of starts; t is at least 0 and may be a
    billion. The result has the shape of x0. A loop over the steps is not accepted.
    """
    eigenvalues, Q = torch.linalg.eigh(A)
    x: Tensor = (x0 @ Q * (1 - lr * eigenvalues) ** t) @ Q.mT
    return x


@e1.cases
def bowls(rng: Rng) -> Iterator[Case]:
    yield Case(2 * torch.eye(1).double(), _vector(3.0), 0.25, 3, note="one dimension")
    yield Case(2 * torch.eye(1).double(), _vector(3.0), 0.5, 4, note="there in one step")
    yield Case(2 * torch.eye(1).double(), _vector(3.0), 1.0, 7, note="a cycle of two")
    yield Case(torch.diag(_vector(10.0, 1.0)), _vector(1.0, 1.0), 0.1, 0, note="t = 0")
    yield Case(torch.diag(_vector(10.0, 1.0)), _vector(1.0, 1.0), 0.25, 5, note="diverges")
    yield Case(torch.diag(_vector(3.0, 0.0)), _vector(1.0, 2.0), 0.1, 9, note="a flat direction")
    yield Case(torch.diag(_vector(1.0, -1.0)), _vector(1.0, 1.0), 0.5, 6, note="a saddle")
    yield Case(_vector(2.0, 1.0, 1.0, 2.0).reshape(2, 2), _vector(1.0, 0.0), 0.1, 1, note="t = 1")
    yield Case(torch.eye(3).double(), _grid(rng, 3), 0.3, 4, note="a round bowl")
    slow = torch.diag(_vector(1.0, 1e-6))
    yield Case(slow, _vector(1.0, 1.0), 0.5, 1_000_000, note="a million steps")
    yield Case(_with_eigenvalues(rng, _vector(2.0, 1e-4)), _grid(rng, 2), 0.1, 50_000)
    flat = torch.diag(_vector(1.0, 0.0))
    yield Case(flat, _vector(1.0, 2.0), 0.5, 1_000_000_000, note="a billion steps")
    yield Case(torch.diag(_vector(4.0, 0.0)), _vector(1.0, 2.0), 0.5, 1_000_000_001, note="odd t")
    for scale in (1e-6, 1e6):
        A = _with_eigenvalues(rng, _vector(1.0, 3.0))
        yield Case(A, scale * _grid(rng, 2), 0.2, 5, note=f"x0 of size {scale:g}")
        yield Case(scale * A, _grid(rng, 2), 0.2 / scale, 5, note=f"A of size {scale:g}")
    for shape in ((1, 2), (4, 2), (2, 3, 2), (3, 3)):
        A = _with_eigenvalues(rng, rng.uniform_in(0.5, 3.0, shape[-1]))
        yield Case(A, _grid(rng, *shape), 0.3, 6, note="a stack of starts")
    for d, t in ((2, 2), (2, 10), (3, 1), (3, 7), (4, 20), (5, 3)):
        A = _with_eigenvalues(rng, rng.uniform_in(0.1, 4.0, d))
        yield Case(A, _grid(rng, d), rng.choice((0.1, 0.25, 0.4)), t)


@e1.shape
def _(fn: Fn, A: Tensor, x0: Tensor, lr: float, t: int) -> None:
    has_shape(_iterate(fn, A, x0, lr, t), tuple(x0.shape), torch.float64)


@e1.property("no steps lead nowhere: t = 0 gives x0")
def _(fn: Fn, A: Tensor, x0: Tensor, lr: float, t: int) -> None:
    close(_iterate(fn, A, x0, lr, 0), x0, 1e-12, relative=True)


@e1.property("three more steps from the result are t + 3 steps from x0")
def _(fn: Fn, A: Tensor, x0: Tensor, lr: float, t: int) -> None:
    x = _iterate(fn, A, x0, lr, t)
    size = float(x.abs().max()) + float(x0.abs().max())
    close(_iterate(fn, A, x, lr, 3) / size, _iterate(fn, A, x0, lr, t + 3) / size, 1e-8)


@e1.value("repeated squaring of the matrix of one step")
def _(fn: Fn, A: Tensor, x0: Tensor, lr: float, t: int) -> None:
    step = torch.eye(len(A), dtype=A.dtype) - lr * A
    expected = x0 @ torch.linalg.matrix_power(step, t).mT
    size = float(expected.abs().max()) + 1e-3 * float(x0.abs().max())
    close(_iterate(fn, A, x0, lr, t) / size, expected / size, 1e-9)


@e1.value("taking up to twenty steps one by one")
def _(fn: Fn, A: Tensor, x0: Tensor, lr: float, t: int) -> None:
    x = x0
    for _ in range(min(t, 20)):
        x = x - lr * (x @ A)
    close(_iterate(fn, A, x0, lr, min(t, 20)), x, 1e-9, relative=True)


@e1.wrong("the flow instead of the map: exp(-lr t λ) for each mode")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    eigenvalues, Q = torch.linalg.eigh(A)
    x: Tensor = (x0 @ Q * torch.exp(-lr * t * eigenvalues)) @ Q.mT
    return x


@e1.wrong("Q and its transpose exchanged")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    eigenvalues, Q = torch.linalg.eigh(A)
    x: Tensor = (x0 @ Q.mT * (1 - lr * eigenvalues) ** t) @ Q
    return x


@e1.wrong("forgets to change back to the old coordinates")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    eigenvalues, Q = torch.linalg.eigh(A)
    x: Tensor = x0 @ Q * (1 - lr * eigenvalues) ** t
    return x


@e1.wrong("powers of the entries of I - lr A instead of the matrix")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    step: Tensor = torch.eye(len(A), dtype=A.dtype) - lr * A
    return x0 @ step**t


@e1.wrong("one step of length t lr")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    return x0 - t * lr * (x0 @ A)


@e1.wrong("the size of the factor, without its sign: no ringing")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    eigenvalues, Q = torch.linalg.eigh(A)
    x: Tensor = (x0 @ Q * (1 - lr * eigenvalues).abs() ** t) @ Q.mT
    return x


@e1.wrong("takes the steps one by one, and no more than 20,000 of them")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    x = x0
    for _ in range(min(t, 20_000)):
        x = x - lr * (x @ A)
    return x


@e1.wrong("one step too many")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    eigenvalues, Q = torch.linalg.eigh(A)
    x: Tensor = (x0 @ Q * (1 - lr * eigenvalues) ** (t + 1)) @ Q.mT
    return x


@e1.wrong("forgets the half of ½ xᵀ A x: a gradient of 2 A x")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    return gd_iterate(A, x0, 2 * lr, t)


@e1.wrong("uphill: the sign of the gradient")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    return gd_iterate(A, x0, -lr, t)


@e1.wrong("the diagonal of A in place of its eigenvalues")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    return x0 * (1 - lr * A.diagonal()) ** t


@e1.wrong("every mode as fast as the steepest")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    factor: Tensor = 1 - lr * torch.linalg.eigvalsh(A)[-1]
    return x0 * factor**t


@e1.wrong("factors below zero set to zero")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    eigenvalues, Q = torch.linalg.eigh(A)
    x: Tensor = (x0 @ Q * (1 - lr * eigenvalues).clamp(min=0) ** t) @ Q.mT
    return x


@e1.wrong("negative curvatures set to zero: a saddle does not repel")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    eigenvalues, Q = torch.linalg.eigh(A)
    x: Tensor = (x0 @ Q * (1 - lr * eigenvalues.clamp(min=0)) ** t) @ Q.mT
    return x


@e1.wrong("in float32")
def _(A: Tensor, x0: Tensor, lr: float, t: int) -> Tensor:
    return gd_iterate(A.float(), x0.float(), lr, t).double()


# --- e2: the stability limit without the Hessian ----------------------------------------------

e2 = Exercise(
    id="p2.t1.e2",
    title="The stability limit of a bowl you cannot see",
    pure=True,
    hints=(
        "Apply H again and again to almost any vector. Which direction wins, and by how much does "
        "the vector grow with each application, in the end?",
        "Divide the vector by its length after every product, so that it can neither overflow nor "
        "vanish. Start at random: a start such as all ones may be exactly perpendicular to what "
        "you look for.",
        "With v of length 1, the growth is `v @ hvp(v)`; it rises towards the largest eigenvalue "
        "L. Stop when it no longer changes by more than a tiny fraction, and return 2 / L.",
    ),
)


@e2.answer
def stability_limit(hvp: Callable[[Tensor], Tensor], d: int) -> float:
    """The critical learning rate 2/L of a quadratic loss, from products with its Hessian alone.

    hvp maps one vector of shape `d`, float64, to H v; H is symmetric and positive definite, and d
    may be 200. Neither build H nor read it column by column. Return a number, right to one part in
    a thousand, after at most 3,000 products.
    """
    v = torch.randn(d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = v / v.norm()
    largest = 0.0
    for _ in range(2500):
        Hv = hvp(v)
        growth = float(v @ Hv)
        v = Hv / Hv.norm()
        if growth - largest <= 1e-9 * growth:
            break
        largest = growth
    return 2 / growth


def _product(H: Tensor, name: str) -> Map:
    def hvp(v: Tensor) -> Tensor:
        if tuple(v.shape) != (len(H),) or v.dtype != H.dtype:
            raise ValueError(
                f"hvp: expected one float64 vector of shape ({len(H)},), "
                f"got {v.dtype} of shape {tuple(v.shape)}"
            )
        return H @ v

    return _named(name, hvp)


@e2.cases
def hidden_bowls(rng: Rng) -> Iterator[Case]:
    for scale in (1.0, 4.0, 1e-6, 1e6):
        yield Case(_product(scale * torch.eye(1).double(), f"H = ({scale:g})"), 1, note="d = 1")
    tilted = _vector(2.0, -1.0, -1.0, 2.0).reshape(2, 2)
    yield Case(_product(tilted, "H = (2, -1; -1, 2)"), 2, note="steepest along (1, -1)")
    for diagonal in ((1.0, 10.0), (10.0, 1.0), (3.0, 3.0), (1.0, 1.0, 1.001), (1.0, 2.0, 1000.0)):
        yield Case(_product(torch.diag(_vector(*diagonal)), f"H = diag{diagonal}"), len(diagonal))
    ring = 3 * torch.eye(6).double() - torch.ones(6, 6).double() / 3
    yield Case(_product(ring, "3 I minus a third of all ones, d = 6"), 6, note="ones are flattest")
    for scale in (1e-6, 1e6):
        H = scale * _with_eigenvalues(rng, _vector(0.5, 1.0, 2.0, 4.0))
        yield Case(_product(H, f"eigenvalues of size {scale:g}"), 4, note=f"scale {scale:g}")
    close_pair = torch.cat([torch.linspace(0.1, 0.9, 18).double(), _vector(0.99, 1.0)])
    yield Case(_product(_with_eigenvalues(rng, close_pair), "two close on top"), 20)
    for n in (2, 3, 3, 5, 8, 13, 30, 100, 200):
        values = 10 ** rng.uniform_in(-1.0, 1.0, n)
        values = torch.where(values == values.max(), 1.05 * values, values)  # a gap on top
        yield Case(_product(_with_eigenvalues(rng, values), f"a hidden H, d = {n}"), n)


def _true_largest(hvp: Map, d: int) -> float:
    H = torch.stack([hvp(e) for e in torch.eye(d, dtype=torch.float64)])
    return float(torch.linalg.eigvalsh(H)[-1])


@e2.shape
def _(fn: Fn, hvp: Map, d: int) -> None:
    require(_is_number(fn(hvp, d)), "expected a number")


_PRODUCTS = 3_000
_MANY = 12  # from more dimensions than these on, as many blind questions read all of H


def _questions(fn: Fn, hvp: Map, d: int) -> list[Tensor]:
    """The vectors whose products are asked for."""
    asked: list[Tensor] = []

    def watched(v: Tensor) -> Tensor:
        asked.append(v.clone())
        require(len(asked) <= _PRODUCTS, f"more than {_PRODUCTS:,} products")
        return hvp(v)

    fn(_named(hvp.__name__, watched), d)
    return asked


@e2.property("H is neither read column by column nor asked more than 3,000 times")
def _(fn: Fn, hvp: Map, d: int) -> None:
    asked = _questions(fn, hvp, d)
    columns = {int(v.abs().argmax()) for v in asked if int(v.count_nonzero()) == 1}
    require(d <= 2 or len(columns) < d, "asked for one column of H after the other")


@e2.property("what is asked depends on the answers before, not only on d")
def _(fn: Fn, hvp: Map, d: int) -> None:
    if d > _MANY:  # d vectors that are the same for every H are a basis in which H is read
        other = _named(f"({hvp.__name__}), twice", lambda v: hvp(hvp(v)))
        pairs = zip(_questions(fn, hvp, d), _questions(fn, other, d), strict=False)
        blind = [one for one, two in pairs if torch.equal(one, two)]
        rank = int(torch.linalg.matrix_rank(torch.stack(blind))) if blind else 0
        require(rank < d, "asked for all of H, in another basis")


@e2.value("the eigenvalues of the whole Hessian: 2/L")
def _(fn: Fn, hvp: Map, d: int) -> None:
    share = float(fn(hvp, d)) * _true_largest(hvp, d) / 2
    side = "above" if share > 1 else "below"
    require(abs(share - 1) <= 1e-3, f"your rate is {side} the limit, {share:.4g} times as large")


def _power(hvp: Map, v: Tensor, steps: int) -> tuple[float, Tensor]:
    growth = 0.0
    for _ in range(steps):
        Hv = hvp(v)
        growth = float(v @ Hv / (v @ v))
        v = Hv / Hv.norm()
    return growth, v


def _random(d: int) -> Tensor:
    return torch.randn(d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@e2.wrong("starts from all ones, which may be perpendicular to the steepest direction")
def _(hvp: Map, d: int) -> float:
    return 2 / _power(hvp, torch.ones(d, dtype=torch.float64), 200)[0]


@e2.wrong("too few products")
def _(hvp: Map, d: int) -> float:
    return 2 / _power(hvp, _random(d), 5)[0]


@e2.wrong("the vector never normalised: it overflows, or vanishes")
def _(hvp: Map, d: int) -> float:
    v = _random(d)
    for _ in range(1000):
        v = hvp(v)
    return float(2 * v.norm() / hvp(v).norm())


@e2.wrong("the largest eigenvalue itself")
def _(hvp: Map, d: int) -> float:
    return _power(hvp, _random(d), 200)[0]


@e2.wrong("1 / L, where the steepest direction arrives at once, not where it explodes")
def _(hvp: Map, d: int) -> float:
    return 1 / _power(hvp, _random(d), 200)[0]


@e2.wrong("the mean eigenvalue, from random vectors, instead of the largest")
def _(hvp: Map, d: int) -> float:
    draws = torch.randn(200, d, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return 2 / (sum(float(v @ hvp(v)) for v in draws) / float(draws.square().sum()))


@e2.wrong("reads the Hessian column by column")
def _(hvp: Map, d: int) -> float:
    return 2 / _true_largest(hvp, d)


@e2.wrong("reads the Hessian in another basis, of random directions")
def _(hvp: Map, d: int) -> float:
    g = torch.Generator().manual_seed(0)
    Q: Tensor = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64)).Q
    H = torch.stack([hvp(q) for q in Q]) @ Q.mT
    return float(2 / torch.linalg.eigvalsh((H + H.mT) / 2)[-1])


@e2.wrong("starts along the first axis, which may be an eigenvector")
def _(hvp: Map, d: int) -> float:
    return 2 / _power(hvp, torch.eye(d, dtype=torch.float64)[0], 500)[0]


@e2.wrong("the trace in place of the largest eigenvalue")
def _(hvp: Map, d: int) -> float:
    return 2 / sum(float(hvp(e) @ e) for e in torch.eye(d, dtype=torch.float64))


@e2.wrong("stops when the growth changes by less than a thousandth, in whatever unit")
def _(hvp: Map, d: int) -> float:
    v, growth, before = _random(d), 0.0, -1.0
    while abs(growth - before) > 1e-3:
        before = growth
        growth, v = _power(hvp, v, 1)
    return 2 / growth


@e2.wrong("stops when the growth changes by less than one per cent")
def _(hvp: Map, d: int) -> float:
    v, growth, before = _random(d), 1.0, 0.0
    while abs(growth - before) > 1e-2 * growth:
        before = growth
        growth, v = _power(hvp, v, 1)
    return 2 / growth


@e2.wrong("more products than are allowed")
def _(hvp: Map, d: int) -> float:
    return 2 / _power(hvp, _random(d), 3_100)[0]


@e2.wrong("the square of the growth, from the lengths after two products")
def _(hvp: Map, d: int) -> float:
    _, v = _power(hvp, _random(d), 500)
    return float(2 * v.norm() / hvp(hvp(v)).norm())


# --- e3: what a fixed point does to its neighbours --------------------------------------------

LABELS = ("monotone", "oscillating", "neutral", "diverging")

e3 = Exercise(
    id="p2.t1.e3",
    title="The character of a fixed point",
    hints=(
        "Close to the fixed point a smooth map is a straight line through it. What does one step "
        "do to a small distance?",
        "It multiplies the distance by the map's derivative there. Sign and size of that single "
        "number decide everything.",
        "Get the derivative from `torch.autograd.grad` or `torch.func.grad`. Look first whether "
        "its size is 1 within the tolerance, then whether it is above 1, then at the sign.",
    ),
)


@e3.answer
def classify(T: Callable[[Tensor], Tensor], fixed_point: Tensor) -> str:
    """What repeating x ← T(x) does to a start very near a fixed point of T.

    T maps a 0-dimensional float64 tensor to another, through torch operations. Return "monotone"
    if the distance shrinks from one side, "oscillating" if it shrinks from alternating sides,
    "diverging" if it grows, and "neutral" if the multiplier has size 1, within 1e-9: then more
    than the multiplier decides. A multiplier of 0, within 1e-9, counts as monotone.
    """
    multiplier = float(torch.func.grad(T)(fixed_point))
    if abs(abs(multiplier) - 1) <= 1e-9:
        return "neutral"
    if abs(multiplier) > 1:
        return "diverging"
    return "monotone" if multiplier > -1e-9 else "oscillating"


def _linear(m: float, c: float) -> tuple[Map, Tensor]:
    shift = torch.tensor(c, dtype=torch.float64)
    return _named(f"x -> {c:g} + {m!r} * (x - {c:g})", lambda x: shift + m * (x - shift)), shift


def _descent(lr: float) -> Map:
    return _named(f"x -> x - {lr:g} * (x ** 3 - x)", lambda x: x - lr * (x**3 - x))


@e3.cases
def maps(rng: Rng) -> Iterator[Case]:
    for m in (0.0, 0.5, 0.9, -0.5, -0.9, 1.0, -1.0, 1.1, -1.1, 0.999, -0.999, 1.001, -1.001, 5.0):
        yield Case(*_linear(m, 0.0), note="a straight line")
    for m in (1 + 1e-10, 1 - 1e-10, -1 + 1e-10, -1 - 1e-10, 1e-10, -1e-10):
        yield Case(*_linear(m, 0.0), note="within 1e-9")
    for m in (1 + 1e-8, 1 - 1e-8, -1 + 1e-8, -1 - 1e-8, 1e-8, -1e-8):
        yield Case(*_linear(m, 0.0), note="not within 1e-9")
    for lr in (0.2, 0.5, 0.8, 0.99, 1.0, 1.01):
        yield Case(_descent(lr), _vector(1.0)[0], note="the double well, at a minimum")
        yield Case(_descent(lr), _vector(-1.0)[0], note="the double well, at a minimum")
    yield Case(_descent(0.2), _vector(0.0)[0], note="the double well, at its maximum")
    newton = _named("x -> (x + 2 / x) / 2", lambda x: (x + 2 / x) / 2)
    yield Case(newton, _vector(math.sqrt(2))[0], note="the derivative is zero")
    yield Case(_named("x -> x ** 3", lambda x: x**3), _vector(0.0)[0], note="zero, flatter still")
    yield Case(
        _named("x -> x - x ** 3", lambda x: x - x**3), _vector(0.0)[0], note="its derivative is 1"
    )
    yield Case(_named("x -> -torch.sin(x)", lambda x: -torch.sin(x)), _vector(0.0)[0])
    yield Case(_named("x -> x ** 2", lambda x: x**2), _vector(1.0)[0])
    for _ in range(8):
        m, c = rng.choice((-3.0, -0.7, -0.2, 0.3, 0.8, 2.0)), rng.choice((-2.0, 0.5, 3.0))
        yield Case(*_linear(m, c))


@e3.shape
def _(fn: Fn, T: Map, fixed_point: Tensor) -> None:
    require(fn(T, fixed_point) in LABELS, f"expected one of {', '.join(LABELS)}")


@e3.property("another unit for x changes nothing, be it a thousandth or minus one")
def _(fn: Fn, T: Map, fixed_point: Tensor) -> None:
    for unit in (1000.0, -1.0):
        name = f"({T.__name__}), with x in units of {1 / unit:g}"
        scaled = _named(name, lambda z, unit=unit: unit * T(z / unit))  # type: ignore[misc]
        same = fn(scaled, unit * fixed_point) == fn(T, fixed_point)
        require(same, "the label changes with the unit")


@e3.property("two steps taken as one converge or diverge like single ones, but never oscillate")
def _(fn: Fn, T: Map, fixed_point: Tensor) -> None:
    twice = fn(_named(f"({T.__name__}), twice", lambda x: T(T(x))), fixed_point)
    once = fn(T, fixed_point)
    require(twice == ("monotone" if once == "oscillating" else once), "the two do not fit")


@e3.value("two nearby starts, followed for one step")
def _(fn: Fn, T: Map, fixed_point: Tensor) -> None:
    def slope(h: float) -> float:
        return float(T(fixed_point + h) - T(fixed_point - h)) / (2 * h)

    m = (4 * slope(1e-3) - slope(2e-3)) / 3  # Richardson: right to about 1e-12
    if abs(abs(m) - 1) < 1e-9:
        expected = "neutral"
    elif abs(m) > 1:
        expected = "diverging"
    else:
        expected = "oscillating" if m < -1e-9 else "monotone"
    require(fn(T, fixed_point) == expected, "the label does not fit what the two starts do")


def _label(m: float) -> str:
    if abs(abs(m) - 1) <= 1e-9:
        return "neutral"
    if abs(m) > 1:
        return "diverging"
    return "monotone" if m > -1e-9 else "oscillating"


def _multiplier(T: Map, x: Tensor) -> float:
    x = x.detach().clone().requires_grad_()
    return float(torch.autograd.grad(T(x), x)[0])


@e3.wrong("forgets the size of negative multipliers: -1.1 is below 1")
def _(T: Map, fixed_point: Tensor) -> str:
    m = _multiplier(T, fixed_point)
    if m < -1e-9:
        return "oscillating"
    return _label(m)


@e3.wrong("calls every negative multiplier diverging, as if ringing were growing")
def _(T: Map, fixed_point: Tensor) -> str:
    m = _multiplier(T, fixed_point)
    return "diverging" if m < -1e-9 and abs(m + 1) > 1e-9 else _label(m)


@e3.wrong("never neutral: a multiplier of size 1 is called diverging")
def _(T: Map, fixed_point: Tensor) -> str:
    label = _label(_multiplier(T, fixed_point))
    return "diverging" if label == "neutral" else label


@e3.wrong("takes T for a gradient and looks at 1 - T'")
def _(T: Map, fixed_point: Tensor) -> str:
    return _label(1 - _multiplier(T, fixed_point))


@e3.wrong("one step from 0.1 beside the fixed point, in whatever unit")
def _(T: Map, fixed_point: Tensor) -> str:
    return _label(float(T(fixed_point + 0.1) - fixed_point) / 0.1)


@e3.wrong("too generous a tolerance: 0.999 is called neutral")
def _(T: Map, fixed_point: Tensor) -> str:
    m = _multiplier(T, fixed_point)
    return "neutral" if abs(abs(m) - 1) < 1e-2 else _label(m)


@e3.wrong("neutral only if the multiplier is exactly 1 or -1")
def _(T: Map, fixed_point: Tensor) -> str:
    m = _multiplier(T, fixed_point)
    return _label(m) if abs(m) == 1 or _label(m) != "neutral" else _label(0.5 * m)


@e3.wrong("a difference quotient, too coarse for a tolerance of 1e-9")
def _(T: Map, fixed_point: Tensor) -> str:
    return _label(float(T(fixed_point + 1e-5) - T(fixed_point)) / 1e-5)


@e3.wrong("a tolerance of 1e-6")
def _(T: Map, fixed_point: Tensor) -> str:
    m = _multiplier(T, fixed_point)
    return "neutral" if abs(abs(m) - 1) < 1e-6 else _label(m)


@e3.wrong("zero within 1e-6")
def _(T: Map, fixed_point: Tensor) -> str:
    m = _multiplier(T, fixed_point)
    return "monotone" if abs(m) < 1e-6 else _label(m)


@e3.wrong("a multiplier of 0 is called neutral")
def _(T: Map, fixed_point: Tensor) -> str:
    m = _multiplier(T, fixed_point)
    return "neutral" if abs(m) < 1e-9 else _label(m)


@e3.wrong("a negative multiplier oscillates, be it ever so small")
def _(T: Map, fixed_point: Tensor) -> str:
    m = _multiplier(T, fixed_point)
    return "oscillating" if -1e-9 <= m < 0 else _label(m)


@e3.wrong("-1 is called oscillating")
def _(T: Map, fixed_point: Tensor) -> str:
    m = _multiplier(T, fixed_point)
    return "oscillating" if abs(m + 1) <= 1e-9 else _label(m)


@e3.wrong("the multiplier at 0, wherever the fixed point is")
def _(T: Map, fixed_point: Tensor) -> str:
    return _label(_multiplier(T, torch.zeros_like(fixed_point)))


@e3.wrong("follows a start from 1e-3 beside the fixed point for fifty steps")
def _(T: Map, fixed_point: Tensor) -> str:
    x, gaps = fixed_point + 1e-3, []
    for _ in range(50):
        x = T(x)
        gaps.append(float(x - fixed_point))
    if abs(abs(gaps[-1]) - 1e-3) < 1e-9:
        return "neutral"
    if not abs(gaps[-1]) < 1e-3:
        return "diverging"
    return "oscillating" if gaps[0] < 0 else "monotone"


# --- e4: where the double well's starts end ---------------------------------------------------

e4 = Exercise(
    id="p2.t1.e4",
    title="Which well?",
    pure=True,
    hints=(
        "Three numbers from the text cut the line: 0, the place √(1 + 1/lr) that is mapped onto 0, "
        "and √(1 + 2/lr). What can you say at once about a start between the first two, about one "
        "beyond the third, and about one exactly on any of them?",
        "Below √(1 + 1/lr) the sign of x no longer changes. So take steps until |x| is below it; "
        "the sign it has then is the answer. Beyond √(1 + 2/lr) no step is needed.",
        "A start in the bands is carried out of them quickly: its distance to √(1 + 2/lr) grows "
        "about 5 + 2 lr times per step. For a whole tensor, `torch.where` moves those starts "
        "that are still in the bands and leaves the others.",
    ),
)


@e4.answer
def basin(x0: Tensor, lr: float) -> Tensor:
    """Where gradient descent on the double well ¼ x⁴ - ½ x² ends, for each start in x0.

    x0 has any shape, lr lies strictly between 0 and 1. Each entry of the result is 1.0 or -1.0,
    the minimum that is reached; infinity (positive, for starts on either side) for a start that
    diverges; or 0.0 for one that does neither: it is on the hilltop, lands exactly there (as 3.0
    does with lr = 1/8), or cycles between √(1 + 2/lr) and minus that (as 3.0 does with lr = 1/4).
    """
    fold, edge = (1 + 1 / lr) ** 0.5, (1 + 2 / lr) ** 0.5
    x = x0
    for _ in range(40):
        in_bands = (x.abs() >= fold) & (x.abs() < edge)
        x = torch.where(in_bands, (1 + lr) * x - lr * x**3, x)
    ends = torch.where(x.abs() > edge, torch.inf, x.sign())
    return torch.where(x.abs() == edge, 0.0, ends)


def _step(x: float, lr: float) -> float:
    return (1 + lr) * x - lr * x**3


def _boundaries(lr: float, count: int = 8) -> list[float]:
    """The first places where the answer changes, by bisection: T(next) = -(last)."""
    edge = (1 + 2 / lr) ** 0.5
    found = [(1 + 1 / lr) ** 0.5]
    while len(found) < count:
        low, high = found[-1], edge
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if _step(middle, lr) > -found[-1] else (low, middle)
        found.append(low)
    return found


@e4.cases
def starts(rng: Rng) -> Iterator[Case]:
    for x in (0.0, 0.5, -0.5, 1.0, 2.0, 2.4, 2.5, 2.6, -2.6, 3.0, 3.2, -3.2, 3.3, 3.4, -5.0):
        yield Case(_vector(x)[0], 0.2, note="one start")
    yield Case(_vector(1e-9, -1e-9, 0.0), 0.2, note="near the top")
    yield Case(_vector(1e-12, -1e-12), 0.01, note="near the top, with short steps")
    for x in (3.0, -3.0):
        yield Case(_vector(x)[0], 0.125, note="lands exactly on the hilltop")
        yield Case(_vector(x)[0], 0.25, note="on the cycle of two")
    yield Case(_vector(3.0, 2.0, 0.0, 4.0), 0.125, note="one of them lands on the hilltop")
    yield Case(_vector(3.0, 2.5, -3.0, 3.5), 0.25, note="two of them cycle")
    yield Case(_vector(1e6, -1e6), 0.2, note="far out")
    yield Case(_vector(1e200, -1e200), 0.5, note="absurdly far out")
    yield Case(torch.zeros(0, dtype=torch.float64), 0.2, note="no starts")
    for lr in (0.01, 0.05, 0.2, 0.5, 0.9, 0.99):
        found, edge = _boundaries(lr), (1 + 2 / lr) ** 0.5
        ends = [*found, edge]
        middles = [(a + b) / 2 for a, b in itertools.pairwise(ends)]
        yield Case(torch.tensor(middles[:6]).double(), lr, note="the middles of bands")
        near = [b * (1 + side * 1e-7) for b in found[:4] for side in (-1, 1)]
        yield Case(-torch.tensor(near).double(), lr, note="close to the boundaries")
        yield Case(_vector(edge * (1 + 1e-9), edge * 1.5), lr, note="just beyond the last band")
        yield Case(rng.uniform_in(-1.2 * edge, 1.2 * edge, 2, 3), lr, note="a table of starts")
    for _ in range(8):
        yield Case(_grid(rng, 3) * 2, rng.choice((0.1, 0.2, 0.4, 0.6)))


@e4.shape
def _(fn: Fn, x0: Tensor, lr: float) -> None:
    result = fn(x0, lr)
    has_shape(result, tuple(x0.shape), torch.float64)
    known = (result.abs() == 1) | (result == 0) | (result == torch.inf)
    require(known, "an entry is none of 1, -1, 0, inf")


@e4.property("the mirror image of a start ends in the mirror image")
def _(fn: Fn, x0: Tensor, lr: float) -> None:
    here, there = fn(x0, lr), fn(-x0, lr)
    close(there, torch.where(here == torch.inf, here, -here), 0)


@e4.property("a start and the point one step after it end in the same place")
def _(fn: Fn, x0: Tensor, lr: float) -> None:
    close(fn((1 + lr) * x0 - lr * x0**3, lr), fn(x0, lr), 0)


@e4.value("counting the boundaries between 0 and the start")
def _(fn: Fn, x0: Tensor, lr: float) -> None:
    edge = (1 + 2 / lr) ** 0.5
    borders = torch.tensor(_boundaries(lr, 25), dtype=torch.float64)
    crossed = (x0.abs().unsqueeze(-1) > borders).sum(-1)
    expected = x0.sign() * (1 - 2 * (crossed % 2))
    after = (1 + lr) * x0 - lr * x0**3
    expected = torch.where((after == 0) | (x0.abs() == edge), 0.0, expected)
    close(fn(x0, lr), torch.where(x0.abs() > edge, torch.inf, expected), 0)


@e4.wrong("the basins of the flow: the side of the hill decides")
def _(x0: Tensor, lr: float) -> Tensor:
    return torch.where(x0.abs() > (1 + 2 / lr) ** 0.5, torch.inf, x0.sign())


@e4.wrong("the sign after a single step")
def _(x0: Tensor, lr: float) -> Tensor:
    x = (1 + lr) * x0 - lr * x0**3
    return torch.where(x0.abs() > (1 + 2 / lr) ** 0.5, torch.inf, x.sign())


@e4.wrong("everything beyond the first boundary diverges")
def _(x0: Tensor, lr: float) -> Tensor:
    return torch.where(x0.abs() > (1 + 1 / lr) ** 0.5, torch.inf, x0.sign())


@e4.wrong("simulates, and lets diverging starts end as NaN")
def _(x0: Tensor, lr: float) -> Tensor:
    x = x0
    for _ in range(500):
        x = (1 + lr) * x - lr * x**3
    return x.round()


@e4.wrong("simulates 50 steps and rounds: starts near the top have not left it yet")
def _(x0: Tensor, lr: float) -> Tensor:
    x = x0
    for _ in range(50):
        x = torch.where(x.abs() > 1e6, x, (1 + lr) * x - lr * x**3)
    return torch.where(x.abs() > 1e6, torch.inf, x.round())


@e4.wrong("a start that is mapped exactly onto the hilltop keeps its side")
def _(x0: Tensor, lr: float) -> Tensor:
    return torch.where(x0.abs() == (1 + 1 / lr) ** 0.5, x0.sign(), basin(x0, lr))


@e4.wrong("diverges from the edge on: the cycle of two is forgotten")
def _(x0: Tensor, lr: float) -> Tensor:
    return torch.where(x0.abs() >= (1 + 2 / lr) ** 0.5, torch.inf, basin(x0, lr))


@e4.wrong("diverges where the first step leads further out, as it does from 0.5, too")
def _(x0: Tensor, lr: float) -> Tensor:
    after = (1 + lr) * x0 - lr * x0**3
    return torch.where(after.abs() > x0.abs(), torch.inf, x0.sign())


@e4.wrong("the bands of lr = 0.2, whatever lr is")
def _(x0: Tensor, lr: float) -> Tensor:
    return basin(x0, 0.2)


@e4.wrong("one boundary too few: the side changes at the first, and back at no other")
def _(x0: Tensor, lr: float) -> Tensor:
    fold, edge = (1 + 1 / lr) ** 0.5, (1 + 2 / lr) ** 0.5
    side = torch.where(x0.abs() > fold, -x0.sign(), x0.sign())
    return torch.where(x0.abs() > edge, torch.inf, side)


@e4.wrong("the last place, not the name of the minimum")
def _(x0: Tensor, lr: float) -> Tensor:
    x = x0
    for _ in range(200):
        x = torch.where(x.abs() <= (1 + 2 / lr) ** 0.5, (1 + lr) * x - lr * x**3, torch.inf)
    return x


@e4.wrong("minus infinity for starts on the left")
def _(x0: Tensor, lr: float) -> Tensor:
    ends = basin(x0, lr)
    return torch.where(ends == torch.inf, torch.inf * x0.sign(), ends)


@e4.wrong("calls 1.0 what stays on the hill")
def _(x0: Tensor, lr: float) -> Tensor:
    ends = basin(x0, lr)
    return torch.where(ends == 0, 1.0, ends)


# --- e5: when one step is enough --------------------------------------------------------------

e5 = Exercise(
    id="p2.t1.e5",
    title="One step is enough",
    pure=True,
    none_ok=True,
    hints=(
        "Let g be the gradient at x0. What is the gradient after a step of lr? When can it be "
        "zero?",
        "It is g - lr A g. So A g has to be a multiple of g: the gradient, and with it the error, "
        "has to lie along an eigenvector. This also proves the statement about all starts.",
        "The only candidate is (g · g) / (g · A g). Take it, and look whether g - lr A g is zero "
        "up to rounding, compared with the size of g.",
    ),
)


@e5.answer
def one_step_lr(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    """The learning rate with which one step from x0 reaches the minimum of ½ xᵀ A x - b · x.

    A is symmetric and positive definite, `d d`; b and x0 have shape `d`. Return a number, or None
    if no learning rate does it (a gradient left over of less than 1e-9 of the first one counts as
    none left). Where x0 is the minimum already, return 0.0.

    Then prove on paper: one step is enough from *every* start exactly if all eigenvalues of A are
    equal.
    """
    g = A @ x0 - b
    if not g.any():
        return 0.0
    lr = (g @ g) / (g @ A @ g)
    left = g - lr * (A @ g)
    return float(lr) if left.norm() <= 1e-9 * g.norm() else None


@e5.cases
def problems(rng: Rng) -> Iterator[Case]:
    one = torch.eye(1).double()
    yield Case(4 * one, _vector(0.0), _vector(3.0), note="d = 1")
    yield Case(4 * one, _vector(8.0), _vector(5.0), note="d = 1, the minimum at 2")
    yield Case(4 * one, _vector(8.0), _vector(2.0), note="at the minimum")
    yield Case(torch.diag(_vector(2.0, 8.0)), _vector(2.0, 8.0), _vector(1.0, 1.0), note="there")
    bowl, zero = torch.diag(_vector(10.0, 1.0)), _vector(0.0, 0.0)
    yield Case(bowl, zero, _vector(1.0, 0.0), note="along the steep axis")
    yield Case(bowl, zero, _vector(0.0, 3.0), note="along the flat axis")
    yield Case(bowl, zero, _vector(1.0, 1.0), note="along neither")
    yield Case(bowl, _vector(10.0, 1.0), _vector(1.0, 3.0), note="the minimum at (1, 1)")
    yield Case(bowl, _vector(10.0, 1.0), _vector(2.0, 2.0), note="x0 is no eigenvector")
    yield Case(bowl, _vector(10.0, 2.0), _vector(1.0, 0.0), note="x0 is an eigenvector")
    yield Case(bowl, zero, _vector(1.0, 1e-3), note="almost along an axis")
    yield Case(bowl, zero, _vector(1.0, 1e-7), note="1e-8 of the gradient would be left")
    yield Case(bowl, zero, _vector(1.0, 1e-9), note="1e-10 of the gradient is left: none")
    yield Case(0.5 * torch.eye(3).double(), _grid(rng, 3), _grid(rng, 3), note="a round bowl")
    plane = torch.diag(_vector(2.0, 2.0, 5.0))
    yield Case(plane, 0 * _vector(1.0, 1.0, 1.0), _vector(1.0, -2.0, 0.0), note="equal eigenvalues")
    tilted = _vector(2.0, 1.0, 1.0, 2.0).reshape(2, 2)
    yield Case(tilted, zero, _vector(1.0, -1.0), note="along an eigenvector")
    yield Case(tilted, zero, _vector(1.0, 0.0), note="along an axis, but A is not diagonal")
    for scale in (1e-12, 1e-6, 1e6, 1e9):
        yield Case(scale * tilted, zero, _vector(2.0, 2.0), note=f"A of size {scale:g}")
        yield Case(scale * tilted, zero, _vector(2.0, 1.0), note=f"A of size {scale:g}")
        yield Case(tilted, zero, scale * _vector(2.0, 2.0), note=f"x0 of size {scale:g}")
        yield Case(tilted, zero, scale * _vector(2.0, 1.0), note=f"x0 of size {scale:g}")
    for d in (2, 3, 4, 5):
        A = _with_eigenvalues(rng, 1 + torch.arange(d).double())
        center = _grid(rng, d)
        along = torch.linalg.eigh(A).eigenvectors[:, rng.randint(0, d - 1)]
        yield Case(A, A @ center, center + 2 * along, note="the error is an eigenvector")
        yield Case(A, A @ center, _grid(rng, d) + 0.05, note="a start like any other")


@e5.shape
def _(fn: Fn, A: Tensor, b: Tensor, x0: Tensor) -> None:
    result = fn(A, b, x0)
    require(result is None or _is_number(result), "expected a number or None")


@e5.property("if there is a rate, the step with it leaves no gradient")
def _(fn: Fn, A: Tensor, b: Tensor, x0: Tensor) -> None:
    answer = fn(A, b, x0)
    if answer is not None:
        lr, g = float(answer), A @ x0 - b
        left = A @ (x0 - lr * g) - b
        rounding = 1e-14 * (A.abs() @ (x0.abs() + lr * g.abs()) + b.abs()).max()
        share = float(left.norm() / g.norm()) if g.any() else 0.0
        short = "short" if float(left @ g) > 0 else "long"
        require(
            left.norm() <= 1.1e-9 * g.norm() + rounding,
            f"your step leaves {share:.0e} of the gradient; along it, the step is too {short}",
        )


@e5.property("moving bowl and start together changes nothing")
def _(fn: Fn, A: Tensor, b: Tensor, x0: Tensor) -> None:
    before, after = fn(A, b, x0), fn(A, b + A @ torch.ones_like(x0), x0 + 1)
    if float((A @ x0 - b).norm()) > 1e-3 * float(A.norm() * (1 + x0.norm())):
        require((before is None) == (after is None), "an answer became None, or None an answer")
        if before is not None and after is not None:
            close(float(after), float(before), 1e-6, relative=True)


@e5.value("the angle between the gradient and A times the gradient")
def _(fn: Fn, A: Tensor, b: Tensor, x0: Tensor) -> None:
    lr, g = fn(A, b, x0), A @ x0 - b
    if not bool(g.any()):
        require(lr == 0, "x0 is the minimum")
        return
    Ag = A @ g
    left = float((g / g.norm() - Ag / Ag.norm()).norm())  # the sine of the angle, if it is small
    if left < 1e-9:
        require(lr is not None, "there is such a rate, but you return None")
        close(float(lr), float(g.norm() / Ag.norm()), 1e-8, relative=True)
    else:
        share = f"{min(left, 1.0):.0e}"
        require(lr is None, f"no rate does it: at least about {share} of the gradient is left")


@e5.wrong("1 / L, whatever the start")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    return float(1 / torch.linalg.eigvalsh(A)[-1])


@e5.wrong("the best step along the gradient, called enough without looking")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    g = A @ x0 - b
    return float((g @ g) / (g @ A @ g)) if g.any() else 0.0


@e5.wrong("asks whether x0, not the error x0 - minimum, is an eigenvector")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    if not (A @ x0 - b).any():
        return 0.0
    if not x0.any():
        return None
    lr = (x0 @ x0) / (x0 @ A @ x0)
    return float(lr) if (x0 - lr * (A @ x0)).norm() <= 1e-9 * x0.norm() else None


@e5.wrong("only round bowls: None unless all eigenvalues are equal")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    if not (A @ x0 - b).any():
        return 0.0
    values = torch.linalg.eigvalsh(A)
    return float(1 / values[0]) if values[-1] - values[0] < 1e-9 * values[-1] else None


@e5.wrong("NaN at the minimum: zero divided by zero")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    g = A @ x0 - b
    lr = (g @ g) / (g @ A @ g)
    return None if (g - lr * (A @ g)).norm() > 1e-9 * g.norm() else float(lr)


@e5.wrong("an absolute tolerance: small gradients pass for none")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    g = A @ x0 - b
    if not g.any():
        return 0.0
    lr = (g @ g) / (g @ A @ g)
    return float(lr) if (g - lr * (A @ g)).norm() <= 1e-5 else None


def _judged(A: Tensor, b: Tensor, x0: Tensor, allowed: float, share: float) -> float | None:
    """The model answer, with another idea of when nothing is left."""
    g = A @ x0 - b
    if not g.any():
        return 0.0
    lr = (g @ g) / (g @ A @ g)
    left = (g - lr * (A @ g)).norm()
    return float(lr) if left <= allowed + share * g.norm() else None


@e5.wrong("an absolute tolerance of 1e-9")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    return _judged(A, b, x0, 1e-9, 0.0)


@e5.wrong("an absolute tolerance of 1e-12, which rounding exceeds where gradients are large")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    return _judged(A, b, x0, 1e-12, 0.0)


@e5.wrong("a millionth of the gradient counts as none")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    return _judged(A, b, x0, 0.0, 1e-6)


@e5.wrong("allclose, with its own tolerances")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    g = A @ x0 - b
    if not g.any():
        return 0.0
    lr = (g @ g) / (g @ A @ g)
    return float(lr) if torch.allclose(lr * (A @ g), g) else None


@e5.wrong("takes a small gradient for the minimum")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    return 0.0 if (A @ x0 - b).norm() < 1e-8 else one_step_lr(A, b, x0)


@e5.wrong("one eigenvector of eigh must be the direction: equal eigenvalues are missed")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    g = A @ x0 - b
    if not g.any():
        return 0.0
    values, Q = torch.linalg.eigh(A)
    parts = (Q.mT @ g).abs() / g.norm()
    return float(1 / values[parts.argmax()]) if parts.max() > 1 - 1e-9 else None


@e5.wrong("the gradient without b")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    return one_step_lr(A, 0 * b, x0)


@e5.wrong("forgets the half: twice the rate")
def _(A: Tensor, b: Tensor, x0: Tensor) -> float | None:
    lr = one_step_lr(A, b, x0)
    return None if lr is None else 2 * lr
