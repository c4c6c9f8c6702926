"""Problems: optima by other routes, noise, borders, and functions of one's own."""

import math
from collections.abc import Callable, Iterator

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError, config
from scipy.optimize import minimize
from torch import Tensor

from bolearn.data import digits_svm
from bolearn.errors import BolearnError, DataError, ShapeError, StorageError
from bolearn.problems import (
    BatchReactor,
    Branin,
    Budget,
    DigitsSVM,
    Forrester,
    Hartmann6,
    Problem,
    arrhenius,
    batch_concentrations,
    batch_concentrations_rk4,
    digits_table,
)
from bolearn.seeds import derive, normal

SMOOTH: list[Callable[..., Problem]] = [Forrester, Branin, Hartmann6, BatchReactor]
ALL: list[Callable[..., Problem]] = [*SMOOTH, DigitsSVM]
UNIT = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)


def inside(problem: Problem, n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low, high = problem.bounds
    return low + (high - low) * torch.rand(n, problem.d, generator=generator, dtype=torch.float64)


def _forrester_40(x):
    return -((6 * x - 2) ** 2) * mp.sin(12 * x - 4)


def _branin_40(x, y):
    b, c = mp.mpf("5.1") / (4 * mp.pi**2), 5 / mp.pi
    return -((y - b * x**2 + c * x - 6) ** 2) - 10 * (1 - 1 / (8 * mp.pi)) * mp.cos(x) - 10


def _hartmann6_40(*x):
    A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14]]
    A += [[3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
    P = [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991]]
    P += [[2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]
    total = mp.mpf(0)
    for alpha, a, p in zip(("1", "1.2", "3", "3.2"), A, P, strict=True):
        terms = (
            mp.mpf(str(u)) * (v - mp.mpf(w) / 10000) ** 2 for u, v, w in zip(a, x, p, strict=True)
        )
        total += mp.mpf(alpha) * mp.exp(-mp.fsum(terms))
    return total


def _reactor_40(T, t, c0):
    gas = mp.mpf("8.314462618e-3")
    k1 = mp.mpf("0.05") * mp.exp(-60 / gas * (1 / T - mp.mpf(1) / 350))
    k2 = mp.mpf("0.006") * mp.exp(-95 / gas * (1 / T - mp.mpf(1) / 350))
    made = k1 / (k2 - k1) * (mp.exp(-k1 * t) - mp.exp(-k2 * t))
    cost = mp.mpf("0.1") / c0 + mp.mpf("0.1") * c0 * (1 - made) + mp.mpf("0.0015") * t
    return made - cost


IN_40_DIGITS = {
    Forrester: _forrester_40,
    Branin: _branin_40,
    Hartmann6: _hartmann6_40,
    BatchReactor: _reactor_40,
}


def newton(f: Callable[..., mp.mpf], start: list[float], steps: int = 4) -> list[mp.mpf]:
    """Newton's method for a stationary point, with 40 digits and numerical derivatives."""
    x, d = [mp.mpf(v) for v in start], len(start)
    for _ in range(steps):
        order = [tuple(int(k == i) for k in range(d)) for i in range(d)]
        gradient = mp.matrix([mp.diff(f, tuple(x), o) for o in order])
        hessian = mp.matrix(d, d)
        for i in range(d):
            for j in range(d):
                both = tuple(a + b for a, b in zip(order[i], order[j], strict=True))
                hessian[i, j] = mp.diff(f, tuple(x), both)
        x = [v - s for v, s in zip(x, mp.lu_solve(hessian, gradient), strict=True)]
    return x


@pytest.mark.parametrize("make", SMOOTH)
def test_stored_optimum_is_stationary_and_exact(make):
    problem = make()
    with mp.workdps(40):
        for point in problem.optimal_points.tolist():
            polished = newton(IN_40_DIGITS[make], point)
            assert (
                float(max(abs(a - b) for a, b in zip(polished, point, strict=True))) < 1e-12 * 400
            )
            value = IN_40_DIGITS[make](*polished)
            assert abs(float(value - mp.mpf(problem.optimal_value))) < 1e-15 * 10


@pytest.mark.parametrize("make", ALL)
def test_optimal_points_attain_the_optimal_value(make):
    problem = make()
    values = problem(problem.optimal_points)
    assert values.shape == (len(problem.optimal_points), 1)
    torch.testing.assert_close(
        values, torch.full_like(values, problem.optimal_value), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("make", SMOOTH)
def test_no_start_finds_a_better_point(make):
    problem = make()
    low, high = problem.bounds

    def negative(z):
        x = (low + (high - low) * torch.from_numpy(z)).requires_grad_()
        value = problem.loss(x)
        value.backward()
        return value.item(), (x.grad * (high - low)).numpy()

    starts = ((inside(problem, 64) - low) / (high - low)).numpy()
    box = [(0.0, 1.0)] * problem.d
    ends = [minimize(negative, z, jac=True, method="L-BFGS-B", bounds=box).fun for z in starts]
    assert -min(ends) <= problem.optimal_value + 1e-12
    assert -min(ends) >= problem.optimal_value - 1e-6  # and the optimum is within reach
    assert problem.noiseless(inside(problem, 20_000)).max() <= problem.optimal_value


@pytest.mark.parametrize("make", SMOOTH)
def test_values_agree_with_40_digits(make):
    problem = make()
    X = inside(problem, 20)
    with mp.workdps(40):
        exact = [float(IN_40_DIGITS[make](*map(mp.mpf, row))) for row in X.tolist()]
    torch.testing.assert_close(
        problem(X)[:, 0], torch.tensor(exact, dtype=torch.float64), rtol=1e-12, atol=1e-12
    )


def test_branin_optimum_closed_form():
    assert Branin().optimal_value == pytest.approx(-0.39788735772973816, abs=1e-15)
    assert len(Branin().optimal_points) == 3


def test_reactor_optimum_is_interior():
    problem = BatchReactor()
    low, high = problem.bounds
    unit = (problem.optimal_points - low) / (high - low)
    assert ((unit > 0.1) & (unit < 0.9)).all()


@settings(max_examples=50, deadline=None)
@given(
    k1=st.floats(1e-4, 5), k2=st.floats(1e-4, 5), t=st.floats(0.01, 120), gap=st.floats(1e-14, 1e-3)
)
def test_closed_form_reactor_to_twelve_digits(k1, k2, t, gap):
    for second in (k2, k1, k1 * (1 + gap), k1 * (1 - gap)):
        a, b, c0, time = (torch.tensor(v, dtype=torch.float64) for v in (k1, second, 2.0, t))
        got = batch_concentrations(a, b, c0, time)
        with mp.workdps(60):
            x, y, s = mp.mpf(k1), mp.mpf(second), mp.mpf(t)
            A = 2 * mp.exp(-x * s)
            if x == y:
                B = 2 * x * s * mp.exp(-x * s)
            else:
                B = 2 * x / (y - x) * (mp.exp(-x * s) - mp.exp(-y * s))
            want = torch.tensor([float(A), float(B), float(2 - A - B)], dtype=torch.float64)
        torch.testing.assert_close(got[:2], want[:2], rtol=1e-11, atol=1e-300)
        torch.testing.assert_close(got[2], want[2], rtol=0, atol=1e-14)


def test_reactor_gradients_also_at_equal_rates():
    rate = torch.tensor([0.3, 0.3, 1.0], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([0.3, 0.3 + 1e-7, 0.2], dtype=torch.float64, requires_grad=True)
    rest = torch.full((3,), 2.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a, b: batch_concentrations(a, b, rest, rest), (rate, other)
    )


def test_rk4_agrees_with_closed_form_over_the_box():
    X = inside(BatchReactor(), 200)
    k1, k2 = BatchReactor.rates(X[:, 0])
    closed = batch_concentrations(k1, k2, X[:, 2], X[:, 1])
    steps = batch_concentrations_rk4(k1, k2, X[:, 2], X[:, 1], steps=800)
    torch.testing.assert_close(steps, closed, rtol=0, atol=1e-6)
    coarse = batch_concentrations_rk4(k1, k2, X[:, 2], X[:, 1], steps=400)
    factor = (coarse - closed).abs().max() / (steps - closed).abs().max()
    assert 12 < factor < 22  # fourth order: half the step, a sixteenth of the error


def test_best_time_in_closed_form():
    k1, k2, one = (torch.tensor(v, dtype=torch.float64) for v in (2.0, 0.5, 1.0))
    best = math.log(2.0 / 0.5) / 1.5
    time = torch.linspace(0.5, 1.5, 100_001, dtype=torch.float64)
    B = batch_concentrations(k1, k2, one, time)[:, 1]
    assert abs(time[B.argmax()].item() - best) < 1e-4
    assert B.max().item() == pytest.approx((2 / 0.5) ** (0.5 / (0.5 - 2)), abs=1e-8)


def test_arrhenius_at_its_reference_and_by_slope():
    T = torch.tensor([350.0, 360.0], dtype=torch.float64)
    k = arrhenius(T, 0.05, 60.0)
    assert k[0].item() == pytest.approx(0.05)
    slope = math.log(k[1] / k[0]) / (1 / 350 - 1 / 360)
    assert slope == pytest.approx(60.0 / 8.314462618e-3)


# ---------------------------------------------------------------- the stored table


def test_digits_table_has_its_papers():
    table = digits_table()
    assert table.correct.shape == (41, 41) == (len(table.log10_C), len(table.log10_gamma))
    assert table.images == digits_svm.IMAGES
    assert "StratifiedKFold" in table.scheme and "digits_svm" in table.command
    assert {"python", "scikit-learn", "numpy", "scipy"} <= set(table.versions)
    assert table.correct.min() >= 0 and table.correct.max() <= table.images


def test_digits_problem_is_the_table():
    problem = DigitsSVM()
    everything = problem.table.points()
    assert torch.equal(problem(everything)[:, 0], problem.table.accuracy.flatten())
    assert problem.optimal_value == problem.table.accuracy.max().item()
    assert len(problem.optimal_points) == problem.table.ties_at_optimum >= 1


def test_digits_problem_rounds_to_the_nearest_entry():
    problem = DigitsSVM()
    X = inside(problem, 500)
    snapped = problem.snap(X)
    assert (X - snapped).abs().max() <= 1 / 16
    assert torch.equal(problem(X), problem(snapped))
    assert torch.equal(problem.snap(snapped), snapped)
    distance = (X.unsqueeze(1) - problem.table.points()).norm(dim=-1)
    assert torch.equal(problem.table.points()[distance.argmin(-1)], snapped)


def test_live_evaluations_reproduce_the_table():
    pytest.importorskip("sklearn")
    table = digits_table()
    generator = np.random.default_rng(0)
    for row, column in zip(
        generator.integers(41, size=4), generator.integers(41, size=4), strict=True
    ):
        C, gamma = 10 ** table.log10_C[row].item(), 10 ** table.log10_gamma[column].item()
        assert abs(digits_svm.correct_images(C, gamma) - int(table.correct[row, column])) <= 1


def test_live_rejects_senseless_settings():
    with pytest.raises(DataError, match="gamma: expected a positive finite number"):
        DigitsSVM.live(1.0, -1.0)


def test_missing_table_names_the_command(tmp_path):
    with pytest.raises(StorageError, match=r"bolearn\.data\.digits_svm"):
        digits_table(tmp_path / "nowhere.json")


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("make", SMOOTH)
@pytest.mark.parametrize("replicates", [(), (3,), (2, 3)])
def test_noise_comes_from_the_seed_alone(make, replicates):
    problem = make(noise_std=0.5)
    X = inside(problem, math.prod(replicates) * 4).reshape(*replicates, 4, problem.d)
    before = torch.get_rng_state()
    Y = problem(X, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert Y.shape == (*replicates, 4, 1)
    assert torch.equal(Y, problem(X, seed=3)) and not torch.equal(Y, problem(X, seed=4))
    assert torch.equal(problem.noiseless(X), make()(X))


def test_noise_of_a_replicate_is_that_of_the_replicate_alone():
    problem = Problem(lambda X: 0 * X[..., 0], UNIT, noise_std=2.0)
    X = torch.rand(5, 3, 2, dtype=torch.float64)
    batch = problem(X, seed=7)
    for i in range(5):
        assert torch.equal(batch[i], problem(X[i], seed=derive(7, i)))
    assert torch.equal(problem(X, seed=[derive(7, i) for i in range(5)]), batch)
    assert torch.equal(batch[0], 2.0 * normal([derive(7, 0)], [3, 1])[0])


def test_noise_has_the_stated_size():
    problem = Problem(lambda X: 0 * X[..., 0], UNIT, noise_std=0.3)
    Y = problem(torch.rand(1, 20_000, 2, dtype=torch.float64), seed=0)
    assert Y.std().item() == pytest.approx(0.3, abs=5 * 0.3 / math.sqrt(40_000))


# ---------------------------------------------------------------- functions of one's own


def test_one_line_problem():
    problem = Problem(lambda X: -(X**2).sum(-1), UNIT, optimal_value=0.0)
    X = torch.rand(2, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(problem(X), -(X**2).sum(-1, keepdim=True))
    torch.testing.assert_close(problem.loss(X), (X**2).sum(-1))
    assert problem.d == 2 and problem.inputs == ("x1", "x2")


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_one_point_at_a_time(n):
    X = torch.rand(4, n, 2, dtype=torch.float64)
    wanted = (X[..., :1] * X[..., 1:]).sin()
    for f in (
        lambda x: math.sin(x[0] * x[1]),
        lambda x: (x[0] * x[1]).sin(),
        lambda x: (x[:1] * x[1]).sin(),
    ):
        torch.testing.assert_close(Problem(f, UNIT, vectorized=False)(X), wanted)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_function_of_one_point_is_never_silently_wrong(n):
    """x[0]**2 + x[1]**2 answers a 2 x 2 table with two numbers, both of them wrong."""
    problem = Problem(lambda x: x[0] ** 2 + x[1] ** 2, UNIT)
    with pytest.raises((ShapeError, IndexError)) as caught:
        problem(torch.rand(n, 2, dtype=torch.float64))
    assert "vectorized=False" in str(caught.value) + "".join(getattr(caught.value, "__notes__", []))


def test_several_outputs():
    problem = Problem(
        lambda X: torch.stack([X[:, 0], X[:, 1]], -1), UNIT, num_outputs=2, noise_std=0.1
    )
    X = torch.rand(3, 4, 2, dtype=torch.float64)
    assert problem(X, seed=0).shape == (3, 4, 2)
    torch.testing.assert_close(problem.noiseless(X), X)
    with pytest.raises(ShapeError, match="num_outputs"):
        Problem(lambda X: X, UNIT)(X)


def test_a_failed_evaluation_passes_through_as_nan():
    problem = Problem(lambda X: torch.log(X[..., 0] - 0.5), UNIT)
    Y = problem(torch.tensor([[0.2, 0.2], [0.9, 0.2]], dtype=torch.float64))
    assert Y[0].isnan().all() and Y[1].isfinite().all()


def test_numpy_answers_are_welcome_and_single_precision_is_not():
    X = torch.rand(3, 2, dtype=torch.float64)
    problem = Problem(lambda X: np.sin(X.numpy()).sum(-1), UNIT)
    torch.testing.assert_close(problem(X)[:, 0], X.sin().sum(-1))
    with pytest.raises(DataError, match="double"):
        Problem(lambda X: X.float().sum(-1), UNIT)(X)


def test_gradients_flow():
    problem = Branin()
    X = inside(problem, 5).requires_grad_()
    problem.noiseless(X).sum().backward()
    assert X.grad is not None and X.grad.abs().min() > 0
    at_optimum = problem.optimal_points.clone().requires_grad_()
    problem.loss(at_optimum).sum().backward()
    assert at_optimum.grad.abs().max() < 1e-12


# ---------------------------------------------------------------- borders


@pytest.mark.parametrize("make", ALL)
@settings(max_examples=15, deadline=None)
@given(which=st.integers(0, 10), side=st.sampled_from([-1, 1]), far=st.floats(1e-6, 1e6))
def test_points_outside_are_refused_by_name(make, which, side, far):
    problem = make()
    i = which % problem.d
    X = inside(problem, 3)
    low, high = problem.bounds[:, i]
    width = max(high - low, abs(low), abs(high))
    X[1, i] = (high if side > 0 else low) + side * far * width
    with pytest.raises(DataError, match=r"at index \(1, "):
        problem(X)


@pytest.mark.parametrize("make", ALL)
def test_rounding_outside_is_forgiven(make):
    problem = make()
    corner = problem.bounds[1:].clone()
    beyond = corner * (1 + 1e-12)
    assert torch.equal(problem(beyond), problem(corner))


def test_loss_answers_outside_the_box():
    outside = torch.tensor([-6.0, 20.0], dtype=torch.float64)
    assert Branin().loss(outside).shape == ()
    assert Branin().loss(outside) > 0


@pytest.mark.parametrize(
    ("X", "error"),
    [
        (torch.zeros(3, 2), DataError),
        (torch.zeros(3, 3).double(), ShapeError),
        # with the type checker switched on, its own error comes before ours
        (torch.zeros(2).double(), (ShapeError, TypeCheckError)),
        (torch.zeros(0, 2).double(), ShapeError),
        (torch.full((1, 2), math.nan).double(), DataError),
        (torch.full((1, 2), math.inf).double(), DataError),
    ],
)
def test_bad_points(X, error):
    with pytest.raises(error):
        Branin()(X)


@pytest.mark.parametrize(
    "options",
    [
        {"noise_std": -0.1},
        {"noise_std": math.nan},
        {"noise_std": math.inf},
        {"optimal_value": math.nan},
        {"inputs": ("only one",)},
        {"optimal_points": torch.tensor([[2.0, 0.0]], dtype=torch.float64)},
    ],
)
def test_bad_problems(options):
    with pytest.raises(DataError):
        Problem(lambda X: X[..., 0], UNIT, **options)
    with pytest.raises(DataError, match="lower < upper"):
        Problem(lambda X: X[..., 0], UNIT.flip(0))


def test_a_noisy_problem_wants_a_seed():
    with pytest.raises(DataError, match="seed=0"):
        Branin(noise_std=0.1)(torch.zeros(1, 2).double())
    with pytest.raises(DataError, match="expected 3 seeds"):
        Branin(noise_std=0.1)(torch.zeros(3, 1, 2).double(), seed=[1, 2])


# ---------------------------------------------------------------- noise that depends on the place


def test_noise_may_depend_on_the_place_and_on_the_output():
    problem = Problem(
        lambda X: torch.stack([0 * X[:, 0], 0 * X[:, 0]], -1),
        UNIT,
        noise_std=0.5,
        num_outputs=2,
        noise_scale=lambda X: torch.stack([X[:, 0], 2 * X[:, 1]], -1),
    )
    X = torch.rand(3, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(problem.noise_sd(X), 0.5 * X * torch.tensor([1.0, 2.0]).double())
    noise = normal([derive(7, i) for i in range(3)], [4, 2])
    torch.testing.assert_close(problem(X, seed=7), problem.noise_sd(X) * noise)
    one = Problem(lambda X: X[:, 0], UNIT, noise_std=0.1, noise_scale=lambda X: 1 + X[:, 0])
    torch.testing.assert_close(one.noise_sd(X), 0.1 * (1 + X[..., :1]))
    plain = Problem(lambda X: X[:, 0], UNIT, noise_std=0.1)
    assert torch.equal(plain.noise_sd(X), torch.full((3, 4, 1), 0.1, dtype=torch.float64))


# ---------------------------------------------------------------- the meter


def test_a_budget_counts_rows_and_refuses_what_was_not_paid_for():
    problem = Branin(noise_std=0.1)
    meter = Budget(problem, calls=5)
    X = inside(problem, 5)
    assert torch.equal(meter(X[:3], seed=0), problem(X[:3], seed=0))
    assert (meter.spent, meter.left) == (3, 2)
    with pytest.raises(DataError, match=r"at most 2 more points \(of 5; 3 are spent\), got 3"):
        meter(X[:3], seed=1)
    assert meter.spent == 3  # refused, so nothing was measured
    meter(X[3:], seed=1)
    with pytest.raises(DataError, match="at most 0 more"):
        meter(X[:1], seed=2)
    assert not hasattr(meter, "noiseless") and not hasattr(meter, "optimal_value")
    assert torch.equal(meter.bounds, problem.bounds) and meter.d == 2


def test_a_budget_is_for_each_replicate_and_is_not_charged_for_errors():
    problem, calls = Branin(), []
    counted = Problem(lambda X: calls.append(len(X)) or problem.f(X), problem.bounds)
    meter = Budget(counted, calls=4)
    X = inside(problem, 12).reshape(3, 4, 2)
    meter(X[:, :3])
    assert meter.left == 1 and sum(calls) == 9
    with pytest.raises(ShapeError, match="replicates of the first call"):
        meter(X[0, :1])
    with pytest.raises(DataError, match="x1"):
        meter(X[:, :1] + 100)
    assert meter.left == 1 and sum(calls) == 9
    meter(X[:, 3:])
    assert meter.left == 0
    with pytest.raises(DataError, match="calls"):
        Budget(problem, calls=0)


def test_a_loss_serves_points_in_any_number_of_axes_and_beyond_the_finite():
    problem = Branin()
    X = inside(problem, 12).reshape(2, 3, 2, 2)
    for some in (X, X[0], X[0, 0], X[0, 0, 0]):
        assert problem.loss(some).shape == some.shape[:-1]
    torch.testing.assert_close(problem.loss(X), -problem(X)[..., 0])
    far = torch.tensor([[math.nan, 0.0], [math.inf, 0.0], [1.0, 1.0]], dtype=torch.float64)
    assert problem.loss(far).isfinite().tolist() == [False, False, True]
    hessian = torch.func.hessian(problem.loss)(X[0, 0, 0])
    assert hessian.shape == (2, 2) and torch.equal(hessian, hessian.T)
    slopes = torch.func.vmap(torch.func.grad(problem.loss))(X[0, 0])
    row = X[0, 0].clone().requires_grad_()
    torch.testing.assert_close(slopes, torch.autograd.grad(problem.loss(row).sum(), row)[0])


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As users run it: without the shape checks of the test suite, which would speak first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimal_value": "25"}, "optimal_value: expected a finite number, got '25'"),
        ({"optimal_value": True}, "optimal_value: expected a finite number"),
        ({"optimal_value": 10**400}, "optimal_value: expected a finite number"),
        ({"optimal_value": torch.zeros(2)}, "optimal_value: expected a finite number"),
        ({"optimal_points": torch.zeros(1, 3).double()}, "optimal_points: expected 2 inputs"),
        ({"optimal_points": torch.zeros(2).double()}, "optimal_points: .*one axis is missing"),
        ({"optimal_points": torch.zeros(1, 1, 2).double()}, "expected shape k d"),
        ({"optimal_points": torch.zeros(1, 2)}, r"use optimal_points\.double\(\)"),
        ({"optimal_points": [[0.0, 0.0]]}, "optimal_points: expected a float64 tensor, got list"),
    ],
)
def test_what_is_known_about_the_optimum_is_checked(options: dict[str, object], words: str) -> None:
    with pytest.raises(BolearnError, match=words):
        Problem(lambda X: X[..., 0], UNIT, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("best", [25, np.float64(25), np.float32(25), torch.tensor(25.0)])
def test_any_number_is_an_optimal_value(best: object) -> None:
    found = Problem(lambda X: X[..., 0], UNIT, optimal_value=best).optimal_value  # type: ignore[arg-type]
    assert type(found) is float and found == 25.0


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("answer", [None, "three", ["a", "b"], [[1.0], [1.0, 2.0]], {"y": 1.0}])
@pytest.mark.parametrize("vectorized", [True, False])
def test_answers_that_are_no_numbers_are_errors(answer: object, vectorized: bool) -> None:
    problem = Problem(lambda X: answer, UNIT, vectorized=vectorized)
    with pytest.raises(DataError, match=r"f\(X\): expected a tensor or numbers, got"):
        problem(torch.zeros(3, 2, dtype=torch.float64))
