"""Traces of gradient descent: against closed forms, row by row, and with losses that lie."""

import pytest
import torch
from torch import Tensor

from bolearn.dynamics import trace_gd
from bolearn.errors import DataError, ShapeError

CURVATURE = torch.tensor([10.0, 1.0], dtype=torch.float64)


def bowl(x: Tensor) -> Tensor:
    return 0.5 * (CURVATURE * x.square()).sum(-1)


def test_each_coordinate_of_a_bowl_shrinks_by_its_own_factor() -> None:
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    trace = trace_gd(bowl, start, lr=0.05, steps=20)
    t = torch.arange(21, dtype=torch.float64).unsqueeze(-1)
    expected = start * (1 - 0.05 * CURVATURE) ** t
    assert torch.allclose(trace.points, expected, rtol=1e-12, atol=0)
    assert torch.allclose(trace.values, bowl(expected), rtol=1e-12, atol=0)
    assert torch.allclose(trace.gradients, CURVATURE * expected, rtol=1e-12, atol=0)


def test_rows_are_descents_of_their_own_and_may_diverge() -> None:
    starts = torch.tensor([[1.0, 1.0], [2.0, -1.0], [0.5, 0.0]], dtype=torch.float64)
    rates = torch.tensor([0.01, 10.0, 0.1], dtype=torch.float64)
    together = trace_gd(bowl, starts, rates, steps=400)
    assert not together.points[-1, 1].isfinite().all()
    for row in (0, 2):
        alone = trace_gd(bowl, starts[row], float(rates[row]), steps=400)
        assert torch.allclose(together.points[:, row], alone.points, rtol=0, atol=1e-12)


def test_the_start_stays_and_no_grad_outside_does_not_matter() -> None:
    start = torch.ones(2, dtype=torch.float64)
    with torch.no_grad():
        trace = trace_gd(bowl, start, lr=0.1, steps=3)
    assert torch.equal(start, torch.ones(2, dtype=torch.float64))
    assert torch.equal(trace.points[0], start)
    assert not trace.points.requires_grad and not trace.values.requires_grad
    assert len(trace_gd(bowl, start, lr=0.1, steps=0).points) == 1


def test_losses_that_cannot_be_right_are_refused() -> None:
    start = torch.ones(4, 2, dtype=torch.float64)
    with pytest.raises(ShapeError, match="broadcasting"):
        trace_gd(lambda x: bowl(x).unsqueeze(-1) - bowl(x), start, lr=0.1, steps=1)
    with pytest.raises(ShapeError, match=r"expected shape \(4,\)"):
        trace_gd(lambda x: bowl(x).mean(), start, lr=0.1, steps=1)
    with pytest.raises(DataError, match="detach"):
        trace_gd(lambda x: bowl(x.detach()), start, lr=0.1, steps=1)


def test_learning_rates_that_do_not_fit_are_refused() -> None:
    rates = torch.ones(3, dtype=torch.float64)
    for start in (torch.ones(4, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)):
        with pytest.raises(ShapeError, match="learning rate"):
            trace_gd(bowl, start, rates, steps=1)
