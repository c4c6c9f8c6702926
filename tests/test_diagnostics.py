"""Leave-one-out against n models that each miss one observation; scores and calibration."""

from collections.abc import Callable, Iterator

import gpytorch
import pytest
import torch
from jaxtyping import config
from scipy import integrate, stats

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


def test_calibration_counts_what_it_says_and_skips_what_is_missing() -> None:
    z = torch.tensor([[0.1, 5.0], [-0.6, torch.nan], [1.0, 0.0], [torch.nan, -0.2]]).double()
    found = bl.calibration(z, [0.5, 0.8])  # |z| < 0.674, |z| < 1.282
    expected = torch.tensor([[2 / 3, 1.0], [2 / 3, 2 / 3]], dtype=torch.float64)
    torch.testing.assert_close(found.coverage, expected)
    torch.testing.assert_close(found.count, torch.tensor([3.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(found.error, torch.tensor([0.2, 1 / 6]).double(), atol=1e-7, rtol=0)
    for bad in ([], [0.5, 1.0]):
        with pytest.raises(bl.DataError, match="levels: expected probabilities"):
            bl.calibration(z, bad)
    with pytest.raises(bl.DataError, match="only NaN"):
        bl.calibration(z * torch.nan)


@pytest.mark.parametrize("factor, side", [(1.0, 0), (0.5, -1), (2.0, 1)])
def test_draws_from_the_prior_are_calibrated_and_wrong_scales_are_seen(
    factor: float, side: int
) -> None:
    """800 data sets from the prior; a stated deviation of ``factor`` times the right one."""
    bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    X = bl.sobol_points(bounds, n=7, seed=4, replicates=800)
    model = bl.ExactGP(X, torch.zeros_like(X), bounds, standardize=False)
    K = bl.linalg.gram(model.kernel, model.training_inputs()).squeeze(-3)
    K = K + torch.diag_embed(model.noise_variance().squeeze(-2))
    z = bl.seeds.normal([3], (800, 7, 1))[0]
    Y = (torch.linalg.cholesky(K) @ z).detach() / factor
    found = bl.calibration(bl.leave_one_out(bl.ExactGP(X, Y, bounds, standardize=False)).z)
    gap = (found.coverage - found.levels).squeeze(-2)  # 800 levels; replicates are independent
    t = gap.mean(0) / (gap.std(0) / 800**0.5)
    if side == 0:
        assert bool((t.abs() < 5).all()), t
    else:
        assert bool((side * t > 5).all()), t


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scores_are_scipys(scale: float) -> None:
    for y, mean, sd in ((0.0, 0.0, 1.0), (2.0, -1.0, 0.5), (-7.0, 0.1, 1.3)):
        args = [torch.tensor([v], dtype=torch.float64) for v in (y * scale, mean * scale)]
        args.append(torch.tensor([(sd * scale) ** 2], dtype=torch.float64))
        density = -stats.norm.logpdf(y * scale, mean * scale, sd * scale)
        found = bl.negative_log_predictive_density(*args).item()
        assert found == pytest.approx(density, rel=1e-12)
        F = stats.norm(mean, sd).cdf
        below = integrate.quad(lambda t, F=F: F(t) ** 2, -30, y, limit=200)[0]
        above = integrate.quad(lambda t, F=F: (1 - F(t)) ** 2, y, 30, limit=200)[0]
        assert bl.crps(*args).item() == pytest.approx(scale * (below + above), rel=1e-8)


def test_scores_are_proper() -> None:
    """On average over normal data nothing beats the true mean and variance."""
    y = bl.seeds.normal([0], (40000,))[0]
    one = torch.ones_like(y)
    for score in (bl.crps, bl.negative_log_predictive_density):
        best = score(y, 0 * one, one)
        for mean, variance in ((0.3, 1.0), (0.0, 1.5), (0.0, 0.6)):
            worse = score(y, mean * one, variance * one) - best
            assert worse.mean() > 5 * worse.std() / 200


def test_the_report_page_shows_what_was_computed() -> None:
    bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    X = bl.sobol_points(bounds, n=9, seed=0, replicates=2)
    Y = torch.stack([X.sum(-1).sin(), X[..., 0]], dim=-1)
    seen = torch.ones(2, 9, dtype=torch.bool)
    seen[1, 3:5] = False
    model = bl.ExactGP(X, Y, bounds, observed=seen)
    loo = bl.leave_one_out(model)
    figure = bl.plotting.model_report(model, output=1, replicate=1)
    predictions, residuals, shares, scales = figure.axes
    shown = residuals.lines[0].get_ydata()
    expected = loo.z[1, seen[1], 1].sort().values.detach()
    torch.testing.assert_close(torch.as_tensor(shown), expected)
    found = bl.calibration(loo.z[1, seen[1], 1:]).coverage[0]
    torch.testing.assert_close(torch.as_tensor(shares.lines[1].get_ydata()), found)
    assert [bar.get_width() for bar in scales.patches] == pytest.approx(
        model.hyperparameters()["lengthscale"][1, 1].tolist()
    )
    assert predictions.get_ylabel() == "observed" and "7 observations" in figure.get_suptitle()
    other = bl.ExactGP(X, Y, bounds, kernel=gpytorch.kernels.LinearKernel())
    note = bl.plotting.model_report(other, replicate=(0,)).axes[3].texts[0].get_text()
    assert "LinearKernel" in note
    for bad in ({"output": 2, "replicate": 0}, {"replicate": 2}, {}):
        with pytest.raises(bl.DataError, match="model_report: expected an index"):
            bl.plotting.model_report(model, **bad)


SCORES = (bl.crps, bl.negative_log_predictive_density)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As users run it: without the shape checks of the test suite, which would speak first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def test_a_certain_prediction_is_scored_by_its_absolute_error() -> None:
    y = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64, requires_grad=True)
    mean = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    variance = torch.tensor([0.0, 0.0, 1e-300, 1.0], dtype=torch.float64)
    score = bl.crps(y, mean, variance)
    torch.testing.assert_close(score[:3].detach(), torch.tensor([0.0, 3.0, 2.0]).double())
    (slope,) = torch.autograd.grad(score.sum(), y)
    assert slope.isfinite().all() and slope[1:3].tolist() == [-1.0, 1.0]
    with pytest.raises(bl.DataError, match="got 0: no density there; use crps"):
        bl.negative_log_predictive_density(y, mean, variance)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("score", SCORES)
def test_scores_check_what_they_are_given(score: Callable[..., torch.Tensor]) -> None:
    x = torch.ones(5, dtype=torch.float64)
    with pytest.raises(bl.ShapeError, match=r"one shape, got \(5,\), \(5, 1\) and \(5, 1\)"):
        score(x, x[:, None], x[:, None])
    with pytest.raises(bl.ShapeError, match="one shape"):
        score(x, x, x[0])
    with pytest.raises(bl.DataError, match=r"variance: expected numbers >= 0, got -1"):
        score(x, x, -x)
    for bad in (x.numpy(), x.float(), 1.0):
        with pytest.raises(bl.DataError, match="mean: expected a float64 tensor"):
            score(x, bad, x)
    assert score(x * torch.nan, x, x).isnan().all()  # rows that leave_one_out leaves out


@pytest.mark.usefixtures("unchecked")
def test_calibration_checks_what_it_is_given() -> None:
    z = torch.ones(5, 1, dtype=torch.float64)
    for levels in (0.9, "0.9", ["0.9"], [None], []):
        with pytest.raises(bl.DataError, match="levels: expected probabilities"):
            bl.calibration(z, levels)
    with pytest.raises(bl.ShapeError, match=r"z.unsqueeze\(-1\)"):
        bl.calibration(z[:, 0])
    for bad in (z.numpy(), z.float()):
        with pytest.raises(bl.DataError, match="z: expected a float64 tensor"):
            bl.calibration(bad)
