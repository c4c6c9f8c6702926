"""Evaluations without a result are masked, reported and never averaged."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from study_cases import BASELINES, SQUARE, fragile, raising
from torch import Tensor

from bolearn.errors import (
    DataError,
)
from bolearn.problems import Branin, Problem
from bolearn.seeds import Seed
from bolearn.strategies import random
from bolearn.studies.loop import study


@pytest.mark.parametrize("noise_std", [0.0, 0.1])
def test_failed_evaluations_are_masked_and_reported_and_never_averaged(noise_std: float) -> None:
    with_nan = Problem(fragile, SQUARE, optimal_value=0.0, noise_std=noise_std)
    with_error = Problem(raising, SQUARE, optimal_value=0.0, noise_std=noise_std, vectorized=False)
    results = [study(p, BASELINES, 6, 10, replicates=8) for p in (with_nan, with_error)]
    for result in results:
        for name in result.names:
            corner = (result.X[name] > 0.3).all(-1)
            assert torch.equal(result.observed[name], ~corner)
            assert torch.equal(result.Y[name].isnan()[..., 0], corner)
            assert len(result.failures[name]) == corner.sum()
            assert result.regret(name)[:, -1].isfinite().all()
            assert (result.regret(name) >= 0).all()
        table = result.table()
        assert table.loc["random", "failures"] == (~result.observed["random"]).sum() > 0
        assert np.isfinite(table[["median", "q10", "q90"]].to_numpy(dtype=float)).all()
    for name in results[0].names:
        assert torch.equal(results[0].X[name], results[1].X[name])
        torch.testing.assert_close(results[0].Y[name], results[1].Y[name], equal_nan=True)
    reason = results[1].failures["random"][0].reason
    assert "the flask broke" in reason
    assert results[0].failures["random"][0].reason == "not a finite number"


def test_a_failure_before_the_first_success_is_infinite_regret_not_an_average() -> None:
    problem = Problem(
        lambda X: torch.where(X[..., 0] > 0, math.nan, X[..., 0]), SQUARE, optimal_value=0.0
    )
    result = study(problem, {"random": random}, n_init=8, n_iter=1, replicates=16)
    regret = result.regret("random")
    assert regret[:, 0].isinf().any() and regret[:, -1].isfinite().all()
    assert result.table(at=1).loc["random", "q90"] == math.inf


@dataclass
class Unlucky:
    """A noisy problem whose measurements fail now and then, wherever they are made."""

    problem: Problem

    def __getattr__(self, name: str) -> object:
        return getattr(self.problem, name)

    def __call__(self, X: Tensor, seed: Seed | None = None) -> Tensor:
        Y = self.problem(X, seed)
        assert isinstance(seed, tuple)
        lost = torch.tensor([entry % 5 == 0 for entry in seed])
        return torch.where(lost.reshape(-1, 1, 1), math.nan, Y)


def test_a_lost_measurement_does_not_count_even_where_the_truth_is_known() -> None:
    result = study(Unlucky(Branin(1.0)), {"random": random}, 6, 20, replicates=4)  # type: ignore[arg-type]
    lost = ~result.observed["random"]
    assert lost.any() and result.values["random"][lost].isnan().all()
    kept = Branin().noiseless(result.X["random"])[..., 0].masked_fill(lost, -math.inf)
    torch.testing.assert_close(result.best("random"), kept.cummax(-1).values)


def test_a_problem_that_always_fails_is_an_error_with_its_cause() -> None:
    def broken(X: Tensor) -> Tensor:
        raise RuntimeError("no gas")

    with pytest.raises(DataError, match="none of the n_init=3") as caught:
        study(Problem(broken, SQUARE), {"random": random}, n_init=3, n_iter=1, replicates=2)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("replicates", [1, 3])
def test_a_failure_of_a_problem_with_several_outputs_is_masked(replicates: int) -> None:
    def two(X: Tensor) -> Tensor:
        if (X[..., 0] > 0.3).any():
            raise ValueError("boom")
        return torch.stack([X.sum(-1), -X.sum(-1)], -1)

    problem = Problem(two, SQUARE, num_outputs=2)
    result = study(problem, {"random": random}, 4, 12, replicates=replicates)
    failed = result.X["random"][..., 0] > 0.3
    assert failed.any() and torch.equal(~result.observed["random"], failed)
    assert torch.equal(result.Y["random"].isnan().all(-1), failed)
    assert "boom" in result.failures["random"][0].reason
