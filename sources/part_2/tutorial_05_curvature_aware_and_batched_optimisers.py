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
# # Part 2, tutorial 5: curvature-aware and batched optimisers
#
# **Part 3 will ask, before every experiment: where in this box is a score best? Which optimiser
# should answer, from 64 starts at once?**
#
# > **Before you start:** tutorials 1 to 4 of this part.
# >
# > **Time:** two sittings of about 30 minutes each, sections 1 to 5 and 6 to 10; the exercises take
# > about as long again.
# >
# > **You will be able to**
# > - learn a bowl's curvature from the gradients that a descent has computed anyway;
# > - say what makes a step long enough, and what makes it too long;
# > - keep a descent in a box, and name two ways of doing so that fail;
# > - run many descents as one batch without letting them disturb each other;
# > - read an optimiser's verdict, and distrust "converged".
# >
# > **You will build** `two_loop`, `armijo`, `project_box` and `batched_minimise`.

# %%
import math
from collections.abc import Callable

import torch
from scipy import optimize
from torch import Tensor

from bolearn import dynamics, plotting, teach
from bolearn.optim import lbfgs
from bolearn.problems import DixonPrice, Himmelblau, Powell, Quadratic, Rosenbrock

teach.setup("p2.t5")

# %% [markdown]
# ## 1. What curvature is worth
#
# Back to the curved valley of tutorial 2, and to Rosenbrock's own start, $(-1.2, 1)$. Newton's
# method takes five steps from there to a loss below $10^{-8}$. Gradient descent needs the right
# $\eta$.

# %%
teach.predict("p2.t5.q1", "Five learning rates, 0.001 to 0.003. How many steps does the best of "
              "them need to a loss of 1e-8?", ["300", "1000", "10,000", "100,000"], guess=None)

# %%
valley = Rosenbrock().loss
x0, minimum = torch.tensor([[-1.2, 1.0], [1.0, 1.0]], dtype=torch.float64)
rates = (0.001, 0.0015, 0.0019, 0.002, 0.003)


def plain(eta, steps=25_000):
    """The loss before each step of gradient descent from x0, the gradient written by hand."""
    (x, y), losses = x0.tolist(), []
    for _ in range(steps):
        gap = y - x * x
        losses.append(100 * gap * gap + (1 - x) ** 2)
        x, y = x + eta * (400 * x * gap + 2 * (1 - x)), y - 200 * eta * gap
    return torch.tensor(losses, dtype=torch.float64)


descents = torch.stack([plain(eta) for eta in rates])
etas = torch.tensor(rates, dtype=torch.float64)
traced = dynamics.trace_gd(valley, x0.expand(5, 2), etas, 50).values
teach.claim("this is trace_gd", error=(descents[:, :51] - traced.T).abs(), tolerance=1e-9)
arrived = descents <= 1e-8
gd_steps = arrived.double().argmax(-1)  # the first such step, where there is one
for eta, some, first, last in zip(rates, arrived.any(-1), gd_steps, descents[:, -1], strict=True):
    when = f"after {round(int(first), -3):6,} steps" if some else "never"
    print(f"η = {eta:.4f}: 1e-8 {when:>18}; at step 25,000 "
          + ("still" if last <= 1e-8 else f"the loss is {last:.1g}"))
newton = dynamics.trace_newton(valley, x0, 5).values

# %%
flattest, steepest = torch.linalg.eigvalsh(torch.func.hessian(valley)(minimum)).tolist()
print(f"at the minimum: κ = {steepest / flattest:.0f}, 2/L = {2 / steepest:.6f}; "
      f"η = 0.002 multiplies the steep mode by {1 - 0.002 * steepest:.3f}")
teach.claim("Newton's fifth step passes 1e-8; with no η of the five do 9000 steps", kind="run",
            condition=bool((newton[5] < 1e-8 < newton[4]) & ~arrived[:, :9000].any()))
teach.claim("η = 0.002 visits 1e-8, and stands above 1e-4 at step 25,000", kind="run",
            condition=bool(arrived[3].any() & (descents[3, -1] > 1e-4)))
teach.reveal("p2.t5.q1", "10,000", because="κ is 2508 at the minimum")

# %% [markdown]
# ($\eta = 0.002$ is above $2/L$: the steep mode grew, times $-1.003$ at each step, while it was too
# small to see.)
#
# Newton pays with a Hessian per step. But two gradients, computed anyway, differ by curvature times
# step.
#
# ## 2. Curvature from gradients
#
# Let $s = x' - x$ be a step and $y = \nabla f(x') - \nabla f(x)$ the change of the gradient along
# it: a **curvature pair**. In a bowl, $y = H s$. So a guess $P$ of $H^{-1}$ (a preconditioner)
# should obey
#
# $$P\,y = s ,$$
#
# the **secant condition**. That leaves freedom in more than one dimension. BFGS (Broyden, Fletcher,
# Goldfarb, Shanno) changes the old guess as little as it can, in a suitable norm:
#
# $$P \leftarrow V^\top P\,V + c\,s\,s^\top, \qquad V = I - c\,y\,s^\top, \qquad
# c = \frac{1}{s \cdot y} .$$

# %%
teach.predict("p2.t5.q2", "A bowl of 6 dimensions, κ = 1000. Each step leads along -P∇f, to the "
              "lowest point of that line. Steps to the minimum?", [6, 36, 1000, 6000], guess=None)

# %%
def bfgs(P, s, y):
    c = 1 / (s @ y)
    V = torch.eye(len(s), dtype=s.dtype) - c * torch.outer(y, s)
    return V.T @ P @ V + c * torch.outer(s, s)


g = torch.Generator().manual_seed(0)
Q = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64)).Q
H = Q @ torch.diag(torch.logspace(0, 3, 6, dtype=torch.float64)) @ Q.T
x = torch.randn(6, generator=g, dtype=torch.float64)
P, pairs, norms, positive = torch.eye(6, dtype=torch.float64), [], [(H @ x).norm()], []
for _ in range(6):
    p = -P @ (H @ x)
    s = -(p @ (H @ x)) / (p @ H @ p) * p  # exact line search
    pairs.append((s, H @ s))
    P = bfgs(P, *pairs[-1])
    x = x + s
    norms.append((H @ x).norm())
    positive.append(bool(torch.linalg.eigvalsh(P)[0] > 0))
print("|∇f|:", ", ".join(f"{norm:.1g}" for norm in norms[:6]), "...")

# %%
teach.claim("the sixth step ends at the minimum", error=norms[-1] / norms[0], tolerance=1e-10)
teach.claim("by then P is the inverse of H", tolerance=1e-9,
            error=(P @ H - torch.eye(6, dtype=torch.float64)).abs())
teach.claim("P stays symmetric and positive definite", all(positive), error=(P - P.T).abs(),
            tolerance=1e-12)
teach.claim("and it obeys the secant condition of all six pairs", tolerance=1e-9,
            error=torch.stack([P @ y - s for s, y in pairs]).abs())
along = Q.sum(-1)  # as much of each mode
first = (H @ along).norm()
for _ in range(1000):
    r = H @ along
    along = along - (r @ r) / (r @ H @ r) * r
teach.claim("1000 steps along the gradient, as far as is best, leave more than a millionth of it",
            bool((H @ along).norm() > 1e-6 * first), kind="run")
teach.reveal("p2.t5.q2", 6, because="each step explores one dimension, and P keeps it")

# %% [markdown]
# Six steps were enough, where exact line search along the gradient takes thousands (tutorial 2). In
# other landscapes $H$ changes from place to place, and $P$ is only roughly its inverse. But
# $-P\nabla f$ still points downhill while $P$ is positive definite, and it stays so exactly if
# $s \cdot y > 0$. Then $v \cdot P v$ becomes $(Vv) \cdot P\,(Vv) + c\,(s \cdot v)^2 > 0$; else
# $y \cdot P y = y \cdot s \le 0$.

# %%
spoilt, kept = [], []
for _ in range(50):
    s, y = torch.randn(2, 6, generator=g, dtype=torch.float64)
    smallest = torch.linalg.eigvalsh(bfgs(P, s, y))[0]
    (kept if s @ y > 0 else spoilt).append(float(smallest))
teach.claim("50 random pairs: P stays positive definite exactly where s·y > 0",
            min(kept) > 0 > max(spoilt) and len(kept) > 9 < len(spoilt), kind="theorem")

# %% [markdown]
# ## 3. A memory of ten pairs
#
# $P$ has $d^2$ numbers. But it is built from the pairs $(s, y)$. Keep the last ten pairs instead,
# and multiply a vector $g$ by $P$ without ever writing $P$ down:
#
# $$P\,g = V^\top P_{\text{old}}\,(V g) + c\,s\,(s \cdot g), \qquad V g = g - c\,(s \cdot g)\,y .$$
#
# A product with $P$ is a product with the guess before it, with one correction on the way in and
# one on the way out. Before the first pair stands $\gamma I$ (not tutorial 3's friction).

# %%
def product(pairs, g, gamma):
    """P g from a list of pairs (s, y), oldest first, without P."""
    if not pairs:
        return gamma * g
    s, y = pairs[-1]
    a = (s @ g) / (s @ y)
    r = product(pairs[:-1], g - a * y, gamma)
    return r + (a - (y @ r) / (s @ y)) * s


v, *taken = torch.randn(6, 6, generator=g, dtype=torch.float64)
pairs, P = [(s, H @ s) for s in taken], torch.eye(6, dtype=torch.float64)
for pair in pairs:
    P = bfgs(P, *pair)
s, y = (torch.stack(part).numpy() for part in zip(*pairs, strict=True))
scipys = torch.from_numpy(optimize.LbfgsInvHessProduct(s, y) @ v.numpy())
ours = product(pairs, v, 1.0)
teach.claim("the product from the pairs is that with the explicit matrix P, and SciPy's",
            error=torch.stack([ours - P @ v, ours - scipys]).abs(), tolerance=1e-8)
S = torch.cat([torch.randn(200, 6, generator=g, dtype=torch.float64), Q.T])  # and eigenvectors
Y = S @ H
scale = (S * Y).sum(-1) / Y.square().sum(-1)
teach.claim("for 206 steps s·y / y·y lies between 1/L and 1/μ, and reaches both", kind="theorem",
            condition=bool((scale >= 0.999e-3).all() & (scale <= 1.001).all()),
            error=torch.stack([scale.min() / 1e-3 - 1, scale.max() - 1]).abs(), tolerance=1e-9)

# %% [markdown]
# This is **L-BFGS**, L for limited memory: ten pairs, whatever $d$. Since the early pairs are
# forgotten, $\gamma$ matters: $s \cdot y / y \cdot y$ of the newest pair is one over a curvature
# between the smallest and the largest. Section 5 measures what both are worth.
#
# **Exercise 1.** Without recursion it is two loops, one back through the pairs and one forward.

# %%
# exercise: p2.t5.e1

# %% [markdown]
# ## 4. How far?
#
# $p = -P\nabla f$ gives the direction; $x + \eta\,p$ with $\eta = 1$ is the natural step. Is it
# good? An exact search costs too many evaluations. "The loss must fall" is cheap.

# %%
teach.predict("p2.t5.q3", "In the valley ½ x² the loss falls at every step, for ever. Must the "
              "iterates converge to the minimum?", ["yes", "no"], guess=None)

# %%
k = torch.arange(30, dtype=torch.float64)
far, near = (-1) ** k * (1 + 2**-k), 1 + 2**-k
for name, path in (("alternating", far), ("creeping", near)):
    loss = path.square() / 2
    teach.claim(f"the {name} sequence: the loss falls at each of 29 steps, and never below ½",
                bool((loss[1:] < loss[:-1]).all() & (loss > 0.5).all()), kind="run")
teach.reveal("p2.t5.q3", "no", because="steps may be too long, or too short")

# %% [markdown]
# Two conditions rule out the two. With the derivative $\phi' = \nabla f(x) \cdot p < 0$ along the
# step,
#
# - **Armijo**: the loss falls by a small share of what the derivative promised,
#   $f(x + \eta p) \le f(x) + 10^{-4}\,\eta\,\phi'$. A step that overshoots and does not gain enough
#   fails it.
# - **Wolfe** adds: the derivative at the end is less steep than at the start,
#   $\nabla f(x + \eta p) \cdot p \ge 0.9\,\phi'$. Too short a step fails this. (*Strong* Wolfe also
#   forbids an end that climbs steeply.)
#
# Below, both sequences are put to the test, then every length of one step from Rosenbrock's start.
# "Too long" is not meant literally: beyond the refused lengths may lie another valley.

# %%
def flaws(path):
    """Which steps in ½ x² Armijo refuses as too long, and which Wolfe as too short."""
    x, s = path[:-1], path.diff()
    return path[1:] ** 2 / 2 > x**2 / 2 + 1e-4 * x * s, path[1:] * s < 0.9 * x * s


def gradient_at(x):
    return torch.func.vmap(torch.func.grad(valley))(x)


long, short = zip(flaws(far), flaws(near), strict=True)
teach.claim("from step 20 on Armijo refuses every alternating step, and Wolfe every creeping one",
            bool(long[0][20:].all() & short[1][20:].all() & ~long[1].any()), kind="run")
p = -gradient_at(x0[None])[0]
p = p / p.norm()
eta = torch.linspace(0, 3.2, 1601, dtype=torch.float64)
along = x0 + eta[:, None] * p
height, derivative = valley(along), gradient_at(along) @ p
ceiling = height[0] + 1e-4 * eta * derivative[0]
too_long, too_short = height > ceiling, derivative < 0.9 * derivative[0]
teach.show(plotting.line_search(eta, height, ceiling, too_long, too_short),
           "Loss along the steepest line from Rosenbrock's start: a valley near 0.2, a hill that "
           "is cut off, a deeper valley near 2.8. Strips below: Wolfe refuses the shortest "
           "steps and some behind the hill, Armijo those on the hill and the longest; allowed are "
           "lengths in both valleys.")
teach.claim("along this line Armijo refuses a length of 1 and allows the longer one of 2.8",
            bool(too_long[500] & ~too_long[1400]), kind="run")

# %% [markdown]
# If $f$ is smooth and bounded below, some lengths are always allowed, and halving an interval finds
# one: a failure of Armijo's condition moves its upper end, of Wolfe's its lower. And Wolfe's
# condition gives the memory the positive $s \cdot y$ that it needs:
#
# $$s \cdot y = \eta\,(\nabla f(x') - \nabla f(x)) \cdot p \ge -0.1\,\eta\,\phi' > 0 .$$
#
# **Exercise 2.** Armijo alone, by halving, for many rows at once.

# %%
# exercise: p2.t5.e2

# %% [markdown]
# ## 5. All together

# %%
def with_gradient(loss):
    """What optimisers ask for: points k d to values k and gradients k d (rows: whose points)."""
    def fun(x, rows=None):
        x = x.detach().requires_grad_()
        values = loss(x)
        (gradients,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), gradients

    return fun


def wolfe(fun, x, f, g, p):
    """A step along p that both conditions allow, with loss and gradient there."""
    low, high, eta = 0.0, math.inf, 1.0
    for _ in range(60):
        there = x + eta * p
        f_new, g_new = fun(there)
        if not f_new <= f + 1e-4 * eta * (g @ p):
            high = eta
        elif g_new @ p < 0.9 * (g @ p):
            low = eta
        else:
            break
        eta = 2 * low if math.isinf(high) else (low + high) / 2
    return there, f_new, g_new


def quasi_newton(fun, x, steps=200, memory=10, scaled=True, gtol=1e-9):
    """The iterates of L-BFGS, and the gradients there."""
    f, g = fun(x)
    path, gradients, pairs, gamma = [x], [g], [], 1.0
    while g.abs().max() > gtol and len(path) <= steps:
        x, f, g = wolfe(fun, x, f, g, -product(pairs, g, gamma))
        s, y = x - path[-1], g - gradients[-1]
        pairs, gamma = [*pairs, (s, y)][-memory:], (s @ y) / (y @ y) if scaled else 1.0
        path.append(x)
        gradients.append(g)
    return torch.stack(path), torch.stack(gradients)

# %%
teach.predict("p2.t5.q4", "From Rosenbrock's start to a gradient of 1e-9: how many gradients does "
              "L-BFGS compute?", ["20", "60", "600", "6000"], guess=None)

# %%
asked = []


def counting(x, rows=None):
    asked.append(x)
    return with_gradient(valley)(x)


path, gradients = quasi_newton(counting, x0)
gentle = dynamics.trace_gd(valley, x0, 0.0019, 3000).points
three = {"Newton": dynamics.trace_newton(valley, x0, 7).points, "L-BFGS": path,
         "3000 steps of descent": gentle}
panels = {name: (lambda x: valley(x + 1), {name: points - 1}) for name, points in three.items()}
teach.show(plotting.descents(panels, [(2.6, 4.6)], labels=[("x₁ − 1", "x₂ − 1")]),
           "The curved valley three times, each with one path to the minimum at its centre: Newton "
           "jumps far out of the valley and back; L-BFGS follows the bend in some forty steps; "
           "gradient descent creeps along the floor.")

# %%
losses, s = valley(path), path.diff(dim=0)
promised, there = (gradients[:-1] * s).sum(-1), (gradients[1:] * s).sum(-1)
print(f"about {round(len(asked), -1)} gradients")
teach.claim("it ends at the minimum", error=(path[-1] - minimum).abs(), tolerance=1e-8)
teach.claim("every step satisfies Armijo's and Wolfe's conditions, and s·y > 0 as promised",
            bool((losses[1:] <= losses[:-1] + 1e-4 * promised + 1e-15).all()
                 & (there >= 0.9 * promised).all()
                 & ((s * gradients.diff(dim=0)).sum(-1) >= -0.1 * promised - 1e-15).all()),
            kind="theorem")
best = int(gd_steps[arrived.any(-1)].min())
first = next(k for k, x in enumerate(asked) if valley(x) <= 1e-8) + 1
teach.claim("to 1e-8, gradient descent at the best of five η takes over 100 times the gradients",
            best > 100 * first, kind="run")
teach.reveal("p2.t5.q4", "60", because="most steps are accepted at η = 1")

# %% [markdown]
# A hundred times faster than descent, without any Hessian; Newton's five steps remain fewer. Two
# choices of section 3 are still to be tested: the scale $\gamma$, and how many pairs are kept.
# Sixteen random starts in a bowl of 20 dimensions with $\kappa = 1000$, each with four versions of
# the method:

# %%
teach.predict("p2.t5.q5", "Which version needs the most gradients?",
              ["10 pairs, γ", "10 pairs, γ = 1", "1 pair, γ", "1 pair, γ = 1"], guess=None)

# %%
R = torch.linalg.qr(torch.randn(20, 20, generator=g, dtype=torch.float64)).Q
H20 = R @ torch.diag(torch.logspace(-3, 0, 20, dtype=torch.float64)) @ R.T
starts = torch.randn(16, 20, generator=g, dtype=torch.float64)


def gradients_taken(start, **version):
    """How many gradients L-BFGS takes until none of their entries exceeds 1e-5."""
    taken = []

    def fun(x):
        taken.append(x)
        return 0.5 * x @ H20 @ x, H20 @ x

    quasi_newton(fun, start, steps=500, gtol=1e-5, **version)
    return len(taken)


versions = {"10 pairs, γ": {}, "10 pairs, γ = 1": {"scaled": False}, "1 pair, γ": {"memory": 1},
            "1 pair, γ = 1": {"memory": 1, "scaled": False}}
taken = {name: torch.tensor([gradients_taken(x, **version) for x in starts]).double().log()
         for name, version in versions.items()}
for name, counts in taken.items():
    print(f"{name:14}: about {counts.mean().exp():.0f} gradients")

# %%
def ratio_of(one, other, least):
    """Whether `one` takes over `least` times the gradients of `other`, by 4 standard errors."""
    times = taken[one] - taken[other]
    return bool(times.mean() - times.std() > math.log(least))  # 4 standard errors of 16: the s.d.


teach.claim("ten pairs: without γ L-BFGS takes over 1.5 times the gradients (16 paired starts)",
            ratio_of("10 pairs, γ = 1", "10 pairs, γ", 1.5), kind="paired")
teach.claim("with γ: one pair instead of ten takes over 1.5 times the gradients (16 paired starts)",
            ratio_of("1 pair, γ", "10 pairs, γ", 1.5), kind="paired")
teach.reveal("p2.t5.q5", "1 pair, γ = 1")

# %% [markdown]
# The memory starts from $\gamma I$, which takes a unit on every axis for equally long. So give it
# variables of like size: the package searches in the unit cube.
#
# ## 6. Bounds
#
# Part 3 searches in a box: temperatures between 20 and 90 °C, no others. Take a tilted bowl with
# its minimum at 0, and let only $x_1 \ge 2$ be allowed: the line $x_1 = 2$ is a **bound**.

# %%
teach.predict("p2.t5.q6", "Where on the allowed side is the loss lowest?",
              ["where the bound is nearest to the minimum", "elsewhere on the bound",
               "not on the bound"], guess=None)

# %%
H = torch.tensor([[1.0, -0.9], [-0.9, 1.0]], dtype=torch.float64)
lower, upper = torch.tensor([[2.0, -3.0], [5.0, 3.0]], dtype=torch.float64)
tilted = Quadratic(H).loss


def projected(x, eta, steps):
    """Descent that moves to the nearest allowed place after each step."""
    path = [x]
    for _ in range(steps):
        path.append((path[-1] - eta * (path[-1] @ H)).clamp(lower, upper))
    return torch.stack(path)


start, other = torch.tensor([[4.0, -2.0], [2.0, 1.0]], dtype=torch.float64)
eta = torch.linspace(0.01, 1, 100, dtype=torch.float64)
newton_ends = (other - eta[:, None] * other).clamp(lower, upper)  # Newton's step is -x
figure = plotting.descents(
    {"": (tilted, {"gradient steps, projected": projected(start, 0.5, 30),
                   "Newton's step, projected": torch.stack([other, newton_ends[-1]])})},
    [(4.6, 3.0)])
figure.axes[0].axvspan(-4.6, 2, facecolor="none", edgecolor=plotting.GREY, hatch="\\\\", lw=0,
                       alpha=0.5)
teach.show(figure, "Level lines of a tilted bowl; all left of x₁ = 2 is hatched. Projected "
           "gradient steps move up along the bound to about (2, 1.8); Newton's step from (2, 1), "
           "projected, moves down to (2, 0).")

# %%
end = projected(start, 0.5, 100)[-1]
best = torch.tensor([2.0, 1.8], dtype=torch.float64)
clipped = torch.zeros(2, dtype=torch.float64).clamp(lower, upper)
teach.claim("projected gradient steps end at (2, 1.8)", error=(end - best).abs(), tolerance=1e-12)
teach.claim("the minimum moved to the nearest allowed place is over five times as high",
            bool(tilted(clipped) > 5 * tilted(best)), kind="run")
pressing = best @ H
teach.claim("at (2, 1.8) the gradient is 0 along the bound; a step against it leads out of the box",
            bool(pressing[0] > 0), error=pressing[1].abs(), tolerance=1e-12)
teach.claim("Newton's step from (2, 1), projected, raises the loss: for each of 100 lengths",
            bool((tilted(newton_ends) > tilted(other)).all()), kind="run")
teach.reveal("p2.t5.q6", "elsewhere on the bound", because="along the bound the bowl falls on")

# %% [markdown]
# At a minimum over a box each coordinate is in one of three states: free with gradient 0; at its
# lower bound with gradient $\ge 0$; at its upper bound with gradient $\le 0$ (the
# **Karush-Kuhn-Tucker conditions**). One test for all three:
# $\mathrm{project}(x - \nabla f(x)) = x$.
#
# And Newton's step? A matrix $P$ trades one coordinate for another, but the bound refuses half of
# the trade (Bertsekas 1982). The remedy: coordinates at a bound with the gradient pressing outwards
# are **held**, and $P$ works on the free ones only.
#
# The popular alternative maps all of space into the box, $x_i = l_i + (u_i - l_i)\,\sigma(z_i)$,
# with the sigmoid of Part 1, and descends in $z$, where there are no bounds.

# %%
teach.predict("p2.t5.q7", "Descent in z: after ten times the steps it is ... to the bound",
              ["three times closer", "ten times closer", "there"], guess=None)

# %%
width, z = upper - lower, torch.logit((start - lower) / (upper - lower))
distance = []
for _ in range(3000):
    x = lower + width * torch.sigmoid(z)
    z = z - 0.5 * (x @ H) * (x - lower) * (upper - x) / width  # chain rule
    distance.append((lower + width * torch.sigmoid(z) - best)[0])
distance, t = torch.stack(distance), torch.arange(1, 3001, dtype=torch.float64)
teach.show(
    plotting.curves(t, {"through the sigmoid": distance,
                        "1 / (η a t)": 1 / (0.5 * pressing[0] * t)}, log="xy",
                    xlabel="step t", ylabel="distance from the bound"),
    "Distance from the bound against steps, on logarithmic axes: through the sigmoid it bends "
    "into the line 1/(η a t) and follows it to 0.002 at step 3000.",
)

# %%
teach.claim("projected, the descent is on the bound from its first step on, exactly", tolerance=0,
            error=(projected(start, 0.5, 3000)[1:, 0] - 2).abs())
teach.claim("through the sigmoid its distance is 1/(η a t), with the gradient a across the bound, "
            "within 1 % at step 3000", tolerance=0.01, kind="run",
            error=(distance[-1] * 0.5 * pressing[0] * t[-1] - 1).abs())
teach.claim("in 3000 steps it does not arrive", bool((distance > 0).all()), kind="run")
held = torch.tensor([2.0, other[1] - (other @ H)[1] / H[1, 1]], dtype=torch.float64)
teach.claim("with x₁ held, one Newton step from (2, 1) arrives", error=(held - best).abs(),
            tolerance=1e-12)
teach.reveal("p2.t5.q7", "ten times closer", because="near the bound x hardly moves with z")

# %% [markdown]
# Close to the bound a step in $z$ takes about $\eta a \delta^2$ off the distance $\delta$, so
# $1/\delta$ grows by only $\eta a$ at each step. In $z$ the bound lies
# at infinity. And a start near the *wrong* bound leaves it as slowly. For minima inside
# the box, and for positive scales (tutorial 2), such maps are fine.
#
# **Exercise 3.** Projection, in general.

# %%
# exercise: p2.t5.e3

# %% [markdown]
# ## 7. Sixty-four descents, one batch
#
# One call of a loss on a **batch** of 64 points costs little more than on one (Part 1, tutorial 2).
# The obvious way to use it: put all 128 coordinates into one vector and let an optimiser minimise
# the sum of the losses. Its minimum is where every one of them is minimal.

# %%
teach.predict("p2.t5.q8", "No row alone asks more than 60 times. And the sum?",
              ["60 times", "several times as often", "64 · 60 times"], guess=None)
teach.predict("p2.t5.q9", "One of the 64 starts is NaN. How many rows find the minimum?",
              [0, 63, 64], guess=None)

# %%
def all_in_one(loss, X):
    """torch.optim.LBFGS on the sum of all rows' losses; the ends, and how often it asked."""
    Z, calls = X.clone().requires_grad_(), []
    optimizer = torch.optim.LBFGS([Z], max_iter=500, max_eval=2000, tolerance_grad=1e-9,
                                  tolerance_change=0, line_search_fn="strong_wolfe")

    def closure():
        calls.append(len(Z))
        optimizer.zero_grad()
        total = loss(Z).sum()
        total.backward()
        return total

    optimizer.step(closure)
    return Z.detach(), len(calls)


box = Rosenbrock().bounds
X = box[0] + (box[1] - box[0]) * torch.rand(64, 2, generator=g, dtype=torch.float64)
ends, calls = all_in_one(valley, X)
alone = max(all_in_one(valley, row[None])[1] for row in X[:16])
poisoned = X.clone()
poisoned[5] = torch.nan
lost, _ = all_in_one(valley, poisoned)

# %%
teach.claim("the sum asks over three times as often as the slowest of 16 rows alone",
            calls > 3 * alone, kind="run")
print(f"16 rows, each alone: at most {20 * math.ceil(alone / 20)} times")
teach.claim("with one NaN among the starts, all 64 ends are NaN", bool(lost.isnan().all()),
            kind="run")
teach.reveal("p2.t5.q8", "several times as often", because="one memory and one length serve all")
teach.reveal("p2.t5.q9", 0, because="the sum is NaN, and with it every step")

# %% [markdown]
# One memory must describe 128 dimensions, one $\eta$ must suit all rows, and all share the worst
# row's fate. So: a memory, an $\eta$ and a verdict for *each row*. At each call a row whose step
# was accepted stores its pair and gets a new direction; a refused row gets a shorter $\eta$; a row
# that has arrived stays. No `if` on rows: **masks**.

# %%
x_now, trial = torch.tensor([[1.0, 2.0], [0.5, torch.nan]], dtype=torch.float64)
accepted = trial < x_now  # NaN compares false: refused
by_product = x_now + accepted * (trial - x_now)
by_where = torch.where(accepted, trial, x_now)
print("by product:", by_product.tolist(), "  by where:", by_where.tolist())
teach.claim("a mask that multiplies lets a refused NaN in", bool(by_product[1].isnan()), kind="run")
teach.claim("torch.where keeps it out", by_where.tolist() == [0.5, 2.0], kind="run")

# %% [markdown]
# Zero times NaN is NaN. And `while gradients.max() > 1e-9` ends at once: that maximum is NaN, too.
#
# **Exercise 4.** Put it together, in three stages: masks first, with plain gradient steps; then the
# box; then curvature. The notes of failing cases say which stage they ask for.

# %%
# exercise: p2.t5.e4

# %% [markdown]
# ## 8. The package's optimiser
#
# From here on we import it: `bolearn.optim.lbfgs.minimize`. It is what you have just built, with
# three savings. One call must serve all rows, so it tests Armijo only, and stores a pair only if
# $s \cdot y > 0$. Up to ten variables, the matrix that the memory implies is kept, not the pairs.
# And rows that have arrived leave the batch at every second call.

# %%
calls = []


def recorded(x, rows):
    f, g = with_gradient(valley)(x)
    row = torch.full((64,), torch.nan, dtype=torch.float64)
    row[rows] = f
    calls.append(row)
    return f, g


exact = {"gtol": 1e-9, "ftol": 0.0}
end = lbfgs.minimize(recorded, X, box[0], box[1], **exact)
table = torch.stack(calls, dim=-1).clamp(min=1e-12).log10()  # 64 rows, calls
order = end.iterations.argsort()
teach.show(
    plotting.batch_raster(table[order], xlabel="call of the loss",
                          ylabel="row of the batch, the quickest on top",
                          label="log10 of the loss asked"),
    "Raster of 64 rows and about 60 calls: in every row the colour darkens from left to right, and "
    "the row ends, white, between call 20 and the last; the white edge has steps of two calls.",
)

# %%
def run(x0, rows=None, **options):
    return lbfgs.minimize(with_gradient(valley), x0, box[0], box[1], **exact | options)


each = [run(row[None]) for row in X]
teach.claim("64 rows as one batch end where each of them ends alone", tolerance=1e-10,
            error=(torch.cat([one.x for one in each]) - end.x).abs())
teach.claim("the batch asks as often as its slowest row alone, ±4", tolerance=4, kind="run",
            error=abs(end.evaluations - max(one.evaluations for one in each)))
shuffled = torch.randperm(64, generator=g)
teach.claim("in another order they end at the same places", tolerance=1e-10,
            error=(run(X[shuffled]).x - end.x[shuffled]).abs())
with_nan = run(poisoned)
others = torch.arange(64) != 5
teach.claim("a NaN in row 5 changes no other row", tolerance=1e-10,
            error=(with_nan.x - end.x)[others].abs())
teach.claim("the same lines on torch tensors instead of NumPy views find the same minima",
            error=(run(X, arrays="torch").x - end.x).abs(), tolerance=1e-7)
ours = torch.stack([quasi_newton(with_gradient(valley), row)[0][-1] for row in X[:16]])
teach.claim("16 starts by the loop of section 5, one by one, end there, too", tolerance=1e-7,
            error=(ours - end.x[:16]).abs())

# %% [markdown]
# (Bright specks in the raster are refused steps.) On a processor the package works on NumPy views
# of the tensors, which is quicker for small ones; on a graphics card on the tensors themselves.
#
# Now with a bound in the way, $x_1 \le \tfrac12$, and with several minima; SciPy's L-BFGS-B goes
# row by row.

# %%
def by_scipy(loss, x0, bounds):
    """One row by SciPy's L-BFGS-B: where, and how low."""
    def fun(x):
        f, g = with_gradient(loss)(torch.from_numpy(x))
        return f.item(), g.numpy()

    options = {"gtol": 1e-9, "ftol": 0}
    found = optimize.minimize(fun, x0.numpy(), jac=True, method="L-BFGS-B", bounds=bounds.T.numpy(),
                              options=options)
    return torch.from_numpy(found.x)


short = torch.stack([box[0], torch.tensor([0.5, 2.048], dtype=torch.float64)])
at_bound = lbfgs.minimize(with_gradient(valley), X, short[0], short[1], **exact)
teach.claim("with the bound, all 64 end where SciPy's end", tolerance=1e-6,
            error=(torch.stack([by_scipy(valley, row, short) for row in X]) - at_bound.x).abs())
teach.claim("the end is on the bound, exactly", error=(at_bound.x[:, 0] - 0.5).abs(), tolerance=0)
four = Himmelblau()
many = lbfgs.minimize(with_gradient(four.loss), X * (5 / 2.048), *four.bounds, **exact)
nearest = torch.cdist(many.x, four.optimal_points)
print("rows at each of four minima:", nearest.argmin(-1).bincount().tolist())
teach.claim("on a landscape with four minima every row ends at one of them, all are found",
            bool((nearest.argmin(-1).bincount(minlength=4) > 0).all()),
            error=nearest.amin(-1), tolerance=1e-7)
left = torch.cat([at_bound.gradient, many.gradient])
teach.claim("every end passes project(x - ∇f) = x", error=left, tolerance=1e-8)

# %% [markdown]
# ## 9. What "converged" means
#
# A row stops when no entry of $\mathrm{project}(x - \nabla f) - x$ exceeds `gtol`, when a step
# gains less than `ftol` of the loss (or of 1, if the loss is smaller), when no shorter step helps,
# or after `max_iter` steps. Three rows start at Rosenbrock's start: one as before; one in the
# valley times $10^{-8}$; one that is given gradients of the wrong sign. A fourth starts at NaN.

# %%
teach.predict("p2.t5.q10", "The valley is a hundred million times shallower. The row ...",
              ["takes the same path", "does not move", "needs more steps"], guess=None)

# %%
scale, sign = torch.tensor([[1, 1e-8, 1, 1], [1, 1, 1, -1]], dtype=torch.float64)


def odd_rows(x, rows):
    f, g = with_gradient(valley)(x)
    return scale[rows] * f, (scale * sign)[rows, None] * g


starts = x0.repeat(4, 1)
starts[2] = torch.nan
verdicts = lbfgs.minimize(odd_rows, starts, box[0], box[1])
for k, name in enumerate(("as before", "times 1e-8", "NaN", "wrong sign")):
    print(f"{name:10}  {verdicts.message(k)}")
teach.claim("the shallow valley's row has not moved, and is called converged", kind="run",
            condition=bool(verdicts.converged[1] & (verdicts.x[1] == x0).all()))
teach.claim("the first row is at the minimum; NaN and wrong signs are not called converged",
            verdicts.converged.tolist() == [True, True, False, False],
            error=(verdicts.x[0] - minimum).abs(), tolerance=1e-3)
teach.reveal("p2.t5.q10", "does not move", because="its gradient is below gtol from the start")

# %% [markdown]
# "Converged" compares gradients with `gtol`, here $10^{-5}$, so losses should be of size 1: Part 3
# standardises its data, and takes logarithms of scores that fade.
#
# ## 10. Six landscapes
#
# A fair race: 16 random starts on each of six landscapes, all with the lowest loss 0. *Arrived*
# means a millionth of the first loss. Gradient descent and Adam, projected into the box after each
# step, are given for each landscape the best of a ladder of rates, which costs them nothing. L-BFGS
# is used as it is. (The code may be skipped at a first reading.)

# %%
teach.predict("p2.t5.q11", "After 100 gradients, tuned gradient descent has arrived in about ... "
              "of the 96 runs", ["20 %", "50 %", "80 %"], guess=None)

# %%
A = 0.5 * torch.diag(torch.tensor([1.0, 4.0, 20.0, 100.0], dtype=torch.float64))
R = torch.linalg.qr(torch.randn(4, 4, generator=g, dtype=torch.float64)).Q
A = R @ A @ R.T
landscapes = (Quadratic(A + A.T), Himmelblau(), Rosenbrock(), DixonPrice(2), Powell(),
              Quadratic([1.0, 10.0, 100.0, 1000.0]))
BUDGET = 1000


def by_lbfgs(loss, X, bounds, target):
    """How many gradients each row took until its loss was below its target."""
    needed, count = torch.full((len(X),), math.inf, dtype=torch.float64), [0]

    def fun(x, rows):
        f, g = with_gradient(loss)(x)
        count[0] += 1
        new = rows[(f <= target[rows]) & needed[rows].isinf()]
        needed[new] = count[0]
        return f, g

    lbfgs.minimize(fun, X, *bounds, gtol=0.0, ftol=0.0, max_iter=BUDGET)
    return needed


def by_rate(loss, X, bounds, target, rates, adam):
    """The same for descent or Adam, at the rate with the smallest mean logarithm."""
    fun, rate = with_gradient(loss), torch.tensor(rates, dtype=torch.float64).reshape(-1, 1, 1)
    x = X.expand(len(rates), -1, -1)
    m, v = torch.zeros_like(x), torch.zeros_like(x)
    needed = torch.full(x.shape[:-1], math.inf, dtype=torch.float64)
    for t in range(1, BUDGET + 1):
        f, g = fun(x)
        needed = torch.where((f <= target) & needed.isinf(), t, needed)
        if adam:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g.square()
            g = m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        x = (x - rate * g).clamp(*bounds)
    return needed[needed.clamp(max=BUDGET).log().mean(-1).argmin()]

# %%
ladders = {"descent": [2.0**-k for k in range(21)], "Adam": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]}


def contest(seed):
    """Gradients needed, 96 for each method."""
    draw, counts = torch.Generator().manual_seed(seed), {"L-BFGS": [], "descent": [], "Adam": []}
    for problem in landscapes:
        low, high = problem.bounds
        u = torch.rand(16, problem.d, generator=draw, dtype=torch.float64)
        X = low + (high - low) * u
        setting = (problem.loss, X, problem.bounds, 1e-6 * problem.loss(X))
        counts["L-BFGS"].append(by_lbfgs(*setting))
        for name, rates in ladders.items():
            counts[name].append(by_rate(*setting, rates, adam=name == "Adam"))
    return {name: torch.cat(parts) for name, parts in counts.items()}


needed = contest(seed=0)
n = torch.logspace(0, math.log10(BUDGET), 73, dtype=torch.float64)
teach.show(
    plotting.curves(n, {f"{name}": (need <= n[:, None]).double().mean(-1)
                        for name, need in needed.items()}, log="x",
                    xlabel="gradients", ylabel="share of 96 runs that have arrived"),
    "Share of runs that have arrived against gradients, to 1000: the curve of L-BFGS rises from 6 "
    "gradients to one at 55; Adam's stays at 0 up to 60 and comes to one near 860; that of descent "
    "rises slowly and ends near 0.4.",
)

# %%
for name, least in (("descent", 10), ("Adam", 5)):
    times = (needed[name].clamp(max=BUDGET) / needed["L-BFGS"]).log()
    error = times.std() / math.sqrt(len(times))
    teach.claim(f"{name}, tuned, takes at least {least} times the gradients of L-BFGS, untuned "
                "(geometric mean over 96 paired runs)", kind="paired",
                condition=bool(times.mean() - 4 * error > math.log(least)))
share = (needed["descent"] <= 100).double().mean()
teach.claim("after 100 gradients fewer than 35 % of the runs of descent have arrived",
            bool(share < 0.35), kind="monte-carlo")
teach.claim("within the budget all 96 runs of L-BFGS arrive", kind="monte-carlo",
            condition=bool(needed["L-BFGS"].isfinite().all()))
teach.reveal("p2.t5.q11", "20 %", because="most of these valleys are long")

# %% [markdown]
# All of this supposes exact gradients. A pair $(s, y)$ is a difference: where each gradient carries
# noise, short steps make the sign of $s \cdot y$ the toss of a coin. Adam averages gradients and
# takes no differences; the package uses it where a score can only be estimated, with new random
# numbers at each step.
#
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. What do Armijo's and Wolfe's conditions each forbid, and which of them keeps $P$ positive
#    definite?
# 2. A colleague moves the unconstrained minimum into the box, another descends through a sigmoid.
#    What does each get where the best place lies on a bound?
# 3. In a batch of 64 one row is NaN, and all end at once after the first step. Which line do you
#    suspect?
#
# **So, which optimiser?** One that reads curvature from the gradients it has computed anyway, holds
# coordinates at their bounds, and gives each of the 64 rows a memory, a length and a verdict of its
# own: `lbfgs.minimize`. A row that converges stands, as a rule, at a local minimum (a saddle passes
# the same test), which need not be the best one: tutorial 4 says what more starts cost. Next: Part
# 3, where the function itself must be guessed.
#
# ## Sources
#
# - J. Nocedal, S. J. Wright, *Numerical Optimization*, 2nd edition, Springer 2006,
#   [doi:10.1007/978-0-387-40065-5](https://doi.org/10.1007/978-0-387-40065-5), chapters 3, 6 and 7:
#   line search, BFGS, L-BFGS.
# - J. Nocedal, "Updating quasi-Newton matrices with limited storage", *Mathematics of Computation*
#   35 (1980), [doi:10.1090/S0025-5718-1980-0572855-7
#   ](https://doi.org/10.1090/S0025-5718-1980-0572855-7): the two loops.
# - P. Wolfe, "Convergence conditions for ascent methods", *SIAM Review* 11 (1969),
#   [doi:10.1137/1011036](https://doi.org/10.1137/1011036).
# - D. P. Bertsekas, "Projected Newton methods for optimization problems with simple constraints",
#   *SIAM Journal on Control and Optimization* 20 (1982),
#   [doi:10.1137/0320018](https://doi.org/10.1137/0320018): why held coordinates are needed.
# - J. J. Moré, S. M. Wild, "Benchmarking derivative-free optimization algorithms", *SIAM Journal on
#   Optimization* 20 (2009), [doi:10.1137/080724083](https://doi.org/10.1137/080724083): profiles
#   like section 10's.
