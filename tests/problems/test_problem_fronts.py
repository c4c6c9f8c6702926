"""Problems with several objectives: their true fronts, and the hypervolumes stated for them."""

import math

import pytest
import torch
from botorch.test_functions import multi_objective as other
from scipy.integrate import quad
from torch import Tensor

import bolearn as bl
from bolearn import problems as P
from bolearn.errors import DataError, ShapeError

TWO = [P.ZDT1, P.ZDT2, P.ZDT3, P.DTLZ2, P.C2DTLZ2, P.BNH, P.BraninCurrin]
ALL = [*TWO, P.DTLZ1, P.VehicleSafety]


def staircase(Y: Tensor, ref: Tensor) -> float:
    """The hypervolume above ref of maximised points, two objectives: a sum of rectangles."""
    Y = Y[(ref < Y).all(-1)]
    Y = Y[Y[:, 0].argsort(descending=True)]
    tops = Y[:, 1].cummax(0).values
    widths = Y[:, 0] - torch.cat([Y[1:, 0], ref[:1]])
    return (widths * (tops - ref[1])).sum().item()


def test_the_staircase_counts_rectangles() -> None:
    Y = torch.tensor([[1.0, 4.0], [2.0, 3.0], [3.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert staircase(Y, torch.zeros(2).double()) == 8.0


@pytest.mark.parametrize("make", ALL)
def test_shapes_and_references(make) -> None:
    problem = make()
    X = bl.sobol_points(problem.bounds, 64, seed=0, replicates=2)
    Y = problem.noiseless(X)
    assert Y.shape == (2, 64, problem.num_outputs)
    assert problem.ref_point.shape == (problem.num_objectives,)
    assert problem.optimal_value is None and problem.how
    assert problem.feasible(Y).shape == (2, 64)
    noisy = make(noise_std=0.1)
    assert noisy(X, seed=0).shape == Y.shape and not torch.equal(noisy(X, seed=0), Y)


@pytest.mark.parametrize("make", TWO)
def test_no_set_of_points_has_more_than_the_stated_hypervolume(make) -> None:
    problem = make()
    X = bl.sobol_points(problem.bounds, 20_000, seed=0)
    if not isinstance(problem, P.BNH | P.BraninCurrin):  # half of them onto the front
        X[:10_000, 1:] = 0.0 if isinstance(problem, P.ZDT1 | P.ZDT2 | P.ZDT3) else 0.5
    Y = problem.noiseless(X)
    found = staircase(Y[problem.feasible(Y)][:, :2], problem.ref_point)
    assert found <= problem.optimal_hypervolume + 1e-9
    assert found >= 0.95 * problem.optimal_hypervolume


@pytest.mark.parametrize("make", [P.ZDT1, P.ZDT2, P.DTLZ2, P.BNH])
def test_the_front_is_reached_has_the_hypervolume_and_is_dominated_by_nothing(make) -> None:
    problem = make()
    front = problem.front(20_001)
    found = staircase(front, problem.ref_point)
    assert found <= problem.optimal_hypervolume
    assert found == pytest.approx(problem.optimal_hypervolume, rel=1e-4)
    X = bl.sobol_points(problem.bounds, 2_000, seed=0)
    Y = problem.noiseless(X)
    Y = Y[problem.feasible(Y)][:, :2]
    some = problem.front(300)
    beaten = (Y.unsqueeze(0) >= some.unsqueeze(1) + 1e-12).all(-1)
    assert not beaten.any()


def test_hypervolumes_by_quadrature() -> None:
    def above(f, a: float, b: float) -> float:
        return quad(lambda x: 11 - f(x), a, b, epsabs=1e-12)[0] + (11 - b) * (11 - f(b))

    assert above(lambda x: 1 - math.sqrt(x), 0, 1) == pytest.approx(P.ZDT1().optimal_hypervolume)
    assert above(lambda x: 1 - x**2, 0, 1) == pytest.approx(P.ZDT2().optimal_hypervolume)
    x = torch.linspace(0, 1, 2_000_001, dtype=torch.float64)
    lowest = (1 - x.sqrt() - x * torch.sin(10 * math.pi * x)).cummin(0).values
    area = torch.trapezoid(11 - lowest, x).item() + 10 * (11 - lowest[-1].item())
    assert area == pytest.approx(P.ZDT3().optimal_hypervolume, abs=1e-6)
    angle = torch.linspace(0, math.pi / 2, 4_000_001, dtype=torch.float64)
    arc = torch.stack([angle.cos(), angle.sin()], dim=-1)
    near = lambda c: ((arc - torch.tensor(c).double()) ** 2).sum(-1) <= 0.04  # noqa: E731
    patches = near([1.0, 0.0]) | near([0.0, 1.0]) | near([math.sqrt(0.5), math.sqrt(0.5)])
    problem = P.C2DTLZ2()
    found = staircase(-arc[patches], problem.ref_point)
    assert found == pytest.approx(problem.optimal_hypervolume, abs=1e-5)
    # and the feasible points off the front add nothing
    X = bl.sobol_points(problem.bounds, 200_000, seed=0)
    Y = problem.noiseless(X)
    both = torch.cat([-arc[patches][::50], Y[problem.feasible(Y)][:, :2]])
    assert staircase(both, problem.ref_point) <= problem.optimal_hypervolume


@pytest.mark.parametrize("m", [2, 3, 4])
def test_spheres_and_planes(m: int) -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(100, m + 3, generator=generator, dtype=torch.float64)
    X[:, m - 1 :] = 0.5
    sphere = P.DTLZ2(m + 3, m)(X)
    torch.testing.assert_close(sphere.norm(dim=-1), torch.ones(100).double())
    plane = P.DTLZ1(m + 3, m)(X)
    torch.testing.assert_close(plane.sum(-1), torch.full((100,), -0.5).double())
    draws = 1.1 * torch.rand(400_000, m, generator=generator, dtype=torch.float64)
    share = (draws.norm(dim=-1) > 1).double()  # dominated by a point of the sphere
    error = 5 * 1.1**m * share.std().item() / len(draws) ** 0.5
    assert 1.1**m * share.mean().item() == pytest.approx(
        P.DTLZ2(m + 3, m).optimal_hypervolume, abs=error
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (P.ZDT1(5), other.ZDT1(5)),
        (P.ZDT2(5), other.ZDT2(5)),
        (P.ZDT3(5), other.ZDT3(5)),
        (P.DTLZ1(6, 2), other.DTLZ1(6, 2)),
        (P.DTLZ1(6, 3), other.DTLZ1(6, 3)),
        (P.DTLZ2(6, 2), other.DTLZ2(6, 2)),
        (P.DTLZ2(6, 4), other.DTLZ2(6, 4)),
        (P.C2DTLZ2(5), other.C2DTLZ2(5, 2)),
        (P.BNH(), other.BNH()),
        (P.BraninCurrin(), other.BraninCurrin()),
        (P.VehicleSafety(), other.VehicleSafety()),
    ],
)
def test_values_are_those_of_botorch(ours: P.Problem, theirs) -> None:
    X = bl.sobol_points(ours.bounds, 200, seed=0)
    Y = ours.noiseless(X)
    wanted = -theirs.evaluate_true(X)
    if isinstance(ours, P.ZDT3):  # there without the paper's factor g in f2; on the front g = 1
        wanted[:, 1] *= 1 + 9 * X[:, 1:].mean(-1)
    torch.testing.assert_close(Y[:, : ours.num_objectives], wanted)
    torch.testing.assert_close(ours.bounds, theirs.bounds)
    if isinstance(ours, P.BNH):
        torch.testing.assert_close(Y[:, 2:], -theirs.evaluate_slack_true(X))
        return
    torch.testing.assert_close(ours.ref_point, -theirs.ref_point)
    if isinstance(ours, P.C2DTLZ2):  # theirs has a wider patch in the middle
        slack = theirs.evaluate_slack_true(X)
        assert (theirs.is_feasible(X) | ~ours.feasible(Y)).all()
        corners = Y[:, 2] < 0
        assert slack.shape == (200, 1) and corners.any()
    elif isinstance(ours, P.DTLZ1):  # theirs subtracts a cube where the front bounds a simplex
        m = ours.num_objectives
        assert theirs.max_hv == pytest.approx(400.0**m - 0.5**m, rel=1e-12)
        assert ours.optimal_hypervolume > theirs.max_hv
    elif not isinstance(ours, P.VehicleSafety | P.BraninCurrin):
        assert ours.optimal_hypervolume == pytest.approx(theirs.max_hv, rel=1e-9)


def test_the_branin_currin_front_is_better_than_the_number_in_use() -> None:
    """Its front lies at y = 1 and on a curve; a staircase through it beats 59.360."""
    problem = P.BraninCurrin()
    edge = torch.linspace(0, 0.06, 400, dtype=torch.float64)
    top = torch.stack([edge, torch.ones_like(edge)], dim=-1)
    grid = torch.cartesian_prod(
        torch.linspace(0.058, 0.124, 800, dtype=torch.float64),
        torch.linspace(0.82, 1.0, 800, dtype=torch.float64),
    )
    Y = problem(torch.cat([top, grid]))
    found = staircase(Y, problem.ref_point)
    assert other.BraninCurrin._max_hv < 59.3602 < found < problem.optimal_hypervolume < found + 0.05


def test_constraints_and_reference_points_have_to_fit() -> None:
    box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    with pytest.raises(DataError, match="num_constraints"):
        P.Problem(lambda X: X, box, num_constraints=1)
    with pytest.raises(ShapeError, match="ref_point"):
        P.Problem(lambda X: X, box, ref_point=torch.zeros(2, dtype=torch.float64))
    with pytest.raises(DataError, match="m = 3"):
        P.DTLZ2(6, 3).front()
    limits = P.Problem(lambda X: torch.cat([X, X - 0.5, -X], -1), box, num_outputs=3)
    assert limits.feasible(limits(box)).tolist() == [True, True]  # no constraints, all feasible
    tight = P.Problem(
        lambda X: torch.cat([X, X - 0.5, -X], -1), box, num_outputs=3, num_constraints=2
    )
    assert tight.feasible(tight(box)).tolist() == [True, False] and tight.num_objectives == 1
    assert not tight.feasible(torch.full((1, 3), math.nan, dtype=torch.float64)).any()
