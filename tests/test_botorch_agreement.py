"""BoTorch as an oracle, where it is right: outputs of scale about 1, ordinary tails, same tau."""

from __future__ import annotations

import pytest
import torch
from botorch.acquisition import analytic
from botorch.acquisition.logei import qLogExpectedImprovement as TheirQLogEI
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf as their_optimize
from botorch.sampling.normal import SobolQMCNormalSampler
from gpytorch.mlls import ExactMarginalLogLikelihood
from hypothesis import given
from oracles import (
    T,
    assert_close,
    box,
    build,
    cases,
    condition,
    draw,
    few,
    gp,
    gradient,
    probes,
    tolerance,
)

import bolearn as bl


def twin(model: bl.ExactGP) -> SingleTaskGP:
    """BoTorch's model of the same data with the same hyperparameters, for one replicate."""
    d, m = model.X.shape[-1], model.num_outputs
    theirs = SingleTaskGP(
        model.X,
        model.Y,
        input_transform=Normalize(d, bounds=model.bounds),
        outcome_transform=Standardize(m),
    )
    values = model.hyperparameters()
    shape = theirs.covar_module.lengthscale.shape
    theirs.covar_module.lengthscale = values["lengthscale"].reshape(shape)
    constant = theirs.mean_module.constant
    theirs.mean_module.initialize(constant=values["mean"].reshape(constant.shape))
    noise = theirs.likelihood.noise_covar
    noise.initialize(noise=values["noise_var"].reshape(noise.noise.shape))
    theirs.eval()
    return theirs


def exactly(level: float) -> torch.Tensor:
    """A level as float64: BoTorch turns a Python float into float32."""
    return torch.tensor(level, dtype=torch.float64)


def single(case: dict) -> dict:
    """BoTorch standardises and compares one replicate at a time; n >= 2 there."""
    return {**case, "r": (), "n": max(case["n"], 2), "m": min(case["m"], 2)}


@few
@given(cases())
def test_posterior(case: dict) -> None:
    case = single(case)
    model = build(case)
    if case["kind"] == "constant":
        return  # BoTorch's scale is not 1 there
    theirs, X = twin(model), probes(case, (3,))
    tol = tolerance(condition(model))
    for noisy in (False, True):
        a, b = (f(X, observation_noise=noisy) for f in (model.posterior, theirs.posterior))
        assert_close(a.mean, b.mean, tol, "mean")
        assert_close(a.variance, b.variance, tol, "variance")
        if case["m"] == 1:
            assert_close(a.covariance, b.distribution.covariance_matrix, tol, "covariance")
    slopes = [
        gradient(lambda X, f=f: f(X).mean + f(X).variance, X)
        for f in (model.posterior, theirs.posterior)
    ]
    assert_close(*slopes, tol, "gradient")


@few
@given(cases(max_m=1))
def test_marginal_likelihood(case: dict) -> None:
    case = single(case)
    model = build(case)
    if case["kind"] == "constant":
        return
    theirs = twin(model)
    theirs.train()
    value = theirs.likelihood(theirs(*theirs.train_inputs)).log_prob(theirs.train_targets)
    assert_close(
        bl.log_marginal_likelihood(model) / case["n"],
        value / case["n"],
        tolerance(condition(model)),
    )


ANALYTIC = {
    "EI": (bl.ExpectedImprovement, analytic.ExpectedImprovement),
    "LogEI": (bl.LogExpectedImprovement, analytic.LogExpectedImprovement),
    "UCB": (bl.UpperConfidenceBound, analytic.UpperConfidenceBound),
}


@pytest.mark.parametrize("name", ANALYTIC)
@few
@given(cases(max_m=1))
def test_analytic_acquisitions(name: str, case: dict) -> None:
    case = {**single(case), "q": 1, "m": 1}
    if case["kind"] != "plain":
        return
    model = build(case)
    theirs, X = twin(model), probes(case, (6,))
    ours_of, theirs_of = ANALYTIC[name]
    level = 2.3 if name == "UCB" else model.Y.max().item()
    a, b = ours_of(model, level), theirs_of(theirs, exactly(level))
    std = model.posterior(X).variance[..., 0, 0].sqrt()
    z = (model.posterior(X).mean[..., 0, 0] - level) / std
    fair = (z > -30) & (std > 1e-4)  # BoTorch clamps variances at 1e-7
    tol = tolerance(condition(model))
    assert_close(a(X)[fair], b(X)[fair], tol, "value")
    if bool(fair.any()):
        assert_close(gradient(a, X[fair]), gradient(b, X[fair]), tol, "gradient")


@pytest.mark.parametrize("q", [1, 2, 4])
@pytest.mark.parametrize("n", [3, 20])
def test_qlogei_with_the_same_base_samples(q: int, n: int) -> None:
    model = gp(n, 3, seed=q)
    theirs, X, best = twin(model), draw((8, q, 3), "X"), model.Y.max().item()
    a = bl.qLogExpectedImprovement(model, best, sampler=bl.Sampler(64, seed=5))
    # ours smooths on the scale of the outputs
    tau = 1e-6 * model.output_scale.item()
    b = TheirQLogEI(
        theirs,
        exactly(best),
        sampler=SobolQMCNormalSampler(torch.Size([64]), seed=5),
        tau_relu=tau,
    )
    assert_close(a(X), b(X), 1e-8, "value")
    assert_close(gradient(a, X), gradient(b, X), 1e-8, "gradient")


def test_qlogei_with_pending_points() -> None:
    model = gp(8, 2)
    theirs, X, P = twin(model), draw((5, 2, 2), "X"), draw((2, 2), "pending")
    best = model.Y.max().item()
    a = bl.qLogExpectedImprovement(model, best, sampler=bl.Sampler(64, seed=5)).with_pending(P)
    b = TheirQLogEI(
        theirs,
        exactly(best),
        sampler=SobolQMCNormalSampler(torch.Size([64]), seed=5),
        X_pending=P,
        tau_relu=1e-6 * model.output_scale.item(),
    )
    assert_close(a(X), b(X), 1e-8)


# -- fits and optimised values -------------------------------------------------------------------


def varied(i: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Smooth, wiggly, noisy and clustered data, d = 1 to 10, n = 5 to 60."""
    n, d = 5 + (17 * i) % 56, 1 + i % 10
    X, e = draw((n, d), "X", i), draw((n, 1), "noise", i) - 0.5
    t = X @ (draw((d, 1), "w", i) - 0.3)
    if i % 4 == 3:
        X = draw((3, d), "centres", i)[torch.arange(n) % 3] + 0.02 * X
        t = X.sum(-1, keepdim=True)
    Y = (torch.sin(3 * t), torch.sin(16 * t) + 0.03 * e, torch.sin(5 * t) + 2 * e, torch.sin(6 * t))
    return X, Y[i % 4] + 0.01 * e, T([[0.0] * d, [1.02] * d])


def test_fits_are_not_worse_than_botorchs() -> None:
    """Our objective at our end and at theirs, per observation: theirs is never the better one."""
    gaps = []
    for seed in range(40):
        X, Y, bounds = varied(seed)
        d = X.shape[-1]
        ours = bl.fit_mll(bl.ExactGP(X, Y, bounds))
        fresh = SingleTaskGP(
            X,
            Y,
            input_transform=Normalize(d, bounds=bounds),
            outcome_transform=Standardize(1),
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fit_gpytorch_mll(ExactMarginalLogLikelihood(fresh.likelihood, fresh))
        at_theirs = ours.with_hyperparameters(
            lengthscale=fresh.covar_module.lengthscale.detach(),
            noise_var=fresh.likelihood.noise.detach(),
            mean=fresh.mean_module.constant.detach(),
        )
        gaps.append((_objective(ours) - _objective(at_theirs)).item())
    assert min(gaps) > -1e-6, sorted(gaps)


def _objective(model: bl.ExactGP) -> torch.Tensor:
    value = bl.log_marginal_likelihood(model)
    for part in (model.kernel, model.likelihood):
        for _, module, prior, closure, _ in part.named_priors():
            value = value + prior.log_prob(closure(module)).sum()
    return value.detach() / model.X.shape[-2]


@pytest.mark.parametrize("d", [2, 6])
def test_optimised_values_are_not_worse_than_botorchs(d: int) -> None:
    """Ten paired problems: same model, the restarts and raw samples of the benchmarks."""
    gaps = []
    for seed in range(10):
        model = gp(8 + 2 * seed, d, seed=seed)
        best = bl.incumbent(model, model.X).value.item()
        acq = bl.LogExpectedImprovement(model, best)
        ours = bl.optimize_acqf(acq, box(d), num_restarts=16, raw_samples=512, seed=seed)
        theirs = analytic.LogExpectedImprovement(twin(model), exactly(best))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            x, _ = their_optimize(theirs, box(d), q=1, num_restarts=16, raw_samples=512)
        gaps.append(ours.value.item() - acq(x.unsqueeze(0)).item())
    assert min(gaps) > -1e-6, gaps


def test_the_twin_has_the_same_hyperparameters() -> None:
    model = gp(6, 2, m=2)
    theirs = twin(model)
    assert_close(theirs.covar_module.lengthscale[:, 0], model.hyperparameters()["lengthscale"])
    assert_close(theirs.likelihood.noise.flatten(), model.hyperparameters()["noise_var"])
    assert T(1.0).dtype == theirs.train_targets.dtype
