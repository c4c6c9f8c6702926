"""Log-space primitives against 60-digit arithmetic and BoTorch."""

from __future__ import annotations

import math

import botorch.utils.safe_math as safe
import mpmath as mp
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from oracles import F64, T, assert_close, draw, few

import bolearn as bl
from bolearn.acquisition.constrained import log_probability_between
from bolearn.numerics import (
    fatmax,
    log1mexp,
    log_fatplus,
    log_fatstep,
    log_h,
    log_h_and_slope,
    log_h_reference,
    log_ndtr,
    log_ndtr_between,
    logmeanexp,
)

EDGES = [1e3, 40.0, 10.001, 9.999, 2.0, 0.5, 0.0, -0.999, -1.001, -8.0, -59.99, -60.01, -1e3, -1e8]


def exact_h(u: float) -> tuple[mp.mpf, mp.mpf]:
    """log h(u) and its slope, with enough digits to survive the cancellation."""
    with mp.workdps(80):
        if u > -1e4:
            x = mp.mpf(u)
            density = mp.npdf(x)
            tail = mp.erfc(-x / mp.sqrt(2)) / 2
            h = density + x * tail
            return mp.log(h), tail / h
        v = -mp.mpf(u)  # Mills' ratio as a continued asymptotic series
        w = 1 / v**2
        h = w * (1 - 3 * w + 15 * w**2 - 105 * w**3)
        phi = -(v**2) / 2 - mp.log(2 * mp.pi) / 2
        return phi + mp.log(h), (1 / v) * (1 - w + 3 * w**2 - 15 * w**3) / h


def check_log_h(u: float) -> None:
    value, slope = exact_h(u)
    leaf = T(u).requires_grad_(True)
    got = log_h(leaf)
    (rate,) = torch.autograd.grad(got, leaf)
    scale = max(1.0, abs(value))
    assert abs(mp.mpf(got.item()) - value) <= 2e-13 * scale, (u, got.item(), value)
    assert abs(mp.mpf(rate.item()) / slope - 1) <= 1e-11, (u, rate.item(), slope)


@pytest.mark.parametrize("u", EDGES)
def test_log_h_where_formulas_meet(u: float) -> None:
    check_log_h(u)


@few
@given(st.floats(-8, 8), st.sampled_from([-1, 1]))
def test_log_h_over_sixteen_decades(power: float, sign: int) -> None:
    check_log_h(min(sign * 10**power, 1e3))


def test_log_h_is_finite_with_a_slope_at_minus_1e100() -> None:
    u = T(-1e100).requires_grad_(True)
    value = log_h(u)
    (slope,) = torch.autograd.grad(value, u)
    assert_close(value / -5e199, T(1.0), 1e-12)
    assert_close(slope / 1e100, T(1.0), 1e-12)


def test_log_h_is_increasing_across_its_branches() -> None:
    u = torch.linspace(-70, 15, 20001, dtype=F64)
    assert bool((log_h(u).diff() > 0).all())


def test_log_h_is_the_same_beside_values_far_out() -> None:
    """Where nothing is far out, a shorter form is evaluated."""
    u = torch.linspace(-60, 10, 701, dtype=F64)
    for short, long in zip(
        log_h_and_slope(u), log_h_and_slope(torch.cat([u, T([-1e3, torch.nan])])), strict=True
    ):
        assert torch.isnan(long[-1])
        assert_close(short, long[:-2], 1e-14)
    assert log_h(u[:0]).shape == (0,)


def test_log_h_equals_the_book_where_the_book_is_right() -> None:
    u = torch.linspace(-4, 20, 97, dtype=F64)
    assert_close(log_h(u), log_h_reference(u), 1e-9)


@pytest.mark.parametrize("u", [30.0, 9.9, 0.0, -1.0, -30.0, -59.0, -61.0, -1e4, -1e8])
def test_second_derivative_of_log_h(u: float) -> None:
    with mp.workdps(80):
        slope = exact_h(u)[1]
        ratio = mp.mpf(0)
        if u > -1e4:
            x = mp.mpf(u)
            ratio = mp.npdf(x) / (mp.npdf(x) + x * mp.erfc(-x / mp.sqrt(2)) / 2)
            curvature = ratio - slope**2
        else:
            curvature = -1 + 2 / mp.mpf(u) ** 2
    leaf = T(u).requires_grad_(True)
    (first,) = torch.autograd.grad(log_h(leaf), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first, leaf)
    assert abs(mp.mpf(first.item()) / slope - 1) < 1e-11
    assert abs(second.item() - curvature) < 1e-8


def test_log_h_passes_gradcheck_twice() -> None:
    u = T([5.0, 0.3, -0.7, -3.0, -20.0, -55.0]).requires_grad_(True)
    assert torch.autograd.gradcheck(log_h, u)
    assert torch.autograd.gradgradcheck(log_h, u)


def exact_ndtr(u: float) -> tuple[mp.mpf, mp.mpf, mp.mpf]:
    """log Phi(u) with its first and second derivative."""
    with mp.workdps(80):
        x = mp.mpf(u)
        if u > -1e4:
            tail = mp.erfc(abs(x) / mp.sqrt(2)) / 2
            value = mp.log1p(-tail) if u > 0 else mp.log(tail)
            slope = mp.npdf(x) / (1 - tail if u > 0 else tail)
        else:  # Mills' ratio as a continued asymptotic series
            w = 1 / x**2
            series = 1 - w + 3 * w**2 - 15 * w**3 + 105 * w**4
            value = -(x**2) / 2 - mp.log(2 * mp.pi) / 2 - mp.log(-x) + mp.log(series)
            slope = -x / series
        return value, slope, -slope * (x + slope)


@pytest.mark.parametrize(
    "u", [1e3, 38.0, 10.0, 3.0, 0.5, 0.0, -1.0, -5.0, -30.0, -59.99, -60.01, -1e3, -1e5, -1e8]
)
def test_log_ndtr_and_its_derivatives(u: float) -> None:
    value, slope, curvature = exact_ndtr(u)
    leaf = T(u).requires_grad_(True)
    got = log_ndtr(leaf)
    (first,) = torch.autograd.grad(got, leaf, create_graph=True)
    (second,) = torch.autograd.grad(first, leaf)
    assert abs(got.item() - value) <= 1e-14 * abs(value) + 1e-16
    assert abs(first.item() - slope) <= 1e-13 * abs(slope) + 1e-300
    assert abs(second.item() - curvature) <= 1e-11 * abs(curvature) + 1e-300


@few
@given(st.floats(-300, 300), st.floats(1e-3, 30))
def test_log_ndtr_between(low: float, width: float) -> None:
    high = low + width
    with mp.workdps(400):
        a, b = sorted((abs(mp.mpf(low)), abs(mp.mpf(high))))
        tails = [mp.erfc(v / mp.sqrt(2)) / 2 for v in (a, b)]
        inside = tails[0] - tails[1] if low * high > 0 else 1 - tails[0] - tails[1]
        value = mp.log(inside)
        slope = mp.npdf(mp.mpf(high)) / inside
    leaf = T(high).requires_grad_(True)
    got = log_ndtr_between(T(low), leaf)
    (rate,) = torch.autograd.grad(got, leaf)
    assert abs(got.item() - value) <= 1e-11 * max(1, abs(value))
    assert abs(rate.item() - slope) <= 1e-9 * abs(slope) + 1e-300


def test_log_ndtr_between_refuses_swapped_limits() -> None:
    with pytest.raises(bl.DataError, match="low < high"):
        log_ndtr_between(T(1.0), T(1.0))
    with pytest.raises(bl.DataError, match="low < high"):
        log_ndtr_between(T([0.0, 1.0]), T([1.0, 1.0]))


@few
@example(0.3, 1.0, 0.0, 0.049)  # as wide as the integral by three points may get
@example(-1.0, 1.0, 1.0, 0.049)
@example(0.0, 1.0, 0.0, 1e-3)
@given(
    st.sampled_from([0.0, 0.3, 1.0, -1.0, 5.0, -30.0, 200.0, 1e4]),
    st.sampled_from([1.0, 0.01, 30.0]),
    st.sampled_from([0.0, 1.0, -1.0]),
    st.sampled_from([1e-15, 1e-12, 1e-9, 1e-6, 1e-3, 0.049, 0.05, 0.3, 3.0]),
)
def test_the_probability_of_narrow_limits(
    mean: float, std: float, low: float, width: float
) -> None:
    """Value and derivatives in mean and deviation against 400 digits, however narrow."""
    high = low + width
    with mp.workdps(400):
        a, b = ((mp.mpf(v) - mp.mpf(mean)) / mp.mpf(std) for v in (low, high))
        far, near = (a, b) if a + b > 0 else (-b, -a)
        inside = (mp.erfc(far / mp.sqrt(2)) - mp.erfc(near / mp.sqrt(2))) / 2
        if inside == 0:
            return
        value, scale = mp.log(inside), inside * mp.mpf(std)
        slopes = [(mp.npdf(a) - mp.npdf(b)) / scale, (a * mp.npdf(a) - b * mp.npdf(b)) / scale]
    leaves = T(mean).requires_grad_(True), T(std).requires_grad_(True)
    got = log_probability_between(*leaves, low, high)
    assert abs(got.item() - value) <= 1e-14 * max(1, abs(value))
    for rate, slope in zip(torch.autograd.grad(got, leaves), slopes, strict=True):
        assert abs(rate.item() - slope) <= 5e-14 * max(1 / std, abs(slope))


def test_narrow_limits_pass_gradcheck_twice_beside_wide_ones() -> None:
    mean = T([0.2, 3.0, -20.0, 0.5]).requires_grad_(True)
    std = T([1.0, 0.9, 1.0, 0.02]).requires_grad_(True)

    def probability(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        return log_probability_between(mean, std, 1.0, 1.03)

    assert torch.autograd.gradcheck(probability, (mean, std))
    assert torch.autograd.gradgradcheck(probability, (mean, std))


@few
@given(st.floats(-12, 12), st.sampled_from([-1.0, 1.0]), st.sampled_from([1e-3, 1.0]))
def test_log_fatstep(power: float, sign: float, tau: float) -> None:
    y = sign * 10**power
    with mp.workdps(60):
        z = abs(mp.mpf(y) / mp.mpf(tau))
        edge = mp.mpf(2) / 3 / (1 + (z + 1 / mp.sqrt(3)) ** 2)
        value = mp.log(edge if y < 0 else 1 - edge)
    got = log_fatstep(T(y), tau)
    assert abs(got.item() - value) <= 1e-14 * max(1, abs(value))
    assert_close(got, safe.log_fatmoid(T(y), tau), 1e-10)


def test_log_fatstep_is_smooth_and_has_a_slope_far_below() -> None:
    z = torch.linspace(-50, 50, 10001, dtype=F64)
    assert bool((log_fatstep(z, 1.0).diff() > 0).all())
    assert_close(log_fatstep(T(0.0)).exp(), T(0.5), 1e-15)
    near = T([-1e-9, 1e-9]).requires_grad_(True)
    (slope,) = torch.autograd.grad(log_fatstep(near, 1.0).sum(), near, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), near)
    for v in (slope, curvature):
        assert_close(v[0], v[1], 1e-7)
    far = T([-1.0, -1e6]).requires_grad_(True)
    (slope,) = torch.autograd.grad(log_fatstep(far).sum(), far)
    assert_close(slope * far, T([-2.0, -2.0]), 2e-3)


@few
@given(st.floats(-16, 2.8))
def test_log1mexp(power: float) -> None:
    x = -(10.0**power)
    with mp.workdps(60):
        value = mp.log(1 - mp.exp(mp.mpf(x)))
        slope = -mp.exp(mp.mpf(x)) / (1 - mp.exp(mp.mpf(x)))
    leaf = T(x).requires_grad_(True)
    got = log1mexp(leaf)
    (rate,) = torch.autograd.grad(got, leaf)
    assert abs(got.item() - value) <= 1e-14 * max(1, abs(value)) or abs(value) < 1e-300
    assert abs(rate.item() - slope) <= 1e-12 * abs(slope) + 1e-300


def test_logmeanexp_at_any_level() -> None:
    x = draw((5, 7), "lme") * 3
    expected = x.exp().mean(0).log()
    for shift in (0.0, -1e5, 1e5):
        assert_close(logmeanexp(x + shift, 0) - shift, expected, 1e-9)
    assert logmeanexp(torch.full((3,), -torch.inf, dtype=F64), 0).item() == -math.inf


@few
@given(st.floats(-12, 12), st.sampled_from([-1.0, 1.0]), st.sampled_from([1e-6, 1e-2, 1.0]))
def test_log_fatplus(power: float, sign: float, tau: float) -> None:
    y = sign * 10**power
    with mp.workdps(60):
        z = mp.mpf(y) / mp.mpf(tau)
        soft = z + mp.log1p(mp.exp(-z)) if z > 0 else mp.log1p(mp.exp(z))
        value = mp.log(mp.mpf(tau) * (soft + mp.mpf("0.1") / (1 + z * z)))
    got = log_fatplus(T(y), tau)
    assert abs(got.item() - value) < 1e-12 * max(1, abs(value))
    assert_close(got, safe.log_fatplus(T(y), tau), 1e-10)


def test_log_fatplus_keeps_a_slope_far_below() -> None:
    y = T([-1e-3, -1.0, -1e6])
    leaf = y.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(log_fatplus(leaf).sum(), leaf)
    assert_close(slope * y, T([-2.0] * 3), 1e-5)


@pytest.mark.parametrize("spread", [1e-6, 1e-2, 1.0, 1e3])
def test_fatmax_is_botorchs_and_above_the_maximum(spread: float) -> None:
    x = (spread * (draw((6, 4), "fat") - 0.5)).requires_grad_(True)
    ours, theirs = fatmax(x, -1), safe.fatmax(x, dim=-1, tau=1e-2)
    assert_close(ours, theirs, 1e-10)
    gap = ours - x.amax(-1)
    assert bool((gap >= 0).all()) and bool((gap <= 1e-2 * math.log(4) + 1e-15).all())
    (slope,) = torch.autograd.grad(ours.sum(), x, retain_graph=True)
    assert_close(slope, torch.autograd.grad(theirs.sum(), x)[0], 1e-9)
    assert bool((slope > 0).all())


def test_fatmax_of_one_and_of_nothing() -> None:
    x = T([[3.0], [-torch.inf]])
    assert torch.equal(fatmax(x, -1), x[:, 0])


def test_gradients_of_the_primitives() -> None:
    x = draw((3, 4), "grad").requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: fatmax(v, -1, tau=0.3), x)
    assert torch.autograd.gradcheck(lambda v: log_fatplus(v - 0.5, tau=0.3), x)
    assert torch.autograd.gradcheck(lambda v: log1mexp(-v - 0.01), x)
    assert torch.autograd.gradcheck(lambda v: logmeanexp(v, 0), x)
    assert torch.autograd.gradcheck(lambda v: log_fatstep(v - 0.5, tau=0.3), x)
    assert torch.autograd.gradgradcheck(lambda v: log_fatstep(v - 0.5, tau=0.3), x)
    assert torch.autograd.gradgradcheck(log_ndtr, x)
