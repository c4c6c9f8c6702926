"""Where climbs begin: the best candidate always, near observations; what is held or excluded."""

from __future__ import annotations

import pytest
import torch
from oracles import T, box, dataset, draw
from torch import Tensor

import bolearn as bl
from bolearn.seeds import derive


class Watched:
    """An acquisition that keeps what it is asked."""

    def __init__(self, acq: object, model: object = None) -> None:
        self.acq, self.model = acq, model
        self.asked: list[tuple[Tensor, Tensor]] = []

    def __call__(self, X: Tensor) -> Tensor:
        value = self.acq(X)  # type: ignore[operator]
        self.asked.append((X.detach().clone(), value.detach().clone()))
        return value


@pytest.mark.parametrize("restarts", [1, 3])
def test_the_best_raw_candidate_is_always_a_start(restarts: int) -> None:
    """A few percent above others, so that a draw by value would often leave it out."""
    for seed in range(12):
        acq = Watched(lambda X: torch.sin(40 * X).sum((-2, -1)))
        found = bl.optimize_acqf(acq, box(3), num_restarts=restarts, raw_samples=64, seed=seed)
        raw = acq.asked[0][1].flatten()
        assert len(raw) == 64
        assert found.report.start_values[0].item() == raw.max().item()
        assert found.value >= raw.max()


def test_rows_that_are_masked_out_are_no_observations_to_start_near() -> None:
    """Values below zero, and masked rows whose filling is zero: candidates are as without them."""
    X, Y, bounds = dataset(5, 4, r=(2,))
    Y = Y - 9.0
    observed = T([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0]]).bool()
    Y = torch.where(observed.unsqueeze(-1), Y, 0.0)
    model = bl.ExactGP(X, Y, bounds, observed=observed)
    together = Watched(bl.LogExpectedImprovement(model, -8.0), model)
    bl.optimize_acqf(together, bounds, raw_samples=64, seed=4)
    for i in range(2):
        alone = bl.ExactGP(X[i][observed[i]], Y[i][observed[i]], bounds)
        own = Watched(bl.LogExpectedImprovement(alone, -8.0), alone)
        bl.optimize_acqf(own, bounds, raw_samples=64, seed=derive(4, i))
        torch.testing.assert_close(together.asked[0][0][:, i], own.asked[0][0], atol=1e-12, rtol=0)


def test_searches_beyond_the_replicates_of_a_model_share_its_data() -> None:
    X, Y, bounds = dataset(6, 2)
    model = bl.ExactGP(X, Y, bounds)
    for make, q in ((bl.LogExpectedImprovement, 1), (bl.qLogExpectedImprovement, 2)):
        acq = make(model, 0.5)
        found = bl.optimize_acqf(acq, bounds, q, batch_shape=(3,), seed=1)
        assert found.x.shape == (3, q, 2)
        for i in range(3):
            alone = bl.optimize_acqf(acq, bounds, q, seed=derive(1, i))
            torch.testing.assert_close(found.value[i], alone.value, atol=1e-6, rtol=0)
    many = bl.ExactGP(X.expand(2, 6, 2), Y.expand(2, 6, 1), bounds)
    acq = bl.LogExpectedImprovement(many, 0.5)
    assert bl.optimize_acqf(acq, bounds, batch_shape=(3, 2), seed=1).x.shape == (3, 2, 1, 2)
    for wrong in ((3,), (2, 3), ()):
        with pytest.raises(bl.ShapeError, match=r"ends in the replicates \(2,\)"):
            bl.optimize_acqf(acq, bounds, batch_shape=wrong, seed=1)


def test_more_coordinates_than_sobol_sequences_have() -> None:
    """Ten points in 2,200 inputs: independent numbers where no net can be had."""
    d, q = 2200, 10
    target = draw((d,), "target")
    found = bl.optimize_acqf(
        lambda X: -(X - target).square().mean((-2, -1)),
        box(d),
        q,
        num_restarts=2,
        raw_samples=8,
        seed=0,
    )
    assert found.x.shape == (q, d) and found.value > -1e-4


# -- a value of a fixed input for every replicate ------------------------------------------------


@pytest.mark.parametrize(
    ("q", "sequential", "constrained"),
    [(1, False, False), (1, False, True), (2, False, False), (2, True, True)],
)
def test_a_context_for_every_replicate(q: int, sequential: bool, constrained: bool) -> None:
    X, Y, bounds = dataset(7, 3, r=(2,))
    model = bl.ExactGP(X, Y, bounds)
    context = T([0.1, 0.9])
    limits = (bl.linear_constraint([0, 2], [1.0, 1.0], at_most=1.1),) if constrained else ()
    options = {"sequential": sequential, "input_constraints": limits, "raw_samples": 128}
    acq = bl.qLogExpectedImprovement(model, T([0.3, 0.4]), sampler=bl.Sampler(32, seed=2))
    found = bl.optimize_acqf(acq, bounds, q, fixed={2: context}, seed=5, **options)
    assert torch.equal(found.x[..., 2], context.unsqueeze(-1).expand(2, q))
    for i in range(2):
        own = bl.qLogExpectedImprovement(
            bl.ExactGP(X[i], Y[i], bounds), 0.3 + 0.1 * i, sampler=bl.Sampler(32, derive(2, i))
        )
        alone = bl.optimize_acqf(
            own, bounds, q, fixed={2: context[i].item()}, seed=derive(5, i), **options
        )
        assert abs((found.value[i] - alone.value).item()) < 1e-4
    assert bool((found.x[..., 0] + found.x[..., 2] <= 1.1 + 1e-8).all()) or not constrained


def test_contexts_and_boxes_of_replicates_with_two_axes() -> None:
    context = draw((2, 3), "context")
    boxes = box(2).expand(2, 3, 2, 2) * (1 + draw((2, 3, 1, 1), "width"))
    found = bl.optimize_acqf(
        lambda X: -(X - 0.4).square().sum((-2, -1)),
        boxes,
        fixed={0: context, 1: 0.25},
        batch_shape=(2, 3),
        seed=0,
    )
    assert torch.equal(found.x[..., 0, 0], context)
    assert bool((found.x[..., 1] == 0.25).all())


def test_contexts_that_do_not_fit_are_refused() -> None:
    X, Y, bounds = dataset(6, 2, r=(3,))
    acq = bl.LogExpectedImprovement(bl.ExactGP(X, Y, bounds), 0.5)
    for value, error, words in (
        (T([0.1, 0.2]), bl.ShapeError, r"one for every replicate \(3,\)"),
        (T([0.1, 0.2, 1.2]), bl.DataError, r"input 1 = 1.2 lies outside.*replicate \(2,\)"),
        (T([0.1, torch.nan, 0.2]), bl.DataError, r"fixed\[1\]: expected finite"),
        (torch.zeros(3), bl.DataError, r"fixed\[1\]: expected a float64"),
    ):
        with pytest.raises(error, match=words):
            bl.optimize_acqf(acq, bounds, fixed={1: value}, seed=0)


def test_thompson_sampling_within_constraints_and_a_context() -> None:
    X, Y, bounds = dataset(6, 2, r=(3,))
    model = bl.ExactGP(X, Y, bounds)
    limit = bl.linear_constraint([0, 1], [1.0, 1.0], at_most=0.7)
    options = {"num_restarts": 4, "raw_samples": 64, "seed": 1}
    found = bl.thompson(model, bounds, q=3, input_constraints=(limit,), **options)
    assert found.x.shape == (3, 3, 2) and bool((found.x.sum(-1) <= 0.7 + 1e-8).all())
    context = T([0.1, 0.5, 0.6])
    found = bl.thompson(
        model, bounds, q=2, fixed={0: context}, input_constraints=(limit,), **options
    )
    assert torch.equal(found.x[..., 0], context.unsqueeze(-1).expand(3, 2))
    with pytest.raises(bl.DataError, match="input_constraints: expected none beside choices"):
        bl.thompson(model, choices=X[0], input_constraints=(limit,), seed=0)
    with pytest.raises(bl.UnsupportedError, match=r"input_constraints.*optimize_acqf"):
        bl.optimize_acqf_stochastic(
            lambda seed: lambda X: X.sum((-2, -1)), bounds, input_constraints=(limit,), seed=0
        )


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
def test_truth_values_are_no_distance_to_a_limit(kind: torch.dtype) -> None:
    """Read as numbers, they would be met exactly where they are false."""
    wrong = bl.nonlinear_constraint(lambda x: (x[..., 0] < 0.5).to(kind))
    with pytest.raises(bl.DataError, match=r"x\[\.\.\., 0\] - 0.5, not a truth value"):
        bl.optimize_acqf(
            lambda X: X.sum((-2, -1)), box(2), input_constraints=(wrong,), seed=0, raw_samples=64
        )
    with pytest.raises(bl.DataError, match="acquisition: expected float64 values"):
        bl.optimize_acqf(lambda X: (X > 0.5).all(-1).all(-1).to(kind), box(2), seed=0)
