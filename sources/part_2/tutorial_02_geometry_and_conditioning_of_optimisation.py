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
# # Part 2, tutorial 2: geometry and conditioning of optimisation
#
# **Why are some bowls a thousand times harder than others, and how much of that is only the choice
# of coordinates?**
#
# > **Before you start:** tutorial 1 of this part.
# >
# > **Time:** 50 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - derive the best fixed learning rate of a bowl and its rate;
# > - tell what is unstable from what is merely slow, by an experiment that does not mix the two;
# > - compute what a change of coordinates does to gradient, Hessian and path;
# > - say when rescaling each coordinate helps, and when nothing of the kind can;
# > - choose units for data and for positive parameters, and bound the κ of a kernel matrix.
# >
# > **You will build** `best_lr_and_rate`, `precondition`, `equilibrate`, `stubborn` and
# > `rosenbrock_newton`.

# %%
import math
from collections.abc import Callable

import torch
from torch import Tensor

from bolearn import dynamics, linalg, plotting, teach
from bolearn.problems import Rosenbrock

teach.setup("p2.t2")

# %% [markdown]
# ## 1. One hollow, two maps
#
# Take a round hollow of height $f = \tfrac12 (x_1^2 + x_2^2)$, with $x_1$ metres east of the lowest
# point and $x_2$ metres north. A colleague maps the same hollow, but writes the second coordinate
# in centimetres: $z_1 = x_1$, $z_2 = 100\,x_2$. The same heights, another formula:
#
# $$f = \tfrac12 \left(z_1^2 + 10^{-4} z_2^2\right).$$
#
# On the first map a step of gradient descent with $\eta = 1$ arrives at once.

# %%
teach.predict("p2.t2.q1", "On the second map, with η = 1 too: how many steps until the loss is a "
              "millionth of the first?", ["1", "about 100", "about 65,000"], guess=None)

# %%
def bowl(eigenvalues):
    """The loss ½ Σ λ_i x_i² as a function of points: ... d -> ..."""
    return lambda x: 0.5 * (eigenvalues * x.square()).sum(-1)


metres, mixed = torch.tensor([[1.0, 1.0], [1.0, 1e-4]], dtype=torch.float64)
start = torch.ones(2, dtype=torch.float64)  # one metre east, one metre north
units = torch.tensor([1.0, 100.0], dtype=torch.float64)
first_map = dynamics.trace_gd(bowl(metres), start, 1.0, steps=1)
second_map = dynamics.trace_gd(bowl(mixed), units * start, 1.0, steps=200)
teach.claim("both maps give the same height at the same place",
            error=(first_map.values[0] - second_map.values[0]).abs(), tolerance=1e-12)

# %%
def left(t):
    """The share of the first loss after t steps on the second map, by tutorial 1's formula."""
    return bowl(mixed)((1 - mixed) ** t * units * start) / second_map.values[0]


steps = math.ceil(math.log(2e-6) / (2 * math.log(1 - 1e-4)))
print("metres: 1 step; centimetres:", steps, "steps")
teach.claim("the formula agrees with 200 steps", tolerance=1e-12,
            error=(left(200) - second_map.values[200] / second_map.values[0]).abs())
teach.claim("a unit of centimetres turns 1 step into 65,609", kind="run",
            condition=bool((first_map.values[1] == 0) & (left(65_609) <= 1e-6 < left(65_608))))
teach.reveal("p2.t2.q1", "about 65,000", because="north, a step leaves 99.99 % of the distance")

# %% [markdown]
# Nothing about the hollow has changed. But a step is $\eta$ times the gradient. Per centimetre the
# gradient is a hundredth of what it is per metre, and a step of so many *centimetres* is a
# hundredth of it again: northwards it is $10^4$ times too short.
#
# ## 2. How long is the valley?
#
# Let $\mu$ be the smallest eigenvalue of the Hessian (no mean, this time), as $L$ is the largest.
# Their ratio is the bowl's **condition number**
#
# $$\kappa = L / \mu .$$
#
# Along the eigenvector of $\lambda$ the height is $\tfrac12 \lambda r^2$ at the distance $r$. So in
# two dimensions a level line is an ellipse, $\sqrt\kappa$ times longer than wide.

# %%
H = torch.tensor([[5.0, 4.0], [4.0, 5.0]], dtype=torch.float64)
(mu, L), Q = torch.linalg.eigh(H)
print(f"curvatures {mu:.0f} and {L:.0f}: κ = {torch.linalg.cond(H):.0f}")
ends = Q.T * (2 / torch.stack([mu, L]).unsqueeze(-1)).sqrt()  # of the half-axes, for the height 1
teach.claim("the ends of both half-axes have the same height", tolerance=1e-12,
            error=(0.5 * ((ends @ H) * ends).sum(-1) - 1).abs())
teach.claim("their lengths are as √κ to 1", tolerance=1e-12,
            error=(ends[0].norm() / ends[1].norm() - torch.linalg.cond(H).sqrt()).abs())

# %% [markdown]
# Which $\eta$ is best for a given bowl? The slowest mode has the factor
# $\rho = \max(|1 - \eta\mu|, |1 - \eta L|)$. A larger $\eta$ helps the flat mode, and from $1/L$ on
# harms the steep one. Best is where the two are equal, $1 - \eta\mu = \eta L - 1$:
#
# $$\eta^* = \frac{2}{L + \mu}, \qquad \rho^* = \frac{\kappa - 1}{\kappa + 1} .$$

# %%
teach.predict("p2.t2.q2", "κ = 100. By how many per cent may η* be exceeded before descent "
              "diverges?", [1, 10, 50], guess=None)

# %%
panels = {}
for kappa in (1.0, 10.0, 100.0):
    run = dynamics.trace_gd(bowl(torch.tensor([1.0, kappa], dtype=torch.float64)),
                            torch.tensor([1.0, kappa**-0.5], dtype=torch.float64) / 2**0.5,
                            2 / (kappa + 1), steps=12)
    panels[f"κ = {kappa:g}"] = (bowl(torch.tensor([1.0, kappa])), {"12 steps": run.points})
teach.explorable(
    "conditioning", {"kappa": 10.0, "eta_factor": 1.0},
    still=plotting.descents(panels, [(1.1, 1.1)]),
    alt="Twelve steps at the best learning rate: in the round bowl one reaches the minimum; "
        "for κ = 10 the path zigzags; for κ = 100, in a narrow valley, 79 % of the way is left.",
)

# %%
kappas = torch.tensor([2.0, 9.0, 11.0, 100.0, 1000.0], dtype=torch.float64)
factors = torch.tensor([0.9, 1.0, 1.1], dtype=torch.float64).unsqueeze(-1)
lam = torch.stack([torch.ones(5).double(), kappas], -1)  # 5 bowls
etas = torch.cat([factors * 2 / (kappas + 1), 1 / kappas.unsqueeze(0)])  # 4 5; the last: 1/L
runs = dynamics.trace_gd(bowl(lam), torch.ones(4, 5, 2).double(), etas, steps=300)
size = runs.points.norm(dim=-1)
rate = ((size[300] / size[280]).log() / 20).exp()  # the factor of a late step
teach.claim("at η* a step leaves (κ - 1)/(κ + 1) of the distance",
            error=(rate[1] - (kappas - 1) / (kappas + 1)).abs(), tolerance=1e-9)
teach.claim("10 % more or less is slower for every κ tried",
            bool((rate[0] > rate[1]).all() & (rate[2] > rate[1]).all()), kind="run")
teach.claim("10 % more diverges for κ = 11, 100 and 1000, and not for 2 and 9", kind="run",
            condition=(rate[2] > 1).tolist() == [False, False, True, True, True])
cautious = (rate[1].log() / rate[3].log())[-2:]  # steps with η = 1/L for each with η*
teach.claim("κ = 100 and 1000: with η = 1/L a digit takes twice the steps, to 1 %", kind="run",
            error=(cautious - 2).abs(), tolerance=0.02)
near = torch.tensor([1.009, 1.011], dtype=torch.float64) * 2 / 101
steep = dynamics.trace_gd(bowl(lam[3]), torch.ones(2, 2).double(), near, steps=300).points[..., 1]
teach.claim("κ = 100: the steep mode shrinks at 0.9 % above η* and grows at 1.1 % above it",
            bool(steep[-1, 0].abs() < 1 < steep[-1, 1].abs()), kind="run")
teach.reveal("p2.t2.q2", 1, because="the edge is 2/L = (1 + 1/κ) η*")

# %% [markdown]
# This is the theory of the V in Part 1, tutorial 3: its tip is $\eta^*$, and in a long valley the
# tip lies close to the limit $2/L$. The cautious $\eta = 1/L$ leaves $1 - 1/\kappa$: in a long
# valley twice the steps, and no mode rings. (Move $\kappa$ in the page above, and see what a digit
# costs.)
#
# **Exercise 1.** The best learning rate of any bowl.

# %%
# exercise: p2.t2.e1

# %% [markdown]
# ## 3. An unfair race
#
# Does a large $\kappa$ really make a bowl hard? The obvious experiment: fix $\eta = 0.1$, vary
# $\kappa$, count steps until the loss is a millionth of the first.

# %%
teach.predict("p2.t2.q3", "From κ = 5 to κ = 15, the steps with η = 0.1 ...",
              ["triple", "rise a little", "fall a little"], guess=None)

# %%
def steps_needed(values):
    """The first row in which the loss is a millionth of the first; NaN where there is none."""
    there = values <= 1e-6 * values[0]
    return torch.where(there.any(0), there.double().argmax(0).double(), torch.nan)


def race(kappas, etas, steps):
    """Steps in bowls with the eigenvalues 1 and κ, all from (1, 1)."""
    lam = torch.stack([torch.ones_like(kappas), kappas], -1)
    starts = torch.ones_like(lam)
    return steps_needed(dynamics.trace_gd(bowl(lam), starts, etas, steps).values)


kappas = torch.arange(2, 41, dtype=torch.float64)
unfair = race(kappas, 0.1, 500)
figure = plotting.curves(kappas, {"η = 0.1 for all": unfair}, xlabel="condition number κ",
                         ylabel="steps to a millionth", marks={"from here on: none arrives": 20.0})
figure.axes[0].set(xlim=(0, 41), ylim=(0, 80))
teach.show(figure, "Steps against the condition number with one learning rate for all: slightly "
           "falling from 61 to 52, up again to 66 at κ = 19, and from κ = 20 on no points at all.")

# %%
five, ten, fifteen = (unfair[kappas == k].item() for k in (5, 10, 15))
print(f"κ = 5, 10, 15: {five:.0f}, {ten:.0f}, {fifteen:.0f} steps")
teach.claim("with one η for all, κ = 15 needs fewer steps than κ = 5", fifteen < five, kind="run")
teach.claim("up to κ = 19 all arrive, from 20 on none", kind="run",
            condition=unfair.isfinite().tolist() == (kappas < 20).tolist())
shallow = race(torch.ones(1).double(), 0.1 * 0.2, 1000)  # round, with both eigenvalues 0.2
print(f"a round but shallow bowl, κ = 1: {shallow.item():.0f} steps")
teach.claim("with η = 0.1 a round bowl of curvature 0.2 takes more than six times the steps of "
            "κ = 15", bool(shallow > 6 * fifteen), kind="run")
teach.reveal("p2.t2.q3", "fall a little", because="the flat mode, always at 0.9, sets the pace")

# %% [markdown]
# Does a larger $\kappa$ help, and then suddenly harm? The plot shows two other things. The pace is
# $1 - \eta\mu$, the same for all. Divergence begins where $\eta L = 2$: **stability** depends on
# $L$ alone, and a smaller $\eta$ restores it. **Conditioning** is the conflict between the two: the
# steep mode would like $1/L$ and, for $\kappa \ge 2$, forbids the $1/\mu$ that the flat one would
# like. No single $\eta$ resolves that. (The slight fall is an artefact: in a steeper bowl more of
# the first loss belongs to the steep mode, which goes quickly unless the limit is near.)
#
# A fair race gives every bowl its own best $\eta$.

# %%
teach.predict("p2.t2.q4", "Each at its η*: ten times the κ takes how many times the steps?",
              guess=None)

# %%
kappas = torch.tensor([5, 10, 20, 50, 100, 200, 500, 1000], dtype=torch.float64)
fair = race(kappas, 2 / (kappas + 1), 3500)
theory = math.log(1e-6) / (2 * ((kappas - 1) / (kappas + 1)).log())
print("steps:", [int(count) for count in fair.tolist()])
teach.show(
    plotting.curves(kappas, {"each at its η*": fair, "3.45 κ": math.log(1e6) / 4 * kappas},
                    xlabel="condition number κ", ylabel="steps to a millionth", log="xy"),
    "Steps against the condition number, each at its best learning rate, on logarithmic axes: "
    "the measured points lie on the straight line 3.45 κ, from 18 to 3454 steps.",
)

# %%
power = (fair[-1] / fair[2]).log() / (kappas[-1] / kappas[2]).log()
teach.claim("the steps are those of the formula, rounded up, ±1", tolerance=1,
            error=(fair - theory.ceil()).abs())
teach.claim("steps grow like κ: power 1 from κ = 20 on", error=(power - 1).abs(), tolerance=0.01,
            kind="run")
teach.reveal("p2.t2.q4", 10, because="ln ρ* is about -2/κ")

# %% [markdown]
# ## 4. Exact line search
#
# Perhaps a *fixed* $\eta$ is to blame. Go along the gradient's line exactly to its lowest point:
# **exact line search**. With the gradient $g$, that is $\eta = g^\top g \,/\, g^\top H g$, and
# there the new gradient is perpendicular to the old.

# %%
teach.predict("p2.t2.q5", "From its worst start, against the best fixed η, exact search is ...",
              ["twice as fast", "as fast", "slower"], guess=None)

# %%
def exact_search(lam, start, steps):
    """Points and gradients of descent with exact line search in bowls along the axes."""
    x, points, gradients = start, [start], [lam * start]
    for _ in range(steps):
        g = gradients[-1]
        x = x - g.square().sum(-1, keepdim=True) / (lam * g.square()).sum(-1, keepdim=True) * g
        points.append(x)
        gradients.append(lam * x)
    return torch.stack(points), torch.stack(gradients)


lam = torch.tensor([1.0, 10.0], dtype=torch.float64)
worst = torch.tensor([10.0, 1.0], dtype=torch.float64)
t = torch.linspace(0, 8, 400, dtype=torch.float64).unsqueeze(-1)
paths = {"exact line search": exact_search(lam, worst, 30)[0], "flow": (-lam * t).exp() * worst}
teach.show(
    plotting.descents({"κ = 10, start (κ, 1)": (bowl(lam), paths)}, [(11.0, 3.2)]),
    "Exact line search zigzags between the two walls of the valley, turning by a right angle at "
    "each step; the flow bends to the valley floor at once and follows it to the minimum.",
)

# %%
kappa = 50.0
lam = torch.tensor([1.0, kappa], dtype=torch.float64)
points, gradients = exact_search(lam, torch.tensor([kappa, 1.0], dtype=torch.float64), 40)
values = bowl(lam)(points)
print(f"κ = 50: each step leaves {values[1] / values[0]:.4f} of the loss")
worst_ratio = ((kappa - 1) / (kappa + 1)) ** 2
teach.claim("from (κ, 1) every such step leaves ((κ - 1)/(κ + 1))² of the loss",
            error=(values[1:] / values[:-1] - worst_ratio).abs(), tolerance=1e-9)
cosine = torch.cosine_similarity(gradients[1:], gradients[:-1], dim=-1)
teach.claim("successive gradients are perpendicular", error=cosine.abs(), tolerance=1e-9)
fixed = dynamics.trace_gd(bowl(lam), points[0], 2 / (kappa + 1), steps=40).points
teach.claim("these are the steps of the best fixed η", error=(fixed - points).abs(), tolerance=1e-9)
teach.reveal("p2.t2.q5", "as fast", because="from there it chooses η* at every step")

# %% [markdown]
# At $(\kappa, 1)$ the gradient is $(\kappa, \kappa)$: equal parts of both modes, for which the best
# step is $\eta^*$; and the next point has the same shape, mirrored. Is any start worse? No: that is
# Kantorovich's inequality.

# %%
g = torch.Generator().manual_seed(0)
lam = 10 ** (3 * torch.rand(1000, 6, generator=g, dtype=torch.float64))  # 1000 bowls
kappas = lam.amax(-1) / lam.amin(-1)
points, _ = exact_search(lam, torch.randn(1000, 6, generator=g, dtype=torch.float64), 20)
values = bowl(lam)(points)
ratio, bound = values[1:] / values[:-1], ((kappas - 1) / (kappas + 1)) ** 2
teach.claim("in 1000 random bowls of 6 dimensions no step of exact search is worse than that",
            bool((ratio <= bound * (1 + 1e-12)).all()), kind="theorem")

# %% [markdown]
# Exact line search needs no $L$, but from its worst start takes as many steps as $\eta^*$: in a
# long valley the steepest way down seldom points at the minimum. (In two dimensions $\eta = 1/L$,
# then $1/\mu$, arrive from any start; but one has to know both.)
#
# ## 5. The rules of a change of coordinates
#
# Write old coordinates as $x = S z$, with an invertible matrix $S$. The chain rule gives
#
# $$\nabla_z f = S^\top \nabla_x f, \qquad H_z = S^\top H_x\, S .$$
#
# A step on the map $z$, carried back to $x$, multiplies by $S$ once more:
#
# $$x \leftarrow x - \eta\, S S^\top \nabla_x f .$$
#
# So *choosing coordinates* and *multiplying the gradient* by $P = S S^\top$ are the same thing. $P$
# is called a **preconditioner**.

# %%
rosenbrock = Rosenbrock().loss  # the curved valley 100 (x₂ - x₁²)² + (1 - x₁)²
S = torch.tensor([[0.5, 0.2], [0.0, 0.1]], dtype=torch.float64)
x0 = torch.tensor([-1.2, 1.0], dtype=torch.float64)
z0 = torch.linalg.solve(S, x0)


def on_map(z):  # ... 2 -> ...
    return rosenbrock(z @ S.T)


H_x, H_z = (torch.func.hessian(f)(at) for f, at in ((rosenbrock, x0), (on_map, z0)))
teach.claim("the Hessian on the map z is Sᵀ H S", error=(H_z - S.T @ H_x @ S).abs(),
            tolerance=1e-9)
x, by_hand = x0, [x0]
for _ in range(100):
    x = x - 0.002 * S @ S.T @ torch.func.grad(rosenbrock)(x)
    by_hand.append(x)
in_z = dynamics.trace_gd(on_map, z0, 0.002, steps=100).points
teach.claim("100 steps on the map z are 100 steps in x with the gradient multiplied by S Sᵀ",
            error=(torch.stack(by_hand) - in_z @ S.T).abs(), tolerance=1e-9)

# %% [markdown]
# **Exercise 2.** Turn this into a function.

# %%
# exercise: p2.t2.e2

# %% [markdown]
# If a map makes the bowl round, descent there is a straight line, and so is its image in $x$.

# %%
lam = torch.tensor([1.0, 25.0], dtype=torch.float64)
s = lam.rsqrt()  # S = diag(1, 1/5): on the map z both curvatures are 1
start = torch.tensor([1.0, 0.8], dtype=torch.float64)
in_z = dynamics.trace_gd(lambda z: bowl(lam)(s * z), start / s, 0.3, steps=12).points
in_x = dynamics.trace_gd(bowl(lam), start, 2 / 26, steps=12).points
teach.show(
    plotting.descents(
        {"on the map z": (bowl(torch.ones(2)), {"descent in z": in_z}),
         "the same, carried back to x": (bowl(lam), {"descent in z": in_z * s,
                                                     "descent in x": in_x})},
        [(4.6, 4.6), (1.2, 1.2)], labels=[("z₁", "z₂"), ("x₁", "x₂")]),
    "Left, round level lines and a straight path to the centre. Right, the same path in the long "
    "valley, straight as well, beside descent in x, which zigzags and is not there yet.",
)

# %%
Q = torch.linalg.qr(torch.randn(2, 2, generator=g, dtype=torch.float64)).Q  # a rotation
D = torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64))  # other units
plain = dynamics.trace_gd(rosenbrock, x0, 0.001, steps=100).points
moved = {}
for name, M in {"rotated": Q, "scaled": D}.items():
    run = dynamics.trace_gd(lambda z, M=M: rosenbrock(z @ M.T), torch.linalg.solve(M, x0), 0.001,
                            steps=100)
    moved[name] = (run.points @ M.T - plain).abs().max()
teach.claim("gradient descent takes the same path on a rotated map", error=moved["rotated"],
            tolerance=1e-9)
teach.claim("with half the unit on one axis it takes another", bool(moved["scaled"] > 0.01),
            kind="run")

# %% [markdown]
# Rotations have $S S^\top = I$ and leave the path as it is. Units and slanted axes do not.
#
# ## 6. Units that help, and units that cannot
#
# The cheapest remedy is a unit for each coordinate: $S$ diagonal, with $s_i = 1/\sqrt{H_{ii}}$, so
# that all curvatures along the axes become 1 (**Jacobi scaling**). A valley along an axis with
# $\kappa = 100$ becomes round. Now turn the valley.

# %%
teach.predict("p2.t2.q6", "Turned by 45°, κ = 100. What is κ after Jacobi scaling?", [1, 10, 100],
              guess=None)

# %%
degrees = torch.arange(0, 91, 1, dtype=torch.float64)
c, s = degrees.deg2rad().cos(), degrees.deg2rad().sin()
R = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)  # 91 rotations
H = R @ torch.diag(torch.tensor([1.0, 100.0], dtype=torch.float64)) @ R.mT
root = H.diagonal(dim1=-2, dim2=-1).rsqrt()
scaled = root.unsqueeze(-1) * H * root.unsqueeze(-2)  # S H S
kappa_before, kappa_after = torch.linalg.cond(H), torch.linalg.cond(scaled)
teach.show(
    plotting.curves(degrees, {"before": kappa_before, "after Jacobi scaling": kappa_after}, log="y",
                    xlabel="angle between the valley and an axis (degrees)",
                    ylabel="condition number κ"),
    "Condition number against the valley's angle: always 100 before; after scaling 1 at 0 and 90 "
    "degrees, above 10 between about 9 and 81 degrees, and 100 at 45 degrees.",
)

# %%
print(f"κ after scaling: {kappa_after[0]:.0f} at 0°, {kappa_after[10]:.0f} at 10°, "
      f"{kappa_after[45]:.0f} at 45°")
r = scaled[:, 0, 1].abs()
teach.claim("after scaling κ = (1 + |r|)/(1 - |r|), with r the entry beside the diagonal",
            error=(kappa_after / ((1 + r) / (1 - r)) - 1).abs(), tolerance=1e-9)
teach.claim("0°: 100 becomes 1", error=(kappa_after[0] - 1).abs(), tolerance=1e-9)
teach.claim("45°: 100 stays 100", error=(kappa_after[45] - 100).abs(), tolerance=1e-9)
teach.reveal("p2.t2.q6", 100, because="both axes see the same curvature: nothing to rescale")

# %% [markdown]
# **Exercises 3 and 4.** Scale any bowl; then build one that no scaling helps.

# %%
# exercise: p2.t2.e3

# %%
# exercise: p2.t2.e4

# %% [markdown]
# "But Adam fixes conditioning." **Adam** divides each coordinate of a (smoothed) gradient by the
# recent size of that coordinate: a scale for each axis, learnt on the way. It should then do what
# Jacobi scaling does, and no more.

# %%
teach.predict("p2.t2.q7", "In a valley along an axis, κ = 1000, Adam's path against the one in a "
              "round bowl is ...", ["30 times slower", "a little slower", "the same"], guess=None)

# %%
def adam(H, starts, lrs, steps):
    """Points of torch.optim.Adam, ½ xᵀ H x from all starts: t, rates, starts, 2."""
    leaves = [starts.clone().requires_grad_() for _ in lrs]
    groups = [{"params": [leaf], "lr": lr} for leaf, lr in zip(leaves, lrs, strict=True)]
    optimizer, points = torch.optim.Adam(groups), []
    for _ in range(steps + 1):
        x = torch.stack(leaves)
        points.append(x.detach())
        optimizer.zero_grad()
        (0.5 * ((x @ H) * x).sum()).backward()
        optimizer.step()
    return torch.stack(points)

# %%
along = torch.diag(torch.tensor([1.0, 1000.0], dtype=torch.float64))
turn = R[45]
starts = torch.randn(16, 2, generator=g, dtype=torch.float64)
starts = starts / starts.norm(dim=-1, keepdim=True)
round_bowl = adam(torch.eye(2).double(), starts, [0.1], 300)
in_valley = adam(along, starts, [0.1], 300)
turned = adam(turn @ along @ turn.T, starts @ turn.T, [0.1], 300) @ turn
teach.claim("along an axis Adam's path for κ = 1000 is the path in a round bowl",
            error=(in_valley - round_bowl).abs(), tolerance=1e-6)
teach.claim("turned by 45° it is another", bool((turned - round_bowl).abs().max() > 0.1),
            kind="run")
first_steps = torch.stack([run[1] - run[0] for run in (round_bowl, in_valley)]).abs()
teach.claim("its first step is η along every axis, whatever the curvature",
            error=(first_steps - 0.1).abs(), tolerance=1e-4)
teach.reveal("p2.t2.q7", "the same", because="dividing by the gradient's size cancels λ")

# %% [markdown]
# Along an axis Adam cannot see $\kappa$ at all. (But its $\eta$ now has each coordinate's unit: of
# a distance written in millimetres a step covers about 0.1 mm.) And turned? A fair race again: the
# same 16 starts, and for each arm the best of six learning rates.

# %%
def best_of(H, starts):
    """Steps to a millionth from each start, at the learning rate with the smallest median."""
    points = adam(H, starts, [0.01, 0.03, 0.1, 0.3, 1.0, 3.0], 1500)
    losses = 0.5 * ((points @ H) * points).sum(-1)
    counts = steps_needed(losses).nan_to_num(math.inf)  # rates starts
    return counts[counts.median(-1).values.argmin()]


straight = best_of(along, starts)
slanted = best_of(turn @ along @ turn.T, starts @ turn.T)
times = (slanted / straight).log()
error = times.std() / 4  # of the mean of 16
teach.claim("turned by 45°, Adam takes at least twice the steps (mean over 16 paired starts)",
            bool(times.mean() - 4 * error > math.log(2)), kind="paired")
plain = theory[-1].ceil()  # gradient descent, κ = 1000, from section 3; the same for any angle
teach.claim("and yet less than a third of those of plain gradient descent at its best η",
            bool((slanted < plain / 3).all()), kind="paired")

# %% [markdown]
# So Adam, its momentum included, mends unequal axes, and in the turned valley keeps some of its
# lead over plain descent. ("Steps to a millionth" means the first visit: with a fixed rate Adam may
# leave again.)
#
# ## 7. Newton's method
#
# Which coordinates would make *any* bowl round? $S = H^{-1/2}$, for then $S^\top H S = I$. Its
# preconditioner is $S S^\top = H^{-1}$, and $\eta = 1$ arrives at once:
#
# $$x \leftarrow x - H^{-1} \nabla f(x) .$$
#
# That is **Newton's method**. It brings its coordinates along, so it should not care about ours,
# however slanted or shifted.

# %%
bend = torch.tensor([[2.0, 1.0], [0.0, 0.1]], dtype=torch.float64)
shift = torch.tensor([0.3, -0.2], dtype=torch.float64)
z0 = torch.linalg.solve(bend, x0 - shift)
apart = {}
for damping in (0.0, 1.0):
    ours = dynamics.trace_newton(rosenbrock, x0, 8, damping=damping)
    theirs = dynamics.trace_newton(lambda z: rosenbrock(z @ bend.T + shift), z0, 8, damping=damping)
    apart[damping] = (theirs.points @ bend.T + shift - ours.points).abs().max()
    print(f"damping {damping:g}: loss", ", ".join(f"{f:.2g}" for f in ours.values[:7].tolist()))
teach.claim("Newton's path in the curved valley is the same on any affine map", error=apart[0.0],
            tolerance=1e-9)
teach.claim("with a damping of 1 the map matters again", bool(apart[1.0] > 0.1), kind="run")
far_out = torch.tensor([3.0, -7.0], dtype=torch.float64)
one = dynamics.trace_newton(bowl(lam), far_out, 1)
teach.claim("in a bowl one Newton step arrives", error=one.points[1].abs(), tolerance=1e-12)

# %% [markdown]
# It has a price: a Hessian, and a linear system to solve. And it is reckless: the third loss above,
# without damping, is far above the first. Adding a large enough multiple of $I$ to $H$
# (**damping**) shortens the step and turns it downhill; but "$I$" asks once more in which units.
#
# **Exercise 5.** A Newton method that never climbs.

# %%
# exercise: p2.t2.e5

# %% [markdown]
# ## 8. Units where you choose them
#
# *Data.* In Part 1, tutorial 3, the Hessian of least squares was $A^\top A/n$: the features' units
# are the coordinates. Two correlated features, a temperature near 300 K and a pressure near
# 100,000 Pa, and the column of ones:

# %%
teach.predict("p2.t2.q8", "Which alone lowers κ more?", ["subtracting each feature's mean",
              "dividing by its standard deviation"], guess=None)

# %%
a, b = torch.randn(2, 200, generator=g, dtype=torch.float64)
F = torch.stack([300 + 5 * a, 1e5 + 1e3 * (0.8 * a + 0.6 * b)], -1)
centred, spread = F - F.mean(0), F.std(0, correction=0)


def kappa_of(features):
    A = torch.cat([features, torch.ones(200, 1, dtype=torch.float64)], -1)
    return torch.linalg.cond(A) ** 2  # of Aᵀ A / n, without forming it


versions = {"raw": F, "divided": F / spread, "centred": centred, "both": centred / spread}
kappa = {name: kappa_of(features) for name, features in versions.items()}
print("log10 κ:", ", ".join(f"{name} {value.log10():.1f}" for name, value in kappa.items()))
r = (centred / spread).prod(-1).mean()  # the correlation in the sample
teach.claim("standardized, κ = (1 + r)/(1 - r): only the correlation is left",
            error=(kappa["both"] / ((1 + r) / (1 - r)) - 1).abs(), tolerance=1e-9)
teach.claim("centring alone lowers κ more than dividing alone, and both together lower it more",
            bool(kappa["both"] < kappa["centred"] < kappa["divided"] < kappa["raw"]),
            kind="run")
teach.reveal("p2.t2.q8", "subtracting each feature's mean",
             because="a far-off mean slants a feature against the ones")

# %% [markdown]
# Dividing chooses units; centring removes the slant against the constant; the slant between the
# features stays.
#
# *Positive parameters.* Part 3 will fit variances $s_i > 0$, with losses such as
# $\tfrac12 \sum_i (\ln s_i + v_i/s_i)$, smallest at $s_i = v_i$, where $v_i$ is the spread in the
# data. Three of them, of sizes 0.001, 1 and 1000:

# %%
v = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)


def negative_log_likelihood(s):
    return 0.5 * (s.log() + v / s).sum()


in_s = torch.func.hessian(negative_log_likelihood)(v)
in_log = torch.func.hessian(lambda u: negative_log_likelihood(u.exp()))(v.log())
print(f"κ at the minimum: {torch.linalg.cond(in_s):.0e} in s, {torch.linalg.cond(in_log):.0f} in "
      "ln s")
teach.claim("in s the curvatures are 1/(2 v²)", tolerance=1e-9,
            error=(in_s.diagonal() * 2 * v**2 - 1).abs())
teach.claim("in ln s they are ½, whatever the units", error=(in_log - 0.5 * torch.eye(3)).abs(),
            tolerance=1e-9)

# %% [markdown]
# The logarithm is no linear map, so $S^\top H S$ holds at the minimum only, where $S$ is the
# diagonal matrix of the $s_i$. It keeps them positive, too, and a step multiplies a scale by the
# same factor whatever its unit: Part 3 fits scales by their logarithms.
#
# ## 9. Kernel matrices
#
# Part 3 solves $(K + \sigma^2 I)\,\alpha = y$, with the kernel matrix of Part 1, tutorial 1, and
# the variance $\sigma^2$ of the measurements' noise. Its $\alpha$ is the minimum of the bowl
# $\tfrac12 \alpha^\top (K + \sigma^2 I)\,\alpha - y^\top \alpha$. How long is that valley? No
# eigenvalue of $K$ is negative, and none exceeds their sum, the trace, which is $n$ if
# $k(x, x) = 1$. So
#
# $$\kappa \;\le\; 1 + n / \sigma^2 .$$

# %%
teach.predict("p2.t2.q9", "100 random points between 0 and 1, ℓ = 0.2, noise of standard deviation "
              "0.1. Ten times better measurements, 0.01, multiply κ by about ...", [10, 100, 1000],
              guess=None)

# %%
sizes, noises = [10, 25, 50, 100, 200, 400], [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
table, bounds = torch.zeros(2, len(sizes), len(noises), dtype=torch.float64)
for i, n in enumerate(sizes):
    points = torch.rand(n, 1, generator=g, dtype=torch.float64)
    K = torch.exp(-0.5 * linalg.squared_distances(points, points) / 0.2**2)  # ℓ = 0.2
    values = torch.linalg.eigvalsh(K).clamp(min=0.0)  # rounding may leave a -1e-16
    for j, noise in enumerate(noises):
        table[i, j] = (values[-1] + noise) / (values[0] + noise)
        bounds[i, j] = 1 + n / noise
figure = plotting.value_table(table.log10(), sizes, [f"{noise:g}" for noise in noises],
                              xlabel="noise variance σ²", ylabel="points n",
                              label="log10 of the condition number")
teach.show(figure, "Table of log10 κ of K + σ²I in colours: it grows by about one with each "
           "tenfold smaller noise variance and each tenfold number of points, from 0.7 to 8.2.")

# %%
together = torch.linalg.cond(torch.ones(50, 50, dtype=torch.float64) + 1e-3 * torch.eye(50))
teach.claim("κ(K + σ²I) is at most 1 + n/σ² for all 42 pairs of n and σ², and exactly that where "
            "all points coincide", bool((table <= bounds).all()), kind="theorem", tolerance=1e-6,
            error=(together / (1 + 50 / 1e-3) - 1).abs())
teach.claim("with ℓ = 0.2 and 400 points the bound is within a factor of 3", kind="run",
            condition=bool((bounds[-1] <= 3 * table[-1]).all()))
n100 = table[sizes.index(100)]
teach.claim("100 points: σ from 0.1 to 0.01 multiplies κ by 100, to 2 %", tolerance=0.02,
            error=(n100[noises.index(1e-4)] / n100[noises.index(1e-2)] / 100 - 1).abs(),
            kind="run")
alpha = torch.randn(400, generator=g, dtype=torch.float64)
lost = []
for j, noise in enumerate(noises):
    M = K + noise * torch.eye(400, dtype=torch.float64)
    error = (torch.linalg.solve(M, M @ alpha) - alpha).norm() / alpha.norm()
    lost.append(error / (table[-1, j] * 2**-52))
teach.claim("400 points: solving for α multiplies float64's rounding by κ, within a factor of 100",
            bool(all(0.01 < share < 100 for share in lost)), kind="run")
teach.reveal("p2.t2.q9", 100, because="K's smallest eigenvalue is far below σ²: κ goes like 1/σ²")

# %% [markdown]
# So measurements with little noise are harder for a solver: it loses up to about $\log_{10} \kappa$
# of float64's 16 digits. (A shorter lengthscale $\ell$ flattens $K$'s spectrum and leaves more room
# below the bound; once $K$'s smallest eigenvalue is far above $\sigma^2$, as for 100 random points
# in ten dimensions, $\kappa$ hardly depends on the noise.) Jacobi scaling changes nothing: $K$'s
# diagonal is constant already. Part 3 factorises instead of descending, and loses those digits,
# too.
#
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. A plot shows steps against $\kappa$ with one learning rate for all, flat and then infinite.
#    Which two effects does it mix, and what would you plot?
# 2. You measure $x_2$ in millimetres instead of metres. What happens to gradient, Hessian, path of
#    gradient descent, path of Newton's method, path of Adam?
# 3. A colleague has standardised all features and still needs 10,000 steps. What do you look at?
#
# **So, why are some bowls a thousand times harder?** One step size must serve all directions, and
# their curvatures differ by $\kappa$. All of that is coordinates: near a minimum, some map makes
# any bowl round. What units cause costs nothing to mend; a slant needs a whole matrix, at best the
# inverse Hessian. Next: tutorial 3, how far one gets without any, with a memory.
#
# ## Sources
#
# - J. Nocedal, S. J. Wright, *Numerical Optimization*, 2nd edition, Springer 2006,
#   [doi:10.1007/978-0-387-40065-5](https://doi.org/10.1007/978-0-387-40065-5), chapters 2 and 3:
#   scaling, exact line search, Newton's method.
# - A. van der Sluis, "Condition numbers and equilibration of matrices", *Numerische Mathematik* 14
#   (1969), [doi:10.1007/BF02165096](https://doi.org/10.1007/BF02165096): Jacobi scaling is within a
#   factor $d$ of the best diagonal one.
# - D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", *ICLR* 2015,
#   [arXiv:1412.6980](https://arxiv.org/abs/1412.6980).
