"""Acquisitions against quadrature, statistics and limits; what they say about q and replicates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    F64,
    T,
    assert_close,
    build,
    cases,
    condition,
    dataset,
    draw,
    few,
    gp,
    gradient,
    probes,
    tolerance,
)
from scipy import integrate, stats

import bolearn as bl
from bolearn.acquisition.analytic import log_expected_improvement, log_improvement_reference
from bolearn.acquisition.objectives import check_outcome_constraints

LEVELS = {
    "EI": bl.ExpectedImprovement,
    "LogEI": bl.LogExpectedImprovement,
    "PI": bl.ProbabilityOfImprovement,
    "LogPI": bl.LogProbabilityOfImprovement,
    "UCB": bl.UpperConfidenceBound,
}


@few
@given(st.floats(-3, 3), st.floats(0.05, 3), st.floats(-3, 3))
def test_expected_improvement_is_the_integral(mean: float, std: float, best: float) -> None:
    density = stats.norm(mean, std).pdf
    top = mean + 12 * std
    value = integrate.quad(lambda f: (f - best) * density(f), best, max(top, best + 1), limit=200)
    log_ei = log_expected_improvement(T(mean), T(std), T(best))
    assert_close(log_ei.exp(), value[0], 1e-7)


@few
@given(cases(max_m=1))
def test_analytic_values_are_their_formulas(case: dict) -> None:
    case = {**case, "q": 1}
    model, X = build(case), probes(case, (3,))
    posterior = model.posterior(X)
    mean, std = posterior.mean[..., 0, 0], posterior.variance[..., 0, 0].sqrt()
    best = bl.incumbent(model, model.X).value
    u = ((mean - best) / std).numpy()
    ei = std.numpy() * (stats.norm.pdf(u) + u * stats.norm.cdf(u))
    assert_close(bl.ExpectedImprovement(model, best)(X), ei, 1e-8)
    log_ei = bl.LogExpectedImprovement(model, best)(X)
    visible = ei > 1e-8
    assert_close(log_ei[torch.as_tensor(visible)], np.log(ei[visible]), 1e-6)
    assert torch.isfinite(log_ei).all()
    assert_close(bl.ProbabilityOfImprovement(model, best)(X), stats.norm.cdf(u), 1e-8)
    # log Phi has slope |u|: rounding of u counts that much
    log_pi = bl.LogProbabilityOfImprovement(model, best)(X).numpy()
    assert_close(log_pi / (1 + u**2), stats.norm.logcdf(u) / (1 + u**2), 1e-8)
    beta = T(1.7).expand(best.shape)
    assert_close(bl.UpperConfidenceBound(model, beta)(X), mean + math.sqrt(1.7) * std, 1e-10)
    assert_close(bl.PosteriorMean(model)(X), mean, 1e-12)


@pytest.mark.parametrize("name", LEVELS)
def test_gradients_by_finite_differences(name: str) -> None:
    model = gp(6, 2, r=(2,))
    acq = LEVELS[name](model, T([0.3, 0.6]))
    X = draw((3, 2, 1, 2), "X").requires_grad_(True)
    assert torch.autograd.gradcheck(acq, X, atol=1e-6)
    joint = bl.qLogExpectedImprovement(model, T([0.3, 0.6]), sampler=bl.Sampler(16, seed=0))
    P = draw((2, 2, 3, 2), "P").requires_grad_(True)
    assert torch.autograd.gradcheck(joint, P, atol=1e-5, rtol=1e-4)


def test_log_ei_has_a_slope_where_ei_has_none() -> None:
    model = gp(6, 2)
    X = draw((5, 1, 2), "X")
    for best in (1e3, 1e6):
        assert bl.ExpectedImprovement(model, best)(X).abs().max() == 0
        assert bl.ProbabilityOfImprovement(model, best)(X).abs().max() == 0
        slope = gradient(bl.LogProbabilityOfImprovement(model, best), X)
        assert torch.isfinite(slope).all() and bool((slope.abs().amax((-2, -1)) > 1).all())
        slope = gradient(bl.LogExpectedImprovement(model, best), X)
        assert torch.isfinite(slope).all() and bool((slope.abs().amax((-2, -1)) > 1).all())
        slope = gradient(bl.qLogExpectedImprovement(model, best), X)
        assert torch.isfinite(slope).all() and bool((slope.abs().amax((-2, -1)) > 0).all())


def test_limits_of_the_level() -> None:
    model = gp(6, 2)
    X = draw((4, 1, 2), "X")
    posterior = model.posterior(X)
    low = -1e6
    sure = posterior.mean[..., 0, 0] - low
    assert_close(bl.ExpectedImprovement(model, low)(X) / sure, torch.ones(4, dtype=F64), 1e-10)
    assert_close(bl.LogExpectedImprovement(model, low)(X), sure.log(), 1e-10)
    levels = [bl.LogExpectedImprovement(model, float(b))(X) for b in np.linspace(-5, 50, 30)]
    assert bool((torch.stack(levels).diff(dim=0) < 0).all())  # harder to improve on more
    assert_close(bl.UpperConfidenceBound(model, 0.0)(X), posterior.mean[..., 0, 0], 1e-12)


@few
@given(cases(max_m=1, max_n=200), st.sampled_from([0.0, 5.0, 1e4]))
def test_logei_in_one_piece_is_the_reference(case: dict, above: float) -> None:
    case = {**case, "q": 1}
    model, X = build(case), probes(case, (3,))
    best = bl.incumbent(model, model.X).value + above
    acq = bl.LogExpectedImprovement(model, best)

    def reference(X: torch.Tensor) -> torch.Tensor:
        return log_improvement_reference(model, X, best, "")

    # the logarithm of something that unlikely multiplies rounding
    tol = tolerance(condition(model)) * (1 + above)
    assert_close(acq(X), reference(X), tol, "value")
    slope = gradient(reference, X)
    unit = slope.abs().amax().clamp(min=1.0)
    assert_close(gradient(acq, X) / unit, slope / unit, max(tol, 1e-9), "gradient")


def test_second_derivatives_are_those_of_the_reference() -> None:
    model = gp(6, 2, r=(2,))
    X = draw((2, 2, 1, 2), "X").requires_grad_(True)
    for acq in (
        bl.LogExpectedImprovement(model, T([0.3, 0.6])),
        bl.LogProbabilityOfImprovement(model, T([0.3, 0.6])),
    ):
        assert torch.autograd.gradgradcheck(acq, X, atol=1e-4)


# -- constraints ---------------------------------------------------------------------------------


@few
@given(cases(max_m=3), st.floats(-2, 2), st.floats(0.1, 3), st.integers(0, 5))
def test_constrained_ei_is_the_product(case: dict, low: float, width: float, kind: int) -> None:
    case = {**case, "q": 1, "m": max(case["m"], 2)}
    model, X = build(case), probes(case, (3,))
    i = kind % case["m"]
    others = [j for j in range(case["m"]) if j != i]
    limits = [bl.at_least(others[0], low), bl.at_most(others[-1], low + width)]
    acq = bl.LogConstrainedExpectedImprovement(
        model, 0.3, objective=bl.output(i), outcome_constraints=tuple(limits)
    )
    p = model.posterior(X)
    mean, std = (v[..., 0, :].numpy() for v in (p.mean, p.variance.sqrt()))
    bounds = {j: [-np.inf, np.inf] for j in others}
    bounds[others[0]][0], bounds[others[-1]][1] = low, low + width
    u = (mean[..., i] - 0.3) / std[..., i]
    value = std[..., i] * (stats.norm.pdf(u) + u * stats.norm.cdf(u))
    for j, (a, b) in bounds.items():
        inside = [stats.norm.cdf((v - mean[..., j]) / std[..., j]) for v in (a, b)]
        value = value * (inside[1] - inside[0])
    assert_close(acq(X).exp(), value, 1e-7)
    assert torch.isfinite(acq(X)).all() and torch.isfinite(gradient(acq, X)).all()


def test_constrained_ei_says_what_it_cannot_do() -> None:
    model = gp(5, 2, m=3)
    make = bl.LogConstrainedExpectedImprovement
    for limits, error, words in (
        ((), bl.DataError, "at least one.*LogExpectedImprovement"),
        ((bl.at_most(0, 1.0),), bl.UnsupportedError, "own output.*qLogExpectedImprovement"),
        ((bl.at_most(1, 1.0), bl.at_least(1, 2.0)), bl.InfeasibleError, "output 1.*2 and 1"),
        ((bl.at_most(3, 1.0),), bl.ShapeError, r"output\(3\): the model has 3"),
    ):
        with pytest.raises(error, match=words):
            make(model, 0.0, outcome_constraints=limits)
    with pytest.raises(bl.UnsupportedError, match="q = 2"):
        make(model, 0.0, outcome_constraints=(bl.at_most(1, 1.0),))(draw((2, 2), "X"))
    for bound in (math.nan, math.inf):
        for limit in (bl.at_most, bl.at_least):
            with pytest.raises(bl.DataError, match=f"bound: expected a finite number, got {bound}"):
                limit(0, bound)
    for wrong in (bl.at_most(0, 1.0), [1.0], None):
        with pytest.raises(bl.DataError, match=r"a tuple of functions.*at_most\(1, 5.0\),\)"):
            check_outcome_constraints(wrong, model)


def test_limits_count_what_is_too_much() -> None:
    y = draw((5, 4, 3), "y")
    assert_close(bl.at_most(1, 0.25)(y), y[..., 1] - 0.25, 0.0)
    assert_close(bl.at_least(-1, 0.25)(y), 0.25 - y[..., 2], 0.0)
    assert bl.at_least(2, 1) == bl.at_least(2, 1.0) and hash(bl.at_most(0, 1)) is not None
    with pytest.raises(bl.ShapeError, match="3 outputs"):
        bl.at_most(3, 0.0)(y)


@few
@given(st.integers(0, 10**6), st.floats(-0.5, 2.0))
def test_incumbents_are_the_best_feasible_points(seed: int, limit: float) -> None:
    counts = [8, 5, 3]
    full = gp(8, 2, m=2, r=(3,), seed=seed)
    observed = torch.arange(8) < T(counts)[:, None]
    model = bl.ExactGP(full.X, full.Y, full.bounds, observed=observed)
    model = model.with_hyperparameters(**full.hyperparameters())
    mean = model.posterior(model.X).mean
    limits = (bl.at_most(1, limit), lambda y: y[..., 0] - 5.0)
    expected = []
    for i, n in enumerate(counts):
        fine = [j for j in range(n) if mean[i, j, 1] <= limit and mean[i, j, 0] <= 5.0]
        expected.append(max(fine, key=lambda j: mean[i, j, 0].item(), default=None))
    if None in expected:
        where = rf"first \({expected.index(None)},\).*qLogNoisy.*qLogProbabilityOfFeasibility"
        with pytest.raises(bl.InfeasibleError, match=where):
            bl.incumbent(model, model.X, bl.output(0), limits)
        return
    best = bl.incumbent(model, model.X, bl.output(0), limits)
    for i, j in enumerate(expected):
        assert torch.equal(best.x[i], model.X[i, j])
        assert_close(best.value[i], mean[i, j, 0], 1e-12)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("q", [1, 3])
def test_qlogei_is_the_brute_force_average(q: int, m: int) -> None:
    model, X = gp(8, 2, m=m), draw((4, q, 2), "X")
    best = 0.2
    weights = (1.0, -0.5)[:m]
    acq = bl.qLogExpectedImprovement(
        model, best, sampler=bl.Sampler(4096, seed=1), objective=bl.weighted_sum(*weights)
    )
    rng = np.random.default_rng(0)
    s = 200_000
    for i in range(4):
        p = model.posterior(X[i])
        f = rng.multivariate_normal(p.mean.flatten().numpy(), p.covariance.numpy(), size=s)
        value = f.reshape(s, q, m) @ np.array(weights)
        gain = np.maximum(value.max(-1) - best, 0)
        error = gain.std() / math.sqrt(s)
        # the smooth maximum over q may be high by 1 % x log q
        high = 0.01 * math.log(q) * gain.mean() + 4 * error + 4 * gain.std() / 4096
        got = acq(X[i : i + 1]).exp().item()
        assert gain.mean() - 4 * error - 4 * gain.std() / 4096 < got < gain.mean() + high


def test_qlogei_of_one_point_converges_to_logei() -> None:
    model, X = gp(8, 2), draw((6, 1, 2), "X")
    best = bl.incumbent(model, model.X).value
    exact = bl.ExpectedImprovement(model, best)(X)
    sampled = bl.qLogExpectedImprovement(model, best, sampler=bl.Sampler(1 << 14, seed=0))(X)
    assert_close(sampled.exp(), exact, 2e-4)


@few
@given(cases(max_m=2), st.integers(0, 99))
def test_order_of_points_and_of_batches_does_not_matter(case: dict, seed: int) -> None:
    model, X = build(case), probes(case, (3,))
    objective = bl.output(case["m"] - 1)
    acq = bl.qLogExpectedImprovement(model, -3.0, objective=objective)
    # Reordering q reorders the base samples: equal in the mean over many, exactly with pairs.
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    assert_close(acq(X[order]), acq(X)[order], 1e-9)
    assert_close(acq(X.unsqueeze(1)).squeeze(1), acq(X), 1e-9)
    extra = torch.cat([X, X], dim=0)
    assert_close(acq(extra)[:3], acq(X), 1e-9)


def test_permuting_q_changes_nothing_but_sampling_error() -> None:
    model, X = gp(8, 2), draw((4, 3, 2), "X")
    acq = bl.qLogExpectedImprovement(model, 0.3, sampler=bl.Sampler(1 << 13, seed=0))
    assert_close(acq(X[:, [2, 0, 1]]), acq(X), 2e-2)
    assert_close(acq(X[:, [0, 0, 1, 2]]), acq(X), 3e-2)  # a point twice adds nothing


def test_pending_points_are_judged_jointly() -> None:
    model, X, P = gp(8, 2, r=(2,)), draw((3, 2, 2, 2), "X"), draw((2, 2, 2), "P")
    acq = bl.qLogExpectedImprovement(model, 0.3)
    together = acq(torch.cat([X, P.expand(3, 2, 2, 2)], dim=-2))
    assert_close(acq.with_pending(P)(X), together, 1e-12)
    one_by_one = acq.with_pending(P[:, 1:]).with_pending(P[:, :1])
    assert_close(one_by_one(X), together, 1e-12)
    assert acq.X_pending is None
    with pytest.raises(bl.ShapeError, match=r"X_pending: the model has replicates \(2,\)"):
        acq.with_pending(P[0])


def test_the_default_base_samples_differ_between_replicates() -> None:
    X, Y, bounds = (v.expand(2, *v.shape) for v in (gp(6, 2).X, gp(6, 2).Y, gp(6, 2).bounds))
    model = bl.ExactGP(X, Y, bounds)
    values = bl.qLogExpectedImprovement(model, 0.3)(draw((4, 1, 2, 2), "X"))
    assert bool((values[:, 0] != values[:, 1]).all())
    exact = bl.LogExpectedImprovement(model, 0.3)(draw((4, 1, 1, 2), "X"))
    assert_close(exact[:, 0], exact[:, 1], 1e-12)


def test_a_utility_of_ones_own_takes_one_line() -> None:
    class ProbabilityOfImprovement(bl.LogMonteCarloAcquisition):
        def utility(self, y: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.logsigmoid((y - 0.3) / 1e-3)

    model, X = gp(8, 2), draw((5, 1, 2), "X")
    acq = ProbabilityOfImprovement(model, sampler=bl.Sampler(1 << 13, seed=0))
    p = model.posterior(X)
    u = (p.mean[..., 0, 0] - 0.3) / p.variance[..., 0, 0].sqrt()
    assert_close(acq(X).exp(), stats.norm.cdf(u.numpy()), 1e-2)
    assert acq.with_pending(draw((1, 2), "P"))(X).shape == (5,)


def test_several_outputs_need_an_objective_and_q_needs_a_joint_acquisition() -> None:
    for acq in LEVELS.values():
        with pytest.raises(bl.UnsupportedError, match=r"one output, got 2.*output\(i\)"):
            acq(gp(5, 2, m=2), 1.0)
        with pytest.raises(bl.UnsupportedError, match=r"got q = 3; use"):
            acq(gp(5, 2), 1.0)(draw((3, 2), "X"))
    with pytest.raises(bl.ShapeError, match=r"output\(4\): the model has 1 outputs"):
        bl.qLogExpectedImprovement(gp(5, 2), 1.0, objective=bl.output(4))(draw((3, 2), "X"))
    with pytest.raises(bl.ShapeError, match="one weight for each of 1 outputs, got 2"):
        bl.qLogExpectedImprovement(gp(5, 2), 1.0, objective=bl.weighted_sum(1.0, 2.0))(
            draw((3, 2), "")
        )


def test_constrained_ei_of_a_list_averages_over_the_members_of_each_model() -> None:
    X, Y, bounds = dataset(8, 2, 2)
    saas = bl.SAASGP(X, Y[:, :1], bounds, num_samples=16, warmup=20, seed=0)
    other = bl.ExactGP(X, Y[:, 1:], bounds)
    P = draw((4, 1, 2), "P")
    members, own = saas.members.posterior(P.unsqueeze(-3)), other.posterior(P)
    mean, std = members.mean[..., 0, 0], members.variance[..., 0, 0].sqrt()
    expected = log_expected_improvement(mean, std, 0.5).exp().mean(-1)
    z = (0.3 - own.mean[..., 0, 0]) / own.variance[..., 0, 0].sqrt()
    expected = expected.log() + torch.special.log_ndtr(z)
    for parts, i in (([saas, other], 0), ([other, saas], 1)):
        acq = bl.LogConstrainedExpectedImprovement(
            bl.ModelList(parts),
            0.5,
            objective=bl.output(i),
            outcome_constraints=(bl.at_most(1 - i, 0.3),),
        )
        assert_close(acq(P), expected, 1e-10)
    ensemble = bl.DeepEnsemble(X, Y[:, :1], bounds, hidden=(4,), steps=2, seed=0)
    for parts in ([ensemble, other], [other, ensemble]):
        acq = bl.LogConstrainedExpectedImprovement(
            bl.ModelList(parts), 0.5, outcome_constraints=(bl.at_most(1, 0.3),)
        )
        with pytest.raises(bl.UnsupportedError, match="qLogExpectedImprovement"):
            acq(P)
