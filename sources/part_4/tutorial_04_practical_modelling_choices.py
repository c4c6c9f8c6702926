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
# # Part 4, tutorial 4: practical modelling choices
#
# **I have ten experiments. Which choices will change the answer, and would a textbook design have
# done as well?**
#
# > **Before you start:** tutorials 1 to 3 of this part. Studies, paired runs and `stats.verdict`
# > are those of tutorial 3.
# >
# > **Time:** 60 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - plan a fraction of a factorial design, and say what it confounds;
# > - compare a campaign with what classical design would have done with the same budget;
# > - measure five modelling choices at once, each with all runs, and read a forest plot;
# > - compare scores of models of differently transformed outputs, in common units;
# > - tell a model what you know of the noise, and say what a wrong word costs;
# > - judge a starting design, and know when a number is no judge.
# >
# > **You will build** `half_fraction`, `effects`, `centered_discrepancy` and `unwarp`.

# %%
import math
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import MaternKernel, RBFKernel
from scipy.stats import t as student
from sklearn.datasets import load_diabetes
from torch import Tensor

import bolearn as bl
from bolearn import plotting, stats, teach
from bolearn.models.priors import default_kernel, matern_kernel
from bolearn.optim import lbfgs
from bolearn.strategies import designs
from bolearn.teach import choices as package_choices
from bolearn.transforms import PowerWarp

course = teach.setup("p4.t4")
s = bl.strategies
lot, shuffle, g = (torch.Generator().manual_seed(seed) for seed in (7, 0, 5))  # used further down

# %% [markdown]
# ## 1. Ten experiments in a coupling laboratory
#
# A Suzuki coupling joins two rings with palladium as its catalyst. Somebody measured its yield at
# nearly all combinations of four settings of four dials, so that we can replay any campaign, and
# know the best entry. (`ArBpin` is one of the two partners, `K3PO4` a base.)

# %%
suzuki = bl.problems.Suzuki()
print(suzuki.space)
print(len(suzuki.points), "of them were measured")

# %% [markdown]
# We may run ten. Textbooks on the **design of experiments** give three answers.
#
# *One factor at a time:* vary one dial, keep its best setting, go on to the next dial.
#
# *A factorial design:* only the lowest and the highest setting of each dial, coded as $-1$ and
# $+1$, in all 16 combinations. A **half fraction** takes 8 of them: those in which the product of
# the four levels is $+1$. Then fit a line by least squares, and run its best point.
#
# *A response surface:* a factorial, the centre and the middles of the faces (a **central composite
# design**), then a quadratic.
#
# **Exercise 1.** Write down a half fraction.

# %%
# exercise: p4.t4.e1

# %%
half = teach.yours("p4.t4.e1", half_fraction)(4, 1)
print(half.int())
teach.claim("the four columns of levels are orthogonal, as in the full factorial", tolerance=1e-12,
            error=(half.T @ half - 8 * torch.eye(4)).abs())
product = {pair: half[:, pair[0]] * half[:, pair[1]] for pair in combinations(range(4), 2)}
teach.claim("the product of dials 1 and 2 has the levels of the product of dials 3 and 4",
            error=(product[0, 1] - product[2, 3]).abs(), tolerance=1e-12)
package = {tuple(run) for run in designs.two_level_factorial(4, 1).tolist()}
teach.claim("they are the package's eight corners",
            {tuple(run) for run in half.tolist()} == package)

# %% [markdown]
# Orthogonal columns mean that the slope of each dial is estimated as if the other three were not
# there, from all eight runs. The price of the missing half: an **interaction** of two dials (the
# effect of one depends on the setting of the other) shows in a column that belongs to another
# interaction, too. They are **confounded**. The length of the shortest product of columns that
# never changes is the design's **resolution**: at IV no dial is confounded with another or with an
# interaction of two; at V interactions of two are not confounded with each other either.

# %%
print("resolution of a half fraction of 3, 4, 5, 6 dials:",
      [designs.resolution(d, 1) for d in (3, 4, 5, 6)])
teach.predict("p4.t4.q1", "48 campaigns of ten experiments each: one random start, eight corners, "
              "the best point of a line. In how many is the best of the 247 entries among them?",
              ["none", "about half", "all"], guess=None)

# %% [markdown]
# All arms join one study: `bl.strategies` has classical designs, too. Every run begins at one
# random entry; then each method does as it likes. (The composite has a half fraction in it; the
# order of runs, and which half, are drawn by lot.)

# %%
lab = {"random": s.random, "one at a time": s.one_factor_at_a_time,
       "half, line": s.fractional_factorial, "composite": s.CentralComposite(halvings=1),
       "GP": s.log_ei}
plain = bl.study(suzuki, lab, n_init=1, n_iter=14, replicates=48, seed=0)
missed = {name: plain.regret(name) for name in lab}
figure = plotting.curves(torch.arange(1.0, 16), {name: r.mean(0) for name, r in missed.items()},
                         xlabel="experiments", ylabel="yield missed, mean of 48 runs (%)")
teach.show(figure, "Mean yield missed against experiments, 1 to 15. All methods begin at about 60. "
           "Random search is near 30 at ten and 22 at the end; one at a time near 20 at ten and 5 "
           "at the end; the half fraction reaches 0 at ten; the Gaussian process is near 5 at ten "
           "and below 1 at the end; the composite stays near 6.")

# %%
for name, r in missed.items():
    print(f"{name:14} misses {r[:, 9].mean():4.1f} % after 10, {r[:, 14].mean():4.1f} % after 15")
for name in ("random", "one at a time"):
    ahead = stats.verdict(missed[name][:, 9] - missed["GP"][:, 9])
    print(f"GP against {name}, after 10: {ahead}")
    teach.claim(f"after ten experiments the GP is ahead of {name}", ahead.errors > 2, kind="paired")
line, by_gp = missed["half, line"][:, 9], missed["GP"][:, 9]
print(f"GP against half, line, after 10: {stats.verdict(line - by_gp)}")
print(f"the best entry is found by the line in {int((line == 0).sum())} of 48 runs, by the GP in "
      f"{int((by_gp == 0).sum())}")
teach.claim("after ten experiments every run of half fraction and line has the best entry of all",
            bool((line == 0).all()), kind="run")
teach.reveal("p4.t4.q1", "all", because="the line points to the best entry every time")

# %% [markdown]
# Eight corners and a straight line, in every run. By our rule the difference of the means to the GP
# may be undecided; that the line never misses here is a fact. But mind that there are only two half
# fractions: after nine experiments their 48 runs are two designs in many orders, and no spread of
# such runs says anything about another reaction.
#
# Where is the best entry?

# %%
print(suzuki.space.decode(suzuki.optimal_points)[0])
teach.predict("p4.t4.q2", "Palladium is dear. Let each mol% cost 8 points of yield, and maximise "
              "yield minus that price. After ten experiments, the GP against eight corners and a "
              "line ...", ["is ahead", "is behind", "nothing between them"], guess=None)

# %%
price = 8.0
points = suzuki.space.decode(suzuki.points)
rows = [{**p, "worth": percent - price * p["palladium"]}
        for p, percent in zip(points, suzuki.values.tolist(), strict=True)]
dear = bl.problems.TableProblem(rows, suzuki.space, "worth", name="Suzuki coupling with a price")
rivals = {name: lab[name] for name in ("one at a time", "half, line", "GP")}
rivals["half, GP"] = s.Staged(s.fractional_factorial, runs=8, then=s.log_ei)
priced = bl.study(dear, rivals, n_init=1, n_iter=14, replicates=48, seed=0)
print("best entry:", dear.space.decode(dear.optimal_points)[0])
for name in rivals:
    r = priced.regret(name)
    print(f"{name:14} misses {r[:, 9].mean():4.1f} after 10, {r[:, 14].mean():4.1f} after 15")

# %%
for name in ("one at a time", "half, line"):
    ahead = stats.verdict((priced.regret(name) - priced.regret("GP"))[:, 9])
    print(f"GP against {name}, after 10: {ahead}")
    teach.claim(f"with a price, after ten, the GP is ahead of {name}", ahead.errors > 2,
                kind="paired")
begun = stats.verdict((priced.regret("GP") - priced.regret("half, GP"))[:, 9])
print("begun with the half fraction, against the GP alone:", begun)
teach.reveal("p4.t4.q2", "is ahead", because="the best entry is no corner any more")

# %% [markdown]
# The yield rises along all four dials: its best entry is a corner, and a line points to corners.
# With the price it is none, and ten runs are too few for a quadratic (the full composite takes 25).
# By 15 the line, fitted again after every run, has caught up. So, as far as one table can say it:
# *with few ordered dials and a nearly straight response classical design is as good or better, and
# it can start the loop; with a best point off the corners and few runs the model is ahead*.
#
# **Page of the laboratory book.** One run of the GP on the yields, as you would have had it:

# %%
own = plain.best("GP")[0, 9]
draws = torch.rand(1000, 247, generator=lot).argsort(-1)[:, :10]
luck = suzuki.values[draws].amax(-1)
as_good = (luck >= own).double().mean()
by_hand = plain.best("one at a time")[:, 9].mean()
print(f"the default, one factor at a time by hand, finds {by_hand:.1f} % in the mean of 48 runs")
print(f"this run of the GP found {own:.1f} %; of 1,000 random searches {as_good:.0%} did as well")
print("undecided: whether another reaction would say the same")

# %% [markdown]
# ## 2. The textbook's trick, played on our own loop
#
# Now the choices inside the loop. Five come up in every project:
#
# | choice | level $-1$ | level $+1$ |
# |---|---|---|
# | kernel | RBF | Matérn-5/2 |
# | lengthscale prior | none (maximum likelihood) | the package's, which grows with $d$ |
# | noise | to be learned, default prior | told that values are exact |
# | outputs | as they are | warped to be more nearly normal |
# | search of log EI | best of 64 points | 16 climbs from the best of 512 |
#
# Changing one at a time, each difference rests on two arms. We have just seen a better plan: a half
# fraction of the $2^5$ combinations, 16 arms, of resolution V. *Every* run has a part in *every*
# effect, and interactions of two come free.


# %%
@dataclass(frozen=True)
class Chosen:
    """A model by four of the choices; the study calls it as any other."""

    matern: bool
    prior: bool
    exact: bool
    warped: bool

    def kernel(self, d, lead):
        if self.prior:
            return (matern_kernel if self.matern else default_kernel)(d, lead)
        floor = GreaterThan(0.025, transform=None, initial_value=0.5)
        free = {"ard_num_dims": d, "batch_shape": torch.Size(lead), "lengthscale_constraint": floor}
        return (MaternKernel(nu=2.5, **free) if self.matern else RBFKernel(**free)).double()

    def __call__(self, X, Y, bounds, observed=None):
        Y = PowerWarp.fit(Y, observed).encode(Y) if self.warped else Y
        kernel = self.kernel(X.shape[-1], (*X.shape[:-2], 1))
        return bl.ExactGP(X, Y, bounds, observed=observed, kernel=kernel, noise_free=self.exact)


# %% [markdown]
# `PowerWarp` is the power of Yeo and Johnson (2000), chosen anew in every round so that the outputs
# look most nearly normal; section 3 looks into it. The problem: Rosenbrock's valley of Part 2 in
# four inputs, its sign turned, without noise. Ten starting points and 15 rounds, 16 seeds, all 16
# arms on the same starts. (`bolearn.teach.choices` has the same class, for what will be read from a
# file.)

# %%
valley = bl.problems.Rosenbrock(4)

# %%
levels = designs.two_level_factorial(5, halvings=1)  # 16 arms, 5 choices
arms = {}
for i, row in enumerate((levels > 0).tolist()):
    arm = replace(s.log_ei, model=Chosen(*row[:4]))
    arms[str(i)] = arm if row[4] else replace(arm, choices=64)
few, ask = (bl.sobol_points(valley.bounds, count, seed=count) for count in (12, 50))
given = few, valley(few), valley.bounds
pairs = [(Chosen(*row), package_choices.Chosen(*row)) for row in (levels[:, :4] > 0).tolist()]
teach.claim("our class builds the models of the package's stored runs", tolerance=1e-10,
            error=torch.stack([mine(*given).posterior(ask).mean
                               - other(*given).posterior(ask).mean
                               for mine, other in pairs]).abs())

# %%
factorial = bl.study(valley, arms, n_init=10, n_iter=15, replicates=16, seed=0)
gain = -torch.stack([factorial.scores(which) for which in arms], dim=-1)  # seeds arms, in decades
print("median regret of the worst and of the best arm:",
      [f"{10 ** -typical:.1f}" for typical in gain.median(0).values.aminmax()])

# %% [markdown]
# `gain` is minus the logarithm of the final regret: one more is a regret ten times smaller. What is
# a choice worth?
#
# **Exercise 2.** The mean at one level minus the mean at the other.

# %%
# exercise: p4.t4.e2

# %%
names = package_choices.CHOICES
columns = {names[i]: levels[:, i] for i in range(5)}
columns |= {f"{names[i]} x {names[j]}": levels[:, i] * levels[:, j]
            for i, j in combinations(range(5), 2)}
table = torch.stack(list(columns.values()), dim=-1)  # 16 arms, 15 effects
each = teach.yours("p4.t4.e2", effects)(table, gain)  # seeds 15
error = each.std(0) / math.sqrt(len(each))
terms = torch.cat([torch.ones(16, 1).double(), table], dim=-1)
fitted = torch.linalg.lstsq(terms, gain.T).solution
teach.claim("differences of means are twice the slopes of a least-squares fit of all 16 terms",
            error=(each.T - 2 * fitted[1:]).abs(), tolerance=1e-9)
teach.predict("p4.t4.q3", "Which of the five is worth most here?", list(names), guess=None)

# %%
live = dict(zip(columns, zip(each.mean(0).tolist(), error.tolist(), strict=True), strict=True))
stored = package_choices.stored()
if course.full:
    stored["Rosenbrock, 4 inputs, exact"] = package_choices.effects(valley, 10, 15)
figure = plotting.forest({"Rosenbrock, 16 seeds, just now": live} | stored, stored=tuple(stored),
                         xlabel="gain from level -1 to +1 (decades of final regret)",
                         rules_after=("search",))
teach.show(figure, "Forest plot of five effects and ten interactions, on Rosenbrock (live, and 32 "
           "stored seeds) and on noisy Hartmann (stored). On Rosenbrock the search is worth a "
           "third of a decade, warped outputs about 0.15, both together 0.15 more; kernel and "
           "prior lie about 0.06 right of zero, their intervals across it. On noisy Hartmann only "
           "'noise' is decided, 0.2 left of zero.")
teach.reveal("p4.t4.q3", "search", because="about a third of a decade, more than twice any other")
print("outputs x search:", stats.verdict(each[:, list(columns).index("outputs x search")]))

# %%
for choice in names:
    print(f"{choice:18} {stats.verdict(each[:, list(columns).index(choice)])}")
miss = 15 * 2 * student.sf(4, df=15)
print(f"chance that any of 15 such intervals misses its effect: at most {miss:.1%}")
by_name = dict(zip(columns, each.T, strict=True))
teach.claim("Rosenbrock: climbing the acquisition gains, in pairs", kind="paired",
            condition=stats.verdict(by_name["search"]).errors > 2)
two_arms = torch.stack([(gain[:, i] - gain[:, j]).std() for i, j in combinations(range(16), 2)])
as_many = two_arms.median() / math.sqrt(16 * 16 / 6)  # a base and five variants, 256 runs in all
print(f"standard error of an effect here: {error[:5].median():.3f} in the median; of a variant "
      f"against a base, with as many runs in all: {as_many:.3f}")
teach.claim("four of the five choices, or all, have a smaller standard error than one at a time "
            "would give with as many runs", bool((error[:5] < as_many).sum() >= 4), kind="run")

# %% [markdown]
# Fifteen intervals are fifteen chances to be fooled: hence four standard errors. Even so: on these
# 16 seeds 'exact' seems to *lose* on a function without noise, and the 32 other seeds (precomputed:
# `python -m bolearn.teach.choices`) do not confirm it; there the warp is decided, here it is not.
#
# ## 3. Outputs: a gain of 7 nats that is none
#
# Most values of the valley lie high, few very far down. Bend their axis: standardised, $u$
# becomes $z = ((1 + u)^p - 1)/p$ for $u \ge 0$, below zero the same with $2 - p$ for $p$ and both
# signs turned. $p > 1$ pulls in a long lower tail. We score both models by their log density at 512
# new points, over 32 designs.


# %%
def gp(X, Y, bounds, kernel=matern_kernel, **options):
    lead = (*X.shape[:-2], 1)
    return bl.fit_mll(bl.ExactGP(X, Y, bounds, kernel=kernel(X.shape[-1], lead), **options))


def density(model, X, Y):
    """Log density of outcomes under the model's belief about readings, as Y."""
    belief = model.posterior(X, observation_noise=True)
    return torch.distributions.Normal(belief.mean, belief.variance.sqrt()).log_prob(Y)


X = bl.sobol_points(valley.bounds, 30, seed=0, replicates=32)
unseen = bl.sobol_points(valley.bounds, 512, seed=1).expand(32, -1, -1)
Y, truth = valley(X), valley(unseen)
warp = PowerWarp.fit(Y)
bent, straight = gp(X, warp.encode(Y), valley.bounds), gp(X, Y, valley.bounds)
naive = density(bent, unseen, warp.encode(truth)).mean((1, 2))
raw = density(straight, unseen, truth).mean((1, 2))
print(f"powers from {warp.power.min():.1f} to {warp.power.max():.1f}")
print(f"mean log score: as they are {raw.mean():.1f}, bent {naive.mean():.1f} nats a point")
teach.predict("p4.t4.q4", "Seven nats a point are a factor of a thousand in density. How much of "
              "it is real?", ["all", "most", "less than one nat"], guess=None)

# %% [markdown]
# A density is per unit of its outcome, and the two have different units. If $z = g(y)$ has the
# density $q$, then $y$ has $q(g(y))\,g'(y)$: the slope of the bend belongs to the score. Autograd
# knows it.

# %%
def in_common_units(model, warp, X, Y):
    """Log density per unit of y of a model of z = g(y)."""
    Y = Y.clone().requires_grad_()
    z = warp.encode(Y)
    (slope,) = torch.autograd.grad(z.sum(), Y)
    return (density(model, X, z) + slope.log()).detach()


grid = torch.linspace(-6e4, 4e4, 40_001, dtype=torch.float64)  # the density of one outcome, by y
one = PowerWarp(warp.power[:1], replace(warp.standardize, shift=warp.standardize.shift[:1],
                                        scale=warp.standardize.scale[:1]))
first = gp(X[:1], one.encode(Y[:1]), valley.bounds)
where = unseen[:1, :1].expand(1, len(grid), -1)
heights = in_common_units(first, one, where, grid.reshape(1, -1, 1)).exp()[0, :, 0]
mass = torch.trapezoid(heights, grid)
teach.claim("with the slope, the bent model's density of y has mass 1", error=(mass - 1).abs(),
            tolerance=1e-3)
fair = in_common_units(bent, warp, unseen, truth).mean((1, 2))
print(f"bent, in common units: {fair.mean():.1f} nats; gain {stats.verdict(fair - raw)}")
teach.claim("in common units the bent outputs still score better, in pairs", kind="paired",
            condition=stats.verdict(fair - raw).errors > 2)
teach.claim("more than nine tenths of the naive gain were units", kind="monte-carlo",
            condition=(fair - raw).mean() < 0.1 * (naive - raw).mean())
teach.reveal("p4.t4.q4", "less than one nat", because="the rest was a change of units")

# %% [markdown]
# So score transformed models in the units of the outcome, always. The same slope argument applies
# to *inputs*: an axis along which the function changes fast at one end can be bent by Kumaraswamy's
# map $w = 1 - (1 - x^a)^b$, with $a$ and $b$ learned (Snoek et al. 2014; `bl.WarpedKernel`). For
# plots one needs its inverse. The plain formula loses all but four digits at $a = b = 8$ and $x =
# 0.05$.
#
# **Exercise 3.** Do better.

# %%
# exercise: p4.t4.e3

# %% [markdown]
# ## 4. Noise: no default serves both ends
#
# Tutorial 1 caught the default noise prior at 0.007 of the variance when half of it was noise. That
# was one end. Here is the other, a simulator (Branin, 20 points, no noise), beside the patients (60
# of 442, 32 splits, which share patients). Three priors: the default; `noise_free=True`, the word
# that values are exact; `noise_prior="noisy"`, which expects noise to be a good part of the
# variance.

# %%
teach.predict("p4.t4.q5", "Against the default, on unseen points, the word 'noisy' is ...",
              ["better on both", "worse on Branin, better on the patients", "no better on either"],
              guess=None)

# %%
branin = bl.problems.Branin()
X = bl.sobol_points(branin.bounds, 20, seed=2, replicates=64)
far = bl.sobol_points(branin.bounds, 512, seed=3).expand(64, -1, -1)
A, progress = (torch.from_numpy(part).double()
               for part in load_diabetes(return_X_y=True, scaled=False))
order = torch.rand(32, 442, generator=shuffle).argsort(-1)
box, seen, rest = torch.stack([A.amin(0), A.amax(0)]), order[:, :60], order[:, 60:]
tasks = {"Branin": (X, branin(X), branin.bounds, far, branin(far)),
         "patients": (A[seen], progress[seen].unsqueeze(-1), box,
                      A[rest], progress[rest].unsqueeze(-1))}
words = {"default": {}, "exact": {"noise_free": True}, "noisy": {"noise_prior": "noisy"}}
score = {(task, word): density(gp(X, Y, bounds, **option), new, truth).mean((1, 2))
         for task, (X, Y, bounds, new, truth) in tasks.items() for word, option in words.items()}
against = {(t, w): stats.verdict(score[t, w] - score[t, "default"])
           for t in tasks for w in ("exact", "noisy")}
for (task, word), verdict in against.items():
    print(f"{task:9} {word:6} against the default, nats a point: {verdict}")

# %%
teach.claim("Branin: 'exact' scores better than the default", against["Branin", "exact"].errors > 2,
            kind="paired")
teach.claim("Branin: 'noisy' scores worse", against["Branin", "noisy"].errors < -2, kind="paired")
teach.claim("patients: 'noisy' scores better", against["patients", "noisy"].errors > 2,
            kind="paired")
teach.reveal("p4.t4.q5", "worse on Branin, better on the patients",
             because="and 'exact' is better on Branin; for the patients see its verdict")

# %% [markdown]
# Predictions decide it, in both directions. Searches seldom do: in `benchmarks/noise.py` (ten
# functions, noise from 0 to 70 %, 32 seeds each, precomputed) *no* prior was decided against the
# default; in the forest plot, with 16 arms behind each mark, 'exact' is a loss on noisy Hartmann.
# So the package keeps the cautious default, and you say what you know: a simulator is exact,
# repeats give a `noise_var`.
#
# ## 5. Prior or maximum likelihood?
#
# Without a prior on the lengthscales the evidence alone chooses. Branin again, 64 designs of 6 and
# of 12 points. We say before looking what decides: a mean would follow the worst few, so it is the
# *sign*, who scores better in more designs.


# %%
def no_prior(d, lead):
    return Chosen(matern=True, prior=False, exact=False, warped=False).kernel(d, lead)


for n in (6, 12):
    X = bl.sobol_points(branin.bounds, n, seed=4, replicates=64)
    fits = [gp(X, branin(X), branin.bounds, kernel=kernel) for kernel in (matern_kernel, no_prior)]
    with_prior, without = (density(m, far, branin(far)).mean((1, 2)) for m in fits)
    wins = stats.verdict((with_prior - without).sign())
    print(f"{n} points: the prior scores better in {int((with_prior > without).sum())} of 64 "
          f"designs; by sign {wins}")
    print(f"   worst score with it {with_prior.min():.0f}, without {without.min():.0f}")
    if n == 6:
        teach.claim("with 6 points the prior scores better in most designs", wins.errors > 4,
                    kind="paired")

# %% [markdown]
# At six points the prior guards against models that are sure and wrong; at twelve the data begin to
# speak for themselves. In the factorial above, with 10 to 25 points, it was worth little.
#
# ## 6. Searching the acquisition
#
# The largest effect of section 2 was the search. How many climbs are enough? For 20 models of 20
# points of the valley, climb log EI from 64 Sobol points each, and count what the first $k$ would
# have found. The $k$ starts are **nested**: more of them include the fewer.

# %%
ends, looked = [], []
for seed in range(20):
    X = bl.sobol_points(valley.bounds, 20, seed=seed)
    model = gp(X, valley(X), valley.bounds)
    acq = bl.LogExpectedImprovement(model, best_f=bl.incumbent(model, X).value)
    low, span = valley.bounds[0], valley.bounds[1] - valley.bounds[0]

    def minus(u, rows, acq=acq, low=low, span=span):
        u = u.clone().requires_grad_()
        value = -acq((low + span * u).unsqueeze(-2))
        return value.detach(), torch.autograd.grad(value.sum(), u)[0]

    cube = torch.stack([torch.zeros(4), torch.ones(4)]).double()
    starts = bl.sobol_points(cube, 4096, seed=100 + seed)
    looked.append(acq((low + span * starts).unsqueeze(-2)))
    ends.append(-lbfgs.minimize(minus, starts[:64], 0.0, 1.0).value)
ends, looked = torch.stack(ends), torch.stack(looked)  # 20 64, 20 4096

# %%
counts = [1, 2, 4, 8, 16, 32, 64]
climbed = torch.stack([ends[:, :k].amax(-1) for k in counts], dim=-1)  # 20 counts
only = torch.stack([looked[:, : 64 * k].amax(-1) for k in counts], dim=-1)
teach.claim("more nested starts never find less", bool((climbed.diff(dim=-1) >= 0).all()),
            kind="theorem")
best = torch.maximum(climbed[:, -1:], only[:, -1:])
teach.claim("16 climbs miss less than looking at 4,096 points, in pairs", kind="paired",
            condition=stats.verdict(climbed[:, 4] - only[:, -1]).errors > 2)

# %%
curves = {"k climbs": (best - climbed).mean(0), "64 k points looked at": (best - only).mean(0)}
teach.show(plotting.curves(torch.tensor(counts, dtype=torch.float64), curves, log="x", xlabel="k",
                           ylabel="log EI missed (nats)"),
           "Log EI missed against k from 1 to 64, two falling curves: looking at 64 points misses "
           "0.6 nats, at 4,096 still 0.05; one climb misses 1.2 nats, two 0.2, four nothing.")
print(f"looking at 64 points misses {(best[:, 0] - only[:, 0]).mean():.1f} nats, 16 climbs "
      f"{(best[:, 0] - climbed[:, 4]).mean():.2f}")

# %% [markdown]
# Means of 20 models: four climbs are enough here, and after that effort buys nothing; the package's
# 16 are on the safe side. "Stronger optimisation of the acquisition can hurt" is sometimes written;
# a weak search is another, partly random acquisition function, and in section 2 it cost about a
# third of a decade.
#
# ## 7. The first points
#
# A design should leave no large hole. Its **discrepancy** measures how far the share of points in
# boxes is from the boxes' volumes; Hickernell's *centred* one has a closed form.
#
# **Exercise 4.** Write it down.

# %%
# exercise: p4.t4.e4

# %%
cd = teach.yours("p4.t4.e4", centered_discrepancy)


def unit(d):
    return torch.stack([torch.zeros(d), torch.ones(d)]).double()


middle = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
side = (torch.arange(4, dtype=torch.float64) + 0.5) / 4
begun_with = {
    "Sobol": bl.sobol_points(unit(2), 16, seed=0),
    "grid 4 x 4": torch.cartesian_prod(side, side),
    "diagonal": middle.unsqueeze(-1).expand(16, 2),
    "random": torch.rand(16, 2, generator=g, dtype=torch.float64),
    "cluster": 0.2 + 0.2 * torch.rand(16, 2, generator=g, dtype=torch.float64),
}
number = {kind: cd(U).item() for kind, U in begun_with.items()}
teach.show(plotting.designs(begun_with, number),
           "Five designs of 16 points in the unit square, each with its squared centred "
           "discrepancy: Sobol about 0.002, grid and diagonal about 0.011 and 0.012, random near "
           "0.02, a cluster above 0.1.")
teach.claim("16 points in the plane: Sobol, diagonal, cluster in this order", kind="run",
            condition=number["Sobol"] < number["diagonal"] < number["cluster"])

# %% [markdown]
# The diagonal is a *Latin hypercube*: along each axis its points are perfectly spread. In the plane
# its number is nearly that of the grid. Would you start a search with it? And which would you
# rather have in 20 dimensions: it, or sixteen copies of one point?

# %%
teach.predict("p4.t4.q6", "In 20 dimensions, 16 points all at the centre have, against the "
              "diagonal, a discrepancy that is ...", ["larger", "smaller"], guess=None)

# %%
for d in (2, 10, 20):
    centre = cd(torch.full((16, d), 0.5, dtype=torch.float64)).item()
    diagonal = cd(middle.unsqueeze(-1).expand(16, d)).item()
    drawn = cd(torch.rand(200, 16, d, generator=g, dtype=torch.float64)).median()
    print(f"d = {d:2}: centre {centre:6.2f}, diagonal {diagonal:6.2f}, random {drawn:6.2f}")
worse = cd(torch.rand(1000, 16, 2, generator=g).double()) > number["diagonal"]
print(f"in the plane the diagonal beats {worse.double().mean():.0%} of random designs")
teach.claim("in 20 dimensions 16 points at the centre have a smaller discrepancy than the diagonal",
            centre < diagonal, kind="run")
teach.reveal("p4.t4.q6", "smaller", because="though the design is useless")

# %% [markdown]
# A number alone is no judge. Look at the design, and at what it can teach: copies of one point
# teach a model nothing about lengthscales.
#
# ## 8. What to change first
#
# In the order of what was decided here:
#
# 1. Ask what a textbook design would do; begin with it if the dials are few and ordered.
# 2. Climb the acquisition; do not pick from a handful of points.
# 3. If outcomes have a long tail, warp them; compare scores in common units.
# 4. Say what you know of the noise. Nobody else knows it.
# 5. Keep a lengthscale prior while points are few. Kernel and design come last.
#
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. A half fraction of four inputs has resolution IV. Which questions can it not answer?
# 2. A colleague shows that taking logarithms improved her model's log score by five nats. What do
#    you ask?
# 3. Why has each effect of the factorial a smaller standard error than one arm against another,
#    with the same runs?
#
# **So, which choices change the answer?** Those that were measured, for problems like the measured
# one: here the search of the acquisition, then the warp; the noise prior changes predictions in
# both directions. And yes, a textbook design does as well when the answer lies in a corner. Next:
# rules that think further than one step.
#
# **The same in BoTorch** (the warped model of section 3, first design; `warp` stays ours):
#
# ```python
# from botorch.fit import fit_gpytorch_mll
# from botorch.models import SingleTaskGP
# from botorch.models.transforms import Normalize
# from gpytorch.mlls import ExactMarginalLogLikelihood
#
# theirs = SingleTaskGP(
#     bent.X[0], bent.Y[0], covar_module=matern_kernel(4),
#     input_transform=Normalize(d=4, bounds=valley.bounds),
# )
# fit_gpytorch_mll(ExactMarginalLogLikelihood(theirs.likelihood, theirs))
# their_mean = theirs.posterior(unseen[0]).mean
# ```
#
# ## Sources
#
# - G. E. P. Box, J. S. Hunter, W. G. Hunter, *Statistics for Experimenters*, 2nd edition, Wiley
#   2005: factorials, fractions, resolution.
# - G. E. P. Box, K. B. Wilson, "On the experimental attainment of optimum conditions", *Journal of
#   the Royal Statistical Society B* 13 (1951): response surfaces.
# - F. Häse et al., "Olympus: a benchmarking framework for noisy optimization and experiment
#   planning", *Machine Learning: Science and Technology* 2 (2021): the table of the coupling.
# - I.-K. Yeo, R. A. Johnson, "A new family of power transformations to improve normality or
#   symmetry", *Biometrika* 87 (2000),
#   [doi:10.1093/biomet/87.4.954](https://doi.org/10.1093/biomet/87.4.954).
# - J. Snoek, K. Swersky, R. Zemel, R. P. Adams, "Input warping for Bayesian optimization of
#   non-stationary functions", *ICML* (2014), [arXiv:1402.0929](https://arxiv.org/abs/1402.0929).
# - F. J. Hickernell, "A generalized discrepancy and quadrature error bound", *Mathematics of
#   Computation* 67 (1998),
#   [doi:10.1090/S0025-5718-98-00894-1](https://doi.org/10.1090/S0025-5718-98-00894-1).
