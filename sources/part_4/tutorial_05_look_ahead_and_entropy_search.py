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
# # Part 4, tutorial 5: look-ahead and entropy search
#
# **What is an evaluation worth if it changes what I believe elsewhere?**
#
# > **Before you start:** expected improvement and its $h$ (tutorial 2 of this part), the posterior
# > covariance of a Gaussian process (Part 3, tutorial 3), `bl.study` and inference regret (tutorial
# > 3 of this part).
# >
# > **Time:** 60 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - say what an observation is worth to somebody who decides after it;
# > - compute that knowledge gradient exactly, as an area under lines;
# > - say what an observation tells about a maximum, with and without noise, in nats;
# > - tell apart the rules that look for a high *value*, a high *mean*, the maximum $f^*$ and the
# >   pair $(x^*, f^*)$.
# >
# > **You will build** `fantasy_means`, `kg`, `truncated_entropy` and `noisy_information`.

# %%
import math
from typing import Any

import numpy as np
import torch
from gpytorch.kernels import MaternKernel
from torch import Tensor

import bolearn as bl
from bolearn import plotting, stats, teach
from bolearn.acquisition.information import gibbon_information, log_max_value_information
from bolearn.optim import lbfgs
from bolearn.strategies import EntropySearch, KnowledgeGradient

teach.setup("p4.t5")

# %% [markdown]
# ## 1. A pilot that nobody would sell
#
# What you sell today is worth 0. You can pay for one exact measurement. **Arm A** is a variant that
# you could sell; you believe its worth to be $N(0, 0.5^2)$. **Pilot B** is a small rig, and sells
# for about $-3$, give or take 1. But a full plant **C**, which you cannot measure, would be worth
# $N(0, 2^2)$, and it stands or falls with the pilot: the two are perfectly correlated.
#
# Expected improvement asks what the *measured* thing will gain over the best so far.

# %%
def h(z):
    """φ(z) + z Φ(z), as in tutorial 2."""
    return torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) + z * 0.5 * torch.erfc(-z / 2**0.5)


names = ["sold today", "arm A", "pilot B", "plant C"]
worth = torch.tensor([0.0, 0.0, -3.0, 0.0], dtype=torch.float64)
doubt = torch.zeros(4, 4, dtype=torch.float64)
doubt[1, 1] = 0.5**2
doubt[2:, 2:] = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
sd = doubt.diagonal().sqrt()
ei = sd[1:3] * h(worth[1:3] / sd[1:3])
print(f"expected improvement: arm A {ei[0]:.3f}, pilot B {ei[1]:.4f}")

# %%
teach.predict("p4.t5.q1", "You choose what to sell after the measurement. Which do you pay for?",
              ["arm A", "pilot B"], guess=None)

# %% [markdown]
# EI gives the pilot no chance. You may see it otherwise: if the pilot does well, you build the
# plant. To say what that is worth we need the means of *all four* after an outcome. In units of its
# own standard deviation, a measurement surprises by $z \sim N(0, 1)$.
#
# **Exercise 1.** What a surprise at one of them does to the means of all.

# %%
# exercise: p4.t5.e1

# %%
fantasy_means = teach.yours("p4.t5.e1", fantasy_means)
z = torch.randn(400_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
exact = {1: doubt[1, 1].sqrt() * h(torch.zeros(())), 2: doubt[3, 3].sqrt() * h(torch.zeros(()))}
for i in (1, 2):
    then = fantasy_means(worth, doubt, i, 0.0, z)  # 400000 4
    gain = then.amax(-1) - worth.amax()  # sell the best of the means
    error = gain.std() / math.sqrt(len(gain))
    print(f"{names[i]}: what you then sell is worth {gain.mean():.2f} more on average")
    teach.claim(f"{names[i]}: the average over outcomes is sd φ(0) of what it decides about",
                kind="monte-carlo", error=abs(gain.mean() - exact[i]) / error, tolerance=5)
teach.claim("the pilot is worth four times arm A, and its EI less than a hundredth of A's",
            bool(((exact[2] / exact[1] - 4).abs() < 1e-12) & (ei[1] < ei[0] / 100)), kind="run")
teach.reveal("p4.t5.q1", "pilot B", because="it decides about a plant with a standard deviation of "
             "2; arm A, about one with 0.5")

# %% [markdown]
# EI's blind spot: it values an outcome by the outcome itself. The pilot pays by what it tells about
# something else. The **knowledge gradient** (Frazier, Powell & Dayanik, 2009) is the gain that you
# just averaged. With $\mu_j$ the mean at $a_j$ today, and $\mu_j^+$ after observing at $x$:
#
# $$\mathrm{KG}(x) = \mathbb{E}\,\max_j \mu_j^+ \;-\; \max_j \mu_j .$$
#
# Such an expected gain of a later decision is called a **value of information**.
#
# ## 2. Fantasies
#
# On a Gaussian process with fixed hyperparameters nothing changes, only the four become all places
# of interest: here 61 along an interval, with eight noisy observations. The model gives their means
# and covariance, and `model.fantasize(x, z)` returns the model after an imagined outcome, a
# **fantasy**.

# %%
hills = bl.problems.Forrester(noise_std=1.0)
X = torch.tensor([[0.03], [0.15], [0.3], [0.42], [0.55], [0.68], [0.88], [0.97]]).double()
Y, noise_var = hills(X, seed=1), 1.0
model = bl.fit_mll(bl.ExactGP(X, Y, hills.bounds, noise_var=noise_var,
                              kernel=MaternKernel(nu=2.5, ard_num_dims=1)))
places = torch.linspace(0, 1, 61, dtype=torch.float64).unsqueeze(-1)  # 61 1
with torch.no_grad():
    belief = model.posterior(places)
    mu, cov = belief.mean[:, 0], belief.covariance.squeeze()
at, surprises = 48, torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
with torch.no_grad():
    twin = model.fantasize(places[at : at + 1], surprises.view(5, 1, 1))
    imagined = twin.posterior(places.expand(5, 61, 1)).mean[..., 0]
fan = fantasy_means(mu, cov, at, noise_var, surprises)
teach.claim("means after five outcomes: your lines are model.fantasize", tolerance=1e-8,
            error=(fan - imagined).abs() / Y.std())
teach.show(plotting.curves(places[:, 0], {f"z = {z:+.0f}": m for z, m in zip(
               surprises.tolist(), fan, strict=True)}, xlabel="x", ylabel="posterior mean",
               marks={"x observed": places[at].item()}),
           "The posterior mean after five outcomes of an observation at x = 0.8: five curves that "
           "agree far from it, fan out around it, and cross near 0.68, left of which the lowest "
           "is the highest; the highest mean moves from 0.67 to 0.77 as z grows.")

# %%
left = twin.posterior(places.expand(5, 61, 1)).variance[..., 0].detach()
teach.claim("the fantasies' means average to today's mean", tolerance=1e-8,
            error=(fan.mean(0) - mu).abs() / Y.std())
told = cov[:, at].square() / (cov[at, at] + noise_var)
teach.claim("every outcome leaves the same variance, today's minus the square of the slope",
            tolerance=1e-8, error=(left - (cov.diagonal() - told)).abs() / Y.var())

# %% [markdown]
# On average an observation moves the mean nowhere: otherwise one should move it before observing.
# What it does is spread the means, and of spread means one takes the best.
#
# ## 3. KG is an area
#
# At a place $a_j$ the mean after the surprise $z$ is a line, $\mu_j + b_j z$, with the slope $b_j =
# \mathrm{cov}(x, a_j) / \sqrt{\sigma^2(x) + \sigma_n^2}$. After the outcome one takes the highest
# line: the **upper envelope**. Without it one takes, whatever $z$, the line that is highest at
# $z = 0$. Their difference under the density of $z$ is KG. Five lines, one of them yours to move:

# %%
heights = torch.tensor([0.0, -0.5, -0.3, -1.4, -0.7], dtype=torch.float64)
slopes = torch.tensor([0.1, 0.5, -0.6, 0.4, 1.2], dtype=torch.float64)
teach.explorable(
    "knowledge_gradient", {"heights": heights, "slopes": slopes, "moved": 4, "noise": 0.0},
    still=plotting.envelope(heights, slopes, moved=4),
    alt="Left, five lines against the surprise z with their upper envelope, a bent line of three "
    "pieces: a falling line, today's choice near z = 0, and beyond 0.64 the steep line in colour. "
    "Right, the envelope minus today's choice times the density of z: two humps, whose area is KG.",
)

# %%
teach.predict("p4.t5.q2", "The steep line (height -0.7, slope 1.2) is raised to height 0, level "
              "with the best. KG then ...", ["falls, for less is left to gain", "stays", "rises"],
              guess=None)

# %% [markdown]
# No integral is left to be computed numerically. Where the envelope passes from one line to the
# next, at a **corner** $c$, its slope grows by $\Delta b$. All outcomes beyond it gain
# $\Delta b\,(|z| - |c|)$, and the average of that is an expected improvement:
#
# $$\mathrm{KG} = \sum_{\text{corners}} \Delta b\; h(-|c|) .$$
#
# **Exercise 2.** Find the corners and add them up.

# %%
# exercise: p4.t5.e2

# %%
kg = teach.yours("p4.t5.e2", kg)
for height in (-0.7, -0.35, 0.0, 0.35):
    moved = heights.clone()
    moved[4] = height
    print(f"height {height:+.2f}: KG {kg(moved, slopes):.3f}")
raised = heights.clone()
raised[4] = 0.0
teach.claim("raised to the level of the best, the line is worth more to know about",
            bool(kg(raised, slopes) > kg(heights, slopes) + 0.1), kind="run")
teach.reveal("p4.t5.q2", "rises", because="lines that tie today are those between which an outcome "
             "decides; raised further it becomes today's choice, and KG falls")

# %%
g = torch.Generator().manual_seed(0)
bundles = torch.randn(200, 2, 8, dtype=torch.float64, generator=g)  # heights and slopes
bundles[0, 0], bundles[1, 1], bundles[2] = 0.0, 0.5, bundles[2, :, :1]  # ties, parallel, equal
values = torch.stack([kg(a, b) for a, b in bundles])
theirs = bl.log_knowledge_gradient(bundles[:, 0], bundles[:, 1]).exp()
teach.claim("200 bundles: your sum over corners is the package's", tolerance=1e-8,
            error=(values - theirs).abs())
damped = torch.stack([kg(a, b / 2) for a, b in bundles])
nearly_none = torch.stack([kg(a, b / 1e9) for a, b in bundles])
steepest = bundles[:, 1].abs().amax(-1)
teach.claim("KG is never negative (200 bundles)", bool((values >= 0).all()), kind="theorem")
teach.claim("more noise flattens all lines by one factor: KG never grows, and ends at 0",
            kind="theorem", condition=bool((damped <= values + 2e-9 * steepest).all())
            and bool((nearly_none <= 1e-9 * steepest).all()))
nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(64))
by_nodes = torch.stack([((a + nodes.unsqueeze(-1) * b).amax(-1) * weights).sum() / weights.sum()
                        - a.amax() for a, b in bundles])
teach.claim("64 Gauss-Hermite nodes miss corners: off by more than 1e-3 for some bundles",
            bool((by_nodes - values).abs().max() > 1e-3), kind="run")

# %% [markdown]
# Why never negative? Keeping today's choice is always allowed. (That needs the same places before
# and after: comparing a fine search of tomorrow's means with a coarse one of today's breaks it.)
#
# ### From EI to KG
#
# Two lines are enough for an old friend. Let only two things be for sale: the best so far, known
# exactly, a flat line at $b$; and what is observed, without noise, a line with slope $\sigma(x)$
# whose height, its mean, is at most $b$.

# %%
with torch.no_grad():
    doubt_at, best = cov.diagonal().sqrt(), mu.max()
    two = [kg(torch.stack([best, m]), torch.stack([torch.zeros_like(s), s]))
           for m, s in zip(mu, doubt_at, strict=True)]
    formula = (doubt_at.log() + bl.numerics.log_h((mu - best) / doubt_at)).exp()
    teach.claim("61 places: KG of two lines is EI", tolerance=1e-8,
                error=(torch.stack(two) - formula).abs() / Y.std())
    acq = bl.qKnowledgeGradient(model, points=places)
    by_hand = torch.stack([kg(mu, cov[:, i] / (cov[i, i] + noise_var).sqrt()) for i in range(61)])
    teach.claim("KG at 61 places: your lines and your sum are bl.qKnowledgeGradient",
                tolerance=1e-8, error=(by_hand - acq(places.unsqueeze(1))).abs() / Y.std())

# %% [markdown]
# So, where no mean exceeds $b$, EI is a knowledge gradient that takes the best so far as known,
# and neglects that the outcome is noisy and that it moves other means.
#
# Like EI, KG vanishes in floating point long before it is 0, and the cure is the one of tutorial 2:
# each term is positive, so the logarithm is a logsumexp of $\log \Delta b + \log h(-|c|)$.

# %%
far = torch.tensor([0.0, -5.0], dtype=torch.float64), torch.tensor([0.0, 0.1], dtype=torch.float64)
log_kg = bl.log_knowledge_gradient(*far)
print(f"means 0 and -5, slopes 0 and 0.1: KG {kg(*far).item()}, its logarithm {log_kg:.2f}")
teach.claim("log KG is log of the slope plus log h, where KG itself underflows",
            tolerance=1e-8, error=abs(log_kg - math.log(0.1) - bl.numerics.log_h(
                torch.tensor(-50.0, dtype=torch.float64))) / abs(log_kg))

# %% [markdown]
# ## 4. Drawing the fantasies instead
#
# With several points at once, or a model that is no Gaussian process, there is no envelope of lines
# in one $z$, and one draws: $s$ surprises, for each the highest mean, the average. At one $x$ this
# is unbiased. But we *choose* $x$.

# %%
teach.predict("p4.t5.q3", "KG at 61 places, each from 8 drawn surprises; we go where the estimate "
              "is highest. Compared with the true KG of that place, the estimate there is ...",
              ["too low on average", "right on average", "too high on average"], guess=None)

# %%
counts = torch.tensor([2.0, 4, 8, 16, 32, 64])
lines = cov / (cov.diagonal() + noise_var).sqrt().unsqueeze(-1)  # row: observed; column: the mean


def estimates(z):
    """KG at 61 places in 100 repetitions, from draws z, 100 61 s."""
    return torch.stack([(mu + u.unsqueeze(-1) * lines.unsqueeze(1)).amax(-1).mean(-1) - mu.max()
                        for u in z])


promised, shared, kept = [], [], []
for s in counts.int().tolist():
    z = torch.randn(100, 61, s, dtype=torch.float64, generator=torch.Generator().manual_seed(s))
    estimate = estimates(z)
    promised.append(estimate.amax(-1))
    kept.append(by_hand[estimate.argmax(-1)])
    shared.append(estimates(z[:, :1].expand(-1, 61, -1)).amax(-1))  # the same draws at all places
best_kg = by_hand.max()
shown = {"estimate at the chosen place": promised, "the same, common draws": shared,
         "true KG of the chosen place": kept}
shown = {name: torch.stack(values).mean(1) / best_kg for name, values in shown.items()}
figure = plotting.curves(counts, shown, log="x", xlabel="drawn surprises s",
                         ylabel="KG / its true maximum")
figure.axes[0].set_xticks(counts.tolist(), [f"{s:.0f}" for s in counts])
figure.axes[0].minorticks_off()
teach.show(figure,
           "KG over its true maximum against the number of drawn surprises, mean of 100 runs: what "
           "an estimate promises at its own maximum falls from 2.8 to 1.2, with common draws it "
           "is close to 1 on average; the true KG of the places chosen rises from 0.8 towards 1.")

# %%
excess = promised[2] - kept[2]
teach.claim("8 draws: the estimate at the chosen place is too high, by more than a tenth of KG",
            (excess.mean() - 0.1 * best_kg) / (excess.std() / 10) > 5, kind="monte-carlo")
lost = best_kg - kept[0]
teach.claim("2 draws: the place chosen loses more than a twentieth of the best KG on average",
            (lost.mean() - best_kg / 20) / (lost.std() / 10) > 5, kind="monte-carlo")
teach.reveal("p4.t5.q3", "too high on average", because="the highest of 61 estimates is one whose "
             "draws came out high")

# %% [markdown]
# Common draws take most of the excess away: what is high at one place is then high at its rivals.
# (On average: a single run is still off.)
# The inner maximum adds a cost: on a box it is a search of its own for every draw.
# **One-shot** KG (Balandat et al., 2020) folds it into the outer search: the variables are $x$ and
# one place $x'_k$ for each of $s$ fixed surprises, and
#
# $$\frac1s \sum_k \Big[\mu(x'_k) + z_k\,
# \frac{\mathrm{cov}(x'_k, x)}{\sqrt{\sigma^2(x) + \sigma_n^2}}\Big]$$
#
# is maximised over all at once. Smooth, but in $1 + s$ places.

# %%
z8 = torch.special.ndtri((torch.arange(8, dtype=torch.float64) + 0.5) / 8)  # equally likely


def one_shot(u):
    """The objective at k sets of 9 places, k 9: x and what one would choose after each of z8."""
    joint = model.posterior(u.unsqueeze(-1))
    mean, covariance = joint.mean[..., 0], joint.covariance.reshape(-1, 9, 9)
    slope = covariance[:, 0, 1:] / (covariance[:, :1, 0] + noise_var).sqrt()
    return (mean[:, 1:] + z8 * slope).mean(-1)


def minus(u, rows):
    u = u.clone().requires_grad_()
    value = -one_shot(u)
    return value.detach(), torch.autograd.grad(value.sum(), u)[0]


# %%
starts = torch.rand(48, 9, dtype=torch.float64, generator=g)
end = lbfgs.minimize(minus, starts, 0.0, 1.0)
carried = -end.value
with torch.no_grad():
    fine = torch.linspace(0, 1, 501, dtype=torch.float64).unsqueeze(-1)
    after = []
    for u in end.x:  # the same x and surprises, each inner maximum looked for anew
        everywhere = torch.cat([fine, u.unsqueeze(-1)])
        joint = model.posterior(everywhere)
        covariance = joint.covariance.squeeze()[:, 501]
        slope = covariance / (covariance[501] + noise_var).sqrt()
        after.append((joint.mean[:, 0] + z8.unsqueeze(-1) * slope).amax(-1).mean())
    after = torch.stack(after)
teach.claim("48 ends: the value carried along is never above the inner maxima looked for anew",
            bool((carried <= after + 1e-9).all()), kind="theorem")
best_end = carried.argmax()
teach.claim("from starts at random, three ends in four are worse than the best one", kind="run",
            condition=bool((carried < carried.max() - 1e-3).double().mean() > 0.75))

# %% [markdown]
# Nine places at once have many local maxima; the best of 48 ends is still as good as any, as the
# next cell shows. (We began at random; libraries begin with places that look good after a fantasy.)
# The package's `qKnowledgeGradient` stays a function of $x$ alone: its places are the observed
# points, maxima of the mean and of sampled functions; and where its search ends, the maxima of that
# point's own fantasies join them (`optimize_knowledge_gradient`).

# %%
found = bl.optimize_knowledge_gradient(model, hills.bounds, seed=0)
judge = bl.qKnowledgeGradient(model, points=fine)  # exact KG over 501 places
with torch.no_grad():
    of_found, of_one_shot = judge(found.x), judge(end.x[best_end, :1].unsqueeze(-1))
    top = judge(fine.unsqueeze(1)).max()
teach.claim("one variable: the search finds the maximum of KG over the interval",
            bool(of_found > top - 1e-3 * top), kind="run")
print(f"true KG at the choices, of its maximum: one-shot {(of_one_shot / top).item():.2f}, "
      f"package {(of_found / top).item():.2f}")

# %% [markdown]
# ## 5. What an observation tells
#
# KG's currency is the outcome. Another is **information**: by how much does an observation shrink,
# on average, the **entropy** $H = -\mathbb{E} \log p$ of what we want to know? In nats: a normal
# has $\tfrac12 \log(2\pi e\,\sigma^2)$.
#
# Of interest is not all of $f$ but its maximum $f^*$ (**max-value entropy search**, MES; Wang &
# Jegelka, 2017). Information is symmetric: what $y$ at $x$ tells about $f^*$ is what $f^*$ tells
# about $y$, and easier. MES keeps of it $f(x) \le f^*$: a **ceiling**, at $\gamma = (f^* -
# \mu)/\sigma$ standard deviations. What $f^*$ says through other places is left out: MES gives the
# pilot almost nothing, as EI does.
#
# **Exercise 3.** The doubt that a ceiling leaves.

# %%
# exercise: p4.t5.e3

# %%
truncated_entropy = teach.yours("p4.t5.e3", truncated_entropy)
NORMAL = 0.5 * math.log(2 * math.pi * math.e)
gamma = torch.linspace(-6, 6, 49, dtype=torch.float64)
u = torch.linspace(0, 1, 4001, dtype=torch.float64)
f = gamma.unsqueeze(-1) - 16 * u.pow(3)  # below the ceiling, dense next to it
log_p = -0.5 * f * f - 0.5 * math.log(2 * math.pi) - torch.special.log_ndtr(gamma).unsqueeze(-1)
numeric = -torch.trapezoid(log_p.exp() * log_p * 48 * u.square(), u)
teach.claim("49 ceilings: the entropy by your formula and by a sum over the density",
            tolerance=1e-8, error=(truncated_entropy(gamma) - numeric).abs())
ratio = torch.exp(-0.5 * gamma.square() - torch.special.log_ndtr(gamma)) / math.sqrt(2 * math.pi)
formula = 0.5 * gamma * ratio - torch.special.log_ndtr(gamma)
teach.claim("what a ceiling tells about f is γλ/2 - log Φ, with λ = φ/Φ", tolerance=1e-8,
            error=(NORMAL - truncated_entropy(gamma) - formula).abs())
half = torch.zeros((), dtype=torch.float64)
print(f"a ceiling at the mean: {NORMAL - truncated_entropy(half):.4f} nats (log 2: half is ruled "
      "out)")

# %% [markdown]
# $\gamma\lambda/2 - \log\Phi$ is the formula of the MES paper. It speaks of $f(x)$. What we get is
# $y = f(x) + \text{noise}$.

# %%
teach.predict("p4.t5.q4", "The noise is as large as the doubt about f(x), the ceiling at the mean. "
              "What y tells about all of f is ½ log(1 + 1) = 0.347 nats; the formula gives "
              "0.693. So ...", ["f* is easier to learn than f", "the formula does not hold for y"],
              guess=None)

# %% [markdown]
# **Exercise 4.** Do it for $y$: one integral, over a smooth density.

# %%
# exercise: p4.t5.e4

# %%
noisy_information = teach.yours("p4.t5.e4", noisy_information)
one = torch.ones((), dtype=torch.float64)
print(f"told by y: {noisy_information(half, one):.4f} nats; GIBBON's bound "
      f"{gibbon_information(half, one):.4f}")
teach.claim("as much noise as doubt, ceiling at the mean: the formula exceeds ½ log 2, y does not",
            bool(formula[24] > 0.5 * math.log(2) > noisy_information(half, one)), kind="run")
pairs = torch.cartesian_prod(torch.linspace(-6, 6, 25), torch.logspace(-2, 2, 17)).double()
gamma, snr = pairs.T
mes = noisy_information(gamma, snr)
teach.claim("425 pairs: your integral is the package's", tolerance=1e-8,
            error=(mes - log_max_value_information(gamma, snr).exp()).abs())
teach.reveal("p4.t5.q4", "the formula does not hold for y", because="under any ceiling y keeps the "
             "entropy of its noise, so it cannot lose more than ½ log(1 + snr)")

# %% [markdown]
# A cheaper bound replaces the density of $y$ under a ceiling by a normal of the same variance,
# which has more entropy than any other density of that variance. What is left of the variance of a
# standard normal below $\gamma$ is $1 - \lambda(\gamma + \lambda)$, hence **GIBBON** (Moss et al.,
# 2021), with the share of signal $\rho^2 = \sigma^2/(\sigma^2 + \sigma_n^2)$:
#
# $$-\tfrac12 \log\big(1 - \rho^2\,\lambda(\gamma + \lambda)\big) .$$

# %%
draws = torch.randn(400_000, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
under = draws[draws < 0.5]
at_half = torch.tensor(0.5, dtype=torch.float64)
lam = torch.exp(-0.5 * at_half.square()) / math.sqrt(2 * math.pi) / torch.special.ndtr(at_half)
squares = (under - under.mean()).square()
errors = [(under.mean() + lam) / under.std(),
          (squares.mean() - 1 + lam * (0.5 + lam)) / squares.std()]
teach.claim("below a ceiling at 0.5: mean -λ and variance 1 - λ(γ + λ)", kind="monte-carlo",
            error=torch.stack(errors).abs() * math.sqrt(len(under)), tolerance=5)
ratio = torch.exp(-0.5 * gamma.square() - torch.special.log_ndtr(gamma)) / math.sqrt(2 * math.pi)
bound = -0.5 * torch.log1p(-snr / (1 + snr) * ratio * (gamma + ratio))
teach.claim("GIBBON by its formula is the package's", tolerance=1e-8,
            error=(bound - gibbon_information(gamma, snr)).abs())
teach.claim("0 ≤ GIBBON ≤ MES ≤ ½ log(1 + snr) (425 pairs)", kind="theorem", condition=bool(
    (bound >= -1e-12).all() and (bound <= mes + 2e-8).all()
    and (mes <= 0.5 * torch.log1p(snr) + 2e-8).all()))

# %% [markdown]
# ### f\* is not known
#
# So average over what it might be: draw functions from the belief and take their maxima. On a
# finite set of places one joint draw does it; on a box the package climbs sampled functions
# (`bl.sample_optima`).

# %%
eps = torch.randn(61, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
root = torch.linalg.cholesky(cov + 1e-9 * cov.diagonal().max() * torch.eye(61).double())
functions = mu.unsqueeze(-1) + root @ eps  # 61 64
tops, where = functions.max(0)
with torch.no_grad():
    variance = cov.diagonal()
    ceilings = (tops - mu.unsqueeze(-1)) / variance.sqrt().unsqueeze(-1)  # 61 64
    snr = (variance / noise_var).unsqueeze(-1).expand(61, 64).contiguous()
    by_hand_mes = noisy_information(ceilings, snr).mean(-1)
    theirs = bl.MaxValueEntropySearch(model, tops)(places.unsqueeze(1))
    teach.claim("MES at 61 places: the average of your information is bl.MaxValueEntropySearch",
                tolerance=1e-8, error=(by_hand_mes - theirs).abs())

# %% [markdown]
# One may ask for more than the height of the top. **Joint entropy search** (JES; Hvarfner et al.
# and Tu et al., 2022) asks for the pair $(x^*, f^*)$: each drawn function says where its top is and
# how high, the model is *conditioned* on that as on an observation without noise, and then cut off
# at $f^*$, again with a normal of the same variance in place of the density.
#
# ## 6. Five rules, one belief
#
# The same eight data, believed to have a noise of standard deviation 0.1, and of 2.

# %%
teach.predict("p4.t5.q5", "Noise 2: at the place where the mean is highest today, which rule is "
              "furthest below its own maximum?", ["EI", "KG", "MES"], guess=None)

# %%
line = torch.linspace(0, 1, 241, dtype=torch.float64)
models, scores = {}, {}
for noise in (0.1, 2.0):
    each = bl.ExactGP(X, Y, hills.bounds, noise_var=noise**2,
                      kernel=MaternKernel(nu=2.5, ard_num_dims=1))
    each = each.with_hyperparameters(**model.hyperparameters())
    optima = bl.sample_optima(each, hills.bounds, 64, seed=0)
    arms = {"EI": bl.ExpectedImprovement(each, best_f=bl.incumbent(each, X).value),
            "KG": bl.qKnowledgeGradient(each, points=places),
            "MES": bl.MaxValueEntropySearch(each, optima.value),
            "JES": bl.JointEntropySearch(each, optima.x, optima.value), "BALD": bl.BALD(each)}
    models[f"noise {noise:g}"] = each
    with torch.no_grad():
        scores[f"noise {noise:g}"] = {name: acq(line.view(-1, 1, 1)) for name, acq in arms.items()}
teach.show(plotting.rules(models, line, scores, xlabel="x"),
           "Two beliefs from eight data, with noise 0.1 and 2, and below each EI, KG, MES, JES "
           "and BALD over their maxima. All but BALD peak between x = 0.72 and 0.75, right of the "
           "highest datum; BALD is high between the data and low at them. With noise 2, at the "
           "datum x = 0.68, KG dips nearly to 0, while EI is at three quarters of its maximum.")

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    top_mean = models["noise 2"].posterior(line.unsqueeze(-1)).mean[:, 0].argmax()
    sharp = models["noise 0.1"].posterior(line.unsqueeze(-1)).mean[:, 0].argmax()
there = {name: (v[top_mean] / v.max()).item() for name, v in scores["noise 2"].items()}
print(f"noise 2, x = {line[top_mean]:.2f}:", {k: f"{share:.0%}" for k, share in there.items()})
other = {name: (v[sharp] / v.max()).item() for name, v in scores["noise 0.1"].items()}
print(f"noise 0.1, x = {line[sharp]:.2f}:", {k: f"{share:.0%}" for k, share in other.items()})
teach.claim("noise 0.1, at the highest mean: KG is above two thirds of its maximum, EI below half",
            other["KG"] > 2 / 3 and other["EI"] < 0.5, kind="run")
teach.claim("noise 2, at the highest mean: EI is above half of its maximum, KG below a fifth",
            there["EI"] > 0.5 and there["KG"] < 0.2, kind="run")
teach.claim("MES and JES are at most BALD: under any ceiling y keeps the variance of its noise",
            kind="theorem", condition=all(bool((v[name] <= v["BALD"] + 1e-12).all())
                                          for v in scores.values() for name in ("MES", "JES")))
teach.reveal("p4.t5.q5", "KG", because="so near the datum at 0.68, a noisy repeat moves the whole "
             "top and hardly its place; with noise 0.1 it is EI that is lowest there")

# %% [markdown]
# | rule | what an observation at $x$ is valued for |
# |---|---|
# | EI | the outcome itself, above the best so far |
# | KG | the highest *mean* afterwards, anywhere |
# | MES, GIBBON | information about $f^*$, as far as $f(x) \le f^*$ carries it |
# | JES | information about $(x^*, f^*)$ |
# | BALD (Houlsby et al., 2011) | information about all of $f$: the doubt itself |
#
# ## 7. Is looking ahead better?
#
# Branin's function with noise of standard deviation 2, five starting points, ten evaluations, 16
# runs. All arms hand over the place where the posterior mean is highest, observed or not, so
# inference regret is what counts. To save time GIBBON and KG are searched with fewer restarts and
# samples than LogEI.


# %%
class Scattered(EntropySearch):
    """Random places, but the same recommendation as the others."""

    def __call__(self, data, bounds, q, seed):
        return bl.strategies.random(data, bounds, q, seed)


log_ei, gibbon = bl.strategies.log_ei.acquisition, bl.strategies.gibbon.acquisition
quick: dict[str, Any] = {"num_restarts": 4, "raw_samples": 64}
arms = {"LogEI": EntropySearch(log_ei), "GIBBON": EntropySearch(gibbon, **quick),
        "KG": KnowledgeGradient(num_paths=8, rounds=(2,), **quick), "random": Scattered(log_ei)}
race = bl.study(bl.problems.Branin(noise_std=2.0), arms, n_init=5, n_iter=10, replicates=16, seed=0)
figure = plotting.regret_bands(race, kind="inference")
figure.axes[0].set(ylim=(0.05, 200))
teach.show(figure, "Inference regret on noisy Branin over 15 evaluations, median and quartiles of "
           "16 runs: LogEI, GIBBON and KG come down from 8 to between 0.7 and 1.7, "
           "their bands lying over one another; random places end near 4, in a band that overlaps "
           "theirs.")

# %% tags=["nbval-ignore-output"]
final = {name: race.scores(name, kind="inference") for name in arms}  # log10 of regret
for name in ("KG", "GIBBON"):
    teach.undecided(f"noisy Branin, 10 evaluations: whether {name} ends below LogEI",
                    str(stats.verdict(final["LogEI"] - final[name])))
for name in ("LogEI", "KG", "GIBBON"):
    print(f"{name} against random:", stats.verdict(final["random"] - final[name]))

# %% [markdown]
# "Looking ahead is always better" is not what the runs say. Sixteen runs of ten evaluations do not
# even tell the rules from random places, far less from each other; and this is one function. It is
# expected to pay where EI's question is the wrong one: where a cheap approximation can be asked
# instead of the truth (tutorial 6.3), where repeating a measurement is a choice (tutorial 6.1), or
# where what is measured is not what is sold.
#
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. Two lines tie for the best today and have different slopes. A third is far below. What is KG,
#    and what happens to it as the noise grows?
# 2. Why may the noise-free MES formula not be used for a noisy observation, and which inequality
#    shows it?
# 3. Your maximum of an acquisition sampled anew at each place is 0.8. Is the true value there
#    likely above or below, and how would you find out?
#
# **So, what is an evaluation worth if it changes what I believe elsewhere?** As much as the best
# decision after it is better, on average, than the best one now: for a Gaussian process with fixed
# hyperparameters, one observation and finitely many choices an area under lines, exactly. Or, in
# another currency, the nats that it tells about the top, of which MES counts those at $x$ itself.
#
# **The same in BoTorch** (on the belief of section 2):
#
# ```python
# from botorch.acquisition import qKnowledgeGradient
# from botorch.acquisition.max_value_entropy_search import qLowerBoundMaxValueEntropy
# from botorch.models import SingleTaskGP
# from botorch.models.transforms import Normalize
# from botorch.sampling import SobolQMCNormalSampler
#
# fitted_here = model.hyperparameters()
# known = torch.full_like(Y, noise_var)
# theirs = SingleTaskGP(X, Y, known, covar_module=MaternKernel(nu=2.5, ard_num_dims=1),
#                       input_transform=Normalize(d=1, bounds=hills.bounds))
# theirs.covar_module.lengthscale = fitted_here["lengthscale"]
# theirs.mean_module.constant = fitted_here["mean"]
# gibbon_there = qLowerBoundMaxValueEntropy(theirs, places)  # with f* by Gumbel, from 61 places
# gibbon_there.posterior_max_values = tops.unsqueeze(-1)  # or with our draws
# told_there = gibbon_there(places.unsqueeze(1))
# one_shot_there = qKnowledgeGradient(theirs, num_fantasies=64,
#                                     sampler=SobolQMCNormalSampler(torch.Size([64]), seed=0),
#                                     current_value=mu.max())
# kg_there = one_shot_there.evaluate(places[at : at + 1], bounds=hills.bounds, num_restarts=4,
#                                    raw_samples=64)  # each inner maximum searched
# ```
#
# ## Sources
#
# - P. I. Frazier, W. B. Powell, S. Dayanik, "The knowledge-gradient policy for correlated normal
#   beliefs", *INFORMS Journal on Computing* 21 (2009),
#   [doi:10.1287/ijoc.1080.0314](https://doi.org/10.1287/ijoc.1080.0314): the envelope of lines.
# - W. Scott, P. Frazier, W. Powell, "The correlated knowledge gradient for simulation optimization
#   of continuous parameters using Gaussian process regression", *SIAM Journal on Optimization* 21
#   (2011), [doi:10.1137/100801275](https://doi.org/10.1137/100801275).
# - M. Balandat et al., "BoTorch: a framework for efficient Monte-Carlo Bayesian optimization",
#   *NeurIPS* (2020), [arXiv:1910.06403](https://arxiv.org/abs/1910.06403): one-shot KG.
# - Z. Wang, S. Jegelka, "Max-value entropy search for efficient Bayesian optimization", *ICML*
#   (2017), [arXiv:1703.01968](https://arxiv.org/abs/1703.01968).
# - S. Takeno et al., "Multi-fidelity Bayesian optimization with max-value entropy search and its
#   parallelization", *ICML* (2020), [arXiv:1901.08275](https://arxiv.org/abs/1901.08275): the
#   information in a noisy observation.
# - H. B. Moss, D. S. Leslie, J. Gonzalez, P. Rayson, "GIBBON: general-purpose information-based
#   Bayesian optimisation", *JMLR* 22 (2021), [arXiv:2102.03324](https://arxiv.org/abs/2102.03324).
# - C. Hvarfner, F. Hutter, L. Nardi, "Joint entropy search for maximally-informed Bayesian
#   optimization", *NeurIPS* (2022), [arXiv:2206.04771](https://arxiv.org/abs/2206.04771).
# - B. Tu, A. Gandy, N. Kantas, B. Shafei, "Joint entropy search for multi-objective Bayesian
#   optimization", *NeurIPS* (2022), [arXiv:2210.02905](https://arxiv.org/abs/2210.02905).
# - N. Houlsby, F. Huszár, Z. Ghahramani, M. Lengyel, "Bayesian active learning for classification
#   and preference learning" (2011), [arXiv:1112.5745](https://arxiv.org/abs/1112.5745): BALD.
