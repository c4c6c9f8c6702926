"""The exercises of part_5/tutorial_03: choices, counts, known constraints and blends."""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

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

# --- e1: the Hamming kernel ---------------------------------------------------------------------

e1 = Exercise(
    id="p5.t3.e1",
    title="The Hamming kernel",
    hints=(
        "Two experiments with other ligands and the same base and additive differ in one choice of "
        "three: h = 1. What is their kernel value? And that of an experiment with itself?",
        "Compare every row of A with every row of B, choice by choice: a table of True and False "
        "of shape (..., n, m, p). Its sum over the last axis is h.",
        "A.unsqueeze(-2) != B.unsqueeze(-3) broadcasts to that table; True counts as 1. The "
        "lengthscale enters squared: exp(-h / l^2).",
    ),
)


@e1.answer
def hamming_kernel(A: Tensor, B: Tensor, lengthscale: float) -> Tensor:
    """exp(-h / lengthscale^2), where h counts the choices in which two experiments differ.

    `A` has shape (..., n, p) and `B` shape (..., m, p): n and m experiments of p choices
    each, every choice a whole number that stands for a label (and for nothing else). The result
    is float64, of shape (..., n, m).
    """
    h = (A.unsqueeze(-2) != B.unsqueeze(-3)).sum(-1)
    return torch.exp(-h.double() / lengthscale**2)


@e1.cases
def choices(rng: Rng) -> Iterator[Case]:
    one = torch.tensor([[2, 0]])
    yield Case(one[:, :1], one[:, :1], 1.0, note="one choice, the same")
    yield Case(one, one, 0.5)
    yield Case(one, torch.tensor([[0, 2]]), 1.0, note="the same labels at other places")
    yield Case(torch.tensor([[0, 1], [9, 1]]), torch.tensor([[1, 1]]), 2.0, note="9 is no further")
    yield Case(torch.tensor([[5]]), torch.tensor([[0]]), 1e-3, note="nothing is alike")
    yield Case(torch.tensor([[5]]), torch.tensor([[0]]), 1e6, note="everything is alike")
    for n, m, p, batch in itertools.product((1, 3), (2, 4), (1, 3), ((), (2,), (2, 1))):
        A, B = (
            torch.tensor([rng.randrange(4) for _ in range(math.prod(batch) * k * p)])
            for k in (n, m)
        )
        yield Case(A.reshape(*batch, n, p), B.reshape(*batch, m, p), 0.5 + 2 * rng.random())


@e1.shape
def _(fn: Fn, A: Tensor, B: Tensor, lengthscale: float) -> None:
    has_shape(fn(A, B, lengthscale), (*A.shape[:-1], B.shape[-2]), torch.float64)


@e1.property("other names for the same labels change nothing")
def _(fn: Fn, A: Tensor, B: Tensor, lengthscale: float) -> None:
    new = torch.tensor([7, 2, 11, 0, 3, 5, 1, 4, 6, 9])
    close(fn(new[A], new[B], lengthscale), fn(A, B, lengthscale), 1e-12)


@e1.property("it is symmetric, and 1 for an experiment with itself")
def _(fn: Fn, A: Tensor, B: Tensor, lengthscale: float) -> None:
    close(fn(A, B, lengthscale), fn(B, A, lengthscale).transpose(-1, -2), 1e-12)
    close(fn(A, A, lengthscale).diagonal(dim1=-2, dim2=-1), torch.ones(A.shape[:-1]).double())


@e1.value("a loop over pairs and choices")
def _(fn: Fn, A: Tensor, B: Tensor, lengthscale: float) -> None:
    p = A.shape[-1]
    first, second = A.reshape(-1, A.shape[-2], p), B.reshape(-1, B.shape[-2], p)
    K = [
        [
            [math.exp(-sum(x != y for x, y in zip(a, b, strict=True)) / lengthscale**2) for b in Bs]
            for a in As
        ]
        for As, Bs in zip(first.tolist(), second.tolist(), strict=True)
    ]
    close(fn(A, B, lengthscale).reshape(len(K), len(K[0]), -1), torch.tensor(K).double(), 1e-6)


@e1.wrong("counts the choices that agree")
def _(A: Tensor, B: Tensor, lengthscale: float) -> Tensor:
    return torch.exp(-(A.unsqueeze(-2) == B.unsqueeze(-3)).sum(-1).double() / lengthscale**2)


@e1.wrong("takes label 2 to be nearer to 1 than 0 is to 2: squared differences of codes")
def _(A: Tensor, B: Tensor, lengthscale: float) -> Tensor:
    away = (A.unsqueeze(-2) - B.unsqueeze(-3)).double() ** 2
    return torch.exp(-away.sum(-1) / lengthscale**2)


@e1.wrong("the lengthscale, not its square")
def _(A: Tensor, B: Tensor, lengthscale: float) -> Tensor:
    return torch.exp(-(A.unsqueeze(-2) != B.unsqueeze(-3)).sum(-1).double() / lengthscale)


@e1.wrong("the share of the choices that differ, not their number")
def _(A: Tensor, B: Tensor, lengthscale: float) -> Tensor:
    h = (A.unsqueeze(-2) != B.unsqueeze(-3)).double().mean(-1)
    return torch.exp(-h / lengthscale**2)


@e1.wrong("one for the same experiment, else the value of one difference")
def _(A: Tensor, B: Tensor, lengthscale: float) -> Tensor:
    other = (A.unsqueeze(-2) != B.unsqueeze(-3)).any(-1)
    return torch.exp(-other.double() / lengthscale**2)


@e1.wrong("squares h, as if it were a distance")
def _(A: Tensor, B: Tensor, lengthscale: float) -> Tensor:
    h = (A.unsqueeze(-2) != B.unsqueeze(-3)).sum(-1).double()
    return torch.exp(-(h**2) / lengthscale**2)


# --- e2: whole steps that sum to the total ------------------------------------------------------

e2 = Exercise(
    id="p5.t3.e2",
    title="Whole steps, exact sum",
    hints=(
        "0.55, 0.3, 0.15 in 10 steps are 5.5, 3 and 1.5. Rounding down gives 5, 3, 1: one step is "
        "missing. Who should get it?",
        "Round all down. The number of steps that are missing is known; give one each to those who "
        "lost most by rounding.",
        "Sort the losses with argsort(descending=True); a second argsort gives every entry its "
        "rank; those whose rank is below the number missing get one. A result that lies 1e-12 "
        "below a whole number must not be rounded down to the one before.",
    ),
)


@e2.answer
def whole_steps(x: Tensor, steps: int) -> Tensor:
    """The nearest blend in whole steps: counts that sum exactly to `steps`.

    `x`, of shape (..., k), holds fractions that are not negative and sum to 1, up to rounding
    errors of 1e-12. The result holds whole numbers (torch.long) of the same shape, not negative,
    with sum `steps`, and no such counts are nearer to ``steps * x`` (in the sum of squares). Where
    several are equally near, any of them will do.
    """
    amount = steps * x
    counts = torch.floor(amount + 1e-9)
    missing = (steps - counts.sum(-1, keepdim=True)).long()
    loss = amount - counts
    rank = loss.argsort(dim=-1, descending=True).argsort(dim=-1)
    return counts.long() + (rank < missing).long()


@e2.cases
def fractions(rng: Rng) -> Iterator[Case]:
    def row(*entries: float) -> Tensor:
        return torch.tensor(entries, dtype=torch.float64)

    yield Case(row(1.0), 10, note="one component")
    yield Case(row(0.5, 0.5), 1, note="a tie")
    yield Case(row(0.55, 0.3, 0.15), 10)
    yield Case(row(1 / 3, 1 / 3, 1 / 3), 10, note="equal parts of ten")
    yield Case(row(0.06, 0.06, 0.06, 0.82), 10, note="rounded one by one the sum is 11")
    yield Case(row(0.04, 0.04, 0.04, 0.04, 0.84), 10, note="rounded one by one the sum is 8")
    yield Case(row(0.1 + 0.2, 0.7 - 1e-16), 10, note="0.1 + 0.2")
    yield Case(row(0.29, 0.57, 0.14), 100, note="100 * 0.29 and 100 * 0.57 fall short in floats")
    yield Case(row(0.0, 0.0, 1.0), 7, note="nothing of two")
    yield Case(row(0.49, 0.49, 0.02), 3)
    for k, steps, batch in itertools.product((2, 3, 4), (1, 5, 12), ((), (3,), (2, 1))):
        u = rng.uniform_in(0, 1, *batch, k) ** rng.choice((1, 3))
        yield Case(u / u.sum(-1, keepdim=True), steps)


@e2.shape
def _(fn: Fn, x: Tensor, steps: int) -> None:
    has_shape(fn(x, steps), x.shape, torch.long)


@e2.property("no count is negative, and they sum exactly to `steps`")
def _(fn: Fn, x: Tensor, steps: int) -> None:
    counts = fn(x, steps)
    require(bool((counts >= 0).all()), "a count is negative")
    require(bool((counts.sum(-1) == steps).all()), f"a sum is not {steps}")


@e2.property("a blend that is in whole steps stays as it is")
def _(fn: Fn, x: Tensor, steps: int) -> None:
    counts = fn(x, steps)
    require(torch.equal(fn(counts.double() / steps, steps), counts), "a legal blend was changed")


@e2.property("the order of the components does not matter")
def _(fn: Fn, x: Tensor, steps: int) -> None:
    def away(counts: Tensor, amounts: Tensor) -> Tensor:
        return ((counts - steps * amounts) ** 2).sum(-1)

    close(away(fn(x.flip(-1), steps), x.flip(-1)), away(fn(x, steps), x), 1e-6)


@e2.value("the nearest of all legal blends")
def _(fn: Fn, x: Tensor, steps: int) -> None:
    k, counts = x.shape[-1], fn(x, steps).reshape(-1, x.shape[-1])
    if steps > 12:
        every = counts.unsqueeze(1) + torch.tensor(list(itertools.product((-1, 0, 1), repeat=k)))
        every = every[(every.sum(-1) == steps)].unsqueeze(0)
    else:
        legal = [c for c in itertools.product(range(steps + 1), repeat=k) if sum(c) == steps]
        every = torch.tensor(legal).unsqueeze(0)
    amount = steps * x.reshape(-1, k)
    nearest = ((every - amount.unsqueeze(1)) ** 2).sum(-1).amin(1)
    away = ((counts - amount) ** 2).sum(-1)
    require(bool((away <= nearest + 1e-6).all()), "another legal blend is nearer")


@e2.wrong("rounds one by one")
def _(x: Tensor, steps: int) -> Tensor:
    return torch.round(steps * x).long()


@e2.wrong("rounds one by one, and the last takes the rest")
def _(x: Tensor, steps: int) -> Tensor:
    counts = torch.round(steps * x).long()
    counts[..., -1] += steps - counts.sum(-1)
    return counts


@e2.wrong("rounds one by one, and the largest takes the rest")
def _(x: Tensor, steps: int) -> Tensor:
    counts = torch.round(steps * x).long()
    rest = (steps - counts.sum(-1, keepdim=True)).long()
    return counts.scatter_add(-1, x.argmax(-1, keepdim=True), rest)


@e2.wrong("gives what is missing to the largest fractions")
def _(x: Tensor, steps: int) -> Tensor:
    counts = torch.floor(steps * x + 1e-9)
    missing = steps - counts.sum(-1, keepdim=True)
    rank = x.argsort(dim=-1, descending=True).argsort(dim=-1)
    return counts.long() + (rank < missing).long()


@e2.wrong("sorts once: the place in the order taken for the rank")
def _(x: Tensor, steps: int) -> Tensor:
    counts = torch.floor(steps * x + 1e-9)
    missing = steps - counts.sum(-1, keepdim=True)
    order = (steps * x - counts).argsort(dim=-1, descending=True)
    return counts.long() + (order < missing).long()


@e2.wrong("gives all that is missing to the one that lost most")
def _(x: Tensor, steps: int) -> Tensor:
    counts = torch.floor(steps * x + 1e-9)
    missing = (steps - counts.sum(-1, keepdim=True)).long()
    loss = (steps * x - counts).argmax(-1, keepdim=True)
    return counts.long().scatter_add(-1, loss, missing)


# --- e3: hit and run ----------------------------------------------------------------------------

e3 = Exercise(
    id="p5.t3.e3",
    title="Hit and run",
    hints=(
        "From a point inside, every direction leaves the polytope somewhere, forwards and "
        "backwards. Where, on the line x + t v? Each row of A x <= b bounds t from one side.",
        "Row i says t a_i.v <= b_i - a_i.x. Where a_i.v > 0 that is an upper limit for t, where it "
        "is negative a lower one. The new point is uniform between the highest lower and the "
        "lowest upper limit.",
        "Draw v with torch.randn and a generator of your own, seeded with `seed`. All n points "
        "of the chain are kept, x0 is not. With u from torch.rand the step is low + u * "
        "(high - low).",
    ),
)


@e3.answer
def hit_and_run(A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> Tensor:
    """n steps of a random walk whose points are spread uniformly over {x : A x <= b}.

    `A` has shape (m, d), `b` (m,); the polytope is bounded, and `x0` (d,) lies inside. In each step
    draw a direction, uniform on the sphere, and go to a uniform point of the chord that the line
    through the last point in this direction cuts out. The result has shape (n, d), without x0, and
    depends on the arguments alone: torch's global generator is neither read nor seeded. No point
    may be outside by more than 1e-9.
    """
    g = torch.Generator().manual_seed(seed)
    directions = torch.randn(n, len(x0), generator=g, dtype=torch.float64)
    places = torch.rand(n, generator=g, dtype=torch.float64)
    rates = directions @ A.T
    x, points = x0, []
    for v, u, rate in zip(directions, places, rates, strict=True):
        t = (b - A @ x) / rate
        high = torch.where(rate > 0, t, torch.inf).min()
        low = torch.where(rate < 0, t, -torch.inf).max()
        x = x + (low + u * (high - low)) * v
        points.append(x)
    return torch.stack(points)


def _box(d: int) -> tuple[Tensor, Tensor]:
    eye = torch.eye(d, dtype=torch.float64)
    return torch.cat([eye, -eye]), torch.cat([torch.ones(d), torch.zeros(d)]).double()


def _corner(d: int) -> tuple[Tensor, Tensor]:
    """The simplex x >= 0, sum x <= 1."""
    A = torch.cat([-torch.eye(d), torch.ones(1, d)]).double()
    return A, torch.cat([torch.zeros(d), torch.ones(1)]).double()


@e3.cases
def polytopes(rng: Rng) -> Iterator[Case]:
    A, b = _box(1)
    yield Case(A, b, torch.tensor([0.9]).double(), 1, 0, note="one step in an interval")
    for d, n, (A, b) in ((1, 2_500, _box(1)), (2, 1_000, _box(2)), (2, 1_000, _corner(2))):
        yield Case(A, b, torch.full((d,), 0.05).double(), n, rng.randrange(99))
    for d, scale, n in itertools.product((1, 2, 4), (1e-3, 1.0, 1e3), (3, 20)):
        A, b = _box(d) if rng.random() < 0.5 else _corner(d)
        more = rng.normal(2, d)
        x0 = torch.full((d,), 0.5 / d).double()
        A, b = torch.cat([A, more]), torch.cat([b, more @ x0 + 0.1])
        yield Case(A, scale * b, scale * x0, n, rng.randrange(10_000))


@e3.shape
def _(fn: Fn, A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> None:
    has_shape(fn(A, b, x0, n, seed), (n, A.shape[1]), torch.float64)


@e3.property("every point is inside, and the walk moves: none comes twice")
def _(fn: Fn, A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> None:
    room = 1e-9 * max(1.0, float(b.abs().max()))
    X = fn(A, b, x0, n, seed)
    outside = float((X @ A.T - b).max())
    require(outside <= room, f"a point breaks a constraint by {outside:.2g}")
    require(len({tuple(x) for x in [x0.tolist(), *X.tolist()]}) == n + 1, "a point came twice")


@e3.property("the seed decides, and nothing else")
def _(fn: Fn, A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> None:
    if n > 100:
        return
    with random_state_untouched():
        first = fn(A, b, x0, n, seed)
    require(torch.equal(fn(A, b, x0, n, seed), first), "the same seed gave other points")
    require(not torch.equal(fn(A, b, x0, n, seed + 1), first), "another seed gave the same points")


@e3.value("the mean, the mean square and the share near a face, for uniform points")
def _(fn: Fn, A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> None:
    if n < 1000:
        return
    d = A.shape[1]
    simplex = len(A) == d + 1 and d > 1
    mean = 1.0 / (d + 1) if simplex else 0.5
    square = 2.0 / ((d + 1) * (d + 2)) if simplex else 1.0 / 3.0
    edge = 1.0 - 0.9**d if simplex else 0.2
    X = fn(A, b, x0, n, seed)
    facts = {"mean": (X, mean), "mean square": (X**2, square)}
    near = X < 0.1 if simplex else (X - 0.5).abs() > 0.4
    facts["share near a face"] = (near.double(), edge)
    for name, (value, truth) in facts.items():
        # neighbours on a walk are alike: batches of 50 are nearly independent, points are not
        batches = value.reshape(-1, 50, d).mean(1)
        error = batches.std(0) / math.sqrt(len(batches))
        z = float(((batches.mean(0) - truth) / error).abs().max())
        require(z < 5.5, f"the {name} is {z:.0f} standard errors from that of uniform points")


@e3.wrong("goes forwards only")
def _(A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    x, points = x0, []
    for _ in range(n):
        v = torch.randn(len(x0), generator=g, dtype=torch.float64)
        rate = A @ v
        high = torch.where(rate > 0, (b - A @ x) / rate, torch.inf).min()
        x = x + torch.rand((), generator=g, dtype=torch.float64) * high * v
        points.append(x)
    return torch.stack(points)


def _chain(A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int, kind: str) -> Tensor:
    """Mistaken walks."""
    g = torch.Generator().manual_seed(0 if kind == "seed" else seed)
    x, points = x0, []
    for _ in range(n):
        v = torch.randn(len(x0), generator=g, dtype=torch.float64)
        if kind == "positive":
            v = v.abs()
        rate, slack = A @ v, b - A @ x
        high = torch.where(rate > 0, slack / rate, torch.inf).min()
        low = torch.where(rate < 0, slack / rate, -torch.inf).max()
        u = torch.rand((), generator=g, dtype=torch.float64)
        if kind == "middle":
            u = 0.25 + 0.5 * u
        if kind == "two":
            u = (u + torch.rand((), generator=g, dtype=torch.float64)) / 2
        new = x + (low + u * (high - low)) * v
        points.append(new)
        x = x0 if kind == "again" else new
    return torch.stack(points)


@e3.wrong("starts again from x0 in every step")
def _(A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> Tensor:
    return _chain(A, b, x0, n, seed, "again")


@e3.wrong("stays in the middle half of the chord, to be safe")
def _(A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> Tensor:
    return _chain(A, b, x0, n, seed, "middle")


@e3.wrong("the mean of two uniform places: the middle of the chord comes more often")
def _(A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> Tensor:
    return _chain(A, b, x0, n, seed, "two")


@e3.wrong("ignores the seed")
def _(A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> Tensor:
    return _chain(A, b, x0, n, seed, "seed")


@e3.wrong("draws from the global generator, seeded with the seed")
def _(A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return _chain(A, b, x0, n, int(torch.randint(2**31, ())), "uniform")


@e3.wrong("steps of a fixed size, and those that leave are not made")
def _(A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    x, points = x0, []
    for _ in range(n):
        new = x + 0.1 * torch.randn(len(x0), generator=g, dtype=torch.float64)
        x = new if bool((A @ new <= b).all()) else x
        points.append(x)
    return torch.stack(points)


@e3.wrong("returns x0 first, and leaves the last point out")
def _(A: Tensor, b: Tensor, x0: Tensor, n: int, seed: int) -> Tensor:
    points = _chain(A, b, x0, n, seed, "uniform")
    return torch.cat([x0.unsqueeze(0), points[:-1]])


# --- e4: orthonormal contrasts ------------------------------------------------------------------

e4 = Exercise(
    id="p5.t3.e4",
    title="Coordinates of a blend",
    hints=(
        "For two components there is one direction in which a blend can change: some more of the "
        "one, as much less of the other. As a column of length 1: (1, -1) / sqrt(2).",
        "For three: (1, -1, 0) and (1, 1, -2) are at right angles, and each sums to 0. Go on in "
        "this way, and divide by the lengths. Or let a QR factorisation do it.",
        "Column j (from 1): j ones, then -j, then zeros, divided by sqrt(j (j + 1)).",
    ),
)


@e4.answer
def contrasts(k: int) -> Tensor:
    """A float64 matrix C of shape (k, k - 1), k >= 2: orthonormal columns, each with sum 0.

    Differences of blends of k components have sum 0, and C.T turns them into k - 1 coordinates
    without changing a distance. There are many such matrices; any of them will do.
    """
    C = torch.zeros(k, k - 1, dtype=torch.float64)
    for j in range(1, k):
        C[:j, j - 1] = 1.0
        C[j, j - 1] = -j
        C[:, j - 1] /= math.sqrt(j * (j + 1))
    return C


@e4.cases
def sizes(rng: Rng) -> Iterator[Case]:
    for k in (*range(2, 21), 30, 50):
        yield Case(k)


@e4.shape
def _(fn: Fn, k: int) -> None:
    has_shape(fn(k), (k, k - 1), torch.float64)


@e4.property("the columns have length 1 and stand at right angles")
def _(fn: Fn, k: int) -> None:
    close(fn(k).T @ fn(k), torch.eye(k - 1).double(), 1e-10)


@e4.property("every column sums to 0")
def _(fn: Fn, k: int) -> None:
    close(fn(k).sum(0), torch.zeros(k - 1).double(), 1e-10)


@e4.value("the projection that takes the mean away")
def _(fn: Fn, k: int) -> None:
    C = fn(k)
    close(C @ C.T, torch.eye(k).double() - 1.0 / k, 1e-10)


@e4.wrong("leaves the last fraction out")
def _(k: int) -> Tensor:
    return torch.eye(k, dtype=torch.float64)[:, :-1]


@e4.wrong("differences to the last component: they sum to 0, but stand at 60 degrees")
def _(k: int) -> Tensor:
    C = torch.eye(k, dtype=torch.float64)[:, :-1].clone()
    C[-1] = -1.0
    return C / math.sqrt(2.0)


@e4.wrong("right angles, but not of length 1")
def _(k: int) -> Tensor:
    C = torch.zeros(k, k - 1, dtype=torch.float64)
    for j in range(1, k):
        C[:j, j - 1], C[j, j - 1] = 1.0, -j
    return C


@e4.wrong("centres the unit vectors: right sums, wrong lengths and angles")
def _(k: int) -> Tensor:
    C = torch.eye(k, dtype=torch.float64)[:, :-1]
    C = C - C.mean(0)
    lengths: Tensor = C.norm(dim=0)
    return C / lengths


@e4.wrong("a QR factorisation with the constant still in it")
def _(k: int) -> Tensor:
    A = torch.cat([torch.ones(k, 1), torch.eye(k)[:, :-1]], dim=1).double()
    Q: Tensor = torch.linalg.qr(A).Q
    return Q[:, :-1]
