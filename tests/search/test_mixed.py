"""The search over spaces: against brute force, legal, the same alone, labels in any order."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from oracles import draw
from torch import Tensor

import bolearn as bl
from bolearn.models.priors import matern_kernel
from bolearn.search import mixed


def belief(space: bl.Space, n: int = 14, r: tuple[int, ...] = (), seed: int = 0) -> bl.ExactGP:
    """A random posterior over the codes of a space, with hyperparameters of its own."""
    X = space.sobol(n, seed, *r)
    weights = 6 * (draw((*r, space.d), "weights", seed) - 0.5)
    Y = torch.sin((X * weights.unsqueeze(-2)).sum(-1, keepdim=True) * 2) + X[..., :1]
    kernel = matern_kernel(space.d, (*r, 1))
    model = bl.ExactGP(X, Y, space.bounds, kernel=kernel)
    shape = model.hyperparameters()["lengthscale"].shape
    return model.with_hyperparameters(lengthscale=0.3 + draw(shape, "scales", seed))


def improvement(model: bl.ExactGP) -> bl.LogExpectedImprovement:
    return bl.LogExpectedImprovement(model, best_f=bl.incumbent(model, model.X).value)


def discrete() -> bl.Space:
    return bl.Space(
        [
            bl.Real("a", 0, 1, step=0.1),
            bl.Integer("n", 1, 6, log=True),
            bl.Categorical("c", ["x", "y", "z"]),
            bl.Categorical("o", ["low", "medium", "high"], ordered=True),
        ],
        constraints=["a + 0.1 n <= 1"],
    )


def with_reals(constraints: tuple[str, ...] = ()) -> bl.Space:
    return bl.Space(
        [
            bl.Real("a", 0, 1),
            bl.Integer("n", 1, 4),
            bl.Categorical("c", ["x", "y", "z"]),
        ],
        constraints=constraints,
    )


def everywhere(acq: Callable[[Tensor], Tensor], X: Tensor, r: tuple[int, ...]) -> Tensor:
    """Values ``n *r`` at listed points."""
    points = X.reshape(len(X), *(1 for _ in r), 1, X.shape[-1]).expand(-1, *r, 1, -1)
    return acq(points)


@pytest.fixture(params=["enumerated", "by moves"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of searching, whatever the number of combinations."""
    if request.param == "by moves":
        monkeypatch.setattr(mixed, "_ENUMERATED", 0)
        monkeypatch.setattr(mixed, "_LISTED", 0)
    return request.param


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_a_finite_space_is_found(way: str, seed: int) -> None:
    space = discrete()
    acq = improvement(belief(space, r=(3,), seed=seed))
    found = bl.optimize_acqf(acq, space=space, seed=seed)
    truth = everywhere(acq, space.designs(), (3,)).amax(0)
    assert found.x.shape == (3, 1, space.d) and space.is_legal(found.x).all()
    torch.testing.assert_close(acq(found.x), found.value)
    torch.testing.assert_close(found.value, truth)


@pytest.mark.parametrize("constraints", [(), ("a + 0.2 n <= 1",), ("a + 0.25 n == 1",)])
@pytest.mark.parametrize("seed", range(2))
def test_the_best_of_a_fine_grid_is_reached(
    way: str, constraints: tuple[str, ...], seed: int
) -> None:
    space = with_reals(constraints)
    acq = improvement(belief(space, seed=seed))
    found = bl.optimize_acqf(acq, space=space, seed=seed)
    fine = bl.Space(
        [bl.Real("a", 0, 1, step=1 / 1024), *space.parameters[1:]], constraints=constraints
    )
    truth = everywhere(acq, fine.designs(), ()).max()
    assert space.is_legal(found.x).all()
    assert found.value >= truth - 1e-6 * truth.abs()


def test_replicates_in_a_batch_are_replicates_alone(way: str) -> None:
    space = with_reals(("a + 0.2 n <= 1",))
    model = belief(space, r=(3,))
    together = bl.optimize_acqf(improvement(model), space=space, seed=5)
    for i in range(3):
        alone = bl.ExactGP(
            model.X[i], model.Y[i], space.bounds, kernel=matern_kernel(space.d, (1,))
        )
        own = {k: v[i] for k, v in model.hyperparameters().items()}
        acq = improvement(alone.with_hyperparameters(**own))
        one = bl.optimize_acqf(acq, space=space, seed=bl.seeds.derive(5, i))
        torch.testing.assert_close(one.value, together.value[i], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(one.x, together.x[i], rtol=0, atol=1e-4)


def test_the_order_of_labels_does_not_matter(way: str) -> None:
    space = discrete()
    a, n, c, o = space.parameters
    turned = bl.Space(
        [a, n, bl.Categorical("c", ["z", "x", "y"]), o], constraints=space.constraints
    )
    model = belief(space)
    X = turned.encode(space.decode(model.X))
    other = bl.ExactGP(X, model.Y, turned.bounds, kernel=matern_kernel(space.d, (1,)))
    known = model.hyperparameters()
    own = known["lengthscale"].clone()
    for label in c.values:
        own[..., turned.columns["c"][turned["c"].values.index(label)]] = known["lengthscale"][
            ..., space.columns["c"][c.values.index(label)]
        ]
    other = other.with_hyperparameters(**{**known, "lengthscale": own})
    first = bl.optimize_acqf(improvement(model), space=space, seed=0)
    second = bl.optimize_acqf(improvement(other), space=turned, seed=0)
    torch.testing.assert_close(first.value, second.value)
    assert space.decode(first.x) == turned.decode(second.x)


def test_only_legal_codes_are_asked(way: str) -> None:
    space = with_reals(("a + 0.2 n <= 1",))
    model, asked = belief(space), []

    def acq(X: Tensor) -> Tensor:
        asked.append(X.detach().reshape(-1, space.d))
        return model.posterior(X).mean[..., 0, 0]

    bl.optimize_acqf(acq, space=space, seed=0)
    codes = torch.cat(asked)
    unbound = bl.Space(space.parameters)  # a climb may leave a constraint for a moment
    assert unbound.is_legal(codes).all()
    first = torch.cat(asked[:1])
    assert space.is_legal(first).all()


def test_batches_take_pending_points_into_account(way: str) -> None:
    space = discrete()
    model = belief(space)
    acq = bl.qLogExpectedImprovement(
        model, best_f=bl.incumbent(model, model.X).value, sampler=bl.Sampler(32, seed=0)
    )
    found = bl.optimize_acqf(acq, space=space, q=3, seed=0)
    assert found.x.shape == (3, space.d) and space.is_legal(found.x).all()
    assert len({tuple(x) for x in found.x.tolist()}) == 3
    last = acq.with_pending(found.x[:2])
    every = everywhere(last, space.designs(), ())
    torch.testing.assert_close(found.value, every.max())


def test_excluded_points_are_not_proposed(way: str) -> None:
    space = discrete()
    acq = improvement(belief(space))
    values = everywhere(acq, space.designs(), ())
    order = values.argsort(descending=True)
    found = bl.optimize_acqf(acq, space=space, exclude=space.designs()[order[:5]], seed=0)
    torch.testing.assert_close(found.value, values[order[5]])
    with pytest.raises(bl.InfeasibleError, match="excluded"):
        bl.optimize_acqf(acq, space=space, exclude=space.designs(), seed=0)


def test_fixed_parameters_stay_and_the_rest_is_the_best(way: str) -> None:
    space = discrete()
    acq = improvement(belief(space, r=(2,)))
    held = {"c": "y", "n": 3}
    found = bl.optimize_acqf(acq, space=space, fixed=held, seed=0)
    for (point,) in space.decode(found.x):
        assert {name: point[name] for name in held} == held
    rest = [d for d in space.decode(space.designs()) if all(d[k] == v for k, v in held.items())]
    truth = everywhere(acq, space.encode(rest), (2,)).amax(0)
    torch.testing.assert_close(found.value, truth)


def test_mixtures_on_fine_steps_and_logarithmic_limits() -> None:
    names = "abcd"
    grid = bl.Space(
        [bl.Real(x, 0, 1, step=0.02) for x in names], constraints=["a + b + c + d == 1"]
    )
    acq = improvement(belief(grid))
    found = bl.optimize_acqf(acq, space=grid, seed=0)
    every = everywhere(acq, grid.designs(), ())
    assert grid.is_legal(found.x).all()
    assert (every > found.value + 1e-9).double().mean() < 1e-4  # one of the best of 23,426
    bent = bl.Space(
        [bl.Real("t", 1, 100, log=True), bl.Real("p", 1, 100, log=True), bl.Integer("n", 0, 2)],
        constraints=["t + p + 10 n == 120"],
    )
    acq = improvement(belief(bent))
    found = bl.optimize_acqf(acq, space=bent, seed=0)
    (point,) = bent.decode(found.x)
    assert abs(point["t"] + point["p"] + 10 * point["n"] - 120) < 1e-9
    line = [
        {"t": float(t), "p": 120.0 - 10 * n - float(t), "n": n}
        for n in range(3)
        for t in np.linspace(max(1, 20 - 10 * n), min(100, 119 - 10 * n), 2001)
    ]
    truth = everywhere(acq, bent.encode(line), ()).max()
    assert found.value >= truth - 1e-3 * truth.abs()


def test_bad_arguments() -> None:
    space = discrete()
    model = belief(space)
    acq, box = improvement(model), space.bounds
    limit = bl.linear_constraint([0], [1.0], at_most=0.5)
    cases: list[tuple[dict, tuple[str, ...]]] = [
        ({"bounds": 2 * box}, ("space.bounds",)),
        ({"input_constraints": (limit,)}, ("belong to the space",)),
        ({"choices": space.designs()}, ("beside space=",)),
        ({"q": 2}, ("with_pending", "qLogExpectedImprovement")),
        ({"fixed": {"b": 1}}, ("'b'",)),
        ({"fixed": {"c": "w"}}, ("fixed", "'x'")),
        ({"exclude": space.designs()[:, 1:]}, ("exclude", "space.encode")),
        ({"seed": -1}, ("seed",)),
        ({"num_restarts": 0}, ("num_restarts",)),
        ({"space": bl.Space([bl.Real("a", 0, 1)])}, ("inputs", "space.encode")),
    ]
    for changes, words in cases:
        with pytest.raises(bl.BolearnError) as caught:
            bl.optimize_acqf(acq, **{"space": space, "seed": 0, **changes})
        assert all(word in str(caught.value) for word in words), caught.value
    with pytest.raises(bl.DataError, match="choices="):
        bl.optimize_acqf(acq, box, exclude=space.designs(), seed=0)
    nowhere = lambda X: X.sum((-2, -1)) * math.nan  # noqa: E731
    with pytest.raises(bl.OptimizationError, match="finite"):
        bl.optimize_acqf(nowhere, space=space, seed=0)
    assert bl.optimize_acqf(acq, box, space=space, seed=0).x.shape == (1, space.d)
