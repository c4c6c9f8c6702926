"""Strategies: any model, any q, all replicates at once; the trust region against its definition."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gpytorch.kernels import MaternKernel, PeriodicKernel
from oracles import F64, assert_close, box, draw, surface
from torch import Tensor

import bolearn as bl
from bolearn import seeds, strategies
from bolearn.models.exact import ExactGP
from bolearn.models.priors import matern_kernel
from bolearn.problems import Branin, Hartmann6, Problem
from bolearn.strategies import StudyData, Thompson, TuRBO
from bolearn.strategies.modelling import Recipe

SMALL: dict[str, Any] = {
    "log_ei": replace(strategies.log_ei, num_restarts=4, raw_samples=64),
    "ucb": replace(strategies.ucb(), num_restarts=4, raw_samples=64),
    "thompson": Thompson(num_restarts=16, raw_samples=256, num_features=64),
    "turbo": TuRBO(candidates=64, num_features=64),
}
BATCHES = ("thompson", "turbo")
one_point = pytest.mark.parametrize("name", SMALL)


def start(R: int, n: int, d: int = 2, seed: int = 0) -> StudyData:
    X = draw((R, n, d), "start", seed)
    seen = torch.ones(R, n, dtype=torch.bool)
    return StudyData(X, surface(X), seen, box(d), None, round=0, n_init=n)


def grown(data: StudyData, X: Tensor, Y: Tensor, state: object) -> StudyData:
    """The next round: X evaluated to Y."""
    return replace(
        data,
        X=torch.cat([data.X, X], dim=-2),
        Y=torch.cat([data.Y, Y], dim=-2),
        observed=torch.cat([data.observed, Y.isfinite().all(-1)], dim=-1),
        round=data.round + 1,
        state=state,
    )


# --- all of them --------------------------------------------------------------------------------


@one_point
def test_one_step_of_a_replicate_in_a_batch_is_that_step_alone(name: str) -> None:
    R, q = 3, 3 if name in BATCHES else 1
    data, own = start(R, 6), tuple(seeds.derive(5, i) for i in range(R))
    X, state = SMALL[name](data, data.bounds, q, own)
    assert X.shape == (R, q, 2)
    later = grown(data, X, surface(X), state)
    X2, _ = SMALL[name](later, data.bounds, q, own)
    for i in range(R):
        one = replace(data, X=data.X[i : i + 1], Y=data.Y[i : i + 1], observed=data.observed[:1])
        x, its = SMALL[name](one, data.bounds, q, own[i : i + 1])
        assert_close(x[0], X[i], 1e-4)
        x2, _ = SMALL[name](
            grown(one, X[i : i + 1], surface(X[i : i + 1]), its), data.bounds, q, own[i : i + 1]
        )
        assert_close(x2[0], X2[i], 1e-3)


@one_point
def test_the_same_seeds_give_the_same_and_nothing_is_changed(name: str) -> None:
    data, own = start(2, 6), (3, 4)
    X, Y = data.X.clone(), data.Y.clone()
    before = torch.get_rng_state()
    first, state = SMALL[name](data, data.bounds, 1, own)
    again, _ = SMALL[name](data, data.bounds, 1, own)
    assert torch.equal(first, again)
    later = grown(data, first, surface(first), state)
    runs = [SMALL[name](later, data.bounds, 1, own)[0] for _ in range(2)]
    assert torch.equal(*runs)  # the state is read, not written
    assert torch.equal(data.X, X) and torch.equal(data.Y, Y)
    assert torch.equal(torch.get_rng_state(), before)


@one_point
def test_every_strategy_takes_another_model(name: str) -> None:
    asked = []

    def build(X: Tensor, Y: Tensor, bounds: Tensor, observed: Tensor | None) -> ExactGP:
        asked.append(observed)
        return ExactGP(X, Y, bounds, kernel=MaternKernel(nu=2.5, ard_num_dims=2), observed=observed)

    strategy = replace(SMALL[name], model=build)
    data = start(2, 6)
    _, state = strategy(data, data.bounds, 1, (0, 1))
    x = strategy.recommend(replace(data, state=state))
    assert len(asked) == 2 and x.shape == (2, 2)
    assert bool((x.unsqueeze(1) == data.X).all(-1).any(1).all())


@one_point
def test_failed_evaluations_are_passed_over(name: str) -> None:
    data = start(2, 7)
    seen = data.observed.clone()
    seen[0, 2] = seen[1, 5:] = False
    results = []
    # whatever stands in a failed row, above all the best value of all, is not looked at
    for junk in (math.nan, 1e6, -1e6):
        Y = torch.where(seen.unsqueeze(-1), data.Y, junk)
        failed = replace(data, Y=Y, observed=seen)
        X, state = SMALL[name](failed, data.bounds, 1, (0, 1))
        x = SMALL[name].recommend(replace(failed, state=state))
        at = (x.unsqueeze(1) == data.X).all(-1)
        assert bool((at & seen).any(1).all())
        results.append((X, x))
    for X, x in results[1:]:
        assert torch.equal(X, results[0][0]) and torch.equal(x, results[0][1])


@one_point
def test_a_failed_point_is_held_with_the_worst_value_but_not_fitted(name: str) -> None:
    data = start(2, 9)
    seen = data.observed.clone()
    seen[0, 2] = seen[1, 5:] = False
    data = replace(data, observed=seen, Y=torch.where(seen.unsqueeze(-1), data.Y, math.nan))
    model = bl.fit_mll(strategies.matern_gp(data.X, data.Y, data.bounds, seen))
    told = Recipe(strategies.matern_gp).with_lies(model, data, ~seen, 0)
    hyper = model.hyperparameters()
    assert all(torch.equal(told.hyperparameters()[k], hyper[k]) for k in hyper)
    for i in range(2):  # the same model, built by hand: one replicate, scaled by its successes
        shift, scale = model.outcome.shift[i], model.outcome.scale[i]
        Y = torch.where(seen[i].unsqueeze(-1), data.Y[i], data.Y[i, seen[i]].min())
        kernel = matern_kernel(2, (1,))
        own = ExactGP(data.X[i], (Y - shift) / scale, data.bounds, kernel=kernel, standardize=False)
        own = own.with_hyperparameters(**{k: v[i] for k, v in hyper.items()})
        grid = draw((50, 2), "grid")
        mean = told.posterior(grid.expand(2, 50, 2)).mean[i]
        assert_close(mean, shift + scale * own.posterior(grid).mean, 1e-7)
    # nobody fits or recommends the lies
    _, state = SMALL[name](data, data.bounds, 1, (0, 1))
    fit = state["fit"] if name == "turbo" else state
    assert all(torch.equal(fit[k], hyper[k]) for k in hyper)
    point = SMALL[name].recommend(replace(data, state=state))
    assert torch.equal(point, bl.incumbent(model, data.X).x)


def test_without_failures_the_model_is_not_touched() -> None:
    data = start(2, 6)
    model = strategies.matern_gp(data.X, data.Y, data.bounds)
    assert Recipe(strategies.matern_gp).with_lies(model, data, ~data.observed, 0) is model


@pytest.mark.parametrize("name", ["log_ei", "ucb", "q_log_nei", "turbo"])
def test_a_failing_region_is_left_alone_after_a_few_tries(name: str) -> None:
    branin = Branin()
    problem = Problem(
        lambda X: torch.where(X[:, 0] > 6, math.nan, branin.noiseless(X)[:, 0]),
        branin.bounds,
        optimal_value=branin.optimal_value,
    )
    small = SMALL | {"q_log_nei": replace(strategies.q_log_nei, num_restarts=4, raw_samples=64)}
    result = bl.study(problem, {name: small[name]}, n_init=8, n_iter=12, replicates=6)
    assert (~result.observed[name][:, 8:]).sum(-1).median() <= 2
    assert result.regret(name)[:, -1].median() < 0.5


@pytest.mark.parametrize("name", BATCHES)
def test_batches_hold_different_points(name: str) -> None:
    data = start(2, 6)
    X, _ = SMALL[name](data, data.bounds, 5, (0, 1))
    gaps = torch.cdist(X, X) + torch.eye(5, dtype=F64)
    assert gaps.min() > 1e-6
    assert bool(((X >= 0) & (X <= 1)).all())


def test_paths_that_agree_on_the_best_candidate_get_different_ones() -> None:
    data = start(3, 40)
    X, _ = TuRBO(candidates=4, num_features=64)(data, data.bounds, 4, (0, 1, 2))
    gaps = torch.cdist(X, X) + torch.eye(4, dtype=F64)
    assert gaps.min() > 1e-9  # four paths, four candidates: each is taken once


def test_the_recommendation_of_a_noisy_problem_is_the_best_mean_not_the_best_draw() -> None:
    data = start(1, 12)
    Y = data.Y.clone()
    Y[0, 4] += 30.0  # one lucky draw, at a place that its neighbours contradict
    X = data.X.clone()
    X[0, 5] = X[0, 6] = X[0, 7] = X[0, 4] + 1e-3
    lucky = replace(data, X=X, Y=Y)
    x = SMALL["log_ei"].recommend(lucky)
    hyper = bl.fit_mll(ExactGP(X, Y, box(2)))
    mean = hyper.posterior(X).mean[0, :, 0]
    assert torch.equal(x[0], X[0, mean.argmax()])


# --- Thompson -----------------------------------------------------------------------------------


def test_thompson_explores_what_is_unknown_and_exploits_what_is_known() -> None:
    few, many = start(16, 3, 1), start(16, 25, 1)
    spread = []
    for data in (few, many):
        X, _ = SMALL["thompson"](data, data.bounds, 4, tuple(range(16)))
        spread.append(X.std(1).mean())
    grid = torch.linspace(0, 1, 201, dtype=F64).unsqueeze(-1)
    best = grid[surface(grid).argmax()]
    assert spread[1] < 0.2 * spread[0]
    assert (X - best).abs().median() < 0.02


def test_a_kernel_without_paths_is_refused_with_a_way_out() -> None:
    def build(X: Tensor, Y: Tensor, bounds: Tensor, observed: Tensor | None) -> ExactGP:
        return ExactGP(X, Y, bounds, kernel=PeriodicKernel(), observed=observed)

    data = start(1, 2)
    for name in BATCHES:
        with pytest.raises(bl.UnsupportedError, match="spectral density"):
            replace(SMALL[name], model=build)(data, data.bounds, 1, (0,))


# --- trust regions ------------------------------------------------------------------------------


@dataclass
class Region:
    """The rules of the paper for one run, in plain Python."""

    d: int
    q: int
    design: int
    rows: int
    best: float
    first: int = 0
    length: float = 0.8
    wins: int = 0
    losses: int = 0

    def see(self, values: list[float], spread: float) -> None:
        new = max(values)
        better = new > self.best + 1e-3 * spread
        if self.rows - self.first >= self.design:  # the design does not count
            self.wins, self.losses = (self.wins + 1, 0) if better else (0, self.losses + 1)
        self.best = max(self.best, new)
        self.rows += self.q
        if self.wins == 3:
            self.length, self.wins = min(1.6, 2 * self.length), 0
        elif self.losses == math.ceil(max(4, self.d) / self.q):
            self.length, self.losses = self.length / 2, 0
        if self.length < 0.1:
            self.first, self.length, self.wins, self.losses = self.rows, 0.8, 0, 0
            self.best = -math.inf


@pytest.mark.parametrize(("q", "rounds"), [(1, 40), (2, 25), (4, 12)])
def test_regions_grow_shrink_and_restart_by_the_rules(q: int, rounds: int) -> None:
    R, n, d = 4, 4, 2
    turbo = TuRBO(shortest=0.1, candidates=8, num_features=4)
    data = start(R, n, d)
    own = [Region(d, q, n, n, float(data.Y[i].max())) for i in range(R)]
    chance = torch.linspace(0.0, 1.0, R)  # how often a round improves
    top = data.Y[..., 0].amax(-1)
    restarts, lengths = 0, set()
    for t in range(rounds):
        X, state = turbo(data, data.bounds, q, tuple(seeds.derive(t, i) for i in range(R)))
        for i, region in enumerate(own):
            got = {k: state[k][i].item() for k in ("first", "length", "wins", "losses")}
            want = {k: getattr(region, k) for k in got}
            assert got == pytest.approx(want), f"round {t}, replicate {i}"
            lengths.add(region.length)
        luck = draw((R, q), "luck", t, q)
        rise = -1.0 - luck
        rise[:, 0] = torch.where(luck[:, 0] < chance, 1.0, rise[:, 0])
        restarted = torch.tensor([region.first == region.rows for region in own])
        top = torch.where(restarted, -5.0, top)
        Y = top.unsqueeze(-1) + rise * draw((R, q), "size", t, q)
        top = torch.maximum(top, Y.amax(-1))
        for i, region in enumerate(own):
            kept = data.Y[i, region.first :, 0].tolist() + Y[i].tolist()
            spread = float(torch.tensor(kept, dtype=F64).std()) if len(kept) > 1 else 1.0
            before = region.first
            region.see(Y[i].tolist(), spread)
            restarts += region.first != before
        data = grown(data, X, Y.unsqueeze(-1), state)
    assert restarts >= 2 and {0.1, 0.8, 1.6} <= lengths


@pytest.mark.parametrize("length", [0.8, 0.1])
def test_proposals_lie_in_the_region(length: float) -> None:
    R, d = 4, 3
    data = start(R, 12, d)
    turbo = TuRBO(length=length, num_features=64)
    X, state = turbo(data, data.bounds, 4, tuple(range(R)))
    scales = state["fit"]["lengthscale"][:, 0]
    edge = length * scales / scales.prod(-1, keepdim=True) ** (1 / d)
    assert_close(edge.prod(-1), torch.full((R,), length**d, dtype=F64))
    model = ExactGP(data.X, data.Y, data.bounds).with_hyperparameters(**state["fit"])
    mean = model.posterior(data.X).mean[..., 0]
    centre = data.X[torch.arange(R), mean.argmax(-1)]
    assert bool(((X - centre.unsqueeze(1)).abs() <= 0.5 * edge.unsqueeze(1) + 1e-12).all())
    assert bool((centre.unsqueeze(1) != X).any(-1).all())


def test_in_many_dimensions_twenty_coordinates_move() -> None:
    R, d = 8, 60
    data = start(R, 4, d)
    X, _ = TuRBO(num_features=64)(data, data.bounds, 8, tuple(range(R)))
    moved = (X.unsqueeze(2) != data.X.unsqueeze(1)).sum(-1).amin(-1)  # from the nearest point
    assert 15 < moved.double().mean() < 25 and moved.min() >= 1


def test_after_a_restart_the_old_data_do_not_matter() -> None:
    R, n = 2, 6
    data = start(R, n)
    own = (5, 6)
    turbo = TuRBO(candidates=32, num_features=32, restart=4)
    X, state = turbo(data, data.bounds, 1, own)
    dying = {**state, "length": torch.full((R,), 0.5**7, dtype=F64), "losses": state["losses"] + 3}
    low = data.Y.amin(1, keepdim=True) - 1.0
    data = grown(data, X, low, dying)
    designs = []
    for t in range(4):
        x, state = turbo(data, data.bounds, 1, tuple(seeds.derive(t, i) for i in own))
        assert state["first"].tolist() == [n + 1, n + 1]
        designs.append(x)
        data = grown(data, x, surface(x), state)
    design = torch.cat(designs, dim=1)  # four points of one Sobol sequence: one in each quarter
    cells = (design * 4).floor().sort(dim=1).values
    assert torch.equal(cells, torch.arange(4.0).double().reshape(1, 4, 1).expand(R, 4, 2))
    other = replace(data, Y=torch.cat([-7 * data.Y[:, : n + 1], data.Y[:, n + 1 :]], dim=1))
    after = [turbo(seen, data.bounds, 1, own)[0] for seen in (data, other)]
    assert torch.equal(*after)


def test_a_replicate_that_starts_anew_leaves_the_others_alone() -> None:
    data, own = start(3, 6), (5, 6, 7)
    turbo = TuRBO(candidates=32, num_features=32)
    X, state = turbo(data, data.bounds, 2, own)
    length = state["length"].clone()
    length[1] = 0.5**7
    restarting = {**state, "length": length, "losses": state["losses"] + 1}
    later = grown(data, X, data.Y.amin(1, keepdim=True).expand(3, 2, 1), restarting)
    after, new = turbo(later, data.bounds, 2, own)
    assert new["first"].tolist() == [0, 8, 0]
    calm = grown(
        data,
        X,
        data.Y.amin(1, keepdim=True).expand(3, 2, 1),
        {**restarting, "length": state["length"]},
    )
    same, _ = turbo(calm, data.bounds, 2, own)
    assert_close(after[[0, 2]], same[[0, 2]], 1e-9)
    assert not torch.isclose(after[1], same[1]).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"length": -1.0}, "0 < shortest <= length <= longest, got .*length=-1.0"),
        ({"length": math.nan}, "length=nan"),
        ({"length": 1e-3}, "length=0.001"),
        ({"longest": 0.5}, "longest=0.5"),
        ({"shortest": 0.0}, "shortest=0.0"),
        ({"candidates": 0}, "candidates: expected an integer >= 1"),
        ({"successes": 0}, "successes: expected an integer >= 1"),
        ({"failures": 0}, "failures: expected"),
        ({"restart": 0}, "restart: expected"),
        ({"num_features": 0}, "num_features: expected"),
    ],
)
def test_trust_regions_check_their_settings(change: dict[str, Any], words: str) -> None:
    with pytest.raises(bl.DataError, match=words):
        TuRBO(**change)


def test_trust_regions_need_a_candidate_for_each_point() -> None:
    data = start(1, 6)
    with pytest.raises(bl.DataError, match=r"at least q = 3, .*got 2"):
        TuRBO(candidates=2, num_features=64)(data, data.bounds, 3, (0,))
    one = start(1, 6, d=1)
    X, _ = TuRBO(num_features=64)(one, one.bounds, 120, (0,))  # more than 100 d by itself
    assert len(X[0].unique()) == 120


# --- in studies ---------------------------------------------------------------------------------


def test_trust_regions_beat_quasi_random_search() -> None:
    arms = {"TuRBO": TuRBO(candidates=200, num_features=256), "Sobol": strategies.sobol}
    result = bl.study(Hartmann6(), arms, n_init=8, n_iter=12, q=2, replicates=12)
    assert result.compare("TuRBO", "Sobol").verdict == "better"
    assert result.batched["TuRBO"]


def test_thompson_beats_quasi_random_search() -> None:
    arms = {"Thompson": SMALL["thompson"], "Sobol": strategies.sobol}
    result = bl.study(Branin(), arms, n_init=6, n_iter=20, replicates=16)
    assert result.compare("Thompson", "Sobol").verdict == "better"


def test_trust_regions_survive_failures_and_restarts() -> None:
    def fragile(X: Tensor) -> Tensor:
        return torch.where((X > 0.6).all(-1), math.nan, -((X - 0.5) ** 2).sum(-1))

    problem = Problem(fragile, box(2), optimal_value=0.0)
    arms = {"TuRBO": TuRBO(length=0.02, failures=1, restart=2, candidates=32, num_features=32)}
    result = bl.study(problem, arms, n_init=4, n_iter=25, replicates=4)
    assert (~result.observed["TuRBO"]).any()
    gained = result.regret("TuRBO")[:, -1] < result.regret("TuRBO")[:, 3]
    assert int(gained.sum()) >= 3  # a region of 2 % may end before it finds anything


# --- any surrogate ------------------------------------------------------------------------------


class Steps:
    """A surrogate without derivatives or hyperparameters: the nearest neighbour, by distance."""

    num_outputs = 1

    def __init__(
        self, X: Tensor, Y: Tensor, bounds: Tensor, *, observed: Tensor | None = None, seed: Any
    ) -> None:
        self.batch_shape = X.shape[:-2]
        self.seen = torch.ones(X.shape[:-1], dtype=torch.bool) if observed is None else observed
        self.points, self.values, self.made_with = X, Y, seed

    def posterior(self, X: Tensor, *, observation_noise: bool = False) -> bl.GaussianPosterior:
        points = self.points.masked_fill(~self.seen.unsqueeze(-1), 1e6)
        near, at = torch.cdist(X, points).min(-1)
        values = self.values.expand(*at.shape[:-1], *self.values.shape[-2:])
        mean = values.gather(-2, at.unsqueeze(-1))
        covariance = torch.diag_embed((0.01 + near).square()).unsqueeze(-3)  # *batch 1 q q
        return bl.GaussianPosterior.from_moments(mean, covariance)


steps = replace(strategies.log_ei, model=Steps, fit=None, choices=64)


@pytest.mark.parametrize("batched", [True, False])
def test_a_model_that_is_ready_when_made_joins_a_study(batched: bool, tmp_path: Path) -> None:
    arms = {"steps": replace(steps, batched=batched), "Sobol": strategies.sobol}
    result = bl.study(Branin(), arms, n_init=5, n_iter=4, replicates=3)
    assert result.batched["steps"] == batched
    X, recommended = result.X["steps"], result.recommended["steps"]
    for t in range(5):  # a nearest neighbour believes what it saw: the best seen is recommended
        best = result.values["steps"][:, : 5 + t].argmax(-1)
        assert torch.equal(recommended[:, t], X[torch.arange(3), best])
    alone = bl.study(Branin(), arms, n_init=5, n_iter=4, replicates=1, seed=[result.seeds[1]])
    assert torch.equal(alone.X["steps"][0], X[1])
    path = tmp_path / "study.pt"
    kept = bl.study(Branin(), arms, n_init=5, n_iter=4, replicates=3, checkpoint=path)
    again = bl.study(Branin(), arms, n_init=5, n_iter=4, replicates=3, checkpoint=path)
    assert torch.equal(kept.X["steps"], X) and torch.equal(again.X["steps"], X)


def test_a_model_without_conditioning_is_told_of_failures_by_being_made_again() -> None:
    data = start(2, 9)
    seen = data.observed.clone()
    seen[0, 2] = seen[1, 5:] = False
    failed = replace(data, observed=seen, Y=torch.where(seen.unsqueeze(-1), data.Y, math.nan))
    recipe = Recipe(Steps, None)
    model = recipe.fitted(failed, None, (1, 2))
    told = recipe.with_lies(model, failed, ~seen, (1, 2))
    worst = torch.where(seen.unsqueeze(-1), data.Y, math.inf).amin(-2, keepdim=True)
    mean = told.posterior(data.X).mean
    assert torch.equal(mean, torch.where(seen.unsqueeze(-1), data.Y, worst))
    assert told.made_with == model.made_with == (1, 2)


def test_choices_are_drawn_anew_or_those_that_are_given() -> None:
    data, table = start(2, 6), draw((20, 2), "table")
    x, _ = replace(steps, choices=table)(data, data.bounds, 1, (0, 1))
    assert bool((x == table).all(-1).any(-1).all())
    one, other = (steps(data, data.bounds, 1, own)[0] for own in ((0, 1), (2, 3)))
    assert not torch.equal(one, other)
    assert torch.equal(one, steps(data, data.bounds, 1, (0, 1))[0])
    batch, _ = replace(strategies.q_log_ei, model=Steps, fit=None, choices=table)(
        data, data.bounds, 3, (0, 1)
    )
    assert all(len(points.unique(dim=0)) == 3 for points in batch)


def test_fixed_inputs_pass_through_one_for_each_replicate() -> None:
    data = start(3, 6)
    for fixed in (0.25, torch.tensor([0.1, 0.5, 0.9], dtype=F64)):
        x, _ = replace(SMALL["log_ei"], fixed={1: fixed})(data, data.bounds, 1, (0, 1, 2))
        assert torch.equal(x[:, 0, 1], torch.as_tensor(fixed, dtype=F64).expand(3))


def test_several_outputs_are_refused_by_a_strategy_for_one() -> None:
    problem = Problem(lambda X: torch.stack([X.sum(-1), -X.sum(-1)], -1), box(2), num_outputs=2)
    with pytest.raises(bl.OptimizationError, match=r"'log_ei', round 0.*objective"):
        bl.study(problem, {"log_ei": SMALL["log_ei"]}, n_init=3, n_iter=1, replicates=2)


def test_strategies_can_be_pickled_and_copied() -> None:
    data = start(2, 6)
    kinds = [getattr(strategies, name) for name in strategies.__all__]
    found = [x for x in kinds if callable(x) and not isinstance(x, type)]
    ours = [*SMALL.values(), steps, *(x for x in found if x not in (strategies.ucb,))]
    for strategy in ours:
        for twin in (pickle.loads(pickle.dumps(strategy)), copy.deepcopy(strategy)):
            assert type(twin) is type(strategy)
    for strategy in (*SMALL.values(), steps, strategies.random):
        twin = pickle.loads(pickle.dumps(strategy))
        outs = [s(data, data.bounds, 1, (0, 1)) for s in (strategy, twin)]
        first, second = (out[0] if isinstance(out, tuple) else out for out in outs)
        assert torch.equal(first, second)
    seen = pickle.loads(pickle.dumps(data))
    assert torch.equal(seen.X, data.X) and seen.n_init == data.n_init
