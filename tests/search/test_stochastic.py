"""Random acquisitions: Adam in a box, against what is known of their expectation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from oracles import F64, T, assert_close, box, draw, gp

import bolearn as bl
from bolearn.seeds import normal

SMALL = {"num_restarts": 4, "raw_samples": 64}


def noisy(
    target: torch.Tensor, noise: float = 0.3
) -> Callable[[int], Callable[[torch.Tensor], torch.Tensor]]:
    """Expectation -|x - target|^2 and a constant; each draw is maximised somewhere else."""

    def at(seed: int) -> Callable[[torch.Tensor], torch.Tensor]:
        shift = noise * normal([seed], target.shape)[0]
        return lambda X: -(X - target - shift).square().sum((-2, -1))

    return at


@pytest.mark.parametrize("q", [1, 3])
@pytest.mark.parametrize("unit", [1.0, 1e4])
def test_the_expectation_is_maximised(q: int, unit: float) -> None:
    target = T([[0.3, 0.6, 1.4]])  # the last lies outside the box

    def at(seed: int) -> Callable[[torch.Tensor], torch.Tensor]:
        inner = noisy(target.expand(q, 3), 0.1)(seed)
        return lambda X: inner(X / unit)

    x, _ = bl.optimize_acqf_stochastic(at, box(3, 0.0, unit), q, seed=0, steps=300, **SMALL)
    assert x.shape == (q, 3)
    assert_close(x / unit, T([[0.3, 0.6, 1.0]]).expand(q, 3), 0.05)
    assert bool((x >= 0).all()) and bool((x <= unit).all())


def test_smaller_and_smaller_steps_beat_the_noise() -> None:
    """A single draw is maximised 0.3 off in each coordinate, 200 of them averaged 0.02 off."""
    errors = []
    for seed in range(8):
        target = 0.2 + 0.6 * draw((16, 1, 2), "targets", seed)
        found = bl.optimize_acqf_stochastic(
            noisy(target),
            box(2),
            steps=200,
            batch_shape=(16,),
            seed=seed,
            num_restarts=1,
            raw_samples=8,
        )
        assert found.x.shape == (16, 1, 2)
        errors.append(found.x - target)
    rms = torch.stack(errors).square().mean().sqrt().item()
    assert rms < 0.075, rms  # constant steps: above 0.09


def test_few_samples_a_step_find_what_many_fixed_samples_find() -> None:
    gaps = []
    for seed in range(2):
        model = gp(8, 2, seed=seed)
        best = bl.incumbent(model, model.X).value

        def at(k: int, model=model, best=best) -> bl.Acquisition:  # type: ignore[no-untyped-def]
            return bl.qLogExpectedImprovement(model, best, sampler=bl.Sampler(8, seed=k))

        found = bl.optimize_acqf_stochastic(at, box(2), 2, seed=seed, steps=100, **SMALL)
        acq = bl.qLogExpectedImprovement(model, best, sampler=bl.Sampler(256, seed=9))
        fixed = bl.optimize_acqf(acq, box(2), 2, seed=seed, **SMALL)
        gaps.append((acq(found.x) - fixed.value).item())
    assert min(gaps) > -0.3, gaps


def test_fixed_inputs_seeds_and_the_report() -> None:
    at = noisy(T([[0.3, 0.6]]))
    before = torch.get_rng_state()
    a, b, c = (
        bl.optimize_acqf_stochastic(
            at, box(2, -0.7, 1.3), fixed={1: 0.1}, seed=s, steps=30, **SMALL
        )
        for s in (3, 3, 4)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert a.x[0, 1].item() == 0.1
    assert torch.equal(a.x, b.x) and not torch.equal(a.x, c.x)
    assert bool((a.report.values >= a.report.start_values).all())
    assert "after 30 steps" in str(a.report) and not a.report.converged.any()


def test_a_gradient_that_is_not_a_number_moves_nothing() -> None:
    def at(seed: int) -> Callable[[torch.Tensor], torch.Tensor]:
        inner = noisy(T([[0.3]]), 0.05)(seed)
        if seed % 3:
            return inner
        return lambda X: inner(X) + (X - X).sqrt().sum((-2, -1))  # slope infinite times zero

    found = bl.optimize_acqf_stochastic(at, box(1), seed=0, **SMALL)
    assert_close(found.x, T([[0.3]]), 0.05)
    assert (found.report.values > found.report.start_values).all()  # the other steps still count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"step_size": 0.0}, "step_size"),
        ({"num_restarts": 9, "raw_samples": 8}, "raw_samples"),
        ({"fixed": {5: 0.1}}, "fixed"),
    ],
)
def test_bad_input(options: dict, message: str) -> None:
    with pytest.raises(bl.DataError, match=message):
        bl.optimize_acqf_stochastic(noisy(torch.zeros(1, 2, dtype=F64)), box(2), seed=0, **options)
