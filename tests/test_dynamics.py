"""Traces of descents: against closed forms and torch, row by row, and with losses that lie."""

import math

import pytest
import torch
from torch import Tensor

from bolearn.dynamics import power_iteration, trace_gd, trace_momentum, trace_newton
from bolearn.errors import DataError, NumericsError, ShapeError
from bolearn.problems import FourWell, Problem, Quadratic, Rastrigin, Rosenbrock

CURVATURE = torch.tensor([10.0, 1.0], dtype=torch.float64)


def bowl(x: Tensor) -> Tensor:
    return 0.5 * (CURVATURE * x.square()).sum(-1)


def test_each_coordinate_of_a_bowl_shrinks_by_its_own_factor() -> None:
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    trace = trace_gd(bowl, start, lr=0.05, steps=20)
    t = torch.arange(21, dtype=torch.float64).unsqueeze(-1)
    expected = start * (1 - 0.05 * CURVATURE) ** t
    assert torch.allclose(trace.points, expected, rtol=1e-12, atol=0)
    assert torch.allclose(trace.values, bowl(expected), rtol=1e-12, atol=0)
    assert torch.allclose(trace.gradients, CURVATURE * expected, rtol=1e-12, atol=0)


def test_rows_are_descents_of_their_own_and_may_diverge() -> None:
    starts = torch.tensor([[1.0, 1.0], [2.0, -1.0], [0.5, 0.0]], dtype=torch.float64)
    rates = torch.tensor([0.01, 10.0, 0.1], dtype=torch.float64)
    together = trace_gd(bowl, starts, rates, steps=400)
    assert not together.points[-1, 1].isfinite().all()
    for row in (0, 2):
        alone = trace_gd(bowl, starts[row], float(rates[row]), steps=400)
        assert torch.allclose(together.points[:, row], alone.points, rtol=0, atol=1e-12)


def test_the_start_stays_and_no_grad_outside_does_not_matter() -> None:
    start = torch.ones(2, dtype=torch.float64)
    with torch.no_grad():
        trace = trace_gd(bowl, start, lr=0.1, steps=3)
    assert torch.equal(start, torch.ones(2, dtype=torch.float64))
    assert torch.equal(trace.points[0], start)
    assert not trace.points.requires_grad and not trace.values.requires_grad
    assert len(trace_gd(bowl, start, lr=0.1, steps=0).points) == 1


def test_losses_that_cannot_be_right_are_refused() -> None:
    start = torch.ones(4, 2, dtype=torch.float64)
    with pytest.raises(ShapeError, match="broadcasting"):
        trace_gd(lambda x: bowl(x).unsqueeze(-1) - bowl(x), start, lr=0.1, steps=1)
    with pytest.raises(ShapeError, match=r"expected shape \(4,\)"):
        trace_gd(lambda x: bowl(x).mean(), start, lr=0.1, steps=1)
    with pytest.raises(DataError, match="detach"):
        trace_gd(lambda x: bowl(x.detach()), start, lr=0.1, steps=1)


def test_learning_rates_that_do_not_fit_are_refused() -> None:
    rates = torch.ones(3, dtype=torch.float64)
    for start in (torch.ones(4, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)):
        with pytest.raises(ShapeError, match="one row for each value of lr"):
            trace_gd(bowl, start, rates, steps=1)


# ---------------------------------------------------------------- momentum


@pytest.mark.parametrize("kind", ["heavy_ball", "nesterov"])
@pytest.mark.parametrize("problem", [Quadratic([10.0, 1.0]), Rosenbrock(), Rastrigin()])
def test_momentum_is_that_of_torch(kind, problem: Problem) -> None:
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    lr, momentum = 2e-4, 0.9
    trace = trace_momentum(problem.loss, start, lr, momentum, steps=200, kind=kind)
    x = start.clone().requires_grad_()
    torch_sgd = torch.optim.SGD([x], lr=lr, momentum=momentum, nesterov=kind == "nesterov")
    for t in range(200):
        torch_sgd.zero_grad()
        problem.loss(x).backward()
        assert torch.allclose(trace.points[t], x.detach(), rtol=0, atol=1e-14)
        assert torch.allclose(trace.gradients[t], x.grad, rtol=1e-12, atol=1e-11)
        torch_sgd.step()
        velocity = torch_sgd.state[x]["momentum_buffer"]
        assert torch.allclose(trace.velocities[t + 1], velocity, rtol=1e-12, atol=1e-11)
    assert torch.allclose(trace.values, problem.loss(trace.points), rtol=0, atol=1e-14)


def test_momentum_follows_its_companion_matrix() -> None:
    lr, beta, start = 0.15, 0.6, torch.tensor([1.0, -2.0], dtype=torch.float64)
    for kind in ("heavy_ball", "nesterov"):
        trace = trace_momentum(bowl, start, lr, beta, steps=60, kind=kind)
        for i, curvature in enumerate(CURVATURE.tolist()):
            now = [-lr * beta, 1 - lr * curvature]  # x <- x - lr (beta v + g)
            if kind == "nesterov":  # x <- x - lr (g + beta (beta v + g))
                now = [-lr * beta**2, 1 - lr * curvature * (1 + beta)]
            step = torch.tensor([[beta, curvature], now], dtype=torch.float64)
            state = torch.stack([torch.zeros_like(start[i]), start[i]])
            for t in range(61):
                got = torch.stack([trace.velocities[t, i], trace.points[t, i]])
                assert torch.allclose(got, state, rtol=1e-10, atol=1e-12)
                state = step @ state


def test_momentum_zero_is_gradient_descent_and_one_is_forgetting_zero_grad() -> None:
    start = torch.tensor([[1.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    plain = trace_gd(bowl, start, lr=0.05, steps=50)
    for kind in ("heavy_ball", "nesterov"):
        assert torch.equal(trace_momentum(bowl, start, 0.05, 0.0, 50, kind).points, plain.points)
    forgetful = start.clone().requires_grad_()
    ball = trace_momentum(bowl, start, 0.05, 1, 50)
    for t in range(51):
        assert torch.allclose(ball.points[t], forgetful.detach(), rtol=0, atol=1e-13)
        bowl(forgetful).sum().backward()  # the gradients pile up in .grad
        with torch.no_grad():
            forgetful -= 0.05 * forgetful.grad


def test_momentum_rows_have_their_own_rates_and_memories() -> None:
    start = torch.ones(2, 3, 2, dtype=torch.float64)
    rates = torch.tensor([0.01, 0.1, 0.4], dtype=torch.float64)
    betas = torch.tensor([[0.0], [0.9]], dtype=torch.float64)
    together = trace_momentum(bowl, start, rates, betas, steps=300, kind="nesterov")
    for i in range(2):
        for j in range(3):
            alone = trace_momentum(
                bowl, start[i, j], rates[j].item(), betas[i].item(), 300, "nesterov"
            )
            assert torch.allclose(together.points[:, i, j], alone.points, rtol=1e-9, atol=1e-12)
    with pytest.raises(ShapeError, match="momentum"):
        trace_momentum(bowl, start, 0.1, torch.ones(4, dtype=torch.float64), steps=1)
    with pytest.raises((DataError, TypeError), match="kind"):
        trace_momentum(bowl, start, 0.1, 0.5, steps=1, kind="adam")


def test_the_strongly_convex_function_on_which_tuned_momentum_cycles() -> None:
    """Lessard, Recht & Packard (2016): curvatures 25, 1, 25; both methods tuned."""

    def pieces(x: Tensor) -> Tensor:
        x = x[..., 0]
        middle, right = 0.5 * x**2 + 24 * x - 12, 12.5 * x**2 - 24 * x + 36
        return torch.where(x < 1, 12.5 * x**2, torch.where(x < 2, middle, right))

    start = torch.tensor([3.3], dtype=torch.float64)
    ball = trace_momentum(pieces, start, 1 / 9, 4 / 9, steps=600).points[-3:, 0]
    expected = torch.tensor([-1.8024, 0.6465, 2.1159], dtype=torch.float64)
    assert torch.allclose(ball.sort().values, expected, rtol=0, atol=1e-4)
    assert trace_gd(pieces, start, 2 / 26, steps=600).values[-1] < 1e-9


# ---------------------------------------------------------------- Newton


def test_newton_solves_a_quadratic_in_one_step_whatever_its_shape() -> None:
    H = torch.tensor([[3.0, 1.0], [1.0, -2.0]], dtype=torch.float64)  # a saddle, at the center
    problem = Quadratic(H, center=[0.5, -0.5])
    starts = torch.tensor([[1.0, 1.0], [-3.0, 0.2]], dtype=torch.float64)
    trace = trace_newton(problem.loss, starts, steps=1)
    assert torch.allclose(trace.points[1], problem.center.expand(2, 2), rtol=0, atol=1e-14)
    assert torch.allclose(trace.hessians[0], H.expand(2, 2, 2), rtol=0, atol=1e-14)


def test_newton_takes_the_exact_damped_step() -> None:
    problem = FourWell()
    starts = torch.tensor([[1.0, 0.3], [-0.4, 2.0], [0.1, 0.1]], dtype=torch.float64)
    damping = torch.tensor([0.0, 1.0, 10.0], dtype=torch.float64)
    trace = trace_newton(problem.loss, starts, steps=4, damping=damping)
    for i in range(3):
        x = starts[i]
        for t in range(5):
            assert torch.allclose(trace.points[t, i], x, rtol=0, atol=1e-12)
            gradient = torch.func.grad(problem.loss)(x)
            H = torch.func.hessian(problem.loss)(x)
            assert torch.allclose(trace.hessians[t, i], H, rtol=0, atol=1e-11)
            x = x - torch.linalg.solve(H + damping[i] * torch.eye(2), gradient)


def test_newton_on_the_curved_valley_doubles_its_digits() -> None:
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    trace = trace_newton(Rosenbrock().loss, start, steps=7)
    assert trace.values[-1] < 1e-18 and trace.values[4] > 1e-3
    errors = (trace.points - 1).norm(dim=-1)
    assert errors[6] < 20 * errors[5] ** 2 + 1e-15


def test_a_damping_above_the_negative_curvature_goes_downhill() -> None:
    problem = FourWell()
    start = torch.tensor([0.05, 0.02], dtype=torch.float64)  # on top of the hill, curvature -2
    uphill = trace_newton(problem.loss, start, steps=8)
    assert uphill.points[-1].norm() < 1e-8  # the maximum attracts the undamped method
    downhill = trace_newton(problem.loss, start, steps=60, damping=4.0)
    assert (downhill.values.diff() <= 1e-12).all()
    assert downhill.values[-1].item() == pytest.approx(-3.30625, abs=1e-6)


def test_a_singular_hessian_spoils_its_own_row_only() -> None:
    def loss(x: Tensor) -> Tensor:
        return (x**3).sum(-1) / 6 + x.sum(-1)  # H = diag(x)

    start = torch.tensor([[0.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    trace = trace_newton(loss, start, steps=1)
    assert trace.points[1, 0].isnan().all()
    assert trace.points[1, 1].tolist() == [1.0 - 1.5, 2.0 - 1.5]
    linear = trace_newton(lambda x: 3 * x.sum(-1), start, steps=1, damping=1.0)
    assert torch.equal(linear.points[1], start - 3)


# ---------------------------------------------------------------- power iteration


@pytest.mark.parametrize("d", [1, 3, 50, 200])
@pytest.mark.parametrize("sign", [1, -1])
def test_power_iteration_finds_the_largest_eigenvalue(d: int, sign: int) -> None:
    A = torch.randn(d, d + 2, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    H = sign * A @ A.T
    calls: list[int] = []

    def product(v: Tensor) -> Tensor:
        calls.append(1)
        return H @ v

    found = power_iteration(product, d)
    values, vectors = torch.linalg.eigh(H)
    top = values.abs().argmax()
    assert found.value == pytest.approx(values[top].item(), rel=1e-9)
    assert found.residual <= 1e-6 * abs(found.value)
    assert (H @ found.vector - found.value * found.vector).norm() == pytest.approx(found.residual)
    assert abs(torch.dot(found.vector, vectors[:, top]).item()) > 1 - 1e-6
    assert len(calls) <= 10_000 and torch.equal(power_iteration(product, d).vector, found.vector)


def test_power_iteration_of_products_by_autograd_gives_the_critical_rate() -> None:
    problem = Quadratic([7.0, 3.0, 0.1])
    at = torch.zeros(3, dtype=torch.float64)

    def hvp(v: Tensor) -> Tensor:
        return torch.func.jvp(torch.func.grad(problem.loss), (at,), (v,))[1]

    critical = 2 / power_iteration(hvp, 3).value
    start = torch.ones(3, dtype=torch.float64)
    assert trace_gd(problem.loss, start, 0.99 * critical, 1500).values[-1] < 1e-12
    assert trace_gd(problem.loss, start, 1.01 * critical, 1500).values[-1] > 1e12


def test_power_iteration_at_its_borders() -> None:
    assert power_iteration(lambda v: 0 * v, 4).value == 0.0
    with pytest.raises(NumericsError, match="opposite"):
        power_iteration(lambda v: v * torch.tensor([1.0, -1.0]).double(), 2, max_steps=100)
    with pytest.raises(ShapeError, match="hvp"):
        power_iteration(lambda v: v[:1], 2)
    with pytest.raises(DataError, match="finite"):
        power_iteration(lambda v: v / 0, 2)


def test_descents_that_diverge_run_through_a_problem_to_nan() -> None:
    trace = trace_gd(FourWell().loss, torch.full((2,), 2.9, dtype=torch.float64), 1.0, steps=20)
    assert trace.points[-1].isnan().all() and math.isfinite(trace.values[1].item())
