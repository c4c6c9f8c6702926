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
# # Part 2, tutorial 4: optimisation beyond convexity
#
# **If every local method sees only the gradient where it stands, how much luck, noise and budget
# does a global optimum cost?**
#
# > **Before you start:** tutorials 1 to 3; variance and covariance; the binomial distribution.
# >
# > **Time:** 55 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - find all critical points of a landscape, and check their number;
# > - estimate the chance of a good valley, and count the restarts that it asks for;
# > - tell what noise does: a floor, a choice, or an escape, and what each costs;
# > - compare annealing with restarts fairly;
# > - say why none of this reaches far in many dimensions.
# >
# > **You will build** `find_critical_points`, `restarts_needed`, `noise_floor` and `anneal`.

# %%
import math
from collections.abc import Callable

import torch
from torch import Tensor

from bolearn import dynamics, plotting, teach
from bolearn.problems import FourWell, Quadratic, Rastrigin
from bolearn.stats import wilson_interval

teach.setup("p2.t4")

# %% [markdown]
# ## 1. Four valleys
#
# The landscape of this tutorial is
#
# $$f(x, y) = 0.2\,(x^4 + y^4) - (x^2 + y^2) + 0.3\,xy ,$$
#
# with four valleys. Its **critical points** are those where the gradient is zero: minima, maxima,
# and **saddles**, where the land curves up one way and down another.

# %%
teach.predict("p2.t4.q1", "Four valleys. How many critical points are there?", [5, 8, 9, 12],
              guess=None)

# %% [markdown]
# A zero gradient means $0.8 x^3 - 2x + 0.3 y = 0$, and the same with $x$ and $y$ exchanged. On the
# diagonal $y = x$ this leaves 0 and $x^2 = 2.125$, on $y = -x$ also $x^2 = 2.875$. Elsewhere,
# combining the two equations gives $x^2 + y^2 = 2.5$ and $xy = \tfrac38$.

# %%
four = FourWell()
a, b = math.sqrt(2.875), math.sqrt(2.125)
p, q = ((math.sqrt(3.25) + k * math.sqrt(1.75)) / 2 for k in (1, -1))  # from (x ± y)²
critical = torch.tensor([[a, -a], [-a, a], [b, b], [-b, -b], [p, q], [q, p], [-p, -q], [-q, -p],
                         [0, 0]], dtype=torch.float64)
here = dynamics.trace_newton(four.loss, critical, steps=0)
index = (torch.linalg.eigvalsh(here.hessians[0]) < 0).sum(-1)  # negative curvatures
minima, saddles, maxima = ((index == k) for k in (0, 1, 2))
teach.show(
    plotting.landscape(four.loss, 3.0, {"minimum": critical[minima], "saddle": critical[saddles],
                                        "maximum": critical[maxima]}),
    "Map of the loss: four dark valleys near the corners of a square, two of them darker, at upper "
    "left and lower right; four saddles between them, near the axes; a maximum in the middle.",
)

# %%
teach.claim("at all nine points the gradient is zero", error=here.gradients.abs(), tolerance=1e-12)
heights = torch.tensor([-3.30625] * 2 + [-1.80625] * 2 + [-1.19375] * 4 + [0], dtype=torch.float64)
teach.claim("the minima lie at -3.30625 and -1.80625, the saddles at -1.19375, the maximum at 0",
            error=(here.values[0] - heights).abs(), tolerance=1e-12)
counts = [int(kind.sum()) for kind in (minima, saddles, maxima)]
teach.claim("4 minima - 4 saddles + 1 maximum = 1",
            counts == [4, 4, 1] and counts[0] - counts[1] + counts[2] == 1, kind="run")
teach.reveal("p2.t4.q1", 9, because="two cubic equations have at most 3 · 3 solutions in common")

# %% [markdown]
# The last claim is no accident. In a region of the plane without holes, with the gradient pointing
# outwards all round, minima − saddles + maxima is 1 (Poincaré and Hopf; points where the Hessian is
# singular are excluded). A new valley never comes alone: it brings a saddle with it, or a maximum
# goes.
#
# **Exercise 1.** Find all critical points without a formula, and count.

# %%
# exercise: p2.t4.e1

# %% [markdown]
# ## 2. Six starts in the middle
#
# From here on we run thousands of descents at once, with the gradient written by hand.
# $\eta = 0.05$ is below $1/L$ in the box $[-3, 3]^2$. In one dimension no step would then cross a
# hill (tutorial 1, section 8). In two dimensions that is not so: near a border between basins even
# such steps can end elsewhere than the flow.

# %%
def gradient(x):
    """The gradient of the four wells: ... 2 -> ... 2."""
    return 0.8 * x**3 - 2 * x + 0.3 * x.flip(-1)


def descend(x, steps=400, eta=0.05):
    for _ in range(steps):
        x = x - eta * gradient(x)
    return x


def deep(x):
    """Which points have x and y of different signs: the deep valleys, once all is quiet."""
    return x[..., 0] * x[..., 1] < 0


def ring(radius, count):
    angle = torch.arange(count, dtype=torch.float64) * 2 * math.pi / count
    return radius * torch.stack([angle.cos(), angle.sin()], dim=-1)


g = torch.Generator().manual_seed(0)
x = 6 * torch.rand(100, 2, generator=g, dtype=torch.float64) - 3
traced = dynamics.trace_gd(four.loss, x, 0.05, steps=50).points[-1]
teach.claim("descend takes the steps of trace_gd", error=(descend(x, 50) - traced).abs(),
            tolerance=1e-12)
corner = dynamics.trace_newton(four.loss, torch.tensor([3.0, 3.0]).double(), steps=0).hessians
teach.claim("even at the box's corner, where it is largest, curvature times η is below 1",
            bool((0.05 * torch.linalg.eigvalsh(corner) < 1).all()), kind="run")
near = torch.tensor([-2.675928662193666, -0.2794454216075275], dtype=torch.float64)
ends = [bool(deep(descend(near, round(40 / eta), eta))) for eta in (0.05, 0.02, 0.005)]
teach.claim("one start from which η = 0.05 ends in a shallow valley, 0.02 and 0.005 in a deep one",
            ends == [False, True, True], kind="run")
x = 6 * torch.rand(5000, 2, generator=g, dtype=torch.float64) - 3
elsewhere = (deep(descend(x)) != deep(descend(x, 4000, 0.005))).double().mean()
teach.claim("of 5000 random starts fewer than 1 % end elsewhere with η = 0.05 than with 0.005",
            bool(elsewhere < 0.01), kind="run")
teach.predict("p2.t4.q2", "Six starts evenly round the middle, at distance 0.1, the first on the "
              "x axis. How many reach a deep valley?", [2, 3, 4, 6], guess=None)

# %%
six = ring(0.1, 6)
basins = {"ends in a deep valley": lambda x: deep(descend(x)),
          "ends in a shallow valley": lambda x: ~deep(descend(x))}
marks = {"minimum": critical[minima], "saddle": critical[saddles], "the six starts": six}
teach.show(
    plotting.landscape(four.loss, 3.0, marks, basins=basins, resolution=201, closeup=0.15),
    "Basins: the two shallow valleys own the upper right and the lower left of the map, down to a "
    "narrow tip at the middle; the deep ones own the rest. Magnified, right: of six starts round "
    "the middle two lie in the tips, four outside.",
)

# %%
teach.claim("four of the six central starts reach a deep valley",
            int(deep(descend(six)).sum()) == 4, kind="run")
teach.reveal("p2.t4.q2", 4, because="two of them lie near the diagonal y = x")
shares = [deep(descend(ring(10.0**-k, 3600), 1500)).double().mean().item() for k in range(4)]
print("share of a ring that ends deep, radius 1 to 0.001:", [f"{share:.2f}" for share in shares])
teach.claim("the smaller the ring, the more of it ends in a deep valley",
            shares == sorted(shares) and shares[0] < 0.7 and shares[-1] > 0.9, kind="run")

# %% [markdown]
# Why? Near the maximum there are two modes, with multipliers $1 + 1.7\eta$ along $y = x$ and
# $1 + 2.3\eta$ along $y = -x$. The nearer the start, the longer the way out, and the further the
# faster mode gets ahead. So there is no such thing as *the* chance of success: it belongs to the
# landscape **and** to where starts are drawn.
#
# Nor is a low start a good start: the loss does not tell the basin.

# %%
curvatures = torch.linalg.eigvalsh(here.hessians[0, -1])
teach.claim("the curvatures of the maximum are -2.3 and -1.7", tolerance=1e-12,
            error=(curvatures - torch.tensor([-2.3, -1.7], dtype=torch.float64)).abs())
low, high = torch.tensor([1.3, 1.3]).double(), torch.tensor([3.0, -3.0]).double()
teach.claim("a start at a loss below -1.7 ends shallow, one at a loss above 11 ends deep",
            bool((four.loss(low) < -1.7) & (four.loss(high) > 11) & ~deep(descend(low))
                 & deep(descend(high))), kind="run")

# %% [markdown]
# ## 3. The price of luck
#
# Draw starts evenly from the box; let $p$ be the chance that one ends in a deep valley. Of $n$
# independent restarts at least one succeeds with probability $1 - (1 - p)^n$. (`wilson_interval(k,
# n)` from `bolearn.stats` gives an interval for a probability after $k$ successes in $n$ trials; it
# stays sensible where $k$ is 0 or $n$.)

# %%
def box(*shape):
    return 6 * torch.rand(*shape, 2, generator=g, dtype=torch.float64) - 3


good = deep(descend(box(20_000)))
interval = wilson_interval(int(good.sum()), 20_000)
share = good.double().mean().item()
print(f"p = {share:.2f}, between {interval.low:.2f} and {interval.high:.2f} with 95 % confidence")
teach.predict("p2.t4.q3", "How many restarts for a chance of 99 %?", guess=None)

# %%
tries = deep(descend(box(3000, 10)))  # 3000 searches with ten restarts each
n = torch.arange(1, 11)
reached = (tries.cumsum(-1) > 0).sum(0).tolist()
found = [wilson_interval(k, 3000) for k in reached]
table = torch.tensor([[i.low for i in found], [k / 3000 for k in reached], [i.high for i in found]])
formula = 1 - (1 - share) ** n
teach.show(
    plotting.with_intervals({"3000 searches": (n, table)}, {"1 − (1 − p)ⁿ": (n, formula)},
                            xlabel="restarts n", ylabel="share of searches that succeed"),
    "Success against the number of restarts: from 0.57 at one it rises to nearly 1 at ten; the "
    "counted shares lie on the formula.",
)

# %%
spread = ((1 - formula) * formula / 3000 + (n * (1 - share) ** (n - 1)) ** 2
          * share * (1 - share) / 20_000).sqrt()
teach.claim("success after 1 to 10 restarts is 1 - (1 - p)ⁿ, within 5 standard errors",
            error=(table[1] - formula).abs() / spread, tolerance=5, kind="monte-carlo")
needed = [math.ceil(math.log(0.01) / math.log(1 - end)) for end in (interval.low, interval.high)]
teach.claim("99 % takes six restarts, at either end of p's interval", needed == [6, 6],
            kind="monte-carlo")
teach.reveal("p2.t4.q3", 6, because="each restart leaves 43 % of the chance of failure")

# %% [markdown]
# **Exercise 2.** Count restarts, down to a $p$ of $10^{-300}$.

# %%
# exercise: p2.t4.e2

# %% [markdown]
# ## 4. Does a saddle hold a descent?
#
# First a special place: the diagonal $y = x$. There both entries of the gradient are equal. But
# each step is rounded in the sixteenth digit, and near the middle the diagonal repels.

# %%
teach.predict("p2.t4.q4", "From (0.05, 0.05), three thousand steps. The descent ends ...",
              ["in a deep valley", "in a shallow valley", "that depends on rounding"], guess=None)

# %%
start = torch.tensor([0.05, 0.05], dtype=torch.float64)
path = dynamics.trace_gd(four.loss, start, 0.05, steps=3000).points
teach.claim("in three thousand steps x and y never differ, not in the last digit",
            error=(path[:, 0] - path[:, 1]).abs(), tolerance=0)
teach.claim("the descent on the diagonal ends in the shallow valley",
            error=(path[-1] - critical[2]).abs(), tolerance=1e-12)
teach.reveal("p2.t4.q4", "in a shallow valley", because="equal numbers are rounded equally")

# %% [markdown]
# The symmetry survives rounding: the diagonal is an **invariant line**. Now the borders of the
# basins. A start exactly on one ends at its saddle, unless it is the maximum, which stays. Beside
# it, by $\delta$, we know the law from tutorial 1: near the saddle each step multiplies the
# distance by $1 + \eta|\lambda_-|$, with the saddle's negative curvature $\lambda_-$.

# %%
low, high = -1.0, 1.0  # at x = 1.5: ends deep, ends shallow
for _ in range(60):
    middle = (low + high) / 2
    ends_deep = deep(descend(torch.tensor([1.5, middle], dtype=torch.float64)))
    low, high = (middle, high) if ends_deep else (low, middle)
beside = torch.tensor([[1.5, high + 10.0**-k] for k in (3, 6, 9, 12)], dtype=torch.float64)
path = dynamics.trace_gd(four.loss, beside, 0.05, steps=600).values
delay = ((path + 1.19375).abs() < 0.01).sum(0)
weakest = torch.linalg.eigvalsh(here.hessians[0, 4])[0].item()
law = math.log(1000) / math.log(1 - 0.05 * weakest)
about = [round(steps, -1) for steps in delay.tolist()]
print(f"steps spent at the saddle's height, about {about}; law: {law:.0f} more for three digits")
teach.claim("three digits closer to the border cost ln(1000) / ln(1 + η|λ₋|) more steps, ±1",
            error=(delay.diff() - law).abs(), tolerance=1, kind="run")

# %% [markdown]
# Borders have no area, so a random start misses them (Lee and others prove this in general, for
# $\eta < 1/L$).
#
# ## 5. Noise I: a floor
#
# Now let each gradient be wrong by $\sigma\xi$, with fresh standard normals $\xi$: so it is with
# gradients from a few data, or from an instrument.
#
# $$x \leftarrow x - \eta\,(\nabla f(x) + \sigma\,\xi)$$
#
# An iterate that moves like this is called a **particle**. First in a bowl, $\nabla f(x) = Ax$.
# Where is it on average? Let one particle feel $\xi$ and its twin $-\xi$.

# %%
bowl = Quadratic([10.0, 1.0])
twins = torch.ones(2, 2, dtype=torch.float64)
quiet = dynamics.trace_gd(bowl.loss, twins[0], 0.05, steps=300).points
gap = []
for t in range(301):
    gap.append((twins.mean(0) - quiet[t]).abs())
    xi = torch.randn(2, generator=g, dtype=torch.float64)
    twins = twins - 0.05 * (twins @ bowl.H + 0.5 * torch.stack([xi, -xi]))
teach.claim("in a bowl the mean of two particles with opposite noise is descent without noise, at "
            "every step", error=torch.stack(gap), tolerance=1e-12)

# %% [markdown]
# So here noise does not move the mean; it makes a cloud around it. If the noise has the covariance
# $S$ ($\sigma^2 I$ so far; in tutorial 2 the letter was a change of coordinates), a step takes the
# cloud's covariance $C$ to
#
# $$C \leftarrow (I - \eta A)\, C\, (I - \eta A) + \eta^2 S .$$
#
# This is itself a map! In the modes of $A$ it multiplies entry $(i, j)$ by $m_i m_j$, so it
# converges when descent does. Its fixed point solves the **discrete Lyapunov equation**: the same
# line with $=$ for the arrow. For $S = \sigma^2 I$:
#
# $$C_{ii} = \frac{\eta\sigma^2}{\lambda_i (2 - \eta\lambda_i)}, \qquad
# \text{mean loss} = \sum_i \tfrac12 \lambda_i C_{ii}
# = \sum_i \frac{\eta\sigma^2}{2\,(2 - \eta\lambda_i)} .$$

# %%
teach.predict("p2.t4.q5", "The bowl has curvatures 10 and 1. How much of the loss does the steep "
              "mode carry, against the flat one?", ["ten times as much", "1.3 times as much",
                                                    "a tenth"], guess=None)

# %%
def cloud(A, S, particles=10_000, rounds=10):
    """Late positions of particles from 0, `rounds` times 40 steps apart: rounds particles d."""
    x, root = torch.zeros(particles, len(A), dtype=torch.float64), torch.linalg.cholesky(S)
    kept = []
    for t in range(200 + 40 * rounds):
        noise = torch.randn(x.shape, generator=g, dtype=x.dtype) @ root.mT
        x = x - 0.05 * (x @ A + noise)
        if t >= 200 and t % 40 == 39:
            kept.append(x)
    return torch.stack(kept)


eye, eigenvalues = torch.eye(2, dtype=torch.float64), torch.tensor([10.0, 1.0]).double()
off, spread = [], []
for sigma in (0.5, 1.0):
    share_of_loss = 0.05 * sigma**2 / (2 * (2 - 0.05 * eigenvalues))
    losses = bowl.loss(cloud(bowl.H, sigma**2 * eye)).mean(0)  # one mean for each particle
    print(f"σ = {sigma}: floor {share_of_loss.sum():.5f}; steep {share_of_loss[0]:.5f}, "
          f"flat {share_of_loss[1]:.5f}")
    off.append((losses.mean() - share_of_loss.sum()).abs() / (losses.std() / 100))
    spread.append(losses.std() / 100 / share_of_loss.sum())
teach.claim("the measured floors are Σ ησ²/(2(2 - ηλ)), within 5 standard errors of below 0.5 %",
            max(spread) < 0.005, error=torch.stack(off), tolerance=5, kind="monte-carlo")
teach.reveal("p2.t4.q5", "1.3 times as much", because="λ cancels but for ηλ, ½ against 0.05")

# %% [markdown]
# In every mode about $\tau/2$ if $\eta\lambda$ is small (here it is $\tfrac12$ for the steep one,
# which carries 30 % more than the flat one), with
#
# $$\tau = \tfrac12\,\eta\sigma^2 .$$
#
# Physicists know this rule, equal energy for every mode, and call $\tau$ the **temperature**
# (tutorial 1.6 used the letter for something else). A smaller step lowers it, too. Now a tilted
# bowl, with noise tilted the other way.

# %%
turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
A = turn @ bowl.H @ turn.mT
S = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
shrink = eye - 0.05 * A
worst, clouds = [], {}
for title, noise in (("round noise", eye), ("tilted noise", S)):
    C = torch.zeros(2, 2, dtype=torch.float64)
    for _ in range(1000):
        C = shrink @ C @ shrink + 0.05**2 * noise  # the orbit of the covariance
    points = cloud(A, noise)
    measured = points.flatten(0, 1).mT.cov()
    error = ((C.diagonal().outer(C.diagonal()) + C**2) / points[..., 0].numel()).sqrt()
    worst.append(torch.stack([(measured - C).abs() / error,
                              (shrink @ C @ shrink + 0.05**2 * noise - C).abs()]))
    clouds[title] = (points[0, :2000], C)
teach.show(plotting.clouds(clouds),
           "Two clouds of particles in a tilted bowl with the ellipses of theory around them: with "
           "round noise the cloud is long in the bowl's flat direction, with tilted noise it is "
           "smaller and nearly round.")

# %%
both = torch.stack(worst)
teach.claim("for two kinds of noise the covariance's orbit ends at a solution of the equation",
            error=both[:, 1], tolerance=1e-12)
teach.claim("the clouds of 10,000 particles have that covariance, within 5 standard errors",
            error=both[:, 0], tolerance=5, kind="monte-carlo")

# %% [markdown]
# **Exercise 3.** Solve for the cloud and its floor exactly, without iterating.

# %%
# exercise: p2.t4.e3

# %% [markdown]
# ## 6. Noise II: the experiment everyone misreads
#
# "Noise helps to escape from poor valleys." The usual evidence: start at (0.05, 0.05). Without
# noise the descent ends in a shallow valley (section 4). Give 4000 particles noise for 100 steps,
# then let them settle without it.

# %%
def shares(start, sigma, noisy=range(100), particles=4000):
    """Where particles settle: the share in each valley, deep, deep, shallow, shallow."""
    x = torch.tensor(start, dtype=torch.float64).expand(particles, 2)
    for t in range(100):
        level = sigma if t in noisy else 0.0
        x = x - 0.05 * (gradient(x) + level * torch.randn(x.shape, generator=g, dtype=x.dtype))
    nearest = torch.cdist(descend(x), critical[:4]).argmin(-1)
    return nearest.bincount(minlength=4).double() / particles


middle, bottom = (0.05, 0.05), (b, b)
teach.predict("p2.t4.q6", "Noise σ = 0.4 from the middle. The share that reaches a deep valley is "
              "about ...", [0.0, 0.05, 0.6, 1.0], guess=None)
teach.predict("p2.t4.q7", "And the same noise from the minimum of a shallow valley: about ...",
              [0.0, 0.05, 0.6, 1.0], guess=None)

# %%
from_middle, from_bottom = shares(middle, 0.4), shares(bottom, 0.4)
valleys = ["deep\nlower right", "deep\nupper left", "shallow\nupper right", "shallow\nlower left"]
bars = {"from (0.05, 0.05)": from_middle, "from a shallow minimum": from_bottom}
teach.show(plotting.share_bars(valleys, bars, ylabel="share of the particles (σ = 0.4)"),
           "Bars: particles from the middle end in three or four valleys, most of them in the two "
           "deep ones; particles from a shallow minimum all end where they started.")

# %%
count = round(4000 * float(from_middle[:2].sum()))
teach.claim("σ = 0.4 from the middle: more than half reach a deep valley", kind="monte-carlo",
            condition=wilson_interval(count, 4000, 0.999).low > 0.5)
teach.claim("σ = 0.4 from a shallow minimum: none of 4000", bool(from_bottom[:2].sum() == 0),
            kind="monte-carlo")
teach.reveal("p2.t4.q6", 0.6)
teach.reveal("p2.t4.q7", 0.0, because="none of them ever escaped")

# %% [markdown]
# The particles in the middle were in no valley yet. The diagonal forbade a choice; noise chose,
# while they were still on the hill: **symmetry breaking**. If so, the noise of the first steps does
# nearly all of it, and that of the later ones nearly nothing.

# %%
many = 100_000
every, early, late = (float(shares(middle, 0.4, when, particles=many)[:2].sum())
                      for when in (range(100), range(20), range(20, 100)))
print(f"deep with noise always {every:.2f}, in the first 20 steps {early:.2f}, "
      f"in the last 80 {late:.2f}")
error = math.sqrt((every * (1 - every) + early * (1 - early)) / many)
teach.claim("the share with noise in the first 20 steps alone differs from that with all 100 by "
            "less than 0.02, with 5 standard errors on either side",
            abs(early - every) + 5 * error < 0.02, kind="monte-carlo")
teach.claim("noise in the last 80 steps alone: below 0.2 % reach a deep valley",
            wilson_interval(round(many * late), many, 0.999).high < 0.002, kind="monte-carlo")
for sigma in (0.6, 2.0, 4.0):
    gone = float(shares(bottom, sigma)[:2].sum())
    print(f"from a shallow minimum, σ = {sigma}: {gone:.0%} leave within 100 steps")

# %% [markdown]
# With ten times the noise particles do escape. What does it depend on?
#
# ## 7. Noise III: what an escape costs
#
# To leave a shallow valley, noise must carry the particle up to a saddle: a **barrier** of
# $\Delta = -1.19375 + 1.80625 = 0.6125$. For small steps, particles settle in proportion to
# $e^{-f/\tau}$ (in the bowl: $C = \tau/\lambda$, section 5). So a saddle is visited
# $e^{-\Delta/\tau}$ times as often as the minimum, and the mean waiting time grows as
# $e^{\Delta/\tau}$: **Kramers' law**.

# %%
teach.predict("p2.t4.q8", "From τ = 0.2 to τ = 0.1 the mean waiting time becomes ... times longer.",
              [2, 4, 20], guess=None)

# %%
taus = torch.tensor([0.1, 0.12, 0.15, 0.2, 0.3], dtype=torch.float64)


def waiting(eta, steps, seed=0, particles=400):
    """Mean time (steps · η) until particles reach a deep valley, for each τ; how many did."""
    g = torch.Generator().manual_seed(seed)
    kick = (2 * taus * eta).sqrt().unsqueeze(-1)  # ησ
    x, gone = torch.full((2, len(taus), particles), b, dtype=torch.float64), 0 * taus
    for _ in range(steps):
        noise = torch.randn(x.shape, generator=g, dtype=x.dtype)
        x = x - eta * (x * (0.8 * x * x - 2) + 0.3 * x.flip(0)) + kick * noise
        out = x[0] * x[1] < -1  # well beyond the saddles
        gone += out.sum(-1)
        x = torch.where(out, b, x)  # put back, so that all of them count all the time
    return particles * steps * eta / gone, gone


# %% [markdown]
# Theory gives even the factor in front, from the curvatures at the minimum (Hessian $H_b$) and at
# the two saddles around it (Hessian $H_s$); Eyring's and Kramers' formula has nothing to fit, and
# is exact in the limit of small $\tau$ and $\eta$:
#
# $$\text{mean time} \approx \tfrac12\cdot\frac{2\pi}{|\lambda_-|}
# \sqrt{\frac{|\det H_s|}{\det H_b}}\; e^{\Delta/\tau} .$$

# %%
mean, gone = waiting(eta=0.02, steps=12_000)
dets = torch.linalg.det(here.hessians[0]).abs()
front = math.pi / -weakest * (dets[4] / dets[2]).sqrt()
inverse = torch.linspace(3, 10.5, 50, dtype=torch.float64)
spread = (1.96 / gone.sqrt()).exp()
measured = torch.stack([mean / spread, mean, mean * spread])
teach.show(
    plotting.with_intervals({"measured, 400 particles each": (1 / taus, measured)},
                            {"Kramers' law": (inverse, front * (0.6125 * inverse).exp())},
                            xlabel="1 / τ (per unit of loss)", log="y",
                            ylabel="mean waiting time (steps · η)"),
    "Mean waiting time on a logarithmic axis against 1/τ: the measured points rise along a "
    "straight line from about 14 to about 700, slightly above the line of theory.",
)

# %%
def steepness(mean):
    u, v = 1 / taus - (1 / taus).mean(), mean.log() - mean.log().mean()
    return (u @ v / (u @ u)).item()


coarse = steepness(waiting(eta=0.05, steps=5000)[0])
print(f"slope {steepness(mean):.2f} with η = 0.02, {coarse:.2f} with η = 0.05; barrier 0.6125")
teach.claim("the slope of ln(waiting time) over 1/τ is the barrier, within 9 %, for both η",
            error=torch.tensor([steepness(mean), coarse]).double().div(0.6125).sub(1).abs(),
            tolerance=0.09, kind="monte-carlo")
ratio = mean / front * (-0.6125 / taus).exp()
teach.claim("without any fit Kramers' law is right within a factor of 1.4 at all five temperatures"
            "; at τ = 0.2 and 0.3, where it is not yet exact, the times are 10 to 30 % longer",
            bool(((ratio[3:] > 1.1) & (ratio[3:] < 1.3)).all()), kind="monte-carlo",
            error=ratio.log().abs(), tolerance=math.log(1.4))
teach.reveal("p2.t4.q8", 20, because=f"e to the 0.6125 · 5 is {math.exp(0.6125 * 5):.0f}")
digits = (math.log(front / 0.05) + 0.6125 / (0.05 * 0.4**2 / 2)) / math.log(10)
print(f"steps to wait at σ = 0.4, η = 0.05: a number with {math.ceil(digits)} digits")

# %% [markdown]
# That number belongs to the particles of section 6. Noise does help to escape, if the temperature
# is not small beside the barrier. (A longer step heats more than $\tau$ says.)
#
# ## 8. Many valleys
#
# Rastrigin's function is a bowl under an egg box, a sum over coordinates:
# $f(x) = \sum_i x_i^2 + 10\,(1 - \cos 2\pi x_i)$ on $[-5.12, 5.12]^d$. Near each whole number
# lies a valley: $11^d$ of them, one of which is the best.

# %%
def egg_gradient(x):
    return 2 * x + 20 * math.pi * torch.sin(2 * math.pi * x)


def egg_descend(x):
    for _ in range(40):
        x = x - 0.002 * egg_gradient(x)
    return x


def egg_box(*shape):
    return 10.24 * torch.rand(*shape, generator=g, dtype=torch.float64) - 5.12


line = egg_descend(torch.linspace(-5.12, 5.12, 20_002, dtype=torch.float64))
print("valleys on a line:", len((1000 * line).round().unique()))
low, high = 0.4, 0.6  # the maximum right of 0, by halving
for _ in range(60):
    middle_x = (low + high) / 2
    uphill = egg_gradient(torch.tensor(middle_x, dtype=torch.float64)) > 0
    low, high = (middle_x, high) if uphill else (low, middle_x)
p1 = 2 * low / 10.24
print(f"chance of the best valley in one dimension: {p1:.4f}")
teach.predict("p2.t4.q9", "In five dimensions, how many starts until one is lucky, on average?",
              ["about 50", "about 5,000", "about 100,000"], guess=None)

# %%
lucky = egg_descend(egg_box(200_000, 5)).abs() < 0.01
hits = [int(lucky[:, :d].all(-1).sum()) for d in range(1, 6)]  # the first d coordinates
found = [wilson_interval(k, 200_000, 0.999) for k in hits]
table = torch.tensor([[i.low for i in found], [k / 2e5 for k in hits], [i.high for i in found]])
d = torch.arange(1, 6)
teach.show(
    plotting.with_intervals({"200,000 starts each": (d, table)}, {"p₁ to the power d": (d, p1**d)},
                            xlabel="dimension d", ylabel="chance of the best valley", log="y"),
    "Chance of the best valley on a logarithmic axis against dimension: a straight line that falls "
    "by a factor of ten per dimension, from 0.1 to 0.00001, with the measured shares on it.",
)

# %%
teach.claim("in dimensions 1 to 5 the interval of the counted share (99.9 %) holds p₁ᵈ",
            all(p1**k in found[k - 1] for k in range(1, 6)), kind="monte-carlo")
steep = egg_gradient(torch.zeros(1).double() + 1e-6) / 1e-6
teach.claim("η = 0.002 is below 1/L = 1/(2 + 40π²): in each coordinate no step crosses a hill",
            bool((0.002 * steep < 1).all()), error=(steep - 2 - 40 * math.pi**2).abs(),
            tolerance=1e-3)
teach.reveal("p2.t4.q9", "about 100,000", because="every coordinate has to be lucky at once")

# %% [markdown]
# ## 9. Cool slowly, or start again?
#
# **Annealing** starts hot, so that barriers do not matter, and cools while the particle wanders: it
# should freeze in a deep valley. A fair rival gets the same number of gradients: restarts of a
# descent without noise, the best of which counts. (The starting temperatures below are the best of
# four that we tried, in favour of annealing.)

# %%
teach.predict("p2.t4.q10", "800 gradients each on the four wells. Who ends deep more often?",
              ["annealing", "restarts", "undecided"], guess=None)
teach.predict("p2.t4.q11", "2000 gradients each on Rastrigin in 20 dimensions. Who ends lower?",
              ["annealing", "restarts", "undecided"], guess=None)

# %%
def annealed(x, slope, eta, hot, steps, quiet):
    """Steps with noise that cools linearly from τ = hot to 0, then without; `steps` in all."""
    for t in range(steps):
        tau = hot * max(0.0, 1 - t / (steps - quiet))
        kick = math.sqrt(2 * tau * eta) * torch.randn(x.shape, generator=g, dtype=x.dtype)
        x = x - eta * slope(x) + kick
    return x


def verdict(gain):
    """Mean of paired differences in standard errors."""
    return (gain.mean() / (gain.std() / math.sqrt(len(gain)))).item()


starts = box(2000, 8)  # eight restarts of 100 steps; the first is also where annealing starts
lucky_restarts = deep(descend(starts, 100)).any(-1).double()
cooled = deep(annealed(starts[:, 0], gradient, 0.05, 0.6, 800, 100)).double()
print(f"four wells: restarts {lucky_restarts.mean():.2f}, annealing {cooled.mean():.2f}")
teach.claim("four wells, 800 gradients: restarts succeed more often than annealing, in pairs",
            verdict(lucky_restarts - cooled) > 4, kind="paired")

# %% tags=["nbval-ignore-output"]
gains = {}
for dim, pairs in ((2, 256), (5, 256), (10, 1024), (20, 256)):
    starts = egg_box(pairs, 50, dim)  # fifty restarts of 40 steps
    best = Rastrigin(dim).loss(egg_descend(starts)).amin(-1)
    cooled = Rastrigin(dim).loss(annealed(starts[:, 0], egg_gradient, 0.002, 10.0, 2000, 40))
    gains[dim] = verdict(best - cooled)
    print(f"Rastrigin, d = {dim:2}: mean loss, restarts {best.mean():6.1f}, annealing "
          f"{cooled.mean():6.1f}; found the optimum {float((best < 0.01).double().mean()):.2f}, "
          f"{float((cooled < 0.01).double().mean()):.2f}")

# %%
teach.claim("Rastrigin in 2 and 5 dimensions, 2000 gradients: restarts end lower, in 256 pairs",
            max(gains[2], gains[5]) < -4, kind="paired")
teach.claim("Rastrigin in 20 dimensions, 2000 gradients: annealing ends lower, in 256 pairs",
            gains[20] > 4, kind="paired")
teach.claim("Rastrigin in 10 dimensions, 2000 gradients: annealing ends lower, in 1024 pairs (256 "
            "pairs leave it undecided)", gains[10] > 4, kind="paired")
teach.reveal("p2.t4.q10", "restarts", because="eight independent chances beat one patient particle")
teach.reveal("p2.t4.q11", "annealing", because="it improves every coordinate, restarts need all "
             "lucky at once")

# %% [markdown]
# On this landscape, with this budget: in few dimensions restarts win, for luck is affordable; in
# many annealing wins, because here low valleys lie beside lower ones; and both stay far from the
# optimum. There *is* a guarantee: cool no faster than $\tau_t = \Delta/\ln t$, with the highest
# barrier out of a wrong valley, and in the long run annealing finds the best one (Hajek, for
# finitely many places). Kramers' law says how long that takes.
#
# **Exercise 4.** Annealing that needs no gradients, only values: Metropolis's rule.

# %%
# exercise: p2.t4.e4

# %% [markdown]
# ## 10. The bill
#
# For the best valley of Rastrigin's function with 99 % chance, at one second per gradient, 40
# gradients per restart. The last column lets each coordinate restart by itself, because the loss is
# a sum.

# %%
print(" d   restarts            time    each coordinate by itself")
for dim in (1, 2, 5, 10, 20):
    restarts = math.log(0.01) / math.log1p(-(p1**dim))
    alone = dim * math.ceil(math.log1p(-(0.99 ** (1 / dim))) / math.log1p(-p1))
    days = 40 * restarts / 86_400
    print(f"{dim:2}   {restarts:8.1e}   {days:8.1e} days   {alone:5} restarts, "
          f"{40 * alone / 86_400:.2f} days")
ratios = [math.log1p(-(p1**k)) / math.log1p(-(p1 ** (k + 1))) for k in range(2, 20)]
teach.claim("from 2 dimensions on each further one makes the bill 10 to 11 times larger",
            min(ratios) > 10 and max(ratios) < 11, kind="run")
each = math.ceil(math.log1p(-(0.99 ** (1 / 5))) / math.log1p(-p1))
one_by_one = (egg_descend(egg_box(3000, each, 5)).abs() < 0.01).any(1).all(-1)
level = (1 - (1 - p1) ** each) ** 5
teach.claim("five coordinates, each by itself, succeed as computed, within 5 standard errors",
            error=(one_by_one.double().mean() - level).abs(),
            tolerance=5 * math.sqrt(level * (1 - level) / 3000), kind="monte-carlo")

# %% [markdown]
# Look at the last column: what shrank the bill is knowing that the loss is a sum. A restart uses
# neither that nor the gradients and values that the ones before have paid for.
#
# If an evaluation is an experiment that takes a day, and has no gradient, even the cheap column is
# too dear. We must keep what we have paid for, and let a **model** guess what the function is like
# between the points. That is Part 3. (There everything is maximised; the sign changes once, and is
# announced.)
#
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. A colleague adds noise, and more runs end in the good minimum. Which control run tells escape
#    from symmetry breaking?
# 2. A barrier is twice as high. By what factor must σ grow to keep the waiting time's exponent?
# 3. 60 of 100 restarts succeed in one dimension of a separable problem. How many restarts do you
#    plan for 99 % in ten?
#
# **So, what does a global optimum cost?** Luck: $\ln(1 - \text{target})/\ln(1 - p)$ restarts,
# cheap while $p$ is large, but $p$ may fall geometrically with the dimension. Noise: a floor as
# long as $\eta$ and $\sigma$ stay, a choice where nothing is decided yet, an escape only at a wait
# of $e^{\Delta/\tau}$. In many dimensions neither reached the optimum here; knowing that the loss
# is a sum did. Next: tutorial 5, many descents at once.
#
# ## Sources
#
# - H. A. Kramers, "Brownian motion in a field of force and the diffusion model of chemical
#   reactions", *Physica* 7 (1940),
#   [doi:10.1016/S0031-8914(40)90098-2](https://doi.org/10.1016/S0031-8914(40)90098-2); in many
#   dimensions and in review: P. Hänggi, P. Talkner, M. Borkovec, *Reviews of Modern Physics* 62
#   (1990), [doi:10.1103/RevModPhys.62.251](https://doi.org/10.1103/RevModPhys.62.251).
# - S. Kirkpatrick, C. D. Gelatt, M. P. Vecchi, "Optimization by simulated annealing", *Science* 220
#   (1983), [doi:10.1126/science.220.4598.671](https://doi.org/10.1126/science.220.4598.671).
# - B. Hajek, "Cooling schedules for optimal annealing", *Mathematics of Operations Research* 13
#   (1988), [doi:10.1287/moor.13.2.311](https://doi.org/10.1287/moor.13.2.311).
# - J. D. Lee, M. Simchowitz, M. I. Jordan, B. Recht, "Gradient descent only converges to
#   minimizers", *COLT* 2016, [arXiv:1602.04915](https://arxiv.org/abs/1602.04915).
# - S. Mandt, M. D. Hoffman, D. M. Blei, "Stochastic gradient descent as approximate Bayesian
#   inference", *JMLR* 18 (2017), [arXiv:1704.04289](https://arxiv.org/abs/1704.04289): the cloud of
#   section 5.
