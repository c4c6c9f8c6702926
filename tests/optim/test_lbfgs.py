"""Many bounded minimisations as one batch, against SciPy's row by row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import config
from oracles import F64, T, assert_close, draw, few
from scipy.optimize import minimize as scipy_minimize

import bolearn as bl
from bolearn.optim.lbfgs import minimize
from bolearn.optim.minimum import BEHIND, SAME_END


def quadratics(N: int, D: int, spread: float):  # type: ignore[no-untyped-def]
    """Convex quadratics with condition number about 10**spread, an optimum for each row."""
    Q = torch.linalg.qr(draw((N, D, D), "Q", D) - 0.5)[0]
    eigen = 10 ** (spread * draw((N, D), "eigen", D))
    A = Q @ torch.diag_embed(eigen) @ Q.mT
    centre = 2 * draw((N, D), "centre", D) - 1

    def fun(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = x - centre[rows]
        Az = (A[rows] @ z.unsqueeze(-1)).squeeze(-1)
        return 0.5 * (z * Az).sum(-1), Az

    return fun, centre


def rosenbrock(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_(True)
        a, b = leaf[:, :-1], leaf[:, 1:]
        value = (100 * (b - a**2) ** 2 + (1 - a) ** 2).sum(-1)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope


def by_scipy(fun, x0, low, high):  # type: ignore[no-untyped-def]
    values = []
    for i in range(len(x0)):

        def one(v, i=i):  # type: ignore[no-untyped-def]
            f, g = fun(torch.from_numpy(v.copy()).unsqueeze(0), torch.tensor([i]))
            return f.item(), g[0].numpy()

        box = list(zip(low.expand_as(x0)[i].tolist(), high.expand_as(x0)[i].tolist(), strict=True))
        values.append(scipy_minimize(one, x0[i].numpy(), jac=True, bounds=box).fun)
    return torch.tensor(values, dtype=F64)


INF = torch.tensor(torch.inf, dtype=F64)


@few
@given(
    st.integers(1, 5),
    st.integers(1, 6),
    st.floats(0, 3),
    st.sampled_from([(-torch.inf, torch.inf), (-0.3, 0.4), (-torch.inf, 0.2)]),
)
def test_convex_quadratics_reach_scipys_values(
    N: int, D: int, spread: float, limits: tuple[float, float]
) -> None:
    fun, _ = quadratics(N, D, spread)
    low, high = (torch.tensor(v, dtype=F64) for v in limits)
    x0 = torch.clamp(3 * draw((N, D), "x0") - 1.5, low, high)
    end = minimize(fun, x0, low, high)
    reference = by_scipy(fun, x0, low, high)
    assert bool((end.value <= reference + 1e-7 * reference.abs().clamp(min=1)).all())
    assert bool((end.x >= low).all()) and bool((end.x <= high).all())
    start, _ = fun(x0, torch.arange(N))
    assert bool((end.value <= start).all()) and bool(end.converged.all())
    again, _ = fun(end.x, torch.arange(N))
    assert_close(end.value, again, 1e-12)


@pytest.mark.parametrize("D", [2, 6])
@pytest.mark.parametrize("limits", [(-torch.inf, torch.inf), (-1.5, 0.8), (0.2, 3.0)])
def test_rosenbrock_reaches_scipys_values(D: int, limits: tuple[float, float]) -> None:
    low, high = (torch.tensor(v, dtype=F64) for v in limits)
    x0 = torch.clamp(3 * draw((12, D), "rosenbrock") - 1.5, low, high)
    end = minimize(rosenbrock, x0, low, high)
    reference = by_scipy(rosenbrock, x0, low, high)
    assert (end.value - reference).median() < 1e-5
    assert (end.value < reference + 1e-4).double().mean() >= 0.8  # D = 6 has two basins
    assert bool((end.x >= low).all()) and bool((end.x <= high).all())


def test_rows_do_not_depend_on_their_neighbours() -> None:
    x0 = 3 * draw((7, 3), "rows") - 1.5
    together = minimize(rosenbrock, x0, T(-1.0), T(1.2))
    for i in range(7):
        alone = minimize(rosenbrock, x0[i : i + 1], T(-1.0), T(1.2))
        assert_close(together.x[i], alone.x[0], 1e-10)
        assert_close(together.value[i], alone.value[0], 1e-10)
        assert together.iterations[i] == alone.iterations[0]
        assert together.status[i] == alone.status[0]
    order = [3, 1, 6, 0, 2, 5, 4]
    assert_close(minimize(rosenbrock, x0[order], T(-1.0), T(1.2)).x, together.x[order], 1e-10)


def test_a_row_that_is_not_a_number_poisons_no_other() -> None:
    x0 = 3 * draw((5, 3), "nan") - 1.5
    clean = minimize(rosenbrock, x0)

    def sick(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f, g = rosenbrock(x, rows)
        f = torch.where(rows == 1, torch.nan, f)
        g = torch.where((rows == 3).unsqueeze(-1), torch.inf, g)
        # row 4 cannot be evaluated in a part of its box
        return torch.where((rows == 4) & (x[:, 0] > 0.5), torch.nan, f), g

    end = minimize(sick, x0)
    assert torch.isnan(end.value[[1, 3]]).all() and torch.isfinite(end.value[[0, 2, 4]]).all()
    assert_close(end.x[[0, 2]], clean.x[[0, 2]], 1e-12)
    assert "not finite at the start" in end.message(1)
    start, _ = rosenbrock(x0, torch.arange(5))
    assert end.value[4] <= start[4] and end.x[4, 0] <= 0.5


def test_starts_outside_are_projected_and_fixed_variables_stay() -> None:
    fun, _ = quadratics(3, 4, 1.0)
    low = torch.full((4,), -0.5, dtype=F64)
    high = T([0.5, -0.5, 0.5, 0.5])  # the second has no room
    end = minimize(fun, torch.full((3, 4), 9.0, dtype=F64), low, high)
    assert bool((end.x[:, 1] == -0.5).all())
    assert bool((end.x >= low).all()) and bool((end.x <= high).all())
    reference = by_scipy(fun, torch.clamp(torch.full((3, 4), 9.0, dtype=F64), low, high), low, high)
    assert_close(end.value, reference, 1e-7)


def test_verdicts() -> None:
    fun, centre = quadratics(2, 3, 0.5)
    at_optimum = minimize(fun, centre)
    assert at_optimum.iterations.tolist() == [0, 0] and "gradient" in at_optimum.message(0)
    few_steps = minimize(rosenbrock, T([[-1.2, 1.0]]), max_iter=3)
    assert "iteration limit" in few_steps.message(0) and few_steps.iterations.item() == 3

    def wrong(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (f := fun(x, rows))[0], -f[1]

    stuck = minimize(wrong, centre + 1)
    assert_close(stuck.value, fun(centre + 1, torch.arange(2))[0], 1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_it_never_ends_worse_than_it_started_at_any_scale(scale: float) -> None:
    fun, _ = quadratics(4, 3, 2.0)

    def scaled(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f, g = fun(x, rows)
        return scale * f, scale * g

    x0 = 3 * draw((4, 3), "scale") - 1.5
    end = minimize(scaled, x0)
    assert bool((end.value <= scaled(x0, torch.arange(4))[0]).all())
    # with tolerances of the same scale (the defaults call anything small an end) it gets there
    end = minimize(scaled, x0, gtol=1e-5 * scale, ftol=0.0)
    assert bool((end.value < 0.01 * scaled(x0, torch.arange(4))[0]).all())
    assert_close(end.value / scale, torch.zeros(4, dtype=F64), 1e-6)


def test_bad_input() -> None:
    fun, _ = quadratics(2, 2, 0.0)
    x0 = torch.zeros(2, 2, dtype=F64)
    with pytest.raises(bl.DataError, match="lower <= upper"):
        minimize(fun, x0, T(1.0), T(0.0))
    with pytest.raises(bl.ShapeError, match=r"broadcasts to \(2, 2\), got \(3,\)"):
        minimize(fun, x0, T([0.0, 0.0, 0.0]))
    assert torch.isfinite(minimize(fun, x0, None, None).value).all()


def test_a_wrong_gradient_is_not_called_converged() -> None:
    def uphill(x: T, rows: T) -> tuple[T, T]:
        return (x - 0.3).square().sum(-1), -2 * (x - 0.3)

    start = torch.tensor([[0.9, 0.1]], dtype=torch.float64)
    end = minimize(uphill, start)
    assert not end.converged.any()
    assert "gradient may be wrong" in end.message(0)
    assert torch.equal(end.x, start)


def test_only_rivals_that_do_not_matter_are_given_up() -> None:
    x0 = 3 * draw((40, 6), "race") - 1.5
    rivals = torch.arange(40) % 4
    alone = minimize(rosenbrock, x0)
    raced = minimize(rosenbrock, x0, rivals=rivals)
    behind, same = raced.status == BEHIND, raced.status == SAME_END
    assert behind.any() and same.any() and raced.points < alone.points
    for which, words in ((behind, "would not have reached"), (same, "on its way to the very end")):
        assert words in raced.message(int(which.nonzero()[0])) and not raced.converged[which].any()
    for group in range(4):
        mine = rivals == group
        best = raced.value[mine].argmin()
        assert_close(raced.value[mine].min(), alone.value[mine].min(), 1e-8)
        assert not behind[mine][best] and not same[mine][best]
        # what a row on its way to the same end would have found is what the best one found
        arrived = alone.x[mine][same[mine]]
        assert_close(arrived, raced.x[mine][best].expand_as(arrived), 1e-3)
        # the other groups do not matter
        own = minimize(rosenbrock, x0[mine], rivals=torch.zeros(10, dtype=torch.long))
        assert_close(own.x, raced.x[mine], 1e-8)
        assert torch.equal(own.status, raced.status[mine])
    finished = ~behind & ~same
    assert_close(raced.x[finished], alone.x[finished], 1e-10)


def test_a_neighbour_in_another_valley_is_not_taken_for_the_same() -> None:
    """Two valleys, 0.06 apart; the deeper one's row arrives last."""

    def fun(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_(True)
            t = leaf[:, 0]
            value = torch.cos(t / 0.03 * 3.141592653589793 + 3.141592653589793) - 2 * t
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), slope

    x0 = T([[0.002], [0.031], [0.052]])
    alone = minimize(fun, x0, T(-0.02), T(0.07), first_step=0.005, max_step=0.01)
    end = minimize(fun, x0, T(-0.02), T(0.07), first_step=0.005, rivals=torch.zeros(3).long())
    assert len(alone.value.round(decimals=4).unique()) > 1  # there are several valleys
    assert_close(end.value.min(), alone.value.min(), 1e-7)


def test_the_matrices_of_few_variables_are_the_recursion_of_many() -> None:
    """Five more variables, which no step moves, make the memory one of pairs: while no pair is
    forgotten every step is the same."""
    N, D = 12, 8
    fun, _ = quadratics(N, D, 1.5)
    x0 = 3 * draw((N, D), "pairs") - 1.5

    def padded(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f, g = fun(x[:, :D], rows)
        return f, torch.cat([g, torch.zeros(len(g), 5, dtype=F64)], dim=-1)

    def pad(v: torch.Tensor) -> torch.Tensor:
        return torch.cat([v, torch.zeros(N, 5, dtype=F64)], dim=-1)

    for steps in (1, 2, 5, 9):
        stop = {"max_iter": steps, "gtol": 0.0, "ftol": 0.0}
        few_ = minimize(fun, x0, **stop)
        many = minimize(padded, pad(x0), **stop)
        assert_close(few_.x, many.x[:, :D], 1e-7)
        assert (many.iterations == steps).any()


def test_variables_held_at_bounds_leave_newtons_method_to_the_others() -> None:
    """A quadratic whose minimum lies outside the box: once the walls are found, the free variables
    have an inverse Hessian of their own."""
    N, D = 20, 8
    fun, _ = quadratics(N, D, 2.0)
    x0 = 3 * draw((N, D), "held") - 1.5
    low, high = T(-0.2), T(0.3)
    end = minimize(fun, x0, low, high, gtol=1e-6, ftol=0.0)
    at_wall = (end.x == low) | (end.x == high)
    assert at_wall.any(-1).all() and (~at_wall).any(-1).sum() > N // 2
    assert end.converged.all() and end.iterations.max() <= 25
    reference = by_scipy(fun, x0, low, high)
    assert bool((end.value <= reference + 1e-9).all())


@pytest.mark.parametrize("D", [3, 10, 30])
def test_a_row_among_others_takes_the_steps_it_takes_alone(D: int) -> None:
    """To the last bit, on NumPy arrays, if the function answers row by row."""
    N = 9
    fun, _ = quadratics(N, D, 3.0)

    def one_by_one(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        each = [fun(x[i : i + 1].clone(), rows[i : i + 1]) for i in range(len(rows))]
        return torch.cat([f for f, _ in each]), torch.cat([g for _, g in each])

    x0 = 3 * draw((N, D), "alone") - 1.5
    together = minimize(one_by_one, x0, -0.3, 1.0)
    for i in range(N):

        def own(
            x: torch.Tensor, rows: torch.Tensor, i: int = i
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return one_by_one(x, rows + i)

        assert torch.equal(minimize(own, x0[i : i + 1], -0.3, 1.0).x[0], together.x[i])


def test_a_row_that_could_not_start_is_no_rival() -> None:
    x0 = 3 * draw((8, 4), "sick rival") - 1.5

    def fun(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f, g = rosenbrock(x, rows)
        sick = rows == 0
        return torch.where(sick, -torch.inf, f), torch.where(sick[:, None], torch.nan, g)

    for arrays in ("numpy", "torch"):
        end = minimize(fun, x0, rivals=torch.zeros(8).long(), arrays=arrays)  # type: ignore
        assert torch.isnan(end.value[0]) and end.value[1:].min() < 1e-8


def test_a_function_may_reuse_its_memory() -> None:
    x0 = 3 * draw((20, 3), "buffers") - 1.5
    values, slopes = torch.empty(20, dtype=F64), torch.empty(20, 3, dtype=F64)

    def fun(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f, g = rosenbrock(x, rows)
        values[: len(f)], slopes[: len(f)] = f, g
        return values[: len(f)], slopes[: len(f)]

    assert torch.equal(minimize(fun, x0).x, minimize(rosenbrock, x0).x)


def test_no_steps_were_asked_for() -> None:
    x0 = 3 * draw((5, 3), "none") - 1.5
    end = minimize(rosenbrock, x0, max_iter=0)
    assert torch.equal(end.x, x0) and not end.iterations.any() and "limit" in end.message(0)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"x0": [[0.0]]}, "x0: expected a float64 tensor, got list"),
        ({"x0": torch.zeros(2, 3)}, "x0: expected a float64 tensor, got torch.float32"),
        ({"x0": torch.zeros(3, dtype=F64)}, "N D"),
        ({"lower": [0.0]}, "bounds: expected a number or a tensor, got list"),
        ({"upper": torch.nan}, "lower <= upper"),
        ({"rivals": torch.zeros(3)}, "each of 2 rows"),
        ({"rivals": [0, 0]}, "each of 2 rows, got list"),
        ({"max_step": -1.0}, "max_step: expected a number > 0, got -1.0"),
        ({"gtol": float("nan")}, "gtol: expected a number >= 0, got nan"),
        ({"max_iter": 1.5}, "max_iter: expected an integer >= 0"),
        ({"arrays": "jax"}, "'auto', 'numpy' or 'torch', got 'jax'"),
        ({"fun": lambda x, rows: (x, x)}, "fun: expected values"),
        ({"fun": lambda x, rows: (x.sum(-1).numpy(), x)}, "fun: expected values"),
        ({"fun": lambda x, rows: (x.sum(-1), x[:, :1])}, "fun: expected gradients"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict, words: str) -> None:  # type: ignore
    given = {"fun": rosenbrock, "x0": torch.zeros(2, 3, dtype=F64)} | change
    config.update("jaxtyping_disable", True)  # the annotations would speak first
    try:
        with pytest.raises(bl.BolearnError) as caught:
            minimize(given.pop("fun"), given.pop("x0"), **given)
    finally:
        config.update("jaxtyping_disable", False)
    assert words in str(caught.value)


def test_a_bound_may_be_a_number() -> None:
    x0 = torch.zeros(2, 3, dtype=F64)
    assert torch.equal(
        minimize(rosenbrock, x0, -1.0, 0.5).x, minimize(rosenbrock, x0, T(-1.0), T(0.5)).x
    )


def test_a_rival_on_a_long_steady_slope_is_waited_for() -> None:
    def fun(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        near = x.square().sum(-1), 2 * x  # row 0 is soon at its minimum, 0
        far = 30 - 0.5 * x.sum(-1), torch.full_like(x, -0.5)  # row 1 ends at -20, a step at a time
        slope = rows == 1
        return torch.where(slope, far[0], near[0]), torch.where(slope[:, None], far[1], near[1])

    end = minimize(fun, T([[0.7], [0.0]]), T(-1.0), T(100.0), rivals=torch.zeros(2).long())
    assert_close(end.value, T([0.0, -20.0]), 1e-8)
    assert end.iterations[1] > 40


def test_both_kinds_of_arrays_do_the_same() -> None:
    x0 = 3 * draw((12, 4), "kinds") - 1.5
    rivals = torch.arange(12) % 3
    numpy = minimize(rosenbrock, x0, T(-1.0), T(1.2), rivals=rivals, arrays="numpy")
    other = minimize(rosenbrock, x0, T(-1.0), T(1.2), rivals=rivals, arrays="torch")
    # NumPy looks more often: a row may be given up a little earlier
    finished = numpy.converged & other.converged
    assert finished.sum() >= 3
    assert_close(numpy.value[finished], other.value[finished], 1e-8)
    least = [v.value.view(4, 3).amin(0) for v in (numpy, other)]
    assert_close(*least, 1e-8)
    # what tensors on the CPU get without asking is the one of them
    default = minimize(rosenbrock, x0, T(-1.0), T(1.2), rivals=rivals)
    assert torch.equal(default.x, numpy.x) and not torch.equal(default.x, other.x)


def test_values_are_scipys_for_eighty_variables() -> None:
    """The size of four points in twenty dimensions, with bounds that bind."""
    fun, _ = quadratics(6, 80, 3.0)
    low, high = T(-0.5), T(0.4)
    x0 = torch.clamp(3 * draw((6, 80), "eighty") - 1.5, low, high)
    end = minimize(fun, x0, low, high, gtol=1e-7, ftol=1e-12)
    reference = by_scipy(fun, x0, low, high)
    assert bool((end.value <= reference + 1e-5 * reference.abs()).all())


def test_where_no_step_helps_a_row_gives_up_after_twenty_shortened_ones() -> None:
    """A slope that is not there: every shortened step is a question that costs the whole batch."""

    def lies(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(x), dtype=F64), torch.ones_like(x)

    end = minimize(lies, T([[0.5, 0.5]]), T(0.0), T(1.0), ftol=0.0)
    assert end.message(0).startswith("stopped: no step") and end.evaluations <= 22

    def lies_later(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A bowl outside of a ball, flat inside, with the bowl's slope."""
        return x.square().sum(-1).clamp(min=0.3), 2 * x * T([1.0, 30.0])

    x0 = T([[0.9, 0.8]])
    end = minimize(lies_later, x0, T(-1.0), T(1.0), ftol=0.0)
    # the memory is forgotten once, then steepest descent gives up as well
    assert end.message(0).startswith("stopped: no step") and end.evaluations <= 22 + 22 + 10


def test_where_projection_turns_descent_into_ascent_the_next_trial_stops_at_a_bound() -> None:
    """In the same direction, as far as nothing has to be cut off: no reset, no step back."""
    N = 200
    fun, _ = quadratics(N, 3, 4.0)
    at = draw((N, 3), "x0") - 0.5
    f, g = fun(at, torch.arange(N))
    ascent = torch.full((N, 3), torch.nan, dtype=F64)  # the step of a trial that rose
    onwards = turned = 0

    def watched(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal onwards, turned
        value, gradient = fun(x, rows)
        step, before = x - at[rows], ascent[rows]
        slope = (g[rows] * step).sum(-1)
        same = (step * before >= 0).all(-1) & (step.abs() <= before.abs()).all(-1)
        on_bound = ((x.abs() - 0.5).abs() < 1e-12).any(-1)
        half = torch.isclose(step, before / 2).any(-1)
        followed = ~before.isnan().any(-1)
        onwards += int((followed & same & (on_bound | half) & (slope < 0)).sum())
        turned += int((followed & ~same).sum())
        ascent[rows] = torch.where((slope > 0).unsqueeze(-1), step, torch.nan)
        accepted = (value <= f[rows] + 1e-4 * slope) & (slope < 0)  # Armijo's rule
        k = rows[accepted]
        at[k], f[k], g[k] = x[accepted], value[accepted], gradient[accepted]
        return value, gradient

    minimize(watched, at.clone(), T(-0.5), T(0.5))
    assert onwards >= 10
    assert turned <= onwards / 2  # a bound nearer than rounding is a reason to begin anew
