"""NumPy's numbers are numbers: as seeds, counts, levels, weights, limits and fixed values."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from jaxtyping import config
from oracles import box, dataset, draw

import bolearn as bl
from bolearn import seeds
from bolearn.shapes import check_count, check_number


@pytest.fixture(autouse=True, scope="module")
def unchecked() -> Iterator[None]:
    """As users run it: without the annotations of the test suite, which would speak first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def search(whole: Callable, real: Callable) -> list[torch.Tensor]:
    """Searches with every number made by ``whole`` or ``real``."""
    X, Y, bounds = dataset(6, 2, 2, (2,))
    model = bl.ExactGP(X, Y, bounds)
    small = {"num_restarts": whole(3), "raw_samples": whole(32)}
    limits = (bl.linear_constraint([whole(0), whole(1)], [real(1), whole(1)], at_most=real(1.5)),)
    sampler = bl.Sampler(whole(16), seed=whole(3))
    goal, limit = bl.weighted_sum(real(1), whole(2)), bl.at_most(whole(1), real(1.5))
    joint = bl.qLogExpectedImprovement(
        model, real(0.25), objective=goal, outcome_constraints=(limit,), sampler=sampler
    )
    single = bl.ExactGP(X, Y[..., :1], bounds)
    bound = bl.UpperConfidenceBound(single, real(2))
    fixed = {whole(0): real(0.5)}
    found = [
        bl.optimize_acqf(joint, bounds, whole(2), seed=whole(1), **small).x,
        bl.optimize_acqf(bound, bounds, fixed=fixed, seed=whole(1), **small).x,
        bl.optimize_acqf(bound, bounds, input_constraints=limits, seed=whole(1), **small).x,
        bl.optimize_acqf(bound, bounds, seed=[whole(7), whole(8)], **small).x,
        bl.optimize_acqf(
            lambda X: X.sum((-2, -1)), bounds, batch_shape=(whole(2),), seed=whole(0), **small
        ).x,
        bl.thompson(single, bounds, whole(2), num_features=whole(64), seed=whole(5), **small).x,
        bl.thompson(single, choices=draw((5, 2), "c"), q=whole(2), seed=whole(5)).x,
        bl.sobol_points(bounds, whole(4), seed=whole(2), replicates=whole(3)),
        sampler.base_samples((2, 1), (3,)),
        bl.optimize_acqf_stochastic(
            lambda seed: bound, bounds, steps=whole(3), step_size=real(0.25), seed=whole(2), **small
        ).x,
    ]
    return found


def test_they_mean_what_pythons_mean() -> None:
    ours = search(int, float)
    for kind, real in ((np.int64, np.float32), (np.uint8, np.float64)):
        for theirs, own in zip(search(kind, real), ours, strict=True):
            assert torch.equal(theirs, own)


def test_seeds_that_are_equal_give_equal_streams() -> None:
    assert seeds.derive(np.int64(7), "fit", np.int64(3)) == seeds.derive(7, "fit", 3)
    assert seeds.check_seed(np.arange(3)) == (0, 1, 2) == seeds.check_seed(range(3))
    assert torch.equal(seeds.uniform(np.arange(3), [2]), seeds.uniform([0, 1, 2], [2]))
    assert bl.Sampler(8, seed=np.int64(3)) == bl.Sampler(np.int64(8), seed=3)
    assert hash(bl.Sampler(8, seed=np.arange(2))) == hash(bl.Sampler(8, seed=(0, 1)))
    many = bl.sobol_points(box(2), 4, seed=np.arange(3), replicates=3)
    assert torch.equal(many[2], bl.sobol_points(box(2), 4, seed=2))


@pytest.mark.parametrize("wrong", [True, np.bool_(True), 1.0, np.float64(2.0), "3", None, 0])
def test_what_is_no_count_is_refused(wrong: object) -> None:
    with pytest.raises(bl.DataError, match="n: expected an integer >= 1"):
        check_count("n", wrong)


@pytest.mark.parametrize("wrong", [True, np.bool_(True), np.float32("nan"), np.inf, "3", None, -1])
def test_what_is_no_number_is_refused(wrong: object) -> None:
    with pytest.raises(bl.DataError, match="n: expected a number >= 0"):
        check_number("n", wrong, least=0.0)
    assert type(check_count("n", np.int8(3))) is int
    assert type(check_number("n", np.float32(3))) is float


@pytest.mark.parametrize("wrong", [True, np.bool_(True), -1, np.int64(-1), 1.5, np.array([0.5])])
def test_what_is_no_seed_is_refused(wrong: object) -> None:
    with pytest.raises(bl.DataError, match="seed: expected an int"):
        seeds.check_seed(wrong)


def test_messages_say_what_to_do() -> None:
    X, Y, bounds = dataset(6, 2)
    model = bl.ExactGP(X, Y, bounds)
    for beta in (float("nan"), float("inf"), np.float32("nan")):
        for make in (bl.UpperConfidenceBound, bl.qUpperConfidenceBound):
            with pytest.raises(bl.DataError, match=r"beta: .*two standard deviations") as caught:
                make(model, beta)
            assert "incumbent" not in str(caught.value)
    with pytest.raises(bl.DataError, match=r"infeasible_value: .*below what any") as caught:
        bl.qSimpleRegret(model, infeasible_value=float("nan"))
    assert "incumbent" not in str(caught.value)
    with pytest.raises(bl.UnsupportedError, match="model_report: expected an ExactGP, got str"):
        bl.plotting.model_report("a")
    for options in ({"output": "a"}, {"replicate": "a"}, {"replicate": (0.5,)}, {"output": None}):
        with pytest.raises(bl.DataError, match="model_report: expected an index for each"):
            bl.plotting.model_report(model, **options)
    with pytest.raises(bl.DataError, match=r"bound: expected a number.*limit\[\.\.\., None\]"):
        bl.at_most(1, Y[:, 0])
