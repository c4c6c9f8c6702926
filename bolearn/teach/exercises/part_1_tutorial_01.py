"""The exercises of part_1/tutorial_01: tensor fundamentals."""

import cProfile
import math
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require


def _on_grid(rng: Rng, *shape: int) -> Tensor:
    """Points in [-2, 2] on multiples of 1/64, so that moving them by 2**20 is exact."""
    return (rng.uniform_in(-2.0, 2.0, *shape) * 64).round() / 64


def _is_whole(value: object) -> bool:
    """Whether a value is a whole number: Python's, NumPy's, or a tensor without axes."""
    if isinstance(value, (Tensor, np.ndarray)):
        kind = torch.as_tensor(value).dtype
        return value.ndim == 0 and not kind.is_floating_point and kind != torch.bool
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_verdict(value: object) -> bool:
    """Whether a value is True or False: Python's, NumPy's, or a tensor without axes."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value.ndim == 0 and torch.as_tensor(value).dtype == torch.bool
    return isinstance(value, (bool, np.bool_))


class _CountCalls(TorchFunctionMode):
    """Counts torch calls, and refuses to hand the points to Python as a list."""

    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        require(func is not Tensor.tolist, "the points are turned into a Python list")
        return func(*args, **(kwargs or {}))


def _torch_functions(call: Callable[[], object]) -> set[str]:
    """The names of torch's own Python functions that a call runs."""
    home = str(Path(torch.__file__).parent)
    profile = cProfile.Profile(subcalls=False, builtins=False)
    profile.runcall(call)
    codes = (entry.code for entry in profile.getstats())
    return {
        code.co_name
        for code in codes
        if isinstance(code, CodeType) and code.co_filename.startswith(home)
    }


# --- e1: view or copy? ------------------------------------------------------------------------

e1 = Exercise(
    id="p1.t1.e1",
    title="View or copy?",
    pure=True,
    hints=(
        "The question is not what the result looks like but where its numbers live. Which of "
        "storage, shape and stride has to be the same for a view?",
        "Two routes work: ask both tensors for their storage and compare where it begins; or "
        "change x and see whether the result noticed (and put x back).",
        "`t.untyped_storage().data_ptr()` is the address at which a tensor's storage begins. "
        "Beware of `t.data_ptr()`: it is the address of the tensor's first element, which a slice "
        "moves.",
    ),
)


@e1.answer
def is_view(op: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether op(x) shares memory with x, so that writing to one can change the other.

    `op` is built from torch operations; x and op(x) have at least one element each. Leave x as it
    was, and do not use the attribute `_base`.
    """
    return op(x).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def _named(name: str, fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    fn.__name__ = name
    return fn


OPERATIONS = [
    _named("x -> x", lambda x: x),
    _named("x -> x.T", lambda x: x.T),
    _named("x -> x.clone()", lambda x: x.clone()),
    _named("x -> x[1:]", lambda x: x[1:]),
    _named("x -> x[:, 1:]", lambda x: x[:, 1:]),
    _named("x -> x[:, ::2]", lambda x: x[:, ::2]),
    _named("x -> x[-1]", lambda x: x[-1]),
    _named("x -> x[[0, 1]]", lambda x: x[[0, 1]]),
    _named("x -> x[x == x]", lambda x: x[x == x]),
    _named("x -> x + 0", lambda x: x + 0),
    _named("x -> x.contiguous()", lambda x: x.contiguous()),
    _named("x -> x.T.contiguous()", lambda x: x.T.contiguous()),
    _named("x -> x.reshape(-1)", lambda x: x.reshape(-1)),
    _named("x -> x.T.reshape(-1)", lambda x: x.T.reshape(-1)),
    _named("x -> x[:1].expand(5, -1)", lambda x: x[:1].expand(5, -1)),
    _named("x -> x.repeat(2, 1)", lambda x: x.repeat(2, 1)),
    _named("x -> x.diagonal()", lambda x: x.diagonal()),
    _named("x -> x.flip(0)", lambda x: x.flip(0)),
    _named("x -> x.double()", lambda x: x.double()),
    _named("x -> x.float()", lambda x: x.float()),
    _named("x -> x.detach()", lambda x: x.detach()),
    _named("x -> x.data[1:]", lambda x: x.data[1:]),
]


@e1.cases
def operations_and_tensors(rng: Rng) -> Iterator[Case]:
    for op in OPERATIONS:
        yield Case(op, _on_grid(rng, 2, 3))
    for op in OPERATIONS:
        yield Case(op, torch.zeros(2, 2).double(), note="all zeros")
        yield Case(op, _on_grid(rng, 3, 4).T, note="x is a transposed tensor itself")
        yield Case(op, _on_grid(rng, 5, 4)[2:], note="x is a slice itself")
        yield Case(op, torch.arange(6).reshape(3, 2), note="whole numbers")


@e1.shape
def _(fn: Fn, op: Fn, x: Tensor) -> None:
    require(_is_verdict(fn(op, x)), "expected True or False")


@e1.property("a clone of whatever op returns shares nothing with x")
def _(fn: Fn, op: Fn, x: Tensor) -> None:
    require(not fn(_named(f"{op.__name__}, cloned", lambda t: op(t).clone()), x), "called a view")


@e1.property("a slice of whatever op returns shares memory exactly if op's result does")
def _(fn: Fn, op: Fn, x: Tensor) -> None:
    last = _named(f"{op.__name__}, last entry", lambda t: op(t)[-1:])
    require(fn(last, x) == fn(op, x), "the verdict on a slice of the result differs")


@e1.value("writing to x and watching the result")
def _(fn: Fn, op: Fn, x: Tensor) -> None:
    probe = x.clone(memory_format=torch.preserve_format)
    result = op(probe)
    before = result.clone()
    probe += 1
    noticed = not torch.equal(before, result)
    require(fn(op, x) == noticed, f"you say {'copy' if noticed else 'view'}; writing disagrees")


@e1.wrong("compares the addresses of the first elements, so that x[1:] counts as a copy")
def _(op: Fn, x: Tensor) -> bool:
    return bool(op(x).data_ptr() == x.data_ptr())


@e1.wrong("takes a view to be what is not contiguous")
def _(op: Fn, x: Tensor) -> bool:
    return not op(x).is_contiguous()


@e1.wrong("takes another stride or offset for the sign of a view")
def _(op: Fn, x: Tensor) -> bool:
    y = op(x)
    return bool(y.stride() != x.stride() or y.storage_offset() != x.storage_offset())


@e1.wrong("takes a view to be the same Python object")
def _(op: Fn, x: Tensor) -> bool:
    return op(x) is x


@e1.wrong("writes one number into the result and looks at the first entry of x only")
def _(op: Fn, x: Tensor) -> bool:
    y, before = op(x), x.clone()
    y[(0,) * y.ndim] += 1
    changed = bool(x[0, 0] != before[0, 0])
    x.copy_(before)
    return changed


@e1.wrong("asks for `_base`, which a view made through .data or of a copy's own does not tell")
def _(op: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    y = op(x)
    return y is x or y._base is not None


@e1.wrong("adds 1 to the result, and takes the refusal for a stride of 0 for a copy")
def _(op: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    y, before = op(x), x.clone()
    try:
        y += 1
    except RuntimeError:
        return False
    changed = not torch.equal(x, before)
    x.copy_(before)
    return changed


@e1.wrong("doubles x and looks at the result: zeros do not notice")
def _(op: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    before = x.clone()
    y = op(x)
    seen = y.clone()
    x *= 2
    noticed = not torch.equal(y, seen)
    x.copy_(before)
    return noticed


@e1.wrong("writes to x and does not put it back")
def _(op: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    y = op(x)
    before = y.clone()
    x += 1
    return not torch.equal(y, before)


@e1.wrong("compares the sizes of the storages")
def _(op: Fn, x: Tensor) -> bool:
    return bool(op(x).untyped_storage().nbytes() == x.untyped_storage().nbytes())


# --- e2: the broadcasting rule ----------------------------------------------------------------

e2 = Exercise(
    id="p1.t1.e2",
    title="The broadcasting rule",
    hints=(
        "Work on one short case with pencil and paper first: (2, 1, 3) and (4, 1). Which end of "
        "the two tuples do you line up, and what stands where the shorter one has nothing?",
        "Put ones in front of the shorter shape until both have the same length. Then each axis "
        "can be settled alone, from its two sizes.",
        "For two sizes p and q there are three cases: equal; one of them is 1, and the other one "
        "wins; anything else is a ValueError. Look again at p = 1, q = 0 before you write max.",
    ),
)


@e2.answer
def broadcast_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a tensor of shape `a` plus a tensor of shape `b`.

    Shapes may have different lengths and sizes of 0; raise a ValueError if they do not fit.
    Work it out yourself: no torch inside.

    >>> broadcast_shape((3, 1), (4,))
    (3, 4)
    """
    length = max(len(a), len(b))
    a = (1,) * (length - len(a)) + tuple(a)
    b = (1,) * (length - len(b)) + tuple(b)
    shape = []
    for p, q in zip(a, b, strict=True):
        if p != q and p != 1 and q != 1:
            raise ValueError(f"sizes {p} and {q} do not fit")
        shape.append(q if p == 1 else p)
    return tuple(shape)


def _sum_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """What torch makes of the two shapes; None if it refuses them."""
    try:
        return tuple((torch.empty(a) + torch.empty(b)).shape)
    except RuntimeError:
        return None


def _shape_pair(rng: Rng) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes; most fit each other, since they are cut from one shape with sizes set to 1."""
    common = [rng.choice((0, 1, 2, 2, 3, 5)) for _ in range(rng.randint(0, 4))]
    pair = []
    for _ in range(2):
        kept = common[rng.randint(0, len(common)) :]
        sizes = [1 if rng.random() < 0.3 else size for size in kept]
        if sizes and rng.random() < 0.2:
            sizes[rng.randrange(len(sizes))] = rng.choice((0, 2, 3, 4))
        pair.append(tuple(sizes))
    return pair[0], pair[1]


@e2.cases
def shape_pairs(rng: Rng) -> Iterator[Case]:
    pairs: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((), ()), ((3,), ()), ((1,), (3,)), ((1,), (0,)), ((0,), (0,)), ((2,), (0,)),
        ((2,), (3,)), ((2,), (4,)), ((2, 3), (3,)), ((2, 3), (2,)), ((3, 1), (4,)),
        ((1, 4), (3, 1)), ((2, 1, 3), (4, 1)), ((3, 4), (4, 3)), ((1, 1, 1), ()),
    ]  # fmt: skip
    pairs += [_shape_pair(rng) for _ in range(500 - len(pairs))]
    for a, b in pairs:
        yield Case(a, b, raises=ValueError if _sum_shape(a, b) is None else None)


@e2.shape
def _(fn: Fn, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    shape = fn(a, b)
    require(isinstance(shape, (tuple, list)), "expected a tuple")
    require(all(map(_is_whole, shape)), "expected a tuple of whole numbers")


@e2.property("no torch inside")
def _(fn: Fn, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with _CountCalls() as counter:
        names = _torch_functions(lambda: fn(a, b))
    require(not counter.calls and not names - {"__exit__"}, "your function asks torch")


@e2.property("the order of the two shapes does not matter")
def _(fn: Fn, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    require(tuple(fn(a, b)) == tuple(fn(b, a)), "swapping a and b changes the result")


@e2.property("a single number, of shape (), fits everything and changes nothing")
def _(fn: Fn, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    require(tuple(fn(a, ())) == tuple(a), "adding shape () changed the first shape")


@e2.value("torch, which adds two such tensors")
def _(fn: Fn, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    require(tuple(fn(a, b)) == _sum_shape(a, b), "torch's sum has another shape than yours")


@e2.wrong("asks torch, and translates its error")
def _(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return tuple(torch.broadcast_shapes(a, b))
    except RuntimeError as error:
        raise ValueError("sizes do not fit") from error


@e2.wrong("adds two empty tensors, and translates the error")
def _(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    shape = _sum_shape(a, b)
    if shape is None:
        raise ValueError("sizes do not fit")
    return shape


@e2.wrong("lets a size of 0 fit everything")
def _(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    length = max(len(a), len(b))
    padded = [(1,) * (length - len(shape)) + tuple(shape) for shape in (a, b)]
    if any(p != q and p > 1 and q > 1 for p, q in zip(*padded, strict=True)):
        raise ValueError("sizes do not fit")
    return tuple(q if p == 1 else p for p, q in zip(*padded, strict=True))


@e2.wrong("lines the shapes up from the left, as one reads them")
def _(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    length = max(len(a), len(b))
    padded = [(*shape, *(1,) * (length - len(shape))) for shape in (a, b)]
    if any(p != q and 1 not in (p, q) for p, q in zip(*padded, strict=True)):
        raise ValueError("sizes do not fit")
    return tuple(q if p == 1 else p for p, q in zip(*padded, strict=True))


@e2.wrong("takes the larger size, which is wrong for 1 and 0")
def _(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    length = max(len(a), len(b))
    padded = [(1,) * (length - len(shape)) + tuple(shape) for shape in (a, b)]
    if any(p != q and 1 not in (p, q) for p, q in zip(*padded, strict=True)):
        raise ValueError("sizes do not fit")
    return tuple(max(p, q) for p, q in zip(*padded, strict=True))


@e2.wrong("stops where the shorter shape ends")
def _(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    shape = []
    for p, q in zip(reversed(a), reversed(b), strict=False):
        if p != q and 1 not in (p, q):
            raise ValueError("sizes do not fit")
        shape.append(q if p == 1 else p)
    return tuple(reversed(shape))


@e2.wrong("repeats a size that divides the other one, as if (2,) fitted (4,)")
def _(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    length = max(len(a), len(b))
    shape = []
    for i in range(-length, 0):
        p = a[i] if -i <= len(a) else 1
        q = b[i] if -i <= len(b) else 1
        low, high = min(p, q), max(p, q)
        if low != high and 1 not in (p, q) and (low == 0 or high % low != 0):
            raise ValueError("sizes do not fit")
        shape.append(q if p == 1 else p if q == 1 else max(p, q))
    return tuple(shape)


@e2.wrong("never refuses: the first shape's size wins over everything but 1")
def _(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    length = max(len(a), len(b))
    padded = [(1,) * (length - len(shape)) + tuple(shape) for shape in (a, b)]
    return tuple(q if p == 1 else p for p, q in zip(*padded, strict=True))


# --- e3: standardize and come back ------------------------------------------------------------

e3 = Exercise(
    id="p1.t1.e3",
    title="Standardize, and come back",
    pure=True,
    hints=(
        "Which axis disappears when you average over the points? Keep it, with length 1, so that "
        "the subtraction broadcasts over the points, whatever stands in front.",
        "`dim=-2, keepdim=True` serves mean and spread alike. Then list what can go wrong in a "
        "division: a spread of zero, a spread that is only rounding, and n = 1.",
        "Compare each column's spread with eps times its largest absolute value, and use "
        "`torch.where` to put 1 where the column counts as constant. For a single point torch's "
        "n - 1 divides by zero: the argument `correction` of `std` may depend on n.",
    ),
)


@e3.answer
def standardize(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    """Columns of mean 0 and standard deviation 1, and what it takes to come back.

    X has shape `... n d`: n points, d columns. Return (Z, mean, std) with X = Z * std + mean;
    mean and std have shape `... 1 d`, std divides by n - 1. A column whose standard deviation is
    at most eps times its largest absolute value counts as constant: its std is 1. So does every
    column if n = 1.
    """
    mean = X.mean(dim=-2, keepdim=True)
    std = X.std(dim=-2, keepdim=True, correction=min(1, X.shape[-2] - 1))
    constant = std <= eps * X.abs().amax(dim=-2, keepdim=True)
    std = torch.where(constant, 1.0, std)
    return (X - mean) / std, mean, std


@e3.cases
def tables(rng: Rng) -> Iterator[Case]:
    yield Case(torch.tensor([[1.0], [3.0]]).double())
    yield Case(torch.tensor([[5.0]]).double(), note="a single point")
    yield Case(torch.zeros(3, 2).double(), note="all zeros")
    yield Case(torch.tensor([[2.0, 1.0], [2.0, 4.0], [2.0, 1.0]]).double(), note="constant column")
    rounded = torch.tensor([0.3, 0.1 + 0.2, 0.3], dtype=torch.float64)
    yield Case(torch.stack([rounded, torch.arange(3.0).double()], dim=-1), note="0.1 + 0.2")
    yield Case(1e6 * rounded.unsqueeze(-1), note="constant up to rounding")
    yield Case(rounded.unsqueeze(-1), 0.0, note="eps = 0: rounding counts")
    even = torch.tensor([[0.0], [2.0], [4.0]]).double()  # std 2, largest absolute value 4
    for eps in (0.4, 0.5, 0.6):
        yield Case(even, eps, note=f"eps = {eps}")
    peak = torch.tensor([[0.0], [0.0], [3.0]]).double()  # mean 1, std 1.73, range 3
    yield Case(peak, 0.6, note="eps = 0.6")
    yield Case(-peak, 0.6, note="eps = 0.6, no positive entry")
    yield Case(torch.cat([peak, 100.0 * even], dim=-1), 0.55, note="eps = 0.55")
    yield Case(1e-6 * torch.cat([peak, even], dim=-1), 1e-3, note="small, not constant")
    yield Case(rng.normal(4, 4), note="n = d")
    yield Case(rng.normal(2, 5, 3), note="two tables at once")
    yield Case(rng.normal(3, 3, 3), note="three tables, n = d = 3")
    yield Case(rng.normal(2, 1, 2), note="two tables with a single point")
    for scale in (1e-6, 1e6):
        yield Case(scale * rng.normal(6, 2), note=f"scale {scale:g}")
    yield Case(rng.normal(6, 3) * torch.tensor([1e-6, 1.0, 1e6]).double(), note="mixed scales")
    yield Case(1000.0 + rng.normal(8, 2), note="far from zero")
    yield Case(rng.normal(5, 2).float(), 1e-5, note="float32")
    for _ in range(10):
        batch = rng.choice([(), (2,), (2, 3)])
        X = 3.0 + rng.normal(*batch, rng.randint(2, 7), rng.randint(1, 4))
        yield Case(X, rng.choice((1e-12, 1e-6, 0.3)))


def _columns(X: Tensor) -> list[list[float]]:
    return cast("list[list[float]]", X.double().mT.reshape(-1, X.shape[-2]).tolist())


def _spreads(X: Tensor, eps: float) -> Tensor:
    """What std has to be, shape ... 1 d, by Python's statistics module."""
    stds = []
    for column in _columns(X):
        std = statistics.stdev(column) if len(column) > 1 else 0.0
        stds.append(1.0 if std <= eps * max(map(abs, column)) else std)
    return torch.tensor(stds, dtype=torch.float64).reshape(*X.shape[:-2], 1, X.shape[-1])


def _is_constant(X: Tensor, eps: float) -> Tensor:
    """Shape ... 1 d: columns that count as constant."""
    stds = []
    for column in _columns(X):
        std = statistics.stdev(column) if len(column) > 1 else 0.0
        stds.append(std <= eps * max(map(abs, column)))
    return torch.tensor(stds).reshape(*X.shape[:-2], 1, X.shape[-1])


def _size(X: Tensor) -> Tensor:
    return X.abs().amax(dim=-2, keepdim=True).clamp(min=1e-30)


def _room(X: Tensor) -> float:
    """What rounding may do to numbers of size 1 in X's format."""
    return 1e-9 if X.dtype == torch.float64 else 1e-3


@e3.shape
def _(fn: Fn, X: Tensor, eps: float = 1e-12) -> None:
    result = fn(X, eps)
    require(isinstance(result, (tuple, list)) and len(result) == 3, "expected (Z, mean, std)")
    row = (*X.shape[:-2], 1, X.shape[-1])
    for entry, shape in zip(result, (X.shape, row, row), strict=True):
        has_shape(entry, shape, X.dtype)


@e3.property("Z * std + mean brings X back")
def _(fn: Fn, X: Tensor, eps: float = 1e-12) -> None:
    Z, mean, std = fn(X, eps)
    close((Z * std + mean) / _size(X), X / _size(X), 1e-3 * _room(X))


@e3.property("every column of Z has mean zero")
def _(fn: Fn, X: Tensor, eps: float = 1e-12) -> None:
    Z, _mean, std = fn(X, eps)
    means = Z.mean(dim=-2, keepdim=True) * std / _size(X)
    close(means, torch.zeros_like(means), _room(X))


@e3.property("a constant column, in the sense of eps, is divided by 1, and nothing else is")
def _(fn: Fn, X: Tensor, eps: float = 1e-12) -> None:
    Z, _mean, std = fn(X, eps)
    constant = _is_constant(X, eps)
    require(std[constant] == 1, "a column that counts as constant has a std other than 1")
    if eps > 1e-15:  # else rounding is all there is
        near = (std / _spreads(X, eps) - 1).abs() < 0.5
        require(near[~constant], "a column that varies has a wrong std")
    require(torch.isfinite(Z), "Z is not finite")


@e3.property("without eps, it is 1e-12")
def _(fn: Fn, X: Tensor, eps: float = 1e-12) -> None:
    require(torch.equal(fn(X)[2], fn(X, 1e-12)[2]), "eps left out gives another std")


@e3.property("every column of Z that is not constant has variance 1, over n - 1")
def _(fn: Fn, X: Tensor, eps: float = 1e-12) -> None:
    varying = fn(X, eps)[0].mT[~_is_constant(X, eps).squeeze(-2)]
    if len(varying) and eps > 1e-15:
        variances = varying.var(dim=-1)
        close(variances, torch.ones_like(variances), _room(X))


@e3.property("other units for X leave Z alone")
def _(fn: Fn, X: Tensor, eps: float = 1e-12) -> None:
    varying = ~_is_constant(X, eps)
    change = torch.where(varying, fn(1024.0 * X, eps)[0] - fn(X, eps)[0], 0.0)
    close(change, torch.zeros_like(X), _room(X))


@e3.value("Python's statistics module, column by column")
def _(fn: Fn, X: Tensor, eps: float = 1e-12) -> None:
    _, mean, std = fn(X, eps)
    fmeans = [statistics.fmean(column) for column in _columns(X)]
    means = torch.tensor(fmeans, dtype=torch.float64)
    close(mean / _size(X), means.reshape(mean.shape) / _size(X), _room(X))
    if eps > 1e-15:
        close(std / _spreads(X, eps), torch.ones_like(std), _room(X))


@e3.wrong("ignores eps: the default, whatever is asked for")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    return standardize(X)


@e3.wrong("measures the range instead of the standard deviation against eps")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    mean = X.mean(dim=-2, keepdim=True)
    std = X.std(dim=-2, keepdim=True, correction=min(1, X.shape[-2] - 1))
    spread = X.amax(dim=-2, keepdim=True) - X.amin(dim=-2, keepdim=True)
    std = torch.where(spread <= eps * X.abs().amax(dim=-2, keepdim=True), 1.0, std)
    return (X - mean) / std, mean, std


@e3.wrong("measures the spread against the mean, not the largest absolute value")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    mean = X.mean(dim=-2, keepdim=True)
    std = X.std(dim=-2, keepdim=True, correction=min(1, X.shape[-2] - 1))
    std = torch.where(std <= eps * mean.abs(), 1.0, std)
    return (X - mean) / std, mean, std


@e3.wrong("measures the spread against the largest number of the whole table")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    mean = X.mean(dim=-2, keepdim=True)
    std = X.std(dim=-2, keepdim=True, correction=min(1, X.shape[-2] - 1))
    std = torch.where(std <= eps * X.abs().max(), 1.0, std)
    return (X - mean) / std, mean, std


@e3.wrong("measures the spread against eps itself: small columns count as constant")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    mean = X.mean(dim=-2, keepdim=True)
    std = X.std(dim=-2, keepdim=True, correction=min(1, X.shape[-2] - 1))
    std = torch.where(std <= eps, 1.0, std)
    return (X - mean) / std, mean, std


@e3.wrong("less than eps times the largest value, where the task says at most")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    mean = X.mean(dim=-2, keepdim=True)
    std = X.std(dim=-2, keepdim=True, correction=min(1, X.shape[-2] - 1))
    small = (std < eps * X.abs().amax(dim=-2, keepdim=True)) | (std == 0)
    std = torch.where(small, 1.0, std)
    return (X - mean) / std, mean, std


@e3.wrong("one mean and one spread for the whole table")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    row = (*X.shape[:-2], 1, X.shape[-1])
    mean, std = X.mean().expand(row), X.std(correction=0).clamp(min=eps).expand(row)
    return (X - mean) / std, mean, std


@e3.wrong("averages over axis 0, which is the batch as soon as there is one")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    mean = X.mean(dim=0, keepdim=True)
    std = X.std(dim=0, keepdim=True, correction=min(1, len(X) - 1))
    std = torch.where(std <= eps * X.abs().amax(dim=0, keepdim=True), 1.0, std)
    return (X - mean) / std, mean, std


@e3.wrong("no care for constant columns")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    mean = X.mean(dim=-2, keepdim=True)
    std = X.std(dim=-2, keepdim=True, correction=min(1, X.shape[-2] - 1))
    return (X - mean) / std, mean, std


@e3.wrong("adds eps to the spread: a constant column is divided by eps")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    mean = X.mean(dim=-2, keepdim=True)
    std = X.std(dim=-2, keepdim=True, correction=min(1, X.shape[-2] - 1)) + eps
    return (X - mean) / std, mean, std


@e3.wrong("asks for a spread of exactly zero, and takes rounding for information")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    mean = X.mean(dim=-2, keepdim=True)
    std = X.std(dim=-2, keepdim=True, correction=min(1, X.shape[-2] - 1))
    std = torch.where(std == 0, 1.0, std)
    return (X - mean) / std, mean, std


@e3.wrong("divides by n instead of n - 1")
def _(X: Tensor, eps: float = 1e-12) -> tuple[Tensor, Tensor, Tensor]:
    mean = X.mean(dim=-2, keepdim=True)
    std = X.std(dim=-2, keepdim=True, correction=0)
    std = torch.where(std <= eps * X.abs().amax(dim=-2, keepdim=True), 1.0, std)
    return (X - mean) / std, mean, std


# --- e4: all squared distances at once --------------------------------------------------------

e4 = Exercise(
    id="p1.t1.e4",
    title="All squared distances at once",
    hints=(
        "Say the result's shape aloud first: ... n m. Then ask which axes of length 1 the two "
        "inputs need so that broadcasting makes every pair meet.",
        "`unsqueeze` adds an axis of length 1, and negative positions count from the right, so "
        "that batch axes on the left are left alone. Aim at ... n m d for the differences.",
        "Give x the shape ... n 1 d and z the shape ... 1 m d. Subtract, square, and sum over the "
        "coordinates. If you prefer a matrix product, first move both sets close to the origin: "
        "distances do not notice.",
    ),
)


@e4.answer
def pairwise_sqdist(x: Tensor, z: Tensor) -> Tensor:
    """Squared distances between all points of x and all points of z.

    x has shape `... n d` and z has shape `... m d`: n and m points with d coordinates. Axes in
    front, the dots, broadcast. The result has shape `... n m`: never negative, and accurate for
    points far from the origin too. No Python loop over the points: the number of torch calls must
    not grow with n.
    """
    difference = x.unsqueeze(-2) - z.unsqueeze(-3)  # ... n m d
    return difference.square().sum(-1)


@e4.cases
def point_sets(rng: Rng) -> Iterator[Case]:
    yield Case(torch.zeros(1, 1).double(), torch.full((1, 1), 3.0).double(), note="one pair")
    yield Case(_on_grid(rng, 1, 3), _on_grid(rng, 1, 3))
    same = _on_grid(rng, 3, 2)
    yield Case(same, same.clone(), note="the same points twice")
    yield Case(_on_grid(rng, 2, 1), _on_grid(rng, 3, 1), note="d = 1")
    yield Case(_on_grid(rng, 2, 2), _on_grid(rng, 2, 2), note="n = m = d")
    yield Case(_on_grid(rng, 1, 2).expand(4, 2), _on_grid(rng, 2, 2), note="four equal points")
    yield Case(_on_grid(rng, 2, 3, 2), _on_grid(rng, 2, 4, 2), note="two problems at once")
    yield Case(_on_grid(rng, 2, 2, 2), _on_grid(rng, 2, 2, 2), note="two problems, n = m = 2")
    yield Case(_on_grid(rng, 3, 2), _on_grid(rng, 2, 4, 2), note="one x for two sets z")
    yield Case(_on_grid(rng, 2, 1, 3, 2), _on_grid(rng, 3, 1, 2), note="broadcast batches")
    for scale in (1e-6, 1e6):
        yield Case(scale * _on_grid(rng, 3, 2), scale * _on_grid(rng, 2, 2), note=f"{scale:g}")
    yield Case(_on_grid(rng, 30, 2), _on_grid(rng, 30, 2), note="thirty points")
    for _ in range(12):
        n, m, d = rng.randint(1, 5), rng.randint(1, 5), rng.randint(1, 4)
        batch = rng.choice([(), (2,), (3, 1)])
        yield Case(_on_grid(rng, *batch, n, d), _on_grid(rng, *batch, m, d))


def _allowed(x: Tensor, z: Tensor) -> float:
    """1e-9 of the squared spread of all points, and a hair for points that coincide."""
    low, high = min(x.min(), z.min()), max(x.max(), z.max())
    return float(1e-9 * (high - low) ** 2 + 1e-20 * max(abs(low), abs(high)) ** 2)


@e4.shape
def _(fn: Fn, x: Tensor, z: Tensor) -> None:
    batch = torch.broadcast_shapes(x.shape[:-2], z.shape[:-2])
    has_shape(fn(x, z), (*batch, x.shape[-2], z.shape[-2]), x.dtype)


@e4.property("a squared distance is never negative")
def _(fn: Fn, x: Tensor, z: Tensor) -> None:
    require(fn(x, z) >= 0, "an entry is negative")
    require(fn(x + 2.0**20, x + 2.0**20) >= 0, "an entry is negative for points near 2**20")


@e4.property("from x to z is as far as from z to x")
def _(fn: Fn, x: Tensor, z: Tensor) -> None:
    close(fn(x, z), fn(z, x).transpose(-1, -2), _allowed(x, z))


@e4.property("every point has distance zero to itself")
def _(fn: Fn, x: Tensor, z: Tensor) -> None:
    diagonal = fn(x, x).diagonal(dim1=-2, dim2=-1)
    close(diagonal, torch.zeros_like(diagonal), _allowed(x, x))


@e4.property("moving all points by the same 2**20 (exact on this grid) changes no distance")
def _(fn: Fn, x: Tensor, z: Tensor) -> None:
    scale = 2.0 ** round(math.log2(max(float(x.abs().max()), float(z.abs().max()), 1e-30)))
    shift = 2.0**20 if 0.1 < scale < 10.0 else 0.0
    close(fn(x + shift, z + shift), fn(x, z), _allowed(x, z))


@e4.property("no Python loop over the points: three times as many take as many torch calls")
def _(fn: Fn, x: Tensor, z: Tensor) -> None:
    counts = []
    for copies in (1, 3):
        with _CountCalls() as counter:
            fn(torch.cat([x] * copies, dim=-2), torch.cat([z] * copies, dim=-2))
            counts.append(counter.calls)
    more = counts[1] - counts[0]
    require(more == 0, f"three times as many points took {more} more torch calls")


@e4.value("Python's own arithmetic, one pair at a time")
def _(fn: Fn, x: Tensor, z: Tensor) -> None:
    batch = torch.broadcast_shapes(x.shape[:-2], z.shape[:-2])
    expected = []
    for a, b in zip(
        x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:]).tolist(),
        z.expand(*batch, *z.shape[-2:]).reshape(-1, *z.shape[-2:]).tolist(),
        strict=True,
    ):
        expected.append([[math.dist(p, q) ** 2 for q in b] for p in a])
    value = torch.tensor(expected, dtype=x.dtype).reshape(*batch, x.shape[-2], z.shape[-2])
    close(fn(x, z), value, _allowed(x, z))


@e4.wrong("|x|^2 + |z|^2 - 2xz as it stands: cancellation far from the origin")
def _(x: Tensor, z: Tensor) -> Tensor:
    squares = x.square().sum(-1).unsqueeze(-1) + z.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * x @ z.mT).clamp(min=0)


@e4.wrong("subtracts without new axes: point i only meets point i")
def _(x: Tensor, z: Tensor) -> Tensor:
    return (x - z).square().sum(-1, keepdim=True) * torch.ones(z.shape[-2]).double()


@e4.wrong("new axes counted from the left, which is right without batches only")
def _(x: Tensor, z: Tensor) -> Tensor:
    return (x[:, None] - z[None, :]).square().sum(-1)


@e4.wrong("sums over the points instead of the coordinates")
def _(x: Tensor, z: Tensor) -> Tensor:
    return (x.unsqueeze(-2) - z.unsqueeze(-3)).square().sum(-2)


@e4.wrong("moves each set to its own centre, as if both had the same")
def _(x: Tensor, z: Tensor) -> Tensor:
    x, z = x - x.mean(-2, keepdim=True), z - z.mean(-2, keepdim=True)
    return (x.unsqueeze(-2) - z.unsqueeze(-3)).square().sum(-1)


@e4.wrong("the mean over the coordinates")
def _(x: Tensor, z: Tensor) -> Tensor:
    return (x.unsqueeze(-2) - z.unsqueeze(-3)).square().mean(-1)


@e4.wrong("distances, not squared ones")
def _(x: Tensor, z: Tensor) -> Tensor:
    return (x.unsqueeze(-2) - z.unsqueeze(-3)).square().sum(-1).sqrt()


@e4.wrong("the square of cdist, which takes the expanded formula for more than 25 points")
def _(x: Tensor, z: Tensor) -> Tensor:
    return torch.cdist(x, z).square()


@e4.wrong("right, but a Python loop over the points of x")
def _(x: Tensor, z: Tensor) -> Tensor:
    rows = [(x[..., i : i + 1, :] - z).square().sum(-1) for i in range(x.shape[-2])]
    return torch.stack(rows, dim=-2)
