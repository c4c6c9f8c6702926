"""Studies: paired by construction, reproducible, honest about failures and about batching."""

import enum
import json
import math
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from jaxtyping import config
from torch import Tensor

from bolearn import strategies
from bolearn.errors import (
    BolearnError,
    DataError,
    OptimizationError,
    ShapeError,
    StorageError,
    UnsupportedError,
)
from bolearn.problems import AugmentedBranin, Branin, ConstrainedBranin, Hartmann6, Problem
from bolearn.protocols import Acquisition, Surrogate
from bolearn.seeds import Seed, derive
from bolearn.stats import quantiles
from bolearn.strategies import NelderMead, StudyData, nelder_mead, random, sobol
from bolearn.studies.loop import study
from bolearn.studies.results import StudyResult

BASELINES = {"random": random, "Sobol": sobol, "simplex": nelder_mead}


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As users run it: without the shape checks of the test suite, which would speak first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def noisy() -> StudyResult:
    return study(Branin(noise_std=2.0), BASELINES, n_init=5, n_iter=8, replicates=6, seed=3)


def center(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
    """A strategy that does nothing clever: the mean of all points of the replicate."""
    return data.X.mean(-2, keepdim=True).expand(*data.X.shape[:-2], q, -1)


# --- pairing ----------------------------------------------------------------------------------


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


# --- regret ------------------------------------------------------------------------------------


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


# --- batching ----------------------------------------------------------------------------------


def test_a_strategy_that_silently_flattens_the_replicates_is_found_out() -> None:
    def pooling(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        # treats the points of all replicates as one data set
        center = data.X.reshape(-1, data.X.shape[-1]).mean(0)
        return center.expand(len(data.X), q, -1)

    def first_only(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return data.X[:1].mean(1, keepdim=True).expand(len(data.X), q, -1)

    for replicates in (2, 3, 8):
        arms = {"pooling": pooling, "first": first_only, "center": center}
        result = study(Branin(), arms, n_init=4, n_iter=3, replicates=replicates)
        assert result.batched == {"pooling": False, "first": False, "center": True}
        assert "alone" in result.notes["pooling"] and "center" not in result.notes
        torch.testing.assert_close(result.X["pooling"], result.X["center"])
        torch.testing.assert_close(result.X["first"], result.X["center"])


def test_a_strategy_for_one_replicate_runs_and_the_result_says_so() -> None:
    def single(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> tuple[Tensor, object]:
        _, d = data.X.shape  # fails with a replicate axis
        assert isinstance(seed, int)
        count = 0 if data.state is None else data.state
        assert count == data.round
        return data.X.mean(0).expand(q, d), count + 1

    def wrong_shape(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return data.X.reshape(-1, data.X.shape[-1]).mean(0).expand(q, -1)

    arms = {"single": single, "wrong shape": wrong_shape, "center": center}
    result = study(Branin(), arms, n_init=4, n_iter=3, replicates=5)
    assert result.batched == {"single": False, "wrong shape": False, "center": True}
    assert "too many values to unpack" in result.notes["single"]
    for name in arms:
        torch.testing.assert_close(result.X[name], result.X["center"])
    assert list(result.table()["batched"]) == [False, False, True]


def test_unbatched_strategies_with_a_replicate_axis_of_one_keep_their_states() -> None:
    def counting(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> tuple[Tensor, object]:
        total = data.X.sum() + (0.0 if data.state is None else data.state)  # over replicates too
        lower, width = bounds[0], bounds[1] - bounds[0]
        return lower + width * total.sin() ** 2 * torch.ones(len(data.X), q, 2).double(), total

    batch = study(Branin(), {"counting": counting}, n_init=2, n_iter=4, replicates=3)
    assert not batch.batched["counting"]
    for i in range(3):
        alone = study(Branin(), {"counting": counting}, 2, 4, replicates=1, seed=[batch.seeds[i]])
        assert torch.equal(alone.X["counting"][0], batch.X["counting"][i])


def test_a_strategy_that_raises_shows_its_own_error() -> None:
    def broken(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        raise KeyError("my own mistake")

    with pytest.raises(OptimizationError, match=r"'mine', round 0.*my own mistake") as caught:
        study(Branin(), {"mine": broken}, n_init=2, n_iter=1, replicates=3)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_strategy_that_fails_in_two_ways_shows_both() -> None:
    def broken(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        raise ValueError(f"{data.X.ndim} axes")

    with pytest.raises(OptimizationError, match=r"3 axes.*2 axes") as caught:
        study(Branin(), {"mine": broken}, n_init=2, n_iter=1, replicates=3)
    assert isinstance(caught.value.__cause__, ExceptionGroup)


def test_a_strategy_that_raises_late_says_when() -> None:
    def late(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        if data.round == 2:
            raise ZeroDivisionError("late")
        return random(data, bounds, q, seed)

    with pytest.raises(OptimizationError, match="round 2") as caught:
        study(Branin(), {"late": late}, n_init=2, n_iter=4, replicates=3)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_missing_axis_is_named() -> None:
    def flat(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return data.X[..., 0, :]

    with pytest.raises(OptimizationError, match=r"\(3, 1, 2\).*X\.unsqueeze\(-2\)"):
        study(Branin(), {"flat": flat}, n_init=2, n_iter=1, replicates=3)


def test_a_strategy_that_draws_without_its_seed_is_found_out() -> None:
    def unseeded(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        u = torch.rand(*data.X.shape[:-2], q, 2, dtype=torch.float64)
        return bounds[0] + (bounds[1] - bounds[0]) * u

    result = study(Branin(), {"unseeded": unseeded}, n_init=2, n_iter=1, replicates=3)
    assert "without using its seed" in result.notes["unseeded"]


# --- bad proposals -----------------------------------------------------------------------------


def moved(X: Tensor, bounds: Tensor) -> Tensor:
    X = X.clone()
    X[1, 0, 0] = bounds[1, 0] + 1.0
    return X


def undefined(X: Tensor, bounds: Tensor) -> Tensor:
    X = X.clone()
    X[1, 0, 0] = math.nan
    return X


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (moved, "replicate 1.*bounds"),
        (undefined, "replicate 1.*nan"),
        (lambda X, bounds: X.float(), "float32"),
    ],
)
def test_bad_proposals_are_errors_that_name_strategy_round_and_replicate(
    spoil: object, words: str
) -> None:
    @dataclass(frozen=True)
    class Spoilt:
        batched: ClassVar[bool] = True

        def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
            X = random(data, bounds, q, seed)
            return spoil(X, bounds) if data.round == 1 else X  # type: ignore[operator]

    with pytest.raises(DataError, match=f"strategy 'spoilt', round 1.*{words}"):
        study(Branin(), {"spoilt": Spoilt()}, n_init=2, n_iter=3, replicates=3)


def test_rounding_outside_the_bounds_is_forgiven_and_mended() -> None:
    def edge(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return (bounds[1] + 1e-12).expand(*data.X.shape[:-2], q, -1)

    result = study(Branin(), {"edge": edge}, n_init=2, n_iter=1, replicates=2)
    assert torch.equal(result.X["edge"][0, -1], Branin().bounds[1])


def test_a_declared_batch_strategy_of_the_wrong_shape_is_an_error() -> None:
    @dataclass(frozen=True)
    class Wrong:
        batched: ClassVar[bool] = True

        def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
            return bounds[:1]

    with pytest.raises(ShapeError, match=r"expected a tensor of shape \(3, 1, 2\)"):
        study(Branin(), {"wrong": Wrong()}, n_init=2, n_iter=1, replicates=3)


# --- failed evaluations ------------------------------------------------------------------------


def fragile(X: Tensor) -> Tensor:
    """-|x|^2 on [-1, 1]^2; NaN in one corner."""
    value = -(X**2).sum(-1)
    return torch.where((X > 0.3).all(-1), math.nan, value)


def raising(x: Tensor) -> float:
    """The same for one point; raises in that corner."""
    if (x > 0.3).all():
        raise RuntimeError("the flask broke")
    return float(-(x**2).sum())


SQUARE = torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)


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


# --- bad settings ------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_init": 0}, "n_init: expected an integer >= 1"),
        ({"n_iter": 0}, "n_iter"),
        ({"q": 0}, "q: expected"),
        ({"q": 1.5}, "q: expected"),
        ({"replicates": 0}, "replicates"),
        ({"seed": -1}, "seed"),
        ({"seed": [1, 2, 3]}, "seed: expected 2 seeds"),
        ({"strategies": {}}, "without entries"),
        ({"strategies": random}, "expected a dictionary"),
        ({"strategies": {"a": 3}}, "expected names and functions"),
        ({"strategies": {"a": NelderMead}}, "give an instance"),
        ({"problem": fragile}, r"Problem\(f, bounds\)"),
    ],
)
def test_bad_settings_say_what_to_do(change: dict[str, object], words: str) -> None:
    good: dict[str, object] = {
        "problem": Branin(),
        "strategies": {"random": random},
        "n_init": 2,
        "n_iter": 1,
        "replicates": 2,
    }
    with pytest.raises(BolearnError, match=words):
        study(**(good | change))  # type: ignore[arg-type]


@pytest.mark.usefixtures("unchecked")
def test_bad_questions_to_a_result_say_what_to_do(noisy: StudyResult) -> None:
    with pytest.raises(DataError, match=r"expected one of the strategies \['random'"):
        noisy.regret("LogEI")
    with pytest.raises(DataError, match="13 evaluations, got at=14"):
        noisy.table(at=14)
    with pytest.raises(DataError, match="at: expected an integer >= 1"):
        noisy.compare("random", "Sobol", at=0)
    with pytest.raises(DataError, match="simple"):
        noisy.regret("random", kind="cumulative")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="strategies"):
        noisy.table(reference="nothing")


# --- tables and files --------------------------------------------------------------------------


def test_the_table_says_what_the_regrets_say(noisy: StudyResult) -> None:
    table = noisy.table(reference="Sobol", at=10)
    assert list(table.index) == list(noisy.names)
    final = noisy.regret("simplex")[:, 9]
    np.testing.assert_allclose(
        table.loc["simplex", ["q10", "q25", "median", "q75", "q90"]].to_numpy(dtype=float),
        np.quantile(final.numpy(), [0.1, 0.25, 0.5, 0.75, 0.9]),
    )
    paired = final.log10() - noisy.regret("Sobol")[:, 9].log10()
    np.testing.assert_allclose(table.loc["simplex", "log10 difference"], np.median(paired.numpy()))
    assert table.loc["simplex", "wins"] == (paired < 0).sum()
    assert table.loc["Sobol", "verdict"] == "reference"
    assert noisy.compare("simplex", "Sobol", at=10).verdict == table.loc["simplex", "verdict"]


@pytest.mark.parametrize("optimum", [None, 0.0])
def test_the_long_table_has_a_row_for_each_evaluation(optimum: float | None) -> None:
    problem = Problem(fragile, SQUARE, optimal_value=optimum, noise_std=0.1)
    result = study(problem, BASELINES, 6, 5, replicates=4)
    table = result.long_table()
    assert len(table) == 3 * 4 * 11 and ("regret" in table) == (optimum is not None)
    for row in table.sample(30, random_state=0).itertuples():
        i, j = row.replicate, row.evaluation - 1
        assert [row.x1, row.x2] == result.X[row.strategy][i, j].tolist()
        assert row.observed == result.observed[row.strategy][i, j].item()
        for column, truth in (
            (row.y1, result.Y[row.strategy][i, j, 0]),
            (row.value, result.values[row.strategy][i, j]),
        ):
            assert column == truth.item() or (not row.observed and math.isnan(column))
        assert row.best == result.best(row.strategy)[i, j].item()
    if optimum is not None:
        means = table.groupby(["strategy", "evaluation"])["regret"].mean()
        torch.testing.assert_close(
            torch.tensor(means["Sobol"].to_numpy()), result.regret("Sobol").mean(0)
        )


def test_json_reads_back_exactly(tmp_path: Path) -> None:
    problem = Problem(fragile, SQUARE, optimal_value=0.0, noise_std=0.1)
    result = study(problem, BASELINES, 6, 5, replicates=4)
    path = tmp_path / "study.json"
    result.to_json(path)
    back = StudyResult.from_json(path)
    for key in ("X", "Y", "observed", "values", "recommended", "recommended_values"):
        ours, theirs = getattr(result, key), getattr(back, key)
        assert list(ours) == list(theirs)
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0, equal_nan=True)
            assert ours[name].dtype == theirs[name].dtype
    same = ("problem", "output", "optimal_value", "noise_std", "n_init", "n_iter", "q", "seeds")
    same += ("seconds", "batched", "notes", "failures", "versions", "names")
    for key in same:
        assert getattr(result, key) == getattr(back, key), key
    assert torch.equal(result.bounds, back.bounds)
    assert result.versions["torch"] == metadata.version("torch")
    assert json.loads(path.read_text())["format"] == "bolearn.study/2"
    columns = [c for c in result.table().columns if c != "seconds"]
    assert result.table()[columns].equals(back.table()[columns])


def test_json_without_points_keeps_values_and_is_smaller(tmp_path: Path) -> None:
    result = study(Hartmann6(), BASELINES, 6, 5, replicates=4)
    result.to_json(tmp_path / "all.json")
    result.to_json(tmp_path / "small.json", points=False)
    sizes = [(tmp_path / name).stat().st_size for name in ("all.json", "small.json")]
    assert sizes[1] < sizes[0] / 3
    back = StudyResult.from_json(tmp_path / "small.json")
    assert torch.equal(back.regret("Sobol"), result.regret("Sobol"))
    assert back.X["Sobol"].shape == result.X["Sobol"].shape and back.X["Sobol"].isnan().all()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "something else"}'])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(StorageError, match="expected"):
        StudyResult.from_json(path)


# --- stopping and going on ---------------------------------------------------------------------


@dataclass
class Fuse:
    """A problem that is interrupted at one of its evaluations."""

    problem: Problem
    left: int

    def __getattr__(self, name: str) -> object:
        return getattr(self.problem, name)

    def __call__(self, X: Tensor, seed: Seed | None = None) -> Tensor:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.problem(X, seed)


@pytest.mark.parametrize("evaluations", [8, 14, 21])
def test_an_interrupted_study_goes_on_where_it_was(tmp_path: Path, evaluations: int) -> None:
    problem = Branin(noise_std=1.0)
    whole = study(problem, BASELINES, 4, 6, replicates=3)
    path = tmp_path / "study.pt"
    with pytest.raises(KeyboardInterrupt):
        study(Fuse(problem, evaluations), BASELINES, 4, 6, replicates=3, checkpoint=path)  # type: ignore[arg-type]
    rest = Fuse(problem, 1_000)
    resumed = study(rest, BASELINES, 4, 6, replicates=3, checkpoint=path)  # type: ignore[arg-type]
    for name in whole.names:
        assert torch.equal(whole.X[name], resumed.X[name])
        assert torch.equal(whole.Y[name], resumed.Y[name])
        assert whole.batched[name] == resumed.batched[name]
    assert 1_000 - rest.left < 4 + 3 * 6  # it did not start anew
    again = study(problem, BASELINES, 4, 6, replicates=3, checkpoint=path)
    assert again.seconds == resumed.seconds  # nothing is done twice
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, sys, torch
import bolearn as bl

class Dying(bl.Problem):
    left = int(sys.argv[2])

    def __call__(self, X, seed=None):
        Dying.left -= 1
        if Dying.left == 0:
            os._exit(9)  # no exception, no clean-up: as if the machine were switched off
        return super().__call__(X, seed)

problem = bl.problems.Branin(noise_std=1.0)
dying = Dying(problem.f, problem.bounds, problem.optimal_value, 1.0, name=problem.name)
turbo = bl.strategies.TuRBO(candidates=16, num_features=16)
arms = {"Sobol": bl.strategies.sobol, "TuRBO": turbo}
bl.study(dying, arms, n_init=4, n_iter=5, q=2, replicates=3, checkpoint=sys.argv[1])
"""


def test_a_killed_process_loses_one_round_at_most(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    turbo = strategies.TuRBO(candidates=16, num_features=16)
    arms = {"Sobol": sobol, "TuRBO": turbo}
    whole = study(Branin(noise_std=1.0), arms, 4, 5, q=2, replicates=3)
    done = subprocess.run([sys.executable, "-c", KILLED, path, "21"], capture_output=True)
    assert done.returncode == 9, done.stderr.decode()
    rest = Fuse(Branin(noise_std=1.0), 1_000)
    resumed = study(rest, arms, 4, 5, q=2, replicates=3, checkpoint=path)  # type: ignore[arg-type]
    # 4 of the design, 10 for Sobol and 6 for TuRBO were done; the design is measured again
    assert 1_000 - rest.left == 4 + 4
    for name in arms:
        assert torch.equal(whole.X[name], resumed.X[name])
        assert torch.equal(whole.Y[name], resumed.Y[name])
        same = torch.eq(
            whole.recommended_values.get(name, torch.zeros(1)),
            resumed.recommended_values.get(name, torch.zeros(1)),
        )
        assert bool(same.all())


def test_a_checkpoint_of_another_strategy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    study(Branin(), {"a": NelderMead()}, 3, 2, replicates=2, checkpoint=path)
    for other in (NelderMead(step=0.1), random, partial(random), lambda *_: None):
        with pytest.raises(StorageError, match="'a' is not the same"):
            study(Branin(), {"a": other}, 3, 2, replicates=2, checkpoint=path)
    study(Branin(), {"a": NelderMead()}, 3, 2, replicates=2, checkpoint=path)
    path = tmp_path / "another.pt"
    study(Branin(), {"a": strategies.ucb(1.0)}, 3, 1, replicates=2, checkpoint=path)
    with pytest.raises(StorageError, match="'a' is not the same"):
        study(Branin(), {"a": strategies.ucb(2.0)}, 3, 1, replicates=2, checkpoint=path)


def test_a_checkpoint_of_another_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    study(Branin(), {"random": random}, 3, 2, replicates=2, checkpoint=path)
    with pytest.raises(StorageError, match="n_iter is 2 there and 3 here"):
        study(Branin(), {"random": random}, 3, 3, replicates=2, checkpoint=path)
    path.write_bytes(b"nothing")
    with pytest.raises(StorageError, match="move it away"):
        study(Branin(), {"random": random}, 3, 2, replicates=2, checkpoint=path)


def test_a_state_that_cannot_be_saved_is_refused_at_once(tmp_path: Path) -> None:
    def odd(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> tuple[Tensor, object]:
        return random(data, bounds, q, seed), object()

    with pytest.raises(StorageError, match="a state made of tensors"):
        study(Branin(), {"odd": odd}, 3, 2, replicates=2, checkpoint=tmp_path / "study.pt")


# --- the baselines -----------------------------------------------------------------------------


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


def test_progress_names_method_round_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    study(Branin(), {"random": random, "Sobol": sobol}, 2, 3, replicates=2, progress=True)
    captured = capsys.readouterr()
    first, second, nothing = captured.err.split("\n")
    assert captured.out == "" and nothing == ""
    looks = [look.rstrip() for look in first.split("\r")[1:]]
    bar = r"random \(1 of 2\) \[#{%d}\.{%d}\] %d/3 rounds, 0:0\d elapsed"
    assert re.fullmatch(bar % (6, 14, 1) + r", 0:\d\d left", looks[0])
    assert re.fullmatch(bar % (20, 0, 3), looks[-1])
    assert "Sobol (2 of 2)" in second


def test_progress_tells_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    class Slow:
        """Half a minute for each round, by a clock of our own."""

        seconds = 0.0

        def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
            Slow.seconds += 30.0
            return random(data, bounds, q, seed)

    monkeypatch.setattr("bolearn.studies.progress.time.monotonic", lambda: Slow.seconds)
    study(Branin(), {"slow": Slow()}, n_init=2, n_iter=130, replicates=1, progress=True)
    looks = [look.rstrip() for look in capsys.readouterr().err.split("\r")]
    assert any(look.endswith("11/130 rounds, 5:00 elapsed, 59:30 left") for look in looks)
    assert looks[-1].endswith("130/130 rounds, 1:04:30 elapsed")


def test_progress_is_off_unless_someone_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> str:
        study(Branin(), {"random": random}, n_init=2, n_iter=3, replicates=2)
        return capsys.readouterr().err

    assert run() == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("CI", "true")
    assert run() == ""
    monkeypatch.delenv("CI")
    assert "3/3 rounds" in run()


def test_memory_is_that_of_the_record() -> None:
    result = study(Branin(), {"random": random}, n_init=2, n_iter=3, replicates=100)
    assert result.X["random"].untyped_storage().nbytes() == 100 * 5 * 2 * 8


# --- strategies with a model -------------------------------------------------------------------


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


def test_a_study_with_a_model_can_be_interrupted_too(tmp_path: Path) -> None:
    arms = {"LogEI": strategies.log_ei}
    path = tmp_path / "study.pt"
    whole = study(Branin(), arms, 4, 3, replicates=2)
    with pytest.raises(KeyboardInterrupt):
        study(Fuse(Branin(), 6), arms, 4, 3, replicates=2, checkpoint=path)  # type: ignore[arg-type]
    resumed = study(Branin(), arms, 4, 3, replicates=2, checkpoint=path)
    assert torch.equal(whole.X["LogEI"], resumed.X["LogEI"])
    assert torch.equal(whole.recommended["LogEI"], resumed.recommended["LogEI"])


# --- what counts: feasible, at the target, found at all ------------------------------------------


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


# --- strategies that change their ways or their arguments ----------------------------------------


def test_mixing_replicates_from_the_second_round_on_is_found_out() -> None:
    def mixing(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        if data.round == 0:
            return random(data, bounds, q, seed)
        X = data.X.reshape(-1, 2)
        return X[data.Y.reshape(-1).argmax()].expand(*data.X.shape[:-2], q, 2)

    def own(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        if data.round == 0:
            return random(data, bounds, q, seed)
        at = data.Y.argmax(-2, keepdim=True).expand(*data.X.shape[:-2], 1, 2)
        return data.X.gather(-2, at)

    def single(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        if data.round == 0:
            return random(data, bounds, q, seed)
        return data.X[data.Y[:, 0].argmax()].expand(q, 2)

    arms = {"mixing": mixing, "own": own, "single": single}
    result = study(Branin(), arms, n_init=4, n_iter=4, replicates=5)
    assert result.batched == {"mixing": False, "own": True, "single": False}
    assert "in round 1" in result.notes["mixing"] and "in round 1" in result.notes["single"]
    for name in arms:
        assert torch.equal(result.X[name], result.X["own"])


def test_states_are_kept_where_batching_ends_in_the_second_round() -> None:
    def counting(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> tuple[Tensor, object]:
        total = data.X[..., :4, :].sum((-2, -1)) + (0.0 if data.state is None else data.state)
        if data.round > 0:
            total = total.mean(0, keepdim=True).expand_as(total)  # over replicates
        u = total.sin().square().reshape(-1, 1, 1).expand(-1, q, 2)
        return bounds[0] + (bounds[1] - bounds[0]) * u, total

    batch = study(Branin(), {"counting": counting}, n_init=4, n_iter=4, replicates=3)
    assert not batch.batched["counting"]
    for i in range(3):
        alone = study(Branin(), {"counting": counting}, 4, 4, replicates=1, seed=[batch.seeds[i]])
        assert torch.equal(alone.X["counting"][0], batch.X["counting"][i])


def test_strategies_cannot_write_into_the_bounds() -> None:
    problem = Branin()
    before = problem.bounds.clone()

    @dataclass
    class Vandal:
        batched: bool

        def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
            assert torch.equal(bounds, before) and torch.equal(data.bounds, before)
            X = random(data, bounds, q, seed)
            if isinstance(seed, int):
                X = X.reshape(q, 2)
            bounds.zero_()
            data.bounds.zero_()
            return X

        def recommend(self, data: StudyData) -> Tensor:
            data.bounds.zero_()
            return data.X[..., 0, :].clone()

    arms = {"all": Vandal(True), "single": Vandal(False), "random": random}
    result = study(problem, arms, 3, 3, replicates=3)
    assert torch.equal(problem.bounds, before) and torch.equal(result.bounds, before)
    for name in arms:
        assert torch.equal(result.X[name], result.X["random"])


# --- checkpoints that do not fit -----------------------------------------------------------------


def test_a_checkpoint_of_another_function_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    arms = {"random": random}
    once, twice = (
        Problem(
            lambda X, k=k: torch.where(X[:, 0] > 0.8, math.nan, k * X.sum(-1)), SQUARE, None, 1.0
        )
        for k in (1.0, 2.0)
    )
    whole = study(once, arms, 8, 2, replicates=4, checkpoint=path)
    assert not whole.observed["random"][:, :8].all()
    again = study(once, arms, 8, 2, replicates=4, checkpoint=path)
    assert torch.equal(whole.X["random"], again.X["random"])
    with pytest.raises(StorageError, match="belongs to another problem"):
        study(twice, arms, 8, 2, replicates=4, checkpoint=path)


@dataclass(frozen=True)
class Fixed:
    """The same point for ever."""

    at: tuple[float, ...]

    def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return (bounds[0] + (bounds[1] - bounds[0]) * self.at[0]).expand(*data.X.shape[:-2], q, 2)


class Holding:
    """A strategy of ordinary make, with anything in it."""

    def __init__(self, at: object) -> None:
        self.at, self.back = at, self

    def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return random(data, bounds, q, seed)


def test_a_checkpoint_remembers_what_strategies_are_made_of(tmp_path: Path) -> None:
    def sharpened(
        data: StudyData, bounds: Tensor, q: int, seed: Seed, k: tuple[float, ...]
    ) -> Tensor:
        return random(data, bounds, q, seed)

    kinds: list[Callable[[float], Any]] = [
        lambda k: Fixed((k,)),
        Holding,
        lambda k: Holding({"a": [k]}),
        lambda k: Holding(torch.tensor(k)),
        lambda k: Holding(np.array([k])),
        lambda k: Holding(Fixed((k,))),
        lambda k: Holding(k).__call__,
        lambda k: partial(sharpened, k=(k,)),
    ]
    for i, kind in enumerate(kinds):
        path = tmp_path / f"{i}.pt"
        study(Branin(), {"a": kind(0.1)}, 3, 1, replicates=2, checkpoint=path)
        study(Branin(), {"a": kind(0.1)}, 3, 1, replicates=2, checkpoint=path)
        with pytest.raises(StorageError, match="'a' is not the same"):
            study(Branin(), {"a": kind(0.9)}, 3, 1, replicates=2, checkpoint=path)


class Pair(NamedTuple):
    a: int
    b: int


class Level(enum.IntEnum):
    LOW = 1


@pytest.mark.parametrize(
    ("state", "where"),
    [
        (np.float64(1.0), "numpy.float64 as state"),
        ({"best": [np.float64(1.0)]}, r"numpy.float64 as state\['best'\]\[0\]"),
        ({np.str_("a"): 1}, "the key"),
        ([1, Pair(1, 2)], r"Pair as state\[1\]"),
        (Level.LOW, "Level as state"),
        (defaultdict(list), "defaultdict as state"),
        ({"a": {1}}, r"set as state\['a'\]"),
    ],
)
def test_states_that_would_come_back_as_something_else_are_refused(
    tmp_path: Path, state: object, where: str
) -> None:
    def keeping(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> tuple[Tensor, object]:
        return random(data, bounds, q, seed), state

    with pytest.raises(StorageError, match=where):
        study(Branin(), {"a": keeping}, 3, 2, replicates=2, checkpoint=tmp_path / "study.pt")


def test_states_that_are_accepted_come_back(tmp_path: Path) -> None:
    state: dict[object, Any] = {"a": [1, 2.5, "x", None, True], 3: (torch.ones(2), torch.Size([3]))}
    state["net"] = torch.nn.Linear(2, 1).state_dict()
    seen: list[Any] = []

    @dataclass(frozen=True)
    class Keeping:
        batched: ClassVar[bool] = True

        def __call__(
            self, data: StudyData, bounds: Tensor, q: int, seed: Seed
        ) -> tuple[Tensor, object]:
            seen.append(data.state)
            return random(data, bounds, q, seed), state

    path = tmp_path / "study.pt"
    with pytest.raises(KeyboardInterrupt):
        study(Fuse(Branin(), 5), {"a": Keeping()}, 3, 3, replicates=2, checkpoint=path)  # type: ignore[arg-type]
    seen.clear()
    study(Branin(), {"a": Keeping()}, 3, 3, replicates=2, checkpoint=path)
    back = seen[0]
    assert list(back) == list(state) and back["a"] == state["a"]
    assert [type(x) for x in back[3]] == [Tensor, torch.Size]
    assert all(torch.equal(back["net"][k], v) for k, v in state["net"].items())


@pytest.mark.usefixtures("unchecked")
def test_bad_places_for_a_checkpoint_are_found_before_any_work(tmp_path: Path) -> None:
    torch.save({"settings": None, "arms": {}}, tmp_path / "none.pt")
    torch.save({"settings": {}, "arms": 3}, tmp_path / "arms.pt")
    places: list[tuple[object, str]] = [
        (tmp_path / "missing" / "study.pt", "does not exist; create it"),
        (5, "expected the path of a file"),
        (tmp_path / "none.pt", "move it away"),
        (tmp_path / "arms.pt", "move it away"),
        (tmp_path, "move it away"),
    ]
    for place, words in places:
        fuse = Fuse(Branin(), 1)  # the first evaluation would be a KeyboardInterrupt
        with pytest.raises(BolearnError, match=words):
            study(fuse, {"a": random}, 3, 2, replicates=2, checkpoint=place)  # type: ignore[arg-type]


def test_files_that_lack_something_are_refused(tmp_path: Path, noisy: StudyResult) -> None:
    path = tmp_path / "study.json"
    noisy.to_json(path)
    whole = json.loads(path.read_text())

    def without(key: str) -> dict[str, Any]:
        content = json.loads(path.read_text())
        content["strategies"]["Sobol"].pop(key)
        return content

    ragged = json.loads(path.read_text())
    ragged["strategies"]["Sobol"]["Y"][0].pop()
    short = json.loads(path.read_text())
    for rows in (short["strategies"]["Sobol"][key] for key in ("X", "Y", "observed", "values")):
        rows.pop()
    broken = [without(key) for key in ("seconds", "values", "Y", "observed")]
    broken += [ragged, short, {"format": whole["format"]}, whole | {"strategies": []}]
    for i, content in enumerate(broken):
        other = tmp_path / f"{i}.json"
        other.write_text(json.dumps(content))
        with pytest.raises(StorageError, match="expected a study written by"):
            StudyResult.from_json(other)
    with pytest.raises(StorageError, match="folder that exists"):
        noisy.to_json(tmp_path / "missing" / "study.json")
