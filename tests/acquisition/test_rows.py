"""log EI of rows on arrays: what the reference says, with its first and second derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gpytorch.kernels import MaternKernel, RBFKernel, RQKernel, ScaleKernel
from oracles import T, assert_close, box, dataset, draw, entry, gp, hyperparameters
from torch import Tensor

import bolearn as bl
from bolearn.acquisition.analytic import log_improvement_reference
from bolearn.seeds import derive
from bolearn.transforms import UnitCube

KERNELS = {
    "rbf": lambda: RBFKernel(ard_num_dims=3),
    "matern52": lambda: MaternKernel(2.5, ard_num_dims=3),
    "matern52, scaled": lambda: ScaleKernel(MaternKernel(2.5, ard_num_dims=3)),
    "matern32": lambda: MaternKernel(1.5, ard_num_dims=3),
}
COUNTS = (7, 0, 1, 3, 6)  # rows of each replicate


def model_of(kind: str, r: tuple[int, ...], masked: bool = False) -> bl.ExactGP:
    X, Y, bounds = dataset(9, 3, 1, r)
    observed = None
    if masked:
        observed = torch.arange(9) < 3 + torch.arange(r[0]).unsqueeze(-1) % 7
    model = bl.ExactGP(X, 1e3 * Y, bounds, kernel=KERNELS[kind](), observed=observed)
    return model.with_hyperparameters(**hyperparameters(model))


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("r, masked", [((), False), ((5,), True)])
@pytest.mark.parametrize("above", [-500.0, 300.0, 3e4])
def test_rows_are_the_reference(kind: str, r: tuple[int, ...], masked: bool, above: float) -> None:
    model, R = model_of(kind, r, masked), torch.Size(r).numel()
    best = bl.incumbent(model, model.X).value + above
    cube = UnitCube(T([[-0.1, 0.0, 0.2], [1.2, 0.9, 1.0]]))
    rows = bl.LogExpectedImprovement(model, best).on_rows(cube)
    assert rows is not None and rows.twice == (kind != "matern32")

    def reference(U: Tensor) -> Tensor:  # R p d -> R p
        X = cube.decode(U.transpose(0, 1).reshape(-1, *r, 1, 3))
        return log_improvement_reference(model, X, best, "").reshape(-1, R).T

    U = draw((R, 20, 3), "U")
    U[:, 0] = cube.encode(model.X).reshape(R, 9, 3)[:, 0]  # an observed point, too
    unit = 1 + abs(above) / 100
    assert_close(rows.values(U) / unit, reference(U) / unit, 1e-9)
    counts = COUNTS if R > 1 else (6,)
    replicate = torch.arange(R).repeat_interleave(T(counts).long())
    replicate = replicate[torch.argsort(draw((len(replicate),), "order"))]
    x = draw((len(replicate), 3), "x").requires_grad_(True)
    value = reference(x.expand(R, -1, 3))[replicate, torch.arange(len(x))]
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    groups = rows.groups(replicate.numpy())
    f, g, H = rows.evaluate(x.detach().numpy(), groups, 2 if rows.twice else 1)
    size = slope.detach().abs().amax()
    assert_close(f / unit, value.detach() / unit, 1e-9)
    assert_close(torch.from_numpy(g) / size, slope.detach() / size, 1e-8)
    if rows.twice:
        second = [torch.autograd.grad(slope[:, i].sum(), x, retain_graph=True)[0] for i in range(3)]
        H_reference = torch.stack(second, 1)
        size = H_reference.abs().amax()
        assert_close(torch.from_numpy(H) / size, H_reference / size, 1e-7)


def test_a_row_does_not_depend_on_the_others() -> None:
    model = model_of("matern52", (5,))
    rows = bl.LogExpectedImprovement(model, 0.3).on_rows(UnitCube(box(3)))
    replicate = np.array([4, 0, 0, 2, 0, 4, 3])
    x = draw((7, 3), "x").numpy()
    together = rows.evaluate(x, rows.groups(replicate), 2)
    for i in range(7):
        alone = rows.evaluate(x[i : i + 1], rows.groups(replicate[i : i + 1]), 2)
        for all_of_them, one in zip(together, alone, strict=True):
            size = abs(one[0]).max()
            assert_close(all_of_them[i] / size, one[0] / size, 1e-11)


def test_what_has_no_closed_form_is_left_to_torch() -> None:
    X, Y, bounds = dataset(6, 3)
    cube = UnitCube(box(3))
    other = bl.ExactGP(X, Y, bounds, kernel=RQKernel())
    assert bl.LogExpectedImprovement(other, 0.3).on_rows(cube) is None

    class Twice(bl.LogExpectedImprovement):
        def __call__(self, X: Tensor) -> Tensor:
            return 2 * super().__call__(X)

    twice = Twice(bl.ExactGP(X, Y, bounds), 0.3)
    assert twice.on_rows(cube) is None
    found = bl.optimize_acqf(twice, bounds, num_restarts=4, raw_samples=64, seed=0)
    assert_close(found.value, twice(found.x), 1e-10)


@pytest.mark.parametrize("engine", ["few rows", "many rows"])
def test_a_search_finds_what_it_finds_through_torch(engine: str) -> None:
    """A plain function has no rows of its own: both climb to values equally good."""
    R = 2 if engine == "few rows" else 12
    model = gp(12, 3, r=(R,))
    acq = bl.LogExpectedImprovement(model, bl.incumbent(model, model.X).value)
    options = {"num_restarts": 8, "raw_samples": 128, "seed": 3}
    mine = bl.optimize_acqf(acq, box(3), **options)
    plain = bl.optimize_acqf(lambda X: acq(X), box(3), batch_shape=(R,), **options)
    assert_close(mine.value, acq(mine.x), 1e-9)
    assert bool((mine.value >= plain.value - 0.05).all())  # starts near observations may differ
    for i in range(0, R, 5):
        alone = bl.LogExpectedImprovement(entry(model, (i,)), acq.best_f[i])
        own = bl.optimize_acqf(alone, box(3), **{**options, "seed": derive(3, i)})
        assert abs(own.value.item() - mine.value[i].item()) < 1e-6
