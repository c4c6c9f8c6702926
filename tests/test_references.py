"""Every fast path against the reference beside it: values, gradients, batches, hard cases."""

from __future__ import annotations

import gpytorch
import pytest
import torch
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.priors import GammaPrior, LogNormalPrior
from hypothesis import given
from oracles import (
    F64,
    assert_close,
    build,
    cases,
    condition,
    draw,
    few,
    gp,
    hyperparameters,
    probes,
    surface,
    tolerance,
)

import bolearn as bl
from bolearn.linalg import squared_distances, squared_distances_reference
from bolearn.models import priors
from bolearn.models.prediction import joint_reference, marginal_reference

KERNELS = {
    "rbf": lambda d: RBFKernel(ard_num_dims=d),
    "isotropic rbf": lambda d: RBFKernel(),
    "matern52": lambda d: MaternKernel(nu=2.5, ard_num_dims=d),
    "matern32": lambda d: MaternKernel(nu=1.5, ard_num_dims=d),
    "scaled rbf": lambda d: ScaleKernel(RBFKernel(ard_num_dims=d)),
    "scaled isotropic matern52": lambda d: ScaleKernel(MaternKernel(nu=2.5)),
}


def both(model: bl.ExactGP, X: torch.Tensor, joint: bool) -> list[list[torch.Tensor]]:
    """Values and gradient in X, by the posterior and by the reference, with random weights."""
    results = []
    for reference in (False, True):
        leaf = X.detach().clone().requires_grad_(True)
        if reference:
            mean, second = (joint_reference if joint else marginal_reference)(model, leaf)
        else:
            posterior = model.posterior(leaf)
            mean, second = posterior.mean, posterior.variance
            if joint:
                mean, second = posterior.joint_moments
        weights = [draw(v.shape, "weight", i) - 0.3 for i, v in enumerate((mean, second))]
        total = (mean * weights[0]).sum() + (second * weights[1]).sum()
        (slope,) = torch.autograd.grad(total, leaf)
        results.append([mean, second, slope])
    return results


@few
@given(cases(max_n=40))
def test_prediction(case: dict) -> None:
    model = build(case)
    tol = tolerance(condition(model))
    X = probes(case, (2,))
    for joint in (False, True):
        for fast, slow in zip(*both(model, X, joint), strict=True):
            assert_close(fast, slow, tol, f"joint={joint}")


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("r", [(), (3,), (2, 2)])
def test_prediction_with_every_plain_kernel(name: str, r: tuple[int, ...]) -> None:
    model = gp(7, 2, m=2, r=r, kernel=KERNELS[name](2))
    X = 1.2 * draw((4, *r, 3, 2), "plain") - 0.1
    X[..., 0, :] = model.X[..., 0, :]  # at an observation, where r = 0
    for joint in (False, True):
        for fast, slow in zip(*both(model, X, joint), strict=True):
            assert_close(fast, slow, 1e-9, name)


def test_prediction_nearly_singular() -> None:
    X = 0.5 + 1e-5 * draw((30, 2), "near")
    model = bl.ExactGP(X, surface(X), torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=F64))
    model = model.with_hyperparameters(lengthscale=0.5, noise_var=1e-4)
    P = torch.cat([X[:3], draw((2, 2), "far")]).unsqueeze(0)
    for joint in (False, True):
        for fast, slow in zip(*both(model, P, joint), strict=True):
            assert_close(fast, slow, tolerance(condition(model)))


def test_analytic_pullbacks_pass_gradcheck_and_gradgradcheck() -> None:
    for name in ("rbf", "scaled isotropic matern52", "matern32"):
        model = gp(4, 2, m=2, r=(2,), kernel=KERNELS[name](2))
        X = draw((2, 2, 2, 2), "gradcheck").requires_grad_(True)

        def marginal(X: torch.Tensor, model: bl.ExactGP = model) -> tuple[torch.Tensor, ...]:
            posterior = model.posterior(X)
            return posterior.mean, posterior.variance

        def joint(X: torch.Tensor, model: bl.ExactGP = model) -> tuple[torch.Tensor, ...]:
            return model.posterior(X).joint_moments

        for f in (marginal, joint):
            assert torch.autograd.gradcheck(f, X)
            assert torch.autograd.gradgradcheck(f, X, atol=1e-4)


def test_a_gradient_that_is_differentiated_again_is_the_same_gradient() -> None:
    model = gp(6, 2)
    X = draw((5, 1, 2), "again").requires_grad_(True)
    acq = bl.LogExpectedImprovement(model, 0.5)
    (plain,) = torch.autograd.grad(acq(X).sum(), X)
    (graph,) = torch.autograd.grad(acq(X).sum(), X, create_graph=True)
    assert_close(graph, plain, 1e-9)


@few
@given(cases())
def test_squared_distances(case: dict) -> None:
    x = probes(case).requires_grad_(True)
    z = build(case).X
    fast, slow = squared_distances(x, z), squared_distances_reference(x, z)
    assert_close(fast, slow, 1e-12)
    weights = draw(fast.shape, "w")
    slopes = [torch.autograd.grad((v * weights).sum(), x)[0] for v in (fast, slow)]
    assert_close(*slopes, 1e-10)


# -- the objective of the fit, through its public ends -------------------------------------------


def objective(model: bl.ExactGP) -> torch.Tensor:
    """Log posterior density per observation, from the likelihood and the priors' definitions."""
    value = bl.log_marginal_likelihood(model)
    for part in (model.kernel, model.mean, model.likelihood):
        for _, module, prior, closure, _ in [] if part is None else part.named_priors():
            density = prior.log_prob(closure(module))
            value = value + density.reshape(*model.batch_shape, -1).sum(-1)
    return value / model.observed.sum(-1)


FITTED: dict[str, Kernel | None] = {
    "default": None,
    "scaled": ScaleKernel(
        MaternKernel(nu=2.5, ard_num_dims=2, lengthscale_prior=GammaPrior(3.0, 6.0)),
        outputscale_prior=LogNormalPrior(0.0, 1.0),
    ),
    "scaled rbf": ScaleKernel(
        RBFKernel(ard_num_dims=2, lengthscale_prior=LogNormalPrior(-1.0, 1.0)),
        outputscale_prior=LogNormalPrior(1.0, 0.5),
    ),
    "scaled matern32": ScaleKernel(
        MaternKernel(nu=1.5, lengthscale_prior=LogNormalPrior(-1.0, 1.0)),
        outputscale_prior=LogNormalPrior(1.0, 0.5),
    ),
    "isotropic": MaternKernel(nu=1.5, lengthscale_prior=LogNormalPrior(-1.0, 1.0)),
    "isotropic rbf": RBFKernel(lengthscale_prior=LogNormalPrior(-1.0, 1.0)),
    "not plain": ScaleKernel(MaternKernel(nu=0.5, lengthscale_prior=GammaPrior(3.0, 6.0))),
}


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("fixed", [False, True])
def test_the_fit_reports_the_objective_and_ends_where_its_slope_vanishes(
    name: str, fixed: bool
) -> None:
    noise = 0.01 + 0.02 * draw((2, 9, 1), "noise") if fixed else None
    X, Y = draw((2, 9, 2), "fit X"), surface(draw((2, 9, 2), "fit X"))
    observed = torch.ones(2, 9, dtype=torch.bool)
    observed[1, 6:] = False
    bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=F64)
    model = bl.ExactGP(X, Y, bounds, kernel=FITTED[name], noise_var=noise, observed=observed)
    model = bl.fit_mll(model)
    assert_close(model.fit_report.value.squeeze(-1), objective(model), 2e-7)
    # The end is a stationary point of the reference on the free side of every bound: no
    # hyperparameter can be moved by a little with a gain.
    best = objective(model).detach()
    for key, value in model.hyperparameters().items():
        for factor in (0.995, 1.005):
            for j in range(value[0].numel()):
                moved = value.clone().reshape(2, -1)
                moved[:, j] = moved[:, j] * factor + (1e-3 if key == "mean" else 0) * (factor - 1)
                try:
                    other = model.with_hyperparameters(**{key: moved.reshape(value.shape)})
                except bl.DataError:
                    continue  # over a bound
                gain = objective(other) - best
                assert bool((gain <= 2e-6).all()), (key, factor, gain)


@pytest.mark.parametrize("prior", [LogNormalPrior(0.3, 0.7), GammaPrior(2.0, 3.0)])
def test_prior_densities_and_slopes(prior: gpytorch.priors.Prior) -> None:
    x = (0.1 + draw((4, 3), "prior")).requires_grad_(True)
    prior = prior.double()
    value, slope = priors.log_density_and_slope(prior, x)
    expected = prior.log_prob(x).sum(-1)
    assert_close(value, expected, 1e-7)  # gpytorch's log-normal computes in float32 in part
    assert_close(slope, torch.autograd.grad(expected.sum(), x)[0], 1e-7)


def test_closed_form_and_autograd_fits_agree() -> None:
    """A sum of one kernel is no plain kernel, but the same model."""
    X = draw((2, 10, 2), "same")
    bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=F64)
    plain = MaternKernel(nu=2.5, ard_num_dims=2, lengthscale_prior=LogNormalPrior(0.0, 1.0))
    models = [bl.ExactGP(X, surface(X), bounds, kernel=k) for k in (plain, plain + _zero())]
    values = [bl.fit_mll(model).fit_report.value for model in models]
    assert_close(*values, 1e-6)


def _zero() -> Kernel:
    class Zero(Kernel):
        """Adds nothing."""

        def forward(self, x1, x2, diag=False, **params):  # type: ignore[no-untyped-def]
            K = 0.0 * (x1[..., :, None, 0] - x2[..., None, :, 0])
            return K.diagonal(dim1=-2, dim2=-1) if diag else K

    return Zero()


def test_hyperparameters_helper_is_inside_the_constraints() -> None:
    model = gp(5, 2, m=2, r=(2,))
    for name, value in hyperparameters(model).items():
        assert_close(model.hyperparameters()[name], value, 1e-12)
