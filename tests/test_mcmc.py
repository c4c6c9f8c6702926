"""The no-U-turn sampler against targets with known moments; its diagnostics against theory."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import F64, T, assert_close, draw
from scipy import stats

import bolearn as bl
from bolearn import seeds
from bolearn.convergence import effective_sample_size, split_r_hat
from bolearn.mcmc import Chains, nuts

Pair = tuple[torch.Tensor, torch.Tensor]

MEANS = T([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
COVARIANCE = T([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 25.0]])


def gaussians(chains: int):
    """Two normal targets with one covariance; rows are target * chains + chain."""
    precision = torch.linalg.inv(COVARIANCE)

    def target(q: torch.Tensor, rows: torch.Tensor) -> Pair:
        gap = q - MEANS[rows // chains]
        return -0.5 * torch.einsum("ki,ij,kj->k", gap, precision, gap), -gap @ precision

    return target


def banana(q: torch.Tensor, rows: torch.Tensor) -> Pair:
    """x ~ N(0, 1), (y - x^2) / 0.7 ~ N(0, 1)."""
    x, y = q.unbind(-1)
    r = (y - x * x) / 0.7
    return -0.5 * (x * x + r * r), torch.stack([2 * x * r / 0.7 - x, -r / 0.7], dim=-1)


def within_errors(chains: Chains, values: torch.Tensor, exact: torch.Tensor) -> None:
    """Averages of ``values`` (``*g c t k``) lie within 5 standard errors of the exact ones."""
    flat = values.flatten(-3, -2)
    error = flat.std(-2) / effective_sample_size(values).sqrt()
    z = (flat.mean(-2) - exact) / error
    assert bool((z.abs() < 5).all()), f"{z}"
    assert bool((error < 0.12 * flat.std(-2)).all()), "too few draws to tell anything"


def test_moments_of_two_normal_targets() -> None:
    chains = nuts(gaussians(4), torch.zeros(2, 4, 3, dtype=F64), num_samples=120, warmup=60, seed=1)
    assert chains.draws.shape == (2, 4, 120, 3)
    gap = chains.draws - MEANS.view(2, 1, 1, 3)
    within_errors(chains, chains.draws, MEANS)
    products = torch.einsum("gcti,gctj->gctij", gap, gap).flatten(-2)
    within_errors(chains, products, COVARIANCE.flatten().expand(2, 9))
    report = chains.report
    assert bool((report.r_hat < 1.03).all()) and int(report.divergences.sum()) == 0
    assert bool(((report.acceptance > 0.6) & (report.acceptance < 0.99)).all())
    # More than independent draws would be suspicious only if it were much more.
    assert bool((report.ess > 100).all())
    assert report.evaluations <= report.points <= 8 * report.evaluations


def test_moments_of_a_bent_target() -> None:
    def bent(q: torch.Tensor, rows: torch.Tensor) -> Pair:
        """x ~ N(0, 1), y - x^2 / 2 ~ N(0, 1)."""
        x, y = q.unbind(-1)
        r = y - 0.5 * x * x
        return -0.5 * (x * x + r * r), torch.stack([x * r - x, -r], dim=-1)

    start = 2 * draw((8, 2), "start") - 1
    chains = nuts(bent, start, num_samples=250, warmup=150, target_accept=0.9, seed=0)
    x, y = chains.draws.unbind(-1)
    values = torch.stack([x, y, x * x, y * y, x * y, x * x * y], dim=-1)
    # E y = 1/2, E y^2 = E x^4 / 4 + 1 = 7/4, E x y = 0, E x^2 y = E x^4 / 2 = 3/2
    within_errors(chains, values, T([0.0, 0.5, 1.0, 1.75, 0.0, 1.5]))


def test_transitions_leave_the_target_as_it_is() -> None:
    # Chains that start as exact, independent draws stay that: an exact test of every transition,
    # whatever the steps and the masses. x and the residual are independent standard normals.
    N = 6000
    z = seeds.normal([5], (N, 2))[0]
    start = torch.stack([z[:, 0], z[:, 0] ** 2 + 0.7 * z[:, 1]], dim=-1)
    for depth, accept in ((1, 0.5), (5, 0.3)):  # long steps: large errors of the energy
        chains = nuts(
            banana,
            start,
            num_samples=4,
            warmup=20,
            max_depth=depth,
            target_accept=accept,
            seed=3,
        )
        x, y = chains.draws[:, -1].unbind(-1)
        r = (y - x * x) / 0.7
        moved = (chains.draws[:, -1] != start).any(-1).double().mean()
        assert moved > 0.9
        for value in (x, r):
            assert stats.kstest(value.numpy(), "norm").pvalue > 1e-4
        for product in (x * x - 1, r * r - 1, x * r, x * x * r, x * r * r, x * x * r * r - 1):
            assert abs(product.mean()) < 5 * product.std() / math.sqrt(N)


def test_heavy_tails() -> None:
    # log of a half-Cauchy variable: density 1 / (pi cosh t), P(t > u) = 1 - 2 atan(e^u) / pi
    def target(q: torch.Tensor, rows: torch.Tensor) -> Pair:
        return -torch.logaddexp(q, -q).sum(-1), -q.tanh()

    chains = nuts(target, torch.zeros(8, 2, dtype=F64), num_samples=150, warmup=100, seed=0)
    levels = T([-3.0, -1.0, 0.0, 1.0, 3.0])
    above = (chains.draws[..., :1] > levels).double()
    within_errors(chains, above, 1 - 2 / math.pi * levels.exp().atan())


def test_walls_are_divergences_and_are_respected() -> None:
    def half_normal(q: torch.Tensor, rows: torch.Tensor) -> Pair:
        value = torch.where(q[:, 0] < 0, torch.nan, -0.5 * q[:, 0].square())
        return value, -q

    chains = nuts(half_normal, torch.ones(4, 1, dtype=F64), num_samples=200, warmup=100, seed=0)
    assert bool((chains.draws >= 0).all())
    assert int(chains.report.divergences.sum()) > 0
    within_errors(chains, chains.draws, T([math.sqrt(2 / math.pi)]))


def test_a_target_in_a_batch_is_the_target_alone() -> None:
    start = torch.zeros(2, 3, 3, dtype=F64)
    options = {"num_samples": 4, "warmup": 20, "thinning": 2}
    together = nuts(gaussians(3), start, seed=7, **options)
    again = nuts(gaussians(3), start, seed=7, **options)
    assert torch.equal(together.draws, again.draws)

    def second(q: torch.Tensor, rows: torch.Tensor) -> Pair:
        return gaussians(3)(q, rows + 3)

    alone = nuts(second, start[1], seed=seeds.derive(7, 1), **options)
    assert_close(together.draws[1], alone.draws, 1e-6)
    assert_close(together.report.step_size[1], alone.report.step_size, 1e-6)
    other = nuts(second, start[1], seed=8, **options)
    assert not torch.equal(other.draws, alone.draws)


def test_global_random_state_is_untouched() -> None:
    before = torch.get_rng_state()
    nuts(banana, torch.zeros(2, 2, dtype=F64), num_samples=4, warmup=20, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_effective_sample_size_of_autoregressions() -> None:
    c, t = 4, 4000
    noise = seeds.normal(range(c), (t, 3))
    phi = T([0.0, 0.6, -0.5])
    x = torch.zeros_like(noise)
    x[:, 0] = noise[:, 0] / (1 - phi.square()).sqrt()
    for i in range(1, t):
        x[:, i] = phi * x[:, i - 1] + noise[:, i]
    expected = c * t * (1 - phi) / (1 + phi)
    ratio = effective_sample_size(x) / expected
    assert bool(((ratio > 0.85) & (ratio < 1.15)).all()), f"{ratio}"
    assert bool((split_r_hat(x) < 1.01).all())


def test_r_hat_sees_chains_that_disagree() -> None:
    x = seeds.normal(range(4), (500, 1))
    assert split_r_hat(x).item() < 1.01
    scales = T([1.0, 1.0, 1.0, 4.0]).view(4, 1, 1)
    drift = torch.linspace(-1, 1, 500, dtype=F64).view(1, 500, 1)
    assert split_r_hat(x + scales).item() > 1.1  # one chain elsewhere
    assert split_r_hat(x * scales).item() > 1.1  # one chain wider
    assert split_r_hat(x + drift).item() > 1.1  # all of them under way
    # Ranks: heavy tails and monotone maps change nothing.
    assert_close(split_r_hat(x.exp() + 7)[0], split_r_hat(x)[0], 0.02)
    assert_close(effective_sample_size(x.sinh()), effective_sample_size(x))


def test_bad_input() -> None:
    start = torch.zeros(2, 2, dtype=F64)

    def nowhere(q: torch.Tensor, rows: torch.Tensor) -> Pair:
        return torch.full_like(q[:, 0], -torch.inf), torch.zeros_like(q)

    with pytest.raises(bl.NumericsError, match="start the chains elsewhere"):
        nuts(nowhere, start, num_samples=4, seed=0)
    with pytest.raises(bl.DataError, match="warmup"):
        nuts(banana, start, num_samples=4, warmup=5, seed=0)
    with pytest.raises(bl.DataError, match="num_samples"):
        nuts(banana, start, num_samples=0, seed=0)
    with pytest.raises(bl.DataError, match="finite"):
        nuts(banana, start / 0, num_samples=4, seed=0)
    with pytest.raises(bl.ShapeError, match="at least 4 draws"):
        split_r_hat(torch.zeros(2, 3, 1, dtype=F64))
