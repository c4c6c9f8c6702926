"""DeepEnsemble: exact where networks are linear, batched over replicates, useful in a loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import F64, T, assert_close, box, dataset, draw

import bolearn as bl
from bolearn import seeds

SMALL = {"members": 3, "hidden": (6, 5), "steps": 60}


def test_linear_members_are_draws_from_the_exact_posterior() -> None:
    # Bayesian linear regression in closed form: features sqrt(w^2 / d) x and bias_std.
    X, Y, bounds = dataset(6, 2)
    k, w, b, noise = 3000, 1.2, 0.7, 0.3
    model = bl.DeepEnsemble(
        X, Y, bounds, members=k, hidden=(), weight_std=w, bias_std=b, noise_std=noise, seed=3
    )
    probes = draw((4, 2), "probes")

    def features(x: torch.Tensor) -> np.ndarray:
        scaled = (x.numpy() - 0.5) * np.sqrt(12)
        return np.concatenate([scaled * w / np.sqrt(2), np.full((len(x), 1), b)], axis=1)

    F, G = features(X), features(probes)
    y = ((Y - Y.mean()) / Y.std()).numpy()
    precision = np.eye(3) + F.T @ F / noise**2
    mean = G @ np.linalg.solve(precision, F.T @ y / noise**2)
    covariance = G @ np.linalg.solve(precision, G.T)
    draws = (model.posterior(probes).samples[..., 0] - Y.mean()) / Y.std()  # k q
    z = (draws.mean(0).numpy() - mean[:, 0]) / np.sqrt(np.diag(covariance) / k)
    assert (np.abs(z) < 5).all(), f"{z}"
    sd = np.sqrt(np.diag(covariance))
    error = (draws.T.cov().numpy() - covariance) / (np.outer(sd, sd) * np.sqrt(2 / k))
    assert (np.abs(error) < 5).all(), f"{error}"


def test_training_descends_to_a_minimum_near_the_data() -> None:
    X, Y, bounds = dataset(10, 2)
    losses = [bl.DeepEnsemble(X, Y, bounds, steps=s, seed=0).loss for s in (50, 800, 1600)]
    assert bool((losses[1] < losses[0]).all())
    assert bool((losses[2] > 0.5 * losses[1]).all()), "little is left to gain"
    model = bl.DeepEnsemble(X, Y, bounds, seed=0)
    assert bool(((model.posterior(X).mean - Y).abs() < 0.5 * Y.std()).all())
    far = model.posterior(X + 2).variance.mean()
    assert far > 10 * model.posterior(X).variance.mean(), "members part where there are no data"


@pytest.mark.parametrize(("r", "m"), [((), 1), ((2,), 2), ((2, 2), 1)])
def test_shapes_and_gradients(r: tuple[int, ...], m: int) -> None:
    X, Y, bounds = dataset(5, 2, m, r)
    model = bl.DeepEnsemble(X, Y, bounds, seed=0, **SMALL)
    assert isinstance(model, bl.Surrogate)
    assert model.batch_shape == r and model.num_outputs == m and model.loss.shape == (3, *r)
    probes = draw((4, *r, 2, 2), "probes")
    posterior = model.posterior(probes)
    assert posterior.samples.shape == (3, 4, *r, 2, m)
    assert_close(model.posterior(probes[:2]).mean, posterior.mean[:2])
    noisy = model.posterior(probes, observation_noise=True)
    assert_close(noisy.mean, posterior.mean)
    extra = (0.05 * model.output_scale).square().unsqueeze(-2)
    assert_close(noisy.variance, posterior.variance + extra)
    assert noisy.rsample(draw((6, 2, m), "z")).shape == (6, 4, *r, 2, m)
    point = probes[0].requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: model.posterior(x).mean, point)


def test_replicates_masks_units_and_seeds() -> None:
    X, Y, bounds = dataset(6, 2, 1, (3,))
    seen = torch.ones(3, 6, dtype=torch.bool)
    seen[1, 4:] = False
    holes = torch.where(seen.unsqueeze(-1), Y, torch.nan)
    model = bl.DeepEnsemble(X, holes, bounds, observed=seen, seed=4, **SMALL)
    probes = draw((2, 3, 5, 2), "probes")
    posterior = model.posterior(probes)
    low, width = T([3.0, -20.0]), T([100.0, 1e-3])
    for i in range(3):
        # each replicate alone, in other units and without its masked rows
        alone = bl.DeepEnsemble(
            low + width * X[i, seen[i]], 1e5 * Y[i, seen[i]] + 7, torch.stack([low, low + width]),
            seed=seeds.derive(4, i), **SMALL,
        )  # fmt: skip
        own = alone.posterior(low + width * probes[:, i]).samples
        assert_close((own - 7) / 1e5, posterior.samples[:, :, i], 1e-6)
    before = torch.get_rng_state()
    again = bl.DeepEnsemble(X, holes, bounds, observed=seen, seed=4, **SMALL)
    assert torch.equal(again.theta, model.theta)
    assert torch.equal(torch.get_rng_state(), before)
    other = bl.DeepEnsemble(X, holes, bounds, observed=seen, seed=5, **SMALL)
    assert not torch.equal(other.theta, model.theta)
    assert torch.equal(model.posterior(probes[:, :1]).mean[:, 0], posterior.mean[:, 0])


def test_a_loop_finds_more_than_its_random_start() -> None:
    def f(X: torch.Tensor) -> torch.Tensor:
        return -(X - T([0.3, 0.8])).square().sum(-1, keepdim=True)

    R, start, rounds = 4, 6, 10
    X = bl.sobol_points(box(2), n=start, seed=0, replicates=R)
    for t in range(rounds):
        model = bl.DeepEnsemble(X, f(X), box(2), members=8, hidden=(32, 32), steps=300, seed=t)
        acq = bl.qLogExpectedImprovement(model, best_f=f(X).amax((-2, -1)))
        x, _ = bl.optimize_acqf(acq, box(2), seed=t, raw_samples=64, num_restarts=4)
        X = torch.cat([X, x], dim=-2)
    values = f(X).squeeze(-1)
    first, last = values[:, :start].amax(1), values.amax(1)
    assert bool((last >= first).all())
    assert last.mean() > 0.5 * first.mean(), "far nearer to the maximum, 0, than at the start"
    blind = f(bl.sobol_points(box(2), n=start + rounds, seed=0, replicates=R)).squeeze(-1).amax(1)
    assert last.mean() > blind.mean()
    assert bl.incumbent(model, X[:, :-1]).x.shape == (R, 2)


def test_degenerate_and_bad_input() -> None:
    X, Y, bounds = dataset(5, 2)
    for x, y in ((X[:1], Y[:1]), (X, torch.full_like(Y, 3.0)), (X[:1].expand(5, 2), Y)):
        posterior = bl.DeepEnsemble(x, y, bounds, seed=0, **SMALL).posterior(draw((3, 2), "X"))
        assert torch.isfinite(posterior.samples).all()
    with pytest.raises(bl.DataError, match=r"X.double\(\)"):
        bl.DeepEnsemble(X.float(), Y, bounds, seed=0)
    with pytest.raises(bl.DataError, match="members"):
        bl.DeepEnsemble(X, Y, bounds, members=0, seed=0)
    with pytest.raises(bl.DataError, match="noise_std"):
        bl.DeepEnsemble(X, Y, bounds, noise_std=0.0, seed=0)
    with pytest.raises(bl.DataError, match="hidden"):
        bl.DeepEnsemble(X, Y, bounds, hidden=(8, 0), seed=0)
    with pytest.raises(bl.UnsupportedError, match="qLogExpectedImprovement"):
        model = bl.DeepEnsemble(X, Y, bounds, seed=0, **SMALL)
        bl.LogExpectedImprovement(model, 0.0)(torch.zeros(1, 2, dtype=F64))
