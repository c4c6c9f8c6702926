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
# # Part 3, tutorial 1: why model an unknown function
#
# **With 15 drills and no gradient, what can any method do, and when does a model beat honest
# guessing?**
#
# > **Before you start:** Part 2, tutorials 2 and 4; least squares.
# >
# > **Time:** 45 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - say what random search guarantees, and what it does not;
# > - count what a grid and a gradient by differences cost;
# > - fit a surrogate from features, and say where it only repeats your assumptions;
# > - show why a greedy search gets stuck, and what forbidding repeats does not mend;
# > - run a comparison that deserves belief, and report typical runs and bad ones.
# >
# > **You will build** `random_search_budget`, `fit_features`, `greedy_step` and `fair_compare`.

# %%
import math
from collections.abc import Callable, Sequence

import torch
from matplotlib import pyplot
from torch import Tensor

import bolearn as bl
from bolearn import plotting, stats, teach
from bolearn.errors import DataError
from bolearn.problems import Budget, GoldMine1d, Hard1d, Problem, TwoScale1d

teach.setup("p3.t1")

# %% [markdown]
# ## 1. A drill costs a day
#
# Part 2 had gradients, and thousands of steps. A prospector has neither. On a strip of ground, 6 km
# long, a drill fits every 25 m: 241 places. A drill at place $x$ brings up $y = f(x)$ ounces of
# gold, and costs a day. His **budget** is $N = 15$ drills.
#
# From here on everything is **maximised**. After $n$ drills $b$ is the best value so far, and
#
# $$r = f^* - b$$
#
# his **simple regret**: $f^*$ is the gold at the best place, which we know and he does not. So that
# nobody cheats, not even by accident, methods get a meter instead of the ground.

# %%
places = torch.linspace(0, 6, 241, dtype=torch.float64).unsqueeze(-1)  # in km, 241 1


def strip(problem):
    """A landscape of one input, laid over our six kilometres; f* is that of the best place."""
    west, east = problem.bounds[:, 0]
    ground = Problem(lambda X: problem.noiseless(west + X * (east - west) / 6)[:, 0],
                     places[[0, -1]], name=problem.name)
    return ground, ground(places).max()


mine, best_place = strip(GoldMine1d())
meter = Budget(mine, calls=15)
y = torch.cat([meter(x.reshape(1, 1))[0] for x in places[8::16]])  # every 400 m
regret = best_place - y.cummax(0).values
print(f"{meter.spent} drills, {meter.left} left, regret {regret[-1]:.2f} ounces")
try:
    meter(places[:1])
    refused = False
except DataError as refusal:
    refused = True
    print(refusal)
teach.claim("the sixteenth drill is refused and not counted", refused and meter.spent == 15,
            kind="run")
anyhow = torch.rand(200, 241, generator=torch.Generator().manual_seed(1)).argsort(-1)[:, :15]
regrets = best_place - mine(places)[anyhow, 0].cummax(-1).values
teach.claim("simple regret never rises and never falls below 0, in 200 random searches",
            bool((regrets.diff() <= 0).all() & (regrets >= 0).all()), kind="theorem")

# %% [markdown]
# ## 2. The even grid
#
# Fifteen drills, evenly spread, did rather well. With two inputs (place and depth, say) the same
# spacing takes $15^2$ drills, with $d$ inputs $15^d$. Now let depth be idle: the gold depends on
# the place alone, but nobody knows that. We spend 16 drills on a 4 × 4 grid, moved as a whole by a
# random amount; or on 16 random points.

# %%
teach.predict("p3.t1.q1", "One of two inputs is idle. Who finds more gold?",
              ["the grid", "random points", "no difference"], guess=None)

# %%
g = torch.Generator().manual_seed(0)


def gold(x):
    """The mine at any table of places: ... -> ..."""
    return mine(x.reshape(-1, 1)).reshape(x.shape)


def paired(a, b):
    """The mean of the differences a - b, in standard errors."""
    return ((a - b).mean() / ((a - b).std() / math.sqrt(len(a)))).item()


shift = torch.rand(400, 1, generator=g, dtype=torch.float64)
rows = 6 * (torch.arange(4) + shift) / 4  # the four places of each grid, each at four depths
anywhere = 6 * torch.rand(400, 16, generator=g, dtype=torch.float64)
square = torch.tensor([[0.0, 0.0], [6.0, 1.0]], dtype=torch.float64)
sobol = bl.sobol_points(square, n=16, seed=0, replicates=400)[..., 0]
found = {name: gold(x).amax(-1) for name, x in
         {"grid": rows, "random": anywhere, "Sobol": sobol}.items()}
for name, value in found.items():
    print(f"{name:6}: best of 16, on average {value.mean():.2f} ounces")
teach.claim("an even grid, 15 per input, has 15^d places, counted up to d = 5", error=max(
    abs(len(torch.cartesian_prod(*[torch.arange(15)] * d)) - 15**d) for d in range(1, 6)),
    tolerance=0)
teach.claim("one input idle, 16 drills: random points find more than the grid, in pairs",
            paired(found["random"], found["grid"]) > 2, kind="paired")
teach.claim("one input idle, 16 drills: Sobol points find more than random ones, in pairs",
            paired(found["Sobol"], found["random"]) > 2, kind="paired")
teach.reveal("p3.t1.q1", "random points", because="16 different places instead of 4")

# %% [markdown]
# The grid pays four times for each place. (Sobol points, from Part 1, tutorial 6, spread evenly
# without standing in rows.) `paired` counts in standard errors how far a mean difference is from 0.
#
# ## 3. What luck guarantees
#
# Call the best share $q$ of the ground *good*. A random drill is good with probability $q$,
# whatever the ground looks like, and $n$ drills all miss with probability $(1 - q)^n$, like the
# restarts of Part 2. With one input and $q = 5\,\%$, 59 drills hit with 95 %.

# %%
teach.predict("p3.t1.q2", "And with twenty inputs?", [59, 1180, "59 to the 20"], guess=None)
teach.predict("p3.t1.q3", "A pyramid over a box of 20 inputs, 1 high in the middle, 0 at the "
              "walls. A place among the best 5 % is at least how high?", [0.95, 0.5, 0.14],
              guess=None)

# %%
def hits(d, n=59, searches=20_000, others=400_000):
    """Share of searches that hit the best 5 % of d mines, one for each input, summed.

    Where the best 5 % begin is estimated from other points.
    """
    def total(count):
        return gold(6 * torch.rand(count, d, generator=g, dtype=torch.float64)).sum(-1)

    good = stats.quantiles(total(others), [0.95])[0]
    parts = [(total(1000 * n).reshape(1000, n) >= good).any(-1) for _ in range(searches // 1000)]
    return torch.cat(parts).double().mean().item()


level, shares = 1 - 0.95**59, [hits(1), hits(20)]
spread = math.hypot(math.sqrt(level * (1 - level) / 20_000),
                    59 * 0.95**58 * math.sqrt(0.05 * 0.95 / 400_000))
print(f"hits: 1 input {shares[0]:.3f}, 20 inputs {shares[1]:.3f}; formula {level:.4f}")
teach.claim("1 input or 20: 59 drills hit the best 5 % with probability 1 - 0.95⁵⁹, within 5 "
            "standard errors", error=max(abs(share - level) for share in shares) / spread,
            tolerance=5, kind="monte-carlo")
teach.claim("59 drills are the least for the best 5 % with 95 % confidence",
            1 - 0.95**58 < 0.95 <= level, kind="run")
teach.reveal("p3.t1.q2", 59, because="nothing in the argument knows the number of inputs")

# %%
X = 2 * torch.rand(200_000, 20, generator=g, dtype=torch.float64) - 1
height = stats.quantiles(1 - X.abs().amax(-1), [0.95])[0].item()
reach = 0.05 ** (1 / 20)  # a smaller box of this half-width holds 5 % of the box
spread = math.sqrt(0.05 * 0.95 / 200_000) / (20 * reach**19)
print(f"20 inputs: the best 5 % of the pyramid begin at {height:.2f}")
teach.claim("the best 5 % of a pyramid over 20 inputs begin at a height of 1 - 0.05^(1/20), within "
            "5 standard errors", tolerance=5,
            error=abs(height - (1 - reach)) / spread, kind="monte-carlo")
teach.reveal("p3.t1.q3", 0.14, because="nearly all of a 20-dimensional box is near its walls")

# %% [markdown]
# The guarantee is about *ranks*: it holds on any ground, and says nothing about *ounces*.
#
# **Exercise 1.** Plan such a search, also for somebody who never drills one place twice.

# %%
# exercise: p3.t1.e1

# %% [markdown]
# ## 4. A gradient by differences
#
# A gradient can be bought: a drill at $x$, and one a small step $h$ away along each input,
#
# $$\frac{\partial f}{\partial x_i} \approx \frac{f(x + h\,e_i) - f(x)}{h} ,$$
#
# where $e_i$ is 1 in input $i$ and 0 elsewhere. One step costs $d + 1$ drills.

# %%
def gradient(meter, X, h=0.01):
    """The gradient at one place for each run, *r 1 d, and what the drills there brought up."""
    step = torch.where(X + h <= meter.bounds[1], h, -h)
    y = meter(torch.cat([X, X + torch.diag_embed(step.squeeze(-2))], dim=-2))[..., 0]
    return (y[..., 1:] - y[..., :1]).unsqueeze(-2) / step, y


def mines(d):
    return Problem(lambda X: gold(X).sum(-1), places[[0, -1]].expand(2, d))


def price(d):
    meter = Budget(mines(d), calls=15)
    try:
        gradient(meter, torch.ones(1, d, dtype=torch.float64))
    except DataError:
        return None
    return meter.spent


teach.claim("the meter charges d + 1 drills for a gradient, with 1 to 14 inputs, and with more a "
            "budget of 15 buys none", [price(d) for d in range(1, 21)]
            == [*range(2, 16), *[None] * 6], kind="theorem")

# %% [markdown]
# With one input it buys seven steps. Here are 200 ascents on the mine, with the best of six
# learning rates, chosen afterwards in their favour; beside each, 15 random drills of which the
# first is where the ascent starts.

# %%
def ascend(eta, start):
    """Best value, first and last, of each ascent: seven steps, and a last drill."""
    meter, X, y = Budget(mine, calls=15), start, []
    for _ in range(7):
        uphill, pair = gradient(meter, X)
        y.append(pair)
        X = (X + eta * uphill).clamp(0, 6)
    y = torch.cat([*y, meter(X)[..., 0]], dim=-1)
    return y.amax(-1), y[:, 0], y[:, -1]


lucky = 6 * torch.rand(200, 15, 1, generator=g, dtype=torch.float64)
rates = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
climbed = max((ascend(eta, lucky[:, :1])[0] for eta in rates), key=lambda best: best.mean().item())
_, first, last = ascend(rates[0], lucky[:, :1])
luck = Budget(mine, calls=15)(lucky)[..., 0].amax(-1)
print(f"ounces missing, on average: ascents {best_place - climbed.mean():.2f}, "
      f"random drills {best_place - luck.mean():.2f}")
teach.claim("at the lowest rate an ascent's last drill brings up more than the first, in pairs",
            paired(last, first) > 2, kind="paired")
teach.claim("15 drills at random find more than 7 steps at the best of six rates, in pairs",
            paired(luck, climbed) > 2, kind="paired")

# %%
d = torch.arange(1, 21, dtype=torch.float64)
bills = {"even grid, 15 per input": 15**d,
         "random: a pyramid's top to 0.05": math.log(0.05) / torch.log1p(-(0.05**d)),
         "random: one of the best 5 %": torch.full_like(d, 59), "one gradient step": d + 1,
         "our budget": torch.full_like(d, 15)}
figure = plotting.curves(d, bills, xlabel="inputs d", ylabel="drills", log="y")
figure.axes[0].set(ylim=(1, 1e10), xticks=(1, 5, 10, 15, 20))
teach.show(figure, "Drills against the number of inputs on a logarithmic axis: a grid and a "
           "guarantee in height leave the picture between seven and nine inputs; one gradient "
           "step grows slowly and passes the budget at 15 inputs; the guarantee in rank stays at "
           "59.")

# %% [markdown]
# All of these methods forget what they have paid for.
#
# ## 5. A map from features
#
# So keep the drills, and draw a map through them: a **surrogate**, cheap to ask, in place of the
# ground. Choose **features** $\psi(x)$, $p$ numbers for each place, and let
#
# $$f(x) \approx \psi(x) \cdot w .$$
#
# The rows $\psi(x_i)$ of the drills make a table $\Psi$, `n p`; the **weights** $w$ are those of
# least squares. Factor $\Psi = QR$, with orthonormal columns in $Q$ and a triangle $R$: then
# $R\,w = Q^\top y$. The normal equations $\Psi^\top \Psi\,w = \Psi^\top y$ say the same, but their
# matrix has the *square* of the condition number.

# %%
def powers(x, degree):
    """Features 1, u, u², ... of u = (x - 3)/3, which runs from -1 to 1: ... -> ... degree + 1."""
    return ((x - 3) / 3).unsqueeze(-1) ** torch.arange(degree + 1)


def fit(Psi, y, ridge=0.0):
    """Weights of least squares plus ridge |w|²: ... n p and ... n -> ... p."""
    p = Psi.shape[-1]
    pull = ridge**0.5 * torch.eye(p, dtype=y.dtype).expand(*Psi.shape[:-2], p, p)
    Q, R = torch.linalg.qr(torch.cat([Psi, pull], dim=-2))  # p more rows, whose targets are 0
    known = Q[..., : y.shape[-1], :].mT @ y.unsqueeze(-1)
    return torch.linalg.solve_triangular(R, known, upper=True).squeeze(-1)


teach.predict("p3.t1.q4", "Powers up to x¹⁵, 40 even drills of a ground whose weights are all 1, "
              "sixteen digits: how many digits of w survive the normal equations?",
              ["about 15", "about 11", "about 6"], guess=None)

# %%
Psi = powers(torch.linspace(0, 6, 40, dtype=torch.float64), 15)
y = Psi.sum(-1)  # all weights are 1
by_qr = fit(Psi, y)
by_lstsq = torch.linalg.lstsq(Psi, y.unsqueeze(-1)).solution.squeeze(-1)
by_normal = torch.linalg.solve(Psi.mT @ Psi, Psi.mT @ y)
kappa = torch.linalg.cond(Psi).item()
print(f"condition number of Ψ {kappa:.0e}, of ΨᵀΨ {torch.linalg.cond(Psi.mT @ Psi):.0e}")
teach.claim("QR gives torch.linalg.lstsq's weights", error=(by_qr - by_lstsq).abs(),
            tolerance=1e-8)
teach.claim("the condition number of ΨᵀΨ is that of Ψ squared, to 1 %", tolerance=0.01,
            error=abs(torch.linalg.cond(Psi.mT @ Psi).item() / kappa**2 - 1))
lost, kept = ((w - 1).abs().max().item() for w in (by_normal, by_qr))
teach.claim("the weights from the normal equations keep four to seven digits, those from QR more "
            "than nine", 1e-7 < lost < 1e-4 and kept < 1e-9, kind="run")
teach.reveal("p3.t1.q4", "about 6", because="κ² eats eleven; with QR κ eats five")

# %% [markdown]
# Another kind of feature is local: **bumps** $e^{-(x - c)^2/2s^2}$ of width $s$, a centre $c$ every
# 500 m, beside a constant. With more features than drills, a tiny ridge picks small weights among
# all that fit. Now seven drills, and three such maps.

# %%
def bumps(x, width):
    """A constant and thirteen bumps: ... -> ... 14."""
    c = torch.arange(0, 6.25, 0.5, dtype=torch.float64)
    local = torch.exp(-0.5 * ((x.unsqueeze(-1) - c) / width) ** 2)
    return torch.cat([torch.ones_like(x).unsqueeze(-1), local], dim=-1)


seven = torch.tensor([0.1, 0.6, 1.3, 1.9, 2.5, 3.3, 3.9], dtype=torch.float64)
teach.predict("p3.t1.q5", "Three smooth maps meet all seven drills. Each advises a place to drill. "
              "How far apart is the advice?", ["below 100 m", "about 400 m", "over 3 km"],
              guess=None)

# %%
x = places[:, 0]
recipes = {"powers up to 6": lambda x: powers(x, 6), "bumps, s = 0.3 km": lambda x: bumps(x, 0.3),
           "bumps, s = 0.7 km": lambda x: bumps(x, 0.7)}
figure, panel = pyplot.subplots()
panel.plot(x, gold(x), color=plotting.GREY, lw=1.2, ls="-", label="the ground")
maps, misses = [], []
for k, (name, psi) in enumerate(recipes.items()):
    w = fit(psi(seven), gold(seven), ridge=1e-10 if k else 0.0)
    maps.append(psi(x) @ w)
    misses.append(psi(seven) @ w - gold(seven))
    color = list(plotting.OKABE_ITO.values())[k]
    panel.plot(x, maps[k], color=color, ls=plotting.LINE_STYLES[k + 1], label=name)
    panel.plot(x[maps[k].argmax()], maps[k].max(), plotting.MARKERS[k + 1], ms=11, color=color,
               mec="black")
panel.plot(seven, gold(seven), "o", color="white", mec="black", ms=8, label="drills")
panel.set(xlabel="place x (km)", ylabel="gold (ounces)", ylim=(-7, 11),
          title="large markers: the highest place of each map")
panel.legend(loc="lower left")
teach.show(figure, "Three maps through seven drills in the western two thirds: there they lie on "
           "each other and close to the ground. Further east all three turn down before the "
           "ground's highest hill: one climbs to 7 ounces, then falls steeply; two turn near 4 km "
           "and fall gently. Their highest places: 1.0, 1.1 and 4.6 km.")

# %%
drawn = torch.stack(maps)
apart = drawn.amax(0) - drawn.amin(0)
advice = x[drawn.argmax(-1)]
among = (x >= seven[0]) & (x <= seven[-1])
print(f"largest difference of the maps: {apart[among].max():.1f} ounces among the drills, "
      f"{apart[~among].max():.0f} beyond them")
teach.claim("three maps meet all seven drills to 0.001 ounces", error=torch.stack(misses).abs(),
            tolerance=1e-3, kind="run")
anything = torch.randn(100, 7, generator=g, dtype=torch.float64)  # other finds, at the same places
meets = [(psi(seven) @ fit(psi(seven).expand(100, -1, -1), anything, 1e-12 if k else 0.0).mT).mT
         - anything for k, psi in enumerate(recipes.values())]
teach.claim("where seven drills give Ψ the rank 7, a map meets whatever they bring up, 100 times",
            error=torch.stack(meets).abs(), tolerance=1e-2, kind="theorem", condition=all(
                torch.linalg.matrix_rank(psi(seven)) == 7 for psi in recipes.values()))
teach.claim("the advice of the three maps is more than 3 km apart", kind="run",
            condition=bool(advice.max() - advice.min() > 3))
teach.claim("beyond the drills the maps differ over twenty times as much as among them",
            bool(apart[~among].max() > 20 * apart[among].max()), kind="run")
teach.reveal("p3.t1.q5", "over 3 km", because="beyond the drills only the features speak")
bends = {}
for n in (15, 1500):
    X = torch.linspace(0, 6, n, dtype=torch.float64)
    bends[n] = (powers(x, 2) @ fit(powers(X, 2), gold(X)) - gold(x)).abs().max().item()
print(f"a parabola misses by {bends[15]:.1f} ounces after 15 drills, {bends[1500]:.1f} after 1500")
teach.claim("a hundred times as many drills do not bring a parabola's largest miss below 1 ounce",
            min(bends.values()) > 1, kind="run")

# %% [markdown]
# A smooth curve through all drills is no evidence: where the table $\Psi$ of $n$ drills has rank
# $n$ (which takes $n$ features at least, and different places), there is one whatever comes up. Far
# from all drills the features repeat what we put in. And too few features err however much one
# drills: that is **bias**.
#
# **Exercise 2.** Fit a map whose constant is free, for many strips at once.

# %%
# exercise: p3.t1.e2

# %% [markdown]
# ## 6. More powers?
#
# Then take as many powers as there are drills. On $u \in [-1, 1]$ lies a single smooth hill,
# $f(u) = 1/(1 + 25u^2)$. Drill it at $n + 1$ even places; one polynomial of degree $n$ meets them
# all.

# %%
teach.predict("p3.t1.q6", "Degree 20 through 21 even drills. The hill is 1 high. By how much is "
              "the map wrong, at worst?", [0.06, 0.6, 6, 60], guess=None)

# %%
def waves(u, degree):
    """The polynomials cos(k arccos u), k = 0 ... degree: the same maps, a tamer table."""
    return torch.cos(torch.arange(degree + 1) * torch.acos(u).unsqueeze(-1))


def even(n):
    return torch.linspace(-1, 1, n + 1, dtype=torch.float64)


def crowded(n):
    """Drills that crowd at both ends: the shadows of even steps on a half circle."""
    return torch.cos(torch.pi * (torch.arange(n + 1, dtype=torch.float64) + 0.5) / (n + 1))


def hill(u):
    return 1 / (1 + 25 * u**2)


line = torch.linspace(-1, 1, 8001, dtype=torch.float64)


def through(u):
    """The matrix that takes drills at the places u to the map's heights on the line."""
    degree = len(u) - 1
    return torch.linalg.solve(waves(u, degree), waves(line, degree), left=False)


degrees = range(2, 31, 2)
errors = {name: torch.stack([(through(lay(n)) @ hill(lay(n)) - hill(line)).abs().max()
                             for n in degrees])
          for name, lay in (("even drills", even), ("crowded at the ends", crowded))}

# %%
figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.0, 4.0))
left.plot(line, hill(line), color="black", lw=1.2, ls="-", label="the hill")
for k, (name, lay) in enumerate((("even drills", even), ("crowded at the ends", crowded))):
    style = {"color": list(plotting.OKABE_ITO.values())[k], "ls": plotting.LINE_STYLES[k + 1]}
    left.plot(line, through(lay(10)) @ hill(lay(10)), label=f"degree 10, {name}", **style)
    left.plot(lay(10), hill(lay(10)), plotting.MARKERS[k], color=style["color"], mec="black")
    right.plot(degrees, errors[name], marker=plotting.MARKERS[k], markevery=2, label=name, **style)
left.set(xlabel="u", ylabel="height", ylim=(-0.5, 2.7))
right.set(xlabel="degree n", ylabel="largest error (heights of the hill)", yscale="log")
left.legend(loc="upper center", fontsize=10)
right.legend(loc="upper left")
teach.show(figure, "Left: a polynomial of degree 10 through even drills swings up to 2 near both "
           "ends; through crowded drills it follows the hill with small ripples. Right: the error "
           "grows from degree 4 on for even drills and falls for crowded ones.")

# %%
worst = {name: error[degrees.index(20)].item() for name, error in errors.items()}
print(f"degree 20: even drills {worst['even drills']:.1f}, crowded "
      f"{worst['crowded at the ends']:.4f}")
teach.claim("degree 20, even drills: the largest error is 59.8, to 1 %", tolerance=0.01,
            kind="run", error=abs(worst["even drills"] / 59.8 - 1))
teach.claim("degree 20, drills crowded at the ends: 0.0153, to 1 %", tolerance=0.01,
            kind="run", error=abs(worst["crowded at the ends"] / 0.0153 - 1))
blown = {lay: through(lay(20)).abs().sum(-1).max().item() for lay in (even, crowded)}
print(f"an error of 0.001 in each drill can shift the map by {0.001 * blown[even]:.0f} with even "
      f"drills, by {0.001 * blown[crowded]:.4f} with crowded ones")
teach.claim("even drills of degree 20 magnify errors over 10,000 times, crowded ones below 3 times",
            blown[even] > 10_000 and blown[crowded] < 3, kind="run")
teach.reveal("p3.t1.q6", 60, because="between the last two drills at each end it runs wild")

# %% [markdown]
# (This is Runge's phenomenon; the crowded places are Chebyshev's.) More features are no better
# surrogate by themselves: powers need their drills at certain places, and a search wants to put
# them elsewhere, where gold is. So from here on bumps, $s = 700$ m.
#
# ## 7. The greedy prospector
#
# The obvious search: fit, drill where the map is highest, fit again. It starts from three random
# drills.

# %%
table = bumps(x, 0.7)  # the features of all places, 241 14


def search(ground, first, mask):
    """Greedy drills from the places `first`, r n: all 15 of them by number, and their gold, r 15.

    With a mask no place is drilled twice.
    """
    meter, drilled = Budget(ground, calls=15), first
    y = meter(places[drilled])[..., 0]
    while meter.left:
        height = fit(table[drilled], y, ridge=1e-6) @ table.T
        if mask:
            height = height.scatter(-1, drilled, -math.inf)
        chosen = height.argmax(-1, keepdim=True)
        drilled = torch.cat([drilled, chosen], dim=-1)
        y = torch.cat([y, meter(places[chosen])[..., 0]], dim=-1)
    return drilled, y


g = torch.Generator().manual_seed(0)
order = torch.rand(200, 241, generator=g, dtype=torch.float64).argsort(-1)  # 200 random orders
greedy, y_greedy = search(mine, order[:, :3], mask=False)
teach.predict("p3.t1.q7", "Of a greedy prospector's 15 drills, how many are at different places "
              "(median of 200 runs)?", [15, 12, 9, 6], guess=None)

# %%
missing = best_place - y_greedy.amax(-1)
shown = {"a lucky run": int((missing < 0.01).nonzero()[0]),
         "an unlucky one": int((missing > 1).nonzero()[0])}
figure, panels = pyplot.subplots(2, 3, figsize=(10.0, 5.4), sharex=True, sharey=True)
for row, (name, run) in zip(panels, shown.items(), strict=True):
    for panel, n in zip(row, (3, 6, 15), strict=True):
        here = greedy[run, :n]
        height = table @ fit(table[here], gold(x[here]), ridge=1e-6)
        panel.plot(x, gold(x), color=plotting.GREY, lw=1.2, ls="-", label="the ground")
        panel.plot(x, height, color=plotting.OKABE_ITO["blue"], label="the map", ls="--")
        panel.plot(x[here], gold(x[here]), "o", color="white", mec="black", label="drills")
        panel.plot(x[height.argmax()], height.max(), "v", color=plotting.OKABE_ITO["vermillion"],
                   mec="black", ms=10, label="next")
        panel.set_title(f"{name}, {n} drills")
panels[0, 0].legend(loc="lower right", fontsize=10)
panels[0, 0].set_ylim(-3.4, 9.5)
figure.supxlabel("place x (km)")
figure.supylabel("gold (ounces)")
teach.show(figure, "Two runs after 3, 6 and 15 drills. The lucky one climbs the eastern, higher "
           "hill. The unlucky one climbs the western hill and drills its top again and again; its "
           "map of the east stays low and wrong.")

# %%
ranked = greedy.sort(-1).values
different = 1 + (ranked.diff(dim=-1) > 0).sum(-1)
again = torch.stack([(greedy[:, :n] == greedy[:, n : n + 1]).any(-1) for n in range(15)], dim=-1)
after = again.cummax(-1).values[:, :-1]  # whether a place had been repeated before this drill
teach.claim("every one of these 200 runs drills some place twice", bool((different < 15).all()),
            kind="run")
teach.claim("in at least nine of ten runs nothing new is drilled after the first repeat",
            float((again[:, 1:] | ~after).all(-1).double().mean()) >= 0.9, kind="run")
teach.reveal("p3.t1.q7", int(different.median()), because="the others are repeats")

# %% [markdown]
# ## 8. Stuck
#
# Why? Suppose that the map is right at the place where it is highest. Drilling there adds a row to
# the table whose residual is zero: the weights that were best remain best. Same weights, same map,
# same highest place: a **fixed point**, as in Part 2, and nothing later moves the search away.
# (With a ridge the map passes a little beside its drills, so that this holds nearly.)

# %%
X, extra = x[::40], x[4::12].unsqueeze(-1)  # seven drills, and one more at each of twenty places
w, every = fit(powers(X, 4), gold(X)), (len(extra), -1)
grown = powers(torch.cat([X.expand(*every), extra], dim=-1), 4)
promised = powers(extra, 4) @ w
confirmed = fit(grown, torch.cat([gold(X).expand(*every), promised], dim=-1))
denied = fit(grown, torch.cat([gold(X).expand(*every), promised + 1], dim=-1))
teach.claim("a drill that confirms the map leaves its weights as they were, at twenty places",
            tolerance=1e-10, error=(confirmed - w).abs(), kind="theorem")
teach.claim("a drill that is an ounce off the map does not", kind="theorem",
            condition=bool(((denied - w).abs().amax(-1) > 1e-3).all()))
lost = int((missing > 1).sum())
teach.predict("p3.t1.q8", f"{lost} of the 200 runs end more than an ounce short, on the western "
              "hill. Now forbid drilling a place twice. How many of them does that free?",
              ["nearly all", "about half", "fewer than one in four"], guess=None)

# %%
masked, y_masked = search(mine, order[:, :3], mask=True)
still = best_place - y_masked.amax(-1) > 1
steps = torch.stack([(masked[:, n : n + 1] - masked[:, :n]).abs().amin(-1) for n in range(3, 15)])
print(f"without mask {lost} runs are stuck, with mask {int(still.sum())}; distance of a masked "
      f"drill to the nearest before it, median: {25 * steps[2:].median()} m")
gaps = torch.cat([x[masked], x[[0, -1]].expand(200, 2)], dim=-1).sort(-1).values
hole = gaps.diff(dim=-1).amax(-1)
print(f"the longest stretch without a drill in stuck runs, median: {hole[still].median():.1f} km")
teach.claim("the mask frees fewer than one in four of the stuck runs, and no run gets stuck by it",
            bool((still & ~(missing > 1)).sum() == 0 and still.sum() > 0.75 * lost), kind="run")
teach.claim("from the sixth drill on half of the masked drills stand next to an older one",
            bool(steps[2:].median() == 1), kind="run")
west = x[masked.gather(-1, y_masked.argmax(-1, keepdim=True))].squeeze(-1) < 3
teach.claim("every stuck run has its best drill in the western half, and leaves a stretch of "
            "1.5 km undrilled", bool((west & (hole > 1.5))[still].all()), kind="run")
teach.reveal("p3.t1.q8", "fewer than one in four", because="it drills next door instead")

# %% [markdown]
# A mask hardly helps, because the search still asks only where the map is high, and never where it
# is *unknown*.
#
# **Exercise 3.** The greedy step, done properly: it must not sweep where the map is flat.

# %%
# exercise: p3.t1.e3

# %% [markdown]
# ## 9. The race
#
# Yet greedy maps win races. Here is one as it is often shown: another strip, *two scales*, and
# a baseline of 20 evenly spaced places, drilled from west to east. Both stop after 15 drills.

# %%
two, two_best = strip(TwoScale1d())
twenty = two(torch.linspace(0, 6, 20, dtype=torch.float64).unsqueeze(-1))[:, 0]
swept = twenty.cummax(0).values
y_two = search(two, order[:, :3], mask=True)[1]
print(f"after 15 drills: sweep {swept[14]:.3f}, greedy (median of 200 runs) "
      f"{y_two.amax(-1).median():.3f}; best place {two_best:.3f}")
teach.predict("p3.t1.q9", "Now drill the same 20 places in random order, still 15 of them. How "
              "much of the gap between the medians closes?", ["nothing", "a third", "over 80 %"],
              guess=None)

# %%
places20 = torch.rand(2000, 20, generator=g, dtype=torch.float64).argsort(-1)[:, :15]
shuffled = twenty[places20].amax(-1)
closed = (shuffled.median() - swept[14]) / (y_two.amax(-1).median() - swept[14])
print(f"shuffled 2000 times: median {shuffled.median():.3f}, which closes {closed:.0%} of the gap")
teach.claim("the sweep reaches the best of its 20 places with drill 17", int(twenty.argmax()) == 16,
            kind="run")
teach.claim("the sweep has 0.543 after 15 drills, and 0.684 in the end", tolerance=5e-4, kind="run",
            error=max(abs(swept[14].item() - 0.543), abs(swept[-1].item() - 0.684)))
seen = (places20 == 16).any(-1).double().mean()
teach.claim("15 of the 20 in random order include it with probability 3/4, within 5 standard "
            "errors", error=abs(seen - 0.75) / math.sqrt(0.75 * 0.25 / 2000), tolerance=5,
            kind="monte-carlo")
teach.claim("shuffling the sweep closes over 80 % of the gap between the medians",
            bool(0.8 < closed < 1), kind="run")


def more_often(first, second):
    """How far the first finds more in most pairs: the mean of the signs, in standard errors."""
    return paired((first - second).sign(), torch.zeros_like(first))


teach.claim("two scales: greedy still finds more than the shuffled sweep, in most pairs",
            more_often(y_two.amax(-1), shuffled[:200]) > 2, kind="paired")
teach.claim("two scales: after ten drills already greedy has found more, in most pairs",
            more_often(y_two[:, :10].amax(-1), twenty[places20[:200, :10]].amax(-1)) > 2,
            kind="paired")
teach.reveal("p3.t1.q9", "over 80 %", because="the sweep was stopped before it came to the hill")

# %% [markdown]
# Most of the gap was an artefact of the order; a small one is real.
#
# A fair race gives each method the same meter, the same three first drills, many seeds, and decent
# baselines without a model: random drills without repeats, Sobol's, and an even grid, a drill every
# 500 m after the three first. Back to the mine, 200 runs.

# %%
teach.predict("p3.t1.q10", "Greedy (with mask) against random drills on the mine. Who wins most "
              "pairs? Who finds more on average?", ["greedy, greedy", "greedy, random",
                                                    "random, random"], guess=None)

# %%
spread_out = bl.sobol_points(places[[0, -1]], n=12, seed=0, replicates=200)[..., 0]
sobol = torch.cat([order[:, :3], (spread_out / 0.025).round().long()], dim=-1)
every_500 = torch.cat([order[:, :3], torch.arange(10, 241, 20).expand(200, 12)], dim=-1)


def race(ground, best):
    """Simple regret after each drill, r 15, of four methods that share their first three."""
    found = {"random": Budget(ground, 15)(places[order[:, :15]])[..., 0],
             "Sobol": Budget(ground, 15)(places[sobol])[..., 0],
             "even grid": Budget(ground, 15)(places[every_500])[..., 0],
             "greedy": search(ground, order[:, :3], mask=True)[1]}
    return {name: best - y.cummax(-1).values for name, y in found.items()}


regrets = race(mine, best_place)

# %%
figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.4, 4.2))
n = range(1, 16)
for k, name in enumerate(("random", "Sobol", "greedy")):
    middle, high = stats.quantiles(regrets[name].T, [0.5, 0.9]).clamp(min=1e-3)
    style = {"color": list(plotting.OKABE_ITO.values())[k], "ls": plotting.LINE_STYLES[k],
             "marker": plotting.MARKERS[k], "markevery": (k, 3)}
    left.plot(n, middle, lw=3, label=f"{name}, median", **style)
    left.plot(n, high, lw=1, mfc="white", label=f"{name}, 90 %", **style)
left.set(yscale="log", xlabel="drills", ylabel="regret (ounces; 0.001: or less)", ylim=(7e-4, 90),
         xticks=(1, 5, 10, 15), title="median and 90 % quantile")
left.legend(loc="upper center", ncols=3, fontsize=9, columnspacing=0.8)
difference = (regrets["greedy"] - regrets["random"])[:, -1].sort().values
for name, here, color, marker in (("greedy better", difference < 0, "blue", "o"),
                                  ("random better", difference > 0, "vermillion", "s")):
    right.plot(torch.arange(200)[here], difference[here], marker, ms=5, label=name,
               color=plotting.OKABE_ITO[color])
right.axhline(0, color="black", lw=1.2, ls="-")
right.set(xlabel="pairs, sorted", ylabel="regret, greedy minus random (ounces)",
          title="after 15 drills")
right.legend(loc="upper left")
teach.show(figure, "Left: the median regret of greedy falls to the lower end within ten drills, "
           "far below random and Sobol; its 90 % quantile stays at 2 ounces, far above theirs. "
           "Right: greedy is better by a little in most pairs, and worse by about 2 ounces in a "
           "fifth of them.")

# %%
def report(name, a, b):
    gain = b - a  # how much less regret the first has
    found = stats.verdict(gain)
    print(f"  {name}: {(gain > 0).sum()} wins, {(gain < 0).sum()} losses; on average "
          f"{found.mean:+.3f}, interval {found.low:+.3f} to {found.high:+.3f}: {found.decision}")
    return found


for ground, best in (strip(GoldMine1d()), strip(TwoScale1d()), strip(Hard1d())):
    r = {name: value[:, -1] for name, value in race(ground, best).items()}
    print(f"{ground.name}; one run in ten misses more than: "
          + ", ".join(f"{name} {stats.quantiles(v, [0.9]).item():.2f}" for name, v in r.items()))
    mean = report("greedy against random", r["greedy"], r["random"])
    sobol_mean = report("Sobol against random ", r["Sobol"], r["random"])
    grid_mean = report("even grid against random", r["even grid"], r["random"])
    teach.claim(f"{ground.name}: greedy wins most pairs against random drills",
                more_often(r["random"], r["greedy"]) > 2, kind="paired")
    if ground.name == "gold mine":
        teach.claim("gold mine: random drills find more on average", mean.errors < -2,
                    kind="paired")
        teach.claim("gold mine: the even grid finds more than random drills, on average",
                    grid_mean.errors > 2, kind="paired")
teach.claim("hard: the even grid finds less than random drills, on average", grid_mean.errors < -2,
            kind="paired")

# %%
short = {name: (r[:, -1] > 1).double() for name, r in regrets.items()}
print("more than an ounce short:", ", ".join(f"{k} {int(v.sum())}" for k, v in short.items()))
teach.claim("gold mine: greedy ends more than an ounce short more often than random drills",
            paired(short["greedy"], short["random"]) > 2, kind="paired")
teach.undecided("hard: whether Sobol drills find more than random ones on average",
                f"200 pairs: {sobol_mean.decision}")
teach.reveal("p3.t1.q10", "greedy, random", because="its wins are small, its losses 2 ounces")

# %% [markdown]
# So the winner depends on what counts: most pairs, or the mean. A single run, or a median alone,
# would have hidden the fifth of all prospectors whom the map led astray. The even grid is best
# against wide hills such as the mine's, and misses narrow ones. (`stats.verdict` decides where the
# mean gain is four standard errors from 0; tutorial 4 says why. The width of the bumps was our
# choice, in the map's favour.)
#
# **Exercise 4.** Be the referee, and trust nobody.

# %%
# exercise: p3.t1.e4

# %% [markdown]
# ## 10. What is missing
#
# Look once more at the stuck prospectors' maps: beside a drill, and far from all drills.

# %%
stuck = masked[still]
drawn = fit(table[stuck], gold(x[stuck]), ridge=1e-6) @ table.T
away = (x.reshape(-1, 1) - x[stuck].unsqueeze(-2)).abs().amin(-1)  # to the nearest drill
miss = (drawn - gold(x)).abs()
beside, beyond = miss[away < 0.05].median(), miss[away > 1].median()
print(f"stuck maps, more than 1 km from any drill: median miss {beyond:.1f} ounces")
teach.claim("beside a drill the stuck maps' median miss is below 0.01 ounces", error=beside,
            tolerance=0.01, kind="run")
teach.claim("more than 1 km from any drill the stuck maps' median miss is above an ounce",
            bool(beyond > 1), kind="run")

# %% [markdown]
# Yet the map draws both alike: "six ounces, I was there" and "two ounces, I have no idea". A search
# that cannot tell them apart goes where it has no idea only by chance. The map needs a second line:
# how wrong may I be here? A search that gets both lines from a probability model is called
# **Bayesian optimisation**. Tutorial 2 asks what would make the second line honest.
#
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. "59 random trials get within 5 % of the optimum." What is wrong with that sentence, and what is
#    right about it?
# 2. Why does a drill that confirms the map leave it unchanged, and why does a mask help so little?
# 3. A colleague's method beats an even sweep after 15 of 20 evaluations. Which two runs do you ask
#    for?
#
# **So, what can any method do with 15 drills and no gradient, and when does a model win?** Grids
# and gradients by differences cost too much beyond a few inputs; random drills guarantee a rank and
# no height. A model wins where its features fit the ground *and* its drills have touched the right
# hill: in most pairs, on our strips. It loses, by a lot, where it is wrong far from its drills and
# has no way to notice.
#
# ## Sources
#
# - J. Bergstra, Y. Bengio, "Random search for hyper-parameter optimization", *JMLR* 13 (2012),
#   [jmlr.org/papers/v13/bergstra12a](https://jmlr.org/papers/v13/bergstra12a.html): idle inputs.
# - L. N. Trefethen, *Approximation Theory and Approximation Practice*, SIAM 2013 (extended edition
#   2019, [doi:10.1137/1.9781611975949](https://doi.org/10.1137/1.9781611975949)), chapters 13 to
#   15: Runge's phenomenon, and how polynomials magnify errors.
# - N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd edition, SIAM 2002,
#   [doi:10.1137/1.9780898718027](https://doi.org/10.1137/1.9780898718027), chapter 20: QR against
#   the normal equations.
# - D. R. Jones, "A taxonomy of global optimization methods based on response surfaces", *Journal of
#   Global Optimization* 21 (2001),
#   [doi:10.1023/A:1012771025575](https://doi.org/10.1023/A:1012771025575): why a search that
#   drills the top of its map gets stuck.
