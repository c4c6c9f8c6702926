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
# # Part 1, tutorial 5: tensor gradients and the vector-Jacobian product
#
# **Why does `backward` demand a vector, and what does that vector buy you?**
#
# > **Before you start:** tutorials 1 to 4; partial derivatives; the rank of a matrix.
# >
# > **Time:** 50 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - say what `backward(v)` returns for an output with many entries, and choose `v`;
# > - push a direction forwards and a question backwards through a function, and test that the two
# >   fit each other;
# > - recover a Jacobian row by row or column by column, and count the passes;
# > - pick the cheaper direction from the shapes alone;
# > - differentiate through a linear solve without looking inside.
# >
# > **You will build** `jacobian_via_vjp`, `jvp_by_double_vjp`, `cheapest_mode` and `solve_vjp`.

# %%
import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import jacfwd, jacrev, jvp, vjp, vmap

from bolearn import dynamics, plotting, teach

teach.setup("p1.t5")

# %% [markdown]
# ## 1. An arm with two joints
#
# A robot arm lies on a table: an upper arm of 1 m, a forearm of 0.7 m. $\theta_1$ is the angle of
# the shoulder, $\theta_2$ that of the elbow; at $\theta_2 = 0$ the arm is straight. Two angles in,
# two coordinates of the hand out, and each angle moves both.

# %%
UPPER, FORE = 1.0, 0.7  # metres


def hand(theta):
    """... 2 -> ... 2: the position of the hand (m) for the angles of both joints (rad)."""
    first, second = theta[..., 0], theta.sum(-1)  # each bone's angle to the table's edge
    x = UPPER * torch.cos(first) + FORE * torch.cos(second)
    y = UPPER * torch.sin(first) + FORE * torch.sin(second)
    return torch.stack([x, y], dim=-1)


theta = torch.tensor([0.4, 1.2], dtype=torch.float64, requires_grad=True)
print("the hand is at", [round(value, 2) for value in hand(theta).tolist()])
teach.predict("p1.t5.q1", "hand(theta).backward() leaves in theta.grad ...",
              ["2 numbers", "2 x 2 numbers", "nothing: an error"], guess=None)

# %%
message = ""
try:
    hand(theta).backward()
except RuntimeError as error:
    message = str(error)
print(message)
teach.claim("backward() without a vector is refused for an output of two numbers",
            "scalar outputs" in message and theta.grad is None, kind="run")
teach.reveal("p1.t5.q1", "nothing: an error", because="there are four derivatives, not two")

# %% [markdown]
# ## 2. All four derivatives
#
# They form a table, the **Jacobian** $J$ of $f$: row $i$ belongs to output $i$, column $j$ to
# input $j$, with $J_{ij} = \partial f_i / \partial x_j$. A map from $n$ to $m$ numbers has a
# Jacobian of shape `m n`. It is the best linear description near a point:
# $f(x + u) \approx f(x) + J u$ for a small step $u$. For the arm we can write it down.

# %%
def jacobian_by_hand(theta):
    """... 2 -> ... 2 2."""
    first, second = theta[..., 0], theta.sum(-1)
    dx = [-UPPER * torch.sin(first) - FORE * torch.sin(second), -FORE * torch.sin(second)]
    dy = [UPPER * torch.cos(first) + FORE * torch.cos(second), FORE * torch.cos(second)]
    return torch.stack([torch.stack(dx, dim=-1), torch.stack(dy, dim=-1)], dim=-2)


g = torch.Generator().manual_seed(0)
poses = 6 * torch.rand(100, 2, generator=g, dtype=torch.float64) - 3
J = jacobian_by_hand(poses)  # 100 2 2
step = 1e-5 * torch.eye(2, dtype=torch.float64)
columns = [(hand(poses + e) - hand(poses - e)) / 2e-5 for e in step]  # central differences
teach.claim("the arm's Jacobian agrees with central differences, at 100 poses",
            error=(J - torch.stack(columns, dim=-1)).abs(), tolerance=1e-8)
teach.claim("the Jacobian's determinant is the product of both lengths and the elbow's sine",
            error=(torch.linalg.det(J) - UPPER * FORE * torch.sin(poses[:, 1])).abs(),
            tolerance=1e-12)

# %% [markdown]
# ## 3. What the vector does
#
# `backward` accepts a vector $v$ with one entry for each output.

# %%
J = jacobian_by_hand(theta.detach())
v = torch.tensor([0.6, 0.8], dtype=torch.float64)
teach.predict("p1.t5.q2", "hand(theta).backward(v) leaves in theta.grad ...",
              ["J v", "Jᵀ v", "J with each row times v"], guess=None)

# %%
hand(theta).backward(v)
answers = {"J v": J @ v, "Jᵀ v": J.T @ v}
for name, answer in answers.items():
    print(f"{name}: theta.grad is equal: {torch.allclose(theta.grad, answer)}")
teach.claim("backward(v) leaves Jᵀ v", error=(theta.grad - J.T @ v).abs(), tolerance=1e-12)
fresh = theta.detach().clone().requires_grad_()
(v @ hand(fresh)).backward()  # a single number, so that no vector is needed
teach.claim("backward(v) finds the gradient of the single number v · f(x)",
            error=(fresh.grad - theta.grad).abs(), tolerance=1e-12)
teach.reveal("p1.t5.q2", "Jᵀ v", because="it is the gradient of v · hand(theta)")

# %% [markdown]
# So the demand is no nuisance. Reverse mode (tutorial 4) starts with the derivative of the last
# number in itself, which is 1. An output with many entries has no such start: *you* must say which
# combination $v \cdot f(x) = \sum_i v_i f_i(x)$ you ask about. The result
#
# $$J^\top v = \nabla_x \, (v \cdot f(x))$$
#
# is a **vector-Jacobian product**, VJP for short, and $v$ is the **upstream vector**. $J$ itself
# is never built. Two misunderstandings are common. First: a vector of ones changes nothing.

# %%
teach.predict("p1.t5.q3", "backward(torch.ones(2)) instead of backward(v) ...",
              ["is the neutral choice", "asks about x + y", "gives the diagonal of J"], guess=None)

# %%
def asked(*upstream):
    """What theta.grad holds after one backward for each vector."""
    theta.grad = None
    for vector in upstream:
        hand(theta).backward(vector)
    return theta.grad


ones, other = torch.ones(2, dtype=torch.float64), torch.tensor([2.0, -1.0], dtype=torch.float64)
teach.claim("backward(ones) finds the gradient of the outputs' sum: the sum of the rows of J",
            error=(asked(ones) - J.sum(0)).abs(), tolerance=1e-12)
teach.claim("backward with one vector and then another leaves what their sum leaves",
            error=(asked(v, other) - asked(v + other)).abs(), tolerance=1e-12)
teach.reveal("p1.t5.q3", "asks about x + y", because="ones are weights like any others")

# %% [markdown]
# Second: an output with many entries needs `retain_graph`. We never gave it. It is for a second
# sweep over the *same* graph, whatever the number of outputs.
#
# ## 4. The vector is a question
#
# Take $v$ of length 1, a direction on the table. Then $J^\top v$ answers: how fast does the hand
# move towards $v$, per radian of each joint? We ask in all directions, at three poses; the last arm
# is straight.

# %%
teach.predict("p1.t5.q4", "Straight arm: v runs round the unit circle, Jᵀ v runs along ...",
              ["a circle", "an ellipse", "a segment"], guess=None)

# %%
angle = torch.linspace(0, 2 * torch.pi, 181, dtype=torch.float64)
circle = torch.stack([angle.cos(), angle.sin()], dim=-1)  # 181 2: all v of length 1
elbows = torch.tensor([1.57, 0.5, 0.0], dtype=torch.float64)
arms, images = {}, {}
for elbow in elbows:
    pose = torch.stack([-elbow / 3, elbow])
    joint = UPPER * torch.stack([torch.cos(pose[0]), torch.sin(pose[0])])
    title = f"elbow at {elbow:.2f} rad"
    arms[title] = torch.stack([torch.zeros_like(joint), joint, hand(pose)])
    images[title] = circle @ jacobian_by_hand(pose)  # rows vᵀ J are Jᵀ v
figure = plotting.arm_and_vjp(arms, images, circle, {"v to the right": 0, "v upwards": 45})
state = {"theta": theta.detach(), "lengths": [UPPER, FORE], "v": 0.9}
teach.explorable(
    "vjp_ellipse", state, still=figure,
    alt="Above, a bent, a nearly straight and a straight arm with a circle of directions v at the "
    "hand; below, the vectors Jᵀ v: a wide ellipse, a narrow one, and for the straight arm a "
    "segment, with v to the right in its middle, at zero.",
)

# %%
straight = jacobian_by_hand(torch.zeros(2, dtype=torch.float64))
sizes = torch.linalg.svdvals(straight)  # singular values: the rank is how many are not zero
teach.claim("the straight arm's Jacobian has rank 1", kind="run",
            condition=bool(sizes[0] > 1) and bool(sizes[1] < 1e-12))
outwards = torch.tensor([1.0, 0.0], dtype=torch.float64)
teach.claim("asked about the direction along the straight arm, the VJP answers zero",
            error=(straight.T @ outwards).abs(), tolerance=1e-12)
teach.reveal("p1.t5.q4", "a segment", because="the direction along the arm adds nothing")

# %% [markdown]
# However the joints of a straight arm turn, its hand sets off sideways or not at all: in one
# direction no speed is to be had. (Below the pictures you can bend the elbow yourself, and turn
# v.) Such a pose is called **singular**, and the determinant had warned us: it is zero where the
# elbow's sine is.
#
# Who chooses $v$ in a training loop? The loss does. To bring the hand to a target, make
# $\frac12 \lVert \text{hand}(\theta) - \text{target} \rVert^2$ small. Its derivatives in the hand's
# two coordinates are `hand - target`; that is the vector which the chain rule passes to the arm.

# %%
target = torch.tensor([0.5, 0.0], dtype=torch.float64)


def miss(theta):
    return 0.5 * (hand(theta) - target).square().sum(-1)


(gradient,) = torch.autograd.grad(miss(theta), theta)
upstream = (hand(theta) - target).detach()
teach.claim("the loss's gradient is the arm's VJP with the upstream vector hand - target",
            error=(gradient - J.T @ upstream).abs(), tolerance=1e-12)
teach.predict("p1.t5.q5", "Gradient descent starts with a straight arm, angles (0, 0). It ...",
              ["reaches the target", "stays where it is", "circles round it"], guess=None)

# %%
starts = torch.tensor([[0.0, 0.0], [0.0, 0.01]], dtype=torch.float64)  # straight, nearly straight
paths = dynamics.trace_gd(miss, starts, lr=0.2, steps=2000)
for name, pose in zip(("straight", "nearly straight"), paths.points[-1], strict=True):
    print(f"{name:16} ends {(hand(pose) - target).norm():.2f} m from the target")
teach.claim("from the straight arm the descent does not move at all", kind="run",
            condition=torch.equal(paths.points[-1, 0], starts[0]))
teach.claim("from an elbow bent by 0.01 rad it reaches the target", kind="run",
            error=(hand(paths.points[-1, 1]) - target).norm(), tolerance=1e-6)
teach.reveal("p1.t5.q5", "stays where it is", because="hand - target points along the arm")

# %% [markdown]
# The loss is far from its minimum and its gradient is zero: in the only direction that is asked
# for, the hand has no speed. (Turn the joints by $0.7t$ and $-1.7t$, and it does go there, in
# proportion to $t^2$, which no gradient sees.)
#
# **Exercise 1.** If each $v$ is a question, which questions reveal the whole Jacobian?

# %%
# exercise: p1.t5.e1

# %% [markdown]
# ## 5. Maps that hide all this
#
# Tutorial 2 found the slopes of $\sqrt{x}$ at many entries by one `grad(f(x).sum(), x)`: a VJP with
# ones. The same call on a map that mixes its inputs returns something else. Here are the Jacobians
# of an entry-by-entry map and of a small network with three layers.

# %%
def network(x, weights):
    """6 -> 4: three layers."""
    for W in weights:
        x = torch.tanh(W @ x)
    return x


def random_weights():
    shapes = [(8, 6), (5, 8), (4, 5)]
    return [0.4 * torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes]


x, weights = torch.linspace(-1, 1, 6, dtype=torch.float64), random_weights()
tables = {"tanh, entry by entry": jacrev(torch.tanh)(x),
          "three layers": jacrev(network)(x, weights)}
teach.show(plotting.jacobian_tables(tables),
           "Two tables of derivatives, with a 0 where an entry is zero: for tanh all but "
           "the diagonal; for the network of three layers none.")

# %%
diagonal, dense = tables.values()
_, pull = vjp(torch.tanh, x)  # the value, and the function v -> Jᵀ v
(mixed,) = vjp(lambda x: network(x, weights), x)[1](torch.ones(4, dtype=torch.float64))
teach.claim("an entry-by-entry map has a diagonal Jacobian",
            error=(diagonal - diagonal.diagonal().diag()).abs(), tolerance=0)
teach.claim("torch.func.vjp pulls v back to what backward(v) leaves", tolerance=1e-12,
            error=(vjp(hand, theta.detach())[1](v)[0] - asked(v)).abs())
teach.claim("no entry of the network's Jacobian is zero", bool((dense != 0).all()), kind="run")
teach.claim("of an entry-by-entry map, a VJP with ones returns every slope at once",
            error=(pull(torch.ones_like(x))[0] - diagonal.diagonal()).abs(), tolerance=1e-14)
teach.claim("in the network ones return the sum of the rows, and it is none of them",
            bool(((mixed - dense.sum(0)).abs() < 1e-12).all())
            and bool(((mixed - dense).abs().amax(-1) > 1e-3).all()), kind="run")

# %% [markdown]
# `torch.func.jacrev` returns the whole table, `torch.func.vjp` the value and the function that
# pulls a $v$ back. A tensor of outputs has no gradient of its own; it has a Jacobian, and what one
# `backward` adds to `.grad` is one VJP.
#
# ## 6. The other direction
#
# A **Jacobian-vector product**, JVP, pushes a step $u$ of the inputs forwards: $J u$ says how fast
# the outputs move while the inputs move along $u$. It needs no notes and no sweep back: carry a
# slope beside every value. Such a pair is a **dual number**, $a + b\,\varepsilon$ with
# $\varepsilon^2 = 0$: whatever is of second order vanishes, as in a derivative.

# %%
class Dual:
    """A value and its slope, a + b ε."""

    def __init__(self, value, slope):
        self.value, self.slope = value, slope

    def __add__(self, other):
        return Dual(self.value + other.value, self.slope + other.slope)

    def __rmul__(self, factor):  # a plain number times a dual one
        return Dual(factor * self.value, factor * self.slope)

    def cos(self):
        return Dual(self.value.cos(), -self.value.sin() * self.slope)

    def sin(self):
        return Dual(self.value.sin(), self.value.cos() * self.slope)


def hand_of_duals(shoulder, elbow):
    second = shoulder + elbow
    return [UPPER * shoulder.cos() + FORE * second.cos(),
            UPPER * shoulder.sin() + FORE * second.sin()]


# %%
u = torch.tensor([1.0, -2.0], dtype=torch.float64)  # the elbow turns back, twice as fast
at = theta.detach()
pushed = hand_of_duals(Dual(at[0], u[0]), Dual(at[1], u[1]))
slopes = torch.stack([number.slope for number in pushed])
teach.claim("pushing u through with dual numbers gives J u", error=(slopes - J @ u).abs(),
            tolerance=1e-12)
value, tangent = jvp(hand, (at,), (u,))
teach.claim("torch.func.jvp returns the same, and the value with it", tolerance=1e-12,
            error=torch.stack([(tangent - slopes).abs(), (value - hand(at)).abs()]))

# %% [markdown]
# ## 7. Do forwards and backwards fit?
#
# Both describe the same $J$, so for every $u$ and $v$
#
# $$v \cdot (J u) = (J^\top v) \cdot u .$$
#
# On the left a push of $u$, on the right a pull of $v$, as adjoints travel: two numbers from two
# pieces of code. This is the **adjoint test**. It needs no Jacobian, no formula and no small $h$.

# %%
def adjoint_gap(f, x):
    """How far the two sides are apart, for a random u and a random v."""
    u = torch.randn(x.shape, generator=g, dtype=x.dtype)
    value, pushed = jvp(f, (x,), (u,))
    v = torch.randn(value.shape, generator=g, dtype=x.dtype)
    return (v @ pushed - vjp(f, x)[1](v)[0] @ u).abs()


gaps = []
for _ in range(100):
    weights = random_weights()
    start = torch.randn(6, generator=g, dtype=torch.float64)
    gaps.append(adjoint_gap(lambda x, weights=weights: network(x, weights), start))
teach.claim("100 random networks pass the adjoint test", error=torch.stack(gaps), tolerance=1e-12)

# %% [markdown]
# Would it notice a wrong backward? Below, someone wrote a matrix product by hand (tutorial 4 showed
# custom functions) and forgot to transpose. Shapes do not complain: the matrix is square.
# (`torch.func` wants what both directions need to be stored in a method of its own.)

# %%
class Product(torch.autograd.Function):
    """W x, with a wrong backward: it should be Wᵀ v."""

    @staticmethod
    def forward(W, x):
        return W @ x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx, v):
        return None, ctx.saved_tensors[0] @ v

    @staticmethod
    def jvp(ctx, dW, u):
        return ctx.saved_tensors[0] @ u


W = torch.randn(4, 4, generator=g, dtype=torch.float64)
gap = adjoint_gap(lambda x: Product.apply(W, x), torch.randn(4, generator=g, dtype=torch.float64))
teach.claim("the adjoint test exposes a forgotten transpose", bool(gap > 0.01), kind="run")

# %% [markdown]
# Keep this test at hand for every derivative that you write yourself. What it does not see is an
# error that both directions share.
#
# **Exercise 2.** Many functions come with a backward only. A trick gets $J u$ from pulls alone: the
# map $v \mapsto J^\top v$ is linear. What is *its* VJP?

# %%
# exercise: p1.t5.e2

# %% [markdown]
# ## 8. How many passes, how much work?
#
# `Tap` changes nothing and counts. We build the network's Jacobian, 4 outputs and 6 inputs, by
# pulls and by pushes. For the pushes, `torch.autograd.forward_ad` has dual numbers: `make_dual`
# puts a slope beside a value, `unpack_dual` reads it again.

# %%
class Tap(torch.autograd.Function):
    """The identity; it counts what passes through."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, v):
        passes["reverse"] += 1
        return v

    @staticmethod
    def jvp(ctx, u):
        passes["forward"] += 1
        return u.clone()


teach.predict("p1.t5.q6", "A Jacobian with 4 rows and 6 columns: how many pulls, how many pushes?",
              ["4 and 6", "6 and 4", "24 and 24"], guess=None)

# %%
passes = {"reverse": 0, "forward": 0}
leaf = x.clone().requires_grad_()
out = network(Tap.apply(leaf), weights)
rows = [torch.autograd.grad(out, leaf, e, retain_graph=True)[0] for e in torch.eye(4).double()]
columns = []
for e in torch.eye(6, dtype=torch.float64):
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, e)
        columns.append(forward_ad.unpack_dual(network(Tap.apply(dual), weights)).tangent)
print(passes)

# %%
by_formula = torch.eye(6, dtype=torch.float64)
layer = x
for W in weights:
    layer = torch.tanh(W @ layer)
    by_formula = (1 - layer.square()).unsqueeze(-1) * W @ by_formula  # the chain rule
by_rows, by_columns = torch.stack(rows), torch.stack(columns, dim=-1)
teach.claim("rows from pulls, columns from pushes and the chain rule give the same Jacobian",
            error=torch.stack([by_rows - by_formula, by_columns - by_formula]).abs(),
            tolerance=1e-12)
teach.claim("a Jacobian of 4 rows and 6 columns took 4 pulls or 6 pushes",
            passes == {"reverse": 4, "forward": 6}, kind="run")
teach.reveal("p1.t5.q6", "4 and 6", because="a pull gives a row, a push a column")

# %% [markdown]
# Here we did sweep the same graph four times, hence `retain_graph`. A loss has $m = 1$: a single
# pull yields its gradient, however many parameters there are. That is why learning uses reverse
# mode.
#
# How much work is it? A chain's Jacobian is the product of its layers' Jacobians, and a product of
# three has two orders. Widths 10 → 2 → 10 → 1 have Jacobians $A$ (2 by 10), $B$ (10 by 2) and $C$
# (1 by 10). Forward mode begins at the input: $BA$ takes 10 · 2 · 10 = 200 multiplications,
# $C(BA)$ takes 1 · 10 · 10 = 100. Reverse mode begins at the output: $CB$ takes 1 · 10 · 2 = 20,
# $(CB)A$ takes 1 · 2 · 10 = 20.

# %%
teach.predict(
    "p1.t5.q7", "1000 inputs → 500 → 200 → 1: forwards needs how many times more multiplications?",
    ["about 2", "about 20", "more than 100"], guess=None,
)

# %%
def multiply(B, A, bill):
    """B A; puts the number of its multiplications on the bill."""
    bill.append(B.shape[0] * B.shape[1] * A.shape[1])
    return B @ A


def accumulate(dims, mode):
    """The Jacobian of a chain with these widths, and what it cost."""
    bill, seeded = [], torch.Generator().manual_seed(1)
    layers = [torch.randn(m, n, generator=seeded, dtype=torch.float64)
              for n, m in itertools.pairwise(dims)]
    if mode == "reverse":
        product = layers.pop()
        while layers:
            product = multiply(product, layers.pop(), bill)
    else:
        product = layers.pop(0)
        while layers:
            product = multiply(layers.pop(0), product, bill)
    return product, sum(bill)


# %%
chains = [(1000, 500, 200, 1), (1, 200, 500, 1000), (400, 400, 5, 400, 400)]
cost = {mode: [accumulate(dims, mode)[1] for dims in chains] for mode in ("reverse", "forward")}
waist = chains[2]
halves = [accumulate(part, "forward")[1] for part in (waist[:3], waist[2:])]
split = [None, None, sum(halves) + waist[0] * waist[2] * waist[-1]]  # and then both together
bars = {**cost, "split at the waist": split}
figure = plotting.grouped_bars([" → ".join(map(str, dims)) for dims in chains], bars,
                               ylabel="multiplications")
teach.show(figure, "Multiplications on a logarithmic axis for three chains: reverse is cheap from "
           "many inputs to one output, forward from one input to many outputs; with a narrow "
           "waist both are dear, and a split at the waist is cheap.")

# %%
for dims, back, ahead in zip(chains, cost["reverse"], cost["forward"], strict=True):
    print(f"{' → '.join(map(str, dims)):28} reverse {back:>11,}   forward {ahead:>11,}")
one_way, other_way = (accumulate(chains[0], mode)[0] for mode in ("reverse", "forward"))
teach.claim("1000 → 500 → 200 → 1: both orders give the same gradient", tolerance=1e-9,
            error=(one_way - other_way).abs() / one_way.abs().max())
teach.claim("reverse takes 600,000 multiplications, forward 100,200,000",
            (cost["reverse"][0], cost["forward"][0]) == (600_000, 100_200_000))
by_paper = [accumulate((10, 2, 10, 1), mode)[1] for mode in ("reverse", "forward")]
teach.claim("10 → 2 → 10 → 1: 40 multiplications in reverse, 300 forwards", by_paper == [40, 300])
teach.claim("a narrow waist: a split takes less than a twentieth of either",
            20 * split[2] < min(cost["reverse"][2], cost["forward"][2]), kind="run")
teach.reveal("p1.t5.q7", "more than 100", because="it drags 1000 columns through every layer")

# %% [markdown]
# A rule of thumb: begin at the narrower end. It can mislead (10 → 1 → 100 → 11 costs ten times as
# much from its narrower end as from the other), and neither end need be best, as the waist shows.
# (The count takes layers as full matrices; layers that work entry by entry are cheaper.)
#
# **Exercise 3.** Find the cheapest order for any chain.

# %%
# exercise: p1.t5.e3

# %% [markdown]
# ## 9. Through a linear solve
#
# Part 3's models solve $A x = b$ at every step. How does a loss that depends on $x$ depend on $b$
# and $A$? We write $\bar x$ for the adjoint of $x$ (tutorial 4), the gradient of the loss in $x$.
# A small change of $b$ and $A$ changes $x$ by $\mathrm{d}x$, with
#
# $$A \,\mathrm{d}x + \mathrm{d}A \, x = \mathrm{d}b
# \quad\Rightarrow\quad \mathrm{d}x = A^{-1} (\mathrm{d}b - \mathrm{d}A \, x).$$
#
# That is a push. For a pull, move $A^{-1}$ to the other side of the product:
# $\bar x \cdot A^{-1}\,\mathrm{d}b = (A^{-\top} \bar x) \cdot \mathrm{d}b$. So $\bar b$, the
# gradient in $b$, is $A^{-\top} \bar x$: *one more solve, with the transposed matrix*.

# %%
A = torch.randn(5, 5, generator=g, dtype=torch.float64) + 4 * torch.eye(5, dtype=torch.float64)
b, xbar = torch.randn(2, 5, generator=g, dtype=torch.float64)
solution, pull = vjp(torch.linalg.solve, A, b)
Abar, bbar = pull(xbar)
teach.claim("the gradient in b is one solve with the transposed matrix",
            error=(bbar - torch.linalg.solve(A.T, xbar)).abs(), tolerance=1e-12)

# %% [markdown]
# No step inside the solver was differentiated: any solver will do that is accurate both times.
#
# **Exercise 4.** What is left of $\mathrm{d}x$ gives $\bar A$. Do it for a whole stack of systems.

# %%
# exercise: p1.t5.e4

# %% [markdown]
# What you should have found, put to the test with torch's own answer:

# %%
teach.claim("the gradient in A is minus the outer product of bbar and x",
            error=(Abar + torch.outer(bbar, solution)).abs(), tolerance=1e-12)
ranks = torch.linalg.svdvals(Abar)
teach.claim("the gradient in A has rank 1", error=ranks[1:] / ranks[0], tolerance=1e-12)

# %% [markdown]
# ## 10. Many vectors at once, and both directions together
#
# `vmap` turns a function of one thing into a function of a stack. `jacrev` is little more than
# `vmap` over all the unit vectors $v$; `jacfwd` does the same with pushes.

# %%
everywhere = vmap(jacrev(hand))(poses)  # 100 2 2
teach.claim("vmap of jacrev gives the Jacobians of 100 poses at once",
            error=(everywhere - jacobian_by_hand(poses)).abs(), tolerance=1e-12)
teach.claim("jacfwd builds the network's Jacobian, the same as by the chain rule",
            error=(jacfwd(network)(x, weights) - by_formula).abs(), tolerance=1e-12)

# %% [markdown]
# Last, a push followed by a pull: $J^\top (J u)$, again without $J$. For a loss
# $\frac12 \lVert r(\theta) \rVert^2$ with **residuals** $r$, such as `hand - target`, the gradient
# is $J^\top r$. Differentiating again,
#
# $$H = J^\top J + \sum_i r_i \, \nabla^2 r_i .$$
#
# The first term alone is called the **Gauss-Newton** matrix.

# %%
teach.predict("p1.t5.q8", "Is the Hessian of miss equal to Jᵀ J where the hand is on the target?",
              ["yes, and nowhere else", "yes, and elsewhere it may be", "no"], guess=None)

# %%
def gauss_newton_product(f, x, u):
    """Jᵀ (J u): one push, one pull."""
    return vjp(f, x)[1](jvp(f, (x,), (u,))[1])[0]


def hessian_product(loss, x, u):
    return jvp(jacrev(loss), (x,), (u,))[1]


def second_term(theta):
    """The sum of r_i times the Hessian of r_i, for the arm."""
    second = vmap(jacfwd(jacrev(hand)))(theta)  # ... 2 outputs 2 2
    return torch.einsum("...i,...ijk->...jk", hand(theta) - target, second)


H = vmap(jacfwd(jacrev(miss)))(poses)
J = jacobian_by_hand(poses)
teach.claim("H = JᵀJ + Σ rᵢ ∇²rᵢ, at 100 poses", tolerance=1e-12,
            error=(H - J.mT @ J - second_term(poses)).abs())

# %%
arrived = paths.points[-1, 1]  # the hand is on the target
folded = torch.tensor([math.acos(0.6), math.pi], dtype=torch.float64)  # 0.4 m away from it
gap = {name: (hessian_product(miss, pose, u) - gauss_newton_product(hand, pose, u)).norm()
       for name, pose in {"arrived": arrived, "at": at, "folded": folded}.items()}
J = jacobian_by_hand(at)
teach.claim("one push and one pull give Jᵀ J u", tolerance=1e-12,
            error=(gauss_newton_product(hand, at, u) - J.T @ J @ u).abs())
teach.claim("with the hand on the target, Jᵀ J u is the Hessian times u",
            error=gap["arrived"], tolerance=1e-6)
teach.claim("with the hand elsewhere, at the angles (0.4, 1.2), it is not", bool(gap["at"] > 0.1),
            kind="run")
teach.claim("folded at (acos 0.6, π) it is, with the hand 0.4 m from the target", kind="run",
            condition=bool((hand(folded) - target).norm() > 0.39), error=gap["folded"],
            tolerance=1e-12)
teach.reveal("p1.t5.q8", "yes, and elsewhere it may be", because="only the second term counts")

# %% [markdown]
# Zero residuals make the second term zero, and so may residuals and second derivatives that cancel,
# as at the folded pose.
#
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. A function has 3 outputs and 10,000 inputs. What does `backward(torch.ones(3))` tell you, and
#    how many passes give the whole Jacobian?
# 2. A gradient is zero, yet the loss is large and no minimum is near. What may have happened?
# 3. You wrote a backward by hand. Which test of two lines do you run, and what would escape it?
#
# **So, why does `backward` demand a vector?** Because it computes the gradient of a single number,
# and an output with many entries is not one: the vector says which number you mean. It buys you the
# answer to one question for the price of one pass, without ever storing a Jacobian. Next: tutorial
# 6, gradients through random numbers.
#
# ## Sources
#
# - A. Griewank, A. Walther, *Evaluating Derivatives*, 2nd edition, SIAM 2008,
#   [doi:10.1137/1.9780898717761](https://doi.org/10.1137/1.9780898717761): forward and reverse
#   mode, and the adjoint test.
# - A. G. Baydin, B. A. Pearlmutter, A. A. Radul, J. M. Siskind, "Automatic differentiation in
#   machine learning: a survey", *Journal of Machine Learning Research* 18 (2018),
#   [arXiv:1502.05767](https://arxiv.org/abs/1502.05767): dual numbers.
# - M. B. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
#   differentiation", in *Advances in Automatic Differentiation*, Springer 2008,
#   [doi:10.1007/978-3-540-68942-3_4](https://doi.org/10.1007/978-3-540-68942-3_4): the solve.
# - PyTorch documentation: [torch.func](https://docs.pytorch.org/docs/stable/func.html).
