"""Projected Newton: SciPy's ends for quadratics and Rosenbrock's valley, bounds, bad rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import F64, T, assert_close, draw
from test_lbfgs import by_scipy, quadratics, rosenbrock
from torch import Tensor

from bolearn.optim.minimum import BAD_START, GRADIENT
from bolearn.optim.newton import minimize


def curved(fun):  # type: ignore[no-untyped-def]
    """A function of tensors as one of arrays, with Hessians by differences of its gradient."""

    def with_hessian(x: np.ndarray, rows: np.ndarray):  # type: ignore[no-untyped-def]
        at, which, h = torch.from_numpy(np.ascontiguousarray(x)), torch.as_tensor(rows), 1e-5
        f, g = fun(at, which)
        H = []
        for i in range(at.shape[1]):
            e = torch.zeros_like(at)
            e[:, i] = h
            H.append((fun(at + e, which)[1] - fun(at - e, which)[1]) / (2 * h))
        return f.numpy(), g.numpy(), torch.stack(H, 1).numpy()

    return with_hessian


@pytest.mark.parametrize("D, spread", [(1, 1.0), (3, 4.0), (6, 3.0)])
def test_quadratics_in_a_box(D: int, spread: float) -> None:
    fun, _ = quadratics(20, D, spread)
    x0 = draw((20, D), "x0") - 0.5
    end = minimize(curved(fun), x0, T(-0.5), T(0.5), gtol=1e-7, ftol=1e-13)
    low, high = T(-0.5).expand_as(x0), T(0.5).expand_as(x0)
    reference = by_scipy(fun, x0, low, high)
    assert bool((end.value <= reference + 1e-6 * (1 + reference.abs())).all())
    assert bool(end.converged.all()) and bool((end.x.abs() <= 0.5).all())
    assert end.points < 20 * 12  # a Hessian is worth many gradients


def test_a_curved_valley_and_an_indefinite_start() -> None:
    x0 = 3 * draw((12, 4), "valley") - 1.5
    end = minimize(curved(rosenbrock), x0, T(-2.0), T(2.0))
    value, _ = rosenbrock(x0, torch.arange(12))
    assert bool((end.value <= value).all())
    best = by_scipy(rosenbrock, x0, T(-2.0).expand_as(x0), T(2.0).expand_as(x0))
    assert abs(end.value.min().item() - best.min().item()) < 1e-6

    def waves(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cos(3 * x).sum(-1), -3 * torch.sin(3 * x)

    start = 0.1 * draw((5, 3), "hill")  # near maxima of all coordinates
    down = minimize(curved(waves), start, T(-2.0), T(2.0))
    assert_close(down.value, torch.full((5,), -3.0, dtype=F64), 1e-8)


def test_rows_that_are_no_numbers_stay_in_their_place() -> None:
    fun, _ = quadratics(4, 2, 1.0)

    def odd(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        f, g = fun(x, rows)
        bad = (rows == 1) | ((rows == 2) & (x[:, 0] > 0.3))
        return torch.where(bad, torch.nan, f), torch.where(bad.unsqueeze(-1), torch.nan, g)

    x0 = draw((4, 2), "odd") - 0.7
    end = minimize(curved(odd), x0, T(-1.0), T(1.0))
    assert end.status[1] == BAD_START and end.value[1].isnan() and torch.equal(end.x[1], x0[1])
    plain = minimize(curved(fun), x0, T(-1.0), T(1.0))
    for i in (0, 3):
        assert torch.equal(end.x[i], plain.x[i])
    assert end.x[2, 0] <= 0.3 and end.value[2] <= fun(x0[2:3], torch.tensor([2]))[0]


def test_of_rivals_the_best_is_finished() -> None:
    fun, _ = quadratics(12, 3, 2.0)
    x0 = draw((12, 3), "rivals") - 0.5
    rivals = torch.arange(12) % 3

    def same(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:  # three problems, four starts each
        return fun(x, torch.as_tensor(rows) % 3)

    every = minimize(curved(same), x0, T(-0.5), T(0.5))
    raced = minimize(curved(same), x0, T(-0.5), T(0.5), rivals=rivals)
    least = [v.value.view(4, 3).amin(0) for v in (every, raced)]
    assert_close(*least, 1e-8)
    assert raced.points <= every.points
    assert bool((every.status == GRADIENT).any())


def test_an_input_held_fixed_does_not_move() -> None:
    fun, _ = quadratics(5, 3, 2.0)
    x0 = draw((5, 3), "fixed") - 0.5
    low, high = T([-0.5, 0.1, -0.5]).expand(5, 3), T([0.5, 0.1, 0.5]).expand(5, 3)
    end = minimize(curved(fun), x0, low, high)
    assert bool((end.x[:, 1] == 0.1).all()) and bool(end.converged.all())
