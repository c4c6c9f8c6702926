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
# # Part 1, tutorial 3: a minimal learning problem
#
# **What is the smallest program that learns, and how do you know it learned the right thing?**
#
# > **Before you start:** tutorials 1 and 2; derivatives; eigenvalues of a symmetric matrix.
# >
# > **Time:** 50 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - derive the gradient of a loss by hand, of a second one in an exercise, and check any gradient
# >   numerically;
# > - write a training loop, and say what goes wrong without each of its lines;
# > - compute from the data the learning rate at which the loop explodes;
# > - tell "the loss is small" from "the minimum is reached";
# > - expose loops that run without an error and learn the wrong thing.
# >
# > **You will build** `bce_grad`, `fit_linear`, `critical_lr` and `broken_loops`.

# %%
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from bolearn import dynamics, plotting, teach

teach.setup("p1.t3")

# %% [markdown]
# ## 1. Data, a model, a loss
#
# Forty plants were watched for a week. $x_1$ is the extra water each got (litres, more or less than
# usual), $x_2$ the extra sun (hours), $y$ its growth (cm). We made the data ourselves, so we know
# what there is to learn: 0.8 cm for a litre, 0.5 cm for an hour, 2 cm without either, plus noise.

# %%
g = torch.Generator().manual_seed(0)
n = 40
X = torch.randn(n, 2, generator=g, dtype=torch.float64) * torch.tensor([1.0, 3.0])
A = torch.cat([X, torch.ones(n, 1)], dim=-1)  # n 3: a column of ones for the constant
theta_true = torch.tensor([0.8, 0.5, 2.0], dtype=torch.float64)
y = A @ theta_true + 0.1 * torch.randn(n, generator=g, dtype=torch.float64)
print(A[:3])
print(y[:3])

# %% [markdown]
# The **model** predicts $w_1 x_1 + w_2 x_2 + b$. We stack its three **parameters** into one vector
# $\theta = (w_1, w_2, b)$; thanks to the column of ones, all predictions are $A\theta$. A **loss**
# $f$ says in one number how wrong they are. Ours is half the mean squared error,
#
# $$f(\theta) = \frac{1}{2n} \sum_{i=1}^{n} r_i^2, \qquad r = A\theta - y .$$
#
# The half will cancel a 2. **Learning** is looking for a $\theta$ with a small loss.

# %%
def half_mse(theta):
    """... 3 -> ...: axes in front of theta hold further candidates."""
    return 0.5 * (theta @ A.T - y).square().mean(-1)


teach.predict(
    "p1.t3.q1", "Which parameters have the smallest loss on these 40 plants?",
    ["theta_true, which made the data", "others"], guess=None,
)

# %%
best = torch.linalg.lstsq(A, y).solution  # linear algebra solves this problem at once
for name, theta in {"zero": 0 * best, "theta_true": theta_true, "least squares": best}.items():
    rounded = ", ".join(f"{value:.2f}" for value in theta.tolist())
    print(f"{name:14} loss {half_mse(theta):.4f}   at ({rounded})")
teach.claim("least squares has a smaller loss than the parameters that made the data",
            bool(half_mse(best) < half_mse(theta_true)), kind="run")
teach.reveal("p1.t3.q1", "others", because="they bend a little towards the noise of these 40")

# %% [markdown]
# So a smaller loss need not be closer to the truth: what least squares gains over `theta_true` it
# gains by fitting the noise. But the minimum is what a loop can aim at, and `lstsq` tells us where
# it is.
#
# ## 2. The gradient, by hand and by machine
#
# The **gradient** $\nabla f$ collects the derivatives of the loss in each parameter; it points
# uphill. Only $r_i = \sum_j A_{ij}\theta_j - y_i$ depends on $\theta_j$, with derivative $A_{ij}$,
# so by the chain rule
#
# $$\frac{\partial f}{\partial \theta_j} = \frac{1}{n} \sum_i r_i A_{ij},
# \qquad\text{that is,}\qquad \nabla f(\theta) = \tfrac{1}{n} A^\top r .$$
#
# torch can do this for us, by **autograd**. `requires_grad` asks it to take notes of every
# operation on a tensor, and `backward` reads them backwards and puts the gradient into `.grad`.

# %%
def gradient_by_hand(theta):
    return (theta @ A.T - y) @ A / n  # ... n times n 3


many = torch.randn(100, 3, generator=g, dtype=torch.float64).requires_grad_()
half_mse(many).sum().backward()  # row i of many.grad: only loss i depends on row i
teach.claim("autograd's gradient is the one derived by hand, at 100 random parameters",
            error=(many.grad - gradient_by_hand(many)).abs(), tolerance=1e-12)

# %%
teach.predict(
    "p1.t3.q2", "We compute the loss again and call backward again. many.grad is now ...",
    ["the same", "twice as large", "zero"], guess=None,
)

# %%
first = many.grad.clone()
half_mse(many).sum().backward()
teach.claim("a second backward adds to .grad instead of overwriting it", kind="run",
            condition=torch.equal(many.grad, 2 * first))
teach.reveal("p1.t3.q2", "twice as large", because="backward adds to what .grad already holds")

# %% [markdown]
# Section 7 shows what happens to a loop that forgets this.
#
# ## 3. A second loss, and a check for any gradient
#
# Often the outcome is a yes or no. Say a plant *thrives* if it grows more than 2 cm: label 1, else
# 0. The model's number is now a **score** $z$, turned into a probability by
# $\sigma(z) = 1/(1 + e^{-z})$. The loss of a plant is minus the log of the probability given to
# what happened: $-\log\sigma(z)$ or $-\log(1 - \sigma(z))$. Both are
#
# $$\log(1 + e^z) - \text{label} \cdot z = \text{softplus}(z) - \text{label} \cdot z ,$$
#
# and the mean over the plants is the **cross-entropy**.

# %%
thrives = (y > 2.0).double()


def cross_entropy(theta):
    z = theta @ A.T
    return (softplus(z) - thrives * z).mean(-1)


print(f"{int(thrives.sum())} of {n} plants thrive; all-zero parameters give each of them "
      f"{torch.sigmoid(torch.tensor(0.0)):.1f} and a loss of {cross_entropy(0 * best):.3f}")

# %% [markdown]
# **Exercise 1.** The derivative of softplus is $\sigma$. Find the gradient of the cross-entropy,
# for weights and constant apart, and make it survive scores of ±800.

# %%
# exercise: p1.t3.e1

# %% [markdown]
# Is a gradient right? Nudge one parameter both ways and compare: the **central difference**
#
# $$\frac{f(\theta + h e_j) - f(\theta - h e_j)}{2h} \approx
# \frac{\partial f}{\partial \theta_j}$$
#
# needs no calculus ($e_j$ is 1 at $j$ and 0 elsewhere). Surely $h$ must be small?

# %%
teach.predict(
    "p1.t3.q3", "Half the mean squared error, with h = 1: how far off is the central difference?",
    ["about 1", "about 0.01", "rounding only"], guess=None,
)

# %%
def central_difference(loss, theta, h):
    steps = h * torch.eye(theta.shape[-1], dtype=torch.float64)
    theta = theta.unsqueeze(-2)  # ... 1 d, so that each row of steps moves one parameter
    return (loss(theta + steps) - loss(theta - steps)) / (2 * h)


points = many.detach()
teach.claim("on a quadratic loss the central difference is exact, even with h = 1",
            error=(central_difference(half_mse, points, 1.0) - gradient_by_hand(points)).abs(),
            tolerance=1e-11)
teach.reveal("p1.t3.q3", "rounding only", because="its error comes from third derivatives: none")

# %% [markdown]
# On a parabola a chord is parallel to the tangent at its middle. The cross-entropy is no parabola.
# We sweep $h$ over fourteen powers of ten.

# %%
points.grad = None
points.requires_grad_()
cross_entropy(points).sum().backward()
exact, points = points.grad, points.detach()
h = torch.logspace(-13, 0, 53, dtype=torch.float64)
errors = torch.stack([
    (central_difference(cross_entropy, points, step) - exact).square().mean().sqrt()
    for step in h.tolist()
])
optimum = torch.finfo(torch.float64).eps ** (1 / 3)
teach.show(
    plotting.curves(h, {"central difference": errors}, xlabel="h", log="xy",
                    ylabel="error (root mean square)", marks={"cube root of eps": optimum}),
    "The error of a central difference against h is a V on two logarithmic axes: it falls, reaches "
    "a few 1e-11 near the cube root of eps, and rises twice as steeply.",
)

# %%
def slope(low, high):
    """Of log error over log h, by least squares."""
    inside = (h >= low) & (h <= high)
    columns = torch.stack([h[inside].log(), torch.ones(int(inside.sum()))], dim=-1)
    return torch.linalg.lstsq(columns, errors[inside].log()).solution[0]


teach.claim("right of the V's tip the error grows like h²", kind="run",
            error=(slope(1e-4, 1e-2) - 2).abs(), tolerance=0.2)
teach.claim("left of it the error grows like 1/h", kind="run",
            error=(slope(1e-12, 1e-6) + 1).abs(), tolerance=0.2)
away = (h[errors.argmin()] / optimum).log10().abs()
teach.claim("the tip is at the cube root of eps, within a power of ten", error=away, tolerance=1,
            kind="run")

# %% [markdown]
# On the right Taylor's remainder rules, $h^2/6$ times a third derivative. On the left it is the
# cancellation of tutorial 1: rounding of the size eps times $f$, divided by $2h$. They balance
# where $h^3 \approx \text{eps}$. Both are errors of an *absolute* size, so how many digits of a
# gradient should agree depends on the gradient. Near a minimum it is nearly zero, and then few
# digits agree although it is right.

# %%
almost = (best + 1e-9).expand(1, 3)  # so near the minimum that the gradient is about 1e-9
wanted = gradient_by_hand(almost)
found = central_difference(half_mse, almost, 1e-5)
print(f"error {(found - wanted).abs().max():.0e} in a gradient of {wanted.abs().max():.0e}")
teach.claim("near the minimum a right gradient agrees with its check to less than 5 digits, while "
            "the error is below 1e-11", kind="run", error=(found - wanted).abs(), tolerance=1e-11,
            condition=bool(((found - wanted).abs() > 1e-5 * wanted.abs()).any()))

# %% [markdown]
# So compare the difference with the sizes of $f$ and of the gradient elsewhere, and check where the
# gradient is not small.
#
# ## 4. One step
#
# To make the loss smaller, move against the gradient. How far is set by the **learning rate**
# $\eta$: $\theta \leftarrow \theta - \eta\,\nabla f(\theta)$.

# %%
teach.predict(
    "p1.t3.q4", "theta requires gradients. What does theta -= 0.1 * theta.grad do?",
    ["one step", "an error", "nothing"], guess=None,
)

# %%
theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
loss = half_mse(theta)
loss.backward()
message = ""
try:
    theta -= 0.1 * theta.grad
except RuntimeError as error:
    message = str(error)
print(message)
teach.claim("torch refuses to change in place a leaf that requires gradients", kind="run",
            condition="leaf" in message)
teach.reveal("p1.t3.q4", "an error", because="the step itself would go into the notes")

# %% [markdown]
# A **leaf** is a tensor on which torch's notes end: it takes none about how the tensor came about.
# What is computed from tensors that require no gradients is a leaf as well, `y` for example.
# Changing a leaf that requires gradients in place would falsify the notes. The obvious way around,
# `theta = theta - ...`, runs, and is worse:

# %%
moved = theta - 0.1 * theta.grad
print("still a leaf:", moved.is_leaf, "  and y, which torch computed:", y.is_leaf)
before = theta.grad.clone()
half_mse(moved).backward()  # the gradient flows through moved, back into the old theta
teach.claim("the new tensor is no leaf, and its gradient lands in the old theta.grad", kind="run",
            condition=not moved.is_leaf and not torch.equal(theta.grad, before))
teach.claim("y is a leaf, although torch computed it", y.is_leaf, kind="run")

# %%
with torch.no_grad():
    theta -= 0.1 * before
teach.claim("under no_grad the step is taken, theta stays a leaf, and the loss is smaller",
            kind="run", condition=theta.is_leaf and bool(half_mse(theta) < loss))

# %% [markdown]
# `no_grad` may save memory, but that is not its point here: it says that the step is *not part of
# the loss*.
#
# ## 5. The loop
#
# The smallest program that learns has five lines in a loop.

# %%
def run_gd(loss_function, start, lr, steps):
    theta = start.clone().requires_grad_()
    for _ in range(steps):
        theta.grad = None  # forget the last gradient
        loss = loss_function(theta)  # predict and compare
        loss.backward()  # the gradient, into theta.grad
        with torch.no_grad():
            theta -= lr * theta.grad  # the step
    return theta.detach()


start = torch.zeros(3, dtype=torch.float64)
after = {steps: run_gd(half_mse, start, lr=0.1, steps=steps) for steps in (0, 3, 30, 500)}
teach.show(
    plotting.predicted_and_measured(
        y, {f"after {steps} steps": A @ theta for steps, theta in after.items()}, unit="cm"
    ),
    "Measured against predicted growth after 0, 3, 30 and 500 steps: a vertical line of points "
    "turns towards the diagonal; the last two panels look alike.",
)

# %%
teach.predict(
    "p1.t3.q5", "After 30 steps the loss has fallen by 99.6 %. How far off is the worst parameter?",
    ["under 1 %", "about 3 %", "more than 10 %"], guess=None,
)

# %%
fallen = 1 - half_mse(after[30]) / half_mse(start)
off = ((after[30] - best) / best).abs().max()
print(f"30 steps: the loss has fallen by {fallen:.1%}, the worst parameter is off by {off:.0%}")
teach.claim("after 30 steps the loss has fallen by more than 99 %, yet a parameter is off by "
            "more than 10 %", bool((fallen > 0.99) & (off > 0.1)), kind="run")
teach.claim("after 500 steps the loop is where least squares is",
            error=(after[500] - best).abs(), tolerance=1e-8)
teach.reveal("p1.t3.q5", "more than 10 %", because="a loss is flat near its minimum")

# %% [markdown]
# A small loss does not show that the minimum is near. For a loss like this one a *vanishing
# gradient* does, and section 6 turns it into a distance. It takes a record of the descent, so here
# is the package's loop. `dynamics.trace_gd` keeps every point, loss and gradient, and runs many
# descents at once if the start has axes in front.

# %%
trace = dynamics.trace_gd(half_mse, start, lr=0.1, steps=500)
by_hand = torch.stack([run_gd(half_mse, start, lr=0.1, steps=steps) for steps in range(51)])
teach.claim("our loop visits the points of bolearn.dynamics.trace_gd",
            error=(by_hand - trace.points[:51]).abs(), tolerance=1e-12)
for step in (0, 30, 100, 200):
    print(f"step {step:3}: size of the gradient {trace.gradients[step].norm():.0e}")

# %% [markdown]
# **Exercise 2.** Your own loop, for $w$ and $b$ apart.

# %%
# exercise: p1.t3.e2

# %% [markdown]
# ## 6. How large may the learning rate be?
#
# Let $\hat\theta$ be the minimum. There the gradient is zero, and the gradient is linear in
# $\theta$, so
#
# $$\nabla f(\theta) = H(\theta - \hat\theta), \qquad H = \tfrac{1}{n} A^\top A .$$
#
# $H$ holds the second derivatives: the **Hessian**. (Without the half it would be $2A^\top A/n$.)
# A step turns the error $e = \theta - \hat\theta$ into $e - \eta H e$. Along an eigenvector of $H$
# with eigenvalue $\lambda$, each step multiplies the error by $1 - \eta\lambda$. Its size is below
# 1 exactly for $0 < \eta < 2/\lambda$. All eigenvalues are positive here, and every eigenvector
# must agree, so with the largest eigenvalue $L$ (no relation of tutorial 1's Cholesky factor):
#
# $$\text{gradient descent converges from every start exactly if } 0 < \eta < 2/L .$$

# %%
H = A.T @ A / n
eigenvalues = torch.linalg.eigvalsh(H)  # in ascending order
L = eigenvalues[-1]
print("eigenvalues of H:", [round(value, 2) for value in eigenvalues.tolist()])
print(f"critical learning rate 2/L = {2 / L:.3f}")
distance = (trace.points - best).norm(dim=-1)
bound = trace.gradients.norm(dim=-1) / eigenvalues[0]
teach.claim("at each of 501 steps the distance to the minimum is at most the gradient's size "
            "divided by the smallest eigenvalue", bool((distance <= bound + 1e-12).all()),
            kind="theorem")
teach.predict("p1.t3.q6", "Which multiple of 2/L arrives first?", [0.5, 0.94, 0.99, 1.01],
              guess=None)

# %% [markdown]
# One call runs a hundred learning rates side by side.

# %%
fractions = torch.linspace(0.02, 1.1, 109, dtype=torch.float64)  # of 2/L
sweep = dynamics.trace_gd(half_mse, torch.zeros(109, 3).double(), fractions * 2 / L, steps=100)
left = sweep.points[-1] - best
excess = 0.5 * ((left @ H) * left).sum(-1)  # the loss above its minimum
fastest = 2 / (eigenvalues[0] + L)
teach.show(
    plotting.curves(fractions, {"after 100 steps": excess}, log="y",
                    xlabel="learning rate, as a fraction of 2/L", ylabel="loss above its minimum",
                    marks={"2/L": 1.0, "2/(smallest eigenvalue + L)": fastest * L / 2}),
    "The loss above its minimum after 100 steps falls with the learning rate below 1e-11 at 93 % "
    "of 2/L, climbs steeply from there, and passes its starting value just beyond 2/L.",
)

# %%
rates = torch.tensor([0.5, 0.94, 0.99, 1.01], dtype=torch.float64) * 2 / L
race = dynamics.trace_gd(half_mse, torch.zeros(4, 3).double(), rates, steps=1000)
far = (race.points - best).norm(dim=-1)  # steps 4
shapes = torch.randn(30, 20, 3, generator=g, dtype=torch.float64)
hessians = shapes.mT @ shapes / 20  # 30 other data sets
tops = torch.linalg.eigvalsh(hessians)[:, -1, None, None]
moves = [torch.eye(3) - part * 2 / tops * hessians for part in (0.99, 1.01)]
growth = [torch.linalg.matrix_power(move, 2000).norm(dim=(-2, -1)) for move in moves]
teach.claim("30 other data sets: after 2000 steps with 0.99 · 2/L every error has shrunk, with "
            "1.01 · 2/L one has grown more than 1000-fold", kind="theorem",
            condition=bool((growth[0] < 1).all() and (growth[1] > 1000).all()))
teach.claim("with 0.99 · 2/L gradient descent converges", error=far[-1, 2], tolerance=1e-6)
teach.claim("with 1.01 · 2/L it diverges", bool(far[-1, 3] > 1e6), kind="run")
teach.claim("larger is not faster: after 100 steps 0.94 is ahead of 0.5, and 0.5 ahead of 0.99",
            bool(far[100, 1] < far[100, 0] < far[100, 2]), kind="run")
teach.reveal("p1.t3.q6", 0.94, because="beyond it the steepest direction overshoots too much")

# %% [markdown]
# Below the tip of this second V the flattest direction is the slow one; above it the steepest one,
# which overshoots from side to side. Part 2 makes a theory of this.
#
# **Exercise 3.** The critical learning rate, from the data alone.

# %%
# exercise: p1.t3.e3

# %% [markdown]
# ## 7. Three loops that run and are wrong
#
# Usually clearing and stepping are left to an **optimiser**: `zero_grad` and `step` do what our
# lines did.

# %%
def run_sgd(loss_function, starts, lr, steps, clear=True, momentum=0.0):
    leaves = [start.clone().requires_grad_() for start in starts]
    optimizer = torch.optim.SGD(leaves, lr=lr, momentum=momentum)
    points, losses = [], []
    for _ in range(steps):
        if clear:
            optimizer.zero_grad()
        loss = loss_function(*leaves)
        points.append(torch.cat([leaf.detach().reshape(-1) for leaf in leaves]))  # cat copies
        losses.append(loss.detach())
        loss.backward()
        optimizer.step()
    return torch.stack(points), torch.stack(losses)


points_sgd, _ = run_sgd(half_mse, [start], lr=0.1, steps=500)
teach.claim("torch.optim.SGD visits the same points as our loop",
            error=(points_sgd - trace.points[:500]).abs(), tolerance=1e-12)

# %% [markdown]
# **Bug 1: no `zero_grad`.** To see it clearly we take a plain bowl,
# $\tfrac12(10 x_1^2 + x_2^2)$, with $\eta = 0.05$, far below $2/L = 0.2$.

# %%
teach.predict(
    "p1.t3.q7", "Without zero_grad, the loss on this bowl ...",
    ["falls more slowly", "explodes", "swings for ever"], guess=None,
)

# %%
def bowl(x):
    return 0.5 * (10 * x[0] ** 2 + x[1] ** 2)


corner = [torch.ones(2, dtype=torch.float64)]
_, cleared = run_sgd(bowl, corner, lr=0.05, steps=1000)
forgot, swinging = run_sgd(bowl, corner, lr=0.05, steps=1000, clear=False)
teach.show(
    plotting.curves(torch.arange(80), {"with zero_grad": cleared[:80], "without": swinging[:80]},
                    xlabel="step", ylabel="loss", log="y"),
    "With zero_grad the loss falls along a straight line on a logarithmic axis; without it the "
    "loss swings up and down and never settles.",
)
heights = swinging[-100:].max() / swinging[:100].max()
teach.claim("without zero_grad the last 100 of 1000 steps swing as high as the first 100, within "
            "10 %", error=(heights - 1).abs(), tolerance=0.1, kind="run")
teach.reveal("p1.t3.q7", "swings for ever", because="a sum of all gradients is a velocity")

# %% [markdown]
# `.grad` now holds the sum $v$ of all gradients so far: each round does
# $v \leftarrow v + \nabla f$ and $x \leftarrow x - \eta v$. That is a ball with a velocity. Kept
# on purpose with some friction, $v \leftarrow \beta v + \nabla f$ with $\beta < 1$, it is called
# **momentum** (Part 2, tutorial 3). Here $\beta = 1$: no friction, so the ball rolls through the
# minimum and up the other side for ever (beyond $\eta = 4/L$ it would explode). Forgetting
# `zero_grad` gives a different algorithm.

# %%
ball, _ = run_sgd(bowl, corner, lr=0.05, steps=1000, momentum=1.0)
teach.claim("forgetting zero_grad is momentum with β = 1, to the last digit",
            error=(forgot - ball).abs(), tolerance=0)

# %% [markdown]
# **Bug 2: a column of targets.** The predictions have shape `(n,)`, the targets `(n, 1)`. Tutorial
# 2 warned: the loss compares every prediction with every target.

# %%
teach.predict(
    "p1.t3.q8", "Trained on this loss, the model predicts in the end ...",
    ["almost the right growth", "the same for all plants", "nonsense"], guess=None,
)

# %%
def column_loss(theta):
    return 0.5 * (theta @ A.T - y.unsqueeze(-1)).square().mean()  # n n differences


points_column, losses_column = run_sgd(column_loss, [start], lr=0.1, steps=500)
flat = torch.stack([0 * y.mean(), 0 * y.mean(), y.mean()])
print(f"loss {losses_column[0]:.2f} -> {losses_column[-1]:.2f}")
teach.claim("with a column of targets training converges, to zero weights and the mean growth",
            error=(points_column[-1] - flat).abs(), tolerance=1e-8)
teach.reveal("p1.t3.q8", "the same for all plants", because="each must please all targets at once")

# %% [markdown]
# **Bug 3: a cut.** `w.detach()`, like the older `w.data`, has the numbers of `w` without the notes.
# One of them in the prediction, perhaps left over from a plot, and no gradient reaches `w`.

# %%
def cut_loss(w, b):
    return 0.5 * (X @ w.detach() + b - y).square().mean()


points_cut, losses_cut = run_sgd(cut_loss, [start[:2], start[2]], lr=0.1, steps=500)
print(f"loss {losses_cut[0]:.2f} -> {losses_cut[-1]:.2f}")
teach.claim("with w detached the loss falls by more than half, while w stays exactly zero",
            bool((losses_cut[-1] < 0.5 * losses_cut[0]) & (points_cut[-1, :2] == 0).all()),
            kind="run")
teach.claim("with w detached training converges to the same flat model as with a column of targets",
            error=(points_cut[-1] - points_column[-1]).abs(), tolerance=1e-8)

# %% [markdown]
# No error and no warning, and bugs 2 and 3 even converge. What finds them is a problem with a known
# answer, or a few steps computed another way.
#
# **Exercise 4.** Be the inspector: tell broken loops from sound ones by what they return.

# %%
# exercise: p1.t3.e4

# %% [markdown]
# ## 8. When there is no minimum
#
# Back to the labels of section 3, and a second set in which four of the forty (10 %) are flipped,
# as a tired observer might. We train both for 10,000 steps, with $\eta = 1.2$ and with
# $\eta = 100$: four descents in one call.

# %%
flipped = thrives.clone()
wrong = torch.randperm(n, generator=g)[:4]
flipped[wrong] = 1 - flipped[wrong]
labels = torch.stack([thrives, flipped]).unsqueeze(1)  # 2 1 n: both sets, any learning rate


def two_cross_entropies(theta):  # 2 2 3 -> 2 2
    z = theta @ A.T
    return (softplus(z) - labels * z).mean(-1)


teach.predict(
    "p1.t3.q9", "With the labels as measured (not flipped) and η = 1.2, the parameters ...",
    ["settle", "grow for ever", "swing"], guess=None,
)

# %%
etas = torch.tensor([1.2, 100.0], dtype=torch.float64)
long = dynamics.trace_gd(two_cross_entropies, torch.zeros(2, 2, 3).double(), etas, steps=10_000)
size = long.points.norm(dim=-1)  # steps 2 2: labels, learning rate
when = torch.logspace(0, 4, 41).long()
teach.show(
    plotting.curves(when, {"as measured": size[when, 0, 0], "10 % flipped": size[when, 1, 0]},
                    xlabel="step", ylabel="size of the parameters", log="x"),
    "The size of the parameters over 10,000 steps on a logarithmic axis: with flipped labels it "
    "settles near 0.9, with the labels as measured it grows ever further.",
)

# %%
separated = ((long.points[-1, 0, 0] @ A.T > 0) == (thrives == 1)).all()
teach.claim("some straight line puts all plants as measured on their right sides", bool(separated),
            kind="run")
teach.claim("as measured: the parameters grow in every one of 10,000 steps",
            bool((size[1:, 0, 0] > size[:-1, 0, 0]).all()), kind="run")
teach.claim("as measured: the loss falls below 0.001", bool(long.values[-1, 0, 0] < 1e-3),
            kind="run")
teach.claim("10 % flipped: the gradient vanishes, a minimum is reached",
            error=long.gradients[-1, 1, 0].norm(), tolerance=1e-8, kind="run")
teach.reveal("p1.t3.q9", "grow for ever", because="twice the parameters, a smaller loss")

# %% [markdown]
# The measured labels are **separable**: a straight line in the plane of water and sun (with three
# inputs, a plane) has all thriving plants on one side and all others on the other. Then doubling
# $\theta$ makes every right answer more certain and the loss smaller: there is no minimum, and the
# loss tends to 0 while $\theta$ runs away. "Has it converged?" has no meaning here. With these
# flipped labels no line separates, too much certainty costs, and a minimum exists.
#
# Now look at $\eta = 100$.

# %%
teach.predict(
    "p1.t3.q10", "η = 100 suits ...", ["both sets", "only as measured", "only flipped"], guess=None
)

# %%
for row, name in enumerate(["as measured", "10 % flipped"]):
    below = bool(long.values[-1, row, 1] < 1e-6)
    print(f"{name:12} with η = 100: the loss is {'below' if below else 'above'} 1e-6")
teach.claim("η = 100: as measured the loss falls below 1e-6", bool(long.values[-1, 0, 1] < 1e-6),
            kind="run")
teach.claim("η = 100: with flipped labels no gradient of the last 1000 steps is below 0.01",
            bool((long.gradients[-1000:, 1, 1].norm(dim=-1) > 0.01).all()), kind="run")
teach.reveal("p1.t3.q10", "only as measured", because="there is no minimum to overshoot")

# %% [markdown]
# Where there is a minimum, the $2/L$ rule returns. Near $\hat\theta$ the loss is nearly quadratic,
# with the Hessian there: $H = \frac1n A^\top D A$, where the diagonal matrix $D$ holds
# $p_i (1 - p_i)$, the derivative of $\sigma$ at each plant's score. We start a thousandth away from
# the minimum, in the steepest direction.

# %%
minimum = long.points[-1, 1, 0]
p = torch.sigmoid(A @ minimum)
values, vectors = torch.linalg.eigh(A.T @ ((p * (1 - p)).unsqueeze(-1) * A) / n)
print(f"with flipped labels 2/L = {2 / values[-1]:.2f} at the minimum")
near = (minimum + 1e-3 * vectors[:, -1]).expand(1, 2, 3)
around = torch.tensor([0.99, 1.01], dtype=torch.float64) * 2 / values[-1]
local = dynamics.trace_gd(lambda theta: two_cross_entropies(theta)[1:], near, around, steps=2000)
gap = (local.points[-1, 0] - minimum).norm(dim=-1)
teach.claim("flipped labels, 0.99 · 2/L at the minimum: the descent returns to it",
            error=gap[0], tolerance=1e-8, kind="run")
teach.claim("flipped labels, 1.01 · 2/L: it is driven away, more than tenfold",
            bool(gap[1] > 1e-2), kind="run")

# %% [markdown]
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. Write the five lines of the loop. Which misbehaviour belongs to each line that is missing?
# 2. A colleague's central difference with $h = 10^{-12}$ agrees with autograd to three digits. Is
#    the gradient wrong?
# 3. A classifier's loss is 0.0001 and still falling. What do you ask about its labels before you
#    call it converged?
#
# **So, what is the smallest program that learns?** Five lines: clear, compare, differentiate, step
# without notes, repeat. To know that it learned the right thing, look at the gradient, try it on a
# problem with a known answer, and ask whether the loss has a minimum. What we have not asked is
# how `backward` finds the gradient. Next: tutorial 4, autograd in sixty lines.
#
# ## Sources
#
# - PyTorch documentation:
#   [autograd mechanics](https://docs.pytorch.org/docs/stable/notes/autograd.html),
#   [SGD](https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html).
# - J. Nocedal, S. J. Wright, *Numerical Optimization*, 2nd edition, Springer 2006,
#   [doi:10.1007/978-0-387-40065-5](https://doi.org/10.1007/978-0-387-40065-5): finite differences
#   (chapter 8), convergence of gradient descent (chapter 3).
# - B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", *USSR
#   Computational Mathematics and Mathematical Physics* 4 (1964),
#   [doi:10.1016/0041-5553(64)90137-5](https://doi.org/10.1016/0041-5553%2864%2990137-5): momentum.
# - D. Soudry, E. Hoffer, M. S. Nacson, S. Gunasekar, N. Srebro, "The implicit bias of gradient
#   descent on separable data", *Journal of Machine Learning Research* 19 (2018),
#   [arXiv:1710.10345](https://arxiv.org/abs/1710.10345): parameters that grow for ever.
