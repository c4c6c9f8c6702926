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
# # Part 2, tutorial 1: gradient descent as a dynamical system
#
# **When does repeating $x \leftarrow x - \eta\,\nabla f(x)$ settle, ring, cycle or explode, and can
# you know before running it?**
#
# > **Before you start:** Part 1, tutorials 3 to 5; eigenvalues of a symmetric matrix.
# >
# > **Time:** 55 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - write down every iterate on a quadratic, and count its steps in advance;
# > - measure where a method becomes unstable, without bias;
# > - tell from one derivative what a fixed point does to its neighbours;
# > - say which starts reach which minimum, and why that is not which side of the hill they are on.
# >
# > **You will build** `gd_iterate`, `stability_limit`, `classify`, `basin` and `one_step_lr`.

# %%
import math
from collections.abc import Callable

import torch
from torch import Tensor

from bolearn import dynamics, plotting, teach
from bolearn.problems import DoubleWell, Quadratic

teach.setup("p2.t1")

# %% [markdown]
# ## 1. A map, repeated
#
# Gradient descent with the learning rate $\eta$ repeats one **map**, $T(x) = x - \eta f'(x)$.
# Picture a flea that feels the gradient under its feet, jumps downhill by $\eta$ times that
# gradient, and sees nothing of what it flies over: each jump is a **step**, each place where it
# lands an **iterate**. The iterates $x_0, x_1 = T(x_0), x_2 = T(x_1), \ldots$ form an **orbit**.
# Where the gradient is zero, $T(x) = x$: a **fixed point**.
#
# In the simplest valley, $f(x) = \tfrac12 a x^2$, a step multiplies the distance to the minimum:
#
# $$T(x) = (1 - \eta a)\,x, \qquad x_t = (1 - \eta a)^t\, x_0 .$$
#
# (`Quadratic([1.0])` is the package's bowl $\tfrac12 \sum_i \lambda_i x_i^2$, made from its
# eigenvalues $\lambda_i$; `trace_gd` is that of tutorial 1.3.)

# %%
teach.predict("p2.t1.q1", "a = 1. With which η does the orbit not converge, but stay near?",
              [0.4, 1.7, 2.0, 2.1], guess=None)

# %%
bowl = Quadratic([1.0])
etas = torch.tensor([0.4, 1.7, 2.0, 2.1], dtype=torch.float64)
orbits = dynamics.trace_gd(bowl.loss, torch.ones(4, 1).double(), etas, steps=20).points[..., 0]
panels = {f"η = {eta:g}": (lambda x, eta=eta: (1 - eta) * x, orbits[:, k])
          for k, eta in enumerate(etas.tolist())}
teach.explorable(
    "cobweb", {"function": "quadratic", "a": 1.0, "eta": 1.7, "x0": 1.0},
    still=plotting.cobweb(panels, (-2.0, 2.0)),
    alt="Four cobwebs: with η = 0.4 a staircase descends to 0; with 1.7 the path spirals into 0; "
        "with 2 it runs round a square for ever; with 2.1 it spirals outwards.",
)

# %% [markdown]
# How to read it: up or down to the blue line is a step; across to the dashed diagonal makes its
# result the next $x$. Fixed points are where the two lines cross.

# %%
factors = (1 - etas) ** torch.arange(21).unsqueeze(-1)
teach.claim("every step multiplies the distance by 1 - ηa", error=(orbits - factors).abs(),
            tolerance=1e-12)
teach.claim("with η = 2/a the orbit returns every second step, for ever",
            error=(orbits[2:, 2] - orbits[:-2, 2]).abs(), tolerance=0)
teach.reveal("p2.t1.q1", 2.0, because="1 - ηa = -1: it lands as far on the other side")

# %% [markdown]
# One number, the **multiplier** $m = 1 - \eta a$, decides: between 0 and 1 the iterates approach
# from one side; between $-1$ and 0 they ring; at $-1$ they cycle; below, they diverge. So
# $\eta < 2/a$ promises convergence, and ringing begins at $1/a$. With $m = 0$ one step arrives.
#
# ## 2. Many dimensions, one mode at a time
#
# Let $f(x) = \tfrac12 x^\top A x$ with a symmetric $A$ of positive eigenvalues, the largest of
# which is $L$. A step is $x \leftarrow (I - \eta A)\,x$. Write $A = Q \Lambda Q^\top$, with
# the eigenvectors as columns of $Q$, and look at $z = Q^\top x$:
#
# $$z_i \leftarrow (1 - \eta\lambda_i)\, z_i, \qquad
# x_t = Q\,(I - \eta\Lambda)^t\, Q^\top x_0 .$$
#
# Each **mode** $z_i$ is a descent in one dimension, and none disturbs another.

# %%
g = torch.Generator().manual_seed(0)
M = torch.randn(20, 6, 6, generator=g, dtype=torch.float64)
A = M @ M.mT / 6 + 0.1 * torch.eye(6, dtype=torch.float64)  # 20 random bowls in 6 dimensions,
A[0] = torch.eye(6)  # but the first is round, and the second is narrow
A[1] = torch.diag(torch.logspace(0, 2, 6))
eigenvalues, Q = torch.linalg.eigh(A)
L = eigenvalues[:, -1]
starts = torch.randn(20, 6, generator=g, dtype=torch.float64)


def twenty_bowls(x):  # 20 6 -> 20
    return 0.5 * torch.einsum("bi,bij,bj->b", x, A, x)


paths = dynamics.trace_gd(twenty_bowls, starts, 1.8 / L, steps=50).points
t = torch.arange(51).reshape(-1, 1, 1)
z = (1 - 1.8 / L.unsqueeze(-1) * eigenvalues) ** t * (starts.unsqueeze(-2) @ Q).squeeze(-2)
teach.claim("in 20 random bowls the formula gives all of 50 iterates", tolerance=1e-12,
            error=(torch.einsum("bij,tbj->tbi", Q, z) - paths).abs())

# %%
ends = {}
for fraction in (0.99, 1.01):
    run = dynamics.trace_gd(twenty_bowls, starts, fraction * 2 / L, steps=3000).points
    ends[fraction] = run[-1].norm(dim=-1) / starts.norm(dim=-1)
teach.claim("0.99 · 2/L: all 20 converge", error=ends[0.99], tolerance=1e-12, kind="theorem")
teach.claim("1.01 · 2/L: all 20 diverge", bool((ends[1.01] > 1e12).all()), kind="theorem")

# %% [markdown]
# The whole is as slow as its slowest mode. With $\rho = \max_i |1 - \eta\lambda_i| < 1$, the
# distance after $t$ steps is at most $\rho^t$ of the first one: at most $\varepsilon$ of it after
# $\lceil \ln\varepsilon / \ln\rho \rceil$ steps (after one if $\rho = 0$).

# %%
teach.predict("p2.t1.q2", "η = 1/L, and L is 100 times the smallest eigenvalue. How many steps to "
              "come a million times closer, at worst?", guess=None)

# %%
stiff = Quadratic([100.0, 7.0, 1.0])
rho = 1 - 0.01
needed = math.ceil(math.log(1e-6) / math.log(rho))
print("by the formula:", needed)
starts = torch.cat([torch.tensor([[0.0, 0.0, 1.0]]).double(), torch.randn(200, 3, generator=g,
                                                                        dtype=torch.float64)])
path = dynamics.trace_gd(stiff.loss, starts, 0.01, steps=1500).points.norm(dim=-1)
first = int((path[:, 0] <= 1e-6).double().argmax())  # the first step at which it is
teach.claim("along the flattest direction it takes as many steps as the formula says, ±1",
            error=abs(first - needed), tolerance=1)
teach.claim("200 random starts have all arrived by then, +1 step", kind="theorem",
            condition=bool((path[needed + 1] <= 1e-6 * path[0]).all()))
teach.reveal("p2.t1.q2", needed, because="each step leaves 99 % of the flattest mode")

# %% [markdown]
# A learning rate below $1/L$ would bring $\rho$ closer to 1, and take more steps.
#
# **Exercise 1.** A million steps in one.

# %%
# exercise: p2.t1.e1

# %% [markdown]
# ## 3. The flow
#
# Let time run continuously: $\dot x = -\nabla f(x)$, the **gradient flow**. (Picture a bead that
# sinks through honey.) In a bowl its modes are $z_i(t) = e^{-\lambda_i t} z_i(0)$: they never ring.
# Gradient descent imitates the flow in steps that each take the time $\eta$. How well?

# %%
def gap(eta):
    """How far descent and flow are apart at time 1, in the valley ½ x², both from 1."""
    end = dynamics.trace_gd(bowl.loss, torch.ones(1).double(), eta, steps=round(1 / eta)).points[-1]
    return (end[0] - math.exp(-1)).abs()


teach.claim("half the step, half the gap: 0.01 against 0.005", kind="run", tolerance=0.02,
            error=(gap(0.01) / gap(0.005) - 2).abs())

# %% [markdown]
# So short steps follow the flow (they are Euler's method for its equation). But only the flow
# lowers the loss at *every* moment, $\frac{\mathrm d}{\mathrm dt} f = -\lVert\nabla f\rVert^2$, and
# in one dimension it cannot pass a maximum. Remember that for section 7.
#
# ## 4. Where exactly does it diverge?
#
# Suppose the Hessian were hidden: a bowl with eigenvalues 10 and 1. We try many learning rates for
# 80 steps. A common rule: report the first at which the distance exceeds $10^6$.

# %%
teach.predict("p2.t1.q3", "The true limit is 2/L = 0.2. What does this rule report?",
              ["less", "0.2", "more"], guess=None)

# %%
hidden = Quadratic([10.0, 1.0])
etas = torch.linspace(0.15, 0.25, 101, dtype=torch.float64)
runs = dynamics.trace_gd(hidden.loss, torch.ones(101, 2).double(), etas, steps=80)
far = runs.points.norm(dim=-1)
by_threshold = etas[far[-1] > 1e6][0]
rate = (far[80] / far[60]).log() / 20  # growth per step, late in the run
k = int((rate > 0).double().argmax())  # the first that grows; a straight line to the one before
by_rate = etas[k] - rate[k] * (etas[k] - etas[k - 1]) / (rate[k] - rate[k - 1])
print(f"by the threshold {by_threshold:.3f}, by the growth rate {by_rate:.4f}")
modes = {f"mode of eigenvalue {a}": (1 - a * etas).abs().log() for a in (10, 1)}
teach.show(
    plotting.curves(etas, {"measured": rate, **modes},
                    xlabel="learning rate η", ylabel="growth rate: ln(factor per step)",
                    marks={"2/L": 0.2, "verdict of the threshold": float(by_threshold)}),
    "Growth rate against learning rate: the measured rate follows the flat mode up to about 0.18, "
    "then the steep one, and crosses zero at 0.2; the threshold's verdict is near 0.22.",
)

# %%
teach.claim("the threshold's verdict is 0.0189 too large, up to the grid",
            error=(by_threshold - (1 + 1e6 ** (1 / 80)) / 10).abs(), tolerance=1e-3)
teach.claim("the zero of the growth rate is 2/L", error=(by_rate - 0.2).abs(), tolerance=1e-4)
teach.reveal("p2.t1.q3", "more", because="just above the limit, 80 steps are too few to get far")

# %% [markdown]
# The threshold asks for $|1 - 10\eta|^{80} > 10^6$: its two numbers are part of what it measures.
# The **growth rate** $\ln|m|$ contains neither, and is zero where stability ends. This matters in
# practice:

# %%
shy = dynamics.trace_gd(Quadratic([10.0, 0.1]).loss, torch.tensor([1e-6, 1.0]).double(),
                        1.01 * 0.2, steps=1000).values
print(f"loss after 0, 280 and 1000 steps: {shy[0]:.2f}, {shy[280]:.6f}, {shy[1000]:.0f}")
teach.claim("at 1.01 · 2/L, from a start almost without the steep mode, the loss falls in each of "
            "the first 280 steps and is above its start after 600",
            bool((shy[1:281] < shy[:280]).all() & (shy[600] > shy[0])), kind="run")

# %% [markdown]
# The steep mode starts at a millionth and grows 2 % a step, while the flat one, nearly all of the
# loss, shrinks.
#
# **Exercise 2.** Repeating a linear map makes its strongest mode dominate, unless the start has
# none of it. Use that to find 2/L from Hessian-vector products.

# %%
# exercise: p2.t1.e2

# %% [markdown]
# This is **power iteration**; from here on we import it.

# %%
M = torch.randn(200, 100, generator=g, dtype=torch.float64)
H = M.T @ M / 200  # 100 100: as if hidden
found = dynamics.power_iteration(lambda v: H @ v, 100)
largest = torch.linalg.eigvalsh(H)[-1]
teach.claim("dynamics.power_iteration finds 2/L of a bowl in 100 dimensions",
            error=(2 / found.value - 2 / largest).abs(), tolerance=1e-9)

# %% [markdown]
# ## 5. Two valleys
#
# A landscape with a choice: $f(x) = \tfrac14 x^4 - \tfrac12 x^2$ has minima at $\pm 1$ and a
# maximum, its hilltop, at 0. The map is now curved,
#
# $$T(x) = x - \eta\,(x^3 - x) = (1 + \eta)\,x - \eta x^3 ,$$
#
# but near a fixed point $x^*$ a smooth map is nearly straight: it multiplies small distances by
# $T'(x^*) = 1 - \eta f''(x^*)$, the multiplier there. At $\pm 1$ the curvature is 2 and
# $m = 1 - 2\eta$: for $0 < \eta < 1$ the minima attract, for $\eta > 1$ they repel. At $\eta = 1$,
# where $m = -1$, two steps take $1 + \delta$ to about $1 + \delta - 16\delta^3$: the minima still
# attract, but slowly, $|\delta| \approx 1/(4\sqrt t)$ after $t$ steps. At 0 the curvature is $-1$
# and $m = 1 + \eta$: it repels for every $\eta > 0$.

# %%
def step(x, eta):
    """T of the double well: ... -> ..."""
    return (1 + eta) * x - eta * x**3


well = DoubleWell()
x = torch.linspace(-2, 2, 9, dtype=torch.float64)
one_step = dynamics.trace_gd(well.loss, x.unsqueeze(-1), 0.2, steps=1).points[1, :, 0]
teach.claim("step is a step of trace_gd", error=(step(x, 0.2) - one_step).abs(), tolerance=1e-12)
etas = torch.tensor([0.99, 1.01], dtype=torch.float64)
x = torch.full((2,), 1 + 1e-8, dtype=torch.float64)
for _ in range(200):
    x = step(x, etas)
growth = ((x - 1).abs() / 1e-8).log() / 200
teach.claim("next to +1 the growth rate is ln|1 - 2η|: negative at 0.99, positive at 1.01",
            bool(growth[0] < 0 < growth[1]), tolerance=1e-6,
            error=(growth - (1 - 2 * etas).abs().log()).abs())
x = torch.tensor(1.3, dtype=torch.float64)
for _ in range(20_000):
    x = step(x, 1.0)
teach.claim("η = 1, from 1.3: after 20,000 steps the distance from +1 is 1/(4√t), to 1 %",
            error=((x - 1).abs() * 4 * math.sqrt(20_000) - 1).abs(), tolerance=0.01, kind="run")

# %% [markdown]
# **Exercise 3.** Tell a fixed point's character from its map alone.

# %%
# exercise: p2.t1.e3

# %% [markdown]
# The hilltop repels. With $\eta = 0.2$, an iterate that stands a millionth beside it needs 73 steps
# to get half-way to a minimum, $|x| \ge 0.5$.

# %%
teach.predict("p2.t1.q4", "And from a millionth of a millionth beside the top?",
              ["about 80", "about 150", "millions"], guess=None)

# %%
aside = torch.tensor([1e-3, 1e-6, 1e-9, 1e-12], dtype=torch.float64)
x, taken = aside, torch.zeros(4)
while bool((x < 0.5).any()):
    taken += x < 0.5
    x = torch.where(x < 0.5, step(x, 0.2), x)
formula = (0.5 / aside).log() / math.log(1.2)
print("steps:", taken.int().tolist(), "  formula:", [round(value) for value in formula.tolist()])
teach.claim("η = 0.2: escape takes at least ln(0.5/δ) / ln(1 + η) steps, and at most 2 more",
            bool(((taken >= formula) & (taken <= formula + 2)).all()), kind="run")
teach.reveal("p2.t1.q4", "about 150", because="each step multiplies the distance by 1.2")

# %% [markdown]
# Only the logarithm of the distance counts: a hilltop delays gradient descent. It holds an orbit
# only if an iterate lands *exactly* on it, at the start or later.
#
# ## 6. Beyond $\eta = 1$
#
# Here both minima repel, and so does the hilltop.

# %%
teach.predict("p2.t1.q5", "η = 1.2, starting at 0.3. The orbit ...",
              ["diverges", "alternates between two places", "finds a third place"], guess=None)

# %%
etas = torch.linspace(0.8, 1.65, 2000, dtype=torch.float64)
x = torch.full_like(etas, 0.3)
for _ in range(2000):
    x = step(x, etas)
visited = []
for _ in range(100):
    x = step(x, etas)
    visited.append(x)
crisis = 1.5 * math.sqrt(3) - 1
teach.show(
    plotting.bifurcation(etas, torch.stack(visited), xlabel="learning rate η",
                         ylabel="x in the long run, start 0.3",
                         marks={"η = 1": 1.0, "√5 − 1": math.sqrt(5) - 1, "3√3/2 − 1": crisis}),
    "Where the orbit is in the long run: a single line at 1 up to η = 1, two branches up to 1.236, "
    "then four, and soon broad bands of dots, all above zero; from 1.598 on also below it.",
)

# %% [markdown]
# A fork at $\eta = 1$! Two places with $q = T(p)$ and $p = T(q)$: subtract the two equations, and
# add them. What remains is
#
# $$p^2 + pq + q^2 = 1 + \tfrac2\eta, \quad p^2 - pq + q^2 = 1
# \quad\Rightarrow\quad pq = \tfrac1\eta, \quad (p - q)^2 = 1 - \tfrac1\eta .$$
#
# This **2-cycle** is born at $\eta = 1$. Two steps multiply a small distance by
# $T'(p)\,T'(q) = 9 - 2(1 + \eta)^2$, which passes $-1$ at $\eta = \sqrt5 - 1$. There the cycle
# doubles again. (The live figure of section 1 has these two valleys, too.)

# %%
def late(eta, count):
    """Points of the orbit from 0.3 after 5000 steps."""
    x, points = torch.tensor(0.3, dtype=torch.float64), []
    for _ in range(5000 + count):
        x = step(x, eta)
        points.append(x)
    return torch.stack(points[-count:])


for eta in (1.01, 1.2):
    p, q = late(eta, 2).sort(descending=True).values
    both = (1 + eta - 3 * eta * p**2) * (1 + eta - 3 * eta * q**2)  # T'(p) T'(q)
    print(f"η = {eta}: {p:.4f} and {q:.4f}, multiplier of two steps {both:.2f}")
    teach.claim(f"η = {eta}: a 2-cycle with pq = 1/η, (p - q)² = 1 - 1/η and the multiplier "
                "9 - 2(1 + η)²", tolerance=1e-9, error=torch.stack([
                    p * q - 1 / eta, (p - q) ** 2 - 1 + 1 / eta, both - 9 + 2 * (1 + eta) ** 2
                ]).abs())
teach.reveal("p2.t1.q5", "alternates between two places", because="two steps shrink a small "
             "distance")

# %%
four = late(1.25, 8)
teach.claim("η = 1.25, beyond √5 - 1: the orbit repeats after four steps, not after two",
            bool((four[0] - four[2]).abs() > 0.01), error=(four[:4] - four[4:]).abs(),
            tolerance=1e-9, kind="run")
x = torch.tensor([0.3, 0.3 + 1e-9], dtype=torch.float64)
pairs = []
for _ in range(5000):
    x = step(x, 1.4)
    pairs.append(x)
pairs = torch.stack(pairs)
apart = (pairs[:200, 0] - pairs[:200, 1]).abs().max()
teach.claim("η = 1.4: two orbits a billionth apart are 0.1 apart within 200 steps, yet both stay "
            "between 0 and 1.3 for 5000", bool((apart > 0.1) & (pairs > 0).all()
                                               & (pairs < 1.3).all()), kind="run")
etas = torch.linspace(1.01, 1.99, 50, dtype=torch.float64)
highest = step(((1 + etas) / (3 * etas)).sqrt(), etas)  # where T turns
after = step(highest, etas)
teach.claim("50 values of η between 1 and 2: a step from the highest point of all stays on "
            "its side below 3√3/2 - 1, and crosses the hill above",
            bool(((after > 0) == (etas < crisis)).all()), kind="theorem")

# %% [markdown]
# That is **chaos**: the rule is fixed, and a forecast for 200 steps needs the start to more than
# nine digits. The loss neither converges nor diverges. Beyond $\eta = 3\sqrt3/2 - 1 = 1.598$ the
# orbit even crosses between the valleys, and beyond $\eta = 2$ nearly every orbit diverges.
#
# ## 7. Which valley?
#
# The starts whose orbits end at the same place are its **basin**. Back to $\eta = 0.2$, harmless by
# every test so far. The basins of the flow are simple: it cannot cross the hill, so the side
# decides.

# %%
teach.predict("p2.t1.q6", "η = 0.2. Two orbits start at 2.6 and at 3.2. They end at ...",
              ["+1 and +1", "−1 and −1", "−1 and +1", "+1 and −1"], guess=None)

# %%
def end_of(x, eta=0.2, steps=300):
    """1 or -1, or infinity: where orbits from x are in the end."""
    for _ in range(steps):
        x = torch.where(x.abs() < 1e6, step(x, eta), torch.inf)
    return torch.where(x.isinf(), torch.inf, x.round())


edge = math.sqrt(11)
wide = torch.linspace(-4, 4, 8000, dtype=torch.float64)  # an even number: 0 is left out
strips = {"flow": (wide, wide.sign()), "descent, η = 0.2": (wide, end_of(wide))}
for zoom, title in enumerate(["near √11 = 3.3166 (mark)", "5.4 times closer", "29 times closer"]):
    width = 5.4**-zoom
    x = torch.linspace(edge - width, edge + 0.15 * width, 4001, dtype=torch.float64)
    strips[title] = (x, end_of(x))
teach.show(
    plotting.basin_strips(strips, edge),
    "Strips of starts: the flow's two basins meet at 0; those of descent alternate in ever "
    "narrower bands from 2.45 to 3.3166, beyond which it diverges; two zooms by 5.4 show the same "
    "bands, with the ends exchanged.",
)

# %%
some = end_of(torch.tensor([2.6, 3.2, 3.315, 3.316], dtype=torch.float64)).tolist()
teach.claim("from 2.6 the orbit ends at -1, from 3.2 at +1", some[:2] == [-1, 1], kind="run")
teach.claim("from 3.315 the orbit ends at +1, from 3.316 at -1", some[2:] == [1, -1], kind="run")
beyond = end_of(edge + torch.tensor([-1e-9, 1e-9], dtype=torch.float64)).abs().tolist()
teach.claim("a billionth below √11 it arrives, a billionth above it diverges",
            beyond == [1, math.inf], kind="run")
teach.reveal("p2.t1.q6", "−1 and +1", because="the first step lands on the other side, or beyond")

# %% [markdown]
# The map explains every border.

# %%
orbits = []
for x in torch.tensor([2.6, 3.2], dtype=torch.float64):
    orbit = [x]
    for _ in range(12):
        orbit.append(step(orbit[-1], 0.2))
    orbits.append(torch.stack(orbit))
panels = {f"from {orbit[0]:.1f}": (lambda x: step(x, 0.2), orbit) for orbit in orbits}
teach.show(
    plotting.cobweb(panels, (-3.6, 3.6), mirror=True),
    "Cobwebs for η = 0.2: the map rises between its two turning points and plunges beyond them. "
    "From 2.6 one step leads to -0.4, from 3.2 to -2.7 and then to 0.7.",
)

# %% [markdown]
# 1. *Fold.* $T(x) = 0$ at $b_0 = \sqrt{1 + 1/\eta} = 2.449$. From between 0 and $b_0$ a step stays
#    there; from beyond, it crosses to the other side.
# 2. *Edge.* $T(x) = -x$ at $B = \sqrt{1 + 2/\eta} = 3.317$, a 2-cycle. From beyond, distances grow.
# 3. *Bands.* A start between $b_0$ and $B$ ends at $-1$ if it lands in $(-b_0, 0)$, at $+1$ if in
#    that band's mirror image, and so on: the ends alternate, with borders
#    $b_0 < b_1 < b_2 < \ldots$ and $T(b_{k+1}) = -b_k$, which land on the hilltop.
# 4. *Ratio.* Near $B$ a step multiplies distances by
#    $|T'(B)| = |1 + \eta - 3\eta B^2| = 5 + 2\eta$: each gap $B - b_{k+1}$ is about so many times
#    smaller than the one before, $B - b_k$.

# %%
def borders(eta, count):
    """b_0, b_1, ... by halving intervals: T falls from -b_{k-1} to -B in between."""
    found, edge = [math.sqrt(1 + 1 / eta)], math.sqrt(1 + 2 / eta)
    while len(found) < count:
        low, high = found[-1], edge
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if step(middle, eta) > -found[-1] else (low, middle)
        found.append(low)
    return torch.tensor(found, dtype=torch.float64)


x = torch.linspace(2, 3.4, 14_001, dtype=torch.float64)
ends = end_of(x)
low = x[(ends[1:] != ends[:-1]).nonzero().flatten()[:6]]  # where a neighbour ends elsewhere
high, left = low + 1e-4, end_of(low)
for _ in range(40):  # halve the interval around each change
    middle = (low + high) / 2
    same = end_of(middle) == left
    low, high = torch.where(same, middle, low), torch.where(same, high, middle)
print("simulated:", ", ".join(f"{value:.4f}" for value in low.tolist()))
teach.claim("six borders found by simulation are those of T(b_{k+1}) = -b_k", tolerance=1e-9,
            error=(low - borders(0.2, 6)).abs())

# %%
off, kept = [], []
for eta in [k / 20 for k in range(1, 20)] + [0.99]:
    gaps = math.sqrt(1 + 2 / eta) - borders(eta, 8)
    ratios = gaps[:-1] / gaps[1:]
    if eta in (0.05, 0.2, 0.5, 0.9):
        shown = ", ".join(f"{value:.4f}" for value in ratios[:5].tolist())
        print(f"η = {eta:4}: ratios {shown} → {5 + 2 * eta:.1f}")
    fold = math.sqrt(1 + 1 / eta)
    next_x = step(fold * torch.linspace(1e-3, 1 - 1e-3, 1000, dtype=torch.float64), eta)
    kept.append(bool(((next_x > 0) & (next_x < fold)).all()))
    off.append((ratios[-1] - 5 - 2 * eta).abs())
teach.claim("20 values of η: from below the fold no step crosses the hill or passes the fold",
            all(kept), kind="theorem")
teach.claim("20 values of η: the gaps to the edge shrink by 5 + 2η", error=torch.stack(off),
            tolerance=1e-3, kind="theorem")

# %% [markdown]
# The bands are there for every $\eta$ below 1; a smaller one moves them outwards, beyond
# $\sqrt{1/\eta}$. Close to the edge the fourth digit of the start decides the valley, and soon the
# fifth. Two exact orbits, which floating point follows without rounding:

# %%
three = torch.tensor(3.0, dtype=torch.float64)
teach.claim("η = 1/8: from 3 one step lands exactly on the hilltop", tolerance=0,
            error=step(three, 0.125).abs())
teach.claim("η = 1/4: from 3 one step leads exactly to -3, and the next one back", tolerance=0,
            error=torch.stack([step(three, 0.25) + 3, step(-three, 0.25) - 3]).abs())

# %% [markdown]
# **Exercise 4.** Predict the valley for any start.

# %%
# exercise: p2.t1.e4

# %% [markdown]
# ## 8. What a falling loss guarantees
#
# If no curvature exceeds $L$ anywhere on the way of a step, Taylor's formula gives
# $f(x + s) \le f(x) + \nabla f(x) \cdot s + \tfrac L2 \lVert s \rVert^2$. Insert the step
# $s = -\eta\,\nabla f(x)$:
#
# $$f(x^+) \;\le\; f(x) - \eta\left(1 - \tfrac{\eta L}{2}\right)\lVert\nabla f(x)\rVert^2 .$$
#
# This is the **descent lemma**: for $0 < \eta < 2/L$ the loss falls at every step whose gradient is
# not zero.

# %%
def slack(loss, x, eta, L):
    """By how much one step does better than the lemma promises."""
    run = dynamics.trace_gd(loss, x, eta, steps=1)
    promised = eta * (1 - eta * L / 2) * run.gradients[0].square().sum(-1)
    return run.values[0] - promised - run.values[1]


eta = torch.rand(20, generator=g, dtype=torch.float64) * 2 / L
x = torch.randn(20, 6, generator=g, dtype=torch.float64)
reach = 3 * 1.2**2 - 1  # the largest curvature of the double well on [-1.2, 1.2]
inside = 2.4 * torch.rand(1000, 1, generator=g, dtype=torch.float64) - 1.2
rates = torch.rand(1000, generator=g, dtype=torch.float64) * 2 / reach
teach.claim("the lemma holds in 20 bowls and from 1000 starts in the double well, for η up to 2/L",
            bool((slack(twenty_bowls, x, eta, L) > -1e-12).all()
                 & (slack(well.loss, inside, rates, reach) > -1e-12).all()), kind="theorem")
teach.claim("along the steepest direction of a bowl it is an equality", tolerance=1e-12,
            error=slack(twenty_bowls, Q[..., -1], eta, L).abs())

# %% [markdown]
# So the loss falls even while $x$ rings from side to side. Does a falling loss tell us that we stay
# in our valley? Take the start 2.6 with $\eta = 0.2$. (The lemma is silent there: its curvature is
# 19.3, so $2/L$ is 0.104.)

# %%
teach.predict("p2.t1.q7", "On its way from 2.6 to -1, how often did the loss rise?",
              ["never", "once", "several times"], guess=None)

# %%
run = dynamics.trace_gd(well.loss, torch.tensor([2.6]).double(), 0.2, steps=60)
print("x:   ", ", ".join(f"{value:.2f}" for value in run.points[:6, 0].tolist()))
print("loss:", ", ".join(f"{value:.2f}" for value in run.values[:6].tolist()))
fell = run.values[1:41] < run.values[:40]
teach.claim("from 2.6 the loss fell at each of 40 steps, and the orbit is in the other valley",
            bool(fell.all() & (run.points[-1, 0] < 0)), kind="run")
teach.reveal("p2.t1.q7", "never", because="a step compares two heights, not what lies between")

# %% [markdown]
# What would keep it in its valley for certain? In one dimension: $\eta f'' < 1$ wherever it goes.
# Then $T$ is increasing, orbits never change their order, and none passes the hilltop. For that
# $\eta < 1/L$ is enough, with the largest curvature on the way, here that of the start. It is not
# necessary: in this double well every $\eta$ below $2/L$ keeps a start beyond $+1$ on its side. And
# in more dimensions even $\eta < 1/L$ promises nothing of the kind (tutorial 4, section 2).

# %%
steepest = 3 * 2.6**2 - 1
print(f"curvature at 2.6: {steepest:.2f}; 1/L = {1 / steepest:.3f}")
x0 = torch.linspace(1.05, 5, 20, dtype=torch.float64)
x = x0 * torch.linspace(0.01, 1, 500, dtype=torch.float64).unsqueeze(-1)
L_start = 3 * x0**2 - 1
slow = step(x, 1 / L_start)
teach.claim("20 starts with η = 1/L: orbits from between 0 and the start keep their order, and all "
            "end at +1", kind="theorem", condition=bool(
                (slow[1:] > slow[:-1]).all() & (end_of(x, 1 / L_start, 3000) == 1).all()))
x = torch.linspace(1.001, 5, 20_000, dtype=torch.float64)
stays = end_of(x, 0.999 * 2 / (3 * x**2 - 1), 1500) == 1
teach.claim("in the double well 0.999 · 2/L, with the curvature L of the start, keeps each of "
            "20,000 starts beyond +1 on its side", bool(stays.all()), kind="theorem")

# %% [markdown]
# **Exercise 5.** Back to the bowls, and to $m = 0$: when is a single step enough? With a proof to
# find on paper.

# %%
# exercise: p2.t1.e5

# %% [markdown]
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. A bowl has eigenvalues 4 and 1. What happens with $\eta = 0.2$, 0.4, 0.5 and 0.6?
# 2. A colleague finds the largest stable learning rate by running 100 steps each and looking for
#    NaN. In which direction is the answer wrong, and what would you measure instead?
# 3. Why do the borders of section 7 crowd together at $\sqrt{1 + 2/\eta}$, and how fast?
#
# **So, when does it settle, ring, cycle or explode?** On a quadratic the multipliers
# $1 - \eta\lambda$ tell everything in advance; elsewhere $1 - \eta f''$ tells it near each fixed
# point where its size is not 1, and measured growth rates confirm it. No multiplier tells *which*
# fixed point a distant start will reach. Next: tutorial 2, why some bowls are a thousand times
# harder.
#
# ## Sources
#
# - S. H. Strogatz, *Nonlinear Dynamics and Chaos*, 2nd edition, CRC Press 2018,
#   [doi:10.1201/9780429492563](https://doi.org/10.1201/9780429492563): cobwebs, fixed points and
#   their multipliers, period doubling.
# - Y. Nesterov, *Lectures on Convex Optimization*, 2nd edition, Springer 2018,
#   [doi:10.1007/978-3-319-91578-4](https://doi.org/10.1007/978-3-319-91578-4), section 1.2: the
#   descent lemma and the rate of gradient descent.
# - J. M. Cohen, S. Kaur, Y. Li, J. Z. Kolter, A. Talwalkar, "Gradient descent on neural networks
#   typically occurs at the edge of stability", *ICLR* 2021,
#   [arXiv:2103.00065](https://arxiv.org/abs/2103.00065): 2/L met in practice.
