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
# # Part 3, tutorial 2: prediction, uncertainty and confidence
#
# **What makes an error bar honest?**
#
# > **Before you start:** tutorial 1; the multivariate normal distribution; Cholesky factors (1.1)
# > and bowls (2.2).
# >
# > **Time:** 55 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - say what a 95 % band promises, over which population, and count whether it is kept;
# > - put any band to three tests, and name a plausible one that fails all three;
# > - derive, and check, the normal distribution of all maps that agree with some drills;
# > - keep apart what more drills can teach and what they cannot;
# > - recognise a model that is confident and wrong, and say what recalibration mends.
# >
# > **You will build** `blr_posterior`, `coverage`, `crps_gaussian` and `bad_band`.

# %%
import math

import torch
from matplotlib import pyplot
from torch import Tensor

from bolearn import diagnostics, plotting, teach
from bolearn.problems import GoldMine1d, TwoScale1d

teach.setup("p3.t2")

# %% [markdown]
# ## 1. A map with error bars
#
# A mapmaker sees eight drills on our strip of 6 km. The drill at $x$ brought up $y$ ounces of
# gold, counted from the district's usual 5.5, with an error of standard deviation 0.3. He sells a
# best guess $\mu(x)$ of the gold $f(x)$ and an error bar $\sigma(x)$: a **band**
# $\mu(x) \pm 1.96\,\sigma(x)$, at the **level** 95 %.
#
# What can that mean? At one place the gold is in the band or not. A level is a *promise about many
# statements*: 95 % of them hold. The share that holds is the **coverage**, over a stated population
# of strips, drills and places. A map is **calibrated** on it if coverage equals level, at every
# level.

# %%
NOISE = 0.3  # standard deviation of a drill, in ounces
grid = torch.linspace(0, 6, 61, dtype=torch.float64)  # places to ask about, in km


def powers(x, degree):
    """Tutorial 1's features 1, u, u², ... of u = (x - 3)/3: ... -> ... degree + 1."""
    return ((x - 3) / 3).unsqueeze(-1) ** torch.arange(degree + 1)


def fit(Psi, y, ridge=0.0):
    """Tutorial 1's weights, least squares plus ridge |w|²: ... n p and ... n -> ... p."""
    p = Psi.shape[-1]
    pull = ridge**0.5 * torch.eye(p, dtype=y.dtype).expand(*Psi.shape[:-2], p, p)
    targets = torch.nn.functional.pad(y, (0, p)).unsqueeze(-1)  # p more rows, whose targets are 0
    return torch.linalg.lstsq(torch.cat([Psi, pull], dim=-2), targets).solution.squeeze(-1)


def to_nearest(X, x):
    """Distance of the places k to the nearest drill: ... n -> ... k."""
    return (x.unsqueeze(-1) - X.unsqueeze(-2)).abs().amin(-1)


# %% [markdown]
# His best guess is least squares with powers up to $x^4$. Let $s$ be the spread of the residuals at
# the drills, and $d(x)$ the distance to the nearest drill:
#
# $$\sigma(x) = s\,\bigl(1 + 2\,d(x) / \max d\bigr) ,$$
#
# so the error bar is $s$ at a drill, and three times that at the place farthest from all of them.

# %%
def quartic(x):
    return powers(x, 4)


def mapmaker(X, y, x, features=quartic, ridge=0.0):
    """The map for sale: drills ... n -> best guess and error bar ... k at the places k."""
    w = fit(features(X), y, ridge)
    residuals = y - (features(X) @ w.unsqueeze(-1)).squeeze(-1)
    s = residuals.square().mean(-1, keepdim=True).sqrt()
    d = to_nearest(X, x)
    return w @ features(x).mT, s * (1 + 2 * d / d.amax(-1, keepdim=True))


def strip(problem, scale, usual):
    """Gold above the usual, in ounces, at places from 0 to 6 km."""
    west = problem.bounds[0, 0]
    return lambda x: scale * problem.noiseless((west + x).reshape(-1, 1)).reshape(x.shape) - usual


def drill(f, *shape, g, end=6.0):
    """Drills at random places, and what they bring up."""
    X = end * torch.rand(*shape, generator=g, dtype=torch.float64)
    return X, f(X) + NOISE * torch.randn(*shape, generator=g, dtype=torch.float64)


grounds = {"gold mine": strip(GoldMine1d(), 1.0, 5.5), "two scales": strip(TwoScale1d(), 4.0, 0.0)}
mine = grounds["gold mine"]
X, y = drill(mine, 8, g=torch.Generator().manual_seed(8))
teach.predict("p3.t2.q1", "Over 400 choices of eight random places, how much of this ground lies "
              "in his 95 % band?", ["70 %", "85 %", "95 %", "99 %"], guess=None)

# %%
def draw(panel, mu, sd, truth=mine):
    """A band, its best guess and the truth over the strip."""
    blue, edges = plotting.OKABE_ITO["blue"], (mu - 1.96 * sd, mu + 1.96 * sd)
    panel.fill_between(grid, *edges, color=blue, alpha=0.25, lw=0, label="95 % band")
    panel.plot(grid, mu, color=blue, ls="-", label="best guess")
    panel.plot(grid, truth(grid), color="black", ls="--", lw=1.6, label="the ground")
    panel.set(xlabel="place x (km)", xlim=(0, 6))


def dots(panel, X, y):
    panel.plot(X, y, ls="", marker="o", color=plotting.OKABE_ITO["vermillion"], mec="black",
               label="drills", zorder=3)


figure, panel = pyplot.subplots()
draw(panel, *mapmaker(X, y, grid))
dots(panel, X, y)
panel.set_ylabel("gold above the usual (ounces)")
panel.legend(loc="upper left")
teach.show(figure, "The map from eight drills: a smooth best guess with a band that is widest far "
           "from the drills. It holds the ground over about half of the strip, misses it from "
           "1.9 to 3.2 km, near 4.5 km, and again east of the last drill, where the best guess "
           "shoots up.")

# %%
def held(mu, sd, truth, level=0.95):
    """Share of the places at which the band holds the truth: ... k -> ..."""
    half = torch.special.ndtri(torch.tensor(0.5 + level / 2, dtype=torch.float64))
    return ((truth - mu).abs() <= half * sd).double().mean(-1)


def standard_error(values):
    return (values.std() / math.sqrt(len(values))).item()


g = torch.Generator().manual_seed(0)
kept = held(*mapmaker(*drill(mine, 400, 8, g=g), grid), mine(grid))
print(f"coverage {kept.mean():.2f} ± {standard_error(kept):.2f}")
teach.claim("with eight drills the mapmaker's 95 % band holds less than 80 % of the strip",
            bool(kept.mean() + 5 * standard_error(kept) < 0.8), kind="monte-carlo")
mu, sd = mapmaker(X, y, grid)
theirs = diagnostics.calibration(((mine(grid) - mu) / sd).unsqueeze(-1), [0.5, 0.95]).coverage
ours = torch.stack([held(mu, sd, mine(grid), level) for level in (0.5, 0.95)])
teach.claim("held counts the same places as the package's calibration", tolerance=0,
            error=(len(grid) * (ours - theirs)).round().abs())
teach.reveal("p3.t2.q1", "70 %")

# %% [markdown]
# ## 2. Three tests
#
# A broken promise need not show in a picture. Three tests look for it; two of them need no truth.
#
# - **(a) asking**: $\sigma(x)$ does not depend on what else is asked about.
# - **(b) learning**: another drill makes the map nowhere less sure. (Exception: section 6.)
# - **(c) coverage**: the promise is kept, however many drills there are.
#
# For (a) we ask about each place alone. For (b) we drill a ninth time, at the place farthest from
# the others.

# %%
teach.predict("p3.t2.q2", "The ninth drill lies in the widest gap. On how much of the ground does "
              "the error bar grow?", ["nowhere", "a tenth", "more than half"], guess=None)

# %%
def ninth(f, X, y, g):
    """The same drills and one more, where it is needed most."""
    new = grid[to_nearest(X, grid).argmax(-1)].unsqueeze(-1)
    brought = f(new) + NOISE * torch.randn(new.shape, generator=g, dtype=torch.float64)
    return torch.cat([X, new], dim=-1), torch.cat([y, brought], dim=-1)


alone = torch.cat([mapmaker(X, y, x)[1] for x in grid.split(1)])
X9, y9 = ninth(mine, X, y, g)
figure = plotting.curves(grid, {"8 drills, all places asked at once": sd,
                                "8 drills, each place asked alone": alone,
                                "9 drills, all at once": mapmaker(X9, y9, grid)[1]},
                         xlabel="place x (km)", ylabel="error bar σ(x) (ounces)")
figure.axes[0].set_ylim(0, 1.35)
teach.show(figure, "The mapmaker's error bar over the strip: with eight drills a zigzag between "
           "0.25 and 0.72; asked about each place alone, a constant at the top of the zigzag; with "
           "nine drills a zigzag again, higher almost everywhere.")

# %%
s = mapmaker(X, y, grid)[1].max() / 3
teach.claim("(a) asked alone, every place gets the largest error bar, 3 s", tolerance=1e-12,
            error=(alone - 3 * s).abs())
teach.claim("(a) even a place a millimetre from a drill; and at the drill itself the answer is NaN",
            bool(mapmaker(X, y, X[:1])[1].isnan().all()), tolerance=1e-12, kind="run",
            error=(mapmaker(X, y, X[:1] + 1e-6)[1] - 3 * s).abs())
for name, f in grounds.items():
    eight = drill(f, 400, 8, g=g)
    rises = mapmaker(*ninth(f, *eight, g), grid)[1] > mapmaker(*eight, grid)[1]
    share = (rises.double().mean(-1) > 0.5).double()
    print(f"{name}: for {share.mean():.0%} of 400 choices σ grows on more than half of the ground")
    teach.claim(f"(b) {name}: for most choices a ninth drill raises σ on more than half the ground",
                bool(share.mean() - 5 * standard_error(share) > 0.8), kind="monte-carlo")
teach.reveal("p3.t2.q2", "more than half", because="max d falls, so that d(x)/max d rises")

# %% [markdown]
# Test (c) waits for a rival.
#
# ## 3. Ask a crowd
#
# The second mapmaker trusts no formula. He draws eight of the eight drills *with replacement*, so
# that some count twice and others not at all, fits his powers to them, and repeats this fifty
# times: a **bootstrap ensemble**. Where the fifty curves disagree, he is unsure: $\mu$ is their
# mean, $\sigma$ their standard deviation. Nobody who asks changes that, so it passes (a).

# %%
def crowd(X, y, x, features=quartic, ridge=1e-3, size=50):
    """Mean and spread of fits to resampled drills: ... n -> ... k."""
    pick = torch.randint(X.shape[-1], (size, *X.shape), generator=g)
    drawn, brought = (rows.expand_as(pick).gather(-1, pick) for rows in (X, y))
    curves = fit(features(drawn), brought, ridge) @ features(x).mT
    return curves.mean(0), curves.std(0)


teach.predict("p3.t2.q3", "From 8 drills to 64. The coverage of the crowd's 95 % band ...",
              ["rises to 95 %", "falls below 80 %", "stays about the same"], guess=None)

# %%
counts = torch.tensor([8, 16, 32, 64])
bands, share = {"mapmaker": mapmaker, "crowd": crowd}, {}
for name, f in grounds.items():
    for band, of in bands.items():
        many = [held(*of(*drill(f, 200, n, g=g), grid), f(grid)) for n in counts.tolist()]
        error = torch.tensor([2 * standard_error(one) for one in many])
        mean = torch.tensor([one.mean() for one in many])
        share[f"{band}, {name}"] = (counts, torch.stack([mean - error, mean, mean + error]))
promise = {"the promise": (counts, torch.full((4,), 0.95))}
figure = plotting.with_intervals(share, promise, xlabel="drills n", log="x",
                                 ylabel="coverage of the 95 % band")
figure.axes[0].set_xticks(counts, counts.tolist())
figure.axes[0].minorticks_off()
teach.show(figure, "Coverage against the number of drills, for two bands on two strips: the "
           "mapmaker's starts near 0.6 and 0.7 and ends near 1; the crowd's falls, from 0.96 to "
           "0.7 on the gold mine, from 0.9 to 0.4 on the two scales; the promise is a line at "
           "0.95.")

# %%
for name in grounds:
    first, last = ({band: share[f"{band}, {name}"][1][:, k] for band in bands} for k in (0, -1))
    print(f"{name}: mapmaker {first['mapmaker'][1]:.2f} to {last['mapmaker'][1]:.2f}, "
          f"crowd {first['crowd'][1]:.2f} to {last['crowd'][1]:.2f}")

# %% [markdown]
# With more drills fifty curves agree ever better; but on what? No sum of powers up to $x^4$ is this
# ground, and of *that* error the crowd knows nothing. And coverage at one $n$ is no test: on the
# mine the crowd's band happens to be right for 8 drills, the mapmaker's for 16.

# %%
teach.claim("(c) from 8 drills to 64 the mapmaker's coverage rises by more than 0.2 on both strips",
            all(bool((share[f"mapmaker, {name}"][1][0, -1] - share[f"mapmaker, {name}"][1][2, 0])
                     > 0.2) for name in grounds), kind="monte-carlo")
teach.claim("(c) with 64 drills the crowd's coverage is below 0.8 on both strips",
            all(bool(share[f"crowd, {name}"][1][2, -1] < 0.8) for name in grounds),
            kind="monte-carlo")
teach.reveal("p3.t2.q3", "falls below 80 %", because="all fifty come to agree on one mistake")

# %% [markdown]
# ## 4. All the maps that agree
#
# So start from what is known. Suppose the ground is a straight line, $f(x) = \psi(x) \cdot w$ with
# the features $\psi(x) = (1, u)$, and that nothing else is known than the size of the weights:
# before any drill, $w$ is normal with mean 0 and covariance $\Sigma = 2^2 I$, the **prior**. Draw
# many such lines. Drill three times. Keep each line with the probability
# $e^{-\lVert y - \Psi w \rVert^2 / 2\sigma_n^2}$: how well noise of standard deviation $\sigma_n$
# explains what it misses ($\Psi$ holds the features of the drills as rows).

# %%
teach.predict("p3.t2.q4", "Drills at 0.5, 2 and 2.5 km. Where do the surviving lines disagree "
              "most?", ["at 0 km", "at 2 km", "at 6 km"], guess=None)

# %%
X3 = torch.tensor([0.5, 2.0, 2.5], dtype=torch.float64)
y3 = torch.tensor([1.6, 1.4, 0.7], dtype=torch.float64)
Psi = powers(X3, 1)
lines = 2 * torch.randn(500_000, 2, generator=g, dtype=torch.float64)
chance = torch.exp(-(y3 - lines @ Psi.mT).square().sum(-1) / (2 * NOISE**2))
survivors = lines[torch.rand(len(lines), generator=g, dtype=torch.float64) < chance]
figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.6, 4.2))
for points, color, ls, label in ((lines[:1500], "#A8A8A8", "--", "before"),
                                 (survivors[:1500], plotting.OKABE_ITO["blue"], "-", "after")):
    left.plot(*points.T, ls="", marker=".", ms=3, color=color)
    for k, w in enumerate(points[:25]):
        right.plot(grid, w @ powers(grid, 1).mT, color=color, ls=ls, lw=1, alpha=0.7,
                   label="_" if k else f"{label} the drills")
left.set(xlabel="weight of 1 (ounces)", ylabel="weight of u (ounces)", aspect="equal")
dots(right, X3, y3)
right.set(xlabel="place x (km)", ylabel="gold above the usual (ounces)", ylim=(-7, 7))
right.legend(loc="lower left")
teach.show(figure, "Left, pairs of weights: a wide round cloud before the drills, a small tilted "
           "one inside it after them. Right, 25 lines of each kind: before, in all directions; "
           "after, a bundle through the three drills that fans out to the east.")

# %% [markdown]
# The survivors' density is the prior's times that chance. Minus its logarithm is a bowl, as in
# Part 2:
#
# $$\tfrac12\,w \cdot \Sigma^{-1} w + \frac{\lVert y - \Psi w \rVert^2}{2\sigma_n^2},\qquad
# \text{Hessian } H = \Sigma^{-1} + \frac{\Psi^\top \Psi}{\sigma_n^2},\qquad
# \text{bottom } \bar w = H^{-1}\,\frac{\Psi^\top y}{\sigma_n^2} .$$
#
# And $e^{-\text{bowl}}$ is, up to a factor, a normal density, with its mean at the bottom and the
# covariance $S = H^{-1}$: steep directions are well known. This is the **posterior** of the
# weights, the method **Bayesian linear regression**. $H$ is called its precision: precisions add,
# the prior's and the drills'.

# %%
def blr(Psi, y, prior_var, noise_var=NOISE**2):
    """Mean and covariance of the weights: ... n p and ... n -> ... p and ... p p."""
    H = torch.eye(Psi.shape[-1], dtype=y.dtype) / prior_var + Psi.mT @ Psi / noise_var
    L = torch.linalg.cholesky(H)
    mean = torch.cholesky_solve(Psi.mT @ y.unsqueeze(-1) / noise_var, L)
    return mean.squeeze(-1), torch.cholesky_inverse(L)


def bowl(w):
    return w @ w / (2 * 4.0) + (y3 - Psi @ w).square().sum() / (2 * NOISE**2)


mean, S = blr(Psi, y3, prior_var=4.0)
teach.claim("the bowl has no slope at blr's mean", tolerance=1e-9,
            error=torch.func.grad(bowl)(mean).abs())
teach.claim("the bowl's Hessian, by autograd, is the inverse of blr's covariance", tolerance=1e-9,
            error=(torch.func.hessian(bowl)(mean) @ S - torch.eye(2, dtype=S.dtype)).abs())
off = survivors - mean
products = off.unsqueeze(-1) * off.unsqueeze(-2)
print(f"{len(survivors) / len(lines):.1%} of the lines survive")
teach.claim("the surviving lines have blr's mean and covariance, within 5 standard errors",
            error=torch.cat([(off.mean(0) / (off.std(0) / len(off) ** 0.5)).abs(),
                             ((products.mean(0) - S) / (products.std(0) / len(off) ** 0.5)).abs()
                             .flatten()]), tolerance=5, kind="monte-carlo")
teach.reveal("p3.t2.q4", "at 6 km", because="a small doubt of the slope grows with the distance")

# %% [markdown]
# **Exercise 1.** Any prior, drills good and bad, many strips at once; and a posterior that becomes
# the next prior.

# %%
# exercise: p3.t2.e1

# %% [markdown]
# ## 5. Two kinds of not knowing
#
# A normal $w$ makes $f(x) = \psi(x) \cdot w$ normal at every place:
#
# $$\mu(x) = \psi(x) \cdot \bar w, \qquad \sigma^2(x) = \psi(x)^\top S\,\psi(x) .$$
#
# This **latent variance** is doubt about the ground: *epistemic*, curable by drills. A new drill at
# $x$ adds its own error: the **observation variance** is $\sigma^2(x) + \sigma_n^2$, and its second
# part, called *aleatoric*, no drill cures.
#
# For a fair test we need many strips, and a model that is right about them. In this district the
# ground is a sum of hills 0.7 km wide (tutorial 1's bumps, one width apart), of independent normal
# heights; only these are unknown.

# %%
def hills(x, width=0.7):
    """Features: hills one width apart, beyond both ends of the strip: ... -> ... p."""
    centers = torch.arange(-2, 6 / width + 3, dtype=torch.float64) * width
    return torch.exp(-((x.unsqueeze(-1) - centers) ** 2) / (2 * width**2))


def district(strips, n, end=6.0):
    """Drills on new strips, and the truth: X, y (strips n) and f (strips k)."""
    w = 1.5 * torch.randn(strips, hills(grid).shape[-1], generator=g, dtype=torch.float64)
    X, y = drill(lambda x: (hills(x) @ w.unsqueeze(-1)).squeeze(-1), strips, n, g=g, end=end)
    return X, y, w @ hills(grid).mT


def bayes(X, y, features=hills, prior_var=2.25, noise_var=NOISE**2):
    """Mean and latent variance at the places of the grid: ... n -> ... k."""
    mean, S = blr(features(X), y, prior_var, noise_var)
    at = features(grid)
    return mean @ at.mT, ((at @ S) * at).sum(-1)


teach.predict("p3.t2.q5", "From 8 drills to 64: the observation variance, averaged over the strip, "
              "becomes ... smaller", ["about 28 times", "about 5 times", "not at all"], guess=None)

# %%
figure, panels = pyplot.subplots(1, 2, figsize=(9.6, 3.9), sharey=True)
for panel, n in zip(panels, (8, 64), strict=True):
    Xn = 6 * torch.rand(n, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    variance = bayes(Xn, torch.zeros_like(Xn))[1]
    panel.fill_between(grid, 0, NOISE**2, color=plotting.OKABE_ITO["orange"], alpha=0.7,
                       hatch="//", ec="white", label="the drill's own (aleatoric)")
    panel.fill_between(grid, NOISE**2, variance + NOISE**2, lw=0,
                       color=plotting.OKABE_ITO["blue"], alpha=0.6,
                       label="about the ground (epistemic)")
    panel.plot(Xn, 0 * Xn + 0.015, ls="", marker="|", ms=9, color="black", label="drills")
    panel.set(title=f"{n} drills", xlabel="place x (km)", xlim=(0, 6), ylim=(0, 0.6))
panels[0].set_ylabel("variance of a new drill (ounces²)")
panels[1].legend(loc="upper right")
teach.show(figure, "Variance of a new drill over the strip, in two layers: a flat hatched layer of "
           "0.09 below; on top of it, with eight drills, mountains between the drills that leave "
           "the frame beyond the last one; with 64 drills only a thin skin.")

# %%
sizes = torch.tensor([64, 128, 256, 512])
latent = torch.stack([bayes(*district(30, n)[:2])[1].mean() for n in sizes.tolist()])
t = sizes.double().log() - sizes.double().log().mean()
slope = (t @ latent.log() / (t @ t)).item()
few = bayes(*district(200, 8)[:2])[1].mean()
print(f"latent variance, mean: {few:.2f} with 8 drills, {latent[0]:.3f} with 64; slope {slope:.2f}")
teach.claim("from 64 to 512 drills the latent variance falls like 1/n: slope -1 ± 0.1",
            error=abs(slope + 1), tolerance=0.1, kind="monte-carlo")
ratio = (few + NOISE**2) / (latent[0] + NOISE**2)
teach.claim("the observation variance from 8 to 64 drills falls by a factor between 4 and 6",
            bool(4 < ratio < 6), kind="monte-carlo")
teach.reveal("p3.t2.q5", "about 5 times", because="most of what is left is the drill's own")

# %%
X, y, f = district(2000, 8)
mu, variance = bayes(X, y)
new = f + NOISE * torch.randn(f.shape, generator=g, dtype=f.dtype)
kept = {"the ground, by the latent band": held(mu, variance.sqrt(), f),
        "new drills, by the observation band": held(mu, (variance + NOISE**2).sqrt(), new),
        "new drills, by the latent band": held(mu, variance.sqrt(), new)}
for what, one in kept.items():
    print(f"coverage of {what}: {one.mean():.3f} ± {standard_error(one):.3f}")
    if "latent band" in what and "new" in what:
        teach.claim(f"{what}: below 0.9, though the model is right",
                    bool(one.mean() + 5 * standard_error(one) < 0.9), kind="monte-carlo")
    else:
        teach.claim(f"{what}: coverage 0.95 within 5 standard errors, over 2000 strips",
                    error=abs(one.mean() - 0.95) / standard_error(one), tolerance=5,
                    kind="monte-carlo")

# %% [markdown]
# The promise is kept, and each band keeps its own. Ask for the wrong one, and a right model looks
# overconfident.
#
# These are averages over 2000 strips. What does one show?

# %%
teach.predict("p3.t2.q6", "The model is exactly right. On what share of strips does its 95 % band "
              "hold all 61 places?", ["0 %", "5 %", "55 %", "95 %"], guess=None)

# %%
one = kept["the ground, by the latent band"]
figure, panel = pyplot.subplots(figsize=(7.0, 3.6))
panel.hist(one, bins=[k / 20 - 0.025 for k in range(22)], color=plotting.OKABE_ITO["sky"],
           ec="black", weights=torch.full_like(one, 1 / len(one)))
panel.axvline(0.95, color="black", ls="--", label="the promise")
panel.set(xlabel="share of one strip that the band holds", ylabel="share of strips",
          xlim=(0.3, 1.05))
panel.legend(loc="upper left")
teach.show(figure, "Histogram of the share of a strip inside the band: more than half of the "
           "strips are at 1, the others trail off to about 0.6; the promise, 0.95, is marked.")

# %%
whole = (one == 1).double().mean()
print(f"all places: {whole:.2f} of the strips; fewer than 80 % of the places: "
      f"{(one < 0.8).double().mean():.2f}")
teach.claim("a right model holds all 61 places on more than 45 % of the strips, and fewer than "
            "80 % of them on more than 3 %",
            bool((whole > 0.45) & ((one < 0.8).double().mean() > 0.03)), kind="monte-carlo")
teach.reveal("p3.t2.q6", "55 %", because="neighbouring places are right or wrong together")

# %% [markdown]
# Hence bands are judged over many strips.
#
# **Exercise 2.** Coverage in general: any level, many strips, gaps in the data.

# %%
# exercise: p3.t2.e2

# %% [markdown]
# ## 6. One more drill
#
# One more drill, at $x'$, adds $\psi\psi^\top/\sigma_n^2$ to the precision, with $\psi = \psi(x')$.
# Inverting (Sherman and Morrison), and asking at any $x$:
#
# $$\sigma^2_{\text{new}}(x) = \sigma^2(x)
# - \frac{\bigl(\psi(x)^\top S\,\psi\bigr)^2}{\sigma_n^2 + \psi^\top S\,\psi} .$$

# %%
teach.predict("p3.t2.q7", "The map says 1 ± 0.5 ounces, and the ninth drill brings up 41. Around "
              "it, the error bar ...", ["grows", "stays as it was", "shrinks"], guess=None)

# %%
X8, y8, _ = district(1000, 8)
new = 6 * torch.rand(1000, 1, generator=g, dtype=torch.float64)
X9, y9 = torch.cat([X8, new], -1), torch.cat([y8, torch.ones_like(new)], -1)
for name, features in {"powers up to 3": lambda x: powers(x, 3), "hills": hills}.items():
    _, S = blr(features(X8), y8, 2.25)
    at, there = features(grid), features(new)  # k p, strips 1 p
    gain = (at @ S @ there.mT).squeeze(-1) ** 2 / (NOISE**2 + (there @ S * there).sum(-1))
    before, after = (bayes(X, y, features)[1] for X, y in ((X8, y8), (X9, y9)))
    teach.claim(f"{name}: the variance falls by what the formula says", tolerance=1e-8,
                error=(before - after - gain).abs())
    teach.claim(f"{name}: in 1000 cases a ninth drill raises the latent variance nowhere",
                error=(after - before).clamp(min=0), tolerance=1e-12, kind="theorem")
y41 = torch.cat([y8, torch.full_like(new, 41.0)], -1)
moved, width = (one - other for one, other in zip(bayes(X9, y41), bayes(X9, y9), strict=True))
teach.claim("41 ounces instead of 1 move every map by more than an ounce somewhere, and no error "
            "bar", bool(moved.abs().amax(-1).min() > 1), error=width.abs(), tolerance=0)
teach.reveal("p3.t2.q7", "shrinks", because="no y stands in the formula")

# %% [markdown]
# So Bayesian linear regression passes (a) and (b), always. But its error bars depend on *where* one
# drills, not on what one finds. It has been told the features and $\sigma_n$, and believes them
# whatever comes up. (A model that learns $\sigma_n$ as well may widen after a
# surprise. On average over what may come up, no right model's variance grows: the law of total
# variance.)
#
# ## 7. When the assumptions are wrong
#
# Tell it something false, then: powers up to $x^3$, and hills of a third and of three times the
# true width.

# %%
wrong = {"powers up to 3": (lambda x: powers(x, 3), 4.0),
         "hills a third as wide": (lambda x: hills(x, 0.7 / 3), 2.25),
         "hills three times as wide": (lambda x: hills(x, 2.1), 2.25)}
models = {"the true hills": (hills, 2.25), **wrong}
teach.predict("p3.t2.q8", "Powers up to 3, from 8 drills to 256. The coverage of the 95 % band ...",
              ["rises towards 95 %", "stays at about 50 %", "falls below 20 %"], guess=None)

# %%
counts = (4, 8, 16, 32, 64, 128, 256)
errors, coverage_at = {}, {}
for name in ("the true hills", "powers up to 3"):
    said, made = [], []
    for n in counts:
        X, y, f = district(500, n)
        mu, variance = bayes(X, y, *models[name])
        said.append(variance.mean().sqrt())
        made.append((f - mu).square().mean().sqrt())
        coverage_at[name, n] = held(mu, variance.sqrt(), f)
    errors[f"{name}: error made"] = torch.stack(made)
    errors[f"{name}: error claimed"] = torch.stack(said)
figure = plotting.curves(torch.tensor(counts).double(), errors, xlabel="drills n", log="xy",
                         ylabel="root mean square error (ounces)")
figure.axes[0].set_xticks(counts, counts)
figure.axes[0].minorticks_off()
teach.show(figure, "Errors against the number of drills, on logarithmic axes. For the true hills "
           "the error made and the error claimed fall together. For the powers the error claimed "
           "falls as fast, to 0.04, while the error made levels off at 0.7.")

# %%
first, last = (coverage_at["powers up to 3", n] for n in (8, 256))
print(f"coverage with powers up to 3: {first.mean():.2f} with 8 drills, {last.mean():.2f} with 256")
teach.claim("powers up to 3: with 256 drills the 95 % band holds less than 20 %, with 8 more than "
            "40 %", bool((last.mean() < 0.2) & (first.mean() > 0.4)), kind="monte-carlo")
teach.claim("powers up to 3: the latent variance still passes (b), 500 times", tolerance=1e-12,
            kind="theorem",
            error=(bayes(X, y, *wrong["powers up to 3"])[1]
                   - bayes(X[:, :128], y[:, :128], *wrong["powers up to 3"])[1]).clamp(min=0))
teach.reveal("p3.t2.q8", "falls below 20 %", because="the band shrinks onto the wrong curve")

# %% [markdown]
# Confidence grows, the error levels off: doubt inside a model is not doubt *about* the model. And
# beyond the drills? Let all eight lie west of 4 km.

# %%
teach.predict("p3.t2.q9", "Eight drills, all west of 4 km. Whose 95 % band holds 95 % of the east?",
              ["that of the true hills only", "those of the true and of the narrower hills",
               "those of all hills", "nobody's"], guess=None)

# %%
X, y, f = district(1000, 8, end=4.0)
west = grid <= 4
maps = {name: bayes(X, y, *model) for name, model in models.items()}
ends = {name: torch.stack([held(mu[:, at], variance[:, at].sqrt(), f[:, at])
                           for at in (west, ~west)]) for name, (mu, variance) in maps.items()}
shown = ("the true hills", "hills three times as wide", "powers up to 3")
usual = sum((ends[name] - ends[name].mean(-1, keepdim=True)).abs().sum(0) for name in shown)
k = int(usual.argmin())  # a strip on which all three hold about as much as on average
figure, panels = pyplot.subplots(1, 3, figsize=(10.2, 3.9), sharey=True)
for panel, name in zip(panels, shown, strict=True):
    draw(panel, maps[name][0][k], maps[name][1][k].sqrt(), truth=lambda x: f[k])
    dots(panel, X[k], y[k])
    panel.set(title=name, ylim=(-7, 7))
panels[0].set_ylabel("gold above the usual (ounces)")
panels[1].legend(loc="lower left", fontsize=10)
teach.show(figure, "One strip drilled only in the west, and three bands. That of the true hills is "
           "narrow near the drills, wide elsewhere, and holds the ground nearly everywhere. The "
           "two others are narrow between the drills, too; the ground leaves them there and in "
           "the east.")

# %%
for name, (inside, outside) in ends.items():
    sd = maps[name][1].sqrt()
    print(f"{name:26} coverage in the west {inside.mean():.2f}, in the east {outside.mean():.2f}; "
          f"mean σ {sd[:, west].mean():.2f}, {sd[:, ~west].mean():.2f}")
teach.claim("the true hills: coverage 0.95 in the west and in the east, within 5 standard errors",
            error=torch.tensor([abs(one.mean() - 0.95) / standard_error(one)
                                for one in ends["the true hills"]]), tolerance=5,
            kind="monte-carlo")
for name in shown[1:]:
    teach.claim(f"{name}: coverage below 0.65 in the west and in the east", kind="monte-carlo",
                condition=bool((ends[name].mean(-1) < 0.65).all()))
inside, outside = ends["hills a third as wide"]
teach.claim("hills a third as wide: coverage in the east between 0.9 and 0.98", kind="monte-carlo",
            condition=bool(0.9 < outside.mean() < 0.98))
longer = maps["hills a third as wide"][1].sqrt() / maps["the true hills"][1].sqrt()
teach.claim("hills a third as wide: coverage above 0.97 in the west, error bars twice as long",
            bool((inside.mean() - 5 * standard_error(inside) > 0.97)
                 & (longer[:, west].mean() > 2)), kind="monte-carlo")
teach.reveal("p3.t2.q9", "those of the true and of the narrower hills", because="far from drills "
             "a band is as wide as was assumed: all hills assume the right spread, but the widest "
             "are not far, in their widths")

# %% [markdown]
# Far from all drills, counted in widths of its hills, a band falls back on the spread that was
# assumed; between them, on the width of the hills. "When in doubt, assume rougher ground" breaks
# the promise there: in the west 98 % instead of 95 %, with error bars more than twice as long as
# need be. (Which width is right? The drills can say: tutorial 3.)
#
# ## 8. Right and sure
#
# Two newcomers to the trade. A lazy mapmaker prints "the usual, ± the spread of the district"
# everywhere. A trickster makes 95 % of his error bars a hundred ounces long, the others almost
# nothing.

# %%
teach.predict("p3.t2.q10", "Whose 95 % bands for new drills keep the promise?",
              ["the Bayesian's", "the Bayesian's and the lazy one's", "those of all three"],
              guess=None)

# %% [markdown]
# Of bands that keep their promise one wants a **sharp** one: short. Two scores reward being right
# and sure at once. Let the prediction have the distribution function $F$ and the density $F'$, and
# let $y$ come up:
#
# $$\text{NLPD} = -\log F'(y), \qquad
# \text{CRPS} = \int \bigl(F(t) - 1\{t \ge y\}\bigr)^2\,\mathrm{d}t .$$
#
# The negative log predictive density is in nats (natural logarithms). The continuous ranked
# probability score is in ounces: how much $F$ differs from the step that knew $y$; for a prediction
# without doubt it is the absolute error. Smaller is better. (Mapmaker and crowd get the true hills,
# to be fair.)

# %%
X, y, f = district(1000, 8)
new = f + NOISE * torch.randn(f.shape, generator=g, dtype=f.dtype)
mu, variance = bayes(X, y)
sd = (variance + NOISE**2).sqrt()  # of a new drill
theirs = {name: of(X, y, grid, hills, NOISE**2 / 2.25) for name, of in bands.items()}
residuals = y - (hills(X) @ blr(hills(X), y, 2.25)[0].unsqueeze(-1)).squeeze(-1)
s = residuals.square().mean(-1, keepdim=True).sqrt()
spread = (2.25 * hills(grid).square().sum(-1) + NOISE**2).sqrt()
huge = torch.rand(f.shape, generator=g, dtype=f.dtype) < 0.95
rivals = {"Bayesian": (mu, sd), "three times as wide": (mu, 3 * sd),
          **{name: (m, (bar**2 + NOISE**2).sqrt()) for name, (m, bar) in theirs.items()},
          "± residuals": (mu, (s**2 + NOISE**2).sqrt().expand_as(mu)),
          "lazy": (0 * mu, spread.expand_as(mu)),
          "trickster": (0 * mu, torch.where(huge, 100.0, 1e-3).to(mu))}

# %%
scores, kept = {}, {}
print(f"{'':20}coverage of 50 %  of 95 %   mean σ     CRPS     NLPD")
for name, (m, deviation) in rivals.items():
    half, kept[name] = (held(m, deviation, new, level) for level in (0.5, 0.95))
    crps = diagnostics.crps(new, m, deviation**2).mean(-1)
    nlpd = diagnostics.negative_log_predictive_density(new, m, deviation**2).mean(-1)
    scores[name] = torch.stack([crps, nlpd])
    print(f"{name:20}{half.mean():13.2f}{kept[name].mean():11.2f}{deviation.mean():9.2f}"
          f"{crps.mean():9.2f}   {nlpd.mean():6.2g}")

# %%
for name in ("Bayesian", "lazy", "trickster"):
    teach.claim(f"{name}: coverage of new drills 0.95, within 5 standard errors", tolerance=5,
                error=abs(kept[name].mean() - 0.95) / standard_error(kept[name]),
                kind="monte-carlo")
teach.claim("± residuals: coverage below 0.85; residuals know only places that were drilled",
            bool(kept["± residuals"].mean() + 5 * standard_error(kept["± residuals"]) < 0.85),
            kind="monte-carlo")
for name in rivals:
    if name != "Bayesian":
        loss = scores[name] - scores["Bayesian"]
        teach.claim(f"{name}: scores worse than the Bayesian, in CRPS and in NLPD, on the same "
                    "1000 strips", kind="paired",
                    condition=all(one.mean() > 4 * standard_error(one) for one in loss))
m, deviation, seen = (rows[:20, 30].unsqueeze(-1) for rows in (mu, sd, new))
t = torch.linspace(0, 12, 120_001, dtype=torch.float64)  # distance from what came up, both ways
below = torch.special.ndtr((seen - t - m) / deviation) ** 2
above = torch.special.ndtr((m - seen - t) / deviation) ** 2
teach.claim("the package's crps is that integral", tolerance=1e-8,
            error=(torch.trapezoid(below + above, t)
                   - diagnostics.crps(seen, m, deviation**2).squeeze(-1)).abs())
density = torch.distributions.Normal(m, deviation).log_prob(seen)
nlpd = diagnostics.negative_log_predictive_density(seen, m, deviation**2)
teach.claim("the package's negative_log_predictive_density is minus the log density",
            tolerance=1e-12, error=(density + nlpd).abs())
teach.reveal("p3.t2.q10", "those of all three", because="coverage at one level is not enough")

# %% [markdown]
# So coverage at one level does not tell who knows more; the scores do. Does it pay to claim more
# than one knows, or less? Let the model believe in drills that are better or worse than they are.

# %%
teach.predict("p3.t2.q11", "True σ_n² = 0.09. Which of 0.0225, 0.045, 0.09, 0.18, 0.36 scores "
              "best?", [0.0225, 0.045, 0.09, 0.18, 0.36], guess=None)

# %%
def judged(factor):
    """Both scores of each strip, if the model takes the noise variance for factor times its own."""
    believed = factor * NOISE**2
    mu, variance = bayes(X, y, noise_var=believed)
    return torch.stack([score(new, mu, variance + believed).mean(-1) for score in (
        diagnostics.crps, diagnostics.negative_log_predictive_density)])


X, y, f = district(3000, 8)
new = f + NOISE * torch.randn(f.shape, generator=g, dtype=f.dtype)
truth = judged(1.0)
for factor in (0.25, 0.5, 2.0, 4.0):
    loss = judged(factor) - truth
    print(f"noise variance × {factor:<4}  CRPS + {loss[0].mean():.3f}   "
          f"NLPD + {loss[1].mean():.2f}")
    teach.claim(f"believing in {factor:g} times the noise variance costs, in both scores",
                all(one.mean() > 4 * standard_error(one) for one in loss), kind="paired")
teach.reveal("p3.t2.q11", 0.09, because="both scores are smallest, on average, for the truth")

# %% [markdown]
# Both scores are **proper**: if $y$ really comes from some distribution, no other prediction scores
# better on average.
#
# **Exercise 3.** The integral has a closed form.

# %%
# exercise: p3.t2.e3

# %% [markdown]
# ## 9. Can a bad band be mended?
#
# Our first mapmaker returns. On 200 strips of the district, long since dug up, he looks how far off
# he was in units of his error bars, $z = (f - \mu)/\sigma$, and multiplies all error bars by the
# one factor $c$ for which 95 % of the $|z|$ are at most $1.96\,c$: **recalibration**.

# %%
teach.predict("p3.t2.q12", "New strips, eight drills each. His new 95 % band holds 95 % ...",
              ["everywhere", "on average, but less far from the drills",
               "on average, but less near the drills"], guess=None)

# %%
def in_bars(n, strips):
    """z at all places, and the distance to the nearest drill: strips k."""
    X, y, f = district(strips, n)
    mu, sd = mapmaker(X, y, grid)
    return (f - mu) / sd, to_nearest(X, grid)


z, _ = in_bars(8, 200)
c = z.abs().flatten().quantile(0.95) / 1.96
z, d = in_bars(8, 1000)
X, y, f = district(1000, 8)
mu, variance = bayes(X, y)
levels = [k / 20 for k in range(1, 20)]
found = {name: diagnostics.calibration(rows.reshape(-1, 1), levels).coverage[0].double()
         for name, rows in {"the mapmaker": z, "recalibrated": z / c,
                            "the Bayesian": (f - mu) / variance.sqrt()}.items()}
figure = plotting.curves(torch.tensor(levels, dtype=torch.float64), found,
                         xlabel="level promised", ylabel="coverage found")
figure.axes[0].plot([0, 1], [0, 1], color="black", ls="--", lw=1.2, label="the promise")
figure.axes[0].legend(loc="upper left", bbox_to_anchor=(1, 1))
figure.axes[0].set_aspect("equal")
teach.show(figure, "Coverage against level for three bands: the mapmaker's runs far below the "
           "diagonal; recalibrated, it meets the diagonal at 0.95 and runs above it at lower "
           "levels; the Bayesian's lies on it.")

# %%
def inside(z, d, level=0.95):
    """Coverage of the recalibrated band over all places, near a drill, and far from all."""
    half = c * torch.special.ndtri(torch.tensor(0.5 + level / 2, dtype=torch.float64))
    good = (z.abs() <= half).double()
    return good.mean(), good[d < 0.3].mean(), good[d > 0.8].mean()


everywhere, near, far = inside(z, d)
more, _, _ = inside(*in_bars(32, 1000))
half, _, _ = inside(z, d, 0.5)
print(f"c = {c:.0f}; coverage of the new 95 % band {everywhere:.2f}: within 0.3 km of a drill "
      f"{near:.2f}, farther than 0.8 km {far:.2f}\nof the new 50 % band {half:.2f}; of the new "
      f"95 % band with 32 drills {more:.3f}")
at_level = [held(mu, variance.sqrt(), f, level) for level in levels]
teach.claim("the Bayesian: at each of 19 levels coverage is the level, within 5 standard errors",
            error=torch.stack([(one.mean() - level).abs() / standard_error(one)
                               for one, level in zip(at_level, levels, strict=True)]),
            tolerance=5, kind="monte-carlo")
teach.claim("on new strips the recalibrated 95 % band holds 95 %, within 3 %", kind="monte-carlo",
            error=abs(everywhere - 0.95), tolerance=0.03)
teach.claim("recalibrated: over 98 % near a drill, below 80 % far from all", kind="monte-carlo",
            condition=bool((near > 0.98) & (far < 0.8)))
teach.claim("recalibrated: the 50 % band holds over 75 %, with 32 drills the 95 % band over 99 %",
            bool((half > 0.75) & (more > 0.99)), kind="monte-carlo")
teach.reveal("p3.t2.q12", "on average, but less far from the drills",
             because="one factor mends one average")

# %% [markdown]
# Recalibration mends the average that it was computed on: that level, that number of drills, places
# mixed in that proportion. One factor cannot add doubt far from the drills and remove it beside
# them. And it asks for truths that were set aside, which nobody with eight drills has. (One can set
# aside one drill at a time: tutorial 3.)
#
# **Exercise 4.** Deceive a buyer: a map that passes (a) and (b), holds every drill, and breaks its
# promise.

# %%
# exercise: p3.t2.e4

# %% [markdown]
# ## 10. Without weights
#
# Nobody drills for weights. What does the prior say about the ground itself? $f(x)$ and $f(x')$ are
# sums of the same weights, so jointly normal, with
#
# $$\operatorname{cov}\bigl(f(x), f(x')\bigr) = \psi(x)^\top \Sigma\,\psi(x') .$$
#
# So a normal distribution of weights with mean 0 is one of functions, and this number is all that
# it needs. Now put the hills closer and closer together, infinitely many in the end, each lower, so
# that the variance of $f$ stays 1. The sum over hills becomes an integral, and the covariance
# $e^{-(x - x')^2 / (4 \cdot 0.7^2)}$.

# %%
teach.predict("p3.t2.q13", "To agree with infinitely many hills to three digits, the hills may be "
              "at most ... apart", ["1/100 of their width", "1/10 of it", "a whole width"],
              guess=None)

# %%
x = torch.linspace(0, 6, 121, dtype=torch.float64)
limit = torch.exp(-((x[:, None] - x) ** 2) / (4 * 0.7**2))


def covariance(spacing):
    """Of f at all pairs of places, from hills this far apart and variance 1 on average."""
    centers = torch.arange(-10, 16, spacing * 0.7, dtype=torch.float64)
    Psi = torch.exp(-((x[:, None] - centers) ** 2) / (2 * 0.7**2))
    return (spacing / math.sqrt(math.pi)) * Psi @ Psi.mT


for spacing in (2.0, 1.5, 1.0, 0.5):
    print(f"hills {spacing:3} widths apart: off by {(covariance(spacing) - limit).abs().max():.0e}")
teach.claim("hills one width apart are enough for three digits, two widths are not", kind="run",
            condition=bool((covariance(2.0) - limit).abs().max() > 1e-3),
            error=(covariance(1.0) - limit).abs(), tolerance=5e-4)
teach.claim("hills half a width apart are infinitely many, in float64's eyes", tolerance=1e-12,
            error=(covariance(0.5) - limit).abs())
_, _, f = district(5000, 1)
at = hills(grid[[20, 25, 40]])
products = f[:, [20, 25, 40]].unsqueeze(-1) * f[:, [20, 25, 40]].unsqueeze(-2)
teach.claim("over 5000 strips, f at 2, 2.5 and 4 km has the covariances ψᵀΣψ, within 5 standard "
            "errors", tolerance=5, kind="monte-carlo",
            error=((products.mean(0) - 2.25 * at @ at.mT).abs()
                   / (products.std(0) / 5000**0.5)))
teach.reveal("p3.t2.q13", "a whole width", because="smooth hills overlap: their sum hides the gaps")

# %% [markdown]
# No weight is left to count, only *how similar two places are*. A table of such similarities for
# all pairs of points was called a kernel matrix in tutorial 1.1; tutorial 3 starts from it, writes
# the map of this tutorial without any $w$, and lets the drills judge the similarity itself.
#
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. A paper shows one function, a 95 % band, and the truth inside it everywhere. What has it shown?
# 2. Which of the three tests does a band pass whose width is the same everywhere and for ever? And
#    Bayesian linear regression with too few features?
# 3. A new drill falls outside $\mu \pm 1.96\,\sigma$, with the latent variance $\sigma^2$. Name two
#    innocent explanations.
#
# **So, what makes an error bar honest?** That it promises something over a stated population, and
# keeps it: at every level, for any number of drills, near them and far. Bayes' rule makes such bars
# from assumptions, exact if those are right, mostly too short or too long if not. So wherever the
# truth comes up later, count coverage and keep the score.
#
# **The same in BoTorch** (a linear kernel on our features, for the first strip of section 9):
#
# ```python
# from botorch.models import SingleTaskGP
# from gpytorch.kernels import LinearKernel
# from gpytorch.means import ZeroMean
#
# found = y[0].unsqueeze(-1)
# model = SingleTaskGP(hills(X[0]), found, torch.full_like(found, NOISE**2),
#                      covar_module=LinearKernel(), mean_module=ZeroMean(),
#                      outcome_transform=None)
# model.covar_module.variance = 2.25
# latent = model.posterior(hills(grid)).variance
# of_a_new_drill = model.posterior(hills(grid), observation_noise=True).variance
# ```
#
# ## Sources
#
# - T. Gneiting, F. Balabdaoui, A. E. Raftery, "Probabilistic forecasts, calibration and sharpness",
#   *Journal of the Royal Statistical Society B* 69 (2007),
#   [doi:10.1111/j.1467-9868.2007.00587.x](https://doi.org/10.1111/j.1467-9868.2007.00587.x).
# - T. Gneiting, A. E. Raftery, "Strictly proper scoring rules, prediction, and estimation",
#   *Journal of the American Statistical Association* 102 (2007),
#   [doi:10.1198/016214506000001437](https://doi.org/10.1198/016214506000001437): both scores.
# - A. P. Dawid, "The well-calibrated Bayesian", *Journal of the American Statistical Association*
#   77 (1982), [doi:10.1080/01621459.1982.10477856](https://doi.org/10.1080/01621459.1982.10477856).
# - B. Efron, "Bootstrap methods: another look at the jackknife", *Annals of Statistics* 7 (1979),
#   [doi:10.1214/aos/1176344552](https://doi.org/10.1214/aos/1176344552).
# - C. E. Rasmussen, C. K. I. Williams, *Gaussian Processes for Machine Learning*, MIT Press 2006,
#   [gaussianprocess.org/gpml](https://gaussianprocess.org/gpml/): sections 2.1 (weights) and 4.2.1
#   (infinitely many hills).
# - V. Kuleshov, N. Fenner, S. Ermon, "Accurate uncertainties for deep learning using calibrated
#   regression", *ICML* 2018, [arXiv:1807.00263](https://arxiv.org/abs/1807.00263): recalibration at
#   all levels at once.
