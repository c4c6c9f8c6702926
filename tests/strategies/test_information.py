"""Knowledge gradient and entropy search as strategies of studies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from oracles import F64, box, draw, surface

import bolearn as bl
from bolearn import strategies
from bolearn.seeds import derive
from bolearn.strategies import StudyData

SMALL: dict[str, Any] = {
    "knowledge_gradient": replace(
        strategies.knowledge_gradient, num_restarts=4, raw_samples=64, num_paths=4, rounds=(2, 1)
    ),
    "max_value_entropy": replace(strategies.max_value_entropy, num_restarts=4, raw_samples=64),
    "gibbon": replace(strategies.gibbon, num_restarts=4, raw_samples=64),
    "joint_entropy": replace(strategies.joint_entropy, num_restarts=4, raw_samples=64),
}
every = pytest.mark.parametrize("name", SMALL)


def start(R: int, n: int) -> StudyData:
    X = draw((R, n, 2), "start")
    seen = torch.ones(R, n, dtype=torch.bool)
    return StudyData(X, surface(X), seen, box(2), None, round=0, n_init=n)


@every
def test_a_replicate_in_a_batch_is_that_replicate_alone(name: str) -> None:
    data, seeds = start(2, 6), [derive(1, i) for i in range(2)]
    X, _ = SMALL[name](data, data.bounds, 1, seeds)
    assert X.shape == (2, 1, 2)
    for i in range(2):
        own = replace(data, X=data.X[i : i + 1], Y=data.Y[i : i + 1], observed=data.observed[:1])
        alone, _ = SMALL[name](own, data.bounds, 1, seeds[i : i + 1])
        assert (alone[0] - X[i]).abs().max() < 1e-2


@every
def test_batches_failures_and_what_is_handed_over(name: str) -> None:
    data = start(2, 6)
    data.observed[0, 2] = False
    data.Y[0, 2] = torch.nan
    q = 2 if name != "knowledge_gradient" else 1
    X, state = SMALL[name](data, data.bounds, q, (0, 1))
    assert X.shape == (2, q, 2) and ((X >= 0) & (X <= 1)).all()
    found = SMALL[name].recommend(replace(data, state=state))
    assert found.shape == (2, 2)
    model = bl.fit_mll(strategies.matern_gp(data.X, data.Y, data.bounds, data.observed))
    model = model.with_hyperparameters(**state)
    grid = draw((2, 300, 2), "grid")
    best = model.posterior(grid).mean.squeeze(-1).amax(-1)
    assert (model.posterior(found.unsqueeze(-2)).mean[..., 0, 0] >= best).all()
    assert torch.equal(found, SMALL[name].recommend(replace(data, state=state)))


def test_studies_run_them_on_all_replicates_at_once() -> None:
    arms = {"KG": SMALL["knowledge_gradient"], "GIBBON": SMALL["gibbon"]}
    result = bl.study(bl.problems.Branin(noise_std=2.0), arms, 6, 2, replicates=2)
    for name in arms:
        assert result.batched[name]
        regret = result.regret(name, kind="inference")[:, 5:]
        assert regret.isfinite().all() and (regret >= 0).all()


def test_two_points_of_the_knowledge_gradient_lie_apart() -> None:
    data = start(1, 6)
    X, _ = SMALL["knowledge_gradient"](data, data.bounds, 2, (0,))
    assert X.shape == (1, 2, 2) and (X[0, 0] - X[0, 1]).abs().max() > 1e-3


def test_models_without_a_box_are_refused() -> None:
    class Flat:
        num_outputs, batch_shape = 1, torch.Size()

        def posterior(self, X: torch.Tensor, *, observation_noise: bool = False) -> object:
            return bl.GaussianPosterior.from_moments(
                X.sum(-1, keepdim=True), torch.eye(X.shape[-2], dtype=F64)
            )

    with pytest.raises(bl.UnsupportedError, match="bounds"):
        strategies.max_value_entropy.acquisition(Flat(), torch.zeros((), dtype=F64), 0)
