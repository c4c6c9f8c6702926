"""How strategies are called: in a batch, one by one; and what is wrong with their answers."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from study_cases import center
from torch import Tensor

from bolearn.errors import (
    DataError,
    OptimizationError,
    ShapeError,
)
from bolearn.problems import Branin
from bolearn.seeds import Seed
from bolearn.strategies import StudyData, random
from bolearn.studies.loop import study


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
