"""A Gaussian belief: moments, layout of the covariance, joint draws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import F64, assert_close, draw, few, gp

import bolearn as bl
from bolearn.sampling import Sampler


def belief(batch: tuple[int, ...], q: int, m: int) -> tuple[bl.GaussianPosterior, torch.Tensor]:
    A = draw((*batch, m, q, q), "A") - 0.5
    C = A @ A.mT + 0.1 * torch.eye(q, dtype=F64)
    return bl.GaussianPosterior.from_moments(draw((*batch, q, m), "mean"), C), C


@few
@given(st.lists(st.integers(1, 3), max_size=2), st.integers(1, 4), st.integers(1, 3))
def test_the_covariance_is_laid_out_points_outermost(batch: list[int], q: int, m: int) -> None:
    posterior, C = belief(tuple(batch), q, m)
    full = posterior.covariance.reshape(*batch, q, m, q, m)
    for i in range(m):
        for j in range(m):
            block = full[..., :, i, :, j]
            assert_close(block, C[..., i, :, :] if i == j else 0 * block)
    assert_close(
        posterior.variance,
        full.flatten(-4, -3).flatten(-2).diagonal(dim1=-2, dim2=-1).unflatten(-1, (q, m)),
    )
    assert posterior.event_shape == (q, m) and posterior.batch_shape == torch.Size(batch)


@few
@given(st.lists(st.integers(1, 3), max_size=2), st.integers(1, 4), st.integers(1, 3))
def test_draws_are_the_mean_plus_a_factor_times_z(batch: list[int], q: int, m: int) -> None:
    posterior, _ = belief(tuple(batch), q, m)
    unit = torch.eye(q * m, dtype=F64).reshape(q * m, *(1,) * len(batch), q, m)
    steps = posterior.rsample(unit) - posterior.mean  # the columns of the factor
    L = steps.flatten(-2).movedim(0, -1)
    assert_close(L @ L.mT, posterior.covariance, 1e-10)
    assert_close(posterior.rsample(0 * unit)[0], posterior.mean, 1e-14)


def test_sobol_draws_have_the_posteriors_moments() -> None:
    posterior, _ = belief((2,), 3, 2)
    s = 1 << 14
    y = posterior.rsample(Sampler(s, seed=0).base_samples((3, 2), (2,))).flatten(-2)
    centred = y - y.mean(0)
    moments = torch.einsum("sbi,sbj->bij", centred, centred) / s
    error = posterior.variance.flatten(-2).sqrt() / s**0.5
    assert bool(((y.mean(0) - posterior.mean.flatten(-2)).abs() < 4 * error).all())
    sd = posterior.variance.flatten(-2).sqrt()
    spread = 4 * 2**0.5 * sd.unsqueeze(-1) * sd.unsqueeze(-2) / s**0.5
    assert bool(((moments - posterior.covariance).abs() < spread).all())


def test_base_samples_of_the_wrong_shape() -> None:
    posterior, _ = belief((), 3, 2)
    with pytest.raises(bl.ShapeError, match=r"z: expected shape s \*b 3 2, got \(5, 2, 3\)"):
        posterior.rsample(torch.zeros(5, 2, 3, dtype=F64))


@pytest.mark.parametrize("noise_var", [1e-4, 1e-8, 1e-12, 1e-18])
def test_joint_draws_at_known_and_equal_points(noise_var: float) -> None:
    model = gp(8, 2, noise_var=noise_var)
    X = model.X[:4].unsqueeze(-2).repeat(1, 3, 1).requires_grad_(True)
    y = model.posterior(X).rsample(Sampler(64, seed=0).base_samples((3, 1)))
    assert torch.isfinite(y).all()
    sd = model.output_scale.item() * max(noise_var**0.5, 1e-4)
    spread = (y - model.posterior(X).mean).abs().amax()
    assert spread < 6 * sd, "jitter must not drown a belief that is certain"
    (slope,) = torch.autograd.grad(y.sum(), X)
    assert torch.isfinite(slope).all()
