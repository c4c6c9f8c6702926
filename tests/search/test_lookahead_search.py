"""The set of a knowledge gradient: good enough, and refined where it matters."""

from __future__ import annotations

import pytest
import torch
from gpytorch.kernels import MaternKernel, RQKernel, ScaleKernel
from oracles import F64, T, assert_close, dataset, draw, entry, gp, hyperparameters
from torch import Tensor

import bolearn as bl
from bolearn.seeds import derive

SMALL = {"num_restarts": 4, "raw_samples": 64, "num_paths": 8, "rounds": (3, 1)}


def nested(model: bl.ExactGP, x: Tensor, count: int = 128) -> float:
    """KG by its definition: the mean after each of many outcomes at x, maximised in the box."""
    z = torch.special.ndtri((torch.arange(count, dtype=F64) + 0.5) / count)
    p = model.posterior(x, observation_noise=True)
    y = p.mean.item() + p.variance.sqrt().item() * z
    after = model.condition(x, y[:, None, None])
    grid = bl.sobol_points(model.bounds, n=512, seed=1)
    top = after.posterior(grid.expand(count, *grid.shape)).mean.squeeze(-1).amax(-1)
    best, _ = bl.optimize_acqf(
        bl.PosteriorMean(after), model.bounds, num_restarts=2, raw_samples=64, seed=0
    )
    top = torch.maximum(top, after.posterior(best).mean[..., 0, 0])
    now = bl.optimize_acqf(bl.PosteriorMean(model), model.bounds, seed=0).value
    return float(top.mean() - now)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_refined_set_gives_nearly_all_of_the_gain_in_the_box(seed: int) -> None:
    model = gp(8, 2, seed=seed)
    x, value = bl.optimize_knowledge_gradient(model, model.bounds, seed=0)
    true = nested(model, x)
    assert 0.985 * true < value.exp() < 1.02 * true  # of the normal there are 128 quantiles


@pytest.mark.parametrize("kernel", ["plain", "scaled", "general"])
@pytest.mark.parametrize("r", [(), (2,)])
def test_maxima_after_outcomes(kernel: str, r: tuple[int, ...]) -> None:
    """They are at least as high as any point of a grid, under the mean that they belong to."""
    made = {"plain": None, "scaled": ScaleKernel(MaternKernel(2.5, ard_num_dims=2)),
            "general": RQKernel()}[kernel]  # fmt: skip
    model = gp(7, 2, 1, r, kernel=made)
    grid = draw((*r, 400, 2), "grid")
    acq = bl.qLogKnowledgeGradient(model, grid)
    X, count = draw((3, *r, 1, 2), "X"), 4
    found = bl.fantasy_maxima(acq, X, model.bounds, num_fantasies=count)
    assert found.shape == (*r, 3 * count, 2) and ((found >= 0) & (found <= 1)).all()
    z = torch.special.ndtri((torch.arange(count, dtype=F64) + 0.5) / count)
    for t in range(3):
        p = model.posterior(X[t], observation_noise=True)
        y = p.mean + p.variance.sqrt() * z.reshape(count, *(1,) * (len(r) + 2))
        after = model.condition(X[t], y)
        own = found[..., t * count : (t + 1) * count, :].movedim(-2, 0).unsqueeze(-2)
        top = after.posterior(own).mean[..., 0, 0]
        others = after.posterior(grid.expand(count, *grid.shape)).mean.squeeze(-1).amax(-1)
        assert (top >= others - 1e-6).all()


def test_points_of_the_set() -> None:
    model = gp(8, 2, 1, (2,))
    P = bl.knowledge_gradient_points(model, model.bounds, num_maxima=6, num_paths=4, seed=1)
    assert P.shape == (2, 8 + 6 + 4, 2) and torch.equal(P[:, :8], model.X)
    assert torch.equal(P, bl.knowledge_gradient_points(
        model, model.bounds, num_maxima=6, num_paths=4, seed=1))  # fmt: skip
    grid = draw((2, 500, 2), "grid")
    best = model.posterior(P).mean.squeeze(-1).amax(-1)
    assert (best >= model.posterior(grid).mean.squeeze(-1).amax(-1) - 1e-6).all()
    general = gp(6, 2, kernel=RQKernel())
    with pytest.raises(bl.UnsupportedError, match="RBF or Matern"):
        bl.knowledge_gradient_points(general, general.bounds, seed=0)
    kept = bl.knowledge_gradient_points(general, general.bounds, num_paths=0, seed=0)
    assert kept.shape == (6 + 16, 2)


def test_a_replicate_in_a_batch_is_that_replicate_alone() -> None:
    X, Y, bounds = dataset(7, 2, 1, (3,))
    model = bl.ExactGP(X, Y, bounds)
    model = model.with_hyperparameters(**hyperparameters(model))
    seeds = [derive(3, i) for i in range(3)]
    found = bl.optimize_knowledge_gradient(model, bounds, seed=seeds, **SMALL)
    assert found.x.shape == (3, 1, 2) and found.value.shape == (3,)
    for i in range(3):
        alone = bl.optimize_knowledge_gradient(entry(model, (i,)), bounds, seed=seeds[i], **SMALL)
        assert_close(found.value[i], alone.value, 1e-3)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_of_y_do_not_matter(scale: float) -> None:
    model = gp(7, 2)
    other = bl.ExactGP(model.X, scale * (model.Y + 3), model.bounds)
    other = other.with_hyperparameters(**model.hyperparameters())
    mine, theirs = (
        bl.optimize_knowledge_gradient(m, m.bounds, seed=0, **SMALL) for m in (model, other)
    )
    assert_close(theirs.value - T(scale).log(), mine.value, 1e-4)
    assert_close(theirs.x, mine.x, 1e-2)


@pytest.mark.parametrize("kind", ["one", "constant", "tiny noise"])
def test_poor_data(kind: str) -> None:
    X, Y, bounds = dataset(5, 2)
    if kind == "one":
        X, Y = X[:1], Y[:1]
    if kind == "constant":
        Y = torch.full_like(Y, 7.0)
    model = bl.ExactGP(X, Y, bounds, noise_var=1e-9 if kind == "tiny noise" else None)
    x, value = bl.optimize_knowledge_gradient(model, bounds, seed=0, **SMALL)
    assert torch.isfinite(value) and ((x >= 0) & (x <= 1)).all()


def test_a_recommendation_is_at_least_as_good_as_any_point_of_a_grid() -> None:
    model = gp(8, 2, 1, (2,))
    found = bl.recommend(model, model.bounds, seed=0)
    assert found.x.shape == (2, 2) and found.value.shape == (2,)
    assert_close(model.posterior(found.x.unsqueeze(-2)).mean[..., 0, 0], found.value, 1e-12)
    seen = torch.cat([model.X, draw((2, 500, 2), "grid")], dim=-2)
    assert (found.value >= model.posterior(seen).mean.squeeze(-1).amax(-1)).all()
