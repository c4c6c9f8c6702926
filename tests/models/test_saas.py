"""SAASGP: its density against SciPy, its draws against importance sampling, its use in a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gpytorch.kernels import MaternKernel, ScaleKernel
from oracles import F64, T, assert_close, box, correlation, dataset, draw
from scipy import stats

import bolearn as bl
from bolearn import seeds
from bolearn.models.saas import SAASDensity, _kernel
from bolearn.posteriors import gaussian_members

SMALL = {"num_samples": 16, "warmup": 30, "thinning": 1, "seed": 0}


def textbook_log_posterior(data: bl.ExactGP, theta: np.ndarray) -> float:
    """Log density of theta for one data set, term by term from SciPy's distributions."""
    X, y = data.training_inputs()[0].numpy(), data.training_outputs()[0].numpy()
    d = X.shape[1]
    tau, b, c, s = np.exp(theta[0]), np.exp(theta[1 : d + 1]), theta[d + 1], np.exp(theta[d + 2])
    excess = np.exp(theta[d + 3])
    gaps = (X[:, None] - X[None]) * np.sqrt(tau * b)
    K = s * correlation("matern52", np.sqrt((gaps**2).sum(-1))) + (1e-4 + excess) * np.eye(len(X))
    value = stats.multivariate_normal(np.full(len(X), c), K).logpdf(y)
    value += stats.halfcauchy(scale=0.1).logpdf(tau) + stats.halfcauchy().logpdf(b).sum()
    value += stats.norm.logpdf(c) + stats.gamma(2.0, scale=1 / 0.15).logpdf(s)
    value += stats.gamma(0.9, scale=1 / 10).logpdf(excess)
    return float(value + theta.sum() - c)  # d value = value d log value


def test_the_density_is_the_textbooks() -> None:
    data = bl.ExactGP(*dataset(7, 3), kernel=_kernel(3))
    density = SAASDensity(data, 5)
    theta = 2 * draw((5, 7), "theta") - 1
    assert density.names == ("tau", "rho_0", "rho_1", "rho_2", "mean", "outputscale", "noise_var")
    value, gradient = density(theta, torch.arange(5))
    exact = T([textbook_log_posterior(data, row.numpy()) for row in theta])
    assert_close(value - value[0], exact - exact[0], 1e-9)
    h = 1e-5
    for j in range(7):
        step = torch.zeros(7, dtype=F64)
        step[j] = h
        up, down = (density(theta + sign * step, torch.arange(5))[0] for sign in (1, -1))
        assert_close(gradient[:, j], (up - down) / (2 * h), 1e-6, density.names[j])


def test_rows_belong_to_replicates_and_outputs_and_masks_leave_rows_out() -> None:
    X, Y, bounds = dataset(7, 2, 2, (3,))
    seen = torch.ones(3, 7, dtype=torch.bool)
    seen[1, :2] = seen[2, 4] = False
    holes = torch.where(seen.unsqueeze(-1), Y, torch.nan)
    density = SAASDensity(bl.ExactGP(X, holes, bounds, observed=seen, kernel=_kernel(2)), 2)
    theta = 2 * draw((12, 6), "theta") - 1
    value, gradient = density(theta, torch.arange(12))
    for row in range(12):
        r, m = row // 4, row // 2 % 2
        alone = bl.ExactGP(X[r][seen[r]], Y[r][seen[r]][:, m : m + 1], bounds, kernel=_kernel(2))
        one, slope = SAASDensity(alone, 1)(theta[row : row + 1], torch.tensor([0]))
        assert_close(value[row], one[0])
        assert_close(gradient[row], slope[0])


@pytest.mark.parametrize("noise_var", [0.02, T([0.01] * 4 + [0.3] * 3).unsqueeze(-1)])
def test_known_noise(noise_var: float | torch.Tensor) -> None:
    X, Y, bounds = dataset(7, 2)
    data = bl.ExactGP(X, Y, bounds, noise_var=noise_var, kernel=_kernel(2))
    theta = torch.zeros(1, 5, dtype=F64)
    value, _ = SAASDensity(data, 1)(theta, torch.tensor([0]))
    learnt = SAASDensity(bl.ExactGP(X, Y, bounds, kernel=_kernel(2)), 1)
    noise = torch.as_tensor(noise_var, dtype=F64).expand(7, 1) / data.output_scale.square()
    Z = data.training_inputs()[0].numpy()
    K = correlation("matern52", np.sqrt(((Z[:, None] - Z[None]) ** 2).sum(-1)))
    y = data.training_outputs()[0].numpy()
    exact = stats.multivariate_normal(np.zeros(7), K + np.diag(noise[:, 0].numpy())).logpdf(y)
    prior, _ = learnt.log_prior(torch.zeros(1, 6, dtype=F64))
    own, _ = SAASDensity(data, 1).log_prior(theta)
    assert_close(value - own, [exact], 1e-7)
    assert_close(prior - own, [-10.0])  # Gamma(0.9, 10) at 1, up to its constant
    model = bl.SAASGP(X, Y, bounds, noise_var=noise_var, **SMALL)
    assert "noise_var" not in model.samples
    posterior = model.posterior(X, observation_noise=True)
    assert bool((posterior.variance > model.posterior(X).variance).all())


@pytest.fixture(scope="module")
def tiny() -> tuple[bl.SAASGP, torch.Tensor]:
    """A model of 6 points in 2 inputs with many draws, and where it is asked."""
    X, Y, bounds = dataset(6, 2, seed=3)
    model = bl.SAASGP(X, Y, bounds, num_samples=480, warmup=120, thinning=1, seed=1)
    return model, draw((5, 2), "probes")


def test_draws_agree_with_importance_sampling(tiny: tuple[bl.SAASGP, torch.Tensor]) -> None:
    # An independent route: hyperparameters from the prior, weighted by their likelihood.
    model, probes = tiny
    X, Y, bounds = model.X, model.Y, box(2)
    N = 100_000
    u = seeds.uniform([1], (N, 6))[0].numpy()
    tau = stats.halfcauchy(scale=0.1).ppf(u[:, 0])
    rho = tau[:, None] * stats.halfcauchy().ppf(u[:, 1:3])
    c, s = stats.norm.ppf(u[:, 3]), stats.gamma(2.0, scale=1 / 0.15).ppf(u[:, 4])
    noise = 1e-4 + stats.gamma(0.9, scale=1 / 10).ppf(u[:, 5])
    data = bl.ExactGP(X, Y, bounds)
    y = data.training_outputs()[0].numpy() - c[:, None]
    both = torch.cat([X, probes]).numpy()
    gaps = (both[:6, None] - both[None]) ** 2
    K = s[:, None, None] * correlation("matern52", np.sqrt(np.einsum("abk,nk->nab", gaps, rho)))
    A = K[:, :, :6] + noise[:, None, None] * np.eye(6)
    a = np.linalg.solve(A, y[..., None])[..., 0]
    log_weight = -0.5 * ((y * a).sum(-1) + np.linalg.slogdet(A)[1])
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    assert 1 / (weight**2).sum() > 500, "too few draws from the prior carry the weight"

    def reference(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = weight @ values
        return mean, np.sqrt((weight[:, None] ** 2 * (values - mean) ** 2).sum(0))

    logs = np.log(np.stack([tau, rho[:, 0], rho[:, 1], s, noise], axis=-1))
    mean_of_f = c[:, None] + np.einsum("na,nap->np", a, K[:, :, 6:])
    exact, error = reference(np.concatenate([logs, c[:, None], mean_of_f], axis=-1))
    draws = {name: v[:, 0] for name, v in model.samples.items()}
    members = gaussian_members(model.posterior(probes))[0][..., 0]
    ours = torch.cat(
        [
            torch.stack(
                [
                    draws["tau"].log(),
                    -2 * draws["lengthscale"][:, 0].log(),
                    -2 * draws["lengthscale"][:, 1].log(),
                    draws["outputscale"].log(),
                    draws["noise_var"].log(),
                    draws["mean"],
                ],
                dim=-1,
            ),
            (members - Y.mean()) / Y.std(),
        ],
        dim=-1,
    )
    ess = model.sampling_report.ess.min()
    assert ess > 80
    ours_error = (ours.std(0) / ess.sqrt()).numpy()
    z = (ours.mean(0).numpy() - exact) / np.hypot(error, ours_error)
    assert (np.abs(z) < 5).all(), f"{z}"
    assert (np.hypot(error, ours_error) < 0.15 * ours.std(0).numpy()).all()
    posterior = model.posterior(probes).mean[:, 0]
    assert_close((posterior - Y.mean()) / Y.std(), ours[:, 6:].mean(0), 1e-9)


def test_the_belief_is_the_mixture_of_its_draws(tiny: tuple[bl.SAASGP, torch.Tensor]) -> None:
    model, probes = tiny
    thin = model.thinned(6)
    assert isinstance(thin, bl.Surrogate)
    z = draw((12, 5, 1), "z")
    posterior = thin.posterior(probes)
    mean, variance = gaussian_members(posterior)
    for i in range(6):
        values = {name: v[i] for name, v in thin.samples.items() if name != "tau"}
        kernel = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=2))
        alone = bl.ExactGP(model.X, model.Y, box(2), kernel=kernel)
        alone = alone.with_hyperparameters(**values)
        own = alone.posterior(probes)
        assert_close(mean[i], own.mean)
        assert_close(variance[i], own.variance, 1e-7)
        assert_close(posterior.rsample(z)[2 * i], own.rsample(z[2 * i : 2 * i + 1])[0], 1e-6)
    picked = model.samples["tau"][torch.arange(6) * 80]
    assert torch.equal(thin.samples["tau"], picked)
    many = model.thinned(120)  # a quarter of the draws: nearly the belief of all
    assert_close(many.posterior(probes).mean, model.posterior(probes).mean, 0.3)
    with pytest.raises(bl.DataError, match="at most the 480"):
        model.thinned(481)


def test_few_active_inputs_are_found_and_the_belief_is_better_than_one_best_fit() -> None:
    d, active = 30, [3, 11, 20]

    def f(X: torch.Tensor) -> torch.Tensor:
        a, b, c = (X[..., i] for i in active)
        y = torch.sin(5 * a) + 6 * (b - 0.4).square() + torch.cos(4 * c * (1 + a))
        return y.unsqueeze(-1)

    X = bl.sobol_points(box(d), n=40, seed=0)
    Y = f(X) + 0.05 * seeds.normal([0], (40, 1))[0]
    model = bl.SAASGP(X, Y, box(d), num_samples=64, warmup=100, seed=0)
    order = model.median_lengthscale[0].argsort()
    assert sorted(order[:3].tolist()) == active
    ratio = model.median_lengthscale[0, order[3]] / model.median_lengthscale[0, order[2]]
    assert ratio > 3, "the others are far less relevant"
    fresh = bl.sobol_points(box(d), n=500, seed=9)

    def log_score(posterior: bl.Posterior) -> float:
        mean, variance = gaussian_members(posterior)
        density = torch.distributions.Normal(mean, variance.sqrt()).log_prob(f(fresh))
        return (density.logsumexp(0) - math.log(len(mean))).mean().item()

    best_fit = bl.fit_mll(bl.ExactGP(X, Y, bounds=box(d)))
    assert log_score(model.posterior(fresh)) > log_score(best_fit.posterior(fresh)) + 0.3
    report = model.sampling_report
    assert bool((report.r_hat < 1.5).all()) and report.r_hat.shape == (1, d + 4)
    assert "R-hat" in str(report) and len(model.parameter_names) == d + 4


def test_replicates_outputs_units_and_seeds() -> None:
    X, Y, bounds = dataset(5, 2, 2, (2,))
    options = {**SMALL, "num_samples": 8, "warmup": 20, "chains": 2}
    model = bl.SAASGP(X, Y, bounds, **options)
    assert model.batch_shape == (2,) and model.num_outputs == 2
    assert model.samples["lengthscale"].shape == (2, 8, 2, 2)
    assert model.median_lengthscale.shape == (2, 2, 2) and model.output_scale.shape == (2, 2)
    assert model.sampling_report.r_hat.shape == (2, 2, 6)
    probes = draw((3, 2, 4, 2), "probes")
    posterior = model.posterior(probes)
    assert posterior.mean.shape == (3, 2, 4, 2)
    assert_close(model.posterior(probes[:, :1]).mean[:, 0], posterior.mean[:, 0])
    with pytest.raises(bl.ShapeError, match="replicates"):
        model.posterior(probes[0, 0])
    # another replicate, and other units, change nothing but the units
    low, width = T([3.0, -20.0]), T([100.0, 1e-3])
    scaled = bl.SAASGP(
        low + width * X[1],
        1e5 * Y[1] + 7,
        torch.stack([low, low + width]),
        **{**options, "seed": seeds.derive(0, 1)},
    )
    assert scaled.samples["tau"].shape == (8, 2)
    again = bl.SAASGP(X[1], Y[1], bounds, **{**options, "seed": [seeds.derive(0, 1)]})
    assert_close(scaled.samples["tau"], again.samples["tau"], 1e-3)
    assert_close(
        (scaled.posterior(low + width * probes[:, 1]).mean - 7) / 1e5,
        again.posterior(probes[:, 1]).mean,
        1e-3,
    )
    before = torch.get_rng_state()
    same = bl.SAASGP(X, Y, bounds, **options)
    assert torch.equal(same.samples["tau"], model.samples["tau"])
    assert torch.equal(torch.get_rng_state(), before)
    other = bl.SAASGP(X, Y, bounds, **{**options, "seed": 5})
    assert not torch.equal(other.samples["tau"], model.samples["tau"])


@pytest.mark.parametrize("r", [(), (2,)])
def test_acquisitions_see_the_mixture(r: tuple[int, ...]) -> None:
    X, Y, bounds = dataset(6, 2, 1, r)
    model = bl.SAASGP(X, Y, bounds, **SMALL)
    best = bl.incumbent(model, X).value
    points = draw((7, *r, 1, 2), "points")
    mean, variance = gaussian_members(model.posterior(points))
    assert mean.shape == (16, 7, *r, 1, 1)
    gap, sd = ((mean - best.view(*r, 1, 1)).numpy(), variance.sqrt().numpy())
    ei = (gap * stats.norm.cdf(gap / sd) + sd * stats.norm.pdf(gap / sd)).mean(0)[..., 0, 0]
    log_ei = bl.LogExpectedImprovement(model, best)
    assert_close(log_ei(points).exp(), ei, 1e-9)
    sampled = bl.qLogExpectedImprovement(model, best, sampler=bl.Sampler(4096, seed=0))
    assert_close(sampled(points).exp(), ei, 0.02)
    x, value = bl.optimize_acqf(log_ei, bounds, seed=0, raw_samples=64, num_restarts=4)
    assert x.shape == (*r, 1, 2)
    assert bool((value >= log_ei(points).amax(0)).all())


def test_bad_input() -> None:
    X, Y, bounds = dataset(6, 2)
    with pytest.raises(bl.DataError, match="multiple of chains = 4"):
        bl.SAASGP(X, Y, bounds, num_samples=30, seed=0)
    with pytest.raises(bl.DataError, match=r"X.double\(\)"):
        bl.SAASGP(X.float(), Y, bounds, seed=0)
    with pytest.raises(bl.DataError, match="finite"):
        bl.SAASGP(X, Y / 0, bounds, seed=0)
    with pytest.raises(bl.DataError, match="seed"):
        bl.SAASGP(X, Y, bounds, seed=-1)


@pytest.mark.parametrize("kind", ["one point", "constant", "duplicated"])
def test_degenerate_data(kind: str) -> None:
    X, Y, bounds = dataset(6, 2)
    if kind == "one point":
        X, Y = X[:1], Y[:1]
    elif kind == "constant":
        Y = torch.full_like(Y, 3.0)
    else:
        X = X[torch.arange(6) // 2]
    posterior = bl.SAASGP(X, Y, bounds, **SMALL).posterior(draw((4, 2), "X"))
    assert torch.isfinite(posterior.mean).all() and bool((posterior.variance > 0).all())
