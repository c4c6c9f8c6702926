"""Thompson sampling: each point with the probability that it is the best one."""

from __future__ import annotations

import math

import pytest
import torch
from gpytorch.kernels import PeriodicKernel
from oracles import F64, T, assert_close, box, dataset, draw, gp
from torch import Tensor

import bolearn as bl
from bolearn import seeds


def repeated(R: int, n: int = 4) -> bl.ExactGP:
    """R replicates of one model of one input, wide open between its observations."""
    X, Y, bounds = dataset(n, 1)
    model = bl.ExactGP(X.expand(R, n, 1), Y.expand(R, n, 1), bounds)
    return model.with_hyperparameters(lengthscale=0.15, noise_var=1e-3)


def kolmogorov(a: Tensor, b: Tensor) -> float:
    """Largest distance of two empirical distribution functions, in units of its scale."""
    at = torch.cat([a, b])
    F, G = ((x.unsqueeze(0) <= at.unsqueeze(1)).double().mean(1) for x in (a, b))
    return float((F - G).abs().max()) / (1 / len(a) + 1 / len(b)) ** 0.5


def test_maxima_in_a_box_are_distributed_as_those_of_exact_samples() -> None:
    R = 300
    model = repeated(R)
    x, value = bl.thompson(model, box(1), seed=0)
    assert x.shape == (R, 1, 1) and value.shape == (R, 1)
    grid = torch.linspace(0, 1, 201, dtype=F64).unsqueeze(-1)
    exact = bl.thompson(model, choices=grid, seed=1)
    # Kolmogorov: 2 is exceeded with probability 0.0007
    assert kolmogorov(value.flatten(), exact.value.flatten()) < 2
    assert kolmogorov(x.flatten(), exact.x.flatten()) < 2


def test_choices_are_taken_as_often_as_they_are_best() -> None:
    R = 4000
    X = T([[0.1], [0.9]])
    model = bl.ExactGP(X.expand(R, 2, 1), T([[0.0], [1.0]]).expand(R, 2, 1), box(1))
    model = model.with_hyperparameters(noise_var=2.0, lengthscale=0.4)
    x, _ = bl.thompson(model, choices=X, seed=0)
    posterior = model.posterior(X.unsqueeze(0).expand(R, 2, 1))
    mean, C = posterior.mean[0].flatten(), posterior.covariance[0]
    gap = float((mean[1] - mean[0]) / (C[0, 0] + C[1, 1] - 2 * C[0, 1]).sqrt())
    p = 0.5 * math.erfc(-gap / math.sqrt(2))
    assert 0.55 < p < 0.95
    assert abs(float((x == 0.9).double().mean()) - p) < 5 * (p * (1 - p) / R) ** 0.5


def test_no_choice_is_taken_twice() -> None:
    choices = draw((5, 2), "choices")
    x, value = bl.thompson(gp(6, 2, 1, (3,)), choices=choices, q=5, seed=0)
    assert_close(x.sort(dim=1).values, choices.sort(dim=0).values.expand(3, 5, 2))
    assert value.shape == (3, 5)


def test_the_first_points_do_not_depend_on_how_many_follow() -> None:
    model = gp(6, 2, 1, (2,))
    for where in ({"bounds": box(2)}, {"choices": draw((9, 2), "choices")}):
        few, many = (bl.thompson(model, q=q, seed=3, **where) for q in (2, 4))  # type: ignore[arg-type]
        assert_close(many.x[:, :2], few.x, 1e-6)


def test_a_replicate_finds_what_it_finds_alone() -> None:
    X, Y, bounds = dataset(6, 2, r=(3,))
    model = bl.ExactGP(X, Y, bounds)
    boxes = bounds.expand(3, 2, 2) * T([0.5, 0.8, 1.0])[:, None, None]
    choices = draw((3, 9, 2), "choices")
    in_box = bl.thompson(model, boxes, q=2, seed=5)
    among = bl.thompson(model, choices=choices, q=2, seed=5)
    for i in range(3):
        alone, own = bl.ExactGP(X[i], Y[i], bounds), seeds.derive(5, i)
        assert_close(bl.thompson(alone, boxes[i], q=2, seed=own).x, in_box.x[i], 1e-5)
        assert_close(bl.thompson(alone, choices=choices[i], q=2, seed=own).x, among.x[i])
    assert bool((in_box.x <= boxes[:, 1:]).all())


def test_several_outputs_are_combined_by_the_objective() -> None:
    R = 200
    X, Y, bounds = dataset(4, 1, m=2)
    model = bl.ExactGP(X.expand(R, 4, 1), Y.expand(R, 4, 2), bounds)
    model = model.with_hyperparameters(lengthscale=0.2)
    goal = bl.weighted_sum(1.0, -2.0)
    found = bl.thompson(model, bounds, objective=goal, num_restarts=4, raw_samples=128, seed=0)
    grid = torch.linspace(0, 1, 201, dtype=F64).unsqueeze(-1)
    exact = bl.thompson(model, choices=grid, objective=goal, seed=1)
    assert kolmogorov(found.value.flatten(), exact.value.flatten()) < 2
    assert kolmogorov(found.x.flatten(), exact.x.flatten()) < 2
    with pytest.raises(bl.UnsupportedError, match="thompson without an objective"):
        bl.thompson(model, bounds, seed=0)


def test_any_model_can_choose_from_a_finite_set() -> None:
    X, Y, bounds = dataset(6, 1)
    model = bl.ExactGP(X, Y, bounds, kernel=PeriodicKernel())
    with pytest.raises(bl.UnsupportedError, match="choices=X"):
        bl.thompson(model, bounds, seed=0)
    grid = torch.linspace(0, 1, 11, dtype=F64).unsqueeze(-1)
    x, _ = bl.thompson(model, choices=grid, q=2, seed=0)
    assert bool((x.unsqueeze(1) == grid).all(-1).any(1).all())


def test_what_does_not_fit_is_refused() -> None:
    model = gp(5, 2)
    with pytest.raises(bl.DataError, match=r"finite set to choose from.*got NoneType for both"):
        bl.thompson(model, seed=0)
    with pytest.raises(bl.DataError, match="expected one of them, got both"):
        bl.thompson(model, box(2), choices=draw((3, 2), "c"), seed=0)
    with pytest.raises(bl.DataError, match=r"n >= q = 4 points to choose from, got \(3, 2\)"):
        bl.thompson(model, choices=draw((3, 2), "c"), q=4, seed=0)


def test_an_objective_combines_the_outputs() -> None:
    model = gp(8, 2)
    with pytest.raises(bl.ShapeError, match="for a combination sum over the last axis"):
        bl.thompson(model, box(2), objective=lambda y: y, seed=0)
