"""Attainment: the share of runs that reach an outcome, against counting."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import T, assert_close, draw

import bolearn as bl
from bolearn.errors import DataError, ShapeError


@pytest.mark.parametrize("m", [2, 3])
def test_attainment_is_a_count_of_runs(m: int) -> None:
    Y, Z = draw((7, 5, m), "Y"), draw((30, m), "Z")
    observed = draw((7, 5), "observed") > 0.3
    share = bl.attainment(Y, Z, observed)
    for z, s in zip(Z, share, strict=True):
        hits = sum(
            any(bool((y >= z).all()) for y, seen in zip(run, mask, strict=True) if seen)
            for run, mask in zip(Y, observed, strict=True)
        )
        assert s.item() == pytest.approx(hits / 7)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 1.0])
def test_the_surface_is_where_the_share_is_passed(share: float) -> None:
    Y, x = draw((8, 6, 2), "Y"), torch.linspace(-0.1, 1.1, 40).double()
    y = bl.attainment_surface(Y, x, share)
    assert bool((y[1:] <= y[:-1]).all())
    on = torch.isfinite(y)
    assert bool(on[0]) and not bool(on[-1])
    at = torch.stack([x[on], y[on]], dim=-1)
    assert bool((bl.attainment(Y, at) >= share - 1e-12).all())
    above = at + T(0.0, 1e-9)
    assert bool((bl.attainment(Y, above) < share - 1e-12).all())


def test_surfaces_are_nested_and_lie_on_the_fronts_of_single_runs() -> None:
    Y, x = draw((9, 6, 2), "Y"), torch.linspace(0, 0.5, 20).double()
    low, mid, high = (bl.attainment_surface(Y, x, s) for s in (0.75, 0.5, 0.25))
    assert bool((low <= mid).all()) and bool((mid <= high).all())
    alone = bl.attainment_surface(Y[:1], x)
    expected = torch.stack([torch.where(Y[0, :, 0] >= v, Y[0, :, 1], -math.inf).max() for v in x])
    assert_close(alone[alone.isfinite()], expected[alone.isfinite()], 1e-15)


def test_bad_input_is_an_error() -> None:
    Y = draw((4, 3, 2), "Y")
    with pytest.raises(ShapeError, match="several runs"):
        bl.attainment(Y[0].unsqueeze(0)[:, :0], Y[0])
    with pytest.raises(ShapeError, match="two objectives"):
        bl.attainment_surface(draw((4, 3, 3), "Y"), T([0.0]))
    with pytest.raises(DataError, match="share"):
        bl.attainment_surface(Y, T([0.0]), 0.0)
    with pytest.raises(ShapeError, match="at most 1"):
        bl.attainment_surface(Y, T([0.0]), 1.5)
