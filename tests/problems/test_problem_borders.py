"""Problems at the border: the optimum that is claimed, noise factors, copies, pickles."""

import copy
import inspect
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import config
from torch import Tensor

import bolearn as bl
from bolearn import problems, sobol_points
from bolearn.errors import DataError, ShapeError
from bolearn.problems import Branin, Budget, Problem

UNIT = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
HALF = torch.tensor([[0.5, 0.5]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def unchecked() -> Iterator[None]:
    """As users run it: without the shape checks of the test suite, which would speak first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def hill(X: Tensor) -> Tensor:
    return 2.87 - ((X - 0.5) ** 2).sum(-1)


# --- the optimum that is claimed -----------------------------------------------------------------


@pytest.mark.parametrize("claimed", [2, 2.87 - 1e-5, 2.9, 4.0, -2.87])
def test_an_optimum_that_f_does_not_have_is_refused(claimed: float) -> None:
    with pytest.raises(DataError, match=r"optimal_value: .*which is 2\.87 at \[0\.5, 0\.5\], got"):
        Problem(hill, UNIT, optimal_value=claimed, optimal_points=HALF)


@pytest.mark.parametrize("shift", [0.0, 1e-6, -1e-4, 0.01])
def test_points_known_to_a_few_digits_are_accepted(shift: float) -> None:
    Problem(hill, UNIT, optimal_value=2.87, optimal_points=HALF + shift)
    Problem(hill, UNIT, optimal_value=2.87)
    Problem(hill, UNIT, optimal_points=HALF)
    Problem(lambda x: float(hill(x)), UNIT, 2.87, optimal_points=HALF, vectorized=False)


def test_every_point_has_to_attain_it_and_with_a_number() -> None:
    worse = torch.cat([HALF, HALF + 0.3])
    with pytest.raises(DataError, match=r"which is 2\.69 at \[0\.8, 0\.8\]"):
        Problem(hill, UNIT, optimal_value=2.87, optimal_points=worse)
    with pytest.raises(DataError, match="which is nan"):
        Problem(lambda X: hill(X) * math.nan, UNIT, optimal_value=2.87, optimal_points=HALF)


def test_a_function_with_noise_of_its_own_is_not_judged() -> None:
    rng = np.random.default_rng(0)
    noisy = Problem(
        lambda X: hill(X) + torch.as_tensor(rng.normal(size=len(X))), UNIT, 2.87, 0.1, HALF
    )
    assert noisy.optimal_value == 2.87


def test_output_0_counts_and_added_noise_does_not() -> None:
    def two(X: Tensor) -> Tensor:
        return torch.stack([hill(X), X.sum(-1) - 5], -1)

    Problem(two, UNIT, 2.87, 10.0, HALF, num_outputs=2, num_constraints=1)


# --- noise factors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (lambda X: 3.0, 3.0),
        (lambda X: 2, 2.0),
        (lambda X: np.float64(0.5), 0.5),
        (lambda X: np.full(len(X), 2.0), 2.0),
        (lambda X: np.full((len(X), 2), 2.0), 2.0),
        (lambda X: [1.0] * len(X), 1.0),
        (lambda X: torch.zeros(len(X)), 0.0),
        (lambda X: torch.ones(len(X), 1).double(), 1.0),
        (lambda X: torch.tensor(4.0), 4.0),
    ],
)
def test_factors_of_the_noise_may_be_any_numbers(
    scale: Callable[..., Any], expected: float
) -> None:
    problem = Problem(
        lambda X: torch.stack([hill(X)] * 2, -1), UNIT, None, 0.1, num_outputs=2, noise_scale=scale
    )
    X = sobol_points(UNIT, 6, seed=0, replicates=3)
    sd = problem.noise_sd(X)
    torch.testing.assert_close(sd, torch.full((3, 6, 2), 0.1 * expected, dtype=torch.float64))
    assert problem(X, seed=1).shape == (3, 6, 2)


@pytest.mark.parametrize(
    ("scale", "error", "words"),
    [
        (lambda X: X, ShapeError, r"got shape \(5, 2\)"),
        (lambda X: X[:-1, 0], ShapeError, r"got shape \(4,\)"),
        (lambda X: torch.ones(1, len(X)).double(), ShapeError, r"got shape \(1, 5\)"),
        (lambda X: X[:, 0] * math.nan, DataError, "finite factors >= 0 .*got nan"),
        (lambda X: X[:, 0] - 2, DataError, "finite factors >= 0 .*got -"),
        (lambda X: -1.0, DataError, "got -1"),
        (lambda X: math.inf, DataError, "got inf"),
        (lambda X: "much", DataError, "expected a tensor or numbers, got str"),
        (lambda X: None, DataError, "got NoneType"),
    ],
)
def test_factors_that_are_none_are_refused(
    scale: Callable[[Tensor], Any], error: type[Exception], words: str
) -> None:
    problem = Problem(hill, UNIT, None, 0.1, noise_scale=scale)
    for ask in (problem.noise_sd, lambda X: problem(X, seed=0)):
        with pytest.raises(error, match=rf"noise_scale\(X\): .*{words}"):
            ask(sobol_points(UNIT, 5, seed=0) * 0.5)


def test_a_factor_that_is_no_function_belongs_into_the_noise() -> None:
    with pytest.raises(DataError, match=r"noise_scale: .*got 2\.0; a constant .* noise_std"):
        Problem(hill, UNIT, None, 0.1, noise_scale=2.0)  # type: ignore[arg-type]


# --- copies and pickles --------------------------------------------------------------------------


def test_tensors_that_their_owner_changes_later_do_not_change_a_problem() -> None:
    box, best, ref = UNIT.clone(), HALF.clone(), torch.zeros(1).double()
    problem = Problem(hill, box, 2.87, optimal_points=best, ref_point=ref)
    for x in (box, best, ref):
        x.fill_(7.0)
    assert torch.equal(problem.bounds, UNIT) and torch.equal(problem.optimal_points, HALF)
    assert problem.ref_point is not None and problem.ref_point.item() == 0.0
    H = torch.eye(2).double()
    bowl = problems.Quadratic(H)
    H.zero_()
    assert bowl.loss(torch.ones(2).double()).item() == 1.0


def test_numbers_of_numpy_are_numbers() -> None:
    problem = Problem(
        hill,
        UNIT,
        np.float32(2.875),
        np.float32(0.5),
        num_outputs=np.int64(1),  # type: ignore[arg-type]
    )
    assert type(problem.noise_std) is float and type(problem.num_outputs) is int
    assert problem.optimal_value == 2.875 and problem.noise_std == 0.5


DYES = bl.Space([bl.Integer("cycles", 1, 8), bl.Categorical("dye", ["red", "blue"])])


def fewest_cycles(point: dict) -> float:
    return -float(point["cycles"])


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "Quadratic": ([2.0, 1.0],),
    "GPDraw": (0,),
    "SpaceProblem": (fewest_cycles, DYES),
    "TableProblem": ([{"cycles": 2, "dye": "red", "gloss": 0.5}], DYES, "gloss"),
}
NAMES = [
    name
    for name in problems.__all__
    if inspect.isclass(getattr(problems, name)) and issubclass(getattr(problems, name), Problem)
]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Problem"])
def test_every_problem_can_be_pickled_and_copied(name: str) -> None:
    problem = getattr(problems, name)(*ARGUMENTS.get(name, ()))
    X = sobol_points(problem.bounds, 5, seed=1)
    if hasattr(problem, "space"):
        with pytest.raises(DataError, match=r"space\.round"):
            problem(X)
        X = problem.space.sobol(5, seed=1)
    for twin in (pickle.loads(pickle.dumps(problem)), copy.deepcopy(problem)):
        assert type(twin) is type(problem) and twin.name == problem.name
        for values, known in (
            (twin.noiseless(X), problem.noiseless(X)),
            (twin(X, seed=3), problem(X, seed=3)),
        ):
            assert torch.equal(values.nan_to_num(-1e9), known.nan_to_num(-1e9))
        assert twin.optimal_value == problem.optimal_value


def test_a_budget_can_be_pickled_too() -> None:
    meter = Budget(Branin(), 5)
    meter(Branin().optimal_points)
    twin = pickle.loads(pickle.dumps(meter))
    assert (twin.spent, twin.left) == (3, 2)
