"""Studies of several objectives: hypervolume in hand, files, and what strategies are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import bolearn as bl
from bolearn.errors import DataError, UnsupportedError
from bolearn.problems import BNH, C2DTLZ2, DTLZ2, BraninCurrin, Problem, VehicleSafety
from bolearn.seeds import Seed
from bolearn.strategies import (
    StudyData,
    log_ehvi,
    log_nehvi,
    parego,
    q_log_nehvi,
    random,
    sobol,
)
from bolearn.studies.results import StudyResult

QUICK = {"num_restarts": 2, "raw_samples": 32}


@pytest.fixture(scope="module")
def noisy() -> StudyResult:
    problem = C2DTLZ2(noise_std=0.05)
    arms = {"random": random, "Sobol": sobol}
    return bl.study(problem, arms, n_init=6, n_iter=5, q=2, replicates=5, seed=3)


def test_hypervolume_regret_is_what_is_missing_without_noise(noisy: StudyResult) -> None:
    problem = C2DTLZ2()
    assert noisy.default_kind == "hypervolume"
    for name in noisy.names:
        exact = problem.noiseless(noisy.X[name])
        counts = problem.feasible(exact)
        for n in (1, 6, 16):
            volume = bl.hypervolume(exact[:, :n, :2], problem.ref_point, counts[:, :n])
            missing = problem.optimal_hypervolume - volume
            torch.testing.assert_close(noisy.regret(name)[:, n - 1], missing)
        assert (noisy.regret(name).diff(dim=-1) <= 1e-12).all()
        simple = noisy.best(name, "simple")[:, -1]
        best = torch.where(counts, exact[..., 0], -torch.inf).amax(-1)
        torch.testing.assert_close(simple, best)
    table = noisy.table()
    assert table.loc["random", "median"] == pytest.approx(
        noisy.regret("random")[:, -1].median().item(), rel=0.3
    )
    paired = noisy.compare("Sobol", "random")
    expected = noisy.regret("Sobol")[:, -1].log10() - noisy.regret("random")[:, -1].log10()
    assert paired.median_difference == pytest.approx(expected.median().item())
    assert "regret" in noisy.long_table().columns


def test_a_file_keeps_the_objectives(noisy: StudyResult, tmp_path: Path) -> None:
    noisy.to_json(tmp_path / "study.json")
    again = StudyResult.from_json(tmp_path / "study.json")
    assert again.ref_point == noisy.ref_point
    for name in noisy.names:
        assert torch.equal(again.regret(name), noisy.regret(name))


def test_a_checkpoint_goes_on_with_the_objectives(tmp_path: Path) -> None:
    arms = {"random": random}
    whole = bl.study(BNH(), arms, n_init=4, n_iter=3, replicates=2)
    place = tmp_path / "study.pt"
    first = bl.study(BNH(), arms, n_init=4, n_iter=3, replicates=2, checkpoint=place)
    again = bl.study(BNH(), arms, n_init=4, n_iter=3, replicates=2, checkpoint=place)
    for result in (first, again):
        assert torch.equal(result.regret("random"), whole.regret("random"))


def test_without_a_known_front_there_is_hypervolume_but_no_regret() -> None:
    result = bl.study(VehicleSafety(), {"random": random, "Sobol": sobol}, 4, 2, replicates=3)
    with pytest.raises(DataError, match="optimal_hypervolume="):
        result.regret("random")
    assert (result.best("random").diff(dim=-1) >= 0).all()
    assert result.table().loc["Sobol", "verdict"] in ("better", "worse", "undecided")
    single = bl.study(bl.problems.Branin(), {"random": random}, 4, 2, replicates=2)
    assert single.default_kind == "simple" and not single.outcomes
    with pytest.raises(DataError, match="no hypervolume"):
        single.best("random", "hypervolume")


def test_failures_add_nothing() -> None:
    def f(X: Tensor) -> Tensor:
        Y = torch.stack([X[..., 0], 1 - X[..., 0]], dim=-1)
        return torch.where(X[..., :1] > 0.7, torch.nan, Y)

    box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    ref = torch.zeros(2, dtype=torch.float64)
    problem = Problem(f, box, num_outputs=2, ref_point=ref, optimal_hypervolume=0.5)
    result = bl.study(problem, {"Sobol": sobol}, n_init=4, n_iter=4, replicates=3)
    assert len(result.failures["Sobol"]) > 0
    X, observed = result.X["Sobol"][..., 0], result.observed["Sobol"]
    for i in range(3):
        kept = X[i][observed[i]]
        volume = bl.hypervolume(torch.stack([kept, 1 - kept], dim=-1), ref)
        assert result.best("Sobol")[i, -1].item() == pytest.approx(volume.item())


def test_strategies_see_the_reference_point_and_the_constraints() -> None:
    seen: list[StudyData] = []

    def look(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        seen.append(data)
        return data.X[:, :q]

    bl.study(BNH(), {"look": look}, n_init=3, n_iter=1, replicates=2)
    assert seen[0].num_constraints == 2 and seen[0].ref_point.tolist() == [-140.0, -50.0]


ALL = {"nehvi": log_nehvi, "q": q_log_nehvi, "ehvi": log_ehvi, "parego": parego}


@pytest.mark.parametrize("name", ALL)
def test_a_batch_of_replicates_is_each_alone(name: str) -> None:
    make, arms = BNH, {"arm": replace(ALL[name], **QUICK)}
    result = bl.study(make(), arms, n_init=5, n_iter=1, q=2, replicates=2, seed=1)
    assert result.batched["arm"]
    for i in (1,):
        alone = bl.study(
            make(), arms, n_init=5, n_iter=1, q=2, replicates=1, seed=[result.seeds[i]]
        )
        scale = (make().bounds[1] - make().bounds[0]).max()
        assert (alone.X["arm"][0] - result.X["arm"][i]).abs().max() < 1e-3 * scale


def test_they_beat_random_points() -> None:
    arms = {
        "NEHVI": replace(log_nehvi, **QUICK),
        "ParEGO": replace(parego, **QUICK),
        "Sobol": sobol,
    }
    result = bl.study(BraninCurrin(), arms, n_init=6, n_iter=6, replicates=5, seed=0)
    for name in ("NEHVI", "ParEGO"):
        assert result.compare(name, "Sobol").median_difference < 0, name


def test_failures_and_infeasible_starts_do_not_stop_them() -> None:
    def f(X: Tensor) -> Tensor:
        a, b = X[..., 0], X[..., 1]
        Y = torch.stack([a, 1 - a + 0.2 * b, b - 0.05], dim=-1)  # feasible in a narrow strip
        return torch.where(((a > 0.8) & (b > 0.8)).unsqueeze(-1), torch.nan, Y)

    box = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    for ref in (torch.zeros(2, dtype=torch.float64), None):
        problem = Problem(f, box, num_outputs=3, num_constraints=1, ref_point=ref)
        arms = {"NEHVI": replace(log_nehvi, **QUICK), "ParEGO": replace(parego, **QUICK)}
        result = bl.study(problem, arms, n_init=5, n_iter=2, replicates=2, seed=2)
        for name in arms:
            assert bool((problem.feasible(f(result.X[name][:, -1]))).any())


def test_one_objective_is_refused() -> None:
    with pytest.raises(bl.OptimizationError) as error:
        bl.study(bl.problems.Branin(), {"NEHVI": log_nehvi}, 4, 1, replicates=2)
    assert isinstance(error.value.__cause__, UnsupportedError)


def test_three_objectives() -> None:
    arms = {"NEHVI": replace(log_nehvi, **QUICK)}
    result = bl.study(DTLZ2(4, 3), arms, n_init=8, n_iter=2, replicates=2)
    assert torch.isfinite(result.regret("NEHVI")).all()
