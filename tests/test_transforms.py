"""Transforms are exact inverses; standardisation sees observed rows only."""

from __future__ import annotations

import mpmath as mp
import pytest
import torch
from gpytorch.kernels import MaternKernel, RBFKernel
from hypothesis import given
from hypothesis import strategies as st
from oracles import F64, T, assert_close, box, draw, few, gp, surface
from scipy import stats

import bolearn as bl
from bolearn.linalg import gram
from bolearn.transforms import Standardize, UnitCube, inverse_kumaraswamy, kumaraswamy


@few
@given(st.integers(1, 4), st.floats(-9, 9), st.floats(-3, 3), st.integers(0, 2))
def test_encode_and_decode_are_inverses(d: int, power: float, shift: float, rank: int) -> None:
    r = (2, 3)[:rank]
    low = shift * 10**power + draw((*r, 1, d), "low")
    bounds = torch.cat([low, low + 10**power * (0.5 + draw((*r, 1, d), "width"))], dim=-2)
    cube = UnitCube(bounds)
    U = draw((5, *r, 4, d), "U") * 1.5
    assert_close(cube.encode(cube.decode(U)), U, 1e-6)
    assert_close(cube.encode(bounds), torch.cat([0 * low, 0 * low + 1], dim=-2), 1e-6)


@few
@given(st.integers(1, 9), st.floats(-9, 9), st.floats(-1e3, 1e3), st.integers(0, 5))
def test_standardised_outputs_have_mean_0_and_variance_1(
    n: int, power: float, shift: float, masked: int
) -> None:
    Y = (draw((2, n, 3), "Y", n) + shift) * 10**power
    observed = torch.ones(2, n + masked, dtype=torch.bool)
    observed[:, n:] = False
    padded = torch.cat([Y, torch.full((2, masked, 3), 1e30, dtype=F64)], dim=-2)
    fit = Standardize.fit(padded, observed)
    Z = fit.encode(Y)
    assert_close(Z.mean(-2), torch.zeros(2, 3, dtype=F64), 1e-6)
    if n > 1:
        assert_close(Z.std(-2), torch.ones(2, 3, dtype=F64), 1e-6)
    else:
        assert_close(fit.scale, torch.ones(2, 1, 3, dtype=F64))
    assert_close(fit.decode(Z) / 10**power, Y / 10**power, 1e-9)


@pytest.mark.parametrize("value", [0.0, 1e-12, 0.1, -1e12, 1e200])
def test_a_constant_output_has_scale_1(value: float) -> None:
    Y = torch.full((7, 1), value, dtype=F64)
    fit = Standardize.fit(Y, torch.ones(7, dtype=torch.bool))
    assert fit.scale.item() == 1
    assert_close(fit.shift.item() / (value or 1), 1.0 if value else 0.0, 1e-14)


def test_scales_near_the_ends_of_float64() -> None:
    for size in (1e-200, 1e200):
        Y = size * draw((6, 1), "extreme")
        fit = Standardize.fit(Y, torch.ones(6, dtype=torch.bool))
        assert_close(fit.encode(Y).std(), 1.0, 1e-9)


# -- warps of outputs ----------------------------------------------------------------------------

WARPS = [bl.LogWarp, bl.PowerWarp]


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize("r", [(), (2,), (2, 2)])
@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e9])
def test_output_warps_are_increasing_bijections(
    warp: type, r: tuple[int, ...], scale: float
) -> None:
    Y = scale * torch.exp(4 * draw((*r, 9, 2), "warp") - 1)
    fit = warp.fit(Y)
    more = scale * torch.linspace(0.2, 25, 50, dtype=F64).reshape(50, 1).expand(*r, 50, 2)
    for y in (Y, more):
        assert_close(fit.decode(fit.encode(y)) / y, torch.ones_like(y), 1e-12)
    assert bool((fit.encode(more).diff(dim=-2) > 0).all())
    leaf = more.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(fit.decode(fit.encode(leaf)).sum(), leaf)
    assert_close(slope, torch.ones_like(slope), 1e-9)


@pytest.mark.parametrize("power", [-1.0, -1e-9, 0.0, 1e-12, 0.5, 1.0, 2.0, 2 - 1e-10, 3.0])
def test_the_power_warp_is_scipys(power: float) -> None:
    u = torch.linspace(-4, 4, 33, dtype=F64).unsqueeze(-1)
    one = Standardize.identity(u)
    warp = bl.PowerWarp(T([[power]]), one)
    z = warp.encode(u)
    assert_close(z[:, 0], stats.yeojohnson(u[:, 0].numpy(), power), 1e-9)
    assert_close(warp.decode(z), u, 1e-12)
    leaf = u.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(warp.encode, leaf[:16]) and torch.isfinite(z).all()
    (slope,) = torch.autograd.grad(warp.encode(leaf).sum(), leaf)
    assert bool((slope > 0).all()) and slope[16].item() == pytest.approx(1.0)  # at u = 0


@pytest.mark.parametrize("skew", [0.3, 1.0])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_power_has_the_largest_likelihood(skew: float, sign: float) -> None:
    Y = sign * torch.exp(skew * bl.seeds.normal([1, 2], (60, 1)))  # two replicates
    warp = bl.PowerWarp.fit(Y)
    for i in range(2):
        u = ((Y[i] - Y[i].mean()) / Y[i].std())[:, 0].numpy()
        best = min(max(stats.yeojohnson_normmax(u), -1.0), 3.0)
        ours, theirs = (stats.yeojohnson_llf(p, u) for p in (warp.power[i].item(), best))
        assert ours >= theirs - 1e-9
        assert abs(warp.power[i].item() - best) < 1e-3
        before, after = abs(stats.skew(u)), abs(stats.skew(warp.encode(Y)[i, :, 0].numpy()))
        assert after < before


def test_warps_see_observed_rows_only_and_refuse_what_they_cannot_take() -> None:
    Y = torch.exp(2 * draw((2, 7, 1), "ragged"))
    seen = torch.ones(2, 9, dtype=torch.bool)
    seen[:, 7:] = False
    padded = torch.cat([Y, torch.full((2, 2, 1), -1e30, dtype=F64)], dim=-2)
    assert_close(bl.PowerWarp.fit(padded, seen).power, bl.PowerWarp.fit(Y).power, 1e-6)
    bl.LogWarp.fit(padded, seen)
    with pytest.raises(bl.DataError, match=r"positive outputs .* PowerWarp"):
        bl.LogWarp.fit(padded)
    with pytest.raises(bl.DataError, match="Y: expected finite"):
        bl.PowerWarp.fit(Y * torch.nan)
    for constant in (torch.full((5, 1), 3.0, dtype=F64), Y[0, :1]):
        warp = bl.PowerWarp.fit(constant)
        assert warp.power.item() == 1
        assert_close(warp.decode(warp.encode(constant)), constant, 1e-12)


def test_quantiles_of_a_warped_model_decode_and_means_do_not() -> None:
    """exp of a normal: its median is exp(mean), its mean is larger by exp(variance / 2)."""
    X = draw((6, 1), "X")
    Y = torch.exp(surface(X))
    warp = bl.LogWarp.fit(Y)
    belief = bl.ExactGP(X, warp.encode(Y), box(1)).posterior(draw((4, 1), "P").unsqueeze(-2))
    z = bl.Sampler(1 << 14, seed=0).base_samples((1, 1))
    draws = warp.decode(belief.rsample(z))
    middle = warp.decode(belief.mean)
    assert_close(draws.quantile(0.5, dim=0) / middle, torch.ones_like(middle), 1e-2)
    mean = middle * torch.exp(belief.variance / 2)
    assert_close(draws.mean(0) / mean, torch.ones_like(mean), 2e-2)


# -- warps of inputs -----------------------------------------------------------------------------


@few
@given(st.floats(0.2, 5), st.floats(0.2, 5))
def test_the_input_warp_is_an_increasing_bijection_of_the_interval(a: float, b: float) -> None:
    x = torch.cat([torch.logspace(-9, -1, 30, dtype=F64), torch.linspace(0.1, 0.9, 30, dtype=F64)])
    w = kumaraswamy(x, T(a), T(b))
    assert_close(w, 1 - (1 - x**a) ** b, 1e-12)
    assert bool((w.diff() >= 0).all())
    safe = w < 1 - 1e-3  # closer to 1 the digits of 1 - w are gone
    back = inverse_kumaraswamy(w, T(a), T(b))
    assert_close((back / x)[safe], torch.ones_like(x)[safe], 1e-11)
    outside = T([-0.3, 0.0, 1.0, 1.7])
    assert torch.equal(kumaraswamy(outside, T(a), T(b)), outside)
    ends = T([0.0, 1e-13, 0.5, 1.0]).requires_grad_(True)
    (slope,) = torch.autograd.grad(kumaraswamy(ends, T(a), T(b)).sum(), ends)
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("a", [0.05, 0.5, 1.0, 2.0, 20.0])
@pytest.mark.parametrize("b", [0.05, 1.0, 3.0, 20.0])
def test_the_input_warp_is_right_up_to_the_last_numbers_in_the_interval(a: float, b: float) -> None:
    for x in (1e-300, 1e-20, 1e-13, 1e-6, 0.3, 0.9, 1 - 1e-6, 1 - 1e-13, 1 - 2**-53):
        leaf = T(x).requires_grad_(True)
        w = kumaraswamy(leaf, T(a), T(b))
        (rate,) = torch.autograd.grad(w, leaf)
        with mp.workdps(700):
            p, q, t = mp.mpf(a), mp.mpf(b), mp.mpf(x) ** mp.mpf(a)
            value, slope = 1 - (1 - t) ** q, q * (1 - t) ** (q - 1) * p * t / mp.mpf(x)
            there = (1 - (1 - mp.mpf(w.item())) ** (1 / q)) ** (1 / p)
            assert abs(w.item() - value) <= 1e-13 * value + 1e-300
            assert abs(rate.item() - slope) <= 1e-12 * slope + 1e-290
            back = inverse_kumaraswamy(w.detach(), T(a), T(b)).item()
            assert abs(back - there) <= 1e-13 * there


def test_a_warped_kernel_is_the_kernel_at_warped_points() -> None:
    kernel = bl.WarpedKernel(MaternKernel(nu=2.5, ard_num_dims=2), d=2).double()
    kernel.a, kernel.b = T([[0.5, 2.0]]), T([[1.5, 0.7]])
    X, P = draw((5, 2), "X"), draw((3, 2), "P")
    by_hand = [1 - (1 - x ** kernel.a.detach()) ** kernel.b.detach() for x in (X, P)]
    assert_close(gram(kernel, X, P), gram(kernel.base_kernel, *by_hand), 1e-12)
    assert_close(kernel(X, diag=True), torch.ones(5, dtype=F64), 1e-12)
    with pytest.raises(bl.DataError, match="base: expected a gpytorch kernel"):
        bl.WarpedKernel(RBFKernel(batch_shape=torch.Size([2])), d=2)


def test_a_warped_model_learns_where_the_function_is_quick() -> None:
    """Replicates with the quick end left and right; each entry has its own warp."""
    X = torch.linspace(0.01, 0.99, 24, dtype=F64).reshape(24, 1)
    quick = torch.sin(14 * (1 - (1 - X) ** 3))
    X, Y = torch.stack([X, 1 - X]), torch.stack([quick, quick])
    plain = bl.fit_mll(bl.ExactGP(X, Y, box(1), kernel=RBFKernel()))
    model = bl.fit_mll(bl.ExactGP(X, Y, box(1), kernel=bl.WarpedKernel(RBFKernel(), d=1)))
    gain = bl.log_marginal_likelihood(model) - bl.log_marginal_likelihood(plain)
    assert bool((gain > 5).all()), gain
    values = model.hyperparameters()
    slope = {}
    for end in (0.05, 0.95):
        at = torch.full((2, 1), end, dtype=F64).requires_grad_(True)
        w = kumaraswamy(at, values["kernel.a"].reshape(2, 1), values["kernel.b"].reshape(2, 1))
        (slope[end],) = torch.autograd.grad(w.sum(), at)
    assert slope[0.05][0] > 2 * slope[0.95][0] and slope[0.95][1] > 2 * slope[0.05][1]
    grown = model.condition(X[:, :2] + 0.003, Y[:, :2])
    assert torch.isfinite(grown.posterior(X).covariance).all()


def test_an_unbent_warp_changes_nothing() -> None:
    plain = gp(7, 2, kernel=RBFKernel(ard_num_dims=2))
    warped = bl.ExactGP(
        plain.X, plain.Y, plain.bounds, kernel=bl.WarpedKernel(RBFKernel(ard_num_dims=2), d=2)
    )
    values = plain.hyperparameters()
    values["kernel.base_kernel.lengthscale"] = values.pop("lengthscale").unsqueeze(-2)
    warped = warped.with_hyperparameters(**values)
    P = 1.4 * draw((4, 2), "P") - 0.2
    assert_close(warped.posterior(P).covariance, plain.posterior(P).covariance, 1e-9)
