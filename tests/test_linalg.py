"""Kernel matrices through the single door, and Cholesky factors with no more jitter than needed."""

from __future__ import annotations

import math
import warnings

import gpytorch
import pytest
import torch
from gpytorch.kernels import LinearKernel, MaternKernel, RBFKernel, ScaleKernel
from hypothesis import given
from hypothesis import strategies as st
from oracles import F64, T, assert_close, draw, few

import bolearn as bl
from bolearn.linalg import (
    Stationary,
    correlation,
    correlation_reference,
    extend_cholesky,
    gram,
    psd_cholesky,
    squared_distances,
    stationary_gram,
)


@few
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.sampled_from([0.0, 1e6]))
def test_squared_distances(p: int, n: int, d: int, shift: float) -> None:
    x, z = draw((2, p, d), "x", p) + shift, draw((2, n, d), "z", n) + shift
    ours = squared_distances(x, z)
    exact = (x.unsqueeze(-2) - z.unsqueeze(-3)).square().sum(-1)
    assert_close(ours, exact, 1e-12)
    assert bool((ours >= 0).all())


def test_gram_does_not_skip_active_dims() -> None:
    X = draw((5, 3), "gram")
    kernel = ScaleKernel(RBFKernel(active_dims=[2])).double()
    narrow = ScaleKernel(RBFKernel()).double()
    assert_close(gram(kernel, X), gram(narrow, X[:, 2:]), 1e-14)
    assert_close(gram(kernel, X, X[:2]), gram(kernel, X)[:, :2], 1e-14)


def test_gram_of_a_sum_is_the_sum_of_grams() -> None:
    # gpytorch's own sum with a linear kernel factorises the rest, and warns of equal points.
    X = draw((4, 2), "sum").repeat(2, 1)
    rough, line, waves = (k.double() for k in (MaternKernel(nu=1.5), LinearKernel(), RBFKernel()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        total = gram(ScaleKernel(rough * waves + line).double(), X)
    parts = gram(rough, X) * gram(waves, X) + gram(line, X)
    assert_close(total, math.log(2) * parts, 1e-14)


def test_gram_is_differentiable_and_batched() -> None:
    X = draw((4, 5, 2), "batch").requires_grad_(True)
    kernel = MaternKernel(nu=2.5, ard_num_dims=2, batch_shape=torch.Size([4])).double()
    kernel.lengthscale = 0.2 + draw((4, 1, 2), "ell")
    K = gram(kernel, X)
    for i in range(4):
        single = MaternKernel(nu=2.5, ard_num_dims=2).double()
        single.lengthscale = kernel.lengthscale[i].detach()
        assert_close(K[i], gram(single, X[i]), 1e-13)
    K.sum().backward()
    assert torch.isfinite(X.grad).all()


def test_a_sound_matrix_is_factorised_as_it_is() -> None:
    A = T([[2.0, 0.5], [0.5, 1.0]])
    factor = psd_cholesky(A)
    assert torch.equal(factor.L, torch.linalg.cholesky(A))
    assert factor.jitter.item() == 0


@few
@given(st.integers(2, 12), st.floats(-6, 6))
def test_singular_matrices_get_the_jitter_that_is_reported(n: int, power: float) -> None:
    B = draw((n, 1), "rank one", n) * 10**power
    good = 10 ** (2 * power) * torch.eye(n, dtype=F64)
    A = torch.stack([B @ B.mT, good])
    factor = psd_cholesky(A)
    assert factor.jitter[1].item() == 0  # a neighbour's trouble is not contagious
    assert 0 <= factor.jitter[0].item() <= 1e-6
    scale = A.diagonal(dim1=-2, dim2=-1).mean(-1)
    mended = A + (factor.jitter * scale)[:, None, None] * torch.eye(n, dtype=F64)
    assert_close(factor.L @ factor.L.mT / scale[:, None, None], mended / scale[:, None, None])


def test_a_wrong_matrix_is_refused_with_the_closest_points() -> None:
    A = T([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    points = T([[0.0, 0.0], [0.3, 0.4], [5.0, 5.0]])
    with pytest.raises(bl.NumericsError, match=r"rows 0 and 1, 0\.5 apart"):
        psd_cholesky(A, points)
    with pytest.raises(bl.NumericsError, match="NaN or infinite"):
        psd_cholesky(A * torch.nan)


def test_a_difference_that_is_only_rounding_counts_relative_to_what_was_subtracted() -> None:
    noise = 1e-16 * (draw((4, 4), "rounding") - 0.5)
    A = noise + noise.mT
    with pytest.raises(bl.NumericsError):
        psd_cholesky(A)
    L = psd_cholesky(A, floor=T(1.0)).L
    assert torch.isfinite(L).all() and L.abs().max() <= 1e-4


def test_gradients_pass_through_the_factor() -> None:
    B = draw((3, 3), "chol").requires_grad_(True)

    def f(B: torch.Tensor) -> torch.Tensor:
        return psd_cholesky(B @ B.mT + torch.eye(3, dtype=F64)).L

    assert torch.autograd.gradcheck(f, B)


def test_gpytorchs_settings_are_left_alone() -> None:
    before = gpytorch.settings.lazily_evaluate_kernels.on()
    gram(RBFKernel().double(), draw((2, 1), "s"))
    assert gpytorch.settings.lazily_evaluate_kernels.on() == before


@few
@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 2))
def test_an_extended_factor_is_the_factor_of_the_larger_matrix(n: int, p: int, rank: int) -> None:
    r = (2, 3)[:rank]
    B = draw((*r, n + p, n + p), "extend", n, p) - 0.5
    A = B @ B.mT + 0.1 * torch.eye(n + p, dtype=F64)
    old = torch.linalg.cholesky(A[..., :n, :n])
    grown = extend_cholesky(torch.linalg.inv(old), A[..., n:, :n], A[..., n:, n:])
    L = torch.linalg.cholesky(A)
    assert_close(grown.cross, L[..., n:, :n], 1e-10)
    assert_close(grown.corner, L[..., n:, n:], 1e-10)
    assert_close(grown.inverse, torch.linalg.inv(L), 1e-9)
    assert not grown.failed.any()


def test_an_extension_that_is_not_positive_definite_is_reported() -> None:
    inverse = torch.eye(2, dtype=F64).expand(2, 2, 2)
    cross = T([[[0.5, 0.0]], [[2.0, 0.0]]])
    found = extend_cholesky(inverse, cross, torch.ones(2, 1, 1, dtype=F64))
    assert found.failed.tolist() == [False, True]


@pytest.mark.parametrize("kind", ["rbf", "matern52", "matern32"])
def test_correlations_by_definition_have_two_derivatives(kind: str) -> None:
    """H = -2 dk/dr^2 everywhere; at equal points the Hessian is -H(0) I over lengthscales."""
    r2 = torch.cat([T([0.0]), torch.logspace(-12, 2, 40, dtype=F64)]).requires_grad_(True)
    k = correlation_reference(kind, r2)
    (slope,) = torch.autograd.grad(k.sum(), r2)
    fast, h = correlation(kind, r2.detach().clone())
    assert_close(k, fast, 1e-14)
    assert_close(-2 * slope, h, 1e-7)
    ell = T([0.5, 2.0])
    z, near = T([[0.3, 0.4]]), T([0.3, 0.4]).requires_grad_(True)

    def value(x: torch.Tensor) -> torch.Tensor:
        return stationary_gram(Stationary(kind, ell, None), x.unsqueeze(0), z).sum()

    hessian = torch.autograd.functional.hessian(value, near)
    h0 = {"rbf": 1.0, "matern52": 5 / 3, "matern32": 3.0}[kind]
    assert_close(hessian, torch.diag(-h0 / ell.square()), 1e-12)
    away = T([0.9, -0.2]).requires_grad_(True)
    assert torch.autograd.gradgradcheck(value, away)


def test_the_plain_kernel_by_definition_is_gpytorchs() -> None:
    A, B = draw((3, 4, 2), "A"), draw((3, 5, 2), "B")
    for base in (RBFKernel(ard_num_dims=2), MaternKernel(nu=2.5), MaternKernel(nu=1.5)):
        kernel = ScaleKernel(base).double()
        kernel.outputscale = 1.7
        plain = Stationary.of(kernel, 2)
        assert plain is not None
        assert_close(stationary_gram(plain, A, B), gram(kernel, A, B), 1e-12)


def test_a_kernel_that_sees_some_columns_only_is_not_plain() -> None:
    some = RBFKernel(active_dims=[0])
    for kernel in (some, ScaleKernel(some), ScaleKernel(RBFKernel(), active_dims=[0])):
        assert Stationary.of(kernel.double(), 2) is None
