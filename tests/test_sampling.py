"""Sobol designs and base samples: BoTorch's where comparable, balanced, one stream a replicate."""

from __future__ import annotations

import pytest
import torch
from botorch.posteriors import GPyTorchPosterior
from botorch.sampling.normal import SobolQMCNormalSampler
from gpytorch.distributions import MultivariateNormal
from hypothesis import given
from hypothesis import strategies as st
from oracles import F64, assert_close, box, draw, few

import bolearn as bl
from bolearn import seeds
from bolearn.sampling import Sampler, shifted_sobol, sobol_points


def theirs(s: int, q: int, seed: int) -> torch.Tensor:
    sampler = SobolQMCNormalSampler(torch.Size([s]), seed=seed)
    zero = MultivariateNormal(torch.zeros(q, dtype=F64), torch.eye(q, dtype=F64))
    sampler(GPyTorchPosterior(zero))
    return sampler.base_samples


@pytest.mark.parametrize("q", [1, 2, 5])
@pytest.mark.parametrize("seed", [0, 1234])
def test_sobol_base_samples_are_botorchs(q: int, seed: int) -> None:
    ours = Sampler(64, seed=seed).base_samples((q, 1))
    assert_close(ours, theirs(64, q, seed).reshape(64, q, 1), 1e-9)


@few
@given(st.sampled_from(["sobol", "iid"]), st.integers(0, 99), st.integers(1, 3))
def test_a_replicate_draws_what_it_draws_alone(kind: str, seed: int, R: int) -> None:
    z = Sampler(16, seed=seed, kind=kind).base_samples((2, 1), (R,))
    for i in range(R):
        alone = Sampler(16, seed=seeds.derive(seed, i), kind=kind).base_samples((2, 1))
        assert torch.equal(z[:, i], alone)
    assert all(not torch.equal(z[:, i], z[:, j]) for i in range(R) for j in range(i))


def test_errors_of_replicates_are_independent() -> None:
    z = Sampler(32, seed=3).base_samples((1, 1), (400,)).mean(0).flatten()
    pairs = torch.corrcoef(torch.stack([z[::2], z[1::2]]))[0, 1]
    assert abs(pairs.item()) < 4 / 200**0.5
    assert z.std() < 0.5 / 32**0.5  # and smaller than those of independent draws


@few
@given(st.integers(0, 99), st.integers(1, 3), st.sampled_from([2, 8, 64]))
def test_shifted_sobol_is_a_net(seed: int, d: int, n: int) -> None:
    u = shifted_sobol([seeds.derive(seed, i) for i in range(3)], n, d)
    assert u.shape == (3, n, d) and bool((u > 0).all()) and bool((u < 1).all())
    assert bool((u * 2**31 % 2 == 1).all())  # middles of cells of width 2**-30: never 0 or 1
    cells = (u * n).long().sort(dim=1).values  # one point in each of n slices of every axis
    assert torch.equal(cells, torch.arange(n)[None, :, None].expand_as(cells))


def test_shifted_sobol_is_uniform_and_replicates_differ() -> None:
    u = shifted_sobol(range(4000), 4, 2)
    for k in range(4):
        one = u[:, k].flatten().sort().values
        uniform = (torch.arange(len(one), dtype=F64) + 0.5) / len(one)
        assert (one - uniform).abs().max() < 2.2 / len(one) ** 0.5  # Kolmogorov, p < 1e-4
    assert len(u[:, 0, 0].unique()) > 3990
    assert abs(torch.corrcoef(u[:, 0].T)[0, 1].item()) < 4 / 4000**0.5
    again = shifted_sobol(range(7, 9), 4, 2)
    assert torch.equal(again, u[7:9])


@few
@given(st.integers(1, 20), st.integers(1, 4), st.integers(0, 99), st.integers(1, 3))
def test_designs_lie_in_the_box_and_replicates_are_their_own(
    n: int, d: int, seed: int, R: int
) -> None:
    bounds = torch.cat([-3 - draw((1, d), "lo"), 5 + draw((1, d), "hi")])
    X = sobol_points(bounds, n=n, seed=seed, replicates=R)
    assert X.shape == (R, n, d)
    assert bool((bounds[0] <= X).all()) and bool((bounds[1] >= X).all())
    for i in range(R):
        assert torch.equal(X[i], sobol_points(bounds, n=n, seed=seeds.derive(seed, i)))
    boxes = bounds.expand(R, 2, d) * (1 + torch.arange(R, dtype=F64))[:, None, None]
    assert_close(
        sobol_points(boxes, n=n, seed=seed), X * (1 + torch.arange(R, dtype=F64))[:, None, None]
    )


def test_a_design_in_a_box_is_the_design_in_the_unit_cube_stretched() -> None:
    bounds = torch.tensor([[-3.0, 10.0], [-1.0, 15.0]], dtype=F64)
    X, unit = (sobol_points(b, n=64, seed=4) for b in (bounds, box(2)))
    assert_close(X, torch.tensor([-3.0, 10.0], dtype=F64) + torch.tensor([2.0, 5.0]) * unit, 1e-14)


def test_designs_of_a_power_of_two_are_balanced() -> None:
    X = sobol_points(box(3), n=32, seed=11)
    assert torch.equal((X * 32).long().sort(dim=0).values[:, 1], torch.arange(32))


def test_a_sobol_point_at_zero_is_no_infinite_normal() -> None:
    """A sequence that has a point at exactly 0, where the inverse distribution is infinite."""
    from torch.quasirandom import SobolEngine

    sequence = SobolEngine(1, scramble=True, seed=85).draw(1 << 18, dtype=F64)
    assert bool((sequence == 0).any())
    z = Sampler(1 << 18, seed=85).base_samples((1,))
    assert bool(torch.isfinite(z).all()) and z.min() < -8  # as far out as its neighbours suggest
    assert abs(z.mean().item()) < 1e-4


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(bl.DataError, match=r"replicates: .*\(2,\), got replicates=3"):
        sobol_points(box(1).expand(2, 2, 1), n=2, seed=0, replicates=3)
    with pytest.raises(bl.DataError, match=r"21201 dimensions.*kind='iid'"):
        Sampler(2, seed=0).base_samples((21202, 1))
    assert Sampler(2, seed=0, kind="iid").base_samples((21202, 1)).shape == (2, 21202, 1)
    with pytest.raises(bl.DataError, match="'latin'"):
        Sampler(2, seed=0, kind="latin")
