"""The two figures that tutorial 4.3 draws run by run."""

import pytest
import torch

import bolearn as bl
from bolearn import plotting

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def small_study():
    arms = {"random": bl.strategies.random, "Sobol": bl.strategies.sobol}
    problem = bl.problems.Forrester()
    return bl.study(problem, arms, n_init=2, n_iter=3, replicates=5, seed=0)


def test_regret_curves_draw_every_run_and_the_median():
    result = small_study()
    figure = plotting.regret_curves(result)
    assert len(figure.axes) == 2
    for panel, name in zip(figure.axes, result.names, strict=True):
        lines = panel.get_lines()
        assert len(lines) == 5 + 1
        drawn = torch.tensor([list(line.get_ydata()) for line in lines[:5]], dtype=torch.float64)
        torch.testing.assert_close(drawn, result.regret(name))
        median = torch.tensor(list(lines[5].get_ydata()), dtype=torch.float64)
        torch.testing.assert_close(median, result.regret(name).median(0).values)
        assert name in panel.get_title() and panel.get_yscale() == "log"
    assert len(plotting.regret_curves(result, ["Sobol"]).axes) == 1


def test_traced_bound_sorts_the_runs_into_two_panels():
    bound = torch.tensor([[2.0, 1.0], [3.0, 2.0], [4.0, 3.0]], dtype=torch.float64)
    figure = plotting.traced_bound(bound, bound / 2, [3, 4], [False, True, False])
    left, right = figure.axes
    assert len(left.get_lines()) == 4 and len(right.get_lines()) == 2
    assert "(2)" in left.get_title() and "(1)" in right.get_title()
    assert list(right.get_lines()[0].get_ydata()) == [3.0, 2.0]
    assert list(right.get_lines()[1].get_ydata()) == [1.5, 1.0]
