"""One number for every replicate: in fields of subclasses, levels, weights, objectives, limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from oracles import F64, T, assert_close, dataset, draw, entry, gp
from torch import Tensor

import bolearn as bl
from bolearn.seeds import derive

S = 4  # few samples, so that their number can be that of the replicates


@dataclass(frozen=True, eq=False)
class LogAbove(bl.LogMonteCarloAcquisition):
    """log P(f > level), smoothed: the README's example."""

    level: float | Tensor

    def utility(self, y: Tensor) -> Tensor:
        return torch.nn.functional.logsigmoid((y - self.level) / 0.1)


@dataclass(frozen=True, eq=False)
class Above(bl.MonteCarloAcquisition):
    """How far f exceeds a level, which may be negative."""

    level: float | Tensor
    weight: float | Tensor = 1.0

    def utility(self, y: Tensor) -> Tensor:
        return self.weight * (y - self.level)


def by_replicate(model: bl.ExactGP, name: str) -> Tensor:
    """Numbers far from one another, one for every replicate."""
    return 0.2 + 3 * draw(tuple(model.batch_shape), name)


MAKERS: dict[str, Callable[..., object]] = {
    "LogAbove": lambda m, level, **o: LogAbove(m, level, **o),
    "Above": lambda m, level, **o: Above(m, level, weight=level * 2, **o),
    "qUCB": lambda m, level, **o: bl.qUpperConfidenceBound(m, level, **o),
    "qLogEI": lambda m, level, **o: bl.qLogExpectedImprovement(m, level, **o),
    "qLogEI, template": lambda m, level, **o: bl.qLogExpectedImprovement(
        m, level, objective=lambda y: 1.0 * y[..., 0], **o
    ),
    "qSR, limited": lambda m, level, **o: bl.qSimpleRegret(
        m, outcome_constraints=(bl.at_least(0, 0.3),), infeasible_value=-level, **o
    ),
    "LogEI": lambda m, level, **o: bl.LogExpectedImprovement(m, level),
    "UCB": lambda m, level, **o: bl.UpperConfidenceBound(m, level),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("r", "lead"), [((1,), (2,)), ((3,), ()), ((3,), (3,)), ((S,), (3, 2)), ((2, 2), (2,))]
)
def test_a_replicate_has_the_value_that_it_has_alone(
    name: str, r: tuple[int, ...], lead: tuple[int, ...]
) -> None:
    """With as many points as replicates, where a missing axis would be paired with them."""
    model, R = gp(6, 2, 1, r), torch.Size(r).numel()
    level = by_replicate(model, name)
    q = 1 if name in ("LogEI", "UCB") else r[-1]
    X = draw((*lead, *r, q, 2), "X", name)
    found = MAKERS[name](model, level, sampler=bl.Sampler(S, seed=7))(X)
    assert found.shape == (*lead, *r)
    for i in range(R):
        index = tuple(int(v) for v in np.unravel_index(i, r))
        own = bl.Sampler(S, seed=derive(7, i))
        alone = MAKERS[name](entry(model, index), level[index].item(), sampler=own)
        assert_close(found[(..., *index)], alone(X[(..., *index, slice(None), slice(None))]), 1e-7)


def test_the_example_of_the_readme_with_the_level_of_an_incumbent() -> None:
    model = gp(6, 2, 1, (2,))
    level = bl.incumbent(model, model.X).value
    X = draw((2, 2, 2), "X")
    found = LogAbove(model, level, sampler=bl.Sampler(64, seed=1))(X)
    swapped = LogAbove(model, level.flip(0), sampler=bl.Sampler(64, seed=1))(X)
    for i in range(2):
        for acq, own in ((found, level[i]), (swapped, level[1 - i])):
            alone = LogAbove(entry(model, (i,)), own.item(), sampler=bl.Sampler(64, derive(1, i)))
            assert_close(acq[i], alone(X[i]), 1e-8)


def test_pending_points_keep_each_replicate_its_number() -> None:
    model = gp(6, 2, 1, (3,))
    level = by_replicate(model, "level")
    X, pending = draw((4, 3, 2, 2), "X"), draw((3, 1, 2), "P")
    acq = LogAbove(model, level, sampler=bl.Sampler(S, seed=7)).with_pending(pending)
    together = torch.cat([X, pending.expand(4, 3, 1, 2)], dim=-2)
    assert_close(acq(X), LogAbove(model, level, sampler=bl.Sampler(S, seed=7))(together), 1e-12)


def test_a_field_that_has_the_axis_already_is_refused() -> None:
    """With as many restarts as replicates, where it would be paired with them."""

    @dataclass(frozen=True, eq=False)
    class Twice(bl.LogMonteCarloAcquisition):
        level: Tensor

        def utility(self, y: Tensor) -> Tensor:
            return y - self.level.unsqueeze(-1)

    model = gp(6, 2, 1, (3,))
    acq = Twice(model, T([0.1, 0.2, 0.3]))
    for restarts in (1, 3, 5):
        with pytest.raises(bl.ShapeError, match=r"Twice.utility.*\*r = \(3,\).* as \*r 1"):
            acq(draw((restarts, 3, 2, 2), "X"))


def test_weights_of_the_points_keep_their_axis() -> None:
    model = gp(6, 2, 1, (3,))
    weight = T([[1.0, 2.0, 3.0]])  # 1 q
    X = draw((4, 3, 3, 2), "X")
    y = bl.MonteCarloAcquisition.draw(Above(model, 0.0), X)[..., 0]
    assert_close(Above(model, 0.0, weight=weight)(X), (weight * y).amax(-1).mean(0), 1e-12)


def test_what_is_no_tensor_or_no_number_is_refused() -> None:
    model, X = gp(6, 2, 1, (3,)), draw((3, 2, 2), "X")
    with pytest.raises(bl.DataError, match=r"level: expected a tensor.*ndarray.*as_tensor"):
        LogAbove(model, np.array([0.1, 0.2, 0.3]))(X)  # type: ignore[arg-type]

    @dataclass(frozen=True, eq=False)
    class Truth(bl.MonteCarloAcquisition):
        def utility(self, y: Tensor) -> Tensor:
            return y > 0.3

    with pytest.raises(bl.DataError, match=r"Truth.utility.*torch.bool.*truth value"):
        Truth(model)(X)


# -- objectives and limits -----------------------------------------------------------------------


def closures(numbers: Tensor, axis: bool) -> tuple[Callable[[Tensor], Tensor], ...]:
    """An objective and a limit with a number for every replicate, with and without its axis."""
    own = numbers.unsqueeze(-1) if axis else numbers
    return (lambda y: y[..., 0] * own), (lambda y: y[..., 1] - own)


@pytest.mark.parametrize("kind", ["qLogEI", "qLogNEI", "qLogNEI, all of it", "qSR", "qLogPF"])
@pytest.mark.parametrize("r", [(3,), (2, 3)])
def test_functions_of_outcomes_with_a_number_for_every_replicate(
    kind: str, r: tuple[int, ...]
) -> None:
    model, R = gp(6, 2, 2, r), torch.Size(r).numel()
    numbers = by_replicate(model, "limits")

    def make(model: bl.ExactGP, numbers: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
        goal, limit = closures(numbers, axis=True)
        options = {"objective": goal, "outcome_constraints": (limit,)}
        options["sampler"] = bl.Sampler(32, seed=seed)
        if kind == "qLogEI":
            return bl.qLogExpectedImprovement(model, 0.1, **options)
        if kind == "qSR":
            return bl.qSimpleRegret(model, infeasible_value=-9.0, **options)
        if kind == "qLogPF":
            return bl.qLogProbabilityOfFeasibility(model, **options)
        prune = kind == "qLogNEI"
        return bl.qLogNoisyExpectedImprovement(model, model.X, prune=prune, **options)

    X = draw((4, *r, r[-1], 2), "X")
    found = make(model, numbers, 5)(X)
    for i in range(R):
        index = tuple(int(v) for v in np.unravel_index(i, r))
        alone = make(entry(model, index), numbers[index], derive(5, i))
        assert_close(found[(..., *index)], alone(X[(slice(None), *index)]), 1e-6)


@pytest.mark.parametrize("R", [2, 3])
def test_functions_of_outcomes_without_the_axis_of_the_points_are_refused(R: int) -> None:
    """Whether or not there are as many points as replicates."""
    model = gp(R, 2, 2, (R,))
    goal, limit = closures(by_replicate(model, "limits"), axis=False)
    sampled = {"objective": goal}, {"outcome_constraints": (limit,)}
    words = r"limit\[\.\.\., None\]"
    for options in sampled:
        for make in (
            lambda **o: bl.qLogExpectedImprovement(model, 0.1, **o),
            lambda **o: bl.qLogNoisyExpectedImprovement(model, model.X, **o),
            lambda **o: bl.qSimpleRegret(model, infeasible_value=-9.0, **o),
            lambda **o: bl.incumbent(model, model.X, **{"objective": bl.output(0), **o}),
        ):
            with pytest.raises(bl.ShapeError, match=words):
                make(**options)
    with pytest.raises(bl.ShapeError, match=words):
        bl.thompson(model, choices=draw((R, 2), "choices"), objective=goal, seed=0)


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
def test_truth_values_and_whole_numbers_are_no_outcomes(kind: torch.dtype) -> None:
    model = gp(6, 2, 2)

    def wrong(y: Tensor) -> Tensor:
        return (y[..., 0] < 0.5).to(kind)

    for make in (
        lambda: bl.qLogExpectedImprovement(model, 0.1, outcome_constraints=(wrong,)),
        lambda: bl.qLogExpectedImprovement(model, 0.1, objective=wrong),
        lambda: bl.qLogProbabilityOfFeasibility(model, outcome_constraints=(wrong,)),
        lambda: bl.LogConstrainedExpectedImprovement(
            model,
            0.1,
            outcome_constraints=(wrong,),
        ),
        lambda: bl.incumbent(model, model.X, wrong),
        lambda: bl.incumbent(model, model.X, bl.output(0), (wrong,)),
        lambda: bl.thompson(model, choices=model.X, objective=wrong, seed=0),
    ):
        with pytest.raises(bl.DataError, match=r"expected values in torch.float64.*truth value"):
            make()


def test_the_unit_of_a_weighted_sum_is_the_deviation_of_independent_outputs() -> None:
    """Where outputs vary independently, the deviation of the sum is the root of squares."""
    goal = bl.weighted_sum(3.0, -4.0)
    assert_close(goal.scale(T([[1.0, 1.0], [2.0, 0.5]])), T([5.0, 40.0**0.5]), 1e-12)
    y = torch.randn(200_000, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    scale = T([2.0, 0.7])
    assert_close(goal.scale(scale), goal(y * scale).std(), 0.02)


def test_the_value_depends_on_the_outputs_units_only_through_the_sum() -> None:
    """Smoothing is in units of the objective: another unit of Y moves log EI by its logarithm."""
    X, Y, bounds = dataset(8, 2, 2)
    goal, c = bl.weighted_sum(1.0, -2.0), 1e-6
    P = draw((5, 2, 2), "P")
    values = []
    for unit in (1.0, c):
        model = bl.ExactGP(X, Y * unit, bounds).with_hyperparameters(lengthscale=0.3)
        acq = bl.qLogExpectedImprovement(model, 0.1 * unit, objective=goal)
        values.append(acq(P) - torch.log(T(unit)))
    assert_close(values[1], values[0], 1e-6)
