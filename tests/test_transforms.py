"""Transforms are exact inverses; standardisation sees observed rows only."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import F64, assert_close, draw, few

from bolearn.transforms import Standardize, UnitCube


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
