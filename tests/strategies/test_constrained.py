"""Strategies under limits of outcomes: closed forms, invariances, and what they find."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from oracles import F64, T, assert_close, box, draw
from scipy.stats import multivariate_normal
from torch import Tensor

import bolearn as bl
from bolearn.search.starts import raw_candidates
from bolearn.strategies import StudyData, constrained, trust_region
from bolearn.transforms import UnitCube

LIMIT = (bl.at_most(1, 0.0),)
FAST = replace(bl.strategies.constrained_log_ei, num_restarts=4, raw_samples=64)


def outcomes(X: Tensor) -> Tensor:
    """A hill, allowed left of a line and beyond a steep wall."""
    f = -(X - T(0.6, 0.4)).square().sum(-1)
    return torch.stack([f, X[..., 0] - 0.5, 1e3 * (0.2 - X[..., 1]) ** 3 - 1], dim=-1)


def start(R: int, n: int) -> StudyData:
    X = draw((R, n, 2), "constrained").remainder(1.0)
    seen = torch.ones(R, n, dtype=torch.bool)
    return StudyData(X, outcomes(X), seen, box(2), None, round=0, n_init=n)


def test_the_bilog_keeps_order_and_zero_and_knows_its_slope() -> None:
    v = T(-1e6, -1.0, 0.0, 1e-3, 2.0, 1e9).unsqueeze(-1)
    seen = torch.ones(6, dtype=torch.bool)
    z, jacobian = constrained.bilog(v, seen)
    assert (z.diff(dim=0) > 0).all() and z[2].item() == 0
    unit = v.abs().median()
    step = (v.abs() + unit) * 1e-6
    up, down = ((v + s * step).sign() * torch.log1p((v + s * step).abs() / unit) for s in (1, -1))
    assert_close(jacobian, ((up - down) / (2 * step)).log().sum(0), 1e-7)
    assert_close(z[4], torch.log1p(2.0 / unit).reshape(1), 1e-12)
    more = torch.cat([v, T(5.0).reshape(1, 1)])
    hidden = torch.tensor([True] * 6 + [False])
    masked, same = constrained.bilog(more, hidden)
    assert_close(masked[:6], z)
    assert_close(same, jacobian)


def test_evidence_is_the_density_of_the_outputs_in_their_own_units() -> None:
    data = start(1, 7)
    views = constrained._Views.of(data, True)
    model = bl.fit_mll(bl.strategies.matern_gp(data.X, views.Z, data.bounds))
    found = constrained._evidence(model) + views.jacobian
    noise = model.noise_variance()[0, :, 0]
    for j in range(6):  # three outputs as they are, then three bilogs
        unit, shift = model.outcome.scale[0, 0, j], model.outcome.shift[0, 0, j]
        K = model.kernel(model.training_inputs()).to_dense()[0, j].detach()
        K = unit**2 * (K + noise[j].detach() * torch.eye(7, dtype=F64))
        mean = shift + unit * model.hyperparameters()["mean"][0, j]
        density = multivariate_normal(np.full(7, mean.item()), K.numpy())
        value = density.logpdf(views.Z[0, :, j].numpy())
        if j >= 3:  # change of variables, by differences
            v = data.Y[0, :, j - 3] * (1 if j == 3 else -1)
            feasible = (data.Y[0, :, 1:] <= 0).all(-1)
            base = v[feasible].max() if j == 3 else 0.0
            s = (v - base).abs().median()
            value += float(-(s + (v - base).abs()).log().sum())
        assert_close(found[0, j], value, 1e-7)


def test_without_a_feasible_value_the_log_probability_is_left() -> None:
    data = start(2, 6)
    model = bl.fit_mll(bl.ExactGP(data.X, data.Y[..., :2], data.bounds))
    at = draw((5, 2, 1, 2), "at")
    level = T(-math.inf, 0.1)
    acq = bl.LogConstrainedExpectedImprovement(model, level, outcome_constraints=LIMIT)
    posterior = model.posterior(at)
    mean, std = posterior.mean[..., 0, :], posterior.variance[..., 0, :].sqrt()
    probability = torch.special.log_ndtr(-mean[..., 1] / std[..., 1])
    assert_close(acq(at)[:, 0], probability[:, 0].detach())
    whole = bl.LogConstrainedExpectedImprovement(model, T(-0.3, 0.1), outcome_constraints=LIMIT)
    assert torch.equal(acq(at)[:, 1], whole(at)[:, 1])
    assert (acq(at)[:, 0] != whole(at)[:, 0]).all()
    x = at.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(acq(x).sum(), x)
    assert torch.isfinite(slope).all() and (slope[:, 0] != 0).any()
    for bad in (math.inf, math.nan, T(-math.inf, math.nan)):
        with pytest.raises(bl.DataError, match="best_f"):
            bl.LogConstrainedExpectedImprovement(model, bad, outcome_constraints=LIMIT)


def test_units_of_outputs_do_not_matter() -> None:
    data, seeds = start(2, 7), (3, 4)
    X, _ = FAST(data, data.bounds, 1, seeds)
    for scale, shift in (((1e6, 1e-3, 1e5), 0.0), ((1e-6, 1e3, 1.0), 7.0)):
        Y = data.Y * T(*scale)
        Y[..., 0] += shift * scale[0]
        other, _ = FAST(replace(data, Y=Y), data.bounds, 1, seeds)
        assert (other - X).abs().max() < 1e-4


def test_a_replicate_in_a_batch_is_that_replicate_alone() -> None:
    data, seeds = start(3, 6), (5, 6, 7)
    data.Y[1, :, 1] = data.Y[1, :, 1].abs() + 0.01  # nothing feasible there
    data.observed[2, 1], data.Y[2, 1] = False, torch.nan
    X, state = FAST(data, data.bounds, 2, seeds)
    handed = FAST.recommend(replace(data, state=state))
    for i in range(3):
        one = slice(i, i + 1)
        own = replace(data, X=data.X[one], Y=data.Y[one], observed=data.observed[one])
        alone, own_state = FAST(own, data.bounds, 2, seeds[one])
        assert (alone[0] - X[i]).abs().max() < 1e-3
        assert torch.equal(FAST.recommend(replace(own, state=own_state))[0], handed[i])
    best = torch.where((data.Y[0, :, 1:] <= 0).all(-1), data.Y[0, :, 0], -torch.inf).argmax()
    assert torch.equal(handed[0], data.X[0, best])
    assert not (handed[2] == data.X[2, 1]).all()


def test_batches_hold_different_points_and_stay_legal() -> None:
    data = start(1, 6)
    X, _ = FAST(data, data.bounds, 3, (1,))
    assert X.shape == (1, 3, 2) and torch.cdist(X[0], X[0]).add(torch.eye(3)).min() > 1e-3
    space = bl.Space([bl.Real("a", 0, 1, step=0.25), bl.Real("b", 0, 1, step=0.25)])
    codes = space.sobol(6, seed=0).unsqueeze(0)
    told = replace(data, X=codes, Y=outcomes(codes), space=space, deterministic=True)
    x, _ = FAST(told, space.bounds, 3, (1,))
    every = torch.cat([codes, x], dim=1)[0]
    assert space.is_legal(x).all() and len(every.unique(dim=0)) == 9


def test_starts_stand_near_feasible_points() -> None:
    data = start(1, 8)
    model = bl.ExactGP(data.X, data.Y, data.bounds)
    constraints = (bl.at_most(1, 0.0), bl.at_most(2, 0.0))
    acq = bl.qLogNoisyExpectedImprovement(
        model, X_baseline=data.X, objective=bl.output(0), outcome_constraints=constraints
    )
    raw, sobol = raw_candidates(acq, UnitCube(data.bounds), 1, (1,), 512, [0])
    feasible = (data.Y[0, :, 1:] <= 0).all(-1)
    assert 1 <= feasible.sum() < 4  # else the four best would all be feasible, or none
    order = torch.where(feasible, data.Y[0, :, 0], -torch.inf).argsort(descending=True)
    near = torch.cdist(raw[0, sobol:], data.X[0]).argmin(-1).bincount(minlength=8)
    assert (near[order[: int(feasible.sum())]] > 0).all()
    worst = (data.Y[0, :, 1:].clamp(min=0) / data.Y[0, :, 1:].std(0)).sum(-1).argmax()
    assert near[worst] <= near[order[0]]


def test_small_islands_are_found_where_chance_finds_none() -> None:
    arms: dict[str, Any] = {"model": FAST, "chance": bl.strategies.sobol}
    result = bl.study(bl.problems.Gardner(), arms, n_init=5, n_iter=12, replicates=8, seed=1)
    last = {name: result.regret(name)[:, -1] for name in arms}
    assert torch.isfinite(last["model"]).all() and (last["model"] < 0.3).sum() >= 6
    assert torch.isinf(last["chance"]).any()


def test_what_cannot_be_says_so() -> None:
    with pytest.raises(bl.DataError, match="at least one"):
        constrained.ConstrainedLogEI(models=())
    data = start(1, 5)
    with pytest.raises(bl.DataError, match="log_ei"):
        FAST(replace(data, Y=data.Y[..., :1]), data.bounds, 1, (0,))


def test_a_feasible_outcome_is_better_than_any_other_then_less_violation_is() -> None:
    Y = T([5.0, -2.0, 1.0], [1.0, 0.0, 0.5], [3.0, -1.0, -0.1], [-9.0, 0.3, 0.2], [2.0, -0.1, 1.0])
    seen = torch.ones(5, dtype=torch.bool)
    order = trust_region._merit(Y, Y, seen).argsort(descending=True)
    short = (-Y[:, 1:]).clamp(min=0).div(Y[:, 1:].std(0)).sum(-1)
    feasible = [1, 3]  # values 1 and -9
    rest = sorted((i for i in range(5) if i not in feasible), key=lambda i: short[i].item())
    assert order.tolist() == feasible + rest
    assert torch.equal(trust_region._merit(Y[:, :1], Y[:, :1], seen), Y[:, 0])


def test_a_trust_region_keeps_to_limits_and_ignores_their_units() -> None:
    data, seeds = start(2, 8), (3, 4)
    turbo = replace(bl.strategies.scbo, num_features=64, candidates=128)
    X, state = turbo(data, data.bounds, 2, seeds)
    other, _ = turbo(replace(data, Y=data.Y * T(1e6, 1e-3, 1e5)), data.bounds, 2, seeds)
    assert (X - other).abs().max() < 1e-3
    handed = turbo.recommend(replace(data, state=state))
    allowed = (data.Y[..., 1:] <= 0).all(-1)
    best = torch.where(allowed, data.Y[..., 0], -torch.inf).argmax(-1)
    assert torch.equal(handed, data.X[torch.arange(2), best])
    for i in range(2):
        one = slice(i, i + 1)
        own = replace(data, X=data.X[one], Y=data.Y[one], observed=data.observed[one])
        assert (turbo(own, data.bounds, 2, seeds[one])[0][0] - X[i]).abs().max() < 1e-6


def test_trust_regions_find_feasible_points_of_many_inputs() -> None:
    def f(X: Tensor) -> Tensor:
        value = -(X - 0.7).square().sum(-1)
        return torch.stack([value, 1e4 * (X.sum(-1) - 5.0), 0.2 - X[..., 0] * X[..., 1]], dim=-1)

    best = -10 * 0.2**2  # on the border sum x = 5, x_0 x_1 >= 0.2 aside
    problem = bl.Problem(f, box(10), num_outputs=3, num_constraints=2, optimal_value=best)
    turbo = replace(bl.strategies.scbo, num_features=256, candidates=500)
    arms: dict[str, Any] = {"region": turbo, "chance": bl.strategies.sobol}
    result = bl.study(problem, arms, n_init=10, n_iter=12, q=4, replicates=4, seed=0)
    own, chance = (result.regret(name)[:, -1] for name in arms)
    assert torch.isfinite(own).all() and (own < 0.5 * chance).all()
