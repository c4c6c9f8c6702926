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
# ## 1. A flea on a hillside
#
# Gradient descent is a flea. It feels the slope under its feet, hops downhill by $\eta$ times that
# slope, and sees nothing of what it flies over. Its hop is a **map** $T(x) = x - \eta f'(x)$. The
# points $x_0, x_1 = T(x_0), x_2 = T(x_1), \ldots$ are an **orbit**. Where the slope is zero it sits
# still: a **fixed point**, $T(x) = x$.
#
# In the simplest valley, $f(x) = \tfrac12 a x^2$, a hop multiplies the distance to the bottom:
#
# $$T(x) = (1 - \eta a)\,x, \qquad x_t = (1 - \eta a)^t\, x_0 .$$

# %%
teach.predict("p2.t1.q1", "a = 1. Which η keeps the flea from arriving, but not from staying near?",
              [0.4, 1.7, 2.0, 2.1], guess=None)

# %%
bowl = Quadratic([1.0])
etas = torch.tensor([0.4, 1.7, 2.0, 2.1], dtype=torch.float64)
hops = dynamics.trace_gd(bowl.loss, torch.ones(4, 1).double(), etas, steps=20).points[..., 0]
panels = {f"η = {eta:g}": (lambda x, eta=eta: (1 - eta) * x, hops[:, k])
          for k, eta in enumerate(etas.tolist())}
teach.explorable(
    "cobweb", {"function": "quadratic", "a": 1.0, "eta": 1.7, "x0": 1.0},
    still=plotting.cobweb(panels, (-2.0, 2.0)),
    alt="Four cobwebs: with η = 0.4 a staircase descends to 0; with 1.7 the path spirals into 0; "
        "with 2 it runs round a square for ever; with 2.1 it spirals outwards.",
)

# %% [markdown]
# How to read it: up or down to the blue line is a hop, across to the dashed diagonal means standing
# there. Where the two lines cross, the flea rests.

# %%
factors = (1 - etas) ** torch.arange(21).unsqueeze(-1)
teach.claim("every hop multiplies the distance by 1 - ηa", error=(hops - factors).abs(),
            tolerance=1e-12)
teach.claim("with η = 2/a the orbit returns every second step, for ever",
            error=(hops[2:, 2] - hops[:-2, 2]).abs(), tolerance=0)
teach.reveal("p2.t1.q1", 2.0, because="1 - ηa = -1: it lands as far on the other side")

# %% [markdown]
# One number, the **multiplier** $m = 1 - \eta a$, decides: between 0 and 1 the flea comes from one
# side; between $-1$ and 0 it rings; at $-1$ it cycles; beyond, it explodes. So $\eta < 2/a$
# promises arrival, not calm: ringing begins at $1/a$. And $m = 0$ is arrival in a single hop.
#
# ## 2. Many dimensions are many fleas
#
# Let $f(x) = \tfrac12 x^\top A x$. A hop is $x \leftarrow (I - \eta A)\,x$. Write
# $A = Q \Lambda Q^\top$, with the eigenvectors as columns of $Q$, and look at $z = Q^\top x$:
#
# $$z_i \leftarrow (1 - \eta\lambda_i)\, z_i, \qquad
# x_t = Q\,(I - \eta\Lambda)^t\, Q^\top x_0 .$$
#
# Each **mode** $z_i$ is a flea of its own, and none disturbs another.

# %%
g = torch.Generator().manual_seed(0)
M = torch.randn(20, 6, 6, generator=g, dtype=torch.float64)
A = M @ M.mT / 6 + 0.1 * torch.eye(6, dtype=torch.float64)  # 20 random bowls in 6 dimensions
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
teach.claim("0.99 · 2/L: all 20 converge", error=ends[0.99], tolerance=1e-12)
teach.claim("1.01 · 2/L: all 20 diverge", bool((ends[1.01] > 1e12).all()), kind="theorem")

# %% [markdown]
# The crowd is as slow as its slowest flea. With $\rho = \max_i |1 - \eta\lambda_i|$, the distance
# after $t$ steps is at most $\rho^t$ of the first one: at most $\varepsilon$ of it after
# $\lceil \ln\varepsilon / \ln\rho \rceil$ steps.

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
# A smaller $\eta$ would bring $\rho$ closer to 1: caution, too, costs steps.
#
# **Exercise 1.** A million steps in one.

# %%
# exercise: p2.t1.e1

# %% [markdown]
# ## 3. A bead in honey
#
# Now pour honey over the hillside and let a bead sink through it: $\dot x = -\nabla f(x)$, the
# gradient **flow**. In a bowl its modes are $z_i(t) = e^{-\lambda_i t} z_i(0)$: they never ring.
# The flea imitates the bead, in hops that each take the time $\eta$. How well?

# %%
def gap(eta):
    """How far flea and bead are apart at time 1, in the valley ½ x², both from 1."""
    end = dynamics.trace_gd(bowl.loss, torch.ones(1).double(), eta, steps=round(1 / eta)).points[-1]
    return (end[0] - math.exp(-1)).abs()


teach.claim("half the hop, half the gap", error=(gap(0.01) / gap(0.005) - 2).abs(), tolerance=0.02,
            kind="theorem")

# %% [markdown]
# So short hops follow the bead (Euler's method for its equation). But only the bead loses height at
# *every* moment, $\frac{\mathrm d}{\mathrm dt} f = -\lVert\nabla f\rVert^2$, and cannot fly over
# anything. Remember that for section 7.
#
# ## 4. Where exactly does it explode?
#
# Suppose the Hessian were hidden: a bowl with eigenvalues 10 and 1. We try many learning rates for
# 80 steps. The usual rule: report the first at which the distance exceeds $10^6$.

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
# The threshold asks for $|1 - 10\eta|^{80} > 10^6$: it measures its own two numbers as well. The
# **growth rate** $\ln|m|$ has neither, and vanishes where stability ends. The difference is not
# academic:

# %%
shy = dynamics.trace_gd(Quadratic([10.0, 0.1]).loss, torch.tensor([1e-6, 1.0]).double(),
                        1.01 * 0.2, steps=1000).values
print(f"loss after 0, 280 and 1000 steps: {shy[0]:.2f}, {shy[280]:.6f}, {shy[1000]:.0f}")
teach.claim("at 1.01 · 2/L, from a start almost without the steep mode, the loss falls in each of "
            "the first 280 steps and is above its start after 600",
            bool((shy[1:281] < shy[:280]).all() & (shy[600] > shy[0])), kind="theorem")

# %% [markdown]
# Divergence need not show at once. The steep mode starts at a millionth and grows 2 % a step, while
# the flat one shrinks in plain sight.
#
# **Exercise 2.** Repeating a linear map makes its strongest mode win. Use that to find 2/L from
# Hessian-vector products.

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
# A landscape with a choice: $f(x) = \tfrac14 x^4 - \tfrac12 x^2$ has bottoms at $\pm 1$ and a
# hilltop at 0. The flea's map is now curved,
#
# $$T(x) = x - \eta\,(x^3 - x) = (1 + \eta)\,x - \eta x^3 ,$$
#
# but near a fixed point $x^*$ a smooth map is nearly straight: it multiplies small distances by
# $T'(x^*) = 1 - \eta f''(x^*)$, the multiplier there. At $\pm 1$ the curvature is 2 and
# $m = 1 - 2\eta$, stable exactly for $0 < \eta < 1$. At 0 it is $-1$ and $m = 1 + \eta$: never
# stable.

# %%
def hop(x, eta):
    """T of the double well: ... -> ..."""
    return (1 + eta) * x - eta * x**3


well = DoubleWell()
x = torch.linspace(-2, 2, 9, dtype=torch.float64)
one_step = dynamics.trace_gd(well.loss, x.unsqueeze(-1), 0.2, steps=1).points[1, :, 0]
teach.claim("hop is a step of trace_gd", error=(hop(x, 0.2) - one_step).abs(), tolerance=1e-12)
etas = torch.tensor([0.99, 1.01], dtype=torch.float64)
x = torch.full((2,), 1 + 1e-8, dtype=torch.float64)
for _ in range(200):
    x = hop(x, etas)
growth = ((x - 1).abs() / 1e-8).log() / 200
teach.claim("next to +1 the growth rate is ln|1 - 2η|: negative at 0.99, positive at 1.01",
            bool(growth[0] < 0 < growth[1]), tolerance=1e-6,
            error=(growth - (1 - 2 * etas).abs().log()).abs())

# %% [markdown]
# **Exercise 3.** Tell a fixed point's character from its map alone.

# %%
# exercise: p2.t1.e3

# %% [markdown]
# The hilltop repels. With $\eta = 0.2$, a flea that sits a millionth beside it needs 73 hops to get
# half-way to a bottom, $|x| \ge 0.5$.

# %%
teach.predict("p2.t1.q4", "And from a millionth of a millionth beside the top?",
              ["about 80", "about 150", "millions"], guess=None)

# %%
aside = torch.tensor([1e-3, 1e-6, 1e-9, 1e-12], dtype=torch.float64)
x, taken = aside, torch.zeros(4)
while bool((x < 0.5).any()):
    taken += x < 0.5
    x = torch.where(x < 0.5, hop(x, 0.2), x)
formula = (0.5 / aside).log() / math.log(1.2)
print("hops:", taken.int().tolist(), "  formula:", [round(value) for value in formula.tolist()])
teach.claim("escape takes ln(0.5/δ) / ln(1 + η) hops, ±3", error=(taken - formula).abs(),
            tolerance=3)
teach.reveal("p2.t1.q4", "about 150", because="each hop multiplies the distance by 1.2")

# %% [markdown]
# Only the logarithm of the distance counts. A hilltop delays gradient descent; it does not trap it,
# unless the start is exactly on it.
#
# ## 6. Beyond $\eta = 1$
#
# Here both bottoms repel, and so does the top.

# %%
teach.predict("p2.t1.q5", "η = 1.2, starting at 0.3. The flea ...",
              ["explodes", "hops between two places", "finds a third place"], guess=None)

# %%
etas = torch.linspace(0.8, 1.65, 2000, dtype=torch.float64)
x = torch.full_like(etas, 0.3)
for _ in range(2000):
    x = hop(x, etas)
visited = []
for _ in range(100):
    x = hop(x, etas)
    visited.append(x)
crisis = 1.5 * math.sqrt(3) - 1
teach.show(
    plotting.bifurcation(etas, torch.stack(visited), xlabel="learning rate η",
                         ylabel="x in the long run, start 0.3",
                         marks={"η = 1": 1.0, "√5 − 1": math.sqrt(5) - 1, "3√3/2 − 1": crisis}),
    "Where the flea is in the long run: a single line at 1 up to η = 1, two branches up to 1.236, "
    "then four, and soon broad bands of dots, all above zero; from 1.598 on also below it.",
)

# %% [markdown]
# A fork at $\eta = 1$! Two places with $q = T(p)$ and $p = T(q)$: subtract the two equations, and
# add them. What remains is
#
# $$p^2 + pq + q^2 = 1 + \tfrac2\eta, \quad p^2 - pq + q^2 = 1
# \quad\Rightarrow\quad pq = \tfrac1\eta, \quad (p - q)^2 = 1 - \tfrac1\eta .$$
#
# This **2-cycle** is born at $\eta = 1$. Two hops multiply a small distance by
# $T'(p)\,T'(q) = 9 - 2(1 + \eta)^2$, which passes $-1$ at $\eta = \sqrt5 - 1$. There the cycle
# doubles again. (The live figure of section 1 has these two valleys, too.)

# %%
def late(eta, count):
    """Points of the orbit from 0.3 after 5000 hops."""
    x, points = torch.tensor(0.3, dtype=torch.float64), []
    for _ in range(5000 + count):
        x = hop(x, eta)
        points.append(x)
    return torch.stack(points[-count:])


for eta in (1.01, 1.2):
    p, q = late(eta, 2).sort(descending=True).values
    both = (1 + eta - 3 * eta * p**2) * (1 + eta - 3 * eta * q**2)  # T'(p) T'(q)
    print(f"η = {eta}: {p:.4f} and {q:.4f}, multiplier of two hops {both:.2f}")
    teach.claim(f"η = {eta}: a 2-cycle with pq = 1/η, (p - q)² = 1 - 1/η and the multiplier "
                "9 - 2(1 + η)²", tolerance=1e-9, error=torch.stack([
                    p * q - 1 / eta, (p - q) ** 2 - 1 + 1 / eta, both - 9 + 2 * (1 + eta) ** 2
                ]).abs())
teach.reveal("p2.t1.q5", "hops between two places", because="two hops shrink a small distance")

# %%
four = late(1.25, 8)
teach.claim("η = 1.25, beyond √5 - 1: the orbit repeats after four hops, not after two",
            bool((four[0] - four[2]).abs() > 0.01), error=(four[:4] - four[4:]).abs(),
            tolerance=1e-9)
x = torch.tensor([0.3, 0.3 + 1e-9], dtype=torch.float64)
pairs = []
for _ in range(5000):
    x = hop(x, 1.4)
    pairs.append(x)
pairs = torch.stack(pairs)
apart = (pairs[:200, 0] - pairs[:200, 1]).abs().max()
teach.claim("η = 1.4: two fleas a billionth apart are 0.1 apart within 200 hops, yet both stay "
            "between 0 and 1.3 for 5000", bool((apart > 0.1) & (pairs > 0).all()
                                               & (pairs < 1.3).all()), kind="theorem")
etas = torch.tensor([crisis - 1e-3, crisis + 1e-3], dtype=torch.float64)
highest = hop(((1 + etas) / (3 * etas)).sqrt(), etas)  # where T turns
after = hop(highest, etas)
teach.claim("a hop from the highest point that is reached stays on its side below 3√3/2 - 1, and "
            "crosses the hill above", bool(after[0] > 0 > after[1]), kind="theorem")

# %% [markdown]
# That is **chaos**: a rule without any chance, and no long-term forecast. The loss neither
# converges nor explodes. From $\eta = 3\sqrt3/2 - 1 = 1.598$ on, the flea even commutes between
# the valleys.
#
# ## 7. Which valley?
#
# The starts that end at the same place are its **basin**. Back to $\eta = 0.2$, harmless by every
# test so far. The bead's basins are simple: it cannot cross the hill, so its side decides.

# %%
teach.predict("p2.t1.q6", "η = 0.2. Fleas start at 2.6 and at 3.2. They end at ...",
              ["+1 and +1", "−1 and −1", "−1 and +1", "+1 and −1"], guess=None)

# %%
def end_of(x, eta=0.2, steps=300):
    """1 or -1, or infinity: where fleas from x are in the end."""
    for _ in range(steps):
        x = torch.where(x.abs() < 1e6, hop(x, eta), torch.inf)
    return torch.where(x.isinf(), torch.inf, x.round())


edge = math.sqrt(11)
wide = torch.linspace(-4, 4, 8000, dtype=torch.float64)  # an even number: 0 is left out
strips = {"bead in honey": (wide, wide.sign()), "flea, η = 0.2": (wide, end_of(wide))}
for zoom, title in enumerate(["near √11 = 3.3166 (mark)", "5.4 times closer", "29 times closer"]):
    width = 5.4**-zoom
    x = torch.linspace(edge - width, edge + 0.15 * width, 4001, dtype=torch.float64)
    strips[title] = (x, end_of(x))
teach.show(
    plotting.basin_strips(strips, edge),
    "Strips of starts: the bead's two basins meet at 0; the flea's alternate in ever narrower "
    "bands from 2.45 to 3.3166, beyond which it diverges; two zooms by 5.4 show the same bands, "
    "with the ends exchanged.",
)

# %%
some = end_of(torch.tensor([2.6, 3.2, 3.315, 3.316], dtype=torch.float64)).tolist()
teach.claim("from 2.6 the flea ends at -1, from 3.2 at +1", some[:2] == [-1, 1])
teach.claim("from 3.315 the flea ends at +1, from 3.316 at -1", some[2:] == [1, -1])
beyond = end_of(edge + torch.tensor([-1e-9, 1e-9], dtype=torch.float64)).abs().tolist()
teach.claim("a billionth below √11 it arrives, a billionth above it diverges",
            beyond == [1, math.inf])
teach.reveal("p2.t1.q6", "−1 and +1", because="the first hop lands on the other side, or beyond")

# %% [markdown]
# The map explains every border.

# %%
orbits = []
for x in torch.tensor([2.6, 3.2], dtype=torch.float64):
    orbit = [x]
    for _ in range(12):
        orbit.append(hop(orbit[-1], 0.2))
    orbits.append(torch.stack(orbit))
panels = {f"from {orbit[0]:.1f}": (lambda x: hop(x, 0.2), orbit) for orbit in orbits}
teach.show(
    plotting.cobweb(panels, (-3.6, 3.6), mirror=True),
    "Cobwebs for η = 0.2: the map rises between its two turning points and plunges beyond them. "
    "From 2.6 one hop leads just below 0, from 3.2 to below -2.45 and then just above 0.",
)

# %% [markdown]
# 1. *Fold.* $T(x) = 0$ at $b_0 = \sqrt{1 + 1/\eta} = 2.449$. From below $b_0$ a hop stays on its
#    side and below $b_0$; from beyond, it crosses.
# 2. *Edge.* $T(x) = -x$ at $B = \sqrt{1 + 2/\eta} = 3.317$, a 2-cycle. From beyond, hops grow.
# 3. *Bands.* A start between $b_0$ and $B$ ends at $-1$ if it lands in $(-b_0, 0)$, at $+1$ if in
#    that band's mirror image, and so on: the ends alternate, with borders
#    $b_0 < b_1 < b_2 < \ldots$ and $T(b_{k+1}) = -b_k$.
# 4. *Ratio.* Near $B$ a hop multiplies distances by
#    $|T'(B)| = |1 + \eta - 3\eta B^2| = 5 + 2\eta$, and it turns the gap $B - b_{k+1}$ into
#    $B - b_k$: each gap is $5 + 2\eta$ times smaller than the one before.

# %%
def borders(eta, count):
    """b_0, b_1, ... by halving intervals: T falls from -b_{k-1} to -B in between."""
    found, edge = [math.sqrt(1 + 1 / eta)], math.sqrt(1 + 2 / eta)
    while len(found) < count:
        low, high = found[-1], edge
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if hop(middle, eta) > -found[-1] else (low, middle)
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
for eta in (0.05, 0.2, 0.5, 0.9):
    gaps = math.sqrt(1 + 2 / eta) - borders(eta, 8)
    ratios = gaps[:-1] / gaps[1:]
    shown = ", ".join(f"{value:.4f}" for value in ratios[:5].tolist())
    print(f"η = {eta:4}: ratios {shown} → {5 + 2 * eta:.1f}")
    fold = math.sqrt(1 + 1 / eta)
    next_x = hop(fold * torch.linspace(1e-3, 1 - 1e-3, 1000, dtype=torch.float64), eta)
    kept.append(bool(((next_x > 0) & (next_x < fold)).all()))
    off.append((ratios[-1] - 5 - 2 * eta).abs())
teach.claim("four values of η: below the fold a hop neither crosses the hill nor passes the fold",
            all(kept), kind="theorem")
teach.claim("four values of η: the gaps to the edge shrink by 5 + 2η", error=torch.stack(off),
            tolerance=1e-3, kind="theorem")

# %% [markdown]
# For any $\eta$ below 1 the bands are there; a smaller one only moves them outwards, beyond
# $\sqrt{1/\eta}$. Close to the edge the fourth digit of the start decides the valley, and soon the
# fifth.
#
# **Exercise 4.** Predict the valley for any start.

# %%
# exercise: p2.t1.e4

# %% [markdown]
# ## 8. What a falling loss guarantees
#
# If no curvature exceeds $L$ anywhere on the way of a hop, Taylor's formula gives
# $f(x + s) \le f(x) + \nabla f(x) \cdot s + \tfrac L2 \lVert s \rVert^2$. Insert the hop
# $s = -\eta\,\nabla f(x)$:
#
# $$f(x^+) \;\le\; f(x) - \eta\left(1 - \tfrac{\eta L}{2}\right)\lVert\nabla f(x)\rVert^2 .$$
#
# This is the **descent lemma**: for $\eta < 2/L$ the loss falls at every hop.

# %%
def slack(loss, x, eta, L):
    """By how much one hop does better than the lemma promises."""
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
# $\eta$ below $2/L$ makes the loss fall, even while $x$ rings from side to side. Does a falling
# loss tell us that we stay in our valley? Ask the flea that started at 2.6.

# %%
teach.predict("p2.t1.q7", "On its way from 2.6 to -1, how often did the loss rise?",
              ["never", "once", "several times"], guess=None)

# %%
run = dynamics.trace_gd(well.loss, torch.tensor([2.6]).double(), 0.2, steps=60)
print("x:   ", ", ".join(f"{value:.2f}" for value in run.points[:6, 0].tolist()))
print("loss:", ", ".join(f"{value:.2f}" for value in run.values[:6].tolist()))
fell = run.values[1:41] < run.values[:40]
teach.claim("from 2.6 the loss fell at each of 40 hops, and the flea is in the other valley",
            bool(fell.all() & (run.points[-1, 0] < 0)), kind="theorem")
teach.reveal("p2.t1.q7", "never", because="a hop compares two heights, not what lies between")

# %% [markdown]
# What would keep it home for certain? If $\eta f'' < 1$ wherever it goes, $T$ is increasing: fleas
# never change their order, and none passes the hilltop. That takes $\eta < 1/L$, not $2/L$, with
# the largest curvature on the way: here that of the start.

# %%
steepest = 3 * 2.6**2 - 1
print(f"curvature at 2.6: {steepest:.2f}; 1/L = {1 / steepest:.3f}")
x = torch.linspace(0.01, 2.6, 260, dtype=torch.float64)
slow = hop(x, 1 / steepest)
teach.claim("with η = 1/L fleas from 0 to 2.6 keep their order, and all end at +1", kind="theorem",
            condition=bool((slow[1:] > slow[:-1]).all() & (end_of(x, 1 / steepest) == 1).all()))

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
# point, and measured growth rates confirm it. What no multiplier tells is *which* fixed point a
# distant start will reach. Next: tutorial 2, why some bowls are a thousand times harder.
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
