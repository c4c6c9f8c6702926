"""The exercises of part_1/tutorial_04: autograd and graphs."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require
from bolearn.teach.exercises.part_1_tutorial_01 import _CountCalls, _is_whole, _torch_functions

Parents = list[list[tuple[int, float]]]

# --- e1: the sweep, in whatever order the nodes come ------------------------------------------

e1 = Exercise(
    id="p1.t4.e1",
    title="The sweep, in whatever order the nodes come",
    pure=True,
    hints=(
        "When may a node pass its adjoint on to its parents? Which of the nodes that it feeds must "
        "be finished before?",
        "Two routes work. Count, for each node, how often it is used by nodes that the output "
        "depends on, and handle a node when its count has come down to 0. Or walk from the output "
        "depth first, note a node after all its parents, and read the notes backwards.",
        "Start with adjoint seed at the output and 0 elsewhere. Handling node i means: for every "
        "(j, slope) in parents[i], add adjoint[i] * slope to adjoint[j]. In which order, you have "
        "just worked out; nodes that the output does not depend on are never handled.",
    ),
)


@e1.answer
def adjoints(parents: list[list[tuple[int, float]]], output: int, seed: float = 1.0) -> list[float]:
    """The derivative of one node of a graph in every node, times seed.

    The nodes are numbered 0, 1, 2, ... in no particular order. `parents[i]` lists what node i was
    computed from, as pairs (j, slope): j is the parent's number, slope the derivative of node i
    in it. A parent may occur twice, as in y + y. Return one number for each node: seed for the
    output itself, 0.0 for a node that the output does not depend on. Do not walk along every path:
    there can be more than a million of them in a graph of 21 nodes.

    >>> adjoints([[], [(0, 3.0)], [(0, 2.0), (1, 5.0)]], output=2)
    [17.0, 5.0, 1.0]
    """
    order: list[int] = []  # parents before children
    seen = {output}
    todo = [(output, iter(parents[output]))]
    while todo:
        node, rest = todo[-1]
        fresh = next((j for j, _ in rest if j not in seen), None)
        if fresh is None:
            order.append(node)
            todo.pop()
        else:
            seen.add(fresh)
            todo.append((fresh, iter(parents[fresh])))
    adjoint = [0.0] * len(parents)
    adjoint[output] = seed
    for node in reversed(order):
        for j, slope in parents[node]:
            adjoint[j] += adjoint[node] * slope
    return adjoint


def _renumbered(parents: Parents, output: int, order: list[int]) -> tuple[Parents, int]:
    """The same graph, with node i called order[i]."""
    renamed: Parents = [[] for _ in parents]
    for i, pairs in enumerate(parents):
        renamed[order[i]] = [(order[j], slope) for j, slope in pairs]
    return renamed, order[output]


def _random_graph(rng: Rng, n: int, scale: float = 1.0) -> tuple[Parents, int]:
    parents: Parents = [[]]
    for i in range(1, n):
        chosen = [rng.randrange(i) for _ in range(rng.randint(0 if i < n - 1 else 1, 3))]
        parents.append([(j, scale * rng.choice((-2.0, -1.0, 0.5, 1.0, 3.0))) for j in chosen])
    order = list(range(n))
    rng.shuffle(order)
    return _renumbered(parents, n - 1 if rng.random() < 0.7 else rng.randrange(n), order)


def _ladder(n: int) -> Parents:
    return [[], *([(i, 1.0), (i, 1.0)] for i in range(n))]


@e1.cases
def graphs(rng: Rng) -> Iterator[Case]:
    yield Case([[]], 0, note="one node")
    yield Case([[]], 0, -2.5, note="one node and a seed")
    yield Case([[], [(0, 3.0)]], 1)
    yield Case([[], [(0, 1.0), (0, 1.0)]], 1, note="y + y")
    yield Case([[(1, 3.0)], []], 0, note="a parent with a larger number")
    yield Case([[], [(0, 2.0)], [(1, 5.0)]], 1, note="the output feeds another node")
    yield Case([[], [], [(1, 4.0)]], 2, note="a node that is not used")
    yield Case([[], [(0, 3.0)], [(0, 2.0), (1, 5.0)]], 2, note="a short and a long path")
    yield Case([[(1, 2.0), (2, 5.0)], [], [(1, 3.0)]], 0, note="a short and a long path")
    yield Case([[], [(0, 2.0)], [(0, 3.0)], [(1, 1.0), (2, 1.0)]], 3, note="a diamond")
    yield Case([[], [(0, 3e-6)], [(1, 2e-6)]], 2, note="small slopes")
    yield Case([[], [(0, 0.0)], [(1, 2.0)]], 2, note="a slope of 0")
    yield Case(_ladder(12), 12, note="twelve times y + y")
    backwards = _renumbered(_ladder(12), 12, list(reversed(range(13))))
    yield Case(*backwards, 0.5, note="twelve times y + y, numbered backwards")
    for scale in (1e-6, 1e6):
        yield Case(*_random_graph(rng, 4, scale), note=f"slopes of about {scale:g}")
    for _ in range(25):
        yield Case(*_random_graph(rng, rng.randint(3, 12)), rng.choice((1.0, 2.0, -0.5)))


def _paths(parents: Parents, output: int, seed: float) -> tuple[Tensor, Tensor]:
    """The sums over all paths from the output to each node, and the sums of their sizes."""
    S = torch.zeros(2, len(parents), len(parents), dtype=torch.float64)
    for i, pairs in enumerate(parents):
        for j, slope in pairs:
            S[0, i, j] += slope
            S[1, i, j] += abs(slope)
    paths = torch.zeros(2, 1, len(parents), dtype=torch.float64)
    paths[:, 0, output] = torch.tensor([seed, abs(seed)], dtype=torch.float64)
    total = paths
    for _ in parents:
        paths = paths @ S
        total = total + paths
    return total[0, 0], total[1, 0]


def _each_close(values: Any, expected: Any, sizes: Tensor) -> None:
    """Every number right to nine digits of what was added up for it (rounding of others aside)."""
    scale = torch.maximum(sizes, 1e-12 * sizes.max()).clamp(min=1e-300)
    found, wanted = (
        torch.as_tensor([float(value) for value in row], dtype=torch.float64)
        for row in (values, expected)
    )
    close(found / scale, wanted / scale)


@e1.shape
def _(fn: Fn, parents: Parents, output: int, seed: float = 1.0) -> None:
    result = fn(parents, output, seed)
    require(isinstance(result, (list, tuple, np.ndarray, Tensor)), "expected a list")
    require(len(result) == len(parents), "expected one number for each node")


@e1.property("the output's own adjoint is the seed")
def _(fn: Fn, parents: Parents, output: int, seed: float = 1.0) -> None:
    close(float(fn(parents, output, seed)[output]), seed, relative=True)


@e1.property("three times the seed gives three times the adjoints")
def _(fn: Fn, parents: Parents, output: int, seed: float = 1.0) -> None:
    expected = [3 * value for value in fn(parents, output, seed)]
    _each_close(fn(parents, output, 3 * seed), expected, _paths(parents, output, 3 * seed)[1])


@e1.property("other numbers for the same nodes change nothing but the order of the result")
def _(fn: Fn, parents: Parents, output: int, seed: float = 1.0) -> None:
    order = list(reversed(range(len(parents))))
    renamed = fn(*_renumbered(parents, output, order), seed)
    back = [renamed[k] for k in order]
    _each_close(back, fn(parents, output, seed), _paths(parents, output, seed)[1])


class _Watched(list[list[tuple[int, float]]]):
    """A graph that counts how often the parents of a node are asked for."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        self.looks += 1
        require(self.looks <= 100 + 20 * (len(self) + sum(map(len, self))), "it asks too often")
        return super().__getitem__(index)


@e1.property("the parents are looked up about once for each node, not once for each path")
def _(fn: Fn, parents: Parents, output: int, seed: float = 1.0) -> None:
    fn(_Watched(parents), output, seed)


@e1.value("adding up all paths by their length, one length after the other")
def _(fn: Fn, parents: Parents, output: int, seed: float = 1.0) -> None:
    total, sizes = _paths(parents, output, seed)
    _each_close(fn(parents, output, seed), total, sizes)


@e1.wrong("takes the numbers for an order: from the largest down")
def _(parents: Parents, output: int, seed: float = 1.0) -> list[float]:
    adjoint = [0.0] * len(parents)
    adjoint[output] = seed
    for node in reversed(range(len(parents))):
        for j, slope in parents[node]:
            adjoint[j] += adjoint[node] * slope
    return adjoint


@e1.wrong("overwrites instead of adding, so that the last path wins")
def _(parents: Parents, output: int, seed: float = 1.0) -> list[float]:
    adjoint = [0.0] * len(parents)

    def push(node: int, amount: float) -> None:
        adjoint[node] = amount
        for j, slope in parents[node]:
            push(j, amount * slope)

    push(output, seed)
    return adjoint


@e1.wrong("right, but once for each path")
def _(parents: Parents, output: int, seed: float = 1.0) -> list[float]:
    adjoint = [0.0] * len(parents)

    def push(node: int, amount: float) -> None:
        adjoint[node] += amount
        for j, slope in parents[node]:
            push(j, amount * slope)

    push(output, seed)
    return adjoint


@e1.wrong("breadth first: passes on when first reached, before longer paths have arrived")
def _(parents: Parents, output: int, seed: float = 1.0) -> list[float]:
    adjoint = [0.0] * len(parents)
    adjoint[output] = seed
    queue, seen = [output], {output}
    while queue:
        node = queue.pop(0)
        for j, slope in parents[node]:
            adjoint[j] += adjoint[node] * slope
            if j not in seen:
                seen.add(j)
                queue.append(j)
    return adjoint


@e1.wrong("counts the uses of nodes that the output does not depend on, and waits for them")
def _(parents: Parents, output: int, seed: float = 1.0) -> list[float]:
    uses = [0] * len(parents)
    for pairs in parents:
        for j, _ in pairs:
            uses[j] += 1
    adjoint = [0.0] * len(parents)
    adjoint[output] = seed
    ready = [output]
    while ready:
        node = ready.pop()
        for j, slope in parents[node]:
            adjoint[j] += adjoint[node] * slope
            uses[j] -= 1
            if uses[j] == 0:
                ready.append(j)
    return adjoint


@e1.wrong("rounds to six decimals: small adjoints are lost")
def _(parents: Parents, output: int, seed: float = 1.0) -> list[float]:
    return [round(value, 6) for value in adjoints(parents, output, seed)]


@e1.wrong("depth first from the output: the order in which nodes are met, not finished")
def _(parents: Parents, output: int, seed: float = 1.0) -> list[float]:
    order: list[int] = []

    def visit(node: int) -> None:
        if node not in order:
            order.append(node)
            for j, _ in parents[node]:
                visit(j)

    visit(output)
    adjoint = [0.0] * len(parents)
    adjoint[output] = seed
    for node in order:
        for j, slope in parents[node]:
            adjoint[j] += adjoint[node] * slope
    return adjoint


@e1.wrong("ignores the seed")
def _(parents: Parents, output: int, seed: float = 1.0) -> list[float]:
    return adjoints(parents, output)


@e1.wrong("takes a parent that occurs twice for one")
def _(parents: Parents, output: int, seed: float = 1.0) -> list[float]:
    order: list[int] = []

    def visit(node: int) -> None:
        if node not in order:
            for j, _ in parents[node]:
                visit(j)
            order.append(node)

    visit(output)
    adjoint = [0.0] * len(parents)
    adjoint[output] = seed
    for node in reversed(order):
        for j, slope in dict(parents[node]).items():
            adjoint[j] += adjoint[node] * slope
    return adjoint


# --- e2: how large is a graph? ----------------------------------------------------------------

e2 = Exercise(
    id="p1.t4.e2",
    title="How large is a graph?",
    copies=False,
    hints=(
        "Draw the graph of x * x. How many nodes are in it, and how many arrows?",
        "Keep a set of the nodes you have met, and a list of those still to visit. A node that "
        "comes up a second time is not counted again.",
        "Nodes can be put into a set as they are. Start with [t.grad_fn]; take one out; skip it if "
        "it is None or known; otherwise remember it, and add the first entry of every pair in its "
        "`next_functions` to the list.",
    ),
)


@e2.answer
def graph_nodes(t: Tensor) -> int:
    """The number of different nodes in the graph behind a tensor.

    Count `t.grad_fn` and everything that can be reached by `next_functions`, the AccumulateGrad
    nodes of the leaves included, each node once. A tensor without a `grad_fn` has 0 nodes.
    """
    found = set()
    todo = [t.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return len(found)


@e2.cases
def tensors_with_graphs(rng: Rng) -> Iterator[Case]:
    x = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    u = x.sin()
    yield Case(torch.ones(2).double(), note="no graph")
    yield Case(x, note="t is a leaf")
    yield Case(x.sin(), note="t = x.sin()")
    yield Case(x * x, note="t = x * x")
    yield Case(u * u, note="t = u * u with u = x.sin()")
    yield Case(2 * x, note="t = 2 * x")
    yield Case(x * x.detach(), note="t = x * x.detach()")
    yield Case(x + y, note="t = x + y")
    yield Case((y * x).sum() + x, note="t = (y * x).sum() + x")
    yield Case(u.exp() + u.cos(), note="t = u.exp() + u.cos() with u = x.sin()")
    yield Case(y.unbind()[0] * y.unbind()[1], note="t = y.unbind()[0] * y.unbind()[1]")
    doubled = x
    for _ in range(10):
        doubled = doubled + doubled
    yield Case(doubled, note="ten times y = y + y")
    slope = torch.sigmoid(x) ** 2
    for order in (1, 2, 3):
        (slope,) = torch.autograd.grad(slope, x, create_graph=True)
        yield Case(slope, note=f"derivative {order} of sigmoid(x) ** 2")
    for _ in range(12):
        known = [x, rng.choice((x, y.sum()))]
        for _ in range(rng.randint(2, 6)):
            one, other = rng.choice(known), rng.choice(known)
            known.append(rng.choice((one * other, one + other, one.sin(), other.exp())))
        yield Case(known[-1], note="a random expression")


@e2.shape
def _(fn: Fn, t: Tensor) -> None:
    require(_is_whole(fn(t)), "expected a whole number")


@e2.property("a detached tensor has no nodes")
def _(fn: Fn, t: Tensor) -> None:
    count = fn(t.detach())
    require(count == 0, f"you count {count}")


@e2.property("sin(t) has one node more than t; two if t is a leaf, whose own node then appears")
def _(fn: Fn, t: Tensor) -> None:
    if t.requires_grad:
        more, right = fn(t.sin()) - fn(t), 1 + t.is_leaf
        require(more == right, f"you count {more} more, not {right}")


@e2.property("sin(t) + cos(t) has two nodes more than sin(t)")
def _(fn: Fn, t: Tensor) -> None:
    if t.requires_grad:
        more = fn(t.sin() + t.cos()) - fn(t.sin())
        require(more == 2, f"you count {more} more, not 2")


@e2.value("a search that compares each node with every node before")
def _(fn: Fn, t: Tensor) -> None:
    found: list[Any] = [] if t.grad_fn is None else [t.grad_fn]
    for node in found:  # grows while it is read
        for parent, _ in node.next_functions:
            if parent is not None and not any(parent is other for other in found):
                found.append(parent)
    gap = fn(t) - len(found)
    require(gap == 0, f"you count {abs(gap)} too {'many' if gap > 0 else 'few'}")


@e2.wrong("counts a node once for each path that leads to it")
def _(t: Tensor) -> int:
    def count(node: Any) -> int:
        return 0 if node is None else 1 + sum(count(parent) for parent, _ in node.next_functions)

    return count(t.grad_fn)


@e2.wrong("takes nodes of the same name for the same node")
def _(t: Tensor) -> int:
    names, todo = set(), [t.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None:
            names.add(node.name())
            todo += [parent for parent, _ in node.next_functions]
    return len(names)


@e2.wrong("leaves out the nodes of the leaves")
def _(t: Tensor) -> int:
    found, todo = set(), [t.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node.next_functions and node not in found:
            found.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return len(found)


@e2.wrong("follows the first parent only")
def _(t: Tensor) -> int:
    count, node = 0, t.grad_fn
    while node is not None:
        count += 1
        node = node.next_functions[0][0] if node.next_functions else None
    return count


@e2.wrong("counts the place of a constant, which has no node, as a node")
def _(t: Tensor) -> int:
    found: set[Any] = set()
    todo: list[Any] = [t.grad_fn] if t.grad_fn is not None else []
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += [parent for parent, _ in getattr(node, "next_functions", ())]
    return len(found)


@e2.wrong("counts the arrows")
def _(t: Tensor) -> int:
    found: set[Any] = set()
    todo: list[Any] = [t.grad_fn]
    arrows = 0
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found.add(node)
            arrows += len(node.next_functions)
            todo += [parent for parent, _ in node.next_functions]
    return arrows


@e2.wrong("the length of the longest path")
def _(t: Tensor) -> int:
    def depth(node: Any) -> int:
        if node is None:
            return 0
        return 1 + max((depth(parent) for parent, _ in node.next_functions), default=0)

    return depth(t.grad_fn)


@e2.wrong("does not count the node it starts from")
def _(t: Tensor) -> int:
    found: set[Any] = set()
    todo: list[Any] = [t.grad_fn] if t.grad_fn is not None else []
    while todo:
        for parent, _ in todo.pop().next_functions:
            if parent is not None and parent not in found:
                found.add(parent)
                todo.append(parent)
    return len(found)


# --- e3: a Hessian times a vector -------------------------------------------------------------

e3 = Exercise(
    id="p1.t4.e3",
    title="A Hessian times a vector",
    pure=True,
    hints=(
        "Hv is itself a gradient: of which number?",
        "The gradient g(x) is a function of x like any other, if torch keeps the notes of how it "
        "was computed. Take the inner product of g and v, with v fixed, and differentiate once "
        "more.",
        "`torch.autograd.grad(f(x), x, create_graph=True)` returns g with its graph. If f is "
        "linear, g does not depend on x: it has no graph, or x is unused in it; the answer is 0. "
        "`materialize_grads=True` deals with the second of these.",
    ),
)


@e3.answer
def hvp(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """The Hessian of f at x, times v, without the Hessian.

    f takes a tensor of x's shape and returns a single number; v has x's shape, and so has the
    result. For a tensor that is not a vector, think of its entries as written in one long row.
    f may be linear in some or all entries. The number of torch calls must not grow with the
    number of entries.
    """
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(f(x), x, create_graph=True)
    if not gradient.requires_grad:
        return torch.zeros_like(v)
    (product,) = torch.autograd.grad((gradient * v).sum(), x, materialize_grads=True)
    return product


def _named(name: str, fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    fn.__name__ = name
    return fn


def _quadratic(M: Tensor) -> Callable[[Tensor], Tensor]:
    return _named("x -> x @ M @ x, M not symmetric", lambda x: x @ M @ x)


FUNCTIONS = [
    _named("x -> (x ** 2).sum()", lambda x: (x**2).sum()),
    _named("x -> (x ** 4).sum()", lambda x: (x**4).sum()),
    _named("x -> x.exp().sum()", lambda x: x.exp().sum()),
    _named("x -> x.prod()", lambda x: x.prod()),
    _named("x -> x.sum() ** 3", lambda x: x.sum() ** 3),
    _named("x -> x.flatten().logsumexp(0)", lambda x: x.flatten().logsumexp(0)),
    _named("x -> (x * x.flip(0)).sum().sin()", lambda x: (x * x.flip(0)).sum().sin()),
]
LINEAR = [
    _named("x -> (3 * x).sum()", lambda x: (3 * x).sum()),
    _named("x -> x.flatten()[0] ** 3", lambda x: x.flatten()[0] ** 3),
]


@e3.cases
def functions_and_directions(rng: Rng) -> Iterator[Case]:
    for f in FUNCTIONS + LINEAR:
        yield Case(f, torch.tensor([0.5]).double(), torch.tensor([2.0]).double(), note="one entry")
        yield Case(f, rng.uniform_in(-1, 1, 3), rng.normal(3))
        yield Case(f, rng.uniform_in(-1, 1, 2, 3), rng.normal(2, 3), note="a table")
    for n in (2, 4):
        yield Case(_quadratic(rng.normal(n, n)), rng.normal(n), rng.normal(n))
    yield Case(FUNCTIONS[1], rng.normal(3), torch.zeros(3).double(), note="v = 0")
    yield Case(FUNCTIONS[1], torch.zeros(3).double(), rng.normal(3), note="x = 0")
    for scale in (1e-6, 1e6):
        yield Case(FUNCTIONS[1], rng.normal(3), scale * rng.normal(3), note=f"v about {scale:g}")


@e3.shape
def _(fn: Fn, f: Fn, x: Tensor, v: Tensor) -> None:
    has_shape(fn(f, x, v), x.shape, x.dtype)


@e3.property("u · Hv = v · Hu, since the Hessian is symmetric")
def _(fn: Fn, f: Fn, x: Tensor, v: Tensor) -> None:
    u = torch.arange(1.0, x.numel() + 1, dtype=x.dtype).reshape(x.shape)
    scale = 1 + float(v.abs().max())
    close((u * fn(f, x, v)).sum() / scale, (v * fn(f, x, u)).sum() / scale, 1e-8)


@e3.property("H(3v + u) = 3 Hv + Hu")
def _(fn: Fn, f: Fn, x: Tensor, v: Tensor) -> None:
    u = torch.arange(1.0, x.numel() + 1, dtype=x.dtype).reshape(x.shape)
    scale = 1 + float(v.abs().max())
    close(fn(f, x, 3 * v + u) / scale, (3 * fn(f, x, v) + fn(f, x, u)) / scale, 1e-8)


@e3.property("the Hessian itself is not built")
def _(fn: Fn, f: Fn, x: Tensor, v: Tensor) -> None:
    used = _torch_functions(lambda: fn(f, x, v)) & {"hessian", "jacrev", "jacfwd", "jacobian"}
    require(not used, f"your function calls {', '.join(used)}")


@e3.property("ten times as many entries take as many torch calls")
def _(fn: Fn, f: Fn, x: Tensor, v: Tensor) -> None:
    counts = []
    for copies in (1, 10):
        with _CountCalls() as counter:
            fn(FUNCTIONS[1], torch.cat([x] * copies), torch.cat([v] * copies))
            counts.append(counter.calls)
    require(counts[0] == counts[1], f"{counts[0]} calls became {counts[1]}")


@e3.value("the Hessian by torch.autograd.functional, multiplied out")
def _(fn: Fn, f: Fn, x: Tensor, v: Tensor) -> None:
    def flat(row: Tensor) -> Tensor:
        value: Tensor = f(row.reshape(x.shape))
        return value

    H = torch.autograd.functional.hessian(flat, x.flatten())
    close(fn(f, x, v).flatten(), H @ v.flatten(), 1e-9 * (1 + float(v.abs().max())))


@e3.wrong("multiplies the row sums of H, which is what backward of ones gives, by v")
def _(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(f(x), x, create_graph=True)
    if not gradient.requires_grad:
        return torch.zeros_like(v)
    (sums,) = torch.autograd.grad(gradient.sum(), x, materialize_grads=True)
    return sums * v


@e3.wrong("torch's Hessian, built whole and multiplied")
def _(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    H = torch.func.hessian(lambda row: f(row.reshape(x.shape)))(x.flatten())
    return cast("Tensor", H @ v.flatten()).reshape(x.shape)


@e3.wrong("the diagonal of the Hessian only")
def _(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    H = torch.autograd.functional.hessian(lambda row: f(row.reshape(x.shape)), x.flatten())
    return cast("Tensor", H.diagonal() * v.flatten()).reshape(x.shape)


@e3.wrong("a difference of two gradients, exact for quadratics only")
def _(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    gradients: list[Tensor] = []
    for point in (x + v, x):
        point = point.detach().clone().requires_grad_()
        gradients += torch.autograd.grad(f(point), point)
    return gradients[0] - gradients[1]


@e3.wrong("a difference of two gradients with a small step: a few digits only")
def _(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    gradients: list[Tensor] = []
    for point in (x + 1e-6 * v, x):
        point = point.detach().clone().requires_grad_()
        gradients += torch.autograd.grad(f(point), point)
    return (gradients[0] - gradients[1]) / 1e-6


@e3.wrong("gradient times v, a first derivative")
def _(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(f(x), x)
    return gradient * v


@e3.wrong("forgets that a linear function's gradient has no graph")
def _(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(f(x), x, create_graph=True)
    (product,) = torch.autograd.grad(gradient, x, v)
    return product


@e3.wrong("right, but one row of the Hessian after the other")
def _(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(f(x), x, create_graph=True)
    if not gradient.requires_grad:
        return torch.zeros_like(v)
    rows = [
        torch.autograd.grad(entry, x, retain_graph=True, materialize_grads=True)[0]
        for entry in gradient.flatten()
    ]
    return torch.stack([(row * v).sum() for row in rows]).reshape(x.shape)


# --- e4: a function of one's own --------------------------------------------------------------

e4 = Exercise(
    id="p1.t4.e4",
    title="log det, with a backward of its own",
    hints=(
        "For one number, log det K is log K. What does backward return there, and which part of it "
        "comes from upstream?",
        "A small symmetric change dK changes log det K by the sum of all entries of K⁻¹ * dK. As "
        "for the value: the determinant of a triangular matrix is the product of its diagonal, and "
        "a product overflows where a sum of logarithms does not.",
        "Save K itself, and compute its inverse in backward: torch then takes notes of how the "
        "inverse depends on K, and a second derivative finds them. Upstream holds one number for "
        "each matrix; it needs two more axes on the right before it meets K⁻¹.",
    ),
)


@e4.answer
class LogDet(torch.autograd.Function):
    """The logarithm of the determinant of symmetric positive definite matrices.

    `LogDet.apply(K)` takes K of shape `... n n` and returns shape `...`. It has to stay finite
    where the determinant itself is too large or too small for float64. Write `backward` by hand,
    so that second derivatives come out right as well.
    """

    @staticmethod
    def forward(ctx: Any, K: Tensor) -> Tensor:
        """Save what backward needs, and return log det K."""
        ctx.save_for_backward(K)
        diagonal: Tensor = torch.linalg.cholesky(K).diagonal(dim1=-2, dim2=-1)
        return 2 * diagonal.log().sum(-1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        """Upstream, of shape `...`, times the derivative in each entry of K."""
        (K,) = ctx.saved_tensors
        inverse: Tensor = torch.linalg.inv(K)
        return upstream[..., None, None] * inverse


def _spd(rng: Rng, *shape: int) -> Tensor:
    A = rng.normal(*shape, shape[-1])
    return A @ A.mT / shape[-1] + 0.5 * torch.eye(shape[-1], dtype=torch.float64)


@e4.cases
def positive_definite(rng: Rng) -> Iterator[Case]:
    yield Case(torch.tensor([[2.0]]).double(), note="n = 1")
    yield Case(torch.eye(2).double(), note="the identity")
    yield Case(torch.tensor([[2.0, 1.0], [1.0, 2.0]]).double())
    for shape in ((3, 1), (1, 2), (2, 2), (3, 3), (2, 3), (2, 1, 2), (3, 3, 3)):
        yield Case(_spd(rng, *shape), note=f"a batch of shape {shape[:-1]}")
    for scale in (1e-6, 1e6):
        yield Case(scale * _spd(rng, 3), note=f"scale {scale:g}")
        yield Case(scale * _spd(rng, 80), note=f"80 rows of scale {scale:g}")
    sizes = torch.tensor([1.0, 1e-8, 1e8], dtype=torch.float64)
    yield Case(sizes.diag(), note="entries of very different size")
    both = torch.stack([1e-6 * _spd(rng, 2), 1e6 * _spd(rng, 2)])
    yield Case(both, note="a small and a large one")
    for n in (2, 3, 4):
        yield Case(_spd(rng, n))
        yield Case(_spd(rng, 2, n))
        yield Case(_spd(rng, n, n), note=f"{n} matrices of {n} rows")


def _symmetric(fn: Fn) -> Fn:
    """Entries are nudged one by one; this keeps the matrix symmetric meanwhile."""
    return lambda A: fn.apply(0.5 * (A + A.mT))  # type: ignore[attr-defined]


def _plain(K: Tensor) -> bool:
    return K.shape[-1] < 10 and 0.01 < float(K.abs().max()) < 100


@e4.shape
def _(fn: Fn, K: Tensor) -> None:
    require(issubclass(fn, torch.autograd.Function), "not a torch.autograd.Function")  # type: ignore[arg-type]
    has_shape(fn.apply(K.clone()), K.shape[:-2], K.dtype)  # type: ignore[attr-defined]


@e4.property("log det of 4 K is n log 4 + log det K")
def _(fn: Fn, K: Tensor) -> None:
    shift = K.shape[-1] * torch.log(torch.tensor(4.0, dtype=K.dtype))
    close(fn.apply(4 * K), shift + fn.apply(K.clone()), 1e-9)  # type: ignore[attr-defined]


@e4.property("backward agrees with small changes of K (torch.autograd.gradcheck)")
def _(fn: Fn, K: Tensor) -> None:
    if _plain(K):
        A = K.clone().requires_grad_()
        require(gradcheck(_symmetric(fn), A, raise_exception=False), "it does not")


@e4.property("second derivatives are right (torch.autograd.gradgradcheck)")
def _(fn: Fn, K: Tensor) -> None:
    if _plain(K) and K.numel() <= 12:
        A = K.clone().requires_grad_()
        require(gradgradcheck(_symmetric(fn), A, raise_exception=False), "they are not")


@e4.value("the eigenvalues: the sum of their logarithms, and upstream times the inverse")
def _(fn: Fn, K: Tensor) -> None:
    values, vectors = torch.linalg.eigh(K)
    close(fn.apply(K.clone()), values.log().sum(-1), 1e-11 * K.shape[-1])  # type: ignore[attr-defined]
    A = K.clone().requires_grad_()
    upstream = torch.arange(1.0, 1 + K[..., 0, 0].numel(), dtype=K.dtype).reshape(K.shape[:-2])
    (gradient,) = torch.autograd.grad(_symmetric(fn)(A), A, upstream)
    inverse = (vectors / values.unsqueeze(-2)) @ vectors.mT
    expected = upstream[..., None, None] * inverse
    size = expected.abs().amax((-2, -1), keepdim=True)  # of each matrix, not of all of them
    close(gradient / size, expected / size, 1e-8)


@e4.wrong("takes the logarithm of the determinant, which overflows")
class _OfDet(LogDet):
    @staticmethod
    def forward(ctx: Any, K: Tensor) -> Any:
        ctx.save_for_backward(K)
        return torch.linalg.det(K).log()


@e4.wrong("forgets that det K is the square of the Cholesky factor's determinant")
class _Half(LogDet):
    @staticmethod
    def forward(ctx: Any, K: Tensor) -> Any:
        ctx.save_for_backward(K)
        return torch.linalg.cholesky(K).diagonal(dim1=-2, dim2=-1).log().sum(-1)


@e4.wrong("adds a little to the diagonal, as one does before a Cholesky factorisation")
class _Jitter(LogDet):
    @staticmethod
    def forward(ctx: Any, K: Tensor) -> Any:
        ctx.save_for_backward(K)
        little = 1e-10 * K.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        factor = torch.linalg.cholesky(K + little * torch.eye(K.shape[-1], dtype=K.dtype))
        return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


@e4.wrong("adds up what comes from upstream over the batch")
class _SumsUpstream(LogDet):
    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (K,) = ctx.saved_tensors
        return upstream.sum() * torch.linalg.inv(K)


@e4.wrong("cuts K off before inverting it: no second derivative")
class _Detached(LogDet):
    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (K,) = ctx.saved_tensors
        return upstream[..., None, None] * torch.linalg.inv(K.detach())


@e4.wrong("forgets what comes from upstream")
class _NoUpstream(LogDet):
    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (K,) = ctx.saved_tensors
        return torch.linalg.inv(K)


@e4.wrong("multiplies upstream into the columns, right for a single matrix only")
class _Broadcast(LogDet):
    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (K,) = ctx.saved_tensors
        return (upstream * torch.linalg.inv(K)).expand(K.shape)


@e4.wrong("saves the inverse, so that a second derivative takes it for a constant")
class _SavesInverse(LogDet):
    @staticmethod
    def forward(ctx: Any, K: Tensor) -> Any:
        ctx.save_for_backward(torch.linalg.inv(K))
        return 2 * torch.linalg.cholesky(K).diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (inverse,) = ctx.saved_tensors
        return upstream[..., None, None] * inverse


@e4.wrong("counts the entries off the diagonal twice: they move together, but both are summed")
class _Twice(LogDet):
    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (K,) = ctx.saved_tensors
        inverse = torch.linalg.inv(K)
        doubled = 2 * inverse - torch.diag_embed(inverse.diagonal(dim1=-2, dim2=-1))
        return upstream[..., None, None] * doubled
