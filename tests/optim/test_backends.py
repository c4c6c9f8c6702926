"""SciPy's compiled core, several rows abreast: its values, rows apart, and a way without it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from oracles import F64, T, assert_close, box, draw, gp
from test_lbfgs import by_scipy, quadratics, rosenbrock

import bolearn as bl
from bolearn.optim import backends, lbfgs
from bolearn.optim.minimum import BEHIND, SAME_END


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What was found out about SciPy is found out anew in each test."""
    backends._core.cache_clear()
    yield
    backends._core.cache_clear()


def limits(x0: torch.Tensor, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full_like(x0, low), torch.full_like(x0, high)


def test_the_core_is_there_and_used_for_few_rows_only() -> None:
    assert backends.compiled_suits(torch.zeros(16, 6, dtype=F64))
    assert not backends.compiled_suits(torch.zeros(64, 6, dtype=F64))
    assert not backends.compiled_suits(torch.zeros(16, 80, dtype=F64))


@pytest.mark.parametrize("D", [2, 6])
def test_each_row_is_scipys_own_run(D: int) -> None:
    x0 = 3 * draw((12, D), "core") - 1.5
    low, high = limits(x0, -1.5, 0.8)
    x0 = torch.minimum(torch.maximum(x0, low), high)
    end = backends.minimize(rosenbrock, x0, low, high)
    reference = by_scipy(rosenbrock, x0, low, high)
    assert_close(end.value, reference, 1e-6)
    assert_close(end.value, rosenbrock(end.x, torch.arange(12))[0], 1e-12)
    assert bool((end.x >= low).all()) and bool((end.x <= high).all())
    assert end.converged.all() and bool((end.iterations > 0).all())


def test_both_engines_agree_on_quadratics_also_where_a_variable_is_fixed() -> None:
    fun, _ = quadratics(8, 5, 2.0)
    x0 = 3 * draw((8, 5), "engines") - 1.5
    low, high = limits(x0, -0.3, 0.4)
    low[:, 2] = high[:, 2] = 0.1
    ours, theirs = (f(fun, x0, low, high) for f in (lbfgs.minimize, backends.minimize))
    assert_close(theirs.value, ours.value, 1e-7)
    assert bool((theirs.x[:, 2] == 0.1).all())


def test_rows_do_not_depend_on_their_neighbours() -> None:
    x0 = 3 * draw((7, 3), "rows") - 1.5
    low, high = limits(x0, -1.0, 1.2)
    together = backends.minimize(rosenbrock, x0, low, high)
    for i in range(7):
        own = slice(i, i + 1)
        alone = backends.minimize(rosenbrock, x0[own], low[own], high[own])
        assert_close(together.x[i], alone.x[0], 1e-10)
        assert together.iterations[i] == alone.iterations[0]


def test_a_row_that_is_not_a_number_poisons_no_other() -> None:
    x0 = 3 * draw((5, 3), "nan") - 1.5
    low, high = limits(x0, -2.0, 2.0)
    clean = backends.minimize(rosenbrock, x0, low, high)

    def sick(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f, g = rosenbrock(x, rows)
        f = torch.where(rows == 1, torch.nan, f)
        g = torch.where((rows == 3).unsqueeze(-1), torch.inf, g)
        # row 4 cannot be evaluated in a part of its box
        return torch.where((rows == 4) & (x[:, 0] > 0.5), torch.nan, f), g

    end = backends.minimize(sick, x0, low, high)
    assert torch.isnan(end.value[[1, 3]]).all() and torch.isfinite(end.value[[0, 2, 4]]).all()
    assert_close(end.x[[0, 2]], clean.x[[0, 2]], 1e-12)
    assert "not finite at the start" in end.message(1)
    start, _ = rosenbrock(x0, torch.arange(5))
    assert end.value[4] < start[4] and end.x[4, 0] <= 0.5


def test_only_rivals_that_do_not_matter_are_given_up() -> None:
    x0 = 3 * draw((30, 6), "race") - 1.5
    low, high = limits(x0, -3.0, 3.0)
    rivals = torch.arange(30) // 10

    least = torch.full((30,), torch.inf, dtype=F64)

    def uneven(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f, g = rosenbrock(x, rows)
        f = f + 1e4 * (rows % 2)  # every other row has no hope
        least[rows] = torch.minimum(least[rows], f)
        return f, g

    alone = backends.minimize(uneven, x0, low, high)
    least.fill_(torch.inf)
    raced = backends.minimize(uneven, x0, low, high, rivals=rivals)
    behind, same = raced.status == BEHIND, raced.status == SAME_END
    assert behind.any() and same.any() and raced.points < alone.points
    assert bool((torch.arange(30)[behind] % 2 == 1).all())
    finished = ~behind & ~same
    assert_close(raced.x[finished], alone.x[finished], 1e-10)
    for group in range(3):
        mine = rivals == group
        best = raced.value[mine].argmin()
        assert_close(raced.value[mine].min(), alone.value[mine].min(), 1e-8)
        arrived = alone.x[mine][same[mine]]
        assert_close(arrived, raced.x[mine][best].expand_as(arrived), 1e-3)
    assert torch.equal(raced.value, least)  # the best seen, also of rows left in mid-step
    assert_close(uneven(raced.x, torch.arange(30))[0], least, 1e-12)


def test_a_wrong_gradient_is_not_called_converged() -> None:
    def uphill(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (x - 0.3).square().sum(-1), -2 * (x - 0.3)

    start = T([[0.9, 0.1]])
    end = backends.minimize(uphill, start, *limits(start, 0.0, 1.0))
    assert not end.converged.any() and "gradient may be wrong" in end.message(0)
    assert_close(end.x, start, 1e-12)


def test_the_iteration_limit() -> None:
    start = T([[-1.2, 1.0]])
    end = backends.minimize(rosenbrock, start, *limits(start, -2.0, 2.0), max_iter=3)
    assert "iteration limit" in end.message(0) and end.iterations.item() == 3
    assert end.value < rosenbrock(start, torch.arange(1))[0]


@pytest.mark.parametrize("loss", ["another signature", "no module"])
def test_without_the_core_the_batched_engine_does_everything(
    loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scipy.optimize import _lbfgsb

    model = gp(10, 3)
    acq = bl.LogExpectedImprovement(model, bl.incumbent(model, model.X).value)
    options = {"num_restarts": 6, "raw_samples": 64, "seed": 0}
    compiled = bl.optimize_acqf(acq, box(3), **options)
    assert backends._core() is not None

    def setulb(m: int, csave: object) -> None:
        """setulb(m,x,l,u,nbd,f,g,factr,pgtol,wa,iwa,task,iprint,csave,lsave,isave,dsave,maxls)"""
        raise AssertionError("called with arguments that it does not take")

    if loss == "no module":
        monkeypatch.delattr(_lbfgsb, "setulb")
    else:
        monkeypatch.setattr(_lbfgsb, "setulb", setulb)
    backends._core.cache_clear()
    batched = bl.optimize_acqf(acq, box(3), **options)
    assert_close(batched.value, compiled.value, 1e-7)
    assert torch.equal(batched.report.start_values, compiled.report.start_values)
    assert_close(batched.report.values, compiled.report.values, 1e-3)
