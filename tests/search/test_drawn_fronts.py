"""Decisions from draws of the front: shares, volumes and choices against counting."""

from __future__ import annotations

import pytest
import torch
from oracles import T, assert_close, box, draw, gp, surface

import bolearn as bl
from bolearn.errors import DataError, InfeasibleError


def test_probabilities_are_shares_of_joint_samples() -> None:
    model = gp(7, 2, m=2, r=(2,))
    X = draw((2, 6, 2), "X")
    fronts = bl.draw_fronts(model, X, sampler=bl.Sampler(64, seed=1))
    assert fronts.values.shape == (64, 2, 6, 2)
    share = bl.is_non_dominated(fronts.values).double().mean(0)
    assert_close(fronts.probability, share, 1e-15)
    p = model.posterior(X)
    off = (fronts.values.mean(0) - p.mean).abs() / p.variance.sqrt()
    assert float(off.max()) < 0.1
    ref = T([[-1.0, -1.0], [0.0, 0.0]])
    volume = fronts.hypervolume(ref)
    assert_close(volume[3, 1], bl.hypervolume(fronts.values[3, 1], ref[1]), 1e-14)
    assert_close(fronts.hypervolume(ref[0])[:, 0], volume[:, 0], 1e-14)


def test_the_choice_has_the_highest_expected_utility() -> None:
    model = gp(7, 2, m=3)
    limits = (bl.at_most(2, float(model.Y[:, 2].median()) + 0.02),)
    fronts = bl.draw_fronts(model, model.X, outcome_constraints=limits)
    assert fronts.values.shape[-1] == 2

    def worst(y: torch.Tensor) -> torch.Tensor:
        return y.amin(-1)

    choice = fronts.decide(worst)
    expected = worst(fronts.values).mean(0)
    fit = fronts.counts.double().mean(0) >= 0.5
    assert not bool(fit.all()) and bool(fit[choice.index])
    assert choice.value == expected[fit].max()
    best = torch.where(fit, worst(fronts.values), -torch.inf).amax(-1).mean()
    assert_close(choice.regret, best - choice.value, 1e-14)
    assert choice.regret >= 0
    with pytest.raises(InfeasibleError, match="lower sure="):
        bl.draw_fronts(model, model.X, outcome_constraints=(bl.at_most(2, -99.0),)).decide(worst)
    with pytest.raises(DataError, match="share"):
        fronts.decide(worst, sure=2.0)


def test_masked_rows_keep_their_place_and_count_in_no_draw() -> None:
    X = draw((2, 6, 2), "X")
    observed = torch.tensor([[True, False, True, True, True, True], [True] * 3 + [False] * 3])
    model = bl.ExactGP(X, surface(X, 2), box(2), observed=observed)
    fronts = bl.draw_fronts(model, X)
    assert not bool(fronts.counts[:, ~observed].any())
    mean = model.posterior(X).mean
    assert_close(fronts.values.mean(0)[observed], mean[observed], 0.05)
    assert bool((fronts.probability[~observed] == 0).all())
