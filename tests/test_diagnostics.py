"""Leave-one-out in closed form against n models that each miss one observation."""

import gpytorch
import pytest
import torch

import bolearn as bl


@pytest.mark.parametrize("kernel", ["rbf", "matern32", "sum"])
@pytest.mark.parametrize("noise", [None, "per point"])
def test_equals_models_without_the_point(kernel: str, noise: str | None) -> None:
    kernels = {
        "rbf": None,
        "matern32": gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=1.5)),
        "sum": gpytorch.kernels.RBFKernel(active_dims=(0,)) + gpytorch.kernels.LinearKernel(),
    }
    bounds = torch.tensor([[0.0, -1.0], [2.0, 5.0]], dtype=torch.float64)
    X = bl.sobol_points(bounds, n=9, seed=3)
    Y = torch.stack([X.sum(-1).sin(), 1e3 * X[:, 0] * X[:, 1]], dim=-1)
    given = {} if noise is None else {"noise_var": 0.01 * (1 + X[:, :1].square()).expand(-1, 2)}
    # Standardised outside, and with standardize=False, so that all models share one scaling.
    Y = (Y - Y.mean(0)) / Y.std(0)
    model = bl.ExactGP(X, Y, bounds, kernel=kernels[kernel], standardize=False, **given)
    found = bl.leave_one_out(model)
    for i in range(len(X)):
        rest = torch.arange(len(X)) != i
        given_rest = {name: value[rest] for name, value in given.items()}
        other = bl.ExactGP(
            X[rest], Y[rest], bounds, kernel=kernels[kernel], standardize=False, **given_rest
        ).with_hyperparameters(**model.hyperparameters())
        belief = other.posterior(X[i : i + 1])
        here = model.noise_variance()[:, i]
        torch.testing.assert_close(found.mean[i], belief.mean[0], rtol=1e-8, atol=1e-8)
        variance = belief.variance[0] + here
        torch.testing.assert_close(found.variance[i], variance, rtol=1e-8, atol=1e-10)
        z = (Y[i] - belief.mean[0]) / variance.sqrt()
        torch.testing.assert_close(found.z[i], z, rtol=1e-7, atol=1e-8)


def test_follows_units_and_replicates_and_skips_masked_rows() -> None:
    bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    X = bl.sobol_points(bounds, n=8, seed=0, replicates=3)
    Y = (5 * X).sin()
    seen = torch.ones(3, 8, dtype=torch.bool)
    seen[1, 2] = False
    plain = bl.leave_one_out(bl.ExactGP(X, Y, bounds, observed=seen))
    scaled = bl.leave_one_out(bl.ExactGP(X, 1e6 * Y + 7, bounds, observed=seen))
    assert plain.z.isnan().squeeze(-1).equal(~seen)
    torch.testing.assert_close(scaled.z, plain.z, rtol=1e-6, atol=1e-8, equal_nan=True)
    torch.testing.assert_close(scaled.mean, 1e6 * plain.mean + 7, rtol=1e-6, atol=1e-2,
                               equal_nan=True)  # fmt: skip
    alone = bl.leave_one_out(bl.ExactGP(X[1, seen[1]], Y[1, seen[1]], bounds))
    torch.testing.assert_close(plain.z[1, seen[1]], alone.z, rtol=1e-8, atol=1e-9)


def test_residuals_of_draws_from_the_model_are_standard_normal() -> None:
    bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    X = bl.sobol_points(bounds, n=6, seed=1, replicates=2000)
    model = bl.ExactGP(X, torch.zeros_like(X), bounds, standardize=False)
    K = bl.linalg.gram(model.kernel, model.training_inputs()).squeeze(-3)
    K = K + torch.diag_embed(model.noise_variance().squeeze(-2))
    z = bl.seeds.normal([0], (2000, 6, 1))[0]
    Y = (torch.linalg.cholesky(K) @ z).detach()
    found = bl.leave_one_out(bl.ExactGP(X, Y, bounds, standardize=False)).z
    # six residuals of one draw depend on each other: standard errors from the 2000 draws
    for statistic, expected in ((found, 0.0), (found.square(), 1.0)):
        each = statistic.mean((-2, -1))
        assert abs(each.mean() - expected) < 5 * each.std() / 2000**0.5
