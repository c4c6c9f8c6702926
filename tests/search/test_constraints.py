"""Constraints on inputs: exact candidates, SciPy's values, known optima, reasons when none is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.acquisition import analytic
from botorch.optim import optimize_acqf as their_optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import F64, T, assert_close, box, draw, few, gp
from scipy.optimize import minimize as scipy_minimize
from test_botorch_agreement import twin

import bolearn as bl
from bolearn.search import lagrangian
from bolearn.search.constraints import InputConstraint, Linear, check_input_constraints
from bolearn.search.feasible import feasible_candidates
from bolearn.search.region import FEASIBLE, Region
from bolearn.seeds import derive
from bolearn.transforms import UnitCube

fewer = settings(few, max_examples=8)
SMALL = {"num_restarts": 4, "raw_samples": 64}
DISC = bl.nonlinear_constraint(lambda x: (x - 0.5).square().sum(-1) - 0.16)
HOLE = bl.nonlinear_constraint(lambda x: 0.09 - (x - 0.5).square().sum(-1))
KINDS = {
    "budget": lambda d: (bl.linear_constraint(range(d), [1.0] * d, at_most=0.3 * d),),
    "order": lambda d: (bl.linear_constraint([0, 1], [1.0, -1.0], at_least=0.1, at_most=0.2),),
    "mixture": lambda d: (bl.linear_constraint(range(d), [1.0] * d, equals=1.0),),
    "disc": lambda d: (DISC,),
    "ring": lambda d: (DISC, HOLE),
    "disc on a plane": lambda d: (
        bl.linear_constraint(range(d), [1.0] * d, equals=0.4 * d),
        DISC,
    ),
}


def excess(constraints: tuple[InputConstraint, ...], X: torch.Tensor) -> float:
    """Largest violation in user units, from the definitions; exactly 0 for what has to hold."""
    worst = 0.0
    for c in constraints:
        if not isinstance(c, Linear):
            worst = max(worst, c.fn(X).max().item())
            continue
        total = sum(w * X[..., i] for i, w in zip(c.indices, c.coefficients, strict=True))
        gap = torch.maximum(total - c.at_most, c.at_least - total).max().item()
        # an equality holds to rounding, an inequality without any allowance
        worst = max(worst, gap - 1e-12 if c.equality else gap)
    return worst


def on_simplex(a: np.ndarray) -> np.ndarray:
    """The point of {x >= 0, sum x = 1} closest to a, by sorting."""
    u = np.sort(a)[::-1]
    excess_ = (np.cumsum(u) - 1) / np.arange(1, len(a) + 1)
    return np.maximum(a - excess_[np.nonzero(u > excess_)[0][-1]], 0)


@fewer
@given(st.integers(2, 6), st.integers(0, 1000))
def test_the_closest_point_of_a_simplex(d: int, seed: int) -> None:
    a = 1.6 * draw((d,), "simplex", seed) - 0.3
    x, value = bl.optimize_acqf(
        lambda X: -(X - a).square().sum((-2, -1)),
        box(d),
        input_constraints=(bl.linear_constraint(range(d), [1.0] * d, equals=1.0),),
        seed=seed,
        **SMALL,
    )
    expected = torch.from_numpy(on_simplex(a.numpy()))
    assert_close(value, -(expected - a).square().sum(), 1e-7)
    assert_close(x[0], expected, 1e-3)


@fewer
@given(st.integers(1, 5), st.integers(0, 1000), st.floats(0.1, 0.45), st.sampled_from([1.0, 1e4]))
def test_the_farthest_point_of_a_ball(d: int, seed: int, radius: float, unit: float) -> None:
    slope = draw((d,), "slope", seed) - 0.5
    ball = bl.nonlinear_constraint(lambda x: (x / unit - 0.5).square().sum(-1) - radius**2)
    x, value = bl.optimize_acqf(
        lambda X: (X * slope).sum((-2, -1)),
        box(d, 0.0, unit),
        input_constraints=(ball,),
        seed=seed,
        **SMALL,
    )
    expected = 0.5 * unit + unit * radius * slope / slope.norm()
    assert_close(value / unit, (expected * slope).sum() / unit, 1e-6)
    assert ball.fn(x).item() <= 0


@pytest.mark.parametrize("kind", KINDS)
def test_as_good_as_scipys_slsqp_from_the_same_starts(kind: str) -> None:
    d, q, N = 4, 2, 12
    model = gp(12, d, seed=3)
    acq = bl.UpperConfidenceBound(model, 2.0)
    constraints = KINDS[kind](d)
    region = Region(constraints, UnitCube(box(d)), torch.zeros(1, d, dtype=F64), box(d)[1:])
    raw = draw((1, N, q, d), "starts", kind)
    x0 = feasible_candidates(region, raw, N, [7]).reshape(N, q * d)

    def objective(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            value = -acq(leaf.view(len(x), q, 1, d)).sum(-1)
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), slope

    zero = torch.zeros(N, q * d, dtype=F64)
    rows = torch.zeros(N, dtype=torch.long)
    end, wrong = lagrangian.minimize(
        region, objective, x0, zero, zero + 1, rows, torch.ones(N, dtype=F64)
    )
    assert excess(constraints, x0.view(N, q, d)) <= FEASIBLE
    assert excess(constraints, end.x.view(N, q, d)) <= 0 and bool((wrong <= FEASIBLE).all())
    assert bool((end.value <= objective(x0, rows)[0]).all())
    assert_close(end.value, objective(end.x, rows)[0], 1e-12)

    def one(v: np.ndarray) -> tuple[float, np.ndarray]:
        f, g = objective(torch.from_numpy(v.copy())[None], rows)
        return f.item(), g[0].numpy()

    def residuals(v: np.ndarray, equality: bool) -> np.ndarray:
        c = region.residuals(torch.from_numpy(v.copy()).view(q, d), rows[:q])
        return -c[:, region.equality == equality].flatten().numpy()

    reference = []
    for start in x0:
        got = scipy_minimize(
            one,
            start.numpy(),
            jac=True,
            bounds=[(0, 1)] * (q * d),
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-11},
            constraints=[
                {"type": "eq" if e else "ineq", "fun": residuals, "args": (e,)}
                for e in region.equality.unique().tolist()
            ],
        )
        reference.append(got.fun)
    gaps = end.value - T(reference)
    assert gaps.median() < 1e-5, gaps  # row by row; a start may lead to another basin
    assert (end.value.min() - T(reference).min()).item() < 1e-5


def test_values_are_not_worse_than_botorchs() -> None:
    gaps = []
    for seed in range(4):
        model = gp(15, 3, seed=seed)
        best = bl.incumbent(model, model.X).value
        acq = bl.LogExpectedImprovement(model, best)
        ours = bl.optimize_acqf(
            acq,
            box(3),
            input_constraints=(bl.linear_constraint([0, 1, 2], [1.0, 2.0, 1.0], at_most=1.1),),
            num_restarts=8,
            raw_samples=128,
            seed=seed,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            x, _ = their_optimize(
                analytic.LogExpectedImprovement(twin(model), best),
                box(3),
                q=1,
                num_restarts=8,
                raw_samples=128,
                inequality_constraints=[(torch.arange(3), T([-1.0, -2.0, -1.0]), -1.1)],
            )
        gaps.append((ours.value - acq(x.unsqueeze(0))).item())
    assert min(gaps) > -1e-5, gaps


@pytest.mark.parametrize(
    ("kind", "sequential"), [*((kind, False) for kind in KINDS), ("ring", True), ("mixture", True)]
)
def test_every_point_of_every_replicate_is_feasible(kind: str, sequential: bool) -> None:
    model = gp(8, 3, r=(2,))
    acq = bl.qLogExpectedImprovement(model, T([0.3, 0.4]), sampler=bl.Sampler(32, seed=0))
    constraints = KINDS[kind](3)
    found = bl.optimize_acqf(
        acq,
        box(3),
        2,
        input_constraints=constraints,
        sequential=sequential,
        num_restarts=2,
        raw_samples=32,
        seed=0,
    )
    assert found.x.shape == (2, 2, 3)
    assert excess(constraints, found.x) <= 0
    assert bool((found.x >= 0).all()) and bool((found.x <= 1).all())
    assert bool((found.report.values >= found.report.start_values - 1e-12).all())
    if not sequential:
        assert_close(acq(found.x), found.value, 1e-7)


def test_a_replicate_alone_chooses_the_same() -> None:
    boxes = torch.stack([box(2, 0.0, 1.0), box(2, -1.0, 2.0), box(2, 0.2, 0.9)])
    targets = draw((3, 1, 2), "alone")
    constraints = (bl.linear_constraint([0, 1], [1.0, 2.0], at_most=0.9), DISC)
    options = {**SMALL, "input_constraints": constraints}

    def acq(X: torch.Tensor) -> torch.Tensor:
        return -(X - targets).square().sum((-2, -1))

    together = bl.optimize_acqf(acq, boxes, batch_shape=(3,), seed=5, **options)
    assert excess(constraints, together.x) <= 0
    for i in range(3):
        alone = bl.optimize_acqf(
            lambda X, i=i: -(X - targets[i]).square().sum((-2, -1)),
            boxes[i],
            seed=derive(5, i),
            **options,
        )
        assert_close(together.value[i], alone.value, 1e-7)


def test_with_fixed_inputs() -> None:
    constraints = (bl.linear_constraint([0, 1, 2], [1.0, 1.0, 1.0], equals=1.2),)
    x, _ = bl.optimize_acqf(
        lambda X: -(X - 0.7).square().sum((-2, -1)),
        box(3),
        input_constraints=constraints,
        fixed={1: 0.3},
        seed=0,
        **SMALL,
    )
    assert x[0, 1].item() == 0.3
    assert_close(x, T([[0.45, 0.3, 0.45]]), 1e-4)
    with pytest.raises(bl.InfeasibleError, match="or free a fixed input"):
        bl.optimize_acqf(
            lambda X: X.sum((-2, -1)),
            box(3),
            input_constraints=(bl.linear_constraint([0, 1], [1.0, 1.0], at_least=1.5),),
            fixed={1: 0.3},
            seed=0,
        )


def test_inactive_constraints_change_nothing() -> None:
    model = gp(10, 2)
    acq = bl.LogExpectedImprovement(model, bl.incumbent(model, model.X).value)
    free = bl.optimize_acqf(acq, box(2), seed=2, **SMALL)
    wide = (bl.linear_constraint([0, 1], [1.0, 1.0], at_most=5.0),)
    bound = bl.optimize_acqf(acq, box(2), input_constraints=wide, seed=2, **SMALL)
    assert_close(bound.value, free.value, 1e-9)


@pytest.mark.parametrize("kind", ["budget", "mixture", "disc"])
def test_multipliers_spare_the_penalty_from_growing(kind: str) -> None:
    """Without their update the penalty alone needs several times as many evaluations."""
    d, N = 6, 8
    a = torch.linspace(0.2, 1.3, d, dtype=F64)
    region = Region(KINDS[kind](d), UnitCube(box(d)), box(d)[:1], box(d)[1:])
    x0 = feasible_candidates(region, draw((1, N, 1, d), "spare"), N, [1]).reshape(N, d)
    end, _ = lagrangian.minimize(
        region,
        lambda x, rows: ((x - a).square().sum(-1), 2 * (x - a)),
        x0,
        torch.zeros_like(x0),
        torch.ones_like(x0),
        torch.zeros(N, dtype=torch.long),
        torch.ones(N, dtype=F64),
    )
    assert_close(end.value, end.value.min().expand(N), 1e-6)
    assert end.converged.all() and end.evaluations < 150


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_units_of_a_constraint_do_not_matter(scale: float) -> None:
    a = T([0.9, 0.8])
    for constraint in (
        bl.linear_constraint([0, 1], [scale, scale], at_most=scale),
        bl.nonlinear_constraint(lambda x: scale * (x.sum(-1) - 1)),
    ):
        x, _ = bl.optimize_acqf(
            lambda X: -(X - a).square().sum((-2, -1)),
            box(2),
            input_constraints=(constraint,),
            seed=0,
            **SMALL,
        )
        assert_close(x, T([[0.55, 0.45]]), 1e-5)
        assert x.sum().item() <= 1.0


@pytest.mark.parametrize("d", [2, 5])
def test_starts_fill_the_feasible_set_evenly(d: int) -> None:
    """Uniform on {x >= 0, sum x <= 1} means Dirichlet(1, ..., 1): its mean and variance."""
    region = Region(
        (bl.linear_constraint(range(d), [1.0] * d, at_most=1.0),),
        UnitCube(box(d)),
        torch.zeros(1, d, dtype=F64),
        torch.ones(1, d, dtype=F64),
    )
    n = 4096
    X = feasible_candidates(region, draw((1, n, 1, d), "even", d), n, [3]).view(n, d)
    assert X.min() >= 0 and X.sum(-1).max() <= 1 + FEASIBLE
    mean, var = 1 / (d + 1), d / ((d + 1) ** 2 * (d + 2))
    assert ((X.mean(0) - mean).abs() < 5 * math.sqrt(var / n)).all()
    assert ((X.var(0) / var - 1).abs() < 0.15).all()


def test_starts_of_an_equality_lie_on_it_and_spread() -> None:
    d, n = 3, 2048
    region = Region(
        (bl.linear_constraint(range(d), [1.0] * d, equals=1.0),),
        UnitCube(box(d)),
        torch.zeros(1, d, dtype=F64),
        torch.ones(1, d, dtype=F64),
    )
    X = feasible_candidates(region, draw((1, n, 1, d), "plane"), n, [3]).view(n, d)
    assert_close(X.sum(-1), torch.ones(n, dtype=F64), 1e-12)
    var = (d - 1) / (d**2 * (d + 1))  # Dirichlet(1, 1, 1)
    assert ((X.mean(0) - 1 / d).abs() < 5 * math.sqrt(var / n)).all()
    assert ((X.var(0) / var - 1).abs() < 0.15).all()


def test_feasible_candidates_stay_where_they_are() -> None:
    region = Region((DISC,), UnitCube(box(2)), torch.zeros(1, 2, dtype=F64), box(2)[1:])
    raw = draw((1, 200, 1, 2), "stay")
    X = feasible_candidates(region, raw, 200, [3])
    inside = DISC.fn(raw[0, :, 0]) <= 0
    assert inside.any() and not inside.all()
    assert torch.equal(X[0, inside], raw[0, inside])
    assert bool((DISC.fn(X) <= FEASIBLE).all())


def acq_sum(X: torch.Tensor) -> torch.Tensor:
    return X.sum((-2, -1))


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ((bl.linear_constraint([0, 1], [1, 1], at_most=-1.0),), "missed by at least 1"),
        ((bl.linear_constraint([0, 1], [1, 1], equals=2.5),), "missed by at least 0.5"),
        (
            (
                bl.linear_constraint([0, 1], [1, 1], at_most=0.5),
                bl.linear_constraint([0, 1], [1, 2], at_least=1.2),
            ),
            "contradict each other",
        ),
        ((bl.nonlinear_constraint(lambda x: x.square().sum(-1) + 1),), "no feasible point found"),
    ],
)
def test_where_nothing_is_feasible_it_says_why(
    constraints: tuple[InputConstraint, ...], message: str
) -> None:
    with pytest.raises(bl.InfeasibleError, match=message):
        bl.optimize_acqf(acq_sum, box(2), input_constraints=constraints, seed=0, **SMALL)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bl.linear_constraint([0], [1.0]), "got none"),
        (lambda: bl.linear_constraint([0, 0], [1.0, 1.0], at_most=1), "distinct indices"),
        (lambda: bl.linear_constraint([0, 1], [1.0], at_most=1), "1 coefficients"),
        (lambda: bl.linear_constraint([-1], [1.0], at_most=1), "ints >= 0"),
        (lambda: bl.linear_constraint([0], [0.0], at_most=1), "not all zero"),
        (lambda: bl.linear_constraint([0], [1.0], at_most=math.nan), "at_most: expected a finite"),
        (lambda: bl.linear_constraint([0], [1.0], at_least=2, at_most=1), "exceeds"),
        (lambda: bl.linear_constraint([0], [1.0], equals=2, at_most=1), "not both"),
    ],
)
def test_bad_declarations(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(bl.DataError, match=message):
        make()


@pytest.mark.parametrize(
    ("constraints", "error", "message"),
    [
        ((bl.linear_constraint([2], [1.0], at_most=1),), bl.DataError, "inputs 0 to 1"),
        ((bl.nonlinear_constraint(lambda x: x),), bl.ShapeError, "one value for each point"),
    ],
)
def test_bad_constraints(constraints: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bl.optimize_acqf(acq_sum, box(2), input_constraints=constraints, seed=0, **SMALL)


@pytest.mark.parametrize("given_", [(acq_sum,), acq_sum, bl.linear_constraint([0], [1], at_most=1)])
def test_what_is_no_sequence_of_constraints(given_: object) -> None:
    with pytest.raises(bl.DataError, match=r"input_constraints: expected .*linear_constraint\("):
        check_input_constraints(given_)
