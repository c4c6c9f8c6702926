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
# > **Time:** 55 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - learn a bowl's curvature from the slopes that a descent has felt anyway;
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
from matplotlib import pyplot
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
# method takes five hops from there to a loss below $10^{-8}$. The plain flea needs the right
# $\eta$.

# %%
teach.predict("p2.t5.q1", "Five learning rates, 0.001 to 0.003. How many hops does the best flea "
              "need to a loss of 1e-8?", ["300", "1000", "10,000", "100,000"], guess=None)

# %%
valley = Rosenbrock().loss
x0, bottom = torch.tensor([[-1.2, 1.0], [1.0, 1.0]], dtype=torch.float64)
rates = (0.001, 0.0015, 0.0019, 0.002, 0.003)


def plain(eta, hops=25_000):
    """The loss before each hop of plain descent from x0, with the slope written by hand."""
    (x, y), losses = x0.tolist(), []
    for _ in range(hops):
        gap = y - x * x
        losses.append(100 * gap * gap + (1 - x) ** 2)
        x, y = x + eta * (400 * x * gap + 2 * (1 - x)), y - 200 * eta * gap
    return torch.tensor(losses, dtype=torch.float64)


fleas = torch.stack([plain(eta) for eta in rates])
etas = torch.tensor(rates, dtype=torch.float64)
traced = dynamics.trace_gd(valley, x0.expand(5, 2), etas, 50).values
teach.claim("this is trace_gd", error=(fleas[:, :51] - traced.T).abs(), tolerance=1e-9)
arrived = fleas <= 1e-8
gd_hops = arrived.double().argmax(-1)  # the first such hop, where there is one
for eta, some, first, last in zip(rates, arrived.any(-1), gd_hops, fleas[:, -1], strict=True):
    when = f"after {round(int(first), -3):6,} hops" if some else "never"
    print(f"η = {eta:.4f}: 1e-8 {when:>17}; at hop 25,000 "
          + ("still" if last <= 1e-8 else f"the loss is {last:.1g}"))
newton = dynamics.trace_newton(valley, x0, 5).values

# %%
flattest, steepest = torch.linalg.eigvalsh(torch.func.hessian(valley)(bottom)).tolist()
print(f"at the bottom: κ = {steepest / flattest:.0f}, 2/L = {2 / steepest:.6f}; "
      f"η = 0.002 multiplies the steep mode by {1 - 0.002 * steepest:.3f}")
teach.claim("Newton's fifth hop passes 1e-8; with no η of the five do 9000 hops", kind="theorem",
            condition=bool((newton[5] < 1e-8 < newton[4]) & ~arrived[:, :9000].any()))
teach.claim("η = 0.002 visits 1e-8, and stands above 1e-4 at hop 25,000", kind="theorem",
            condition=bool(arrived[3].any() & (fleas[3, -1] > 1e-4)))
teach.reveal("p2.t5.q1", "10,000", because="κ is 2508 at the bottom")

# %% [markdown]
# ($\eta = 0.002$ is above $2/L$. The flea walked in along the floor while its steep mode, times
# $-1.003$ at each hop, was too small to see. "It reached $10^{-8}$" is not "it converged".)
#
# Newton pays with a Hessian per hop. But two slopes, felt anyway, differ by curvature times hop.
#
# ## 2. Reading footprints
#
# Let $s = x' - x$ be a hop and $y = \nabla f(x') - \nabla f(x)$ the change of the slope along it.
# In a bowl, $y = H s$. So a guess $P$ of $H^{-1}$ (a preconditioner, learnt on the way) should obey
#
# $$P\,y = s ,$$
#
# the **secant condition**. In one dimension $P = s/y$; in more that leaves freedom. BFGS (Broyden,
# Fletcher, Goldfarb, Shanno) changes the old guess as little as it can:
#
# $$P \leftarrow V^\top P\,V + c\,s\,s^\top, \qquad V = I - c\,y\,s^\top, \qquad
# c = \frac{1}{s \cdot y} .$$

# %%
teach.predict("p2.t5.q2", "A bowl of 6 dimensions, κ = 1000. The flea hops along -P∇f, to the "
              "lowest point of its line. Hops to the bottom?", [6, 36, 1000, 6000], guess=None)

# %%
def bfgs(P, s, y):
    c = 1 / (s @ y)
    V = torch.eye(len(s), dtype=s.dtype) - c * torch.outer(y, s)
    return V.T @ P @ V + c * torch.outer(s, s)


g = torch.Generator().manual_seed(0)
Q = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64)).Q
H = Q @ torch.diag(torch.logspace(0, 3, 6, dtype=torch.float64)) @ Q.T
x = torch.randn(6, generator=g, dtype=torch.float64)
P, pairs, slopes, positive = torch.eye(6, dtype=torch.float64), [], [(H @ x).norm()], []
for _ in range(6):
    p = -P @ (H @ x)
    s = -(p @ (H @ x)) / (p @ H @ p) * p  # exact line search
    pairs.append((s, H @ s))
    P = bfgs(P, *pairs[-1])
    x = x + s
    slopes.append((H @ x).norm())
    positive.append(bool(torch.linalg.eigvalsh(P)[0] > 0))
print("|∇f|:", ", ".join(f"{slope:.1g}" for slope in slopes[:6]), "...")

# %%
teach.claim("the sixth hop ends at the bottom", error=slopes[-1] / slopes[0], tolerance=1e-10)
teach.claim("by then P is the inverse of H", tolerance=1e-9,
            error=(P @ H - torch.eye(6, dtype=torch.float64)).abs())
teach.claim("P stays symmetric and positive definite", all(positive), error=(P - P.T).abs(),
            tolerance=1e-12)
teach.claim("and it obeys the secant condition of all six pairs", tolerance=1e-9,
            error=torch.stack([P @ y - s for s, y in pairs]).abs())
greedy = Q.sum(-1)  # as much of each mode
first = (H @ greedy).norm()
for _ in range(1000):
    r = H @ greedy
    greedy = greedy - (r @ r) / (r @ H @ r) * r
teach.claim("1000 hops of the greedy flea leave more than a millionth of its slope",
            bool((H @ greedy).norm() > 1e-6 * first), kind="theorem")
teach.reveal("p2.t5.q2", 6, because="each hop explores one dimension, and P keeps it")

# %% [markdown]
# Six hops were enough, where the greedy flea of tutorial 2 takes thousands. In other landscapes $H$
# changes from place to place, and $P$ is only roughly its inverse. But $-P\nabla f$ still points
# downhill while $P$ is positive definite, and it stays so exactly if $s \cdot y > 0$. Then
# $v \cdot P v$ becomes $(Vv) \cdot P\,(Vv) + c\,(s \cdot v)^2 > 0$; else
# $y \cdot P y = y \cdot s \le 0$.

# %%
teach.claim("a pair with s·y < 0 would have spoilt P", kind="theorem",
            condition=bool(torch.linalg.eigvalsh(bfgs(P, s, -(H @ s)))[0] < 0))

# %% [markdown]
# ## 3. A diary of ten hops
#
# $P$ has $d^2$ numbers. But it is built from the pairs $(s, y)$. Keep the last ten pairs in a diary
# instead, and multiply a vector $g$ by $P$ without ever writing $P$ down:
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


v, *hops = torch.randn(6, 6, generator=g, dtype=torch.float64)
pairs, P = [(s, H @ s) for s in hops], torch.eye(6, dtype=torch.float64)
for pair in pairs:
    P = bfgs(P, *pair)
s, y = (torch.stack(part).numpy() for part in zip(*pairs, strict=True))
scipys = torch.from_numpy(optimize.LbfgsInvHessProduct(s, y) @ v.numpy())
ours = product(pairs, v, 1.0)
teach.claim("the product from the diary is that with the explicit matrix P, and SciPy's",
            error=torch.stack([ours - P @ v, ours - scipys]).abs(), tolerance=1e-8)
scale = torch.stack([(s @ y) / (y @ y) for s, y in pairs])
teach.claim("s·y / y·y lies between 1/L and 1/μ", kind="theorem",
            condition=bool((scale >= 1e-3).all() & (scale <= 1).all()))

# %% [markdown]
# This is **L-BFGS**, L for limited memory: ten pairs, whatever $d$. Since the early pairs are
# forgotten, $\gamma$ matters: $s \cdot y / y \cdot y$ of the newest pair is one over a curvature
# that the flea has met.
#
# **Exercise 1.** Without recursion it is two loops, one back through the diary and one forward.

# %%
# exercise: p2.t5.e1

# %% [markdown]
# ## 4. How far?
#
# $p = -P\nabla f$ says where to; $x + \eta\,p$ with $\eta = 1$ is the natural hop. Is it good? An
# exact search costs too many evaluations. "The loss must fall" is cheap.

# %%
teach.predict("p2.t5.q3", "In the valley ½ x² the loss falls at every hop, for ever. Must the flea "
              "come to the bottom?", ["yes", "no"], guess=None)

# %%
k = torch.arange(30, dtype=torch.float64)
leaper, creeper = (-1) ** k * (1 + 2**-k), 1 + 2**-k
for name, path in (("leaper", leaper), ("creeper", creeper)):
    loss = path.square() / 2
    teach.claim(f"the {name}'s loss falls at each of 29 hops, and never below ½",
                bool((loss[1:] < loss[:-1]).all() & (loss > 0.5).all()), kind="theorem")
teach.reveal("p2.t5.q3", "no", because="hops may be too long, or too short")

# %% [markdown]
# Two conditions rule out the two. With the slope $\phi' = \nabla f(x) \cdot p < 0$ along the hop,
#
# - **Armijo**: the loss falls by a fair share of what the slope promised,
#   $f(x + \eta p) \le f(x) + 10^{-4}\,\eta\,\phi'$. Too long a hop fails it.
# - **Wolfe** adds: the slope at the end is less steep than at the start,
#   $\nabla f(x + \eta p) \cdot p \ge 0.9\,\phi'$. Too short a hop fails this. (*Strong* Wolfe also
#   forbids an end that climbs steeply.)
#
# Below, both fleas are put to the test, then every length of one hop from Rosenbrock's start.

# %%
def flaws(path):
    """Which hops in ½ x² are too long for Armijo, and which too short for Wolfe."""
    x, s = path[:-1], path.diff()
    return path[1:] ** 2 / 2 > x**2 / 2 + 1e-4 * x * s, path[1:] * s < 0.9 * x * s


def slope_at(x):
    return torch.func.vmap(torch.func.grad(valley))(x)


long, short = zip(flaws(leaper), flaws(creeper), strict=True)
teach.claim("from hop 20 on every hop of the leaper is too long, of the creeper too short",
            bool(long[0][20:].all() & short[1][20:].all() & ~long[1].any()), kind="theorem")
p = -slope_at(x0[None])[0]
p = p / p.norm()
eta = torch.linspace(0, 3.2, 1601, dtype=torch.float64)
along = x0 + eta[:, None] * p
height, slope = valley(along), slope_at(along) @ p
high, flat = height > height[0] + 1e-4 * eta * slope[0], slope < 0.9 * slope[0]
good = torch.where(high | flat, torch.nan, height)
figure = plotting.curves(eta, {
    "the loss along the line": torch.where(height < 60, height, torch.nan),
    "highest loss that Armijo allows": height[0] + 1e-4 * eta * slope[0],
    "hops that both conditions allow": good}, xlabel="length η of the hop", ylabel="loss")
figure.axes[0].lines[2].set(lw=9, ls="-", marker="", alpha=0.45)
figure.axes[0].legend()
teach.show(figure, "Loss along the steepest line from Rosenbrock's start: a valley near 0.2, a "
           "hill cut off at 60, a deeper valley near 2.8. Allowed are lengths in both valleys, "
           "below the start's loss, but not the shortest ones.")

# %% [markdown]
# If the loss is bounded below, some lengths are always allowed, and halving an interval finds one:
# "too long" moves its upper end, "too short" its lower. And Wolfe's condition gives the diary the
# positive $s \cdot y$ that it needs:
#
# $$s \cdot y = \eta\,(\nabla f(x') - \nabla f(x)) \cdot p \ge -0.1\,\eta\,\phi' > 0 .$$
#
# **Exercise 2.** Armijo alone, by halving, for many fleas at once.

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
    """A hop along p that both conditions allow, with loss and slope there."""
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


def quasi_newton(fun, x, hops=200):
    """Where a flea with a diary lands, and the slopes there."""
    f, g = fun(x)
    path, slopes, diary, gamma = [x], [g], [], 1.0
    while g.abs().max() > 1e-9 and len(path) <= hops:
        x, f, g = wolfe(fun, x, f, g, -product(diary, g, gamma))
        s, y = x - path[-1], g - slopes[-1]
        diary, gamma = [*diary, (s, y)][-10:], (s @ y) / (y @ y)
        path.append(x)
        slopes.append(g)
    return torch.stack(path), torch.stack(slopes)

# %%
teach.predict("p2.t5.q4", "From Rosenbrock's start to a slope of 1e-9: how many slopes does the "
              "flea with a diary feel?", ["20", "60", "600", "6000"], guess=None)

# %%
asked = []


def counting(x, rows=None):
    asked.append(x)
    return with_gradient(valley)(x)


path, slopes = quasi_newton(counting, x0)
gentle = dynamics.trace_gd(valley, x0, 0.0019, 3000).points
step = {"Newton": dynamics.trace_newton(valley, x0, 7).points, "flea with a diary": path,
        "3000 plain hops": gentle}
figure = plotting.descents(
    {"": (lambda x: valley(x + 1), {name: points - 1 for name, points in step.items()})},
    [(2.6, 4.6)], labels=[("x₁ − 1", "x₂ − 1")])
figure.set_size_inches(7.0, 5.2)
figure.axes[0].set(aspect="auto", ylim=(-4.6, 1.4))
teach.show(figure, "The curved valley with three paths to its bottom at the centre: Newton leaps "
           "far out of the valley and back; the flea with a diary follows the bend in some forty "
           "hops; the plain flea zigzags, then creeps along the floor.")

# %%
losses, s = valley(path), path.diff(dim=0)
promised, felt = (slopes[:-1] * s).sum(-1), (slopes[1:] * s).sum(-1)
print(f"about {round(len(asked), -1)} slopes felt")
teach.claim("it ends at the bottom", error=(path[-1] - bottom).abs(), tolerance=1e-8)
teach.claim("every hop satisfies Armijo's and Wolfe's conditions, and s·y > 0 as promised",
            bool((losses[1:] <= losses[:-1] + 1e-4 * promised + 1e-15).all()
                 & (felt >= 0.9 * promised).all()
                 & ((s * slopes.diff(dim=0)).sum(-1) >= -0.1 * promised - 1e-15).all()),
            kind="theorem")
best = int(gd_hops[arrived.any(-1)].min())
first = next(k for k, x in enumerate(asked) if valley(x) <= 1e-8) + 1
teach.claim("to 1e-8, plain descent at the best of five η feels over 100 times as many slopes",
            best > 100 * first, kind="theorem")
teach.reveal("p2.t5.q4", "60", because="most hops are accepted at η = 1")

# %% [markdown]
# Newton's speed at the price of slopes. Does it inherit Newton's indifference to the map, too? Let
# the same valley be drawn on a turned map, and on one with half the unit on one axis.

# %%
teach.predict("p2.t5.q5", "Who walks the same path on the turned map?",
              ["plain and diary", "plain and Adam", "all three", "none"], guess=None)

# %%
def adam(loss, x, steps=15):
    x, points = x.clone().requires_grad_(), []
    optimizer = torch.optim.Adam([x], lr=0.1)
    for _ in range(steps + 1):
        points.append(x.detach().clone())
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()
    return torch.stack(points)


walkers = {"plain": lambda loss, x: dynamics.trace_gd(loss, x, 0.001, 15).points,
           "diary": lambda loss, x: quasi_newton(with_gradient(loss), x)[0][:16], "Adam": adam}
turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
half = torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64))
apart = {}
for name, walk in walkers.items():
    for title, S in (("turned", turn), ("half", half)):
        there = walk(lambda z, S=S: valley(z @ S.T), torch.linalg.solve(S, x0)) @ S.T
        apart[name, title] = (there - walk(valley, x0)).abs().max()
teach.claim("on the turned map the plain flea and the one with a diary keep their paths",
            error=torch.stack([apart["plain", "turned"], apart["diary", "turned"]]), tolerance=1e-7)
teach.claim("Adam does not", bool(apart["Adam", "turned"] > 0.01), kind="theorem")
teach.claim("with half a unit on one axis none of the three does", kind="theorem",
            condition=min(float(apart[name, "half"]) for name in walkers) > 0.01)
teach.reveal("p2.t5.q5", "plain and diary", because="they use lengths and inner products only")

# %% [markdown]
# The diary starts from $\gamma I$, which takes a unit on every axis for equally long. So give it
# variables of like size: the package searches in the unit cube.
#
# ## 6. The fence
#
# Part 3 searches in a box: temperatures between 20 and 90 °C, no others. Put a fence at $x_1 = 2$
# into a tilted bowl with its bottom at 0, and let only $x_1 \ge 2$ be allowed.

# %%
teach.predict("p2.t5.q6", "Where on the allowed side is the loss lowest?",
              ["where the fence is nearest to the bottom", "elsewhere on the fence",
               "not on the fence"], guess=None)

# %%
H = torch.tensor([[1.0, -0.9], [-0.9, 1.0]], dtype=torch.float64)
lower, upper = torch.tensor([[2.0, -3.0], [5.0, 3.0]], dtype=torch.float64)
tilted = Quadratic(H).loss


def fenced(x, eta, steps):
    """Descent that puts the flea back onto the nearest allowed place after each hop."""
    path = [x]
    for _ in range(steps):
        path.append((path[-1] - eta * (path[-1] @ H)).clamp(lower, upper))
    return torch.stack(path)


start, other = torch.tensor([[4.0, -2.0], [2.0, 1.0]], dtype=torch.float64)
eta = torch.linspace(0.01, 1, 100, dtype=torch.float64)
hops = (other - eta[:, None] * other).clamp(lower, upper)  # Newton's hop is -x: to the bottom
figure = plotting.descents(
    {"": (tilted, {"plain hops, put back": fenced(start, 0.5, 30),
                   "Newton's hop, put back": torch.stack([other, hops[-1]])})}, [(4.6, 3.0)])
figure.axes[0].axvspan(-4.6, 2, facecolor="none", edgecolor=plotting.GREY, hatch="\\\\", lw=0,
                       alpha=0.5)
teach.show(figure, "Level lines of a tilted bowl; all left of x₁ = 2 is hatched. Plain hops that "
           "are put back slide up along the fence to about (2, 1.8); Newton's hop from (2, 1), put "
           "back, slides down to (2, 0).")

# %%
end = fenced(start, 0.5, 100)[-1]
best = torch.tensor([2.0, 1.8], dtype=torch.float64)
clipped = torch.zeros(2, dtype=torch.float64).clamp(lower, upper)
teach.claim("plain hops, put back, end at (2, 1.8)", error=(end - best).abs(), tolerance=1e-12)
teach.claim("the bottom moved to the nearest allowed place is over five times as high",
            bool(tilted(clipped) > 5 * tilted(best)), kind="theorem")
slope = best @ H
teach.claim("at (2, 1.8) the slope along the fence is 0, and across it presses outwards",
            bool(slope[0] > 0), error=slope[1].abs(), tolerance=1e-12)
teach.claim("Newton's hop from (2, 1), put back, climbs: for each of 100 lengths",
            bool((tilted(hops) > tilted(other)).all()), kind="theorem")
teach.reveal("p2.t5.q6", "elsewhere on the fence", because="along the fence the bowl falls on")

# %% [markdown]
# At the best place of a box each coordinate is in one of three states: free with slope 0; at its
# lower end with slope $\ge 0$; at its upper end with slope $\le 0$ (the **Karush-Kuhn-Tucker
# conditions**). One test for all three: $\mathrm{project}(x - \nabla f(x)) = x$.
#
# And Newton's hop? A matrix $P$ trades one coordinate for another, but the fence refuses half of
# the bargain (Bertsekas 1982). The remedy: coordinates that lean on the fence are **held**, and
# $P$ works on the free ones only.
#
# The popular alternative maps all of space into the box, $x_i = l_i + (u_i - l_i)\,\sigma(z_i)$,
# with the sigmoid of Part 1, and descends in $z$. No fence left!

# %%
teach.predict("p2.t5.q7", "Descent in z: after ten times the hops the flea is ... to the fence",
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
    plotting.curves(t, {"through the sigmoid": distance, "1 / (η a t)": 1 / (0.5 * slope[0] * t)},
                    log="xy", xlabel="hop t", ylabel="distance from the fence"),
    "Distance from the fence against hops, on logarithmic axes: through the sigmoid it bends "
    "into the line 1/(η a t) and follows it to 0.002 at hop 3000.",
)

# %%
teach.claim("put back, the flea is on the fence from its first hop on, exactly", tolerance=0,
            error=(fenced(start, 0.5, 3000)[1:, 0] - 2).abs())
teach.claim("through the sigmoid its distance is 1/(η a t), with the slope a across the fence, "
            "within 1 % at hop 3000", tolerance=0.01, kind="theorem",
            error=(distance[-1] * 0.5 * slope[0] * t[-1] - 1).abs())
teach.claim("and it never arrives", bool((distance > 0).all()), kind="theorem")
held = torch.tensor([2.0, other[1] - (other @ H)[1] / H[1, 1]], dtype=torch.float64)
teach.claim("with x₁ held, one Newton hop from (2, 1) arrives", error=(held - best).abs(),
            tolerance=1e-12)
teach.reveal("p2.t5.q7", "ten times closer", because="near the fence x hardly moves with z")

# %% [markdown]
# Close to the fence a hop in $z$ takes $\eta a \delta^2$ off the distance $\delta$, so $1/\delta$
# grows by only $\eta a$ at each hop. The sigmoid does not move the best place; it moves the fence
# to infinity. And a flea that starts near the *wrong* fence creeps away from it as slowly. Inside
# the box, and for positive scales (tutorial 2), such maps are fine.
#
# **Exercise 3.** Putting back, in general.

# %%
# exercise: p2.t5.e3

# %% [markdown]
# ## 7. Sixty-four fleas on one bus
#
# One call of a loss on a table of 64 points costs little more than on one (Part 1, tutorial 2): a
# bus that serves all fleas at each stop. The obvious way to fill it: put all 128 coordinates into
# one vector and let an optimiser minimise the sum of the losses. Its minimum is where every one of
# them is minimal.

# %%
teach.predict("p2.t5.q8", "No flea alone asks more than 60 times. And the sum?",
              ["60 times", "several times as often", "64 · 60 times"], guess=None)
teach.predict("p2.t5.q9", "One of the 64 starts is NaN. How many fleas come home?", [0, 63, 64],
              guess=None)

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
teach.claim("the sum asks over three times as often as the slowest of 16 fleas alone",
            calls > 3 * alone, kind="theorem")
print(f"16 fleas, each alone: at most {20 * math.ceil(alone / 20)} times")
teach.claim("with one NaN among the starts, all 64 ends are NaN", bool(lost.isnan().all()))
teach.reveal("p2.t5.q8", "several times as often", because="one diary and one length serve all")
teach.reveal("p2.t5.q9", 0, because="the sum is NaN, and with it every hop")

# %% [markdown]
# Ten pairs must describe 128 dimensions, one $\eta$ must suit everybody, and everybody shares the
# worst neighbour's fate. So: a diary, an $\eta$ and a verdict for *each row*. At each stop of the
# bus a row whose hop was accepted writes its pair and gets a new direction; a refused row gets a
# shorter $\eta$; a row that has arrived stays seated. No `if` on rows: **masks**.

# %%
x_now, trial = torch.tensor([[1.0, 2.0], [0.5, torch.nan]], dtype=torch.float64)
accepted = trial < x_now  # NaN compares false: refused
by_product = x_now + accepted * (trial - x_now)
by_where = torch.where(accepted, trial, x_now)
print("by product:", by_product.tolist(), "  by where:", by_where.tolist())
teach.claim("a mask that multiplies lets a refused NaN in", bool(by_product[1].isnan()))
teach.claim("torch.where keeps it out", by_where.tolist() == [0.5, 2.0])

# %% [markdown]
# Zero times NaN is NaN. And `while slopes.max() > 1e-9` ends at once: that maximum is NaN, too.
#
# **Exercise 4.** Put it all together: many fleas, a diary each, a fence, and a NaN.

# %%
# exercise: p2.t5.e4

# %% [markdown]
# ## 8. The package's bus
#
# From here on we import it: `bolearn.optim.lbfgs.minimize`. It is what you have just built, with
# three savings. A stop must serve all rows, so it tests Armijo only, and writes a pair down only if
# $s \cdot y > 0$. Up to ten variables, the matrix that the diary implies is kept, not the diary.
# And rows that have arrived leave the bus at every second stop.

# %%
stops = []


def recorded(x, rows):
    f, g = with_gradient(valley)(x)
    row = torch.full((64,), torch.nan, dtype=torch.float64)
    row[rows] = f
    stops.append(row)
    return f, g


exact = {"gtol": 1e-9, "ftol": 0.0}
end = lbfgs.minimize(recorded, X, box[0], box[1], **exact)
table = torch.stack(stops, dim=-1).clamp(min=1e-12).log10()  # 64 rows, stops
order = end.iterations.argsort()
figure, panel = pyplot.subplots(figsize=(7.5, 4.8))
image = panel.imshow(table[order].numpy(), aspect="auto", interpolation="nearest")
panel.set(xlabel="stop of the bus (call of the loss)", ylabel="flea, the quickest on top")
panel.grid(visible=False)
figure.colorbar(image, label="log10 of the loss asked")
teach.show(figure, "Raster of 64 fleas and about 60 stops: in every row the colour darkens from "
           "left to right, and the row ends, white, between stop 20 and the last; the white "
           "edge is a staircase of two stops.")

# %%
def run(x0, rows=None, **options):
    return lbfgs.minimize(with_gradient(valley), x0, box[0], box[1], **exact | options)


each = [run(row[None]) for row in X]
teach.claim("64 rows as one batch end where each of them ends alone", tolerance=1e-10,
            error=(torch.cat([one.x for one in each]) - end.x).abs())
teach.claim("the bus stops as often as its slowest flea alone asks, ±4", tolerance=4,
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
teach.claim("16 fleas of section 5, one by one, end there, too", tolerance=1e-7,
            error=(ours - end.x[:16]).abs())

# %% [markdown]
# (Bright specks in the raster are refused hops.) On a processor the package works on NumPy views of
# the tensors, which is quicker for small ones; on a graphics card on the tensors themselves.
#
# Now with a fence in the way, $x_1 \le \tfrac12$, and with several bottoms; SciPy's L-BFGS-B goes
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
at_fence = lbfgs.minimize(with_gradient(valley), X, short[0], short[1], **exact)
teach.claim("with the fence, all 64 end where SciPy's end", tolerance=1e-6,
            error=(torch.stack([by_scipy(valley, row, short) for row in X]) - at_fence.x).abs())
teach.claim("the end is on the fence, exactly", error=(at_fence.x[:, 0] - 0.5).abs(), tolerance=0)
four = Himmelblau()
many = lbfgs.minimize(with_gradient(four.loss), X * (5 / 2.048), *four.bounds, **exact)
nearest = torch.cdist(many.x, four.optimal_points)
print("fleas at each of four bottoms:", nearest.argmin(-1).bincount().tolist())
teach.claim("on a landscape with four bottoms every flea ends at one of them, all are found",
            bool((nearest.argmin(-1).bincount(minlength=4) > 0).all()),
            error=nearest.amin(-1), tolerance=1e-7)
pressed = torch.cat([at_fence.gradient, many.gradient])
teach.claim("every end passes project(x - ∇f) = x", error=pressed, tolerance=1e-8)

# %% [markdown]
# ## 9. What "converged" means
#
# A row stops when no entry of $\mathrm{project}(x - \nabla f) - x$ exceeds `gtol`, when a hop gains
# less than `ftol` of the loss (or of 1, if the loss is smaller), when no shorter hop helps, or
# after `max_iter` hops. Three fleas start at Rosenbrock's start: one as before; one in the valley
# times $10^{-8}$; one that is told slopes of the wrong sign. A fourth starts at NaN.

# %%
teach.predict("p2.t5.q10", "The valley is a hundred million times shallower. The flea ...",
              ["takes the same path", "does not move", "needs more hops"], guess=None)

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
teach.claim("the shallow valley's flea has not moved, and is called converged",
            bool(verdicts.converged[1] & (verdicts.x[1] == x0).all()))
teach.claim("the first flea is at the bottom; the others are not called converged",
            verdicts.converged.tolist() == [True, True, False, False],
            error=(verdicts.x[0] - bottom).abs(), tolerance=1e-3)
teach.reveal("p2.t5.q10", "does not move", because="its slopes are below gtol from the start")

# %% [markdown]
# A tolerance has a unit. "Converged" compares slopes with `gtol`, here $10^{-5}$, so losses should
# be of size 1: Part 3 standardises its data, and takes logarithms of scores that fade.
#
# ## 10. Six landscapes
#
# A fair race: 16 random starts on each of six landscapes, all with the lowest loss 0. *Arrived*
# means a millionth of the first loss. The plain flea and Adam, put back into the box after each
# hop, are given for each landscape the best of a ladder of rates, which costs them nothing. The
# diary is used as it is.

# %%
teach.predict("p2.t5.q11", "After 100 slopes, the tuned plain flea has arrived in about ... of the "
              "96 runs", ["20 %", "50 %", "80 %"], guess=None)

# %%
A = 0.5 * torch.diag(torch.tensor([1.0, 4.0, 20.0, 100.0], dtype=torch.float64))
R = torch.linalg.qr(torch.randn(4, 4, generator=g, dtype=torch.float64)).Q
A = R @ A @ R.T
landscapes = (Quadratic(A + A.T), Himmelblau(), Rosenbrock(), DixonPrice(2), Powell(),
              Quadratic([1.0, 10.0, 100.0, 1000.0]))
BUDGET = 1000


def by_diary(loss, X, bounds, target):
    """How many slopes each row felt until its loss was below its target."""
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
ladders = {"plain": [2.0**-k for k in range(21)], "Adam": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]}


def contest(seed):
    """Slopes needed, 96 for each method."""
    draw, counts = torch.Generator().manual_seed(seed), {"diary": [], "plain": [], "Adam": []}
    for problem in landscapes:
        low, high = problem.bounds
        u = torch.rand(16, problem.d, generator=draw, dtype=torch.float64)
        X = low + (high - low) * u
        setting = (problem.loss, X, problem.bounds, 1e-6 * problem.loss(X))
        counts["diary"].append(by_diary(*setting))
        for name, rates in ladders.items():
            counts[name].append(by_rate(*setting, rates, adam=name == "Adam"))
    return {name: torch.cat(parts) for name, parts in counts.items()}


slopes_needed = contest(seed=0)
n = torch.logspace(0, math.log10(BUDGET), 73, dtype=torch.float64)
teach.show(
    plotting.curves(n, {f"{name}": (need <= n[:, None]).double().mean(-1)
                        for name, need in slopes_needed.items()}, log="x",
                    xlabel="slopes felt", ylabel="share of 96 runs that have arrived"),
    "Share of runs that have arrived against slopes felt, to 1000: the diary's curve rises between "
    "8 and 100 to one; Adam's follows about eight times later; plain descent's ends near 0.4.",
)

# %%
for name, least in (("plain", 10), ("Adam", 5)):
    times = (slopes_needed[name].clamp(max=BUDGET) / slopes_needed["diary"]).log()
    error = times.std() / math.sqrt(len(times))
    teach.claim(f"{name}, tuned, feels at least {least} times as many slopes as the diary, untuned "
                "(geometric mean over 96 paired runs)", kind="paired",
                condition=bool(times.mean() - 4 * error > math.log(least)))
share = (slopes_needed["plain"] <= 100).double().mean()
teach.claim("after 100 slopes fewer than 35 % of the plain runs have arrived", bool(share < 0.35),
            kind="paired")
teach.claim("within the budget all 96 with a diary arrive", kind="paired",
            condition=bool(slopes_needed["diary"].isfinite().all()))
teach.reveal("p2.t5.q11", "20 %", because="most of these valleys are long")

# %% [markdown]
# ## 11. When not
#
# A diary lives on differences of slopes. Suppose that each slope is wrong by $\sigma\xi$
# (tutorial 4). Over a hop of length $h$ along a curvature $\lambda$, $s \cdot y$ is normal with
# mean $\lambda h^2$ and standard deviation $\sqrt2\,\sigma h$. It is negative with the probability
# $\Phi\bigl(-\lambda h / (\sqrt2\,\sigma)\bigr)$, where $\Phi$ is the distribution function of the
# standard normal (Part 1, tutorial 6).

# %%
noise = 0.1 * torch.randn(2, 20_000, generator=g, dtype=torch.float64)
for h in (0.3, 0.1, 0.01):
    useless = (h * (h + noise[1] - noise[0]) < 0).double().mean()
    law = torch.special.ndtr(torch.tensor(-h / (math.sqrt(2) * 0.1)).double())
    print(f"hop of {h:4}: {useless:.0%} of the pairs point the wrong way")
    teach.claim(f"λ = 1, σ = 0.1, a hop of {h:g}: the share of negative s·y is Φ(-λh/(√2 σ)), "
                "within 5 standard errors", kind="monte-carlo", tolerance=5,
                error=(useless - law).abs() / (law * (1 - law) / 20_000).sqrt())

# %% [markdown]
# Near a bottom hops are short, and a pair becomes the toss of a coin. Adam averages slopes and
# subtracts none: it is for noisy slopes what the diary is for exact ones. (The package uses it
# where a score can only be estimated, with new random numbers at each hop.)
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
#    What does each get where the best place lies on the fence?
# 3. In a batch of 64 one row is NaN, and all end at once after the first step. Which line do you
#    suspect?
#
# **So, which optimiser?** One that reads curvature from the slopes it has felt anyway, holds what
# leans on the fence, and gives each of the 64 rows a diary, a length and a verdict of its own:
# `lbfgs.minimize`. It finds 64 bottoms, not the best one; for luck, tutorial 4's prices hold. Next:
# Part 3, where the function itself must be guessed.
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
