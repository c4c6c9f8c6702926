"""The exercises of part_1/tutorial_02: common tensor operations."""

import itertools
import math
from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Any, cast

import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require
from bolearn.teach.exercises.part_1_tutorial_01 import _CountCalls

# --- e1: the best so far ----------------------------------------------------------------------

e1 = Exercise(
    id="p1.t2.e1",
    title="The best so far",
    pure=True,
    hints=(
        "Write the answer for y = (3, 5, 2, 4) by hand, minimising. Each entry looks at everything "
        "up to itself: which family of torch functions runs along an axis in this way?",
        "torch has running sums, products, maxima and minima; their names begin with `cum`. The "
        "steps of the run are the last axis, whatever stands in front.",
        "`cummin` and `cummax` return values and indices. Ask for `dim=-1`, take `.values`, and "
        "let `maximize` choose between the two.",
    ),
)


@e1.answer
def best_so_far(y: Tensor, maximize: bool = False) -> Tensor:
    """The best value up to each step: ... T -> ... T.

    The last axis counts the steps of a run, the axes in front count runs. Best means smallest, or
    largest if `maximize`. No Python loop: the number of torch calls must not grow with T.

    >>> best_so_far(torch.tensor([3.0, 5.0, 2.0, 4.0]))
    tensor([3., 3., 2., 2.])
    """
    return y.cummax(dim=-1).values if maximize else y.cummin(dim=-1).values


@e1.cases
def runs(rng: Rng) -> Iterator[Case]:
    for maximize in (False, True):
        yield Case(torch.tensor([2.0]).double(), maximize=maximize, note="one step")
        yield Case(torch.tensor([1.0, 1.0]).double(), maximize=maximize, note="a tie")
        yield Case(torch.tensor([1.0, 2.0, 3.0]).double(), maximize=maximize, note="rising")
        yield Case(torch.tensor([3.0, 2.0, 1.0]).double(), maximize=maximize, note="falling")
        yield Case(torch.tensor([-1.0, -3.0, 2.0]).double(), maximize=maximize)
        yield Case(torch.tensor([math.inf, 1.0, 2.0]).double(), maximize=maximize, note="infinite")
        yield Case(rng.normal(3, 3), maximize=maximize, note="as many runs as steps")
        yield Case(rng.normal(2, 1), maximize=maximize, note="two runs of one step")
        for scale in (1e-6, 1e6):
            yield Case(scale * rng.normal(4), maximize=maximize, note=f"scale {scale:g}")
        for shape in ((6,), (2, 5), (3, 4), (2, 3, 4)):
            yield Case(rng.normal(*shape).round(decimals=1), maximize=maximize)
    yield Case(rng.normal(4), note="maximize is left out")


@e1.shape
def _(fn: Fn, y: Tensor, maximize: bool = False) -> None:
    has_shape(fn(y, maximize=maximize), y.shape, y.dtype)


@e1.property("without maximize the smallest is the best")
def _(fn: Fn, y: Tensor, maximize: bool = False) -> None:
    require(torch.equal(fn(y), fn(y, maximize=False)), "maximize left out means another goal")


@e1.property("the first entry is the first value")
def _(fn: Fn, y: Tensor, maximize: bool = False) -> None:
    require(fn(y, maximize=maximize)[..., 0] == y[..., 0], "the first entries differ")


@e1.property("the best so far never gets worse")
def _(fn: Fn, y: Tensor, maximize: bool = False) -> None:
    best = fn(y, maximize=maximize)
    later, earlier = best[..., 1:], best[..., :-1]
    require(later >= earlier if maximize else later <= earlier, "a later entry is worse")


@e1.property("the best so far of the best so far is itself")
def _(fn: Fn, y: Tensor, maximize: bool = False) -> None:
    best = fn(y, maximize=maximize)
    close(fn(best, maximize=maximize), best)


@e1.property("runs do not see each other")
def _(fn: Fn, y: Tensor, maximize: bool = False) -> None:
    stack = torch.stack([y, -y, y.flip(-1)])
    together = fn(stack, maximize=maximize)
    for alone, row in zip(stack, together, strict=True):
        require(torch.equal(fn(alone, maximize=maximize), row), "in a stack, a run comes out other")


@e1.property("no Python loop: three times as many steps take as many torch calls")
def _(fn: Fn, y: Tensor, maximize: bool = False) -> None:
    counts = []
    for copies in (1, 3):
        with _CountCalls() as counter:
            fn(torch.cat([y] * copies, dim=-1), maximize=maximize)
            counts.append(counter.calls)
    more = counts[1] - counts[0]
    require(more == 0, f"three times as many steps took {more} more torch calls")


@e1.value("Python's itertools, one run at a time")
def _(fn: Fn, y: Tensor, maximize: bool = False) -> None:
    rows = y.reshape(-1, y.shape[-1]).tolist()
    pick = max if maximize else min
    expected = [list(itertools.accumulate(row, pick)) for row in rows]
    close(fn(y, maximize=maximize), torch.tensor(expected, dtype=y.dtype).reshape(y.shape))


@e1.wrong("the best of the whole run, at every step")
def _(y: Tensor, maximize: bool = False) -> Tensor:
    best = y.amax(-1, keepdim=True) if maximize else y.amin(-1, keepdim=True)
    return best.expand(y.shape)


@e1.wrong("runs along axis 0, which is the runs as soon as there are several")
def _(y: Tensor, maximize: bool = False) -> Tensor:
    return y.cummax(dim=0).values if maximize else y.cummin(dim=0).values


@e1.wrong("ignores maximize")
def _(y: Tensor, maximize: bool = False) -> Tensor:
    return y.cummin(dim=-1).values


@e1.wrong("maximises unless told otherwise")
def _(y: Tensor, maximize: bool = True) -> Tensor:
    return y.cummax(dim=-1).values if maximize else y.cummin(dim=-1).values


@e1.wrong("the best before each step, without the step itself")
def _(y: Tensor, maximize: bool = False) -> Tensor:
    best = y.cummax(dim=-1).values if maximize else y.cummin(dim=-1).values
    return torch.cat([y[..., :1], best[..., :-1]], dim=-1)


@e1.wrong("swaps the two goals")
def _(y: Tensor, maximize: bool = False) -> Tensor:
    return y.cummin(dim=-1).values if maximize else y.cummax(dim=-1).values


@e1.wrong("sorts, which is monotone too")
def _(y: Tensor, maximize: bool = False) -> Tensor:
    return y.sort(dim=-1, descending=not maximize).values


@e1.wrong("compares each step with the one before only")
def _(y: Tensor, maximize: bool = False) -> Tensor:
    pick = torch.maximum if maximize else torch.minimum
    return torch.cat([y[..., :1], pick(y[..., 1:], y[..., :-1])], dim=-1)


@e1.wrong("right, but a Python loop over the steps")
def _(y: Tensor, maximize: bool = False) -> Tensor:
    pick = torch.maximum if maximize else torch.minimum
    best = [y[..., 0]]
    for t in range(1, y.shape[-1]):
        best.append(pick(best[-1], y[..., t]))
    return torch.stack(best, dim=-1)


# --- e2: the q best of many candidates --------------------------------------------------------

e2 = Exercise(
    id="p1.t2.e2",
    title="The q best candidates",
    pure=True,
    hints=(
        "Two steps: which rows, and fetch them. Solve it without batch axes first; then ask what "
        "the same index picks when X has an axis in front.",
        "`topk` along the last axis returns the positions, best first. To fetch with one list of "
        "positions for each problem you need `gather` or `take_along_dim`, not square brackets.",
        "The positions have shape ... q, the rows to fetch lie along axis -2 of X. Give the "
        "positions a last axis of length 1; `take_along_dim` stretches it over the coordinates, "
        "for `gather` you expand it yourself.",
    ),
)


@e2.answer
def top_q_candidates(X: Tensor, score: Tensor, q: int) -> Tensor:
    """The q candidates with the largest scores, best first.

    X has shape `... N d`: N candidates with d coordinates, for any number of problems in front.
    score has shape `... N`, with the same axes in front, and q is between 1 and N. The result has
    shape `... q d`. Among candidates with equal scores any will do.
    """
    rows = score.topk(q, dim=-1).indices  # ... q
    return X.take_along_dim(rows.unsqueeze(-1), dim=-2)


def _numbered(rng: Rng, *shape: int) -> Tensor:
    """Candidates `... N d`, all different: the first coordinate numbers them in some order."""
    X = rng.normal(*shape).round(decimals=1)
    count = math.prod(shape[:-1])
    order = list(range(count))
    rng.shuffle(order)
    X[..., 0] = torch.tensor(order, dtype=X.dtype).reshape(shape[:-1])
    return X


def _scores(rng: Rng, *shape: int) -> Tensor:
    return rng.normal(*shape).round(decimals=2)


@e2.cases
def candidates(rng: Rng) -> Iterator[Case]:
    yield Case(_numbered(rng, 1, 1), _scores(rng, 1), 1, note="one candidate")
    yield Case(_numbered(rng, 3, 1), _scores(rng, 3), 1, note="d = 1")
    yield Case(_numbered(rng, 3, 2), _scores(rng, 3), 3, note="q = N")
    yield Case(_numbered(rng, 3, 2), torch.zeros(3).double(), 2, note="all scores equal")
    tied = torch.tensor([1.0, 0.0, 1.0, 1.0]).double()
    yield Case(_numbered(rng, 4, 2), tied, 2, note="a tie at the border")
    yield Case(_numbered(rng, 4, 2), tied, 4, note="a tie, q = N")
    yield Case(_numbered(rng, 3, 2), torch.tensor([-3.0, -1.0, -2.0]).double(), 2, note="negative")
    yield Case(_numbered(rng, 3, 3), _scores(rng, 3), 2, note="N = d")
    yield Case(_numbered(rng, 2, 3, 2), _scores(rng, 2, 3), 1, note="two problems")
    yield Case(_numbered(rng, 3, 3, 2), _scores(rng, 3, 3), 3, note="three problems, q = N = 3")
    yield Case(_numbered(rng, 2, 2, 2), _scores(rng, 2, 2), 2, note="all sizes 2")
    yield Case(_numbered(rng, 2, 3, 4, 2), _scores(rng, 2, 3, 4), 2, note="two axes in front")
    for scale in (1e-6, 1e6):
        yield Case(_numbered(rng, 5, 2), scale * rng.normal(5), 2, note=f"scale {scale:g}")
    close_by = 1.0 + 1e-12 * torch.tensor([0.0, 3.0, 1.0, 2.0], dtype=torch.float64)
    yield Case(_numbered(rng, 4, 2), close_by, 2, note="scores that differ in the last digits")
    for _ in range(14):
        batch, N = rng.choice([(), (2,), (3,), (2, 2)]), rng.randint(2, 6)
        X = _numbered(rng, *batch, N, rng.randint(1, 3))
        yield Case(X, _scores(rng, *batch, N), rng.randint(1, N))


def _chosen(result: Tensor, X: Tensor) -> Tensor:
    """Shape ... q: which row of X each row of the result is; -1 if it is none."""
    same = (result.unsqueeze(-2) == X.unsqueeze(-3)).all(-1)  # ... q N
    return torch.where(same.any(-1), same.double().argmax(-1), -1)


@e2.shape
def _(fn: Fn, X: Tensor, score: Tensor, q: int) -> None:
    has_shape(fn(X, score, q), (*X.shape[:-2], q, X.shape[-1]), X.dtype)


@e2.property("every row of the result is a candidate of its own problem, none comes twice")
def _(fn: Fn, X: Tensor, score: Tensor, q: int) -> None:
    rows = _chosen(fn(X, score, q), X)
    require(rows >= 0, "a row is no candidate of its problem")
    ordered = rows.sort(-1).values
    require(ordered[..., 1:] != ordered[..., :-1], "a candidate was taken twice")


@e2.property("the first candidate alone is the answer for q = 1")
def _(fn: Fn, X: Tensor, score: Tensor, q: int) -> None:
    best = score.take_along_dim(_chosen(fn(X, score, 1), X), -1)
    first = score.take_along_dim(_chosen(fn(X, score, q), X), -1)[..., :1]
    require(best == first, "asked for one candidate, you return another score")


@e2.property("candidates in another order: the same scores are chosen")
def _(fn: Fn, X: Tensor, score: Tensor, q: int) -> None:
    rows, flipped = _chosen(fn(X, score, q), X), _chosen(fn(X.flip(-2), score.flip(-1), q), X)
    require(flipped >= 0, "a row is no candidate of its problem")
    close(score.take_along_dim(flipped, -1), score.take_along_dim(rows, -1))


@e2.value("sorting each problem's scores in Python")
def _(fn: Fn, X: Tensor, score: Tensor, q: int) -> None:
    found = score.take_along_dim(_chosen(fn(X, score, q), X), -1)
    lists = score.reshape(-1, score.shape[-1]).tolist()
    expected = [sorted(values, reverse=True)[:q] for values in lists]
    require(
        torch.equal(found, torch.tensor(expected, dtype=score.dtype).reshape(found.shape)),
        "the scores of your candidates are not the largest ones, best first",
    )


@e2.wrong("the smallest scores")
def _(X: Tensor, score: Tensor, q: int) -> Tensor:
    rows = score.topk(q, dim=-1, largest=False).indices
    return X.take_along_dim(rows.unsqueeze(-1), dim=-2)


@e2.wrong("compares the scores with single precision")
def _(X: Tensor, score: Tensor, q: int) -> Tensor:
    rows = score.float().topk(q, dim=-1).indices
    return X.take_along_dim(rows.unsqueeze(-1), dim=-2)


@e2.wrong("the right ones, in the order of the table")
def _(X: Tensor, score: Tensor, q: int) -> Tensor:
    rows = score.topk(q, dim=-1).indices.sort(dim=-1).values
    return X.take_along_dim(rows.unsqueeze(-1), dim=-2)


@e2.wrong("the right ones, worst first")
def _(X: Tensor, score: Tensor, q: int) -> Tensor:
    rows = score.argsort(dim=-1)[..., -q:]
    return X.take_along_dim(rows.unsqueeze(-1), dim=-2)


@e2.wrong("the first problem's positions for all problems")
def _(X: Tensor, score: Tensor, q: int) -> Tensor:
    rows = score.reshape(-1, score.shape[-1])[0].topk(q).indices
    return X[..., rows, :]


@e2.wrong("square brackets with one list of positions for each problem")
def _(X: Tensor, score: Tensor, q: int) -> Tensor:
    return X[..., score.topk(q, dim=-1).indices, :]


@e2.wrong("all candidates at least as good as the q-th best, which are more when scores tie")
def _(X: Tensor, score: Tensor, q: int) -> Tensor:
    threshold = score.topk(q, dim=-1).values[..., -1:]
    return X[score >= threshold].reshape(*X.shape[:-2], -1, X.shape[-1])


@e2.wrong("the largest entries of each coordinate instead of rows")
def _(X: Tensor, score: Tensor, q: int) -> Tensor:
    return X.topk(q, dim=-2).values


@e2.wrong("the largest scores in absolute value")
def _(X: Tensor, score: Tensor, q: int) -> Tensor:
    rows = score.abs().topk(q, dim=-1).indices
    return X.take_along_dim(rows.unsqueeze(-1), dim=-2)


# --- e3: a square root whose slope is never NaN -----------------------------------------------

e3 = Exercise(
    id="p1.t2.e3",
    title="A square root that is safe to differentiate",
    copies=False,  # the derivative is taken with respect to the tensor that is passed
    hints=(
        "The outer choice repairs the value. Which number reaches the square root, and hence its "
        "derivative, where the choice throws the result away?",
        "Choose twice: once before the square root, so that it never sees anything but positive "
        "numbers, and once after it, so that the value is right.",
        "Before: 1 (say) wherever x is not positive. After: 0 at the same places. An additive or "
        "clamped 1e-12 is no substitute: it changes values, or the slope of small numbers.",
    ),
)


@e3.answer
def safe_sqrt(x: Tensor) -> Tensor:
    """The square root of x where x > 0, and 0 elsewhere, entry by entry.

    Its derivative must be finite everywhere: that of the square root where x > 0, 0 elsewhere.
    Values must be those of the square root, not approximations of it.
    """
    positive = x > 0
    inside = torch.where(positive, x, 1.0)  # the square root never sees what is not positive
    return torch.where(positive, inside.sqrt(), 0.0)


@e3.cases
def numbers(rng: Rng) -> Iterator[Case]:
    for value in (4.0, 0.0, -0.0, -1.0, 1e-6, 1e6, 1e-12, 1e-13, 1e-300, 1e300, -1e-300, -1e300):
        yield Case(torch.tensor(value, dtype=torch.float64))
    yield Case(torch.tensor([-1.0, 0.0, 1.0]).double())
    yield Case(torch.zeros(3).double(), note="all zeros")
    yield Case(torch.full((2, 2), -2.0).double(), note="nothing is positive")
    yield Case(torch.tensor([[0.25], [9.0]]).double(), note="everything is positive")
    for scale in (1e-6, 1.0, 1e6):
        for shape in ((3,), (2, 3), (2, 1, 2)):
            yield Case(scale * rng.normal(*shape))


def _slope(fn: Fn, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    value = fn(leaf)
    require(isinstance(value, Tensor) and value.requires_grad, "the result has no derivative in x")
    slope: Tensor = torch.autograd.grad(value.sum(), leaf)[0]
    return slope


@e3.shape
def _(fn: Fn, x: Tensor) -> None:
    has_shape(fn(x.clone()), x.shape, x.dtype)


@e3.property("the value is finite, and 0 where x is not positive")
def _(fn: Fn, x: Tensor) -> None:
    value = fn(x.clone())
    require(value.isfinite(), "a value is not finite")
    require(value[x <= 0] == 0, "a value differs from 0")


@e3.property("the derivative is finite everywhere")
def _(fn: Fn, x: Tensor) -> None:
    require(_slope(fn, x).isfinite(), "a derivative is infinite or NaN")


@e3.property("three times the value has three times the derivative")
def _(fn: Fn, x: Tensor) -> None:
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((3.0 * fn(leaf)).sum(), leaf)
    scale = slope.abs().clamp(min=1e-300)
    close((3.0 * _slope(fn, x) - slope) / scale, torch.zeros_like(x), 1e-12)


@e3.property("x stays as it is")
def _(fn: Fn, x: Tensor) -> None:
    given = torch.tensor([-2.0, 0.0, 4.0], dtype=torch.float64)
    fn(given)
    require(given.tolist() == [-2.0, 0.0, 4.0], "your function changed x; work on a copy")


@e3.property("the square of the value is x where x > 0")
def _(fn: Fn, x: Tensor) -> None:
    inside = (x > 0) & (x > 1e-290) & (x < 1e290)
    ratio = fn(x.clone())[inside].square() / x[inside]
    close(ratio, torch.ones_like(ratio), 1e-12)


@e3.value("Python's math.sqrt, and 1 / (2 sqrt(x)) for the derivative")
def _(fn: Fn, x: Tensor) -> None:
    roots = [math.sqrt(max(entry, 0.0)) for entry in x.flatten().tolist()]
    slopes = [0.5 / root if root > 0 else 0.0 for root in roots]
    for found, expected in ((fn(x.clone()), roots), (_slope(fn, x), slopes)):
        exact = torch.tensor(expected, dtype=x.dtype).reshape(x.shape)
        scale = exact.abs().clamp(min=1e-300)
        close((found - exact) / scale, torch.zeros_like(x), 1e-12)


@e3.wrong("one choice, after the square root: the derivative is 0 times infinity")
def _(x: Tensor) -> Tensor:
    return torch.where(x > 0, x.sqrt(), 0.0)


@e3.wrong("clamps at zero: the derivative at 0 is infinite")
def _(x: Tensor) -> Tensor:
    return x.clamp(min=0.0).sqrt()


@e3.wrong("clamps at a small number: 0 becomes 1e-6")
def _(x: Tensor) -> Tensor:
    return x.clamp(min=1e-12).sqrt()


@e3.wrong("takes everything below 1e-12 for zero")
def _(x: Tensor) -> Tensor:
    big = x > 1e-12
    return torch.where(big, torch.where(big, x, 1.0).sqrt(), 0.0)


@e3.wrong("adds a small number under the root: every value is off")
def _(x: Tensor) -> Tensor:
    positive = x > 0
    return torch.where(positive, (torch.where(positive, x, 1.0) + 1e-12).sqrt(), 0.0)


@e3.wrong("replaces the NaN of the result, when its derivative has long been spoilt")
def _(x: Tensor) -> Tensor:
    return x.sqrt().nan_to_num(nan=0.0)


@e3.wrong("a derivative of one's own that forgets what comes from upstream")
def _(x: Tensor) -> Tensor:
    class Root(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.clamp(min=0.0).sqrt()

        @staticmethod
        def backward(ctx: Any, upstream: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return torch.where(x > 0, 0.5 / torch.where(x > 0, x, 1.0).sqrt(), 0.0)

    return cast("Tensor", cast("Any", Root).apply(x))


@e3.wrong("clears what is not positive in x itself")
def _(x: Tensor) -> Tensor:
    with torch.no_grad():
        x.clamp_(min=0.0)
    return torch.where(x > 0, torch.where(x > 0, x, 1.0).sqrt(), 0.0)


@e3.wrong("the root of the absolute value")
def _(x: Tensor) -> Tensor:
    nonzero = x != 0
    return torch.where(nonzero, torch.where(nonzero, x, 1.0).abs().sqrt(), 0.0)


# --- e4: the logarithm of a mean of exponentials ----------------------------------------------

e4 = Exercise(
    id="p1.t2.e4",
    title="The logarithm of a mean of exponentials",
    pure=True,
    hints=(
        "A mean is a sum divided by a number of entries. What does the logarithm make of the "
        "division?",
        "Only exponentials of numbers that are at most 0 are safe. Subtract something from x "
        "along `dim`, and add it again outside the logarithm; keep the axis while subtracting.",
        "`torch.logsumexp(x, dim)` does this for the sum. What is left to subtract depends on how "
        "many entries lie along `dim`, not on how many there are altogether.",
    ),
)


@e4.answer
def logmeanexp(x: Tensor, dim: int) -> Tensor:
    """log(mean(exp(x))) along the axis `dim`, which disappears.

    Right for entries of any finite size: 10000 and -10000 must neither overflow nor vanish.
    """
    return torch.logsumexp(x, dim=dim) - math.log(x.shape[dim])


@e4.cases
def logarithms(rng: Rng) -> Iterator[Case]:
    yield Case(torch.tensor([0.0]).double(), 0, note="one entry")
    yield Case(torch.tensor([5.0, 5.0]).double(), 0, note="equal entries")
    yield Case(torch.tensor([0.0, math.log(3.0)]).double(), 0, note="the mean of 1 and 3")
    for level in (1e4, -1e4):
        yield Case(torch.tensor([level]).double(), 0, note="one entry")
        yield Case(torch.tensor([level, level + 1.0]).double(), 0)
        yield Case(level + rng.normal(2, 3), 1)
    yield Case(torch.tensor([-1e4, 1e4]).double(), 0, note="far apart")
    yield Case(torch.tensor([[1e4, 1e4], [-1e4, -1e4]]).double(), 1, note="a large and a small row")
    yield Case(torch.tensor([[1e4, -1e4], [1e4, -1e4]]).double(), 0, note="large, small column")
    yield Case(rng.normal(2, 3), 0)
    yield Case(rng.normal(3, 2), -1)
    yield Case(rng.normal(2, 2), 0, note="as many rows as columns")
    yield Case(rng.normal(1, 4), 0, note="an axis of length 1")
    for scale in (1e-6, 1.0, 1e4):
        for shape in ((3,), (2, 4), (2, 3, 4)):
            yield Case(scale * rng.normal(*shape), rng.randrange(-len(shape), len(shape)))


def _room(x: Tensor) -> float:
    """Rounding of entries of this size."""
    return 1e-12 + 1e-14 * float(x.abs().max())


@e4.shape
def _(fn: Fn, x: Tensor, dim: int) -> None:
    has_shape(fn(x, dim), x.sum(dim).shape, x.dtype)


@e4.property("the result is finite")
def _(fn: Fn, x: Tensor, dim: int) -> None:
    require(fn(x, dim).isfinite(), "an entry is infinite or NaN")


@e4.property("the result lies between the mean and the largest entry")
def _(fn: Fn, x: Tensor, dim: int) -> None:
    value, room = fn(x, dim), _room(x)
    require(value <= x.amax(dim) + room, "above the largest entry")
    require(value >= x.mean(dim) - room, "below the mean")


@e4.property("a constant added to x is added to the result")
def _(fn: Fn, x: Tensor, dim: int) -> None:
    for shift in (3.0, -1e3, 1e3):
        close(fn(x + shift, dim), fn(x, dim) + shift, 4 * _room(x.abs() + abs(shift)))


@e4.property("the same entries twice change nothing")
def _(fn: Fn, x: Tensor, dim: int) -> None:
    close(fn(torch.cat([x, x], dim=dim), dim), fn(x, dim), 4 * _room(x))


@e4.value("decimal arithmetic with 50 digits")
def _(fn: Fn, x: Tensor, dim: int) -> None:
    lines = x.movedim(dim, -1)
    expected = []
    with localcontext() as context:
        context.prec = 50
        for line in lines.reshape(-1, lines.shape[-1]).tolist():
            terms = [Decimal(entry).exp() for entry in line]
            expected.append(float((sum(terms, Decimal(0)) / len(terms)).ln()))
    exact = torch.tensor(expected, dtype=x.dtype).reshape(lines.shape[:-1])
    close(fn(x, dim), exact, _room(x))


@e4.wrong("as it is written: overflows above 709, vanishes below -745")
def _(x: Tensor, dim: int) -> Tensor:
    return x.exp().mean(dim).log()


@e4.wrong("counts the entries along the first axis, whatever dim is")
def _(x: Tensor, dim: int) -> Tensor:
    return torch.logsumexp(x, dim=dim) - math.log(x.shape[0])


@e4.wrong("clamps to what exp can take")
def _(x: Tensor, dim: int) -> Tensor:
    x = x.clamp(-700.0, 700.0)
    return torch.logsumexp(x, dim=dim) - math.log(x.shape[dim])


@e4.wrong("the sum instead of the mean")
def _(x: Tensor, dim: int) -> Tensor:
    return torch.logsumexp(x, dim=dim)


@e4.wrong("divides by the number of all entries")
def _(x: Tensor, dim: int) -> Tensor:
    return torch.logsumexp(x, dim=dim) - math.log(x.numel())


@e4.wrong("subtracts the largest entry of all: small rows vanish beside large ones")
def _(x: Tensor, dim: int) -> Tensor:
    shift = x.max()
    return (x - shift).exp().mean(dim).log() + shift


@e4.wrong("subtracts the largest entry and forgets to add it again")
def _(x: Tensor, dim: int) -> Tensor:
    return (x - x.amax(dim, keepdim=True)).exp().mean(dim).log()


@e4.wrong("the mean of the logarithms, which is below the logarithm of the mean")
def _(x: Tensor, dim: int) -> Tensor:
    return x.mean(dim)


@e4.wrong("adds 1e-12 inside the logarithm, so that nothing vanishes but much is wrong")
def _(x: Tensor, dim: int) -> Tensor:
    return (x.clamp(max=700.0).exp().mean(dim) + 1e-12).log()


# --- e5: a grid over a box --------------------------------------------------------------------

e5 = Exercise(
    id="p1.t2.e5",
    title="A grid over a box",
    pure=True,
    hints=(
        "How many coordinates has one point, and how many points are there for n = 3 and d = 2? "
        "Write down the nine points of the box [0, 1] x [10, 20].",
        "First the n values of each input on its own (`torch.linspace` between its two bounds), "
        "then all combinations. Section 9 did this for two inputs; a star unpacks a list of d.",
        "`torch.meshgrid(*axes, indexing='ij')` gives d tables; stack them along a new last axis "
        "and reshape to rows of d. `torch.cartesian_prod(*axes)` does it too, but look at the "
        "shape that it returns for d = 1.",
    ),
)


@e5.answer
def design_grid(bounds: Tensor, n: int) -> Tensor:
    """All points of a grid over a box: n values of each input, both ends included.

    bounds has shape `2 d`: lower bounds in row 0, upper bounds in row 1; n is at least 2. The n
    values of an input are equally spaced. The result has shape `n**d d` and the dtype of bounds;
    its rows may come in any order.
    """
    axes = [torch.linspace(low, high, n, dtype=bounds.dtype) for low, high in bounds.mT.tolist()]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))


@e5.cases
def boxes(rng: Rng) -> Iterator[Case]:
    def box(*sides: tuple[float, float]) -> Tensor:
        return torch.tensor(sides, dtype=torch.float64).T

    yield Case(box((0.0, 1.0)), 2, note="d = 1")
    yield Case(box((0.0, 1.0)), 5, note="d = 1")
    yield Case(box((0.0, 1.0), (10.0, 20.0)), 2)
    yield Case(box((0.0, 1.0), (10.0, 20.0)), 3)
    yield Case(box((-1.0, 1.0), (-1.0, 1.0)), 2, note="equal sides, n = d")
    yield Case(box((0.0, 1.0), (0.0, 2.0), (0.0, 3.0)), 2)
    yield Case(box((-3.0, -1.0), (-2.0, 5.0)), 4, note="negative bounds")
    yield Case(box((0.0, 1e-6), (0.0, 1e6)), 3, note="sides of very different length")
    yield Case(box((1e6, 1e6 + 1.0)), 3, note="far from zero")
    yield Case(box((0.1, 0.3), (-1e-6, 2e-6)), 11, note="bounds that float32 does not have")
    yield Case(box((0.0, 1.0), (2.0, 4.0)).float(), 3, note="float32")
    yield Case(box((0.0, 1.0)), 101, note="a fine grid")
    for d in (1, 2, 3, 4):
        for n in (2, 3, 4):
            lower = rng.uniform_in(-2.0, 2.0, d).round(decimals=1)
            width = rng.uniform_in(0.5, 3.0, d).round(decimals=1)
            yield Case(torch.stack([lower, lower + width]), n)


@e5.shape
def _(fn: Fn, bounds: Tensor, n: int) -> None:
    has_shape(fn(bounds, n), (n ** bounds.shape[-1], bounds.shape[-1]), bounds.dtype)


def _unit(grid: Tensor, bounds: Tensor) -> Tensor:
    return (grid.double() - bounds[0].double()) / (bounds[1].double() - bounds[0].double())


def _hair(bounds: Tensor) -> float:
    """What rounding may do to a coordinate, as a fraction of its side."""
    low, high = bounds.double()
    size = float((bounds.double().abs().amax(0) / (high - low)).max())
    return 8.0 * torch.finfo(bounds.dtype).eps * max(1.0, size)


@e5.property("no point lies outside the box")
def _(fn: Fn, bounds: Tensor, n: int) -> None:
    unit = _unit(fn(bounds, n), bounds)
    require((unit >= -_hair(bounds)) & (unit <= 1 + _hair(bounds)), "a point lies outside")


@e5.property("all corners of the box are grid points")
def _(fn: Fn, bounds: Tensor, n: int) -> None:
    unit = _unit(fn(bounds, n), bounds)
    for corner in itertools.product((0.0, 1.0), repeat=bounds.shape[-1]):
        gap = (unit - torch.tensor(corner, dtype=torch.float64)).abs().amax(-1)
        require(gap.min() <= _hair(bounds), "a corner is missing")


@e5.property("another box: the same grid, moved and scaled")
def _(fn: Fn, bounds: Tensor, n: int) -> None:
    unit = _unit(fn(bounds, n), bounds)
    other = 2.0 * bounds + 1.0
    close(_unit(fn(other, n), other), unit, 4 * (_hair(bounds) + _hair(other)))


@e5.value("Python's itertools.product, up to the order of the rows")
def _(fn: Fn, bounds: Tensor, n: int) -> None:
    d = bounds.shape[-1]
    steps = (_unit(fn(bounds, n), bounds) * (n - 1)).flatten().tolist()
    require(
        all(abs(step - round(step)) <= n * _hair(bounds) for step in steps),
        "the values are not equally spaced",
    )
    whole = [round(step) for step in steps]
    rows = sorted(tuple(whole[i : i + d]) for i in range(0, len(whole), d))
    require(
        rows == list(itertools.product(range(n), repeat=d)),
        "some combination of values is missing, or comes twice",
    )


@e5.wrong("the diagonal of the box, repeated")
def _(bounds: Tensor, n: int) -> Tensor:
    d = bounds.shape[-1]
    share = torch.linspace(0.0, 1.0, n, dtype=bounds.dtype).unsqueeze(-1)
    return (bounds[0] + share * (bounds[1] - bounds[0])).repeat(n ** (d - 1), 1)


@e5.wrong("the first input's values for all inputs")
def _(bounds: Tensor, n: int) -> Tensor:
    low, high = bounds[:, 0].tolist()
    axes = [torch.linspace(low, high, n, dtype=bounds.dtype)] * bounds.shape[-1]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))


@e5.wrong("linspace without a dtype: float32, converted when it is too late")
def _(bounds: Tensor, n: int) -> Tensor:
    axes = [torch.linspace(low, high, n) for low, high in bounds.mT.tolist()]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))
    return grid.to(bounds.dtype)


@e5.wrong("always float64, whatever the bounds have")
def _(bounds: Tensor, n: int) -> Tensor:
    axes = [torch.linspace(low, high, n).double() for low, high in bounds.mT.tolist()]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))


@e5.wrong("denser near the ends")
def _(bounds: Tensor, n: int) -> Tensor:
    share = (1 - torch.cos(math.pi * torch.arange(n, dtype=bounds.dtype) / (n - 1))) / 2
    axes = [low + share * (high - low) for low, high in bounds.mT.tolist()]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))


@e5.wrong("the middles of n cells, without the ends")
def _(bounds: Tensor, n: int) -> Tensor:
    share = (torch.arange(n, dtype=bounds.dtype) + 0.5) / n
    axes = [low + share * (high - low) for low, high in bounds.mT.tolist()]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))


@e5.wrong("leaves the upper end out")
def _(bounds: Tensor, n: int) -> Tensor:
    share = torch.arange(n, dtype=bounds.dtype) / n
    axes = [low + share * (high - low) for low, high in bounds.mT.tolist()]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))


@e5.wrong("stacks the coordinates in front, then reshapes: the coordinates get mixed up")
def _(bounds: Tensor, n: int) -> Tensor:
    axes = [torch.linspace(low, high, n, dtype=bounds.dtype) for low, high in bounds.mT.tolist()]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).reshape(-1, len(axes))


@e5.wrong("cartesian_prod alone, which drops the last axis for d = 1")
def _(bounds: Tensor, n: int) -> Tensor:
    axes = [torch.linspace(low, high, n, dtype=bounds.dtype) for low, high in bounds.mT.tolist()]
    return torch.cartesian_prod(*axes)
