"""Studies are paired by construction: shared starts, shared noise, seeds by name."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from study_cases import BASELINES, center
from torch import Tensor

from bolearn.problems import Branin
from bolearn.seeds import Seed, derive
from bolearn.strategies import StudyData, random, sobol
from bolearn.studies.loop import study
from bolearn.studies.results import StudyResult


def test_all_arms_share_the_initial_design_and_its_values(noisy: StudyResult) -> None:
    first = noisy.X["random"][:, :5]
    for name in noisy.names:
        assert torch.equal(noisy.X[name][:, :5], first)
        assert torch.equal(noisy.Y[name][:, :5], noisy.Y["random"][:, :5])
    assert len(first.flatten(1).unique(dim=0)) == 6  # yet each replicate has its own


def test_noise_belongs_to_replicate_and_evaluation_not_to_the_arm(noisy: StudyResult) -> None:
    noise = {name: noisy.Y[name][..., 0] - noisy.values[name] for name in noisy.names}
    for name in noisy.names:
        torch.testing.assert_close(noise[name], noise["random"], rtol=0, atol=1e-9)
    spread = noise["random"]
    assert len(spread.flatten().unique()) == spread.numel()
    assert 1.2 < spread.std() < 2.8  # 78 draws of a normal with standard deviation 2


def test_noise_does_not_depend_on_how_evaluations_are_grouped() -> None:
    problem = Branin(noise_std=1.0)
    one = study(problem, {"a": random}, n_init=4, n_iter=4, q=1, replicates=3)
    two = study(problem, {"a": random}, n_init=4, n_iter=2, q=2, replicates=3)
    noise = [r.Y["a"][..., 0] - r.values["a"] for r in (one, two)]
    torch.testing.assert_close(noise[0], noise[1], rtol=0, atol=1e-9)


def test_the_same_strategy_under_two_names_does_the_same() -> None:
    result = study(Branin(1.0), {"a": random, "b": random}, n_init=3, n_iter=4, replicates=7)
    assert torch.equal(result.X["a"], result.X["b"])
    comparison = result.compare("a", "b")
    assert comparison.ties == 7 and comparison.verdict == "undecided"


def test_other_arms_make_no_difference(noisy: StudyResult) -> None:
    alone = study(Branin(noise_std=2.0), {"Sobol": sobol}, n_init=5, n_iter=8, replicates=6, seed=3)
    assert torch.equal(alone.X["Sobol"], noisy.X["Sobol"])
    assert torch.equal(alone.Y["Sobol"], noisy.Y["Sobol"])


# --- seeds and replicates ----------------------------------------------------------------------


def test_one_seed_twice_gives_the_same_and_another_seed_another(noisy: StudyResult) -> None:
    again = study(Branin(noise_std=2.0), BASELINES, n_init=5, n_iter=8, replicates=6, seed=3)
    other = study(Branin(noise_std=2.0), BASELINES, n_init=5, n_iter=8, replicates=6, seed=4)
    for name in noisy.names:
        assert torch.equal(noisy.X[name], again.X[name])
        assert torch.equal(noisy.Y[name], again.Y[name])
        assert not torch.equal(noisy.X[name], other.X[name])


@pytest.mark.parametrize("i", [0, 3, 5])
def test_a_replicate_of_a_batch_equals_its_study_alone(noisy: StudyResult, i: int) -> None:
    assert noisy.seeds[i] == derive(3, i)
    alone = study(
        Branin(noise_std=2.0), BASELINES, n_init=5, n_iter=8, replicates=1, seed=[noisy.seeds[i]]
    )
    for name in noisy.names:
        assert torch.equal(alone.X[name][0], noisy.X[name][i])
        assert torch.equal(alone.Y[name][0], noisy.Y[name][i])


def test_more_replicates_leave_the_first_ones_as_they_were() -> None:
    few, many = (study(Branin(1.0), BASELINES, 4, 3, replicates=r) for r in (2, 5))
    for name in few.names:
        assert torch.equal(few.Y[name], many.Y[name][:2])


def test_global_random_state_is_neither_read_nor_written() -> None:
    arms = {**BASELINES, "center": center}
    torch.manual_seed(0)
    np.random.seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = study(Branin(noise_std=1.0), arms, n_init=4, n_iter=3, replicates=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()
    torch.manual_seed(1)
    second = study(Branin(noise_std=1.0), arms, n_init=4, n_iter=3, replicates=3)
    assert torch.equal(first.Y["random"], second.Y["random"])


def test_sobol_continues_one_sequence_over_the_rounds() -> None:
    slow = study(Branin(), {"Sobol": sobol}, n_init=2, n_iter=8, replicates=2)
    fast = study(Branin(), {"Sobol": sobol}, n_init=2, n_iter=2, q=4, replicates=2)
    assert torch.equal(slow.X["Sobol"], fast.X["Sobol"])
    points = (slow.X["Sobol"][:, 2:] - slow.bounds[0]) / (slow.bounds[1] - slow.bounds[0])
    # eight consecutive points of a scrambled sequence: one in each eighth of each axis
    bins = (points * 8).floor().sort(dim=1).values
    assert torch.equal(bins, torch.arange(8.0).double().reshape(1, 8, 1).expand_as(bins))


def test_strategies_cannot_write_into_the_record() -> None:
    def vandal(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        data.X.zero_()
        data.Y.fill_(1e9)
        return random(data, bounds, q, seed)

    result = study(Branin(), {"vandal": vandal, "random": random}, 3, 4, replicates=4)
    assert torch.equal(result.X["vandal"], result.X["random"])
    assert torch.equal(result.Y["vandal"], result.Y["random"])


# --- what a strategy sees ----------------------------------------------------------------------


def test_data_grows_by_q_and_the_state_comes_back() -> None:
    seen = []

    @dataclass(frozen=True)
    class Watching:
        batched: ClassVar[bool] = True

        def __call__(
            self, data: StudyData, bounds: Tensor, q: int, seed: Seed
        ) -> tuple[Tensor, object]:
            seen.append((data, seed))
            return random(data, bounds, q, seed), [data.round]

    study(Branin(), {"watching": Watching()}, n_init=3, n_iter=3, q=2, replicates=4)
    for t, (data, seed) in enumerate(seen):
        assert data.round == t and data.n_init == 3 and data.X_pending is None
        assert data.X.shape == (4, 3 + 2 * t, 2) and data.Y.shape == (4, 3 + 2 * t, 1)
        assert data.state == (None if t == 0 else [t - 1])
        assert isinstance(seed, tuple) and len(set(seed)) == 4
        torch.testing.assert_close(data.Y, Branin()(data.X))
    assert len({seed for _, seed in seen}) == 3
