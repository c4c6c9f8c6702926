"""Noisy improvement: against draws at all points at once, brute force, limits, and BoTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    F64,
    T,
    assert_close,
    box,
    build,
    cases,
    condition,
    dataset,
    draw,
    few,
    gp,
    gradient,
    hyperparameters,
    probes,
    tolerance,
)

import bolearn as bl
from bolearn.acquisition.baseline import Baseline, conditional, conditional_reference
from bolearn.posteriors import IndependentPosterior

NEI = bl.qLogNoisyExpectedImprovement


def template(acq: bl.LogMonteCarloAcquisition) -> object:
    """The acquisition through the hooks of its template, without the fused path."""
    return lambda X: bl.LogMonteCarloAcquisition.__call__(acq, X)


def together(acq: bl.qLogNoisyExpectedImprovement, X: torch.Tensor) -> torch.Tensor:
    """The definition: one Cholesky factor of baseline and candidates, sample by sample."""
    model, base = acq.model, acq.baseline
    b, q = base.points.shape[-2], X.shape[-2]
    points = torch.cat([base.points.expand(*X.shape[:-2], b, X.shape[-1]), X], dim=-2)
    z = base.all_normals(q)
    y = model.posterior(points).rsample(z)
    value = acq.objective(y)
    gain = value[..., b:].amax(-1) - value[..., :b].amax(-1)
    return gain.clamp(min=0).mean(0)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("q", [1, 3])
def test_it_is_the_average_over_joint_draws(q: int, m: int) -> None:
    model = gp(7, 2, m=m, r=(2,))
    acq = NEI(model, model.X, prune=False, objective=bl.weighted_sum(*(1.0, -0.5)[:m]))
    X = draw((40, 2, q, 2), "X")
    value = together(acq, X)
    seen = value > 1e-4  # smoothing at zero moves what is smaller
    high = 0.01 * math.log(q) + 1e-3
    ratio = (acq(X).exp() / value)[seen]
    assert int(seen.sum()) > 4
    assert bool(((ratio > 1 - 1e-3) & (ratio < 1 + high)).all())


@pytest.mark.parametrize("q", [1, 2])
def test_it_is_the_brute_force_average(q: int) -> None:
    model, s = gp(6, 2), 200_000
    acq = NEI(model, model.X, sampler=bl.Sampler(4096, seed=1))
    rng = np.random.default_rng(0)
    for X in draw((3, q, 2), "X"):
        p = model.posterior(torch.cat([model.X, X]))
        f = rng.multivariate_normal(p.mean.flatten().numpy(), p.covariance.numpy(), size=s)
        gain = np.maximum(f[:, 6:].max(-1) - f[:, :6].max(-1), 0)
        error = 4 * gain.std() * (1 / math.sqrt(s) + 1 / math.sqrt(4096)) + 1e-6
        # the smooth maximum over q may be high by 1 % x log q, pruning by less than a sample
        high = 0.01 * math.log(q) * gain.mean() + error
        assert gain.mean() - error < acq(X.unsqueeze(0)).exp().item() < gain.mean() + high


@few
@given(cases(max_m=2, max_n=200), st.integers(1, 8), st.booleans())
def test_fused_path_is_the_template(case: dict, q: int, prune: bool) -> None:
    case = {**case, "q": q}
    model, X = build(case), probes(case, (2,))
    acq = NEI(model, model.X, objective=bl.output(-1), sampler=bl.Sampler(16), prune=prune)
    tol = tolerance(condition(model))
    assert_close(acq(X), template(acq)(X), tol, "value")
    assert torch.isfinite(acq(X)).all()
    if case["kind"] == "plain":
        # Beside 200 baseline points little variance is left, and rounding is large beside it: the
        # values themselves then move by 1e-6 when a point moves by 1e-12.
        expected = gradient(template(acq), X)
        scale = expected.abs().max().clamp(min=1)
        assert_close(gradient(acq, X) / scale, expected / scale, max(tol, 1e-5), "gradient")


KERNELS = {
    "rbf": lambda: RBFKernel(ard_num_dims=2),
    "matern": lambda: MaternKernel(nu=2.5, ard_num_dims=2),
    "scaled": lambda: ScaleKernel(MaternKernel(nu=1.5)),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("r", [(), (3,), (2, 2)])
@pytest.mark.parametrize("q", [1, 3])
def test_conditional_moments(name: str, r: tuple[int, ...], q: int) -> None:
    model = gp(7, 2, m=2, r=r, kernel=KERNELS[name]())
    base = Baseline.of(model, model.X[..., :4, :], bl.Sampler(8), bl.output(0), (), False)
    X = draw((3, *r, q, 2), "X")
    results = []
    for f in (conditional, conditional_reference):
        leaf = X.clone().requires_grad_(True)
        moments = f(base, leaf)
        total = sum((v * (draw(v.shape, "w", i) - 0.3)).sum() for i, v in enumerate(moments))
        results.append([*moments, torch.autograd.grad(total, leaf)[0]])
    for fast, slow in zip(*results, strict=True):
        assert_close(fast, slow, 1e-9, name)


def test_gradients_by_finite_differences_and_second_derivatives() -> None:
    model = gp(5, 2, m=2, r=(2,))
    for q in (1, 2):
        X = draw((2, 2, q, 2), "X", q).requires_grad_(True)
        plain = NEI(model, model.X, sampler=bl.Sampler(8, seed=0), prune=False)
        limits = (bl.at_most(1, 1.0),)
        for acq in (plain, NEI(model, model.X, outcome_constraints=limits, sampler=plain.sampler)):
            assert torch.autograd.gradcheck(acq, X, atol=1e-4, rtol=1e-3)
            (once,) = torch.autograd.grad(acq(X).sum(), X)
            (again,) = torch.autograd.grad(acq(X).sum(), X, create_graph=True)
            assert_close(again, once, 1e-8)
            second = torch.autograd.grad(again.square().sum(), X)[0]
            step = 1e-6 * (draw(X.shape, "step") - 0.5)
            ends = [gradient(acq, X.detach() + sign * step).square().sum() for sign in (1, -1)]
            assert_close((ends[0] - ends[1]) / 2e-6, (second * step / 1e-6).sum(), 1e-3)


def test_without_noise_it_is_expected_improvement() -> None:
    X = draw((8, 2), "clean")
    Y = torch.sin(5 * X.sum(-1, keepdim=True))
    model = bl.ExactGP(X, Y, T([[0.0, 0.0], [1.0, 1.0]]), noise_var=1e-10)
    P, sampler = draw((12, 1, 2), "P"), bl.Sampler(1 << 12, seed=0)
    noisy = NEI(model, X, sampler=sampler)(P)
    exact = bl.LogExpectedImprovement(model, Y.max().item())(P)
    seen = exact > -8
    assert int(seen.sum()) > 4
    assert_close(noisy.exp()[seen], exact.exp()[seen], 2e-3)


@pytest.mark.parametrize("kind", ["noisy", "constrained"])
def test_replicates_in_a_batch_equal_replicates_alone(kind: str) -> None:
    counts, n, m = [9, 5, 2, 1], 9, 2 if kind == "constrained" else 1
    limits = (bl.at_least(1, 0.2),) if kind == "constrained" else ()
    full = gp(n, 2, m=m, r=(4,))
    observed = torch.arange(n) < T(counts)[:, None]
    observed[1] = observed[1].flip(-1)  # masked rows need not stand at the end
    nan = torch.where(observed.unsqueeze(-1), 0.0, torch.nan)
    X, Y = full.X + nan, full.Y + nan
    model = bl.ExactGP(X, Y, full.bounds, observed=observed)
    model = model.with_hyperparameters(**hyperparameters(model, 3))
    seeds, P = (5, 6, 7, 8), draw((6, 4, 2, 2), "P")
    acq = NEI(model, X, outcome_constraints=limits, sampler=bl.Sampler(32, seed=seeds))
    values, slopes = acq(P), gradient(acq, P)
    assert len(set(acq.baseline.counts)) > 1
    for i in range(4):
        rows = observed[i]
        alone = bl.ExactGP(X[i][rows], Y[i][rows], full.bounds).with_hyperparameters(
            **{k: v[i] for k, v in model.hyperparameters().items()}
        )
        own = NEI(
            alone, X[i][rows], outcome_constraints=limits, sampler=bl.Sampler(32, seed=seeds[i])
        )
        assert own.baseline.counts[0] == acq.baseline.counts[i]
        assert_close(own(P[:, i]), values[:, i], 1e-8)
        assert_close(gradient(own, P[:, i]), slopes[:, i], 1e-6)


def crowded(seed: int, n: int, r: tuple[int, ...] = ()) -> bl.ExactGP:
    """Noisy data whose competitors are nearly linearly dependent, noise-free: a smooth model."""
    dice = torch.Generator().manual_seed(seed)
    X = torch.rand(*r, n, 1, dtype=F64, generator=dice)
    Y = torch.sin(5 * X) + 0.2 * torch.randn(*r, n, 1, dtype=F64, generator=dice)
    return bl.fit_mll(bl.ExactGP(X, Y, box(1)))


@pytest.mark.parametrize(("seed", "n"), [(193, 15), (3, 40), (7, 40), (2, 25)])
@pytest.mark.parametrize("prune", [False, True])
def test_crowded_competitors(seed: int, n: int, prune: bool) -> None:
    """Against draws by eigenvalues, which no near-singular covariance disturbs."""
    model = crowded(seed, n)
    P = draw((16, 2, 1), "P")
    values = NEI(model, model.X, prune=prune, sampler=bl.Sampler(1024, seed=0))(P)
    together = torch.cat([model.X.expand(16, n, 1), P], dim=1)
    belief = model.posterior(together)
    size, axes = np.linalg.eigh(belief.covariance.squeeze(-3).numpy())
    root = axes * np.sqrt(size.clip(min=0))[:, None, :]
    z = np.random.default_rng(0).standard_normal((16, n + 2, 40_000))
    y = belief.mean.numpy() + root @ z
    gain = (y[:, n:].max(1) - y[:, :n].max(1)).clip(min=0)
    expected, error = gain.mean(-1), gain.std(-1) / 200
    likely = expected > 1e-4
    assert likely.sum() > 1
    close = abs(values.exp().numpy() - expected) < 5 * error + 0.1 * expected
    assert close[likely].all()


@pytest.mark.parametrize("prune", [False, True])
def test_crowded_competitors_of_a_replicate_in_a_batch(prune: bool) -> None:
    """Whether a covariance is made sound does not depend on the last bit of it."""
    worst = 0.0
    for seed in range(40, 60):
        model, P = crowded(seed, 9, (3,)), draw((2, 3, 2, 1), "P", seed)
        acq = NEI(model, model.X, prune=prune, sampler=bl.Sampler(64, seed=(1, 2, 3)))
        values = acq(P)
        for i in range(3):
            how = {k: v[i] for k, v in model.hyperparameters().items()}
            alone = bl.ExactGP(model.X[i], model.Y[i], box(1)).with_hyperparameters(**how)
            own = NEI(alone, alone.X, prune=prune, sampler=bl.Sampler(64, seed=i + 1))(P[:, i])
            worst = max(worst, (own - values[:, i]).abs().max().item())
    assert worst < 1e-4


def test_no_candidates_have_no_gradient() -> None:
    model = gp(5, 2, m=2)
    for limits in ((), (bl.at_most(1, 0.9),)):
        X = torch.empty(0, 2, 2, dtype=F64, requires_grad=True)
        value = NEI(model, model.X, outcome_constraints=limits)(X)
        assert value.shape == (0,)
        (slope,) = torch.autograd.grad(value.sum(), X)
        assert slope.shape == X.shape


def test_pruning_keeps_every_point_that_may_be_best() -> None:
    model = gp(30, 2, seed=4)
    full = NEI(model, model.X, sampler=bl.Sampler(2048, seed=1), prune=False)
    pruned = NEI(model, model.X, sampler=bl.Sampler(2048, seed=1))
    (kept,) = pruned.baseline.counts
    assert 1 <= kept < 20
    y = full.baseline.samples[..., 0]
    chance = torch.bincount(y.argmax(-1), minlength=30) / len(y)
    inside = (model.X.unsqueeze(1) == pruned.baseline.points).all(-1).any(-1)
    assert bool(inside[chance > 0.01].all())
    P = draw((16, 1, 2), "P")
    assert_close(pruned(P).exp(), full(P).exp(), 2e-3)


def test_pruning_with_constraints_passes_over_the_infeasible() -> None:
    X = T([[0.1], [0.3], [0.5], [0.7], [0.9]])
    Y = torch.cat([T([[1.0], [2.0], [3.0], [4.0], [5.0]]), X], dim=-1)
    model = bl.ExactGP(X, Y, T([[0.0], [1.0]]), noise_var=1e-6)
    for limit, kept in ((0.6, 0.5), (0.2, 0.1)):
        acq = NEI(model, X, outcome_constraints=(bl.at_most(1, limit),))
        assert_close(acq.baseline.points, T([[kept]]), 1e-12)
    # nothing is feasible: the point closest to it stays, and counts as far below all others
    acq = NEI(model, X, outcome_constraints=(bl.at_most(1, -0.5),))
    assert_close(acq.baseline.points, T([[0.1]]), 1e-12)
    assert bool((acq.best < 1.0 - 5 * model.output_scale[0]).all())
    P = T([[[0.05]], [[0.4]]])
    assert float(acq(P)[0]) > float(acq(P)[1])


@few
@given(cases(max_m=3), st.integers(1, 3))
def test_constraints_that_always_hold_change_nothing(case: dict, p: int) -> None:
    model, X = build(case), probes(case, (2,))
    limits = tuple(bl.at_most(i, 1e3) for i in range(case["m"]))
    plain = NEI(model, model.X, sampler=bl.Sampler(8))
    limited = NEI(model, model.X, sampler=bl.Sampler(8), outcome_constraints=limits)
    tol = tolerance(condition(model))
    assert_close(limited(X), plain(X), max(tol, 1e-5))
    P = draw((*case["r"], p, case["d"]), "pending")
    joint = torch.cat([X, P.expand(2, *P.shape)], dim=-2)
    for acq in (plain, limited):
        assert_close(acq.with_pending(P)(X), acq(joint), 1e-9)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e9])
def test_units_of_y(scale: float) -> None:
    model, P = gp(8, 2, m=2), draw((5, 2, 2), "P")
    other = bl.ExactGP(model.X, scale * (model.Y - 2.0), model.bounds)
    other = other.with_hyperparameters(**model.hyperparameters())
    for limits in ((), (0.3,)):
        a, b = (
            NEI(f, f.X, outcome_constraints=tuple(bl.at_least(1, v) for v in bounds))
            for f, bounds in ((model, limits), (other, [scale * (v - 2.0) for v in limits]))
        )
        assert_close(b(P) - math.log(scale), a(P), 1e-7)
        assert_close(gradient(b, P), gradient(a, P), 1e-5)


# -- surrogates that are no Gaussian process -----------------------------------------------------


class Wrapped:
    """A model that offers its posterior and nothing else; ``plain`` hides that it is Gaussian."""

    def __init__(self, model: bl.ExactGP, plain: bool) -> None:
        self.model, self.plain = model, plain
        self.num_outputs, self.batch_shape = model.num_outputs, model.batch_shape

    def posterior(self, X: torch.Tensor, *, observation_noise: bool = False) -> object:
        posterior = self.model.posterior(X)
        return Bare(posterior) if self.plain else posterior


class Bare:
    """A posterior with the four members of the protocol."""

    def __init__(self, inner: bl.GaussianPosterior) -> None:
        self.inner = inner

    @property
    def mean(self) -> torch.Tensor:
        return self.inner.mean

    @property
    def variance(self) -> torch.Tensor:
        return self.inner.variance

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.inner.event_shape

    def rsample(self, z: torch.Tensor) -> torch.Tensor:
        return self.inner.rsample(z)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("constrained", [False, True])
def test_any_surrogate_works(plain: bool, constrained: bool) -> None:
    model, P = gp(6, 2, m=2, r=(2,)), draw((4, 2, 2, 2), "P")
    # a limit that some point keeps in every sample: elsewhere, a level depends on known units
    limit = model.Y[..., 1].amin(-1).max().item() + 1.0
    limits = (bl.at_most(1, limit),) if constrained else ()
    options = {"sampler": bl.Sampler(1 << 12, seed=3), "outcome_constraints": limits}
    exact = NEI(model, model.X, prune=False, **options)
    other = NEI(Wrapped(model, plain), model.X, prune=False, **options)
    assert other.baseline.gaussian is not plain
    # the same expectation, smoothed in user units; and from other base samples
    tol = (5e-3 if constrained else 1e-5) + (1e-2 if plain else 0)
    assert_close(other(P).exp(), exact(P).exp(), tol)
    pruned = NEI(Wrapped(model, plain), model.X, **options)
    assert_close(pruned(P).exp(), exact(P).exp(), 1e-2)
    assert torch.isfinite(gradient(pruned, P)).all()
    assert pruned.with_pending(P[0])(P).shape == (4, 2)


def test_an_ensemble_of_functions() -> None:
    """With functions as samples, the expectation is a finite sum that one can do by hand."""
    slopes = T([1.0, 2.0, -3.0, 0.5])

    class Ensemble:
        num_outputs, batch_shape = 1, torch.Size()

        def posterior(self, X: torch.Tensor, *, observation_noise: bool = False) -> object:
            return bl.SamplesPosterior(slopes.view(4, *(1,) * X.ndim) * X)

    X, P = T([[0.2], [0.5]]), T([[[0.9]], [[0.0]]])
    acq = NEI(Ensemble(), X, sampler=bl.Sampler(64, seed=0))
    f = slopes[:, None] * torch.cat([X, P[:, 0]]).T  # 4 functions at 0.2, 0.5, 0.9, 0.0
    gains = (f[:, 2:] - f[:, :2].amax(-1, keepdim=True)).clamp(min=0).mean(0)
    assert_close(acq(P).exp(), gains, 1e-5)


def test_wrong_baselines() -> None:
    model = gp(5, 2, r=(2,))
    for X, error, words in (
        (model.X.float(), bl.DataError, "X_baseline.*float32"),
        (model.X[0], bl.ShapeError, r"X_baseline.*replicates \(2,\)"),
        (model.X[..., :1], bl.ShapeError, "X_baseline: expected 2 inputs"),
        (model.X[:, :0], bl.ShapeError, "q = 0"),
        (model.X * torch.nan, bl.DataError, "X_baseline.*finite"),
    ):
        with pytest.raises(error, match=words):
            NEI(model, X)
    shared = NEI(model, model.X[:1], prune=False)  # the same points for every replicate
    assert shared.baseline.points.shape == (2, 5, 2)
    with pytest.raises(bl.ShapeError, match="expected 2 inputs"):
        shared(torch.zeros(3, 2, 1, 3, dtype=F64))


class Guesses:
    """Three Gaussian processes of equal credit, and beside them one of another output."""

    num_outputs = 2

    def __init__(self, X: torch.Tensor, Y: torch.Tensor, observed: torch.Tensor) -> None:
        self.X, self.Y, self.observed = X, Y, observed
        self.batch_shape = X.shape[:-2]
        one = bl.ExactGP(X, Y[..., :1], box(2), observed=observed)
        self.parts = [one.with_hyperparameters(lengthscale=v) for v in (0.2, 0.4, 0.8)]
        self.other = bl.ExactGP(X, Y[..., 1:], box(2), observed=observed)

    def posterior(self, X: torch.Tensor, *, observation_noise: bool = False) -> object:
        mixture = bl.MixturePosterior.of(*(part.posterior(X) for part in self.parts))
        return IndependentPosterior([mixture, self.other.posterior(X)])


@pytest.mark.parametrize("prune", [True, False])
def test_a_replicate_of_a_mixture_is_drawn_as_alone(prune: bool) -> None:
    X, Y, _ = dataset(9, 2, 2, (3,))
    Y = Y + 0.3 * draw(Y.shape, "noise")
    observed = torch.arange(9) < torch.tensor([[9], [6], [9]])
    P = draw((4, 3, 2, 2), "P")
    how = {"prune": prune, "outcome_constraints": (bl.at_most(1, 1.5),)}
    together = NEI(Guesses(X, Y, observed), X, sampler=bl.Sampler(64, seed=[1, 2, 3]), **how)
    assert len(set(together.baseline.counts)) > 1
    for i in range(3):
        model = Guesses(X[i], Y[i], observed[i])
        alone = NEI(model, X[i], sampler=bl.Sampler(64, seed=i + 1), **how)
        assert alone.baseline.counts[0] == together.baseline.counts[i]
        assert_close(together(P)[:, i], alone(P[:, i]), 1e-7)


@pytest.mark.parametrize("noise_var", [1e-10, 1e-14, 1e-16])
def test_a_baseline_that_is_almost_known_can_be_conditioned_on(noise_var: float) -> None:
    """Its covariance is known to 1e-13 of the outputs' variance: nothing smaller is inverted."""
    X = draw((6, 2), "X")
    Y = (3 * X.sum(-1, keepdim=True)).sin()
    model = bl.ExactGP(X, Y / Y.std(), box(2), noise_var=noise_var)
    base = NEI(model, X, sampler=bl.Sampler(16, seed=0), prune=False).baseline
    assert base.L is not None
    inverse = torch.linalg.inv(base.L[0])
    assert 1e-13 * inverse.square().sum() <= 1.0
    # and what is added is no more than that takes
    added = (base.L[0] @ base.L[0].mT).diagonal() - model.posterior(X).variance[:, 0]
    assert added.max() < 1e-11
