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
# # Part 2, tutorial 3: momentum as a dynamical system
#
# **What exactly does remembering the last step buy, and when does it backfire?**
#
# > **Before you start:** tutorials 1 and 2 of this part; complex eigenvalues of a 2 × 2 matrix.
# >
# > **Time:** 55 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - tell from two numbers whether momentum creeps, oscillates, alternates or diverges;
# > - tune it for a bowl, and say what it then gains over gradient descent;
# > - name three prices: a detour at the start, noise, and hillsides on which it never arrives;
# > - say which guarantee holds for which setting.
# >
# > **You will build** `hb_spectral_radius`, `tune_heavy_ball`, `nesterov`,
# > `momentum_with_restart` and `ringing`.

# %%
import math
from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

from bolearn import dynamics, plotting, teach
from bolearn.problems import DoubleWell, Quadratic

teach.setup("p2.t3")

# %% [markdown]
# ## 1. A ball with friction
#
# Gradient descent forgets every step as soon as it is taken. Picture instead a **ball** that rolls
# down the hillside, slowed by a friction $\gamma$ only:
#
# $$\ddot x = -\nabla f(x) - \gamma\,\dot x .$$
#
# Its velocity is a memory of the gradients behind it. We push it off in eight ways in the valley
# $f(x) = \tfrac12 x^2$ and watch position and velocity.

# %%
teach.predict("p2.t3.q1", "With which friction is the ball closest to rest after 12 seconds?",
              [0.4, 2, 6], guess=None)

# %%
times = torch.linspace(0, 12, 241, dtype=torch.float64)
angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
pushes = torch.stack([angle.cos(), angle.sin()], -1)  # 8 2: position, velocity


def rolling(friction):
    """The paths in the valley ½ x², from the solution of the equation: t 8 2."""
    A = torch.tensor([[0.0, 1.0], [-1.0, -friction]], dtype=torch.float64)
    return torch.einsum("tij,kj->tki", torch.linalg.matrix_exp(times.reshape(-1, 1, 1) * A), pushes)


paths = {friction: rolling(friction) for friction in (0.4, 2.0, 6.0)}
teach.show(
    plotting.phase_portrait({f"γ = {friction:g}": path for friction, path in paths.items()},
                            xlabel="position (m)", ylabel="velocity (m/s)"),
    "Position and velocity from eight starts: with γ = 0.4 they spiral into rest; with γ = 2 they "
    "bend once and arrive; with γ = 6 they drop onto a line and creep along it.",
)

# %%
left = torch.stack([path[-1].norm(dim=-1) for path in paths.values()])  # 3 8
teach.claim("after 12 s the ball with γ = 2 is closest to rest, from all eight starts",
            bool((left[1] < left[0]).all() & (left[1] < left[2]).all()), kind="run")
friction = torch.linspace(0.1, 10, 991, dtype=torch.float64)
curvature = torch.tensor([[0.25], [1.0], [9.0]], dtype=torch.float64)
A = torch.zeros(3, 991, 2, 2, dtype=torch.float64)
A[..., 0, 1], A[..., 1, 0], A[..., 1, 1] = 1.0, -curvature, -friction
fastest = torch.linalg.eigvals(A).real.amax(-1).argmin(-1)  # where the slowest part is fastest
teach.claim("for three curvatures λ, of 991 frictions the one next to 2√λ is fastest",
            error=(friction[fastest] - 2 * curvature[:, 0].sqrt()).abs(), tolerance=0.005,
            kind="run")
teach.reveal("p2.t3.q1", 2, because="less friction lets it oscillate, more makes it creep")

# %% [markdown]
# Below $\gamma = 2\sqrt\lambda$ the ball is **underdamped** and oscillates; above, it is
# **overdamped** and creeps, far above nearly as the gradient flow does, $\gamma$ times slower; in
# between, **critically damped**. Mind the $\lambda$: what suits one curvature does not suit
# another.
#
# ## 2. Gradient descent with a memory
#
# Replace velocity and acceleration by differences over steps of time $\sqrt\eta$, and the ball
# becomes the **heavy ball** method (Polyak 1964):
#
# $$v \leftarrow \beta v + \nabla f(x), \qquad x \leftarrow x - \eta\,v, \qquad
# \beta = 1 - \gamma\sqrt\eta .$$
#
# The **momentum** $\beta$ is the part of the velocity that friction leaves. With $\beta = 0$ it is
# gradient descent.

# %%
def heavy_ball(gradient, x, lr, beta, steps):
    v, path = torch.zeros_like(x), [x]
    for _ in range(steps):
        v = beta * v + gradient(x)
        x = x - lr * v
        path.append(x)
    return torch.stack(path)


bowl, corner = Quadratic([10.0, 1.0]), torch.tensor([2.0, 2.0], dtype=torch.float64)
curvatures = torch.tensor([10.0, 1.0], dtype=torch.float64)
by_hand = heavy_ball(lambda x: curvatures * x, corner, 0.05, 0.8, 200)
package = dynamics.trace_momentum(bowl.loss, corner, lr=0.05, momentum=0.8, steps=200)
teach.claim("our loop and dynamics.trace_momentum take the same path", tolerance=1e-14,
            error=(by_hand - package.points).abs())

# %%
def by_torch(momentum, clear=True):
    """The same with torch.optim.SGD; without clear, zero_grad is forgotten."""
    x = corner.clone().requires_grad_()
    optimizer, path = torch.optim.SGD([x], lr=0.05, momentum=momentum), [corner]
    for _ in range(200):
        if clear:
            optimizer.zero_grad()
        bowl.loss(x).backward()
        optimizer.step()
        path.append(x.detach().clone())
    return torch.stack(path)


teach.claim("so does torch.optim.SGD with momentum=0.8", tolerance=1e-14,
            error=(by_hand - by_torch(0.8)).abs())
forgot = by_torch(0.0, clear=False)
teach.claim("β = 1, no friction at all, is the forgotten zero_grad of tutorial 1.3, to the last "
            "digit", error=(forgot - by_torch(1.0)).abs(), tolerance=0)

# %%
def gap(step):
    """How far the method is from the ball with γ = 1, after 2 seconds in the valley ½ x²."""
    w = math.sqrt(3) / 2
    exact = math.exp(-1) * (math.cos(2 * w) + math.sin(2 * w) / (2 * w))
    end = heavy_ball(lambda x: x, torch.ones(1).double(), step**2, 1 - step, round(2 / step))[-1]
    return abs(float(end) - exact)


teach.claim("half the step of time, half the gap between method and ball", kind="run",
            error=abs(gap(0.002) / gap(0.001) - 2), tolerance=0.02)

# %% [markdown]
# Other libraries average: $v \leftarrow \beta v + (1 - \beta)\nabla f(x)$.

# %%
teach.predict("p2.t3.q2", "β = 0.9. The averaging form with η is our form with ...",
              ["the same η", "a tenth of η", "ten times η"], guess=None)

# %%
def averaging(gradient, x, lr, beta, steps):
    v, path = torch.zeros_like(x), [x]
    for _ in range(steps):
        v = beta * v + (1 - beta) * gradient(x)
        x = x - lr * v
        path.append(x)
    return torch.stack(path)


both = [averaging(lambda x: curvatures * x, corner, 0.5, 0.9, 200),
        heavy_ball(lambda x: curvatures * x, corner, 0.05, 0.9, 200)]
teach.claim("averaging with η is the heavy ball with (1 - β) η",
            error=(both[0] - both[1]).abs(), tolerance=1e-12)
teach.reveal("p2.t3.q2", "a tenth of η", because="1 - β = 0.1 multiplies every gradient")

# %% [markdown]
# So ask which form is meant before you copy a learning rate.
#
# ## 3. Two multipliers for each mode
#
# In a bowl the modes still go their own ways. Since $\eta v = x_{t-1} - x_t$,
#
# $$x_{t+1} = (1 + \beta - \eta\lambda)\,x_t - \beta\,x_{t-1}, \qquad
# \begin{pmatrix} x_{t+1} \\ x_t \end{pmatrix} = M \begin{pmatrix} x_t \\ x_{t-1} \end{pmatrix},
# \quad M = \begin{pmatrix} 1 + \beta - \eta\lambda & -\beta \\ 1 & 0 \end{pmatrix}.$$
#
# A pair of numbers needs two multipliers, the eigenvalues $z_1, z_2$ of $M$: the roots of
# $z^2 - (1 + \beta - \eta\lambda)\,z + \beta$. A start at rest has $x_{-1} = x_0$.

# %%
def step_matrix(h, beta):
    """M for h = ηλ: ... -> ... 2 2."""
    h, beta = torch.broadcast_tensors(*(torch.as_tensor(y, dtype=torch.float64) for y in (h, beta)))
    M = torch.zeros(*h.shape, 2, 2, dtype=torch.float64)
    M[..., 0, 0], M[..., 0, 1], M[..., 1, 0] = 1 + beta - h, -beta, 1.0
    return M


def rho(h, beta):
    """What a step leaves in the long run: the larger modulus."""
    return torch.linalg.eigvals(step_matrix(h, beta)).abs().amax(-1)


g = torch.Generator().manual_seed(0)
h, beta = torch.rand(2, 300, generator=g, dtype=torch.float64)
h = 4 * h
z, V = torch.linalg.eig(step_matrix(h, beta))
weights = torch.linalg.solve(V, torch.ones(300, 2, dtype=V.dtype))  # at rest at 1
t = torch.arange(41).reshape(-1, 1, 1)
predicted = (V[:, 0] * z**t * weights).sum(-1).real
ran = dynamics.trace_momentum(Quadratic([1.0]).loss, torch.ones(300, 1).double(), h, beta, 40)
teach.claim("300 random settings: two multipliers predict 40 positions", tolerance=1e-9,
            error=(predicted - ran.points[..., 0]).abs() / ran.points[..., 0].abs().amax(0))

# %%
band = (h > (1 - beta.sqrt()) ** 2) & (h < (1 + beta.sqrt()) ** 2)
teach.claim("the product of the two multipliers is β", tolerance=1e-12,
            error=(z.prod(-1) - beta).abs())
teach.claim("for (1 - √β)² < ηλ < (1 + √β)² both have the size √β, elsewhere one is larger",
            bool((rho(h, beta)[~band] > beta[~band].sqrt()).all()), tolerance=1e-9,
            error=(rho(h, beta) - beta.sqrt()).abs()[band])

# %% [markdown]
# Remember the product. For $\beta \ge 0$ no setting pushes both multipliers below $\sqrt\beta$; the
# best that a mode can do with a given $\beta$ is that both have this size: a double root or a
# complex pair, that is an oscillation, of which a step leaves $\sqrt\beta$. With $\beta = 1$
# nothing is lost: hence the endless oscillation of tutorial 1.3.
#
# ## 4. Where the ball comes to rest

# %%
teach.predict("p2.t3.q3", "β = 0.8. The largest stable η is how many times 2/L?", [0.2, 1, 1.8],
              guess=None)

# %%
spots = {"creeps: ηλ = 0.05, β = 0.2": (0.05, 0.2), "oscillates: ηλ = 0.5, β = 0.8": (0.5, 0.8),
         "alternates: ηλ = 1.7, β = 0.05": (1.7, 0.05), "diverges: ηλ = 3.7, β = 0.6": (3.7, 0.6)}
teach.explorable(
    "stability_triangle", {"beta": 0.8, "eta_lambda": 0.5},
    still=plotting.stability_triangle(spots),
    alt="Over ηλ and β a triangle with corners (0, 1), (4, 1) and (0, -1), lightest at (1, 0) and "
        "dark along its rim; a dashed curve of equal roots; four marked settings, whose paths "
        "creep, oscillate, alternate and diverge.",
)

# %%
betas = torch.tensor([0.0, 0.5, 0.8, 0.95], dtype=torch.float64)
for share in (0.99, 1.01):
    rate = share * 2 * (1 + betas) / 10
    end = dynamics.trace_momentum(bowl.loss, corner.expand(4, 2), rate, betas, 3000).points[-1]
    far = end.abs().amax(-1)
    print(f"at {share} · 2(1 + β)/L:", ", ".join(f"10^{d:.0f}" for d in far.log10()))
    verdict, right = ("converge", far < 1e-20) if share < 1 else ("diverge", far > 1e20)
    teach.claim(f"{share} · 2(1 + β)/L: with four values of β all {verdict}", bool(right.all()),
                kind="run")
h, beta = torch.rand(2, 4000, generator=g, dtype=torch.float64)
h, beta = 5 * h, 2.4 * beta - 1.2
teach.claim("4000 random settings: at rest in the end exactly if |β| < 1 and 0 < ηλ < 2(1 + β)",
            bool(((rho(h, beta) < 1) == ((beta.abs() < 1) & (h < 2 * (1 + beta)))).all()),
            kind="theorem")
teach.reveal("p2.t3.q3", 1.8, because="z = -1 is a root where ηL = 2(1 + β)")

# %% [markdown]
# So momentum needs no smaller $\eta$: on a bowl it is stable up to twice as far. (Drag the point of
# the live figure from left to right: the path creeps, oscillates, alternates, and diverges.)
#
# **Exercise 1.** The number that decides, in closed form.

# %%
# exercise: p2.t3.e1

# %% [markdown]
# ## 5. How much memory?
#
# One mode, $\lambda = 1$, and $\eta = 0.3$: gradient descent leaves 0.7 of the distance per step.

# %%
teach.predict("p2.t3.q4", "Which β leaves least?", [0, 0.2, 0.5, 0.9], guess=None)

# %%
beta = torch.linspace(0, 0.98, 197, dtype=torch.float64)
ran = dynamics.trace_momentum(Quadratic([1.0]).loss, torch.ones(197, 1).double(), 0.3, beta, 401)
size = (ran.points[1:, :, 0].square() + ran.points[:-1, :, 0].square()).sqrt()
measured = (size[400] / size[200]) ** (1 / 200)
best = (1 - math.sqrt(0.3)) ** 2
teach.show(
    plotting.curves(beta, {"measured": measured, "larger modulus": rho(0.3, beta)},
                    xlabel="momentum β", ylabel="left of the distance, per step",
                    marks={"(1 − √0.3)²": best, "(1 − 0.3)²": 0.49}),
    "What a step leaves, against β: it falls steeply from 0.7 at β = 0 to 0.45 near 0.2, and rises "
    "from there like a square root, past 0.7 at 0.49, towards 1.",
)

# %%
fine = torch.linspace(0, 0.99, 9901, dtype=torch.float64)
teach.claim("the best β is (1 - √(ηλ))² = 0.2046", tolerance=1e-4,
            error=abs(float(fine[rho(0.3, fine).argmin()]) - best), kind="run")
teach.claim("there a step leaves 1 - √(ηλ), not 1 - ηλ", tolerance=1e-6,
            error=(rho(0.3, best) - 1 + math.sqrt(0.3)).abs())
teach.claim("the measured factors are the moduli, to 2 %", kind="run",
            error=(measured / rho(0.3, beta) - 1).abs(), tolerance=0.02)
some = fine[(fine > 0) & ((fine - 0.49).abs() > 5e-5)]
teach.claim("ηλ = 0.3: memory helps below β = (1 - ηλ)² = 0.49 and harms above",
            bool(((rho(0.3, some) < 0.7) == (some < 0.49)).all()), kind="run")
teach.reveal("p2.t3.q4", 0.2, because="it is critically damped: both multipliers are equal")

# %% [markdown]
# So more memory is not always faster: beyond critical damping the oscillation lasts longer and
# longer.
#
# ## 6. A fair race
#
# A colleague tests momentum on the bowl with eigenvalues 10 and 1, from (2, 2), for 100 steps:
# gradient descent with $\eta = 0.15$, and the heavy ball with a careful $\eta = 0.02$ and
# $\beta = 0.8$.

# %%
teach.predict("p2.t3.q5", "Which is ahead after 100 steps?", ["gradient descent", "heavy ball"],
              guess=None)

# %%
angle = (torch.arange(64, dtype=torch.float64) + 0.5) * math.pi / 32
starts = torch.cat([corner.unsqueeze(0), 8**0.5 * torch.stack([angle.cos(), angle.sin()], -1)])


def race(lr, beta):
    """The losses from (2, 2) and from 64 starts around it: t 65."""
    return dynamics.trace_momentum(bowl.loss, starts, lr, beta, steps=100).values


losses = {"gradient descent, η = 0.15": race(0.15, 0.0), "heavy ball, η = 0.02, β = 0.8":
          race(0.02, 0.8)}
for label, loss in losses.items():
    print(f"{label}: {loss[-1, 0]:.1e}")
plain, untuned = losses.values()
teach.claim("from all 65 starts the untuned heavy ball is more than a thousand times behind",
            bool((untuned[-1] > 1000 * plain[-1]).all()), kind="run")
teach.reveal("p2.t3.q5", "gradient descent", because="only its η was nearly the best")

# %% [markdown]
# "Momentum is harmful here"? The race compares two settings, not two methods. Tune both. For
# gradient descent tutorial 2 gave $\eta = 2/(L + \mu)$. For the ball all modes should oscillate,
# with the smallest $\beta$ that allows it: $(1 - \sqrt\beta)^2 \le \eta\mu$ and
# $\eta L \le (1 + \sqrt\beta)^2$, both as equalities. With $\kappa = L/\mu$,
#
# $$\sqrt\beta = \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1}, \qquad
# \eta = \frac{4}{(\sqrt L + \sqrt\mu)^2},$$
#
# and $\sqrt\beta$ is what a step leaves: gradient descent's $(\kappa - 1)/(\kappa + 1)$ with roots.

# %%
def tuned(L, mu):
    """The best η and β for curvatures from mu to L, and what a step then leaves."""
    r = (math.sqrt(L) - math.sqrt(mu)) / (math.sqrt(L) + math.sqrt(mu))
    return 4 / (math.sqrt(L) + math.sqrt(mu)) ** 2, r * r, r


lr, momentum, _ = tuned(10, 1)
losses["gradient descent, tuned"] = race(2 / 11, 0.0)
losses["heavy ball, tuned"] = race(lr, momentum)
for label, loss in losses.items():
    print(f"{label}: {loss[-1, 0]:.0e}")
teach.show(
    plotting.curves(torch.arange(101), {label: loss[:, 0] for label, loss in losses.items()},
                    xlabel="step", ylabel="loss", log="y"),
    "Loss against step on a logarithmic axis: the untuned ball ends at 3e-9, gradient descent at "
    "2e-14 and, tuned, 8e-17; the tuned ball falls three times as steeply, to 6e-52.",
)

# %%
ahead = losses["gradient descent, tuned"][-1] / losses["heavy ball, tuned"][-1]
teach.claim("tuned against tuned, the ball is ahead by 30 orders of magnitude, from all 65 starts",
            bool((ahead > 1e30).all()), kind="run")
lrs, betas = torch.meshgrid(torch.linspace(0.005, 0.4, 200).double(),
                            torch.linspace(-0.5, 0.95, 200).double(), indexing="ij")
slowest = torch.maximum(rho(10 * lrs, betas), rho(lrs, betas))
teach.claim("none of 40,000 settings leaves less than the tuned one",
            bool((slowest >= math.sqrt(momentum)).all()), kind="theorem")

# %% [markdown]
# (Why none can: the settings $\eta\lambda$, $\beta$ that leave at most $r$ form a smaller triangle
# inside the first. All of $\eta\mu$ to $\eta L$ must fit into it at one height $\beta$, and the
# ratio of its two edges is largest at the top, $\beta = r^2$: there they are $(1 - r)^2$ and
# $(1 + r)^2$.)

# %%
kappa = torch.tensor([5.0, 20, 50, 100, 300, 1000, 10_000], dtype=torch.float64)
r = (kappa.sqrt() - 1) / (kappa.sqrt() + 1)
plain = (kappa - 1) / (kappa + 1)
run = dynamics.trace_momentum(lambda x: 0.5 * (kappa * x[:, 0] ** 2 + x[:, 1] ** 2),
                              torch.ones(7, 2).double(), 4 / (kappa.sqrt() + 1) ** 2, r**2, 1500)
far = run.points.abs().amax(-1)
measured = (far[400] / far[200]) ** (1 / 200)
teach.claim("seven values of κ: a step of the tuned ball leaves (√κ - 1)/(√κ + 1) to 1 %, and less "
            "than one of gradient descent", bool((measured < plain).all()), kind="run",
            error=(measured / r - 1).abs(), tolerance=0.01)
steps = (far > 1e-6).sum(0)  # as many as are above a millionth
for row in zip(kappa.tolist(), steps.tolist(), math.log(1e-6) / plain.log(), strict=True):
    print("κ = {:5.0f}: {:4d} steps to a millionth, gradient descent {:5.0f}".format(*row))
table = torch.stack([kappa.log(), torch.ones_like(kappa)], -1)[1:]
power = torch.linalg.lstsq(table, steps[1:].double().log()).solution[0]
teach.claim("the steps to a millionth grow like κ to the power ½, not 1", kind="run",
            error=(power - 0.5).abs(), tolerance=0.05)

# %% [markdown]
# On a bowl, then, tuned memory puts $\sqrt\kappa$ in the place of $\kappa$, for large $\kappa$.
#
# **Exercise 2.** Do the tuning, and be judged by the run.

# %%
# exercise: p2.t3.e2

# %% [markdown]
# ## 7. The detour
#
# A rate speaks of the long run.

# %%
teach.predict("p2.t3.q6", "κ = 1000, tuned ball, from distance 1 along the steepest direction. Its "
              "largest distance on the way?", [1, 3, 12], guess=None)

# %%
lr, momentum, r = tuned(1000, 1)
steep = Quadratic([1000.0])
ball = dynamics.trace_momentum(steep.loss, torch.ones(1).double(), lr, momentum, 200).points[:, 0]
plain = dynamics.trace_gd(steep.loss, torch.ones(1).double(), 2 / 1001, 200).points[:, 0]
t = torch.arange(201, dtype=torch.float64)
teach.show(
    plotting.curves(t, {"heavy ball, tuned": ball.abs(), "gradient descent, tuned": plain.abs()},
                    xlabel="step", ylabel="distance, steepest direction", log="y"),
    "Distance against step: gradient descent falls slowly below 1; the ball first climbs to 12 at "
    "step 15, is back at 1 near step 80, and then dives far below gradient descent.",
)

# %%
formula = (1 + (1 + r) * t) * (-r) ** t
teach.claim("along the steepest direction the tuned ball is at (1 + (1 + r) t) (-r)ᵗ",
            error=(ball - formula).abs(), tolerance=1e-9)
roots = torch.tensor([1e3, 1e4, 1e6], dtype=torch.float64).sqrt()
r, t = (roots - 1) / (roots + 1), torch.arange(5001, dtype=torch.float64).unsqueeze(-1)
peak = ((1 + (1 + r) * t) * r**t).amax(0)
teach.claim("for κ of 1e3, 1e4 and 1e6 the detour reaches √κ/e, to 1 %", kind="run",
            error=(peak / (roots / math.e) - 1).abs(), tolerance=0.01)
teach.claim("after 30 steps gradient descent is nearer, after 100 the ball", kind="run",
            condition=bool((plain[30] < ball[30].abs()) & (plain[100] > ball[100].abs())))
teach.reveal("p2.t3.q6", 12, because="both multipliers are -r: a factor t comes before rᵗ decays")

# %% [markdown]
# Tuning makes the two multipliers *equal* in the steepest and the flattest mode, and a double root
# brings a factor $t$. Along the steepest direction the distance first grows if $\kappa > 5.83$, for
# large $\kappa$ to about $\sqrt\kappa/e$. With a budget of 30 steps here, gradient descent would be
# nearer.
#
# ## 8. Does memory average noise away?
#
# Let every gradient carry noise of standard deviation 1. In the valley $\tfrac12 x^2$ with
# $\eta = 0.1$, $x$ ends up fluctuating around 0.

# %%
teach.predict("p2.t3.q7", "Add β = 0.9, same η. The mean of x² in the long run becomes ...",
              ["ten times smaller", "about the same", "ten times larger"], guess=None)

# %%
def fluctuating(lr, beta, seed, chains=4000, steps=400):
    """Mean of x² over the last 100 steps, one for each chain."""
    g = torch.Generator().manual_seed(seed)
    x, v, total = (torch.zeros(chains, dtype=torch.float64) for _ in range(3))
    for t in range(steps):
        v = beta * v + x + torch.randn(chains, generator=g, dtype=torch.float64)
        x = x - lr * v
        total += x.square() / 100 * (t >= steps - 100)
    return total


def floor(lr, beta):
    """The mean of x²: C = M C Mᵀ + noise, solved for the covariance C of (x_t, x_{t-1})."""
    M = step_matrix(lr, beta)
    noise = torch.tensor([lr**2, 0, 0, 0], dtype=torch.float64)
    return torch.linalg.solve(torch.eye(4).double() - torch.kron(M, M), noise)[0]


errors, gaps = [], []
for lr, beta in ((0.1, 0.0), (0.1, 0.9), (0.01, 0.9)):
    seen, predicted = fluctuating(lr, beta, seed=0), floor(lr, beta)
    print(f"η = {lr}, β = {beta}: mean of x² {seen.mean():.3f}, predicted {predicted:.3f}")
    errors.append((seen.mean() - predicted).abs() / (seen.std() / math.sqrt(len(seen))))
    gaps.append((predicted - lr * (1 + beta) / ((1 - beta) * (2 * (1 + beta) - lr))).abs())
teach.claim("three settings: the mean of x² is as predicted, within 5 standard errors",
            kind="monte-carlo", error=torch.stack(errors), tolerance=5)
teach.claim("the prediction is η(1 + β) / ((1 - β)(2(1 + β) - η))", error=torch.stack(gaps),
            tolerance=1e-12)
teach.reveal("p2.t3.q7", "ten times larger", because="v sums gradients, it does not average them")

# %% [markdown]
# For small $\eta$ only $\eta/(1 - \beta)$ counts: the third line nearly repeats the first.
#
# ## 9. The ball that never arrives
#
# Now leave the bowls, a little. The curvature of this hillside is 25, but only 1 from 1 to 2:
#
# $$f'(x) = 25x \;\;(x < 1), \qquad x + 24 \;\;(1 \le x < 2), \qquad 25x - 24 \;\;(x \ge 2).$$
#
# One valley, curvatures between $\mu = 1$ and $L = 25$. On every *bowl* with such curvatures the
# tuned ball, $\eta = \tfrac19$, $\beta = \tfrac49$, leaves at most two thirds of the distance per
# step, in the long run. We let it go at 3.3.

# %%
teach.predict("p2.t3.q8", "The tuned ball ...", ["arrives", "runs away", "does neither"],
              guess=None)

# %%
def kinked(x):  # *batch 1 -> *batch: the integral of f'
    x = x[..., 0]
    upper = torch.where(x < 2, 0.5 * x**2 + 24 * x - 12, 12.5 * x**2 - 24 * x + 36)
    return torch.where(x < 1, 12.5 * x**2, upper)


lr, momentum, r = tuned(25, 1)
start = torch.tensor([3.3], dtype=torch.float64)
ball = dynamics.trace_momentum(kinked, start, lr, momentum, 300).points[:, 0]
plain = dynamics.trace_gd(kinked, start, 2 / 26, 300).points[:, 0]
side = torch.linspace(-6, 6, 400, dtype=torch.float64)
now, before = torch.meshgrid(side, side, indexing="ij")
for _ in range(150):
    g_now = torch.where(now < 1, 25 * now, torch.where(now < 2, now + 24, 25 * now - 24))
    now, before = now - lr * g_now + momentum * (now - before), now
caught = now.abs() + before.abs() > 1e-3

# %%
pairs = torch.stack([ball[-4:-1], ball[-3:]], -1)
races = {"heavy ball": ball[:121].abs(), "gradient descent": plain[:121].abs()}
figure = plotting.cycle_basins(side, caught, pairs, races)
teach.show(figure, "Left, over the last two positions: broad slanted bands of starts never arrive, "
           "three points inside them are visited in turn. Right: from 3.3 gradient descent falls "
           "to 1e-4 in 120 steps, the heavy ball soon runs between 0.6 and 2.2.")

# %%
cycle = [Fraction(2592, 1225), Fraction(792, 1225), Fraction(-2208, 1225)]
follows = []
for k, x in enumerate(cycle):
    g_x = 25 * x if x < 1 else x + 24 if x < 2 else 25 * x - 24
    follows.append(x - g_x / 9 + Fraction(4, 9) * (x - cycle[k - 1]))
teach.claim("in exact fractions, 2592/1225, 792/1225 and -2208/1225 follow each other in a ring",
            follows == [*cycle[1:], cycle[0]], kind="run")
print("the three places:", ", ".join(f"{float(x):.4f}" for x in cycle))
orbit = torch.tensor(sorted(float(x) for x in cycle), dtype=torch.float64)
teach.claim("from 3.3 the tuned ball ends in this cycle", tolerance=1e-9,
            error=(ball[-3:].sort().values - orbit).abs())
teach.claim("gradient descent with 2/(L + μ) arrives", error=plain[-1].abs(), tolerance=1e-9)
teach.reveal("p2.t3.q8", "does neither", because="it visits three places in turn, for ever")

# %% [markdown]
# A 3-cycle, on a strongly convex function (Lessard, Recht and Packard 2016). Is it an accident of
# one start? All three places lie where the curvature is 25. So near the cycle a step multiplies
# small differences by the same $M$ as near the minimum: the cycle attracts exactly as strongly.

# %%
starts = torch.linspace(-6, 6, 2401, dtype=torch.float64).unsqueeze(-1)
rest = dynamics.trace_momentum(kinked, starts, lr, momentum, 400).points[-3:, :, 0].sort(0).values
arrived = rest.abs().amax(0) < 1e-9
cycles = (rest - orbit.unsqueeze(-1)).abs().amax(0) < 1e-9
print(f"of 2401 starts at rest between -6 and 6, {cycles.double().mean():.0%} cycle")
teach.claim("every one of 2401 starts arrives or ends in the cycle", bool((arrived ^ cycles).all()),
            kind="run")
known = (starts[:, 0] - 3.265).abs() < 0.196
teach.claim("every start from 3.07 to 3.46 cycles", bool(cycles[known].all()), kind="run")
teach.claim("near the cycle as near the minimum, the two multipliers are -2/3", tolerance=1e-6,
            error=(torch.linalg.eigvals(step_matrix(25 / 9, 4 / 9)) + 2 / 3).abs())

# %% [markdown]
# ## 10. A contract for any hillside
#
# What setting is safe, then? Ask the ball: friction takes from its **energy**,
# $\tfrac{\mathrm d}{\mathrm dt}\bigl(f + \tfrac12\lVert\dot x\rVert^2\bigr)
# = -\gamma\,\lVert\dot x\rVert^2$.
# For the method, with $s_t = x_t - x_{t-1}$, let
#
# $$E_t = f(x_t) + \frac{\beta}{2\eta}\,\lVert s_t\rVert^2 .$$
#
# If $0 \le \beta < 1$ and no curvature exceeds $L$ on its way, Taylor's formula says, as for the
# descent lemma, $f(x_{t+1}) \le f(x_t) + g \cdot s_{t+1} + \tfrac L2 \lVert s_{t+1}\rVert^2$.
# Insert $g = (\beta s_t - s_{t+1})/\eta$ and
# $2\,s_t \cdot s_{t+1} \le \lVert s_t\rVert^2 + \lVert s_{t+1}\rVert^2$:
#
# $$E_{t+1} \;\le\; E_t - \left(\frac{1 - \beta}{\eta} - \frac L2\right)\lVert s_{t+1}\rVert^2 .$$
#
# So for $\eta \le 2(1 - \beta)/L$ the energy never rises, and strictly below it falls as long as
# anything moves. At equality it may stand still: with $\beta = 0$, the descent lemma, a bowl of
# curvature $L$ then cycles.

# %%
def slack(loss, x, L, share, beta, steps=600):
    """E_t minus the bound's last term minus E_{t+1}, for η = share · 2(1 - β)/L; the end."""
    lr = share * 2 * (1 - beta) / L
    run = dynamics.trace_momentum(loss, x, lr, beta, steps)
    energy = run.values + beta * lr / 2 * run.velocities.square().sum(-1)
    moved = (run.points[1:] - run.points[:-1]).square().sum(-1)
    return energy[:-1] - ((1 - beta) / lr - L / 2) * moved - energy[1:], run.points[-1].abs().max()


inside = torch.linspace(-1.5, 1.5, 1000, dtype=torch.float64).unsqueeze(-1)
settings = [(share, beta) for share in (0.5, 1.0) for beta in (0.3, 4 / 9, 0.8)]
held, ends = zip(*(slack(kinked, starts, 25.0, *setting) for setting in settings), strict=True)
teach.claim("six settings, on the hillside of the cycle: the inequality holds at each of 600 steps "
            "from 2401 starts", bool((torch.stack(held) > -1e-11).all()), kind="theorem")
teach.claim("after these 600 steps all have arrived", error=torch.stack(ends), tolerance=1e-6,
            kind="run")
L_inside = 3 * 1.5**2 - 1  # the largest curvature of the double well on [-1.5, 1.5]
held = [slack(DoubleWell().loss, inside, L_inside, *setting)[0] for setting in settings]
teach.claim("it holds in the double well, from 1000 starts", kind="theorem",
            condition=bool((torch.stack(held) > -1e-12).all()))

# %%
def rise(share, beta=0.5, L=10.0):
    """Change of the energy in one step on ½ L x², from x = 1 with s = -ηL/(1 - β)."""
    lr = share * 2 * (1 - beta) / L
    last = -lr * L / (1 - beta)
    now = beta * last - lr * L
    return L / 2 * ((1 + now) ** 2 - 1) + beta / (2 * lr) * (now**2 - last**2)


teach.claim("the limit is sharp: 1 % beyond 2(1 - β)/L some step raises the energy",
            rise(1.01) > 0 > rise(0.99), kind="run")
back = dynamics.trace_gd(Quadratic([10.0]).loss, torch.ones(1).double(), 2 / 10, 2).points[:, 0]
teach.claim("β = 0, η = 2/L: on a bowl of curvature L the energy stands still, and x cycles",
            error=(back - torch.tensor([1.0, -1.0, 1.0])).abs(), tolerance=1e-12)
beta = torch.linspace(0, 0.999, 2000, dtype=torch.float64) ** 2
share = torch.linspace(0.1, 1, 10, dtype=torch.float64).unsqueeze(-1)
kappa = torch.tensor([4.0, 9.0, 25.0, 100.0], dtype=torch.float64)
best = []
for k in kappa:
    rate = share * 2 * (1 - beta) / k  # η for L = κ, μ = 1
    best.append(torch.maximum(rho(k * rate, beta), rho(rate, beta)).min())
teach.claim("κ = 4, 9, 25, 100: of 20,000 such settings the best leaves (κ - 2)/(κ + 2)",
            error=(torch.stack(best) - (kappa - 2) / (kappa + 2)).abs(), tolerance=1e-3, kind="run")
kept = []
for k in range(21, 61):  # κ = 2.1, 2.2, ..., 6
    lr, momentum, _ = tuned(k / 10, 1)
    kept.append(lr * k / 10 <= 2 * (1 - momentum) * (1 + 1e-12))
teach.claim("for 40 values of κ the tuned ball keeps the contract exactly up to κ = 4",
            kept == [k <= 40 for k in range(21, 61)], kind="theorem")

# %% [markdown]
# Convexity was not needed. But read the price, the best rate on bowls under this contract. Up to
# $\kappa = 4$ the tuned ball keeps the contract by itself. From there on the best is
# $(\kappa - 2)/(\kappa + 2)$, for large $\kappa$ twice as fast as gradient descent and no more. Not
# the fault of this proof: Goujaud, Taylor and Dieuleveut (2025) show that a heavy ball is either
# not accelerated on bowls, or fails to converge on some strongly convex function with the same
# $\mu$ and $L$.
#
# ## 11. Look before you leap
#
# Nesterov's cure: take the gradient not where you are, but where the memory will have carried you.
#
# $$x_{t+1} = y_t - \eta\,\nabla f(y_t), \qquad y_{t+1} = x_{t+1} + \beta\,(x_{t+1} - x_t).$$
#
# **Exercise 3.** Write it.

# %%
# exercise: p2.t3.e3

# %% [markdown]
# Its multipliers solve $z^2 - (1 + \beta)(1 - \eta\lambda)z + \beta(1 - \eta\lambda)$: the product
# is now $\beta(1 - \eta\lambda)$, so up to $\eta\lambda = 1$ steep modes are damped more. With
# $\eta = 1/L$ and $\beta = (\sqrt\kappa - 1)/(\sqrt\kappa + 1)$ a step leaves $1 - 1/\sqrt\kappa$
# on bowls, for large $\kappa$ about half as fast as the tuned ball. In exchange, on *every*
# function with curvatures from $\mu$ to $L$ (Nesterov 2018, section 2.2)
#
# $$f(x_t) - f^* \le \Bigl(1 - \tfrac{1}{\sqrt\kappa}\Bigr)^t \Bigl(f(x_0) - f^*
# + \tfrac\mu2 \lVert x_0 - x^*\rVert^2\Bigr).$$

# %%
left, halves = [], []
for kappa in (4.0, 100.0, 1e4):
    r = (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)
    q = 1 - torch.logspace(-math.log10(kappa), 0, 500, dtype=torch.float64)  # 1 - ηλ
    M = torch.zeros(500, 2, 2, dtype=torch.float64)
    M[:, 0, 0], M[:, 0, 1], M[:, 1, 0] = (1 + r) * q, -r * q, 1.0
    left.append((torch.linalg.eigvals(M).abs().max() - 1 + 1 / math.sqrt(kappa)).abs())
    halves.append(abs(math.log(1 - 1 / math.sqrt(kappa)) / math.log(r) - 0.5))
teach.claim("κ = 4, 100, 1e4: of 500 modes the slowest leaves 1 - 1/√κ", error=torch.stack(left),
            tolerance=1e-6, kind="run")
teach.claim("κ = 100, 1e4: per step, half the digits of the tuned ball", error=halves[1:],
            tolerance=0.03, kind="run")
base = 1 - 1 / math.sqrt(25)


def excess(loss, start):
    """By how much f(x_1), f(x_2), ... exceed the bound, for μ = 1, L = 25, x* = 0, f* = 0."""
    run = dynamics.trace_momentum(loss, start, 1 / 25, 4 / 6, 100, kind="nesterov")
    x = run.points[:-1] - run.gradients[:-1] / 25
    bound = loss(start) + 0.5 * start.square().sum(-1)
    return (loss(x) - base ** torch.arange(1, 101).double().unsqueeze(-1) * bound).max()


corners = 5 * torch.randn(1000, 2, generator=g, dtype=torch.float64)
flat = dynamics.trace_momentum(Quadratic([1.0]).loss, torch.ones(1).double(), 1 / 25, 4 / 6, 1000,
                               kind="nesterov").values
teach.claim("Nesterov's bound holds at each of 100 steps, on the hillside of the cycle from 2401 "
            "starts and on the bowl with eigenvalues 25 and 1 from 1000; on the bowl the loss "
            "falls by the square of the bound's factor, in the long run", kind="theorem",
            tolerance=0.01, condition=bool((excess(kinked, starts) <= 0)
                           & (excess(Quadratic([25.0, 1.0]).loss, corners) <= 0)),
            error=(flat[1000] / flat[999] / base**2 - 1).abs())

# %% [markdown]
# It needs $\mu$, for $\beta$, and $\mu$ is seldom known. A bowl with $\kappa = 100$ asks for
# $\beta = 9/11$; suppose we take 0.99.

# %%
teach.predict("p2.t3.q9", "β = 0.99 instead of 0.82: the loss ...",
              ["falls faster", "rises and falls in waves", "diverges"], guess=None)

# %%
stiff = Quadratic([100.0, 1.0])
guesses = torch.tensor([0.0, 9 / 11, 0.99], dtype=torch.float64)
values = dynamics.trace_momentum(stiff.loss, corner.expand(3, 2), 0.01, guesses, 200,
                                 kind="nesterov").values
labels = ["β = 0 (gradient descent)", "β = 9/11", "β = 0.99"]
teach.show(
    plotting.curves(torch.arange(201), dict(zip(labels, values.T, strict=True)), xlabel="step",
                    ylabel="loss", log="y"),
    "Loss against step on a logarithmic axis: a slow straight fall for β = 0, a fast one for 9/11; "
    "for 0.99 the loss falls and rises in waves whose crests sink slowly.",
)
rises = (values[1:] > values[:-1]).sum(0)
teach.claim("the loss rises again and again with β = 0.99, and never without memory",
            bool((rises[2] > 20) & (rises[0] == 0)), kind="run")
teach.reveal("p2.t3.q9", "rises and falls in waves", because="too little friction: it oscillates")

# %% [markdown]
# In each wave the memory carries the method uphill, and there the gradient says so. O'Donoghue and
# Candès (2015) therefore **restart**: when memory leads uphill, drop it.
#
# **Exercise 4.** A method that needs no $\mu$. It is tried on section 9's hillside, too.

# %%
# exercise: p2.t3.e4

# %% [markdown]
# **Exercise 5.** Back to one mode, and the other way round: choose the oscillation, find the
# setting.

# %%
# exercise: p2.t3.e5

# %% [markdown]
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. A bowl has eigenvalues 9 and 1. What are the best $\eta$ and $\beta$, what does a step leave,
#    and what would gradient descent leave?
# 2. A colleague adds $\beta = 0.9$ to a noisy training run, keeps $\eta$, and finds a worse final
#    loss. What do you suggest, and why?
# 3. Both the minimum of section 9 and the 3-cycle attract. How can that be, with one valley?
#
# **So, what does remembering buy, and when does it backfire?** On a bowl, tuned, the root of
# $\kappa$; untuned, perhaps nothing. It costs a detour at the start and a larger scatter under
# noise, and a tuning made for bowls may cycle on other hillsides. Safe are
# $\eta < 2(1 - \beta)/L$, for large $\kappa$ without acceleration, or, where no curvature is below
# $\mu > 0$, Nesterov's method with it. Next: tutorial 4, where there are many valleys.
#
# ## Sources
#
# - B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", *USSR
#   Computational Mathematics and Mathematical Physics* 4 (1964),
#   [doi:10.1016/0041-5553(64)90137-5](https://doi.org/10.1016/0041-5553(64)90137-5): the heavy
#   ball.
# - L. Lessard, B. Recht, A. Packard, "Analysis and design of optimization algorithms via integral
#   quadratic constraints", *SIAM Journal on Optimization* 26 (2016),
#   [doi:10.1137/15M1009597](https://doi.org/10.1137/15M1009597): the cycle.
# - B. Goujaud, A. Taylor, A. Dieuleveut, "Provable non-accelerations of the heavy-ball method",
#   *Mathematical Programming* (2025), [arXiv:2307.11291](https://arxiv.org/abs/2307.11291).
# - Y. Nesterov, *Lectures on Convex Optimization*, 2nd edition, Springer 2018,
#   [doi:10.1007/978-3-319-91578-4](https://doi.org/10.1007/978-3-319-91578-4), section 2.2.
# - B. O'Donoghue, E. Candès, "Adaptive restart for accelerated gradient schemes", *Foundations of
#   Computational Mathematics* 15 (2015),
#   [doi:10.1007/s10208-013-9150-3](https://doi.org/10.1007/s10208-013-9150-3).
# - G. Goh, "Why momentum really works", *Distill* (2017),
#   [doi:10.23915/distill.00006](https://doi.org/10.23915/distill.00006): damping, modes and noise,
#   with figures to play with.
