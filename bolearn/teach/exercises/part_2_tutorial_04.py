"""The exercises of part_2/tutorial_04: optimisation beyond convexity."""

import decimal
import math
import numbers
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require

Map = Callable[[Tensor], Tensor]


def _named(name: str, fn: Fn) -> Any:
    fn.__name__ = name
    return fn


def _is_number(value: object) -> bool:
    """A float, or what counts as one: an int, a NumPy number, a tensor without axes."""
    if isinstance(value, Tensor):
        return value.ndim == 0 and value.dtype != torch.bool
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def _rotation(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return _vector(c, -s, s, c).reshape(2, 2)


def _with_eigenvalues(rng: Rng, values: Tensor) -> Tensor:
    """A random symmetric matrix with these eigenvalues."""
    n = len(values)
    Q: Tensor = torch.linalg.qr(rng.normal(n, n)).Q
    A = (Q * values) @ Q.mT
    return (A + A.mT) / 2


# --- e1: all critical points ------------------------------------------------------------------

e1 = Exercise(
    id="p2.t4.e1",
    title="Every place of rest",
    hints=(
        "Newton's method goes to whatever critical point is near, whether it is a minimum, a "
        "saddle or a maximum. So where should you start it, if every point is to be near a start?",
        "From a grid of starts over the box, take some fifteen Newton steps, x - H⁻¹ g. Drop what "
        "has not settled and what lies outside; of points that are almost the same, keep one.",
        "`torch.linalg.solve_ex` does not raise for a singular matrix in the batch: it returns "
        "infinities or NaN there. `torch.linalg.eigvalsh(hess(x))` gives the curvatures; count "
        "the negative ones. Judge 'almost the same' in fractions of the box.",
    ),
)


@e1.answer
def find_critical_points(
    grad: Callable[[Tensor], Tensor], hess: Callable[[Tensor], Tensor], bounds: Tensor
) -> tuple[Tensor, Tensor]:
    """All points with gradient zero in a box of one or two dimensions, and what they are.

    grad maps points `n d` to gradients `n d`, hess to Hessians `n d d`; bounds is `2 d`, the lower
    corner and the upper one; d is 1 or 2. Return the points `k d`, each of them once, in any order,
    right to a millionth of the box, and the number of negative curvatures at each, `k` integers: 0
    for a minimum, d for a maximum. k may be 0. You may rely on: no two critical points are closer
    than a tenth of the box, none is on its border, and no curvature at them is zero.
    """
    low, high = bounds
    d = bounds.shape[-1]
    sides = [torch.linspace(a, b, 60 if d == 1 else 15).double() for a, b in bounds.T.tolist()]
    x = torch.cartesian_prod(*sides).reshape(-1, d)
    step = x
    for _ in range(15):
        step = torch.linalg.solve_ex(hess(x), grad(x).unsqueeze(-1)).result.squeeze(-1)
        x = x - step
    settled = (step.abs() < 1e-8 * (high - low)) & (x > low) & (x < high)
    x = x[settled.all(-1)]
    same = ((x.unsqueeze(-2) - x).abs() < 1e-2 * (high - low)).all(-1)
    points = x[~same.tril(-1).any(-1)]  # those that equal none before them
    return points, (torch.linalg.eigvalsh(hess(points)) < 0).sum(-1)


def _polynomial(roots: Tensor) -> tuple[Map, Map]:
    """The product of (x - root) over all roots, and its derivative, for any shape of x."""

    def value(x: Tensor) -> Tensor:
        return (x.unsqueeze(-1) - roots).prod(-1)

    def slope(x: Tensor) -> Tensor:
        total, product = torch.zeros_like(x), torch.ones_like(x)
        for root in roots.tolist():
            total, product = total * (x - root) + product, product * (x - root)
        return total

    return value, slope


def _line(name: str, roots: Tensor, scale: float = 1.0) -> tuple[Map, Map]:
    """A gradient in one dimension with these roots, the loss growing to the right."""
    value, slope = _polynomial(roots)
    grad = _named(f"{name}: gradient", lambda x: scale * value(x))
    grad.known = roots.unsqueeze(-1)
    return grad, _named(f"{name}: Hessian", lambda x: scale * slope(x).unsqueeze(-1))


def _plane(
    name: str, first: Tensor, second: Tensor, angle: float = 0.0, scale: float = 1.0
) -> tuple[Map, Map]:
    """The loss g(u) + h(v) in turned coordinates, with critical points at all pairs of roots."""
    R = _rotation(angle)  # (u, v) = R x
    (g, dg), (h, dh) = _polynomial(first), _polynomial(second)

    def grad(x: Tensor) -> Tensor:
        u, v = (x @ R.mT).unbind(-1)
        return scale * torch.stack([g(u), h(v)], -1) @ R

    def hess(x: Tensor) -> Tensor:
        u, v = (x @ R.mT).unbind(-1)
        return scale * R.mT @ torch.diag_embed(torch.stack([dg(u), dh(v)], -1)) @ R

    named = _named(f"{name}: gradient", grad)
    named.known = torch.cartesian_prod(first, second) @ R
    return named, _named(f"{name}: Hessian", hess)


def _four_wells(c: float, unit: float = 1.0) -> tuple[Map, Map]:
    """0.2 (x⁴ + y⁴) - (x² + y²) + c x y, with x and y in other units."""

    def grad(x: Tensor) -> Tensor:
        z = x / unit
        return (0.8 * z**3 - 2 * z + c * z.flip(-1)) / unit

    def hess(x: Tensor) -> Tensor:
        off = c * _vector(0.0, 1.0, 1.0, 0.0).reshape(2, 2)
        return (torch.diag_embed(2.4 * (x / unit) ** 2 - 2) + off) / unit**2

    a, b = math.sqrt((2 + c) / 0.8), math.sqrt((2 - c) / 0.8)
    total, gap = math.sqrt(2.5 + 2.5 * c), math.sqrt(2.5 - 2.5 * c)
    p, q = (total + gap) / 2, (total - gap) / 2
    rows = [(0, 0), (a, -a), (-a, a), (b, b), (-b, -b), (p, q), (q, p), (-p, -q), (-q, -p)]
    named = _named(f"four wells, c = {c:g}: gradient", grad)
    named.known = unit * torch.tensor(rows, dtype=torch.float64)
    return named, _named(f"four wells, c = {c:g}: Hessian", hess)


def _box(width: float, d: int, center: float = 0.0) -> Tensor:
    return torch.stack(
        [torch.full((d,), center - width), torch.full((d,), center + width)]
    ).double()


@e1.cases
def landscapes(rng: Rng) -> Iterator[Case]:
    yield Case(*_line("one valley", _vector(0.3)), _box(1.0, 1), note="one point")
    yield Case(*_line("two valleys", _vector(-1.0, 0.0, 1.0)), _box(2.0, 1), note="double well")
    yield Case(
        *_line("a valley outside", _vector(-1.0, 0.0, 3.0)), _box(2.0, 1), note="one outside"
    )
    yield Case(*_line("all outside", _vector(3.0, 4.0)), _box(2.0, 1), note="none in the box")
    yield Case(*_line("a hilltop first", _vector(0.5, 2.5)), _box(3.0, 1), note="no valley beyond")
    yield Case(
        _named("x + x³: gradient", lambda x: 1 + 3 * x**2),
        _named("x + x³: Hessian", lambda x: 6 * x.unsqueeze(-1)),
        _box(2.0, 1),
        note="no critical point at all",
    )
    for scale in (1e-6, 1e6):
        roots = _vector(-1.2, -0.3, 1.0)
        yield Case(*_line(f"values of size {scale:g}", roots, scale), _box(2.0, 1))
    five = _vector(-1.6, -0.9, 0.1, 0.7, 1.5)
    yield Case(*_line("three valleys", five), _box(2.0, 1), note="five points")
    yield Case(*_plane("a bowl", _vector(0.5), _vector(-0.5)), _box(2.0, 2), note="one minimum")
    edges = torch.tensor([[-1.0, -5.0], [3.0, 2.0]], dtype=torch.float64)
    yield Case(*_plane("valleys in a row", _vector(-0.5, 0.4, 1.5), _vector(-2.0)), edges)
    yield Case(*_plane("nine", _vector(-1.0, 0.1, 1.2), _vector(-1.1, 0.0, 0.9)), _box(2.0, 2))
    for angle in (0.4, 1.0):
        pair = (_vector(-1.0, 0.1, 1.2), _vector(-0.6, 0.5))
        yield Case(*_plane(f"six, turned by {angle}", *pair, angle), _box(2.0, 2))
    pair = (_vector(-1.0, 0.1, 1.2), _vector(-0.6, 0.5))
    yield Case(*_plane("six, turned by 45 degrees", *pair, math.pi / 4), _box(2.0, 2))
    turned = _plane("fifteen, turned", five, _vector(-1.0, 0.0, 1.0), 0.3)
    yield Case(*turned, _box(2.5, 2), note="fifteen points")
    yield Case(*turned, _box(1.3, 2, 0.7), note="some of them outside")
    for scale in (1e-6, 1e6):
        pair = (_vector(-1.0, 0.1, 1.2), _vector(0.2))
        yield Case(*_plane(f"values of size {scale:g}", *pair, 0.5, scale), _box(2.0, 2))
    for c in (0.3, -0.5, 0.8):
        yield Case(*_four_wells(c), _box(3.0, 2), note="nine points")
    for unit in (1e-3, 1e3):
        yield Case(*_four_wells(0.3, unit), _box(3.0 * unit, 2), note=f"lengths of size {unit:g}")
    for _ in range(3):
        first = (_vector(-1.1, 0.0, 1.1) + rng.uniform_in(-0.2, 0.2, 3)).round(decimals=2)
        second = (_vector(-0.5, 0.5) + rng.uniform_in(-0.2, 0.2, 2)).round(decimals=2)
        yield Case(*_plane("a hidden one", first, second, rng.uniform(0, 3)), _box(2.0, 2))


def _inside(grad: Map, bounds: Tensor) -> Tensor:
    known: Tensor = getattr(grad, "known", bounds[:0])
    return known[((known > bounds[0]) & (known < bounds[1])).all(-1)]


@e1.shape
def _(fn: Fn, grad: Map, hess: Map, bounds: Tensor) -> None:
    result = fn(grad, hess, bounds)
    pair = isinstance(result, (tuple, list)) and len(result) == 2
    require(pair, "expected points and their indices")
    points, index = result
    require(isinstance(points, Tensor) and points.ndim == 2, "expected points of shape k d")
    has_shape(points, (len(points), bounds.shape[-1]), torch.float64)
    has_shape(index, (len(points),))
    whole = not (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool)
    require(whole, "expected the indices as integers")


@e1.property("every point lies in the box, at zero gradient")
def _(fn: Fn, grad: Map, hess: Map, bounds: Tensor) -> None:
    points, _ = fn(grad, hess, bounds)
    width = bounds[1] - bounds[0]
    require((points > bounds[0]) & (points < bounds[1]), "a point outside the box")
    if len(points):
        step = torch.linalg.solve(hess(points), grad(points).unsqueeze(-1)).squeeze(-1)
        require(step.abs() <= 1e-6 * width, "a point that is not yet critical")


@e1.property("no point is listed twice")
def _(fn: Fn, grad: Map, hess: Map, bounds: Tensor) -> None:
    points, _ = fn(grad, hess, bounds)
    scaled = (points - bounds[0]) / (bounds[1] - bounds[0])
    apart = torch.cdist(scaled, scaled) + torch.eye(len(points), dtype=torch.float64)
    require(apart > 0.05, "two of your points are almost the same")


@e1.property("minima - saddles + maxima is how often the gradient turns on a walk round the border")
def _(fn: Fn, grad: Map, hess: Map, bounds: Tensor) -> None:
    _, index = fn(grad, hess, bounds)
    if bounds.shape[-1] == 1:
        left, right = grad(bounds).flatten().sign().tolist()
        turns = (right - left) / 2
    else:
        t = torch.linspace(0, 1, 2001, dtype=torch.float64)[:-1]
        zero, one = torch.zeros_like(t), torch.ones_like(t)
        walk = [
            torch.stack(side, -1) for side in ((t, zero), (one, t), (1 - t, one), (zero, 1 - t))
        ]
        u, v = grad(bounds[0] + torch.cat(walk) * (bounds[1] - bounds[0])).unbind(-1)
        angle = torch.atan2(v, u)
        change = angle.roll(-1) - angle
        change = change - 2 * math.pi * (change / (2 * math.pi)).round()
        turns = float(change.sum()) / (2 * math.pi)
    close(float((1 - 2 * (index % 2)).sum()), round(turns), 0)


@e1.value("the points from which the landscape was built")
def _(fn: Fn, grad: Map, hess: Map, bounds: Tensor) -> None:
    points, index = fn(grad, hess, bounds)
    known = _inside(grad, bounds)
    require(len(points) == len(known), "too few points, or too many")
    if len(known):
        width = (bounds[1] - bounds[0]).max()
        gaps = torch.cdist(known / width, points / width)
        require(gaps.amin(-1) <= 2e-6, "one of the critical points is missing")
        nearest = gaps.argmin(-1)
        expected = (torch.linalg.eigvalsh(hess(known)) < 0).sum(-1)
        require(index[nearest] == expected, "a point of another kind than you say")


def _newton(grad: Map, hess: Map, bounds: Tensor, count: int, steps: int) -> tuple[Tensor, Tensor]:
    low, high = bounds
    sides = [torch.linspace(a, b, count, dtype=torch.float64) for a, b in bounds.T.tolist()]
    x = torch.cartesian_prod(*sides).reshape(-1, bounds.shape[-1])
    step = x
    for _ in range(steps):
        step = torch.linalg.solve_ex(hess(x), grad(x).unsqueeze(-1)).result.squeeze(-1)
        x = x - step
    return x, (step.abs() < 1e-8 * (high - low)).all(-1)


def _distinct(x: Tensor, tolerance: Tensor) -> Tensor:
    same = ((x.unsqueeze(-2) - x).abs() < tolerance).all(-1)
    return x[~same.tril(-1).any(-1)]


def _negatives(hess: Map, points: Tensor) -> Tensor:
    negative: Tensor = torch.linalg.eigvalsh(hess(points)) < 0
    return negative.sum(-1)


@e1.wrong("gradient descent instead of Newton: finds the minima only")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    points, index = find_critical_points(grad, hess, bounds)
    return points[index == 0], index[index == 0]


@e1.wrong("keeps points outside the box")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    x, settled = _newton(grad, hess, bounds, 15, 15)
    points = _distinct(x[settled], 1e-2 * (bounds[1] - bounds[0]))
    return points, _negatives(hess, points)


@e1.wrong("lists a point as often as it was found")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    x, settled = _newton(grad, hess, bounds, 9, 15)
    points = x[settled & ((x > bounds[0]) & (x < bounds[1])).all(-1)]
    return points, _negatives(hess, points)


@e1.wrong("one start only, in the middle of the box")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    x, settled = _newton(grad, hess, 0.501 * bounds + 0.499 * bounds.flip(0), 1, 50)
    points = x[settled & ((x > bounds[0]) & (x < bounds[1])).all(-1)]
    return points, _negatives(hess, points)


@e1.wrong("judges 'almost the same' in absolute numbers, whatever the unit of length")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    x, settled = _newton(grad, hess, bounds, 15, 15)
    inside = ((x > bounds[0]) & (x < bounds[1])).all(-1)
    points = _distinct(x[settled & inside], torch.tensor(1e-2, dtype=torch.float64))
    return points, _negatives(hess, points)


@e1.wrong("counts the positive curvatures instead of the negative ones")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    points, index = find_critical_points(grad, hess, bounds)
    return points, bounds.shape[-1] - index


@e1.wrong("decides the kind by the determinant's sign alone, so that maxima are called minima")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    points, _ = find_critical_points(grad, hess, bounds)
    return points, (torch.linalg.det(hess(points)) < 0).long()


@e1.wrong("a point twice, from the two sides")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    points, index = find_critical_points(grad, hess, bounds)
    return torch.cat([points, points[:1]]), torch.cat([index, index[:1]])


@e1.wrong("too few Newton steps: points to three digits")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    points, index = find_critical_points(grad, hess, bounds)
    return points + 1e-4 * (bounds[1] - bounds[0]), index


@e1.wrong("every point is called a minimum")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    points, index = find_critical_points(grad, hess, bounds)
    return points, 0 * index


@e1.wrong("the signs of the Hessian's diagonal, where eigenvalues belong")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    points, _ = find_critical_points(grad, hess, bounds)
    return points, (hess(points).diagonal(dim1=-2, dim2=-1) < 0).sum(-1)


@e1.wrong("a small gradient is a critical point, whatever the unit of the loss")
def _(grad: Map, hess: Map, bounds: Tensor) -> tuple[Tensor, Tensor]:
    sides = [torch.linspace(a, b, 60, dtype=torch.float64) for a, b in bounds.T.tolist()]
    x = torch.cartesian_prod(*sides).reshape(-1, bounds.shape[-1])
    points = _distinct(x[grad(x).norm(dim=-1) < 1e-2], 0.05 * (bounds[1] - bounds[0]))
    return points, _negatives(hess, points)


# --- e2: how many restarts --------------------------------------------------------------------

e2 = Exercise(
    id="p2.t4.e2",
    title="How many restarts?",
    hints=(
        "What is the chance that all of n independent restarts fail?",
        "(1 - p)ⁿ must be at most 1 - target. Take logarithms; mind that both are negative.",
        "For a p such as 1e-20, 1 - p is 1 in floating point: `math.log1p(-p)` is what you want. "
        "Treat p = 0, p = 1 and target = 0 before any logarithm. The fraction of 1e-9 multiplies "
        "1 - target, so it is added to ln(1 - target), before you divide by ln(1 - p) and round "
        "up.",
    ),
)


@e2.answer
def restarts_needed(p: float, target: float) -> int | float:
    """The least number of independent restarts of which one succeeds with the wanted probability.

    p in [0, 1] is the chance of a single restart, target the wanted chance of at least one success:
    0, or from 1e-6 to below 1. Return a whole number, 0 if none is needed, or math.inf if
    no number is enough. A chance of failure that is above 1 - target by a fraction of at most 1e-9
    counts as reached: with p = 0.1 and target = 0.19 two restarts are enough, whatever rounding
    says. p may be as small as 1e-300.
    """
    if target == 0:
        return 0
    if p == 0:
        return math.inf
    if p == 1:
        return 1
    return math.ceil((math.log1p(-target) + 1e-9) / math.log1p(-p))


@e2.cases
def chances(rng: Rng) -> Iterator[Case]:
    yield Case(0.0, 0.5, note="it never succeeds")
    yield Case(0.0, 0.0, note="it never succeeds, and need not")
    yield Case(1.0, 0.999, note="it always succeeds")
    yield Case(1.0, 0.0, note="nothing wanted")
    yield Case(0.3, 0.0, note="nothing wanted")
    for p, target in ((0.5, 0.75), (0.5, 0.5), (0.25, 0.25), (0.1, 0.19), (0.2, 0.488)):
        yield Case(p, target, note="just reached")
    yield Case(0.5, 0.751, note="just missed")
    yield Case(0.57, 0.999)
    yield Case(0.9, 0.5, note="one is more than enough")
    for p in (1e-6, 1e-17, 1e-300):
        yield Case(p, 0.99, note="a tiny chance")
    yield Case(1 - 1e-12, 0.999, note="almost certain")
    yield Case(0.3, 1 - 1e-15, note="a high target")
    yield Case(0.3, 1e-6, note="a low target")
    yield Case(1e-9, 1e-6, note="a low target, and a low chance")
    for _ in range(12):
        yield Case(round(rng.uniform(0.01, 0.95), 2), rng.choice((0.5, 0.9, 0.95, 0.99, 0.9999)))


@e2.shape
def _(fn: Fn, p: float, target: float) -> None:
    n = fn(p, target)
    require(_is_number(n), "expected a whole number, or math.inf")
    require(n == math.inf or float(n) == round(float(n)), "expected a whole number, or math.inf")
    require(n >= 0, "a negative number of restarts")


def _count(n: Any) -> int | float:
    """The answer as Python's own number."""
    return math.inf if float(n) == math.inf else int(n)


def _log_failure(p: float) -> decimal.Decimal:
    """ln(1 - p) to hundreds of digits."""
    return (1 - decimal.Decimal(p)).ln()


@e2.property("so many restarts are enough")
def _(fn: Fn, p: float, target: float) -> None:
    n = _count(fn(p, target))
    if math.isfinite(n) and 0 < p < 1 and target > 0:
        with decimal.localcontext(prec=340):
            reached = int(n) * _log_failure(p) <= _log_failure(target) + decimal.Decimal("1.1e-9")
        require(reached, "that many fail together too often")
    elif math.isfinite(n):
        require(target == 0 or (p == 1 and n >= 1), "that many are not enough")


@e2.property("one fewer would not be enough")
def _(fn: Fn, p: float, target: float) -> None:
    n = _count(fn(p, target))
    if math.isinf(n):
        require(p == 0 and target > 0, "some number is enough here")
    elif n > 0:
        require(target > 0, "nothing is wanted, and you restart")
        if n > 1:
            require(p < 1, "one is enough")
            with decimal.localcontext(prec=340):
                least = _log_failure(target) + decimal.Decimal("0.9e-9")
                short = int(n - 1) * _log_failure(p) > least
            # Beyond 2⁵³ a float cannot tell n from n - 1.
            require(short or n > 1 << 50, "one fewer would do")


@e2.value("doubling and halving the number of restarts")
def _(fn: Fn, p: float, target: float) -> None:
    n = _count(fn(p, target))
    if target == 0 or p in (0.0, 1.0):
        expected = 0.0 if target == 0 else (math.inf if p == 0 else 1.0)
        close(n, expected, 0)
        return
    with decimal.localcontext(prec=340):
        one, wanted = _log_failure(p), _log_failure(target) + decimal.Decimal("1e-9")
        low, high = 0, 1
        while high * one > wanted:
            low, high = high, 2 * high
        while high - low > max(1, high >> 60):
            middle = (low + high) // 2
            low, high = (middle, high) if middle * one > wanted else (low, middle)
    close(float(n), float(high), 0 if high < 1 << 50 else 1e-9 * high)


@e2.wrong("adds the chances: target / p")
def _(p: float, target: float) -> int | float:
    return math.inf if p == 0 < target else math.ceil(target / p - 1e-9) if target else 0


@e2.wrong("log(1 - p): a tiny chance is lost to rounding")
def _(p: float, target: float) -> int | float:
    if target == 0 or p in (0.0, 1.0) or 1 - p == 1:
        return 0 if target == 0 else (1 if p == 1 else math.inf)
    return math.ceil((math.log(1 - target) + 1e-9) / math.log(1 - p))


@e2.wrong("rounds down")
def _(p: float, target: float) -> int | float:
    n = restarts_needed(p, target)
    return n if math.isinf(n) or n <= 1 else n - 1


@e2.wrong("rounds to the nearest whole number")
def _(p: float, target: float) -> int | float:
    if target == 0 or p in (0.0, 1.0):
        return 0 if target == 0 else (1 if p == 1 else math.inf)
    return round(math.log1p(-target) / math.log1p(-p))


@e2.wrong("rounds up without a thought for rounding errors")
def _(p: float, target: float) -> int | float:
    if target == 0 or p in (0.0, 1.0):
        return 0 if target == 0 else (1 if p == 1 else math.inf)
    n = math.log1p(-target) / math.log1p(-p)
    return math.ceil(n * (1 + 1e-13))


@e2.wrong("the expected number of restarts, 1 / p")
def _(p: float, target: float) -> int | float:
    return math.inf if p == 0 else math.ceil(1 / p)


@e2.wrong("exchanges the two: the chance of failure allowed is the target")
def _(p: float, target: float) -> int | float:
    if target == 0 or p in (0.0, 1.0):
        return 0 if target == 0 else (1 if p == 1 else math.inf)
    return math.ceil((math.log(target) + 1e-9) / math.log1p(-p))


@e2.wrong("always tries at least once")
def _(p: float, target: float) -> int | float:
    return max(1, restarts_needed(p, target))


@e2.wrong("generous by 1e-9 of a restart, not of the chance of failure")
def _(p: float, target: float) -> int | float:
    if target == 0 or p in (0.0, 1.0):
        return 0 if target == 0 else (1 if p == 1 else math.inf)
    return math.ceil(math.log1p(-target) / math.log1p(-p) - 1e-9)


@e2.wrong("infinitely many for a tiny chance")
def _(p: float, target: float) -> int | float:
    return math.inf if p < 1e-12 and target > 0 else restarts_needed(p, target)


@e2.wrong("one more than needed, to be safe")
def _(p: float, target: float) -> int | float:
    return restarts_needed(p, target) + 1


# --- e3: the cloud and its floor --------------------------------------------------------------

e3 = Exercise(
    id="p2.t4.e3",
    title="The cloud in a tilted bowl",
    pure=True,
    hints=(
        "At rest one more step changes nothing: C = (I - lr A) C (I - lr A) + lr² S. For numbers "
        "instead of matrices you could solve this at once.",
        "In the coordinates of A's eigenvectors A is diagonal, so that the equation for entry "
        "(i, j) involves no other entry.",
        "With S' = Qᵀ S Q and m = 1 - lr λ it is lr² S'ᵢⱼ / (1 - mᵢ mⱼ). Write 1 - mᵢ mⱼ out "
        "before you compute it, or a small lr drowns it in rounding. Then turn back: Q C' Qᵀ.",
    ),
)


@e3.answer
def noise_floor(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    """The covariance and the mean loss of x ← x - lr (A x + noise) on ½ xᵀ A x, in the long run.

    A is symmetric and positive definite, `d d`; the noise has mean zero and the covariance S,
    symmetric, `d d`, and is fresh at every step. Return the covariance of x, `d d`, and the mean of
    the loss, a number, both exact: no simulation, no iteration (lr may be as small as 1e-9). Raise
    ValueError where there is no long run: if lr is not below 2 / L.
    """
    eigenvalues, Q = torch.linalg.eigh(A)
    if lr * eigenvalues[-1] >= 2:
        raise ValueError(f"lr: expected less than {2 / float(eigenvalues[-1]):g}, got {lr:g}")
    one, other = eigenvalues.unsqueeze(-1), eigenvalues
    C = lr * (Q.mT @ S @ Q) / (one + other - lr * one * other)
    C = Q @ C @ Q.mT
    return C, 0.5 * float((A * C).sum())


@e3.cases
def noisy_bowls(rng: Rng) -> Iterator[Case]:
    one = torch.eye(1).double()
    yield Case(2 * one, 0.25, one, note="one dimension")
    yield Case(2 * one, 0.9, 0.25 * one, note="ringing")
    yield Case(2 * one, 0.5, one, note="each step forgets the one before")
    yield Case(one, 0.3, 0 * one, note="no noise")
    yield Case(2 * one, 1.0, one, raises=ValueError, note="exactly 2 / L")
    yield Case(torch.diag(_vector(10.0, 1.0)), 0.3, torch.eye(2).double(), raises=ValueError)
    for sigma in (0.5, 1.0):
        noise = sigma**2 * torch.eye(2).double()
        yield Case(torch.diag(_vector(10.0, 1.0)), 0.05, noise, note="the bowl of section 5")
    yield Case(torch.diag(_vector(10.0, 1.0)), 0.05, torch.diag(_vector(0.0, 1.0)))
    tilted, mixed = _vector(2.0, 1.0, 1.0, 2.0).reshape(2, 2), _vector(1.0, 0.8, 0.8, 1.0)
    yield Case(tilted, 0.2, torch.eye(2).double(), note="a tilted bowl")
    yield Case(torch.diag(_vector(3.0, 1.0)), 0.2, mixed.reshape(2, 2), note="tilted noise")
    yield Case(tilted, 0.2, torch.diag(_vector(1.0, 0.1)), note="a tilted bowl, uneven noise")
    yield Case(torch.eye(3).double(), 0.5, _with_eigenvalues(rng, _vector(0.1, 1.0, 2.0)))
    for lr in (1e-9, 1e-5):
        yield Case(tilted, lr, mixed.reshape(2, 2), note="tiny steps")
    for scale in (1e-6, 1e6):
        yield Case(scale * tilted, 0.2 / scale, mixed.reshape(2, 2), note=f"A of size {scale:g}")
        yield Case(tilted, 0.2, scale * mixed.reshape(2, 2), note=f"noise of size {scale:g}")
    for d in (2, 2, 3, 4, 5):
        A = _with_eigenvalues(rng, rng.uniform_in(0.2, 4.0, d))
        S = _with_eigenvalues(rng, rng.uniform_in(0.0, 2.0, d))
        yield Case(A, rng.choice((0.05, 0.2, 0.4)), S)


@e3.shape
def _(fn: Fn, A: Tensor, lr: float, S: Tensor) -> None:
    result = fn(A, lr, S)
    pair = isinstance(result, (tuple, list)) and len(result) == 2
    require(pair, "expected a covariance and a number")
    has_shape(result[0], tuple(A.shape), torch.float64)
    require(_is_number(result[1]), "expected the mean loss as a number")


@e3.property("a covariance: symmetric, with no negative variance in any direction")
def _(fn: Fn, A: Tensor, lr: float, S: Tensor) -> None:
    C, _ = fn(A, lr, S)
    size = float(C.abs().max()) + 1e-300
    close(C / size, C.mT / size, 1e-9)
    require(torch.linalg.eigvalsh(C + C.mT) >= -1e-9 * size, "a negative variance")


@e3.property("one more step leaves the covariance as it is")
def _(fn: Fn, A: Tensor, lr: float, S: Tensor) -> None:
    C, _ = fn(A, lr, S)
    size = float(S.abs().max()) + 1e-300
    # C = M C M + lr² S, divided by lr² and without the terms that cancel
    close((A @ C + C @ A - lr * A @ C @ A) / lr / size, S / size, 1e-7)


@e3.property(
    "noise of twice the size makes the cloud twice as wide, and the floor four times as high"
)
def _(fn: Fn, A: Tensor, lr: float, S: Tensor) -> None:
    (C, floor), (C2, floor2) = fn(A, lr, S), fn(A, lr, 4 * S)
    close(C2, 4 * C, 1e-9, relative=True)
    close(floor2, 4 * floor, 1e-9, relative=True)


@e3.property("turning bowl and noise together turns the cloud, and keeps the floor")
def _(fn: Fn, A: Tensor, lr: float, S: Tensor) -> None:
    Q = torch.linalg.qr(torch.vander(torch.arange(1.0, len(A) + 1).double())).Q
    turned_A, turned_S = Q @ A @ Q.mT, Q @ S @ Q.mT
    C, floor = fn((turned_A + turned_A.mT) / 2, lr, (turned_S + turned_S.mT) / 2)
    original, level = fn(A, lr, S)
    close(C, Q @ original @ Q.mT, 1e-8, relative=True)
    close(floor, level, 1e-8, relative=True)


@e3.value("the linear system for all entries of the covariance at once")
def _(fn: Fn, A: Tensor, lr: float, S: Tensor) -> None:
    C, floor = fn(A, lr, S)
    d, eye = len(A), torch.eye(len(A), dtype=A.dtype)
    system = torch.kron(A, eye) + torch.kron(eye, A) - lr * torch.kron(A, A)
    expected = torch.linalg.solve(system, lr * S.flatten()).reshape(d, d)
    close(C, expected, 1e-8, relative=True)
    close(floor, 0.5 * float(torch.trace(A @ expected)), 1e-8, relative=True)


def _in_modes(A: Tensor, S: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    eigenvalues, Q = torch.linalg.eigh(A)
    return eigenvalues, Q, Q.mT @ S @ Q


def _finish(A: Tensor, lr: float, C: Tensor) -> tuple[Tensor, float]:
    if lr * float(torch.linalg.eigvalsh(A)[-1]) >= 2:
        raise ValueError("lr is too large")
    return C, 0.5 * float((A * C).sum())


@e3.wrong("the cloud of the flow: forgets that steps have a length")
def _(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    values, Q, noise = _in_modes(A, S)
    return _finish(A, lr, Q @ (lr * noise / (values.unsqueeze(-1) + values)) @ Q.mT)


@e3.wrong("modes that share noise are taken to be independent")
def _(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    values, Q, noise = _in_modes(A, S)
    return _finish(
        A, lr, Q @ torch.diag(lr * noise.diagonal() / (values * (2 - lr * values))) @ Q.mT
    )


@e3.wrong("the noise is added after the step: not multiplied by lr")
def _(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    C, _ = noise_floor(A, lr, S)
    return _finish(A, lr, C / lr**2)


@e3.wrong("takes only the diagonal of A for its eigenvalues")
def _(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    if lr * float(torch.linalg.eigvalsh(A)[-1]) >= 2:
        raise ValueError("lr is too large")
    a = A.diagonal()
    one, other = a.unsqueeze(-1), a
    C = lr * S / (one + other - lr * one * other)
    return C, 0.5 * float((A * C).sum())


@e3.wrong("the loss without its one half")
def _(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    C, floor = noise_floor(A, lr, S)
    return C, 2 * floor


@e3.wrong("a thousand steps of the covariance: not enough for tiny ones")
def _(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    M = torch.eye(len(A), dtype=A.dtype) - lr * A
    C = torch.zeros_like(A)
    for _ in range(1000):
        C = M @ C @ M + lr**2 * S
    return _finish(A, lr, C)


@e3.wrong("answers where there is no long run, with negative variances")
def _(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    values, Q, noise = _in_modes(A, S)
    one = values.unsqueeze(-1)
    C = Q @ (lr * noise / (one + values - lr * one * values)) @ Q.mT
    return C, 0.5 * float((A * C).sum())


@e3.wrong("lr once, where the noise of a step counts its square")
def _(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    C, _ = noise_floor(A, lr, S)
    return _finish(A, lr, C / lr)


@e3.wrong("the noise's mean variance in all directions")
def _(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    d = len(A)
    return noise_floor(A, lr, torch.eye(d, dtype=A.dtype) * torch.trace(S) / d)


@e3.wrong("does not turn back from the modes")
def _(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    _, Q, _ = _in_modes(A, S)
    C, floor = noise_floor(A, lr, S)
    return Q.mT @ C @ Q, floor


@e3.wrong("raises from 1 / L on")
def _(A: Tensor, lr: float, S: Tensor) -> tuple[Tensor, float]:
    if lr * float(torch.linalg.eigvalsh(A)[-1]) > 1:
        raise ValueError("lr is too large")
    return noise_floor(A, lr, S)


# --- e4: annealing without a gradient ---------------------------------------------------------

Schedule = Callable[[float], float]

e4 = Exercise(
    id="p2.t4.e4",
    title="Cool slowly",
    pure=True,
    hints=(
        "Each particle has a current point, a proposal and the best point so far: three different "
        "things. Which of them does the next proposal start from?",
        "Accept if a uniform random number is below exp(-rise / tau); a fall is then accepted by "
        "itself. At tau = 0 the quotient is not a number for a rise of 0: treat it separately.",
        "A mask of particles that move, `n`, and `torch.where(mask.unsqueeze(-1), proposal, x)` "
        "move all of them at once; a second mask keeps the best. Draw all numbers from one "
        "`torch.Generator().manual_seed(seed)`.",
    ),
)


@e4.answer
def anneal(
    f: Callable[[Tensor], Tensor],
    x0: Tensor,
    schedule: Callable[[float], float],
    budget: int,
    width: float,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Metropolis walks from all rows of x0 at once, at falling temperatures; the best they saw.

    f maps points `n d` to losses `n`. It is called `budget` times, each time on all n particles:
    once on x0 (`n d`), then on proposals. Proposal k = 0, 1, ..., budget - 2 is the particle's
    current point plus `width` times a standard normal for each coordinate. It becomes the current
    point surely if its loss is not higher, else with probability exp(-rise / tau), where
    tau = schedule(k / budget) >= 0; at tau = 0 never. Return the best point that each particle
    evaluated, `n d`, and its loss, `n`. All random numbers follow from the seed.
    """
    g = torch.Generator().manual_seed(seed)
    x, value = x0, f(x0)
    best, lowest = x, value
    for k in range(budget - 1):
        tau = schedule(k / budget)
        proposal = x + width * torch.randn(x.shape, generator=g, dtype=x.dtype)
        proposed = f(proposal)
        rise = proposed - value
        u = torch.rand(rise.shape, generator=g, dtype=x.dtype)
        moves = (rise <= 0) | (u < torch.exp(-rise / tau) if tau > 0 else rise <= 0)
        x = torch.where(moves.unsqueeze(-1), proposal, x)
        value = torch.where(moves, proposed, value)
        better = value < lowest
        best = torch.where(better.unsqueeze(-1), x, best)
        lowest = torch.where(better, value, lowest)
    return best, lowest


def _bowl(x: Tensor) -> Tensor:
    return x.square().sum(-1)


def _wells(x: Tensor) -> Tensor:
    return (x.square() - 1).square().sum(-1) + 0.3 * x.sum(-1)


def _egg_box(x: Tensor) -> Tensor:
    return (x.square() + 10 * torch.sin(math.pi * x).square()).sum(-1)


def _flat(x: Tensor) -> Tensor:
    return 0 * x.sum(-1)


def _plain_with_a_hole(x: Tensor) -> Tensor:
    """1 everywhere but at 0: from there every proposal rises by 1."""
    return (x != 0).any(-1).double()


def _linear(top: float) -> Schedule:
    schedule: Schedule = _named(f"linear from {top:g} to 0", lambda s: top * (1 - s))
    return schedule


def _constant(tau: float) -> Schedule:
    schedule: Schedule = _named(f"always {tau:g}", lambda s: tau)
    return schedule


@e4.cases
def walks(rng: Rng) -> Iterator[Case]:
    one = _vector(1.0).unsqueeze(-1)
    yield Case(_bowl, one, _constant(0.0), 1, 0.5, 0, note="only the start is affordable")
    yield Case(_bowl, one, _constant(0.0), 2, 0.5, 1, note="a single proposal")
    yield Case(_bowl, one, _constant(0.0), 30, 0.5, 2, note="cold from the start")
    yield Case(_bowl, one, _linear(1.0), 30, 0.5, 3, note="one particle")
    yield Case(_bowl, 0 * one, _linear(5.0), 20, 2.0, 4, note="starts at the minimum")
    yield Case(_flat, one, _constant(0.0), 10, 0.5, 5, note="flat and cold")
    yield Case(_flat, one, _linear(1.0), 10, 0.5, 6, note="flat")
    for scale in (1e-6, 1e6):
        stretched = _named(f"{scale:g} times a bowl", lambda x, scale=scale: scale * _bowl(x))
        yield Case(stretched, one, _linear(scale), 20, 0.5, 7, note=f"losses of size {scale:g}")
    for f, name in ((_bowl, "bowl"), (_wells, "wells"), (_egg_box, "egg box")):
        for n, d in ((1, 2), (3, 1), (2, 2), (3, 2)):
            x0 = rng.uniform_in(-2, 2, n, d).round(decimals=1)
            budget, top = rng.randint(3, 30), rng.choice((0.5, 1.0, 3.0))
            yield Case(f, x0, _linear(top), budget, 0.4, rng.randint(0, 99), note=name)
    zero, many = torch.zeros(2000, 1).double(), "2000 particles"
    yield Case(_flat, zero, _constant(0.0), 11, 0.5, 11, note=many)
    half = _constant(1 / math.log(2))
    yield Case(_plain_with_a_hole, zero, half, 3, 0.5, 16, note=many)
    for tau in (0.2, 3.0):
        yield Case(_bowl, zero, _constant(tau), 40, math.sqrt(tau), 12, note=many)
    yield Case(_bowl, zero, _linear(4.0), 200, 0.5, 13, note=many)
    for schedule in (_linear(1.0), _constant(0.0)):
        x0 = torch.ones(200, 1).double()
        yield Case(_wells, x0, schedule, 300, 0.35, 14, note="200 particles in the worse well")
    x0 = rng.uniform_in(-5, 5, 128, 4)
    yield Case(_egg_box, x0, _linear(6.0), 600, 0.3, 15, note="128 particles in an egg box")


def _watched(f: Map) -> tuple[Map, list[Tensor]]:
    seen: list[Tensor] = []

    def watching(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return f(x)

    return _named(f.__name__, watching), seen


# The cases with hundreds of particles are for statements about chances.
MANY = 100


def _last(fn: Fn, f: Map, *rest: Any) -> Tensor:
    """The last proposals: where the particles are, plus one more draw."""
    watching, seen = _watched(f)
    fn(watching, *rest)
    return seen[-1]


@e4.shape
def _(fn: Fn, *args: Any) -> None:
    result, x0 = fn(*args), args[1]
    pair = isinstance(result, (tuple, list)) and len(result) == 2
    require(pair, "expected points and their losses")
    has_shape(result[0], tuple(x0.shape), torch.float64)
    has_shape(result[1], (len(x0),), torch.float64)


@e4.property("f is called `budget` times, each time on all particles")
def _(fn: Fn, f: Map, x0: Tensor, schedule: Schedule, budget: int, *rest: Any) -> None:
    watching, seen = _watched(f)
    fn(watching, x0, schedule, budget, *rest)
    require(all(x.shape == x0.shape for x in seen), "a call on something else than n d points")
    require(len(seen) == budget, "not as many calls as the budget allows")


@e4.property("the result is the best of all points that the particle evaluated")
def _(fn: Fn, f: Map, *rest: Any) -> None:
    watching, seen = _watched(f)
    best, lowest = fn(watching, *rest)
    close(lowest, f(best), 1e-12, relative=True)
    close(lowest, torch.stack([f(x) for x in seen]).amin(0), 1e-12, relative=True)


@e4.property("one seed gives one result")
def _(fn: Fn, *args: Any) -> None:
    (one, value), (again, other) = fn(*args), fn(*args)
    close(again, one, 0)
    close(other, value, 0)


@e4.property("another seed gives other proposals, and each particle has its own")
def _(fn: Fn, f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int) -> None:
    if budget > 1:
        first = []
        for number in (seed, seed + 1):
            watching, seen = _watched(f)
            fn(watching, x0, schedule, budget, width, number)
            first.append(seen[1] - x0)
        require(first[0] != first[1], "the first proposals do not change with the seed")
        apart = first[0].unsqueeze(0) != first[0].unsqueeze(1)
        own = apart.any(-1) | torch.eye(len(x0), dtype=torch.bool)
        require(own, "two particles step by the same numbers")


@e4.property("every particle is accepted or refused by a random number of its own")
def _(fn: Fn, f: Map, x0: Tensor, schedule: Schedule, *rest: Any) -> None:
    if f is _plain_with_a_hole:  # half the particles make the first step, and go on from there
        _, width, _ = rest
        away = float(_last(fn, f, x0, schedule, *rest).square().mean()) / width**2
        close(away, 1.5, 0.2)


@e4.property("the temperature of proposal k is schedule(k / budget)")
def _(fn: Fn, f: Map, x0: Tensor, schedule: Schedule, budget: int, *rest: Any) -> None:
    asked: list[float] = []

    def watching(s: float) -> float:
        asked.append(s)
        return schedule(s)

    fn(f, x0, _named(schedule.__name__, watching), budget, *rest)
    close(sorted(set(asked)), [k / budget for k in range(budget - 1)], 1e-12)


@e4.property("where f is flat every proposal is accepted: particles spread as freely as they can")
def _(fn: Fn, f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int) -> None:
    if f is _flat and len(x0) > MANY:
        away = _last(fn, f, x0, schedule, budget, width, seed) - x0
        close(float(away.square().mean()) / ((budget - 1) * width**2), 1.0, 0.2)


@e4.property("at a constant temperature the particles in a bowl c x² spread as exp(-c x² / tau)")
def _(fn: Fn, f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int) -> None:
    if f is _bowl and len(x0) > MANY and schedule(0.0) == schedule(1.0) > 0:
        x = _last(fn, f, x0, schedule, budget, width, seed)
        close(float(x.square().mean()) / (schedule(0.0) / 2 + width**2), 1.0, 0.15)


@e4.property("hot first, cold last: in the bowl x² the particles end close to the bottom")
def _(fn: Fn, f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int) -> None:
    if f is _bowl and len(x0) > MANY and schedule(0.0) > schedule(1.0):
        x = _last(fn, f, x0, schedule, budget, width, seed)
        require(x.square().mean() < 0.5, "the particles are still hot at the end")


@e4.property(
    "from the worse of two wells most particles reach the better one, and hardly any if cold"
)
def _(fn: Fn, f: Map, x0: Tensor, schedule: Schedule, *rest: Any) -> None:
    if f is _wells and len(x0) > MANY:
        share = float((fn(f, x0, schedule, *rest)[0] < 0).double().mean())
        if schedule(0.0) > 0:
            require(share > 0.8, "too few particles reach the better well")
        else:
            require(share < 0.1, "too many particles cross the hill, although it is cold")


@e4.property("in a bowl under an egg box it beats as many evaluations at random places, in pairs")
def _(fn: Fn, f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int) -> None:
    if f is _egg_box and len(x0) > MANY:
        g = torch.Generator().manual_seed(seed)
        places = 10 * torch.rand(budget - 1, *x0.shape, generator=g, dtype=torch.float64) - 5
        random = _egg_box(torch.cat([places, x0.unsqueeze(0)])).amin(0)
        gain = random - fn(f, x0, schedule, budget, width, seed)[1]
        enough = gain.mean() > 4 * gain.std() / math.sqrt(len(x0))
        require(enough, "it does not beat random search by four standard errors")


def _walk(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int, rule: Fn
) -> tuple[Tensor, Tensor]:
    """The walk with another rule (rise, tau, u) for which particles move."""
    g = torch.Generator().manual_seed(seed)
    x, value = x0, f(x0)
    best, lowest = x, value
    for k in range(budget - 1):
        proposal = x + width * torch.randn(x.shape, generator=g, dtype=x.dtype)
        proposed = f(proposal)
        u = torch.rand(value.shape, generator=g, dtype=x.dtype)
        moves = rule(proposed - value, schedule(k / budget), u)
        better = proposed < lowest
        best = torch.where(better.unsqueeze(-1), proposal, best)
        lowest = torch.where(better, proposed, lowest)
        x = torch.where(moves.unsqueeze(-1), proposal, x)
        value = torch.where(moves, proposed, value)
    return best, lowest


def _accept(rise: Tensor, tau: float, u: Tensor) -> Tensor:
    return (rise <= 0) | (u < torch.exp(-rise / tau)) if tau > 0 else rise <= 0


@e4.wrong("never uphill: a greedy walk at any temperature")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    return _walk(f, x0, schedule, budget, width, seed, lambda rise, tau, u: rise <= 0)


@e4.wrong("multiplies by the temperature instead of dividing by it")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    def rule(rise: Tensor, tau: float, u: Tensor) -> Tensor:
        return (rise <= 0) | ((u < torch.exp(-rise * tau)) & (tau > 0))

    return _walk(f, x0, schedule, budget, width, seed, rule)


@e4.wrong("returns where the particles are at the end, not the best they saw")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x, value = x0, f(x0)
    for k in range(budget - 1):
        proposal = x + width * torch.randn(x.shape, generator=g, dtype=x.dtype)
        proposed = f(proposal)
        u = torch.rand(value.shape, generator=g, dtype=x.dtype)
        moves = _accept(proposed - value, schedule(k / budget), u)
        x = torch.where(moves.unsqueeze(-1), proposal, x)
        value = torch.where(moves, proposed, value)
    return x, value


@e4.wrong("proposes around the best point so far")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    best, lowest = x0, f(x0)
    for k in range(budget - 1):
        schedule(k / budget)
        proposal = best + width * torch.randn(best.shape, generator=g, dtype=best.dtype)
        proposed = f(proposal)
        better = proposed <= lowest
        best = torch.where(better.unsqueeze(-1), proposal, best)
        lowest = torch.where(better, proposed, lowest)
    return best, lowest


@e4.wrong("heats instead of cooling")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    return _walk(f, x0, lambda s: schedule(1 - s), budget, width, seed, _accept)


@e4.wrong("one evaluation too many: forgets that x0 costs one")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    return _walk(f, x0, schedule, budget + 1, width, seed, _accept)


@e4.wrong("all particles accept or refuse together")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    def rule(rise: Tensor, tau: float, u: Tensor) -> Tensor:
        return _accept(rise.mean(), tau, u[0]).expand_as(rise)

    return _walk(f, x0, schedule, budget, width, seed, rule)


@e4.wrong("global random state instead of the seed")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    other = int(torch.randint(1 << 40, (1,)))
    return _walk(f, x0, schedule, budget, width, other, _accept)


@e4.wrong("refuses moves on the level: stays put where f is flat")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    def rule(rise: Tensor, tau: float, u: Tensor) -> Tensor:
        return (rise < 0) | (u < torch.exp(-rise / tau)) if tau > 0 else rise < 0

    return _walk(f, x0, schedule, budget, width, seed, rule)


@e4.wrong("a generator with a fixed seed, whatever the seed is")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    return _walk(f, x0, schedule, budget, width, 0, _accept)


@e4.wrong("one uniform number for all particles")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    def rule(rise: Tensor, tau: float, u: Tensor) -> Tensor:
        return _accept(rise, tau, u[:1].expand_as(rise))

    return _walk(f, x0, schedule, budget, width, seed, rule)


@e4.wrong("the same displacement for all particles")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x, value = x0, f(x0)
    best, lowest = x, value
    for k in range(budget - 1):
        proposal = x + width * torch.randn(x.shape[-1], generator=g, dtype=x.dtype)
        proposed = f(proposal)
        u = torch.rand(value.shape, generator=g, dtype=x.dtype)
        moves = _accept(proposed - value, schedule(k / budget), u)
        x = torch.where(moves.unsqueeze(-1), proposal, x)
        value = torch.where(moves, proposed, value)
        best = torch.where((proposed < lowest).unsqueeze(-1), proposal, best)
        lowest = torch.minimum(lowest, proposed)
    return best, lowest


@e4.wrong("the square root of the temperature in the acceptance")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    def rule(rise: Tensor, tau: float, u: Tensor) -> Tensor:
        return _accept(rise, tau**0.5, u)

    return _walk(f, x0, schedule, budget, width, seed, rule)


@e4.wrong("width is taken for a variance")
def _(
    f: Map, x0: Tensor, schedule: Schedule, budget: int, width: float, seed: int
) -> tuple[Tensor, Tensor]:
    return _walk(f, x0, schedule, budget, width**0.5, seed, _accept)
