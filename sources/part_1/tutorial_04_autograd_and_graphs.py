# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Part 1, tutorial 4: autograd and graphs
#
# **If you had to write autograd this afternoon, what would be in the sixty lines?**
#
# > **Before you start:** tutorials 1 to 3; the chain rule.
# >
# > **Time:** an hour of reading with its predictions, and an hour for the exercises. The end of
# > section 6 is a good place to stop.
# >
# > **You will be able to**
# > - write the machine behind `backward` for numbers, and say why it needs an order;
# > - read the graph that torch builds, and tell its nodes from tensors;
# > - predict which calls throw a graph's numbers away, and which changes break it;
# > - multiply a Hessian by a vector without ever forming it;
# > - give torch a function with a derivative of your own, and test it.
# >
# > **You will build** `adjoints`, `graph_nodes`, `hvp` and `LogDet`.

# %%
import math
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from bolearn import plotting, teach

teach.setup("p1.t4")

# %% [markdown]
# ## 1. Small slopes
#
# Tutorial 3 asked torch for gradients and got them, exact to the last digits. Here is a
# calculation small enough to do the same by hand:
#
# $$u = x y, \qquad v = u + x, \qquad z = v u, \qquad\text{at } x = 3,\ y = 2 .$$
#
# Each step has **local derivatives**, or slopes, in what it was computed from: a product's are the
# two factors, swapped; a sum's are 1 and 1.

# %%
def calculation(x, y):
    u = x * y
    v = u + x
    return u, v, v * u


x, y = 3.0, 2.0
u, v, z = calculation(x, y)
print(f"u = {u:.0f}, v = {v:.0f}, z = {z:.0f}")
print(f"local slopes of z: {u:.0f} in v, {v:.0f} in u")
teach.predict("p1.t4.q1", "When u alone is nudged, z = v u moves how many times as far?",
              [9, 15, 54], guess=None)

# %%
through_product = v
through_v = u * 1.0  # slope of z in v, times slope of v in u
du = through_product + through_v
dx, dy = du * y + u * 1.0, du * x  # x feeds u and v; y feeds u only
h = 1e-4
by_difference = [
    (calculation(x + h, y)[-1] - calculation(x - h, y)[-1]) / (2 * h),
    (calculation(x, y + h)[-1] - calculation(x, y - h)[-1]) / (2 * h),
]
print(f"dz/du = {du:.0f}, dz/dx = {dx:.0f}, dz/dy = {dy:.0f}")
teach.claim("multiplied along paths and added over paths, local slopes give the gradient",
            error=[abs(dx - by_difference[0]), abs(dy - by_difference[1])], tolerance=1e-6)
teach.reveal("p1.t4.q1", int(du), because="u reaches z by two paths: 9 directly, 6 through v")

# %% [markdown]
# That is the chain rule, read as a rule about paths: **multiply along a path, add up over paths.**
# The derivative of the output in a quantity is that quantity's **adjoint**. We worked from the
# output back to the inputs, so each adjoint was used as soon as it was known.
#
# ## 2. A number that remembers
#
# A machine can do this if every number remembers its **parents**, what it was computed from, and
# its local slopes. The calculation thereby leaves behind a **graph**.

# %%
class Var:
    """A number that remembers what it was computed from."""

    made = 0

    def __init__(self, value, parents=(), slopes=()):
        self.value, self.parents, self.slopes = value, parents, slopes
        self.adjoint = 0.0
        Var.made += 1
        self.number = Var.made  # a serial number

    def __add__(self, other):
        return Var(self.value + other.value, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return Var(self.value * other.value, (self, other), (other.value, self.value))

    def exp(self):
        return Var(math.exp(self.value), (self,), (math.exp(self.value),))

    def log(self):
        return Var(math.log(self.value), (self,), (1 / self.value,))

    def sin(self):
        return Var(math.sin(self.value), (self,), (math.cos(self.value),))

# %% [markdown]
# The rule of section 1, word for word: hand an amount to a node; it adds it to its adjoint, and
# hands amount times slope to each parent.

# %%
def push(node, amount):
    """Walk along every path; return the number of calls."""
    node.adjoint += amount
    calls = 1
    for parent, slope in zip(node.parents, node.slopes, strict=True):
        calls += push(parent, amount * slope)
    return calls


x, y = Var(3.0), Var(2.0)
u, v, z = calculation(x, y)
print("calls:", push(z, 1.0), "  adjoints:", [node.adjoint for node in (x, y, u, v, z)])
teach.claim("walking along every path gives the adjoints found by hand",
            [node.adjoint for node in (x, y, u)] == [dx, dy, du])

# %% [markdown]
# ## 3. Too many paths
#
# The adjoints are right. What do they cost? Start from $x$ and double twenty times.

# %%
teach.predict("p1.t4.q2", "y = x, then 20 times y = y + y: how many calls does push make?",
              [21, 41, 2_097_151], guess=None)

# %%
def doubled(x, times):
    y = x
    for _ in range(times):
        y = y + y
    return y


calls = {}
for n in (0, 1, 2, 3, 10, 20):
    x = Var(1.0)
    calls[n] = push(doubled(x, n), 1.0)
    print(f"{n:2} doublings: {calls[n]:9,} calls, dy/dx = {x.adjoint:,.0f}")
teach.reveal("p1.t4.q2", calls[20], because="every level is reached twice as often as the last")
teach.claim("n doublings cost 2ⁿ⁺¹ - 1 calls",
            all(count == 2 ** (n + 1) - 1 for n, count in calls.items()))

# %% [markdown]
# `push` passes on each amount alone, although many amounts meet in the same node.
#
# ## 4. One pass, in the right order
#
# A node should wait until *everything* it feeds has paid in, then pass on its whole adjoint,
# **once**. Which order guarantees that? A parent is always made before its children. So: youngest
# first. Such an order, in which no node precedes one that it feeds, is called **topological** (for
# arrows that lead back to the parents).

# %%
def sweep(output, seed=1.0, steps=None):
    """Fill in the adjoints of all that the output depends on; return these nodes, in order."""
    nodes, todo = {output}, [output]
    while todo:
        for parent in todo.pop().parents:
            if parent not in nodes:
                nodes.add(parent)
                todo.append(parent)
    order = sorted(nodes, key=lambda node: node.number, reverse=True)
    for node in order:
        node.adjoint = 0.0
    output.adjoint = seed
    for node in order[:steps]:
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.adjoint += slope * node.adjoint
    return order


visited = {}
for n in (0, 1, 2, 3, 10, 20):
    x = Var(1.0)
    visited[n] = len(sweep(doubled(x, n))), x.adjoint
teach.claim("n doublings: the sweep visits n + 1 nodes, and finds dy/dx = 2ⁿ",
            all(found == (n + 1, 2**n) for n, found in visited.items()))

# %% [markdown]
# Class and sweep together are **reverse mode** differentiation, in about fifty lines. Watch it on
# the first example. A node is white before anything arrives, grey while it waits, and black once
# it has passed its adjoint on.

# %%
x, y = Var(3.0), Var(2.0)
u, v, z = calculation(x, y)
nodes = {"x": x, "y": y, "u": u, "v": v, "z": z}
names = {node: name for name, node in nodes.items()}
formulas = {"u": "x · y", "v": "u + x", "z": "v · u"}
state = {
    "nodes": [{"name": name, "formula": formulas.get(name, ""), "value": node.value}
              for name, node in nodes.items()],
    "edges": [{"from": names[parent], "to": name, "slope": slope} for name, node in nodes.items()
              for parent, slope in zip(node.parents, node.slopes, strict=True)],
}

# %%
titles = ["the values, and a 1 for z", "z has passed on", "v has passed on: u is complete",
          "u has passed on: x, y are complete"]
stages = []
for steps, title in enumerate(titles):
    order = sweep(z, steps=steps)
    adjoints = {name: node.adjoint for name, node in nodes.items()}
    stages.append((title, adjoints, [names[node] for node in order[:steps]]))
places = {"x": (0, 1), "y": (0, -1), "u": (1, -0.6), "v": (2, 1), "z": (3, -0.6)}
figure = plotting.adjoint_sweep(places, {name: node.value for name, node in nodes.items()},
                                [(edge["from"], edge["to"]) for edge in state["edges"]], stages)
teach.explorable(
    "graph_stepper", state, still=figure,
    alt="Four copies of the graph of x, y, u, v and z with values; adjoints in square brackets "
    "spread from z to v and u, then to x, and at last to x and y.",
)

# %% [markdown]
# In the second picture u holds 9 of its 15 and waits; the arrow from u to v says why. (The page
# below the pictures takes one step at a time, forwards and back.)
#
# Does the machine agree with torch beyond this example? Random expressions in which every step may
# use any earlier result, computed twice: with `Var`, and with tensors.

# %%
def random_expression(rng, leaves, one, steps=10):
    known = list(leaves)
    for _ in range(steps):
        a, b = rng.choice(known), rng.choice(known)
        kind = rng.randrange(4)
        if kind == 0:
            known.append(a + b)
        elif kind == 1:
            known.append(a.sin() * b)
        elif kind == 2:
            known.append((a.sin() * b.sin()).exp())
        else:
            known.append((a * a + one).log())
    return known[-1]

# %%
worst = 0.0
for trial in range(200):
    rng = random.Random(trial)
    values = [rng.uniform(-1, 1) for _ in range(3)]
    ours = [Var(value) for value in values]
    theirs = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values]
    sweep(random_expression(random.Random(trial), ours, Var(1.0)))
    result = random_expression(random.Random(trial), theirs, torch.ones(()).double())
    gradients = torch.autograd.grad(result, theirs, materialize_grads=True)
    worst = max(worst, *(abs(float(g) - a.adjoint) for g, a in zip(gradients, ours, strict=True)))
teach.claim("our machine and torch agree on 200 random expressions", error=worst, tolerance=1e-10)

# %% [markdown]
# (`torch.autograd.grad` returns gradients instead of putting them into `.grad`; with
# `materialize_grads` an input that is not used gets a 0.)
#
# **Exercise 1.** Serial numbers made it easy. Here somebody has shuffled them: find the order
# yourself.

# %%
# exercise: p1.t4.e1

# %% [markdown]
# ## 5. The graph that torch builds
#
# torch does as `Var` does. A tensor's `grad_fn` is the node of the operation that made it; the
# node's `next_functions` are its parents.

# %%
teach.predict("p1.t4.q3", "x is a leaf that requires gradients. What is x.grad_fn?",
              ["a node", "x itself", "None"], guess=None)

# %%
x = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
y = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
u = x * y
v = u + x
w = v.sin()
z = w * u
out = z.exp()
print("x.grad_fn:", x.grad_fn)
print("u.grad_fn:", u.grad_fn.name(), "with parents",
      [parent.name() for parent, _ in u.grad_fn.next_functions])
teach.reveal("p1.t4.q3", str(x.grad_fn), because="no operation made it")

# %% [markdown]
# So tensors are *not* the nodes; operations are. A leaf that requires gradients has no operation,
# but where it is used the graph ends in an `AccumulateGrad` node: the one that adds to its
# `.grad`.

# %%
to_x, to_y = (parent for parent, _ in u.grad_fn.next_functions)
boxes = {out.grad_fn: ("Exp", 0, 0), z.grad_fn: ("Mul", 1.2, 0), w.grad_fn: ("Sin", 2.4, 1),
         v.grad_fn: ("Add", 3.6, 1), u.grad_fn: ("Mul#u", 4.8, 0),
         to_x: ("AccumulateGrad", 6.3, 1), to_y: ("AccumulateGrad#y", 6.3, -1)}
made = ["out", "z", "w", "v", "u", "adds to\nx.grad", "adds to\ny.grad"]
named = {node: name for node, (name, _, _) in boxes.items()}
arrows = [(named[node], named[parent]) for node in boxes for parent, _ in node.next_functions]
figure = plotting.operation_graph(
    {name: (x, y) for name, x, y in boxes.values()}, arrows,
    dict(zip(named.values(), made, strict=True)), ends=[named[to_x], named[to_y]],
)
teach.show(figure, "Seven boxes, Exp, Mul, Sin, Add, Mul and two AccumulateGrad, joined by arrows "
           "from the output back to x and y; below each box, the tensor that its operation made.")

# %% [markdown]
# The arrows run the way `backward` does. Nothing in the picture is a tensor, so the tensors in
# between may go:

# %%
teach.claim("the arrows of the drawing are all the arrows, and every box is reached",
            {parent for node in boxes for parent, _ in node.next_functions} | {out.grad_fn}
            == set(boxes))
expected = torch.autograd.grad(out, [x, y], retain_graph=True)
del u, v, w, z
teach.claim("with the tensors in between deleted, backward finds the same gradient",
            torch.autograd.grad(out, [x, y]) == expected)

# %% [markdown]
# **Exercise 2.** How large is such a graph?

# %%
# exercise: p1.t4.e2

# %% [markdown]
# ## 6. How long a graph lives
#
# Tutorial 3 computed the loss again before its second `backward`. What if we do not?

# %%
teach.predict("p1.t4.q4", "y = x.exp(). What does y.backward() do the second time?",
              ["adds to x.grad again", "overwrites x.grad", "an error"], guess=None)

# %%
def complaint(action):
    try:
        action()
    except RuntimeError as error:
        return str(error)
    return ""


x = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
y = x.exp()
y.backward()
second = complaint(y.backward)
print(second.split(".")[0])
teach.claim("a second backward through exp is refused", "second time" in second, kind="run")
teach.reveal("p1.t4.q4", "an error" if second else "adds to x.grad again",
             because="the first pass has thrown away the numbers it needed")

# %% [markdown]
# `backward` needs numbers from the way forward; for exp, the result. They are most of what a graph
# costs in memory, so a node drops them as soon as it has been used. `retain_graph=True` keeps them.

# %%
x.grad = None
y = x.exp()
y.backward(retain_graph=True)
once = x.grad.clone()
y.backward()
teach.claim("with retain_graph a second backward doubles .grad", torch.equal(x.grad, 2 * once),
            kind="run")
total = x + x
total.backward()
teach.claim("a sum saves no numbers: backward works twice without retain_graph",
            not complaint(total.backward), kind="run")

# %% [markdown]
# What is saved must not change in between.

# %%
teach.predict(
    "p1.t4.q5", "y = x.exp() or y = x.sin(), then y += 1. Whose backward complains?",
    ["both", "exp only", "sin only", "neither"], guess=None,
)

# %%
complains = {}
for name, f in {"exp": torch.exp, "sin": torch.sin}.items():
    y = f(x)
    before = y._version
    y += 1
    complains[name] = "modified by an inplace operation" in complaint(y.backward)
    print(f"{name}: version {before} -> {y._version}, "
          f"{'refused' if complains[name] else 'backward works'}")
teach.claim("after y += 1 the backward of exp is refused, that of sin is not",
            complains == {"exp": True, "sin": False}, kind="run")
teach.reveal("p1.t4.q5", "exp only", because="exp's slope is its result y; sin's slope is cos x")

# %% [markdown]
# A tensor counts the writes that torch makes through it or its views. A node notes the count of
# what it saved and compares it on the way back. Two ways lead out of a graph, `detach` and `.data`;
# only one of them is guarded.

# %%
y = x.exp()
cut = y.detach()  # no notes, but the same storage: a view, not a copy
cut += 1
teach.claim("detach does not copy: writing to it is refused by the backward of y",
            "inplace" in complaint(y.backward), kind="run")
x.grad = None
y = x.exp()
right = y.item()
y.data += 1  # the same storage, and the count does not notice
y.backward()
teach.claim("a write through .data goes unnoticed: the gradient is wrong by exactly that 1",
            error=abs(x.grad.item() - (right + 1)), tolerance=1e-12)

# %% [markdown]
# So take `detach()`, not `.data`.
#
# ## 7. A graph for each call
#
# No graph exists before the calculation has run. So `if` and `while` need no special treatment:
# only what happened is recorded.

# %%
def power_above_ten(x):
    y = x
    while y < 10:
        y = y * x
    return y


def count_nodes(t):
    """Level by level from t's node."""
    known = level = {t.grad_fn}
    while level:
        parents = {parent for node in level for parent, _ in node.next_functions}
        level = parents - known - {None}
        known = known | level
    return len(known)


x = torch.tensor([1.5, 2.5, 4.0], dtype=torch.float64).requires_grad_()
powers = torch.tensor([6, 3, 2])  # 1.5⁶, 2.5³ and 4² are the first above 10
results = [power_above_ten(entry) for entry in x.unbind()]
print("nodes:", [count_nodes(result) for result in results])  # the rounds, unbind, x's own node
sum(results).backward()
teach.claim("a loop with 5, 2 or 1 rounds is differentiated as x⁶, x³ or x²",
            error=(x.grad / (powers * x.detach() ** (powers - 1)) - 1).abs(), tolerance=1e-12)

# %% [markdown]
# Mind what this derivative does not see: that a slightly larger $x$ might leave the loop earlier.
# At such an $x$ the function jumps, and the answer is that of one side.
#
# ## 8. Derivatives of derivatives
#
# Our `Var` stored slopes as bare numbers. torch computes them with tensor operations, and with
# `create_graph=True` it takes notes of these as well: the gradient has a graph of its own, and can
# be differentiated again. With $s = \sigma(x)$ and $s' = s - s^2$, the first four derivatives of
# $s^2$ are short enough to find by hand.

# %%
x = torch.linspace(-3, 3, 13, dtype=torch.float64).requires_grad_()
s = torch.sigmoid(x)
by_hand = [
    2 * s**2 - 2 * s**3,
    4 * s**2 - 10 * s**3 + 6 * s**4,
    8 * s**2 - 38 * s**3 + 54 * s**4 - 24 * s**5,
    16 * s**2 - 130 * s**3 + 330 * s**4 - 336 * s**5 + 120 * s**6,
]
derivative, errors = s**2, []
for formula in by_hand:
    (derivative,) = torch.autograd.grad(derivative.sum(), x, create_graph=True)
    errors.append((derivative - formula).detach().abs().max())
teach.claim("differentiating four times gives the four formulas", error=torch.stack(errors),
            tolerance=1e-12)
teach.predict("p1.t4.q6", "The graph of s² has 3 nodes. How many has its seventh derivative's?",
              [24, 100, 1518], guess=None)

# %%
x = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
derivative = torch.sigmoid(x) ** 2
counts = [count_nodes(derivative)]
for _ in range(7):
    (derivative,) = torch.autograd.grad(derivative, x, create_graph=True)
    counts.append(count_nodes(derivative))
print(counts)
orders = torch.arange(8.0)
teach.show(
    plotting.curves(orders, {"s²": torch.tensor(counts).double(), "3 · 2.5ⁿ": 3 * 2.5**orders},
                    xlabel="order n of the derivative", ylabel="nodes in its graph", log="y"),
    "The number of nodes against the order of the derivative, on a logarithmic axis: nearly a "
    "straight line from 3 to about 1500, close to 3 times 2.5 to the order.",
)
teach.reveal("p1.t4.q6", counts[7], because="each order records the work of the order before it")
teach.claim("each derivative's graph has at least twice as many nodes as the one before",
            all(2 * a <= b for a, b in pairwise(counts)), kind="run")

# %% [markdown]
# Higher orders are not free. Methods that need many of them carry Taylor coefficients forward
# instead. But *two* orders are cheap, and they are what optimisation wants. The Hessian $H$ of
# $d$ inputs has $d^2$ entries, but rarely is it wanted itself: often a product $Hv$ will do, and
# that is again a gradient. For a fixed $v$,
#
# $$H v = \nabla \left( \nabla f(x) \cdot v \right) .$$
#
# **Exercise 3.** Turn this line into a function.

# %%
# exercise: p1.t4.e3

# %% [markdown]
# What does it cost? We count elementary tensor operations, forwards and backwards, for the quartic
# $f(x) = \frac14 \sum_i (a_i \cdot x)^4$, with the $a_i$ the rows of a matrix $A$. Its Hessian is
# $3 A^\top D A$, where the diagonal matrix $D$ holds $(a_i \cdot x)^2$. While a `TorchDispatchMode`
# is active, torch hands every elementary operation to its `__torch_dispatch__`, those of `backward`
# too; ours counts it and lets it run.

# %%
class CountOperations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def gradient_and_product(A, x, v):
    """The gradient, Hv, and the number of operations for the first and for both."""
    with CountOperations() as counter:
        f = 0.25 * (A @ x).square().square().sum()
        (gradient,) = torch.autograd.grad(f, x, create_graph=True)
        first = counter.count
        (product,) = torch.autograd.grad(gradient @ v, x)
    return gradient.detach(), product, first, counter.count

# %%
teach.predict(
    "p1.t4.q7", "200 inputs: gradient and Hv need how many times the operations of the gradient?",
    ["less than 6", "about 200", "about 40,000"], guess=None,
)

# %%
g = torch.Generator().manual_seed(0)
errors, costs = [], set()
for d in (2, 5, 20, 200):
    A = torch.randn(2 * d, d, generator=g, dtype=torch.float64) / d**0.5
    x = torch.randn(d, generator=g, dtype=torch.float64).requires_grad_()
    v = torch.randn(d, generator=g, dtype=torch.float64)
    _, product, first, both = gradient_and_product(A, x, v)
    H = 3 * A.T @ ((A @ x).square().unsqueeze(-1) * A)
    errors.append((product - H @ v).detach().abs().max())
    costs.add((first, both))
    print(f"{d:3} inputs: {first} operations for the gradient, {both} with H v")
teach.claim("differentiating twice gives H v for random quartics of 2 to 200 inputs",
            error=torch.stack(errors), tolerance=1e-10)
teach.claim("the number of operations is the same for 2, 5, 20 and 200 inputs", len(costs) == 1,
            kind="run")
teach.claim("gradient and H v together take at most 6 times the operations of the gradient",
            both <= 6 * first, kind="run")
teach.reveal("p1.t4.q7", "less than 6" if both < 6 * first else "about 200",
             because="H v is one more sweep, through a longer graph")

# %% [markdown]
# ## 9. A derivative of your own
#
# Sometimes you know a better way back than the one torch would record. Part 3 will need
# $q = y^\top K^{-1} y$, with $K$ the kernel matrix of tutorial 1 and $y$ the measurements. Write
# $\alpha = K^{-1} y$. From $K K^{-1} = I$ follows $d(K^{-1}) = -K^{-1}\, dK\, K^{-1}$ for a small
# change $dK$, and so
#
# $$dq = -\alpha^\top dK\, \alpha, \qquad\text{that is,}\qquad
# \frac{\partial q}{\partial K_{ij}} = -\alpha_i \alpha_j .$$
#
# A `torch.autograd.Function` is one node: `forward` computes, and saves in `ctx` what `backward`
# needs; `backward` turns the adjoint of the output, **upstream**, into those of the inputs.

# %%
class QuadraticForm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, K, y):
        ctx.save_for_backward(K, y)
        return y @ torch.linalg.solve(K, y)

    @staticmethod
    def backward(ctx, upstream):
        K, y = ctx.saved_tensors
        alpha = torch.linalg.solve(K, y)
        return -upstream * alpha.outer(alpha), 2 * upstream * alpha

# %%
B = torch.randn(4, 4, generator=g, dtype=torch.float64)
K = (B @ B.T / 4 + torch.eye(4)).requires_grad_()
y = torch.randn(4, generator=g, dtype=torch.float64).requires_grad_()
alpha = torch.linalg.solve(K, y).detach()


def by_cholesky(K, y):  # with K = L Lᵀ, q is the squared length of L⁻¹ y
    z = torch.linalg.solve_triangular(torch.linalg.cholesky(K), y[:, None], upper=False)
    return z.square().sum()


routes = {
    "our node": QuadraticForm.apply(K, y),
    "torch, via solve": y @ torch.linalg.solve(K, y),
    "torch, via Cholesky": by_cholesky(K, y),
}
for name, q in routes.items():
    (slope,) = torch.autograd.grad(q, K)
    teach.claim(f"{name}: the derivative of q in K is -ααᵀ",
                error=(slope + alpha.outer(alpha)).abs(), tolerance=1e-9)

# %% [markdown]
# A word on conventions. $K$ is symmetric: $K_{12}$ never moves without $K_{21}$, and moving both by
# $h$ changes $q$ by the *sum* of two entries times $h$.

# %%
def moved(h):
    pair = torch.zeros(4, 4, dtype=torch.float64)
    pair[0, 1] = pair[1, 0] = h
    return QuadraticForm.apply(K + pair, y).detach()


rate = (moved(1e-5) - moved(-1e-5)) / 2e-5
teach.claim("moving K₁₂ and K₂₁ together changes q at the rate -2 α₁α₂",
            error=(rate + 2 * alpha[0] * alpha[1]).abs(), tolerance=1e-6)

# %% [markdown]
# `gradcheck` compares a `backward` with central differences, entry by entry. So that $K$ stays
# symmetric meanwhile, we let it nudge a matrix $M$ and pass on $\frac12 (M + M^\top)$.
#
# It looks thrifty to save $\alpha$ itself. Let us try that too.

# %%
class Thrifty(QuadraticForm):
    @staticmethod
    def forward(ctx, K, y):
        alpha = torch.linalg.solve(K, y)
        ctx.save_for_backward(alpha)  # neither an input nor the output
        return y @ alpha

    @staticmethod
    def backward(ctx, upstream):
        (alpha,) = ctx.saved_tensors
        return -upstream * alpha.outer(alpha), 2 * upstream * alpha


teach.predict(
    "p1.t4.q8", "gradgradcheck tests second derivatives. What does Thrifty pass?",
    ["both checks", "gradcheck only", "neither"], guess=None,
)

# %%
passed = {}
for node in (QuadraticForm, Thrifty):
    def symmetric(M, y, node=node):
        return node.apply(0.5 * (M + M.T), y)

    passed[node.__name__] = (gradcheck(symmetric, (K, y), raise_exception=False),
                             gradgradcheck(symmetric, (K, y), raise_exception=False))
print(passed)
teach.claim("our node passes gradcheck and gradgradcheck", passed["QuadraticForm"] == (True, True),
            kind="run")
teach.claim("with α saved, first derivatives are right and second ones wrong", kind="run",
            condition=passed["Thrifty"] == (True, False))
teach.reveal("p1.t4.q8", "gradcheck only", because="a saved α no longer depends on K")

# %% [markdown]
# A second derivative takes the saved $\alpha$ for a constant. Save inputs (or outputs) and compute
# the rest in `backward`, where notes are taken.
#
# **Exercise 4.** The other half of Part 3's formula: the logarithm of a determinant.

# %%
# exercise: p1.t4.e4

# %% [markdown]
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. In which order does a sweep visit the nodes, and what goes wrong, in cost or in value, if a
#    node passes its adjoint on too early?
# 2. Someone reports "trying to backward a second time". Which two remedies are there, and when is
#    each the right one?
# 3. You wrote a `Function`; `gradcheck` passes and Newton's method, which uses second derivatives,
#    goes astray. What do you look at first?
#
# **So, what would be in the sixty lines?** Numbers that remember their parents and local slopes;
# an order in which each waits for all it feeds; one addition and one multiplication for each
# arrow. torch does the same for tensors, where a slope becomes a matrix, too large to store. Next:
# tutorial 5, why `backward` multiplies by a vector.
#
# ## Sources
#
# - A. Griewank, A. Walther, *Evaluating Derivatives*, 2nd edition, SIAM 2008,
#   [doi:10.1137/1.9780898717761](https://doi.org/10.1137/1.9780898717761): reverse mode, its cost,
#   and Taylor coefficients for higher orders.
# - A. G. Baydin, B. A. Pearlmutter, A. A. Radul, J. M. Siskind, "Automatic differentiation in
#   machine learning: a survey", *Journal of Machine Learning Research* 18 (2018),
#   [arXiv:1502.05767](https://arxiv.org/abs/1502.05767).
# - B. A. Pearlmutter, "Fast exact multiplication by the Hessian", *Neural Computation* 6 (1994),
#   [doi:10.1162/neco.1994.6.1.147](https://doi.org/10.1162/neco.1994.6.1.147).
# - PyTorch documentation:
#   [autograd mechanics](https://docs.pytorch.org/docs/stable/notes/autograd.html),
#   [extending autograd](https://docs.pytorch.org/docs/stable/notes/extending.html),
#   [double backward](https://docs.pytorch.org/tutorials/intermediate/custom_function_double_backward_tutorial.html).
