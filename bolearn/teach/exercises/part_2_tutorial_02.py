"""The exercises of part_2/tutorial_02: geometry and conditioning of optimisation."""

import itertools
import math
import numbers
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require

Map = Callable[[Tensor], Tensor]


def _named(name: str, fn: Map) -> Map:
    fn.__name__ = name
    return fn


def _is_number(value: object) -> bool:
    """A float, or what counts as one: an int, a NumPy number, a tensor without axes."""
    if isinstance(value, Tensor):
        return value.ndim == 0 and value.dtype != torch.bool
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def _matrix(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _rotated(rng: Rng, values: Tensor) -> Tensor:
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    Q: Tensor = torch.linalg.qr(rng.normal(len(values), len(values))).Q
    A = (Q * values) @ Q.mT
    return (A + A.mT) / 2


def _kappa(H: Tensor) -> Tensor:
    values = torch.linalg.eigvalsh((H + H.mT) / 2)
    kappa: Tensor = values[..., -1] / values[..., 0]
    return kappa


# --- e1: the best single learning rate --------------------------------------------------------

e1 = Exercise(
    id="p2.t2.e1",
    title="The best single step",
    pure=True,
    hints=(
        "Each mode has its multiplier, 1 - lr times its eigenvalue. Which two modes can be the "
        "slowest?",
        "The flattest and the steepest. Raising lr helps one and harms the other; at the best lr "
        "their multipliers have the same size and opposite signs.",
        "Take the smallest and the largest of `torch.linalg.eigvalsh(H)`, not of the diagonal. "
        "Solve 1 - lr μ = lr L - 1 for lr, and insert it for the rate.",
    ),
)


@e1.answer
def best_lr_and_rate(H: Tensor) -> tuple[float, float]:
    """The learning rate with which gradient descent on ½ xᵀ H x is fastest, and how fast it is.

    H is symmetric and positive definite, `d d`. "Fastest" is meant for the worst start. Return two
    numbers: the learning rate, and the factor between 0 and 1 that a step then leaves of the
    distance to the minimum, at worst.
    """
    eigenvalues = torch.linalg.eigvalsh(H)
    mu, L = float(eigenvalues[0]), float(eigenvalues[-1])
    return 2 / (L + mu), (L - mu) / (L + mu)


@e1.cases
def bowls(rng: Rng) -> Iterator[Case]:
    one = torch.eye(1, dtype=torch.float64)
    for scale in (1.0, 4.0, 1e-6, 1e6):
        yield Case(scale * one, note="one dimension")
    yield Case(2 * torch.eye(2).double(), note="a round bowl")
    yield Case(0.5 * torch.eye(3).double(), note="a round bowl")
    for diagonal in ((1.0, 3.0), (3.0, 1.0), (1.0, 2.0, 9.0), (9.0, 5.0, 1.0), (1.0, 1000.0)):
        yield Case(torch.diag(_vector(*diagonal)), note="along the axes")
    yield Case(_matrix((2.0, 1.0), (1.0, 2.0)), note="rotated by 45 degrees")
    yield Case(_matrix((2.0, -1.0), (-1.0, 2.0)), note="rotated by 45 degrees")
    for scale in (1e-6, 1e6):
        yield Case(scale * _rotated(rng, _vector(1.0, 3.0)), note=f"H of size {scale:g}")
        yield Case(scale * torch.diag(_vector(1.0, 2.0, 4.0)), note=f"H of size {scale:g}")
    for d in (2, 2, 3, 4, 5, 8):
        yield Case(_rotated(rng, rng.uniform_in(0.5, 8.0, d)))


def _slowest(lr: float, values: Tensor) -> float:
    return float((1 - lr * values).abs().max())


@e1.shape
def _(fn: Fn, H: Tensor) -> None:
    result = fn(H)
    require(isinstance(result, (tuple, list)) and len(result) == 2, "expected a pair")
    require(all(_is_number(part) for part in result), "expected two numbers")


@e1.property("the rate is what a step with your learning rate leaves of the distance, at worst")
def _(fn: Fn, H: Tensor) -> None:
    lr, rate = map(float, fn(H))
    _, Q = torch.linalg.eigh(H)
    left = (Q.mT - lr * Q.mT @ H).norm(dim=-1)  # one step from each eigenvector
    close(rate, float(left.max()), 1e-8)


@e1.property("with a slightly smaller or larger learning rate some start is slower")
def _(fn: Fn, H: Tensor) -> None:
    lr, values = float(fn(H)[0]), torch.linalg.eigvalsh(H)
    for factor in (0.9, 0.99, 1.01, 1.1):
        beaten = _slowest(factor * lr, values) < _slowest(lr, values)
        require(not beaten, f"{factor} times your learning rate is faster")


@e1.property("a bowl three times as steep needs a third of the rate, and is as fast")
def _(fn: Fn, H: Tensor) -> None:
    (lr, rate), (lr3, rate3) = fn(H), fn(3 * H)
    close(3 * lr3 / lr, 1.0, 1e-8)
    close(rate3, rate, 1e-8)


@e1.value("a fine search over learning rates")
def _(fn: Fn, H: Tensor) -> None:
    values = torch.linalg.eigvalsh(H)
    low, high = 0.0, 2 / float(values[-1])
    for _ in range(200):  # the slowest multiplier is convex in lr: thirds close in on its minimum
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if _slowest(a, values) < _slowest(b, values) else (a, high)
    lr, rate = map(float, fn(H))
    close(lr / low, 1.0, 1e-7)
    close(rate, _slowest(low, values), 1e-7)


@e1.wrong("1 / L, which is best for the steepest mode only")
def _(H: Tensor) -> tuple[float, float]:
    values = torch.linalg.eigvalsh(H)
    return float(1 / values[-1]), float(1 - values[0] / values[-1])


@e1.wrong("just below the stability limit, since longer steps must be faster")
def _(H: Tensor) -> tuple[float, float]:
    values = torch.linalg.eigvalsh(H)
    lr = float(1.99 / values[-1])
    return lr, _slowest(lr, values)


@e1.wrong("the entries of the diagonal in place of the eigenvalues")
def _(H: Tensor) -> tuple[float, float]:
    low, high = float(H.diagonal().min()), float(H.diagonal().max())
    return 2 / (high + low), (high - low) / (high + low)


@e1.wrong("the factor of the loss, the square of that of the distance")
def _(H: Tensor) -> tuple[float, float]:
    values = torch.linalg.eigvalsh(H)
    total = values[-1] + values[0]
    return float(2 / total), float(((values[-1] - values[0]) / total) ** 2)


@e1.wrong("one over the mean of all eigenvalues")
def _(H: Tensor) -> tuple[float, float]:
    values = torch.linalg.eigvalsh(H)
    lr = float(1 / values.mean())
    return lr, _slowest(lr, values)


@e1.wrong("eigenvalues taken in descending order: the rate is negative")
def _(H: Tensor) -> tuple[float, float]:
    values = torch.linalg.eigvalsh(H)
    total = values[-1] + values[0]
    return float(2 / total), float((values[0] - values[-1]) / total)


@e1.wrong("the two numbers exchanged")
def _(H: Tensor) -> tuple[float, float]:
    lr, rate = best_lr_and_rate(H)
    return rate, lr


@e1.wrong("√κ where κ belongs, as for a method with momentum")
def _(H: Tensor) -> tuple[float, float]:
    values = torch.linalg.eigvalsh(H).sqrt()
    rate = (values[-1] - values[0]) / (values[-1] + values[0])
    return best_lr_and_rate(H)[0], float(rate)


@e1.wrong("one over the geometric mean of the two eigenvalues")
def _(H: Tensor) -> tuple[float, float]:
    values = torch.linalg.eigvalsh(H)
    lr = float((values[0] * values[-1]).rsqrt())
    return lr, _slowest(lr, values)


@e1.wrong("all eigenvalues in the sum, not the two that count")
def _(H: Tensor) -> tuple[float, float]:
    return float(2 / H.trace()), best_lr_and_rate(H)[1]


@e1.wrong("the steep mode's factor with its sign")
def _(H: Tensor) -> tuple[float, float]:
    lr, _ = best_lr_and_rate(H)
    return lr, 1 - lr * float(torch.linalg.eigvalsh(H)[-1])


@e1.wrong("the mean factor of all modes, not the slowest")
def _(H: Tensor) -> tuple[float, float]:
    lr, _ = best_lr_and_rate(H)
    return lr, float((1 - lr * torch.linalg.eigvalsh(H)).abs().mean())


# --- e2: descending on another map ------------------------------------------------------------

e2 = Exercise(
    id="p2.t2.e2",
    title="Descend on another map",
    hints=(
        "What do you return: numbers, or something that will be called with points later?",
        "A function of x. For one point it is P times the gradient at x. And for a stack of "
        "points, whose gradients are rows?",
        "For rows, `g @ P.mT` multiplies every gradient by P, whatever stands in front.",
    ),
)


@e2.answer
def precondition(gradient: Callable[[Tensor], Tensor], P: Tensor) -> Callable[[Tensor], Tensor]:
    """The gradient as it is seen through P: a function that gradient descent can use in its place.

    gradient maps points `... d` to the gradients there, `... d`. P is symmetric and positive
    definite, `d d`. Return a function from `... d` to `... d`, whose value at each point is P times
    the gradient at that point. With P = S Sᵀ, descending by it in x is descending in z = S⁻¹ x.
    """

    def preconditioned(x: Tensor) -> Tensor:
        return gradient(x) @ P.mT

    return preconditioned


def _bowl(H: Tensor, center: Tensor) -> Map:
    H, center = H.clone(), center.clone()
    return _named(f"x -> (x - c) @ H, H = {H.tolist()}", lambda x: (x - center) @ H)


def _quartic(d: int) -> Map:
    return _named("x -> x ** 3 + x", lambda x: x**3 + x)


@e2.cases
def gradients(rng: Rng) -> Iterator[Case]:
    one = torch.eye(1).double()
    yield Case(_bowl(2 * one, _vector(0.0)), one, note="d = 1, P = 1")
    yield Case(_bowl(2 * one, _vector(1.0)), 0.25 * one, note="d = 1")
    H = _matrix((10.0, 0.0), (0.0, 1.0))
    yield Case(_bowl(H, _vector(0.0, 0.0)), torch.eye(2).double(), note="P changes nothing")
    yield Case(_bowl(H, _vector(0.0, 0.0)), torch.diag(_vector(0.1, 1.0)), note="other units")
    tilted = _matrix((2.0, 1.0), (1.0, 2.0))
    yield Case(_bowl(tilted, _vector(1.0, -1.0)), _matrix((2.0, -1.0), (-1.0, 2.0)) / 3)
    yield Case(_bowl(tilted, _vector(0.0, 0.0)), torch.diag(_vector(1.0, 1e-4)))
    yield Case(_quartic(2), _matrix((2.0, 1.0), (1.0, 1.0)), note="no bowl")
    yield Case(_quartic(3), _matrix((3.0, 1.0, 0.0), (1.0, 2.0, 1.0), (0.0, 1.0, 1.0)))
    for scale in (1e-6, 1e6):
        yield Case(_bowl(tilted, _vector(0.0, 0.0)), scale * tilted, note=f"P of size {scale:g}")
        yield Case(_bowl(scale * tilted, _vector(1.0, 0.0)), tilted, note=f"H of size {scale:g}")
    for d in (2, 2, 3, 3, 4, 4, 5, 5):
        H = _rotated(rng, rng.uniform_in(0.5, 4.0, d))
        center = rng.uniform_in(-2.0, 2.0, d).round()
        yield Case(_bowl(H, center), _rotated(rng, rng.uniform_in(0.2, 3.0, d)))


def _points(d: int, *front: int) -> Tensor:
    """Points without symmetry, the same for all answers."""
    count = math.prod((*front, d))
    return torch.sin(1.0 + 2.3 * torch.arange(count, dtype=torch.float64)).reshape(*front, d)


@e2.shape
def _(fn: Fn, gradient: Map, P: Tensor) -> None:
    step = fn(gradient, P)
    require(callable(step), "expected a function")
    d = len(P)
    for front in ((), (1,), (4,), (d,), (2, 3)):
        has_shape(step(_points(d, *front)), (*front, d), torch.float64)


@e2.property("a stack of points gives what its points give alone")
def _(fn: Fn, gradient: Map, P: Tensor) -> None:
    step, x = fn(gradient, P), _points(len(P), len(P))
    alone = torch.stack([step(row) for row in x])
    close(step(x), alone, 1e-10, relative=True)


@e2.property("P times 3 makes everything three times as long")
def _(fn: Fn, gradient: Map, P: Tensor) -> None:
    x = _points(len(P), 2)
    close(fn(gradient, 3 * P)(x), 3 * fn(gradient, P)(x), 1e-9, relative=True)


@e2.property("the new direction leads uphill, like the gradient")
def _(fn: Fn, gradient: Map, P: Tensor) -> None:
    x = _points(len(P), 3)
    require((fn(gradient, P)(x) * gradient(x)).sum(-1) > 0, "it leads downhill")


@e2.value("ten steps of gradient descent in z, carried back to x = S z")
def _(fn: Fn, gradient: Map, P: Tensor) -> None:
    S = torch.linalg.cholesky(P)
    x = _points(len(P), 3)
    z = torch.linalg.solve_triangular(S, x.mT, upper=False).mT
    largest = float(gradient(x).abs().max() * P.abs().sum())
    lr, step = 0.1 / largest, fn(gradient, P)
    for _ in range(10):
        x = x - lr * step(x)
        z = z - lr * gradient(z @ S.mT) @ S  # the gradient in z is Sᵀ times that in x
    close(x, z @ S.mT, 1e-9)
    moved = (x - _points(len(P), 3)).abs().max()
    close((x - z @ S.mT) / moved, torch.zeros_like(x), 1e-6)


@e2.wrong("the inverse of P")
def _(gradient: Map, P: Tensor) -> Map:
    return lambda x: torch.linalg.solve(P, gradient(x).unsqueeze(-1)).squeeze(-1)


@e2.wrong("the gradient at P x instead of P times the gradient at x")
def _(gradient: Map, P: Tensor) -> Map:
    return lambda x: gradient(x @ P.mT)


@e2.wrong("P from the left: for a stack of points it mixes the points")
def _(gradient: Map, P: Tensor) -> Map:
    return lambda x: P @ gradient(x) if x.shape[0] == len(P) else gradient(x) @ P


@e2.wrong("only the diagonal of P")
def _(gradient: Map, P: Tensor) -> Map:
    return lambda x: gradient(x) * P.diagonal()


@e2.wrong("the factor S where S Sᵀ belongs")
def _(gradient: Map, P: Tensor) -> Map:
    S = torch.linalg.cholesky(P)
    return lambda x: gradient(x) @ S.mT


@e2.wrong("P twice, as for a Hessian")
def _(gradient: Map, P: Tensor) -> Map:
    return lambda x: gradient(x) @ P @ P


@e2.wrong("the first gradient it saw, for ever")
def _(gradient: Map, P: Tensor) -> Map:
    seen: dict[tuple[int, ...], Tensor] = {}
    return lambda x: seen.setdefault(tuple(x.shape), gradient(x)) @ P


@e2.wrong("the gradient at P x, and P once more")
def _(gradient: Map, P: Tensor) -> Map:
    return lambda x: gradient(x @ P) @ P


@e2.wrong("the sign of a step: it leads downhill")
def _(gradient: Map, P: Tensor) -> Map:
    return lambda x: -gradient(x) @ P


@e2.wrong("P scaled to a largest entry of 1")
def _(gradient: Map, P: Tensor) -> Map:
    return lambda x: gradient(x) @ (P / P.max())


@e2.wrong("the lower triangle of P only")
def _(gradient: Map, P: Tensor) -> Map:
    return lambda x: gradient(x) @ P.tril()


# --- e3: the best units -----------------------------------------------------------------------

e3 = Exercise(
    id="p2.t2.e3",
    title="Choose the units",
    pure=True,
    hints=(
        "In which units would the curvature along each axis be 1?",
        "Scaling coordinate i by s turns the entry H_ii of the diagonal into s² H_ii. And the "
        "axes of a stack of matrices?",
        "s is one over the root of the diagonal: `H.diagonal(dim1=-2, dim2=-1)` reads it from "
        "each matrix, `torch.diag_embed` puts a vector back on a diagonal.",
    ),
)


@e3.answer
def equilibrate(H: Tensor) -> Tensor:
    """Units that make a bowl rounder: a diagonal matrix S, with S H S no worse than needed.

    H is symmetric and positive definite, or a stack of such matrices, `... d d`. Return S of the
    same shape: diagonal, with positive entries, such that κ(S H S) is at most 1.01 times what the
    Jacobi scaling reaches.
    """
    return torch.diag_embed(H.diagonal(dim1=-2, dim2=-1).rsqrt())


@e3.cases
def stretched(rng: Rng) -> Iterator[Case]:
    one = torch.eye(1, dtype=torch.float64)
    for scale in (1.0, 4.0, 1e-6, 1e6):
        yield Case(scale * one, note="one dimension")
    yield Case(torch.eye(3).double(), note="nothing to do")
    for diagonal in ((1.0, 100.0), (100.0, 1.0), (1.0, 9.0, 4.0), (1e-6, 1.0, 1e6)):
        yield Case(torch.diag(_vector(*diagonal)), note="along the axes")
    yield Case(_matrix((50.5, 49.5), (49.5, 50.5)), note="rotated by 45 degrees")
    yield Case(_matrix((4.0, 1.0), (1.0, 1.0)))
    yield Case(_matrix((1.0, -9.0), (-9.0, 100.0)), note="units and a tilt")
    yield Case(_matrix((1.0, 0.9, 9.0), (0.9, 1.0, 0.0), (9.0, 0.0, 1e3)))
    for scale in (1e-6, 1e6):
        yield Case(scale * _matrix((9.0, 2.0), (2.0, 1.0)), note=f"H of size {scale:g}")
    for d in (2, 2, 3, 4):
        yield Case(_units(rng, d), note="random units")
    for front in ((1,), (3,), (2, 2)):
        stack = [_units(rng, 2) for _ in range(math.prod(front))]
        yield Case(torch.stack(stack).reshape(*front, 2, 2), note="a stack")
    yield Case(torch.stack([_units(rng, 3) for _ in range(3)]), note="a stack of 3")


def _units(rng: Rng, d: int) -> Tensor:
    """A mildly tilted bowl in badly chosen units."""
    units = 10 ** rng.uniform_in(-2.0, 2.0, d)
    units[0] = 100 * units[1]
    H: Tensor = units.unsqueeze(-1) * _rotated(rng, rng.uniform_in(1.0, 4.0, d)) * units
    return (H + H.mT) / 2


def _scaled(S: Tensor, H: Tensor) -> Tensor:
    return S.mT @ H @ S


@e3.shape
def _(fn: Fn, H: Tensor) -> None:
    has_shape(fn(H), tuple(H.shape), torch.float64)


@e3.property("S is diagonal, and its entries are positive")
def _(fn: Fn, H: Tensor) -> None:
    S = fn(H)
    entries = S.diagonal(dim1=-2, dim2=-1)
    require((S - torch.diag_embed(entries)) == 0, "an entry beside the diagonal is not zero")
    require(entries > 0, "an entry of the diagonal is not positive")


@e3.property("the units in which H arrives do not matter to κ(S H S)")
def _(fn: Fn, H: Tensor) -> None:
    d = H.shape[-1]
    units = torch.diag(4.0 ** (1 - torch.arange(d, dtype=torch.float64)))
    other = _scaled(units, H)
    before, after = _kappa(_scaled(fn(H), H)), _kappa(_scaled(fn(other), other))
    require(after <= 1.02 * before, "κ is larger when H arrives in other units")


@e3.value("the Jacobi scaling, entry by entry")
def _(fn: Fn, H: Tensor) -> None:
    d = H.shape[-1]
    S, flat = fn(H).reshape(-1, d, d), H.reshape(-1, d, d)
    for own, bowl in zip(S, flat, strict=True):
        jacobi = bowl.clone()
        for i, j in itertools.product(range(d), range(d)):
            jacobi[i, j] = bowl[i, j] / math.sqrt(float(bowl[i, i]) * float(bowl[j, j]))
        require(_kappa(_scaled(own, bowl)) <= 1.01 * _kappa(jacobi), "κ(S H S) is too large")


@e3.wrong("forgets the root: S appears twice in S H S")
def _(H: Tensor) -> Tensor:
    return torch.diag_embed(1 / H.diagonal(dim1=-2, dim2=-1))


@e3.wrong("the root of the diagonal, not one over it")
def _(H: Tensor) -> Tensor:
    return torch.diag_embed(H.diagonal(dim1=-2, dim2=-1).sqrt())


@e3.wrong("one unit for all coordinates")
def _(H: Tensor) -> Tensor:
    mean = H.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
    return torch.diag_embed(mean.rsqrt().expand(H.shape[:-1]))


@e3.wrong("H to the power -1/2: perfectly round, but not diagonal")
def _(H: Tensor) -> Tensor:
    values, Q = torch.linalg.eigh(H)
    S: Tensor = (Q * values.rsqrt().unsqueeze(-2)) @ Q.mT
    return S


@e3.wrong("the eigenvalues, in ascending order, in place of the diagonal")
def _(H: Tensor) -> Tensor:
    return torch.diag_embed(torch.linalg.eigvalsh(H).rsqrt())


@e3.wrong("the diagonal as a vector")
def _(H: Tensor) -> Tensor:
    return H.diagonal(dim1=-2, dim2=-1).rsqrt()


@e3.wrong("takes the first matrix's units for the whole stack")
def _(H: Tensor) -> Tensor:
    d = H.shape[-1]
    first = H.reshape(-1, d, d)[0].diagonal().rsqrt()
    return torch.diag(first).expand(H.shape).clone()


@e3.wrong("the lengths of the columns, in place of the diagonal")
def _(H: Tensor) -> Tensor:
    return torch.diag_embed(H.norm(dim=-1).rsqrt())


@e3.wrong("the sums of the rows' sizes")
def _(H: Tensor) -> Tensor:
    return torch.diag_embed(H.abs().sum(-1).rsqrt())


@e3.wrong("the diagonal of the inverse")
def _(H: Tensor) -> Tensor:
    return torch.diag_embed(torch.linalg.inv(H).diagonal(dim1=-2, dim2=-1).sqrt())


@e3.wrong("a quarter power: the root twice")
def _(H: Tensor) -> Tensor:
    return torch.diag_embed(H.diagonal(dim1=-2, dim2=-1) ** -0.25)


@e3.wrong("units rounded to two decimals")
def _(H: Tensor) -> Tensor:
    s = H.diagonal(dim1=-2, dim2=-1).rsqrt()
    return torch.diag_embed(s.round(decimals=2).clamp(min=0.01))


# --- e4: a bowl that no units help ------------------------------------------------------------

e4 = Exercise(
    id="p2.t2.e4",
    title="A bowl that no units help",
    pure=True,
    hints=(
        "In two dimensions: which direction of the long axis treats both coordinates alike?",
        "At 45 degrees the diagonal entries are equal: H = (1, r; r, 1), with eigenvalues 1 + r "
        "and 1 - r. Which r gives the κ asked for?",
        "r = (κ - 1) / (κ + 1). In more dimensions put such a block into an identity matrix: its "
        "other eigenvalues lie between, and no scaling of the rest can help the block.",
    ),
)


@e4.answer
def stubborn(kappa: float, d: int) -> Tensor:
    """A bowl with the condition number kappa that no choice of units makes rounder.

    kappa is at least 1, d at least 2. Return H, `d d`, float64, symmetric and positive definite,
    with κ(H) = kappa, such that κ(S H S) is at least kappa for *every* diagonal S with positive
    entries.
    """
    H = torch.eye(d, dtype=torch.float64)
    H[0, 1] = H[1, 0] = (kappa - 1) / (kappa + 1)
    return H


@e4.cases
def condition_numbers(rng: Rng) -> Iterator[Case]:
    for d in (2, 3, 4, 6):
        for kappa in (1.0, 1.5, 4.0, 100.0, 1e4):
            yield Case(kappa, d)
    yield Case(1e6, 2, note="very long")
    yield Case(1 + 1e-6, 2, note="almost round")
    for d in (2, 3, 5):
        yield Case(round(rng.uniform(2.0, 50.0), 1), d)


@e4.shape
def _(fn: Fn, kappa: float, d: int) -> None:
    has_shape(fn(kappa, d), (d, d), torch.float64)


@e4.property("H is symmetric, positive definite, and has the condition number asked for")
def _(fn: Fn, kappa: float, d: int) -> None:
    H = fn(kappa, d)
    close(H, H.mT, 1e-12, relative=True)
    require(torch.linalg.eigvalsh(H)[0] > 0, "H is not positive definite")
    close(float(_kappa(H)) / kappa, 1.0, 1e-8)


@e4.property("Jacobi's units leave κ as it is")
def _(fn: Fn, kappa: float, d: int) -> None:
    H = fn(kappa, d)
    S = torch.diag(H.diagonal().rsqrt())
    require(_kappa(S @ H @ S) >= kappa * (1 - 1e-8), "Jacobi's units make it rounder")


@e4.value("five hundred other choices of units, slight and bold")
def _(fn: Fn, kappa: float, d: int) -> None:
    H = fn(kappa, d)
    g = torch.Generator().manual_seed(0)
    logs = torch.randn(500, d, generator=g, dtype=torch.float64)
    sizes = torch.tensor([1e-3, 1e-2, 0.1, 0.5, 2.0], dtype=torch.float64).repeat(100)
    s = (sizes.unsqueeze(-1) * logs).exp()
    rounder = _kappa(s.unsqueeze(-1) * H * s.unsqueeze(-2)) < kappa * (1 - 1e-8)
    require(~rounder, "some units make it rounder")


@e4.wrong("along the axes, where units mend everything")
def _(kappa: float, d: int) -> Tensor:
    return torch.diag(torch.linspace(1.0, kappa, d, dtype=torch.float64))


@e4.wrong("rotated by 30 degrees")
def _(kappa: float, d: int) -> Tensor:
    c, s = math.cos(math.pi / 6), math.sin(math.pi / 6)
    H = torch.eye(d, dtype=torch.float64)
    R = _matrix((c, -s), (s, c))
    H[:2, :2] = R @ torch.diag(_vector(1.0, kappa)) @ R.mT
    return H


@e4.wrong("r = 1 - 1/κ: nearly, but κ comes out twice too large")
def _(kappa: float, d: int) -> Tensor:
    H = torch.eye(d, dtype=torch.float64)
    H[0, 1] = H[1, 0] = 1 - 1 / kappa
    return H


@e4.wrong("a fixed H, whatever κ")
def _(kappa: float, d: int) -> Tensor:
    return torch.full((d, d), 0.98, dtype=torch.float64) + 0.02 * torch.eye(d).double()


@e4.wrong("a long axis beside the rotated block: κ is right, but units can mend it")
def _(kappa: float, d: int) -> Tensor:
    H = torch.eye(d, dtype=torch.float64)
    r = (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)
    H[:2, :2] = _matrix((1.0, r), (r, 1.0)) * (1 + math.sqrt(kappa)) / 2
    H[d - 1] *= 1.0 if d == 2 else kappa
    return H


@e4.wrong("all entries beside the diagonal alike: right in two dimensions only")
def _(kappa: float, d: int) -> Tensor:
    r = (kappa - 1) / (kappa + 1)
    return (1 - r) * torch.eye(d, dtype=torch.float64) + r * torch.ones(d, d, dtype=torch.float64)


@e4.wrong("√κ in place of κ")
def _(kappa: float, d: int) -> Tensor:
    return stubborn(kappa**0.5, d)


@e4.wrong("nearly 45 degrees")
def _(kappa: float, d: int) -> Tensor:
    c, s = math.cos(math.radians(44)), math.sin(math.radians(44))
    H, R = torch.eye(d, dtype=torch.float64), _matrix((c, -s), (s, c))
    H[:2, :2] = R @ torch.diag(_vector(1.0, kappa)) @ R.mT
    return H


@e4.wrong("the right block, in uneven units")
def _(kappa: float, d: int) -> Tensor:
    H = stubborn(kappa, d)
    H[0] *= 3.0
    H[:, 0] *= 3.0
    return H


@e4.wrong("only one of the two entries beside the diagonal")
def _(kappa: float, d: int) -> Tensor:
    H = stubborn(kappa, d)
    H[1, 0] = 0.0
    return H


# --- e5: Newton that never climbs -------------------------------------------------------------

e5 = Exercise(
    id="p2.t2.e5",
    title="Newton in the curved valley",
    pure=True,
    hints=(
        "Try a step, look at the loss, and keep the step only if the loss has fallen. What do you "
        "change before you try again?",
        "Solve (H + λ I) s = g with a damping λ: large makes the step short and downhill, small "
        "makes it Newton's. Raise λ after a failure, lower it after a success.",
        "Start with λ = 1. After a step that lowers the loss, keep it and divide λ by 10; after "
        "any other multiply λ by 4. Stop when the gradient is below 1e-9.",
    ),
)


@e5.answer
def rosenbrock_newton(x0: Tensor) -> Tensor:
    """The path of a damped Newton method on 100 (y - x²)² + (1 - x)², which never climbs.

    x0 has shape 2. Return the accepted points, `t 2`, of which the first is x0: at most 200. From
    each to the next leads a step s with (H + λ I) s = -∇f, where H and ∇f are taken at the first
    of the two and λ >= 0 is yours to choose, anew for each step; the loss must not rise; and at the
    last point the gradient's length is at most 1e-8. Steps that you tried and rejected are not in
    the path.
    """

    def loss(p: Tensor) -> float:
        return float(100 * (p[1] - p[0] ** 2) ** 2 + (1 - p[0]) ** 2)

    path, damping = [x0], 1.0
    while len(path) < 200:
        x, y = path[-1].tolist()
        gap = y - x * x
        g = torch.tensor([-400 * x * gap - 2 * (1 - x), 200 * gap], dtype=x0.dtype)
        if g.norm() <= 1e-9:
            break
        H = torch.tensor([[800 * x * x - 400 * gap + 2, -400 * x], [-400 * x, 200]], dtype=x0.dtype)
        new = path[-1] - torch.linalg.solve(H + damping * torch.eye(2, dtype=x0.dtype), g)
        if loss(new) < loss(path[-1]):
            path.append(new)
            damping /= 10
        else:
            damping *= 4
            if damping > 1e20:  # rounding leaves nothing to gain
                break
    return torch.stack(path)


@e5.cases
def valley_starts(rng: Rng) -> Iterator[Case]:
    yield Case(_vector(1.0, 1.0), note="at the minimum")
    yield Case(_vector(1.0 + 1e-6, 1.0), note="next to the minimum")
    yield Case(_vector(-1.2, 1.0), note="Rosenbrock's own start")
    yield Case(_vector(0.0, 0.0), note="on the floor of the valley")
    yield Case(_vector(0.0, 1.0), note="the Hessian is indefinite")
    yield Case(_vector(0.0, 0.005), note="the Hessian is singular")
    for y in (0.006, 0.01, 0.02):
        yield Case(_vector(0.0, y), note="Newton's step points uphill")
    yield Case(_vector(-1.0, 1.0), note="on the floor, on the far side")
    yield Case(_vector(-2.0, 4.0), note="on the floor, far out")
    yield Case(_vector(10.0, -10.0), note="far out")
    yield Case(_vector(-5.0, 5.0), note="far out")
    for x, y in ((-2.0, -2.0), (-0.5, 2.0), (1.5, -2.0), (1.5, 2.0)):
        yield Case(_vector(x, y))
    for _ in range(3):
        yield Case((rng.uniform_in(-2.0, 2.0, 2) * 10).round() / 10)


def _height(x: Tensor) -> Tensor:
    """Rosenbrock's function: ... 2 -> ..."""
    return 100 * (x[..., 1] - x[..., 0] ** 2) ** 2 + (1 - x[..., 0]) ** 2


def _gradient(x: Tensor) -> Tensor:
    gap = x[..., 1] - x[..., 0] ** 2
    return torch.stack([-400 * x[..., 0] * gap - 2 * (1 - x[..., 0]), 200 * gap], -1)


@e5.shape
def _(fn: Fn, x0: Tensor) -> None:
    path = fn(x0)
    require(isinstance(path, Tensor) and path.ndim == 2, "expected a table of points")
    has_shape(path, (len(path), 2), torch.float64)
    require(1 <= len(path) <= 200, f"expected 1 to 200 points, got {len(path)}")
    require(torch.equal(path[0], x0), "the path does not begin at x0")


@e5.property("the loss rises at no step")
def _(fn: Fn, x0: Tensor) -> None:
    f = _height(fn(x0))
    rises = ~(f[1:] <= f[:-1])
    at = f"step {int(rises.double().argmax()) + 1}" if bool(rises.any()) else "no step"
    require(not bool(rises.any()), f"the loss rises at {at}")


@e5.property("every step solves (H + λ I) s = -∇f for some λ >= 0")
def _(fn: Fn, x0: Tensor) -> None:
    path = fn(x0)
    for k, (p, s) in enumerate(zip(path[:-1], path.diff(dim=0), strict=True), 1):
        H, g = _curvature(p), _gradient(p)
        left = -g - H @ s  # λ s, where the step is of that kind
        damping = float(left @ s / (s @ s)) if s.any() else 0.0
        size = float(g.norm() + H.norm() * s.norm())
        rounding = 1e-14 * float(H.norm()) * float(1 + p.norm())
        off = float((left - damping * s).norm())
        require(off <= 1e-6 * size + rounding, f"step {k} is no damped Newton step")
        allowed = damping >= -1e-6 * float(H.norm()) - rounding / max(float(s.norm()), 1e-300)
        require(allowed, f"step {k} has a negative damping")


@e5.value("the only minimum, (1, 1), where the gradient's length is at most 1e-8")
def _(fn: Fn, x0: Tensor) -> None:
    end = fn(x0)[-1]
    left = float(_gradient(end).norm())
    require(left <= 1e-8, f"the gradient at the last point has the length {left:.0e}, not 1e-8")
    close(end, _vector(1.0, 1.0), 1e-6)


def _curvature(p: Tensor) -> Tensor:
    x, y = p.tolist()
    return _matrix((1200 * x * x - 400 * y + 2, -400 * x), (-400 * x, 200.0))


@e5.wrong("the minimum, known beforehand, in one step")
def _(x0: Tensor) -> Tensor:
    return torch.stack([x0, torch.ones_like(x0)]) if bool((x0 != 1).any()) else x0[None]


@e5.wrong("along the floor of the valley, by its formula")
def _(x0: Tensor) -> Tensor:
    x = x0[0] + (1 - x0[0]) * torch.linspace(0, 1, 50, dtype=torch.float64)
    return torch.cat([x0[None], torch.stack([x, x * x], -1)])


@e5.wrong("the start and the end of a damped Newton method, without what lies between")
def _(x0: Tensor) -> Tensor:
    path = rosenbrock_newton(x0)
    return path[[0, -1]] if len(path) > 1 else path


@e5.wrong("without the start")
def _(x0: Tensor) -> Tensor:
    path = rosenbrock_newton(x0)
    return path[1:] if len(path) > 1 else path


@e5.wrong("one point too few: the last step is computed, but not returned")
def _(x0: Tensor) -> Tensor:
    path = rosenbrock_newton(x0)
    return path[:-1] if len(path) > 1 else path


@e5.wrong("pure Newton: fast, but the loss rises on the way")
def _(x0: Tensor) -> Tensor:
    path = [x0]
    while len(path) < 200 and float(_gradient(path[-1]).norm()) > 1e-9:
        singular = float(torch.linalg.det(_curvature(path[-1]))) == 0
        shift = 1e-3 * torch.eye(2).double() if singular else torch.zeros(2, 2).double()
        step = torch.linalg.solve(_curvature(path[-1]) + shift, _gradient(path[-1]))
        path.append(path[-1] - step)
    return torch.stack(path)


@e5.wrong("a damping that never shrinks: never climbs, and does not arrive")
def _(x0: Tensor) -> Tensor:
    path, damping = [x0], 1.0
    while len(path) < 100 and damping < 1e20:
        step = torch.linalg.solve(
            _curvature(path[-1]) + damping * torch.eye(2).double(), _gradient(path[-1])
        )
        if _height(path[-1] - step) < _height(path[-1]):
            path.append(path[-1] - step)
        else:
            damping *= 4
    return torch.stack(path)


@e5.wrong("gradient descent with backtracking: a hundred steps are too few")
def _(x0: Tensor) -> Tensor:
    path, lr = [x0], 1.0
    while len(path) < 100 and lr > 1e-20:
        new = path[-1] - lr * _gradient(path[-1])
        if _height(new) < _height(path[-1]):
            path.append(new)
            lr *= 2
        else:
            lr /= 2
    return torch.stack(path)


@e5.wrong("halves Newton's step, which may point uphill where the Hessian is indefinite")
def _(x0: Tensor) -> Tensor:
    path = [x0]
    while len(path) < 200 and float(_gradient(path[-1]).norm()) > 1e-9:
        singular = float(torch.linalg.det(_curvature(path[-1]))) == 0
        shift = 1e-3 * torch.eye(2).double() if singular else torch.zeros(2, 2).double()
        step = torch.linalg.solve(_curvature(path[-1]) + shift, _gradient(path[-1]))
        while _height(path[-1] - step) >= _height(path[-1]):
            step = step / 2
            if float(step.norm()) < 1e-12:  # no part of it leads down
                return torch.stack(path)
        path.append(path[-1] - step)
    return torch.stack(path)


@e5.wrong("rejected steps left in the path")
def _(x0: Tensor) -> Tensor:
    path, x, damping = [x0], x0, 1.0
    while len(path) < 200 and float(_gradient(x).norm()) > 1e-9 and damping < 1e20:
        new = x - torch.linalg.solve(_curvature(x) + damping * torch.eye(2).double(), _gradient(x))
        path.append(new)
        if _height(new) < _height(x):
            x, damping = new, damping / 10
        else:
            damping *= 4
    return torch.stack(path)


@e5.wrong("a careless stop: the gradient is still a thousandth")
def _(x0: Tensor) -> Tensor:
    path, damping = [x0], 1.0
    while len(path) < 200 and float(_gradient(path[-1]).norm()) > 1e-3 and damping < 1e20:
        shifted = _curvature(path[-1]) + damping * torch.eye(2).double()
        new = path[-1] - torch.linalg.solve(shifted, _gradient(path[-1]))
        if _height(new) < _height(path[-1]):
            path.append(new)
            damping /= 10
        else:
            damping *= 4
    return torch.stack(path)
