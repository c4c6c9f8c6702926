"""What must not change: units of X and Y, replicates in a batch or alone, their order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import F64, T, assert_close, box, dataset, draw, few, gp, gradient, hyperparameters

import bolearn as bl
from bolearn.seeds import derive

SCALES = [1e-9, 1e-3, 1e4, 1e9]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shift", [0.0, -3.0, 1e3])
def test_units_of_y(scale: float, shift: float) -> None:
    """Y -> scale (Y + shift) scales every belief, and moves log improvements by log scale."""
    model = gp(8, 2)
    other = bl.ExactGP(model.X, scale * (model.Y + shift), model.bounds)
    other = other.with_hyperparameters(**model.hyperparameters())
    P = 1.4 * draw((6, 3, 2), "P") - 0.2
    a, b = model.posterior(P), other.posterior(P)
    assert_close(b.mean / scale - shift, a.mean, 1e-9)
    assert_close(b.variance / scale**2, a.variance, 1e-9)
    assert_close(b.covariance / scale**2, a.covariance, 1e-9)
    assert_close(bl.log_marginal_likelihood(other), bl.log_marginal_likelihood(model), 1e-9)
    for best in (0.5, 30.0, 300.0):
        level = scale * (best + shift)
        for make, X in ((bl.LogExpectedImprovement, P[:, :1]), (bl.qLogExpectedImprovement, P)):
            mine, theirs = make(model, best), make(other, level)
            assert_close(theirs(X) - torch.log(T(scale)), mine(X), 1e-8)
            assert_close(gradient(theirs, X), gradient(mine, X), 1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_units_of_y_in_a_whole_step(scale: float) -> None:
    X, Y, bounds = dataset(9, 2)
    found = []
    for c, shift in ((1.0, 0.0), (scale, 7.0)):
        model = bl.fit_mll(bl.ExactGP(X, c * (Y + shift), bounds))
        acq = bl.LogExpectedImprovement(model, bl.incumbent(model, X).value)
        x, value = bl.optimize_acqf(acq, bounds, num_restarts=4, raw_samples=64, seed=3)
        found.append((model.fit_report.value, x, value - torch.log(T(c))))
    for mine, theirs, tol in zip(*found, (1e-8, 1e-4, 1e-6), strict=True):
        assert_close(mine, theirs, tol)


@pytest.mark.parametrize("width", [1e-9, 1e9])
def test_units_of_x(width: float) -> None:
    X, Y, bounds = dataset(9, 2)
    scale = T([width, 1.0])
    found = []
    for s in (torch.ones(2, dtype=F64), scale):
        model = bl.fit_mll(bl.ExactGP(X * s, Y, bounds * s))
        acq = bl.LogExpectedImprovement(model, bl.incumbent(model, X * s).value)
        x, value = bl.optimize_acqf(acq, bounds * s, num_restarts=4, raw_samples=64, seed=3)
        found.append((model.hyperparameters()["lengthscale"], x / s, value))
    for mine, theirs, tol in zip(*found, (1e-4, 1e-4, 1e-6), strict=True):
        assert_close(mine, theirs, tol)


def ragged(R: int, n: int, counts: list[int], m: int = 1) -> tuple[torch.Tensor, ...]:
    """Replicates with different numbers of rows; NaN where there is nothing."""
    X, Y, bounds = dataset(n, 2, m, (R,), seed=5)
    observed = torch.arange(n) < torch.tensor(counts)[:, None]
    X = torch.where(observed.unsqueeze(-1), X, torch.nan)
    return X, torch.where(observed.unsqueeze(-1), Y, torch.nan), bounds, observed


@pytest.mark.parametrize("kind", ["LogEI", "qLogEI joint", "qLogEI greedy"])
def test_a_step_of_a_replicate_is_the_same_in_a_batch_and_alone(kind: str) -> None:
    counts = [9, 6, 2, 1]
    R = len(counts)
    X, Y, bounds, observed = ragged(R, 9, counts)
    q, options = (1, {}) if kind == "LogEI" else (2, {"sequential": kind.endswith("greedy")})

    def step(X, Y, observed, seed):  # type: ignore[no-untyped-def]
        model = bl.fit_mll(bl.ExactGP(X, Y, bounds, observed=observed))
        best = bl.incumbent(model, X).value
        if kind == "LogEI":
            acq = bl.LogExpectedImprovement(model, best)
        else:
            acq = bl.qLogExpectedImprovement(model, best, sampler=bl.Sampler(32, seed=seed))
        found = bl.optimize_acqf(
            acq, bounds, q, num_restarts=4, raw_samples=64, seed=seed, **options
        )
        return model, acq, best, found

    seeds = [derive(11, i) for i in range(R)]
    together, acq, best, found = step(X, Y, observed, tuple(seeds))
    P = draw((5, R, q, 2), "P")
    values = acq(P)
    for i, count in enumerate(counts):
        alone, own, level, candidate = step(X[i, :count], Y[i, :count], None, seeds[i])
        assert_close(together.fit_report.value[i], alone.fit_report.value, 1e-7)
        assert_close(best[i], level, 1e-5)
        # the acquisition at equal hyperparameters
        same = bl.ExactGP(X[i, :count], Y[i, :count], bounds).with_hyperparameters(
            **{k: v[i] for k, v in together.hyperparameters().items()}
        )
        replica = type(own)(same, best[i], **_sampler(own))
        assert_close(replica(P[:, i]), values[:, i], 1e-8)
        assert_close(found.value[i], candidate.value, 1e-4)
        assert_close(found.x[i], candidate.x, 2e-3)


def _sampler(acq: object) -> dict:
    return {"sampler": acq.sampler} if hasattr(acq, "sampler") else {}


def test_a_search_of_a_replicate_is_the_same_in_a_batch_and_alone() -> None:
    """With the very same model, candidates agree much more closely than after separate fits."""
    counts = [8, 5, 2]
    X, Y, bounds, observed = ragged(3, 8, counts)
    model = bl.ExactGP(X, Y, bounds, observed=observed)
    model = model.with_hyperparameters(**hyperparameters(model, 2))
    best = bl.incumbent(model, X).value
    seeds = [derive(1, i) for i in range(3)]
    acq = bl.LogExpectedImprovement(model, best)
    found = bl.optimize_acqf(acq, bounds, num_restarts=4, raw_samples=64, seed=tuple(seeds))
    for i, count in enumerate(counts):
        alone = bl.ExactGP(X[i, :count], Y[i, :count], bounds).with_hyperparameters(
            **{k: v[i] for k, v in model.hyperparameters().items()}
        )
        own = bl.optimize_acqf(
            bl.LogExpectedImprovement(alone, best[i]),
            bounds,
            num_restarts=4,
            raw_samples=64,
            seed=seeds[i],
        )
        assert_close(found.value[i], own.value, 1e-8)
        assert_close(found.x[i], own.x, 1e-5)
        assert_close(found.report.start_values[:, i], own.report.start_values, 1e-8)


@few
@given(st.permutations(range(4)), st.integers(1, 2))
def test_permuting_replicates_permutes_results(order: list[int], m: int) -> None:
    X, Y, bounds, observed = ragged(4, 7, [7, 4, 3, 7], m)
    results = []
    for p in (list(range(4)), list(order)):
        model = bl.fit_mll(bl.ExactGP(X[p], Y[p], bounds, observed=observed[p]))
        acq = bl.qLogExpectedImprovement(
            model,
            0.3,
            sampler=bl.Sampler(16, seed=tuple(p)),
            objective=bl.weighted_sum(*[1.0] * m),
        )
        P = draw((3, 4, 2, 2), "P")[:, p]
        results.append((model.fit_report.value, acq(P).mT))
    for one, two in zip(*results, strict=True):
        assert_close(two, one[list(order)], 1e-6)


def test_replicate_axes_of_rank_two_are_those_of_rank_one_reshaped() -> None:
    X, Y, bounds = dataset(6, 2, 2, (2, 3))
    square = bl.fit_mll(bl.ExactGP(X, Y, bounds))
    flat = bl.fit_mll(bl.ExactGP(X.reshape(6, 6, 2), Y.reshape(6, 6, 2), bounds))
    assert_close(square.fit_report.value.reshape(6, 2), flat.fit_report.value, 1e-10)
    options = {"num_restarts": 3, "raw_samples": 32, "seed": 0}
    found = []
    for model, shape in ((square, (2, 3)), (flat, (6,))):
        acq = bl.qLogExpectedImprovement(model, torch.zeros(shape, dtype=F64))
        found.append(bl.optimize_acqf(acq, bounds.expand(*shape, 2, 2), 2, **options))
    assert_close(found[0].value.flatten(), found[1].value, 1e-7)
    assert_close(found[0].x.flatten(0, 1), found[1].x, 1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cpu_and_cuda_agree() -> None:
    X, Y, bounds = dataset(9, 2, 1, (3,))
    results = []
    for device in ("cpu", "cuda"):
        x, y, b = (v.to(device) for v in (X, Y, bounds))
        model = bl.ExactGP(x, y, b)
        model = model.with_hyperparameters(**hyperparameters(bl.ExactGP(X, Y, bounds)))
        P = draw((4, 3, 2, 2), "P").to(device)
        single, joint = (
            bl.LogExpectedImprovement(model, 0.5),
            bl.qLogExpectedImprovement(model, 0.5),
        )
        found = bl.optimize_acqf(single, b, num_restarts=4, raw_samples=64, seed=0)
        fitted = bl.fit_mll(bl.ExactGP(x, y, b)).fit_report.value
        assert found.x.device.type == device
        results.append([v.cpu() for v in (single(P[:, :, :1]), joint(P), found.value, fitted)])
    for one, two in zip(*results, strict=True):
        assert_close(one, two, 1e-8)


def test_box_helper_is_the_unit_cube() -> None:
    assert torch.equal(box(2), T([[0.0, 0.0], [1.0, 1.0]]))
