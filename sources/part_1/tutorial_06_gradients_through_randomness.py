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
# # Part 1, tutorial 6: gradients through randomness
#
# **How do you differentiate an average over random numbers?**
#
# > **Before you start:** tutorials 1 to 5; the normal distribution, covariances, standard errors.
# >
# > **Time:** 50 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - write a random draw as a function, and send a gradient through it to mean and covariance;
# > - estimate a gradient in two ways, and tell which is the sharper one;
# > - turn a noisy average into a smooth function that a descent can follow;
# > - recognise the averages through which no gradient passes;
# > - replace random numbers by even ones, and measure what that saves.
# >
# > **You will build** `reparam_normal`, `score_grad`, `mc_ei` and `sobol_normal`.

# %%
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import grad
from torch.distributions import Normal
from torch.quasirandom import SobolEngine

import bolearn as bl
from bolearn import dynamics, numerics, plotting, teach
from bolearn.posteriors import GaussianPosterior

teach.setup("p1.t6")

# %% [markdown]
# ## 1. An archer in the wind
#
# An archer aims at $\mu$, in metres to the right of the target. A gust carries the arrow off: it
# lands at a random $x$, normal with mean $\mu$ and standard deviation $\sigma$. The shot costs
# $f(x) = x^2$. Which aim has the smallest cost on average? That asks for the gradient of an
# average, $\nabla_\mu\, \mathbb{E} f(x)$. Here we know it: $\mathbb{E}\, x^2 = \mu^2 + \sigma^2$
# has the slopes $2\mu$ and $2\sigma$.

# %%
g = torch.Generator().manual_seed(0)
aim = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
spread = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
teach.predict("p1.t6.q1", "x = torch.normal(aim, ...) draws 1000 arrows; x.square().mean() has a "
              "backward. It leaves in aim.grad ...", ["about 6", "0", "nothing: an error"],
              guess=None)

# %%
x = torch.normal(aim.expand(1000), 1.0, generator=g)
x.square().mean().backward()
print("a gradient arrived:", x.requires_grad, "  its value:", aim.grad.item())
teach.claim("the gradient through torch.normal is exactly zero", aim.grad.item() == 0, kind="run")
teach.reveal("p1.t6.q1", "0", because="to torch the draw is a number that came from nowhere")

# %% [markdown]
# A draw hides how the aim moved the arrow. So we write it down. Let the gust be $\varepsilon$,
# standard normal, the same whatever the archer does:
#
# $$x = \mu + \sigma\,\varepsilon .$$
#
# The arrow is now an ordinary function of aim, spread and gust, and no randomness is left in it.
#
# ## 2. Move the aim, and every arrow moves along
#
# For a given gust the cost has a slope: $f'(x)$ in $\mu$ and $f'(x)\,\varepsilon$ in $\sigma$, by
# the chain rule. The average of these slopes is the slope of the average, if $f$ does not jump
# (section 7): the **pathwise gradient** (writing the draw this way is called
# *reparameterisation*).

# %%
def standard_errors(values, truth):
    """How many standard errors the mean over the first axis is away from the truth."""
    return (values.mean(0) - truth).abs() / (values.std(0) / len(values) ** 0.5)


eps = torch.randn(100_000, generator=g, dtype=torch.float64)
x = aim + spread * eps
slopes = torch.stack(grad(x.square().mean(), (aim, spread)))
by_hand = torch.stack([2 * x, 2 * x * eps], dim=-1).detach()  # one row for each arrow
print("in the aim and in the spread:", [round(slope, 1) for slope in slopes.tolist()])
teach.claim("backward through μ + σε averages the slopes of single arrows",
            error=(slopes - by_hand.mean(0)).abs(), tolerance=1e-12)
teach.claim("pathwise gradients are 2μ and 2σ, within 5 standard errors", tolerance=5,
            error=standard_errors(by_hand, torch.tensor([6.0, 2.0])), kind="monte-carlo")

# %% [markdown]
# ## 3. Gusts from every side
#
# Two archers stand next to each other: their arrows meet *similar* gusts. In tutorial 1 a kernel
# matrix $K = L L^\top$ described similarity ($L$ is its Cholesky factor here, no eigenvalue as in
# tutorial 3); with $\varepsilon$ a vector of independent normals,
#
# $$x = \mu + L\,\varepsilon \quad\text{has the covariance}\quad
# \mathbb{E}\,(x - \mu)(x - \mu)^\top = L\, \mathbb{E}[\varepsilon\varepsilon^\top] L^\top
# = L L^\top .$$
#
# **Exercise 1.** Many archers, many samples.

# %%
# exercise: p1.t6.e1

# %% [markdown]
# Let the kernel be $k = e^{-r^2/2\ell^2}$, for archers $r$ apart and gusts of width $\ell$. How
# does the average of the *larger* of two $x$, both with mean 0, depend on that width? The gradient
# has to pass through the Cholesky factor. A closed form tests it: $\sqrt{(1-k)/\pi}$. The package
# keeps such a distribution as a `GaussianPosterior`, made `from_moments`, a mean and a covariance;
# its `rsample` turns standard normals, the *base samples*, into draws and lets gradients through.

# %%
ell = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
places = torch.tensor([0.0, 1.0], dtype=torch.float64)  # r = 1


def gusty(ell, eps):
    """s 2 -> s 2: where both arrows land, the kernel matrix, and its factor."""
    K = torch.exp(-(places.unsqueeze(-1) - places).square() / (2 * ell**2))
    L = torch.linalg.cholesky(K)
    return eps @ L.T, K, L


eps = torch.randn(100_000, 2, generator=g, dtype=torch.float64)
x, K, L = gusty(ell, eps)
products = x.unsqueeze(-1) * x.unsqueeze(-2)  # s 2 2
teach.claim("the covariance of Lε is LLᵀ, within 5 standard errors", kind="monte-carlo",
            error=standard_errors(products.detach(), K.detach()), tolerance=5)
belief = GaussianPosterior.from_moments(torch.zeros(2, 1).double(), K.detach().unsqueeze(0))
teach.claim("the package's rsample draws the same from the same gusts", tolerance=1e-12,
            error=(belief.rsample(eps.unsqueeze(-1)).squeeze(-1) - x).detach().abs())

# %%
groups = x.amax(-1).reshape(100, 1000).mean(-1)  # 100 averages, so as to see their spread
measured = torch.stack([grad(mean, ell, retain_graph=True)[0] for mean in groups])
(exact,) = grad(((1 - K[0, 1]) / math.pi).sqrt(), ell)
print(f"slope in the width: {measured.mean().item():.2f}")
teach.claim("through Cholesky, the gradient in ℓ is that of the closed form, within 5 standard "
            "errors", error=standard_errors(measured, exact), tolerance=5, kind="monte-carlo")

# %% [markdown]
# ## 4. Leave the arrows where they are
#
# A second way. Nothing moves; a new aim only changes how *probable* each landing place was. With
# $p$ the density of $x$,
#
# $$\nabla_\mu \int f(x)\,p(x)\,\mathrm{d}x = \int f(x)\,\nabla_\mu p(x)\,\mathrm{d}x
# = \mathbb{E}\left[f(x)\,\nabla_\mu \log p(x)\right] .$$
#
# $\nabla_\mu \log p$ is called the **score** (not a classifier's score, as in tutorial 3); for our
# normal it is $(x - \mu)/\sigma^2 = \varepsilon/\sigma$. So, with $\sigma = 1$, multiply each cost
# by its gust, and average: the **score-function gradient**. It needs values of $f$ alone, so $f$
# may be a black box.

# %%
eps = torch.randn(10_000, generator=g, dtype=torch.float64)
x = (aim + eps).detach()  # the arrows stay
cost = x.square()
(through_log,) = grad((cost * Normal(aim, 1.0).log_prob(x)).mean(), aim)
teach.claim("the gradient of the mean of f log p is the mean of f ε",
            error=(through_log - (cost * eps).mean()).abs(), tolerance=1e-12)
teach.claim("the score-function gradient is 2μ, within 5 standard errors",
            error=standard_errors(cost * eps, 6.0), tolerance=5, kind="monte-carlo")

# %% [markdown]
# **Exercise 2.** The gradient of anything.

# %%
# exercise: p1.t6.e2

# %% [markdown]
# ## 5. A race
#
# Both are right on average. But how far does a single estimate lie off?

# %%
teach.predict("p1.t6.q2", "Aim 3, spread 1: the score function's variance is how many times the "
              "pathwise one?", ["about the same", "about 5 times", "more than 50 times"],
              guess=None)

# %%
estimates = {}
for center in (1.0, 3.0):
    eps = torch.randn(100, 4000, generator=g, dtype=torch.float64)
    x = center + eps  # 4000 estimates from 100 arrows each
    estimates[f"aim {center:.0f} m"] = {"pathwise": (2 * x).mean(0),
                                        "score function": (x**2 * eps).mean(0)}
figure = plotting.estimate_histograms(
    estimates, {"aim 1 m": 2.0, "aim 3 m": 6.0}, limits=(-4, 12),
    xlabel="gradient from 100 arrows (m)", ylabel="density (1/m)",
)
teach.show(figure, "Histograms of gradients from 100 arrows each: the pathwise ones stand in a "
           "narrow peak around the truth; those of the score function spread more than twice as "
           "far with aim 1, and seven times as far with aim 3.")

# %% [markdown]
# Expanding $(\mu + \varepsilon)^2\varepsilon$, with the normal moments 1, 3 and 15 of
# $\varepsilon^2$, $\varepsilon^4$ and $\varepsilon^6$, gives the variance
# $\mu^4 + 14\mu^2 + 15$. The pathwise $2x$ has 4, wherever one aims.

# %%
eps = torch.randn(2_000_000, generator=g, dtype=torch.float64)
for center in (1.0, 3.0):
    x = center + eps
    values = torch.stack([2 * x, x**2 * eps, (x**2 - center**2 - 1) * eps], dim=-1)
    formulas = torch.tensor([4.0, center**4 + 14 * center**2 + 15, 8 * center**2 + 10])
    squares = (values - 2 * center).square()
    numbers = [f"{number:.0f}" for number in formulas.tolist()]
    print(f"aim {center:.0f}: pathwise {numbers[0]}, score function {numbers[1]}, "
          f"score function of f - E f {numbers[2]}")
    teach.claim(f"aim {center:.0f}: the variances are {', '.join(numbers)}, within 5 standard "
                "errors and 5 %", bool(((squares.mean(0) / formulas - 1).abs() < 0.05).all()),
                error=standard_errors(squares, formulas), tolerance=5, kind="monte-carlo")
teach.reveal("p1.t6.q2", "more than 50 times", because="the score multiplies gusts by whole costs")

# %% [markdown]
# At aim 3, 222 against 4: for the same accuracy the score function needs some 55 times as many
# arrows. (Subtracting a constant from $f$, a *baseline*, leaves its average right, since
# $\mathbb{E}\,\varepsilon = 0$; with $\mathbb{E} f$ it brings 222 down to 82.) Is pathwise always
# the sharper one?

# %%
x = 3 + eps
wiggly = {"pathwise": -20 * (20 * x).sin(), "score function": (20 * x).cos() * eps}
for name, values in wiggly.items():
    print(f"f = cos(20 x), {name}: variance about {values.var().item():.1f}")
teach.claim("for f = cos(20 x) the pathwise variance is more than 100 times that of the score "
            "function", bool(wiggly["pathwise"].var() > 100 * wiggly["score function"].var()),
            kind="monte-carlo")

# %% [markdown]
# No: steep wiggles that average out make the slopes of single arrows large. For costs that are
# smooth at the scale of the gusts, pathwise usually wins.
#
# ## 6. Replay the same gusts
#
# Right of the target stands a greenhouse. The cost is now $f(x) = e^x - 1 - x$, and
# $\mathbb{E} f(x) = e^{\mu + \sigma^2/2} - 1 - \mu$ is smallest at $\mu = -\sigma^2/2$: with
# $\sigma = 1$, half a metre to the left. Can our archer find this by trial? She shoots 100 arrows
# at each of many aims; then she records 100 gusts once, and *replays* them at every aim.

# %%
teach.predict("p1.t6.q3", "With replayed gusts the curve of average costs becomes ...",
              ["smooth and right", "smooth, and as wrong as before", "as rough as before"],
              guess=None)

# %%
def greenhouse(x):
    return x.exp() - 1 - x


aims = torch.linspace(-2, 1, 151, dtype=torch.float64)
fresh = torch.randn(100, 1, 151, generator=g, dtype=torch.float64)  # gusts of its own for each aim
recorded = torch.randn(100, 3, 1, generator=g, dtype=torch.float64)  # the same for all aims
truth = (aims + 0.5).exp() - 1 - aims
panes = {"fresh gusts at every aim": (truth, greenhouse(aims + fresh).mean(0)),
         "replayed: three recordings": (truth, greenhouse(aims + recorded).mean(0))}
figure = plotting.averages(aims, panes, xlabel="aim (m)", ylabels=["average cost of 100 arrows"])
teach.show(figure, "Average cost against the aim. With fresh gusts a jagged line jumps about the "
           "true curve; each of three smooth curves of replayed gusts crosses it once or not at "
           "all, and their marked minima lie up to 0.3 m from the true one at -0.5.")

# %% [markdown]
# The replayed curves are functions like any other: tutorial 1.3's central difference works on them.
# But are they closer to the truth? At the aim $-\frac12$ the cost is 0.5 on average and has the
# variance $e - 2$. We let 500 archers measure it both ways.

# %%
gusts = torch.randn(100, 500, 1, generator=g, dtype=torch.float64)  # 500 archers' recordings


def replay(mu):
    """500 1 -> 500: the average cost of 100 recorded gusts."""
    return greenhouse(mu + gusts).mean(0).squeeze(-1)


def shoot(mu):
    """The same with fresh gusts."""
    fresh = torch.randn(gusts.shape, generator=g, dtype=torch.float64)
    return greenhouse(mu + fresh).mean(0).squeeze(-1)


def quotient(cost, mu, h):
    return (cost(mu + h) - cost(mu - h)) / (2 * h)


mu = torch.full((500, 1), -0.5, dtype=torch.float64, requires_grad=True)
(slope,) = grad(replay(mu).sum(), mu)
teach.claim("with replayed gusts, autograd agrees with central differences", tolerance=1e-6,
            error=(slope.squeeze(-1) - quotient(replay, mu, 1e-4)).detach().abs())

# %%
mu = mu.detach()
costs = torch.cat([
    greenhouse(torch.randn(100, 40_000, generator=g, dtype=torch.float64) - 0.5).mean(0)
    for _ in range(5)
])  # the averages of 200,000 archers
teach.claim("fresh or recorded, the squared error of 100 gusts is (e - 2)/100, within 5 standard "
            "errors", tolerance=5, kind="monte-carlo",
            error=standard_errors((costs - 0.5).square(), (math.e - 2) / 100))
rough, smooth = quotient(shoot, mu, 0.01).std(), quotient(replay, mu, 0.01).std()
print(f"slopes, by differences over 2 cm: fresh ± {rough.item():.0f}, "
      f"replayed ± {smooth.item():.1f}")
teach.claim("differences of fresh averages spread more than 20 times as far", kind="monte-carlo",
            condition=bool(rough > 20 * smooth))
teach.reveal("p1.t6.q3", "smooth, and as wrong as before", because="replayed errors move together")

# %% [markdown]
# A recording errs at neighbouring aims alike, so that its error nearly *cancels* in differences,
# and these are what an optimiser looks at. This is the method of **common random numbers**. All 500
# archers now descend on their own curves.

# %%
start = torch.ones(500, 1, dtype=torch.float64)
settled = dynamics.trace_gd(replay, start, lr=0.3, steps=200)
restless = dynamics.trace_gd(shoot, start, lr=0.3, steps=200)
ends = settled.points[-1]
for name, path in {"replayed": settled, "fresh": restless}.items():
    place, rest = path.points[-1], bool(path.gradients[-1].abs().max() < 1e-9)
    print(f"{name:8} ends at {place.mean().item():.1f} ± {place.std().item():.2f} m, "
          f"{'at rest' if rest else 'still moving'}")
teach.claim("replayed gusts: every descent ends where its own curve has slope 0, -log mean exp(ε)",
            error=(ends + gusts.exp().mean(0).log()).abs(), tolerance=1e-10)
many = torch.cat([torch.randn(100, 40_000, generator=g, dtype=torch.float64).exp().mean(0).log()
                  for _ in range(5)])  # the ends of 200,000 archers, by the formula just tested
misses = 100 * (0.5 - many).square()
error = 5 * misses.std() / len(misses) ** 0.5
print(f"100 times the mean squared miss: {misses.mean().item():.2f}, e - 1 = {math.e - 1:.2f}")
teach.claim("100 times their mean squared distance from -1/2 is e - 1 to leading order: less than "
            "that, by at most 5 %, by 5 standard errors either way", kind="monte-carlo",
            condition=bool(0.95 * (math.e - 1) + error < misses.mean() < math.e - 1 - error))
teach.claim("fresh gusts: the last gradients are not zero",
            bool(restless.gradients[-1].abs().median() > 0.01), kind="monte-carlo")
squared = [(path.points[-1] + 0.5).square().mean() for path in (restless, settled)]
teach.claim("and yet these ends are nearer to -1/2: less than half the mean square",
            bool(2 * squared[0] < squared[1]), kind="monte-carlo")

# %% [markdown]
# In fairness: the restless archers end *nearer* to $-\frac12$. They have shot 20,000 arrows each
# instead of 100. What a recording buys is a function: descents stop, methods that build on
# differences (Part 2) work, and two aims are compared fairly.
#
# ## 7. Hit or miss
#
# Suppose the archer, still with $\sigma = 1$, only counts: 1 if the arrow stays left of the wall
# at $c = 1$, else 0. The average is $\Phi(c - \mu)$, with the distribution function $\Phi$ of the
# normal, and has the slope $-\varphi(c - \mu)$, with its density $\varphi$.

# %%
c = 1.0
eps = torch.randn(100_000, generator=g, dtype=torch.float64)
aim = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
x = aim + eps
teach.claim("x < c leaves no graph at all", not (x < c).double().requires_grad, kind="run")
teach.predict("p1.t6.q4", "(1 + sign(c - x)) / 2 is 1 or 0 as well, and has a graph. Its pathwise "
              "gradient at aim -1/2, where the truth is -0.13?", ["about -0.13", "0", "an error"],
              guess=None)

# %%
def density(z):
    """φ, of the standard normal."""
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


few = torch.tensor([-1.305, -0.605, 0.195, 0.705, 1.395], dtype=torch.float64).unsqueeze(-1)
aims = torch.linspace(-2, 4, 601, dtype=torch.float64)
z = c - aims  # standard deviations from the aim to the wall
hinge = z * torch.special.ndtr(z) + density(z)
corners = ((c - few.flatten() + 2) * 100).ceil().int().tolist()  # where an arrow meets the wall
panes = {"average of 1 if x < c, else 0": (torch.special.ndtr(z), (aims + few < c).double()),
         "average of max(0, c - x)": (hinge, (c - aims - few).clamp(min=0))}
panes = {title: (truth, values.mean(0, keepdim=True)) for title, (truth, values) in panes.items()}
figure = plotting.averages(
    aims, panes, xlabel="aim (m)", ylabels=["share of arrows", "distance left of c (m)"],
    marks={title: [corners] for title in panes}, label="5 replayed gusts",
)
teach.show(figure, "Two averages over five replayed gusts against the aim, beside the true "
           "curves, with dots where an arrow meets the wall. Counting gives a staircase of flat "
           "steps; the distance gives a chain of straight pieces without jumps.")

# %%
hits = (1 + torch.sign(c - x)) / 2
(pathwise,) = grad(hits.mean(), aim)
shares = [(aim.detach() + h + eps < c).double().mean() for h in (-1e-7, 1e-7)]
teach.claim("the pathwise gradient of hit or miss is exactly 0", pathwise.item() == 0, kind="run")
teach.claim("so is a central difference, with replayed gusts and a step of 1e-7",
            torch.equal(*shares), kind="run")
teach.claim("the score function finds -φ(c - μ), within 5 standard errors", kind="monte-carlo",
            error=standard_errors(hits.detach() * eps, -density(c - aim.detach())), tolerance=5)
teach.reveal("p1.t6.q4", "0", because="every step of the staircase is flat")

# %% [markdown]
# The staircase stands for a smooth curve, and *its* slope is indeed zero: no check of backward
# against differences complains while its step passes no arrow (one of 0.01 passes hundreds). All
# change is in the jumps, and slopes do not see jumps. Pathwise gradients need an $f$ without jumps
# (and with slopes that have an average). Kinks, as in the right picture, do no harm: the chance
# that an arrow lands exactly on one is zero. (*Second* derivatives do suffer: the slope jumps
# there.)
#
# A remedy is to soften the step: $\Phi((c - x)/\tau)$ for $1\{x < c\}$, with a width $\tau$. Its
# average is $\Phi((c - \mu)/\sqrt{1 + \tau^2})$; as $\tau$ goes to 0 the bias vanishes and the
# spread grows.

# %%
tau = 0.5
soft = torch.special.ndtr((c - x) / tau)
slopes = -density((c - x.detach()) / tau) / tau  # of single arrows
width = math.hypot(1, tau)
z = c - aim.detach()
print(f"slope {-(density(z / width) / width).item():.3f} instead of {-density(z).item():.3f}")
teach.claim("backward through the softened step averages these slopes", tolerance=1e-12,
            error=(grad(soft.mean(), aim)[0] - slopes.mean()).abs())
teach.claim("the softened step has the slope -φ(z/√(1 + τ²))/√(1 + τ²), z = c - μ, within 5 "
            "standard errors", error=standard_errors(slopes, -density(z / width) / width),
            tolerance=5, kind="monte-carlo")

# %% [markdown]
# ## 8. What may this measurement gain?
#
# Replace the archer by an experiment. The best result so far is $b$, and here small is good (Parts
# 1 and 2 minimise). For an untried recipe a model expects $x$, normal with $\mu$ and $\sigma$.
# It gains $\max(0, b - x)$: never less than nothing, since one may keep the old recipe. The average
# gain is the **expected improvement**, with $z = (b - \mu)/\sigma$,
#
# $$\mathrm{EI} = \mathbb{E} \max(0, b - x) = \sigma\,(z\,\Phi(z) + \varphi(z)), \qquad
# \frac{\partial\,\mathrm{EI}}{\partial\mu} = -\Phi(z), \quad
# \frac{\partial\,\mathrm{EI}}{\partial\sigma} = \varphi(z) .$$
#
# The package computes $z\,\Phi(z) + \varphi(z)$ by its logarithm, `numerics.log_h`, which stays
# finite where the value itself is too small for float64.
#
# **Exercise 3.** As an average over gusts, for many recipes at once.

# %%
# exercise: p1.t6.e3

# %%
def expected_improvement(mu, sigma, best):
    z = (best - mu) / sigma
    return sigma * (z * torch.special.ndtr(z) + density(z))


mu = torch.tensor([-0.5, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
sigma = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
best = 0.0
z = ((best - mu) / sigma).detach()
exact = expected_improvement(mu, sigma, best)
slopes = -torch.special.ndtr(z), density(z)
teach.claim("the closed form has the slopes -Φ(z) and φ(z)", tolerance=1e-12,
            error=(torch.stack(grad(exact.sum(), (mu, sigma))) - torch.stack(slopes)).abs())
teach.claim("it is what the package computes by log_h", tolerance=1e-12,
            error=(exact - sigma * numerics.log_h(z).exp()).detach().abs())

# %%
eps = torch.randn(100, 1000, 1, generator=g, dtype=torch.float64)
groups = (best - mu - sigma * eps).clamp(min=0).mean(1)  # 100 averages of 1000 gusts
pulls = [torch.stack(grad(group.sum(), (mu, sigma), retain_graph=True)) for group in groups]
teach.claim("the average of max(0, b - x) is EI, within 5 standard errors", kind="monte-carlo",
            error=standard_errors(groups, exact).detach(), tolerance=5)
teach.claim("its pathwise gradients are -Φ(z) and φ(z), within 5 standard errors", tolerance=5,
            error=standard_errors(torch.stack(pulls), torch.stack(slopes)), kind="monte-carlo")

# %% [markdown]
# So Part 4 can choose experiments by gradients even where no closed form exists: for the best of
# several recipes tried at once, say.
#
# ## 9. Even gusts
#
# Throw 256 points into a square of 16 × 16 cells: on average one each.

# %%
teach.predict("p1.t6.q5", "256 random points, 256 cells: how many cells stay empty?", guess=None)

# %%
box = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
clouds = {"random": torch.rand(256, 2, generator=g, dtype=torch.float64),
          "Sobol": bl.sobol_points(box, 256, seed=0)}
named = {f"256 {name} points": points for name, points in clouds.items()}
teach.show(plotting.points_in_cells(named, 16),
           "Two squares of 16 by 16 cells with 256 points each: the random points form clumps and "
           "leave gaps; of the Sobol points every cell holds one.")

# %%
def empty_cells(points, rows=16):
    """... 256 2 -> ...: how many of rows x (256 / rows) cells hold no point."""
    columns = 256 // rows
    cell = (points[..., 0] * rows).floor() * columns + (points[..., 1] * columns).floor()
    found = torch.zeros(*points.shape[:-2], 256).scatter(-1, cell.long(), 1.0)
    return 256 - found.sum(-1)


many = torch.rand(200, 256, 2, generator=g, dtype=torch.float64)
teach.claim("random points leave 256 (255/256)²⁵⁶ cells empty, about 94, within 5 standard errors",
            error=standard_errors(empty_cells(many), 256 * (255 / 256) ** 256), tolerance=5,
            kind="monte-carlo")
teach.claim("256 Sobol points leave none, for 30 seeds and any of nine ways to cut the square into "
            "256 boxes with sides that are powers of 1/2", kind="theorem",
            condition=all(empty_cells(bl.sobol_points(box, 256, seed=seed), 2**k) == 0
                          for k in range(9) for seed in range(30)))
cube = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, 10)
ten = bl.sobol_points(cube, 256, seed=0)
pairs = [(i, j) for j in range(10) for i in range(j)]
left_out = sum(int(empty_cells(ten[:, list(pair)]) > 0) for pair in pairs)
slabs = (ten[:, :2] * torch.tensor([15, 17])).floor().unique(dim=0)  # 15 by 17 = 255 boxes
print(f"10 coordinates: {left_out} of 45 pairs have empty 16 by 16 cells; of 15 by 17 boxes, "
      f"{255 - len(slabs)} are empty")
teach.claim("in 10 dimensions some pairs of coordinates do leave cells empty", left_out > 0,
            kind="run")
teach.claim("of 15 by 17 boxes some stay empty", len(slabs) < 255, kind="run")
teach.reveal("p1.t6.q5", 94, because="a share of about 1/e: random points ignore each other",
             tolerance=0.15)

# %% [markdown]
# **Sobol points** are built from binary digits: cut the square of the first two coordinates into
# $2^k$ equal boxes with sides that are powers of 1/2, and the first $2^k$ points leave none empty.
# Of other boxes, the same ones shifted among them, and in other pairs of coordinates, they may
# leave some out. **Scrambling** by a seed makes each point uniform, so that averages are right on
# average, and keeps the points even. Normal ones come by $\Phi^{-1}$, which turns a uniform number
# into a standard normal.
#
# **Exercise 4.** One coordinate among thousands may spoil it all.

# %%
# exercise: p1.t6.e4

# %% [markdown]
# What you should have found: $\Phi^{-1}(0) = -\infty$, and 0 is a possible coordinate. The
# package's `Sampler` avoids it too; its `base_samples` are such normals, samples first, then the
# shape that one asks for.

# %%
first = SobolEngine(2).draw(1, dtype=torch.float64)  # without scrambling
teach.claim("the first unscrambled Sobol point becomes minus infinity", kind="run",
            condition=bool((torch.special.ndtri(first) == -torch.inf).all()))
points = SobolEngine(3, scramble=True, seed=0).draw(128, dtype=torch.float64)
teach.claim("Sampler's gusts are Φ⁻¹ of scrambled Sobol points", tolerance=1e-8, error=(
    torch.special.ndtri(points) - bl.Sampler(128, seed=0).base_samples((3,))).abs())
teach.predict("p1.t6.q6", "Random gusts: a quarter of the error takes 16 times as many. Even "
              "gusts: about how many times?", [2, 4, 16], guess=None)

# %%
def best_of(d, best):
    """E max(0, best - min of d independent normals), by integrating over what the gain exceeds."""
    t = torch.linspace(-12, best, 100_001, dtype=torch.float64)
    return torch.trapezoid(1 - (1 - torch.special.ndtr(t)) ** d, t)


sizes = 2 ** torch.arange(4, 13)
errors = {}
for kind, word in (("iid", "random"), ("sobol", "Sobol")):
    for d in (1, 4):
        squared = []
        for s in sizes.tolist():
            eps = bl.Sampler(s, seed=range(64), kind=kind).base_samples((d,), (64,))  # s 64 d
            gain = (-0.5 - eps.amin(-1)).clamp(min=0).mean(0)  # b = -1/2
            squared.append((gain - best_of(d, -0.5)).square().mean())
        errors[f"{word}, {d} recipe{'s' * (d > 1)}"] = torch.stack(squared).sqrt()
teach.show(
    plotting.curves(sizes.double(), errors, xlabel="gusts", log="xy",
                    ylabel="typical error (units of the outcome)"),
    "Typical error of expected improvement over 64 seeds against the number of gusts, both axes "
    "logarithmic: nearly straight lines, the two of random gusts falling about half as steeply as "
    "those of Sobol gusts, which start lower as well.",
)

# %%
logs = sizes.double().log() - sizes.double().log().mean()
for name, error in errors.items():
    slope = ((logs * error.log()).sum() / logs.square().sum()).item()
    print(f"{name}: the error falls like s to the power {slope:.1f}")
    expected, low, high = ("-1/2 within 0.1", -0.6, -0.4) if "random" in name else (
        "-0.8 or steeper", -2, -0.8)
    teach.claim(f"{name}: the slope is {expected}", low <= slope <= high, kind="monte-carlo")
teach.reveal("p1.t6.q6", 4, because="the error falls about like 1/s instead of 1/√s")

# %% [markdown]
# The proofs of such rates want smooth integrands and few dimensions; ours have a kink, and gain
# all the same. In hundreds of dimensions, measure it first. A last time to the greenhouse, with
# 128 even gusts instead of random ones.

# %%
gap = {kind: (bl.Sampler(128, seed=range(64), kind=kind).base_samples((1,), (64,)).exp().mean(0)
              .log() - 0.5).square().mean().sqrt() for kind in ("iid", "sobol")}
print(f"best aims miss -1/2 by {gap['iid'].item():.2f} m and by {gap['sobol'].item():.2f} m")
teach.claim("with even gusts the best aim is at least twice as accurate",
            bool(gap["iid"] > 2 * gap["sobol"]), kind="monte-carlo")

# %% [markdown]
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. A colleague's loss calls `torch.normal(mean, std)` and trains nothing. What do you change, and
#    why was there no error?
# 2. When would you take the score function although its variance is larger?
# 3. Two designs are compared by simulation. Why with the same random numbers, and which error
#    stays?
#
# **So, how do you differentiate an average over random numbers?** Write each draw as a function of
# the parameters and of noise that does not depend on them; then it is an average of ordinary
# gradients, as long as nothing jumps. Keep the noise fixed, and the average becomes a function that
# one can descend; make it even, and a hundred samples go a long way. A gradient says where to step
# next: Part 2 asks what becomes of us if we follow it again and again.
#
# ## Sources
#
# - S. Mohamed, M. Rosca, M. Figurnov, A. Mnih, "Monte Carlo gradient estimation in machine
#   learning", *Journal of Machine Learning Research* 21 (2020),
#   [arXiv:1906.10652](https://arxiv.org/abs/1906.10652): both estimators and their variances.
# - P. Glasserman, *Monte Carlo Methods in Financial Engineering*, Springer 2003,
#   [doi:10.1007/978-0-387-21617-1](https://doi.org/10.1007/978-0-387-21617-1): pathwise and
#   likelihood-ratio derivatives, when each may be used, and quasi-Monte Carlo.
# - P. Glasserman, D. D. Yao, "Some guidelines and guarantees for common random numbers",
#   *Management Science* 38 (1992),
#   [doi:10.1287/mnsc.38.6.884](https://doi.org/10.1287/mnsc.38.6.884).
# - I. M. Sobol', "On the distribution of points in a cube and the approximate evaluation of
#   integrals", *USSR Computational Mathematics and Mathematical Physics* 7 (1967),
#   [doi:10.1016/0041-5553(67)90144-9](https://doi.org/10.1016/0041-5553(67)90144-9).
# - A. B. Owen, "Scrambled net variance for integrals of smooth functions", *Annals of Statistics*
#   25 (1997), [doi:10.1214/aos/1031594731](https://doi.org/10.1214/aos/1031594731); and "On
#   dropping the first Sobol' point" (2020), [arXiv:2008.08051](https://arxiv.org/abs/2008.08051).
# - J. T. Wilson, F. Hutter, M. P. Deisenroth, "Maximizing acquisition functions for Bayesian
#   optimization", *Advances in Neural Information Processing Systems* 31 (2018),
#   [arXiv:1805.10196](https://arxiv.org/abs/1805.10196): pathwise gradients of expected
#   improvement.
