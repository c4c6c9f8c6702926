"""The exercises of part_1/tutorial_05: tensor gradients and the vector-Jacobian product."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require
from bolearn.teach.exercises.part_1_tutorial_01 import _is_whole, _torch_functions

Map = Callable[[Tensor], Tensor]


def _named(name: str, fn: Map) -> Map:
    fn.__name__ = name
    return fn


class _Backward(torch.autograd.Function):
    """x * (sum of x), with a backward and no jvp: forward mode is refused."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * x.sum()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return v * x.sum() + (v * x).sum()


def _matrix(rng: Rng, m: int, n: int) -> Map:
    W = (rng.normal(m, n) * 10).round() / 10
    return _named(f"x -> W @ x, with W of shape {m} {n}", lambda x: W @ x)


def _layers(rng: Rng, m: int, n: int) -> Map:
    W, V = (rng.normal(3, n) * 10).round() / 10, (rng.normal(m, 3) * 10).round() / 10
    return _named(f"x -> V @ tanh(W @ x), from {n} to {m} numbers", lambda x: V @ torch.tanh(W @ x))


def _scaled(f: Map, scale: float) -> Map:
    return _named(f"{scale:g} * ({f.__name__})", lambda x: scale * f(x))


def _pull(f: Map, x: Tensor) -> tuple[Tensor, Map]:
    """The value and the function v -> Jᵀ v."""
    y, pull = cast("tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]", torch.func.vjp(f, x))

    def first(v: Tensor) -> Tensor:
        return pull(v)[0]

    return y, first


def _push(f: Map, x: Tensor, u: Tensor) -> Tensor:
    return cast("tuple[Tensor, Tensor]", torch.func.jvp(f, (x,), (u,)))[1]


def _ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.float64)


def _grid(rng: Rng, n: int) -> Tensor:
    """n numbers in [-2, 2] with one decimal, none of them zero."""
    x = (rng.uniform_in(-2.0, 2.0, n) * 10).round() / 10
    return torch.where(x == 0, 0.1, x)


def _maps_and_points(rng: Rng) -> Iterator[tuple[Map, Tensor, str]]:
    square = _named("x -> x ** 2", lambda x: x**2)
    yield square, 3 * _ones(1), "one input, one output"
    yield _named("x -> x.sum().reshape(1)", lambda x: x.sum().reshape(1)), _grid(rng, 3), "m = 1"
    stacked = _named("x -> cat([x, x ** 2, x.sin()])", lambda x: torch.cat([x, x**2, x.sin()]))
    yield stacked, 2 * _ones(1), "n = 1"
    yield square, _grid(rng, 3), "entry by entry"
    yield _named("x -> x[:2] * x[1:]", lambda x: x[:2] * x[1:]), _grid(rng, 3), "n = 3, m = 2"
    yield _named("x -> x[:1] ** 2", lambda x: x[:1] ** 2), _grid(rng, 2), "x[1] plays no part"
    yield _named("x -> x.flip(0)", lambda x: x.flip(0)), _grid(rng, 3), "linear"
    yield _named("x -> x.cumsum(0) ** 2", lambda x: x.cumsum(0) ** 2), _grid(rng, 3), "m = n"
    yield square, 0 * _ones(2), "every derivative is zero"
    for scale in (1e-6, 1e6):
        yield _matrix(rng, 2, 3), scale * _grid(rng, 3), f"x of size {scale:g}"
        yield _scaled(_layers(rng, 3, 2), scale), _grid(rng, 2), f"f of size {scale:g}"
    for m, n in [(1, 4), (4, 1), (2, 2), (3, 2), (2, 4), (4, 4)]:
        yield _matrix(rng, m, n), _grid(rng, n), ""
        yield _layers(rng, m, n), _grid(rng, n), ""


def _chain(f: Map, g: Map, name: str) -> Map:
    return _named(name, lambda x: g(f(x)))


# --- e1: the whole Jacobian from questions ----------------------------------------------------

e1 = Exercise(
    id="p1.t5.e1",
    title="The whole Jacobian from vector questions",
    copies=False,  # whether x itself is left alone shows on x itself only
    hints=(
        "Suppose f has two outputs. For which v is v · f(x) the first output alone? What, then, is "
        "the gradient that comes back?",
        "The unit vectors e_0, e_1, ... pick one output each, and the VJP with e_i is row i of the "
        "Jacobian. Collect the rows and stack them.",
        "`y = f(x)` once, with an x that requires gradients. For each i, "
        "`torch.autograd.grad(y, x, e_i, retain_graph=True)[0]` is a row and, unlike `backward`, "
        "adds to nothing. Or: `pull = torch.func.vjp(f, x)[1]`, and `pull(e_i)[0]`.",
    ),
)


@e1.answer
def jacobian_via_vjp(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The Jacobian of f at x, of shape `m n`, from vector-Jacobian products.

    f takes a tensor of shape `n` and returns one of shape `m`, n and m at least 1. Use
    `torch.autograd.grad`, `backward` or `torch.func.vjp`: no ready-made Jacobian, and no forward
    mode, which some of the functions do not have. Leave x as it is, without a `.grad` and without
    asking it for gradients.
    """
    x = x.detach().clone().requires_grad_()
    y = f(x)
    rows = []
    for i in range(len(y)):
        e = torch.zeros_like(y)
        e[i] = 1
        rows.append(torch.autograd.grad(y, x, e, retain_graph=True)[0])
    return torch.stack(rows)


@e1.cases
def maps_and_points(rng: Rng) -> Iterator[Case]:
    backward_only = _named("x -> x * x.sum(), with a backward only", _backward_only)
    yield Case(backward_only, _grid(rng, 3), note="no forward mode")
    for f, x, note in _maps_and_points(rng):
        yield Case(f, x, note=note)


def _fresh(x: Tensor) -> Tensor:
    return x.detach().clone()


@e1.shape
def _(fn: Fn, f: Map, x: Tensor) -> None:
    has_shape(fn(f, _fresh(x)), (len(f(_fresh(x))), len(x)), torch.float64)


@e1.property("x stays as it is, without a .grad and without requires_grad")
def _(fn: Fn, f: Map, x: Tensor) -> None:
    given, kept = _fresh(x), _fresh(x)
    fn(f, given)
    require(given.grad is None, "x has a .grad now")
    require(not given.requires_grad, "x requires gradients now")
    require(torch.equal(given, kept), "x has other values now")


READY_MADE = frozenset({"jacrev", "jacfwd", "jacobian", "hessian", "jvp", "make_dual"})


@e1.property("no ready-made Jacobian, no forward mode")
def _(fn: Fn, f: Map, x: Tensor) -> None:
    used = _torch_functions(lambda: fn(f, _fresh(x))) & READY_MADE
    require(not used, f"your function calls {', '.join(sorted(used))}")


@e1.property("twice the function has twice the Jacobian")
def _(fn: Fn, f: Map, x: Tensor) -> None:
    doubled = _named(f"2 * ({f.__name__})", lambda x: 2 * f(x))
    close(fn(doubled, _fresh(x)), 2 * fn(f, _fresh(x)), 1e-9, relative=True)


@e1.property("reading the outputs in the opposite order reverses the rows, and nothing else")
def _(fn: Fn, f: Map, x: Tensor) -> None:
    reverse = _chain(f, lambda y: y.flip(0), f"{f.__name__}, outputs in the opposite order")
    close(fn(reverse, _fresh(x)), fn(f, _fresh(x)).flip(0), 1e-9, relative=True)


@e1.value("the gradients of single outputs, one call of f for each")
def _(fn: Fn, f: Map, x: Tensor) -> None:
    rows = []
    for i in range(len(f(_fresh(x)))):
        leaf = _fresh(x).requires_grad_()
        f(leaf)[i].backward()
        rows.append(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)
    close(fn(f, _fresh(x)), torch.stack(rows), 1e-10, relative=True)


@e1.wrong("torch.func.jacrev, which is ready-made")
def _(f: Map, x: Tensor) -> Tensor:
    return cast("Tensor", torch.func.jacrev(f)(x))


@e1.wrong("torch.autograd.functional.jacobian, which is ready-made")
def _(f: Map, x: Tensor) -> Tensor:
    return cast("Tensor", torch.autograd.functional.jacobian(f, x))


@e1.wrong("columns by forward mode")
def _(f: Map, x: Tensor) -> Tensor:
    return torch.stack([_push(f, x, e) for e in torch.eye(len(x), dtype=x.dtype)], dim=-1)


@e1.wrong("right, and leaves the last row in x.grad")
def _(f: Map, x: Tensor) -> Tensor:
    x.requires_grad_()
    y, rows = f(x), []
    for e in torch.eye(len(y), dtype=x.dtype):
        x.grad = None
        y.backward(e, retain_graph=True)
        rows.append(torch.zeros_like(x) if x.grad is None else x.grad.clone())
    return torch.stack(rows)


@e1.wrong("right, and leaves x asking for gradients")
def _(f: Map, x: Tensor) -> Tensor:
    x.requires_grad_()
    y = f(x)
    units = torch.eye(len(y), dtype=x.dtype)
    return torch.stack([torch.autograd.grad(y, x, e, retain_graph=True)[0] for e in units])


@e1.wrong("backward once for each output, without clearing .grad: the rows add up")
def _(f: Map, x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    y, rows = f(x), []
    for e in torch.eye(len(y), dtype=x.dtype):
        y.backward(e, retain_graph=True)
        rows.append(x.grad.clone())  # type: ignore[union-attr]
    return torch.stack(rows)


@e1.wrong("stores .grad itself in every row, so that all rows are the same tensor")
def _(f: Map, x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    y, rows = f(x), []
    x.grad = torch.zeros_like(x)
    for e in torch.eye(len(y), dtype=x.dtype):
        x.grad.zero_()
        y.backward(e, retain_graph=True)
        rows.append(x.grad)
    return torch.stack(rows)


@e1.wrong("the rows stacked as columns: the transpose")
def _(f: Map, x: Tensor) -> Tensor:
    y, pull = _pull(f, x)
    return torch.stack([pull(e) for e in torch.eye(len(y)).double()], dim=-1)


@e1.wrong("one pull with ones, taken for the diagonal of the Jacobian")
def _(f: Map, x: Tensor) -> Tensor:
    y, pull = _pull(f, x)
    table = torch.zeros(len(y), len(x), dtype=x.dtype)
    k = min(table.shape)
    table[range(k), range(k)] = pull(torch.ones_like(y))[:k]
    return table


@e1.wrong("one pull with ones, written into every row")
def _(f: Map, x: Tensor) -> Tensor:
    y, pull = _pull(f, x)
    return pull(torch.ones_like(y)).expand(len(y), -1)


@e1.wrong("differences instead of derivatives")
def _(f: Map, x: Tensor) -> Tensor:
    h = 1e-6
    steps = h * torch.eye(len(x), dtype=x.dtype)
    return torch.stack([(f(x + e) - f(x)) / h for e in steps], dim=-1)


# --- e2: a push from two pulls ----------------------------------------------------------------

e2 = Exercise(
    id="p1.t5.e2",
    title="A push from two pulls",
    pure=True,
    hints=(
        "The map v -> Jᵀ v is linear in v. What is the Jacobian of a linear map v -> M v? And what "
        "is a pull of u through it?",
        "Here M = Jᵀ, so the pull of u is Mᵀ u = J u. You need two pulls: one through f, kept in "
        "the notes, and one through the result of the first, with respect to v.",
        "Make v a tensor of zeros like y, with `requires_grad=True`: a linear map has the same "
        "Jacobian everywhere. In the first `torch.autograd.grad`, `create_graph=True` takes notes "
        "of the pull itself (tutorial 4). In the second, differentiate with respect to v, with u "
        "as the upstream vector.",
    ),
)


@e2.answer
def jvp_by_double_vjp(f: Callable[[Tensor], Tensor], x: Tensor, u: Tensor) -> Tensor:
    """J u, where J is the Jacobian of f at x, from vector-Jacobian products alone.

    f takes a tensor of shape `n`, that of x and u, and returns one of shape `m`, that of the
    result. Some of the functions have no forward mode. J itself need not be built.
    """
    x = x.detach().clone().requires_grad_()
    y = f(x)
    v = torch.zeros_like(y, requires_grad=True)
    (pulled,) = torch.autograd.grad(y, x, v, create_graph=True)  # Jᵀ v, linear in v
    return torch.autograd.grad(pulled, v, u)[0]


@e2.cases
def maps_points_and_steps(rng: Rng) -> Iterator[Case]:
    backward_only = _named("x -> x * x.sum(), with a backward only", _backward_only)
    yield Case(backward_only, 2 * _ones(1), _ones(1), note="no forward mode")
    yield Case(backward_only, _grid(rng, 3), _grid(rng, 3), note="no forward mode")
    for f, x, note in _maps_and_points(rng):
        yield Case(f, x, _grid(rng, len(x)), note=note)
    layers = _layers(rng, 3, 2)
    yield Case(layers, _grid(rng, 2), 0 * _ones(2), note="u is zero")
    for scale in (1e-6, 1e6):
        yield Case(layers, _grid(rng, 2), scale * _grid(rng, 2), note=f"u of size {scale:g}")


def _backward_only(x: Tensor) -> Tensor:
    return cast("Map", _Backward.apply)(x)


@e2.shape
def _(fn: Fn, f: Map, x: Tensor, u: Tensor) -> None:
    has_shape(fn(f, x, u), tuple(f(x).shape), torch.float64)


@e2.property("linear in u: the push of 3 u + w is three times that of u, plus that of w")
def _(fn: Fn, f: Map, x: Tensor, u: Tensor) -> None:
    w = u.flip(0) + 0.5 * u
    expected = 3 * fn(f, x, u) + fn(f, x, w)
    size = float(fn(f, x, u).abs().max() + fn(f, x, w).abs().max())
    close(fn(f, x, 3 * u + w), expected, 1e-9 * size)


@e2.property("the adjoint test: v · (J u) is (Jᵀ v) · u, for every unit vector v")
def _(fn: Fn, f: Map, x: Tensor, u: Tensor) -> None:
    y, pull = _pull(f, x)
    units = torch.eye(len(y), dtype=x.dtype)
    expected = torch.stack([pull(v) @ u for v in units])
    size = max(float((pull(v).abs() @ u.abs()).item()) for v in units)
    close(units @ fn(f, x, u), expected, 1e-9 * size)


@e2.value("Richardson's extrapolation of central differences")
def _(fn: Fn, f: Map, x: Tensor, u: Tensor) -> None:
    size = float(x.abs().max()) or 1.0
    longest = float(u.abs().max())
    if longest == 0:
        close(fn(f, x, u), torch.zeros_like(f(x)), 0)
        return
    direction, h = u / longest, 1e-3 * size
    wide = (f(x + 2 * h * direction) - f(x - 2 * h * direction)) / (4 * h)
    narrow = (f(x + h * direction) - f(x - h * direction)) / (2 * h)
    slope = (4 * narrow - wide) / 3
    scale = float(slope.abs().max() + (f(x) / size).abs().max()) or 1.0
    close(fn(f, x, u) / longest / scale, slope / scale, 1e-7)


@e2.wrong("a single pull of u, which is Jᵀ u, cut or padded to the right length")
def _(f: Map, x: Tensor, u: Tensor) -> Tensor:
    y, pull = _pull(f, x)
    v = torch.zeros_like(y)
    k = min(len(u), len(y))
    v[:k] = u[:k]
    result = torch.zeros_like(y)
    result[:k] = pull(v)[:k]
    return result


@e2.wrong("torch's forward mode, which not every function has")
def _(f: Map, x: Tensor, u: Tensor) -> Tensor:
    return _push(f, x, u)


@e2.wrong("forgets u in the second pull: J times ones")
def _(f: Map, x: Tensor, u: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    y = f(x)
    v = torch.zeros_like(y, requires_grad=True)
    (pulled,) = torch.autograd.grad(y, x, v, create_graph=True)
    return torch.autograd.grad(pulled.sum(), v)[0]


@e2.wrong("normalises u first: the slope for a step of length 1")
def _(f: Map, x: Tensor, u: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    y = f(x)
    v = torch.zeros_like(y, requires_grad=True)
    (pulled,) = torch.autograd.grad(y, x, v, create_graph=True)
    return torch.autograd.grad(pulled, v, u / u.norm().clamp(min=1e-300))[0]


@e2.wrong("the finite step f(x + u) - f(x), right for linear maps only")
def _(f: Map, x: Tensor, u: Tensor) -> Tensor:
    return f(x + u) - f(x)


@e2.wrong("weights the outputs by the sums of the rows: every u_j replaced by their mean")
def _(f: Map, x: Tensor, u: Tensor) -> Tensor:
    y, pull = _pull(f, x)
    return torch.stack([pull(v).sum() * u.mean() for v in torch.eye(len(y)).double()])


# --- e3: the cheapest order -------------------------------------------------------------------

e3 = Exercise(
    id="p1.t5.e3",
    title="The cheapest order",
    hints=(
        "Do the chain (10, 2, 10, 1) by hand: two matrix products, in two orders. Which widths "
        "multiply in each product?",
        "The product of layers i to k has shape dims[k] by dims[i]. Its last multiplication joins "
        "two finished pieces at some width j between them, and costs dims[i] dims[j] dims[k]; the "
        "pieces are smaller problems of the same kind.",
        "Forwards costs the sum of dims[0] dims[j] dims[j + 1] for j = 1, 2, ...; reverse the "
        "mirror image with dims[-1]. For the best order let best(i, k) be 0 for a single layer "
        "and else the minimum over j of best(i, j) + best(j, k) + dims[i] dims[j] dims[k].",
    ),
)


@e3.answer
def cheapest_mode(dims: tuple[int, ...]) -> tuple[str, int]:
    """The cheapest way to multiply a chain's Jacobians, and its number of multiplications.

    dims are the widths from the inputs to the outputs, at least two: layer i has a Jacobian of
    shape dims[i + 1] by dims[i]. A product of matrices of shapes `a b` and `b c` takes a b c
    multiplications. Return ("reverse", cost) if reverse mode is as cheap as any order, else
    ("forward", cost) if forward mode is, else ("mixed", cost) with the cost of the cheapest order.

    >>> cheapest_mode((1000, 500, 200, 1))
    ('reverse', 600000)
    """
    last = len(dims) - 1
    reverse = sum(dims[j] * dims[j + 1] * dims[-1] for j in range(last - 1))
    forward = sum(dims[0] * dims[j] * dims[j + 1] for j in range(1, last))
    best = {(i, i + 1): 0 for i in range(last)}
    for length in range(2, last + 1):
        for i in range(last - length + 1):
            k = i + length
            best[i, k] = min(
                best[i, j] + best[j, k] + dims[i] * dims[j] * dims[k] for j in range(i + 1, k)
            )
    cheapest = best[0, last]
    if reverse == cheapest:
        return "reverse", cheapest
    return ("forward" if forward == cheapest else "mixed"), cheapest


@e3.cases
def chains(rng: Rng) -> Iterator[Case]:
    for dims, note in [
        ((3, 2), "one layer: nothing to multiply"),
        ((2, 3, 4), "two layers: one product"),
        ((5, 5, 5, 5), "all equal: a tie"),
        ((3, 2, 2, 3), "a tie of forward and reverse"),
        ((4, 3, 2, 1), "one output"),
        ((1, 2, 3, 4), "one input"),
        ((1, 5, 5, 1), "one input and one output"),
        ((8, 8, 1, 8, 8), "a waist of width 1"),
        ((2, 9, 9, 3), "narrow ends"),
        ((1000, 500, 200, 1), "many inputs, one output"),
        ((1, 200, 500, 1000), "one input, many outputs"),
        ((400, 400, 5, 400, 400), "a narrow waist"),
        ((10**6, 10, 10**6, 1), "very wide"),
        ((9, 2, 8, 3, 7), "zigzag"),
    ]:
        yield Case(dims, note=note)
    for _ in range(30):
        yield Case(tuple(rng.choice((1, 2, 3, 4, 5, 8, 10)) for _ in range(rng.randint(3, 7))))


@e3.shape
def _(fn: Fn, dims: tuple[int, ...]) -> None:
    result = fn(dims)
    require(isinstance(result, (tuple, list)) and len(result) == 2, "expected (mode, cost)")
    require(result[0] in ("reverse", "forward", "mixed"), "unknown mode")
    whole = _is_whole(result[1]) or float(result[1]).is_integer()
    require(whole, "the cost is not a whole number")


@e3.property("reading the chain backwards costs the same")
def _(fn: Fn, dims: tuple[int, ...]) -> None:
    require(fn(dims[::-1])[1] == fn(dims)[1], "the reversed chain has another cost")


@e3.property("a mixed order wins in both directions of reading, or in none")
def _(fn: Fn, dims: tuple[int, ...]) -> None:
    modes = {fn(dims)[0], fn(dims[::-1])[0]}
    require("mixed" not in modes or modes == {"mixed"}, "only one of the two is mixed")


@e3.property("widths that are three times as large cost 27 times as much")
def _(fn: Fn, dims: tuple[int, ...]) -> None:
    mode, cost = fn(dims)
    tripled = fn(tuple(3 * width for width in dims))
    require(tripled[0] == mode and tripled[1] == 27 * cost, "the tripled chain does not fit")


@e3.value("trying every order of the products")
def _(fn: Fn, dims: tuple[int, ...]) -> None:
    costs = {}
    for order in itertools.permutations(range(1, len(dims) - 1)):  # which inner width goes first
        widths, cost = list(range(len(dims))), 0
        for inner in order:
            at = widths.index(inner)
            cost += dims[widths[at - 1]] * dims[inner] * dims[widths[at + 1]]
            widths.pop(at)
        costs[order] = cost
    forward = tuple(range(1, len(dims) - 1))
    cheapest = min(costs.values())
    mode, cost = fn(dims)
    wrong = "higher" if cost > cheapest else "lower"
    require(cost == cheapest, f"your cost is {wrong} than that of the cheapest order")
    won = "reverse" if costs[forward[::-1]] == cheapest else "mixed"
    if won == "mixed" and costs[forward] == cheapest:
        won = "forward"
    require(mode == won, "the cost is right, the mode is not")


@e3.wrong("looks at the two ends only")
def _(dims: tuple[int, ...]) -> tuple[str, int]:
    last = len(dims) - 1
    if dims[-1] <= dims[0]:
        return "reverse", sum(dims[j] * dims[j + 1] * dims[-1] for j in range(last - 1))
    return "forward", sum(dims[0] * dims[j] * dims[j + 1] for j in range(1, last))


@e3.wrong("the cheaper of the two modes, as if there were no other order")
def _(dims: tuple[int, ...]) -> tuple[str, int]:
    last = len(dims) - 1
    reverse = sum(dims[j] * dims[j + 1] * dims[-1] for j in range(last - 1))
    forward = sum(dims[0] * dims[j] * dims[j + 1] for j in range(1, last))
    return ("reverse", reverse) if reverse <= forward else ("forward", forward)


def _greedy(dims: tuple[int, ...]) -> int:
    widths, cost = list(dims), 0
    while len(widths) > 2:
        inner = [(widths[j - 1] * widths[j] * widths[j + 1], j) for j in range(1, len(widths) - 1)]
        price, j = min(inner)
        cost += price
        widths.pop(j)
    return cost


def _labelled(dims: tuple[int, ...], cost: int) -> tuple[str, int]:
    last = len(dims) - 1
    if cost == sum(dims[j] * dims[j + 1] * dims[-1] for j in range(last - 1)):
        return "reverse", cost
    forward = sum(dims[0] * dims[j] * dims[j + 1] for j in range(1, last))
    return ("forward" if cost == forward else "mixed"), cost


@e3.wrong("greedy: always the cheapest product next")
def _(dims: tuple[int, ...]) -> tuple[str, int]:
    return _labelled(dims, _greedy(dims))


@e3.wrong("forward and reverse exchanged")
def _(dims: tuple[int, ...]) -> tuple[str, int]:
    mode, cost = cheapest_mode(dims)
    return {"reverse": "forward", "forward": "reverse"}.get(mode, mode), cost


@e3.wrong("prefers forward where both are equally cheap")
def _(dims: tuple[int, ...]) -> tuple[str, int]:
    mode, cost = cheapest_mode(dims)
    forward = sum(dims[0] * dims[j] * dims[j + 1] for j in range(1, len(dims) - 1))
    return ("forward" if forward == cost else mode), cost


@e3.wrong("adds up the products of neighbouring widths, forgetting the third factor")
def _(dims: tuple[int, ...]) -> tuple[str, int]:
    mode, _cost = cheapest_mode(dims)
    return mode, sum(dims[j] * dims[j + 1] for j in range(len(dims) - 1))


# --- e4: the pull through a linear solve ------------------------------------------------------

e4 = Exercise(
    id="p1.t5.e4",
    title="The pull through a linear solve",
    pure=True,
    hints=(
        "The change of the loss is xbar · dx with dx = inverse(A) (db - dA x). You know the first "
        "part. In the second, move the inverse of A to the other side, as before.",
        "With bbar = inverse(Aᵀ) xbar the second part is -bbar · (dA x), the sum over i and j of "
        "-bbar_i dA_ij x_j. Read off what stands beside dA_ij.",
        "Abar_ij = -bbar_i x_j: minus an outer product, `unsqueeze(-1)` times `unsqueeze(-2)`. "
        "For stacks use `A.mT`, and give `torch.linalg.solve` a right-hand side of shape "
        "`... n 1`, so that it cannot take a stack of vectors for a matrix.",
    ),
)


@e4.answer
def solve_vjp(A: Tensor, b: Tensor, xbar: Tensor) -> tuple[Tensor, Tensor]:
    """The pull of xbar through x = inverse(A) b: the gradients in A and in b.

    A has shape `... n n`, b and xbar have shape `... n`, with the same axes in front: a stack of
    systems A x = b, and the gradient of a loss in each x. Return (Abar, bbar), of the shapes of A
    and b. By hand, as derived above, without autograd: two solves and a product.
    """
    x = torch.linalg.solve(A, b.unsqueeze(-1)).squeeze(-1)
    bbar = torch.linalg.solve(A.mT, xbar.unsqueeze(-1)).squeeze(-1)
    return -bbar.unsqueeze(-1) * x.unsqueeze(-2), bbar


def _system(rng: Rng, *shape: int) -> Tensor:
    """Matrices with a strong diagonal, one decimal each."""
    n = shape[-1]
    noise = (rng.uniform_in(-1.0, 1.0, *shape, n) * 10).round() / 10
    return noise + 2.0 * n * torch.eye(n, dtype=torch.float64) / (n + 1)


@e4.cases
def systems(rng: Rng) -> Iterator[Case]:
    yield Case(2 * _ones(1, 1), 3 * _ones(1), _ones(1), note="one equation")
    triangular = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64)
    yield Case(triangular, _ones(2), torch.tensor([1.0, 0.0]).double(), note="triangular")
    yield Case(torch.eye(2).double(), _grid(rng, 2), _grid(rng, 2), note="the identity")
    symmetric = _system(rng, 3)
    yield Case(symmetric + symmetric.mT, _grid(rng, 3), _grid(rng, 3), note="symmetric")
    yield Case(_system(rng, 3), 0 * _ones(3), _grid(rng, 3), note="b is zero")
    yield Case(_system(rng, 3), _grid(rng, 3), 0 * _ones(3), note="xbar is zero")
    for scale in (1e-6, 1e6):
        yield Case(scale * _system(rng, 2), _grid(rng, 2), _grid(rng, 2), note=f"{scale:g} A")
        yield Case(_system(rng, 2), scale * _grid(rng, 2), _grid(rng, 2), note=f"{scale:g} b")
        yield Case(_system(rng, 2), _grid(rng, 2), scale * _grid(rng, 2), note=f"{scale:g} xbar")
    yield Case(_system(rng, 1, 2), rng.normal(1, 2), rng.normal(1, 2), note="a stack of one")
    yield Case(_system(rng, 3, 3), rng.normal(3, 3), rng.normal(3, 3), note="three systems, n = 3")
    yield Case(_system(rng, 2, 3), rng.normal(2, 3), rng.normal(2, 3), note="two systems")
    yield Case(_system(rng, 2, 3, 2), rng.normal(2, 3, 2), rng.normal(2, 3, 2), note="2 x 3")
    sizes = torch.tensor([1e-6, 1.0, 1e6], dtype=torch.float64)
    yield Case(
        _system(rng, 3, 2),
        rng.normal(3, 2),
        sizes.unsqueeze(-1) * rng.normal(3, 2),
        note="systems with small and large xbar",
    )
    yield Case(sizes.diag(), _grid(rng, 3), _grid(rng, 3), note="entries of very different size")
    for n in (2, 2, 3, 3, 4, 4, 5, 5):
        yield Case(_system(rng, n), _grid(rng, n), _grid(rng, n))


def _change(A: Tensor, b: Tensor, dA: Tensor, db: Tensor) -> Tensor:
    """By how fast x moves, from A dx = db - dA x, solved through the inverse."""
    inverse: Tensor = torch.linalg.inv(A)
    x = inverse @ b.unsqueeze(-1)  # ... n 1
    return (inverse @ (db.unsqueeze(-1) - dA @ x)).squeeze(-1)


@e4.shape
def _(fn: Fn, A: Tensor, b: Tensor, xbar: Tensor) -> None:
    result = fn(A, b, xbar)
    require(isinstance(result, (tuple, list)) and len(result) == 2, "expected (Abar, bbar)")
    has_shape(result[0], tuple(A.shape), torch.float64)
    has_shape(result[1], tuple(b.shape), torch.float64)


@e4.property("by hand, without autograd")
def _(fn: Fn, A: Tensor, b: Tensor, xbar: Tensor) -> None:
    names = {"grad", "vjp", "backward", "jacrev", "jacfwd", "jacobian", "jvp"}
    used = _torch_functions(lambda: fn(A, b, xbar)) & names
    require(not used, f"your function calls {', '.join(sorted(used))}")


def _per_system(
    gradients: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Both, in units of the largest entry of each system's gradients."""
    big = expected[0].abs().amax((-2, -1), keepdim=True).clamp(min=1e-300)
    long = expected[1].abs().amax(-1, keepdim=True).clamp(min=1e-300)
    return (gradients[0] / big, gradients[1] / long), (expected[0] / big, expected[1] / long)


@e4.property("twice xbar gives twice both gradients")
def _(fn: Fn, A: Tensor, b: Tensor, xbar: Tensor) -> None:
    once, twice = fn(A, b, xbar), fn(A, b, 2 * xbar)
    close(*_per_system(twice, (2 * once[0], 2 * once[1])), 1e-9)


@e4.property("scaling A and b together leaves x alone: Abar · A plus bbar · b is zero")
def _(fn: Fn, A: Tensor, b: Tensor, xbar: Tensor) -> None:
    Abar, bbar = fn(A, b, xbar)
    terms = torch.stack([(Abar * A).sum((-2, -1)), (bbar * b).sum(-1)])
    sizes = (Abar * A).abs().sum((-2, -1)) + (bbar * b).abs().sum(-1)
    close(terms.sum(0), torch.zeros_like(terms[0]), 1e-9 * float(sizes.max()))


@e4.property("the adjoint test: xbar · dx is bbar · db for every change of one entry of b")
def _(fn: Fn, A: Tensor, b: Tensor, xbar: Tensor) -> None:
    _Abar, bbar = fn(A, b, xbar)
    for j in range(b.shape[-1]):
        db = torch.zeros_like(b)
        db[..., j] = 1
        expected = (xbar * _change(A, b, torch.zeros_like(A), db)).sum(-1)
        size = float(expected.abs().max()) + float(bbar.abs().max())
        close(bbar[..., j], expected, 1e-9 * size)


@e4.value("the change of x for a change of each single entry of A and b")
def _(fn: Fn, A: Tensor, b: Tensor, xbar: Tensor) -> None:
    n = A.shape[-1]
    Abar, bbar = torch.zeros_like(A), torch.zeros_like(b)
    for i in range(n):
        db = torch.zeros_like(b)
        db[..., i] = 1
        bbar[..., i] = (xbar * _change(A, b, torch.zeros_like(A), db)).sum(-1)
        for j in range(n):
            dA = torch.zeros_like(A)
            dA[..., i, j] = 1
            Abar[..., i, j] = (xbar * _change(A, b, dA, torch.zeros_like(b))).sum(-1)
    close(*_per_system(fn(A, b, xbar), (Abar, bbar)), 1e-8)


def _solve(A: Tensor, b: Tensor) -> Tensor:
    x: Tensor = torch.linalg.solve(A, b.unsqueeze(-1))
    return x.squeeze(-1)


@e4.wrong("solves with A where the transpose belongs")
def _(A: Tensor, b: Tensor, xbar: Tensor) -> tuple[Tensor, Tensor]:
    bbar = _solve(A, xbar)
    return -bbar.unsqueeze(-1) * _solve(A, b).unsqueeze(-2), bbar


@e4.wrong("asks autograd")
def _(A: Tensor, b: Tensor, xbar: Tensor) -> tuple[Tensor, Tensor]:
    return cast("tuple[Tensor, Tensor]", torch.func.vjp(_solve, A, b)[1](xbar))


@e4.wrong("makes the gradient in A symmetric, as if A were")
def _(A: Tensor, b: Tensor, xbar: Tensor) -> tuple[Tensor, Tensor]:
    bbar = _solve(A.mT, xbar)
    outer = -bbar.unsqueeze(-1) * _solve(A, b).unsqueeze(-2)
    return (outer + outer.mT) / 2, bbar


@e4.wrong("steadies the solve by adding a little to the diagonal")
def _(A: Tensor, b: Tensor, xbar: Tensor) -> tuple[Tensor, Tensor]:
    A = A + 1e-8 * torch.eye(A.shape[-1], dtype=A.dtype)
    bbar = _solve(A.mT, xbar)
    return -bbar.unsqueeze(-1) * _solve(A, b).unsqueeze(-2), bbar


@e4.wrong("the sign of Abar")
def _(A: Tensor, b: Tensor, xbar: Tensor) -> tuple[Tensor, Tensor]:
    bbar = _solve(A.mT, xbar)
    return bbar.unsqueeze(-1) * _solve(A, b).unsqueeze(-2), bbar


@e4.wrong("the outer product the other way round")
def _(A: Tensor, b: Tensor, xbar: Tensor) -> tuple[Tensor, Tensor]:
    bbar = _solve(A.mT, xbar)
    return -_solve(A, b).unsqueeze(-1) * bbar.unsqueeze(-2), bbar


@e4.wrong("xbar instead of bbar in Abar")
def _(A: Tensor, b: Tensor, xbar: Tensor) -> tuple[Tensor, Tensor]:
    return -xbar.unsqueeze(-1) * _solve(A, b).unsqueeze(-2), _solve(A.mT, xbar)


@e4.wrong("b instead of x in Abar")
def _(A: Tensor, b: Tensor, xbar: Tensor) -> tuple[Tensor, Tensor]:
    bbar = _solve(A.mT, xbar)
    return -bbar.unsqueeze(-1) * b.unsqueeze(-2), bbar


@e4.wrong("multiplies by the transpose instead of solving with it")
def _(A: Tensor, b: Tensor, xbar: Tensor) -> tuple[Tensor, Tensor]:
    bbar = (A.mT @ xbar.unsqueeze(-1)).squeeze(-1)
    return -bbar.unsqueeze(-1) * _solve(A, b).unsqueeze(-2), bbar


@e4.wrong("adds up the outer products over the stack")
def _(A: Tensor, b: Tensor, xbar: Tensor) -> tuple[Tensor, Tensor]:
    bbar, x = _solve(A.mT, xbar), _solve(A, b)
    total = -torch.einsum("...i,...j->ij", bbar, x)
    return total.expand_as(A), bbar
