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
# # Part 5, tutorial 3: choices, counts, known constraints and blends
#
# **How do I optimise over choices, counts and forbidden regions without lying to the model?**
#
# > **Before you start:** Gaussian processes, expected improvement and paired comparisons (tutorials
# > 4.1 to 4.3, or elsewhere).
# >
# > **Time:** 60 minutes of reading, about as much again for the four exercises.
# >
# > **You will be able to**
# > - tell the model which inputs have an order and which have none, and show that it matters;
# > - say what a kernel on one-hot columns is, and what it is not;
# > - choose the next experiment by listing what is legal, instead of rounding what is not;
# > - round amounts so that their sum stays exact, and draw points inside linear constraints;
# > - give a model of blends coordinates in which no component is special;
# > - name a problem on which a design of 1958 is level with the model, or ahead.
# >
# > **You will build** `hamming_kernel`, `whole_steps`, `hit_and_run` and `contrasts`.

# %%
import math
from dataclasses import replace

import torch
from gpytorch.kernels import MaternKernel, RBFKernel
from torch import Tensor  # for the exercises

import bolearn as bl
from bolearn import linalg, plotting, seeds, stats, teach
from bolearn.data import reactions

teach.setup("p5.t3")

# %% [markdown]
# ## 1. What may be run
#
# A laboratory joins a carbon to a nitrogen atom. For one starting material (aryl halide number 5)
# it may choose among 4 ligands, 3 bases and 22 additives. All 264 combinations were measured once
# (Ahneman et al., 2018), so that we can replay a campaign and know the best entry. A
# `Space` says what may be run; models see codes, one column for each label.

# %%
halide = bl.problems.BuchwaldHartwig(halide=5)
space = halide.space
print(
    space.num_designs, "combinations,", space.d, "columns:", space.columns["base"], "for the base"
)
point = {"ligand": "XPhos", "base": "MTBD", "additive": space["additive"].values[3]}
code = space.encode(point)
print("ligand and base of one experiment:", code[:7].tolist())
teach.claim("decoding undoes encoding", space.decode(code) == point)
print(f"best entry: {halide.optimal_value} % yield; median {halide.values.median():.1f} %")

# %% [markdown]
# The obvious alternative numbers the labels: XPhos is ligand 2, MTBD base 2, and so on. A kernel of
# distances then believes that ligand 2 is more like ligand 1 than like ligand 0. For temperatures
# that is knowledge; for ligands the numbers are the order of a list that somebody typed.

# %%
teach.predict(
    "p5.t3.q1",
    "Forty yields are known. We number the labels in another order and predict the other 224, "
    "with the same kernel and lengthscales. By how much do predictions move, in the mean?",
    ["less than 0.01 %", "about 0.1 %", "more than 1 % of yield"],
    guess=None,
)


# %%
def numbering(seed):
    """A matrix 29 x 3: it makes of a code one number for each choice, its place in a list."""
    W = torch.zeros(space.d, len(space)).double()
    for i, columns in enumerate(space.columns.values()):
        order = seeds.uniform([seeds.derive(seed, i)], (len(columns),))[0].argsort()
        W[columns, i] = order.double() / (len(columns) - 1)
    return W


X = space.sobol(40, seed=0)
Y = halide(X)
others = halide.points[torch.cdist(halide.points, X).amin(1) > 0.5]
cube = torch.stack([torch.zeros(3), torch.ones(3)]).double()


def by_numbers(W):
    model = bl.ExactGP(X @ W, Y, cube, kernel=RBFKernel())
    model = model.with_hyperparameters(lengthscale=0.5)
    return model.posterior(others @ W).mean[:, 0]


moved = (by_numbers(numbering(0)) - by_numbers(numbering(1))).abs().mean()
print(f"predictions moved by {moved:.1f} % of yield, in the mean")
teach.claim("another order of labels moves predictions by more than 1 %", moved > 1, kind="run")
teach.reveal("p5.t3.q1", "more than 1 % of yield", because="the order was taken for a distance")

# %% [markdown]
# ## 2. A kernel that counts differences
#
# What can be said of two experiments without an order? In how many choices they differ: the
# **Hamming distance** $h$, here 0, 1, 2 or 3. From it, a kernel:
#
# $$k(a, b) = \exp(-h(a, b) / \ell^2) .$$

# %%
# exercise: p5.t3.e1

# %% [markdown]
# `teach.hint("p5.t3.e1", 1)` helps; levels 2 and 3 help more.
#
# The kernel is a product, over the choices, of 1 (same) or $e^{-1/\ell^2}$ (other), and a product
# of kernels is a kernel. Now the same by another way. Two one-hot columns blocks are equal, or
# differ in exactly two columns by 1. So the squared distance of two codes is $2h$, and an RBF
# kernel with one lengthscale, $\exp(-\|x - x'\|^2 / 2\ell^2)$, *is* the Hamming kernel.

# %%
WIDTH = torch.tensor(1.3, dtype=torch.float64)  # 1.3 alone would be a float32
hamming = teach.yours("p5.t3.e1", hamming_kernel)


def labels(X):
    """Codes as whole numbers, one for each choice."""
    return torch.stack([X[..., c].argmax(-1) for c in space.columns.values()], dim=-1)


rbf = RBFKernel().double()
rbf.lengthscale = WIDTH
one_hot = linalg.gram(rbf, others, X)
teach.claim(
    "an RBF kernel on one-hot codes is the Hamming kernel",
    error=(one_hot - hamming(labels(others), labels(X), 1.3)).abs(),
    tolerance=1e-12,
)
eigenvalues = torch.linalg.eigvalsh(hamming(labels(halide.points), labels(halide.points), 1.3))
teach.claim("no eigenvalue is negative", eigenvalues.min() > -1e-10, kind="theorem")

# %% [markdown]
# With that, the posterior of tutorial 4.1 by hand, on standardised yields and with a given noise,
# and the package's, which gets only codes and an RBF kernel.

# %%
model = bl.ExactGP(X, Y, space.bounds, kernel=RBFKernel())
model = model.with_hyperparameters(lengthscale=1.3, noise_var=0.05, mean=0.0)


def by_hand(rows, at):
    K = hamming(rows, rows, 1.3) + 0.05 * torch.eye(len(rows)).double()
    z = (Y[:, 0] - Y.mean()) / Y.std()
    return Y.mean() + Y.std() * hamming(at, rows, 1.3) @ torch.linalg.solve(K, z)


ours = by_hand(labels(X), labels(others))
package = model.posterior(others).mean[:, 0]
teach.claim("posterior by hand and the package's", error=(ours - package).abs(), tolerance=1e-8)

names = (37 * torch.arange(22) + 5) % 22  # label 0 is now called 5, label 1 is called 20, ...
renamed = [names[labels(rows)] for rows in (X, others)]
gap = (by_hand(*renamed) - ours).abs()
teach.claim("other names for the labels move nothing", error=gap, tolerance=1e-10)

# %% [markdown]
# Two limits of the identity. A **Matérn** kernel on one-hot codes with one lengthscale is a
# function of $h$, too, but no product over the choices. And with a lengthscale for each column
# (the package's default) the values depend on *which* labels differ: it learns how unlike they
# are. That is more than Hamming, at the price of 29 lengthscales; still no order enters.

# %%
matern = MaternKernel(nu=2.5).double()
matern.lengthscale = WIDTH
K, h = (f(halide.points) for f in (lambda P: linalg.gram(matern, P, P), labels))
h = (h.unsqueeze(1) != h).sum(-1)
levels = [K[h == j] for j in range(4)]
spread = torch.stack([level.max() - level.min() for level in levels])
teach.claim("Matérn on one-hot codes is a function of h", error=spread, tolerance=1e-12)
one, two = (levels[j].mean().item() for j in (1, 2))
print(f"one difference {one:.3f}, two {two:.3f}; a product would have {one**2:.3f}")
teach.claim("it is no product over the choices", two > 1.1 * one**2, kind="run")

# %% [markdown]
# ## 3. Where there are 264, count
#
# The acquisition function is now defined at 264 codes. Everything between them means nothing: no
# bottle holds half XPhos. Yet a gradient climber can only walk between. *Relax, climb, round*
# maximises over the cube $[0, 1]^{29}$ and takes the largest column of each block. *Enumerate* asks
# all 264, which takes milliseconds.

# %%
teach.predict(
    "p5.t3.q2",
    "In 24 campaigns with 12 known yields, how often does relax, climb, round find the legal "
    "experiment with the highest acquisition?",
    ["always", "in most", "in fewer than half"],
    guess=None,
)

# %%
starts = torch.stack([space.sobol(12, seed=i) for i in range(24)])  # 24 12 29
models = bl.fit_mll(bl.strategies.matern_gp(starts, halide(starts), space.bounds))
acq = bl.LogExpectedImprovement(models, best_f=bl.incumbent(models, starts).value)
relaxed, _ = bl.optimize_acqf(acq, space.bounds, seed=0)  # 24 1 29
rounded = torch.cat(
    [
        torch.nn.functional.one_hot(relaxed[..., c].argmax(-1), len(c)).double()
        for c in space.columns.values()
    ],
    dim=-1,
)
with torch.no_grad():
    every = acq(space.designs()[:, None, None, :].expand(-1, 24, 1, -1))  # 264 24
    at_rounded = acq(rounded)
best = every.max(0).values
_, found = bl.optimize_acqf(acq, space=space, seed=0)
hits = int((at_rounded > best - 1e-9).sum())
print(f"rounding found the best legal experiment in {hits} of 24 campaigns")
teach.claim("no rounded point beats the list", (at_rounded <= best + 1e-9).all(), kind="theorem")
teach.claim(
    "optimize_acqf(space=...) is the list's best", error=(found - best).abs(), tolerance=1e-9
)

# %%
answer = "always" if hits == 24 else "in most" if hits >= 12 else "in fewer than half"
teach.reveal("p5.t3.q2", answer, because="what is best between the labels need not be near a label")

# %% [markdown]
# When the list is too long, the search goes on from several starts by single changes (another
# label, a step up or down), takes the best, climbs the real inputs, and repeats: `optimize_acqf`
# does this by itself. (Daulton et al., 2022, climb instead the probabilities with which labels
# are drawn.) Whether it has found the top is then no longer certain, and a list is the test. A
# space of 27,000 points with a count, a dial and a choice, at 20 models:

# %%
bench = bl.Space(
    [
        bl.Real("temperature", 20, 95, unit="°C", step=0.5),
        bl.Integer("cycles", 1, 30),
        bl.Categorical("solvent", ["MeOH", "THF", "MeCN", "DMF", "toluene", "water"]),
    ],
    constraints=["temperature + 2 * cycles <= 140"],
)
seen = torch.stack([bench.sobol(12, seed=i) for i in range(20)])
heights = torch.sin(4 * seen[..., :1] + 3 * seen[..., 1:2]) + seen[..., 3:4] - seen[..., 5:6]
models = bl.fit_mll(bl.strategies.matern_gp(seen, heights, bench.bounds))
acq = bl.UpperConfidenceBound(models, 4.0)
listed = bench.designs()
with torch.no_grad():
    every = torch.cat(
        [acq(part[:, None, None, :].expand(-1, 20, 1, -1)) for part in listed.split(2000)]
    )
x, value = bl.optimize_acqf(acq, space=bench, seed=0)
missed = int((value < every.max(0).values - 1e-6).sum())
print(f"{len(listed):,} legal points; the search missed the best in {missed} of 20")
teach.claim("the search misses the list's best at most twice", missed <= 2, kind="run")
teach.claim("every proposal is legal", bench.is_legal(x[..., 0, :]).all(), kind="theorem")

# %% [markdown]
# ## 4. Does the order of a list cost yield?
#
# Now campaigns: 8 random experiments, then 12 chosen ones. Four arms, 128 runs from common
# starts: expected improvement with codes; the same with *numbered* labels, every run with a
# shuffled list of its own; one factor at a time, which is what many people do by hand; and random
# search. Proposals are restricted to the table, which favours all of them.

# %%
teach.predict(
    "p5.t3.q3",
    "Mean yield lost against the best entry after 20 experiments: how do codes compare with "
    "numbered labels?",
    ["codes, clearly", "128 runs do not decide", "numbers, clearly"],
    guess=None,
)


# %%
class Numbered:
    """A Gaussian process of numbered labels; the first experiment says by which list."""

    num_outputs = 1

    def __init__(self, X, Y, bounds, observed=None, seed=0):
        self.W = LISTS[torch.cdist(X[..., 0, :], halide.points).argmin(-1)]  # R 29 3
        self.model = bl.fit_mll(bl.strategies.matern_gp(X @ self.W, Y, cube, observed))
        self.batch_shape = self.model.batch_shape

    def posterior(self, X, **options):
        return self.model.posterior(X @ self.W, **options)


LISTS = torch.stack([numbering(i) for i in range(len(halide.points))])
arms = {
    "codes": bl.strategies.log_ei,
    "numbers": replace(bl.strategies.log_ei, model=Numbered, fit=None),
    "one factor": bl.strategies.one_factor_at_a_time,
    "random": bl.strategies.random,
}
campaigns = bl.study(halide, arms, n_init=8, n_iter=12, replicates=128, seed=0)

# %%
lost = {name: campaigns.regret(name).mean(0)[7:] for name in arms}
figure = plotting.curves(
    torch.arange(8.0, 21.0),
    lost,
    xlabel="experiments",
    ylabel="mean yield below the best entry, in %",
)
teach.show(
    figure,
    "Mean yield lost over 8 to 20 experiments, 128 runs: all begin together; codes come down "
    "fastest, then numbered labels; one factor at a time and random search stay far above.",
)

# %%
ends = {name: campaigns.regret(name)[:, -1] for name in arms}
verdict = stats.verdict(ends["random"] - ends["codes"])
print("codes against random search:", verdict)
teach.claim("halide 5: codes beat random search after 20", verdict.errors > 2, kind="paired")
by_hand = stats.verdict(ends["one factor"] - ends["codes"])
print("codes against one factor at a time:", by_hand)
teach.claim("halide 5: codes beat one factor at a time", by_hand.errors > 2, kind="paired")
print("codes against numbers:", stats.verdict(ends["numbers"] - ends["codes"]))
teach.reveal(
    "p5.t3.q3", "128 runs do not decide", because="three numbers are quickly fitted, if wrongly"
)

# %% [markdown]
# So the order of a list moves every prediction, and yet 128 runs do not decide whether it costs
# yield here: the difference is less than a third of what codes gain over random search. (With three
# inputs a lengthscale may become so short that neighbours in the list hardly matter.) What a model
# of numbers says still depends on who typed the list; codes cost nothing.
#
# **Page of the laboratory book.** What would one factor at a time have done, what did one run find,
# and how good is that?

# %%
run_best = halide.optimal_value - ends["codes"]
order = seeds.uniform(list(range(1000)), (len(halide.values),)).argsort(-1)[:, :20]
luck = halide.values[order].amax(-1)
print(f"best of 264: {halide.optimal_value:.1f} %")
print(f"one factor at a time, median: {halide.optimal_value - ends['one factor'].median():.1f} %")
print(f"first run with codes: {run_best[0]:.1f} %, median of 128: {run_best.median():.1f} %")
share = (luck >= run_best.median()).double().mean()
print(f"of 1,000 random searches of 20, {share:.0%} reach that median")
print("one factor against random search:", stats.verdict(ends["random"] - ends["one factor"]))

# %% [markdown]
# ## 5. Amounts: steps and sums
#
# A balance weighs in steps, and fractions sum to one. A model proposes 0.553, 0.297, 0.150; the
# bench knows steps of 0.1. Rounded one by one, three numbers may sum to 0.9 or 1.1, and whoever
# mends that by hand runs another experiment than the one on record.

# %%
# exercise: p5.t3.e2

# %%
steps = teach.yours("p5.t3.e2", whole_steps)
blend = bl.Space(
    [bl.Real(name, 0, 1, step=0.02) for name in "abcd"], constraints=["a + b + c + d == 1"]
)
u = seeds.uniform([1], (500, 4))[0]
amounts = u / u.sum(-1, keepdim=True)
single = torch.round(50 * amounts).sum(-1)
print(f"rounded one by one, {(single != 50).double().mean():.0%} of 500 blends have another total")
mine, theirs = steps(amounts, 50).double() / 50, blend.round(amounts)
totals = torch.tensor([sum(round(v * 50) for v in row) for row in mine.tolist()])
teach.claim("500 rounded blends have the exact total", (totals == 50).all(), kind="theorem")
teach.claim("and all are legal", blend.is_legal(mine).all(), kind="theorem")
away = [((r - amounts) ** 2).sum(-1).sqrt() for r in (mine, theirs)]
teach.claim(
    "none is farther away than space.round", (away[0] <= away[1] + 1e-9).all(), kind="theorem"
)

# %% [markdown]
# Points *inside* linear constraints are wanted, too: for a first design, or as starts of a search.
# Drawing in the box and throwing away what is illegal fails in high dimension (of the cube, the
# corner $\sum x \le 1$ is $1/d!$). A random walk does it.

# %%
# exercise: p5.t3.e3

# %%
walk = teach.yours("p5.t3.e3", hit_and_run)
corner = torch.cat([-torch.eye(4), torch.ones(1, 4)]).double()
limits = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]).double()
chain = walk(corner, limits, torch.full((4,), 0.1).double(), 10_000, 0)
batches = chain[:, 0].reshape(50, 200).mean(1)
naive, honest = chain[:, 0].std() / 100, batches.std() / math.sqrt(50)
print(f"standard error of the mean: naive {naive:.4f}, by batches {honest:.4f}")
z = (batches.mean() - 0.2) / honest
teach.claim("the mean of a share is 1/5", z.abs() < 5, kind="monte-carlo")
teach.claim(
    "the naive error is at least 1.5 times too small", honest > 1.5 * naive, kind="monte-carlo"
)

# %% [markdown]
# Neighbours on a walk are alike, so 10,000 points are worth fewer. Means of batches of 200 are
# nearly independent, and their spread gives an honest error. `space.sobol` spreads points over such
# sets for you.
#
# ## 6. Blends: coordinates without a favourite
#
# Solar cells are made of blends of four materials (PCE10, P3HT, PCBM, oIDTBR), and light degrades
# them. Langner et al. (2020) measured 1,020 blends. Four fractions that sum to one have three
# degrees of freedom. The usual way out is to *drop one fraction*. Which one?

# %%
# exercise: p5.t3.e4

# %%
films = bl.problems.Blends()
print(films.space)
print(f"{len(films.points)} of them measured; least degradation {-films.optimal_value:.4f}")
C = teach.yours("p5.t3.e4", contrasts)(4)
P = films.points[:200]
isotropic = RBFKernel().double()
isotropic.lengthscale = torch.tensor(0.4, dtype=torch.float64)
on_all, on_three = linalg.gram(isotropic, P, P), linalg.gram(isotropic, P @ C, P @ C)
teach.claim(
    "an isotropic kernel on contrasts is the one on all four fractions",
    error=(on_all - on_three).abs(),
    tolerance=1e-9,
)
without = [linalg.gram(isotropic, *2 * [P[:, [j for j in range(4) if j != i]]]) for i in range(4)]
apart = max((a - b).abs().max().item() for a in without for b in without)
print(f"drop one fraction: kernel values differ by up to {apart:.2f}, by which one was dropped")
teach.claim("which fraction is dropped matters", apart > 0.1, kind="run")

# %% [markdown]
# The contrasts keep every distance between blends; dropping a fraction shortens those along which
# it changes. So either all fractions go in, as the codes of `Space` do, or contrasts. With a
# lengthscale for each column, contrasts have favourites of their own, all four fractions have
# none.
#
# ## 7. The default of 1958
#
# What would a formulation chemist do? A **simplex lattice**: pure components, half-and-half
# blends, and the blend of all, 11 runs for four components; then Scheffé's quadratic, a
# polynomial in the fractions without a constant, fitted by least squares, and go where it is best
# (Scheffé, 1958). Both arms begin with the same random blend.

# %%
teach.predict(
    "p5.t3.q4",
    "After 15 blends: which has the smaller mean degradation above the best?",
    ["the Gaussian process", "the lattice", "random search"],
    guess=None,
)

# %%
arms = {
    "GP": bl.strategies.log_ei,
    "lattice": bl.strategies.simplex_lattice,
    "random": bl.strategies.random,
}
mixing = bl.study(films, arms, n_init=1, n_iter=19, replicates=128, seed=0)
figure = plotting.curves(
    torch.arange(1.0, 21.0),
    {name: mixing.regret(name).mean(0) + 1e-5 for name in arms},
    xlabel="blends made",
    ylabel="mean degradation above the best (+ 0.00001)",
    log="y",
)
teach.show(
    figure,
    "Mean degradation above the best over 20 blends, 128 runs, logarithmic axis: the GP falls "
    "steadily to about 0.004; the lattice is level with it up to 12 and drops below 0.001 at 13; "
    "random search stays near 0.05.",
)

# %%
at = {name: mixing.regret(name)[:, 14] for name in arms}
ahead = stats.verdict(at["GP"] - at["lattice"])
print("lattice against the GP at 15:", ahead)
teach.claim("at 15 blends the lattice is ahead of the GP", ahead.errors > 2, kind="paired")
end = stats.verdict(mixing.regret("random")[:, -1] - mixing.regret("GP")[:, -1])
print("GP against random search at 20:", end)
teach.claim("at 20 blends the GP beats random search", end.errors > 2, kind="paired")
exact = {name: (values == 0).double().mean() for name, values in at.items()}
print({name: f"{share:.0%} hold the best blend" for name, share in exact.items()})
teach.reveal(
    "p5.t3.q4", "the lattice", because="after 12 blends its quadratic points at the best one"
)

# %% [markdown]
# How large is the difference? Some blends were made more than once; the table above holds their
# means.

# %%
made = {}
for row in reactions.rows("photo_pce10.csv"):
    made.setdefault(tuple(row[name] for name in films.space.names), []).append(
        float(row["degradation"])
    )
repeats = [torch.tensor(values).std() for values in made.values() if len(values) > 1]
typical = torch.stack(repeats).median()
print(f"{len(repeats)} blends made again: median standard deviation {typical:.3f}")
print(f"lead of the lattice, in the mean: {ahead.mean:.3f}")

# %% [markdown]
# The lead is decided on this table, and hardly visible at the bench. (The lattice has few different
# runs, so that its 128 replicates are much alike; the spread is the model's.)
#
# **Page of the laboratory book.** The default is the lattice: 12 blends, a least-squares fit, and
# mostly done. What is the rank of each among random searches of 15?

# %%
draw = seeds.uniform(list(range(1000)), (len(films.values),)).argsort(-1)[:, :15]
luck = films.optimal_value - films.values[draw].amax(-1)
for name in ("GP", "lattice"):
    share = (luck <= at[name].mean()).double().mean()
    print(f"{name}: {at[name].mean():.4f} above the best, in the mean")
    print(f"    of 1,000 random searches {share:.1%} do as well")

# %% [markdown]
# The sentence that these tables support: *with few ordered factors and a nearly polynomial
# response, classical design is as good or better, and it can start the loop; with categories,
# interactions away from the corners, constraints or many factors the model wins.* On halide 5
# there is no lattice to lay.
#
# Constraints that are known (a sum, a limit) belong to the space, and no proposal breaks them.
# Limits of what is *measured*, and experiments that fail, are tutorial 5.7.
#
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. A colleague numbers solvents from 1 to 12 in alphabetical order. What does the model believe
#    now, and how would you show that it matters, in three lines?
# 2. What is an RBF kernel on one-hot codes, exactly? What changes with a lengthscale for each
#    column, or with a Matérn kernel?
# 3. When is dropping one of four fractions harmless, and when is it not?
#
# **So, how does one optimise over choices without lying?** Say what has an order and what has
# none; ask the acquisition only where an experiment can be run; keep sums exact; and set the
# classical design beside the model as an arm.
#
# **The same in BoTorch**: its `CategoricalKernel` averages over the choices, so that its
# lengthscale is $\ell^2 / p$ for $p$ choices:
#
# ```python
# from botorch.models.kernels.categorical import CategoricalKernel
#
# kernel = CategoricalKernel(ard_num_dims=3).double()
# kernel.lengthscale = torch.full((1, 3), 1.3**2 / 3).double()
# by_botorch = kernel(labels(others).double(), labels(X).double()).to_dense().detach()
# ```
#
# ## Sources
#
# - D. T. Ahneman, J. G. Estrada, S. Lin, S. D. Dreher, A. G. Doyle, "Predicting reaction
#   performance in C–N cross-coupling using machine learning", *Science* 360 (2018),
#   [doi:10.1126/science.aar5169](https://doi.org/10.1126/science.aar5169): the yields.
# - S. Langner et al., *Advanced Materials* 32 (2020) 1907801: the blends; by way of F. Häse et
#   al., "Olympus: a benchmarking framework for noisy optimization and experiment planning",
#   *Mach. Learn.: Sci. Technol.* 2 (2021) 035021.
# - H. Scheffé, "Experiments with mixtures", *J. Roy. Statist. Soc. B* 20 (1958): lattice and
#   polynomial.
# - R. L. Smith, "Efficient Monte Carlo procedures for generating points uniformly distributed
#   over bounded regions", *Operations Research* 32 (1984): hit and run.
# - E. C. Garrido-Merchán, D. Hernández-Lobato, "Dealing with categorical and integer-valued
#   variables in Bayesian optimization with Gaussian processes", *Neurocomputing* 380 (2020).
# - S. Daulton et al., "Bayesian optimization over discrete and mixed spaces via probabilistic
#   reparameterization", *NeurIPS* (2022), [arXiv:2210.10199](https://arxiv.org/abs/2210.10199).
