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
# # Part 1, tutorial 2: common tensor operations
#
# **How do you turn loops over points, candidates and samples into one tensor expression, and how
# do you notice when the shapes lie?**
#
# > **Before you start:** tutorial 1; for section 7 the derivative of a square root.
# >
# > **Time:** 45 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - lay out samples, problems, points and coordinates as every tutorial of this course does;
# > - replace loops by broadcasting, reductions, `take_along_dim` and `reshape`, and count the gain;
# > - catch a broadcast that nobody wanted;
# > - reduce without overflow, and without a NaN in sight;
# > - use `where` so that its derivative survives.
# >
# > **You will build** `best_so_far`, `top_q_candidates`, `safe_sqrt`, `logmeanexp` and
# > `design_grid`.

# %%
import math
import time
from unittest import TestCase

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bolearn import errors, numerics, plotting, seeds, shapes, teach

teach.setup("p1.t2")

# %% [markdown]
# ## 1. Four loops in one line
#
# You may measure at three places at once. Four plans are on the table, each naming three places
# in the plane. Every measurement will be disturbed by chance, and only the best of the three
# counts. What will each plan bring on average?
#
# Questions of this form fill Parts 3 to 6, and their tensors share one layout, **`s *batch q d`**:
#
# | letter | counts | here |
# |---|---|---|
# | `s` | random samples, always first | 256 |
# | `*batch` | independent problems, on any number of axes | one axis, `b` = 4 |
# | `q` | points judged jointly | 3 |
# | `d` | coordinates of a point, always last | 2 |

# %%
s, b, q, d = 256, 4, 3, 2
g = torch.Generator().manual_seed(0)
X = 4 * torch.rand(b, q, d, generator=g, dtype=torch.float64) - 2  # four plans
noise = 0.5 * torch.randn(s, b, q, generator=g, dtype=torch.float64)
frequency = torch.tensor([3.0, 1.0], dtype=torch.float64)


def landscape(x):
    """... d -> ...: the height at each point, whatever stands in front."""
    return torch.cos(frequency * x).sum(-1)


# %%
teach.predict("p1.t2.q1", "What is the shape of landscape(X) + noise?",
              ["(4, 3)", "(256, 4, 3)", "an error"], guess=None)

# %%
def expected_best(X, noise):
    measured = landscape(X) + noise  # b q  +  s b q  ->  s b q
    return measured.amax(-1).mean(0)  # the best of q: s b; the average over s: b


def with_loops(X, noise):
    result = torch.zeros(b, dtype=torch.float64)
    for plan in range(b):
        for sample in range(s):
            measured = [landscape(X[plan, i]) + noise[sample, plan, i] for i in range(q)]
            result[plan] += max(measured) / s
    return result


print([round(value, 2) for value in expected_best(X, noise).tolist()])
teach.reveal("p1.t2.q1", str(tuple((landscape(X) + noise).shape)),
             because="lined up from the right, b q meets s b q")
teach.claim("one expression computes what the four loops compute",
            error=(expected_best(X, noise) - with_loops(X, noise)).abs(), tolerance=1e-12)

# %% [markdown]
# Three loops are visible; the fourth, over the coordinates, is the `sum(-1)` inside `landscape`.
# Counting axes from the right is what makes the function indifferent to what stands in front.
#
# What became of each axis on the way? The next cell lets torch tell. You need not understand its
# class, only what `trace` returns: the name and the shape of every intermediate tensor.

# %%
class Listener(TorchFunctionMode):
    """Notes every torch call while a `with` block runs."""

    def __enter__(self):
        self.steps = []
        return super().__enter__()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.steps.append((func.__name__, tuple(result.shape)))
        return result


def trace(fn, *inputs):
    with Listener() as listener:
        fn(*inputs)
    return listener.steps


steps = trace(expected_best, X, noise)
print(steps)

# %%
stages = [("X", tuple(X.shape)), *steps]
teach.show(
    plotting.axes_flow(stages, {s: "s", b: "b", q: "q", d: "d"}),
    "From X to the result, call by call: the sum removes the axis d, the addition of the noise "
    "brings s, the maximum removes q, and the mean removes s, which leaves b.",
)
teach.claim("of all axes only b is left, one number for each plan", kind="run",
            condition=stages[-1][1] == (b,))

# %% [markdown]
# Read it as a sentence: coordinates are summed, samples come in, points compete, samples are
# averaged. Write the shape behind each line of such code, as in `expected_best`.
#
# ## 2. When the shapes lie
#
# Tutorial 1 left a column of 64 predictions minus 64 targets. Suppose the predictions are
# perfect: equal to the targets, all 64.

# %%
teach.predict(
    "p1.t2.q2", "What is the mean squared error of a perfect prediction of shape (64, 1)?",
    ["0", "the variance of the targets", "twice the variance"], guess=None,
)

# %%
y = torch.randn(64, generator=g, dtype=torch.float64)
perfect = y.clone().unsqueeze(-1)  # 64 1, as many models return it
error = (perfect - y).square().mean()
variance = y.var(correction=0)  # the mean squared distance from the mean
print(f"mean squared error {error:.4f}, variance of the targets {variance:.4f}")
teach.reveal("p1.t2.q2", "twice the variance", because="it averages over all 64 x 64 pairs")
teach.claim("the perfect prediction of shape (64, 1) gets the error 2 Var(y)",
            error=(error - 2 * variance).abs(), tolerance=1e-12)
anything = torch.randn(64, 1, generator=g, dtype=torch.float64)
from_mean = (anything - y.mean()).square().mean()
teach.claim("any prediction gets its mean squared distance from the mean of y, plus Var(y)",
            error=((anything - y).square().mean() - from_mean - variance).abs(), tolerance=1e-12)

# %% [markdown]
# Entry $(i, j)$ of the difference is $p_i - y_j$, prediction $i$ against *every* target. With the
# mean $\bar y$ of the targets it is $(p_i - \bar y) - (y_j - \bar y)$; squared and averaged, the
# mixed term vanishes, and the second claim remains. For $p = y$ it gives the first.
#
# Worse than a wrong number: this error is smallest if all $p_i = \bar y$. A program that minimises
# it learns to predict the mean, as far as its model can, and nothing complains (torch's own
# `mse_loss` would warn). So let something complain.

# %%
def assert_shape(name, x, *shape):
    """Stop unless x has this shape; None stands for any size."""
    expected = [have if want is None else want for want, have in zip(shape, x.shape, strict=False)]
    if len(shape) != x.ndim or expected != list(x.shape):
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(x.shape)}")


def complaint(action, kind):
    """The message of the error that an action raises, or None."""
    try:
        action()
    except kind as error:
        return str(error)
    return None


ours = complaint(lambda: assert_shape("predictions", perfect, *y.shape), ValueError)
package = complaint(lambda: shapes.check_data(perfect, y), errors.ShapeError)
print(ours)
print(package)
teach.claim("an explicit shape stops the lie, in our words and in the package's", kind="run",
            condition=ours is not None and package is not None
            and complaint(lambda: assert_shape("y", y, 64), ValueError) is None)

# %% [markdown]
# `bolearn` keeps inputs as `n d` and outputs as `n m`, with an axis for the outputs even if there
# is only one: `m` = 1. Its functions check this at the door and say how to mend it. (`*r` in the
# message: further axes may stand in front.)
#
# ## 3. Add and remove axes by name
#
# `unsqueeze(k)` adds an axis of length 1 at position `k`; `squeeze(k)` removes it, or in silence
# does nothing if it is longer. Without a position, `squeeze()` looks harmless.

# %%
teach.predict(
    "p1.t2.q3", "Outputs have shape (b, q, 1). What does squeeze() return for b = 1, q = 3?",
    ["(1, 3)", "(3,)", "(1, 3, 1)"], guess=None,
)

# %%
for problems in (4, 1):
    outputs = torch.zeros(problems, 3, 1)
    print(f"b = {problems}: squeeze() {tuple(outputs.squeeze().shape)},"
          f" squeeze(-1) {tuple(outputs.squeeze(-1).shape)}")
teach.reveal("p1.t2.q3", str(tuple(outputs.squeeze().shape)), because="every axis of length 1 goes")
teach.claim("squeeze() drops the batch axis when b = 1, squeeze(-1) keeps it", kind="run",
            condition=outputs.squeeze().ndim == 1 and outputs.squeeze(-1).shape == (1, 3))

# %% [markdown]
# Code that worked for four problems may fail for one, or broadcast. Say which axis you mean.
#
# The same holds for an axis that a reduction removes. Below, each plan is to be moved to its own
# centre; the first version forgets `keepdim=True`, which would leave an axis of length 1 in place.

# %%
def centred_wrong(X):
    return X - X.mean(-2)  # b q d  -  b d


def centred(X):
    return X - X.mean(-2, keepdim=True)  # b q d  -  b 1 d


square = X[:3]  # three plans of three points: b = q
print("4 plans:", complaint(lambda: centred_wrong(X), RuntimeError))
print("3 plans:", tuple(centred_wrong(square).shape), "and no complaint")
teach.claim("with keepdim every plan has its centre at 0", error=centred(X).mean(-2).abs(),
            tolerance=1e-12)
teach.claim("without it, three plans of three points get the shape right and the numbers wrong",
            kind="run", condition=centred_wrong(square).shape == square.shape
            and bool(centred_wrong(square).mean(-2).abs().max() > 0.1))

# %% [markdown]
# Sizes that are equal by accident hide faults. **Test with sizes that are all different**, as 256,
# 4, 3 and 2 are, and once more with 1s: a bare `squeeze()` fails only there.
#
# ## 4. Putting tensors together
#
# `cat` joins along an axis that exists, `stack` makes a new one, and `expand`, as you know, repeats
# an axis of length 1, or a new one, without storing.

# %%
teach.predict("p1.t2.q4", "Two tensors of shape (3, 2): what are the shapes of cat and stack?",
              ["(6, 2) and (2, 3, 2)", "(2, 3, 2) and (6, 2)", "(6, 2) and (6, 2)"], guess=None)

# %%
first, second = X[0].clone(), X[1].clone()
joined = {
    "cat": torch.cat([first, second]),
    "stack": torch.stack([first, second]),
    "expand": first.expand(2, q, d),
}
before = {name: result.clone() for name, result in joined.items()}
first += 1
noticed = {name for name, result in joined.items() if not torch.equal(result, before[name])}
for name, result in joined.items():
    print(f"{name:8}{tuple(result.shape)!s:12}{'a view' if name in noticed else 'a copy'}")
shapes_found = [str(tuple(joined[name].shape)) for name in ("cat", "stack")]
teach.reveal("p1.t2.q4", " and ".join(shapes_found), because="cat lengthens, stack adds an axis")
teach.claim("cat and stack copy, expand does not", noticed == {"expand"}, kind="run")

# %% [markdown]
# A table that grows by `cat` is copied whole at every step.

# %%
table, copied = torch.zeros(0, d), 0
for _ in range(100):
    table = torch.cat([table, torch.zeros(1, d)], dim=-2)
    copied += len(table)
print(f"{len(table)} rows, {copied} rows written")
teach.claim("growing a table row by row to n rows writes n (n + 1) / 2 of them", copied == 5050)

# %% [markdown]
# For a hundred expensive measurements nobody cares. In an inner loop, collect in a list and `stack`
# once.
#
# ## 5. Reductions
#
# A reduction (`sum`, `mean`, `amax`, …) removes the axes that you name, one or several.

# %%
measured = landscape(X) + noise  # s b q
teach.claim("a mean over two axes, and einsum, which names what stays, agree",
            error=(measured.mean((0, -1)) - torch.einsum("sbq->b", measured) / (s * q)).abs(),
            tolerance=1e-12)

# %% [markdown]
# One reduction needs a decision: the spread. `std` and `var` divide the summed squares by
# $n - \text{correction}$, and the correction is 1 unless you say otherwise.

# %%
teach.predict("p1.t2.q5", "What is the std of the single number 2.0?", ["0.0", "nan", "an error"],
              guess=None)

# %%
single = torch.tensor([2.0], dtype=torch.float64)
with TestCase().assertWarns(UserWarning):  # torch warns here, and goes on
    alone = single.std()
teach.reveal("p1.t2.q5", str(alone.item()), because="it is 0 / (1 - 1)")
teach.claim("the std of one number is NaN, with correction=0 it is 0",
            bool(alone.isnan()) and single.std(correction=0) == 0, kind="run")
draws = torch.randn(20_000, 3, generator=g, dtype=torch.float64)  # true variance 1
for correction in (1, 0):
    estimates = draws.var(dim=-1, correction=correction)
    mean, allowed = estimates.mean(), 5 * estimates.std() / len(draws) ** 0.5
    print(f"correction {correction}: on average {mean:.2f}")
    target, name = (1.0, "1") if correction else (2 / 3, "2/3")
    teach.claim(f"with correction={correction}, variances of 3 numbers average to {name} times "
                "the true one", bool((mean - target).abs() < allowed), kind="monte-carlo")

# %% [markdown]
# The numbers lie closer to their own mean than to the true one, so dividing by $n$ comes out too
# small, on average by the factor $\frac{n-1}{n}$ if they are independent. Use the default to
# *estimate* a spread, and `correction=0` to *describe* the numbers at hand, as section 2 did. With
# one number there is nothing to estimate from, and 0/0 is NaN, "not a number".
#
# Some reductions keep their axis and show every intermediate result: `cumsum`, `cummax`, ….
#
# **Exercise 1.** The best value found up to each step: the curve by which most optimisers in this
# course are judged.

# %%
# exercise: p1.t2.e1

# %% [markdown]
# ## 6. Which one, and fetch it
#
# `argmax` returns a position. Which point is the best of each plan?

# %%
best = landscape(X).argmax(-1)  # b: a position in 0, 1, 2 for each plan
print(best.tolist())
teach.predict("p1.t2.q6", "What is the shape of X[:, best]?", ["(4, 2)", "(4, 4, 2)", "an error"],
              guess=None)

# %%
fetched = X.take_along_dim(best[:, None, None], dim=-2).squeeze(-2)  # b 1 1 -> b 1 d -> b d
one_by_one = torch.stack([X[plan, best[plan]] for plan in range(b)])
teach.reveal("p1.t2.q6", str(tuple(X[:, best].shape)),
             because="all four positions are fetched from every plan")
teach.claim("take_along_dim fetches each plan's own best point", torch.equal(fetched, one_by_one))
teach.claim("so does gather, with the index expanded by hand",
            torch.equal(X.gather(-2, best[:, None, None].expand(b, 1, d)).squeeze(-2), fetched))

# %% [markdown]
# The `:` pairs the list of positions with *every* plan; `gather` and `take_along_dim` pair row by
# row, as does `X[torch.arange(b), best]`. The index needs as many axes as the tensor;
# `take_along_dim` stretches its 1s.
#
# If several entries tie, the documentation of torch, like NumPy's, promises the first position. For
# `topk` and a sort without `stable=True` it promises nothing: there rely on the values.

# %%
ties = torch.tensor([[3.0, 1.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
position = ties.argmin(-1, keepdim=True)
teach.claim("of tied positions argmin returns the first", kind="run",
            condition=position.flatten().tolist() == [1, 0])
teach.claim("the minimum stands where argmin says",
            torch.equal(ties.take_along_dim(position, -1), ties.amin(-1, keepdim=True)))

# %% [markdown]
# **Exercise 2.** From many candidates keep the few best ones, for any number of problems at once.
# `score.topk(q, dim=-1)` returns the `q` largest values, best first, and their positions;
# a NaN counts as larger than any number.

# %%
# exercise: p1.t2.e2

# %% [markdown]
# ## 7. Masks, and what they do to a slope
#
# A measurement failed and left a NaN. A **mask** is a tensor of True and False that says which
# entries count. Multiply by it, or choose with `where`?

# %%
results = torch.tensor([1.0, torch.nan, 3.0], dtype=torch.float64)
mask = ~results.isnan()
multiplied = (results * mask).sum() / mask.sum()
chosen = torch.where(mask, results, 0.0).sum() / mask.sum()
print("multiplied:", multiplied.item(), "  chosen:", chosen.item())
teach.claim("0 times NaN is NaN, a choice is not a product", kind="run",
            condition=bool(multiplied.isnan()) and chosen == 2)

# %% [markdown]
# Zero times NaN will come back in a moment. Now a square root that should be 0 for negative
# numbers. We also ask torch for its derivative, the slope at each entry. Tutorial 4 opens that
# box; here it is enough that it follows the rules of calculus, step by step and without
# approximation.

# %%
def slope(f, x):
    """f'(x) for each entry of x, where f works entry by entry."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(f(x).sum(), x)[0]


def chosen_sqrt(x):
    return torch.where(x > 0, x.sqrt(), 0.0)


zero = torch.zeros(1, dtype=torch.float64)
print("value at 0:", chosen_sqrt(zero).item())
teach.predict("p1.t2.q7", "What is slope(chosen_sqrt, ...) at 0?", ["0", "infinite", "NaN"],
              guess=None)

# %%
def twice_chosen_sqrt(x):
    inside = torch.where(x > 0, x, 1.0)  # no zero, no negative number reaches the root
    return torch.where(x > 0, inside.sqrt(), 0.0)


grid = torch.arange(-20, 41, dtype=torch.float64) / 20  # from -1 to 2, with an exact 0
drawn = {f.__name__: (f(grid), slope(f, grid)) for f in (chosen_sqrt, twice_chosen_sqrt)}
teach.show(plotting.values_and_slopes(grid, drawn),
           "Two functions with the same values, zero on the left and a square root on the "
           "right: the slope of the first is NaN wherever x is not positive, that of the second "
           "is 0 there.")

# %%
naive, safe = slope(chosen_sqrt, grid), slope(twice_chosen_sqrt, grid)
teach.reveal("p1.t2.q7", "NaN" if slope(chosen_sqrt, zero).isnan() else "a number",
             because="0 times infinity is NaN")
teach.claim("both have the same values", torch.equal(chosen_sqrt(grid), twice_chosen_sqrt(grid)))
teach.claim("one where: the slope is NaN exactly where x is not positive", kind="run",
            condition=torch.equal(naive.isnan(), grid <= 0))
teach.claim("two wheres: the slope is ½/√x where x is positive, and 0 elsewhere",
            error=(safe - torch.where(grid > 0, 0.5 / grid.abs().sqrt(), 0.0)).abs(),
            tolerance=1e-12)
teach.claim("clamp(min=0) before the root does not help: the slope at 0 is infinite", kind="run",
            condition=bool(slope(lambda x: x.clamp(min=0).sqrt(), zero).isinf()))

# %% [markdown]
# The chain rule computes *outer slope times inner slope*. At 0 the choice took the other branch, so
# the outer slope is 0; the root's own slope there is infinite; and zero times infinity is NaN, like
# zero times NaN. The remedy is to choose
# **before** as well, so that the forbidden number never reaches the root. (At 0 itself a root has
# no slope, or an infinite one from the right; our 0 is a choice.)
#
# **Exercise 3.** Make it yours; the check tries numbers from 1e-300 to 1e300.

# %%
# exercise: p1.t2.e3

# %% [markdown]
# ## 8. Sums of exponentials
#
# Products of many probabilities get too small for float64, so one keeps their logarithms. Adding
# such products means $\log \sum_i e^{x_i}$.

# %%
teach.predict("p1.t2.q8", "From which whole number x on is exp(x) infinite in float64?",
              [89, 710, 16777217], guess=None)

# %%
def first_overflow(dtype):
    return int(torch.arange(1000, dtype=dtype).exp().isinf().double().argmax())


print({str(dtype): first_overflow(dtype) for dtype in (torch.float32, torch.float64)})
teach.reveal("p1.t2.q8", first_overflow(torch.float64), because="exp(710) exceeds 1.8e308")
teach.claim("exp overflows from 89 on in float32 and from 710 on in float64", kind="run",
            condition=first_overflow(torch.float32) == 89 and first_overflow(torch.float64) == 710)


def naive_logsumexp(x):
    return x.exp().sum(-1).log()


def our_logsumexp(x):
    top = x.amax(-1, keepdim=True)
    return (x - top).exp().sum(-1).log() + top.squeeze(-1)


for level in (0.0, 1000.0, -1000.0):
    x = level + torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    print(f"{level:6.0f}   naive {naive_logsumexp(x):9.3f}   ours {our_logsumexp(x):9.3f}")

# %% [markdown]
# Subtracting the largest entry makes it 0, so nothing overflows, and one summand is 1, so the
# logarithm never sees 0. (That is for finite entries. If all are $-\infty$, logarithms of zeros,
# ours returns NaN, `torch.logsumexp` rightly $-\infty$.) On paper
# $\log \sum_i e^{x_i} = c + \log \sum_i e^{x_i - c}$ for any $c$; in the machine the mean, for one,
# does not serve when the entries lie far apart.

# %%
x = 10 * torch.randn(200, 5, generator=g, dtype=torch.float64)
lse = torch.logsumexp(x, -1)
teach.claim("ours is torch.logsumexp", error=(our_logsumexp(x) - lse).abs(), tolerance=1e-12)
wide = torch.tensor([0.0, 0.0, 0.0, 4000.0], dtype=torch.float64)
teach.claim("with entries 4000 apart ours is right, and subtracting the mean overflows", kind="run",
            condition=our_logsumexp(wide) == 4000
            and bool((naive_logsumexp(wide - wide.mean()) + wide.mean()).isinf()))
teach.claim("adding a constant to the entries adds it to the result, up to 1000",
            error=torch.stack([(torch.logsumexp(x + c, -1) - lse - c).abs()
                               for c in (-1000.0, -1.0, 1000.0)]), tolerance=1e-12)
teach.claim("with 1000 added, the naive formula returns infinity for every row", kind="run",
            condition=bool(naive_logsumexp(x + 1000).isinf().all()))

# %% [markdown]
# Two relatives: `log1p(t)` is $\log(1 + t)$ without losing a small $t$, and **softplus**,
# $\log(1 + e^x)$, is a smooth version of $\max(x, 0)$. torch has it, with a surprise.

# %%
tiny = torch.tensor(1e-20, dtype=torch.float64)
teach.claim("log(1 + 1e-20) is computed as 0, log1p(1e-20) is right", kind="run",
            condition=(1 + tiny).log() == 0 and torch.log1p(tiny) == tiny)
x = torch.tensor([-40.0, 20.0, 20.01, 1000.0], dtype=torch.float64)
by_hand = x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))
stable = torch.logaddexp(x, torch.zeros_like(x))  # log(e^x + e^0)
teach.claim("logaddexp(x, 0) is softplus from -40 to 1000", tolerance=1e-14,
            error=(stable / by_hand - 1).abs())
ready = torch.nn.functional.softplus(x)
for name, value in (("logaddexp", stable), ("torch's softplus", ready)):
    print(f"{name:17} at 20.01, minus 20.01: {value[2] - 20.01:.1e}")
teach.claim("above 20 torch's softplus returns x itself, at 20 it does not", kind="run",
            condition=ready[2] == x[2] < stable[2] and ready[1] > x[1])

# %% [markdown]
# The error is 2e-9. A method that compares smaller differences should use `logaddexp`.
#
# **Exercise 4.** An average over samples, in logarithms.

# %%
# exercise: p1.t2.e4

# %% [markdown]
# Subtracting the logarithm of a count turns our sum into that mean, and into the package's.

# %%
x = 10 * torch.randn(200, 5, generator=g, dtype=torch.float64)
teach.claim("ours minus log n is bolearn.numerics.logmeanexp", tolerance=1e-12,
            error=(our_logsumexp(x) - math.log(5) - numerics.logmeanexp(x, dim=-1)).abs())

# %% [markdown]
# ## 9. A whole map in one call
#
# A map of `landscape` needs its height at every point of a grid. `meshgrid` turns the values of
# each input into one table for each coordinate; say `indexing="ij"`, so that the first axis belongs
# to the first input.

# %%
side = torch.linspace(-2, 2, 200, dtype=torch.float64)
x0, x1 = torch.meshgrid(side, side, indexing="ij")  # 200 200 each
points = torch.stack([x0, x1], dim=-1)  # 200 200 d
heights = landscape(points)  # 200 200: no loop, no reshaping
print("one call for", heights.numel(), "points")

teach.show(plotting.height_map(x0, x1, heights, X),
           "Hills at 0 and at both ends of the first coordinate, stretched along the "
           "second; four kinds of markers show the three places of each of the four plans.")

# %% [markdown]
# Some functions accept only a table `n d`. Then `reshape` on the way in and on the way out.

# %%
def rows_only(table):
    assert_shape("table", table, None, d)
    return landscape(table)


flat = points.reshape(-1, d)  # 40000 d
teach.claim("through a table of rows and back: the same map",
            torch.equal(rows_only(flat).reshape(200, 200), heights))
teach.claim("cartesian_prod is the same table", torch.equal(torch.cartesian_prod(side, side), flat))
xy0, xy1 = torch.meshgrid(side, side, indexing="xy")
mirrored = landscape(torch.stack([xy0, xy1], dim=-1))
teach.claim("indexing='xy' gives the map with its axes swapped, of the same shape", kind="run",
            condition=torch.equal(mirrored, heights.T) and not torch.equal(mirrored, heights))

# %% [markdown]
# What did we gain? Every torch call is a trip from Python into compiled code and back, whatever the
# size of its tensors. So count the trips.

# %%
teach.predict(
    "p1.t2.q9", "For one point, landscape makes 3 torch calls. How many for all 40,000 together?",
    [3, 40_000, 120_000], guess=None,
)

# %%
def looped(table):
    for point in table.unbind():
        landscape(point)


def calls(fn, n):
    return len(trace(fn, flat[:n]))


for n in (10, 100, 1000):
    print(f"{n:5} points: {calls(landscape, n)} calls in one expression, {calls(looped, n):4} in a"
          " loop")
teach.reveal("p1.t2.q9", calls(landscape, 40_000), because="the loops run inside torch")
teach.claim("one expression makes 3 torch calls, for 1, 10 and 40,000 points", kind="run",
            condition={calls(landscape, n) for n in (1, 10, 40_000)} == {3})
teach.claim("a Python loop makes 3 for each point", kind="run",
            condition=all(calls(looped, n) == 3 * n for n in (1, 10, 1000)))

# %% [markdown]
# And in seconds? That depends on the machine; here is the one that built this page. Run the cell to
# see yours.

# %%
def seconds(fn, table):
    """The fastest of three runs."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        fn(table)
        times.append(time.perf_counter() - start)
    return min(times)


counts = [1, 4, 16, 64, 256, 1024, 4096]
timed = {name: torch.tensor([seconds(fn, flat[:n]) for n in counts], dtype=torch.float64)
         for name, fn in (("a loop", looped), ("one expression", landscape))}
teach.show(plotting.curves(torch.tensor(counts).double(), timed, xlabel="number of points",
                           ylabel="seconds, fastest of 3", log="xy"),
           "Measured seconds against the number of points, for a Python loop and for one "
           "tensor expression; another machine draws other curves.")

# %% [markdown]
# The loop's time grows with its trips. That of the expression stays flat as long as a few trips
# cost more than the arithmetic.
#
# **Exercise 5** (homework). The grid for a box of any dimension. Beware: $n^d$ grows fast, and Part
# 3 will look for something better.

# %%
# exercise: p1.t2.e5

# %% [markdown]
# ## 10. A seed for each purpose
#
# All our random numbers came from `g`, a `Generator` with a seed. The same seed and the same calls
# give the same numbers, on one device and version of torch. But a generator is a stream: each draw
# takes the numbers that come next.

# %%
teach.predict(
    "p1.t2.q10", "Start and noise share a generator. One more start: does the noise change?",
    ["yes", "no"], guess=None,
)

# %%
def from_one_stream(starts):
    g = torch.Generator().manual_seed(7)
    start = torch.rand(starts, generator=g, dtype=torch.float64)
    return start, torch.randn(20, generator=g, dtype=torch.float64)


def from_named_seeds(starts):
    g_start = torch.Generator().manual_seed(seeds.derive(7, "start"))
    g_noise = torch.Generator().manual_seed(seeds.derive(7, "noise"))
    start = torch.rand(starts, generator=g_start, dtype=torch.float64)
    return start, torch.randn(20, generator=g_noise, dtype=torch.float64)


routes = (from_one_stream, from_named_seeds)
same = {route.__name__: torch.equal(route(20)[1], route(21)[1]) for route in routes}
print("the noise stays the same:", same)
teach.reveal("p1.t2.q10", "no" if same["from_one_stream"] else "yes",
             because="the noise now begins one number further down the stream")
teach.claim("the same seed gives the same numbers",
            torch.equal(from_one_stream(20)[1], from_one_stream(20)[1]))
teach.claim("one stream for two purposes couples them, a seed for each purpose does not",
            kind="run", condition=not same["from_one_stream"] and same["from_named_seeds"])

# %% [markdown]
# `seeds.derive` makes an unrelated seed from a seed and a name. Every function of `bolearn` that
# draws takes a `seed` and leaves torch's global generator alone, so that two methods can be
# compared on the same starts and the same noise.
#
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. Samples of values lie in a tensor `s b q`. Which reduction comes first if only the best of the
#    `q` points counts, and what would the other order compute?
# 2. Predictions have shape `(n, 1)`, targets `(n,)`. What does the mean squared error of a perfect
#    model come to, and which two habits catch it?
# 3. Why is the slope of `where(x > 0, x.sqrt(), 0.0)` NaN at 0 although its value is right?
#
# **So, how do you turn loops into one expression?** Give each loop an axis, always the same place
# for the same kind, and reduce the axes one by one. And the shapes lie when sizes of 1, or sizes
# that agree by accident, let a broadcast through: say which axis you mean, and check at the door.
# Next: tutorial 3, the smallest program that learns.
#
# ## Sources
#
# - C. R. Harris et al., "Array programming with NumPy", *Nature* 585 (2020),
#   [doi:10.1038/s41586-020-2649-2](https://doi.org/10.1038/s41586-020-2649-2).
# - PyTorch documentation:
#   [torch.take_along_dim](https://docs.pytorch.org/docs/stable/generated/torch.take_along_dim.html),
#   [softplus and its threshold](https://docs.pytorch.org/docs/stable/generated/torch.nn.Softplus.html),
#   [reproducibility](https://docs.pytorch.org/docs/stable/notes/randomness.html).
# - P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and softmax
#   functions", *IMA Journal of Numerical Analysis* 41 (2021),
#   [doi:10.1093/imanum/draa038](https://doi.org/10.1093/imanum/draa038).
