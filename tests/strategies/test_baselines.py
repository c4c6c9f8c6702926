"""The strategies without a model."""

import numpy as np
import pytest
import torch
from study_cases import SQUARE
from torch import Tensor

from bolearn import strategies
from bolearn.errors import (
    OptimizationError,
    UnsupportedError,
)
from bolearn.problems import Branin, Problem
from bolearn.strategies import NelderMead, StudyData, nelder_mead, random
from bolearn.studies.loop import study


def test_random_search_is_uniform_in_the_box() -> None:
    bounds = torch.tensor([[-3.0, 10.0], [1.0, 11.0]], dtype=torch.float64)
    X = torch.zeros(50, 1, 2, dtype=torch.float64)
    data = StudyData(X, X[..., :1], X[..., 0] == 0, bounds, None, round=0, n_init=1)
    u = (random(data, bounds, 40, tuple(range(50))) - bounds[0]) / (bounds[1] - bounds[0])
    assert u.shape == (50, 40, 2) and (u > 0).all() and (u < 1).all()
    # 2000 uniforms: the Kolmogorov distance exceeds 0.044 once in a thousand samples
    for k in range(2):
        ordered = u[..., k].flatten().sort().values
        distance = (ordered - torch.linspace(0, 1, 2000).double()).abs().max()
        assert distance < 0.044


def test_nelder_mead_follows_scipy_step_by_step() -> None:
    from scipy.optimize import minimize

    result = study(Branin(), {"simplex": NelderMead()}, n_init=6, n_iter=25, replicates=2)
    lower, width = Branin().bounds[0], Branin().bounds[1] - Branin().bounds[0]
    for i in range(2):
        asked: list[Tensor] = []

        def loss(u: np.ndarray, asked: list[Tensor] = asked) -> float:
            asked.append(lower + width * torch.from_numpy(u.copy()))
            return -Branin()(asked[-1].unsqueeze(0)).item()

        design = result.X["simplex"][i, :6]
        start = ((design[Branin()(design)[:, 0].argmax()] - lower) / width).numpy()
        simplex = np.vstack([start, start + np.diag(np.where(start > 0.5, -0.2, 0.2))])
        options = {"initial_simplex": simplex, "adaptive": True, "maxfev": 25, "xatol": 0.0}
        minimize(loss, start, method="Nelder-Mead", bounds=[(0, 1)] * 2, options=options)
        torch.testing.assert_close(result.X["simplex"][i, 6:], torch.stack(asked[:25]))


def test_nelder_mead_restarts_when_the_simplex_has_shrunk() -> None:
    impatient = NelderMead(tolerance=0.2)
    result = study(Branin(), {"impatient": impatient}, n_init=3, n_iter=40, replicates=2)
    jumps = result.X["impatient"][:, 3:].diff(dim=1).norm(dim=-1)
    assert (jumps > 5.0).any(-1).all()


def test_nelder_mead_proposes_one_point_at_a_time() -> None:
    with pytest.raises(OptimizationError, match="q=2") as caught:
        study(Branin(), {"simplex": nelder_mead}, n_init=2, n_iter=1, q=2, replicates=2)
    assert isinstance(caught.value.__cause__, UnsupportedError)


def test_the_simplex_beats_random_search_on_a_bowl() -> None:
    bowl = Problem(lambda X: -((X - 0.3) ** 2).sum(-1), SQUARE, optimal_value=0.0)
    arms = {"simplex": strategies.nelder_mead, "random": random}
    result = study(bowl, arms, n_init=4, n_iter=40, replicates=16)
    assert result.compare("simplex", "random").verdict == "better"
