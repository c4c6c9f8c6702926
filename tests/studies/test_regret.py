"""What counts: regret, feasible points, the target fidelity, runs that found nothing."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from study_cases import SQUARE
from torch import Tensor

from bolearn.errors import (
    BolearnError,
    DataError,
)
from bolearn.problems import AugmentedBranin, Branin, ConstrainedBranin, Problem
from bolearn.seeds import Seed
from bolearn.stats import quantiles
from bolearn.strategies import StudyData, random, sobol
from bolearn.studies.loop import study
from bolearn.studies.results import StudyResult


def test_regret_never_rises_and_never_goes_below_zero(noisy: StudyResult) -> None:
    for name in noisy.names:
        regret = noisy.regret(name)
        assert regret.shape == (6, 13)
        assert (regret.diff(dim=-1) <= 0).all() and (regret >= 0).all()
        best = Branin().noiseless(noisy.X[name])[..., 0].max(-1).values
        torch.testing.assert_close(regret[:, -1], Branin().optimal_value - best)


def test_regret_at_the_optimum_is_zero() -> None:
    problem = Branin()

    def knowing(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return problem.optimal_points[:1].expand(*data.X.shape[:-2], q, -1)

    result = study(problem, {"knowing": knowing}, n_init=2, n_iter=1, replicates=3)
    torch.testing.assert_close(result.regret("knowing")[:, -1], torch.zeros(3).double())
    assert result.compare("knowing", "knowing").ties == 3


def test_a_false_optimum_is_noticed() -> None:
    box = Branin().bounds
    problem = Problem(lambda X: -(X**2).sum(-1), box, optimal_value=-1e6)
    result = study(problem, {"random": random}, n_init=2, n_iter=1, replicates=2)
    with pytest.raises(DataError, match="better than optimal_value"):
        result.regret("random")


def test_without_a_known_optimum_there_is_best_but_no_regret() -> None:
    problem = Problem(lambda X: -(X**2).sum(-1), Branin().bounds)
    result = study(problem, {"random": random, "Sobol": sobol}, n_init=2, n_iter=9, replicates=8)
    with pytest.raises(DataError, match=r"result\.best"):
        result.regret("random")
    assert (result.best("random").diff(dim=-1) >= 0).all()
    table = result.table()
    best = result.best("Sobol")[:, -1]
    assert table.loc["Sobol", "median"] == best.quantile(0.5)
    assert table.loc["Sobol", "wins"] == (best > result.best("random")[:, -1]).sum()


@pytest.mark.parametrize("q", [1, 3])
def test_inference_regret_follows_the_recommendation(q: int) -> None:
    @dataclass(frozen=True)
    class LastPoint:
        def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
            return random(data, bounds, q, seed)

        def recommend(self, data: StudyData) -> Tensor:
            return data.X[..., -1, :]

    problem = Branin(noise_std=1.0)
    result = study(problem, {"last": LastPoint(), "random": random}, 4, 3, q, replicates=5)
    regret = result.regret("last", kind="inference")
    assert regret.shape == (5, 4 + 3 * q)
    assert regret[:, :3].isnan().all() and regret[:, 3:].isfinite().all()
    assert result.recommended["last"].shape == (5, 4, 2)
    for t in range(4):
        index = 3 + t * q
        last = problem.noiseless(result.X["last"][:, index : index + 1])[:, 0, 0]
        held = regret[:, index : index + q]
        expected = (problem.optimal_value - last).unsqueeze(-1).expand_as(held)
        torch.testing.assert_close(held, expected)
    with pytest.raises(DataError, match="recommends nothing"):
        result.regret("random", kind="inference")


def test_strategies_for_one_replicate_recommend_too() -> None:
    @dataclass(frozen=True)
    class Single:
        batched: ClassVar[bool] = False

        def __call__(
            self, data: StudyData, bounds: Tensor, q: int, seed: Seed
        ) -> tuple[Tensor, object]:
            return random(data, bounds, q, seed), data.round

        def recommend(self, data: StudyData) -> Tensor:
            assert data.X.ndim == 2 and data.state == min(data.round, 2)
            return data.bounds.mean(0) + 0.0 * data.X[data.Y[:, 0].argmax()]

    problem = Branin()
    result = study(problem, {"single": Single()}, n_init=3, n_iter=3, replicates=2)
    middle = problem.noiseless(problem.bounds.mean(0, keepdim=True)).item()
    regret = result.regret("single", kind="inference")[:, 2:]
    torch.testing.assert_close(regret, torch.full_like(regret, problem.optimal_value - middle))


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (lambda data: data.X[:, 0, :1], r"recommend: expected a tensor of shape \(2, 2\)"),
        (lambda data: data.bounds[1].expand(2, 2) + 1.0, "recommended .* not inside"),
        (lambda data: {}["nothing"], "recommend raised KeyError"),
    ],
)
def test_bad_recommendations_are_errors(point: Callable[[StudyData], Tensor], words: str) -> None:
    @dataclass(frozen=True)
    class Careless:
        def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
            return random(data, bounds, q, seed)

        def recommend(self, data: StudyData) -> Tensor:
            return point(data)

    with pytest.raises(BolearnError, match=f"'careless', round 0.*{words}"):
        study(Branin(), {"careless": Careless()}, n_init=3, n_iter=1, replicates=2)


def test_only_feasible_points_count(tmp_path: Path) -> None:
    for noise_std in (0.0, 0.5):
        problem = ConstrainedBranin(noise_std=noise_std)
        result = study(problem, {"random": random}, n_init=3, n_iter=40, replicates=24)
        exact = problem.noiseless(result.X["random"])
        feasible = problem.feasible(exact)
        best = torch.where(feasible, exact[..., 0], -math.inf).cummax(-1).values
        torch.testing.assert_close(result.best("random"), best)
        assert result.observed["random"].all()  # a strategy sees all of them
        assert (best[:, -1] < exact[..., 0].amax(-1)).any()  # else this test shows nothing
        regret = result.regret("random")
        assert (regret >= 0).all() and torch.equal(regret.isinf(), best.isinf())
        assert regret[:, 0].isinf().any() and regret[:, -1].isfinite().all()
        result.to_json(tmp_path / "study.json")
        assert torch.equal(StudyResult.from_json(tmp_path / "study.json").regret("random"), regret)


def test_a_recommendation_that_is_not_feasible_is_worth_nothing() -> None:
    class First:
        def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
            return random(data, bounds, q, seed)

        def recommend(self, data: StudyData) -> Tensor:
            return data.X[..., 0, :]

    problem = ConstrainedBranin()
    result = study(problem, {"first": First()}, n_init=3, n_iter=2, replicates=16)
    feasible = problem.feasible(problem(result.X["first"][:, :1]))[:, 0]
    held = result.regret("first", "inference")[:, 2:]
    assert 0 < feasible.sum() < 16
    assert torch.equal(held.isfinite(), feasible.unsqueeze(-1).expand_as(held))
    with pytest.raises(DataError, match="at least n_init = 3, got at=2"):
        result.table(at=2, kind="inference")


@pytest.mark.parametrize("noise_std", [0.0, 1.0])
def test_values_count_at_the_target_fidelity(noise_std: float) -> None:
    problem = AugmentedBranin(noise_std=noise_std)
    result = study(problem, {"random": random}, n_init=3, n_iter=20, replicates=8)
    X = result.X["random"].clone()
    assert (X[..., 2] < 1).any()
    X[..., 2] = 1.0
    torch.testing.assert_close(result.values["random"], problem.noiseless(X)[..., 0])
    assert (result.regret("random") >= 0).all() and len(result.table()) == 1


@pytest.mark.parametrize(
    ("fidelity", "words"), [(1, "rescale it so that 1 is the truth"), (2, "one of 2 inputs")]
)
def test_a_fidelity_without_a_target_is_refused(fidelity: int, words: str) -> None:
    problem = Problem(lambda X: X.sum(-1), 10.0 + SQUARE, fidelity=fidelity)
    with pytest.raises(BolearnError, match=words):
        study(problem, {"random": random}, n_init=2, n_iter=1, replicates=2)


def test_runs_that_found_nothing_yet_are_compared_honestly() -> None:
    problem = Problem(
        lambda X: torch.where(X[..., 0] > 0.6, math.nan, X[..., 0]), SQUARE, optimal_value=0.6
    )

    def left(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return random(data, bounds, q, seed) * 0.5 - 0.5

    result = study(problem, {"random": random, "left": left}, n_init=6, n_iter=2, replicates=24)
    for at in (1, 2, 8):
        paired = result.compare("left", "random", at=at)
        a, b = (result.regret(name)[:, at - 1] for name in ("left", "random"))
        assert (paired.wins, paired.losses) == ((a < b).sum(), (a > b).sum())
        row = result.table(at=at).loc["left"]
        assert row["verdict"] == paired.verdict and row["ties"] == (a == b).sum()
        assert row["q10"] == quantiles(a, [0.1]).item() and math.isfinite(row["q10"])
    assert result.table(at=1).loc["left", "verdict"] == "undecided"
    assert result.regret("left")[:, 0].isinf().any()
