"""A finite set: the best of what is listed, no derivative needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import F64, T, assert_close, box, dataset, draw, entry, gp
from torch import Tensor

import bolearn as bl
from bolearn.search import batches
from bolearn.seeds import derive


class Forest:
    """A surrogate that computes in NumPy: f is the mean of two steps, the belief has no slope."""

    num_outputs = 1
    batch_shape = torch.Size([])

    def posterior(self, X: Tensor, *, observation_noise: bool = False) -> bl.GaussianPosterior:
        x = X.numpy()
        trees = np.stack([x[..., :1] > 0.4, x[..., 1:] > 0.7]).astype(float)
        mean = torch.as_tensor(trees.mean(0))
        spread = torch.as_tensor(trees.std(0)) + 0.1
        covariance = torch.diag_embed(spread.squeeze(-1) ** 2).unsqueeze(-3)
        return bl.GaussianPosterior.from_moments(mean, covariance)


@pytest.mark.parametrize("r", [(), (3,), (2, 2)])
@pytest.mark.parametrize("own", [False, True])
def test_the_best_choice_is_found(r: tuple[int, ...], own: bool) -> None:
    model = gp(6, 2, 1, r)
    choices = draw((*r, 40, 2) if own else (40, 2), "choices")
    acq = bl.LogExpectedImprovement(model, bl.incumbent(model, model.X).value)
    found = bl.optimize_acqf(acq, choices=choices)
    everywhere = choices.expand(*r, 40, 2)
    values = acq(everywhere.movedim(-2, 0).unsqueeze(-2))  # 40 *r
    assert found.x.shape == (*r, 1, 2) and found.value.shape == r
    assert_close(found.value, values.amax(0), 1e-12)
    assert torch.equal(found.index.squeeze(-1), values.argmax(0))
    assert_close(found.x, everywhere.gather(-2, found.index.unsqueeze(-1).expand(*r, 1, 2)), 0.0)
    assert "40 choices" in str(found.report)


def test_several_choices_are_taken_given_those_before_and_none_twice() -> None:
    model = gp(6, 2, 1, (3,))
    choices = draw((5, 2), "choices")
    acq = bl.qLogExpectedImprovement(model, T([0.3, 0.4, 0.5]), sampler=bl.Sampler(64, seed=3))
    found = bl.optimize_acqf(acq, choices=choices, q=5)
    assert torch.equal(found.index.sort(-1).values, torch.arange(5).expand(3, 5))
    for i in range(3):  # by hand, one replicate at a time
        own = bl.Sampler(64, seed=derive(3, i))
        alone = bl.qLogExpectedImprovement(entry(model, (i,)), 0.3 + 0.1 * i, sampler=own)
        left, taken = list(range(5)), []
        for _ in range(5):
            given = alone.with_pending(choices[taken]) if taken else alone
            values = given(choices[left].unsqueeze(-2))
            taken.append(left.pop(int(values.argmax())))
        assert found.index[i].tolist() == taken


def test_a_choice_that_is_pending_is_not_taken_again() -> None:
    model = gp(6, 2, 1, (2,))
    choices = draw((4, 2), "choices")
    acq = bl.qUpperConfidenceBound(model, 0.0)  # nothing keeps it from asking again
    first = bl.optimize_acqf(acq, choices=choices)
    second = bl.optimize_acqf(acq.with_pending(first.x), choices=choices)
    assert bool((first.index != second.index).all())
    with pytest.raises(bl.DataError, match="q = 4 that are not pending, got 3 of 4"):
        bl.optimize_acqf(acq.with_pending(first.x), choices=choices, q=4)


def test_a_surrogate_without_derivatives() -> None:
    acq = bl.UpperConfidenceBound(Forest(), 1.0)
    words = r"optimize_acqf\(acq, choices=X\)"
    with pytest.raises(bl.DataError, match=words):
        bl.optimize_acqf(acq, box(2), seed=0)
    with pytest.raises(bl.DataError, match=words):
        bl.optimize_acqf(lambda X: X.detach().sum((-2, -1)), box(2), seed=0)
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 6, dtype=F64)] * 2)
    found = bl.optimize_acqf(acq, choices=grid)
    assert_close(found.value, acq(grid.unsqueeze(-2)).amax(), 0.0)
    with pytest.raises(bl.UnsupportedError, match=r"with_pending.*q = 2.*thompson"):
        bl.optimize_acqf(acq, choices=grid, q=2)
    sampled = bl.qUpperConfidenceBound(Forest(), 1.0)
    assert len(set(bl.optimize_acqf(sampled, choices=grid, q=3).index.tolist())) == 3


def test_many_choices_are_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gp(6, 2, 1, (2,))
    acq = bl.qLogExpectedImprovement(model, 0.3)
    choices = draw((500, 2), "choices")
    whole = bl.optimize_acqf(acq, choices=choices)
    longest = []

    def watched(X: Tensor) -> Tensor:
        longest.append(len(X))
        return acq(X)

    monkeypatch.setattr(batches, "BUDGET", 1 << 20)
    pieces = bl.optimize_acqf(watched, choices=choices, batch_shape=(2,))
    assert max(longest) < 500 and sum(longest) == 500
    assert torch.equal(pieces.index, whole.index)


def test_values_that_are_no_numbers_are_passed_over() -> None:
    choices = draw((9, 2), "choices")
    bad = torch.arange(9) % 2 == 0

    def acq(X: Tensor) -> Tensor:
        return torch.where(bad, torch.nan, X.sum((-2, -1)))

    found = bl.optimize_acqf(acq, choices=choices)
    assert not bool(bad[found.index])
    with pytest.raises(bl.OptimizationError, match="not finite at any of 9 choices"):
        bl.optimize_acqf(lambda X: X.sum((-2, -1)) * torch.nan, choices=choices)


def test_what_does_not_fit_is_refused() -> None:
    X, Y, bounds = dataset(6, 2, r=(2,))
    acq = bl.LogExpectedImprovement(bl.ExactGP(X, Y, bounds), 0.5)
    choices, limit = draw((4, 2), "choices"), bl.linear_constraint([0], [1.0], at_most=1)
    for options, error, words in (
        ({}, bl.DataError, "bounds: expected .* choices= .* NoneType for both"),
        ({"bounds": box(2), "choices": choices}, bl.DataError, "expected one of them, got both"),
        ({"choices": choices, "q": 5}, bl.DataError, r"n >= q = 5 .* got \(4, 2\)"),
        ({"choices": choices.expand(3, 4, 2)}, bl.ShapeError, r"n d or \(2, 'n', 'd'\)"),
        ({"choices": choices / 0}, bl.DataError, "choices: expected finite"),
        ({"choices": choices[:, :1]}, bl.ShapeError, "2 inputs"),
        ({"choices": choices, "fixed": {0: 0.5}}, bl.DataError, "fixed: expected none beside"),
        (
            {"choices": choices, "input_constraints": (limit,)},
            bl.DataError,
            "input_constraints: expected none beside",
        ),
    ):
        with pytest.raises(error, match=words):
            bl.optimize_acqf(acq, **options)
