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
# # Part 3, tutorial 3: Gaussian processes as surrogate models
#
# **How can conditioning one big Gaussian turn six drills into a belief about all of the ground, and
# who chooses the kernel?**
#
# > **Before you start:** tutorials 1 and 2; Cholesky factors and $L\varepsilon$ (Part 1, tutorials
# > 1 and 6); condition numbers and L-BFGS (Part 2, tutorials 2 and 5).
# >
# > **Time:** 70 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - condition a multivariate normal, and check the result by three other routes;
# > - say what a kernel believes in terms that can be counted;
# > - tell jitter from noise, and the ground from the next drill;
# > - let the data judge a kernel, by a formula that you can differentiate by hand;
# > - notice when a model is too sure of itself, and when nobody can.
# >
# > **You will build** `gp_posterior`, `matern`, `log_marginal`, `loo` and `changepoint`.

# %%
import math
from collections.abc import Callable

import gpytorch
import torch
from gpytorch.kernels import MaternKernel, PeriodicKernel, RBFKernel, ScaleKernel
from gpytorch.means import ZeroMean
from matplotlib import pyplot
from torch import Tensor

import bolearn as bl
from bolearn import linalg, plotting, stats, teach
from bolearn.optim import lbfgs

teach.setup("p3.t3")

# %% [markdown]
# ## 1. Two drills
#
# Gold is counted in ounces above the district's usual. Before any drill, let the gold $f_1$ and
# $f_2$ at two neighbouring places each be normal with mean 0 and variance 1, with a correlation of
# 0.8. Then you drill at the first place: $f_1 = 1$.

# %%
teach.predict("p3.t3.q1", "What do you now believe about f₂ (mean ± standard deviation)?",
              ["0.8 ± 0.2", "0.8 ± 0.6", "0.8 ± 1", "1 ± 0.2"], guess=None)

# %%
g = torch.Generator().manual_seed(0)
together = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
eps = torch.randn(1_000_000, 2, generator=g, dtype=torch.float64)
pairs = eps @ torch.linalg.cholesky(together).T  # a million pairs of places
kept = pairs[(pairs[:, 0] - 1).abs() < 0.02, 1]  # those that agree with the drill
figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.0, 3.9))
left.plot(*pairs[:1500].T.tolist(), ".", ms=3, color=plotting.GREY)
left.axvspan(0.98, 1.02, color=plotting.OKABE_ITO["vermillion"], alpha=0.6)
left.set(xlabel="f₁ (ounces)", ylabel="f₂ (ounces)", xlim=(-3.6, 3.6), ylim=(-3.6, 3.6))
t = torch.linspace(-3, 3, 201, dtype=torch.float64)
right.hist(kept.numpy(), bins=50, density=True, color=plotting.OKABE_ITO["sky"], label="kept")
right.plot(t, (-0.5 * (t - 0.8) ** 2 / 0.36).exp() / math.sqrt(2 * math.pi * 0.36), color="black",
           label="normal 0.8 ± 0.6")
right.set(xlabel="f₂ (ounces), where f₁ is about 1", ylabel="density", ylim=(0, 0.95))
right.legend(loc="upper left")
teach.show(figure, "Left: a slanted cloud of pairs and a narrow strip at f₁ = 1. Right: the "
           "histogram of f₂ in the strip, under a normal curve around 0.8.")

# %%
def standard_errors(samples, expected):
    """How many standard errors the mean over the first axis is away from what is expected."""
    return (samples.mean(0) - expected).abs() / (samples.std(0) / math.sqrt(len(samples)))


teach.claim("the kept f₂ have mean 0.8 and variance 0.36, within 5 standard errors", tolerance=5,
            error=torch.stack([standard_errors(kept, 0.8),
                               standard_errors((kept - 0.8) ** 2, 0.36)]), kind="monte-carlo")
rest = pairs[:, 1] - 0.8 * pairs[:, 0]
teach.claim("what f₁ does not explain of f₂ is uncorrelated with it, within 5 standard errors",
            error=standard_errors(rest * pairs[:, 0], 0.0), tolerance=5, kind="monte-carlo")
teach.reveal("p3.t3.q1", "0.8 ± 0.6", because="the rest keeps its variance, 1 - 0.8²")

# %% [markdown]
# Write $f_2 = 0.8 f_1 + \text{rest}$. The rest has covariance $0.8 - 0.8 = 0$ with $f_1$: for
# jointly normal numbers, it is independent. A drill fixes the first term and leaves the rest alone.
# All below is this argument with more places.
#
# ## 2. What a kernel believes
#
# Where do correlations come from? Tutorial 2 ended without weights: all that matters is how alike
# two places are, the covariance $k(x, x')$ of $f(x)$ and $f(x')$, the **kernel**. Hills of width
# $s$, half a width apart, gave
#
# $$k(x, x') = \sigma_f^2\,e^{-(x - x')^2/2\ell^2}, \qquad \ell = \sqrt2\,s ,$$
#
# Part 1's kernel (called RBF, radial basis function) with the **lengthscale** $\ell$, times the
# **signal variance** $\sigma_f^2$, that of the ground.

# %%
def eye(n):
    return torch.eye(n, dtype=torch.float64)


def rbf(A, B, ell=0.5, var=0.25):
    """Kernel matrix of two sets of places on a line."""
    return var * torch.exp(-0.5 * ((A.unsqueeze(-1) - B.unsqueeze(-2)) / ell) ** 2)


def hills(x, ell=0.5, var=0.25):
    """Features at x whose weights all have variance 1: 91 hills, half a width apart."""
    s = ell / math.sqrt(2)
    centres = torch.arange(-8, 8, 0.5 * s, dtype=torch.float64)
    height = math.sqrt(0.5 * var / math.sqrt(math.pi))
    return height * torch.exp(-0.5 * ((x.unsqueeze(-1) - centres) / s) ** 2)


x = torch.linspace(-3, 3, 301, dtype=torch.float64)
teach.claim("hills half a width apart have the RBF kernel, with ℓ = √2 widths", tolerance=1e-14,
            error=(hills(x) @ hills(x).T - rbf(x, x)).abs())

# %% [markdown]
# A **Gaussian process** is a normal distribution for the values at *any* set of places, with a mean
# (here 0) and covariances from a kernel. With $K = LL^\top$ the kernel matrix of 400 places,
# $L\varepsilon$ is a draw of the ground there (Part 1, tutorial 6). Six kernels of variance 1, with
# $\ell = 0.5$ (the slow ones 2), get the same two $\varepsilon$. (Matérn's formula: exercise 2.
# They come from `gpytorch`, a library of Gaussian processes for torch, of which `bolearn` uses
# kernels and priors; `linalg.gram` makes a kernel matrix of one.)
# Sums and products of kernels are kernels: sums and products of independent grounds have them.

# %%
def kernel(cls, ell=0.5, **options):
    """A gpytorch kernel with its lengthscale fixed, as a function of two sets of places."""
    module = cls(**options).double()
    module.lengthscale = ell
    if cls is PeriodicKernel:
        module.period_length = 1.0
    return lambda A, B: linalg.gram(module, A.unsqueeze(-1), B.unsqueeze(-1)).detach()


rough, once, twice = (kernel(MaternKernel, nu=nu) for nu in (0.5, 1.5, 2.5))
smooth, wave, slow = kernel(RBFKernel), kernel(PeriodicKernel), kernel(RBFKernel, ell=2.0)
menu = {"Matérn-1/2": rough, "Matérn-3/2": once, "RBF": smooth, "periodic": wave,
        "periodic × slow RBF": lambda A, B: wave(A, B) * slow(A, B),
        "(Matérn-1/2 + 9 slow RBF)/10": lambda A, B: 0.1 * rough(A, B) + 0.9 * slow(A, B)}
eps = torch.randn(400, 2, generator=g, dtype=torch.float64)
x = torch.linspace(0, 5, 400, dtype=torch.float64)
figure, panels = pyplot.subplots(2, 3, figsize=(10.0, 5.0), sharex=True, sharey=True)
for panel, (name, k) in zip(panels.flat, menu.items(), strict=True):
    panel.plot(x, linalg.psd_cholesky(k(x, x)).L @ eps, lw=1.4)
    panel.axhline(0, color="black", lw=0.8, ls="-")
    panel.set_title(name)
figure.supxlabel("place x (km)")
figure.supylabel("f (standard deviations)")
teach.show(figure, "Two draws from each of six kernels: Matérn-1/2 trembles everywhere; Matérn-3/2 "
           "has bends; RBF is smooth; periodic repeats itself; the product does so with slow "
           "changes; the sum trembles around slow hills.")

# %%
teach.predict("p3.t3.q2", "RBF, ℓ = 0.5, a strip of length 10: how often does the ground cross "
              "zero, on average?", guess=None)

# %%
x = torch.linspace(0, 10, 201, dtype=torch.float64)
L = linalg.psd_cholesky(smooth(x, x)).L
ground = torch.randn(5000, 201, generator=g, dtype=torch.float64) @ L.T
crossings = (ground[:, 1:] * ground[:, :-1] < 0).double().sum(-1)
theory = 10 / (math.pi * 0.5)
print(f"counted {crossings.mean().item():.1f} on average; 10/(πℓ) = {theory:.2f}")
teach.claim("RBF crosses zero 1/(πℓ) times per unit, within 5 standard errors", tolerance=5,
            error=standard_errors(crossings, theory), kind="monte-carlo")
teach.reveal("p3.t3.q2", round(theory, 1), because="1/(πℓ) for each unit of length")
zero = torch.zeros(1, dtype=torch.float64)
h = torch.tensor([1e-2, 1e-3], dtype=torch.float64)
for name, k, powers in (("Matérn-1/2", rough, (1, 1)), ("Matérn-3/2", once, (2, 3)),
                        ("Matérn-5/2", twice, (2, 4)), ("RBF", smooth, (2, 4))):
    none, one, two = (k(zero, zero + j * h)[0] for j in range(3))
    step = 2 * none - 2 * one  # the variance of f(x + h) - f(x)
    bend = 6 * none - 8 * one + 2 * two  # the variance of f(x + h) - 2 f(x) + f(x - h)
    found = torch.stack([step, bend]).log10().diff().abs().squeeze()
    teach.claim(f"{name}: the variances of steps and bends fall like h^{powers[0]} and "
                f"h^{powers[1]}, within 0.1 of the power", tolerance=0.1, kind="run",
                error=(found - torch.tensor(powers)).abs())

# %% [markdown]
# (Values a step $h$ apart have correlation $1 - h^2/2\ell^2$, and opposite signs with probability
# $\arccos(1 - h^2/2\ell^2)/\pi \approx h/\pi\ell$.) So $\ell$ counts hills, and the family says how
# rough they are. A slope makes steps like $h$, variance $h^2$; a curvature makes bends like $h^2$,
# variance $h^4$. Matérn-1/2 has neither; only bends tell 3/2 from 5/2.
#
# ## 3. Six drills
#
# Six drills $y_i = f(x_i) + \text{noise}$, noise variance $\sigma_n^2$, and the ground $f_*$ at
# other places are one big Gaussian. As in section 1, split
#
# $$f_* = K_*^\top (K + \sigma_n^2 I)^{-1}\,y + \text{rest} ,$$
#
# where $K$ is the kernel among the drills, $K_*$ from drills to places, $K_{**}$ among places.
# The rest has covariance $K_*^\top - K_*^\top (K + \sigma_n^2 I)^{-1} (K + \sigma_n^2 I) = 0$ with
# $y$. Hence, with $\alpha = (K + \sigma_n^2 I)^{-1} y$,
#
# $$\mu_* = K_*^\top \alpha, \qquad
# \Sigma_* = K_{**} - K_*^\top (K + \sigma_n^2 I)^{-1} K_* .$$

# %%
def posterior(k, X, y, places, noise):
    """Mean and covariance of the ground at some places, given the drills."""
    solved = torch.linalg.solve(k(X, X) + noise * eye(len(X)), k(X, places))
    return solved.T @ y, k(places, places) - solved.T @ k(X, places)


strip = bl.problems.TwoScale1d()  # tutorial 1's "two scales", its km counted from the middle


def truth(x):
    return strip.noiseless(x.reshape(-1, 1)).reshape(x.shape)


X = torch.linspace(-1.5, 1.5, 6, dtype=torch.float64)
y, noise = truth(X), 1e-4  # the scale is good to 0.01 ounces

# %%
x = torch.linspace(-3, 3, 241, dtype=torch.float64)
mean, covariance = posterior(rbf, X, y, x, noise)
figure, panels = pyplot.subplots(1, 2, figsize=(9.5, 4.0), sharey=True)
eps = torch.randn(241, 12, generator=g, dtype=torch.float64)
beliefs = {"before": (torch.zeros_like(x), rbf(x, x)), "after six drills": (mean, covariance)}
for panel, (name, (m, C)) in zip(panels, beliefs.items(), strict=True):
    sd = C.diagonal().clamp(min=0).sqrt()
    panel.fill_between(x, m - 1.96 * sd, m + 1.96 * sd, color=plotting.OKABE_ITO["sky"], alpha=0.3)
    panel.plot(x, m[:, None] + linalg.psd_cholesky(C).L @ eps, lw=0.9, ls="-", color=plotting.GREY)
    panel.set(xlabel="place x (km)", title=name)
panels[1].plot(X, y, "o", color=plotting.OKABE_ITO["vermillion"], mec="black", zorder=3)
panels[0].set_ylabel("gold (ounces)")
teach.show(figure, "Left: twelve maps before any drill, mostly within a band of ±1 ounce. "
           "Right: twelve maps that all pass through six drills, fanning out a little between "
           "them and fully to both sides.")

# %% [markdown]
# The formula is short enough to be wrong unnoticed. Three routes without it:
#
# - **Rejection**: draw maps from the prior and keep each with probability
#   $\prod_i e^{-(y_i - f(x_i))^2 / 2\sigma_n^2}$. Those kept *are* the posterior.
# - **Weights**: tutorial 2's posterior for the weights of those hills.
# - **One drill at a time**, by the rule for two numbers.

# %%
places = torch.tensor([-2.2, -1.2, 0.1, 0.6, 1.8], dtype=torch.float64)
few, y_few = X[::2], y[::2]  # three drills and a poor scale, so that enough maps survive
L = torch.linalg.cholesky(rbf(*[torch.cat([few, places])] * 2) + 1e-12 * eye(8))
maps = torch.randn(400_000, 8, generator=g, dtype=torch.float64) @ L.T
misfit = (maps[:, :3] - y_few).square().sum(-1)
kept = maps[torch.rand(400_000, generator=g) < (-misfit / (2 * 0.05)).exp(), 3:]
m, C = posterior(rbf, few, y_few, places, 0.05)
products = (kept - m).unsqueeze(-1) * (kept - m).unsqueeze(-2)
print(f"kept {len(kept) / 400_000:.0%} of the maps")
teach.claim("means and covariances of the kept maps are the formula's, within 5 standard errors",
            error=torch.stack([standard_errors(kept, m), *standard_errors(products, C)]),
            tolerance=5, kind="monte-carlo")

# %%
mean, covariance = posterior(rbf, X, y, places, noise)
F, F_places = hills(X), hills(places)
precision = F.T @ F / noise + eye(F.shape[-1])
by_weights = F_places @ torch.linalg.solve(precision, F.T @ y) / noise
spread = F_places @ torch.linalg.solve(precision, F_places.T)
everywhere = torch.cat([places, X])
m, C = torch.zeros(11, dtype=torch.float64), rbf(everywhere, everywhere)
for i in range(6):
    gain = C[:, 5 + i] / (C[5 + i, 5 + i] + noise)
    m, C = m + gain * (y[i] - m[5 + i]), C - torch.outer(gain, C[5 + i])
teach.claim("the posterior of the hills' weights gives the formula's means and covariances",
            error=torch.stack([by_weights - mean, *(spread - covariance)]).abs(), tolerance=1e-8)
teach.claim("conditioning on one drill at a time gives the formula's, too", tolerance=1e-8,
            error=torch.stack([m[:5] - mean, *(C[:5, :5] - covariance)]).abs())

# %%
# ExactGP maps the box between its bounds to the unit cube, and its lengthscales count in widths of
# the box. With bounds 0 and 1 it leaves places and lengthscales as they are.
UNIT = torch.tensor([[0.0], [1.0]], dtype=torch.float64)


def package(X, y, noise, ell=0.5, var=0.25, **options):
    """The same model by the package, with places and ounces as they are."""
    module = ScaleKernel(RBFKernel()).double()
    model = bl.ExactGP(X.unsqueeze(-1), y.unsqueeze(-1), UNIT, kernel=module, noise_var=noise,
                       **{"standardize": False} | options)
    return model.with_hyperparameters(lengthscale=ell, outputscale=var)


def ask(model, places):
    """The package's mean and standard deviation of the ground at some places."""
    with torch.no_grad():
        belief = model.posterior(places.unsqueeze(-1))
        return belief.mean.squeeze(-1), belief.variance.sqrt().squeeze(-1)


belief = package(X, y, noise).posterior(places.unsqueeze(-1))
apart = torch.stack([belief.mean.mT[0] - mean, *(belief.covariance - covariance)])
teach.claim("bolearn's ExactGP has the formula's means and covariances", error=apart.abs(),
            tolerance=1e-8)

# %%
teach.predict("p3.t3.q3", "Same places, same kernel, but all six drills bring up ten times as "
              "much. The band around the map becomes ...", ["ten times as wide", "wider",
              "narrower", "none of these"], guess=None)

# %%
def half_width(model):
    return 1.96 * ask(model, x)[1]


calm = half_width(package(X, y, noise))
default, louder = (half_width(package(X, c * y, c * c * noise, standardize=True)) for c in (1, 10))
lines = {"six drills": calm, "ten times as much": half_width(package(X, 10 * y, noise)),
         "six drills, standardised": default, "ten times as much, standardised": louder}
figure = plotting.curves(x, lines, log="y", xlabel="place x (km)", ylabel="half-width (ounces)")
figure.axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
teach.show(figure, "Half-widths of four bands, on a logarithmic axis: the first two are one line; "
           "of the standardised ones the second runs ten times higher than the first.")
random_y = torch.randn(100, 6, generator=g, dtype=torch.float64)
same = [half_width(package(X, other, noise)) - calm for other in random_y]
teach.claim("100 random outcomes of the six drills leave the same band", tolerance=1e-12,
            error=torch.stack(same).abs())
teach.claim("a standardised model's band follows the drills: ten times as much, ten times as wide",
            error=(louder / default - 10).abs(), tolerance=1e-8)
teach.reveal("p3.t3.q3", "none of these", because="it stays: no y stands in Σ_*, only where "
             "one drilled")

# %% [markdown]
# So tutorial 2's law survives: no $y$ stands in $\Sigma_*$, and a surprise does not widen the band.
# Only another *kernel* or noise can. But mind who chooses it: `ExactGP`, by default, counts in
# standard deviations of the drills, so that its $\sigma_f^2$ does follow $y$.
#
# ## 4. The ground, or the next drill?
#
# $\Sigma_*$ is about the ground: tutorial 2's latent variance. The next drill at $x$ has the
# observation variance, $\sigma^2(x) + \sigma_n^2$.

# %%
teach.predict("p3.t3.q4", "Twenty drills, noise of 0.2 ounces. How often does the 95 % band for "
              "the ground hold the next drill?", ["95 %", "85 %", "75 %", "50 %"], guess=None)

# %%
spots = torch.linspace(-3, 3, 20, dtype=torch.float64)
target = torch.tensor([0.3], dtype=torch.float64)
L = torch.linalg.cholesky(rbf(*[torch.cat([spots, target])] * 2) + 1e-12 * eye(21))
worlds = torch.randn(20_000, 21, generator=g, dtype=torch.float64) @ L.T
drills = worlds + 0.2 * torch.randn(20_000, 21, generator=g, dtype=torch.float64)
m, C = posterior(rbf, spots, drills[:, :20].T, target, 0.04)  # all worlds at once: y is 20 s
sd, errors = C.sqrt().squeeze(), drills - m.T
ground = ((worlds - m.T)[:, 20].abs() < 1.96 * sd).double()
next_drill = ((drills - m.T)[:, 20].abs() < 1.96 * sd).double()
wide = ((drills - m.T)[:, 20].abs() < 1.96 * (sd**2 + 0.04).sqrt()).double()
print(f"the band for the ground holds the ground in {ground.mean().item():.0%} of the worlds, the "
      f"next drill in {next_drill.mean().item():.0%}; the wide band holds the drill in "
      f"{wide.mean().item():.0%}")
promise = torch.special.ndtr(torch.tensor(1.96).double()) * 2 - 1
share = 2 * torch.special.ndtr(1.96 * sd / (sd**2 + 0.04).sqrt()) - 1
teach.claim("both bands keep their promise for what they are about, the other holds the share that "
            "the two variances say, within 5 standard errors", tolerance=5, kind="monte-carlo",
            error=torch.stack([standard_errors(ground, promise), standard_errors(wide, promise),
                               standard_errors(next_drill, share)]))
teach.reveal("p3.t3.q4", "75 %", because="two thirds of the next drill's variance are noise")

# %% [markdown]
# **Exercise 1.** The formula for many strips at once, by one Cholesky factor, even before the first
# drill.

# %%
# exercise: p3.t3.e1

# %% [markdown]
# ## 5. Numbers that stay numbers
#
# Thirty drills, a very good scale. The variance $\sigma^2(x)$ can be computed with the inverse of
# $K + \sigma_n^2 I = LL^\top$, as the formula says, or as $\sigma_f^2 - \lVert L^{-1} k_*
# \rVert^2$ (one column of $K_*$ at a time). The condition number may reach
# $1 + n \sigma_f^2/\sigma_n^2$ (Part 2, tutorial 2).

# %%
teach.predict("p3.t3.q5", "In float32, by the inverse: the smallest of 201 variances is ...",
              ["right to three digits", "wrong, but positive", "negative"], guess=None)

# %%
dense = torch.linspace(-1.5, 1.5, 30, dtype=torch.float64)
where = torch.linspace(-2, 2, 201, dtype=torch.float64)
smallest, off = {}, {}
for dtype in (torch.float64, torch.float32):
    A, B = dense.to(dtype), where.to(dtype)
    K = rbf(A, A, ell=1.0) + 1e-5 * torch.eye(30, dtype=dtype)
    k = rbf(A, B, ell=1.0)
    L = torch.linalg.cholesky(K)
    ways = {"inverse": 0.25 - (k * (torch.linalg.inv(K) @ k)).sum(0),
            "Cholesky": 0.25 - torch.linalg.solve_triangular(L, k, upper=False).square().sum(0)}
    for name, variance in ways.items():
        smallest[dtype, name], off[dtype, name] = variance.min().item(), variance.double()
        print(f"{dtype!s:13} {name:8}  smallest variance {smallest[dtype, name]:8.0e}")
right = off[torch.float64, "Cholesky"]
teach.claim("variances by inverse and by Cholesky: equal in float64", tolerance=1e-10,
            error=(off[torch.float64, "inverse"] - right).abs())
teach.claim("in float32 the inverse makes some variances negative, Cholesky none", kind="run",
            condition=smallest[torch.float32, "inverse"] < 0 < smallest[torch.float32, "Cholesky"])
teach.reveal("p3.t3.q5", "negative", because="the inverse's errors grow with the condition number")
sets = 4 * torch.rand(40, 30, generator=g, dtype=torch.float64) - 2
values = torch.linalg.eigvalsh(rbf(torch.cat([sets, dense[None]]), torch.cat([sets, dense[None]])))
kappas = {n: (values[:, -1] + n) / (values[:, 0].clamp(min=0) + n) for n in (1e-6, 1e-4, 1e-2)}
teach.claim("κ(K + σₙ² I) is at most 1 + n σ_f²/σₙ², for 41 sets of 30 places", kind="theorem",
            condition=all(bool((kappa <= 1 + 30 * 0.25 / n).all()) for n, kappa in kappas.items()))
jitter = linalg.psd_cholesky(rbf(dense, dense, ell=1.0)).jitter.item()
teach.claim("without noise K does not factorise; the package adds jitter, and says how much",
            0 < jitter <= 1e-8, kind="run")

# %% [markdown]
# So: float64, a factor instead of an inverse, and jitter where nothing else helps. It enters the
# formula where noise does. Is it the same, then? Let a seventh drill, a metre beside the fourth,
# bring up 0.1 ounces more, because that scale is not so good.

# %%
teach.predict("p3.t3.q6", "The model knows no noise, only a jitter of 1e-10. Its map's highest "
              "peak (the ground's is 0.7)?", ["about 0.7", "about 2", "about 20"], guess=None)

# %%
twins = torch.cat([X, X[3:4] + 0.001])
y_twins = torch.cat([y, y[3:4] + 0.1])
peaks = {n: posterior(rbf, twins, y_twins, x, n)[0].max().item() for n in (1e-10, 0.005)}
print(f"highest peak with jitter only {peaks[1e-10]:.0f} ounces, with noise {peaks[0.005]:.1f}")
teach.claim("jitter in place of noise: the map rises above 15 ounces; with noise it stays below 1",
            peaks[1e-10] > 15 and peaks[0.005] < 1, kind="run")
teach.reveal("p3.t3.q6", "about 20", because="a slope of 100 ounces per km has to go somewhere")

# %% [markdown]
# Without noise the whole difference of the twins has to be the ground's.
#
# ## 6. Same data, four certainties
#
# Back to six drills. Four prospectors agree on everything but $\ell$.

# %%
def four_maps(X, y, ground=None):
    """Mean and band for four lengthscales."""
    figure, panels = pyplot.subplots(2, 2, figsize=(9.5, 6.0), sharex=True, sharey=True)
    for panel, ell in zip(panels.flat, ELLS, strict=True):
        m, sd = ask(package(X, y, noise, ell=ell), x)
        panel.fill_between(x, m - 1.96 * sd, m + 1.96 * sd, alpha=0.25)
        panel.plot(x, m, label="map and 95 % band")
        panel.plot(X, y, "o", color=plotting.OKABE_ITO["vermillion"], mec="black", label="drills")
        if ground is not None:
            panel.plot(x, ground, color="black", ls="--", label="the ground")
        panel.set(title=f"ℓ = {ell}", ylim=(-1.4, 1.4))
    figure.supxlabel("place x (km)")
    figure.supylabel("gold (ounces)")
    figure.legend(*panel.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


ELLS = (0.1, 0.25, 0.5, 1.0)
teach.show(four_maps(X, y), "Four maps through the same six drills. At ℓ = 0.1 the band is a tube "
           "with a knot at each drill; the longer ℓ, the narrower the band; at ℓ = 1 it is a thin "
           "smooth line between the drills.")

# %%
teach.predict("p3.t3.q7", "Which band fails to hold the ground in 95 % of the places?",
              ["0.1", "0.25", "0.5", "1.0", "none"], guess=None)

# %%
def coverage(model, inside=None):
    mean, sd = ask(model, x)
    z = (truth(x) - mean) / sd
    return (z.abs() <= 1.96)[slice(None) if inside is None else inside].double().mean().item()


teach.show(four_maps(X, y, truth(x)), "The same with the ground: it stays within the first three "
           "bands; at ℓ = 1 it dips and rises far outside of the thin band, between all drills.")
among = x.abs() < 1.5
held = {ell: coverage(package(X, y, noise, ell=ell)) for ell in ELLS}
thin = coverage(package(X, y, noise, ell=1.0), among)
print({ell: f"{share:.0%}" for ell, share in held.items()}, f"ℓ = 1 among drills: {thin:.0%}")
teach.claim("three of the bands hold the ground everywhere, that of ℓ = 1 at fewer than half of "
            "the places, and at fewer than an eighth of those among the drills", kind="run",
            condition=all(held[e] == 1 for e in ELLS[:3]) and held[1.0] < 0.5 and thin < 0.125)
teach.reveal("p3.t3.q7", "1.0", because="a long ℓ is not safe: it promises more than it knows")

# %% [markdown]
# A 95 % band holds with probability 95 % *if the ground was drawn from that kernel*. Who chooses?
#
# **Exercise 2.** Another family to choose from: Matérn, with slopes that survive where two places
# coincide.

# %%
# exercise: p3.t3.e2

# %% [markdown]
# ## 7. Let the drills vote
#
# Each kernel had a normal belief about the drills before they came: mean 0, covariance
# $A = K + \sigma_n^2 I$. How probable did it call what then came up?
#
# $$\log p(y) = -\tfrac12\,y^\top \alpha - \tfrac12 \log\det A - \tfrac n2 \log 2\pi ,$$
#
# the **log marginal likelihood**, or evidence. ($p$ is a probability density here, no number of
# features.) The first term asks for fit; the second punishes
# beliefs so wide that anything would have fitted.

# %%
teach.predict("p3.t3.q8", "Which ℓ do the six drills prefer?", ["0.1", "0.25", "0.5", "1.0"],
              guess=None)

# %%
def log_density(A, y):
    """log p(y) of a normal with mean 0 and covariance A."""
    L = torch.linalg.cholesky(A)
    w = torch.linalg.solve_triangular(L, y.unsqueeze(-1), upper=False)
    return -0.5 * (w.square().sum() + len(y) * math.log(2 * math.pi)) - L.diagonal().log().sum()


def evidence(X, y, ell, noise=noise, var=0.25):
    return log_density(rbf(X, X, ell, var) + noise * eye(len(X)), y).item()


def one_by_one(X, y, ell):
    """log p of each drill, as predicted from those before it."""
    terms = [evidence(X[:1], y[:1], ell)]
    for i in range(1, len(X)):
        m, v = posterior(lambda A, B: rbf(A, B, ell), X[:i], y[:i], X[i : i + 1], noise)
        terms.append(log_density(v + noise, y[i : i + 1] - m).item())
    return torch.tensor(terms, dtype=torch.float64)

# %%
six = {ell: evidence(X, y, ell) for ell in ELLS}
odds = math.exp(six[1.0] - six[0.5])
print("log p(y) of six drills:", {ell: round(value, 2) for ell, value in six.items()})
teach.claim("log p(y) is the package's log_marginal_likelihood", tolerance=1e-8,
            error=max(abs(bl.log_marginal_likelihood(package(X, y, noise, ell=ell)).item() - value)
                      for ell, value in six.items()))
teach.claim("log p(y) is the sum of log p of each drill, predicted from those before",
            tolerance=1e-8, error=max(
                abs(one_by_one(X, y, ell).sum().item() - six[ell]) for ell in ELLS))
teach.claim("six drills prefer the ℓ whose band fails, at odds of less than 4 to 1 against 0.5",
            max(six, key=six.get) == 1.0 and odds < 4, kind="run")
teach.reveal("p3.t3.q8", "1.0", because=f"the simplest map that fits; {odds:.1f} to 1 against 0.5")

# %% [markdown]
# The vote went to the only band that failed. But the margin is 1.3, odds of 3.6 to 1. And look at
# the second claim:
#
# $$\log p(y) = \log p(y_1) + \log p(y_2 \mid y_1) + \dots + \log p(y_6 \mid y_1, \dots, y_5) .$$
#
# Evidence is a record of *predictions*. It can only judge where one has drilled. So drill once
# more, at 0.

# %%
teach.predict("p3.t3.q9", "Which ℓ do seven drills prefer?", ["0.1", "0.25", "0.5", "1.0"],
              guess=None)

# %%
X7, y7 = torch.cat([X, zero]), torch.cat([y, truth(zero)])
seven = {ell: evidence(X7, y7, ell) for ell in ELLS}
last = {ell: one_by_one(X7, y7, ell)[-1].item() for ell in ELLS}
m, v = posterior(lambda A, B: rbf(A, B, 1.0), X, y, zero, noise)
surprise = ((truth(zero) - m) / (v + noise).sqrt()).item()
print("log p(y) of seven drills:", {ell: round(value, 1) for ell, value in seven.items()})
print(f"the seventh is {abs(surprise):.0f} standard deviations from what ℓ = 1 said")
teach.claim("the seventh drill moves each sum by the log p that it was given", tolerance=1e-8,
            error=max(abs(seven[e] - six[e] - last[e]) for e in ELLS))
teach.claim("seven drills prefer ℓ = 0.5, and ℓ = 1 is behind by more than 35", kind="run",
            condition=max(seven, key=seven.get) == 0.5 and seven[0.5] - seven[1.0] > 35)
teach.reveal("p3.t3.q9", "0.5", because="ℓ = 1 was sure, and wrong")

# %%
ells = torch.logspace(-1.3, 0.3, 81, dtype=torch.float64)
A = rbf(X7, X7, ells[:, None, None]) + noise * eye(7)
fit = -0.5 * (torch.linalg.solve(A, y7.expand(81, 7).unsqueeze(-1)).squeeze(-1) * y7).sum(-1)
narrow = -0.5 * torch.logdet(A)
six_votes = torch.tensor([evidence(X, y, ell) for ell in ells], dtype=torch.float64)
lines = {"fit of seven, −½ yᵀα": fit, "narrowness, −½ log det A": narrow,
         "log p of seven drills": fit + narrow - 3.5 * math.log(2 * math.pi),
         "log p of six drills": six_votes}
figure = plotting.curves(ells, lines, log="x", xlabel="lengthscale ℓ (km)", ylabel="log density")
figure.axes[0].set_ylim(-12, 22)
teach.show(figure, "Against the lengthscale: the fit is level, then falls off a cliff near 0.5; "
           "the narrowness rises; the evidence of seven drills has its summit just before the "
           "cliff, that of six drills near 0.9.")
teach.claim("at these drills a longer ℓ never widens the belief about them", kind="run",
            condition=bool((narrow.diff() >= -1e-9).all()))

# %% [markdown]
# To follow the evidence uphill we need its slope. From Part 1, tutorial 4: the derivative of
# $y^\top A^{-1} y$ in $A$ is $-\alpha\alpha^\top$, that of $\log\det A$ is $A^{-1}$. So for any
# parameter $\theta$
#
# $$\frac{\partial \log p(y)}{\partial\theta} = \tfrac12\,\mathrm{tr}\left((\alpha\alpha^\top -
# A^{-1})\,\frac{\partial A}{\partial\theta}\right) .$$
#
# All three scales are positive, so we take their logarithms (Part 2, tutorial 2).

# %%
def with_slope(theta, X, y):
    """log p(y) and its derivatives in log ℓ, log σ_f², log σₙ², by hand."""
    ell, var, noise = theta.exp()
    K, one = rbf(X, X, ell, var), eye(len(X))
    A = K + noise * one
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(A))
    alpha = inverse @ y
    r2 = (X.unsqueeze(-1) - X).square()
    parts = torch.stack([K * r2 / ell**2, K, noise * one])  # ∂A/∂θ
    weight = alpha.unsqueeze(-1) * alpha - inverse
    return log_density(A, y), 0.5 * (weight * parts).sum((-2, -1))


theta = torch.tensor([0.4, 0.3, 0.01], dtype=torch.float64).log()
value, by_hand = with_slope(theta, X7, y7)
by_autograd = torch.func.grad(lambda t: with_slope(t, X7, y7)[0])(theta)
nudge = 1e-5 * eye(3)
central = torch.stack([with_slope(theta + h, X7, y7)[0] - with_slope(theta - h, X7, y7)[0]
                       for h in nudge]) / 2e-5
teach.claim("the slope by hand is autograd's", error=(by_hand - by_autograd).abs(), tolerance=1e-9)
teach.claim("the slope by hand is that of central differences", tolerance=1e-6,
            error=(by_hand - central).abs())

# %% [markdown]
# **Exercise 3.** The evidence with a lengthscale for each input, safe to differentiate.

# %%
# exercise: p3.t3.e3

# %% [markdown]
# ## 8. Climbing the evidence
#
# A neighbour has a poor scale and ten drills. We map his evidence over $\ell$ and $\sigma_n$, and
# climb it from 16 starts with Part 2's optimiser.

# %%
draw = torch.Generator().manual_seed(9)
X10 = 6 * torch.rand(10, generator=draw, dtype=torch.float64) - 3
y10 = truth(X10) + 0.3 * torch.randn(10, generator=draw, dtype=torch.float64)
box = torch.tensor([[0.05, 0.01], [8.0, 1.0]], dtype=torch.float64).log()


def downhill(logs, rows=None):
    """Minus log p and its slope in log ℓ and log σₙ, with σ_f² = 0.25, for rows of parameters."""
    fixed = torch.full_like(logs[:, :1], math.log(0.25))
    theta = torch.cat([logs[:, :1], fixed, 2 * logs[:, 1:]], dim=-1)
    value, slope = torch.func.vmap(lambda t: with_slope(t, X10, y10))(theta)
    return -value, -slope[:, ::2] * torch.tensor([1.0, 2.0])


starts = box[0] + (box[1] - box[0]) * torch.rand(16, 2, generator=g, dtype=torch.float64)
ends = lbfgs.minimize(downhill, starts, *box, gtol=1e-7, ftol=0.0)

# %%
u, v = (torch.linspace(*box[:, i].tolist(), 81, dtype=torch.float64) for i in (0, 1))
heights = -downhill(torch.cartesian_prod(u, v))[0].reshape(81, 81)
figure, panel = pyplot.subplots(figsize=(7.2, 4.6))
levels = [heights.max().item() - depth for depth in (8, 5, 3, 2, 1.5, 1, 0.7, 0.4, 0.2, 0)]
area = panel.contourf(u.exp(), v.exp(), heights.T, levels, cmap="cividis", extend="min")
figure.colorbar(area, label="log p(y)", format="%.1f")
panel.plot(*starts.T.exp(), ".", color="white", mec="black", label="starts")
panel.plot(*ends.x.T.exp(), "*", ms=16, color=plotting.OKABE_ITO["vermillion"], mec="black",
           label="ends")
panel.set(xscale="log", yscale="log", xlabel="lengthscale ℓ (km)", ylabel="noise σₙ (ounces)")
panel.legend(loc="lower right")
teach.show(figure, "Map of the evidence with two summits of nearly the same height: one at a short "
           "lengthscale with little noise, one at a long lengthscale with much noise; all starts "
           "end at one of the two.")

# %%
short = ends.x[:, 0] < 0
summits = [ends.x[short][0].exp(), ends.x[~short][0].exp()]
best = [-ends.value[short].min().item(), -ends.value[~short].min().item()]
for name, (ell, sd), value in zip(("lively ground, fair scale", "flat ground, poor scale"), summits,
                                  best, strict=True):
    print(f"{name}: ℓ = {ell:.2f}, σₙ = {sd:.2f}, log p = {value:.2f}")
teach.claim("all climbs of log p(y) end on one of two summits, both are found", tolerance=1e-4,
            kind="run", condition=bool(short.any() and (~short).any()),
            error=torch.cat([(ends.x[side] - ends.x[side][0]).abs() for side in (short, ~short)]))
teach.claim("the two summits differ by less than 0.5 in log p(y)", abs(best[0] - best[1]) < 0.5,
            kind="run")

# %%
model = bl.fit_mll(package(X7, y7, noise, mean=ZeroMean()))
fitted = model.hyperparameters()
theta = torch.stack([fitted["lengthscale"].squeeze(), fitted["outputscale"].squeeze(),
                     torch.tensor(noise).double()]).log()
teach.claim("seven drills: the package's fit_mll ends where our slopes in ℓ and σ_f² are 0",
            error=with_slope(theta, X7, y7)[1][:2].abs(), tolerance=1e-2)
within, beyond = coverage(model, among), coverage(model, ~among)
print(f"its map: ℓ = {theta[0].exp():.2f}, σ_f = {(theta[1] / 2).exp():.2f}; the band holds "
      f"{within:.0%} of the ground among the drills, {beyond:.0%} beyond them")
teach.claim("the fitted band holds all the ground among the drills, and less than 70 % beyond them",
            within == 1 and beyond < 0.7, kind="run")

# %% [markdown]
# These ten drills cannot tell lively ground from a poor scale, and an optimiser from one start
# reports one of the two stories without a word. Hence `fit_mll`'s several starts, and its
# **priors** for what ten drills cannot know (then it maximises evidence times prior;
# `log_marginal_likelihood` leaves priors out).
#
# And evidence comes from drilled ground only: seven drills in the poor middle of the strip made
# a $\sigma_f$ too small for the hills beyond.
#
# ## 9. How many drills make a judge?
#
# Now the truth is known: 400 strips drawn from RBF with $\ell = 0.2$ on $[0, 1]$. For each the
# evidence chooses $\ell$, and we ask the map of that $\ell$ about the whole strip.

# %%
teach.predict("p3.t3.q10", "Four drills: how much of the ground do the 95 % bands hold, with ℓ "
              "chosen by evidence?", ["95 %", "90 %", "75 %", "50 %"], guess=None)

# %%
line = torch.linspace(0, 1, 101, dtype=torch.float64)


def strips(n, draw, count=400):
    """Places and values of n drills, 400 n 1, and the ground on the line, 400 101."""
    spots = torch.rand(count, n, generator=draw, dtype=torch.float64)
    all_places = torch.cat([spots, line.expand(count, -1)], dim=-1)
    L = torch.linalg.cholesky(rbf(all_places, all_places, 0.2, 1.0) + 1e-8 * eye(n + 101))
    f = L @ torch.randn(count, n + 101, 1, generator=draw, dtype=torch.float64)
    seen = f[:, :n] + 0.01 * torch.randn(count, n, 1, generator=draw, dtype=torch.float64)
    return spots.unsqueeze(-1), seen, f[:, n:, 0]


found, shares = {}, {}
for n in (4, 8, 16):
    spots, seen, f = strips(n, torch.Generator().manual_seed(n))
    chosen = bl.ExactGP(spots, seen, UNIT, kernel=RBFKernel().double(), mean=ZeroMean(),
                        noise_var=1e-4, standardize=False)
    known = chosen.with_hyperparameters(lengthscale=0.2)
    chosen = bl.fit_mll(chosen)  # 400 fits as one batch
    found[n] = chosen.hyperparameters()["lengthscale"].flatten()
    for name, model in (("true", known), ("chosen", chosen)):
        mean, sd = ask(model, line.expand(400, -1))
        shares[n, name] = ((f - mean).abs() <= 1.96 * sd).double().mean(-1)
    print(f"n = {n:2}: the band of the true ℓ holds {shares[n, 'true'].mean():.0%} of the ground, "
          f"that of the chosen ℓ {shares[n, 'chosen'].mean():.0%}")

# %%
counts = torch.tensor([4, 8, 16])
table = torch.stack([stats.quantiles(ell, [0.1, 0.5, 0.9]) for ell in found.values()], dim=-1)
teach.show(
    plotting.with_intervals({"chosen: median, 10 and 90 %": (counts, table)},
                            {"true": (counts, torch.full((3,), 0.2))}, xlabel="drills n",
                            ylabel="lengthscale ℓ (lengths of the strip)"),
    "Chosen lengthscales for 4, 8 and 16 drills: their medians lie just above 0.2; their range "
    "shrinks from 0.14-0.45 to 0.19-0.24.",
)
for n in (4, 8, 16):
    teach.claim(f"{n} drills: the band of the true ℓ holds 95 %, within 5 standard errors",
                error=standard_errors(shares[n, "true"], promise), tolerance=5, kind="monte-carlo")
for n in (4, 8):
    loss = shares[n, "true"] - shares[n, "chosen"]
    teach.claim(f"{n} drills: the band of the chosen ℓ holds less (mean of 400 paired strips)",
                bool(loss.mean() > 4 * loss.std() / 20), kind="paired")
gaps = {n: (shares[n, "true"] - shares[n, "chosen"]).mean() for n in (4, 16)}
teach.claim("with 16 drills the chosen ℓ loses less than a third of what it loses with four",
            bool(gaps[16] < gaps[4] / 3), kind="monte-carlo")
teach.reveal("p3.t3.q10", "75 %", because="four drills hardly know ℓ, and the band thinks they do")

# %% [markdown]
# A band from a *chosen* kernel leaves out all doubt about the choice. With four drills a quarter of
# the ground escapes a band that promised a twentieth; with sixteen most of the loss is gone. (Part
# 5 averages over kernels instead of choosing one.)
#
# ## 10. Ask each drill about the others
#
# A second judge: leave a drill out, predict it, look. As a function of $y_i$ alone, $-\log p(y)$ is
# a parabola with slope $\alpha_i$ and curvature $[A^{-1}]_{ii}$. One Newton step finds its bottom,
# the prediction from the others, without a refit:
#
# $$\mu_{-i} = y_i - \alpha_i / [A^{-1}]_{ii}, \qquad \sigma^2_{-i} = 1 / [A^{-1}]_{ii} .$$

# %%
def refits(X, y, ell):
    """Mean and variance of each drill from the others, the slow way."""
    rows = []
    for i in range(len(X)):
        rest = torch.arange(len(X)) != i
        m, v = posterior(lambda A, B: rbf(A, B, ell), X[rest], y[rest], X[i : i + 1], noise)
        rows.append(torch.stack([m.squeeze(), v.squeeze() + noise]))
    return torch.stack(rows, dim=-1)

# %%
z = {}
for ell in ELLS:
    m, v = refits(X7, y7, ell)
    inverse = torch.linalg.inv(rbf(X7, X7, ell) + noise * eye(7))
    closed = y7 - inverse @ y7 / inverse.diagonal(), 1 / inverse.diagonal()
    ready = bl.leave_one_out(package(X7, y7, noise, ell=ell))
    z[f"ℓ = {ell}"] = ready.z[:, 0][X7.argsort()]
    teach.claim(f"ℓ = {ell}: seven refits, one inverse and leave_one_out agree", tolerance=1e-8,
                error=torch.stack([m - closed[0], v - closed[1], m - ready.mean[:, 0],
                                   v - ready.variance[:, 0]]).abs())

# %%
figure = plotting.curves(X7.sort().values, z, xlabel="place x of the drill left out (km)",
                         ylabel="miss in standard deviations")
figure.axes[0].axhspan(-1.96, 1.96, color=plotting.GREY, alpha=0.2)
figure.axes[0].legend(loc="lower left")
teach.show(figure, "Misses of the seven left-out drills: within ±2 for the three shorter "
           "lengthscales, up to 9 standard deviations for ℓ = 1.")
six_z = bl.leave_one_out(package(X, y, noise, ell=1.0)).z.abs().max()
print(f"largest |z| for ℓ = 1: {six_z:.1f} with six drills, {z['ℓ = 1.0'].abs().max():.0f} with "
      "seven")
teach.claim("seven drills: ℓ = 1 misses one by more than 5 standard deviations, no other ℓ by more "
            "than 2.5", kind="run", condition=bool(
                z["ℓ = 1.0"].abs().max() > 5
                and max(z[f"ℓ = {ell}"].abs().max() for ell in ELLS[:3]) < 2.5))

# %% [markdown]
# With six drills, though, the largest miss for $\ell = 1$ was 1.8: this judge was fooled as well.
#
# **Exercise 4.** Leave out whole days, still with one inverse.

# %%
# exercise: p3.t3.e4

# %% [markdown]
# ## 11. Whole maps, more inputs, and gpytorch
#
# A draw at 241 places takes a factor of $241 \times 241$. **Matheron's rule** turns any map $f_0$
# from the prior into one from the posterior, by moving it towards the drills:
#
# $$f = f_0 + K_*^\top A^{-1} (y - f_0(X) - \text{noise}) ,$$
#
# with noise drawn anew for each map.

# %%
L = torch.linalg.cholesky(rbf(*[torch.cat([X7, places])] * 2) + 1e-12 * eye(12))
prior = torch.randn(100_000, 12, generator=g, dtype=torch.float64) @ L.T
missed = y7 - prior[:, :7] - 0.01 * torch.randn(100_000, 7, generator=g, dtype=torch.float64)
A = rbf(X7, X7) + noise * eye(7)
moved = prior[:, 7:] + missed @ torch.linalg.solve(A, rbf(X7, places))
m, C = posterior(rbf, X7, y7, places, noise)
products = (moved - m).unsqueeze(-1) * (moved - m).unsqueeze(-2)
teach.claim("the moved maps have the posterior's means and covariances, within 5 standard errors",
            error=torch.stack([standard_errors(moved, m), *standard_errors(products, C)]),
            tolerance=5, kind="monte-carlo")
paths = bl.draw_paths(package(X7, y7, noise), 4000, seed=0)
drawn = paths(places.unsqueeze(-1)).squeeze(-1)  # each path can be asked anywhere, at any time
teach.claim("the package's draw_paths, whose f₀ is a sum of waves, have the posterior's means, "
            "within 5 standard errors", error=standard_errors(drawn, m), tolerance=5,
            kind="monte-carlo")
teach.claim("draw_paths' covariances are right to 5 % of σ_f²", tolerance=0.05 * 0.25,
            error=(drawn.T.cov() - C).abs(), kind="monte-carlo")

# %%
class TheirGP(gpytorch.models.ExactGP):
    def __init__(self, X, y, likelihood):
        super().__init__(X, y, likelihood)
        self.mean_module, self.covar_module = ZeroMean(), ScaleKernel(RBFKernel())

    def forward(self, X):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(X), self.covar_module(X))


known = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(torch.full((7,), noise).double())
theirs = TheirGP(X7.unsqueeze(-1), y7, known).double()
theirs.covar_module.base_kernel.lengthscale, theirs.covar_module.outputscale = 0.5, 0.25
mll = gpytorch.mlls.ExactMarginalLogLikelihood(known, theirs)
per_drill = mll(theirs(X7.unsqueeze(-1)), y7).item()
theirs.eval()
with torch.no_grad():
    belief = theirs(places.unsqueeze(-1))
teach.claim("gpytorch finds our means, covariances and evidence", tolerance=1e-8, error=max(
    (belief.mean - m).abs().max(), (belief.covariance_matrix - C).abs().max(),
    abs(7 * per_drill - seven[0.5])))

# %%
square = torch.tensor([[-3.0, 0.0], [3.0, 1.0]], dtype=torch.float64)
designs = bl.sobol_points(square, n=30, seed=0, replicates=20)  # 20 designs of up to 30 drills
finds = truth(designs[..., :1])  # the second input does nothing
longer = {}
for n in (6, 10, 20, 30):
    wide = bl.fit_mll(bl.ExactGP(designs[:, :n], finds[:, :n], square))
    first, second = wide.hyperparameters()["lengthscale"].reshape(20, 2).T
    longer[n] = int((second > 10 * first).sum())
print("designs in which the idle lengthscale is over ten times as long:",
      {n: f"{count} of 20" for n, count in longer.items()})
X2, Y2 = designs[0], finds[0]
teach.claim("two inputs, one idle: the fit gives it a lengthscale over ten times as long in all of "
            "20 designs with 30 drills, in at most five with six", kind="run",
            condition=longer[30] == 20 and longer[6] <= 5)

# %% [markdown]
# With a lengthscale for each input the idle one gets a long lengthscale, here *with enough drills*:
# **ARD**, automatic relevance determination. With six drills in two inputs it says little.
#
# **Exercise 5 (homework).** Ground that changes its kind at a border: a kernel of your own.

# %%
# exercise: p3.t3.e5

# %% [markdown]
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. Two models fit the same drills. One has a thin band, the other a wide one. What can tell them
#    apart, and what cannot?
# 2. A colleague adds a jitter of 0.01 "for stability". Of what has she just assured her model?
# 3. Why is $\log p(y)$ no measure of fit? Write it as a sum over drills.
#
# **So, how do six drills become a belief, and who chooses the kernel?** Conditioning splits the
# ground into a part that the drills fix and a rest that they leave alone, whatever they brought up.
# How much rest there is, kernel, noise and places say. The drills can judge it, by evidence or by
# leaving out, but only where you drilled; with few of them the choice stays yours. Next: where to
# drill.
#
# **The same in BoTorch**, built on gpytorch too (kernel and priors as `ExactGP`'s defaults):
#
# ```python
# from botorch.fit import fit_gpytorch_mll
# from botorch.models import SingleTaskGP
# from botorch.models.transforms import Normalize
# from gpytorch.mlls import ExactMarginalLogLikelihood
#
# model = SingleTaskGP(X2, Y2, input_transform=Normalize(d=2, bounds=square))
# fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
# posterior = model.posterior(X2)
# ```
#
# ## Sources
#
# - C. E. Rasmussen, C. K. I. Williams, *Gaussian Processes for Machine Learning*, MIT Press 2006,
#   [gaussianprocess.org/gpml](https://gaussianprocess.org/gpml/), chapters 2, 4 and 5: the
#   posterior, kernels, evidence and leave-one-out.
# - S. O. Rice, "Mathematical analysis of random noise", *Bell System Technical Journal* 24 (1945),
#   [doi:10.1002/j.1538-7305.1945.tb00453.x](https://doi.org/10.1002/j.1538-7305.1945.tb00453.x):
#   zero crossings.
# - S. Sundararajan, S. S. Keerthi, "Predictive approaches for choosing hyperparameters in Gaussian
#   processes", *Neural Computation* 13 (2001),
#   [doi:10.1162/08997660151134343](https://doi.org/10.1162/08997660151134343): leave-one-out.
# - J. T. Wilson and others, "Efficiently sampling functions from Gaussian process posteriors",
#   ICML 2020, [arXiv:2002.09309](https://arxiv.org/abs/2002.09309): Matheron's rule.
