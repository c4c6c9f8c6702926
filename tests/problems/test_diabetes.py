"""The diabetes table: shape, look-up, live evaluations, the lines it is compared with."""

import math

import pytest
import torch

from bolearn.data import diabetes_svr
from bolearn.errors import DataError, StorageError
from bolearn.problems import DiabetesSVR, diabetes_table


def everything(table):
    return torch.cartesian_prod(*table.axes)


def test_the_table_is_whole():
    table = diabetes_table()
    assert table.explained.shape == (21, 25, 7) == tuple(map(len, table.axes))
    assert table.patients == diabetes_svr.PATIENTS == len(DiabetesSVR().progress)
    assert "KFold" in table.scheme and "diabetes_svr" in table.command
    assert table.explained.max() < 1 and table.explained.isfinite().all()


def test_the_problem_is_the_table_and_knows_its_best_entry():
    problem = DiabetesSVR()
    X = everything(problem.table)
    assert torch.equal(problem(X)[:, 0], problem.table.explained.flatten())
    assert problem.optimal_value == problem.table.explained.max().item()
    assert torch.equal(problem(problem.optimal_points).amax(), problem.table.explained.max())


def test_points_are_rounded_to_the_nearest_entry():
    problem = DiabetesSVR()
    u = torch.rand(300, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    X = problem.bounds[0] + u * (problem.bounds[1] - problem.bounds[0])
    entries = everything(problem.table)
    steps = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
    nearest = ((X.unsqueeze(1) - entries) / steps).norm(dim=-1).argmin(-1)
    assert torch.equal(problem.snap(X), entries[nearest])
    assert torch.equal(problem(X), problem(problem.snap(X)))


def test_live_evaluations_reproduce_the_table():
    pytest.importorskip("sklearn")
    problem = DiabetesSVR()
    for entry in (0, 1234, 2345, 3000):
        x = everything(problem.table)[entry]
        if x[0] < 3:  # larger C takes seconds
            stored = float(problem(x[None]))
            assert problem.live(*(10**x).tolist()) == pytest.approx(stored, abs=1e-3)


def test_explained_is_one_minus_the_ratio_of_squares():
    y = DiabetesSVR().progress
    assert DiabetesSVR.explained(y) == 1.0
    assert DiabetesSVR.explained(torch.full_like(y, float(y.mean()))) == pytest.approx(0, abs=1e-12)
    assert DiabetesSVR.explained(2 * y.mean() - y) == pytest.approx(-3)


@pytest.mark.parametrize("settings", [(-1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, math.nan)])
def test_senseless_settings_are_refused(settings):
    with pytest.raises(DataError, match="expected a positive finite number"):
        DiabetesSVR.live(*settings)


def test_a_missing_table_names_the_command(tmp_path):
    with pytest.raises(StorageError, match=r"bolearn\.data\.diabetes_svr"):
        diabetes_table(tmp_path / "nowhere.json")
