"""Checks at the border accept what is right and name what is wrong."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import box, few

import bolearn as bl
from bolearn import shapes

rank = st.lists(st.integers(1, 3), min_size=0, max_size=2)


@few
@given(rank, rank, st.integers(1, 4), st.integers(1, 3))
def test_replicate_axes_are_matched_from_the_right(
    batch: list[int], r: list[int], q: int, d: int
) -> None:
    X = torch.zeros(*batch, *r, q, d, dtype=torch.float64)
    assert shapes.check_points(X, d, r) is X
    shared = torch.zeros(*batch, *(1,) * len(r), q, d, dtype=torch.float64)
    assert shapes.check_points(shared, d, r) is shared


@few
@given(st.lists(st.integers(2, 4), min_size=1, max_size=2), st.integers(1, 4), st.integers(1, 3))
def test_a_missing_replicate_axis_is_never_paired(r: list[int], q: int, d: int) -> None:
    X = torch.zeros(*r[1:], q, d, dtype=torch.float64)
    with pytest.raises(bl.ShapeError, match="the model has replicates"):
        shapes.check_points(X, d, r)
    wrong = torch.zeros(*(k + 1 for k in r), q, d, dtype=torch.float64)
    with pytest.raises(bl.ShapeError, match="the model has replicates"):
        shapes.check_points(wrong, d, r)


def test_data_that_fit_are_returned_unchanged() -> None:
    X, Y = torch.zeros(2, 3, 4, dtype=torch.float64), torch.zeros(2, 3, 1, dtype=torch.float64)
    assert shapes.check_data(X, Y) == (X, Y)
    assert shapes.check_bounds(box(3), 3).shape == (2, 3)


def test_masked_rows_may_hold_anything_but_observed_ones_not() -> None:
    X, Y = torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)
    X[1], Y[2] = torch.nan, torch.inf
    shapes.check_data(X, Y, torch.tensor([True, False, False]))
    with pytest.raises(bl.DataError, match=r"Y: expected finite .*inf.* row \(2,\)"):
        shapes.check_data(X, Y, torch.tensor([True, False, True]))


def test_devices_are_compared_and_listed() -> None:
    here, there = torch.zeros(1), torch.zeros(1, device="meta")
    with pytest.raises(bl.DataError, match=r"X on cpu, bounds on meta.*\.to\('cpu'\)"):
        shapes.check_same_device(X=here, bounds=there)
    assert shapes.check_same_device(X=here, Y=None) == torch.device("cpu")


@pytest.mark.parametrize("value", [0, -1, 1.0, True, None, "3"])
def test_counts(value: object) -> None:
    with pytest.raises(bl.DataError, match=r"q: expected an integer >= 1, got"):
        shapes.check_count("q", value)
    assert shapes.check_count("q", 1) == 1
