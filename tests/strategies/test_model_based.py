"""Strategies with a model, in studies."""

import pytest
import torch
from study_cases import SQUARE, fragile
from torch import Tensor

from bolearn import strategies
from bolearn.errors import (
    OptimizationError,
)
from bolearn.problems import Branin, Problem
from bolearn.protocols import Acquisition, Surrogate
from bolearn.seeds import Seed
from bolearn.strategies import random
from bolearn.studies.loop import study


def test_one_model_based_step_in_a_batch_equals_that_step_alone() -> None:
    arms = {"LogEI": strategies.log_ei, "UCB": strategies.ucb(beta=4.0)}
    batch = study(Branin(noise_std=1.0), arms, n_init=8, n_iter=1, replicates=4, seed=1)
    assert batch.batched == {"LogEI": True, "UCB": True}
    width = batch.bounds[1] - batch.bounds[0]
    for i in range(4):
        alone = study(Branin(1.0), arms, 8, 1, replicates=1, seed=[batch.seeds[i]])
        for name in arms:
            moved = (alone.X[name][0, -1] - batch.X[name][i, -1]) / width
            assert moved.abs().max() < 1e-4


def test_log_ei_beats_random_search_on_branin() -> None:
    arms = {"LogEI": strategies.log_ei, "random": random}
    result = study(Branin(), arms, n_init=6, n_iter=14, replicates=16)
    assert result.compare("LogEI", "random").verdict == "better"
    assert set(result.recommended) == {"LogEI"}
    # without noise the recommended point is one that was evaluated
    same = (result.recommended["LogEI"].unsqueeze(2) == result.X["LogEI"].unsqueeze(1)).all(-1)
    assert same.any(-1).all()
    regret = result.regret("LogEI", kind="inference")
    assert (regret[:, 5:] >= result.regret("LogEI")[:, 5:]).all()


def test_a_larger_beta_goes_where_less_is_known() -> None:
    arms = {"bold": strategies.ucb(beta=100.0), "timid": strategies.ucb(beta=0.0)}
    result = study(Branin(), arms, n_init=8, n_iter=1, replicates=8)
    design = result.X["bold"][:, :8]
    width = result.bounds[1] - result.bounds[0]
    nearest = {
        name: torch.cdist((result.X[name][:, 8:]) / width, design / width).min(-1).values
        for name in arms
    }
    assert (nearest["bold"] > nearest["timid"]).all()


def test_batches_of_q_log_ei_are_points_apart() -> None:
    result = study(Branin(), {"qLogEI": strategies.q_log_ei}, 6, 2, q=3, replicates=3)
    proposed = result.X["qLogEI"][:, 6:9]
    distance = torch.cdist(proposed, proposed) + 1e9 * torch.eye(3).double()
    assert distance.min() > 0.1
    assert result.batched["qLogEI"]


def test_noisy_problems_are_recommended_by_belief_and_batches_are_apart() -> None:
    arms = {"qLogNEI": strategies.q_log_nei}
    result = study(Branin(noise_std=2.0), arms, 6, 5, q=2, replicates=8)
    assert result.batched["qLogNEI"]
    gaps = (result.X["qLogNEI"][:, 6::2] - result.X["qLogNEI"][:, 7::2]).norm(dim=-1)
    assert gaps.min() > 0.01
    regret = result.regret("qLogNEI", kind="inference")[:, 5:]
    assert regret.isfinite().all() and regret[:, -1].median() < 0.5 * regret[:, 0].median()
    # what is recommended was evaluated, yet it is not always where the highest value was measured
    X, recommended = result.X["qLogNEI"], result.recommended["qLogNEI"][:, -1]
    assert (recommended.unsqueeze(1) == X).all(-1).any(-1).all()
    lucky = X[torch.arange(8), result.Y["qLogNEI"][..., 0].argmax(-1)]
    assert (lucky != recommended).any()


def test_failed_evaluations_do_not_reach_the_model() -> None:
    problem = Problem(fragile, SQUARE, optimal_value=0.0)
    result = study(problem, {"LogEI": strategies.log_ei}, 6, 6, replicates=6)
    assert (~result.observed["LogEI"]).any()
    assert result.regret("LogEI")[:, -1].median() < 0.05


def test_an_acquisition_of_ones_own_is_a_strategy_in_one_line() -> None:
    def distance(model: Surrogate, best_f: Tensor, seed: Seed) -> Acquisition:
        return lambda X: model.posterior(X).variance.flatten(-2).sum(-1)

    result = study(Branin(), {"variance": strategies.ModelBased(distance)}, 4, 3, replicates=2)
    assert result.X["variance"].shape == (2, 7, 2)


def test_log_ei_for_batches_points_to_another_strategy() -> None:
    with pytest.raises(OptimizationError, match="'LogEI', round 0"):
        study(Branin(), {"LogEI": strategies.log_ei}, 4, 1, q=2, replicates=2)
