"""Maximising acquisitions: boxes, fixed inputs, q, replicates, lambdas; and no global state."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from oracles import F64, Broken, T, assert_close, box, dataset, draw, entry, gp

import bolearn as bl
from bolearn.seeds import derive

SMALL = {"num_restarts": 4, "raw_samples": 64}


def peak(X: torch.Tensor) -> torch.Tensor:
    """Highest at 0.7 in every coordinate."""
    return -(X - 0.7).square().sum((-2, -1))


def test_a_lambda_is_an_acquisition() -> None:
    for d, q in ((1, 1), (3, 2)):
        x, value = bl.optimize_acqf(peak, box(d, -2, 3), q, seed=0, **SMALL)
        assert_close(x, torch.full((q, d), 0.7, dtype=F64), 1e-4)
        assert value.shape == () and value.item() > -1e-8


def test_a_replicated_lambda_needs_its_shape() -> None:
    targets = draw((3, 1, 2), "targets")

    def acq(X: torch.Tensor) -> torch.Tensor:
        return -(X - targets).square().sum((-2, -1))

    x, value = bl.optimize_acqf(acq, box(2), batch_shape=(3,), seed=0, **SMALL)
    assert_close(x, targets, 1e-4)
    assert value.shape == (3,)
    with pytest.raises(bl.ShapeError, match="batch_shape="):
        bl.optimize_acqf(acq, box(2), seed=0, num_restarts=1, raw_samples=1)


def test_boxes_are_respected_also_one_for_each_replicate() -> None:
    boxes = torch.stack([box(2, 0.0, 0.5), box(2, 0.6, 1.0), box(2, 0.9, 2.0)])
    x, _ = bl.optimize_acqf(peak, boxes, batch_shape=(3,), seed=0, **SMALL)
    assert_close(x[:, 0], T([[0.5, 0.5], [0.7, 0.7], [0.9, 0.9]]), 1e-4)
    tiny = T([[1e9, -1e-9], [1e9 + 1, 1e-9]])
    x, _ = bl.optimize_acqf(lambda X: X.sum((-2, -1)), tiny, seed=0, **SMALL)
    assert bool((x >= tiny[0]).all()) and bool((x <= tiny[1]).all())
    assert_close(x[0, 0], tiny[1, 0], 1e-15)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
def test_fixed_inputs_are_exact(value: float) -> None:
    model = gp(8, 3, r=(2,))
    acq = bl.qLogExpectedImprovement(model, T([0.3, 0.4]))
    for sequential in (False, True):
        x, _ = bl.optimize_acqf(
            acq, box(3), 2, fixed={1: value}, sequential=sequential, seed=0, **SMALL
        )
        assert bool((x[..., 1] == value).all())
        assert len(x[..., 0].unique()) > 2
    for low, high in ((-2.1, 3.3), (-0.7, 1e3)):  # no rounding by the way to the unit cube and back
        wide = box(3, low, high)
        some = bl.optimize_acqf(peak, wide, fixed={0: 0.1, 1: value}, seed=0, **SMALL)
        assert torch.equal(some.x[:, :2], T([[0.1, value]]))


def test_the_value_is_the_acquisitions_there_and_no_grid_point_is_better() -> None:
    for r in ((), (2,)):
        model = gp(10, 2, r=r)
        acq = bl.LogExpectedImprovement(model, bl.incumbent(model, model.X).value)
        found = bl.optimize_acqf(acq, box(2), num_restarts=8, raw_samples=256, seed=1)
        assert_close(acq(found.x), found.value, 1e-9)
        grid = draw((2000, *(1,) * len(r), 1, 2), "grid")
        assert bool((acq(grid).amax(0) <= found.value + 1e-6).all())


def test_the_report_tells_what_each_restart_reached() -> None:
    model = gp(8, 2, r=(3,))
    acq = bl.LogExpectedImprovement(model, 0.5)
    found = bl.optimize_acqf(acq, box(2), seed=0, **SMALL)
    report = found.report
    for field in (report.start_values, report.values, report.converged, report.iterations):
        assert field.shape == (4, 3)
    assert bool((report.values >= report.start_values - 1e-12).all())
    assert_close(report.values.amax(0), found.value, 1e-12)
    assert sum(report.messages.values()) == 12 and "restarts" in str(report)
    x, value = found
    assert x is found.x and value is found.value


def test_greedy_and_joint_choice_are_of_similar_value() -> None:
    gaps = []
    for seed in range(4):
        model = gp(8, 2, seed=seed)
        best = bl.incumbent(model, model.X).value
        acq = bl.qLogExpectedImprovement(model, best, sampler=bl.Sampler(64, seed=seed))
        joint = bl.optimize_acqf(acq, box(2), 3, seed=seed, **SMALL)
        greedy = bl.optimize_acqf(acq, box(2), 3, sequential=True, seed=seed, **SMALL)
        assert greedy.x.shape == joint.x.shape == (3, 2)
        # the greedy value is that of the last point given the others: the joint value of all
        assert_close(greedy.value, acq(greedy.x[[2, 1, 0]]), 0.2)
        gaps.append((acq(greedy.x) - joint.value).item())
        # and the first one is chosen as if it were alone
        alone = bl.optimize_acqf(acq, box(2), seed=100 + seed)
        chosen = bl.optimize_acqf(acq, box(2), 3, sequential=True, seed=seed)
        assert_close(acq(chosen.x[:1]), alone.value, 1e-5)
    assert all(gap > -0.46 for gap in gaps), gaps  # at least (1 - 1/e) of the best


def test_greedy_choice_takes_pending_points_into_account() -> None:
    model = gp(8, 1)
    acq = bl.qLogExpectedImprovement(model, bl.incumbent(model, model.X).value)
    first, _ = bl.optimize_acqf(acq, box(1), seed=0, **SMALL)
    second, value = bl.optimize_acqf(acq.with_pending(first), box(1), seed=0, **SMALL)
    assert (second - first).abs().item() > 1e-3
    assert value.item() >= acq(first.unsqueeze(0)).item() - 1e-9  # two are worth more than one
    with pytest.raises(bl.UnsupportedError, match=r"with_pending.*LogExpectedImprovement"):
        bl.optimize_acqf(bl.LogExpectedImprovement(model, 0.0), box(1), 2, sequential=True, seed=0)


def test_one_seed_twice_gives_the_same_and_another_seed_other_starts() -> None:
    model = gp(8, 2)
    acq = bl.LogExpectedImprovement(model, 0.5)
    a, b, c = (bl.optimize_acqf(acq, box(2), seed=s, **SMALL) for s in (1, 1, 2))
    assert torch.equal(a.x, b.x) and torch.equal(a.report.start_values, b.report.start_values)
    assert not torch.equal(a.report.start_values, c.report.start_values)


def test_where_nothing_is_finite_it_says_so_and_where_something_is_it_goes_on() -> None:
    with pytest.raises(bl.OptimizationError, match="not finite at any of 64 candidates"):
        bl.optimize_acqf(lambda X: X.sum((-2, -1)) * torch.nan, box(1), seed=0, **SMALL)

    def half(X: torch.Tensor) -> torch.Tensor:
        return torch.where(X[..., 0, 0] < 0.5, torch.nan, peak(X))

    x, value = bl.optimize_acqf(half, box(2), seed=0, **SMALL)
    assert_close(x, T([[0.7, 0.7]]), 1e-3)
    flat, _ = bl.optimize_acqf(lambda X: 0 * X.sum((-2, -1)), box(2), seed=0, **SMALL)
    assert torch.isfinite(flat).all() and torch.isfinite(value)


def test_a_model_that_is_no_gaussian_process() -> None:
    class Line:
        """f(x) = x1, known to within 0.1."""

        num_outputs = 1
        batch_shape = torch.Size()

        def posterior(self, X, *, observation_noise=False):  # type: ignore[no-untyped-def]
            q = X.shape[-2]
            eye = 0.01 * torch.eye(q, dtype=F64).expand(*X.shape[:-2], 1, q, q)
            return bl.GaussianPosterior.from_moments(X[..., :1], eye)

    for acq in (bl.LogExpectedImprovement(Line(), 0.0), bl.qLogExpectedImprovement(Line(), 0.0)):
        x, _ = bl.optimize_acqf(acq, box(2), seed=0, **SMALL)
        assert x[0, 0].item() > 1 - 1e-6


@pytest.fixture
def untouched() -> Iterator[None]:
    """Global random state, default type and number of threads stay as they are."""
    before = torch.get_rng_state().clone(), torch.get_default_dtype(), torch.get_num_threads()
    yield
    after = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    assert torch.equal(before[0], after[0]), "the global random state has changed"
    assert before[1:] == after[1:]


@pytest.mark.usefixtures("untouched")
def test_no_public_function_touches_the_global_state() -> None:
    for problem in (bl.problems.Branin(noise_std=0.1), bl.problems.Hartmann6(noise_std=0.1)):
        X = bl.sobol_points(problem.bounds, n=5, seed=0, replicates=2)
        Y = problem(X, seed=0)
        problem.loss(X)
    problem = bl.problems.Branin(noise_std=0.1)
    X = bl.sobol_points(problem.bounds, n=5, seed=0, replicates=2)
    Y = problem(X, seed=0)
    model = bl.fit_mll(bl.ExactGP(X, Y, problem.bounds), seed=3)
    bl.fit_mll(bl.ExactGP(X, Y, problem.bounds), start=model.hyperparameters())
    bl.log_marginal_likelihood(model)
    best = bl.incumbent(model, X).value
    sampler = bl.Sampler(16, seed=0)
    for acq in (
        bl.LogExpectedImprovement(model, best),
        bl.ExpectedImprovement(model, best),
        bl.UpperConfidenceBound(model, 4.0),
        bl.PosteriorMean(model),
        bl.qLogExpectedImprovement(model, best, sampler=sampler),
    ):
        bl.optimize_acqf(acq, problem.bounds, seed=0, **SMALL)
    bl.optimize_acqf(acq, problem.bounds, 2, sequential=True, seed=0, **SMALL)
    bl.Sampler(16, seed=0, kind="iid").base_samples((2, 1), (2,))
    model.posterior(X).rsample(sampler.base_samples((5, 1), (2,)))
    methods = {"LogEI": bl.strategies.log_ei, "Sobol": bl.strategies.sobol}
    bl.study(problem, methods, n_init=4, n_iter=2, q=1, replicates=2, seed=0)


@pytest.mark.usefixtures("untouched")
def test_a_failed_fit_does_not_touch_the_global_state() -> None:
    with pytest.raises(bl.FitError):
        bl.fit_mll(bl.ExactGP(*dataset(5, 2), kernel=Broken()))


def test_without_a_usable_gradient_the_best_start_is_returned() -> None:
    bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64)

    def rough(X: torch.Tensor) -> torch.Tensor:
        x = X[..., 0, 0]
        return -(x - 0.7).square() + (x - x).sqrt()  # value right, slope infinite times zero: NaN

    found = bl.optimize_acqf(rough, bounds, seed=0)
    assert abs(found.x.item() - 0.7) < 0.01
    assert found.value.item() == rough(found.x).item()
    assert not found.report.converged.any()
    assert any("not finite at the start" in text for text in found.report.messages)


def crowded(limit: int, error: type[Exception], text: str):  # type: ignore[no-untyped-def]
    """An acquisition that runs out of memory on more than ``limit`` sets of points at once."""

    def acq(X: torch.Tensor) -> torch.Tensor:
        if X.shape[0] > limit:
            raise error(text)
        return peak(X)

    return acq


ALLOCATOR = "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError, ALLOCATOR),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory"),
        (torch.OutOfMemoryError, "CUDA out of memory"),
        (MemoryError, ""),
    ],
)
def test_where_memory_runs_out_smaller_chunks_give_the_same(
    error: type[Exception], text: str
) -> None:
    plain = bl.optimize_acqf(peak, box(2), 2, seed=0, num_restarts=8, raw_samples=64)
    assert plain.report.halvings == 0 and "memory" not in str(plain.report)
    for limit in (33, 3, 1):  # the last ones do not even hold the eight restarts
        acq = crowded(limit, error, text)
        found = bl.optimize_acqf(acq, box(2), 2, seed=0, num_restarts=8, raw_samples=64)
        assert_close(found.x, plain.x, 1e-12)
        assert torch.equal(found.report.iterations, plain.report.iterations)
        assert found.report.halvings >= 1 and "memory ran out" in str(found.report)
    with pytest.raises(bl.OptimizationError, match="memory runs out for a single set of points"):
        bl.optimize_acqf(crowded(0, error, text), box(2), seed=0, **SMALL)


def test_other_errors_of_an_acquisition_are_not_taken_for_want_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        bl.optimize_acqf(
            crowded(3, RuntimeError, "shapes cannot be multiplied"), box(2), seed=0, **SMALL
        )


def test_a_replicated_batch_is_cut_by_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    from bolearn.search import batches

    model = gp(8, 2, r=(3,))
    acq = bl.qLogExpectedImprovement(model, T([0.3, 0.4, 0.2]), sampler=bl.Sampler(16, seed=0))
    whole = bl.optimize_acqf(acq, box(2), 2, seed=0, **SMALL)
    largest = []

    class Watched:
        def __init__(self) -> None:
            self.model, self.sampler = acq.model, acq.sampler

        def __call__(self, X: torch.Tensor) -> torch.Tensor:
            largest.append(X.shape[0])
            return acq(X)

    def search() -> bl.Candidates:
        return bl.optimize_acqf(Watched(), box(2), 2, seed=0, **SMALL)

    assert_close(search().report.start_values[0], whole.report.start_values[0], 1e-12)
    assert max(largest) == 64
    monkeypatch.setattr(batches, "BUDGET", 200_000)
    largest.clear()
    cut = search()
    assert max(largest) <= 5 and cut.report.halvings == 0
    monkeypatch.undo()
    assert_close(cut.value, search().value, 1e-8)


def test_raw_candidates_that_say_nothing_are_drawn_anew() -> None:
    def plateau(X: torch.Tensor) -> torch.Tensor:
        """Zero but for a hill on a fortieth of the square."""
        return (0.2 - (X - 0.3).square().sum((-2, -1)).clamp(min=1e-12).sqrt()).clamp(min=0)

    runs = [
        bl.optimize_acqf(plateau, box(2), num_restarts=2, raw_samples=4, seed=s) for s in range(20)
    ]
    redrawn = [run for run in runs if run.report.redrawn]
    assert redrawn and len(redrawn) < len(runs)
    assert any(run.value > 0.19 for run in redrawn)
    assert "redrawn" in str(redrawn[0].report) and "redrawn" not in str(
        next(run for run in runs if not run.report.redrawn).report
    )
    flat = bl.optimize_acqf(lambda X: 0 * peak(X), box(2), seed=0, **SMALL)
    assert flat.report.redrawn == 3


def test_replicates_are_redrawn_each_for_itself() -> None:
    def plateau(X: torch.Tensor) -> torch.Tensor:
        return (0.2 - (X - 0.3).square().sum((-2, -1)).clamp(min=1e-12).sqrt()).clamp(min=0)

    options = {"num_restarts": 2, "raw_samples": 4}
    together = bl.optimize_acqf(plateau, box(2), batch_shape=(12,), seed=3, **options)
    for i in range(12):
        alone = bl.optimize_acqf(plateau, box(2), seed=derive(3, i), **options)
        assert_close(together.x[i], alone.x, 1e-10)


def test_the_report_reads_well() -> None:
    found = bl.optimize_acqf(peak, box(2), batch_shape=(3,), seed=0, **SMALL)
    lines = str(found.report).splitlines()
    assert lines[0].startswith("4 restarts in each of 3 replicates, ")
    assert lines[1].startswith("best value ") and "reached by 4 restarts" in lines[1]
    assert sum(int(line.split(" x ")[0]) for line in lines[3:]) == 12


def test_joint_choice_is_never_worse_than_its_head_start() -> None:
    for seed in range(3):
        model = gp(20, 8, seed=seed)
        acq = bl.qLogExpectedImprovement(
            model, bl.incumbent(model, model.X).value, sampler=bl.Sampler(32, seed=seed)
        )
        found = bl.optimize_acqf(acq, box(8), 4, seed=seed, **SMALL)
        *others, head_start = found.report.start_values
        assert head_start > max(others)  # points chosen one by one, against points as drawn
        assert found.value >= head_start - 1e-10


def test_a_replicate_of_many_is_found_alone_though_another_engine_climbs() -> None:
    """Forty-eight rows climb as one batch, four of them by SciPy's core: to the same values."""
    from bolearn.optim import backends

    model = gp(10, 2, r=(12,))
    best = bl.incumbent(model, model.X).value
    assert backends.compiled_suits(torch.zeros(4, 2, dtype=F64))
    assert not backends.compiled_suits(torch.zeros(48, 2, dtype=F64))
    together = bl.optimize_acqf(bl.LogExpectedImprovement(model, best), box(2), seed=3, **SMALL)
    for i in range(12):
        acq = bl.LogExpectedImprovement(entry(model, (i,)), best[i])
        alone = bl.optimize_acqf(acq, box(2), seed=derive(3, i), **SMALL)
        assert_close(together.value[i], alone.value, 1e-7)
        assert_close(together.x[i], alone.x, 1e-3)


@pytest.mark.parametrize("unit, zero", [(1e-9, 0.0), (1e-4, 0.0), (1e9, 0.0), (1.0, 1e6)])
def test_the_search_does_not_know_the_unit_of_the_outputs(unit: float, zero: float) -> None:
    """Acquisitions in user units: a search finds the same point, up to rounding."""
    problem = bl.problems.Hartmann6()
    X = bl.sobol_points(problem.bounds, n=20, seed=0)
    Y = problem(X, seed=0)
    names = ("UpperConfidenceBound", "PosteriorMean", "ExpectedImprovement", "qSimpleRegret")
    found: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for scale, shift in ((1.0, 0.0), (unit, zero)):
        model = bl.ExactGP(X, Y * scale + shift, problem.bounds)
        for name in names:
            more = {
                "UpperConfidenceBound": (4.0,),
                "ExpectedImprovement": ((Y * scale).max().item() + shift,),
            }
            acq = getattr(bl, name)(model, *more.get(name, ()))
            offset = 0.0 if name == "ExpectedImprovement" else shift
            end = bl.optimize_acqf(acq, problem.bounds, num_restarts=4, raw_samples=64, seed=0)
            found[name].append((end.value - offset) / scale)
    for name, (plain, other) in found.items():
        assert_close(other, plain, 1e-6, name)


def test_limits_that_are_narrow_beside_the_unit_of_the_output_are_searched() -> None:
    """Standardised, both limits round to one number; their probability is still a number."""
    X = draw((6, 2), "X")
    Y = torch.cat([torch.sin(5 * X.sum(-1, keepdim=True)), 1e9 * torch.cos(4 * X[:, :1])], dim=-1)
    model = bl.ExactGP(X, Y, box(2))
    for width in (1e-7, 1e-3):
        limits = (bl.at_least(1, 1.0), bl.at_most(1, 1.0 + width))
        acq = bl.LogConstrainedExpectedImprovement(model, 0.5, outcome_constraints=limits)
        x, value = bl.optimize_acqf(acq, box(2), seed=0, **SMALL)
        # The density hardly changes between the limits: P = width times density
        belief = model.posterior(x)
        mean, std = belief.mean[0, 1], belief.variance[0, 1].sqrt()
        density = torch.distributions.Normal(mean, std).log_prob(T(1.0))
        alone = bl.LogExpectedImprovement(bl.ExactGP(X, Y[:, :1], box(2)), 0.5)(x)
        assert_close(value, alone + density + math.log(limits[1].bound - 1.0), 1e-6)
